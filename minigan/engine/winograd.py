"""The same correlations as im2col.py, for stride 1 and 3x3 kernels, with a quarter of the multiplications.

Winograd's minimal filtering F(m, r) computes m neighbouring outputs of an r-tap filter with t = m + r - 1
multiplications instead of m * r: window d and taps g are read as polynomials and multiplied by their values at t points
(one of them infinity),
    y = A [(G g) * (B d)],
with small constant matrices A (m, t), G (t, r), B (t, t) (Winograd 1980; for convolutions Lavin and Gray 2016).
In two dimensions all three are applied to rows and columns; here as one Kronecker product, so that everything is a
product of matrices: transform the windows (t*t, t*t) @ (t*t, tiles * C), multiply t*t matrices (tiles, C) @ (C, O),
transform back. Here m = 4 and r = 3: 36 products where im2col needs 144.

All of it is linear, so the weight gradient is the transposed expression: G^T [sum over tiles of (A^T gy) * (B d)] G.

For NumPy's arrays: a GPU takes im2col.

Rounding: in float32 a result may be off by more than im2col's; tests/engine/test_conv_ops.py holds it to 1e-5 of the
largest result. float64 always takes im2col.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigan.engine.devices import Array
from minigan.engine.loops.activation import Epilogue
from minigan.engine.loops.windows import framed
from minigan.engine.products import turned
from minigan.engine.thread_pool import BLOCK, FEW, blocks, parallel, scratch, tiles

M, R = 4, 3  # outputs per tile and axis; taps
T = M + R - 1  # pixels of a window, and points
POINTS = (0.0, -1.0, 1.0, -0.5, 2.0)  # and infinity; small numbers keep the rounding small
MANY = 16  # tiles; fewer do not make up for the transform of the weights
WIDE = 64  # channels; with fewer, the products are thin and the transforms are most of the work
TILE_BYTES = 5 << 20  # transformed windows of a group of tiles, per thread: 64 of 512 channels
MOST = 144  # tiles of a group; with more, little is won by reading the weights once for all, and the cache is left
CHANNELS = 32  # output channels whose weights are transformed, used and forgotten at once: they stay in the cache
APART = 16  # numbers between the rows of what is transformed
GROUP_BYTES = 32 << 20  # transformed windows held at once for a weight gradient


def pays(N: int, size: tuple[int, int], kernel: tuple[int, int], C: int, O: int, dtype: Any) -> bool:
    """Whether this way is the faster one for N outputs of size (oh, ow)."""
    oh, ow = size
    th, tw = -(-oh // M), -(-ow // M)
    waste = M * th * M * tw / (oh * ow)  # tiles that hang over the edge
    many = N * th * tw >= MANY
    return dtype == np.float32 and kernel == (R, R) and min(C, O) >= WIDE and waste <= 1.4 and many


@functools.cache
def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (m*m, t*t), G (t*t, r*r), B (t*t, t*t), float32: the transforms of rows and columns at once."""
    A, G, B = np.zeros((M, T)), np.zeros((T, R)), np.zeros((T, T))
    for j, p in enumerate(POINTS):
        others = [q for q in POINTS if q != p]
        A[:, j] = [p ** i for i in range(M)]
        G[j] = [p ** k / np.prod([p - q for q in others]) for k in range(R)]
        B[j, :T - 1] = np.poly(others)[::-1]  # coefficients of prod (x - q), lowest power first
    A[M - 1, T - 1] = G[T - 1, R - 1] = 1  # the point at infinity
    B[T - 1] = np.poly(POINTS)[::-1]
    both = [np.kron(X, X).astype(np.float32) for X in (A, G, B)]
    return both[0], both[1], both[2]


def transformed(W: Array) -> Array:
    """G applied to W (O, 3, 3, C): (t*t, C, O) in memory, what `pieces` multiplies by. Shared out over the threads."""
    O, _, _, C = W.shape
    of_pixels = _of_pixels(W)
    out = _apart(np.empty((T * T, C * O + APART), W.dtype))
    G = matrices()[1]
    parallel(lambda part: np.matmul(G, of_pixels[:, part], out=out[:, part]), blocks(C * O, BLOCK), least=FEW)
    return out.reshape(T * T, C, O)


