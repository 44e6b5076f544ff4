"""CelebA: aligned photographs of faces, from its archive or a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minigan.data import image_folder
from minigan.data.dataset import Request, Source
from minigan.data.image_folder import Fitting
from minigan.data.locations import cache_folder, first_file, places
from minigan.errors import FailedWork

CELEBA = ("img_align_celeba.zip", "img_align_celeba")


def celeba(ask: Request) -> Source:
    """Aligned and cropped photographs of faces, 178 x 218, brought to 64 x 64: 202,599 (Liu et al. 2015).

    The BSSN paper cuts a square of 128 from the middle (crop 128, resize plain: the default), mimicry one of 178 (crop
    178, resize bilinear). Its archive asks for a form to be filled in, so it is never downloaded; no labels are read.
    """
    path = find(ask.root, ask.split)
    if path is None:
        where = ask.root or f"{cache_folder() / 'celeba'} and {cache_folder()}"
        raise FailedWork(f"{where}: no CelebA there; looked for {CELEBA[0]} and a folder {CELEBA[1]} with .jpg files; "
                         "get 'Align&Cropped Images' from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html")
    how = Fitting(ask.side, resize=ask.resize, cut=ask.crop, whole_pixels=True)
    if path.is_file():
        return image_folder.zip_source(path, how, ask, labelled=False)
    source = image_folder.source(path, how, ask, labelled=False)
    return Source(source.shape, np.full(source.shape[0], -1), (), source.where, source.identity, source.blocks)


def find(root: Path | None, split: str) -> Path | None:
    if root is not None and root.is_dir() and next(root.glob("*.jpg"), None):
        return root
    for place in places("celeba", root):
        if (place / CELEBA[1]).is_dir():
            return place / CELEBA[1]
    return first_file("celeba", root, CELEBA[0])
