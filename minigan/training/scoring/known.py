"""Statistics of features in the place of images: read from files, on either side; FID is all that they have."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from minigan.errors import WrongUse
from minigan.metrics import features, frechet
from minigan.metrics.features import Extractor
from minigan.metrics.frechet import Statistics
from minigan.metrics.measures import Origin, ScoreInputs, check_counts, check_network, check_statistics, measure
from minigan.metrics.protocols import PROTOCOLS, Protocol
from minigan.metrics.stored_scores import Score
from minigan.training.scoring.real_images import Real


@dataclass(frozen=True)
class Known:
    """Statistics of features, and what they are called with the beginning of a digest."""

    statistics: Statistics
    identity: str


def read_statistics(given: Path | Statistics) -> Known:
    """Statistics from a file, or as they are. FailedWork for a file that holds none."""
    known = given if isinstance(given, Statistics) else frechet.read(given)
    name = f"{given.name} " if isinstance(given, Path) else ""
    return Known(known, f"statistics {name}{hashlib.sha256(known.mean.tobytes()).hexdigest()[:12]}")


def any_count(protocol: Protocol, side: str) -> Protocol:
    """The protocol for statistics on this side ("real", "fake"): --count cannot change of how many images they are."""
    whole = PROTOCOLS.get(protocol.name.split(" at ")[0])
    if side == "real":
        return dataclasses.replace(protocol, real=0 if whole is None else whole.real)
    return dataclasses.replace(protocol, fake=0 if whole is None else whole.fake)


def measure_known(protocol: Protocol, fake: Known, real: Real | Known, extractor: Extractor | None,
                  quiet: bool) -> list[Score]:
    """FID of fakes of which the statistics are known. extractor: None if the real ones' are, too."""
    if "FID" not in protocol.scores:
        raise WrongUse(f"{fake.identity}: statistics hold no more than FID needs, and protocol {protocol.name} has no "
                       "FID; give the images themselves")
    protocol = any_count(protocol, "fake")
    if isinstance(real, Known):
        origin = Origin(data=real.identity, network="of the statistics")
        protocol = dataclasses.replace(any_count(protocol, "real"), network="", resize="", pixels="")
        return [dataclasses.replace(one, cautions=(*one.cautions, "of which network they are, the statistics do not "
                                                   "say: it must be the same one, with the same weights"))
                for one in measure(protocol, ScoreInputs(real.statistics, fake.statistics), origin, ["FID"])]
    assert extractor is not None, "real images need a network"
    origin = Origin.of(extractor, data=real.identity)
    check_network(protocol, origin)
    check_statistics(protocol, fake.statistics, extractor.dimension, "fake")
    rows = protocol.rows(len(real.data.images), real.data.labels)
    check_counts(protocol, ["FID"], len(rows), fake.statistics.count)
    of_real = features.statistics(extractor, features.of_images(real.data.images, rows), quiet)
    protocol = dataclasses.replace(protocol, pixels="")  # what the fakes' were is not known
    return measure(protocol, ScoreInputs(of_real, fake.statistics), origin, ["FID"])
