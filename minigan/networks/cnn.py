"""Plain convolutional networks: the standard CNN as in paper, authors' code and BSSN, and the DCGANs of the reports.

Each is a row of numbers, `CNN`; one generator and one discriminator read them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse
from minigan.networks.discriminator import Discriminator, batch_norm, drawing, feature_norm, scaled
from minigan.networks.norms import Normalization
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.layers import Conv2d, ConvTranspose2d, Layer, Linear, Pass
from minigan.nn.lipschitz import InUse, product


@dataclass(frozen=True)
class CNN:
    """A pair of networks as numbers."""

    name: str
    gen: tuple[int, ...]  # channels after the dense layer and after each 4x4 transposed convolution with stride 2
    dis: tuple[int, ...]  # channels of the discriminator's convolutions
    kernels: tuple[tuple[int, int], ...] = ((3, 1), (4, 2))  # kernel and stride of those, in turn
    slope: float = 0.1  # of the discriminator's leaky ReLU
    first: str = ""  # BN and ReLU after the dense layer: "units": each unit for itself; "channels": over its pixels
    last: str = "conv"  # the generator's last layer: 3x3 "conv", 3x3 "deconv", or 4x4 "up" with stride 2
    bias: bool = True  # of convolutions, and dense layers
    init: str = "normal-0.02"  # how weights are drawn, see initializers.by_name

    def sizes(self, size: int, halvings: int) -> list[int]:
        """Sides of the maps from `size` down. WrongUse if nothing is left."""
        if size >> halvings < 1:
            raise WrongUse(f"model '{self.name}' halves images {halvings} times and needs a size of at least "
                           f"{1 << halvings}, got {size}; use --size {1 << halvings}")
        return [size >> i for i in range(halvings + 1)]


PAPER = (64, 64, 128, 128, 256, 256, 512)
# Miyato et al. 2018, Table 3. The slope is the paper's; it has neither BN nor ReLU after the dense layer.
TABLE_3 = CNN("cnn", (512, 256, 128, 64), PAPER)
# The authors' code for it (chainer-gan-lib): a discriminator of twice as many weights, and the slope 0.2.
CODE = CNN("cnn-code", (512, 256, 128, 64), (64, 128, 128, 256, 256, 512, 512), slope=0.2, first="units", last="deconv")
# Lin et al. 2021 (BSSN), Tables 2 and 3: the paper's discriminator and the code's generator. Initial weights as in
# BSN's code.
BSSN = CNN("cnn-bssn", (512, 256, 128, 64), PAPER, first="units", last="deconv", init="truncated-0.02")
# Radford et al. 2016, as PyTorch's example has it and the third report after it (64 pixels): half of the channels in
# their Figure 1 (--width 2 has all), 4x4 kernels for its 5x5, no biases. Its BN in the discriminator is --norm bn.
DCGAN = CNN("dcgan", (512, 256, 128, 64), (64, 128, 256, 512), ((4, 2),), 0.2, "channels", "up", False)
# For 32 pixels one step fewer, with the channels of Gulrajani et al.'s DCGAN for CIFAR; the second report names none.
DCGAN_32 = CNN("dcgan-32", (512, 256, 128), (128, 256, 512), ((4, 2),), 0.2, "channels", "up", False)


class CNNGenerator(Layer):
    """Dense, transposed convolutions with BN and ReLU that double the size, a last layer, tanh; Table 3 (a) by default.

    Any size works: each step doubles to the size that the discriminator's step would have come from (28 pixels: 3, 7,
    14, 28). With classes every BN over channels is conditional; BN over units is not.
    """

    def __init__(self, rng: np.random.Generator, size: int, channels: int, dim_z: int = 128, width: float = 1.0,
                 classes: int = 0, table: CNN = TABLE_3, init: str = "model"):
        super().__init__()
        draw = drawing(table.init, init)
        self.table = table
        ch = [scaled(c, width) for c in table.gen] + [channels] * (table.last == "up")
        sizes = table.sizes(size, len(ch) - 1)[::-1]
        self.bottom = (sizes[0], sizes[0], ch[0])
        units = int(np.prod(self.bottom))
        self.layers["dense"] = Linear(rng, dim_z, units, draw("dense"), table.bias)
        if table.first:
            self.layers["bn0"] = BatchNorm(units, slope=0) if table.first == "units" else batch_norm(ch[0], classes)
        for i in range(1, len(ch)):
            self.layers[f"deconv{i}"] = ConvTranspose2d(
                rng, ch[i - 1], ch[i], 4, 2, 1, sizes[i] - 2 * sizes[i - 1], draw("deconv"), bias=table.bias)
            if i < len(table.gen):
                self.layers[f"bn{i}"] = batch_norm(ch[i], classes)
        if table.last == "conv":
            self.layers["conv"] = Conv2d(rng, ch[-1], channels, 3, 1, 1, draw("conv"), bias=table.bias)
        elif table.last == "deconv":
            self.layers[f"deconv{len(ch)}"] = ConvTranspose2d(
                rng, ch[-1], channels, 3, 1, 1, init=draw("deconv"), bias=table.bias)

    def forward(self, z: Tensor, how: Pass) -> Tensor:
        dense, *body = self.layers.values()
        x = dense.forward(z, how)
        if self.table.first == "units":
            x = body.pop(0).forward(x, how)
        x = ops.reshape(x, (-1, *self.bottom))
        for layer in body:
            x = layer.forward(x, how)
        return ops.tanh(x)


class CNNDiscriminator(Discriminator):
    """Convolutions with leaky ReLU, then dense; Table 3 (b) by default.

    A normalization of the features comes after every convolution but the first, as in the authors' code and DCGAN.
    Instead of the table's: slope, of the leaky ReLU; last_width, a factor on what goes into the last convolution and
    comes out of it (Miyato et al. 2018, Figure 4).
    """

    def __init__(self, rng: np.random.Generator, size: int, channels: int, norm: Normalization, width: float = 1.0,
                 classes: int = 0, condition: str = "", table: CNN = TABLE_3, init: str = "model",
                 slope: float | None = None, last_width: float = 1.0):
        super().__init__(classes, condition)
        slope = table.slope if slope is None else slope
        draw = drawing(table.init, init, slope)
        ch = [channels] + [scaled(c, width) for c in table.dis[:-2]] + [
            scaled(c, width * last_width) for c in table.dis[-2:]]
        halvings = 0
        self.body: list[str] = []
        for i in range(len(table.dis)):
            kernel, stride = table.kernels[i % len(table.kernels)]
            halvings += stride == 2
            features = norm.features if i else ""
            self.layers[f"conv{i + 1}"] = Conv2d(rng, ch[i], ch[i + 1], kernel, stride, 1, draw("conv"),
                                                 1.0 if features else slope, norm.weight(), bias=table.bias)
            self.body.append(f"conv{i + 1}")
            if features:
                self.layers[f"norm{i + 1}"] = feature_norm(norm, ch[i + 1], slope)
                self.body.append(f"norm{i + 1}")
        bottom = table.sizes(size, halvings)[-1]
        self.end(rng, bottom ** 2 * ch[-1], draw("dense"), norm, table.bias)

    def features(self, x: Tensor, how: Pass) -> Tensor:
        for name in self.body:
            x = self.layers[name].forward(x, how)
        return ops.reshape(x, (len(x), -1))

    def own_factor(self, used: InUse) -> float | None:
        return product(*(self.layers[name].lipschitz(used) for name in self.body), self.end_factor(used))
