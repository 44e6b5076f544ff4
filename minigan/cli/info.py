"""Commands that say what there is: info (this machine), networks (the models)."""

from __future__ import annotations

from pathlib import Path

import click

from minigan.cli.choices import Names
from minigan.cli.help import Command, echo
from minigan.data import datasets, locations
from minigan.engine import devices, machine
from minigan.errors import WrongUse, counted
from minigan.experiment.experiment import CONDITIONS
from minigan.metrics import classifier, inception_weights
from minigan.networks import layer_table
from minigan.networks.models import MODELS


@click.command("info", cls=Command)
def info_command() -> None:
    """Say what is found here: versions, BLAS, GPU, data, weights.

    Also the number of threads, the cache folder, and the classifiers that were trained here.
    """
    found = machine.machine()
    rows = [("minigan", f"{found['minigan']}  ({Path(__file__).parents[1]})"),
            ("python", found["python"]), ("numpy", found["numpy"]), ("blas", "; ".join(found["blas"]) or "unknown"),
            ("machine", f"{found['processor']}, {counted(found['cores'], 'core')}, {found['platform']}"),
            ("threads", f"{found['cores']} by default (--threads)"), ("device cpu", "yes"),
            *_cuda(), ("cache folder", str(locations.cache_folder()))]
    rows += [(f"data {name}", datasets.find(name) or "not found") for name in datasets.DATASETS]
    rows += [("inception's weights", inception_weights.kept() or "not found (minigan weights says what to put where)"),
             ("classifiers", ", ".join(path.stem for path in classifier.kept()) or "none (minigan classifier train)")]
    for name, value in rows:
        echo(f"{name:20} {value}")


def _cuda() -> list[tuple[str, str]]:
    """What there is to compute on a GPU; if something is missing, what, and how to get it."""
    try:
        found = devices.cuda_facts()
    except WrongUse as error:
        return [("device cuda", "no: " + str(error).removeprefix("--device cuda").lstrip(": ").removesuffix(
            ", or use --device cpu"))]
    return [("device cuda", "yes"), *found.items()]


@click.command("networks", cls=Command)
@click.argument("name", required=False, metavar="[MODEL]", type=Names("model", lambda: MODELS))
@click.option("--size", type=int, help="side of the images in pixels [the source's]")
@click.option("--width", default=1.0, help="factor on every number of channels [1]")
@click.option("--classes", default=0, help="number of classes of a conditional GAN [0]")
@click.option("--condition", default="", type=Names("condition", lambda: CONDITIONS, free=True),
              help="how the discriminator uses the label: projection, concat, ac [none]")
def networks_command(name: str | None, size: int | None, width: float, classes: int, condition: str) -> None:
    """List the networks, or show the layers of one.

    Of each layer of MODEL the table has its shape, kernel, parameters and multiplications.

    \b
    minigan networks
    minigan networks cnn --size 48
    minigan networks resnet-imagenet --classes 1000 --condition projection
    """
    if name is None and (size, width, classes, condition) != (None, 1.0, 0, ""):
        raise WrongUse("networks: --size, --width, --classes and --condition are for one model; name it")
    if condition and not classes:
        raise WrongUse(f"networks: --condition {condition} needs labels: give --classes, their number")
    for line in layer_table.overview() if name is None else layer_table.lines(name, size, width, classes,
                                                                                 condition):
        echo(line)
