"""Sums of two arrays, of many pairs at once or of one, and of rows of a table: kernels/sums.cu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigan.engine.cuda import (
    THREADS,
    check,
    check_lists,
    compact,
    groups,
    half,
    kernels_take,
    launch,
    one_each,
    pointers,
    starts,
    table,
)
from minigan.engine.devices import Array, array_module
from minigan.engine.products import matmul

FILE = "sums.cu"


def add_all(xs: Sequence[Array], ys: Sequence[Array]) -> list[Array]:
    """[x + y of each pair], new arrays; x and y of one shape and dtype."""
    xs, ys = [compact(x) for x in xs], [compact(y) for y in ys]
    if kernels_take(*xs, *ys):
        return launch_add_all(xs, ys)
    return [x + y for x, y in zip(xs, ys, strict=True)]


def launch_add_all(xs: Sequence[Array], ys: Sequence[Array]) -> list[Array]:
    """In one launch, or one for every 64 pairs."""
    if len(xs) != len(ys):
        raise ValueError(f"add_all: expected as many xs as ys, got {len(xs)} and {len(ys)}")
    xp = check_lists("add_all", {"x": xs, "y": ys}, {"y": [x.shape for x in xs]})
    sums = [array_module(x).empty_like(x) for x in xs]
    for part in groups(FILE, "Pairs", "x", len(xs)):
        sizes = [x.size for x in xs[part]]
        first = starts([-(-size // 1024) for size in sizes])  # four numbers a thread
        pairs = table(FILE, "Pairs", count=len(sizes), first=first, size=sizes, x=pointers(xs[part]),
                      y=pointers(ys[part]), sum=pointers(sums[part]))
        launch(FILE, "add", (first[-1],), (THREADS,), (pairs,), xp=xp)
    return sums


def add(x: Array, y: Array, out: Array | None = None) -> Array:
    """x + y, of one shape and dtype, which on a GPU may be bfloat16. out: where to write, if not into a fresh array; it
    may be x or y."""
    x, y = compact(x), compact(y)
    if kernels_take(activations=(x, y, out)):
        return launch_add(x, y, out)
    return array_module(x).add(x, y, out=out)


def launch_add(x: Array, y: Array, out: Array | None = None) -> Array:
    xp = check("add", {"y": x.shape, "out": x.shape}, {"x": x, "y": y, "out": out})
    total = xp.empty_like(x) if out is None else out
    launch(FILE, "add_two", one_each(x.size, x), (THREADS,), (x, y, total, np.int64(x.size)), defines=half(x))
    return total


def add_rows(x: Array, labels: Array, rows: int) -> Array:
    """The rows of x (N, C) added up by their labels, in their order: (rows, C); 0 where there is none.

    labels: (N,) int64 on x's device, where nobody looks at them: they count modulo `rows`.
    """
    if kernels_take(x):
        return launch_add_rows(x, labels, rows)
    xp = array_module(x)
    if xp is not np:  # CuPy's add.at takes them in any order, and no two sums would be equal
        return matmul((xp.arange(rows)[:, None] == labels % rows).astype(x.dtype), x)
    sums = np.zeros((rows, x.shape[1]), x.dtype)
    np.add.at(sums, labels % rows, x)
    return sums


def launch_add_rows(x: Array, labels: Array, rows: int) -> Array:
    xp = check("add_rows", {"labels": x.shape[:1]}, labels=labels, x=x)
    if x.ndim != 2:
        raise ValueError(f"add_rows: expected x to be a matrix, got x {x.shape}")
    N, C = x.shape
    sums = xp.empty((rows, C), np.float32)
    launch(FILE, "add_rows", one_each(sums.size), (THREADS,),
           (x, labels, sums, np.int32(rows), np.int32(C), np.int32(N)))
    return sums
