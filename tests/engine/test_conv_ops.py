"""Convolutions, pooling, upsampling: values against explicit loops and PyTorch, derivatives to third order."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from checks import check_grads

from minigan.engine import conv_ops, im2col, ops, pool_ops, thread_pool, winograd
from minigan.engine.autograd import Op, Tensor, grad
from minigan.engine.conv_ops import ConvWeights, Spread, conv2d, conv_mean_pool2d, conv_transpose2d, upsample_conv2d
from minigan.engine.pool_ops import max_pool2d, mean_pool2d, sum_pool2d, upsample2d, upsample_bilinear2d, windows

pytestmark = pytest.mark.filterwarnings("error")


# ---- the definition, in loops ------------------------------------------------------------------------------

def loop_conv(x, W, stride, pad):
    (py, px), (kh, kw) = pad, W.shape[1:3]
    x = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)))
    oh, ow = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.empty((len(x), oh, ow, len(W)))
    for i, j in np.ndindex(oh, ow):
        y[:, i, j] = np.einsum("nyxc,oyxc->no", x[:, i * stride:i * stride + kh, j * stride:j * stride + kw], W)
    return y


def loop_conv_transpose(g, W, stride, pad, size):
    (py, px), (kh, kw) = pad, W.shape[1:3]
    x = np.zeros((len(g), size[0] + 2 * py, size[1] + 2 * px, W.shape[3]))
    for i, j in np.ndindex(*g.shape[1:3]):
        x[:, i * stride:i * stride + kh, j * stride:j * stride + kw] += np.einsum("no,oyxc->nyxc", g[:, i, j], W)
    return x[:, py:py + size[0], px:px + size[1]]


def loop_weights(x, g, kernel, stride, pad):
    (py, px), (kh, kw) = pad, kernel
    x = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)))
    return sum(np.einsum("no,nyxc->oyxc", g[:, i, j], x[:, i * stride:i * stride + kh, j * stride:j * stride + kw])
               for i, j in np.ndindex(*g.shape[1:3]))


def loop_windows(x, kernel, stride, pad, fill):
    (py, px), (kh, kw) = pad, kernel
    x = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)), constant_values=fill)
    return np.stack([np.stack([x[:, i:i + kh, j:j + kw] for j in range(0, x.shape[2] - kw + 1, stride)], 1)
                     for i in range(0, x.shape[1] - kh + 1, stride)], 1)


# ---- geometries --------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Geometry:
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    channels: tuple[int, int] = (2, 3)  # of x, of the result
    images: int = 2

    def out(self) -> tuple[int, int]:
        return tuple((n + 2 * p - k) // self.stride + 1
                     for n, p, k in zip(self.size, self.pad, self.kernel, strict=True))

    def arrays(self, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, W and a gradient of the result."""
        C, O = self.channels
        return (rng.standard_normal((self.images, *self.size, C)), rng.standard_normal((O, *self.kernel, C)),
                rng.standard_normal((self.images, *self.out(), O)))


GEOMETRIES = {
    "3x3": Geometry((5, 4), (3, 3), 1, (1, 1)),
    "3x3-no-pad": Geometry((4, 5), (3, 3)),
    "1x1": Geometry((3, 4), (1, 1)),
    "1x1-padded": Geometry((3, 2), (1, 1), 1, (2, 1)),
    "4x4-stride-2": Geometry((6, 4), (4, 4), 2, (1, 1)),
    "4x4-stride-2-odd": Geometry((7, 5), (4, 4), 2, (1, 1)),
    "3x3-stride-2": Geometry((5, 6), (3, 3), 2, (1, 1)),
    "1x1-stride-2": Geometry((5, 4), (1, 1), 2),
    "kernel-3x2": Geometry((4, 5), (3, 2), 1, (1, 0)),
    "kernel-1x4-stride-2": Geometry((3, 7), (1, 4), 2, (0, 2)),
    "kernel-5x2-stride-3": Geometry((6, 8), (5, 2), 3, (3, 1)),
    "stride-above-kernel": Geometry((7, 8), (2, 2), 3),
    "stride-above-kernel-padded": Geometry((5, 4), (1, 2), 4, (3, 2)),
    "pad-above-kernel": Geometry((3, 2), (2, 2), 1, (3, 4)),
    "pad-above-kernel-stride-2": Geometry((2, 3), (3, 3), 2, (4, 5)),
    "kernel-is-image": Geometry((3, 4), (3, 4)),
    "kernel-is-padded-image": Geometry((2, 1), (4, 5), 1, (1, 2)),
    "one-pixel": Geometry((1, 1), (3, 3), 1, (1, 1), (1, 1), 1),
    "one-channel-to-five": Geometry((4, 3), (3, 3), 1, (1, 1), (1, 5)),  # the first not thin
    "five-channels-to-one": Geometry((4, 3), (3, 3), 1, (1, 1), (5, 1)),
    "six-to-two-padded": Geometry((4, 5), (3, 2), 1, (3, 0), (6, 2)),
    "five-to-six": Geometry((4, 5), (3, 3), 1, (1, 1), (5, 6), 1),
}
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


@every_geometry
def test_the_trio_is_the_loops(geometry, rng):
    x, W, g = geometry.arrays(rng)
    X, K = Tensor(x, requires_grad=True), Tensor(W, requires_grad=True)
    y = conv2d(X, K, None, geometry.stride, geometry.pad)
    gx, gW = grad(y, [X, K], gy=Tensor(g))
    for found, expected in [
            (y, loop_conv(x, W, geometry.stride, geometry.pad)),
            (gx, loop_conv_transpose(g, W, geometry.stride, geometry.pad, geometry.size)),
            (gW, loop_weights(x, g, geometry.kernel, geometry.stride, geometry.pad))]:
        np.testing.assert_allclose(found.data, expected, rtol=1e-12, atol=1e-12)


