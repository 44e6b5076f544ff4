"""STL-10 (https://cs.stanford.edu/~acoates/stl10): binary files, in the archive stl10_binary.tar.gz or unpacked."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from minigan.data.dataset import BLOCK, Block, Request, Source, download
from minigan.data.locations import cache_folder, places, stamp
from minigan.data.resize import resized
from minigan.errors import FailedWork
from minigan.formats.archives import reading, take, tar_streams
from minigan.formats.download import Published

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
ARCHIVE = Published("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb",
                    2640397119)
SIDE = 96
IMAGE = 3 * SIDE * SIDE  # bytes
MAX_UNPACKED = 4 << 30  # bytes; the published archive has 3.1 GB


def stl10(ask: Request) -> Source:
    """96 x 96 photographs, brought to 48: 100,000 without labels (the default), 5,000 to train, 8,000 to test.

    Each image is a red, a green and a blue plane, column by column; labels are bytes from 1 to 10 (Coates et al. 2011).
    The papers train on the unlabeled ones at 48 x 48. The BSSN authors' code makes that the mean of 2 x 2 pixels
    (resize plain, the default here), mimicry Pillow's antialiased bilinear; SN-GAN's paper does not say.
    """
    path = find(ask.root, ask.split)
    names = f"{ask.split}_X.bin", f"{ask.split}_y.bin"
    if path is None and ask.root is not None:
        wanted = " and ".join(names[: 1 if ask.split == "unlabeled" else 2])
        raise FailedWork(f"{ask.root}: no STL-10 there for split {ask.split}; looked for stl10_binary.tar.gz or "
                         f"{wanted}, also in stl10_binary and stl10; get it from {ARCHIVE.url}")
    if path is None:
        path = download(ARCHIVE, cache_folder() / "stl10" / "stl10_binary.tar.gz", ask)
    with _opened(path, names[0]) as (size, _):
        count = size // IMAGE
    if size % IMAGE:
        raise FailedWork(f"{path}: {names[0]} has {size} bytes, no multiple of {IMAGE} (an image of 96 x 96 x 3)")
    classes: tuple[str, ...] = ()
    if ask.split == "unlabeled":
        labels = np.full(count, -1)
    else:
        with _opened(path, names[1]) as (size, stream):
            if size != count:
                raise FailedWork(f"{path}: {count} images in {names[0]}, but {size} labels in {names[1]}")
            labels, classes = np.frombuffer(take(stream, size, path), np.uint8).astype(np.int64) - 1, CLASSES
        if labels.min(initial=0) < 0 or labels.max(initial=0) > 9:
            raise FailedWork(f"{path}: {names[1]} holds other labels than 1 to 10")
    side = ask.side

    def blocks(start: int) -> Generator[Block, None, None]:
        with _opened(path, names[0], to_its_end=True) as (_, stream):
            for at in range(0, count, BLOCK):
                end = min(at + BLOCK, count)
                planes = np.frombuffer(take(stream, (end - at) * IMAGE, path), np.uint8)
                if end <= start:
                    continue
                planes = planes.reshape(-1, 3, SIDE, SIDE)[max(start - at, 0):]
                images = np.ascontiguousarray(planes.transpose(0, 3, 2, 1))
                if side != SIDE:
                    images = resized(images, side, ask.resize)
                yield end, images, np.arange(end - len(images), end)
                ask.progress(end, count, "reading images")

    return Source((count, side, side, 3), labels, classes, f"{path}: {names[0]}", stamp(path), blocks)


def find(root: Path | None, split: str) -> Path | None:
    """A folder with the split's files, or an archive."""
    if root is not None and root.is_file():
        return root
    names = [f"{split}_X.bin"] + ([f"{split}_y.bin"] if split != "unlabeled" else [])
    for place in places("stl10", root):
        for folder in (place / "stl10_binary", place):
            if all((folder / name).is_file() for name in names):
                return folder
        if (place / "stl10_binary.tar.gz").is_file():
            return place / "stl10_binary.tar.gz"
    return None


@contextmanager
def _opened(path: Path, name: str, to_its_end: bool = False) -> Iterator[tuple[int, IO[bytes]]]:
    """Size and stream of one of the files, which lies in the folder or in the archive `path`.

    to_its_end: the archive is read to its end afterwards, where its checksum is.
    """
    if path.is_dir():
        try:
            size = (path / name).stat().st_size
        except OSError as error:
            raise FailedWork(f"{path / name}: cannot be read: {error.strerror or error}") from error
        with reading(path / name) as stream:
            yield size, stream
        return
    members = tar_streams(path, {f"stl10_binary/{name}"}, MAX_UNPACKED)
    for _, size, member in members:
        yield size, member
        for _ in members if to_its_end else ():
            pass
        return
    raise FailedWork(f"{path}: stl10_binary/{name} not found in the archive")
