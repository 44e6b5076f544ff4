"""Pictures of samples: grids, PNG and GIF files, film strips of a run. Arrays are uint8 (H, W, 3)."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minigan.errors import FailedWork, WrongUse
from minigan.formats.whole import write_whole


def grid(
    images: np.ndarray, columns: int | None = None, padding: int = 2, background: int = 255, scale: int = 1
) -> np.ndarray:
    """Images in rows, left to right and top to bottom, with `padding` pixels between and around them.

    images: (N, H, W, C) uint8, C 1 or 3.  columns: None for nearly square.  scale: every pixel becomes
    scale x scale pixels; the padding does not grow.
    Returns (rows * (scale * H + padding) + padding, columns * (scale * W + padding) + padding, 3) uint8;
    cells that are left over show the background.
    """
    images = _rgb(images)
    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    if columns < 1 or scale < 1 or padding < 0:
        given = f"columns {columns}, scale {scale}, padding {padding}"
        raise WrongUse(f"grid: {given}; expected columns >= 1, scale >= 1, padding >= 0")
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    rows, down, right = math.ceil(count / columns), scale * height + padding, scale * width + padding
    canvas = np.full((rows * down + padding, columns * right + padding, 3), background, np.uint8)
    for number, image in enumerate(images):
        top, left = padding + number // columns * down, padding + number % columns * right
        canvas[top : top + scale * height, left : left + scale * width] = image
    return canvas


def save_png(path: str | Path, image: np.ndarray) -> None:
    """One image, (H, W, 3), (H, W, 1) or (H, W) uint8, as a PNG file."""
    data = io.BytesIO()
    Image.fromarray(_single(image)).save(data, "PNG")
    write_whole(Path(path), data.getbuffer())


def save_singles(folder: str | Path, images: np.ndarray, start: int = 0) -> None:
    """Each of images (N, H, W, C) uint8 as a file of its own: 00000.png, 00001.png, ..., from `start` on."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FailedWork(f"{folder} cannot be made ({error.strerror or error})") from None
    for number, image in enumerate(images, start):
        save_png(folder / f"{number:05d}.png", image)


def save_gif(path: str | Path, frames: Sequence[np.ndarray], ms: int = 200, last_ms: int = 1500) -> None:
    """Frames of one shape, each as for save_png, as a GIF that repeats for ever and rests on the last frame.

    Each frame gets a palette of its own, 256 colours by median cut. Times are in milliseconds; GIF counts in
    hundredths of a second, so they are rounded to tens. Equal neighbours become one longer frame.
    """
    frames = [_single(frame) for frame in frames]
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) != 1:
        given = f"{len(frames)} frames of shapes {shapes}"
        raise ValueError(f"save_gif: {given}; expected at least one, all of one shape")
    first, *others = (Image.fromarray(frame).convert("RGB").quantize(256) for frame in frames)
    data = io.BytesIO()
    times = [round(ms, -1)] * len(others) + [round(last_ms, -1)]
    first.save(data, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False)
    write_whole(Path(path), data.getbuffer())


