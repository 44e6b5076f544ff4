"""ImageNet from folders of classes written here."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import read, refused


@pytest.fixture
def kinds(tmp_path) -> tuple[Path, list[np.ndarray]]:
    rng = np.random.default_rng(10)
    images = []
    for name, shape in (("n02000000/b.JPEG", (150, 201)), ("n01440764/z.JPEG", (257, 256)),
                        ("n02000000/a.png", (90, 60))):
        path = tmp_path / "root" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.append(rng.integers(0, 256, (*shape, 3), np.uint8))
        Image.fromarray(images[-1]).save(path, "PNG")
    return tmp_path / "root", images


@pytest.mark.parametrize("below", ["", "train"])
def test_imagenet_takes_the_square_in_the_middle_and_labels_by_sorted_folder(below, kinds):
    root, (b, z, a) = kinds
    data = read("imagenet", root / below)
    assert data.classes == ("n01440764", "n02000000") and data.labels.tolist() == [0, 1, 1]
    squares = (z[0:256], a[15:75], b[:, 25:175])  # the middle, rounded down as in both sources
    for made, square in zip(data.images, squares, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(square)).resize((128, 128), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(made, np.asarray(picture))
    plain = read("imagenet", root / below, resize="plain").images
    mean = z[0:256].astype(float).reshape(128, 2, 128, 2, 3).mean((1, 3))
    np.testing.assert_array_equal(plain[0], np.floor(mean + 0.5))


def test_imagenet_that_is_absent_is_said_with_the_folders_that_were_looked_for(kinds, tmp_path):
    line = refused("imagenet", kinds[0], split="test")
    assert "looked for class folders (n01440764 and so on) in val" in line
    (kinds[0] / "val").symlink_to(kinds[0] / "train")
    assert len(read("imagenet", kinds[0], split="test").images) == 3
    (tmp_path / "empty").mkdir()
    assert "in train and itself, also in imagenet" in refused("imagenet", tmp_path / "empty")


def test_a_set_that_would_fill_the_memory_is_to_be_packed(kinds, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 100_000)
    line = refused("imagenet", kinds[0])
    assert "minigan pack imagenet FILE.h5" in line and "minigan train packed --data-root FILE.h5" in line
    assert re.search(r"3 images take 0\.0 GiB", line)
