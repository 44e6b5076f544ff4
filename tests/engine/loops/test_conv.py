"""Convolutions on tensor cores: their definition, and that the engine uses the kernels where it may. Emulated.

The kernels against twins of their own are in tests/kernels/test_kernels.py.
"""

import itertools

import emulated_cupy
import emulator
import numpy as np
import nvrtc
import pytest
from kernel_cases import CONVOLUTIONS, ROUNDINGS
from nvrtc import TILES

from minigan.engine import cublas, cuda, im2col, ops
from minigan.engine.autograd import Tensor, grad
from minigan.engine.conv_ops import conv2d, conv_transpose2d
from minigan.engine.devices import BF16, FLOAT32
from minigan.engine.loops import conv, rounding
from minigan.engine.loops.activation import Epilogue

KERNELS = {"conv", "conv_transposed", "conv_weights"}


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setenv(conv.SWITCH, "1")
    with emulated_cupy.installed() as cupy:
        yield cupy


@pytest.mark.parametrize("name, bits", conv.BITS.items())
def test_a_rounded_number_is_float32_with_fewer_digits(name, bits, rng):
    function, unit = rounding.ROUNDED[name], 2.0 ** -bits
    x = np.concatenate([rng.standard_normal(1000) * 2.0 ** rng.integers(-30, 30, 1000),
                        [0, 1 + unit / 2, -1 - unit / 2, 1 + 3 * unit / 2]])
    for dtype in (np.float32, np.float64):
        given = x.astype(np.float32).astype(dtype)
        found = function(given)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, ROUNDINGS[name](given))
        np.testing.assert_allclose(found, given, rtol=unit / 2)
    np.testing.assert_array_equal(function(np.array([np.inf, -np.inf, np.nan])), [np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("precision", conv.BITS)
@pytest.mark.parametrize("x_shape, O, kernel, stride, pad, size, way", CONVOLUTIONS)
def test_the_three_are_one_trilinear_form(x_shape, O, kernel, stride, pad, size, way, precision, rng):
    """<conv(x, W), gy> = <x, conv_transposed(gy, W)> = <W, conv_weights(x, gy)>, for factors that can be held."""
    x, W, gy = (rounding.ROUNDED[precision](rng.standard_normal(shape)) for shape in (
        x_shape, (O, *kernel, x_shape[3]), (x_shape[0], *size, O)))
    gx = conv.conv_transposed(gy, W, stride, pad, x_shape[1:3], precision=precision)
    form = (conv.conv(x, W, stride, pad, size, precision=precision) * gy).sum()
    np.testing.assert_allclose((x * gx).sum(), form, rtol=1e-10)
    gW = conv.conv_weights(x, gy, kernel, stride, pad, precision=precision)
    np.testing.assert_allclose((W * gW).sum(), form, rtol=1e-10)


def test_division_by_multiplication_is_exact(rng):
    numbers = np.concatenate([np.arange(5000), rng.integers(0, 2 ** 31, 5000), 2 ** 31 - 1 - np.arange(1000)])
    for d in [*range(1, 70), 1000, 4607, 4608, 2 ** 20, 2 ** 30 - 1]:
        factor, shift = conv._divisor(d)
        assert -2 ** 31 <= factor < 0  # as a signed number
        found = (2 * numbers.astype(object) * (factor % 2 ** 32) >> 32) >> shift
        assert (found == numbers // d).all()


# ---- in the engine -------------------------------------------------------------------------------------------------

def discriminator(xp, slope, x, W1, W2, b):
    """The slope of a critic at x, squared: what a gradient penalty is made of. The value and all gradients."""
    x, W1, W2, b = (Tensor(xp.asarray(a), requires_grad=True) for a in (x, W1, W2, b))
    y = conv2d(conv2d(x, W1, b, 2, 1, slope=slope), W2, None, 1, 1, slope=slope)
    gx, = grad(ops.sum(y * y), [x], create_graph=True)
    loss = ops.sum(gx * gx) + ops.sum(conv_transpose2d(y, W2, None, 1, 1))
    return [loss, *grad(loss, [x, W1, W2, b])]


def critic(rng):
    x, W1, W2, b = (rng.standard_normal(shape) for shape in (
        (2, 6, 6, 3), (20, 4, 4, 3), (20, 3, 3, 20), (20,)))
    return [(a * 0.2).astype(np.float32) for a in (x, W1, W2, b)]


# Of the largest number. Factors are off by up to 2^-11 and 2^-8 of themselves, and the gradient of a gradient is a
# product of six. Where rounding turns a ReLU, as bfloat16 often does, gradients jump by 1 - slope of their own.
TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bf16": 10 * 2 ** -8}


def compared(xp, rng, precision="tf32"):
    """The value and the gradients are NumPy's in float64, but for the roundings."""
    given, slope = critic(rng), 0.9 if precision == "bf16" else 0.1
    with cublas.precision(xp, precision):
        found = [t.data.get() for t in discriminator(xp, slope, *given)]
    expected = [t.data for t in discriminator(np, slope, *(a.astype(np.float64) for a in given))]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCES[precision] * np.abs(b).max())


@pytest.mark.parametrize("precision", conv.BITS)
def test_a_gradient_penalty_runs_on_them_and_takes_no_columns(precision, cupy, rng):
    with emulated_cupy.counted() as c:
        compared(cupy, rng, precision)
    assert set(c.kernels) >= KERNELS and not {"im2col", "im2col4", "col2im"} & set(c.kernels)


@pytest.mark.parametrize("why", ["the switch is off", "float32", "an older card"])
def test_otherwise_there_are_columns(why, cupy, rng, monkeypatch):
    if why == "the switch is off":
        monkeypatch.delenv(conv.SWITCH)
    elif why == "an older card":
        monkeypatch.setattr(conv, "_capable", lambda xp, device: False)
    with emulated_cupy.counted() as c:
        compared(cupy, rng, "float32" if why == "float32" else "tf32")
    assert not KERNELS & set(c.kernels) and {"im2col", "im2col4"} & set(c.kernels)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", conv.BITS)
def test_a_gradient_penalty_runs_on_them_on_a_gpu(precision, real_cupy, rng, monkeypatch):
    monkeypatch.setenv(conv.SWITCH, "1")
    launched, launch = set(), conv.launch
    monkeypatch.setattr(conv, "launch", lambda file, kernel, *rest, **more: (
        launched.add(kernel), launch(file, kernel, *rest, **more)))
    compared(real_cupy, rng, precision)
    assert launched >= KERNELS


@pytest.mark.parametrize("first, second", [*itertools.product((FLOAT32, BF16), repeat=2)])
def test_the_engines_three_take_bfloat16_and_float32_in_any_mixture(first, second, cupy, rng):
    """First layers have images in float32 and results in bfloat16; gradients of images are float32."""
    x, W, gy, b = (rng.standard_normal(shape).astype(np.float32) for shape in (
        (2, 5, 5, 8), (16, 3, 3, 8), (2, 5, 5, 16), (16,)))

    def on_device(a, dtype):
        return cupy.array(a.astype(dtype))
    x_, gy_, W_, b_ = on_device(x, first), on_device(gy, first), cupy.array(W), cupy.array(b)
    y, gx = cupy.empty(gy.shape, second), cupy.empty(x.shape, second)
    with cublas.precision(cupy, "bf16"), emulated_cupy.counted() as c:
        im2col.correlate(x_, W_, 1, 1, 1, y, Epilogue(b_, 0.1))
        im2col.correlate_transposed(gy_, W_, 1, (1, 1), gx)
        gW = im2col.correlate_weights(on_device(x, second), gy_, (3, 3), 1, (1, 1))
    assert c.kernels == dict.fromkeys(KERNELS, 1)
    x, W, gy = (rounding.bf16(a.astype(np.float64)) for a in (x, W, gy))
    for found, expected in ((y, conv.conv(x, W, 1, (1, 1), (5, 5), None, b, 0.1, precision="bf16")),
                            (gx, conv.conv_transposed(gy, W, 1, (1, 1), (5, 5), precision="bf16"))):
        assert found.dtype == second
        rtol = 1e-5 if second == FLOAT32 else 2 ** -8
        np.testing.assert_allclose(found.get().astype(np.float64), expected, rtol, atol=1e-5)
    assert gW.dtype == np.float32
    np.testing.assert_allclose(gW.get(), conv.conv_weights(x, gy, (3, 3), 1, (1, 1), precision="bf16"), atol=1e-4)


def test_bfloat16_is_taken_in_bf16_alone_and_never_as_scale_or_bias(cupy):
    x, half = cupy.zeros((1, 4, 4, 8), np.float32), cupy.array(np.zeros((1, 4, 4, 8), BF16))
    for precision, used in (("tf32", None), ("bf16", "bf16"), ("float32", None)):
        with cublas.precision(cupy, precision):
            assert conv.used((3, 3), None, activations=(x, half, None)) == used
            assert conv.used((3, 3), half, activations=(x,)) is None
            assert conv.used((3, 3), activations=(x, half[..., ::2])) is None


@pytest.mark.parametrize("offset", range(5))
def test_a_result_in_bfloat16_may_lie_anywhere(offset, cupy, rng):
    """What writes four numbers at once sees where `out` begins."""
    x, W = rng.standard_normal((1, 4, 4, 8)).astype(BF16), rng.standard_normal((8, 3, 3, 8)).astype(np.float32)
    expected = conv.conv(x, W, 1, (1, 1), (4, 4), precision="bf16")
    out = cupy.array(np.zeros(offset + expected.size, BF16))[offset:].reshape(expected.shape)
    conv.conv(cupy.array(x), cupy.array(W), 1, (1, 1), (4, 4), out=out, precision="bf16")
    np.testing.assert_allclose(out.get().astype(np.float32), expected.astype(np.float32), rtol=2 ** -7, atol=1e-5)


def test_a_result_has_the_dtype_asked_for_else_that_of_the_first_factor(cupy):
    W = np.ones((8, 3, 3, 8), np.float32)
    for like, dtype in itertools.product((FLOAT32, BF16), (None, FLOAT32, BF16)):
        x = np.full((1, 4, 4, 8), 1 + 2 ** -7, like)
        for function in (conv.conv, conv.conv_transposed):
            host = function(x, W, 1, (1, 1), (4, 4), dtype=dtype, precision="bf16")
            found = function(cupy.array(x), cupy.array(W), 1, (1, 1), (4, 4), dtype=dtype, precision="bf16")
            assert host.dtype == found.dtype == (dtype or like)
            np.testing.assert_array_equal(found.get(), host)
        host, found = (conv.conv_weights(a, a, (3, 3), 1, (1, 1), precision="bf16") for a in (x, cupy.array(x)))
        assert host.dtype == found.dtype == np.float32
        np.testing.assert_array_equal(found.get(), host)


def test_bfloat16_needs_half_the_shared_memory(cupy, monkeypatch):
    asked, launch = [], conv.launch
    monkeypatch.setattr(conv, "launch", lambda *given, **more: (asked.append(given[5]), launch(*given, **more)))
    x, W = np.zeros((1, 4, 4, 8)), np.zeros((8, 3, 3, 8))
    for a, b in itertools.product((FLOAT32, BF16), repeat=2):
        conv.conv(cupy.array(x.astype(a)), cupy.array(W.astype(b)), 1, (1, 1), (4, 4), way=conv.Way(128, 32),
                  precision="bf16")
    assert [size // (conv.STAGES * conv.DEPTH * 32) for size in asked] == [4 * 4 + 4, 4 * 4 + 2, 4 * 2 + 4, 4 * 2 + 2]


def test_no_images_are_no_work(cupy):
    x, W, gy = (cupy.zeros(shape, np.float32) for shape in ((0, 5, 5, 16), (20, 3, 3, 16), (0, 5, 5, 20)))
    assert conv.conv(x, W, 1, (1, 1), (5, 5)).shape == gy.shape
    assert conv.conv_transposed(gy, W, 1, (1, 1), (5, 5)).shape == x.shape
    assert not conv.conv_weights(x, gy, (3, 3), 1, (1, 1)).get().any()


def test_a_way_is_chosen_by_the_sizes_alone(monkeypatch):
    assert conv.chosen("conv", 64 * 32 * 32, 512, 1152) == conv.Way(128, 128)
    assert conv.chosen("conv", 64 * 32 * 32, 64, 576) == conv.Way(128, 64)
    assert conv.chosen("conv_weights", 64, 64, 10 ** 6) == conv.Way(64, 64, conv.BLOCKS)
    assert conv.chosen("conv", 64, 64, 64) == conv.Way()
    assert conv.chosen("conv", 64 * 32 * 32, 3, 576) == conv.Way(128, 32)
    assert conv.chosen("conv_weights", 3, 576, 64 * 32 * 32) == conv.Way(32, 128, conv.BLOCKS // 5)
    for sizes in ((1000, 64, 4608), (4096, 256, 2304), (36864, 64, 65536), (1024, 512, 2304)):
        way = conv.chosen("conv", *sizes)
        assert (way.rows, way.columns) in conv.TILES
        assert conv.BLOCKS / 2 <= way.parts * way.tiles(*sizes[:2]) <= 2 * conv.BLOCKS
    monkeypatch.setitem(conv.CHOSEN, ("conv", 64, 64, 64), conv.Way(128, 64, 2))
    assert conv.chosen("conv", 64, 64, 64) == conv.Way(128, 64, 2)
    assert conv.chosen("conv_weights", 64, 64, 64) == conv.Way()


def test_every_tile_is_compiled_in_tests_and_fits_into_every_card():
    assert conv.TILES == TILES and set(conv.BITS.values()) == set(nvrtc.BITS)
    assert max(conv.STAGES * conv.DEPTH * (rows + columns) * 4 for rows, columns in TILES) <= 99 << 10
    assert {way[:2] for *_, way in CONVOLUTIONS} == set(TILES)


@pytest.mark.parametrize("tile, precision, a, b", [
    *((tile, "tf32", FLOAT32, FLOAT32) for tile in TILES), (TILES[0], "bf16", FLOAT32, FLOAT32),
    (TILES[0], "bf16", BF16, FLOAT32), (TILES[0], "bf16", FLOAT32, BF16),
    *((tile, "bf16", BF16, BF16) for tile in TILES if tile != TILES[3])])
def test_no_warp_meets_a_bank_of_shared_memory_twice(tile, precision, a, b, cupy, rng):
    how, (x, W, gy) = {"way": conv.Way(*tile), "precision": precision}, (rng.standard_normal(shape) for shape in (
        (1, 4, 6, 40), (40, 3, 3, 40), (1, 4, 6, 40)))
    with emulator.profile() as profile:
        conv.conv(cupy.array(x.astype(a)), cupy.array(W.astype(b)), 1, (1, 1), (4, 6), **how)
        conv.conv_transposed(cupy.array(gy.astype(a)), cupy.array(W.astype(b)), 1, (1, 1), (4, 6), **how)
        conv.conv_weights(cupy.array(x.astype(b)), cupy.array(gy.astype(a)), (3, 3), 1, (1, 1), **how)
    source = cuda.source(conv.FILE).splitlines()
    for access, words in (("reads", ("place<T>(", "float2", "ldmatrix")), ("writes", ("wait_group",))):
        lines = [line for line in profile.lines if line.shared and line.access == access
                 and any(word in source[line.line - 1] for word in words)]
        assert {line.kernel for line in lines} == KERNELS
        assert all(line.units == line.fewest for line in lines), list(map(str, lines))


def test_what_the_kernels_cannot_take_is_refused_by_name(cupy):
    x, W = cupy.zeros((1, 4, 4, 8), np.float32), cupy.zeros((8, 3, 3, 8), np.float32)
    with pytest.raises(ValueError, match=r"conv: expected weights of shape \(8, 3, 3, 8\)"):
        conv.launch_conv(x, W[..., :4].copy(), 1, (1, 1), (4, 4))
    with pytest.raises(ValueError, match=r"conv_weights: expected gy of shape \(1, 4, 4, 8\)"):
        conv.launch_conv_weights(x, cupy.zeros((2, 4, 4, 8), np.float32), (3, 3), 1, (1, 1))
    with pytest.raises(ValueError, match="conv: expected a slope of 0 to 1, got 2"):
        conv.launch_conv(x, W, 1, (1, 1), (4, 4), slope=2)
    half = cupy.array(np.zeros(x.shape, BF16))
    with pytest.raises(TypeError, match="conv: expected x in float32, got bfloat16"):
        conv.launch_conv(half, W, 1, (1, 1), (4, 4))
    with pytest.raises(TypeError, match="conv_transposed: expected bias in float32, got bfloat16"):
        conv.launch_conv_transposed(half, W, 1, (1, 1), (4, 4), bias=half.reshape(-1)[:8], precision="bf16")
    for precision, dtype in (("tf32", BF16), ("bf16", np.float64)):
        with pytest.raises(ValueError, match=f"expected a result in float32.*, got {np.dtype(dtype)}"):
            conv.launch_conv(x, W, 1, (1, 1), (4, 4), dtype=dtype, precision=precision)


@pytest.mark.parametrize("unchanged", [True, False])
def test_weights_that_are_rounded_already_are_taken_as_they_are(unchanged, cupy, rng, monkeypatch):
    """The result has the same bytes: so it is looked at what the kernels are compiled for."""
    x, W, gx = (cupy.array(rng.standard_normal(shape).astype(np.float32)) for shape in (
        (1, 4, 4, 8), (8, 3, 3, 8), (1, 4, 4, 8)))
    seen, launch = [], conv.launch
    monkeypatch.setattr(conv, "launch", lambda *given, defines: (
        seen.append(dict(defines)), launch(*given, defines=defines)))
    with cublas.precision(cupy, "bf16"), cublas.unchanged([W] if unchanged else []):
        im2col.correlate(x, W, 1, 1, 1, cupy.empty_like(x))
        im2col.correlate_transposed(x, W, 1, (1, 1), gx)
    assert ["HALF_B" in defines for defines in seen] == [unchanged] * 2
