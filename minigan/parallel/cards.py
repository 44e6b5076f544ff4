"""The processes' GPUs, a card each, joined by NCCL: the means of arrays that stay on the cards.

NCCL only moves the numbers: each process adds up a share of them, in the processes' order, and sends the sums to all.
So the bytes are those of the sums through MPI (mpi.py), whichever way NCCL takes between the cards, and each process
sends and receives as many as in an all-reduce along a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigan.errors import FailedWork
from minigan.parallel.mpi import Group

Array = Any  # CuPy's


class Cards:
    """NCCL's communicator of a group. All its processes make it, and call `mean`, at once.

    xp: CuPy, on the card of this process.  nccl: cupy.cuda.nccl. FailedWork, with NCCL's reason, if it cannot.
    """

    def __init__(self, group: Group, xp: Any, nccl: Any):
        self.rank, self.size, self.xp, self.nccl = group.rank, group.size, xp, nccl
        try:
            name = group.from_first(nccl.get_unique_id() if group.rank == 0 else None)
            self.communicator = nccl.NcclCommunicator(group.size, name, group.rank)
        except nccl.NcclError as error:
            raise FailedWork(f"NCCL cannot join the processes' cards ({error}); it tells more with NCCL_DEBUG=INFO in "
                             "the environment") from None

    def mean(self, arrays: Sequence[Array]) -> list[Array]:
        """The mean of each array over the processes, all of one dtype, float32 or float64."""
        xp, nccl, count = self.xp, self.nccl, sum(a.size for a in arrays)
        share = -(-count // self.size)
        rest = xp.zeros((share * self.size - count,), arrays[0].dtype)
        all_of_mine = xp.concatenate([*(a.ravel() for a in arrays), rest]).reshape(self.size, share)
        my_share = xp.empty((self.size, share), rest.dtype)  # of each process's
        kind = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}[rest.dtype.name]
        stream = xp.cuda.get_current_stream().ptr
        try:
            nccl.groupStart()
            for other in range(self.size):
                self.communicator.send(all_of_mine[other].data.ptr, share, kind, other, stream)
                self.communicator.recv(my_share[other].data.ptr, share, kind, other, stream)
            nccl.groupEnd()
            total = my_share[0]
            for part in my_share[1:]:  # in the processes' order
                total += part
            total /= self.size
            means = xp.empty((share * self.size,), rest.dtype)
            self.communicator.allGather(total.data.ptr, means.data.ptr, share, kind, stream)
        except nccl.NcclError as error:
            raise FailedWork(f"NCCL: {error}") from None
        found, at = [], 0
        for a in arrays:
            found.append(means[at:at + a.size].reshape(a.shape))
            at += a.size
        return found


def join(group: Group, xp: Any, nccl: Any) -> str:
    """Join the cards on which the group's processes work now, where they can be; what to say of that.

    nccl: cupy.cuda.nccl, or why it is not there (engine/devices.py). Without it, and where processes share a card,
    which NCCL refuses, `group.cards` is None: what is on the cards goes through the host and MPI.
    """
    number = xp.cuda.Device().id
    card = (group.beside.bcast(group.rank), xp.cuda.runtime.deviceGetPCIBusId(number))  # (the machine, its card)
    each = group.comm.allgather((card, number, nccl if isinstance(nccl, str) else ""))
    found = {card for card, _, _ in each}
    reasons = [reason for _, _, reason in each if reason]
    if len(found) < group.size:
        reasons.insert(0, f"{group.size} processes share {len(found)} card{'s' if len(found) > 1 else ''}")
    group.cards = None if reasons else Cards(group, xp, nccl)
    if reasons:
        return f"gradients go through the host and MPI ({reasons[0]})"
    here = [str(number) for (machine, _), number, _ in each if machine == each[0][0][0]]
    which = f" ({', '.join(here)})" if len(here) == group.size == len({*here}) else ""
    version = nccl.get_version()
    return (f"{group.size} processes train, each on a card of its own{which}, and NCCL {version // 10000}."
            f"{version % 10000 // 100}.{version % 100} carries gradients between them")
