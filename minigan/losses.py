"""Adversarial losses: what discriminator and generator minimize, from the discriminator's outputs.

To add one: a line in LOSSES. `real` and `fake` are the discriminator's outputs (N,), before any activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigan import ops
from minigan.autograd import Tensor


@dataclass(frozen=True)
class Loss:
    """discriminator(real, fake) and generator(fake): scalar Tensors, both to be minimized."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    # Miyato et al. 2018, Eq. (15) with D = sigmoid(f): -log D = softplus(-f), -log(1 - D) = softplus(f)
    "ns": Loss(lambda real, fake: ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake)),
               lambda fake: ops.mean(ops.softplus(-fake))),
    # Eq. (16) and (17)
    "hinge": Loss(lambda real, fake: ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake)),
                  lambda fake: -ops.mean(fake)),
}
