"""Norms of what a layer's W stands for, exact or bounded: as the matrix (out, everything else), and as the convolution.

How far a layer stretches a difference of two inputs is its operator norm, with its stride and padding; layers and
networks make a Lipschitz factor of these (Layer.lipschitz). spectral_norms.py divides by estimates of the same numbers.
"""

from __future__ import annotations

import math

import numpy as np

from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array, array_module
from minigan.nn.layers import Conv2d, ConvTranspose2d, Layer
from minigan.nn.weight_norms import to_matrix

# Of a singular vector: |A^T u - sigma v| / sigma. In 48 random convolutions sigma itself was within 3e-4 then, after 10
# to 35 steps; with 1e-2 it took 20 and was once off by 2 %, another singular value's vector.
TOLERANCE = 1e-3
STEPS = 100  # of Lanczos at most


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """All singular values, descending, by the eigenvalues of the smaller Gram matrix in float64; nan if W is broken."""
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all():
        return np.full(min(matrix.shape), math.nan)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))


def operator_norm(layer: Layer, W: Tensor, shape: tuple[int, ...], tolerance: float = TOLERANCE) -> float:
    """The largest singular value of layer.operator with weights W, on an argument of this shape.

    By Golub and Kahan's bidiagonalization (1965): power iteration with the operator and its adjoint that keeps what all
    its steps saw, and needs a tenth of them. It stops when |A^T u - sigma v| <= tolerance * sigma for its best u and v.
    The beginning is the same for the same shape: no random numbers, nothing remembered.
    """
    xp = array_module(W.data)
    v = xp.asarray(np.random.default_rng(0).standard_normal(shape).astype(W.dtype))
    v /= _length(v)
    u, diagonal, above = None, [], []
    for _ in range(STEPS):
        Av = layer.operator(W, Tensor(v)).data
        u = Av if u is None else Av - u * u.dtype.type(above[-1])
        diagonal.append(_length(u))
        if not diagonal[-1] > 0:  # zero weights, or all of the space was seen
            break
        u = u / u.dtype.type(diagonal[-1])
        v = layer.adjoint(W, Tensor(u), shape).data - v * v.dtype.type(diagonal[-1])
        above.append(_length(v))
        if len(above) % 5 == 0 or not above[-1] > 0:
            left, sigmas, _ = np.linalg.svd(np.diag(diagonal) + np.diag(above[:-1], 1))
            if abs(left[-1, 0]) * above[-1] <= tolerance * sigmas[0]:
                return float(sigmas[0])
        v /= v.dtype.type(above[-1])
    size = len(diagonal)
    B = np.diag(diagonal) + np.diag(above[:size - 1], 1)
    return float(np.linalg.norm(B, 2)) if np.isfinite(B).all() else math.nan


def conv_bounds(layer: Layer, W: np.ndarray, x_shape: tuple[int, ...]) -> tuple[float, float]:
    """(lower, upper) bounds of a convolution's operator norm by norms of W as matrix (Tsuzuku et al. 2018, Cor. 1).

    Upper: |W| times the root of how many windows a pixel can be in. Lower: |W|, or, where the image is so small that
    no window lies inside it, the norm of that part of W that the fullest window uses.
    """
    if W.ndim == 2:
        sigma = float(singular_values(W)[0])
        return sigma, sigma
    assert isinstance(layer, Conv2d | ConvTranspose2d), "a layer with windows"
    taps, windows = [], 1
    for length, kernel in zip(layer.operand_shape(x_shape)[1:3], W.shape[1:3], strict=True):
        starts = np.arange((length + 2 * layer.pad - kernel) // layer.stride + 1) * layer.stride - layer.pad
        first, last = np.maximum(-starts, 0), np.minimum(length - starts, kernel)
        best = int(np.argmax(last - first))
        taps.append(slice(first[best], last[best]))
        pixels = np.arange(length)[:, None]
        windows *= int(((starts <= pixels) & (pixels < starts + kernel)).sum(1).max())
    sigma = float(singular_values(to_matrix(W))[0])
    part = W[:, taps[0], taps[1]]
    lower = sigma if part.shape == W.shape else float(singular_values(to_matrix(part))[0])
    return lower, math.sqrt(windows) * sigma


def _length(x: Array) -> float:
    return float(array_module(x).sqrt((x * x).sum()))
