"""Products of matrices and element-by-element work on plain arrays, spread over the threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigan.engine import cublas
from minigan.engine.devices import Array, array_module
from minigan.engine.thread_pool import BLOCK, blocks, parallel, thread_count

_SMALL = 1 << 19  # elements; below this the threads cost more than they save
_STRIP = 16  # rows of float32 that fill a line of the cache in the transpose


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
    parallel(run, blocks(first.size, BLOCK))
    return out


def matmul(a: Array, b: Array) -> Array:
    """a @ b; a large product of matrices is split over the threads, along the longer side of the result."""
    xp = array_module(a, b)
    if xp is not np:
        return cublas.product(a, b) if a.ndim == b.ndim == 2 else xp.matmul(a, b)
    thread_count()  # BLAS is held to one thread from the first product on
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] * a.shape[1] * b.shape[1] < 1 << 24:
        return np.matmul(_packed(a), _packed(b))
    rows, columns = out_shape = a.shape[0], b.shape[1]
    out = np.empty(out_shape, a.dtype)
    if rows >= columns:
        parallel(lambda part: np.matmul(a[part], b, out=out[part]), blocks(rows, -(-rows // 8)))
    else:
        parallel(lambda part: np.matmul(a, b[:, part], out=out[:, part]), blocks(columns, -(-columns // 8)))
    return out


def product(a: Array, b: Array, out: Array) -> Array:
    """out = a @ b for matrices, in this thread. Returns out."""
    if array_module(a) is not np:
        return cublas.product(a, b, out)
    thread_count()
    return np.matmul(a, b, out=out)


def turned(a: np.ndarray) -> np.ndarray:
    """The transpose of a matrix in memory of its own, strip by strip: four times as fast as all at once, where rows are
    a power of two of bytes apart."""
    out = np.empty(a.shape[::-1], a.dtype)
    for strip in blocks(len(a), _STRIP):
        out[:, strip] = a[strip].T
    return out


def column_sums(rows: Array) -> Array:
    """(n, C) -> (C,), NumPy's, in this thread: by a product with ones, which of few columns is many times faster than
    NumPy's sum."""
    thread_count()
    return np.ones(len(rows), rows.dtype) @ rows if rows.flags.c_contiguous else rows.sum(0)


def total(parts: Sequence[Array]) -> Array:
    """The sum of arrays of one shape, in their order."""
    return parts[0] if len(parts) == 1 else np.stack(parts).sum(0)


def _packed(x: Array) -> Array:
    """A vector cut out of a larger array is copied: NumPy adds in another order where its numbers do not touch."""
    return np.ascontiguousarray(x) if x.ndim == 2 and 1 in x.shape and not x.flags.forc else x
