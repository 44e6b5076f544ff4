"""SVHN from MATLAB files written here; then broken ones."""

import gzip
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from published_files import put, read, refused

from minigan.data import svhn
from minigan.data.datasets import find


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    if len(data) <= 4:  # in the tag itself
        words = (kind, len(data)) if order == "<" else (len(data), kind)
        return struct.pack(f"{order}2H", *words) + data.ljust(4, b"\0")
    return struct.pack(f"{order}2I", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name: str, array: np.ndarray, order: str = "<", code: int | None = None) -> bytes:
    kind, number = {"u1": (9, 2), "f8": (6, 9)}[array.dtype.str[1:]]
    flags = struct.pack(f"{order}2I", kind, 0)
    shape = struct.pack(f"{order}{array.ndim}i", *array.shape)
    data = array.astype(array.dtype.newbyteorder(order)).tobytes("F")
    return element(14, element(6, flags, order) + element(5, shape, order) + element(1, name.encode(), order)
                   + element(code or number, data, order), order)


def mat(*elements: bytes, order: str = "<", zipped: bool = True) -> bytes:
    head = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124)
    head += struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    if zipped:
        elements = tuple(struct.pack(f"{order}2I", 15, len(z)) + z for z in map(zlib.compress, elements))
    return head + b"".join(elements)


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (32, 32, 3, 5), np.uint8), np.array([[1], [10], [9], [2], [10]], np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("doubles", [True, False])
@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn_is_read(order, zipped, doubles, split, numbers, tmp_path, said):  # noqa: F811
    X, y = numbers
    other = matrix("other", np.arange(9.0), order)
    file = mat(other, matrix("X", X, order), matrix("y", y.astype("f8" if doubles else "u1"), order), order=order,
               zipped=zipped)
    data = read("svhn", put(tmp_path / "root", {f"{split}_32x32.mat": file}), said, split=split)
    for i in range(5):
        np.testing.assert_array_equal(data.images[i], X[..., i])
    assert data.labels.tolist() == [1, 0, 9, 2, 0] and data.classes[9] == "9"
    assert len(said) == 1 and "md5 is not the published" in said[0]
    assert find("svhn", tmp_path / "root") == (str(tmp_path / "root/train_32x32.mat") if split == "train" else None)


def test_svhn_is_read_as_scipy_writes_it(numbers, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    X, y = numbers
    for i, compressed in enumerate((True, False)):
        (tmp_path / str(i)).mkdir()
        scipy_io.savemat(tmp_path / str(i) / "train_32x32.mat", {"X": X, "y": y}, do_compression=compressed)
        data = read("svhn", tmp_path / str(i))
        np.testing.assert_array_equal(data.images, X.transpose(3, 0, 1, 2))
        assert data.labels.tolist() == [1, 0, 9, 2, 0]


def damaged_svhn(X: np.ndarray, y: np.ndarray) -> dict[str, bytes]:
    whole = mat(matrix("X", X), matrix("y", y))
    bomb = zlib.compress(matrix("X", X)[:-100] + bytes(300_000_000), 1)
    shape = struct.pack("<4i", 32, 32, 3, 5)
    lying, longer = (matrix("X", X).replace(shape, struct.pack("<4i", 32, 32, 3, n)) for n in (1 << 30, 6))
    return {
        "not a MATLAB file": b"x" * 500, "cut off": whole[:2000], "cut off ": whole[:60],
        "holds the arrays X, expected": mat(matrix("X", X)),
        "holds the arrays none": mat(), "5 images, but 4 labels": mat(matrix("X", X), matrix("y", y[:4])),
        "other numbers": mat(matrix("X", X), matrix("y", y + 1)),
        "expected uint8": mat(matrix("X", X.astype("f8")), matrix("y", y)),
        "expected uint8 ": mat(matrix("X", X[:31]), matrix("y", y)),
        "of type 16": mat(matrix("X", X, code=16), matrix("y", y)),
        "has the shape (32, 32, 3, 1073741824)": mat(lying, matrix("y", y)),
        "bytes of uint8": mat(longer, matrix("y", y)),
        "broken or cut off (Error -3": whole[:300] + bytes(40) + whole[340:],
        "holds the arrays X, expected X and y": mat(matrix("X", X)) + struct.pack("<2I", 15, len(bomb)) + bomb,
        "version 5": whole[:124] + b"\x00\x02IM" + whole[128:],
    }


@pytest.mark.parametrize("named", sorted(damaged_svhn(np.zeros((32, 32, 3, 5), np.uint8), np.ones((5, 1), np.uint8))))
def test_a_mat_file_of_another_form_is_refused(named, numbers, tmp_path):
    root = put(tmp_path / "root", {"train_32x32.mat": damaged_svhn(*numbers)[named]})
    tracemalloc.start()
    line = refused("svhn", root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert named.strip() in line and "train_32x32.mat" in line
    assert peak < 8_000_000


def test_svhn_that_is_absent_says_where_to_get_it(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "get it from http://ufldl.stanford.edu/housenumbers/test_32x32.mat" in refused(
        "svhn", tmp_path / "empty", split="test")
    assert svhn.SVHN_FILES["extra"].size == 1329278602


def test_gzip_around_a_mat_file_is_data_too(numbers, tmp_path):
    X, y = numbers
    file = gzip.compress(mat(matrix("X", X), matrix("y", y)))
    assert len(read("svhn", put(tmp_path / "root", {"train_32x32.mat": file})).images) == 5
