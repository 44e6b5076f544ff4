"""Pooling and upsampling, and the windows of an image as an operation: (N, H, W, C) throughout."""

from __future__ import annotations

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Op, Tensor
from minigan.engine.cuda import compact
from minigan.engine.devices import Array, array_module
from minigan.engine.loops.resample import pool2x, upsample2x
from minigan.engine.loops.windows import col2im, im2col

Pair = tuple[int, int]


class Upsample(Op):
    """upsample2x: each pixel repeated 2 x 2 times, times factor."""

    takes_bf16 = True

    def __init__(self, factor: float):
        self.factor = factor

    def forward(self, x: Array) -> Array:
        return upsample2x(x, self.factor)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (Pool(self.factor)(gy),)


class Pool(Op):
    """pool2x: factor times the sum of 2 x 2 pixels, for even sizes."""

    takes_bf16 = True

    def __init__(self, factor: float):
        self.factor = factor

    def forward(self, x: Array) -> Array:
        return pool2x(x, self.factor)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (Upsample(self.factor)(gy),)


class Windows(Op):
    """(N, H, W, C) -> (N, oh, ow, kh, kw, C): every window of x, zeros (or `fill`) outside."""

    def __init__(self, kernel: Pair, stride: int, pad: Pair, fill: float = 0.0):
        self.kernel, self.stride, self.pad, self.fill = kernel, stride, pad, fill

    def forward(self, x: Array) -> Array:
        self.x_shape, pad = x.shape, self.pad
        oh, ow = (steps(x.shape[i + 1] + 2 * pad[i], self.kernel[i], self.stride) for i in (0, 1))
        if self.fill != 0:
            x = array_module(x).pad(x, ((0, 0), (pad[0],) * 2, (pad[1],) * 2, (0, 0)), constant_values=self.fill)
            pad = (0, 0)
        return im2col(x, self.kernel, self.stride, pad, (oh, ow)).reshape(len(x), oh, ow, *self.kernel, -1)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (Fold(self.kernel, self.stride, self.pad, self.x_shape)(gy),)


class Fold(Op):
    """The adjoint of Windows: every window added back where it was taken."""

    def __init__(self, kernel: Pair, stride: int, pad: Pair, x_shape: tuple[int, ...]):
        self.kernel, self.stride, self.pad, self.x_shape = kernel, stride, pad, x_shape

    def forward(self, g: Array) -> Array:
        return col2im(compact(g), self.x_shape, self.kernel, self.stride, self.pad, g.shape[1:3])

    def backward(self, gx: Tensor) -> tuple[Tensor]:
        return (Windows(self.kernel, self.stride, self.pad)(gx),)


def windows(x: Tensor, kernel: int | Pair, stride: int = 1, pad: int | Pair = 0, fill: float = 0.0) -> Tensor:
    """Every window of x (N, H, W, C) as (N, oh, ow, kh, kw, C); `fill` where a window leaves the image."""
    kernel, pad = pair(kernel), pair(pad)
    _check_pool(x, kernel, stride, pad)
    return Windows(kernel, stride, pad, fill)(x)


def sum_pool2d(x: Tensor, kernel: int | Pair = 2, stride: int | None = None, pad: int | Pair = 0) -> Tensor:
    """Sum over windows; the stride is the kernel's height by default; padding counts as zeros."""
    (kh, kw), step = pair(kernel), stride if stride is not None else pair(kernel)[0]
    _check_pool(x, (kh, kw), step, pair(pad))
    if kh == kw == step == 2 and pair(pad) == (0, 0) and x.shape[1] % 2 == x.shape[2] % 2 == 0:
        return Pool(1.0)(x)
    return ops.sum(windows(x, kernel, step, pad), (3, 4))


