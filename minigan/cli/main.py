"""The command line: parse, call, print. Every error is one line on stderr; exit code 2: wrong use, 1: failed work."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from minigan import __version__
from minigan.cli.classifier import classifier_commands
from minigan.cli.score import compare_command, score_command, weights_command
from minigan.cli.view import diagnose_command, figure_command, report_command, watch_command
from minigan.data import datasets, pack
from minigan.engine import devices, machine
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import Experiment, option_name
from minigan.experiment.explain import explain
from minigan.experiment.presets import DATASET_PRESETS, experiment
from minigan.formats import image_files
from minigan.formats.download import progress_bar
from minigan.metrics import classifier, inception_weights
from minigan.networks import model_table
from minigan.studies import grid, reproduce, tables
from minigan.studies import sweep as sweeps
from minigan.training import loop, restore, run_folder, sampling, validate

KINDS = {"int": int, "float": float, "str": str}
MOST = 100_000  # pictures of one call of sample: 300 MB at 32 x 32 pixels


def main() -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal's encoding lacks
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on the given words; returns the exit code."""
    try:
        return commands.main(arguments, prog_name="minigan", standalone_mode=False) or 0
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "minigan"
        return _fail(f"{error.format_message()} (see {command} --help)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 1)
    except WrongUse as error:
        return _fail(str(error), 2)
    except FailedWork as error:
        return _fail(str(error), 1)
    except loop.Interrupted as error:
        return _fail(str(error), 128 + error.signum)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130)
    except MemoryError as error:
        return _fail(f"not enough memory ({error}); ask for less: --batch-size, --width, --size, --count", 1)
    except OSError as error:  # where no more is known; click itself leaves quietly when a pipe's reader has gone
        return _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except Exception as error:
        if "--verbose" in arguments or "-v" in arguments:
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        return _fail(f"a fault of minigan itself: {type(error).__name__}: {error} ({Path(where.filename).name}, line "
                     f"{where.lineno}); --verbose shows all of it; please report it", 1)


def _fail(line: str, code: int) -> int:
    click.echo(f"minigan: {' '.join(line.split())}", err=True)
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
             invoke_without_command=True)
@click.version_option(__version__, message="minigan %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Train and explain spectrally normalized GANs, with no deep-learning framework underneath.

    \b
    minigan train shapes                     a first run: drawings made by code, a few minutes on two cores
    minigan train cifar10 --norm sn          the paper's job
    minigan sample runs/shapes-cnn-sn        pictures from a run
    minigan info                             versions, threads, devices, data sets found
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)


# ---- train ---------------------------------------------------------------------------------------------------------

def experiment_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each field of Experiment but the data set, in the fields' order."""
    for f in reversed(dataclasses.fields(Experiment)[1:]):
        text = f.metadata["help"]
        if f.name in validate.CHOICES and f.name not in ("fit", "scaling", "device"):
            if not all(choice in text for choice in validate.CHOICES[f.name]):
                text += ": " + ", ".join(validate.CHOICES[f.name])
        if f.type == "bool":
            command = click.option(f"{option_name(f.name)}/--no-{f.name.replace('_', '-')}", f.name, default=None,
                                   help=text)(command)
            continue
        if f.default is not None:
            text += f" [{f.default:g}]" if isinstance(f.default, float) else f" [{f.default}]"
        command = click.option(option_name(f.name), f.name, default=None, help=text,
                               type=KINDS[str(f.type).split(" | ")[0]])(command)
    return command


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; the data's folder as it is called from anywhere, as a resumed run may be."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if "data_root" in chosen:
        chosen["data_root"] = os.path.abspath(os.path.expanduser(chosen["data_root"]))
    return chosen


def _presets() -> str:
    """The presets of the data sets, for the end of the help."""
    def words(preset: dict[str, Any]) -> str:
        return " ".join(f"{option_name(name)} {value:g}" for name, value in preset.items())
    return "\n\n".join(f"{name}: {words(preset)}" for name, preset in DATASET_PRESETS.items())


@commands.command("train", epilog=_presets())
@click.argument("dataset", required=False, metavar="[DATASET]")
@experiment_options
@click.option("--out", type=click.Path(path_type=Path), help="the run's folder [runs/DATASET-MODEL-NORM]")
@click.option("--overwrite", is_flag=True, help="replace the run that is in that folder")
@click.option("--resume", "resumed", metavar="RUN", type=click.Path(path_type=Path),
              help="go on with the run in this folder")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines")
