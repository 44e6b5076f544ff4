"""Looking at fakes, beside the protocol's scores: how alike they are, and which real ones are nearest."""

from __future__ import annotations

import numpy as np

from minigan.data.dataset import Dataset
from minigan.data.resize import resized
from minigan.formats import image_grids
from minigan.metrics import classifier, drawings_coverage, neighbours
from minigan.metrics.features import Extractor
from minigan.metrics.measures import Origin, ScoreInputs, measure
from minigan.metrics.protocols import PROTOCOLS, Protocol
from minigan.metrics.stored_scores import Score
from minigan.training.scoring.measuring import Measured
from minigan.training.scoring.options import Asked
from minigan.training.scoring.subject import Subject

LOOKED_AT = 2000  # fakes, at most


def looked_at(subject: Subject, protocol: Protocol, asked: Asked) -> np.ndarray:
    """The first fakes, rounded: uint8 (N, H, W, C)."""
    most = (asked.count or LOOKED_AT) * (subject.classes if protocol.per_class else 1)
    images = subject.images(min(LOOKED_AT, subject.available or LOOKED_AT, most), "round")
    return images.read(slice(0, images.count))


def alike(images: np.ndarray, classes: int, seed: int, known: set[str]) -> list[Score]:
    """How alike these images are, all of them and those of each class; but for the scores that are known already."""
    found = []
    for name, score_name, groups in (("ms-ssim", "MS-SSIM", 1), ("intra-ms-ssim", "intra-MS-SSIM", classes)):
        each = len(images) // groups if groups else 0
        if score_name in known or each < 2:
            continue
        protocol = PROTOCOLS[name].smaller(min(each, PROTOCOLS[name].fake))
        labels = np.arange(len(images)) % classes if classes else None
        found += measure(protocol, ScoreInputs(images=images, fake_labels=labels), Origin(seed))
    return found


def coverage(images: np.ndarray, fake: np.ndarray | None, extractor: Extractor | None, dataset: str | None,
             seed: int) -> list[Score]:
    """How drawings cover kinds and colours; of other images nothing. fake: features of them, in their order."""
    if dataset != "shapes" or not isinstance(extractor, classifier.Classifier) or extractor.dataset != "shapes":
        return []
    assert fake is not None, "whoever has an extractor has features"
    kinds = extractor.logits(fake[:len(images)]).argmax(1)  # of the same images: both are rounded
    return drawings_coverage.scores(images, kinds, Origin.of(extractor, seed=seed))


def repeated(images: np.ndarray) -> str:
    """How many there are twice, in words."""
    return f"{len(neighbours.duplicates(images)):,} of {len(images):,} fakes equal an earlier one"


def nearest_real(images: np.ndarray, by: Measured, data: Dataset, count: int = 12, k: int = 7) -> np.ndarray:
    """Rows of images as one, uint8: a fake, a gap, the k real ones nearest to it.

    By features, where those of real images are known; else by pixels, among at most 10,000 of them.
    """
    images = images[:count]
    shown = _like(images, data.images.shape)
    if isinstance(by.real, np.ndarray) and by.rows is not None and by.fake is not None:
        rows = by.rows
        k = min(k, len(rows))
        index = neighbours.nearest(by.fake[:len(images)], by.real, k)[0]
    else:
        rows = np.arange(min(len(data.images), 10_000))
        k = min(k, len(rows))
        index = neighbours.nearest(shown, data.images[rows], k)[0]
    gap = np.full_like(shown[:1], 255)
    cells = [cell for image, near in zip(shown, index, strict=True)
             for cell in (image[None], gap, data.images[rows[near]])]
    return image_grids.grid(np.concatenate(cells), columns=k + 2)


def _like(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images of the size and channels of `shape`, for looking at them side by side."""
    if images.shape[1] != shape[1]:
        images = resized(images, shape[1])
    if images.shape[3] > shape[3]:
        return images.mean(3, keepdims=True).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:3], shape[3]))
