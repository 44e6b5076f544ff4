"""What --norm means: the name of every normalization of a discriminator, made for an experiment.

The weight normalizations are in nn/weight_norms.py and nn/spectral_norms.py; those of features are layers
(feature_norms.FEATURES). To add one: a class there, a line in NORMS, and a test of the property that defines it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse, choose
from minigan.experiment.experiment import Experiment, option_name
from minigan.nn.spectral_norms import SCHEDULES, BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.spectral_norms import prepare as prepare
from minigan.nn.weight_norms import (
    CLIPPED,
    STARTS,
    Clip,
    FrobeniusNorm,
    Gain,
    NoNorm,
    Normalized,
    Orthonormal,
    WeightNorm,
)
from minigan.nn.weight_norms import spectral_norm as spectral_norm


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


def _spectral(kind: type[SpectralNorm], e: Experiment, scale: float = 1.0) -> SpectralNorm:
    return kind(e.power_iterations, scale=scale, schedule=e.u_schedule, through=e.u_gradient)


def _shared_gamma(kind: type[SpectralNorm], e: Experiment) -> Normalization:
    shared: list[Tensor] = []
    return Normalization(lambda: Gain(_spectral(kind, e), shared=shared))


# name -> what it means for a discriminator, made for an experiment: by `normalization`, which checks its options
NORMS: dict[str, Callable[[Experiment], Normalization]] = {
    "none": lambda e: Normalization(),
    "sn": lambda e: Normalization(lambda: _spectral(SpectralNorm, e)),
    "sn-conv": lambda e: Normalization(lambda: _spectral(OperatorNorm, e, e.scale)),
    "ssn": lambda e: Normalization(lambda: _spectral(SpectralNorm, e, e.scale)),
    "bsn": lambda e: Normalization(lambda: _spectral(BidirectionalNorm, e)),
    "bssn": lambda e: Normalization(lambda: _spectral(BidirectionalNorm, e, e.scale)),
    "sn-gamma": lambda e: Normalization(lambda: Gain(_spectral(SpectralNorm, e), start=e.gamma_start)),
    "sn-gamma-shared": lambda e: _shared_gamma(SpectralNorm, e),
    "bsn-gamma": lambda e: Normalization(lambda: Gain(_spectral(BidirectionalNorm, e), start=e.gamma_start)),
    "bsn-gamma-shared": lambda e: _shared_gamma(BidirectionalNorm, e),
    "wn": lambda e: Normalization(WeightNorm),
    "wn-gain": lambda e: Normalization(lambda: Gain(WeightNorm(), rows=True, start=e.gamma_start)),
    "frobenius": lambda e: Normalization(FrobeniusNorm),
    "clip": lambda e: Normalization(lambda: Clip(e.clip, e.clip_which)),
    "orthonormal": lambda e: Normalization(lambda: Orthonormal(e.orthonormal)),
    "bn": lambda e: Normalization(features="bn", gain=e.features_gain),
    "ln": lambda e: Normalization(features="ln", gain=e.features_gain),
    "sn-bn": lambda e: Normalization(lambda: _spectral(SpectralNorm, e), "bn", e.features_gain),
}

STREAM = 7  # of random numbers, beside those of gan.Training

# --gen-norm: normalizations of weights that neither add to a loss nor act after an update of the discriminator
GENERATOR_NORMS = ("none", "sn", "sn-conv", "ssn", "bsn", "bssn", "sn-gamma", "bsn-gamma", "wn", "wn-gain",
                   "frobenius")

# option -> the names it may have
NORM_CHOICES = {"gen_norm": GENERATOR_NORMS, "u_schedule": SCHEDULES, "gamma_start": STARTS, "clip_which": CLIPPED}

SCALED = ("ssn", "bssn", "sn-conv")

# option -> the norms it is for, and what else to say of it; presets.NEEDS has those that a profile sets for any norm
ONLY_FOR = {
    "scale": (SCALED, {"sn": "ssn", "bsn": "bssn"}), "scale_spread": (SCALED, {"sn": "ssn", "bsn": "bssn"}),
    "clip": (("clip",), {}), "clip_which": (("clip",), {}), "orthonormal": (("orthonormal",), {})}


def normalization(e: Experiment) -> Normalization:
    """The normalization that an experiment names. WrongUse where its options do not go together, before any work."""
    choose("norm", e.norm, NORMS)
    for option, choices in NORM_CHOICES.items():
        choose(option_name(option), getattr(e, option), choices)
    for option, (norms, instead) in ONLY_FOR.items():
        value = getattr(e, option)
        if not {e.norm, e.gen_norm} & {*norms} and value != getattr(Experiment, option):
            better = f"; use --norm {instead[e.norm]}" if e.norm in instead else "; leave it out"
            raise WrongUse(f"{option_name(option)} {value} does nothing with --norm {e.norm}, it is for "
                           f"{', '.join(norms)}{better}")
    made = NORMS[e.norm](e)
    if e.gp and (made.features if e.features == "model" else e.features) == "bn":
        by_norm = e.features == "model"
        named, better = (f"--norm {e.norm}", "--norm ln") if by_norm else ("--features bn", "--features ln")
        raise WrongUse(f"--gp {e.gp:g} does not go with {named}: batch normalization makes each picture's "
                       "output depend on the others, and the penalty is on the gradient of each alone; use "
                       f"{better}")
    return made


def spread_scales(layers: Iterable[Normalized], name: str, e: Experiment) -> None:
    """--scale-spread: multiply the scale of each layer that has a norm of this name by a random factor of its own.

    The product of all factors is 1: the geometric mean of the scales stays --scale. With it Lin et al. 2021 (appendix
    K) let the spectral norms of the layers differ, and with them the gradients (Eq. (2)). They do not say how far; here
    a factor is exp(N(0, spread^2)). The seed alone decides it, so that it need not be saved.
    """
    if not e.scale_spread or name not in SCALED:
        return
    norms = [layer.norm for layer in layers if isinstance(layer.norm, SpectralNorm)]
    logs = np.random.default_rng([e.seed, STREAM]).normal(0, e.scale_spread, len(norms))
    for norm, factor in zip(norms, np.exp(logs - logs.mean()).tolist(), strict=True):
        norm.scale *= factor


def normalize_generator(layers: Iterable[Normalized], e: Experiment, rng: np.random.Generator) -> None:
    """Give the layers of a generator the normalization of --gen-norm, as SAGAN has it (Zhang et al. 2019)."""
    if e.gen_norm == "none":
        return
    made, layers = NORMS[e.gen_norm](e), list(layers)
    for layer in layers:
        if "W" in layer.params:
            layer.norm = made.weight()
            layer.norm.attach(layer, rng)
    spread_scales(layers, e.gen_norm, e)


def penalties(layers: Iterable[Normalized]) -> Tensor | None:
    """The sum of what the layers' normalizations add to the discriminator's loss; None if that is nothing."""
    found = [term for layer in layers if (term := layer.norm.penalty(layer)) is not None]
    return functools.reduce(ops.add, found) if found else None
