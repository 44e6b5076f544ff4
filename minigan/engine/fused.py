"""The inner loops that are worth fusing, on plain arrays.

Each function here is the definition of one loop in NumPy; for CuPy's arrays in float32 it hands over to the launcher of
the CUDA kernel that does the same, and for all others CuPy has (float64, views) it runs as it stands here.
tests/kernels/ hold the two equal. On a CPU large arrays are cut into blocks over the threads; the cuts depend
on the shapes alone, so sums have the same bytes for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minigan.engine import launchers, launchers_all
from minigan.engine.devices import Array, array_module
from minigan.engine.products import elementwise
from minigan.engine.thread_pool import blocks, parallel, scratch

BLOCK = 1 << 17  # elements of one block: half a MiB in float32


def has_kernels(*arrays: Array | None) -> bool:
    """Whether the CUDA kernels take these arrays: CuPy's, float32, C-contiguous; None is passed over."""
    given = [a for a in arrays if a is not None]
    return array_module(*given) is not np and all(a.dtype == np.float32 and a.flags.c_contiguous for a in given)


def compact(x: Array) -> Array:
    """x itself; of CuPy's a copy if it is a view that the kernels would not take."""
    return x if isinstance(x, np.ndarray) else array_module(x).ascontiguousarray(x)


# ---- activation ----------------------------------------------------------------------------------------------------

def leaky(x: Array, slope: float, out: Array = None) -> Array:
    """Leaky ReLU of an array; out may be x."""
    if not 0 <= slope <= 1:
        raise ValueError(f"leaky_relu: expected a slope of 0 to 1, got {slope}")
    xp = array_module(x)
    if slope == 0:
        return xp.maximum(x, x.dtype.type(0), out=out)
    return xp.maximum(x, x * x.dtype.type(slope), out=out)


def leaky_mask(gy: Array, y: Array, slope: float, out: Array = None) -> Array:
    """gy times the derivative of leaky ReLU where its result was y; out may be gy."""
    xp = array_module(gy, y)
    if slope == 0:
        return xp.multiply(gy, y > 0, out=out)
    factor = xp.maximum((y > 0).astype(gy.dtype), gy.dtype.type(slope))
    return xp.multiply(gy, factor, out=out)


def bias_leaky(y: Array, b: Array | None = None, slope: float = 1.0, scale: Array | None = None) -> Array:
    """leaky(y * scale + b), in place: what follows a product of matrices. y (..., C), b (C,), scale of one element."""
    if has_kernels(y, b, scale):
        return launchers.bias_leaky(y, b, slope, scale)
    if scale is not None:
        y *= scale
    if b is not None:
        y += b
    return leaky(y, slope, out=y) if slope != 1 else y


def bias_leaky_gradient(gy: Array, y: Array | None, slope: float, want_bias: bool) -> tuple[Array, Array | None]:
    """The gradient before the activation, gy where y > 0 and slope * gy elsewhere, and its sum (C,) if asked for.

    gy (..., C); y: the result of the activation; None if there was none, then the first result is gy itself.
    """
    gy = compact(gy)
    if has_kernels(gy, y):
        return launchers.bias_leaky_gradient(gy, y, slope, want_bias)
    gz = gy if y is None else elementwise(lambda g, y, out=None: leaky_mask(g, y, slope, out), gy, y)
    return gz, sum_rows(gz) if want_bias else None


# ---- sums ----------------------------------------------------------------------------------------------------------

def sum_rows(x: Array) -> Array:
    """(..., C) -> (C,): the sum over all axes but the last, in blocks of a fixed size over the threads."""
    if has_kernels(x):
        return launchers.sum_rows(x)
    rows = x.reshape(-1, x.shape[-1])
    if array_module(x) is not np:
        return rows.sum(0)
    return np.stack(parallel(lambda part: rows[part].sum(0), _row_blocks(rows) or [slice(0)])).sum(0)


def sample_norms(g: Array) -> Array:
    """The L2 norm of each sample: g (N, ...) -> (N,)."""
    if has_kernels(g):
        return launchers.sample_norms(g)
    flat = g.reshape(len(g), math.prod(g.shape[1:]))
    return array_module(g).sqrt((flat * flat).sum(1))


