"""Types of what the command line takes: names of a table, runs, files; a shell completes them (minigan completion)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from minigan.errors import choose
from minigan.training.run_folder import is_run

MOST = 200  # runs that are offered, and folders that are looked into for them


class Names(click.ParamType):
    """A name out of some; others are refused as everywhere in minigan, by errors.choose.

    what: of what, for the refusal.  names: what the names are, asked when it is needed: a table may grow.
    many: several, with commas between.  free: other words are taken, too; somebody else judges them.
    paths: files and folders are offered, too.  runs: runs' folders are.
    """

    name = "name"

    def __init__(self, what: str, names: Callable[[], Collection[str]], many: bool = False, free: bool = False,
                 paths: bool = False, runs: bool = False):
        self.what, self.names, self.many, self.free, self.paths, self.runs = what, names, many, free, paths, runs
        self.name = "names" if many else "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        for name in [one.strip() for one in value.split(",")] if self.many else [value]:
            if not self.free:
                choose(self.what, name, self.names())
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",") if self.many else ("", "", incomplete)
        given = before.split(",")
        found = [CompletionItem(before + comma + name) for name in sorted(self.names())
                 if name.startswith(last) and name not in given]
        found += [CompletionItem(run) for run in runs_like(incomplete)] if self.runs else []
        return [*found, CompletionItem(incomplete, type="file")] if self.paths else found


class RunFolder(click.Path):
    """A run's folder, or another place that a command takes; runs are offered first.

    files: whether files of these suffixes are taken, too, such as archives of images; a shell then offers paths.
    """

    def __init__(self, files: bool = False):
        super().__init__(path_type=Path)
        self.files = files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(run) for run in runs_like(incomplete)]
        if found and not self.files:
            return found
        return [*found, CompletionItem(incomplete, type="file" if self.files else "dir")]


def runs_like(begun: str) -> list[str]:
    """The paths of runs that begin so: in that folder, and in the folders in it, as those of runs/ and of sweeps."""
    folder = begun.rpartition("/")[0] + "/" if "/" in begun else ""
    found: list[str] = []
    for path in _folders(Path(folder).expanduser()):
        shown = folder + path.name
        if not shown.startswith(begun):
            continue
        found += [shown] if is_run(path) else [f"{shown}/{inner.name}" for inner in _folders(path) if is_run(inner)]
    return found[:MOST]


def _folders(place: Path) -> list[Path]:
    """The folders in a place that are not hidden, in the order of their names; none where it cannot be read."""
    try:
        return sorted(path for path in place.iterdir() if path.name[0] != "." and path.is_dir())[:MOST]
    except OSError:
        return []


def dask_option(what: str, **how: Any) -> Callable[[Any], Any]:
    """The option --dask of a command; what: is done on a cluster.  how: as of click.option."""
    return click.option("--dask", metavar="ADDRESS|local:N", help=f"a Dask cluster's scheduler, or so many processes "
                        f"of this machine: {what}", **how)
