"""Adversarial losses: what discriminator and generator minimize, from the discriminator's outputs; and penalties.

To add one: a line in LOSSES. `real` and `fake` are the discriminator's outputs (N,), before any activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import FusedOp, Tensor, grad
from minigan.engine.devices import Array, array_module
from minigan.engine.loops import losses
from minigan.engine.loops.sample_norms import sample_norms, sample_norms_gradient


@dataclass(frozen=True)
class Loss:
    """discriminator(real, fake) and generator(fake): scalar Tensors, both to be minimized.

    middle: the discriminator says real above it and fake below; None: its outputs have no such place.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    middle: float | None = 0.0


def mean_of(function: str, x: Tensor, sign: float = 1.0, shift: float = 0.0) -> Tensor:
    """The mean of function(sign * x + shift), one of loops.losses.FUNCTIONS: a scalar Tensor."""
    return MeanOf(function, sign, shift)(x)


class MeanOf(FusedOp):
    """mean_of, in one launch on a GPU, and one for its gradient."""

    def __init__(self, function: str, sign: float, shift: float):
        self.function, self.sign, self.shift = function, sign, shift

    def forward(self, x: Array) -> Array:
        return losses.mean_of(x, self.function, self.sign, self.shift)

    def composed(self, x: Tensor) -> Tensor:
        z = x * self.sign + self.shift
        return ops.mean({"linear": lambda: z, "relu": lambda: ops.relu(z), "softplus": lambda: ops.softplus(z),
                         "square": lambda: z ** 2}[self.function]())

    def fused_backward(self, gy: Array) -> tuple[Array]:
        return (losses.mean_of_gradient(gy, self.saved[0].data, self.function, self.sign, self.shift),)


LOSSES = {
    # Miyato et al. 2018, Eq. (15) with D = sigmoid(f): -log D = softplus(-f), -log(1 - D) = softplus(f)
    "ns": Loss(lambda real, fake: mean_of("softplus", real, -1) + mean_of("softplus", fake),
               lambda fake: mean_of("softplus", fake, -1)),
    # Goodfellow et al. 2014, Eq. (1): the generator minimizes log(1 - D), which is flat where D is sure
    "minimax": Loss(lambda real, fake: mean_of("softplus", real, -1) + mean_of("softplus", fake),
                    lambda fake: -mean_of("softplus", fake)),
    # Mao et al. 2017, Eq. (2), with a = 0, b = c = 1 (their Eq. (9))
    "lsgan": Loss(lambda real, fake: (mean_of("square", real, 1, -1) + mean_of("square", fake)) * 0.5,
                  lambda fake: mean_of("square", fake, 1, -1) * 0.5, middle=0.5),
    # Miyato et al. 2018, Eq. (16) and (17)
    "hinge": Loss(lambda real, fake: mean_of("relu", real, -1, 1) + mean_of("relu", fake, 1, 1),
                  lambda fake: mean_of("linear", fake, -1)),
    # Arjovsky et al. 2017, Eq. (2) and (3); the discriminator must be kept Lipschitz: by --gp, or a --norm
    "wasserstein": Loss(lambda real, fake: mean_of("linear", fake) + mean_of("linear", real, -1),
                        lambda fake: mean_of("linear", fake, -1), middle=None),
}


def is_mean(loss: Loss) -> bool:
    """Whether a batch's losses are the means of those of its parts, of equal size with as many real images as fakes.

    So that parts may be computed one after the other (in_parts.py), or by several processes. Tried on random numbers:
    any loss of single outputs, and of pairs of a real image and a fake, is one; a loss that compares an output with a
    batch's mean is none.
    """
    real, fake = np.random.default_rng(0).normal(0, 3, (2, 12))
    whole = loss.discriminator(Tensor(real), Tensor(fake)).item(), loss.generator(Tensor(fake)).item()
    parts = [(loss.discriminator(Tensor(real[i:i + 4]), Tensor(fake[i:i + 4])).item(),
              loss.generator(Tensor(fake[i:i + 4])).item()) for i in (0, 4, 8)]
    return bool(np.allclose(whole, np.mean(parts, 0), rtol=1e-9, atol=1e-9))  # float64


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], x_real: Tensor, x_fake: Tensor, share: Array,
                     target: float = 1.0) -> Tensor:
    """mean of (|gradient of D at x_hat| - target)^2, x_hat = share * x_real + (1 - share) * x_fake: a scalar Tensor.

    Gulrajani et al. 2017, Eq. (3) without its weight; a norm for each sample, over all pixels and channels.
    x_real, x_fake (N, H, W, C), constants; share (N, 1, 1, 1), uniform in [0, 1].
    """
    return penalty_of(gradient_norms(discriminator, between(x_real, x_fake, share)), target)


def between(x_real: Tensor, x_fake: Tensor, share: Array) -> Tensor:
    """x_hat of `gradient_penalty`, a variable."""
    return Tensor(share * x_real.data + (1 - share) * x_fake.data, requires_grad=True)


def gradient_norms(discriminator: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """|gradient of D at x| of each sample, (N,): a function of D's weights. x (N, H, W, C), a variable."""
    return SampleNorms()(grad(ops.sum(discriminator(x)), x, create_graph=True))


def penalty_of(norms: Tensor, target: float = 1.0) -> Tensor:
    """mean of (norms - target)^2: a scalar Tensor."""
    return ops.mean((norms - target) ** 2)


def classification(logits: Tensor, labels: Array) -> Tensor:
    """Cross-entropy of the auxiliary classifier: mean of -log softmax(logits)[label]; logits (N, classes)."""
    xp = array_module(logits.data)
    chosen = (xp.arange(logits.shape[1])[None] == labels[:, None]).astype(logits.dtype)
    return -ops.sum(ops.log_softmax(logits) * Tensor(chosen)) * (1 / len(labels))


class SampleNorms(FusedOp):
    """The L2 norm of each sample: (N, ...) -> (N,). Where it is 0 the gradient is taken as 0."""

    def forward(self, x: Array) -> Array:
        self.norms = sample_norms(x)
        return self.norms

    def composed(self, x: Tensor) -> Tensor:
        return ops.sqrt(ops.sum(x * x, tuple(range(1, x.ndim))) + 1e-30)  # far below any gradient's norm; not sqrt(0)

    def fused_backward(self, gy: Array) -> tuple[Array]:
        return (sample_norms_gradient(gy, self.saved[0].data, self.norms),)
