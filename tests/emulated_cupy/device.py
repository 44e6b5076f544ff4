"""The emulated GPU: its memory, the counts of what was done on it, and the names that CuPy has under cupy.cuda."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import emulator
from emulated_cupy.counts import count, count_allocation
from emulated_cupy.streams import (
    CUDARuntimeError,
    Event,
    Graph,
    Stream,
    alloc_pinned_memory,
    copy_asynchronously,
    copy_to_host_asynchronously,
    get_current_stream,
    get_elapsed_time,
    refuse,
    wait,
)

TOTAL_MEMORY = 8 << 30
BLOCK = 512  # CuPy's pool rounds every allocation up to this


def count_to_device() -> None:
    refuse("a copy from the host")
    count("to_device")


def count_to_host() -> None:
    wait("a copy to the host")
    count("to_host")


# ---- memory --------------------------------------------------------------------------------------------------------

class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0):
        bound = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{bound}).")


class MemoryPool:
    """Memory to be had, and given back. set_limit(size) is how a test makes the device small; size=0 takes it back.

    What the default pool gets back is gone, so that every later use is found. Any other keeps it for the next who wants
    as much, as CuPy's do, until the pool itself is gone.
    """

    def __init__(self) -> None:
        self._limit = self._used = self._held = 0
        self._kept: dict[int, list[emulator.Buffer]] | None = {}

    def malloc(self, size: int) -> MemoryPointer:
        return MemoryPointer(Memory(size, self), 0)

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._held

    def free_all_blocks(self) -> None:
        self._held = self._used
        if self._kept:
            self._kept = {}

    def set_limit(self, size: int | None = None) -> None:
        if size is None or size < 0:
            raise ValueError(f"expected a size of at least 0, got {size}")
        self._limit = size

    def get_limit(self) -> int:
        return self._limit

    def _take(self, nbytes: int, size: int) -> emulator.Buffer:
        """A buffer for nbytes, which are `size` with rounding."""
        if self._kept and self._kept.get(size):
            self._used += size
            return self._kept[size].pop()
        if self._used + size > (self._limit or TOTAL_MEMORY):
            raise OutOfMemoryError(size, self._held, self._limit)
        self._used += size
        self._held = self._held + size if self._kept is not None else max(self._held, self._used)
        return emulator.memory.allocate(max(nbytes, 1) if self._kept is None else max(size, 1))

    def _give(self, buffer: emulator.Buffer, size: int) -> None:
        self._used -= size
        if self._kept is not None:
            self._kept.setdefault(size, []).append(buffer)


pool = MemoryPool()
pool._kept = None
_allocators: list[Callable[[int], MemoryPointer]] = [pool.malloc]


@contextlib.contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """Inside, arrays lie in memory of this allocator, a pool's malloc."""
    _allocators.append(allocator)
    try:
        yield
    finally:
        _allocators.pop()


def allocate(nbytes: int) -> Memory:
    count_allocation(nbytes)
    return _allocators[-1](nbytes).mem


class Memory:
    """One allocation; arrays that share it hold on to it, and its pool gets it back after the last of them."""

    __slots__ = ("buffer", "bytes", "pool", "size")

    def __init__(self, nbytes: int, pool: MemoryPool):
        self.size, self.pool = 0, pool  # for __del__, if the pool refuses
        size = -(-nbytes // BLOCK) * BLOCK
        self.buffer = pool._take(nbytes, size)
        self.size = size
        self.bytes = self.buffer.array()

    def __del__(self) -> None:
        if self.size:
            self.pool._give(self.buffer, self.size)


class MemoryPointer:
    """What x.data is: where the array begins."""

    __slots__ = ("mem", "ptr")

    def __init__(self, mem: Memory, offset: int):
        self.mem, self.ptr = mem, mem.buffer.address + offset

    def copy_from_host_async(self, mem: int | ctypes.c_void_p, size: int, stream: Stream | None = None) -> None:
        count_to_device()
        copy_asynchronously(self.ptr, mem.value if isinstance(mem, ctypes.c_void_p) else mem, size)

    def copy_to_host_async(self, mem: int | ctypes.c_void_p, size: int, stream: Stream | None = None) -> None:
        refuse("a copy to the host")
        count("to_host_later")
        copy_to_host_asynchronously(mem.value if isinstance(mem, ctypes.c_void_p) else mem, self.ptr, size)


# ---- cupy.cuda -----------------------------------------------------------------------------------------------------

class _Cards:
    """How many there are, and which one is current. They share one memory: nothing is refused for lying on another."""

    count, current = 1, 0


@contextlib.contextmanager
def cards(count: int) -> Iterator[None]:
    """Inside there are so many."""
    _Cards.count = count
    try:
        yield
    finally:
        _Cards.count, _Cards.current = 1, 0


class Device:
    """A device, by its number; the current one."""

    def __init__(self, device: int | None = None):
        self.id = _Cards.current if device is None else device
        if not 0 <= self.id < _Cards.count:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

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
        wait("the device")

    def use(self) -> None:
        _Cards.current = self.id


def get_device_id() -> int:
    return _Cards.current


def getDevice() -> int:
    return _Cards.current


def getDeviceCount() -> int:
    return _Cards.count


def deviceGetPCIBusId(device: int) -> str:
    return f"0000:{Device(device).id:02X}:00.0"


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
    wait("the device")


def getVersion() -> tuple[int, int]:
    """cupy.cuda.nvrtc.getVersion."""
    return 12, 9


def cublas_version(handle: int) -> int:
    """cupy.cuda.cublas.getVersion."""
    return 120900


CUBLAS = {"getVersion": cublas_version}
RUNTIME = {f.__name__: f for f in (CUDARuntimeError, getDevice, getDeviceCount, getDeviceProperties,
                                   deviceGetPCIBusId, memGetInfo,
                                   driverGetVersion, runtimeGetVersion, deviceSynchronize)}
MEMORY = {c.__name__: c for c in (OutOfMemoryError, MemoryPool, MemoryPointer)}
CUDA = {f.__name__: f for f in (Device, Stream, Event, Graph, MemoryPool, MemoryPointer, alloc_pinned_memory,
                                get_elapsed_time, get_current_stream, get_device_id, using_allocator)}
