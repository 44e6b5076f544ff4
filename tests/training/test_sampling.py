"""Paths between latents."""

import numpy as np
import pytest
from tiny import tiny

from minigan.training.sampling import interpolate, latents


def test_interpolation_walks_great_circles_in_equal_steps(rng):
    z = interpolate(rng, tiny(dim_z=50), 3, 7).astype(float).reshape(3, 7, 50)
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    steps = np.arccos(np.clip((unit[:, 1:] * unit[:, :-1]).sum(-1), -1, 1))
    for row in range(3):
        # spherical interpolation of ends of two lengths has equal angles only between ends of one length
        assert steps[row] == pytest.approx(np.full(6, steps[row].mean()), rel=0.25)
        assert np.linalg.matrix_rank(z[row], tol=1e-4) == 2  # a plane through the origin
        lengths = np.linalg.norm(z[row], axis=-1)
        assert lengths.min() > 0.95 * min(lengths[0], lengths[-1])  # a chord's middle would lose 30 %
    assert len({tuple(np.round(z[row, end], 3)) for row in range(3) for end in (0, -1)}) == 6


def test_interpolation_between_opposite_or_equal_latents_is_finite():
    class Opposite:
        sign = -1

        def standard_normal(self, shape, dtype):
            self.sign = -self.sign
            return np.full(shape, self.sign, dtype)

    assert np.isfinite(interpolate(Opposite(), tiny(dim_z=1), 1, 5)).all()


def test_uniform_latents_stay_in_their_cube_on_the_way(rng):
    e = tiny(dim_z=50, latent="uniform")
    z = latents(rng, e, 4000)
    assert z.dtype == np.float32 and -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1 and abs(z.mean()) < 0.01
    path = interpolate(rng, e, 3, 5).reshape(3, 5, 50)
    np.testing.assert_allclose(np.diff(path, 2, axis=1), 0, atol=1e-6)  # straight
    assert np.abs(path).max() <= 1
