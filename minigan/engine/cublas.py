"""Products of matrices on a GPU by cuBLAS itself, so that a CUDA graph can hold them (engine/graphs.py).

CuPy multiplies with cuBLAS as well, but refuses to while a graph is recorded. So its library is called here, with a
handle and a work space of our own: the same call whether a graph is recorded or not, so that both give the same bytes.
Where the library is not found, CuPy multiplies, and no graph can be recorded.

Factors and products are float32 in memory; in bf16 each of them may be bfloat16, too. Tensor cores multiply faster if
the factors may be rounded: to TF32 (10 bits behind the point), on their way in, or to bfloat16 (7 bits), before, by a
kernel of ours: asked to round float32 to it itself (32F_FAST_16BF), cuBLAS 13 on an H100 rounds to TF32 instead, in
TF32's time. Sums are float32 in any case.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minigan.engine.cuda import kernels_take
from minigan.engine.devices import BF16, FLOAT32, Array, array_module
from minigan.engine.loops.rounding import to_bf16

WORKSPACE = 32 << 20  # bytes; what cuBLAS asks for on Hopper. It chooses its ways by it, so it is always the same
R_32F, R_16BF, DEFAULT_WAY = 0, 14, -1  # cudaDataType, cublasGemmAlgo_t
# how factors are rounded -> cudaDataType of the factors, cublasComputeType_t: 32F, 32F_FAST_TF32
PRECISIONS = {"float32": (R_32F, 68), "tf32": (R_32F, 77), "bf16": (R_16BF, 68)}
_TAKEN = (FLOAT32, BF16)
TENSOR_CORES = 80  # compute capability from which on they multiply TF32 and bfloat16

# (array module, device, thread) -> its handle, for good: graphs use its work space; None: there is no library. A thread
# has its own, since another may work on another stream.
_handles: dict[tuple[Any, int, int], Handle | None] = {}


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b of two of CuPy's matrices, into `out` if it is given. float32 goes to cuBLAS as it lies in memory.

    What float32 is rounded to, `precision` says; in bf16 a factor may be bfloat16 already, and `out` may be.
    """
    xp = array_module(a)
    if a.dtype not in _TAKEN or b.dtype not in _TAKEN:
        return xp.dot(a, b, out=out)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"product: expected matrices (m, k) and (k, n), got {a.shape} and {b.shape}")
    shape = (a.shape[0], b.shape[1])
    if out is None:
        out = xp.empty(shape, np.float32)
    elif out.shape != shape or out.dtype not in _TAKEN or not out.flags.c_contiguous:
        raise ValueError(f"product: expected out {shape} float32 or bfloat16, C-contiguous, "
                         f"got {out.shape} {out.dtype}")
    handle = _current(xp)
    if handle is None:
        return xp.dot(a, b, out=out)
    handle.multiply(a, b, out)
    return out


@contextlib.contextmanager
def precision(xp: Any, name: str) -> Iterator[None]:
    """What this thread's products on the current device round their factors to, meanwhile: one of PRECISIONS.

    A graph that is recorded meanwhile keeps it. Outside it is float32; with NumPy, and where the library is not found,
    always.
    """
    handle = None if xp is np else _current(xp)
    if handle is None:
        yield
        return
    before, handle.precision = handle.precision, name
    try:
        yield
    finally:
        handle.precision = before


@contextlib.contextmanager
def unchanged(weights: Sequence[Array]) -> Iterator[None]:
    """Meanwhile nobody writes to these arrays: in bf16 they are rounded once, all in one launch, and products of this
    thread with any of them, in whatever shape, take that. Those that do not lie in C order are left out."""
    xp = array_module(*weights)
    handle = None if xp is np else _current(xp)
    if handle is None or handle.precision != "bf16":
        yield
        return
    taken = [x for x in weights if x.size and kernels_take(x)]
    handle.weights = {x.data.ptr: (x, y) for x, y in zip(taken, to_bf16(*taken), strict=True)} if taken else {}
    try:
        yield
    finally:
        handle.weights = {}


def rounded(W: Array) -> Array:
    """Weights in bfloat16, if they are there (`unchanged`), else as they are given."""
    handle = None if isinstance(W, np.ndarray) else _current(array_module(W))
    found = None if handle is None else handle.rounded(W)
    return W if found is None else found


def current_precision(xp: Any) -> str:
    """What this thread's products on the current device round their factors to now."""
    handle = _current(xp)
    return "float32" if handle is None else handle.precision


def dtype_of_result(x: Array) -> np.dtype:
    """The dtype that the result of a convolution of x has: bfloat16 if products here are rounded to it, else x's."""
    if isinstance(x, np.ndarray) or x.dtype not in _TAKEN or current_precision(array_module(x)) != "bf16":
        return x.dtype
    return BF16


def usual_precision(xp: Any) -> str:
    """What PyTorch's convolutions round to on the current device by themselves: TF32 where there is."""
    return "tf32" if has_tensor_cores(xp) and is_found(xp) else "float32"


def is_found(xp: Any) -> bool:
    """Whether there is the library: without it nothing is rounded."""
    return xp is not np and _current(xp) is not None


