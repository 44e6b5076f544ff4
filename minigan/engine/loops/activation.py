"""Bias and leaky ReLU, their gradient, the sum over rows that a bias' gradient is, and the gradient of tanh:
kernels/activation.cu.

On a GPU y, gy, before and what is made of them may be bfloat16, all of them; bias, scale and sums are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine.cuda import THREADS, check, column_grid, compact, half, kernels_take, launch, one_each, tickets
from minigan.engine.devices import Array, array_module
from minigan.engine.products import column_sums, total
from minigan.engine.thread_pool import FEW, parallel, row_blocks, scratch

FILE = "activation.cu"


def leaky(x: Array, slope: float, out: Array = None) -> Array:
    """Leaky ReLU of an array; out may be x."""
    if not 0 <= slope <= 1:
        raise ValueError(f"leaky_relu: expected a slope of 0 to 1, got {slope}")
    if kernels_take(activations=(x, out)):
        return launch_leaky(x, slope, out)
    xp = array_module(x)
    if slope == 0:
        return at_least(xp, x, 0, out)
    return xp.maximum(x, x * x.dtype.type(slope), out=out)


def launch_leaky(x: Array, slope: float, out: Array = None) -> Array:
    xp = check("leaky", {"out": x.shape}, {"x": x, "out": out})
    y = xp.empty_like(x) if out is None else out
    _launch_bias_leaky("leaky", x, y, None, slope, None)
    return y


def at_least(xp: Any, x: Array, low: float, out: Array = None) -> Array:
    """max(x, low); out may be x. NumPy's maximum of an array and a number does them one by one, its clip does not and
    takes a third of the time."""
    low = x.dtype.type(low)
    return np.clip(x, low, x.dtype.type(np.inf), out=out) if xp is np else xp.maximum(x, low, out=out)


def leaky_mask(gy: Array, y: Array, slope: float, out: Array = None) -> Array:
    """gy times the derivative of leaky ReLU where its result was y; out may be gy. With it, NumPy's arrays are taken
    for a block of larger ones, and the work arrays are used again."""
    xp = array_module(gy, y)
    if xp is np and out is not None:
        factor = scratch("factor", y.shape, gy.dtype)
        np.copyto(factor, np.greater(y, 0, out=scratch("mask", y.shape, np.bool_)))
    else:
        factor = (y > 0).astype(gy.dtype)
    if slope != 0:
        factor = at_least(xp, factor, slope, factor if factor.ndim else None)  # a number cannot be changed
    return xp.multiply(gy, factor, out=out)


def bias_leaky(y: Array, b: Array | None = None, slope: float = 1.0, scale: Array | None = None) -> Array:
    """leaky(y * scale + b), in place: what follows a product of matrices. y (..., C), b (C,), scale of one element."""
    if kernels_take(b, scale, activations=(y,)):
        return launch_bias_leaky(y, b, slope, scale)
    if scale is not None:
        y *= scale
    if b is not None:
        y += b
    return leaky(y, slope, out=y) if slope != 1 else y


@dataclass(frozen=True)
class Epilogue:
    """What is done to a tile of results (rows, O) in place: leaky(tile * scale + b)."""

    b: Array | None = None  # (O,)
    slope: float = 1.0  # of the leaky ReLU; 1: none
    scale: Array | None = None  # one element

    def __call__(self, tile: Array) -> None:
        if self.b is not None or self.slope != 1 or self.scale is not None:
            bias_leaky(tile, self.b, self.slope, self.scale)

    def of(self, channels: slice) -> Epilogue:
        """What is done to some of the channels alone."""
        return Epilogue(None if self.b is None else self.b[channels], self.slope, self.scale)


def launch_bias_leaky(y: Array, b: Array | None = None, slope: float = 1.0, scale: Array | None = None) -> Array:
    check("bias_leaky", {"bias": y.shape[-1:]}, {"y": y}, scale=scale, bias=b)
    _launch_bias_leaky("bias_leaky", y, y, b, slope, scale)
    return y


def _launch_bias_leaky(launcher: str, x: Array, y: Array, b: Array | None, slope: float, scale: Array | None) -> None:
    launch(FILE, "bias_leaky", one_each(x.size, x), (THREADS,),
           (x, y, *scale_and_bias(launcher, scale, b), slope_of(launcher, slope),
            np.int32(x.shape[-1] if x.ndim else 1), np.int64(x.size)), defines=half(x))


def bias_leaky_gradient(gy: Array, y: Array | None, slope: float, want_bias: bool) -> tuple[Array, Array | None]:
    """The gradient before the activation, gy where y > 0 and slope * gy elsewhere, and its sum (C,) if asked for.

    In bfloat16 the sum is that of the rounded gradient, which is what all others get.

    gy (..., C); y: the result of the activation; None if there was none, then the first result is gy itself.
    """
    gy = compact(gy)
    if kernels_take(activations=(gy, y)):
        return launch_bias_leaky_gradient(gy, y, slope, want_bias)
    if y is None:
        return gy, sum_rows(gy) if want_bias else None
    if array_module(gy) is not np or gy.ndim == 0 or not y.flags.c_contiguous:
        gz = leaky_mask(gy, y, slope)
        return gz, sum_rows(gz) if want_bias else None
    gz = np.empty(gy.shape, gy.dtype)
    g_rows, y_rows, to_rows = (a.reshape(-1, a.shape[-1]) for a in (gy, y, gz))

    def block(part: slice) -> Array | None:
        to = leaky_mask(g_rows[part], y_rows[part], slope, to_rows[part])
        return column_sums(to) if want_bias else None
    parts = parallel(block, row_blocks(to_rows) or [slice(0)], least=FEW)
    return gz, total(parts) if want_bias else None


def leaky_gradient(gy: Array, y: Array, slope: float, before: Array | None = None) -> Array:
    """The first result of bias_leaky_gradient, plus `before`, of gy's shape, if it is given."""
    gy, before = compact(gy), None if before is None else compact(before)
    if kernels_take(activations=(gy, y, before)):
        return launch_leaky_gradient(gy, y, slope, before)
    gz = bias_leaky_gradient(gy, y, slope, False)[0]
    return gz if before is None else gz + before


