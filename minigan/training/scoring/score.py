"""All that `minigan score` says of images: the protocol's scores, how alike they are, what D says, what is near them.

What is measured on what is metrics/protocols.py; here it is brought together. All that depends on chance has its own
stream: scoring changes nothing that a run learns.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.data import datasets
from minigan.engine import thread_pool
from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment.experiment import Experiment
from minigan.metrics.protocols import OF_PIXELS, PROTOCOLS, Protocol
from minigan.metrics.stored_scores import Score
from minigan.training.scoring import likeness
from minigan.training.scoring.discriminator import discriminator_scores, open_judge
from minigan.training.scoring.instrument import named_weights, open_extractor, protocol_for, scores_of
from minigan.training.scoring.measuring import measure_subject
from minigan.training.scoring.options import Asked
from minigan.training.scoring.real_images import Real, open_real
from minigan.training.scoring.subject import Subject, open_subject


@dataclass(frozen=True)
class Result:
    """What was found."""

    scores: list[Score]
    remarks: list[str]
    nearest: np.ndarray | None  # one image: fakes, each with the real ones nearest to it
    iteration: int


def score(path: Path, asked: Asked) -> Result:
    """Measure the protocol's scores, and what else can be said, of the images of a run, a folder or an .npz file."""
    thread_pool.thread_count()  # from here on BLAS has one thread, whatever is found in the cache: the same bytes
    if asked.protocol is not None:
        choose("protocol", asked.protocol, PROTOCOLS)
    subject = open_subject(path, asked)
    saved = subject.saved
    if saved is not None:
        asked = _as_trained(asked, saved.e)
    dataset = asked.data or (saved.e.dataset if saved else None)
    read = named_weights(asked.weights, asked.protocol, dataset)
    protocol, remarks = protocol_for(asked.protocol, asked.count, dataset, read)
    needs_real = bool(set(protocol.scores) - OF_PIXELS - {"IS"})
    real, more = _real(subject, asked, protocol, needs_real and not asked.stats)
    remarks += more
    if needs_real and real is None and asked.stats is None:
        raise WrongUse(f"{path}: which real images shall it be compared with? Name their data set: --data "
                       f"{'|'.join(sorted(datasets.DATASETS))}, or statistics of theirs: --stats FILE.npz")
    if asked.stats is not None and not {"FID", "IS"} & set(protocol.scores):
        raise WrongUse(f"--stats holds no more than FID needs, and protocol {protocol.name} has no FID; leave it out")
    if asked.write_stats is not None and (asked.stats is not None or "FID" not in protocol.scores):
        raise WrongUse("--write-stats is for a protocol with FID, and without --stats: it keeps the real images' "
                       "mean and covariance")
    names = [name for name in protocol.scores if asked.stats is None or name in ("IS", "FID")]
    extractor = None
    if set(names) - OF_PIXELS:
        size = None if real is None else real.data.images.shape[1]
        extractor, more = open_extractor(protocol, asked.weights, asked.device, dataset, size, read)
        names, left_out = scores_of(names, extractor, protocol)
        remarks += [*more, *left_out]
    judges, more = (None, []) if saved is None else open_judge(saved, real, asked)
    remarks += more
    made = measure_subject(protocol, names, subject, real, extractor, asked)
    images = likeness.looked_at(subject, protocol, asked)
    found = [*made.scores, *likeness.alike(images, subject.classes, asked.seed, set(protocol.scores)),
             *likeness.coverage(images, made.fake, extractor, dataset, asked.seed)]
    if judges is not None:
        found += discriminator_scores(saved, judges, images, asked)
    found = [_sized(one, real, subject) for one in found]
    if real is not None:
        remarks.append(f"real images: {len(real.data.images):,} of {real.size} x {real.size} pixels ({real.name})")
    remarks += [likeness.repeated(images), *_cautions(found)]
    nearest = None if real is None else likeness.nearest_real(images, made, real.data)
    return Result(found, remarks, nearest, subject.iteration)


def _as_trained(asked: Asked, e: Experiment) -> Asked:
    """What was not asked for, as the run had it for its own scores (--score, --score-weights)."""
    if asked.data not in (None, e.dataset) or asked.protocol not in (None, e.score):
        return asked
    weights = Path(e.score_weights) if e.score_weights else None
    return dataclasses.replace(asked, protocol=asked.protocol or e.score, weights=asked.weights or weights)


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
