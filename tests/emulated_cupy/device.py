"""The emulated GPU: its memory, the counts of what was done on it, and the names that CuPy has under cupy.cuda.

Everything is done at once: streams and events are there so that code which uses them runs, not to be tested.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import emulator

TOTAL_MEMORY = 8 << 30
BLOCK = 512  # CuPy's pool rounds every allocation up to this


class Counts:
    """What was done on the device.

    kernels, operations: launches of RawKernels and array operations, by name. An operation on no elements counts for
    nothing; CuPy may need several launches for one that counts as one (pad, linalg, a stack of many arrays).
    to_device, to_host: copies between the two memories, those hidden in float(x), bool(x), print(x) or x[mask] too.
    largest: bytes of the largest allocation.
    """

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.to_device = self.to_host = self.largest = 0

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


def count_to_device() -> None:
    for each in _listening:
        each.to_device += 1


def count_to_host() -> None:
    for each in _listening:
        each.to_host += 1


# ---- memory --------------------------------------------------------------------------------------------------------

class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0):
        bound = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{bound}).")


class MemoryPool:
    """Bookkeeping only. set_limit(size) is how a test makes the device small; set_limit(size=0) takes it back."""

    def __init__(self) -> None:
        self._limit = self._used = self._held = 0

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._held

    def free_all_blocks(self) -> None:
        self._held = self._used

    def set_limit(self, size: int | None = None) -> None:
        if size is None or size < 0:
            raise ValueError(f"expected a size of at least 0, got {size}")
        self._limit = size

    def get_limit(self) -> int:
        return self._limit

    def _take(self, size: int) -> None:
        if self._used + size > (self._limit or TOTAL_MEMORY):
            raise OutOfMemoryError(size, self._held, self._limit)
        self._used += size
        self._held = max(self._held, self._used)

    def _give(self, size: int) -> None:
        self._used -= size


pool = MemoryPool()


class Memory:
    """One allocation; arrays that share it hold on to it, and it is freed after the last of them."""

    __slots__ = ("buffer", "bytes", "size")

    def __init__(self, nbytes: int):
        self.size = 0  # for __del__, if the pool refuses
        size = -(-nbytes // BLOCK) * BLOCK
        pool._take(size)
        self.size = size
        self.buffer = emulator.memory.allocate(max(nbytes, 1))
        self.bytes = self.buffer.array()
        for each in _listening:
            each.largest = max(each.largest, nbytes)

    def __del__(self, pool: MemoryPool = pool) -> None:  # the name is None when Python is about to end
        pool._give(self.size)


class MemoryPointer:
    """What x.data is: where the array begins."""

    __slots__ = ("mem", "ptr")

    def __init__(self, mem: Memory, offset: int):
        self.mem, self.ptr = mem, mem.buffer.address + offset


# ---- cupy.cuda -----------------------------------------------------------------------------------------------------

class CUDARuntimeError(RuntimeError):
    pass


class Device:
    """The one device, number 0."""

    def __init__(self, device: int | None = None):
        if device not in (None, 0):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = 0

    @property
    def cublas_handle(self) -> int:
        return 1

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        return memGetInfo()

    def synchronize(self) -> None:
        pass

    def use(self) -> None:
        pass

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class Stream:
    """Only the default stream; work on it is done before the call that asks for it returns."""

    null: Stream
    ptr: int  # CUDA's handle

    def __init__(self) -> None:
        raise NotImplementedError("the emulated CuPy has only the default stream")

    def synchronize(self) -> None:
        pass


Stream.null = object.__new__(Stream)
Stream.null.ptr = 0


class Event:
    """The host's clock at the moment of record()."""

    def record(self) -> None:
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        pass


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    return (end_event._time - start_event._time) * 1e3


def get_current_stream() -> Stream:
    return Stream.null


def get_device_id() -> int:
    return 0


def getDevice() -> int:
    return 0


def getDeviceCount() -> int:
    return 1


def getDeviceProperties(device: int) -> dict[str, Any]:
    return {"name": b"Emulated GPU", "totalGlobalMem": TOTAL_MEMORY, "major": 9, "minor": 0, "multiProcessorCount": 4,
            "warpSize": 32, "maxThreadsPerBlock": 1024, "sharedMemPerBlock": 48 << 10, "l2CacheSize": 4 << 20}


def memGetInfo() -> tuple[int, int]:
    total = pool._limit or TOTAL_MEMORY
    return max(0, total - pool._held), total


def driverGetVersion() -> int:
    return 12090


def runtimeGetVersion() -> int:
    return 12090


def deviceSynchronize() -> None:
    pass


def getVersion() -> tuple[int, int]:
    """cupy.cuda.nvrtc.getVersion."""
    return 12, 9


def cublas_version(handle: int) -> int:
    """cupy.cuda.cublas.getVersion."""
    return 120900


CUBLAS = {"getVersion": cublas_version}
RUNTIME = {f.__name__: f for f in (CUDARuntimeError, getDevice, getDeviceCount, getDeviceProperties, memGetInfo,
                                   driverGetVersion, runtimeGetVersion, deviceSynchronize)}
MEMORY = {c.__name__: c for c in (OutOfMemoryError, MemoryPool, MemoryPointer)}
CUDA = {f.__name__: f for f in (Device, Stream, Event, MemoryPool, MemoryPointer, get_elapsed_time,
                                get_current_stream, get_device_id)}
