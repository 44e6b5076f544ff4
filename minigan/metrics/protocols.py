"""Who measured what, how: the protocols of papers and programs as data. How one is measured by:

    from minigan.metrics import features, measures, protocols, stored_scores

    protocol = protocols.PROTOCOLS["classifier"].smaller(500)       # fewer images, and its name says so
    rows = protocol.rows(len(real))                                 # which of the real images to take, sorted
    inputs = measures.ScoreInputs(
        features.extract(extractor, features.of_images(real, rows)),
        features.extract(extractor, features.of_images(fake[:protocol.fakes or None])),
        lambda x: extractor.logits(x, protocol.biased))
    origin = measures.Origin.of(extractor, data="shapes train", seed=0)
    for score in measures.measure(protocol, inputs, origin):
        print(stored_scores.line(score), *score.cautions)

real and fake are images, uint8 (N, H, W, C); an extractor is what features.Extractor says. stored_scores.comparable
tells why two scores may not stand in one column, and is "" if they may. A number of images that a protocol does not ask
for is refused. logits may be an array, too, with the bias of the last layer exactly if `protocol.biased`; log
probabilities are logits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.errors import WrongUse
from minigan.metrics import scores

NAMES = ("IS", "FID", "KID", "intra-FID", "precision", "recall", "density", "coverage", "MS-SSIM", "intra-MS-SSIM")
OF_PIXELS = {"MS-SSIM", "intra-MS-SSIM"}  # scores that need no network and no real images
RUNS = {"inception-chainer": "inception-2015-12-05"}  # a network -> whose weights it runs, if not its own


@dataclass(frozen=True)
class Protocol:
    """What is measured, on how many images, with which network. A count of 0 means all that there are."""

    name: str
    source: str
    scores: tuple[str, ...]
    network: str = "inception-2015-12-05"  # "": any
    resize: str = "tf"  # to the network's size: tf (corners, no half pixel), align-corners; "": any
    pixels: str = "truncate"  # fakes to uint8: truncate, round (as minigan does), float: not; "": any
    is_count: int = 50_000  # fakes for IS, in `splits` runs of neighbours
    splits: int = 10
    logits: str = "unbiased"  # a name of scores.LOGITS
    shuffle: int | None = None  # the seed that mixes images before they are split for IS
    real: int = 0  # real images, drawn by `seed` unless all are taken
    fake: int = 0  # fakes for every score but IS; of each class if per_class
    per_class: bool = False
    seed: int = 2020  # of the choice of real images, of KID's subsets, of MS-SSIM's images
    kid_subsets: int = 100
    kid_size: int = 1000
    repetitions: int = 1  # sets of fakes of a run, of one seed each, whose scores the source averages

    @property
    def weights(self) -> str:
        """The kind of Inception's weights that it takes (inception_weights.Weights.kind); "": none, a classifier."""
        return RUNS.get(self.network, self.network)

    @property
    def biased(self) -> bool:
        """Whether IS takes logits with the bias of the last layer."""
        return scores.LOGITS[self.logits].biased

    @property
    def rounding(self) -> str:
        """How images that are drawn for it become uint8, a name of data.pixels.TO_UINT8: floats are rounded, too."""
        return "truncate" if self.pixels == "truncate" else "round"

    @property
    def fakes(self) -> int:
        """Fakes to make (of each class if per_class); 0: as many as one likes."""
        counts = [self.is_count] * ("IS" in self.scores) + [self.fake] * (set(self.scores) != {"IS"})
        return 0 if 0 in counts else max(counts)

    def rows(self, available: int, labels: np.ndarray | None = None) -> np.ndarray:
        """Which of the `available` real images to take, sorted; labels: needed if per_class. WrongUse if too few."""
        if not self.real:
            return np.arange(available)
        groups = [np.arange(available)]
        if self.per_class:
            if labels is None:
                raise WrongUse(f"{self.name} needs labels of the real images")
            groups = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        rng, taken = np.random.RandomState(self.seed), []
        for group in groups:
            if len(group) < self.real:
                each = " of each class" if self.per_class else ""
                if len(group) < 2:
                    raise WrongUse(f"there is {len(group)} real image{each and ' of a class'}; a score is of many "
                                   "images, at least 2")
                raise WrongUse(f"protocol {self.name} takes {self.real:,} real images{each}, the data have "
                               f"{len(group):,}; a smaller protocol takes fewer: --count {len(group)}")
            taken.append(group[rng.choice(len(group), self.real, replace=False)])
        return np.sort(np.concatenate(taken))

    def only(self, names: Collection[str]) -> Protocol:
        """The same with these of its scores alone. WrongUse for one that it does not have."""
        for name in names:
            if name not in self.scores:
                having = sorted(other for other, p in PROTOCOLS.items() if set(names) <= set(p.scores))
                raise WrongUse(f"protocol {self.name} has no {name}; those that have it: {', '.join(having)}")
        return dataclasses.replace(self, scores=tuple(names))

    def smaller(self, count: int) -> Protocol:
        """The same with at most `count` images everywhere; its name says so, so that scores are never mixed."""
        if count < 2:
            raise WrongUse(f"a protocol needs at least 2 images, got {count}")
        less: dict[str, Any] = {
            **{field: min(getattr(self, field) or count, count) for field in ("is_count", "real", "fake")},
            "kid_size": min(self.kid_size, max(2, count // 2)), "splits": min(self.splits, count)}
        if all(getattr(self, field) == value for field, value in less.items()):
            return self
        # "pictures": the name is stored with scores, and others compare by it
        name = f"{self.name.split(' at ')[0]} at {count} pictures{' of each class' * self.per_class}"
        return dataclasses.replace(self, name=name, **less)


_NEIGHBOURS = ("precision", "recall", "density", "coverage")
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in (
    Protocol(
        "sn-gan",
        "Miyato et al. 2018, App. B.1: IS of 5,000 images, 10 times; FID over 10,000 real and 5,000 fake "
        "ones. It does not say which real ones: drawn from the training set here",
        ("IS", "FID"), real=10_000, fake=5_000),
    Protocol(
        "bssn",
        "Lin et al. 2021, App. H.2, and the authors' code: IS of 50,000 in 10 splits from the first 1,000 logits "
        "with bias; FID of 5,000 random training images and 10,000 fakes, not rounded; mean of 5 runs",
        ("IS", "FID"), pixels="float", logits="bsn", real=5_000, fake=10_000),
    Protocol(
        "chainer-gan-lib",
        "pfnet-research/chainer-gan-lib: IS of 5,000 images, 10 times; FID of all training and 10,000 fake "
        "ones, with Chainer's port of the network (IS of the real CIFAR-10: 12.0). Only its IS truncates images; "
        "both do here",
        ("IS", "FID"), network="inception-chainer", resize="align-corners", logits="chainer", fake=10_000),
    Protocol(
        "mimicry",
        "kwotsin/mimicry: 50,000 and 50,000; KID 10 x 5,000; 3 seeds. It scales each batch of images to the "
        "batch's own least and greatest value first; not done here",
        ("IS", "FID", "KID"), real=50_000, fake=50_000, kid_subsets=10, kid_size=5_000, repetitions=3),
    Protocol(
        "ttur",
        "Heusel et al. 2017 and bioinf-jku/TTUR: FID of all training images and 50,000 fakes (its README "
        "asks for at least 10,000)",
        ("FID",), fake=50_000),
    Protocol(
        "torch-fidelity",
        "torch-fidelity 0.4.0's defaults: all images; IS shuffled; KID 100 x 1,000, seed 2020",
        ("IS", "FID", "KID"), is_count=0, shuffle=2020),
    Protocol(
        "report",
        "Evaluation of Spectral Normalization for GANs Using Inception Score, 4.1: 1,024 images in 5 splits (real "
        "CIFAR-10: 9.79). It does not say which network; the original one here",
        ("IS",), is_count=1_024, splits=5),
    Protocol(
        "neighbours",
        "Kynkaanniemi et al. 2019 (precision, recall: k = 3), Naeem et al. 2020 (density, coverage: k = 5), on "
        "10,000 and 10,000 images as the latter; Inception's features here, VGG's in the former",
        _NEIGHBOURS, real=10_000, fake=10_000),
    Protocol(
        "intra-fid",
        "Miyato and Koyama 2018 and pfnet-research/sngan_projection: FID of each class, all its training images "
        "against 5,000 fakes; mean over classes",
        ("intra-FID",), fake=5_000, per_class=True),
    Protocol(
        "ms-ssim",
        "Fedus et al. 2018, 5.3, and google/compare_gan: MS-SSIM of all pairs in 5 batches of 64 images",
        ("MS-SSIM",), network="", resize="", pixels="", fake=320),
    Protocol(
        "intra-ms-ssim",
        "Odena et al. 2017: MS-SSIM of 100 random pairs of each class, mean over classes; among 200 images of each "
        "here",
        ("intra-MS-SSIM",), network="", resize="", pixels="", fake=200, per_class=True),
    Protocol(
        "keras",
        "nobody's paper: Keras' InceptionV3 (keras.applications) with Keras' own weights. Another network, trained "
        "anew: comparable with scores of this protocol only. All images; IS in 10 splits, KID 100 x 1,000",
        ("IS", "FID", "KID"), network="inception-keras", resize="half-pixel", pixels="round", is_count=0,
        logits="biased"),
    Protocol(
        "torchvision",
        "nobody's paper: torchvision's inception_v3 with torchvision's own weights, otherwise as keras; comparable "
        "with scores of this protocol only",
        ("IS", "FID", "KID"), network="inception-torchvision", resize="half-pixel", pixels="round", is_count=0,
        logits="biased"),
    Protocol(
        "classifier",
        "a small classifier's features and logits, for data that Inception does not know, such as digits: comparable "
        "under the same weights only",
        ("IS", "FID", "KID", *_NEIGHBOURS), network="", resize="", pixels="",
        is_count=0),
)}

# Of what has no named way. Statistics do not say of which network they are; features of a function of one's own
# (from Python) are comparable with those of the same function only. Both take all that there is. IS of a function's
# logits is shuffled and split as torch-fidelity does it.
OF_STATISTICS = Protocol("statistics", "statistics of features on both sides", ("FID",), network="", resize="",
                         pixels="")
OF_FUNCTION = Protocol("function", "features of a function of one's own", ("FID", "KID", *_NEIGHBOURS), network="",
                       resize="", pixels="", is_count=0, shuffle=2020)
OF_LOGITS = dataclasses.replace(OF_FUNCTION, source="logits of a function of one's own", scores=("IS",))


def needs_real(names: Collection[str]) -> bool:
    """Whether a score of these names compares with real images."""
    return bool(set(names) - OF_PIXELS - {"IS"})


def serving(kind: str) -> list[str]:
    """The protocols that take this kind of Inception's weights."""
    return [name for name, p in PROTOCOLS.items() if p.weights == kind]
