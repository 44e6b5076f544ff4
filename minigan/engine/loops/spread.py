"""Weights of a convolution that is joined with upsampling or a mean of 2 x 2 pixels: kernels/spread.cu."""

from __future__ import annotations

import numpy as np

from minigan.engine.cuda import THREADS, check, kernels_take, launch, one_each
from minigan.engine.devices import Array, array_module

FILE = "spread.cu"


def spread2x2(W: Array, factor: float = 1.0, turned: bool = False) -> Array:
    """The kernel of W followed by a sum of 2 x 2 pixels, times factor: (O, kh, kw, C) -> (O, kh + 1, kw + 1, C).

    turned: that of the transposed convolution that does the same after upsampling: W turned round, its channels
    exchanged, (C, kh + 1, kw + 1, O).
    """
    if kernels_take(W):
        return launch_spread2x2(W, factor, turned)
    if turned:
        W = W.transpose(3, 1, 2, 0)[:, ::-1, ::-1]
    A, kh, kw, B = W.shape
    wide = array_module(W).zeros((A, kh + 1, kw + 1, B), W.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            wide[:, dy:dy + kh, dx:dx + kw] += W
    if factor != 1:
        wide *= W.dtype.type(factor)
    return wide


def launch_spread2x2(W: Array, factor: float = 1.0, turned: bool = False) -> Array:
    xp, (O, kh, kw, C) = check("spread2x2", {}, W=W), W.shape
    wide = xp.empty((C if turned else O, kh + 1, kw + 1, O if turned else C), np.float32)
    launch(FILE, "spread2x2", one_each(wide.size), (THREADS,), (W, wide, *_arguments(factor, turned, W, wide)))
    return wide


def gather2x2(wide: Array, factor: float = 1.0, turned: bool = False) -> Array:
    """The adjoint of spread2x2: W (O, kh, kw, C)."""
    if kernels_take(wide):
        return launch_gather2x2(wide, factor, turned)
    h, w = wide.shape[1] - 1, wide.shape[2] - 1
    W = wide[:, :h, :w] + wide[:, :h, 1:]
    W += wide[:, 1:, :w]
    W += wide[:, 1:, 1:]
    if factor != 1:
        W *= wide.dtype.type(factor)
    return array_module(W).ascontiguousarray(W[:, ::-1, ::-1].transpose(3, 1, 2, 0)) if turned else W


def launch_gather2x2(wide: Array, factor: float = 1.0, turned: bool = False) -> Array:
    xp, (A, h, w, B) = check("gather2x2", {}, wide=wide), wide.shape
    W = xp.empty((B if turned else A, h - 1, w - 1, A if turned else B), np.float32)
    launch(FILE, "gather2x2", one_each(W.size), (THREADS,), (wide, W, *_arguments(factor, turned, W, W)))
    return W


def _arguments(factor: float, turned: bool, W: Array, result: Array) -> tuple[np.generic, ...]:
    """factor, turned, O, kh, kw, C, count."""
    return (np.float32(factor), np.int32(turned), *map(np.int32, W.shape), np.int64(result.size))
