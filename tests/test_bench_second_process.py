"""bench/second_process.py: each update goes every way in turn, and the second process is asked in its own way alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no second process elsewhere")
def test_the_second_process_is_asked_in_its_own_way_alone():
    words = ["cnn-0.1-8", "--seconds", "0.2", "--threads", "2", "--json"]
    done = subprocess.run([sys.executable, ROOT / "bench" / "second_process.py", *words], capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)
    rows = json.loads(done.stdout)["results"]
    ways = {(row["update"], row["way"]): row["parts_ms"] for row in rows}
    assert {*ways} == {("discriminator", "alone"), ("discriminator", "with it"), ("generator", "whole"),
                       ("generator", "halves"), ("generator", "with it")}
    for (_, way), parts in ways.items():
        assert parts["forward"] > 0 and (parts["waiting"] > 0) == (parts["writing"] > 0) == (way == "with it")
    assert all(row["ms"] > row["parts_ms"]["forward"] and 0.1 < row["size"] < 0.4 for row in rows)
