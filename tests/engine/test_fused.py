"""The fused loops: SVD, central differences, PyTorch and the equations written out; the same bytes on any threads."""

import math

import numpy as np
import pytest

from minigan.engine import fused, thread_pool
from minigan.engine.autograd import Tensor, grad
from minigan.nn.spectral_norms import SpectralNormalize


@pytest.fixture
def each_thread_count():
    """Calls a function with 1, 2 and 3 worker threads and gives its results; the count is as before afterwards."""
    before = thread_pool.thread_count()

    def results(function):
        found = []
        for count in (1, 2, 3):
            thread_pool.set_threads(count)
            found.append(function())
        return found
    yield results
    thread_pool.set_threads(before)


def read_only(*arrays):
    for a in arrays:
        a.flags.writeable = False


# ---- activation and sums -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("slope", [0, 0.1, 0.7, 1])
def test_leaky_relu_and_its_mask_are_their_definitions(slope, rng):
    x, gy = rng.standard_normal((2, 3, 50)).astype(np.float32)
    x[0, :3] = 0.0, -0.0, np.inf
    y = fused.leaky(x, slope)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.where(x > 0, x, np.float32(slope) * np.where(x > 0, 0, x)))
    np.testing.assert_array_equal(fused.leaky_mask(gy, y, slope), np.where(x > 0, gy, np.float32(slope) * gy))


@pytest.mark.parametrize("slope", [0, 0.1, 1])
def test_leaky_relu_and_its_mask_may_write_where_they_read(slope, rng):
    x, gy = rng.standard_normal((2, 3, 50))
    y, gx = fused.leaky(x, slope), fused.leaky_mask(gy, x, slope)
    assert fused.leaky_mask(gy, x, slope, out=gy) is gy
    np.testing.assert_array_equal(gy, gx)
    assert fused.leaky(x, slope, out=x) is x
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("slope", [-0.1, 1.5, math.nan])
def test_a_slope_outside_0_to_1_is_refused(slope):
    with pytest.raises(ValueError, match="expected a slope of 0 to 1, got "):
        fused.leaky(np.ones(3), slope)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (0, 4), (2, 3, 5, 4), (70_000, 3), (3, 1 << 17)])
def test_sum_rows_is_the_sum_over_all_axes_but_the_last(shape, rng, each_thread_count):
    x = rng.standard_normal(shape).astype(np.float32)
    read_only(x)
    one, two, three = each_thread_count(lambda: fused.sum_rows(x))
    # float32, up to 20,000 numbers one after the other: a random walk of as many roundings of sums of about 140
    np.testing.assert_allclose(one, x.astype(np.float64).sum(tuple(range(x.ndim - 1))), atol=5e-3, rtol=1e-6)
    assert one.dtype == np.float32
    assert one.tobytes() == two.tobytes() == three.tobytes()


# ---- spectral normalization ----------------------------------------------------------------------------------------

SHAPES = [(5, 7), (7, 5), (1, 9), (9, 1), (1, 1), (16, 144)]


