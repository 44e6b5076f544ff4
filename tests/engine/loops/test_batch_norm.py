"""Batch normalization and its gradient: PyTorch and what it cannot see; the same bytes on any threads."""

import numpy as np
import pytest
from checks import read_only

from minigan.engine.loops.batch_norm import batch_moments, normalize, normalize_gradient

EPS = 2e-5
IMAGES = [(7, 3), (2, 3, 5, 4), (3, 1, 1, 2), (4, 40, 40, 64)]  # the last one takes several blocks


def of_channels(x):
    return tuple(range(x.ndim - 1))


def inverse_of(variance):
    return 1 / np.sqrt(variance + variance.dtype.type(EPS))


def forward(x, gamma, beta, slope):
    """The fused calls that make up batch normalization in training: (y, mean, inverse)."""
    mean, variance = batch_moments(x)
    scale = gamma * inverse_of(variance)
    return normalize(x, scale, beta - mean * scale, slope), mean, inverse_of(variance)


def by_torch(torch, x, gamma, beta, gy, slope):
    """The same by PyTorch: (y, gx, ggamma, gbeta)."""
    xs = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = torch.nn.functional.batch_norm(xs[0].reshape(-1, len(gamma)), None, None, *xs[1:], training=True, eps=EPS)
    if slope != 1:
        y = torch.nn.functional.leaky_relu(y, slope)
    y = y.reshape(x.shape)
    return [t.detach().numpy() for t in (y, *torch.autograd.grad(y, xs, torch.tensor(gy)))]


def draw(rng, shape):
    """x, gamma, beta, gy: none of them centred, all of them different from channel to channel."""
    C = shape[-1]
    x = rng.standard_normal(shape) * rng.uniform(0.5, 2, C) + rng.uniform(-3, 3, C)
    return x, rng.uniform(0.5, 2, C), rng.standard_normal(C), rng.standard_normal(shape) + 0.3


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 3e-6)])
def test_batch_moments_are_mean_and_biased_variance(shape, dtype, tolerance, rng):
    x = draw(rng, shape)[0].astype(dtype)
    read_only(x)
    mean, variance = batch_moments(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(of_channels(x)), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variance, exact.var(of_channels(x)), rtol=tolerance, atol=tolerance)
    assert mean.dtype == variance.dtype == dtype


def test_equal_pixels_have_variance_zero():
    x = np.full((4, 3, 3, 2), 0.1, np.float32) * np.float32([1, 1000])
    # the mean is rounded: by 1e-5 where it is 100
    np.testing.assert_allclose(batch_moments(x)[1], 0, atol=1e-9)


@pytest.mark.parametrize("slope", [1, 0.1, 0])
@pytest.mark.parametrize("shape", IMAGES)
def test_batch_normalization_and_its_gradients_are_pytorchs(shape, slope, rng):
    torch = pytest.importorskip("torch")
    x, gamma, beta, gy = draw(rng, shape)
    read_only(x, gamma, beta, gy)
    y, mean, inverse = forward(x, gamma, beta, slope)
    found = (y, *normalize_gradient(gy, x, y if slope != 1 else None, gamma, mean, inverse, slope))
    for name, a, b in zip(("y", "gx", "ggamma", "gbeta"), found, by_torch(torch, x, gamma, beta, gy, slope),
                          strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=name)


def test_the_gradient_of_x_sums_to_zero_and_is_orthogonal_to_x(rng):
    """Batch normalization does not see shift and scale of x (eps apart)."""
    x, gamma, beta, gy = draw(rng, (6, 5, 5, 3))
    y, mean, inverse = forward(x, gamma, beta, 0.1)
    gx = normalize_gradient(gy, x, y, gamma, mean, inverse, 0.1)[0]
    assert np.abs(gx).max() > 0.1
    np.testing.assert_allclose(gx.sum((0, 1, 2)), 0, atol=1e-11)
    np.testing.assert_allclose((gx * x).sum((0, 1, 2)), 0, atol=100 * EPS)


@pytest.mark.parametrize("shape", [(20, 16), (4, 32, 32, 64)])
def test_float32_with_mean_100_and_deviation_1_keeps_four_digits(shape, rng):
    """As far as PyTorch gets, or nearly: x itself is rounded by 8e-6, and x * scale + shift by as much again.

    A variance as mean(x^2) - mean(x)^2 would be wrong by 1e-3.
    """
    torch = pytest.importorskip("torch")
    C = shape[-1]
    x = (rng.standard_normal(shape) + 100 * rng.choice((-1, 1), C)).astype(np.float32)
    gamma, beta, gy = (a.astype(np.float32) for a in draw(rng, shape)[1:])
    y, mean, inverse = forward(x, gamma, beta, 1)
    ours = (y, *normalize_gradient(gy, x, None, gamma, mean, inverse))
    exact = by_torch(torch, *(a.astype(np.float64) for a in (x, gamma, beta, gy)), 1)
    theirs = by_torch(torch, x, gamma, beta, gy, 1)
    for name, a, b, c in zip(("y", "gx", "ggamma", "gbeta"), ours, exact, theirs, strict=True):
        error, other = (np.abs(found - b).max() / max(1, np.abs(b).max()) for found in (a, c))
        assert error < max(1e-4, 1.5 * other), f"{name}: {error:.2g} from the exact one, PyTorch {other:.2g}"


@pytest.mark.parametrize("slope", [1, 0])
def test_batch_normalization_has_the_same_bytes_on_any_threads(slope, rng, each_thread_count):
    x, gamma, beta, gy = (a.astype(np.float32) for a in draw(rng, (4, 40, 40, 64)))

    def results():
        y, mean, inverse = forward(x, gamma, beta, slope)
        gradients = normalize_gradient(gy, x, y, gamma, mean, inverse, slope)
        assert all(a.dtype == np.float32 for a in (y, *gradients))
        return [a.tobytes() for a in (mean, inverse, y, *gradients)]
    one, two, three = each_thread_count(results)
    assert one == two == three
