"""Spectral normalization: singular values by SVD, Eq. (12) and Algorithm 1 written out, PyTorch's spectral_norm."""

import functools

import numpy as np
import pytest
from checks import check_grads
from layer_kinds import LAYERS, an_input, largest, matrix, used
from twins import to_float64

from minigan.engine import conv_ops, ops, pool_ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.engine.loops.power_iteration import power_iteration
from minigan.engine.scaled import Scaled
from minigan.networks.norms import NORMS, NormOptions
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, Linear, Sequential
from minigan.nn.normalized_together import Part, SpectralNormalizeAll
from minigan.nn.spectral_norms import SpectralNorm, SpectralNormalize
from minigan.nn.weight_norms import largest_singular_value

every_layer = pytest.mark.parametrize("kind", LAYERS)


# ---- what is normalized --------------------------------------------------------------------------------------------

@every_layer
def test_spectral_norm_of_the_used_weights_is_1_after_training_forwards(kind, rng):
    """And not after W has moved, and again after more forwards."""
    layer = LAYERS[kind](rng, SpectralNorm())
    x, W = an_input(rng, layer), layer.params["W"]

    def forwards():
        for _ in range(300):
            layer(x, train=True)
    forwards()
    axis = layer.out_axis
    np.testing.assert_allclose(largest(used(layer), axis), 1, rtol=1e-5)
    np.testing.assert_allclose(used(layer) * largest(W.data, axis), W.data, rtol=1e-4, atol=1e-6)
    if len(W.data) == 1:  # one row is its own singular vector: any u is the right one
        return
    W.data += 0.05 * rng.standard_normal(W.shape).astype(np.float32)
    assert abs(largest(used(layer), axis) - 1) > 1e-3
    for _ in range(300):
        layer(x, train=False)
    assert abs(largest(used(layer), axis) - 1) > 1e-3  # evaluation does not catch up
    forwards()
    np.testing.assert_allclose(largest(used(layer), axis), 1, rtol=1e-5)


def test_scaled_weights_give_the_same_used_weights(rng):
    layer = LAYERS["conv"](rng, SpectralNorm())
    W, expected = layer.params["W"], used(layer)
    for factor in (7, 1e-3):
        W.data *= np.float32(factor)
        np.testing.assert_allclose(used(layer), expected, rtol=1e-5)


