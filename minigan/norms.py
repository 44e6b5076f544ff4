"""Weight normalizations: how the weights that a layer stores become the weights that it uses.

A weight normalization is one small class. A layer that was given one calls `attach` once and `weight` in every forward;
the training loop adds `penalties` to the discriminator's loss and calls `after_update` after every optimizer step. What
a normalization must remember lies in `layer.state` (saved with the layer, not trained), what it learns in
`layer.params`. To add one: a class here, a line in NORMS, and a test of the property that defines it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from minigan import ops
from minigan.autograd import FusedOp, Op, Tensor
from minigan.backend import Array, array_module, to_host
from minigan.conv import Scaled
from minigan.fused import (
    has_kernels,
    power_iteration,
    power_iterations,
    scale_weights,
    spectral_gradient,
    spectral_gradients,
)
from minigan.presets import Experiment


class Normalized(Protocol):
    """What a normalization sees of its layer."""

    params: dict[str, Tensor]  # "W", and what the normalization learns
    state: dict[str, Array]  # what it remembers
    norm: Any  # the normalization itself


class NoNorm:
    """W as it is."""

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        """Put what the normalization remembers or learns into layer.state and layer.params; W is there already."""

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor | Scaled:
        """The weights to use for an input of shape x_shape."""
        return layer.params["W"]

    def penalty(self, layer: Normalized) -> Tensor | None:
        """What the discriminator's loss gets on top for this layer: a Tensor of one element, or nothing."""
        return None

    def after_update(self, layer: Normalized) -> None:
        """Called after each optimizer step."""


@dataclass(frozen=True)
class Normalization:
    """What a name of --norm means for a discriminator.

    weight: makes the weight normalization of one layer; every layer gets its own (what they share, the closure holds).
    features: "", or the normalization of the features between a convolution and its activation, a name of
        layers.FEATURES: "bn", "ln".
    """

    weight: Callable[[], NoNorm] = NoNorm
    features: str = ""

    def __call__(self) -> NoNorm:
        return self.weight()


def penalties(layers: Iterable[Normalized]) -> Tensor | None:
    """The sum of what the layers' normalizations add to the discriminator's loss; None if that is nothing."""
    found = [term for layer in layers if (term := layer.norm.penalty(layer)) is not None]
    return functools.reduce(ops.add, found) if found else None


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
        self.prepared: Scaled | None = None  # by `prepare`, for the next forward

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        W = layer.params["W"]
        layer.state["u"] = rng.standard_normal(W.shape[0]).astype(W.dtype)

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor | Scaled:
        if self.prepared is not None:
            prepared, self.prepared = self.prepared, None
            return prepared
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


class SpectralNormalizeAll(Op):
    """Every layer's W -> itself, to be used as conv.Scaled with 1 / sigma: SpectralNormalize with nothing multiplied.

    Its results' gradients are those of W / sigma, as Scaled has them. us, vs, sigmas: constants, as power_iterations
    gave them for the Ws as matrices (out, everything else).
    """

    def __init__(self, us: list[Array], vs: list[Array], sigmas: Array):
        self.us, self.vs, self.sigmas = us, vs, sigmas

    def forward(self, *Ws: Array) -> list[Array]:
        self.saves = tuple(range(len(Ws)))
        return list(Ws)

    def backward(self, gys: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        def one(i: int) -> Tensor:
            matrix = ops.reshape(self.saved[i], self.us[i].shape + self.vs[i].shape)
            normalized = SpectralNormalize(self.us[i], self.vs[i], self.sigmas[i])
            normalized(matrix)
            gW, = normalized.backward(ops.reshape(gys[i], matrix.shape))
            return ops.reshape(gW, self.saved[i].shape)
        return tuple(one(i) if need and gys[i] is not None else None for i, need in enumerate(self.needs))

    def fused_backward(self, gys: list[Array | None]) -> list[Array | None]:
        Ws = [self.saved[i].data for i in self.saves]
        xp = array_module(*Ws)
        gys = [xp.zeros_like(W) if g is None else xp.ascontiguousarray(g) for g, W in zip(gys, Ws, strict=True)]
        gWs = spectral_gradients([_matrix(g) for g in gys], [_matrix(W) for W in Ws], self.us, self.vs, self.sigmas)
        return [gW.reshape(W.shape) for gW, W in zip(gWs, Ws, strict=True)]


def prepare(layers: Iterable[Normalized], train: bool) -> None:
    """Normalize all layers that are about to be used, at once: on a GPU the launches do not grow with their number.

    A network calls this at the beginning of its forward. The layers find their share in SpectralNorm.prepared; without
    it, as on a CPU, each does its own part when its turn comes, with the same result.
    """
    mine = [layer for layer in layers if isinstance(layer.norm, SpectralNorm)]
    if not mine or not all(has_kernels(layer.params["W"].data) for layer in mine):
        return
    norm, Ws = mine[0].norm, [layer.params["W"] for layer in mine]
    us, vs, sigmas, inverses = power_iterations([_matrix(W.data) for W in Ws], [layer.state["u"] for layer in mine],
                                                norm.n_iter, norm.eps)
    W_bars: list[Array] = []

    def product(i: int) -> Array:  # asked for only where a graph of the gradient is wanted: then by every layer
        if not W_bars:
            W_bars.extend(scale_weights([W.data for W in Ws], inverses))
        return W_bars[i]

    for i, (layer, W) in enumerate(zip(mine, SpectralNormalizeAll(us, vs, sigmas)(*Ws), strict=True)):
        layer.norm.prepared = Scaled(W, inverses[i:i + 1], functools.partial(product, i))
        if train:
            layer.state["u"] = us[i]


def _matrix(W: Array) -> Array:
    return W.reshape(len(W), -1)


# name -> what it means for a discriminator, made for an experiment
NORMS: dict[str, Callable[[Experiment], Normalization]] = {
    "none": lambda e: Normalization(),
    "sn": lambda e: Normalization(lambda: SpectralNorm(e.power_iterations)),
}


def spectral_norm(W: Array) -> float:
    """The exact largest singular value of W as a matrix (out, everything else), by the eigenvalues of its Gram matrix.

    W: any array with at least two axes. In float64, where the squaring costs no digits that a reader would see.
    """
    matrix = to_host(W).reshape(len(W), -1).astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0)))
