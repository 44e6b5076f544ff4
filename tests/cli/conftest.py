"""What the commands' tests share: a working folder of their own, a trained run, the one line of a refusal."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import names, pictures, words

from minigan.cli import main
from minigan.data import locations


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty working folder, an empty cache folder, no system folder and no network."""
    def unreachable(*_, **__):
        raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(locations, "SYSTEM_FOLDER", tmp_path / "system")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A trained run, which tests leave as it is."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    return out


@pytest.fixture
def refused(capsys) -> Callable[[list, int], str]:
    """Runs the command line and returns the one line, on stderr, with which it refuses with that exit code; nothing is
    made in the working folder."""
    def refused(arguments: list, code: int) -> str:
        before = names(Path.cwd())
        assert main.run([str(word) for word in arguments]) == code
        out, error = capsys.readouterr()
        assert out == "" and error.startswith("minigan: ") and error.count("\n") == 1
        assert "fault of minigan" not in error and names(Path.cwd()) == before
        return error
    return refused
