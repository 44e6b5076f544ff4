"""The functions of cupy that the fake has: FUNCTIONS, and LINALG and STRIDE_TRICKS for two of its modules.

Arguments have CuPy's names, order and defaults; those that nobody needs are missing. Where CuPy takes NumPy arrays and
computes on the host, or copies them to the device in silence, only device arrays are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from emulated_cupy.arrays import (
    BF16,
    allocate,
    allocate_like,
    behind,
    change,
    dtype_of,
    matmul,
    ndarray,
    operand,
    put,
    store,
    wrap,
)
from emulated_cupy.device import count_to_device, pool
from emulated_cupy.streams import byte_bounds, refuse, refuse_library

FUNCTIONS: dict[str, Callable[..., Any]] = {"matmul": matmul}
LINALG: dict[str, Callable[..., Any]] = {}
STRIDE_TRICKS: dict[str, Callable[..., Any]] = {}
Shape = int | Sequence[int]


def public(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of cupy; a trailing underscore only keeps Python's own name free here."""
    FUNCTIONS[function.__name__.rstrip("_")] = function
    return function


# ---- making arrays -------------------------------------------------------------------------------------------------

@public
def empty(shape: Shape, dtype: Any = float) -> ndarray:
    return allocate(shape, dtype)


@public
def zeros(shape: Shape, dtype: Any = float) -> ndarray:
    return _cleared(allocate(shape, dtype))


@public
def ones(shape: Shape, dtype: Any = float) -> ndarray:
    return _filled("ones", allocate(shape, dtype), 1)


@public
def full(shape: Shape, fill_value: Any, dtype: Any = None) -> ndarray:
    return _filled("full", allocate(shape, np.asarray(operand(fill_value)).dtype if dtype is None else dtype),
                   operand(fill_value))


@public
def empty_like(prototype: ndarray, dtype: Any = None) -> ndarray:
    return allocate_like(behind(prototype), prototype.dtype if dtype is None else dtype)


@public
def zeros_like(a: ndarray, dtype: Any = None) -> ndarray:
    return _cleared(empty_like(a, dtype))


@public
def ones_like(a: ndarray, dtype: Any = None) -> ndarray:
    return _filled("ones", empty_like(a, dtype), 1)


@public
def full_like(a: ndarray, fill_value: Any, dtype: Any = None) -> ndarray:
    return _filled("full", empty_like(a, dtype), operand(fill_value))


@public
def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> ndarray:
    first, end = (0, start) if stop is None else (start, stop)
    return store("arange", lambda: np.arange(first, end, step, dtype))


@public
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> ndarray:
    return store("eye", lambda: np.eye(N, M, k, dtype_of(dtype)))


@public
def array_(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K") -> ndarray:
    if order not in ("C", "K") or copy is not True:
        raise NotImplementedError("array: the fake knows orders C and K, and copies")
    if type(obj) is ndarray:
        dtype = obj.dtype if dtype is None else dtype
        return obj._copy("array", allocate(obj.shape, dtype) if order == "C" else allocate_like(obj._a, dtype))
    host = np.asarray(obj, dtype)
    as_f = order == "K" and host.flags.f_contiguous and not host.flags.c_contiguous
    x = allocate_like(host, host.dtype) if as_f else allocate(host.shape, host.dtype)
    count_to_device()
    return put(x, host)


@public
def asarray(a: Any, dtype: Any = None, order: str | None = None) -> ndarray:
    if type(a) is ndarray:
        if order not in (None, "K") and not a.flags.c_contiguous:
            raise NotImplementedError("asarray: order of a device array; use ascontiguousarray")
        return a if dtype is None else a.astype(dtype, copy=False)
    return array_(a, dtype, order=order or "K")


@public
def ascontiguousarray(a: ndarray, dtype: Any = None) -> ndarray:
    host = behind(a)
    dtype = host.dtype if dtype is None else dtype_of(dtype)
    if host.flags.c_contiguous and dtype == host.dtype:
        return a
    return a._copy("ascontiguousarray", allocate(host.shape, dtype))


@public
def asnumpy(a: Any) -> np.ndarray:
    return a.get() if type(a) is ndarray else np.asarray(a)


@public
def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: ndarray | None = None) -> None:
    behind(dst), operand(src)
    if where is None:
        change("copyto", lambda to, x: np.copyto(to, x, casting), dst, src)
    else:
        behind(where)
        change("copyto", lambda to, x, where: np.copyto(to, x, casting, where), dst, src, where)


