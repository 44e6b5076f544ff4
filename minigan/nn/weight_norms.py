"""Weight normalizations: how the weights that a layer stores become the weights that it uses.

One small class each. A layer that was given one calls `attach` once and `weight` in every forward; the training loop
adds norms.penalties to the discriminator's loss and calls `after_update` after every optimizer step. What a
normalization must remember lies in `layer.state` (saved with the layer, not trained), what it learns in `layer.params`.
Here are those that need no iteration; spectral_norms.py has the others, networks/norms.py the names.

A convolution's matrix is (out, everything else), as in Miyato et al. 2018.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array, array_module, to_host
from minigan.nn.initializers import draw_orthonormal

TINY = 1e-24  # beside a squared norm: zero weights stay zero, with a gradient, and no other number notices


class Normalized(Protocol):
    """What a normalization sees of its layer."""

    params: dict[str, Tensor]  # "W", and what the normalization learns
    state: dict[str, Array]  # what it remembers
    norm: Any  # the normalization itself
    out_axis: int  # of W: the axis of the layer's outputs

    # The linear map that W stands for, without bias, activation and resampling: what sn-conv takes the norm of.
    def operand_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]: ...
    def operator(self, W: Tensor, x: Tensor) -> Tensor: ...
    def adjoint(self, W: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor: ...


class NoNorm:
    """W as it is."""

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        """Put what the normalization remembers or learns into layer.state and layer.params; W is there already."""

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        """The weights to use for an input of shape x_shape; () if there is none and one only wants to look."""
        return layer.params["W"]

    def matrices(self, W: Tensor, out_axis: int) -> dict[str, Tensor]:
        """The matrices, made of W, by whose largest singular values it divides."""
        raise NotImplementedError(f"{type(self).__name__} divides by no singular value")

    def penalty(self, layer: Normalized) -> Tensor | None:
        """What the discriminator's loss gets on top for this layer: a Tensor of one element, or nothing."""
        return None

    def after_update(self, layer: Normalized) -> None:
        """Called after each optimizer step."""


class WeightNorm(NoNorm):
    """Every row of the matrix divided by its length (Salimans and Kingma 2016; Miyato et al. 2018, Eq. (25)).

    The squared singular values then add up to the number of rows, Eq. (13). Without the multiplier, as in the paper,
    which left it out of all its comparisons; Gain(WeightNorm()) has one for each row.
    """

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        W = layer.params["W"]
        return W / ops.sqrt(ops.sum(W * W, _inner(W, layer.out_axis), keepdims=True) + TINY)


class FrobeniusNorm(NoNorm):
    """W / |W|_F (Miyato et al. 2018, Eq. (26)): the squared singular values add up to 1."""

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        W = layer.params["W"]
        return W / ops.sqrt(ops.sum(W * W) + TINY)


STARTS = ("weights", "one")  # of gamma


