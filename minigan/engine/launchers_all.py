"""The CUDA kernels that work on all layers or all parameters at once, whatever their number.

A network has many small arrays, and a launch takes longer than the work on most of them. So a launch gets a table of
sizes and pointers, passed by value like any number: nothing is copied to the GPU, and no pointer can go stale between
two launches. A table has room for 32 layers or 64 parameters; more go in several launches.

Arrays are CuPy's, float32, C-contiguous; results are fresh unless a function says "in place".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from minigan.engine.cuda import check, launch, layout, table
from minigan.engine.devices import Array
from minigan.engine.launchers import THREADS, tickets

SPECTRAL = "spectral_norm.cu"
WORK = 4096  # numbers of an array that are worth a block
MOST = 256  # blocks for one array; sn_correct reads as many parts, one a thread


def power_iterations(Ws: Sequence[Array], us: Sequence[Array], n_iter: int = 1,
                     eps: float = 1e-12) -> tuple[list[Array], list[Array], Array, Array]:
    """fused.power_iteration of every layer, in two launches an iteration: (us, vs, sigmas, inverses).

    Ws: matrices (out, in); us: vectors (out,), not modified. Returns new us (out,), vs (in,), and sigma and 1 / sigma
    of all layers: (layers,) each. A zero W gives sigma 0, u 0, v 0 and an inverse of 0 (not inf: then W / sigma and
    its gradient, computed with it, are 0 and not nan).
    """
    if not Ws or len(Ws) != len(us) or n_iter < 1 or any(W.ndim != 2 or W.size == 0 for W in Ws):
        raise ValueError("power_iterations: expected matrices that are not empty, a vector for each, and n_iter >= 1, "
                         f"got Ws {_shapes(Ws)}, us {_shapes(us)}, n_iter {n_iter}")
    xp = _check_all("power_iterations", {"W": Ws, "u": us}, {"u": [W.shape[:1] for W in Ws]})
    us_new = [xp.empty((W.shape[0],), np.float32) for W in Ws]
    vs = [xp.empty((W.shape[1],), np.float32) for W in Ws]
    sigmas, inverses = xp.empty((len(Ws),), np.float32), xp.empty((len(Ws),), np.float32)
    for i in range(n_iter):
        for part in _groups(len(Ws), _room(SPECTRAL, "Layers", "W")):
            rows, cols = [W.shape[0] for W in Ws[part]], [W.shape[1] for W in Ws[part]]
            strips, row_blocks = _starts([-(-c // 32) for c in cols]), _starts(rows)
            layers = table(SPECTRAL, "Layers", count=len(rows), offset=part.start, first_strip=strips,
                           first_row=row_blocks, rows=rows, cols=cols, W=_pointers(Ws[part]),
                           u=_pointers((us_new if i else us)[part]), v=_pointers(vs[part]),
                           u_new=_pointers(us_new[part]))
            launch(SPECTRAL, "sn_wtu", (strips[-1],), (32, 8), (layers,), xp=xp)
            launch(SPECTRAL, "sn_wv", (row_blocks[-1],), (128,),
                   (layers, sigmas, inverses, tickets(xp, len(rows)), np.float32(eps)))
    return us_new, vs, sigmas, inverses


def spectral_gradients(gWs: Sequence[Array], Ws: Sequence[Array], us: Sequence[Array], vs: Sequence[Array],
                       sigmas: Array) -> list[Array]:
    """fused.spectral_gradient of every layer, in two launches: (G - <G, W> / sigma * u v^T) / sigma.

    gWs: the gradients G of the normalized weights, (out, in) like Ws; us (out,), vs (in,), sigmas (layers,) as
    power_iterations gave them. Where sigma is 0 the result is 0.
    """
    if not len(gWs) == len(Ws) == len(us) == len(vs) or any(W.ndim != 2 or W.size == 0 for W in Ws):
        raise ValueError("spectral_gradients: expected a matrix that is not empty, its gradient, u and v for each "
                         f"layer, got gWs {_shapes(gWs)}, Ws {_shapes(Ws)}, us {_shapes(us)}, vs {_shapes(vs)}")
    xp = _check_all("spectral_gradients", {"W": Ws, "gW": gWs, "u": us, "v": vs},
                    {"gW": [W.shape for W in Ws], "u": [W.shape[:1] for W in Ws], "v": [W.shape[1:] for W in Ws]})
    if Ws:
        check("spectral_gradients", {"sigmas": (len(Ws),)}, sigmas=sigmas)
    dWs = [xp.empty(W.shape, np.float32) for W in Ws]
    for part in _groups(len(Ws), _room(SPECTRAL, "Gradients", "W")):
        sizes = [W.size for W in Ws[part]]
        first = _starts([_share(size) for size in sizes])
        layers = table(SPECTRAL, "Gradients", count=len(sizes), offset=part.start, first=first, size=sizes,
                       cols=[W.shape[1] for W in Ws[part]], G=_pointers(gWs[part]), W=_pointers(Ws[part]),
                       u=_pointers(us[part]), v=_pointers(vs[part]), dW=_pointers(dWs[part]))
        parts = xp.empty((first[-1],), np.float32)
        launch(SPECTRAL, "sn_dots", (first[-1],), (THREADS,), (layers, parts))
        launch(SPECTRAL, "sn_correct", (first[-1],), (THREADS,), (layers, parts, sigmas))
    return dWs


def scale_weights(Ws: Sequence[Array], inverses: Array) -> list[Array]:
    """W * inverse of every layer, in one launch: Ws of any shape, inverses (layers,)."""
    xp = _check_all("scale_weights", {"W": Ws}, {})
    if Ws:
        check("scale_weights", {"inverses": (len(Ws),)}, inverses=inverses)
    W_bars = [xp.empty(W.shape, np.float32) for W in Ws]
    for part in _groups(len(Ws), _room(SPECTRAL, "Scales", "W")):
        sizes = [W.size for W in Ws[part]]
        first = _starts([_share(size) for size in sizes])
        layers = table(SPECTRAL, "Scales", count=len(sizes), offset=part.start, first=first, size=sizes,
                       W=_pointers(Ws[part]), W_bar=_pointers(W_bars[part]))
        launch(SPECTRAL, "sn_scale", (first[-1],), (THREADS,), (layers, inverses))
    return W_bars


def adam_all(ws: Sequence[Array], gs: Sequence[Array], ms: Sequence[Array], vs: Sequence[Array], rate: float,
             beta1: float, beta2: float, eps: float) -> None:
    """fused.adam of every parameter, in place, in one launch; rate holds the bias correction already."""
    if not len(ws) == len(gs) == len(ms) == len(vs):
        raise ValueError("adam_all: expected a gradient, m and v for each parameter, "
                         f"got {len(ws)} ws, {len(gs)} gs, {len(ms)} ms, {len(vs)} vs")
    shapes = [w.shape for w in ws]
    xp = _check_all("adam_all", {"w": ws, "g": gs, "m": ms, "v": vs}, {"g": shapes, "m": shapes, "v": shapes})
    numbers = tuple(np.float32(a) for a in (rate, beta1, 1 - beta1, beta2, 1 - beta2, eps))
    for part in _groups(len(ws), _room("adam.cu", "Parameters", "w")):
        sizes = [w.size for w in ws[part]]
        first = _starts([-(-size // 1024) for size in sizes])  # four numbers a thread
        params = table("adam.cu", "Parameters", count=len(sizes), first=first, size=sizes, w=_pointers(ws[part]),
                       g=_pointers(gs[part]), m=_pointers(ms[part]), v=_pointers(vs[part]))
        launch("adam.cu", "adam", (first[-1],), (THREADS,), (params, *numbers), xp=xp)


def _check_all(launcher: str, lists: dict[str, Sequence[Array]], shapes: dict[str, list[Any]]) -> Any:
    """`check` of every array of every list; the array module (None for empty lists)."""
    xp = None
    for i, arrays in enumerate(zip(*lists.values(), strict=True)):
        names = [f"{name}s[{i}]" for name in lists]
        expected = {f"{name}s[{i}]": shape[i] for name, shape in shapes.items()}
        xp = check(launcher, expected, **dict(zip(names, arrays, strict=True)))
    return xp


def _room(file: str, struct: str, field: str) -> int:
    """How many layers or parameters a table takes."""
    return layout(file, struct)[field].shape[0]


def _groups(count: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def _starts(blocks: list[int]) -> list[int]:
    """[2, 3] -> [0, 2, 5]: the first block of each array, and the end."""
    return list(accumulate(blocks, initial=0))


def _share(size: int) -> int:
    """Blocks for an array of this size."""
    return min(MOST, -(-size // WORK))


def _pointers(arrays: Sequence[Array]) -> list[int]:
    return [a.data.ptr for a in arrays]


def _shapes(arrays: Sequence[Array]) -> list[tuple[int, ...]]:
    return [tuple(a.shape) for a in arrays]
