"""Whether an experiment names what exists and what goes together, before any work."""

from __future__ import annotations

from collections.abc import Collection

from minigan.data import datasets
from minigan.data.image_folder import FITS
from minigan.engine import devices
from minigan.experiment.experiment import ORDERS, SAMPLINGS, Experiment
from minigan.experiment.profiles import PROFILES, SETTINGS
from minigan.metrics.protocols import PROTOCOLS
from minigan.nn.losses import LOSSES
from minigan.nn.optimizers import OPTIMIZERS, SCHEDULES
from minigan.training import assembly

# field of the experiment -> the names it may have
CHOICES: dict[str, Collection[str]] = {
    "dataset": datasets.DATASETS, "loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "order": ORDERS,
    "sampling": SAMPLINGS, "fit": FITS, "device": devices.DEVICES, "profile": PROFILES, "setting": SETTINGS,
    "score": PROTOCOLS, **assembly.CHOICES}


def check_names(e: Experiment) -> None:
    """WrongUse, with the choices, for a name that is not known; and for networks that cannot be made."""
    assembly.check_names(e, CHOICES)
    assembly.check_networks(e)
