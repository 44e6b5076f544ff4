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
from collections.abc import Callable
from typing import Any

import numpy as np

from minigan.engine.devices import Array
from minigan.engine.loops.windows import framed
from minigan.engine.products import turned
from minigan.engine.thread_pool import BLOCK, FEW, blocks, parallel, scratch, tiles

M, R = 4, 3  # outputs per tile and axis; taps
T = M + R - 1  # pixels of a window, and points
POINTS = (0.0, -1.0, 1.0, -0.5, 2.0)  # and infinity; small numbers keep the rounding small
MANY = 48  # tiles; fewer do not make up for the transform of the weights, which are read and written four times over
WIDE = 64  # channels; with fewer, the products are thin and the transforms are most of the work
TILE_BYTES = 5 << 20  # transformed windows of a group of tiles, per thread: 64 of 512 channels
MOST = 144  # tiles of a group; with more, little is won by reading the weights once for all, and the cache is left
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
    """G applied to W (O, 3, 3, C): (t*t, C, O) in memory, what `pieces` multiplies by."""
    O, _, _, C = W.shape
    if W.strides[0] < W.strides[3]:  # a view of (3, 3, C, O)
        return _transform_weights(W.transpose(1, 2, 3, 0).reshape(R * R, C * O)).reshape(T * T, C, O)
    return _transform_weights(turned(W.reshape(O, R * R * C)).reshape(R * R, C * O)).reshape(T * T, C, O)


def _transform_weights(taps: Array) -> Array:
    """G @ taps (r*r, n), shared out over the threads."""
    out = _apart(np.empty((T * T, taps.shape[1] + APART), taps.dtype))
    G = matrices()[1]
    parallel(lambda part: np.matmul(G, taps[:, part], out=out[:, part]), blocks(taps.shape[1], BLOCK), least=FEW)
    return out


def pieces(x: Array, taps: Array, top: int, left: int, out: Array,
           epilogue: Callable[[Array], Any]) -> list[Callable[[], None]]:
    """im2col.correlate with stride 1, cut into groups of tiles. x (N, H, W, C), out (N, oh, ow, O).

    taps: the transformed weights.
    """
    (_, C, O), (N, oh, ow, _) = taps.shape, out.shape
    A = matrices()[0]
    th, tw = -(-oh // M), -(-ow // M)

    def group(images: slice, rows: slice) -> None:
        n, height = images.stop - images.start, rows.stop - rows.start
        count = n * height * tw
        V = _rows("V", T * T, count * C, x.dtype)
        _transform(x[images], top - M * rows.start, left, (height, tw), V)
        products = _rows("products", T * T, count * O, x.dtype)
        np.matmul(V.reshape(T * T, count, C), taps, out=products.reshape(T * T, count, O))
        y = np.matmul(A, products, out=scratch("windows", (M * M, count * O), x.dtype))
        epilogue(y.reshape(-1, O))
        y = y.reshape(M, M, n, height, tw, O)
        target = out[images, M * rows.start:M * rows.stop]
        for i in range(M):
            for j in range(M):
                to = target[:, i::M, j::M]
                to[...] = y[i, j, :, :to.shape[1], :to.shape[2]]

    return [functools.partial(group, *part)
            for part in tiles(N, th, tw, most(max(C, O), x.dtype))]


def most(channels: int, dtype: Any) -> int:
    """Tiles of a group."""
    return min(MOST, TILE_BYTES // (T * T * channels * dtype.itemsize))


def correlate_weights(x: Array, gy: Array, top: int, left: int) -> Array:
    """im2col.correlate_weights with stride 1: the weight gradient (O, 3, 3, C)."""
    (N, oh, ow, O), C = gy.shape, x.shape[3]
    G = matrices()[1]
    th, tw = -(-oh // M), -(-ow // M)
    total = np.zeros((T * T, O, C), x.dtype)
    group = max(1, GROUP_BYTES // (T * T * th * tw * (C + O) * x.dtype.itemsize))
    step = max(1, most(max(C, O), x.dtype) // (th * tw))
    V_all, Z_all = (_apart(np.empty((T * T, min(group, N) * th * tw * n + APART), x.dtype)) for n in (C, O))

    for first in range(0, N, group):
        count = min(group, N - first)
        tiles = count * th * tw
        _accumulate(total, x[first:first + count], gy[first:first + count], top, left, (th, tw),
                    V_all[:, :tiles * C], Z_all[:, :tiles * O], step)
    gW = G.T @ total.reshape(T * T, O * C)
    return np.ascontiguousarray(gW.reshape(R, R, O, C).transpose(2, 0, 1, 3))


def _accumulate(total: Array, x: Array, gy: Array, top: int, left: int, grid: tuple[int, int], V: Array, Z: Array,
                step: int) -> None:
    """Add a group of images to the transformed weight gradient; V and Z are room for their transforms."""
    (_, O, C), count = total.shape, len(x)
    of_image = grid[0] * grid[1]

    def transform(n: int) -> None:
        stop = min(n + step, count)
        _transform(x[n:stop], top, left, grid, V[:, n * of_image * C:stop * of_image * C])
        _transform_gradient(gy[n:stop], grid, Z[:, n * of_image * O:stop * of_image * O])

    def multiply(points: slice) -> None:
        for i in range(points.start, points.stop):
            total[i] += np.matmul(Z[i].reshape(-1, O).T, V[i].reshape(-1, C),
                                  out=scratch("product", (O, C), total.dtype))

    parallel(transform, range(0, count, step))
    parallel(multiply, blocks(T * T, T))


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
