"""How far fakes are from real ones, by 8 x 8 thumbnails: a measure for sweeps, and no score.

It tells collapsed runs from others within milliseconds and with no other network. It is not FID: it sees colours and
coarse shapes only, and its numbers compare nothing but runs on the same data at the same number of images.
"""

from __future__ import annotations

import numpy as np

from minigan.metrics import frechet

SIDE = 8
REAL, FAKE = 5000, 512  # images compared
PAIRED = 64  # of them, whose distances from each other are taken: 2016 pairs


def thumbnails(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, C) -> float64 (N, 8 * 8 * C) in [0, 1]: means over an 8 x 8 grid of boxes."""
    N, H, W, C = images.shape
    x = images.astype(np.float64) / 255
    for axis, length in ((1, H), (2, W)):
        edges = np.arange(SIDE) * length // SIDE
        sizes = np.diff(np.append(edges, length))
        x = np.add.reduceat(x, edges, axis=axis) / sizes.reshape(-1, *[1] * (3 - axis))
    return x.reshape(N, -1)


def distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Frechet distance of two sets of thumbnails (n, d), each taken for a normal distribution."""
    return frechet.distance(real, fake)


def diversity(real: np.ndarray, fake: np.ndarray) -> float | None:
    """The mean distance of two of the fakes in that of two of the real ones, by thumbnails; about 1 is good.

    real, fake: uint8 (N, H, W, C). None if there are no two, or all real ones are equal.
    """
    return spread_ratio(thumbnails(real), thumbnails(fake))


def spread_ratio(real: np.ndarray, fake: np.ndarray) -> float | None:
    """`diversity` of thumbnails (n, d)."""
    def mean_distance(x: np.ndarray) -> float:
        i, j = np.triu_indices(len(x), 1)
        return float(np.linalg.norm(x[i] - x[j], axis=1).mean()) if len(i) else 0.0
    between_real = mean_distance(real)
    return mean_distance(fake) / between_real if between_real else None
