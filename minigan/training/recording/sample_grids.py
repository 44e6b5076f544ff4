"""The grids of samples that a run leaves: each beside the others, the newest, and all of them as a film."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from minigan.errors import FailedWork, WrongUse
from minigan.formats import image_files, image_grids


def save_samples(folder: Path, iteration: int, images: np.ndarray) -> None:
    """A grid of samples, uint8 (N, H, W, C), as samples/samples-0001000.png and samples.png."""
    grid = image_grids.grid(images)
    image_files.save_png(folder / "samples" / f"samples-{iteration:07d}.png", grid, parents=False)
    image_files.save_png(folder / "samples.png", grid, parents=False)


def save_progress(folder: Path, last: int) -> None:
    """film.png, eight grids side by side, and progress.gif, from the grids up to iteration `last`."""
    grids = [(iteration, path) for iteration, path in sample_grids(folder / "samples") if iteration <= last]
    if not grids:
        return
    chosen = [grids[i] for i in image_grids.spread(len(grids), 8)]
    film = image_grids.film_strip([image_files.read_png(path) for _, path in chosen],
                                  labels=[iteration for iteration, _ in chosen])
    image_files.save_png(folder / "film.png", film, parents=False)
    progress_gif(folder / "samples", folder / "progress.gif")


def progress_gif(folder: str | Path, out: str | Path, most: int = 60) -> Path:
    """A run's sample grids, folder/samples-0000100.png and so on, in the iterations' order as one GIF.

    At most `most` frames, evenly chosen; the first and the last are among them. Returns `out`.
    Raises WrongUse if the folder has no such images, FailedWork if one cannot be read or differs in size.
    """
    found = sample_grids(folder)
    if not found:
        raise WrongUse(f"{folder}: no sample images here; expected files named samples-0000100.png")
    frames = []
    for i in image_grids.spread(len(found), most):
        path = found[i][1]
        frames.append(image_files.read_png(path))
        if frames[-1].shape != frames[0].shape:
            (height, width), (h, w) = frames[0].shape[:2], frames[-1].shape[:2]
            raise FailedWork(f"{path} is {w} x {h}, the images before it are {width} x {height}; remove it")
    image_files.save_gif(out, frames, parents=False)
    return Path(out)


def sample_grids(folder: str | Path) -> list[tuple[int, Path]]:
    """(iteration, path) of every samples-0000100.png in the folder, in the iterations' order."""
    folder = Path(folder)
    names = folder.iterdir() if folder.is_dir() else ()
    matches = ((re.fullmatch(r"samples-([0-9]{7,})\.png", path.name), path) for path in names)
    return sorted((int(match[1]), path) for match, path in matches if match)
