"""How commands show their help: options in sections, colours on a terminal, an answer to habits from other programs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import click

from minigan.errors import WrongUse, printable
from minigan.experiment import habits

ALL = "minigan.help.all"  # in a context's meta: whether all sections of the help were asked for


class Formatter(click.HelpFormatter):
    """Click's help with headings and first columns in colour, and no name broken at a hyphen.

    click.echo takes the colours out where none belong.
    """

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, prefix or click.style("Usage: ", bold=True))

    def write_heading(self, heading: str) -> None:
        self.write(" " * self.current_indent + click.style(f"{heading}:", bold=True) + "\n")

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        for i, paragraph in enumerate(text.split("\n\n")):
            lines = paragraph.splitlines()[1:]  # as they are
            if not paragraph.startswith("\b"):
                lines = _wrapped(paragraph, self.width - len(indent))
            self.write("\n" * (i > 0) + "".join(f"{indent}{line}".rstrip() + "\n" for line in lines))

    def write_dl(self, rows: Any, col_max: int = 26, col_spacing: int = 2) -> None:
        rows = list(rows)
        first_wide = min(max(len(first) for first, _ in rows), col_max) + col_spacing
        for first, second in rows:
            lines = _wrapped(second, self.width - self.current_indent - first_wide) or [""]
            if len(first) > first_wide - col_spacing:
                lines = ["", *lines]
            indent = " " * self.current_indent
            gap = " " * (first_wide - len(first))
            self.write(f"{indent}{click.style(first, fg='cyan')}{gap}{lines[0]}".rstrip() + "\n")
            self.write("".join(f"{indent}{' ' * first_wide}{line}\n" for line in lines[1:]))


class Context(click.Context):
    """What a command is called with; its help is written by Formatter."""

    formatter_class = Formatter


class SectionOption(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, words: Sequence[str], section: str, **how: Any):
        super().__init__(words, **how)
        self.section = section


class ExperimentOption(SectionOption):
    """An option that is a field of an experiment; first: among those that matter most."""

    def __init__(self, words: Sequence[str], section: str, first: bool, **how: Any):
        super().__init__(words, section, **how)
        self.first = first


class Command(click.Command):
    """A command whose help names what other programs call its options, and which answers them when they are typed.

    An experiment's options are left out of the help, which points to that of minigan train.
    table: a heading and rows of two columns, which end the help.
    """

    context_class = Context

    def __init__(self, *words: Any, table: tuple[str, Sequence[tuple[str, str]]] = ("", ()), **how: Any):
        super().__init__(*words, **how)
        self.table = table

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _plain_help(super().get_help_option(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = {word for param in self.get_params(ctx) for word in (*param.opts, param.human_readable_name)}
            said = habits.answer(error.option_name, known)
            if said:
                raise WrongUse(f"{said} (see {ctx.command_path} --help)") from None
            raise
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click's parser leaves out whose help to look into
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [option for option in self.options(ctx) if not isinstance(option, ExperimentOption)]
        _write_sections(formatter, ctx, own)
        if len(own) < len(self.options(ctx)):
            formatter.write_paragraph()
            formatter.write_text("What minigan train can choose counts, too: see minigan train --help and --help-all.")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_rows(formatter, *self.table)

    def options(self, ctx: click.Context) -> list[click.Option]:
        """Its options, --help among them."""
        return [param for param in self.get_params(ctx) if isinstance(param, click.Option)]


class TrainCommand(Command):
    """minigan train: the options that matter first and its own are explained, the others named.

    --help-all explains all, and has the table.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        fields = [option for option in self.options(ctx) if isinstance(option, ExperimentOption)]
        write_rows(formatter, "Options that matter most", _records([option for option in fields if option.first], ctx))
        _write_sections(formatter, ctx, [option for option in self.options(ctx) if option not in fields])
        others = [option for option in fields if not option.first]
        if ctx.meta.get(ALL):
            _write_sections(formatter, ctx, others)
        else:
            write_rows(formatter, f"More options, which {ctx.command_path} --help-all explains", [
                (heading, "  ".join(option.opts[0] for option in inside))
                for heading, inside in _sections(others).items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if ctx.meta.get(ALL):
            super().format_epilog(ctx, formatter)


class Group(click.Group):
    """A command with commands of its own."""

    context_class = Context

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _plain_help(super().get_help_option(ctx))


def help_all(command: Any) -> Any:
    """The option --help-all, for TrainCommand."""
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()
    return click.option("--help-all", is_flag=True, is_eager=True, expose_value=False, callback=show,
                        help="show this message with every option explained, and exit")(command)


def write_rows(formatter: click.HelpFormatter, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    """A heading, and below it two columns; nothing without rows."""
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)


def _plain_help(option: click.Option | None) -> click.Option | None:
    """The option --help in the words of the others."""
    if option is not None:
        option.help = "show this message and exit"
    return option


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_on_hyphens=False, break_long_words=False)


def _write_sections(formatter: click.HelpFormatter, ctx: click.Context, options: Sequence[click.Option]) -> None:
    for heading, inside in _sections(options).items():
        write_rows(formatter, heading, _records(inside, ctx))


def _sections(options: Sequence[click.Option]) -> dict[str, list[click.Option]]:
    """The options by their sections; those without one first."""
    found: dict[str, list[click.Option]] = {"Options": []}
    for option in options:
        found.setdefault(option.section if isinstance(option, SectionOption) else "Options", []).append(option)
    return {heading: inside for heading, inside in found.items() if inside}


def _records(options: Sequence[click.Option], ctx: click.Context) -> list[tuple[str, str]]:
    """The two columns of options: how each is written, and its help with what other programs call it."""
    found = []
    for option in options:
        record = option.get_help_record(ctx)
        if record is not None:  # it is not hidden
            elsewhere = habits.elsewhere(option.opts[-1])
            text = (option.help or "") + (f" ({elsewhere})" if elsewhere else "")
            found.append((record[0].replace(" RANGE", ""), text))
    return found


def echo(text: str, nl: bool = True) -> None:
    """Print results. What names and files hold of control characters, which a terminal would obey, become escapes."""
    click.echo("\n".join(map(printable, text.split("\n"))), nl=nl)
