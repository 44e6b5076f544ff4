"""Reads the weights that Keras wrote as HDF5 (.h5), with no Keras: datasets are looked up, nothing else is read.

    Keras 2, and 3 for .h5   /LAYER/.../kernel:0, beta:0, ... (Keras 3: kernel, beta); model.save: below /model_weights
    Keras 3, .weights.h5     /layers/LAYER/vars/0, 1, ...

Of HDF5's ways to hold numbers only one is followed: a dataset that lies in this file in one plain block, reached by
hard links. Its place is asked for, and its bytes are taken from the file itself. Attributes, among them model_config,
whose Lambda layers carry code, are never looked at.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import h5py
import numpy as np

from minigan.errors import FailedWork, brief, reason
from minigan.formats.arrays_in_files import view

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 8  # groups in groups; Keras uses up to five
MAX_OBJECTS = 20_000  # groups and datasets; InceptionV3 has about a thousand


def read(data: bytes, file: str) -> dict[str, np.ndarray]:
    """The variables with fractions, as LAYER/VARIABLE: views of `data`, see formats/arrays_in_files.py.

    conv2d_5/kernel, whatever lies between the two in the file; conv2d_5/0 in the layout of .weights.h5.
    data: a whole file.  file: what an error calls it.
    Raises FailedWork, one line, for anything that is not as described above.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as opened:
            return _read(opened, data)
    except _Refused as error:
        raise FailedWork(f"{file}: cannot be read as weights of Keras: {error}") from None
    except Exception as error:  # what h5py raises on broken bytes cannot be enumerated
        why = reason(error, 160)
        raise FailedWork(f"{file}: a broken or cut off HDF5 file ({why}); get it again") from None


def is_checkpoint(data: bytes) -> bool:
    """Whether an HDF5 file has the datasets of one that minigan wrote, see formats/hdf5_state.py."""
    try:
        with h5py.File(io.BytesIO(data), "r") as opened:
            return {"state", "sha256"} <= set(opened)
    except Exception:  # broken: whoever reads it says why
        return False


class _Refused(Exception):
    """Why a file is not read, in a few words."""


def _read(opened: h5py.File, data: bytes) -> dict[str, np.ndarray]:
    root = opened
    for name in ("model_weights", "layers"):  # of model.save; of .weights.h5
        if name in opened:
            root = _plain_link(opened, name)
            break
    if not isinstance(root, h5py.Group):
        raise _Refused(f"'{name}' is no group")
    found: dict[str, np.ndarray] = {}
    for path, dataset in _datasets(root, (), [MAX_OBJECTS]):
        if len(path) < 2 or dataset.dtype.kind != "f":
            continue
        name = f"{path[0]}/{path[-1].removesuffix(':0')}"
        if name in found:
            raise _Refused(f"{brief(name)} is there twice")
        found[name] = _view(dataset, data, brief("/".join(path)))
    return found


def _plain_link(group: h5py.Group, name: str) -> h5py.HLObject:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise _Refused(f"{brief(name)} is a link to elsewhere, which is not followed")
    return group[name]


def _datasets(group: h5py.Group, above: tuple[str, ...], left: list[int]) -> Iterator[tuple[tuple[str, ...],
                                                                                           h5py.Dataset]]:
    """Every dataset below a group, with its path."""
    if len(above) > MAX_DEPTH:
        raise _Refused(f"groups lie deeper than {MAX_DEPTH} levels")
    for name in group:
        left[0] -= 1
        if left[0] < 0:
            raise _Refused(f"more than {MAX_OBJECTS} groups and datasets, or groups in themselves")
        member = _plain_link(group, name)
        if isinstance(member, h5py.Dataset):
            yield (*above, name), member
        elif isinstance(member, h5py.Group):
            yield from _datasets(member, (*above, name), left)


def _view(dataset: h5py.Dataset, data: bytes, where: str) -> np.ndarray:
    layout = dataset.id.get_create_plist()
    if layout.get_layout() != h5py.h5d.CONTIGUOUS or layout.get_external_count() or dataset.shape is None:
        raise _Refused(f"{where} is not stored as one plain block in this file")
    start = dataset.id.get_offset()
    if start is None:
        raise _Refused(f"{where} was never written")
    try:
        return view(data, dataset.dtype, dataset.shape, start)
    except ValueError as error:
        raise _Refused(f"{where} {error}; the file is cut off") from None
