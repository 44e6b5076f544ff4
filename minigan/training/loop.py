"""The loop around the GAN algorithm (gan.py) that records, saves and can be interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minigan.data import datasets, pack, packed
from minigan.data.dataset import Dataset, in_memory
from minigan.engine import devices, thread_pool
from minigan.engine.machine import provenance
from minigan.errors import FailedWork, WrongUse, counted
from minigan.experiment.experiment import (
    CHANGEABLE,
    Experiment,
    check,
    from_anywhere,
    learned,
    option_name,
    own_names,
    to_dict,
)
from minigan.formats import untrusted
from minigan.formats.progress import Forecast, ProgressLine, duration, progress_bar, to_stderr
from minigan.networks.own import NONE, Own
from minigan.parallel import cards, mpi
from minigan.training import (
    assembly,
    checkpoints,
    event_files,
    restore,
    run_folder,
    run_record,
    sample_grids,
    validate,
)
from minigan.training.gan import Training
from minigan.training.interrupts import Interrupted, ignored_signals, stop_signals
from minigan.training.records import NotFinite, Records, last_logged
from minigan.training.run_record import Run
from minigan.training.scoring.features_over_processes import Helper
from minigan.training.scoring.learning_curve import Curve, open_curve

Callback = Callable[[dict[str, Any]], Any]  # gets each line of the log as it is written; True: save and stop
Say = Callable[[str], None]


def fit(experiment: Experiment, out: Path, overwrite: bool = False, quiet: bool = False, verbose: bool = False,
        given: Dataset | None = None, callback: Callback | None = None, say: Say = to_stderr,
        own: Own = NONE, tensorboard: bool = False) -> None:
    """Train from the beginning into the new run folder `out`.

    given: the images, in memory, of an experiment on run_folder.own_images(out): they are kept there, so that the run
    can go on and be scored.  callback: told each line of log.jsonl. If it returns True, or raises, the run is saved and
    stops; what it raised comes out of here.  say: gets remarks.
    own: networks of the caller's own, that the experiment names (assembly.with_own); copies of them are trained.
    tensorboard: write an event file, too (event_files.py). FailedWork if its package is missing.
    """
    group = mpi.group()
    if group.rank:
        _follow(group, own, given)
        return
    if tensorboard:
        event_files.check()
    experiment = Experiment(**from_anywhere(to_dict(experiment)))
    validate.check_names(experiment)
    experiment = validate.with_precision(experiment)
    run_folder.check_new(out, overwrite)  # before the data, which may be an hour's download
    training, curve = _training(experiment, quiet, verbose, say, own, given)
    with run_folder.locked(out) as is_there:
        run_folder.create(out, experiment, _provenance(experiment, group), overwrite)
        if given is not None:
            pack.write(in_memory(given, lambda *_: None), {"dataset": given.source},
                       Path(run_folder.own_images(out)), overwrite=True, say=say)
        _lead(training, say)
        _loop(training, curve, out, is_there, quiet, callback=callback, say=say, tensorboard=tensorboard)


def resume(out: Path, chosen: dict[str, Any], quiet: bool = False, verbose: bool = False,
           callback: Callback | None = None, say: Say = to_stderr, own: Own = NONE,
           tensorboard: bool = False) -> None:
    """Go on with the run in `out` from its newest readable checkpoint; `chosen`: options given, by field name.

    WrongUse if they contradict the run's experiment: only experiment.CHANGEABLE may differ, and with a constant
    schedule the number of iterations. A run that was killed before its first checkpoint begins again.
    callback, say: as for `fit`.  own: its networks that are its author's; WrongUse if they are missing.
    tensorboard: write an event file of the whole run, a finished one's, too; one that is there goes on in any case.
    """
    group = mpi.group()
    if group.rank:
        _follow(group, own, None)
        return
    if tensorboard:
        event_files.check()
    restore.mend(out, say)
    before = run_folder.read_experiment(out)
    with run_folder.locked(out) as is_there:
        _resume(out, is_there, before, from_anywhere(chosen), quiet, verbose, callback, say, own, tensorboard)


def _resume(out: Path, is_there: Callable[[], bool], before: Experiment, chosen: dict[str, Any], quiet: bool,
            verbose: bool, callback: Callback | None, say: Say, own: Own, tensorboard: bool) -> None:
    theirs = run_folder.imported_from(out)
    if theirs:
        raise WrongUse(f"{out} was imported from {theirs}: it cannot be trained on, as the optimizers' state is not in "
                       "such files, nor which images they were trained on")
    with untrusted.doubting(str(out / "experiment.json")):
        validate.check_names(before)
    free = (*CHANGEABLE, "accumulate") + (("iterations",) if before.schedule == "constant" else ())
    for name, value in chosen.items():
        if name not in free and value != getattr(before, name):
            what = "on data set" if name == "dataset" else f"with {option_name(name)}"
            raise WrongUse(f"{out} was trained {what} {getattr(before, name)}, not {value}; leave that out, or start "
                           "another run with --out")
    experiment = _continued(before, chosen, say)
    check(experiment)
    validate.check_names(experiment)
    experiment = validate.with_precision(experiment)
    assembly.check_own(experiment, own, str(out))
    tensorboard = tensorboard or event_files.is_there(out, say)
    path = state = None
    if run_folder.checkpoints_in(out):
        saved = restore.newest(out, own=own)
        path, state = saved.path, saved.state
        for line in saved.remarks:
            say(line)
        if state["experiment"].get("features_gain") and not saved.e.features_gain:  # one of the remarks says why
            experiment = dataclasses.replace(experiment, features_gain=False)
        for name, value in learned(saved.e).items():
            if name not in free and value != getattr(experiment, name):
                raise FailedWork(f"{path} was trained with {option_name(name)} {value}, but experiment.json says "
                                 f"{getattr(before, name)}; put that right")
        if state["iteration"] >= experiment.iterations:
            # a kill may have come between the last checkpoint and this
            checkpoints.remove_older(out, state["iteration"])
            sample_grids.save_progress(out, state["iteration"])
            if tensorboard:
                event_files.of_finished(out, state["iteration"])
            if state["iteration"] >= before.iterations:
                run_folder.write_done(out, True)
            done, asked = state["iteration"], experiment.iterations
            say(f"{out} is finished: {done:,} of {counted(asked, 'iteration')}" if done == asked else
                f"{out} has {counted(done, 'iteration')} already, --iterations asks for {asked:,}; give more to go on")
            _send_home()
            return
    training, curve = _training(experiment, quiet, verbose, say, own)
    if state is not None:
        training.load(state, str(path))
    group = training.group
    made_on, found = run_folder.read_record(out)[1], _provenance(experiment, group)
    other_blas, processes = _other_blas(made_on, found["machine"]), made_on.get("processes", 1)
    if experiment != before or other_blas or processes != group.size:
        found["machine"] |= _blas_before(made_on, bool(other_blas))
        run_folder.write_experiment(out, experiment, found)
    logged = None  # the experiment when the checkpoint was saved
    if state is not None and not ("rebuilt" in made_on and "recorded" not in state):  # then both say nothing of the log
        # one of the two may have been changed since: both must agree that a line of the log should be there
        logged = min(before, restore.as_saved(state, str(path)), key=lambda e: last_logged(e, training.iteration))
    say(f"going on from {path}" if path else f"{out} has no checkpoint yet: beginning again")
    if other_blas and path:
        say(f"{out} {other_blas}: that rounds in its own way, so what follows is not, byte for byte, what an "
            "uninterrupted run has")
    if processes != group.size:
        as_many = f"{processes} process{'' if processes == 1 else 'es'}"
        what = "the same training, to rounding" if experiment.sync_bn or not training.normalizes_batches() else (
            "batch normalization takes its moments from each process's rows, so what follows is another training, as "
            "with another batch")
        say(f"{out} was trained by {as_many} and goes on with {group.size}: {what}")
    if experiment.accumulate != before.accumulate:
        say(f"{out} was trained with --accumulate {before.accumulate} and goes on with {experiment.accumulate}: "
            + ("batch normalization takes its moments from other parts, so what follows is another training, as with "
               "another batch" if training.normalizes_batches() else "the same training, to rounding"))
    _lead(training, say)
    _loop(training, curve, out, is_there, quiet, path, callback, say, tensorboard, logged)


def _continued(before: Experiment, chosen: dict[str, Any], say: Say) -> Experiment:
    """The experiment of a run that goes on with these options, its products rounded as before where the device can."""
    e = dataclasses.replace(before, **chosen)
    asked = chosen.get("precision")
    if e.device == before.device:
        # a run on a GPU that does not say how is one of an earlier minigan
        return dataclasses.replace(e, precision=asked or before.precision or (None if e.device == "cpu" else "float32"))
    if e.device == "cpu" and asked is None and before.precision not in (None, "float32"):
        say(f"its products were rounded to {before.precision} on a GPU; a CPU multiplies float32 as it is")
    return dataclasses.replace(e, precision=asked)


def _other_blas(made_on: dict[str, Any], here: dict[str, Any]) -> str:
    """What to say of a run that goes on, on the CPU, under another BLAS or kernel than before; "" for the same."""
    before = list(map(str, made_on["blas"])) if isinstance(made_on.get("blas"), list) else []
    if not before or not here["blas"] or {*before} & {*here["blas"]} or "card" in here:
        return ""  # other libraries in the process may have brought a BLAS of their own
    return f"was trained with {', '.join(before)} and goes on with {', '.join(here['blas'])}"


def _blas_before(made_on: dict[str, Any], moved: bool) -> dict[str, Any]:
    """What experiment.json says besides of a run that went on under another BLAS: those of before, the oldest first."""
    before = made_on["blas_before"] if isinstance(made_on.get("blas_before"), list) else []
    before = [*before, made_on["blas"]] if moved else before
    return {"blas_before": before} if before else {}


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
    training, _ = _training(dataclasses.replace(e, score_every=0), quiet, False, to_stderr, own)
    training.load(saved.state, str(saved.path))
    return training, saved.remarks


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


def _training(e: Experiment, quiet: bool, verbose: bool, say: Say, own: Own,
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
            raise FailedWork(_out_of_memory(e, 0, None, error)) from None
        raise
    if verbose:
        _describe(training, data.source)
    return training, curve


def _loop(training: Training, curve: Curve | None, out: Path, is_there: Callable[[], bool], quiet: bool,
          good: Path | None = None, callback: Callback | None = None, say: Say = to_stderr, tensorboard: bool = False,
          saved: Experiment | None = None) -> None:
    """Iterate to the end, and do what is due after each iteration; stop in good order when asked to.

    is_there: says whether `out` still is, which somebody may remove.
    good: the newest checkpoint, None for a run that begins.  saved: the experiment when that was saved.
    """
    e = training.e
    run_folder.write_done(out, False)
    run_folder.prepare(out)
    progress = ProgressLine(e.iterations, training.iteration, quiet=quiet, remark=say)
    told: Exception | bool = False  # what the callback raised, or that it wants no more
    with _kept(out, is_there, training), stop_signals("this iteration") as asked, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an overflow shows in the loss, and is said in one line
        records = Records(training, curve, out, progress, good, tensorboard, saved)
        try:
            if good is None:
                records.save_samples()
                records.save_checkpoint()
            _read_ahead(training)
            last = stop = False
            forecast = Forecast(e.iterations, fresh=good is None)
            while not stop:
                rates = training.rates()
                losses = training.iterate()
                while training.graphs is not None and training.graphs.remarks:
                    progress.say(training.graphs.remarks.pop(0))
                if (text := forecast.after(training.iteration)) and not quiet:
                    progress.say(text)
                last = training.iteration == e.iterations
                stop = last or bool(asked)
                if not is_there():
                    raise FailedWork(f"{out} is not there")
                line = records.take(losses, rates, last, stop)
                if callback is not None and line is not None:
                    told = _told(callback, line)
                    stop = stop or told is not False
                if training.group.size > 1:
                    training.group.from_first(stop)
            records.save_now()
        except NotFinite as error:
            run_folder.write_failure(out, str(error))
            raise
        except (MemoryError, RuntimeError) as error:
            if devices.out_of_memory(error):
                raise FailedWork(_out_of_memory(e, training.iteration, records.good, error)) from None
            raise
        finally:
            progress.close()
            _read_no_more(training)
        sample_grids.save_progress(out, training.iteration)
        if last:
            run_folder.write_done(out, True)
    if isinstance(told, Exception):
        raise told
    if not last:
        again = f"minigan train --resume {shlex.quote(str(out))}"
        if names := own_names(e):
            again = f"minigan.load({str(out)!r}, {', '.join(f'{who}=...' for who in names)}).resume()"
        stopped = f"stopped at iteration {training.iteration:,} of {e.iterations:,}, saved; go on with: {again}"
        if asked:
            raise Interrupted(stopped, asked[0])
        say(stopped)
        return
    troubles = [alarm["text"].partition(":")[0] for alarm in records.standing]
    but = f", but with {' and '.join(troubles)}" if troubles else ""
    say(f"done in {duration(records.seconds())}{but}: look at {out / 'samples.png'} and {out / 'film.png'}")
    if curve is not None:
        for text in run_record.last_and_best(run_folder.read_log(out)):
            say(text)


def _read_ahead(training: Training) -> None:
    """Let a thread read this process's rows of the coming batches, where images are read from a file."""
    if isinstance(training.images, packed.Images):
        training.images.prefetch(training.draws.ahead())


