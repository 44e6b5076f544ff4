"""What each figure shows, as plain numbers: a function a kind of figure, from paths to a Plot, which draw.py draws.

Paths are runs, or folders of runs such as a sweep's. Nothing here needs a plotting library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, WrongUse, listed, reason
from minigan.formats.untrusted import number, read_json
from minigan.studies.seeds import of_seeds, over_seeds
from minigan.training.run_record import Points, Run
from minigan.views.figures.data import (
    Missing,
    best_score,
    choose_measure,
    differing,
    find_runs,
    group,
    higher_is_better,
    last_score,
    logged,
    measure_label,
    measures,
    method_label,
)

MOST = 16  # panels, or lines in one
WINDOW = 9  # lines of the log in a running median


@dataclass(frozen=True)
class Ask:
    """What the command line may choose: the measure of images, the iteration of a figure that shows one moment."""

    measure: str = ""
    at: int | None = None


@dataclass(frozen=True)
class Series:
    """One line, or one group of bars: y over x, both (n,). spread: half the height of its band, or of its error bars.

    method: whose colour it has.  place: or that of a layer, from 0 at the input to 1.  bound: what theory says.
    raw: what y is a running median of.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float] | np.ndarray
    spread: Sequence[float] | np.ndarray | None = None
    method: str = ""
    place: float | None = None
    bound: bool = False
    raw: Sequence[float] | np.ndarray | None = None


@dataclass(frozen=True)
class Panel:
    title: str
    series: list[Series]


@dataclass(frozen=True)
class Plot:
    """kind: lines, points, bars.  log: the axes that are logarithmic: "", "x", "y", "xy".  notes: said beside it."""

    kind: str
    x: str
    y: str
    panels: list[Panel]
    log: str = ""
    notes: list[str] = field(default_factory=list)
    share: str = "y"  # the axes that all panels have in common
    option: bool = False  # x has the values of an option, each worth a tick
    family: bool = False  # half the lines are one family's, half another's: thin, without markers
    signed: bool = False  # y may be below 0; if not, no band and no error bar goes there


# ---- scores --------------------------------------------------------------------------------------------------------

def score_bars(paths: list[Path], ask: Ask, kind: str) -> Plot:
    """A bar for each setting of each method, at the end of the run; a panel for each data set."""
    found, notes = find_runs(paths)
    measure = choose_measure(found, kind, ask.measure)
    panels = []
    for dataset, mine in by_dataset(found).items():
        _only(mine, "setting", ("setting",))
        cells: dict[str, dict[str, list[Run]]] = {}
        for run in mine:
            cells.setdefault(run.method, {}).setdefault(run.experiment.setting or "", []).append(run)
        series = []
        for method, of_setting in cells.items():
            letters = sorted(of_setting)
            values = [of_seeds(of_setting[letter], lambda run: last_score(run, measure)) for letter in letters]
            series.append(Series(method_label(method), letters, [v[0] for v in values], [v[1] for v in values], method))
        panels.append(Panel(dataset, series))
    x = "setting" if any(run.experiment.setting for run in found) else ""
    failed = [run.folder.name for run in found if run.failed]
    notes += [f"a loss was not finite: {listed(failed)}"] if failed else []
    return Plot("bars", x, _better(measure), panels, notes=[*notes, *spread_note(found, False)])


def score_curves(paths: list[Path], ask: Ask, kind: str, error: bool = False) -> Plot:
    """A line for each group of runs: the score during training; a panel for each data set."""
    found, notes = find_runs(paths)
    measure = choose_measure(found, kind, ask.measure)
    panels = [Panel(dataset, lines(mine, lambda run: measures(run).get(measure, {}), error))
              for dataset, mine in by_dataset(found).items()]
    return Plot("lines", "iteration", _better(measure), panels, notes=[*notes, *spread_note(found, error)])


def score_against(paths: list[Path], ask: Ask, kind: str, option: str, x: str, error: bool = False, best: bool = False,
                  log: str = "") -> Plot:
    """A line for each method over the values of an option. best: during training, else the last."""
    found, notes = find_runs(paths)
    measure = choose_measure(found, kind, ask.measure)
    read = best_score if best else last_score
    panels = [Panel(dataset, against(mine, option, lambda run: read(run, measure), error))
              for dataset, mine in by_dataset(found).items()]
    y = f"{'best ' if best else ''}{_better(measure)}"
    return Plot("lines", x, y, panels, log, [*notes, *spread_note(found, error)], option=True)


