"""Any folder, zip archive or .npz of images: found, decoded, brought to one size, and the unusable ones named."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from minigan.data.dataset import BLOCK, Block, Dataset, Request, Source
from minigan.data.locations import stamp
from minigan.data.resize import resized
from minigan.errors import FailedWork, WrongUse, counted, listed, printable, reason
from minigan.formats.archives import ZipImages, is_zip, read_whole
from minigan.formats.foreign import image_arrays, image_decoding, label_arrays
from minigan.formats.foreign.image_decoding import SUFFIXES, TooLarge
from minigan.formats.untrusted import what_file

FITS = ("crop", "stretch")
EXPECTED = "expected a folder of images, a zip archive or an .npz file of images"
MAX_FILE = 64 << 20  # bytes of an image in a zip archive
LABELS = "dataset.json"  # of StyleGAN's data sets, beside the images
MOST_BAD = 10_000  # images that cannot be used, after which no more are looked for
MAX_LOOKS = 1000  # files of other names whose beginning is looked at: whether they are images all the same


class NoImages(FailedWork):
    """A folder, or an archive, in which no image was found."""


class _TooSmall(ValueError):
    """An image with a side shorter than asked for."""

    def __init__(self, width: int, height: int, size: int):
        super().__init__(f"is {width} x {height}, smaller than {size} x {size}")
        self.side = min(width, height)


class _OtherSize(ValueError):
    """An image of another size than the first one, where all must have one."""

    def __init__(self, width: int, height: int, size: int):
        super().__init__(f"is {width} x {height}, the first one {size} x {size}")
        self.side = min(width, height, size)


@dataclass(frozen=True)
class Fitting:
    """How an image becomes size x size."""

    size: int | None  # None: that of the first image
    fit: str = "crop"  # the largest square in the middle; "stretch": all of it
    resize: str = "lanczos"  # one of resize.RESIZES
    cut: int | None = None  # a square of this side in the middle, rather than the largest one
    enlarge: bool = False  # images smaller than size; otherwise they cannot be used
    whole_pixels: bool = False  # the square begins at a whole pixel, and a JPEG is decoded at its own size
    exact: bool = False  # images of another size cannot be used


LEFT_OUT = {  # what looks like an image and is left out: of one -> of several
    "hidden file": "hidden files",
    "of a kind that is not read": "of kinds that are not read",
    "image whose name does not end as images' do": "images whose names do not end as images' do",
    "symbolic link that leads out of it (--follow-links takes it)":
        "symbolic links that lead out of it (--follow-links takes them)",
    "link to a folder that it lies in": "links to a folder that they lie in",
    "link that leads round in a circle": "links that lead round in a circle",
}


@dataclass
class Found:
    """What lies in a folder: paths of its images, relative to it and sorted; and what looks like images and is left
    out: what it is, of LEFT_OUT -> names."""

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, path: Path) -> None:
        self.left_out.setdefault(reason, []).append(printable(str(path)))

    def remark(self) -> str:
        """What was left out, how much of it, and why; "" if nothing was."""
        return "; ".join(f"{counted(len(names), reason, LEFT_OUT[reason])}: {listed(sorted(names), 3)}"
                         for reason, names in self.left_out.items())


def folder(ask: Request) -> Source | Dataset:
    """The data set "folder": any folder, zip archive or .npz file (see formats/foreign/image_arrays.py) of images, with
    the labels that an .npz has (formats/foreign/label_arrays.py).

    ask.size None: that of the first image, which all must have.
    """
    if ask.root is None:
        raise WrongUse("data set 'folder' needs to know which folder; give it with --data-root")
    if ask.root.is_dir():
        return source(ask.root, Fitting(ask.size, ask.fit, ask.resize), ask)
    if ask.root.suffix.lower() == ".npz":
        images = image_arrays.read_npz(ask.root, ask.say)
        if ask.size is not None and images.shape[1] != images.shape[2]:
            raise WrongUse(f"{ask.root}: images of {images.shape[2]} x {images.shape[1]}, expected squares")
        labels, classes = label_arrays.read_labels(ask.root, len(images), ask.say) or (
            np.zeros(len(images), np.int64), ("all",))
        return Dataset(images, labels, classes, str(ask.root))
    if not is_zip(ask.root):
        raise WrongUse(f"{ask.root}: is {what_file(ask.root) or 'a file'}; {EXPECTED}")
    return zip_source(ask.root, Fitting(ask.size, ask.fit, ask.resize), ask)


def find(root: Path | None, split: str) -> Path | None:
    return root if root is not None and root.exists() else None


def source(root: Path, how: Fitting, ask: Request, labelled: bool = True) -> Source:
    """The images in and below the folder `root`, in the order of their paths, RGB.

    The class is the subfolder of the first level, or "all" if there is none. Transparent images are laid on white,
    of an animation the first frame counts, EXIF orientation is obeyed.
    Images that cannot be decoded or are smaller than how.size are named, and left out only with ask.skip_bad.
    Hidden files are left out, and links that lead out of the folder unless ask.follow_links; what is left out is said.
    NoImages if there are no images, and FailedWork from `blocks` if there are bad ones.
    """
    found = find_images(root, ask.follow_links)
    files, remark = found.files, found.remark()
    if not files:
        raise NoImages(f"{root}: no images in it or below it; {_looked_for(remark)}")
    if remark:
        ask.say(f"{root}: left out {remark}")
    names = [file.as_posix() for file in files]
    stated = root / LABELS
    labels, classes = (_stated(stated, read_whole(stated, MAX_FILE), names) if stated.is_file() and labelled else
                       _classes(root, [file.parts for file in files], ask))
    identity = hashlib.sha256("\0".join(map(str, files)).encode("utf-8", "surrogateescape")).hexdigest()

    def open_number(number: int) -> tuple[Path, str]:
        path = root / files[number]
        if not path.is_file():
            raise ValueError(f"is {what_file(path) or 'not a regular file'}")  # to open a pipe would wait for ever
        return path, path.name

    return _source(root, [str(file) for file in files], open_number, labels, classes, identity, how, ask)


def zip_source(path: Path, how: Fitting, ask: Request, labelled: bool = True) -> Source:
    """The images that a zip archive holds, in the order of their names.

    What is in one folder in the archive, with nothing beside it, counts as if it were not. Then classes are as in
    `source`; labelled: False: there are none.
    """
    inside = ZipImages(path, SUFFIXES, MAX_FILE)
    names = [name for name in inside.names if not image_decoding.hidden(name.split("/"))]
    found = Found()
    for name in inside.others:
        if image_decoding.unread_kind(name) and not image_decoding.hidden(name.split("/")):
            found.leave_out("of a kind that is not read", Path(name))
    remark = found.remark()
    if not names:
        what = what_file(path)
        raise NoImages(f"{path}: is {what}; {EXPECTED}" if what else
                       f"{path}: no images in the archive; {_looked_for(remark)}")
    if remark:
        ask.say(f"{path}: left out {remark}")
    classes: tuple[str, ...] = ()
    labels = np.full(len(names), -1)
    if labelled:
        tops = {name.partition("/")[0] if "/" in name else "" for name in names}
        common = f"{tops.pop()}/" if len(tops) == 1 and LABELS not in inside.others else ""
        inner = [name.removeprefix(common if common != "/" else "") for name in names]
        labels, classes = (_stated(path, inside.read(LABELS), names) if LABELS in inside.others else
                           _classes(path, [tuple(name.split("/")) for name in inner], ask))

    def open_number(number: int) -> tuple[io.BytesIO, str]:
        return io.BytesIO(inside.read(names[number])), names[number]

    return _source(path, names, open_number, labels, classes, stamp(path), how, ask)


def find_images(root: Path, follow_links: bool = False) -> Found:
    """The image files in and below a folder: the one way in which folders are looked through.

    follow_links: also what links lead to; without it links within the folder count, and those out of it do not.
    """

    def unreadable(error: OSError) -> None:
        raise FailedWork(f"{error.filename}: cannot be listed: {error.strerror}") from error

    found, home, looks = Found(), root.resolve(), 0
    for place, folders, names in os.walk(root, onerror=unreadable, followlinks=follow_links):
        kept = []
        for name in folders:
            path = Path(place, name)
            if image_decoding.hidden((name,)):
                continue
            if path.is_symlink() and follow_links and _leads_back(path, root):
                found.leave_out("link to a folder that it lies in", path.relative_to(root))
            elif path.is_symlink() and not follow_links:
                _refuse_link(found, path, root, home)  # one that stays inside leads to what is found anyway
            else:
                kept.append(name)
        folders[:] = kept
        for name in names:
            path, inner = Path(place, name), Path(place, name).relative_to(root)
            if image_decoding.by_name(name):
                if image_decoding.hidden((name,)):
                    found.leave_out("hidden file", inner)
                elif follow_links or not path.is_symlink() or not _refuse_link(found, path, root, home):
                    found.files.append(inner)
            elif image_decoding.hidden((name,)):
                continue
            elif image_decoding.unread_kind(name):
                found.leave_out("of a kind that is not read", inner)
            elif looks < MAX_LOOKS and (follow_links or not path.is_symlink()):
                looks += 1
                if image_decoding.by_content(path):
                    found.leave_out("image whose name does not end as images' do", inner)
    found.files.sort(key=lambda file: file.parts)
    return found


def _looked_for(left_out: str) -> str:
    return (f"left out {left_out}; " if left_out else "") + f"looked for {', '.join(SUFFIXES)}"


def _refuse_link(found: Found, path: Path, root: Path, home: Path) -> bool:
    """Whether a link leads out of the folder; then it is left out: a folder that somebody else made could name any file
    of this machine."""
    target = _target(path)
    if target is None:
        found.leave_out("link that leads round in a circle", path.relative_to(root))
        return True
    if target.is_relative_to(home):
        return False
    found.leave_out("symbolic link that leads out of it (--follow-links takes it)", path.relative_to(root))
    return True


def _target(path: Path) -> Path | None:
    """To what a link leads; None if it leads to itself, by whatever way."""
    try:
        return path.resolve()
    except (RuntimeError, OSError):  # as Python 3.12 has it, and 3.13
        return None


def _leads_back(path: Path, root: Path) -> bool:
    """Whether a link leads to a folder on the way to it, and so round and round."""
    target = _target(path)
    above = path.parent
    while True:
        if target in (None, _target(above)):
            return True
        if above == root:
            return False
        above = above.parent


def _classes(root: Path, paths: Sequence[tuple[str, ...]], ask: Request) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels, by the folders of the first level, and their names."""
    tops = [printable(parts[0]) if len(parts) > 1 else "." for parts in paths]
    classes = tuple(sorted(set(tops)))
    index = {name: i for i, name in enumerate(classes)}
    if "." in classes and len(classes) > 1:
        beside = counted(Counter(tops)["."], "image lies", "images lie")
        ask.say(f"{root}: {beside} beside the class folders; their class is '.'")
    return np.array([index[top] for top in tops], np.int64), ("all",) if classes == (".",) else classes


