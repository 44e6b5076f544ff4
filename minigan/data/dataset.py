"""What a data set is, what can be asked of it, and where its files may lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minigan.formats.download import Published, fetch
from minigan.formats.progress import Progress, progress_bar, to_stderr

BLOCK = 256  # images that are read at a time

# One piece of a Source: the number of images that are dealt with after it, the images that could be used, uint8
# (n, H, W, C), and which ones they are, int64 (n,).
Block = tuple[int, np.ndarray, np.ndarray]


class StoredImages(Protocol):
    """Images that stay in their file, as packed.Images: uint8 (N, H, W, C), read when they are indexed."""

    shape: tuple[int, ...]
    digest: str  # SHA-256 of the bytes of all of them

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Dataset:
    """Images with their labels, in memory, or read from a packed file batch by batch."""

    images: np.ndarray | StoredImages  # uint8 (N, H, W, C), C = 1 or 3
    labels: np.ndarray  # int64 (N,); -1 where an image has none
    classes: tuple[str, ...]  # labels index it; empty if there are none
    source: str  # one line: where it was read from, and how it was checked

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return bool(self.classes) and int(self.labels.min(initial=0)) >= 0


@dataclass(frozen=True)
class Source:
    """A data set that may be larger than the memory: read from any image on, a block at a time."""

    shape: tuple[int, int, int, int]  # (N, H, W, C), with images that will turn out to be unusable
    labels: np.ndarray  # int64 (N,), as in Dataset
    classes: tuple[str, ...]
    where: str  # what it is read from
    identity: str  # another one if the files have changed
    blocks: Callable[[int], Generator[Block, None, None]]  # from the given image on, in order

    @property
    def nbytes(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Request:
    """What was asked of a data set: the options of datasets.load; "" or None: its own, which readers are given."""

    root: Path | None = None
    split: str = ""
    size: int | None = None
    fit: str = "crop"
    resize: str = ""
    crop: int | None = None
    skip_bad: bool = False
    own_size: bool = False
    follow_links: bool = False
    large_images: bool = False
    seed: int = 0
    say: Callable[[str], None] = to_stderr
    progress: Progress = progress_bar

    @property
    def side(self) -> int:
        """The size, for readers that are given one in any case: all but those of Facts.own_size."""
        assert self.size is not None, "datasets.load settles it"
        return self.size


def download(published: Published, path: Path, ask: Request) -> Path:
    """The published file, fetched to `path`; says so first."""
    size = published.size / 1e6
    ask.say(f"downloading {published.url} ({size:.{0 if size > 100 else 1}f} MB) to {path}")
    return fetch(published, path, ask.progress)


def digest_of(images: np.ndarray | StoredImages) -> str:
    """SHA-256 of the bytes of images (N, H, W, C); of stored ones it is known."""
    if isinstance(images, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    return images.digest


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def in_memory(data: Dataset, progress: Progress) -> Source:
    """A data set that is in memory already, as a Source."""
    images = data.images

    def blocks(start: int) -> Generator[Block, None, None]:
        for at in range(start, len(images), BLOCK):
            end = min(at + BLOCK, len(images))
            yield end, images[at:end], np.arange(at, end)
            progress(end, len(images), "reading images")

    digest = hashlib.sha256(data.labels.data)
    for at in range(0, len(images), BLOCK):
        digest.update(np.ascontiguousarray(images[at : at + BLOCK]).data)
    return Source(tuple(images.shape), data.labels, data.classes, data.source, digest.hexdigest(), blocks)
