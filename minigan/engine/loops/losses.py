"""The mean of a function of the discriminator's outputs, and its gradient: kernels/losses.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigan.engine.cuda import THREADS, check, kernels_take, launch, one_each
from minigan.engine.devices import Array, array_module
from minigan.errors import choose

FILE = "losses.cu"
FUNCTIONS = ("linear", "relu", "softplus", "square")  # as the kernels count them


def mean_of(x: Array, function: str, sign: float = 1.0, shift: float = 0.0) -> Array:
    """The mean of function(sign * x + shift) over all elements of x, (); 0 if there are none.

    function: linear z, relu max(z, 0), softplus log(1 + exp(z)), square z^2; ValueError for another.
    """
    choose("function", function, FUNCTIONS)
    if kernels_take(x):
        return launch_mean_of(x, function, sign, shift)
    xp, z = array_module(x), _shifted(x, sign, shift)
    if function == "relu":
        z = xp.maximum(z, x.dtype.type(0))
    elif function == "softplus":
        z = xp.maximum(z, x.dtype.type(0)) + xp.log1p(xp.exp(-abs(z)))
    elif function == "square":
        z = z * z
    return z.sum() * x.dtype.type(1 / max(1, x.size))


def launch_mean_of(x: Array, function: str, sign: float = 1.0, shift: float = 0.0) -> Array:
    mean = check("mean_of", {}, x=x).empty((), np.float32)
    launch(FILE, "mean_of", (1,), (THREADS,), (x, mean, *_arguments(x, function, sign, shift)))
    return mean


def mean_of_gradient(gy: Array, x: Array, function: str, sign: float = 1.0, shift: float = 0.0) -> Array:
    """The gradient of mean_of with respect to x, of x's shape; gy (). ValueError for an unknown function."""
    choose("function", function, FUNCTIONS)
    if kernels_take(gy, x):
        return launch_mean_of_gradient(gy, x, function, sign, shift)
    xp, kind, g = array_module(x), x.dtype.type, gy * x.dtype.type(1 / max(1, x.size))
    if function == "linear":
        return xp.broadcast_to(g * kind(sign), x.shape)
    z = _shifted(x, sign, shift)
    if function == "relu":
        slope = (z > 0).astype(x.dtype)
    elif function == "softplus":
        slope = xp.exp(xp.minimum(z, kind(0))) / (kind(1) + xp.exp(-abs(z)))
    else:  # square
        slope = kind(2) * z
    return g * slope * kind(sign)


def launch_mean_of_gradient(gy: Array, x: Array, function: str, sign: float = 1.0, shift: float = 0.0) -> Array:
    xp = check("mean_of_gradient", {"gy": ()}, gy=gy, x=x)
    gx = xp.empty_like(x)
    launch(FILE, "mean_of_gradient", one_each(x.size), (THREADS,), (gy, x, gx, *_arguments(x, function, sign, shift)))
    return gx


def _shifted(x: Array, sign: float, shift: float) -> Array:
    kind = x.dtype.type
    z = x if sign == 1 else x * kind(sign)
    return z if shift == 0 else z + kind(shift)


def _arguments(x: Array, function: str, sign: float, shift: float) -> tuple[Any, ...]:
    """function, sign, shift, share, count."""
    return (np.int32(FUNCTIONS.index(function)), np.float32(sign), np.float32(shift), np.float32(1 / max(1, x.size)),
            np.int64(x.size))
