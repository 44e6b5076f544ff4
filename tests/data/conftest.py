"""Data sets' tests never see the user's cache folder, and keep what is said."""


from pathlib import Path

import pytest

from minigan.data import dataset, places


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, no system folder, and no network."""
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "SYSTEM_FOLDER", tmp_path / "system")

    def no_network(*args: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(dataset, "fetch", no_network)
    return tmp_path / "cache"


@pytest.fixture
def said() -> list[str]:
    return []
