"""Nearest neighbours and the scores made of them, against brute force, closed forms and other packages."""

import json

import golden_scores
import numpy as np
import pytest

from minigan.errors import WrongUse
from minigan.metrics import neighbours
from minigan.metrics.neighbours import density_coverage, duplicates, nearest, precision_recall

GOLDEN = json.loads(golden_scores.FILE.read_text())


@pytest.fixture(params=[1024, 13])
def tile(request, monkeypatch):
    """As many images in a tile."""
    monkeypatch.setattr(neighbours, "TILE", request.param)


def brute(a, b):
    return np.sqrt(((a[:, None].astype(np.float64) - b.astype(np.float64)) ** 2).sum(-1))


@pytest.mark.parametrize("name", golden_scores.cases())
def test_scores_are_those_of_torch_fidelity_and_prdc(name):
    real, fake = golden_scores.cases()[name]
    assert precision_recall(real, fake, 3) == pytest.approx(GOLDEN["precision, recall"][name], abs=1e-6)  # float32
    for k, (precision, recall, density, coverage) in zip((3, 5), GOLDEN["prdc"][name], strict=True):
        assert precision_recall(real, fake, k) == pytest.approx((precision, recall), abs=1e-12)
        assert density_coverage(real, fake, k) == pytest.approx((density, coverage), abs=1e-12)


def test_equal_sets_have_all_of_each_and_far_ones_nothing(rng, tile):
    x = rng.standard_normal((40, 5))
    assert precision_recall(x, x) == (1, 1)
    assert density_coverage(x, x) == pytest.approx((1, 1))
    assert precision_recall(x, x + 100) == density_coverage(x, x + 100) == (0, 0)


def test_a_collapsed_generator_is_precise_and_recalls_nothing(rng):
    real = rng.standard_normal((60, 3))
    fake = np.repeat(real[:1], 60, 0)
    assert precision_recall(real, fake) == (1, 1 / 60)  # it hits that one image
    density, coverage = density_coverage(real, fake)
    assert density > 0.5 and coverage <= 5 / 60 + 0.2


def test_scores_are_counted_right_on_a_line():
    real, fake = np.array([[0.0], [1.0], [2.0], [10.0]]), np.array([[0.4], [2.9], [30.0]])
    # k = 1: radii 1, 1, 1, 8: 0.4 is in the balls of 0 and 1, 2.9 in those of 2 and 10, 30 in none
    assert precision_recall(real, fake, 1)[0] == 2 / 3
    # fake radii 2.5, 2.5, 27.1: 0, 1, 2 lie in that of 0.4; 10 in that of 30
    assert precision_recall(real, fake, 1)[1] == 1
    assert density_coverage(real, fake, 1) == (4 / 3, 1)


def test_the_border_is_near_for_precision_and_far_for_density():
    real, fake = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([[2.0], [5.0], [5.5]])
    assert precision_recall(real, fake, 1)[0] == 1 / 3  # 2 is as far from 1 as 0 is
    assert density_coverage(real, fake, 1) == (0, 0)


@pytest.mark.parametrize("kind", ["features", "pixels"])
@pytest.mark.parametrize("k", [1, 4])
def test_nearest_finds_what_brute_force_finds(rng, tile, kind, k):
    if kind == "features":
        queries, keys = rng.standard_normal((30, 7)).astype(np.float32), rng.standard_normal((41, 7)).astype(np.float32)
    else:
        queries, keys = rng.integers(0, 256, (30, 4, 3, 2), np.uint8), rng.integers(0, 256, (41, 4, 3, 2), np.uint8)
    all_pairs = brute(queries.reshape(30, -1), keys.reshape(41, -1))
    index, distances = nearest(queries, keys, k)
    np.testing.assert_array_equal(index, np.argsort(all_pairs, 1, kind="stable")[:, :k])
    np.testing.assert_allclose(distances, np.sort(all_pairs, 1)[:, :k], rtol=1e-6)


def test_nothing_is_its_own_neighbour_but_its_copy_is(rng, tile):
    x = rng.integers(0, 256, (50, 8), np.uint8)
    x[31] = x[4]
    index, distances = nearest(x, x, same=True)
    assert (index[:, 0] != np.arange(50)).all()
    assert index[31, 0] == 4 and index[4, 0] == 31 and distances[31, 0] == 0
    assert (nearest(x, x)[1] == 0).all()


def test_distances_of_pixels_are_exact_and_far_features_keep_their_digits(rng):
    a, b = rng.integers(0, 256, (2, 20, 3072), np.uint8)
    squares = ((a[:, None].astype(np.int64) - b) ** 2).sum(-1)
    np.testing.assert_array_equal(nearest(a, b)[1][:, 0], np.sqrt(squares.min(1)))
    x, y = rng.standard_normal((2, 20, 5)) + 1e6
    np.testing.assert_allclose(nearest(x, y)[1][:, 0], brute(x, y).min(1), rtol=1e-6)


def test_duplicates_are_the_later_of_equal_pictures(rng, tile):
    images = rng.integers(0, 256, (60, 4, 4, 3), np.uint8)
    images[20] = images[59] = images[3]
    images[41] = images[40]
    images[50] = images[10]
    images[50, 0, 0, 0] ^= 1  # a distance of 1
    np.testing.assert_array_equal(duplicates(images), [20, 41, 59])
    assert duplicates(images.astype(np.float32)).tolist() == [20, 41, 59]


def test_scores_do_not_depend_on_the_tiles(rng, monkeypatch):
    real, fake = rng.standard_normal((2, 90, 6))
    found = []
    for size in (7, 64, 1024):
        monkeypatch.setattr(neighbours, "TILE", size)
        found.append((precision_recall(real, fake), density_coverage(real, fake)))
    assert found[0] == found[1] == found[2]


def test_too_few_pictures_are_refused(rng):
    x = rng.standard_normal((4, 3))
    for call in (lambda: nearest(x, x, 5), lambda: nearest(x, x, 4, same=True), lambda: nearest(x, x, 0),
                 lambda: precision_recall(x[:3], x), lambda: density_coverage(x, x[:0]), lambda: nearest(x, x[:, :2])):
        with pytest.raises(WrongUse):
            call()
