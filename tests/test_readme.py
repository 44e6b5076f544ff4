"""README is short, and its Python snippet runs as it stands; links between the pages lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {"build", ".git", "venv"} & {*path.relative_to(ROOT).parts})


def test_readme_is_read_in_five_minutes():
    assert len(README.read_text(encoding="utf-8").split()) <= 900  # as wc -w counts


def test_no_paragraph_of_readme_is_long():
    paragraphs = re.sub(r"```.*?```|<!--.*?-->", "", README.read_text(encoding="utf-8"), flags=re.S).split("\n\n")
    assert [text for text in paragraphs if not text.startswith(("|", "- ")) and len(text.split()) > 60] == []


def test_the_run_from_python_runs(tmp_path):
    """With one iteration for 200, in a folder of its own."""
    _, snippet = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert "iterations=200" in snippet
    done = subprocess.run([sys.executable, "-c", snippet.replace("iterations=200", "iterations=1")], cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "python" / "report.html").is_file()


def test_the_snippet_prints_what_it_says():
    snippet, _ = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == re.search(r": (\[.*\])$", snippet, re.M).group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
