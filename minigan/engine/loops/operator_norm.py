"""The largest singular value of a convolution by power iteration, beside its convolutions: kernels/operator_norm.cu.

A is a layer's convolution, v an image, raw = A v and back = A^T raw as the convolutions gave them: nothing is divided
by its norm on the way, only at the end. In float32 the largest singular value sigma may be 1e-9 to 1e9, since |back|^2
is its fourth power; below, it counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigan.engine.cuda import (
    THREADS,
    check,
    check_lists,
    groups,
    kernels_take,
    launch,
    pointers,
    starts,
    table,
    tickets,
)
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.power_iteration import is_zero
from minigan.engine.loops.spectral_norm import share

FILE = "operator_norm.cu"


def operator_norms(raws: Sequence[Array], backs: Sequence[Array], eps: float = 1e-12,
                   scale: float = 1.0) -> tuple[Array, Array, Array]:
    """(squares, inverses, factors) of every layer, each (layers,), after an iteration left = A v / (|A v| + eps),
    v <- A^T left / (|A^T left| + eps), sigma = <v, A^T left>.

    raws, backs: A v and A^T A v of each layer, of any shape, not empty.
    squares: |back|^2; inverses: scale / sigma; factors: back times it is the new v
    (spectral_norm.scale_weights). All are 0 where sigma is 0.
    """
    if kernels_take(*raws, *backs):
        return launch_operator_norms(raws, backs, eps, scale)
    xp = array_module(*raws)
    lengths = xp.sqrt(xp.stack([x.reshape(-1) @ x.reshape(-1) for x in raws])) + raws[0].dtype.type(eps)
    squares = xp.stack([x.reshape(-1) @ x.reshape(-1) for x in backs])
    zero = is_zero(squares)
    squares *= ~zero
    back_lengths = xp.sqrt(squares) + lengths * squares.dtype.type(eps)
    return (squares, ~zero * squares.dtype.type(scale) * lengths * back_lengths / (squares + zero),
            ~zero / (back_lengths + zero))


def launch_operator_norms(raws: Sequence[Array], backs: Sequence[Array], eps: float = 1e-12,
                          scale: float = 1.0) -> tuple[Array, Array, Array]:
    """In one launch, or one for every 32 layers."""
    if not raws or len(raws) != len(backs) or any(x.size == 0 for x in (*raws, *backs)):
        raise ValueError("operator_norms: expected A v and A^T A v of each layer, not empty, "
                         f"got raws {[x.shape for x in raws]}, backs {[x.shape for x in backs]}")
    xp = check_lists("operator_norms", {"raw": raws, "back": backs}, {})
    squares, inverses, factors = (xp.empty((len(raws),), np.float32) for _ in range(3))
    for part in groups(FILE, "Operators", "raw", len(raws)):
        sizes = [(raw.size, back.size) for raw, back in zip(raws[part], backs[part], strict=True)]
        first = starts([share(max(both)) for both in sizes])
        layers = table(FILE, "Operators", count=len(sizes), offset=part.start, first=first,
                       raw_size=[raw for raw, _ in sizes], back_size=[back for _, back in sizes],
                       raw=pointers(raws[part]), back=pointers(backs[part]))
        launch(FILE, "operator_norms", (first[-1],), (THREADS,),
               (layers, xp.empty((first[-1], 2), np.float32), squares, inverses, factors,
                tickets(xp, len(sizes)), np.float32(eps), np.float32(scale)))
    return squares, inverses, factors


def operator_gradients(gWs: Sequence[Array], Ws: Sequence[Array], slopes: Sequence[Array], squares: Array,
                       inverses: Array) -> list[Array]:
    """The gradient of W * scale / sigma(W) with respect to W of every layer: (gW - <gW, W> / square * slope) * inverse.

    Miyato et al. 2018, Eq. (12), for a convolution, v and A v held constant.
    gWs: the gradients of the normalized weights, of the shapes of Ws.
    slopes: the weight gradients of A at the input back and the output gradient raw, which make <W, slope> = |back|^2.
    squares, inverses: (layers,), as operator_norms gave them. Where they are 0 the result is 0.
    """
    if kernels_take(*gWs, *Ws, *slopes, squares, inverses):
        return launch_operator_gradients(gWs, Ws, slopes, squares, inverses)
    zeros = is_zero(squares)
    return [(gW - gW.reshape(-1) @ W.reshape(-1) * ~zero / (square + zero) * slope) * inverse
            for gW, W, slope, square, zero, inverse in zip(gWs, Ws, slopes, squares, zeros, inverses, strict=True)]


def launch_operator_gradients(gWs: Sequence[Array], Ws: Sequence[Array], slopes: Sequence[Array], squares: Array,
                              inverses: Array) -> list[Array]:
    """In two launches, or two for every 32 layers."""
    if not len(gWs) == len(Ws) == len(slopes) or any(W.size == 0 for W in Ws):
        shapes = ", ".join(f"{name} {[a.shape for a in arrays]}"
                           for name, arrays in (("gWs", gWs), ("Ws", Ws), ("slopes", slopes)))
        raise ValueError("operator_gradients: expected weights that are not empty, their gradient and slope for each "
                         f"layer, got {shapes}")
    shapes_of_Ws = [W.shape for W in Ws]
    xp = check_lists("operator_gradients", {"W": Ws, "gW": gWs, "slope": slopes},
                     {"gW": shapes_of_Ws, "slope": shapes_of_Ws})
    if Ws:
        check("operator_gradients", {"squares": (len(Ws),), "inverses": (len(Ws),)}, squares=squares, inverses=inverses)
    dWs = [xp.empty(W.shape, np.float32) for W in Ws]
    for part in groups(FILE, "Slopes", "W", len(Ws)):
        sizes = [W.size for W in Ws[part]]
        first = starts([share(size) for size in sizes])
        layers = table(FILE, "Slopes", count=len(sizes), offset=part.start, first=first, size=sizes,
                       G=pointers(gWs[part]), W=pointers(Ws[part]), S=pointers(slopes[part]), dW=pointers(dWs[part]))
        parts = xp.empty((first[-1],), np.float32)
        launch(FILE, "operator_dots", (first[-1],), (THREADS,), (layers, parts))
        launch(FILE, "operator_correct", (first[-1],), (THREADS,), (layers, parts, squares, inverses))
    return dWs
