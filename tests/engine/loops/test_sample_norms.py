"""The length of each sample: NumPy's norm; its gradient: central differences."""

import numpy as np
import pytest
from checks import read_only

from minigan.engine.loops.sample_norms import sample_norms, sample_norms_gradient


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 7, 5, 3)])
def test_sample_norms_are_those_of_flat_samples(shape, rng):
    g = rng.standard_normal(shape)
    read_only(g)
    np.testing.assert_allclose(sample_norms(g), np.linalg.norm(g.reshape(len(g), -1), axis=1), rtol=1e-14)


def test_the_gradient_is_the_central_difference(rng):
    g, gn = rng.standard_normal((2, 3, 2)), rng.standard_normal(2)
    read_only(g, gn)
    found = sample_norms_gradient(gn, g, sample_norms(g))
    for place in np.ndindex(g.shape):
        step = np.zeros_like(g)
        step[place] = 1e-6
        difference = (gn * (sample_norms(g + step) - sample_norms(g - step))).sum() / 2e-6
        np.testing.assert_allclose(found[place], difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sample_of_zeros_has_the_gradient_zero(dtype):
    g = np.zeros((2, 3), dtype)
    g[1] = 3, 0, 4
    found = sample_norms_gradient(np.ones(2, dtype), g, sample_norms(g))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-6)
