"""Writes a file whole or not at all."""

import os
from pathlib import Path

from minigan.errors import FailedWork


def write_whole(path: Path, data: bytes | memoryview, sync: bool = False, advice: str = "") -> None:
    """Write `data` to `path`, or leave what was there: written beside under a temporary name, then renamed. Its folder
    is made if need be.

    sync: wait until the disk has it, so that even a power cut leaves the old file or the new one.
    Raises FailedWork with one line, which ends with `advice`.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
        if sync:
            _sync_folder(path.parent)
    except OSError as error:
        _remove(part)
        raise FailedWork(f"{path} cannot be written ({error.strerror or error}){advice}") from None
    except BaseException:  # Ctrl-C leaves no rubbish either
        _remove(part)
        raise


def check_writable(path: Path, advice: str = "") -> None:
    """FailedWork, which ends with `advice`, if `write_whole` could not write there: to be known before long work."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise FailedWork(f"{path} cannot be written ({error.strerror or error}){advice}") from None
    finally:
        _remove(part)


def remove_parts(folder: Path) -> None:
    """Remove from the folder what killed processes had begun to write."""
    for part in folder.glob(".*.[0-9]*.part"):
        _remove(part)


def _remove(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:
        pass  # such as a folder that is no folder: there is nothing to remove


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; only POSIX can open a folder."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
