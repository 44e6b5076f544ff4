"""From an experiment to its networks."""

from __future__ import annotations

import numpy as np

from minigan.errors import WrongUse
from minigan.experiment.experiment import Experiment, option_name
from minigan.networks.models import MODELS, OPTIONS, SIZES
from minigan.networks.norms import Normalization, normalize_generator, spread_scales
from minigan.nn.feature_norms import set_batch_norm
from minigan.nn.layers import Layer


def make_generator(e: Experiment, rng: np.random.Generator, size: int, channels: int, classes: int) -> Layer:
    """The generator of an experiment, on the host: its model's, with --gen-norm and BN's constants."""
    gen = MODELS[e.model].generator(rng, size, channels, e.dim_z, e.width, classes, init=e.init)
    normalize_generator((layer for _, layer in gen.walk()), e, rng)
    set_batch_norm(gen, e.bn_eps, e.bn_decay)
    return gen


def make_discriminator(e: Experiment, rng: np.random.Generator, size: int, channels: int, norm: Normalization,
                       classes: int) -> Layer:
    """The discriminator of an experiment, on the host: its model's, with this normalization."""
    more = {name: getattr(e, name) for name in OPTIONS if getattr(e, name) is not None}
    dis = MODELS[e.model].discriminator(
        rng, size, channels, norm, e.width * e.width_dis, classes, "" if e.condition == "none" else e.condition,
        init=e.init_dis or e.init, **more)
    spread_scales((layer for _, layer in dis.walk()), e.norm, e)
    return dis


def check_model(e: Experiment) -> None:
    """WrongUse for what the experiment's model has no place for, before any work."""
    model = MODELS[e.model]
    if e.condition not in ("none", *model.conditions):
        others = sorted(name for name, other in MODELS.items() if e.condition in other.conditions)
        raise WrongUse(f"--condition {e.condition} is not for model '{e.model}'; use one of "
                       f"{', '.join(model.conditions)}, or another model: {', '.join(others)}")
    if e.condition != "none" and (e.dataset == "celeba" or e.dataset == "stl10" and e.split in (None, "unlabeled")):
        raise WrongUse(f"--condition {e.condition} needs labels, and {e.dataset} has none"
                       + (" in its split unlabeled; use --split train, or" if e.dataset == "stl10" else "; use") +
                       " cifar10, cifar100, svhn or imagenet")
    for name in OPTIONS:
        if getattr(e, name) is not None and name not in model.options:
            raise WrongUse(f"{option_name(name)} is not for model '{e.model}'; leave it out, or use one of "
                           f"{', '.join(other for other, m in MODELS.items() if name in m.options)}")
    size = e.size or SIZES.get(e.dataset)
    if size is not None:  # the thinnest pair refuses a size as any would, but before the data are read
        rng = np.random.default_rng(0)
        model.generator(rng, size, model.channels, 1, 1e-3, 0)
        model.discriminator(rng, size, model.channels, Normalization(), 1e-3)
