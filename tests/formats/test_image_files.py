"""Image files: what Pillow reads back of them."""

import os

import numpy as np
import pytest
from PIL import Image

from minigan.errors import FailedWork
from minigan.formats import image_files


def images_of(rng, count, height=4, width=5, channels=3) -> np.ndarray:
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
