"""What `minigan score` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """The options of `minigan score`; None: see instrument.protocol_for, and the run's own.

    size to large_images: how images are read that are not the run's own, see datasets.load.
    """

    protocol: str | None = None
    count: int | None = None
    data: str | None = None
    data_root: Path | None = None
    split: str | None = None
    weights: Path | None = None
    stats: Path | None = None
    write_stats: Path | None = None
    size: int | None = None
    fit: str = "crop"
    skip_bad: bool = False
    follow_links: bool = False
    large_images: bool = False
    seed: int = 0
    best: bool = False
    device: str = "cpu"
    quiet: bool = False
