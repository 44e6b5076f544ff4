"""All that `minigan score` says of images: the protocol's scores, how alike they are, what D says, what is near them.

What is measured on what is metrics/protocols.py; here it is brought together. All that depends on chance has its own
stream: scoring changes nothing that a run learns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.data import datasets
from minigan.engine import thread_pool
from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment.experiment import Experiment
from minigan.metrics.features import Function, FunctionFeatures, Images
from minigan.metrics.inception_weights import Weights
from minigan.metrics.protocols import (
    OF_FUNCTION,
    OF_LOGITS,
    OF_PIXELS,
    OF_STATISTICS,
    PROTOCOLS,
    Protocol,
    needs_real,
)
from minigan.metrics.stored_scores import Score
from minigan.parallel.dask_workers import Workers
from minigan.training.scoring import likeness
from minigan.training.scoring.discriminator import discriminator_scores, open_judge
from minigan.training.scoring.features_on_workers import on_workers
from minigan.training.scoring.given import ANYTHING, Given, as_options, recognized
from minigan.training.scoring.instrument import inception_knows, named_weights, open_extractor, protocol_for, scores_of
from minigan.training.scoring.known import Known, measure_known, read_statistics
from minigan.training.scoring.measuring import check_images, measure_subject
from minigan.training.scoring.options import Asked
from minigan.training.scoring.real_images import Real, drawn, of_array, open_real
from minigan.training.scoring.subject import UNKNOWN, Subject, open_subject


@dataclass(frozen=True)
class Result:
    """What was found."""

    scores: list[Score]
    remarks: list[str]
    nearest: np.ndarray | None  # one image: fakes, each with the real ones nearest to it
    iteration: int


def score(a: Given | Path, asked: Asked, b: Given | None = None, function: Function | None = None,
          only: Collection[str] = (), workers: Workers | None = None) -> Result:
    """Measure the protocol's scores, and what else can be said, of the images of `a`: see given.Given.

    b: what they are compared with, rather than what the options, or a run itself, say.  function: makes features of
    images, or logits for IS, in the place of a network (features.FunctionFeatures); then no protocol is named.
    only: these of the protocol's scores, and nothing else is said of the images (instrument.protocol_for).
    workers: who computes the features, if not this process.
    """
    thread_pool.thread_count()  # from here on BLAS has one thread, whatever is found in the cache: the same bytes
    if asked.protocol is not None:
        choose("protocol", asked.protocol, PROTOCOLS)
    a = a if isinstance(a, Given) else recognized(a)
    if b is not None:
        asked = as_options(b, asked)
    stats = asked.stats if b is None or b.statistics is None else b.statistics
    known = None if stats is None else read_statistics(stats)
    if only and "FID" not in only and (known or a.statistics) is not None:
        raise WrongUse(f"statistics hold no more than FID needs; for {' and '.join(only)} give the images themselves")
    if a.statistics is not None:
        return _of_statistics(read_statistics(a.statistics), known, asked, b, function, only, workers)
    subject = open_subject(a, asked)
    saved = subject.saved
    if saved is not None and function is None and (b is None or b.dataset is not None):
        asked = _as_trained(asked, saved.e, only)
    drawing = None if b is None or b.run is None else open_subject(b, dataclasses.replace(asked, best=False))
    dataset = _dataset(subject, drawing, asked)
    protocol, read, remarks = _protocol(asked, dataset, function, only)
    needed = needs_real(protocol.scores) and known is None
    if b is not None and not needs_real(protocol.scores):
        remarks.append(f"protocol {protocol.name} compares with no real images: {b.name} is not looked at")
    if b is not None and b.dataset is None:
        real = _other(b, drawing, asked, protocol, subject.size) if needed else None
    else:
        real, more = (None, []) if only and not needed else _real(subject, asked, protocol, needed)
        remarks += more
    if needed and real is None:
        raise WrongUse(f"{a.name}: which real images shall it be compared with? Name them: minigan score {a.name} "
                       f"REAL, which is {ANYTHING} ({', '.join(sorted(datasets.DATASETS))})")
    if known is not None and not {"FID", "IS"} & set(protocol.scores):
        raise WrongUse(f"{'--stats' if b is None else b.name} holds no more than FID needs, and protocol "
                       f"{protocol.name} has no FID; leave it out")
    if asked.write_stats is not None and (known is not None or "FID" not in protocol.scores):
        raise WrongUse("--write-stats is for a protocol with FID, and without statistics of the real images: it keeps "
                       "their mean and covariance")
    names = [name for name in protocol.scores if known is None or name in ("IS", "FID")]
    check_images(protocol, names, subject, known or real, asked)
    extractor = None
    if set(names) - OF_PIXELS:
        size = subject.size if real is None else real.data.images.shape[1]
        if function is None:
            extractor, more = open_extractor(protocol, asked.weights, asked.device, dataset, size, read)
        else:
            first = subject.images(2, subject.pixels or protocol.rounding).read(slice(0, 2))
            extractor, more = FunctionFeatures(function, first, "IS" in names), []
        names, left_out = scores_of(names, extractor, protocol)
        remarks += [*more, *left_out]
    del read  # 95 MB, of which the extractor has made its own
    judges = None
    if saved is not None and not only:
        judges, more = open_judge(saved, real, asked)
        remarks += more
    computing = extractor if workers is None or extractor is None else on_workers(extractor, workers)
    made = measure_subject(protocol, names, subject, known or real, computing, asked)
    taken = max((one.n_fake for one in made.scores), default=0)
    if 0 < taken < subject.available:
        remarks.append(f"fakes: the first {taken:,} of {subject.available:,} are scored; images that lie in the order "
                       "of their classes have to be mixed before")
    if only:
        found = [_sized(one, real, subject) for one in made.scores]
        return Result(found, [*remarks, *_cautions(found)], None, subject.iteration)
    images = likeness.looked_at(subject, protocol, asked)
    found = [*made.scores, *likeness.alike(images, subject.classes, asked.seed, set(protocol.scores)),
             *likeness.coverage(images, made.fake, extractor, dataset, asked.seed)]
    if judges is not None and saved is not None:
        found += discriminator_scores(saved, judges, images, asked)
    found = [_sized(one, real, subject) for one in found]
    if real is not None:
        remarks.append(f"real images: {len(real.data.images):,} of {real.size} x {real.size} pixels ({real.name})")
    remarks += [likeness.repeated(images), *_cautions(found)]
    nearest = None if real is None else likeness.nearest_real(images, made, real.data)
    return Result(found, remarks, nearest, subject.iteration)


def _of_statistics(fake: Known, known: Known | None, asked: Asked, b: Given | None, function: Function | None,
                   only: Collection[str], workers: Workers | None) -> Result:
    """FID of fakes of which only the statistics are there."""
    for option, given in (("best", asked.best), ("write-stats", asked.write_stats)):
        if given:
            raise WrongUse(f"--{option} is for images, and {fake.identity} has none; leave it out")
    if known is not None:
        if asked.count is not None:
            raise WrongUse("--count: statistics are of the images that they were made of; leave it out")
        protocol = OF_STATISTICS if asked.protocol is None else PROTOCOLS[asked.protocol]
        found = measure_known(protocol, fake, known, None, asked.quiet)
        return Result(found, _cautions(found), None, 0)
    if b is None and asked.data is None:
        raise WrongUse(f"{fake.identity}: with what shall it be compared? Name real images, or statistics of theirs")
    nobody = Subject(lambda *_: _nothing(), 0, "", None)
    drawing = None if b is None or b.run is None else open_subject(b, asked)
    dataset = _dataset(nobody, drawing, asked)
    protocol, read, remarks = _protocol(asked, dataset, function, only)
    if "FID" not in protocol.scores:
        raise WrongUse(f"{fake.identity} holds no more than FID needs, and protocol {protocol.name} has no FID")
    real = open_real(nobody, asked, protocol) if b is None or b.dataset is not None else _other(
        b, drawing, asked, protocol, None)
    if function is None:
        extractor, more = open_extractor(protocol, asked.weights, asked.device, dataset, real.size, read)
    else:
        extractor, more = FunctionFeatures(function, real.data.images[np.arange(2)]), []
    extractor = extractor if workers is None else on_workers(extractor, workers)
    found = [dataclasses.replace(one, size_real=real.size)
             for one in measure_known(protocol, fake, real, extractor, asked.quiet)]
    return Result(found, [*remarks, *more, *_cautions(found)], None, 0)


def _nothing() -> Images:
    raise AssertionError("statistics have no images")


def _protocol(asked: Asked, dataset: str | None, function: Function | None,
              only: Collection[str]) -> tuple[Protocol, Weights | None, list[str]]:
    """The protocol, Inception's weights if they were read to choose it, and remarks on the choice."""
    if function is None:
        read = named_weights(asked.weights, asked.protocol, dataset)
        protocol, remarks = protocol_for(asked.protocol, asked.count, dataset, read, only)
        return protocol, read, remarks
    if asked.protocol is not None:
        raise WrongUse(f"--protocol {asked.protocol}: it says whose network makes the features; with a function of "
                       "your own leave it out; --count says of how many images they are")
    protocol = OF_LOGITS if tuple(only) == ("IS",) else OF_FUNCTION.only(only or OF_FUNCTION.scores)
    return protocol if asked.count is None else protocol.smaller(asked.count), None, []


