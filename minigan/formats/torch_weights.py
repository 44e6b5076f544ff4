"""Reads the weights that torch.save wrote (.pth, .pt), with no PyTorch: both of its formats, executing nothing.

    zip     ROOT/data.pkl    the dict, pickled; a tensor is (storage KEY, offset, size, stride)
            ROOT/data/KEY    a storage: its numbers, one after the other
            all entries uncompressed; ROOT is any name; since PyTorch 1.6
    legacy  five pickles in a row: a magic number, the protocol 1001, the byte order, the dict, the storages' keys;
            then each storage in that order: how many numbers (int64), and the numbers

The pickles are read by pickles.py with the few names below; a tensor becomes a view of the file's bytes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.errors import FailedWork, brief, listed, reason
from minigan.formats import pickles
from minigan.formats.arrays_in_files import BFLOAT16, view
from minigan.formats.untrusted import TORCHSCRIPT, ZIP

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle: 0x1950A86A20F9469CFC6C
ENTRIES = 10_000  # files in a zip archive; a network of 94 layers has about 600
WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DataParallel, of torch.compile, of Lightning's modules
STORAGES = {f"torch.{name}Storage": np.dtype(kind) for name, kind in {
    "Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1",
    "Byte": "u1", "Bool": "?"}.items()} | {"torch.BFloat16Storage": BFLOAT16}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    count: int  # of numbers


@dataclass(frozen=True)
class _Tensor(pickles.Buildable):
    """A tensor as the pickle describes it; its storage may come later in the file."""

    storage: _Storage
    offset: int  # these three count numbers, not bytes
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _OrderedDict(dict[Any, Any], pickles.Buildable):
    """What state_dict() gives; its attribute _metadata (versions of modules) is of no use here."""

    def __init__(self, items: Any = ()):
        if items != ():
            raise ValueError("expected no arguments")
        super().__init__()

    def build(self, state: Any) -> None:
        if not isinstance(state, dict) or state.keys() - {"_metadata"}:
            raise ValueError("expected the one attribute _metadata")


class _Ignored(pickles.Buildable):
    """What stands beside the weights in a checkpoint and is not read."""

    def __init__(self, *_: Any):
        pass

    def build(self, state: Any) -> None:
        pass


def read(data: bytes, file: str) -> dict[str, np.ndarray]:
    """The tensors of a state dict, by name: views of `data`, see arrays_in_files.py.

    data: a whole file; also a checkpoint in which one state dict stands beside other things.  Prefixes that wrappers
    give to all names (WRAPPERS) are taken away.  file: what an error calls it.
    Raises FailedWork, one line, for TorchScript, a whole model, anything else without one dict of tensors, and for
    broken files.
    """
    if data.startswith(ZIP):
        named, storage = _read_zip(data, file)
    elif data.startswith(LEGACY):
        named, storage = _read_legacy(data, file)
    else:
        raise FailedWork(f"{file}: not a file that torch.save wrote")
    if not isinstance(named, dict):
        raise FailedWork(f"{file}: holds a {type(named).__name__}, expected a state dict: names with their tensors")
    named = _unwrapped(_state_dict(named, file))
    found = {}
    for name, tensor in named.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise FailedWork(f"{file}: {brief(name)} is a {type(tensor).__name__}, expected a state dict: names "
                             "with their tensors")
        try:
            held = storage(tensor.storage)
            found[name] = view(held, tensor.storage.dtype, tensor.size, tensor.offset * tensor.storage.dtype.itemsize,
                               tensor.stride)
        except ValueError as error:
            raise FailedWork(f"{file}: the tensor {brief(name)} cannot be read: {error}") from None
    return found


def _state_dict(named: dict[Any, Any], file: str) -> dict[Any, Any]:
    """The dict of tensors in a checkpoint; the given one if there is none in it. FailedWork if there are several."""
    inner = [name for name, value in named.items() if isinstance(value, dict) and value
             and all(isinstance(tensor, _Tensor) for tensor in value.values())]
    if not inner or any(isinstance(value, _Tensor) for value in named.values()):
        return named
    if len(inner) > 1:
        raise FailedWork(f"{file}: a checkpoint with several state dicts: {listed([brief(name) for name in inner])}; "
                         "save the one that is meant alone")
    return named[inner[0]]


def _unwrapped(named: dict[Any, Any]) -> dict[Any, Any]:
    """Without the prefixes that all names have from wrappers."""
    for _ in range(len(WRAPPERS)):
        for prefix in WRAPPERS:
            if named and all(isinstance(name, str) and name.startswith(prefix) for name in named):
                named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    return named


# ---- the pickled dict ----


def _globals() -> dict[str, Callable[..., Any]]:
    """The names that a pickled state dict asks for, as functions that only check."""

    def storage(*_: Any) -> None:
        raise ValueError("is named by tensors, never called")

    return {
        "collections.OrderedDict": _OrderedDict,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch.Size": _size,
        "argparse.Namespace": _Ignored,  # options and scores beside the weights
        "numpy.core.multiarray.scalar": _Ignored,
        "numpy._core.multiarray.scalar": _Ignored,
        "numpy.dtype": _Ignored,
        "_codecs.encode": _Ignored,
        **dict.fromkeys(STORAGES, storage),
    }


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """Arguments: storage, offset, size, stride, and what a view of numbers has no use for (gradients, hooks)."""
    if len(_) > 3:
        raise ValueError(f"{4 + len(_)} arguments, expected at most 7")
    if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0:
        raise ValueError("expected a storage and an offset")
    size, stride = _size(size), _size(stride)
    return _Tensor(storage, offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise ValueError(f"a parameter made of a {type(tensor).__name__}, expected a tensor")
    return tensor


def _size(numbers: Any = ()) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("expected a tuple of numbers of at least 0")
    return numbers


def _pointer(pointer: Any) -> _Storage:
    """('storage', type, key, device, how many numbers), in legacy files a sixth for views of storages: always None."""
    if not isinstance(pointer, tuple) or len(pointer) not in (5, 6) or pointer[0] != "storage":
        raise ValueError("expected ('storage', type, key, device, count)")
    _, kind, key, _, count, *views = pointer
    if not isinstance(kind, pickles.Global) or kind.name not in STORAGES:
        raise ValueError("a storage of an unknown type")
    if not isinstance(key, str) or type(count) is not int or count < 0 or views not in ([], [None]):
        raise ValueError("expected a storage's key as text and how many numbers it has")
    return _Storage(key, STORAGES[kind.name], count)


# ---- the two formats: each gives the dict, and a function from a storage to its bytes ----


def _read_zip(data: bytes, file: str) -> tuple[Any, Callable[[_Storage], memoryview]]:
    entries = _entries(data, file)
    roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise FailedWork(f"{file}: a zip archive without PyTorch's data.pkl")
    root = roots[0]
    strange = [name for name in entries if not name.startswith(f"{root}/") or ".." in name.split("/")]
    if strange or "/" in root:
        raise FailedWork(f"{file}: the archive holds {brief(strange[0] if strange else root)}, expected one folder")
    if bytes(entries.get(f"{root}/byteorder", b"little")) != b"little":
        raise FailedWork(f"{file}: was written on a big-endian machine; save it again on another")
    pickled = bytes(entries[f"{root}/data.pkl"])
    _refuse_model(pickled, file)
    named, end = pickles.load_from(pickled, 0, _globals(), f"{file}: data.pkl", persistent=_pointer)
    if end != len(pickled):
        raise FailedWork(f"{file}: {len(pickled) - end} bytes follow the end of data.pkl")

    def storage(wanted: _Storage) -> memoryview:
        held = entries.get(f"{root}/data/{wanted.key}")
        if held is None:
            raise ValueError(f"the archive has no data/{brief(wanted.key)}")
        return _exactly(held, wanted)

    return named, storage


def _refuse_model(pickled: bytes, file: str) -> None:
    """FailedWork for a model that was pickled as a whole: its layers' classes are named in it."""
    if b"torch.nn.modules." in pickled:
        raise FailedWork(f"{file}: a whole model, pickled with the classes of its layers, which are not run; save its "
                         "weights alone, with torch.save(model.state_dict(), FILE)")


