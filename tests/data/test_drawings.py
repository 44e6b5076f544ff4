"""The drawings: the same for the same seed, balanced, on their backgrounds, and ten different kinds."""

import time
import tracemalloc

import numpy as np
import pytest
from published_files import read

from minigan.data import datasets, drawings
from minigan.data.datasets import find
from minigan.errors import WrongUse
from minigan.experiment.presets import experiment


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    return drawings.draw(2000, seed=1)


def border(images: np.ndarray) -> np.ndarray:
    """The outermost pixels of each image, (n, 4 * (size - 1), 3)."""
    sides = images[:, 0, :-1], images[:, :-1, -1], images[:, -1, 1:], images[:, 1:, 0]
    return np.concatenate(sides, axis=1)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(drawn):
    images, labels = drawings.draw(2000, seed=1)
    np.testing.assert_array_equal(images, drawn[0])
    np.testing.assert_array_equal(labels, drawn[1])
    for other in (drawings.draw(2000, seed=2), drawings.draw(2000, seed=1, split="test")):
        same = (other[0] == drawn[0]).all(axis=(1, 2, 3))
        assert not same.any() and (other[1] != drawn[1]).any()


def test_chunks_do_not_change_a_drawing(drawn, monkeypatch):
    monkeypatch.setattr(drawings, "CHUNK", 7)
    np.testing.assert_array_equal(drawings.draw(2000, seed=1)[0], drawn[0])


def test_labels_are_balanced_and_mixed(drawn):
    images, labels = drawn
    assert images.shape == (2000, 32, 32, 3) and images.dtype == np.uint8
    assert labels.shape == (2000,) and labels.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 200))
    assert len(set(labels[:50])) == 10
    assert len(drawings.CLASSES) == len(set(drawings.CLASSES)) == 10
    assert sorted(np.bincount(drawings.draw(23)[1], minlength=10)) == [2] * 7 + [3] * 3


@pytest.mark.parametrize("size", [16, 33, 64])
def test_other_sizes_show_the_same_drawings(size):
    small, at_size = drawings.draw(40, 16)[0], drawings.draw(40, size)[0]
    assert at_size.shape == (40, size, size, 3)
    # Means over the image agree as far as antialiasing is right: 2 of 255 is well below any shape's share.
    np.testing.assert_allclose(at_size.mean(axis=(1, 2)), small.mean(axis=(1, 2)), atol=2)


def test_every_shape_lies_inside_its_picture_and_stands_out(drawn):
    images = drawn[0].astype(float)
    edge = border(images)
    spread = (edge.max(axis=1) - edge.min(axis=1)).max(axis=1)
    assert np.median(spread) == 0 and spread.max() < 30  # of one colour, but where a corner touches the border
    luminance = np.array([0.2126, 0.7152, 0.0722])
    away = np.abs((images - edge.mean(axis=1)[:, None, None]) @ luminance).max(axis=(1, 2))
    assert away.min() > 0.15 * 255


def test_edges_are_smooth(drawn):
    """A share of the pixels is neither the shape's colour nor the background's."""
    images, labels = drawings.draw(200, seed=4)
    distance = np.abs(images.astype(float) - border(images).mean(axis=1)[:, None, None]).max(axis=3)
    between = (distance > 0.25 * distance.max(axis=(1, 2), keepdims=True)) & (
        distance < 0.75 * distance.max(axis=(1, 2), keepdims=True)
    )
    assert np.median(between.mean(axis=(1, 2))) > 0.02


