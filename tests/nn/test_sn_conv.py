"""sn-conv: the operator norm of a convolution, against the convolution written out as a matrix."""

import copy

import numpy as np
import pytest
from convolutions import CONVOLUTIONS, every_convolution, operator, written_out
from layer_kinds import LAYERS, an_input, largest, used
from twins import to_float64

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.nn.spectral_norms import OperatorNorm


def made(kind, rng, **options):
    make, size = CONVOLUTIONS[kind]
    layer = to_float64(make(rng, OperatorNorm(**options)))
    W = layer.params["W"]
    W.data = rng.standard_normal(W.shape)
    channels = W.shape[0 if layer.out_axis else -1]
    return layer, Tensor(rng.standard_normal((2, *size, channels))), size


def in_use(layer, x):
    with no_grad():
        return layer.norm.weight(layer, x.shape, train=False).data


@every_convolution
def test_the_operator_norm_of_the_used_weights_is_the_scale(kind, rng):
    layer, x, size = made(kind, rng, scale=1.75)
    for _ in range(600):
        layer.norm.weight(layer, x.shape, train=True)
    W, W_bar = layer.params["W"].data, in_use(layer, x)
    np.testing.assert_allclose(np.linalg.norm(operator(layer, W_bar, size), 2), 1.75, rtol=1e-6)
    np.testing.assert_allclose(W_bar * np.linalg.norm(operator(layer, W, size), 2), 1.75 * W, rtol=1e-6)
    np.testing.assert_array_equal(used(layer), W_bar)  # without an input the size is that of the last one


