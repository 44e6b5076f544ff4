"""Whose images are scored: the same images have the same scores, wherever they lie."""

from pathlib import Path

import pytest
from PIL import Image
from scored import said

from minigan.cli import main


def test_other_seeds_give_other_pictures_and_the_same_seed_the_same_scores(run, tmp_path, capsys):
    first, again, other = (said(["score", run, "--count", 60, "--seed", seed, "--out", tmp_path / f"{i}.json", "-q"],
                                capsys)[0] for i, seed in enumerate((5, 5, 6)))
    assert first == again != other


def test_a_folder_and_an_npz_of_the_same_pictures_have_the_same_scores(run, images, tmp_path, capsys):
    assert main.run(["sample", str(run), "-n", "120", "--out", str(tmp_path / "a.npz")]) == 0
    (tmp_path / "b").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "b" / f"{i:03}.png")
    of_npz, of_folder, of_run = (said(["score", subject, "--count", 120, *more, "-q"], capsys)[0].splitlines()
                                 for subject, more in ((tmp_path / "a.npz", ["--data", "shapes"]),
                                                       (tmp_path / "b", ["--data", "shapes"]),
                                                       (run, ["--out", tmp_path / "c.json"])))
    of_run = [line for line in of_run if " of D " not in line and "discriminator: " not in line]  # the run's alone
    assert of_npz == of_folder == of_run


@pytest.fixture
def pictures(images, tmp_path) -> Path:
    """The run's images as a folder."""
    (tmp_path / "b").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "b" / f"{i:03}.png")
    return tmp_path / "b"


def test_what_systems_leave_in_folders_changes_no_score(pictures, capsys):
    command = ["score", pictures, "--data", "shapes", "--count", 60, "-q"]
    before = said(command, capsys)[0]
    for name in ("._000.png", "Thumbs.db", ".hidden.png"):
        (pictures / name).write_bytes(b"no image")
    (pictures / ".thumbnails").mkdir()
    Image.new("RGB", (16, 16)).save(pictures / ".thumbnails" / "000.png")
    (pictures / "empty.png").mkdir()
    after, errors = said(command, capsys)
    assert after == before
    assert "left out 2 hidden files: ._000.png, .hidden.png" in errors


def test_an_image_of_another_size_is_named_and_brought_to_one_size_only_when_asked_for(pictures, capsys):
    side = Image.open(pictures / "000.png").width
    Image.new("RGB", (side + 9, side + 4)).save(pictures / "007.png")
    command = ["score", str(pictures), "--data", "shapes", "--count", "60", "-q"]
    assert main.run(command) == 1
    error = capsys.readouterr().err
    assert f"1 of 120 images cannot be used: 007.png (is {side + 9} x {side + 4}, the first one" in error
    assert f"use --size {side} or --skip-bad" in error
    assert main.run([*command, "--size", str(side)]) == main.run([*command, "--skip-bad"]) == 0


def test_a_folder_without_images_is_neither_a_run_nor_a_folder_of_images(tmp_path, capsys):
    assert main.run(["score", str(tmp_path), "--data", "shapes"]) == 2
    error = capsys.readouterr().err
    assert "no images in it" in error and "nor is it a run" in error and error.count("\n") == 1
