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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minigan.data import celeba, cifar, drawings, image_folder, imagenet, mnist, packed, stl10, svhn
from minigan.data.dataset import Dataset, Request, Source, in_memory
from minigan.data.image_folder import FITS
from minigan.data.resize import RESIZES, resized
from minigan.errors import FailedWork, WrongUse, choose
from minigan.formats.archives import is_zip
from minigan.formats.progress import progress_bar
from minigan.formats.untrusted import check_file, what_file


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before its files are read, and how they are.

    read: gets a Request in which split, size, resize and crop are filled in from here where the user says nothing.
    find: (root, split) -> where it lies, or None; nothing is downloaded.
    splits: split -> whether its images have labels; None: that is for the files to say. The first is the default.
    size, channels: of the images unless another size is asked for; None: those of the files.
    side: of the images in the files, where all have one and are not drawn.
    resize: how another size is reached, one of RESIZES.
    crop: side of the square in the middle that is used; None: it takes no crop.
    known_to_inception: whether Inception, which was trained on photographs of things, has seen the like.
    own_size: whether its images may be taken at the size that they have.
    skips_bad: whether images that cannot be read can be left out.
    large: whether it fills most machines' memories: it is for packing, and no classifier is trained on it.
    """

    read: Callable[[Request], Dataset | Source]
    find: Callable[[Path | None, str], object]
    splits: Mapping[str, bool | None] = field(default_factory=lambda: {"train": True, "test": True})
    size: int | None = None
    channels: int | None = 3
    resize: str = "lanczos"
    crop: int | None = None
    known_to_inception: bool = True
    own_size: bool = False
    skips_bad: bool = False
    large: bool = False
    side: int | None = None

    @property
    def split(self) -> str:
        """The one that is read if none is named."""
        return next(iter(self.splits))

    @property
    def labelled(self) -> bool:
        """Whether every image of that split has a label for certain."""
        return bool(self.splits[self.split])


def load(name: str, **options: Any) -> Dataset:
    """The data set `name` (a key of DATASETS); options: the fields of dataset.Request.

    root: a folder that holds the data, or the archive or packed file; None: the cache folder, else a download.
    split: "train", "test" or what else the data set has.  size: side of the images; shapes are drawn at any.
    resize: how another size is reached, see resize.py.  crop: side of the square in the middle that is used, of celeba.
    What is None is the data set's own, as its row in DATASETS has it.
    fit, skip_bad: for a folder of images, see image_folder.py.  own_size: where no size is given, a folder's is that of
    its first image, and all must have it.  follow_links: links out of a folder, too.  large_images: up to 2^30 pixels
    in an image, not only 89 million.  seed: of the drawings of `shapes`.
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
    own = {name: getattr(e, name) for name in (
        "size", "fit", "skip_bad", "follow_links", "large_images", "split", "crop", "resize")}
    return load(e.dataset, **{"root": e.data_root, "seed": e.data_seed} | own | other)


def _open(name: str, **options: Any) -> Dataset | Source:
    given = {name: value for name, value in options.items() if value is not None}
    ask = Request(**given)
    choose("data set", name, DATASETS)
    facts = DATASETS[name]
    if "split" in given and ask.split not in facts.splits:
        raise WrongUse(f"data set {name} has no split '{ask.split}'; choose from: {', '.join(sorted(facts.splits))}")
    choose("fit", ask.fit, FITS)
    if "resize" in given:
        choose("way to resize", ask.resize, RESIZES)
    for what, value in (("size", ask.size), ("crop", ask.crop)):
        if value is not None and not 4 <= value <= 1024:
            raise WrongUse(f"{what} {value} is out of range; choose from 4 to 1024")
    if ask.crop is not None and facts.crop is None:
        others = ", ".join(other for other, row in DATASETS.items() if row.crop)
        raise WrongUse(f"data set {name} takes no crop: that is for {others}; images of a folder take --fit")
    if ask.seed and name != "shapes":
        raise WrongUse(f"data set {name} takes no --data-seed: that is for shapes, which are drawn")
    path = None if ask.root is None else Path(ask.root)
    if path is not None and not path.exists() and name != "shapes":
        raise FailedWork(f"{path}: no such file or folder; expected data set {name} there")
    size = ask.size or (None if ask.own_size and facts.own_size else facts.size)
    ask = dataclasses.replace(ask, root=path, split=ask.split or facts.split, size=size,
                              resize=ask.resize or facts.resize, crop=ask.crop or facts.crop)
    data = facts.read(ask)
    if isinstance(data, Dataset) and isinstance(data.images, np.ndarray) and ask.size not in (
            None, data.images.shape[1]):
        data = Dataset(resized(data.images, ask.side, ask.resize), data.labels, data.classes, data.source)
    return data


