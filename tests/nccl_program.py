"""Run by mpiexec (tests/parallel/test_cards.py): processes with a GPU each, real ones or emulated.

    mpiexec -n 2 python tests/nccl_program.py real means
    mpiexec -n 2 python tests/nccl_program.py 2 minigan train ... --device cuda     # 2 emulated cards
"""

import contextlib
import sys

import emulated_cupy
import emulator
import numpy as np

from minigan.cli import main
from minigan.engine import devices
from minigan.parallel import cards, mpi

SHAPES = ((), (5,), (2, 3, 4), (1, 7))


def means(xp):
    """Means on the cards have the bytes of the sums, in the processes' order, that NumPy makes of all their arrays."""
    group = mpi.group()
    if group.size == 1:  # as many cards as there are: one
        from mpi4py import MPI
        group = mpi.Group(comm=MPI.COMM_WORLD, beside=MPI.COMM_WORLD)
    devices.take_card(group.place)
    print(cards.join(group, xp, devices.nccl()), flush=True)
    assert group.cards is not None
    for dtype in (np.float32, np.float64):
        each = [[np.random.default_rng((rank, i)).standard_normal(shape).astype(dtype) * 10 ** rank
                 for i, shape in enumerate(SHAPES)] for rank in range(group.size)]
        for _ in range(3):
            found = group.cards.mean([xp.asarray(a) for a in each[group.rank]])
            for a, *parts in zip(found, *each, strict=True):
                total = parts[0].copy()
                for part in parts[1:]:
                    total += part
                assert a.dtype == dtype and a.shape == total.shape and a.get().tobytes() == (
                    total / dtype(group.size)).tobytes()
    print(f"process {group.rank} of {group.size}: alike", flush=True)


if __name__ == "__main__":
    where, what, *words = sys.argv[1:]
    with contextlib.ExitStack() as stack:
        if where != "real":
            stack.enter_context(emulated_cupy.installed(cards=int(where)))
            stack.enter_context(emulator.checking(False))
        if what == "means":
            means(devices.cuda_module())
        else:
            sys.argv[1:] = words
            main.main()
