"""Which real pictures make a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigan.errors import FailedWork, WrongUse


class Batches:
    """Indices of batches: every picture once per epoch, in a new random order each; a batch may span two epochs.

    sampling "replacement": any picture at any time, as in BSSN's code.
    """

    def __init__(self, count: int, size: int, rng: np.random.Generator, sampling: str = "epochs"):
        if size > count:
            raise WrongUse(f"--batch-size: expected at most the number of pictures, {count}, got {size}")
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
        """Go on with the `order` from the `place`. ValueError if that is no order of these pictures."""
        order, place = saved["order"], saved["place"]
        if not np.array_equal(np.sort(order), np.arange(len(self.order))) or not 0 <= place <= len(order):
            raise ValueError(f"batches: no order of {len(self.order)} pictures")
        self.order, self.place = order.astype(np.int64), int(place)


def check_images(state: dict[str, Any], digest: str, count: int) -> None:
    """FailedWork if the run of a checkpoint's state was trained on other images than these, by their digest."""
    if state["pictures"] != digest:
        before = len(state["batches"]["order"])
        raise FailedWork(f"the run was trained on other pictures ({before:,}) than the data set has now ({count:,}); "
                         "see --data-root")
