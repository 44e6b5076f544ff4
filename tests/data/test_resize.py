"""Bringing images to another size."""

import numpy as np
import pytest
from PIL import Image

from minigan.data.resize import resized


def test_plain_at_half_the_size_is_the_rounded_mean_of_two_by_two():
    images = np.random.default_rng(3).integers(0, 256, (3, 10, 10, 3), np.uint8)
    mean = images.astype(float).reshape(3, 5, 2, 5, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(resized(images, 5, "plain"), np.floor(mean + 0.5))


@pytest.mark.parametrize("size", [3, 7, 9, 20])
def test_plain_weighs_the_four_pixels_around(size):
    images = np.random.default_rng(4).integers(0, 256, (1, 9, 14, 3), np.uint8)
    expected = np.empty((size, size, 3))
    for i, j in np.ndindex(size, size):
        y, x = (min(max((k + 0.5) * n / size - 0.5, 0), n - 1) for k, n in ((i, 9), (j, 14)))
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 8), min(left + 1, 13)
        corners = images[0, [[top, top], [bottom, bottom]], [[left, right]] * 2].astype(float)
        weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left])[..., None]
        expected[i, j] = (corners * weights).sum((0, 1))
    made = resized(images, size, "plain")[0].astype(float)
    assert np.abs(made - expected).max() < 0.501  # rounded; float32 on the way


@pytest.mark.parametrize("how", ["bilinear", "lanczos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_others_are_pillows(how, channels):
    method = Image.Resampling[how.upper()]
    images = np.random.default_rng(5).integers(0, 256, (2, 12, 12, channels), np.uint8)
    one = np.asarray(Image.fromarray(images[1].squeeze()).resize((7, 7), method)).reshape(7, 7, channels)
    np.testing.assert_array_equal(resized(images, 7, how)[1], one)
