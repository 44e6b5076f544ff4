"""Commands that take weights from other tools, and hand them to others: import, export."""

from __future__ import annotations

from pathlib import Path

import click

from minigan.cli.choices import Names, RunFolder
from minigan.cli.help import Command, echo
from minigan.data.datasets import DATASETS
from minigan.errors import counted
from minigan.exchange import export
from minigan.exchange.weights_in import import_weights
from minigan.formats.progress import to_stderr
from minigan.networks.resnet import POOLS


@click.command("import", cls=Command)
@click.argument("files", nargs=-1, required=True, metavar="GENERATOR [DISCRIMINATOR]", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the run's folder")
@click.option("--data", type=Names("data set", lambda: DATASETS), help="the data set they were trained on [not known]")
@click.option("--iteration", type=int, help="of the weights [as the file or its name says]")
@click.option("--pool", type=Names("pool", lambda: POOLS), help="how a discriminator without spectral normalization "
              f"ends: {', '.join(POOLS)} [mean, as in WGAN-GP]")
@click.option("--overwrite", is_flag=True, help="replace the run that is in that folder")
def import_command(files: tuple[Path, ...], out: Path, data: str | None, iteration: int | None, pool: str | None,
                   overwrite: bool) -> None:
    """Make a run of weights that another tool trained.

    \b
    minigan import ResNetGenerator_850000.npz --out runs/imagenet
    minigan import netG_100000_steps.pth netD_100000_steps.pth --out runs/mimicry
    minigan sample runs/mimicry

    Known are the snapshots of sngan_projection (.npz, also a trainer's of both networks) and mimicry's checkpoints
    (.pth) of SNGAN, cGAN-PD and WGAN-GP. Which network a file holds, its size, widths and classes, is read from its
    names and shapes. The run can be sampled, scored (--data names the real images), diagnosed (if there is a
    discriminator), reported and exported. It cannot be trained on: the optimizers' state is not in such files.
    """
    made = import_weights(files, out, data=data, pool=pool, iteration=iteration, overwrite=overwrite)
    for line in made.remarks:
        to_stderr(line)
    e = made.experiment
    labels = f", {counted(made.classes, 'class', 'classes')}" if made.classes else ""
    echo(f"{made.tool}'s {e.model} for {e.size} x {e.size} pixels{labels}, iteration {made.iteration:,}: "
               f"{made.folder}")


@click.command("export", cls=Command)
@click.argument("run", type=RunFolder())
@click.option("--to", type=Names("format", lambda: export.FORMATS), default="safetensors",
              help=f"format: {', '.join(export.FORMATS)} [safetensors]")
@click.option("--network", type=Names("network", lambda: [*export.NETWORKS, "both"]), default="both",
              help=f"which: {', '.join(export.NETWORKS)}, both [both]")
@click.option("--out", type=click.Path(path_type=Path), help="a folder [RUN/export]")
@click.option("--overwrite", is_flag=True, help="replace files that are there")
def export_command(run: Path, to: str, network: str, out: Path | None, overwrite: bool) -> None:
    """Write a run's networks as safetensors, PyTorch or ONNX.

    \b
    minigan export runs/shapes-cnn-sn --to torch
    minigan export runs/shapes-cnn-sn --to onnx --network generator --out exported

    They are those of the newest checkpoint, as they are evaluated: weights divided by sigma, batch normalization as a
    scale and a shift. Images are float32 (N, C, H, W) in [-1, 1]. torch writes generator.pth and, as Python code, the
    module that it fits, which needs no minigan. onnx needs a package: pip install "minigan[onnx]".
    """
    for file in export.export(run, to, network, out, overwrite):
        echo(str(file))
