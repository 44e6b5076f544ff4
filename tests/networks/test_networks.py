"""Every network of the papers: counts by hand, layers of the tables, labels, gradients; steps on the emulated CuPy.

tests/networks/test_models.py has what holds for the first two, and PyTorch's twins of all of them.
"""

import dataclasses
import sys
from pathlib import Path

import emulated_cupy
import emulator
import numpy as np
import pytest
import tiny
from checks import check_grads
from twins import give_to_torch, to_float64, torchs_layout

from minigan.engine import cuda, ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.errors import WrongUse
from minigan.networks.discriminator import CONDITIONS, ConditionalBatchNorm, Embedding
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.networks.resnet import DIM_EMBED
from minigan.nn.feature_norms import BatchNorm, ConditionalNormalize, LayerNorm
from minigan.nn.initializers import glorot_uniform
from minigan.nn.layers import Pass
from minigan.nn.losses import LOSSES, gradient_penalty
from minigan.nn.optimizers import OPTIMIZERS
from minigan.nn.spectral_norms import SpectralNorm
from minigan.nn.weight_norms import largest_singular_value
from minigan.training.gan import Training
from minigan.training.validate import check_names

every_model = pytest.mark.parametrize("model", MODELS)
conditioned = pytest.mark.parametrize("model, condition", [
    (model, condition) for model in ("cnn", "cnn-code", "resnet", "resnet-wgan-gp", "dcgan-32", "mnist-bssn")
    for condition in MODELS[model].conditions])
SN, NONE = Normalization(SpectralNorm), Normalization()


def pair(model, rng, size=32, channels=3, dim_z=5, width=0.05, norm=SN, classes=0, condition=""):
    return (MODELS[model].generator(rng, size, channels, dim_z, width, classes),
            MODELS[model].discriminator(rng, size, channels, norm, width, classes, condition))


def count(network):
    return sum(p.size for p in network.parameters().values())


def call(network, x, train, labels):
    """What it says: of an auxiliary classifier the logits, too."""
    both = getattr(network, "condition", "") == "ac"
    return network.classified(x, train) if both else network(x, train, labels)


# ---- counts --------------------------------------------------------------------------------------------------------

def conv(kernel, n_in, n_out, bias=1):
    return kernel * kernel * n_in * n_out + bias * n_out


def dense(n_in, n_out, bias=1):
    return n_in * n_out + bias * n_out


def up(n_in, n_out):
    return conv(3, n_in, n_out) + conv(3, n_out, n_out) + conv(1, n_in, n_out) + 2 * n_in + 2 * n_out


def first(n):
    return conv(3, 3, n) + conv(3, n, n) + conv(1, 3, n)


def down(n_in, n_out, hidden):
    return conv(3, n_in, hidden) + conv(3, hidden, n_out) + conv(1, n_in, n_out)


def code_generator():
    body = conv(4, 512, 256) + conv(4, 256, 128) + conv(4, 128, 64) + 2 * (256 + 128 + 64)
    return dense(128, 8192) + 2 * 8192 + body + conv(3, 64, 3)


def large_generator():
    blocks = up(1024, 1024) + up(1024, 512) + up(512, 256) + up(256, 128) + up(128, 64)
    return dense(128, 16 * 1024) + blocks + 2 * 64 + conv(3, 64, 3)


DOUBLINGS = [(64, 128), (128, 256), (256, 512), (512, 1024)]
BY_HAND = {
    "cnn-code": (code_generator(), conv(3, 3, 64) + conv(4, 64, 128) + conv(3, 128, 128) + conv(4, 128, 256)
                 + conv(3, 256, 256) + conv(4, 256, 512) + conv(3, 512, 512) + dense(8192, 1)),
    "cnn-bssn": (code_generator(), conv(3, 3, 64) + conv(4, 64, 64) + conv(3, 64, 128) + conv(4, 128, 128)
                 + conv(3, 128, 256) + conv(4, 256, 256) + conv(3, 256, 512) + dense(8192, 1)),
    "resnet-stl": (dense(128, 36 * 512) + up(512, 256) + up(256, 128) + up(128, 64) + 2 * 64 + conv(3, 64, 3),
                   first(64) + sum(down(a, b, a) for a, b in DOUBLINGS) + dense(1024, 1)),
    "resnet-64": (dense(128, 16 * 1024) + sum(up(b, a) for a, b in DOUBLINGS) + 2 * 64 + conv(3, 64, 3),
                  first(64) + sum(down(a, b, a) for a, b in DOUBLINGS) + dense(1024, 1)),
    "resnet-imagenet": (large_generator(), first(64) + sum(down(a, b, a) for a, b in DOUBLINGS)
                        + 2 * conv(3, 1024, 1024) + dense(1024, 1)),
    "resnet-bssn": (large_generator(), first(64) + sum(down(a, b, b) for a, b in DOUBLINGS)
                    + down(1024, 1024, 1024) + dense(1024, 1)),
    "resnet-wgan-gp": (dense(128, 16 * 128) + 3 * up(128, 128) + 2 * 128 + conv(3, 128, 3),
                       first(128) + down(128, 128, 128) + 4 * conv(3, 128, 128) + dense(128, 1)),
    "dcgan": (dense(100, 8192, 0) + conv(4, 512, 256, 0) + conv(4, 256, 128, 0) + conv(4, 128, 64, 0)
              + conv(4, 64, 3, 0) + 2 * (512 + 256 + 128 + 64),
              conv(4, 3, 64, 0) + conv(4, 64, 128, 0) + conv(4, 128, 256, 0) + conv(4, 256, 512, 0)
              + 2 * (128 + 256 + 512) + conv(4, 512, 1, 0)),
    "dcgan-32": (dense(100, 8192, 0) + conv(4, 512, 256, 0) + conv(4, 256, 128, 0) + conv(4, 128, 3, 0)
                 + 2 * (512 + 256 + 128),
                 conv(4, 3, 128, 0) + conv(4, 128, 256, 0) + conv(4, 256, 512, 0) + 2 * (256 + 512) + 8192),
    "mnist-bssn": (dense(100, 6272) + 2 * 6272 + conv(5, 128, 64) + 2 * 64 + conv(5, 64, 1),
                   conv(5, 1, 64, 0) + conv(5, 64, 128, 0) + conv(5, 128, 256, 0) + 4 * 4 * 256),
}


