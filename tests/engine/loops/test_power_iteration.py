"""The power iteration: against the SVD, and its equations written out."""

import math

import numpy as np
import pytest
from checks import read_only

from minigan.engine.loops.power_iteration import inverse_of, power_iteration, through_iterations

SHAPES = [(5, 7), (7, 5), (1, 9), (9, 1), (1, 1), (16, 144)]


def with_singular_values(rng, shape, values):
    """A matrix with these singular values and random singular vectors; (W, u1, v1)."""
    left = np.linalg.qr(rng.standard_normal((shape[0], len(values))))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], len(values))))[0]
    return left * values @ right.T, left[:, 0], right[:, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_power_iteration_converges_to_the_leading_singular_triple(shape, rng):
    W, u1, v1 = with_singular_values(rng, shape, 3 * 0.5 ** np.arange(min(shape)))
    u, v, sigma = power_iteration(W, rng.standard_normal(shape[0]), n_iter=60)  # error (1/2)^60
    np.testing.assert_allclose(sigma, np.linalg.svd(W, compute_uv=False)[0], rtol=1e-10)
    np.testing.assert_allclose(np.outer(u, v), np.outer(u1, v1), atol=1e-10)  # the sign of a pair is free


def test_one_power_iteration_is_equations_18_and_19(rng):
    W, u = rng.standard_normal((5, 7)), rng.standard_normal(5)
    v = [sum(W[i, j] * u[i] for i in range(5)) for j in range(7)]
    v = [x / math.sqrt(sum(x * x for x in v)) for x in v]
    new = [sum(W[i, j] * v[j] for j in range(7)) for i in range(5)]
    new = [x / math.sqrt(sum(x * x for x in new)) for x in new]
    sigma = sum(new[i] * W[i, j] * v[j] for i in range(5) for j in range(7))
    found = power_iteration(W, u)
    for a, b in zip(found, (new, v, sigma), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_n_power_iterations_are_n_times_one(rng):
    W, u = rng.standard_normal((5, 7)), rng.standard_normal(5)
    at_once = power_iteration(W, u, n_iter=3)
    for _ in range(3):
        u, v, sigma = power_iteration(W, u)
    for a, b in zip(at_once, (u, v, sigma), strict=True):
        assert a.tobytes() == b.tobytes()


def test_sigma_rises_towards_the_spectral_norm_and_never_above(rng):
    W, u = rng.standard_normal((20, 30)), rng.standard_normal(20)
    sigmas = []
    for _ in range(50):
        u, _, sigma = power_iteration(W, u)
        sigmas.append(float(sigma))
    exact = np.linalg.svd(W, compute_uv=False)[0]
    assert sigmas[0] < sigmas[5] < sigmas[-1]
    assert all(a <= b * (1 + 1e-12) for a, b in zip(sigmas, [*sigmas[1:], exact], strict=True))


@pytest.mark.parametrize("length", [1e-3, 1e3, -1])
def test_the_length_of_u_does_not_matter(length, rng):
    W, u = rng.standard_normal((5, 7)), rng.standard_normal(5)
    found, expected = power_iteration(W, length * u), power_iteration(W, u)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-8)
    for a, b in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(a, np.sign(length) * b, atol=1e-8)  # eps of 1e-12 beside a norm of 1e-3
    np.testing.assert_allclose([np.linalg.norm(a) for a in found[:2]], 1, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_zero_matrix_gives_sigma_zero_and_no_nan(dtype, rng):
    with np.errstate(all="raise"):
        u, v, sigma = power_iteration(np.zeros((3, 4), dtype), rng.standard_normal(3).astype(dtype), n_iter=2)
    assert sigma == 0 and not u.any() and not v.any()


def test_power_iteration_keeps_float32_and_its_arguments(rng):
    W, u = rng.standard_normal((5, 7)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    before = W.tobytes(), u.tobytes()
    read_only(W, u)
    found = power_iteration(W, u, n_iter=2)
    assert [(a.shape, a.dtype) for a in found] == [((5,), np.float32), ((7,), np.float32), ((), np.float32)]
    assert (W.tobytes(), u.tobytes()) == before
    exact = power_iteration(W.astype(np.float64), u.astype(np.float64), n_iter=2)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("u_length, n_iter", [(7, 1), (4, 1), (5, 0), (5, -1)])
def test_power_iteration_refuses_a_u_of_another_length_and_no_iterations(u_length, n_iter, rng):
    with pytest.raises(ValueError, match=r"expected u of length 5 and n_iter >= 1, got u \(\d,\), W \(5, 7\)"):
        power_iteration(rng.standard_normal((5, 7)), rng.standard_normal(u_length), n_iter)


def test_inverses_are_of_either_sign_and_pass_nan_on():
    sigma = np.array([2.0, -4.0, 0.0, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(inverse_of(sigma), np.array([0.5, -0.25, 0, np.nan, 0], np.float32))


def test_the_gradient_through_an_iteration_is_the_central_difference_of_sigma(rng):
    """u v^T + u_old w^T, for matrices of all forms; without the second term it is another."""
    for shape in ((4, 6), (7, 3), (1, 5), (5, 1)):
        W, u_old = rng.standard_normal(shape), rng.standard_normal(shape[0])
        u, v, sigma = power_iteration(W, u_old)
        (copy,), (w,) = through_iterations([W], [u_old], [u], [v], np.array([sigma]))
        found, step = np.outer(u, v) + np.outer(copy, w), 1e-6
        expected = np.zeros(shape)
        for i, j in np.ndindex(*shape):
            change = np.zeros(shape)
            change[i, j] = step
            expected[i, j] = (power_iteration(W + change, u_old)[2] - power_iteration(W - change, u_old)[2]) / 2 / step
        np.testing.assert_allclose(found, expected, atol=1e-7)
        assert (1 in shape) == np.allclose(np.outer(u, v), expected, atol=1e-7)
