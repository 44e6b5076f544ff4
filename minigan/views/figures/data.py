"""Runs read for figures: from their logs, diagnostics and checkpoints to courses of numbers, and those over seeds.

Runs that differ in the seed alone are one group. What the files lack is a Missing, which says so in one line.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data import datasets, pixels
from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import WrongUse, listed
from minigan.experiment.experiment import Experiment, learned
from minigan.experiment.methods import method_of
from minigan.experiment.profiles import SETTINGS
from minigan.formats import untrusted
from minigan.formats.untrusted import number
from minigan.metrics import stored_scores
from minigan.metrics.stored_scores import Score, Stored, comparable
from minigan.nn.weight_norms import to_matrix
from minigan.training import restore, run_folder
from minigan.training.gan import Training
from minigan.training.sampling import draw, latents

LABELS = {"none": "no normalization", "wgan-gp": "WGAN-GP", "gan-gp": "GAN-GP", "clip": "weight clipping", "bn": "BN",
          "ln": "LN", "wn": "WN", "wn-gain": "WN, gain", "frobenius": "Frobenius", "orthonormal": "orthonormal",
          "sn": "SN", "sn-conv": "SN conv", "ssn": "SSN", "bsn": "BSN", "bssn": "BSSN", "sn-gamma": "SN, diff. gamma",
          "sn-gamma-shared": "SN, same gamma", "bsn-gamma": "BSN, diff. gamma",
          "bsn-gamma-shared": "BSN, same gamma", "sn-bn": "SN and BN"}  # in the order of legends

Points = dict[int, float]  # iteration -> number


class Missing(WrongUse):
    """The runs lack what the figure needs."""


# ---- runs ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Run:
    """What a run's folder says, read once."""

    folder: Path
    e: Experiment
    log: list[dict[str, Any]]
    diagnosed: list[dict[str, Any]]  # diagnostics.jsonl
    stored: list[Stored]  # scores.json
    failed: bool  # a loss that was not finite

    @property
    def method(self) -> str:
        return method_of(self.e)


