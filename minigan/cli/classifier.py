"""The commands minigan classifier train and show."""

from __future__ import annotations

from pathlib import Path

import click

from minigan.cli.choices import Names
from minigan.cli.help import Command, Group, echo
from minigan.data import datasets
from minigan.engine import thread_pool
from minigan.engine.devices import DEVICES
from minigan.errors import WrongUse
from minigan.formats.locks import alone
from minigan.formats.progress import ProgressLine
from minigan.formats.whole import check_writable, remove
from minigan.metrics import classifier
from minigan.metrics.classifier import SIZES
from minigan.training.interrupts import Interrupted, stop_signals


@click.group("classifier", cls=Group)
def classifier_command() -> None:
    """Train or describe classifiers whose features score images.

    Each is a small one of a data set's images, trained here, for minigan score --protocol classifier: where Inception's
    weights are missing, or have seen nothing like the images.
    """


@classifier_command.command("train", cls=Command)
@click.argument("dataset", type=Names("data set", lambda: datasets.DATASETS, free=True))
@click.option("--data-root", "root", type=click.Path(path_type=Path), help="folder in which the data lies")
@click.option("--size", type=int, help="side of the images in pixels [the data set's own]")
@click.option("--epochs", default=4, type=click.IntRange(1, 1000), help="times that it sees every image [4]")
@click.option("--batch-size", default=100, type=click.IntRange(2, 1 << 16), help="images in a batch [100]")
@click.option("--lr", "rate", default=2e-3, help="Adam's learning rate at first; it falls to 0 [0.002]")
@click.option("--seed", default=0, type=click.IntRange(0, 2**63 - 1), help="seed of everything random [0]")
@click.option("--device", default="cpu", type=Names("device", lambda: DEVICES),
              help="where to compute: cpu, cuda [cpu]")
@click.option("--threads", type=click.IntRange(1, 1024), help="worker threads [all cores]")
@click.option("--out", type=click.Path(path_type=Path), help="its file [in the cache folder, where score looks]")
@click.option("-q", "--quiet", is_flag=True, help="no progress lines")
def train_command(dataset: str, root: Path | None, size: int | None, epochs: int, batch_size: int, rate: float,
                  seed: int, device: str, threads: int | None, out: Path | None, quiet: bool) -> None:
    """Train a classifier on a data set's training images.

    It is tested on the test images after every epoch.

    \b
    minigan classifier train fashion-mnist
    minigan score runs/fashion-mnist-cnn-sn --protocol classifier

    Ctrl-C, or a terminal that closes, saves and stops; the same command goes on.
    """
    if not 1e-12 <= rate <= 1e6:
        raise WrongUse(f"--lr: expected 1e-12 to 1e+06, got {rate}")
    if size is not None and not SIZES[0] <= size <= SIZES[1]:
        raise WrongUse(f"--size: expected {SIZES[0]} to {SIZES[1]:,}, got {size}")
    if out is not None and out.suffix != ".h5":
        raise WrongUse(f"--out {out}: expected a name that ends with .h5")
    classifier.check_trainable(dataset)
    side = size or datasets.DATASETS[dataset].size
    assert side is not None, "a data set that has labels and a test split has a size"
    path = out or classifier.place(dataset, side)
    check_writable(path, "; choose another place with --out, or another cache folder with MINIGAN_CACHE")
    kept = path.with_name(f"{path.name}.training")
    check_writable(kept)
    thread_pool.set_threads(threads)
    line: ProgressLine | None = None

    def progress(done: int, total: int, numbers: dict[str, float]) -> None:
        nonlocal line
        line = line or ProgressLine(total, done, quiet=quiet)
        if "accuracy" in numbers:
            line.say(f"after {done:,} of {total:,} batches: {100 * numbers.pop('accuracy'):.2f} % of the test images "
                     "are right")
        line.update(done, **numbers)
    with alone(path, f"{path} is being trained by another process; wait until it is done, or choose another --out"):
        with stop_signals("this batch") as asked:
            try:
                made = classifier.train(dataset, root, size, epochs, batch_size, rate, seed, device, progress,
                                        kept, lambda: asked)
            finally:
                if line:
                    line.close()
        if made is None:
            raise Interrupted("stopped, saved; the same command goes on", asked[0])
        classifier.save(path, made)
        remove(kept)  # not before: a power cut between the two would cost the training
    echo(f"{classifier.describe(made)}: {path}")


@classifier_command.command("show", cls=Command)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def show_command(files: tuple[Path, ...]) -> None:
    """Say what is in files of classifiers.

    Without FILES: in all that the cache folder has.
    """
    for path in files or classifier.kept():
        echo(f"{classifier.describe(classifier.load(path))}: {path}")
