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
    apart = np.abs(drawn - kept).mean() if BLAS in blas else colours_apart(drawn, kept)
    assert apart == 0 if BLAS in blas else apart < 0.12, f"{apart}: draw docs/pictures/shapes.png anew, as README says"


def colours_apart(a, b):
    """What share of the pixels has other colours, of 64; wherever they are: another kernel's run draws other shapes.

    Other images of the run that drew shapes.png are 0.05 from it, those of half of its iterations 0.08.
    """
    counts = [np.bincount((image // 64 @ [16, 4, 1]).ravel(), minlength=64) for image in (a, b)]
    return abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum() / 2


def test_no_white_page_and_no_photographs_are_taken_for_drawings():
    drawings = read(FOLDER / "shapes.png")
    for other in (np.full_like(drawings, 255), read(FOLDER / "photographs.png"), 255 - drawings):
        assert colours_apart(other, drawings) > 0.2
    assert colours_apart(drawings[::-1], drawings) == 0


def test_every_image_is_shown_with_its_command():
    shown = {}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"\((?:docs/)?pictures/([\w.-]+)\)", text):
            shown.setdefault(name, set()).update(re.findall(r"minigan sample \S+ --scale 2", text))
    assert {*shown} == {path.name for path in FOLDER.iterdir()} and all(shown.values())
    for name in shown:
        assert read(FOLDER / name).shape == (8 * (2 * 32 + 2) + 2,) * 2 + (3,)  # 64 of 32 x 32 pixels
