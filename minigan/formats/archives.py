"""Reads packed files that may be anything, whoever made them: gzip, tar and zip as data, in bounded memory.

Nothing is unpacked to disk, no name in an archive is used as a path, and sizes are checked before memory is taken.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from minigan.errors import FailedWork, reason
from minigan.formats.untrusted import RATIO, SMALL, ZIP, check_unpacked, open_file, read_at_most, what_file, what_it_is


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """The file, unpacked if it is gzipped; what goes wrong while reading it becomes one line.

    Unless it is left by an error, what is gzipped is then read to its end, where its checksum is.
    """
    with _one_line(path), open_file(path) as file:
        head = file.read(512)
        if head:  # an empty file says so where what it holds is counted
            _refuse_others(path, head)
        packed = head.startswith(b"\x1f\x8b")
        file.seek(0)
        if not packed:
            yield file
            return
        stream: IO[bytes] = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        yield stream
        _read_to_end(stream, path)  # at its end stands the checksum


def _read_to_end(stream: IO[bytes], path: Path) -> None:
    packed, unpacked = path.stat().st_size, 0
    while block := stream.read(1 << 20):
        unpacked += len(block)
        if unpacked > max(SMALL, RATIO * packed):
            raise FailedWork(f"{path}: unpacks to more than {RATIO} times its size; not read")


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FailedWork(f"{path}: broken or cut off ({reason(error)}); remove it and get it again") from error
    except OSError as error:
        raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from error


def fill(stream: IO[bytes], view: memoryview, path: Path) -> None:
    """Fill the view of bytes with what comes next; FailedWork if less does."""
    at = 0
    while at < len(view):
        with _one_line(path):
            n = stream.readinto(view[at:at + (1 << 20)])  # type: ignore[attr-defined]
        if not n:
            raise FailedWork(f"{path}: broken or cut off ({len(view) - at} of {len(view)} bytes missing); get it again")
        at += n


def take(stream: IO[bytes], n: int, path: Path) -> bytes:
    """Exactly n bytes; taken in blocks, so that a promise costs no memory before it is kept."""
    blocks, left = [], n
    while left:
        with _one_line(path):
            block = stream.read(min(left, 1 << 20))
        if not block:
            raise FailedWork(f"{path}: broken or cut off ({left} of {n} bytes missing); get it again")
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def take_large(stream: IO[bytes], n: int, path: Path) -> bytearray:
    """The same of the one thing that a file is about: FailedWork, too, where it is far more than the file may hold, or
    than the memory."""
    packed, data = path.stat().st_size, bytearray()
    while len(data) < n:
        check_unpacked(len(data), packed, f"{path}: what it holds")
        with _one_line(path):
            block = stream.read(min(n - len(data), 1 << 20))
        if not block:
            raise FailedWork(f"{path}: broken or cut off ({n - len(data)} of {n} bytes missing); get it again")
        data += block
    return data


def read_whole(path: Path, most: int, archive: bool = False) -> bytes:
    """A file of at most `most` bytes, as it is.  archive: it may be a zip archive."""
    try:
        data = read_at_most(path, most)
    except OSError as error:
        raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise FailedWork(f"{path}: {error}") from None
    if not (archive and data.startswith(ZIP)):
        _refuse_others(path, data[:512])
    return data


def _refuse_others(path: Path, head: bytes) -> None:
    """FailedWork for an HTML page and the like in place of a file of data; head: how it begins."""
    what = (what_file(path) or "a zip archive") if head.startswith(ZIP) else what_it_is(head)
    if what:
        raise FailedWork(f"{path}: is {what}")


def tar_members(path: Path, wanted: set[str], most: int, most_in_all: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted regular files of a tar archive, gzipped or not, in its order.

    most: bytes that a wanted file may have; most_in_all: that the archive may unpack to.
    """
    for name, size, stream in tar_streams(path, wanted, most_in_all):
        if size > most:
            raise FailedWork(f"{path}: {name} has {size} bytes, expected at most {most}")
        yield name, take(stream, size, path)


