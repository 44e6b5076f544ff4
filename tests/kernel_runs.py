"""Running a case of tests/kernel_cases.py and comparing it with its twin; running it with another kernel."""

import contextlib
import re

import numpy as np
from kernel_cases import in_dtype, leaves, mapped

from minigan.engine import cuda
from minigan.engine.devices import BF16

ORDERS = [("ascending", 0), ("descending", 0), *(("random", seed) for seed in range(20))]


def compare(case, found, expected):
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if b is None or a is None:
            assert a is b
            continue
        dtype = b.dtype if b.dtype in (np.uint16, BF16) else np.float32
        assert (a.dtype, a.shape) == (dtype, np.shape(b)), f"result {i}: {a.dtype} {a.shape}, {np.shape(b)}"
        if dtype == BF16:
            a, b = a.astype(np.float64), b.astype(np.float64)
            same = (a == b) | np.isnan(a)
            assert same.sum() >= 0.9 * a.size, f"{case.name}, result {i}: rounded otherwise than to nearest"
            np.testing.assert_allclose(a, b, rtol=2**-7, atol=case.rtol, equal_nan=True,
                                       err_msg=f"{case.name}, result {i}")  # a digit apart: nearly between two
            continue
        finite = np.isfinite(b)
        atol = case.rtol * max(np.abs(b[finite]).max(initial=0), 1e-30)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, equal_nan=True, err_msg=f"{case.name}, result {i}")


def run(cupy, case, arguments, offset=0):
    """Launch with these float32 arguments and compare with the twin in float64; the results, on the host.

    offset: how many numbers stand before each array in the one that it is a view of.
    """
    given = mapped(lambda a: placed(cupy, a, offset), arguments)
    result = mapped(lambda a: a.get(), case.launcher(*given))
    exact = mapped(in_dtype(np.float64), arguments)
    expected = case.twin(*exact)
    compare(case, result, expected)
    for i, (before, after, twins) in enumerate(zip(arguments, given, exact, strict=True)):
        after = mapped(lambda a: a.get(), after)
        if i not in case.in_place:
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(leaves(before), leaves(after), strict=True)
                       if isinstance(a, np.ndarray)), f"{case.name} has changed its argument {i}"
        else:
            compare(case, after, twins.astype(BF16) if getattr(before, "dtype", None) == BF16 else twins)
    return result, [mapped(lambda a: a.get(), given[i]) for i in case.in_place]


def placed(cupy, a, offset):
    """The array on the device, a view that begins `offset` numbers behind the beginning of another."""
    whole = np.zeros(offset + a.size, a.dtype)
    whole[offset:] = a.reshape(-1)
    return cupy.array(whole)[offset:].reshape(a.shape) if offset else cupy.array(a)


# ---- other kernels -------------------------------------------------------------------------------------------------

def functions(file):
    """Name of a function of kernels/<file>.cu -> its text."""
    return {found[1]: found[0] for found in re.finditer(
        r'^(?:extern "C" )?__(?:global|device)__ [\w ]+?(\w+)\(.*?^\}\n', cuda.source(f"{file}.cu"), re.M | re.S)}


@contextlib.contextmanager
def changed(file, text):
    """`text` in the place of kernels/<file>.cu, and all others as they are."""
    source = cuda.source
    caches = (cuda._modules, cuda._functions, cuda._tickets)

    def clear():
        for cache in caches:
            cache.clear()
    clear()
    cuda.source = lambda name: text if name == f"{file}.cu" else source(name)
    try:
        yield
    finally:
        cuda.source = source
        clear()