@pytest.mark.parametrize("model", BY_HAND)
def test_parameter_counts_are_those_of_the_source(model):
    """5.86 million is chainer-gan-lib's discriminator; 3,576,704 and 2,765,568 are PyTorch's DCGAN example's."""
    m, zeros = MODELS[model], ZerosOnly()
    gen = m.generator(zeros, m.size, m.channels, m.dim_z, 1.0)
    dis = m.discriminator(zeros, m.size, m.channels, Normalization(features=m.features, gain=True), 1.0)
    assert (count(gen), count(dis)) == BY_HAND[model] == m.counts


class ZerosOnly(np.random.Generator):
    """Weights for networks that are only counted."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, size=None):
        return np.zeros(size, np.float32)

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.zeros(size, np.float32)


def test_the_conditional_imagenet_networks_count_1000_classes():
    """Two rows of the BN of ten layers, a matrix of 1000 x 1024, or of 1000 x 128 and a wider fourth block."""
    m, zeros = MODELS["resnet-imagenet"], ZerosOnly()
    gen, dis = m.counts
    channels = sum((1024, 1024, 1024, 512, 512, 256, 256, 128, 128, 64))  # in and out of five blocks
    assert count(m.generator(zeros, 128, 3, 128, 1.0, 1000)) == gen + 999 * 2 * channels
    build = [count(m.discriminator(zeros, 128, 3, NONE, 1.0, 1000, condition))
             for condition in ("projection", "concat", "ac")]
    wider = down(256 + 128, 512, 256 + 128) - down(256, 512, 256)  # the hidden channels are those that come in
    assert build == [dis + 1000 * 1024, dis + 1000 * 128 + wider, dis + dense(1024, 1000)]


# ---- the tables' layers --------------------------------------------------------------------------------------------

def weights(network):
    return [(path, layer.params["W"].shape) for path, layer in network.walk() if "W" in layer.params]


def test_cnn_code_is_wider_and_has_bn_after_the_dense_layer_and_a_last_deconvolution(rng):
    gen, dis = pair("cnn-code", rng, width=1.0)
    assert list(gen.layers) == ["dense", "bn0", "deconv1", "bn1", "deconv2", "bn2", "deconv3", "bn3", "deconv4"]
    assert gen.layers["bn0"].params["gamma"].shape == (8192,) and gen.layers["bn0"].slope == 0
    assert gen.layers["deconv4"].params["W"].shape == (64, 3, 3, 3) and gen.layers["deconv4"].stride == 1
    assert [shape[0] for _, shape in weights(dis)] == [64, 128, 128, 256, 256, 512, 512, 1]
    assert {layer.slope for name, layer in dis.layers.items() if name.startswith("conv")} == {0.2}


def test_resnet_tables_5_and_6(rng):
    for model, ups, downs, size in (
            ("resnet-stl", [512, 256, 128, 64], [64, 128, 256, 512, 1024], 48),
            ("resnet-imagenet", [1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024], 128)):
        gen, dis = pair(model, rng, size, width=1 / 16)
        assert gen.bottom == ((6, 6) if size == 48 else (4, 4)) + (ups[0] // 16,)
        assert [block.layers["residual"].layers["conv2"].params["W"].shape[0]
                for block in gen.layers["blocks"].layers.values()] == [n // 16 for n in ups[1:]]
        blocks = list(dis.layers["blocks"].layers.values())
        assert [block.layers["residual"].layers["conv2"].params["W"].shape[0] for block in blocks] == [
            n // 16 for n in downs]
        assert [block.layers["residual"].layers["conv2"].resample for block in blocks] == [
            "down"] * (len(downs) - 1) + [""]
        assert "b" in dis.layers["dense"].params
        with no_grad():
            x = gen(Tensor(np.ones((1, 5), np.float32)))
            assert x.shape == (1, size, size, 3) and dis(x).shape == (1,)


def test_the_imagenet_variants_differ_within_the_discriminators_blocks(rng):
    paper, bssn = (pair(model, rng, 32, width=1 / 64)[1] for model in ("resnet-imagenet", "resnet-bssn"))
    hidden = [[block.layers["residual"].layers["conv1"].params["W"].shape[0]
               for block in dis.layers["blocks"].layers.values()] for dis in (paper, bssn)]
    assert hidden == [[1, 1, 2, 4, 8, 16], [1, 2, 4, 8, 16, 16]]
    assert ["shortcut" in dis.layers["blocks"].layers["block6"].layers for dis in (paper, bssn)] == [False, True]


def test_the_wgan_gp_resnet_takes_the_mean_where_the_paper_sums(rng):
    """Constant features: a sum grows with the number of pixels, a mean does not."""
    for model, factor in (("resnet", 4), ("resnet-wgan-gp", 1)):
        results = []
        for size in (32, 64):
            dis = pair(model, np.random.default_rng(1), size, norm=NONE)[1]
            for name, p in dis.parameters().items():
                if name.endswith("/W") and "dense" not in name:
                    p.data[...] = 0  # the last block's biases are all that is left
                if name == "blocks/block4/residual/conv2/b":
                    p.data[...] = 1
            dis.layers["dense"].params["W"].data[...] = 1
            results.append(dis(Tensor(np.zeros((1, size, size, 3), np.float32))).item())
        assert results[1] == pytest.approx(factor * results[0])


def test_dcgan_has_no_biases_and_kernels_of_4(rng):
    for model, n in (("dcgan", 4), ("dcgan-32", 3)):
        gen, dis = pair(model, rng, MODELS[model].size, width=1.0, norm=Normalization(features="bn", gain=True))
        for network in (gen, dis):
            assert not any(name.endswith("/b") for name in network.parameters())
            convolutions = [layer for _, layer in network.walk() if hasattr(layer, "stride")]
            assert len(convolutions) == n
            assert {(layer.params["W"].shape[1], layer.stride) for layer in convolutions} == {(4, 2)}
        assert [name for name in dis.layers if name.startswith("norm")] == [f"norm{i}" for i in range(2, n + 1)]
        assert all(dis.layers[f"norm{i}"].slope == 0.2 for i in range(2, n + 1))


def test_mnist_is_tables_4_and_5_on_pictures_between_0_and_1(rng):
    gen, dis = pair("mnist-bssn", rng, 28, 1, dim_z=100, width=1.0, norm=NONE)
    assert [shape for _, shape in weights(gen)] == [(6272, 100), (128, 5, 5, 64), (64, 5, 5, 1)]
    assert weights(dis) == [("conv1", (64, 5, 5, 1)), ("conv2", (128, 5, 5, 64)), ("conv3", (256, 5, 5, 128)),
                            ("dense", (1, 4096))]
    assert list(dis.parameters()) == ["conv1/W", "conv2/W", "conv3/W", "dense/W"]
    with no_grad():
        assert not dis(Tensor(-np.ones((2, 28, 28, 1), np.float32))).data.any()  # black is 0: nothing has a bias
        z = Tensor(rng.standard_normal((3, 100)).astype(np.float32))
        x = gen(z, False)
        gen.layers["deconv2"].params["b"].data += 100
        np.testing.assert_array_equal(gen(z, False).data, 1)  # white: the sigmoid's 1
    assert x.shape == (3, 28, 28, 1)


# ---- sizes ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("model, size", [
    ("cnn-code", 28), ("cnn-code", 48), ("cnn-code", 64), ("resnet-stl", 32), ("resnet-stl", 64),
    ("resnet-imagenet", 64), ("resnet-wgan-gp", 48), ("dcgan", 32), ("dcgan", 108), ("dcgan-32", 28),
    ("mnist-bssn", 32), ("mnist-bssn", 29)])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_sizes_fit(model, size, channels, rng):
    gen, dis = pair(model, rng, size, channels)
    with no_grad():
        x = gen(Tensor(rng.standard_normal((2, 5)).astype(np.float32)))
        assert x.shape == (2, size, size, channels) and np.abs(x.data).max() <= 1
        assert np.isfinite(dis(x).data).all() and dis(x).shape == (2,)


@pytest.mark.parametrize("model, size, parts", [
    ("resnet-stl", 40, ["multiple of 16", "got 40", "--size 48", "--model cnn"]),
    ("resnet-imagenet", 48, ["multiple of 32", "--size 64"]), ("resnet-bssn", 16, ["--size 32"]),
    ("resnet-wgan-gp", 33, ["multiple of 8", "--size 40"]), ("dcgan", 15, ["at least 16", "--size 16"])])
def test_a_size_that_does_not_fit_is_refused_in_one_line(model, size, parts, rng):
    for build in (lambda: MODELS[model].generator(rng, size, 3, 5, 0.1),
                  lambda: MODELS[model].discriminator(rng, size, 3, NONE, 0.1)):
        with pytest.raises(WrongUse) as error:
            build()
        assert all(part in str(error.value) for part in [f"'{model}'", *parts])


# ---- normalized features -------------------------------------------------------------------------------------------

@every_model
@pytest.mark.parametrize("features, kind", [("bn", BatchNorm), ("ln", LayerNorm)])
def test_features_are_normalized_between_convolution_and_activation(model, features, kind, rng):
    """All but the first layer's; a network with BN depends on its batch, one with LN does not."""
    dis = pair(model, rng, norm=Normalization(features=features), width=0.1)[1]
    layers = dict(dis.walk())
    found = [layer for layer in layers.values() if type(layer) is kind]
    residual = [path for path in layers if path.endswith("/residual")]
    convolutions = [path for path in layers if path.startswith("conv")]
    assert len(found) == (2 * (len(residual) - 1) if residual else len(convolutions) - 1)
    assert all(layer.slope < 1 for layer in found) and all("gamma" not in layer.params for layer in found)
    x = Tensor(rng.uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32))
    with no_grad():
        together = dis(x).data
        alone = np.concatenate([dis(Tensor(x.data[i:i + 1])).data for i in range(4)])
    assert np.ptp(together) > 0
    assert (np.abs(alone - together).max() < 1e-3 * np.ptp(together)) == (features == "ln")


