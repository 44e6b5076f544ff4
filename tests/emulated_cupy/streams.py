"""Streams, events, pinned memory and graphs: what a capture notes, and what CUDA or CuPy refuses meanwhile.

As everywhere in the emulation, work is done at once. During a capture it is noted and not done; a launch of the graph
does what was noted, at the addresses that were noted. An error here is what CUDA or CuPy refuses, or what would go
wrong there unseen: memory that was freed since, work on another stream, a host's memory that changes under its copy.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import emulator
import numpy as np
from emulated_cupy.counts import count

byte_bounds = getattr(np.lib, "array_utils", np).byte_bounds  # NumPy 2 moved it


class CUDARuntimeError(RuntimeError):
    pass


# ---- streams and events --------------------------------------------------------------------------------------------

class Stream:
    """A stream. What is asked for on it is done before the call returns, or noted if it is captured."""

    null: Stream
    ptr: int  # CUDA's handle
    _handles = itertools.count(1 << 20)

    def __init__(self, null: bool = False, non_blocking: bool = False):
        self.ptr = 0 if null else next(self._handles)
        self._non_blocking = non_blocking

    def synchronize(self) -> None:
        wait("a stream")

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0 or not self._non_blocking:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: here a capture needs Stream(non_blocking=True)")
        if _state.capture is not None:
            raise CUDARuntimeError("cudaErrorIllegalState: a stream is captured already")
        _state.capture = Capture(self)

    def end_capture(self) -> Graph:
        capture = _state.capture
        if capture is None or capture.stream is not self:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnmatched: this stream is not captured")
        _state.capture = None
        if capture.broken:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        graph = object.__new__(Graph)
        graph._notes = capture.notes
        return graph

    def is_capturing(self) -> bool:
        return _state.capture is not None and _state.capture.stream is self

    def __enter__(self) -> Stream:
        _state.streams.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _state.streams.remove(self)


Stream.null = Stream(null=True)


class _State:
    """Which stream is current, what is captured, and which copies from the host are under way."""

    def __init__(self) -> None:
        self.streams = [Stream.null]
        self.capture: Capture | None = None
        self.copies: list[_Copy] = []  # under way


_state = _State()


def get_current_stream() -> Stream:
    return _state.streams[-1]


def refuse(what: str) -> None:
    """An error during a capture, which is lost then."""
    if _state.capture is not None:
        _state.capture.broken = True
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} is not permitted when stream is capturing")


def refuse_library(name: str) -> None:
    """As CuPy refuses CUDA's libraries during a capture."""
    if _state.capture is not None:
        raise NotImplementedError(f"calling {name} API during stream capture is currently unsupported")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No stream but the null one, and no capture: whatever a test has left behind is gone afterwards."""
    try:
        yield
    finally:
        _state.streams[1:], _state.capture, _state.copies = [], None, []


class Event:
    """The host's clock at the moment of record(). Until it is waited for, the copies before it are under way."""

    def __init__(self, block: bool = False, disable_timing: bool = False):
        self._time, self._copies = None if disable_timing else 0.0, list[_Copy]()

    def record(self, stream: Stream | None = None) -> None:
        refuse("an event")
        if self._time is not None:
            self._time = time.perf_counter()
        self._copies = list(_state.copies)

    def synchronize(self) -> None:
        wait("an event", self._copies)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    if start_event._time is None or end_event._time is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event with disable_timing has no time")
    return (end_event._time - start_event._time) * 1e3


# ---- pinned memory -------------------------------------------------------------------------------------------------

_pinned: dict[int, int] = {}  # address -> bytes


class PinnedMemoryPointer(bytearray):
    """Memory of the host that the device can read."""

    ptr: int

    def __del__(self) -> None:
        _pinned.pop(self.ptr, None)


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    memory = PinnedMemoryPointer(max(size, 1))
    memory.ptr = ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory))
    _pinned[memory.ptr] = len(memory)
    return memory


def copy_asynchronously(target: int, source: int, size: int) -> None:
    """Pinned memory to the device. Nobody may write to the source until an event behind this has been waited for."""
    refuse("a copy from the host")
    if not _is_pinned(source, size):
        raise CUDARuntimeError("a copy from the host that is asynchronous needs pinned memory")
    data = ctypes.string_at(source, size)
    emulator.memory.copy_from_host(target, np.frombuffer(data, np.uint8))
    _state.copies.append(_Copy(source, data))


def copy_to_host_asynchronously(target: int, source: int, size: int) -> None:
    """Device to pinned memory. What lies there is rubbish until an event behind this has been waited for."""
    if not _is_pinned(target, size):
        raise CUDARuntimeError("a copy to the host that is asynchronous needs pinned memory")
    data = emulator.memory.copy_to_host(source, np.uint8, (size,)).tobytes()
    ctypes.memset(target, 0xAA, size)
    _state.copies.append(_CopyBack(target, data))


