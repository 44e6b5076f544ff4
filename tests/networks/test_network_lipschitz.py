"""A discriminator's own Lipschitz factor: against gradients and pairs of images, and where it is reached."""

import numpy as np
import pytest
from slopes import call, in_use, largest_gradient, largest_quotient
from twins import to_float64

from minigan.engine import ops
from minigan.engine.autograd import Tensor, no_grad
from minigan.networks.cnn import CNNDiscriminator
from minigan.networks.discriminator import Discriminator
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.networks.resnet import Block, FirstDownBlock, ResNetDiscriminator
from minigan.nn.layers import Conv2d, Layer, Sequential
from minigan.nn.lipschitz import InUse
from minigan.nn.spectral_norms import SpectralNorm

CLASSES = 3
# else 16; 18: odd maps
SIZES = {"resnet-64": 32, "resnet-imagenet": 32, "resnet-bssn": 32, "mnist-bssn": 18, "dcgan-32": 18}
CONDITIONS = [(model, condition) for model in MODELS for condition in ("", *MODELS[model].conditions)]


def made(model, rng, condition="", norm=None, width=0.06, discriminator=None):
    """A discriminator in float64, and a function that draws images for it."""
    size = SIZES.get(model, 16)
    make = discriminator or MODELS[model].discriminator
    dis = make(rng, size, 2, norm or Normalization(), width, CLASSES, condition)
    return to_float64(dis), lambda count: rng.uniform(-1, 1, (count, size, size, 2))


@pytest.mark.parametrize("norm", [Normalization(SpectralNorm), Normalization()], ids=["sn", "none"])
@pytest.mark.parametrize("model, condition", CONDITIONS)
def test_no_slope_is_above_a_discriminators_factor(model, condition, norm, rng):
    dis, draw = made(model, rng, condition, norm)
    x, labels = draw(40), rng.integers(0, CLASSES, 40)
    for p in dis.parameters().values():
        p.data += rng.standard_normal(p.shape) * 0.1
    bound = dis.lipschitz(in_use(dis, x, labels))
    steps = rng.standard_normal(x.shape) * rng.choice([1e-3, 0.1, 1], (40, 1, 1, 1))
    assert 0 < largest_gradient(dis, x, labels) <= bound
    assert 0 < max(largest_quotient(dis, x, x + steps, labels), largest_quotient(dis, x, draw(40), labels)) <= bound


@pytest.mark.parametrize("model, condition", CONDITIONS)
def test_the_factor_is_reached_where_all_pass_on_the_same_direction(model, condition, rng):
    """Positive kernels of one tap, equal for all channels, on white images: every map is of one colour and positive."""
    dis, draw = made(model, rng, condition)
    white = np.ones_like(draw(CLASSES))
    for _, layer in dis.walk():
        if "W" in layer.params:
            W = layer.params["W"].data
            middle = (slice(None), layer.pad, layer.pad) if W.ndim == 4 else ()
            W[...] = 0
            W[middle] = rng.uniform(0.2, 0.9)
    if condition == "concat":  # kernels that see nothing but what comes from the image
        joined = dis.layers["embed"].params["W"].shape[1]
        block = dis.layers["blocks"].layers[f"block{dis.table.join + 1}"]
        for conv in (block.layers["residual"].layers["conv1"], block.layers["shortcut"]):
            conv.params["W"].data[..., -joined:] = 0
    labels = np.arange(CLASSES)
    bound = dis.lipschitz(in_use(dis, white, labels))
    np.testing.assert_allclose(largest_gradient(dis, white, labels), bound, rtol=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("features", ["bn", "ln"])
def test_there_is_no_factor_with_a_normalization_of_the_features(model, features, rng):
    dis, draw = made(model, rng, norm=Normalization(features=features))
    assert dis.lipschitz(in_use(dis, draw(4))) is None


# ---- parts ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("block, factor", [
    (lambda rng: Block(rng, 4, 4, Normalization()), 2 * 3 + 1),
    (lambda rng: Block(rng, 4, 5, Normalization()), 2 * 3 + 7),
    (lambda rng: Block(rng, 4, 4, Normalization(), down=True), 2 * 3 / 2 + 7 / 2),
    (lambda rng: FirstDownBlock(rng, 3, 4, Normalization()), 2 * 3 / 2 + 7 / 2),
    (lambda rng: Block(rng, 4, 4, Normalization(features="ln")), None)], ids=["same", "wider", "down", "first", "ln"])
def test_the_factor_of_a_residual_block_is_the_sum_of_its_branches(block, factor, rng):
    block = block(rng)
    norms = {"residual/conv1": 2.0, "residual/conv2": 3.0, "shortcut": 7.0}
    used = InUse((), {}, {layer: norms[path] for path, layer in block.walk() if path in norms})
    assert block.lipschitz(used) == factor


