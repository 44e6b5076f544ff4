"""Features of images: whoever extracts them, of whichever images; each block computed once and kept in the cache.

    extractor = InceptionFeatures(inception_weights.load(path))       # or a classifier.Classifier
    found = extract(extractor, of_images(data.images[rows]))          # float32 (N, d)

The cache holds a folder for each pair of images and extractor, named by the digests of both, and in it a file for
each block of images, written whole and with a checksum (formats/hdf5_state.py). So an extraction that was killed goes
on with the block it was at, more images from the same seed add to those that are there, and a broken file is made
anew.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minigan.data.dataset import StoredImages, digest_of
from minigan.data.locations import cache_folder
from minigan.engine import devices
from minigan.errors import FailedWork, WrongUse
from minigan.formats import hdf5_state
from minigan.formats.progress import ProgressLine, to_stderr
from minigan.formats.whole import make_folder
from minigan.metrics.frechet import Moments, Statistics
from minigan.metrics.inception import Inception
from minigan.metrics.inception_weights import Weights

BLOCK = 250  # images of a file: a minute of Inception on two cores
STEP = 50  # images between progress lines; a multiple of classifier.BATCH, so that nothing else changes
VERSION = 1  # of the files

Function = Callable[[np.ndarray], object]  # images, uint8 (n, H, W, C), C 1 or 3 -> features (n, d), real numbers


class Extractor(Protocol):
    """What makes features of images: InceptionFeatures, classifier.Classifier, FunctionFeatures."""

    @property
    def name(self) -> str:
        """Such as "inception-2015-12-05", "classifier fashion-mnist"."""

    @property
    def digest(self) -> str:
        """That of the weights; "": what they depend on is not known, so the cache has none of them."""

    @property
    def resize(self) -> str:
        """How images of another size are brought to its own."""

    @property
    def dimension(self) -> int:
        """The length of the features."""

    @property
    def classifies(self) -> bool:
        """Whether it has logits."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, C) -> float32 (n, dimension); they do not depend on how many others come after."""

    def logits(self, features: np.ndarray, biased: bool = False) -> np.ndarray:
        """(n, dimension) -> (n, classes)."""


