"""A grid of runs: methods x settings x seeds, in one folder, to be stopped and gone on with at any time.

    sweep.json            the grid
    METHOD-SETTING-SEED/  a run each, as minigan train makes it
    summary.md            a table of what the finished runs reached
    samples.png           samples of each: a row for each method, a column for each setting

Several processes may work on one grid: a run that another one trains is passed over. What is finished stays.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, WrongUse, choose
from minigan.experiment.experiment import CHANGEABLE, Experiment, compose, to_dict
from minigan.experiment.profiles import SETTINGS
from minigan.formats import image_files
from minigan.formats.whole import write_whole
from minigan.metrics import stored_scores
from minigan.networks.norms import NORMS, ONLY_FOR
from minigan.training import loop, restore, run_folder

# Methods that are more than a --norm; every --norm is a method, too.
METHODS: dict[str, dict[str, Any]] = {
    "wgan-gp": {"norm": "none", "loss": "wasserstein", "gp": 10.0},  # Gulrajani et al. 2017
    "gan-gp": {"norm": "none", "loss": "ns", "gp": 10.0},  # Miyato et al. 2018, Table 2
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    setting: str
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        return f"{self.method}-{self.setting}-{self.seed}"


def grid(dataset: str, methods: list[str], settings: list[str], seeds: int, **common: Any) -> list[Cell]:
    """The cells, seed by seed, so that a stopped sweep has seen every method. WrongUse for what contradicts itself."""
    if seeds < 1:
        raise WrongUse(f"--seeds: expected at least 1, got {seeds}")
    for what, given, choices in (("method", methods, [*NORMS, *METHODS]), ("setting", settings, SETTINGS)):
        for name in given:
            choose(what, name, choices)
        if len(set(given)) < len(given):
            raise WrongUse(f"--{what}s: '{next(n for n in given if given.count(n) > 1)}' is named twice; each once")
    fixed = {"norm", "setting", "seed"} | {name for method in methods for name in METHODS.get(method, {})}
    clash = sorted(fixed & common.keys())
    if clash:
        raise WrongUse(f"a sweep chooses --{clash[0].replace('_', '-')} itself, by --methods, --settings or --seeds; "
                       "leave it out")
    cells, norms = [], [METHODS.get(method, {"norm": method})["norm"] for method in methods]
    for seed, setting, method in itertools.product(range(seeds), settings, methods):
        chosen = METHODS.get(method, {"norm": method})
        fitting = _common_to(chosen["norm"], norms, common)
        e, _ = compose(dataset, **fitting | chosen | {"setting": setting, "seed": seed})
        restore.check_names(e)
        cells.append(Cell(method, setting, seed, e))
    return cells


def sweep(cells: list[Cell], out: Path, quiet: bool = False, say: Callable[[str], None] = print) -> None:
    """Train all cells that are not finished, then write the summary.

    A run whose loss is no longer finite is a result, too: it is noted in its failed.txt and not begun again.
    """
    _claim(cells, out)
    for number, cell in enumerate(cells, start=1):
        folder = out / cell.name
        if reached(folder) >= cell.experiment.iterations:
            continue
        if (folder / "failed.txt").exists():
            say(f"[{number}/{len(cells)}] {cell.name}: failed before; remove {folder / 'failed.txt'} to try once more")
            continue
        say(f"[{number}/{len(cells)}] {cell.name}")
        begun = (folder / "experiment.json").exists()
        try:
            if begun:
                loop.resume(folder, {name: getattr(cell.experiment, name) for name in CHANGEABLE}, quiet)
            else:
                loop.fit(cell.experiment, folder, quiet=quiet)
        except WrongUse as error:  # busy, or another process was quicker while this one read the data
            if not isinstance(error, run_folder.Busy) and (begun or not (folder / "experiment.json").exists()):
                raise
            say(f"{cell.name}: another process is at it")
        except loop.NotFinite as error:
            write_whole(folder / "failed.txt", f"{error}\n".encode())
            say(f"{cell.name}: {error}")
        _conclude(cells, out)
    _conclude(cells, out)


def _conclude(cells: list[Cell], out: Path) -> None:
    """Write the table and the picture of what there is."""
    write_whole(out / "summary.md", ("\n".join(summary(cells, out)) + "\n").encode())
    rows = []
    for method in dict.fromkeys(cell.method for cell in cells):
        mine = [cell for cell in cells if cell.method == method and cell.seed == 0]
        newest = [(cell, out / cell.name / "samples.png") for cell in mine]
        there = [(cell, image_files.read_png(path)) for cell, path in newest if path.exists()]
        if there:
            rows.append(image_files.film_strip([grid for _, grid in there], len(there),
                                            [f"{cell.method} {cell.setting}" for cell, _ in there]))
    if rows:
        image_files.save_png(out / "samples.png", image_files.stacked(rows))


def summary(cells: list[Cell], out: Path) -> list[str]:
    """A table in Markdown: last and best score, mean over the seeds, standard deviation and error.

    The score is what all finished runs logged (--score-every), a FID if there is one; else the thumbnail distance.
    """
    done = [out / cell.name for cell in cells if reached(out / cell.name) >= cell.experiment.iterations]
    measure = _measure(done)
    pick = max if measure and stored_scores.better(measure.split()[0]) > 0 else min
    lines = ["| method | setting | seeds | last | sd | se | best | sd | se | notes |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for method, setting in dict.fromkeys((cell.method, cell.setting) for cell in cells):
        mine = [cell for cell in cells if (cell.method, cell.setting) == (method, setting)]
        series = [course(out / cell.name, measure) for cell in mine if out / cell.name in done]
        series = [values for values in series if values]
        failed = sum((out / cell.name / "failed.txt").exists() for cell in mine)
        note = f"{failed} not finite" if failed else ""
        last, best = _spread([values[-1] for values in series]), _spread([pick(values) for values in series])
        lines.append(f"| {method} | {setting} | {len(series)} of {len(mine)} | {last} | {best} | {note} |")
    what = f"{measure} (--score-every)" if measure else \
        "Frechet distance of 8 x 8 thumbnails, less is nearer to the data (minigan/metrics/thumbnails.py)"
    return [*lines, "", f"{what}; last: at the end of a run, best: at its best moment; sd: standard deviation over the "
                        "seeds, se: standard error of the mean."]


def course(folder: Path, measure: str = "") -> list[float]:
    """The values of a score that a run logged, oldest first; without a name its thumbnail distances."""
    log = run_folder.read_log(folder)
    found = [line.get("scores", {}).get(measure) for line in log if isinstance(line.get("scores", {}), dict)] \
        if measure else [line.get("thumbnails") for line in log]
    return [value for value in found if type(value) in (int, float)]


def _measure(folders: list[Path]) -> str:
    """The score that all of these runs logged, a FID if there is one; "" if there is none."""
    logged = [{name: None for line in run_folder.read_log(folder) if isinstance(line.get("scores"), dict)
               for name in line["scores"]} for folder in folders]
    common = [name for name in logged[0] if all(name in names for names in logged)] if logged else []
    return next((name for name in common if name.startswith("FID ")), common[0] if common else "")


def _common_to(norm: str, norms: list[str], common: dict[str, Any]) -> dict[str, Any]:
    """The grid's options without those that are for other norms of it only, as --scale for ssn beside sn."""
    def fits(option: str, *names: str) -> bool:
        return option not in ONLY_FOR or bool({*ONLY_FOR[option][0]} & {*names, common.get("gen_norm")})
    return {option: value for option, value in common.items() if fits(option, norm) or not fits(option, *norms)}


