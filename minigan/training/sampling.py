"""Both networks in evaluation mode: the images that a generator draws of latents, what a discriminator says of images.

And the latents, and paths between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minigan.data import pixels
from minigan.engine import devices
from minigan.engine.autograd import Tensor, no_grad
from minigan.experiment.experiment import Experiment
from minigan.nn.layers import Layer


def latents(rng: np.random.Generator, e: Experiment, count: int) -> np.ndarray:
    """z (count, dim_z), float32: N(0, I), or uniform in [-1, 1]."""
    if e.latent == "uniform":
        return rng.random((count, e.dim_z), dtype=np.float32) * np.float32(2) - np.float32(1)
    return rng.standard_normal((count, e.dim_z), dtype=np.float32)


def draw(gen: Any, z: np.ndarray, xp: Any = np, batch: int = 64, classes: int = 0,
         labels: np.ndarray | None = None, start: int = 0, rounding: str = "round") -> np.ndarray:
    """Images, uint8 (N, H, W, C), that generator `gen` makes of latents z (N, dim_z), in evaluation mode.

    classes: how many a conditional one knows.  labels: integers (N,); None: the classes in turn, from number `start`
    on.  rounding: how numbers in [-1, 1] become pixels, a name of pixels.TO_UINT8.
    """
    return np.concatenate([pixels.TO_UINT8[rounding](y) for y in _parts(gen, z, xp, batch, classes, labels, start)])


def draw_floats(gen: Any, z: np.ndarray, xp: Any = np, batch: int = 64, classes: int = 0,
                labels: np.ndarray | None = None) -> np.ndarray:
    """The same images as they are before they become pixels: float32 (N, H, W, C) in [-1, 1]."""
    return np.concatenate(list(_parts(gen, z, xp, batch, classes, labels, 0)))


def _parts(gen: Any, z: np.ndarray, xp: Any, batch: int, classes: int, labels: np.ndarray | None,
           start: int) -> Iterator[np.ndarray]:
    """What the generator makes, batch by batch, on the host."""
    if labels is None:
        labels = np.arange(start, start + len(z)) % max(1, classes)
    for at in range(0, len(z), batch):
        part = slice(at, at + batch)
        with no_grad():
            given = Tensor(xp.asarray(z[part]))
            y = gen(given, False, xp.asarray(labels[part])) if classes else gen(given, False)
        yield devices.to_host(y.data)


def judge(dis: Layer, images: np.ndarray, scaling: str, xp: Any = np, batch: int = 64,
          labels: np.ndarray | None = None) -> np.ndarray:
    """Its numbers, float32 (N,), for images (N, H, W, C), uint8, or float32 in [-1, 1]; an auxiliary classifier is not
    asked.

    scaling: a name of pixels.SCALINGS, as it was trained with.  labels: integers (N,), which a conditional one needs.
    """
    def of_part(part: slice) -> np.ndarray:
        given = xp.asarray(images[part])
        x = Tensor(pixels.to_floats(given, scaling) if given.dtype == np.uint8 else given)
        y = dis(x, False, None if labels is None else xp.asarray(labels[part]))
        return devices.to_host(y.data)
    with no_grad():
        return np.concatenate([of_part(slice(i, i + batch)) for i in range(0, len(images), batch)])


def interpolate(rng: np.random.Generator, e: Experiment, rows: int, steps: int) -> np.ndarray:
    """Latents (rows * steps, dim_z): each row goes in equal steps from one draw to another.

    Normal ones along the great circle: a straight line would leave the shell on which almost all of N(0, I) lies
    (White 2016). Uniform ones straight.
    """
    a, b = (latents(rng, e, rows).astype(np.float64)[:, None] for _ in range(2))
    t = np.linspace(0, 1, steps)[None, :, None]
    if e.latent == "uniform":
        z = (1 - t) * a + t * b
    else:
        lengths = np.sqrt((a * a).sum(-1, keepdims=True) * (b * b).sum(-1, keepdims=True))
        angle = np.arccos(np.clip((a * b).sum(-1, keepdims=True) / lengths, -1 + 1e-9, 1 - 1e-9))
        z = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return z.reshape(rows * steps, e.dim_z).astype(np.float32)
