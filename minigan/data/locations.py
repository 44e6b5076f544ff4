"""Where the files of a data set may lie."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from minigan.errors import FailedWork

SYSTEM_FOLDER = Path("/usr/share/datasets")  # Debian's package dataset-fashion-mnist


def cache_folder() -> Path:
    """Where downloads are kept: $MINIGAN_CACHE, in which ~ is the user's home, else the user's cache folder.

    FailedWork where neither is known: in a container a user may have no home at all.
    """
    chosen = os.environ.get("MINIGAN_CACHE")
    try:
        folder = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("minigan")
    except RuntimeError:  # no HOME, and no entry in the system's list of users
        folder = None
    if folder is None or folder.parts[:1] == ("~",):  # as platformdirs before 4.4 leaves it
        raise FailedWork((f"MINIGAN_CACHE is {chosen}, but" if chosen else "there is no cache folder:")
                         + " no home folder of this user is known (HOME is not set); set MINIGAN_CACHE to a folder "
                         "that can be written, as in: MINIGAN_CACHE=/var/tmp/minigan")
    return folder


def places(name: str, root: Path | None) -> list[Path]:
    """Folders that may hold data set `name`, the likeliest first."""
    bases = [cache_folder(), SYSTEM_FOLDER] if root is None else [root]
    return [place for base in bases for place in (base / name, base)]


def first_file(name: str, root: Path | None, *files: str) -> Path | None:
    """The first of these files that exists in a place of data set `name`; root itself if it is a file."""
    if root is not None and root.is_file():
        return root
    return next((place / file for place in places(name, root) for file in files if (place / file).is_file()), None)


def stamp(path: Path) -> str:
    """Size and time of a file: what tells, without reading it, that it has changed."""
    try:
        status = path.stat()
    except OSError as error:
        raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from error
    return f"{status.st_size} {status.st_mtime_ns}"