@click.option("-v", "--verbose", is_flag=True, help="say every choice first")
def train_command(dataset: str | None, out: Path | None, overwrite: bool, resumed: Path | None, quiet: bool,
                  verbose: bool, **given: Any) -> None:
    """Train a GAN on DATASET: shapes, cifar10, cifar100, mnist, fashion-mnist, svhn, stl10, or with --data-root celeba,
    imagenet, folder, packed (what minigan pack made).

    \b
    minigan train shapes
    minigan train cifar10 --model resnet --out runs/resnet
    minigan train folder --data-root ~/pictures --size 48 --norm none
    minigan train --resume runs/resnet

    Values in brackets are the defaults: Table 3 of Miyato et al. 2018 and setting C of its Table 1. --model resnet has
    the authors' settings for it, --profile those of another source, --setting a row of a paper's table; small data sets
    have presets of their own (below). What is given counts in any case; `minigan explain` shows where each value
    comes from.

    Ctrl-C saves and stops; --resume goes on to the same bytes as if the run had never stopped.
    """
    chosen = _chosen(given)
    if resumed is not None:
        if out is not None or overwrite:
            raise WrongUse("--resume goes on in the run's own folder; leave --out and --overwrite away")
        loop.resume(resumed, chosen | ({"dataset": dataset} if dataset else {}), quiet, verbose)
        return
    if dataset is None:
        raise WrongUse(f"train: which data set? choose from: {', '.join(sorted(datasets.DATASETS))}; "
                       "or --resume RUN")
    e = experiment(dataset, **chosen)
    loop.fit(e, out or Path("runs") / f"{e.dataset}-{e.model}-{e.norm}", overwrite, quiet, verbose)


