"""The command that hands weights to other tools: export."""

from __future__ import annotations

from pathlib import Path

import click

from minigan.cli.choices import Names, RunFolder
from minigan.cli.help import Command
from minigan.exchange import export


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
        click.echo(str(file))
