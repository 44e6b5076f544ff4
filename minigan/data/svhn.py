"""SVHN, cropped digits (http://ufldl.stanford.edu/housenumbers), and the part of MATLAB's file format 5 it needs.

A .mat file of version 5 is a header of 128 bytes and elements: a tag (type, number of bytes), then data, padded to 8
bytes. An element of type 15 is another one, packed with zlib; one of type 14 an array: flags, lengths, name, numbers,
each an element again (MATLAB's "MAT-File Format", chapter 1). Only arrays of numbers are read, the rest is passed over.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from minigan.data.dataset import Dataset, Request, download
from minigan.data.locations import cache_folder, first_file
from minigan.errors import FailedWork, brief, reason
from minigan.formats.archives import Part, pass_over, reading, take, take_large
from minigan.formats.download import Published, md5_of
from minigan.formats.untrusted import MATLAB_73, what_file

SVHN_FILES = {
    split: Published(f"http://ufldl.stanford.edu/housenumbers/{split}_32x32.mat", md5, size)
    for split, md5, size in (
        ("train", "e26dedcc434d2e4c54c9b2d4a06d8373", 182040794),
        ("test", "eb5a983be6a315427106f1b164d9cef3", 64275384),
        ("extra", "a93ce644f1a588dc4d68dda5feec44a7", 1329278602))}
MAX_ARRAY = 2 << 30  # bytes; extra has 1.6 GB
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, PACKED = 14, 15


def svhn(ask: Request) -> Dataset:
    """32 x 32 photographs of house numbers: 73,257 digits to train, 26,032 to test, 531,131 extra (Netzer et al. 2011).

    X is uint8 (32, 32, 3, N), first axis fastest; y the digit, with 10 for zero, which becomes 0 here.
    """
    name = f"{ask.split}_32x32.mat"
    path = find(ask.root, ask.split)
    if path is None and ask.root is not None:
        raise FailedWork(f"{ask.root}: no SVHN there for split {ask.split}; looked for {name}, also in svhn; get it "
                         f"from {SVHN_FILES[ask.split].url}")
    if path is None:
        path = download(SVHN_FILES[ask.split], cache_folder() / "svhn" / name, ask)
    arrays = read_arrays(path, {"X", "y"})
    if "X" not in arrays or "y" not in arrays:
        raise FailedWork(f"{path}: holds the arrays {', '.join(sorted(arrays)) or 'none'}, expected X and y")
    X, y = arrays["X"], arrays["y"].reshape(-1)
    if X.dtype != np.uint8 or X.ndim not in (3, 4) or X.shape[:3] != (32, 32, 3):
        raise FailedWork(f"{path}: X is {X.dtype} {X.shape}, expected uint8 (32, 32, 3, N)")
    X = X.reshape(32, 32, 3, -1, order="F")
    if len(y) != X.shape[3]:
        raise FailedWork(f"{path}: {X.shape[3]} images, but {len(y)} labels")
    if not np.isin(y, np.arange(11)).all():
        raise FailedWork(f"{path}: y holds other numbers than 1 to 10")
    checked = "md5 as published"
    if md5_of(path) != SVHN_FILES[ask.split].md5:
        checked = "md5 not the published one"
        ask.say(f"{path}: its md5 is not the published one; the format is right, so used")
    images = np.ascontiguousarray(X.transpose(3, 0, 1, 2))
    return Dataset(images, y.astype(np.int64) % 10, tuple("0123456789"), f"{path} ({checked})")


def find(root: Path | None, split: str) -> Path | None:
    return first_file("svhn", root, f"{split}_32x32.mat")


def read_arrays(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    """The wanted arrays of numbers in a .mat file of version 5, by name; FailedWork, one line, for a broken file."""
    if what_file(path) == MATLAB_73:
        raise FailedWork(f"{path}: is {MATLAB_73}; save it again as version 7: save(name, '-v7')")
    found: dict[str, np.ndarray] = {}
    try:
        with reading(path) as file:
            head = take(file, 128, path)
            order = {b"IM": "<", b"MI": ">"}.get(head[126:])
            if order is None or struct.unpack(f"{order}H", head[124:126])[0] != 0x0100:
                raise FailedWork(f"{path}: not a MATLAB file of version 5")
            for kind, size in _elements(file, order, path):
                element = Part(file, size)
                if kind == PACKED:
                    stream: Any = _Unzipped(element)
                    kind, size = struct.unpack(f"{order}II", take(stream, 8, path))
                else:
                    stream = element
                if kind == MATRIX:
                    _matrix(stream, order, path, wanted - found.keys(), found)
                pass_over(file, element.left, path)
                if wanted <= found.keys():
                    break
    except zlib.error as error:
        raise FailedWork(f"{path}: broken or cut off ({reason(error)}); remove it and get it again") from error
    return found


def _elements(file: IO[bytes], order: str, path: Path) -> Iterator[tuple[int, int]]:
    """Type and size of the file's elements; their data must be taken from the file in between."""
    while first := file.read(1):
        yield struct.unpack(f"{order}II", first + take(file, 7, path))


