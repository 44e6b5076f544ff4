"""Weight normalizations: how the weights that a layer stores become the weights that it uses.

A normalization is one small class. A layer that was given one calls `attach` once, `weight` in every forward, and the
training loop calls `after_update` after every optimizer step. What a normalization must remember lies in
`layer.state` (saved with the layer, not trained), what it learns in `layer.params`.
To add one: a class here, a line in NORMS, and a test of the property that defines it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from minigan import ops
from minigan.autograd import FusedOp, Tensor
from minigan.backend import Array, array_module
from minigan.fused import power_iteration, spectral_gradient
from minigan.presets import Experiment


class Normalized(Protocol):
    """What a normalization sees of its layer."""

    params: dict[str, Tensor]  # "W", and what the normalization learns
    state: dict[str, Array]  # what it remembers


class NoNorm:
    """W as it is."""

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        """Put what the normalization remembers or learns into layer.state and layer.params; W is there already."""

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        """The weights to use for an input of shape x_shape."""
        return layer.params["W"]

    def after_update(self, layer: Normalized) -> None:
        """Called after each optimizer step."""


class SpectralNorm(NoNorm):
    """W / sigma(W), sigma the largest singular value of W as a matrix (out, everything else).

    Miyato et al. 2018, Eq. (8), by Algorithm 1: `n_iter` power iterations from the u of last time in every forward.
    A training forward remembers the new u, so that real and fake batches and the generator's step each advance it; in
    evaluation u stays (both as in the authors' code). The gradient is Eq. (12): u and v are constants.
    u starts as N(0, 1), as in the authors' code. eps is added to the norms, likewise.
    """

    def __init__(self, n_iter: int = 1, eps: float = 1e-12):
        if n_iter < 1:
            raise ValueError(f"spectral normalization: expected at least 1 power iteration, got {n_iter}")
        self.n_iter, self.eps = n_iter, eps

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        W = layer.params["W"]
        layer.state["u"] = rng.standard_normal(W.shape[0]).astype(W.dtype)

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        W = layer.params["W"]
        matrix = ops.reshape(W, (W.shape[0], -1))
        u, v, sigma = power_iteration(matrix.data, layer.state["u"], self.n_iter, self.eps)
        if train:
            layer.state["u"] = u
        return ops.reshape(SpectralNormalize(u, v, sigma)(matrix), W.shape)


class SpectralNormalize(FusedOp):
    """W / (u^T W v) for constant u and v: (out, in) -> (out, in)."""

    def __init__(self, u: Array, v: Array, sigma: Array):
        self.u, self.v, self.sigma = u, v, sigma

    def forward(self, W: Array) -> Array:
        return W / self.sigma

    def composed(self, W: Tensor) -> Tensor:
        u, v = Tensor(self.u.reshape(1, -1)), Tensor(self.v.reshape(-1, 1))
        return W / (u @ W @ v)

    def fused_backward(self, gy: Array) -> tuple[Array]:
        return (spectral_gradient(gy, self.saved[0].data, self.u, self.v, self.sigma),)


# name -> the normalization of one layer, made for an experiment
NORMS: dict[str, Callable[[Experiment], NoNorm]] = {
    "none": lambda e: NoNorm(),
    "sn": lambda e: SpectralNorm(e.power_iterations),
}


def spectral_norm(W: Array) -> float:
    """The exact largest singular value of W as a matrix (out, everything else), by the eigenvalues of its Gram matrix.

    W: any array with at least two axes. In float64, where the squaring costs no digits that a reader would see.
    """
    xp = array_module(W)
    matrix = W.reshape(len(W), -1).astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(xp.sqrt(xp.maximum(xp.linalg.eigvalsh(gram)[-1], 0)))
