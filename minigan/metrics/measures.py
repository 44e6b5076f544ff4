"""From features of real images and fakes to a protocol's scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine import thread_pool
from minigan.errors import WrongUse, choose, listed
from minigan.metrics import frechet, ms_ssim, neighbours, scores
from minigan.metrics.features import Extractor
from minigan.metrics.frechet import Statistics
from minigan.metrics.protocols import Protocol
from minigan.metrics.stored_scores import Score

ENOUGH = 5000  # images of IS: it still rises with their number below (the first report's Table 1 shows it)
MOST_NEIGHBOURS = 5  # of density and coverage
FEW = 2048  # TTUR asks for more images than the 2048 features


@dataclass(frozen=True)
class ScoreInputs:
    """What scores are made of; what those asked for do not need is left out."""

    real: np.ndarray | Statistics | None = None  # features (N, d), as Protocol.rows chose them; FID takes statistics
    fake: np.ndarray | Statistics | None = None  # features (M, d), in the order of generation; FID takes statistics
    logits: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None  # (M, classes), or a function of features
    real_labels: np.ndarray | None = None  # integers (N,), for intra-FID
    fake_labels: np.ndarray | None = None  # integers (M,)
    images: np.ndarray | None = None  # the fakes, uint8 (M, H, W, C), for MS-SSIM


@dataclass(frozen=True)
class Origin:
    """How the features were made, and of what: a score tells it; "" where there is no such thing."""

    seed: int = 0  # of the fakes
    data: str = ""  # identity of the real images
    pixels: str = ""  # how fakes became uint8: truncate, round, given
    network: str = ""  # what made the features of images
    weights: str = ""  # its digest
    resize: str = ""  # how it brings images to its size

    @classmethod
    def of(cls, extractor: Extractor | None, **more: Any) -> Origin:
        """Of features that this extractor made, if any; more: seed, data, pixels."""
        return cls(**more) if extractor is None else cls(
            **more, network=extractor.name, weights=extractor.digest, resize=extractor.resize)


def measure(protocol: Protocol, inputs: ScoreInputs, origin: Origin, names: Sequence[str] = ()) -> list[Score]:
    """The protocol's scores, or those in `names`. Of fakes more than it takes are passed over.

    WrongUse for numbers of images or a network that the protocol does not ask for, and for a missing input.
    """
    check_network(protocol, origin)
    for name in names:
        choose(f"score of protocol {protocol.name}", name, protocol.scores)
    made: list[Score] = []
    for of, (function, needs_real, needs_network) in MEASURES.items():
        wanted_names = [name for name in of if name in (names or protocol.scores)]
        if not wanted_names:
            continue
        values, n_real, n_fake, cautions = function(protocol, inputs)
        if needs_network and protocol.pixels not in ("", origin.pixels):
            cautions = [*cautions, f"protocol {protocol.name} has pixels '{protocol.pixels}', these are "
                                   f"'{origin.pixels}'"]
        how = (origin.network, origin.weights, origin.resize) if needs_network else ("", "", "")
        made += [Score(name, *values[of.index(name)], protocol.name, *how, origin.pixels, n_real, n_fake,
                       protocol.splits if name == "IS" else 0, origin.seed, origin.data if needs_real else "",
                       tuple(cautions)) for name in wanted_names]
    return made


def check_network(protocol: Protocol, origin: Origin) -> None:
    """WrongUse for a network that the protocol does not ask for."""
    for kind in ("network", "resize"):
        given, wanted = getattr(origin, kind), getattr(protocol, kind)
        if wanted and given != wanted:
            raise WrongUse(f"protocol {protocol.name} has the {kind} '{wanted}', the features were made with '{given}'")


def check_counts(protocol: Protocol, names: Sequence[str], n_real: int, n_fake: int) -> None:
    """WrongUse, before features are made, for numbers of images with which a score of these names cannot be measured.

    n_real: 0 where there are none, or where it is not known.
    """
    for kind, n in (("real", n_real), ("fake", n_fake)):
        if n == 1:
            raise WrongUse(f"1 {kind} image: a score compares many images; it needs at least 2 of each kind")
    if "KID" in names:
        _check_kid(protocol, n_real, n_fake)
    fewest = min(n for n in (n_real, n_fake) if n)
    if fewest < MOST_NEIGHBOURS + 1 and set(names) & {"precision", "recall", "density", "coverage"}:
        raise WrongUse(f"protocol {protocol.name} looks at {MOST_NEIGHBOURS} nearest neighbours, which {fewest} images "
                       f"do not have; it needs at least {MOST_NEIGHBOURS + 1}")


def check_statistics(protocol: Protocol, known: Statistics, features: int, side: str = "real") -> None:
    """WrongUse for statistics of images (side: "real", "fake") that the protocol, or a network of so many features,
    does not take."""
    count = protocol.real if side == "real" else protocol.fake
    if count and known.count not in (0, count):
        raise WrongUse(f"protocol {protocol.name} takes {count:,} {side} images, the statistics are of "
                       f"{known.count:,}")
    if len(known.mean) != features:
        raise WrongUse(f"the statistics are of {len(known.mean):,} features, the network has {features:,}; they must "
                       "come from one layer of one network")


# What a measure gives: (value, spread) of each of its names, real and fakes used (0: none), cautions.
Found = tuple[list[tuple[float, float | None]], int, int, list[str]]


def _is(p: Protocol, i: ScoreInputs) -> Found:
    logits = _given("IS", "logits", i.logits)
    if not isinstance(logits, np.ndarray):
        fake = _fakes(p, "IS", i.fake, p.is_count)
        logits = np.concatenate([logits(fake[block]) for block in thread_pool.blocks(len(fake), frechet.BLOCK)])
    logits = _fakes(p, "IS", logits, p.is_count)
    return ([scores.inception_score(logits, p.splits, p.logits, p.shuffle)], 0, len(logits),
            _few_for_is(len(logits), p.splits))


def _fid(p: Protocol, i: ScoreInputs) -> Found:
    real, fake = _given("FID", "real features", i.real), _given("FID", "fakes", i.fake)
    if not isinstance(fake, Statistics):
        fake = _fakes(p, "FID", fake, p.fake)
    dimension = len(fake.mean) if isinstance(fake, Statistics) else fake.shape[1]
    for side, known in (("real", real), ("fake", fake)):
        if isinstance(known, Statistics):
            check_statistics(p, known, dimension, side)
    n_real = real.count if isinstance(real, Statistics) else len(_reals(p, "FID", real))
    n_fake = fake.count if isinstance(fake, Statistics) else len(fake)
    cautions = [] if n_real and n_fake else ["the statistics do not say of how many images they are"]
    cautions += _few_for_fid("real", n_real, dimension) + _few_for_fid("fake", n_fake, dimension)
    return [(frechet.distance(real, fake), None)], n_real, n_fake, cautions + _missing_classes(i, n_fake)


def _kid(p: Protocol, i: ScoreInputs) -> Found:
    real, fake = _reals(p, "KID", i.real), _fakes(p, "KID", i.fake, p.fake)
    _check_kid(p, len(real), len(fake))
    cautions = []
    if p.kid_size < 1000:
        cautions.append(f"subsets of {p.kid_size} images, where 1,000 are usual: KID scatters more")
    if p.kid_size == max(len(real), len(fake)):
        cautions.append("each of KID's subsets holds all images: the spread over subsets says nothing")
    return [scores.kid(real, fake, p.kid_subsets, p.kid_size, p.seed)], len(real), len(fake), cautions


def _intra_fid(p: Protocol, i: ScoreInputs) -> Found:
    real = _given("intra-FID", "features of real images, not their statistics",
                  None if isinstance(i.real, Statistics) else i.real)
    fake = _given("intra-FID", "features of fakes, not their statistics",
                  None if isinstance(i.fake, Statistics) else i.fake)
    labels = _given("intra-FID", "labels of both", i.real_labels), _given("intra-FID", "labels of both", i.fake_labels)
    if (len(real), len(fake)) != (len(labels[0]), len(labels[1])):
        raise WrongUse(f"intra-FID: {len(real)} real and {len(fake)} fakes, but {len(labels[0])} and "
                       f"{len(labels[1])} labels")
    cautions = []
    for kind, wanted, given in (("real", p.real, labels[0]), ("fake", p.fake, labels[1])):
        classes, counts = np.unique(given, return_counts=True)
        if wanted and (counts != wanted).any():
            c = (counts != wanted).argmax()
            raise WrongUse(f"protocol {p.name} takes {wanted:,} {kind} images of each class, got {counts[c]:,} of "
                           f"class {classes[c]}")
        cautions += [f"class {classes[counts.argmin()]}: {line}" for line in
                     _few_for_fid(kind, int(counts.min()), fake.shape[1])]
    of_classes = list(scores.intra_fid(real, labels[0], fake, labels[1]).values())
    return [(float(np.mean(of_classes)), float(np.std(of_classes)))], len(real), len(fake), cautions


def _neighbours(p: Protocol, i: ScoreInputs, function: Callable[[np.ndarray, np.ndarray], tuple[float, ...]]) -> Found:
    real, fake = _reals(p, "neighbours", i.real), _fakes(p, "neighbours", i.fake, p.fake)
    cautions = [] if len(real) == len(fake) else [
        f"{len(real):,} real and {len(fake):,} fakes: the balls around the more numerous ones are smaller"]
    return [(value, None) for value in function(real, fake)], len(real), len(fake), cautions


def _ms_ssim(p: Protocol, i: ScoreInputs) -> Found:
    images = _fakes(p, "MS-SSIM", _given("MS-SSIM", "fakes", i.images), p.fake)
    batch = min(64, len(images))
    return [ms_ssim.diversity(images, batch, min(5, len(images) // batch), p.seed)], 0, len(images), []


def _intra_ms_ssim(p: Protocol, i: ScoreInputs) -> Found:
    images = _given("intra-MS-SSIM", "fakes", i.images)
    labels = _given("intra-MS-SSIM", "labels of the fakes", i.fake_labels)
    images, labels = (_fakes(p, "intra-MS-SSIM", x, p.fake * len(np.unique(labels))) for x in (images, labels))
    found = list(ms_ssim.within_classes(images, labels, seed=p.seed).values())
    return [(float(np.mean(found)), float(np.std(found)))], 0, len(images), []


# Scores made at once -> the function, whether the real images matter, whether the network does.
MEASURES: dict[tuple[str, ...], tuple[Callable[[Protocol, ScoreInputs], Found], bool, bool]] = {
    ("IS",): (_is, False, True),
    ("FID",): (_fid, True, True),
    ("KID",): (_kid, True, True),
    ("intra-FID",): (_intra_fid, True, True),
    ("precision", "recall"): (lambda p, i: _neighbours(p, i, neighbours.precision_recall), True, True),
    ("density", "coverage"): (lambda p, i: _neighbours(p, i, neighbours.density_coverage), True, True),
    ("MS-SSIM",): (_ms_ssim, False, False),
    ("intra-MS-SSIM",): (_intra_ms_ssim, False, False),
}


def _check_kid(p: Protocol, n_real: int, n_fake: int) -> None:
    if min(n_real, n_fake) < p.kid_size:
        raise WrongUse(f"protocol {p.name} draws subsets of {p.kid_size:,} images for KID, got {n_real:,} real and "
                       f"{n_fake:,} fakes; a smaller protocol takes fewer: --count {min(n_real, n_fake)}")


def _given(score: str, what: str, value: Any) -> Any:
    if value is None:
        raise WrongUse(f"{score} needs {what}")
    return value


def _reals(p: Protocol, score: str, real: np.ndarray | Statistics | None) -> np.ndarray:
    """Features, as many as the protocol takes."""
    if isinstance(real, Statistics):
        raise WrongUse(f"{score} needs features of real images; statistics will do for FID only")
    if real is None:
        raise WrongUse(f"{score} needs features of real images")
    if p.real and len(real) != p.real:
        raise WrongUse(f"protocol {p.name} takes {p.real:,} real images, got {len(real):,}; "
                       "a smaller protocol takes fewer")
    return real


def _fakes(p: Protocol, score: str, fake: np.ndarray | Statistics | None, count: int) -> np.ndarray:
    """The first `count` rows; all if it is 0."""
    if isinstance(fake, Statistics):
        raise WrongUse(f"{score} needs features of fakes; statistics will do for FID only")
    if fake is None:
        raise WrongUse(f"{score} needs fakes")
    if len(fake) < count:
        raise WrongUse(f"protocol {p.name} takes {count:,} fakes for {score}, got {len(fake):,}; "
                       "a smaller protocol takes fewer")
    return fake[:count or None]


def _few_for_is(count: int, splits: int) -> list[str]:
    lines = []
    if count < ENOUGH:
        lines.append(f"IS of {count:,} images: it rises with their number, compare it at the same number only")
    if count // splits < 1000:
        lines.append(f"splits of {count // splits} images: IS comes out too low, and cannot exceed that number")
    return lines


def _few_for_fid(kind: str, count: int, features: int) -> list[str]:
    if 0 < count <= features:
        return [f"{count:,} {kind} images for {features:,} features: their covariance has rank {count - 1:,}, "
                "no spread in the other directions; FID comes out too high, compare it at the same numbers only"]
    if 0 < count < FEW:
        return [f"{count:,} {kind} images, fewer than {FEW:,}: FID comes out too high, compare it at the same "
                "numbers only"]
    return []


def _missing_classes(i: ScoreInputs, n_fake: int) -> list[str]:
    if i.real_labels is None or i.fake_labels is None:
        return []
    missing = np.setdiff1d(i.real_labels, i.fake_labels[:n_fake])
    return [f"no fake of class {listed([str(c) for c in missing])}"] if len(missing) else []
