"""A run as an object: `minigan.load(folder)`, and what `minigan.train` gives."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigan.errors import WrongUse
from minigan.exchange import export
from minigan.experiment.experiment import Experiment
from minigan.experiment.methods import networks_of
from minigan.formats.whole import write_whole
from minigan.library import networks, options, scoring
from minigan.library.images import Images, as_images
from minigan.library.options import in_python, sayer
from minigan.networks.own import NONE, Network, Own
from minigan.networks.own import own as as_own
from minigan.parallel import mpi
from minigan.training import assembly, loop, restore, run_folder, run_record, sampling
from minigan.training.interrupts import Interrupted
from minigan.training.scoring.given import Given
from minigan.views import card, log_table, report


class Run:
    """A run's folder, and what can be asked of it; everything is read anew, so a run may still be going on.

    folder: a Path.  A run that was trained without `out` lies in a temporary folder, which is removed with this object:
    `keep(path)` moves it. A notebook shows a run as its state, its newest samples and its losses.

    >>> import numpy as np, minigan
    >>> images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    >>> run = minigan.train(images, width=0.05, batch_size=8, iterations=4, quiet=True)
    >>> run.iteration, run.finished, len(run.log), sorted(run.log[-1])[:4]
    (4, True, 4, ['diversity', 'iteration', 'loss_dis', 'loss_gen'])
    >>> run.sample(10, seed=1).shape
    (10, 16, 16, 3)
    >>> fakes = run.generator(run.generator.latents(10, seed=1))  # float32 in [-1, 1]
    >>> run.discriminator(fakes).shape, run.discriminator(images).shape
    ((10,), (64,))
    """

    def __init__(self, folder: str | os.PathLike[str], temporary: bool = False, own: Own = NONE):
        """temporary: the folder is removed when this object is.  own: networks of the run that are its author's."""
        self.folder, self.own = options.path_of(folder), own
        with in_python():
            assembly.check_own(run_record.read(self.folder).experiment, own, str(self.folder), needed=())
        self._saved: dict[bool, tuple[object, restore.Saved]] = {}
        self._remover = weakref.finalize(self, shutil.rmtree, str(self.folder), True) if temporary else None

    # ---- what is on record -----------------------------------------------------------------------------------------

    @property
    def record(self) -> run_record.Run:
        """All that the folder tells, as it is now."""
        with in_python():
            return run_record.read(self.folder)

    @property
    def experiment(self) -> Experiment:
        """Every choice of the run: run.experiment.lr."""
        return self.record.experiment

    @property
    def iteration(self) -> int:
        """The last iteration on record."""
        return self.record.iteration

    @property
    def finished(self) -> bool:
        """Whether all iterations are done and saved."""
        return self.record.finished

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl, oldest first: iteration, seconds, loss_dis, loss_gen, sigma, now and then more.

        pandas.DataFrame(run.log) is a table of them; of `rows` it has a column for each number.
        """
        return self.record.log

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The same lines without dicts and lists inside, as `minigan log RUN --csv` has them: for pandas.DataFrame.

        Nested keys are joined by "/", as in "sigma/conv1" and "scores/FID sn-gan, 0123abcd"; what a line has not is
        left out. Numbers stay numbers; alarms are their sentences.
        """
        return log_table.rows(self.record.log)

    def curve(self, *keys: str) -> tuple[np.ndarray, np.ndarray]:
        """(iterations, values) of what the log has under `keys`, one inside the other: run.curve("sigma", "conv1").

        int64 (n,) and float64 (n,), to be drawn with plt.plot(*run.curve("loss_dis")). WrongUse for what no line has.
        """
        log = self.log
        points = run_record.course(log, *keys)
        if not points and log:
            known: dict[str, Any] = {name: value for line in log for name, value in line.items()}
            for i, key in enumerate(keys):
                options.check_names([key], known, f"the log{f' below {keys[i - 1]}' if i else ''}",
                                    f"it has {', '.join(known)}")
                known = known[key] if isinstance(known[key], dict) else {}
            raise WrongUse(f"curve: {' '.join(keys) or 'nothing named'} holds no number; it has {', '.join(known)}")
        return np.array(list(points), np.int64), np.array(list(points.values()), np.float64)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The scores in scores.json, oldest first: name, value, protocol, n_real, n_fake, seed, iteration and more."""
        with in_python():
            return [one.score.to_dict() | {"iteration": one.iteration, "best": one.best} for one in self.record.scores]

    # ---- what its networks make ------------------------------------------------------------------------------------

    def sample(self, n: int = 64, seed: int = 0, labels: ArrayLike | None = None, best: bool = False) -> Images:
        """Images that the generator of the newest checkpoint makes, uint8 (n, H, W, C): those of `minigan sample`.

        seed: of the latents.  labels: of a conditional run, the classes (n,), or one for all; None: the classes in
        turn.  best: the checkpoint of the best score (score_every) rather than the newest.
        """
        saved = self._newest(best)
        z = networks.Generator(saved).latents(n, seed)
        labels = networks.check_labels(labels, len(z), saved.classes)
        return as_images(sampling.draw(saved.gen, z, classes=saved.classes, labels=labels))

    @property
    def generator(self) -> networks.Generator:
        """The generator of the newest checkpoint: generator(z), z (n, dim_z) -> images, float32 in [-1, 1]."""
        return networks.Generator(self._newest())

    @property
    def discriminator(self) -> networks.Discriminator:
        """The discriminator of the newest checkpoint: discriminator(images) -> float32 (n,)."""
        with in_python():
            return networks.Discriminator(self._newest())

    def _newest(self, best: bool = False) -> restore.Saved:
        """The checkpoint, read again only when there is another."""
        with in_python():
            found = run_folder.checkpoints_in(self.folder, "best" if best else "checkpoint")
            key = [(path, path.stat().st_mtime_ns) for _, path in found]
            if best not in self._saved or self._saved[best][0] != key:
                self._saved[best] = key, restore.newest(self.folder, best, self.own)
            return self._saved[best][1]

    # ---- what can be done with it ----------------------------------------------------------------------------------

    def resume(self, *, quiet: bool = False, callback: loop.Callback | None = None, tensorboard: bool = False,
               **chosen: Any) -> Run:
        """Go on from the newest checkpoint, as `minigan train --resume`, to the same bytes as if it had never stopped.

        chosen: options that may change, such as iterations=20_000, data_root, log_every, threads.
        callback, quiet, and what Ctrl-C does: as for minigan.train. Returns this object.
        tensorboard: write TensorBoard's event file of the whole run; one that is there goes on in any case.
        """
        given = options.of_experiment(chosen, "resume", ("quiet", "callback", "tensorboard"))
        quiet, tensorboard = options.switch("quiet", quiet), options.switch("tensorboard", tensorboard)
        train_in_python(self.folder, quiet, callback,
                        lambda told, say: loop.resume(self.folder, given, quiet, callback=told, say=say,
                                                       own=self.own, tensorboard=tensorboard))
        return self

    def score(self, protocol: str | None = None, *, weights: scoring.Weights = None, quiet: bool = False,
              **asked: Any) -> dict[str, float]:
        """Measure the images that the generator draws, as `minigan score`: name -> value.

        All that a score depends on is added to scores.json, and so to `scores`.
        protocol: "sn-gan", "classifier", ...; None: the one that fits the data.  weights: a file, or a function that
        makes features, as for minigan.fid; what it gives is not stored.  asked: the other options of `minigan score`:
        count, data, data_root, split, stats, seed, best, device and so on. minigan.score compares with anything else.
        """
        file, function = scoring.file_or_function(weights)
        wanted = options.of_scoring(asked | {"protocol": protocol, "quiet": quiet, "weights": file}, "score")
        given = Given(str(self.folder), run=self.folder, own=self.own)
        found = scoring.measured(given, wanted, function=function, store=True)
        return {one.name: one.value for one in found}

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the page of `minigan report`, one HTML file that needs nothing else, and return its path.

        path: None: report.html in the run's folder.
        """
        where = self.folder / "report.html" if path is None else options.path_of(path)
        if where.suffix.lower() not in (".html", ".htm"):
            raise WrongUse(f"report: {where}; expected an .html file")
        with in_python():
            write_whole(where, report.page([self.record]).encode())
        return where

    def export(self, to: str = "safetensors", *, network: str = "both", out: str | os.PathLike[str] | None = None,
               overwrite: bool = False) -> list[Path]:
        """Write the networks of the newest checkpoint for other tools, as `minigan export`; gives the files, in order.

        to: "safetensors"; "torch", a state_dict and the code of its module, which needs no minigan; "onnx".
        network: "generator" (with ema its running average), "discriminator" or "both".  out: a folder; None: export
        in the run's.  Weights are as they are used, so W / sigma: an export can be run, and cannot be trained or loaded
        here again. A network of one's own cannot be exported, for only its author knows its steps.

        >>> import minigan
        >>> run = minigan.train("shapes", width=0.03, iterations=1, quiet=True)
        >>> [file.suffix for file in run.export("torch", network="generator")]
        ['.pth', '.py']
        """
        with in_python():
            return export.export(self.folder, to, network, None if out is None else options.path_of(out), overwrite,
                                 self.own)

    def keep(self, path: str | os.PathLike[str]) -> Run:
        """Move the run's folder to `path`, which must not exist yet, or be empty; a temporary one then stays.

        >>> import tempfile, minigan
        >>> run = minigan.train("shapes", width=0.03, iterations=1, quiet=True)
        >>> run.keep(tempfile.mkdtemp() + "/first").folder.name
        'first'
        """
        where = options.path_of(path)
        with in_python():
            run_folder.check_new(where, moved=True)
            with run_folder.locked(self.folder):
                run_folder.relocate(self.folder, where)
        self.folder = where
        if self._remover is not None:
            self._remover.detach()
            self._remover = None
        self._saved.clear()
        return self

    # ---- how it shows itself ---------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        run = self.record
        e = run.experiment
        if run.imported:
            return f"<minigan.Run {self.folder}: {networks_of(e)}; iteration {run.iteration:,}, imported>"
        return (f"<minigan.Run {self.folder}: {e.dataset}, {networks_of(e)}; {run.iteration:,} of {e.iterations:,} "
                f"iterations, {run.state}>")

    def _repr_html_(self) -> str:
        return card.card(self.record)


