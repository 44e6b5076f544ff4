"""A run's folder: what was asked, on which machine, what happened, and the images and checkpoints of it.

    experiment.json   the experiment, versions, machine, git revision; written before the first iteration, and once more
                      at the very end, with "done": true
    log.jsonl         one JSON object a line: iteration, seconds, losses, learning rates, spectral norms, alarms if any;
                      now and then "thumbnails" and "diversity" (metrics/thumbnails.py), and "scores"; where lines were
                      lost, one with "lost" says which
    diagnostics.jsonl the same for --diagnose; diagnosis/diagnostics.py says what is in a line
    samples/          a grid of samples from the same latents every so often
    samples.png       the newest of them; film.png and progress.gif: all of them, at a glance
    events.out.tfevents.minigan   numbers and samples for TensorBoard (--tensorboard)
    checkpoint-*.h5   the newest two; best-*.h5: that of the best score (--score-every)
    scores.json       what minigan score measured, nearest.png beside it
    drawn.png         what minigan sample drew last, if it was not told another place
    images.h5         of a run on an array (minigan.train): the images and labels, packed (data/packed.py)
    failed.txt        of a run that diverged: which loss or weight was not finite, and when
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse, reason
from minigan.experiment.experiment import Experiment, from_dict, recorded, to_dict
from minigan.formats.locks import Busy, say_none, take
from minigan.formats.untrusted import cost_of_json, from_json, is_number, kind_of, memory, open_file, read_json
from minigan.formats.whole import append, make_folder, move_folder, remove, remove_dead, sync_file, write_whole
from minigan.parallel.mpi import untold

IMAGES = "images.h5"
LONGEST = 4 << 20  # bytes of a line of a log; a diagnosis with all spectra of the largest networks has some 100,000
MOST_OF_A_LINE = 32 << 20  # bytes that it may take in memory
EVENTS = "events.out.tfevents.minigan"  # TensorBoard looks for "tfevents"
LARGEST = 1 << 20  # bytes of an experiment.json

# What else of a run's is removed where a run is to be replaced: nothing that minigan did not write.
OWN = ("log.jsonl", "diagnostics.jsonl", "scores.json", "samples.png", "film.png", "progress.gif",
       "nearest.png", "drawn.png", "failed.txt", EVENTS)
CHECKPOINTS, SAMPLES = r"(checkpoint|best)-[0-9]{7,}\.h5", r"samples-[0-9]{7,}\.png"


def check_new(folder: Path, overwrite: bool = False, moved: bool = False) -> None:
    """WrongUse if the folder cannot become a new run's, or a moved one's, because of what is there already."""
    another = "choose another path" if moved else "choose another --out"
    remove_dead(folder, "experiment.json")  # of one that was killed when it had nothing else yet
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            raise WrongUse(f"{nearest} is {kind_of(nearest)}; {another}")
        inside = sorted(path.name for path in folder.iterdir()) if nearest == folder else []
    except OSError as error:
        raise FailedWork(f"{folder} cannot be looked at ({error.strerror or error})") from None
    if not os.access(nearest, os.W_OK):
        raise FailedWork(f"{nearest} is not writable; {another}")
    is_run = _is_ours(folder)
    refuse_link(folder / "samples")
    if inside and not (overwrite and is_run):
        if not is_run:
            raise WrongUse(f"{folder} exists already and holds other files, which stay untouched; {another}")
        go_on = f"go on with it (minigan train --resume {shlex.quote(str(folder))}), " * (not imported_from(folder))
        what = another if moved else f"{go_on}replace it (--overwrite) or {another}{untold()}"
        raise WrongUse(f"{folder} exists already and holds a run; {what}")


def create(folder: Path, experiment: Experiment, provenance: dict[str, Any], overwrite: bool = False) -> None:
    """Make the run's folder and write experiment.json; of a run to overwrite, remove its files and no others.

    provenance: on what the run is made, engine.machine.provenance.
    """
    check_new(folder, overwrite)
    try:
        make_folder(folder)
        if _has_own_images(folder) and experiment.data_root != own_images(folder):
            remove(folder / IMAGES)  # else they are to be trained on once more, or replaced, or somebody else's
        remove(*(path for place, names in ((folder, CHECKPOINTS), (folder / "samples", SAMPLES)) if place.is_dir()
                 for path in place.iterdir() if re.fullmatch(names, path.name)), *(folder / name for name in OWN))
    except OSError as error:
        raise FailedWork(f"{folder} cannot be made ({error.strerror or error})") from None
    write_experiment(folder, experiment, provenance)


def prepare(folder: Path) -> None:
    """Make the folder of samples, and remove failed.txt and what a kill may have left half-written."""
    refuse_link(folder / "samples")
    try:
        make_folder(folder / "samples")
        remove(folder / "failed.txt")  # it goes on
    except OSError as error:
        raise FailedWork(f"{folder / 'samples'} cannot be made ({error.strerror or error})") from None
    for place in (folder, folder / "samples"):
        remove_dead(place, "experiment.json", "checkpoint-*.h5", "best-*.h5", *OWN, "samples-*.png")


def refuse_link(inner: Path) -> None:
    """FailedWork if a folder within a run is a link: what it names is somebody else's."""
    if inner.is_symlink():
        raise FailedWork(f"{inner} is a link, which is not followed; remove it")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Callable[[], bool]]:
    """Inside, no other process trains into this folder, which is made if need be. Busy if one does already.

    Gives a function that says whether the folder is still there: not removed, moved, or another one by now.
    """
    try:
        make_folder(folder)
        handle = os.open(folder, os.O_RDONLY) if os.name == "posix" else None
    except OSError as error:
        raise FailedWork(f"{folder} cannot be made ({error.strerror or error})") from None
    if handle is None:  # Windows has no flock
        yield folder.is_dir
        return
    try:
        taken = take(handle)
        if taken is False:
            raise Busy(f"{folder} is being trained by another process; wait until it is done, or choose another "
                       f"--out{untold()}")
        if taken is None:
            say_none(folder)
        yield lambda: _is_folder(folder, handle)
    finally:
        os.close(handle)  # gives the lock back


