"""NCCL for emulated GPUs: the processes that MPI started are its ranks, and MPI carries what it would carry.

What would hang, or read or write what is not there, is an error: sends and receives outside a group, memory that is
not live or not written, another card or stream than the current one, processes that ask for different things.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import emulator
import numpy as np
from emulated_cupy import device, streams
from emulated_cupy.counts import count_operation

NCCL_FLOAT32, NCCL_FLOAT64 = 7, 8  # nccl.h
SIZES = {NCCL_FLOAT32: 4, NCCL_FLOAT64: 8}


class NcclError(RuntimeError):
    def __init__(self, status: int):
        name = {4: "INVALID_ARGUMENT: invalid argument", 5: "INVALID_USAGE: invalid usage"}[status]
        super().__init__(f"NCCL_ERROR_{name}")


def get_version() -> int:
    return 22501


def get_unique_id() -> bytes:
    return os.urandom(128)


_group: list[list[Callable[[], list[Any]]]] = []  # the calls of each group that was begun and has not ended


def groupStart() -> None:
    if _group:
        raise NcclError(5)  # NCCL lets groups be nested
    _group.append([])


def groupEnd() -> None:
    """Begin all of the group, then wait: in whichever order its sends and receives stand, none waits in vain."""
    if not _group:
        raise NcclError(5)
    from mpi4py import MPI
    MPI.Request.Waitall([request for begin in _group.pop() for request in begin()])


class NcclCommunicator:
    """One process's part of it."""

    def __init__(self, ndev: int, commId: bytes, rank: int):
        from mpi4py import MPI
        if type(commId) is not bytes:
            raise TypeError(f"Argument 'commId' has incorrect type (expected bytes, got {type(commId).__name__})")
        self._comm = MPI.COMM_WORLD.Dup()
        self._device = device.get_device_id()
        everyone = self._comm.allgather((commId, ndev, rank, self._device))
        names, counts, ranks, cards = zip(*everyone, strict=True)
        if len(commId) != 128 or len({*names}) > 1 or {*counts} != {self._comm.size} or [*ranks] != [
                *range(self._comm.size)] or len({*cards}) < ndev:  # all of them are of one machine
            raise NcclError(5)

    def size(self) -> int:
        return int(self._comm.size)

    def rank_id(self) -> int:
        return int(self._comm.rank)

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._check(peer, stream)
        there = self._memory(sendbuf, count, datatype, written=True)
        _group[-1].append(lambda: [self._comm.Isend(there, peer)])

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._check(peer, stream)
        there = self._memory(recvbuf, count, datatype, written=False)

        def begin() -> list[Any]:
            emulator.memory.written(recvbuf, there.nbytes)
            return [self._comm.Irecv(there, peer)]
        _group[-1].append(begin)

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:
        self._check(None, stream)
        mine = self._memory(sendbuf, count, datatype, written=True)
        all_of_them = self._memory(recvbuf, count * self.size(), datatype, written=False)
        if len({*self._comm.allgather((count, datatype))}) > 1:
            raise NcclError(4)  # NCCL would hang, or write beyond the array
        emulator.memory.written(recvbuf, all_of_them.nbytes)
        self._comm.Allgather(mine, all_of_them)
        count_operation("nccl")

    def _check(self, peer: int | None, stream: int) -> None:
        streams.refuse("NCCL")  # the real one may be captured
        if device.get_device_id() != self._device or stream != streams.get_current_stream().ptr:
            raise NcclError(4)
        if peer is not None and (not _group or not 0 <= peer < self.size()):
            raise NcclError(5)

    def _memory(self, address: int, count: int, datatype: int, written: bool) -> np.ndarray:
        """The bytes there. ValueError if they are not within one live buffer; NcclError if they are to be written."""
        nbytes = count * SIZES[datatype]
        if not emulator.memory.is_initialized(address, nbytes) and written:
            raise NcclError(4)
        return np.asarray(_Bytes(address, nbytes))


class _Bytes:
    def __init__(self, address: int, nbytes: int):
        self.__array_interface__ = {"version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (address, False)}


NCCL = {"NCCL_FLOAT32": NCCL_FLOAT32, "NCCL_FLOAT64": NCCL_FLOAT64} | {f.__name__: f for f in (
    NcclError, NcclCommunicator, get_version, get_unique_id, groupStart, groupEnd)}