def test_a_projections_factor_holds_for_the_steepest_class(rng):
    dis, draw = made("cnn", rng, "projection")
    for name in ("dense", "embed"):
        dis.layers[name].params["W"].data = rng.standard_normal(dis.layers[name].params["W"].shape)
    used = in_use(dis, draw(3), np.arange(CLASSES))
    h = rng.standard_normal((2, CLASSES, used.weights[dis.layers["dense"]].shape[1]))
    w = used.weights[dis.layers["dense"]] + used.weights[dis.layers["embed"]]
    along = h[0] + w  # each class's own steepest direction
    slopes = np.abs(np.sum(w * (along - h[0]), 1)) / np.linalg.norm(along - h[0], axis=1)
    np.testing.assert_allclose(dis.end_factor(used), slopes.max())


# ---- networks with a call of their own -----------------------------------------------------------------------------

class Squared(Layer):
    """A convolution, and x * x."""

    def __init__(self, rng):
        super().__init__()
        self.layers["conv"] = Conv2d(rng, 2, 2, 3, 1, 1)

    def forward(self, x, how):
        y = self.layers["conv"].forward(x, how)
        return y * y


class Skipping(Sequential):
    """Its layers one after the other, plus what came in."""

    def forward(self, x, how):
        return super().forward(x, how) + x


class Louder(CNNDiscriminator):
    """Ten times the features of a network that says its factor."""

    def features(self, x, how):
        return super().features(x, how) * 10


class Own(Discriminator):
    """A discriminator that makes features in a way of its own, and says nothing of it."""

    def __init__(self, rng, size, channels, norm, width, classes, condition):
        super().__init__(classes, condition)
        self.layers["conv"] = Conv2d(rng, channels, 3, 3, 2, 1)
        self.end(rng, 3 * (size // 2) ** 2, lambda rng, shape: rng.standard_normal(shape), norm)

    def features(self, x, how):
        return ops.exp(ops.reshape(self.layers["conv"].forward(x, how), (len(x), -1)))


class Narrow(CNNDiscriminator):
    """Built another way, and called as the network that says its factor."""

    def __init__(self, rng, size, channels, norm, width, classes, condition):
        super().__init__(rng, size, channels, norm, width / 2, classes, condition, slope=0.3)

    own_factor = CNNDiscriminator.own_factor


class Told(Louder):
    """Louder, and says so."""

    def own_factor(self, used):
        return 10 * CNNDiscriminator.own_factor(self, used)


@pytest.mark.parametrize("make", [
    Squared, lambda rng: Skipping(conv=Conv2d(rng, 2, 2, 3, 1, 1)), lambda rng: Sequential(a=Squared(rng)),
    lambda rng: Sequential(conv=Conv2d(rng, 2, 2, 3, 1, 1), skip=Skipping(conv=Conv2d(rng, 2, 2, 3, 1, 1)))])
def test_a_layer_with_an_operation_of_its_own_has_no_factor_nor_has_what_contains_it(make, rng):
    network = to_float64(make(rng))
    used = in_use(network, rng.standard_normal((2, 6, 6, 2)))
    assert used.norms and all(layer.lipschitz(used) > 0 for layer in used.norms)
    assert network.lipschitz(used) is None


@pytest.mark.parametrize("kind", [Louder, Own])
def test_a_discriminator_with_features_of_its_own_has_no_factor(kind, rng):
    dis, draw = made("cnn", rng, discriminator=kind)
    used = in_use(dis, draw(2))
    assert all(layer.lipschitz(used) > 0 for layer in used.norms) and dis.lipschitz(used) is None


@pytest.mark.parametrize("kind", [Narrow, Told])
def test_a_subclass_has_the_factor_that_it_says(kind, rng):
    dis, draw = made("cnn", rng, discriminator=kind)
    x = draw(20)
    bound = dis.lipschitz(in_use(dis, x))
    assert 0 < largest_gradient(dis, x) <= bound


def test_the_factor_is_for_the_images_that_went_in(rng):
    """A ResNet takes other sizes than it was made for: four times the pixels to sum over."""
    dis = to_float64(ResNetDiscriminator(rng, 16, 2, Normalization(), 0.06))
    used = [InUse((1, size, size, 2), {}, {layer: 1.0 for _, layer in dis.walk() if "W" in layer.params})
            for size in (16, 32)]
    with no_grad():
        assert call(dis, Tensor(rng.standard_normal((1, 32, 32, 2)))).shape == (1,)
    assert dis.lipschitz(used[1]) == 2 * dis.lipschitz(used[0])
