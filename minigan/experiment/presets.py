"""Presets: what a data set and a model are trained with where nobody says otherwise; how choices override each other.

A preset is a dict of the fields that differ from the defaults of `Experiment`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from minigan.errors import WrongUse, choose
from minigan.experiment.experiment import Experiment, check, option_name
from minigan.experiment.profiles import ALL_PROFILES, DEFAULTS, OWN, SETTINGS, Rows, model_of, rows_of


def _some(kinds: tuple[str, ...]) -> Callable[[Experiment], bool]:
    return lambda e: e.norm.startswith(kinds) or e.gen_norm.startswith(kinds)


# What does something only beside another choice: option -> (whether it does, what it is for). A profile may set any.
_U = (_some(("sn", "ssn", "bsn", "bssn")), "norms with a power iteration: sn, bsn and their kin")


NEEDS: dict[str, tuple[Callable[[Experiment], bool], str]] = {
    "power_iterations": _U, "u_schedule": _U, "u_gradient": _U,
    "gamma_start": (_some(("sn-gamma", "bsn-gamma", "wn-gain")), "--norm sn-gamma, bsn-gamma and wn-gain"),
    "features_gain": (lambda e: e.features in ("bn", "ln") or e.features == "model" and e.norm in ("bn", "ln", "sn-bn"),
                      "--norm bn, ln, sn-bn and --features bn, ln"),
    "gp_target": (lambda e: e.gp > 0, "--gp"),
    "ac_dis": (lambda e: e.condition == "ac", "--condition ac"),
    "ac_gen": (lambda e: e.condition == "ac", "--condition ac"),
    "decay_from": (lambda e: e.schedule == "linear", "--schedule linear"),
    "beta1": (lambda e: e.optimizer == "adam", "--optimizer adam"),
    "beta2": (lambda e: e.optimizer != "sgd", "--optimizer adam and rmsprop"),
    "adam_eps": (lambda e: e.optimizer != "sgd", "--optimizer adam and rmsprop"),
}

# By model: what the source of the network trains it with, where minigan's default differs. The paper gives the ResNets'
# Adam and n_dis (B.2); the rest of "resnet" is the authors' code for CIFAR-10, where the paper is silent (the
# generator's batches, noise, scaling) or differs (100 K updates and no decay), that of "resnet-imagenet" their code.
_RESNET = {"beta1": 0.0, "beta2": 0.9, "n_dis": 5}

_CODE = {"gen_batch_size": 128, "schedule": "linear", "scaling": "128", "dequantize": True}

MODEL_PRESETS: dict[str, dict[str, Any]] = {
    "resnet": _RESNET | _CODE | {"iterations": 50_000},
    "resnet-stl": _RESNET,
    "resnet-64": _RESNET | _CODE | {"iterations": 450_000, "decay_from": 400 / 450},
    "resnet-imagenet": _RESNET | _CODE | {"iterations": 450_000, "decay_from": 400 / 450},
    "resnet-bssn": _RESNET | {"batch_size": 16, "gen_batch_size": 32, "iterations": 500_000},
    "resnet-wgan-gp": _RESNET | _CODE,
    "dcgan": {"dim_z": 100, "loss": "ns"},
    "dcgan-32": {"dim_z": 100, "loss": "ns"},
    "mnist-bssn": {"dim_z": 100, "latent": "uniform", "lr": 1e-3},
}


# By data set: small enough for minutes on two cores; the papers train on none of these. On shapes the discriminator won
# at once under beta1 0.5 (a hinge loss of 0 from iteration 60 on); without momentum, and slower, it does not. What
# counts there is the number of updates: small batches, and an average of the generator against their noise.
QUICK = {"width": 0.25, "batch_size": 32, "lr": 4e-4, "iterations": 1400}


DATASET_PRESETS: dict[str, dict[str, Any]] = {
    "shapes": QUICK | {"batch_size": 8, "iterations": 2600, "lr": 1.4e-3, "lr_dis": 3.5e-4, "beta1": 0.0, "beta2": 0.9,
                       "ema": 0.995},
    "mnist": QUICK, "fashion-mnist": QUICK}


# A choice for both networks -> that for the discriminator alone. Who makes the first, and not the second beside it,
# means both: a preset's choice for the discriminator holds no longer.
BOTH = {"lr": "lr_dis", "init": "init_dis"}


def over(before: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The options `before`, overridden by those chosen."""
    dropped = {dis for both, dis in BOTH.items() if both in chosen}
    return {name: value for name, value in before.items() if name not in dropped} | chosen


def experiment(dataset: str, **chosen: Any) -> Experiment:
    """The presets of the data set and the model, overridden by what was chosen.

    WrongUse for values without meaning, and for choices that would do nothing (`compose` lets these pass: in a grid
    they may be for other runs of it).
    """
    made = compose(dataset, **chosen)[0]
    for name, (used, need) in NEEDS.items():
        if name in chosen and chosen[name] != getattr(Experiment, name) and not used(made):
            raise WrongUse(f"{option_name(name)} {chosen[name]} does nothing here: it is for {need}; leave it out")
    return made


def compose(dataset: str, **chosen: Any) -> tuple[Experiment, dict[str, tuple[str, str]]]:
    """The experiment, and for each field (who chose it, where that is said).

    Later ones override earlier ones: minigan's default, the data set's preset, the model's or the profile's, the
    setting, what was chosen. A profile replaces the presets: it says all that its source says.
    WrongUse for names and values without meaning.
    """
    for name, choices in (("profile", ALL_PROFILES), ("setting", SETTINGS)):
        if chosen.get(name):
            choose(name, chosen[name], choices)
    profile, quick = chosen.get("profile"), DATASET_PRESETS.get(dataset, {})
    model = chosen.get("model") or (model_of(profile, dataset) if profile else Experiment.model)
    layers: list[tuple[str, Rows]] = [("default", DEFAULTS | OWN.get(dataset, {}) | OWN.get(model, {}))]
    if profile:
        layers.append((f"profile {profile}", rows_of(profile, dataset, model)))
    else:
        layers += [(f"preset of {dataset}", _rows(quick, "small enough for minutes on two cores")),
                   (f"preset of {model}", _rows(MODEL_PRESETS.get(model, {}), "what its source trains it with"))]
        if quick:  # stays quick with any model
            stays = {key: quick[key] for key in ("width", "batch_size", "iterations")} | {"gen_batch_size": None}
            layers.append((f"preset of {dataset}", _rows(stays, "small enough for minutes on two cores")))
    if chosen.get("setting"):
        layers.append((f"setting {chosen['setting']}", SETTINGS[chosen["setting"]]))
    layers.append(("given", _rows({"dataset": dataset} | chosen, "")))
    values: dict[str, Any] = {}
    origins = {f.name: ("default", "") for f in dataclasses.fields(Experiment)}
    for who, rows in layers:
        for both, dis in BOTH.items():
            if both in rows and values.pop(dis, None) is not None:
                origins[dis] = who, rows[both][1]
        for name, (value, source) in rows.items():
            values[name], origins[name] = value, (who, source)
    made = Experiment(**values)
    check(made)
    return made, origins


def _rows(values: dict[str, Any], source: str) -> Rows:
    return {name: (value, source) for name, value in values.items()}
