"""Each image of docs/pictures is drawn anew and compared, or is the record of a run that no test repeats.

Those of examples/pictures are all drawn anew: tests/test_examples.py.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan.cli import main

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
RUN = ROOT / "runs" / "shapes-cnn-sn"  # README's first command, which CI runs before the tests
GPU = "folder --data-root cifar10-jpeg-train.zip --size 32 --setting C --iterations 20000 --device cuda --norm "
REDRAWN = {"shapes.png"}
# Records: half an hour of two cores, on images that no test has; two minutes of an H100. A digest of their pixels, the
# section of docs/methods.md that says where they are from, and in it what `minigan train` was told. Who trains such a
# run again puts a new digest here, and what the run came to there.
RECORDS = {
    "photographs.png": ("17e4322653de7fd6", "Photographs on two cores", "cifar10 --preset small"),
    "h100-sn.png": ("bf7d6374c9bb86ef", "The paper's network on a GPU", f"{GPU}sn"),
    "h100-none.png": ("d73621e38df844e1", "The paper's network on a GPU", f"{GPU}none"),
    "h100-wgan-gp.png": ("defe3b40935b19bd", "The paper's network on a GPU", f"{GPU}none --loss wasserstein --gp 10"),
}
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


def test_every_image_is_drawn_anew_or_a_record():
    assert {path.name for path in FOLDER.iterdir()} == REDRAWN | {*RECORDS}
    folders = {path.parent for folder in ("bench", "docs", "examples", "kernels", "minigan", "tests")
               for path in (ROOT / folder).rglob("*.png")}
    assert folders == {FOLDER, ROOT / "examples" / "pictures"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_the_image_that_it_was_beside_what_made_it(name, capsys):
    digest, section, words = RECORDS[name]
    assert hashlib.sha256(read(FOLDER / name).astype(np.uint8).tobytes()).hexdigest().startswith(digest)
    sections = re.split(r"^## ", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8"), flags=re.M)
    text, = [text for text in sections if text.startswith(f"{section}\n")]
    assert f"(pictures/{name})" in text and re.search(rf"minigan train {re.escape(words)}[\n`]", text)
    assert main.run(["explain", *words.split()]) == 0, capsys.readouterr().err  # minigan still takes these words
