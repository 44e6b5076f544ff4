"""A layer's own Lipschitz factor: against the matrix that the layer is, and pairs of inputs."""

import numpy as np
import pytest
from convolutions import CONVOLUTIONS, every_convolution
from slopes import in_use, largest_quotient
from twins import to_float64

from minigan.engine.autograd import Tensor, no_grad
from minigan.nn.feature_norms import BatchNorm, LayerNorm
from minigan.nn.layers import Conv2d, Layer, Sequential
from minigan.nn.lipschitz import InUse, product, total


def an_input_shape(layer, size):
    W = layer.params["W"]
    return (1, *size, W.shape[0 if layer.out_axis else -1]) if size else (1, W.shape[1])


def matrix(network, shape):
    """The linear map that a network without biases is."""
    inputs = np.eye(int(np.prod(shape))).reshape(-1, *shape[1:])
    with no_grad():
        return network(Tensor(inputs), False).data.reshape(len(inputs), -1)


@every_convolution
def test_a_layers_factor_is_the_norm_of_all_that_it_does(kind, rng):
    """Resampling included: there it is a bound, and no more than the resampling's own norm away."""
    make, size = CONVOLUTIONS[kind]
    network = to_float64(Sequential(layer=make(rng, None)))
    shape = an_input_shape(network.layers["layer"], size)
    exact = np.linalg.norm(matrix(network, shape), 2)
    factor = network.lipschitz(in_use(network, rng.standard_normal(shape)))
    if getattr(network.layers["layer"], "resample", ""):
        assert exact <= factor * (1 + 1e-9) and factor < 2 * exact
    else:
        np.testing.assert_allclose(factor, exact, rtol=1e-9)


@pytest.mark.parametrize("resample, factor", [("up", 2), ("down", 0.5), ("", 1)])
def test_resampling_alone_has_the_norm_that_is_counted(resample, factor, rng):
    layer = Conv2d(rng, 3, 3, 1, resample=resample)
    layer.params["W"].data = np.eye(3).reshape(3, 1, 1, 3)
    network = to_float64(Sequential(layer=layer))
    np.testing.assert_allclose(np.linalg.norm(matrix(network, (1, 4, 6, 3)), 2), factor)
    np.testing.assert_allclose(network.lipschitz(in_use(network, np.ones((1, 4, 6, 3)))), factor)


@pytest.mark.parametrize("slope", [0, 0.1, 1])
def test_a_leaky_relu_stretches_nothing(slope, rng):
    layer = Conv2d(rng, 3, 3, 1, slope=slope)
    layer.params["W"].data = np.eye(3).reshape(3, 1, 1, 3)
    network = to_float64(Sequential(layer=layer))
    x, y = (np.concatenate([z, -z]) for z in rng.uniform(0, 1, (2, 30, 2, 2, 3)))
    np.testing.assert_allclose(network.lipschitz(in_use(network, x)), largest_quotient(network, x, y), rtol=1e-9)


def test_factors_multiply_along_a_chain_and_add_up_over_branches_and_none_is_contagious():
    assert product(2.0, 3.0, 0.5) == 3.0 and total(2.0, 3.0, 0.5) == 5.5 and product() == 1.0
    assert product(2.0, None, 0.0) is None and total(None, 1.0) is None


@pytest.mark.parametrize("layer", [Layer(), BatchNorm(3), LayerNorm(3)], ids=["layer", "bn", "ln"])
def test_what_has_no_factor_says_none(layer):
    used = InUse((1, 4, 4, 3), {}, {layer: 1.0})
    assert layer.lipschitz(used) is None and Sequential(layer=layer).lipschitz(used) is None


def test_a_layer_that_no_forward_has_used_has_no_factor(rng):
    layer = Conv2d(rng, 3, 3, 1)
    assert layer.lipschitz(InUse((1, 4, 4, 3), {}, {})) is None
