"""The Frechet distance of two sets of features, each taken for a normal distribution, and files of its statistics.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))          (Dowson and Landau 1982; FID: Heusel et al. 2017)

With C1 = F1 F1^T and C2 = F2 F2^T the last trace is the sum of the singular values of F1^T F2. So there is no square
root of a matrix: nothing that is complex, nothing added to the diagonal, and it is right when there are fewer images
than features, where the covariances are singular.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.errors import FailedWork, WrongUse, reason
from minigan.formats.arrays_in_files import UNREADABLE, npy_header, npz_array, npz_file
from minigan.formats.foreign import image_arrays
from minigan.formats.untrusted import what_file
from minigan.formats.whole import write_whole

BLOCK = 1024  # rows that are added at once
# Mean and covariance: of TTUR, pytorch-fid and ADM; of chainer-gan-lib and sngan_projection; of older scripts.
NAMES = (("mu", "sigma"), ("mean", "cov"), ("m", "s"))
MAX_FEATURES = 8192  # of a statistics file: 512 MiB


@dataclass(frozen=True)
class Statistics:
    """Mean (d,) and covariance (d, d; divided by count - 1) of features, float64; count 0: not known."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int = 0


class Moments:
    """Mean and covariance of features that come bit by bit, in float64 and in memory for one block.

    Rows are gathered to blocks of a fixed size, so the result has the same bytes however they come. Blocks are combined
    as by Chan, Golub and LeVeque 1983, which subtracts no large sums from each other.
    """

    def __init__(self, features: int):
        self.count, self.mean, self.scatter = 0, np.zeros(features), np.zeros((features, features))
        self._rows, self._waiting = np.empty((BLOCK, features)), 0

    def add(self, features: np.ndarray) -> None:
        """features: (n, d), any float dtype."""
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise WrongUse(f"features have the shape {features.shape}, expected (n, {len(self.mean)})")
        start = 0
        while start < len(features):
            part = features[start:start + BLOCK - self._waiting]
            self._rows[self._waiting:self._waiting + len(part)] = part
            self._waiting += len(part)
            start += len(part)
            if self._waiting == BLOCK:
                self._combine()

    def statistics(self) -> Statistics:
        """Of all rows so far; more may be added after."""
        later = Moments(0)
        later.count, later.mean, later.scatter = self.count, self.mean, self.scatter
        later._rows, later._waiting = self._rows, self._waiting
        later._combine()
        if later.count < 2:
            raise WrongUse(f"statistics of {later.count} images: a covariance needs at least 2")
        return Statistics(later.mean, later.scatter / (later.count - 1), later.count)

    def _combine(self) -> None:
        rows, n = self._rows[:self._waiting], self._waiting
        if not n:
            return
        _check_finite(rows)
        mean = rows.mean(0)
        rows = rows - mean
        apart, total = mean - self.mean, self.count + n
        self.scatter = self.scatter + rows.T @ rows + np.outer(apart, apart) * (self.count * n / total)
        self.mean = self.mean + apart * (n / total)
        self.count, self._waiting = total, 0


def statistics(features: np.ndarray) -> Statistics:
    """Mean and covariance of features (N, d)."""
    moments = Moments(features.shape[-1])
    moments.add(features)
    return moments.statistics()


def distance(real: np.ndarray | Statistics, fake: np.ndarray | Statistics) -> float:
    """Frechet distance of two sets, each given as features (N, d) or as statistics; at least 0.

    Up to d features are taken as they are, which is exact and fast; of more than that, the covariance.
    """
    (m1, f1, t1), (m2, f2, t2) = map(_parts, (real, fake))
    if len(m1) != len(m2):
        raise WrongUse(f"the real images have {len(m1)} features, the fakes {len(m2)}; "
                       "they must come from one layer of one network")
    between = np.linalg.svd(f1.T @ f2, compute_uv=False).sum() if f1.size and f2.size else 0.0
    return float(max(0.0, ((m1 - m2) ** 2).sum() + t1 + t2 - 2 * between))


