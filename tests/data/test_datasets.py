"""Each data set from files written here in its exact published format; then broken and hostile ones."""

import dataclasses
import gzip
import hashlib
import os
import pickle
import struct
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image, ImageDraw
from published_files import (
    BATCHES,
    archive,
    batches,
    binary_files,
    idx,
    planes,
    put,
    python_files,
    read,
    refused,
    tar_header,
    write_tar,
)

from minigan.data import cifar, dataset, datasets, places
from minigan.data.datasets import Dataset, find, load
from minigan.data.idx import IDX_FILES, IdxFile
from minigan.errors import WrongUse
from minigan.formats.download import Published

# ---- CIFAR-10 ----


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


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_cifar10_written_again_by_python_3_reads_the_same(protocol, tmp_path):
    files = {}
    for name, (images, labels) in batches().items():
        key = (lambda text: text) if protocol == 4 else str.encode
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


# ---- MNIST and Fashion-MNIST ----


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
    monkeypatch.setattr(places, "SYSTEM_FOLDER", Path("/usr/share/datasets"))
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


# ---- a folder of pictures ----


def picture(path: Path, size: tuple[int, int] = (48, 40), colour: object = (200, 30, 60), mode: str = "RGB",
            **options: object) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def centre(data: Dataset, i: int = 0) -> list[int]:
    side = data.images.shape[1]
    return data.images[i, side // 2, side // 2].tolist()


def test_classes_are_the_folders_of_the_first_level_in_sorted_order(tmp_path):
    for i, name in enumerate(("b/2.png", "a/x/y/9.png", "b/10.png", "a/1.png", "c/none.txt")):
        path = tmp_path / "root" / name
        picture(path, colour=(10 * i, 0, 0)) if name.endswith("png") else path.parent.mkdir()
    data = read("folder", tmp_path / "root")
    assert data.classes == ("a", "b") and data.labels.tolist() == [0, 0, 1, 1]
    assert [centre(data, i)[0] for i in range(4)] == [30, 10, 20, 0]  # a/1, a/x/y/9, b/10, b/2
    assert data.images.shape == (4, 32, 32, 3)


def test_a_flat_folder_is_one_class(tmp_path):
    picture(tmp_path / "root" / "1.png")
    picture(tmp_path / "root" / "2.JPG")
    data = read("folder", tmp_path / "root", size=16)
    assert data.classes == ("all",) and data.labels.tolist() == [0, 0] and data.images.shape == (2, 16, 16, 3)
    assert find("folder", tmp_path / "root") == str(tmp_path / "root") and find("folder") is None


def test_pictures_beside_class_folders_are_kept_and_said(tmp_path, said):
    picture(tmp_path / "root" / "1.png")
    picture(tmp_path / "root" / "a" / "2.png")
    assert read("folder", tmp_path / "root", said).classes == (".", "a")
    assert len(said) == 1 and "1 pictures lie beside" in said[0]


@pytest.mark.parametrize("wide", [True, False])
def test_crop_takes_the_middle_and_stretch_takes_all(wide, tmp_path):
    image = Image.fromarray(np.random.default_rng(19).integers(0, 256, (64, 192, 3), np.uint8))
    image = image if wide else image.transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "root").mkdir()
    image.save(tmp_path / "root" / "1.png")
    scaled = image.resize((96, 32) if wide else (32, 96), Image.Resampling.LANCZOS)  # short side to 32
    middle = scaled.crop((32, 0, 64, 32) if wide else (0, 32, 32, 64))
    np.testing.assert_array_equal(read("folder", tmp_path / "root").images[0], np.asarray(middle))
    whole = image.resize((32, 32), Image.Resampling.LANCZOS)
    stretched = read("folder", tmp_path / "root", fit="stretch").images[0]
    np.testing.assert_array_equal(stretched, np.asarray(whole))


