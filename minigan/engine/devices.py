"""Which array module and which device: the only file that may import CuPy."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from minigan.errors import WrongUse

try:
    from ml_dtypes import bfloat16
except ImportError:  # comes with the extra `cuda`; without it no array is of this dtype
    bfloat16 = "V2"

Array = Any  # numpy.ndarray or cupy.ndarray: whatever array_module() knows
# To compare a dtype with these is faster than with its type.
FLOAT32, INT64, BF16 = np.dtype(np.float32), np.dtype(np.int64), np.dtype(bfloat16)

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


def take_card(number: int) -> None:
    """Compute on this card from now on, in this thread; counted on from the last to the first."""
    cupy = cuda_module()
    cupy.cuda.Device(number % cupy.cuda.runtime.getDeviceCount()).use()


def nccl() -> Any:
    """CuPy's NCCL, a module; or what to do to have it, a string."""
    cupy = cuda_module()
    try:
        with warnings.catch_warnings():  # CuPy warns at length where the library is missing
            warnings.simplefilter("ignore")
            from cupy.cuda import nccl
        if nccl.available:
            return nccl
    except ImportError:  # on Windows
        pass
    return f"NCCL is missing; pip install nvidia-nccl-cu{cupy.cuda.runtime.runtimeGetVersion() // 1000}"


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
    if cupy is not None:  # asked a thousand times in an update, hence a plain loop
        kind = cupy.ndarray
        for a in arrays:
            if isinstance(a, kind):
                return cupy
    return np


def to_host(x: Array) -> np.ndarray:
    """A NumPy array with x's values."""
    return np.asarray(x) if isinstance(x, np.ndarray | np.generic) else x.get()


def to_host_later(x: Array) -> Callable[[], np.ndarray]:
    """Ask for a copy of one of CuPy's arrays, and go on; what waits for it, and returns a NumPy array with x's values.

    The copy is of what the current stream has come to, however much is asked of it before somebody waits.
    """
    xp = array_module(x)
    x = xp.ascontiguousarray(x)
    block, copied = xp.cuda.alloc_pinned_memory(x.nbytes), xp.cuda.Event(block=True, disable_timing=True)
    x.data.copy_to_host_async(block.ptr, x.nbytes)
    copied.record()

    def wait() -> np.ndarray:
        copied.synchronize()
        return np.frombuffer(block, x.dtype, x.size).reshape(x.shape).copy()  # x is kept until here, too
    return wait