def _read_no_more(training: Training) -> None:
    if isinstance(training.images, packed.Images):
        training.images.stop()


@contextlib.contextmanager
def _kept(out: Path, is_there: Callable[[], bool], training: Training) -> Iterator[None]:
    """Say of work that failed in a folder that is no longer there just that: of its files and checkpoints none is."""
    try:
        yield
    except FailedWork:
        if is_there():
            raise
        raise FailedWork(f"{out} was removed or moved during the training, which ends at iteration "
                         f"{training.iteration:,}; if it was moved, it goes on with: minigan train --resume FOLDER"
                         ) from None


def _lead(training: Training, say: Say) -> None:
    """Give the other processes of the training what they need to join it: all that process 0 has read."""
    if training.group.size > 1:
        training.group.from_first((training.e, training.state()))
        e, moments = training.e, training.normalizes_batches()
        say(training.group.together(e.batch_size, moments, e.sync_bn))
        _join_cards(training, say)


def _join_cards(training: Training, say: Say) -> None:
    """Where each process trains on a GPU: join these, and say how. All processes do this at once."""
    if training.e.device == "cuda":
        graph = "; with several processes an update is no CUDA graph" if training.e.graph else ""
        say(cards.join(training.group, training.xp, devices.nccl()) + graph)


def _send_home() -> None:
    """Tell the other processes that there is nothing to train."""
    if mpi.group().size > 1:
        mpi.group().from_first(None)