def test_without_normalization_the_weights_are_used_as_they_are(rng):
    layer = LAYERS["conv"](rng, NORMS["none"](NormOptions()).weight())
    assert layer.norm.weight(layer, (), train=True) is layer.params["W"]
    layer(an_input(rng, layer))
    layer.after_update()
    assert layer.state == {} and layer.params.keys() == {"W", "b"}


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("resample", ["up", "down"])
def test_folding_a_resampling_into_a_convolution_does_not_change_what_is_normalized(resample, kernel, rng):
    layer = to_float64(Conv2d(rng, 3, 6, kernel, pad=kernel // 2, norm=SpectralNorm(400), resample=resample))
    layer.params["b"].data = rng.standard_normal(6)
    x = an_input(rng, layer, np.float64)
    W_bar = Tensor(layer.params["W"].data / largest(layer.params["W"].data))
    larger = pool_ops.upsample2d(x) if resample == "up" else x
    plain = conv_ops.conv2d(larger, W_bar, layer.params["b"], pad=kernel // 2)
    plain = pool_ops.mean_pool2d(plain) if resample == "down" else plain
    np.testing.assert_allclose(layer(x).data, plain.data, rtol=1e-9, atol=1e-9)


# ---- when u moves --------------------------------------------------------------------------------------------------

@every_layer
@pytest.mark.parametrize("n_iter", [1, 3])
def test_u_moves_once_per_training_forward_and_never_in_evaluation(kind, n_iter, rng):
    layer = LAYERS[kind](rng, SpectralNorm(n_iter))
    x, W = an_input(rng, layer), layer.params["W"].data
    start = layer.state["u"].copy()
    assert start.shape == (W.shape[layer.out_axis],) and start.dtype == np.float32
    first = layer(x, train=False).data
    np.testing.assert_array_equal(layer(x, train=False).data, first)
    assert layer.state["u"].tobytes() == start.tobytes()
    expected = start
    for _ in range(3):
        expected = power_iteration(matrix(W, layer.out_axis), expected, n_iter)[0]
        layer(x, train=True)
        assert layer.state["u"].tobytes() == expected.tobytes()
    with no_grad():
        layer(x, train=True)  # the generator's images count like any others
    assert layer.state["u"].tobytes() == power_iteration(matrix(W, layer.out_axis), expected, n_iter)[0].tobytes()


def test_u_does_not_move_in_backward_or_after_an_update(rng):
    layer = LAYERS["conv"](rng, SpectralNorm())
    x = Tensor(an_input(rng, layer).data, requires_grad=True)
    y = ops.sum(layer(x) * layer(x))
    u = layer.state["u"].tobytes()
    g = grad(y, x, create_graph=True)
    grad(ops.sum(g * g), layer.params["W"])
    layer.after_update()
    assert layer.state["u"].tobytes() == u


def test_evaluation_uses_the_u_that_training_left(rng):
    layer = LAYERS["dense"](rng, SpectralNorm())
    x = an_input(rng, layer)
    layer(x, train=True)
    u = layer.state["u"].copy()
    np.testing.assert_array_equal(layer(x, train=False).data, layer(x, train=True).data)  # both start from this u
    assert layer.state["u"].tobytes() != u.tobytes()


def test_u_is_drawn_from_the_generator_given_and_saved_with_the_layer():
    layers = [LAYERS["conv"](np.random.default_rng(seed), SpectralNorm()) for seed in (1, 1, 2)]
    first, same, other = (layer.state["u"] for layer in layers)
    np.testing.assert_array_equal(first, same)
    assert not np.any(first == other)
    assert layers[0].arrays().keys() == {"W", "b", "u"} and layers[0].parameters().keys() == {"W", "b"}


def test_the_experiment_says_how_many_iterations():
    assert NORMS["sn"](NormOptions()).weight().n_iter == 1
    normalization = NORMS["sn"](NormOptions(power_iterations=4))
    assert normalization.weight().n_iter == 4
    assert normalization.weight() is not normalization.weight()


@pytest.mark.parametrize("n_iter", [0, -2])
def test_no_iterations_are_refused(n_iter):
    with pytest.raises(ValueError, match=f"expected at least 1 power iteration, got {n_iter}"):
        SpectralNorm(n_iter)


# ---- the gradient --------------------------------------------------------------------------------------------------

@every_layer
@pytest.mark.parametrize("n_iter", [1, 300], ids=["at-once", "converged"])
def test_gradient_is_orthogonal_to_the_weights(kind, n_iter, rng):
    """W and cW are the same once normalized, so no loss changes along W."""
    layer = to_float64(LAYERS[kind](rng, SpectralNorm(n_iter)))
    W, y = layer.params["W"], layer(an_input(rng, layer, np.float64))
    loss = ops.sum(y * Tensor(rng.standard_normal(y.shape)))
    for gW in (grad(loss, W), grad(loss, W, create_graph=True)):
        length = np.linalg.norm(gW.data) * np.linalg.norm(W.data)
        assert length > 1e-3
        assert abs(np.sum(gW.data * W.data)) < 1e-12 * length


def test_gradient_is_equation_12(rng):
    """1/sigma (E[delta h^T] - lambda u1 v1^T), lambda = E[delta^T W_bar h], over a batch of 6."""
    layer = to_float64(Linear(rng, 5, 4, normal(), bias=False, norm=SpectralNorm(3000)))
    W, h = layer.params["W"], rng.standard_normal((6, 5))
    c = rng.standard_normal((6, 4))

    left, singular, right = np.linalg.svd(W.data)
    u1v1, sigma = np.outer(left[:, 0], right[0]), singular[0]
    W_bar = W.data / sigma
    # V = mean over the batch of sum(c * y^2 / 2), y = W_bar h: delta = c * y
    delta = np.stack([c[n] * (W_bar @ h[n]) for n in range(6)])
    outer = np.mean([np.outer(delta[n], h[n]) for n in range(6)], axis=0)
    penalty = np.mean([delta[n] @ W_bar @ h[n] for n in range(6)])
    expected = (outer - penalty * u1v1) / sigma

    y = layer(Tensor(h))
    V = ops.sum(Tensor(c) * y * y) * (0.5 / 6)
    assert abs(penalty) > 0.1
    np.testing.assert_allclose(grad(V, W).data, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(grad(V, W, create_graph=True).data, expected, rtol=1e-8, atol=1e-8)


def test_training_is_algorithm_1(rng):
    """Ten steps of SGD with Eq. (20) to (23) written out, u recycled from step to step."""
    layer = to_float64(Linear(rng, 5, 4, normal(), bias=False, norm=SpectralNorm()))
    h, target, rate = rng.standard_normal((6, 5)), rng.standard_normal((6, 4)), 0.01
    W, u = layer.params["W"].data.copy(), layer.state["u"].copy()
    for _ in range(10):
        v = W.T @ u / np.linalg.norm(W.T @ u)
        u = W @ v / np.linalg.norm(W @ v)
        sigma = u @ W @ v
        G = 2 * (h @ W.T / sigma - target).T @ h  # the loss's gradient in W / sigma
        W = W - rate * (G / sigma - np.sum(G * W) / sigma ** 2 * np.outer(u, v))

        d = layer(Tensor(h)) - Tensor(target)
        gW = grad(ops.sum(d * d), layer.params["W"])
        layer.params["W"].data -= rate * gW.data
    np.testing.assert_allclose(layer.params["W"].data, W, rtol=1e-9)
    np.testing.assert_allclose(layer.state["u"], u, rtol=1e-9)


@pytest.mark.parametrize("n_iter", [1, 100], ids=["any-u-and-v", "singular-u-and-v"])
def test_derivatives_with_constant_u_and_v_are_central_differences_to_third_order(n_iter, rng):
    W = rng.standard_normal((3, 4))
    u, v, _ = power_iteration(W, rng.standard_normal(3), n_iter)
    check_grads(lambda W: SpectralNormalize(u, v, u @ W.data @ v)(W), W, order=3)


def test_gradient_penalty_through_normalized_layers_is_pytorchs(rng):
    """All gradients of ((|grad_x D(x)| - 1)^2).mean() + D(x).mean(), over two training forwards, with the same u."""
    torch = pytest.importorskip("torch")
    norm = torch.nn.utils.spectral_norm
    ours = to_float64(Sequential(
        conv1=Conv2d(rng, 2, 5, 3, pad=1, slope=0.1, norm=SpectralNorm()),
        conv2=Conv2d(rng, 5, 7, 4, 2, 1, slope=0.1, norm=SpectralNorm()),
        dense=Linear(rng, 7, 1, normal(), norm=SpectralNorm())))
    theirs = torch.nn.ModuleDict({"conv1": norm(torch.nn.Conv2d(2, 5, 3, padding=1)),
                                  "conv2": norm(torch.nn.Conv2d(5, 7, 4, 2, 1)),
                                  "dense": norm(torch.nn.Linear(7, 1))}).double()
    their_params = []
    for name, layer in ours.layers.items():
        W, b = layer.params["W"].data, layer.params["b"].data
        b += rng.standard_normal(b.shape)
        module = theirs[name]
        with torch.no_grad():
            module.weight_orig.copy_(torch.tensor(W.transpose(0, 3, 1, 2) if W.ndim == 4 else W))
            module.bias.copy_(torch.tensor(b))
            module.weight_u.copy_(torch.tensor(layer.state["u"]))
        their_params += [module.weight_orig, module.bias]

    def our_d(x):
        h = ours.layers["conv2"](ours.layers["conv1"](x))
        return ours.layers["dense"](ops.sum(h, (1, 2)))

    def their_d(x):
        h = torch.nn.functional.leaky_relu(theirs["conv1"](x), 0.1)
        return theirs["dense"](torch.nn.functional.leaky_relu(theirs["conv2"](h), 0.1).sum((2, 3)))

    for _ in range(2):
        a = rng.standard_normal((3, 6, 6, 2))
        x = Tensor(a, requires_grad=True)
        y = our_d(x)
        gx = grad(ops.sum(y), x, create_graph=True)
        lengths = ops.sqrt(ops.sum(gx * gx, (1, 2, 3)))
        loss = ops.mean((lengths - 1) ** 2) + ops.mean(y)
        found = grad(loss, list(ours.parameters().values()))

        xt = torch.tensor(a.transpose(0, 3, 1, 2), requires_grad=True)
        yt = their_d(xt)
        gxt = torch.autograd.grad(yt.sum(), xt, create_graph=True)[0]
        loss_t = ((gxt.square().sum((1, 2, 3)).sqrt() - 1) ** 2).mean() + yt.mean()
        expected = torch.autograd.grad(loss_t, their_params)

        np.testing.assert_allclose(loss.item(), loss_t.item(), rtol=1e-10)
        for name, g, gt in zip(ours.parameters(), found, expected, strict=True):
            gt = gt.numpy().transpose(0, 2, 3, 1) if gt.ndim == 4 else gt.numpy()
            np.testing.assert_allclose(g.data, gt, rtol=1e-8, atol=1e-8, err_msg=name)
    for name, layer in ours.layers.items():
        np.testing.assert_allclose(layer.state["u"], theirs[name].weight_u.numpy(), rtol=1e-9, err_msg=name)


# ---- the exact spectral norm ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 9), (9, 1), (4, 3, 3, 2), (40, 3, 3, 2)])
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_spectral_norm_is_the_largest_singular_value(shape, dtype, rtol, rng):
    W = rng.standard_normal(shape).astype(dtype)
    np.testing.assert_allclose(largest_singular_value(W), largest(W), rtol=rtol)
    np.testing.assert_allclose(largest_singular_value(W), np.linalg.norm(matrix(W), 2), rtol=rtol)
    assert isinstance(largest_singular_value(W), float)


def test_the_largest_singular_value_of_extremes():
    assert largest_singular_value(np.zeros((3, 4), np.float32)) == 0
    assert largest_singular_value(np.full((2, 2), 1e30, np.float32)) == pytest.approx(2e30, rel=1e-6)  # its square not


# ---- all layers at once --------------------------------------------------------------------------------------------

def apart(layers, *Ws):
    """Each W as Scaled, normalized by all at once; u and v constants, sigma of the W at hand."""
    us, vs = zip(*layers, strict=True)
    sigmas = np.array([u @ W.data.reshape(len(u), -1) @ v for u, v, W in zip(us, vs, Ws, strict=True)])
    return [Scaled(W, 1 / sigmas[i:i + 1])
            for i, W in enumerate(SpectralNormalizeAll([Part(layer) for layer in layers], sigmas)(*Ws))]


def together(layers, *Ws):
    """The same, one after the other and multiplied, in operations alone."""
    return [ops.reshape(SpectralNormalize(u, v, None).composed(ops.reshape(W, (len(u), -1))), W.shape)
            for (u, v), W in zip(layers, Ws, strict=True)]


def network(normalize, layers):
    def forward(x, W1, b, W2, W3, W4):
        W1, W2, W3, W4 = normalize(layers, W1, W2, W3, W4)
        y = conv_ops.conv2d(x, W1, b, 1, 1, 0.2)
        y = conv_ops.conv_mean_pool2d(y, W2)
        y = conv_ops.upsample_conv2d(y, W4)
        return conv_ops.linear(ops.reshape(y, (len(y), -1)), W3)
    return forward


@pytest.fixture
def arrays(rng):
    shapes = (2, 4, 4, 2), (3, 3, 3, 2), (3,), (2, 3, 3, 3), (2, 32), (2, 3, 3, 2)
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.fixture
def layers(arrays, rng):
    def pair(W):
        u, v, _ = power_iteration(W.reshape(len(W), -1), rng.standard_normal(len(W)), 2)
        return u, v
    return [pair(W) for W in (arrays[1], arrays[3], arrays[4], arrays[5])]


def test_a_scale_kept_apart_gives_the_normalized_weights_result(arrays, layers):
    x, W1, b, W2, W3, W4 = map(Tensor, arrays)
    found, expected = (network(way, layers)(x, W1, b, W2, W3, W4) for way in (apart, together))
    np.testing.assert_allclose(found.data, expected.data, rtol=1e-12)
    for scaled, W in zip(apart(layers, W1, W2, W3, W4), together(layers, W1, W2, W3, W4), strict=True):
        np.testing.assert_allclose(scaled.done().data, W.data, rtol=1e-12)


def test_a_scale_kept_apart_has_the_derivatives_of_the_normalized_weights(arrays, layers):
    check_grads(network(apart, layers), *arrays)


def test_a_gradient_penalty_goes_through_a_scale_kept_apart(arrays, layers):
    """Its gradient with respect to every weight: the graph is made with create_graph, then left the fused way."""
    def penalty(way):
        x, *params = (Tensor(a, requires_grad=True) for a in arrays)
        g = grad(ops.sum(network(way, layers)(x, *params)), x, create_graph=True)
        return [g.data for g in grad(ops.sum(g * g), [params[i] for i in (0, 2, 3, 4)])]
    for found, expected in zip(penalty(apart), penalty(together), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_a_layer_that_was_not_used_gets_no_gradient(arrays, layers):
    W1, W2 = (Tensor(arrays[i], requires_grad=True) for i in (1, 3))
    first, _ = apart(layers[:2], W1, W2)
    y = ops.sum(conv_ops.conv2d(Tensor(arrays[0]), first))
    for graph in (False, True):
        g1, g2 = grad(y, [W1, W2], create_graph=graph)
        assert g1.data.any() and not g2.data.any()


def with_all_there_is(together, W1, W2, W3, gamma, other):
    """Two convolutions with both matrices and one gamma, a dense layer with another; scales. By all at once, or not."""
    Ws, scales, gamma_of = (W1, W2, W3), (1.5, 0.5, 2.0), [0, 0, 1]
    rng = np.random.default_rng(7)
    pairs = [tuple(rng.standard_normal(n) for n in (len(W), W.size // len(W))) for W in Ws]
    in_pairs = [tuple(rng.standard_normal(n) for n in (W.shape[3], W.size // W.shape[3])) if W.ndim == 4 else None
                for W in Ws]

    def sigma_of(W, pair, in_pair):
        matrices = [(ops.reshape(W, (len(W), -1)), pair)]
        if in_pair:
            matrices.append((ops.reshape(ops.transpose(W, (3, 0, 1, 2)), (W.shape[3], -1)), in_pair))
        return sum(ops.sum(Tensor(u.reshape(1, -1)) @ m @ Tensor(v.reshape(-1, 1))) for m, (u, v) in matrices) \
            * (1 / len(matrices))
    sigmas = [sigma_of(*layer) for layer in zip(Ws, pairs, in_pairs, strict=True)]
    wanted = [g * scale / sigma for g, scale, sigma in zip((gamma, gamma, other), scales, sigmas, strict=True)]
    if together:
        inverses = np.concatenate([inverse.data.reshape(1) for inverse in wanted])
        found = SpectralNormalizeAll([Part(*layer) for layer in zip(pairs, in_pairs, scales, strict=True)],
                                     np.array([sigma.data for sigma in sigmas]), inverses, gamma_of)(*Ws, gamma, other)
        used = [Scaled(W, inverses[i:i + 1]).done() for i, W in enumerate(found)]
    else:
        used = [W * inverse for W, inverse in zip(Ws, wanted, strict=True)]
    y = conv_ops.conv2d(conv_ops.conv2d(Tensor(rng.standard_normal((2, 4, 4, 3))), used[0], None, 1, 1), used[1])
    return conv_ops.linear(ops.reshape(y, (2, -1)), used[2])


@pytest.fixture
def all_there_is(rng):
    return [rng.standard_normal(shape) for shape in ((2, 3, 3, 3), (3, 2, 2, 2), (2, 27), (1,), (1,))]


def test_both_matrices_gammas_and_scales_at_once_have_the_derivatives_of_the_formula(all_there_is):
    check_grads(functools.partial(with_all_there_is, True), *all_there_is)
    for graph in (False, True):
        found, expected = ([g.data for g in grad(ops.sum(with_all_there_is(way, *xs) ** 2), xs, create_graph=graph)]
                           for way in (True, False)
                           for xs in [[Tensor(a, requires_grad=True) for a in all_there_is]])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_gammas_alone_may_be_asked_for(all_there_is):
    """Of weights that are held fixed, with and without a graph."""
    Ws, gammas = map(Tensor, all_there_is[:3]), [Tensor(a, requires_grad=True) for a in all_there_is[3:]]
    Ws = list(Ws)
    for graph in (False, True):
        found, expected = ([g.data for g in grad(ops.sum(with_all_there_is(way, *Ws, *gammas) ** 2), gammas, graph)]
                           for way in (True, False))
        np.testing.assert_allclose(found, expected, rtol=1e-9)
