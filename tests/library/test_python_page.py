"""The page docs/python.md: its blocks run, one after the other, on runs that are small."""

import re
from pathlib import Path

import pytest

import minigan

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
SMALLER = {"iterations=500": "iterations=2, width=0.05, quiet=True",  # what is written -> what is run
           "run.score(count=1000) ": "0 ",  # needs a classifier of these images
           "iterations=20,": "iterations=2, quiet=True,", "count=64": "count=64, quiet=True"}


def test_the_pages_blocks_run_in_their_order(tmp_path, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    minigan.train("shapes", width=0.03, iterations=2, out="runs/shapes-cnn-sn", quiet=True)
    space, found = {"pandas": pandas}, []
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        for written, small in SMALLER.items():
            found += [written] * (written in block)
            block = block.replace(written, small)
        exec(block, space)
    assert {*found} == {*SMALLER}, "the page says something else now"
    assert sorted(path.name for path in Path("runs").iterdir()) == ["mine", "own", "shapes-cnn-sn"]
    assert space["images"].shape == (500, 16, 16, 1)
    assert capsys.readouterr().out.endswith("[ 6. 12. 18.]\n")