def find_runs(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs in these folders, and notes. Of a folder of runs the finished ones; a run that is named always."""
    found, unfinished = [], []
    for path in paths:
        if (path / "experiment.json").is_file():
            found.append(_run(path))
            continue
        inside = [_run(file.parent) for file in sorted(path.glob("*/experiment.json"))] if path.is_dir() else []
        if not inside:
            raise WrongUse(f"{path} is neither a run nor a folder of runs (none has an experiment.json); expected what "
                           "minigan train or minigan sweep made")
        for run in inside:
            done = run.failed or run.log and run.log[-1]["iteration"] >= run.e.iterations
            (found if done else unfinished).append(run)
    if unfinished and not found:
        raise WrongUse(f"no run is finished: {listed([str(run.folder) for run in unfinished])}; wait, or name the runs "
                       "to be drawn as they are")
    folders = {run.folder.resolve() for run in found}
    if len(folders) < len(found):
        raise WrongUse("a run is named twice; each once")
    notes = [f"left out, not finished: {listed([run.folder.name for run in unfinished])}"] if unfinished else []
    return sorted(found, key=lambda run: _rank(run.method)), notes


def method_label(method: str) -> str:
    return " with ".join(LABELS.get(part, part) for part in method.split("+"))


def group(found: list[Run]) -> dict[str, list[Run]]:
    """Runs that differ in the seed alone, under a name: the method, and what else tells the groups apart."""
    kinds: dict[str, list[Run]] = {}
    for run in found:
        kinds.setdefault(json.dumps(learned(run.e) | {"seed": 0}, sort_keys=True), []).append(run)
    groups = list(kinds.values())
    told = set()  # the fields by which groups of one method differ
    for method in {mine[0].method for mine in groups}:
        told |= set(differing([mine[0].e for mine in groups if mine[0].method == method]))
    names = []
    for mine in groups:
        e = mine[0].e
        fields = [name for name in learned(e) if name in told and (name != "setting" or e.setting)]
        names.append(", ".join([method_label(mine[0].method), *(f"{name.replace('_', ' ')} {_value(getattr(e, name))}"
                                                                for name in fields)]))
    return dict(zip(names, groups, strict=True))


def _run(folder: Path) -> Run:
    e = run_folder.read_experiment(folder)
    diagnosed = [line for line in run_folder.read_log(folder, "diagnostics.jsonl")
                 if isinstance(line.get("layers"), dict)]
    return Run(folder, e, run_folder.read_log(folder), diagnosed, stored_scores.read(folder / "scores.json"),
               (folder / "failed.txt").exists())


def differing(experiments: list[Experiment]) -> list[str]:
    """The fields in which these differ, but for the seed; a setting stands for all that it fixes."""
    names = [name for name in learned(experiments[0]) if len({getattr(e, name) for e in experiments}) > 1]
    names = [name for name in names if name != "seed"]
    if "setting" in names and all(e.setting for e in experiments):
        names = [name for name in names if name == "setting" or name not in SETTINGS["A"]
                 or any(SETTINGS[e.setting][name][0] != getattr(e, name) for e in experiments)]
    return names


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rank(method: str) -> tuple[int, str]:
    names = list(LABELS)
    return (names.index(method) if method in names else len(names)), method


# ---- numbers of one run --------------------------------------------------------------------------------------------

def measures(run: Run, best: bool = False) -> dict[str, Points]:
    """Measure -> its course: the thumbnail distance, the log's scores by their names, those of scores.json with their
    protocols, as in "FID (bssn)". best: also those of the checkpoint with the best score."""
    found: dict[str, Points] = {}
    for line in run.log:
        scores = line.get("scores") if isinstance(line.get("scores"), dict) else {}
        for name, value in {"thumbnails": line.get("thumbnails"), **scores}.items():
            if math.isfinite(number(value)):
                found.setdefault(name, {})[line["iteration"]] = number(value)
    for one in run.stored:
        if best or not one.best:
            found.setdefault(_name(one), {})[one.iteration] = one.score.value
    return found


def _name(one: Stored) -> str:
    return f"{one.score.name} ({one.score.protocol})"


def choose_measure(found: list[Run], kind: str, asked: str) -> str:
    """The one measure of all these runs: what was asked for, or the only one of its kind ("is", "fid"), or thumbnails.

    Never two in one figure. Missing or WrongUse says which runs lack it, or which there are to choose from.
    """
    of_run = {run.folder: measures(run) for run in found if not run.failed}
    names = sorted({name for has in of_run.values() for name in has})
    wanted = [asked] if asked else [name for name in names if name != "thumbnails" and kind_of(name) == kind]
    if not asked and not wanted:
        wanted = ["thumbnails"]
    if len(wanted) > 1:
        raise WrongUse(f"the runs have {listed(wanted)}: one figure, one measure; choose it with --measure")
    lacking = [str(folder) for folder, has in of_run.items() if wanted[0] not in has]
    if lacking or not of_run:
        raise Missing(f"{lack(lacking)} no measure '{wanted[0]}'; found: {listed(names) or 'none'}"
                      + ("" if asked else "; --measure chooses another"))
    for run in found:
        first = next(other for other in found if other.e.dataset == run.e.dataset)
        for a, b in itertools.product(_scores(first, wanted[0]), _scores(run, wanted[0])):
            if why := comparable(a, b):
                raise WrongUse(f"the '{wanted[0]}' of {first.folder} and {run.folder} do not compare: {why}")
    return wanted[0]


def _scores(run: Run, measure: str) -> list[Score]:
    return [one.score for one in run.stored if _name(one) == measure]


def lack(folders: list[str]) -> str:
    """The beginning of a sentence about what these do not have: "a and b have"."""
    return f"{listed(folders)} {'has' if len(folders) == 1 else 'have'}" if folders else "the runs have"


def kind_of(measure: str) -> str:
    """The score that a measure's name begins with, in small letters: is, fid, ms-ssim; thumbnails."""
    return measure.partition(" ")[0].lower()


def higher_is_better(measure: str) -> bool:
    return stored_scores.better(measure.partition(" ")[0]) > 0


def measure_label(measure: str) -> str:
    if measure == "thumbnails":
        return "thumbnail distance (no score)"
    name, _, how = measure.partition(" ")  # the log's has no brackets
    how = f"({how})" if how and "(" not in how else how
    return f"{'Inception score' if name == 'IS' else name} {how}".rstrip()


def last_score(run: Run, measure: str) -> float:
    """At the end of the run; nan if it had none, as a run whose loss is not finite."""
    course = measures(run).get(measure, {})
    return math.nan if run.failed or not course else course[max(course)]


def best_score(run: Run, measure: str) -> float:
    course = measures(run, best=True).get(measure, {})
    return (max if higher_is_better(measure) else min)(course.values(), default=math.nan)


def logged(*keys: str) -> Callable[[Run], Points]:
    """The course of a number of the log."""
    return lambda run: _finite({line["iteration"]: number(_inside(line, *keys)) for line in run.log})


def diagnosed(*keys: str) -> Callable[[Run], Points]:
    """The course of a number of the diagnostics."""
    return lambda run: _finite({line["iteration"]: number(_inside(line, *keys)) for line in run.diagnosed})


def of_layer(path: str, *keys: Any) -> Callable[[Run], Points]:
    """The course of a number of a layer, from the diagnostics."""
    return lambda run: _finite({line["iteration"]: number(_inside(line["layers"], path, *keys))
                                for line in run.diagnosed})


def gradient_norm(run: Run) -> Points:
    """Of all the discriminator's weights, without biases (Lin et al. 2021, J.1), as they are used: W_bar."""
    found = {line["iteration"]: [number(_inside(line["layers"], path, "gradient_bar")) for path in line["layers"]]
             for line in run.diagnosed}
    return {i: float(np.linalg.norm(values)) for i, values in found.items() if values and np.isfinite(values).all()}


def gradient_ratios(run: Run, layer: str, first: str) -> list[tuple[float, float]]:
    """(|w_first| / |w_layer|, |grad w_layer| / |grad w_first|) of each diagnosis: norms of the convolutions in use, and
    gradients of the discriminator's output, averaged over real pictures."""
    found = []
    for line in run.diagnosed:
        norms, gradients = ([number(_inside(line["layers"], path, key)) for path in (first, layer)]
                            for key in ("sigma_conv", "gradient_output"))
        if min(*norms, *gradients) > 0:  # nan is left out, too
            found.append((norms[0] / norms[1], gradients[1] / gradients[0]))
    return found


def layers_of(found: list[Run], where: str, convolutions: bool = False) -> list[str]:
    """Paths of the discriminator's layers that all these runs have in their log or diagnostics, from the input on."""
    named = []
    for run in found:
        lines = [line.get("sigma") for line in run.log] if where == "log" else [x["layers"] for x in run.diagnosed]
        named.append(next((list(layers) for layers in reversed(lines) if isinstance(layers, dict)), []))
    kept = [name for name in named[0] if all(name in others for others in named)] if named else []
    convs = [name for name in kept if name.rsplit("/", 1)[-1].startswith("conv")]
    return convs if convolutions and convs else kept


def spectra(run: Run) -> dict[str, np.ndarray]:
    """Layer -> all singular values, largest first, of the weights that the newest checkpoint's discriminator uses."""
    training, _ = _newest(run)
    return {name: np.linalg.svd(to_matrix(layer.norm.weight(layer, (), False).data, layer.out_axis).astype(np.float64),
                                compute_uv=False) for name, layer in training.dis.walk() if "W" in layer.params}


def critic_losses(run: Run, count: int = 1000) -> tuple[float, float]:
    """mean D(made) - mean D(real), the real ones from the training set, then from the test set; the newest checkpoint.

    Of `count` pictures of each kind, in evaluation mode.
    """
    training, gen = _newest(run)
    e, rng = run.e, np.random.default_rng(0)
    if training.classes or e.split not in (None, "train"):
        raise Missing(f"{run.folder} was trained with labels, or not on the part 'train'")
    made = draw(gen, latents(rng, e, count))

    def judged(images: np.ndarray) -> float:
        chosen = images[np.sort(rng.permutation(len(images))[:count])]
        x = pixels.to_floats(chosen, e.scaling)
        with no_grad():
            parts = [training.dis(Tensor(x[i:i + 64]), False).data.astype(np.float64) for i in range(0, len(x), 64)]
        return float(np.concatenate(parts).mean())
    real = [judged(datasets.of_experiment(e, split=split, progress=lambda *_: None).images)
            for split in ("train", "test")]
    fake = judged(made)
    return fake - real[0], fake - real[1]


def _newest(run: Run) -> tuple[Training, Any]:
    """The training of the newest checkpoint, without its pictures, on the host; and the generator of its samples."""
    path, state, e, gen, _ = restore.newest(run.folder)
    with untrusted.doubting(str(path)):
        small = dataclasses.replace(e, device="cpu", batch_size=1, gen_batch_size=None, data_root=None)
        blank = np.zeros((1, state["size"], state["size"], state["channels"]), np.uint8)
        training = Training(small, blank, np.full(1, state["classes"] - 1) if state["classes"] else None)
        training.dis.load(state["dis"])
    return training, gen


def over_seeds(mine: list[Run], read: Callable[[Run], Points], error: bool = False) \
        -> tuple[list[int], np.ndarray, np.ndarray | None]:
    """Iterations that all have, mean, and standard deviation (or error of the mean), which is None for one run."""
    courses = [read(run) for run in mine]
    common = sorted(set.intersection(*map(set, courses)))
    values = np.array([[course[i] for i in common] for course in courses]).reshape(len(mine), len(common))
    return common, values.mean(0), _spread(values, error) if len(mine) > 1 else None


def of_seeds(mine: list[Run], read: Callable[[Run], float], error: bool = False) -> tuple[float, float]:
    """Mean and spread over the runs that have a number, 0 for one run; nan for none."""
    values = np.array([value for value in map(read, mine) if math.isfinite(value)])
    if not len(values):
        return math.nan, 0.0
    return float(values.mean()), float(_spread(values, error)) if len(values) > 1 else 0.0


def _spread(values: np.ndarray, error: bool) -> np.ndarray:
    """Over the first axis, of at least two."""
    sd = values.std(0, ddof=1)
    return sd / math.sqrt(len(values)) if error else sd


def _finite(points: Points) -> Points:
    return {i: value for i, value in points.items() if math.isfinite(value)}


def _inside(values: Any, *keys: Any) -> Any:
    """values[key][key]...; None where there is no such thing."""
    for key in keys:
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values

