"""A score with all that it depends on; scores.json, which keeps them; the table that sets runs side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, WrongUse, brief, reason
from minigan.formats.locks import alone
from minigan.formats.plain_text import markdown
from minigan.formats.untrusted import is_number, read_json
from minigan.formats.whole import write_whole

FORMAT = "minigan scores"
MOST = 16 << 20  # bytes of such a file


@dataclass(frozen=True, repr=False)
class Score:
    """One number and how it came about."""

    name: str
    value: float
    spread: float | None  # standard deviation over splits (IS), subsets (KID), classes, batches
    protocol: str
    network: str
    weights: str  # digest
    resize: str
    pixels: str
    n_real: int  # 0: not known
    n_fake: int
    splits: int  # of IS, else 0
    seed: int  # of the fakes
    data: str  # identity of the real images
    cautions: tuple[str, ...] = ()
    size_real: int = 0  # side of the real images in pixels; 0: not said, as in older files, or they are no squares
    size_fake: int = 0

    def __repr__(self) -> str:
        return f"<{self.name} {_of_one(self)}: {how(self)}, seed {self.seed}>"

    def to_dict(self) -> dict[str, Any]:
        """The score as plain types, for JSON."""
        return dataclasses.asdict(self) | {"cautions": list(self.cautions)}


def from_dict(values: Any, where: str) -> Score:
    """The score that `to_dict` gave. FailedWork, naming `where` it was read from, for anything else."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(Score)}
    newer = {"size_real": 0, "size_fake": 0}
    values = newer | values if isinstance(values, dict) else values
    if not isinstance(values, dict) or set(values) != set(fields):
        raise FailedWork(f"{where}: not a score of this version; expected {', '.join(fields)}")
    for name, kind in fields.items():
        value = values[name]
        good = {"str": type(value) is str, "int": type(value) is int and value >= 0,
                "float": is_number(value), "float | None": value is None or is_number(value),
                "tuple[str, ...]": type(value) is list and all(type(line) is str for line in value)}[kind]
        if not good:
            raise FailedWork(f"{where}: {name} is {brief(value)}; expected {kind}")
    return Score(**values | {"cautions": tuple(values["cautions"])})


def comparable(a: Score, b: Score) -> str:
    """Why the two cannot stand in one column, or "" if they can."""
    for field, what in (("name", "scores"), ("protocol", "protocols"), ("network", "networks"), ("weights", "weights"),
                        ("resize", "ways of resizing"), ("pixels", "ways to whole pixels"),
                        ("n_real", "numbers of real images"), ("n_fake", "numbers of fakes"),
                        ("splits", "numbers of splits"), ("data", "real images")):
        one, other = getattr(a, field), getattr(b, field)
        if one != other:
            return f"different {what}: {_shown(one)} and {_shown(other)}"
    return ""


@dataclass(frozen=True)
class Stored:
    """A score, and of which of a run's generators: its iteration (0: not of a run), and whether as its best."""

    score: Score
    iteration: int = 0
    best: bool = False


def read(path: Path) -> list[Stored]:
    """The scores of a file, oldest first; none if it is not there. FailedWork if it is not what `append` writes."""
    try:
        record = read_json(path, MOST)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise FailedWork(f"{path} cannot be read ({reason(error)})") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("scores"), list):
        raise FailedWork(f"{path} does not hold scores of minigan; remove it, or name another file")
    return [_stored(entry, str(path)) for entry in record["scores"]]


def _stored(entry: Any, where: str) -> Stored:
    if not isinstance(entry, dict) or type(entry.get("iteration")) is not int or type(entry.get("best")) is not bool:
        raise FailedWork(f"{where}: an entry without iteration and best")
    rest = {name: value for name, value in entry.items() if name not in ("iteration", "best")}
    return Stored(from_dict(rest, where), entry["iteration"], entry["best"])


def append(path: Path, new: Sequence[Stored]) -> None:
    """Add scores to the file, written whole; one that was measured before in the same way takes its old place.

    Several processes may do so at once. WrongUse if another one is at it for a minute.
    """
    with alone(path, f"{path} is being written by another process, for a minute now; end that one, and call this again",
               wait_s=60.0):
        kept = [old for old in read(path) if not any(_same(old, one) for one in new)]
        entries = [one.score.to_dict() | {"iteration": one.iteration, "best": one.best} for one in [*kept, *new]]
        write_whole(path, (json.dumps({"format": FORMAT, "scores": entries}, indent=1) + "\n").encode())


def _same(a: Stored, b: Stored) -> bool:
    return (a.iteration, a.best, a.score.seed) == (b.iteration, b.best, b.score.seed) \
        and not comparable(a.score, b.score)


def lines(scores: Sequence[Score]) -> list[str]:
    """Scores below each other; below those that were measured in one way, once, how."""
    return _below_each_other((one.name, _of_one(one), f"{how(one)}, seed {one.seed}") for one in scores)


def line(score: Score) -> str:
    """A score on one line, with all that it depends on."""
    return f"{score.name:16} {_of_one(score):20} {how(score)}, seed {score.seed}"


