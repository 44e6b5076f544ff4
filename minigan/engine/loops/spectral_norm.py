"""W / sigma and its gradient, of a matrix and of all layers: kernels/spectral_norm.cu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigan.engine.cuda import THREADS, check, check_lists, groups, kernels_take, launch, pointers, starts, table
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.power_iteration import inverse_of

FILE = "spectral_norm.cu"
WORK = 4096  # numbers of an array that are worth a block
MOST = 256  # blocks for one array; sn_correct reads as many parts, one a thread


def spectral_gradient(gy: Array, W: Array, u: Array, v: Array, sigma: Array) -> Array:
    """The gradient of W / sigma(W) with respect to W: (gy - <gy, W / sigma> u v^T) / sigma.

    Miyato et al. 2018, Eq. (12), u and v held constant; all (out, in) but u (out,), v (in,), sigma (). 0 if sigma is.
    """
    if kernels_take(gy, W, u, v, sigma):
        return launch_spectral_gradients([gy], [W], [u], [v], sigma.reshape(1))[0]
    inverse = inverse_of(sigma)
    gW = array_module(W).multiply.outer(u, v * -(gy.reshape(-1) @ W.reshape(-1) * inverse))
    gW += gy
    gW *= inverse
    return gW


def spectral_gradients(gWs: Sequence[Array], Ws: Sequence[Array], us: Sequence[Array], vs: Sequence[Array],
                       sigmas: Array) -> list[Array]:
    """spectral_gradient of every layer at once.

    gWs: the gradients of the normalized weights, (out, in) like Ws; us (out,), vs (in,), sigmas (layers,) as
    power_iterations gave them. Where sigma is 0 the result is 0.
    """
    if kernels_take(*gWs, *Ws, *us, *vs, sigmas):
        return launch_spectral_gradients(gWs, Ws, us, vs, sigmas)
    return [spectral_gradient(*layer) for layer in zip(gWs, Ws, us, vs, sigmas, strict=True)]


def launch_spectral_gradients(gWs: Sequence[Array], Ws: Sequence[Array], us: Sequence[Array], vs: Sequence[Array],
                              sigmas: Array) -> list[Array]:
    """In two launches, or two for every 32 layers."""
    if not len(gWs) == len(Ws) == len(us) == len(vs) or any(W.ndim != 2 or W.size == 0 for W in Ws):
        shapes = ", ".join(f"{name} {[a.shape for a in arrays]}"
                           for name, arrays in (("gWs", gWs), ("Ws", Ws), ("us", us), ("vs", vs)))
        raise ValueError("spectral_gradients: expected a matrix that is not empty, its gradient, u and v for each "
                         f"layer, got {shapes}")
    xp = check_lists("spectral_gradients", {"W": Ws, "gW": gWs, "u": us, "v": vs},
                     {"gW": [W.shape for W in Ws], "u": [W.shape[:1] for W in Ws], "v": [W.shape[1:] for W in Ws]})
    if Ws:
        check("spectral_gradients", {"sigmas": (len(Ws),)}, sigmas=sigmas)
    dWs = [xp.empty(W.shape, np.float32) for W in Ws]
    for part in groups(FILE, "Gradients", "W", len(Ws)):
        sizes = [W.size for W in Ws[part]]
        first = starts([_share(size) for size in sizes])
        layers = table(FILE, "Gradients", count=len(sizes), offset=part.start, first=first, size=sizes,
                       cols=[W.shape[1] for W in Ws[part]], G=pointers(gWs[part]), W=pointers(Ws[part]),
                       u=pointers(us[part]), v=pointers(vs[part]), dW=pointers(dWs[part]))
        parts = xp.empty((first[-1],), np.float32)
        launch(FILE, "sn_dots", (first[-1],), (THREADS,), (layers, parts))
        launch(FILE, "sn_correct", (first[-1],), (THREADS,), (layers, parts, sigmas))
    return dWs


def scale_weights(Ws: Sequence[Array], inverses: Array) -> list[Array]:
    """W / sigma of every layer: Ws of any shape, inverses (layers,)."""
    if kernels_take(*Ws, inverses):
        return launch_scale_weights(Ws, inverses)
    return [W * inverse for W, inverse in zip(Ws, inverses, strict=True)]


def launch_scale_weights(Ws: Sequence[Array], inverses: Array) -> list[Array]:
    """In one launch, or one for every 32 layers."""
    xp = check_lists("scale_weights", {"W": Ws}, {})
    if Ws:
        check("scale_weights", {"inverses": (len(Ws),)}, inverses=inverses)
    W_bars = [xp.empty(W.shape, np.float32) for W in Ws]
    for part in groups(FILE, "Scales", "W", len(Ws)):
        sizes = [W.size for W in Ws[part]]
        first = starts([_share(size) for size in sizes])
        layers = table(FILE, "Scales", count=len(sizes), offset=part.start, first=first, size=sizes,
                       W=pointers(Ws[part]), W_bar=pointers(W_bars[part]))
        launch(FILE, "sn_scale", (first[-1],), (THREADS,), (layers, inverses))
    return W_bars


def _share(size: int) -> int:
    """Blocks for an array of this size."""
    return min(MOST, -(-size // WORK))