def _entries(data: bytes, file: str) -> Mapping[str, memoryview]:
    """The files of a zip archive of uncompressed files, by name; checked: sizes, names, places, CRC."""
    if data.count(b"PK\x01\x02") > ENTRIES:  # each file's entry in the directory begins so, and takes memory
        raise FailedWork(f"{file}: a zip archive of more than {ENTRIES} files")
    found: dict[str, memoryview] = {}
    end = 0
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise FailedWork(f"{file}: is {TORCHSCRIPT}; expected a file of the weights alone, as "
                             "torch.save(model.state_dict(), FILE) writes it")
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        for entry in entries:  # all places first: newer zipfiles find overlaps too, with words of their own
            name, at = entry.filename, entry.header_offset
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise FailedWork(f"{file}: {brief(name)} is compressed, which PyTorch never does")
            start = at + 30 + int.from_bytes(data[at + 26 : at + 28], "little") + int.from_bytes(
                data[at + 28 : at + 30], "little")
            if name in found or at < end or start + entry.file_size > len(data):
                raise FailedWork(f"{file}: {brief(name)} is there twice, overlaps another file or is cut off")
            end = start + entry.file_size
            found[name] = memoryview(data)[start:end]
        for entry in entries:
            with archive.open(entry):  # looks at the entry's own header: its name, no encryption
                pass
            if zlib.crc32(found[entry.filename]) != entry.CRC:
                raise FailedWork(f"{file}: {brief(entry.filename)} is damaged: its CRC is not the recorded one")
    except FailedWork:
        raise
    except Exception as error:  # what zipfile raises on broken bytes is not documented
        raise FailedWork(f"{file}: a broken or cut off zip archive ({reason(error, 120)}); get it "
                         "again") from error
    return found


