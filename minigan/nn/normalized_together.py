"""All layers of a network divided by singular values at once: on a GPU the launches do not grow with their number.

The normalizations are spectral_norms.SpectralNorm and BidirectionalNorm, and weight_norms.Gain of one of them with one
gamma a layer, or for all; with the gradient through the power iteration if that is one. There they stand one layer at a
time, and here is nothing that they do not say.
operator_norms.py has the same for OperatorNorm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from minigan.engine import ops
from minigan.engine.autograd import Op, Same, Tensor, grad
from minigan.engine.cuda import kernels_take
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.power_iteration import power_iterations, through_iterations
from minigan.engine.loops.spectral_norm import Pair, direction, factors, spectral_gradients, transposes
from minigan.engine.scaled import Scaled, scaled_all
from minigan.nn.operator_norms import operators_together
from minigan.nn.spectral_norms import BidirectionalNorm, SpectralNorm, guards, inverse
from minigan.nn.weight_norms import Gain, Normalized, to_matrix


def normalize_together(layers: Iterable[Normalized], train: bool) -> dict[Normalized, Scaled]:
    """The weights of all layers that are about to be used, normalized at once.

    A network calls this at the beginning of its forward and passes the result on (layers.Pass). Layers that are not in
    it, as on a CPU or with any other normalization, do their own part when their turn comes, with the same result.
    """
    layers = list(layers)
    return matrices_together(layers, train) | operators_together(layers, train)


def matrices_together(layers: list[Normalized], train: bool) -> dict[Normalized, Scaled]:
    """Of those that are divided by a matrix' largest singular value, or by two."""
    found = [(layer, norm) for layer in layers if (norm := _norm(layer)) is not None]
    mine, norms = [layer for layer, _ in found], [norm for _, norm in found]
    kinds = {(norm.n_iter, norm.eps, norm.through, norm.schedule) for norm in norms}
    gammas = [layer.norm.parameter(layer) if type(layer.norm) is Gain else None for layer in mine]
    if len(kinds) != 1 or not kernels_take(*(layer.params["W"].data for layer in mine),
                                           *(gamma.data for gamma in gammas if gamma is not None)):
        return {}
    (n_iter, eps, through, schedule), = kinds
    if through and n_iter > 1:
        return {}

    Ws = [layer.params["W"] for layer in mine]
    matrices = [to_matrix(W.data) for W in Ws]
    both = [i for i, (norm, W) in enumerate(zip(norms, Ws, strict=True))
            if type(norm) is BidirectionalNorm and W.ndim > 2]
    others = transposes([W.data.reshape(-1, W.shape[-1]) for W in (Ws[i] for i in both)]) if both else []
    matrices += [W.reshape(len(W), -1) for W in others]
    before = [layer.state["u"] for layer in mine] + [mine[i].state["u_in"] for i in both]
    keep = train and schedule == "forward"
    us, vs, sigmas, inverses = power_iterations(matrices, before, n_iter, eps, keep=keep and not through)
    pairs, more = list(zip(us, vs, strict=True)), []
    if through:
        more = list(zip(*through_iterations(matrices, before, us, vs, sigmas, keep), strict=True))

    place = {i: len(mine) + k for k, i in enumerate(both)}  # of a layer's second matrix
    parts = [Part(pairs[i], pairs[place[i]] if i in place else None, norm.scale, norm if through else None,
                  more[i] if through else None, more[place[i]] if through and i in place else None)
             for i, norm in enumerate(norms)]
    distinct = list(dict.fromkeys(gamma for gamma in gammas if gamma is not None))
    if both or distinct or any(part.scale != 1 for part in parts):
        sigmas, inverses = factors(sigmas, [place.get(i, 0) for i in range(len(mine))], [part.scale for part in parts],
                                   [gamma if gamma is None else gamma.data for gamma in gammas])
    gamma_of = [None if gamma is None else distinct.index(gamma) for gamma in gammas]
    together = SpectralNormalizeAll(parts, sigmas, inverses, gamma_of)(*Ws, *distinct)
    return dict(zip(mine, scaled_all(together, inverses, [None] * len(mine)), strict=True))


def _norm(layer: Normalized) -> SpectralNorm | None:
    """What finds the layer's singular values; None if it is not for this file."""
    norm: Any = layer.norm.norm if type(layer.norm) is Gain and not layer.norm.rows else layer.norm
    return norm if type(norm) in (SpectralNorm, BidirectionalNorm) and layer.out_axis == 0 else None


