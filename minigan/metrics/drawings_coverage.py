"""Of drawings (data/drawings.py): which kinds and colours there are, and how evenly; whether they belong together.

Kinds are what a classifier of `shapes` says. Colours are read off the pixels: shapes are saturated and each kind has a
hue of its own, backgrounds are pale.
"""

from __future__ import annotations

import math

import numpy as np

from minigan.data.drawings import CLASSES
from minigan.metrics.measures import Origin
from minigan.metrics.stored_scores import Score

SATURATED = 0.4  # of a shape's pixels: backgrounds have at most 0.18, shapes 0.75 or more where unblended
PRESENT = 0.1  # a kind is covered if it has at least a tenth of an even share


def hues(images: np.ndarray) -> np.ndarray:
    """The mean hue of each image's saturated pixels, in [0, 1), nan where there are none; uint8 (N, H, W, 3).

    A pixel counts by its saturation times its value; hues are averaged as directions on their circle.
    """
    x = images.reshape(len(images), -1, 3).astype(np.float64) / 255
    top, span = x.max(2), x.max(2) - x.min(2)
    weight = np.where(span > SATURATED * top, span, 0)
    directions = np.exp(2j * np.pi * np.arange(3) / 3)  # red, green, blue, a third of the circle apart
    sums = ((x @ directions) * (weight / np.maximum(span, 1e-9))).sum(1)
    return np.where(np.abs(sums) > 1e-9, np.angle(sums) / (2 * np.pi) % 1, np.nan)


def kinds_by_hue(images: np.ndarray) -> np.ndarray:
    """The kind that has each image's hue, an index of CLASSES; -1 where an image has no colour, or is not sure."""
    found = hues(images)
    kinds = np.where(np.isnan(found), -1, np.rint(np.nan_to_num(found) * len(CLASSES)) % len(CLASSES))
    return kinds.astype(np.int64)


def covered(kinds: np.ndarray) -> float:
    """The share of the kinds that have at least a tenth of an even share of the images; kinds (N,), -1 none."""
    shares = np.bincount(kinds[kinds >= 0], minlength=len(CLASSES)) / max(1, len(kinds))
    return float((shares >= PRESENT / len(CLASSES)).mean())


def evenness(kinds: np.ndarray) -> float:
    """exp(entropy of the kinds) / their number: 1 if all are as frequent, a tenth if there is only one."""
    known = kinds[kinds >= 0]
    if not len(known):
        return 0.0
    p = np.bincount(known, minlength=len(CLASSES)) / len(known)
    p = p[p > 0]
    return math.exp(-(p * np.log(p)).sum()) / len(CLASSES)


def scores(images: np.ndarray, classes: np.ndarray, origin: Origin) -> list[Score]:
    """How drawings cover kinds and colours; classes (N,): what the classifier of `origin` says they are."""
    colours = kinds_by_hue(images)
    values = {"classes covered": covered(classes), "class evenness": evenness(classes),
              "colours covered": covered(colours), "colour evenness": evenness(colours),
              "colour fits class": float((classes == colours).mean())}
    o = origin
    return [Score(name, value, None, "shapes", o.network, o.weights, o.resize, "", 0, len(images), 0, o.seed, "")
            for name, value in values.items()]