@every_geometry
def test_conv_transpose2d_is_the_loop_for_every_output_pad(geometry, rng):
    _, W, g = geometry.arrays(rng)
    least = [(n - 1) * geometry.stride + k - 2 * p
             for n, k, p in zip(geometry.out(), geometry.kernel, geometry.pad, strict=True)]
    for more in {(0, 0), (geometry.stride - 1, geometry.stride // 2)}:
        size = (least[0] + more[0], least[1] + more[1])
        if min(size) >= 1:
            y = conv_transpose2d(Tensor(g), Tensor(W), None, geometry.stride, geometry.pad, output_pad=more)
            expected = loop_conv_transpose(g, W, geometry.stride, geometry.pad, size)
            np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-12)


@every_geometry
def test_all_three_are_one_trilinear_form(geometry, rng):
    """<x * W, g> = <x, transposed(g, W)> = <W, weights(x, g)>."""
    x, W, g = map(Tensor, geometry.arrays(rng))
    form = np.sum(conv2d(x, W, None, geometry.stride, geometry.pad).data * g.data)
    transposed = conv_ops.ConvTranspose(geometry.stride, geometry.pad, geometry.size)(g, W)
    weights = ConvWeights(geometry.stride, geometry.pad, geometry.kernel)(x, g)
    assert np.sum(x.data * transposed.data) == pytest.approx(form, rel=1e-11, abs=1e-11)
    assert np.sum(W.data * weights.data) == pytest.approx(form, rel=1e-11, abs=1e-11)


@every_geometry
def test_second_order_of_conv2d(geometry, rng):
    x, W, _ = geometry.arrays(rng)
    check_grads(lambda x, W: conv2d(x, W, None, geometry.stride, geometry.pad), x, W)


@every_geometry
def test_second_order_of_conv_transpose2d(geometry, rng):
    _, W, g = geometry.arrays(rng)
    check_grads(conv_ops.ConvTranspose(geometry.stride, geometry.pad, geometry.size), g, W)


@every_geometry
def test_second_order_of_the_weight_gradient(geometry, rng):
    x, _, g = geometry.arrays(rng)
    check_grads(ConvWeights(geometry.stride, geometry.pad, geometry.kernel), x, g)


def off_kinks(rng, function, *shapes):
    """Random arrays for which no element of function(*arrays) is near 0, where leaky ReLU bends."""
    while True:
        arrays = [rng.standard_normal(shape) for shape in shapes]
        if np.abs(function(*map(Tensor, arrays)).data).min() > 0.01:
            return arrays


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("function, shapes", [
    (lambda x, W, b, slope: conv2d(x, W, b, 2, 1, slope), ((2, 4, 5, 2), (3, 4, 3, 2), (3,))),
    (lambda x, W, b, slope: conv_transpose2d(x, W, b, 2, 1, slope, 1), ((1, 2, 2, 3), (3, 4, 3, 2), (2,))),
    (lambda x, W, b, slope: upsample_conv2d(x, W, b, slope), ((1, 2, 3, 2), (3, 3, 3, 2), (3,))),
    (lambda x, W, b, slope: conv2d(x, W, b, 1, 0, slope), ((2, 2, 3, 2), (1, 1, 1, 2), (1,))),
], ids=["conv2d", "conv_transpose2d", "upsample_conv2d", "1x1"])
def test_second_order_with_bias_and_activation(function, shapes, slope, rng):
    arrays = off_kinks(rng, lambda *tensors: function(*tensors, 1.0), *shapes)
    check_grads(lambda *tensors: function(*tensors, slope), *arrays)
    if slope == 0:
        check_grads(lambda x, W: function(x, W, None, slope), *off_kinks(
            rng, lambda x, W: function(x, W, None, 1.0), *shapes[:2]))


def test_bias_and_activation_are_done_once_where_no_tap_falls(rng):
    """Stride above kernel: pixels of the transposed convolution that no window reached are leaky(b)."""
    x, W, b = rng.standard_normal((1, 2, 2, 3)), rng.standard_normal((3, 1, 1, 2)), np.array([-1.0, 2])
    y = conv_transpose2d(Tensor(x), Tensor(W), Tensor(b), 3, 0, 0.1)
    expected = loop_conv_transpose(x, W, 3, (0, 0), (4, 4)) + b
    np.testing.assert_allclose(y.data, np.where(expected > 0, expected, 0.1 * expected), rtol=1e-13)
    np.testing.assert_array_equal(y.data[0, 1, 1], [-0.1, 2])


@pytest.mark.parametrize("name", ["3x3", "4x4-stride-2", "stride-above-kernel-padded", "pad-above-kernel",
                                  "five-channels-to-one"])
def test_third_order(name, rng):
    geometry = GEOMETRIES[name]
    x, W, g = geometry.arrays(rng)
    check_grads(conv_ops.Conv(geometry.stride, geometry.pad), x, W, order=3)
    check_grads(conv_ops.ConvTranspose(geometry.stride, geometry.pad, geometry.size), g, W, order=3)
    check_grads(ConvWeights(geometry.stride, geometry.pad, geometry.kernel), x, g, order=3)


def test_third_order_through_an_activation(rng):
    """Behind a leaky ReLU and a square the third derivative of both convolutions together is not zero."""
    x, W, b = off_kinks(rng, lambda x, W, b: conv2d(x, W, b, 1, 1), (1, 3, 2, 2), (2, 3, 3, 2), (2,))
    V = rng.standard_normal((1, 2, 2, 2))
    check_grads(lambda x, W, b, V: conv2d(conv2d(x, W, b, 1, 1, 0.2), V) ** 2, x, W, b, V, order=3)


def test_every_fused_backward_of_the_module_is_covered_here():
    """check_grads holds the fused way to the one with a graph; here stand all that have both."""
    fused = {c for c in vars(conv_ops).values() if isinstance(c, type) and issubclass(c, Op) and c.fused_backward}
    assert fused == {conv_ops.Conv, conv_ops.ConvTranspose}


# ---- arrays of any kind ------------------------------------------------------------------------------------

def test_strided_flipped_and_broadcast_arrays_are_read_as_they_look(rng):
    x, W = rng.standard_normal((2, 6, 5, 3)), rng.standard_normal((4, 3, 3, 3))
    b, g = np.broadcast_to(np.float64(0.5), 4), np.broadcast_to(rng.standard_normal(4), (2, 6, 5, 4))
    views = [(x.transpose(0, 2, 1, 3), W.transpose(0, 2, 1, 3), g.transpose(0, 2, 1, 3)),
             (x[::-1], W[:, ::-1], g[::-1]),
             (np.broadcast_to(x[:1], x.shape), np.broadcast_to(W[..., :1], W.shape), g)]
    for arrays in views:
        results = []
        for a, k, c in (arrays, [np.array(v) for v in arrays]):
            tensors = [Tensor(v, requires_grad=True) for v in (a, k, b)]
            y = conv2d(*tensors, 1, 1, 0.1)
            results.append([y, *grad(y, tensors, gy=Tensor(c))])
        for view, copy in zip(*results, strict=True):
            np.testing.assert_allclose(view.data, copy.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape, kernel, stride", [((3, 8, 8, 4), (5, 3, 3, 4), 1), ((3, 8, 8, 4), (2, 3, 3, 4), 1),
                                                   ((3, 8, 8, 4), (5, 4, 4, 4), 2), ((3, 8, 8, 4), (5, 1, 1, 4), 1),
                                                   ((3, 8, 8, 32), (32, 3, 3, 32), 1)])
