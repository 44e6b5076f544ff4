"""Arrays as pixels: what is taken, and one sentence with what to write for everything else."""

import numpy as np
import pytest

from minigan.errors import WrongUse
from minigan.library import arrays


def uint8(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def test_bytes_are_taken_as_they_are_and_not_copied(rng):
    images = uint8(rng, 4, 16, 16, 3)
    assert arrays.pixels(images).base is images or arrays.pixels(images) is images
    np.testing.assert_array_equal(arrays.pixels(images[..., 0])[..., 0], images[..., 0])
    np.testing.assert_array_equal(arrays.pixels(images.astype(np.int64)), images)
    np.testing.assert_array_equal(arrays.pixels(images.tolist()), images)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255), (-3.5, 12)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_of_a_stated_range_come_back_to_the_bytes_that_they_were_made_of(rng, low, high, dtype):
    images = uint8(rng, 300, 16, 16, 1)  # more than a block
    floats = (images / 255 * (high - low) + low).astype(dtype)
    np.testing.assert_array_equal(arrays.pixels(floats, range=(low, high)), images)


def test_bytes_of_a_stated_range_are_scaled():
    masks = np.array([0, 1] * 128, np.uint8).reshape(1, 16, 16)
    assert set(arrays.pixels(masks, range=(0, 1)).ravel()) == {0, 255}
    assert set(arrays.pixels(masks.astype(bool), range=(0, 1)).ravel()) == {0, 255}
    assert set(arrays.pixels(masks, range=(0, 255)).ravel()) == {0, 1}


@pytest.mark.parametrize(("make", "says"), [
    (lambda u: u / 255, "float64 numbers from 0 to 1; .*range=(0, 1)"),
    (lambda u: (u / 127.5 - 1).astype(np.float32), "float32 numbers from -1 to 1; .*range=(-1, 1)"),
    (lambda u: u.astype(np.float32), "numbers from 0 to 255; .*range=(0, 255), or images.astype('uint8')"),
    (lambda u: (u > 9).astype(np.uint8), "uint8 numbers from 0 to 1, which would be black all over; .*range=(0, 1)"),
    (lambda u: u > 9, "bool numbers from 0 to 1, which would be black"),
    (lambda u: u.astype(int) - 9, "from -9 to 246; expected 0 to 255"),
    (lambda u: u.astype(np.uint16) * 257, "from 0 to 65535; expected 0 to 255"),
    (lambda u: np.where(u == 0, np.nan, u / 255), "not finite; .*nan_to_num"),
    (lambda u: np.where(u == 0, np.inf, u / 255), "not finite"),
    (lambda u: u.astype(complex), "numbers of type complex128"),
    (lambda u: u.astype(str), "numbers of type <U"),
    (lambda u: [*u, u[0, :8]], "a list of images of different shapes; .*: bring all to one size"),
    (lambda u: ["a.png", "b.png"], "texts, shape (2,); expected"),
    (lambda u: object(), "shape ()|array of objects"),
    (lambda u: u[:0], "an empty array (0, 16, 16, 3)"),
    (lambda u: u[0], "shape (16, 16, 3), which is one image"),
    (lambda u: u[0, ..., 0], "shape (16, 16), which is one image"),
    (lambda u: u[:1], "1 image, .*at least 2"),
    (lambda u: u.transpose(0, 3, 1, 2), "which is (N, C, H, W); write images.transpose(0, 2, 3, 1)"),
    (lambda u: np.concatenate([u, u[..., :1]], -1), "4 channels; write images[..., :3]"),
    (lambda u: u.reshape(4, 16, 8, 6), "shape (4, 16, 8, 6); expected (N, H, W)"),
    (lambda u: u[None], "shape (1, 4, 16, 16, 3); expected"),
    (lambda u: np.concatenate([u, u], 2), "16 x 32 pixels; .*write images[:, :, 8:24]"),
    (lambda u: np.concatenate([u, u], 1), "32 x 16 pixels; .*write images[:, 8:24]"),
    (lambda u: u[:, :12, :12], "12 x 12 pixels; expected 16 x 16 to .*size=32"),
])
def test_what_cannot_be_meant_is_one_sentence(rng, make, says):
    images = uint8(rng, 4, 16, 16, 3)
    images.flat[:2] = 0, 255
    with pytest.raises(WrongUse) as caught:
        arrays.dataset(make(images))
    line = str(caught.value)
    assert line.startswith("images: ") and "\n" not in line
    assert any(all(part in line for part in way.split(".*")) for way in says.split("|")), line


@pytest.mark.parametrize(("write", "shape"), [("images[:, :, 8:24]", (4, 16, 32, 3)), ("images[:, 8:24]", (4, 32, 16)),
                                              ("images.transpose(0, 2, 3, 1)", (4, 3, 16, 16))])
def test_what_a_sentence_says_to_write_works(rng, write, shape):
    images = uint8(rng, *shape)
    with pytest.raises(WrongUse) as caught:
        arrays.dataset(images)
    assert write in str(caught.value)
    assert arrays.dataset(eval(write, {"images": images})).images.shape[:3] == (4, 16, 16)


@pytest.mark.parametrize(("range", "says"), [
    ((0, 1), "does not hold them"), ((1, 0), "black below white"), ((0, 0), "black below white"), (1, "such as (0, 1)"),
    ((0, float("nan")), "black below white"), ("01", "such as (0, 1)"), ((0, 1, 2), "such as (0, 1)")])
def test_a_range_that_is_none_or_too_narrow_is_refused(rng, range, says):
    with pytest.raises(WrongUse) as caught:
        arrays.pixels(uint8(rng, 4, 16, 16, 3).astype(float), range=range)
    assert says in str(caught.value)


def test_labels_are_one_whole_number_for_each(rng):
    images = uint8(rng, 4, 16, 16, 3)
    data = arrays.dataset(images, [0, 2, 1, 2])
    assert data.labels.tolist() == [0, 2, 1, 2] and data.classes == ("0", "1", "2") and data.labelled
    assert not arrays.dataset(images).labelled
    for labels, says in (([0, 1], "shape (2,)"), (np.eye(4), "labels.argmax(1)"), ([0.0, 1, 2, 3], "type float64"),
                         ([0, 1, 2, -1], "from -1 to 2"), (list("abcd"), "return_inverse"), (["a", 1, None, []], "")):
        with pytest.raises(WrongUse) as caught:
            arrays.dataset(images, labels)
        assert str(caught.value).startswith("labels: ") and says in str(caught.value)


def test_another_size_is_reached_as_for_files(rng):
    assert arrays.dataset(uint8(rng, 2, 12, 12), size=16).images.shape == (2, 16, 16, 1)
    for size in (8, 4096):
        with pytest.raises(WrongUse, match="expected 16 to 1024"):
            arrays.dataset(uint8(rng, 2, 12, 12), size=size)