# ---- other views, and arrays put together --------------------------------------------------------------------------

@public
def reshape(a: ndarray, newshape: Shape) -> ndarray:
    return _device(a).reshape(newshape)


@public
def ravel(a: ndarray) -> ndarray:
    return _device(a).ravel()


@public
def transpose(a: ndarray, axes: Sequence[int] | None = None) -> ndarray:
    return wrap(behind(a).transpose(axes), a._memory)


@public
def swapaxes(a: ndarray, axis1: int, axis2: int) -> ndarray:
    return _device(a).swapaxes(axis1, axis2)


@public
def moveaxis(a: ndarray, source: Any, destination: Any) -> ndarray:
    return wrap(np.moveaxis(behind(a), source, destination), a._memory)


@public
def expand_dims(a: ndarray, axis: Any) -> ndarray:
    return wrap(np.expand_dims(behind(a), axis), a._memory)


@public
def squeeze(a: ndarray, axis: Any = None) -> ndarray:
    return _device(a).squeeze(axis)


@public
def flip(a: ndarray, axis: Any = None) -> ndarray:
    return wrap(np.flip(behind(a), axis), a._memory)


@public
def broadcast_to(array: ndarray, shape: Shape) -> ndarray:
    """A view; writing to it fails here (in CuPy several threads would write to one element)."""
    return wrap(np.broadcast_to(behind(array), shape), array._memory)


@public
def concatenate(tup: Sequence[ndarray], axis: int | None = 0) -> ndarray:
    return _joined("concatenate", lambda *xs: np.concatenate(xs, axis), tup)


@public
def stack(tup: Sequence[ndarray], axis: int = 0) -> ndarray:
    return _joined("stack", lambda *xs: np.stack(xs, axis), tup)


@public
def repeat(a: ndarray, repeats: int, axis: int | None = None) -> ndarray:
    if type(repeats) is not int:
        raise TypeError(f"repeat: expected an int, got {type(repeats)}")
    return store("repeat", lambda a: np.repeat(a, repeats, axis), _device(a))


