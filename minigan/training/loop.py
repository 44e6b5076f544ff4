"""The loop around the GAN algorithm (gan.py) that records, saves and can be interrupted."""

from __future__ import annotations

import contextlib
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minigan.data import pack, packed
from minigan.data.dataset import Dataset, in_memory
from minigan.engine import devices
from minigan.engine.machine import provenance
from minigan.errors import FailedWork, counted
from minigan.experiment.experiment import Experiment, from_anywhere, own_names, to_dict
from minigan.formats.progress import Forecast, ProgressLine, duration, to_stderr
from minigan.networks.own import NONE, Own
from minigan.parallel import mpi
from minigan.training import (
    assembly,
    checkpoints,
    opening,
    processes,
    restore,
    resuming,
    run_folder,
    run_record,
    validate,
)
from minigan.training.gan import Training
from minigan.training.interrupts import Interrupted, stop_signals
from minigan.training.recording import event_files, sample_grids
from minigan.training.recording.records import NotFinite, Records, last_logged
from minigan.training.scoring.learning_curve import Curve, check_for_later

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
    tensorboard: write an event file, too (recording/event_files.py). FailedWork if its package is missing.
    """
    group = mpi.group()
    if group.rank:
        processes.follow(group, own, given)
        return
    if tensorboard:
        event_files.check()
    experiment = Experiment(**from_anywhere(to_dict(experiment)))
    validate.check_names(experiment)
    experiment = validate.with_precision(experiment)
    run_folder.check_new(out, overwrite)  # before the data, which may be an hour's download
    if line := check_for_later(experiment):
        say(line)
    training, curve = opening.begun(experiment, quiet, verbose, say, own, given)
    with run_folder.locked(out) as is_there:
        run_folder.create(out, experiment, _provenance(experiment, group), overwrite)
        if given is not None:
            pack.write(in_memory(given, lambda *_: None), {"dataset": given.source},
                       Path(run_folder.own_images(out)), overwrite=True, say=say)
        processes.lead(training, say)
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
        processes.follow(group, own, None)
        return
    if tensorboard:
        event_files.check()
    restore.mend(out, say)
    before = run_folder.read_experiment(out)
    with run_folder.locked(out) as is_there:
        _resume(out, is_there, before, from_anywhere(chosen), quiet, verbose, callback, say, own, tensorboard)


def _resume(out: Path, is_there: Callable[[], bool], before: Experiment, chosen: dict[str, Any], quiet: bool,
            verbose: bool, callback: Callback | None, say: Say, own: Own, tensorboard: bool) -> None:
    experiment = resuming.continued(out, before, chosen, say)
    assembly.check_own(experiment, own, str(out))
    if chosen.keys() & {"score", "score_weights"} and (line := check_for_later(experiment)):
        say(line)
    tensorboard = tensorboard or event_files.is_there(out, say)
    saved = restore.newest(out, own=own) if run_folder.checkpoints_in(out) else None
    if saved is not None:
        for line in saved.remarks:
            say(line)
        experiment = resuming.agreed(saved, before, experiment)
        if saved.iteration >= experiment.iterations:
            _finish(out, saved.iteration, before, experiment, tensorboard, say)
            processes.send_home()
            return
    training, curve = opening.begun(experiment, quiet, verbose, say, own)
    if saved is not None:
        training.load(saved.state, str(saved.path))
    made_on, found = run_folder.read_record(out)[1], _provenance(experiment, training.group)
    differences = resuming.differences(training, before, made_on, found["machine"])
    if experiment != before or differences:
        found["machine"] |= resuming.blas_before(made_on, found["machine"])
        run_folder.write_experiment(out, experiment, found)
    logged = None  # the experiment when the checkpoint was saved
    # of the log, a checkpoint of an earlier minigan and an experiment.json that was rebuilt from it say nothing
    if saved is not None and not ("rebuilt" in made_on and "recorded" not in saved.state):
        # one of the two may have been changed since: both must agree that a line of the log should be there
        recorded = restore.as_saved(saved.state, str(saved.path))
        logged = min(before, recorded, key=lambda e: last_logged(e, training.iteration))
    if saved is None:
        say(f"{out} has no checkpoint yet: beginning again")
    else:
        say(f"going on from {saved.path}")
        for text in differences:
            say(f"{out} {text}")
    processes.lead(training, say)
    good = None if saved is None else saved.path
    _loop(training, curve, out, is_there, quiet, good, callback, say, tensorboard, logged)


def _finish(out: Path, done: int, before: Experiment, experiment: Experiment, tensorboard: bool, say: Say) -> None:
    """What may be missing of a run that has all its iterations: a kill came between the last checkpoint and this."""
    checkpoints.remove_older(out, done)
    sample_grids.save_progress(out, done)
    if tensorboard:
        event_files.of_finished(out, done)
    if done >= before.iterations:
        run_folder.write_done(out, True)
    asked = experiment.iterations
    say(f"{out} is finished: {done:,} of {counted(asked, 'iteration')}" if done == asked else
        f"{out} has {counted(done, 'iteration')} already, --iterations asks for {asked:,}; give more to go on")


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
    forecast = None if quiet else Forecast(e.iterations, fresh=good is None)
    with _kept(out, is_there, training), stop_signals("this iteration") as asked, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an overflow shows in the loss, and is said in one line
        records = Records(training, curve, out, progress, good, tensorboard, saved)
        try:
            if good is None:
                records.save_samples()
                records.save_checkpoint()
            with packed.reading_ahead(training.images, training.draws.ahead()):
                told = _iterate(training, records, progress, forecast, is_there, asked, callback)
            records.save_now()
        except NotFinite as error:
            run_folder.write_failure(out, str(error))
            raise
        except (MemoryError, RuntimeError) as error:
            if devices.out_of_memory(error):
                raise FailedWork(opening.out_of_memory(e, training.iteration, records.good, error)) from None
            raise
        finally:
            training.close()
            progress.close()
        sample_grids.save_progress(out, training.iteration)
        last = training.iteration == e.iterations
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


def _iterate(training: Training, records: Records, progress: ProgressLine, forecast: Forecast | None,
             is_there: Callable[[], bool], asked: list[int], callback: Callback | None) -> Exception | bool:
    """Iterate until the last iteration, a signal in `asked`, or the callback says to stop; what the callback said."""
    told: Exception | bool = False  # what the callback raised, or that it wants no more
    stop = False
    while not stop:
        rates = training.rates()
        losses = training.iterate()
        for remark in training.remarks():
            progress.say(remark)
        if forecast is not None and (text := forecast.after(training.iteration)):
            progress.say(text)
        last = training.iteration == training.e.iterations
        stop = last or bool(asked)
        if not is_there():
            raise FailedWork(f"{records.out} is not there")
        line = records.take(losses, rates, last, stop)
        if callback is not None and line is not None:
            told = _told(callback, line)
            stop = stop or told is not False
        processes.all_stop(training, stop)
    return told


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
