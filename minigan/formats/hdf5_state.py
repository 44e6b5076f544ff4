"""One HDF5 file with all that a resumed run needs.

A state is a nested dict. The file holds it flat, so that there is little to trust when it is read back:

    state             the dict as JSON text (uint8); where an array was, it says ["array", dtype, shape]
    00000 gen.l1.W    the arrays, numbered in the order in which the text names them, uncompressed
    sha256            32 bytes: SHA-256 of the text, then of every array's bytes in that order

There are no groups, attributes or filters, and links other than plain ones are refused: any HDF5 tool can
show the file, and nothing in it can point elsewhere. Equal states give equal files, byte for byte, under one
version of the HDF5 library.
"""

import hashlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minigan.errors import FailedWork, brief, reason
from minigan.formats.untrusted import afford, cost_of_json, from_json, memory, what_file
from minigan.formats.whole import write_whole

FORMAT, VERSION = "minigan checkpoint", 1
MAX_DEPTH = 64  # of the nested dict; a trainer's state needs about 6


def save(path: str | Path, state: dict[str, Any], *, parents: bool = True) -> None:
    """Write `state` to `path`: all of it or nothing.

    state: nested dict, keys str; leaves NumPy arrays (bool, integer, float up to 64 bits, complex up to 128;
    any shape and byte order), int of any size, float, bool, str, None. Keys come back sorted, arrays
    C-contiguous. Raises TypeError for any other leaf, ValueError for more than MAX_DEPTH levels, FailedWork
    if the file cannot be written.  parents: its folder is made if need be.

    The HDF5 image is built in memory (which takes up to twice the state's size) and then written like any
    file, beside `path`, synced and renamed: the HDF5 library, met by a full disk while it closes a file, may
    keep it open and try again when the process exits.
    """
    write_whole(Path(path), _image(state), "; older checkpoints are untouched", parents=parents)


def load(path: str | Path) -> dict[str, Any]:
    """Read back what `save` wrote: the same nested dict, types, dtypes, shapes and bytes.

    The file is not trusted: only plain datasets of the expected types are read, none that claims more bytes
    than the file has, and the checksum must match. Raises FailedWork with one line for anything else.
    """
    path = Path(path)
    try:
        return read(path)
    except Unreadable as error:
        what = what_file(path)
        raise FailedWork(f"{path} cannot be read ({f'it is {what}' if what else error})") from None


class Unreadable(Exception):
    """Why a file is no checkpoint, in a few words."""


def _image(state: dict[str, Any]) -> memoryview:
    """The bytes of the HDF5 file."""
    if type(state) is not dict:
        raise TypeError(f"checkpoint: the state is of type {type(state).__name__}; expected dict")
    arrays: list[tuple[str, np.ndarray]] = []
    tree = {"format": FORMAT, "version": VERSION, "state": _describe(state, (), arrays)}
    text = json.dumps(tree, separators=(",", ":")).encode()
    digest = hashlib.sha256(text)
    image = io.BytesIO()
    with _new_file(image) as file:
        for name, array in arrays:
            digest.update(_bytes(array))
            file.create_dataset(name, data=array, track_times=False)
        file.create_dataset("state", data=np.frombuffer(text, np.uint8), track_times=False)
        file.create_dataset("sha256", data=np.frombuffer(digest.digest(), np.uint8), track_times=False)
    return image.getbuffer()


def _new_file(image: io.BytesIO) -> h5py.File:
    """An empty HDF5 file in memory: h5py.File(image, "w"), but without the root group's time stamps.

    (Not HDF5's own file in memory, the core driver: before 2.0 its get_file_image has a wrong checksum.)
    """
    create, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    create.set_obj_track_times(False)
    # One fixed file version: metadata have checksums from 1.8 on, and the bytes do not depend on defaults.
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V18)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, image)
    return h5py.File(h5py.h5f.create(b"checkpoint", h5py.h5f.ACC_TRUNC, create, access))


def _describe(value: Any, path: tuple[str, ...], arrays: list[tuple[str, np.ndarray]]) -> object:
    """`value` as it stands in the JSON text; its arrays are appended to `arrays`, each with its name."""
    where = ".".join(path) if path else "the state"
    if len(path) > MAX_DEPTH:
        raise ValueError(f"checkpoint: {where} is nested deeper than {MAX_DEPTH} levels")
    if type(value) is dict:
        if not all(type(key) is str for key in value):
            raise TypeError(f"checkpoint: {where} has a key that is not a str (keys {list(value)[:8]})")
        return {key: _describe(value[key], (*path, key), arrays) for key in sorted(value)}
    if isinstance(value, np.ndarray) and _plain(value.dtype):
        arrays.append((_name(len(arrays), path), np.ascontiguousarray(value).reshape(value.shape)))
        return ["array", value.dtype.str, list(value.shape)]
    if type(value) is int and abs(value) >= 2**63:  # as text, since other JSON readers would round it
        return ["int", hex(value)]
    if value is None or type(value) in (int, float, bool, str):
        return value
    kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    expected = "dict, numeric NumPy array, int, float, bool, str or None"
    raise TypeError(f"checkpoint: {where} is of type {kind}; expected {expected}")


