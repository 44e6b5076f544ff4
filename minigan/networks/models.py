"""The table of models: a generator and a discriminator each, by the name of --model, and where they come from.

A generator maps z (N, dim_z) to images (N, size, size, channels) in [-1, 1]; a discriminator maps images to one
number each, (N,). Both are called as network(x, train), or network(x, train, labels).
To add a pair: two classes, or a row of numbers for those in cnn.py or resnet.py, and a line in MODELS.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minigan.networks import bssn_mnist, cnn, resnet
from minigan.networks.discriminator import Discriminator

# fields of an experiment for some discriminators only, and for some generators only; None: as the model has it
OPTIONS = ("slope", "last_width", "pool", "dense_bias")
GENERATOR_OPTIONS = ("upsample",)


@dataclass(frozen=True)
class Model:
    """A generator and a discriminator that belong together.

    generator(rng, size, channels, dim_z, width, classes, init): with classes > 0 its BN is conditional.
    discriminator(rng, size, channels, norm, width, classes, condition, init): norm is a norms.Normalization, condition
        one of `conditions` or "".
    init: a name for discriminator.drawing, "model" for the source's own way.
    The rest is the source's, where it gives it; what the command line takes by default is in experiment/presets.py.
    counts: parameters of generator and discriminator, unconditional and at the source's size, counted by hand from the
        source (none prints them): the constructors must come to the same.
    """

    generator: Callable[..., Any]
    discriminator: Callable[..., Any]
    source: str
    counts: tuple[int, int]
    size: int = 32
    channels: int = 3
    dim_z: int = 128
    features: str = ""  # normalization of the discriminator's features
    conditions: tuple[str, ...] = Discriminator.conditions
    options: tuple[str, ...] = ()  # of OPTIONS and GENERATOR_OPTIONS, those that the networks take


def _cnn(table: cnn.CNN, **source: Any) -> Model:
    return Model(functools.partial(cnn.CNNGenerator, table=table),
                 functools.partial(cnn.CNNDiscriminator, table=table), options=("slope", "last_width"), **source)


def _resnet(table: resnet.ResNet, **source: Any) -> Model:
    return Model(functools.partial(resnet.ResNetGenerator, table=table),
                 functools.partial(resnet.ResNetDiscriminator, table=table),
                 conditions=resnet.ResNetDiscriminator.conditions, options=("pool", "dense_bias", "upsample"),
                 **source)


MODELS = {
    "cnn": _cnn(cnn.TABLE_3, source="Miyato et al. 2018, Table 3", counts=(3_812_355, 2_935_873)),
    "cnn-code": _cnn(cnn.CODE, source="their code for it, chainer-gan-lib", counts=(3_828_739, 5_860_865)),
    "cnn-bssn": _cnn(cnn.BSSN, source="Lin et al. 2021, Tables 2 and 3", counts=(3_828_739, 2_935_873)),
    "resnet": _resnet(resnet.CIFAR, source="Miyato et al. 2018, Table 4", counts=(4_276_739, 1_053_824)),
    "resnet-stl": _resnet(resnet.STL, source="Miyato et al. 2018, Table 5", counts=(4_878_083, 10_141_441), size=48),
    "resnet-64": _resnet(resnet.SIXTY_FOUR, source="sngan_projection, for 64 pixels; no table of the paper",
                         counts=(12_220_675, 10_141_441), size=64),
    "resnet-imagenet": _resnet(resnet.IMAGENET, source="Miyato et al. 2018, Table 6", counts=(32_150_787, 29_017_857),
                               size=128),
    "resnet-bssn": _resnet(resnet.BSSN, source="Lin et al. 2021, Tables 8 to 13", counts=(32_150_787, 39_468_737),
                               size=128),
    "resnet-wgan-gp": _resnet(resnet.WGAN_GP, source="Gulrajani et al. 2017, gan_cifar_resnet.py",
                              counts=(1_204_483, 1_053_825)),
    "dcgan": _cnn(cnn.DCGAN, source="Radford et al. 2016, as PyTorch's example; reports 1 and 3",
                  counts=(3_576_704, 2_765_568), size=64, dim_z=100, features="bn"),
    "dcgan-32": _cnn(cnn.DCGAN_32, source="the same for 32 pixels; report 2", counts=(3_448_576, 2_637_312), dim_z=100,
                     features="bn"),
    "mnist-bssn": Model(bssn_mnist.MNISTGenerator, bssn_mnist.MNISTDiscriminator,
                        source="Lin et al. 2021, Tables 4 and 5",
                        counts=(852_609, 1_029_696), size=28, channels=1, dim_z=100),
}
