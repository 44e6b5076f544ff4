"""Windows as rows and back: adjoints of each other, on a CPU as on an emulated GPU."""

import numpy as np
import pytest
from checks import read_only
from kernel_cases import GEOMETRY

from minigan.engine.loops.windows import col2im, framed, im2col


@pytest.mark.parametrize("x_shape, kernel, stride, pad, size", GEOMETRY)
def test_col2im_is_the_adjoint_of_im2col(x_shape, kernel, stride, pad, size, rng):
    x = rng.standard_normal(x_shape)
    columns = rng.standard_normal((x_shape[0] * size[0] * size[1], kernel[0] * kernel[1] * x_shape[3]))
    read_only(x, columns)
    back = col2im(columns, x_shape, kernel, stride, pad, size)
    assert back.shape == x_shape
    np.testing.assert_allclose((im2col(x, kernel, stride, pad, size) * columns).sum(), (x * back).sum(), rtol=1e-10)


def test_both_write_where_they_are_told(rng):
    x, out = rng.standard_normal((2, 5, 7, 3)), np.empty((70, 27))
    assert im2col(x, (3, 3), 1, (1, 1), (5, 7), out) is out
    np.testing.assert_array_equal(out, im2col(x, (3, 3), 1, (1, 1), (5, 7)))
    wide = np.zeros((2, 5, 7, 6))
    part = wide[..., :3]  # some channels of a larger array
    assert col2im(out, x.shape, (3, 3), 1, (1, 1), (5, 7), out=part) is part
    np.testing.assert_array_equal(part, col2im(out, x.shape, (3, 3), 1, (1, 1), (5, 7)))
    assert not wide[..., 3:].any()


def test_windows_that_repeat_without_a_copy_are_added_like_any(rng):
    one = rng.standard_normal((2, 1, 1, 3, 3, 4))
    view = np.broadcast_to(one, (2, 2, 2, 3, 3, 4))
    found = col2im(view, (2, 4, 4, 4), (3, 3), 1, (0, 0), (2, 2))
    np.testing.assert_array_equal(found, col2im(view.copy().reshape(8, 36), (2, 4, 4, 4), (3, 3), 1, (0, 0), (2, 2)))


@pytest.mark.parametrize("top, left, height, width", [(1, 2, 9, 8), (-1, -2, 2, 3), (1, -1, 3, 9), (0, 0, 4, 5)])
def test_a_frame_is_x_with_zeros_around_it(top, left, height, width, rng):
    x = rng.standard_normal((2, 4, 5, 3))
    padded = np.pad(x, ((0, 0), (10, 10), (10, 10), (0, 0)))
    expected = padded[:, 10 - top:10 - top + height, 10 - left:10 - left + width]
    np.testing.assert_array_equal(framed(x, top, left, height, width), expected)


def test_a_frame_has_a_border_of_zeros_whatever_was_framed_before(rng):
    """The work array is used again, its border only where it is the same."""
    for top, left in [(1, 1), (1, 1), (2, 0), (1, 1), (0, 2), (0, 0), (1, 1), (-1, 2), (1, 1)] * 2:
        for count in (3, 3):
            x = rng.random((count, 4, 5, 2)) + 1
            whole = np.pad(x, ((0, 0), (3, 6), (3, 6), (0, 0)))
            expected = whole[:, 3 - top:9 - top, 3 - left:10 - left]
            assert (framed(x, top, left, 6, 7) == expected).all()
