"""What `minigan score` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """The options of `minigan score`; None: see instrument.protocol_for, and the run's own."""

    protocol: str | None = None
    count: int | None = None
    data: str | None = None
    data_root: Path | None = None
    weights: Path | None = None
    stats: Path | None = None
    write_stats: Path | None = None
    seed: int = 0
    best: bool = False
    device: str = "cpu"
    quiet: bool = False
