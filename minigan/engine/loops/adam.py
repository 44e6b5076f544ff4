"""One step of Adam for all parameters: kernels/adam.cu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigan.engine.cuda import THREADS, check_lists, compact, groups, kernels_take, launch, pointers, starts, table
from minigan.engine.devices import Array, array_module
from minigan.engine.thread_pool import BLOCK, FEW, blocks, parallel

FILE = "adam.cu"


def adam(w: Array, g: Array, m: Array, v: Array, rate: Array, beta1: float, beta2: float, eps: float) -> None:
    """One step of Adam in place: m, v, then w -= rate * m / (sqrt(v) + eps). All of w's shape.

    rate: () float64, the learning rate times sqrt(1 - beta2^t) / (1 - beta1^t); an array on w's device, since it
    changes with every step. So eps stands outside the bias correction, as in Kingma and Ba 2015, section 2, and in
    Chainer and TensorFlow; PyTorch divides by sqrt(v / (1 - beta2^t)) + eps.
    Raises ValueError if w, m or v is not C-contiguous: their flat views would be copies, and the step would be lost.
    """
    if not all(a.flags.c_contiguous for a in (w, m, v)):
        raise ValueError(f"adam: expected C-contiguous w, m and v, got strides {w.strides}, {m.strides}, {v.strides} "
                         f"for shape {w.shape}")
    xp, kind = array_module(w), w.dtype.type
    flat = [a.reshape(-1) for a in (w, _by_rows(g), m, v)]

    def block(part: slice) -> None:
        w, g, m, v = (a[part] for a in flat)
        m *= kind(beta1)
        m += g * kind(1 - beta1)
        v *= kind(beta2)
        v += g * g * kind(1 - beta2)
        step = xp.sqrt(v)
        step += kind(eps)
        xp.divide(m, step, out=step)
        step *= rate.astype(w.dtype)
        w -= step
    if xp is np:
        parallel(block, blocks(w.size, BLOCK), least=FEW)
    else:
        block(slice(None))


def _by_rows(g: Array) -> Array:
    """g, C-contiguous if it is a NumPy matrix that was transposed, as a dense layer's gradient is.

    NumPy copies column by column, and the numbers of a column, often a power of two apart, take the same few lines of
    the cache in turn. A copy with columns 64 bytes longer comes first: (2048, 128) in 0.09 ms in place of 0.5.
    """
    if not isinstance(g, np.ndarray) or g.ndim != 2 or g.flags.c_contiguous or not g.flags.f_contiguous:
        return g
    wide = np.empty((g.shape[1], len(g) + 64 // g.itemsize), g.dtype)[:, :len(g)]
    np.copyto(wide, g.T)
    return np.ascontiguousarray(wide.T)


def adam_all(ws: Sequence[Array], gs: Sequence[Array], ms: Sequence[Array], vs: Sequence[Array], rate: Array,
             beta1: float, beta2: float, eps: float) -> None:
    """`adam` of every parameter."""
    gs = [compact(g) for g in gs]
    if kernels_take(*ws, *gs, *ms, *vs):
        return launch_adam_all(ws, gs, ms, vs, rate, beta1, beta2, eps)
    for arrays in zip(ws, gs, ms, vs, strict=True):
        adam(*arrays, rate, beta1, beta2, eps)


def launch_adam_all(ws: Sequence[Array], gs: Sequence[Array], ms: Sequence[Array], vs: Sequence[Array], rate: Array,
                    beta1: float, beta2: float, eps: float) -> None:
    """In one launch, or one for every 64 parameters."""
    if not len(ws) == len(gs) == len(ms) == len(vs):
        raise ValueError("adam_all: expected a gradient, m and v for each parameter, "
                         f"got {len(ws)} ws, {len(gs)} gs, {len(ms)} ms, {len(vs)} vs")
    shapes = [w.shape for w in ws]
    xp = check_lists("adam_all", {"w": ws, "g": gs, "m": ms, "v": vs}, {"g": shapes, "m": shapes, "v": shapes})
    if array_module(rate) is np or rate.dtype != np.float64 or rate.size != 1:
        raise ValueError("adam_all: expected rate to be one float64 number in an array of CuPy's, "
                         f"got {type(rate).__name__} {rate.dtype} {rate.shape}")
    numbers = tuple(np.float32(a) for a in (beta1, 1 - beta1, beta2, 1 - beta2, eps))
    for part in groups(FILE, "Parameters", "w", len(ws)):
        sizes = [w.size for w in ws[part]]
        first = starts([-(-size // 1024) for size in sizes])  # four numbers a thread
        params = table(FILE, "Parameters", count=len(sizes), first=first, size=sizes, w=pointers(ws[part]),
                       g=pointers(gs[part]), m=pointers(ms[part]), v=pointers(vs[part]))
        launch(FILE, "adam", (first[-1],), (THREADS,), (params, rate, *numbers), xp=xp)
