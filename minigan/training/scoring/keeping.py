"""What a scoring leaves behind: scores.json, with all that each score depends on, and nearest.png beside it."""

from __future__ import annotations

from pathlib import Path

from minigan.errors import WrongUse
from minigan.formats import image_files
from minigan.formats.whole import check_writable
from minigan.metrics import stored_scores
from minigan.training.scoring.options import Asked
from minigan.training.scoring.score import Result


def check_files(out: Path | None, asked: Asked, advice: str = "") -> None:
    """Before the work: WrongUse or FailedWork if `out`, or the file of statistics, cannot be written, or is another
    program's. advice: what to do then, for the end of a sentence."""
    if out is not None:
        if out.suffix != ".json":
            raise WrongUse(f"--out {out}: expected a name that ends with .json")
        check_writable(out, advice)
        stored_scores.read(out)
    if asked.write_stats is not None:
        if asked.write_stats.suffix != ".npz":
            raise WrongUse(f"--write-stats {asked.write_stats}: expected a name that ends with .npz")
        check_writable(asked.write_stats, "; choose another name")


def keep(found: Result, out: Path, best: bool, nearest: bool = True) -> None:
    """Add the scores to `out`; nearest: and write nearest.png beside it, if there is one."""
    stored_scores.append(out, [stored_scores.Stored(one, found.iteration, best) for one in found.scores])
    if nearest and found.nearest is not None:
        image_files.save_png(out.with_name("nearest.png"), found.nearest)
