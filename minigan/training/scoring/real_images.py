"""The real images that fakes are compared with."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data import datasets
from minigan.data.dataset import Dataset, digest_of
from minigan.data.resize import resized
from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment.experiment import Experiment
from minigan.formats.progress import to_stderr
from minigan.metrics.protocols import Protocol
from minigan.training.restore import Saved
from minigan.training.scoring.instrument import COUNT
from minigan.training.scoring.options import Asked
from minigan.training.scoring.subject import Subject


@dataclass(frozen=True)
class Real:
    """A data set, and its name and split in words: "cifar10 train"."""

    data: Dataset
    name: str
    own: bool = False  # whether it is what the run was trained on, by the images' digest
    side: int | None = None  # of the data set's files, where all have one

    @property
    def identity(self) -> str:
        """The name with the beginning of the images' digest."""
        return f"{self.name} {digest_of(self.data.images)[:12]}"

    @property
    def size(self) -> int:
        """The images' side in pixels."""
        return self.data.images.shape[1]

    def cautions(self, fakes: int | None) -> list[str]:
        """What is to be said of the images' size, beside fakes of this side (None: they are no squares)."""
        lines = []
        if self.size != fakes:
            theirs = f"the fakes {fakes} x {fakes}" if fakes else "the fakes no squares"
            lines.append(f"the real images are {self.size} x {self.size}, {theirs}: what sets them apart is the size, "
                         "too")
        if self.side and self.size > self.side:
            lines.append(f"the real images are {self.side} x {self.side}, enlarged to {self.size} x {self.size}: what "
                         "sets them apart from fakes is their sharpness, too")
        return lines


def open_real(subject: Subject, asked: Asked, protocol: Protocol) -> Real:
    """The data set that was named, at the fakes' size; or the run's own, and no others, as it was trained on.

    FailedWork if the run's own are not to be had without a download, or are others now.
    """
    saved = subject.saved
    if asked.data is None and saved is not None and saved.imported:
        run, known = shlex.quote(str(saved.path.parent)), saved.e.dataset
        raise FailedWork(f"{run} was imported from {saved.imported}, and its images are not known; say what to compare "
                         f"it with: minigan score {run} --data {known if known != 'folder' else 'NAME'}")
    if asked.data is None:
        assert saved is not None, "a run's own, or others by name"
        for option, given in (("size", asked.size), ("split", asked.split), ("fit", asked.fit != "crop"),
                              ("skip-bad", asked.skip_bad)):
            if given:
                raise WrongUse(f"--{option}: a run's own images are taken as it was trained on them; leave it out, or "
                               f"ask for a comparison with others: --data {saved.e.dataset}")
        return _own(saved, asked)
    choose("data set", asked.data, datasets.DATASETS)
    facts = datasets.DATASETS[asked.data]
    # A packed file has a size of its own; beside fakes that have none a folder has, too.
    chosen = {"size": asked.size or (subject.size if facts.size else None), "own_size": subject.size is None} | _how(
        asked)
    if saved is not None and saved.e.dataset == asked.data:
        e = saved.e
        root = asked.data_root or (e.data_root if e.data_root and Path(e.data_root).exists() else None)
        chosen |= {"fit": asked.fit} if asked.fit != "crop" else {}
        split = asked.split or _split(e)
        data = datasets.of_experiment(e, root=root, split=split, skip_bad=asked.skip_bad or e.skip_bad, **chosen)
    else:
        split = asked.split or next((name for name, labels in facts.splits.items() if labels is not False
                                     or not protocol.per_class), facts.split)
        array = asked.data_root is not None and asked.data_root.suffix.lower() == ".npz"  # has one size already
        if array:
            chosen |= {"size": None, "own_size": True}
        data = datasets.load(asked.data, root=asked.data_root, split=split, fit=asked.fit, skip_bad=asked.skip_bad,
                             **chosen)
        if array:
            return of_array(data.images, f"{asked.data} {split}", asked.size or subject.size, data.labels, data.classes)
    return Real(data, f"{asked.data} {split}", saved is not None and _is_own(saved, data), facts.side)


