"""A run as an object."""

import numpy as np
from tiny import pictures, words

import minigan
from minigan.cli import main


def test_a_loaded_run_samples_what_the_command_samples(tmp_path):
    out = tmp_path / "run"
    assert main.run(words(pictures(tmp_path / "images"), out)) == 0
    assert main.run(["sample", str(out), "-n", "5", "--seed", "3", "--out", str(tmp_path / "few.npz")]) == 0
    np.testing.assert_array_equal(minigan.load(str(out)).sample(5, seed=3), np.load(tmp_path / "few.npz")["images"])