@every_convolution
def test_operator_and_adjoint_are_the_written_out_matrix_and_its_transpose(kind, rng):
    layer, x, size = made(kind, rng)
    W, shape = layer.params["W"], layer.operand_shape(x.shape)
    A = operator(layer, W.data, size)
    a = rng.standard_normal(shape)
    y = layer.operator(W, Tensor(a))
    np.testing.assert_allclose(y.data.ravel(), A @ a.ravel(), rtol=1e-9, atol=1e-9)
    b = rng.standard_normal(y.shape)
    back = layer.adjoint(W, Tensor(b), shape)
    assert back.shape == shape
    np.testing.assert_allclose(back.data.ravel(), A.T @ b.ravel(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["3x3-unpadded", "3x3", "4x4-strided", "5x5-strided", "1x1"])
def test_the_two_norms_bound_each_other(kind, rng):
    """|W as matrix| <= |convolution| <= sqrt(windows that one pixel is in) |W as matrix| (Tsuzuku et al. 2018, Cor. 1).

    For the lower bound some window must lie inside the image; the upper counts the ones in the convolution of ones.
    """
    layer, x, size = made(kind, rng)
    W = layer.params["W"].data
    seen = written_out(np.ones((1, *W.shape[1:3], 1)), size, layer.stride, layer.pad).sum(0).max()
    for _ in range(20):
        W = rng.standard_normal(W.shape) * rng.random(W.shape) ** 4
        whole = np.linalg.norm(operator(layer, W, size), 2)
        assert largest(W) * (1 - 1e-9) <= whole <= np.sqrt(seen) * largest(W) * (1 + 1e-9)
    np.testing.assert_allclose(seen, {"1x1": 1, "4x4-strided": 4, "5x5-strided": 9}.get(kind, 9))


@every_convolution
def test_gradient_has_u_v_constant_and_is_orthogonal_to_the_weights(kind, rng):
    """The gradient of W / <W, D>, D the derivative of u^T A(W) v, written out element by element."""
    layer, x, size = made(kind, rng)
    W, v = layer.params["W"], None
    for _ in range(3):
        layer.norm.weight(layer, x.shape, train=True)
    v = layer.state["v"]
    gy = rng.standard_normal(W.shape)
    found = grad(layer.norm.weight(layer, x.shape, False), W, gy=Tensor(gy)).data
    A = operator(layer, W.data, size)
    u = A @ v.ravel() / np.linalg.norm(A @ v.ravel())
    right = A.T @ u / np.linalg.norm(A.T @ u)
    sigma = u @ A @ right
    D = np.zeros(W.shape)
    for index in np.ndindex(*W.shape):
        unit = np.zeros(W.shape)
        unit[index] = 1
        D[index] = u @ operator(layer, unit, size) @ right
    expected = gy / sigma - np.sum(gy * W.data) / sigma ** 2 * D
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    assert abs(np.sum(found * W.data)) < 1e-10 * np.linalg.norm(found) * np.linalg.norm(W.data)

    def second(W_bar):  # derivatives of a function of the first
        g = grad(W_bar, W, create_graph=True, gy=Tensor(gy))
        return grad(ops.sum(g * g), W).data
    np.testing.assert_allclose(second(layer.norm.weight(layer, x.shape, False)),
                               second(W / ops.sum(W * Tensor(D))), rtol=1e-7, atol=1e-8)


@every_convolution
def test_scaled_weights_give_the_same_used_weights(kind, rng):
    layer, x, _ = made(kind, rng)
    expected = in_use(layer, x)
    for factor in (7, 1e-3):
        layer.params["W"].data = layer.params["W"].data * factor
        np.testing.assert_allclose(in_use(layer, x), expected, rtol=1e-8)


@pytest.mark.parametrize("kind", ["3x3", "4x4-strided", "dense"])
def test_converged_or_not_the_gradient_through_the_iteration_is_a_central_difference(kind, rng):
    """And its own gradient: here of |gW|^2 in a random direction."""
    layer, x, _ = made(kind, rng, through=True)
    layer.norm.weight(layer, x.shape, train=True)
    W, c = layer.params["W"], rng.standard_normal(layer.params["W"].shape)
    first = rng.standard_normal(W.shape)
    center = W.data

    def values(step):
        W.data = center + step * first
        y = ops.sum(layer.norm.weight(layer, x.shape, False) * Tensor(c))
        g = grad(y, W, create_graph=True)
        square = ops.sum(g * g)
        return y.item(), square.item(), g.data, grad(square, W).data
    _, _, g, gg = values(0)
    ends = values(1e-5), values(-1e-5)
    for which, gradient in ((0, g), (1, gg)):
        slope = (ends[0][which] - ends[1][which]) / 2e-5
        np.testing.assert_allclose(np.sum(gradient * first), slope, rtol=1e-5, atol=1e-8)


# ---- what is remembered --------------------------------------------------------------------------------------------

def test_v_comes_with_the_first_training_input_and_never_moves_in_evaluation(rng):
    layer, x, _ = made("3x3", rng)
    assert layer.state["v"].shape == (0,)
    assert used(layer) is layer.params["W"].data  # no size to take a norm for
    first = in_use(layer, x)
    np.testing.assert_array_equal(in_use(layer, x), first)
    assert layer.state["v"].shape == (0,)
    layer(x, train=True)
    v = layer.state["v"].copy()
    assert v.shape == (1, *x.shape[1:])
    np.testing.assert_allclose(np.linalg.norm(v), 1)
    layer(x, train=False)
    np.testing.assert_array_equal(layer.state["v"], v)
    layer(x, train=True)
    assert (layer.state["v"] != v).any()


def test_an_input_of_another_size_begins_anew(rng):
    layer, x, _ = made("3x3", rng)
    layer(x)
    larger = Tensor(rng.standard_normal((1, 9, 9, 2)))
    layer(larger, train=False)
    assert layer.state["v"].shape == (1, 5, 4, 2)
    for _ in range(800):
        layer(larger)
    np.testing.assert_allclose(np.linalg.norm(operator(layer, in_use(layer, larger), (9, 9)), 2), 1, rtol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_copy_loaded_from_arrays_goes_on_alike(steps, rng):
    make, _ = CONVOLUTIONS["4x4-strided"]
    layer = make(np.random.default_rng(3), OperatorNorm())
    x = Tensor(rng.standard_normal((2, 6, 8, 3)).astype(np.float32))
    for _ in range(steps):
        layer(x)
    resumed = make(np.random.default_rng(3), OperatorNorm())
    resumed.load(copy.deepcopy(layer.arrays()))
    np.testing.assert_array_equal(used(resumed), used(layer))
    for _ in range(2):
        assert resumed(x).data.tobytes() == layer(x).data.tobytes()
    assert resumed.state["v"].tobytes() == layer.state["v"].tobytes()


def test_a_running_average_takes_over_what_came_with_the_first_input(rng):
    make, _ = CONVOLUTIONS["3x3"]
    layer, average = (make(np.random.default_rng(3), OperatorNorm()) for _ in range(2))
    layer(Tensor(rng.standard_normal((1, 4, 4, 2)).astype(np.float32)))
    average.follow(layer, 0.5)
    np.testing.assert_array_equal(average.state["v"], layer.state["v"])
    assert average.state["v"] is not layer.state["v"]
    average.follow(layer, 0.5)


def test_with_one_move_per_update_all_forwards_use_the_same_weights(rng):
    layer, x, _ = made("3x3", rng, schedule="update")
    layer(x)
    v = layer.state["v"].copy()
    before = in_use(layer, x)
    np.testing.assert_array_equal(layer.norm.weight(layer, x.shape, True).data, before)
    np.testing.assert_array_equal(layer.state["v"], v)
    layer.after_update()
    assert (layer.state["v"] != v).any() and (in_use(layer, x) != before).any()


@pytest.mark.parametrize("kind", LAYERS)
def test_any_layer_can_be_used(kind, rng):
    layer = LAYERS[kind](rng, OperatorNorm())
    x = an_input(rng, layer)
    for _ in range(2):
        y = layer(x)
    assert np.isfinite(y.data).all() and layer.state["v"].shape == layer.operand_shape(x.shape)
