"""Residual networks: Miyato et al. 2018, Tables 4 to 6, the BSSN paper's variant, and Gulrajani et al. 2017's.

Each is a row of numbers, `ResNet`; one generator and one discriminator read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import choose
from minigan.networks.discriminator import (
    Discriminator,
    Embedding,
    batch_norm,
    check_labels,
    check_size,
    drawing,
    feature_norm,
    scaled,
)
from minigan.networks.norms import Normalization
from minigan.nn.initializers import Draw, by_name
from minigan.nn.layers import Conv2d, Layer, Linear, Pass, Sequential
from minigan.nn.lipschitz import InUse, product, total


@dataclass(frozen=True)
class ResNet:
    """A pair of networks as numbers. Where paper and code differ, a comment at the row says which this is."""

    name: str
    bottom: int  # channels that the generator's dense layer makes
    up: tuple[int, ...]  # channels of the generator's blocks, each of which doubles the size
    dis: tuple[int, ...]  # channels of the discriminator's blocks
    halvings: int  # how many of those, from the first on, halve the size
    join: int  # after so many blocks "concat" joins the label
    pool: str = "sum"  # over all pixels at the end: "sum", "mean"
    bias: bool = True  # of the discriminator's dense layer
    wide: bool = False  # a block's first convolution already makes its last's channels, and all learn their shortcut


# Table 4. The dense layer has no bias in the authors' code; the tables do not say. They never concatenated here.
CIFAR = ResNet("resnet", 256, (256, 256, 256), (128, 128, 128, 128), 2, join=2, bias=False)
# Table 5; no code of the authors is published.
STL = ResNet("resnet-stl", 512, (256, 128, 64), (64, 128, 256, 512, 1024), 4, join=3)
# For 64 pixels, of which the paper has none: as in the authors' code, and in mimicry.
SIXTY_FOUR = ResNet("resnet-64", 1024, (512, 256, 128, 64), (64, 128, 256, 512, 1024), 5, join=3)
# Table 6, conditional or not: projection with snresnet.py, concatenation with snresnet_128.py (in snresnet.py its
# fourth block expects too few channels).
IMAGENET = ResNet("resnet-imagenet", 1024, (1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), 5, join=3)
# Lin et al. 2021 (BSSN), Tables 8 to 13, and their code: wider within the discriminator's blocks.
BSSN = ResNet("resnet-bssn", 1024, (1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), 5, join=3, wide=True)
# Gulrajani et al. 2017, gan_cifar_resnet.py: half of Table 4's generator, mean pooling. Their BN has eps 1e-5 and never
# uses running moments (here: --bn-eps, and running moments when samples are drawn).
WGAN_GP = ResNet("resnet-wgan-gp", 128, (128, 128, 128), (128, 128, 128, 128), 2, join=2, pool="mean")

DIM_EMBED = 128  # channels that "concat" joins (Table 6 (c))
# Initial weights of all of them: Glorot uniform, times sqrt(2) within a block. Gulrajani et al.'s and BSN's code say it
# in other words, variances of 4 / (fan_in + fan_out) and 2 / (fan_in + fan_out), uniform.
INIT = "glorot"
GLOROT = by_name(INIT)


# How a generator doubles the size: by repeating pixels, as the papers' code, or by interpolation, as mimicry. As
# Conv2d.resample.
UPSAMPLINGS = {"nearest": "up", "bilinear": "bilinear"}
POOLS = ("sum", "mean")  # over all pixels, at a discriminator's end


# ---- blocks --------------------------------------------------------------------------------------------------------

def _residual(rng: np.random.Generator, n_in: int, n_hidden: int, n_out: int, norm: Normalization, slope: float,
              draw: Draw, first: str = "", last: str = "") -> tuple[Conv2d, Conv2d]:
    """The two 3x3 convolutions of a block."""
    init = draw("residual")
    return (Conv2d(rng, n_in, n_hidden, 3, 1, 1, init, slope, norm.weight(), resample=first),
            Conv2d(rng, n_hidden, n_out, 3, 1, 1, init, norm=norm.weight(), resample=last))


class UpBlock(Layer):
    """BN, ReLU, upsample, conv, BN, ReLU, conv; plus upsample, 1x1 conv (Figure 8). With classes the BN is conditional.

    up: Conv2d.resample of what upsamples.
    """

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, classes: int = 0, draw: Draw = GLOROT,
                 up: str = "up"):
        super().__init__()
        conv1, conv2 = _residual(rng, n_in, n_out, n_out, Normalization(), 1.0, draw, first=up)
        self.layers |= {
            "residual": Sequential(bn1=batch_norm(n_in, classes), conv1=conv1,
                                   bn2=batch_norm(n_out, classes), conv2=conv2),
            "shortcut": Conv2d(rng, n_in, n_out, 1, init=draw("conv"), resample=up)}

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        return self.layers["residual"].forward(x, how) + self.layers["shortcut"].forward(x, how)


class FirstDownBlock(Layer):
    """Conv, ReLU, conv, mean of 2 x 2; plus mean of 2 x 2, 1x1 conv: on images, so without the first ReLU.

    Without a normalization of the features, too, as in the code of Gulrajani et al. 2017.
    """

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, norm: Normalization, draw: Draw = GLOROT):
        super().__init__()
        conv1, conv2 = _residual(rng, n_in, n_out, n_out, norm, 0.0, draw, last="down")
        self.layers |= {
            "residual": Sequential(conv1=conv1, conv2=conv2),
            "shortcut": Conv2d(rng, n_in, n_out, 1, init=draw("conv"), norm=norm.weight(), resample="down")}

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        return self.layers["residual"].forward(x, how) + self.layers["shortcut"].forward(x, how)

    def own_factor(self, used: InUse) -> float | None:
        return total(self.layers["residual"].lipschitz(used), self.layers["shortcut"].lipschitz(used))


class Block(Layer):
    """ReLU, conv, ReLU, conv, and if `down` the mean of 2 x 2; plus x, through a 1x1 conv if its shape must change.

    A normalization of the features comes before each ReLU. wide: as ResNet has it.
    """

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int, norm: Normalization, down: bool = False,
                 wide: bool = False, draw: Draw = GLOROT):
        super().__init__()
        resample, hidden, features = "down" if down else "", n_out if wide else n_in, norm.features
        conv1, conv2 = _residual(rng, n_in, hidden, n_out, norm, 1.0 if features else 0.0, draw, last=resample)
        self.layers["residual"] = Sequential(conv1=conv1, conv2=conv2)
        if features:
            self.layers["residual"] = Sequential(norm1=feature_norm(norm, n_in, 0.0), conv1=conv1,
                                                 norm2=feature_norm(norm, hidden, 0.0), conv2=conv2)
        self.activate = not features  # else the first normalization does
        if down or wide or n_in != n_out:
            self.layers["shortcut"] = Conv2d(rng, n_in, n_out, 1, init=draw("conv"), norm=norm.weight(),
                                             resample=resample)

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        y = self.layers["residual"].forward(ops.relu(x) if self.activate else x, how)
        return y + (self.layers["shortcut"].forward(x, how) if "shortcut" in self.layers else x)

    def own_factor(self, used: InUse) -> float | None:
        shortcut = self.layers["shortcut"].lipschitz(used) if "shortcut" in self.layers else 1.0
        return total(self.layers["residual"].lipschitz(used), shortcut)


# ---- networks ------------------------------------------------------------------------------------------------------

class ResNetGenerator(Layer):
    """Dense, blocks up, BN, ReLU, 3x3 conv, tanh. With classes the BN of the blocks is conditional, the last one is
    not, as in the authors' code. upsample: a name of UPSAMPLINGS."""

    def __init__(self, rng: np.random.Generator, size: int, channels: int, dim_z: int = 128, width: float = 1.0,
                 classes: int = 0, table: ResNet = CIFAR, init: str = "model", upsample: str = "nearest"):
        super().__init__()
        choose("upsampling", upsample, UPSAMPLINGS)
        draw = drawing(INIT, init)
        check_size(table.name, size, _multiple(table))
        ch = [scaled(c, width) for c in (table.bottom, *table.up)]
        side = size >> len(table.up)
        self.bottom = (side, side, ch[0])
        self.layers["dense"] = Linear(rng, dim_z, int(np.prod(self.bottom)), draw("dense"))
        self.layers["blocks"] = Sequential(**{
            f"block{i + 1}": UpBlock(rng, ch[i], ch[i + 1], classes, draw, UPSAMPLINGS[upsample])
            for i in range(len(table.up))})
        self.layers["bn"] = batch_norm(ch[-1], 0)
        self.layers["conv"] = Conv2d(rng, ch[-1], channels, 3, 1, 1, draw("conv"))

    def forward(self, z: Tensor, how: Pass) -> Tensor:
        x = ops.reshape(self.layers["dense"].forward(z, how), (-1, *self.bottom))
        x = self.layers["bn"].forward(self.layers["blocks"].forward(x, how), how)
        return ops.tanh(self.layers["conv"].forward(x, how))


