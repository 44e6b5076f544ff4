"""What a run's own discriminator says: whether it tells real images from fakes, and knows its training set."""

from __future__ import annotations

import numpy as np

from minigan.data import datasets
from minigan.data.dataset import Dataset, digest_of
from minigan.engine import devices
from minigan.errors import FailedWork
from minigan.formats.progress import to_stderr
from minigan.formats.untrusted import doubting
from minigan.metrics.scores import discriminator_accuracy, held_out_gap
from minigan.metrics.stored_scores import Score
from minigan.training.batches import check_images
from minigan.training.judging import judge
from minigan.training.restore import Saved
from minigan.training.scoring.asked import Asked
from minigan.training.scoring.real import Real

JUDGED = 1000  # images of each kind


def discriminator_scores(saved: Saved, real: Real, images: np.ndarray, asked: Asked) -> list[Score]:
    """Accuracy on these fakes and as many real ones; gap between training and test set, where there are.

    None, and a line that says why, if the discriminator cannot be had or the data are not those it was trained on.
    """
    e, xp, data = saved.e, devices.device_module(asked.device), real.data
    try:
        with doubting("the checkpoint"):
            check_images(saved.state, digest_of(data.images), len(data.images))
        dis = saved.discriminator().to(xp)
    except FailedWork as error:
        to_stderr(f"its discriminator is not asked: {error}")
        return []

    def some(of: Dataset) -> np.ndarray:
        rows = np.sort(np.random.default_rng(asked.seed).permutation(len(of.images))[:JUDGED])
        return judge(dis, of.images[rows], e.scaling, xp, labels=of.labels[rows])

    def score(name: str, value: float, spread: float | None, n_fake: int) -> Score:
        return Score(name, value, spread, "discriminator", "", "", "", "", len(of_real), n_fake, 0, asked.seed,
                     real.name)
    images = images[:JUDGED]
    of_real, found = some(data), []
    of_fake = judge(dis, images, e.scaling, xp,
                    labels=np.arange(len(images)) % saved.classes if saved.classes else None)
    if e.loss != "wasserstein":  # whose outputs have no place where real begins
        found.append(score("accuracy of D", discriminator_accuracy(of_real, of_fake), None, len(images)))
    if "test" in datasets.DATASETS[e.dataset].splits and e.split != "test":
        held_out = datasets.of_experiment(e, root=asked.data_root or e.data_root, split="test", say=lambda _: None,
                                          progress=lambda *_: None)
        found.append(score("gap of D", *held_out_gap(of_real, some(held_out)), 0))
    return found