def relocate(folder: Path, to: Path) -> None:
    """Move a run's folder to a place that check_new allows. WrongUse, FailedWork; then it is where it was."""
    if folder.resolve() in to.resolve().parents:
        raise WrongUse(f"{to} lies in {folder}, which cannot be moved into itself; choose another path")
    try:
        move_folder(folder, to)
    except OSError as error:
        raise FailedWork(f"{folder} cannot be moved to {to} ({error.strerror or error}); it is where it was") from None


def write_experiment(folder: Path, experiment: Experiment, provenance: dict[str, Any]) -> None:
    """experiment.json: the experiment, and on what it runs; of a run that is not done."""
    _write_record(folder, {"experiment": to_dict(experiment)} | provenance | {"done": False})


def write_done(folder: Path, done: bool) -> None:
    """Say in experiment.json whether all of the run is there: the last that a training writes."""
    record = _record(folder / "experiment.json")
    if record.get("done") is not done:
        _write_record(folder, record | {"done": done})


def is_done(folder: Path) -> bool | None:
    """Whether experiment.json says that all of the run is there; None of runs of minigan 0.1, which does not say."""
    done = _record(folder / "experiment.json").get("done")
    return done if isinstance(done, bool) else None


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    write_whole(folder / "experiment.json", (json.dumps(record, indent=2) + "\n").encode(), parents=False)


def read_record(folder: Path) -> tuple[Experiment, dict[str, Any]]:
    """A run's experiment, and the machine on which it was made, {} if experiment.json does not say.

    WrongUse if the folder is no run's, FailedWork if its experiment.json is damaged.
    """
    path = folder / "experiment.json"
    if not is_run(folder):
        raise WrongUse(f"{folder} is not a run: it has no experiment.json; expected a folder that minigan train made")
    if is_damaged(folder) and checkpoints_in(folder):
        raise FailedWork(f"{path} is missing, empty or cut off; to rebuild it from a checkpoint, and go on: "
                         f"minigan train --resume {shlex.quote(str(folder))}")
    record = _record(path)
    machine = record.get("machine")
    e = from_dict(record.get("experiment"), str(path))
    if e.dataset == "packed" and e.data_root and Path(e.data_root).name == IMAGES and (folder / IMAGES).is_file():
        e = dataclasses.replace(e, data_root=own_images(folder))  # they move with the folder
    return e, machine if isinstance(machine, dict) else {}


def beside_learned(folder: Path, e: Experiment) -> dict[str, Any]:
    """What a checkpoint holds so that experiment.json can be rebuilt from it: nothing, if all is as by default."""
    found = {name: value for name, value in recorded(e).items()  # looked at or scored or not: the same bytes
             if name not in ("graph", "diagnose") and not name.startswith("score")}
    if found.get("data_root") == own_images(folder):  # the same bytes in whatever folder
        found["data_root"] = IMAGES
    return {"recorded": found} if found else {}


def own_images(folder: Path) -> str:
    """Where a run on an array keeps its images."""
    return os.path.abspath(folder / IMAGES)


def imported_from(folder: Path) -> str:
    """The tool that trained a run's weights, and the names of its files; "" if minigan trained them."""
    made_of = _record(folder / "experiment.json").get("imported")
    if not isinstance(made_of, dict):
        return ""
    files = made_of["files"] if isinstance(made_of.get("files"), dict) else {}
    return f"{made_of.get('tool')}'s {', '.join(map(str, files)) or 'weights'}"


def read_experiment(folder: Path) -> Experiment:
    """The experiment of a run's folder; errors as of `read_record`."""
    return read_record(folder)[0]


def is_run(folder: Path) -> bool:
    """Whether a run was begun in the folder."""
    # os.path: False, too, for what cannot be a name
    return os.path.isfile(folder / "experiment.json") or bool(checkpoints_in(folder))


