"""What was done on the emulated GPU."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator


class Counts:
    """What was done on the device.

    kernels, operations: launches of RawKernels and array operations, by name. An operation on no elements counts for
    nothing; CuPy may need several launches for one that counts as one (pad, linalg, a stack of many arrays).
    to_device, to_host: copies between the two memories, those hidden in float(x), bool(x), print(x) or x[mask] too.
    to_host_later: copies to the host that are asked for and not waited for.
    graphs: launches of graphs; what a graph does is not counted again.
    largest: bytes of the largest allocation.
    """

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.to_device = self.to_host = self.to_host_later = self.largest = self.graphs = 0

    @property
    def launches(self) -> int:
        """An estimate of the kernels that a GPU would have been given, CuPy's own and ours."""
        return self.kernels.total() + self.operations.total()

    def __repr__(self) -> str:
        return (f"Counts(kernels={dict(self.kernels)}, operations={dict(self.operations)}, "
                f"to_device={self.to_device}, to_host={self.to_host})")


counts = Counts()  # since the beginning
_listening = [counts]


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """The counts of what is done inside."""
    mine = Counts()
    _listening.append(mine)
    try:
        yield mine
    finally:
        _listening.remove(mine)


def count_kernel(name: str) -> None:
    for each in _listening:
        each.kernels[name] += 1


def count_operation(name: str) -> None:
    for each in _listening:
        each.operations[name] += 1


def count(what: str) -> None:
    """One more of to_device, to_host or graphs."""
    for each in _listening:
        setattr(each, what, getattr(each, what) + 1)


def count_allocation(nbytes: int) -> None:
    for each in _listening:
        each.largest = max(each.largest, nbytes)
