"""Which array module, which device, how many threads: the only file that may import CuPy.

Threads. NumPy's BLAS is held to one thread and the work is split above it, tile by tile (`parallel`), because a
convolution's tile then stays in one core's cache from the gather to the activation. The tiles depend on the shapes
alone and never on the number of threads, so every result has the same bytes whatever `--threads` says.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minigan.errors import WrongUse

Array = Any  # numpy.ndarray or cupy.ndarray: whatever array_module() knows

DEVICES = ("cpu", "cuda")


def cuda_module() -> Any:
    """CuPy, with a GPU behind it and CUDA's libraries. WrongUse says what is missing and what to install."""
    try:
        import cupy
    except ModuleNotFoundError:
        raise WrongUse("--device cuda needs CuPy, which is not installed; pip install 'minigan[cuda]' (CUDA 12) or "
                       "'minigan[cuda13]', or use --device cpu") from None
    except ImportError as error:  # CuPy is there, one of CUDA's libraries is not
        raise WrongUse(f"--device cuda: CuPy is installed but cannot be imported ({_reason(error)}); "
                       "pip install 'minigan[cuda]' (CUDA 12) or 'minigan[cuda13]' brings CUDA's libraries, or use "
                       "--device cpu") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise WrongUse(f"--device cuda: CuPy is installed but finds no usable GPU ({_reason(error)}); "
                       "install NVIDIA's driver, or use --device cpu") from None
    if count == 0:
        raise WrongUse("--device cuda: CuPy is installed but this machine has no GPU; use --device cpu")
    # `pip install cupy-cuda12x` alone brings neither, and CuPy looks for them when they are first needed
    _asked("NVRTC", lambda: cupy.cuda.nvrtc.getVersion())
    _asked("cuBLAS", lambda: cupy.cuda.cublas)
    return cupy


def cuda_facts() -> dict[str, str]:
    """What the current GPU and its software are, for people. WrongUse says what is missing."""
    cupy = cuda_module()
    runtime, device = cupy.cuda.runtime, cupy.cuda.Device()
    properties = runtime.getDeviceProperties(device.id)
    free, total = runtime.memGetInfo()

    def version(number: int) -> str:
        return f"{number // 1000}.{number % 1000 // 10}"
    major, minor = cupy.cuda.nvrtc.getVersion()
    cublas = _asked("cuBLAS", lambda: cupy.cuda.cublas.getVersion(device.cublas_handle))
    return {"card": f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, "
                    f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
            "driver": f"for CUDA up to {version(runtime.driverGetVersion())}",
            "cupy": f"{cupy.__version__}, CUDA {version(runtime.runtimeGetVersion())}", "nvrtc": f"{major}.{minor}",
            "cublas": f"{cublas // 10000}.{cublas % 10000 // 100}.{cublas % 100}"}  # CUBLAS_VERSION in cublas_api.h


