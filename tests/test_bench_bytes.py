"""bench/bytes.py counts what one convolution multiplies and moves as one does by hand."""

from pathlib import Path

import numpy as np
import pytest

from bench import gpu
from minigan.engine import conv_ops, winograd
from minigan.engine.autograd import Tensor, grad


@pytest.fixture
def counter(monkeypatch):
    """The program, whose stand-ins for the engine's functions are taken out again."""
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    import bytes as counter
    for module, name in counter.COUNTED:
        monkeypatch.setattr(module, name, getattr(module, name))
    return counter


def numbers(counter, stride, x_shape, W_shape):
    """Of a convolution and both its gradients: name -> (calls, multiplications, numbers in arrays, in columns)."""
    rng, watch = np.random.default_rng(0), counter.Watch()
    x, W = (Tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=True) for shape in (x_shape, W_shape))
    watch.on = True
    y = conv_ops.conv2d(x, W, stride=stride, pad=1)
    grad(y, [x, W], gy=Tensor(np.ones_like(y.data)))
    return {name: tuple(int(row[i]) for i in (0, 2, 3, 4)) for name, row in watch.rows.items()
            if name.startswith("correlate")}


def test_a_strided_convolution_is_counted_as_by_hand(counter):
    """x (2, 6, 8, 5), 7 filters of 4 x 4, stride 2: y (2, 3, 4, 7), each number of 4 * 4 * 5 = 80 products."""
    x, W, y = 2 * 6 * 8 * 5, 7 * 80, 2 * 3 * 4 * 7
    assert numbers(counter, 2, (2, 6, 8, 5), (7, 4, 4, 5)) == {
        "correlate": (1, y * 80, x + W + y, 2 * 3 * 4 * 80),
        "correlate_weights": (1, y * 80, x + y + W, 2 * 3 * 4 * 80),
        # each of the 96 pixels of x from 2 x 2 taps of all 7 filters
        "correlate_transposed": (1, 96 * 4 * 7 * 5, y + W + x, 96 * 4 * 7)}


def test_winograds_way_is_counted_with_its_transforms(counter):
    """64 images of 16 x 16, 64 channels to 64: 6 x 6 numbers of each 4 x 4 of results, 4 * 4 * 9 / 6 * 6 = 4 times
    fewer products; the transforms multiply each tile of 36 numbers by a matrix of 36 x 36, and so on."""
    assert (winograd.T, winograd.M, winograd.R) == (6, 4, 3)
    done, written = counter.convolution((64, 16, 16), (3, 3), 1, 64, 64)
    tiles, filters = 64 * 4 * 4, 64 * 64
    transforms = 36 * (36 * tiles * 64 + 16 * tiles * 64 + 9 * filters)
    assert done - transforms == 64 * 16 * 16 * 9 * filters / 4
    # the tiles of x twice, as they are and transformed; the products, and back as 4 x 4; the filters
    assert written == tiles * 64 * (36 + 36 + 36 + 16) + 36 * filters


def test_a_product_of_matrices_is_counted(counter):
    a, b = np.zeros((3, 5), np.float32), np.zeros((5, 7), np.float32)
    assert counter.of_matmul(a, b) == (3 * 5 * 7, 15 + 35 + 21, 0)
