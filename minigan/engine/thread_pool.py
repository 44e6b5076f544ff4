"""Work shared out over threads, in tiles that depend on the shapes alone.

NumPy's BLAS is held to one thread and the work is split above it, tile by tile (`parallel`), because a convolution's
tile then stays in one core's cache from the gather to the activation. The tiles depend on the shapes alone and never
on the number of threads, so every result has the same bytes whatever `--threads` says, under one
kernel of BLAS (machine.blas).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minigan.engine.devices import Array
from minigan.errors import WrongUse

# Elements that a thread takes at once: 1 MiB in float32. One thread alone is as fast with a quarter of it; two then do
# nothing but hand Python's lock to each other, and are slower than one.
BLOCK = 1 << 18
FEW = 4  # such blocks; to wake a thread for fewer, and to wait for it, costs more than it saves

_threads = 0  # 0: not chosen yet


_pool: ThreadPoolExecutor | None = None


_choosing = threading.Lock()  # of the two above


_mine = threading.local()  # .threads: how many threads this one may use, itself included; not there: all


_scratch = threading.local()


def set_threads(count: int | None = None) -> int:
    """Use `count` worker threads (default: the cores this process may use), BLAS one in each. Returns the count."""
    if count is not None and count < 1:
        raise WrongUse(f"--threads: expected at least 1, got {count}")
    with _choosing:
        return _use(count or cores())


def thread_count() -> int:
    """Worker threads in use; chosen at the first question if `set_threads` was not called."""
    if not _threads:
        with _choosing:  # two threads may ask first
            return _threads or _use(cores())
    return _threads


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel(work: Callable[[Any], Any], items: Iterable[Any], large: bool = False, least: int = 2) -> list[Any]:
    """[work(item) for item in items], spread over the worker threads; results in the order of the items.

    The calling thread works too: waking one thread less is worth it for pieces of half a millisecond.
    large: each item is worth several threads, and its own calls of `parallel` may use those that are left: of 8
    threads with 2 items, 4 for each.
    least: fewer items stay with the calling thread; FEW where they are blocks of BLOCK elements.
    """
    items = list(items)
    count, pool = thread_count(), _pool
    count = min(getattr(_mine, "threads", count), count)
    if pool is None or len(items) < least or count < 2:
        return [work(item) for item in items]
    mine = max(1, count // len(items)) if large else 1
    results: list[Any] = [None] * len(items)
    failures: dict[int, BaseException] = {}
    places = itertools.count()  # shared: whoever is free takes the next item

    def run() -> None:
        with at_most(mine):
            for place in places:
                if place >= len(items) or failures:
                    break
                try:
                    results[place] = work(items[place])
                except BaseException as error:
                    failures[place] = error

    others = [pool.submit(run) for _ in range(min(count, len(items)) - 1)]
    run()
    for other in others:
        if not other.cancel():  # no piece may still be working when this returns
            other.result()
    if failures:
        raise failures[min(failures)]
    return results


@contextlib.contextmanager
def at_most(count: int) -> Iterator[None]:
    """Inside, this thread's calls of `parallel` use at most so many threads, itself included."""
    before = getattr(_mine, "threads", None)
    _mine.threads = count if before is None else min(before, count)
    try:
        yield
    finally:
        if before is None:
            del _mine.threads
        else:
            _mine.threads = before


def blocks(count: int, size: int) -> list[slice]:
    """0 .. count cut into slices of at most `size` (at least 1)."""
    size = max(1, size)
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def row_blocks(rows: Array) -> list[slice]:
    """The rows of a matrix, cut into blocks of about BLOCK elements."""
    return blocks(len(rows), BLOCK // rows.shape[1])


def tiles(count: int, rows: int, row_bytes: int, budget: int, start: int = 0) -> list[tuple[slice, slice]]:
    """(images, rows) of each tile of at most `budget` bytes: whole images while they fit, else rows of one image."""
    images = budget // max(1, rows * row_bytes)
    if images >= 1:
        return [(slice(start + n, start + min(n + images, count)), slice(0, rows)) for n in range(0, count, images)]
    step = max(1, budget // row_bytes)
    return [(slice(start + n, start + n + 1), slice(r, min(r + step, rows)))
            for n in range(count) for r in range(0, rows, step)]


def scratch(name: str, shape: Sequence[int], dtype: Any, xp: Any = np) -> Array:
    """A work array, uninitialized; of NumPy's one that belongs to this thread and is reused under the same name.

    Fresh large arrays cost NumPy a page fault for every 4 KiB; a reused one stays in the cache. CuPy keeps a pool.
    """
    if xp is not np:
        return xp.empty(shape, dtype)
    buffers = _scratch.__dict__
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if name not in buffers or buffers[name].nbytes < size:
        buffers[name] = np.empty(size, np.uint8)
    return buffers[name][:size].view(dtype).reshape(shape)


def _use(count: int) -> int:
    """set_threads, with the lock held."""
    global _threads, _pool
    # The pool before the count: who sees the count finds its pool. The old one is not shut down, another thread may be
    # giving it work; its workers end with the last reference to it.
    _pool = ThreadPoolExecutor(count - 1, "minigan") if count > 1 else None
    ThreadpoolController().limit(limits=1, user_api="blas")
    _keep_freed_memory()
    _threads = count
    return count


def _keep_freed_memory() -> None:
    """Let glibc keep freed arrays for the next ones: a training step allocates the same sizes again and again.

    Without this every array above 128 KiB is mapped anew, and zeroed page by page by the kernel.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library; nothing is lost but speed
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
    mallopt(M_ARENA_MAX, 1)  # all threads from one: what a thread of its own frees is unmapped, whatever is said below
    mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
    mallopt(M_TRIM_THRESHOLD, 512 << 20)
