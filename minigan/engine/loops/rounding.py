"""Numbers with fewer digits, as tensor cores multiply them: TF32 and bfloat16 (kernels/rounding.cu).

Both have float32's exponent: TF32 10 bits behind the point, bfloat16 7, so that it is the upper half of a float32.
"""

from __future__ import annotations

import numpy as np

from minigan.engine.cuda import (
    THREADS,
    check,
    check_lists,
    groups,
    kernels_take,
    launch,
    one_each,
    pointers,
    starts,
    table,
)
from minigan.engine.devices import BF16, Array, array_module

FILE = "rounding.cu"


def tf32(x: Array) -> Array:
    """x with 10 bits behind the point, the nearest, of two the larger in size; its dtype stays."""
    xp, near = array_module(x), x.astype(np.float32).view(np.uint32) + np.uint32(0x1000) & np.uint32(0xffffe000)
    return xp.where(xp.isfinite(x), near.view(np.float32).astype(x.dtype), x)


def bf16(x: Array) -> Array:
    """x with 7 bits behind the point, the nearest, of two the even one; its dtype stays."""
    xp, bits = array_module(x), x.astype(np.float32).view(np.uint32)
    near = bits + np.uint32(0x7fff) + (bits >> np.uint32(16) & np.uint32(1)) & np.uint32(0xffff0000)
    return xp.where(xp.isfinite(x), near.view(np.float32).astype(x.dtype), x)


ROUNDED = {"tf32": tf32, "bf16": bf16}
BITS = {"tf32": 10, "bf16": 7}  # behind the point


def to_bf16(*arrays: Array) -> list[Array]:
    """Arrays of float32 in bfloat16: new arrays. What is not a number becomes 0x7fff."""
    if kernels_take(*arrays):
        return launch_to_bf16(*arrays)
    return [_bits(x).view(BF16) for x in arrays]


def launch_to_bf16(*arrays: Array) -> list[Array]:
    """In one launch, or one for every 64."""
    xp = check_lists("to_bf16", {"x": arrays}, {})
    rounded = [xp.empty(x.shape, BF16) for x in arrays]
    for part in groups(FILE, "Arrays", "x", len(arrays)):
        sizes = [x.size for x in arrays[part]]
        first = starts([-(-size // 1024) for size in sizes])  # four numbers a thread
        filled = table(FILE, "Arrays", count=len(sizes), first=first, size=sizes, x=pointers(arrays[part]),
                       rounded=pointers(rounded[part]))
        launch(FILE, "to_bf16", (first[-1],), (THREADS,), (filled,), xp=xp)
    return rounded


def to_float32(x: Array) -> Array:
    """An array of bfloat16 in float32, exactly: a new array."""
    if x.dtype == BF16 and kernels_take(activations=(x,)):
        return launch_to_float32(x)
    return x.astype(np.float32)


def launch_to_float32(x: Array) -> Array:
    xp = check("to_float32", {}, {"x": x})
    if x.dtype != BF16:
        raise TypeError(f"to_float32: expected x in bfloat16, got {x.dtype}")
    y = xp.empty(x.shape, np.float32)
    launch(FILE, "to_float32", one_each(x.size, x), (THREADS,), (x, y, np.int64(x.size)))
    return y


def _bits(x: Array) -> Array:
    xp, bits = array_module(x), bf16(x.astype(np.float32)).view(np.uint32) >> np.uint32(16)
    return xp.where(xp.isnan(x), np.uint16(0x7fff), bits.astype(np.uint16))
