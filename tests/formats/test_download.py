"""download.fetch against a local server that breaks off, ignores ranges, or sends something else."""

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from minigan.errors import FailedWork
from minigan.formats import download
from minigan.formats.download import Published, fetch

WHOLE = np.random.default_rng(5).bytes(700_001)  # more than two blocks, and no multiple of one
MD5 = hashlib.md5(WHOLE).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at /file; what else it does is said by its attributes."""

    content = WHOLE
    ranges = True  # obeys Range
    cut: int | None = None  # ends each connection after that many bytes of the body
    status = 200
    shift = 0  # answers a range with one that begins that many bytes later
    length = True  # sends Content-Length

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range of each request

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a client that stops reading is part of these tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted, content = self.headers["Range"], self.server.content
        self.server.asked.append(wanted)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.server.shift
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if self.server.cut is None else start + self.server.cut
        self.wfile.write(content[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: Server, path: Path, **published: object) -> Path:
    known = {"url": server.url, "md5": MD5, "size": len(WHOLE)} | published
    return fetch(Published(**known), path, progress=lambda *_: None, timeout=5)


def failure(server: Server, path: Path, **published: object) -> str:
    """The one line with which the download fails; it says what to put where by hand."""
    with pytest.raises(FailedWork) as caught:
        get(server, path, **published)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and "http://127.0.0.1" in line
    assert not path.exists()
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "a.tar.gz"


@pytest.fixture
def part(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path.with_name("a.tar.gz.part")


def test_the_file_arrives_whole_under_its_name_alone(server, path):
    seen = []
    known = Published(server.url, MD5, len(WHOLE))
    assert fetch(known, path, progress=lambda *at: seen.append(at)) == path
    assert path.read_bytes() == WHOLE and list(path.parent.iterdir()) == [path]
    assert seen[-1] == (len(WHOLE), len(WHOLE), "a.tar.gz") and seen == sorted(seen)


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(server, path):
    server.cut = 300_000
    get(server, path)
    assert path.read_bytes() == WHOLE
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_part_of_an_earlier_run_is_continued(server, path, part):
    part.write_bytes(WHOLE[:500_000])
    get(server, path)
    assert path.read_bytes() == WHOLE and server.asked == ["bytes=500000-"] and not part.exists()


def test_a_whole_part_is_checked_and_renamed_without_a_request(server, path, part):
    part.write_bytes(WHOLE)
    get(server, path)
    assert path.read_bytes() == WHOLE and server.asked == []


def test_a_server_that_ignores_ranges_makes_it_start_over(server, path, part):
    server.ranges = False
    part.write_bytes(b"x" * 500_000)  # would spoil the file if it were kept
    get(server, path)
    assert path.read_bytes() == WHOLE and server.asked == ["bytes=500000-"]


def test_a_part_longer_than_the_whole_is_thrown_away(server, path, part):
    part.write_bytes(b"x" * (len(WHOLE) + 1))
    get(server, path)
    assert path.read_bytes() == WHOLE and server.asked == [None]


def test_a_range_beyond_the_servers_file_is_dropped(server, path, part):
    server.content = WHOLE[:1000]
    part.write_bytes(WHOLE[:2000])
    line = failure(server, path)
    assert server.asked == ["bytes=2000-", None] and "offers 1000 bytes" in line


def test_another_range_than_asked_for_is_not_appended(server, path, part):
    server.shift = 7
    part.write_bytes(WHOLE[:1000])
    assert "another range" in failure(server, path)
    assert part.read_bytes() == WHOLE[:1000]


def test_a_wrong_checksum_removes_what_came(server, path):
    server.content = WHOLE[:-1] + bytes([WHOLE[-1] ^ 1])
    line = failure(server, path)
    assert MD5 in line and hashlib.md5(server.content).hexdigest() in line
    assert list(path.parent.iterdir()) == []


def test_a_sha256_counts_where_it_is_known(server, path):
    sha256 = hashlib.sha256(WHOLE).hexdigest()
    get(server, path, md5="", sha256=sha256)
    assert path.read_bytes() == WHOLE
    path.unlink()
    line = failure(server, path, sha256="0" * 64)  # the md5 would be right
    assert sha256 in line and "0" * 64 in line and list(path.parent.iterdir()) == []


def test_a_spoilt_part_is_removed_so_that_the_next_run_succeeds(server, path, part):
    part.write_bytes(b"x" * 1000)
    assert MD5 in failure(server, path)
    assert get(server, path).read_bytes() == WHOLE


@pytest.mark.parametrize("more", [-1, 1, 10_000_000])
@pytest.mark.parametrize("length", [True, False])
def test_a_file_of_another_size_is_refused_and_never_written_out(server, path, more, length):
    server.content, server.length = (WHOLE + bytes(max(more, 0)))[: len(WHOLE) + more], length
    line = failure(server, path)
    assert "bytes" in line
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= len(WHOLE)


def test_a_server_that_breaks_off_again_and_again_is_given_up(server, path):
    server.cut = 1000
    assert "5000 of 700001 bytes are here" in failure(server, path)
    assert len(server.asked) == download.ATTEMPTS
    server.cut = 0
    assert "5000 of 700001 bytes are here" in failure(server, path)
    assert len(server.asked) == download.ATTEMPTS + 1  # nothing came: no use in asking again


def test_a_missing_file_is_said_once(server, path):
    server.status = 404
    assert "answered 404 Not Found" in failure(server, path)
    assert len(server.asked) == 1


def test_a_refused_connection_says_what_to_do_by_hand(server, path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        line = failure(server, path, url=url)
    assert url in line and "efused" in line and f"put that file at {path}" in line


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedWork, match="cannot be written") as caught:
        get(server, tmp_path / "file" / "a.tar.gz")
    assert str(tmp_path / "file") in str(caught.value)


def test_a_full_disk_is_not_taken_for_the_network(server, path, monkeypatch):
    def full(number: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "write_all", full)
    with pytest.raises(FailedWork, match=r"a\.tar\.gz\.part: cannot be written: No space left on device"):
        get(server, path)
