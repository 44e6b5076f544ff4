"""Initial weights: PyTorch's and NumPy's distributions, by function and by the names of --init."""

from functools import partial

import numpy as np
import pytest

from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse
from minigan.experiment.presets import experiment
from minigan.experiment.profiles import OWN
from minigan.networks.cnn import CNNDiscriminator
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.nn.initializers import FAMILIES, by_name, glorot_uniform, he_normal, normal, orthogonal, truncated_normal
from minigan.nn.layers import Linear
from minigan.nn.optimizers import Adam

PARTS = ("dense", "conv", "deconv", "residual")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def test_normal_weights_have_the_deviation_asked_for(rng):
    for std in (0.02, 3):
        W = normal(std)(rng, (64, 4, 4, 64))  # 65,536 numbers: the deviation is known to 0.3 %, the mean to 0.4 %
        assert W.shape == (64, 4, 4, 64)
        assert abs(W.std() / std - 1) < 0.015 and abs(W.mean() / std) < 0.02


@pytest.mark.parametrize("shape", [(40, 3, 3, 30), (200, 150), (7, 1, 1, 900)])
@pytest.mark.parametrize("scale", [1, 2 ** 0.5])
def test_glorot_weights_are_uniform_between_pytorchs_bounds(shape, scale, rng, torch):
    W = glorot_uniform(scale)(rng, shape)
    theirs = torch.nn.init.xavier_uniform_(torch.empty(shape[0], shape[-1], *shape[1:-1]), gain=scale)
    largest = float(theirs.abs().max())
    assert W.shape == shape
    np.testing.assert_allclose([W.max(), -W.min()], largest, rtol=5e-3)  # of 6,300 draws and more
    quarters = np.histogram(W, 4, (-largest * 1.01, largest * 1.01))[0] / W.size
    np.testing.assert_allclose(quarters, 0.25, atol=0.025)  # four times the deviation of a share of 6,300


@pytest.mark.parametrize("shape", [(40, 3, 3, 30), (200, 150)])
def test_he_weights_have_pytorchs_deviation(shape, rng, torch):
    W = he_normal(3)(rng, shape)
    theirs = torch.nn.init.kaiming_normal_(torch.empty(shape[0], shape[-1], *shape[1:-1]), nonlinearity="relu")
    np.testing.assert_allclose(W.std(), 3 * theirs.std(), rtol=0.05)
    assert abs(W.mean()) < 0.05 * W.std()


@pytest.mark.parametrize("slope", [0.1, 0.2, 0.5, 1])
def test_he_weights_behind_leaky_relu_have_pytorchs_deviation(slope, rng, torch):
    """Eq. (15) of He et al. 2015: variance 2 / ((1 + slope^2) fan_in). 360,000 draws know a deviation to 0.12 %."""
    shape = (300, 3, 3, 400)
    W = he_normal(slope=slope)(rng, shape)
    theirs = torch.nn.init.kaiming_normal_(torch.empty(300, 400, 3, 3), a=slope, nonlinearity="leaky_relu")
    np.testing.assert_allclose(W.std(), theirs.std(), rtol=0.004)
    np.testing.assert_allclose(W.std(), np.sqrt(2 / (1 + slope ** 2) / 3600), rtol=0.004)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 3, 3, 2), (20, 2, 2, 3), (1, 8), (8, 1)])
@pytest.mark.parametrize("scale", [1, 2.5])
def test_orthogonal_weights_are_orthonormal_along_the_shorter_side(shape, scale, rng):
    W = orthogonal(scale)(rng, shape)
    assert W.shape == shape
    singular = np.linalg.svd(W.reshape(shape[0], -1), compute_uv=False)
    np.testing.assert_allclose(singular, scale, rtol=1e-12)


def test_orthogonal_weights_prefer_no_direction(rng):
    """QR alone fixes signs: the mean over many draws would not be 0."""
    mean = np.mean([orthogonal()(rng, (3, 3)) for _ in range(2000)], axis=0)
    assert np.abs(mean).max() < 5 / np.sqrt(3 * 2000)  # each element has variance 1/3


def test_truncated_weights_are_pytorchs(rng, torch):
    """Cut at two deviations, and what lies there is drawn again, not moved to the edge."""
    W = truncated_normal(0.02)(rng, (64, 4, 4, 64))
    theirs = torch.nn.init.trunc_normal_(torch.empty(W.shape), std=0.02, a=-0.04, b=0.04).numpy()
    assert 0.0399 < np.abs(W).max() <= 0.04
    assert W.std() == pytest.approx(theirs.std(), rel=0.02) and W.std() == pytest.approx(0.88 * 0.02, rel=0.02)
    bins = np.linspace(-0.04, 0.04, 9)
    np.testing.assert_allclose(np.histogram(W, bins)[0] / W.size, np.histogram(theirs, bins)[0] / W.size, atol=0.008)


