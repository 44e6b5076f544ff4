"""sn-conv of all layers at once: the convolutions of a power iteration one by one, all the rest in a few launches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from minigan.engine import ops
from minigan.engine.autograd import Op, Tensor, grad
from minigan.engine.cuda import kernels_take
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.operator_norm import operator_gradients, operator_norms
from minigan.engine.loops.spectral_norm import scale_weights
from minigan.engine.scaled import Scaled, scaled_all
from minigan.nn.spectral_norms import OperatorNorm, guards, inverse
from minigan.nn.weight_norms import Normalized


def operators_together(layers: Sequence[Normalized], train: bool) -> dict[Normalized, Scaled]:
    """The weights scale * W / sigma of the layers with OperatorNorm that have begun their v; {} if any is not for here.

    As OperatorNorm.weight gives them for an input of the size of v, but for rounding; nothing is normalized between the
    convolution and its adjoint.
    """
    mine = [layer for layer in layers if type(layer.norm) is OperatorNorm and layer.state["v"].size]
    kinds = {(norm.n_iter, norm.eps, norm.scale, norm.through, norm.schedule) for norm in (it.norm for it in mine)}
    Ws, vs = [layer.params["W"] for layer in mine], [layer.state["v"] for layer in mine]
    if len(kinds) != 1 or not kernels_take(*(W.data for W in Ws), *vs):
        return {}
    (n_iter, eps, scale, through, schedule), = kinds
    if through:
        return {}
    images, variables = vs, [Tensor(W.data, requires_grad=True) for W in Ws]
    for i in range(n_iter):
        raws = [layer.operator(W.detach(), Tensor(v)) for layer, W, v in zip(mine, variables, images, strict=True)]
        backs = [layer.adjoint(W, raw, v.shape)  # recorded: its weight gradient is asked for in backward
                 for layer, W, raw, v in zip(mine, variables, raws, vs, strict=True)]
        images = [back.data for back in backs]
        squares, inverses, factors = operator_norms([raw.data for raw in raws], images, eps, scale)
        if i < n_iter - 1:
            scale_weights(images, factors, images)
    if train and schedule == "forward":
        scale_weights(images, factors, vs)
    slopes = [functools.partial(_slope, W, back) for W, back in zip(variables, backs, strict=True)]
    together = OperatorNormalizeAll(slopes, squares, inverses)(*Ws)
    return dict(zip(mine, scaled_all(together, inverses, [v.shape for v in vs]), strict=True))


class OperatorNormalizeAll(Op):
    """Every layer's W -> itself, to be used as Scaled with scale / sigma.

    Its results' gradients are those of scale * W / sigma, as Scaled has them. slopes: of each layer, what gives the
    array that operator_gradients calls slope; squares, inverses: as operator_norms gave them. All are constants.
    """

    def __init__(self, slopes: Sequence[Callable[[], Array]], squares: Array, inverses: Array):
        self.slopes, self.squares, self.inverses = slopes, squares, inverses

    def forward(self, *Ws: Array) -> list[Array]:
        self.saves = tuple(range(len(Ws)))
        return list(Ws)

    def backward(self, gys: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        (zeros, ones), factors = guards(self.squares), self.inverses * self.squares

        def gradient(i: int, gy: Tensor) -> Tensor:  # operator_gradients, the square being the function <W, slope> of W
            W, slope = self.saved[i], Tensor(self.slopes[i]())
            one = inverse(ops.sum(W * slope), zeros[i], ones[i])
            return (gy - ops.sum(gy * W) * one * slope) * (one * Tensor(factors[i]))
        return tuple(gradient(i, gy) if need and gy is not None else None
                     for i, (need, gy) in enumerate(zip(self.needs, gys, strict=True)))

    def fused_backward(self, gys: list[Array | None]) -> list[Array | None]:
        Ws = [self.saved[i].data for i in self.saves]
        xp = array_module(*Ws)
        gys = [xp.zeros_like(W) if g is None else xp.ascontiguousarray(g) for g, W in zip(gys, Ws, strict=True)]
        return list(operator_gradients(gys, Ws, [slope() for slope in self.slopes], self.squares, self.inverses))


def _slope(W: Tensor, back: Tensor) -> Array:
    """The weight gradient of <back, A^T raw>, back = A^T raw being held constant where it is multiplied with."""
    return array_module(back.data).ascontiguousarray(grad(back, W, gy=back.detach()).data)
