"""Power iteration beside its convolutions: SVD, central differences, and what is too small."""

import emulated_cupy
import numpy as np
import pytest

from minigan.engine.loops.operator_norm import launch_operator_norms, operator_gradients, operator_norms
from minigan.engine.loops.spectral_norm import scale_weights


@pytest.mark.parametrize("sigma", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_iterated_it_gives_the_largest_singular_values_and_their_right_vectors(dtype, rtol, sigma, rng):
    As = [rng.standard_normal(shape).astype(dtype) * dtype(sigma) for shape in ((3, 5), (6, 2))]
    vs = [rng.standard_normal(A.shape[1]).astype(dtype) for A in As]
    for _ in range(400):
        raws = [A @ v for A, v in zip(As, vs, strict=True)]
        backs = [A.T @ raw for A, raw in zip(As, raws, strict=True)]
        squares, inverses, factors = operator_norms(raws, backs, 0.0, 1.5)  # an eps of 1e-12 can be seen beside 1e-8
        scale_weights(backs, factors, vs)
    assert squares.dtype == inverses.dtype == factors.dtype == dtype
    for A, v, inverse in zip(As, vs, inverses, strict=True):
        _, singular, rows = np.linalg.svd(A.astype(np.float64))
        np.testing.assert_allclose(1.5 / inverse, singular[0], rtol=rtol)
        np.testing.assert_allclose(abs(v @ rows[0]), 1, rtol=rtol)
        np.testing.assert_allclose(v @ v, 1, rtol=rtol)


def test_the_gradient_is_the_central_difference_of_weights_divided_by_a_function_linear_in_them(rng):
    Ws, gWs, slopes = ([rng.standard_normal(shape) for shape in ((4, 3, 3, 2), (1, 5))] for _ in range(3))
    squares = np.array([np.sum(W * S) for W, S in zip(Ws, slopes, strict=True)])
    found = operator_gradients(gWs, Ws, slopes, squares, 1.75 / squares)
    for W, gW, S, gradient in zip(Ws, gWs, slopes, found, strict=True):
        way = rng.standard_normal(W.shape)
        ends = [np.sum(gW * w * 1.75 / np.sum(w * S)) for w in (W + 1e-6 * way, W - 1e-6 * way)]
        np.testing.assert_allclose(np.sum(gradient * way), (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-23], ids=["zero", "square-denormal", "square-zero"])
def test_what_is_too_small_counts_as_zero(size, rng):
    backs = [np.full((1, 3), size, np.float32)]
    with emulated_cupy.installed() as cupy:
        for xp in (np, cupy):
            squares, inverses, factors = operator_norms([xp.full((1, 2), 1e-10, np.float32)], [xp.asarray(backs[0])])
            W = [xp.ones((2, 2), np.float32)]
            gradient, = operator_gradients(W, W, W, squares, inverses)
            assert [a.tolist() for a in (squares, inverses, factors)] == [[0], [0], [0]]
            assert not gradient.any() and gradient.dtype == np.float32


def test_lists_that_do_not_fit_are_refused():
    with emulated_cupy.installed() as cupy:
        x, one = cupy.ones((2, 2), np.float32), cupy.ones(1, np.float32)
        for raws, backs in (([x], []), ([], []), ([x], [x[:0]])):
            with pytest.raises(ValueError, match="operator_norms: expected A v and A.T A v of each layer"):
                launch_operator_norms(raws, backs)
        with pytest.raises(ValueError, match=r"expected outs\[0\] of shape \(2, 2\), got \(2,\)"):
            scale_weights([x], one, [x[0]])
        with pytest.raises(ValueError, match="expected a place for each of 1 arrays, got 2"):
            scale_weights([x], one, [x, x])
        with pytest.raises(ValueError, match="expected weights that are not empty, their gradient and slope"):
            operator_gradients([x], [x], [x, x], one, one)
        with pytest.raises(ValueError, match=r"expected squares of shape \(1,\), got \(2, 2\)"):
            operator_gradients([x], [x], [x], x, one)
