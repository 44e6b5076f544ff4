"""Arrays of images as several programs write them: the same images, and how they were taken is said."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from minigan.errors import FailedWork, WrongUse
from minigan.formats import image_files
from minigan.formats.foreign.image_arrays import read_npz


@pytest.fixture
def images(rng) -> np.ndarray:
    images = rng.integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    images[0, 0, 0] = 0, 128, 255  # both ends of every range
    return images


def taken(path, said=None) -> np.ndarray:
    found = read_npz(path, (said if said is not None else []).append)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    return found


def test_an_npz_file_gives_back_its_images_without_a_word(images, tmp_path):
    image_files.save_npz(tmp_path / "a.npz", images)
    said = []
    np.testing.assert_array_equal(taken(tmp_path / "a.npz", said), images)
    assert said == []


# What other programs write of the same images -> words of the line that says how they were taken.
WAYS = {
    "ADM": (lambda x: {"arr_0": x, "arr_1": np.arange(5)}, "taken as its array 'arr_0'"),
    "BigGAN": (lambda x: {"x": x.transpose(0, 3, 1, 2), "y": np.arange(5)}, "its array 'x', (N, C, H, W)"),
    "another name": (lambda x: {"fakes": x, "z": np.zeros((5, 128))}, "its array 'fakes'"),
    "statistics beside them": (lambda x: {"arr_0": x, "mu": np.zeros(3), "sigma": np.eye(3)}, "its array 'arr_0'"),
    "Fortran's order": (lambda x: {"images": np.asfortranarray(x)}, ""),
    "integers": (lambda x: {"images": x.astype(np.int64)}, ""),
    "from 0 to 1": (lambda x: {"images": x / np.float32(255)}, "float32 in [0, 1] (they go from 0 to 1), rounded"),
    "from -1 to 1": (lambda x: {"images": x / 127.5 - 1}, "float64 in [-1, 1] (they go from -1 to 1), rounded"),
    "a little beyond": (lambda x: {"images": (x / 127.5 - 1) * 1.0005}, "in [-1, 1] (they go from -1 to 1)"),
    "floats of bytes": (lambda x: {"images": x.astype(np.float32)}, "float32 in [0, 255]"),
    "big-endian": (lambda x: {"images": (x / 127.5 - 1).astype(">f4")}, "in [-1, 1]"),
}


@pytest.mark.parametrize("way", WAYS)
def test_other_programs_arrays_are_the_same_images(way, images, tmp_path):
    made, words = WAYS[way]
    np.savez(tmp_path / "a.npz", **made(images))
    said = []
    np.testing.assert_array_equal(taken(tmp_path / "a.npz", said), images)
    assert len(said) == bool(words) and all(words in line for line in said)


def test_images_without_an_axis_for_channels_are_grey(images, tmp_path):
    np.savez(tmp_path / "a.npz", images[..., 0])
    said = []
    np.testing.assert_array_equal(taken(tmp_path / "a.npz", said), images[..., :1])
    assert "(N, H, W), grey" in said[0]


@pytest.mark.parametrize("arrays, word", [
    ({"mu": np.zeros(8), "sigma": np.zeros((8, 8))}, "no array of images (its arrays: mu, sigma)"),
    ({}, "its arrays: none"),
    ({"a": np.zeros((2, 4, 4, 3)), "b": np.zeros((2, 4, 4, 3))}, "several arrays that may be images: a, b"),
    ({"images": np.zeros((2, 4, 4, 4), np.uint8)}, "(2, 4, 4, 4)"),
    ({"images": np.zeros((4, 4, 3), np.uint8)}, "(4, 4, 3)"),
    ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "(0, 4, 4, 3)"),
    ({"images": np.array([{}], object)}, "object"),
    ({"images": np.full((2, 4, 4, 3), "a")}, "<U1"),
    ({"images": np.zeros((2, 4, 4, 3), np.complex64)}, "complex64"),
    ({"images": np.full((2, 4, 4, 3), np.nan)}, "not finite"),
    ({"images": np.full((2, 4, 4, 3), -300)}, "from -300 to -300"),
    ({"images": np.linspace(-2.5, 2.5, 96).reshape(2, 4, 4, 3)}, "from -2.5 to 2.5, which is no range of images"),
])
def test_another_npz_file_is_refused(arrays, word, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(WrongUse, match="expected an .npz file with an array") as caught:
        taken(tmp_path / "a.npz")
    assert word in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("data, word", [
    (b"<html>", "is an HTML page"), (b"", "is an empty file"), (b"abc", "not a zip"),
    (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer")])
def test_what_is_no_npz_file_is_called_what_it_is(data, word, tmp_path):
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(WrongUse, match=word):
        taken(tmp_path / "a.npz")


def test_an_npz_file_that_promises_more_than_it_has_takes_no_memory(tmp_path):
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        data, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 64, 64, 3)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", data.getvalue() + bytes(100))
    tracemalloc.start()
    with pytest.raises((WrongUse, FailedWork)):
        taken(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
