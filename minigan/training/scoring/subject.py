"""Whose images are scored: those that a run's generator draws, those of a folder, a file, a data set or an array."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minigan.data import datasets
from minigan.data.dataset import StoredImages
from minigan.data.image_folder import NoImages
from minigan.engine import devices
from minigan.errors import WrongUse
from minigan.formats.progress import to_stderr
from minigan.metrics import features
from minigan.metrics.features import Images
from minigan.training import restore, sampling
from minigan.training.restore import Saved
from minigan.training.scoring.given import Given
from minigan.training.scoring.options import Asked

UNKNOWN = ("folder", "packed")  # names of DATASETS that say nothing of the images


@dataclass(frozen=True)
class Subject:
    """Fakes, and what is known of where they come from."""

    images: Callable[[int, str], Images]  # (how many, a name of pixels.TO_UINT8) -> those
    available: int  # 0: as many as one likes
    pixels: str  # "given": uint8 as they are; "": as one likes
    size: int | None  # side in pixels; None: they are no squares
    saved: Saved | None = None  # of a run: its checkpoint
    classes: int = 0  # that a run's generator knows; images are of these in turn
    dataset: str | None = None  # whose images they are, or which a run was trained on; None: nobody's that is known

    @property
    def iteration(self) -> int:
        return self.saved.iteration if self.saved else 0


def open_subject(a: Given, asked: Asked) -> Subject:
    """A run, or images of a folder, a zip archive, an .npz or a packed file, of a data set, of an array."""
    if a.run is not None:
        saved = restore.newest(a.run, asked.best, a.own)
        for line in saved.remarks:
            to_stderr(line)
        return of_run(saved, asked.seed, asked.device)
    if asked.best:
        raise WrongUse("--best is for runs")
    images = a.array if a.array is not None else _given(a, asked)
    whole = features.of_images(images, what="fake")
    return Subject(lambda count, _: dataclasses.replace(whole, count=count), len(images), "given",
                   images.shape[1] if images.shape[1] == images.shape[2] else None,
                   dataset=None if a.dataset in UNKNOWN else a.dataset)


def of_run(saved: Saved, seed: int, device: str = "cpu") -> Subject:
    """The images that a run's generator draws of the latents of `seed`: those of minigan sample --seed."""
    xp, e, gen, classes = devices.device_module(device), saved.e, saved.gen, saved.classes
    digest = hashlib.sha256(f"{e.latent} {e.dim_z} {classes} {seed}".encode())
    for name, a in sorted(gen.arrays().items()):
        digest.update(f" {name} {a.dtype.str} {a.shape} ".encode())
        digest.update(np.ascontiguousarray(a).data)
    gen.to(xp)

    def made(count: int, rounding: str) -> Images:
        z = sampling.latents(np.random.default_rng(seed), e, count)

        def read(part: slice) -> np.ndarray:
            return sampling.draw(gen, z[part], xp, classes=classes, start=part.start, rounding=rounding)
        return Images(count, f"{digest.hexdigest()} {rounding} {device}", read, "fake")
    return Subject(made, 0, "", saved.state["size"], saved, classes, e.dataset)


def _given(a: Given, asked: Asked) -> np.ndarray | StoredImages:
    """The images in a folder or a file as they are, all of one size; or brought to --size, but not those of an .npz.

    A data set's are as minigan train takes them.
    """
    size = None if a.root is not None and a.root.suffix.lower() == ".npz" else asked.size
    how = {"progress": lambda *_: None} if asked.quiet else {}
    try:
        return datasets.load(str(a.dataset), root=a.root or asked.data_root, split=a.split, size=size, own_size=True,
                             fit=asked.fit, skip_bad=asked.skip_bad, follow_links=asked.follow_links,
                             large_images=asked.large_images, **how).images
    except NoImages as error:
        raise WrongUse(f"{error}; nor is it a run (no experiment.json)") from None