def possible_singular_values(paths: list[Path], ask: Ask) -> Plot:
    """Sets of squared singular values, in increasing order, that SN and WN permit: needs no runs.

    T = 20 values. WN: their sum is 1 after scaling by 1 / sqrt(d_o), so that a weight of rank one has the spectral norm
    1 (Miyato et al. 2018, Figure 14 and Eq. (27)). SN: the largest is 1, the others anything below.
    """
    if paths:
        raise WrongUse("sn-gan/14 shows what is possible, and needs no runs; leave them out")
    rng, T = np.random.default_rng(0), 20
    series = []
    for i in range(12):
        power = 10 ** (-1.2 + 2.4 * i / 11)  # from nearly flat to one that counts
        shape = ((np.arange(T) + 1) / T) ** power
        s = np.sort(shape * rng.uniform(0.75, 1, T))
        series.append(Series("SN" if i == 0 else "", range(1, T + 1), (s / s[-1]) ** 2, method="sn"))
    for i in range(12):
        power = 10 ** (-1.2 + 2.6 * i / 11)
        s2 = np.sort(((np.arange(T) + 1) / T) ** (2 * power) * rng.uniform(0.75, 1, T))
        series.append(Series("WN" if i == 0 else "", range(1, T + 1), s2 / s2.sum(), method="wn"))
    return Plot("lines", "index, in increasing order", "squared singular value", [Panel("", series)], family=True)


# ---- courses of a run ----------------------------------------------------------------------------------------------

def losses(paths: list[Path], ask: Ask) -> Plot:
    """Both losses, a panel for each group of runs; of several seeds the mean."""
    found, notes = find_runs(paths)
    panels = []
    for name, mine in few(group(found)).items():
        series = []
        for key, who in (("loss_dis", "discriminator"), ("loss_gen", "generator")):
            x, mean, _ = over_seeds(mine, logged(key))
            series.append(Series(who, x, _running_median(mean), None, who, raw=mean))
        if not len(series[0].x) and not len(series[1].x):
            raise Missing(f"{mine[0].folder} has no line in its log")
        panels.append(Panel(name, series))
    notes.append(f"pale: as logged; dark: the median of {WINDOW} lines of the log; the highest spikes are cut off")
    return Plot("lines", "iteration", "loss", panels, notes=notes, share="", signed=True)


def seconds(paths: list[Path], ask: Ask) -> Plot:
    """Of 100 updates of the generator: of bench/overhead.py --json, or from the logs of runs."""
    if paths and all(path.is_file() for path in paths):
        if len(paths) > 1:
            raise WrongUse(f"sn-gan/10: one file of bench/overhead.py --json at a time, got {len(paths)}")
        return _seconds_of_bench(paths[0])
    found, notes = find_runs(paths)
    panels = []
    for dataset, mine in by_dataset(found).items():
        _only(mine, "the method", ())
        series = []
        for name, same in group(mine).items():
            mean, sd = of_seeds(same, _seconds_per_100)
            if math.isnan(mean):
                raise Missing(f"{same[0].folder} has fewer than two lines in its log")
            series.append(Series(name, [""], [mean], [sd], same[0].method))
        panels.append(Panel(f"{dataset}, n_dis {mine[0].experiment.n_dis}", series))
    notes.append("from the runs' logs, where other work on the machine counts, too")
    return Plot("bars", "", "seconds for 100 generator updates", panels, notes=notes)


def _seconds_per_100(run: Run) -> float:
    """The median over the spaces between the log's lines, so that images and checkpoints hardly count."""
    steps = [(b["seconds"] - a["seconds"]) / (b["iteration"] - a["iteration"])
             for a, b in zip(run.log, run.log[1:], strict=False) if b["iteration"] > a["iteration"]]
    return 100 * float(np.median(steps)) if steps else math.nan


