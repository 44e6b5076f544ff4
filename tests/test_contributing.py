"""CONTRIBUTING's examples are run as they stand, and what they add is trained with, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")

# every example's tests, then an iteration of each from the command line, and scores by a classifier of the new data set
USE = """
import sys
from minigan.cli import main

found = [function for name, function in sorted(globals().items()) if name.startswith("test_")]
results = [function() for function in found]
folder = next(path for path in results if path is not None)
words = ["--data-root", str(folder), "--width", "0.05", "--batch-size", "4", "--iterations", "1", "-q", "--size", "32"]
for more in ("--norm ws --loss pearson --model cnn-small", "--norm ws --model resnet --gp 1"):
    assert main.run(["train", "kmnist", "--out", str(folder / more), *words, *more.split()]) == 0, more
root = words[:2]
assert main.run(["classifier", "train", "kmnist", *root, "--epochs", "1", "-q"]) == 0
assert main.run(["train", "kmnist", "--out", str(folder / "run"), *words[:-2], "--dim-z", "8"]) == 0
assert main.run(["score", str(folder / "run"), *root, "--count", "30", "-q"]) == 0
assert main.run(["explain", "kmnist", "--model", "cnn-small"]) == 0
assert main.run(["networks", "cnn-small"]) == 0
print(len(found), "tests", file=sys.stderr)
"""


def test_the_examples_work_as_they_are_written(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    source = "\n".join([*blocks, USE])
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"MINIGAN_CACHE": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert f"{len(blocks)} tests" in done.stderr and len(blocks) == 4
    assert re.search(r"--init +normal-0.02 +default: as Table 3", done.stdout)
    assert "2,771,203" in done.stdout
    assert (tmp_path / "classifiers" / "kmnist-28.h5").is_file() and "classifier kmnist, digest" in done.stdout
    assert "protocol classifier (Inception knows no kmnist)" in done.stderr
    assert re.search(r"^FID +[0-9]", done.stdout, re.M)
    assert re.search(r"^  classifier at .* real \(kmnist", done.stdout, re.M)
