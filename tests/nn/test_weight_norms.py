"""Weight normalizations without an iteration: rows, Frobenius norm, gain, clipping, orthonormality."""

from types import SimpleNamespace

import numpy as np
import pytest
from checks import check_grads
from layer_kinds import LAYERS, an_input, largest, matrix, singular_values, used
from twins import to_float64

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad
from minigan.networks.norms import penalties
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, Linear, Sequential
from minigan.nn.optimizers import OPTIMIZERS
from minigan.nn.spectral_norms import SpectralNorm
from minigan.nn.weight_norms import Clip, FrobeniusNorm, Gain, Orthonormal, WeightNorm, to_matrix

every_layer = pytest.mark.parametrize("kind", LAYERS)
DIVIDED = {"wn": WeightNorm, "frobenius": FrobeniusNorm}
each_division = pytest.mark.parametrize("norm", DIVIDED.values(), ids=DIVIDED)


def some_loss(layer, x, rng):
    y = layer(x)
    return ops.sum(y * y * Tensor(rng.standard_normal(y.shape)))


# ---- weight normalization and Frobenius normalization --------------------------------------------------------------

@every_layer
def test_squared_singular_values_under_weight_normalization_add_up_to_the_rows(kind, rng):
    """Eq. (13), because every row has length 1."""
    layer = LAYERS[kind](rng, WeightNorm())
    W_bar, axis = used(layer), layer.out_axis
    np.testing.assert_allclose(np.sum(singular_values(W_bar, axis) ** 2), W_bar.shape[axis], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(matrix(W_bar, axis), axis=1), 1, rtol=1e-5)


@every_layer
def test_squared_singular_values_under_frobenius_normalization_add_up_to_1(kind, rng):
    layer = LAYERS[kind](rng, FrobeniusNorm())
    np.testing.assert_allclose(np.sum(singular_values(used(layer), layer.out_axis) ** 2), 1, rtol=1e-5)


@each_division
@every_layer
def test_scaled_weights_give_the_same_used_weights_and_an_orthogonal_gradient(kind, norm, rng):
    layer = to_float64(LAYERS[kind](rng, norm()))
    W, before = layer.params["W"], used(layer)
    loss = some_loss(layer, an_input(rng, layer, np.float64), rng)
    for gW in (grad(loss, W), grad(loss, W, create_graph=True)):
        length = np.linalg.norm(gW.data) * np.linalg.norm(W.data)
        assert length > 1e-6 and abs(np.sum(gW.data * W.data)) < 1e-12 * length
        rows = [np.abs(np.sum(matrix(gW.data * W.data, layer.out_axis), axis=1)).max()]
        assert norm is FrobeniusNorm or rows[0] < 1e-12 * length  # weight normalization: row by row
    for factor in (7, 1e-3):
        W.data = W.data * factor
        np.testing.assert_allclose(used(layer), before, rtol=1e-9)


@each_division
@pytest.mark.parametrize("out_axis", [0, 3])
def test_derivatives_are_central_differences_to_second_order(norm, out_axis, rng):
    def normalized(W):
        return norm().weight(SimpleNamespace(params={"W": W}, out_axis=out_axis), (), True)
    check_grads(normalized, rng.standard_normal((3, 2, 1, 2)), order=2)


def test_gradient_under_frobenius_normalization_is_equation_36(rng):
    """1/|W| (E[delta h^T] - <E[delta h^T], W_bar> W_bar)."""
    layer = to_float64(Linear(rng, 5, 4, normal(), bias=False, norm=FrobeniusNorm()))
    W, h, delta = layer.params["W"], rng.standard_normal((6, 5)), rng.standard_normal((6, 4))
    outer, length = delta.T @ h, np.linalg.norm(W.data)
    W_bar = W.data / length
    expected = (outer - np.sum(outer * W_bar) * W_bar) / length
    np.testing.assert_allclose(grad(ops.sum(layer(Tensor(h)) * Tensor(delta)), W).data, expected, rtol=1e-10)


@each_division
def test_zero_weights_stay_zero_with_a_finite_gradient(norm, rng):
    layer = LAYERS["conv"](rng, norm())
    layer.params["W"].data[:] = 0
    assert not used(layer).any()
    gW = grad(ops.sum(layer(an_input(rng, layer))), layer.params["W"]).data
    assert np.isfinite(gW).all() and gW.any()