def launch_leaky_gradient(gy: Array, y: Array, slope: float, before: Array | None = None) -> Array:
    xp = check("leaky_gradient", {"y": gy.shape, "before": gy.shape}, {"gy": gy, "y": y, "before": before})
    gz = xp.empty_like(gy)
    launch(FILE, "leaky_gradient", one_each(gy.size, gy), (THREADS,),
           (gy, y, gy if before is None else before, gz, np.int32(before is not None),
            slope_of("leaky_gradient", slope), np.int64(gy.size)), defines=half(gy))
    return gz


def launch_bias_leaky_gradient(gy: Array, y: Array | None, slope: float,
                               want_bias: bool) -> tuple[Array, Array | None]:
    if y is None or slope == 1:
        return gy, launch_sum_rows(gy) if want_bias else None
    if not want_bias:
        return launch_leaky_gradient(gy, y, slope), None
    xp = check("bias_leaky_gradient", {"y": gy.shape}, {"gy": gy, "y": y})
    gz, factor = xp.empty_like(gy), slope_of("bias_leaky_gradient", slope)
    C = gy.shape[-1]
    if gy.size == 0:
        return gz, xp.zeros((C,), np.float32)
    grid, block, per_block = column_grid(gy.size // C, C)
    gb, parts = xp.empty((C,), np.float32), xp.empty((grid[1], C), np.float32)
    launch(FILE, "bias_leaky_gradient", grid, block,
           (gy, y, gz, gb, parts, tickets(xp, grid[0]), factor, np.int32(C), np.int64(gy.size // C), per_block),
           defines=half(gy))
    return gz, gb


def sum_rows(x: Array) -> Array:
    """(..., C) -> (C,): the sum over all axes but the last, in blocks of a fixed size over the threads."""
    if kernels_take(activations=(x,)):
        return launch_sum_rows(x)
    rows = x.reshape(-1, x.shape[-1])
    if array_module(x) is not np:
        return rows.sum(0)
    return total(parallel(lambda part: column_sums(rows[part]), row_blocks(rows) or [slice(0)], least=FEW))


def launch_sum_rows(x: Array) -> Array:
    xp, C = check("sum_rows", {}, {"x": x}), x.shape[-1]
    if x.size == 0:
        return xp.zeros((C,), np.float32)
    grid, block, per_block = column_grid(x.size // C, C)
    total, parts = xp.empty((C,), np.float32), xp.empty((grid[1], C), np.float32)
    launch(FILE, "sum_rows", grid, block,
           (x, total, parts, tickets(xp, grid[0]), np.int32(C), np.int64(x.size // C), per_block),
           defines=half(x))
    return total


def tanh_gradient(gy: Array, y: Array) -> Array:
    """gy * (1 - y^2), the gradient before a tanh whose result is y."""
    gy = compact(gy)
    if kernels_take(gy, y):
        return launch_tanh_gradient(gy, y)
    gx = y * y
    xp = array_module(gx)
    xp.subtract(y.dtype.type(1), gx, out=gx)
    return xp.multiply(gy, gx, out=gx)


def launch_tanh_gradient(gy: Array, y: Array) -> Array:
    xp = check("tanh_gradient", {"y": gy.shape}, gy=gy, y=y)
    gx = xp.empty_like(gy)
    launch(FILE, "tanh_gradient", one_each(gy.size), (THREADS,), (gy, y, gx, np.int64(gy.size)))
    return gx


# ---- arguments of kernels that end with bias and leaky ReLU --------------------------------------------------------

def scale_and_bias(launcher: str, scale: Array | None, bias: Array | None) -> tuple[Any, ...]:
    """Arguments scale, bias, has_scale, has_bias; a null pointer stands for an array that is not there."""
    if scale is not None and scale.size != 1:
        raise ValueError(f"{launcher}: expected scale to be one number, got shape {scale.shape}")
    return (np.int64(0) if scale is None else scale, np.int64(0) if bias is None else bias,
            np.int32(scale is not None), np.int32(bias is not None))


def slope_of(launcher: str, slope: float) -> np.float32:
    """The argument slope. ValueError if it is not between 0 and 1."""
    if not 0 <= slope <= 1:
        raise ValueError(f"{launcher}: expected a slope of 0 to 1, got {slope}")
    return np.float32(slope)