def _dataset(subject: Subject, drawing: Subject | None, asked: Asked) -> str | None:
    """Whose images these are, which chooses the protocol: by what was asked for, the fakes, the real ones."""
    if asked.data is None or asked.data in UNKNOWN and subject.saved is None:
        return subject.dataset or asked.data or (None if drawing is None else drawing.dataset)
    return asked.data


def _other(b: Given, drawing: Subject | None, asked: Asked, protocol: Protocol, size: int | None) -> Real:
    """The images of a run or of an array, in the place of real ones, at the fakes' size."""
    size = asked.size or size
    if b.array is not None:
        return of_array(b.array, "array", size)
    assert drawing is not None, b
    return drawn(drawing, b.name, size, protocol)


def _as_trained(asked: Asked, e: Experiment, only: Collection[str]) -> Asked:
    """What was not asked for, as the run had it for its own scores (--score, --score-weights), if it has these."""
    if asked.data not in (None, e.dataset) or asked.protocol not in (None, e.score):
        return asked
    lacks = e.score in PROTOCOLS and not set(only) <= set(PROTOCOLS[e.score].scores)
    weights = Path(e.score_weights) if e.score_weights and (not lacks or inception_knows(e.dataset)) else None
    return dataclasses.replace(asked, protocol=asked.protocol or (None if lacks else e.score),
                               weights=asked.weights or weights)


