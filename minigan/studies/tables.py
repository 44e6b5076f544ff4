"""What a grid's finished runs reached, as a table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minigan.metrics import stored_scores
from minigan.studies.grid import Cell
from minigan.training import run_folder
from minigan.training.run_folder import reached


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


def _spread(values: list[float]) -> str:
    """Mean, standard deviation and standard error, as three cells of the table."""
    if not values:
        return "- | - | -"
    if len(values) == 1:
        return f"{values[0]:.3f} | - | -"
    sd = float(np.std(values, ddof=1))
    return f"{np.mean(values):.3f} | {sd:.3f} | {sd / math.sqrt(len(values)):.3f}"
