"""Commands that train: train, sweep, reproduce; and explain, which says what would be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minigan.cli.choices import Names, RunFolder, dask_option
from minigan.cli.experiment_options import chosen, experiment_options, images_type
from minigan.cli.help import Command, TrainCommand, echo, help_all
from minigan.data import datasets
from minigan.errors import WrongUse
from minigan.experiment.experiment import from_anywhere, option_name
from minigan.experiment.explain import explain
from minigan.experiment.methods import METHODS
from minigan.experiment.papers import TARGETS
from minigan.experiment.presets import DATASET_PRESETS, experiment
from minigan.experiment.profiles import SETTINGS
from minigan.formats.progress import to_stderr, to_stdout
from minigan.networks.norms import NORMS
from minigan.parallel import mpi
from minigan.parallel.dask_workers import connected
from minigan.studies import grid, reproduce, tables
from minigan.studies import sweep as sweeps
from minigan.studies.sweep_on_workers import sweep_on
from minigan.training import loop, run_folder, validate


def _named(word: str, options: dict[str, Any], command: str) -> tuple[str, dict[str, Any]]:
    """The data set of a word that names one, or the place of images; and the options that were chosen, with its place.

    WrongUse if the word is neither, or says what an option says otherwise.
    """
    of = datasets.named(word)
    if of.remark:
        to_stderr(f"minigan: {of.remark}")
    if of.root is not None and run_folder.is_run(of.root):
        raise WrongUse(f"{word} is a run, not images to train on; minigan train --resume {word} goes on with it")
    for option, said in (("data_root", of.root), ("split", of.split)):
        if said is not None and options.get(option) is not None:
            raise WrongUse(f"{command} {word}: the images are said already; leave {option_name(option)} out")
    own = {"data_root": None if of.root is None else str(of.root), "split": of.split}
    return of.dataset, options | from_anywhere({name: value for name, value in own.items() if value is not None})


def _train_all(cells: list[grid.Cell], out: Path, quiet: bool, dask: str | None) -> None:
    """Train the runs here, or on the workers of a Dask cluster."""
    mpi.stay_apart()
    if dask is None:
        sweeps.sweep(cells, out, quiet, to_stdout)
        return
    with connected(dask) as workers:
        sweep_on(workers, cells, out, quiet, to_stdout)


def _presets() -> list[tuple[str, str]]:
    """The data sets that have a preset, with it."""
    return [(dataset, " ".join(f"{option_name(name)} {value:g}" for name, value in preset.items()))
            for dataset, preset in DATASET_PRESETS.items()]


@click.command("train", cls=TrainCommand, table=("Presets of data sets", _presets()))
@click.argument("dataset", required=False, type=images_type())
@experiment_options
@click.option("--out", type=click.Path(path_type=Path), help="the run's folder [runs/DATASET-MODEL-NORM]")
@click.option("--overwrite", is_flag=True, help="replace the run that is in that folder")
@click.option("--resume", "resumed", metavar="RUN", type=RunFolder(),
              help="go on with the run in this folder")
@click.option("--tensorboard", is_flag=True, help="write TensorBoard's event file beside the log, too: numbers and "
              "samples")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines")
@click.option("-v", "--verbose", is_flag=True, help="say every choice first")
@help_all
def train_command(dataset: str | None, out: Path | None, overwrite: bool, resumed: Path | None, tensorboard: bool,
                  quiet: bool, verbose: bool, **given: Any) -> None:
    """Train a GAN on a data set, or on images of your own.

    DATASET is shapes, cifar10, cifar100, mnist, fashion-mnist, svhn, stl10; the path of a folder, a zip archive or an
    .npz file of images, or of what minigan pack made (also as folder and packed with --data-root); or with --data-root
    celeba, imagenet. An .npz file's own labels are labels, y or arr_1, also one-hot.

    \b
    minigan train shapes
    minigan train cifar10 --model resnet --out runs/resnet
    minigan train photos/ --size 48 --norm none
    minigan train images.npz --condition projection
    minigan train --resume runs/resnet

    Values in brackets are the defaults: Table 3 of Miyato et al. 2018 and setting C of its Table 1. --model resnet has
    the authors' settings for it, --profile those of another source, --setting a row of a paper's table; small data sets
    have presets of their own (--help-all names them). What is given counts in any case; minigan explain shows where
    each value comes from.

    Ctrl-C, or a terminal that closes, saves and stops; --resume goes on to the same bytes as if the run had never
    stopped, under the same kernel of BLAS (minigan info names it; another rounds in its own way, and that is said).
    """
    options = chosen(given)
    if resumed is not None:
        if out is not None or overwrite:
            raise WrongUse("--resume goes on in the run's own folder; leave --out and --overwrite away")
        loop.resume(resumed, options | ({"dataset": dataset} if dataset else {}), quiet, verbose,
                    tensorboard=tensorboard)
        return
    if dataset is None:
        raise WrongUse(f"train: which data set? choose from: {', '.join(sorted(datasets.DATASETS))}; "
                       "or the path of a folder, a zip archive or an .npz file of images; or --resume RUN")
    dataset, options = _named(dataset, options, "train")
    e = experiment(dataset, **options)
    loop.fit(e, out or Path("runs") / f"{e.dataset}-{e.model}-{e.norm}", overwrite, quiet, verbose,
             tensorboard=tensorboard)


@click.command("explain", cls=Command)
@click.argument("dataset", type=images_type())
@experiment_options
def explain_command(dataset: str, **given: Any) -> None:
    """Say where each choice of a training comes from.

    It prints every choice of `minigan train DATASET` with these options: its value, who made it, where that is said.

    \b
    minigan explain cifar10
    minigan explain cifar10 --profile bssn --lr 2e-4
    minigan explain cifar10 --model resnet --profile sngan-projection --norm ssn

    Below an option stand the profiles that have another value: where paper and code differ, both are there.
    """
    dataset, options = _named(dataset, {name: value for name, value in given.items() if value is not None}, "explain")
    validate.check_names(experiment(dataset, **options))
    echo("\n".join(explain(dataset, **options)))


@click.command("sweep", cls=Command)
@click.argument("dataset", type=images_type())
@click.option("--methods", default="none,sn,wn,wgan-gp", type=Names("method", lambda: [*NORMS, *METHODS], many=True),
              help="norms, wgan-gp, gan-gp [none,sn,wn,wgan-gp]")
@click.option("--settings", default="A,C,D,F", type=Names("setting", lambda: SETTINGS, many=True),
              help="rows of the papers' tables: A to F, bssn-1 to bssn-5 [A,C,D,F]")
@click.option("--seeds", default=1, help="runs of each, with seeds 0, 1, ... [1]")
@click.option("--out", type=click.Path(path_type=Path), help="the sweep's folder [runs/sweep-DATASET]")
@click.option("--list", "only_list", is_flag=True, help="print the runs and stop")
@dask_option("each run is trained by one of its workers")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines of the runs")
@experiment_options
def sweep_command(dataset: str, methods: str, settings: str, seeds: int, out: Path | None, only_list: bool,
                  quiet: bool, dask: str | None, **given: Any) -> None:
    """Train a grid of runs: every method, setting and seed.

    \b
    minigan sweep fashion-mnist --seeds 2 --iterations 3000
    minigan sweep cifar10 --methods sn,bssn,wgan-gp --settings C,bssn-4

    A sweep that was stopped goes on with the same command; several processes may work on one. summary.md in its folder
    has a table of what is finished.
    """
    dataset, options = _named(dataset, chosen(given), "sweep")
    names, rows = ([name.strip() for name in names.split(",")] for names in (methods, settings))
    cells = grid.grid(dataset, names, rows, seeds, **options)
    if only_list:
        echo("\n".join(cell.name for cell in cells))
        return
    out = out or Path("runs") / f"sweep-{dataset}"
    _train_all(cells, out, quiet, dask)
    echo("\n".join(tables.summary(cells, out)))


@click.command("reproduce", cls=Command)
@click.argument("name", required=False, type=Names("target", lambda: TARGETS, free=True))
@click.option("--list", "only_list", is_flag=True, help="all names, with the scores to reach and their protocols")
@click.option("--seeds", default=1, help="runs of each, with seeds 0, 1, ... [1]")
@click.option("--out", type=click.Path(path_type=Path), help="the folder of the runs [runs/NAME]")
@dask_option("each run is trained by one of its workers")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines of the runs")
@experiment_options
def reproduce_command(name: str | None, only_list: bool, seeds: int, out: Path | None, quiet: bool,
                      dask: str | None, **given: Any) -> None:
    """Train what a table or a figure of the papers shows.

    NAME is as --list has it, its beginning, or a figure's number, such as bssn/figure18.

    \b
    minigan reproduce --list
    minigan reproduce sn-gan/table2/cifar10/cnn/sn-hinge
    minigan reproduce bssn/table1/cifar10/cnn/bssn --iterations 2000 --width 0.25

    Options change the experiment, and what was shrunk is said. Stopped, it goes on with the same command.
    """
    if only_list or name is None:
        echo("\n".join(reproduce.listing()))
        return
    options = chosen(given)
    name = reproduce.find(name)
    cells = reproduce.cells(name, seeds, **options)
    for cell in cells:
        validate.check_names(cell.experiment)
    lines = reproduce.describe(name, cells, **options)
    echo("\n".join(lines))
    out = out or Path("runs") / name
    _train_all(cells, out, quiet, dask)
    echo("\n".join([*tables.summary(cells, out), "", *lines]))
