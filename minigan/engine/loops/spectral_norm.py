"""Weights divided by sigma and their gradient, of a matrix and of all layers: kernels/spectral_norm.cu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigan.engine.cuda import THREADS, check, check_lists, groups, kernels_take, launch, pointers, starts, table
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.power_iteration import inverse_of

FILE = "spectral_norm.cu"
WORK = 4096  # numbers of an array that are worth a block
MOST = 256  # blocks for one array; sn_correct reads as many parts, one a thread

Pair = tuple[Array, Array]  # u and v


def spectral_gradient(gy: Array, W: Array, u: Array, v: Array, sigma: Array) -> Array:
    """The gradient of W / sigma(W) with respect to W: (gy - <gy, W / sigma> u v^T) / sigma.

    Miyato et al. 2018, Eq. (12), u and v held constant; all (out, in) but u (out,), v (in,), sigma (). 0 if sigma is.
    """
    if kernels_take(gy, W, u, v, sigma):
        return launch_spectral_gradients([gy], [W], [(u, v)], [None], sigma.reshape(1))[0][0]
    inverse = inverse_of(sigma)
    gW = array_module(W).multiply.outer(u, v * -(gy.reshape(-1) @ W.reshape(-1) * inverse))
    gW += gy
    gW *= inverse
    return gW


def spectral_gradients(gWs: Sequence[Array], Ws: Sequence[Array], pairs: Sequence[Pair],
                       in_pairs: Sequence[Pair | None], sigmas: Array, inverses: Array | None = None,
                       scales: Sequence[float] | None = None, through: Sequence[Pair] = (),
                       in_through: Sequence[Pair | None] = ()) -> tuple[list[Array], Array | None]:
    """The gradients of W * inverse of every layer at once, inverse = gamma * scale / sigma.

    (gW - <gW, W> / sigma * S) * inverse with respect to W, S as direction() has it, and <gW, W> * scale / sigma with
    respect to gamma: Miyato et al. 2018, Eq. (12), u and v held constant but for what `through` adds.

    gWs: the gradients of the normalized weights, (out, in) like Ws; pairs, in_pairs, through, in_through: for
    direction(), the latter two of all layers or empty; sigmas (layers,), 0 where the results are 0; inverses (layers,),
    None: 1 / sigmas; scales: None if nobody asks for gammas' gradients.
    Returns the gradients of the Ws, and those of the gammas (layers,) or None.
    """
    if kernels_take(*gWs, *Ws, *_arrays(pairs, in_pairs, through, in_through), sigmas, inverses):
        return launch_spectral_gradients(gWs, Ws, pairs, in_pairs, sigmas, inverses, scales, through, in_through)
    xp, ones = array_module(sigmas, *Ws), inverse_of(sigmas)
    slants = [gW.reshape(-1) @ W.reshape(-1) * one for gW, W, one in zip(gWs, Ws, ones, strict=True)]
    nothing = [None] * len(Ws)
    Ss = [direction(W.shape, pair, in_pair, more, in_more) for W, pair, in_pair, more, in_more in zip(
        Ws, pairs, in_pairs, through or nothing, in_through or nothing, strict=True)]
    dWs = [(gW - slant * S) * inverse for gW, slant, S, inverse in zip(
        gWs, slants, Ss, ones if inverses is None else inverses, strict=True)]
    return dWs, None if scales is None else xp.stack([slant * s for slant, s in zip(slants, scales, strict=True)])


def direction(shape: tuple[int, ...], pair: Pair, in_pair: Pair | None, through: Pair | None = None,
              in_through: Pair | None = None) -> Array:
    """S, of this shape, with sigma(W) = <W, S>: u v^T, or the mean of this and of W's other matrix's, where W has them.

    sigma's gradient, u and v held constant; with `through` what it is through the power iteration as well.

    pair: u (out,), v (everything else,).  in_pair: of a convolution's matrix (in, out kh kw) (Lin et al. 2021, section
    5.1): u (in,), v (out kh kw,), None for a layer that is not divided by this one's singular value.
    through, in_through: u_old and w of either, as through_iterations has them.
    """
    outer = array_module(*pair).multiply.outer
    S = outer(*pair)
    if through is not None:
        S += outer(*through)
    if in_pair is None:
        return S.reshape(shape)
    S_in = outer(*in_pair[::-1])
    if in_through is not None:
        S_in += outer(*in_through[::-1])
    return (S.reshape(shape) + S_in.reshape(shape)) / 2


def launch_spectral_gradients(gWs: Sequence[Array], Ws: Sequence[Array], pairs: Sequence[Pair],
                              in_pairs: Sequence[Pair | None], sigmas: Array, inverses: Array | None = None,
                              scales: Sequence[float] | None = None, through: Sequence[Pair] = (),
                              in_through: Sequence[Pair | None] = ()) -> tuple[list[Array], Array | None]:
    """In two launches, or two for every 32 layers."""
    count, inner = len(Ws), [len(pair[0]) if pair else 0 for pair in in_pairs]
    if not len(gWs) == len(pairs) == len(inner) == count or any(W.ndim != 2 or W.size == 0 for W in Ws) or any(
            n and W.size % n for n, W in zip(inner, Ws, strict=True)) or len(scales or Ws) != count:
        raise ValueError("spectral_gradients: expected a matrix that is not empty, its gradient, a pair of u and v, "
                         "and another whose u's length divides the matrix's size, or None, for each layer, got gWs "
                         f"{[a.shape for a in gWs]}, Ws {[a.shape for a in Ws]}, {len(pairs)} pairs, us of others "
                         f"{inner}, scales {scales}")
    if through and [None if pair is None else len(pair[0]) for pair in in_through] != [n or None for n in inner]:
        raise ValueError("spectral_gradients: expected in_through for the layers that have in_pairs, and no other")
    rows, cols = [W.shape[:1] for W in Ws], [W.shape[1:] for W in Ws]
    columns: dict[str, tuple[Sequence[Pair | None], int]] = {"u": (pairs, 0), "v": (pairs, 1)}
    shapes: dict[str, list[tuple[int, ...]]] = {"gW": [W.shape for W in Ws], "u": rows, "v": cols}
    if through:
        columns |= {"u_old": (through, 0), "w": (through, 1)}
        shapes |= {"u_old": rows, "w": cols}
    if any(inner):
        columns |= {"u_in": (in_pairs, 0), "v_in": (in_pairs, 1)}
        shapes |= {"u_in": [(n,) for n in inner if n],
                   "v_in": [(W.size // n,) for n, W in zip(inner, Ws, strict=True) if n]}
        if through:
            columns |= {"u_in_old": (in_through, 0), "w_in": (in_through, 1)}
            shapes |= {"u_in_old": shapes["u_in"], "w_in": shapes["v_in"]}
    xp = check_lists("spectral_gradients", {"W": Ws, "gW": gWs} | {
        name: [pair[k] for pair in its if pair] for name, (its, k) in columns.items()}, shapes)
    if Ws:
        check("spectral_gradients", {"sigmas": (count,), "inverses": (count,)}, sigmas=sigmas, inverses=inverses)
    dWs = [xp.empty(W.shape, np.float32) for W in Ws]
    dgammas = None if scales is None else xp.empty((count,), np.float32)
    for part in groups(FILE, "Gradients", "W", count):
        sizes = [W.size for W in Ws[part]]
        first = starts([share(size) for size in sizes])
        layers = table(FILE, "Gradients", count=len(sizes), offset=part.start, first=first, size=sizes,
                       cols=[W.shape[1] for W in Ws[part]], inner=inner[part], scale=scales[part] if scales else [],
                       G=pointers(gWs[part]), W=pointers(Ws[part]), dW=pointers(dWs[part]),
                       **{name: [pair[k].data.ptr if pair else 0 for pair in its[part]]
                          for name, (its, k) in columns.items()},
                       inverses=0 if inverses is None else inverses.data.ptr,
                       dgammas=0 if dgammas is None else dgammas.data.ptr)
        parts = xp.empty((first[-1],), np.float32)
        launch(FILE, "sn_dots", (first[-1],), (THREADS,), (layers, parts))
        launch(FILE, "sn_correct", (first[-1],), (THREADS,), (layers, parts, sigmas))
    return dWs, dgammas


def factors(of_matrices: Array, second: Sequence[int], scales: Sequence[float], gammas: Sequence[Array | None]
            ) -> tuple[Array, Array]:
    """What every layer's weights are divided by, and gamma * scale / sigma, what they are multiplied with.

    of_matrices: the largest singular values of all layers' matrices, then of those layers' that have two, their second.
    second: for each layer where the latter's is, 0: it has one.  sigma is the mean of both; 0 has the inverse 0.
    scales, gammas: a number and an array (1,), None for 1, for each layer.
    Returns sigmas (layers,) and inverses (layers,).
    """
    if kernels_take(of_matrices, *gammas):
        return launch_factors(of_matrices, second, scales, gammas)
    xp = array_module(of_matrices)
    sigmas = xp.stack([(of_matrices[i] + of_matrices[k]) / 2 if k else of_matrices[i] for i, k in enumerate(second)])
    inverses = inverse_of(sigmas)
    return sigmas, xp.stack([inverses[i] * scale if gamma is None else inverses[i] * scale * gamma[0]
                             for i, (scale, gamma) in enumerate(zip(scales, gammas, strict=True))])


def launch_factors(of_matrices: Array, second: Sequence[int], scales: Sequence[float], gammas: Sequence[Array | None]
                   ) -> tuple[Array, Array]:
    """In one launch, or one for every 32 layers."""
    count = len(scales)
    if not count or not len(second) == len(gammas) == count or any(k and not count <= k < len(of_matrices)
                                                                   for k in second):
        raise ValueError("factors: expected for each layer the place of its second matrix, behind all first ones, or "
                         f"0, a scale, and a gamma or None, got {len(of_matrices)} matrices, second {list(second)}, "
                         f"scales {list(scales)}, {len(gammas)} gammas")
    there = [gamma for gamma in gammas if gamma is not None]
    xp = check("factors", {}, of_matrices=of_matrices)
    check_lists("factors", {"gamma": there}, {"gamma": [(1,)] * len(there)})
    sigmas, inverses = (xp.empty((count,), np.float32) for _ in range(2))
    for part in groups(FILE, "Factors", "scale", count):
        layers = table(FILE, "Factors", count=part.stop - part.start, offset=part.start, second=second[part],
                       scale=scales[part], gamma=[0 if gamma is None else gamma.data.ptr for gamma in gammas[part]])
        launch(FILE, "sn_factors", (1,), (32,), (layers, of_matrices, sigmas, inverses))
    return sigmas, inverses


def transposes(Ws: Sequence[Array]) -> list[Array]:
    """The transpose of every matrix (rows, cols), in memory of its own."""
    if kernels_take(*Ws):
        return launch_transposes(Ws)
    return [array_module(W).ascontiguousarray(W.T) for W in Ws]


def launch_transposes(Ws: Sequence[Array]) -> list[Array]:
    """In one launch, or one for every 32 matrices."""
    if any(W.ndim != 2 for W in Ws):
        raise ValueError(f"transposes: expected matrices, got {[W.shape for W in Ws]}")
    xp = check_lists("transposes", {"W": Ws}, {})
    found = [xp.empty(W.shape[::-1], np.float32) for W in Ws]
    for part in groups(FILE, "Transposes", "W", len(Ws)):
        rows, cols = ([W.shape[k] for W in Ws[part]] for k in range(2))
        first = starts([-(-r // 32) * -(-c // 32) for r, c in zip(rows, cols, strict=True)])
        layers = table(FILE, "Transposes", count=len(rows), first=first, rows=rows, cols=cols, W=pointers(Ws[part]),
                       W_t=pointers(found[part]))
        launch(FILE, "sn_transpose", (first[-1],), (32, 8), (layers,), xp=xp)
    return found


def scale_weights(Ws: Sequence[Array], inverses: Array, out: Sequence[Array] | None = None) -> list[Array]:
    """W * inverse of every layer: Ws of any shape, inverses (layers,).

    out: where to write, if not into fresh arrays: as many of the same shapes, which may be the Ws.
    """
    if kernels_take(*Ws, inverses, *(out or [])):
        return launch_scale_weights(Ws, inverses, out)
    W_bars = [W * inverse for W, inverse in zip(Ws, inverses, strict=True)]
    if out is None:
        return W_bars
    for place, W_bar in zip(out, W_bars, strict=True):
        place[...] = W_bar
    return list(out)


def launch_scale_weights(Ws: Sequence[Array], inverses: Array, out: Sequence[Array] | None = None) -> list[Array]:
    """In one launch, or one for every 32 layers."""
    if out is not None and len(out) != len(Ws):
        raise ValueError(f"scale_weights: expected a place for each of {len(Ws)} arrays, got {len(out)}")
    xp = check_lists("scale_weights", {"W": Ws, "out": out or []}, {"out": [W.shape for W in Ws] if out else []})
    if Ws:
        check("scale_weights", {"inverses": (len(Ws),)}, inverses=inverses)
    W_bars = [xp.empty(W.shape, np.float32) for W in Ws] if out is None else list(out)
    for part in groups(FILE, "Scales", "W", len(Ws)):
        sizes = [W.size for W in Ws[part]]
        first = starts([share(size) for size in sizes])
        layers = table(FILE, "Scales", count=len(sizes), offset=part.start, first=first, size=sizes,
                       W=pointers(Ws[part]), W_bar=pointers(W_bars[part]))
        launch(FILE, "sn_scale", (first[-1],), (THREADS,), (layers, inverses))
    return W_bars


def share(size: int) -> int:
    """Blocks for an array of this size."""
    return min(MOST, -(-size // WORK))


def _there(*pairs: Pair | None) -> list[Pair]:
    return [pair for pair in pairs if pair is not None]


def _arrays(*lists: Sequence[Pair | None]) -> list[Array]:
    return [a for pairs in lists for pair in _there(*pairs) for a in pair]