def _stated(path: Path, text: bytes, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by a dataset.json as StyleGAN's tool writes it: {"labels": [[NAME, CLASS], ...]} or null for none, where
    folders hold a thousand images each and are no classes. FailedWork if it is anything else."""
    try:
        given = json.loads(text)["labels"]
        known = dict(given) if given else {}
        labels = [known[name] for name in names] if known else [0] * len(names)
        if not all(type(label) is int and 0 <= label < 1 << 20 for label in labels):
            raise ValueError("a label that is no whole number")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FailedWork(f"{path}: {LABELS} does not give each image a class ({type(error).__name__}: "
                         f"{reason(error, 80)}); expected labels: [[NAME, CLASS], ...], or null") from None
    return np.array(labels, np.int64), tuple(map(str, range(max(labels) + 1))) if known else ("all",)


def _source(root: Path, names: list[str], open_number: Callable[[int], tuple[Path | io.BytesIO, str]],
            labels: np.ndarray, classes: tuple[str, ...], identity: str, how: Fitting, ask: Request) -> Source:
    """A source of the files that open_number gives with their names."""
    size = how.size
    if size is None:
        size = _first_size(root, names, open_number, ask)
        how = replace(how, size=size, exact=True)

    def decode(number: int) -> np.ndarray:
        return _decode(*open_number(number), how)

    return Source((len(names), size, size, 3), labels, classes, str(root), identity,
                  partial(_blocks, root, names, decode, size, ask))


def _first_size(root: Path, names: list[str], open_number: Callable[[int], tuple[Path | io.BytesIO, str]],
                ask: Request) -> int:
    """The side of the first image that can be opened. WrongUse if it is no square, or too large."""
    with image_decoding.decoding(ask.large_images):
        bad: dict[int, Exception] = {}
        for number in range(len(names)):
            try:
                with image_decoding.opened(*open_number(number)) as image:
                    width, height = image.size
            except Exception as error:  # as in _blocks
                bad[number] = error
                if len(bad) == MOST_BAD:
                    break
                continue
            if width != height or not 4 <= width <= 1024:
                raise WrongUse(f"{root / names[number]} has {width} x {height} pixels; expected squares of 4 to 1024, "
                               "or --size N, which brings all images to N x N")
            return width
    raise FailedWork(f"{_bad_line(root, names, bad, len(bad))}; {_remedy(bad, len(names))}")


def _blocks(root: Path, names: list[str], decode: Callable[[int], np.ndarray], size: int, ask: Request,
            start: int) -> Generator[Block, None, None]:
    """Decode the images from `start` on. What comes after a bad one is read only to name all bad ones, if they are
    fewer than MOST_BAD."""
    bad: dict[int, Exception] = {}

    def attempt(number: int) -> np.ndarray | Exception:
        try:
            return decode(number)
        except Exception as error:  # a decoder may raise anything on a broken file; it is reported below
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for at in range(start, len(names), BLOCK):  # in blocks: a million waiting tasks would take a gigabyte
            numbers = range(at, min(at + BLOCK, len(names)))
            with image_decoding.decoding(ask.large_images):
                results = dict(zip(numbers, pool.map(attempt, numbers), strict=True))
            bad |= {i: r for i, r in results.items() if isinstance(r, Exception)}
            good = {i: r for i, r in results.items() if not isinstance(r, Exception)}
            if ask.skip_bad or not bad:
                images = np.empty((len(good), size, size, 3), np.uint8)
                for image, one in zip(images, good.values(), strict=True):
                    image[...] = one
                yield numbers.stop, images, np.array([*good], np.int64)
            ask.progress(numbers.stop, len(names), "reading images")
            if not ask.skip_bad and len(bad) >= MOST_BAD:
                break
    if bad:
        line = _bad_line(root, names, bad, numbers.stop)
        if not ask.skip_bad or len(bad) == len(names):
            raise FailedWork(f"{line}; {_remedy(bad, len(names))}")
        ask.say(f"{line}; left out")


def _decode(file: Path | io.BytesIO, name: str, how: Fitting) -> np.ndarray:
    """One image as uint8 (size, size, 3)."""
    size = how.size
    assert size is not None, "_source settles it"
    with image_decoding.opened(file, name) as image:
        width, height = image.size
        if how.exact and (width, height) != (size, size):
            raise _OtherSize(width, height, size)
        if how.cut and min(width, height) < how.cut:
            raise ValueError(f"is {width} x {height}, smaller than the crop of {how.cut} x {how.cut}")
        if min(width, height) < size and not how.enlarge and not how.cut:
            raise _TooSmall(width, height, size)
        if not how.whole_pixels:
            image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at 1/2, 1/4, 1/8 if twice the size remains
        picture = image_decoding.rgb(image_decoding.upright(image))
    (width, height), side = picture.size, how.cut or min(picture.size)
    left, top = (width - side) / 2, (height - side) / 2
    if how.whole_pixels:
        picture = picture.crop((int(left), int(top), int(left) + side, int(top) + side))
        return resized(np.asarray(picture)[None], size, how.resize)[0]
    box = (0, 0, width, height) if how.fit == "stretch" else (left, top, left + side, top + side)
    if how.resize == "plain":
        x0, y0, x1, y1 = map(int, box)
        return resized(np.asarray(picture.crop((x0, y0, x1, y1)))[None], size, "plain")[0]
    method = Image.Resampling.BILINEAR if how.resize == "bilinear" else Image.Resampling.LANCZOS
    return np.asarray(picture.resize((size, size), method, box=box))


def _bad_line(root: Path, names: list[str], bad: dict[int, Exception], looked: int) -> str:
    """looked: how many of the images were looked at."""
    named = []
    for i, error in bad.items():
        named.append(f"{printable(names[i])} ({reason(error, 200)})")
    of = f"the first {looked} of " if looked < len(names) else ""
    return f"{root}: {len(bad)} of {of}{len(names)} images cannot be used: {listed(named, 3)}"


def _remedy(bad: dict[int, Exception], n: int) -> str:
    sides = [error.side for error in bad.values() if isinstance(error, (_TooSmall, _OtherSize))]
    skip = " or --skip-bad" if len(bad) < n else ""
    if len(sides) == len(bad) and min(sides) >= 4:
        return f"use --size {min(sides)}{skip}"
    if all(isinstance(error, TooLarge) for error in bad.values()):
        return f"use --large-images{skip}"
    return f"repair or remove them{', or use --skip-bad' if skip else ''}"
