"""The processes of one data-parallel training, which MPI started (mpiexec, srun) and which talk through mpi4py.

Each takes its rows of every batch; what they make of them is averaged. The average is a sum in the processes' order, so
two runs of as many processes have the same bytes. Process 0 keeps the run's folder and talks to people.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigan.errors import WrongUse

if TYPE_CHECKING:  # the command line asks for the group before it needs NumPy
    import numpy as np

# How mpiexec and srun tell their processes how many they are.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")
# And which of them one is; the first that is set counts: mpiexec may have been started by a task of Slurm's.
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")

SMALL = 1 << 16  # bytes from all processes that go in one message rather than in two: then its delay counts

PASSED_ON_S = 0.2  # until mpiexec has passed on what this process said last; MPICH's drops what it has not read


@dataclass
class Group:
    """Processes 0 to size - 1, of which this is one; comm: mpi4py's communicator, None for one process alone.

    here: how many of them share this machine's cores; place: which of these this one is.
    beside: mpi4py's communicator of these.  cards: cards.Cards, which join the GPUs of all.
    """

    rank: int = 0
    size: int = 1
    here: int = 1
    comm: Any = None
    place: int = 0
    beside: Any = None
    cards: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        return self  # a copy of a network belongs to the same processes

    def rows(self, count: int) -> slice:
        """Those of this process, of a batch of so many. `check` has seen that they divide."""
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def check(self, parts: int = 1, **batches: int) -> None:
        """WrongUse unless every batch can be shared out evenly, in so many parts."""
        multiple = parts * self.size
        for name, count in batches.items():
            if count % multiple:
                what = "a batch" if parts == 1 else f"each of --accumulate {parts} parts of a batch"
                fewer = "" if parts == 1 else ", or fewer parts"
                raise WrongUse(f"--{name.replace('_', '-')} {count}: {self.size} processes share {what} out evenly; "
                               f"choose a multiple of {multiple}, such as {-(-count // multiple) * multiple}{fewer}")

    def mean(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The mean of each array over the processes, of one dtype, in their order: the same bytes everywhere.

        Each process adds up one slice of all arrays and gives it to the others, so that no one holds more than twice
        its own bytes, however many there are. What is small goes in one message, all of it to everybody.
        """
        import numpy as np
        count = sum(a.size for a in arrays)
        flat = np.zeros(-(-count // self.size) * self.size, arrays[0].dtype)  # as long a slice for each
        np.concatenate([a.ravel() for a in arrays], out=flat[:count])
        if flat.nbytes * self.size <= SMALL:
            each = np.empty((self.size, flat.size), flat.dtype)
            self.comm.Allgather(flat, each)
            flat = self._mean_of(each)
        else:
            each = np.empty((self.size, flat.size // self.size), flat.dtype)
            self.comm.Alltoall(flat, each)
            self.comm.Allgather(self._mean_of(each), flat)
        cuts = np.cumsum([a.size for a in arrays])
        return [part.reshape(a.shape) for part, a in zip(np.split(flat, cuts), arrays, strict=False)]

    def _mean_of(self, each: np.ndarray) -> np.ndarray:
        """The mean of the rows, each a process's: added in their order, in place."""
        total = each[0]
        for other in each[1:]:
            total += other
        total /= self.size
        return total

    def together(self, batch_size: int, moments: bool, sync_bn: bool) -> str:
        """What is to be said of a training of several processes: how they share a batch, and its moments if any."""
        whose = "of the whole batch" if sync_bn else "of each process's own images (--sync-bn: of the whole batch)"
        return (f"{self.size} processes train together, each on {batch_size // self.size} of the {batch_size} images "
                f"of a batch" + f"; batch normalization takes the moments {whose}" * moments)

    def from_first(self, thing: Any = None) -> Any:
        """What process 0 gives, on all of them."""
        return self.comm.bcast(thing)

    def end_all(self, code: int) -> None:
        """End every process at once: one has failed, and the others would wait for it for ever."""
        time.sleep(PASSED_ON_S)
        self.comm.Abort(code)


ALONE = Group()

_apart = ContextVar("apart", default=False)


def stay_apart() -> None:
    """From now on this thread trains by itself, even if MPI started its process with others.

    For the runs of a grid, of which each process takes one that no other is at: what mpiexec or srun start are then
    several sweeps, or several workers of Dask, and no two of them are at the same iteration of the same run.
    """
    _apart.set(True)


def group() -> Group:
    """The processes that this one was started with; ALONE where it was started as any program is, or stays apart.

    WrongUse as for `started_with`.
    """
    return ALONE if _apart.get() else started_with()


@functools.cache
def started_with() -> Group:
    """The processes that MPI started this one with, and has joined; ALONE if there are none.

    WrongUse if MPI has started several and mpi4py is missing, or is that of another MPI, which sees one.
    """
    if _started() < 2:
        return ALONE
    try:
        from mpi4py import MPI
    except ImportError:
        raise WrongUse("MPI has started several processes, and mpi4py is not installed; pip install 'minigan[mpi]'"
                       ) from None
    comm = MPI.COMM_WORLD
    if comm.size == 1:
        if (count := _number(SIZES)) > 1:
            raise WrongUse(f"{count} processes were started by another MPI than mpi4py's, {MPI.get_vendor()[0]}, which "
                           "sees one; start them with that one's mpiexec, or build mpi4py anew for this one")
        return ALONE
    beside = comm.Split_type(MPI.COMM_TYPE_SHARED)
    found, before = Group(comm.rank, comm.size, beside.size, comm, beside.rank, beside), sys.excepthook

    def end_all(*error: Any) -> None:  # else Python's end would wait for the others, and they for this process
        before(*error)
        sys.stderr.flush()
        found.end_all(1)

    sys.excepthook = end_all  # for programs; the command line catches all errors itself
    return found


def end_with(error: Exception) -> None:
    """End every process of a training, with this error's traceback; nothing where one is alone.

    For programs, which may catch the error: the others would wait for this process for ever.
    """
    with contextlib.suppress(WrongUse):  # the group that could not be made is the error then
        if group().size > 1:
            sys.excepthook(type(error), error, error.__traceback__)


def of_one() -> tuple[int, int]:
    """(rank, size) of this process, among those that MPI started for what one can do: they are not joined.

    From now on it stays apart, and the others may end; (0, 1) where it was started as any program is.
    """
    stay_apart()
    size = _started()
    ranks = [int(value) for name in RANKS if (value := os.environ.get(name, "")).isdecimal()]
    return (ranks[0], size) if size > 1 and ranks else (0, 1)


def untold() -> str:
    """What to add to the refusal of a run's folder, where a launcher seems to have started this process with others and
    none of SIZES says so: each would train alone. "" elsewhere."""
    names = [name for name in sorted(os.environ) if re.fullmatch(r"(\w+_)?(RANK|RANKID|PROCID)", name)]
    if not names or _number(SIZES) > 1:
        return ""
    return (f" (${names[0]} says that a launcher started this process with others: they train together if it is mpiexec"
            " or srun of the MPI that mpi4py was built for)")


def _started() -> int:
    """How many processes MPI, or srun with it, has started, as far as the environment says."""
    by_srun = os.environ.get("SLURM_MPI_TYPE", "none") != "none"  # srun --mpi=none: each is a program by itself
    return max(_number(SIZES), _number(("SLURM_STEP_NUM_TASKS",)) if by_srun else 1)


def _number(names: Sequence[str]) -> int:
    return max((int(value) for name in names if (value := os.environ.get(name, "")).isdecimal()), default=1)
