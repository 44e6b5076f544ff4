"""A scoring that is called from Python: what is given as one side of it, and how it goes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

from minigan.errors import WrongUse
from minigan.library import arrays
from minigan.library.options import as_python, in_python, path_of, sayer
from minigan.metrics import frechet
from minigan.metrics.features import Function
from minigan.metrics.frechet import Statistics
from minigan.metrics.stored_scores import Score
from minigan.training.scoring import keeping
from minigan.training.scoring.given import ANYTHING, Given, recognized
from minigan.training.scoring.options import Asked
from minigan.training.scoring.score import score

Weights: TypeAlias = str | os.PathLike[str] | Callable[[np.ndarray], Any] | None


def side(given: Any, name: str, range: tuple[float, float] | None = None) -> Given:
    """One side of a comparison: a text as on the command line; a path, which is no data set's name; (mu, sigma); or an
    array of images, as arrays.pixels takes it.

    name: what it is called in messages.  range: black and white of an array; whole numbers beyond it are bytes.
    """
    if isinstance(given, str):
        return recognized(given)
    if isinstance(given, os.PathLike):
        return recognized(os.path.join(".", path_of(given)))
    known = _statistics(given)
    if known is not None:
        if why := frechet.complaint(known):
            raise WrongUse(f"{name}: no statistics of features ({why}); expected (mu, sigma), a mean (d,) and a "
                           "covariance (d, d)")
        return Given(name, statistics=known)
    arrays.check_given(given, name, f"an array of images, statistics (mu, sigma), {ANYTHING}")
    if range is not None:
        black, white = arrays.bounds(range)
        with contextlib.suppress(Exception):  # of what is no array, pixels tells
            given = np.asarray(given)
        if isinstance(given, np.ndarray) and given.dtype.kind in "ui" and given.size and not (
                black <= given.min() <= given.max() <= white):
            range = None
    return Given(name, array=arrays.pixels(given, range, name))


def file_or_function(weights: Weights) -> tuple[str | os.PathLike[str] | None, Function | None]:
    """What a network's place is given: (file, None), or (None, function), or none of both. WrongUse for all else."""
    if callable(weights):
        return None, weights
    if isinstance(weights, (str, os.PathLike, NoneType)):
        return weights, None
    raise WrongUse(f"weights: expected a file, or a function of images, got {' '.join(f'{weights!r:.60}'.split())}")


def measured(a: Given, asked: Asked, b: Given | None = None, function: Function | None = None,
             only: Collection[str] = (), store: bool = False) -> list[Score]:
    """Scores of `a`, as training/scoring/score.py measures them, with remarks and errors in Python's words.

    store: keep them in the run's scores.json, if `a` is a run, and nearest.png beside it; but not those of a function,
    of which no file could tell what it does.
    """
    say = sayer(asked.quiet)
    out = a.run / "scores.json" if store and a.run is not None and function is None else None
    with in_python():
        for one in (a, b):
            if one is not None and one.remark:
                say(as_python(one.remark))
        keeping.check_files(out, asked)
        found = score(a, asked, b, function, only)
        if out is not None:
            keeping.keep(found, out, asked.best)
    for remark in found.remarks:
        say(as_python(remark))
    return found.scores


def _statistics(given: Any) -> Statistics | None:
    """Statistics, or a pair (mu, sigma) of arrays with one and two axes; None for anything else."""
    if isinstance(given, Statistics):
        return given
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return None
    try:
        mean, covariance = np.asarray(given[0], np.float64), np.asarray(given[1], np.float64)
    except (TypeError, ValueError, RuntimeError):  # no numbers, or rows of different lengths
        return None
    return Statistics(mean, covariance) if (mean.ndim, covariance.ndim) == (1, 2) else None
