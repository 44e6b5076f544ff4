"""Where the files of a data set may lie."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from minigan.errors import FailedWork

SYSTEM_FOLDER = Path("/usr/share/datasets")  # Debian's package dataset-fashion-mnist


def cache_folder() -> Path:
    """Where downloads are kept: $MINIGAN_CACHE, else the user's cache folder."""
    chosen = os.environ.get("MINIGAN_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("minigan")


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
