"""The gradient of W / sigma: central differences and the composed operation."""

import numpy as np
import pytest
from checks import read_only

from minigan.engine.autograd import Tensor, grad
from minigan.engine.loops.power_iteration import inverse_of, power_iteration, power_iterations
from minigan.engine.loops.spectral_norm import direction, spectral_gradient, spectral_gradients
from minigan.nn.spectral_norms import SpectralNormalize


@pytest.mark.parametrize("n_iter", [1, 60], ids=["any-u-and-v", "singular-u-and-v"])
def test_spectral_gradient_is_the_central_difference_of_the_normalized_weights(n_iter, rng):
    W, gy = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    u, v, sigma = power_iteration(W, rng.standard_normal(4), n_iter)
    found = spectral_gradient(gy, W, u, v, sigma)
    for i, j in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[i, j] = 1e-5
        ends = [np.sum(gy * w / (u @ w @ v)) for w in (W + step, W - step)]
        np.testing.assert_allclose(found[i, j], (ends[0] - ends[1]) / 2e-5, atol=1e-8)


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("transposed", [False, True])
def test_spectral_gradient_is_that_of_the_composed_operation(dtype, rtol, transposed, rng):
    W, gy = rng.standard_normal((2, 4, 6)).astype(dtype)
    gy = gy.T.copy().T if transposed else gy  # strides as a transposed view has them
    u, v, sigma = power_iteration(W, rng.standard_normal(4).astype(dtype))
    read_only(W, gy, u, v)
    found = spectral_gradient(gy, W, u, v, sigma)
    x = Tensor(W, requires_grad=True)
    expected = grad(SpectralNormalize(u, v, sigma).composed(x), x, gy=Tensor(gy)).data
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-39], ids=["zero", "denormal", "larger-denormal"])
def test_zero_weights_have_the_inverse_zero(dtype, size, rng):
    W = np.full((3, 4), size, dtype) if dtype == np.float32 else np.zeros((3, 4))
    gy = rng.standard_normal((3, 4)).astype(dtype)
    u, v, sigma = power_iteration(W, rng.standard_normal(3).astype(dtype))
    (u_all,), (v_all,), sigmas, inverses = power_iterations([W], [rng.standard_normal(3).astype(dtype)])
    assert inverses.dtype == dtype and inverses.tolist() == [0] and np.isfinite(sigmas).all()
    assert inverse_of(sigma).dtype == dtype and inverse_of(sigma) == 0
    found = spectral_gradient(gy, W, u, v, sigma)
    assert found.dtype == dtype and not found.any()
    assert not spectral_gradients([gy], [W], [(u_all, v_all)], [None], sigmas)[0][0].any()


def test_the_direction_of_a_convolution_is_the_mean_of_both_matrices_own(rng):
    """sigma = <W, S> is the mean of u^T W v over (out, kh kw in) and (in, out kh kw), and S its derivative."""
    W = rng.standard_normal((4, 3, 2, 5))
    first, second = W.reshape(4, -1), W.transpose(3, 0, 1, 2).reshape(5, -1)
    pairs = [tuple(rng.standard_normal(n) for n in matrix.shape) for matrix in (first, second)]
    sigmas = [u @ matrix @ v for matrix, (u, v) in zip((first, second), pairs, strict=True)]
    np.testing.assert_allclose(np.sum(W * direction(W.shape, *pairs)), np.mean(sigmas), rtol=1e-12)
    np.testing.assert_allclose(np.sum(W * direction(W.shape, pairs[0], None)), sigmas[0], rtol=1e-12)