class InceptionFeatures:
    """Inception's 2048 features of the last pooling, as an Extractor.

    kind: how to run the weights, if not as their own kind (inception_table.KINDS); resize: if not the kind's.
    The weights themselves are not kept. Another process gets the network (see its __getstate__).
    """

    dimension = 2048

    def __init__(self, weights: Weights, kind: str | None = None, resize: str | None = None, device: str = "cpu"):
        self.name, self.digest = kind or weights.kind, weights.digest
        self.network = Inception(weights.tensors, self.name, resize, devices.device_module(device))
        self.resize, self.classifies = self.network.resize, weights.classifies

    def features(self, images: np.ndarray) -> np.ndarray:
        return devices.to_host(self.network.features(images)["2048"])

    def begin(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """The same on a GPU, computed meanwhile; what waits for them, and returns them."""
        return devices.to_host_later(self.network.features(images)["2048"])

    def logits(self, features: np.ndarray, biased: bool = False) -> np.ndarray:
        return devices.to_host(self.network.logits(self.network.xp.asarray(features), biased))


class FunctionFeatures:
    """A function of one's own as an Extractor.

    Nothing that it makes is kept in the cache: what it depends on is not known.
    first: two images, for which it is called at once, so that a wrong one is found before the work.
    logits: whether what it makes are logits of classes, for IS alone.
    """

    digest, resize = "", ""

    def __init__(self, function: Function, first: np.ndarray, logits: bool = False):
        self.function, self.classifies = function, logits
        self.name = f"function {getattr(function, '__name__', type(function).__name__)}"
        self.dimension = 0
        self.dimension = self.features(first).shape[1]

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, C) -> float32 (n, dimension). WrongUse unless the function gives a row for each image."""
        made = self.function(images)
        try:
            found = np.asarray(made)
        except Exception as error:  # whatever an array of another library raises, such as a tensor on a GPU
            raise WrongUse(f"weights: {self.name} gave a {type(made).__name__}, which is no NumPy array "
                           f"({str(error)[:100]})") from None
        wanted = f"({len(images)}, {self.dimension or 'd'})"
        if found.ndim != 2 or len(found) != len(images) or 0 in found.shape or found.dtype.kind not in "buif" or (
                self.dimension not in (0, found.shape[1])):
            raise WrongUse(f"weights: {self.name} gave {found.dtype} {found.shape} for images {images.shape}; expected "
                           f"numbers {wanted}, a row of features for each")
        if not np.isfinite(found).all():
            raise FailedWork(f"weights: {self.name} gave numbers that are not finite")
        return found.astype(np.float32)

    def logits(self, features: np.ndarray, biased: bool = False) -> np.ndarray:
        """The features themselves."""
        return features


class SharedOut:
    """An extractor whose blocks of images are computed elsewhere, while this process goes on: an Extractor, too.

    begin: has features(images) computed by others, or on a GPU; what waits for them, and returns them.
    ahead: blocks that are begun before the first of them is waited for.
    """

    def __init__(self, extractor: Extractor, begin: Callable[[np.ndarray], Callable[[], np.ndarray]], ahead: int):
        self.extractor, self.begin, self.ahead = extractor, begin, ahead
        self.name, self.digest, self.resize = extractor.name, extractor.digest, extractor.resize
        self.dimension, self.classifies = extractor.dimension, extractor.classifies

    def features(self, images: np.ndarray) -> np.ndarray:
        return self.extractor.features(images)

    def logits(self, features: np.ndarray, biased: bool = False) -> np.ndarray:
        return self.extractor.logits(features, biased)


@dataclass(frozen=True)
class Images:
    """Images to be read from any of them on: uint8 (count, H, W, C)."""

    count: int
    identity: str  # a digest of their content, or of all that they are made from
    read: Callable[[slice], np.ndarray]
    what: str = "real"  # for the progress line


def of_images(images: np.ndarray | StoredImages, rows: np.ndarray | None = None, what: str = "real") -> Images:
    """Those of an array, or of a packed file; rows: only these, in their order."""
    identity = digest_of(images)
    if rows is None or np.array_equal(rows, np.arange(len(images))):
        return Images(len(images), identity, lambda part: images[np.arange(len(images))[part]], what)
    identity = hashlib.sha256(f"{identity} rows ".encode() + np.asarray(rows, "<i8").tobytes()).hexdigest()
    return Images(len(rows), identity, lambda part: images[rows[part]], what)


def extract(extractor: Extractor, images: Images, quiet: bool = False, keep: bool = True) -> np.ndarray:
    """Features (count, dimension), float32, of all images, from the cache as far as they are there.

    keep: write them to the cache.  quiet: no progress line.
    """
    found = np.empty((images.count, extractor.dimension), np.float32)

    def take_block(part: slice, features: np.ndarray) -> None:
        found[part] = features
    _go(extractor, images, take_block, quiet, keep)
    return found


def statistics(extractor: Extractor, images: Images, quiet: bool = False) -> Statistics:
    """Mean and covariance of all images' features, in memory for one block; kept in the cache, too."""
    path = folder(extractor, images) / f"statistics-{images.count}.h5"
    state = None
    if extractor.digest:
        state = _kept(path, {"of": _key(extractor, images), "count": images.count},
                      {"mean": (extractor.dimension,), "covariance": (extractor.dimension,) * 2}, np.float64)
    if state is not None:
        return Statistics(state["mean"], state["covariance"], images.count)
    moments = Moments(extractor.dimension)
    _go(extractor, images, lambda _, features: moments.add(features), quiet, keep=True)
    known = moments.statistics()
    if extractor.digest:
        _keep(path, {"of": _key(extractor, images), "count": images.count, "mean": known.mean,
                     "covariance": known.covariance})
    return known


def folder(extractor: Extractor, images: Images) -> Path:
    """Where the cache holds the features of these images."""
    return cache_folder() / "features" / _key(extractor, images)[:32]


