"""A grid of runs as data: methods x settings x seeds."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from minigan.errors import WrongUse, choose
from minigan.experiment.experiment import Experiment
from minigan.experiment.methods import METHODS, options_of
from minigan.experiment.presets import compose
from minigan.experiment.profiles import SETTINGS
from minigan.networks.norms import NORMS
from minigan.training import validate
from minigan.training.assembly import ONLY_FOR


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    setting: str
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        return f"{self.method}-{self.setting}-{self.seed}"


def grid(dataset: str, methods: list[str], settings: list[str], seeds: int, **common: Any) -> list[Cell]:
    """The cells, seed by seed, so that a stopped sweep has seen every method. WrongUse for what contradicts itself."""
    if seeds < 1:
        raise WrongUse(f"--seeds: expected at least 1, got {seeds}")
    for what, given, choices in (("method", methods, [*NORMS, *METHODS]), ("setting", settings, SETTINGS)):
        for name in given:
            choose(what, name, choices)
        if len(set(given)) < len(given):
            raise WrongUse(f"--{what}s: '{next(n for n in given if given.count(n) > 1)}' is named twice; each once")
    fixed = {"norm", "setting", "seed"} | {name for method in methods for name in options_of(method)}
    clash = sorted(fixed & common.keys())
    if clash:
        raise WrongUse(f"a sweep chooses --{clash[0].replace('_', '-')} itself, by --methods, --settings or --seeds; "
                       "leave it out")
    cells, norms = [], [options_of(method)["norm"] for method in methods]
    for seed, setting, method in itertools.product(range(seeds), settings, methods):
        chosen = options_of(method)
        fitting = _common_to(chosen["norm"], norms, common)
        e, _ = compose(dataset, **fitting | chosen | {"setting": setting, "seed": seed})
        validate.check_names(e)
        cells.append(Cell(method, setting, seed, e))
    return cells


def _common_to(norm: str, norms: list[str], common: dict[str, Any]) -> dict[str, Any]:
    """The grid's options without those that are for other norms of it only, as --scale for ssn beside sn."""
    def fits(option: str, *names: str) -> bool:
        return option not in ONLY_FOR or bool({*ONLY_FOR[option][0]} & {*names, common.get("gen_norm")})
    return {option: value for option, value in common.items() if fits(option, norm) or not fits(option, *norms)}
