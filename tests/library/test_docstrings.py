"""The examples in the library's docstrings do what they say, and each name of the facade has one."""

import doctest
import importlib
import pkgutil

import pytest

import minigan
from minigan import library

MODULES = [f"minigan.library.{module.name}" for module in pkgutil.iter_modules(library.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_do_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["Run", "load", "train"])
def test_a_name_of_the_facade_has_an_example(name):
    assert ">>>" in getattr(minigan, name).__doc__
