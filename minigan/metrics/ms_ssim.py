"""Multi-scale structural similarity (Wang et al. 2003) of images: how alike fakes are to each other.

As in google/compare_gan: 11 x 11 Gaussian windows (sigma 1.5) inside the image, smaller where it is smaller, five
scales with 2 x 2 means in between, negative terms cut at 0, mean over channels.
"""

from __future__ import annotations

import numpy as np

from minigan.engine import thread_pool
from minigan.errors import WrongUse

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first (Wang et al. 2003)
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
PAIRS = 64  # compared at once

Scales = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # of each scale: see _scales


def ms_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """MS-SSIM of each pair of images, uint8 (N, H, W, C) both: float64 (N,), 1 for equal ones."""
    if a.shape != b.shape:
        raise WrongUse(f"MS-SSIM: got images {a.shape} and {b.shape}, expected the same shape")
    at = np.arange(len(a))
    return _of_pairs(_scales(a), _scales(b), at, at)


def diversity(images: np.ndarray, batch: int = 64, batches: int = 5, seed: int = 2020) -> tuple[float, float]:
    """Mean MS-SSIM of all pairs of different images in a batch, over batches, and their standard deviation.

    images: uint8 (N, H, W, C), batched after a shuffle.  Fedus et al. 2018, 5.3, and compare_gan: 5 batches of 64.
    Less is more diverse; the data's own value is what to compare with.
    """
    if len(images) < batch * batches:
        raise WrongUse(f"MS-SSIM: {batches} batches of {batch} images, got {len(images)} images")
    order = np.random.RandomState(seed).permutation(len(images))[:batch * batches].reshape(batches, batch)
    i, j = np.triu_indices(batch, 1)
    found = []
    for rows in order:
        scales = _scales(images[rows])
        found.append(_of_pairs(scales, scales, i, j).mean())
    return float(np.mean(found)), float(np.std(found))


def within_classes(images: np.ndarray, labels: np.ndarray, pairs: int = 100, seed: int = 2020) -> dict[int, float]:
    """Mean MS-SSIM of random pairs of different images of each class (Odena et al. 2017 take 100 pairs).

    images: uint8 (N, H, W, C), labels: integers (N,).
    """
    rng, found = np.random.RandomState(seed), {}
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        if len(rows) < 2:
            raise WrongUse(f"MS-SSIM: class {c} has {len(rows)} image, a pair needs 2")
        first = rng.randint(len(rows), size=pairs)
        second = (first + rng.randint(1, len(rows), size=pairs)) % len(rows)  # another one
        found[int(c)] = float(ms_ssim(images[rows[first]], images[rows[second]]).mean())
    return found


def _scales(images: np.ndarray) -> Scales:
    """Of each scale: the images (N, C, H, W), their windows' means and means of squares."""
    if images.dtype != np.uint8 or images.ndim != 4:
        raise WrongUse(f"MS-SSIM: got {images.dtype} {images.shape}, expected uint8 (N, H, W, C)")
    x, found = np.moveaxis(images, 3, 1).astype(np.float64), []
    for _ in WEIGHTS:
        found.append((x, _windows(x), _windows(x * x)))
        H, W = x.shape[2:]
        x = np.pad(x, ((0, 0), (0, 0), (0, H % 2), (0, W % 2)), "symmetric")  # odd sides: the last row counts twice
        x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
    return found


def _of_pairs(a: Scales, b: Scales, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """MS-SSIM of the images i of a with j of b, in blocks."""
    def of_block(block: slice) -> np.ndarray:
        product = np.ones(())
        for scale, weight in enumerate(WEIGHTS):
            (x, mx, xx), (y, my, yy) = ([part[rows[block]] for part in s[scale]] for s, rows in ((a, i), (b, j)))
            both, squares = 2 * mx * my, mx * mx + my * my
            cs = (2 * _windows(x * y) - both + C2) / (xx + yy - squares + C2)
            if scale == len(WEIGHTS) - 1:
                cs = cs * (both + C1) / (squares + C1)  # brightness counts at the coarsest scale only
            product = product * np.maximum(cs.mean((2, 3)), 0) ** weight
        return product.mean(1)

    return np.concatenate(thread_pool.parallel(of_block, thread_pool.blocks(len(i), PAIRS)))


def _windows(x: np.ndarray) -> np.ndarray:
    """Means under the Gaussian window at every place inside: (..., H, W) -> (..., H - size + 1, W - size + 1)."""
    size = min(WINDOW, *x.shape[-2:])
    taps = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * SIGMA ** 2))
    down, right = (_band(taps / taps.sum(), n) for n in x.shape[-2:])
    return down @ x @ right.T


def _band(taps: np.ndarray, n: int) -> np.ndarray:
    """The matrix (n - taps + 1, n) that correlates n values with the taps."""
    band = np.zeros((n - len(taps) + 1, n))
    for k, tap in enumerate(taps):
        np.fill_diagonal(band[:, k:], tap)
    return band
