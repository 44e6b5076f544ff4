"""How launches run (order, checked or not, limits) and what they add up to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

ORDERS = {"ascending": 0, "descending": 1, "random": 2}


class Mode:
    """What holds for the next launch; the context managers below change it and put it back."""

    order = "ascending"
    seed = 0
    checked = True
    step_limit = 1 << 24
    time_limit = 60.0
    profile: Profile | None = None


@contextlib.contextmanager
def order(which: str, seed: int = 0) -> Iterator[None]:
    """In which order blocks, and the threads of a block between two barriers, come: "random" from this seed."""
    if which not in ORDERS:
        raise ValueError(f"unknown order '{which}'; choose from: {', '.join(sorted(ORDERS))}")
    with _changed(order=which, seed=seed):
        yield


@contextlib.contextmanager
def checking(on: bool) -> Iterator[None]:
    """checking(False): the plain build, several times faster. A wrong address there can end the process."""
    with _changed(checked=on):
        yield


@contextlib.contextmanager
def step_limit(steps: int) -> Iterator[None]:
    """How many accesses, barriers and warp operations a thread may take before its loop counts as endless."""
    with _changed(step_limit=steps):
        yield


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """How much of the processor's time a launch may take before it counts as endless; 0: all that it wants."""
    with _changed(time_limit=seconds):
        yield


@contextlib.contextmanager
def _changed(**settings) -> Iterator[None]:
    before = {name: getattr(Mode, name) for name in settings}
    for name, value in settings.items():
        setattr(Mode, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(Mode, name, value)


@dataclass
class Counts:
    """What launches of one kernel did. Bytes are seen by the checked build alone."""

    launches: int = 0
    blocks: int = 0
    threads: int = 0
    global_read: int = 0
    global_written: int = 0
    shared_read: int = 0
    shared_written: int = 0
    atomics: int = 0
    barriers: int = 0  # passed by a block, not by each of its threads
    warp_operations: int = 0  # taken part in by a thread
    fences: int = 0

    def add(self, other: Counts) -> None:
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))


@dataclass
class Counters:
    """Counts by kernel name."""

    kernels: dict[str, Counts] = field(default_factory=dict)

    @property
    def launches(self) -> dict[str, int]:
        return {name: counts.launches for name, counts in self.kernels.items()}

    @property
    def total(self) -> Counts:
        total = Counts()
        for counts in self.kernels.values():
            total.add(counts)
        return total

    def add(self, kernel: str, counts: Counts) -> None:
        self.kernels.setdefault(kernel, Counts()).add(counts)


counters = Counters()  # since the start
_listening = [counters]


@contextlib.contextmanager
def count() -> Iterator[Counters]:
    """Counters of the launches within the block."""
    inside = Counters()
    _listening.append(inside)
    try:
        yield inside
    finally:
        _listening[:] = [listener for listener in _listening if listener is not inside]


@dataclass
class Line:
    """What one line of a kernel asks of the memory, over all launches within profile()."""

    kernel: str
    file: str
    line: int | None
    access: str  # "reads", "writes" or "updates atomically"
    shared: bool
    requests: int = 0  # instructions of a warp
    units: int = 0  # 32-byte sectors of global memory, or passes over the banks of shared memory
    fewest: int = 0  # what the same bytes would need, well laid out

    def __str__(self) -> str:
        what = "passes over shared memory" if self.shared else "sectors of global memory"
        return (f"{self.file}:{self.line or '?'}: {self.kernel} {self.access} {self.units / self.requests:.2f} {what} "
                f"a request, {self.fewest / self.requests:.2f} at best ({self.requests} requests)")


@dataclass
class Profile:
    lines: list[Line] = field(default_factory=list)

    def add(self, found: Line) -> None:
        for line in self.lines:
            if (line.kernel, line.file, line.line, line.access, line.shared) == (
                    found.kernel, found.file, found.line, found.access, found.shared):
                line.requests += found.requests
                line.units += found.units
                line.fewest += found.fewest
                return
        self.lines.append(found)

    def __str__(self) -> str:
        return "\n".join(map(str, sorted(self.lines, key=lambda line: (line.file, line.line or 0))))


@contextlib.contextmanager
def profile() -> Iterator[Profile]:
    """How well the checked launches within the block use memory, line by line. Slow: for small launches."""
    inside = Profile()
    with _changed(profile=inside):
        yield inside


def record(kernel: str, counts: Counts) -> None:
    for listener in _listening:
        listener.add(kernel, counts)
