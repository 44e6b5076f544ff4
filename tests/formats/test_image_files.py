"""Pictures: where an image lies in a grid, and what Pillow reads back."""

import os

import numpy as np
import pytest
from PIL import Image

from minigan.errors import FailedWork, WrongUse
from minigan.formats import image_files


def images_of(rng, count, height=4, width=5, channels=3) -> np.ndarray:
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_image_lies_where_the_grid_says(rng):
    images = images_of(rng, 7)
    g = image_files.grid(images, columns=3, padding=2, background=9)
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
    g = image_files.grid(images_of(rng, count, 3, 3), padding=0)
    assert g.shape == (3 * rows, 3 * columns, 3)


def test_enlargement_repeats_pixels(rng):
    images = images_of(rng, 2)
    g = image_files.grid(images, padding=1, scale=3)
    assert g.shape == (4 * 3 + 2, 2 * (5 * 3 + 1) + 1, 3)
    for dy in range(3):
        for dx in range(3):
            assert np.array_equal(g[1 + dy : 13 : 3, 17 + dx : 32 : 3], images[1])


def test_grey_images_have_three_equal_channels(rng):
    images = images_of(rng, 3, channels=1)
    g = image_files.grid(images, columns=3, padding=0)
    for channel in range(3):
        assert np.array_equal(g[..., channel], np.concatenate(images[..., 0], axis=1))


def test_a_grid_refuses_what_is_no_image(rng):
    for bad in (np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"images are .*; expected uint8 \(N, H, W, C\)"):
            image_files.grid(bad)
    for wrong in ({"columns": 0}, {"scale": 0}, {"padding": -1}):
        with pytest.raises(WrongUse, match="expected columns >= 1"):
            image_files.grid(images_of(rng, 2), **wrong)


@pytest.mark.parametrize("shape, mode", [((5, 7, 3), "RGB"), ((5, 7, 1), "L"), ((5, 7), "L")])
def test_a_png_gives_back_every_pixel(tmp_path, rng, shape, mode):
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    image_files.save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as back:
        assert (back.format, back.mode) == ("PNG", mode)
        assert np.array_equal(np.asarray(back).reshape(shape), image)
    assert names(tmp_path) == ["a.png"]


def test_single_images_are_numbered(tmp_path, rng):
    images = images_of(rng, 3)
    image_files.save_singles(tmp_path / "deep" / "samples", images[:2])
    image_files.save_singles(tmp_path / "deep" / "samples", images[2:], start=2)
    assert names(tmp_path / "deep" / "samples") == ["00000.png", "00001.png", "00002.png"]
    for k in range(3):
        with Image.open(tmp_path / "deep" / "samples" / f"{k:05d}.png") as back:
            assert np.array_equal(np.asarray(back), images[k])


def test_a_failed_write_is_one_line_and_leaves_what_was_there(tmp_path, rng, monkeypatch):
    path, image = tmp_path / "a.png", images_of(rng, 1)[0]
    image_files.save_png(path, image)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FailedWork, match="a.png cannot be written .No space left") as error:
        image_files.save_png(path, 255 - image)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before and names(tmp_path) == ["a.png"]


def gif_frames(path):
    with Image.open(path) as gif:
        for i in range(gif.n_frames):
            gif.seek(i)
            yield np.asarray(gif.convert("RGB")), gif.info["duration"], gif.info.get("loop")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_shows_the_frames_in_order_and_rests_on_the_last(tmp_path, rng, channels):
    frames = images_of(rng, 5, 6, 9, channels)  # 54 pixels: a palette of 256 holds their colours exactly
    image_files.save_gif(tmp_path / "a.gif", frames, ms=120, last_ms=900)
    back = list(gif_frames(tmp_path / "a.gif"))
    assert [ms for _, ms, _ in back] == [120] * 4 + [900]
    assert all(loop == 0 for _, _, loop in back)
    for (given, _, _), frame in zip(back, frames, strict=True):
        assert np.array_equal(given, np.broadcast_to(frame, given.shape))


def test_a_gif_needs_frames_of_one_shape(tmp_path, rng):
    for frames in ([], [images_of(rng, 1)[0], images_of(rng, 1, 8, 8)[0]]):
        with pytest.raises(ValueError, match="expected at least one, all of one shape"):
            image_files.save_gif(tmp_path / "a.gif", frames)


