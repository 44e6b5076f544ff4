"""spectral_norm(W, u), for networks that are functions: against the SVD, PyTorch's spectral_norm, and the layers'."""

import numpy as np
import pytest

import minigan
from minigan.engine import conv_ops, ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.nn.initializers import normal
from minigan.nn.layers import Linear
from minigan.nn.spectral_norms import SpectralNorm, spectral_norm

SHAPES = {"dense": (4, 7), "high": (9, 3), "conv": (5, 3, 3, 2), "row": (1, 6)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def weights(rng, shape, dtype=np.float64):
    return (Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True),
            rng.standard_normal(shape[0]).astype(dtype))


def test_it_is_what_minigan_offers():
    assert minigan.spectral_norm is spectral_norm


@every_shape
def test_after_many_training_calls_the_weights_are_divided_by_the_svds_sigma(shape, rng):
    W, u = weights(rng, shape)
    for _ in range(3000):
        W_bar = spectral_norm(W, u)
    sigma = np.linalg.svd(W.data.reshape(len(W), -1))[1][0]
    np.testing.assert_allclose(W_bar.data, W.data / sigma, rtol=1e-10)
    assert W_bar.shape == shape and W_bar.dtype == np.float64


@every_shape
def test_u_advances_by_one_iteration_in_a_training_call_alone(shape, rng):
    W, u = weights(rng, shape, np.float32)
    start, matrix = u.copy(), W.data.reshape(len(W), -1)
    same = spectral_norm(W, u, train=False).data
    np.testing.assert_array_equal(spectral_norm(W, u, train=False).data, same)
    assert u.tobytes() == start.tobytes()
    np.testing.assert_array_equal(spectral_norm(W, u).data, same)
    v = matrix.T @ start / np.linalg.norm(matrix.T @ start)
    np.testing.assert_allclose(u, matrix @ v / np.linalg.norm(matrix @ v), rtol=1e-5, atol=1e-6)
    kept = u.copy()
    with no_grad():
        spectral_norm(W, u, n_iter=3)  # a generator's images count like any others
    assert shape[0] == 1 or u.tobytes() != kept.tobytes()


def test_backward_moves_no_u(rng):
    W, u = weights(rng, (4, 7))
    y = ops.sum(spectral_norm(W, u) ** 2 * Tensor(rng.standard_normal((4, 7))))
    kept = u.copy()
    g = grad(y, W, create_graph=True)
    grad(ops.sum(g * g), W)
    assert u.tobytes() == kept.tobytes()


def test_it_is_the_same_as_a_layers_spectral_norm(rng):
    layer = Linear(rng, 7, 4, normal(1.0), bias=False, norm=SpectralNorm())
    W, u, x = Tensor(layer.params["W"].data.copy()), layer.state["u"].copy(), rng.standard_normal((3, 7), np.float32)
    for train in (True, True, False):
        found = conv_ops.linear(Tensor(x), spectral_norm(W, u, train)).data
        assert found.tobytes() == layer(Tensor(x), train).data.tobytes()
        assert u.tobytes() == layer.state["u"].tobytes()


def test_values_gradients_and_a_gradient_penaltys_gradients_are_pytorchs(rng):
    """Two layers, three calls from the same u, float64: one power iteration each, Eq. (12), to second order."""
    torch = pytest.importorskip("torch")
    (W1, u1), (W2, u2) = weights(rng, (6, 3, 3, 2)), weights(rng, (4, 6))
    conv = torch.nn.utils.spectral_norm(torch.nn.Conv2d(2, 6, 3, padding=1, bias=False).double())
    dense = torch.nn.utils.spectral_norm(torch.nn.Linear(6, 4, bias=False).double())
    with torch.no_grad():
        for module, W, u in ((conv, W1.data, u1), (dense, W2.data, u2)):
            module.weight_orig.copy_(torch.tensor(W.transpose(0, 3, 1, 2) if W.ndim == 4 else W))
            module.weight_u.copy_(torch.tensor(u))
    for _ in range(3):
        x = rng.standard_normal((2, 4, 4, 2))
        mine, theirs = Tensor(x, requires_grad=True), torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        h = ops.tanh(conv_ops.conv2d(mine, spectral_norm(W1, u1), pad=1))
        y = ops.tanh(ops.sum(h, (1, 2)) @ ops.transpose(spectral_norm(W2, u2)))
        their_y = torch.tanh(dense(torch.tanh(conv(theirs)).sum((2, 3))))
        np.testing.assert_allclose(y.data, their_y.detach().numpy(), rtol=1e-9)
        np.testing.assert_allclose(u1, conv.weight_u.numpy(), rtol=1e-9)
        np.testing.assert_allclose(u2, dense.weight_u.numpy(), rtol=1e-9)
        slope = grad(ops.sum(y), mine, create_graph=True)
        (their_slope,) = torch.autograd.grad(their_y.sum(), theirs, create_graph=True)
        loss = ops.sum(slope * slope) + ops.sum(y * y)
        their_loss = (their_slope ** 2).sum() + (their_y ** 2).sum()
        expected = torch.autograd.grad(their_loss, [conv.weight_orig, dense.weight_orig])
        found = grad(loss, [W1, W2])
        np.testing.assert_allclose(found[0].data, expected[0].numpy().transpose(0, 2, 3, 1), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found[1].data, expected[1].numpy(), rtol=1e-8, atol=1e-10)


def test_zero_weights_stay_zero_with_a_gradient_of_zero(rng):
    W, u = Tensor(np.zeros((3, 4)), requires_grad=True), rng.standard_normal(3)
    W_bar = spectral_norm(W, u)
    assert not W_bar.data.any() and not grad(ops.sum(W_bar), W).data.any()


@pytest.mark.parametrize("W, u, error, said", [
    (np.ones((2, 3)), np.ones(2), TypeError, "expected a Tensor W (out, ...) of two axes or more, got ndarray"),
    (Tensor(np.ones(3)), np.ones(3), TypeError, "of two axes or more, got (3,) float64"),
    (Tensor(np.ones((2, 3))), Tensor(np.ones(2)), TypeError, "expected an array u (2,), got Tensor: u is remembered"),
    (Tensor(np.ones((2, 3))), [1.0, 1.0], TypeError, "expected an array u (2,), got list"),
    (Tensor(np.ones((2, 3))), np.ones(3), ValueError, "expected u (2,) float64 for W (2, 3), got (3,) float64"),
    (Tensor(np.ones((2, 3))), np.ones(2, np.float32), ValueError, "got (2,) float32"),
    (Tensor(np.ones((2, 3))), np.ones(2), ValueError, "at least 1 power iteration, got 0")])
def test_what_does_not_fit_is_named(W, u, error, said):
    with pytest.raises(error) as caught:
        spectral_norm(W, u, n_iter=0 if "got 0" in said else 1)
    assert said in str(caught.value) and str(caught.value).startswith("spectral_norm: ")