def is_damaged(folder: Path) -> bool:
    """Whether a run's experiment.json is missing, empty or cut off, so that a checkpoint says more."""
    path = folder / "experiment.json"
    try:
        if path.stat().st_size <= LARGEST:
            read_json(path, LARGEST)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    except ValueError:
        return True
    return False


def checkpoints_in(folder: Path, kind: str = "checkpoint") -> list[tuple[int, Path]]:
    """(iteration, path) of a run's checkpoints, newest first, readable or not; kind: checkpoint, best."""
    if not os.path.isdir(folder):
        return []
    names = ((re.fullmatch(rf"{kind}-([0-9]{{7,}})\.h5", path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), path) for match, path in names if match), reverse=True)


def write_failure(folder: Path, text: str) -> None:
    """failed.txt: why the run cannot go on."""
    write_whole(folder / "failed.txt", f"{text}\n".encode(), parents=False)


def read_failure(folder: Path) -> str | None:
    """What failed.txt says, its first 10,000 characters; None if there is none."""
    path = folder / "failed.txt"
    try:
        with open_file(path) as file:
            return file.read(10_000).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FailedWork(f"{path} cannot be read ({error.strerror or error})") from None


class Log:
    """log.jsonl or diagnostics.jsonl: one object a line, flushed, so that a reader sees whole lines of a run that is
    going on."""

    def __init__(self, folder: Path, start: int, name: str = "log.jsonl", expected: int = 0):
        """Keep the lines up to iteration `start` (a resumed run repeats what came after its checkpoint).

        expected: the iteration of a line that must be there. If it is not, a line says from where to where some are
        lost; `lost` is that text, "" if none are.
        """
        self.path, self.lost = folder / name, ""
        kept = [line for line in read_log(folder, name) if line["iteration"] <= start]
        last = kept[-1]["iteration"] if kept else 0
        if last < expected:
            self.lost = f"the lines of iterations {last + 1:,} to {expected:,} are lost"
            kept.append({"iteration": start, "seconds": kept[-1]["seconds"] if kept else 0.0, "lost": self.lost})
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode(), parents=False)
        self.kept, self.seconds = kept, kept[-1]["seconds"] if kept else 0.0

    def add(self, **values: Any) -> None:
        append(self.path, (json.dumps(values) + "\n").encode(), "; the checkpoints are untouched")

    def sync(self) -> None:
        """Wait until the disk has all lines: what is saved afterwards counts on them."""
        try:
            sync_file(self.path)
        except OSError as error:
            raise FailedWork(f"{self.path} cannot be written ({error.strerror or error}); "
                             "the checkpoints are untouched") from None


def read_log(folder: Path, name: str = "log.jsonl") -> list[dict[str, Any]]:
    """The whole lines of a run's log, oldest first; a line that was cut off by a kill is left out, and so is what is no
    line of a training's. FailedWork if it would take too much memory."""
    path, found, cost = folder / name, [], 0
    most = memory() // 4
    try:
        with open_file(path) as file:
            while line := file.readline(LONGEST):
                if not line.endswith(b"\n") and len(line) == LONGEST:  # the rest of it comes as lines of its own
                    cost += LONGEST
                elif values := _logged(line):
                    found.append(values)
                    cost += cost_of_json(line)
                if cost > most:
                    raise FailedWork(f"{path} would take more than {most / 2**30:,.1f} GiB, a quarter of the memory "
                                     "that this process may have")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FailedWork(f"{path} cannot be read ({error.strerror or error})") from None
    return found


def _logged(line: bytes) -> dict[str, Any] | None:
    """A line of a log; None for what is none."""
    if cost_of_json(line) > MOST_OF_A_LINE:
        return None
    try:
        values = from_json(line.decode("utf-8", "replace"))
    except ValueError:
        return None
    return values if isinstance(values, dict) and type(values.get("iteration")) is int \
        and abs(values["iteration"]) < 10**15 and is_number(values.get("seconds")) and 0 <= values["seconds"] < 1e12 \
        else None


def _has_own_images(folder: Path) -> bool:
    """Whether images.h5 of the run in a folder, if any, is the run's."""
    try:
        return read_experiment(folder).data_root == own_images(folder)
    except (FailedWork, WrongUse):
        return False


def _is_folder(folder: Path, handle: int) -> bool:
    """Whether the open folder still has this name."""
    try:
        return os.path.samestat(os.stat(folder), os.fstat(handle))
    except OSError:
        return False


def _record(path: Path) -> dict[str, Any]:
    """What an experiment.json holds."""
    try:
        record = read_json(path, LARGEST)
    except (OSError, ValueError) as error:
        raise FailedWork(f"{path} cannot be read ({reason(error)})") from None
    if not isinstance(record, dict):
        raise FailedWork(f"{path} holds a {type(record).__name__}; expected what minigan train wrote")
    return record


def _is_ours(folder: Path) -> bool:
    """Whether the folder's experiment.json is ours, and not another program's."""
    try:
        record = _record(folder / "experiment.json")
    except FailedWork:
        return False
    return isinstance(record.get("machine"), dict) and "minigan" in record["machine"] and "experiment" in record
