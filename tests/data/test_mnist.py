"""MNIST and Fashion-MNIST from IDX files written here; then broken ones."""

import gzip
import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from published_files import (
    idx,
    put,
    read,
    refused,
)

from minigan.data import dataset, locations
from minigan.data.datasets import find
from minigan.data.mnist import IDX_FILES, IdxFile
from minigan.formats.download import Published


@pytest.fixture
def digits() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(13)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (12, 28, 28), np.uint8),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 12, np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (7, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 7, np.uint8),
    }


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_idx_files_are_read_packed_and_plain(name, packed, below, split, digits, tmp_path, said):
    files = {k + ".gz" * packed: gzip.compress(idx(v)) if packed else idx(v) for k, v in digits.items()}
    put(tmp_path / "root" / (name if below else ""), files)
    data = read(name, tmp_path / "root", said, split=split)
    start = {"train": "train", "test": "t10k"}[split]
    np.testing.assert_array_equal(data.images[..., 0], digits[f"{start}-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.labels, digits[f"{start}-labels-idx1-ubyte"])
    assert data.images.shape[1:] == (28, 28, 1) and len(data.classes) == 10
    assert len(said) == 1 and "published" in said[0]
    assert find(name, tmp_path / "root") is not None


@pytest.mark.parametrize("where", ["{name}", "{dotted}", "{dotted}.gz", "{name}/{name}", "{dotted}/{dotted}",
                                   "FashionMNIST/raw/{name}", "FashionMNIST/raw/{name}.gz"])
def test_files_are_found_as_others_unpack_and_keep_them(where, digits, tmp_path):
    for name, array in digits.items():
        path = tmp_path / "root" / where.format(name=name, dotted=name.replace("-idx", ".idx"))
        other = tmp_path / "root" / "MNIST" / "raw" / name  # torchvision's other data set, beside it
        for place, content in ((other, idx(255 - array if array.ndim == 3 else 9 - array)), (path, idx(array))):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(gzip.compress(content) if place.suffix == ".gz" else content)
    roots = [tmp_path / "root", *([tmp_path / "root" / "FashionMNIST"] if "raw" in where else [])]
    for root in roots:
        for split, start in (("train", "train"), ("test", "t10k")):
            data = read("fashion-mnist", root, split=split)
            np.testing.assert_array_equal(data.images[..., 0], digits[f"{start}-images-idx3-ubyte"])
            np.testing.assert_array_equal(data.labels, digits[f"{start}-labels-idx1-ubyte"])
        assert find("fashion-mnist", root) is not None
    if "raw" in where:
        assert find("mnist", tmp_path / "root" / "FashionMNIST") is None
        found = read("mnist", tmp_path / "root").images[..., 0]
        np.testing.assert_array_equal(found, 255 - digits["train-images-idx3-ubyte"])


def test_the_digest_is_that_of_the_content_whoever_packed_it(digits, tmp_path, said, monkeypatch):
    known = {k: IdxFile(Published("", "", 0), hashlib.md5(idx(v)).hexdigest()) for k, v in digits.items()}
    monkeypatch.setitem(IDX_FILES, "mnist", known)
    for level in (1, 9):
        put(tmp_path / "root", {f"{k}.gz": gzip.compress(idx(v), level) for k, v in digits.items()})
        assert "as published" in read("mnist", tmp_path / "root", said).source
    assert said == []


def test_missing_idx_files_alone_are_downloaded(digits, cache, said, monkeypatch):
    files = {f"{k}.gz": gzip.compress(idx(v)) for k, v in digits.items()}
    put(cache / "mnist", {"train-labels-idx1-ubyte.gz": files["train-labels-idx1-ubyte.gz"]})
    asked = []

    def fetched(published: Published, path: Path, progress: object) -> Path:
        asked.append(published)
        return put(path.parent, {path.name: files[path.name]}) / path.name

    monkeypatch.setattr(dataset, "fetch", fetched)
    data = read("mnist", None, said)
    (one,) = asked
    assert one.url == "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"
    assert one.size == 9912422 and len(data.images) == 12
    assert find("mnist") == str(cache / "mnist" / "train-images-idx3-ubyte.gz")


def test_debians_folder_is_found(digits, tmp_path):
    assert find("fashion-mnist") is None
    files = {f"{k}.gz": gzip.compress(idx(v)) for k, v in digits.items()}
    put(tmp_path / "system" / "fashion-mnist", files)
    assert find("fashion-mnist") and find("mnist") is None
    assert len(read("fashion-mnist", None).images) == 12


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="package not installed")
def test_debians_fashion_mnist_has_the_published_content(monkeypatch, said):
    monkeypatch.setattr(locations, "SYSTEM_FOLDER", Path("/usr/share/datasets"))
    for split, n in (("train", 60_000), ("test", 10_000)):
        data = read("fashion-mnist", None, said, split=split)
        assert data.images.shape == (n, 28, 28, 1) and "as published" in data.source
        np.testing.assert_array_equal(np.bincount(data.labels), np.full(10, n // 10))
    assert said == []


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("file", "broken", "named"),
    [
        (IMAGES, lambda data: b"\0\0\x08\x01" + data[4:], "begins with 00 00 08 01, expected 00 00 08 03"),
        (IMAGES, lambda data: b"\0\0\x0d\x03" + data[4:], "begins with 00 00 0d 03"),
        (IMAGES, lambda data: data[:9], "cut off"),
        (IMAGES, lambda data: data[:-1], "cut off"),
        (IMAGES, lambda data: data + b"\0", "holds more"),
        (IMAGES, lambda data: data[:4] + b"\x7f\xff\xff\xff" + data[8:], "promises"),
        (IMAGES, lambda data: data[:4] + b"\x00\x10\x00\x00" + data[8:], "cut off"),
        (IMAGES, lambda data: idx(np.zeros((12, 28, 27), np.uint8)), "28 x 27, expected 28 x 28"),
        (IMAGES, lambda data: idx(np.zeros((11, 28, 28), np.uint8)), "11 images"),
        (IMAGES, lambda data: b"", "cut off"),
        (LABELS, lambda data: idx(np.full(12, 10, np.uint8)), "label 10"),
        (LABELS, lambda data: idx(np.zeros((12, 1), np.uint8)), "expected 00 00 08 01"),
    ],
)
def test_idx_files_of_another_form_are_refused(file, broken, named, packed, digits, tmp_path):
    files = {k: idx(v) for k, v in digits.items()}
    files[file] = broken(files[file])
    if packed:
        files = {f"{k}.gz": gzip.compress(v) for k, v in files.items()}
    root = put(tmp_path / "root", files)
    line = refused("mnist", root)
    assert named in line and "-ubyte" in line


def test_files_without_images_are_refused(tmp_path):
    empty = {IMAGES: idx(np.zeros((0, 28, 28), np.uint8)), LABELS: idx(np.zeros(0, np.uint8))}
    assert "holds no images" in refused("mnist", put(tmp_path / "root", empty))


def test_gzip_that_is_cut_off_or_spoilt_is_refused(digits, tmp_path):
    good = gzip.compress(idx(digits[IMAGES]))
    labels = gzip.compress(idx(digits[LABELS]))
    wrong_sum, spoilt = good[:-8] + bytes(4) + good[-4:], good[:40] + b"\xff" * 40 + good[80:]
    for i, data in enumerate((good[:-2000], good[:-4], good[:5], wrong_sum, spoilt)):
        root = put(tmp_path / str(i), {f"{IMAGES}.gz": data, f"{LABELS}.gz": labels})
        line = refused("mnist", root)
        assert f"{IMAGES}.gz" in line and "broken or cut off" in line


def test_a_gzip_bomb_takes_no_more_than_its_header_promises(digits, tmp_path):
    bomb = gzip.compress(idx(digits[IMAGES]) + bytes(300_000_000), 1)
    root = put(tmp_path / "root", {f"{IMAGES}.gz": bomb, LABELS: idx(digits[LABELS])})
    tracemalloc.start()
    line = refused("mnist", root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "holds more" in line and peak < 5_000_000