# ---- gamma ---------------------------------------------------------------------------------------------------------

@every_layer
@pytest.mark.parametrize("make, rows", [(lambda: SpectralNorm(500), False), (WeightNorm, True)], ids=["sn", "wn"])
def test_gamma_begins_so_that_the_weights_are_as_drawn_or_at_one(kind, make, rows, rng):
    seeds = [np.random.default_rng(5) for _ in range(3)]
    drawn = LAYERS[kind](seeds[0], None).params["W"].data
    as_drawn, one = (LAYERS[kind](seed, Gain(make(), rows, start))
                     for seed, start in zip(seeds[1:], ("weights", "one"), strict=True))
    np.testing.assert_allclose(used(as_drawn), drawn, rtol=1e-4, atol=1e-7)
    assert (one.params["gamma"].data == 1).all()
    count = drawn.shape[one.out_axis] if rows else 1
    assert one.params["gamma"].shape == (count,)
    lengths = np.linalg.norm(matrix(used(one), one.out_axis), axis=1) if rows else largest(used(one), one.out_axis)
    np.testing.assert_allclose(lengths, 1, rtol=1e-4)


def test_gamma_is_the_spectral_norm_of_the_weights_in_use(rng):
    layer = LAYERS["conv"](rng, Gain(SpectralNorm(500)))
    layer.params["gamma"].data[:] = 3.5
    np.testing.assert_allclose(largest(used(layer)), 3.5, rtol=1e-5)


@pytest.mark.parametrize("rows", [False, True])
def test_gammas_gradient_is_that_of_the_product(rows, rng):
    def product(W, gamma):
        layer = SimpleNamespace(params={"W": W, "gamma": gamma}, out_axis=0)
        return Gain(FrobeniusNorm(), rows).weight(layer, (), True)
    check_grads(product, rng.standard_normal((3, 2, 1, 2)), rng.standard_normal(3 if rows else 1), order=2)


def shared_pair(rng):
    shared = []
    return Sequential(one=Linear(rng, 4, 5, normal(), norm=Gain(SpectralNorm(300), shared=shared)),
                      two=Linear(rng, 5, 3, normal(), norm=Gain(SpectralNorm(300), shared=shared)))


def test_a_shared_gamma_is_one_parameter_that_every_layer_follows(rng):
    pair = shared_pair(rng)
    names = [name for name in pair.parameters() if "gamma" in name]
    assert names == ["one/gamma"] and pair.parameters()["one/gamma"].data.tolist() == [1]
    x = Tensor(rng.standard_normal((6, 4)).astype(np.float32))
    y = pair(x).data.copy()
    pair.layers["one"].params["b"].data[:] = pair.layers["two"].params["b"].data[:] = 0
    OPTIMIZERS["adam"](pair.parameters(), 0.5, 0.9).step([p.detach() for p in pair.parameters().values()], 0.0)
    pair.parameters()["one/gamma"].data[:] = 3
    np.testing.assert_allclose(pair(x).data, 9 * y, rtol=1e-4)  # two layers
    for layer in pair.layers.values():
        np.testing.assert_allclose(largest(used(layer)), 3, rtol=1e-4)
    other = shared_pair(np.random.default_rng(9))
    other.load(pair.arrays())
    np.testing.assert_array_equal(other(x, train=False).data, pair(x, train=False).data)


def test_a_shared_gammas_gradient_is_the_sum_over_the_layers(rng):
    pair = to_float64(shared_pair(rng))
    x, gamma = Tensor(rng.standard_normal((6, 4))), pair.parameters()["one/gamma"]
    loss = ops.sum(pair(x) * Tensor(rng.standard_normal((6, 3))))
    # without biases the loss is proportional to gamma^2
    np.testing.assert_allclose(grad(loss, gamma).data, 2 * loss.data, rtol=1e-9)


# ---- clipping ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("which, clipped", [
    ("conv", ["conv/W"]), ("weights", ["conv/W", "dense/W"]), ("all", ["conv/W", "conv/b", "dense/W", "dense/b"])])
