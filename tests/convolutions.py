"""Convolutions of every kind, and the matrix that each is, written out element by element."""

import numpy as np
import pytest

from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, ConvTranspose2d, Linear

# kind -> layer (n_in, n_out), and the input's height and width
CONVOLUTIONS = {
    "3x3-unpadded": (lambda rng, norm: Conv2d(rng, 2, 3, 3, norm=norm), (5, 6)),
    "3x3": (lambda rng, norm: Conv2d(rng, 2, 3, 3, pad=1, norm=norm), (5, 4)),
    "4x4-strided": (lambda rng, norm: Conv2d(rng, 3, 2, 4, 2, 1, norm=norm), (6, 8)),
    "4x4-strided-odd": (lambda rng, norm: Conv2d(rng, 3, 2, 4, 2, 1, norm=norm), (7, 5)),
    "5x5-strided": (lambda rng, norm: Conv2d(rng, 1, 4, 5, 2, 2, norm=norm), (6, 7)),
    "1x1": (lambda rng, norm: Conv2d(rng, 3, 5, 1, norm=norm), (3, 3)),
    "3x3-up": (lambda rng, norm: Conv2d(rng, 2, 3, 3, pad=1, norm=norm, resample="up"), (3, 2)),
    "3x3-down": (lambda rng, norm: Conv2d(rng, 2, 3, 3, pad=1, norm=norm, resample="down"), (4, 6)),
    "transposed": (lambda rng, norm: ConvTranspose2d(rng, 3, 2, 4, 2, 1, norm=norm), (3, 4)),
    "transposed-odd": (lambda rng, norm: ConvTranspose2d(rng, 3, 2, 4, 2, 1, output_pad=1, norm=norm), (3, 4)),
    "dense": (lambda rng, norm: Linear(rng, 12, 7, normal(), norm=norm), ()),
}


every_convolution = pytest.mark.parametrize("kind", CONVOLUTIONS)


def written_out(W, size, stride, pad):
    """The convolution of images of this size as a matrix, element by element: (oh ow O, H Wi C)."""
    (H, Wi), (O, kh, kw, C) = size, W.shape
    oh, ow = ((n + 2 * pad - k) // stride + 1 for n, k in ((H, kh), (Wi, kw)))
    found = np.zeros((oh, ow, O, H, Wi, C))
    for i, j, dy, dx in np.ndindex(oh, ow, kh, kw):
        y, x = i * stride + dy - pad, j * stride + dx - pad
        if 0 <= y < H and 0 <= x < Wi:
            found[i, j, :, y, x] += W[:, dy, dx]
    return found.reshape(oh * ow * O, H * Wi * C)


def operator(layer, W, size):
    """The matrix of the layer's convolution, for an input of this size: resampling is no part of it."""
    if W.ndim == 2:
        return W
    size = tuple(2 * n for n in size) if getattr(layer, "resample", "") == "up" else size
    if isinstance(layer, ConvTranspose2d):
        size = tuple((n - 1) * layer.stride + 4 - 2 * layer.pad + layer.output_pad for n in size)
    matrix = written_out(W, size, layer.stride, layer.pad)
    return matrix.T if isinstance(layer, ConvTranspose2d) else matrix