def _follow(group: mpi.Group, own: Own, given: Dataset | None) -> None:
    """The part of every process but the first: it computes, and keeps and says nothing. FailedWork names it."""
    helper = Helper(group)
    thread_pool.set_threads(max(1, thread_pool.cores() // group.here))
    try:
        told = helper.next()
        if told is None:
            return
        e, state = told
        with ignored_signals():  # a signal goes to all of them, and process 0 says when to stop
            training, _ = _training(dataclasses.replace(e, score_every=0), True, False, lambda line: None, own, given)
            training.load(state, "process 0")
            _join_cards(training, lambda line: None)
            _read_ahead(training)
            try:
                stop = False
                while not stop:
                    training.iterate()
                    stop = helper.next()
            finally:
                _read_no_more(training)
    except Exception as error:
        raise FailedWork(f"process {group.rank} of {group.size}: {error}") from error


def _provenance(e: Experiment, group: mpi.Group) -> dict[str, Any]:
    """On what the run is made; with the number of processes, if there are several."""
    found = provenance(e.device)
    if group.size > 1:
        found["machine"]["processes"] = group.size
    return found


def _told(callback: Callback, line: dict[str, Any]) -> Exception | bool:
    """What comes of telling the callback a line: whether it wants the run to stop, or what it raised."""
    try:
        return callback(line) is True  # not any true value: a file's write() returns a number
    except Exception as error:  # the run is saved first
        return error


def _describe(training: Training, source: str) -> None:
    """The choices of a run, for --verbose."""
    for name, value in to_dict(training.e).items():
        to_stderr(f"{name:>20} {value}")
    to_stderr(f"{'data':>20} {training.images.shape}, {source}")
    for name, network in (("generator", training.gen), ("discriminator", training.dis)):
        to_stderr(f"{name:>20} {sum(p.size for p in network.parameters().values()):,} parameters")


def _out_of_memory(e: Experiment, iteration: int, good: Path | None, error: Exception) -> str:
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