def test_clipping_keeps_every_element_of_what_it_clips_within_the_bound(which, clipped, rng):
    net = Sequential(conv=Conv2d(rng, 2, 3, 3, norm=Clip(0.25, which)),
                     dense=Linear(rng, 4, 5, normal(), norm=Clip(0.25, which)))
    before = {}
    for name, p in net.parameters().items():
        p.data += rng.standard_normal(p.shape).astype(np.float32)
        before[name] = p.data.copy()
    y_weights = used(net.layers["conv"])
    np.testing.assert_array_equal(y_weights, before["conv/W"])  # nothing before the update
    net.after_update()
    for name, p in net.parameters().items():
        np.testing.assert_array_equal(p.data, np.clip(before[name], -0.25, 0.25) if name in clipped else before[name])
        assert np.abs(before[name]).max() > 0.25, "the test must have something to clip"


# ---- orthonormality ------------------------------------------------------------------------------------------------

@every_layer
def test_orthonormal_weights_begin_with_all_singular_values_at_1_and_no_penalty(kind, rng):
    layer = LAYERS[kind](rng, Orthonormal(2.0))
    np.testing.assert_allclose(singular_values(used(layer), layer.out_axis), 1, rtol=1e-5)
    assert layer.params["W"].data.flags.c_contiguous
    assert 0 <= layer.norm.penalty(layer).item() < 1e-9


@every_layer
def test_the_penalty_is_equation_14_but_for_a_constant_and_has_its_gradient(kind, rng):
    layer = to_float64(LAYERS[kind](rng, Orthonormal(0.3)))
    W = layer.params["W"]
    W.data = rng.standard_normal(W.shape) * 0.4
    M = matrix(W.data, layer.out_axis)
    defect = M.T @ M - np.eye(M.shape[1])
    penalty = layer.norm.penalty(layer)
    constant = max(0, M.shape[1] - M.shape[0])
    np.testing.assert_allclose(penalty.item() / 0.3, np.sum(defect ** 2) - constant, rtol=1e-9)
    np.testing.assert_allclose(matrix(grad(penalty, W).data, layer.out_axis), 0.3 * 4 * M @ defect, rtol=1e-8,
                               atol=1e-10)


def test_the_penaltys_derivatives_are_central_differences(rng):
    for shape in ((2, 1, 2, 2), (5, 3)):
        check_grads(lambda W: Orthonormal(0.7).penalty(SimpleNamespace(params={"W": W}, out_axis=0)),
                    rng.standard_normal(shape), order=2)


def test_following_the_penaltys_gradient_leads_back_to_orthonormal_weights(rng):
    layer = to_float64(LAYERS["conv"](rng, Orthonormal(1.0)))
    W = layer.params["W"]
    W.data += 0.05 * rng.standard_normal(W.shape)
    assert np.abs(singular_values(W.data) - 1).max() > 0.02
    for _ in range(100):
        W.data -= 0.05 * grad(layer.norm.penalty(layer), W).data
    np.testing.assert_allclose(singular_values(W.data), 1, rtol=1e-6)


def test_penalties_are_added_up_over_the_layers(rng):
    norms = Orthonormal(0.5), Orthonormal(2.0), None
    net = Sequential(**{f"l{i}": Linear(rng, 4, 5, normal(), norm=norm) for i, norm in enumerate(norms)})
    for p in net.parameters().values():
        p.data += 1
    parts = [net.layers[name].norm.penalty(net.layers[name]).item() for name in ("l0", "l1")]
    assert min(parts) > 1
    np.testing.assert_allclose(penalties(layer for _, layer in net.walk()).item(), sum(parts), rtol=1e-6)
    assert penalties([net.layers["l2"]]) is None and penalties([]) is None


# ---- matrices ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("out_axis", [0, 1, 3])
def test_a_tensors_matrix_has_a_row_for_each_output(out_axis, rng):
    W = rng.standard_normal((2, 3, 4, 5))
    found = to_matrix(Tensor(W), out_axis)
    for row in range(W.shape[out_axis]):
        np.testing.assert_array_equal(found.data[row], W.take(row, out_axis).ravel())
    np.testing.assert_array_equal(to_matrix(W, out_axis), found.data)
