"""From an experiment to its networks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from minigan.data.pixels import SCALINGS
from minigan.errors import WrongUse, choose
from minigan.experiment.experiment import CONDITIONS, FEATURES, LATENTS, NETWORKS, Experiment, option_name, own_names
from minigan.experiment.streams import stream
from minigan.networks.elsewhere import Structure
from minigan.networks.models import GENERATOR_OPTIONS, MODELS, OPTIONS
from minigan.networks.norms import (
    GENERATOR_NORMS,
    NORMS,
    SCALED,
    Normalization,
    NormOptions,
    normalize,
    spread_scales,
)
from minigan.networks.own import NONE, Own
from minigan.networks.resnet import POOLS, UPSAMPLINGS
from minigan.nn.feature_norms import set_batch_norm
from minigan.nn.initializers import by_name
from minigan.nn.layers import Layer
from minigan.nn.spectral_norms import SCHEDULES
from minigan.nn.weight_norms import CLIPPED, STARTS

# option -> the names it may have
NORM_CHOICES = {"gen_norm": GENERATOR_NORMS, "u_schedule": SCHEDULES, "gamma_start": STARTS, "clip_which": CLIPPED}

# field of the experiment -> the names it may have: of all that networks are made of and fed with
CHOICES: dict[str, Collection[str]] = {
    "model": MODELS, "norm": NORMS, "condition": CONDITIONS, "features": FEATURES, "latent": LATENTS,
    "scaling": SCALINGS, "upsample": UPSAMPLINGS, "pool": POOLS, **NORM_CHOICES}

# option -> the norms it is for, and what else to say of it; presets.NEEDS has those that a profile sets for any norm
ONLY_FOR = {
    "scale": (SCALED, {"sn": "ssn", "bsn": "bssn"}), "scale_spread": (SCALED, {"sn": "ssn", "bsn": "bssn"}),
    "clip": (("clip",), {}), "clip_which": (("clip",), {}), "orthonormal": (("orthonormal",), {})}


def make_generator(e: Experiment, rng: np.random.Generator, size: int, channels: int, classes: int,
                   own: Own = NONE) -> Layer:
    """The generator of an experiment, on the host: its model's, with --gen-norm and BN's constants; or a copy of own.
    """
    if own.generator is not None:
        return copy.deepcopy(own.generator)
    gen = MODELS[e.model].generator(rng, size, channels, e.dim_z, e.width, classes, init=e.init,
                                    **_given(e, GENERATOR_OPTIONS))
    layers = [layer for _, layer in gen.walk()]
    if e.gen_norm != "none":
        normalize(layers, NORMS[e.gen_norm](norm_options(e)), rng)
    _spread(layers, e.gen_norm, e)
    set_batch_norm(gen, e.bn_eps, e.bn_decay)
    return gen


def make_discriminator(e: Experiment, rng: np.random.Generator, size: int, channels: int, classes: int,
                       own: Own = NONE) -> Layer:
    """The discriminator of an experiment, on the host: its model's, with --norm, --features and BN's constants; or a
    copy of own."""
    if own.discriminator is not None:
        return copy.deepcopy(own.discriminator)
    dis = structure_of(e, size, channels, classes).made(rng, norm_of_discriminator(e), e.init_dis or e.init)
    _spread((layer for _, layer in dis.walk()), e.norm, e)
    set_batch_norm(dis, e.bn_eps, e.bn_decay)
    return dis


def structure_of(e: Experiment, size: int, channels: int, classes: int) -> Structure:
    """What an experiment's discriminator is, but for its numbers and its norm."""
    return Structure(e.model, size, channels, e.width * e.width_dis, classes,
                     "" if e.condition == "none" else e.condition, _given(e, OPTIONS))


def _given(e: Experiment, names: Iterable[str]) -> dict[str, Any]:
    """Of these fields those that are not left to the model."""
    return {name: getattr(e, name) for name in names if getattr(e, name) is not None}


def norm_of_discriminator(e: Experiment) -> Normalization:
    """--norm, with the normalization of features that --features names, or the model has without a penalty (--gp)."""
    norm, model = normalization(e), MODELS[e.model]
    if e.features != "model":
        return dataclasses.replace(norm, features="" if e.features == "none" else e.features, gain=e.features_gain)
    if model.features and not norm.features and not e.gp:
        return dataclasses.replace(norm, features=model.features, gain=True)
    return norm


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
    made = NORMS[e.norm](norm_options(e))
    if e.gp and (made.features if e.features == "model" else e.features) == "bn":
        by_norm = e.features == "model"
        named, better = (f"--norm {e.norm}", "--norm ln") if by_norm else ("--features bn", "--features ln")
        raise WrongUse(f"--gp {e.gp:g} does not go with {named}: batch normalization makes each image's "
                       "output depend on the others, and the penalty is on the gradient of each alone; use "
                       f"{better}")
    return made


