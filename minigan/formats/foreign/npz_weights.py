"""Weights in .npz files, as Chainer's serializers.save_npz writes them: names with slashes, numbers, no pickles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minigan.errors import FailedWork, brief, reason
from minigan.formats.arrays_in_files import UNREADABLE, npy_header, npz_array, npz_file
from minigan.formats.untrusted import what_file

MOST = 1 << 32  # bytes of all arrays that are read

Header = tuple[tuple[int, ...], np.dtype]  # shape and type


def headers(path: Path) -> dict[str, Header]:
    """What every array in the file says of itself, by name: (shape, dtype). No numbers are read.

    An array of objects, such as the None that Chainer writes for a bias that is not there, is left out: it would be a
    pickle. FailedWork for anything but an .npz file.
    """
    found = {}
    with _Doubting(path), npz_file(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    shape, _, dtype = npy_header(file)
                if dtype.kind in "biuf":
                    found[name.removesuffix(".npy")] = shape, dtype
    if not found:
        raise FailedWork(f"{path}: an .npz file with no array of numbers in it")
    return found


def read(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these names, all of them numbers. FailedWork if one is not as its header says."""
    found, left = {}, MOST
    with _Doubting(path), npz_file(path) as archive:
        for name in names:
            left -= archive.getinfo(f"{name}.npy").file_size
            if left < 0:
                raise ValueError(f"its arrays have more than {MOST >> 30} GiB")
            found[name] = npz_array(archive, name, path)
            if found[name].dtype.kind not in "biuf":
                raise ValueError(f"its array {brief(name)} holds no numbers")
    return found


class _Doubting:
    """What goes wrong while the file is read becomes one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise FailedWork(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if isinstance(error, UNREADABLE) and not isinstance(error, FailedWork):
            what = what_file(self.path)
            raise FailedWork(f"{self.path}: {f'is {what}' if what else reason(error)}; expected weights in an .npz "
                             "file, as Chainer writes them") from error
