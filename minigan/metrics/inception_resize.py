"""Images on their way into the Inception: brought to its size and its range, in all ways that scores are made with.

The way matters more than any other detail: for images of 32 x 32 pixels another one moves the 2048 features by a
tenth or more, so scores are comparable only within one way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from minigan.engine.devices import Array, array_module, to_host
from minigan.errors import choose

RESIZES = {
    "tf": "TensorFlow 1: bilinear from each pixel's corner; the graph of 2015, OpenAI's score, TTUR, torch-fidelity",
    "half-pixel": "bilinear between pixels' middles; pytorch-fid",
    "align-corners": "bilinear, corner pixels onto corner pixels; Chainer, so the SN-GAN authors' own code",
    "pil-bicubic": "Pillow's bicubic in float32, antialiased, clipped to 0 .. 255; clean-fid",
}
ON_THE_HOST = ("pil-bicubic",)  # done by Pillow
SCALES = {  # (subtract, then multiply by), on pixels of 0 .. 255
    "128": (128.0, 1 / 128),  # the graph's own two constants: -1 .. 0.992
    "127.5": (127.5, 1 / 127.5),  # Keras, and torchvision's transform_input undone by ImageNet's usual scaling: -1 .. 1
}


def prepared(images: Array, size: int, resize: str, scale: str, dtype: Any) -> Array:
    """images uint8 (N, H, W, C), C = 1 (repeated) or 3 -> (N, size, size, 3) of dtype, in the network's range."""
    subtract, factor = SCALES[scale]
    x = resized(images, size, resize, dtype)
    x -= x.dtype.type(subtract)
    x *= x.dtype.type(factor)
    return x if x.shape[3] == 3 else array_module(x).repeat(x, 3, 3)


def resized(images: Array, size: int, how: str, dtype: Any = np.float32) -> Array:
    """images uint8 (N, H, W, C) -> (N, size, size, C) of dtype, not rounded; how is one of RESIZES.

    "tf" gives the same bits as torch-fidelity's (and so TensorFlow 1's) in float32: places are i * float32(length /
    size), the width goes first.
    """
    choose("resize", how, RESIZES)
    if how == "pil-bicubic":
        return _bicubic(images, size, dtype)
    return _lerp(_lerp(images.astype(dtype), size, 2, how), size, 1, how)


def _lerp(x: Array, size: int, axis: int, how: str) -> Array:
    """x (N, H, W, C) with `size` pixels along an axis, each a + (b - a) * t of the two old ones it lies between."""
    xp = array_module(x)
    lower, upper, t = _places(xp, x.shape[axis], size, how, x.dtype)
    a, b = (xp.take(x, index, axis) for index in (lower, upper))
    b -= a
    b *= t.reshape(-1, *[1] * (3 - axis))
    b += a
    return b


def _places(xp: Any, length: int, size: int, how: str, dtype: Any) -> tuple[Array, Array, Array]:
    """For each new pixel the two old ones it lies between, and how far it is on its way to the second."""
    at = xp.arange(size).astype(dtype)
    if how == "tf":
        at = at * at.dtype.type(np.float32(length / size))
    elif how == "half-pixel":
        at = xp.maximum((at + at.dtype.type(0.5)) * at.dtype.type(length / size) - at.dtype.type(0.5), 0)
    else:
        at = at * at.dtype.type((length - 1) / max(1, size - 1))
    lower = xp.minimum(at.astype(np.int64), length - 1)
    return lower, xp.minimum(lower + 1, length - 1), at - lower.astype(dtype)


def _bicubic(images: Array, size: int, dtype: Any) -> Array:
    """Pillow's own resize of each channel as a float32 image, on the host."""
    host = to_host(images).astype(np.float32)
    made = np.empty((len(host), size, size, host.shape[3]), dtype)
    for image, target in zip(host, made, strict=True):
        for c in range(host.shape[3]):
            channel = Image.fromarray(np.ascontiguousarray(image[..., c]))
            target[..., c] = np.asarray(channel.resize((size, size), Image.Resampling.BICUBIC))
    return array_module(images).asarray(np.clip(made, 0, 255, out=made))