# ---- labels --------------------------------------------------------------------------------------------------------

def test_conditional_bn_is_a_bn_for_each_class_of_the_whole_batch(rng):
    """Training and evaluation, against the formula; equal rows make it BatchNorm."""
    layer, plain = ConditionalBatchNorm(3, 4, slope=0.2), BatchNorm(4, slope=0.2)
    assert np.all(layer.params["gamma"].data == 1) and not layer.params["beta"].data.any()
    x, labels = 3 * rng.standard_normal((5, 2, 3, 4)).astype(np.float32) + 1, np.array([2, 0, 0, 2, 1])
    for train in (True, True, False):
        np.testing.assert_allclose(layer(Tensor(x), train, labels).data, plain(Tensor(x), train).data, atol=1e-5)
    gamma, beta = rng.standard_normal((2, 3, 4)).astype(np.float32)
    layer.params["gamma"].data, layer.params["beta"].data = gamma, beta
    for train, mean, variance in ((True, x.mean((0, 1, 2)), x.var((0, 1, 2))),
                                  (False, None, None)):
        if not train:  # after the forward before
            mean, variance = layer.state["mean"], layer.state["variance"]
        hat = (x - mean) / np.sqrt(variance + 2e-5)
        y = np.stack([hat[i] * gamma[k] + beta[k] for i, k in enumerate(labels)])
        np.testing.assert_allclose(layer(Tensor(x), train, labels).data, np.where(y > 0, y, 0.2 * y), atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_derivatives_of_conditional_bn(train, rng):
    layer, labels = to_float64(ConditionalBatchNorm(3, 2)), np.array([1, 1, 0, 1])

    def apply(x, gamma, beta):
        layer.params |= {"gamma": gamma, "beta": beta}
        return layer(x, train, labels)
    check_grads(apply, rng.standard_normal((4, 2, 1, 2)), rng.standard_normal((3, 2)), rng.standard_normal((3, 2)))


@pytest.mark.parametrize("slope", [1, 0.1])
@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 1, 2), (1, 3, 2, 3)])
def test_conditional_bn_in_one_go_is_that_in_operations(shape, slope, rng):
    """Its value, its gradient, and that its derivatives of two orders are central differences."""
    labels, table = np.array([1, 1, 0, 1])[:shape[0]], (3, shape[-1])
    arrays = rng.standard_normal(shape), rng.standard_normal(table), rng.standard_normal(table)
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    op = ConditionalNormalize(labels, 2e-2, slope)
    gy = Tensor(rng.standard_normal(shape))
    for found, expected in zip([op(*xs), *grad(op(*xs), xs, gy=gy)],
                               [op.composed(*xs), *grad(op.composed(*xs), xs, gy=gy)], strict=True):
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-9, atol=1e-9)
    check_grads(lambda *xs: ConditionalNormalize(labels, 2e-2, slope)(*xs), *arrays)


