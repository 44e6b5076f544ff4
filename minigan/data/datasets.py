"""Data sets, each read by one function to uint8 images (N, H, W, C) and labels.

A published data set is taken from the folder the user names, else from the cache folder or where Debian
installs it, else it is downloaded to the cache folder where its authors offer it freely. Files are data, whoever made
them: pickles are read by formats/pickles.py, archives by formats/archives.py, images by image_folder.py, .mat files by
svhn.py.
What was downloaded must have the published checksum; what somebody put there by hand must have the right
format, and a digest other than the published one is remarked on.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data import celeba, cifar, drawings, idx, image_folder, imagenet, packed, stl10, svhn
from minigan.data.dataset import Dataset, Request, Source, in_memory
from minigan.data.image_folder import FITS
from minigan.data.resize import RESIZES, resized
from minigan.errors import FailedWork, WrongUse, choose
from minigan.formats.progress import progress_bar


@dataclass(frozen=True)
class Kind:
    """How one data set is read."""

    read: Callable[[Request], Dataset | Source]
    find: Callable[[Path | None, str], object]  # (root, split) -> where it lies, or None; nothing is downloaded
    splits: tuple[str, ...] = ("train", "test")  # the first is the default


def load(name: str, **options: Any) -> Dataset:
    """The data set `name` (a key of DATASETS); options: the fields of dataset.Request.

    root: a folder that holds the data, or the archive or packed file; None: the cache folder, else a download.
    split: "train", "test" or what else the data set has; None: train, unlabeled for stl10.
    size: side of the images. None is the native one (cifar10, cifar100, svhn and shapes 32, mnist and fashion-mnist
    28) or that of the papers (stl10 48, celeba 64, imagenet 128), 32 for a folder. Shapes are drawn at any size.
    resize: how another size is reached, see resize.py; None is lanczos, plain for stl10 and celeba, bilinear for
    imagenet.  crop: side of the square in the middle of celeba's pictures that is used; None: 128.
    fit, skip_bad: for a folder of pictures, see image_folder.py.  seed: of the drawings of `shapes`.
    say receives remarks, one line each; progress (done, total, what).
    Raises WrongUse for a request that cannot be meant, FailedWork if the data cannot be had.
    """
    try:
        data = _open(name, **options)
        if isinstance(data, Source):
            data = _collected(name, data)
    except MemoryError as error:
        raise FailedWork(f"data set {name} does not fit into memory; choose a smaller size, or pack it: "
                         "minigan pack") from error
    if len(data.images) == 0:
        raise FailedWork(f"{data.source}: holds no images")
    return data


def open_source(name: str, **options: Any) -> Source:
    """The same data set, to be read block by block: a large one never lies in memory as a whole.

    options: as for `load`.
    """
    try:
        data = _open(name, **options)
        source = data if isinstance(data, Source) else in_memory(data, options.get("progress", progress_bar))
    except MemoryError as error:
        raise FailedWork(f"data set {name} does not fit into memory; choose a smaller size") from error
    if source.shape[0] == 0:
        raise FailedWork(f"{source.where}: holds no images")
    return source


def of_experiment(e: Any, **other: Any) -> Dataset:
    """The data of an experiment, as it is trained on them; other: fields of dataset.Request instead of its own."""
    own = {name: getattr(e, name) for name in ("size", "fit", "skip_bad", "seed", "split", "crop", "resize")}
    return load(e.dataset, **{"root": e.data_root} | own | other)


def _open(name: str, **options: Any) -> Dataset | Source:
    ask = Request(**options)
    choose("data set", name, DATASETS)
    kind = DATASETS[name]
    if ask.split is not None and ask.split not in kind.splits:
        raise WrongUse(f"data set {name} has no split '{ask.split}'; choose from: {', '.join(sorted(kind.splits))}")
    choose("fit", ask.fit, FITS)
    if ask.resize is not None:
        choose("way to resize", ask.resize, RESIZES)
    for what, value in (("size", ask.size), ("crop", ask.crop)):
        if value is not None and not 4 <= value <= 1024:
            raise WrongUse(f"{what} {value} is out of range; choose from 4 to 1024")
    if ask.crop is not None and name != "celeba":
        raise WrongUse(f"data set {name} takes no crop: that is for celeba; pictures of a folder take --fit")
    path = None if ask.root is None else Path(ask.root)
    if path is not None and not path.exists() and name != "shapes":
        raise FailedWork(f"{path}: no such file or folder; expected data set {name} there")
    data = kind.read(dataclasses.replace(ask, root=path, split=ask.split or kind.splits[0]))
    if isinstance(data, Dataset) and ask.size is not None and data.images.shape[1] != ask.size:
        if name == "packed":
            raise WrongUse(f"{data.source}: its pictures have {data.images.shape[1]} x {data.images.shape[1]} pixels, "
                           f"not {ask.size}; leave --size out, or pack them again with --size {ask.size}")
        data = Dataset(resized(data.images, ask.size, ask.resize or "lanczos"), data.labels, data.classes, data.source)
    return data


def _collected(name: str, source: Source) -> Dataset:
    """All of a source, in memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        memory = 1 << 62
    if source.nbytes > memory // 2:
        raise FailedWork(
            f"{source.where}: its {source.shape[0]:,} pictures take {source.nbytes / 2**30:.1f} GiB, more than half of "
            f"this machine's memory; pack them once with: minigan pack {name} FILE.h5 --data-root FOLDER, then "
            "train with: minigan train packed --data-root FILE.h5")
    images, kept = np.empty(source.shape, np.uint8), np.empty(source.shape[0], np.int64)
    n = 0
    for _, block, index in source.blocks(0):
        images[n : n + len(block)], kept[n : n + len(block)] = block, index
        n += len(block)
    left_out = f", {len(images) - n} left out" if n < len(images) else ""
    return Dataset(images[:n], source.labels[kept[:n]], source.classes, f"{source.where} ({n} pictures{left_out})")


def find(name: str, root: str | os.PathLike | None = None) -> str | None:
    """Where the images of `name` would be read from with no download; None: nowhere."""
    choose("data set", name, DATASETS)
    kind = DATASETS[name]
    found = kind.find(None if root is None else Path(root), kind.splits[0])
    if isinstance(found, tuple):
        found = found[0]
    return None if found is None else str(found)


DATASETS: dict[str, Kind] = {
    "celeba": Kind(celeba.celeba, celeba.find, ("train",)),
    "cifar10": Kind(cifar.cifar10, partial(cifar.find, cifar.CIFAR10)),
    "cifar100": Kind(cifar.cifar100, partial(cifar.find, cifar.CIFAR100)),
    "fashion-mnist": Kind(idx.fashion_mnist, partial(idx.find, "fashion-mnist")),
    "folder": Kind(image_folder.folder, image_folder.find, ("train",)),
    "imagenet": Kind(imagenet.imagenet, imagenet.find),
    "mnist": Kind(idx.mnist, partial(idx.find, "mnist")),
    "packed": Kind(packed.packed, packed.find, ("train",)),
    "shapes": Kind(drawings.shapes, drawings.find),
    "stl10": Kind(stl10.stl10, stl10.find, ("unlabeled", "train", "test")),
    "svhn": Kind(svhn.svhn, svhn.find, ("train", "test", "extra")),
}
