"""Operations on tensors: arithmetic, functions, reductions, matrix products; shapes and look-up from shape_ops.py.

Each is a small `Op` and a function that calls it. Two-argument operations work on one shape; broadcasting is an
operation of its own, and summation its adjoint, so no other has to think of it. Tensor's operators (+, *, @, [], ...)
are given to it at the end of this file: in one file with Tensor and Op, as in micrograd, there would be 800 lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from minigan.engine import products
from minigan.engine.autograd import Add, Op, Tensor, in_float32
from minigan.engine.devices import BF16, Array, array_module
from minigan.engine.loops.activation import leaky, leaky_gradient, tanh_gradient
from minigan.engine.products import elementwise
from minigan.engine.shape_ops import broadcast_to as broadcast_to
from minigan.engine.shape_ops import concatenate as concatenate
from minigan.engine.shape_ops import describe
from minigan.engine.shape_ops import embedding as embedding
from minigan.engine.shape_ops import reshape as reshape
from minigan.engine.shape_ops import sum_to as sum_to
from minigan.engine.shape_ops import swap_last as swap_last
from minigan.engine.shape_ops import take as take
from minigan.engine.shape_ops import transpose as transpose

Axis = int | tuple[int, ...] | None


# ---- arithmetic --------------------------------------------------------------------------------------------

class Affine(Op):
    """scale * x + shift, for numbers."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0):
        self.scale, self.shift = scale, shift

    def forward(self, x: Array) -> Array:
        xp, kind = array_module(x), x.dtype.type
        if self.scale != 1:
            x = elementwise(xp.multiply, x, kind(self.scale))
        return elementwise(xp.add, x, kind(self.shift)) if self.shift != 0 else x

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy * self.scale,)


class Multiply(Op):
    def forward(self, x0: Array, x1: Array) -> Array:
        self.saves = tuple(i for i in (0, 1) if self.needs[1 - i])
        return elementwise(array_module(x0, x1).multiply, x0, x1)

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(gy * self.saved[1 - i] if self.needs[i] else None for i in (0, 1))


class Divide(Op):
    def forward(self, x0: Array, x1: Array) -> Array:
        self.saves = (0, 1) if self.needs[1] else (1,)
        return x0 / x1

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        x1 = self.saved[1]
        return (gy / x1 if self.needs[0] else None, -gy * self.saved[0] / (x1 * x1) if self.needs[1] else None)


class Power(Op):
    """x ** exponent, for a constant exponent."""

    saves = (0,)

    def __init__(self, exponent: float):
        self.exponent = exponent

    def forward(self, x: Array) -> Array:
        return x ** x.dtype.type(self.exponent)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        if self.exponent == 1:
            return (gy,)
        return (gy * power(self.saved[0], self.exponent - 1) * self.exponent if self.exponent else gy * 0.0,)


# ---- functions of one element ------------------------------------------------------------------------------

class Exp(Op):
    def forward(self, x: Array) -> Array:
        self.y = array_module(x).exp(x)
        return self.y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy * self.output(self.y),)


class Log(Op):
    saves = (0,)

    def forward(self, x: Array) -> Array:
        return array_module(x).log(x)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy / self.saved[0],)


class Sqrt(Op):
    def forward(self, x: Array) -> Array:
        self.y = array_module(x).sqrt(x)
        return self.y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy * 0.5 / self.output(self.y),)


class Tanh(Op):
    def forward(self, x: Array) -> Array:
        self.y = elementwise(array_module(x).tanh, x)
        return self.y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        y = self.output(self.y)
        return (gy * (1 - y * y),)

    def fused_backward(self, gy: Array) -> tuple[Array]:
        return (tanh_gradient(gy, self.y),)


class Sigmoid(Op):
    def forward(self, x: Array) -> Array:
        xp = array_module(x)
        # neither exponential overflows, and small results keep their digits; 0.5 + 0.5 tanh(x / 2) loses them
        zero, one = x.dtype.type(0), x.dtype.type(1)  # beside a 0-d float32, NumPy 1 makes float64 of Python's 0 and 1
        self.y = xp.exp(xp.minimum(x, zero)) / (one + xp.exp(-abs(x)))
        return self.y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        y = self.output(self.y)
        return (gy * y * (1 - y),)


class Softplus(Op):
    """log(1 + exp(x))."""

    saves = (0,)

    def forward(self, x: Array) -> Array:
        xp = array_module(x)
        return xp.maximum(x, x.dtype.type(0)) + xp.log1p(xp.exp(-abs(x)))

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy * sigmoid(self.saved[0]),)


