"""Numbers and tables as plain text, for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from minigan.formats.untrusted import is_number


def short(value: Any) -> str:
    """A finite number with three significant digits; a dash for anything else, such as None."""
    return f"{value:.3g}" if is_number(value) else "-"


def whole_characters(text: str) -> str:
    """The text with a question mark for each half of a character: JSON may hold one, no file in UTF-8 can."""
    return text.encode("utf-8", "replace").decode()


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """A line for each row, the cells of a column all as wide as its widest, two spaces between columns.

    right: the columns, counted from 0, that end in one line, as numbers do; the others begin in one. No line ends
    with spaces. ValueError if the rows differ in length.
    """
    return ["  ".join(row).rstrip() for row in _padded(rows, right)]


def markdown(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """A table in Markdown, its columns as of `columns`; the first row is its head."""
    head, *others = _padded(rows, right)
    rule = ["-" * (len(cell) - 1) + (":" if i in right else "-") for i, cell in enumerate(head)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *others)]


def _padded(rows: Sequence[Sequence[str]], right: Collection[int]) -> list[list[str]]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.rjust(width) if i in right else cell.ljust(width)
             for i, (cell, width) in enumerate(zip(row, widths, strict=True))] for row in rows]
