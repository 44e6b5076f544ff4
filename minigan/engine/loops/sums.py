"""Sums of two arrays each, for many pairs at once: kernels/sums.cu."""

from __future__ import annotations

from collections.abc import Sequence

from minigan.engine.cuda import THREADS, check_lists, compact, groups, kernels_take, launch, pointers, starts, table
from minigan.engine.devices import Array, array_module

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
