"""The command that makes a data set ready: pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minigan.cli.choices import Names
from minigan.cli.help import Command, echo
from minigan.data import datasets, pack
from minigan.data.image_folder import FITS
from minigan.data.resize import RESIZES
from minigan.errors import WrongUse
from minigan.formats.progress import progress_bar


@click.command("pack", cls=Command)
@click.argument("dataset", required=False, metavar="[DATASET]", type=Names("data set", lambda: datasets.DATASETS))
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--data-root", "root", type=click.Path(path_type=Path), help="folder in which the data lies")
@click.option("--size", type=int, help="side of the images in pixels [the data set's own, or the papers']")
@click.option("--split", help="part of the data set, as for minigan train")
@click.option("--fit", default="crop", type=Names("fit", lambda: FITS),
              help="how images of a folder become square: crop, stretch [crop]")
@click.option("--crop", type=int, help="side of the square in the middle of celeba's images that is used [128]")
@click.option("--resize", type=Names("way to resize", lambda: RESIZES),
              help="how another size is reached: lanczos, bilinear, plain")
@click.option("--skip-bad", is_flag=True, help="leave out images that cannot be read or are too small")
@click.option("--follow-links", is_flag=True, help="take images that symbolic links out of the folder lead to")
@click.option("--large-images", is_flag=True, help="take images with more than 89 million pixels, too: up to 2^30")
@click.option("--overwrite", is_flag=True, help="replace OUT")
@click.option("--check", "checked", type=click.Path(path_type=Path), metavar="FILE",
              help="read all of a packed file and compare its checksums, instead")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines")
def pack_command(dataset: str | None, out: Path | None, checked: Path | None, overwrite: bool, quiet: bool,
                 **chosen: Any) -> None:
    """Pack a data set into one file, to be read batch by batch.

    \b
    minigan pack imagenet imagenet128.h5 --data-root ~/ILSVRC2012
    minigan train packed --data-root imagenet128.h5

    For data sets that are larger than the memory, or slow to decode. The same call goes on
    with one that was stopped.
    """
    progress = (lambda *_: None) if quiet else progress_bar
    if checked is not None:
        if dataset is not None:
            raise WrongUse("pack: --check FILE looks at a file that is there; leave DATASET and OUT away")
        echo(pack.check(checked, progress))
        return
    if dataset is None or out is None:
        raise WrongUse("pack: which data set, and into which file? As in: minigan pack stl10 stl10.h5; choose from: "
                       + ", ".join(sorted(datasets.DATASETS.keys() - {"packed"})))
    echo(pack.pack(dataset, out, overwrite=overwrite, progress=progress, **chosen))
