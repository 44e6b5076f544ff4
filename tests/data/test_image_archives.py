"""Images of one's own in a zip archive or an .npz file, as --data-root of the data set folder."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from published_files import refused

from minigan.data.datasets import find, load, open_source
from minigan.errors import WrongUse


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def of(root: Path, said: list[str] | None = None, **options: object):
    say = (said if said is not None else []).append
    return load("folder", root=root, size=16, say=say, progress=lambda *_: None, **options)


@pytest.mark.parametrize("prefix", ["", "mine/"])
def test_a_zip_archive_is_the_folder_that_was_packed(prefix, pictures, tmp_path):
    data, archive = of(pictures), zipped(pictures, tmp_path / "a.zip", prefix)
    again = of(archive)
    np.testing.assert_array_equal(again.images, data.images)
    np.testing.assert_array_equal(again.labels, data.labels)
    assert again.classes == data.classes == ("a", "b") and find("folder", archive) == str(archive)


def test_a_flat_archive_is_one_class(pictures, tmp_path):
    data = of(zipped(pictures / "a", tmp_path / "a.zip"))
    assert data.classes == ("all",) and data.labels.tolist() == [0] * 10


def test_what_macos_adds_to_archives_is_left_out_and_other_images_are_said(pictures, tmp_path, said):
    archive = zipped(pictures, tmp_path / "a.zip", "mine/")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("__MACOSX/mine/a/._00.png", b"no image")
        more.writestr("mine/.hidden/1.png", b"no image")
        more.writestr("mine/a/photograph.heic", b"not read")
    assert len(of(archive, said).images) == 20
    assert len(said) == 1 and "left out 1 of a kind that is not read: mine/a/photograph.heic" in said[0]


@pytest.mark.parametrize("labels, classes, expected", [
    (lambda names: [[name, 3 * (name[0] == "b")] for name in names], ("0", "1", "2", "3"), [0] * 10 + [3] * 10),
    (lambda names: None, ("all",), [0] * 20)])
@pytest.mark.parametrize("packed", [True, False])
def test_labels_are_those_of_a_stylegan_archive(packed, labels, classes, expected, pictures, tmp_path):
    names = [file.relative_to(pictures).as_posix() for file in sorted(pictures.rglob("*.png"))]
    (pictures / "dataset.json").write_text(json.dumps({"labels": labels(names)}))
    data = of(zipped(pictures, tmp_path / "a.zip") if packed else pictures)
    assert data.classes == classes and data.labels.tolist() == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": [["a/00.png", 1]]}', '{"labels": 7}', "[" * 100_000,
                                  '{"labels": [["a/00.png", "cat"]]}'])
def test_other_labels_are_refused(text, pictures, tmp_path):
    (pictures / "dataset.json").write_text(text)
    line = refused("folder", zipped(pictures, tmp_path / "a.zip"))
    assert "dataset.json does not give each image a class" in line and "\n" not in line


def test_an_npz_file_is_a_data_set(tmp_path, rng):
    images = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images)
    said: list[str] = []
    data = of(tmp_path / "a.npz", said)
    np.testing.assert_array_equal(data.images, images)
    assert data.classes == ("all",) and data.labels.tolist() == [0] * 6 and "arr_0" in said[0]
    assert load("folder", root=tmp_path / "a.npz", size=8, say=said.append).images.shape == (6, 8, 8, 3)
    assert open_source("folder", root=tmp_path / "a.npz", size=16, say=said.append).shape == (6, 16, 16, 3)
    np.savez(tmp_path / "b.npz", images[:, :8])
    assert "16 x 8, expected squares" in refused("folder", tmp_path / "b.npz", WrongUse)


def test_another_file_is_no_data_set(tmp_path):
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    assert "expected a folder of images, a zip archive or an .npz" in refused("folder", tmp_path / "a.tar", WrongUse)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    assert "no images in the archive" in refused("folder", tmp_path / "b.zip")
