"""Methods, as sweeps and figures name them: a norm, a gradient penalty, or both."""

from __future__ import annotations

from typing import Any

from minigan.experiment.experiment import Experiment, own_names

# Methods that are more than a --norm; every --norm is a method, too.
METHODS: dict[str, dict[str, Any]] = {
    "wgan-gp": {"norm": "none", "loss": "wasserstein", "gp": 10.0},  # Gulrajani et al. 2017
    "gan-gp": {"norm": "none", "loss": "ns", "gp": 10.0},  # Miyato et al. 2018, Table 2
}


def options_of(method: str) -> dict[str, Any]:
    """What a method chooses, by field of the experiment."""
    return METHODS.get(method, {"norm": method})


def method_of(e: Experiment) -> str:
    """The method of an experiment: its norm, wgan-gp, gan-gp; both, as in wgan-gp+sn.

    The name of its author's own discriminator stands for its norm, which only the author knows.
    """
    norm = e.norm if e.discriminator is None else e.discriminator
    if not e.gp:
        return norm
    penalty = "wgan-gp" if e.loss == METHODS["wgan-gp"]["loss"] else "gan-gp"
    return penalty if norm == "none" else f"{penalty}+{norm}"


def networks_of(e: Experiment, more: str = "") -> str:
    """A run's networks in words: model, `more` of it, and norm, "cnn, sn"; networks of its author's by name."""
    names = own_names(e)
    words = [f"{who} '{name}'" for who, name in names.items()]
    words += [e.model + more] if len(names) < 2 else []
    return ", ".join(words + ([e.norm] if e.discriminator is None else []))
