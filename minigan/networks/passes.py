"""Several forwards of a discriminator at once on a CPU, or the halves of one, each on threads of its own or in a second
process: nn/side_by_side.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor, no_grad
from minigan.engine.devices import Array
from minigan.networks.discriminator import Discriminator
from minigan.networks.elsewhere import Elsewhere, numbers_and_logits, weights_of
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.layers import Layer, Pass
from minigan.nn.losses import gradient_norms
from minigan.nn.side_by_side import side_by_side
from minigan.nn.spectral_norms import OperatorNorm
from minigan.nn.weight_norms import Gain

# images times weights from which threads pay; below, they would mostly wait for the interpreter's lock
APART = 1 << 22  # whole forwards
HALVES_APART = 1 << 26  # halves of one

HALVES = 1 << 22  # the same from which one is done in halves; below 64 Mi these pay in two processes


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


def at_once(dis: Discriminator, forwards: Sequence[Forward], elsewhere: Elsewhere | None = None) -> list[Tensor]:
    """The result of each; weights are normalized for one after the other, as if they came one after the other.

    elsewhere: who does all but the last of them, and is there.
    """
    size = len(forwards[0].x) * weights_of(dis)
    return _at_once(dis, forwards, lambda layer: layer.norm.weight(layer, (), True), size >= APART, elsewhere)


def _at_once(dis: Discriminator, forwards: Sequence[Forward], weight: Callable[[Layer], Tensor], apart: bool,
             elsewhere: Elsewhere | None) -> list[Tensor]:
    """weight: gives a layer's weights in use, asked once for each forward.  apart: as of side_by_side."""
    functions, inputs, away = [], [], {}
    others = None if elsewhere is None else elsewhere.rounds()
    for i, forward in enumerate(forwards):
        layers = [layer for path, layer in dis.walk() if layer.weighted and (forward.classify or path != "classify")]

        def function(x: Tensor, *weights: Tensor, forward: Forward = forward, layers: list[Layer] = layers) -> Tensor:
            return forward.run(x, Pass(True, forward.labels, dict(zip(layers, weights, strict=True))))
        functions.append(function)
        weights = [weight(layer) for layer in layers]
        inputs.append([forward.x, *weights])
        if others is not None and i < len(forwards) - 1:  # it begins while the next one's weights are normalized
            away[len(forwards) - 1 - i] = others.begin(dis, forward.x, weights, forward.labels, forward.classify)
    variables = [p for _, layer in dis.walk() for name, p in layer.params.items() if name != "W"]
    # the last first, as `grad` would come to them: gradients are then added in the same order, and have the same bytes
    return side_by_side(functions[::-1], inputs[::-1], variables, apart, away)[::-1]


def judged(dis: Discriminator, real: tuple[Tensor, Array | None], fake: tuple[Tensor, Array | None],
           x_hat: Tensor | None, elsewhere: Elsewhere | None = None
           ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """What the discriminator's loss is made of: (numbers of real images, classifier's logits of them, numbers of fakes,
    losses.gradient_norms at x_hat with the labels of the real ones), all (N,) but logits (N, classes); None where
    there is no classifier, and no x_hat. real and fake: images and their labels.  elsewhere: as at_once has it.
    """
    classify = dis.condition == "ac"
    number_and_logits = numbers_and_logits(dis, classify)

    def norms(x: Tensor, how: Pass) -> Tensor:
        return gradient_norms(lambda x: dis.forward(x, how), x)
    forwards = [Forward(number_and_logits, *real, classify), Forward(dis.forward, *fake)]
    if x_hat is not None:
        forwards.append(Forward(norms, x_hat, real[1]))
    y, of_fake, *of_hat = at_once(dis, forwards, elsewhere)
    found = of_hat[0] if of_hat else None
    return (y[:, 0], y[:, 1:], of_fake, found) if classify else (y, None, of_fake, found)


def halves_pay(dis: Discriminator, count: int) -> bool:
    """Whether `count` fakes are judged faster in two halves: it is never asked how many threads there are, since a half
    has other sums than the whole."""
    return count > 1 and count * weights_of(dis) >= HALVES


def judged_in_halves(dis: Discriminator, x: Tensor, labels: Array | None,
                     elsewhere: Elsewhere | None = None) -> tuple[Tensor, Tensor | None]:
    """The numbers (N,) and the classifier's logits (N, classes) or None of the generator's fakes, whose two halves go
    forward and back on a thread or in a process each.

    No image sees another, and nothing that they share has a gradient: the discriminator's weights are constants, as the
    generator's update has them, and are normalized once.  elsewhere: who does the first half, and is there.
    """
    classify = dis.condition == "ac"
    of_half = numbers_and_logits(dis, classify)
    with no_grad():
        weights = {layer: layer.norm.weight(layer, (), True) for path, layer in dis.walk()
                   if layer.weighted and (classify or path != "classify")}
    halves = [Forward(of_half, x[cut], None if labels is None else labels[cut], classify)
              for cut in (slice(0, len(x) // 2), slice(len(x) // 2, len(x)))]
    apart = len(x) * weights_of(dis) >= HALVES_APART
    y = ops.concatenate(_at_once(dis, halves, lambda layer: weights[layer], apart, elsewhere))
    return (y[:, 0], y[:, 1:]) if classify else (y, None)


def _waits(layer: Layer) -> bool:
    norm = layer.norm.norm if isinstance(layer.norm, Gain) else layer.norm
    return isinstance(norm, OperatorNorm) and not layer.state["v"].size
