"""A grid of runs on the workers of a Dask cluster: each run is a task, and all write into one folder that they share.

So nothing is fetched back, and a run whose worker died goes on elsewhere from its newest checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from pathlib import Path
from typing import Any

from minigan.engine import thread_pool
from minigan.errors import FailedWork, WrongUse, counted
from minigan.formats.progress import ProgressLine
from minigan.formats.untrusted import open_file
from minigan.parallel import mpi
from minigan.parallel.dask_workers import Workers, flag_is_set
from minigan.studies.grid import Cell
from minigan.studies.sweep import MOST, Say, claim, conclude, missing, train_cell
from minigan.training import run_folder
from minigan.training.interrupts import Interrupted, stop_signals

LOOK_S = 2.0  # seconds between looks at how far the runs are


def sweep_on(workers: Workers, cells: list[Cell], out: Path, quiet: bool, say: Say) -> None:
    """Train all cells that are not finished, as sweep.sweep does, as many at once as there are workers.

    One progress line counts the iterations of all runs; quiet: none.  WrongUse if a worker does not see the folder.
    Interrupted, after all runs that were begun have saved themselves, if a signal came. FailedWork, after the others
    have ended, if a run cannot be carried out.
    """
    out = out.resolve()
    claim(cells, out)
    _check_shared(workers, out)
    flag = workers.flag(f"minigan-stop-{secrets.token_hex(8)}")
    left = {workers.submit(train_there, cell, str(out), flag.name, workers.each): cell
            for cell in missing(cells, out, say)}
    say(f"{counted(len(left), 'run')} on {counted(len(workers), 'worker')}, results in {out}")
    total, done, failed = sum(cell.experiment.iterations for cell in cells), _iterations(cells, out), list[str]()
    progress = ProgressLine(max(1, total), done, quiet=quiet, remark=say)
    with stop_signals("the runs have saved themselves") as asked:
        try:
            while left:
                for future in workers.ended(left, LOOK_S):
                    cell = left.pop(future)
                    for line in _said(future, cell, failed):
                        progress.say(line)
                    conclude(cells, out)
                if (asked or failed) and not flag.is_set():
                    flag.set()
                before, done = done, _iterations(cells, out)
                if done != before:
                    progress.update(done)
        finally:
            progress.close()
    conclude(cells, out)
    if asked:
        raise Interrupted("stopped, and all runs are saved; the same command goes on", asked[0])
    if failed:
        raise FailedWork("; ".join(failed))


def train_there(cell: Cell, out: str, flag: str, share: int) -> list[str]:
    """A worker's task: train the run, or go on with it, until it is finished or the flag is set. What is to be said.

    share: the machine's cores are divided by it.
    """
    if flag_is_set(flag):
        return []
    folder = Path(out) / cell.name
    if not (folder.parent / "sweep.json").is_file():
        raise WrongUse(f"{folder.parent} is not there; the folder of the runs must be one that all workers share")
    mpi.stay_apart()  # srun may have started this worker with others
    threads = cell.experiment.threads or max(1, thread_pool.cores() // share)
    cell = dataclasses.replace(cell, experiment=dataclasses.replace(cell.experiment, threads=threads))
    said: list[str] = []
    train_cell(cell, folder, True, said.append, said.append, lambda line: flag_is_set(flag))
    return [line.removeprefix(f"{cell.name}: ") for line in said if not line.startswith("stopped at")]


def _said(future: Any, cell: Cell, failed: list[str]) -> list[str]:
    """What a task that has ended wants to say; a failure goes to `failed`."""
    if future.status == "finished":
        return [f"{cell.name}: {line}" for line in future.result()]
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        error = FailedWork(f"the workers that had it died, one after the other (the last was "
                           f"{error.last_worker.address}); their logs may say why, want of memory is the usual reason")
    failed.append(f"{cell.name}: {error}")
    return []


def _iterations(cells: list[Cell], out: Path) -> int:
    """How many all runs have done, by their logs."""
    logs = [run_folder.read_log(out / cell.name) for cell in cells]
    return sum(min(cell.experiment.iterations, log[-1]["iteration"]) if log else 0
               for cell, log in zip(cells, logs, strict=True))


def _check_shared(workers: Workers, out: Path) -> None:
    path = out / "sweep.json"
    for address, found in workers.ask_each(digest_there, str(path)).items():
        if found != digest_there(str(path)):
            raise WrongUse(f"the worker {address} does not see {path}: the runs need a folder that all workers share; "
                           "choose --out on such a file system")


def digest_there(path: str) -> str:
    """Of a file, as a worker sees it; "" if it does not."""
    try:
        with open_file(Path(path)) as file:
            return hashlib.sha256(file.read(MOST)).hexdigest()
    except (OSError, FailedWork):
        return ""
