"""Runs read for figures: their methods and groups, and courses of numbers from logs, diagnostics and checkpoints.

Runs that differ in the seed alone are one group. What the files lack is a Missing, which says so in one line.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data import datasets
from minigan.data.dataset import StoredImages
from minigan.errors import WrongUse, listed
from minigan.experiment.experiment import Experiment, learned
from minigan.experiment.profiles import SETTINGS
from minigan.formats.untrusted import number
from minigan.metrics import stored_scores
from minigan.metrics.stored_scores import Score, Stored, comparable
from minigan.nn.weight_norms import to_matrix
from minigan.training import restore, run_folder, run_record
from minigan.training.run_record import THUMBNAILS, Points, Run, course, courses, inside
from minigan.training.sampling import draw, judge, latents

LABELS = {"none": "no normalization", "wgan-gp": "WGAN-GP", "gan-gp": "GAN-GP", "clip": "weight clipping", "bn": "BN",
          "ln": "LN", "wn": "WN", "wn-gain": "WN, gain", "frobenius": "Frobenius", "orthonormal": "orthonormal",
          "sn": "SN", "sn-conv": "SN conv", "ssn": "SSN", "bsn": "BSN", "bssn": "BSSN", "sn-gamma": "SN, diff. gamma",
          "sn-gamma-shared": "SN, same gamma", "bsn-gamma": "BSN, diff. gamma",
          "bsn-gamma-shared": "BSN, same gamma", "sn-bn": "SN and BN"}  # in the order of legends


MOST_FIELDS = 4  # options in the name of a group of runs


class Missing(WrongUse):
    """The runs lack what the figure needs."""


# ---- runs ----------------------------------------------------------------------------------------------------------

def find_runs(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs in these folders, and notes. Of a folder of runs those that ended; a run that is named always."""
    found: list[Run] = []
    unfinished: list[Run] = []
    for path in paths:
        if run_folder.is_run(path):
            found.append(run_record.read(path))
            continue
        inside = [run_record.read(file.parent) for file in sorted(path.glob("*/experiment.json"))]
        if not inside:
            raise WrongUse(f"{path} is neither a run nor a folder of runs (none has an experiment.json); expected what "
                           "minigan train or minigan sweep made")
        for run in inside:
            (found if run.ended else unfinished).append(run)
    if unfinished and not found:
        raise WrongUse(f"no run is finished: {listed([str(run.folder) for run in unfinished])}; wait, or name the runs "
                       "to be drawn as they are")
    folders = {run.folder.resolve() for run in found}
    if len(folders) < len(found):
        raise WrongUse("a run is named twice; each once")
    once: dict[str, Run] = {}
    for run in found:
        first = once.setdefault(json.dumps(learned(run.experiment), sort_keys=True), run)
        if first is not run:
            raise WrongUse(f"{first.folder} and {run.folder} are one experiment with one seed, "
                           f"{run.experiment.seed}: no mean can be taken over them; name one of the two")
    notes = [f"left out, not finished: {listed([run.folder.name for run in unfinished])}"] if unfinished else []
    return sorted(found, key=lambda run: _rank(run.method)), notes


def method_label(method: str) -> str:
    return " with ".join(LABELS.get(part, part) for part in method.split("+"))


def group(found: list[Run]) -> dict[str, list[Run]]:
    """Runs that differ in the seed alone, under a name: the method, and what else tells the groups apart.

    If that is more than MOST_FIELDS options, which nobody reads in a title: the folder of the group's first run.
    """
    kinds: dict[str, list[Run]] = {}
    for run in found:
        kinds.setdefault(json.dumps(learned(run.experiment) | {"seed": 0}, sort_keys=True), []).append(run)
    groups = list(kinds.values())
    told = set()  # the fields by which groups of one method differ
    for method in {mine[0].method for mine in groups}:
        told |= set(differing([mine[0].experiment for mine in groups if mine[0].method == method]))
    names = []
    folders = [mine[0].name for mine in groups]
    for mine in groups:
        first, e = mine[0], mine[0].experiment
        fields = [name for name in learned(e) if name in told and (name != "setting" or e.setting)]
        words = [f"{name.replace('_', ' ')} {_value(getattr(e, name))}" for name in fields]
        if len(words) > MOST_FIELDS:
            words = [first.name if folders.count(first.name) == 1 else str(first.folder)]
        names.append(", ".join([method_label(first.method), *words]))
    return dict(zip(names, groups, strict=True))


def differing(experiments: list[Experiment]) -> list[str]:
    """The fields in which these differ, but for the seed; a setting stands for all that it fixes."""
    names = [name for name in learned(experiments[0]) if len({getattr(e, name) for e in experiments}) > 1]
    names = [name for name in names if name != "seed"]
    settings = [SETTINGS[e.setting] for e in experiments if e.setting]
    if "setting" in names and len(settings) == len(experiments):
        names = [name for name in names if name == "setting" or name not in SETTINGS["A"]
                 or any(fixed[name][0] != getattr(e, name) for fixed, e in zip(settings, experiments, strict=True))]
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
    found = courses(run.log)
    for one in run.scores:
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
    wanted = [asked] if asked else [name for name in names if name != THUMBNAILS and kind_of(name) == kind]
    if not asked and not wanted:
        wanted = [THUMBNAILS]
    if len(wanted) > 1:
        raise WrongUse(f"the runs have {listed(wanted)}: one figure, one measure; choose it with --measure")
    lacking = [str(folder) for folder, has in of_run.items() if wanted[0] not in has]
    if lacking or not of_run:
        raise Missing(f"{lack(lacking)} no measure '{wanted[0]}'; found: {listed(names) or 'none'}"
                      + ("" if asked else "; --measure chooses another"))
    for run in found:
        first = next(other for other in found if other.experiment.dataset == run.experiment.dataset)
        for a, b in itertools.product(_scores(first, wanted[0]), _scores(run, wanted[0])):
            if why := comparable(a, b):
                raise WrongUse(f"the '{wanted[0]}' of {first.folder} and {run.folder} do not compare: {why}")
    return wanted[0]


