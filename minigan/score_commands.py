"""Commands that deal with scores and what they are made with."""

from __future__ import annotations

from pathlib import Path

import click

from minigan import weight_files
from minigan.errors import WrongUse


@click.command("weights")
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="write the weights again as .h5 or .safetensors")
@click.option("--overwrite", is_flag=True, help="replace OUT")
def weights_command(file: Path | None, out: Path | None, overwrite: bool) -> None:
    """Say which weights of Inception FILE holds; without FILE, what is in the cache folder and what to put there.

    \b
    minigan weights
    minigan weights pt_inception-2015-12-05-6726825d.pth
    minigan weights inception-2015-12-05.tgz --out inception-2015-12-05.safetensors

    Reads PyTorch's .pth (both formats), TensorFlow's .pb and its .tgz, Keras' .h5, .safetensors and minigan's own .h5,
    without any of those libraries; nothing in the file is executed.
    """
    if file is None:
        if out is not None or overwrite:
            raise WrongUse("weights: --out and --overwrite are for one file; name it")
        click.echo("\n".join(weight_files.overview()))
        return
    if out is not None:
        weight_files.check_name(out)
        if out.exists() and not overwrite:
            raise WrongUse(f"{out} is there already; choose another name, or --overwrite")
    weights = weight_files.load(file)
    for line in weight_files.describe(weights):
        click.echo(line)
    if out is not None:
        weight_files.save(weights, out)
        click.echo(f"{'written':12} {out}")