FUSED = ("batch_statistics", "normalize_by_label", "label_sums", "class_sums", "conditional_gradient")


def on_emulated_cupy(layer, cupy, arrays, labels, gy):
    """What a conditional BN gives in training, moves and has as gradients, on the host; and what was launched."""
    x, layer.params["gamma"], layer.params["beta"] = xs = [Tensor(cupy.array(a), requires_grad=True) for a in arrays]
    gy = Tensor(cupy.array(gy))
    with emulated_cupy.counted() as c:
        y = layer(x, True, labels)
        gradients = grad(y, xs, gy=gy)
    found = [y, *gradients, *(Tensor(layer.state[name]) for name in ("mean", "variance"))]
    return [t.data.get() for t in found], c


def test_conditional_bn_is_five_launches_on_a_gpu(rng):
    """With labels that lie on the GPU, and the numbers of the same in operations, in float64 by NumPy."""
    arrays = [3 * rng.standard_normal((6, 5, 3, 7)) + 1, *rng.standard_normal((2, 4, 7))]
    arrays = [a.astype(np.float32) for a in arrays]
    labels, gy = np.array([2, 0, 0, 2, 1, 2]), rng.standard_normal((6, 5, 3, 7)).astype(np.float32)
    expected = to_float64(ConditionalBatchNorm(4, 7, slope=0.2))
    xs = [Tensor(a.astype(np.float64), requires_grad=True) for a in arrays]
    _, expected.params["gamma"], expected.params["beta"] = xs
    y = expected(xs[0], True, labels)
    exact = [y.data, *(g.data for g in grad(y, xs, gy=Tensor(gy.astype(np.float64)))),
             expected.state["mean"], expected.state["variance"]]
    with emulated_cupy.installed() as cupy:
        layer = ConditionalBatchNorm(4, 7, slope=0.2).to(cupy)
        cuda.tickets(cupy, 1)  # which are made once
        found, c = on_emulated_cupy(layer, cupy, arrays, cupy.array(labels), gy)
        assert c.kernels == dict.fromkeys(FUSED, 1) and not c.operations and not c.to_host
        for a, b in zip(found, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())
        evaluated = layer(Tensor(cupy.array(arrays[0])), False, labels).data.get()
        with pytest.raises(ValueError, match="ConditionalBatchNorm: labels go from 0 to 4"):
            layer(Tensor(cupy.array(arrays[0])), True, np.array([0, 1, 2, 3, 4, 0]))
        with pytest.raises(TypeError, match="ConditionalBatchNorm: expected integer labels, got float64"):
            layer(Tensor(cupy.array(arrays[0])), True, cupy.array(labels.astype(np.float64)))
    np.testing.assert_allclose(evaluated, expected(xs[0], False, labels).data, rtol=0, atol=1e-5)


