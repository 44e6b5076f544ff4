"""A run as an object: `minigan.load(folder)`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minigan.training import restore, run_record, sampling


class Run:
    """A run's folder, and what can be asked of it."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.record = run_record.read(Path(folder))

    @property
    def folder(self) -> Path:
        return self.record.folder

    def sample(self, n: int = 64, seed: int = 0) -> np.ndarray:
        """Images that the generator of the newest checkpoint makes, uint8 (n, H, W, C): those of minigan sample."""
        saved = restore.newest(self.folder)
        z = sampling.latents(np.random.default_rng(seed), saved.e, n)
        return sampling.draw(saved.gen, z, classes=saved.classes)


def load(path: str | os.PathLike[str]) -> Run:
    """The run in a folder. WrongUse if there is none, FailedWork if its experiment.json is damaged."""
    return Run(path)