def test_a_picture_of_the_right_size_comes_through_unchanged(tmp_path):
    pixels = np.random.default_rng(17).integers(0, 256, (32, 32, 3), np.uint8)
    (tmp_path / "root").mkdir()
    Image.fromarray(pixels).save(tmp_path / "root" / "1.png")
    np.testing.assert_array_equal(read("folder", tmp_path / "root").images[0], pixels)


def test_many_pictures_keep_their_order_whatever_the_threads(tmp_path):
    for i in range(300):
        picture(tmp_path / "root" / f"{i:03}.png", (8 + i % 5, 8), (i % 256, i // 256, 7))
    done = []
    data = load("folder", root=tmp_path / "root", size=8, progress=lambda *at: done.append(at))
    assert data.images[:, 4, 4].tolist() == [[i % 256, i // 256, 7] for i in range(300)]
    assert done == [(256, 300, "reading pictures"), (300, 300, "reading pictures")]


def test_transparent_pictures_are_laid_on_white(tmp_path):
    root = tmp_path / "root"
    picture(root / "1.png", colour=(255, 0, 0, 0), mode="RGBA")
    picture(root / "2.png", colour=(255, 0, 0, 128), mode="RGBA")
    picture(root / "3.png", colour=(0, 0), mode="LA")
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(root / "4.png", transparency=1)
    palette.save(root / "5.gif", transparency=1)
    picture(root / "6.png", colour=(9, 9, 9), transparency=(9, 9, 9))
    picture(root / "7.webp", colour=(255, 0, 0, 0), mode="RGBA", lossless=True)
    data = read("folder", root)
    assert [centre(data, i) for i in range(7)] == [[255] * 3, [255, 127, 127]] + [[255] * 3] * 5


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    root = tmp_path / "root"
    picture(root / "1.png", colour=77, mode="L")
    picture(root / "2.png", colour=1, mode="1")
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(root / "3.png")
    sixteen = np.full((40, 40), 0x8080, np.uint16)  # 128 * 257
    Image.fromarray(sixteen).save(root / "4.png")
    Image.fromarray(sixteen).save(root / "5.tiff")
    picture(root / "6.tiff", colour=(0, 255, 255, 0), mode="CMYK")
    picture(root / "7.jpg", colour=(0, 255, 255, 0), mode="CMYK", quality=100)
    picture(root / "8.bmp", colour=(1, 2, 3))
    picture(root / "9.ppm", colour=(4, 5, 6))
    data = read("folder", root)
    expected = [[77] * 3, [255] * 3, [10, 20, 30], [128] * 3, [128] * 3, [255, 0, 0]]
    expected += [[255, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert np.abs(np.array([centre(data, i) for i in range(9)]) - expected).max() <= 2  # JPEG's rounding


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_an_animation_counts(kind, tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    (tmp_path / "root").mkdir()
    more = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / "root" / f"1.{kind}", save_all=True, append_images=frames[1:], **more)
    assert centre(read("folder", tmp_path / "root")) == [255, 0, 0]


def test_exif_orientation_is_obeyed(tmp_path):
    image = Image.new("RGB", (64, 64), "black")
    ImageDraw.Draw(image).rectangle((0, 0, 63, 31), fill="white")  # upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    (tmp_path / "root").mkdir()
    image.save(tmp_path / "root" / "1.jpg", exif=exif, quality=100)
    pixels = read("folder", tmp_path / "root").images[0]
    assert pixels[:, 18:].min() > 200 and pixels[:, :14].max() < 50  # the upper half is now the right one


def test_a_large_jpeg_decoded_at_a_fraction_looks_like_the_whole(tmp_path):
    y, x = np.mgrid[:800, :1200]
    waves = [np.sin(2 * np.pi * at / 32) for at in (x, y, x + y)]  # 4 pixels of the result long
    pixels = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    for kind in ("jpg", "png"):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / f"1.{kind}", quality=95)
    one, other = (read("folder", tmp_path / kind, size=100).images.astype(int) for kind in ("jpg", "png"))
    assert np.abs(one - other).mean() < 4  # 1.9 as it is; 8.9 if decoded at 1/8 instead of 1/4


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n"


def damage(root: Path) -> dict[str, Callable[[Path], object]]:
    def cut(path: Path) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:3000])

    return {
        "empty.png": lambda path: path.write_bytes(b""),
        "text.jpg": lambda path: path.write_text("<html>"),
        "cut.png": cut,
        "cut.jpg": cut,
        "float.tiff": lambda path: picture(path, colour=0.5, mode="F"),
        "postscript.png": lambda path: path.write_bytes(POSTSCRIPT),
        "pipe.png": lambda path: os.mkfifo(path),
        "gone.png": lambda path: path.symlink_to(root / "nothing.png"),
    }


def test_a_format_that_needs_another_program_is_not_even_tried(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "1.png").write_bytes(POSTSCRIPT)
    assert Image.open(tmp_path / "root" / "1.png").format == "EPS"  # Pillow would: with Ghostscript
    assert "1.png (is not a picture of a known format)" in refused("folder", tmp_path / "root")


@pytest.mark.parametrize("name", sorted(damage(Path())))
def test_a_picture_that_cannot_be_read_is_named_and_left_out_only_on_request(name, tmp_path, said):
    if name == "pipe.png" and not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    root = tmp_path / "root"
    for i in range(4):
        picture(root / f"{i}.png", colour=(i, i, i))
    damage(root)[name](root / name)
    line = refused("folder", root)
    assert f"1 of 5 pictures cannot be used: {name} (" in line and "--skip-bad" in line and len(line) < 400
    data = read("folder", root, said, skip_bad=True)
    assert [centre(data, i)[0] for i in range(4)] == [0, 1, 2, 3]
    assert len(said) == 1 and name in said[0] and "left out" in said[0] and "1 left out" in data.source


def test_decoders_remarks_on_odd_pictures_are_not_passed_on(tmp_path, recwarn):
    data = bytearray(picture(tmp_path / "root" / "1.tiff").read_bytes())
    at = data.index(struct.pack("<HH", 273, 4))  # the tag StripOffsets; its count comes next
    data[at + 4 : at + 8] = struct.pack("<I", 1_000_000)
    (tmp_path / "root" / "1.tiff").write_bytes(data)
    assert "1 of 1" in refused("folder", tmp_path / "root")
    assert len(recwarn) == 0


def test_many_bad_pictures_are_counted_and_the_first_are_named(tmp_path):
    root = tmp_path / "root"
    picture(root / "good.png")
    for i in range(9):
        (root / f"bad{i}.png").write_bytes(b"broken")
    line = refused("folder", root)
    assert "9 of 10" in line and "bad0.png" in line and "bad2.png" in line and "and 6 more" in line
    assert "bad3" not in line
    (root / "good.png").unlink()
    assert "9 of 9" in refused("folder", root, skip_bad=True)


def test_a_picture_smaller_than_asked_for_says_which_size_would_do(tmp_path):
    root = tmp_path / "root"
    picture(root / "big.png")
    picture(root / "icon.png", (16, 20))
    line = refused("folder", root)
    assert "icon.png (is 16 x 20, smaller than 32 x 32); use --size 16 or --skip-bad" in line
    assert len(read("folder", root, size=16).images) == 2
    assert len(read("folder", root, skip_bad=True).images) == 1


def test_more_pixels_than_pillows_limit_are_refused(tmp_path, monkeypatch):
    picture(tmp_path / "root" / "1.png", (100, 100))
    picture(tmp_path / "root" / "2.png", (40, 40))
    for limit in (9_999, 4_000):  # Pillow itself warns at the first, raises at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        line = refused("folder", tmp_path / "root")
        assert "1 of 2" in line and "1.png (" in line and "limit" in line


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path, said):
    root, outside = tmp_path / "root", tmp_path / "outside"
    picture(root / "a" / "1.png", colour=(1, 1, 1))
    picture(outside / "secret.png", colour=(9, 9, 9))
    (root / "a" / "2.png").symlink_to(outside / "secret.png")
    (root / "b").symlink_to(outside)
    (root / "a" / "3.png").symlink_to(root / "a" / "1.png")
    (root / "loop").symlink_to(root)
    data = read("folder", root, said)
    assert [centre(data, i)[0] for i in range(len(data.images))] == [1, 1]
    assert len(said) == 1 and "left out 2 symbolic links" in said[0] and "a/2.png" in said[0]
    entry = tmp_path / "entry"
    entry.symlink_to(root)
    assert len(read("folder", entry).images) == 2  # the folder itself may be named by a link


def test_hidden_files_are_not_looked_at(tmp_path):
    picture(tmp_path / "root" / "1.png")
    (tmp_path / "root" / "._1.png").write_bytes(b"made by another system")
    picture(tmp_path / "root" / ".thumbnails" / "1.png")
    assert len(read("folder", tmp_path / "root").images) == 1


def test_a_name_with_a_newline_stays_on_one_line(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a\nb\x1b[2J.png").write_bytes(b"broken")
    assert r"a\nb\x1b[2J.png" in refused("folder", tmp_path / "root")


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    (tmp_path / "root").mkdir()
    assert "no pictures" in refused("folder", tmp_path / "root")
    assert "--data-root" in refused("folder", None, WrongUse)
    picture(tmp_path / "root" / "1.png")
    assert "expected a folder" in refused("folder", tmp_path / "root" / "1.png", WrongUse)
    assert "no split 'test'" in refused("folder", tmp_path / "root", WrongUse, split="test")


# ---- all of them ----


def test_wrong_requests_name_the_choices():
    assert "celeba, cifar10, cifar100, fashion-mnist, folder, imagenet, mnist" in refused("cifar", None, WrongUse)
    assert "test, train" in refused("shapes", None, WrongUse, split="valid")
    assert "crop, stretch" in refused("shapes", None, WrongUse, fit="squeeze")
    for size in (0, 3, 1025):
        assert "4 to 1024" in refused("shapes", None, WrongUse, size=size)
    with pytest.raises(WrongUse):
        find("cifar")


def test_shapes_need_no_files_and_their_splits_differ(monkeypatch):
    drawn = datasets.drawings.draw
    monkeypatch.setattr(datasets.drawings, "draw", lambda n, *more: drawn(n // 100, *more))
    train, test = read("shapes", None), read("shapes", None, split="test")
    assert train.images.shape == (200, 32, 32, 3) and test.images.shape == (100, 32, 32, 3)
    assert not (train.images[:100] == test.images).all(axis=(1, 2, 3)).any()
    assert read("shapes", None, size=20, seed=5).images.shape[1] == 20
    assert find("shapes") is not None


def test_another_size_is_antialiased(tmp_path):
    stripes = np.zeros((8, 32, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255
    content = {name: (stripes, [1] * 8) for name in BATCHES}
    root = put(tmp_path / "root", binary_files(content))
    small = read("cifar10", root, size=8).images
    assert small.shape == (40, 8, 8, 3)
    assert np.abs(small[:, :, 2:-2].astype(int) - 127).max() < 10  # the mean; single pixels are 0 or 255
    grey = idx(np.full((2, 28, 28), 50, np.uint8))
    put(tmp_path / "root", {IMAGES: grey, LABELS: idx(np.zeros(2, np.uint8))})
    large = read("mnist", root, size=32).images
    assert large.shape == (2, 32, 32, 1) and (large == 50).all()


def test_the_cache_folder_is_chosen_by_the_environment(cache, monkeypatch):
    assert datasets.cache_folder() == cache
    monkeypatch.setenv("MINIGAN_CACHE", "")  # as if it were not set
    assert datasets.cache_folder() == platformdirs.user_cache_path("minigan")


def test_remarks_go_to_stderr_unless_told_otherwise(tmp_path, capsys):
    load("cifar10", root=put(tmp_path / "root", python_files()), split="test")
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "test_batch" in err


def test_reading_pictures_leaves_no_thread_behind(tmp_path):
    picture(tmp_path / "root" / "1.png")
    before = threading.active_count()
    read("folder", tmp_path / "root")
    assert threading.active_count() == before
