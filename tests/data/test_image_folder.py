"""Any folder of images: classes, sizes, kinds of files; and images that cannot be used."""

import logging
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from published_files import (
    read,
    refused,
)

from minigan.data import image_folder
from minigan.data.dataset import Dataset, Request
from minigan.data.datasets import find, load
from minigan.errors import FailedWork, WrongUse


def picture(path: Path, size: tuple[int, int] = (48, 40), colour: object = (200, 30, 60), mode: str = "RGB",
            **options: object) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def centre(data: Dataset, i: int = 0) -> list[int]:
    side = data.images.shape[1]
    return data.images[i, side // 2, side // 2].tolist()


def test_classes_are_the_folders_of_the_first_level_in_sorted_order(tmp_path):
    for i, name in enumerate(("b/2.png", "a/x/y/9.png", "b/10.png", "a/1.png", "c/none.txt")):
        path = tmp_path / "root" / name
        picture(path, colour=(10 * i, 0, 0)) if name.endswith("png") else path.parent.mkdir()
    data = read("folder", tmp_path / "root")
    assert data.classes == ("a", "b") and data.labels.tolist() == [0, 0, 1, 1]
    assert [centre(data, i)[0] for i in range(4)] == [30, 10, 20, 0]  # a/1, a/x/y/9, b/10, b/2
    assert data.images.shape == (4, 32, 32, 3)


def test_a_flat_folder_is_one_class(tmp_path):
    picture(tmp_path / "root" / "1.png")
    picture(tmp_path / "root" / "2.JPG")
    data = read("folder", tmp_path / "root", size=16)
    assert data.classes == ("all",) and data.labels.tolist() == [0, 0] and data.images.shape == (2, 16, 16, 3)
    assert find("folder", tmp_path / "root") == str(tmp_path / "root") and find("folder") is None


def test_pictures_beside_class_folders_are_kept_and_said(tmp_path, said):
    picture(tmp_path / "root" / "1.png")
    picture(tmp_path / "root" / "a" / "2.png")
    assert read("folder", tmp_path / "root", said).classes == (".", "a")
    assert len(said) == 1 and "1 image lies beside" in said[0]


@pytest.mark.parametrize("wide", [True, False])
def test_crop_takes_the_middle_and_stretch_takes_all(wide, tmp_path):
    image = Image.fromarray(np.random.default_rng(19).integers(0, 256, (64, 192, 3), np.uint8))
    image = image if wide else image.transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "root").mkdir()
    image.save(tmp_path / "root" / "1.png")
    scaled = image.resize((96, 32) if wide else (32, 96), Image.Resampling.LANCZOS)  # short side to 32
    middle = scaled.crop((32, 0, 64, 32) if wide else (0, 32, 32, 64))
    np.testing.assert_array_equal(read("folder", tmp_path / "root").images[0], np.asarray(middle))
    whole = image.resize((32, 32), Image.Resampling.LANCZOS)
    stretched = read("folder", tmp_path / "root", fit="stretch").images[0]
    np.testing.assert_array_equal(stretched, np.asarray(whole))


def test_a_picture_of_the_right_size_comes_through_unchanged(tmp_path):
    pixels = np.random.default_rng(17).integers(0, 256, (32, 32, 3), np.uint8)
    (tmp_path / "root").mkdir()
    Image.fromarray(pixels).save(tmp_path / "root" / "1.png")
    np.testing.assert_array_equal(read("folder", tmp_path / "root").images[0], pixels)