def tar_streams(path: Path, wanted: set[str], most_in_all: int) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and a stream of each wanted regular file of a tar archive, for files larger than the memory.

    A stream may be read (up to the size) until the next one is asked for; what is left of it is passed over.
    Reads the format itself (POSIX 1003.1, ustar: 512-byte headers, sizes in octal): the wanted names fit
    into a header, so extended headers are passed over like any other member, and nothing in the archive
    can ask for memory or name a path.
    """
    unpacked = 0
    with reading(path) as stream:
        while any(header := take(stream, 512, path)):
            name = header[:100].split(b"\0")[0].decode("latin-1").removeprefix("./")
            kind = header[156:157]
            try:
                size = int(header[124:136].strip(b"\0 ") or b"0", 8)
                checksum = int(header[148:156].strip(b"\0 "), 8)
            except ValueError:  # also the base-256 form for sizes of 8 GB and more
                size = checksum = -1
            if size < 0 or checksum != sum(header) - sum(header[148:156]) + 8 * ord(" "):
                raise FailedWork(f"{path}: not a tar archive, or a broken one (header at byte {unpacked})")
            unpacked += 512 + size
            if unpacked > most_in_all:
                raise FailedWork(f"{path}: would unpack to more than {most_in_all >> 20} MiB; not read")
            padding = -size % 512
            left = size
            if name in wanted:
                if kind not in (b"0", b"\0"):
                    raise FailedWork(f"{path}: {name} is a link or a special file, expected a regular file")
                member = Part(stream, size)
                yield name, size, member  # type: ignore[misc]
                left = member.left
            pass_over(stream, left + padding, path)
            unpacked += padding


class Part:
    """The next `left` bytes of a stream, as a stream."""

    def __init__(self, stream: IO[bytes], size: int):
        self.stream, self.left = stream, size

    def read(self, n: int) -> bytes:
        data = self.stream.read(min(n, self.left))
        self.left -= len(data)
        return data


def pass_over(stream: IO[bytes], n: int, path: Path) -> None:
    """Go n bytes on."""
    for left in range(n, 0, -(1 << 20)):
        take(stream, min(left, 1 << 20), path)


@contextmanager
def open_zip(path: Path, most: int) -> Iterator[zipfile.ZipFile]:
    """A zip archive, whose list of names is read only if it may be that of at most `most` files."""
    with open_file(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 17)))
        tail = file.read()  # it ends with a record that says how long the list is (APPNOTE 4.3.16, 4.3.14)
        ends = [(tail.rfind(b"PK\5\6"), 12, 4), (tail.rfind(b"PK\6\6"), 40, 8)]
        long = max((int.from_bytes(tail[at + skip:at + skip + n], "little") for at, skip, n in ends if at >= 0),
                   default=0)
        if long != 0xFFFFFFFF and long > 512 * most:
            raise ValueError(f"it holds more than {most:,} files")
        with zipfile.ZipFile(file) as archive:
            yield archive


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, by how it ends."""
    try:
        with open_file(path) as file:
            return zipfile.is_zipfile(file)
    except OSError:
        return False


class ZipImages:
    """The files of a zip archive, each read on its own; may be used by threads.

    names: those with one of the suffixes, in order; others: all others, folders left out.
    """

    def __init__(self, path: Path, suffixes: tuple[str, ...], most: int):
        """most: bytes that a file may have."""
        self.path, self.most = path, most
        try:
            self.file = open_file(path)
            self.zip = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as error:
            what = what_file(path)
            raise FailedWork(f"{path}: is {what}" if what else
                             f"{path}: not a zip archive, or cut off ({reason(error)}); get it again") from error
        except OSError as error:
            raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from error
        files = {name for name in self.zip.namelist() if not name.endswith("/")}
        self.names = sorted(name for name in files if name.lower().endswith(suffixes))
        self.others = files.difference(self.names)

    def read(self, name: str) -> bytes:
        """The content of one of these. ValueError if it is broken, or larger than allowed, or encrypted."""
        try:
            with self.zip.open(name) as file:
                data = file.read(self.most + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
            raise ValueError(f"is broken in the archive: {reason(error)}") from error
        if len(data) > self.most:
            raise ValueError(f"unpacks to more than {self.most} bytes")
        return data
