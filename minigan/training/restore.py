"""What a run saved, opened again: every name, number and size is doubted before memory is taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minigan.errors import WrongUse
from minigan.experiment.experiment import (
    Experiment,
    from_dict,
)
from minigan.formats import hdf5_state
from minigan.formats.untrusted import Bounded, doubting
from minigan.training import checkpoints, run_folder
from minigan.training.assembly import make_generator
from minigan.training.validate import check_names


def load_generator(run: Path, best: bool = False) -> tuple[Any, Experiment, int, list[str]]:
    """The generator of a run's newest readable checkpoint, its experiment, how many classes it knows, and remarks on
    unreadable ones; best: that of the best score (--score-every).

    With --ema that is the running average, as in the run's own samples.
    """
    run_folder.read_experiment(run)
    _, state, e, gen, remarks = newest(run, best)
    return gen, e, state["classes"], remarks


def newest(run: Path, best: bool = False) -> tuple[Path, dict[str, Any], Experiment, Any, list[str]]:
    """A run's newest readable checkpoint: path, state, experiment, generator, and remarks on unreadable ones.

    best: the checkpoint of the best score instead.
    WrongUse if the run has none, FailedWork if none can be read or if it is not what minigan train writes.
    """
    if best:
        path = checkpoints.best(run)
        if path is None:
            raise WrongUse(f"{run} has no checkpoint of its best score: it was trained without --score-every")
        state, remarks = hdf5_state.load(path), []
    else:
        path, state, remarks = checkpoints.newest(run)
    with doubting(str(path)):
        e = from_dict(state["experiment"], "its experiment")
        check_names(e)
        size, channels, iteration, classes = (state[name] for name in ("size", "channels", "iteration", "classes"))
        if not (16 <= size <= 1024 and channels in (1, 3) and 0 <= iteration <= 10**9 and 0 <= classes <= 1 << 20):
            raise ValueError(f"size {size}, channels {channels}, iteration {iteration}, classes {classes}")
        if classes and not any(a.ndim == 2 and len(a) == classes for name, a in state["gen"].items()
                               if name.endswith("gamma")):
            raise ValueError(f"{classes} classes, but no conditional batch normalization of as many")
        rng = Bounded(max(a.size for a in state["gen"].values()))
        gen = make_generator(e, rng, size, channels, classes)
        gen.load(state["average"] if e.ema else state["gen"])
    return path, state, e, gen, remarks
