"""Options given as keyword arguments: their names and types are checked as the command line checks its own."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data.image_folder import FITS
from minigan.engine.devices import DEVICES
from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment import habits
from minigan.experiment.experiment import NETWORKS, PATHS, Experiment, option_name
from minigan.formats import notebook
from minigan.formats.progress import to_stderr
from minigan.metrics.protocols import PROTOCOLS
from minigan.training.scoring.options import Asked

WORDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "True or False", "None": "None",
         "Path": "a path"}
NOT_OPTIONS = ("dataset", *NETWORKS)  # what arguments of their own say
LIMITS = {"count": (2, 1_000_000), "seed": (0, 2**62)}  # of a scoring, as on the command line


def of_experiment(given: dict[str, Any], function: str, besides: Collection[str] = ()) -> dict[str, Any]:
    """Options of a training by the names of Experiment's fields, of the types that the command line gives them.

    function: whose options they are, for the message; besides: its other arguments, which a wrong name may be near.
    WrongUse for a name or a type that is not one.
    """
    fields = {field.name: field for field in dataclasses.fields(Experiment) if field.name not in NOT_OPTIONS}
    if "preset" in given:  # as people say, and the command line takes it
        if "profile" in given:
            raise WrongUse("preset: is another name of profile; leave one of them out")
        given = {"profile" if name == "preset" else name: value for name, value in given.items()}
    check_names(given, fields, function, "minigan train --help-all lists all", besides)
    return {name: _value(name, value, str(fields[name].type).split(" | ")) for name, value in given.items()}


def of_scoring(given: dict[str, Any], function: str, left_out: Collection[str] = ()) -> Asked:
    """What a scoring is asked for, by the names of Asked's fields, as the command line gives it.

    left_out: fields that the function has no options for. WrongUse for a name, a type or a number that is none.
    """
    fields = {field.name: field for field in dataclasses.fields(Asked) if field.name not in left_out}
    check_names(given, fields, function, "minigan score --help lists all")
    asked = {name: _value(name, value, str(fields[name].type).split(" | ")) for name, value in given.items()}
    for name, (low, high) in LIMITS.items():
        if asked.get(name) is not None and not low <= asked[name] <= high:
            raise WrongUse(f"{name}: expected {low} to {high:,}, got {asked[name]:,}")
    for name, choices in (("device", DEVICES), ("fit", FITS), ("protocol", PROTOCOLS)):
        if asked.get(name) is not None:
            choose(name, asked[name], choices)
    return Asked(**asked)


def switch(name: str, value: Any) -> bool:
    """An argument that is True or False. WrongUse for anything else, such as a path."""
    return bool(_value(name, value, ["bool"]))


def check_names(given: Collection[str], known: Collection[str], function: str, otherwise: str,
                besides: Collection[str] = ()) -> None:
    """WrongUse, with the names that are near, for an option that the function does not have."""
    for name in given:
        if name not in known:
            habit = as_python(habits.renamed(option_name(name), [option_name(one) for one in (*known, *besides)]))
            near = difflib.get_close_matches(name, [*known, *besides], n=3)
            raise WrongUse(habit or f"{function} has no {name}; " + (
                f"did you mean {' or '.join(near)}?" if near else otherwise))


def _value(name: str, value: Any, kinds: list[str]) -> Any:
    """The value as the command line would give it: an int for a float is a float, so that files are the same."""
    if isinstance(value, np.generic):
        value = value.item()
    if name in PATHS and isinstance(value, os.PathLike):
        value = str(os.fspath(value))
    if "Path" in kinds and isinstance(value, (str, os.PathLike)):
        value = path_of(value)
    good = {"int": type(value) is int, "float": type(value) in (int, float), "str": type(value) is str,
            "bool": type(value) is bool, "None": value is None,  # not isinstance: True is no count
            "Path": isinstance(value, Path)}
    if not any(good[kind] for kind in kinds):
        raise WrongUse(f"{name}: expected {' or '.join(WORDS[kind] for kind in kinds)}, got {value!r:.60}")
    return float(value) if "float" in kinds and value is not None else value


_COMMAND = r"minigan train --resume (?P<run>'[^']*'|[^\s;,)]+)"
_OTHER = r"(?P<other>minigan [a-z]+ [^;,)]*)"
_NAMES = "|".join(sorted(PROTOCOLS, key=len, reverse=True))
_OPTION = rf"--(?P<option>[a-z][a-z-]*[a-z])(?: (?P<value>[A-Z]{{2,}}\b|\d+|(?:{_NAMES})\b))?"


@contextlib.contextmanager
def in_python(others: Collection[BaseException] = ()) -> Iterator[None]:
    """Inside, what is raised names options as Python has them: --batch-size is batch_size; but for what others hold."""
    try:
        yield
    except (WrongUse, FailedWork) as error:
        if not any(error is other for other in others):
            error.args = (as_python(str(error)),)
        raise


def as_python(line: str) -> str:
    """A sentence of the command line with the names that the library has for its options.

    >>> as_python("r holds a run; go on with it (minigan train --resume r) or choose another --out")
    "r holds a run; go on with it (minigan.load('r').resume()) or choose another out="
    >>> as_python("--batch-size: expected 1 to 65,536, got 0; minigan pack NAME FILE.h5 --data-root FOLDER")
    'batch_size: expected 1 to 65,536, got 0; minigan pack NAME FILE.h5 --data-root FOLDER'
    >>> as_python("protocol ttur takes 50,000 fakes, there are 120; --count 120 shrinks it")
    'protocol ttur takes 50,000 fakes, there are 120; count=120 shrinks it'
    """
    known = {option_name(field.name)[2:]: field.name for field in dataclasses.fields(Experiment)}
    more = {"out": "out=", "overwrite": "overwrite=True", "protocol": "protocol="}

    def python(match: re.Match[str]) -> str:
        if match["run"]:
            return f"minigan.load({match['run'].strip(chr(39))!r}).resume()"
        if match["other"]:
            return match["other"]
        name = match["option"]
        if match["value"]:
            value = match["value"]
            quote = "" if value.isupper() or value.isdigit() else '"'
            return f"{known.get(name, name.replace('-', '_'))}={quote}{value}{quote}"
        return more.get(name, known.get(name, name.replace("-", "_")))
    return re.sub(f"{_COMMAND}|{_OTHER}|{_OPTION}", python, line)


def sayer(quiet: bool) -> Callable[[str], None]:
    """What is done with remarks: nothing, or a line on the error stream; in a notebook, where that is red, plain."""
    if quiet:
        return lambda line: None
    return print if notebook.here() else to_stderr


def path_of(path: str | os.PathLike[str]) -> Path:
    """A path as one may type it: ~ is the user's home. WrongUse for what is no path."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise WrongUse(f"expected a path, a str or a Path, got {path!r:.60}")
    return Path(path).expanduser()
