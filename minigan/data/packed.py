"""A packed data set: one HDF5 file of images that training reads batch by batch, a few batches ahead.

    images   uint8 (N, S, S, C), in chunks, without filters
    labels   int64 (N,), in chunks; -1 where an image has none
    crc32    uint32 (N,), in chunks: of each image's bytes; files of minigan 0.1 have none
    state    JSON text as uint8: format, version, classes, how the file was made
    sha256   uint8 (2, 32): of all images' bytes in their order, and of all labels'; zeros until the file is finished

HDF5 describes the file, and any of its tools can read it. Since chunks without filters are plain bytes, their places
are looked up once and an image is then read from its place: neither whole chunks nor HDF5's lock on the way, and
memory holds no more than the batches that wait. The file is not trusted: what it says is checked before memory is
taken, and an image that is read must have its checksum (HDF5's own are of whole chunks, of which nobody reads one).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import os
import queue
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minigan.data.dataset import Dataset, Request
from minigan.errors import FailedWork, WrongUse, brief, counted, reason
from minigan.formats.untrusted import afford, check_file, from_json, open_file, what_file

FORMAT, VERSION = "minigan packed images", 1
AHEAD = 4  # batches that wait
MOST_STATE = 16 << 20  # bytes
LEAST_CHUNK = 1 << 17  # bytes; minigan pack makes chunks of half a MiB at least, but of the last one
DATASETS = ("images", "labels", "state", "sha256")
CRC = "crc32"


def packed(ask: Request) -> Dataset:
    """The data set "packed": what `minigan pack` wrote, read batch by batch while training."""
    if ask.root is None:
        raise WrongUse("data set 'packed' needs to know which file; give it with --data-root")
    data = load(ask.root)
    side = data.images.shape[1]
    if ask.size not in (None, side):
        raise WrongUse(f"{data.source}: its images have {side} x {side} pixels, not {ask.size}; leave --size out, or "
                       f"pack them again with --size {ask.size}")
    return data


def find(root: Path | None, split: str) -> Path | None:
    return root if root is not None and root.is_file() else None


def load(path: Path) -> Dataset:
    """The packed file's images, to be indexed like an array, its labels and classes. FailedWork for any other file."""
    if path.is_dir():
        raise FailedWork(f"{path}: is a folder, expected a file that minigan pack wrote")
    layout = Layout(path)
    if not layout.finished:
        raise FailedWork(f"{path}: is not finished; call minigan pack again to go on with it")
    labels = layout.numbers("labels", "<i8")
    if hashlib.sha256(labels.data).digest() != layout.digests[1].tobytes():
        raise FailedWork(f"{path}: its labels do not match their checksum; the file is damaged, pack it again")
    classes = layout.state.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise FailedWork(f"{path}: its classes are no list of names")
    if labels.min(initial=0) < -1 or labels.max(initial=-1) >= len(classes):
        raise FailedWork(f"{path}: holds labels that are no numbers of its {len(classes)} classes")
    made = str(layout.state.get("made", {}).get("dataset"))
    source = f"{path} (packed from {made}, {counted(len(labels), 'image')})"
    return Dataset(Images(path, layout), labels, tuple(classes), " ".join(source.split()))


