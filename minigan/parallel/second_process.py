"""A second process of this one's own, that computes beside it: memory that both see, and lines between them.

Two threads of one Python process give its lock to each other at every short call of NumPy; two processes have a lock
each. The memory is a file without a name (Linux's memfd); the lines, JSON, go through the other's standard input and
output. It reads until its input ends: when this process closes it, or has ended in whatever way.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Place = tuple[int, tuple[int, ...], str]  # of an array in the shared memory: first byte, shape, dtype

LINE = 64  # bytes, a line of the cache: where arrays begin
# Seconds without an answer after which none is expected: this many at least, and so many times the longest wait so far
PATIENCE, TIMES = 60.0, 100


class Gone(Exception):
    """The other process has ended or cannot be started, or there is no memory for both."""


class Silent(Gone):
    """The other process is there, and does not answer: it was stopped (SIGSTOP, a debugger), or hangs."""


class SharedMemory:
    """Memory that grows, by its file's descriptor, and the arrays in it."""

    def __init__(self, file: int):
        self.file, self.size = file, 0

    def array(self, place: Place) -> np.ndarray:
        """The array at a place, without a copy; arrays from before the memory grew stay valid.

        Gone if it cannot grow (ulimit -v, say).
        """
        start, shape, dtype = place
        end = start + math.prod(shape) * np.dtype(dtype).itemsize
        if end > self.size:
            try:
                size = max(-(-end // mmap.PAGESIZE) * mmap.PAGESIZE, os.fstat(self.file).st_size)
                os.ftruncate(self.file, size)
                self.map, self.size = mmap.mmap(self.file, size), size
            except OSError as error:
                raise Gone(str(error)) from error
        return np.ndarray(tuple(shape), dtype, self.map if self.size else b"", start)


def places(start: int, arrays: Iterable[tuple[tuple[int, ...], np.dtype]]) -> tuple[list[Place], int]:
    """A place for an array of each (shape, dtype), one behind the other from byte `start` on; and where they end."""
    found = []
    for shape, dtype in arrays:
        found.append((start, shape, dtype.str))
        start += -(-math.prod(shape) * dtype.itemsize // LINE) * LINE
    return found, start


class SecondProcess:
    """python -c "from <module> import serve; serve(...)", with this process's import path and nothing to print on.

    module: a module of minigan's with a function `serve` that calls `answer_all`. Gone if it cannot be started. It ends
    with this object at the latest, and not before it for a signal that asks this process to stop.
    """

    def __init__(self, module: str):
        if not hasattr(os, "memfd_create") or not sys.executable or getattr(sys, "frozen", False):
            raise Gone  # frozen (PyInstaller): sys.executable is the program itself, and no Python
        code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import serve; serve(int(sys.argv[1]))"
        one = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")}  # minigan's share
        file = -1
        try:
            file = os.memfd_create("minigan")
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, pass_fds=(file,), start_new_session=True, env=os.environ | one)
        except OSError as error:
            if file >= 0:
                os.close(file)
            raise Gone from error
        self.memory = SharedMemory(file)
        self.due = 0  # answers
        self.received = b""  # of answers that nobody has taken
        self.longest = 0.0  # wait for an answer, in seconds
        self.close = weakref.finalize(self, _end, self.process, file)
        _running.add(self)

    def tell(self, **words: Any) -> None:
        """Send a line, which will be answered. Gone if nobody is there."""
        self.due += 1
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(words).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: closed
            raise Gone from error

    def has_answered(self) -> bool:
        """Whether an answer, or the end, has come, so that `answer` will not wait."""
        assert self.process.stdout is not None
        return not self.process.stdout.closed and (b"\n" in self.received or self._ready(0))

    def answer(self) -> Any:
        """Wait for the answer to the oldest line that has none. Gone if none will come, Silent if none has come for
        PATIENCE seconds and TIMES the longest wait so far.

        Only time in which this process ran counts: where all of a job is stopped for an hour, nobody was silent.
        """
        assert self.process.stdout is not None
        waited, limit = 0.0, max(PATIENCE, TIMES * self.longest)
        try:
            while b"\n" not in self.received:
                wait, began = min(limit / 60, limit - waited), time.monotonic()
                if self._ready(wait):
                    some = os.read(self.process.stdout.fileno(), 1 << 16)
                    if not some:
                        raise Gone
                    self.received += some
                elif waited + wait >= limit:
                    raise Silent(f"{limit:.0f} seconds")
                waited += min(wait, time.monotonic() - began)
        except (OSError, ValueError) as error:  # ValueError: closed
            raise Gone from error
        self.longest = max(self.longest, waited)
        line, _, self.received = self.received.partition(b"\n")
        self.due -= 1
        try:
            return json.loads(line)
        except ValueError as error:  # something printed before `answer_all`, by Python's own start say
            raise Gone from error

    def _ready(self, seconds: float) -> bool:
        """Whether something of an answer, or the end, comes in that time."""
        found = select.poll()  # select.select() takes no descriptor above 1023
        assert self.process.stdout is not None
        found.register(self.process.stdout, select.POLLIN)
        return bool(found.poll(1000 * seconds))


_running: weakref.WeakSet[SecondProcess] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """In a process that this one forked: neither end nor write what is the parent's, nor keep it from seeing the
    parent's end."""
    for other in _running:
        if other.close.detach():
            os.close(other.memory.file)
        other.memory = SharedMemory(-1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (other.process.stdin, other.process.stdout):
            if stream is not None and not stream.closed:
                os.dup2(nothing, stream.fileno(), inheritable=False)
        os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _end(process: subprocess.Popen[bytes], file: int) -> None:
    """End the other process, which has nothing that could be lost."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:  # a line that was never sent
                pass
    os.close(file)


def answer_all(file: int, answer: Callable[..., Any]) -> None:
    """The life of the other process: answer(memory, **line) for each line, until there are no more.

    file: the shared memory's descriptor. Whatever is printed goes nowhere. An error ends the process. Signals that ask
    a training to stop, which a job's end sends to all its processes, do not: the first process still needs this one.
    """
    for asking in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asking, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing, as SecondProcess has started it
    memory = SharedMemory(file)
    for line in sys.stdin.buffer:
        answers.write(json.dumps(answer(memory, **json.loads(line))).encode() + b"\n")
        answers.flush()
