"""The GAN algorithm: a generator, a discriminator, and their updates on real images, fakes and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeGuard

import numpy as np

from minigan.data import pixels
from minigan.data.dataset import StoredImages, digest_of
from minigan.engine import cublas, devices
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.engine.graphs import Graphs
from minigan.errors import WrongUse
from minigan.experiment.experiment import Experiment, saved
from minigan.experiment.streams import stream
from minigan.formats import untrusted
from minigan.metrics import thumbnails
from minigan.networks import passes
from minigan.networks.discriminator import Discriminator
from minigan.networks.elsewhere import Elsewhere
from minigan.networks.norms import penalties
from minigan.networks.own import NONE, Own, try_discriminator, try_generator
from minigan.nn.feature_norms import BatchNorm, synchronize
from minigan.nn.in_parts import mean_of_parts
from minigan.nn.layers import Layer
from minigan.nn.losses import LOSSES, between, classification, gradient_norms, is_mean, penalty_of
from minigan.nn.optimizers import OPTIMIZERS, SCHEDULES
from minigan.nn.over_processes import mean
from minigan.nn.weight_norms import largest_singular_value
from minigan.parallel.mpi import ALONE, Group
from minigan.training.assembly import make_discriminator, make_generator, norm_of_discriminator, structure_of
from minigan.training.batches import Draws, Inputs, check_images
from minigan.training.sampling import draw, latents

SAMPLES = 64  # images in a grid of samples


class Training:
    """A generator, a discriminator, and all that their training needs and a resumed run must know.

    One iteration is `n_dis` updates of the discriminator, then one of the generator (Goodfellow et al. 2014,
    Algorithm 1; the authors' code updates the generator first: --order). Latents are fresh for every update, unless
    the generator's is to use those before it (--reuse-z). The generator is in training mode throughout, so its running
    moments also move in the discriminator's updates, as in the authors' code; and so does u of spectral normalization
    in the generator's.

    An update has two halves. What is random is drawn on the host (batches.Draws); the step on the device is a function
    of that and of state that it changes in place: no random numbers, no copy from the host, no number of Python's that
    changes from update to update, nothing read back. (But for the first update: sn-conv's v comes with its input.)
    So on a GPU it becomes a CUDA graph (engine/graphs.py), unless --no-graph is given.

    With `accumulate` a step computes its batch in so many parts, one after the other, and their mean makes the update
    (nn/in_parts.py). The draws are those of the whole batch, and so are the weights in use.

    With `ema` a running average of the generator draws the samples (Yazici et al. 2019); its decay begins lower, at
    (1 + i) / (10 + i) in iteration i, so that the first, random weights are soon forgotten. It is never trained.
    """

    def __init__(self, experiment: Experiment, images: np.ndarray | StoredImages, labels: np.ndarray | None = None,
                 own: Own = NONE, classes: int | None = None, group: Group = ALONE):
        """images: uint8 (N, H, W, C); labels: integers (N,), needed by --condition.

        own: the networks of its author, for an experiment that names some; they are copied, and tried on two images.
        classes: how many the networks know; None: as many as there are labels.
        group: the processes that train together, each on its rows of every batch. WrongUse if these do not divide.
        """
        self.group = group
        self.e = e = experiment
        group.check(e.accumulate, batch_size=e.batch_size, gen_batch_size=e.gen_batch_size or e.batch_size)
        self.xp = devices.device_module(e.device)
        init = stream(e.seed, "networks")
        size, channels = images.shape[1], images.shape[3]
        labels = _labels(e, labels)
        self.classes = 0 if labels is None else classes or int(labels.max()) + 1
        if labels is not None and labels.max() >= self.classes:
            raise WrongUse(f"the networks know {self.classes} classes, and these images have {labels.max() + 1}")
        self.gen = make_generator(e, init, size, channels, self.classes, own)
        self.dis = make_discriminator(e, init, size, channels, self.classes, own)
        if own.generator is not None:
            try_generator(self.gen, e.dim_z, size, channels)
        if own.discriminator is not None:
            try_discriminator(self.dis, size, channels)
        for network in (self.gen, self.dis):
            network.to(self.xp)
        if e.sync_bn:
            for network in (self.gen, self.dis):
                synchronize(network, group)
        self.average: Layer | None = None  # of the generator
        if e.ema:
            self.average = make_generator(e, np.random.default_rng(0), size, channels, self.classes, own)
            self.average.load(self.gen.arrays())
            self.average.to(self.xp)
        self.opt_gen, self.opt_dis = (OPTIMIZERS[e.optimizer](network.parameters(), e.beta1, e.beta2, e.adam_eps)
                                      for network in (self.gen, self.dis))
        # a network of its author's own may do anything in Python, and a graph would do it once
        alone = own == NONE and group.size == 1  # nor can a graph talk to other processes
        self.graphs = Graphs(self.xp) if self.xp is not np and e.graph and alone else None
        self.loss = LOSSES[e.loss]
        if (e.accumulate > 1 or group.size > 1) and not is_mean(self.loss):
            raise WrongUse(f"--loss {e.loss} looks at all outputs of a batch together, and "
                           + ("--accumulate computes them in parts; leave it out" if e.accumulate > 1 else
                              f"{group.size} processes have a share each; start one alone"))
        self.images = self.xp.asarray(images) if isinstance(images, np.ndarray) else images
        self.draws = Draws(e, images.shape, labels, self.classes, None if isinstance(images, np.ndarray) else images,
                           group)
        self.preview = latents(init, e, SAMPLES)
        self.digest = digest_of(images)  # a resumed run must have the same
        self.iteration = 0
        self.real_thumbnails: np.ndarray | None = None  # made when first asked for
        self.own = own != NONE  # then a forward may do anything, and write to weights
        self.at_once = not self.own  # whether the discriminator's forwards are side by side, where they can be
        self.elsewhere: Elsewhere | None = None  # who does some of them on a CPU with several cores
        if self.at_once and self.xp is np and group.size == 1:
            self.elsewhere = Elsewhere(structure_of(e, size, channels, self.classes), norm_of_discriminator(e))

    def iterate(self) -> tuple[Tensor, Tensor]:
        """One iteration; returns the last losses of discriminator and generator."""
        rate_dis, rate_gen = self.rates()
        if self.e.order == "gen-first":
            loss_gen = self.update_generator(rate_gen)
        for _ in range(self.e.n_dis):
            loss_dis = self.update_discriminator(rate_dis)
        if self.e.order == "dis-first":
            loss_gen = self.update_generator(rate_gen)
        self.iteration += 1
        return loss_dis, loss_gen

    def update_discriminator(self, rate: float) -> Tensor:
        """Draw the inputs and take the step; rate: the learning rate. Returns the loss, ()."""
        return self._step("discriminator", self.draws.discriminator(self.opt_dis.begin(rate)))

    def update_generator(self, rate: float) -> Tensor:
        """The same for the generator."""
        follow = None if self.average is None else np.array(
            1 - min(self.e.ema, (1 + self.iteration) / (10 + self.iteration)))
        return self._step("generator", self.draws.generator(self.opt_gen.begin(rate), follow))

    def _step(self, who: str, x: Inputs) -> Tensor:
        """The step of one of the networks, on inputs that lie on the host."""
        step = self.step_discriminator if who == "discriminator" else self.step_generator
        with cublas.precision(self.xp, self.e.precision or "float32"):
            if self.graphs is None:
                return step(x.on(self.xp))
            return Tensor(self.graphs.run(f"the {who}'s update", lambda arrays: step(Inputs(**arrays)).data,
                                          x.arrays()))

    def step_discriminator(self, x: Inputs) -> Tensor:
        """Change the discriminator by its gradient; returns its loss before, ()."""
        def of_part(x: Inputs) -> list[Tensor]:
            x_real = self.real(x)
            with no_grad():
                x_fake = self.gen(Tensor(x.z), True, x.fake_labels)
            loss, _, _ = self.discriminator_loss(x_real, x.real_labels, x_fake, x.fake_labels, x.share, elsewhere)
            return [loss.detach(), *grad(loss, list(self.dis.parameters().values()))]
        with self._second_process("discriminator", self.e.batch_size) as elsewhere:
            loss, *gradients = self.together(of_part, x)
        self.opt_dis.apply(gradients, x.rate)
        self.dis.after_update()
        return loss

    def discriminator_loss(self, x_real: Tensor, y_real: Any, x_fake: Tensor, y_fake: Any,
                           share: Any, elsewhere: Elsewhere | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What the discriminator minimizes, with all penalties; and its outputs (N,) for real images and fakes.

        elsewhere: who computes some of these, with the same results.
        """
        e = self.e
        x_hat = between(x_real, x_fake, share) if e.gp else None
        norms: Tensor | None = None
        if self._side_by_side(self.dis):
            real, classified, fake, norms = passes.judged(self.dis, (x_real, y_real), (x_fake, y_fake), x_hat,
                                                          elsewhere)
        else:
            (real, classified), (fake, _) = self.judge(x_real, y_real, True), self.judge(x_fake, y_fake)
            if x_hat is not None:
                norms = gradient_norms(lambda x: self.judge(x, y_real)[0], x_hat)
        loss = self.loss.discriminator(real, fake)
        if classified is not None:
            loss = loss + e.ac_dis * classification(classified, y_real)
        if norms is not None:
            loss = loss + e.gp * penalty_of(norms, e.gp_target)
        penalty = penalties(layer for _, layer in self.dis.walk())
        return loss if penalty is None else loss + penalty, real, fake

    def step_generator(self, x: Inputs) -> Tensor:
        """Change the generator by its gradient, and move its average; returns the generator's loss before, ()."""
        def of_part(x: Inputs) -> list[Tensor]:
            x_fake, dis = self.gen(Tensor(x.z), True, x.fake_labels), self.dis
            if self._side_by_side(dis) and passes.halves_pay(dis, len(x_fake)):
                fake, classified = passes.judged_in_halves(dis, x_fake, x.fake_labels, elsewhere)
            else:
                fake, classified = self.judge(x_fake, x.fake_labels, True)
            loss = self.loss.generator(fake)
            if classified is not None:
                loss = loss + self.e.ac_gen * classification(classified, x.fake_labels)
            return [loss.detach(), *grad(loss, list(self.gen.parameters().values()))]
        with self._second_process("generator", self.e.gen_batch_size or self.e.batch_size) as elsewhere:
            loss, *gradients = self.together(of_part, x)
        self.opt_gen.apply(gradients, x.rate)
        self.gen.after_update()
        if self.average is not None:
            self.average.follow(self.gen, x.follow)
        return loss

    def together(self, of_part: Callable[[Inputs], Sequence[Tensor]], x: Inputs) -> Sequence[Tensor]:
        """The whole batch's loss and gradients, of those of its parts and of each process's rows: their mean.

        of_part: gives them for the rows that it gets.
        """
        weights = [] if self.own else [
            p.data for network in (self.gen, self.dis) for p in network.parameters().values() if p.ndim > 1]
        with cublas.unchanged(weights):
            found = mean_of_parts(of_part, x.parts(self.e.accumulate), (self.gen, self.dis))
        if self.group.size == 1:
            return found
        return [Tensor(a) for a in mean(self.group, [t.data for t in found])]

    def _side_by_side(self, dis: Layer) -> TypeGuard[Discriminator]:
        """Whether forwards of the discriminator, or halves of one, go side by side."""
        return self.at_once and isinstance(dis, Discriminator) and passes.can_share(dis)

    def _second_process(self, whose: str, count: int) -> AbstractContextManager[Elsewhere | None]:
        """Around an update's gradients, of a batch of so many: the second process, if it is to do a share of them."""
        count //= self.e.accumulate
        if self.elsewhere is None or not self._side_by_side(self.dis) or (
                whose == "generator" and not passes.halves_pay(self.dis, count)):
            return nullcontext()
        return self.elsewhere.timed(whose, self.dis, count)

    def close(self) -> None:
        """End its second process, if it has one. It can still be trained, to the same bytes."""
        if self.elsewhere is not None:
            self.elsewhere.leave()

    def remarks(self) -> list[str]:
        """What is to be said since it was asked last."""
        found: list[str] = []
        for of in (self.graphs, self.elsewhere):
            if of is not None:
                found += of.remarks
                of.remarks.clear()
        return found

    def judge(self, x: Tensor, labels: Any, classify: bool = False) -> tuple[Tensor, Tensor | None]:
        """The discriminator's numbers (N,), and its auxiliary classifier's logits (N, classes) if wanted and there."""
        if classify and isinstance(self.dis, Discriminator) and self.dis.condition == "ac":
            return self.dis.classified(x)
        return self.dis(x, True, labels), None

    def real(self, x: Inputs) -> Tensor:
        """The real images as floats in [-1, 1], with noise of one grey level if asked for."""
        images = self.images[x.index] if x.stored is None else x.stored
        return Tensor(pixels.to_floats(images if x.noise is None else images + x.noise, self.e.scaling))

    def rates(self) -> tuple[float, float]:
        """Learning rates of discriminator and generator in the next iteration."""
        e = self.e
        factor = SCHEDULES[e.schedule](self.iteration / e.iterations, e.decay_from)
        return (e.lr if e.lr_dis is None else e.lr_dis) * factor, e.lr * factor

    def sample(self, z: np.ndarray) -> np.ndarray:
        """Images, uint8 (N, H, W, C), of latents z (N, dim_z), in evaluation mode; the classes, if any, in turn."""
        return draw(self.gen if self.average is None else self.average, z, self.xp, classes=self.classes)

    def thumbnail_measures(self) -> dict[str, float | None]:
        """How far the images of some fixed latents are from real ones, and how they differ from each other
        (metrics/thumbnails.py); {"thumbnails", "diversity"}."""
        if self.real_thumbnails is None:
            rows = np.random.default_rng(0).permutation(len(self.images))[:thumbnails.REAL]
            rows = np.sort(rows)
            images = self.images[self.xp.asarray(rows) if isinstance(self.images, self.xp.ndarray) else rows]
            self.real_thumbnails = thumbnails.thumbnails(devices.to_host(images))
        z = latents(stream(self.e.seed, "thumbnails"), self.e, thumbnails.FAKE)
        real, fake = self.real_thumbnails, thumbnails.thumbnails(self.sample(z))
        some = real[np.arange(min(len(real), thumbnails.PAIRED)) * len(real) // min(len(real), thumbnails.PAIRED)]
        return {"thumbnails": thumbnails.distance(real, fake),
                "diversity": thumbnails.spread_ratio(some, fake[:thumbnails.PAIRED])}

    def spectral_norms(self) -> dict[str, float]:
        """The exact spectral norm of the weights that each layer of the discriminator uses."""
        with no_grad():
            return {path: largest_singular_value(layer.norm.weight(layer, (), False).data)
                    for path, layer in self.dis.walk() if layer.weighted}

    def normalizes_batches(self) -> bool:
        """Whether batch normalization makes what becomes of an image depend on the others."""
        return any(isinstance(layer, BatchNorm) for network in (self.gen, self.dis) for _, layer in network.walk())

    def finite(self) -> bool:
        """Whether no parameter and no running average is infinite or nan."""
        return all(bool(np.isfinite(a).all()) for network in (self.gen, self.dis) for a in network.arrays().values())

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as nested dicts of arrays and plain values; the same on every machine."""
        return {"iteration": self.iteration, "experiment": saved(self.e), "pictures": self.digest,
                "gen": self.gen.arrays(), "dis": self.dis.arrays(),
                "average": {} if self.average is None else self.average.arrays(),
                "opt_gen": self.opt_gen.arrays(), "opt_dis": self.opt_dis.arrays(),
                "preview": self.preview, "size": self.images.shape[1], "channels": self.images.shape[3],
                "classes": self.classes, **self.draws.state()}

    def load(self, state: dict[str, Any], where: str = "the checkpoint") -> None:
        """Go on from what `state()` gave. FailedWork, naming `where` it was read from, if it does not fit this run."""
        with untrusted.doubting(where):
            check_images(state, self.digest, len(self.images))
            for name in ("gen", "dis", "opt_gen", "opt_dis"):
                getattr(self, name).load(state[name])
            if self.average is not None:
                self.average.load(state["average"])
            if state["preview"].shape != self.preview.shape:
                raise ValueError(f"preview {state['preview'].shape}, expected {self.preview.shape}")
            self.preview, self.iteration = state["preview"].astype(np.float32), int(state["iteration"])
            self.draws.load(state)
        if self.graphs is not None:
            self.graphs.forget()


def _labels(e: Experiment, labels: np.ndarray | None) -> np.ndarray | None:
    """The labels that --condition needs. WrongUse if the data have none, or not for every image."""
    if e.condition == "none":
        return None
    if labels is None or len(labels) == 0 or labels.min() < 0 or labels.max() == 0:
        raise WrongUse(f"--condition {e.condition} needs labels, and these images have none (or one class only); "
                       "leave it out, or use data with classes")
    return labels.astype(np.int64)
