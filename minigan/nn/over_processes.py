"""Batch normalization in operations, by the moments of a whole batch whose rows may lie with several processes.

The mean over the processes is linear and its own adjoint: where each process's gradient is that of the sum of all their
losses by its own rows, the mean's gradient is the mean of the gradients. So it may be derived as often as one likes.
Every process does the same operations in the same order, forward and backward: none waits for another in vain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Op, Tensor
from minigan.engine.devices import Array, array_module, to_host
from minigan.parallel.mpi import Group


def mean(group: Group, arrays: Sequence[Array]) -> list[Array]:
    """The mean of each array over the processes, of one dtype, on the device where they lie, in one message."""
    xp = array_module(*arrays)
    if xp is not np and group.cards is not None:
        return group.cards.mean(arrays)
    return [xp.asarray(a) for a in group.mean([to_host(a) for a in arrays])]


class MeanOverProcesses(Op):
    """Input x, of one shape in all processes: its mean over them."""

    def __init__(self, group: Group):
        self.group = group

    def forward(self, x: Array) -> Array:
        return mean(self.group, [x])[0]

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (MeanOverProcesses(self.group)(gy),)


def normalized(x: Tensor, eps: float, group: Group) -> tuple[Tensor, Array, Array]:
    """((x - mean) / sqrt(variance + eps), mean, variance), of all processes' x, over all axes but the last: (C,).

    x: (..., C), as many rows in each process.
    """
    def mean_of_all(a: Tensor) -> Tensor:
        mine = ops.mean(a, tuple(range(a.ndim - 1)))
        return mine if group.size == 1 else MeanOverProcesses(group)(mine)
    center = mean_of_all(x)
    d = x - center
    variance = mean_of_all(d * d)
    return d / ops.sqrt(variance + eps), center.data, variance.data
