"""Every launcher, a twin in NumPy, and inputs for both: the one table that the tests of kernels and loops read.

A twin is the launcher's definition in minigan/engine/loops/, or written apart from it where that says more. It gets
the launcher's arguments as float64 NumPy arrays and returns what the launcher returns. Sizes are odd on purpose: one
row, one column, no multiple of a block or of 4, more layers than a table holds.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine.devices import BF16, FLOAT32
from minigan.engine.loops import (
    activation,
    adam,
    batch_norm,
    conditional_norm,
    conv,
    losses,
    operator_norm,
    power_iteration,
    resample,
    rounding,
    sample_norms,
    spectral_norm,
    spread,
    sums,
    windows,
)


@dataclass(frozen=True)
class Case:
    """A launcher, its twin, inputs(rng) -> argument tuples with float32 NumPy arrays, and the tolerance.

    rtol is relative to the largest number of a result: float32 has 6e-8, and sums here have up to some thousand terms.
    """

    launcher: Callable
    twin: Callable
    inputs: Callable[[np.random.Generator], Iterator[tuple]]
    rtol: float = 3e-6
    in_place: tuple[int, ...] = ()  # the arguments that are changed
    on_gpu: bool = False  # of arrays that are in bfloat16 on a GPU alone

    @property
    def name(self) -> str:
        return self.launcher.__name__.removeprefix("launch_")

    @property
    def definition(self) -> Callable:
        """The function of the launcher's file that the package calls."""
        return getattr(sys.modules[self.launcher.__module__], self.name)


def in_dtype(dtype: Any) -> Callable[[Any], Any]:
    """For `mapped`: an array in another dtype, but bits and labels as they are."""
    return lambda a: a if a.dtype in (np.uint16, np.int64) else a.astype(dtype)


def mapped(function: Callable, tree: Any) -> Any:
    """The tree of tuples and lists with function(array) for each array."""
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, part) for part in tree)
    return function(tree) if hasattr(tree, "dtype") else tree


def leaves(tree: Any) -> list[Any]:
    """What stands in the tuples and lists."""
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple | list) else [tree]


# ---- spectral normalization ----------------------------------------------------------------------------------------

MATRICES = [(1, 1), (1, 5), (5, 1), (3, 8), (33, 70), (130, 36), (16, 257), (70, 132), (2, 520), (260, 3)]


def matrices(rng: np.random.Generator) -> Iterator[tuple[list, list]]:
    """(Ws, us): some of all kinds, among them a zero matrix; one; more than a table holds."""
    for shapes in (MATRICES, [(40, 33)], [(1 + l % 3, 2 + l % 5) for l in range(37)]):
        Ws = [normal(rng, shape) for shape in shapes]
        if len(Ws) > 1:
            Ws[3][:] = 0
        yield Ws, [normal(rng, shape[:1]) for shape in shapes]


def iterations_inputs(rng):
    for Ws, us in matrices(rng):
        for n_iter in (1, 3):
            yield Ws, us, n_iter, 1e-12
    yield [normal(rng, (6, 20)) * np.float32(1e-3)], [normal(rng, (6,))], 1, 0.5  # an eps that can be seen


def kept_inputs(rng):
    for Ws, us in matrices(rng):
        yield Ws, us, 2, 1e-12, True


def iterations_twin(Ws, us, n_iter, eps, keep=False):
    triples = [power_iteration.power_iteration(W, u, n_iter, eps) for W, u in zip(Ws, us, strict=True)]
    new, vs, sigmas = ([triple[k] for triple in triples] for k in range(3))
    for u, u_new in zip(us, new, strict=True):
        if keep:
            u[...] = u_new
    return new, vs, np.array(sigmas), np.array([1 / s if s else 0 for s in sigmas])


def through_inputs(rng):
    for Ws, us in matrices(rng):
        sigmas = np.array([0 if not W.any() else 0.5 + i % 7 for i, W in enumerate(Ws)], np.float32)
        for keep in (False, True):
            new = [u + np.float32(0.3) * normal(rng, u.shape) for u in us]  # u . u_old is not near 0
            yield Ws, us, new, [normal(rng, W.shape[1:]) for W in Ws], sigmas, keep


def through_twin(Ws, us_old, us, vs, sigmas, keep):
    lengths = [sigma * np.sum(old * u) for sigma, old, u in zip(sigmas, us_old, us, strict=True)]
    ws = [(W.T @ u - sigma * v) / length if length else np.zeros_like(v)
          for W, u, v, sigma, length in zip(Ws, us, vs, sigmas, lengths, strict=True)]
    copies = [u.copy() for u in us_old]
    for old, u in zip(us_old, us, strict=True):
        old[...] = u if keep else old
    return copies, ws


def one_inputs(rng):
    for shape in MATRICES:
        yield normal(rng, shape), normal(rng, shape[:1]), 2, 1e-12
    yield normal(rng, (6, 20)) * np.float32(1e-3), normal(rng, (6,)), 1, 0.5
    yield np.zeros((3, 4), np.float32), normal(rng, (3,)), 1, 1e-12


def gradients_inputs(rng):
    for Ws, us in matrices(rng):
        sigmas = np.array([0 if not W.any() else 0.5 + i % 7 for i, W in enumerate(Ws)], np.float32)
        pairs = [(u, normal(rng, W.shape[1:])) for u, W in zip(us, Ws, strict=True)]
        given = [normal(rng, W.shape) for W in Ws], Ws, pairs
        yield *given, [None] * len(Ws), sigmas
        in_pairs = [None if i % 3 == 1 else other_pair(rng, W) for i, W in enumerate(Ws)]
        scales = [0.5 + i % 4 for i in range(len(Ws))]
        yield *given, in_pairs, sigmas, normal(rng, sigmas.shape), scales
        yield *given, in_pairs, sigmas, None, scales
        yield *given, in_pairs, sigmas, normal(rng, sigmas.shape)
        more = [(normal(rng, u.shape), normal(rng, v.shape)) for u, v in pairs]
        in_more = [pair and (normal(rng, pair[0].shape), normal(rng, pair[1].shape)) for pair in in_pairs]
        yield *given, in_pairs, sigmas, normal(rng, sigmas.shape), scales, more, in_more
        yield *given, [None] * len(Ws), sigmas, None, None, more, [None] * len(Ws)


