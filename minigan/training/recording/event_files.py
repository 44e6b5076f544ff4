"""TensorBoard's event file of a run: the numbers of its logs and its grids of samples. Needs the extra "tensorboard".

It is made from what the run's folder holds, so that a run that goes on has no step twice: the events of the lines and
images up to its checkpoint, in the order in which they came, and then those that come. Names are those of log.jsonl,
nested ones joined by "/"; a diagnosis's begin with "diagnosis/". Times are those of the log: without the time between a
stop and its resumption.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from minigan.errors import FailedWork
from minigan.formats.plain_text import whole_characters
from minigan.formats.untrusted import is_number, open_file, read_at_most
from minigan.formats.whole import append, write_whole
from minigan.training import run_folder
from minigan.training.recording import sample_grids
from minigan.training.run_record import Log, flat

MOST_IMAGE = 64 << 20  # bytes of a grid of samples
VERSION = "brain.Event:2"  # of the format, which the first event says


def check() -> None:
    """FailedWork with one line if the package tensorboard is missing."""
    _library()


def is_there(out: Path, say: Callable[[str], None]) -> bool:
    """Whether the run has an event file that can go on; says so if only the package is missing for that."""
    if not (out / run_folder.EVENTS).is_file():
        return False
    try:
        check()
    except FailedWork as error:
        say(f"{out / run_folder.EVENTS} does not go on: {error}; it will be whole when the run goes on with it")
        return False
    return True


def of_finished(out: Path, last: int) -> None:
    """The event file of a run whose iterations are done, `last` the last of them."""
    kept, diagnoses = ([line for line in run_folder.read_log(out, name) if line["iteration"] <= last]
                       for name in ("log.jsonl", "diagnostics.jsonl"))
    Events(out, kept, diagnoses, last)


class Events:
    """The event file of a run that goes on."""

    def __init__(self, out: Path, kept: Log, diagnoses: Log, start: int):
        """Write what the run has so far: the lines kept of its logs, and its images up to iteration `start` (-1: none).

        A file that holds just that stays as it is, and a TensorBoard that shows it goes on.
        """
        self.path, self.library = out / run_folder.EVENTS, _library()
        self.seconds = 0.0  # of the newest line of the log
        self.began = _began(self.path) or time.time() - (kept[-1]["seconds"] if kept else 0.0)
        images = [(at, path) for at, path in sample_grids.sample_grids(out / "samples") if at <= start]
        found: list[tuple[int, int, dict[str, Any] | Path]] = [
            *((line["iteration"], 0, line) for line in kept), *((line["iteration"], 1, line) for line in diagnoses),
            *((at, 2, path) for at, path in images)]
        records = [self._record(file_version=VERSION)]
        for at, order, what in sorted(found, key=lambda one: one[:2]):
            records.append(self._image(at, what) if isinstance(what, Path) else
                           self._numbers(what, "diagnosis" * order))
        data = b"".join(records)
        if not _holds(self.path, data):
            write_whole(self.path, data)

    def line(self, line: dict[str, Any]) -> None:
        """The numbers of a line of log.jsonl."""
        self._add(self._numbers(line))

    def diagnosis(self, line: dict[str, Any]) -> None:
        """Those of a line of diagnostics.jsonl, of each layer, too; no spectra."""
        self._add(self._numbers(line, "diagnosis"))

    def image(self, iteration: int) -> None:
        """The grid of samples of this iteration, as it lies in the run's folder."""
        self._add(self._image(iteration, self.path.parent / "samples" / f"samples-{iteration:07d}.png"))

    def _numbers(self, line: dict[str, Any], below: str = "") -> bytes:
        if not below:
            self.seconds = line["seconds"]
        before = f"{below}/" if below else ""
        values = [self.library.Summary.Value(tag=whole_characters(before + name), simple_value=value)
                  for name, value in flat(line).items() if is_number(value) and name not in ("iteration", "seconds")]
        return self._record(step=line["iteration"], summary=self.library.Summary(value=values))

    def _image(self, iteration: int, path: Path) -> bytes:
        try:
            data = read_at_most(path, MOST_IMAGE)
            with Image.open(BytesIO(data), formats=["PNG"]) as opened:
                width, height = opened.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return b""  # somebody else's file, or none: the numbers count
        image = self.library.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
        return self._record(step=iteration, summary=self.library.Summary(
            value=[self.library.Summary.Value(tag="samples", image=image)]))

    def _record(self, **event: Any) -> bytes:
        """An event as it stands in the file."""
        file = BytesIO()
        made = self.library.Event(wall_time=self.began + self.seconds, **event)
        self.library.RecordWriter(file).write(made.SerializeToString())
        return file.getvalue()

    def _add(self, record: bytes) -> None:
        append(self.path, record, "; the checkpoints are untouched")


@dataclass(frozen=True)
class _Library:
    """What is used of the package tensorboard."""

    Event: Any
    Summary: Any
    RecordWriter: Any


def _library() -> _Library:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except (ImportError, AttributeError, TypeError) as error:  # the latter two: an old one beside a new NumPy, protobuf
        raise FailedWork(f"--tensorboard needs the package tensorboard, 2.18 or later ({error}); pip install "
                         "'minigan[tensorboard]'") from None
    return _Library(Event, Summary, RecordWriter)


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file, and no link, has just these bytes."""
    try:
        return not path.is_symlink() and read_at_most(path, len(data)) == data
    except (OSError, ValueError):  # there is none, or it has more
        return False


def _began(path: Path) -> float | None:
    """When the run began, as the first event of its file says; None if there is none that could be read."""
    try:
        with open_file(path) as file:
            (length,) = struct.unpack("<Q", file.read(12)[:8])
            found = _library().Event.FromString(file.read(min(length, 1000)))
    except Exception:  # no file, or none of ours: it will be written anew
        return None
    return found.wall_time if found.file_version == VERSION and 0 < found.wall_time < 1e11 else None
