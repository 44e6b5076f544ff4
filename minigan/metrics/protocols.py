"""Who measured what, how: the protocols of papers and programs as data, and scores that say how they came about.

    protocol = PROTOCOLS["sn-gan"]                     # or PROTOCOLS["sn-gan"].smaller(500): its name says so
    rows = protocol.rows(len(images))                  # the real pictures to take, sorted
    real = ...                                         # features (len(rows), d) of images[rows]
    fake = ...                                         # features (protocol.fakes, d) of generated pictures
    scores = measure(protocol, real, fake, logits=logits_of, network="inception-2015-12-05", weights=digest,
                     resize="tf", pixels="truncate", data="cifar10 train, sha256 ...", seed=0)
    for score in scores: print(score.name, score.value, score.spread, score.cautions)
    why = comparable(scores[0], another)               # "" if the two may stand in one column

A number of real or generated pictures that a protocol does not ask for is refused; `smaller` makes a protocol that asks
for fewer, under another name. `logits` is an array or a function of features (n, d) to logits (n, classes), with the
bias exactly if `protocol.biased`; any network's will do for "classifier", and log probabilities are logits, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine import thread_pool
from minigan.errors import FailedWork, WrongUse, choose, listed
from minigan.metrics import frechet, ms_ssim, neighbours, scores
from minigan.metrics.frechet import Statistics

NAMES = ("IS", "FID", "KID", "intra-FID", "precision", "recall", "density", "coverage", "MS-SSIM", "intra-MS-SSIM")
OF_PIXELS = {"MS-SSIM", "intra-MS-SSIM"}  # scores that need no network and no real pictures
ENOUGH = 5000  # pictures of IS: it still rises with their number below (the first report's Table 1 shows it)
FEW = 2048  # TTUR asks for more pictures than the 2048 features


@dataclass(frozen=True)
class Protocol:
    """What is measured, on how many pictures, with which network. A count of 0 means all that there are."""

    name: str
    source: str
    scores: tuple[str, ...]
    network: str = "inception-2015-12-05"  # "": any
    resize: str = "tf"  # to the network's size: tf (corners, no half pixel), align-corners; "": any
    pixels: str = "truncate"  # generated pictures to uint8: truncate, round (as minigan does), float: not; "": any
    is_count: int = 50_000  # generated pictures for IS, in `splits` runs of neighbours
    splits: int = 10
    logits: str = "unbiased"  # a name of scores.LOGITS
    shuffle: int | None = None  # the seed that mixes pictures before they are split for IS
    real_split: str = "train"
    real: int = 0  # real pictures, drawn by `seed` unless all are taken
    fake: int = 0  # generated pictures for every score but IS; of each class if per_class
    per_class: bool = False
    seed: int = 2020  # of the choice of real pictures, of KID's subsets, of MS-SSIM's pictures
    kid_subsets: int = 100
    kid_size: int = 1000
    repetitions: int = 1  # sets of generated pictures of a run, of one seed each, whose scores the source averages

    @property
    def biased(self) -> bool:
        """Whether IS takes logits with the bias of the last layer."""
        return scores.LOGITS[self.logits].biased

    @property
    def fakes(self) -> int:
        """Generated pictures to make (of each class if per_class); 0: as many as one likes."""
        counts = [self.is_count] * ("IS" in self.scores) + [self.fake] * (set(self.scores) != {"IS"})
        return 0 if 0 in counts else max(counts)

    def rows(self, available: int, labels: np.ndarray | None = None) -> np.ndarray:
        """Which of the `available` real pictures to take, sorted; labels: needed if per_class. WrongUse if too few."""
        if not self.real:
            return np.arange(available)
        groups = [np.arange(available)] if not self.per_class else [
            np.flatnonzero(labels == c) for c in np.unique(_given(self.name, "labels of the real pictures", labels))]
        rng, taken = np.random.RandomState(self.seed), []
        for group in groups:
            if len(group) < self.real:
                each = " of each class" if self.per_class else ""
                raise WrongUse(f"protocol {self.name} takes {self.real:,} real pictures{each}, the data have "
                               f"{len(group):,}; a smaller protocol takes fewer")
            taken.append(group[rng.choice(len(group), self.real, replace=False)])
        return np.sort(np.concatenate(taken))

    def smaller(self, count: int) -> Protocol:
        """The same with at most `count` pictures everywhere; its name says so, so that scores are never mixed."""
        if count < 2:
            raise WrongUse(f"a protocol needs at least 2 pictures, got {count}")
        less = {field: min(getattr(self, field) or count, count) for field in ("is_count", "real", "fake")} | {
            "kid_size": min(self.kid_size, max(2, count // 2)), "splits": min(self.splits, count)}
        if all(getattr(self, field) == value for field, value in less.items()):
            return self
        name = f"{self.name.split(' at ')[0]} at {count} pictures{' of each class' * self.per_class}"
        return dataclasses.replace(self, name=name, **less)


_NEIGHBOURS = ("precision", "recall", "density", "coverage")
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in (
    Protocol(
        "sn-gan",
        "Miyato et al. 2018, App. B.1: IS of 5,000 pictures, 10 times; FID over 10,000 real and 5,000 generated "
        "ones. It does not say which real ones: drawn from the training set here",
        ("IS", "FID"), real=10_000, fake=5_000),
    Protocol(
        "bssn",
        "Lin et al. 2021, App. H.2, and the authors' code: IS of 50,000 in 10 splits from the first 1,000 logits "
        "with bias; FID of 5,000 random training pictures and 10,000 generated ones, not rounded; mean of 5 runs",
        ("IS", "FID"), pixels="float", logits="bsn", real=5_000, fake=10_000),
    Protocol(
        "chainer-gan-lib",
        "pfnet-research/chainer-gan-lib: IS of 5,000 pictures, 10 times; FID of all training and 10,000 generated "
        "ones, with Chainer's port of the network (IS of the real CIFAR-10: 12.0). Only its IS truncates pictures; "
        "both do here",
        ("IS", "FID"), network="inception-chainer", resize="align-corners", logits="chainer", fake=10_000),
    Protocol(
        "mimicry",
        "kwotsin/mimicry: 50,000 and 50,000; KID 10 x 5,000; 3 seeds. It scales each batch of pictures to the "
        "batch's own least and greatest value first; not done here",
        ("IS", "FID", "KID"), real=50_000, fake=50_000, kid_subsets=10, kid_size=5_000, repetitions=3),
    Protocol(
        "ttur",
        "Heusel et al. 2017 and bioinf-jku/TTUR: FID of all training pictures and 50,000 generated ones (its README "
        "asks for at least 10,000)",
        ("FID",), fake=50_000),
    Protocol(
        "torch-fidelity",
        "torch-fidelity 0.4.0's defaults: all pictures; IS shuffled; KID 100 x 1,000, seed 2020",
        ("IS", "FID", "KID"), is_count=0, shuffle=2020),
    Protocol(
        "report",
        "Evaluation of Spectral Normalization for GANs Using Inception Score, 4.1: 1,024 pictures in 5 splits (real "
        "CIFAR-10: 9.79). It does not say which network; the original one here",
        ("IS",), is_count=1_024, splits=5),
    Protocol(
        "neighbours",
        "Kynkaanniemi et al. 2019 (precision, recall: k = 3), Naeem et al. 2020 (density, coverage: k = 5), on "
        "10,000 and 10,000 pictures as the latter; Inception's features here, VGG's in the former",
        _NEIGHBOURS, real=10_000, fake=10_000),
    Protocol(
        "intra-fid",
        "Miyato and Koyama 2018 and pfnet-research/sngan_projection: FID of each class, all its training pictures "
        "against 5,000 generated ones; mean over classes",
        ("intra-FID",), fake=5_000, per_class=True),
    Protocol(
        "ms-ssim",
        "Fedus et al. 2018, 5.3, and google/compare_gan: MS-SSIM of all pairs in 5 batches of 64 pictures",
        ("MS-SSIM",), network="", resize="", pixels="", fake=320),
    Protocol(
        "intra-ms-ssim",
        "Odena et al. 2017: MS-SSIM of 100 random pairs of each class, mean over classes; among 200 pictures of each "
        "here",
        ("intra-MS-SSIM",), network="", resize="", pixels="", fake=200, per_class=True),
    Protocol(
        "classifier",
        "a small classifier's features and logits, for data that Inception does not know, such as digits: comparable "
        "under the same weights only",
        ("IS", "FID", "KID", *_NEIGHBOURS), network="", resize="", pixels="",
        is_count=0),
)}


@dataclass(frozen=True)
class Score:
    """One number and how it came about."""

    name: str
    value: float
    spread: float | None  # standard deviation over splits (IS), subsets (KID), classes, batches
    protocol: str
    network: str
    weights: str  # digest
    resize: str
    pixels: str
    n_real: int  # 0: not known
    n_fake: int
    splits: int  # of IS, else 0
    seed: int  # of the generated pictures
    data: str  # identity of the real pictures
    cautions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The score as plain types, for JSON."""
        return dataclasses.asdict(self) | {"cautions": list(self.cautions)}


