"""What a run saved, opened again: every name, number and size is doubted before memory is taken for it.

The networks are made from the checkpoint alone: no images, no optimizers, nothing that trains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigan import __version__
from minigan.data.datasets import DATASETS
from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment.experiment import CHANGEABLE, Experiment, from_dict
from minigan.formats import hdf5_state
from minigan.formats.untrusted import Bounded, doubting
from minigan.networks.own import NONE, Own
from minigan.nn.layers import Layer
from minigan.training import checkpoints, run_folder
from minigan.training.assembly import check_networks, check_own, make_discriminator, make_generator


@dataclass(frozen=True)
class Saved:
    """A checkpoint of a run: its experiment and its networks, on the host; `discriminator` makes the other one."""

    path: Path
    e: Experiment
    gen: Layer  # with --ema the running average, which draws the run's own samples
    classes: int  # that the networks know; 0: none
    iteration: int
    state: dict[str, Any]  # as read; all that is used of it is doubted again
    remarks: list[str]  # on newer checkpoints that could not be read
    own: Own = NONE  # the networks of its author, as they were given

    @property
    def imported(self) -> str:
        """The tool that trained the weights, if minigan did not; else ""."""
        return str(self.state.get("imported", ""))

    def discriminator(self) -> Layer:
        """The discriminator. FailedWork if the file does not hold that of its experiment, WrongUse if that is its
        author's and was not given, or if the run is an imported generator alone."""
        check_own(self.e, self.own, str(self.path.parent), ("discriminator",))
        state = self.state
        if self.imported and not state["dis"]:
            raise WrongUse(f"{self.path.parent} has no discriminator: it was imported without one; import both: "
                           "minigan import GENERATOR DISCRIMINATOR --out RUN")
        with doubting(str(self.path)):
            rng = Bounded(max(a.size for a in state["dis"].values()))
            dis = make_discriminator(self.e, rng, state["size"], state["channels"], self.classes, self.own)
            dis.load(state["dis"])
        return dis


def newest(run: Path, best: bool = False, own: Own = NONE) -> Saved:
    """A run's newest readable checkpoint; best: that of the best score instead (--score-every).

    own: the networks that are its author's, of any weights; copies of them get those of the checkpoint.

    What was learned is as the checkpoint says; what may change when a run is resumed, above all where its data lie, is
    not in it, and as experiment.json says.
    WrongUse if the folder is no run or has no checkpoint, or its generator is its author's and not given; FailedWork if
    none can be read or if it is not what minigan train writes.
    """
    record = run_folder.read_experiment(run)
    check_own(record, own, str(run), ("generator",))
    remarks: list[str] = []
    if best:
        found = checkpoints.best(run)
        if found is None:
            raise WrongUse(f"{run} has no checkpoint of its best score: it was trained without --score-every")
        path, state = found, hdf5_state.load(found)
    else:
        path, state, remarks = checkpoints.newest(run)
    with doubting(str(path)):
        e = from_dict(state["experiment"], "its experiment")
        e = dataclasses.replace(e, **{name: getattr(record, name) for name in CHANGEABLE})
        if _without_gain(e, state["dis"]):
            e = dataclasses.replace(e, features_gain=False)
            remarks = [*remarks, f"{path} has no multipliers of features, although --features-gain asked for them: an "
                                 "earlier minigan left them out beside --features; the run stays without"]
        choose("data set", e.dataset, DATASETS)
        check_networks(e)
        size, channels, iteration, classes = (state[name] for name in ("size", "channels", "iteration", "classes"))
        if not (16 <= size <= 1024 and channels in (1, 3) and 0 <= iteration <= 10**9 and 0 <= classes <= 1 << 20):
            raise ValueError(f"size {size}, channels {channels}, iteration {iteration}, classes {classes}")
        if classes and not any(a.ndim == 2 and len(a) == classes for name, a in state["gen"].items()
                               if name.endswith("gamma")):
            raise ValueError(f"{classes} classes, but no conditional batch normalization of as many")
        rng = Bounded(max(a.size for a in state["gen"].values()))
        gen = make_generator(e, rng, size, channels, classes, own)
        gen.load(state["average"] if e.ema else state["gen"])
    return Saved(path, e, gen, classes, iteration, state, remarks, own)


def as_saved(state: dict[str, Any], where: str) -> Experiment:
    """The experiment of a checkpoint, with what it says of data and records besides what was learned. FailedWork."""
    with doubting(where):
        return from_dict({**state["experiment"], **state.get("recorded", {})}, "its experiment")


def mend(run: Path, say: Callable[[str], None]) -> None:
    """Write a run's experiment.json anew from its newest readable checkpoint, if it is missing, empty or cut off.

    Which is said. Without a checkpoint nothing is done. FailedWork if none can be read.
    """
    path = run / "experiment.json"
    if not run_folder.is_damaged(run) or not run_folder.checkpoints_in(run):
        return
    with run_folder.locked(run):
        try:
            where, state, remarks = checkpoints.newest(run)
        except FailedWork as error:
            raise FailedWork(f"{path} is missing, empty or cut off, and cannot be rebuilt: {error}") from None
        e = as_saved(state, str(where))
        run_folder.write_experiment(run, e, {"machine": {"minigan": __version__, "rebuilt": where.name}})
    for line in remarks:
        say(line)
    say(f"{path} was missing, empty or cut off: it is rebuilt from {where.name}; what that does not say, such as "
        "--data-root of an earlier minigan's run, is as by default")


def _without_gain(e: Experiment, dis: dict[str, Any]) -> bool:
    """Whether --features-gain was asked for, and the discriminator normalizes features without a multiplier."""
    shifts = [name for name in dis if name.endswith("/beta")]
    return e.features_gain and bool(shifts) and not any(name[:-len("beta")] + "gamma" in dis for name in shifts)
