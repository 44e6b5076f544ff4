"""Batch normalization: moments of each channel, normalization with leaky ReLU, the gradient: kernels/batch_norm.cu.

On a GPU x, y, gy, before and what is made of them may be bfloat16, all of them; what is of channels is float32.
"""

from __future__ import annotations

import numpy as np

from minigan.engine.cuda import THREADS, check, column_grid, half, kernels_take, launch, one_each, tickets
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.activation import leaky, leaky_mask, slope_of, sum_rows
from minigan.engine.products import column_sums, total
from minigan.engine.thread_pool import FEW, parallel, row_blocks, scratch

FILE = "batch_norm.cu"


def batch_statistics(x: Array, gamma: Array | None, beta: Array | None, eps: float, running_mean: Array | None = None,
                     running_variance: Array | None = None, decay: float = 0.0) -> tuple[Array, Array, Array, Array]:
    """What batch normalization of x (..., C) needs of it: (mean, inverse, scale, shift), all (C,).

    inverse: 1 / sqrt(variance + eps), of the biased variance over all axes but the last; scale: gamma * inverse; shift:
    beta - mean * scale. gamma None: 1; beta None: 0. The running moments, if given, are moved (`move_moments`).
    """
    if kernels_take(gamma, beta, running_mean, running_variance, activations=(x,)):
        return launch_batch_statistics(x, gamma, beta, eps, running_mean, running_variance, decay)
    mean, variance = batch_moments(x)
    if running_mean is not None and running_variance is not None:
        move_moments(running_mean, running_variance, mean, variance, decay, x.size // x.shape[-1])
    inverse = 1 / array_module(mean).sqrt(variance + mean.dtype.type(eps))
    scale = inverse if gamma is None else gamma * inverse
    return mean, inverse, scale, -mean * scale if beta is None else beta - mean * scale


def launch_batch_statistics(x: Array, gamma: Array | None, beta: Array | None, eps: float,
                            running_mean: Array | None = None, running_variance: Array | None = None,
                            decay: float = 0.0) -> tuple[Array, Array, Array, Array]:
    C, channels = x.shape[-1], x.shape[-1:]
    arrays = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_variance": running_variance}
    xp = check("batch_statistics", dict.fromkeys(arrays, channels), {"x": x}, **arrays)
    if x.size == 0:
        raise ValueError(f"batch_statistics: expected at least one row and one channel, got x {x.shape}")
    rows, moves = x.size // C, running_mean is not None and running_variance is not None
    grid, block, per_block = column_grid(rows, C)
    mean, inverse, scale, shift = (xp.empty((C,), np.float32) for _ in range(4))
    given = (mean if a is None else a for a in (gamma, beta))  # the mean is not read
    moved = (running_mean, running_variance) if moves else (mean, mean)  # else neither read nor written
    launch(FILE, "batch_statistics", grid, block,
           (x, *given, *moved, mean, inverse, scale, shift, xp.empty((grid[1], C, 3), np.float32),
            tickets(xp, grid[0]), np.float32(eps), np.int32(gamma is not None), np.int32(beta is not None),
            np.int32(moves), np.float32(decay), np.float32(1 - decay), np.float32(rows / max(1, rows - 1)), np.int32(C),
            np.int64(rows), per_block), defines=half(x))
    return mean, inverse, scale, shift


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel over all other axes: x (..., C) -> (C,), (C,)."""
    rows = x.reshape(-1, x.shape[-1])
    mean = sum_rows(rows) / x.dtype.type(len(rows))
    xp = array_module(x)
    if xp is not np:
        return mean, ((rows - mean) ** 2).mean(0)

    def squares(part: slice) -> Array:
        d = np.subtract(rows[part], mean, out=scratch("block", rows[part].shape, x.dtype))
        return column_sums(np.multiply(d, d, out=d))
    parts = parallel(squares, row_blocks(rows), least=FEW)
    return mean, total(parts) / x.dtype.type(len(rows))


def move_moments(running_mean: Array, running_variance: Array, mean: Array, variance: Array, decay: float,
                 count: int) -> None:
    """Move the running moments, in place, to decay * running + (1 - decay) * new, after a batch of `count` numbers a
    channel. All (C,).

    The batch's variance is the biased one; what is added is the unbiased.
    """
    unbiased = variance * (count / max(1, count - 1))
    running_mean[...] = decay * running_mean + (1 - decay) * mean
    running_variance[...] = decay * running_variance + (1 - decay) * unbiased


def normalize(x: Array, scale: Array, shift: Array, slope: float = 1.0) -> Array:
    """leaky(x * scale + shift), channel by channel: x (..., C), scale and shift (C,)."""
    if kernels_take(scale, shift, activations=(x,)):
        return launch_normalize(x, scale, shift, slope)
    xp = array_module(x)
    if xp is not np:
        y = x * scale + shift
        return y if slope == 1 else leaky(y, slope, y)
    rows = x.reshape(-1, x.shape[-1])
    y = np.empty_like(rows)

    def block(part: slice) -> None:
        to = np.multiply(rows[part], scale, out=y[part])
        to += shift
        if slope != 1:
            leaky(to, slope, out=to)
    parallel(block, row_blocks(rows), least=FEW)
    return y.reshape(x.shape)


def launch_normalize(x: Array, scale: Array, shift: Array, slope: float = 1.0) -> Array:
    channels = x.shape[-1:]
    xp = check("normalize", {"scale": channels, "shift": channels}, {"x": x}, scale=scale, shift=shift)
    y = xp.empty_like(x)
    launch(FILE, "normalize", one_each(x.size, x), (THREADS,),
           (x, scale, shift, y, slope_of("normalize", slope), np.int32(x.shape[-1]), np.int64(x.size)),
           defines=half(x))
    return y


def normalize_gradient(gy: Array, x: Array, y: Array | None, gamma: Array, mean: Array, inverse: Array,
                       slope: float = 1.0, before: Array | None = None) -> tuple[Array, Array, Array]:
    """Gradients (gx, ggamma, gbeta) of leaky(gamma * (x - mean) * inverse + beta), mean and inverse taken from x.

    gy, x (..., C); y: the result, needed if slope != 1; gamma, mean, inverse (C,): 1 / sqrt(variance + eps). before:
    added to gx, of its shape, if given.
    """
    if kernels_take(gamma, mean, inverse, activations=(gy, x, y, before)):
        return launch_normalize_gradient(gy, x, y, gamma, mean, inverse, slope, before)
    xp, C = array_module(x), x.shape[-1]
    g_rows, rows = gy.reshape(-1, C), x.reshape(-1, C)
    y_rows = None if y is None else y.reshape(-1, C)
    gx = xp.empty_like(rows)
    count = x.dtype.type(len(rows))

    def sums(part: slice) -> tuple[Array, Array]:  # leaves the gradient before the activation in gx
        gz = gx[part]
        if y_rows is None or slope == 1:
            gz[...] = g_rows[part]
        else:
            leaky_mask(g_rows[part], y_rows[part], slope, out=gz)
        hat = xp.subtract(rows[part], mean, out=scratch("block", gz.shape, gz.dtype, xp))
        hat *= gz
        return (column_sums(gz), column_sums(hat)) if xp is np else (gz.sum(0), hat.sum(0))
    parts = parallel(sums, row_blocks(rows), least=FEW) if xp is np else [sums(slice(None))]
    gbeta, ggamma = (total(part) for part in zip(*parts, strict=True))
    ggamma = ggamma * inverse
    # gx = gamma * inverse * (gz - mean(gz) - hat * mean(gz * hat)), hat = (x - mean) * inverse
    scale, slant = gamma * inverse, gamma * inverse * inverse * ggamma / count
    shift = scale * gbeta / count - slant * mean

    def finish(part: slice) -> None:
        to = gx[part]
        to *= scale
        to -= xp.multiply(rows[part], slant, out=scratch("block", to.shape, to.dtype, xp))
        to -= shift
    if xp is np:
        parallel(finish, row_blocks(rows), least=FEW)
    else:
        finish(slice(None))
    if before is not None:
        gx += before.reshape(gx.shape)
    return gx.reshape(x.shape), ggamma, gbeta


def launch_normalize_gradient(gy: Array, x: Array, y: Array | None, gamma: Array, mean: Array, inverse: Array,
                              slope: float = 1.0, before: Array | None = None) -> tuple[Array, Array, Array]:
    if y is None or slope == 1:
        y, slope = gy, 1.0  # not read
    C, channels = x.shape[-1], x.shape[-1:]
    xp = check("normalize_gradient", {"gy": x.shape, "y": x.shape, "gamma": channels, "mean": channels,
                                      "inverse": channels, "before": x.shape},
               {"gy": gy, "x": x, "y": y, "before": before}, gamma=gamma, mean=mean, inverse=inverse)
    if x.size == 0:
        raise ValueError(f"normalize_gradient: expected at least one row and one channel, got x {x.shape}")
    rows, factor = x.size // C, slope_of("normalize_gradient", slope)
    grid, block, per_block = column_grid(rows, C)
    gx, ggamma, gbeta = xp.empty_like(x), xp.empty((C,), np.float32), xp.empty((C,), np.float32)
    parts = xp.empty((grid[1], C, 2), np.float32)
    launch(FILE, "normalize_sums", grid, block,
           (gy, x, y, mean, inverse, ggamma, gbeta, parts, tickets(xp, grid[0]), factor, np.int32(C), np.int64(rows),
            per_block), defines=half(x))
    launch(FILE, "normalize_gradient", one_each(x.size, x), (THREADS,),
           (gy, x, y, gamma, mean, inverse, ggamma, gbeta, gx if before is None else before, gx,
            np.int32(before is not None), factor, np.float32(1 / rows), np.int32(C), np.int64(x.size)),
           defines=half(x))
    return gx, ggamma, gbeta
