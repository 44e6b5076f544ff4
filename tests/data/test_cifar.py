"""CIFAR-10 and CIFAR-100 from files written here in their published formats; then broken and hostile ones."""

import dataclasses
import hashlib
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar_pickles import py2_batch
from published_files import (
    BATCHES,
    archive,
    batches,
    binary_files,
    planes,
    put,
    python_files,
    read,
    refused,
    tar_header,
    write_tar,
)

from minigan.data import cifar, dataset
from minigan.data.cifar import CIFAR100_CLASSES
from minigan.data.dataset import Dataset
from minigan.data.datasets import find
from minigan.formats.download import Published


def same(data: Dataset, split: str = "train") -> bool:
    names = BATCHES[:5] if split == "train" else BATCHES[5:]
    images = np.concatenate([batches()[name][0] for name in names])
    labels = np.concatenate([batches()[name][1] for name in names])
    return np.array_equal(data.images, images) and np.array_equal(data.labels, labels)


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "python archive": lambda root: archive(
        root / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py"
    ).parent,
    "python archive itself": lambda root: archive(root / "any.tgz", python_files(), "cifar-10-batches-py"),
    "python archive with extended headers": lambda root: archive(
        root / "any.tgz", python_files(), "cifar-10-batches-py", tarfile.PAX_FORMAT
    ),
    "binary archive": lambda root: archive(
        root / "cifar-10-binary.tar.gz", binary_files(), "cifar-10-batches-bin"
    ).parent,
    "binary archive itself": lambda root: archive(root / "any.tgz", binary_files(), "cifar-10-batches-bin"),
    "archive in a folder cifar10": lambda root: archive(
        root / "cifar10" / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py"
    ).parent.parent,
    "python folder": lambda root: put(root / "cifar-10-batches-py", python_files()).parent,
    "python folder itself": lambda root: put(root / "cifar-10-batches-py", python_files()),
    "binary folder": lambda root: put(root / "cifar-10-batches-bin", binary_files()).parent,
    "binary folder itself": lambda root: put(root / "renamed", binary_files()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar10_is_read_from_every_form_it_comes_in(layout, split, tmp_path):
    root = LAYOUTS[layout](tmp_path / "root")
    data = read("cifar10", root, split=split)
    assert same(data, split)
    assert data.classes[:2] == ("airplane", "automobile") and len(data.classes) == 10
    assert str(root) in data.source
    assert find("cifar10", root) is not None


def test_cifar10_in_the_cache_folder_needs_no_download(cache):
    assert find("cifar10") is None
    path = archive(cache / "cifar10" / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py")
    assert find("cifar10") == str(path)
    assert same(read("cifar10", None))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cifar10_written_again_by_python_3_reads_the_same(protocol, tmp_path):
    files = {}
    for name, (images, labels) in batches().items():
        key = (lambda text: text) if protocol >= 4 else str.encode
        files[name] = pickle.dumps({key("data"): planes(images), key("labels"): labels}, protocol)
    assert same(read("cifar10", put(tmp_path / "root", files)))


def test_only_the_files_of_the_split_are_needed(tmp_path):
    root = put(tmp_path / "root", {"test_batch": python_files()["test_batch"]})
    assert same(read("cifar10", root, split="test"), "test")
    assert "data_batch_1" in refused("cifar10", root)


def test_a_digest_other_than_the_published_one_is_said_in_one_line(tmp_path, said, monkeypatch):
    files = python_files()
    root = put(tmp_path / "root", files)
    data = read("cifar10", root, said)
    assert len(said) == 1 and "data_batch_1" in said[0] and str(root) in said[0] and "\n" not in said[0]
    assert "not the published" in data.source
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(cifar, "FILE_MD5", md5)
    said.clear()
    assert "as published" in read("cifar10", root, said).source and said == []
    path = archive(tmp_path / "any.tgz", binary_files(), "cifar-10-batches-bin")
    read("cifar10", path, said)
    assert len(said) == 1 and "any.tgz" in said[0]
    monkeypatch.setattr(cifar, "BINARY_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    assert "as published" in read("cifar10", path, said).source and len(said) == 1


def test_nothing_given_and_nothing_cached_means_a_download(cache, said, monkeypatch):
    asked = []

    def fetched(published: Published, path: Path, progress: object) -> Path:
        asked.append(published.url)
        return archive(path, python_files(), "cifar-10-batches-py")

    monkeypatch.setattr(dataset, "fetch", fetched)
    assert same(read("cifar10", None, said))
    assert asked == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
    assert asked[0] in said[0] and str(cache / "cifar10" / "cifar-10-python.tar.gz") in said[0]
    assert same(read("cifar10", None)) and len(asked) == 1  # from the cache now


def test_a_root_without_the_data_is_refused_without_a_download(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "cifar-10-python.tar.gz" in refused("cifar10", tmp_path / "empty")
    assert "train-images-idx3-ubyte" in refused("mnist", tmp_path / "empty")
    assert "no such file or folder" in refused("cifar10", tmp_path / "nowhere")
    assert find("cifar10", tmp_path / "empty") is None and find("mnist", tmp_path / "empty") is None


def with_batch(tmp_path: Path, name: str, data: bytes) -> Path:
    """A root whose other batches are in order."""
    files = binary_files() if name.endswith(".bin") else python_files()
    return put(tmp_path / "root", files | {name: data})


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ([1, 2], "holds a list"),
        ({b"labels": [1]}, "'data' is not"),
        ({b"data": np.zeros((2, 3072), np.int8), b"labels": [1, 2]}, "'data' is not"),
        ({b"data": np.zeros((2, 3071), np.uint8), b"labels": [1, 2]}, "'data' is not"),
        ({b"data": np.zeros(3072, np.uint8), b"labels": [1]}, "'data' is not"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "not a list of 2"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": "12"}, "not a list of 2"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}, "0 to 9"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, -1]}, "0 to 9"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, None]}, "0 to 9"),
        ({b"data": np.array([{}, {}]), b"labels": [1, 2]}, "not a plain number"),
        ({b"data": os.system, b"labels": [1, 2]}, "system"),
    ],
)
def test_a_pickle_of_something_else_is_refused(batch, named, tmp_path):
    line = refused("cifar10", with_batch(tmp_path, "data_batch_3", pickle.dumps(batch, 4)))
    assert "data_batch_3" in line and named in line


def test_broken_batches_are_refused_by_name(tmp_path, monkeypatch):
    whole = python_files()["data_batch_2"]
    line = refused("cifar10", with_batch(tmp_path, "data_batch_2", whole[:5000]))
    assert "data_batch_2" in line and "cut off" in line
    whole = binary_files()["data_batch_2.bin"]
    for data, named in ((whole[:-1], "no multiple of 3073"), (b"\x0a" + whole[1:], "label 10")):
        root = with_batch(tmp_path / str(len(data)), "data_batch_2.bin", data)
        line = refused("cifar10", root)
        assert "data_batch_2.bin" in line and named in line
    monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, most=10_000))
    assert "expected at most 10000" in refused("cifar10", put(tmp_path / "big", python_files()))


FIRST = "cifar-10-batches-py/test_batch"


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (tar_header(FIRST, 0, b"2", "/etc/passwd"), "is a link"),
        (tar_header(FIRST, 0, b"1", "cifar-10-batches-py/x"), "is a link"),
        (tar_header(FIRST, 0, b"3"), "special file"),
        (tar_header(FIRST, 65 << 20), "expected at most"),
        (tar_header(FIRST, 1 << 40), "broken one"),
        (tar_header(FIRST, 8**11 - 1), "would unpack to more"),
        (tar_header("other", 600 << 20), "would unpack to more"),
        (tar_header("other", 8**11 - 1, b"x"), "would unpack to more"),
        (tar_header(FIRST, 60 << 20), "cut off"),
        (tar_header(FIRST, 100)[:300] + b"\xff" + tar_header(FIRST, 100)[301:], "broken one"),
        (b"not a tar archive " * 40, "not a tar archive"),
        (tar_header("../../" + FIRST, 3) + b"abc".ljust(512, b"\0"), "not found in the archive"),
        (tar_header("/" + FIRST, 3) + b"abc".ljust(512, b"\0"), "not found in the archive"),
        (tar_header("elsewhere/test_batch", 3) + b"abc".ljust(512, b"\0"), "not found in the archive"),
    ],
)
def test_hostile_archives_are_refused_and_nothing_is_written(header, named, tmp_path):
    path = write_tar(tmp_path / "evil.tar.gz", header)
    before = sorted(tmp_path.rglob("*"))
    line = refused("cifar10", path, split="test")
    assert named in line and len(line) < 300
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_beside_the_batches_is_of_no_consequence(tmp_path):
    data = python_files()["test_batch"]
    harmless = tar_header("cifar-10-batches-py/extra", 0, b"2", "../../../etc"), tar_header("../up", 0)
    padded = data + bytes(-len(data) % 512)
    path = write_tar(tmp_path / "odd.tar.gz", *harmless, tar_header("./" + FIRST, len(data)), padded)
    assert same(read("cifar10", path, split="test"), "test")
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [10, 5000, -5000, -20_000])
def test_a_truncated_archive_is_refused(keep, tmp_path):
    path = archive(tmp_path / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py")
    path.write_bytes(path.read_bytes()[:keep])
    assert "cut off" in refused("cifar10", path)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    for data in (b"", b"text", b"\x1f\x8b", b"\x1f\x8b" + bytes(50), bytes(2000)):
        path = tmp_path / "file"
        path.write_bytes(data)
        refused("cifar10", path)


# ---- CIFAR-100 ----


def cifar100_file(images: np.ndarray, labels: list[int]) -> bytes:
    """As cPickle writes it, with the other entries of the published files: names, coarse labels."""
    data = py2_batch(planes(images), labels)
    assert data.count(b"U\x06labels") == 1 and data.endswith(b"u.")
    names = b"U\x09filenames](" + b"U\x05a.png" * len(labels) + b"e"
    coarse = b"U\x0dcoarse_labels](" + b"K\x03" * len(labels) + b"e"
    return data[:-2].replace(b"U\x06labels", b"U\x0bfine_labels") + names + coarse + b"u."


@pytest.fixture
def hundred() -> dict[str, tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(6)
    return {split: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 100, n).tolist())
            for split, n in (("train", 7), ("test", 5))}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar100_gives_the_fine_labels(packed, split, hundred, tmp_path, said):  # noqa: F811
    files = {name: cifar100_file(*content) for name, content in hundred.items()} | {"meta": b"not read"}
    if packed:
        root = archive(tmp_path / "root" / "cifar-100-python.tar.gz", files, "cifar-100-python").parent
    else:
        root = put(tmp_path / "root" / "cifar-100-python", files).parent
    data = read("cifar100", root, said, split=split)
    np.testing.assert_array_equal(data.images, hundred[split][0])
    assert data.labels.tolist() == hundred[split][1] and data.labelled
    assert len(said) == 1 and "not the published" in said[0]


