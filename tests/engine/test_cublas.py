"""Products by cuBLAS itself are NumPy's: for every way in which a matrix may lie in memory. Emulated, and on a card."""

import emulated_cupy
import numpy as np
import pytest

from minigan.engine import cublas, devices, ops, products
from minigan.engine.autograd import Tensor, grad
from minigan.engine.conv_ops import conv2d
from minigan.engine.devices import BF16
from minigan.engine.im2col import correlate, correlate_transposed, correlate_weights
from minigan.engine.loops import conv
from minigan.engine.loops.rounding import bf16, to_bf16
from minigan.engine.loops.windows import im2col, im2col_bf16


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request):
    if request.param == "gpu":
        yield request.getfixturevalue("real_cupy")
    else:
        with emulated_cupy.installed() as module:
            yield module


LAYOUTS = {
    "rows": lambda xp, a: xp.asarray(a),
    "columns": lambda xp, a: xp.asarray(np.ascontiguousarray(a.T)).T,
    "every second": lambda xp, a: xp.asarray(np.repeat(a, 2, 1))[:, ::2],
    "some of the columns": lambda xp, a: xp.asarray(np.concatenate([a, a], 1))[:, :a.shape[1]],
    "backwards": lambda xp, a: xp.asarray(a[::-1].copy())[::-1],
    "repeated": lambda xp, a: xp.broadcast_to(xp.asarray(a[:1]), a.shape),
}


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_products_are_numpys_however_the_matrices_lie(left, right, cupy, rng):
    for m, k, n in ((5, 3, 7), (1, 4, 1), (6, 1, 2), (1, 1, 3)):
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
        a, b = LAYOUTS[left](cupy, a), LAYOUTS[right](cupy, b)
        out = cupy.empty((m, n), np.float32)
        expected = a.get().astype(np.float64) @ b.get()
        for y in (cublas.product(a, b), cublas.product(a, b, out)):
            assert y.shape == (m, n) and y.dtype == np.float32 and y.flags.c_contiguous
            np.testing.assert_allclose(y.get(), expected, rtol=0, atol=1e-5)  # sums of four at most
        assert cublas.product(a, b, out) is out


def test_nothing_times_nothing_is_zero_or_nothing(cupy):
    for m, k, n in ((0, 3, 2), (3, 2, 0), (2, 0, 3)):
        y = cublas.product(cupy.ones((m, k), np.float32), cupy.ones((k, n), np.float32))
        assert y.shape == (m, n) and not y.get().any()


def test_other_dtypes_are_left_to_cupy(cupy, rng):
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    y = cublas.product(cupy.asarray(a), cupy.asarray(b))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.get(), a @ b, rtol=1e-12)


@pytest.mark.parametrize("wrong, says", [
    (lambda xp, x: cublas.product(x, x), "expected matrices"),
    (lambda xp, x: cublas.product(x, x[0]), "expected matrices"),
    (lambda xp, x: cublas.product(x, x.T, xp.empty((2, 3), np.float32)), "expected out"),
    (lambda xp, x: cublas.product(x, x.T, xp.empty((2, 2), np.float64)), "expected out"),
    (lambda xp, x: cublas.product(x, x.T, xp.empty((2, 4), np.float32)[:, ::2]), "expected out"),
], ids=range(5))
def test_what_does_not_fit_is_refused(wrong, says, cupy):
    with pytest.raises(ValueError, match=says):
        wrong(cupy, cupy.ones((2, 3), np.float32))


