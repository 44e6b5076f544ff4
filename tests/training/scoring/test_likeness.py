"""Looking at fakes: copies of real ones."""

import numpy as np
from PIL import Image
from scored import said

from minigan.data import datasets
from minigan.formats import image_files


def test_copies_of_real_pictures_are_shown_as_such(tmp_path, capsys):
    real = datasets.load("shapes", size=16).images
    image_files.save_npz(tmp_path / "a.npz", np.repeat(real[:20], 2, axis=0))
    out, error = said(["score", tmp_path / "a.npz", "--data", "shapes", "--count", 40, "--out", tmp_path / "a.json",
                       "-q"], capsys)
    assert "20 of 40 fakes equal an earlier one" in error
    grid = np.asarray(Image.open(tmp_path / "nearest.png"))
    cell = [grid[2:18, 2 + i * 18:18 + i * 18] for i in range(3)]
    assert np.array_equal(cell[0], real[0]) and (cell[1] == 255).all()
    # Its nearest among the 40 real ones that the protocol draws need not be itself; they are real ones, though.
    assert (real == cell[2]).all((1, 2, 3)).any()