def _is_pinned(address: int, size: int) -> bool:
    return any(begin <= address and address + size <= begin + length for begin, length in _pinned.items())


class _Copy:
    """A copy under way: from where, and what lay there when it was asked for."""

    def __init__(self, source: int, data: bytes):
        self.source, self.data = source, data

    def finish(self) -> None:
        if self.source in _pinned and ctypes.string_at(self.source, len(self.data)) != self.data:
            raise CUDARuntimeError("pinned memory was written to while its copy was under way")


class _CopyBack(_Copy):
    """A copy to the host under way: to where, and what lay on the device when it was asked for."""

    def finish(self) -> None:
        if self.source in _pinned:
            ctypes.memmove(self.source, self.data, len(self.data))


def copies_under_way() -> int:
    """How many copies from pinned memory nobody has waited for."""
    return len(_state.copies)


def wait(what: str, copies: list[_Copy] | None = None) -> None:
    """The host waits: these copies are done now, or all. An error if a source has changed since they were asked for."""
    refuse(f"to wait for {what}")
    for copy in list(_state.copies if copies is None else copies):
        if copy in _state.copies:
            _state.copies.remove(copy)
            copy.finish()


# ---- graphs --------------------------------------------------------------------------------------------------------

class Place:
    """Where an array lies, without keeping it alive: what is noted of an argument."""

    def __init__(self, a: np.ndarray):
        self.shape, self.strides, self.dtype = a.shape, a.strides, a.dtype
        self.address, self.bounds = a.ctypes.data, byte_bounds(a) if a.size else (0, 0)

    def view(self, name: str) -> np.ndarray:
        """The array that lies there. CUDARuntimeError if its memory was freed."""
        low, high = self.bounds
        if high > low:
            _check_alive(name, low, high - low)
        return np.asarray(_Interface(self))


class _Interface:
    def __init__(self, place: Place):
        self.__array_interface__ = {"version": 3, "shape": place.shape, "strides": place.strides,
                                    "typestr": place.dtype.str, "data": (place.address, False)}


def _check_alive(name: str, address: int, size: int) -> None:
    try:
        emulator.memory.is_initialized(address, size)
    except ValueError:
        raise CUDARuntimeError(f"{name}: a graph uses {size} bytes at {address:#x}, which were freed since it was "
                               "recorded") from None


class Note:
    """One launch of a graph: function(*operands), and what of it must not depend on when it is recorded."""

    def __init__(self, name: str, function: Callable[..., Any], operands: Sequence[Any], pointers: Sequence[int] = ()):
        self.name, self.function, self.operands, self.pointers = name, function, operands, pointers

    def run(self) -> None:
        for pointer in self.pointers:
            _check_alive(self.name, pointer, 1)
        self.function(*(x.view(self.name) if isinstance(x, Place) else x for x in self.operands))

    def numbers(self) -> list[Any]:
        """All but the addresses."""
        return [self.name, *((x.shape, x.strides, x.dtype) if isinstance(x, Place) else _without_pointers(x)
                             for x in self.operands)]


def _without_pointers(x: Any) -> Any:
    if isinstance(x, np.ndarray) and x.dtype.fields:
        return [x[field].tolist() for field in x.dtype.fields if x.dtype[field].base != np.uint64]
    return x


class Capture:
    def __init__(self, stream: Stream):
        self.stream, self.notes, self.broken = stream, list[Note](), False


class Graph:
    """What a capture noted."""

    _notes: list[Note]

    def __init__(self, *args: Any, **kwargs: Any):
        raise NotImplementedError("currently this class cannot be initiated by the user and must be created via stream "
                                  "capture")

    def launch(self, stream: Stream | None = None) -> None:
        refuse("to launch a graph")
        count("graphs")
        for note in self._notes:
            note.run()


def capture_of(name: str) -> Capture | None:
    """The capture that is to note a launch; None if it is to be done. An error if it is on another stream: there CUDA
    would do it at once, and it would be missing from the graph."""
    capture = _state.capture
    if capture is not None and get_current_stream() is not capture.stream:
        capture.broken = True
        raise CUDARuntimeError(f"{name}: launched on another stream than the one that is captured")
    return capture


def check_same(first: Graph, second: Graph) -> None:
    """AssertionError if two recordings of a step differ in a number of the host's: a launch repeats the old one."""
    for i, (a, b) in enumerate(itertools.zip_longest(first._notes, second._notes)):
        if a is None or b is None:
            raise AssertionError(f"one recording has {len(first._notes)} launches, the other {len(second._notes)}")
        if str(a.numbers()) != str(b.numbers()):
            raise AssertionError(f"launch {i} differs between two recordings of the step: {a.numbers()}, "
                                 f"then {b.numbers()}")
