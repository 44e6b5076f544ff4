"""The options of minigan train that are the fields of an experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import click

from minigan.cli.choices import Names
from minigan.cli.help import ExperimentOption
from minigan.data import datasets
from minigan.data.resize import RESIZES
from minigan.experiment.experiment import NETWORKS, PATHS, Experiment, from_anywhere, option_name
from minigan.nn.initializers import FAMILIES
from minigan.training import validate

KINDS: dict[str, click.ParamType] = {"int": click.INT, "float": click.FLOAT, "str": click.STRING}
DESCRIBED = ("fit", "scaling", "device")  # their help says what each choice is

# Fields whose words are offered to a shell, and judged later: they depend on more than a list.
OFFERED: dict[str, Callable[[], Collection[str]]] = {
    "split": lambda: {split for facts in datasets.DATASETS.values() for split in facts.splits},
    "resize": lambda: RESIZES, "init": lambda: ["model", *FAMILIES], "init_dis": lambda: FAMILIES}


def images_type() -> Names:
    """The name of a data set, or a path of images: datasets.named judges it."""
    return Names("data set", lambda: datasets.DATASETS, free=True, paths=True)


def experiment_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each field of Experiment that the command line can set but the data set, in order and sections."""
    for f in reversed(dataclasses.fields(Experiment)[1:]):
        if f.name in NETWORKS:
            continue
        text, words, kind = f.metadata["help"], option_name(f.name), _kind(f)
        also = ("--preset",) if f.name == "profile" else ()  # --preset small, as people say
        if f.name in validate.CHOICES and f.name not in DESCRIBED \
                and not all(choice in text for choice in validate.CHOICES[f.name]):
            text += ": " + ", ".join(validate.CHOICES[f.name])
        if kind is None:
            words += f"/--no-{f.name.replace('_', '-')}"
        elif f.default is not None:
            text += f" [{f.default:g}]" if isinstance(f.default, float) else f" [{f.default}]"
        command = click.option(words, *also, f.name, cls=ExperimentOption, section=f.metadata["section"],
                               first=f.metadata["first"], default=None, help=text, type=kind)(command)
    return command


def chosen(given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; paths among them as seen from anywhere."""
    return from_anywhere({name: value for name, value in given.items() if value is not None})


def _kind(f: dataclasses.Field[Any]) -> click.ParamType | None:
    """What an option takes; None for a switch."""
    if f.type in ("bool", "bool | None"):
        return None
    if f.name in validate.CHOICES:
        return Names(f.name.replace("_", " "), lambda: validate.CHOICES[f.name])
    if f.name in OFFERED:
        return Names(f.name, OFFERED[f.name], free=True)
    return click.Path() if f.name in PATHS else KINDS[str(f.type).split(" | ")[0]]
