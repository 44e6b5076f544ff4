"""What Lin et al. 2021 add to spectral normalization: both directions, a scale, their schedule; their theorems."""

import numpy as np
import pytest
from checks import check_grads
from layer_kinds import LAYERS, an_input, largest, matrix, used
from twins import to_float64

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad
from minigan.engine.loops.power_iteration import power_iteration
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, Linear
from minigan.nn.spectral_norms import BidirectionalNorm, SpectralNorm
from minigan.nn.weight_norms import WeightNorm

every_layer = pytest.mark.parametrize("kind", LAYERS)
KINDS = {"sn": SpectralNorm, "bsn": BidirectionalNorm}
each_kind = pytest.mark.parametrize("norm", KINDS.values(), ids=KINDS)


def both(W, out_axis=0):
    """The mean of the two norms by SVD; of a dense layer's the first alone."""
    first = largest(W, out_axis)
    return (first + largest(W, W.ndim - 1 - out_axis)) / 2 if W.ndim == 4 else first


def forwards(layer, x, count=400):
    for _ in range(count):
        layer(x)


# ---- what is normalized --------------------------------------------------------------------------------------------

@every_layer
def test_the_mean_of_both_norms_is_the_scale(kind, rng):
    layer = LAYERS[kind](rng, BidirectionalNorm(scale=1.6))
    W, axis = layer.params["W"].data, layer.out_axis
    forwards(layer, an_input(rng, layer))
    np.testing.assert_allclose(both(used(layer), axis), 1.6, rtol=1e-4)
    np.testing.assert_allclose(used(layer) * both(W, axis), 1.6 * W, rtol=1e-3, atol=1e-6)
    names = {"u": W.shape[axis]} | ({"u_in": W.shape[W.ndim - 1 - axis]} if W.ndim == 4 else {})
    assert {name: u.shape for name, u in layer.state.items()} == {name: (n,) for name, n in names.items()}


def test_the_two_directions_are_not_the_same(rng):
    """Else the test above would not tell one from the other."""
    W = LAYERS["conv-strided"](rng, None).params["W"].data
    assert abs(largest(W) / largest(W, 3) - 1) > 0.1


def test_a_dense_layers_is_plain_spectral_normalization(rng):
    plain, bidirectional = (LAYERS["dense"](np.random.default_rng(1), norm()) for norm in KINDS.values())
    x = an_input(rng, plain)
    for _ in range(3):
        assert plain(x).data.tobytes() == bidirectional(x).data.tobytes()


@every_layer
@pytest.mark.parametrize("through", [False, True], ids=["constant", "through"])
def test_scaled_sn_is_sn_times_the_scale(kind, through, rng):
    """In the result and in the gradient."""
    one, scaled = (to_float64(LAYERS[kind](np.random.default_rng(1), SpectralNorm(2, scale=s, through=through)))
                   for s in (1.0, 2.5))
    gy = Tensor(rng.standard_normal(one.params["W"].shape))
    found = []
    for layer in (one, scaled):
        W_bar = layer.norm.weight(layer, (), True)
        found.append((W_bar.data, grad(W_bar, layer.params["W"], gy=gy).data, layer.state["u"]))
    np.testing.assert_allclose(found[1][0], 2.5 * found[0][0], rtol=1e-12)
    np.testing.assert_allclose(found[1][1], 2.5 * found[0][1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1][2], found[0][2], rtol=1e-12)


@each_kind
@pytest.mark.parametrize("through", [False, True], ids=["constant", "through"])
def test_scaled_weights_give_the_same_used_weights_and_an_orthogonal_gradient(norm, through, rng):
    layer = to_float64(LAYERS["conv"](rng, norm(2, through=through)))
    W, before = layer.params["W"], used(layer)
    y = layer(an_input(rng, layer, np.float64), train=False)
    loss = ops.sum(y * Tensor(rng.standard_normal(y.shape)))
    for gW in (grad(loss, W).data, grad(loss, W, create_graph=True).data):
        assert abs(np.sum(gW * W.data)) < 1e-10 * np.linalg.norm(gW) * np.linalg.norm(W.data)
    for factor in (7, 1e-2):
        W.data = W.data * factor
        np.testing.assert_allclose(used(layer), before, rtol=1e-9)


# ---- the gradient --------------------------------------------------------------------------------------------------

def test_both_directions_gradient_has_constant_singular_vectors(rng):
    """gy / sigma - <gy, W> / sigma^2 D, D the mean of u v^T of both matrices, each laid out as W."""
    layer = to_float64(LAYERS["conv"](rng, BidirectionalNorm()))
    W = layer.params["W"]
    gy = rng.standard_normal(W.shape)
    sigmas, D = [], np.zeros(W.shape)
    for name, axis in (("u", 0), ("u_in", 3)):
        u, v, sigma = power_iteration(matrix(W.data, axis), layer.state[name])
        moved = [axis] + [i for i in range(4) if i != axis]
        D += 0.5 * np.outer(u, v).reshape([W.shape[i] for i in moved]).transpose(np.argsort(moved))
        sigmas.append(sigma)
    sigma = np.mean(sigmas)
    expected = gy / sigma - np.sum(gy * W.data) / sigma ** 2 * D
    W_bar = layer.norm.weight(layer, (), False)
    np.testing.assert_allclose(grad(W_bar, W, gy=Tensor(gy)).data, expected, rtol=1e-9, atol=1e-10)


