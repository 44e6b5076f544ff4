"""What a training leaves in its folder, and how often: log, images, checkpoints, diagnoses, alarms."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigan.engine import devices
from minigan.engine.autograd import Tensor
from minigan.errors import FailedWork
from minigan.experiment.experiment import Experiment
from minigan.formats.progress import ProgressLine
from minigan.nn.weight_norms import largest_singular_value
from minigan.training import checkpoints, run_folder, run_record
from minigan.training.diagnosis import alarms
from minigan.training.diagnosis.diagnostics import diagnose
from minigan.training.gan import Training
from minigan.training.recording import sample_grids
from minigan.training.recording.event_files import Events
from minigan.training.scoring.learning_curve import Curve


class NotFinite(FailedWork):
    """A loss or a weight is infinite or no number: the same experiment would come to that again."""


Action = Callable[[], Any]


class Records:
    """What a training leaves in its folder, and how often: two tables of (every so many iterations, action).

    measured: actions that return numbers; if any is due, a line of log.jsonl is written with all of them.
    kept: what is done after that. Everything is due after the last iteration, too; 0 is never.
    """

    def __init__(self, training: Training, curve: Curve | None, out: Path, progress: ProgressLine, good: Path | None,
                 tensorboard: bool = False, saved: Experiment | None = None):
        """good: the newest checkpoint, None for a run that begins.  tensorboard: keep an event file, too.
        saved: the experiment as it was when that checkpoint was saved."""
        e, start = training.e, training.iteration
        self.training, self.curve, self.out, self.progress, self.good = training, curve, out, progress, good
        samples, scores = e.sample_every or max(1, e.iterations // 20), (e.score_every or 0) if curve is not None else 0
        self.measured: list[tuple[int, Action]] = [
            (log_every(e), dict),  # the losses alone
            (samples, training.thumbnail_measures),
            (scores, self.scores),
        ]
        self.kept: list[tuple[int, Action]] = [
            (scores, self.save_best),
            (e.diagnose or 0, self.diagnose),
            (samples, self.save_samples),
            (e.checkpoint_every or max(1, min(1000, e.iterations // 10)), self.save_checkpoint),
        ]
        self.log = run_folder.Log(out, start, expected=0 if saved is None else last_logged(saved, start))
        if self.log.lost:
            progress.say(f"{self.log.path}: {self.log.lost}, which is said there; the run goes on")
        self.diagnoses = run_folder.Log(out, start, "diagnostics.jsonl") \
            if e.diagnose or (out / "diagnostics.jsonl").exists() else None
        diagnoses = self.diagnoses.kept if self.diagnoses is not None else []
        self.events = Events(out, self.log.kept, diagnoses, start if good else -1) if tensorboard else None
        # lines of log.jsonl, to which alarms look back
        self.newest = deque(filter(alarms.has_losses, self.log.kept), maxlen=alarms.LOOKED_BACK)
        self.standing: list[dict[str, str]] = []  # alarms of the newest of them
        self.said: set[str] = set()  # names of alarms
        self.saved_at = -1  # the iteration of the newest checkpoint that this object saved
        self.began = time.monotonic() - self.log.seconds
        self.sigmas: dict[str, float] = {}  # spectral norms, as they were measured last

    def take(self, losses: tuple[Tensor, Tensor], rates: tuple[float, float], last: bool,
             stop: bool) -> dict[str, Any] | None:
        """Do what is due after an iteration; returns the line that was logged, None if none was.

        NotFinite if its losses are not finite, or where something is due the weights.
        losses: discriminator's and generator's.  stop: no further iteration will come, so that all is saved.
        """
        i, device = self.training.iteration, self.training.e.device

        def due(table: list[tuple[int, Action]]) -> list[Action]:
            return [action for every, action in table if every and (last or i % every == 0)]
        measured, kept = due(self.measured), due(self.kept)
        if stop and self.save_checkpoint not in kept:
            kept.append(self.save_checkpoint)
        if device != "cpu" and not measured and not kept:
            self.progress.update(i)  # to read the losses would be to wait for the GPU
            return None
        loss_dis, loss_gen = (loss.item() for loss in losses)
        if not math.isfinite(loss_dis + loss_gen) or (measured or kept) and not self.training.finite():
            raise NotFinite(_not_finite(self.training, self.good, loss_dis, loss_gen))
        if measured or not self.sigmas:
            self.sigmas = self.training.spectral_norms()
        line = None
        if measured:
            found = {name: value for action in measured for name, value in action().items()}
            line = self.write(iteration=i, seconds=round(self.seconds(), 3), loss_dis=loss_dis, loss_gen=loss_gen,
                              lr_dis=rates[0], lr_gen=rates[1], sigma_deviation=_deviation(self.sigmas),
                              sigma=self.sigmas, **found)
        for action in kept:
            action()
        deviation = _deviation(self.sigmas)
        self.progress.update(i, dis=loss_dis, gen=loss_gen, **({} if deviation is None else {"|sigma-1|": deviation}))
        return line

    def write(self, **line: Any) -> dict[str, Any]:
        """A line of log.jsonl, with its alarms if there are any; returns it."""
        self.newest.append(line)
        self.standing = alarms.alarms_of_log(list(self.newest), self.training.e)
        logged = line | ({"alarms": self.standing} if self.standing else {})
        self.log.add(**logged)
        if self.events is not None:
            self.events.line(logged)
        self.warn(self.standing)
        return logged

    def warn(self, found: list[dict[str, str]]) -> None:
        """Say each alarm once."""
        for alarm in found:
            if alarm["name"] not in self.said:
                self.progress.say(f"iteration {self.training.iteration:,}: {alarm['text']}")
            self.said.add(alarm["name"])

    def seconds(self) -> float:
        """Since the run began, without the time between a stop and its resumption."""
        return time.monotonic() - self.began

    def save_best(self) -> None:
        """A checkpoint beside the others, if the score just logged is the best so far."""
        best = run_record.best_of(run_folder.read_log(self.out))
        if best is not None and best[0] == self.training.iteration:
            checkpoints.save_best(self.out, self.training.iteration, self.state())

    def scores(self) -> dict[str, Any]:
        """Scores of the generator's images."""
        assert self.curve is not None, "its interval is 0 otherwise"
        return {"scores": self.curve.scores(self.training)}

    def diagnose(self) -> None:
        """A line of diagnostics.jsonl, with its alarms."""
        found = diagnose(self.training)
        assert self.diagnoses is not None, "its interval is 0 otherwise"
        self.diagnoses.add(**found)
        if self.events is not None:
            self.events.diagnosis(found)
        self.warn(found["alarms"])

    def save_samples(self) -> None:
        sample_grids.save_samples(self.out, self.training.iteration, self.training.sample(self.training.preview))
        if self.events is not None:
            self.events.image(self.training.iteration)

    def save_checkpoint(self) -> None:
        self.good = checkpoints.save_in(self.out, self.training.iteration, self.state())
        self.saved_at = self.training.iteration

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, once all that it counts on has reached the disk: the lines of the logs, too."""
        self.log.sync()
        if self.diagnoses is not None:
            self.diagnoses.sync()
        return self.training.state() | run_folder.beside_learned(self.out, self.training.e)

    def save_now(self) -> None:
        """A checkpoint, unless there is one of this iteration."""
        if self.saved_at != self.training.iteration:
            self.save_checkpoint()


def log_every(e: Experiment) -> int:
    """Iterations between lines of the log."""
    return e.log_every or max(1, e.iterations // 200)


def last_logged(e: Experiment, iteration: int) -> int:
    """The iteration of the newest line that the log has when a run is at `iteration`."""
    return iteration if iteration >= e.iterations else iteration // log_every(e) * log_every(e)


def _deviation(sigmas: dict[str, float]) -> float | None:
    """The largest |sigma - 1|: how far spectral normalization is from exact. None: nothing is known of any layer."""
    return max((abs(sigma - 1) for sigma in sigmas.values()), default=None)


def _not_finite(training: Training, good: Path | None, loss_dis: float, loss_gen: float) -> str:
    """What went wrong, and from where one can go on."""
    norms = []
    for path, layer in training.dis.walk():
        if layer.weighted:
            W = layer.params["W"].data
            finite = bool(devices.array_module(W).isfinite(W).all())
            norms.append(f"{path} {largest_singular_value(W):.3g}" if finite else f"{path} not finite")
    what = "a weight" if math.isfinite(loss_dis + loss_gen) else "the loss"
    return (f"{what} is not finite at iteration {training.iteration:,} (discriminator's loss {loss_dis:.3g}, "
            f"generator's {loss_gen:.3g}); the last good checkpoint is {good}; another run, with a smaller --lr or "
            "--norm sn, may hold; "
            f"spectral norms of the discriminator's weights: {', '.join(norms) or 'known to itself alone'}")
