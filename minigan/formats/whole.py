"""The one place that writes files: whole or not at all, in the order in which they depend on each other.

A file is written beside its place, under a name that nobody can guess and that did not exist (so never through a link),
synced, renamed and its folder synced: a power cut leaves the old file or the new one, and whatever is written later
finds it. A link at its place is replaced, not followed. What a killed process leaves is known by its name and by its
lock, which only the living hold.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from minigan.errors import FailedWork
from minigan.formats import locks

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
PART = re.compile(r"\.(.+)\.(?:[0-9a-f]{16}|(?P<process>[0-9]{1,10}))\.part", re.DOTALL)
FORGOTTEN = 86_400.0  # seconds after which nobody writes at a file of minigan 0.1 any more, which locked none
# What file systems answer that cannot sync a folder, or anything.
UNSYNCED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}


def write_whole(path: Path, data: bytes | memoryview, advice: str = "", *, parents: bool = True,
                alone: bool = True) -> None:
    """Write `data` to `path`, or leave what was there.

    Removes what killed processes had begun to write for `path`.
    parents: its folder is made if need be.  alone: False for one of thousands of files, whose folder is looked through
    before and synced after the last by the caller.
    Raises FailedWork with one line, which ends with `advice`.
    """
    try:
        if parents:
            make_folder(path.parent)
        if alone:
            remove_dead(path.parent, fnmatch_of(path.name))
        with beside(path, alone) as (number, _):
            write_all(number, data)
    except OSError as error:
        raise FailedWork(f"{path} cannot be written ({error.strerror or error}){advice}") from None


def check_writable(path: Path, advice: str = "") -> None:
    """FailedWork, which ends with `advice`, if `write_whole` could not write there: to be known before long work.

    Removes what killed processes had begun to write for `path`.
    """
    try:
        make_folder(path.parent)
        number, part = _begin(path)
    except OSError as error:
        raise FailedWork(f"{path} cannot be written ({error.strerror or error}){advice}") from None
    _remove(part)
    os.close(number)
    remove_dead(path.parent, fnmatch_of(path.name))


@contextlib.contextmanager
def beside(path: Path, alone: bool = True) -> Iterator[tuple[int, Path]]:
    """A new file (open, its path) that takes the place of `path` at the end; that is left as it was if this raises.

    Its folder exists.  alone: False if the caller syncs the folder.  OSError where it cannot be written.
    """
    number, part = _begin(path)
    try:
        try:
            yield number, part
            sync_open(number, part)
            if os.name != "posix":  # Windows renames no open file
                os.close(number)
                number = -1
            os.replace(part, path)
        finally:
            _remove(part)  # Ctrl-C leaves no rubbish either
        if alone:
            sync_folder(path.parent)
    finally:
        if number >= 0:
            os.close(number)  # gives the lock back


def write_all(number: int, data: bytes | memoryview) -> None:
    """All of `data` into an open file, where it stands."""
    view = memoryview(data)
    while view:
        view = view[os.write(number, view):]


def append(path: Path, data: bytes, advice: str = "") -> None:
    """Add to a file that exists, not synced. FailedWork, which ends with `advice`."""
    try:
        with open_lasting(path, os.O_APPEND) as file:
            write_all(file.fileno(), data)
    except OSError as error:
        raise FailedWork(f"{path} cannot be written ({error.strerror or error}){advice}") from None


def open_lasting(path: Path, flags: int) -> BinaryIO:
    """A file that grows over several calls, unbuffered, for reading and writing; flags: os.O_CREAT and so on.

    OSError, too, if `path` is a link or no regular file.
    """
    try:
        number = os.open(path, os.O_RDWR | NO_LINK | getattr(os, "O_NONBLOCK", 0) | flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, which is not followed; remove it", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(number, "r+b", buffering=0)


def finish(part: Path, path: Path) -> None:
    """Give a file that `open_lasting` opened its final name. OSError."""
    sync_file(part)
    os.replace(part, path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a power cut leaves them. OSError."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        sync_folder(made.parent)


def move_folder(old: Path, new: Path) -> None:
    """Give a folder another name, that is free or an empty folder's; to another disk it is copied, links as links.

    Nothing of the old one is removed before all of the new one is on the disk. OSError.
    """
    make_folder(new.parent)
    old = old.resolve()
    try:
        os.rename(old, new)
    except OSError:  # another disk; Windows, where an empty folder is there already
        shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)
        sync_tree(new)
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(new.parent)


def remove(*paths: Path) -> None:
    """Remove files that may be there; nothing that is written later can outlive them. OSError."""
    there = [path for path in paths if os.path.lexists(path)]
    for path in there:
        path.unlink(missing_ok=True)
    for folder in dict.fromkeys(path.parent for path in there):
        sync_folder(folder)


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to a file. OSError."""
    with open_lasting(path, 0) as file:
        sync_open(file.fileno(), path)


def sync_open(number: int, path: Path) -> None:
    """The same of an open file; where it cannot be waited for, that is said once. OSError."""
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
        _say_unsynced(path, error)


def sync_folder(folder: Path) -> None:
    """The same of the names in a folder: of a file that was made, renamed or removed. Only POSIX can open a folder."""
    if os.name != "posix":
        return
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError as error:  # one that can be written, not read
        _say_unsynced(folder, error)
        return
    try:
        sync_open(number, folder)
    finally:
        os.close(number)


def sync_tree(folder: Path) -> None:
    """The same of all files and folders in a folder. OSError."""
    for place, _, names in os.walk(folder):
        for name in names:
            if os.path.isfile(os.path.join(place, name)) and not os.path.islink(os.path.join(place, name)):
                sync_file(Path(place, name))
        sync_folder(Path(place))
    sync_folder(folder.parent)


def remove_dead(folder: Path, *patterns: str) -> None:
    """Remove what killed processes had begun to write for files of these names, as for fnmatch, in a folder.

    A living writer holds the lock of its file. Where there are no locks, nothing is removed. Minigan 0.1 named them
    .NAME.PROCESS.part and locked none: such a file is removed when it was not changed for a day.
    """
    try:
        found = [match for name in os.listdir(folder) if (match := PART.fullmatch(name))
                 and any(fnmatch.fnmatchcase(match[1], pattern) for pattern in patterns)]
    except OSError:
        return  # such as a folder that is no folder: there is nothing to remove
    for match in found:
        with contextlib.suppress(OSError), open_lasting(folder / match[0], 0) as file:
            forgotten = time.time() - os.fstat(file.fileno()).st_mtime > FORGOTTEN
            if (forgotten or not match["process"]) and locks.take(file.fileno()):
                os.unlink(folder / match[0])


def fnmatch_of(name: str) -> str:
    """The pattern of one name, as its temporary file has it."""
    return re.sub(r"([*?[])", r"[\1]", _short(name))


def _begin(path: Path) -> tuple[int, Path]:
    """A new, empty, locked file beside `path`."""
    while True:
        part = path.with_name(f".{_short(path.name)}.{secrets.token_hex(8)}.part")
        number = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
        if locks.take(number) is not False and os.fstat(number).st_nlink:
            return number, part
        os.close(number)  # remove_dead was between the two lines


def _short(name: str) -> str:
    """A name that leaves room for more: file systems have 255 bytes at most."""
    return name if len(os.fsencode(name)) <= 230 else name[:57]  # of at most 4 bytes each


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):  # such as a folder that is no folder: there is nothing to remove
        os.unlink(part)


def _say_unsynced(path: Path, error: OSError) -> None:
    locks.say_once("sync", f"{path} cannot be synced ({error.strerror or error}): a power cut may cost what was "
                   "written last")
