"""One function for each CUDA kernel that works on single arrays: checks, allocates, launches.

Arrays are CuPy's, float32, C-contiguous; results are fresh arrays unless a function says "in place". What a kernel
computes is said in kernels/*.cu; its NumPy twin, which takes float64 as well, is named in each docstring. The kernels
for all layers or parameters at once are in `minigan/engine/launchers_all.py`.

Nothing here waits for the GPU or copies anything to it: sizes and pointers travel as the kernel's own arguments.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigan.engine.cuda import check, launch, table
from minigan.engine.devices import Array

THREADS = 256  # of a block; the column kernels have 256 as well, in two directions
Pair = tuple[int, int]


# ---- spectral normalization, one matrix ----------------------------------------------------------------------------

def power_iteration_one(W: Array, u: Array, n_iter: int = 1, eps: float = 1e-12) -> tuple[Array, Array, Array]:
    """fused.power_iteration in one block: to be read, not to be fast. W (out, in), u (out,).

    Returns u (out,), v (in,), sigma ().
    """
    if W.ndim != 2 or n_iter < 1 or W.size == 0:
        raise ValueError(f"power_iteration_one: expected a matrix that is not empty and n_iter >= 1, got W {W.shape}, "
                         f"n_iter {n_iter}")
    rows, cols = W.shape
    xp = check("power_iteration_one", {"u": (rows,)}, W=W, u=u)
    u_new, v, sigma = (xp.empty((size,), np.float32) for size in (rows, cols, 1))
    launch("power_iteration.cu", "power_iteration", (1,), (THREADS,),
           (W, u, u_new, v, sigma, np.int32(rows), np.int32(cols), np.int32(n_iter), np.float32(eps)))
    return u_new, v, sigma.reshape(())


# ---- windows -------------------------------------------------------------------------------------------------------

def im2col(x: Array, kernel: Pair, stride: int, pad: Pair, size: Pair) -> Array:
    """Windows of x (N, H, W, C) as rows: (N * oh * ow, kh * kw * C), in the order (n, i, j) x (dy, dx, c).

    Window (i, j) begins at pixel (i * stride - pad[0], j * stride - pad[1]); outside x there are zeros. pad is (top,
    left) and may be negative. size: (oh, ow), how many windows a picture has. Twin: im2col._gather.
    """
    xp = check("im2col", {}, x=x)
    N, _, _, C = x.shape
    count = N * size[0] * size[1]
    columns = xp.empty((count, kernel[0] * kernel[1] * C), np.float32)
    if columns.size:
        windows = _windows("im2col", x.shape, kernel, stride, pad, size, count=count)
        wide = C % 4 == 0 and x.data.ptr % 16 == 0 and columns.data.ptr % 16 == 0
        launch("windows.cu", "im2col4" if wide else "im2col", (-(-count // 8),), (32, 8), (windows, x, columns))
    return columns


def col2im(columns: Array, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
           scale: Array | None = None, bias: Array | None = None, slope: float = 1.0,
           out: Array | None = None) -> Array:
    """The adjoint of im2col, then leaky(sum * scale + bias): columns (N * oh * ow, kh * kw * C) -> x (N, H, W, C).

    scale: one number, on the GPU; bias (C,). out: where to write x, if not into a fresh array.
    Twin: conv.Fold, then the epilogue of a convolution.
    """
    N, _, _, C = x_shape
    xp = check("col2im", {"columns": (N * size[0] * size[1], kernel[0] * kernel[1] * C), "bias": (C,),
                          "out": tuple(x_shape)},
               columns=columns, **_given(scale=scale, bias=bias, out=out))
    _check_scale("col2im", scale)
    x = xp.empty(tuple(x_shape), np.float32) if out is None else out
    windows = _windows("col2im", x_shape, kernel, stride, pad, size, count=x.size)
    launch("windows.cu", "col2im", _blocks(x.size), (THREADS,),
           (windows, columns, x, *_scale_and_bias(x, scale, bias), _slope("col2im", slope)))
    return x


# ---- activation ----------------------------------------------------------------------------------------------------

def bias_leaky(y: Array, bias: Array | None = None, slope: float = 1.0, scale: Array | None = None) -> Array:
    """leaky(y * scale + bias) in place, and y: y (..., C), bias (C,), scale one number on the GPU.

    Twin: fused.bias_leaky.
    """
    check("bias_leaky", {"bias": y.shape[-1:]}, y=y, **_given(scale=scale, bias=bias))
    _check_scale("bias_leaky", scale)
    launch("activation.cu", "bias_leaky", _blocks(y.size), (THREADS,),
           (y, *_scale_and_bias(y, scale, bias), _slope("bias_leaky", slope), np.int32(y.shape[-1]),
            np.int64(y.size)))
    return y


def bias_leaky_gradient(gy: Array, y: Array | None, slope: float, want_bias: bool = True) -> tuple[Array, Array | None]:
    """(gz, gb): gz = gy * (1 where y > 0, else slope), gb (C,) its sum over all axes but the last, or None.

    gy, y (..., C): the gradient of the result y of bias_leaky, and y; y None or slope 1: no activation, and gz is gy
    itself. Twin: fused.bias_leaky_gradient.
    """
    if y is None or slope == 1:
        return gy, sum_rows(gy) if want_bias else None
    xp = check("bias_leaky_gradient", {"y": gy.shape}, gy=gy, y=y)
    gz, factor = xp.empty_like(gy), _slope("bias_leaky_gradient", slope)
    if not want_bias:
        launch("activation.cu", "leaky_gradient", _blocks(gy.size), (THREADS,), (gy, y, gz, factor, np.int64(gy.size)))
        return gz, None
    C = gy.shape[-1]
    if gy.size == 0:
        return gz, xp.zeros((C,), np.float32)
    grid, block, per_block = _column_grid(gy.size // C, C)
    gb, parts = xp.empty((C,), np.float32), xp.empty((grid[1], C), np.float32)
    launch("activation.cu", "bias_leaky_gradient", grid, block,
           (gy, y, gz, gb, parts, tickets(xp, grid[0]), factor, np.int32(C), np.int64(gy.size // C), per_block))
    return gz, gb


def sum_rows(x: Array) -> Array:
    """(..., C) -> (C,): the sum over all axes but the last. Twin: fused.sum_rows."""
    xp, C = check("sum_rows", {}, x=x), x.shape[-1]
    if x.size == 0:
        return xp.zeros((C,), np.float32)
    grid, block, per_block = _column_grid(x.size // C, C)
    total, parts = xp.empty((C,), np.float32), xp.empty((grid[1], C), np.float32)
    launch("activation.cu", "sum_rows", grid, block,
           (x, total, parts, tickets(xp, grid[0]), np.int32(C), np.int64(x.size // C), per_block))
    return total


# ---- batch normalization -------------------------------------------------------------------------------------------

def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel over all other axes: x (..., C) -> (C,), (C,).

    Twin: fused.batch_moments.
    """
    xp, C = check("batch_moments", {}, x=x), x.shape[-1]
    if x.size == 0:
        raise ValueError(f"batch_moments: expected at least one row and one channel, got x {x.shape}")
    grid, block, per_block = _column_grid(x.size // C, C)
    mean, variance = xp.empty((C,), np.float32), xp.empty((C,), np.float32)
    parts = xp.empty((grid[1], C, 3), np.float32)
    launch("batch_norm.cu", "batch_moments", grid, block,
           (x, mean, variance, parts, tickets(xp, grid[0]), np.int32(C), np.int64(x.size // C), per_block))
    return mean, variance


def moved_moments(old_mean: Array, old_variance: Array, mean: Array, variance: Array, decay: float,
                  count: int) -> tuple[Array, Array]:
    """Running moments (C,) moved towards a batch's of `count` numbers. Twin: fused.moved_moments."""
    shape = mean.shape
    xp = check("moved_moments", {"old_mean": shape, "old_variance": shape, "variance": shape},
               old_mean=old_mean, old_variance=old_variance, mean=mean, variance=variance)
    to_mean, to_variance = xp.empty_like(mean), xp.empty_like(mean)
    launch("batch_norm.cu", "moved_moments", _blocks(mean.size), (THREADS,),
           (old_mean, old_variance, mean, variance, to_mean, to_variance, np.float32(decay), np.float32(1 - decay),
            np.float32(count / max(1, count - 1)), np.int32(mean.size)))
    return to_mean, to_variance


def batch_factors(mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """(inverse, scale, shift) of batch normalization, all (C,). Twin: fused.batch_factors."""
    shape = mean.shape
    xp = check("batch_factors", {"variance": shape, "gamma": shape, "beta": shape},
               mean=mean, variance=variance, gamma=gamma, beta=beta)
    inverse, scale, shift = (xp.empty_like(mean) for _ in range(3))
    launch("batch_norm.cu", "batch_factors", _blocks(mean.size), (THREADS,),
           (mean, variance, gamma, beta, inverse, scale, shift, np.float32(eps), np.int32(mean.size)))
    return inverse, scale, shift


def normalize(x: Array, scale: Array, shift: Array, slope: float = 1.0) -> Array:
    """leaky(x * scale + shift), channel by channel: x (..., C), scale and shift (C,). Twin: fused.normalize."""
    channels = x.shape[-1:]
    xp = check("normalize", {"scale": channels, "shift": channels}, x=x, scale=scale, shift=shift)
    y = xp.empty_like(x)
    launch("batch_norm.cu", "normalize", _blocks(x.size), (THREADS,),
           (x, scale, shift, y, _slope("normalize", slope), np.int32(x.shape[-1]), np.int64(x.size)))
    return y


def normalize_gradient(gy: Array, x: Array, y: Array | None, gamma: Array, mean: Array, inverse: Array,
                       slope: float = 1.0) -> tuple[Array, Array, Array]:
    """Gradients (gx, ggamma, gbeta) of leaky(gamma * (x - mean) * inverse + beta), mean and inverse taken from x.

    gy, x (..., C); y: the result, needed if slope != 1; gamma, mean, inverse (C,): 1 / sqrt(variance + eps).
    Twin: fused.normalize_gradient.
    """
    if y is None or slope == 1:
        y, slope = gy, 1.0  # not read
    C, channels = x.shape[-1], x.shape[-1:]
    xp = check("normalize_gradient", {"gy": x.shape, "y": x.shape, "gamma": channels, "mean": channels,
                                      "inverse": channels},
               gy=gy, x=x, y=y, gamma=gamma, mean=mean, inverse=inverse)
    if x.size == 0:
        raise ValueError(f"normalize_gradient: expected at least one row and one channel, got x {x.shape}")
    rows, factor = x.size // C, _slope("normalize_gradient", slope)
    grid, block, per_block = _column_grid(rows, C)
    gx, ggamma, gbeta = xp.empty_like(x), xp.empty((C,), np.float32), xp.empty((C,), np.float32)
    parts = xp.empty((grid[1], C, 2), np.float32)
    launch("batch_norm.cu", "normalize_sums", grid, block,
           (gy, x, y, mean, inverse, ggamma, gbeta, parts, tickets(xp, grid[0]), factor, np.int32(C), np.int64(rows),
            per_block))
    launch("batch_norm.cu", "normalize_gradient", _blocks(x.size), (THREADS,),
           (gy, x, y, gamma, mean, inverse, ggamma, gbeta, gx, factor, np.float32(1 / rows), np.int32(C),
            np.int64(x.size)))
    return gx, ggamma, gbeta


# ---- gradient penalty ----------------------------------------------------------------------------------------------

def sample_norms(g: Array) -> Array:
    """The L2 norm of each sample: g (N, ...) -> (N,). Twin: fused.sample_norms."""
    xp = check("sample_norms", {}, g=g)
    if g.size == 0:
        return xp.zeros((g.shape[0],), np.float32)
    norms = xp.empty((g.shape[0],), np.float32)
    launch("penalty.cu", "sample_norms", (g.shape[0],), (THREADS,), (g, norms, np.int64(g.size // g.shape[0])))
    return norms


def sample_norms_gradient(gn: Array, g: Array, norms: Array) -> Array:
    """The gradient of sample_norms: gn[n] * g / norms[n], 0 where the norm is 0; gn and norms (N,), g (N, ...).

    Twin: fused.sample_norms_gradient.
    """
    xp = check("sample_norms_gradient", {"gn": g.shape[:1], "norms": g.shape[:1]}, gn=gn, g=g, norms=norms)
    gg = xp.empty_like(g)
    if g.size:
        launch("penalty.cu", "sample_norms_gradient", _blocks(g.size), (THREADS,),
               (gn, g, norms, gg, np.int64(g.size // g.shape[0]), np.int64(g.size)))
    return gg


# ---- resampling ----------------------------------------------------------------------------------------------------

def upsample2x(x: Array, factor: float = 1.0) -> Array:
    """Each pixel repeated 2 x 2 times, times factor: (N, H, W, C) -> (N, 2 H, 2 W, C). Twin: fused.upsample2x."""
    xp = check("upsample2x", {}, x=x)
    N, H, W, C = x.shape
    y = xp.empty((N, 2 * H, 2 * W, C), np.float32)
    launch("resample.cu", "upsample2x", _blocks(y.size), (THREADS,),
           (x, y, np.float32(factor), np.int32(H), np.int32(W), np.int32(C), np.int64(y.size)))
    return y


def pool2x(x: Array, factor: float = 1.0) -> Array:
    """factor times the sum of 2 x 2 pixels: (N, H, W, C) -> (N, H // 2, W // 2, C). Twin: fused.pool2x."""
    xp = check("pool2x", {}, x=x)
    N, H, W, C = x.shape
    if min(H, W) < 2:
        raise ValueError(f"pool2x: expected images of at least 2 x 2 pixels, got x {x.shape}")
    y = xp.empty((N, H // 2, W // 2, C), np.float32)
    launch("resample.cu", "pool2x", _blocks(y.size), (THREADS,),
           (x, y, np.float32(factor), np.int32(H), np.int32(W), np.int32(C), np.int64(y.size)))
    return y


# ---- what several of them need -------------------------------------------------------------------------------------

_tickets: dict[tuple[Any, int], Array] = {}


def tickets(xp: Any, count: int) -> Array:
    """At least `count` zero ints on the current device: the counters by which a kernel finds its last block.

    A kernel leaves them zero, so they are made once; kernels that use them must be launched on one stream.
    """
    key = (xp, xp.cuda.Device().id)
    if key not in _tickets or _tickets[key].size < count:
        _tickets[key] = xp.zeros((max(1024, count),), np.int32)
    return _tickets[key]


def _blocks(count: int) -> tuple[int]:
    """A grid with a thread for each of `count` numbers."""
    return (-(-count // THREADS),)


def _column_grid(rows: int, C: int) -> tuple[Pair, Pair, np.int64]:
    """(grid, block, rows of a block) of the kernels that add up columns; from the shape alone, so sums stay equal."""
    width = min(32, 1 << (C - 1).bit_length())  # a warp reads 32 neighbouring channels; few channels: several rows
    height = THREADS // width
    strips = -(-C // width)
    groups = max(1, min(512 // strips, rows // (8 * height)))  # some blocks for each of 100 and more processors
    per_block = -(-rows // groups)
    return (strips, -(-rows // per_block)), (width, height), np.int64(per_block)


def _windows(launcher: str, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
             **values: int) -> np.ndarray:
    if len(x_shape) != 4 or min(*kernel, stride) < 1 or min(size) < 0:
        raise ValueError(f"{launcher}: expected images (N, H, W, C), kernel >= 1, stride >= 1, size >= 0, "
                         f"got {x_shape}, kernel {kernel}, stride {stride}, size {size}")
    (_, H, W, C), (kh, kw), (top, left), (oh, ow) = x_shape, kernel, pad, size
    reach = max((oh - 1) * stride + kh + abs(top), (ow - 1) * stride + kw + abs(left), H + abs(top), W + abs(left))
    if max(math.prod((kh, kw, C)), reach) >= 1 << 31:
        raise ValueError(f"{launcher}: expected places within a picture below 2^31, got {x_shape}, kernel {kernel}")
    return table("windows.cu", "Windows", H=H, W=W, C=C, kh=kh, kw=kw, stride=stride, top=top, left=left, oh=oh,
                 ow=ow, **values)


def _given(**arrays: Array | None) -> dict[str, Array]:
    return {name: a for name, a in arrays.items() if a is not None}


def _check_scale(launcher: str, scale: Array | None) -> None:
    if scale is not None and scale.size != 1:
        raise ValueError(f"{launcher}: expected scale to be one number, got shape {scale.shape}")


def _scale_and_bias(instead: Array, scale: Array | None, bias: Array | None) -> tuple[Any, ...]:
    """Arguments scale, bias, has_scale, has_bias; `instead` stands for an array that is not there and not read."""
    return (instead if scale is None else scale, instead if bias is None else bias,
            np.int32(scale is not None), np.int32(bias is not None))


def _slope(launcher: str, slope: float) -> np.float32:
    if not 0 <= slope <= 1:
        raise ValueError(f"{launcher}: expected a slope of 0 to 1, got {slope}")
    return np.float32(slope)