def sample_norms_gradient(gn: Array, g: Array, norms: Array) -> Array:
    """The gradient of sample_norms: gn[n] * g / norms[n], 0 where the norm is 0; gn and norms (N,), g (N, ...)."""
    if has_kernels(gn, g, norms):
        return launchers.sample_norms_gradient(gn, g, norms)
    factor = gn * (norms > 0) / array_module(g).maximum(norms, np.finfo(g.dtype).tiny)
    return g * factor.reshape(-1, *[1] * (g.ndim - 1))


# ---- spectral normalization ----------------------------------------------------------------------------------------

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
    if has_kernels(W, u):
        (u,), (v,), sigmas, _ = launchers_all.power_iterations([W], [u], n_iter, eps)
        return u, v, sigmas.reshape(())
    xp = array_module(W)
    for _ in range(n_iter):
        v = u @ W
        v /= xp.sqrt(v @ v) + W.dtype.type(eps)
        Wv = W @ v
        u = Wv / (xp.sqrt(Wv @ Wv) + W.dtype.type(eps))
    return u, v, u @ Wv


def spectral_gradient(gy: Array, W: Array, u: Array, v: Array, sigma: Array) -> Array:
    """The gradient of W / sigma(W) with respect to W: (gy - <gy, W / sigma> u v^T) / sigma.

    Miyato et al. 2018, Eq. (12), u and v held constant; all (out, in) but u (out,), v (in,), sigma (). 0 if sigma is.
    """
    if has_kernels(gy, W, u, v, sigma):
        return launchers_all.spectral_gradients([gy], [W], [u], [v], sigma.reshape(1))[0]
    inverse = inverse_of(sigma)
    gW = array_module(W).multiply.outer(u, v * -(gy.reshape(-1) @ W.reshape(-1) * inverse))
    gW += gy
    gW *= inverse
    return gW


def inverse_of(sigma: Array) -> Array:
    """1 / sigma; a zero W has sigma 0 and gives 0, so that W / sigma and its gradient are 0, not nan."""
    zero = is_zero(sigma)
    return ~zero / (sigma + zero)


def is_zero(sigma: Array) -> Array:
    """Whether sigma counts as 0: if it is less than the least normal number, as it is 0 in the kernels then."""
    return abs(sigma) < np.finfo(sigma.dtype).tiny


def power_iterations(Ws: Sequence[Array], us: Sequence[Array], n_iter: int = 1,
                     eps: float = 1e-12) -> tuple[list[Array], list[Array], Array, Array]:
    """power_iteration of every layer at once: (us, vs, sigmas (layers,), inverses (layers,)); 0 is the inverse of 0."""
    if has_kernels(*Ws, *us):
        return launchers_all.power_iterations(Ws, us, n_iter, eps)
    xp = array_module(*Ws)
    found = [power_iteration(W, u, n_iter, eps) for W, u in zip(Ws, us, strict=True)]
    sigmas = xp.stack([sigma for _, _, sigma in found])
    return [u for u, _, _ in found], [v for _, v, _ in found], sigmas, inverse_of(sigmas)


def spectral_gradients(gWs: Sequence[Array], Ws: Sequence[Array], us: Sequence[Array], vs: Sequence[Array],
                       sigmas: Array) -> list[Array]:
    """spectral_gradient of every layer at once; gWs, Ws (out, in), us (out,), vs (in,), sigmas (layers,)."""
    if has_kernels(*gWs, *Ws, *us, *vs, sigmas):
        return launchers_all.spectral_gradients(gWs, Ws, us, vs, sigmas)
    return [spectral_gradient(*layer) for layer in zip(gWs, Ws, us, vs, sigmas, strict=True)]


def scale_weights(Ws: Sequence[Array], inverses: Array) -> list[Array]:
    """W / sigma of every layer: Ws of any shape, inverses (layers,)."""
    if has_kernels(*Ws, inverses):
        return launchers_all.scale_weights(Ws, inverses)
    return [W * inverse for W, inverse in zip(Ws, inverses, strict=True)]


# ---- batch normalization -------------------------------------------------------------------------------------------

