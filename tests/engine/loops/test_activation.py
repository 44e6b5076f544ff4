"""Leaky ReLU, its mask, and the sum over rows: their definitions; the same bytes on any threads."""

import math

import numpy as np
import pytest
from checks import read_only

from minigan.engine.loops.activation import leaky, leaky_mask, sum_rows


@pytest.mark.parametrize("slope", [0, 0.1, 0.7, 1])
def test_leaky_relu_and_its_mask_are_their_definitions(slope, rng):
    x, gy = rng.standard_normal((2, 3, 50)).astype(np.float32)
    x[0, :3] = 0.0, -0.0, np.inf
    y = leaky(x, slope)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.where(x > 0, x, np.float32(slope) * np.where(x > 0, 0, x)))
    np.testing.assert_array_equal(leaky_mask(gy, y, slope), np.where(x > 0, gy, np.float32(slope) * gy))


@pytest.mark.parametrize("slope", [0, 0.1, 1])
def test_leaky_relu_and_its_mask_may_write_where_they_read(slope, rng):
    x, gy = rng.standard_normal((2, 3, 50))
    y, gx = leaky(x, slope), leaky_mask(gy, x, slope)
    assert leaky_mask(gy, x, slope, out=gy) is gy
    np.testing.assert_array_equal(gy, gx)
    assert leaky(x, slope, out=x) is x
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("slope", [-0.1, 1.5, math.nan])
def test_a_slope_outside_0_to_1_is_refused(slope):
    with pytest.raises(ValueError, match="expected a slope of 0 to 1, got "):
        leaky(np.ones(3), slope)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (0, 4), (2, 3, 5, 4), (70_000, 3), (3, 1 << 17)])
def test_sum_rows_is_the_sum_over_all_axes_but_the_last(shape, rng, each_thread_count):
    x = rng.standard_normal(shape).astype(np.float32)
    read_only(x)
    one, two, three = each_thread_count(lambda: sum_rows(x))
    # float32, up to 20,000 numbers one after the other: a random walk of as many roundings of sums of about 140
    np.testing.assert_allclose(one, x.astype(np.float64).sum(tuple(range(x.ndim - 1))), atol=5e-3, rtol=1e-6)
    assert one.dtype == np.float32
    assert one.tobytes() == two.tobytes() == three.tobytes()
