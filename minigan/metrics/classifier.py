"""A small classifier of a data set's images, made with minigan's own engine: its features serve scores where
Inception's weights are not at hand, or where Inception has never seen the like (drawings, digits, garments).

Such scores tell runs on one data set apart, by one classifier. They are labelled with its name and digest and mean
nothing beside Inception's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data import datasets, pixels
from minigan.data.dataset import StoredImages, digest_of
from minigan.data.locations import cache_folder
from minigan.data.resize import resized
from minigan.engine import devices, ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.errors import FailedWork, WrongUse, counted
from minigan.formats import hdf5_state
from minigan.formats.progress import to_stderr
from minigan.formats.untrusted import Bounded, doubting, from_json
from minigan.formats.whole import make_folder
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.initializers import he_normal
from minigan.nn.layers import Conv2d, Layer, Linear, Pass, Sequential
from minigan.nn.losses import classification
from minigan.nn.optimizers import Adam

FORMAT, VERSION = "minigan classifier", 1
FEATURES = 128  # of the layer before the last
SIZES = 8, 1024  # sides of images, from and to
BATCH = 50  # images at once when it only looks


def make_network(rng: np.random.Generator, size: int, channels: int, classes: int) -> tuple[Sequential, Sequential]:
    """(body, head): images (N, size, size, channels) in [-1, 1] -> features (N, FEATURES), -> logits (N, classes).

    4x4 with stride 2 to 32 channels, 3x3 to 64, 4x4 with stride 2 to 128 until a side is less than 8, then dense; each
    with batch normalization and ReLU, so that features are 0 or more, as Inception's are.
    """
    plan, side = [(32, 4, 2), (64, 3, 1)], size // 2
    while side >= 8:
        plan, side = [*plan, (128, 4, 2)], side // 2
    layers: dict[str, Layer] = {}
    n_in = channels
    for i, (n, kernel, stride) in enumerate(plan, start=1):
        layers[f"conv{i}"] = Conv2d(rng, n_in, n, kernel, stride, 1, he_normal(), bias=False)
        layers[f"bn{i}"] = BatchNorm(n, slope=0)
        n_in = n
    layers["flat"] = Flat()
    layers["dense"] = Linear(rng, side * side * n_in, FEATURES, he_normal(), bias=False)
    layers["bn"] = BatchNorm(FEATURES, slope=0)
    return Sequential(**layers), Sequential(logits=Linear(rng, FEATURES, classes, he_normal(0.5)))


class Flat(Layer):
    """(N, H, W, C) -> (N, H * W * C)."""

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        return ops.reshape(x, (len(x), -1))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier, as an extractor of features (features.Extractor).

    Another process gets its arrays, and makes its own, on its own card.
    """

    body: Sequential
    head: Sequential
    dataset: str
    size: int
    channels: int
    classes: tuple[str, ...]
    accuracy: float  # on the test split, 0 to 1
    trained: dict[str, Any]  # how: epochs, batch size, rate, seed
    digest: str  # SHA-256 of what it is and its arrays
    xp: Any = np

    resize = "lanczos"
    dimension = FEATURES
    classifies = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (_state(self), "cpu" if self.xp is np else "cuda")

    @property
    def name(self) -> str:
        return f"classifier {self.dataset}"

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C), of any size and C = 1 or 3 -> float32 (N, FEATURES), on the host.

        At one place in the array an image's features have the same bytes whatever the others are and however many; at
        another they differ by rounding. Images of another size are brought to the classifier's by Lanczos; grey ones
        get three channels if it has them. WrongUse for colours that it cannot see.
        """
        found = np.empty((len(images), FEATURES), np.float32)
        with no_grad():
            for at in range(0, len(images), BATCH):
                x = self.prepared(images[at : at + BATCH])
                # Always BATCH of them: the way BLAS adds up may depend on the number of rows.
                full = np.concatenate([x, np.zeros((BATCH - len(x), *x.shape[1:]), np.uint8)])
                y = self.body(Tensor(pixels.to_floats(self.xp.asarray(full))), False).data
                found[at : at + BATCH] = devices.to_host(y)[: len(x)]
        return found

    def logits(self, features: np.ndarray, biased: bool = False) -> np.ndarray:
        """(N, FEATURES) -> (N, classes), always with the bias: without it they would be no probabilities of its."""
        with no_grad():
            x = Tensor(self.xp.asarray(features, np.float32))
            return devices.to_host(self.head(x, False).data)

    def prepared(self, images: np.ndarray) -> np.ndarray:
        """Images as it was trained on: uint8 (N, size, size, channels)."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(f"Classifier: images are {images.dtype} {images.shape}; expected uint8 (N, H, W, 1 or 3)")
        if images.shape[3] == 3 and self.channels == 1:
            raise WrongUse(f"the {self.name} looks at grey images, these have colours; use one of another data set")
        if images.shape[1:3] != (self.size, self.size):
            images = resized(images, self.size, self.resize)
        return np.broadcast_to(images, (*images.shape[:3], self.channels))


