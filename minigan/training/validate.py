"""Whether an experiment names what exists and what goes together, before any work."""

from __future__ import annotations

from collections.abc import Collection

from minigan.data import datasets
from minigan.data.image_folder import FITS
from minigan.data.pixels import SCALINGS
from minigan.engine import devices
from minigan.errors import choose
from minigan.experiment.experiment import (
    CONDITIONS,
    FEATURES,
    LATENTS,
    ORDERS,
    SAMPLINGS,
    Experiment,
)
from minigan.experiment.profiles import PROFILES, SETTINGS
from minigan.metrics.protocols import PROTOCOLS
from minigan.networks.models import MODELS
from minigan.networks.norms import NORMS
from minigan.nn.initializers import by_name
from minigan.nn.losses import LOSSES
from minigan.nn.optimizers import OPTIMIZERS, SCHEDULES
from minigan.training.assembly import NORM_CHOICES, check_model, normalization

# field of the experiment -> the names it may have
CHOICES: dict[str, Collection[str]] = {
    "dataset": datasets.DATASETS, "model": MODELS, "norm": NORMS, "loss": LOSSES, "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES, "condition": CONDITIONS, "features": FEATURES, "latent": LATENTS, "order": ORDERS,
    "sampling": SAMPLINGS, "scaling": SCALINGS, "fit": FITS, "device": devices.DEVICES, "profile": PROFILES,
    "setting": SETTINGS, "score": PROTOCOLS, **NORM_CHOICES}


def check_names(e: Experiment) -> None:
    """WrongUse, with the choices, for a name that is not known; and for options that the normalization cannot have."""
    for name, choices in CHOICES.items():
        if getattr(e, name) is not None:
            choose("data set" if name == "dataset" else name.replace("_", " "), getattr(e, name), choices)
    for init in (e.init, e.init_dis):
        if init not in (None, "model"):
            by_name(init)
    check_model(e)
    normalization(e)
