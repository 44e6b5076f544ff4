"""MS-SSIM against pytorch-msssim (golden_scores.py) and, for small and odd images, the formula written out."""

import json

import golden_scores
import numpy as np
import pytest

from minigan.errors import WrongUse
from minigan.metrics.ms_ssim import WEIGHTS, diversity, ms_ssim, within_classes

GOLDEN = json.loads(golden_scores.FILE.read_text())["MS-SSIM"]


def written_out(x, y):
    """MS-SSIM of two images of one channel, window by window."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        size = min(11, *x.shape)
        places = np.arange(size) - (size - 1) / 2
        window = np.exp(-(places[:, None] ** 2 + places ** 2) / (2 * 1.5 ** 2))
        window /= window.sum()
        cs, ssim = [], []
        for i in range(x.shape[0] - size + 1):
            for j in range(x.shape[1] - size + 1):
                a, b = x[i:i + size, j:j + size], y[i:i + size, j:j + size]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb, both = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum(), (
                    window * (a - ma) * (b - mb)).sum()
                cs.append((2 * both + 7.65 ** 2) / (va + vb + 7.65 ** 2))
                ssim.append(cs[-1] * (2 * ma * mb + 2.55 ** 2) / (ma ** 2 + mb ** 2 + 2.55 ** 2))
        product *= max(0, np.mean(ssim if scale == 4 else cs)) ** weight
        rows, columns = (np.minimum(np.arange(n + n % 2), n - 1) for n in x.shape)
        x, y = (z[rows][:, columns].reshape(len(rows) // 2, 2, len(columns) // 2, 2).mean((1, 3)) for z in (x, y))
    return product


def test_values_are_those_of_pytorch_msssim():
    assert ms_ssim(*golden_scores.pictures()) == pytest.approx(GOLDEN, abs=3e-6)  # its window is float32


@pytest.mark.parametrize("size", [(32, 32), (19, 27), (7, 9), (1, 5)])
def test_small_and_odd_pictures_are_as_written_out(size):
    one, two = golden_scores.pictures((2, *size, 3))
    expected = [np.mean([written_out(a[..., c], b[..., c]) for c in range(3)]) for a, b in zip(one, two, strict=True)]
    assert ms_ssim(one, two) == pytest.approx(expected, rel=1e-9)


def test_equal_pictures_have_1_opposite_ones_0_and_the_order_does_not_matter(rng):
    images = rng.integers(0, 256, (70, 24, 24, 1), np.uint8)
    np.testing.assert_allclose(ms_ssim(images, images), 1, rtol=1e-12)
    assert (ms_ssim(images, 255 - images) == 0).all()  # cut at 0
    others = golden_scores.pictures((70, 24, 24, 1))[1]
    np.testing.assert_allclose(ms_ssim(images, others), ms_ssim(others, images), rtol=1e-12)


def test_diversity_is_the_mean_of_all_ordered_pairs_of_a_batch():
    images = golden_scores.pictures((12, 16, 16, 3))[1]
    order = np.random.RandomState(3).permutation(12).reshape(2, 6)
    expected = []
    for rows in order:
        i, j = np.nonzero(~np.eye(6, dtype=bool))
        expected.append(ms_ssim(images[rows[i]], images[rows[j]]).mean())
    assert diversity(images, 6, 2, seed=3) == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-10)


def test_a_collapsed_set_has_1_and_the_more_alike_the_more():
    one, two = golden_scores.pictures((8, 32, 32, 3))
    copies = np.repeat(one[:1], 8, 0)
    assert diversity(copies, 4, 2)[0] == pytest.approx(1, rel=1e-12)
    noisy = np.repeat(two[:1], 8, 0) // 4 * 3 + two // 4
    assert diversity(one, 4, 2)[0] < diversity(noisy, 4, 2)[0] < 1


def test_within_classes_compares_no_picture_with_itself_and_no_classes():
    one, two = golden_scores.pictures((6, 32, 32, 3))
    labels = np.array([0, 3, 0, 3, 3, 0])
    images = one.copy()
    images[labels == 3] = two[0]
    found = within_classes(images, labels, pairs=40)
    assert list(found) == [0, 3] and found[3] == pytest.approx(1, rel=1e-12)
    i, j = np.array([(a, b) for a in (0, 2, 5) for b in (0, 2, 5) if a != b]).T
    every = ms_ssim(images[i], images[j])
    assert every.min() <= found[0] <= every.max() < 1


def test_unfit_pictures_are_refused(rng):
    images = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
    for call in (lambda: ms_ssim(images, images[:, :7]), lambda: ms_ssim(images / 255, images / 255),
                 lambda: diversity(images), lambda: within_classes(images, np.arange(6))):
        with pytest.raises(WrongUse, match="MS-SSIM"):
            call()
