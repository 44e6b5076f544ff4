"""A run as its folder tells it, read once: what was asked, how far it came, what was logged, measured and diagnosed.

Reads only, and whole lines of logs only, so that a run may still be going on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigan.errors import printable
from minigan.experiment.experiment import Experiment
from minigan.experiment.methods import method_of
from minigan.formats.untrusted import is_number
from minigan.metrics import stored_scores
from minigan.metrics.stored_scores import Stored, better, rounded
from minigan.training import run_folder

Log = Sequence[dict[str, Any]]  # lines, oldest first, each with its "iteration"
Points = dict[int, float]  # iteration -> a finite number

THUMBNAILS = "thumbnails"  # the measure that every log has; the others are scores, by their names


@dataclass(frozen=True)
class Run:
    """What a run's folder tells. Its log, diagnoses and scores are read when they are first asked for, and kept."""

    folder: Path
    name: str  # of the folder, to be shown
    experiment: Experiment
    machine: dict[str, Any]  # on which it was made
    checkpoint: int | None  # the iteration of the newest checkpoint; None if there is none
    failure: str | None  # what failed.txt says of a loss or a weight that was not finite; None if there was none
    imported: str = ""  # whose weights these are, and of which files, if minigan did not train them
    done: bool | None = None  # what its record says, as of run_folder.is_done

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        return run_folder.read_log(self.folder)

    @functools.cached_property
    def diagnoses(self) -> list[dict[str, Any]]:
        """The lines of diagnostics.jsonl, each with a dict of "layers"."""
        return [line for line in run_folder.read_log(self.folder, "diagnostics.jsonl")
                if isinstance(line.get("layers"), dict)]

    @functools.cached_property
    def scores(self) -> list[Stored]:
        """Of scores.json. FailedWork if it is not what minigan score writes."""
        return stored_scores.read(self.folder / "scores.json")

    @property
    def method(self) -> str:
        return method_of(self.experiment)

    @property
    def iteration(self) -> int:
        """The last that is on record."""
        return max(self.checkpoint or 0, self.log[-1]["iteration"] if self.log else 0)

    @property
    def failed(self) -> bool:
        return self.failure is not None

    @property
    def finished(self) -> bool:
        """Whether its record says that it is done, and all iterations are saved: in a checkpoint, or, if the
        checkpoints were removed, in the log. Of runs of minigan 0.1, whose record does not say, the latter alone."""
        saved = self.iteration if self.checkpoint is None else self.checkpoint
        return not self.failed and self.done is not False and saved >= self.experiment.iterations

    @property
    def ended(self) -> bool:
        return self.failed or self.finished

    @property
    def state(self) -> str:
        """finished, failed, imported, or not finished: such a run goes on, or was stopped and can go on."""
        if self.imported:
            return "imported"
        return "failed" if self.failed else "finished" if self.finished else "not finished"


def read(folder: Path) -> Run:
    """The run in a folder. WrongUse if there is none, FailedWork if its experiment.json is damaged."""
    experiment, machine = run_folder.read_record(folder)
    saved = run_folder.checkpoints_in(folder)
    return Run(folder, printable(folder.resolve().name), experiment, machine, saved[0][0] if saved else None,
               run_folder.read_failure(folder), run_folder.imported_from(folder), run_folder.is_done(folder))


def find(folder: Path) -> Run | None:
    """The run in a folder; None if there is none yet. FailedWork if its experiment.json is damaged."""
    return read(folder) if run_folder.is_run(folder) else None


# ---- courses of numbers in a log -----------------------------------------------------------------------------------

def course(lines: Log, *keys: Any) -> Points:
    """line[key][key]... of each line that has a finite number there, such as course(run.log, "sigma", "conv1").

    Numbers beyond 1e300, whose differences may be infinite, are left out, too.
    """
    found = ((line["iteration"], inside(line, *keys)) for line in lines)
    return {iteration: float(value) for iteration, value in found
            if is_number(value) and abs(value) < 1e300}


def flat(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a log without dicts inside: their keys are joined by "/", as in "sigma/conv1"; in the line's order."""
    found, waiting = {}, list(line.items())[::-1]
    while waiting:  # no recursion: a file that somebody else made may be nested deeply
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}/{key}", inner) for key, inner in reversed(value.items())]
        else:
            found[name] = value
    return found


def courses(log: Log) -> dict[str, Points]:
    """Measure -> its course, of a log: the thumbnail distance, and each score by its name; none that is empty."""
    names = dict.fromkeys(name for line in log if isinstance(line.get("scores"), dict) for name in line["scores"])
    found = {THUMBNAILS: course(log, THUMBNAILS)} | {name: course(log, "scores", name) for name in names}
    return {name: points for name, points in found.items() if points}


def leading(names: Sequence[str]) -> str:
    """The score that counts among several: a FID if there is one, else the first."""
    return next((name for name in names if name.startswith("FID ")), names[0])


def best_of(log: Log) -> tuple[int, str, float] | None:
    """(iteration, name, value) of the best score in a run's log; None if it has none.

    The measure is the newest line's FID, else its first score. Of equal ones the earliest counts.
    """
    scored = [line["scores"] for line in log if isinstance(line.get("scores"), dict)]
    if not scored or not scored[-1]:
        return None
    name = leading(list(scored[-1]))
    points, sign = course(log, "scores", name), better(name.partition(" ")[0])
    best = max(points, key=lambda i: (sign * points[i], -i), default=None)
    return None if best is None else (best, name, points[best])


def last_and_best(log: Log) -> list[str]:
    """What a run's log says of its scores, at the end and at best: a line for each."""
    scored = [line for line in log if isinstance(line.get("scores"), dict)]
    if not scored:
        return []
    last = scored[-1]
    lines = [f"{name}: {rounded(value)} at iteration {last['iteration']:,}" for name, value in last["scores"].items()
             if is_number(value)]
    best = best_of(log)
    if best is not None:
        iteration, name, value = best
        lines.append(f"best {name}: {rounded(value)} at iteration {iteration:,}, kept as best-{iteration:07d}.h5")
    return lines


def inside(values: Any, *keys: Any) -> Any:
    """values[key][key]...; None where there is no such thing."""
    for key in keys:
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values