def _matrix(stream: IO[bytes], order: str, path: Path, wanted: set[str], found: dict[str, np.ndarray]) -> None:
    """Read one array into `found`, if it is wanted and an array of numbers."""
    kind = struct.unpack(f"{order}I", _part(stream, order, path, 16)[1][:4].ljust(4, b"\0"))[0] & 0xFF
    lengths = _part(stream, order, path, 256)[1]
    shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths[: len(lengths) // 4 * 4])
    name = _part(stream, order, path, 256)[1].decode("latin-1")
    if name not in wanted or not 6 <= kind <= 15:  # 6 to 15: double, single, int8 to uint64; below: cells, text, ...
        return
    if len(shape) < 2 or min(shape) < 0 or prod(shape) > MAX_ARRAY:
        raise FailedWork(f"{path}: {name} has the shape {brief(shape)}, expected at most {MAX_ARRAY} numbers")
    code, data = _part(stream, order, path, MAX_ARRAY, padded=False)  # it is the last one
    if code not in NUMBERS:
        raise FailedWork(f"{path}: the numbers of {name} are of type {code}, expected one of MATLAB's number types")
    dtype = np.dtype(order + NUMBERS[code])
    if prod(shape) * dtype.itemsize != len(data):
        raise FailedWork(f"{path}: {name} has the shape {brief(shape)}, but {len(data)} bytes of {dtype}")
    if isinstance(stream, _Unzipped):
        stream.check_end(path)
    found[name] = np.frombuffer(data, dtype).reshape(shape, order="F")


def _part(stream: IO[bytes], order: str, path: Path, most: int, padded: bool = True) -> tuple[int, Any]:
    """Type and data of the next element inside an array; up to four bytes lie in the tag itself."""
    tag = take(stream, 8, path)
    kind, size = struct.unpack(f"{order}II", tag)
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        return kind, tag[4 : 4 + min(size, 4)]
    if size > most:
        raise FailedWork(f"{path}: an element promises {size} bytes, expected at most {most}")
    data = take_large(stream, size, path) if size > 256 else take(stream, size, path)
    take(stream, -size % 8 if padded else 0, path)
    return kind, data


class _Unzipped:
    """What a zlib stream unpacks to, never more at once than is asked for."""

    def __init__(self, packed: Part):
        self.packed = packed
        self.unzip = zlib.decompressobj()

    def read(self, n: int) -> bytes:
        while not self.unzip.eof:
            data = self.unzip.unconsumed_tail or self.packed.read(1 << 16)
            out = self.unzip.decompress(data, n)  # without data: what zlib still holds back
            if out or not data:
                return out
        return b""

    def check_end(self, path: Path) -> None:
        """Read what is left, padding at most, and the checksum behind it. FailedWork if it is another or not there."""
        left = sum(len(self.read(64)) for _ in range(4))
        if left > 64 or not self.unzip.eof:
            raise FailedWork(f"{path}: broken or cut off (an element without its end); remove it and get it again")