@public
def pad(array: ndarray, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> ndarray:
    if mode != "constant":
        raise NotImplementedError(f"pad: the fake has no mode '{mode}'")
    return store("pad", lambda a: np.pad(a, pad_width, mode, constant_values=constant_values), _device(array))


@public
def shares_memory(a: ndarray, b: ndarray) -> bool:
    return np.shares_memory(behind(a), behind(b))


def as_strided(x: ndarray, shape: Sequence[int] | None = None, strides: Sequence[int] | None = None) -> ndarray:
    """A view with strides of one's own. Here, not in CuPy, it must stay inside x's allocation, and is read-only if
    two of its elements are the same one."""
    a = np.lib.stride_tricks.as_strided(behind(x), shape, strides)
    low, high = byte_bounds(a)
    begin = x._memory.buffer.address
    if a.size and not begin <= low <= high <= begin + x._memory.buffer.nbytes:
        raise ValueError(f"as_strided: shape {a.shape} with strides {a.strides} leaves the array's memory")
    reach = a.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if stride < reach:
            a.flags.writeable = False
        reach += stride * (length - 1)
    return wrap(a, x._memory)


STRIDE_TRICKS["as_strided"] = as_strided


# ---- reductions, products, choices ---------------------------------------------------------------------------------

@public
def sum_(a: ndarray, axis: Any = None, dtype: Any = None, out: ndarray | None = None,
         keepdims: bool = False) -> ndarray:
    return _device(a).sum(axis, dtype, out, keepdims)


@public
def prod(a: ndarray, axis: Any = None, dtype: Any = None, out: ndarray | None = None,
         keepdims: bool = False) -> ndarray:
    return _device(a).prod(axis, dtype, out, keepdims)


@public
def mean(a: ndarray, axis: Any = None, dtype: Any = None, out: ndarray | None = None,
         keepdims: bool = False) -> ndarray:
    return _device(a).mean(axis, dtype, out, keepdims)


@public
def var(a: ndarray, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> ndarray:
    return _device(a).var(axis, ddof=ddof, keepdims=keepdims)


@public
def max_(a: ndarray, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    return _device(a).max(axis, out, keepdims)


@public
def min_(a: ndarray, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    return _device(a).min(axis, out, keepdims)


@public
def any_(a: ndarray, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    return _device(a).any(axis, out, keepdims)


@public
def all_(a: ndarray, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    return _device(a).all(axis, out, keepdims)


@public
def argmax(a: ndarray, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
    return _device(a).argmax(axis, keepdims=keepdims)


@public
def argmin(a: ndarray, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
    return _device(a).argmin(axis, keepdims=keepdims)


@public
def dot(a: ndarray, b: ndarray, out: ndarray | None = None) -> ndarray:
    return _device(a).dot(b, out)


@public
def tensordot(a: ndarray, b: ndarray, axes: Any = 2) -> ndarray:
    refuse_library("cuBLAS")
    return store("tensordot", lambda a, b: np.tensordot(a, b, axes), _device(a), _device(b))


@public
def einsum(*operands: Any) -> ndarray:
    subscripts, *arrays = operands
    if not isinstance(subscripts, str):
        raise TypeError("einsum: the fake takes the subscripts as text")
    refuse_library("cuBLAS")
    return store("einsum", lambda *xs: np.einsum(subscripts, *xs), *map(_device, arrays))


@public
def where(condition: ndarray, x: Any = None, y: Any = None) -> ndarray:
    if x is None or y is None:
        raise NotImplementedError("where: expected three arguments; with one, CuPy waits for the device")
    operand(x), operand(y)
    return store("where", np.where, _device(condition), x, y)


@public
def clip(a: ndarray, a_min: Any, a_max: Any, out: ndarray | None = None) -> ndarray:
    return _device(a).clip(a_min, a_max, out)


@public
def take(a: ndarray, indices: ndarray, axis: int | None = None) -> ndarray:
    return _device(a).take(indices, axis)


def norm(x: ndarray, ord: Any = None, axis: Any = None, keepdims: bool = False) -> ndarray:  # noqa: A002
    return store("linalg.norm", lambda x: np.linalg.norm(x, ord, axis, keepdims), _device(x))


def eigvalsh(a: ndarray, UPLO: str = "L") -> ndarray:
    refuse_library("cuSOLVER")
    return store("linalg.eigvalsh", lambda a: np.linalg.eigvalsh(a, UPLO), _device(a))


LINALG |= {"norm": norm, "eigvalsh": eigvalsh}


# ---- the rest ------------------------------------------------------------------------------------------------------

@public
def get_default_memory_pool() -> Any:
    return pool


def _device(a: ndarray) -> ndarray:
    behind(a)
    return a


def _cleared(x: ndarray) -> ndarray:
    """x with all its bytes zero, whatever its dtype."""
    _filled("zeros", x.view(np.uint16) if x.dtype == BF16 else x, 0)
    return x


def _filled(name: str, x: ndarray, value: Any) -> ndarray:
    return change(name, lambda x, value: np.copyto(x, value, casting="unsafe"), x, value)


def _joined(name: str, function: Callable[..., Any], arrays: Sequence[ndarray]) -> ndarray:
    """Of more than 8 arrays CuPy copies a table of their places from the host, unless they are large."""
    if len(arrays) > 8:
        refuse(f"{name} of more than 8 arrays")
    return store(name, function, *map(_device, arrays))
