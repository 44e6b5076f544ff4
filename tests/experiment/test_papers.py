"""What the papers trained: rows that can be searched for."""

from pathlib import Path

from minigan.experiment import papers

ROOT = Path(__file__).resolve().parents[2]


def test_every_targets_name_stands_in_the_text_once():
    text = Path(papers.__file__).read_text(encoding="utf-8")
    assert [name for name in papers.TARGETS if text.count(f'"{name}": Target(') != 1] == []


def test_the_pages_say_how_many_there_are():
    count = len(papers.TARGETS)
    assert f"# one of {count}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"any of {count} rows" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
