"""The command line: parse, call, print. Every error is one line on stderr; exit code 2: wrong use, 1: failed work."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from pathlib import Path

import click

from minigan import __version__
from minigan.cli.commands import Commands
from minigan.errors import FailedWork, WrongUse, printable
from minigan.formats.progress import to_stderr, write_if_possible
from minigan.parallel import mpi
from minigan.training.interrupts import Interrupted

HELP = ("-h", "--help", "--help-all")  # which one process prints


def main() -> None:
    """Run the command line and leave with its exit code."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal's encoding lacks
    code = _run_once(sys.argv[1:])
    if code and code < 128:
        _end_the_others(code)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # Python would try once more as it ends, complain, and leave with another exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _run_once(arguments: list[str]) -> int:
    """Run the command line; where MPI started this process with others, by process 0 alone what one process does.

    A training is one of all processes, and a grid's runs are shared out among them.
    """
    if arguments[:1] and arguments[0] in ("train", "sweep", "reproduce") and not {*HELP} & {*arguments}:
        return run(arguments)
    rank, size = mpi.of_one()
    if rank:
        return 0
    if size > 1:
        to_stderr(f"minigan: MPI started {size} processes for what one does: process 0 does it, the others have ended")
    return run(arguments)


def _end_the_others(code: int) -> None:
    """Where MPI started this process with others, they would wait for it for ever."""
    with contextlib.suppress(WrongUse):
        if mpi.group().size > 1 and (mpi.group().rank == 0 or code == 1):
            sys.stderr.flush()
            mpi.group().end_all(code)


def _open_streams() -> None:
    """Open standard streams that were closed (2>&-) as the null device.

    A file that is opened later would get their number, and would have in it what is written to standard error.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process lives)


def run(arguments: list[str]) -> int:
    """Run the command line on the given words; returns the exit code."""
    try:
        return commands.main(arguments, prog_name="minigan", standalone_mode=False, color=_colour()) or 0
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "minigan"
        return _fail(f"{error.format_message()} (see {command} --help)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 1)
    except WrongUse as error:
        return _fail(str(error), 2)
    except FailedWork as error:
        return _fail(str(error), 1)
    except Interrupted as error:
        return _fail(str(error), 128 + error.signum)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130)
    except MemoryError as error:
        return _fail(f"not enough memory ({error}); ask for less: --batch-size, --width, --size, --count", 1)
    except OSError as error:  # where no more is known; click itself leaves quietly when a pipe's reader has gone
        return _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except Exception as error:
        if "--verbose" in arguments or "-v" in arguments:
            to_stderr(traceback.format_exc())
        where = traceback.extract_tb(error.__traceback__)[-1]
        return _fail(f"a fault of minigan itself: {type(error).__name__}: {error} ({Path(where.filename).name}, line "
                     f"{where.lineno}); --verbose shows all of it; please report it", 1)


def _fail(line: str, code: int) -> int:
    with contextlib.suppress(WrongUse):
        if mpi.group().rank and code != 1:  # process 0 says the same
            return code
    name = "minigan:"
    if _colour() is None and os.name == "posix" and sys.stderr.isatty():
        name = click.style(name, fg="red", bold=True)
    write_if_possible(f"{name} {printable(' '.join(line.split()))}\n", sys.stderr)
    return code


def _colour() -> bool | None:
    """False where nobody wants colours (https://no-color.org) or the terminal has none; None: on terminals alone."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


@click.group(cls=Commands, invoke_without_command=True,
             context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="minigan %(version)s", help="show the version and exit")
@click.pass_context
def commands(context: click.Context) -> None:
    """Train and explain spectrally normalized GANs, with no deep-learning framework underneath.

    \b
    minigan train shapes                a first run, on drawings made by code
    minigan train cifar10 --norm sn     the paper's job
    minigan sample runs/shapes-cnn-sn   images from a run
    minigan COMMAND --help              what a command takes, with examples
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), color=context.color)
        context.exit(2)