@commands.command("explain")
@click.argument("dataset")
@experiment_options
def explain_command(dataset: str, **given: Any) -> None:
    """Print every choice of `minigan train DATASET` with these options: its value, who made it, where that is said.

    \b
    minigan explain cifar10
    minigan explain cifar10 --profile bssn --lr 2e-4
    minigan explain cifar10 --model resnet --profile sngan-projection --norm ssn

    Below an option stand the profiles that have another value: where paper and code differ, both are there.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    validate.check_names(experiment(dataset, **chosen))
    click.echo("\n".join(explain(dataset, **chosen)))


@commands.command("sweep")
@click.argument("dataset")
@click.option("--methods", default="none,sn,wn,wgan-gp", help="norms, wgan-gp, gan-gp [none,sn,wn,wgan-gp]")
@click.option("--settings", default="A,C,D,F", help="rows of the papers' tables: A to F, bssn-1 to bssn-5 [A,C,D,F]")
@click.option("--seeds", default=1, help="runs of each, with seeds 0, 1, ... [1]")
@click.option("--out", type=click.Path(path_type=Path), help="the sweep's folder [runs/sweep-DATASET]")
@click.option("--list", "only_list", is_flag=True, help="print the runs and stop")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines of the runs")
@experiment_options
def sweep_command(dataset: str, methods: str, settings: str, seeds: int, out: Path | None, only_list: bool,
                  quiet: bool, **given: Any) -> None:
    """Train a grid of runs on DATASET: every method with every setting and seed; other options hold for all.

    \b
    minigan sweep fashion-mnist --seeds 2 --iterations 3000
    minigan sweep cifar10 --methods sn,bssn,wgan-gp --settings C,bssn-4 --seeds 5 --out runs/grid

    A sweep that was stopped goes on with the same command; several processes may work on one. summary.md in its folder
    has a table of what is finished.
    """
    names, rows = ([name.strip() for name in names.split(",")] for names in (methods, settings))
    cells = grid.grid(dataset, names, rows, seeds, **_chosen(given))
    if only_list:
        click.echo("\n".join(cell.name for cell in cells))
        return
    out = out or Path("runs") / f"sweep-{dataset}"
    sweeps.sweep(cells, out, quiet, click.echo)
    click.echo("\n".join(tables.summary(cells, out)))


@commands.command("reproduce")
@click.argument("name", required=False)
@click.option("--list", "only_list", is_flag=True, help="all names, with the scores to reach and their protocols")
@click.option("--seeds", default=1, help="runs of each, with seeds 0, 1, ... [1]")
@click.option("--out", type=click.Path(path_type=Path), help="the folder of the runs [runs/NAME]")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines of the runs")
@experiment_options
def reproduce_command(name: str | None, only_list: bool, seeds: int, out: Path | None, quiet: bool,
                      **given: Any) -> None:
    """Train what a table or a figure of the papers shows: NAME as --list has it, its beginning, or bssn/figure18.

    \b
    minigan reproduce --list
    minigan reproduce sn-gan/table2/cifar10/cnn/sn-hinge
    minigan reproduce bssn/table1/cifar10/cnn/bssn --iterations 2000 --width 0.25

    Options change the experiment, and what was shrunk is said. Stopped, it goes on with the same command.
    """
    if only_list or name is None:
        click.echo("\n".join(reproduce.listing()))
        return
    chosen = _chosen(given)
    name = reproduce.find(name)
    cells = reproduce.cells(name, seeds, **chosen)
    for cell in cells:
        validate.check_names(cell.experiment)
    lines = reproduce.describe(name, cells, **chosen)
    click.echo("\n".join(lines))
    out = out or Path("runs") / name
    sweeps.sweep(cells, out, quiet, click.echo)
    click.echo("\n".join([*tables.summary(cells, out), "", *lines]))


# ---- pack ----------------------------------------------------------------------------------------------------------

@commands.command("pack")
@click.argument("dataset", required=False, metavar="[DATASET]")
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option("--data-root", "root", type=click.Path(path_type=Path), help="folder in which the data lies")
@click.option("--size", type=int, help="side of the pictures in pixels [the data set's own, or the papers']")
@click.option("--split", help="part of the data set, as for minigan train")
@click.option("--fit", default="crop", help="how pictures of a folder become square: crop, stretch [crop]")
@click.option("--crop", type=int, help="side of the square in the middle of celeba's pictures that is used [128]")
@click.option("--resize", help="how another size is reached: lanczos, bilinear, plain")
@click.option("--skip-bad", is_flag=True, help="leave out pictures that cannot be read or are too small")
@click.option("--overwrite", is_flag=True, help="replace OUT")
@click.option("--check", "checked", type=click.Path(path_type=Path), metavar="FILE",
              help="read all of a packed file and compare its checksums, instead")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines")
def pack_command(dataset: str | None, out: Path | None, checked: Path | None, overwrite: bool, quiet: bool,
                 **chosen: Any) -> None:
    """Pack DATASET into the file OUT, once, for training that reads it batch by batch.

    \b
    minigan pack imagenet imagenet128.h5 --data-root ~/ILSVRC2012
    minigan train packed --data-root imagenet128.h5

    For data sets that are larger than the memory, or slow to decode. If it is stopped, the same call goes on with it.
    """
    progress = (lambda *_: None) if quiet else progress_bar
    if checked is not None:
        if dataset is not None:
            raise WrongUse("pack: --check FILE looks at a file that is there; leave DATASET and OUT away")
        click.echo(pack.check(checked, progress))
        return
    if dataset is None or out is None:
        raise WrongUse("pack: which data set, and into which file? As in: minigan pack stl10 stl10.h5; choose from: "
                       + ", ".join(sorted(datasets.DATASETS.keys() - {"packed"})))
    click.echo(pack.pack(dataset, out, overwrite=overwrite, progress=progress, **chosen))


# ---- sample --------------------------------------------------------------------------------------------------------

@commands.command("sample")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-n", "--count", default=64, help="how many pictures [64]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("samples.png"),
              help="a grid.png, an .npz (uint8 array 'images'), or a folder for single pictures [samples.png]")
@click.option("--seed", default=0, help="seed of the latents [0]")
@click.option("--scale", default=1, help="enlarge every pixel of a grid [1]")
@click.option("--label", type=int, help="the class of all, of a run with --condition [the classes in turn]")
@click.option("--interpolate", "steps", type=int, metavar="STEPS",
              help="rows of STEPS pictures from one latent to another, COUNT rows [off]")
@click.option("--best", is_flag=True, help="the run's checkpoint of its best score, not its newest")
def sample_command(run: Path, count: int, out: Path, seed: int, scale: int, label: int | None,
                   steps: int | None, best: bool) -> None:
    """Draw pictures from the generator of RUN, with its running averages (evaluation mode).

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
        raise WrongUse(f"that is as much as {count * (steps or 1) * scale ** 2:,} pictures (--count times STEPS times "
                       f"--scale squared); expected at most {MOST:,}")
    suffix = out.suffix.lower()
    if suffix not in ("", ".png", ".npz"):
        raise WrongUse(f"--out {out}: expected a .png, an .npz or a folder (a name without a dot)")
    gen, e, classes, remarks = restore.load_generator(run, best)
    for line in remarks:
        click.echo(line, err=True)
    rng = np.random.default_rng(seed)
    if steps is None:
        z = sampling.latents(rng, e, count)
    else:
        z = sampling.interpolate(rng, e, count, steps)
    if label is not None and not 0 <= label < classes:
        raise WrongUse(f"--label: expected 0 to {classes - 1}, got {label}" if classes else
                       f"--label: {run} was trained without labels; leave it out")
    images = sampling.draw(gen, z, classes=classes, labels=None if label is None else np.full(len(z), label))
    if suffix == ".npz":
        run_folder.save_npz(out, images)
    elif suffix == ".png":
        image_files.save_png(out, image_files.grid(images, columns=steps, scale=scale))
    else:
        image_files.save_singles(out, images)
    click.echo(f"{len(images)} pictures of {images.shape[2]} x {images.shape[1]} pixels: {out}")


