"""Weights whose scale is left to whoever multiplies with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigan.engine.autograd import Op, Tensor
from minigan.engine.devices import Array
from minigan.engine.loops.spectral_norm import scale_weights


@dataclass(frozen=True)
class Scaled:
    """Weights scale * W that nobody has multiplied yet: a convolution or dense layer does it to its result.

    W: Tensor of the weights before. The gradient that its node receives is that of the scaled weights: whoever makes a
    Scaled knows how scale depends on W (normalized_together.SpectralNormalizeAll), a layer need not.
    scale: an array of one element, on W's device.
    product: makes scale * W's array, if there is a better way than to multiply (all layers at once).
    operand: the shape of the one image for which the scale was found (sn-conv); None: it is right for any.
    """

    W: Tensor
    scale: Array
    product: Callable[[], Array] | None = None
    operand: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.W.shape

    def done(self) -> Tensor:
        """The scaled weights themselves."""
        return LateScale(self)(self.W)

    def then(self, linear: Callable[[Tensor], Tensor]) -> Scaled:
        """The same scale of linear(W), for a map that could as well come after the scaling."""
        return Scaled(linear(self.W), self.scale)


def scaled_all(Ws: Sequence[Tensor], scales: Array, operands: Sequence[tuple[int, ...] | None]) -> list[Scaled]:
    """Scaled of every layer, scales (layers,). Where a graph of the gradient is wanted every layer asks for its
    product, and the first that does has all of them made."""
    products: list[Array] = []

    def product(i: int) -> Array:
        if not products:
            products.extend(scale_weights([W.data for W in Ws], scales))
        return products[i]
    return [Scaled(W, scales[i:i + 1], functools.partial(product, i), operand)
            for i, (W, operand) in enumerate(zip(Ws, operands, strict=True))]


class LateScale(Op):
    """Scaled.W -> the scaled weights; the gradient is passed on as it is, as Scaled says."""

    def __init__(self, scaled: Scaled):
        self.scaled = scaled

    def forward(self, W: Array) -> Array:
        return W * self.scaled.scale if self.scaled.product is None else self.scaled.product()

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy,)
