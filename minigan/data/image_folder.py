"""Any folder or zip archive of images: found, decoded, brought to one size, and the unusable ones named."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minigan.data.dataset import BLOCK, Block, Request, Source
from minigan.data.places import stamp
from minigan.data.resize import resized
from minigan.errors import FailedWork, WrongUse, listed
from minigan.formats.archives import ZipImages

FITS = ("crop", "stretch")
# Pillow's decoders that need no outside program, by file name; the rest of a folder is not looked at.
SUFFIXES = (".bmp", ".gif", ".ico", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "ICO", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_FILE = 64 << 20  # bytes of an image in a zip archive


class _TooSmall(ValueError):
    """An image with a side shorter than asked for."""

    def __init__(self, width: int, height: int, size: int):
        super().__init__(f"is {width} x {height}, smaller than {size} x {size}")
        self.side = min(width, height)


@dataclass(frozen=True)
class Fitting:
    """How an image becomes size x size."""

    size: int
    fit: str = "crop"  # the largest square in the middle; "stretch": all of it
    resize: str = "lanczos"  # one of resize.RESIZES
    cut: int | None = None  # a square of this side in the middle, rather than the largest one
    enlarge: bool = False  # images smaller than size; otherwise they cannot be used
    whole_pixels: bool = False  # the square begins at a whole pixel, and a JPEG is decoded at its own size


def folder(ask: Request) -> Source:
    """The data set "folder": any folder of images."""
    if ask.root is None:
        raise WrongUse("data set 'folder' needs to know which folder; give it with --data-root")
    if not ask.root.is_dir():
        raise WrongUse(f"{ask.root}: is a file, expected a folder of images")
    return source(ask.root, Fitting(ask.size, ask.fit, ask.resize), ask)


def find(root: Path | None, split: str) -> Path | None:
    return root if root is not None and root.is_dir() else None


def source(root: Path, how: Fitting, ask: Request) -> Source:
    """The images in and below the folder `root`, in the order of their paths, RGB.

    The class is the subfolder of the first level, or "all" if there is none. Transparent images are laid on white,
    of an animation the first frame counts, EXIF orientation is obeyed.
    Images that cannot be decoded or are smaller than how.size are named, and left out only with ask.skip_bad.
    Hidden files and links that lead out of the folder are left out.
    FailedWork if there are no images, and from `blocks` if there are bad ones.
    """
    files, links = _pictures(root)
    if links:
        ask.say(f"{root}: left out {len(links)} symbolic links that lead out of it: {listed(links)}")
    if not files:
        raise FailedWork(f"{root}: no images in it or below it; looked for {', '.join(SUFFIXES)}")
    tops = [_shown(file.parts[0]) if len(file.parts) > 1 else "." for file in files]
    classes = tuple(sorted(set(tops)))
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[top] for top in tops], np.int64)
    if "." in classes and len(classes) > 1:
        ask.say(f"{root}: {Counter(tops)['.']} images lie beside the class folders; their class is '.'")
    identity = hashlib.sha256("\0".join(map(str, files)).encode("utf-8", "surrogateescape")).hexdigest()

    def decode(number: int) -> np.ndarray:
        path = root / files[number]
        if not path.is_file():
            raise ValueError("is not a regular file")  # to open a pipe would wait for ever
        return _decode(path, how)

    return Source((len(files), how.size, how.size, 3), labels, ("all",) if classes == (".",) else classes, str(root),
                  identity, partial(_blocks, root, [str(file) for file in files], decode, how.size, ask))


def zip_source(path: Path, folder: str, how: Fitting, ask: Request) -> Source:
    """The images that a zip archive holds in `folder`, in the order of their names, without labels."""
    inside = ZipImages(path, folder, SUFFIXES, MAX_FILE)
    if not inside.names:
        raise FailedWork(f"{path}: no images in {folder} in the archive; looked for {', '.join(SUFFIXES)}")

    def decode(number: int) -> np.ndarray:
        return _decode(io.BytesIO(inside.read(inside.names[number])), how)

    return Source((len(inside.names), how.size, how.size, 3), np.full(len(inside.names), -1), (), str(path),
                  stamp(path), partial(_blocks, path, inside.names, decode, how.size, ask))


def _blocks(root: Path, names: list[str], decode: Callable[[int], np.ndarray], size: int, ask: Request,
            start: int) -> Iterator[Block]:
    """Decode the images from `start` on. What comes after a bad one is read only to name all bad ones."""
    bad: dict[int, Exception] = {}

    def attempt(number: int) -> np.ndarray | Exception:
        try:
            return decode(number)
        except Exception as error:  # a decoder may raise anything on a broken file; it is reported below
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for at in range(start, len(names), BLOCK):  # in blocks: a million waiting tasks would take a gigabyte
            numbers = range(at, min(at + BLOCK, len(names)))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="PIL")  # odd tags of images that decode well
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                results = list(pool.map(attempt, numbers))
            bad |= {i: r for i, r in zip(numbers, results, strict=True) if isinstance(r, Exception)}
            good = [i for i in numbers if i not in bad]
            if ask.skip_bad or not bad:
                images = np.empty((len(good), size, size, 3), np.uint8)
                for image, i in zip(images, good, strict=True):
                    image[...] = results[i - at]
                yield numbers.stop, images, np.array(good, np.int64)
            ask.progress(numbers.stop, len(names), "reading images")
    if bad:
        line = _bad_line(root, names, bad)
        if not ask.skip_bad or len(bad) == len(names):
            raise FailedWork(f"{line}; {_remedy(bad, len(names))}")
        ask.say(f"{line}; left out")


def _pictures(root: Path) -> tuple[list[Path], list[str]]:
    """Paths of the image files relative to root, sorted; and the links that lead out of it."""

    def unreadable(error: OSError) -> None:
        raise FailedWork(f"{error.filename}: cannot be listed: {error.strerror}") from error

    files, links, home = [], [], root.resolve()
    for place, folders, names in os.walk(root, onerror=unreadable):  # does not enter linked folders
        folders[:] = [name for name in folders if not name.startswith(".")]
        images = [name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        for name in folders + images:
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                links.append(_shown(path.relative_to(root)))
            elif name in images:
                files.append(path.relative_to(root))
    return sorted(files, key=lambda file: file.parts), sorted(links)


def _decode(file: Path | io.BytesIO, how: Fitting) -> np.ndarray:
    """One image as uint8 (size, size, 3)."""
    size = how.size
    with Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        if how.cut and min(width, height) < how.cut:
            raise ValueError(f"is {width} x {height}, smaller than the crop of {how.cut} x {how.cut}")
        if min(width, height) < size and not how.enlarge and not how.cut:
            raise _TooSmall(width, height, size)
        if not how.whole_pixels:
            image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at 1/2, 1/4, 1/8 if twice the size remains
        picture = _rgb(ImageOps.exif_transpose(image))
    (width, height), side = picture.size, how.cut or min(picture.size)
    left, top = (width - side) / 2, (height - side) / 2
    if how.whole_pixels:
        picture = picture.crop((int(left), int(top), int(left) + side, int(top) + side))
        return resized(np.asarray(picture)[None], size, how.resize)[0]
    box = (0, 0, width, height) if how.fit == "stretch" else (left, top, left + side, top + side)
    if how.resize == "plain":
        return resized(np.asarray(picture.crop(tuple(map(int, box))))[None], size, "plain")[0]
    method = Image.Resampling.BILINEAR if how.resize == "bilinear" else Image.Resampling.LANCZOS
    return np.asarray(picture.resize((size, size), method, box=box))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("holds floating-point pixels, expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits in 16 or 32; Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return image.convert("RGB")


def _bad_line(root: Path, names: list[str], bad: dict[int, Exception]) -> str:
    named = []
    for i, error in bad.items():
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:100]
        if isinstance(error, UnidentifiedImageError):
            reason = "is not an image of a known format"
        named.append(f"{_shown(names[i])} ({reason or type(error).__name__})")
    return f"{root}: {len(bad)} of {len(names)} images cannot be used: {listed(named, 3)}"


def _remedy(bad: dict[int, Exception], n: int) -> str:
    sides = [error.side for error in bad.values() if isinstance(error, _TooSmall)]
    skip = " or --skip-bad" if len(bad) < n else ""
    if len(sides) == len(bad) and min(sides) >= 4:
        return f"use --size {min(sides)}{skip}"
    return f"repair or remove them{', or use --skip-bad' if skip else ''}"


def _shown(path: Path | str) -> str:
    """A path as text: whatever its name holds, it stays on one line and is valid Unicode."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))
