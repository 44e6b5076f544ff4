"""Convolution as a closed trio of operations, alone and with upsampling or pooling.

A convolution y = x * W is linear in x and in W. Its two gradients are linear in their own two arguments, and
each of the three operations has the other two as its derivatives; so derivatives of every order exist, and a
gradient penalty needs nothing special. `Conv` and `ConvTranspose` add a bias and a leaky ReLU while a tile of
the result is in cache.

Layout: x (N, H, W, C), W (out, kh, kw, in). `conv_transpose2d` takes the weights of the convolution whose
input gradient it is: (channels of x, kh, kw, channels of the result).
"""

from __future__ import annotations

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Op, Tensor
from minigan.engine.cublas import dtype_of_result
from minigan.engine.cuda import compact
from minigan.engine.devices import BF16, FLOAT32, Array, array_module
from minigan.engine.im2col import correlate, correlate_transposed, correlate_weights
from minigan.engine.loops.activation import Epilogue, bias_leaky_gradient
from minigan.engine.loops.spread import gather2x2, spread2x2
from minigan.engine.ops import LeakyMask
from minigan.engine.pool_ops import Pair, mean_pool2d, pair, steps, upsample2d
from minigan.engine.scaled import LateScale, Scaled


class Conv(Op):
    """Inputs x, W and maybe b: leaky(x * W + b). slope 1: no activation. scaled: W is its W. dtype: of the result."""

    takes_bf16 = True

    def __init__(self, stride: int, pad: Pair, slope: float = 1.0, scaled: Scaled | None = None,
                 dtype: np.dtype | None = None):
        self.stride, self.pad, self.slope, self.scaled, self.dtype = stride, pad, slope, scaled, dtype
        self.scale = None if scaled is None else scaled.scale

    def forward(self, x: Array, W: Array, *b: Array) -> Array:
        self.saves = tuple(i for i in (0, 1) if self.needs[1 - i])
        self.x_shape, self.x_dtype, self.W_shape = x.shape, x.dtype, W.shape
        size = (steps(x.shape[i + 1] + 2 * self.pad[i], W.shape[i + 1], self.stride) for i in (0, 1))
        y = array_module(x).empty((len(x), *size, len(W)), self.dtype or dtype_of_result(x))
        correlate(x, W, self.stride, *self.pad, y, Epilogue(b[0] if b else None, self.slope, self.scale))
        self.y = y if self.slope != 1 and any(self.needs) else None
        return y

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        gz = gy if self.y is None else LeakyMask(self.y, self.slope)(gy)
        gx = gW = None
        if self.needs[0]:
            W = self.saved[1] if self.scaled is None else LateScale(self.scaled)(self.saved[1])
            gx = ConvTranspose(self.stride, self.pad, self.x_shape[1:3], dtype=self.x_dtype)(gz, W)
        if self.needs[1]:
            gW = ConvWeights(self.stride, self.pad, self.W_shape[1:3])(self.saved[0], gz)
        return (gx, gW, *(ops.sum(gz, (0, 1, 2)) if need else None for need in self.needs[2:]))

    def fused_backward(self, gy: Array) -> tuple[Array | None, ...]:
        gz, gb = bias_leaky_gradient(gy, self.y, self.slope, any(self.needs[2:]))
        gx = gW = None
        if self.needs[1]:
            gW = correlate_weights(self.saved[0].data, gz, self.W_shape[1:3], self.stride, self.pad)
        if self.needs[0]:
            gx = array_module(gz).empty(self.x_shape, self.x_dtype)
            correlate_transposed(gz, self.saved[1].data, self.stride, self.pad, gx, Epilogue(scale=self.scale))
        return (gx, gW, gb)[:len(self.needs)]


class ConvTranspose(Op):
    """Inputs x, W and maybe b: leaky(the input gradient of Conv at output gradient x, + b). dtype: of the result."""

    takes_bf16 = True

    def __init__(self, stride: int, pad: Pair, size: Pair, slope: float = 1.0, dtype: np.dtype | None = None):
        self.stride, self.pad, self.size, self.slope, self.dtype = stride, pad, size, slope, dtype

    def forward(self, x: Array, W: Array, *b: Array) -> Array:
        self.saves = tuple(i for i in (0, 1) if self.needs[1 - i])
        self.W_shape, self.x_size, self.x_dtype = W.shape, x.shape[1:3], x.dtype
        y = array_module(x).empty((x.shape[0], *self.size, W.shape[3]), self.dtype or dtype_of_result(x))
        correlate_transposed(x, W, self.stride, self.pad, y, Epilogue(b[0] if b else None, self.slope))
        self.y = y if self.slope != 1 and any(self.needs) else None
        return y

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        gz = gy if self.y is None else LeakyMask(self.y, self.slope)(gy)
        gx = gW = None
        if self.needs[0]:
            gx = Conv(self.stride, self.pad, dtype=self.x_dtype)(gz, self.saved[1])
        if self.needs[1]:
            gW = ConvWeights(self.stride, self.pad, self.W_shape[1:3])(gz, self.saved[0])
        return (gx, gW, *(ops.sum(gz, (0, 1, 2)) if need else None for need in self.needs[2:]))

    def fused_backward(self, gy: Array) -> tuple[Array | None, ...]:
        gz, gb = bias_leaky_gradient(gy, self.y, self.slope, any(self.needs[2:]))
        gx = gW = None
        if self.needs[1]:
            gW = correlate_weights(gz, self.saved[0].data, self.W_shape[1:3], self.stride, self.pad)
        if self.needs[0]:
            W = self.saved[1].data
            gx = array_module(gz).empty((gz.shape[0], *self.x_size, W.shape[0]), self.x_dtype)
            correlate(gz, W, self.stride, *self.pad, gx)
        return (gx, gW, gb)[:len(self.needs)]