def mean_lines(found: Sequence[Sequence[Score]]) -> list[str]:
    """As `lines`, of means and standard deviations over sets of images of several seeds; one list for each seed."""
    rows = zip(*found, strict=True)  # the same scores in the same order
    return _below_each_other((row[0].name, _cell(row), f"{how(row[0])}, seeds {row[0].seed} to {row[-1].seed}")
                             for row in rows)


def _below_each_other(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    """rows: name, value, how. Those of one how stand together, in the order of their first."""
    together: dict[str, list[str]] = {}
    for name, value, text in rows:
        together.setdefault(text, []).append(f"{name:16} {value}")
    return [line for text, values in together.items() for line in (*values, f"  {text}")]


def how(score: Score) -> str:
    """What a score's column in a table depends on."""
    sizes = (score.size_real, score.size_fake) if score.data and score.n_fake else (0, 0)
    of_real, of_fake = (f" of {size} x {size}" if len(set(sizes)) > 1 and size else "" for size in sizes)
    counts = [f"{score.n_real:,} real{of_real} ({score.data})"] if score.n_real else [score.data] if score.data else []
    counts += [f"{score.n_fake:,} fake{of_fake}"] + [f"{score.splits} splits"] * (score.splits > 0)
    made = [f"{score.network} {score.weights[:12]}".strip()] if score.network else []
    made += [f"resize {score.resize}"] * bool(score.resize) + [f"pixels {score.pixels}"] * bool(score.pixels)
    return f"{score.protocol}: {', '.join([*counts, *made])}"


def rounded(value: float) -> str:
    """A score with four significant digits, and no fewer decimals than papers print."""
    return f"{value:.2f}" if 100 <= abs(value) < 1e6 else f"{value:.4g}"


# ---- runs side by side ---------------------------------------------------------------------------------------------

def table(runs: Sequence[tuple[str, Sequence[Stored]]]) -> list[str]:
    """`compared` as lines of Markdown. WrongUse without a score."""
    heads, rows, notes = compared(runs)
    if not rows:
        raise WrongUse("these runs have no scores yet; make some: minigan score RUN")
    return [*markdown([heads, *rows], right=range(1, len(heads))), "", *notes]


def compared(runs: Sequence[tuple[str, Sequence[Stored]]]) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads, rows and notes: a row for each run and generator, a column for what may be compared and nothing else.

    Of several seeds of the fakes: their mean and standard deviation, and how many. Of one: the spread that
    the score has itself. The notes: what each column is, why scores of one name stand in several, and which runs have
    no scores. These have a row, too, unless no run has any: then there are no rows and no notes.
    """
    columns: list[list[Score]] = []
    rows: dict[tuple[str, int, bool], dict[int, list[Score]]] = {}
    without = [name for name, stored in runs if not stored]
    if len(without) == len(runs):
        return ["run", "iteration"], [], []
    for name, stored in runs:
        if not stored:
            rows[name, 0, False] = {}
        for one in stored:
            at = next((i for i, column in enumerate(columns) if not comparable(column[0], one.score)), len(columns))
            if at == len(columns):
                columns.append([])
            columns[at].append(one.score)
            rows.setdefault((name, one.iteration, one.best), {}).setdefault(at, []).append(one.score)
    order = sorted(range(len(columns)), key=lambda i: (columns[i][0].protocol, i))
    names = {i: f"{columns[i][0].name} [{n}]" for n, i in enumerate(order, start=1)}
    lines = [[name, f"{iteration or '-'}{' (best)' * best}", *(_cell(values.get(i, [])) for i in order)]
             for (name, iteration, best), values in rows.items()]
    together: dict[str, list[str]] = {}
    for i in order:
        together.setdefault(how(columns[i][0]), []).append(names[i])
    notes = [f"{', '.join(of)}: {text}" for text, of in together.items()]
    apart: dict[str, list[str]] = {}
    for n, i in enumerate(order):
        other = next((j for j in order[:n] if columns[j][0].name == columns[i][0].name), None)
        if other is not None:
            apart.setdefault(comparable(columns[other][0], columns[i][0]), []).append(f"{names[other]} and {names[i]}")
    notes += [f"apart, {why}: {', '.join(pairs)}" for why, pairs in apart.items()]
    notes += [f"no scores yet, make some with minigan score: {', '.join(without)}"] if without else []
    return ["run", "iteration", *(names[i] for i in order)], lines, notes


def _cell(found: Sequence[Score]) -> str:
    if not found:
        return "-"
    by_seed = {score.seed: score for score in found}  # the newest of each
    values = [score.value for score in by_seed.values()]
    if len(values) == 1:
        return _of_one(next(iter(by_seed.values())))
    with np.errstate(over="ignore"):  # of numbers that somebody else wrote; then the spread is infinite
        mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    return f"{rounded(mean)} \u00b1 {rounded(spread)} ({len(values)} seeds)"


def _of_one(score: Score) -> str:
    return rounded(score.value) + ("" if score.spread is None else f" \u00b1 {rounded(score.spread)}")


def better(name: str) -> int:
    """1 if more is better, -1 if less is."""
    return 1 if name in ("IS", "precision", "recall", "density", "coverage") else -1


def _shown(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else f"'{value}'"
