"""Runs that differ in the seed alone: their mean, and how far they spread."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minigan.training.run_record import Points, Run


def over_seeds(runs: list[Run], read: Callable[[Run], Points], error: bool = False) \
        -> tuple[list[int], np.ndarray, np.ndarray | None]:
    """Iterations that all have, mean, and standard deviation (or error of the mean), which is None for one run."""
    courses = [read(run) for run in runs]
    common = sorted(set.intersection(*map(set, courses)))
    values = np.array([[course[i] for i in common] for course in courses]).reshape(len(runs), len(common))
    return common, values.mean(0), spread(values, error) if len(runs) > 1 else None


def of_seeds(runs: list[Run], read: Callable[[Run], float], error: bool = False) -> tuple[float, float]:
    """Mean and spread over the runs that have a number, 0 for one run; nan for none."""
    values = np.array([value for value in map(read, runs) if math.isfinite(value)])
    if not len(values):
        return math.nan, 0.0
    return float(values.mean()), float(spread(values, error)) if len(values) > 1 else 0.0


def spread(values: np.ndarray, error: bool = False) -> np.ndarray:
    """The standard deviation over the first axis, of at least two values; error: that of their mean."""
    sd = values.std(0, ddof=1)
    return sd / math.sqrt(len(values)) if error else sd
