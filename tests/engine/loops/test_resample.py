"""Twice and half the size: NumPy's repeat, means of 2 x 2 pixels, and adjoints of each other."""

import numpy as np
import pytest
from checks import read_only

from minigan.engine.loops.resample import pool2x, upsample2x


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 4)])
@pytest.mark.parametrize("factor", [1.0, 0.25, -3.0])
def test_upsampling_repeats_pixels(shape, factor, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    read_only(x)
    y = upsample2x(x, factor)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.float32(factor) * x.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (2, 5, 7, 3)], ids=["even", "odd"])
def test_pooling_with_a_quarter_is_the_mean_of_whole_squares(shape, rng):
    x = rng.standard_normal(shape)
    read_only(x)
    corners = [(i, j) for i in range(0, shape[1] - 1, 2) for j in range(0, shape[2] - 1, 2)]
    squares = [x[:, i:i + 2, j:j + 2].mean((1, 2)) for i, j in corners]
    np.testing.assert_allclose(pool2x(x, 0.25).reshape(shape[0], -1, shape[3]), np.stack(squares, 1), atol=1e-14)


def test_pooling_is_the_adjoint_of_upsampling(rng):
    x, y = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((2, 6, 10, 4))
    np.testing.assert_allclose((upsample2x(x, 0.7) * y).sum(), (x * pool2x(y, 0.7)).sum(), rtol=1e-10)


def test_pixels_too_few_to_pool_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 x 2 pixels, got x \(1, 1, 4, 3\)"):
        pool2x(np.ones((1, 1, 4, 3)))
