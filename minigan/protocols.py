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

from minigan import frechet, ms_ssim, neighbours, scores
from minigan.errors import FailedWork, WrongUse, choose
from minigan.frechet import Statistics

NAMES = ("IS", "FID", "KID", "intra-FID", "precision", "recall", "density", "coverage", "MS-SSIM")
PIXELS = ("truncate", "float")
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
    pixels: str = "truncate"  # generated pictures: truncated to uint8, or float in 0 .. 255
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
    repetitions: int = 1  # sets of generated pictures whose scores the source averages

    @property
    def biased(self) -> bool:
        """Whether IS takes logits with the bias of the last layer."""
        return scores.LOGITS[self.logits].biased

    @property
    def fakes(self) -> int:
        """Generated pictures to make (of each class if per_class); 0: as many as one likes."""
        counts = [self.is_count] * ("IS" in self.scores) + [self.fake] * (set(self.scores) != {"IS"})
        return 0 if 0 in counts else max(counts)

    def rows(self, available: int) -> np.ndarray:
        """Which of the `available` real pictures to take, sorted. WrongUse if there are too few."""
        if self.real == 0:
            return np.arange(available)
        if available < self.real:
            raise WrongUse(f"protocol {self.name} takes {self.real:,} real pictures, the data have {available:,}; "
                           "take more, or a smaller protocol, which is named as such")
        return np.sort(np.random.RandomState(self.seed).choice(available, self.real, replace=False))

    def smaller(self, count: int) -> Protocol:
        """The same with at most `count` pictures everywhere; its name says so, so that scores are never mixed."""
        if count < 2:
            raise WrongUse(f"a protocol needs at least 2 pictures, got {count}")
        fields = ("is_count", "real", "fake")
        less = {field: min(getattr(self, field) or count, count) for field in fields} | {
            "kid_size": min(self.kid_size, count), "splits": min(self.splits, count)}
        if all(getattr(self, field) == value for field, value in less.items()):
            return self
        return dataclasses.replace(self, name=f"{self.name.split(' at ')[0]} at {count} pictures", **less)


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
        ("MS-SSIM",), network="", resize="", fake=320),
    Protocol(
        "classifier",
        "a small classifier's features and logits, for data that Inception does not know, such as digits: comparable "
        "under the same weights only",
        ("IS", "FID", "KID", *_NEIGHBOURS), network="", resize="", is_count=0),
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
    raise NotImplementedError


def measure(protocol: Protocol, real: np.ndarray | Statistics, fake: np.ndarray, *,
            logits: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
            real_labels: np.ndarray | None = None, fake_labels: np.ndarray | None = None,
            images: np.ndarray | None = None, names: Sequence[str] = (),
            network: str, weights: str, resize: str, pixels: str, data: str, seed: int) -> list[Score]:
    """The protocol's scores (or those in `names`) of features.

    real: (N, d), as `protocol.rows` chose them, or statistics (FID only); fake: (M, d), in the order of generation:
    more than the protocol takes are passed over.  logits: see above, for IS.  labels (N,), (M,): for intra-FID.
    images: generated pictures uint8 (M, H, W, C), for MS-SSIM.  The rest says what was measured with which network.
    WrongUse for counts or a network other than the protocol's, and for a score whose input is missing.
    """
    raise NotImplementedError


def comparable(a: Score, b: Score) -> str:
    """Why the two cannot stand in one column, or "" if they can."""
    raise NotImplementedError
