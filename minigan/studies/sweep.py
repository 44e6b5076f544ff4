"""A grid of runs: methods x settings x seeds, in one folder, to be stopped and gone on with at any time.

    sweep.json            the grid
    METHOD-SETTING-SEED/  a run each, as minigan train makes it
    summary.md            a table of what the finished runs reached
    samples.png           samples of each: a row for each method, a column for each setting

Several processes may work on one grid: a run that another one trains is passed over. What is finished stays.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse, brief, reason
from minigan.experiment.experiment import CHANGEABLE, Experiment, to_dict, with_data_seed
from minigan.formats import image_files, image_grids
from minigan.formats.locks import Busy, alone
from minigan.formats.progress import to_stderr
from minigan.formats.untrusted import read_json
from minigan.formats.whole import make_folder, write_whole
from minigan.studies.grid import Cell
from minigan.studies.tables import summary
from minigan.training import loop, restore, run_folder, run_record
from minigan.training.recording import records

MOST = 16 << 20  # bytes of sweep.json

Say = Callable[[str], None]


def sweep(cells: list[Cell], out: Path, quiet: bool = False, say: Say = print) -> None:
    """Train all cells that are not finished, one after the other, then write the summary."""
    claim(cells, out)
    for cell in missing(cells, out, say):
        say(f"[{cells.index(cell) + 1}/{len(cells)}] {cell.name}")
        train_cell(cell, out / cell.name, quiet, say)
        conclude(cells, out)
    conclude(cells, out)


def missing(cells: list[Cell], out: Path, say: Say) -> Iterator[Cell]:
    """The cells that are to be trained when their turn comes: not finished by then, and not failed, which is said."""
    for number, cell in enumerate(cells, start=1):
        folder = out / cell.name
        with contextlib.suppress(Busy):
            restore.mend(folder, say)
        run = run_record.find(folder)
        if run is not None and run.failed and not run.finished:
            say(f"[{number}/{len(cells)}] {cell.name}: failed before; remove {folder / 'failed.txt'} to try once more")
        elif run is None or not run.finished:
            yield cell


def train_cell(cell: Cell, folder: Path, quiet: bool, say: Say, remark: Say = to_stderr,
               callback: loop.Callback | None = None) -> None:
    """Train a run of the grid, or go on with it; remark, callback: what loop.fit does with remarks, and its callback.

    A run that another process is at is passed over. A run whose loss is no longer finite is a result, too: it is noted
    in its failed.txt and not begun again.
    """
    run = run_record.find(folder)
    try:
        if run is not None:
            free = {name: getattr(cell.experiment, name) for name in CHANGEABLE}
            loop.resume(folder, free, quiet, callback=callback, say=remark)
        else:
            loop.fit(cell.experiment, folder, quiet=quiet, callback=callback, say=remark)
    except WrongUse as error:  # busy, or another process was quicker while this one read the data
        if not isinstance(error, Busy) and (run is not None or not run_folder.is_run(folder)):
            raise
        say(f"{cell.name}: another process is at it")
    except records.NotFinite as error:
        say(f"{cell.name}: {error}")


def conclude(cells: list[Cell], out: Path) -> None:
    """Write the table and the image of what there is: in turns, so that the last of several processes has seen all."""
    with _alone(out / "summary.md"):
        write_whole(out / "summary.md", ("\n".join(summary(cells, out)) + "\n").encode())
        rows = []
        for method in dict.fromkeys(cell.method for cell in cells):
            mine = [cell for cell in cells if cell.method == method and cell.seed == 0]
            newest = [(cell, out / cell.name / "samples.png") for cell in mine]
            there = [(cell, image_files.read_png(path)) for cell, path in newest if path.exists()]
            if there:
                rows.append(image_grids.film_strip([grid for _, grid in there], len(there),
                                                   [f"{cell.method} {cell.setting}" for cell, _ in there]))
        if rows:
            image_files.save_png(out / "samples.png", image_grids.stacked(rows))


def claim(cells: list[Cell], out: Path) -> None:
    """Write the grid, or see that the one that is there learns the same; it may have other cells besides.

    A grid none of whose runs was begun (its data were not found) binds nobody.
    """
    path = out / "sweep.json"
    try:
        make_folder(out)
    except OSError as error:
        raise FailedWork(f"{out} cannot be made ({error.strerror or error}); choose another --out") from None
    with _alone(path):
        _add(path, {cell.name: to_dict(cell.experiment) for cell in cells})


def _alone(path: Path) -> contextlib.AbstractContextManager[None]:
    return alone(path, f"{path} is being written by another process, for a minute now; end that one, and call this "
                       "again", wait_s=60.0)


def _add(path: Path, wanted: dict[str, dict[str, Any]]) -> None:
    """Read the grid, and write it with these cells besides."""
    out = path.parent
    try:
        before = read_json(path, MOST) if path.exists() else {}
        if not isinstance(before, dict) or not all(isinstance(cell, dict) for cell in before.values()):
            raise ValueError("it holds no grid")
    except (OSError, ValueError) as error:
        raise FailedWork(f"{path} cannot be read ({reason(error)}); put it right, or choose another --out") from None
    asked_today = to_dict(Experiment())  # with options that the sweep's minigan had not
    before = {name: asked_today | with_data_seed(row) for name, row in before.items()}
    if not any(run_folder.is_run(out / name) for name in before):
        before = {name: row for name, row in before.items() if name not in wanted}
    for name, experiment in wanted.items():
        fields = [key for key in experiment if key not in CHANGEABLE]
        field = next((key for key in fields if before[name].get(key) != experiment[key]), "") if name in before else ""
        if field:
            raise WrongUse(f"{out} holds another sweep: {name} has {field} {brief(before[name].get(field))} there, not "
                           f"{experiment[field]}; use the same options, or choose another --out")
    write_whole(path, (json.dumps(before | wanted, indent=1) + "\n").encode())
