"""A network that is watched while it is used: the weights that its layers use, and how many activations are negative.

`watch` changes the network for good: give it a copy. The copy then computes the same, with weights that stay as they
were in its first forward, and each of its layers can be asked what it saw.
"""

from __future__ import annotations

from typing import Any

from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array, to_host
from minigan.nn.layers import Layer, Pass
from minigan.nn.weight_norms import NoNorm, Normalized


def watch(network: Layer) -> dict[str, Watched]:
    """Replace every layer that has none below it by a Watched; returns path -> that, in the order of the network."""
    found = {}
    for path, parent in list(network.walk()):
        for name, layer in parent.layers.items():
            if not layer.layers:
                found[f"{path}/{name}".lstrip("/")] = parent.layers[name] = Watched(layer)
    order = [path for path, _ in network.walk()]
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


class Held(NoNorm):
    """Stands for a layer's normalization: the weights of the first forward, and the same for every further one.

    W_bar: those weights, None before the first forward.  x_shape: of that forward's input.
    """

    def __init__(self, norm: NoNorm):
        self.norm = norm
        self.W_bar: Tensor | None = None
        self.x_shape: tuple[int, ...] = ()

    def weight(self, layer: Normalized, x_shape: tuple[int, ...], train: bool) -> Tensor:
        if self.W_bar is None:
            self.W_bar = self.norm.weight(layer, x_shape, False)  # as in training; what it remembers is not moved
            self.x_shape = x_shape
        return self.W_bar

    def penalty(self, layer: Normalized) -> Tensor | None:
        return self.norm.penalty(layer)


class Watched(Layer):
    """Stands for a layer in its network: holds its weights, and counts its activations while `open`.

    Normalizations of weights are attributes of their layers, so the layer itself is given the Held one: `layer.norm`.
    """

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer, self.open = layer, True
        self.held = layer.norm = Held(layer.norm)
        self.slope = getattr(layer, "slope", 1.0)
        self.negative: list[float] = []  # of each forward
        self.alive: Array | None = None  # channels that were positive somewhere

    def forward(self, x: Any, how: Pass) -> Tensor:
        y = self.layer.forward(x, how)
        if self.open and self.slope != 1:
            positive = (y.data > 0).reshape(-1, y.shape[-1])
            self.negative.append(1 - float(positive.mean()))
            alive = to_host(positive.any(0))
            self.alive = alive if self.alive is None else self.alive | alive
        return y

    def walk(self, prefix: str = "") -> Any:
        yield prefix, self.layer