def _parts(given: np.ndarray | Statistics) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, a factor (d, r) of the covariance, its trace."""
    if isinstance(given, Statistics) or len(given) > given.shape[1]:
        known = given if isinstance(given, Statistics) else statistics(given)
        return known.mean, _factor(known.covariance), float(np.trace(known.covariance))
    if len(given) < 2:
        raise WrongUse(f"Frechet distance: got {len(given)} images, needs at least 2")
    x = np.asarray(given, np.float64)
    _check_finite(x)
    mean = x.mean(0)
    factor = (x - mean).T / math.sqrt(len(x) - 1)
    return mean, factor, float((factor ** 2).sum())


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F (d, r) with F F^T = covariance: by Cholesky if it is regular, else by its eigenvalues above rounding.

    What rounding makes of a zero eigenvalue is some d * eps of the largest, and its square root would count.
    """
    least = len(covariance) * np.finfo(np.float64).eps
    try:
        lower = np.linalg.cholesky(covariance)
        # trace(C^-1) is above 1 / the least eigenvalue; estimated by random signs, a quarter of an inverse's work
        signs = np.random.RandomState(0).choice([-1.0, 1.0], (len(covariance), 8))
        if (np.linalg.solve(lower, signs) ** 2).sum() / 8 * np.trace(covariance) * least < 1:
            return lower
    except np.linalg.LinAlgError:
        pass  # singular
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(0.0, values.max()) * least
    return vectors[:, kept] * np.sqrt(values[kept])


def _check_finite(x: np.ndarray) -> None:
    if not np.isfinite(x).all():
        raise FailedWork("some features are not finite: the images, or the network's weights, hold nan or inf")


def read(path: str | Path) -> Statistics:
    """Statistics of others: an .npz file with the mean (d,) and the covariance (d, d) under a pair of NAMES.

    The file is not trusted: plain floating numbers only, shapes and sizes are checked before they are read, and a
    covariance must be finite and symmetric. FailedWork with one line for anything else.
    """
    path, here = Path(path), set()
    try:
        with npz_file(path) as archive:
            here = {name.removesuffix(".npy") for name in archive.namelist()}
            pair = next((pair for pair in NAMES if here.issuperset(pair)), NAMES[0])
            mean = _array(archive, path, pair[0], 1)
            covariance = _array(archive, path, pair[1], 2, len(mean))
            count = int(_array(archive, path, "count", 0)) if "count.npy" in archive.namelist() else 0
    except OSError as error:
        raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from error
    except FailedWork:
        raise
    except UNREADABLE as error:
        what = what_file(path)
        if not what and here.intersection(image_arrays.NAMES):
            raise FailedWork(f"{path}: holds images, expected their statistics; they are compared with: "
                             f"--data folder --data-root {path}") from error
        raise FailedWork(f"{path}: no statistics of FID ({f'it is {what}' if what else reason(error)}); expected an "
                         ".npz file with mu (d,) and sigma (d, d), or mean and cov, or m and s") from error
    known = Statistics(mean, covariance, count)
    if why := complaint(known, pair[1]):
        raise FailedWork(f"{path}: no statistics of FID ({why})")
    return known


def complaint(known: Statistics, name: str = "sigma") -> str:
    """Why these numbers are no mean (d,) and covariance (d, d), which is called `name`; "" if they are."""
    mean, covariance = known.mean, known.covariance
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        return f"shapes {mean.shape} and {covariance.shape}"
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all() and 0 <= known.count < 1 << 53):
        return "some numbers are not finite, or no count"
    # 1e-6: what float32 leaves of symmetry
    if (covariance.diagonal() < 0).any() or (
            np.abs(covariance - covariance.T).max(initial=0) > 1e-6 * np.abs(covariance).max(initial=0)):
        return f"{name} is no covariance: not symmetric, or a variance below 0"
    return ""


def holds(path: Path) -> tuple[bool, bool]:
    """Whether an .npz file has an array of images, and whether it has a pair of NAMES, by its arrays' names and shapes;
    (False, False) of a file that cannot be read."""
    try:
        with npz_file(path) as archive:
            headers = image_arrays.headers_in(archive)
    except (OSError, *UNREADABLE):
        return False, False
    images = any(image_arrays.of_images(shape, dtype) for shape, _, dtype in headers.values())
    return images, any(headers.keys() >= set(pair) for pair in NAMES)


def _array(archive: zipfile.ZipFile, path: Path, name: str, ndim: int, length: int | None = None) -> np.ndarray:
    """The member `name`.npy, of `ndim` axes (of `length` each), as float64. ValueError if it is anything else."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"it has no {name}")
    with archive.open(f"{name}.npy") as file:
        shape, _, dtype = npy_header(file)
        if len(shape) != ndim or dtype.kind not in "fiu" or dtype.itemsize > 8 or (
                length is not None and shape != (length,) * ndim) or not all(1 <= n <= MAX_FEATURES for n in shape):
            raise ValueError(f"{name} is {dtype} {shape}")
    return npz_array(archive, name, path).astype(np.float64)


def write(path: str | Path, known: Statistics) -> None:
    """Write an .npz file with `mu`, `sigma` and `count`, which TTUR and pytorch-fid can read."""
    file = io.BytesIO()
    np.savez(file, mu=known.mean, sigma=known.covariance, count=np.int64(known.count))
    write_whole(Path(path), file.getbuffer())
