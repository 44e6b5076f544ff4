"""cuBLAS for the emulated GPU: a shared library with its C interface, and cuda.pathfinder, which says where it is.

The products are NumPy's, of factors that are rounded as the call allows. As on a GPU they may be recorded by a capture;
then their handle must be on its stream and have a work space, or cuBLAS would allocate one.
"""

from __future__ import annotations

import ctypes
import functools
import types
from typing import Any

import emulator
import numpy as np
from emulated_cupy import streams
from emulated_cupy.counts import count_operation
from emulator import build

_INT, _POINTER, _FLOAT = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
_MULTIPLY = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, ctypes.c_size_t, *[_INT] * 5, _FLOAT, _POINTER, _INT, _POINTER,
                             _INT, _FLOAT, _POINTER, _INT, _INT, _INT, _INT)
INTERNAL_ERROR = 14
BITS = {68: 23, 77: 10}  # cublasComputeType_t -> of a float32 factor, behind the point: all, TF32's
BFLOAT16 = 14  # cudaDataType; the other is float32, 0


@functools.cache
def library() -> str:
    """The path of the library, built and told where to multiply."""
    path = str(build.cublas())
    ctypes.CDLL(path).emu_cublas(_multiply)
    return path


@_MULTIPLY
def _multiply(stream: Any, workspace: Any, nbytes: int, ta: int, tb: int, m: int, n: int, k: int, alpha: float, A: int,
              lda: int, B: int, ldb: int, beta: float, C: int, ldc: int, kind: int, C_kind: int,
              compute: int) -> int:
    """C = A B in columns, A (m, k) and B (k, n), transposed where ta and tb say so: C^T = B^T A^T in rows."""
    try:
        if (alpha, beta) != (1, 0) or (stream or 0) != streams.get_current_stream().ptr:
            raise streams.CUDARuntimeError("cublasGemmEx: its handle is on another stream, or alpha and beta are not "
                                           "1 and 0")
        factor, result = ("<u2" if each == BFLOAT16 else "<f4" for each in (kind, C_kind))
        a, b, c = (_Matrix(*given) for given in (
            (B, n, k, ldb, not tb, factor), (A, k, m, lda, not ta, factor), (C, n, m, ldc, True, result)))
        capture = streams.capture_of("cublasGemmEx")
        if capture is None:
            if m and n:
                count_operation("gemm")
            _product(*(np.asarray(x) for x in (c, a, b)), compute)
        elif m and n:
            if not workspace or nbytes < 1 << 20:
                raise streams.CUDARuntimeError("cublasGemmEx: no work space of its own during a capture")
            capture.notes.append(streams.Note("cublasGemmEx", _product, [
                *(streams.Place(np.asarray(x)) for x in (c, a, b)), compute], [workspace]))
        return 0
    except Exception as error:  # none may leave a function that C calls
        print(f"emulated cuBLAS: {error!r}")
        return INTERNAL_ERROR


class _Matrix:
    """A (rows, columns) matrix on the device for np.asarray, by its address."""

    def __init__(self, address: int | None, rows: int, columns: int, length: int, by_rows: bool, dtype: str):
        """length: of a row in memory, or if not by_rows of a column."""
        size = np.dtype(dtype).itemsize
        last = ((rows if by_rows else columns) - 1) * length + (columns if by_rows else rows)
        if rows and columns:
            emulator.memory.is_initialized(address, size * last)  # ValueError if that is not in one live array
        self.__array_interface__ = {
            "version": 3, "shape": (rows, columns), "typestr": dtype,
            "strides": (size * length, size) if by_rows else (size, size * length),
            "data": (address or 0, False)}


def _product(c: np.ndarray, a: np.ndarray, b: np.ndarray, compute: int) -> None:
    with np.errstate(all="ignore"):
        exact = np.matmul(_float32(a, compute), _float32(b, compute))
        np.copyto(c, exact if c.dtype == np.float32 else (_rounded(exact, 7).view(np.uint32) >> np.uint32(16)).astype(
            np.uint16))
    if c.size:
        emulator.memory.written(c.ctypes.data, c.nbytes)


def _float32(x: np.ndarray, compute: int) -> np.ndarray:
    """A factor as it is multiplied: bfloat16 is the upper half of float32."""
    if x.dtype == np.float32:
        return _rounded(x, BITS[compute])
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """float32 with so many bits behind the point, the nearest, and the even one of two; not a number stays none."""
    dropped = 23 - bits
    if dropped == 0:
        return x
    raw = np.ascontiguousarray(x).view(np.uint32)
    near = raw + np.uint32((1 << dropped - 1) - 1) + (raw >> np.uint32(dropped) & np.uint32(1))
    return np.where(np.isfinite(x), (near >> np.uint32(dropped) << np.uint32(dropped)).view(np.float32), x)


def _load_nvidia_dynamic_lib(libname: str) -> Any:
    if libname != "cublas":
        raise RuntimeError(f"the emulated CUDA has no {libname}")
    return types.SimpleNamespace(abs_path=library())


pathfinder = types.ModuleType("cuda.pathfinder")
pathfinder.load_nvidia_dynamic_lib = _load_nvidia_dynamic_lib  # type: ignore[attr-defined]
package = types.ModuleType("cuda")
package.pathfinder = pathfinder  # type: ignore[attr-defined]
