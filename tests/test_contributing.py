"""CONTRIBUTING's examples are run as they stand, and what they add is trained with, in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")

# every example's tests, then an iteration of each from the command line; a wrong name must know the new ones
USE = """
import sys
from minigan.cli import main

found = [function for name, function in sorted(globals().items()) if name.startswith("test_")]
results = [function() for function in found]
folder = next(path for path in results if path is not None)
words = ["--data-root", str(folder), "--width", "0.05", "--batch-size", "4", "--iterations", "1", "-q", "--size", "32"]
for more in ("--norm ws --loss pearson --model cnn-small", "--norm ws --model resnet --gp 1"):
    assert main.run(["train", "kmnist", "--out", str(folder / more), *words, *more.split()]) == 0, more
assert main.run(["explain", "kmnist", "--model", "cnn-small"]) == 0
assert main.run(["networks", "cnn-small"]) == 0
print(len(found), "tests", file=sys.stderr)
"""


def test_the_examples_work_as_they_are_written():
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    source = "\n".join([*blocks, USE])
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{len(blocks)} tests" in done.stderr and len(blocks) == 4
    assert re.search(r"--init +normal-0.02 +default: as Table 3", done.stdout)
    assert "2,771,203" in done.stdout
