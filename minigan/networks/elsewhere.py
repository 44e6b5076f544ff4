"""A discriminator's passes in a second process: what this one asks of it, and what it answers.

It has a discriminator of the same structure and nothing else: for each pass it gets images, labels, weights as the
normalizations made them, and the other parameters, in memory that both see, and gives the result; then it gets the
result's gradient and writes those of all arrays over the arrays. What is remembered (u, v, moments, optimizers) stays
here. It computes as this process does, so the bytes are the same; of its first passes they are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minigan.engine import ops, thread_pool
from minigan.engine.autograd import Tensor, grad, is_recording, recording
from minigan.engine.devices import Array
from minigan.networks.discriminator import Discriminator
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.nn.layers import Layer, Pass
from minigan.parallel.second_process import Gone, Place, SecondProcess, SharedMemory, Silent, answer_all, places

# images times weights from and up to which a second process is worth a try: below, its answers take longer than the
# work; above, threads do as well, and it would take memory
LEAST, MOST = 1 << 16, 1 << 25


@dataclass(frozen=True)
class Structure:
    """What a discriminator of a table of models is, but for its numbers and the normalization of its weights.

    model: a name of MODELS, whose constructor's arguments the others are; options: those of models.OPTIONS.
    """

    model: str
    size: int
    channels: int
    width: float
    classes: int
    condition: str
    options: dict[str, Any] = field(default_factory=dict)

    def made(self, rng: np.random.Generator, norm: Normalization, init: str) -> Layer:
        """A discriminator with random numbers."""
        return MODELS[self.model].discriminator(rng, self.size, self.channels, norm, self.width, self.classes,
                                                self.condition, init=init, **self.options)


def weights_of(dis: Discriminator) -> int:
    """How many numbers its parameters have."""
    return sum(p.size for p in dis.parameters().values())


def numbers_and_logits(dis: Discriminator, classify: bool) -> Callable[[Tensor, Pass], Tensor]:
    """The discriminator with one result: the numbers (N,), or, with a classifier that takes part, those and the logits
    (N, 1 + classes)."""
    def number_and_logits(x: Tensor, how: Pass) -> Tensor:
        y, logits = dis.judged(x, how, classify)
        return y if logits is None else ops.concatenate([ops.reshape(y, (-1, 1)), logits], 1)
    return number_and_logits


class Race:
    """Which of two ways is faster on this machine now: both are taken in turn, then the faster one for a while.

    The results of both have the same bytes. took: tells how long one of them was.
    """

    TRIES, KEPT = 6, 300  # of each way, then of the faster; the very first of the second way is done both ways

    def __init__(self) -> None:
        self.times: tuple[list[float], list[float]] = [], []
        self.left, self.faster = 0, False

    def second(self) -> bool:
        """Whether the next one goes the second way."""
        return self.faster if self.left else len(self.times[0]) > len(self.times[1])

    def took(self, second: bool, seconds: float) -> None:
        self.left = max(0, self.left - 1)
        self.times[second].append(seconds)
        if min(map(len, self.times)) >= self.TRIES:
            self.faster = statistics.median(self.times[1]) < statistics.median(self.times[0])
            self.left = self.KEPT
        if self.left:
            self.times = [], []


# ---- here ----------------------------------------------------------------------------------------------------------

class Elsewhere:
    """The second process, started when it is first asked for; until it is there, and where there is none, nobody.

    remarks: what went wrong with it, to be said once.
    """

    def __init__(self, structure: Structure, norm: Normalization):
        self.structure, self.features = structure, {"features": norm.features, "gain": norm.gain}
        self.process: SecondProcess | None = None
        self.over = False  # it will not be asked for again
        self.trial = True  # what it gives is compared, not used
        self.known: set[str] | None = None  # names of its parameters
        self.round = 0
        self.remarks: list[str] = []
        self.races = {"discriminator": Race(), "generator": Race()}

    @contextmanager
    def timed(self, whose: str, dis: Discriminator, count: int) -> Iterator[Elsewhere | None]:
        """Around the gradients of an update, whose name is in `races`, with a batch of `count`: this, if it is to be
        asked for passes now.

        Where machines have other work, or networks are large, it would not pay; so the time of updates decides.
        """
        ask = LEAST <= count * weights_of(dis) < MOST and self.is_there(dis)
        race = self.races[whose]
        second = ask and race.second()
        began = time.perf_counter()
        yield self if second else None
        if ask and not self.over:
            race.took(second, time.perf_counter() - began)

    def is_there(self, dis: Discriminator, wait: bool = False) -> bool:
        """Whether passes of this discriminator can be asked for; wait: for its start."""
        if self.over or thread_pool.thread_count() < 2:
            return False
        try:
            if self.process is None:
                self.process = SecondProcess(__name__)
                self.process.tell(do="build", structure=asdict(self.structure), **self.features)
            if self.known is None and (wait or self.process.has_answered()):
                shapes, mine = self.process.answer(), dis.parameters()
                if any(name not in mine or list(mine[name].shape) != shape for name, shape in shapes.items()):
                    raise Gone  # a model of the same name that somebody has put into MODELS
                self.known = {*shapes}
            if self.known is not None and self.process.due:  # somebody was interrupted, and did not wait
                raise Gone
        except Gone:
            self.leave()
        return not self.over and self.known is not None

    def leave(self, remark: str = "") -> None:
        """Do without it from now on."""
        self.over = True
        self.remarks += [remark] if remark else []
        if self.process is not None:
            self.process.close()

    def rounds(self) -> Round:
        """The next passes that are asked for together; those of before are forgotten."""
        self.round += 1
        return Round(self, self.round)

    def ask(self, **words: Any) -> bool:
        """Send a line; whether it was sent."""
        assert self.process is not None
        if not self.over:
            try:
                self.process.tell(**words)
            except Gone:
                self._ended()
        return not self.over

    def answer(self) -> Any:
        """The answer to the oldest line that has none, None if it has ended."""
        assert self.process is not None
        if self.over:
            return None
        try:
            return self.process.answer()
        except Silent as error:
            self.leave(f"the second process, which computed beside this one, has not answered for {error} and is "
                       "ended; its share is done here, with the same results")
        except Gone:
            self._ended()
        return None

    def _ended(self) -> None:
        self.leave("the second process, which computed beside this one, has ended; its share is done here, with the "
                   "same results")


class Round:
    """Passes that are asked for together, whose arrays lie one behind the other."""

    def __init__(self, to: Elsewhere, number: int):
        self.to, self.number, self.count, self.end = to, number, 0, 0

    def begin(self, dis: Discriminator, x: Tensor, weights: Sequence[Tensor], labels: Array | None,
              classify: bool) -> Away:
        """Let the other process begin a pass of images x with these weights, those of dis.walk() in its order."""
        to = self.to
        assert to.process is not None and to.known is not None
        variables = {name: p for name, p in dis.parameters().items() if name.rpartition("/")[2] != "W"}
        known = [name in to.known for name in variables]  # but what belongs to normalizations
        given = [x, *weights, *(p for name, p in variables.items() if name in to.known)]
        sent = [t.data for t in given] + ([] if labels is None else [labels])
        y = ((len(x) * (1 + dis.classes),), x.dtype)
        where, self.end = places(self.end, [*((a.shape, a.dtype) for a in sent), y])
        if not to.over:
            memory = to.process.memory
            try:
                memory.array(where[-1])  # the last first: the memory grows once
                for a, place in zip(sent, where, strict=False):
                    memory.array(place)[...] = a
            except Gone as error:
                to.leave(f"there is no memory to share with the second process ({error}); its part is done here, with "
                         "the same results")
        arrays = [(place, t.requires_grad) for place, t in zip(where, given, strict=False)]
        record = is_recording() and any(need for _, need in arrays)
        to.ask(do="forward", number=self.count, arrays=arrays, labels=None if labels is None else where[-2],
               y=where[-1], classify=classify, record=record, threads=theirs())
        self.count += 1
        return Away(self, self.count - 1, [place for place, _ in arrays], where[-1], known)


@dataclass
class Away:
    """A pass that the other process does: side_by_side.DoneElsewhere."""

    of: Round
    number: int
    arrays: list[Place]
    y: Place
    known: list[bool]  # of the variables, whether it has them

    @property
    def trial(self) -> bool:
        return self.of.to.trial

    @property
    def threads(self) -> int:
        return thread_pool.thread_count() - theirs()

    def result(self) -> Array | None:
        shape = self.of.to.answer()
        if shape is None:
            return None
        self.y = (self.y[0], tuple(shape), self.y[2])
        return self._copy(self.y)

    def ask(self, gy: Array, needs: Sequence[bool]) -> bool:
        to, count = self.of.to, len(needs) - len(self.known)
        if to.over or to.round != self.of.number:
            return False
        assert to.process is not None
        self.needs = list(needs)
        to.process.memory.array(self.y)[...] = gy
        self.wanted = [*needs[:count], *(need for need, known in zip(needs[count:], self.known, strict=True) if known)]
        return to.ask(do="backward", number=self.number, wanted=self.wanted)

    def gradients(self) -> list[Array | None] | None:
        if self.of.to.answer() is None:
            return None
        found = iter([self._copy(place) if wanted else None
                      for place, wanted in zip(self.arrays, self.wanted, strict=True)])
        count = len(self.needs) - len(self.known)
        return [next(found) if i < count or self.known[i - count] else None for i in range(len(self.needs))]

    def compared(self, same: bool) -> None:
        if same:
            self.of.to.trial = False
        else:
            self.of.to.leave("the second process computes other bytes than this one, and is not asked any more")

    def _copy(self, place: Place) -> Array:
        assert self.of.to.process is not None
        return self.of.to.process.memory.array(place).copy()


def theirs() -> int:
    """The other process's share of the threads; the rest is this one's meanwhile."""
    return thread_pool.thread_count() // 2


# ---- there ---------------------------------------------------------------------------------------------------------

def serve(file: int) -> None:
    """The other process: see parallel/second_process.py."""
    answer_all(file, Passes().answer)


class Passes:
    """A discriminator, and the graphs of its last passes."""

    def __init__(self) -> None:
        self.runs: dict[int, tuple[list[Tensor], Tensor, Place]] = {}
        self.threads = 0

    def answer(self, memory: SharedMemory, do: str, **told: Any) -> Any:
        if do == "build":
            return self.build(**told)
        return self.forward(memory, **told) if do == "forward" else self.backward(memory, **told)

    def build(self, structure: dict[str, Any], features: str, gain: bool) -> dict[str, tuple[int, ...]]:
        """The names and shapes of its parameters."""
        norm = Normalization(features=features, gain=gain)
        made = Structure(**structure).made(np.random.default_rng(0), norm, "normal")
        assert isinstance(made, Discriminator), "a model's discriminator"
        self.dis, shapes = made, {name: p.shape for name, p in made.parameters().items()}
        self.weighted = {path: layer for path, layer in made.walk() if layer.weighted}
        self.variables = [(layer, name) for _, layer in made.walk() for name in layer.params if name != "W"]
        return shapes

    def forward(self, memory: SharedMemory, number: int, arrays: list[tuple[Place, bool]], labels: Place | None,
                y: Place, classify: bool, record: bool, threads: int) -> tuple[int, ...]:
        """The shape of the result, which lies at y."""
        if threads != self.threads:
            self.threads = thread_pool.set_threads(threads)
        if not number:
            self.runs.clear()
        given = [Tensor(memory.array(place), requires_grad=need and record) for place, need in arrays]
        layers = [layer for path, layer in self.weighted.items() if classify or path != "classify"]
        weights, variables = given[1:len(layers) + 1], given[len(layers) + 1:]
        for layer, W in zip(layers, weights, strict=True):
            layer.params["W"] = W  # for its shape
        for (layer, name), p in zip(self.variables, variables, strict=True):
            layer.params[name] = p
        how = Pass(True, None if labels is None else memory.array(labels), dict(zip(layers, weights, strict=True)))
        with recording(record):
            result = numbers_and_logits(self.dis, classify)(given[0], how)
        where = y[0], result.shape, y[2]
        memory.array(where)[...] = result.data
        if record:
            self.runs[number] = given, result, where
        return result.shape

    def backward(self, memory: SharedMemory, number: int, wanted: list[bool]) -> bool:
        """Write the gradients over the wanted arrays; that of the result lies in its place."""
        given, result, where = self.runs.pop(number)
        of = [t for t, want in zip(given, wanted, strict=True) if want]
        found = grad(result, of, gy=Tensor(memory.array(where)))
        for t, g in zip(of, found, strict=True):
            t.data[...] = g.data
        return True
