"""How help looks: headings and names in colour on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class Formatter(click.HelpFormatter):
    """Click's help with headings and first columns in colour; click.echo takes the colours out where none belong."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, prefix or click.style("Usage: ", bold=True))

    def write_heading(self, heading: str) -> None:
        self.write(" " * self.current_indent + click.style(f"{heading}:", bold=True) + "\n")

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(click.style(first, fg="cyan"), second) for first, second in rows], col_max, col_spacing)


class Context(click.Context):
    """What a command is called with; its help is written by Formatter."""

    formatter_class = Formatter


def write_rows(formatter: click.HelpFormatter, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    """A heading, and below it two columns; nothing without rows."""
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)
