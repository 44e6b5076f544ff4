"""Sphinx's settings. build.py says where the pages lie; nothing is fetched, by the build or by who reads the site."""

import inspect
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from docstrings import restructured  # noqa: E402

import minigan  # noqa: E402

project, author, release = "minigan", "minigan contributors", minigan.__version__
html_title = f"minigan {release}"
copyright = "minigan contributors, MIT license"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
myst_heading_anchors = 4
copybutton_prompt_text = ">>> "
html_theme = "furo"
html_static_path = [str(Path(__file__).resolve().parent / "static")]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
# Pages link to the notebooks that were executed.
html_extra_path = [str(Path(__file__).resolve().parents[2] / "build" / "pages" / "notebooks")]

# A field xp has a module as its default, which is shown with the place where it lies.
autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource", "exclude-members": "xp"}
autodoc_typehints = "signature"
# Shown by name: what each takes is in the docstrings, and NumPy's ArrayLike is a line of its private names.
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Input", "Network")}
autodoc_inherit_docstrings = False  # NumPy's words are not ours, nor written as ours
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
language = "en"
smartquotes = False  # norm="sn" in a docstring can be copied


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text. Those that Python or NumPy wrote (of tuples' fields, of inherited methods) go."""
    text = "\n".join(lines)
    lines[:] = [] if text.startswith("Alias for field number") else restructured(inspect.cleandoc(text)).splitlines()
    lines.append("")


def short(app, what, name, obj, options, signature, return_annotation):
    """A default that is a module is its name, not where it lies; so is an alias of types."""
    if not signature:
        return None
    signature = re.sub(r"<module '([\w.]+)'[^>]*>", r"\1", signature)
    return re.sub(r"TypeAliasForwardRef\('(?:\w+\.)*(\w+)'\)", r"\1", signature), return_annotation


def home(app, modname, attribute):
    """The module whose source shows the attribute: where it is defined if that is ours, not functools for a partial."""
    found = sys.modules.get(modname)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    where = getattr(found, "__module__", None) or ""
    return where if where.startswith("minigan") else modname


def setup(app):
    app.connect("autodoc-process-signature", short)
    app.connect("viewcode-follow-imported", home)
    app.connect("autodoc-process-docstring", plain)