def test_positions_sizes_and_turns_vary(drawn):
    images, labels = drawn
    diamonds = images[labels == drawings.CLASSES.index("diamond")].astype(float)
    cover = np.abs(diamonds - border(diamonds).mean(axis=1)[:, None, None]).max(axis=3)
    cover /= cover.max(axis=(1, 2), keepdims=True)
    share = cover.mean(axis=(1, 2))
    assert share.max() > 1.3 * share.min()
    column = (cover * np.arange(32)).sum(axis=(1, 2)) / cover.sum(axis=(1, 2))
    assert column.std() > 0.8  # pixels
    arrows = images[labels == drawings.CLASSES.index("arrow")].astype(float)
    cover_a = np.abs(arrows - border(arrows).mean(axis=1)[:, None, None]).max(axis=3)
    cover_a /= cover_a.sum(axis=(1, 2), keepdims=True)
    x, y = (a - (cover_a * a).sum(axis=(1, 2))[:, None, None] for a in np.mgrid[:32, :32][::-1])
    twice = np.arctan2(2 * (cover_a * x * y).sum(axis=(1, 2)), (cover_a * (x**2 - y**2)).sum(axis=(1, 2)))
    lean = np.degrees(np.angle(-np.exp(1j * twice))) / 2  # of an arrow's long axis, from the upright
    assert 6 < lean.std() < 11 and abs(lean).max() < 18  # uniform over -15 to 15 degrees: 8.7
    colours = diamonds[np.arange(len(diamonds)), 16, 16]
    assert colours.std(axis=0).min() > 10  # around the kind's hue
    full = [k for k, name in enumerate(drawings.CLASSES) if name not in ("ring", "crescent")]
    kinds = np.stack([images[labels == k][:, 16, 16].mean(0) for k in full])
    assert kinds.std(axis=0).min() > 40  # from hue to hue


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("disc", np.pi * 0.88**2),
        ("ring", np.pi * (0.95**2 - 0.49**2)),
        # Outlines lie 0.04 outside the polygon: its area, 0.04 times its length, and the corners' arcs.
        ("diamond", 2 * 0.94**2 + 0.04 * 4 * 0.94 * 2**0.5 + np.pi * 0.04**2),
        ("triangle", 0.75 * 3**0.5 * 0.94**2 + 0.04 * 3 * 3**0.5 * 0.94 + np.pi * 0.04**2),
    ],
)
def test_a_distance_function_encloses_the_area_of_its_shape(kind, area):
    step = 2.4 / 800
    axis = (np.arange(800, dtype=np.float32) - 399.5) * np.float32(step)
    x, y = np.meshgrid(axis, axis)
    inside = drawings.SHAPES[kind](x[None], y[None]) < 0
    assert inside.sum() * step**2 == pytest.approx(area, rel=0.003)  # pixels cut by the outline


@pytest.mark.parametrize("kind", drawings.CLASSES)
def test_every_shape_fills_the_circle_around_it_and_no_more(kind):
    axis = np.linspace(-1.2, 1.2, 300, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    inside = drawings.SHAPES[kind](x[None], y[None])[0] < 0
    assert 0.8 < np.hypot(x, y)[inside].max() <= 1.03


@pytest.mark.parametrize("kind", drawings.CLASSES)
def test_near_its_outline_the_function_is_a_distance(kind):
    """Its slope is 1, which is what makes pixel coverage come out right."""
    axis = np.linspace(-1.2, 1.2, 601, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    d = drawings.SHAPES[kind](x[None], y[None])[0].astype(float)
    rows, columns = np.gradient(d, axis, axis)
    near = np.abs(d) < 0.03
    slope = np.hypot(rows, columns)[near]
    assert np.median(slope) == pytest.approx(1, abs=0.01)  # corners and creases have other slopes


def test_the_kinds_are_told_apart_by_their_outlines():
    """A nearest-neighbour look-up on coverage alone, which knows nothing of kinds, finds most labels."""
    images, labels = drawings.draw(3000, seed=6)
    distance = np.abs(images.astype(np.float32) - border(images).mean(axis=1)[:, None, None]).max(axis=3)
    cover = (distance / distance.max(axis=(1, 2), keepdims=True)).reshape(3000, -1)
    known, asked = cover[:2500], cover[2500:]
    squared = (known**2).sum(axis=1) - 2 * asked @ known.T
    right = (labels[:2500][squared.argmin(axis=1)] == labels[2500:]).mean()
    assert right > 0.7  # chance is 0.1


def test_twenty_thousand_take_seconds_and_little_memory():
    tracemalloc.start()
    start = time.perf_counter()
    images, _ = drawings.draw(4000)
    taken, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 6  # a fifth of the data set; 0.5 s on two slow cores
    assert peak < images.nbytes + 30e6


def test_shapes_need_no_files_and_their_splits_differ(monkeypatch):
    drawn = drawings.draw
    monkeypatch.setattr(drawings, "draw", lambda n, *more: drawn(n // 100, *more))
    train, test = read("shapes", None), read("shapes", None, split="test")
    assert train.images.shape == (200, 32, 32, 3) and test.images.shape == (100, 32, 32, 3)
    assert not (train.images[:100] == test.images).all(axis=(1, 2, 3)).any()
    assert read("shapes", None, size=20, seed=5).images.shape[1] == 20
    assert find("shapes") is not None


def test_the_seed_of_a_training_draws_no_other_shapes_but_their_own_does(monkeypatch):
    drawn = drawings.draw
    monkeypatch.setattr(drawings, "draw", lambda n, *more: drawn(n // 100, *more))
    data = [datasets.of_experiment(experiment("shapes", **of)).images for of in (
        {}, {"seed": 1}, {"seed": 1, "data_seed": 1})]
    np.testing.assert_array_equal(data[0], data[1])  # one reference for the scores of several seeds
    assert not (data[0] == data[2]).all(axis=(1, 2, 3)).any()
    with pytest.raises(WrongUse, match="cifar10 takes no --data-seed: that is for shapes"):
        datasets.of_experiment(experiment("cifar10", data_seed=1))
