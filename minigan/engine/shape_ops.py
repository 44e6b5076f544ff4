"""Operations that only move elements: broadcasting, reshape, transpose, indexing, concatenation.

Each is linear, and its adjoint stands beside it: broadcasting and summation, taking and putting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigan.engine.autograd import Op, Tensor, in_float32
from minigan.engine.cuda import compact
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.sums import add_rows


class BroadcastTo(Op):
    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.from_shape = x.shape
        return array_module(x).broadcast_to(x, self.shape)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (sum_to(gy, self.from_shape),)


class SumTo(Op):
    """The sum over whatever broadcasting from `shape` had repeated."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.from_shape = x.shape
        lead = x.ndim - len(self.shape)
        axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(self.shape) if n == 1)
        return x.sum(axes, keepdims=True).reshape(self.shape)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (broadcast_to(gy, self.from_shape),)


class Reshape(Op):
    takes_bf16 = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.from_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (reshape(gy, self.from_shape),)


class Transpose(Op):
    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (transpose(gy, tuple(int(i) for i in np.argsort(self.axes))),)


class Take(Op):
    """x[index], for any index that NumPy knows."""

    def __init__(self, index: Any):
        self.index = index

    def forward(self, x: Array) -> Array:
        self.from_shape = x.shape
        return x[self.index]

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (Put(self.index, self.from_shape)(gy),)


class Put(Op):
    """Zeros of `shape` with x added at index: the adjoint of Take. An element indexed twice receives both."""

    def __init__(self, index: Any, shape: tuple[int, ...]):
        self.index, self.shape = index, shape

    def forward(self, x: Array) -> Array:
        xp = array_module(x)
        if xp is not np and isinstance(self.index, xp.ndarray) and self.index.dtype.kind in "iu":
            labels = self.index.reshape(-1).astype(np.int64, copy=False)
            rows = compact(x).reshape(labels.size, math.prod(self.shape[1:]))
            return add_rows(rows, labels, self.shape[0]).reshape(self.shape)
        y = xp.zeros(self.shape, x.dtype)
        if _is_basic(self.index):
            y[self.index] = x
        else:
            xp.add.at(y, self.index, x)
        return y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (Take(self.index)(gy),)


class Concatenate(Op):
    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, *xs: Array) -> Array:
        self.ends = np.cumsum([x.shape[self.axis] for x in xs])
        return array_module(*xs).concatenate(xs, axis=self.axis)

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        starts = (0, *self.ends[:-1])
        lead = (slice(None),) * (self.axis % gy.ndim)
        return tuple(gy[lead + (slice(a, b),)] if need else None
                     for a, b, need in zip(starts, self.ends, self.needs, strict=True))


# ---- functions ---------------------------------------------------------------------------------------------

def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements, in C order, in another shape (one length may be -1)."""
    return Reshape(tuple(shape))(x)


def transpose(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Axes in another order (reversed by default)."""
    order = tuple(reversed(range(x.ndim))) if axes is None else tuple(axes)
    if sorted(a + x.ndim if a < 0 else a for a in order) != list(range(x.ndim)):
        raise ValueError(f"transpose: expected each axis of {describe(x)} once, got {order}")
    return Transpose(tuple(a % x.ndim for a in order))(x)


def swap_last(x: Tensor) -> Tensor:
    """The last two axes exchanged: the transposes of a stack of matrices."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x repeated to `shape` by NumPy's rules (a view: nothing is copied)."""
    return x if x.shape == shape else BroadcastTo(shape)(x)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The adjoint of broadcast_to: summed over the repeated axes."""
    if x.shape == shape:
        return x
    lead = x.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[lead:], strict=True)):
        raise ValueError(f"sum_to: {shape} does not broadcast to {describe(x)}")
    return SumTo(shape)(x)


def take(x: Tensor, index: Any) -> Tensor:
    """x[index]; arrays and lists in the index are brought to x's device."""
    xp = array_module(x.data)

    def here(part: Any) -> Any:
        return xp.asarray(part) if isinstance(part, list | np.ndarray) else part
    return Take(tuple(map(here, index)) if isinstance(index, tuple) else here(index))(x)


def embedding(W: Tensor, labels: Array) -> Tensor:
    """Rows of W: (n, d) and integers of any shape -> their shape + (d,)."""
    return take(W, rows_of("embedding", labels, W.shape[0]))


def rows_of(who: str, labels: Any, n: int) -> Array:
    """Labels as an array of integers. TypeError or ValueError, naming `who`, unless they are rows of a table of n.

    Labels that are on a GPU already are taken at their word: to look at them would be to wait for it.
    """
    labels = labels if hasattr(labels, "dtype") else np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{who}: expected integer labels, got {labels.dtype}")
    if array_module(labels) is np and labels.size and not (0 <= labels.min() and labels.max() < n):
        raise ValueError(f"{who}: labels go from {labels.min()} to {labels.max()}, W has {n} rows")
    return labels


def concatenate(xs: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors one after the other along an axis; their other axes must agree. In float32 what is in bfloat16."""
    xs = [in_float32(x) for x in xs]
    if not all(-x.ndim <= axis < x.ndim for x in xs) or len(
            {(x.dtype, x.ndim) + x.shape[:axis % x.ndim] + x.shape[axis % x.ndim + 1:] for x in xs}) != 1:
        raise ValueError("concatenate: expected one dtype and equal shapes but for axis "
                         f"{axis}, got {', '.join(describe(x) for x in xs) or 'nothing'}")
    return Concatenate(axis)(*xs)


def describe(x: Tensor) -> str:
    """Shape and dtype, for error messages."""
    return f"{x.shape} {x.dtype}"


def _is_basic(index: Any) -> bool:
    """Whether no element can be indexed twice: only integers, slices, None and ... ."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, int | slice | np.integer) for p in parts)
