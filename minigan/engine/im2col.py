"""The convolution's arithmetic on arrays: gather windows into the rows of a matrix, multiply, tile by tile.

Layout: images (N, H, W, C), weights (O, kh, kw, C). A window's row is then kh runs of kw * C neighbouring numbers, and
W.reshape(O, -1) is the matrix that multiplies it; neither operand is ever transposed in memory.

Two loops do everything: `correlate` (windows times weights) and `correlate_weights` (gradient times windows). The input
gradient of a convolution with stride s is s * s correlations with stride 1, one for each phase of the input's pixels
(`correlate_transposed`): a gather, with no scattered addition anywhere.

Tiles hold a few images or rows, so that on a CPU the gathered columns never leave the cache, and on a GPU the columns
of a large layer never fill its memory. Bias and activation are done on the tile as well. What a tile holds depends on
the shapes alone, so the result has the same bytes for any number of threads.

On a GPU, loops/conv.py does without columns, where its switch is on and products may be rounded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine import cublas, winograd
from minigan.engine.cuda import kernels_take
from minigan.engine.devices import BF16, Array, array_module
from minigan.engine.loops import conv
from minigan.engine.loops.activation import Epilogue
from minigan.engine.loops.windows import col2im, col2im_bf16, framed, im2col, im2col_bf16
from minigan.engine.products import product, turned
from minigan.engine.thread_pool import blocks, parallel, scratch, thread_count, tiles

TILE_BYTES = 2 << 20  # gathered columns of one tile; of 0.25 to 8 MiB the best on two machines
CUDA_TILE_BYTES = 256 << 20  # the same on a GPU, where a tile is one launch of each kernel; at least a row of windows
THIN = 4  # so few output channels waste a product of matrices with windows; images have 1 or 3
BY_COLUMN = 128  # output channels up to which a weight gradient is faster as columns^T gy than as gy^T columns
TURNED = 2048  # rows of windows from which weights are turned round beforehand, so that BLAS packs them faster
LANES = 8  # independent partial sums of a weight gradient

SMALL = 1 << 26  # multiplications, about 2 ms; below this the threads cost more than they save
Piece = Callable[[], Any]  # a share of the work that any thread may do, at any time


NOTHING = Epilogue()


@dataclass(frozen=True)
class Phase:
    """Every stride-th pixel of a result: the correlation with stride 1 that gives it; see `correlate`."""

    W: Array
    top: int
    left: int
    out: Array


def correlate(x: Array, W: Array, stride: int, top: int, left: int, out: Array,
              epilogue: Callable[[Array], Any] = NOTHING, taps: Array | None = None) -> None:
    """out[n,i,j,o] = sum over dy,dx,c of x[n, i*stride + dy - top, j*stride + dx - left, c] * W[o,dy,dx,c].

    x (N, H, W, C), zero outside; W (O, kh, kw, C); out (N, oh, ow, O), any strides: its size says which windows are
    taken. top and left may be negative (windows that begin inside x). taps: winograd.transformed(W), if it is kept from
    one call to the next; then that way is taken.
    """
    if taps is None and isinstance(epilogue, Epilogue) and (
            precision := conv.used(W.shape[1:3], epilogue.b, epilogue.scale, activations=(x, W, out))):
        conv.launch_conv(x, cublas.rounded(W), stride, (top, left), out.shape[1:3], epilogue.scale, epilogue.b,
                         epilogue.slope, out, precision=precision)
        return
    _run(x, _pieces(x, W, stride, top, left, out, epilogue, taps), out.size * W.size // len(W))


def correlate_transposed(gy: Array, W: Array, stride: int, pad: tuple[int, int], out: Array,
                         epilogue: Epilogue = NOTHING) -> None:
    """out = the input gradient of a convolution with weights W, stride and pad, whose output gradient is gy.

    gy (N, oh, ow, O), W (O, kh, kw, C), out (N, H, W, C). On a GPU all windows of one image are made at once, if
    they are no more than CUDA_TILE_BYTES; of larger images the phases are, tile by tile, as on a CPU.
    """
    if precision := conv.used(W.shape[1:3], epilogue.b, epilogue.scale, activations=(gy, W, out)):
        conv.launch_conv_transposed(gy, cublas.rounded(W), stride, pad, out.shape[1:3], epilogue.scale, epilogue.b,
                                    epilogue.slope, out, precision=precision)
        return
    (_, kh, kw, C), xp = W.shape, array_module(W)
    windows = math.prod(gy.shape[1:3]) * kh * kw * C * gy.dtype.itemsize  # of one image, in bytes
    if kernels_take(W) and kernels_take(activations=(gy,)) and kernels_take(activations=(out,)) \
            and windows <= CUDA_TILE_BYTES:
        return _scatter(gy, W, stride, pad, out, epilogue)
    flipped = W.transpose(1, 2, 0, 3)[::-1, ::-1]  # (kh, kw, O, C): what is copied below are whole rows of C
    phases: list[Phase] = []
    for y0, ty, top in _phases(kh, stride, pad[0]):
        for x0, tx, left in _phases(kw, stride, pad[1]):
            part, weights = out[:, y0::stride, x0::stride], flipped[ty, tx]
            if part.size and weights.shape[0] and weights.shape[1]:
                weights = xp.ascontiguousarray(weights).transpose(3, 0, 1, 2)  # seen as (C, kh, kw, O)
                phases.append(Phase(weights, top, left, part))
            elif part.size:  # no tap falls on these pixels: the stride is larger than the kernel
                empty = xp.zeros((part.size // C, C), out.dtype)
                epilogue(empty)
                _put(part, empty)
    pieces = _pieces_of_phases(gy, phases, epilogue) or [
        piece for phase in phases for piece in _pieces(gy, phase.W, 1, phase.top, phase.left, phase.out, epilogue)]
    _run(gy, pieces, gy.size * W.size // len(W))


def correlate_weights(x: Array, gy: Array, kernel: tuple[int, int], stride: int, pad: tuple[int, int]) -> Array:
    """The weight gradient (O, kh, kw, C) of a convolution with input x and output gradient gy.

    x (N, H, W, C), gy (N, oh, ow, O). Images are shared out to a few lanes, each of which adds up its tiles in order;
    the lanes are added in order at the end.
    """
    (N, oh, ow, O), (kh, kw), C, xp = gy.shape, kernel, x.shape[3], array_module(x)
    dtype = np.float32 if x.dtype == BF16 else x.dtype
    if N == 0:
        return xp.zeros((O, kh, kw, C), dtype)
    if precision := conv.used(kernel, activations=(x, gy)):
        return conv.launch_conv_weights(x, gy, kernel, stride, pad, precision=precision)
    if xp is np and stride == 1 and winograd.pays(N, (oh, ow), kernel, C, O, x.dtype):
        return winograd.correlate_weights(x, gy, *pad)
    if xp is np and stride == 1 and O <= THIN < C:  # windows of the thinner one: the roles change, the taps turn round
        swapped = correlate_weights(gy, x, kernel, 1, (kh - 1 - pad[0], kw - 1 - pad[1]))
        return xp.ascontiguousarray(swapped[:, ::-1, ::-1].transpose(3, 1, 2, 0))
    K = kh * kw * C
    # fewer where a product of matrices would get thin, or take less than a quarter of a millisecond
    lanes = max(1, min(LANES, N, N * oh * ow // 512, N * oh * ow * O * K >> 23)) if xp is np else 1
    totals: list[Array] = [None] * lanes
    by_column = xp is np and O <= BY_COLUMN
    shape = (K, O) if by_column else (O, K)

    def lane(index: int) -> None:
        mine = range(index * N // lanes, (index + 1) * N // lanes)
        for images, rows in tiles(len(mine), oh, ow * K * x.dtype.itemsize, 2 * _tile_bytes(xp), mine.start):
            g = gy[images, rows]
            columns = _gather(x[images], kernel, stride, pad[0] - rows.start * stride, pad[1], g.shape[1:3])
            g = g.reshape(-1, O)
            factors = (columns.T, g) if by_column else (g.T, columns)
            if totals[index] is None:
                totals[index] = product(*factors, xp.empty(shape, dtype))
            else:
                totals[index] += product(*factors, scratch("product", shape, dtype, xp))

    _run(x, [functools.partial(lane, i) for i in range(lanes)], gy.size * K)
    for other in totals[1:]:
        totals[0] += other
    return (turned(totals[0]) if by_column else totals[0]).reshape(O, kh, kw, C)


def _scatter(gy: Array, W: Array, stride: int, pad: tuple[int, int], out: Array, epilogue: Epilogue) -> None:
    """correlate_transposed on a GPU: all windows of some images in one product, then each pixel collects its own."""
    (N, oh, ow, O), K, xp = gy.shape, W.size // len(W), array_module(gy)
    step = max(1, CUDA_TILE_BYTES // max(1, oh * ow * K * gy.dtype.itemsize))
    # in bfloat16 as well, if products are: half the bytes
    dtype, add_up = (BF16, col2im_bf16) if cublas.current_precision(xp) == "bf16" else (np.float32, col2im)
    for images in blocks(N, step):
        g = gy[images].reshape(-1, O)
        columns = product(g, W.reshape(O, K), scratch("columns", (len(g), K), dtype, xp))
        add_up(columns, out[images].shape, W.shape[1:3], stride, pad, (oh, ow), epilogue.scale, epilogue.b,
               epilogue.slope, out[images])


def _run(x: Array, pieces: list[Piece], products: int) -> None:
    """Do all pieces, which take `products` multiplications: in the worker threads, on a CPU, if that pays."""
    thread_count()  # small pieces, too: BLAS is held to one thread, or the first result had other bits than the next
    if products < SMALL or array_module(x) is not np:
        for piece in pieces:
            piece()
    else:
        parallel(lambda piece: piece(), pieces)


def _tile_bytes(xp: Any) -> int:
    return TILE_BYTES if xp is np else CUDA_TILE_BYTES


def _pieces(x: Array, W: Array, stride: int, top: int, left: int, out: Array, epilogue: Callable[[Array], Any],
            taps: Array | None = None) -> list[Piece]:
    """`correlate`, cut into its tiles."""
    (O, kh, kw, C), (N, oh, ow, _), xp = W.shape, out.shape, array_module(x)
    if isinstance(epilogue, Epilogue) and (taps is not None or xp is np and stride == 1 and winograd.pays(
            N, (oh, ow), (kh, kw), C, O, x.dtype)):
        return winograd.pieces(x, W, taps, top, left, out, epilogue)
    if xp is np and stride == 1 and O <= THIN:
        return _thin_pieces(x, W, top, left, out, epilogue)
    matrix = W.reshape(O, kh * kw * C).T
    if xp is np and matrix.strides[0] < matrix.strides[1] and N * oh * ow >= TURNED:
        matrix = turned(matrix.T)
    # every product packs the weights anew: where they do not stay in the cache, with more rows for each time
    budget = _tile_bytes(xp) * (2 if W.nbytes > TILE_BYTES and matrix.strides[0] < matrix.strides[1] else 1)

    def tile(images: slice, rows: slice) -> None:
        target = out[images, rows]
        columns = _gather(x[images], (kh, kw), stride, top - rows.start * stride, left, target.shape[1:3])
        _multiply(columns, matrix, target, epilogue)

    return [functools.partial(tile, *part)
            for part in tiles(N, oh, ow * kh * kw * C * x.dtype.itemsize, budget)]


def _pieces_of_phases(gy: Array, phases: list[Phase], epilogue: Callable[[Array], Any]) -> list[Piece]:
    """All phases of some images in one piece: their windows are of the same pixels, which get a border once for all.
    Empty where this is not for them: on a GPU, with one phase, where another way is faster, if an image's windows are
    too many."""
    (N, H, W, O), step = gy.shape, 0
    another = (len(p.W) <= THIN or winograd.pays(N, p.out.shape[1:3], p.W.shape[1:3], O, len(p.W), gy.dtype)
               for p in phases)
    if array_module(gy) is np and len(phases) > 1 and not any(another):
        step = TILE_BYTES // max(math.prod(p.out.shape[1:3]) * p.W.size // len(p.W) * gy.itemsize for p in phases)
    if step == 0:
        return []
    top, left = max(0, *(p.top for p in phases)), max(0, *(p.left for p in phases))
    height, width = (max(n + before, *(p.out.shape[i] + p.W.shape[i] - 1 - first + before for p, first in firsts))
                     for i, n, before, firsts in ((1, H, top, [(p, p.top) for p in phases]),
                                                  (2, W, left, [(p, p.left) for p in phases])))

    def piece(images: slice) -> None:
        frame = framed(gy[images], top, left, height, width)
        for p in phases:
            target, kernel = p.out[images], p.W.shape[1:3]
            columns = _gather(frame, kernel, 1, p.top - top, p.left - left, target.shape[1:3])
            _multiply(columns, p.W.reshape(len(p.W), -1).T, target, epilogue)

    return [functools.partial(piece, images) for images in blocks(N, step)]


def _multiply(columns: Array, matrix: Array, target: Array, epilogue: Callable[[Array], Any]) -> None:
    """target (n, oh, ow, O) = columns @ matrix and what comes after it."""
    direct, xp = _has_rows(target), array_module(columns)
    O = matrix.shape[1]
    flat = target.reshape(-1, O) if direct else scratch("tile", (len(columns), O), target.dtype, xp)
    product(columns, matrix, flat)
    epilogue(flat)
    if not direct:
        _put(target, flat)


def _put(target: Array, flat: Array) -> None:
    """target[...] = the same numbers as a matrix. Two bytes are as good as another two: CuPy may not know bfloat16."""
    if flat.dtype == BF16:
        target, flat = target.view(np.uint16), flat.view(np.uint16)
    target[...] = flat.reshape(target.shape)


def _has_rows(out: Array) -> bool:
    """Whether out (N, oh, ow, O) is a matrix (N * oh * ow, O) that a product may write to: some channels of a larger
    array are; CuPy wants all of them."""
    if array_module(out) is not np or 0 in out.shape:
        return out.flags.c_contiguous
    (_, oh, ow, _), (sn, sy, sx, so) = out.shape, out.strides
    return so == out.itemsize and sy == ow * sx and (sn == oh * sy or len(out) == 1)


def _thin_pieces(x: Array, W: Array, top: int, left: int, out: Array,
                 epilogue: Callable[[Array], Any]) -> list[Piece]:
    """With stride 1 and few output channels: multiply every pixel by every tap, then add shifted planes."""
    (O, kh, kw, C), (N, oh, ow, _) = W.shape, out.shape
    width = ow + kw - 1
    taps = W.transpose(1, 2, 0, 3).reshape(kh * kw * O, C)

    def tile(images: slice, rows: slice) -> None:
        n, r = images.stop - images.start, rows.stop - rows.start
        frame = framed(x[images], top - rows.start, left, r + kh - 1, width)
        planes = product(taps, frame.reshape(-1, C).T, scratch("columns", (len(taps), frame.size // C), x.dtype))
        planes = planes.reshape(kh, kw, O, n, r + kh - 1, width)
        y = scratch("tile", (O, n, r, ow), x.dtype)
        y[...] = 0
        for dy in range(kh):
            for dx in range(kw):
                y += planes[dy, dx, :, :, dy:dy + r, dx:dx + ow]
        pixels = np.ascontiguousarray(y.transpose(1, 2, 3, 0))
        epilogue(pixels.reshape(-1, O))
        out[images, rows] = pixels

    return [functools.partial(tile, *part) for part in tiles(N, oh, width * len(taps) * x.dtype.itemsize, TILE_BYTES)]


def _gather(x: Array, kernel: tuple[int, int], stride: int, top: int, left: int, size: tuple[int, int]) -> Array:
    """im2col in a work array: row (n, i, j) is the window of x at i*stride - top, j*stride - left.

    In bfloat16 if it is to be multiplied in it, on a GPU."""
    (N, H, W, C), (kh, kw), (oh, ow) = x.shape, kernel, size
    if kernel == (1, 1) and stride == 1 and top == left == 0 and size == (H, W) and x.flags.c_contiguous:
        return x.reshape(-1, C)
    xp = array_module(x)
    if xp is not np and kernels_take(activations=(x,)) and cublas.current_precision(xp) == "bf16":
        return im2col_bf16(x, kernel, stride, (top, left), size)
    columns = scratch("columns", (N * oh * ow, kh * kw * C), x.dtype, xp)
    return im2col(x, kernel, stride, (top, left), size, columns)


def _phases(k: int, stride: int, pad: int) -> list[tuple[int, slice, int]]:
    """Along one axis, for each phase of the input's pixels: (first pixel, its taps in the flipped kernel, top).

    Pixel i = first + stride * a collects gy[(i + pad - t) / stride] * W[t] over the taps t = r, r + stride, ... with
    r = (i + pad) mod stride. In the flipped kernel these are every stride-th tap, in the order in which gy is met.
    """
    phases = []
    for r in range(stride):
        first = (r - pad) % stride
        taps = len(range(r, k, stride))
        # t = r + stride * m stands at k - 1 - t in the flipped kernel; the largest m comes first
        begin = k - 1 - (r + stride * (taps - 1)) if taps else k
        phases.append((first, slice(begin, k if taps else k, stride), taps - 1 - (first + pad - r) // stride))
    return phases
