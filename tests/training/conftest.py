"""Small images, and threads as they were before."""

import numpy as np
import pytest

from minigan.engine import thread_pool


@pytest.fixture(autouse=True)
def threads():
    """The worker threads are this process's: put back what a run chose."""
    yield
    thread_pool.set_threads(None)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, (24, 16, 16, 3), np.uint8)
