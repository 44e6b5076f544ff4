"""The hints of the facade, as a program of somebody else's sees them: mypy --strict is content, and finds mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")  # the extra `lint`; .ci/run has it beside ruff

ROOT = Path(__file__).resolve().parents[2]
MISUSES = {
    "minigan.train(images, out=3)": "arg-type",
    "minigan.train(images, labels=object())": "arg-type",
    "minigan.train(images, discriminator=judge)": "arg-type",
    "minigan.train(images, callback='log')": "arg-type",
    "minigan.train()": "call-arg",
    "minigan.load()": "call-arg",
    "minigan.load('r', generator='cnn')": "arg-type",
    "minigan.load('r').sample('many')": "arg-type",
    "minigan.load('r').export(3)": "arg-type",
    "minigan.load('r').samples(3)": "attr-defined",
    "minigan.load('r').log.loss_dis": "attr-defined",
    "text: str = minigan.load('r').iteration": "assignment",
    "minigan.fid(images, weights=3)": "arg-type",
    "minigan.fid(images, minigan)": "arg-type",
    "text = minigan.kid(images, images).name": "attr-defined",
    "minigan.spectral_norm(images, images)": "arg-type",
    "minigan.grad(minigan.Tensor([1.0]))": "call-overload",
    "minigan.inception": "attr-defined",
}


def mypy(path: Path, cache: Path) -> str:
    """What it says of a file; of the package only where that is imported from, as of any that is installed."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--follow-imports", "silent", "--cache-dir",
         str(cache), "--no-error-summary", "--hide-error-context", str(path)],
        capture_output=True, text=True, cwd=cache, env={"MYPYPATH": str(ROOT), "PATH": ""}, timeout=600)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


def test_a_program_that_is_right_has_no_mistakes(cache):
    assert mypy(Path(__file__).with_name("typed_use.py"), cache) == ""


def test_each_mistake_is_found_in_its_line(cache, tmp_path):
    head = ["import numpy as np", "import minigan", "images = np.zeros((9, 16, 16, 3), np.uint8)",
            "def judge(x: minigan.Tensor) -> minigan.Tensor: return x"]
    program = tmp_path / "program.py"
    program.write_text("\n".join([*head, *MISUSES]))
    found = {}
    for line in mypy(program, cache).splitlines():
        if ": error: " in line:
            number, code = int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]")
            found.setdefault([*head, *MISUSES][number - 1], code)
    assert found == MISUSES
