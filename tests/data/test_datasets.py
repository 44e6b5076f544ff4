"""All data sets: what is asked of them, and what cannot be meant."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from published_files import (
    BATCHES,
    binary_files,
    idx,
    put,
    python_files,
    read,
    refused,
)

from minigan.data.datasets import find, load
from minigan.errors import FailedWork, WrongUse


def test_wrong_requests_name_the_choices():
    assert "celeba, cifar10, cifar100, fashion-mnist, folder, imagenet, mnist" in refused("cifar", None, WrongUse)
    assert "test, train" in refused("shapes", None, WrongUse, split="valid")
    assert "crop, stretch" in refused("shapes", None, WrongUse, fit="squeeze")
    for size in (0, 3, 1025):
        assert "4 to 1024" in refused("shapes", None, WrongUse, size=size)
    with pytest.raises(WrongUse):
        find("cifar")


def matlab_73() -> bytes:
    """As MATLAB's save(name, 'X', '-v7.3') has it: an HDF5 file behind 512 bytes of its own."""
    made = io.BytesIO()
    with h5py.File(made, "w", userblock_size=512) as file:
        file["X"] = np.zeros((2, 3, 32, 32), np.uint8)
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
    return (head.ljust(124) + b"\0\2IM").ljust(512, b"\0") + made.getvalue()[512:]


def torchscript() -> bytes:
    """The files that torch.jit.save puts into its zip archive, without a network."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl", "version"):
            file.writestr(f"net/{name}", b"\x80\x02).")
    return made.getvalue()


# What people have in place of a file of data -> what it is called.
INSTEAD = {b"<!DOCTYPE html><html>not found</html>" * 20: "is an HTML page",
           b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n": "is a Git LFS pointer",
           matlab_73(): "is a MATLAB 7.3 file", torchscript(): "is TorchScript"}


@pytest.mark.parametrize("name, files", [
    ("cifar10", ["cifar-10-python.tar.gz"]), ("cifar10", [f"data_batch_{i}" for i in range(1, 6)]),
    ("cifar100", ["cifar-100-python.tar.gz"]), ("mnist", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]),
    ("svhn", ["train_32x32.mat"]), ("stl10", ["stl10_binary.tar.gz"]), ("celeba", ["img_align_celeba.zip"]),
    ("packed", ["a.h5"]), ("folder", ["a.zip"]), ("folder", ["a.npz"])])
@pytest.mark.parametrize("content", INSTEAD, ids=INSTEAD.values())
def test_what_lies_in_place_of_the_data_is_called_what_it_is(name, files, content, tmp_path):
    put(tmp_path / "root", dict.fromkeys(files, content))
    root = tmp_path / "root" / files[0] if name in ("packed", "folder") else tmp_path / "root"
    line = refused(name, root, (FailedWork, WrongUse))
    assert ("save it again as version 7" in line) == (name == "svhn" and "MATLAB" in line)  # no other reader takes it
    assert INSTEAD[content] in line and str(tmp_path / "root" / files[0]) in line and "\n" not in line


def test_another_size_is_antialiased(tmp_path):
    stripes = np.zeros((8, 32, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255
    content = {name: (stripes, [1] * 8) for name in BATCHES}
    root = put(tmp_path / "root", binary_files(content))
    small = read("cifar10", root, size=8).images
    assert small.shape == (40, 8, 8, 3)
    assert np.abs(small[:, :, 2:-2].astype(int) - 127).max() < 10  # the mean; single pixels are 0 or 255
    grey = idx(np.full((2, 28, 28), 50, np.uint8))
    put(tmp_path / "root", {"train-images-idx3-ubyte": grey, "train-labels-idx1-ubyte": idx(np.zeros(2, np.uint8))})
    large = read("mnist", root, size=32).images
    assert large.shape == (2, 32, 32, 1) and (large == 50).all()


def test_remarks_go_to_stderr_unless_told_otherwise(tmp_path, capsys):
    load("cifar10", root=put(tmp_path / "root", python_files()), split="test")
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "test_batch" in err


def test_wrong_choices_name_the_right_ones():
    assert "has no split 'valid'; choose from: extra, test, train" in refused(
        "svhn", None, WrongUse, split="valid")
    assert "bilinear, lanczos, plain" in refused("imagenet", None, WrongUse, resize="cubic")
    assert "takes no crop" in refused("imagenet", None, WrongUse, crop=64)
    assert "4 to 1024" in refused("celeba", None, WrongUse, crop=2)