def _read_legacy(data: bytes, file: str) -> tuple[Any, Callable[[_Storage], memoryview]]:
    at, head = 0, []
    for _ in range(3):
        value, at = pickles.load_from(data, at, {}, file)
        head.append(value)
    if head[1] != 1001 or not isinstance(head[2], dict) or head[2].get("little_endian") is not True:
        raise FailedWork(f"{file}: expected PyTorch's protocol 1001, written on a little-endian machine")
    asked: dict[str, _Storage] = {}

    def pointer(pointed: Any) -> _Storage:
        storage = _pointer(pointed)
        if asked.setdefault(storage.key, storage) != storage:
            raise ValueError("one storage with two types or lengths")
        return storage

    _refuse_model(data[at:at + (1 << 20)], file)
    named, at = pickles.load_from(data, at, _globals(), file, persistent=pointer)
    keys, at = pickles.load_from(data, at, {}, file)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(asked):
        raise FailedWork(f"{file}: the list of its storages does not fit its tensors")
    held = {}
    for key in keys:
        need = 8 + asked[key].count * asked[key].dtype.itemsize
        if need > len(data) - at:
            raise FailedWork(f"{file}: cut off: the storage {brief(key)} needs {need} bytes, {len(data) - at} are "
                             "left; get it again")
        if int.from_bytes(data[at : at + 8], "little") != asked[key].count:
            raise FailedWork(f"{file}: the storage {brief(key)} has another length than its tensors say")
        held[key] = memoryview(data)[at + 8 : at + need]
        at += need
    if at != len(data):
        raise FailedWork(f"{file}: {len(data) - at} bytes follow the last storage")
    return named, lambda wanted: held[wanted.key]


def _exactly(held: memoryview, wanted: _Storage) -> memoryview:
    if len(held) != wanted.count * wanted.dtype.itemsize:
        raise ValueError(f"its storage has {len(held)} bytes, expected {wanted.count} numbers of {wanted.dtype}")
    return held