def _collected(name: str, source: Source) -> Dataset:
    """All of a source, in memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        memory = 1 << 62
    if source.nbytes > memory // 2:
        raise FailedWork(
            f"{source.where}: its {source.shape[0]:,} images take {source.nbytes / 2**30:.1f} GiB, more than half of "
            f"this machine's memory; pack them once with: minigan pack {name} FILE.h5 --data-root FOLDER, then "
            "train with: minigan train packed --data-root FILE.h5")
    images, kept = np.empty(source.shape, np.uint8), np.empty(source.shape[0], np.int64)
    n = 0
    for _, block, index in source.blocks(0):
        images[n : n + len(block)], kept[n : n + len(block)] = block, index
        n += len(block)
    left_out = f", {len(images) - n} left out" if n < len(images) else ""
    where = f"{source.where} ({n} image{'s' * (n != 1)}{left_out})"
    return Dataset(images[:n], source.labels[kept[:n]], source.classes, where)


@dataclass(frozen=True)
class Named:
    """What a word of the command line names: a data set of DATASETS, "folder" and "packed" with the path as root."""

    dataset: str
    root: Path | None = None
    split: str | None = None
    remark: str = ""  # on what the word might have meant, too; "" if nothing


def named(word: str) -> Named:
    """The data set that a word names, also as NAME:SPLIT; or the images at a path: a folder, a zip archive or an .npz
    ("folder"), or a file that minigan pack wrote ("packed").

    What is at the path is seen in the file itself, but for .npz, which is a zip archive by its content. A data set's
    name stands for the data set, also where there is a file or a folder of that name; ./NAME is a path.
    WrongUse for what is neither.
    """
    name, _, split = word.partition(":")
    path = Path(word).expanduser()
    if name in DATASETS:
        beside = f"{word} is a data set, and a {'folder' if path.is_dir() else 'file'} is called so, too; ./{word} " \
            "would be that" if path.exists() else ""
        return Named(name, None, split or None, beside)
    if path.is_dir():
        return Named("folder", path)
    if not path.exists():
        if path.name != word or path.suffix or split:
            raise WrongUse(f"{word}: no such file or folder, and no data set; the data sets are: "
                           f"{', '.join(sorted(DATASETS))}")
        raise WrongUse(f"unknown data set '{word}'; choose from: {', '.join(sorted(DATASETS))}; or a path: a folder, a "
                       "zip archive or an .npz file of images (there is none of that name)")
    if _is_hdf5(path):
        return Named("packed", path)
    if path.suffix.lower() != ".npz" and not is_zip(path):
        raise WrongUse(f"{word}: is {what_file(path) or 'a file'}; expected a data set's name, or a folder, a zip "
                       "archive or an .npz file of images, or a file that minigan pack wrote")
    return Named("folder", path)


def _is_hdf5(path: Path) -> bool:
    try:
        check_file(path)
    except OSError:
        return False
    return h5py.is_hdf5(path)


def find(name: str, root: str | os.PathLike[str] | None = None, split: str | None = None) -> str | None:
    """Where the images of `name` would be read from with no download; None: nowhere. split: None: its own."""
    choose("data set", name, DATASETS)
    found = DATASETS[name].find(None if root is None else Path(root), split or DATASETS[name].split)
    if isinstance(found, tuple):
        found = found[0]
    return None if found is None else str(found)


DATASETS: dict[str, Facts] = {
    "celeba": Facts(celeba.celeba, celeba.find, {"train": False}, size=64, resize="plain", crop=128, skips_bad=True),
    "cifar10": Facts(cifar.cifar10, partial(cifar.find, cifar.CIFAR10), size=32, side=32),
    "cifar100": Facts(cifar.cifar100, partial(cifar.find, cifar.CIFAR100), size=32, side=32),
    "fashion-mnist": Facts(mnist.fashion_mnist, partial(mnist.find, "fashion-mnist"), size=28, channels=1,
                           known_to_inception=False, side=28),
    "folder": Facts(image_folder.folder, image_folder.find, {"train": None}, size=32, own_size=True, skips_bad=True),
    "imagenet": Facts(imagenet.imagenet, imagenet.find, size=128, resize="bilinear", skips_bad=True, large=True),
    "mnist": Facts(mnist.mnist, partial(mnist.find, "mnist"), size=28, channels=1, known_to_inception=False,
                   side=28),
    "packed": Facts(packed.packed, packed.find, {"train": None}, channels=None),
    "shapes": Facts(drawings.shapes, drawings.find, size=32, known_to_inception=False),
    "stl10": Facts(stl10.stl10, stl10.find, {"unlabeled": False, "train": True, "test": True}, size=48,
                   resize="plain", side=96),
    "svhn": Facts(svhn.svhn, svhn.find, {"train": True, "test": True, "extra": True}, size=32, side=32),
}
