"""Batch normalization with a gain and a shift for every class: kernels/conditional_norm.cu.

The moments are those of batch_norm.py. x, y, gy, gx (N, ..., C); gamma, beta (classes, C); mean, inverse (C,); labels
(N,) int64, which nobody looks at on a GPU: one outside 0 .. classes - 1 counts modulo the classes. On a GPU x, y, gy,
before and what is made of them may be bfloat16, all of them; all else but labels is float32.
"""

from __future__ import annotations

import numpy as np

from minigan.engine.cuda import THREADS, check, column_grid, half, kernels_take, launch, one_each
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.activation import leaky, leaky_mask, slope_of
from minigan.engine.products import matmul

FILE = "conditional_norm.cu"


def normalize_by_label(x: Array, mean: Array, inverse: Array, gamma: Array, beta: Array, labels: Array,
                       slope: float = 1.0) -> Array:
    """leaky(gamma[label] * (x - mean) * inverse + beta[label]), sample by sample and channel by channel."""
    if kernels_take(mean, inverse, gamma, beta, activations=(x,)):
        return launch_normalize_by_label(x, mean, inverse, gamma, beta, labels, slope)
    rows, one_pixel = labels % len(gamma), (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
    y = (x - mean) * inverse * gamma[rows].reshape(one_pixel) + beta[rows].reshape(one_pixel)
    return y if slope == 1 else leaky(y, slope, y)


def launch_normalize_by_label(x: Array, mean: Array, inverse: Array, gamma: Array, beta: Array, labels: Array,
                              slope: float = 1.0) -> Array:
    channels, table = x.shape[-1:], (*gamma.shape[:1], *x.shape[-1:])
    xp = check("normalize_by_label", {"mean": channels, "inverse": channels, "gamma": table, "beta": table,
                                      "labels": x.shape[:1]},
               {"x": x}, labels, mean=mean, inverse=inverse, gamma=gamma, beta=beta)
    y, (classes, C) = xp.empty_like(x), table
    if classes < 1:
        raise ValueError(f"normalize_by_label: expected at least one class, got gamma {gamma.shape}")
    launch(FILE, "normalize_by_label", one_each(x.size, x), (THREADS,),
           (x, mean, inverse, gamma, beta, labels, y, slope_of("normalize_by_label", slope), np.int32(classes),
            np.int32(C), np.int64(x.size // max(1, len(x))), np.int64(x.size)), defines=half(x))
    return y


def conditional_gradient(gy: Array, x: Array, y: Array | None, gamma: Array, mean: Array, inverse: Array,
                         labels: Array, slope: float = 1.0,
                         before: Array | None = None) -> tuple[Array, Array, Array]:
    """Gradients (gx, ggamma, gbeta) of normalize_by_label, mean and inverse taken from x.

    y: the result, needed if slope != 1; inverse: 1 / sqrt(variance + eps). before: added to gx, of its shape, if given.
    """
    if kernels_take(gamma, mean, inverse, activations=(gy, x, y, before)):
        return launch_conditional_gradient(gy, x, y, gamma, mean, inverse, labels, slope, before)
    xp, (classes, C), rows = array_module(x), gamma.shape, labels % len(gamma)
    gz = (gy if y is None or slope == 1 else leaky_mask(gy, y, slope)).reshape(len(x), -1, C)
    hat = (x.reshape(gz.shape) - mean) * inverse
    sums, sums_of_hat = gz.sum(1), (gz * hat).sum(1)  # of each sample
    of_class = (xp.arange(classes)[:, None] == rows).astype(x.dtype)
    factor, count = gamma[rows], len(x) * gz.shape[1]
    gx = inverse * (gz * factor[:, None] - (factor * sums).sum(0) / count
                    - hat * ((factor * sums_of_hat).sum(0) / count))
    gx = gx.reshape(x.shape)
    return gx if before is None else gx + before, matmul(of_class, sums_of_hat), matmul(of_class, sums)


def launch_conditional_gradient(gy: Array, x: Array, y: Array | None, gamma: Array, mean: Array, inverse: Array,
                                labels: Array, slope: float = 1.0,
                                before: Array | None = None) -> tuple[Array, Array, Array]:
    if y is None or slope == 1:
        y, slope = gy, 1.0  # not read
    channels, table = x.shape[-1:], (*gamma.shape[:1], *x.shape[-1:])
    xp = check("conditional_gradient", {"gy": x.shape, "y": x.shape, "gamma": table, "mean": channels,
                                        "inverse": channels, "before": x.shape, "labels": x.shape[:1]},
               {"gy": gy, "x": x, "y": y, "before": before}, labels, gamma=gamma, mean=mean, inverse=inverse)
    N, (classes, C) = len(x), table
    if x.size == 0 or classes < 1:
        raise ValueError("conditional_gradient: expected at least one row, one channel and one class, got "
                         f"x {x.shape}, gamma {gamma.shape}")
    pixels, factor = x.size // C // N, slope_of("conditional_gradient", slope)
    (strips, _), block, _ = column_grid(pixels, C)
    gx, ggamma, gbeta = xp.empty_like(x), xp.empty_like(gamma), xp.empty_like(gamma)
    sums, means = xp.empty((N, C, 2), np.float32), xp.empty((C, 2), np.float32)
    launch(FILE, "label_sums", (N, strips), block,
           (gy, x, y, mean, inverse, sums, factor, np.int32(C), np.int64(pixels)), defines=half(x))
    launch(FILE, "class_sums", one_each((classes + 1) * C), (THREADS,),
           (sums, gamma, labels, ggamma, gbeta, means, np.float32(1 / (N * pixels)), np.int32(classes), np.int32(C),
            np.int32(N)), defines=half(x))
    launch(FILE, "conditional_gradient", one_each(x.size, x), (THREADS,),
           (gy, x, y, gamma, mean, inverse, labels, means, gx if before is None else before, gx,
            np.int32(before is not None), factor, np.int32(classes), np.int32(C), np.int64(pixels * C),
            np.int64(x.size)), defines=half(x))
    return gx, ggamma, gbeta