# ---- by name -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", FAMILIES)
def test_every_name_is_seeded_and_gives_weights_that_adam_moves(name):
    layers = [Linear(np.random.default_rng(3), 9, 4, by_name(name)("dense")) for _ in range(2)]
    W = layers[0].params["W"]
    assert W.dtype == np.float32 and W.data.flags.c_contiguous
    np.testing.assert_array_equal(W.data, layers[1].params["W"].data)
    Adam(layers[0].parameters()).step([Tensor(np.ones_like(p.data)) for p in layers[0].parameters().values()], 0.1)
    np.testing.assert_allclose(W.data, layers[1].params["W"].data - 0.1, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("part", PARTS)
def test_a_names_number_is_a_factor(name, part):
    one, two = (by_name(f"{name}-{x}")(part)(np.random.default_rng(1), (6, 3, 3, 5)) for x in ("0.25", "0.5"))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-12)


def test_lecun_and_he_are_of_the_fan_in(rng):
    """Variances 1 / n and 2 / n for n = 900 numbers in a row; 90,000 draws know a deviation to 0.3 %."""
    for name, variance in (("lecun", 1 / 900), ("he", 2 / 900), ("lecun-0.2", 0.04 / 900)):
        assert by_name(name)("conv")(rng, (100, 3, 3, 100)).std() == pytest.approx(np.sqrt(variance), rel=0.015)


@pytest.mark.parametrize("name", ["model", "norml", "normal-", "normal-x", "normal--1", "normal-0", "glorot-1e9", ""])
def test_an_unknown_name_is_said_with_the_choices(name):
    with pytest.raises(WrongUse, match="choose from: model, glorot, he, lecun, normal, orthogonal, truncated"):
        by_name(name)


def arrays(model, init):
    m, rng = MODELS[model], np.random.default_rng(5)
    gen = m.generator(rng, 32, 3, 5, 0.05, 3, init=init)
    dis = m.discriminator(rng, 32, 3, Normalization(), 0.05, 3, m.conditions[0], init=init)
    return [p.data for network in (gen, dis) for p in network.parameters().values()]


@pytest.mark.parametrize("model", MODELS)
def test_the_models_own_way_is_the_one_that_explain_names(model):
    name = OWN[model]["init"][0]
    assert experiment("cifar10", model=model).init == name
    for a, b in zip(arrays(model, "model"), arrays(model, name), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(arrays(model, "model"), arrays(model, "he-2"), strict=True))


# Miyato et al. 2018, Table 3 (lReLU 0.1); chainer-gan-lib (Chainer's 0.2); Lin et al. 2021, Table 3 (0.1) and
# Tables 4 and 5 (0.2); Radford et al. 2016, section 3 (0.2, ReLU in the generator). ResNets have ReLU.
SLOPES = {"cnn": (0, 0.1), "cnn-code": (0, 0.2), "cnn-bssn": (0, 0.1), "dcgan": (0, 0.2), "dcgan-32": (0, 0.2),
          "mnist-bssn": (0.2, 0.2)}


@pytest.mark.parametrize("model", MODELS)
def test_hes_weights_are_for_the_slope_of_the_network(model):
    """LeCun's from the same random numbers, times sqrt(2 / (1 + slope^2))."""
    m, seeded = MODELS[model], partial(np.random.default_rng, 5)
    slopes = SLOPES.get(model, (0, 0))
    given = {"slope": 0.3} if "slope" in m.options else {}
    makers = [(slopes[0], lambda init: m.generator(seeded(), 32, 3, width=0.1, init=init)),
              (slopes[1], lambda init: m.discriminator(seeded(), 32, 3, Normalization(), 0.1, init=init)),
              (given.get("slope", slopes[1]),
               lambda init: m.discriminator(seeded(), 32, 3, Normalization(), 0.1, init=init, **given))]
    for slope, make in makers:
        he, lecun = make("he").parameters(), make("lecun").parameters()
        for name, p in he.items():
            if name.endswith("W"):
                np.testing.assert_allclose(p.data, lecun[name].data * np.sqrt(2 / (1 + slope ** 2)), rtol=1e-5)


def test_bssns_code_truncates_the_discriminators_convolutions_only():
    rng = np.random.default_rng(2)
    gen, dis = (MODELS["cnn-bssn"].generator(rng, 32, 3), MODELS["cnn-bssn"].discriminator(rng, 32, 3, Normalization()))
    for network in (gen, dis):
        for path, layer in network.walk():
            if "W" in layer.params and layer.params["W"].size > 5000:  # else none may lie beyond by chance
                cut = isinstance(network, CNNDiscriminator) and path != "dense"
                assert (np.abs(layer.params["W"].data).max() <= np.float32(0.04)) == cut, path
