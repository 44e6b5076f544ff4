"""Whether an experiment names what exists and what goes together, before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from minigan.data import datasets
from minigan.data.image_folder import FITS
from minigan.engine import cublas, devices
from minigan.errors import WrongUse
from minigan.experiment.experiment import ORDERS, SAMPLINGS, Experiment
from minigan.experiment.profiles import ALL_PROFILES, SETTINGS
from minigan.metrics.protocols import PROTOCOLS
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.nn.losses import LOSSES
from minigan.nn.optimizers import OPTIMIZERS, SCHEDULES
from minigan.training import assembly

# field of the experiment -> the names it may have
CHOICES: dict[str, Collection[str]] = {
    "dataset": datasets.DATASETS, "loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "order": ORDERS,
    "sampling": SAMPLINGS, "fit": FITS, "device": devices.DEVICES, "precision": cublas.PRECISIONS,
    "profile": ALL_PROFILES, "setting": SETTINGS, "score": PROTOCOLS, **assembly.CHOICES}


def check_names(e: Experiment) -> None:
    """WrongUse, with the choices, for a name that is not known; and for what does not go together: networks that cannot
    be made for these data, options that do nothing."""
    assembly.check_names(e, CHOICES)
    assembly.check_networks(e)
    _check_labels(e)
    _check_size(e)
    if e.skip_bad and not datasets.DATASETS[e.dataset].skips_bad:
        others = ", ".join(name for name, row in datasets.DATASETS.items() if row.skips_bad)
        raise WrongUse(f"--skip-bad does nothing here: it is for images in files: {others}; leave it out")
    if e.device == "cpu" and e.precision not in (None, "float32"):
        raise WrongUse(f"--precision {e.precision} needs --device cuda: a CPU multiplies float32 as it is; leave it "
                       "out")


def with_precision(e: Experiment) -> Experiment:
    """The experiment with what its products round to: on a GPU, if nothing is asked for, as usual on that card; None on
    a CPU, which multiplies float32 as it is. WrongUse for bf16 on a card without it, or without ml_dtypes, and for what
    needs cuBLAS without that.
    """
    if e.device != "cpu":
        xp = devices.device_module(e.device)
        if e.precision == "bf16" and not cublas.has_tensor_cores(xp):
            raise WrongUse("--precision bf16 needs a GPU of compute capability 8.0 or newer, and this one has "
                           f"{int(xp.cuda.Device().compute_capability) / 10}; --precision float32 runs on it")
        if e.precision == "bf16" and devices.BF16.name != "bfloat16":
            raise WrongUse("--precision bf16 needs ml_dtypes, which is not installed; pip install ml_dtypes, or "
                           "--precision tf32")
        if e.precision not in (None, "float32") and not cublas.is_found(xp):
            raise WrongUse(f"--precision {e.precision} needs cuBLAS, which is not found; pip install 'minigan[cuda]' "
                           "(CUDA 12) or 'minigan[cuda13]' brings it, or --precision float32")
        return dataclasses.replace(e, precision=e.precision or cublas.usual_precision(xp))
    return dataclasses.replace(e, precision=None)


def _check_labels(e: Experiment) -> None:
    """WrongUse for a condition on labels that the experiment's data do not have, as far as their row says so."""
    facts = datasets.DATASETS[e.dataset]
    split = e.split or facts.split
    if e.condition == "none" or facts.splits.get(split) is not False:
        return
    better = next((name for name, labelled in facts.splits.items() if labelled), None)
    others = sorted((name for name, row in datasets.DATASETS.items() if row.labelled and row.known_to_inception),
                    key=lambda name: datasets.DATASETS[name].large)
    raise WrongUse(f"--condition {e.condition} needs labels, and {e.dataset} has none"
                   + (f" in its split {split}; use --split {better}, or" if better else "; use")
                   + f" {', '.join(others[:-1])} or {others[-1]}")


def _check_size(e: Experiment) -> None:
    """WrongUse for a size that the model has no networks for: its thinnest pair refuses it as any would."""
    model, facts = MODELS[e.model], datasets.DATASETS[e.dataset]
    size, channels = e.size or facts.size, facts.channels or model.channels
    if size is not None:
        rng = np.random.default_rng(0)
        if e.generator is None:
            model.generator(rng, size, channels, 1, 1e-3, 0)
        if e.discriminator is None:
            model.discriminator(rng, size, channels, Normalization(), 1e-3)
