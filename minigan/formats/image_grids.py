"""Several images as one: grids, film strips, rows below each other. Arrays to arrays, uint8; no files."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minigan.errors import WrongUse

SMALLEST = 10  # pixels of a label's letters
LETTERS = 80  # a strip's width over the size of its labels' letters: 12 pixels where it is shown 960 wide


def grid(
    images: np.ndarray, columns: int | None = None, padding: int = 2, background: int = 255, scale: int = 1
) -> np.ndarray:
    """Images in rows, left to right and top to bottom, with `padding` pixels between and around them.

    images: (N, H, W, C) uint8, C 1 or 3.  columns: None for nearly square.  scale: every pixel becomes
    scale x scale pixels; the padding does not grow.
    Returns (rows * (scale * H + padding) + padding, columns * (scale * W + padding) + padding, 3) uint8;
    cells that are left over show the background.
    """
    images = rgb(images)
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


def film_strip(
    frames: Sequence[np.ndarray],
    count: int = 8,
    labels: Sequence[int | str] | None = None,
    padding: int = 6,
    background: int = 255,
) -> np.ndarray:
    """`count` frames, evenly chosen with the first and the last, side by side; (H, W, 3) uint8.

    frames: each as for save_png.  labels: one for each frame, drawn centred under it, in letters that grow with the
    strip, so that they can be read where it is shown smaller; an iteration 12000 as "12,000". Fewer frames than `count`
    are all shown. Frames may differ in size; they hang from the top.
    """
    if not len(frames) or count < 1 or (labels is not None and len(labels) != len(frames)):
        given = f"{len(frames)} frames, {'no' if labels is None else len(labels)} labels, count {count}"
        raise WrongUse(f"film_strip: {given}; expected frames, a label for each or none, count >= 1")
    chosen = spread(len(frames), count)
    shown = [Image.fromarray(single(frames[i])) for i in chosen]
    texts = [] if labels is None else [_label(labels[i]) for i in chosen]
    wide = padding + sum(picture.width + padding for picture in shown)
    font = ImageFont.load_default(max(SMALLEST, wide / LETTERS))
    boxes = [font.getbbox(text) for text in texts] or [(0, 0, 0, 0)] * len(shown)
    widths = [max(p.width, math.ceil(box[2])) for p, box in zip(shown, boxes, strict=True)]
    bottom = padding + max(picture.height for picture in shown)
    text_height = padding + math.ceil(max(box[3] for box in boxes)) if texts else 0
    size = (padding + sum(width + padding for width in widths), bottom + text_height + padding)
    strip = Image.new("RGB", size, (background,) * 3)
    draw, left, ink = ImageDraw.Draw(strip), padding, (0, 0, 0) if background > 127 else (255, 255, 255)
    for i, (picture, box, width) in enumerate(zip(shown, boxes, widths, strict=True)):
        strip.paste(picture.convert("RGB"), (left + (width - picture.width) // 2, padding))
        if texts:
            draw.text((left + (width - math.ceil(box[2])) // 2, bottom + padding), texts[i], ink, font)
        left += width + padding
    return np.asarray(strip)


def stacked(rows: Sequence[np.ndarray], background: int = 255) -> np.ndarray:
    """Images (H, W, 3) uint8 one below the other, from the left; the background to the right of narrower ones."""
    wide = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=background)
                           for row in rows])


def spread(total: int, count: int) -> list[int]:
    """At most `count` of the numbers 0 to total - 1, evenly spread, first and last kept; of one, the last."""
    count = min(count, total)
    if count == 1:
        return [total - 1]
    return [round(i * (total - 1) / (count - 1)) for i in range(count)]


def rgb(images: np.ndarray) -> np.ndarray:
    """Images as (N, H, W, 3), grey ones repeated over the channels."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        given = f"{images.dtype} {images.shape}"
        raise ValueError(f"images are {given}; expected uint8 (N, H, W, C), C 1 or 3; see pixels.to_uint8")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def single(image: np.ndarray) -> np.ndarray:
    """One image as Pillow takes it: (H, W, 3), or (H, W) for grey."""
    image = np.asarray(image)
    grey = image[..., None] if image.ndim == 2 else image
    whole = rgb(grey[None])[0]
    return np.ascontiguousarray(whole if grey.shape[-1] == 3 else grey[..., 0])


def _label(label: int | str) -> str:
    return label if isinstance(label, str) else f"{label:,}"
