"""Image files that others made: their suffixes, and photographs with odd tags."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from minigan.formats.foreign import image_decoding
from minigan.formats.foreign.image_decoding import KINDS, READ, decoding, opened, rgb, upright

TURN = (0x0112, 3, 1, struct.pack("<H", 6))  # by 90 degrees to the right


def block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A TIFF block of one directory; entries: (tag, type, count, value)."""
    at, body, rows = 8 + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, count, data in entries:
        place = struct.pack("<I", at + len(body)) if len(data) > 4 else data.ljust(4, b"\0")
        body += data if len(data) > 4 else b""
        rows += struct.pack("<HHI", tag, kind, count) + place
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + body


# name -> block of tags, and whether the image is turned. Each is from a report to Pillow (issues 8965, 8605, 8548,
# 7839, 4238, 8348, 8790).
ODD = {
    "a rational that is no number": (block(TURN, (0x011A, 5, 1, struct.pack("<II", 1, 0))), True),
    "a negative one by 0": (block(TURN, (0x011A, 10, 1, struct.pack("<ii", -1, 0))), True),
    "a resolution that is short": (block(TURN, (0x011A, 3, 1, struct.pack("<H", 72))), True),
    "a resolution that is text": (block(TURN, (0x011A, 2, 4, b"72\0\0")), True),
    "an artist that is a number": (block(TURN, (0x013B, 5, 1, struct.pack("<II", 3, 1))), True),
    "software that is a number": (block(TURN, (0x0131, 4, 1, struct.pack("<I", 5))), True),
    "a copyright that is a float": (block(TURN, (0x8298, 11, 1, struct.pack("<f", 1.5))), True),
    "a version that is a byte": (block(TURN, (0x9000, 1, 1, b"\x05")), True),
    "an unknown tag": (block(TURN, (0xC0DE, 10, 1, struct.pack("<ii", -5, 3))), True),
    "a pointer to nowhere": (block(TURN, (0x8769, 4, 1, struct.pack("<I", 60000))), True),
    "a pointer that is text": (block(TURN, (0x8769, 2, 4, b"abc\0")), True),
    "two orientations": (block((0x0112, 3, 2, struct.pack("<HH", 6, 6))), True),
    "an orientation that is text": (block((0x0112, 2, 2, b"6\0")), False),
    "an orientation of 99": (block((0x0112, 3, 1, struct.pack("<H", 99))), False),
    "no tags": (b"", False),
    "no block of tags": (b"not a TIFF block at all", False),
    "a block that is cut off": (block(TURN, (0x010F, 2, 40, b"x" * 40))[:20], False),
}


@pytest.mark.parametrize("name", ODD)
def test_a_photograph_with_odd_tags_is_read_and_turned_where_its_orientation_is_sound(name, tmp_path):
    tags, turned = ODD[name]
    stored = Image.fromarray(np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60))
    file = io.BytesIO()
    stored.save(file, "JPEG", quality=95)
    plain, tags = file.getvalue(), b"Exif\0\0" + tags
    path = tmp_path / "a.jpg"
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(tags) + 2) + tags + plain[2:])
    with decoding(large=False), opened(path, path.name) as image:
        found = np.asarray(rgb(upright(image)))
    decoded = np.asarray(Image.open(io.BytesIO(plain)))
    np.testing.assert_array_equal(found, np.rot90(decoded, -1) if turned else decoded)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_that_of_pillows_own_rule(turn):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    image.getexif()[0x0112] = turn
    np.testing.assert_array_equal(np.asarray(upright(image)), np.asarray(ImageOps.exif_transpose(image)))


def test_the_suffixes_are_those_that_pillow_has_for_each_kind():
    Image.init()
    known = Image.registered_extensions()
    for kind, suffixes in READ.items():
        theirs = {suffix for suffix, owner in known.items() if owner in (kind, *(["MPO"] if kind == "JPEG" else []))}
        # .pfm holds floating-point pixels; .icb, .vda and .vst are TGA's old names, which nobody uses for images today
        assert theirs - {".pfm", ".icb", ".vda", ".vst"} == set(suffixes)
    assert not {suffix for suffixes in KINDS.values() for suffix in suffixes} & set(image_decoding.OTHERS)


@pytest.mark.parametrize("kind", [kind for kind in READ if kind != "ICO"])
def test_an_image_of_every_kind_is_recognized_by_its_content(kind, tmp_path):
    for suffix in READ[kind]:
        path = tmp_path / f"a{suffix.upper()}"
        Image.new("RGB", (16, 12), (200, 30, 60)).save(path, kind)
        wrong = path if kind == "TGA" else path.rename(path.with_suffix(".gif"))  # TGA is known by its name alone
        with decoding(large=False), opened(wrong, wrong.name) as image:
            assert np.abs(np.asarray(rgb(image)).astype(int) - (200, 30, 60)).max() <= 12  # JPEG's and GIF's rounding
        assert image_decoding.by_name(f"a{suffix}") and not image_decoding.unread_kind(f"a{suffix}")


@pytest.mark.parametrize("data, word", [
    (b"<!DOCTYPE html><html>", "HTML"), (b"\n <HTML>", "HTML"), (b"", "an empty file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
    (b"<svg xmlns=''>", "XML"), (b"nothing", "not an image of a known format")])
def test_what_is_no_image_is_called_what_it_is(data, word, tmp_path):
    path: Path = tmp_path / "a.png"
    path.write_bytes(data)
    for file in (path, io.BytesIO(data)):
        with decoding(large=False), pytest.raises(image_decoding.Unusable, match=word), opened(file, "a.png"):
            pass
