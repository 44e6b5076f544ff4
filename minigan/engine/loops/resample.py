"""Twice the size by repeating pixels, half the size by adding up 2 x 2 of them: kernels/resample.cu.

On a GPU x, and then y, may be bfloat16.
"""

from __future__ import annotations

import numpy as np

from minigan.engine.cuda import THREADS, check, half, kernels_take, launch, one_each
from minigan.engine.devices import Array, array_module

FILE = "resample.cu"


def upsample2x(x: Array, factor: float = 1.0) -> Array:
    """Each pixel repeated 2 x 2 times, times factor: (N, H, W, C) -> (N, 2 H, 2 W, C)."""
    if kernels_take(activations=(x,)):
        return launch_upsample2x(x, factor)
    (N, H, W, C), xp = x.shape, array_module(x)
    y = xp.empty((N, 2 * H, 2 * W, C), x.dtype)
    y.reshape(N, H, 2, W, 2, C)[...] = (x if factor == 1 else x * x.dtype.type(factor))[:, :, None, :, None]
    return y


def launch_upsample2x(x: Array, factor: float = 1.0) -> Array:
    xp = check("upsample2x", {}, {"x": x})
    N, H, W, C = x.shape
    y = xp.empty((N, 2 * H, 2 * W, C), x.dtype)
    launch(FILE, "upsample2x", one_each(y.size, x), (THREADS,),
           (x, y, np.float32(factor), np.int32(H), np.int32(W), np.int32(C), np.int64(y.size)), defines=half(x))
    return y


def pool2x(x: Array, factor: float = 1.0) -> Array:
    """factor times the sum of 2 x 2 pixels: (N, H, W, C) -> (N, H // 2, W // 2, C); the adjoint of upsample2x.

    Raises ValueError if H or W is less than 2.
    """
    if min(x.shape[1:3]) < 2:
        raise ValueError(f"pool2x: expected images of at least 2 x 2 pixels, got x {x.shape}")
    if kernels_take(activations=(x,)):
        return launch_pool2x(x, factor)
    x = x[:, :x.shape[1] // 2 * 2, :x.shape[2] // 2 * 2]
    y = x[:, ::2, ::2] + x[:, 1::2, ::2]
    y += x[:, ::2, 1::2]
    y += x[:, 1::2, 1::2]
    if factor != 1:
        y *= x.dtype.type(factor)
    return y


def launch_pool2x(x: Array, factor: float = 1.0) -> Array:
    xp = check("pool2x", {}, {"x": x})
    N, H, W, C = x.shape
    y = xp.empty((N, H // 2, W // 2, C), x.dtype)
    launch(FILE, "pool2x", one_each(y.size, x), (THREADS,),
           (x, y, np.float32(factor), np.int32(H), np.int32(W), np.int32(C), np.int64(y.size)), defines=half(x))
    return y