def _key(extractor: Extractor, images: Images) -> str:
    """Whatever features depend on, as a digest."""
    e = extractor
    words = [VERSION, BLOCK, e.name, e.digest, e.resize, e.dimension, images.identity]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _go(extractor: Extractor, images: Images, use: Callable[[slice, np.ndarray], None], quiet: bool,
        keep: bool) -> None:
    """Call use(part, features) for every block of images, in order."""
    place, key = folder(extractor, images), _key(extractor, images)
    progress: ProgressLine | None = None  # begins with the first block that is not there: that tells the rate
    waiting: deque[Callable[[], None]] = deque()  # blocks that were begun
    ahead = extractor.ahead if isinstance(extractor, SharedOut) else 0

    def take(part: slice, path: Path, label: dict[str, Any], get: Callable[[], np.ndarray], new: bool) -> None:
        features = get()
        if new and keep and extractor.digest:
            _keep(path, label | {"features": features})
        use(part, features)
    try:
        for start in range(0, images.count, BLOCK):
            part = slice(start, min(start + BLOCK, images.count))
            n = part.stop - start
            path = place / f"{start:07d}-{n}.h5"
            label = {"of": key, "start": start}
            state = None
            if extractor.digest:
                state = _kept(path, label, {"features": (n, extractor.dimension)}, np.float32)
            if state is None:
                progress = progress or _begun(images, extractor, start, quiet)
                get = _begin(extractor, images.read(part), start, progress)
            else:
                get = partial(dict.__getitem__, state, "features")
            waiting.append(partial(take, part, path, label, get, state is None))
            if len(waiting) > ahead:
                waiting.popleft()()
        while waiting:
            waiting.popleft()()
    finally:
        if progress is not None:
            progress.close()


def _begin(extractor: Extractor, images: np.ndarray, start: int, progress: ProgressLine) -> Callable[[], np.ndarray]:
    """What gives the features of a block's images; computed then, or by others from now on."""
    if isinstance(extractor, SharedOut):
        wait = extractor.begin(images)

        def waited() -> np.ndarray:
            features = wait()
            progress.update(start + len(features))
            return features
        return waited
    return lambda: computed(extractor, images, lambda done: progress.update(start + done))


def computed(extractor: Extractor, images: np.ndarray, tell: Callable[[int], None] = lambda done: None) -> np.ndarray:
    """Features of a block's images; tell hears after every STEP of them how many are done."""
    found = np.empty((len(images), extractor.dimension), np.float32)
    for at in range(0, len(images), STEP):
        found[at : at + STEP] = extractor.features(images[at : at + STEP])
        tell(min(at + STEP, len(images)))
    return found


def _begun(images: Images, extractor: Extractor, start: int, quiet: bool) -> ProgressLine:
    progress = ProgressLine(images.count, start, quiet=quiet)
    if not quiet:
        more = f", going on after {start:,}" if start else ""
        progress.say(f"features of {images.count:,} {images.what} images, {extractor.name}{more}")
    return progress


def _kept(path: Path, label: dict[str, Any], shapes: dict[str, tuple[int, ...]], dtype: Any) -> dict[str, Any] | None:
    """What a file of the cache holds; None if it is not there, or not what it should be, which is said."""
    if not path.exists():
        return None
    try:
        state = hdf5_state.load(path)
    except FailedWork as error:
        to_stderr(f"{error}; it is made anew")
        return None
    arrays = [state.get(name) for name in shapes]
    fit = all(isinstance(a, np.ndarray) and a.shape == shape and a.dtype == dtype and np.isfinite(a).all()
              for a, shape in zip(arrays, shapes.values(), strict=True))
    if not fit or {name: state.get(name) for name in label} != label:
        to_stderr(f"{path} does not hold what its name says; it is made anew")
        return None
    return state


def _keep(path: Path, state: dict[str, Any]) -> None:
    try:
        make_folder(path.parent)
    except OSError as error:
        raise FailedWork(f"{path.parent} cannot be made ({error.strerror or error}); the cache folder is "
                         "$MINIGAN_CACHE, if that is set") from None
    hdf5_state.save(path, state)
