"""What every test may ask for: a generator of its own, and in CI the library it is compared with."""

import importlib.util
import os
import zlib

import golden_inception
import numpy as np
import pytest
from gpu_here import no_gpu

from minigan.engine import devices, thread_pool
from minigan.metrics import inception_table

SKIPPED = pytest.StashKey[str]()


def pytest_configure(config):
    """Where CI is set, what tests compare with and run on has to be there: those that were skipped would look passed.
    """
    missing = [name for name in ("torch", "mpi4py", "distributed") if importlib.util.find_spec(name) is None]
    if os.environ.get("CI") and missing:
        raise pytest.UsageError(f"CI is set and {' and '.join(missing)} missing: install it, or unset CI to skip tests")


def pytest_collection_modifyitems(config, items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = marked and no_gpu()
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {reason}"))
        config.stash[SKIPPED] = f"GPU: {len(marked)} TESTS ARE SKIPPED, the kernels are only emulated: {reason}"
    elif marked:
        config.stash[SKIPPED] = f"GPU: {len(marked)} tests run on {devices.cuda_facts()['card']}"


def pytest_report_collectionfinish(config):
    return config.stash.get(SKIPPED, None)


@pytest.fixture
def real_cupy():
    """CuPy with a card behind it, for tests marked gpu."""
    return devices.cuda_module()


@pytest.fixture
def rng(request) -> np.random.Generator:
    """Random numbers that depend on the test's name alone: not on the order or on which others run."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def each_thread_count():
    """Calls a function with 1, 2 and 3 worker threads and gives its results; the count is as before afterwards."""
    before = thread_pool.thread_count()

    def results(function):
        found = []
        for count in (1, 2, 3):
            thread_pool.set_threads(count)
            found.append(function())
        return found
    yield results
    thread_pool.set_threads(before)


@pytest.fixture
def narrow(monkeypatch):
    """The name of a kind of Inception with 1/32 of the channels, for images of 107 x 107 pixels, so that what does not
    depend on size is tested in a moment.
    """
    kind = golden_inception.slim(inception_table.KINDS["inception-2015-12-05"], 7)
    monkeypatch.setitem(inception_table.KINDS, "narrow", kind)
    return "narrow"
