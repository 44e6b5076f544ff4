"""The checkpoints of a run's folder: which there are, which is the newest that can be read, which are kept."""

from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse
from minigan.formats.hdf5_state import Unreadable, read, save
from minigan.formats.whole import remove, remove_dead
from minigan.training.run_folder import checkpoints_in


def save_in(folder: str | Path, iteration: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Save `state` as folder/checkpoint-0001000.h5, then remove all but the newest `keep` up to there.

    Checkpoints of later iterations, which exist if a run was resumed from an older one, stay as they are
    until they are reached. What an earlier, killed save left behind is removed first. The folder must exist: one that
    was removed under a training is not made anew.
    """
    if keep < 1 or iteration < 0:
        raise WrongUse(f"checkpoint: keep {keep}, iteration {iteration}; expected keep >= 1, iteration >= 0")
    folder = Path(folder)
    path = folder / f"checkpoint-{iteration:07d}.h5"
    try:
        remove_dead(folder, "checkpoint-*.h5")
        save(path, state, parents=False)
        remove_older(folder, iteration, keep)
    except OSError as error:
        raise FailedWork(f"checkpoints cannot be kept in {folder} ({error.strerror or error})") from None
    return path


def remove_older(folder: Path, iteration: int, keep: int = 2) -> None:
    """Of the checkpoints up to `iteration` remove all but the newest `keep`. OSError."""
    older = [old for number, old in checkpoints_in(folder) if number <= iteration]
    remove(*older[keep:])


def newest(folder: str | Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest checkpoint in `folder` that can be read: path, state, and a line per unreadable newer one.

    Raises WrongUse if there is no checkpoint at all, FailedWork if none can be read.
    """
    folder = Path(folder)
    found = checkpoints_in(folder)
    if not found:
        raise WrongUse(f"{folder}: no checkpoint here; expected files named checkpoint-0001000.h5")
    unreadable = []
    for _, path in found:
        try:
            state = read(path)
        except Unreadable as error:
            unreadable.append(f"{path.name} cannot be read ({error})")
            continue
        return path, state, [f"{line}; using {path.name}" for line in unreadable]
    raise FailedWork(f"{folder}: no checkpoint can be read: {'; '.join(unreadable)}")


def save_best(folder: str | Path, iteration: int, state: dict[str, Any]) -> Path:
    """Save `state` as folder/best-0001000.h5, then remove the best one before it."""
    path = Path(folder) / f"best-{iteration:07d}.h5"
    save(path, state, parents=False)
    remove(*(old for _, old in checkpoints_in(Path(folder), "best") if old != path))
    return path


def best(folder: str | Path) -> Path | None:
    """The checkpoint that `save_best` wrote last; None if there is none."""
    return next((path for _, path in checkpoints_in(Path(folder), "best")), None)
