"""Labels beside the images of an .npz file, as several programs write them: ADM, BigGAN, Keras."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minigan.errors import counted, listed, reason
from minigan.formats.arrays_in_files import UNREADABLE, npz_array, npz_file
from minigan.formats.foreign.image_arrays import Header, headers_in
from minigan.formats.progress import to_stderr

NAMES = ("labels", "label", "y", "arr_1")  # plain; BigGAN's and Keras'; ADM's
OF_CLASSES = ("class_names", "classes", "label_names", "names")  # of the classes, in the order of the labels
MOST = 1 << 20  # classes
MOST_BYTES = 1 << 30  # of an array of labels
EXPECTED = "expected (N,) whole numbers from 0, or names, or one-hot rows (N, classes)"

Labels = tuple[np.ndarray, tuple[str, ...]]  # int64 (N,), and the classes that they index


def read_labels(path: Path, count: int, say: Callable[[str], None] = to_stderr) -> Labels | None:
    """The labels of the `count` images in an .npz file, and the names of their classes; None if there are none.

    The array is the first of NAMES that is there: whole numbers from 0 (their classes are called "0", "1", ..., or as
    an array of OF_CLASSES says), names, or one-hot rows. -1 is an image without a label.
    What was taken is handed to `say`, and so is an array of such a name that holds no labels: it is passed over, as a
    file of images may have others beside them. The file is not trusted: no pickles, sizes are checked first.
    """
    try:
        with npz_file(path) as archive:
            headers = headers_in(archive)
            name = next((name for name in NAMES if name in headers), None)
            if name is None:
                return None
            try:
                given = _array(archive, name, headers[name], path)
                labels, classes = _labels(given, count)
            except ValueError as error:
                say(f"{path}: its array '{name}' is not taken as labels: {reason(error)}; {EXPECTED}")
                return None
            if given.dtype.kind not in "US":
                classes = _class_names(archive, headers, path, len(classes), say) or classes
    except (OSError, *UNREADABLE) as error:  # a broken member; of the images themselves image_arrays.py says so
        say(f"{path}: labels cannot be read ({reason(error).removeprefix(f'{path}: ')})")
        return None
    say(f"{path}: labels of {counted(len(classes), 'class', 'classes')}, from its array '{name}'")
    return labels, classes


def _labels(given: np.ndarray, count: int) -> Labels:
    """Labels and their classes, "0", "1", ... unless the labels are names. ValueError for anything else."""
    if len(given) != count:
        raise ValueError(f"it has the shape {given.shape}, and there are {count:,} images")
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim == 2:
        if not ((given == 0) | (given == 1)).all() or not (given.sum(1) == 1).all():
            raise ValueError(f"a row of its {given.shape} is not one 1 among zeros")
        return given.argmax(1).astype(np.int64), tuple(map(str, range(given.shape[1])))
    if given.dtype.kind in "US":
        names, labels = np.unique(given, return_inverse=True)
        return labels.astype(np.int64), tuple(map(_shown, names))
    if given.dtype.kind == "f" and not np.array_equal(given, np.rint(given)):  # nan is no whole number, either
        raise ValueError("some of its numbers are not whole")
    low, high = float(given.min()), float(given.max())
    if not -1 <= low or not 0 <= high < MOST:
        raise ValueError(f"its numbers go from {low:.6g} to {high:.6g}")
    return given.astype(np.int64), tuple(map(str, range(int(high) + 1)))


def _class_names(archive: zipfile.ZipFile, headers: dict[str, Header], path: Path, count: int,
                 say: Callable[[str], None]) -> tuple[str, ...] | None:
    """The names of at least `count` classes; None if there are none, or not so many, which is said."""
    name = next((name for name in OF_CLASSES if name in headers), None)
    if name is None:
        return None
    try:
        given = _array(archive, name, headers[name], path)
        names = tuple(map(_shown, given)) if given.ndim == 1 else ()
        if given.dtype.kind not in "US" or len(set(names)) < len(names) or len(names) < count:
            raise ValueError(f"{given.dtype} {given.shape}, expected {count:,} different names")
    except ValueError as error:
        say(f"{path}: its array '{name}' is not taken as the names of the classes: {reason(error)}")
        return None
    say(f"{path}: classes {listed(names)}, from its array '{name}'")
    return names


def _array(archive: zipfile.ZipFile, name: str, header: Header, path: Path) -> np.ndarray:
    """The array of that name. ValueError if its type or size cannot be that of labels or names."""
    shape, _, dtype = header
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "buifUS" or len(shape) not in (1, 2) or not 0 < size <= MOST_BYTES or dtype.kind in "US" and (
            len(shape) != 1):
        raise ValueError(f"it is {dtype} {shape}")
    return npz_array(archive, name, path)


def _shown(name: np.str_ | np.bytes_) -> str:
    """A name as text on one line."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
