"""The GAN algorithm, and the loop around it that records, saves and can be interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigan import backend, checkpoint, datasets, pictures, runs
from minigan.autograd import Tensor, grad, no_grad
from minigan.errors import FailedWork, WrongUse, choose
from minigan.losses import LOSSES
from minigan.models import MODELS
from minigan.norms import NORMS, spectral_norm
from minigan.optim import OPTIMIZERS, SCHEDULES
from minigan.presets import CHANGEABLE, Experiment, check, from_dict, option_name, to_dict
from minigan.progress import Progress, duration

SCALINGS = {"255": 127.5, "128": 128.0}  # x / s - 1: the first in most code, the second in the authors' ResNet's
SAMPLES = 64  # pictures in a grid of samples


class Interrupted(Exception):
    """The run was asked to stop by a signal; it has saved itself."""

    def __init__(self, line: str, signum: int):
        super().__init__(line)
        self.signum = signum


# ---- the algorithm -------------------------------------------------------------------------------------------------

class Training:
    """A generator, a discriminator, and all that their training needs and a resumed run must know.

    One iteration is `n_dis` updates of the discriminator, then one of the generator (Goodfellow et al. 2014,
    Algorithm 1; the authors' code updates the generator first). Latents are fresh for every update. The generator is
    in training mode throughout, so its running moments also move in the discriminator's updates, as in the authors'
    code; and so does u of spectral normalization in the generator's.
    """

    def __init__(self, experiment: Experiment, images: np.ndarray):
        """images: uint8 (N, H, W, C)."""
        self.e = e = experiment
        self.xp = backend.device_module(e.device)
        init, *others = (np.random.default_rng([e.seed, stream]) for stream in range(4))
        self.rngs = dict(zip(("order", "noise", "z"), others, strict=True))
        size, channels = images.shape[1], images.shape[3]
        model = MODELS[e.model]
        self.gen = model.generator(init, size, channels, e.dim_z, e.width).to(self.xp)
        self.dis = model.discriminator(init, size, channels, lambda: NORMS[e.norm](e), e.width).to(self.xp)
        self.opt_gen, self.opt_dis = (OPTIMIZERS[e.optimizer](network.parameters(), e.beta1, e.beta2)
                                      for network in (self.gen, self.dis))
        self.loss = LOSSES[e.loss]
        self.images = self.xp.asarray(images)
        self.batches = Batches(len(images), e.batch_size, self.rngs["order"])
        self.preview = init.standard_normal((SAMPLES, e.dim_z), dtype=np.float32)
        self.iteration = 0

    def iterate(self) -> tuple[Tensor, Tensor]:
        """One iteration; returns the last losses of discriminator and generator."""
        e = self.e
        factor = SCHEDULES[e.schedule](self.iteration / e.iterations)
        for _ in range(e.n_dis):
            loss_dis = self.update_discriminator((e.lr if e.lr_dis is None else e.lr_dis) * factor)
        loss_gen = self.update_generator(e.lr * factor)
        self.iteration += 1
        return loss_dis, loss_gen

    def update_discriminator(self, rate: float) -> Tensor:
        x_real = self.real(self.batches.next())
        with no_grad():
            x_fake = self.gen(self.z(self.e.batch_size))
        loss = self.loss.discriminator(self.dis(x_real), self.dis(x_fake))
        self.opt_dis.step(grad(loss, list(self.dis.parameters().values())), rate)
        self.dis.after_update()
        return loss.detach()

    def update_generator(self, rate: float) -> Tensor:
        x_fake = self.gen(self.z(self.e.gen_batch_size or self.e.batch_size))
        loss = self.loss.generator(self.dis(x_fake))
        self.opt_gen.step(grad(loss, list(self.gen.parameters().values())), rate)
        return loss.detach()

    def z(self, count: int) -> Tensor:
        """Latents (count, dim_z) from N(0, I), drawn on the host: the same on every device."""
        return Tensor(self.xp.asarray(self.rngs["z"].standard_normal((count, self.e.dim_z), dtype=np.float32)))

    def real(self, index: np.ndarray) -> Tensor:
        """Real pictures as floats in [-1, 1], with noise of one grey level if asked for."""
        x = self.images[self.xp.asarray(index)].astype(np.float32)
        if self.e.dequantize:
            x += self.xp.asarray(self.rngs["noise"].random(x.shape, dtype=np.float32))
        x /= np.float32(SCALINGS[self.e.scaling])
        x -= np.float32(1)
        return Tensor(x)

    def sample(self, z: np.ndarray) -> np.ndarray:
        """Pictures, uint8 (N, H, W, C), of latents z (N, dim_z), in evaluation mode."""
        return draw(self.gen, z, self.xp)

    def largest_deviation(self) -> float:
        """max over the discriminator's layers of |sigma(W used) - 1|, exact."""
        return max((abs(sigma - 1) for sigma in self.spectral_norms().values()), default=0.0)

    def spectral_norms(self) -> dict[str, float]:
        """The exact spectral norm of the weights that each layer of the discriminator uses."""
        with no_grad():
            return {path: spectral_norm(layer.norm.weight(layer, (), False).data)
                    for path, layer in self.dis.walk() if "W" in layer.params}

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as nested dicts of arrays and plain values."""
        return {"iteration": self.iteration, "experiment": to_dict(self.e),
                "gen": self.gen.arrays(), "dis": self.dis.arrays(),
                "opt_gen": self.opt_gen.arrays(), "opt_dis": self.opt_dis.arrays(),
                "batches": {"order": self.batches.order, "place": self.batches.place}, "preview": self.preview,
                "size": self.images.shape[1], "channels": self.images.shape[3],
                "rngs": {name: rng.bit_generator.state for name, rng in self.rngs.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` gave."""
        try:
            if len(state["batches"]["order"]) != len(self.images):
                raise FailedWork(f"the run was trained on {len(state['batches']['order'])} pictures, "
                                 f"the data set has {len(self.images)} now")
            for name in ("gen", "dis", "opt_gen", "opt_dis"):
                getattr(self, name).load(state[name])
            self.batches.order, self.batches.place = state["batches"]["order"], state["batches"]["place"]
            self.preview, self.iteration = state["preview"], state["iteration"]
            for name, rng in self.rngs.items():
                rng.bit_generator.state = state["rngs"][name]
        except (KeyError, TypeError, ValueError) as error:
            raise FailedWork(f"the checkpoint does not hold a run of this version ({error!r})") from None


class Batches:
    """Indices of batches: every picture once per epoch, in a new random order each; a batch may span two epochs."""

    def __init__(self, count: int, size: int, rng: np.random.Generator):
        if size > count:
            raise WrongUse(f"--batch-size: expected at most the number of pictures, {count}, got {size}")
        self.size, self.rng = size, rng
        self.order, self.place = rng.permutation(count), 0

    def next(self) -> np.ndarray:
        index = self.order[self.place:self.place + self.size]
        self.place += len(index)
        if len(index) < self.size:
            self.order, self.place = self.rng.permutation(len(self.order)), self.size - len(index)
            index = np.concatenate([index, self.order[:self.place]])
        return index


def draw(gen: Any, z: np.ndarray, xp: Any = np, batch: int = 64) -> np.ndarray:
    """Pictures, uint8 (N, H, W, C), that generator `gen` makes of latents z (N, dim_z), in evaluation mode."""
    with no_grad():
        return np.concatenate([
            pictures.to_uint8(backend.to_host(gen(Tensor(xp.asarray(z[i:i + batch])), train=False).data))
            for i in range(0, len(z), batch)])


def interpolate(rng: np.random.Generator, rows: int, steps: int, dim_z: int) -> np.ndarray:
    """Latents (rows * steps, dim_z): each row goes in equal angles along the great circle from one draw to another.

    A straight line would leave the shell on which almost all of N(0, I) lies (White 2016).
    """
    a, b = rng.standard_normal((2, rows, 1, dim_z))
    cosine = (a * b).sum(-1, keepdims=True) / np.sqrt((a * a).sum(-1, keepdims=True) * (b * b).sum(-1, keepdims=True))
    angle = np.arccos(np.clip(cosine, -1 + 1e-9, 1 - 1e-9))
    t = np.linspace(0, 1, steps)[None, :, None]
    z = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return z.reshape(rows * steps, dim_z).astype(np.float32)


# ---- the loop ------------------------------------------------------------------------------------------------------

def fit(experiment: Experiment, out: Path, overwrite: bool = False, quiet: bool = False, verbose: bool = False) -> None:
    """Train from the beginning into the new run folder `out`."""
    backend.device_module(experiment.device)
    check_names(experiment)
    images, source = _images(experiment)
    backend.set_threads(experiment.threads)
    training = Training(experiment, images)
    runs.create(out, experiment, overwrite)
    if verbose:
        _describe(training, source)
    _loop(training, out, quiet)


def resume(out: Path, chosen: dict[str, Any], quiet: bool = False, verbose: bool = False) -> None:
    """Go on with the run in `out` from its newest readable checkpoint; `chosen`: options given, by field name.

    WrongUse if they contradict the run's experiment: only presets.CHANGEABLE may differ, and with a constant schedule
    the number of iterations.
    """
    saved = runs.read_experiment(out)
    for name, value in chosen.items():
        free = name in CHANGEABLE or (name == "iterations" and saved.schedule == "constant")
        if not free and value != getattr(saved, name):
            raise WrongUse(f"{out} was trained with {option_name(name)} {getattr(saved, name)}, not {value}; leave the "
                           f"option out, or start another run with --out")
    experiment = dataclasses.replace(saved, **chosen)
    check(experiment)
    check_names(experiment)
    backend.device_module(experiment.device)
    path, state, remarks = checkpoint.newest(out)
    for line in remarks:
        _say(line)
    if state.get("iteration", 0) >= experiment.iterations:
        _say(f"{out} is finished: {state['iteration']:,} of {experiment.iterations:,} iterations")
        return
    images, source = _images(experiment)
    backend.set_threads(experiment.threads)
    training = Training(experiment, images)
    training.load(state)
    if experiment != saved:
        runs.write_experiment(out, experiment)
    if verbose:
        _describe(training, source)
    _say(f"going on from {path}")
    _loop(training, out, quiet)


def _loop(training: Training, out: Path, quiet: bool) -> None:
    """Iterate to the end; log, draw, save; stop in good order when asked to."""
    e = training.e
    log_every = e.log_every or max(1, e.iterations // 200)
    sample_every = e.sample_every or max(1, e.iterations // 20)
    checkpoint_every = e.checkpoint_every or max(1, min(1000, e.iterations // 10))
    log = runs.Log(out, training.iteration)
    progress = Progress(e.iterations, training.iteration, quiet=quiet)
    began = time.monotonic() - log.seconds
    deviation = training.largest_deviation()
    with _signals() as asked:
        if training.iteration == 0:
            runs.save_samples(out, 0, training.sample(training.preview))
        try:
            while training.iteration < e.iterations and not asked:
                loss_dis, loss_gen = (loss.item() for loss in training.iterate())
                i = training.iteration
                last = i == e.iterations
                if not math.isfinite(loss_dis + loss_gen):
                    raise FailedWork(_not_finite(training, out, loss_dis, loss_gen))
                if last or i % log_every == 0:
                    deviation = training.largest_deviation()
                    log.add(iteration=i, seconds=round(time.monotonic() - began, 3), loss_dis=loss_dis,
                            loss_gen=loss_gen, sigma_deviation=deviation)
                if last or i % sample_every == 0:
                    runs.save_samples(out, i, training.sample(training.preview))
                if last or i % checkpoint_every == 0:
                    checkpoint.save_in(out, i, training.state())
                progress.update(i, dis=loss_dis, gen=loss_gen, **{"|sigma-1|": deviation})
            if asked:
                checkpoint.save_in(out, training.iteration, training.state())
        finally:
            progress.close()
        runs.save_progress(out, training.iteration)
    if asked:
        raise Interrupted(f"stopped at iteration {training.iteration:,} of {e.iterations:,}, saved; go on with: "
                          f"minigan train --resume {out}", asked[0])
    _say(f"done in {duration(time.monotonic() - began)}: look at {out / 'samples.png'} and {out / 'film.png'}")


def load_generator(run: Path) -> tuple[Any, Experiment, list[str]]:
    """The generator of a run's newest readable checkpoint, its experiment, and remarks on unreadable ones."""
    runs.read_experiment(run)
    path, state, remarks = checkpoint.newest(run)
    try:
        e = from_dict(state["experiment"], str(path))
        check_names(e)
        gen = MODELS[e.model].generator(np.random.default_rng(0), state["size"], state["channels"], e.dim_z, e.width)
        gen.load(state["gen"])
    except (KeyError, TypeError, ValueError) as error:
        raise FailedWork(f"{path} does not hold a run of this version ({error!r})") from None
    return gen, e, remarks


def check_names(e: Experiment) -> None:
    """WrongUse, with the choices, for a name that is not known."""
    for what, given, choices in (
            ("data set", e.dataset, datasets.DATASETS), ("model", e.model, MODELS), ("norm", e.norm, NORMS),
            ("loss", e.loss, LOSSES), ("optimizer", e.optimizer, OPTIMIZERS), ("schedule", e.schedule, SCHEDULES),
            ("scaling", e.scaling, SCALINGS), ("fit", e.fit, datasets.FITS), ("device", e.device, backend.DEVICES)):
        choose(what, given, choices)


def _images(e: Experiment) -> tuple[np.ndarray, str]:
    data = datasets.load(e.dataset, root=e.data_root, size=e.size, fit=e.fit, skip_bad=e.skip_bad, seed=e.seed,
                         say=_say)
    return data.images, data.source


def _describe(training: Training, source: str) -> None:
    """The choices of a run, for --verbose."""
    for name, value in to_dict(training.e).items():
        _say(f"{name:>20} {value}")
    _say(f"{'data':>20} {training.images.shape}, {source}")
    for name, network in (("generator", training.gen), ("discriminator", training.dis)):
        _say(f"{name:>20} {sum(p.size for p in network.parameters().values()):,} parameters")


def _not_finite(training: Training, out: Path, loss_dis: float, loss_gen: float) -> str:
    norms = []
    for path, layer in training.dis.walk():
        if "W" in layer.params:
            W = layer.params["W"].data
            finite = bool(backend.array_module(W).isfinite(W).all())
            norms.append(f"{path} {spectral_norm(W):.3g}" if finite else f"{path} not finite")
    saved = sorted(out.glob("checkpoint-*.h5"))
    good = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
    return (f"the loss is not finite at iteration {training.iteration:,} (discriminator {loss_dis:.3g}, generator "
            f"{loss_gen:.3g}); {good}; try a smaller --lr or --norm sn; spectral norms of the discriminator's weights: "
            + ", ".join(norms))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second one acts as usual."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may say what signals do
        return

    def note(signum: int, frame: Any) -> None:
        asked.append(signum)
        restore()

    def restore() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        restore()
