"""Every choice of a training in a table: its value, who made it, where that is said, and who does otherwise."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from minigan.experiment.experiment import CHANGEABLE, NETWORKS, Experiment, option_name
from minigan.experiment.presets import compose
from minigan.experiment.profiles import BESIDES, PROFILES, rows_of

# nothing that a paper would say
NOT_TRAINING = {*CHANGEABLE, *NETWORKS, "dataset", "profile", "setting", "fit", "skip_bad"} - {"precision"}


def explain(dataset: str, **chosen: Any) -> list[str]:
    """The lines of `minigan explain`: one for each option, then those of the profiles that differ from it."""
    e, origins = compose(dataset, **chosen)
    names = [f.name for f in dataclasses.fields(Experiment) if f.name not in NOT_TRAINING]
    wide, value_wide = (max(map(len, texts)) for texts in (
        [option_name(name) for name in names], [shown(getattr(e, name)) for name in names]))
    lines, indent = [f"{'data set':{wide}}  {dataset}"], " " * (wide + value_wide + 4)
    for name in names:
        value, (who, source) = getattr(e, name), origins[name]
        lines += textwrap.wrap(f"{who}{': ' + source if source else ''}", 118, subsequent_indent=indent + "    ",
                               initial_indent=f"{option_name(name):{wide}}  {shown(value):{value_wide}}  ")
        if name == "accumulate" and value > 1:
            lines += textwrap.wrap(f"batch normalization takes the moments of {e.batch_size // value} images, not of "
                                   f"{e.batch_size}; all else is as with the whole batch at once", 118,
                                   initial_indent=indent, subsequent_indent=indent)
        for profile, said in others(name, value, dataset, e.model):
            lines += textwrap.wrap(f"{profile} has {said}", 118, initial_indent=indent + "but ",
                                   subsequent_indent=indent + "    ")
    if e.profile in BESIDES:
        lines += ["", f"what the source of {e.profile} does otherwise, without an option here:",
                  *(f"  {line}" for line in BESIDES[e.profile])]
    return lines


def others(name: str, value: Any, dataset: str, model: str) -> list[tuple[str, str]]:
    """(profile, its value and source) of each profile that gives another value for this option."""
    found = []
    for profile in PROFILES:
        rows = rows_of(profile, dataset, model)
        if name in rows and rows[name][0] != value:
            found.append((profile, f"{shown(rows[name][0])} ({rows[name][1]})"))
    return found


def shown(value: Any) -> str:
    """A value as one would type it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