def out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory, the GPU's too: CuPy's own error is a MemoryError, CUDA's not."""
    words = ("CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "_STATUS_ALLOC_FAILED")  # driver, runtime, cuBLAS
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(w in str(error) for w in words)


def _asked(library: str, question: Callable[[], Any]) -> Any:
    """The answer of one of CUDA's libraries. WrongUse if it is missing or does not start."""
    try:
        return question()
    except (ImportError, OSError, RuntimeError) as error:  # CuPy's DynamicLibNotFoundError and CUBLASError are the last
        raise WrongUse(f"--device cuda: CuPy is installed but misses {library} ({_reason(error)}); "
                       "pip install 'minigan[cuda]' (CUDA 12) or 'minigan[cuda13]' brings CUDA's libraries, or use "
                       "--device cpu") from None


def _reason(error: BaseException) -> str:
    """The line of an error that says why: CuPy's, if it cannot be imported, begins with a ruler and general advice."""
    lines = [line.strip() for line in str(error).partition("Original error:")[2].splitlines()] + str(error).splitlines()
    return next((line for line in lines if any(c.isalpha() for c in line)), type(error).__name__)


def device_module(device: str) -> Any:
    """The array module of a device's name: numpy for "cpu", cupy for "cuda"."""
    if device not in DEVICES:
        raise WrongUse(f"unknown device '{device}'; choose from: {', '.join(DEVICES)}")
    return np if device == "cpu" else cuda_module()


def array_module(*arrays: Array) -> Any:
    """numpy or cupy, by the first array that is a CuPy one."""
    cupy = sys.modules.get("cupy")  # an array can be CuPy's only if somebody imported CuPy
    if cupy is not None and any(isinstance(a, cupy.ndarray) for a in arrays):
        return cupy
    return np


def to_host(x: Array) -> np.ndarray:
    """A NumPy array with x's values."""
    return np.asarray(x) if isinstance(x, np.ndarray | np.generic) else x.get()


# ---- threads -------------------------------------------------------------------------------------------------------

_threads = 0  # 0: not chosen yet
_pool: ThreadPoolExecutor | None = None
_in_pool = threading.local()
_scratch = threading.local()


def set_threads(count: int | None = None) -> int:
    """Use `count` worker threads (default: the cores this process may use), BLAS one in each. Returns the count."""
    global _threads, _pool
    if count is not None and count < 1:
        raise WrongUse(f"--threads: expected at least 1, got {count}")
    _threads = count or cores()
    if _pool is not None:
        _pool.shutdown()
    _pool = ThreadPoolExecutor(_threads - 1, "minigan", _enter_pool) if _threads > 1 else None
    ThreadpoolController().limit(limits=1, user_api="blas")
    _keep_freed_memory()
    return _threads


def threads() -> int:
    """Worker threads in use; chosen at the first question if `set_threads` was not called."""
    return _threads or set_threads()


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """[work(item) for item in items], spread over the worker threads; results in the order of the items.

    The calling thread works too: waking one thread less is worth it for pieces of half a millisecond.
    """
    items = list(items)
    if threads() == 1 or len(items) < 2 or getattr(_in_pool, "yes", False):
        return [work(item) for item in items]
    assert _pool is not None
    results: list[Any] = [None] * len(items)
    failures: dict[int, BaseException] = {}
    places = itertools.count()  # shared: whoever is free takes the next item

    def run() -> None:
        for place in places:
            if place >= len(items) or failures:
                return
            try:
                results[place] = work(items[place])
            except BaseException as error:
                failures[place] = error

    others = [_pool.submit(run) for _ in range(min(_threads, len(items)) - 1)]
    _in_pool.yes = True
    run()
    _in_pool.yes = False
    for other in others:
        if not other.cancel():  # no piece may still be working when this returns
            other.result()
    if failures:
        raise failures[min(failures)]
    return results


def blocks(count: int, size: int) -> list[slice]:
    """0 .. count cut into slices of at most `size` (at least 1)."""
    size = max(1, size)
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


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


def _enter_pool() -> None:
    _in_pool.yes = True  # work that is already inside a worker must not wait for other workers


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
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
    mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
    mallopt(M_TRIM_THRESHOLD, 512 << 20)


# ---- plain array work, spread over the threads ---------------------------------------------------------------------

_BLOCK = 1 << 17  # elements that a thread takes at once
_SMALL = 1 << 19  # elements; below this the threads cost more than they save


def elementwise(function: Callable[..., Any], first: Array, *others: Array) -> Array:
    """function(first, *others, out=...), for a ufunc-like function and arrays of one shape (others may be scalars)."""
    xp = array_module(first, *others)
    if xp is not np or first.size < _SMALL or not first.flags.c_contiguous or not all(
            np.ndim(o) == 0 or (o.shape == first.shape and o.flags.c_contiguous) for o in others):
        return function(first, *others)
    out = np.empty_like(first)
    flat = [np.ravel(a) if np.ndim(a) else a for a in (first, *others)]
    flat_out = out.reshape(-1)

    def run(part: slice) -> None:
        function(*(a[part] if np.ndim(a) else a for a in flat), out=flat_out[part])
    parallel(run, blocks(first.size, _BLOCK))
    return out


def matmul(a: Array, b: Array) -> Array:
    """a @ b; a large product of matrices is split by rows over the threads."""
    xp = array_module(a, b)
    if xp is np:
        threads()  # BLAS is held to one thread from the first product on
    if xp is not np or a.ndim != 2 or b.ndim != 2 or a.shape[0] * a.shape[1] * b.shape[1] < 1 << 24:
        return xp.matmul(a, b)
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    parallel(lambda rows: np.matmul(a[rows], b, out=out[rows]), blocks(a.shape[0], -(-a.shape[0] // 8)))
    return out


def product(a: Array, b: Array, out: Array) -> Array:
    """out = a @ b for matrices, in this thread. Returns out.

    CuPy's dot and not its matmul: only the product of two matrices is passed on to cuBLAS as it lies in memory, without
    a copy of a transposed operand, and only it may use TF32.
    """
    xp = array_module(a)
    if xp is np:
        threads()
    return (np.matmul if xp is np else xp.dot)(a, b, out=out)
