"""Images as an array that shows itself in a notebook."""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from minigan.errors import WrongUse
from minigan.formats import image_files, image_grids
from minigan.library.options import path_of

SHOWN = 100  # of more images, a notebook shows the first
WIDE = 800  # pixels of a grid in a notebook, at most, where small images are enlarged


class Images(np.ndarray):
    """Images, uint8 (N, H, W, C): a NumPy array in every way, which a notebook shows as a grid.

    A notebook shows one image (H, W, C), too, and of more than SHOWN the first ones; what is computed of images and is
    not uint8 (N, H, W, C) any more it shows as numbers.

    >>> import numpy as np
    >>> few = as_images(np.zeros((6, 16, 16, 3), np.uint8))
    >>> few.shape, few.grid(columns=3).shape, few[0]._repr_png_()[1:4], few.mean()._repr_png_() is None
    ((6, 16, 16, 3), (38, 56, 3), b'PNG', True)
    """

    def grid(self, columns: int | None = None, scale: int = 1) -> Images:
        """All images in rows as one, uint8 (H', W', 3): columns, None for nearly square; every pixel scale x scale."""
        if not self._drawable():
            raise WrongUse(f"grid: {self.dtype} {self.shape}; expected images, uint8 (N, H, W, C) with C 1 or 3")
        whole = np.asarray(self)
        return image_grids.grid(whole if whole.ndim == 4 else whole[None], columns, scale=scale).view(Images)

    def save(self, path: str | os.PathLike[str], columns: int | None = None, scale: int = 1) -> None:
        """Write a grid to a .png, the array `images` to an .npz, single images into a folder (a name without a dot)."""
        where = path_of(path)
        suffix = where.suffix.lower()
        if suffix not in ("", ".png", ".npz"):
            raise WrongUse(f"save: {path}; expected a .png, an .npz or a folder (a name without a dot)")
        if suffix == ".png":
            image_files.save_png(where, self.grid(columns, scale))
        elif not self._drawable() or self.ndim != 4:
            raise WrongUse(f"save: {self.dtype} {self.shape}; expected images, uint8 (N, H, W, C) with C 1 or 3")
        elif suffix == ".npz":
            image_files.save_npz(where, np.asarray(self))
        else:
            image_files.save_singles(where, np.asarray(self))

    def _drawable(self) -> bool:
        return self.dtype == np.uint8 and self.ndim in (3, 4) and self.shape[-1] in (1, 3) and self.size > 0

    def _repr_png_(self) -> bytes | None:
        if not self._drawable():
            return None
        if self.ndim == 3:
            scale = max(1, min(4, WIDE // 2 // max(self.shape[:2])))
            shown = image_grids.rgb(np.asarray(self)[None])[0].repeat(scale, 0).repeat(scale, 1)
        else:
            some = np.asarray(self)[:SHOWN]
            columns = int(np.ceil(np.sqrt(len(some))))
            shown = image_grids.grid(some, columns, scale=max(1, min(4, WIDE // (columns * self.shape[2]))))
        data = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(shown)).save(data, "PNG")
        return data.getvalue()


def as_images(a: ArrayLike) -> Images:
    """The array as Images; nothing is copied."""
    return np.asarray(a).view(Images)
