"""Power cuts, played: what a disk may hold at every moment of a command's work.

`Record` notes every making, syncing, renaming and removing of files below a folder. `states` gives what a power cut
after each of them may leave, twice: with all names that were changed until then (as a journal that some other sync
has written), and with those alone whose folder was synced. In both a file holds what it held when it was synced last:
nothing, if it never was. What was written and not synced is dropped.

POSIX promises no more. A real disk may hold more, never less.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Names = dict[str, Any]  # name -> number of a file, or the Names of a folder
FIRST = "what was there before"


@dataclass
class State:
    """What is on the disk after a power cut: path below the folder -> bytes."""

    event: int
    names: str  # "all" that were changed, or "synced"
    files: dict[str, bytes]
    folders: list[str]

    def put(self, folder: Path) -> None:
        """Lay it out on a real disk."""
        folder.mkdir(parents=True)
        for name in self.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


@dataclass
class Record:
    """Notes what happens below `root`, which exists, between `start` and the end of the test."""

    root: Path
    events: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = Path(os.path.realpath(self.root))
        for folder, inner, files in os.walk(self.root):  # all of it reached the disk long ago
            for name in inner:
                self._note("mkdir", os.path.join(folder, name))
            for name in files:
                path = os.path.join(folder, name)
                self._note("name", path, os.stat(path).st_ino)
                self.events.append(("sync", os.stat(path).st_ino, Path(path).read_bytes()))
        for folder, _, _ in os.walk(self.root):
            self._note("sync folder", folder)
        self.before = len(self.events)

    def start(self, patch: pytest.MonkeyPatch) -> None:
        """From here on, in this process."""
        real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "unlink", "mkdir", "rmdir", "rename")}

        def opened(path: Any, flags: int, *mode: Any, **more: Any) -> int:
            new = flags & os.O_CREAT and not os.path.lexists(path)
            number = real["open"](path, flags, *mode, **more)
            if new:
                self._note("name", path, os.fstat(number).st_ino)
            return number

        def synced(number: int) -> None:
            real["fsync"](number)
            path = os.readlink(f"/proc/self/fd/{number}")
            if os.path.isdir(path):
                self._note("sync folder", path)
            else:
                with open(path, "rb") as file:
                    self.events.append(("sync", os.fstat(number).st_ino, file.read()))

        def moved(a: Any, b: Any, **more: Any) -> None:
            real["replace"](a, b, **more)
            self._note("move", a, b)

        def removed(path: Any, **more: Any) -> None:
            real["unlink"](path, **more)
            self._note("remove", path)

        def made(path: Any, *mode: Any, **more: Any) -> None:
            real["mkdir"](path, *mode, **more)
            self._note("mkdir", path)

        for name, function in (("open", opened), ("fsync", synced), ("replace", moved), ("rename", moved),
                               ("unlink", removed), ("remove", removed), ("mkdir", made)):
            patch.setattr(os, name, function)

    def states(self) -> Iterator[State]:
        """What may be left, after the events in their order; equal ones once, but for the last."""
        synced: dict[int, bytes] = {}  # a file's content when it was synced last
        now: Names = {}  # all names
        lasting: dict[int, Names] = {id(now): {}}  # a folder -> its names when it was synced last
        seen = set()
        for i, (kind, *what) in enumerate(self.events, start=1):
            if kind == "sync":
                synced[what[0]] = what[1]
            elif kind == "sync folder":
                folder = _folder(now, what[0])
                lasting[id(folder)] = dict(folder)
            elif kind == "mkdir":
                _folder(now, what[0][:-1])[what[0][-1]] = new = {}
                lasting[id(new)] = {}
            elif kind == "name":
                _folder(now, what[0][:-1])[what[0][-1]] = what[1]
                synced[what[1]] = b""  # a number may be used again
            elif kind == "remove":
                _folder(now, what[0][:-1]).pop(what[0][-1], None)
            elif kind == "move":
                file = _folder(now, what[0][:-1]).pop(what[0][-1])
                _folder(now, what[1][:-1])[what[1][-1]] = file
            if i < self.before:
                continue
            for mode in ("synced", "all"):
                files: dict[str, bytes] = {}
                folders: list[str] = []
                _lay_out(now, "", files, folders, synced, lasting if mode == "synced" else None)
                key = (mode, tuple(sorted((name, hash(data)) for name, data in files.items())), tuple(folders))
                if key not in seen or i == len(self.events):
                    seen.add(key)
                    yield State(i, mode, files, folders)

    def _note(self, kind: str, *paths: Any) -> None:
        told = [self._below(path) if isinstance(path, (str, os.PathLike)) else path for path in paths]
        if None not in told:
            self.events.append((kind, *told))

    def _below(self, path: Any) -> tuple[str, ...] | None:
        path = os.fspath(path)
        whole = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path)) \
            if os.path.realpath(path) != str(self.root) else str(self.root)
        inner = os.path.relpath(whole, self.root)
        return None if inner.startswith("..") else tuple(part for part in inner.split(os.sep) if part != ".")


def _folder(names: Names, path: tuple[str, ...]) -> Names:
    for part in path:
        names = names[part]
    return names


def _lay_out(names: Names, at: str, files: dict[str, bytes], folders: list[str], synced: dict[int, bytes],
             lasting: dict[int, Names] | None) -> None:
    there = names if lasting is None else lasting[id(names)]
    for name, what in there.items():
        if isinstance(what, dict):
            folders.append(at + name)
            _lay_out(what, f"{at}{name}/", files, folders, synced, lasting)
        else:
            files[at + name] = synced[what]
