"""ImageNet (ILSVRC 2012) in folders, one for each class."""

from __future__ import annotations

from pathlib import Path

from minigan.data import image_folder
from minigan.data.dataset import Request, Source
from minigan.data.image_folder import Fitting
from minigan.data.locations import cache_folder, places
from minigan.errors import FailedWork

FOLDERS = {"train": ("train", "itself"), "test": ("val",)}


def imagenet(ask: Request) -> Source:
    """ILSVRC 2012 in folders, one for each class: the largest square in the middle, brought to 128 x 128.

    Labels count the class folders in sorted order, as the SN-GAN authors' list does. They resize with Pillow's
    bilinear (the default), the BSSN authors with OpenCV's (resize plain). Smaller images are enlarged, as by both.
    It may not be passed on, so it is never downloaded.
    """
    path = find(ask.root, ask.split)
    if path is None:
        where = ask.root or f"{cache_folder() / 'imagenet'} and {cache_folder()}"
        raise FailedWork(f"{where}: no ImageNet there for split {ask.split}; looked for class folders (n01440764 and "
                         f"so on) in {' and '.join(FOLDERS[ask.split])}, also in imagenet; unpack the archive of each "
                         "class into a folder of its name")
    how = Fitting(ask.side, resize=ask.resize, enlarge=True, whole_pixels=True)
    return image_folder.source(path, how, ask)


def find(root: Path | None, split: str) -> Path | None:
    for place in places("imagenet", root):
        for folder in [place / name if name != "itself" else place for name in FOLDERS[split]]:
            if folder.is_dir() and next((path for path in folder.glob("n[0-9]*") if path.is_dir()), None):
                return folder
    return None
