"""Arrays as they lie in a file, of weights above all: views of its bytes, which take no memory of their own.

Every reader of such a file gives a dict name -> view. What a file claims (a view may repeat one number as often as
it likes) costs memory only in `float32`, so shapes are compared with what is wanted before that is called.
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from minigan.errors import FailedWork, brief
from minigan.formats.archives import fill, open_zip
from minigan.formats.untrusted import check_unpacked

# What zipfile and npy_header raise of a file that is no archive of arrays, or is broken.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError, OverflowError)
MOST_ARRAYS = 10_000  # in an .npz: a trainer's snapshot of both networks, with two moments each, has about 900
MOST_HEADER = 1 << 16  # bytes, of an .npy; NumPy reads at most 10,000

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
    magic = file.read(8)
    size = {b"\1\0": 2, b"\2\0": 4}.get(magic[6:])
    if magic[:6] != b"\x93NUMPY" or len(magic) < 8:
        raise ValueError("it is no array in NumPy's format")
    if size is None:
        raise ValueError(f"it has version {tuple(magic[6:])} of NumPy's format, expected 1 or 2")
    length = file.read(size)
    if int.from_bytes(length, "little") > MOST_HEADER:  # NumPy would take as much memory, and then look
        raise ValueError("its description is longer than any")
    header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            read = np.lib.format.read_array_header_1_0 if size == 2 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(header)
    except Exception as error:  # the text is parsed as Python, and what that raises on broken bytes is not documented
        raise ValueError(f"its description is none of an array ({type(error).__name__})") from None
    if len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
        raise ValueError(f"its shape is {brief(shape)}")
    return shape, fortran, dtype


@contextmanager
def npz_file(path: Path, most: int = MOST_ARRAYS) -> Iterator[zipfile.ZipFile]:
    """An .npz file of at most `most` arrays, open. OSError and UNREADABLE for what is none, and for ways of packing
    that NumPy does not use."""
    with open_zip(path, most) as archive:
        if len(archive.filelist) > most:
            raise ValueError(f"it holds more than {most:,} arrays")
        for entry in archive.filelist:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{brief(entry.filename)} is packed in a way that NumPy does not use")
        yield archive


def npz_array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    """The array of that name in an .npz file: numbers or texts. UNREADABLE; FailedWork where it is cut off, or too
    large for the file or for the memory."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as file:
        shape, fortran, dtype = npy_header(file)
        if dtype.kind not in "biufcUS":
            raise ValueError(f"its array {brief(name)} holds no plain numbers")
        size = prod(shape) * dtype.itemsize
        what = f"{path}: its array {brief(name)}, {str(dtype)[:20]} {brief(shape)},"
        if size > entry.file_size:
            raise FailedWork(f"{what} is broken or cut off: it has {entry.file_size:,} of {size:,} bytes")
        check_unpacked(size, entry.compress_size, what)
        array = np.empty(prod(shape), dtype)
        if size:
            fill(file, memoryview(array.view(np.uint8)), path)
        if file.read(1):
            raise ValueError(f"its array {brief(name)} has more bytes than its shape {brief(shape)}")
    return array.reshape(shape, order="F" if fortran else "C")


def float32(stored: np.ndarray) -> np.ndarray:
    """A view's numbers as a new C-contiguous float32 array; ValueError for a type that holds no fractions."""
    if stored.dtype == BFLOAT16:
        return (stored["bfloat16"].astype(np.uint32) << 16).view(np.float32)
    if stored.dtype.kind != "f":
        raise ValueError(f"holds {stored.dtype}, expected float16, bfloat16, float32 or float64")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and whoever asked looks for that
        return np.array(stored, np.float32, order="C")
