"""The real images that fakes are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigan.data import datasets
from minigan.data.dataset import Dataset, digest_of
from minigan.errors import choose
from minigan.formats.progress import to_stderr
from minigan.metrics.protocols import Protocol
from minigan.training.scoring.asked import Asked
from minigan.training.scoring.subject import Subject


@dataclass(frozen=True)
class Real:
    """A data set, and its name and split in words: "cifar10 train"."""

    data: Dataset
    name: str

    @property
    def identity(self) -> str:
        """The name with the beginning of the images' digest."""
        return f"{self.name} {digest_of(self.data.images)[:12]}"


def open_real(subject: Subject, asked: Asked, protocol: Protocol) -> Real:
    """The data set that was named, with the protocol's split; or the run's own, as it was trained on."""
    how: dict[str, Any] = {"progress": lambda *_: None} if asked.quiet else {}
    if asked.data is None:
        e = subject.saved.e
        data = datasets.of_experiment(e, root=asked.data_root or e.data_root, say=to_stderr, **how)
        return Real(data, f"{e.dataset} {e.split or datasets.DATASETS[e.dataset].split}")
    choose("data set", asked.data, datasets.DATASETS)
    facts = datasets.DATASETS[asked.data]
    split = protocol.real_split if protocol.real_split in facts.splits else facts.split
    data = datasets.load(asked.data, root=asked.data_root, say=to_stderr, split=split, **how)
    return Real(data, f"{asked.data} {split}")