def norm_options(e: Experiment) -> NormOptions:
    """The options of normalizations that an experiment names: its fields of these names."""
    return NormOptions(**{field.name: getattr(e, field.name) for field in dataclasses.fields(NormOptions)})


def _spread(layers: Iterable[Layer], name: str, e: Experiment) -> None:
    """--scale-spread, if layers have a norm of this name that it is for. The seed alone decides it: nothing to save."""
    if e.scale_spread and name in SCALED:
        spread_scales(layers, e.scale_spread, stream(e.seed, "scale spread"))


def check_names(e: Experiment, choices: dict[str, Collection[str]]) -> None:
    """WrongUse for a name that is not among those that its field may have."""
    for name, known in choices.items():
        if getattr(e, name) is not None:
            choose("data set" if name == "dataset" else name.replace("_", " "), getattr(e, name), known)


# option -> whose network it is a part of: with one's own in its place, it does nothing
OF_NETWORKS = {
    **dict.fromkeys((*OPTIONS, "norm", "width_dis", "init_dis", "features", "features_gain", "clip", "clip_which",
                     "orthonormal"), ("discriminator",)),
    **dict.fromkeys((*GENERATOR_OPTIONS, "gen_norm"), ("generator",)),
    **dict.fromkeys(("model", "width", "init", "bn_eps", "bn_decay", "power_iterations", "u_schedule", "u_gradient",
                     "scale", "scale_spread", "gamma_start"), ("generator", "discriminator"))}


def with_own(e: Experiment, own: Own, chosen: Collection[str] = ()) -> Experiment:
    """The experiment of a training with these networks of one's own: it names them, and no norms in their place.

    chosen: the options that were given. WrongUse for one that would do nothing, and for --condition.
    """
    names = own.names()
    for name in chosen:
        of = OF_NETWORKS.get(name, ())
        if of and names.keys() >= {*of}:
            raise WrongUse(f"{option_name(name)} is a choice for minigan's networks, and the {' and '.join(of)} "
                           f"{'are' if len(of) > 1 else 'is'} your own; leave it out")
    if names and e.condition != "none":
        raise WrongUse(f"--condition {e.condition} is for minigan's own networks: yours get no labels; leave it out")
    replaced: dict[str, Any] = {**names, **{NETWORKS[who]: "none" for who in names}}
    return dataclasses.replace(e, **replaced)


def check_own(e: Experiment, own: Own, where: str, needed: Collection[str] = ("generator", "discriminator")) -> None:
    """WrongUse unless those of the needed networks that are its author's are given, and no others; where: the run."""
    for who, network in vars(own).items():
        if network is not None and getattr(e, who) is None:
            raise WrongUse(f"{where} has minigan's own {who}; leave {who}= out")
    names = own_names(e)
    if any(getattr(own, who) is None for who in names.keys() & {*needed}):
        what = " and ".join(f"{who} '{name}'" for who, name in names.items())
        raise WrongUse(f"{where}: its {what} {'are' if len(names) > 1 else 'is'} its author's own code, which a run's "
                       "folder does not hold; go on in Python: "
                       f"minigan.load({where!r}, {', '.join(f'{who}=...' for who in names)})")


def check_networks(e: Experiment) -> None:
    """WrongUse where an experiment's networks cannot be made, or not go together, before any work."""
    check_names(e, CHOICES)
    for init in (e.init, e.init_dis):
        if init not in (None, "model"):
            by_name(init)
    check_model(e)
    normalization(e)


def check_model(e: Experiment) -> None:
    """WrongUse for what the experiment's model has no place for, before any work."""
    model = MODELS[e.model]
    if e.condition not in ("none", *model.conditions):
        others = sorted(name for name, other in MODELS.items() if e.condition in other.conditions)
        raise WrongUse(f"--condition {e.condition} is not for model '{e.model}'; use one of "
                       f"{', '.join(model.conditions)}, or another model: {', '.join(others)}")
    for name in (*OPTIONS, *GENERATOR_OPTIONS):
        if getattr(e, name) is not None and name not in model.options:
            raise WrongUse(f"{option_name(name)} is not for model '{e.model}'; leave it out, or use one of "
                           f"{', '.join(other for other, m in MODELS.items() if name in m.options)}")