def test_results_are_not_work_arrays(shape, kernel, stride, rng):
    """The next call reuses the work arrays; what the last one returned must not change, nor the inputs."""
    def run(x, W):
        x, W = Tensor(x, requires_grad=True), Tensor(W, requires_grad=True)
        y = conv2d(x, W, None, stride, 1, 0.1)
        return [x, W, y, *grad(y, [x, W], gy=Tensor(np.ones_like(y.data)))]
    first, second = (rng.standard_normal((2, *s)).astype(np.float32) for s in (shape, kernel))
    results = run(first[0], second[0])
    kept = [t.data.copy() for t in results]
    run(first[1], second[1])
    for t, k in zip(results, kept, strict=True):
        np.testing.assert_array_equal(t.data, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays_to_second_order(dtype, rng):
    x, W, b = (Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True)
               for s in [(2, 6, 6, 3), (4, 3, 3, 3), (4,)])
    h = max_pool2d(mean_pool2d(upsample2d(conv2d(x, W, b, 1, 1, 0.1)), 3, 2, 1), 2)
    y = conv_mean_pool2d(upsample_conv2d(h, ops.transpose(W, (3, 1, 2, 0))), W, b)
    gx = grad(ops.sum(y), x, create_graph=True)
    assert {t.dtype for t in [h, y, gx, *grad(ops.sum(gx * gx), [x, W, b])]} == {np.dtype(dtype)}


def test_an_image_does_not_depend_on_its_batch(rng):
    """Rounding may differ, since products of other sizes are added up differently."""
    for C, O in [(3, 8), (8, 3), (32, 32)]:
        x, W = (rng.standard_normal(s).astype(np.float32) for s in [(5, 8, 8, C), (O, 3, 3, C)])
        whole = conv2d(Tensor(x), Tensor(W), None, 1, 1).data
        for n in range(5):
            alone = conv2d(Tensor(x[n:n + 1]), Tensor(W), None, 1, 1).data
            np.testing.assert_allclose(alone[0], whole[n], atol=1e-5 * np.abs(whole).max())


def test_an_empty_batch_gives_empty_images_and_zero_weight_gradients():
    x, W = Tensor(np.zeros((0, 6, 6, 3)), requires_grad=True), Tensor(np.ones((5, 3, 3, 3)), requires_grad=True)
    b = Tensor(np.ones(5), requires_grad=True)
    y = conv2d(x, W, b, 1, 1, 0.1)
    assert y.shape == (0, 6, 6, 5)
    gx, gW, gb = grad(ops.sum(y), [x, W, b])
    assert gx.shape == x.shape and not gW.data.any() and not gb.data.any()


# ---- the ways through a convolution: tiles, thin, Winograd -------------------------------------------------

@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of a few rows, so that small images are cut as large ones are; gives the numbers of tiles."""
    counts: list[int] = []

    def counted(work, items, **how):
        items = list(items)
        counts.append(len(items))
        return thread_pool.parallel(work, items, **how)
    for module in (im2col, winograd):
        monkeypatch.setattr(module, "TILE_BYTES", 1 << 12)
        monkeypatch.setattr(module, "parallel", counted)
    monkeypatch.setattr(im2col, "SMALL", 0)
    monkeypatch.setattr(winograd, "GROUP_BYTES", 1 << 20)
    return counts


def gradients(x, W, b, g, stride, pad, slope=0.1):
    """Arrays of conv2d's result and its gradients with respect to x, W and b at gradient g."""
    tensors = [Tensor(a, requires_grad=True) for a in (x, W, b)]
    y = conv2d(*tensors, stride, pad, slope)
    return [t.data for t in (y, *grad(y, tensors, gy=Tensor(g)))]