UNITS = {"float32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-8}  # half of what the last bit of 1 is worth


@pytest.mark.parametrize("name", cublas.PRECISIONS)
def test_factors_are_rounded_as_asked_and_sums_are_float32(name, cupy, rng):
    m, k, n = 64, 512, 48
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    with cublas.precision(cupy, name):
        y = cublas.product(cupy.asarray(a), cupy.asarray(b)).get()
    off = np.abs(y - a.astype(np.float64) @ b)
    unit, size = UNITS[name], np.abs(a).astype(np.float64) @ np.abs(b)
    # each factor is off by at most the unit (by twice that where a card cuts off), and a sum of k in float32 by less
    # than k of its own (Higham 2002, section 3.1)
    assert (off <= (4 * unit + k * UNITS["float32"]) * size).all()
    # and it is no better than that: the square root of a sum of k roundings, for factors of deviation 1
    assert np.sqrt((off**2).mean()) > (0.3 * unit * np.sqrt(k) if name != "float32" else 0)


@pytest.mark.parametrize("name", cublas.PRECISIONS)
def test_what_a_precision_holds_is_multiplied_exactly(name, cupy, rng):
    bits = 8 if name == "bf16" else 10  # sums of 16 products of twice as many bits fit into 24
    a, b = (rng.integers(1 - (1 << bits), 1 << bits, shape).astype(np.float32) for shape in ((7, 16), (16, 5)))
    with cublas.precision(cupy, name):
        y = cublas.product(cupy.asarray(a), cupy.asarray(b)).get()
    assert (y == a.astype(np.int64) @ b.astype(np.int64)).all()


def test_a_factor_may_be_rounded_already(cupy, rng):
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((33, 20), (20, 7)))
    given = [cupy.asarray(a), cupy.asarray(np.ascontiguousarray(b.T)).T]
    rounded = [to_bf16(given[0])[0], to_bf16(given[1].T)[0].T]
    with cublas.precision(cupy, "bf16"):
        expected = cublas.product(*given).get()
        for x, y in ((given[0], rounded[1]), (rounded[0], given[1]), rounded):
            assert cublas.product(x, y).get().tobytes() == expected.tobytes()
    for name in ("float32", "tf32"):
        with cublas.precision(cupy, name), pytest.raises(ValueError, match=f"expected float32 in {name}"):
            cublas.product(given[0], rounded[1])


def test_columns_of_bf16_have_half_the_bytes_and_give_the_same_products(cupy, rng):
    x, W, gy = (cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in (
        (3, 6, 5, 8), (7, 4, 4, 8), (3, 3, 2, 7)))
    y, columns = cupy.empty((3, 3, 2, 7), np.float32), im2col_bf16(x, (4, 4), 2, (1, 1), (3, 2))
    assert columns.dtype.itemsize == 2
    with cublas.precision(cupy, "bf16"):
        correlate(x, W, 2, 1, 1, y)
        gW = correlate_weights(x, gy, (4, 4), 2, (1, 1))
        wide, pixels = im2col(x, (4, 4), 2, (1, 1), (3, 2)), gy.reshape(-1, 7).T
        assert cublas.product(wide, W.reshape(7, -1).T).get().tobytes() == y.get().tobytes()
        assert cublas.product(pixels, wide).get().tobytes() == gW.get().tobytes()


def test_a_product_may_be_rounded_to_bf16_as_well(cupy, rng):
    a, b = (cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in ((33, 20), (20, 7)))
    out = cupy.empty((33, 7), BF16)
    with cublas.precision(cupy, "bf16"):
        assert cublas.product(a, b, out) is out
        assert out.get().tobytes() == to_bf16(cublas.product(a, b))[0].get().tobytes()
    with pytest.raises(ValueError, match="expected float32 in float32"):
        cublas.product(a, b, out)


def test_weights_that_do_not_change_are_rounded_once_emulated(rng):
    with emulated_cupy.installed() as cupy:
        x, V, W = (cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in (
            (4, 9), (5, 9), (5, 3, 3, 1)))
        matrix = W.reshape(5, 9)
        with cublas.precision(cupy, "bf16"):
            before = [cublas.product(a, b).get() for a, b in ((x, V.T), (x, matrix.T), (V, x.T))]
            with emulated_cupy.counted() as counts, cublas.unchanged([V, W]):
                after = [cublas.product(a, b).get() for a, b in ((x, V.T), (x, matrix.T), (V, x.T))]
                assert counts.kernels["to_bf16"] == 1 + 3  # of both weights, and of x each time
                cublas.product(x, V[:2].T)  # another array, though it begins where V does
                assert counts.kernels["to_bf16"] == 1 + 3 + 1
            V += 1  # now they may
            assert (cublas.product(x, V.T).get() != before[0]).any()
        assert [a.tobytes() for a in after] == [a.tobytes() for a in before]
        for name in ("float32", "tf32"):
            with emulated_cupy.counted() as counts, cublas.precision(cupy, name), cublas.unchanged([V, W]):
                cublas.product(x, V.T)
            assert not counts.kernels
    with cublas.unchanged([np.ones((2, 2), np.float32)]), cublas.unchanged([]):
        pass