def other_pair(rng, W):
    """For a matrix (in, out kh kw): its `in` divides that of (out, kh kw in)."""
    inner = next(n for n in (4, 3, 2, 5, 1) if W.shape[1] % n == 0)
    return normal(rng, (inner,)), normal(rng, (W.size // inner,))


def gradients_twin(gWs, Ws, pairs, in_pairs, sigmas, inverses=None, scales=None, through=(), in_through=()):
    """A layer after the other, S as the pairs are defined."""
    dWs, dgammas = [], []
    for i, (G, W) in enumerate(zip(gWs, Ws, strict=True)):
        one = 1 / sigmas[i] if sigmas[i] else 0.0
        S, across = (sum(np.outer(*pairs[i]) for pairs in its if pairs and pairs[i] is not None)
                     for its in ((pairs, through), (in_pairs, in_through)))
        if in_pairs[i]:
            inner = len(across)  # (in, out kh kw) -> (out, kh kw in)
            S = (S + np.moveaxis(across.reshape(inner, len(W), -1), 0, 2).reshape(W.shape)) / 2
        slant = np.sum(G * W) * one
        dWs.append((G - slant * S) * (one if inverses is None else inverses[i]))
        dgammas.append(slant * (1 if scales is None else scales[i]))
    return dWs, None if scales is None else np.array(dgammas)


def factors_inputs(rng):
    for count in (1, 3, 32, 37, 70):
        second = [0] * count
        for k, i in enumerate(range(0, count, 2)):
            second[i] = count + k
        of_matrices = np.abs(normal(rng, (max(*second, count - 1) + 1,)))
        of_matrices[[0, second[0]]] = 0
        of_matrices[-1] += 1
        scales = [0.5 + i % 5 for i in range(count)]
        gammas = [None if i % 3 == 2 else normal(rng, (1,)) for i in range(count)]
        yield of_matrices, second, scales, gammas
        yield of_matrices, [0] * count, scales, gammas


def factors_twin(of_matrices, second, scales, gammas):
    sigmas = np.array([np.mean([of_matrices[i], of_matrices[k]] if k else of_matrices[i])
                       for i, k in enumerate(second)])
    wanted = np.array([scale if gamma is None else scale * gamma[0]
                       for scale, gamma in zip(scales, gammas, strict=True)])
    return sigmas, np.divide(wanted, sigmas, out=np.zeros_like(sigmas), where=sigmas != 0)


def transposes_inputs(rng):
    for Ws, _ in matrices(rng):
        yield Ws,
    yield [normal(rng, (64, 64)), normal(rng, (0, 3)), normal(rng, (65, 31))],
    yield [],


def scale_inputs(rng):
    for Ws, _ in matrices(rng):
        yield Ws, normal(rng, (len(Ws),))
    yield [], normal(rng, (0,))
    yield [normal(rng, (3, 2, 2, 5)), normal(rng, (7,)), normal(rng, (0, 4))], normal(rng, (3,))


IMAGES = [((1, 3, 5, 7), (1, 2, 2, 2)), ((1, 1), (1, 5)), ((1, 16, 16, 9), (1, 33, 2, 3)), ((1, 40), (1, 300)),
          ((1, 257), (1, 4097)), ((1, 10, 10, 93), (1, 255)), ((1, 4096), (1, 1))]


def operators(rng: np.random.Generator) -> Iterator[tuple[list, list]]:
    """(raws, backs) whose norms are about 1: some of all sizes, one of them 0; one; more than a table holds."""
    for shapes in (IMAGES, IMAGES[5:6], [((1, 1 + l % 3), (1, 2 + l % 5)) for l in range(37)]):
        raws, backs = ([normal(rng, shape) * np.float32((1 + rng.random()) / np.prod(shape) ** 0.5)
                        for shape in side] for side in zip(*shapes, strict=True))
        if len(raws) > 1:
            raws[3][:] = backs[3][:] = 0
        yield raws, backs


def operator_norms_inputs(rng):
    for raws, backs in operators(rng):
        yield raws, backs, 1e-12, 1.0
        yield raws, backs, 0.25, 1.75  # an eps that can be seen
    yield [np.zeros((1, 2), np.float32)], [np.zeros((1, 3), np.float32)], 0.0, 1.0


def operator_norms_twin(raws, backs, eps, scale):
    """Of vectors that are normalized on the way, as OperatorNorm does it."""
    found = []
    for raw, back in zip(raws, backs, strict=True):
        length = np.sqrt((raw ** 2).sum()) + eps
        after = np.sqrt(((back / length) ** 2).sum()) if length else 0.0
        v = back / length / (after + eps) if after else 0 * back
        sigma = v.ravel() @ (back / length).ravel() if after else 0.0
        square = (back ** 2).sum()
        found.append((square, scale / sigma, v.ravel()[0] / back.ravel()[0]) if square else (0.0, 0.0, 0.0))
    return tuple(np.array(numbers) for numbers in zip(*found, strict=True))


def scaled_vectors_inputs(rng):
    for _, backs in operators(rng):
        yield backs, normal(rng, (len(backs),)), [normal(rng, back.shape) for back in backs]
    yield [normal(rng, (0, 4)), normal(rng, (3,))], normal(rng, (2,)), [normal(rng, (0, 4)), normal(rng, (3,))]


def scaled_vectors_twin(backs, factors, vs):
    for back, factor, v in zip(backs, factors, vs, strict=True):
        v[...] = factor * back
    return vs


def operator_gradients_inputs(rng):
    for Ws, _ in matrices(rng):
        squares = np.array([0 if not W.any() else 0.5 + i % 7 for i, W in enumerate(Ws)], np.float32)
        inverses = np.array([s and 1 + i % 3 for i, s in enumerate(squares)], np.float32)
        yield [normal(rng, W.shape) for W in Ws], Ws, [normal(rng, W.shape) for W in Ws], squares, inverses
    yield *([normal(rng, (3, 2, 2, 5)), normal(rng, (7, 3, 3, 70))] for _ in range(3)), *np.ones((2, 2), np.float32)


def operator_gradients_twin(gWs, Ws, slopes, squares, inverses):
    return [inverse * (gW - np.sum(gW * W) / (square or 1) * slope) * bool(square)
            for gW, W, slope, square, inverse in zip(gWs, Ws, slopes, squares, inverses, strict=True)]


# ---- windows -------------------------------------------------------------------------------------------------------

GEOMETRY = [  # x, kernel, stride, (top, left), (oh, ow)
    ((2, 5, 7, 3), (3, 3), 1, (1, 1), (5, 7)),
    ((1, 6, 6, 8), (4, 4), 2, (1, 1), (3, 3)),
    ((3, 5, 4, 4), (2, 3), 3, (0, 2), (2, 2)),
    ((2, 6, 5, 2), (3, 2), 1, (-1, -2), (3, 2)),
    ((1, 3, 3, 1), (1, 1), 1, (0, 0), (3, 3)),
    ((1, 4, 4, 4), (1, 1), 3, (-1, 0), (1, 2)),
    ((2, 2, 3, 5), (5, 5), 2, (4, 3), (3, 4)),  # whole windows outside
    ((1, 9, 8, 36), (3, 3), 1, (1, 1), (9, 8)),
    ((2, 2, 2, 4), (2, 2), 1, (0, 0), (0, 1)),  # no window at all
]


def taps(x_shape, kernel, stride, pad, size):
    """(window row i, column j, dy, dx, y, x) of every tap that meets a pixel."""
    for i, j, dy, dx in np.ndindex(*size, *kernel):
        y, x = i * stride + dy - pad[0], j * stride + dx - pad[1]
        if 0 <= y < x_shape[1] and 0 <= x < x_shape[2]:
            yield i, j, dy, dx, y, x


def im2col_inputs(rng):
    for shape, *how in GEOMETRY:
        yield normal(rng, shape), *how


def im2col_twin(x, kernel, stride, pad, size):
    columns = np.zeros((len(x), *size, *kernel, x.shape[3]))
    for i, j, dy, dx, y, px in taps(x.shape, kernel, stride, pad, size):
        columns[:, i, j, dy, dx] = x[:, y, px]
    return columns.reshape(-1, kernel[0] * kernel[1] * x.shape[3])


def im2col_bf16_twin(x, kernel, stride, pad, size):
    return bf16_twin(im2col_twin(x, kernel, stride, pad, size))[0]


def im2col_bf16_inputs(rng):
    for x, *how in im2col_inputs(rng):
        yield x, *how
        yield bf16_twin(x)[0], *how
    x = np.array([np.inf, np.nan, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -np.inf, 3.4e38, 0, -1], np.float32).reshape(1, 1, 1, 8)
    yield x, (1, 1), 1, (0, 0), (1, 1)


def col2im_bf16_inputs(rng):
    for columns, *how in col2im_inputs(rng):
        yield bf16_twin(columns)[0], *how


def col2im_to_bf16_inputs(rng):
    for columns, x_shape, *how in col2im_bf16_inputs(rng):
        scale, bias, slope = how[4:] or (None, None, 1.0)
        yield columns, x_shape, *how[:4], scale, bias, slope, np.zeros(x_shape, BF16)


def col2im_to_bf16_twin(columns, x_shape, kernel, stride, pad, size, scale, bias, slope, out):
    rounded = bf16_twin(col2im_twin(columns, x_shape, kernel, stride, pad, size, scale, bias, slope))[0]
    out[...] = rounded
    return rounded


def col2im_inputs(rng):
    for k, (shape, kernel, stride, pad, size) in enumerate(GEOMETRY):
        columns = normal(rng, (shape[0] * size[0] * size[1], kernel[0] * kernel[1] * shape[3]))
        scale, bias = normal(rng, (1,)), normal(rng, shape[3:])
        yield columns, shape, kernel, stride, pad, size
        yield (columns, shape, kernel, stride, pad, size, scale if k % 2 else None, bias if k % 3 else None,
               (0.0, 0.1, 1.0)[k % 3])
    yield SPECIAL, (1, 1, 1, 4), (1, 1), 1, (0, 0), (1, 1), None, None, 0.0


def col2im_twin(columns, x_shape, kernel, stride, pad, size, scale=None, bias=None, slope=1.0):
    x, columns = np.zeros(x_shape), columns.reshape(x_shape[0], *size, *kernel, x_shape[3])
    for i, j, dy, dx, y, px in taps(x_shape, kernel, stride, pad, size):
        x[:, y, px] += columns[:, i, j, dy, dx]
    return activation.leaky(x * (1 if scale is None else scale[0]) + (0 if bias is None else bias), slope)


# ---- convolutions --------------------------------------------------------------------------------------------------

CONVOLUTIONS = [  # x, O, kernel, stride, (top, left), (oh, ow), (rows, columns, parts)
    ((2, 6, 5, 8), 20, (3, 3), 1, (1, 1), (6, 5), (64, 64, 1)),
    ((2, 6, 5, 3), 5, (4, 4), 2, (1, 1), (3, 2), (64, 64, 1)),
    ((1, 6, 5, 36), 70, (3, 2), 1, (1, 0), (6, 4), (64, 128, 3)),
    ((3, 7, 9, 4), 8, (4, 4), 2, (1, 1), (3, 4), (64, 64, 2)),
    ((2, 5, 6, 5), 4, (2, 2), 3, (0, 1), (2, 2), (64, 64, 4)),  # taps are fewer than the stride; parts than asked for
    ((5, 4, 4, 12), 7, (4, 4), 1, (0, 0), (1, 1), (64, 64, 2)),  # one pixel
    ((2, 9, 9, 4), 68, (1, 1), 1, (0, 0), (9, 9), (64, 64, 1)),  # more than a tile each way
    ((1, 3, 2, 132), 4, (3, 3), 2, (1, 1), (2, 1), (64, 64, 1)),
    ((2, 1, 1, 4), 3, (3, 3), 2, (1, 1), (1, 1), (64, 64, 1)),  # phases without a pixel
    ((1, 11, 3, 33), 33, (1, 1), 1, (0, 0), (11, 3), (64, 64, 1)),  # a step of one
    ((3, 7, 7, 16), 3, (3, 3), 1, (1, 1), (7, 7), (128, 32, 2)),
    ((2, 5, 4, 5), 36, (3, 3), 2, (1, 1), (3, 2), (128, 64, 1)),
    ((1, 8, 8, 33), 34, (2, 2), 1, (0, 1), (7, 9), (128, 128, 1)),
    ((2, 4, 4, 8), 3, (4, 4), 2, (1, 1), (2, 2), (32, 128, 1)),
    ((1, 4, 3, 64), 70, (3, 3), 1, (1, 1), (4, 3), (64, 64, 18)),  # so many parts that they are added in two groups
    ((1, 4, 6, 4), 20, (4, 4), 2, (1, 1), (2, 3), (64, 64, 2)),  # parts of each phase
    ((1, 24, 23, 4), 5, (2, 2), 1, (1, 1), (24, 23), (64, 64, 17)),  # of two groups the second has one part
    ((2, 5, 5, 10), 14, (3, 3), 1, (1, 1), (5, 5), (64, 64, 1)),  # channels that are multiples of 2 alone
    ((1, 5, 4, 24), 16, (3, 3), 2, (1, 1), (3, 2), (64, 64, 2)),
    ((1, 4, 4, 70), 68, (2, 2), 1, (0, 1), (3, 5), (64, 64, 1)),  # more than a tile of channels each way, with bias
]


def rounded_to_tf32(x):
    """To 11 digits in base 2, of two equally near numbers the larger in size; as loops.rounding.tf32, apart from it."""
    digits, exponent = np.frexp(x)
    return np.ldexp(np.copysign(np.floor(np.abs(digits) * 2 ** 11 + 0.5), x), exponent - 11)


def rounded_to_bf16(x):
    """To 8 digits in base 2, of two equally near numbers the even one; as loops.rounding.bf16, apart from it."""
    digits, exponent = np.frexp(x)
    return np.ldexp(np.round(digits * 2 ** 8), exponent - 8)


def bf16_inputs(rng):
    odd = np.array([1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -8, np.inf, -np.inf, np.nan, 0.0, 3e38, 3.4e38], np.float32)
    for shapes in (((3, 5), (4, 4)), ((1,), (7,)), ((2, 256), (512,)), ((2, 300), (1, 1)), ((0, 4), (4, 9)),
                   ((5, 1), (1, 0)), ((1, 1),), ((3, 1367), (2, 2048), (1,)), [(1 + p % 4,) for p in range(70)]):
        yield tuple(normal(rng, shape) for shape in shapes)
    yield odd,
    yield odd, NANS


def bf16_twin(*arrays):
    """The upper halves of float32's bits."""
    with np.errstate(over="ignore"):
        return [np.where(np.isnan(a), 0x7fff, rounded_to_bf16(a).astype(np.float32).view(np.uint32) >> 16)
                .astype(np.uint16).view(BF16) for a in arrays]


ROUNDINGS = {"tf32": rounded_to_tf32, "bf16": rounded_to_bf16}


def convolutions(rng):
    """(x, W, gy, scale, stride, pad, size, way) of every one; some numbers lie between two that can be held."""
    for k, (x_shape, O, kernel, stride, pad, size, way) in enumerate(CONVOLUTIONS):
        x, W = normal(rng, x_shape), normal(rng, (O, *kernel, x_shape[3]))
        W[0] = np.float32(1 + (2 ** -11 if k % 2 else 2 ** -8))
        yield x, W, normal(rng, (len(x), *size, O)), normal(rng, (1,)), stride, pad, size, conv.Way(*way)


def halves(k: int, way: conv.Way) -> list[tuple[np.dtype, np.dtype, np.dtype | None]]:
    """Dtypes of a convolution's two factors and its result, twice: of the usual tile in turn, of others one choice."""
    every: list[Any] = list(itertools.product((BF16, FLOAT32), repeat=3))
    every[-1] = FLOAT32, FLOAT32, None  # by default
    return [every[i % 8] for i in ((3 * k, 3 * k + 1) if (way.rows, way.columns) == (64, 64) else (1, 2))]


def conv_inputs(rng):
    for k, (x, W, _, scale, stride, pad, size, way) in enumerate(convolutions(rng)):
        yield x, W, stride, pad, size, None, None, 1.0, None, None, way, "tf32"
        end = scale if k % 2 else None, normal(rng, W.shape[:1]) if k % 3 else None, (0.0, 0.1, 1.0)[k % 3]
        yield x, W, stride, pad, size, *end, None, None, way, "bf16"
        for a, b, dtype in halves(k, way):
            yield x.astype(a), W.astype(b), stride, pad, size, *end, None, dtype, way, "bf16"
    x, W, _, _, _, _, _, way = next(convolutions(rng))
    for precision in ROUNDINGS:
        yield x, W, 1, (-1, -2), (3, 2), None, None, 1.0, None, None, way, precision
    infinite, minus = np.full((1, 1, 1, 4), np.inf, np.float32), np.full((3, 1, 1, 4), -1, np.float32)
    yield infinite, minus, 1, (0, 0), (1, 1), None, None, 0.0, None, None, way, "tf32"
    yield infinite.astype(BF16), minus.astype(BF16), 1, (0, 0), (1, 1), None, None, 0.5, None, BF16, way, "bf16"


def conv_twin(x, W, stride, pad, size, scale, bias, slope, out, dtype, way, precision):
    y, (x, W) = np.zeros((len(x), *size, len(W))), map(ROUNDINGS[precision], (x, W))
    for i, j, dy, dx, yy, xx in taps(x.shape, W.shape[1:3], stride, pad, size):
        y[:, i, j] += x[:, yy, xx] @ W[:, dy, dx].T
    return activation.leaky(y * (1 if scale is None else scale[0]) + (0 if bias is None else bias), slope).astype(dtype)


def conv_transposed_inputs(rng):
    for k, (x, W, gy, scale, stride, pad, _, way) in enumerate(convolutions(rng)):
        yield gy, W, stride, pad, x.shape[1:3], None, None, 1.0, None, None, way, "bf16"
        end = scale if k % 2 else None, normal(rng, x.shape[3:]) if k % 3 else None, (0.0, 0.1, 1.0)[k % 3]
        yield gy, W, stride, pad, x.shape[1:3], *end, None, None, way, "tf32"
        for a, b, dtype in halves(k, way):
            yield gy.astype(a), W.astype(b), stride, pad, x.shape[1:3], *end, None, dtype, way, "bf16"


def conv_transposed_twin(gy, W, stride, pad, size, scale, bias, slope, out, dtype, way, precision):
    x, (gy, W) = np.zeros((len(gy), *size, W.shape[3])), map(ROUNDINGS[precision], (gy, W))
    for i, j, dy, dx, yy, xx in taps(x.shape, W.shape[1:3], stride, pad, gy.shape[1:3]):
        x[:, yy, xx] += gy[:, i, j] @ W[:, dy, dx]
    return activation.leaky(x * (1 if scale is None else scale[0]) + (0 if bias is None else bias), slope).astype(dtype)


def conv_weights_inputs(rng):
    for k, (x, W, gy, _, stride, pad, _, way) in enumerate(convolutions(rng)):
        yield x, gy, W.shape[1:3], stride, pad, way, ("tf32", "bf16")[k % 2]
        for a, b, dtype in halves(k, way):
            if dtype != BF16:
                yield x.astype(b), gy.astype(a), W.shape[1:3], stride, pad, way, "bf16"
    x, W, gy, _, _, _, _, way = next(convolutions(rng))
    for precision in ROUNDINGS:
        yield x, gy[:, :3, :2].copy(), (3, 3), 1, (-1, -2), way, precision


def conv_weights_twin(x, gy, kernel, stride, pad, way, precision):
    W, (x, gy) = np.zeros((gy.shape[3], *kernel, x.shape[3])), map(ROUNDINGS[precision], (x, gy))
    for i, j, dy, dx, yy, xx in taps(x.shape, kernel, stride, pad, gy.shape[1:3]):
        W[:, dy, dx] += gy[:, i, j].T @ x[:, yy, xx]
    return W


# ---- channels ------------------------------------------------------------------------------------------------------

# 600 rows of 17: nine blocks of rows, whose parts are added up by threads of which one takes a second part
SHAPES = [(1, 1), (1, 7), (300, 1), (5, 3, 4, 40), (301, 33), (1100, 3), (2, 64), (600, 17)]
NANS = np.array([0x7fffffff, 0xffffffff], np.uint32).view(np.float32)  # the first is what a GPU makes of inf - inf
SPECIAL = np.array([[np.inf, -np.inf, np.nan, 0.0]], np.float32)


def bias_leaky_inputs(rng):
    for shape in SHAPES:
        y, bias, scale = normal(rng, shape), normal(rng, shape[-1:]), normal(rng, (1,))
        yield from ((y, bias, 0.1, scale), (y, None, 0.0), (y, bias), (y, None, 0.5, scale.reshape(())))
    yield SPECIAL.copy(), None, 0.0
    yield normal(rng, (1, 2)), NANS, 0.0
    yield normal(rng, (3, 40)), None, 1.0, np.full(1, 1.5, np.float32)  # in bfloat16 many lie between two
    yield normal(rng, (0, 4)), None, 0.0


def bias_leaky_twin(y, bias=None, slope=1.0, scale=None):
    y[...] = activation.leaky(y * (1 if scale is None else scale) + (0 if bias is None else bias), slope)
    return y


def bias_gradient_inputs(rng):
    for shape in SHAPES:
        for slope, want in ((0.1, True), (0.0, True), (0.2, False), (1.0, True)):
            y = normal(rng, shape)
            y[..., ::3] = 0  # at the kink the slope counts
            yield normal(rng, shape), y, slope, want
    yield normal(rng, (0, 4)), normal(rng, (0, 4)), 0.1, True


def leaky_gradient_inputs(rng):
    for k, shape in enumerate([*SHAPES, (0, 4)]):
        for slope in (0.0, 0.1):
            y = normal(rng, shape)
            y[..., ::3] = 0  # at the kink the slope counts
            yield normal(rng, shape), y, slope, normal(rng, shape) if k % 2 else None


def leaky_gradient_twin(gy, y, slope, before):
    return activation.leaky_mask(gy, y, slope) + (0 if before is None else before)


def bias_gradient_twin(gy, y, slope, want_bias):
    gz = activation.leaky_mask(gy, y, slope)
    return gz, gz.reshape(-1, gz.shape[-1]).sum(0) if want_bias else None


def rounded_bias_gradient_twin(gy, y, slope, want_bias):
    """The sum is that of the rounded gradient."""
    gz = activation.leaky_mask(gy, y, slope).astype(BF16).astype(np.float64)
    return gz, gz.reshape(-1, gz.shape[-1]).sum(0) if want_bias else None


def leaky_inputs(rng):
    for shape in [*SHAPES, (0, 4), ()]:
        for slope in (0.0, 0.1, 1.0):
            yield normal(rng, shape), slope
    yield SPECIAL, 0.0


def leaky_into_inputs(rng):
    for x, slope in leaky_inputs(rng):
        yield x, slope, normal(rng, x.shape)


def sum_rows_twin(x):
    return x.reshape(-1, x.shape[-1]).sum(0)


def half_rows_inputs(rng):
    yield from ((x.astype(BF16),) for x, in one_array_inputs(rng))


def tanh_inputs(rng):
    for shape in SHAPES:
        yield normal(rng, shape), np.tanh(normal(rng, shape))
    yield normal(rng, (0, 4)), normal(rng, (0, 4))


def one_array_inputs(rng):
    for shape in SHAPES:
        yield (normal(rng, shape),)


def statistics_inputs(rng):
    far = normal(rng, (500, 5))
    far[0] = 1e4  # a first row that is far off
    for x in [*(x for x, in one_array_inputs(rng)), far]:
        yield x, normal(rng, x.shape[-1:]), normal(rng, x.shape[-1:]), 0.3


def half_statistics_inputs(rng):
    for x, *channels in statistics_inputs(rng):
        yield x.astype(BF16), *channels


def bare_statistics_inputs(rng):
    for x, gamma, beta, eps in statistics_inputs(rng):
        yield x, None, None, eps
        yield x, gamma, None, eps
        yield x, None, beta, eps


def moved_inputs(rng):
    for x, gamma, beta, _ in statistics_inputs(rng):
        old = normal(rng, gamma.shape)
        yield x, gamma, beta, 1e-2, old, old * old, 0.9


def large_mean_inputs(rng):
    one = np.ones(6, np.float32)
    yield normal(rng, (700, 6)) + np.float32(1000), one, one, 1e-2, 1000 * one, one, 0.9


def normalize_inputs(rng):
    for shape in SHAPES:
        for slope in (0.0, 0.1, 1.0):
            yield normal(rng, shape), normal(rng, shape[-1:]), normal(rng, shape[-1:]), slope
    yield SPECIAL, np.ones(4, np.float32), np.zeros(4, np.float32), 0.0
    yield normal(rng, (3, 2)), np.ones(2, np.float32), NANS, 0.5
    yield normal(rng, (3, 40)), np.full(40, 1.5, np.float32), np.zeros(40, np.float32), 1.0  # halfway, in bfloat16


def normalize_gradient_inputs(rng, dtype=np.float32):
    """dtype: what x is rounded to before its mean is taken."""
    for shape in SHAPES:
        for slope in (0.0, 0.1, 1.0):
            x, gamma = normal(rng, shape).astype(dtype).astype(np.float32), normal(rng, shape[-1:])
            mean = x.reshape(-1, shape[-1]).mean(0)
            inverse = np.abs(normal(rng, shape[-1:])) + np.float32(0.5)
            y = activation.leaky(x * gamma + mean, slope)
            yield normal(rng, shape), x, None if slope == 1 else y, gamma, mean, inverse, slope
            yield normal(rng, shape), x, y, gamma, mean, inverse, slope, normal(rng, shape)


def normalize_gradient_twin(gy, x, y, gamma, mean, inverse, slope, before=0):
    """The closed form in one piece, written apart from loops.batch_norm: gz, gz's mean, and gz * hat's mean."""
    gz, axes, count = gy * (1 if y is None else np.where(y > 0, 1, slope)), tuple(range(x.ndim - 1)), x[..., 0].size
    hat = (x - mean) * inverse
    gbeta, ggamma = gz.sum(axes), (gz * hat).sum(axes)
    return before + gamma * inverse * (gz - gbeta / count - hat * ggamma / count), ggamma, gbeta


TABLES = [  # x, classes, labels
    ((1, 1), 1, [0]),
    ((3, 1), 2, [1, 1, 0]),
    ((1, 2, 3, 5), 4, [2]),
    ((5, 7), 3, [0, 2, 2, 0, 2]),
    ((2, 40, 3, 33), 5, [3, 0]),
    ((6, 3, 3, 40), 9, [8, 0, 3, 3, 8, 3]),
    ((4, 9, 1, 3), 3, [-1, 3, 7, -5]),  # counted modulo the classes
    ((9, 2, 2, 70), 6, [5, 1, 0, 5, 5, 1, 2, 0, 5]),
    ((2, 1, 2, 1), 700, [699, 255]),
]


def tables(rng):
    """x, gamma and beta (classes, C), labels: classes that occur once, often and not at all."""
    for shape, classes, labels in TABLES:
        table = classes, shape[-1]
        yield normal(rng, shape), normal(rng, table), normal(rng, table), np.array(labels, np.int64)


def by_label_inputs(rng):
    for k, (x, gamma, beta, labels) in enumerate(tables(rng)):
        for slope in (0.0, 0.1, 1.0)[k % 2:]:
            yield x, normal(rng, x.shape[-1:]), normal(rng, x.shape[-1:]), gamma, beta, labels, slope
    one, two = np.ones(4, np.float32), np.ones((2, 4), np.float32)
    yield np.concatenate([SPECIAL, SPECIAL]), 0 * one, one, two, 0 * two, np.array([1, 0]), 0.0
    yield normal(rng, (3, 2)), one[:2], one[:2], two[:, :2].copy(), np.stack([NANS, NANS]), np.array([1, 0, 1]), 0.5
    one_half, zeros = np.full((2, 40), 1.5, np.float32), np.zeros((2, 40), np.float32)  # halfway, in bfloat16
    yield normal(rng, (3, 40)), zeros[0], zeros[0] + 1, one_half, zeros, np.array([0, 1, 0]), 1.0
    yield normal(rng, (0, 2)), one[:2], one[:2], two[:, :2].copy(), two[:, :2].copy(), np.zeros(0, np.int64), 0.5


def by_label_twin(x, mean, inverse, gamma, beta, labels, slope):
    """Sample by sample."""
    samples = [(x[n] - mean) * inverse * gamma[k % len(gamma)] + beta[k % len(gamma)] for n, k in enumerate(labels)]
    return activation.leaky(np.stack(samples), slope) if samples else x


def conditional_inputs(rng, dtype=np.float32):
    """dtype: what x is rounded to before its mean is taken."""
    for k, (x, gamma, beta, labels) in enumerate(tables(rng)):
        x = x.astype(dtype).astype(np.float32)
        rows = x.reshape(-1, x.shape[-1])
        mean, inverse = rows.mean(0), 1 / np.sqrt(rows.var(0) + np.float32(0.3))
        for i, slope in enumerate((0.0, 0.1, 1.0)):
            y = by_label_twin(x, mean, inverse, gamma, beta, labels, slope) if slope != 1 or k % 2 else None
            yield (normal(rng, x.shape), x, y, gamma, mean, inverse, labels, slope,
                   normal(rng, x.shape) if (i + k) % 2 else None)


def conditional_twin(gy, x, y, gamma, mean, inverse, labels, slope, before):
    """The gradient of batch normalization without gamma and beta, of gy times the sample's gamma."""
    gz = gy if y is None or slope == 1 else gy * np.where(y > 0, 1, slope)
    gains, hat, (ggamma, gbeta) = np.empty_like(x), (x - mean) * inverse, np.zeros((2, *gamma.shape))
    for n, k in enumerate(labels):
        gains[n] = gamma[k % len(gamma)]
        gbeta[k % len(gamma)] += gz[n].reshape(-1, x.shape[-1]).sum(0)
        ggamma[k % len(gamma)] += (gz[n] * hat[n]).reshape(-1, x.shape[-1]).sum(0)
    one = np.ones(x.shape[-1:])
    gx = normalize_gradient_twin(gz * gains, x, None, one, mean, inverse, 1.0)[0]
    return gx + (0 if before is None else before), ggamma, gbeta


def add_rows_inputs(rng):
    for x, gamma, _, labels in tables(rng):
        yield x.reshape(len(x), -1), labels, len(gamma)
    yield normal(rng, (0, 3)), np.zeros(0, np.int64), 2
    yield normal(rng, (300, 5)), rng.integers(0, 60, 300), 60


def add_rows_twin(x, labels, rows):
    sums = np.zeros((rows, x.shape[1]))
    for row, label in zip(x, labels, strict=True):
        sums[label % rows] += row
    return sums


# ---- the rest ------------------------------------------------------------------------------------------------------

def adam_inputs(rng):
    for shapes in ([(1,), (3, 5), (4500,), (2, 2, 2), (0, 3), (1024,)], [(1 + p % 4,) for p in range(70)], []):
        ws, gs, ms, vs = ([normal(rng, shape) for shape in shapes] for _ in range(4))
        yield ws, gs, ms, [v * v for v in vs], np.array(0.01), 0.5, 0.999, 1e-8
        yield ws, gs, ms, [v * 0 for v in vs], np.array(0.1), 0.0, 0.9, 1e-2


def adam_twin(ws, gs, ms, vs, rate, beta1, beta2, eps):
    """loops.adam, written apart from it."""
    for w, g, m, v in zip(ws, gs, ms, vs, strict=True):
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        w -= rate * m / (np.sqrt(v) + eps)


def pairs_inputs(rng):
    for shapes in ([(1,), (3, 5), (4500,), (2, 2, 2), (0, 3), (1024,)], [(1 + p % 4,) for p in range(70)], []):
        yield tuple([normal(rng, shape) for shape in shapes] for _ in range(2))


def two_inputs(rng):
    for shape in [*SHAPES, (0, 4), ()]:
        yield normal(rng, shape), normal(rng, shape)
    yield SPECIAL, SPECIAL[:, ::-1].copy()


def two_into_inputs(rng):
    for x, y in two_inputs(rng):
        yield x, y, normal(rng, x.shape)


def halves_inputs(rng):
    for x, _ in two_inputs(rng):
        yield (x.astype(BF16),)
    yield (np.array([0x0001, 0x8000, 0x7fff, 0x7f7f], np.uint16).view(BF16),)  # tiny, -0, nan, the largest


def mean_inputs(rng):
    for shape in ((1,), (5,), (700,), (3, 64), (0,)):
        for function, sign, shift in (("linear", -1.0, 0.5), ("relu", -1.0, 1.0), ("softplus", 1.0, 0.0),
                                      ("softplus", -1.0, 0.0), ("square", 2.0, -1.0)):
            yield 10 * normal(rng, shape), function, sign, shift
    yield np.array([1.0, -1.0, 200.0, -200.0], np.float32), "softplus", 1.0, 0.0
    yield SPECIAL[0], "relu", 1.0, 0.0


def mean_gradient_inputs(rng):
    for arguments in mean_inputs(rng):
        yield normal(rng, ()), *arguments
    yield normal(rng, ()), np.array([-1.0, 0.0, 1.0, -1.0], np.float32), "relu", 1.0, 0.0  # at the kink it is 0


def samples(rng):
    for shape in [(1, 1), (3, 5), (2, 17, 31, 3), (5, 256), (4, 1, 1000)]:
        g = normal(rng, shape)
        g[-1] *= len(g) == 1  # a sample of zeros
        yield g


def norms_twin(g):
    return np.sqrt((g ** 2).reshape(len(g), -1).sum(1))


def norms_gradient_inputs(rng):
    for g in samples(rng):
        yield normal(rng, g.shape[:1]), g, norms_twin(g)


def norms_gradient_twin(gn, g, norms):
    factor = np.divide(gn, norms, out=np.zeros_like(gn), where=norms != 0)
    return g * factor.reshape(-1, *(1,) * (g.ndim - 1))


def images(rng, *factors):
    for shape in [(1, 2, 2, 1), (2, 3, 5, 7), (3, 4, 6, 8), (1, 17, 2, 33)]:
        for factor in factors:
            yield normal(rng, shape), factor


def weights(rng, wide):
    """Weights (O, kh, kw, C), or wide ones, with factor and whether they are turned round."""
    for O, kh, kw, C in [(1, 1, 1, 1), (2, 3, 3, 5), (7, 3, 2, 33), (40, 1, 3, 3)]:
        for turned, factor in ((False, 0.25), (True, 1.0), (True, -3.0)):
            a, b = (C, O) if turned and wide else (O, C)
            yield normal(rng, (a, kh + wide, kw + wide, b)), factor, turned


def spread_twin(W, factor, turned):
    O, kh, kw, C = W.shape
    wide = np.zeros((C if turned else O, kh + 1, kw + 1, O if turned else C))
    for y, x, dy, dx in np.ndindex(kh, kw, 2, 2):
        if turned:
            wide[:, kh - 1 - y + dy, kw - 1 - x + dx] += factor * W[:, y, x].T
        else:
            wide[:, y + dy, x + dx] += factor * W[:, y, x]
    return wide


def gather_twin(wide, factor, turned):
    """The adjoint of spread_twin."""
    a, kh, kw, b = wide.shape[0], wide.shape[1] - 1, wide.shape[2] - 1, wide.shape[3]
    W = np.zeros((b if turned else a, kh, kw, a if turned else b))
    for y, x, dy, dx in np.ndindex(kh, kw, 2, 2):
        W[:, y, x] += factor * (wide[:, kh - 1 - y + dy, kw - 1 - x + dx].T if turned else wide[:, y + dy, x + dx])
    return W


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return np.asarray(rng.standard_normal(shape), np.float32)


def in_half(launcher: Callable, twin: Callable, inputs: Callable, activations: tuple[int, ...], rtol: float = 3e-6,
            **more: Any) -> Case:
    """The case of a launcher with these arguments in bfloat16, and with them its result, or the first of several."""
    def rounded_inputs(rng: np.random.Generator) -> Iterator[tuple]:
        for arguments in inputs(rng):
            yield tuple(a.astype(BF16) if i in activations and a is not None else a for i, a in enumerate(arguments))

    def rounded_twin(*arguments: Any) -> Any:
        found = twin(*arguments)
        return (found[0].astype(BF16), *found[1:]) if isinstance(found, tuple) else found.astype(BF16)
    return Case(launcher, rounded_twin, rounded_inputs, rtol, on_gpu=True, **more)


CASES = [
    # three iterations, whose errors add up, of matrices up to 130 x 36
    Case(power_iteration.launch_power_iterations, iterations_twin, iterations_inputs, 1e-5),
    Case(power_iteration.launch_power_iterations, iterations_twin, kept_inputs, 1e-5, in_place=(1,)),
    Case(power_iteration.launch_power_iteration, power_iteration.power_iteration, one_inputs, 1e-5),
    Case(power_iteration.launch_through_iterations, through_twin, through_inputs, 1e-5, in_place=(1,)),
    Case(spectral_norm.launch_spectral_gradients, gradients_twin, gradients_inputs),
    Case(spectral_norm.launch_factors, factors_twin, factors_inputs),
    Case(spectral_norm.launch_transposes, lambda Ws: [W.T for W in Ws], transposes_inputs, 0.0),
    Case(spectral_norm.launch_scale_weights, lambda Ws, inverses: [W * s for W, s in zip(Ws, inverses, strict=True)],
         scale_inputs, 1e-7),
    Case(operator_norm.launch_operator_norms, operator_norms_twin, operator_norms_inputs),
    Case(spectral_norm.launch_scale_weights, scaled_vectors_twin, scaled_vectors_inputs, 1e-7, in_place=(2,)),
    Case(operator_norm.launch_operator_gradients, operator_gradients_twin, operator_gradients_inputs, 1e-5),
    Case(windows.launch_im2col, im2col_twin, im2col_inputs, 0.0),
    Case(windows.launch_im2col_bf16, im2col_bf16_twin, im2col_bf16_inputs, 0.0),
    Case(windows.launch_col2im, col2im_twin, col2im_inputs),
    Case(windows.launch_col2im_bf16, col2im_twin, col2im_bf16_inputs),
    Case(windows.launch_col2im_bf16, col2im_to_bf16_twin, col2im_to_bf16_inputs, in_place=(9,)),
    # on a GPU the order of the sums within a product is tensor cores' own
    Case(rounding.launch_to_bf16, bf16_twin, bf16_inputs, 0.0),
    Case(rounding.launch_to_float32, lambda x: x, halves_inputs, 0.0),
    Case(conv.launch_conv, conv_twin, conv_inputs, 1e-5),
    Case(conv.launch_conv_transposed, conv_transposed_twin, conv_transposed_inputs, 1e-5),
    Case(conv.launch_conv_weights, conv_weights_twin, conv_weights_inputs, 1e-5),
    Case(activation.launch_bias_leaky, bias_leaky_twin, bias_leaky_inputs, in_place=(0,)),
    Case(activation.launch_bias_leaky_gradient, bias_gradient_twin, bias_gradient_inputs),
    Case(activation.launch_leaky_gradient, leaky_gradient_twin, leaky_gradient_inputs),
    Case(activation.launch_tanh_gradient, lambda gy, y: gy * (1 - y ** 2), tanh_inputs),
    Case(activation.launch_sum_rows, sum_rows_twin, one_array_inputs),
    Case(activation.launch_leaky, activation.leaky, leaky_inputs),
    Case(activation.launch_leaky, activation.leaky, leaky_into_inputs, in_place=(2,)),
    in_half(activation.launch_bias_leaky, bias_leaky_twin, bias_leaky_inputs, (0,), in_place=(0,)),
    in_half(activation.launch_bias_leaky_gradient, rounded_bias_gradient_twin, bias_gradient_inputs, (0, 1)),
    in_half(activation.launch_leaky_gradient, leaky_gradient_twin, leaky_gradient_inputs, (0, 1, 3)),
    Case(activation.launch_sum_rows, sum_rows_twin, half_rows_inputs, on_gpu=True),
    in_half(activation.launch_leaky, activation.leaky, leaky_inputs, (0,)),
    in_half(activation.launch_leaky, activation.leaky, leaky_into_inputs, (0, 2), in_place=(2,)),
    Case(batch_norm.launch_batch_statistics, batch_norm.batch_statistics, statistics_inputs),
    Case(batch_norm.launch_batch_statistics, batch_norm.batch_statistics, moved_inputs, in_place=(4, 5)),
    # the running mean near 1000 is rounded to 6e-5; E[x^2] - E[x]^2 would be off by 6e-2
    Case(batch_norm.launch_batch_statistics, batch_norm.batch_statistics, large_mean_inputs, 3e-5, in_place=(4, 5)),
    Case(batch_norm.launch_normalize, batch_norm.normalize, normalize_inputs),
    Case(batch_norm.launch_normalize_gradient, normalize_gradient_twin, normalize_gradient_inputs, 1e-5),
    Case(batch_norm.launch_batch_statistics, batch_norm.batch_statistics, half_statistics_inputs, 1e-5,
         on_gpu=True),  # a mean may be small by chance
    in_half(batch_norm.launch_normalize, batch_norm.normalize, normalize_inputs, (0,)),
    in_half(batch_norm.launch_normalize_gradient, normalize_gradient_twin,
            lambda rng: normalize_gradient_inputs(rng, BF16), (0, 1, 2, 7), 1e-5),
    Case(batch_norm.launch_batch_statistics, batch_norm.batch_statistics, bare_statistics_inputs),
    Case(conditional_norm.launch_normalize_by_label, by_label_twin, by_label_inputs),
    Case(conditional_norm.launch_conditional_gradient, conditional_twin, conditional_inputs, 1e-5),
    in_half(conditional_norm.launch_normalize_by_label, by_label_twin, by_label_inputs, (0,)),
    in_half(conditional_norm.launch_conditional_gradient, conditional_twin,
            lambda rng: conditional_inputs(rng, BF16), (0, 1, 2, 8), 1e-5),
    Case(adam.launch_adam_all, adam_twin, adam_inputs, in_place=(0, 2, 3)),
    Case(sums.launch_add_all, sums.add_all, pairs_inputs),
    Case(sums.launch_add_rows, add_rows_twin, add_rows_inputs),
    Case(sums.launch_add, lambda x, y: np.asarray(x + y), two_inputs),
    in_half(sums.launch_add, lambda x, y: np.asarray(x + y), two_inputs, (0, 1)),
    Case(sums.launch_add, np.add, two_into_inputs, in_place=(2,)),
    in_half(sums.launch_add, np.add, two_into_inputs, (0, 1, 2), in_place=(2,)),
    Case(losses.launch_mean_of, losses.mean_of, mean_inputs),
    Case(losses.launch_mean_of_gradient, losses.mean_of_gradient, mean_gradient_inputs),
    Case(sample_norms.launch_sample_norms, norms_twin, lambda rng: ((g,) for g in samples(rng))),
    Case(sample_norms.launch_sample_norms_gradient, norms_gradient_twin, norms_gradient_inputs),
    Case(resample.launch_upsample2x, resample.upsample2x, lambda rng: images(rng, 1.0, 0.25), 1e-7),
    Case(resample.launch_pool2x, resample.pool2x, lambda rng: images(rng, 0.25, 1.0)),
    in_half(resample.launch_upsample2x, resample.upsample2x, lambda rng: images(rng, 1.5, 0.25, float(NANS[0])), (0,)),
    in_half(resample.launch_pool2x, resample.pool2x, lambda rng: images(rng, 0.25, 1.0, float(NANS[0])), (0,)),
    Case(spread.launch_spread2x2, spread_twin, lambda rng: weights(rng, False)),
    Case(spread.launch_gather2x2, gather_twin, lambda rng: weights(rng, True)),
]
