"""The papers' tables and figures that need training, by name: what is trained, and the scores that were reported.

The names and what they mean are in experiment/papers.py. A name is found by its beginning too, and by a figure's
number.
"""

from __future__ import annotations

import difflib
import itertools
import re
from typing import Any

from minigan.errors import WrongUse, listed
from minigan.experiment.experiment import CHANGEABLE, option_name
from minigan.experiment.papers import TARGETS, Target
from minigan.experiment.presets import compose, over
from minigan.metrics.protocols import PROTOCOLS
from minigan.studies.grid import Cell

UNCLEAR = "no score, or the source does not say enough of how it was measured"


def find(name: str) -> str:
    """The full name of a target; `name` may be its beginning, or SOURCE/figureN. WrongUse if there is not just one."""
    if name in TARGETS:
        return name
    found = [full for full in TARGETS if full.startswith(name.rstrip("/") + "/")]
    figure = re.fullmatch(r"([\w-]+)/fig(?:ure)?(\d+[a-z]?)(?:/(.+))?", name)
    if figure:
        source, number, data = figure.groups()
        found = [full for full, target in TARGETS.items() if full.startswith(f"{source}/") and number in target.figures
                 and data in (None, target.dataset)] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise WrongUse(f"'{name}' is more than one target; choose one of {listed(found)}")
    near = difflib.get_close_matches(name, TARGETS, 1, 0.3)
    raise WrongUse(f"unknown target '{name}'; {f'did you mean {near[0]}? ' if near else ''}"
                   "minigan reproduce --list shows all")


def cells(name: str, seeds: int = 1, **chosen: Any) -> list[Cell]:
    """The runs of a target; `chosen` overrides its options. WrongUse for a name that is not known."""
    target = TARGETS[find(name)]
    if seeds < 1:
        raise WrongUse(f"--seeds: expected at least 1, got {seeds}")
    varied = {option for own in target.methods.values() for option in own} | ({"setting"} if target.settings else set())
    clash = sorted((varied | {"seed"}) & chosen.keys())
    if clash:
        raise WrongUse(f"{name} chooses {option_name(clash[0])} itself; leave it out" +
                       (", or give --seeds" if clash[0] == "seed" else ""))
    made = []
    for seed, setting, method in itertools.product(range(seeds), target.settings or (None,), target.methods or ("",)):
        own = target.methods.get(method, {}) | target.in_setting(setting)
        e, _ = compose(target.dataset, **over(target.options | own, chosen) | {"seed": seed})
        made.append(Cell(method or e.norm, e.setting or e.profile or "default", seed, e))
    return made


def describe(name: str, runs: list[Cell], **chosen: Any) -> list[str]:
    """What is about to be trained, what was reported, and honestly what was shrunk or changed."""
    name = find(name)
    target = TARGETS[name]
    lines = [f"{name}: {len(runs)} run{'s' if len(runs) > 1 else ''}, {target.dataset}"]
    if target.score:
        lines.append(f"reported, IS / FID: {target.score}; {_protocol(target)}")
    lines += [f"note: {remark}" for remark in target.remarks]
    full = cells(name)
    for option in sorted(chosen):
        values = [(getattr(a.experiment, option), getattr(b.experiment, option))
                  for a, b in zip(full, runs, strict=False)]  # of the first seed
        for before, now in dict.fromkeys(values):
            if before != now and option not in CHANGEABLE:
                what = "SHRUNK" if option in ("iterations", "width", "batch_size", "size") else "CHANGED"
                lines.append(f"{what}: {option} is {now}, not {before}: what comes out is not the paper's experiment")
    return lines


def listing() -> list[str]:
    """A line for each target: its name, what was reported, and by which protocol; then the protocols."""
    wide = max(map(len, TARGETS))
    lines = [f"{'name':{wide}}  {'IS / FID as reported':28}  protocol"]
    for name, target in TARGETS.items():
        count = len(target.methods or (1,)) * len(target.settings or (1,))
        what = target.score or "drawn only"
        lines.append(f"{name:{wide}}  {what:28}  {target.protocol or '-'}"
                     f"{f', {count} runs' if count > 1 else ''}")
    used = dict.fromkeys(target.protocol for target in TARGETS.values() if target.protocol)
    return [*lines, "", *(f"{name}: {PROTOCOLS[name].source}" for name in used), f"-: {UNCLEAR}"]


def _protocol(target: Target) -> str:
    return f"{target.protocol}: {PROTOCOLS[target.protocol].source}" if target.protocol else UNCLEAR
