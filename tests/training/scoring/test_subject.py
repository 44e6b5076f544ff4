"""Whose images are scored: the same images have the same scores, wherever they lie."""

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
    assert of_npz == of_folder == [line for line in of_run if " of D " not in line]  # a discriminator has the run only
