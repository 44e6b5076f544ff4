"""Reads the constants of a TensorFlow graph (GraphDef, .pb), with no TensorFlow: the graph itself is passed over.

A protobuf message is a row of fields, each a tag (number << 3 | wire type) and a value; the fields used here, from
tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto:

    GraphDef          node 1
    NodeDef           name 1, op 2, attr 5 (an entry of a map: key 1, value 2)
    AttrValue         tensor 8
    TensorProto       dtype 1, tensor_shape 2, tensor_content 4, float_val 5, double_val 6
    TensorShapeProto  dim 2 (size 1), unknown_rank 3
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from minigan.errors import FailedWork, brief
from minigan.formats.arrays_in_files import BFLOAT16, view

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4, groups, are older than TensorFlow
FLOAT, DOUBLE = 1, 2  # of DataType, in types.proto
TYPES: dict[int, np.dtype] = {FLOAT: np.dtype("<f4"), DOUBLE: np.dtype("<f8"), 14: BFLOAT16, 19: np.dtype("<f2")}
NODES = 1_000_000  # the published graph has about a thousand
REPEATED = 1 << 20  # bytes that all constants may get which leave out numbers that repeat at the end


def read(data: bytes, file: str) -> dict[str, np.ndarray]:
    """The constants with fractions of a graph, by the names of their nodes (views of `data`),
    see formats/arrays_in_files.py.

    data: a whole file.  file: what an error calls it.  Constants of other types (shapes, texts) are left out.
    Raises FailedWork, one line, for anything that is no GraphDef.
    """
    found: dict[str, np.ndarray] = {}
    left = [REPEATED]
    name = "its first node"
    try:
        for count, (number, node) in enumerate(_fields(memoryview(data))):
            if count > NODES:
                raise ValueError(f"more than {NODES} nodes")
            if number == 1:
                parts = _messages(node)
                name = _text(parts.get(1))
                if _text(parts.get(2)) != "Const":
                    continue
                array = _constant(node, left)
                if name in found:
                    raise ValueError("is there twice")
                if array is not None:
                    found[name] = array
    except ValueError as error:
        raise FailedWork(f"{file}: cannot be read as a TensorFlow graph: {brief(name)}: {error}") from None
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, or a view of bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            length, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {kind}")
        if length > end - at:
            raise ValueError(f"a field of {length} bytes where {end - at} are left; broken or cut off")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits to a byte, the last byte below 128; and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a number is cut off")
        value |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _messages(message: Any) -> dict[int, Any]:
    """The fields by number; of a repeated one the last, as protobuf has it for those that are not lists."""
    return dict(_fields(_message(message)))


def _message(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number where a message is expected")
    return value


def _text(value: Any) -> str:
    return bytes(_message(value)).decode("utf-8", "replace") if value is not None else ""


def _constant(node: memoryview, left: list[int]) -> np.ndarray | None:
    """The attribute `value` of a Const node; None if it holds no fractions."""
    for number, entry in _fields(node):
        if number == 5:
            parts = _messages(entry)
            if _text(parts.get(1)) == "value":
                tensor = _messages(parts.get(2)).get(8)
                if tensor is None:
                    raise ValueError("its value is no tensor")
                return _tensor(_message(tensor), left)
    raise ValueError("a constant without a value")


def _tensor(tensor: memoryview, left: list[int]) -> np.ndarray | None:
    parts = _messages(tensor)
    code = parts.get(1)
    if code not in TYPES:
        return None
    dtype, shape = TYPES[code], _shape(parts.get(2))
    content = _message(parts.get(4, memoryview(b"")))
    if not len(content) and code in (FLOAT, DOUBLE):
        content = _listed(tensor, 5 if code == FLOAT else 6, dtype.itemsize)
    have, need = len(content) // dtype.itemsize, prod(shape)
    if len(content) % dtype.itemsize or have > need or (need and not have):
        raise ValueError(f"{len(content)} bytes for the shape {brief(shape)} of {dtype}")
    if have < need and have > 1:  # the last number stands for those that are missing
        left[0] -= need * dtype.itemsize
        if left[0] < 0:
            raise ValueError(f"{have} numbers for the shape {brief(shape)}")
        content = memoryview(bytes(content) + bytes(content[-dtype.itemsize :]) * (need - have))
    return view(content, dtype, shape, 0, [0] * len(shape) if have == 1 else None)


def _shape(message: Any) -> tuple[int, ...]:
    if message is None:
        return ()
    lengths: list[int] = []
    for number, part in _fields(_message(message)):
        if number == 3 and part:
            raise ValueError("its shape is unknown")
        if number == 2:
            length = _messages(part).get(1, 0)
            if not isinstance(length, int) or length >= 1 << 40 or len(lengths) >= 32:  # also -1, as 2**64 - 1
                raise ValueError("its shape is unknown or too large")
            lengths.append(length)
    return tuple(lengths)


def _listed(tensor: memoryview, wanted: int, size: int) -> memoryview:
    """The numbers of a repeated field, packed or one by one."""
    found = bytearray()
    for number, value in _fields(tensor):
        if number == wanted:
            if not isinstance(value, memoryview) or len(value) % size:
                raise ValueError("a broken list of numbers")
            found += value
    return memoryview(found)
