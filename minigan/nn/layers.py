"""Layers: parameters and state in plain dicts, and a call that maps a Tensor to a Tensor.

params: name -> Tensor that is trained.  state: name -> array that is kept but not trained.  layers: name -> Layer.
Whether this is training or evaluation is an argument of the call, never a hidden switch: all that the layers of one
forward are told stands in a Pass, which each hands on to the layers below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from minigan.engine import conv_ops, ops, pool_ops
from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array, array_module, to_host
from minigan.engine.scaled import Scaled
from minigan.errors import FailedWork
from minigan.nn.initializers import Initializer, normal
from minigan.nn.lipschitz import InUse, product
from minigan.nn.weight_norms import NoNorm, Normalized, to_matrix


@dataclass(frozen=True)
class Pass:
    """What the layers of one forward are told beside their inputs.

    train: training or evaluation.  labels: (N,) integers, for layers that see an image's class.
    weights: layer -> its weights in use, where they were normalized for many layers at once; see Layer.weight.
    """

    train: bool = True
    labels: Array | None = None
    weights: Mapping[Normalized, Tensor | Scaled] = field(default_factory=dict)


Kind = TypeVar("Kind", bound="Layer")


class Layer:
    """Something with parameters that maps a Tensor to a Tensor: layer(x, train), or layer(x, train, labels).

    A subclass gives `forward`, and calls `forward` of the layers below it with the same Pass.
    """

    def __init__(self) -> None:
        self.params: dict[str, Tensor] = {}
        self.state: dict[str, Array] = {}
        self.layers: dict[str, Layer] = {}
        self.norm = NoNorm()

    @property
    def weighted(self) -> bool:
        """Whether it has a W whose singular values say how far it stretches."""
        return "W" in self.params

    # What a weight normalization may ask of its layer; here for a layer whose W is a plain matrix.
    out_axis = 0  # of W: the axis of the layer's outputs

    def operand_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one argument of `operator` when the layer's inputs have shape x_shape."""
        W = self.params["W"]
        return 1, W.size // W.shape[self.out_axis]

    def operator(self, W: Tensor, x: Tensor) -> Tensor:
        """The linear map of x that W stands for: without bias, activation and resampling."""
        return x @ ops.transpose(to_matrix(W, self.out_axis))

    def adjoint(self, W: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Its adjoint: <operator(W, x), y> = <x, adjoint(W, y, x.shape)>."""
        return y @ to_matrix(W, self.out_axis)

    def __call__(self, x: Tensor, train: bool = True, labels: Array | None = None) -> Tensor:
        return self.forward(x, Pass(train, labels))

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def weight(self, x_shape: tuple[int, ...], how: Pass) -> Tensor | Scaled:
        """The weights in use for an input of this shape: the pass's, if they are for it, or what the normalization
        makes of W now."""
        given = how.weights.get(self)
        if isinstance(given, Scaled) and given.operand not in (None, self.operand_shape(x_shape)):
            given = None
        return self.norm.weight(self, x_shape, how.train) if given is None else given

    def lipschitz(self, used: InUse) -> float | None:
        """A number that |self(x) - self(y)| / |x - y| never exceeds, for the weights in `used`; None: none is known.

        A class does not inherit its factor: whoever changes a layer's call has none until it says one of its own. A
        subclass with the same call says so: own_factor = Conv2d.own_factor.
        """
        return self.own_factor(used) if "own_factor" in vars(type(self)) else None

    def own_factor(self, used: InUse) -> float | None:
        """What a class says of its own call, made of `lipschitz` of the layers below it. Here: nothing is known."""
        return None

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) of this layer and all below it, in order; paths like "block1/conv2"."""
        yield prefix, self
        for name, layer in self.layers.items():
            yield from layer.walk(f"{prefix}/{name}" if prefix else name)

    def parameters(self) -> dict[str, Tensor]:
        """path/name -> Tensor of all trained parameters, in a fixed order."""
        return {f"{path}/{name}".lstrip("/"): p for path, layer in self.walk() for name, p in layer.params.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """path/name -> array on the host of all that a copy of this layer needs: parameters and state."""
        found = {name: p.data for name, p in self.parameters().items()}
        found |= {f"{path}/{name}".lstrip("/"): a for path, layer in self.walk() for name, a in layer.state.items()}
        return {name: to_host(a) for name, a in found.items()}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays()` of an equal layer gave. FailedWork names a difference; nothing changes then."""
        mine = self.arrays()
        if mine.keys() != arrays.keys():
            name = sorted(mine.keys() ^ arrays.keys())[0]
            raise FailedWork(f"the saved network does not fit this one: '{name}' is "
                             f"{'missing from the file' if name in mine else 'in the file only'}")
        for name, a in mine.items():
            saved = np.asarray(arrays[name])
            if a.dtype != saved.dtype or a.shape != saved.shape and a.size:  # none: comes with the first input
                raise FailedWork(f"the saved network does not fit this one: '{name}' is {saved.shape} "
                                 f"{saved.dtype} in the file, {a.shape} {a.dtype} here")
        for path, layer in self.walk():
            for name, p in layer.params.items():
                p.data = array_module(p.data).array(arrays[f"{path}/{name}".lstrip("/")], order="C")
            for name, a in layer.state.items():
                layer.state[name] = array_module(a).array(arrays[f"{path}/{name}".lstrip("/")], order="C")

    def to(self: Kind, xp: Any) -> Kind:
        """Move every array to the array module xp, in place; returns the layer."""
        for _, layer in self.walk():
            for p in layer.params.values():
                p.data = xp.asarray(p.data)
            layer.state = {name: xp.asarray(a) for name, a in layer.state.items()}
        return self

    def follow(self, other: Layer, share: Array | float) -> None:
        """Move every parameter and state by `share` of its way to those of an equal layer, in place.

        share: a number, or () float64 on the layers' device.
        """
        for (_, mine), (_, theirs) in zip(self.walk(), other.walk(), strict=True):
            for name, p in mine.params.items():
                p.data += _as(share, p.dtype) * (theirs.params[name].data - p.data)
            for name, a in mine.state.items():
                if a.shape != theirs.state[name].shape:  # it came with the first input
                    mine.state[name] = theirs.state[name].copy()
                    continue
                a += _as(share, a.dtype) * (theirs.state[name] - a)

    def after_update(self) -> None:
        """Let the normalizations act after an optimizer step."""
        for _, layer in self.walk():
            layer.norm.after_update(layer)

    def _weights(self, rng: np.random.Generator, init: Initializer, shape: tuple[int, ...], bias: int,
                 norm: NoNorm | None) -> None:
        self.params["W"] = Tensor(init(rng, shape).astype(np.float32, order="C"), requires_grad=True)
        if bias:
            self.params["b"] = Tensor(np.zeros(bias, np.float32), requires_grad=True)
        self.norm = norm or NoNorm()
        self.norm.attach(self, rng)


class Sequential(Layer):
    """Layers one after the other, by name."""

    def __init__(self, **layers: Layer):
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        for layer in self.layers.values():
            x = layer.forward(x, how)
        return x

    def own_factor(self, used: InUse) -> float | None:
        return product(*(layer.lipschitz(used) for layer in self.layers.values()))


class Linear(Layer):
    """x W^T + b: (N, n_in) -> (N, n_out). W (n_out, n_in)."""

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, init: Initializer, bias: bool = True,
                 norm: NoNorm | None = None):
        super().__init__()
        self._weights(rng, init, (n_out, n_in), n_out if bias else 0, norm)

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        return conv_ops.linear(x, self.weight(x.shape, how), self.params.get("b"))

    def own_factor(self, used: InUse) -> float | None:
        return used.norms.get(self)


# what a convolution can do beside it to the size of images -> the norm of that
FACTORS = {"up": 2.0, "bilinear": 2.0, "down": 0.5}


class Conv2d(Layer):
    """Convolution, bias, leaky ReLU: (N, H, W, n_in) -> (N, oh, ow, n_out). W (n_out, kernel, kernel, n_in).

    slope: of the leaky ReLU after it; 0 is ReLU, 1 none.
    resample: "up" to upsample before it (nearest), "down" to take the mean of 2 x 2 pixels after it; both are folded
        into the convolution and need stride 1, pad kernel // 2 and a kernel of 3 or 1, and so does "bilinear", to
        upsample so, which is not folded.
    """

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, kernel: int, stride: int = 1, pad: int = 0,
                 init: Initializer | None = None, slope: float = 1.0, norm: NoNorm | None = None,
                 resample: str = "", bias: bool = True):
        super().__init__()
        if resample and (kernel not in (1, 3) or stride != 1 or pad != kernel // 2 or resample not in FACTORS):
            raise ValueError(f"Conv2d: resample {resample!r} needs a kernel of 1 or 3, stride 1 and pad kernel // 2, "
                             f"got kernel {kernel}, stride {stride}, pad {pad}")
        if resample == "down" and slope != 1:
            raise ValueError("Conv2d: an activation between a convolution and its mean cannot be folded")
        self.stride, self.pad, self.slope, self.resample = stride, pad, slope, resample
        self._weights(rng, init or normal(), (n_out, kernel, kernel, n_in), n_out if bias else 0, norm)

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        W, b = self.weight(x.shape, how), self.params.get("b")
        if not self.resample:
            return conv_ops.conv2d(x, W, b, self.stride, self.pad, self.slope)
        if W.shape[1] == 3 and self.resample == "bilinear":
            return conv_ops.conv2d(pool_ops.upsample_bilinear2d(x), W, b, pad=1, slope=self.slope)
        if W.shape[1] == 3:
            return conv_ops.upsample_conv2d(x, W, b, self.slope) if self.resample == "up" \
                else conv_ops.conv_mean_pool2d(x, W, b)
        # A 1x1 convolution can be done on the smaller image: it does not see its neighbours.
        if self.resample == "up":
            return pool_ops.upsample2d(conv_ops.conv2d(x, W, b, slope=self.slope))
        if self.resample == "bilinear":  # its weights add up to 1, so the bias stays as it is; an activation would not
            y = pool_ops.upsample_bilinear2d(conv_ops.conv2d(x, W, b))
            return y if self.slope == 1 else ops.leaky_relu(y, self.slope)
        return conv_ops.conv2d(pool_ops.mean_pool2d(x), W, b)

    def own_factor(self, used: InUse) -> float | None:
        """The convolution's, times the resampling's: nearest upsampling writes each number four times, which has the
        norm 2, as has bilinear upsampling, and the mean of four has 1/2. A leaky ReLU, whose slope is 0 to 1, stretches
        nothing."""
        return product(used.norms.get(self), FACTORS.get(self.resample, 1.0))

    def operand_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """One image, upsampled if the layer does that first."""
        _, H, W, C = x_shape
        return (1, 2 * H, 2 * W, C) if self.resample in ("up", "bilinear") else (1, H, W, C)

    def operator(self, W: Tensor, x: Tensor) -> Tensor:
        """The convolution, in W's dtype."""
        return conv_ops.conv2d(x, W, None, self.stride, self.pad, dtype=W.dtype)

    def adjoint(self, W: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The convolution's input gradient, in W's dtype."""
        rows, columns = ((shape[i] + 2 * self.pad - W.shape[i]) % self.stride for i in (1, 2))
        return conv_ops.conv_transpose2d(y, W, None, self.stride, self.pad, output_pad=(rows, columns), dtype=W.dtype)


class ConvTranspose2d(Layer):
    """Transposed convolution and bias. W (n_in, kernel, kernel, n_out), as of the convolution it is the adjoint of."""

    out_axis = 3

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, kernel: int, stride: int = 1, pad: int = 0,
                 output_pad: int = 0, init: Initializer | None = None, norm: NoNorm | None = None,
                 bias: bool = True):
        super().__init__()
        self.stride, self.pad, self.output_pad = stride, pad, output_pad
        self._weights(rng, init or normal(), (n_in, kernel, kernel, n_out), n_out if bias else 0, norm)

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        W = self.weight(x.shape, how)
        return conv_ops.conv_transpose2d(x, W, self.params.get("b"), self.stride, self.pad, output_pad=self.output_pad)

    def own_factor(self, used: InUse) -> float | None:
        return used.norms.get(self)

    def operand_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """One image."""
        return 1, *x_shape[1:]

    def operator(self, W: Tensor, x: Tensor) -> Tensor:
        """The transposed convolution, in W's dtype."""
        return conv_ops.conv_transpose2d(x, W, None, self.stride, self.pad, output_pad=self.output_pad, dtype=W.dtype)

    def adjoint(self, W: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The convolution itself, in W's dtype."""
        return conv_ops.conv2d(y, W, None, self.stride, self.pad, dtype=W.dtype)


def _as(share: Array | float, dtype: np.dtype) -> Array:
    """A number, or an array of one, in this dtype; an array stays on its device."""
    return dtype.type(share) if isinstance(share, float) else share.astype(dtype)
