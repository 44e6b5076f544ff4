"""The networks with which Lin et al. 2021 (BSSN) look at gradients on MNIST: their Tables 4 and 5."""

from __future__ import annotations

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse
from minigan.networks.discriminator import Discriminator, batch_norm, drawing, feature_norm, scaled
from minigan.networks.norms import Normalization
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.layers import Conv2d, ConvTranspose2d, Layer, Linear, Pass
from minigan.nn.lipschitz import InUse, product

SLOPE, INIT = 0.2, "truncated-0.02"


class MNISTGenerator(Layer):
    """Table 4: dense to 7 x 7 x 128, then 5x5 transposed convolutions with stride 2; leaky ReLU before each BN.

    Their images lie in [0, 1] by a sigmoid; here 2 sigmoid - 1, and the discriminator takes (x + 1) / 2: together
    they are the same. The first BN is over units, as their CIFAR code has it; the tables do not say. Nor do they name
    padding and initialization: here 2 on both sides, and truncated-0.02 as in that code.
    """

    def __init__(self, rng: np.random.Generator, size: int, channels: int, dim_z: int = 100, width: float = 1.0,
                 classes: int = 0, init: str = "model"):
        super().__init__()
        draw = drawing(INIT, init, SLOPE)
        _check(size)
        sizes = [size, (size + 1) // 2, (size + 3) // 4]
        ch = [scaled(128, width), scaled(64, width), channels]
        self.bottom = (sizes[2], sizes[2], ch[0])
        self.layers["dense"] = Linear(rng, dim_z, int(np.prod(self.bottom)), draw("dense"))
        self.layers["bn0"] = BatchNorm(int(np.prod(self.bottom)))
        for i in (1, 2):
            self.layers[f"deconv{i}"] = ConvTranspose2d(
                rng, ch[i - 1], ch[i], 5, 2, 2, sizes[2 - i] - 2 * sizes[3 - i] + 1, draw("deconv"))
        self.layers["bn1"] = batch_norm(ch[1], classes, slope=1.0)

    def forward(self, z: Tensor, how: Pass) -> Tensor:
        layers = self.layers
        x = layers["bn0"].forward(ops.leaky_relu(layers["dense"].forward(z, how), SLOPE), how)
        x = ops.leaky_relu(layers["deconv1"].forward(ops.reshape(x, (-1, *self.bottom)), how), SLOPE)
        x = layers["bn1"].forward(x, how)
        return ops.tanh(layers["deconv2"].forward(x, how) * 0.5)  # 2 sigmoid(x) - 1


class MNISTDiscriminator(Discriminator):
    """Table 5: three 5x5 convolutions with stride 2 and leaky ReLU, dense; nothing has a bias.

    For images in [-1, 1], which it brings to [0, 1]: a gradient penalty sees half of the gradient there,
    and the paper's 10 (|g| - 1)^2 is 40 (|g / 2| - 0.5)^2 here.
    """

    def __init__(self, rng: np.random.Generator, size: int, channels: int, norm: Normalization, width: float = 1.0,
                 classes: int = 0, condition: str = "", init: str = "model"):
        super().__init__(classes, condition)
        draw = drawing(INIT, init, SLOPE)
        _check(size)
        ch = [channels] + [scaled(c, width) for c in (64, 128, 256)]
        self.body: list[str] = []
        for i in (1, 2, 3):
            features = norm.features if i > 1 else ""
            self.layers[f"conv{i}"] = Conv2d(rng, ch[i - 1], ch[i], 5, 2, 2, draw("conv"), 1.0 if features else SLOPE,
                                             norm.weight(), bias=False)
            self.body.append(f"conv{i}")
            if features:
                self.layers[f"norm{i}"] = feature_norm(norm, ch[i], SLOPE)
                self.body.append(f"norm{i}")
        self.end(rng, ((size + 7) // 8) ** 2 * ch[3], draw("dense"), norm, bias=False)

    def features(self, x: Tensor, how: Pass) -> Tensor:
        x = x * 0.5 + 0.5
        for name in self.body:
            x = self.layers[name].forward(x, how)
        return ops.reshape(x, (len(x), -1))

    def own_factor(self, used: InUse) -> float | None:
        return product(0.5, *(self.layers[name].lipschitz(used) for name in self.body), self.end_factor(used))


def _check(size: int) -> None:
    if size < 4:
        raise WrongUse(f"model 'mnist-bssn' needs images of at least 4 pixels, got {size}; use --size 28")