def reached(folder: Path) -> int:
    """The iteration of a run's newest checkpoint; 0 if it has none."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.h5")), default=0)


def _claim(cells: list[Cell], out: Path) -> None:
    """Write the grid, or see that the one that is there learns the same; it may have other cells besides."""
    path = out / "sweep.json"
    wanted = {cell.name: to_dict(cell.experiment) for cell in cells}
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FailedWork(f"{path} cannot be read ({error}); put it right, or choose another --out") from None
    for name, experiment in wanted.items():
        fields = [key for key in experiment if key not in CHANGEABLE]
        field = next((key for key in fields if before[name].get(key) != experiment[key]), "") if name in before else ""
        if field:
            raise WrongUse(f"{out} holds another sweep: {name} has {field} {before[name].get(field)} there, not "
                           f"{experiment[field]}; use the same options, or choose another --out")
    write_whole(path, (json.dumps(before | wanted, indent=1) + "\n").encode())


def _spread(values: list[float]) -> str:
    """Mean, standard deviation and standard error, as three cells of the table."""
    if not values:
        return "- | - | -"
    if len(values) == 1:
        return f"{values[0]:.3f} | - | -"
    sd = float(np.std(values, ddof=1))
    return f"{np.mean(values):.3f} | {sd:.3f} | {sd / math.sqrt(len(values)):.3f}"