def _of_pixels(W: Array) -> Array:
    """Weights (O, 3, 3, C), or a view of (3, 3, C, O), as a matrix (r*r, C * O)."""
    O, _, _, C = W.shape
    if W.strides[0] < W.strides[3]:
        return W.transpose(1, 2, 3, 0).reshape(R * R, C * O)
    return turned(W.reshape(O, R * R * C)).reshape(R * R, C * O)


def pieces(x: Array, W: Array, taps: Array | None, top: int, left: int, out: Array,
           epilogue: Epilogue) -> list[Callable[[], None]]:
    """im2col.correlate with stride 1, cut into groups of tiles, or of output channels if one group has all tiles.

    x (N, H, W, C), W (O, 3, 3, C), out (N, oh, ow, O). taps: transformed(W), where it is kept; else None.
    """
    (O, _, _, C), (N, oh, ow, _) = W.shape, out.shape
    th, tw = -(-oh // M), -(-ow // M)
    if taps is None and N * th * tw <= most(max(C, O), x.dtype):
        return _pieces_by_channels(x, W, top, left, (th, tw), out, epilogue)
    kept = transformed(W) if taps is None else taps

    def group(images: slice, rows: slice) -> None:
        grid = rows.stop - rows.start, tw
        V = _rows("V", T * T, (images.stop - images.start) * math.prod(grid) * C, x.dtype)
        _transform(x[images], top - M * rows.start, left, grid, V)
        _finish(V, kept, grid, out[images, M * rows.start:M * rows.stop], epilogue)
    return [functools.partial(group, *part) for part in tiles(N, th, tw, most(max(C, O), x.dtype))]


def _pieces_by_channels(x: Array, W: Array, top: int, left: int, grid: tuple[int, int], out: Array,
                        epilogue: Epilogue) -> list[Callable[[], None]]:
    """The windows are transformed at once, here, the weights as they are needed: all of them are more than the cache
    holds, and than the windows are."""
    (O, _, _, C), G = W.shape, matrices()[1]
    V = _apart(np.empty((T * T, len(x) * math.prod(grid) * C + APART), x.dtype))
    _transform(x, top, left, grid, V)

    def some(channels: slice) -> None:
        of_pixels = _of_pixels(W[channels])
        taps = np.matmul(G, of_pixels, out=_rows("taps", T * T, of_pixels.shape[1], W.dtype))
        _finish(V, taps.reshape(T * T, C, -1), grid, out[..., channels], epilogue.of(channels))
    return [functools.partial(some, channels) for channels in blocks(O, CHANNELS)]


def _finish(V: Array, taps: Array, grid: tuple[int, int], out: Array, epilogue: Epilogue) -> None:
    """Multiply transformed windows V (t*t, n * th * tw * C) by weights (t*t, C, O), and transform back to out
    (n, oh, ow, O)."""
    (_, C, O), count = taps.shape, len(out) * math.prod(grid)
    products = _rows("products", T * T, count * O, V.dtype)
    np.matmul(V.reshape(T * T, count, C), taps, out=products.reshape(T * T, count, O))
    y = np.matmul(matrices()[0], products, out=scratch("windows", (M * M, count * O), V.dtype))
    epilogue(y.reshape(-1, O))
    y = y.reshape(M, M, len(out), *grid, O)
    for i in range(M):
        for j in range(M):
            to = out[:, i::M, j::M]
            to[...] = y[i, j, :, :to.shape[1], :to.shape[2]]


def most(channels: int, dtype: Any) -> int:
    """Tiles of a group."""
    return min(MOST, TILE_BYTES // (T * T * channels * dtype.itemsize))


def correlate_weights(x: Array, gy: Array, top: int, left: int) -> Array:
    """im2col.correlate_weights with stride 1: the weight gradient (O, 3, 3, C)."""
    (N, oh, ow, O), C = gy.shape, x.shape[3]
    grid = -(-oh // M), -(-ow // M)
    of_image, G = math.prod(grid), matrices()[1]
    group = min(N, max(1, GROUP_BYTES // (T * T * of_image * (C + O) * x.dtype.itemsize)))
    V, Z = (_apart(np.empty((T * T, group * of_image * n + APART), x.dtype)) for n in (C, O))
    gW = np.empty((O, R, R, C), x.dtype)

    def back(channels: slice, total: Array) -> None:
        """total (t*t, channels, C): their transformed weight gradient."""
        found = G.T @ total.reshape(T * T, -1)
        gW[channels] = found.reshape(R, R, -1, C).transpose(2, 0, 1, 3)

    if N * of_image <= most(max(C, O), x.dtype):  # as `pieces`
        _transform_both(x, gy, top, left, grid, V, Z)

        def some(channels: slice) -> None:
            total = _rows("products", T * T, (channels.stop - channels.start) * C, x.dtype).reshape(T * T, -1, C)
            np.matmul(Z.reshape(T * T, -1, O)[:, :, channels].transpose(0, 2, 1), V.reshape(T * T, -1, C), out=total)
            back(channels, total)
        parallel(some, blocks(O, CHANNELS))
        return gW

    total = np.zeros((T * T, O, C), x.dtype)
    for images in blocks(N, group):
        count = (images.stop - images.start) * of_image
        V_part, Z_part = V[:, :count * C], Z[:, :count * O]
        _transform_both(x[images], gy[images], top, left, grid, V_part, Z_part)

        def multiply(points: slice, V: Array = V_part, Z: Array = Z_part) -> None:
            for i in range(points.start, points.stop):
                total[i] += np.matmul(Z[i].reshape(-1, O).T, V[i].reshape(-1, C),
                                      out=scratch("product", (O, C), total.dtype))
        parallel(multiply, blocks(T * T, T))
    back(slice(None), total)
    return gW


def _transform_both(x: Array, gy: Array, top: int, left: int, grid: tuple[int, int], V: Array, Z: Array) -> None:
    """_transform and _transform_gradient of some images at a time, shared out over the threads."""
    C, O, of_image = x.shape[3], gy.shape[3], math.prod(grid)

    def some(images: slice) -> None:
        tiles = slice(images.start * of_image, images.stop * of_image)
        _transform(x[images], top, left, grid, V[:, tiles.start * C:tiles.stop * C])
        _transform_gradient(gy[images], grid, Z[:, tiles.start * O:tiles.stop * O])
    parallel(some, blocks(len(x), most(max(C, O), x.dtype) // of_image))


def _transform(x: Array, top: int, left: int, tiles: tuple[int, int], V: Array) -> None:
    """V (t*t, N * th * tw * C) = B applied to the t x t windows of x at every m-th pixel from (-top, -left) on."""
    (N, H, W, C), (th, tw) = x.shape, tiles
    d = _rows("windows", T * T, V.shape[1], x.dtype)
    height, width = M * th + R - 1, M * tw + R - 1
    if top or left or height > H or width > W:
        x = framed(x, top, left, height, width)
    (sn, sy, sx, sc), shape = x.strides, (T, T, N, th, tw, C)
    np.copyto(d.reshape(shape), np.lib.stride_tricks.as_strided(
        x, shape, (sy, sx, sn, M * sy, M * sx, sc), writeable=False))
    np.matmul(matrices()[2], d, out=V)


def _transform_gradient(gy: Array, tiles: tuple[int, int], Z: Array) -> None:
    """Z (t*t, N * th * tw * O) = the transpose of A applied to the m x m tiles of gy."""
    (N, oh, ow, O), (th, tw) = gy.shape, tiles
    if (oh, ow) != (M * th, M * tw):
        gy = framed(gy, 0, 0, M * th, M * tw)
    (sn, sy, sx, sc), shape = gy.strides, (M, M, N, th, tw, O)
    g = _rows("windows", M * M, Z.shape[1], gy.dtype)
    np.copyto(g.reshape(shape), np.lib.stride_tricks.as_strided(
        gy, shape, (sy, sx, sn, M * sy, M * sx, sc), writeable=False))
    np.matmul(matrices()[0].T, g, out=Z)


def _rows(name: str, rows: int, length: int, dtype: Any) -> Array:
    """A work matrix (rows, length) as `_apart` has it."""
    return _apart(scratch(name, (rows, length + APART), dtype))


def _apart(room: Array) -> Array:
    """A matrix whose rows have APART numbers between them: from row to row there would be a power of two of bytes, all
    rows would compete for the same few places of the cache, and these products take 1.5 to 2 times as long."""
    return room[:, :-APART]
