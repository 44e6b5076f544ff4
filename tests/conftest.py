"""What every test may ask for: a generator of its own, and in CI the library it is compared with."""

import importlib.util
import os
import zlib

import numpy as np
import pytest


def pytest_configure(config):
    """Where CI is set, a missing torch is a failure: comparisons that were skipped would look passed."""
    if os.environ.get("CI") and importlib.util.find_spec("torch") is None:
        raise pytest.UsageError("CI is set and torch is missing: install it, or unset CI to skip comparisons")


@pytest.fixture
def rng(request) -> np.random.Generator:
    """Random numbers that depend on the test's name alone: not on the order or on which others run."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))
