"""Layers of every kind that has weights, and how to look at the matrices they stand for."""

import numpy as np

from minigan.engine.autograd import Tensor, no_grad
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, ConvTranspose2d, Linear

LAYERS = {
    "dense": lambda rng, norm: Linear(rng, 12, 7, normal(), norm=norm),
    "dense-to-one": lambda rng, norm: Linear(rng, 30, 1, normal(), norm=norm),
    "conv": lambda rng, norm: Conv2d(rng, 5, 8, 3, pad=1, norm=norm),
    "conv-strided": lambda rng, norm: Conv2d(rng, 2, 40, 4, 2, 1, slope=0.1, norm=norm),
    "conv-down": lambda rng, norm: Conv2d(rng, 3, 6, 3, pad=1, norm=norm, resample="down"),
    "conv-up": lambda rng, norm: Conv2d(rng, 3, 6, 3, pad=1, norm=norm, resample="up"),
    "shortcut": lambda rng, norm: Conv2d(rng, 9, 4, 1, norm=norm, resample="down"),
    "transposed": lambda rng, norm: ConvTranspose2d(rng, 6, 3, 4, 2, 1, norm=norm),
}


def matrix(W, out_axis=0):
    """(out, everything else)."""
    return np.ascontiguousarray(np.moveaxis(W, out_axis, 0).reshape(W.shape[out_axis], -1))


def singular_values(W, out_axis=0):
    return np.linalg.svd(matrix(W, out_axis), compute_uv=False)


def largest(W, out_axis=0):
    return singular_values(W, out_axis)[0]


def an_input(rng, layer, dtype=np.float32):
    W = layer.params["W"]
    channels = W.shape[0 if layer.out_axis else 3] if W.ndim == 4 else 0
    return Tensor(rng.standard_normal((2, 4, 4, channels) if W.ndim == 4 else (2, W.shape[1])).astype(dtype))


def used(layer):
    """The weights that the layer uses, without moving anything."""
    with no_grad():
        return layer.norm.weight(layer, (), train=False).data
