"""Fetches a published file: resumed where it broke off, checked against its digest, renamed when whole."""

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from minigan.errors import FailedWork
from minigan.formats.locks import Busy, alone
from minigan.formats.progress import Progress, progress_bar, to_stderr
from minigan.formats.untrusted import open_file
from minigan.formats.whole import finish, make_folder, open_lasting, write_all

ATTEMPTS = 5  # connections for one file; each but the last must have brought something
BLOCK = 1 << 18  # bytes


@dataclass(frozen=True)
class Published:
    """A file as its authors offer it; size in bytes, digests in hexadecimal; sha256 counts where it is known."""

    url: str
    md5: str
    size: int
    sha256: str = ""


def fetch(published: Published, path: Path, progress: Progress | None = None, timeout: float = 30.0) -> Path:
    """Downloads `published` to `path` and returns `path`.

    Bytes are collected in `path`.part. What an earlier call left there is continued with a Range request
    (RFC 9110, section 14); a server that ignores it starts over; a part longer than the whole is thrown
    away. The file gets its name only after its digest was found to be the published one; else it is removed.
    timeout: seconds without an answer.  A file that another process downloads is waited for, as long as it grows.
    Raises FailedWork, one line that says which file to put where by hand.
    """
    progress = progress or progress_bar
    part = path.with_name(path.name + ".part")
    try:
        make_folder(path.parent)
        there = path.exists()
        with _alone(path, part, timeout):
            if there or not path.exists():  # else another process has fetched it meanwhile
                _fetch(published, path, part, progress, timeout)
    except OSError as error:
        raise _unwritable(part, error) from error
    return path


def _alone(path: Path, part: Path, timeout: float) -> contextlib.ExitStack:
    """Wait for another process that downloads the same file, as long as it gets something."""
    lock, size = contextlib.ExitStack(), -1
    while True:
        try:
            lock.enter_context(alone(path, "", wait_s=10 * timeout if size >= 0 else 0.0))  # it may sum 100 GB up
            return lock
        except Busy:
            if size < 0:
                to_stderr(f"another process is downloading {path}: waiting for it")
            elif _size(part) == size:
                raise FailedWork(f"{path} is being downloaded by another process, which has got nothing for "
                                 f"{10 * timeout:g} seconds; end that one, and call this again") from None
            size = _size(part)


def _fetch(published: Published, path: Path, part: Path, progress: Progress, timeout: float) -> None:
    """Collect what is missing, check it, and give it its name."""
    by_hand = f"to do it by hand, put that file at {path}"
    have = _size(part)
    if have > published.size:
        part.unlink()
        have = 0
    for _ in range(ATTEMPTS):
        before, reason = have, "the connection ended"
        if have < published.size:
            try:
                _receive(published, part, have, progress, timeout)
            except (OSError, http.client.HTTPException) as error:  # a URLError is an OSError
                reason = _reason(error)
                if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                    part.unlink()  # the server's file is shorter than the part: begin again
                    before = -1
            have = _size(part)
        if have == published.size or have <= before:
            break
    if have < published.size:
        raise FailedWork(
            f"cannot download {published.url}: {reason} ({have} of {published.size} bytes are here); "
            f"{by_hand}"
        )
    kind, expected = ("sha256", published.sha256) if published.sha256 else ("md5", published.md5)
    digest = _digest_of(part, kind)
    if digest != expected:
        part.unlink()
        raise FailedWork(
            f"{published.url}: what came has {kind} {digest}, published is {expected}; it was removed, "
            f"run again to start over; {by_hand}"
        )
    finish(part, path)


def md5_of(path: Path) -> str:
    """The md5 of a file, in hexadecimal."""
    return _digest_of(path, "md5")


def _digest_of(path: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)  # most authors publish md5: against accidents, not attackers
    with open_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _receive(published: Published, part: Path, have: int, progress: Progress, timeout: float) -> None:
    """One connection: appends to `part` what it brings, which may be less than all."""
    request = urllib.request.Request(published.url, headers={"User-Agent": "minigan"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        if have and answer.status == 206:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise http.client.HTTPException("the server answered with another range than was asked for")
        else:
            have = 0  # this is the whole file
        length = answer.headers.get("Content-Length", "")
        if length.isdigit() and have + int(length) != published.size:
            raise http.client.HTTPException(
                f"the server offers {have + int(length)} bytes, the published file has {published.size}"
            )
        try:
            file = open_lasting(part, os.O_CREAT | (os.O_APPEND if have else os.O_TRUNC))
        except OSError as error:
            raise _unwritable(part, error) from error
        with file:
            # One byte more than expected is asked for, so that a longer file is noticed.
            while block := answer.read(min(BLOCK, published.size + 1 - have)):
                have += len(block)
                if have > published.size:
                    file.truncate(0)
                    raise http.client.HTTPException("the server sends more than the published file has")
                try:
                    write_all(file.fileno(), block)
                except OSError as error:  # most likely a full disk; not to be taken for the network
                    raise _unwritable(part, error) from error
                progress(have, published.size, part.stem)


def _unwritable(part: Path, error: OSError) -> FailedWork:
    return FailedWork(f"{error.filename or part}: cannot be written: {error.strerror or error}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else Exception(error.reason)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
