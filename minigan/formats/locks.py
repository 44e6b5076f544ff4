"""Locks between processes: whoever ends, however, gives them back. Windows has none, nor have some network folders."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from minigan.errors import FailedWork, WrongUse
from minigan.formats.progress import to_stderr

# What file systems answer that have no locks, or not these: NFS without its daemon, NFS for files not open for writing.
NONE_HERE = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
POLL_S = 0.02

_said: set[str] = set()


class Busy(WrongUse):
    """Another process is at it."""


def take(number: int) -> bool | None:
    """Lock an open file or folder, without waiting: whether that was possible; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NONE_HERE:
            return None
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def say_once(what: str, line: str) -> None:
    """A remark on the error stream, once in a process for each `what`."""
    if what not in _said:
        _said.add(what)
        to_stderr(line)


def say_none(path: Path) -> None:
    """Say, once, that there are no locks."""
    if fcntl is not None:
        say_once("lock", f"{path} cannot be locked, its file system has no locks: let no two processes write there")


@contextlib.contextmanager
def alone(path: Path, busy: str, wait_s: float = 0.0) -> Iterator[None]:
    """Inside, no other process is inside with the same `path`, which need not exist. Busy, with the line `busy`, if
    one still is after `wait_s` seconds.

    What is locked is a file of its own, .NAME.lock beside `path`, since `path` itself may be replaced meanwhile. It is
    removed at the end. Where there are no locks, this says so once and goes on.  FailedWork if it cannot be made, as in
    a folder that does not exist.
    """
    lock, until = path.with_name(f".{path.name}.lock"), time.monotonic() + wait_s
    while True:
        number = _open(lock, path)
        try:
            taken = take(number)
            if taken is None:
                say_none(path)
            if taken is None or taken and _is_there(lock, number):
                break
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # another's, or it was removed by the one before
        if taken is False:
            if time.monotonic() >= until:
                raise Busy(busy)
            time.sleep(POLL_S)
    try:
        yield
    finally:
        if taken:
            with contextlib.suppress(OSError):
                os.unlink(lock)  # before it is given back: who waits for it sees that it is gone
        os.close(number)


def _open(lock: Path, path: Path) -> int:
    try:
        no_link = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.open(lock, os.O_RDWR | os.O_CREAT | no_link, 0o666)  # for writing: else NFS has no locks
    except OSError as error:
        raise FailedWork(f"{path} cannot be written ({error.strerror or error})") from None


def _is_there(path: Path, number: int) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(number))
    except FileNotFoundError:
        return False
