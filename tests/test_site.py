"""The site shows docstrings as they are meant: read by docutils, they have every word, and code is code."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if os.environ.get("CI"):
    import docutils.core as core
else:
    core = pytest.importorskip("docutils.core", reason="docutils is in the extras [test] and [docs]")

spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "site" / "docstrings.py")
docstrings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docstrings)


def tree(text):
    """What docutils reads; a warning is an error."""
    return core.publish_doctree(docstrings.restructured(text), settings_overrides={"halt_level": 2, "report_level": 2})


@pytest.mark.parametrize("text", [
    "|W^T u| and u_ *are* [not] marks, `code` is; 2 < 3 & 4", "a_b_ c* d` **kwargs", "(N,) `x`s", ":param: ..",
    "* a star"])
def test_signs_are_themselves(text):
    assert tree(text).astext() == text.replace("`code`", "code").replace("`x`", "x").removeprefix("* ")


def test_an_example_is_a_block_of_its_own():
    found = tree("Adds.\n\n>>> 1 + 1\n2\n>>> f(\n...     2)\n3\n\nMore.")
    assert [node.tagname for node in found.children] == ["paragraph", "literal_block", "paragraph"]
    assert found.children[1].astext() == ">>> 1 + 1\n2\n>>> f(\n...     2)\n3"


def test_code_goes_on_over_empty_lines():
    found = tree("So:\n\n    x = 1\n\n    y = 2\n\nDone.")
    assert [node.astext() for node in found.children] == ["So:", "    x = 1\n\n    y = 2".replace("    ", ""), "Done."]


def test_arguments_and_items_keep_their_lines():
    lines = tree("W: (out, in) float32,\n  contiguous.\nu: (out,).\nReturns v.").children[0]
    assert [line.astext() for line in lines.children] == [
        "W: (out, in) float32, contiguous.", "u: (out,).", "Returns v."]
    text, items = tree("One of\n- a name\n- a path,\n  as a str").children
    assert (text.astext(), [item.astext() for item in items.children]) == ("One of", ["a name", "a path, as a str"])


def test_a_colon_in_a_sentence_breaks_no_line():
    assert tree("Arrays are for\nreading: they are shared.").astext() == "Arrays are for reading: they are shared."
