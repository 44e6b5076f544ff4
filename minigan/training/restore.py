"""What a run saved, opened again: every name, number and size is doubted before memory is taken for it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data import datasets
from minigan.engine import devices
from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment.experiment import (
    CONDITIONS,
    FEATURES,
    LATENTS,
    ORDERS,
    SAMPLINGS,
    SCALINGS,
    Experiment,
    from_dict,
)
from minigan.experiment.profiles import PROFILES, SETTINGS
from minigan.formats import hdf5_state
from minigan.metrics.protocols import PROTOCOLS
from minigan.networks.models import MODELS, check_model, make_generator
from minigan.networks.norms import NORM_CHOICES, NORMS, normalization
from minigan.nn.initializers import by_name
from minigan.nn.losses import LOSSES
from minigan.nn.optimizers import OPTIMIZERS, SCHEDULES
from minigan.training import run_folder

# field of the experiment -> the names it may have
CHOICES: dict[str, Collection[str]] = {
    "dataset": datasets.DATASETS, "model": MODELS, "norm": NORMS, "loss": LOSSES, "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES, "condition": CONDITIONS, "features": FEATURES, "latent": LATENTS, "order": ORDERS,
    "sampling": SAMPLINGS, "scaling": SCALINGS, "fit": datasets.FITS, "device": devices.DEVICES, "profile": PROFILES,
    "setting": SETTINGS, "score": PROTOCOLS, **NORM_CHOICES}


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
        path = hdf5_state.best(run)
        if path is None:
            raise WrongUse(f"{run} has no checkpoint of its best score: it was trained without --score-every")
        state, remarks = hdf5_state.load(path), []
    else:
        path, state, remarks = hdf5_state.newest(run)
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


def check_names(e: Experiment) -> None:
    """WrongUse, with the choices, for a name that is not known; and for options that the normalization cannot have."""
    for name, choices in CHOICES.items():
        if getattr(e, name) is not None:
            choose("data set" if name == "dataset" else name.replace("_", " "), getattr(e, name), choices)
    for init in (e.init, e.init_dis):
        if init not in (None, "model"):
            by_name(init)
    check_model(e)
    normalization(e)


@contextlib.contextmanager
def doubting(where: str) -> Iterator[None]:
    """Whatever a foreign or forged state raises becomes FailedWork, one line that says `where` it was read from."""
    try:
        yield
    except (FailedWork, WrongUse) as error:
        raise FailedWork(f"{where}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FailedWork(f"{where} does not hold a run of this version ({type(error).__name__}: {error})") from None


class Bounded(np.random.Generator):
    """Random numbers for a network that a file describes: refuses to draw more at once than its largest array has.

    So an experiment with a huge width, beside small arrays, is found before memory is taken for it.
    """

    def __init__(self, most: int):
        super().__init__(np.random.PCG64(0))
        self.most = most

    def standard_normal(self, size: Any = None, *args: Any, **options: Any) -> Any:
        self._check(size)
        return super().standard_normal(size, *args, **options)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        self._check(size)
        return super().uniform(low, high, size)

    def _check(self, size: Any) -> None:
        if np.prod(size, dtype=np.float64) > self.most:
            raise FailedWork("its experiment describes larger networks than the file holds")