def mean_pool2d(x: Tensor, kernel: int | Pair = 2, stride: int | None = None, pad: int | Pair = 0) -> Tensor:
    """Mean over windows; padding counts as zeros (PyTorch's count_include_pad=True)."""
    kh, kw = pair(kernel)
    if (kh, kw, stride or 2, pair(pad)) == (2, 2, 2, (0, 0)) and x.shape[1] % 2 == x.shape[2] % 2 == 0:
        return Pool(0.25)(x)
    return sum_pool2d(x, kernel, stride, pad) * (1 / (kh * kw))


def max_pool2d(x: Tensor, kernel: int | Pair = 2, stride: int | None = None, pad: int | Pair = 0) -> Tensor:
    """Largest element of each window; equal ones share the gradient; padding never wins (pad < kernel)."""
    (kh, kw), (py, px) = pair(kernel), pair(pad)
    if py >= kh or px >= kw:
        raise ValueError(f"max_pool2d: with kernel {(kh, kw)} and pad {(py, px)} a window may hold padding "
                         "only; pad by less than the kernel")
    return ops.max(windows(x, kernel, stride if stride is not None else kh, pad, fill=-np.inf), (3, 4))


def upsample2d(x: Tensor, factor: int = 2) -> Tensor:
    """Nearest-neighbour upsampling: each pixel becomes a square of factor x factor."""
    if x.ndim != 4 or factor < 1:
        raise ValueError("upsample2d: expected images (N, H, W, C) and a factor of at least 1, "
                         f"got x {x.shape}, factor {factor}")
    if factor == 2:
        return Upsample(1.0)(x)
    N, H, W, C = x.shape
    x = ops.broadcast_to(ops.reshape(x, (N, H, 1, W, 1, C)), (N, H, factor, W, factor, C))
    return ops.reshape(x, (N, H * factor, W * factor, C))


def upsample_bilinear2d(x: Tensor) -> Tensor:
    """Twice the size by bilinear interpolation, as PyTorch's with align_corners=False: (N, H, W, C) -> (N, 2H, 2W, C).

    Along each axis a pixel becomes two, (x[i - 1] + 3 x[i]) / 4 and (3 x[i] + x[i + 1]) / 4, where what lies beyond the
    edge is the edge. It is nearest upsampling and a mean of neighbours after it, whose matrix is symmetric with rows
    that add up to 1: its norm is nearest upsampling's, 2.
    """
    if x.ndim != 4:
        raise ValueError(f"upsample_bilinear2d: expected images (N, H, W, C), got x {x.shape}")
    for axis in (1, 2):
        before, after = (tuple(part if i == axis else slice(None) for i in range(4))
                         for part in (slice(None, 1), slice(1, None)))
        upto, last = (tuple(part if i == axis else slice(None) for i in range(4))
                      for part in (slice(None, -1), slice(-1, None)))
        left = ops.concatenate([ops.take(x, before), ops.take(x, upto)], axis)
        right = ops.concatenate([ops.take(x, after), ops.take(x, last)], axis)
        shape = (*x.shape[:axis + 1], 1, *x.shape[axis + 1:])
        pairs = ops.concatenate([ops.reshape(y, shape) for y in (left * 0.25 + x * 0.75, x * 0.75 + right * 0.25)],
                                axis + 1)
        x = ops.reshape(pairs, (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1:]))
    return x


def steps(length: int, kernel: int, stride: int) -> int:
    """How many windows fit into `length` pixels."""
    return (length - kernel) // stride + 1


def pair(n: int | Pair) -> Pair:
    return n if isinstance(n, tuple) else (n, n)


def _check_pool(x: Tensor, kernel: Pair, stride: int, pad: Pair) -> None:
    if min(*kernel, stride) < 1 or min(pad) < 0 or x.ndim != 4 or any(
            x.shape[i + 1] + 2 * pad[i] < kernel[i] for i in (0, 1)):
        raise ValueError("pooling: expected images (N, H, W, C) no smaller than the kernel, kernel >= 1, "
                         f"stride >= 1, pad >= 0; got x {x.shape}, kernel {kernel}, stride {stride}, "
                         f"pad {pad}")
