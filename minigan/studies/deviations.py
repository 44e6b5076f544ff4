"""An experiment beside others: its own choices, the command that repeats it, the rows of papers that are like it."""

from __future__ import annotations

import re
import shlex
from typing import Any

from minigan.experiment.experiment import NETWORKS, Experiment, learned, option_name, own_names
from minigan.experiment.papers import TARGETS
from minigan.experiment.presets import BOTH, compose


def deviations(e: Experiment) -> list[tuple[str, Any, Any, str]]:
    """(field, value, value of the baseline, the baseline's source) wherever the experiment differs from the baseline.

    The baseline is what the same data set gets with the same profile, setting and model, and nothing else chosen.
    """
    base, origins = compose(e.dataset, **_named(e))
    before, norms = learned(base), {NETWORKS[who] for who in own_names(e)}
    return [(name, value, before.get(name), ": ".join(filter(None, origins[name])))
            for name, value in learned(e).items() if value != before.get(name) and name not in norms]


def command(e: Experiment) -> str:
    """The command that repeats the run; of one with networks of its author's, the call in Python."""
    words = ["minigan", "train", e.dataset]
    fields = _named(e) | {name: value for name, value, _, _ in deviations(e)}
    for both, dis in BOTH.items():
        if both in fields or dis in fields:  # one of them decides the other, too
            fields |= {both: getattr(e, both), dis: getattr(e, dis)}
    if e.data_root is not None:
        fields["data_root"] = e.data_root
    if own_names(e):
        given = (f"{name}={value if name in NETWORKS else repr(value)}" for name, value in fields.items())
        return f"minigan.train({e.dataset!r}, {', '.join(given)})"
    for name, value in fields.items():
        option = option_name(name)
        if isinstance(value, bool):
            words.append(option if value else "--no-" + option.removeprefix("--"))
        elif value is not None:
            words += [option, repr(value) if isinstance(value, float) else str(value)]
    return shlex.join(words)


def rows_of_papers(e: Experiment) -> list[tuple[str, str, str, list[str]]]:
    """(name, score, protocol, options that the run has otherwise) of what a paper reported of the same data, networks,
    normalization and loss."""
    if own_names(e):
        return []
    same = ("dataset", "model", "norm", "loss", "gp", "condition", "scale", "gen_norm")
    found = []
    for name, target in TARGETS.items():
        if target.score and not target.methods and target.dataset == e.dataset:
            theirs, _ = compose(target.dataset, **target.options | target.in_setting(e.setting))
            if all(getattr(theirs, field) == getattr(e, field) for field in same):
                before = learned(theirs)
                other = [option_name(field) for field, value in learned(e).items()
                         if value != before[field] and field not in ("seed", "profile", "setting")]
                found.append((name, target.score, target.protocol, other))
    return found


def reported(score: str, name: str) -> tuple[float, float | None] | None:
    """(value, its spread) of "IS" or "FID" in a row's score, such as "7.42±.08 / 29.3"; None if it has no such."""
    parts = dict(zip(("IS", "FID"), score.split(" / "), strict=False))
    match = re.fullmatch(r"([\d.]+)(?:±([\d.]+))?", parts.get(name, ""))
    return (float(match[1]), float(match[2]) if match[2] else None) if match else None


def _named(e: Experiment) -> dict[str, Any]:
    """The choices that bring others with them: profile, setting, model."""
    chosen = {"profile": e.profile, "setting": e.setting}
    plain, _ = compose(e.dataset, **{name: value for name, value in chosen.items() if value})
    return {name: value for name, value in chosen.items() if value} | (
        {} if plain.model == e.model else {"model": e.model})