def _seconds_of_bench(path: Path) -> Plot:
    try:
        record = read_json(path, 1 << 20)
        panels = [Panel(f"{int(size)} x {int(size)} pixels", [
            Series(method_label(str(row["method"])), [""], [number(row["seconds_per_100"])], method=str(row["method"]))
            for row in rows]) for size, rows in record["results"].items()]
        machine = record["machine"]
        notes = [f"{machine['processor']}, {machine['threads']} threads, batch {record['batch']}"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FailedWork(f"{path} is not what bench/overhead.py --json prints ({reason(error)})") \
            from None
    return Plot("bars", "", "seconds for 100 generator updates", panels, notes=notes)


# ---- for every figure ----------------------------------------------------------------------------------------------

def lines(mine: list[Run], read: Callable[[Run], Points], error: bool) -> list[Series]:
    """A line for each group of runs: what is read of each, over the iterations."""
    series = []
    for name, same in few(group(mine)).items():
        x, mean, spread = over_seeds(same, read, error)
        if len(x):
            series.append(Series(name, x, mean, spread, same[0].method))
    if not series:
        raise Missing(f"{mine[0].folder} has no iteration with it")
    return series


def against(mine: list[Run], option: str, read: Callable[[Run], float], error: bool) -> list[Series]:
    """A line for each method: what is read of each run, over an option's values. WrongUse if they differ in more."""
    _only(mine, option, (option, "init", "init_dis"))
    cells: dict[str, dict[float, list[Run]]] = {}
    for run in mine:
        cells.setdefault(run.method, {}).setdefault(_option(run, option), []).append(run)
    if all(len(of_value) < 2 for of_value in cells.values()):
        raise Missing(f"the runs have one value of {option} only")
    series = []
    for method, of_value in cells.items():
        x = sorted(of_value)
        values = [of_seeds(of_value[value], read, error) for value in x]
        name = method_label(method) + (", LeCun's weights" if _lecun(of_value[x[0]][0]) is not None else "")
        series.append(Series(name, x, [v[0] for v in values], [v[1] for v in values], method))
    return series


def _option(run: Run, option: str) -> float:
    scaled = _lecun(run) if option == "scale" else None
    value = getattr(run.experiment, option) if scaled is None else scaled
    return 1.0 if value is None else float(value)  # a factor that nobody chose


def _lecun(run: Run) -> float | None:
    """The factor on LeCun's first weights of a discriminator without normalization (Lin et al. 2021, Figure 8)."""
    match = re.fullmatch(r"lecun(?:-([0-9.]+))?", getattr(run.experiment, "init_dis", None) or "")
    return float(match[1] or 1) if match and run.experiment.norm == "none" else None


def _only(mine: list[Run], what: str, may: tuple[str, ...]) -> None:
    """WrongUse if runs of one method differ in more than the seed and `may`."""
    for method in dict.fromkeys(run.method for run in mine):
        more = sorted(set(differing([run.experiment for run in mine if run.method == method])) - set(may))
        if more:
            raise WrongUse(f"the runs of {method_label(method)} differ in {listed(more)}, not in {what} alone: name "
                           "fewer runs")
    fixed = {"norm", "loss", "gp", "scale", "init", "init_dis", *may}
    more = sorted(set(differing([run.experiment for run in mine])) - fixed)
    if more:
        raise WrongUse(f"the runs differ in {listed(more)}, too: not comparable in this figure; name fewer runs")


def _running_median(values: np.ndarray) -> np.ndarray:
    """Over WINDOW neighbours, fewer at the ends."""
    half = WINDOW // 2
    return np.array([np.median(values[max(0, i - half):i + half + 1]) for i in range(len(values))])


def by_dataset(found: list[Run]) -> dict[str, list[Run]]:
    kinds: dict[str, list[Run]] = {}
    for run in found:
        kinds.setdefault(run.experiment.dataset, []).append(run)
    return kinds


def few(groups: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """The groups; WrongUse for more than a figure can show."""
    if len(groups) > MOST:
        raise WrongUse(f"{len(groups)} kinds of runs are too many for one figure, expected at most {MOST}; name fewer")
    return groups


def _better(measure: str) -> str:
    return f"{measure_label(measure)}, {'higher' if higher_is_better(measure) else 'lower'} is better"


def spread_note(found: list[Run], error: bool) -> list[str]:
    """What bands and error bars are, and of how many seeds: where groups have more and fewer, both."""
    counts = sorted({len(mine) for mine in group(found).values()})
    if not counts or counts[-1] == 1:
        return ["one seed"]
    what = "standard error" if error else "standard deviation"
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else counts[0]
    return [f"mean and {what} of {seeds} seeds"]