def load(path: str | os.PathLike[str], *, generator: Network | None = None,
         discriminator: Network | None = None) -> Run:
    """The run in a folder that minigan trained, or made of imported weights.

    WrongUse if there is none, FailedWork if it is damaged. An exported network is no run: its weights are normalized
    already, and what trains them is left out.

    generator, discriminator: of a run that was trained with networks of one's own, these networks once more, with
    weights of any values: code is not in a run's folder, and what they learned is. Without them its log, scores and
    report can be read, and it cannot sample, be scored or go on.

    >>> import tempfile, minigan
    >>> folder = tempfile.mkdtemp()
    >>> _ = minigan.train("shapes", width=0.03, iterations=2, out=folder, quiet=True)
    >>> minigan.load(folder).sample(4).shape
    (4, 32, 32, 3)
    """
    folder = options.path_of(path)
    if export.is_export(folder):
        raise WrongUse(f"{folder} holds exported networks, which are for other tools: weights as used, without what "
                       "trains them; load the run that they came from")
    return Run(folder, own=as_own(generator, discriminator))


# ---- training that is called from Python -----------------------------------------------------------------------------

def train_in_python(folder: Path, quiet: bool, callback: loop.Callback | None,
                    work: Callable[[loop.Callback | None, Callable[[str], None]], None],
                    temporary: bool = False) -> None:
    """Train by work(callback, say), with errors in Python's words; temporary: the folder goes if this raises.

    Ctrl-C has saved the run when it arrives here. Whoever sits at a prompt or a notebook wants the run, and to go on
    later; a script that goes through many runs shall end: KeyboardInterrupt, and for SIGTERM and SIGHUP SystemExit.
    """
    if callback is not None and not callable(callback):
        raise WrongUse(f"callback: expected a function of a dict, got {callback!r:.60}")
    raised: list[BaseException] = []

    def told(line: dict[str, Any]) -> Any:
        try:
            return callback(line)  # type: ignore[misc]
        except Exception as error:
            raised.append(error)  # the caller's own: its words stay as they are
            raise

    say = sayer(quiet)
    try:
        with in_python(raised):
            work(told if callback is not None else None, lambda line: say(options.as_python(line)))
    except Interrupted as stopped:
        line = str(stopped).partition("; ")[0]
        if stopped.signum != signal.SIGINT:
            raise SystemExit(128 + stopped.signum) from None
        if not hasattr(sys, "ps1"):  # Python's prompt, IPython and a notebook's kernel have it
            raise KeyboardInterrupt(
                f"{line}, in a temporary folder, which is removed; out= keeps a run" if temporary else
                f"{line}; go on with: minigan.load({str(folder)!r}).resume()") from None
        say(f"{line}; resume() of the Run that is returned goes on")
    except Exception as error:
        if not raised:  # after an error of the callback the others have been told to stop
            mpi.end_with(error)
        raise
