"""Change the CUDA kernels at random places, one small change at a time, and see which changes no case notices.

    python -m tests.mutants                                   100 mutants of all kernels
    python -m tests.mutants --kernel batch_norm --count 0     all mutants of one file
    python -m tests.mutants --seed 3 --count 50               others

A mutant has another operator, bound, index or branch, or lacks a statement. It is killed if a case of
tests/kernel_cases.py gives other numbers than its twin, other bytes in another order of threads, or a finding of the
emulator. One that lives is a case that is missing, or is equivalent: then it stands in EQUIVALENT, with the reason.
Exit code 1 if another one lives. Emulated on the CPU, with g++; a mutant takes about a second.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # as pytest does: the modules below lie beside this file

import emulated_cupy
import emulator
from equivalent_mutants import EQUIVALENT
from kernel_cases import CASES, leaves
from kernel_runs import ORDERS, changed, functions, run

from minigan.engine import cuda

FOLDER = Path(__file__).resolve().parents[1] / "kernels"
SECONDS = 3.0  # that a launch may take; the slowest takes 0.1

# What is looked for (in text without comments), and what takes its place. Operators stand between spaces, so that
# `float* W` is none.
REPLACED = [
    *((rf"(?<= ){re.escape(old)}(?= )", new) for old, new in [
        ("<", "<="), ("<", ">"), ("<=", "<"), (">", ">="), (">", "<"), (">=", ">"), ("==", "!="), ("!=", "=="),
        ("+", "-"), ("-", "+"), ("*", "/"), ("/", "*"), ("%", "/"), ("%", "*"), ("&&", "||"), ("||", "&&"),
        ("+=", "-="), ("+=", "="), ("-=", "+="), ("*=", "/="), ("/=", "*="), ("/=", "-=")]),
    (r"\+\+", "--"),
    (r"(?<!\w)-(?=\w)", ""),
    (r"\.x\b", ".y"), (r"\.y\b", ".x"),
    (r"\bwhile\b", "if"),
    (r"\b0\.0f\b", "1.0f"), (r"\b1\.0f\b", "0.0f"), (r"\b1\.0f\b", "2.0f"),
]
NUMBER = r"(?<![\w.])\d+(?![\w.])"  # one more, one less
LOOP = r"\bfor \(((?:int|long long) [^;]*); ([^;]*);"
STATEMENT = r"^ +(?:if \([^;{}]*\) )?(?=\S)((?!return |const |float|int |long |Moments |__shared__)[^\n;{}]*;)[^\S\n]*$"


@dataclass(frozen=True)
class Mutant:
    """One change of kernels/<file>.cu: in which function and line, the line before and after, the whole text after."""

    file: str
    function: str
    number: int
    line: str
    changed: str
    source: str

    def __str__(self) -> str:
        return f"kernels/{self.file}.cu:{self.number}: {self.function}: `{self.line}` -> `{self.changed}`"

    @property
    def reason(self) -> str | None:
        """Why it is equivalent; None if nobody has said so."""
        return EQUIVALENT.get((self.file, self.function, self.line, self.changed))


def mutants(file: str) -> list[Mutant]:
    """All of kernels/<file>.cu, in the order of its text."""
    source = cuda.source(f"{file}.cu")
    bare = re.sub(r"//[^\n]*", lambda comment: " " * len(comment[0]), source)
    found = []
    for function, body in functions(file).items():
        changes = set()  # (begin, end, new text)
        first = source.index(body) + body.index("{")
        end = source.index(body) + len(body)
        for pattern, new in REPLACED:
            changes |= {(m.start(), m.end(), new) for m in re.compile(pattern).finditer(bare, first, end)}
        for m in re.compile(NUMBER).finditer(bare, first, end):
            changes |= {(m.start(), m.end(), str(int(m[0]) + by)) for by in (1, -1) if int(m[0]) + by >= 0}
        for m in re.compile(r"\bif \(").finditer(bare, first, end):
            inside = closing(bare, m.end())
            changes |= {(m.end(), inside, "true"), (m.end(), inside, "false")}
        for m in re.compile(LOOP).finditer(bare, first, end):  # its first round only
            changes.add((m.start(), m.end(), f"for ({m[1]}, rounds = 0; rounds++ == 0 && ({m[2]});"))
        for m in re.compile(STATEMENT, re.M).finditer(bare, first, end):
            changes.add((m.start(1), m.end(1), ";"))
        found += [mutant(file, function, source, *change) for change in sorted(changes)]
    return found


def closing(text: str, begin: int) -> int:
    """Where the bracket closes that was opened just before `begin`."""
    depth = 1
    for place in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError("a bracket is never closed")


def mutant(file: str, function: str, source: str, begin: int, end: int, new: str) -> Mutant:
    text = source[:begin] + new + source[end:]
    number = source.count("\n", 0, begin) + 1
    line, other = source.split("\n")[number - 1], text.split("\n")[number - 1]
    return Mutant(file, function, number, without_comment(line), without_comment(other), text)


def without_comment(line: str) -> str:
    return line.partition("//")[0].strip()


def fate(cupy, mutant: Mutant) -> str:
    """killed, alive, or not compiled."""
    cases = [case for case in CASES if case.launcher.__module__.endswith(f".{mutant.file}")]
    try:
        with changed(mutant.file, mutant.source), emulator.time_limit(SECONDS), np.errstate(all="ignore"):
            for offset, orders in ((0, ORDERS[:1]), (1, ORDERS[:1]), (0, ORDERS[1:6])):
                for case in cases:
                    for arguments in case.inputs(np.random.default_rng(1)):
                        seen = set()
                        for which, seed in orders:
                            with emulator.order(which, seed):
                                found = leaves(run(cupy, case, arguments, offset))
                            seen.add(b"".join(a.tobytes() for a in found if a is not None))
                        if len(seen) > 1:
                            return "killed"
    except emulator.CompileError:
        return "not compiled"
    except (AssertionError, emulator.KernelFault):
        return "killed"
    return "alive"


def main(arguments: list[str]) -> int:
    """Print each mutant that lives and is not known as equivalent, and how many of each kind there were."""
    files = sorted(path.stem for path in FOLDER.glob("*.cu"))
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", choices=files, help="mutants of this file of kernels/ only")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn (default 0)")
    parser.add_argument("--count", type=int, default=100, help="how many (default 100); 0: all")
    given = parser.parse_args(arguments)
    if given.count < 0:
        parser.error(f"--count: expected at least 0, got {given.count}")
    every = [m for file in files if given.kernel in (None, file) for m in mutants(file)]
    if 0 < given.count < len(every):
        drawn = np.random.default_rng(given.seed).choice(len(every), given.count, replace=False)
        every = [every[i] for i in sorted(drawn)]
    fates, began = Counter(), time.monotonic()
    with emulated_cupy.installed() as cupy:
        for m in every:
            what = fate(cupy, m)
            if what == "alive" and m.reason:
                what = "equivalent"
            fates[what] += 1
            if what == "alive":
                print(m, flush=True)
    print(f"{len(every)} mutants in {time.monotonic() - began:.0f} s: "
          + ", ".join(f"{fates[what]} {what}" for what in ("killed", "equivalent", "alive", "not compiled")))
    return 1 if fates["alive"] else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # thousands of builds that nobody needs again
        try:
            sys.exit(main(sys.argv[1:]))
        except KeyboardInterrupt:
            sys.exit(130)