class Images:
    """Packed images as an array that stays on disk: `images[index]` for an array of numbers, a slice or a number.

    prefetch() starts a thread that reads the coming batches; images[index] then only takes them.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path, layout: Layout | None = None):
        layout = layout or Layout(path)
        self.path, self.shape = path, layout.shapes["images"]
        self.digest = layout.digests[0].tobytes().hex()  # that of hashlib.sha256(all images)
        self._crc = layout.numbers(CRC, "<u4") if CRC in layout.shapes else None
        self.waited = 0.0  # seconds that images[index] took while a thread read ahead
        self._chunks, self._per = layout.chunks["images"], layout.per["images"]
        self._size = math.prod(self.shape[1:])  # bytes
        self._lock = threading.Lock()
        self._ahead: _Ahead | None = None
        self._file: Any = open_file(path, buffering=0)
        if hasattr(os, "posix_fadvise"):  # no readahead of neighbours that nobody asked for
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if self._ahead is not None:
            began = time.perf_counter()
            images = self._ahead.take(index)
            self.waited += time.perf_counter() - began
            if images is not None:
                return images
        if isinstance(index, (int, np.integer)):
            return self[np.array([index])][0]
        if isinstance(index, slice):
            index = np.arange(len(self))[index]
        return self.read(np.asarray(index))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """All of it, in memory: for whoever asks for an array."""
        return self[:].astype(dtype or np.uint8, copy=False)

    def read(self, index: np.ndarray) -> np.ndarray:
        """Images (len(index), H, W, C), read in the order in which they lie in the file."""
        index = index.astype(np.int64)
        index = np.where(index < 0, index + len(self), index)
        if index.ndim != 1 or len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"{self.path}: no such images among {len(self)}")
        places = self._chunks[index // self._per] + index % self._per * self._size
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        flat = images.reshape(len(index), self._size)
        if hasattr(os, "posix_fadvise"):  # a disk can look for all of them at once
            for place in places:
                os.posix_fadvise(self._file.fileno(), int(place), self._size, os.POSIX_FADV_WILLNEED)
        for i in np.argsort(places):
            view, place = memoryview(flat[i]), int(places[i])
            with self._lock:
                try:
                    self._file.seek(place)
                    while view:
                        n = self._file.readinto(view)
                        if not n:
                            raise FailedWork(f"{self.path}: ends within image {index[i]}; the file was cut off")
                        view = view[n:]
                except OSError as error:
                    raise FailedWork(f"{self.path}: cannot be read: {error.strerror or error}") from error
            if self._crc is not None and zlib.crc32(flat[i]) != self._crc[index[i]]:
                raise FailedWork(f"{self.path}: image {index[i]:,} does not match its checksum; the file is damaged, "
                                 "pack it again")
        return images

    def prefetch(self, batches: Any, ahead: int = AHEAD) -> None:
        """Read, from now on, the images of each batches.next() before they are asked for, at most `ahead` batches.

        batches: an object whose next() gives index arrays, such as training/batches.py's. It is copied, so that what
        is saved with a checkpoint is the state of the training, not that of the reader: another order, or a jump in it,
        makes images[index] read for itself.
        """
        self.stop()
        self._ahead = _Ahead(self, copy.deepcopy(batches), ahead)

    def stop(self) -> None:
        """End the thread."""
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def close(self) -> None:
        self.stop()
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


@contextlib.contextmanager
def reading_ahead(images: Any, batches: Any) -> Iterator[None]:
    """Inside, a thread reads the coming batches of images that stay on disk (Images.prefetch); others are there."""
    on_disk = isinstance(images, Images)
    if on_disk:
        images.prefetch(batches)
    try:
        yield
    finally:
        if on_disk:
            images.stop()


class _Ahead:
    """A thread that reads batches into a queue of bounded length."""

    def __init__(self, images: Images, batches: Any, ahead: int):
        self.queue: queue.Queue[tuple[np.ndarray, np.ndarray | Exception]] = queue.Queue(max(1, ahead))
        self.head: tuple[np.ndarray, np.ndarray | Exception] | None = None
        self.stopped = threading.Event()
        read = images.read  # the file, without a reference to the thread itself
        self.thread = threading.Thread(target=self._work, args=(read, batches), name="minigan-read", daemon=True)
        self.thread.start()

    def _work(self, read: Any, batches: Any) -> None:
        while not self.stopped.is_set():
            index = batches.next()
            try:
                item: tuple[np.ndarray, Any] = (index, read(index))
            except Exception as error:  # raised where the batch is asked for
                item = (index, error)
            while not self.stopped.is_set():
                try:
                    self.queue.put(item, timeout=0.1)
                    break
                except queue.Full:
                    pass
            if isinstance(item[1], Exception):
                return

    def take(self, index: Any) -> np.ndarray | None:
        """The next batch if that is the one asked for; None, and the batch stays, if it is another."""
        while self.head is None:
            try:
                self.head = self.queue.get(timeout=1)
            except queue.Empty:
                if not self.thread.is_alive():
                    return None
        if not np.array_equal(self.head[0], index):
            return None
        images, self.head = self.head[1], None
        if isinstance(images, Exception):
            raise images
        return images

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()


class Layout:
    """Where everything lies in a packed file, checked; the HDF5 file is closed again afterwards."""

    def __init__(self, path: Path):
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.chunks: dict[str, np.ndarray] = {}  # name -> where each chunk begins in the file, in order
        self.per: dict[str, int] = {}  # name -> rows of a chunk
        try:
            check_file(path)
            self.size = path.stat().st_size
            with h5py.File(path, "r", locking=False) as file:
                for name in DATASETS:
                    self._look(file, name)
                if CRC in file:
                    self._look(file, CRC)
                self.state = from_json(file["state"][()].tobytes())
                self.digests = file["sha256"][()]
        except FailedWork:
            what = what_file(path)
            if what:
                raise FailedWork(f"{path}: no packed file (it is {what})") from None
            raise
        except Exception as error:  # what h5py and json raise on broken bytes cannot be enumerated
            why = reason(error, 200)
            if "signature not found" in why:
                what = what_file(path)
                why = f"it is {what}" if what else "not an HDF5 file"
            elif "truncated" in why:
                why = "cut off"
            raise FailedWork(f"{path}: no packed file, or a damaged one ({why})") from None
        if not isinstance(self.state, dict) or self.state.get("format") != FORMAT:
            self._refuse("not a file that minigan pack wrote")
        if self.state.get("version") != VERSION:
            self._refuse(f"format version {brief(self.state.get('version'))}; this minigan reads version {VERSION}")
        shape = self.shapes["images"]
        if not (shape[1] == shape[2] and 4 <= shape[1] <= 1024 and shape[3] in (1, 3)):
            self._refuse(f"images of shape {shape}, expected (N, S, S, 1 or 3) with S from 4 to 1024")
        for name in ("labels", CRC):
            if self.shapes.get(name, shape[:1]) != shape[:1]:
                self._refuse(f"{shape[0]} images, but {name} of shape {self.shapes[name]}")

    @property
    def finished(self) -> bool:
        return bool(self.digests[0].any())

    def runs(self, name: str, size: int) -> list[tuple[int, int]]:
        """(place, count) of the pieces in which the rows of a dataset lie in the file; size: numbers in a row."""
        n, per = self.shapes[name][0], self.per[name]
        return [(int(at), min(per, n - i * per) * size) for i, at in enumerate(self.chunks[name])]

    def numbers(self, name: str, dtype: str) -> np.ndarray:
        """All numbers of a dataset of one axis."""
        parts = []
        with open_file(self.path) as file:
            for at, n in self.runs(name, 1):
                file.seek(at)
                parts.append(np.fromfile(file, dtype, n))
        return np.concatenate(parts)

    def _refuse(self, why: str) -> None:
        raise FailedWork(f"{self.path}: {why}")

    def _look(self, file: h5py.File, name: str) -> None:
        """Shape, chunks and places of one dataset, if all of it lies in this file as plain numbers."""
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
            self._refuse(f"holds no dataset '{name}': not a file that minigan pack wrote")
        data = file[name]
        expected, ndim = {"images": ("|u1", 4), "labels": ("<i8", 1), "state": ("|u1", 1), "sha256": ("|u1", 2),
                          CRC: ("<u4", 1)}[name]
        if data.shape is None or data.dtype.str != expected or data.ndim != ndim or 0 in data.shape:
            self._refuse(f"'{name}' is {data.dtype.str} {data.shape}, expected {expected} with {ndim} axes")
        nbytes = math.prod(data.shape) * data.dtype.itemsize
        if nbytes > self.size:
            self._refuse(f"'{name}' claims {nbytes:,} bytes, the file has {self.size:,}; it is cut off or damaged")
        create = data.id.get_create_plist()
        if create.get_nfilters() or create.get_external_count():
            self._refuse(f"'{name}' is packed by a filter or lies in another file")
        self.shapes[name] = data.shape
        if name in ("labels", CRC):
            afford(2 * nbytes, f"{self.path}: {data.shape[0]:,} {name}")
        if name == "state" and nbytes > MOST_STATE:
            self._refuse(f"'state' has {nbytes:,} bytes, expected at most {MOST_STATE:,}")
        if name in ("state", "sha256"):
            if create.get_layout() != h5py.h5d.CONTIGUOUS or name == "sha256" and data.shape != (2, 32):
                self._refuse(f"'{name}' is not stored as one plain block")
            self.chunks[name] = np.array([data.id.get_offset()])
            return
        if create.get_layout() != h5py.h5d.CHUNKED or data.chunks[1:] != data.shape[1:]:
            self._refuse(f"'{name}' is not stored in chunks of whole rows")
        per = data.chunks[0]
        starts = range(0, data.shape[0], per)
        if len(starts) > 16 + nbytes // LEAST_CHUNK:
            self._refuse(f"'{name}' lies in {len(starts):,} chunks, more than minigan pack makes")
        zeros = (0,) * (data.ndim - 1)
        places = [data.id.get_chunk_info_by_coord((start, *zeros)).byte_offset for start in starts]
        if any(place is None for place in places):
            self._refuse(f"'{name}' is not complete")
        row = nbytes // data.shape[0]
        self.per[name], self.chunks[name] = per, np.array(places, np.int64)
        last = max(place + min(per, data.shape[0] - start) * row
                   for place, start in zip(places, starts, strict=True))
        if min(places) < 0 or last > self.size:
            self._refuse(f"'{name}' reaches beyond the file's end ({last:,} of {self.size:,} bytes); it is cut off")
