"""Writes a PyTorch state_dict as the zip file that torch.load opens, weights_only=True included: data, and no torch.

    archive/data.pkl     {name: _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)}, a pickle
    archive/data/0 ...   each storage's numbers
    archive/byteorder, archive/version
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minigan.formats.whole import write_whole


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write float32 arrays of any shape by name. Raises FailedWork if the file cannot be written."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        def put(name: str, data: bytes) -> None:  # a fixed date: the same weights give the same bytes
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), data)
        put("data.pkl", _pickle(tensors))
        put("byteorder", b"little")
        for i, a in enumerate(tensors.values()):
            put(f"data/{i}", np.ascontiguousarray(a, "<f4").tobytes())
        put("version", b"3\n")
    write_whole(path, file.getvalue())


def _pickle(tensors: Mapping[str, np.ndarray]) -> bytes:
    out = b"\x80\x02}("  # protocol 2, an empty dict, a mark
    for i, (name, a) in enumerate(tensors.items()):
        strides = [int(np.prod(a.shape[k + 1:])) for k in range(a.ndim)]
        storage = (b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(i)) + _text("cpu")
                   + _number(a.size) + b"tQ")  # a tuple; looked up by it
        out += (_text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0) + _numbers(a.shape)
                + _numbers(strides) + b"\x89" + b"ccollections\nOrderedDict\n)R" + b"tR")  # requires no gradient
    return out + b"u."  # set the items; stop


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def _number(n: int) -> bytes:
    return b"J" + n.to_bytes(4, "little", signed=True)


def _numbers(ns: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_number, ns)) + b"t"
