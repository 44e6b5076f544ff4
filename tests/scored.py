"""Runs to be scored: of 300 drawings, with a classifier of them that was hardly trained."""

import contextlib

import pytest

from minigan.cli import main
from minigan.data import datasets, drawings
from minigan.data.dataset import Dataset

# Glorot's weights: the model's own, of standard deviation 0.02, draw one image at this width, whatever z is.
SMALL = ["--size", "16", "--width", "0.05", "--batch-size", "4", "--n-dis", "1", "--dim-z", "8", "--ema", "0",
         "--init", "glorot"]


@contextlib.contextmanager
def few_drawings(cache):
    """Inside, shapes has only 300 drawings, and the cache folder is this one."""
    load = datasets.load

    def loaded(name, size=None, split="train", **more):
        if name != "shapes":
            return load(name, size=size, **more)
        images, labels = drawings.draw(300, size or 16, 3, split or "train")
        return Dataset(images, labels, drawings.CLASSES, "drawn for a test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", loaded)
        patch.setenv("MINIGAN_CACHE", str(cache))
        yield


def said(arguments, capsys, code=0) -> tuple[str, str]:
    """What the command line prints to both streams."""
    capsys.readouterr()
    assert main.run([str(word) for word in arguments]) == code, capsys.readouterr().err
    return capsys.readouterr()
