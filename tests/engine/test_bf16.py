"""Activations in bfloat16: which operations take them, their derivatives to second order beside float64. Emulated."""

import emulated_cupy
import numpy as np
import pytest

from minigan.engine import conv_ops, cublas, im2col, ops, pool_ops
from minigan.engine.autograd import Tensor, grad, in_float32
from minigan.engine.devices import BF16
from minigan.engine.loops.rounding import bf16
from minigan.nn.feature_norms import BatchNormalize


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy, cublas.precision(cupy, "bf16"):
        yield cupy


def half(cupy, a):
    """A variable in bfloat16."""
    return Tensor(cupy.array(np.asarray(a, np.float32).astype(BF16)), requires_grad=True)


def numbers(x):
    return x.data.get().astype(np.float64)


# ---- the rule --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("function", [ops.exp, ops.tanh, ops.sum, ops.negative, lambda x: ops.max(x, 1),
                                      lambda x: x * x, lambda x: x @ ops.transpose(x), lambda x: x[1:],
                                      lambda x: ops.concatenate([x, x]), lambda x: x + 1.0, lambda x: 2.0 / x])
def test_an_operation_that_does_not_know_them_is_given_float32_and_its_gradient_is_rounded(function, cupy, rng):
    a = bf16(rng.uniform(1, 2, (3, 4)))
    x = half(cupy, a)
    y = function(x)
    assert y.dtype == np.float32
    gx = grad(ops.sum(y), x)
    exact = Tensor(a, requires_grad=True)
    assert x.dtype == gx.dtype == BF16
    np.testing.assert_allclose(numbers(gx), grad(ops.sum(function(exact)), exact).data, rtol=2**-7)


def test_with_float32_it_is_float32(cupy, rng):
    a, b = bf16(rng.standard_normal((2, 3))), rng.standard_normal((2, 3)).astype(np.float32)
    for y in (half(cupy, a) + Tensor(cupy.array(b)), Tensor(cupy.array(b)) + half(cupy, a)):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.data.get(), a + b, rtol=1e-6)


def test_what_only_moves_them_keeps_them(cupy, rng):
    a, b = (bf16(rng.standard_normal((2, 4, 6, 8))) for _ in range(2))
    for function in (lambda x, y: x + y, lambda x, y: ops.leaky_relu(x, 0.2), lambda x, y: ops.relu(x),
                     lambda x, y: pool_ops.upsample2d(x), lambda x, y: pool_ops.mean_pool2d(x),
                     lambda x, y: ops.reshape(x, (4, -1))):
        found, expected = function(half(cupy, a), half(cupy, b)), function(Tensor(a), Tensor(b)).data
        assert found.dtype == BF16
        np.testing.assert_array_equal(numbers(found), bf16(expected))


def test_float32_is_exact_and_its_gradient_rounded_to_the_nearest(cupy, rng):
    x = half(cupy, bf16(rng.standard_normal(7)))
    y, weights = in_float32(x), rng.standard_normal(7).astype(np.float32)
    assert y.dtype == np.float32 and in_float32(y) is y
    np.testing.assert_array_equal(y.data.get(), numbers(x))
    gx = grad(y, x, gy=Tensor(cupy.array(weights)))
    np.testing.assert_array_equal(numbers(gx), bf16(weights))


def test_the_gradients_of_all_uses_are_added(cupy):
    x = half(cupy, [[-1.0, 2.0, -3.0, 4.0]])
    uses = [ops.reshape(x, (4,)) for _ in range(4)]
    np.testing.assert_array_equal(numbers(grad(ops.sum(uses[0] + uses[1] + uses[2] + uses[3]), x)), [[4.0] * 4])
    y = ops.leaky_relu(x, 0.5) + ops.leaky_relu(x, 0.25)
    np.testing.assert_array_equal(numbers(grad(ops.sum(y), x)), [[0.75, 2.0, 0.75, 2.0]])


# ---- layers ----------------------------------------------------------------------------------------------------------

def results(function, shape, *weights):
    """The weights and their shape: what goes into one layer."""
    return function, shape, weights


LAYERS = {
    "convolution": results(lambda x, W, b: conv_ops.conv2d(x, W, b, 2, 1, slope=0.9), (2, 6, 6, 8), (6, 4, 4, 8), (6,)),
    "of odd channels": results(lambda x, W: conv_ops.conv2d(x, W, None, 1, 1), (2, 4, 5, 3), (5, 3, 3, 3)),
    "of few windows": results(lambda x, W: conv_ops.conv2d(x, W, None, 3), (2, 8, 7, 4), (5, 2, 2, 4)),
    "of one pixel": results(lambda x, W: conv_ops.conv2d(x, W), (2, 4, 5, 4), (3, 1, 1, 4)),
    "transposed": results(lambda x, W, b: conv_ops.conv_transpose2d(x, W, b, 2, 1, slope=0.9), (2, 3, 4, 5),
                          (5, 4, 4, 6), (6,)),
    "upsampled": results(lambda x, W: conv_ops.upsample_conv2d(x, W), (2, 3, 3, 4), (5, 3, 3, 4)),
    "pooled": results(lambda x, W: conv_ops.conv_mean_pool2d(x, W), (2, 4, 6, 4), (5, 3, 3, 4)),
    "batch normalization": results(lambda x, g, b: BatchNormalize(0.1, 0.9)(x, g, b), (3, 4, 2, 6), (6,), (6,)),
    "residual": results(lambda x, W: pool_ops.mean_pool2d(x) + conv_ops.conv_mean_pool2d(ops.leaky_relu(x, 0.9), W),
                        (2, 4, 4, 4), (4, 3, 3, 4)),
}


def penalized(layer, x, *weights):
    """The squared slope of a layer's squared result, and its gradients: what a gradient penalty asks for."""
    y = layer(x, *weights)
    gx = grad(ops.sum(in_float32(y) * y), x, create_graph=True)
    loss = ops.sum(in_float32(gx) * gx)
    return y, gx, loss, *grad(loss, [x, *weights])


@pytest.mark.parametrize("name", ["convolution", "of few windows", "transposed"])
def test_tile_by_tile_a_layer_is_right_to_second_order(name, cupy, rng, monkeypatch):
    monkeypatch.setattr(im2col, "CUDA_TILE_BYTES", 64)
    test_a_layer_is_right_to_second_order(name, BF16, cupy, rng)


@pytest.mark.parametrize("of", [np.float32, BF16], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_right_to_second_order(name, of, cupy, rng):
    layer, shape, weights = LAYERS[name]
    a = bf16(rng.standard_normal(shape))
    given = [(rng.standard_normal(w) / np.sqrt(np.prod(w[1:], dtype=int))).astype(np.float32) for w in weights]
    x = Tensor(cupy.array(a.astype(of)), requires_grad=True)
    found = penalized(layer, x, *(Tensor(cupy.array(w), requires_grad=True) for w in given))
    exact = penalized(layer, *(Tensor(w.astype(np.float64), requires_grad=True) for w in (a, *given)))
    assert found[1].dtype == found[3].dtype == of and {t.dtype for t in found[4:]} == {np.dtype(np.float32)}
    assert found[0].dtype == (of if name in ("batch normalization", "residual") else BF16)
    for one, other in zip(found, exact, strict=True):
        # a product of six factors and more, each of them off by half a unit
        np.testing.assert_allclose(numbers(one), other.data, rtol=0, atol=10 * 2**-8 * np.abs(other.data).max())
