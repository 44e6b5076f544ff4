"""STL-10 from binary files and archives written here; then broken and hostile ones."""

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import archive, put, read, refused, tar_header, write_tar

from minigan.data import stl10
from minigan.data.datasets import find, open_source


@pytest.fixture
def birds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {"unlabeled": rng.integers(0, 256, (7, 96, 96, 3), np.uint8),
            "train": rng.integers(0, 256, (3, 96, 96, 3), np.uint8)}


def stl10_files(birds: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Each image as three planes, each plane column by column; labels from 1 on."""
    files = {f"{split}_X.bin": b"".join(image[:, :, c].T.tobytes() for image in images for c in range(3))
             for split, images in birds.items()}
    return {**files, "train_y.bin": bytes([1, 10, 3])}


def stl10_root(form: str, root: Path, files: dict[str, bytes]) -> Path:
    if form == "archive":
        return archive(root / "stl10_binary.tar.gz", files, "stl10_binary").parent
    return put(root / "stl10_binary", files).parent


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_stl10_takes_the_unlabeled_ones_at_48_pixels(form, birds, tmp_path, monkeypatch):
    monkeypatch.setattr(stl10, "BLOCK", 3)
    root = stl10_root(form, tmp_path / "root", stl10_files(birds))
    data = read("stl10", root)
    mean = birds["unlabeled"].astype(float).reshape(7, 48, 2, 48, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(data.images, np.floor(mean + 0.5))
    assert data.classes == () and (data.labels == -1).all() and not data.labelled
    smooth = read("stl10", root, resize="bilinear").images[3]
    picture = Image.fromarray(birds["unlabeled"][3]).resize((48, 48), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(smooth, np.asarray(picture))
    whole = read("stl10", root, split="train", size=96)
    np.testing.assert_array_equal(whole.images, birds["train"])
    assert whole.labels.tolist() == [0, 9, 2] and whole.classes[9] == "truck" and whole.labelled
    assert find("stl10", root) is not None


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_a_source_goes_on_from_any_picture(form, birds, tmp_path, monkeypatch):
    monkeypatch.setattr(stl10, "BLOCK", 3)
    source = open_source("stl10", root=stl10_root(form, tmp_path / "root", stl10_files(birds)), size=96)
    for start in range(8):
        parts = list(source.blocks(start))
        rows = np.concatenate([index for _, _, index in parts]) if parts else []
        assert list(rows) == list(range(start, 7))
        for end, images, index in parts:
            assert end == index[-1] + 1
            np.testing.assert_array_equal(images, birds["unlabeled"][index])


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_stl10_that_is_broken_is_refused(form, birds, tmp_path):
    files = stl10_files(birds)
    cases = {
        "no multiple of 27648": files | {"unlabeled_X.bin": files["unlabeled_X.bin"][:-1]},
        "holds no images": files | {"unlabeled_X.bin": b""},
    }
    for i, (named, content) in enumerate(cases.items()):
        assert named in refused("stl10", stl10_root(form, tmp_path / str(i), content))
    for labels, named in ((b"\1\2", "3 images in train_X.bin, but 2 labels"), (b"\1\2\0", "other labels")):
        root = stl10_root(form, tmp_path / f"y{len(labels)}", files | {"train_y.bin": labels})
        assert named in refused("stl10", root, split="train")


def test_stl10_that_is_absent_or_cut_off_is_refused(birds, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused("stl10", tmp_path / "empty")
    assert "looked for stl10_binary.tar.gz or unlabeled_X.bin, also in" in line and "http://ai.stanford.edu" in line
    root = stl10_root("archive", tmp_path / "root", stl10_files(birds))
    path = root / "stl10_binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-30_000])
    assert "cut off" in refused("stl10", root)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("stl10_binary/other"), io.BytesIO())
    assert "stl10_binary/unlabeled_X.bin not found in the archive" in refused("stl10", root)


def test_an_archive_cannot_ask_for_memory_or_a_place(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    name = "stl10_binary/unlabeled_X.bin"
    for header, named in ((tar_header(name, 0, b"2", "/etc/passwd"), "is a link"),
                          (tar_header(name, 27648 * 100_000), "cut off"), (tar_header(name, 5 << 30), "unpack to more"),
                          (tar_header("../" + name, 0), "not found")):
        write_tar(root / "stl10_binary.tar.gz", header)
        tracemalloc.start()
        line = refused("stl10", root)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A source knows the size before the content: memory for the result of 48 pixels is counted, but not touched.
        assert named in line and (peak < 20_000_000 or named == "cut off")
    assert sorted(tmp_path.rglob("*")) == [root, root / "stl10_binary.tar.gz"]
