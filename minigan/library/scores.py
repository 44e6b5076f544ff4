"""Scores of any two inputs: minigan.fid, inception_score, kid, precision_recall, and score for all of a protocol."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import ArrayLike

from minigan.errors import WrongUse
from minigan.library import options as checked
from minigan.library import scoring
from minigan.library.options import in_python
from minigan.library.runs import Run
from minigan.library.scoring import Weights
from minigan.metrics.protocols import OF_FUNCTION, PROTOCOLS, needs_real
from minigan.metrics.stored_scores import Score
from minigan.training.scoring.given import Given

Input: TypeAlias = ArrayLike | os.PathLike[str] | Run  # what may be scored; a str is a path or a data set's name
Range: TypeAlias = tuple[float, float] | None
NOT_HERE = ("data", "stats")  # options that say what the second argument says


class Mean(NamedTuple):
    """A mean, and the standard deviation (ddof 0) of what it is taken over."""

    mean: float
    std: float


class PrecisionRecall(NamedTuple):
    """Shares, from 0 to 1."""

    precision: float
    recall: float


def fid(fakes: Input, real: Input | None = None, *, protocol: str | None = None, count: int | None = None,
        weights: Weights = None, range: Range = None, quiet: bool = False, **options: Any) -> float:
    """Frechet Inception distance of two sets of images (Heusel et al. 2017): from 0 on, the smaller the more alike.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), of means and covariances of the images' features, so in their unit
    squared. It is the same in both orders, and too high for few images: compare it at the same numbers only.

    fakes and real are each one of
      - an array (N, H, W) or (N, H, W, C), C 1 or 3: uint8; or floats, and range=(0, 1) or range=(-1, 1) says their
        black and white (whole numbers beyond it are bytes all the same)
      - a Run, or a run's folder: images that its generator draws; real=None are those that it was trained on
      - a folder, a zip archive or an .npz of images, or an .h5 that `minigan pack` wrote, as a str or a Path
      - the name of a data set: "cifar10", "cifar10:test"
      - statistics of features: an .npz with mu and sigma, or a pair (mu, sigma) of arrays.

    protocol: who measures what and how, as for `minigan score`, whose help lists them. None: a run's own if it has one;
    "classifier" where Inception has seen nothing like the data, such as digits; else "torch-fidelity", on all images.
    count: at most so many images of each kind.
    weights: a file of Inception's weights, or of a classifier; None: from the cache folder (Inception's are downloaded,
    96 MB). Or a function of images, uint8 (n, H, W, C) -> features (n, d), instead of a network: it is called with at
    most 50 of them, and what it gives is comparable with scores by the same function only.
    options: more of `minigan score`: data_root, split, size, fit, seed, best, device and so on.
    quiet: no progress, and no remarks on what the number can be compared with.

    WrongUse (a ValueError) says in one sentence what was given and what to write, FailedWork (a RuntimeError) what
    could not be done.

    >>> import numpy as np, minigan
    >>> rng = np.random.default_rng(0)
    >>> fakes = rng.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
    >>> real = fakes[::-1] / 510  # half as bright
    >>> def colours(images):  # in the place of Inception: the means of red, green and blue
    ...     return images.mean((1, 2))
    >>> distance = minigan.fid(fakes, real, range=(0, 1), weights=colours, quiet=True)
    >>> round(distance / 64**2, 1)  # three means are 64 apart
    3.0
    >>> mu, sigma = colours(fakes).mean(0), np.cov(colours(fakes).T)
    >>> minigan.fid((mu, sigma), fakes, weights=colours, quiet=True) < 1e-6
    True
    >>> minigan.fid(fakes, real, weights=colours)
    Traceback (most recent call last):
    minigan.errors.WrongUse: real: float64 numbers from 0 to 0.5; say which numbers are black and white: range=(0, 1)
    """
    return _only("fid", ("FID",), fakes, real, range, weights, protocol, count, quiet, options)[0].value


def inception_score(fakes: Input, *, protocol: str | None = None, count: int | None = None, weights: Weights = None,
                    range: Range = None, quiet: bool = False, **options: Any) -> Mean:
    """Inception score of images (Salimans et al. 2016): from 1 to the number of classes, more is better.

    exp E_x KL(p(y|x) || p(y)), in no unit: mean and standard deviation over splits of the images, 10 in most protocols.
    It rises with the number of images up to some thousands.

    Arguments are those of minigan.fid; but there are no real images, and a function as `weights` gives logits
    (n, classes), or logarithms of probabilities.

    >>> import numpy as np, minigan
    >>> grey = (np.arange(2000) % 4 * 80).astype(np.uint8)  # four kinds of images, as many of each
    >>> images = np.broadcast_to(grey[:, None, None], (2000, 8, 8))
    >>> def logits(images):  # sure of each
    ...     return 100.0 * (images.mean((1, 2)) == [0, 80, 160, 240])
    >>> score = minigan.inception_score(images, weights=logits, quiet=True)
    >>> round(score.mean, 1)
    4.0
    """
    found = _only("inception_score", ("IS",), fakes, None, range, weights, protocol, count, quiet, options)[0]
    return Mean(found.value, found.spread or 0.0)


def kid(fakes: Input, real: Input | None = None, *, protocol: str | None = None, count: int | None = None,
        weights: Weights = None, range: Range = None, quiet: bool = False, **options: Any) -> Mean:
    """Kernel Inception distance of two sets of images (Binkowski et al. 2018): around 0 for images of one kind.

    The unbiased estimate of the squared maximum mean discrepancy under the kernel (<x, y> / d + 1)^3 of features x, y
    (d,), so it may be below 0, and does not depend on the number of images: mean and standard deviation over subsets,
    100 of 1,000 images in most protocols; count=N makes them N / 2.

    Arguments are those of minigan.fid; statistics will not do.

    >>> import numpy as np, minigan
    >>> rng = np.random.default_rng(0)
    >>> dark, light, more = (rng.integers(low, low + 99, (200, 8, 8), dtype=np.uint8) for low in (0, 99, 99))
    >>> def brightness(images):
    ...     return images.mean((1, 2)) / 255
    >>> unlike = minigan.kid(dark, light, count=200, weights=brightness, quiet=True)
    >>> alike = minigan.kid(more, light, count=200, weights=brightness, quiet=True)
    >>> unlike.mean > 0.1, abs(alike.mean) < 0.001
    (True, True)
    """
    found = _only("kid", ("KID",), fakes, real, range, weights, protocol, count, quiet, options)[0]
    return Mean(found.value, found.spread or 0.0)


def precision_recall(fakes: Input, real: Input | None = None, *, protocol: str | None = None,
                     count: int | None = None, weights: Weights = None, range: Range = None, quiet: bool = False,
                     **options: Any) -> PrecisionRecall:
    """Precision and recall of fakes (Kynkaanniemi et al. 2019), shares from 0 to 1, more is better.

    Precision: of the fakes, how many lie in a ball around a real image that reaches to its third neighbour; recall: of
    the real images, how many lie in such a ball around a fake. Here the order of the arguments matters.

    Arguments are those of minigan.fid; statistics will not do. protocol=None is "neighbours" where Inception is fit,
    which takes 10,000 images of each kind: count=N takes fewer.

    >>> import numpy as np, minigan
    >>> rng = np.random.default_rng(0)
    >>> real = rng.integers(0, 256, (300, 1, 1), dtype=np.uint8).repeat(8, 1).repeat(8, 2)  # of every brightness
    >>> fakes = real[real[:, 0, 0] < 128]  # the dark ones
    >>> minigan.precision_recall(fakes, real, weights=lambda images: images.mean((1, 2)), quiet=True).precision
    1.0
    """
    names = ("precision", "recall")
    found = _only("precision_recall", names, fakes, real, range, weights, protocol, count, quiet, options)
    return PrecisionRecall(found[0].value, found[1].value)


def score(fakes: Input, real: Input | None = None, *, protocol: str | None = None, count: int | None = None,
          weights: Weights = None, range: Range = None, quiet: bool = False, **options: Any) -> dict[str, Score]:
    """All that `minigan score` says of images: a dict of the names of scores, each with what it depends on.

    A Score has value, spread, protocol, n_real, n_fake, network, cautions and more. Arguments are those of minigan.fid;
    protocol=None is "classifier", or "sn-gan" where Inception is fit. Of a run, what its discriminator says is among
    the scores, and all are added to its scores.json, unless a function made the features.

    >>> import numpy as np, minigan
    >>> rng = np.random.default_rng(0)
    >>> fakes, real = (rng.integers(0, top, (200, 32, 32), dtype=np.uint8) for top in (200, 256))
    >>> scores = minigan.score(fakes, real, count=200, weights=lambda images: images.mean((1, 2)), quiet=True)
    >>> list(scores)
    ['FID', 'KID', 'precision', 'recall', 'density', 'coverage', 'MS-SSIM']
    >>> scores["FID"].n_real, scores["FID"].protocol
    (200, 'function at 200 pictures')
    """
    found = _measured("score", (), fakes, real, range, weights, protocol, count, quiet, options)
    return {one.name: one for one in found}


def _only(function: str, names: tuple[str, ...], *given: Any) -> list[Score]:
    """The scores of these names, in their order."""
    found = {one.name: one for one in _measured(function, names, *given)}
    return [found[name] for name in names]


def _measured(function: str, only: tuple[str, ...], fakes: Input, real: Input | None, range: Range, weights: Weights,
              protocol: str | None, count: int | None, quiet: bool, options: dict[str, Any]) -> list[Score]:
    """Scores of what the function was given. only: its scores; none for all of the protocol."""
    file, own = scoring.file_or_function(weights)
    asked = checked.of_scoring(options | {"protocol": protocol, "count": count, "quiet": quiet, "weights": file},
                               function, NOT_HERE)
    with in_python():
        a = _side(fakes, "fakes", range)
        b = None if real is None else _side(real, "real", range)
    if range is not None and a.array is None and (b is None or b.array is None):
        raise WrongUse("range: says what the numbers of an array mean, and none is given; leave it out")
    if b is None and a.run is None and needs_real(only or PROTOCOLS.get(str(protocol), OF_FUNCTION).scores):
        raise WrongUse(f"{function}: with which real images shall these be compared? Write minigan.{function}(fakes, "
                       "real)")
    return scoring.measured(a, asked, b, own, only, store=not only)


def _side(given: Input, name: str, range: Range) -> Given:
    if isinstance(given, Run):
        return Given(str(given.folder), run=given.folder, own=given.own)
    return scoring.side(given, name, range)
