"""An update whose batch is computed in parts, one after the other, so that memory holds the graph of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.layers import Layer

Part = TypeVar("Part")


def mean_of_parts(function: Callable[[Part], Sequence[Tensor]], parts: Sequence[Part],
                  networks: Sequence[Layer]) -> Sequence[Tensor]:
    """The mean over the parts of what a function gives of each, such as a loss and its gradients; added in their order.

    It is that of the whole batch, where that is a mean over its images (losses.is_mean), to rounding. function: uses
    the networks in training, and gives Tensors without a graph, as many and of the same shapes each time.

    What layers remember moves once, as by one batch. Every part finds it as it was before the first: so u of spectral
    normalization takes its steps from the same u, and all parts use the same weights. Batch normalization takes each
    part's own moments; its running ones are then at the mean of where each part moved them, which is where the mean of
    the parts' moments moves them to. All else, u too, is where the last part left it.

    One part alone is function(part), to the byte.
    """
    if len(parts) == 1:
        return function(parts[0])
    layers = [layer for network in networks for _, layer in network.walk() if layer.state]
    before = [{name: a.copy() for name, a in layer.state.items()} for layer in layers]
    total = [x.data for x in function(parts[0])]
    moved = [a.copy() for a in _running(layers)]
    for part in parts[1:]:
        _put_back(layers, before)
        for i, x in enumerate(function(part)):
            total[i] = total[i] + x.data  # not in place: two parameters may have been given one array
        for a, b in zip(moved, _running(layers), strict=True):
            a += b
    for a, b in zip(_running(layers), moved, strict=True):
        a[...] = b / b.dtype.type(len(parts))
    return [Tensor(a / a.dtype.type(len(parts))) for a in total]


def _running(layers: Sequence[Layer]) -> list[Array]:
    """Batch normalization's running moments."""
    return [a for layer in layers if isinstance(layer, BatchNorm) for a in layer.state.values()]


def _put_back(layers: Sequence[Layer], before: Sequence[dict[str, Array]]) -> None:
    """What the layers remembered, in place; sn-conv's v has no elements before its first input, and begins anew."""
    for layer, state in zip(layers, before, strict=True):
        for name, a in state.items():
            if layer.state[name].shape == a.shape:
                layer.state[name][...] = a
            else:
                layer.state[name] = a.copy()
