"""What a discriminator says of images, in evaluation mode: the counterpart of sampling.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigan.data import pixels
from minigan.engine import devices
from minigan.engine.autograd import Tensor, no_grad
from minigan.nn.layers import Layer


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