@each_kind
@pytest.mark.parametrize("n_iter", [1, 2])
def test_the_gradient_through_the_iteration_is_a_central_difference_to_second_order(norm, n_iter, rng):
    layer = to_float64(Conv2d(rng, 2, 3, 2, norm=norm(n_iter, through=True)))
    check_grads(lambda W: _with(layer, W).norm.weight(layer, (), False), rng.standard_normal(layer.params["W"].shape))


def _with(layer, W):
    layer.params["W"] = W
    return layer


@each_kind
def test_converged_the_gradient_through_the_iteration_is_that_with_constants(norm, rng):
    found = []
    for through in (False, True):
        layer = to_float64(LAYERS["conv"](np.random.default_rng(2), norm(600, through=through)))
        W_bar = layer.norm.weight(layer, (), True)
        gy = Tensor(np.random.default_rng(3).standard_normal(W_bar.shape))
        found.append(grad(layer.norm.weight(layer, (), False), layer.params["W"], gy=gy).data)
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-8)


@each_kind
def test_away_from_convergence_the_two_gradients_differ(norm, rng):
    found = []
    for through in (False, True):
        layer = to_float64(LAYERS["conv"](np.random.default_rng(2), norm(through=through)))
        W_bar = layer.norm.weight(layer, (), True)
        gy = Tensor(np.random.default_rng(3).standard_normal(W_bar.shape))
        found.append(grad(W_bar, layer.params["W"], gy=gy).data)
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(found[0]).max()


# ---- when u moves --------------------------------------------------------------------------------------------------

@each_kind
def test_with_one_move_per_update_all_forwards_share_u_and_the_update_moves_it_from_the_new_weights(norm, rng):
    layer = LAYERS["conv"](rng, norm(2, schedule="update"))
    W, x = layer.params["W"], an_input(rng, layer)
    start = {name: u.copy() for name, u in layer.state.items()}
    first = layer(x).data
    assert layer(x).data.tobytes() == first.tobytes()
    W.data += rng.standard_normal(W.shape).astype(np.float32)
    layer(x)
    for name, u in layer.state.items():
        assert u.tobytes() == start[name].tobytes()
    layer.after_update()
    for name, axis in (("u", 0), ("u_in", 3)):
        if name in layer.state:
            np.testing.assert_allclose(layer.state[name], power_iteration(matrix(W.data, axis), start[name], 2)[0],
                                       rtol=1e-5, atol=1e-6)


def test_with_a_move_per_forward_an_update_moves_nothing(rng):
    layer = LAYERS["conv"](rng, SpectralNorm())
    u = layer.state["u"].copy()
    layer.after_update()
    np.testing.assert_array_equal(layer.state["u"], u)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="u moves every forward or update, got 'never'"):
        SpectralNorm(schedule="never")


# ---- the theorems --------------------------------------------------------------------------------------------------

DISTRIBUTIONS = {"gaussian": lambda rng, shape: rng.standard_normal(shape),
                 "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
                 "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape)}


def variances(layer, draw, rng, draws=60):
    """The variance of one used weight over random matrices, for all of them; their mean over the layer is exact."""
    W = layer.params["W"]
    found = []
    for _ in range(draws):
        W.data = draw(rng, W.shape)
        found.append(layer.norm.weight(layer, (), False).data)
    return np.var(np.stack(found), axis=0).mean()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("m, n", [(8, 30), (30, 8), (12, 12), (1, 20)])
def test_theorem_2_bounds_the_variance_under_spectral_normalization(m, n, distribution, rng):
    """1 / max(m, n) from above; for Gaussians L / (max log min) from below, with L = 1/4 here."""
    layer = to_float64(Linear(rng, n, m, normal(), norm=SpectralNorm(150)))
    found = variances(layer, DISTRIBUTIONS[distribution], rng)
    assert found <= 1 / max(m, n) * (1 + 1e-6)
    if min(m, n) > 1:
        assert found >= 0.25 / (max(m, n) * np.log(min(m, n)))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("c_in, c_out", [(6, 6), (2, 12), (12, 2)])
def test_theorem_3_bounds_the_variance_under_bidirectional_normalization(c_in, c_out, distribution, rng):
    """2 / (c_in k^2 + c_out k^2), where k^2 >= the ratio of the channels."""
    layer = to_float64(Conv2d(rng, c_in, c_out, 3, norm=BidirectionalNorm(150)))
    found = variances(layer, DISTRIBUTIONS[distribution], rng)
    fans = 9 * (c_in + c_out)
    assert found <= 2 / fans * (1 + 1e-6)
    assert found >= 0.25 * 2 / (9 * c_in * np.log(c_out) + 9 * c_out * np.log(c_in))


def test_the_theorems_bounds_are_not_met_by_any_normalization(rng):
    """Weight normalization's variance is 1 / fan-in: above both bounds where the fan-out is larger."""
    dense, conv = (to_float64(layer) for layer in (Linear(rng, 8, 30, normal(), norm=WeightNorm()),
                                                   Conv2d(rng, 2, 12, 3, norm=WeightNorm())))
    assert variances(dense, DISTRIBUTIONS["gaussian"], rng) > 1.5 / 30
    assert variances(conv, DISTRIBUTIONS["gaussian"], rng) > 1.5 * 2 / (9 * 14)
