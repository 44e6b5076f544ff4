"""Arrays as they lie in a file, of weights above all: views of its bytes, which take no memory of their own.

Every reader of such a file gives a dict name -> view. What a file claims (a view may repeat one number as often as
it likes) costs memory only in `float32`, so shapes are compared with what is wanted before that is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import IO

import numpy as np

# The upper half of a float32, which NumPy has no type for: a record of one field.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])


def view(data: bytes | memoryview, dtype: np.dtype, shape: Sequence[int], start: int = 0,
         strides: Sequence[int] | None = None) -> np.ndarray:
    """The array of this shape whose first number begins at byte `start` of `data`; nothing is copied.

    shape: whole numbers.  strides: how many numbers lie between neighbours along each axis, 0 or more; None: no gaps.
    Raises ValueError if it is not within `data`, or if NumPy cannot have such an array.
    """
    if len(shape) > 32:
        raise ValueError(f"{len(shape)} axes, expected at most 32")
    if strides is None:
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if len(shape) != len(strides) or not all(0 <= n < 1 << 62 for n in (start, *shape, *strides)):
        raise ValueError("expected lengths and strides of at least 0, as many of each")
    last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    end = start + ((last + 1) * dtype.itemsize if 0 not in shape else 0)
    if end > len(data):
        raise ValueError(f"reaches to byte {end} of {len(data)}")
    return np.ndarray(tuple(shape), dtype, data, start, tuple(stride * dtype.itemsize for stride in strides))


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type, as an .npy file begins; the numbers follow, and are not read here.

    Raises ValueError for anything else, and for a version of the format that no plain numbers need.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"it has version {version} of NumPy's format")


def float32(stored: np.ndarray) -> np.ndarray:
    """A view's numbers as a new C-contiguous float32 array; ValueError for a type that holds no fractions."""
    if stored.dtype == BFLOAT16:
        return (stored["bfloat16"].astype(np.uint32) << 16).view(np.float32)
    if stored.dtype.kind != "f":
        raise ValueError(f"holds {stored.dtype}, expected float16, bfloat16, float32 or float64")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and whoever asked looks for that
        return np.array(stored, np.float32, order="C")