def test_conditional_bn_over_processes_is_not_fused(rng):
    """With another process that has the same rows the result is that of one process alone."""
    class Twice:
        size, cards = 2, None

        def mean(self, arrays):
            return arrays
    arrays = [a.astype(np.float32) for a in (rng.standard_normal((4, 2, 3, 5)), *rng.standard_normal((2, 3, 5)))]
    labels, gy = np.array([2, 0, 0, 2]), rng.standard_normal((4, 2, 3, 5)).astype(np.float32)
    with emulated_cupy.installed() as cupy:
        layer, other = (ConditionalBatchNorm(3, 5, slope=0.2).to(cupy) for _ in range(2))
        other.group = Twice()
        alone, one = on_emulated_cupy(layer, cupy, arrays, labels, gy)
        together, two = on_emulated_cupy(other, cupy, arrays, labels, gy)
    assert set(FUSED) <= set(one.kernels) and not set(FUSED) & set(two.kernels)
    for a, b in zip(alone[:-1], together[:-1], strict=True):  # the last, the unbiased variance, counts twice the rows
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_classes_that_are_not_in_the_batch_get_no_gradient(rng):
    gen = pair("resnet", rng, 16, classes=4)[0]
    params = gen.parameters()
    x = gen(Tensor(rng.standard_normal((3, 5)).astype(np.float32)), True, np.array([2, 0, 2]))
    for name, g in zip(params, grad(ops.sum(x * x), list(params.values())), strict=True):
        if g.shape[0] == 4 and name.endswith(("gamma", "beta")):
            assert not g.data[[1, 3]].any() and np.abs(g.data[[0, 2]]).max(1).all(), name


def test_an_embedding_is_normalized_as_the_matrix_it_is(rng):
    embed = Embedding(rng, 6, 4, glorot_uniform(), SpectralNorm())
    assert embed.params["W"].shape == (6, 4) and embed.state["u"].shape == (6,)
    labels, before = np.array([5, 0, 5]), embed.params["W"].data.copy()
    with no_grad():
        for _ in range(200):
            rows = embed(labels)
    W_bar = before / largest_singular_value(before)
    np.testing.assert_allclose(rows.data, W_bar[labels], atol=1e-5)
    assert list(embed.params) == ["W"]


