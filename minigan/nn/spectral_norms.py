"""Spectral normalization and its kin: W / sigma, sigma found by power iteration from forward to forward."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import FusedOp, Tensor
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.power_iteration import inverse_of, is_zero, power_iteration
from minigan.engine.loops.spectral_norm import spectral_gradient
from minigan.engine.shape_ops import describe
from minigan.nn.weight_norms import NoNorm, Normalized, to_matrix

SCHEDULES = ("forward", "update")  # of u


def spectral_norm(W: Tensor, u: Array, train: bool = True, n_iter: int = 1, eps: float = 1e-12) -> Tensor:
    """W / sigma(W) for a network that is a function of its own parameters; sigma by power iteration from u.

    Miyato et al. 2018, Eq. (8), by Algorithm 1; the gradient is Eq. (12), with u and v constants, and can be
    differentiated again. Layers have the same by name: Conv2d(..., norm=SpectralNorm()).

    W: (out, ...), float32 or float64, taken as the matrix (out, everything else); the norm of x @ W is the same.
    u: array (out,) of W's dtype, N(0, 1) at first. A training forward writes the next u into it; train=False does not.
    n_iter, eps: power iterations, and what is added to the norms, as of SpectralNorm.
    Returns W's shape and dtype. ValueError or TypeError says which argument does not fit.

    >>> import numpy as np, minigan
    >>> W = minigan.Tensor([[3.0, 0.0], [0.0, 4.0]], requires_grad=True)
    >>> u = np.ones(2, np.float32)
    >>> for _ in range(20):
    ...     W_bar = minigan.spectral_norm(W, u)
    >>> W_bar.data.round(3).tolist()
    [[0.75, 0.0], [0.0, 1.0]]
    """
    if not isinstance(W, Tensor) or W.ndim < 2 or W.size == 0:
        given = describe(W) if isinstance(W, Tensor) else type(W).__name__
        raise TypeError(f"spectral_norm: expected a Tensor W (out, ...) of two axes or more, got {given}")
    if isinstance(u, Tensor) or not hasattr(u, "dtype"):
        raise TypeError(f"spectral_norm: expected an array u ({W.shape[0]},), got {type(u).__name__}: u is remembered, "
                        "not trained")
    if u.shape != W.shape[:1] or u.dtype != W.dtype:
        raise ValueError(f"spectral_norm: expected u ({W.shape[0]},) {W.dtype} for W {W.shape}, "
                         f"got {u.shape} {u.dtype}")
    if n_iter < 1:
        raise ValueError(f"spectral_norm: expected at least 1 power iteration, got {n_iter}")
    W_bar, new = _normalized(W, u, 0, n_iter, eps)
    if train:
        u[...] = new
    return W_bar


class SpectralNorm(NoNorm):
    """scale * W / sigma(W), sigma the largest singular value of W as a matrix (out, everything else).

    Miyato et al. 2018, Eq. (8), by Algorithm 1: `n_iter` power iterations from the u of last time in every forward.
    u starts as N(0, 1), as in the authors' code. eps is added to the norms, likewise.
    schedule: "forward": a training forward remembers the new u, so that real and fake batches and the generator's step
        each advance it; "update": only `after_update` does, from the updated W, and all forwards between two updates
        use the same weights (the code of Lin et al. 2021). In evaluation u stays.
    through: let the gradient go through the power iteration, as in Lin et al.'s code; otherwise u and v are constants
        and the gradient is Eq. (12), as in Miyato et al.'s. Converged, the two are the same.
    scale: Lin et al. 2021, section 5.2.
    """

    def __init__(self, n_iter: int = 1, eps: float = 1e-12, scale: float = 1.0, schedule: str = "forward",
                 through: bool = False):
        if n_iter < 1:
            raise ValueError(f"spectral normalization: expected at least 1 power iteration, got {n_iter}")
        if schedule not in SCHEDULES:
            raise ValueError(f"spectral normalization: u moves every {' or '.join(SCHEDULES)}, got '{schedule}'")
        self.n_iter, self.eps, self.scale, self.schedule, self.through = n_iter, eps, scale, schedule, through

    def matrices(self, W: Tensor, out_axis: int) -> dict[str, Tensor]:
        """Name of u -> the matrix whose leading left vector it is; sigma is the mean of their singular values."""
        return {"u": to_matrix(W, out_axis)}

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        for name, matrix in self.matrices(layer.params["W"], layer.out_axis).items():
            layer.state[name] = rng.standard_normal(len(matrix)).astype(matrix.dtype)

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        W = layer.params["W"]
        us: dict[str, Array] = {}
        if self.through or len(self.matrices(W, layer.out_axis)) > 1:
            us, sigma = self.sigma(W, layer.out_axis, layer.state)
            W_bar = _divided(W, sigma * (1 / self.scale))
        else:
            W_bar, us["u"] = _normalized(W, layer.state["u"], layer.out_axis, self.n_iter, self.eps, self.scale)
        if train and self.schedule == "forward":
            for name, u in us.items():
                layer.state[name][...] = u
        return W_bar

    def after_update(self, layer: Normalized) -> None:
        if self.schedule == "update":
            for name, matrix in self.matrices(layer.params["W"].detach(), layer.out_axis).items():
                u = layer.state[name]
                u[...] = power_iteration(_compact(matrix.data), u, self.n_iter, self.eps)[0]

    def sigma(self, W: Tensor, out_axis: int, us: Mapping[str, Array]) -> tuple[dict[str, Array], Tensor]:
        """The next us, and sigma () as a function of W; us: of each matrix."""
        found = {name: self._singular_value(matrix, us[name]) for name, matrix in self.matrices(W, out_axis).items()}
        mean = functools.reduce(ops.add, [sigma for _, sigma in found.values()]) * (1 / len(found))
        return {name: u for name, (u, _) in found.items()}, mean

    def _singular_value(self, matrix: Tensor, u: Array) -> tuple[Array, Tensor]:
        """The next u, and sigma () as a function of the matrix."""
        if not self.through:
            u, v, _ = power_iteration(_compact(matrix.data), u, self.n_iter, self.eps)
            return u, ops.sum(Tensor(u.reshape(1, -1)) @ matrix @ Tensor(v.reshape(-1, 1)))
        left = Tensor(u.copy())  # the graph keeps it, and u is written over in place
        for _ in range(self.n_iter):
            Wv = matrix @ _unit(left @ matrix, self.eps)
            left = _unit(Wv, self.eps)
        return left.data, ops.sum(left * Wv)


class BidirectionalNorm(SpectralNorm):
    """scale * W / sigma, sigma the mean of the largest singular values of two matrices made of a convolution's W.

    Lin et al. 2021, section 5.1: (out, kh kw in) and (in, out kh kw), each with a u of its own. A dense layer has only
    the first: there it is SpectralNorm.
    """

    def matrices(self, W: Tensor, out_axis: int) -> dict[str, Tensor]:
        found = super().matrices(W, out_axis)
        return found | {"u_in": to_matrix(W, W.ndim - 1 - out_axis)} if W.ndim > 2 else found


class OperatorNorm(SpectralNorm):
    """scale * W / sigma, sigma the largest singular value of the whole convolution, with its stride and zero padding.

    SN_conv of Lin et al. 2021, section 4 (Farnia et al. 2018): power iteration with the convolution and its adjoint,
    from the right singular vector v of last time, an image of the size of the layer's input. What is normalized is the
    convolution alone: of a layer that upsamples before it (on the larger image) or takes means after it, as of one
    that does not; mean pooling has the norm 1/2, nearest upsampling 2. A dense layer's is SpectralNorm's.

    state["v"] has no elements until the first input has come in training, and begins anew, N(0, 1), for an input of
    another size. Without any input yet, `weight` for x_shape () gives W as it is: there is no size to take a norm for.
    """

    def attach(self, layer: Normalized, rng: np.random.Generator) -> None:
        layer.state["v"] = np.zeros(0, layer.params["W"].dtype)
        self.seed = int(rng.integers(1 << 32))  # of v; a resumed run's is the same

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        W, v = layer.params["W"], layer.state["v"]
        if not x_shape and not v.size:
            return W
        shape = layer.operand_shape(x_shape) if x_shape else v.shape
        if v.shape != shape:
            v = np.random.default_rng(self.seed).standard_normal(shape).astype(W.dtype)
            v = array_module(W.data).asarray(v)
            if train:
                layer.state["v"] = v
        v, sigma = self._singular_value_of(layer, W, v)
        if train and self.schedule == "forward":
            layer.state["v"][...] = v
        return _divided(W, sigma * (1 / self.scale))

    def after_update(self, layer: Normalized) -> None:
        if self.schedule == "update" and layer.state["v"].size:
            v, _ = self._singular_value_of(layer, layer.params["W"].detach(), layer.state["v"])
            layer.state["v"][...] = v

    def _singular_value_of(self, layer: Normalized, W: Tensor, v: Array) -> tuple[Array, Tensor]:
        """The next v, and sigma () as a function of W."""
        right = Tensor(v.copy() if self.through else v)  # v is written over in place, and a graph may keep it
        for _ in range(self.n_iter):
            left = _unit(layer.operator(W if self.through else W.detach(), right), self.eps)
            back = layer.adjoint(W, left, v.shape)
            right = _unit(back if self.through else back.detach(), self.eps)
        return right.data, ops.sum(right * back)


# ---- operations ----------------------------------------------------------------------------------------------------

class SpectralNormalize(FusedOp):
    """W / (u^T W v) for constant u and v: (out, in) -> (out, in). A zero W gives 0, and so does its gradient."""

    def __init__(self, u: Array, v: Array, sigma: Array):
        self.u, self.v, self.sigma = u, v, sigma

    def forward(self, W: Array) -> Array:
        return W * inverse_of(self.sigma)

    def composed(self, W: Tensor) -> Tensor:
        u, v = Tensor(self.u.reshape(1, -1)), Tensor(self.v.reshape(-1, 1))
        sigma = u @ W @ v
        return W * inverse(sigma, *guards(sigma.data))

    def fused_backward(self, gy: Array) -> tuple[Array]:
        return (spectral_gradient(gy, self.saved[0].data, self.u, self.v, self.sigma),)


# ---- inside --------------------------------------------------------------------------------------------------------

def _normalized(W: Tensor, u: Array, out_axis: int, n_iter: int, eps: float, scale: float = 1) -> tuple[Tensor, Array]:
    """scale * W / sigma as a function of W, u and v being constants; and the next u."""
    matrix = to_matrix(W, out_axis)
    u, v, sigma = power_iteration(_compact(matrix.data), u, n_iter, eps)
    return _from_matrix(SpectralNormalize(*_scaled(u, v, sigma, scale))(matrix), W, out_axis), u


def _unit(x: Tensor, eps: float) -> Tensor:
    """x / (|x| + eps); 0 for 0, with derivatives of every order."""
    square = ops.sum(x * x)
    zero, _ = guards(square.data)
    return x / (ops.sqrt(square + Tensor(zero)) + eps)


def _divided(W: Tensor, sigma: Tensor) -> Tensor:
    """W / sigma; a zero W has sigma 0 and gives 0, and so are all its derivatives."""
    return W * inverse(sigma, *guards(sigma.data))


def _scaled(u: Array, v: Array, sigma: Array, scale: float) -> tuple[Array, Array, Array]:
    """u, v and sigma for SpectralNormalize to give scale * W / sigma: (u / scale)^T W v = sigma / scale."""
    return (u, v, sigma) if scale == 1 else (u * (1 / scale), v, sigma * (1 / scale))


def guards(sigma: Array) -> tuple[Array, Array]:
    """(zeros, ones) for `inverse`: 1 and 0 where sigma counts as 0, else 0 and 1."""
    zero = is_zero(sigma)
    return zero.astype(sigma.dtype), (~zero).astype(sigma.dtype)


def inverse(sigma: Tensor, zero: Array, one: Array) -> Tensor:
    """inverse_of in operations: all its derivatives at 0 are 0, too."""
    return Tensor(one) / (sigma + Tensor(zero))


def _compact(matrix: Array) -> Array:
    return array_module(matrix).ascontiguousarray(matrix)


def _from_matrix(matrix: Tensor, W: Tensor, out_axis: int) -> Tensor:
    """The matrix (out, everything else) in W's shape again."""
    inner = [i for i in range(W.ndim) if i != out_axis]
    found = ops.reshape(matrix, (W.shape[out_axis], *(W.shape[i] for i in inner)))
    return found if out_axis == 0 else ops.transpose(found, tuple(np.argsort([out_axis, *inner])))