def has_tensor_cores(xp: Any) -> bool:
    """Whether the current device has tensor cores for TF32 and bfloat16: from compute capability 8.0 on."""
    return xp is not np and int(xp.cuda.Device().compute_capability) >= TENSOR_CORES


class Handle:
    """cuBLAS on one device, with a work space of its own."""

    def __init__(self, xp: Any, library: Any):
        self.xp, self.library, self.pointer = xp, library, ctypes.c_void_p()
        _checked("cublasCreate", library.cublasCreate_v2(ctypes.byref(self.pointer)))
        self.workspace = xp.empty((WORKSPACE,), np.uint8)
        self.stream: int | None = None
        self.precision = "float32"
        self.weights: dict[int, tuple[Array, Array]] = {}  # where weights lie -> they, and they in bfloat16
        self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)

    def multiply(self, a: Array, b: Array, out: Array) -> None:
        """out = a @ b on the current stream."""
        stream = self.xp.cuda.get_current_stream().ptr
        if stream != self.stream:  # a new stream takes the work space away
            _checked("cublasSetStream", self.library.cublasSetStream_v2(self.pointer, stream))
            _checked("cublasSetWorkspace", self.library.cublasSetWorkspace_v2(
                self.pointer, self.workspace.data.ptr, WORKSPACE))
            self.stream = stream
        (m, k), n = a.shape, b.shape[1]
        (a, a_transposed, a_row), (b, b_transposed, b_row) = _as_it_lies(a), _as_it_lies(b)
        kind, compute = PRECISIONS[self.precision]
        if kind == R_16BF:
            a, b = self.in_bf16(a, b)
        elif any(x.dtype != np.float32 for x in (a, b, out)):
            raise ValueError(f"product: expected float32 in {self.precision}, got {a.dtype}, {b.dtype} and {out.dtype}")
        # cuBLAS has columns where we have rows: it is asked for out^T = b^T a^T
        _checked("cublasGemmEx", self.library.cublasGemmEx(
            self.pointer, b_transposed, a_transposed, n, m, k, ctypes.byref(self.one), b.data.ptr, kind, b_row,
            a.data.ptr, kind, a_row, ctypes.byref(self.zero), out.data.ptr,
            R_32F if out.dtype == FLOAT32 else R_16BF, max(1, n), compute, DEFAULT_WAY))

    def in_bf16(self, *factors: Array) -> list[Array]:
        """Matrices that lie in memory row by row, in bfloat16; those that are not yet, in one launch."""
        found = [self.rounded(x) for x in factors]
        missing = [x for x, y in zip(factors, found, strict=True) if y is None]
        rounded = iter(to_bf16(*missing) if missing else [])
        return [next(rounded) if y is None else y for y in found]

    def rounded(self, x: Array) -> Array | None:
        """An array in bfloat16, if it is there already."""
        if x.dtype == BF16:
            return x
        weights, rounded = self.weights.get(x.data.ptr, (x, None))
        return rounded.reshape(x.shape) if rounded is not None and weights.size == x.size else None


def _as_it_lies(x: Array) -> tuple[Array, int, int]:
    """(what lies in memory row by row, whether that is x's transpose, length of a row); a copy if neither of them does.
    """
    if x.flags.c_contiguous:
        return x, 0, max(1, x.shape[1])
    if x.flags.f_contiguous:
        return x.T, 1, max(1, x.shape[0])
    return array_module(x).ascontiguousarray(x), 0, max(1, x.shape[1])


def _current(xp: Any) -> Handle | None:
    """The handle of the current device and thread; None where there is no library."""
    key = (xp, xp.cuda.Device().id, threading.get_ident())
    if key not in _handles:
        library = _library()
        _handles[key] = None if library is None else Handle(xp, library)
    return _handles[key]


def _library() -> Any:
    """cuBLAS, loaded as CuPy loads it; None if it is not found."""
    try:
        from cuda import pathfinder  # comes with CuPy
        path = pathfinder.load_nvidia_dynamic_lib("cublas").abs_path
        library = ctypes.CDLL(path)
    except (ImportError, OSError, RuntimeError):  # pathfinder's DynamicLibNotFoundError is the last
        return None
    pointer: Any = ctypes.c_void_p
    number: Any = ctypes.c_int
    library.cublasCreate_v2.argtypes = [ctypes.POINTER(pointer)]
    library.cublasSetStream_v2.argtypes = [pointer, pointer]
    library.cublasSetWorkspace_v2.argtypes = [pointer, pointer, ctypes.c_size_t]
    operand = [pointer, number, number]  # where it lies, its type, the length of a row
    library.cublasGemmEx.argtypes = [
        pointer, number, number, number, number, number, ctypes.POINTER(ctypes.c_float), *operand, *operand,
        ctypes.POINTER(ctypes.c_float), *operand, number, number]
    return library


def _checked(name: str, status: int) -> None:
    """RuntimeError if a call of cuBLAS has failed."""
    if status:
        words = {1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 13: "EXECUTION_FAILED"}  # cublasStatus_t
        raise RuntimeError(f"{name}: CUBLAS_STATUS_{words.get(status, status)}")
