"""The host's half of an update: everything that is drawn at random for it.

`Draws` has a stream of random numbers for each use, and makes the `Inputs` of one update of them. A device never draws:
a CPU and a GPU see the same numbers, and so does a resumed run.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.data.dataset import StoredImages
from minigan.engine.devices import Array
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import Experiment
from minigan.experiment.streams import stream
from minigan.parallel.mpi import ALONE, Group
from minigan.training.sampling import latents


@dataclass(frozen=True)
class Inputs:
    """All that one update gets and that changes from update to update; None where the experiment has no use for it.

    The rest of what an update reads is state that it changes in place: with the same inputs and the same state it
    gives the same bytes.
    """

    rate: Array  # () float64, the optimizer's: see Optimizer.begin
    z: Array  # (n, dim_z) float32, latents of the fakes
    fake_labels: Array | None = None  # (n,) int64
    index: Array | None = None  # (N,) int64: which real images
    stored: Array | None = None  # uint8 (N, H, W, C): these images, where they are read from a file
    real_labels: Array | None = None  # (N,) int64
    noise: Array | None = None  # (N, H, W, C) float32 in [0, 1), for --dequantize
    share: Array | None = None  # (N, 1, 1, 1) float32 in [0, 1): where the gradient penalty looks
    follow: Array | None = None  # () float64: by what share the generator's average moves

    def arrays(self) -> dict[str, Array]:
        """Name -> array of all that are there."""
        return {field.name: a for field in dataclasses.fields(self) if (a := getattr(self, field.name)) is not None}

    def parts(self, count: int) -> list[Inputs]:
        """Its rows in so many parts of equal size, in their order; what belongs to the update as a whole in each."""
        def rows(a: Array, i: int) -> Array:
            return a if a.ndim == 0 else a[i * (len(a) // count):(i + 1) * (len(a) // count)]
        return [Inputs(**{name: rows(a, i) for name, a in self.arrays().items()}) for i in range(count)]

    def on(self, xp: Any) -> Inputs:
        """The same on the device of the array module xp."""
        return Inputs(**{name: xp.asarray(a) for name, a in self.arrays().items()})


class Draws:
    """The random numbers of a training, each use from a stream of its own.

    rngs: name of the stream -> generator.  batches: which real images come next.
    """

    def __init__(self, e: Experiment, shape: tuple[int, ...], labels: np.ndarray | None, classes: int,
                 stored: StoredImages | None = None, group: Group = ALONE):
        """shape: (N, H, W, C) of the real images.  labels: int64 (N,) of `classes` classes, or None.  stored: the
        images, where each batch is read from a file; None where they lie on the device.  group: the processes that
        share a batch out: each draws all of it, and gets its rows."""
        self.rngs = {use: stream(e.seed, use) for use in ("order", "noise", "z", "share", "labels")}
        self.e, self.shape, self.labels, self.classes, self.stored = e, shape, labels, classes, stored
        self.group = group
        self.batches = Batches(shape[0], e.batch_size, self.rngs["order"], e.sampling)
        self.last_fakes: tuple[np.ndarray, np.ndarray | None] | None = None  # the discriminator's, for --reuse-z

    def discriminator(self, rate: np.ndarray) -> Inputs:
        """The inputs of its next update; rate: () float64."""
        e, index = self.e, self.batches.next()
        noise = self.noise(len(index))
        self.last_fakes = z, labels = self.fakes(e.batch_size)
        share = self.shares(len(index)) if e.gp else None
        mine = self.mine(len(index))
        return Inputs(rate, z[mine], _of(mine, labels), **self.real(index[mine]), noise=_of(mine, noise),
                      share=_of(mine, share))

    def generator(self, rate: np.ndarray, follow: np.ndarray | None) -> Inputs:
        """The inputs of its next update; rate, follow: () float64."""
        e = self.e
        if e.reuse_z:
            assert self.last_fakes is not None, "the discriminator's update comes first"
            z, labels = self.last_fakes
        else:
            z, labels = self.fakes(e.gen_batch_size or e.batch_size)
        mine = self.mine(len(z))
        return Inputs(rate, z[mine], _of(mine, labels), follow=follow)

    def mine(self, count: int) -> slice | np.ndarray:
        """The rows of this process, of a batch of so many.

        With --accumulate its share of the first part, then of the second and so on: so that the parts are made of the
        same rows for any number of processes.
        """
        if self.e.accumulate == 1 or self.group.size == 1:
            return self.group.rows(count)
        share = self.group.rows(count // self.e.accumulate)
        return np.arange(count).reshape(self.e.accumulate, -1)[:, share].ravel()

    def ahead(self) -> Rows:
        """The real images of the coming updates, to be read before they are asked for (data/packed.py)."""
        return Rows(self.batches, self.mine(self.e.batch_size))

    def real(self, index: np.ndarray) -> dict[str, np.ndarray | None]:
        """The fields of Inputs that say which real images."""
        return {"index": index, "stored": None if self.stored is None else self.stored[index],
                "real_labels": None if self.labels is None else self.labels[index]}

    def fakes(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Latents (count, dim_z) and labels (count,), each class as likely as another; None without --condition."""
        return latents(self.rngs["z"], self.e, count), self.random_labels(count)

    def random_labels(self, count: int) -> np.ndarray | None:
        return None if self.labels is None else self.rngs["labels"].integers(self.classes, size=count)

    def noise(self, count: int) -> np.ndarray | None:
        """Noise of one grey level, (count, H, W, C); None without --dequantize."""
        return self.rngs["noise"].random((count, *self.shape[1:]), dtype=np.float32) if self.e.dequantize else None

    def shares(self, count: int) -> np.ndarray:
        """Where between a real image and a fake: (count, 1, 1, 1)."""
        return self.rngs["share"].random((count, 1, 1, 1), dtype=np.float32)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs of it, beside each other in its checkpoint."""
        return {"batches": {"order": self.batches.order, "place": self.batches.place},
                "rngs": {name: rng.bit_generator.state for name, rng in self.rngs.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave. ValueError or KeyError for anything else."""
        self.batches.load(state["batches"])
        for name, rng in self.rngs.items():
            rng.bit_generator.state = state["rngs"][name]


