"""Reads and writes .safetensors files (https://github.com/huggingface/safetensors, "Format").

    8 bytes   length n of the header, little-endian
    n bytes   JSON: {name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, "__metadata__": {text: text}}
    the rest  the tensors' bytes, C order, little-endian; offsets count from here, without holes or overlaps
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, brief, reason
from minigan.formats.arrays_in_files import BFLOAT16, view
from minigan.formats.whole import write_whole

MAX_HEADER = 1 << 20  # bytes; the header of an Inception has about 60 thousand, and JSON takes many times its length
TYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16,
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?")}


def looks_like(data: bytes) -> bool:
    """Whether the file begins as this format does: a length, and JSON that opens a dict."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 1 << 32


def read(data: bytes, file: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors by name, views of `data` (see arrays_in_files.py), and the texts of __metadata__.

    data: a whole file.  file: what an error calls it.  Raises FailedWork, one line, for anything broken.
    """
    try:
        return _read(data)
    except (ValueError, RecursionError) as error:  # deep JSON; UnicodeDecodeError and JSONDecodeError are ValueErrors
        why = "its header nests too deep" if isinstance(error, RecursionError) else reason(error, 200)
        raise FailedWork(f"{file}: cannot be read as safetensors: {why}") from None


def _read(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"its header has {length} bytes, the file {len(data)}; expected at most {MAX_HEADER}")
    header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is no dict")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("__metadata__ holds something other than texts")
    body = memoryview(data)[8 + length :]
    places, found = [], {}
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(name, entry)
        if end > len(body) or end - begin != prod(shape) * dtype.itemsize:
            raise ValueError(f"{brief(name)} has the bytes {begin} to {end} of {len(body)}, and the shape "
                             f"{brief(shape)} of {dtype}")
        places.append((begin, end))
        found[name] = view(body[begin:end], dtype, shape)
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            raise ValueError(f"a hole or an overlap at byte {min(begin, at)} of the tensors")
        at = end
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes follow the last tensor")
    return found, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice in its header")
    return found


def _entry(name: str, entry: Any) -> tuple[np.dtype, list[int], int, int]:
    """A tensor's type, shape, begin and end, checked one by one."""
    if isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}:
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2 and len(shape) <= 32:
            numbers = [*shape, *offsets]
            if all(type(n) is int and 0 <= n < 1 << 62 for n in numbers) and offsets[0] <= offsets[1]:
                if isinstance(kind, str) and kind in TYPES:
                    return TYPES[kind], shape, offsets[0], offsets[1]
                raise ValueError(f"{brief(name)} has a type other than {', '.join(TYPES)}")
    raise ValueError(f"{brief(name)} is not described by dtype, shape and data_offsets")


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write float32 arrays of any shape, in their order. Raises FailedWork if the file cannot be written."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + 4 * array.size]}
        at += 4 * array.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers lie where a float32 can be read
    body = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in tensors.values())
    write_whole(path, len(text).to_bytes(8, "little") + text + body)
