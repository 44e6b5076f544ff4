"""Whatever a file that somebody else made does to our code becomes one clear line; what it describes is bounded."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, WrongUse, printable


@contextlib.contextmanager
def doubting(where: str) -> Iterator[None]:
    """Whatever a foreign or forged state raises becomes FailedWork, one line that says `where` it was read from."""
    try:
        yield
    except (FailedWork, WrongUse) as error:
        raise FailedWork(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FailedWork(f"{where} does not hold a run of this version ({type(error).__name__}: "
                         f"{printable(str(error)[:300])})") from None


def is_number(value: Any) -> bool:
    """Whether what a JSON file holds is a finite number; True, NaN and Infinity are none."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # no int is too large to ask


def number(value: Any) -> float:
    """The finite number that a JSON file holds; nan for anything else."""
    return float(value) if is_number(value) else math.nan


def what_it_is(head: bytes) -> str:
    """What a file is, in words, where it begins as one of the things that people have in place of the right one; or "".

    head: its first bytes, some hundreds of them.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "an HTML page, not the file that it should lead to; download it again"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; fetch that with: git lfs pull"
    if text.startswith((b"<?xml", b"<svg")):
        return "an XML text"
    if head.startswith(b"MATLAB 7.3 MAT-file"):
        return "a MATLAB 7.3 file; save it again as version 7: save(name, '-v7')"
    return ""


def what_file(path: Path) -> str:
    """The same of a file; "" also if it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return what_it_is(file.read(512))
    return ""


class Bounded(np.random.Generator):
    """Random numbers for a network that a file describes: refuses to draw more at once than its largest array has.

    So an experiment with a huge width, beside small arrays, is found before memory is taken for it.
    """

    def __init__(self, most: int):
        super().__init__(np.random.PCG64(0))
        self.most = most

    def standard_normal(self, size: Any = None, *args: Any, **options: Any) -> Any:
        self._check(size)
        return super().standard_normal(size, *args, **options)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        self._check(size)
        return super().uniform(low, high, size)

    def _check(self, size: Any) -> None:
        if np.prod(size, dtype=np.float64) > self.most:
            raise FailedWork("its experiment describes larger networks than the file holds")