def test_many_pictures_keep_their_order_whatever_the_threads(tmp_path):
    for i in range(300):
        picture(tmp_path / "root" / f"{i:03}.png", (8 + i % 5, 8), (i % 256, i // 256, 7))
    done = []
    data = load("folder", root=tmp_path / "root", size=8, progress=lambda *at: done.append(at))
    assert data.images[:, 4, 4].tolist() == [[i % 256, i // 256, 7] for i in range(300)]
    assert done == [(256, 300, "reading images"), (300, 300, "reading images")]


def test_transparent_pictures_are_laid_on_white(tmp_path):
    root = tmp_path / "root"
    picture(root / "1.png", colour=(255, 0, 0, 0), mode="RGBA")
    picture(root / "2.png", colour=(255, 0, 0, 128), mode="RGBA")
    picture(root / "3.png", colour=(0, 0), mode="LA")
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(root / "4.png", transparency=1)
    palette.save(root / "5.gif", transparency=1)
    picture(root / "6.png", colour=(9, 9, 9), transparency=(9, 9, 9))
    picture(root / "7.webp", colour=(255, 0, 0, 0), mode="RGBA", lossless=True)
    data = read("folder", root)
    assert [centre(data, i) for i in range(7)] == [[255] * 3, [255, 127, 127]] + [[255] * 3] * 5


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    root = tmp_path / "root"
    picture(root / "1.png", colour=77, mode="L")
    picture(root / "2.png", colour=1, mode="1")
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(root / "3.png")
    sixteen = np.full((40, 40), 0x8080, np.uint16)  # 128 * 257
    Image.fromarray(sixteen).save(root / "4.png")
    Image.fromarray(sixteen).save(root / "5.tiff")
    picture(root / "6.tiff", colour=(0, 255, 255, 0), mode="CMYK")
    picture(root / "7.jpg", colour=(0, 255, 255, 0), mode="CMYK", quality=100)
    picture(root / "8.bmp", colour=(1, 2, 3))
    picture(root / "9.ppm", colour=(4, 5, 6))
    data = read("folder", root)
    expected = [[77] * 3, [255] * 3, [10, 20, 30], [128] * 3, [128] * 3, [255, 0, 0]]
    expected += [[255, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert np.abs(np.array([centre(data, i) for i in range(9)]) - expected).max() <= 2  # JPEG's rounding


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_an_animation_counts(kind, tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    (tmp_path / "root").mkdir()
    more = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / "root" / f"1.{kind}", save_all=True, append_images=frames[1:], **more)
    assert centre(read("folder", tmp_path / "root")) == [255, 0, 0]


def test_exif_orientation_is_obeyed(tmp_path):
    image = Image.new("RGB", (64, 64), "black")
    ImageDraw.Draw(image).rectangle((0, 0, 63, 31), fill="white")  # upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    (tmp_path / "root").mkdir()
    image.save(tmp_path / "root" / "1.jpg", exif=exif, quality=100)
    pixels = read("folder", tmp_path / "root").images[0]
    assert pixels[:, 18:].min() > 200 and pixels[:, :14].max() < 50  # the upper half is now the right one


def test_a_large_jpeg_decoded_at_a_fraction_looks_like_the_whole(tmp_path):
    y, x = np.mgrid[:800, :1200]
    waves = [np.sin(2 * np.pi * at / 32) for at in (x, y, x + y)]  # 4 pixels of the result long
    pixels = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    for kind in ("jpg", "png"):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / f"1.{kind}", quality=95)
    one, other = (read("folder", tmp_path / kind, size=100).images.astype(int) for kind in ("jpg", "png"))
    assert np.abs(one - other).mean() < 4  # 1.9 as it is; 8.9 if decoded at 1/8 instead of 1/4


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n"


def damage(root: Path) -> dict[str, Callable[[Path], object]]:
    def cut(path: Path) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:3000])

    return {
        "empty.png": lambda path: path.write_bytes(b""),
        "text.jpg": lambda path: path.write_text("<html>"),
        "cut.png": cut,
        "cut.jpg": cut,
        "float.tiff": lambda path: picture(path, colour=0.5, mode="F"),
        "postscript.png": lambda path: path.write_bytes(POSTSCRIPT),
        "pipe.png": lambda path: os.mkfifo(path),
        "gone.png": lambda path: path.symlink_to(root / "nothing.png"),
    }


def test_a_format_that_needs_another_program_is_not_even_tried(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "1.png").write_bytes(POSTSCRIPT)
    assert Image.open(tmp_path / "root" / "1.png").format == "EPS"  # Pillow would: with Ghostscript
    assert "1.png (is not an image of a known format)" in refused("folder", tmp_path / "root")


@pytest.mark.parametrize("name", sorted(damage(Path())))
def test_a_picture_that_cannot_be_read_is_named_and_left_out_only_on_request(name, tmp_path, said):
    if name == "pipe.png" and not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    root = tmp_path / "root"
    for i in range(4):
        picture(root / f"{i}.png", colour=(i, i, i))
    damage(root)[name](root / name)
    line = refused("folder", root)
    assert f"1 of 5 images cannot be used: {name} (" in line and "--skip-bad" in line and len(line) < 400
    data = read("folder", root, said, skip_bad=True)
    assert [centre(data, i)[0] for i in range(4)] == [0, 1, 2, 3]
    assert len(said) == 1 and name in said[0] and "left out" in said[0] and "1 left out" in data.source


def test_decoders_remarks_on_odd_pictures_are_not_passed_on(tmp_path, recwarn):
    data = bytearray(picture(tmp_path / "root" / "1.tiff").read_bytes())
    at = data.index(struct.pack("<HH", 273, 4))  # the tag StripOffsets; its count comes next
    data[at + 4 : at + 8] = struct.pack("<I", 1_000_000)
    (tmp_path / "root" / "1.tiff").write_bytes(data)
    assert "1 of 1" in refused("folder", tmp_path / "root")
    assert len(recwarn) == 0


def test_what_pillow_logs_of_a_broken_file_is_not_printed(tmp_path, monkeypatch, capsys):
    picture(tmp_path / "a.tiff")
    data = bytearray((tmp_path / "a.tiff").read_bytes())
    at = data.index(struct.pack("<HH", 277, 3))  # the tag SamplesPerPixel; its value comes last
    data[at + 8:at + 10] = struct.pack("<H", 24579)
    (tmp_path / "a.tiff").write_bytes(data)
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest has its own, and a program none
    refused("folder", tmp_path)
    assert capsys.readouterr().err == ""
    with pytest.raises(OSError):
        Image.open(tmp_path / "a.tiff")
    assert "More samples per pixel" in capsys.readouterr().err  # as Pillow would


@pytest.mark.parametrize("size", [None, 16])
def test_of_very_many_bad_pictures_not_all_are_looked_at(size, tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder, "MOST_BAD", 3)
    monkeypatch.setattr(image_folder, "BLOCK", 2)
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(b"broken")
    looked = 3 if size is None else 4  # one by one for the size of the first; then in blocks
    with pytest.raises(FailedWork, match=f"{looked} of the first {looked} of 9 images cannot be used"):
        list(image_folder.source(tmp_path, image_folder.Fitting(size), Request(tmp_path)).blocks(0))


def test_many_bad_pictures_are_counted_and_the_first_are_named(tmp_path):
    root = tmp_path / "root"
    picture(root / "good.png")
    for i in range(9):
        (root / f"bad{i}.png").write_bytes(b"broken")
    line = refused("folder", root)
    assert "9 of 10" in line and "bad0.png" in line and "bad2.png" in line and "and 6 more" in line
    assert "bad3" not in line
    (root / "good.png").unlink()
    assert "9 of 9" in refused("folder", root, skip_bad=True)


def test_a_picture_smaller_than_asked_for_says_which_size_would_do(tmp_path):
    root = tmp_path / "root"
    picture(root / "big.png")
    picture(root / "icon.png", (16, 20))
    line = refused("folder", root)
    assert "icon.png (is 16 x 20, smaller than 32 x 32); use --size 16 or --skip-bad" in line
    assert len(read("folder", root, size=16).images) == 2
    assert len(read("folder", root, skip_bad=True).images) == 1


def test_more_pixels_than_pillows_limit_are_refused(tmp_path, monkeypatch):
    picture(tmp_path / "root" / "1.png", (100, 100))
    picture(tmp_path / "root" / "2.png", (40, 40))
    for limit in (9_999, 4_000):  # Pillow itself warns at the first, raises at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        line = refused("folder", tmp_path / "root")
        assert "1 of 2" in line and "1.png (has 0 megapixels, more than the limit of 0.00" in line
        assert line.endswith("use --large-images or --skip-bad")
    assert len(read("folder", tmp_path / "root", large_images=True).images) == 2
    assert Image.MAX_IMAGE_PIXELS == 4_000


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path, said):
    root, outside = tmp_path / "root", tmp_path / "outside"
    picture(root / "a" / "1.png", colour=(1, 1, 1))
    picture(outside / "secret.png", colour=(9, 9, 9))
    (root / "a" / "2.png").symlink_to(outside / "secret.png")
    (root / "b").symlink_to(outside)
    (root / "a" / "3.png").symlink_to(root / "a" / "1.png")
    (root / "loop").symlink_to(root)
    data = read("folder", root, said)
    assert [centre(data, i)[0] for i in range(len(data.images))] == [1, 1]
    assert len(said) == 1 and "left out 2 symbolic links" in said[0] and "a/2.png" in said[0]
    entry = tmp_path / "entry"
    entry.symlink_to(root)
    assert len(read("folder", entry).images) == 2  # the folder itself may be named by a link


def test_links_out_of_the_folder_are_followed_when_asked_for(tmp_path, said):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for i in range(3):
        picture(outside / "cat" / f"{i}.png", colour=(i, i, i))
    picture(outside / "single.png", colour=(9, 9, 9))
    for name, target in (("cat", "cat"), ("dog/9.png", "single.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(outside / target)
    line = refused("folder", root)
    assert "no images" in line and "2 symbolic links that lead out of it (--follow-links takes them): cat, " in line
    (outside / "cat" / "back").symlink_to(root)  # a ring: from here on for ever
    data = read("folder", root, said, follow_links=True)
    assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 0, 1]
    assert [centre(data, i)[0] for i in range(4)] == [0, 1, 2, 9]
    assert len(said) == 1 and "1 link to a folder that it lies in: cat/back" in said[0]


def test_hidden_files_are_left_out_and_said(tmp_path, said):
    picture(tmp_path / "root" / "1.png")
    (tmp_path / "root" / "._1.png").write_bytes(b"made by another system")
    (tmp_path / "root" / "Thumbs.db").write_bytes(b"made by another system")
    picture(tmp_path / "root" / ".thumbnails" / "1.png")
    picture(tmp_path / "root" / "__MACOSX" / "1.png")
    picture(tmp_path / "root" / "0000.png" / "2.png")  # a folder, whatever its name
    assert len(read("folder", tmp_path / "root", said).images) == 2
    assert [line.partition(": ")[2] for line in said] == [
        "left out 1 hidden file: ._1.png", "1 image lies beside the class folders; their class is '.'"]


def test_images_that_are_not_read_are_counted_and_named_with_the_reason(tmp_path, said):
    root = tmp_path / "root"
    picture(root / "1.png")
    for name in ("a.heic", "b.CR2", "notes.txt", "labels"):
        (root / name).write_bytes(b"something")
    picture(root / "2.png").rename(root / "2")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "pipe")  # to look into it would wait for ever
    assert len(read("folder", root, said).images) == 1
    assert len(said) == 1 and "left out 2 of kinds that are not read: a.heic, b.CR2; 1 image whose name does" in said[0]


def test_images_at_their_own_size_must_all_have_one(tmp_path, said):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "0.png").write_bytes(b"broken")
    picture(root / "1.png", (40, 40))
    picture(root / "2.png", (48, 40))
    picture(root / "sub" / "3.png", (64, 64))
    line = refused("folder", root, own_size=True)
    assert "0.png (is not an image of a known format), 2.png (is 48 x 40, the first one 40 x 40), sub/3.png" in line
    data = load("folder", root=root, own_size=True, skip_bad=True, say=said.append, progress=lambda *_: None)
    assert data.images.shape == (1, 40, 40, 3) and "left out" in said[-1]
    (root / "0.png").unlink()
    assert refused("folder", root, own_size=True).endswith("the first one 40 x 40); use --size 40 or --skip-bad")
    assert read("folder", root, own_size=True, size=16).images.shape == (3, 16, 16, 3)
    (root / "1.png").unlink()
    assert "2.png has 48 x 40 pixels; expected squares" in refused("folder", root, WrongUse, own_size=True)


def test_a_name_with_a_newline_stays_on_one_line(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a\nb\x1b[2J.png").write_bytes(b"broken")
    assert r"a\nb\x1b[2J.png" in refused("folder", tmp_path / "root")


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    (tmp_path / "root").mkdir()
    assert "no images" in refused("folder", tmp_path / "root")
    assert "--data-root" in refused("folder", None, WrongUse)
    picture(tmp_path / "root" / "1.png")
    assert "expected a folder" in refused("folder", tmp_path / "root" / "1.png", WrongUse)
    assert "no split 'test'" in refused("folder", tmp_path / "root", WrongUse, split="test")


def test_reading_pictures_leaves_no_thread_behind(tmp_path):
    picture(tmp_path / "root" / "1.png")
    before = threading.active_count()
    read("folder", tmp_path / "root")
    assert threading.active_count() == before
