"""MNIST and Fashion-MNIST: IDX files (http://yann.lecun.com/exdb/mnist), gzipped or not."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from minigan.data.dataset import Dataset, Request, download
from minigan.data.locations import cache_folder, places
from minigan.errors import FailedWork, listed
from minigan.formats.archives import reading, take, take_large
from minigan.formats.download import Published


@dataclass(frozen=True)
class IdxFile:
    """One of the four files, as published; `unpacked_md5` is that of the content without gzip."""

    published: Published
    unpacked_md5: str


def _idx_files(url: str, rows: tuple[tuple[str, str, int, str], ...]) -> dict[str, IdxFile]:
    return {name: IdxFile(Published(f"{url}{name}.gz", md5, n), plain) for name, md5, n, plain in rows}


IDX_FILES = {
    "mnist": _idx_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9912422,
             "6bbc9ace898e44ae57da46a324031adb"),
            ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", 28881,
             "a25bea736e30d166cdddb491f175f624"),
            ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", 1648877,
             "2646ac647ad5339dbf082846283269ea"),
            ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", 4542,
             "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashion-mnist": _idx_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            ("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26421880,
             "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", 29515,
             "9018921c3c673c538a1fc5bad174d6f9"),
            ("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", 4422102,
             "8181f5470baa50b63fa0f6fddb340f0a"),
            ("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", 5148,
             "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
    ),
}  # fmt: skip
TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}  # its folders; the files lie in raw in them
MAX_IDX = 1 << 30  # bytes unpacked; the largest published file has 47 MB


def mnist(ask: Request) -> Dataset:
    """28 x 28 grey handwritten digits: 60,000 to train, 10,000 to test (LeCun et al. 1998)."""
    return _idx_dataset("mnist", tuple("0123456789"), ask)


def fashion_mnist(ask: Request) -> Dataset:
    """28 x 28 grey photographs of clothing, in MNIST's format (Xiao, Rasul and Vollgraf 2017)."""
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    return _idx_dataset("fashion-mnist", classes, ask)


def _idx_dataset(name: str, classes: tuple[str, ...], ask: Request) -> Dataset:
    wanted = names(ask.split)
    paths = find(name, ask.root, ask.split)
    if paths is None and ask.root is not None:
        raise FailedWork(
            f"{ask.root}: no {name} there for split {ask.split}; looked for {wanted[0]} and {wanted[1]} "
            f"(with or without .gz, also as {wanted[0].replace('-idx', '.idx')}), also in {name} and "
            f"{TORCHVISION[name]}/raw"
        )
    if paths is None:
        folder = cache_folder() / name
        paths = tuple(folder / f"{file}.gz" for file in wanted)
        for file, path in zip(wanted, paths, strict=True):
            if not path.is_file():
                download(IDX_FILES[name][file].published, path, ask)
    images, images_md5 = _read_idx(paths[0], 3)
    labels, labels_md5 = _read_idx(paths[1], 1)
    if images.shape[1:] != (28, 28):
        raise FailedWork(f"{paths[0]}: images of {images.shape[1]} x {images.shape[2]}, expected 28 x 28")
    if len(images) != len(labels):
        raise FailedWork(f"{paths[0]}: {len(images)} images, but {paths[1].name} has {len(labels)} labels")
    if labels.max(initial=0) > 9:
        raise FailedWork(f"{paths[1]}: holds label {labels.max()}, expected 0 to 9")
    changed = [
        path.name
        for path, file, md5 in zip(paths, wanted, (images_md5, labels_md5), strict=True)
        if md5 != IDX_FILES[name][file].unpacked_md5
    ]
    if changed:
        ask.say(
            f"{paths[0].parent}: the md5 of what {listed(changed)} unpack to is not {name}'s published one; "
            f"the format is right, so used"
        )
    checked = "md5 not the published one" if changed else "content's md5 as published"
    return Dataset(images[..., None], labels.astype(np.int64), classes, f"{paths[0]} ({checked})")


def names(split: str) -> tuple[str, str]:
    start = {"train": "train", "test": "t10k"}[split]
    return f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"


def find(name: str, root: Path | None, split: str) -> tuple[Path, ...] | None:
    """The paths of the split's images and labels, or None."""
    for place in places(name, root):
        theirs = TORCHVISION[name]
        for folder in (place, place / theirs / "raw", *([place / "raw"] if place.name == theirs else [])):
            paths = [path for path in (_file(folder, file) for file in names(split)) if path is not None]
            if len(paths) == 2:
                return tuple(paths)
    return None


def _file(folder: Path, name: str) -> Path | None:
    """One of the files in a folder, by its published name or as Windows, 7-Zip and Kaggle unpack it."""
    dotted = name.replace("-idx", ".idx")
    spellings = (f"{name}.gz", name, f"{dotted}.gz", dotted, f"{name}/{name}", f"{dotted}/{dotted}")
    return next((folder / path for path in spellings if (folder / path).is_file()), None)


def _read_idx(path: Path, ndim: int) -> tuple[np.ndarray, str]:
    """The uint8 array of an IDX file, gzipped or not, and the md5 of its content.

    The format: two zero bytes, 8 for uint8, the number of axes, each axis as 4 bytes (big-endian), the data.
    """
    with reading(path) as stream:
        head = take(stream, 4 + 4 * ndim, path)
        if head[:4] != bytes((0, 0, 8, ndim)):
            raise FailedWork(
                f"{path}: begins with {head[:4].hex(' ')}, expected 00 00 08 {ndim:02x} "
                f"(an IDX file of bytes with {ndim} axes)"
            )
        shape = struct.unpack(f">{ndim}I", head[4:])
        if prod(shape) > MAX_IDX:
            raise FailedWork(f"{path}: promises {prod(shape)} bytes, expected at most {MAX_IDX}")
        data = take_large(stream, prod(shape), path)
        if stream.read(1):
            raise FailedWork(f"{path}: holds more than the {prod(shape)} bytes that its header promises")
    digest = hashlib.md5(head, usedforsecurity=False)
    digest.update(data)
    return np.frombuffer(data, np.uint8).reshape(shape), digest.hexdigest()