class LeakyReLU(Op):
    """x where x > 0, slope * x elsewhere; at 0 the derivative is the slope."""

    adds = takes_bf16 = True

    def __init__(self, slope: float):
        self.slope = slope

    def forward(self, x: Array) -> Array:
        self.y = elementwise(lambda x, out=None: leaky(x, self.slope, out), x)
        return self.y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (LeakyMask(self.y, self.slope)(gy),)

    def fused_backward(self, gy: Array, before: Array | None = None) -> tuple[Array]:
        return (leaky_gradient(gy, self.y, self.slope, before),)


class LeakyMask(Op):
    """gy where y > 0, slope * gy elsewhere: linear in gy, and its own adjoint."""

    takes_bf16 = True

    def __init__(self, y: Array, slope: float):
        self.y, self.slope = y, slope

    def forward(self, gy: Array) -> Array:
        return leaky_gradient(gy, self.y, self.slope)

    def backward(self, g: Tensor) -> tuple[Tensor]:
        return (LeakyMask(self.y, self.slope)(g),)


# ---- reductions and products -------------------------------------------------------------------------------

class Sum(Op):
    def __init__(self, axis: Axis, keepdims: bool):
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Array) -> Array:
        self.from_shape = x.shape
        return x.sum(axis=self.axis, keepdims=self.keepdims)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (broadcast_to(reshape(gy, _kept(self.from_shape, self.axis)), self.from_shape),)


class Max(Op):
    """Largest element; several equal ones share the gradient."""

    def __init__(self, axis: Axis, keepdims: bool):
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Array) -> Array:
        y = x.max(axis=self.axis, keepdims=True)
        if any(self.needs):
            self.share = (x == y).astype(x.dtype)
            self.share /= self.share.sum(axis=self.axis, keepdims=True)
        return y if self.keepdims else y.reshape(_dropped(x.shape, self.axis))

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (broadcast_to(reshape(gy, _kept(self.share.shape, self.axis)), self.share.shape) * Tensor(self.share),)


class MatMul(Op):
    """x0 @ x1, matrices in the last two axes, leading axes equal."""

    def forward(self, x0: Array, x1: Array) -> Array:
        self.saves = tuple(i for i in (0, 1) if self.needs[1 - i])
        return products.matmul(x0, x1)

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        return (gy @ swap_last(self.saved[1]) if self.needs[0] else None,
                swap_last(self.saved[0]) @ gy if self.needs[1] else None)


class LogSoftmax(Op):
    """x - log(sum(exp(x))) over the last axis."""

    def forward(self, x: Array) -> Array:
        xp = array_module(x)
        shifted = x - x.max(axis=-1, keepdims=True)
        self.y = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
        return self.y

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy - exp(self.output(self.y)) * sum(gy, axis=-1, keepdims=True),)


# ---- functions ---------------------------------------------------------------------------------------------

def as_tensor(x: Any, like: Tensor | None = None) -> Tensor:
    """x as a Tensor; numbers, lists and integers take the dtype and the array module of `like`."""
    if isinstance(x, Tensor):
        return x
    if like is not None and not (getattr(x, "ndim", 0) and x.dtype.kind == "f"):
        return Tensor(array_module(like.data).asarray(x, like.dtype))
    return Tensor(x)


def add(x0: Any, x1: Any) -> Tensor:
    """x0 + x1, broadcast."""
    if _is_number(x1):
        return Affine(shift=x1)(x0)
    return Add()(*_pair("add", x0, x1))


def subtract(x0: Any, x1: Any) -> Tensor:
    """x0 - x1, broadcast."""
    if _is_number(x1):
        return Affine(shift=-x1)(x0)
    if _is_number(x0):
        return Affine(-1.0, x0)(x1)
    a, b = _pair("subtract", x0, x1)
    return Add()(a, negative(b))


def multiply(x0: Any, x1: Any) -> Tensor:
    """x0 * x1 element by element, broadcast."""
    if _is_number(x1):
        return Affine(x1)(x0) if x1 != 1 else x0
    return Multiply()(*_pair("multiply", x0, x1))


def divide(x0: Any, x1: Any) -> Tensor:
    """x0 / x1, broadcast."""
    return Divide()(*_pair("divide", x0, x1))


def negative(x: Tensor) -> Tensor:
    """-x."""
    return Affine(-1.0)(x)


def power(x: Tensor, exponent: float) -> Tensor:
    """x ** exponent; the exponent is a number, not a Tensor."""
    if not isinstance(exponent, Real):
        raise TypeError(f"power: expected a number as exponent, got {type(exponent).__name__}; "
                        "for a Tensor use exp(exponent * log(x))")
    return Power(exponent)(x)


def exp(x: Tensor) -> Tensor:
    """e ** x."""
    return Exp()(x)


def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return Log()(x)