WAYS = {  # x, W, stride, pad
    "im2col": ((5, 12, 9, 8), (6, 4, 4, 8), 2, (1, 1)),
    "im2col-rows": ((2, 30, 31, 8), (7, 3, 3, 8), 1, (1, 1)),
    "pad-of-many-rows": ((2, 9, 9, 8), (7, 3, 3, 8), 1, (9, 7)),
    "1x1": ((5, 13, 7, 8), (9, 1, 1, 8), 1, (0, 0)),
    "thin": ((3, 25, 14, 9), (3, 3, 3, 9), 1, (1, 1)),
    "thin-4": ((2, 31, 12, 5), (4, 5, 2, 5), 1, (2, 0)),
    "thin-1-far": ((4, 9, 12, 5), (1, 2, 3, 5), 1, (6, 7)),
    "thin-input": ((3, 21, 14, 3), (8, 3, 3, 3), 1, (1, 1)),  # its input gradient is the thin one
}


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-13), (np.float32, 1e-5)])
@pytest.mark.parametrize("x, W, stride, pad", WAYS.values(), ids=WAYS)
def test_tiles_of_rows_add_up_to_the_loops(x, W, stride, pad, dtype, rtol, small_tiles, rng):
    x, W, b = (rng.standard_normal(shape).astype(dtype) for shape in (x, W, W[:1]))
    expected = loop_conv(x.astype(np.float64), W.astype(np.float64), stride, pad) + b
    g = rng.standard_normal(expected.shape).astype(dtype)
    found = gradients(x, W, b, g, stride, pad)
    gz = np.where(expected > 0, 1, 0.1) * g
    x, W = x.astype(np.float64), W.astype(np.float64)
    truths = [np.where(expected > 0, expected, 0.1 * expected), loop_conv_transpose(gz, W, stride, pad, x.shape[1:3]),
              loop_weights(x, gz, W.shape[1:3], stride, pad), gz.sum((0, 1, 2))]
    for f, t in zip(found, truths, strict=True):
        np.testing.assert_allclose(f, t, rtol=0, atol=rtol * np.abs(t).max())
    assert sum(n >= 3 for n in small_tiles) >= 2  # forward and input gradient, at least, were cut


@dataclass
class Watch:
    """Counts the calls of Winograd's loops."""

    forward: int = 0
    weights: int = 0


@pytest.fixture
def watch(monkeypatch):
    seen, pieces, weights = Watch(), winograd.pieces, winograd.correlate_weights

    def forward_seen(*args):
        seen.forward += 1
        return pieces(*args)

    def weights_seen(*args):
        seen.weights += 1
        return weights(*args)
    monkeypatch.setattr(winograd, "MANY", 8)  # it is right long before it pays
    monkeypatch.setattr(winograd, "WIDE", 32)
    monkeypatch.setattr(winograd, "pieces", forward_seen)
    monkeypatch.setattr(winograd, "correlate_weights", weights_seen)
    return seen