def test_weights_that_do_not_lie_in_c_order_are_multiplied_as_they_are_emulated(rng):
    a, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (3, 5)))
    with emulated_cupy.installed() as cupy, cublas.precision(cupy, "bf16"):
        for W in (LAYOUTS["columns"](cupy, w), LAYOUTS["every second"](cupy, w)):
            with cublas.unchanged([W, cupy.asarray(a)]):
                np.testing.assert_allclose(cublas.product(cupy.asarray(a), W).get(), bf16(a) @ bf16(w), rtol=1e-6)


def test_the_engine_takes_columns_of_bf16_emulated(rng):
    with emulated_cupy.installed() as cupy, emulated_cupy.counted() as counts:
        x, W = (cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in ((1, 4, 4, 8), (4, 3, 3, 8)))
        with cublas.precision(cupy, "bf16"):
            correlate(x, W, 1, 1, 1, y := cupy.empty((1, 4, 4, 4), np.float32))
            assert dict(counts.kernels) == {"im2col4_bf16": 1, "to_bf16": 1}  # the latter of W
            correlate_transposed(y, W, 1, (1, 1), x)
    assert dict(counts.kernels) == {"im2col4_bf16": 1, "to_bf16": 2, "col2im_bf16": 1}


def test_a_precision_ends_where_it_is_left(cupy, rng):
    a = cupy.asarray(rng.standard_normal((32, 32)).astype(np.float32))
    exact = cublas.product(a, a).get()
    with pytest.raises(ZeroDivisionError), cublas.precision(cupy, "tf32"):
        with cublas.precision(cupy, "float32"):
            assert (cublas.product(a, a).get() == exact).all()
        assert (cublas.product(a, a).get() != exact).any()
        raise ZeroDivisionError
    assert (cublas.product(a, a).get() == exact).all()


def test_with_numpy_nothing_is_rounded(rng):
    a = rng.standard_normal((8, 8)).astype(np.float32)
    with cublas.precision(np, "tf32"):
        assert (products.matmul(a, a) == a @ a).all()


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("name", cublas.PRECISIONS)
def test_a_gradient_penalty_is_near_float64s_in_every_precision(name, columns, cupy, rng, monkeypatch):
    """Gradients of the length of a gradient: second derivatives, of a smooth network, beside float64's on the CPU."""
    monkeypatch.setenv(conv.SWITCH, "0" if columns else "1")
    x, W, v = (scale * rng.standard_normal(shape) for scale, shape in (
        (0.5, (4, 8, 8, 6)), (0.5, (12, 3, 3, 6)), (0.05, (4 * 4 * 12, 1))))  # so small that the last tanh is not flat

    def gradients(xp, dtype):
        inputs = [Tensor(xp.asarray(a.astype(dtype)), requires_grad=True) for a in (x, W, v)]
        h = ops.tanh(conv2d(inputs[0], inputs[1], None, 2, 1))
        gx, = grad(ops.sum(ops.tanh(h.reshape(4, -1) @ inputs[2])), inputs[:1], create_graph=True)
        return [devices.to_host(g.data) for g in grad(ops.sum(gx * gx), inputs)]
    expected = gradients(np, np.float64)
    with cublas.precision(cupy, name):
        found = gradients(cupy, np.float32)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert off < 8 * UNITS[name] + 1e-5  # sums in float32 and CUDA's tanh round, too
        assert off > UNITS[name] / 2 or name == "float32"  # it was rounded


@pytest.mark.parametrize("capability, usual", [("70", "float32"), ("75", "float32"), ("80", "tf32"), ("120", "tf32")])
def test_the_usual_precision_is_tf32_where_the_card_has_it(capability, usual, monkeypatch):
    with emulated_cupy.installed() as cupy:
        monkeypatch.setattr(type(cupy.cuda.Device()), "compute_capability", capability)
        assert cublas.usual_precision(cupy) == usual
    assert cublas.usual_precision(np) == "float32"


def test_a_failure_is_said_with_cublas_word(cupy):
    with pytest.raises(RuntimeError, match="cublasCreate: CUBLAS_STATUS_ALLOC_FAILED"):
        cublas._checked("cublasCreate", 3)