def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel over all other axes: x (..., C) -> (C,), (C,)."""
    if has_kernels(x):
        return launchers.batch_moments(x)
    rows = x.reshape(-1, x.shape[-1])
    mean = sum_rows(rows) / x.dtype.type(len(rows))
    xp = array_module(x)
    if xp is not np:
        return mean, ((rows - mean) ** 2).mean(0)

    def squares(part: slice) -> Array:
        d = np.subtract(rows[part], mean, out=scratch("block", rows[part].shape, x.dtype))
        return np.multiply(d, d, out=d).sum(0)
    parts = parallel(squares, _row_blocks(rows))
    return mean, np.stack(parts).sum(0) / x.dtype.type(len(rows))


def moved_moments(old_mean: Array, old_variance: Array, mean: Array, variance: Array, decay: float,
                  count: int) -> tuple[Array, Array]:
    """Running moments after a batch of `count` numbers a channel: decay * old + (1 - decay) * new, all (C,).

    The batch's variance is the biased one; what is added is the unbiased.
    """
    if has_kernels(old_mean, old_variance, mean, variance):
        return launchers.moved_moments(old_mean, old_variance, mean, variance, decay, count)
    unbiased = variance * (count / max(1, count - 1))
    return ((decay * old_mean + (1 - decay) * mean).astype(mean.dtype),
            (decay * old_variance + (1 - decay) * unbiased).astype(mean.dtype))


def batch_factors(mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """(inverse, scale, shift), all (C,): 1 / sqrt(variance + eps), gamma * inverse, beta - mean * scale."""
    if has_kernels(mean, variance, gamma, beta):
        return launchers.batch_factors(mean, variance, gamma, beta, eps)
    inverse = 1 / array_module(mean).sqrt(variance + mean.dtype.type(eps))
    scale = gamma * inverse
    return inverse, scale, beta - mean * scale


def normalize(x: Array, scale: Array, shift: Array, slope: float = 1.0) -> Array:
    """leaky(x * scale + shift), channel by channel: x (..., C), scale and shift (C,)."""
    if has_kernels(x, scale, shift):
        return launchers.normalize(x, scale, shift, slope)
    xp = array_module(x)
    if xp is not np:
        y = x * scale + shift
        return y if slope == 1 else leaky(y, slope, y)
    rows = x.reshape(-1, x.shape[-1])
    y = np.empty_like(rows)

    def block(part: slice) -> None:
        to = np.multiply(rows[part], scale, out=y[part])
        to += shift
        if slope != 1:
            leaky(to, slope, out=to)
    parallel(block, _row_blocks(rows))
    return y.reshape(x.shape)


def normalize_gradient(gy: Array, x: Array, y: Array | None, gamma: Array, mean: Array, inverse: Array,
                       slope: float = 1.0) -> tuple[Array, Array, Array]:
    """Gradients (gx, ggamma, gbeta) of leaky(gamma * (x - mean) * inverse + beta), mean and inverse taken from x.

    gy, x (..., C); y: the result, needed if slope != 1; gamma, mean, inverse (C,): 1 / sqrt(variance + eps).
    """
    if has_kernels(gy, x, y, gamma, mean, inverse):
        return launchers.normalize_gradient(gy, x, y, gamma, mean, inverse, slope)
    xp, C = array_module(x), x.shape[-1]
    g_rows, rows = gy.reshape(-1, C), x.reshape(-1, C)
    y_rows = None if y is None else y.reshape(-1, C)
    gx = xp.empty_like(rows)
    count = x.dtype.type(len(rows))

    def sums(part: slice) -> tuple[Array, Array]:  # leaves the gradient before the activation in gx
        gz = gx[part]
        if y_rows is None or slope == 1:
            gz[...] = g_rows[part]
        else:
            leaky_mask(g_rows[part], y_rows[part], slope, out=gz)
        hat = xp.subtract(rows[part], mean)
        hat *= gz
        return gz.sum(0), hat.sum(0)
    parts = parallel(sums, _row_blocks(rows)) if xp is np else [sums(slice(None))]
    gbeta, ggamma = (xp.stack(part).sum(0) for part in zip(*parts, strict=True))
    ggamma = ggamma * inverse
    # gx = gamma * inverse * (gz - mean(gz) - hat * mean(gz * hat)), hat = (x - mean) * inverse
    scale, slant = gamma * inverse, gamma * inverse * inverse * ggamma / count
    shift = scale * gbeta / count - slant * mean

    def finish(part: slice) -> None:
        to = gx[part]
        to *= scale
        to -= xp.multiply(rows[part], slant)
        to -= shift
    if xp is np:
        parallel(finish, _row_blocks(rows))
    else:
        finish(slice(None))
    return gx.reshape(x.shape), ggamma, gbeta


# ---- resampling ----------------------------------------------------------------------------------------------------

def upsample2x(x: Array, factor: float = 1.0) -> Array:
    """Each pixel repeated 2 x 2 times, times factor: (N, H, W, C) -> (N, 2 H, 2 W, C)."""
    if has_kernels(x):
        return launchers.upsample2x(x, factor)
    (N, H, W, C), xp = x.shape, array_module(x)
    y = xp.empty((N, 2 * H, 2 * W, C), x.dtype)
    y.reshape(N, H, 2, W, 2, C)[...] = (x if factor == 1 else x * x.dtype.type(factor))[:, :, None, :, None]
    return y


def pool2x(x: Array, factor: float = 1.0) -> Array:
    """factor times the sum of 2 x 2 pixels: (N, H, W, C) -> (N, H // 2, W // 2, C); the adjoint of upsample2x."""
    if min(x.shape[1:3]) < 2:
        raise ValueError(f"pool2x: expected images of at least 2 x 2 pixels, got x {x.shape}")
    if has_kernels(x):
        return launchers.pool2x(x, factor)
    x = x[:, :x.shape[1] // 2 * 2, :x.shape[2] // 2 * 2]
    y = x[:, ::2, ::2] + x[:, 1::2, ::2]
    y += x[:, ::2, 1::2]
    y += x[:, 1::2, 1::2]
    if factor != 1:
        y *= x.dtype.type(factor)
    return y


# ---- optimizer -----------------------------------------------------------------------------------------------------

def adam_all(ws: Sequence[Array], gs: Sequence[Array], ms: Sequence[Array], vs: Sequence[Array], rate: float,
             beta1: float, beta2: float, eps: float) -> None:
    """`adam` of every parameter."""
    gs = [compact(g) for g in gs]
    if has_kernels(*ws, *gs, *ms, *vs):
        return launchers_all.adam_all(ws, gs, ms, vs, rate, beta1, beta2, eps)
    for arrays in zip(ws, gs, ms, vs, strict=True):
        adam(*arrays, rate, beta1, beta2, eps)


def adam(w: Array, g: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, eps: float) -> None:
    """One step of Adam in place: m, v, then w -= rate * m / (sqrt(v) + eps). All of w's shape.

    rate is the learning rate times sqrt(1 - beta2^t) / (1 - beta1^t): eps stands outside the bias correction, as in
    Kingma and Ba 2015, section 2, and in Chainer and TensorFlow; PyTorch divides by sqrt(v / (1 - beta2^t)) + eps.
    Raises ValueError if w, m or v is not C-contiguous: their flat views would be copies, and the step would be lost.
    """
    if not all(a.flags.c_contiguous for a in (w, m, v)):
        raise ValueError(f"adam: expected C-contiguous w, m and v, got strides {w.strides}, {m.strides}, {v.strides} "
                         f"for shape {w.shape}")
    xp, kind = array_module(w), w.dtype.type
    flat = [a.reshape(-1) for a in (w, g, m, v)]

    def block(part: slice) -> None:
        w, g, m, v = (a[part] for a in flat)
        m *= kind(beta1)
        m += g * kind(1 - beta1)
        v *= kind(beta2)
        v += g * g * kind(1 - beta2)
        step = xp.sqrt(v)
        step += kind(eps)
        xp.divide(m, step, out=step)
        step *= kind(rate)
        w -= step
    if xp is np:
        parallel(block, blocks(w.size, BLOCK))
    else:
        block(slice(None))


def _row_blocks(rows: Array) -> list[slice]:
    """Blocks of whole rows."""
    return blocks(len(rows), max(1, BLOCK // rows.shape[1]))
