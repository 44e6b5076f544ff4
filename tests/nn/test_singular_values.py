"""Norms of a layer's W as a matrix and as a convolution: against SVDs, and convolutions written out."""

import numpy as np
import pytest
from convolutions import CONVOLUTIONS, every_convolution, operator
from twins import to_float64

from minigan.engine.autograd import Tensor
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, Linear
from minigan.nn.singular_values import conv_bounds, operator_norm, singular_values
from minigan.nn.weight_norms import to_matrix


@every_convolution
def test_the_operator_norm_is_that_of_the_convolution_written_out(kind, rng):
    make, size = CONVOLUTIONS[kind]
    layer = to_float64(make(rng, None))
    W = Tensor(rng.standard_normal(layer.params["W"].shape))
    channels = W.shape[0 if layer.out_axis else -1]
    shape = layer.operand_shape((1, *size, channels))
    expected = np.linalg.norm(operator(layer, W.data, size), 2)
    np.testing.assert_allclose(operator_norm(layer, W, shape, 1e-5), expected, rtol=1e-9)
    np.testing.assert_allclose(operator_norm(layer, W, shape), expected, rtol=2e-3)


def test_the_operator_norm_of_zero_weights_and_of_the_identity():
    layer = Conv2d(np.random.default_rng(0), 2, 2, 1)
    assert operator_norm(layer, Tensor(np.zeros((2, 1, 1, 2), np.float32)), (1, 4, 4, 2)) == 0
    identity = Tensor(np.eye(2, dtype=np.float32).reshape(2, 1, 1, 2))
    np.testing.assert_allclose(operator_norm(layer, identity, (1, 4, 4, 2)), 1, rtol=1e-6)


@pytest.mark.parametrize(("kernel", "stride", "pad", "size"), [
    (3, 1, 1, (5, 4)), (3, 1, 1, (2, 5)), (4, 2, 1, (6, 8)), (4, 2, 1, (2, 2)), (5, 2, 2, (3, 6)), (1, 1, 0, (2, 2))])
def test_the_operator_norm_lies_between_its_bounds_however_small_the_image(kernel, stride, pad, size, rng):
    layer = to_float64(Conv2d(rng, 2, 3, kernel, stride, pad))
    upper_reached = []
    for _ in range(30):
        W = rng.standard_normal((3, kernel, kernel, 2)) * rng.random((3, kernel, kernel, 2)) ** 6
        lower, upper = conv_bounds(layer, W, (1, *size, 2))
        whole = np.linalg.norm(operator(layer, W, size), 2)
        assert lower * (1 - 1e-9) <= whole <= upper * (1 + 1e-9)
        upper_reached.append(whole / upper)
    if min(size) >= kernel:
        assert lower == singular_values(to_matrix(W))[0]
    # one tap alone makes the lower bound exact; where windows do not overlap both are
    tap = np.zeros((3, kernel, kernel, 2))
    tap[:, pad, pad] = rng.standard_normal((3, 2))
    lower, _ = conv_bounds(layer, tap, (1, *size, 2))
    np.testing.assert_allclose(lower, np.linalg.norm(operator(layer, tap, size), 2), rtol=1e-9)


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (1, 9), (5, 5)])
def test_singular_values_are_those_of_the_svd(shape, rng):
    matrix = rng.standard_normal(shape) @ np.diag(rng.random(shape[1]) ** 3)
    np.testing.assert_allclose(singular_values(matrix), np.linalg.svd(matrix, compute_uv=False), rtol=1e-6, atol=1e-7)


def test_a_dense_layer_is_its_own_operator(rng):
    layer = Linear(rng, 6, 4, normal())
    assert conv_bounds(layer, layer.params["W"].data, (2, 6)) == (
        pytest.approx(np.linalg.norm(layer.params["W"].data, 2)),) * 2
