"""Generators and discriminators of Miyato et al. 2018, sizes as arguments.

A generator maps z (N, dim_z) to pictures (N, size, size, channels) in [-1, 1]; a discriminator maps pictures to one
number each, (N,). Both are called as network(x, train). To add a pair: two classes here and a line in MODELS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minigan import ops
from minigan.autograd import Tensor
from minigan.errors import WrongUse
from minigan.layers import BatchNorm, Conv2d, ConvTranspose2d, Layer, Linear, Sequential, glorot_uniform, normal
from minigan.norms import NoNorm, prepare

MakeNorm = Callable[[], NoNorm]  # every layer gets a normalization of its own


# ---- the standard CNN, Table 3 -------------------------------------------------------------------------------------

class CNNGenerator(Layer):
    """Table 3 (a): dense to M x M x 512, then 4x4 transposed convolutions with stride 2, BN and ReLU; 3x3 conv, tanh.

    M is size / 8: 4 for 32 pixels, 6 for 48. Other sizes work too: each step doubles to the size that the
    discriminator's step would have come from (28 pixels: 3, 7, 14, 28).
    As in the paper there is neither BN nor ReLU after the dense layer; the authors' code has both.
    Weights N(0, 0.02), the authors' code; the paper does not say.
    """

    def __init__(self, rng: np.random.Generator, size: int, channels: int, dim_z: int = 128, width: float = 1.0):
        super().__init__()
        sizes = [size, size // 2, size // 4, size // 8]
        ch = [_width(c, width) for c in (512, 256, 128, 64)]
        self.bottom = (sizes[3], sizes[3], ch[0])
        self.layers["dense"] = Linear(rng, dim_z, int(np.prod(self.bottom)), normal())
        for i in range(3):
            self.layers[f"deconv{i + 1}"] = ConvTranspose2d(
                rng, ch[i], ch[i + 1], 4, 2, 1, output_pad=sizes[2 - i] - 2 * sizes[3 - i], init=normal())
            self.layers[f"bn{i + 1}"] = BatchNorm(ch[i + 1], slope=0)
        self.layers["conv"] = Conv2d(rng, ch[3], channels, 3, 1, 1, normal())

    def __call__(self, z: Tensor, train: bool = True) -> Tensor:
        x = ops.reshape(self.layers["dense"](z, train), (-1, *self.bottom))
        for i in range(3):
            x = self.layers[f"bn{i + 1}"](self.layers[f"deconv{i + 1}"](x, train), train)
        return ops.tanh(self.layers["conv"](x, train))


class CNNDiscriminator(Layer):
    """Table 3 (b): convolutions 3x3 and, with stride 2, 4x4 in turn, leaky ReLU of slope 0.1, then dense.

    The channels are the paper's 64, 64, 128, 128, 256, 256, 512 (the authors' code: 64, 128, 128, 256, 256, 512, 512),
    the slope the paper's (the code: 0.2).
    """

    def __init__(self, rng: np.random.Generator, size: int, channels: int, make_norm: MakeNorm, width: float = 1.0):
        super().__init__()
        ch = [channels] + [_width(c, width) for c in (64, 64, 128, 128, 256, 256, 512)]
        for i in range(7):
            kernel, stride = ((3, 1), (4, 2))[i % 2]
            self.layers[f"conv{i + 1}"] = Conv2d(rng, ch[i], ch[i + 1], kernel, stride, 1, normal(), 0.1, make_norm())
        self.layers["dense"] = Linear(rng, (size // 8) ** 2 * ch[7], 1, normal(), norm=make_norm())

    def __call__(self, x: Tensor, train: bool = True) -> Tensor:
        prepare((layer for _, layer in self.walk()), train)
        for i in range(7):
            x = self.layers[f"conv{i + 1}"](x, train)
        return ops.reshape(self.layers["dense"](ops.reshape(x, (len(x), -1)), train), (-1,))


# ---- the CIFAR ResNet, Table 4 -------------------------------------------------------------------------------------

def _residual(rng: np.random.Generator, n_in: int, n_hidden: int, n_out: int, norm: MakeNorm, slope: float,
              first: str = "", last: str = "") -> tuple[Conv2d, Conv2d]:
    """The two 3x3 convolutions of a block, Glorot uniform times sqrt(2), as in the authors' code."""
    init = glorot_uniform(np.sqrt(2))
    return (Conv2d(rng, n_in, n_hidden, 3, 1, 1, init, slope, norm(), resample=first),
            Conv2d(rng, n_hidden, n_out, 3, 1, 1, init, norm=norm(), resample=last))


