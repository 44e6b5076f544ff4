"""Images that are given as an array, as pixels; what cannot be meant is refused in one sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigan.data.dataset import Dataset
from minigan.data.resize import RESIZES, resized
from minigan.errors import WrongUse, choose, counted
from minigan.formats.foreign.image_arrays import SLACK, to_bytes

_range = range  # an option has that name here
EXPECTED = "expected (N, H, W), or (N, H, W, C) with C 1 or 3"
SIDES = (16, 1024)  # pixels


def dataset(images: ArrayLike, labels: ArrayLike | None = None, range: tuple[float, float] | None = None,
            size: int | None = None, resize: str | None = None) -> Dataset:
    """The data set of images, as `pixels` takes them, and their labels (N,), whole numbers from 0; at least 2, square.

    size, resize: brought to size x size, in one of the ways of data/resize.py (None: lanczos).
    """
    found = pixels(images, range)
    n, height, width, _ = found.shape
    if n < 2:
        raise WrongUse(f"images: {counted(n, 'image')}, shape {np.shape(images)}; expected at least 2 to train on, as "
                       f"{EXPECTED.removeprefix('expected ')}")
    if height != width:
        side, crop = min(height, width), abs(height - width) // 2
        middle = f"{crop}:{crop + side}"
        raise WrongUse(f"images: {height} x {width} pixels; expected squares; write "
                       f"images[:, {middle if height > width else f':, {middle}'}] for those in the middle")
    if size is not None and size != height:
        if resize is not None:
            choose("way to resize", resize, RESIZES)
        if not SIDES[0] <= size <= SIDES[1]:
            raise WrongUse(f"size: expected {SIDES[0]} to {SIDES[1]}, got {size}")
        found = resized(found, size, resize or "lanczos")
    elif not SIDES[0] <= height <= SIDES[1]:
        raise WrongUse(f"images: {height} x {width} pixels; expected {SIDES[0]} x {SIDES[0]} to {SIDES[1]} x "
                       f"{SIDES[1]}; size=32 brings them to 32 x 32")
    given, classes = _labels(labels, n)
    return Dataset(found, given, classes, "an array")


def pixels(images: ArrayLike, range: tuple[float, float] | None = None, name: str = "images") -> np.ndarray:
    """Images as uint8 (N, H, W, C), C 1 or 3, C-contiguous; a view where they are that already.

    images: anything that NumPy takes as an array, (N, H, W) or (N, H, W, C): uint8, or other whole numbers from 0 to
    255; or numbers of a range that is said: range=(0, 1), (-1, 1), (0, 255).
    Numbers are rounded to bytes: round((x - low) / (high - low) * 255).
    WrongUse, with what to write, for everything else: floats without a range could be meant in three ways.
    name: what the array is called in that sentence.
    """
    try:
        a = np.asarray(images)
    except Exception as error:  # whatever an object of another library raises, such as a tensor on a GPU
        if isinstance(images, (list, tuple)):
            raise WrongUse(f"{name}: a {type(images).__name__} of images of different shapes; {EXPECTED}: bring all to "
                           "one size") from None
        line = " ".join(str(error).split())
        raise WrongUse(f"{name}: this {type(images).__name__} is no NumPy array ({line[:120]}); {EXPECTED}") from None
    a = _shaped(a, name)
    if a.dtype.kind not in "buif":
        raise WrongUse(f"{name}: numbers of type {a.dtype}; expected uint8, or floats with their range")
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        raise WrongUse(f"{name}: {counted(int((~np.isfinite(a)).sum()), 'number')} of {a.size:,} not finite; leave "
                       f"these images out, or write np.nan_to_num({name})")
    low, high = float(a.min()), float(a.max())
    if range is None:
        _check_bytes(a.dtype, low, high, name)
        return np.ascontiguousarray(a, np.uint8)
    return _scaled(a, low, high, *bounds(range), name)


def check_given(given: Any, name: str, expected: str) -> None:
    """WrongUse for what is plainly no array; expected: all that might have been given."""
    if given is None or isinstance(given, (bool, int, float, complex, bytes, dict, set)) or callable(given):
        raise WrongUse(f"{name}: got {' '.join(f'{given!r:.60}'.split())}; expected {expected}")


def _shaped(a: np.ndarray, name: str) -> np.ndarray:
    """The array as (N, H, W, C)."""
    shape = a.shape
    if a.dtype.kind in "US" and a.ndim < 3:
        raise WrongUse(f"{name}: texts, shape {shape}; {EXPECTED}, or the path of a folder for files in it")
    if a.dtype.kind == "O":
        raise WrongUse(f"{name}: an array of objects {shape}; expected numbers: bring all images to one size")
    if 0 in shape:
        raise WrongUse(f"{name}: an empty array {shape}; {EXPECTED}")
    if len(shape) == 2 or len(shape) == 3 and shape[2] in (1, 3) and shape[0] > 3 and shape[1] > 3:
        raise WrongUse(f"{name}: shape {shape}, which is one image; {EXPECTED}, with N at least 2")
    if len(shape) == 3:
        return a[..., None]
    if len(shape) == 4 and shape[3] not in (1, 3):
        advice = f"; {EXPECTED}"
        if shape[1] in (1, 3):
            advice = f", which is (N, C, H, W); write {name}.transpose(0, 2, 3, 1)"
        elif shape[3] == 4:
            advice = f", with 4 channels; write {name}[..., :3] to leave transparency out"
        raise WrongUse(f"{name}: shape {shape}{advice}")
    if len(shape) != 4:
        raise WrongUse(f"{name}: shape {shape}; {EXPECTED}")
    return a


def _check_bytes(dtype: np.dtype, low: float, high: float, name: str) -> None:
    """WrongUse unless the numbers are pixels, 0 to 255, beyond doubt."""
    given = f"{name}: {dtype} numbers from {low:.6g} to {high:.6g}"
    if dtype.kind == "f":
        if high <= 1 + SLACK:
            likely = "range=(0, 1)" if low >= 0 else "range=(-1, 1)"
        else:
            likely = f"range=(0, 255), or {name}.astype('uint8')"
        raise WrongUse(f"{given}; say which numbers are black and white: {likely}")
    if not 0 <= low <= high <= 255:
        raise WrongUse(f"{given}; expected 0 to 255; say which numbers are black and white: such as "
                       f"range=({min(low, 0):g}, {high:g})")
    if high <= 1:
        raise WrongUse(f"{given}, which would be black all over; say which numbers are black and white: "
                       "range=(0, 1), or range=(0, 255) if that is meant")


def bounds(range: tuple[float, float]) -> tuple[float, float]:
    """The numbers of black and white. WrongUse unless these are two, in this order."""
    try:
        if isinstance(range, (str, bytes)):  # '01' is two numbers, too
            raise TypeError
        black, white = map(float, range)
    except (TypeError, ValueError):
        raise WrongUse(f"range: expected the numbers of black and white, such as (0, 1), got {range!r:.40}") from None
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise WrongUse(f"range: expected black below white, such as (0, 1), got ({black:g}, {white:g})")
    return black, white


def _scaled(a: np.ndarray, low: float, high: float, black: float, white: float, name: str) -> np.ndarray:
    """Numbers from black to white as bytes."""
    slack = SLACK * (white - black)
    if low < black - slack or high > white + slack:
        raise WrongUse(f"{name}: {a.dtype} numbers from {low:.4g} to {high:.4g}, and range=({black:g}, {white:g}) does "
                       f"not hold them; say the range that they have, or write np.clip({name}, "
                       f"{black:g}, {white:g})")
    if (black, white) == (0, 255) and a.dtype == np.uint8:
        return np.ascontiguousarray(a)
    factor = 255 / (white - black)
    return to_bytes(a, factor, -black * factor)


def _labels(labels: ArrayLike | None, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels, int64 (N,), and the names of their classes; -1 and none without labels."""
    if labels is None:
        return np.full(n, -1, np.int64), ()
    try:
        a = np.asarray(labels)
    except Exception as error:
        raise WrongUse(f"labels: this {type(labels).__name__} is no NumPy array ({str(error)[:120]})") from None
    expected = f"expected one whole number from 0 for each of the {n:,} images, shape ({n},)"
    if a.shape != (n,):
        one_hot = "; for one-hot rows write labels.argmax(1)" if a.ndim == 2 and len(a) == n else ""
        raise WrongUse(f"labels: shape {a.shape}; {expected}{one_hot}")
    if a.dtype.kind not in "ui":
        raise WrongUse(f"labels: numbers of type {a.dtype}; {expected}; np.unique(labels, return_inverse=True)[1] "
                       "makes them of any values")
    if not 0 <= int(a.min()) <= int(a.max()) < 1 << 20:
        raise WrongUse(f"labels: from {a.min()} to {a.max()}; {expected}")
    return a.astype(np.int64), tuple(map(str, _range(int(a.max()) + 1)))
