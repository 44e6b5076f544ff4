"""Features on the workers of a Dask cluster: blocks of images go there, features come back, in their order.

Each block is computed as it is in one process, so its features have the same bytes, on workers with the same BLAS and
processor. They are stored here, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigan.engine import thread_pool
from minigan.metrics.features import Extractor, SharedOut, computed
from minigan.parallel.dask_workers import Workers


def on_workers(extractor: Extractor, workers: Workers) -> SharedOut:
    """The extractor, which every worker gets once."""
    there = workers.spread(extractor.extractor if isinstance(extractor, SharedOut) else extractor)

    def begin(images: np.ndarray) -> Callable[[], np.ndarray]:
        wait: Callable[[], np.ndarray] = workers.submit(features_there, there, images, workers.each).result
        return wait
    return SharedOut(extractor, begin, 2 * len(workers))


def features_there(extractor: Any, images: np.ndarray, share: int) -> np.ndarray:
    """A worker's task. share: the machine's cores are divided by it."""
    thread_pool.set_threads(max(1, thread_pool.cores() // share))
    return computed(extractor, images)
