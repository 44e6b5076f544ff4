"""What is given to be compared, recognized by what it is: a run, images, a data set, statistics of features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.data import datasets
from minigan.errors import WrongUse
from minigan.metrics import frechet
from minigan.metrics.frechet import Statistics
from minigan.networks.own import NONE, Own
from minigan.training import run_folder
from minigan.training.scoring.options import Asked

ANYTHING = "a run's folder, a folder, a zip archive or an .npz file of images, an .npz file of statistics, or a data " \
    "set's name"


@dataclass(frozen=True)
class Given:
    """One side of a comparison: exactly one of run, dataset, array and statistics says what it is."""

    name: str  # as it was given, for messages
    run: Path | None = None  # a run's folder
    own: Own = NONE  # that run's networks that are its author's
    dataset: str | None = None  # of datasets.DATASETS; "folder" and "packed": images at `root`
    root: Path | None = None
    split: str | None = None
    array: np.ndarray | None = None  # uint8 (N, H, W, C)
    statistics: Path | Statistics | None = None  # of features, for FID alone
    remark: str = ""  # on what it might have meant, too

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.run is not None:
            return "a run"
        if self.statistics is not None:
            return "statistics of features"
        if self.array is not None:
            return f"an array of {len(self.array):,} images"
        if self.dataset == "packed":
            return "a packed file of images"
        if self.root is None:
            return f"a data set, {self.split or datasets.DATASETS[str(self.dataset)].split}"
        return "a folder of images" if self.root.is_dir() else "a file of images"


def recognized(word: str | Path) -> Given:
    """What a word of the command line names. WrongUse if there is no such thing.

    A run's folder is that run, whatever its name; NAME:SPLIT is a data set in any case. Else a data set's name stands
    for the data set, ./NAME for what lies there (datasets.named). An .npz is seen into: what has images is images, what
    has a mean and a covariance only, as frechet.NAMES calls them, is statistics.
    """
    word, path = str(word), Path(word).expanduser()
    if run_folder.is_run(path):
        also = f"{word} is a run here, and a data set's name; {word}:SPLIT would be that" if (
            word in datasets.DATASETS) else ""
        return Given(word, run=path, remark=also)
    if word.partition(":")[0] not in datasets.DATASETS:
        if not path.exists():
            raise WrongUse(f"{word}: no such file or folder; expected {ANYTHING} "
                           f"({', '.join(sorted(set(datasets.DATASETS) - {'folder', 'packed'}))})")
        if path.suffix.lower() == ".npz":
            images, statistics = frechet.holds(path)
            if statistics and not images:
                return Given(word, statistics=path)
            if statistics:
                return Given(word, dataset="folder", root=path,
                             remark=f"{word} holds images and statistics; its images are taken (--stats {word} takes "
                                    "the others for the real ones)")
    found = datasets.named(word)
    return Given(word, dataset=found.dataset, root=found.root, split=found.split, remark=found.remark)


def as_options(b: Given, asked: Asked) -> Asked:
    """The real side said as --data, --data-root and --split say it, where it is a data set or images at a path.

    WrongUse if an option says it, too.
    """
    for option, said in (("data", asked.data), ("stats", asked.stats)):
        if said is not None:
            raise WrongUse(f"{b.name} is what the fakes are compared with; leave --{option} out")
    if asked.split is not None and (b.dataset is None or b.split is not None):
        raise WrongUse(f"--split {asked.split}: {b.name} is {b.kind}; leave it out")
    if b.dataset is None:
        return asked
    if b.root is not None and asked.data_root is not None:
        raise WrongUse(f"--data-root is for data sets by their names; {b.name} is {b.kind}; leave it out")
    return dataclasses.replace(asked, data=b.dataset, data_root=b.root or asked.data_root, split=b.split or asked.split)