def sqrt(x: Tensor) -> Tensor:
    """Square root; its derivative at 0 is infinite."""
    return Sqrt()(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return Tanh()(x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    return Sigmoid()(x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return Softplus()(x)


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return LeakyReLU(0.0)(x)


def leaky_relu(x: Tensor, slope: float = 0.1) -> Tensor:
    """x where x > 0, slope * x elsewhere; 0 <= slope <= 1 (0.1 in Miyato et al. 2018, Table 3)."""
    if not 0 <= slope <= 1:
        raise ValueError(f"leaky_relu: expected a slope of 0 to 1, got {slope}")
    return LeakyReLU(slope)(x)


def log_softmax(x: Tensor) -> Tensor:
    """Logarithm of softmax over the last axis."""
    return LogSoftmax()(x)


def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """Sum over the axes (all by default)."""
    return Sum(axis, keepdims)(x)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean over the axes (all by default); of no elements it is 0."""
    y = Sum(axis, keepdims)(x)
    return y * (y.size / x.size) if x.size else y


def max(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """Largest element over the axes (all by default)."""
    return Max(axis, keepdims)(x)


def matmul(x0: Any, x1: Any) -> Tensor:
    """Matrix product of the last two axes; leading axes broadcast; vectors as in NumPy's @."""
    x0, x1 = _tensors("matmul", x0, x1)
    if x0.ndim == 0 or x1.ndim == 0 or x0.shape[-1] != x1.shape[-2 if x1.ndim > 1 else 0]:
        raise ValueError(f"matmul: the inner lengths differ: {describe(x0)} @ {describe(x1)}")
    a = reshape(x0, (1, *x0.shape)) if x0.ndim == 1 else x0
    b = reshape(x1, (*x1.shape, 1)) if x1.ndim == 1 else x1
    if a.ndim > 2 and b.ndim == 2:  # a stack times one matrix is one product of matrices
        rows = reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
        y = reshape(MatMul()(rows, b), (*a.shape[:-1], b.shape[-1]))
    else:
        try:
            lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            raise ValueError(f"matmul: leading axes do not broadcast: {describe(x0)} @ {describe(x1)}") from None
        y = MatMul()(broadcast_to(a, lead + a.shape[-2:]), broadcast_to(b, lead + b.shape[-2:]))
    if x0.ndim > 1 and x1.ndim > 1:
        return y
    return reshape(y, y.shape[:-2] + x0.shape[-2:-1] + (x1.shape[-1:] if x1.ndim > 1 else ()))


def _pair(name: str, x0: Any, x1: Any) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one dtype, broadcast to one shape."""
    a, b = _tensors(name, x0, x1)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"{name}: the shapes do not broadcast: {describe(a)} and {describe(b)}") from None
    return broadcast_to(a, shape), broadcast_to(b, shape)


def _tensors(name: str, x0: Any, x1: Any) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one dtype."""
    a = as_tensor(x0, x1 if isinstance(x1, Tensor) else None)
    b = as_tensor(x1, a)
    if BF16 in (a.dtype, b.dtype) and a.dtype != b.dtype:
        a, b = in_float32(a), in_float32(b)
    if a.dtype != b.dtype:
        raise TypeError(f"{name}: the dtypes differ: {describe(a)} and {describe(b)}; convert one of them")
    return a, b


def _is_number(x: Any) -> bool:
    return isinstance(x, Real)


def _one_or_many(numbers: tuple[Any, ...]) -> Sequence[int]:
    """f(2, 3) and f((2, 3)) as the same thing."""
    return numbers[0] if len(numbers) == 1 and isinstance(numbers[0], tuple | list) else numbers


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape after a reduction that keeps its axes."""
    axes = range(len(shape)) if axis is None else [a % len(shape) for a in np.atleast_1d(axis)]
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _dropped(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    axes = range(len(shape)) if axis is None else [a % len(shape) for a in np.atleast_1d(axis)]
    return tuple(n for i, n in enumerate(shape) if i not in axes)


# ---- operators of Tensor: the one place where methods are given to a class from outside --------------------

Tensor.__add__ = Tensor.__radd__ = add
Tensor.__mul__ = Tensor.__rmul__ = multiply
Tensor.__sub__ = subtract
Tensor.__rsub__ = lambda x1, x0: subtract(x0, x1)
Tensor.__truediv__ = divide
Tensor.__rtruediv__ = lambda x1, x0: divide(x0, x1)
Tensor.__neg__ = negative
Tensor.__pow__ = power
Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda x1, x0: matmul(x0, x1)
Tensor.__getitem__ = take
Tensor.sum = sum
Tensor.mean = mean
Tensor.max = max
Tensor.reshape = lambda x, *shape: reshape(x, _one_or_many(shape))
Tensor.transpose = lambda x, *axes: transpose(x, _one_or_many(axes) if axes else None)
