"""Files that somebody else made: the one way to open them, what they may cost, and one clear line for what is wrong.

What such a file describes is bounded by what it holds and by the memory that there is for this process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from minigan.errors import FailedWork, WrongUse, reason

SMALL = 64 << 20  # bytes that any file may unpack to
RATIO = 256
ZIP = b"PK\x03\x04"  # how an archive begins that is not empty
MATLAB_73 = "a MATLAB 7.3 file"
TORCHSCRIPT = "TorchScript, a program with its weights, which is not run"
OF_PYTORCH = {b"/constants.pkl": TORCHSCRIPT, b"/data.pkl": "a file that torch.save wrote"}  # by a name in the archive
END_OF_ZIP = 1 << 18  # bytes at the end of a zip archive in which these names are looked for: its table of contents


@contextlib.contextmanager
def doubting(where: str) -> Iterator[None]:
    """Whatever a foreign or forged state raises becomes FailedWork, one line that says `where` it was read from."""
    try:
        yield
    except (FailedWork, WrongUse) as error:
        raise FailedWork(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FailedWork(f"{where} does not hold a run of this version ({type(error).__name__}: "
                         f"{reason(error)})") from None


def check_file(path: Path) -> None:
    """OSError unless `path` is a regular file, or a link to one: to open a pipe would wait for ever, a device never
    ends."""
    _check(os.stat(path).st_mode, path)


def open_file(path: Path, buffering: int = -1) -> BinaryIO:
    """A regular file, for reading: the one way in which a file of somebody else's is opened. OSError."""
    check_file(path)  # to open a device may do something
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
                     | getattr(os, "O_BINARY", 0))
    try:
        _check(os.fstat(number).st_mode, path)  # what was there a moment ago may have been replaced
        return os.fdopen(number, "rb", buffering)
    except BaseException:
        os.close(number)
        raise


def _check(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {_kind(mode)}, expected a regular file", str(path))


def _kind(mode: int) -> str:
    return next((name for name, kind in (
        ("a file", stat.S_ISREG), ("a folder", stat.S_ISDIR), ("a named pipe", stat.S_ISFIFO),
        ("a socket", stat.S_ISSOCK), ("a device", lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode)))
        if kind(mode)), "no file")


def kind_of(path: Path) -> str:
    """What there is at a path, as the system knows it: "a file", "a folder", "a named pipe" and so on. OSError."""
    return _kind(os.stat(path).st_mode)


def read_at_most(path: Path, most: int) -> bytes:
    """All of a file of at most `most` bytes. OSError, and ValueError if it has more."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= most else b""
        if size > most or len(data) > most:
            raise ValueError(f"has {max(size, len(data))} bytes, expected at most {most}")
    return data


def read_json(path: Path, most: int) -> Any:
    """What a file of JSON holds, of at most `most` bytes. OSError, ValueError."""
    return from_json(read_at_most(path, most))


def from_json(text: bytes | str) -> Any:
    """What a JSON text holds. ValueError, also where it nests too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def cost_of_json(text: bytes) -> int:
    """Bytes that a JSON text may take once it is read: each of its values is an object of Python's."""
    return len(text) + 100 * (text.count(b",") + text.count(b"[") + text.count(b"{"))


def memory() -> int:
    """Bytes that this process may have: the machine's memory, or less where its container (cgroup) or its address
    space (ulimit -v) has a limit."""
    limits = [1 << 62]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [limit] if limit != resource.RLIM_INFINITY else []
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, kinds, own = line.split(":", 2)
            if kinds and "memory" not in kinds.split(","):
                continue
            base, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"  # version 1
            if not kinds:
                base, name = "/sys/fs/cgroup", "memory.max"  # version 2
            inner = Path(own.lstrip("/"))
            for place in (inner, *inner.parents):  # the least of a group and those around it counts
                with contextlib.suppress(OSError, ValueError):
                    limits.append(int(Path(base, place, name).read_text()))
    return min(limits)


def afford(needed: float, what: str) -> None:
    """FailedWork if `what`, the subject of the sentence, would take more than half of `memory`."""
    most = memory() // 2
    if needed > most:
        raise FailedWork(f"{what} would take {needed / 2**30:,.1f} GiB, more than half of the memory that this process "
                         f"may have ({most / 2**29:,.1f} GiB)")


def check_unpacked(size: int, packed: int, what: str) -> None:
    """FailedWork where `packed` bytes of a file unpack to `size`, far more than data do: it was made to fill a memory.

    Drawings of two colours come to 120 times their packed size; deflate can 1,032 times.
    """
    if size > max(SMALL, RATIO * packed):
        raise FailedWork(f"{what} unpacks to {size:,} bytes from {packed:,}, more than {RATIO} times as much; not read")
    afford(size, what)


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
        return MATLAB_73
    return ""


def what_file(path: Path) -> str:
    """The same of what is at a path, also where it is no regular file, or one of PyTorch's, which are zip archives;
    "" if it cannot be read."""
    with contextlib.suppress(OSError):
        if (kind := kind_of(path)) != "a file":
            return kind
        with open_file(path) as file:
            head = file.read(512)
            if head.startswith(ZIP):
                file.seek(max(0, os.fstat(file.fileno()).st_size - END_OF_ZIP))
                end = file.read(END_OF_ZIP)
                return next((what for name, what in OF_PYTORCH.items() if name in end), "")
            return what_it_is(head)
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
