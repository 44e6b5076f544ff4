"""How long a training will take, said once, from its own first iterations."""

from __future__ import annotations

import time
from collections.abc import Callable

from minigan.formats.progress import duration

ENOUGH = 3  # iterations to go by, and
SECONDS = 10.0  # the time they took together, at least
LONG = 300.0  # seconds from which on it is worth a line


class Forecast:
    """Asked after each iteration, it answers once: with a line, or with nothing if the training is short.

    The first iteration does not count: memory is taken then, and on a GPU kernels are compiled.
    """

    def __init__(self, iterations: int, fresh: bool, clock: Callable[[], float] = time.monotonic):
        """iterations: of the whole run.  fresh: whether it begins now, and could still begin with fewer."""
        self.iterations, self.fresh, self.clock = iterations, fresh, clock
        self.first: tuple[int, float] | None = None  # the iteration after which the clock was read, and the time
        self.said = False

    def after(self, iteration: int) -> str | None:
        """The line to say after so many iterations; None: nothing, not yet or not any more."""
        if self.said:
            return None
        now = self.clock()
        if self.first is None:
            self.first = iteration, now
            return None
        done, took = iteration - self.first[0], now - self.first[1]
        if done < ENOUGH or took < SECONDS:
            return None
        self.said = True
        left = (self.iterations - iteration) * took / done
        if left < LONG:
            return None
        line = f"at this pace the {self.iterations - iteration:,} iterations to come take {duration(left)}"
        return f"{line}; --iterations {self.iterations // 2} would take half as long" if self.fresh else line