def test_cifar100_has_a_hundred_classes_in_the_order_of_the_alphabet():
    assert len(set(CIFAR100_CLASSES)) == 100 and list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    assert CIFAR100_CLASSES[0] == "apple" and CIFAR100_CLASSES[99] == "worm"


def test_cifar100_is_downloaded_if_it_is_nowhere(cache, hundred, said, monkeypatch):  # noqa: F811
    def fetched(published: Published, path: Path, progress: object) -> Path:
        assert published.size == 169001437
        files = {name: cifar100_file(*content) for name, content in hundred.items()}
        return archive(path, files, "cifar-100-python")

    monkeypatch.setattr(dataset, "fetch", fetched)
    assert len(read("cifar100", None, said).images) == 7
    assert "downloading https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz (169 MB)" in said[0]
    assert find("cifar100") == str(cache / "cifar100" / "cifar-100-python.tar.gz")


def test_cifar100_that_is_absent_or_cifar10_is_refused(hundred, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused("cifar100", tmp_path / "empty")
    assert "looked for cifar-100-python.tar.gz, or train, also in cifar-100-python and cifar100" in line
    root = put(tmp_path / "root", {"train": py2_batch(planes(hundred["train"][0]), hundred["train"][1])})
    assert "its 'fine_labels' are not a list of 7" in refused("cifar100", root)
    root = put(tmp_path / "more", {"train": cifar100_file(hundred["train"][0], [100] * 7)})
    assert "0 to 99" in refused("cifar100", root)
