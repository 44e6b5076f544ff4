"""A CuPy for tests on machines without a GPU: strict, and counting.

    with emulated_cupy.installed() as cupy:     # `import cupy` gives it, until the end
        with emulated_cupy.counted() as c:
            ...
    c.kernels, c.operations, c.launches, c.to_device, c.to_host

Its rule is to be a subset: what it accepts, CuPy accepts with the same meaning, dtype and shape; it may refuse more.
kernels/test_emulated_cupy.py holds it against the real wheel: names, arguments, dtypes. Arrays lie in the emulator's
memory and kernels run in the emulator, so a green test here has seen every access checked. What it cannot show: speed,
two streams at work at once, the last digits of CUDA's math, and denormals, which CuPy's kernels flush to zero.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
from emulated_cupy import blas, device, nccl, streams
from emulated_cupy.arrays import DTYPES, UFUNCS, ndarray
from emulated_cupy.counts import counted, counts
from emulated_cupy.functions import FUNCTIONS, LINALG, STRIDE_TRICKS
from emulated_cupy.raw import RawKernel, RawModule

__all__ = ["counted", "counts", "cupy", "installed"]


class _Module(types.ModuleType):
    def __init__(self, name: str, **members: Any):
        super().__init__(name)
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the emulated CuPy has no {self.__name__}.{name}: see whether CuPy has it, then add it "
                             "to tests/emulated_cupy")


def _get_array_module(*args: Any) -> Any:
    return cupy if any(type(x) is ndarray for x in args) else np


_linalg = _Module("cupy.linalg", **LINALG)
_stride_tricks = _Module("cupy.lib.stride_tricks", **STRIDE_TRICKS)
_lib = _Module("cupy.lib", stride_tricks=_stride_tricks)
_runtime = _Module("cupy.cuda.runtime", **device.RUNTIME)
_memory = _Module("cupy.cuda.memory", **device.MEMORY)
_nvrtc = _Module("cupy.cuda.nvrtc", getVersion=device.getVersion)
_cublas = _Module("cupy.cuda.cublas", **device.CUBLAS)
_nccl = _Module("cupy.cuda.nccl", available=True, **nccl.NCCL)
_cuda = _Module("cupy.cuda", runtime=_runtime, memory=_memory, nvrtc=_nvrtc, cublas=_cublas, nccl=_nccl, **device.CUDA)
cupy = _Module(
    "cupy", __version__="14.2.0+emulated", ndarray=ndarray, RawModule=RawModule, RawKernel=RawKernel,
    get_array_module=_get_array_module, cuda=_cuda, linalg=_linalg, lib=_lib, newaxis=None, inf=np.inf, nan=np.nan,
    pi=np.pi, dtype=np.dtype, bool_=np.bool_, **{dtype.name: dtype.type for dtype in DTYPES if dtype != np.bool_},
    **UFUNCS, **FUNCTIONS)


@contextlib.contextmanager
def installed(cards: int = 1) -> Iterator[Any]:
    """`import cupy` gives the fake inside, with so many cards; afterwards everything is as it was."""
    def theirs() -> dict[str, Any]:
        return {name: module for name, module in sys.modules.items()
                if name.split(".")[0] in ("cupy", "cupyx", "cupy_backends", "cuda")}

    before = theirs()
    for name in before:
        del sys.modules[name]
    sys.modules |= {module.__name__: module
                    for module in (cupy, _cuda, _runtime, _memory, _nccl, _linalg, _lib, _stride_tricks)}
    sys.modules["cupyx"] = None  # importing it fails
    sys.modules |= {"cuda": blas.package, "cuda.pathfinder": blas.pathfinder}
    try:
        with streams.alone(), device.cards(cards):
            yield cupy
    finally:
        for name in theirs():
            del sys.modules[name]
        sys.modules |= before
