"""Normalizations of features as layers: batch and layer normalization, with the leaky ReLU that follows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import FusedOp, Tensor
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.batch_norm import batch_statistics, move_moments, normalize, normalize_gradient
from minigan.engine.loops.conditional_norm import conditional_gradient, normalize_by_label
from minigan.nn.layers import Layer, Pass
from minigan.nn.over_processes import normalized
from minigan.parallel.mpi import ALONE, Group


class BatchNorm(Layer):
    """Batch normalization over all axes but the last, then leaky ReLU (slope 1: none) (Ioffe and Szegedy 2015).

    In training with the batch's own mean and variance; the running ones move towards them by 1 - decay (the variance
    the unbiased one) and are used in evaluation.
    eps and decay are Chainer's, which the authors used. There the running variance starts at 0; here at 1, so that a
    network that was never trained can be evaluated.
    gain: whether the multiplier gamma is learned; without, it is 1 (discriminators of Miyato et al. 2018, section 4.1).
    group: the processes whose rows make up the batch (--sync-bn), which no checkpoint holds.
    It has no Lipschitz factor: how far it stretches is up to the batch.
    """

    group = ALONE

    def __init__(self, channels: int, slope: float = 1.0, eps: float = 2e-5, decay: float = 0.9, gain: bool = True):
        super().__init__()
        self.slope, self.eps, self.decay = slope, eps, decay
        if gain:
            self.params["gamma"] = Tensor(np.ones(channels, np.float32), requires_grad=True)
        self.params["beta"] = Tensor(np.zeros(channels, np.float32), requires_grad=True)
        self.state["mean"] = np.zeros(channels, np.float32)
        self.state["variance"] = np.ones(channels, np.float32)

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        beta = self.params["beta"]
        gamma = self.params["gamma"] if "gamma" in self.params else Tensor(array_module(beta.data).ones_like(beta.data))
        if x.shape[-1:] != beta.shape:  # else one channel would be broadcast to any number
            raise ValueError(f"BatchNorm: expected {beta.size} channels in the last axis, got x {x.shape}")
        if not how.train:
            scale = gamma / Tensor(array_module(x.data).sqrt(self.state["variance"] + self.eps))
            y = x * scale + (beta - Tensor(self.state["mean"]) * scale)
            return y if self.slope == 1 else ops.leaky_relu(y, self.slope)
        if self.group.size > 1:
            y = self.over_processes(x) * gamma + beta
            return y if self.slope == 1 else ops.leaky_relu(y, self.slope)
        return self.normalized(x, gamma, beta, self.slope)

    def over_processes(self, x: Tensor) -> Tensor:
        """x normalized by the moments of all processes' rows; moves the running ones."""
        y, mean, variance = normalized(x, self.eps, self.group)
        move_moments(self.state["mean"], self.state["variance"], mean, variance, self.decay,
                     x.size // x.shape[-1] * self.group.size)
        return y

    def normalized(self, x: Tensor, gamma: Tensor, beta: Tensor, slope: float = 1.0) -> Tensor:
        """leaky(gamma * (x - mean) / sqrt(variance + eps) + beta), by the batch's moments; moves the running ones."""
        return BatchNormalize(self.eps, slope, (self.state["mean"], self.state["variance"]), self.decay)(x, gamma, beta)


class LayerNorm(Layer):
    """Layer normalization, then leaky ReLU (slope 1: none): each sample over all its axes (Ba et al. 2016).

    beta, and gamma if `gain`, for each channel, shared by the pixels, as in Gulrajani et al. 2017's code. No sample
    sees another, and training and evaluation are the same: a gradient penalty goes with it.
    It has no Lipschitz factor: how far it stretches is up to the sample.
    """

    def __init__(self, channels: int, slope: float = 1.0, eps: float = 1e-5, gain: bool = True):
        super().__init__()
        self.slope, self.eps = slope, eps
        if gain:
            self.params["gamma"] = Tensor(np.ones(channels, np.float32), requires_grad=True)
        self.params["beta"] = Tensor(np.zeros(channels, np.float32), requires_grad=True)

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        beta, axes = self.params["beta"], tuple(range(1, x.ndim))
        if x.shape[-1:] != beta.shape:
            raise ValueError(f"LayerNorm: expected {beta.size} channels in the last axis, got x {x.shape}")
        d = x - ops.mean(x, axes, keepdims=True)
        y = d / ops.sqrt(ops.mean(d * d, axes, keepdims=True) + self.eps)
        y = y * self.params["gamma"] + beta if "gamma" in self.params else y + beta
        return y if self.slope == 1 else ops.leaky_relu(y, self.slope)


# norms.Normalization.features -> the layer: FEATURES[name](channels, slope, gain=...)
FEATURES: dict[str, Callable[..., Layer]] = {"bn": BatchNorm, "ln": LayerNorm}


def set_batch_norm(network: Layer, eps: float, decay: float) -> None:
    """Give every batch normalization of a network these constants."""
    for _, layer in network.walk():
        if isinstance(layer, BatchNorm):
            layer.eps, layer.decay = eps, decay


def synchronize(network: Layer, group: Group) -> None:
    """Let every batch normalization of a network take its moments over these processes."""
    for _, layer in network.walk():
        if isinstance(layer, BatchNorm):
            layer.group = group


class BatchNormalize(FusedOp):
    """leaky(gamma * (x - mean) / sqrt(variance + eps) + beta), mean and variance those of x over all axes but the last.

    Inputs x (..., C), gamma (C,), beta (C,).  running: the running mean and variance (C,), moved in forward.
    """

    adds = takes_bf16 = True

    def __init__(self, eps: float, slope: float = 1.0, running: tuple[Array, Array] | None = None, decay: float = 0.0):
        self.eps, self.slope, self.decay = eps, slope, decay
        self.running: tuple[Array | None, Array | None] = running or (None, None)

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        self.mean, self.inverse, scale, shift = batch_statistics(x, gamma, beta, self.eps, *self.running, self.decay)
        y = normalize(x, scale, shift, self.slope)
        self.y = y if self.slope != 1 and any(self.needs) else None
        return y

    def composed(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y = normalized(x, self.eps, ALONE)[0] * gamma + beta
        return y if self.slope == 1 else ops.leaky_relu(y, self.slope)

    def fused_backward(self, gy: Array, before: Array | None = None) -> tuple[Array, Array, Array]:
        return normalize_gradient(gy, self.saved[0].data, self.y, self.saved[1].data, self.mean, self.inverse,
                                  self.slope, before)


class ConditionalNormalize(FusedOp):
    """BatchNormalize with a gain and a shift for every class: gamma, beta (classes, C), x (N, ..., C).

    labels: (N,) int64, each a row of gamma and beta.
    """

    adds = takes_bf16 = True

    def __init__(self, labels: Array, eps: float, slope: float = 1.0, running: tuple[Array, Array] | None = None,
                 decay: float = 0.0):
        self.labels, self.eps, self.slope, self.decay = labels, eps, slope, decay
        self.running: tuple[Array | None, Array | None] = running or (None, None)

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        self.mean, self.inverse, *_ = batch_statistics(x, None, None, self.eps, *self.running, self.decay)
        y = normalize_by_label(x, self.mean, self.inverse, gamma, beta, self.labels, self.slope)
        self.y = y if self.slope != 1 and any(self.needs) else None
        return y

    def composed(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return scaled_by_label(normalized(x, self.eps, ALONE)[0], gamma, beta, self.labels, self.slope)

    def fused_backward(self, gy: Array, before: Array | None = None) -> tuple[Array, Array, Array]:
        return conditional_gradient(gy, self.saved[0].data, self.y, self.saved[1].data, self.mean, self.inverse,
                                    self.labels, self.slope, before)


def scaled_by_label(x: Tensor, gamma: Tensor, beta: Tensor, labels: Array, slope: float = 1.0) -> Tensor:
    """leaky(x * gamma[label] + beta[label]): x (N, ..., C), gamma and beta (classes, C), labels (N,) integers."""
    one_pixel = (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
    gain, shift = (ops.reshape(ops.embedding(W, labels), one_pixel) for W in (gamma, beta))
    y = x * gain + shift
    return y if slope == 1 else ops.leaky_relu(y, slope)
