"""Where an image lies in a grid, a film strip, a stack."""

import numpy as np
import pytest

from minigan.errors import WrongUse
from minigan.formats import image_grids


def images_of(rng, count, height=4, width=5, channels=3) -> np.ndarray:
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def test_every_image_lies_where_the_grid_says(rng):
    images = images_of(rng, 7)
    g = image_grids.grid(images, columns=3, padding=2, background=9)
    assert g.shape == (3 * (4 + 2) + 2, 3 * (5 + 2) + 2, 3) and g.dtype == np.uint8
    covered = np.zeros(g.shape[:2], bool)
    for k in range(7):
        top, left = 2 + (k // 3) * 6, 2 + (k % 3) * 7
        window = np.s_[top : top + 4, left : left + 5]
        assert np.array_equal(g[window], images[k])
        covered[window] = True
    assert (g[~covered] == 9).all()


@pytest.mark.parametrize("count, rows, columns", [(1, 1, 1), (2, 1, 2), (3, 2, 2), (5, 2, 3), (65, 8, 9)])
def test_a_grid_is_nearly_square_by_default(rng, count, rows, columns):
    g = image_grids.grid(images_of(rng, count, 3, 3), padding=0)
    assert g.shape == (3 * rows, 3 * columns, 3)


def test_enlargement_repeats_pixels(rng):
    images = images_of(rng, 2)
    g = image_grids.grid(images, padding=1, scale=3)
    assert g.shape == (4 * 3 + 2, 2 * (5 * 3 + 1) + 1, 3)
    for dy in range(3):
        for dx in range(3):
            assert np.array_equal(g[1 + dy : 13 : 3, 17 + dx : 32 : 3], images[1])


def test_grey_images_have_three_equal_channels(rng):
    images = images_of(rng, 3, channels=1)
    g = image_grids.grid(images, columns=3, padding=0)
    for channel in range(3):
        assert np.array_equal(g[..., channel], np.concatenate(images[..., 0], axis=1))


def test_a_grid_refuses_what_is_no_image(rng):
    for bad in (np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"images are .*; expected uint8 \(N, H, W, C\)"):
            image_grids.grid(bad)
    for wrong in ({"columns": 0}, {"scale": 0}, {"padding": -1}):
        with pytest.raises(WrongUse, match="expected columns >= 1"):
            image_grids.grid(images_of(rng, 2), **wrong)


@pytest.mark.parametrize("total, count", [(1, 8), (5, 8), (8, 8), (9, 8), (61, 60), (999, 60), (7, 1)])
def test_spread_is_even_and_keeps_both_ends(total, count):
    chosen = image_grids.spread(total, count)
    assert len(chosen) == min(total, count)
    assert chosen[-1] == total - 1 and (count == 1 or chosen[0] == 0)
    steps = np.diff(chosen)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_a_film_strip_shows_the_chosen_frames_side_by_side(rng):
    frames = images_of(rng, 10, 6, 40)
    strip = image_grids.film_strip(frames, count=4, padding=3, background=7)
    assert strip.shape == (3 + 6 + 3, 3 + 4 * (40 + 3), 3)
    for k, frame in enumerate((0, 3, 6, 9)):
        assert np.array_equal(strip[3:9, 3 + k * 43 : 43 + k * 43], frames[frame])
    assert (strip[:3] == 7).all() and (strip[9:] == 7).all()


def test_labels_are_drawn_under_their_frames_and_never_over_a_neighbour(rng):
    frames = images_of(rng, 3, 6, 60)
    strip = image_grids.film_strip(frames, labels=[0, 12000, 100000], padding=6)
    plain = image_grids.film_strip(frames, padding=6)
    assert strip.shape[1] == plain.shape[1] and strip.shape[0] > plain.shape[0] + 6
    assert np.array_equal(strip[:12], plain[:12])
    ink = (strip[12:] < 128).any(axis=(0, 2))
    widths = [ink[6 + k * 66 : 66 + k * 66].sum() for k in range(3)]
    assert 0 < widths[0] < widths[1] < widths[2]
    assert not ink[[0, 5, 66, 71, 132, 137, -1]].any()
    narrow = image_grids.film_strip(images_of(rng, 2, 6, 3), labels=["a long label", "b"])  # makes room
    assert narrow.shape[1] > 2 * 3 + 3 * 6 + 40


@pytest.mark.parametrize("side, count", [(64, 8), (242, 8), (242, 4), (20, 3)])
def test_the_letters_of_labels_grow_with_the_strip(rng, side, count):
    """Shown 960 pixels wide a strip's digits are at least 6 pixels high; a small strip's are 7 as it is."""
    strip = image_grids.film_strip(images_of(rng, count, 9, side), labels=[100 * i for i in range(count)], padding=6)
    ink = np.flatnonzero((strip[15:] < 128).any(axis=(1, 2)))
    height = ink[-1] - ink[0] + 1
    assert height * min(1, 960 / strip.shape[1]) >= 6 and height <= 30
    inked = (strip[15:] < 128).any(axis=(0, 2))
    assert not inked[[6 + k * (side + 6) - 2 for k in range(1, count)]].any()  # none over its neighbour's


def test_stacked_rows_stand_below_each_other_from_the_left(rng):
    wide, narrow = rng.integers(0, 256, (3, 5, 3), np.uint8), rng.integers(0, 256, (2, 4, 3), np.uint8)
    both = image_grids.stacked([wide, narrow], background=9)
    assert np.array_equal(both[:3], wide) and np.array_equal(both[3:, :4], narrow) and (both[3:, 4:] == 9).all()


def test_a_film_strip_refuses_labels_that_do_not_match(rng):
    for frames, labels in ((images_of(rng, 3), [1, 2]), ([], None)):
        with pytest.raises(WrongUse, match="a label for each or none"):
            image_grids.film_strip(frames, labels=labels)
