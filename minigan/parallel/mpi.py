"""The processes of one data-parallel training, which MPI started (mpiexec, srun) and which talk through mpi4py.

Each takes its rows of every batch; what they make of them is averaged. The average is a sum in the processes' order, so
two runs of as many processes have the same bytes. Process 0 keeps the run's folder and talks to people.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigan.errors import WrongUse

if TYPE_CHECKING:  # the command line asks for the group before it needs NumPy
    import numpy as np

# How mpiexec and srun tell their processes how many they are.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")


@dataclass(frozen=True)
class Group:
    """Processes 0 to size - 1, of which this is one; comm: mpi4py's communicator, None for one process alone.

    here: how many of them share this machine's cores.
    """

    rank: int = 0
    size: int = 1
    here: int = 1
    comm: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        return self  # a copy of a network belongs to the same processes

    def rows(self, count: int) -> slice:
        """Those of this process, of a batch of so many. `check` has seen that they divide."""
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def check(self, **batches: int) -> None:
        """WrongUse unless every batch can be shared out evenly."""
        for name, count in batches.items():
            if count % self.size:
                raise WrongUse(f"--{name.replace('_', '-')} {count}: {self.size} processes share a batch out evenly; "
                               f"choose a multiple of {self.size}, such as {-(-count // self.size) * self.size}")

    def mean(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The mean of each array over the processes, of one dtype, in one message."""
        import numpy as np
        flat = np.concatenate([a.ravel() for a in arrays])
        each = np.empty((self.size, flat.size), flat.dtype)
        self.comm.Allgather(flat, each)
        total = each[0]
        for other in each[1:]:  # in their order, which is the same everywhere and each time
            total += other
        total /= self.size
        cuts = np.cumsum([a.size for a in arrays])[:-1]
        return [part.reshape(a.shape) for part, a in zip(np.split(total, cuts), arrays, strict=True)]

    def from_first(self, thing: Any = None) -> Any:
        """What process 0 gives, on all of them."""
        return self.comm.bcast(thing)

    def end_all(self, code: int) -> None:
        """End every process at once: one has failed, and the others would wait for it for ever."""
        self.comm.Abort(code)


ALONE = Group()


@functools.cache
def group() -> Group:
    """The processes that this one was started with; ALONE where it was started as any program is.

    WrongUse if MPI has started several and mpi4py is missing.
    """
    if _number(SIZES) < 2 and not ("SLURM_MPI_TYPE" in os.environ and _number(("SLURM_STEP_NUM_TASKS",)) > 1):
        return ALONE
    try:
        from mpi4py import MPI
    except ImportError:
        raise WrongUse("MPI has started several processes, and mpi4py is not installed; pip install 'minigan[mpi]'"
                       ) from None
    comm = MPI.COMM_WORLD
    here = comm.Split_type(MPI.COMM_TYPE_SHARED).size
    if comm.size == 1:
        return ALONE
    found, before = Group(comm.rank, comm.size, here, comm), sys.excepthook

    def end_all(*error: Any) -> None:  # else Python's end would wait for the others, and they for this process
        before(*error)
        sys.stderr.flush()
        found.end_all(1)

    sys.excepthook = end_all  # for programs; the command line catches all errors itself
    return found


def _number(names: Sequence[str]) -> int:
    return max((int(value) for name in names if (value := os.environ.get(name, "")).isdecimal()), default=1)