@conditioned
def test_labels_change_pictures_and_judgements(model, condition, rng):
    gen, dis = pair(model, rng, classes=3, condition=condition, width=0.1)
    for network in (gen, dis):
        for name, p in network.parameters().items():
            if name.endswith(("gamma", "beta")):
                p.data += 0.5 * rng.standard_normal(p.shape).astype(np.float32)
    z = Tensor(rng.standard_normal((4, 5)).astype(np.float32))
    one, other = np.array([0, 1, 2, 1]), np.array([0, 1, 0, 1])
    with no_grad():
        x, x_other = (gen(z, False, labels).data for labels in (one, other))
        changed = np.abs(x - x_other).max((1, 2, 3)) > 1e-6
        np.testing.assert_array_equal(changed, one != other)
        results = [call(dis, Tensor(x), False, labels) for labels in (one, other)]
    if condition == "ac":
        y, logits = results[0]
        assert y.shape == (4,) and logits.shape == (4, 3) and np.ptp(logits.data, axis=1).min() > 0
    else:
        np.testing.assert_array_equal(results[0].data != results[1].data, one != other)


def test_projection_adds_an_inner_product_and_ac_classifies_the_same_features(rng):
    """l(h) + <embedding, h> and W h + b, h = the features of the network without labels of the same weights."""
    x, labels = Tensor(rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)), np.array([1, 1, 0])
    plain, projection, ac = (MODELS["resnet"].discriminator(np.random.default_rng(3), 32, 3, NONE, 0.1, 2, condition)
                             for condition in ("", "projection", "ac"))
    with no_grad():
        y, h = plain(x).data, plain.features(x, Pass()).data
        embedding = projection.layers["embed"].params["W"].data
        np.testing.assert_allclose(projection(x, True, labels).data, y + (embedding[labels] * h).sum(1), rtol=1e-4)
        found, logits = ac.classified(x)
        np.testing.assert_array_equal(found.data, y)
        classify = ac.layers["classify"].params
        np.testing.assert_allclose(logits.data, h @ classify["W"].data.T + classify["b"].data, rtol=1e-4, atol=1e-5)


