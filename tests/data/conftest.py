"""Data sets' tests never see the user's cache folder, and keep what is said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan.data import dataset, datasets, locations, pack


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, no system folder, and no network."""
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(locations, "SYSTEM_FOLDER", tmp_path / "system")

    def no_network(*args: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(dataset, "fetch", no_network)
    return tmp_path / "cache"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with 20 images of 16 x 16 in two classes."""
    rng = np.random.default_rng(21)
    for i in range(20):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    """Chunks of 3 images and 4 labels, blocks of 7 images: all three end at different places."""
    monkeypatch.setattr(pack, "CHUNK", 3 * 16 * 16 * 3)
    monkeypatch.setattr(pack, "LABELS", 4)
    monkeypatch.setattr("minigan.data.image_folder.BLOCK", 7)
    monkeypatch.setattr(pack, "SYNC_EVERY", 0.0)


@pytest.fixture
def file(pictures, small_chunks, tmp_path) -> Path:
    pack.pack("folder", tmp_path / "out.h5", root=pictures, size=16, progress=lambda *_: None)
    return tmp_path / "out.h5"


@pytest.fixture
def original(pictures: Path) -> dataset.Dataset:
    """What is packed in `file`, read from its folder."""
    return datasets.load("folder", root=pictures, size=16, progress=lambda *_: None, say=lambda line: None)
