"""Convolutions on tensor cores, without columns in memory: kernels/conv.cu.

Factors are rounded to TF32 or bfloat16 on their way in, sums are float32. With bfloat16 each of a convolution's arrays
(not scale and bias) may itself be bfloat16 or float32. engine/im2col.py is the way of everything else: CPUs, float32
products, older cards.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from minigan.engine import cublas
from minigan.engine.cuda import check, kernels_take, launch, table, tickets
from minigan.engine.devices import BF16, FLOAT32, Array, array_module
from minigan.engine.loops.activation import bias_leaky, scale_and_bias, slope_of
from minigan.engine.loops.rounding import BITS, ROUNDED
from minigan.engine.loops.windows import col2im, im2col

FILE = "conv.cu"
BLOCK = 128  # threads
HALVES = ("HALF_A", "HALF_B", "HALF_OUT")  # defined for factors and a result in bfloat16
DEPTH, STAGES = 32, 3  # as in the kernels
SWITCH = "MINIGAN_IMPLICIT_CONV"  # environment variable; 1: the engine's convolutions go this way where they can
TILES = ((128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128))  # rows and columns that a Way may have
BLOCKS = 264  # that keep a GPU busy: two for each of an H100's 132 processors. On every card, so that sums stay equal
Pair = tuple[int, int]


@dataclass(frozen=True)
class Way:
    """How a kernel does it: results of a block (one of TILES), and into how many parts the sums are cut."""

    rows: int = 64
    columns: int = 64
    parts: int = 1

    def tiles(self, rows: int, columns: int) -> int:
        """How many blocks a part needs."""
        return -(-rows // self.rows) * -(-columns // self.columns)


# (kernel, rows, columns, depth) of a product -> its way: what `python bench/conv_layers.py` found best on a card.
CHOSEN: dict[tuple[str, int, int, int], Way] = {}


def used(kernel: Pair, *arrays: Array | None, activations: Sequence[Array | None] = ()) -> str | None:
    """The precision in which the engine's convolutions of these arrays are done here, with a kernel of this size.

    arrays: float32. activations: factors and result, in bf16 each of them float32 or bfloat16.
    None if they are not. They are if the switch is on, products are to be rounded, the card has that, and the kernels
    take the arrays. A kernel of one pixel needs no columns, and is left to cuBLAS.
    """
    if kernel == (1, 1) or os.environ.get(SWITCH) != "1":
        return None
    xp = array_module(*arrays, *activations)
    if xp is np:
        return None
    precision = cublas.current_precision(xp)
    if precision not in ROUNDED or not _taken(precision, activations, *arrays):
        return None
    return precision if _capable(xp, xp.cuda.Device().id) else None


def chosen(kernel: str, rows: int, columns: int, depth: int, phases: int = 1) -> Way:
    """How a product of these sizes is done: as CHOSEN says, else in large tiles, and parts to keep a GPU busy."""
    return CHOSEN.get((kernel, rows, columns, depth)) or _usual(rows, columns, depth, phases)


@cache
def _usual(rows: int, columns: int, depth: int, phases: int) -> Way:
    if columns <= 32:
        way = Way(128, 32)
    elif rows <= 32:
        way = Way(32, 128)
    else:
        way = Way(64 if rows <= 64 else 128, 64 if columns <= 64 else 128)
    blocks, steps = way.tiles(rows, columns) * phases, -(-depth // DEPTH)
    return Way(way.rows, way.columns, max(1, min(BLOCKS // max(1, blocks), steps // 4)))


def conv(x: Array, W: Array, stride: int, pad: Pair, size: Pair, scale: Array | None = None, bias: Array | None = None,
         slope: float = 1.0, out: Array | None = None, dtype: np.dtype | None = None, way: Way | None = None,
         precision: str = "tf32") -> Array:
    """leaky(y * scale + bias) of y[n,i,j,o] = sum of x[n, i*stride + dy - top, j*stride + dx - left, c] * W[o,dy,dx,c].

    x (N, H, W, C), zero outside; W (O, kh, kw, C); pad is (top, left) and may be negative; size (oh, ow); scale: one
    number; bias (O,). precision: what x and W are rounded to, tf32 or bf16.
    Returns (N, oh, ow, O): `out` if it is given, else of this dtype, by default of x's.
    """
    if _taken(precision, (x, W, out), scale, bias):
        return launch_conv(x, W, stride, pad, size, scale, bias, slope, out, dtype, way, precision)
    y = im2col(_rounded(precision, x), W.shape[1:3], stride, pad, size) @ _rounded(precision, W).reshape(len(W), -1).T
    return _into(out, dtype or x.dtype, bias_leaky(y.reshape(len(x), *size, len(W)), bias, slope, scale))


def launch_conv(x: Array, W: Array, stride: int, pad: Pair, size: Pair, scale: Array | None = None,
                bias: Array | None = None, slope: float = 1.0, out: Array | None = None, dtype: np.dtype | None = None,
                way: Way | None = None, precision: str = "tf32") -> Array:
    O, shape = len(W), (len(x), *size, len(W))
    _check("conv", precision, {"weights": (O, *W.shape[1:3], x.shape[3]), "bias": (O,), "out": shape},
           {"x": x, "weights": W, "out": out}, scale=scale, bias=bias)
    y = _result("conv", precision, x, shape, dtype) if out is None else out
    depth = W.size // max(1, O)
    _launch("conv", (x, W), y, (math.prod(shape[:3]), O, depth), 1, way, precision, (scale, bias, slope),
            _shape(x.shape, W.shape, stride, pad, size), x.shape[3], (x.shape[3], x.shape[3]))
    return y


def conv_transposed(gy: Array, W: Array, stride: int, pad: Pair, size: Pair, scale: Array | None = None,
                    bias: Array | None = None, slope: float = 1.0, out: Array | None = None,
                    dtype: np.dtype | None = None, way: Way | None = None, precision: str = "tf32") -> Array:
    """leaky(gx * scale + bias) of gx, the input gradient of a convolution of images of this size, pad and stride.

    gy (N, oh, ow, O), its output gradient; W (O, kh, kw, C); pad is (top, left), not negative; bias (C,).
    Returns (N, *size, C): `out` if it is given, else of this dtype, by default of gy's.
    """
    if _taken(precision, (gy, W, out), scale, bias):
        return launch_conv_transposed(gy, W, stride, pad, size, scale, bias, slope, out, dtype, way, precision)
    (N, oh, ow, O), (_, kh, kw, C) = gy.shape, W.shape
    columns = _rounded(precision, gy).reshape(-1, O) @ _rounded(precision, W).reshape(O, -1)
    return _into(out, dtype or gy.dtype, col2im(columns, (N, *size, C), (kh, kw), stride, pad, (oh, ow), scale, bias,
                                                slope))


def launch_conv_transposed(gy: Array, W: Array, stride: int, pad: Pair, size: Pair, scale: Array | None = None,
                           bias: Array | None = None, slope: float = 1.0, out: Array | None = None,
                           dtype: np.dtype | None = None, way: Way | None = None, precision: str = "tf32") -> Array:
    (N, oh, ow, O), (_, kh, kw, C) = gy.shape, W.shape
    shape = (N, *size, C)
    _check("conv_transposed", precision, {"weights": (O, kh, kw, C), "bias": (C,), "out": shape},
           {"gy": gy, "weights": W, "out": out}, scale=scale, bias=bias)
    gx = _result("conv_transposed", precision, gy, shape, dtype) if out is None else out
    pixels = N * -(-size[0] // stride) * -(-size[1] // stride)
    _launch("conv_transposed", (gy, W), gx, (pixels, C, -(-kh // stride) * -(-kw // stride) * O), stride * stride,
            way, precision, (scale, bias, slope), _shape(shape, W.shape, stride, pad, (oh, ow)), O, (O, C))
    return gx


def conv_weights(x: Array, gy: Array, kernel: Pair, stride: int, pad: Pair, way: Way | None = None,
                 precision: str = "tf32") -> Array:
    """The weight gradient (O, kh, kw, C) of a convolution with input x (N, H, W, C), output gradient gy (N, oh, ow, O).

    pad is (top, left) and may be negative. Of bfloat16 the result is float32.
    """
    if _taken(precision, (x, gy)):
        return launch_conv_weights(x, gy, kernel, stride, pad, way, precision)
    O = gy.shape[3]
    columns = im2col(_rounded(precision, x), kernel, stride, pad, gy.shape[1:3])
    return (_rounded(precision, gy).reshape(-1, O).T @ columns).reshape(O, *kernel, x.shape[3])


def launch_conv_weights(x: Array, gy: Array, kernel: Pair, stride: int, pad: Pair, way: Way | None = None,
                        precision: str = "tf32") -> Array:
    (N, oh, ow, O), C = gy.shape, x.shape[3]
    xp = _check("conv_weights", precision, {"gy": (len(x), oh, ow, O)}, {"x": x, "gy": gy})
    gW = xp.empty((O, *kernel, C), np.float32)
    _launch("conv_weights", (gy, x), gW, (O, math.prod(kernel) * C, N * oh * ow), 1, way, precision, (None, None, 1.0),
            _shape(x.shape, gW.shape, stride, pad, (oh, ow)), C, (O, C))
    return gW


# ---- inside ----------------------------------------------------------------------------------------------------------

@cache
def _capable(xp: Any, device: int) -> bool:
    return int(xp.cuda.Device(device).compute_capability) >= cublas.TENSOR_CORES


def _is_half(precision: str, a: Array | None) -> bool:
    """Whether an array is one of those in bfloat16 that the kernels take in this precision."""
    return precision == "bf16" and getattr(a, "dtype", None) == BF16


def _taken(precision: str, activations: Sequence[Array | None], *arrays: Array | None) -> bool:
    """kernels_take, for activations of which each may be float32 or bfloat16."""
    halves = [a for a in activations if _is_half(precision, a)]
    return kernels_take(*arrays, *(a for a in activations if not _is_half(precision, a)), activations=halves)


def _check(launcher: str, precision: str, shapes: dict[str, Any], activations: dict[str, Array | None],
           **arrays: Array | None) -> Any:
    """cuda.check likewise."""
    halves = {name: a for name, a in activations.items() if _is_half(precision, a)}
    return check(launcher, shapes, halves, **{name: a for name, a in activations.items() if name not in halves},
                 **arrays)


def _result(launcher: str, precision: str, like: Array, shape: tuple[int, ...], dtype: np.dtype | None) -> Array:
    """A new array for a result. ValueError if the kernels do not make this dtype."""
    dtype = like.dtype if dtype is None else np.dtype(dtype)
    if dtype != FLOAT32 and not (precision == "bf16" and dtype == BF16):
        raise ValueError(f"{launcher}: expected a result in float32{', bfloat16' * (precision == 'bf16')}, got {dtype}")
    return array_module(like).empty(shape, dtype)


def _rounded(precision: str, x: Array) -> Array:
    """x as tensor cores multiply it: float32 if it is bfloat16."""
    return ROUNDED[precision](x.astype(np.float32) if x.dtype == BF16 else x)


def _shape(x_shape: tuple[int, ...], W_shape: tuple[int, ...], stride: int, pad: Pair, size: Pair) -> dict[str, int]:
    """The fields of the struct Shape that say which convolution it is."""
    (N, H, W, C), (O, kh, kw, _) = x_shape, W_shape
    return {"N": N, "H": H, "W": W, "C": C, "O": O, "kh": kh, "kw": kw, "stride": stride, "top": pad[0],
            "left": pad[1], "oh": size[0], "ow": size[1]}


def _launch(kernel: str, factors: tuple[Array, Array], out: Array, sizes: tuple[int, int, int], phases: int,
            way: Way | None, precision: str, end: tuple[Array | None, Array | None, float], shape: dict[str, int],
            channels: int, runs: Pair) -> None:
    """out = one of the products, in parts if the way says so.

    sizes: rows, columns and depth, those of the largest phase. channels: those of the depth. runs: how many neighbours
    of the numbers of either factor are copied together.
    """
    (scale, bias, slope), (rows, columns, depth) = end, sizes
    if max(*(a.size for a in factors), out.size, rows, depth) >= 1 << 30:
        raise ValueError(f"{kernel}: expected arrays of fewer than 2^30 numbers, got {[a.size for a in factors]} "
                         f"and {out.size}")
    if not out.size:
        return
    way = chosen(kernel, rows, columns, depth, phases) if way is None else way
    parts = max(1, min(way.parts, -(-depth // DEPTH)))
    wide = tuple(_wide(a, run) for a, run in zip(factors, runs, strict=True))
    filled = _filled(tuple(shape.items()), channels, wide, parts, out.size)
    grid, xp = (-(-rows // way.rows), -(-columns // way.columns), phases * parts), array_module(out)
    # of one part nothing is left to add: a null pointer
    unadded = np.int64(0) if parts == 1 else xp.empty((parts, out.size), np.float32)
    launch(FILE, kernel, grid, (BLOCK,),
           (filled, *factors, out, unadded, tickets(xp, math.prod(grid)), *scale_and_bias(kernel, scale, bias),
            slope_of(kernel, slope)),
           STAGES * DEPTH * (way.rows * factors[0].itemsize + way.columns * factors[1].itemsize),
           defines=(("ROWS", way.rows), ("COLUMNS", way.columns), ("BITS", BITS[precision]), *(
               (name, 1) for name, a in zip(HALVES, (*factors, out), strict=True) if a.dtype == BF16)))


def _wide(a: Array, run: int) -> int:
    """How many neighbours of a factor can be copied at once, as the kernels are told: 8, 4, 2 or 1 of bfloat16; of
    float32 1 for four, 0 for one."""
    if a.dtype == BF16:
        return next(n for n in (8, 4, 2, 1) if run % n == 0 and a.data.ptr % (2 * n) == 0)
    return int(run % 4 == 0 and a.data.ptr % 16 == 0)


@lru_cache(1024)  # one for each place of a network where it is needed
def _filled(fields: tuple[tuple[str, int], ...], channels: int, wide: tuple[int, ...], parts: int,
            count: int) -> np.ndarray:
    """The struct Shape, to be read alone. fields: of _shape."""
    shape = dict(fields)
    divisors = [_divisor(d) for d in (channels, shape["kw"], shape["ow"], shape["oh"])]
    return table(FILE, "Shape", **shape, wide_a=wide[0], wide_b=wide[1], parts=parts, count=count,
                 factors=[factor for factor, _ in divisors], shifts=[shift for _, shift in divisors])


def _divisor(d: int) -> Pair:
    """(factor, shift) by which the kernels divide by d, the factor as a signed number."""
    shift = (max(1, d) - 1).bit_length()
    return -(-(1 << 31 + shift) // max(1, d)) - (1 << 32), shift


def _into(out: Array | None, dtype: np.dtype, result: Array) -> Array:
    if out is None:
        return result.astype(dtype, copy=False)
    out[...] = result
    return out
