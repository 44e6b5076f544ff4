"""The examples in docstrings do what they say, and each name of the facade has one."""

import doctest
import importlib
from pathlib import Path

import pytest

import minigan

ROOT = Path(minigan.__file__).parent
MODULES = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in sorted(ROOT.rglob("*.py"))
           if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_do_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", minigan.__all__)
def test_a_name_of_the_facade_has_an_example(name):
    assert ">>>" in getattr(minigan, name).__doc__