def _name(number: int, path: tuple[str, ...]) -> str:
    """A dataset's name: the number makes it unique, the rest is for people ("/" would make a group)."""
    words = "".join(c if c.isprintable() and c != "/" else "_" for c in ".".join(path))
    return f"{number:05d} {words[:200]}"


def _plain(dtype: np.dtype) -> bool:
    """Numbers and booleans whose bytes mean the same everywhere: no objects, text, records or long double."""
    largest = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}
    return dtype.itemsize <= largest.get(dtype.kind, 0)


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of a C-contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def read(path: Path) -> dict[str, Any]:
    """The state in the file; Unreadable for whatever is not a whole, sound checkpoint."""
    if not path.is_file():
        raise Unreadable("not a file" if path.exists() else "no such file")
    size = path.stat().st_size
    try:
        with h5py.File(path, "r", locking=False) as file:  # locking fails on some network file systems
            return _Reader(file, size).state()
    except Unreadable:
        raise
    except Exception as error:  # what h5py, json and NumPy raise on broken bytes cannot be enumerated
        raise Unreadable(_reason(error, size)) from None


class _Reader:
    """Reads text and arrays of one open file and checks them: links, types, sizes, checksum."""

    def __init__(self, file: h5py.File, size: int):
        self.file = file
        self.left = min(size, memory() // 2)  # bytes of the file that no dataset has claimed yet
        self.count = 0  # arrays read
        self.digest = hashlib.sha256()

    def state(self) -> dict[str, Any]:
        text = self.dataset("state", "|u1", None).tobytes()
        self.digest.update(text)
        afford(cost_of_json(text), "the state")
        tree = from_json(text)
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise Unreadable("not a minigan checkpoint")
        if tree.get("version") != VERSION:
            raise Unreadable(f"format version {brief(tree.get('version'))}; this minigan reads version {VERSION}")
        if not isinstance(tree.get("state"), dict):
            raise Unreadable("its state is not a dict")
        state = self.restored(tree["state"], ())
        if self.dataset("sha256", "|u1", [32]).tobytes() != self.digest.digest():
            raise Unreadable("checksum does not match: the file is damaged")
        return state

    def restored(self, value: Any, path: tuple[str, ...]) -> Any:
        """The inverse of _describe."""
        if len(path) > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return {key: self.restored(inner, (*path, key)) for key, inner in value.items()}
        if not isinstance(value, list):
            return value
        if len(value) == 2 and value[0] == "int":
            return int(value[1], 16)
        if len(value) == 3 and value[0] == "array":
            array = self.dataset(_name(self.count, path), *value[1:])
            self.count += 1
            self.digest.update(_bytes(array))
            return array
        raise Unreadable(f"a value of unknown kind, {brief(value)}")

    def dataset(self, name: str, dtype: str, shape: list[int] | None) -> np.ndarray:
        """One dataset's numbers, if it is what the text says and lies in this file in one plain block."""
        link = self.file.get(name, getlink=True)
        if link is None:
            raise Unreadable(f"no dataset '{name}': not a minigan checkpoint, or damaged")
        if not isinstance(link, h5py.HardLink):
            raise Unreadable(f"'{name}' is a link to elsewhere, which is not followed")
        dataset = self.file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or not _plain(dataset.dtype):
            raise Unreadable(f"'{name}' is not a dataset of numbers")
        layout = dataset.id.get_create_plist()
        if layout.get_layout() != h5py.h5d.CONTIGUOUS or layout.get_external_count():
            raise Unreadable(f"'{name}' is not stored as one plain block in this file")
        if dataset.dtype.str != dtype or shape not in (None, list(dataset.shape)):
            given = f"{dataset.dtype.str} {list(dataset.shape)}"
            raise Unreadable(f"'{name}' is {given}, expected {brief(dtype)} {brief(shape)}")
        self.left -= math.prod(dataset.shape) * dataset.dtype.itemsize
        if self.left < 0:
            raise Unreadable(f"'{name}' claims more bytes than the file has, or than go into the memory")
        array = np.empty(dataset.shape, dataset.dtype)
        if array.size:
            dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, array)  # dataset[()] loses a 0-d array's byte order
        return array


def _reason(error: Exception, size: int) -> str:
    """What went wrong below, in one line without the library's own vocabulary where we know better."""
    words = reason(error)
    stored = re.search(r"stored_eof = ([0-9]+)", words)
    if stored:
        return f"truncated: {size:,} of {int(stored[1]):,} bytes"
    if "signature not found" in words:
        return "not an HDF5 file"
    return f"damaged: {words}"