class Gain(NoNorm):
    """gamma times another normalization's weights, gamma learned (Miyato et al. 2018, Eq. (32)).

    rows: one gamma for each row of the matrix, as in Salimans and Kingma 2016; or one for the layer, for norms that
        divide by singular values (spectral_norms.py).
    start: "weights", such that the weights in use are at first those that were drawn (gamma is the norm of the drawn W:
        for sn sigma, as in the authors' ResNet code, for wn each row's length, as in Gulrajani et al.'s), or "one" (as
        in the code of Lin et al. 2021). The papers do not say.
    shared: an empty list that all layers of one gamma are given: the first puts its parameter there. gamma is 1 at
        first then, as in Lin et al.'s code, the only one that has it. That code multiplies the bias as well; not here.
    """

    def __init__(self, norm: NoNorm, rows: bool = False, start: str = "weights", shared: list[Tensor] | None = None):
        self.norm, self.rows, self.start, self.shared = norm, rows, start, shared
        self.gamma: Tensor | None = None  # another layer's

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        self.norm.attach(layer, rng)
        if self.shared:
            self.gamma = self.shared[0]
            return
        W = layer.params["W"].data
        matrix = to_matrix(W, layer.out_axis)
        gamma = np.ones(len(matrix) if self.rows else 1)
        if self.start == "weights" and self.shared is None:
            gamma = np.linalg.norm(matrix, axis=1) if self.rows else np.array([np.mean([
                largest_singular_value(m.data)
                for m in self.norm.matrices(layer.params["W"], layer.out_axis).values()])])
        layer.params["gamma"] = Tensor(gamma.astype(W.dtype), requires_grad=True)
        if self.shared is not None:
            self.shared.append(layer.params["gamma"])

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        gamma = self.parameter(layer)
        W_bar = self.norm.weight(layer, x_shape, train)
        if self.rows:
            gamma = ops.reshape(gamma, tuple(-1 if i == layer.out_axis else 1 for i in range(layer.params["W"].ndim)))
        return W_bar * gamma

    def parameter(self, layer: Normalized) -> Tensor:
        """gamma, the layer's own or the shared one."""
        return layer.params["gamma"] if self.gamma is None else self.gamma

    def after_update(self, layer: Normalized) -> None:
        self.norm.after_update(layer)


# the convolutions' weights, as in Miyato et al. 2018; all layers' weights; biases too, as in Arjovsky et al. 2017
CLIPPED = ("conv", "weights", "all")


class Clip(NoNorm):
    """W as it is, every element kept within -bound and bound after each update (Arjovsky et al. 2017)."""

    def __init__(self, bound: float = 0.01, which: str = "conv"):
        self.bound, self.which = bound, which

    def after_update(self, layer: Normalized) -> None:
        for name, p in layer.params.items():
            if self.which == "all" or name == "W" and (self.which == "weights" or p.ndim == 4):
                array_module(p.data).clip(p.data, -self.bound, self.bound, out=p.data)


class Orthonormal(NoNorm):
    """Weights that begin orthonormal and are drawn back there by a penalty (Brock et al. 2016; Miyato et al. 2018).

    The penalty is strength * |W W^T - I|_F^2 for the smaller of W W^T and W^T W: Eq. (14) has W^T W for every W, which
    is more by the constant n - m for a W (m, n) that is wider than high, with the same gradient. Miyato et al. give no
    strength; 1e-4 is that of Brock et al. 2018. Brock et al.'s code of 2016 has 1e-3, for absolute values.
    """

    def __init__(self, strength: float = 1e-4):
        self.strength = strength

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        W = layer.params["W"]
        drawn = draw_orthonormal(rng, *to_matrix(W.data, layer.out_axis).shape)
        moved = np.moveaxis(W.data, layer.out_axis, 0)
        moved[...] = drawn.reshape(moved.shape)  # a view: writes into W

    def penalty(self, layer: Normalized) -> Tensor:
        W = to_matrix(layer.params["W"], layer.out_axis)
        gram = W @ ops.transpose(W) if W.shape[0] <= W.shape[1] else ops.transpose(W) @ W
        d = gram - Tensor(array_module(gram.data).eye(len(gram), dtype=gram.dtype))
        return ops.sum(d * d) * self.strength


# ---- matrices ------------------------------------------------------------------------------------------------------

def to_matrix(W: Any, out_axis: int = 0) -> Any:
    """W, an array or a Tensor, as (out, everything else)."""
    rows = W if out_axis == 0 else W.transpose((out_axis, *_inner(W, out_axis)))
    return rows.reshape((W.shape[out_axis], -1))


def largest_singular_value(W: Array) -> float:
    """The exact largest singular value of W as a matrix (out, everything else), by the eigenvalues of its Gram matrix.

    W: any array with at least two axes. In float64, where the squaring costs no digits that a reader would see.
    """
    matrix = to_host(W).reshape(len(W), -1).astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0)))


def _inner(W: Any, out_axis: int) -> tuple[int, ...]:
    """All axes of W but the outputs'."""
    return tuple(i for i in range(W.ndim) if i != out_axis)