class ConvWeights(Op):
    """Inputs x and gy: the weight gradient of Conv at input x and output gradient gy."""

    takes_bf16 = True
    saves = (0, 1)

    def __init__(self, stride: int, pad: Pair, kernel: Pair):
        self.stride, self.pad, self.kernel = stride, pad, kernel

    def forward(self, x: Array, gy: Array) -> Array:
        return correlate_weights(x, gy, self.kernel, self.stride, self.pad)

    def backward(self, gW: Tensor) -> tuple[Tensor | None, ...]:
        x, gy = self.saved[0], self.saved[1]
        size = x.shape[1], x.shape[2]
        return (ConvTranspose(self.stride, self.pad, size, dtype=x.dtype)(gy, gW) if self.needs[0] else None,
                Conv(self.stride, self.pad, dtype=gy.dtype)(x, gW) if self.needs[1] else None)


def conv2d(x: Tensor, W: Tensor | Scaled, b: Tensor | None = None, stride: int = 1, pad: int | Pair = 0,
           slope: float = 1.0, dtype: np.dtype | None = None) -> Tensor:
    """Cross-correlation, bias and leaky ReLU: leaky(x * W + b).

    x (N, H, W, C); W (O, kh, kw, C); b (O,); any kernel, stride >= 1, zero padding on both sides of an axis.
    slope: of the leaky ReLU, 0 for ReLU, 1 for none. dtype: of the result; by default x's, or bfloat16 on a GPU whose
    products are rounded to it (cublas.precision), where x may be bfloat16, too.
    Returns (N, (H + 2 pad - kh) // stride + 1, (W + 2 pad - kw) // stride + 1, O).
    """
    pad = pair(pad)
    _check("conv2d", x, W, b, 3, 0, stride, pad, slope)
    if min(x.shape[1] + 2 * pad[0] - W.shape[1], x.shape[2] + 2 * pad[1] - W.shape[2]) < 0:
        raise ValueError(f"conv2d: the kernel {W.shape[1:3]} is larger than the padded image "
                         f"(x {x.shape}, pad {pad})")
    W, scaled = (W.W, W) if isinstance(W, Scaled) else (W, None)
    return Conv(stride, pad, slope, scaled, dtype)(*(t for t in (x, W, b) if t is not None))


def linear(x: Tensor, W: Tensor | Scaled, b: Tensor | None = None) -> Tensor:
    """x W^T + b: x (N, n_in), W (n_out, n_in), b (n_out,) -> (N, n_out) of W's dtype."""
    if isinstance(W, Scaled):  # as a convolution of one pixel
        pixel = W.then(lambda W: ops.reshape(W, (len(W), 1, 1, -1)))
        return ops.reshape(conv2d(ops.reshape(x, (len(x), 1, 1, -1)), pixel, b, dtype=W.W.dtype), (len(x), -1))
    y = x @ ops.transpose(W)
    return y if b is None else y + b


def conv_transpose2d(x: Tensor, W: Tensor | Scaled, b: Tensor | None = None, stride: int = 1, pad: int | Pair = 0,
                     slope: float = 1.0, output_pad: int | Pair = 0, dtype: np.dtype | None = None) -> Tensor:
    """Transposed convolution, bias and leaky ReLU: the adjoint of conv2d with the same W, stride and pad.

    x (N, H, W, C); W (C, kh, kw, O): the weights of the convolution from O to C channels; b (O,).
    Returns (N, (H - 1) stride + kh - 2 pad + output_pad, ..., O); output_pad < stride picks one of the sizes
    that the convolution would bring to (H, W). dtype: of the result, as of conv2d's.
    """
    pad, more = pair(pad), pair(output_pad)
    W = W.done() if isinstance(W, Scaled) else W
    _check("conv_transpose2d", x, W, b, 0, 3, stride, pad, slope)
    rows, columns = ((x.shape[1 + i] - 1) * stride + W.shape[1 + i] - 2 * pad[i] + more[i] for i in (0, 1))
    size = rows, columns
    if min(size) < 1 or not all(0 <= m < stride for m in more):
        raise ValueError(f"conv_transpose2d: result of {size} pixels, output_pad {more} "
                         f"(x {x.shape}, W {W.shape}, stride {stride}, pad {pad})")
    return ConvTranspose(stride, pad, size, slope, dtype)(*(t for t in (x, W, b) if t is not None))