@pytest.mark.parametrize("total, count", [(1, 8), (5, 8), (8, 8), (9, 8), (61, 60), (999, 60), (7, 1)])
def test_spread_is_even_and_keeps_both_ends(total, count):
    chosen = image_files.spread(total, count)
    assert len(chosen) == min(total, count)
    assert chosen[-1] == total - 1 and (count == 1 or chosen[0] == 0)
    steps = np.diff(chosen)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_a_film_strip_shows_the_chosen_frames_side_by_side(rng):
    frames = images_of(rng, 10, 6, 40)
    strip = image_files.film_strip(frames, count=4, padding=3, background=7)
    assert strip.shape == (3 + 6 + 3, 3 + 4 * (40 + 3), 3)
    for k, frame in enumerate((0, 3, 6, 9)):
        assert np.array_equal(strip[3:9, 3 + k * 43 : 43 + k * 43], frames[frame])
    assert (strip[:3] == 7).all() and (strip[9:] == 7).all()


def test_labels_are_drawn_under_their_frames_and_never_over_a_neighbour(rng):
    frames = images_of(rng, 3, 6, 60)
    strip = image_files.film_strip(frames, labels=[0, 12000, 100000], padding=6)
    plain = image_files.film_strip(frames, padding=6)
    assert strip.shape[1] == plain.shape[1] and strip.shape[0] > plain.shape[0] + 6
    assert np.array_equal(strip[:12], plain[:12])
    ink = (strip[12:] < 128).any(axis=(0, 2))
    widths = [ink[6 + k * 66 : 66 + k * 66].sum() for k in range(3)]
    assert 0 < widths[0] < widths[1] < widths[2]
    assert not ink[[0, 5, 66, 71, 132, 137, -1]].any()
    narrow = image_files.film_strip(images_of(rng, 2, 6, 3), labels=["a long label", "b"])  # makes room
    assert narrow.shape[1] > 2 * 3 + 3 * 6 + 40


def test_stacked_rows_stand_below_each_other_from_the_left(rng):
    wide, narrow = rng.integers(0, 256, (3, 5, 3), np.uint8), rng.integers(0, 256, (2, 4, 3), np.uint8)
    both = image_files.stacked([wide, narrow], background=9)
    assert np.array_equal(both[:3], wide) and np.array_equal(both[3:, :4], narrow) and (both[3:, 4:] == 9).all()


def test_a_film_strip_refuses_labels_that_do_not_match(rng):
    for frames, labels in ((images_of(rng, 3), [1, 2]), ([], None)):
        with pytest.raises(WrongUse, match="a label for each or none"):
            image_files.film_strip(frames, labels=labels)


def write_samples(folder, iterations, shape=(6, 9, 3)):
    for k, iteration in enumerate(iterations):
        image_files.save_png(folder / f"samples-{iteration:07d}.png", np.full(shape, k, np.uint8))


def test_a_progress_gif_follows_the_iterations_not_the_names(tmp_path):
    write_samples(tmp_path, [100, 200, 9_999_900, 10_000_000])  # sorted as text the last would come second
    (tmp_path / "samples-final.png").write_bytes(b"not ours")
    assert image_files.progress_gif(tmp_path, tmp_path / "p.gif") == tmp_path / "p.gif"
    assert [int(frame[0, 0, 0]) for frame, _, _ in gif_frames(tmp_path / "p.gif")] == [0, 1, 2, 3]


def test_a_long_run_gives_a_bounded_gif_with_its_first_and_last_picture(tmp_path):
    write_samples(tmp_path, range(0, 100 * 130, 100))
    image_files.progress_gif(tmp_path, tmp_path / "p.gif")
    shown = [int(frame[0, 0, 0]) for frame, _, _ in gif_frames(tmp_path / "p.gif")]
    assert len(shown) == 60 and shown[0] == 0 and shown[-1] == 129


def test_a_progress_gif_names_the_picture_that_is_wrong(tmp_path, rng):
    with pytest.raises(WrongUse, match="no sample pictures here"):
        image_files.progress_gif(tmp_path, tmp_path / "p.gif")
    write_samples(tmp_path, [1, 2])
    write_samples(tmp_path, [3], shape=(6, 8, 3))
    with pytest.raises(FailedWork, match="samples-0000003.png is 8 x 6, the pictures before it are 9 x 6"):
        image_files.progress_gif(tmp_path, tmp_path / "p.gif")
    image_files.save_png(tmp_path / "noise.png", images_of(rng, 1, 50, 50)[0])
    for broken in (b"", b"text", (tmp_path / "noise.png").read_bytes()[:4000]):
        (tmp_path / "samples-0000003.png").write_bytes(broken)
        with pytest.raises(FailedWork, match="samples-0000003.png cannot be read") as error:
            image_files.progress_gif(tmp_path, tmp_path / "p.gif")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "p.gif").exists()
