"""A run's grids of samples as one film: the right ones, in order, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from minigan.errors import FailedWork, WrongUse
from minigan.formats import image_files
from minigan.training.recording import sample_grids


def levels(path) -> list[int]:
    """The grey level of each frame of a GIF."""
    found = []
    with Image.open(path) as gif:
        for i in range(gif.n_frames):
            gif.seek(i)
            found.append(gif.convert("RGB").getpixel((0, 0))[0])
    return found


def write_samples(folder, iterations, shape=(6, 9, 3)):
    for k, iteration in enumerate(iterations):
        image_files.save_png(folder / f"samples-{iteration:07d}.png", np.full(shape, k, np.uint8))


def test_a_progress_gif_follows_the_iterations_not_the_names(tmp_path):
    write_samples(tmp_path, [100, 200, 9_999_900, 10_000_000])  # sorted as text the last would come second
    (tmp_path / "samples-final.png").write_bytes(b"not ours")
    assert sample_grids.progress_gif(tmp_path, tmp_path / "p.gif") == tmp_path / "p.gif"
    assert levels(tmp_path / "p.gif") == [0, 1, 2, 3]


def test_a_long_run_gives_a_bounded_gif_with_its_first_and_last_picture(tmp_path):
    write_samples(tmp_path, range(0, 100 * 130, 100))
    sample_grids.progress_gif(tmp_path, tmp_path / "p.gif")
    shown = levels(tmp_path / "p.gif")
    assert len(shown) == 60 and shown[0] == 0 and shown[-1] == 129


def test_a_progress_gif_names_the_picture_that_is_wrong(tmp_path, rng):
    with pytest.raises(WrongUse, match="no sample images here"):
        sample_grids.progress_gif(tmp_path, tmp_path / "p.gif")
    write_samples(tmp_path, [1, 2])
    write_samples(tmp_path, [3], shape=(6, 8, 3))
    with pytest.raises(FailedWork, match="samples-0000003.png is 8 x 6, the images before it are 9 x 6"):
        sample_grids.progress_gif(tmp_path, tmp_path / "p.gif")
    image_files.save_png(tmp_path / "noise.png", rng.integers(0, 256, (50, 50, 3), dtype=np.uint8))
    for broken in (b"", b"text", (tmp_path / "noise.png").read_bytes()[:4000]):
        (tmp_path / "samples-0000003.png").write_bytes(broken)
        with pytest.raises(FailedWork, match="samples-0000003.png cannot be read") as error:
            sample_grids.progress_gif(tmp_path, tmp_path / "p.gif")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "p.gif").exists()