WINOGRAD = {  # x, W, stride, pad
    "even": ((2, 8, 8, 32), (40, 3, 3, 32), 1, (1, 1)),
    "odd": ((3, 11, 15, 33), (32, 3, 3, 33), 1, (1, 1)),
    "no-pad": ((2, 14, 15, 32), (32, 3, 3, 32), 1, (0, 0)),
    "pad-2": ((2, 13, 11, 32), (32, 3, 3, 32), 1, (2, 2)),  # the input gradient then has offset 0
    "pad-3": ((2, 15, 7, 32), (32, 3, 3, 32), 1, (3, 4)),  # and here a negative one
    "6x6-stride-2": ((2, 16, 14, 32), (35, 6, 6, 32), 2, (2, 2)),  # input gradient: four 3x3 into every other pixel
}


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("x, W, stride, pad", WINOGRAD.values(), ids=WINOGRAD)
def test_winograd_is_im2col_but_for_rounding(x, W, stride, pad, cut, watch, request, rng):
    """float32 against the same numbers in float64, which always takes im2col: 1e-5 of the largest."""
    if cut:
        request.getfixturevalue("small_tiles")
    x, W, b = (rng.standard_normal(shape).astype(np.float32) for shape in (x, W, W[:1]))
    shape = (len(x), *((x.shape[1 + i] + 2 * pad[i] - W.shape[1 + i]) // stride + 1 for i in (0, 1)), len(W))
    g = rng.standard_normal(shape).astype(np.float32)
    truths = gradients(*(a.astype(np.float64) for a in (x, W, b, g)), stride, pad, 1.0)
    assert watch == Watch(0, 0)
    found = gradients(x, W, b, g, stride, pad, 1.0)
    assert watch == (Watch(2, 1) if stride == 1 else Watch(4, 0))
    for f, t in zip(found, truths, strict=True):
        assert f.dtype == np.float32
        np.testing.assert_allclose(f, t, rtol=0, atol=1e-5 * np.abs(t).max())


def test_a_large_image_is_cut_by_rows_of_winograd_tiles(watch, rng):
    """At the sizes as they are: 33 x 33 tiles are more than a group has."""
    x, W = (rng.standard_normal(s).astype(np.float32) for s in [(1, 130, 131, 32), (32, 3, 3, 32)])
    g = rng.standard_normal(x.shape).astype(np.float32)
    assert winograd.most(32, x.dtype) < 33 * 33
    b = np.zeros(32, np.float32)
    for f, t in zip(gradients(x, W, b, g, 1, 1), gradients(*(a.astype(np.float64) for a in (x, W, b, g)), 1, 1),
                    strict=True):
        wrong = np.abs(f - t) > 1e-5 * np.abs(t).max()
        assert wrong.mean() < 1e-4  # the kink: where z is 0 up to rounding, its sign is anybody's guess
    assert watch == Watch(2, 1)


@pytest.mark.parametrize("top, left", [(0, 0), (1, 2), (-2, -1), (5, 0), (-3, 7), (20, -30)])
def test_winograd_at_any_offset(top, left, rng):
    """Windows that begin inside x, far outside it, or end beyond it; into every other pixel of a larger array."""
    x, W = rng.standard_normal((2, 9, 10, 3)), rng.standard_normal((2, 3, 3, 3))
    room = np.full((2, 14, 22, 2), 7, np.float32)
    out = room[:, 1::2, ::2]
    W32 = W.astype(np.float32)
    for piece in winograd.pieces(x.astype(np.float32), W32, winograd.transformed(W32), top, left, out, im2col.NOTHING):
        piece()
    far = 40
    padded = np.pad(x, ((0, 0), (far, far), (far, far), (0, 0)))[:, far - top:far - top + 9, far - left:far - left + 13]
    np.testing.assert_allclose(out, loop_conv(padded, W, 1, (0, 0)), rtol=0, atol=1e-4)
    assert (room[:, ::2] == 7).all() and (room[:, :, 1::2] == 7).all()


def test_winograd_to_second_order(watch, rng):
    """The gradient of a gradient penalty in float32, all through Winograd, against float64."""
    arrays = [rng.standard_normal((2, 8, 8, 32)), rng.standard_normal((32, 3, 3, 32)) / 17,
              rng.standard_normal((32, 3, 3, 32)) / 17]
    found = []
    for dtype in (np.float32, np.float64):
        x, V, W = (Tensor(a.astype(dtype), requires_grad=True) for a in arrays)
        y = ops.tanh(conv2d(ops.tanh(conv2d(x, V, None, 1, 1)), W, None, 1, 1))
        gx = grad(ops.sum(y), x, create_graph=True)
        found.append([g.data for g in grad(ops.sum(gx * gx), [x, V, W])])
        if dtype == np.float32:
            assert watch.forward >= 8 and watch.weights >= 3
    for single, double in zip(*found, strict=True):
        np.testing.assert_allclose(single, double, rtol=0, atol=1e-4 * np.abs(double).max())


@pytest.fixture
def threads():
    """thread_pool.set_threads, undone afterwards."""
    before = thread_pool.thread_count()
    yield thread_pool.set_threads
    thread_pool.set_threads(before)


BYTES = {  # x, W, stride, pad
    "im2col": ((13, 16, 16, 24), (32, 4, 4, 24), 2, (1, 1)),
    "winograd": ((5, 32, 32, 32), (32, 3, 3, 32), 1, (1, 1)),
    "thin": ((5, 32, 32, 32), (3, 3, 3, 32), 1, (1, 1)),
    "thin-input": ((9, 32, 32, 3), (32, 3, 3, 3), 1, (1, 1)),
}


@pytest.mark.parametrize("x, W, stride, pad", BYTES.values(), ids=BYTES)
def test_the_same_bytes_for_any_number_of_threads(x, W, stride, pad, threads, small_tiles, rng):
    x, W, b = (rng.standard_normal(shape).astype(np.float32) for shape in (x, W, W[:1]))
    g = rng.standard_normal(loop_shape(x, W, stride, pad)).astype(np.float32)
    results = []
    for count in (1, 2, 3, 2):
        threads(count)
        results.append([a.tobytes() for a in gradients(x, W, b, g, stride, pad)])
    assert max(small_tiles) > 10
    assert all(r == results[0] for r in results)


def loop_shape(x, W, stride, pad):
    return (len(x), *((x.shape[1 + i] + 2 * pad[i] - W.shape[1 + i]) // stride + 1 for i in (0, 1)), len(W))


# ---- against PyTorch ---------------------------------------------------------------------------------------

def nchw(a: np.ndarray) -> np.ndarray:
    """Images, or weights either way round, in PyTorch's order."""
    return np.ascontiguousarray(a.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("transposed", [False, True], ids=["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("kernel, stride, pad", [((3, 3), 1, (1, 1)), ((4, 4), 2, (1, 1)), ((3, 2), 2, (2, 0)),
                                                 ((1, 1), 1, (0, 0)), ((2, 2), 3, (1, 1)), ((5, 4), 1, (2, 3))])
def test_values_and_both_orders_are_pytorchs(transposed, kernel, stride, pad, rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 7, 6, 3))
    W = rng.standard_normal((3, *kernel, 4) if transposed else (4, *kernel, 3))
    b = rng.standard_normal(4)
    tensors = [Tensor(a, requires_grad=True) for a in (x, W, b)]
    theirs = [torch.tensor(nchw(a) if a.ndim == 4 else a, requires_grad=True) for a in (x, W, b)]
    function = torch.nn.functional.conv_transpose2d if transposed else torch.nn.functional.conv2d
    y = (conv_transpose2d if transposed else conv2d)(*tensors, stride, pad)
    t = function(*theirs, stride=stride, padding=pad)
    first = grad(ops.sum(ops.tanh(y)), tensors[:2], create_graph=True)
    firsts = torch.autograd.grad(t.tanh().sum(), theirs[:2], create_graph=True)
    second = grad(ops.sum(first[0] ** 2) + ops.sum(first[1] ** 3), tensors)
    seconds = torch.autograd.grad((firsts[0] ** 2).sum() + (firsts[1] ** 3).sum(), theirs)
    for ours, other in zip([y, *first, *second], [t, *firsts, *seconds], strict=True):
        ours, other = (nchw(ours.data) if ours.ndim == 4 else ours.data), other.detach().numpy()
        np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-10 * np.abs(other).max())


def test_gradient_penalty_of_a_network_is_pytorchs(rng):
    """d/dW of mean (|grad_x D(x)| - 1)^2 for three convolutions, leaky ReLU, pooling and a dense layer."""
    torch = pytest.importorskip("torch")
    shapes = [(6, 3, 3, 3), (6,), (5, 4, 4, 6), (5,), (7, 3, 3, 5), (7,), (7, 1)]
    x, params = rng.standard_normal((4, 8, 8, 3)), [rng.standard_normal(s) / 4 for s in shapes]

    images, ours = Tensor(x, requires_grad=True), [Tensor(p, requires_grad=True) for p in params]
    h = conv2d(images, ours[0], ours[1], 1, 1, 0.1)
    h = conv2d(h, ours[2], ours[3], 2, 1, 0.1)
    h = conv2d(mean_pool2d(h), ours[4], ours[5], 1, 1, 0.1)
    gx = grad(ops.sum(ops.sum(h, (1, 2)) @ ours[6]), images, create_graph=True)
    penalty = ops.mean((ops.sqrt(ops.sum(gx * gx, (1, 2, 3))) - 1) ** 2)
    found = grad(penalty, ours)

    pictures = torch.tensor(nchw(x), requires_grad=True)
    theirs = [torch.tensor(nchw(p) if p.ndim == 4 else p, requires_grad=True) for p in params]
    f = torch.nn.functional
    t = f.leaky_relu(f.conv2d(pictures, theirs[0], theirs[1], padding=1), 0.1)
    t = f.leaky_relu(f.conv2d(t, theirs[2], theirs[3], stride=2, padding=1), 0.1)
    t = f.leaky_relu(f.conv2d(f.avg_pool2d(t, 2), theirs[4], theirs[5], padding=1), 0.1)
    gt, = torch.autograd.grad((t.sum((2, 3)) @ theirs[6]).sum(), pictures, create_graph=True)
    other = ((gt.flatten(1).norm(dim=1) - 1) ** 2).mean()
    expected = torch.autograd.grad(other, theirs, allow_unused=True)

    assert penalty.item() == pytest.approx(other.item(), rel=1e-12)
    for ours_, e in zip(found, expected, strict=True):
        a = nchw(ours_.data) if ours_.ndim == 4 else ours_.data
        e = np.zeros(a.shape) if e is None else e.numpy()  # biases: leaky ReLU is linear but at its kink
        np.testing.assert_allclose(a, e, rtol=1e-8, atol=1e-14)
    assert all(np.abs(found[i].data).max() > 1e-3 for i in (0, 2, 4, 6))


# ---- pooling, upsampling, and what is done in one go -------------------------------------------------------

POOLS = {  # size, kernel, stride, pad
    "2x2": ((4, 6), 2, None, 0),
    "2x2-odd": ((5, 3), 2, None, 0),
    "3x3-stride-2": ((5, 7), 3, 2, 1),
    "3x3-stride-1": ((4, 3), 3, 1, 1),
    "2x3": ((5, 6), (2, 3), 1, (1, 2)),
    "2x3-default-stride": ((4, 7), (2, 3), None, 0),
    "stride-above-kernel": ((7, 5), 2, 3, 0),
    "whole-image": ((3, 3), 3, None, 0),
    "1x1": ((2, 3), 1, None, 0),
}
every_pool = pytest.mark.parametrize("size, kernel, stride, pad", POOLS.values(), ids=POOLS)


@every_pool
def test_pools_are_reductions_of_the_windows(size, kernel, stride, pad, rng):
    x = rng.standard_normal((2, *size, 3))
    k, p = (n if isinstance(n, tuple) else (n, n) for n in (kernel, pad))
    s = stride or k[0]
    w = loop_windows(x, k, s, p, 0)
    np.testing.assert_array_equal(windows(Tensor(x), kernel, s, pad).data, w)
    np.testing.assert_allclose(sum_pool2d(Tensor(x), kernel, stride, pad).data, w.sum((3, 4)), rtol=1e-12)
    np.testing.assert_allclose(mean_pool2d(Tensor(x), kernel, stride, pad).data, w.mean((3, 4)), rtol=1e-12)
    highest = loop_windows(x, k, s, p, -np.inf).max((3, 4))
    np.testing.assert_array_equal(max_pool2d(Tensor(x), kernel, stride, pad).data, highest)


@every_pool
def test_second_order_of_pools_windows_and_fold(size, kernel, stride, pad, rng):
    x = rng.permutation(2 * math.prod(size)).reshape(1, *size, 2) / 8  # no two close: away from max's kinks
    for pool in (sum_pool2d, mean_pool2d, max_pool2d):
        check_grads(lambda x, pool=pool: pool(x, kernel, stride, pad) ** 2, x)
    k, p = (n if isinstance(n, tuple) else (n, n) for n in (kernel, pad))
    s = stride or k[0]
    check_grads(pool_ops.Windows(k, s, p, 5.0), x)
    w = loop_windows(x, k, s, p, 0)
    check_grads(pool_ops.Fold(k, s, p, x.shape), rng.standard_normal(w.shape))


@every_pool
def test_fold_is_the_adjoint_of_windows(size, kernel, stride, pad, rng):
    k, p = (n if isinstance(n, tuple) else (n, n) for n in (kernel, pad))
    x = rng.standard_normal((2, *size, 3))
    w = windows(Tensor(x), kernel, stride or k[0], pad).data
    y = rng.standard_normal(w.shape)
    folded = pool_ops.Fold(k, stride or k[0], p, x.shape)(Tensor(y)).data
    assert np.sum(w * y) == pytest.approx(np.sum(x * folded), rel=1e-12, abs=1e-12)


def test_equal_largest_pixels_of_a_window_share_the_gradient():
    x = Tensor(np.array([3.0, 3, 1, 3, 2, 0, 0, 0]).reshape(1, 2, 4, 1), requires_grad=True)
    g = grad(ops.sum(max_pool2d(x)), x)
    np.testing.assert_array_equal(g.data.reshape(2, 4), [[0.5, 0.5, 0, 1], [0, 0, 0, 0]])


def test_padding_never_wins_a_maximum():
    x = -np.ones((1, 3, 3, 1))
    assert (max_pool2d(Tensor(x), 3, 2, 2).data == -1).all()


def test_pools_are_pytorchs(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 9, 8, 3))
    f, t = torch.nn.functional, torch.tensor(nchw(x))
    np.testing.assert_allclose(nchw(mean_pool2d(Tensor(x), 3, 2, 1).data), f.avg_pool2d(t, 3, 2, 1).numpy(), rtol=1e-12)
    np.testing.assert_array_equal(nchw(max_pool2d(Tensor(x), 3, 2, 1).data), f.max_pool2d(t, 3, 2, 1).numpy())
    np.testing.assert_array_equal(nchw(upsample2d(Tensor(x), 3).data), f.interpolate(t, scale_factor=3).numpy())


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsampling_repeats_pixels_to_second_order(factor, rng):
    x = rng.standard_normal((2, 3, 2, 2))
    y = upsample2d(Tensor(x), factor)
    np.testing.assert_array_equal(y.data, x.repeat(factor, 1).repeat(factor, 2))
    check_grads(lambda x: upsample2d(x, factor) ** 2, x)


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (1, 1, 2, 3), (2, 1, 1, 1), (0, 2, 2, 1)])
def test_bilinear_upsampling_is_pytorchs_to_second_order(shape, rng):
    x = rng.standard_normal(shape)
    y = upsample_bilinear2d(Tensor(x))
    assert y.shape == (shape[0], 2 * shape[1], 2 * shape[2], shape[3])
    if not x.size:
        return
    check_grads(lambda x: upsample_bilinear2d(x) ** 2, x)
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.interpolate(torch.tensor(nchw(x)), scale_factor=2, mode="bilinear",
                                             align_corners=False)
    np.testing.assert_allclose(nchw(y.data), theirs.numpy(), rtol=1e-12, atol=1e-14)


