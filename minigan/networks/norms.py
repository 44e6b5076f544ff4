"""What a name of --norm means: the normalizations of a discriminator, made of numbers and names.

Those of weights are in nn/weight_norms.py and nn/spectral_norms.py, those of features in nn/feature_norms.py. To add
one: a class there, a line in NORMS, and a test of the property that defines it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.nn.layers import Layer
from minigan.nn.spectral_norms import BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.weight_norms import Clip, FrobeniusNorm, Gain, NoNorm, Normalized, Orthonormal, WeightNorm


@dataclass(frozen=True)
class NormOptions:
    """What normalizations can be told beside their name: each takes what it knows, and none knows all.

    power_iterations, u_schedule, u_gradient, scale: SpectralNorm's n_iter, schedule, through, scale.
    gamma_start: Gain's start.  clip, clip_which: Clip's bound and which.  orthonormal: Orthonormal's strength.
    features_gain: whether normalized features get a multiplier, see Normalization.gain.
    """

    power_iterations: int = 1
    scale: float = 1.0
    u_schedule: str = "forward"
    u_gradient: bool = False
    gamma_start: str = "weights"
    clip: float = 0.01
    clip_which: str = "conv"
    orthonormal: float = 1e-4
    features_gain: bool = False


@dataclass(frozen=True)
class Normalization:
    """What a name of --norm means for a discriminator.

    weight: makes the weight normalization of one layer; every layer gets its own (what they share, the closure holds).
    features: "", or the normalization of the features between a convolution and its activation, a name of
        feature_norms.FEATURES: "bn", "ln".
    gain: whether that one learns its multiplier gamma. Miyato et al. 2018 left it out (section 4.1).
    """

    weight: Callable[[], NoNorm] = NoNorm
    features: str = ""
    gain: bool = False


def _spectral(kind: type[SpectralNorm], o: NormOptions, scale: float = 1.0) -> SpectralNorm:
    return kind(o.power_iterations, scale=scale, schedule=o.u_schedule, through=o.u_gradient)


def _shared_gamma(kind: type[SpectralNorm], o: NormOptions) -> Normalization:
    shared: list[Tensor] = []
    return Normalization(lambda: Gain(_spectral(kind, o), shared=shared))


# name -> what it means for a discriminator, made of these options
NORMS: dict[str, Callable[[NormOptions], Normalization]] = {
    "none": lambda o: Normalization(),
    "sn": lambda o: Normalization(lambda: _spectral(SpectralNorm, o)),
    "sn-conv": lambda o: Normalization(lambda: _spectral(OperatorNorm, o, o.scale)),
    "ssn": lambda o: Normalization(lambda: _spectral(SpectralNorm, o, o.scale)),
    "bsn": lambda o: Normalization(lambda: _spectral(BidirectionalNorm, o)),
    "bssn": lambda o: Normalization(lambda: _spectral(BidirectionalNorm, o, o.scale)),
    "sn-gamma": lambda o: Normalization(lambda: Gain(_spectral(SpectralNorm, o), start=o.gamma_start)),
    "sn-gamma-shared": lambda o: _shared_gamma(SpectralNorm, o),
    "bsn-gamma": lambda o: Normalization(lambda: Gain(_spectral(BidirectionalNorm, o), start=o.gamma_start)),
    "bsn-gamma-shared": lambda o: _shared_gamma(BidirectionalNorm, o),
    "wn": lambda o: Normalization(WeightNorm),
    "wn-gain": lambda o: Normalization(lambda: Gain(WeightNorm(), rows=True, start=o.gamma_start)),
    "frobenius": lambda o: Normalization(FrobeniusNorm),
    "clip": lambda o: Normalization(lambda: Clip(o.clip, o.clip_which)),
    "orthonormal": lambda o: Normalization(lambda: Orthonormal(o.orthonormal)),
    "bn": lambda o: Normalization(features="bn", gain=o.features_gain),
    "ln": lambda o: Normalization(features="ln", gain=o.features_gain),
    "sn-bn": lambda o: Normalization(lambda: _spectral(SpectralNorm, o), "bn", o.features_gain),
}

# normalizations of weights that neither add to a loss nor act after an update of the discriminator: a generator's, too
GENERATOR_NORMS = ("none", "sn", "sn-conv", "ssn", "bsn", "bssn", "sn-gamma", "bsn-gamma", "wn", "wn-gain",
                   "frobenius")

SCALED = ("ssn", "bssn", "sn-conv")  # those that know NormOptions.scale


def normalize(layers: Iterable[Layer], norm: Normalization, rng: np.random.Generator) -> None:
    """Give layers that were made without it this normalization of their weights: a generator's, as SAGAN has it.

    Zhang et al. 2019.  rng: draws what a normalization begins with.
    """
    for layer in layers:
        if layer.weighted:
            layer.norm = norm.weight()
            layer.norm.attach(layer, rng)


def spread_scales(layers: Iterable[Normalized], deviation: float, rng: np.random.Generator) -> None:
    """Multiply the scale of each layer's normalization by a random factor of its own, exp(N(0, deviation^2)).

    The product of all factors is 1: the geometric mean of the scales stays. With it Lin et al. 2021 (appendix K) let
    the spectral norms of the layers differ, and with them the gradients (Eq. (2)). They do not say how far.
    """
    norms = [layer.norm for layer in layers if isinstance(layer.norm, SpectralNorm)]
    logs = rng.normal(0, deviation, len(norms))
    for norm, factor in zip(norms, np.exp(logs - logs.mean()).tolist(), strict=True):
        norm.scale *= factor


def penalties(layers: Iterable[Normalized]) -> Tensor | None:
    """The sum of what the layers' normalizations add to the discriminator's loss; None if that is nothing."""
    found = [term for layer in layers if (term := layer.norm.penalty(layer)) is not None]
    return functools.reduce(ops.add, found) if found else None
