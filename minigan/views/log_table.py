"""A run's log as a table: rows of one depth for other programs, CSV for spreadsheets, a few columns for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from minigan.formats.plain_text import columns, short, whole_characters
from minigan.formats.untrusted import is_number
from minigan.training.run_record import Log, flat
from minigan.views import readings

SHOWN = ("iteration", "seconds", "loss_dis", "loss_gen", "sigma_deviation", "thumbnails", "diversity")
FORMULA = ("=", "+", "-", "@", "\t", "\n")  # a spreadsheet takes what begins so for a formula, or may


def rows(log: Log) -> list[dict[str, int | float | str]]:
    """The lines without dicts and lists inside: keys joined by "/", as in "sigma/conv1"; what has no value left out.

    Alarms are their sentences, joined by "; "; another list is JSON.
    """
    return [{name: value if is_number(value) else _text(value) for name, value in flat(line).items()
             if value is not None and (is_number(value) or not isinstance(value, float))} for line in log]


def csv_text(log: Log) -> str:
    """`rows` as CSV in the way of RFC 4180, with a line of names; columns in the order in which the log has them.

    A missing value is empty. Text that a spreadsheet might take for a formula gets an apostrophe before it: a log's
    names and texts may be somebody else's.
    """
    lines = rows(log)
    names = list(dict.fromkeys(name for line in lines for name in line))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_harmless(name) for name in names])
    writer.writerows([_harmless(line.get(name, "")) for name in names] for line in lines)
    return file.getvalue()


def table(log: Log, last: int) -> list[str]:
    """The newest lines for people: losses, the deviation of sigma, thumbnails, diversity, scores."""
    lines = rows(log)
    names = [name for name in [*SHOWN, *dict.fromkeys(name for line in lines for name in line
                                                      if name.startswith("scores/"))]
             if any(name in line for line in lines)]
    head = [name.removeprefix("scores/") for name in names]
    return columns([head, *([_cell(name, line.get(name)) for name in names] for line in lines[-last:])],
                   right=range(len(names)))


def legend(log: Log) -> list[str]:
    """How to read the columns of `table`, a line for each measure; before them the alarms of the newest line."""
    names = dict.fromkeys(name for line in rows(log) for name in line if name in SHOWN or name.startswith("scores/"))
    found: dict[str, str] = {}  # a sentence once, beside the first score that it is of
    for name in names:
        if text := readings.of_log(name):
            found.setdefault(text, name.removeprefix("scores/").split(" ")[0])
    alarms = str(rows(log[-1:])[0].get("alarms", ""))
    return ([f"alarms: {alarms}", ""] if alarms else []) + [f"{name}: {text}" for text, name in found.items()]


def _cell(name: str, value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) and name in ("iteration", "seconds") else short(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        parts: Sequence[Any] = [part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else part
                                for part in value]
        return "; ".join(parts) if all(isinstance(part, str) for part in parts) else json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def _harmless(value: int | float | str) -> int | float | str:
    if not isinstance(value, str):
        return value
    # csv does not quote a lone \r, which begins a line, too
    value = whole_characters(value).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{value}" if value.startswith(FORMULA) else value
