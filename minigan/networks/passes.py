"""Several forwards of a discriminator at once on a CPU, each on threads of its own: nn/side_by_side.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array
from minigan.networks.discriminator import Discriminator
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.layers import Layer, Pass
from minigan.nn.losses import gradient_norms
from minigan.nn.side_by_side import side_by_side
from minigan.nn.spectral_norms import OperatorNorm
from minigan.nn.weight_norms import Gain


@dataclass(frozen=True)
class Forward:
    """run(x, how) -> Tensor: a use of the discriminator in training, with the labels that belong to x.

    classify: whether the auxiliary classifier takes part.
    """

    run: Callable[[Tensor, Pass], Tensor]
    x: Tensor
    labels: Array | None = None
    classify: bool = False


def can_share(dis: Discriminator) -> bool:
    """Whether a discriminator's forwards leave each other alone once its weights are normalized, and these can be
    before it sees an image: not with batch normalization, whose running moments move from forward to forward, and not
    before the first images for sn-conv. On a GPU one forward has work for all of it.
    """
    layers = [layer for _, layer in dis.walk()]
    return not any(isinstance(layer, BatchNorm) or _waits(layer) for layer in layers) and all(
        isinstance(p.data, np.ndarray) for layer in layers for p in layer.params.values())


def at_once(dis: Discriminator, forwards: Sequence[Forward]) -> list[Tensor]:
    """The result of each; weights are normalized for one after the other, as if they came one after the other."""
    functions, inputs = [], []
    for forward in forwards:
        layers = [layer for path, layer in dis.walk() if layer.weighted and (forward.classify or path != "classify")]

        def function(x: Tensor, *weights: Tensor, forward: Forward = forward, layers: list[Layer] = layers) -> Tensor:
            return forward.run(x, Pass(True, forward.labels, dict(zip(layers, weights, strict=True))))
        functions.append(function)
        inputs.append([forward.x, *(layer.norm.weight(layer, (), True) for layer in layers)])
    variables = [p for _, layer in dis.walk() for name, p in layer.params.items() if name != "W"]
    # the last first, as `grad` would come to them: gradients are then added in the same order, and have the same bytes
    return side_by_side(functions[::-1], inputs[::-1], variables)[::-1]


def judged(dis: Discriminator, real: tuple[Tensor, Array | None], fake: tuple[Tensor, Array | None],
           x_hat: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """What the discriminator's loss is made of: (numbers of real images, classifier's logits of them, numbers of fakes,
    losses.gradient_norms at x_hat with the labels of the real ones), all (N,) but logits (N, classes); None where
    there is no classifier, and no x_hat. real and fake: images and their labels.
    """
    classify = dis.condition == "ac"

    def number_and_logits(x: Tensor, how: Pass) -> Tensor:
        y, logits = dis.judged(x, how, classify)
        return y if logits is None else ops.concatenate([ops.reshape(y, (-1, 1)), logits], 1)

    def norms(x: Tensor, how: Pass) -> Tensor:
        return gradient_norms(lambda x: dis.forward(x, how), x)
    forwards = [Forward(number_and_logits, *real, classify), Forward(dis.forward, *fake)]
    if x_hat is not None:
        forwards.append(Forward(norms, x_hat, real[1]))
    y, of_fake, *of_hat = at_once(dis, forwards)
    found = of_hat[0] if of_hat else None
    return (y[:, 0], y[:, 1:], of_fake, found) if classify else (y, None, of_fake, found)


def _waits(layer: Layer) -> bool:
    norm = layer.norm.norm if isinstance(layer.norm, Gain) else layer.norm
    return isinstance(norm, OperatorNorm) and not layer.state["v"].size
