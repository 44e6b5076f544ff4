"""A run that goes on: what of its experiment may differ from before, and what is said of a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import CHANGEABLE, Experiment, check, learned, option_name
from minigan.formats import untrusted
from minigan.training import run_folder, validate
from minigan.training.gan import Training
from minigan.training.restore import Saved

Say = Callable[[str], None]


def continued(out: Path, before: Experiment, chosen: dict[str, Any], say: Say) -> Experiment:
    """The experiment of the run in `out` that goes on; before: as experiment.json has it; chosen: the options given.

    WrongUse if they contradict it, or if the run was trained by another tool.
    """
    theirs = run_folder.imported_from(out)
    if theirs:
        raise WrongUse(f"{out} was imported from {theirs}: it cannot be trained on, as the optimizers' state is not in "
                       "such files, nor which images they were trained on")
    with untrusted.doubting(str(out / "experiment.json")):
        validate.check_names(before)
    for name, value in chosen.items():
        if name not in _free(before) and value != getattr(before, name):
            what = "on data set" if name == "dataset" else f"with {option_name(name)}"
            raise WrongUse(f"{out} was trained {what} {getattr(before, name)}, not {value}; leave that out, or start "
                           "another run with --out")
    experiment = _rounded_as_before(before, chosen, say)
    check(experiment)
    validate.check_names(experiment)
    return validate.with_precision(experiment)


def agreed(saved: Saved, before: Experiment, experiment: Experiment) -> Experiment:
    """The experiment, once the checkpoint has been asked, too. FailedWork if experiment.json contradicts it."""
    if saved.state["experiment"].get("features_gain") and not saved.e.features_gain:  # one of its remarks says why
        experiment = dataclasses.replace(experiment, features_gain=False)
    for name, value in learned(saved.e).items():
        if name not in _free(before) and value != getattr(experiment, name):
            raise FailedWork(f"{saved.path} was trained with {option_name(name)} {value}, but experiment.json says "
                             f"{getattr(before, name)}; put that right")
    return experiment


def differences(training: Training, before: Experiment, made_on: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What is different now for the numbers of a training that goes on, each as "was trained ..., goes on ...".

    made_on, here: the machine of before and this one, as experiment.json has it.
    """
    e, found = training.e, []
    if other := _other_blas(made_on, here):
        found.append(f"{other}: that rounds in its own way, so what follows is not, byte for byte, what an "
                     "uninterrupted run has")
    same = "the same training, to rounding"
    another = "so what follows is another training, as with another batch"
    if (processes := made_on.get("processes", 1)) != training.group.size:
        as_many = f"{processes} process{'' if processes == 1 else 'es'}"
        found.append(f"was trained by {as_many} and goes on with {training.group.size}: " + (
            same if e.sync_bn or not training.normalizes_batches() else
            f"batch normalization takes its moments from each process's rows, {another}"))
    if e.accumulate != before.accumulate:
        found.append(f"was trained with --accumulate {before.accumulate} and goes on with {e.accumulate}: " + (
            f"batch normalization takes its moments from other parts, {another}"
            if training.normalizes_batches() else same))
    return found


def blas_before(made_on: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    """What experiment.json says besides of a run that went on under another BLAS: those of before, the oldest first."""
    before = made_on["blas_before"] if isinstance(made_on.get("blas_before"), list) else []
    before = [*before, made_on["blas"]] if _other_blas(made_on, here) else before
    return {"blas_before": before} if before else {}


def _free(before: Experiment) -> tuple[str, ...]:
    """The fields that may differ from before."""
    return (*CHANGEABLE, "accumulate") + (("iterations",) if before.schedule == "constant" else ())


def _rounded_as_before(before: Experiment, chosen: dict[str, Any], say: Say) -> Experiment:
    """The experiment with the options chosen, its products rounded as before where the device can."""
    e = dataclasses.replace(before, **chosen)
    asked = chosen.get("precision")
    if e.device == before.device:
        # a run on a GPU that does not say how is one of an earlier minigan
        return dataclasses.replace(e, precision=asked or before.precision or (None if e.device == "cpu" else "float32"))
    if e.device == "cpu" and asked is None and before.precision not in (None, "float32"):
        say(f"its products were rounded to {before.precision} on a GPU; a CPU multiplies float32 as it is")
    return dataclasses.replace(e, precision=asked)


def _other_blas(made_on: dict[str, Any], here: dict[str, Any]) -> str:
    """What to say of a run that goes on, on the CPU, under another BLAS or kernel than before; "" for the same."""
    before = list(map(str, made_on["blas"])) if isinstance(made_on.get("blas"), list) else []
    if not before or not here["blas"] or {*before} & {*here["blas"]} or "card" in here:
        return ""  # other libraries in the process may have brought a BLAS of their own
    return f"was trained with {', '.join(before)} and goes on with {', '.join(here['blas'])}"