# ---- training ------------------------------------------------------------------------------------------------------

def train(dataset: str, root: Path | None = None, size: int | None = None, epochs: int = 4, batch_size: int = 100,
          rate: float = 2e-3, seed: int = 0, device: str = "cpu",
          progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None, kept: Path | None = None,
          stop: Callable[[], Any] = lambda: False, **options: Any) -> Classifier | None:
    """Train a classifier on the data set's training split; its accuracy is that on the whole test split.

    Adam with a rate that falls to 0 in a straight line; every epoch in a new order from `seed`; no augmentation.
    progress(done, total, numbers) hears of the beginning, of the loss of every 20th batch, and of the test
    accuracy after every epoch.
    kept: a file in which the training is saved after every epoch, and when stop() says so; None is returned then. The
    same call goes on with it, to the same bytes. Whoever has saved the classifier removes it.
    options: of datasets.load.  The same arguments give the same bytes. WrongUse for a data set without labels.
    """
    check_trainable(dataset)
    xp = devices.device_module(device)
    data, test = (datasets.load(dataset, root=root, size=size, split=split, **options) for split in ("train", "test"))
    if not data.labelled or not test.labelled:
        raise WrongUse(f"{data.source}: a classifier needs a label for every image")
    images, side, channels = xp.asarray(data.images), data.images.shape[1], data.images.shape[3]
    rng = np.random.default_rng([seed, 0])
    body, head = (part.to(xp) for part in make_network(rng, side, channels, len(data.classes)))
    params = {f"{name}/{key}": p for name, part in (("body", body), ("head", head))
              for key, p in part.parameters().items()}
    adam = Adam(params, 0.9, 0.999)
    order = np.random.default_rng([seed, 1])
    steps, done, accuracy = max(1, len(images) // batch_size), 0, 0.0
    trained = {"epochs": epochs, "batch_size": batch_size, "rate": rate, "seed": seed, "pictures": len(images),
               "tested": len(test.images)}
    label = trained | {"dataset": dataset, "size": side, "images": digest_of(data.images)}
    if kept is not None:
        done = _go_on(kept, label, body, head, adam)
    progress(done, epochs * steps, {})
    for epoch in range(epochs):
        rows, numbers = order.permutation(len(images)), {}
        if (epoch + 1) * steps < done:
            continue
        for at in range(done - epoch * steps, steps):
            index = rows[at * batch_size : (at + 1) * batch_size]
            labels = xp.asarray(data.labels[index])
            x = Tensor(pixels.to_floats(images[xp.asarray(index)]))
            loss = classification(head(body(x)), labels)
            adam.step(grad(loss, list(params.values())), rate * (1 - done / (epochs * steps)))
            done += 1
            numbers = {"loss": loss.item()} if done % 20 == 0 or at == steps - 1 else {}
            if done % 20 == 0:
                progress(done, epochs * steps, dict(numbers))
            if stop() and done < epochs * steps:
                _keep(kept, label, done, body, head, adam)
                return None
        accuracy = accuracy_of(body, head, test.images, test.labels, xp)
        progress(done, epochs * steps, numbers | {"accuracy": accuracy})
        _keep(kept, label, done, body, head, adam)
    return _made(body, head, dataset, side, channels, data.classes, accuracy, trained, xp)


def _keep(kept: Path | None, label: dict[str, Any], done: int, body: Layer, head: Layer, adam: Adam) -> None:
    """Save a training: what it is of, how many batches are done, and all that has changed."""
    if kept is not None:
        hdf5_state.save(kept, {"training": label, "done": done, "body": body.arrays(), "head": head.arrays(),
                               "adam": adam.arrays()})


def _go_on(kept: Path, label: dict[str, Any], body: Layer, head: Layer, adam: Adam) -> int:
    """Take over what `_keep` saved of the same training; returns how many batches are done, 0 if there is nothing."""
    if not kept.is_file():
        return 0
    state = hdf5_state.load(kept)
    if state.get("training") != label:
        to_stderr(f"{kept} is of a training with other options or images: beginning anew")
        return 0
    with doubting(str(kept)):
        for part, name in ((body, "body"), (head, "head"), (adam, "adam")):
            part.load(state[name])
        done = state["done"]
        if type(done) is not int or not 0 <= done == adam.steps:
            raise ValueError("does not say how many batches are done")
    to_stderr(f"going on from {kept}: {counted(done, 'batch', 'batches')} done")
    return done


def check_trainable(dataset: str) -> None:
    """WrongUse for a data set of which no classifier can be trained."""
    if dataset not in trainable():
        raise WrongUse(f"a classifier of data set {dataset} cannot be trained: it needs labels and a test split; "
                       f"choose from: {', '.join(trainable())}")


def trainable() -> list[str]:
    """The data sets of which a classifier can be trained: labels, a test split, and no more than the memory holds."""
    return [name for name, facts in datasets.DATASETS.items()
            if facts.splits.get("train") and facts.splits.get("test") and not facts.large]


def accuracy_of(body: Layer, head: Layer, images: np.ndarray | StoredImages, labels: np.ndarray, xp: Any = np) -> float:
    """The share of images whose largest logit is their label's."""
    right = 0
    with no_grad():
        for at in range(0, len(images), BATCH):
            x = Tensor(pixels.to_floats(xp.asarray(images[at : at + BATCH])))
            logits = head(body(x, False), False).data
            right += int((devices.to_host(logits).argmax(1) == labels[at : at + BATCH]).sum())
    return right / len(images)


def _made(body: Sequential, head: Sequential, dataset: str, size: int, channels: int, classes: tuple[str, ...],
          accuracy: float, trained: dict[str, Any], xp: Any = np) -> Classifier:
    """A Classifier with its digest: of the data set's name, sizes, classes and of all arrays, not of a file."""
    digest = hashlib.sha256(json.dumps([dataset, size, channels, list(classes)]).encode())
    for name, a in sorted((_arrays(body, "body") | _arrays(head, "head")).items()):
        digest.update(f"{name} {a.dtype.str} {a.shape}".encode())
        digest.update(np.ascontiguousarray(a).data)
    return Classifier(body, head, dataset, size, channels, classes, accuracy, trained, digest.hexdigest(), xp)


def _arrays(part: Layer, name: str) -> dict[str, np.ndarray]:
    return {f"{name}/{key}": a for key, a in part.arrays().items()}


# ---- files ---------------------------------------------------------------------------------------------------------

def place(dataset: str, size: int) -> Path:
    """Where the classifier of a data set at this size is kept unless another file is named."""
    return cache_folder() / "classifiers" / f"{dataset}-{size}.h5"


def kept() -> list[Path]:
    """The classifiers' files in the cache folder."""
    return sorted(place("", 0).parent.glob("*.h5"))


def save(path: Path, classifier: Classifier) -> None:
    """Write it whole, or not at all."""
    try:
        make_folder(path.parent)
    except OSError as error:
        raise FailedWork(f"{path.parent} cannot be made ({error.strerror or error})") from None
    hdf5_state.save(path, _state(classifier))


def _state(c: Classifier) -> dict[str, Any]:
    """What its file holds."""
    return {"format": FORMAT, "version": VERSION, "dataset": c.dataset, "size": c.size, "channels": c.channels,
            "classes": json.dumps(c.classes), "accuracy": c.accuracy, "trained": c.trained,
            "body": c.body.arrays(), "head": c.head.arrays()}


def load(path: Path, device: str = "cpu") -> Classifier:
    """Read what `save` wrote. The file is not trusted: FailedWork with one line for anything else."""
    state = hdf5_state.load(path)
    devices.device_module(device)  # a GPU that is missing is no fault of the file
    with doubting(str(path)):
        return _opened(state, device)


def _opened(state: dict[str, Any], device: str) -> Classifier:
    """The classifier that a file of `save` holds. FailedWork, or whatever comes of it, for anything else."""
    if state.get("format") != FORMAT or state.get("version") != VERSION:
        raise FailedWork("is not a classifier of this version")
    dataset, size, channels = state["dataset"], state["size"], state["channels"]
    classes, accuracy, trained = from_json(state["classes"]), state["accuracy"], state["trained"]
    if not (type(size) is int and SIZES[0] <= size <= SIZES[1] and channels in (1, 3) and dataset in trainable()
            and isinstance(classes, list) and 2 <= len(classes) <= 10_000
            and all(type(name) is str and name.isprintable() for name in classes)
            and type(accuracy) is float and 0 <= accuracy <= 1 and isinstance(trained, dict)):
        raise ValueError("not sizes, names and numbers of a classifier")
    rng = Bounded(max(a.size for part in ("body", "head") for a in state[part].values()))
    body, head = make_network(rng, size, channels, len(classes))
    body.load(state["body"])
    head.load(state["head"])
    xp = devices.device_module(device)
    return _made(body.to(xp), head.to(xp), dataset, size, channels, tuple(classes), accuracy, trained, xp)


def find(dataset: str, size: int, device: str = "cpu") -> Classifier:
    """The classifier that was trained for this data set at this size. WrongUse, with the command, if there is none."""
    path = place(dataset, size)
    if not path.is_file():
        if dataset in trainable():
            native = "" if size == datasets.DATASETS[dataset].size else f" --size {size}"
            how = f"train it first (minutes): minigan classifier train {dataset}{native}"
        else:
            how = f"choose one of a data set with labels ({', '.join(trainable())}) with --weights FILE"
        raise WrongUse(f"there is no classifier of {dataset} at {size} x {size} pixels in {path.parent}; {how}")
    return load(path, device)


def describe(c: Classifier) -> str:
    """One line."""
    epochs = c.trained.get("epochs")
    return (f"{c.name}, digest {c.digest[:12]}: {c.size} x {c.size} x {c.channels} pixels, {len(c.classes)} classes, "
            f"{100 * c.accuracy:.2f} % of {c.trained.get('tested')} test images right, "
            f"{epochs} epoch{'' if epochs == 1 else 's'}, seed {c.trained.get('seed')}")
