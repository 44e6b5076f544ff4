"""minigan sample: what it writes where, and what it refuses."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import names, words

from minigan.cli import main


def test_a_grid_an_array_and_single_pictures_show_the_same(run, capsys):
    for out in ("grid.PNG", "images.npz", "a folder ü"):
        assert main.run(["sample", str(run), "-n", "6", "--out", out]) == 0
        assert capsys.readouterr().out == f"6 images of 16 x 16 pixels: {out}\n"
    with np.load("images.npz", allow_pickle=False) as file:
        images = file["images"]
    assert images.shape == (6, 16, 16, 3) and images.dtype == np.uint8
    assert names(Path("a folder ü")) == [f"0000{i}.png" for i in range(6)]
    for i in range(6):
        assert np.array_equal(np.asarray(Image.open(f"a folder ü/0000{i}.png")), images[i])
    grid = np.asarray(Image.open("grid.PNG"))
    assert grid.shape == (2 * 18 + 2, 3 * 18 + 2, 3) and np.array_equal(grid[20:36, 38:54], images[5])


def test_one_image_is_one(run, capsys):
    assert main.run(["sample", str(run), "-n", "1", "--out", "one.png"]) == 0
    assert capsys.readouterr().out == "1 image of 16 x 16 pixels: one.png\n"


def test_a_place_that_is_not_there_is_made(run):
    for out in ("new/grid.png", "new/er/images.npz", "new/est/singles"):
        assert main.run(["sample", str(run), "-n", "4", "--out", out]) == 0
    assert names(Path("new"))[:4] == ["er", "er/images.npz", "est", "est/singles"] and Path("new/grid.png").is_file()


def test_without_a_place_it_is_the_runs_folder_and_not_where_one_is(run, capsys):
    """Nothing is written into the working folder unless it is asked for."""
    (run / "drawn.png").unlink(missing_ok=True)
    before = (run / "samples.png").read_bytes()
    assert main.run(["sample", str(run)]) == 0
    assert names(Path()) == [] and capsys.readouterr().out.endswith(f": {run / 'drawn.png'}\n")
    assert Image.open(run / "drawn.png").size == (8 * 18 + 2, 8 * 18 + 2)
    assert (run / "samples.png").read_bytes() == before  # the run's own
    (run / "drawn.png").unlink()


def test_samples_depend_on_the_seed_alone(run):
    for out, more in (("a.png", []), ("b.png", ["--seed", "0"]), ("c.png", ["--seed", "1"])):
        assert main.run(["sample", str(run), "-n", "4", "--out", out, *more]) == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_pixels_are_enlarged_and_rows_interpolate(run):
    assert main.run(["sample", str(run), "-n", "4", "--scale", "3", "--out", "large.png"]) == 0
    assert main.run(["sample", str(run), "-n", "4", "--out", "small.png"]) == 0
    large, small = (np.asarray(Image.open(name)) for name in ("large.png", "small.png"))
    assert large.shape == (2 * 50 + 2, 2 * 50 + 2, 3)
    assert np.array_equal(large[2:50:3, 2:50:3], small[2:18, 2:18])
    assert main.run(["sample", str(run), "-n", "2", "--interpolate", "5", "--out", "paths.npz"]) == 0
    with np.load("paths.npz") as file:
        paths = file["images"].reshape(2, 5, 16 * 16 * 3).astype(float)
    ends = np.abs(paths[:, 0] - paths[:, -1]).mean()
    assert 0 < np.abs(np.diff(paths, axis=1)).mean() < ends  # neighbours are nearer to each other than the ends
    assert main.run(["sample", str(run), "-n", "2", "--interpolate", "5", "--out", "paths.png"]) == 0
    assert Image.open("paths.png").size == (5 * 18 + 2, 2 * 18 + 2)  # a path a row


def test_an_unreadable_newest_checkpoint_is_said_and_the_older_one_used(data, tmp_path, capsys):
    assert main.run([*words(data, tmp_path / "run", iterations=3, checkpoint_every=2, lr=0.1), "-q"]) == 0
    assert main.run(["sample", str(tmp_path / "run"), "--out", "before.png"]) == 0
    newest = tmp_path / "run" / "checkpoint-0000003.h5"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    assert main.run(["sample", str(tmp_path / "run"), "--out", "after.png"]) == 0
    error = capsys.readouterr().err
    assert "checkpoint-0000003.h5 cannot be read" in error and "using checkpoint-0000002.h5" in error
    assert error.count("\n") == 1 and Path("before.png").read_bytes() != Path("after.png").read_bytes()


def test_a_failed_write_leaves_the_picture_that_was_there(run, monkeypatch, refused, capsys):
    assert main.run(["sample", str(run), "-n", "4", "--out", "grid.png"]) == 0
    before = Path("grid.png").read_bytes()
    capsys.readouterr()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for out in ("grid.png", "images.npz"):
        assert f"{out} cannot be written (No space left" in refused(
            ["sample", run, "-n", "9", "--out", out], 1)
    assert Path("grid.png").read_bytes() == before and names(Path()) == ["grid.png"]


@pytest.mark.parametrize(("out", "code", "named"), [
    ("file/grid.png", 1, "file/grid.png cannot be written"), ("file/folder", 1, "file/folder cannot be made"),
    ("folder.png", 1, "folder.png cannot be written"),
])
def test_places_that_cannot_hold_samples_are_named(out, code, named, run, refused):
    Path("file").write_text("")
    Path("folder.png").mkdir()
    assert named in refused(["sample", run, "-n", "4", "--out", out], code)


@pytest.mark.parametrize(("arguments", "named"), [
    ("sample", "Missing argument"),
    ("sample nowhere", "nowhere is not a run"),
    ("sample nowhere -n 0", "--count: expected at least 1, got 0"),
    ("sample nowhere -n 100001", "expected at most 100,000"),
    ("sample nowhere -n 10 --interpolate 10001", "expected at most 100,000"),
    ("sample nowhere -n 400 --scale 16", "as much as 102,400 images"),
    ("sample nowhere --scale 0", "--scale: expected at least 1, got 0"),
    ("sample nowhere --seed -1", "--seed: expected at least 0, got -1"),
    ("sample nowhere --interpolate 1", "--interpolate: expected at least 2, got 1"),
    ("sample nowhere --out grid.jpeg", "expected a .png, an .npz or a folder"),
])
def test_wrong_use_is_one_line_with_what_was_expected(arguments, named, refused):
    assert named in refused(shlex.split(arguments), 2)
