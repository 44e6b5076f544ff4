"""What a run's own discriminator says: whether it tells real images from fakes, and knows its training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigan.data.dataset import Dataset
from minigan.engine import devices
from minigan.errors import FailedWork, WrongUse
from minigan.metrics.scores import discriminator_accuracy, held_out_gap
from minigan.metrics.stored_scores import Score
from minigan.nn.layers import Layer
from minigan.nn.losses import LOSSES
from minigan.training.restore import Saved
from minigan.training.sampling import judge
from minigan.training.scoring.options import Asked
from minigan.training.scoring.real_images import Real, open_held_out

JUDGED = 1000  # images of each kind


@dataclass(frozen=True)
class Judge:
    """The discriminator of a run, the images that it was trained on, and others of their kind, if there are any."""

    dis: Layer
    real: Real
    held_out: Dataset | None


def open_judge(saved: Saved, real: Real | None, asked: Asked) -> tuple[Judge | None, list[str]]:
    """All that is asked of the discriminator, opened before the work; None, and a remark that says why, if it cannot
    be had or these are not the images that it was trained on."""
    if real is None:
        return None, []
    if not real.own:
        return None, ["its discriminator is not asked: these are not the images that it was trained on"]
    try:
        dis = saved.discriminator().to(devices.device_module(asked.device))
    except (FailedWork, WrongUse) as error:
        return None, [f"its discriminator is not asked: {error}"]
    try:
        return Judge(dis, real, open_held_out(saved, real, asked)), []
    except FailedWork as error:
        return Judge(dis, real, None), [f"no gap of D: {error}"]


def discriminator_scores(saved: Saved, judges: Judge, images: np.ndarray, asked: Asked) -> list[Score]:
    """Accuracy on these fakes and as many real ones; gap between training and test set, where there are."""
    e, xp, real = saved.e, devices.device_module(asked.device), judges.real

    def some(of: Dataset) -> np.ndarray:
        rows = np.sort(np.random.default_rng(asked.seed).permutation(len(of.images))[:JUDGED])
        return judge(judges.dis, of.images[rows], e.scaling, xp, labels=of.labels[rows])

    def score(name: str, value: float, spread: float | None, n_fake: int, how: str = "") -> Score:
        return Score(name, value, spread, f"discriminator{how}", "", "", "", "", len(of_real), n_fake, 0, asked.seed,
                     real.name)
    images = images[:JUDGED]
    of_real, found = some(real.data), []
    of_fake = judge(judges.dis, images, e.scaling, xp,
                    labels=np.arange(len(images)) % saved.classes if saved.classes else None)
    middle = LOSSES[e.loss].middle
    if middle is not None:
        how = f", real above {middle:g}" if middle else ""  # not to be mixed with what was stored without saying so
        found.append(score("accuracy of D", discriminator_accuracy(of_real, of_fake, middle), None, len(images), how))
    if judges.held_out is not None and min(len(of_real), len(judges.held_out.images)) > 1:
        found.append(score("gap of D", *held_out_gap(of_real, some(judges.held_out)), 0))
    return found
