"""The real images that fakes are compared with."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigan.data import datasets
from minigan.data.dataset import Dataset, digest_of
from minigan.errors import FailedWork, choose
from minigan.experiment.experiment import Experiment
from minigan.formats.progress import to_stderr
from minigan.metrics.protocols import Protocol
from minigan.training.restore import Saved
from minigan.training.scoring.asked import Asked
from minigan.training.scoring.subject import Subject


@dataclass(frozen=True)
class Real:
    """A data set, and its name and split in words: "cifar10 train"."""

    data: Dataset
    name: str
    own: bool = False  # whether it is what the run was trained on, by the images' digest

    @property
    def identity(self) -> str:
        """The name with the beginning of the images' digest."""
        return f"{self.name} {digest_of(self.data.images)[:12]}"


def open_real(subject: Subject, asked: Asked, protocol: Protocol) -> Real:
    """The data set that was named, with the protocol's split; or the run's own, and no others, as it was trained on.

    FailedWork if the run's own are not to be had without a download, or are others now.
    """
    saved = subject.saved
    if asked.data is None:
        return _own(saved, asked)
    choose("data set", asked.data, datasets.DATASETS)
    if saved is not None and saved.e.dataset == asked.data:
        e = saved.e
        root = asked.data_root or (e.data_root if e.data_root and Path(e.data_root).exists() else None)
        data = datasets.of_experiment(e, root=root, **_how(asked))
        return Real(data, f"{e.dataset} {_split(e)}", _is_own(saved, data))
    facts = datasets.DATASETS[asked.data]
    split = protocol.real_split if protocol.real_split in facts.splits else facts.split
    data = datasets.load(asked.data, root=asked.data_root, split=split, **_how(asked))
    return Real(data, f"{asked.data} {split}", saved is not None and _is_own(saved, data))


def open_held_out(saved: Saved, real: Real, asked: Asked) -> Dataset | None:
    """The test images of the data that the run was trained on, where there are such on this machine; else None."""
    e = saved.e
    root = asked.data_root or e.data_root
    if "test" not in datasets.DATASETS[e.dataset].splits or _split(e) == "test":
        return None
    if datasets.find(e.dataset, root, "test") is None:
        return None
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
    """Who hears of the reading."""
    return {"say": to_stderr} | ({"progress": lambda *_: None} if asked.quiet else {})