def _scores(run: Run, measure: str) -> list[Score]:
    return [one.score for one in run.scores if _name(one) == measure]


def lack(folders: list[str]) -> str:
    """The beginning of a sentence about what these do not have: "a and b have"."""
    return f"{listed(folders)} {'has' if len(folders) == 1 else 'have'}" if folders else "the runs have"


def kind_of(measure: str) -> str:
    """The score that a measure's name begins with, in small letters: is, fid, ms-ssim; thumbnails."""
    return measure.partition(" ")[0].lower()


def higher_is_better(measure: str) -> bool:
    return stored_scores.better(measure.partition(" ")[0]) > 0


def measure_label(measure: str) -> str:
    if measure == THUMBNAILS:
        return "thumbnail distance (no score)"
    name, _, how = measure.partition(" ")  # the log's has no brackets
    how = f"({how})" if how and "(" not in how else how
    return f"{'Inception score' if name == 'IS' else name} {how}".rstrip()


def last_score(run: Run, measure: str) -> float:
    """At the end of the run; nan if it had none, as a run whose loss is not finite."""
    points = measures(run).get(measure, {})
    return math.nan if run.failed or not points else points[max(points)]


def best_score(run: Run, measure: str) -> float:
    points = measures(run, best=True).get(measure, {})
    return (max if higher_is_better(measure) else min)(points.values(), default=math.nan)


def logged(*keys: str) -> Callable[[Run], Points]:
    """The course of a number of the log."""
    return lambda run: course(run.log, *keys)


def diagnosed(*keys: str) -> Callable[[Run], Points]:
    """The course of a number of the diagnostics."""
    return lambda run: course(run.diagnoses, *keys)


def of_layer(path: str, *keys: Any) -> Callable[[Run], Points]:
    """The course of a number of a layer, from the diagnostics."""
    return diagnosed("layers", path, *keys)


def gradient_norm(run: Run) -> Points:
    """Of all the discriminator's weights, without biases (Lin et al. 2021, J.1), as they are used: W_bar."""
    found = {line["iteration"]: [number(inside(line["layers"], path, "gradient_bar")) for path in line["layers"]]
             for line in run.diagnoses}
    return {i: float(np.linalg.norm(values)) for i, values in found.items() if values and np.isfinite(values).all()}


def gradient_ratios(run: Run, layer: str, first: str) -> list[tuple[float, float]]:
    """(|w_first| / |w_layer|, |grad w_layer| / |grad w_first|) of each diagnosis: norms of the convolutions in use, and
    gradients of the discriminator's output, averaged over real images."""
    found = []
    for line in run.diagnoses:
        norms, gradients = ([number(inside(line["layers"], path, key)) for path in (first, layer)]
                            for key in ("sigma_conv", "gradient_output"))
        if min(*norms, *gradients) > 0:  # nan is left out, too
            found.append((norms[0] / norms[1], gradients[1] / gradients[0]))
    return found


def layers_of(found: list[Run], where: str, convolutions: bool = False) -> list[str]:
    """Paths of the discriminator's layers that all these runs have in their log or diagnostics, from the input on."""
    named = []
    for run in found:
        lines = [line.get("sigma") for line in run.log] if where == "log" else [x["layers"] for x in run.diagnoses]
        named.append(next((list(layers) for layers in reversed(lines) if isinstance(layers, dict)), []))
    kept = [name for name in named[0] if all(name in others for others in named)] if named else []
    convs = [name for name in kept if name.rsplit("/", 1)[-1].startswith("conv")]
    return convs if convolutions and convs else kept


def spectra(run: Run) -> dict[str, np.ndarray]:
    """Layer -> all singular values, largest first, of the weights that the newest checkpoint's discriminator uses."""
    dis = restore.newest(run.folder).discriminator()
    used = {name: to_matrix(layer.norm.weight(layer, (), False).data, layer.out_axis).astype(np.float64)
            for name, layer in dis.walk() if layer.weighted}
    return {name: np.linalg.svd(W_bar, compute_uv=False) for name, W_bar in used.items()}


def critic_losses(run: Run, count: int = 1000) -> tuple[float, float]:
    """mean D(made) - mean D(real), the real ones from the training set, then from the test set; the newest checkpoint.

    Of `count` images of each kind, in evaluation mode.
    """
    saved, rng = restore.newest(run.folder), np.random.default_rng(0)
    e, dis = saved.e, saved.discriminator()
    if saved.classes or e.split not in (None, "train"):
        raise Missing(f"{run.folder} was trained with labels, or not on the part 'train'")
    made = draw(saved.gen, latents(rng, e, count))

    def judged(images: np.ndarray | StoredImages) -> float:
        chosen = images[np.sort(rng.permutation(len(images))[:count])]
        return float(judge(dis, chosen, e.scaling).mean(dtype=np.float64))
    how = {"root": run.experiment.data_root, "progress": lambda *_: None}
    real = [judged(datasets.of_experiment(e, split=split, **how).images) for split in ("train", "test")]
    fake = judged(made)
    return fake - real[0], fake - real[1]
