"""The largest singular value of a matrix and of all layers' by power iteration: kernels/power_iteration.cu."""

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

FILE = "power_iteration.cu"


def power_iteration(W: Array, u: Array, n_iter: int = 1, eps: float = 1e-12) -> tuple[Array, Array, Array]:
    """Leading singular triple of W, refined from the left vector u.

    Repeats v <- W^T u / |W^T u|, u <- W v / |W v| (Miyato et al. 2018, Eq. (18)); sigma = u^T W v (Eq. (19)).

    W: (out, in) float32 or float64.  u: (out,), same dtype, any nonzero length.
    Returns u (out,), v (in,), sigma () of W's dtype; W and u are not modified.
    Raises ValueError if len(u) != W.shape[0] or n_iter < 1.

    eps is added to each norm, as in the authors' code, so a zero W gives sigma = 0, not nan.
    """
    if u.shape != W.shape[:1] or n_iter < 1:
        raise ValueError(f"power_iteration: expected u of length {W.shape[0]} and n_iter >= 1, "
                         f"got u {u.shape}, W {W.shape}, n_iter {n_iter}")
    if kernels_take(W, u):  # with all of the GPU
        (u,), (v,), sigmas, _ = launch_power_iterations([W], [u], n_iter, eps)
        return u, v, sigmas.reshape(())
    xp = array_module(W)
    for _ in range(n_iter):
        v = u @ W
        v /= xp.sqrt(v @ v) + W.dtype.type(eps)
        Wv = W @ v
        u = Wv / (xp.sqrt(Wv @ Wv) + W.dtype.type(eps))
    return u, v, u @ Wv


def launch_power_iteration(W: Array, u: Array, n_iter: int = 1, eps: float = 1e-12) -> tuple[Array, Array, Array]:
    """In one block: to be read, not to be fast."""
    if W.ndim != 2 or n_iter < 1 or W.size == 0:
        raise ValueError(f"power_iteration: expected a matrix that is not empty and n_iter >= 1, got W {W.shape}, "
                         f"n_iter {n_iter}")
    rows, cols = W.shape
    xp = check("power_iteration", {"u": (rows,)}, W=W, u=u)
    u_new, v, sigma = (xp.empty((size,), np.float32) for size in (rows, cols, 1))
    launch(FILE, "power_iteration", (1,), (THREADS,),
           (W, u, u_new, v, sigma, np.int32(rows), np.int32(cols), np.int32(n_iter), np.float32(eps)))
    return u_new, v, sigma.reshape(())


def power_iterations(Ws: Sequence[Array], us: Sequence[Array], n_iter: int = 1, eps: float = 1e-12,
                     keep: bool = False) -> tuple[list[Array], list[Array], Array, Array]:
    """power_iteration of every layer at once: (us, vs, sigmas (layers,), inverses (layers,)); 0 is the inverse of 0.

    The results are new arrays; keep: `us` are overwritten with the new ones as well, in place.
    """
    if kernels_take(*Ws, *us):
        return launch_power_iterations(Ws, us, n_iter, eps, keep)
    xp = array_module(*Ws)
    found = [power_iteration(W, u, n_iter, eps) for W, u in zip(Ws, us, strict=True)]
    sigmas = xp.stack([sigma for _, _, sigma in found])
    if keep:
        for u, (new, _, _) in zip(us, found, strict=True):
            u[...] = new
    return [u for u, _, _ in found], [v for _, v, _ in found], sigmas, inverse_of(sigmas)


