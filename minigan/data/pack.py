"""Packs a data set, once, into the file that packed.py reads; an interrupted packing is gone on with.

The HDF5 structure is written first, with room for all images; it never changes while the images are put into their
places, so a kill at any moment leaves a sound file. How far it is stands beside it in OUT.part.json, which is replaced
whole, after the images before it have reached the disk. The file gets its name when all of it is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import zlib
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minigan import __version__
from minigan.data import datasets
from minigan.data.dataset import Source
from minigan.data.packed import CRC, FORMAT, VERSION, Layout
from minigan.errors import FailedWork, WrongUse, counted
from minigan.formats.locks import Busy, alone
from minigan.formats.progress import Progress, progress_bar, to_stderr
from minigan.formats.untrusted import open_file, read_json
from minigan.formats.whole import beside, finish, make_folder, open_lasting, remove, sync_open, write_all, write_whole

CHUNK = 1 << 20  # bytes
LABELS = 1 << 16  # labels in a chunk
NEWER = ("follow_links", "large_images")  # choices that files begun by earlier versions do not name: they are off there
SYNC_EVERY = 5.0  # seconds of work that a power cut may cost


def pack(dataset: str, out: Path, *, overwrite: bool = False, say: Any = to_stderr,
         progress: Progress = progress_bar, **chosen: Any) -> str:
    """Pack the data set `dataset` into the file `out`; returns a line that says what was written.

    chosen: root, split, size, fit, resize, crop, skip_bad, follow_links, large_images, seed, as for datasets.load.
    An unfinished file (out.part) that was begun with the same data and choices is gone on with: the images that are
    in it are read back once, for the checksum. One that stopped at images that cannot be used is gone on with when they
    are repaired, and gives way to other choices, such as skip_bad. WrongUse if out exists, or if an unfinished file was
    begun with other data or choices.
    """
    if dataset == "packed":
        raise WrongUse("pack: the data set is packed already; choose another one")
    _tidy(out)
    _check_new(out, overwrite)
    source = datasets.open_source(dataset, say=say, progress=_renamed(progress), **chosen)
    made = {"dataset": dataset, **{name: None if value is None else str(value) if name == "root" else value
                                   for name, value in sorted(chosen.items()) if value or name not in NEWER}}
    return write(source, made, out, overwrite, say)


def write(source: Source, made: dict[str, Any], out: Path, overwrite: bool = False, say: Any = to_stderr) -> str:
    """Write a source's images into the packed file `out`; made: how they came about, for the file.

    WrongUse if it exists and is not to be overwritten, if another process writes it, or as `pack` says.
    """
    made = {**made, "minigan": __version__, "files": source.identity, "from": source.where}
    part = out.with_name(out.name + ".part")
    try:
        make_folder(out.parent)
        with alone(out, f"{part} is being written by another process; wait until it is done"):
            _check_new(out, overwrite)  # another process may have been quicker
            writer = _Writer(part, source, made)
            try:
                count = writer.run(source, say)
            finally:
                writer.close()
            writer.finish(count)
            finish(part, out)
            remove(writer.record)
    except OSError as error:
        raise FailedWork(f"{error.filename or part}: cannot be written ({error.strerror or error}); call this again to "
                         "go on") from None
    left_out = f", {source.shape[0] - count:,} left out" if count < source.shape[0] else ""
    size = out.stat().st_size
    return (f"{out}: {counted(count, 'image')} of {source.shape[2]} x {source.shape[1]} pixels{left_out}, "
            f"{size / 1e6:,.1f} MB")


def check(path: Path, progress: Progress = progress_bar) -> str:
    """Read all of a packed file and compare its checksums; returns a line. FailedWork if it is damaged."""
    layout = Layout(path)
    if not layout.finished:
        raise FailedWork(f"{path}: is not finished; call minigan pack again to go on with it")
    with open_file(path) as file:
        for row, name in enumerate(("images", "labels")):
            digest, n = _Digest(prod(layout.shapes["images"][1:])), layout.shapes[name][0]
            _digest(file, layout, name, n, digest, progress if name == "images" else lambda *_: None)
            if digest.digest() != layout.digests[row].tobytes():
                raise FailedWork(f"{path}: its {name} do not match their checksum; the file is damaged, pack it again")
            if name == "images" and CRC in layout.shapes and layout.numbers(CRC, "<u4").tolist() != digest.crcs:
                raise FailedWork(f"{path}: its checksums of single images are damaged, pack it again")
    return f"{path}: {counted(layout.shapes['images'][0], 'image')}, checksums right"


class _Digest:
    """SHA-256 of all bytes, and CRC-32 of every `size` of them."""

    def __init__(self, size: int):
        self.all, self.size = hashlib.sha256(), size
        self.crcs: list[int] = []
        self.crc = self.have = 0  # of the one that is going on

    def update(self, data: bytes) -> None:
        self.all.update(data)
        view = memoryview(data)
        while view:
            part = view[:self.size - self.have]
            self.crc, self.have, view = zlib.crc32(part, self.crc), self.have + len(part), view[len(part):]
            if self.have == self.size:
                self.crcs.append(self.crc)
                self.crc = self.have = 0

    def digest(self) -> bytes:
        return self.all.digest()


def _tidy(out: Path) -> None:
    """Remove what a call left that was killed when `out` had its name already: the record of the unfinished file."""
    part = out.with_name(f"{out.name}.part")
    record = part.with_name(f"{part.name}.json")
    if out.is_file() and not part.exists() and _known(record) is not None:
        with contextlib.suppress(Busy, OSError), alone(out, ""):
            if not part.exists():
                remove(record)


def _known(record: Path) -> dict[str, Any] | None:
    """The record of an unfinished file, of an earlier, interrupted call."""
    try:
        known = read_json(record, 1 << 20)
        if isinstance(known["made"], dict) and type(known["done"]) is type(known["count"]) is int:
            return known
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _check_new(out: Path, overwrite: bool) -> None:
    if out.is_dir() or out.exists() and not overwrite:
        raise WrongUse(f"{out} exists already; choose another file{'' if out.is_dir() else ', or --overwrite'}")


def _renamed(progress: Progress) -> Progress:
    return lambda done, total, what: progress(done, total, "packing" if what == "reading images" else what)


def _digest(file: Any, layout: Layout, name: str, n: int, digest: Any, progress: Progress) -> None:
    """Add the first n rows of a dataset to a digest."""
    row = prod(layout.shapes[name][1:]) * (8 if name == "labels" else 1)
    done = 0
    for place, rows in layout.runs(name, 1):
        rows = min(rows, n - done)
        if rows <= 0:
            break
        file.seek(place)
        left = rows * row
        while left:
            data = file.read(min(left, 1 << 20))
            if not data:
                raise FailedWork(f"{layout.path}: ends early; the file was cut off")
            digest.update(data)
            left -= len(data)
        done += rows
        progress(done, n, "checking")


class _Writer:
    """The unfinished file: its structure, its record of what is in it, and the images' places."""

    def __init__(self, part: Path, source: Source, made: dict[str, Any]):
        self.part, self.record = part, part.with_name(part.name + ".json")
        self.made = json.loads(json.dumps(made))
        self.done = self.count = 0  # images of the source that are dealt with, and that are in the file
        self.refused = False  # whether some of the source's images cannot be used
        known = _known(self.record) if part.is_file() else None
        if known is not None and known["made"] != self.made and known.get("refused"):
            known = None  # it could not be finished as it was begun; anew, with what was advised
            remove(part)
        if known is not None and known["made"] != self.made:
            differ = [key for key in self.made.keys() | known["made"].keys()
                      if self.made.get(key) != known["made"].get(key)]
            raise WrongUse(f"{part} was begun with other choices ({', '.join(sorted(differ))}); remove it, or choose "
                           "another file")
        if known is not None:
            self.done, self.count = known["done"], known["count"]
        else:
            remove(self.record)  # of a file that is gone
            _create(part, source, self.made)
            self._write_record()
        self.file = open_lasting(part, 0)
        self.layout = Layout(part)
        rows = (source.shape[0], self.count if self.done == source.shape[0] else source.shape[0])  # cut already, or not
        if (self.layout.shapes["images"] not in [(n, *source.shape[1:]) for n in rows]
                or not 0 <= self.count <= self.done <= source.shape[0]):
            raise FailedWork(f"{part}: does not fit its data any more; remove it and call this again")
        self.synced = time.monotonic()

    def run(self, source: Source, say: Any) -> int:
        """Put in what is missing; returns the number of images that are in the file."""
        digests = hashlib.sha256(), hashlib.sha256()
        if self.done:
            say(f"going on with {self.part}: {self.done:,} of {source.shape[0]:,} images are there")
            for name, digest in zip(("images", "labels"), digests, strict=True):
                _digest(self.file, self.layout, name, self.count, digest, lambda *_: None)
        if self.done < source.shape[0]:
            try:
                self._fill(source, digests)
            except FailedWork:  # images that cannot be used: repaired ones are gone on with
                self.refused = True
                self._save()
                raise
        if not self.count:
            raise FailedWork(f"{source.where}: holds no images that can be used")
        self._save()
        self.digests = b"".join(digest.digest() for digest in digests)
        return self.count

    def _fill(self, source: Source, digests: tuple[Any, Any]) -> None:
        with contextlib.closing(source.blocks(self.done)) as blocks:
            for end, images, index in blocks:
                labels = source.labels[index].astype("<i8")
                for name, rows, digest in (("images", images, digests[0]), ("labels", labels, digests[1])):
                    self._put(name, rows)
                    digest.update(np.ascontiguousarray(rows).data)
                if CRC in self.layout.shapes:  # a file that an earlier version began has none
                    self._put(CRC, np.array([zlib.crc32(np.ascontiguousarray(image)) for image in images], "<u4"))
                self.done, self.count = end, self.count + len(images)
                if time.monotonic() - self.synced > SYNC_EVERY:
                    self._save()

    def finish(self, count: int) -> None:
        """Cut the room for images that were left out; write the checksums, which make the file a finished one."""
        if count < self.layout.shapes["images"][0]:
            with h5py.File(self.part, "r+", locking=False) as file:
                for name in {"images", "labels", CRC} & file.keys():
                    file[name].resize(count, axis=0)
        with open_lasting(self.part, 0) as file:
            file.seek(int(self.layout.chunks["sha256"][0]))
            write_all(file.fileno(), self.digests)

    def close(self) -> None:
        self.file.close()

    def _put(self, name: str, rows: np.ndarray) -> None:
        """Write rows behind the `count` that are there."""
        per, chunks = self.layout.per[name], self.layout.chunks[name]
        size, at = rows[:1].nbytes, 0
        while at < len(rows):
            chunk, inside = divmod(self.count + at, per)
            n = min(per - inside, len(rows) - at)
            self.file.seek(int(chunks[chunk]) + inside * size)
            write_all(self.file.fileno(), np.ascontiguousarray(rows[at:at + n]).data.cast("B"))
            at += n

    def _save(self) -> None:
        sync_open(self.file.fileno(), self.part)
        self._write_record()
        self.synced = time.monotonic()

    def _write_record(self) -> None:
        record = {"made": self.made, "done": self.done, "count": self.count} | (
            {"refused": True} if self.refused else {})
        write_whole(self.record, json.dumps(record).encode())


def _create(path: Path, source: Source, made: dict[str, Any]) -> None:
    """The HDF5 structure with room for all images: sparse where the file system can."""
    state = {"format": FORMAT, "version": VERSION, "classes": list(source.classes), "made": made}
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    count, *shape = source.shape
    per = max(1, min(count, CHUNK // prod(shape)))
    with beside(path) as (_, part), h5py.File(part, "w", libver=("earliest", "v108"), locking=False) as file:
        for name, dims, dtype, chunk in (("images", (count, *shape), "|u1", (per, *shape)),
                                         ("labels", (count,), "<i8", (min(count, LABELS),)),
                                         (CRC, (count,), "<u4", (min(count, LABELS),))):
            create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            create.set_chunk(chunk)
            create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            create.set_obj_track_times(False)
            space = h5py.h5s.create_simple(dims, (h5py.h5s.UNLIMITED, *dims[1:]))
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, create)
        file.create_dataset("state", data=text, track_times=False)
        file.create_dataset("sha256", data=np.zeros((2, 32), np.uint8), track_times=False)
