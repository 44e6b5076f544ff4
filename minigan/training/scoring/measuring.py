"""The protocol's scores of a subject's images: how many are drawn, which real ones are taken, whose features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np

from minigan.errors import WrongUse
from minigan.metrics import features, frechet
from minigan.metrics.features import Extractor
from minigan.metrics.frechet import Statistics
from minigan.metrics.measures import Origin, ScoreInputs, check_counts, check_network, check_statistics, measure
from minigan.metrics.protocols import OF_PIXELS, Protocol
from minigan.metrics.stored_scores import Score
from minigan.training.scoring.instrument import COUNT
from minigan.training.scoring.known import Known, any_count
from minigan.training.scoring.options import Asked
from minigan.training.scoring.real_images import Real
from minigan.training.scoring.subject import Subject


@dataclass(frozen=True)
class Measured:
    """Scores, and what they were made of."""

    scores: list[Score]
    fake: np.ndarray | None  # features of the fakes, in their order
    real: np.ndarray | Statistics | None  # features of the real ones, or what is known of these
    rows: np.ndarray | None  # which of the data set's images the real ones are


def measure_subject(protocol: Protocol, names: list[str], subject: Subject, real: Real | Known | None,
                    extractor: Extractor | None, asked: Asked) -> Measured:
    """The protocol's scores of these names. real: None where none of them needs it.

    Writes statistics of the real images where asked to (--write-stats).
    """
    n = _fakes(protocol, subject, asked.count)
    pixels = subject.pixels or protocol.rounding
    made = subject.images(n, pixels)
    known: np.ndarray | Statistics | None = None
    rows, real_labels, where = None, None, ""
    origin = Origin.of(extractor, seed=asked.seed, pixels=pixels if protocol.pixels else "")
    if extractor is not None:
        check_network(protocol, origin)
    if isinstance(real, Known):
        protocol = any_count(protocol, "real")
        known, where = real.statistics, real.identity
        if extractor is not None and "FID" in names:
            check_statistics(protocol, real.statistics, extractor.dimension)
    elif real is not None and extractor is not None and set(names) - {"IS"}:
        rows = protocol.rows(len(real.data.images), real.data.labels)
        extractor.features(made.read(slice(0, 1)))  # one fake, at once: such as colours for a network of grey images
        known = _features(extractor, names, real, rows, asked.quiet)
        real_labels, where = real.data.labels[rows] if real.data.labelled else None, real.identity
        if asked.write_stats is not None:
            frechet.write(asked.write_stats, known if isinstance(known, Statistics) else frechet.statistics(known))
    fake = None if extractor is None else features.extract(extractor, made, asked.quiet)
    inputs = ScoreInputs(
        known, fake, None if extractor is None else partial(extractor.logits, biased=protocol.biased), real_labels,
        np.arange(n) % subject.classes if subject.classes else None,
        made.read(slice(0, n)) if OF_PIXELS & set(names) else None)
    return Measured(measure(protocol, inputs, dataclasses.replace(origin, data=where), names), fake, known, rows)


def check_images(protocol: Protocol, names: list[str], subject: Subject, real: Real | Known | None,
                 asked: Asked) -> None:
    """WrongUse for numbers of images, or classes, that the scores of these names cannot be measured of: before any
    weights are looked for."""
    n = _fakes(protocol, subject, asked.count)
    if not isinstance(real, Real) or not set(names) - {"IS"} - OF_PIXELS:
        check_counts(protocol, names, 0, n)
        return
    check_counts(protocol, names, len(protocol.rows(len(real.data.images), real.data.labels)), n)
    if protocol.per_class:
        _check_classes(protocol, real, subject)


def _fakes(protocol: Protocol, subject: Subject, asked: int | None) -> int:
    """How many fakes the protocol takes of the subject. WrongUse if it cannot have them."""
    n = protocol.fakes
    if protocol.per_class:
        if not subject.classes:
            raise WrongUse(f"protocol {protocol.name} needs a run whose generator knows classes (--condition)")
        n *= subject.classes
    n = n or subject.available or asked or COUNT
    if subject.available == 1:
        raise WrongUse("there is 1 fake; a score is of many images, at least 2")
    if subject.available and n > subject.available:
        raise WrongUse(f"protocol {protocol.name} takes {n:,} fakes, there are {subject.available:,}; "
                       f"--count {subject.available} shrinks it, and its name will say so")
    return n


def _check_classes(protocol: Protocol, real: Real, subject: Subject) -> None:
    """WrongUse unless the real images are of the classes of which fakes are made."""
    if not real.data.labelled:
        raise WrongUse(f"protocol {protocol.name} needs labels of the real images; {real.name} has none")
    given = np.unique(real.data.labels)
    if not np.array_equal(given, np.arange(subject.classes)):
        raise WrongUse(f"protocol {protocol.name} compares class by class: the fakes are of {subject.classes} classes, "
                       f"{real.name} has images of {len(given)}")


def _features(extractor: Extractor, names: list[str], real: Real, rows: np.ndarray,
              quiet: bool) -> np.ndarray | Statistics:
    """Features of these real images; their statistics where FID alone needs them and they are many."""
    of_real = features.of_images(real.data.images, rows)
    if set(names) <= {"IS", "FID"} and len(rows) > extractor.dimension:
        return features.statistics(extractor, of_real, quiet)
    return features.extract(extractor, of_real, quiet)
