"""Features by all processes of a training: blocks of images go to them in turn, features come back, in their order.

Process 0 leads. The others wait for its next word (`Helper.next`), and compute what it sends until it has no more.
Each block is computed as it is in one process, so its features have the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine.devices import take_card
from minigan.metrics.features import Extractor, SharedOut, computed
from minigan.parallel.mpi import Group


@dataclass(frozen=True)
class Help:
    """Process 0's word that blocks follow, before them the extractor if it is a new one.  device: on which it works."""

    device: str
    new: bool


class Helped:
    """An extractor of process 0, which is sent to the others when it is first needed."""

    def __init__(self, extractor: Extractor, group: Group, device: str = "cpu"):
        self.extractor, self.group, self.device, self.known = extractor, group, device, False

    @contextlib.contextmanager
    def together(self) -> Iterator[Extractor]:
        """Inside, all processes compute what the extractor that this gives is asked for. For one process: itself."""
        if self.group.size == 1:
            yield self.extractor
            return
        comm, size = self.group.comm, self.group.size
        self.group.from_first(Help(self.device, new=not self.known))
        if not self.known:
            self.group.from_first(self.extractor)
        self.known = True
        sent, count = [], 0

        def begin(images: np.ndarray) -> Callable[[], np.ndarray]:
            nonlocal count
            who = count % size
            count += 1
            if who == 0:
                return lambda: computed(self.extractor, images)
            sent.append(comm.isend(images, who))

            def wait() -> np.ndarray:
                features: np.ndarray = comm.recv(source=who)
                return features
            return wait
        yield SharedOut(self.extractor, begin, 2 * size)
        for who in range(1, size):
            sent.append(comm.isend(None, who))
        for request in sent:
            request.wait()


class Helper:
    """Any process but the first."""

    def __init__(self, group: Group):
        self.group = group
        self.extractor: Extractor | None = None

    def next(self) -> Any:
        """What process 0 says next; until then features are computed for it."""
        while isinstance(told := self.group.from_first(), Help):
            if told.device == "cuda":
                take_card(self.group.place)  # before the extractor arrives, which is made on it
            self.extractor = self.group.from_first() if told.new else self.extractor
            assert self.extractor is not None, "the first time it is sent"
            while (images := self.group.comm.recv(source=0)) is not None:
                self.group.comm.send(computed(self.extractor, images), 0)
        return told