def launch_power_iterations(Ws: Sequence[Array], us: Sequence[Array], n_iter: int = 1, eps: float = 1e-12,
                            keep: bool = False) -> tuple[list[Array], list[Array], Array, Array]:
    """In two launches an iteration, or two for every 32 layers."""
    if not Ws or len(Ws) != len(us) or n_iter < 1 or any(W.ndim != 2 or W.size == 0 for W in Ws):
        raise ValueError("power_iterations: expected matrices that are not empty, a vector for each, and n_iter >= 1, "
                         f"got Ws {[W.shape for W in Ws]}, us {[u.shape for u in us]}, n_iter {n_iter}")
    xp = check_lists("power_iterations", {"W": Ws, "u": us}, {"u": [W.shape[:1] for W in Ws]})
    us_new = [xp.empty((W.shape[0],), np.float32) for W in Ws]
    vs = [xp.empty((W.shape[1],), np.float32) for W in Ws]
    sigmas, inverses = xp.empty((len(Ws),), np.float32), xp.empty((len(Ws),), np.float32)
    for i in range(n_iter):
        for part in groups(FILE, "Layers", "W", len(Ws)):
            rows, cols = [W.shape[0] for W in Ws[part]], [W.shape[1] for W in Ws[part]]
            first_strip, first_row = starts([-(-c // 32) for c in cols]), starts(rows)
            layers = table(FILE, "Layers", count=len(rows), offset=part.start, first_strip=first_strip,
                           first_row=first_row, rows=rows, cols=cols, W=pointers(Ws[part]),
                           u=pointers((us_new if i else us)[part]), v=pointers(vs[part]),
                           u_new=pointers(us_new[part]), kept=pointers(us[part]) if keep and i == n_iter - 1 else [])
            launch(FILE, "sn_wtu", (first_strip[-1],), (32, 8), (layers,), xp=xp)
            launch(FILE, "sn_wv", (first_row[-1],), (128,),
                   (layers, sigmas, inverses, tickets(xp, len(rows)), np.float32(eps)))
    return us_new, vs, sigmas, inverses


def through_iterations(Ws: Sequence[Array], us_old: Sequence[Array], us: Sequence[Array], vs: Sequence[Array],
                       sigmas: Array, keep: bool = False) -> tuple[list[Array], list[Array]]:
    """What sigma's gradient has besides u v^T if it goes through one power iteration: the pairs u_old, w of u_old w^T.

    sigma = |W v|, v = t / |t|, t = W^T u_old: its gradient with respect to t is w = (W^T u - sigma v) / |t|, that with
    respect to W u v^T + u_old w^T. (As in the code of Lin et al. 2021; Miyato et al. 2018 hold u and v constant.)

    us_old: the us that power_iterations began with, in its one iteration; us, vs, sigmas: what it gave.
    Returns copies of us_old, and the ws; keep: us_old are overwritten with us then, in place. Of a zero W w is 0.
    """
    if kernels_take(*Ws, *us_old, *us, *vs, sigmas):
        return launch_through_iterations(Ws, us_old, us, vs, sigmas, keep)
    copies = [u.copy() for u in us_old]
    # |t| = v . t = u_old . W v = sigma u_old . u
    ws = [(u @ W - sigma * v) * inverse_of(sigma * (u_old @ u))
          for W, u_old, u, v, sigma in zip(Ws, copies, us, vs, sigmas, strict=True)]
    if keep:
        for old, u in zip(us_old, us, strict=True):
            old[...] = u
    return copies, ws


def launch_through_iterations(Ws: Sequence[Array], us_old: Sequence[Array], us: Sequence[Array], vs: Sequence[Array],
                              sigmas: Array, keep: bool = False) -> tuple[list[Array], list[Array]]:
    """In two launches, or two for every 32 layers."""
    if not Ws or not len(Ws) == len(us_old) == len(us) == len(vs) or any(W.ndim != 2 or W.size == 0 for W in Ws):
        raise ValueError("through_iterations: expected matrices that are not empty, both us and a v for each, got Ws "
                         f"{[W.shape for W in Ws]}, {len(us_old)} us before, {len(us)} after, {len(vs)} vs")
    rows, cols = ([W.shape[:1] for W in Ws], [W.shape[1:] for W in Ws])
    xp = check_lists("through_iterations", {"W": Ws, "u_old": us_old, "u": us, "v": vs},
                     {"u_old": rows, "u": rows, "v": cols})
    check("through_iterations", {"sigmas": (len(Ws),)}, sigmas=sigmas)
    copies, ws = ([xp.empty(shape, np.float32) for shape in shapes] for shapes in (rows, cols))
    for part in groups(FILE, "Through", "w", len(Ws)):
        sizes = {"count": part.stop - part.start, "offset": part.start, "rows": [r for r, in rows[part]],
                 "cols": [c for c, in cols[part]]}
        first_strip = starts([-(-c // 32) for c, in cols[part]])
        layers = table(FILE, "Layers", **sizes, first_strip=first_strip, W=pointers(Ws[part]), u=pointers(us[part]),
                       v=pointers(ws[part]))
        launch(FILE, "sn_wtu", (first_strip[-1],), (32, 8), (layers,), xp=xp)
        through = table(FILE, "Through", **sizes, u_old=pointers(us_old[part]), u=pointers(us[part]),
                        v=pointers(vs[part]), w=pointers(ws[part]), copy=pointers(copies[part]),
                        kept=pointers(us_old[part]) if keep else [])
        launch(FILE, "sn_through", (sizes["count"],), (THREADS,), (through, sigmas))
    return copies, ws


def inverse_of(sigma: Array) -> Array:
    """1 / sigma; a zero W has sigma 0 and gives 0, so that W / sigma and its gradient are 0, not nan."""
    zero = is_zero(sigma)
    return ~zero / (sigma + zero)


def is_zero(sigma: Array) -> Array:
    """Whether sigma counts as 0: if it is less than the least normal number, as it is 0 in the kernels then."""
    return abs(sigma) < np.finfo(sigma.dtype).tiny