class ResNetDiscriminator(Discriminator):
    """Blocks, of which the first halve the size, ReLU, sum or mean over all pixels, dense.

    condition "concat": an embedding of the label is joined as further maps after block `join`. For 128 pixels that is
    the third (Miyato et al. 2018, Table 6 (c)). No paper has it for the smaller networks; there it is ours: after the
    third for 48 pixels, too, and after the second, where the maps have become 8 x 8, for 32.
    pool, dense_bias: ResNet's pool and bias, where they are not the table's.
    """

    conditions: tuple[str, ...] = ("projection", "concat", "ac")

    def __init__(self, rng: np.random.Generator, size: int, channels: int, norm: Normalization, width: float = 1.0,
                 classes: int = 0, condition: str = "", table: ResNet = CIFAR, init: str = "model",
                 pool: str | None = None, dense_bias: bool | None = None):
        super().__init__(classes, condition)
        choose("pooling", pool or table.pool, POOLS)
        table = replace(table, pool=pool or table.pool, bias=table.bias if dense_bias is None else dense_bias)
        draw = drawing(INIT, init)
        check_size(table.name, size, _multiple(table))
        self.table = table
        ch = [channels] + [scaled(c, width) for c in table.dis]
        blocks: dict[str, Layer] = {"block1": FirstDownBlock(rng, channels, ch[1], norm, draw)}
        for i in range(1, len(table.dis)):
            joined = scaled(DIM_EMBED, width) if condition == "concat" and i == table.join else 0
            if joined:
                self.layers["embed"] = Embedding(rng, classes, joined, draw("dense"), norm.weight())
            blocks[f"block{i + 1}"] = Block(rng, ch[i] + joined, ch[i + 1], norm, i < table.halvings, table.wide,
                                         draw)
        self.layers["blocks"] = Sequential(**blocks)
        self.end(rng, ch[-1], draw("dense"), norm, table.bias)

    def features(self, x: Tensor, how: Pass) -> Tensor:
        for i, block in enumerate(self.layers["blocks"].layers.values()):
            if self.condition == "concat" and i == self.table.join:
                N, H, W, _ = x.shape
                labels = check_labels("discriminator", how.labels, N)
                maps = ops.reshape(self.layers["embed"].forward(labels, how), (N, 1, 1, -1))
                x = ops.concatenate([x, ops.broadcast_to(maps, (N, H, W, maps.shape[3]))], 3)
            x = block.forward(x, how)
        return (ops.sum if self.table.pool == "sum" else ops.mean)(ops.relu(x), (1, 2))

    def own_factor(self, used: InUse) -> float | None:
        """The sum over n pixels has the norm sqrt(n), their mean 1 / sqrt(n). What "concat" joins is no image's."""
        H, W = (n >> self.table.halvings for n in used.x_shape[1:3])
        pool = math.sqrt(H * W) if self.table.pool == "sum" else 1 / math.sqrt(H * W)
        return product(self.layers["blocks"].lipschitz(used), pool, self.end_factor(used))


def _multiple(table: ResNet) -> int:
    return 1 << max(len(table.up), table.halvings)
