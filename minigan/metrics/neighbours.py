"""Nearest neighbours in feature or pixel space, and the scores made of them. Distances are Euclidean, in float64.

All pairs are gone through in tiles of 1024 x 1024, so memory does not grow with their number. Squared distances come
from |x|^2 - 2 x y + |y|^2, which is exact for uint8 pixels; other features are centred first, and distances that cannot
be told from 0 in float64 count as 0.
"""

from __future__ import annotations

import numpy as np

from minigan.engine import thread_pool
from minigan.errors import WrongUse

TILE = 1024
BORDER = 1 + 1e-9  # squared distances that differ by less are equal: rounding is not to say what lies in a ball


def nearest(queries: np.ndarray, keys: np.ndarray, k: int = 1, *, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest keys of each query: indices (N, k) and distances (N, k), nearest first, ties by index.

    queries (N, ...), keys (M, ...): flattened rows of one length.  same: both are one array, and nothing is its own
    neighbour.
    """
    queries, keys, centre = _rows(queries, keys)
    if not 1 <= k <= len(keys) - same:
        raise WrongUse(f"{k} nearest neighbours among {len(keys)} images{' but itself' * same}: too few images")

    def of_block(block: slice) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(block.stop - block.start)
        best, index = np.full((len(rows), k), np.inf), np.zeros((len(rows), k), np.int64)
        for at in thread_pool.blocks(len(keys), TILE):
            d = _squared(queries[block], keys[at], centre)
            if same:
                own = np.arange(max(block.start, at.start), min(block.stop, at.stop))
                d[own - block.start, own - at.start] = np.inf
            for _ in range(min(k, d.shape[1])):  # the nearest of the tile, one after the other: the first of equals
                column = d.argmin(1)
                best = np.concatenate([best, d[rows, column][:, None]], 1)
                index = np.concatenate([index, at.start + column[:, None]], 1)
                d[rows, column] = np.inf
            order = np.argsort(best, 1, kind="stable")[:, :k]
            best, index = np.take_along_axis(best, order, 1), np.take_along_axis(index, order, 1)
        return index, np.sqrt(best)

    parts = thread_pool.parallel(of_block, thread_pool.blocks(len(queries), TILE))
    return np.concatenate([i for i, _ in parts]), np.concatenate([d for _, d in parts])


def duplicates(images: np.ndarray) -> np.ndarray:
    """Indices of the rows (N, ...) that equal an earlier row: signs of collapse."""
    rows, _, centre = _rows(images, images)

    def of_block(block: slice) -> np.ndarray:
        found = np.zeros(block.stop - block.start, bool)
        for at in thread_pool.blocks(block.stop, TILE):
            d = _squared(rows[block], rows[at], centre)
            d[np.arange(block.start, block.stop)[:, None] <= np.arange(at.start, at.stop)] = np.inf
            found |= (d <= 0).any(1)
        return found

    return np.flatnonzero(np.concatenate(thread_pool.parallel(of_block, thread_pool.blocks(len(rows), TILE))))


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Shares of fakes near real ones, and of real near fakes (Kynkaanniemi et al. 2019).

    Near: within an image's distance to the k-th nearest of its own set, border included. real (N, d), fake (M, d).
    """
    return (float((_counts(fake, real, _radii(real, k) * BORDER)[0] > 0).mean()),
            float((_counts(real, fake, _radii(fake, k) * BORDER)[0] > 0).mean()))


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Naeem et al. 2020: real images that a fake is near to, over k, on average (may exceed 1); and the
    share of real images near to which there is a fake.

    Nearness as in precision_recall, but without the border, as in the authors' code: so equal sets have density 1.
    """
    near_fake, near_real = _counts(fake, real, _radii(real, k) / BORDER)
    return float(near_fake.sum() / (k * len(fake))), float((near_real > 0).mean())


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row."""
    return nearest(x, x, k, same=True)[1][:, -1] ** 2


def _counts(queries: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In how many balls each query lies; how many queries each ball holds."""
    queries, centres, centre = _rows(queries, centres)

    def of_block(block: slice) -> tuple[np.ndarray, np.ndarray]:
        of_queries, of_centres = np.zeros(block.stop - block.start, np.int64), np.zeros(len(centres), np.int64)
        for at in thread_pool.blocks(len(centres), TILE):
            inside = _squared(queries[block], centres[at], centre) <= radii[at]
            of_queries += inside.sum(1)
            of_centres[at] += inside.sum(0)
        return of_queries, of_centres

    parts = thread_pool.parallel(of_block, thread_pool.blocks(len(queries), TILE))
    return np.concatenate([q for q, _ in parts]), sum(c for _, c in parts)


def _rows(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Both as rows, and what to subtract from them first: the mean of b, nothing from whole numbers."""
    a, b = (x.reshape(len(x), -1) for x in (a, b))
    if a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise WrongUse(f"distances need two sets of rows of one length, got {a.shape} and {b.shape}")
    whole = a.dtype.kind in "ub" and b.dtype.kind in "ub"
    return a, b, None if whole else b.mean(0, dtype=np.float64)


def _squared(a: np.ndarray, b: np.ndarray, centre: np.ndarray | None) -> np.ndarray:
    """Squared distances of the rows of a (n, d) to those of b (m, d)."""
    a, b = ((x.astype(np.float64) if centre is None else x - centre) for x in (a, b))
    scale = (a * a).sum(1)[:, None] + (b * b).sum(1)
    d = scale - 2 * (a @ b.T)
    if centre is not None:
        d[d < a.shape[1] * np.finfo(np.float64).eps * scale] = 0
    return d