# ---- with upsampling or pooling ----------------------------------------------------------------------------

def upsample_conv2d(x: Tensor, W: Tensor | Scaled, b: Tensor | None = None, slope: float = 1.0) -> Tensor:
    """conv2d(upsample2d(x), W, b, pad=kh // 2), with 2.25 times fewer multiplications for a 3x3 kernel.

    Upsampling repeats pixels, so a kernel meets each of them more than once; added up beforehand, the weights
    are those of a transposed convolution with stride 2. x (N, H, W, C), W (O, kh, kw, C).
    Returns (N, 2 H, 2 W, O) for an odd square kernel.
    """
    W = W.done() if isinstance(W, Scaled) else W
    _check("upsample_conv2d", x, W, b, 3, 0, 1, (0, 0), slope)
    if W.shape[1:3] != (3, 3):
        return conv2d(upsample2d(x), W, b, 1, W.shape[1] // 2, slope)
    return conv_transpose2d(x, Spread(turned=True)(W), b, 2, 1, slope)


def conv_mean_pool2d(x: Tensor, W: Tensor | Scaled, b: Tensor | None = None) -> Tensor:
    """mean_pool2d(conv2d(x, W, b, pad=kh // 2)), with 2.25 times fewer multiplications for a 3x3 kernel.

    That one is a 4x4 convolution with stride 2. x (N, H, W, C), W (O, kh, kw, C).
    Returns (N, H // 2, W // 2, O) for an odd square kernel.
    """
    _check("conv_mean_pool2d", x, W, b, 3, 0, 1, (0, 0), 1.0)
    if W.shape[1:3] != (3, 3):
        return mean_pool2d(conv2d(x, W, b, 1, W.shape[1] // 2))
    return conv2d(x, W.then(Spread(0.25)) if isinstance(W, Scaled) else Spread(0.25)(W), b, 2, 1)


class Spread(Op):
    """spread2x2: the kernel of W followed by a sum of 2 x 2 pixels, times factor; turned: for upsampling before it."""

    def __init__(self, factor: float = 1.0, turned: bool = False):
        self.factor, self.turned = factor, turned

    def forward(self, W: Array) -> Array:
        return spread2x2(compact(W), self.factor, self.turned)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (Gather(self.factor, self.turned)(gy),)


class Gather(Op):
    """gather2x2, the adjoint of Spread."""

    def __init__(self, factor: float = 1.0, turned: bool = False):
        self.factor, self.turned = factor, turned

    def forward(self, wide: Array) -> Array:
        return gather2x2(compact(wide), self.factor, self.turned)

    def backward(self, gW: Tensor) -> tuple[Tensor]:
        return (Spread(self.factor, self.turned)(gW),)


# ---- inside ------------------------------------------------------------------------------------------------

def _check(name: str, x: Tensor, W: Tensor | Scaled, b: Tensor | None, in_axis: int, out_axis: int, stride: int,
           pad: Pair, slope: float) -> None:
    W = W.W if isinstance(W, Scaled) else W
    fits = x.dtype == W.dtype or x.dtype == BF16 and W.dtype == FLOAT32
    if (x.ndim == W.ndim == 4 and x.shape[3] == W.shape[in_axis] and fits and stride >= 1
            and min(pad) >= 0 and 0 <= slope <= 1
            and (b is None or b.shape == (W.shape[out_axis],) and b.dtype == W.dtype)):
        return
    given = f"(x {x.shape} {x.dtype}, W {W.shape} {W.dtype}"
    given += f", b {b.shape} {b.dtype})" if b is not None else ")"
    if x.ndim != 4 or W.ndim != 4:
        raise ValueError(f"{name}: expected x (N, H, W, C) and W with 4 axes {given}")
    if x.shape[3] != W.shape[in_axis]:
        raise ValueError(f"{name}: x has {x.shape[3]} channels, W expects {W.shape[in_axis]} {given}")
    if b is not None and b.shape != (W.shape[out_axis],):
        raise ValueError(f"{name}: expected a bias of {W.shape[out_axis]} numbers {given}")
    if not fits or (b is not None and b.dtype != W.dtype):
        raise TypeError(f"{name}: the dtypes differ {given}; convert them")
    raise ValueError(f"{name}: expected stride >= 1, pad >= 0 and a slope of 0 to 1, "
                     f"got stride {stride}, pad {pad}, slope {slope}")
