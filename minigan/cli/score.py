"""Commands that deal with scores and what they are made with."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import click

from minigan.cli.choices import Names, RunFolder, dask_option
from minigan.cli.help import Command, SectionOption, echo
from minigan.data.datasets import DATASETS
from minigan.data.image_folder import FITS
from minigan.engine.devices import DEVICES
from minigan.errors import WrongUse
from minigan.formats.progress import to_stderr
from minigan.metrics import inception_weights, stored_scores
from minigan.metrics.protocols import PROTOCOLS
from minigan.parallel.dask_workers import connected
from minigan.training import run_record
from minigan.training.scoring import keeping
from minigan.training.scoring.given import recognized
from minigan.training.scoring.instrument import COUNT
from minigan.training.scoring.options import Asked
from minigan.training.scoring.score import Result, score
from minigan.views import readings

_real, _reading = (partial(click.option, cls=SectionOption, section=heading)
                   for heading in ("The real images, said by options", "How images are read"))


@click.command("weights", cls=Command)
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="write the weights again as .h5 or .safetensors")
@click.option("--overwrite", is_flag=True, help="replace OUT")
def weights_command(file: Path | None, out: Path | None, overwrite: bool) -> None:
    """Say what a file of Inception's weights holds.

    Without FILE: what is in the cache folder, and what to put there.

    \b
    minigan weights
    minigan weights pt_inception-2015-12-05-6726825d.pth
    minigan weights inception-2015-12-05.tgz --out inception.h5

    Reads PyTorch's .pth (both formats), TensorFlow's .pb and its .tgz, Keras' .h5, .safetensors and minigan's own .h5,
    without any of those libraries; nothing in the file is executed.
    """
    if file is None:
        if out is not None or overwrite:
            raise WrongUse("weights: --out and --overwrite are for one file; name it")
        echo("\n".join(inception_weights.overview()))
        return
    if out is not None:
        inception_weights.check_name(out)
        if out.exists() and not overwrite:
            raise WrongUse(f"{out} is there already; choose another name, or --overwrite")
    weights = inception_weights.load(file)
    for line in inception_weights.describe(weights):
        echo(line)
    if out is not None:
        inception_weights.save(weights, out)
        echo(f"{'written':12} {out}")


@click.command("score", cls=Command, table=("Protocols, by whom and how", [
    (name, f"{protocol.source}.") for name, protocol in PROTOCOLS.items()]))
@click.argument("subject", metavar="A", type=Names("input", lambda: DATASETS, free=True, paths=True, runs=True))
@click.argument("real", required=False, metavar="[B]",
                type=Names("input", lambda: DATASETS, free=True, paths=True, runs=True))
@click.option("--protocol", type=Names("protocol", lambda: PROTOCOLS),
              help="who measures what: " + ", ".join(PROTOCOLS) + " [classifier where Inception has seen "
              "nothing like the data, such as digits; else sn-gan; a run's --score]")
@click.option("--count", type=click.IntRange(2, 1_000_000), help="at most so many images everywhere; the protocol's "
              f"name says so [the protocol's; {COUNT:,} for classifier]")
@click.option("--weights", type=click.Path(path_type=Path), help="file of Inception's weights, or of a classifier [a "
              "run's --score-weights; else in the cache folder; Inception's are downloaded]")
@click.option("--device", default="cpu", type=Names("device", lambda: DEVICES),
              help="where to compute: cpu, cuda [cpu]")
@click.option("--seed", default=0, type=click.IntRange(0, 2**62), help="seed of the latents [0]")
@click.option("--repeat", type=click.IntRange(1, 1000), help="how many sets of images a run draws, "
              "of seeds SEED, SEED + 1, ...: also mean and deviation [the protocol's: 3 for mimicry, else 1]")
@click.option("--best", is_flag=True, help="the run's checkpoint of its best score, not its newest")
@click.option("--out", type=click.Path(path_type=Path), help="file to which the scores are added [A/scores.json]")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines, the scores alone")
@_real("--data", type=Names("data set", lambda: DATASETS),
       help="B as a data set's name [a run's own: those that it was trained on, and no others]")
@_real("--data-root", type=click.Path(path_type=Path), help="folder in which data sets lie [the run's]")
@_real("--split", help="which part of --data they are [the run's, or as minigan train takes it]")
@_real("--stats", type=click.Path(path_type=Path), help="an .npz of real images' mu and sigma, or mean and cov, for "
       "FID")
@_real("--write-stats", type=click.Path(path_type=Path), help="file .npz to which mu and sigma of the real images are "
       "written, for --stats and other programs")
@_reading("--size", type=int, help="side to which images of --data and of a folder are brought [the fakes'; a folder's "
          "own, all must have one]")
@_reading("--fit", default="crop", type=Names("fit", lambda: FITS),
          help="how a folder's become square: crop, stretch [crop]")
@_reading("--skip-bad", is_flag=True, help="leave out those that cannot be read, or have no such size")
@_reading("--follow-links", is_flag=True, help="take those that symbolic links out of the folder lead to")
@_reading("--large-images", is_flag=True, help="take those with more than 89 million pixels, too: up to 2^30")
@dask_option("features are computed by its workers", cls=SectionOption, section="On other machines")
def score_command(subject: str, real: str | None, out: Path | None, repeat: int | None, dask: str | None,
                  **given: Any) -> None:
    """Score generated images against real ones: IS, FID and more.

    A are the generated images, B the real ones, each of these: a run's folder, a folder, a zip archive or an .npz file
    of images (as minigan sample, ADM or BigGAN writes it), a packed file, a data set's name (cifar10, cifar10:test), an
    .npz file of statistics (mu and sigma, mean and cov, m and s), which serves FID alone. A run without B is compared
    with the images that it was trained on.

    \b
    minigan score runs/fashion-mnist-cnn-sn
    minigan score runs/cifar10-cnn-sn --protocol sn-gan --count 2000
    minigan score fakes.npz photos/ --protocol torch-fidelity
    minigan score runs/cifar10-cnn-sn cifar10:test
    minigan score fakes.zip fid_stats_cifar10.npz --protocol ttur

    A B is --input1 A --input2 B of other programs; their --gpu is --device cuda here. There is no --batch-size and no
    --num-workers: no score depends on them, and all cores are used. B may also be said as --data NAME --data-root
    FOLDER, or --stats FILE.

    Scores with all that they depend on are added to A/scores.json where A is a run, A/nearest.png shows fakes with the
    real ones nearest to them. Features are kept in the cache folder; a call that was stopped goes on where it was.
    Below the scores stands how to read each, but for --quiet.
    """
    asked, a, b = Asked(**given), recognized(subject), None if real is None else recognized(real)
    is_run = a.run is not None
    for one in (a, b):
        if one is not None and one.remark:
            to_stderr(one.remark)
    if b is not None and not asked.quiet:
        to_stderr(f"fakes: {a.name} ({a.kind}); real: {b.name} ({b.kind})")
    out = out or (a.run / "scores.json" if a.run is not None else None)
    keeping.check_files(out, asked, "; choose another --out")
    if repeat is None:
        repeat = PROTOCOLS[asked.protocol].repetitions if is_run and asked.protocol in PROTOCOLS else 1
    if repeat > 1 and not is_run:
        raise WrongUse(f"--repeat: {a.name} is no run that could draw other images")
    if dask is not None and asked.device != "cpu":
        raise WrongUse(f"--dask: its workers compute on their CPUs; leave out --device {asked.device}, or --dask")
    made: list[Result] = []
    said: set[str] = set()
    with contextlib.nullcontext() if dask is None else connected(dask) as workers:
        for seed in range(asked.seed, asked.seed + repeat):
            found = score(a, dataclasses.replace(asked, seed=seed), b, workers=workers)
            if out is not None:  # first: the lines may go to a terminal that was closed
                keeping.keep(found, out, asked.best, nearest=not made)
            for line in stored_scores.lines(found.scores):
                echo(line)
            for remark in found.remarks:
                if remark not in said:
                    to_stderr(remark)
            said |= set(found.remarks)
            made.append(found)
    if repeat > 1:
        for line in stored_scores.mean_lines([found.scores for found in made]):
            echo(line)
    if not asked.quiet:
        echo("\n".join(["", *readings.lines(one.name for one in made[0].scores)]))


@click.command("compare", cls=Command)
@click.argument("subjects", nargs=-1, required=True, metavar="RUN...", type=RunFolder(files=True))
def compare_command(subjects: tuple[Path, ...]) -> None:
    """Print the stored scores of runs side by side.

    RUN is a run that minigan score has scored, or a file that it wrote (--out).

    \b
    minigan compare runs/sn runs/wgan-gp

    Only what was measured in one way stands in one column; below, what each column is, and why another of the same name
    is apart. Several seeds (minigan score --seed) give mean and standard deviation.
    """
    found = []
    for path in subjects:
        if path.is_dir():
            run = run_record.read(path)
            found.append((run.name, run.scores))
        elif path.is_file():
            found.append((path.parent.name if path.name == "scores.json" else path.stem, stored_scores.read(path)))
        else:
            raise WrongUse(f"{path}: no run, and no file of scores")
    for line in stored_scores.table(found):
        echo(line)