def test_bilinear_upsampling_has_the_norm_2():
    """Of its matrix, column by column; no image of ones is lengthened by more."""
    columns = [upsample_bilinear2d(Tensor(e.reshape(1, 3, 4, 1))).data.ravel() for e in np.eye(12)]
    assert np.linalg.norm(np.array(columns), 2) == pytest.approx(2, rel=1e-12)


def test_upsampling_and_pooling_are_adjoint(rng):
    x, y = rng.standard_normal((2, 3, 4, 2)), rng.standard_normal((2, 6, 8, 2))
    left = np.sum(upsample2d(Tensor(x)).data * y)
    assert left == pytest.approx(np.sum(x * sum_pool2d(Tensor(y)).data), rel=1e-12)


def compare_with_composition(fused, plain, arrays):
    """Values, first and second derivatives of two functions agree."""
    results = []
    for function in (fused, plain):
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        y = function(*tensors)
        first = grad(ops.sum(ops.tanh(y)), tensors, create_graph=True)
        total = ops.sum(first[0] ** 2)
        for g in first[1:]:
            total = total + ops.sum(g ** 2)
        results.append([y, *first, *grad(total, tensors)])
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-10 * max(1, np.abs(b.data).max()))


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_upsample_conv2d_is_upsampling_then_convolution(size, kernel, rng):
    arrays = [rng.standard_normal(s) for s in [(2, *size, 3), (4, kernel, kernel, 3), (4,)]]
    for slope in (1.0, 0.1):
        compare_with_composition(
            lambda x, W, b, s=slope: upsample_conv2d(x, W, b, s),
            lambda x, W, b, s=slope: ops.leaky_relu(conv2d(upsample2d(x), W, None, 1, kernel // 2) + b, s), arrays)
    compare_with_composition(upsample_conv2d, lambda x, W: conv2d(upsample2d(x), W, None, 1, kernel // 2), arrays[:2])


@pytest.mark.parametrize("size", [(4, 4), (6, 2), (5, 7)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_conv_mean_pool2d_is_convolution_then_pooling(size, kernel, rng):
    arrays = [rng.standard_normal(s) for s in [(2, *size, 3), (4, kernel, kernel, 3), (4,)]]
    compare_with_composition(
        conv_mean_pool2d, lambda x, W, b: mean_pool2d(conv2d(x, W, None, 1, kernel // 2) + b), arrays)
    compare_with_composition(
        conv_mean_pool2d, lambda x, W: mean_pool2d(conv2d(x, W, None, 1, kernel // 2)), arrays[:2])


def test_the_3x3_ways_multiply_less(monkeypatch, rng):
    """By 2.25: the sizes of the products of matrices say so."""
    work = []
    matmul = np.matmul
    x, W = Tensor(rng.standard_normal((2, 8, 8, 5))), Tensor(rng.standard_normal((6, 3, 3, 5)))

    def counted(a, b, **kwargs):
        work.append(a.shape[0] * a.shape[1] * b.shape[1])
        return matmul(a, b, **kwargs)
    monkeypatch.setattr(np, "matmul", counted)
    for fused, plain in [(upsample_conv2d, lambda x, W: conv2d(upsample2d(x), W, None, 1, 1)),
                         (conv_mean_pool2d, lambda x, W: mean_pool2d(conv2d(x, W, None, 1, 1)))]:
        counts = []
        for function in (fused, plain):
            work.clear()
            function(x, W)
            counts.append(sum(work))
        assert counts[1] == 2.25 * counts[0]


@pytest.mark.parametrize("turned", [False, True])
def test_spread_is_the_kernel_followed_by_a_sum(turned, rng):
    W = rng.standard_normal((2, 3, 2, 5))
    expected = np.zeros((5, 4, 3, 2) if turned else (2, 4, 3, 5))
    for dy, dx in np.ndindex(2, 2):
        expected[:, dy:dy + 3, dx:dx + 2] += np.rot90(W, 2, (1, 2)).swapaxes(0, 3) if turned else W
    np.testing.assert_allclose(Spread(0.25, turned)(Tensor(W)).data, 0.25 * expected, rtol=1e-14)
    check_grads(lambda W: Spread(0.25, turned)(W), W)


# ---- errors ------------------------------------------------------------------------------------------------

def tensor(*shape: int, dtype=np.float32) -> Tensor:
    return Tensor(np.ones(shape, dtype))


x8, W3, W4 = tensor(8, 32, 32, 3), tensor(5, 3, 3, 3), tensor(3, 4, 4, 5)
ERRORS = {
    "channels": (lambda: conv2d(x8, tensor(128, 3, 3, 64)), ValueError, "conv2d: x has 3 channels, W expects 64",
                 "x (8, 32, 32, 3)", "W (128, 3, 3, 64)"),
    "x-axes": (lambda: conv2d(tensor(32, 32, 3), W3), ValueError, "conv2d: expected x (N, H, W, C)", "x (32, 32, 3)"),
    "W-axes": (lambda: conv2d(x8, tensor(5, 3)), ValueError, "conv2d: expected x (N, H, W, C) and W with 4 axes",
               "W (5, 3)"),
    "bias": (lambda: conv2d(x8, W3, tensor(4)), ValueError, "conv2d: expected a bias of 5 numbers", "b (4,)"),
    "bias-axes": (lambda: conv2d(x8, W3, tensor(1, 5)), ValueError, "bias of 5 numbers", "b (1, 5)"),
    "dtypes": (lambda: conv2d(x8, tensor(5, 3, 3, 3, dtype=np.float64)), TypeError, "conv2d: the dtypes differ",
               "x (8, 32, 32, 3) float32", "float64"),
    "bias-dtype": (lambda: conv2d(x8, W3, tensor(5, dtype=np.float64)), TypeError, "dtypes differ", "b (5,) float64"),
    "stride": (lambda: conv2d(x8, W3, stride=0), ValueError, "conv2d: expected stride >= 1", "got stride 0"),
    "pad": (lambda: conv2d(x8, W3, pad=(1, -1)), ValueError, "pad >= 0", "pad (1, -1)"),
    "slope": (lambda: conv2d(x8, W3, slope=1.5), ValueError, "slope of 0 to 1", "slope 1.5"),
    "slope-nan": (lambda: conv2d(x8, W3, slope=math.nan), ValueError, "slope of 0 to 1", "slope nan"),
    "kernel": (lambda: conv2d(tensor(1, 2, 9, 3), W3), ValueError, "conv2d: the kernel (3, 3) is larger",
               "x (1, 2, 9, 3)", "pad (0, 0)"),
    "transpose-channels": (lambda: conv_transpose2d(x8, tensor(4, 4, 4, 3)), ValueError,
                           "conv_transpose2d: x has 3 channels, W expects 4"),
    "transpose-bias": (lambda: conv_transpose2d(x8, W4, tensor(3)), ValueError, "bias of 5 numbers", "b (3,)"),
    "output-pad": (lambda: conv_transpose2d(x8, W4, None, 2, output_pad=2), ValueError, "output_pad (2, 2)",
                   "stride 2"),
    "output-pad-below": (lambda: conv_transpose2d(x8, W4, output_pad=-1), ValueError, "output_pad (-1, -1)"),
    "nothing-left": (lambda: conv_transpose2d(tensor(1, 1, 1, 3), W4, pad=2), ValueError, "result of (0, 0) pixels"),
    "upsample_conv2d": (lambda: upsample_conv2d(x8, tensor(4, 3, 3, 2)), ValueError,
                        "upsample_conv2d: x has 3 channels, W expects 2", "W (4, 3, 3, 2)"),
    "conv_mean_pool2d": (lambda: conv_mean_pool2d(x8, W3, tensor(3)), ValueError, "conv_mean_pool2d: expected a bias"),
    "pool-axes": (lambda: sum_pool2d(tensor(4, 4, 3)), ValueError, "pooling: expected images", "x (4, 4, 3)"),
    "pool-kernel": (lambda: mean_pool2d(tensor(1, 2, 9, 3), 3), ValueError, "no smaller than the kernel",
                    "x (1, 2, 9, 3)", "kernel (3, 3)"),
    "pool-stride": (lambda: max_pool2d(x8, 2, 0), ValueError, "stride >= 1", "stride 0"),
    "pool-nothing": (lambda: sum_pool2d(x8, 0), ValueError, "kernel >= 1", "kernel (0, 0)"),
    "pool-pad": (lambda: windows(x8, 2, 1, -1), ValueError, "pad >= 0", "pad (-1, -1)"),
    "max-pad": (lambda: max_pool2d(x8, 2, 2, (0, 2)), ValueError, "max_pool2d:", "kernel (2, 2)", "pad (0, 2)"),
    "upsample-axes": (lambda: upsample2d(tensor(4, 4, 3)), ValueError, "upsample2d: expected images", "x (4, 4, 3)"),
    "upsample-factor": (lambda: upsample2d(x8, 0), ValueError, "factor of at least 1", "factor 0"),
}


@pytest.mark.parametrize("call, kind, parts", [(c, k, p) for c, k, *p in ERRORS.values()], ids=ERRORS)
def test_errors_say_what_was_given_and_what_was_expected(call, kind, parts):
    with pytest.raises(kind) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
