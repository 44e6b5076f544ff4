"""The papers' tables and figures that need training, by name: what is trained, and the scores that were reported.

A target is a grid of one or more runs. Names are PAPER/TABLE-OR-FIGURE/DATA/NETWORK/METHOD. The scores are the papers';
minigan has none to put beside them yet, and each is worth something under its own protocol only.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from minigan.errors import WrongUse
from minigan.presets import compose
from minigan.sweep import METHODS, Cell, grid

SN_GAN = "IS of 5,000 pictures, 10 times; FID of 10,000 real and 5,000 generated (Miyato et al. 2018, section 4)"
BSSN = "IS of 50,000 pictures, 10 splits; FID of 5,000 real and 10,000 generated; mean of 5 seeds (Lin et al. 2021)"


@dataclass(frozen=True)
class Target:
    """What to train: a data set, options beneath which the profile lies, and for grids methods and settings."""

    dataset: str
    options: dict[str, Any]
    score: str = ""  # "IS / FID" as reported; empty for a figure
    protocol: str = SN_GAN
    methods: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def _table2() -> dict[str, Target]:
    """Miyato et al. 2018, Table 2. Its optimal setting for SN on STL-10 is B (footnote 4); others are not stated: C."""
    found: dict[str, Target] = {}
    methods: dict[str, dict[str, Any]] = {
        "clip": {"norm": "clip", "loss": "ns"}, "gan-gp": METHODS["gan-gp"], "wgan-gp": METHODS["wgan-gp"],
        "bn": {"norm": "bn", "loss": "ns"}, "ln": {"norm": "ln", "loss": "ns"}, "wn": {"norm": "wn", "loss": "ns"},
        "orthonormal": {"norm": "orthonormal", "loss": "ns"}, "sn": {"norm": "sn", "loss": "ns"},
        "sn-hinge": {"norm": "sn", "loss": "hinge"}}
    scores = {
        "cifar10": {"clip": "6.41 / 42.6", "gan-gp": "6.93 / 37.7", "wgan-gp": "6.68 / 40.2", "bn": "6.27 / 56.3",
                    "ln": "7.19 / 33.9", "wn": "6.84 / 34.7", "orthonormal": "7.40 / 29.0", "sn": "7.42 / 29.3",
                    "sn-hinge": "7.58 / 25.5"},
        "stl10": {"clip": "7.57 / 64.2", "wgan-gp": "8.42 / 55.1", "ln": "7.61 / 75.6", "wn": "7.16 / 73.4",
                  "orthonormal": "8.56 / 46.7", "sn": "8.28 / 53.1"}}
    for dataset, of_methods in scores.items():
        for method, score in of_methods.items():
            found[f"sn-gan/table2/{dataset}/cnn/{method}"] = Target(dataset, {
                "profile": "paper", "setting": "B" if (dataset, method) == ("stl10", "sn") else "C", **methods[method]},
                score, remarks=("the paper takes the best of its settings, and does not say which it was",))
    for method, score in (("sn", "8.69 / 47.5"), ("sn-hinge", "8.79 / 43.2"), ("orthonormal", "8.67 / 44.2")):
        found[f"sn-gan/table2/stl10/cnn/{method}-2x"] = Target("stl10", {
            "profile": "paper", "setting": "B", "iterations": 200_000, **methods[method]}, score)
    for dataset, model, rows in (("cifar10", "resnet", {"orthonormal": "7.92 / 23.8", "sn": "8.22 / 21.7"}),
                                 ("stl10", "resnet-stl", {"orthonormal": "8.72 / 42.4", "sn": "9.10 / 40.1"})):
        for method, score in rows.items():
            found[f"sn-gan/table2/{dataset}/resnet/{method}-hinge"] = Target(dataset, {
                "profile": "sngan-projection" if dataset == "cifar10" else "paper", "model": model, "norm": method,
                "loss": "hinge", "beta1": 0.0, "beta2": 0.9, "n_dis": 5}, score,
                remarks=("the authors' code trains 50,000 iterations with a decay; the paper says 100 K",)
                if dataset == "cifar10" else ())
    return found


def _bssn() -> dict[str, Target]:
    """Lin et al. 2021, Table 1: the best scale for each measure, which is not always stated; 1 here."""
    scores = {"cifar10": {"sn": "7.12 / 31.43", "ssn": "7.38 / 29.31", "bsn": "7.54 / 26.94", "bssn": "7.54 / 26.94"},
              "stl10": {"sn": "9.05 / 44.35", "ssn": "9.28 / 43.52", "bsn": "9.25 / 42.98", "bssn": "9.25 / 42.90"},
              "celeba": {"sn": "- / 9.43", "ssn": "- / 8.50", "bsn": "- / 9.05", "bssn": "- / 9.05"}}
    return {f"bssn/table1/{dataset}/cnn/{method}": Target(
        dataset, {"profile": "bssn", "norm": method} | ({"iterations": 800_000} if dataset == "stl10" else {}), score,
        BSSN, remarks=("the table takes the best scale of a sweep for each measure; --scale is 1 here",)
        if method in ("ssn", "bssn") else ())
        for dataset, rows in scores.items() for method, score in rows.items()}


_ALL = ("A", "B", "C", "D", "E", "F")
TARGETS: dict[str, Target] = _table2() | {
    "sn-gan/figure1/cifar10": Target("cifar10", {"profile": "paper"}, methods=(
        "clip", "wgan-gp", "bn", "ln", "wn", "orthonormal", "sn"), settings=_ALL),
    "sn-gan/figure2/cifar10": Target("cifar10", {"profile": "paper"}, methods=(
        "clip", "wgan-gp", "bn", "ln", "wn", "orthonormal", "sn"), settings=_ALL),
    "sn-gan/figure1/stl10": Target("stl10", {"profile": "paper"}, methods=(
        "clip", "wgan-gp", "ln", "wn", "orthonormal", "sn"), settings=_ALL),
    "bssn/table6/cifar10": Target("cifar10", {"profile": "bssn"}, "SN 7.22 / 31.43, BSN 7.58 / 26.62", BSSN,
                                  methods=("sn", "bsn"), settings=tuple(f"bssn-{i}" for i in range(1, 6))),
} | _bssn()


def cells(name: str, seeds: int = 1, **chosen: Any) -> list[Cell]:
    """The runs of a target; `chosen` overrides its options. WrongUse for a name that is not known."""
    if name not in TARGETS:
        near = difflib.get_close_matches(name, TARGETS, 1, 0.3)
        raise WrongUse(f"unknown target '{name}'; {f'did you mean {near[0]}? ' if near else ''}"
                       "minigan reproduce --list shows all")
    if seeds < 1:
        raise WrongUse(f"--seeds: expected at least 1, got {seeds}")
    target = TARGETS[name]
    options = target.options | chosen
    if target.methods:
        return grid(target.dataset, list(target.methods), list(target.settings), seeds, **options)
    made = []
    for seed in range(seeds):
        e, _ = compose(target.dataset, **options | {"seed": seed})
        made.append(Cell(e.norm, e.setting or e.profile or "default", seed, e))
    return made


def describe(name: str, runs: list[Cell], **chosen: Any) -> list[str]:
    """What is about to be trained, what was reported, and honestly what was shrunk or changed."""
    target = TARGETS[name]
    lines = [f"{name}: {len(runs)} run{'s' if len(runs) > 1 else ''}, {target.dataset}"]
    if target.score:
        lines.append(f"reported, IS / FID: {target.score}; {target.protocol}")
    lines += [f"note: {remark}" for remark in target.remarks]
    full = cells(name)[0].experiment
    for option in sorted(chosen):
        before, now = getattr(full, option), getattr(runs[0].experiment, option)
        if before != now and option not in ("data_root", "device", "threads"):
            what = "SHRUNK" if option in ("iterations", "width", "batch_size", "size") else "CHANGED"
            lines.append(f"{what}: {option} is {now}, not {before}: what comes out is not the paper's experiment")
    return lines


def listing() -> list[str]:
    """A line for each target."""
    wide = max(map(len, TARGETS))
    lines = []
    for name, target in TARGETS.items():
        what = target.score or f"{len(target.methods)} methods x {len(target.settings)} settings"
        lines.append(f"{name:{wide}}  {what}")
    return [*lines, "", "IS / FID as reported.", f"sn-gan: {SN_GAN}", f"bssn: {BSSN}"]

