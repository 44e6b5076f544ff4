"""Pixels: the rules from a byte to a network's number and back."""

import numpy as np
import pytest

from minigan.data import pixels


def test_every_byte_survives_the_way_to_float_and_back():
    x = np.arange(256, dtype=np.uint8)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(pixels.to_uint8(x.astype(dtype) / dtype(127.5) - 1), x)
    for back in (pixels.to_uint8, pixels.truncated):
        assert np.array_equal(back(pixels.to_floats(x)), x)
    assert pixels.to_uint8(x) is x


def test_floats_span_minus_one_to_one_and_noise_of_a_grey_level_stays_within_it():
    x = np.arange(256, dtype=np.uint8)
    for scaling, divisor in (("255", 127.5), ("128", 128)):
        found = pixels.to_floats(x, scaling)
        assert found.dtype == np.float32 and np.array_equal(x, np.arange(256))
        np.testing.assert_allclose(found, np.arange(256) / divisor - 1, atol=1e-7)
    given = np.array([3.0, 3.5, 4.0], np.float32)
    assert (np.diff(pixels.to_floats(given, "128")) == 0.5 / 128).all() and given[0] == 3


def test_floats_are_rounded_and_clipped():
    x = np.array([-3, -1, -1 + 1.2 / 255, -1 + 0.8 / 255, 0.99999, 1, np.inf, -np.inf, np.nan])
    assert pixels.to_uint8(x).tolist() == [0, 0, 1, 0, 255, 255, 255, 0, 0]
    half = np.array([[0.5, -0.5]], np.float16)
    assert pixels.to_uint8(half).tolist() == [[191, 64]]  # 191.25 and 63.75
    with pytest.raises(ValueError, match="int64 .2,.; expected float"):
        pixels.to_uint8(np.array([0, 255]))
