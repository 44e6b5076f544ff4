"""Options given as keyword arguments: their names and types are checked as the command line checks its own."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import NETWORKS, PATHS, Experiment, option_name

WORDS = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "True or False", "None": "None"}
NOT_OPTIONS = ("dataset", *NETWORKS)  # what arguments of their own say


def of_experiment(given: dict[str, Any], function: str) -> dict[str, Any]:
    """Options of a training by the names of Experiment's fields, of the types that the command line gives them.

    function: whose options they are, for the message. WrongUse for a name or a type that is not one.
    """
    fields = {field.name: field for field in dataclasses.fields(Experiment) if field.name not in NOT_OPTIONS}
    if "preset" in given:  # as people say, and the command line takes it
        if "profile" in given:
            raise WrongUse("preset: is another name of profile; leave one of them out")
        given = {"profile" if name == "preset" else name: value for name, value in given.items()}
    check_names(given, fields, function, "minigan train --help lists all")
    return {name: _value(name, value, str(fields[name].type).split(" | ")) for name, value in given.items()}


def check_names(given: Collection[str], known: Collection[str], function: str, otherwise: str) -> None:
    """WrongUse, with the names that are near, for an option that the function does not have."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise WrongUse(f"{function} has no {name}; " + (
                f"did you mean {' or '.join(near)}?" if near else otherwise))


def _value(name: str, value: Any, kinds: list[str]) -> Any:
    """The value as the command line would give it: an int for a float is a float, so that files are the same."""
    if isinstance(value, np.generic):
        value = value.item()
    if name in PATHS and isinstance(value, os.PathLike):
        value = str(os.fspath(value))
    good = {"int": type(value) is int, "float": type(value) in (int, float), "str": type(value) is str,
            "bool": type(value) is bool, "None": value is None}  # not isinstance: True is no count
    if not any(good[kind] for kind in kinds):
        raise WrongUse(f"{name}: expected {' or '.join(WORDS[kind] for kind in kinds)}, got {value!r:.60}")
    return float(value) if "float" in kinds and value is not None else value


_COMMAND = r"minigan train --resume (?P<run>'[^']*'|[^\s;,)]+)"
_OTHER = r"(?P<other>minigan [a-z]+ [^;,)]*)"
_OPTION = r"--(?P<option>[a-z][a-z-]*[a-z])"


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
    """
    known = {option_name(field.name)[2:]: field.name for field in dataclasses.fields(Experiment)}
    more = {"out": "out=", "overwrite": "overwrite=True"}

    def python(match: re.Match[str]) -> str:
        if match["run"]:
            return f"minigan.load({match['run'].strip(chr(39))!r}).resume()"
        if match["other"]:
            return match["other"]
        name = match["option"]
        return more.get(name, known.get(name, name.replace("-", "_")))
    return re.sub(f"{_COMMAND}|{_OTHER}|{_OPTION}", python, line)


def path_of(path: str | os.PathLike[str]) -> Path:
    """A path as one may type it: ~ is the user's home."""
    return Path(path).expanduser()
