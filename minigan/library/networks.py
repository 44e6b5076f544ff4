"""A run's generator and discriminator as functions on NumPy arrays, in evaluation mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minigan.errors import WrongUse
from minigan.training import sampling
from minigan.training.restore import Saved


class Generator:
    """The generator of a run's checkpoint: `generator(z)` draws images of latents.

    With --ema it is the running average, as for `minigan sample`. Nothing that is called changes it.
    """

    def __init__(self, saved: Saved):
        self.saved = saved
        self.network = saved.gen  # a Layer: network(Tensor(z), False) keeps the gradient's way

    @property
    def dim_z(self) -> int:
        """The length of a latent vector."""
        return self.saved.e.dim_z

    @property
    def classes(self) -> int:
        """How many classes it knows; 0: it takes no labels."""
        return self.saved.classes

    def latents(self, n: int, seed: int = 0) -> np.ndarray:
        """z (n, dim_z), float32: those that `run.sample(n, seed)` draws images of."""
        _whole("n", n, 1)
        return sampling.latents(np.random.default_rng(_whole("seed", seed, 0)), self.saved.e, n)

    def __call__(self, z: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """Images, float32 (n, H, W, C) in [-1, 1], of latents z (n, dim_z); each depends on its own z alone.

        labels: of a conditional generator, a class for each (n,), or one for all; None: the classes in turn.
        """
        given = _numbers(z, "z", f"(n, {self.dim_z})")
        if given.ndim != 2 or given.shape[1] != self.dim_z:
            raise WrongUse(f"z: shape {given.shape}; expected (n, {self.dim_z})")
        return sampling.draw_floats(self.network, given, classes=self.classes,
                                    labels=check_labels(labels, len(given), self.classes))

    def __repr__(self) -> str:
        s = self.saved.state
        shape = f"({s['size']}, {s['size']}, {s['channels']})"
        return f"<Generator of {self.saved.path}: z (n, {self.dim_z}) -> images (n, {shape[1:]} in [-1, 1]>"


class Discriminator:
    """The discriminator of a run's checkpoint: `discriminator(images)` says a number of each. Nothing changes it."""

    def __init__(self, saved: Saved):
        self.saved = saved
        self.network = saved.discriminator()

    @property
    def needs_labels(self) -> bool:
        """Whether it says how real an image is of a class: of condition projection and concat."""
        return self.saved.e.condition in ("projection", "concat")

    def __call__(self, images: ArrayLike, labels: ArrayLike | None = None) -> np.ndarray:
        """What it says of images, float32 (n,): the larger, the more real they seem (before any sigmoid).

        images: (n, H, W, C) as it was trained on: uint8, or floats in [-1, 1], as the generator draws them.
        labels: the classes (n,), or one for all, which a conditional one needs.
        """
        s = self.saved.state
        shape = (s["size"], s["size"], s["channels"])
        given = _numbers(images, "images", f"(n, {', '.join(map(str, shape))})")
        if given.ndim == 3 and shape[2] == 1:
            given = given[..., None]
        if given.shape[1:] != shape:
            raise WrongUse(f"images: shape {given.shape}; expected (n, {', '.join(map(str, shape))})")
        if given.dtype != np.uint8 and given.size and not -1.001 <= given.min() <= given.max() <= 1.001:
            raise WrongUse(f"images: {given.dtype} numbers from {given.min():.4g} to {given.max():.4g}; expected "
                           "uint8, or floats in [-1, 1]")
        if self.needs_labels and labels is None:
            raise WrongUse(f"labels: this discriminator was trained with condition={self.saved.e.condition!r} and "
                           f"needs a class for each image, 0 to {self.saved.classes - 1}")
        known = self.saved.classes if self.needs_labels else 0
        return sampling.judge(self.network, given, self.saved.e.scaling,
                              labels=check_labels(labels, len(given), known))

    def __repr__(self) -> str:
        return f"<Discriminator of {self.saved.path}: images (n, H, W, C) -> (n,)>"


def check_labels(labels: ArrayLike | None, n: int, classes: int) -> np.ndarray | None:
    """Labels, int64 (n,), of classes 0 to classes - 1: one for each, or one number for all. None stays None."""
    if labels is None:
        return None
    if not classes:
        raise WrongUse("labels: this network was trained without labels; leave them out")
    try:
        given = np.asarray(labels)
    except ValueError:  # rows of different lengths
        given = np.empty(0, object)
    if given.dtype.kind not in "ui" or given.ndim > 1 or given.ndim == 1 and len(given) != n:
        raise WrongUse(f"labels: {given.dtype} {given.shape}; expected a whole number, or one for each of {n:,}, shape "
                       f"({n},)")
    if given.size and not 0 <= int(given.min()) <= int(given.max()) < classes:
        raise WrongUse(f"labels: from {given.min()} to {given.max()}; expected 0 to {classes - 1}")
    return np.broadcast_to(given.astype(np.int64), (n,))


def _numbers(given: ArrayLike, what: str, expected: str) -> np.ndarray:
    """An array of numbers: uint8 as it is, anything else as float32. WrongUse for none, and for what is no number."""
    try:
        a = np.asarray(given)
    except ValueError:
        raise WrongUse(f"{what}: rows of different lengths; expected numbers, shape {expected}") from None
    if a.dtype.kind not in "uif" or 0 in a.shape:
        raise WrongUse(f"{what}: {a.dtype} {a.shape}; expected numbers, shape {expected}")
    a = a if a.dtype == np.uint8 else a.astype(np.float32)
    if a.dtype != np.uint8 and not np.isfinite(a).all():
        raise WrongUse(f"{what}: some of the numbers are not finite")
    return a


def _whole(name: str, value: object, low: int) -> int:
    """The whole number, at least `low`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < 2**63:
        raise WrongUse(f"{name}: expected a whole number, at least {low}, got {value!r:.40}")
    return int(value)