def with_singular_values(rng, shape, values):
    """A matrix with these singular values and random singular vectors; (W, u1, v1)."""
    left = np.linalg.qr(rng.standard_normal((shape[0], len(values))))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], len(values))))[0]
    return left * values @ right.T, left[:, 0], right[:, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_power_iteration_converges_to_the_leading_singular_triple(shape, rng):
    W, u1, v1 = with_singular_values(rng, shape, 3 * 0.5 ** np.arange(min(shape)))
    u, v, sigma = fused.power_iteration(W, rng.standard_normal(shape[0]), n_iter=60)  # error (1/2)^60
    np.testing.assert_allclose(sigma, np.linalg.svd(W, compute_uv=False)[0], rtol=1e-10)
    np.testing.assert_allclose(np.outer(u, v), np.outer(u1, v1), atol=1e-10)  # the sign of a pair is free


def test_one_power_iteration_is_equations_18_and_19(rng):
    W, u = rng.standard_normal((5, 7)), rng.standard_normal(5)
    v = [sum(W[i, j] * u[i] for i in range(5)) for j in range(7)]
    v = [x / math.sqrt(sum(x * x for x in v)) for x in v]
    new = [sum(W[i, j] * v[j] for j in range(7)) for i in range(5)]
    new = [x / math.sqrt(sum(x * x for x in new)) for x in new]
    sigma = sum(new[i] * W[i, j] * v[j] for i in range(5) for j in range(7))
    found = fused.power_iteration(W, u)
    for a, b in zip(found, (new, v, sigma), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_n_power_iterations_are_n_times_one(rng):
    W, u = rng.standard_normal((5, 7)), rng.standard_normal(5)
    at_once = fused.power_iteration(W, u, n_iter=3)
    for _ in range(3):
        u, v, sigma = fused.power_iteration(W, u)
    for a, b in zip(at_once, (u, v, sigma), strict=True):
        assert a.tobytes() == b.tobytes()


def test_sigma_rises_towards_the_spectral_norm_and_never_above(rng):
    W, u = rng.standard_normal((20, 30)), rng.standard_normal(20)
    sigmas = []
    for _ in range(50):
        u, _, sigma = fused.power_iteration(W, u)
        sigmas.append(float(sigma))
    exact = np.linalg.svd(W, compute_uv=False)[0]
    assert sigmas[0] < sigmas[5] < sigmas[-1]
    assert all(a <= b * (1 + 1e-12) for a, b in zip(sigmas, [*sigmas[1:], exact], strict=True))


@pytest.mark.parametrize("length", [1e-3, 1e3, -1])
def test_the_length_of_u_does_not_matter(length, rng):
    W, u = rng.standard_normal((5, 7)), rng.standard_normal(5)
    found, expected = fused.power_iteration(W, length * u), fused.power_iteration(W, u)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-8)
    for a, b in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(a, np.sign(length) * b, atol=1e-8)  # eps of 1e-12 beside a norm of 1e-3
    np.testing.assert_allclose([np.linalg.norm(a) for a in found[:2]], 1, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_zero_matrix_gives_sigma_zero_and_no_nan(dtype, rng):
    with np.errstate(all="raise"):
        u, v, sigma = fused.power_iteration(np.zeros((3, 4), dtype), rng.standard_normal(3).astype(dtype), n_iter=2)
    assert sigma == 0 and not u.any() and not v.any()


def test_power_iteration_keeps_float32_and_its_arguments(rng):
    W, u = rng.standard_normal((5, 7)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    before = W.tobytes(), u.tobytes()
    read_only(W, u)
    found = fused.power_iteration(W, u, n_iter=2)
    assert [(a.shape, a.dtype) for a in found] == [((5,), np.float32), ((7,), np.float32), ((), np.float32)]
    assert (W.tobytes(), u.tobytes()) == before
    exact = fused.power_iteration(W.astype(np.float64), u.astype(np.float64), n_iter=2)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("u_length, n_iter", [(7, 1), (4, 1), (5, 0), (5, -1)])
def test_power_iteration_refuses_a_u_of_another_length_and_no_iterations(u_length, n_iter, rng):
    with pytest.raises(ValueError, match=r"expected u of length 5 and n_iter >= 1, got u \(\d,\), W \(5, 7\)"):
        fused.power_iteration(rng.standard_normal((5, 7)), rng.standard_normal(u_length), n_iter)


@pytest.mark.parametrize("n_iter", [1, 60], ids=["any-u-and-v", "singular-u-and-v"])
def test_spectral_gradient_is_the_central_difference_of_the_normalized_weights(n_iter, rng):
    W, gy = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    u, v, sigma = fused.power_iteration(W, rng.standard_normal(4), n_iter)
    found = fused.spectral_gradient(gy, W, u, v, sigma)
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
    u, v, sigma = fused.power_iteration(W, rng.standard_normal(4).astype(dtype))
    read_only(W, gy, u, v)
    found = fused.spectral_gradient(gy, W, u, v, sigma)
    x = Tensor(W, requires_grad=True)
    expected = grad(SpectralNormalize(u, v, sigma).composed(x), x, gy=Tensor(gy)).data
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-39], ids=["zero", "denormal", "larger-denormal"])
def test_zero_weights_have_the_inverse_zero(dtype, size, rng):
    W = np.full((3, 4), size, dtype) if dtype == np.float32 else np.zeros((3, 4))
    gy = rng.standard_normal((3, 4)).astype(dtype)
    u, v, sigma = fused.power_iteration(W, rng.standard_normal(3).astype(dtype))
    (u_all,), (v_all,), sigmas, inverses = fused.power_iterations([W], [rng.standard_normal(3).astype(dtype)])
    assert inverses.dtype == dtype and inverses.tolist() == [0] and np.isfinite(sigmas).all()
    assert fused.inverse_of(sigma).dtype == dtype and fused.inverse_of(sigma) == 0
    found = fused.spectral_gradient(gy, W, u, v, sigma)
    assert found.dtype == dtype and not found.any()
    assert not fused.spectral_gradients([gy], [W], [u_all], [v_all], sigmas)[0].any()


def test_inverses_are_of_either_sign_and_pass_nan_on():
    sigma = np.array([2.0, -4.0, 0.0, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(fused.inverse_of(sigma), np.array([0.5, -0.25, 0, np.nan, 0], np.float32))


# ---- batch normalization -------------------------------------------------------------------------------------------

EPS = 2e-5
IMAGES = [(7, 3), (2, 3, 5, 4), (3, 1, 1, 2), (4, 40, 40, 64)]  # the last one takes several blocks


def of_channels(x):
    return tuple(range(x.ndim - 1))


def inverse_of(variance):
    return 1 / np.sqrt(variance + variance.dtype.type(EPS))


def forward(x, gamma, beta, slope):
    """The fused calls that make up batch normalization in training: (y, mean, inverse)."""
    mean, variance = fused.batch_moments(x)
    scale = gamma * inverse_of(variance)
    return fused.normalize(x, scale, beta - mean * scale, slope), mean, inverse_of(variance)


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
    mean, variance = fused.batch_moments(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(of_channels(x)), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variance, exact.var(of_channels(x)), rtol=tolerance, atol=tolerance)
    assert mean.dtype == variance.dtype == dtype


def test_equal_pixels_have_variance_zero():
    x = np.full((4, 3, 3, 2), 0.1, np.float32) * np.float32([1, 1000])
    # the mean is rounded: by 1e-5 where it is 100
    np.testing.assert_allclose(fused.batch_moments(x)[1], 0, atol=1e-9)


@pytest.mark.parametrize("slope", [1, 0.1, 0])
@pytest.mark.parametrize("shape", IMAGES)
def test_batch_normalization_and_its_gradients_are_pytorchs(shape, slope, rng):
    torch = pytest.importorskip("torch")
    x, gamma, beta, gy = draw(rng, shape)
    read_only(x, gamma, beta, gy)
    y, mean, inverse = forward(x, gamma, beta, slope)
    found = (y, *fused.normalize_gradient(gy, x, y if slope != 1 else None, gamma, mean, inverse, slope))
    for name, a, b in zip(("y", "gx", "ggamma", "gbeta"), found, by_torch(torch, x, gamma, beta, gy, slope),
                          strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=name)


def test_the_gradient_of_x_sums_to_zero_and_is_orthogonal_to_x(rng):
    """Batch normalization does not see shift and scale of x (eps apart)."""
    x, gamma, beta, gy = draw(rng, (6, 5, 5, 3))
    y, mean, inverse = forward(x, gamma, beta, 0.1)
    gx = fused.normalize_gradient(gy, x, y, gamma, mean, inverse, 0.1)[0]
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
    ours = (y, *fused.normalize_gradient(gy, x, None, gamma, mean, inverse))
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
        gradients = fused.normalize_gradient(gy, x, y, gamma, mean, inverse, slope)
        assert all(a.dtype == np.float32 for a in (y, *gradients))
        return [a.tobytes() for a in (mean, inverse, y, *gradients)]
    one, two, three = each_thread_count(results)
    assert one == two == three


# ---- Adam ----------------------------------------------------------------------------------------------------------

def test_adam_is_its_definition_number_by_number(rng):
    w, m, g = rng.standard_normal((3, 40))
    v = rng.uniform(0, 1, 40)
    rate, beta1, beta2, eps = 0.01, 0.3, 0.9, 1e-3
    expected = []
    for wi, gi, mi, vi in zip(w, g, m, v, strict=True):
        mi = beta1 * mi + (1 - beta1) * gi
        vi = beta2 * vi + (1 - beta2) * gi * gi
        expected.append((wi - rate * mi / (math.sqrt(vi) + eps), mi, vi))
    read_only(g)
    fused.adam(w, g, m, v, rate, beta1, beta2, eps)
    np.testing.assert_allclose(np.transpose([w, m, v]), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adams_first_step_has_the_length_of_the_learning_rate(dtype):
    """From m = v = 0: w -= lr * g / (|g| + eps / sqrt(1 - beta2)): the sign of g, however large g is."""
    g = np.array([1e-3, -2, 3e4], dtype)
    w, m, v = np.ones(3, dtype), np.zeros(3, dtype), np.zeros(3, dtype)
    lr, beta1, beta2 = 0.25, 0.5, 0.999
    fused.adam(w, g, m, v, lr * math.sqrt(1 - beta2) / (1 - beta1), beta1, beta2, eps=1e-8)
    np.testing.assert_allclose(w, 1 - lr * np.sign(g), rtol=1e-3 if dtype == np.float32 else 3e-4)
    np.testing.assert_allclose(w, 1 - lr * g / (abs(g) + 1e-8 / math.sqrt(1 - beta2)), rtol=1e-5)
    assert w.dtype == m.dtype == v.dtype == dtype


def test_adam_has_the_same_bytes_on_any_threads(rng, each_thread_count):
    w, g, m = rng.standard_normal((3, 5, 41, 1001)).astype(np.float32)  # 205,205 numbers: four blocks, the last short

    def results():
        mine = [w.copy(), m.copy(), m * m]
        fused.adam(mine[0], g, *mine[1:], 0.01, 0.5, 0.999, 1e-8)
        assert not np.any(mine[0] == w)
        return [a.tobytes() for a in mine]
    one, two, three = each_thread_count(results)
    assert one == two == three


def test_adam_takes_a_gradient_with_any_strides(rng):
    w, g = rng.standard_normal((2, 3, 5))
    states = [[w.copy(), np.zeros_like(w), np.zeros_like(w)] for _ in range(2)]
    for (w, m, v), given in zip(states, (g, g.T.copy().T), strict=True):
        fused.adam(w, given, m, v, 0.1, 0.5, 0.9, 1e-8)
    np.testing.assert_array_equal(states[0], states[1])


@pytest.mark.parametrize("which", [0, 2, 3])
def test_adam_refuses_to_step_on_a_copy(which, rng):
    arrays = [rng.uniform(0, 1, (3, 5)) for _ in range(4)]
    arrays[which] = np.asfortranarray(arrays[which])
    with pytest.raises(ValueError, match="adam: expected C-contiguous w, m and v"):
        fused.adam(*arrays, 0.1, 0.5, 0.9, 1e-8)
