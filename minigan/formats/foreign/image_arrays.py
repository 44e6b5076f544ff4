"""Arrays of images in .npz files, as several programs write them: minigan, ADM, BigGAN, improved-diffusion."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minigan.errors import FailedWork, WrongUse, listed, reason
from minigan.formats.arrays_in_files import UNREADABLE, npy_header, npz_array, npz_file
from minigan.formats.progress import to_stderr
from minigan.formats.untrusted import what_file

NAMES = ("images", "arr_0", "x", "samples")  # minigan's; np.savez(file, array)'s, as ADM's; BigGAN's; others'
MAX_PIXELS = 1 << 34  # bytes of an array of images: 16 GiB
BLOCK = 256  # images that are brought to bytes at a time
SLACK = 1e-3  # beyond the range of a tanh, or of a sigmoid, that is rounding
EXPECTED = "expected an .npz file with an array 'images' (N, H, W, 1 or 3) of uint8, as minigan sample writes it, or " \
    "one of 'arr_0', 'x', 'samples', also (N, C, H, W), also of numbers in [0, 1] or [-1, 1]"

Header = tuple[tuple[int, ...], bool, np.dtype]


def read_npz(path: Path, say: Callable[[str], None] = to_stderr) -> np.ndarray:
    """The images of an .npz file, uint8 (N, H, W, C), C = 1 or 3, C-contiguous.

    The array is that of NAMES, or the only one that has the shape of images. How it is taken (its name, its axes, the
    range of its numbers) is handed to `say` wherever that is not minigan's own way.
    The file is not trusted: no pickles, and its sizes are checked before memory is taken. WrongUse for anything else.
    """
    try:
        with npz_file(path) as archive:
            headers = headers_in(archive)
            name = _chosen(headers)
            shape, _, dtype = headers[name]
            size = math.prod(shape) * dtype.itemsize
            declared = archive.getinfo(f"{name}.npy").file_size
            if size > MAX_PIXELS or not size < declared <= size + (1 << 16):
                raise ValueError(f"its array {shape} does not fit the {declared:,} bytes of the entry, or is too large")
            stored = npz_array(archive, name, path)
    except FailedWork:
        raise
    except OSError as error:
        raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        what = what_file(path)
        raise WrongUse(f"{path}: {f'is {what}' if what else reason(error)}; {EXPECTED}") from error
    taken = [] if name == "images" else [f"its array '{name}'"]
    if stored.ndim == 3:
        stored, taken = stored[..., None], [*taken, "(N, H, W), grey"]
    elif shape[3] not in (1, 3):
        stored, taken = stored.transpose(0, 2, 3, 1), [*taken, "(N, C, H, W)"]
    try:
        images, range_ = _bytes_of(stored)
    except ValueError as error:
        raise WrongUse(f"{path}: {error}; {EXPECTED}") from None
    taken += [range_] if range_ else []
    if taken:
        say(f"{path}: taken as {', '.join(taken)}")
    return images


def headers_in(archive: zipfile.ZipFile) -> dict[str, Header]:
    """What the arrays in the file say of themselves, by name."""
    found = {}
    for entry in archive.namelist()[:100]:
        if entry.endswith(".npy"):
            with archive.open(entry) as file:
                found[entry.removesuffix(".npy")] = npy_header(file)
    return found


def _chosen(headers: dict[str, Header]) -> str:
    """The name of the array that holds the images. ValueError if there is none, or more than one."""
    named = [name for name in NAMES if name in headers]
    if not named:
        named = [name for name, (shape, _, dtype) in headers.items() if of_images(shape, dtype)]
        if len(named) > 1:
            raise ValueError(f"it has several arrays that may be images: {listed(sorted(named))}")
    if not named:
        raise ValueError(f"it has no array of images (its arrays: {listed(sorted(headers)) or 'none'})")
    shape, _, dtype = headers[named[0]]
    if not of_images(shape, dtype):
        raise ValueError(f"its array '{named[0]}' is {dtype} {shape}")
    return named[0]


def of_images(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array may be images; no side of one is shorter than 4 or longer than 1024."""
    if dtype.kind not in "uif" or dtype.itemsize > 8 or len(shape) not in (3, 4) or not 1 <= shape[0] <= 1 << 30:
        return False
    inner = shape[1:] if len(shape) == 4 else (*shape[1:], 1)
    sides, channels = (inner[:2], inner[2]) if inner[2] in (1, 3) else (inner[1:], inner[0])
    return channels in (1, 3) and all(4 <= side <= 1024 for side in sides)


def _bytes_of(stored: np.ndarray) -> tuple[np.ndarray, str]:
    """Any numbers as uint8, and the range that they were taken to have, in words. ValueError if they have none."""
    if stored.dtype == np.uint8:
        return np.ascontiguousarray(stored), ""
    low, high = float(stored.min()), float(stored.max())
    if not math.isfinite(low + high):
        raise ValueError("some of its numbers are not finite")
    factor, shift = 1.0, 0.0
    if stored.dtype.kind in "ui":
        fits, words = 0 <= low and high <= 255, ""
    elif low >= -SLACK and high <= 1 + SLACK:
        fits, words, factor = True, "[0, 1]", 255.0
    elif low >= -1 - SLACK and high <= 1 + SLACK:
        fits, words, factor, shift = True, "[-1, 1]", 127.5, 127.5
    else:
        fits, words = low >= 0 and high <= 255, "[0, 255]"
    if not fits:
        raise ValueError(f"its numbers go from {low:.4g} to {high:.4g}, which is no range of images")
    kind = f"{stored.dtype} in {words} (they go from {low:.4g} to {high:.4g}), rounded to bytes" if words else ""
    return to_bytes(stored, factor, shift), kind


def to_bytes(numbers: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """round(numbers * factor + shift), cut off at 0 and 255, as uint8 of the same shape; computed in float64."""
    found = np.empty(numbers.shape, np.uint8)
    for at in range(0, len(numbers), BLOCK):
        part = numbers[at:at + BLOCK].astype(np.float64)
        found[at:at + BLOCK] = np.rint(np.clip(part * factor + shift, 0, 255))
    return found
