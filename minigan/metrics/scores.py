"""Scores of fakes from features, logits and the discriminator's outputs: pure functions, float64.

None depends on how images were batched. Arguments come as (real, fake).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minigan.engine import thread_pool
from minigan.errors import FailedWork, WrongUse, choose
from minigan.metrics import frechet

ROWS = 500  # of KID's kernel at once: mimicry's 5000 x 5000 would take half a gigabyte in each thread


@dataclass(frozen=True)
class Logits:
    """A way from logits to log probabilities: with the last layer's bias or not; which columns, before or after."""

    biased: bool
    sees: int | None = None  # columns that the softmax sees, from the first on; None: all
    counts: tuple[int, int | None] = (0, None)  # columns of its result that count


LOGITS: dict[str, Logits] = {
    "unbiased": Logits(False),  # all 1008 without bias: improved-gan's code, so the original score
    "biased": Logits(True),
    "chainer": Logits(True, counts=(1, 1001)),  # chainer-gan-lib: not normalized again
    "bsn": Logits(True, sees=1000),  # BSN: logits[:, :1000]
}


def inception_score(logits: np.ndarray, splits: int = 10, variant: str = "unbiased",
                    shuffle: int | None = None) -> tuple[float, float]:
    """exp E_x KL(p(y|x) || p(y)) of each split (Salimans et al. 2016): mean and standard deviation (ddof 0).

    logits: (N, classes); log probabilities are logits, too, -inf included.  variant: a name of LOGITS; whether the
    logits have the bias is up to who makes them.  shuffle: the seed of a permutation before, as torch-fidelity has it
    (2020 there); None keeps the order.
    """
    choose("way of logits", variant, LOGITS)
    if logits.ndim != 2 or not 1 <= splits <= len(logits):
        raise WrongUse(f"IS: got logits {logits.shape} for {splits} splits, expected (N, classes) and an image for "
                       "each split")
    way, N = LOGITS[variant], len(logits)
    order = np.arange(N) if shuffle is None else np.random.RandomState(shuffle).permutation(N)
    found = [_exp_mean_kl(logits[order[i * N // splits:(i + 1) * N // splits]], way) for i in range(splits)]
    return float(np.mean(found)), float(np.std(found))


def _exp_mean_kl(logits: np.ndarray, way: Logits) -> float:
    x = np.asarray(logits[:, :way.sees], np.float64)
    top = x.max(1, keepdims=True)
    if not np.isfinite(top).all():
        raise FailedWork("IS: some logits are not finite: the images, or the network's weights, hold nan or inf")
    log_p = (x - top - np.log(np.exp(x - top).sum(1, keepdims=True)))[:, slice(*way.counts)]
    p = np.exp(log_p)
    mean = p.mean(0)
    log_mean = np.log(mean, out=np.zeros_like(mean), where=mean > 0)
    kl = np.where(p > 0, p * (np.where(p > 0, log_p, 0) - log_mean), 0)  # 0 log 0 is 0
    return math.exp(kl.sum(1).mean())


def kid(real: np.ndarray, fake: np.ndarray, subsets: int = 100, size: int = 1000,
        seed: int = 2020) -> tuple[float, float]:
    """Kernel Inception distance (Binkowski et al. 2018): mean and standard deviation (ddof 0) over subsets.

    real (N, d), fake (M, d).  A subset is `size` images of each, without repetition. They are torch-fidelity's if its
    first input is the fakes, as in its examples: the fakes are drawn first.
    """
    _check_features("KID", real, fake)
    if not 2 <= size <= min(len(real), len(fake)):
        raise WrongUse(f"KID: subsets of {size} images from {len(real)} real and {len(fake)} fakes; "
                       "take more images, or a smaller protocol")
    rng = np.random.RandomState(seed)
    rows = [[rng.choice(len(x), size, replace=False) for x in (fake, real)] for _ in range(subsets)]
    found = thread_pool.parallel(lambda pair: _mmd(real[pair[1]], fake[pair[0]]), rows)
    return float(np.mean(found)), float(np.std(found))


def _mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy under the kernel (<x, y> / d + 1)^3."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def kernel(k: np.ndarray) -> float:
        k /= x.shape[1]
        k += 1
        return (k * k * k).sum()  # ** 3 takes ten times as long

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(kernel(a[rows] @ b.T) for rows in thread_pool.blocks(len(a), ROWS))

    def off_diagonal(a: np.ndarray) -> float:
        return (total(a, a) - kernel((a * a).sum(1))) / (len(a) * (len(a) - 1))

    return off_diagonal(x) + off_diagonal(y) - 2 * total(x, y) / (len(x) * len(y))


def intra_fid(real: np.ndarray, real_labels: np.ndarray, fake: np.ndarray,
              fake_labels: np.ndarray) -> dict[int, float]:
    """FID of each class of the real images (Miyato and Koyama 2018); the score is the mean over classes.

    real (N, d), fake (M, d), labels (N,), (M,) integers. WrongUse if a class has no two real images or fakes.
    """
    _check_features("intra-FID", real, fake)
    classes = np.unique(real_labels)
    few = [str(c) for c in classes if min((real_labels == c).sum(), (fake_labels == c).sum()) < 2]
    if few:
        raise WrongUse(f"intra-FID: fewer than 2 real images or fakes of class {', '.join(few[:5])}"
                       f"{' and others' * (len(few) > 5)}; generate some of each class")
    return {int(c): frechet.distance(real[real_labels == c], fake[fake_labels == c]) for c in classes}


def discriminator_accuracy(real: np.ndarray, fake: np.ndarray, middle: float = 0.0) -> float:
    """How often the discriminator is right, real and fakes counting the same; 0.5 if it cannot tell.

    Outputs before a sigmoid, any shape: above `middle` (nn.losses.Loss) it says real. The reports on DCGANs give such
    a number (0.5 being the aim of the generator) without defining it.
    """
    return float(((real > middle).mean() + (fake <= middle).mean()) / 2)


def held_out_gap(train: np.ndarray, held_out: np.ndarray) -> tuple[float, float]:
    """Mean output on training images less that on held-out ones, and its standard error.

    That is how far the two curves of Miyato et al. 2018, Figure 15a, are apart: the critic's loss E D(fake) - E D(real)
    on training and on validation images has the same first term. Above 0 the discriminator knows its training set.
    """
    train, held_out = (np.asarray(x, np.float64).ravel() for x in (train, held_out))
    if min(len(train), len(held_out)) < 2:
        raise WrongUse(f"the gap needs 2 outputs of each kind, got {len(train)} and {len(held_out)}")
    error = math.sqrt(train.var(ddof=1) / len(train) + held_out.var(ddof=1) / len(held_out))
    return float(train.mean() - held_out.mean()), error


def _check_features(score: str, real: np.ndarray, fake: np.ndarray) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise WrongUse(f"{score}: got {real.shape} (real) and {fake.shape} (fake); expected (N, d), (M, d)")
