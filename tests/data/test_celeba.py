"""CelebA from a folder and an archive written here; then broken and hostile ones."""

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import read, refused

from minigan.data.datasets import find


@pytest.fixture
def faces(tmp_path) -> tuple[Path, np.ndarray]:
    """Four images of 178 x 218 in a folder and in a zip archive (PNG inside, so that pixels can be compared)."""
    images = np.random.default_rng(9).integers(0, 256, (4, 218, 178, 3), np.uint8)
    folder = tmp_path / "root" / "img_align_celeba"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as file:
        file.writestr("img_align_celeba/", "")
        for i in (2, 0, 3, 1):
            path = folder / f"{i:06}.jpg"
            Image.fromarray(images[i]).save(path, "PNG")
            file.write(path, f"img_align_celeba/{i:06}.jpg")
    return tmp_path, images


@pytest.mark.parametrize("form", ["root", "root/img_align_celeba", "img_align_celeba.zip", ""])
def test_celeba_has_the_crops_of_both_sources(form, faces):
    root = faces[0] / form
    if form == "":
        (root / "root").rename(root / "elsewhere")
    bssn = read("celeba", root)
    middle = faces[1][:, 45:173, 25:153].astype(float).reshape(4, 64, 2, 64, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(bssn.images, np.floor(middle + 0.5))
    assert (bssn.labels == -1).all() and bssn.classes == ()
    mimicry = read("celeba", root, crop=178, resize="bilinear").images
    for image, made in zip(faces[1], mimicry, strict=True):
        picture = Image.fromarray(image[20:198]).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(made, np.asarray(picture))
    assert find("celeba", root) is not None


def test_celeba_that_is_absent_or_broken_is_refused(faces, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "looked for img_align_celeba.zip and a folder img_align_celeba" in refused("celeba", tmp_path / "empty")
    assert "mmlab.ie.cuhk.edu.hk" in refused("celeba", None)
    path = faces[0] / "img_align_celeba.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert "not a zip archive, or cut off" in refused("celeba", path)
    at = whole.index(b"IDAT", 3000) + 500
    path.write_bytes(whole[:at] + bytes(80) + whole[at + 80:])
    line = refused("celeba", path)
    assert "1 of 4 images cannot be used: img_align_celeba/00000" in line and "--skip-bad" in line
    assert len(read("celeba", path, skip_bad=True).images) == 3
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "")
    assert "no images" in refused("celeba", path)
    assert "smaller than the crop of 200 x 200" in refused("celeba", faces[0] / "root", crop=200)


def test_a_zip_archive_can_neither_name_a_path_nor_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../evil.jpg", bytes(300_000_000))
    monkeypatch.setattr("minigan.data.image_folder.MAX_FILE", 1 << 20)
    tracemalloc.start()
    line = refused("celeba", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than 1048576 bytes" in line and peak < 10_000_000
    assert sorted(tmp_path.iterdir()) == [path]