def from_dict(values: Any, where: str) -> Score:
    """The score that `to_dict` gave. FailedWork, naming `where` it was read from, for anything else."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(Score)}
    if not isinstance(values, dict) or set(values) != set(fields):
        raise FailedWork(f"{where}: not a score of this version; expected {', '.join(fields)}")
    for name, kind in fields.items():
        value = values[name]
        good = {"str": type(value) is str, "int": type(value) is int and value >= 0,
                "float": _is_number(value), "float | None": value is None or _is_number(value),
                "tuple[str, ...]": type(value) is list and all(type(line) is str for line in value)}[kind]
        if not good:
            raise FailedWork(f"{where}: {name} is {value!r:.40}; expected {kind}")
    return Score(**values | {"cautions": tuple(values["cautions"])})


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True)
class Inputs:
    """What scores are made of; see `measure`."""

    real: np.ndarray | Statistics | None
    fake: np.ndarray | None
    logits: np.ndarray | Callable[[np.ndarray], np.ndarray] | None
    real_labels: np.ndarray | None
    fake_labels: np.ndarray | None
    images: np.ndarray | None


def measure(protocol: Protocol, real: np.ndarray | Statistics | None, fake: np.ndarray | None, *,
            logits: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
            real_labels: np.ndarray | None = None, fake_labels: np.ndarray | None = None,
            images: np.ndarray | None = None, names: Sequence[str] = (),
            network: str, weights: str, resize: str, pixels: str, data: str, seed: int) -> list[Score]:
    """The protocol's scores (or those in `names`) of features.

    real: (N, d), as `protocol.rows` chose them, or statistics (FID only); None for IS.  fake: (M, d), in the order of
    generation; more than the protocol takes are passed over.  logits: (M, classes), or a function of features.
    labels: (N,), (M,) integers, for intra-FID.  images: generated pictures uint8 (M, H, W, C), for MS-SSIM.
    The rest says with what the features were made, of which data, and the seed of the generated pictures.
    WrongUse for numbers of pictures or a network that the protocol does not ask for, and for a missing input.
    """
    for kind, given, wanted in (("network", network, protocol.network), ("resize", resize, protocol.resize)):
        if wanted and given != wanted:
            raise WrongUse(f"protocol {protocol.name} has the {kind} '{wanted}', the features were made with '{given}'")
    for name in names:
        choose(f"score of protocol {protocol.name}", name, protocol.scores)
    inputs = Inputs(real, fake, logits, real_labels, fake_labels, images)
    made: list[Score] = []
    for of, (function, needs_real, needs_network) in MEASURES.items():
        wanted_names = [name for name in of if name in (names or protocol.scores)]
        if not wanted_names:
            continue
        values, n_real, n_fake, cautions = function(protocol, inputs)
        if needs_network and protocol.pixels not in ("", pixels):
            cautions = [*cautions, f"protocol {protocol.name} has pixels '{protocol.pixels}', these are '{pixels}'"]
        made += [Score(name, *values[of.index(name)], protocol.name, *(network, weights, resize) if needs_network else
                       ("", "", ""), pixels, n_real, n_fake, protocol.splits if name == "IS" else 0, seed,
                       data if needs_real else "", tuple(cautions)) for name in wanted_names]
    return made


# What a measure gives: (value, spread) of each of its names, real and generated pictures used (0: none), cautions.
Measured = tuple[list[tuple[float, float | None]], int, int, list[str]]


def _is(p: Protocol, i: Inputs) -> Measured:
    logits = _given("IS", "logits", i.logits)
    if not isinstance(logits, np.ndarray):
        fake = _fakes(p, "IS", i.fake, p.is_count)
        logits = np.concatenate([logits(fake[block]) for block in thread_pool.blocks(len(fake), frechet.BLOCK)])
    logits = _fakes(p, "IS", logits, p.is_count)
    return ([scores.inception_score(logits, p.splits, p.logits, p.shuffle)], 0, len(logits),
            _few_for_is(len(logits), p.splits))


def _fid(p: Protocol, i: Inputs) -> Measured:
    real, fake = _given("FID", "real features", i.real), _fakes(p, "FID", i.fake, p.fake)
    n_real = real.count if isinstance(real, Statistics) else len(_reals(p, "FID", real))
    if isinstance(real, Statistics) and p.real and n_real not in (0, p.real):
        raise WrongUse(f"protocol {p.name} takes {p.real:,} real pictures, the statistics are of {n_real:,}")
    cautions = [] if n_real else ["the statistics do not say of how many pictures they are"]
    cautions += _few_for_fid("real", n_real, fake.shape[1]) + _few_for_fid("generated", len(fake), fake.shape[1])
    return [(frechet.distance(real, fake), None)], n_real, len(fake), cautions + _missing_classes(i, len(fake))


def _kid(p: Protocol, i: Inputs) -> Measured:
    real, fake = _reals(p, "KID", i.real), _fakes(p, "KID", i.fake, p.fake)
    if min(len(real), len(fake)) < p.kid_size:
        raise WrongUse(f"protocol {p.name} draws subsets of {p.kid_size:,} pictures for KID, got {len(real):,} real "
                       f"and {len(fake):,} generated ones; a smaller protocol takes fewer")
    cautions = []
    if p.kid_size < 1000:
        cautions.append(f"subsets of {p.kid_size} pictures, where 1,000 are usual: KID scatters more")
    if p.kid_size == max(len(real), len(fake)):
        cautions.append("each of KID's subsets holds all pictures: the spread over subsets says nothing")
    return [scores.kid(real, fake, p.kid_subsets, p.kid_size, p.seed)], len(real), len(fake), cautions


def _intra_fid(p: Protocol, i: Inputs) -> Measured:
    real = _given("intra-FID", "features of real pictures, not their statistics",
                  None if isinstance(i.real, Statistics) else i.real)
    fake = _given("intra-FID", "generated pictures", i.fake)
    labels = _given("intra-FID", "labels of both", i.real_labels), _given("intra-FID", "labels of both", i.fake_labels)
    if (len(real), len(fake)) != (len(labels[0]), len(labels[1])):
        raise WrongUse(f"intra-FID: {len(real)} real and {len(fake)} generated pictures, but {len(labels[0])} and "
                       f"{len(labels[1])} labels")
    cautions = []
    for kind, wanted, given in (("real", p.real, labels[0]), ("generated", p.fake, labels[1])):
        classes, counts = np.unique(given, return_counts=True)
        if wanted and (counts != wanted).any():
            c = (counts != wanted).argmax()
            raise WrongUse(f"protocol {p.name} takes {wanted:,} {kind} pictures of each class, got {counts[c]:,} of "
                           f"class {classes[c]}")
        cautions += [f"class {classes[counts.argmin()]}: {line}" for line in
                     _few_for_fid(kind, counts.min(), fake.shape[1])]
    of_classes = list(scores.intra_fid(real, labels[0], fake, labels[1]).values())
    return [(float(np.mean(of_classes)), float(np.std(of_classes)))], len(real), len(fake), cautions


def _neighbours(p: Protocol, i: Inputs, function: Callable) -> Measured:
    real, fake = _reals(p, "neighbours", i.real), _fakes(p, "neighbours", i.fake, p.fake)
    cautions = [] if len(real) == len(fake) else [
        f"{len(real):,} real and {len(fake):,} generated pictures: the balls around the more numerous ones are smaller"]
    return [(value, None) for value in function(real, fake)], len(real), len(fake), cautions


def _ms_ssim(p: Protocol, i: Inputs) -> Measured:
    images = _fakes(p, "MS-SSIM", _given("MS-SSIM", "generated pictures", i.images), p.fake)
    batch = min(64, len(images))
    return [ms_ssim.diversity(images, batch, min(5, len(images) // batch), p.seed)], 0, len(images), []


def _intra_ms_ssim(p: Protocol, i: Inputs) -> Measured:
    images = _given("intra-MS-SSIM", "generated pictures", i.images)
    labels = _given("intra-MS-SSIM", "labels of the generated pictures", i.fake_labels)
    images, labels = (_fakes(p, "intra-MS-SSIM", x, p.fake * len(np.unique(labels))) for x in (images, labels))
    found = list(ms_ssim.within_classes(images, labels, seed=p.seed).values())
    return [(float(np.mean(found)), float(np.std(found)))], 0, len(images), []


# Scores made at once -> the function, whether the real pictures matter, whether the network does.
MEASURES: dict[tuple[str, ...], tuple[Callable[[Protocol, Inputs], Measured], bool, bool]] = {
    ("IS",): (_is, False, True),
    ("FID",): (_fid, True, True),
    ("KID",): (_kid, True, True),
    ("intra-FID",): (_intra_fid, True, True),
    ("precision", "recall"): (lambda p, i: _neighbours(p, i, neighbours.precision_recall), True, True),
    ("density", "coverage"): (lambda p, i: _neighbours(p, i, neighbours.density_coverage), True, True),
    ("MS-SSIM",): (_ms_ssim, False, False),
    ("intra-MS-SSIM",): (_intra_ms_ssim, False, False),
}


def _given(score: str, what: str, value: Any) -> Any:
    if value is None:
        raise WrongUse(f"{score} needs {what}")
    return value


def _reals(p: Protocol, score: str, real: np.ndarray | Statistics | None) -> np.ndarray:
    """Features, as many as the protocol takes."""
    if isinstance(real, Statistics):
        raise WrongUse(f"{score} needs features of real pictures; statistics will do for FID only")
    real = _given(score, "features of real pictures", real)
    if p.real and len(real) != p.real:
        raise WrongUse(f"protocol {p.name} takes {p.real:,} real pictures, got {len(real):,}; "
                       "a smaller protocol takes fewer")
    return real


def _fakes(p: Protocol, score: str, fake: np.ndarray | None, count: int) -> np.ndarray:
    """The first `count` rows; all if it is 0."""
    fake = _given(score, "generated pictures", fake)
    if len(fake) < count:
        raise WrongUse(f"protocol {p.name} takes {count:,} generated pictures for {score}, got {len(fake):,}; "
                       "a smaller protocol takes fewer")
    return fake[:count or None]


def _few_for_is(count: int, splits: int) -> list[str]:
    lines = []
    if count < ENOUGH:
        lines.append(f"IS of {count:,} pictures: it rises with their number, compare it at the same number only")
    if count // splits < 1000:
        lines.append(f"splits of {count // splits} pictures: IS comes out too low, and cannot exceed that number")
    return lines


def _few_for_fid(kind: str, count: int, features: int) -> list[str]:
    if 0 < count <= features:
        return [f"{count:,} {kind} pictures for {features:,} features: their covariance has rank {count - 1:,}, "
                "no spread in the other directions; FID comes out too high, compare it at the same numbers only"]
    if 0 < count < FEW:
        return [f"{count:,} {kind} pictures, fewer than {FEW:,}: FID comes out too high, compare it at the same "
                "numbers only"]
    return []


def _missing_classes(i: Inputs, n_fake: int) -> list[str]:
    if i.real_labels is None or i.fake_labels is None:
        return []
    missing = np.setdiff1d(i.real_labels, i.fake_labels[:n_fake])
    return [f"no generated picture of class {listed([str(c) for c in missing])}"] if len(missing) else []


def comparable(a: Score, b: Score) -> str:
    """Why the two cannot stand in one column, or "" if they can."""
    for field, what in (("name", "scores"), ("protocol", "protocols"), ("network", "networks"), ("weights", "weights"),
                        ("resize", "ways of resizing"), ("pixels", "ways to whole pixels"),
                        ("n_real", "numbers of real pictures"), ("n_fake", "numbers of generated pictures"),
                        ("splits", "numbers of splits"), ("data", "real pictures")):
        one, other = getattr(a, field), getattr(b, field)
        if one != other:
            return f"different {what}: {_shown(one)} and {_shown(other)}"
    return ""


def _shown(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else f"'{value}'"