class Part(NamedTuple):
    """What one layer's sigma(W) is made of, and held constant: pairs for spectral_norm.direction; and its norm's scale.

    norm: where the gradient goes through the power iteration the normalization, which knows sigma as a function of W;
    otherwise None, and sigma is <W, S>.
    """

    pair: Pair
    in_pair: Pair | None = None
    scale: float = 1.0
    norm: SpectralNorm | None = None
    through: Pair | None = None
    in_through: Pair | None = None

    def sigma(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """sigma (), and its gradient in W's shape, both as functions of W."""
        if self.norm is None or self.through is None:
            S = Tensor(direction(W.shape, self.pair, self.in_pair))
            return ops.sum(W * S), S
        W = Same()(W if W.requires_grad else Tensor(W.data, requires_grad=True))
        _, sigma = self.norm.sigma(W, 0, {"u": self.through[0]} | (
            {} if self.in_through is None else {"u_in": self.in_through[0]}))
        return sigma, grad(sigma, W, create_graph=True)


class SpectralNormalizeAll(Op):
    """Every layer's W -> itself, to be used as Scaled with gamma * scale / sigma: normalized with nothing multiplied.

    Its results' gradients are those of the normalized weights, as Scaled has them.

    Inputs: all Ws, then the gammas (1,).  parts: of each layer.  sigmas (layers,).
    inverses: gamma * scale / sigma (layers,), None if that is 1 / sigma.
    gamma_of: for each layer which of the gammas is its own, None: none is.
    """

    def __init__(self, parts: list[Part], sigmas: Array, inverses: Array | None = None,
                 gamma_of: list[int | None] | None = None):
        self.parts, self.sigmas, self.inverses = parts, sigmas, inverses
        self.gamma_of = [None] * len(parts) if gamma_of is None else gamma_of

    def forward(self, *arrays: Array) -> list[Array]:
        self.saves = tuple(range(len(arrays)))
        return list(arrays[:len(self.parts)])

    def backward(self, gys: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        count = len(self.parts)
        zeros, ones = guards(self.sigmas)
        found: list[Tensor | None] = [None] * len(self.saves)
        for i, (part, gy, k) in enumerate(zip(self.parts, gys, self.gamma_of, strict=True)):
            if gy is None or not (self.needs[i] or k is not None and self.needs[count + k]):
                continue
            W = self.saved[i]
            sigma, S = part.sigma(W)
            one = inverse(sigma, zeros[i], ones[i])
            slant = ops.sum(gy * W) * one
            factor = one * part.scale if k is None else one * part.scale * self.saved[count + k]
            if self.needs[i]:
                found[i] = (gy - slant * S) * factor
            if k is not None and self.needs[count + k]:
                dgamma, before = ops.reshape(slant * part.scale, (1,)), found[count + k]
                found[count + k] = dgamma if before is None else before + dgamma
        return tuple(found)

    def fused_backward(self, gys: list[Array | None]) -> list[Array | None]:
        Ws = [self.saved[i].data for i in range(len(self.parts))]
        xp = array_module(*Ws)
        gys = [xp.zeros_like(W) if g is None else xp.ascontiguousarray(g) for g, W in zip(gys, Ws, strict=True)]
        dWs, dgammas = spectral_gradients(
            [to_matrix(g) for g in gys], [to_matrix(W) for W in Ws], [part.pair for part in self.parts],
            [part.in_pair for part in self.parts], self.sigmas, self.inverses,
            [part.scale for part in self.parts] if len(self.saves) > len(Ws) else None,
            [part.through for part in self.parts if part.through is not None],
            [part.in_through for part in self.parts if part.through is not None])
        return [*(dW.reshape(W.shape) for dW, W in zip(dWs, Ws, strict=True)),
                *(self._of_gamma(k, dgammas) for k in range(len(self.saves) - len(Ws)))]

    def _of_gamma(self, k: int, dgammas: Array) -> Array:
        """The gradient of a gamma, the sum over its layers."""
        its = [i for i, other in enumerate(self.gamma_of) if other == k]
        if len(its) == len(self.parts) > 1:
            return dgammas.sum(keepdims=True)
        add: Callable[[Array, Array], Array] = array_module(dgammas).add
        return functools.reduce(add, [dgammas[i:i + 1] for i in its])