def test_concat_joins_the_embedding_after_the_third_block_of_table_6(rng):
    dis = MODELS["resnet-imagenet"].discriminator(rng, 32, 3, NONE, 1 / 16, 10, "concat")
    joined = DIM_EMBED // 16
    assert dis.layers["embed"].params["W"].shape == (10, joined)
    block4 = dis.layers["blocks"].layers["block4"].layers
    assert block4["residual"].layers["conv1"].params["W"].shape[3] == 256 // 16 + joined
    assert block4["shortcut"].params["W"].shape == (512 // 16, 1, 1, 256 // 16 + joined)


@pytest.mark.parametrize("build, parts", [
    (lambda rng: MODELS["cnn"].discriminator(rng, 32, 3, NONE, 0.1, 0, "projection"), ["needs labels"]),
    (lambda rng: MODELS["cnn"].discriminator(rng, 32, 3, NONE, 0.1, 5, "concat"), ["projection, ac", "resnet"]),
    (lambda rng: MODELS["resnet"].discriminator(rng, 32, 3, NONE, 0.1, 5, "guess"), ["unknown condition 'guess'"])])
def test_a_wrong_condition_is_one_line(build, parts, rng):
    with pytest.raises(WrongUse) as error:
        build(rng)
    assert all(part in str(error.value) for part in parts)


def test_missing_and_wrong_labels_are_said(rng):
    gen, dis = pair("resnet", rng, 16, classes=3, condition="projection")
    z, x = Tensor(np.ones((2, 5), np.float32)), Tensor(np.ones((2, 16, 16, 3), np.float32))
    for network, given in ((gen, z), (dis, x)):
        with pytest.raises(ValueError, match=r"labels are needed: call the network as network\(x, train, labels\)"):
            network(given)
        with pytest.raises(ValueError, match="one label for each of 2 images"):
            network(given, True, np.array([1]))
        with pytest.raises(ValueError, match="labels go from 1 to 3"):
            network(given, True, np.array([1, 3]))


def test_every_condition_is_explained_and_offered():
    assert {condition for m in MODELS.values() for condition in m.conditions} | {""} == set(CONDITIONS)


@pytest.mark.parametrize("condition", ["projection", "concat", "ac"])
def test_a_conditional_resnet_is_pytorchs(condition, rng):
    """Images, judgements, classes and all gradients, spectral normalization of the embedding included."""
    torch = pytest.importorskip("torch")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
    try:
        from torch_networks import NETWORKS
    finally:
        sys.path.pop(0)
    networks = pair("resnet", rng, 16, 3, 5, 0.04, SN, 4, condition)
    theirs = (NETWORKS["resnet"][0](16, 3, 5, 0.04, classes=4).double(),
              NETWORKS["resnet"][1](16, 3, 0.04, classes=4, condition=condition).double())
    params, their_params = [], []
    for ours, twin in zip(networks, theirs, strict=True):
        for name, p in to_float64(ours).parameters().items():
            p.data = p.data + rng.standard_normal(p.shape) * (0.0 if name.endswith("W") else 0.3)
        params += ours.parameters().values()
        their_params += give_to_torch(torch, ours, twin)
        assert len(list(twin.parameters())) == len(ours.parameters())
    labels, z, mix = np.array([3, 0, 3]), rng.standard_normal((3, 5)), rng.standard_normal((3, 4))
    their_labels = torch.tensor(labels)
    for _ in range(2):  # u and the running moments move
        x = networks[0](Tensor(z), True, labels)
        y = call(networks[1], x, True, labels)
        xt = theirs[0](torch.tensor(z), their_labels)
        yt = theirs[1](xt, their_labels)
        np.testing.assert_allclose(x.data, xt.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-8, atol=1e-10)
        if condition == "ac":
            y, yt = y[0] + ops.sum(y[1] * Tensor(mix), 1), yt[0] + (yt[1] * torch.tensor(mix)).sum(1)
        np.testing.assert_allclose(y.data, yt.detach().numpy(), rtol=1e-8)
        found = grad(ops.sum(y * y), params)
        expected = torch.autograd.grad((yt * yt).sum(), their_params)
        scale = max(float(g.abs().max()) for g in expected)
        names = [(network, name) for network in networks for name in network.parameters()]
        for (network, name), g, gt in zip(names, found, expected, strict=True):
            np.testing.assert_allclose(torchs_layout(network, name, g.data), gt.numpy(), rtol=1e-7, atol=1e-11 * scale,
                                       err_msg=name)
    for twin in theirs:
        twin.eval()
    np.testing.assert_allclose(networks[0](Tensor(z), False, labels).data,
                               theirs[0](torch.tensor(z), their_labels).detach().numpy().transpose(0, 2, 3, 1),
                               rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_a_classifier_that_nobody_asks_is_left_alone(model, rng):
    """The same numbers, and its u stays: fakes and the images of a penalty have no use for it."""
    dis = pair(model, rng, norm=SN, classes=4, condition="ac")[1]
    x = Tensor(rng.standard_normal((3, 32, 32, 3)).astype(np.float32))
    u = dis.layers["classify"].state["u"].copy()
    np.testing.assert_array_equal(dis(x, False).data, dis.classified(x, False)[0].data)
    dis(x, True)
    np.testing.assert_array_equal(dis.layers["classify"].state["u"], u)
    dis.classified(x, True)
    assert (dis.layers["classify"].state["u"] != u).any()


def test_training_classifies_real_pictures_and_the_generators_only(monkeypatch):
    pictures = np.random.default_rng(3).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    run, asked = Training(tiny.tiny(condition="ac", gp=1.0), pictures, np.arange(12) % 3), []
    judged = type(run.dis).judged
    monkeypatch.setattr(type(run.dis), "judged", lambda self, x, how, classify: (
        asked.append(classify), judged(self, x, how, classify))[1])
    run.update_discriminator(1e-3)
    assert sorted(asked) == [False, False, True]  # fake, penalty, real; at once, in any order
    run.update_generator(1e-3)
    assert asked[3:] == [True]


# ---- options of some models ----------------------------------------------------------------------------------------

def made(**chosen):
    return Training(tiny.tiny(width=0.125, **chosen), np.zeros((8, 16, 16, 3), np.uint8))


def test_slope_and_width_of_the_last_convolution_are_the_discriminators():
    """Lin et al. 2021, I.2: ReLU; Miyato et al. 2018, Figure 4: the seventh convolution's input and output."""
    plain, other = made(), made(slope=0.0, last_width=2.0)
    assert [layer.slope for layer in other.dis.layers.values() if hasattr(layer, "slope")] == [0.0] * 7
    assert [shape[0] for _, shape in weights(plain.dis)] == [8, 8, 16, 16, 32, 32, 64, 1]
    assert [shape[0] for _, shape in weights(other.dis)] == [8, 8, 16, 16, 32, 64, 128, 1]
    assert weights(plain.gen) == weights(other.gen)
    wide = made(width_dis=1.5)  # Miyato et al. 2018, Table 7
    assert [shape[0] for _, shape in weights(wide.dis)] == [12, 12, 24, 24, 48, 48, 96, 1]
    assert weights(wide.gen) == weights(plain.gen)


@pytest.mark.parametrize("chosen, said", [
    ({"model": "resnet", "slope": 0.1}, "--slope is not for model 'resnet'; leave it out, or use one of cnn, cnn-code"),
    ({"model": "mnist-bssn", "last_width": 2.0}, "--last-width is not for model 'mnist-bssn'"),
    ({"model": "cnn", "condition": "concat"}, "--condition concat is not for model 'cnn'; use one of projection, ac, "
     "or another model: resnet"),
    ({"dataset": "stl10", "split": "unlabeled", "condition": "ac"}, "none in its split unlabeled; use --split train"),
    ({"dataset": "celeba", "condition": "projection"}, "celeba has none; use cifar10"),
])
def test_what_a_model_has_no_place_for_is_said_before_any_work(chosen, said):
    with pytest.raises(WrongUse) as error:
        check_names(dataclasses.replace(tiny.tiny(), **chosen))
    assert said in str(error.value)


# ---- derivatives in one direction ----------------------------------------------------------------------------------

@every_model
def test_derivatives_of_loss_and_penalty_are_the_central_differences(model, rng):
    """float64, generator through discriminator and a gradient penalty, all parameters moved at once."""
    m = MODELS[model]
    networks = [to_float64(n) for n in pair(model, rng, 32, 2, 3, 0.02, NONE, 3, m.conditions[0])]
    params = [p for n in networks for p in n.parameters().values()]
    for p in params:
        p.data = p.data + 0.2 * rng.standard_normal(p.shape)
    z, labels = Tensor(rng.standard_normal((3, 3))), np.array([2, 0, 2])
    x_real, share = Tensor(rng.uniform(-1, 1, (3, 32, 32, 2))), rng.random((3, 1, 1, 1))

    def loss():
        x = networks[0](z, True, labels)
        penalty = gradient_penalty(lambda x: networks[1](x, True, labels), x_real, x_real * -0.5, share)
        return ops.sum(ops.softplus(-networks[1](x, True, labels))) + 0.1 * penalty
    found, direction = grad(loss(), params), [rng.standard_normal(p.shape) for p in params]
    slope = sum(float(np.sum(g.data * d)) for g, d in zip(found, direction, strict=True))
    ends, step, begin = [], 1e-7, [p.data for p in params]
    for sign in (1, -1):
        for p, a, d in zip(params, begin, direction, strict=True):
            p.data = a + sign * step * d
        ends.append(loss().item())
    assert abs(slope) > 1e-3
    # a ReLU that changes sides within the step costs up to step / distance; no more than a few of some 10,000 do
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


# ---- training ------------------------------------------------------------------------------------------------------

@every_model
def test_an_iteration_of_training_moves_both_networks(model):
    pictures = np.random.default_rng(3).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    run = Training(tiny.tiny(model=model, size=32, norm="sn", gp=1.0), pictures)
    before = [{name: p.data.copy() for name, p in n.parameters().items()} for n in (run.gen, run.dis)]
    assert all(np.isfinite(loss.item()) for loss in run.iterate())
    for network, old in zip((run.gen, run.dis), before, strict=True):
        for name, p in network.parameters().items():
            assert np.isfinite(p.data).all()
            if name.endswith("/W"):
                assert (p.data != old[name]).any(), name


# ---- on the emulated CuPy ------------------------------------------------------------------------------------------

def steps(xp, model, condition, count=2):
    """Losses of discriminator and generator in a few iterations with Adam.

    Not with the hinge loss: at the beginning its gradients by real and fakes cancel in the biases of the last
    block, and Adam makes whole steps of the rounding that is left.
    """
    rng, classes = np.random.default_rng(4), 3 if condition else 0
    networks = [n.to(xp) for n in pair(model, rng, 32, 3, 5, 0.05, SN, classes, condition)]
    gen, dis = networks
    optimizers = [OPTIMIZERS["adam"](n.parameters(), 0.5, 0.999) for n in networks]
    ns, found = LOSSES["ns"], []

    def judged(x, labels):
        y = call(dis, x, True, labels)
        if condition != "ac":
            return y, 0
        onehot = Tensor(xp.asarray(np.eye(3, dtype=np.float32))[labels])
        return y[0], -ops.mean(ops.sum(ops.log_softmax(y[1]) * onehot, 1))
    for _ in range(count):
        labels = xp.asarray(rng.integers(0, 3, 4))
        x_real = Tensor(xp.asarray(rng.uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)))
        z = Tensor(xp.asarray(rng.standard_normal((4, 5)).astype(np.float32)))
        with no_grad():
            x_fake = call(gen, z, True, labels)
        (real, class_real), (fake, _) = judged(x_real, labels), judged(x_fake, labels)
        loss_dis = ns.discriminator(real, fake) + class_real
        optimizers[1].step(grad(loss_dis, list(dis.parameters().values())), 1e-3)
        fake, class_fake = judged(call(gen, z, True, labels), labels)
        loss_gen = ns.generator(fake) + 0.1 * class_fake
        optimizers[0].step(grad(loss_gen, list(gen.parameters().values())), 1e-3)
        found.append([loss_dis.item(), loss_gen.item()])
    return np.array(found)


TRAINED = [*((model, "") for model in MODELS if model not in ("cnn", "resnet")), ("cnn-code", "projection"),
           ("resnet", "projection"), ("resnet", "concat"), ("resnet-wgan-gp", "ac"), ("mnist-bssn", "ac")]


@pytest.mark.parametrize("model, condition", TRAINED)
def test_losses_on_the_emulated_cupy_are_numpys(model, condition):
    expected = steps(np, model, condition)
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        found = steps(cupy, model, condition)
        again = steps(cupy, model, condition)
    assert np.isfinite(expected).all() and np.ptp(expected, axis=0).min() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(found, again)  # the embeddings' gradients are added up in one order
