"""Products by cuBLAS itself are NumPy's: for every way in which a matrix may lie in memory. Emulated, and on a card."""

import emulated_cupy
import numpy as np
import pytest

from minigan.engine import cublas


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


def test_tf32_is_taken_if_cupy_would_take_it(monkeypatch):
    class Library:
        def __getattr__(self, name):
            return lambda *given: seen.append((name, given)) and None
    with emulated_cupy.installed() as cupy:
        for setting, compute in (("1", cublas.COMPUTE_TF32), ("0", cublas.COMPUTE_FLOAT32)):
            monkeypatch.setenv("CUPY_TF32", setting)
            seen = []
            x = cupy.ones((2, 2), np.float32)
            cublas.Handle(cupy, Library()).multiply(x, x, x)
            assert seen[-1][0] == "cublasGemmEx" and seen[-1][1][-2:] == (compute, cublas.DEFAULT_WAY)


def test_a_failure_is_said_with_cublas_word(cupy):
    with pytest.raises(RuntimeError, match="cublasCreate: CUBLAS_STATUS_ALLOC_FAILED"):
        cublas._checked("cublasCreate", 3)