class UpBlock(Layer):
    """BN, ReLU, upsample, conv, BN, ReLU, conv; plus upsample, 1x1 conv (Figure 8)."""

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int):
        super().__init__()
        conv1, conv2 = _residual(rng, n_in, n_out, n_out, NoNorm, 1.0, first="up")
        self.layers |= {
            "residual": Sequential(bn1=BatchNorm(n_in, slope=0), conv1=conv1,
                                   bn2=BatchNorm(n_out, slope=0), conv2=conv2),
            "shortcut": Conv2d(rng, n_in, n_out, 1, init=glorot_uniform(), resample="up")}

    def __call__(self, x: Tensor, train: bool = True) -> Tensor:
        return self.layers["residual"](x, train) + self.layers["shortcut"](x, train)


class FirstDownBlock(Layer):
    """Conv, ReLU, conv, mean of 2 x 2; plus mean of 2 x 2, 1x1 conv: on pictures, so without the first ReLU."""

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, make_norm: MakeNorm):
        super().__init__()
        conv1, conv2 = _residual(rng, n_in, n_out, n_out, make_norm, 0.0, last="down")
        self.layers |= {
            "residual": Sequential(conv1=conv1, conv2=conv2),
            "shortcut": Conv2d(rng, n_in, n_out, 1, init=glorot_uniform(), norm=make_norm(), resample="down")}

    def __call__(self, x: Tensor, train: bool = True) -> Tensor:
        return self.layers["residual"](x, train) + self.layers["shortcut"](x, train)


class Block(Layer):
    """ReLU, conv, ReLU, conv, and if `down` the mean of 2 x 2; plus x, through a 1x1 conv if its shape must change."""

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, make_norm: MakeNorm, down: bool = False):
        super().__init__()
        resample = "down" if down else ""
        conv1, conv2 = _residual(rng, n_in, n_in, n_out, make_norm, 0.0, last=resample)
        self.layers["residual"] = Sequential(conv1=conv1, conv2=conv2)
        if down or n_in != n_out:
            self.layers["shortcut"] = Conv2d(rng, n_in, n_out, 1, init=glorot_uniform(), norm=make_norm(),
                                             resample=resample)

    def __call__(self, x: Tensor, train: bool = True) -> Tensor:
        y = self.layers["residual"](ops.relu(x), train)
        return y + (self.layers["shortcut"](x, train) if "shortcut" in self.layers else x)


class ResNetGenerator(Layer):
    """Table 4 (a): dense to 4 x 4 x 256, three blocks up, BN, ReLU, 3x3 conv, tanh. The size is a multiple of 8."""

    def __init__(self, rng: np.random.Generator, size: int, channels: int, dim_z: int = 128, width: float = 1.0):
        super().__init__()
        _multiple_of_8("resnet", size)
        ch = _width(256, width)
        self.bottom = (size // 8, size // 8, ch)
        self.layers["dense"] = Linear(rng, dim_z, int(np.prod(self.bottom)), glorot_uniform())
        self.layers["blocks"] = Sequential(**{f"block{i + 1}": UpBlock(rng, ch, ch) for i in range(3)})
        self.layers["bn"] = BatchNorm(ch, slope=0)
        self.layers["conv"] = Conv2d(rng, ch, channels, 3, 1, 1, glorot_uniform())

    def __call__(self, z: Tensor, train: bool = True) -> Tensor:
        x = ops.reshape(self.layers["dense"](z, train), (-1, *self.bottom))
        x = self.layers["bn"](self.layers["blocks"](x, train), train)
        return ops.tanh(self.layers["conv"](x, train))


class ResNetDiscriminator(Layer):
    """Table 4 (b): two blocks down and two that keep the size, 128 channels, ReLU, global sum, dense without bias."""

    def __init__(self, rng: np.random.Generator, size: int, channels: int, make_norm: MakeNorm, width: float = 1.0):
        super().__init__()
        _multiple_of_8("resnet", size)
        ch = _width(128, width)
        self.layers["blocks"] = Sequential(
            block1=FirstDownBlock(rng, channels, ch, make_norm), block2=Block(rng, ch, ch, make_norm, down=True),
            block3=Block(rng, ch, ch, make_norm), block4=Block(rng, ch, ch, make_norm))
        self.layers["dense"] = Linear(rng, ch, 1, glorot_uniform(), bias=False, norm=make_norm())

    def __call__(self, x: Tensor, train: bool = True) -> Tensor:
        prepare((layer for _, layer in self.walk()), train)
        x = ops.sum(ops.relu(self.layers["blocks"](x, train)), (1, 2))
        return ops.reshape(self.layers["dense"](x, train), (-1,))


# ---- the pairs -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Model:
    """A generator and a discriminator that belong together: two classes."""

    generator: Callable[..., Layer]
    discriminator: Callable[..., Layer]


MODELS = {"cnn": Model(CNNGenerator, CNNDiscriminator), "resnet": Model(ResNetGenerator, ResNetDiscriminator)}


def _width(channels: int, factor: float) -> int:
    return max(1, round(channels * factor))


def _multiple_of_8(name: str, size: int) -> None:
    if size % 8:
        raise WrongUse(f"model '{name}' needs pictures whose size is a multiple of 8, got {size}; "
                       f"use --size {size + -size % 8}, or --model cnn")