def _real(subject: Subject, asked: Asked, protocol: Protocol, needed: bool) -> tuple[Real | None, list[str]]:
    """The real images, where a data set is known and they are of use; and remarks.

    A run's are for its discriminator and for looking at, too: where nothing else needs them, they may be missing.
    """
    if asked.data is None and subject.saved is None or subject.saved is None and not needed:
        return None, []
    try:
        return open_real(subject, asked, protocol), []
    except FailedWork as error:
        if needed or asked.data is not None:
            raise
        return None, [f"its discriminator is not asked, nor are the nearest real images shown: {error}"]


def _sized(one: Score, real: Real | None, subject: Subject) -> Score:
    """The score with the sizes of its images, and what is to be said of them."""
    fake = (subject.size or 0) if one.n_fake else 0
    if real is None or not one.data or one.data.startswith("statistics"):
        return dataclasses.replace(one, size_fake=fake)
    more = real.cautions(subject.size) if one.network else ()
    return dataclasses.replace(one, size_real=real.size, size_fake=fake, cautions=(*one.cautions, *more))


def _cautions(found: list[Score]) -> list[str]:
    """Each caution once, with the scores that it is about."""
    about: dict[str, list[str]] = {}
    for one in found:
        for line in one.cautions:
            about.setdefault(line, []).append(one.name)
    return [f"{', '.join(names)}: {line}" for line, names in about.items()]
