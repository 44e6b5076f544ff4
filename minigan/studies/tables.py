"""What a grid's finished runs reached, as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minigan.formats.plain_text import markdown
from minigan.metrics import stored_scores
from minigan.studies.grid import Cell
from minigan.studies.seeds import spread
from minigan.training import run_record
from minigan.training.run_record import THUMBNAILS, Points


def summary(cells: list[Cell], out: Path) -> list[str]:
    """A table in Markdown: last and best score, mean over the seeds, standard deviation and error.

    The score is what all finished runs logged (--score-every), a FID if there is one; else the thumbnail distance.
    """
    runs = {cell.name: run_record.find(out / cell.name) for cell in cells}
    logged = {name: run_record.courses(run.log) for name, run in runs.items() if run is not None and run.finished}
    failed = {name for name, run in runs.items() if run is not None and run.failed}
    measure = _measure(list(logged.values()))
    pick = max if stored_scores.better(measure.split()[0]) > 0 else min
    rows = [["method", "setting", "seeds", "last", "sd", "se", "best", "sd", "se", "notes"]]
    for method, setting in dict.fromkeys((cell.method, cell.setting) for cell in cells):
        mine = [cell.name for cell in cells if (cell.method, cell.setting) == (method, setting)]
        courses = [list(logged[name][measure].values()) for name in mine if measure in logged.get(name, {})]
        lost = len(failed & {*mine})
        note = f"{lost} not finite" if lost else ""
        last, best = _mean([values[-1] for values in courses]), _mean([pick(values) for values in courses])
        rows.append([method, setting, f"{len(courses)} of {len(mine)}", *last, *best, note])
    what = f"{measure} (--score-every)" if measure != THUMBNAILS else \
        "Frechet distance of 8 x 8 thumbnails, less is nearer to the data (minigan/metrics/thumbnails.py)"
    return [*markdown(rows, range(2, 9)), "", f"{what}; last: at the end of a run, best: at its best moment; sd: "
            "standard deviation over the seeds, se: standard error of the mean."]


def _measure(logged: list[dict[str, Points]]) -> str:
    """The score that all of these runs logged, a FID if there is one; the thumbnail distance if there is none."""
    common = [name for name in logged[0] if all(name in courses for courses in logged)] if logged else []
    scores = [name for name in common if name != THUMBNAILS]
    return run_record.leading(scores) if scores else THUMBNAILS


def _mean(values: list[float]) -> list[str]:
    """Mean, standard deviation and standard error, as three cells of the table."""
    if not values:
        return ["-", "-", "-"]
    if len(values) == 1:
        return [f"{values[0]:.3f}", "-", "-"]
    several = np.array(values)
    return [f"{value:.3f}" for value in (several.mean(), spread(several), spread(several, error=True))]
