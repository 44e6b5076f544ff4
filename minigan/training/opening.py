"""A training with its images: at its beginning, or at a run's newest checkpoint to be looked at."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from minigan.data import datasets
from minigan.data.dataset import Dataset
from minigan.engine import devices, thread_pool
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import Experiment, to_dict
from minigan.formats import untrusted
from minigan.formats.progress import progress_bar, to_stderr
from minigan.networks.own import NONE, Own
from minigan.parallel import mpi
from minigan.training import assembly, restore, validate
from minigan.training.gan import Training
from minigan.training.run_record import Run
from minigan.training.scoring.learning_curve import Curve, open_curve

Say = Callable[[str], None]


def begun(e: Experiment, quiet: bool, verbose: bool, say: Say, own: Own,
          given: Dataset | None = None) -> tuple[Training, Curve | None]:
    """The training at its beginning, with its data; and the scores to be measured on the way."""
    devices.device_module(e.device)
    group = mpi.group()
    if group.size > 1 and e.device == "cuda":
        devices.take_card(group.place)
    data = given if given is not None else datasets.of_experiment(
        e, say=say, progress=(lambda *_: None) if quiet else progress_bar)
    if len(data.images) < 2:
        raise WrongUse(f"{data.source}: a training compares sets of images, real and fake, and needs at least 2; to "
                       "see a network learn one by heart, put a copy of it beside it, and use --batch-size 2")
    thread_pool.set_threads(e.threads or max(1, thread_pool.cores() // group.here))
    curve = open_curve(e, data, quiet, group)
    try:
        training = Training(e, data.images, data.labels, own, group=group)
    except (MemoryError, RuntimeError) as error:  # the images go to the GPU in one piece
        if devices.out_of_memory(error):
            raise FailedWork(out_of_memory(e, 0, None, error)) from None
        raise
    if verbose:
        _describe(training, data.source)
    return training, curve


def opened(run: Run, data_root: str | None = None, quiet: bool = False,
           own: Own = NONE, data: str | None = None) -> tuple[Training, list[str]]:
    """The training of a run at its newest readable checkpoint, with its data, to be looked at; and remarks.

    data_root: where the data are, if not where the run had them.  data: a data set's name, for weights of others.
    """
    assembly.check_own(run.experiment, own, str(run.folder))
    saved = restore.newest(run.folder, own=own)
    with untrusted.doubting(str(saved.path)):
        validate.check_names(saved.e)
    e = dataclasses.replace(saved.e, data_root=data_root or saved.e.data_root)
    if saved.imported:
        return _opened_import(saved, dataclasses.replace(e, dataset=data or e.dataset), quiet), saved.remarks
    if data is not None and data != e.dataset:
        raise WrongUse(f"--data: {run.folder} was trained on {e.dataset}, and is diagnosed with these; leave it out")
    training, _ = begun(dataclasses.replace(e, score_every=0), quiet, False, to_stderr, own)
    training.load(saved.state, str(saved.path))
    return training, saved.remarks


def out_of_memory(e: Experiment, iteration: int, good: Path | None, error: Exception) -> str:
    """What to lower, and from where one can go on."""
    where = "GPU" if e.device == "cuda" else "main"
    batch = max(e.batch_size, e.gen_batch_size or 0)
    common = math.gcd(e.batch_size, e.gen_batch_size or e.batch_size)
    more = next((n for n in range(e.accumulate + 1, common + 1) if common % n == 0), 0)
    parts = f"go on with --accumulate {more}, or " if more else ""
    smaller = f"a smaller --batch-size{' and --gen-batch-size' if e.gen_batch_size else ''}, --width or --size"
    return (f"out of {where} memory after iteration {iteration:,} with batches of {batch} and width {e.width:g} "
            f"({error}); {parts}start again with {smaller}; "
            + (f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"))


def _opened_import(saved: restore.Saved, e: Experiment, quiet: bool) -> Training:
    """The same of weights that another tool trained: on any images, with labels if the networks know classes."""
    dis = saved.discriminator()
    if e.data_root is None and datasets.find(e.dataset, None, e.split) is None:
        raise WrongUse(f"{saved.path.parent} was imported from {saved.imported}, and its images are not known; name "
                       "some to look with: --data NAME, --data-root FOLDER")
    data = datasets.of_experiment(e, say=to_stderr, progress=(lambda *_: None) if quiet else progress_bar)
    e = dataclasses.replace(e, batch_size=min(e.batch_size, len(data.images)))
    thread_pool.set_threads(e.threads)
    training = Training(e, data.images, data.labels, classes=saved.classes)
    training.gen.load(saved.gen.arrays())
    training.dis.load(dis.arrays())
    training.iteration = saved.iteration
    return training


def _describe(training: Training, source: str) -> None:
    """The choices of a run, for --verbose."""
    for name, value in to_dict(training.e).items():
        to_stderr(f"{name:>20} {value}")
    to_stderr(f"{'data':>20} {training.images.shape}, {source}")
    for name, network in (("generator", training.gen), ("discriminator", training.dis)):
        to_stderr(f"{name:>20} {sum(p.size for p in network.parameters().values()):,} parameters")
