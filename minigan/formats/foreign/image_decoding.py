"""Image files that others made: which ones are read, by name and by content, and their pixels, upright, as RGB."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from minigan.formats.untrusted import afford, open_file, what_file, what_it_is

# Pillow's decoders that need no outside program, and the suffixes of their files.
KINDS: dict[str, tuple[str, ...]] = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "ICO": (".ico",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),  # .mpo: several JPEGs in a row, of which the first counts
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TGA": (".tga",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
# Those that a Pillow may lack: the name under which its module `features` knows them.
OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
# Images that no decoder above reads: they are left out, and said to be.
OTHERS = (".arw", ".cr2", ".cr3", ".cur", ".dds", ".dib", ".dng", ".emf", ".eps", ".exr", ".hdr", ".heic", ".heif",
          ".icns", ".jxl", ".nef", ".orf", ".pcx", ".pfm", ".psd", ".qoi", ".rw2", ".sgi", ".svg", ".wmf", ".xcf")
LARGE_PIXELS = 1 << 30  # 4 GiB as RGB; Pillow's own limit, against files made to fill the memory, is 89,478,485
LARGE = 1 << 24  # pixels; larger ones are decoded one after the other, whatever the number of threads
MOST_OF_A_BYTE = 100  # pixels: no photograph of that size has as many for a byte of its file
COST = 12  # bytes that a pixel takes while it is decoded, turned and brought to RGB
STRIP = 256  # rows
_ONE = threading.Lock()


def _has(kind: str) -> bool:
    name = OPTIONAL.get(kind)
    return name is None or name in {**features.modules, **features.codecs} and bool(features.check(name))


READ = {kind: suffixes for kind, suffixes in KINDS.items() if _has(kind)}
SUFFIXES = tuple(sorted(suffix for suffixes in READ.values() for suffix in suffixes))
_UNREAD = (*OTHERS, *(suffix for kind in KINDS.keys() - READ.keys() for suffix in KINDS[kind]))
# TGA has no mark by which it is known: it is tried on files of its own suffix alone.
_MARKED = tuple(kind for kind in READ if kind != "TGA")
# Turns by the EXIF tag Orientation (CIPA DC-008, 4.6.4 A): what makes the stored image upright.
_TURNS = dict(enumerate((
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90), 2))
_ORIENTATION = 0x0112


class Unusable(ValueError):
    """An image that is not read, with the reason."""


class TooLarge(Unusable):
    """More pixels than are allowed."""


def hidden(parts: Sequence[str]) -> bool:
    """Whether a path is hidden, by a dot at the beginning of a name in it, or is what macOS puts into zip archives."""
    return any(part.startswith(".") and part not in (".", "..") or part == "__MACOSX" for part in parts)


def by_name(name: str) -> bool:
    """Whether a file's name is that of an image that can be read."""
    return name.lower().endswith(SUFFIXES)


def unread_kind(name: str) -> bool:
    """Whether a file's name is that of an image which nothing here reads."""
    return name.lower().endswith(_UNREAD)


def by_content(path: Path) -> bool:
    """Whether a file begins like an image, whatever its name."""
    try:
        with open_file(path) as file:
            head = file.read(32)
    except OSError:
        return False
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
                            b"\0\0\0\x0cjP  ")) or head[8:12] in (b"WEBP", b"avif", b"avis", b"heic", b"mif1")


@contextlib.contextmanager
def decoding(large: bool) -> Iterator[None]:
    """While images are decoded: odd tags are no warnings, and too many pixels an error; large: up to LARGE_PIXELS.

    What it sets is the whole process's, as Pillow's limit and log and Python's warnings are.
    """
    before, log = Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL")
    silent = logging.NullHandler()
    log.addHandler(silent)  # else Python prints what Pillow logs of broken files
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # odd tags of images that decode well
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if large:
            Image.MAX_IMAGE_PIXELS = LARGE_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
            log.removeHandler(silent)


@contextlib.contextmanager
def opened(file: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """The image in a file, not decoded yet. Unusable, with the reason, if it is none; within `decoding`.

    name: the file's, which says whether it may be a TGA.
    """
    formats = (*_MARKED, "TGA") if name.lower().endswith(READ["TGA"]) else _MARKED
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(open_file(file)) if isinstance(file, Path) else file
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            image = stack.enter_context(Image.open(stream, formats=formats))
            if check_pixels(image, size, (Image.MAX_IMAGE_PIXELS or 0) >= LARGE_PIXELS):
                stack.enter_context(_ONE)
            yield image
    except UnidentifiedImageError:
        raise Unusable(f"is {_content(file) or 'not an image of a known format'}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        numbers = re.findall(r"\d+", str(error))
        pixels = f"{int(numbers[0]) / 1e6:,.0f} megapixels" if numbers else "too many pixels"
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise TooLarge(f"has {pixels}, more than the limit of {limit:,.6g}") from None


def check_pixels(image: Image.Image, size: int, large: bool = False) -> bool:
    """Whether an image, not decoded yet, is large. TooLarge if it has more pixels than belong into a file of `size`
    bytes, unless large, and FailedWork if it has more than go into the memory."""
    pixels = image.width * image.height
    if pixels <= LARGE:
        return False
    if pixels > MOST_OF_A_BYTE * size and not large:
        raise TooLarge(f"has {pixels / 1e6:,.0f} megapixels in {size:,} bytes, more than an image of that size has")
    afford(COST * pixels, f"an image of {pixels / 1e6:,.0f} megapixels")
    return True


def upright(image: Image.Image) -> Image.Image:
    """Turned as its orientation tag says, where that is sound; as it is stored, otherwise.

    Only this tag is read. Pillow's exif_transpose writes all others again, and fails on odd ones.
    """
    try:
        turn = image.getexif().get(_ORIENTATION)
    except Exception:  # a broken block of tags may raise anything
        turn = None
    method = _TURNS.get(turn) if isinstance(turn, int) else None
    return image if method is None else image.transpose(method)


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16 bits rounded to 8, transparency laid on white. Unusable for floating-point pixels."""
    if image.mode == "F":
        raise Unusable("holds floating-point pixels, expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits in 16 or 32; Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        laid = Image.new("RGB", image.size)
        for top in range(0, image.height, STRIP):  # in strips: whole, it would take three images more
            part = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
            laid.paste(Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB"), (0, top))
        return laid
    return image.convert("RGB")


def _content(file: Path | io.BytesIO) -> str:
    if isinstance(file, io.BytesIO):
        return what_it_is(file.getvalue()[:512])
    return what_file(file)
