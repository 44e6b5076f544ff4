"""Images to files and back: PNG, GIF and .npz. Arrays are uint8."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from minigan.errors import FailedWork, reason
from minigan.formats.foreign.image_decoding import check_pixels
from minigan.formats.image_grids import single
from minigan.formats.untrusted import open_file
from minigan.formats.whole import make_folder, remove_dead, sync_folder, write_whole

SYNCED_AT_A_TIME = 16


def save_png(path: str | Path, image: np.ndarray, *, parents: bool = True, alone: bool = True) -> None:
    """One image, (H, W, 3), (H, W, 1) or (H, W) uint8, as a PNG file; parents, alone: as for write_whole."""
    data = io.BytesIO()
    Image.fromarray(single(image)).save(data, "PNG")
    write_whole(Path(path), data.getbuffer(), parents=parents, alone=alone)


def save_singles(folder: str | Path, images: np.ndarray, start: int = 0) -> None:
    """Each of images (N, H, W, C) uint8 as a file of its own: 00000.png, 00001.png, ..., from `start` on.

    Each is synced, several at a time, for which a disk takes hardly longer than for one.
    """
    folder = Path(folder)
    try:
        make_folder(folder)
        remove_dead(folder, "[0-9][0-9][0-9][0-9]*.png")
        with ThreadPoolExecutor(SYNCED_AT_A_TIME) as pool:
            for _ in pool.map(lambda number, image: save_png(folder / f"{number:05d}.png", image, alone=False),
                              range(start, start + len(images)), images):
                pass
        sync_folder(folder)
    except OSError as error:
        raise FailedWork(f"{folder} cannot be made ({error.strerror or error})") from None


def save_gif(path: str | Path, frames: Sequence[np.ndarray], ms: int = 200, last_ms: int = 1500, *,
             parents: bool = True) -> None:
    """Frames of one shape, each as for save_png, as a GIF that repeats for ever and rests on the last frame.

    Each frame gets a palette of its own, 256 colours by median cut. Times are in milliseconds; GIF counts in
    hundredths of a second, so they are rounded to tens. Equal neighbours become one longer frame.
    """
    frames = [single(frame) for frame in frames]
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) != 1:
        given = f"{len(frames)} frames of shapes {shapes}"
        raise ValueError(f"save_gif: {given}; expected at least one, all of one shape")
    first, *others = (Image.fromarray(frame).convert("RGB").quantize(256) for frame in frames)
    data = io.BytesIO()
    times = [round(ms, -1)] * len(others) + [round(last_ms, -1)]
    first.save(data, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False)
    write_whole(Path(path), data.getbuffer(), parents=parents)


def read_png(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8."""
    try:
        with open_file(path) as file, Image.open(file, formats=("PNG",)) as picture:
            check_pixels(picture, path.stat().st_size)
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FailedWork(f"{path} cannot be read ({reason(error)})") from None


def save_npz(path: Path, images: np.ndarray) -> None:
    """The array `images` in an .npz file."""
    data = io.BytesIO()
    np.savez_compressed(data, images=images)
    write_whole(path, data.getbuffer())
