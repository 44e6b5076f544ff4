"""Distances of thumbnails: closed forms."""

import numpy as np
import pytest

from minigan.metrics.thumbnails import distance, diversity, thumbnails


def test_thumbnails_are_means_of_boxes(rng):
    images = rng.integers(0, 256, (3, 16, 24, 2)).astype(np.uint8)
    boxes = images.reshape(3, 8, 2, 8, 3, 2).mean((2, 4)) / 255
    np.testing.assert_allclose(thumbnails(images), boxes.reshape(3, -1), rtol=1e-12)
    assert thumbnails(images[:, :13, :9]).shape == (3, 128)


def test_the_distance_has_its_closed_forms(rng):
    x = rng.standard_normal((4000, 6)) @ rng.standard_normal((6, 6))
    assert distance(x, x) == pytest.approx(0, abs=1e-9)
    assert distance(x, x + np.arange(6)) == pytest.approx(55)  # moved: the squared length of the way
    scaled = x.mean(0) + 3 * (x - x.mean(0))  # spread threefold: (3 - 1)^2 times the variance
    assert distance(x, scaled) == pytest.approx(4 * x.var(0, ddof=1).sum())
    one = np.repeat(x[:1], 50, 0)  # collapsed to one image
    assert distance(x, one) == pytest.approx(((x.mean(0) - x[0]) ** 2).sum() + x.var(0, ddof=1).sum())


def test_the_distance_is_that_of_two_normal_distributions(rng):
    """Against the formula with matrix square roots by eigenvalues."""
    a, b = (rng.standard_normal((n, 5)) @ rng.standard_normal((5, 5)) for n in (300, 40))
    A, B = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(A @ B).real, 0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * root
    assert distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_diversity_is_1_for_alike_sets_and_0_for_one_image(rng):
    images = rng.integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    assert diversity(images, images) == 1 and diversity(images, np.repeat(images[:1], 20, 0)) == 0
    half = (images // 2).astype(np.uint8)
    np.testing.assert_allclose(diversity(images, half), 0.5, rtol=0.05)
    assert diversity(np.repeat(images[:1], 20, 0), images) is None and diversity(images[:1], images[:1]) is None
