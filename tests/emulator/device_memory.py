"""Emulated device memory: arrays that lie apart, begin poisoned, and keep their addresses to themselves when freed."""

from __future__ import annotations

import ctypes
import functools
import weakref
from typing import Any

import numpy as np
from emulator import build

ALIGNMENT = 512  # as CuPy's memory pool


@functools.cache
def runtime() -> ctypes.PyDLL:
    """The runtime, loaded. PyDLL: it is called with Python's lock held, as it is made for one thread at a time."""
    library = ctypes.PyDLL(str(build.runtime()))
    u64 = ctypes.c_uint64
    library.emu_allocate.argtypes, library.emu_allocate.restype = [u64], u64
    library.emu_free.argtypes = [u64]
    library.emu_written.argtypes = library.emu_initialized.argtypes = [u64, u64]
    library.emu_variable.argtypes = [u64, u64]
    library.emu_set_step_limit.argtypes = [u64]
    library.emu_set_time_limit.argtypes = [ctypes.c_double]
    library.emu_use_shared.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, u64, u64]
    library.emu_findings.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.emu_launch.argtypes = [u64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, u64, ctypes.c_int, u64,
                                   ctypes.c_int, ctypes.c_void_p]
    library.emu_launch.restype = None
    library.emu_set_profiling.argtypes = [ctypes.c_int]
    library.emu_profile.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


class Buffer:
    """One array of device memory; freed when nobody holds it or a view of it any more, or by free()."""

    def __init__(self, address: int, nbytes: int, memory: Memory):
        self.address, self.nbytes = address, nbytes
        self._free = weakref.finalize(self, memory._freed, address)
        self._free.atexit = False

    def free(self) -> None:
        """From now on every access by a kernel is a use after free. Views on the host must not be used either."""
        if not self._free.alive:
            raise ValueError(f"buffer at {self.address:#x} ({self.nbytes} bytes) is freed already")
        self._free()

    def array(self, dtype: Any = np.uint8, shape: Any = None) -> np.ndarray:
        """The host's view. After writing through it, tell memory.written(), or kernels find it uninitialized."""
        if not self._free.alive:
            raise ValueError(f"buffer at {self.address:#x} ({self.nbytes} bytes) is freed")
        view = np.asarray(_Bytes(self)).view(dtype)
        return view if shape is None else view[:int(np.prod(shape))].reshape(shape)


class _Bytes:
    """What NumPy holds on to, so that the buffer lives as long as its views."""

    def __init__(self, buffer: Buffer):
        self.buffer = buffer
        self.__array_interface__ = {"version": 3, "shape": (buffer.nbytes,), "typestr": "|u1",
                                    "data": (buffer.address, False)}


class Memory:
    """An allocator of emulated device memory. All instances share one address space; each counts its own."""

    def __init__(self) -> None:
        self.live: dict[int, int] = {}  # address -> bytes
        self.live_bytes = self.peak_bytes = 0

    def allocate(self, nbytes: int) -> Buffer:
        """Poisoned memory (0xff: a NaN as a float, -1 as an integer) that counts as uninitialized."""
        if nbytes < 0:
            raise ValueError(f"allocate: expected at least 0 bytes, got {nbytes}")
        address = runtime().emu_allocate(nbytes)
        if not address:
            raise MemoryError(f"emulator: no room for {nbytes} bytes (freed addresses are never used again)")
        self.live[address] = nbytes
        self.live_bytes += nbytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        return Buffer(address, nbytes, self)

    def written(self, address: int, nbytes: int) -> None:
        """The host has written there: it counts as initialized."""
        if runtime().emu_written(address, nbytes):
            raise ValueError(f"written: {nbytes} bytes at {address:#x} are not within a live buffer")

    def is_initialized(self, address: int, nbytes: int) -> bool:
        """Whether the host or a kernel has written every byte."""
        known = runtime().emu_initialized(address, nbytes)
        if known < 0:
            raise ValueError(f"is_initialized: {nbytes} bytes at {address:#x} are not within a live buffer")
        return bool(known)

    def copy_from_host(self, address: int, array: Any) -> None:
        """Write an array's bytes, in C order, and declare them written."""
        array = np.ascontiguousarray(array)
        self.written(address, array.nbytes)
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def copy_to_host(self, address: int, dtype: Any, shape: Any) -> np.ndarray:
        """A copy of what lies there."""
        array = np.empty(shape, dtype)
        if runtime().emu_initialized(address, array.nbytes) < 0:
            raise ValueError(f"copy_to_host: {array.nbytes} bytes at {address:#x} are not within a live buffer")
        ctypes.memmove(array.ctypes.data, address, array.nbytes)
        return array

    def _freed(self, address: int) -> None:
        self.live_bytes -= self.live.pop(address)
        runtime().emu_free(address)
