"""The long campaigns: damaged files by the thousand for every reader, kills and power cuts at any moment of commands.

    python -m tests.campaign                    each reader 1,000 damaged files, each command 5 kills and 2 power cuts
    python -m tests.campaign --mutations 0 --kills 0 --cuts 0 --together 20       of trainings by 2 and 4 processes
    python -m tests.campaign --mutations 10000 --kills 100 --cuts 30      hours
    python -m tests.campaign --readers log.jsonl packed --mutations 50000 --kills 0 --seed 7

The quick ones are tests/formats/test_damaged_files.py and tests/test_power_cuts.py. At the end stand tables of counts,
which docs/reliability.md quotes; the exit code is 1 if anything in them is a fault. Power cuts need root, loop devices
and the tools of ext4, XFS and btrfs; where one is missing, that is said.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

import damage  # noqa: E402 (of tests/, as pytest finds it)
import kills  # noqa: E402
import weight_samples as samples  # noqa: E402

from minigan.metrics import inception  # noqa: E402

SLOW = 10.0  # seconds for one file
READER = ("reader", "damaged", "read", "refused", "faults", "slowest", "memory")
COMMAND = ("command", "kills", "went on", "same result", "faults")
TOGETHER = (*COMMAND, "slowest end")
SYSTEM = ("file system", "cuts", "went on", "same result", "faults")


# ---- damaged files ---------------------------------------------------------------------------------------------------

def mutate(name: str, count: int, seed: int) -> dict[str, Any]:
    """What becomes of `count` damaged files of one reader; faults are printed as they are found."""
    reader, found = damage.READERS[name], {"read": 0, "refused": 0, "faults": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="minigan-campaign-") as place, \
            mock.patch.object(inception, "tensors", samples.toy_table):
        path = reader.make(Path(place))
        data, before = path.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number, bad in enumerate(damage.damaged_files(data, zlib.crc32(name.encode()) + seed, count)):
            path.write_bytes(bad)
            began = time.perf_counter()
            try:
                found[damage.outcome(reader.read, path)] += 1
            except Exception:
                found["faults"] += 1
                print(f"{name}, seed {seed}, file {number}:\n{traceback.format_exc()}", file=sys.stderr)
            slowest = max(slowest, time.perf_counter() - began)
    found["faults"] += slowest > SLOW
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"reader": name, "damaged": count, **found, "slowest": f"{slowest:.2f} s", "memory": f"{memory:.0f} MiB"}


def mutated(name: str, count: int, seed: int) -> dict[str, Any]:
    """The same in a process of its own: a crash of a library is a fault, too."""
    words = [sys.executable, "-m", "tests.campaign", "--one", name, "--mutations", str(count), "--seed", str(seed)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return dict.fromkeys(READER, "?") | {"reader": name, "damaged": count, "faults": count}
    return json.loads(done.stdout.splitlines()[-1])


# ---- the tables ------------------------------------------------------------------------------------------------------

def table(heads: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    """In Markdown, with a last row of sums."""
    sums = {head: sum(row[head] for row in rows) for head in heads if all(type(row[head]) is int for row in rows)}
    rows = [*rows, {heads[0]: "all", **sums}]
    lines = [[f"{value:,}" if type(value := row.get(head, "")) is int else str(value) for head in heads]
             for row in rows]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1000, help="damaged files for each reader [1000]")
    parser.add_argument("--kills", type=int, default=5, help="kills for each command [5]")
    parser.add_argument("--cuts", type=int, default=2, help="power cuts for each command and file system [2]")
    parser.add_argument("--together", type=int, default=2, help="kills of a process of 2 and of 4 that train together "
                        "[2]")
    parser.add_argument("--commands", nargs="*", choices=kills.COMMANDS, default=list(kills.COMMANDS),
                        metavar="COMMAND", help="[all]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", choices=damage.READERS, default=list(damage.READERS), metavar="READER",
                        help="[all]")
    parser.add_argument("--one", choices=damage.READERS, metavar="READER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(mutate(given.one, given.mutations, given.seed)))
        return 0
    faults, tables = 0, []
    cut = partial(kills.cut, names=tuple(given.commands))
    for heads, names, one, count in ((READER, given.readers, mutated, given.mutations),
                                     (COMMAND, given.commands, kills.killed, given.kills),
                                     (TOGETHER, list(kills.TOGETHER), kills.killed_together, given.together),
                                     (SYSTEM, kills.SYSTEMS, cut, given.cuts)):
        rows = []
        for name in names if count else ():
            try:
                rows.append(one(name, count, given.seed))
            except kills.Impossible as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            print(" ".join(f"{head} {rows[-1][head]}" for head in heads), file=sys.stderr, flush=True)
        if rows:
            tables.append(table(heads, rows))
            faults += sum(row["faults"] for row in rows)
    print("\n\n".join(tables))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
