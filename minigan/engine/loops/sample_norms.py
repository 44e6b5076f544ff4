"""The length of each sample's gradient, and the gradient of that, for gradient penalties: kernels/sample_norms.cu."""

from __future__ import annotations

import math

import numpy as np

from minigan.engine.cuda import THREADS, check, kernels_take, launch, one_each
from minigan.engine.devices import Array, array_module

FILE = "sample_norms.cu"


def sample_norms(g: Array) -> Array:
    """The L2 norm of each sample: g (N, ...) -> (N,)."""
    if kernels_take(g):
        return launch_sample_norms(g)
    flat = g.reshape(len(g), math.prod(g.shape[1:]))
    return array_module(g).sqrt((flat * flat).sum(1))


def launch_sample_norms(g: Array) -> Array:
    xp = check("sample_norms", {}, g=g)
    if g.size == 0:
        return xp.zeros((g.shape[0],), np.float32)
    norms = xp.empty((g.shape[0],), np.float32)
    launch(FILE, "sample_norms", (g.shape[0],), (THREADS,), (g, norms, np.int64(g.size // g.shape[0])))
    return norms


def sample_norms_gradient(gn: Array, g: Array, norms: Array) -> Array:
    """The gradient of sample_norms: gn[n] * g / norms[n], 0 where the norm is 0; gn and norms (N,), g (N, ...)."""
    if kernels_take(gn, g, norms):
        return launch_sample_norms_gradient(gn, g, norms)
    factor = gn * (norms > 0) / array_module(g).maximum(norms, np.finfo(g.dtype).tiny)
    return g * factor.reshape(-1, *[1] * (g.ndim - 1))


def launch_sample_norms_gradient(gn: Array, g: Array, norms: Array) -> Array:
    xp = check("sample_norms_gradient", {"gn": g.shape[:1], "norms": g.shape[:1]}, gn=gn, g=g, norms=norms)
    gg = xp.empty_like(g)
    if g.size:
        launch(FILE, "sample_norms_gradient", one_each(g.size), (THREADS,),
               (gn, g, norms, gg, np.int64(g.size // g.shape[0]), np.int64(g.size)))
    return gg