def drawn(b: Subject, name: str, size: int | None, protocol: Protocol) -> Real:
    """The images that a run's generator draws, in the place of real ones: as many as the protocol takes of these.

    Their labels are those that the generator was given. size: to which they are brought; None: their own.
    """
    n = protocol.real * (b.classes if protocol.per_class else 1) or protocol.fakes or COUNT
    images = b.images(n, protocol.rounding)
    labels = np.arange(n) % b.classes if b.classes else np.full(n, -1)
    return of_array(images.read(slice(0, n)), f"run {name} at iteration {b.iteration}", size, labels,
                    tuple(map(str, range(b.classes))))


def of_array(images: Any, name: str, size: int | None, labels: np.ndarray | None = None,
             classes: tuple[str, ...] = ()) -> Real:
    """Images of an array, uint8 (N, H, W, C), in the place of real ones, brought to size x size; None: as they are.

    WrongUse for a size, unless they are squares.
    """
    side = images.shape[1]
    if size is not None and side != images.shape[2]:
        raise WrongUse(f"the real images ({name}) are {images.shape[2]} x {side} pixels; expected squares, as they are "
                       f"compared with images of {size} x {size}")
    if size is not None and size != side:
        images = resized(images, size)
    labels = np.zeros(len(images), np.int64) if labels is None else labels
    return Real(Dataset(images, labels.astype(np.int64), classes, name), name, side=side)


def open_held_out(saved: Saved, real: Real, asked: Asked) -> Dataset | None:
    """The test images of the data that the run was trained on; None if the data set has none, or was trained on these.

    FailedWork if they are not on this machine.
    """
    e = saved.e
    root = asked.data_root or e.data_root
    if "test" not in datasets.DATASETS[e.dataset].splits or _split(e) == "test":
        return None
    if datasets.find(e.dataset, root, "test") is None:
        raise FailedWork(f"no test images of {e.dataset} are at hand")
    data = datasets.of_experiment(e, root=root, split="test", **_how(asked) | {"say": lambda _: None})
    # A root that is one file may be read whatever the split.
    return None if digest_of(data.images) == digest_of(real.data.images) else data


def _own(saved: Saved, asked: Asked) -> Real:
    e = saved.e
    root, run = asked.data_root or e.data_root, shlex.quote(str(saved.path.parent))
    here = f"minigan score {run} --data-root FOLDER"
    if root is None and datasets.find(e.dataset, None, _split(e)) is None:
        raise FailedWork(f"{run} was trained on {e.dataset}, which is not on this machine, and nothing is downloaded "
                         f"unasked; name its folder ({here}), or have it downloaded (--data {e.dataset})")
    if root is not None and not Path(root).exists() and e.dataset != "shapes":
        raise FailedWork(f"{root}: no such file or folder; {run} was trained on {e.dataset} there; name the place "
                         f"where it lies now: {here}")
    data = datasets.of_experiment(e, root=root, **_how(asked))
    if not _is_own(saved, data):
        raise FailedWork(f"{run} was trained on other images than {data.source} holds now; name the place of its own "
                         f"({here}), or ask for a comparison with these: --data {e.dataset}")
    return Real(data, f"{e.dataset} {_split(e)}", True)


def _is_own(saved: Saved, data: Dataset) -> bool:
    return saved.state.get("pictures") == digest_of(data.images)


def _split(e: Experiment) -> str:
    return e.split or datasets.DATASETS[e.dataset].split


def _how(asked: Asked) -> dict[str, Any]:
    """Who hears of the reading, and what is allowed besides what the run allows."""
    allowed = {name: True for name in ("follow_links", "large_images") if getattr(asked, name)}
    return {"say": to_stderr} | ({"progress": lambda *_: None} if asked.quiet else {}) | allowed