def _of(rows: slice | np.ndarray, a: np.ndarray | None) -> np.ndarray | None:
    return None if a is None else a[rows]


class Batches:
    """Indices of batches: every image once per epoch, in a new random order each; a batch may span two epochs.

    sampling "replacement": any image at any time, as in BSSN's code.
    """

    def __init__(self, count: int, size: int, rng: np.random.Generator, sampling: str = "epochs"):
        if size > count:
            raise WrongUse(f"--batch-size: expected at most the number of images, {count}, got {size}")
        self.size, self.rng, self.sampling = size, rng, sampling
        self.order, self.place = rng.permutation(count), 0

    def next(self) -> np.ndarray:
        if self.sampling == "replacement":
            return self.rng.integers(len(self.order), size=self.size)
        index = self.order[self.place:self.place + self.size]
        self.place += len(index)
        if len(index) < self.size:
            self.order, self.place = self.rng.permutation(len(self.order)), self.size - len(index)
            index = np.concatenate([index, self.order[:self.place]])
        return index

    def load(self, saved: dict[str, Any]) -> None:
        """Go on with the `order` from the `place`. ValueError if that is no order of these images."""
        order, place = saved["order"], saved["place"]
        if not np.array_equal(np.sort(order), np.arange(len(self.order))) or not 0 <= place <= len(order):
            raise ValueError(f"batches: no order of {len(self.order)} images")
        self.order, self.place = order.astype(np.int64), int(place)


class Rows:
    """Some rows of each of some batches, in turn."""

    def __init__(self, batches: Batches, rows: slice | np.ndarray):
        self.batches, self.rows = batches, rows

    def next(self) -> np.ndarray:
        return self.batches.next()[self.rows]


def check_images(state: dict[str, Any], digest: str, count: int) -> None:
    """FailedWork if the run of a checkpoint's state was trained on other images than these, by their digest."""
    if state["pictures"] != digest:
        before = len(state["batches"]["order"])
        raise FailedWork(f"the run was trained on other images ({before:,}) than the data set has now ({count:,}); "
                         "see --data-root")
