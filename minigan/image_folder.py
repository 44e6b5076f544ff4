"""Any folder of pictures as one array: found, decoded, brought to one size, and the unusable ones named."""

import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minigan.errors import FailedWork, listed

FITS = ("crop", "stretch")
# Pillow's decoders that need no outside program, by file name; the rest of a folder is not looked at.
SUFFIXES = (".bmp", ".gif", ".ico", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "ICO", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class _TooSmall(ValueError):
    """A picture with a side shorter than asked for."""

    def __init__(self, width: int, height: int, size: int):
        super().__init__(f"is {width} x {height}, smaller than {size} x {size}")
        self.side = min(width, height)


def read(
    root: Path,
    size: int,
    fit: str,
    skip_bad: bool,
    say: Callable[[str], None],
    progress: Callable[[int, int, str], None],
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """The pictures in and below the folder `root`, in the order of their paths.

    Returns images uint8 (N, size, size, 3), labels int64 (N,), the classes that labels index, and a line that
    says how many there are. The class is the subfolder of the first level, or "all" if there is none.
    fit "crop" cuts the largest square from the middle, "stretch" takes all; that is brought to size x size
    with LANCZOS, in RGB. Transparent pictures are laid on white, of an animation the first frame counts, EXIF
    orientation is obeyed.
    Pictures that cannot be decoded or are smaller than size are named, and left out only with skip_bad.
    Hidden files and links that lead out of the folder are left out.
    say, progress: as for datasets.load. FailedWork if there are no pictures, or bad ones.
    """
    files, links = _pictures(root)
    if links:
        say(f"{root}: left out {len(links)} symbolic links that lead out of it: {listed(links)}")
    if not files:
        raise FailedWork(f"{root}: no pictures in it or below it; looked for {', '.join(SUFFIXES)}")
    images = np.empty((len(files), size, size, 3), np.uint8)
    bad: dict[int, Exception] = {}

    def decode(file: Path) -> np.ndarray | Exception:
        try:
            return _decode(root / file, size, fit)
        except Exception as error:  # a decoder may raise anything on a broken file; it is reported below
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # odd tags of pictures that decode well
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for start in range(0, len(files), 256):  # in blocks: a million waiting tasks would take a gigabyte
            for i, result in enumerate(pool.map(decode, files[start : start + 256]), start):
                if isinstance(result, Exception):
                    bad[i] = result
                else:
                    images[i] = result
            progress(min(start + 256, len(files)), len(files), "reading pictures")
    tops = [_shown(file.parts[0]) if len(file.parts) > 1 else "." for file in files]
    checked = f"{len(files)} pictures"
    if bad:
        line = _bad_line(root, files, bad)
        if not skip_bad or len(bad) == len(files):
            raise FailedWork(f"{line}; {_remedy(bad, len(files))}")
        say(f"{line}; left out")
        good = [i for i in range(len(files)) if i not in bad]
        images, tops = images[good], [tops[i] for i in good]
        checked = f"{len(good)} pictures, {len(bad)} left out"
    classes = tuple(sorted(set(tops)))
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[top] for top in tops], np.int64)
    if "." in classes and len(classes) > 1:
        say(f"{root}: {Counter(tops)['.']} pictures lie beside the class folders; their class is '.'")
    return images, labels, ("all",) if classes == (".",) else classes, checked


def _pictures(root: Path) -> tuple[list[Path], list[str]]:
    """Paths of the picture files relative to root, sorted; and the links that lead out of it."""

    def unreadable(error: OSError) -> None:
        raise FailedWork(f"{error.filename}: cannot be listed: {error.strerror}") from error

    files, links, home = [], [], root.resolve()
    for place, folders, names in os.walk(root, onerror=unreadable):  # does not enter linked folders
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures = [name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        for name in folders + pictures:
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                links.append(_shown(path.relative_to(root)))
            elif name in pictures:
                files.append(path.relative_to(root))
    return sorted(files, key=lambda file: file.parts), sorted(links)


def _decode(path: Path, size: int, fit: str) -> np.ndarray:
    """One picture as uint8 (size, size, 3)."""
    if not path.is_file():
        raise ValueError("is not a regular file")  # to open a pipe would wait for ever
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if min(width, height) < size:
            raise _TooSmall(width, height, size)
        image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at 1/2, 1/4, 1/8 if twice the size remains
        picture = _rgb(ImageOps.exif_transpose(image))
    (width, height), side = picture.size, min(picture.size)
    left, top = (width - side) / 2, (height - side) / 2
    box = (0, 0, width, height) if fit == "stretch" else (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))


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


def _bad_line(root: Path, files: list[Path], bad: dict[int, Exception]) -> str:
    named = []
    for i, error in bad.items():
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:100]
        if isinstance(error, UnidentifiedImageError):
            reason = "is not a picture of a known format"
        named.append(f"{_shown(files[i])} ({reason or type(error).__name__})")
    return f"{root}: {len(bad)} of {len(files)} pictures cannot be used: {listed(named, 3)}"


def _remedy(bad: dict[int, Exception], n: int) -> str:
    sides = [error.side for error in bad.values() if isinstance(error, _TooSmall)]
    skip = " or --skip-bad" if len(bad) < n else ""
    if len(sides) == len(bad) and min(sides) >= 4:
        return f"use --size {min(sides)}{skip}"
    return f"repair or remove them{', or use --skip-bad' if skip else ''}"


def _shown(path: Path | str) -> str:
    """A path as text: whatever its name holds, it stays on one line and is valid Unicode."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))
