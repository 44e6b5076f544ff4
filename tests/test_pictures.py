"""Images of docs/pictures are what the commands beside them draw. Those of examples/ have tests/test_examples.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
RUN = ROOT / "runs" / "shapes-cnn-sn"  # README's first command, which CI runs before the tests
BLAS = "openblas 0.3.31.188.0 (SkylakeX)"  # what shapes.png was trained with


def read(path):
    with Image.open(path) as image:
        assert image.mode == "RGB", f"{path.name} has a palette: saved in fewer colours than were drawn"
        return np.asarray(image).astype(int)


@pytest.mark.skipif(not os.environ.get("CI"), reason="CI trains it: the run that lies here may be another")
def test_the_drawings_are_those_of_the_first_command(tmp_path):
    blas = json.loads((RUN / "experiment.json").read_text(encoding="utf-8"))["machine"]["blas"]
    subprocess.run([sys.executable, "-m", "minigan", "sample", str(RUN), "--scale", "2", "--out",
                    str(tmp_path / "drawn.png")], check=True, timeout=120)
    drawn, kept = read(tmp_path / "drawn.png"), read(FOLDER / "shapes.png")
    assert drawn.shape == kept.shape
    apart = np.abs(drawn - kept).mean()
    assert apart == 0 if BLAS in blas else apart < 60, f"{apart}: draw docs/pictures/shapes.png anew, as README says"


def test_every_image_is_shown_with_its_command():
    shown = {}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"\((?:docs/)?pictures/([\w.-]+)\)", text):
            shown.setdefault(name, set()).update(re.findall(r"minigan sample \S+ --scale 2", text))
    assert {*shown} == {path.name for path in FOLDER.iterdir()} and all(shown.values())
    for name in shown:
        assert read(FOLDER / name).shape == (8 * (2 * 32 + 2) + 2,) * 2 + (3,)  # 64 of 32 x 32 pixels
