"""What a script of this folder takes on its command line; wrong use is one line, and no traceback."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from minigan.errors import FailedWork, WrongUse, choose


def count(word):
    """A whole number from 1 on, as argparse's `type`."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{word}'")
    return int(word)


def above_0(word):
    """A number above 0."""
    try:
        if 0 < float(word) < float("inf"):
            return float(word)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number above 0, got '{word}'")


def name(what, choices):
    """One of the names in `choices`."""
    def named(word):
        try:
            choose(what, word, choices)
        except WrongUse as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return word
    return named


def several(kind):
    """Words with commas between them -> a list of what `kind` makes of each."""
    return lambda words: [kind(word) for word in words.split(",")]


def wants(*modules):
    """FailedWork that names the first of these modules of other people's that is missing."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise FailedWork(f"{module.replace('_', '-')} is missing, with which this compares; see --help, or "
                             "CONTRIBUTING.md")


def run(main):
    """Call main, as a script. What minigan refuses is one line; a process that it started has said itself what failed.

    Exit code 2 for wrong use, 1 for work that failed.
    """
    try:
        main()
    except (WrongUse, FailedWork) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, WrongUse) else 1)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def first_line(process):
    """The first line that a process writes, or its exit code as our own: it has said itself what failed."""
    line = process.stdout.readline()
    if not line:
        sys.exit(process.wait() or 1)
    return line
