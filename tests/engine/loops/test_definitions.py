"""Every loop with a kernel: its definition against a twin, and which arrays it hands over to the kernel.

The kernels against the same twins are in tests/kernels/test_kernels.py.
"""

import emulated_cupy
import numpy as np
import pytest
from kernel_cases import CASES, in_dtype, leaves, mapped

from minigan.engine import cuda
from minigan.engine.devices import BF16

NAMES = [case.name for case in CASES]


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy:
        yield cupy


def results(case, function, arguments):
    """What the function returns, or leaves in the arrays that it changes."""
    returned = function(*arguments)
    return leaves([arguments[i] for i in case.in_place] if returned is None else returned)


def compare(found, expected, rtol, dtype):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if a is None or b is None:
            assert a is b
            continue
        assert a.dtype in (b.dtype if b.dtype == BF16 else dtype, dtype) and a.shape == np.shape(b)
        if b.dtype == BF16:  # a is rounded to it, or was never
            a, b, rtol = a.astype(np.float64), b.astype(np.float64), 2**-8
        scale = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale, equal_nan=True)


def has_bits(arguments):
    """Whether some are bfloat16, or ask for it, which goes with float32 alone."""
    return any(getattr(a, "dtype", a) == BF16 for a in leaves(arguments))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", [case for case in CASES if not case.on_gpu], ids=lambda case: case.name)
def test_a_definition_computes_what_its_twin_computes(case, dtype, rng):
    for arguments in case.inputs(rng):
        if dtype == np.float64 and has_bits(arguments):
            continue
        given, exact = (mapped(in_dtype(kind), arguments) for kind in (dtype, np.float64))
        rtol = 1e-12 if dtype == np.float64 else max(case.rtol, 1e-5)  # NumPy adds up rows one after the other
        compare(results(case, case.definition, given), results(case, case.twin, exact), rtol, dtype)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_float32_on_a_gpu_is_the_launchers_and_float64_has_no_kernel(case, cupy, rng):
    for arguments in case.inputs(rng):
        if case.name != "power_iteration":  # which has two kernels: one to be read, and for use that of all layers
            both = []
            for function in (case.definition, case.launcher):
                given = mapped(cupy.array, arguments)
                with emulated_cupy.counted() as c:
                    found = results(case, function, given)
                both.append((c.kernels, [a if a is None else a.get().tobytes() for a in found]))
            assert both[0] == both[1]
        if has_bits(arguments):
            continue
        given = mapped(lambda a: cupy.array(in_dtype(np.float64)(a)), arguments)
        with emulated_cupy.counted() as c:
            found = [a if a is None else a.get() for a in results(case, case.definition, given)]
        assert not c.kernels
        host = mapped(in_dtype(np.float64), arguments)
        compare(found, results(case, case.definition, host), 1e-12, np.float64)


def test_kernels_take_float32_of_cupys_in_c_order_and_nothing_else(cupy):
    x = cupy.ones((2, 3), cupy.float32)
    assert cuda.kernels_take(x) and cuda.kernels_take(x, None, x[1:]) and cuda.kernels_take(None, x[:, 1:].copy())
    for other in (x[:, 1:], x.T, x.astype(cupy.float64), x.astype(cupy.int32), np.ones((2, 3), np.float64)):
        assert not cuda.kernels_take(other) and not cuda.kernels_take(x, other)
    assert not cuda.kernels_take(np.ones(3, np.float32)) and not cuda.kernels_take(None) and not cuda.kernels_take()


def test_what_is_compact_is_not_copied(cupy):
    x, host = cupy.ones((2, 3), cupy.float32), np.ones((2, 3)).T
    assert cuda.compact(host) is host and cuda.compact(x).data.ptr == x.data.ptr
    assert cuda.compact(x.T).flags.c_contiguous