def film_strip(
    frames: Sequence[np.ndarray],
    count: int = 8,
    labels: Sequence[int | str] | None = None,
    padding: int = 6,
    background: int = 255,
) -> np.ndarray:
    """`count` frames, evenly chosen with the first and the last, side by side; (H, W, 3) uint8.

    frames: each as for save_png.  labels: one for each frame, drawn centred under it; an iteration 12000 as
    "12,000". Fewer frames than `count` are all shown. Frames may differ in size; they hang from the top.
    """
    if not len(frames) or count < 1 or (labels is not None and len(labels) != len(frames)):
        given = f"{len(frames)} frames, {'no' if labels is None else len(labels)} labels, count {count}"
        raise WrongUse(f"film_strip: {given}; expected frames, a label for each or none, count >= 1")
    chosen = spread(len(frames), count)
    pictures = [Image.fromarray(_single(frames[i])) for i in chosen]
    texts = [] if labels is None else [_label(labels[i]) for i in chosen]
    font = ImageFont.load_default()
    boxes = [font.getbbox(text) for text in texts] or [(0, 0, 0, 0)] * len(pictures)
    widths = [max(p.width, math.ceil(box[2])) for p, box in zip(pictures, boxes, strict=True)]
    bottom = padding + max(picture.height for picture in pictures)
    text_height = padding + math.ceil(max(box[3] for box in boxes)) if texts else 0
    size = (padding + sum(width + padding for width in widths), bottom + text_height + padding)
    strip = Image.new("RGB", size, (background,) * 3)
    draw, left, ink = ImageDraw.Draw(strip), padding, (0, 0, 0) if background > 127 else (255, 255, 255)
    for i, (picture, box, width) in enumerate(zip(pictures, boxes, widths, strict=True)):
        strip.paste(picture.convert("RGB"), (left + (width - picture.width) // 2, padding))
        if texts:
            draw.text((left + (width - math.ceil(box[2])) // 2, bottom + padding), texts[i], ink, font)
        left += width + padding
    return np.asarray(strip)


def stacked(rows: Sequence[np.ndarray], background: int = 255) -> np.ndarray:
    """Pictures (H, W, 3) uint8 one below the other, from the left; the background to the right of narrower ones."""
    wide = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=background)
                           for row in rows])


def progress_gif(folder: str | Path, out: str | Path, most: int = 60) -> Path:
    """A run's sample grids, folder/samples-0000100.png and so on, in the iterations' order as one GIF.

    At most `most` frames, evenly chosen; the first and the last are among them. Returns `out`.
    Raises WrongUse if the folder has no such pictures, FailedWork if one cannot be read or differs in size.
    """
    found = sample_grids(folder)
    if not found:
        raise WrongUse(f"{folder}: no sample pictures here; expected files named samples-0000100.png")
    frames = []
    for i in spread(len(found), most):
        path = found[i][1]
        frames.append(read_png(path))
        if frames[-1].shape != frames[0].shape:
            (height, width), (h, w) = frames[0].shape[:2], frames[-1].shape[:2]
            raise FailedWork(f"{path} is {w} x {h}, the pictures before it are {width} x {height}; remove it")
    save_gif(out, frames)
    return Path(out)


def sample_grids(folder: str | Path) -> list[tuple[int, Path]]:
    """(iteration, path) of every samples-0000100.png in the folder, in the iterations' order."""
    folder = Path(folder)
    names = folder.iterdir() if folder.is_dir() else ()
    matches = ((re.fullmatch(r"samples-([0-9]+)\.png", path.name), path) for path in names)
    return sorted((int(match[1]), path) for match, path in matches if match)


def spread(total: int, count: int) -> list[int]:
    """At most `count` of the numbers 0 to total - 1, evenly spread, first and last kept; of one, the last."""
    count = min(count, total)
    if count == 1:
        return [total - 1]
    return [round(i * (total - 1) / (count - 1)) for i in range(count)]


def _rgb(images: np.ndarray) -> np.ndarray:
    """Images as (N, H, W, 3), grey ones repeated over the channels."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        given = f"{images.dtype} {images.shape}"
        raise ValueError(f"images are {given}; expected uint8 (N, H, W, C), C 1 or 3; see pixels.to_uint8")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _single(image: np.ndarray) -> np.ndarray:
    """One image as Pillow takes it: (H, W, 3), or (H, W) for grey."""
    image = np.asarray(image)
    grey = image[..., None] if image.ndim == 2 else image
    rgb = _rgb(grey[None])[0]
    return np.ascontiguousarray(rgb if grey.shape[-1] == 3 else grey[..., 0])


def _label(label: int | str) -> str:
    return label if isinstance(label, str) else f"{label:,}"


def read_png(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FailedWork(f"{path} cannot be read ({error})") from None