# ---- networks ------------------------------------------------------------------------------------------------------

@commands.command("networks")
@click.argument("name", required=False, metavar="[MODEL]")
@click.option("--size", type=int, help="side of the pictures in pixels [the source's]")
@click.option("--width", default=1.0, help="factor on every number of channels [1]")
@click.option("--classes", default=0, help="number of classes of a conditional GAN [0]")
@click.option("--condition", default="", help="how the discriminator uses the label: projection, concat, ac [none]")
def networks_command(name: str | None, size: int | None, width: float, classes: int, condition: str) -> None:
    """The layers of MODEL as a table: shapes, kernels, parameters, multiplications; without MODEL, all models.

    \b
    minigan networks
    minigan networks cnn --size 48
    minigan networks resnet-imagenet --classes 1000 --condition projection
    """
    if name is None and (size, width, classes, condition) != (None, 1.0, 0, ""):
        raise WrongUse("networks: --size, --width, --classes and --condition are for one model; name it")
    if condition and not classes:
        raise WrongUse(f"networks: --condition {condition} needs labels: give --classes, their number")
    for line in model_table.overview() if name is None else model_table.lines(name, size, width, classes,
                                                                                 condition):
        click.echo(line)


# ---- looking at runs: view_commands.py -----------------------------------------------------------------------------

commands.add_command(diagnose_command)
commands.add_command(figure_command)
commands.add_command(report_command)
commands.add_command(watch_command)


# ---- scores: score_commands.py, classifier_commands.py --------------------------------------------------------------

commands.add_command(classifier_commands)
commands.add_command(compare_command)
commands.add_command(score_command)
commands.add_command(weights_command)


# ---- info ----------------------------------------------------------------------------------------------------------

@commands.command("info")
def info_command() -> None:
    """Versions, BLAS, threads, devices, cache folder, data sets, Inception's weights and classifiers found."""
    found = machine.machine()
    rows = [("minigan", f"{found['minigan']}  ({Path(__file__).parents[1]})"),
            ("python", found["python"]), ("numpy", found["numpy"]), ("blas", "; ".join(found["blas"]) or "unknown"),
            ("machine", f"{found['processor']}, {found['cores']} cores, {found['platform']}"),
            ("threads", f"{found['cores']} by default (--threads)"), ("device cpu", "yes"),
            *_cuda(), ("cache folder", str(datasets.cache_folder()))]
    rows += [(f"data {name}", datasets.find(name) or "not found") for name in datasets.DATASETS]
    rows += [("inception's weights", inception_weights.kept() or "not found (minigan weights says what to put where)"),
             ("classifiers", ", ".join(path.stem for path in classifier.kept()) or "none (minigan classifier train)")]
    for name, value in rows:
        click.echo(f"{name:20} {value}")


def _cuda() -> list[tuple[str, str]]:
    """What there is to compute on a GPU; if something is missing, what, and how to get it."""
    try:
        found = devices.cuda_facts()
    except WrongUse as error:
        return [("device cuda", "no: " + str(error).removeprefix("--device cuda").lstrip(": ").removesuffix(
            ", or use --device cpu"))]
    return [("device cuda", "yes"), *found.items()]
