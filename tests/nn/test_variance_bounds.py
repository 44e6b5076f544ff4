"""The bounds of Lin et al. 2021 for the variance of normalized weights: against random matrices and kernels."""

import numpy as np
import pytest

from minigan.nn.spectral_norms import BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.variance_bounds import variance_bounds
from minigan.nn.weight_norms import WeightNorm, to_matrix


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12), (2, 3), (60, 50), (1, 20)])
def test_random_matrices_have_variances_within_theorem_2s_bounds(shape, rng):
    lower, upper = variance_bounds(SpectralNorm(), shape, 1.5)
    draws = rng.standard_normal((300, *shape))
    found = np.var(1.5 * draws / np.linalg.norm(draws, 2, (1, 2))[:, None, None])
    assert lower <= found <= upper * (1 + 1e-9)
    assert found > upper / 8 and (lower > 0) == (min(shape) > 1)  # neither is far away


@pytest.mark.parametrize(("c_in", "c_out"), [(6, 6), (2, 12), (12, 2), (30, 40)])
def test_random_kernels_have_variances_within_theorem_3s_bounds(c_in, c_out, rng):
    lower, upper = variance_bounds(BidirectionalNorm(), (c_out, 3, 3, c_in))
    found = []
    for W in rng.standard_normal((60, c_out, 3, 3, c_in)):
        found.append(W * 2 / (np.linalg.norm(to_matrix(W, 0), 2) + np.linalg.norm(to_matrix(W, 3), 2)))
    assert 0 < lower <= np.var(found) <= upper == 2 / (9 * (c_in + c_out))


def test_no_bounds_are_claimed_where_the_theorems_say_nothing():
    assert variance_bounds(WeightNorm(), (5, 9)) is None
    assert variance_bounds(OperatorNorm(), (5, 3, 3, 4)) is None
    assert variance_bounds(BidirectionalNorm(), (64, 3, 3, 3)) is None  # 9 windows, 21 times as many channels
