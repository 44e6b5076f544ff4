"""The command that draws from a run's generator: sample."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from minigan.cli.choices import RunFolder
from minigan.cli.help import Command, echo
from minigan.errors import WrongUse, counted
from minigan.formats import image_files, image_grids
from minigan.formats.progress import to_stderr
from minigan.training import restore, sampling

MOST = 100_000  # images of one call: 300 MB at 32 x 32 pixels


@click.command("sample", cls=Command)
@click.argument("run", type=RunFolder())
@click.option("-n", "--count", default=64, help="how many images [64]")
@click.option("--out", type=click.Path(path_type=Path),
              help="a grid.png, an .npz (uint8 array 'images'), or a folder for single images [RUN/drawn.png]")
@click.option("--seed", default=0, help="seed of the latents [0]")
@click.option("--scale", default=1, help="enlarge every pixel of a grid [1]")
@click.option("--label", type=int, help="the class of all, of a run with --condition [the classes in turn]")
@click.option("--interpolate", "steps", type=int, metavar="STEPS",
              help="rows of STEPS images from one latent to another, COUNT rows [off]")
@click.option("--best", is_flag=True, help="the run's checkpoint of its best score, not its newest")
def sample_command(run: Path, count: int, out: Path | None, seed: int, scale: int, label: int | None,
                   steps: int | None, best: bool) -> None:
    """Draw images from a run's generator.

    It draws as it is evaluated: with running averages in its batch normalizations.

    \b
    minigan sample runs/resnet -n 100 --scale 2 --out grid.png
    minigan sample runs/resnet -n 50000 --out images.npz
    minigan sample runs/resnet -n 8 --interpolate 10 --out paths.png
    """
    for name, value, low in (("--count", count, 1), ("--scale", scale, 1), ("--seed", seed, 0),
                             ("--interpolate", steps, 2)):
        if value is not None and not low <= value < 2**63:
            raise WrongUse(f"{name}: expected at least {low}, got {value}")
    if count * (steps or 1) * scale ** 2 > MOST:
        raise WrongUse(f"that is as much as {count * (steps or 1) * scale ** 2:,} images (--count times STEPS times "
                       f"--scale squared); expected at most {MOST:,}")
    out = out or run / "drawn.png"
    suffix = out.suffix.lower()
    if suffix not in ("", ".png", ".npz"):
        raise WrongUse(f"--out {out}: expected a .png, an .npz or a folder (a name without a dot)")
    saved = restore.newest(run, best)
    e, classes = saved.e, saved.classes
    for line in saved.remarks:
        to_stderr(line)
    rng = np.random.default_rng(seed)
    if steps is None:
        z = sampling.latents(rng, e, count)
    else:
        z = sampling.interpolate(rng, e, count, steps)
    if label is not None and not 0 <= label < classes:
        raise WrongUse(f"--label: expected 0 to {classes - 1}, got {label}" if classes else
                       f"--label: {run} was trained without labels; leave it out")
    images = sampling.draw(saved.gen, z, classes=classes, labels=None if label is None else np.full(len(z), label))
    if suffix == ".npz":
        image_files.save_npz(out, images)
    elif suffix == ".png":
        image_files.save_png(out, image_grids.grid(images, columns=steps, scale=scale))
    else:
        image_files.save_singles(out, images)
    echo(f"{counted(len(images), 'image')} of {images.shape[2]} x {images.shape[1]} pixels: {out}")
