"""What a file may cost: nothing waits for a pipe, and memory is bounded by what the file holds."""

import gzip
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import damage
import h5py
import numpy as np
import pytest
import weight_samples as samples

from minigan.cli.main import run
from minigan.errors import FailedWork
from minigan.formats import untrusted
from minigan.metrics import inception

ROOT = Path(__file__).resolve().parents[2]
MOST = 400 << 20  # bytes that a reader may take, whatever it is given


@pytest.fixture
def in_time():
    """Raises within a test that takes longer than half a minute."""
    def late(*_):
        raise AssertionError("it hangs")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(os.name != "posix", reason="pipes with names are POSIX")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "loop of links"])
@pytest.mark.parametrize("name", damage.READERS)
def test_what_is_no_regular_file_is_refused_or_passed_over(name, kind, tmp_path, monkeypatch, in_time):
    monkeypatch.setattr(inception, "tensors", samples.toy_table)
    monkeypatch.chdir(tmp_path)
    reader = damage.READERS[name]
    (tmp_path / "f").mkdir()
    path = reader.make(tmp_path / "f")
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))  # a socket's path is short
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    damage.outcome(reader.read, path)


def test_a_pipe_says_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "p")
    with pytest.raises(OSError, match="it is a named pipe, expected a regular file"):
        untrusted.open_file(tmp_path / "p")


@pytest.mark.parametrize("command", [
    "train folder --data-root p --out r", "train shapes --out p",
    "train packed --data-root p --out r", "pack folder p.h5 --data-root p", "score p shapes", "score shapes p",
    "score shapes --stats p", "score shapes --weights p --protocol sn-gan",
    "score shapes --data shapes --weights p --protocol classifier", "weights p", "import p --out r"])
def test_every_command_calls_a_pipe_a_pipe(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("p")
    assert run([*command.split(), "--quiet"] if command.startswith("train") else command.split()) in (1, 2)
    assert "is a named pipe" in capsys.readouterr().err.splitlines()[-1]


# ---- memory ----------------------------------------------------------------------------------------------------------

CHILD = """
import resource, sys, time
sys.path[:0] = {paths}
from pathlib import Path
import damage
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, began = peak(), time.monotonic()
path = Path({path!r})
said = damage.outcome(damage.READERS[{reader!r}].read, path)
print((peak() - before) << 10, time.monotonic() - began, said)
"""


def big_png(path: Path) -> None:
    """9,400 x 9,400 pixels of one colour, with an alpha channel."""
    side = 9400
    rows = zlib.compressobj(9)
    data = b"".join([rows.compress((b"\0" + bytes(4 * side)) * 20) for _ in range(side // 20)]) + rows.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    head = struct.pack(">2I5B", side, side, 8, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def npy(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": kind, "fortran_order": False, "shape": shape})
    return data.getvalue()


def zeros_in_npz(name: str, shape: tuple[int, ...], kind: str = "|u1"):
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open(f"{name}.npy", "w",
                                                                               force_zip64=True) as out:
            out.write(npy(shape, kind))
            for _ in range(0, int(np.prod(shape)) * np.dtype(kind).itemsize, 1 << 20):
                out.write(bytes(1 << 20))
    return make


def long_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("images.npy", "w") as out:
        out.write(b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 30))
        for _ in range(1 << 10):
            out.write(b" " * (1 << 20))


def many_arrays(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for i in range(60_000):
            file.writestr(f"{i}.npy", b"x")


def idx_of_zeros(path: Path) -> None:
    with gzip.open(path, "w", compresslevel=9) as out:
        out.write(struct.pack(">4B3I", 0, 0, 8, 3, 1_300_000, 28, 28))
        for _ in range(1_300_000 * 28 * 28 >> 20):
            out.write(bytes(1 << 20))


def sparse_packed(path: Path) -> None:
    """2^30 images of 4 x 4 pixels that nobody has written."""
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        for name, shape, kind, chunk in (("images", (1 << 30, 4, 4, 1), "|u1", (1 << 27, 4, 4, 1)),
                                         ("labels", (1 << 30,), "<i8", (1 << 28,))):
            create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            create.set_chunk(chunk)
            create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), h5py.h5s.create_simple(shape),
                            create)
        state = {"format": "minigan packed images", "version": 1, "classes": ["a"], "made": {}}
        file["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        file["sha256"] = np.ones((2, 32), np.uint8)


def long_line(path: Path) -> None:
    line = json.dumps({"iteration": 1, "seconds": 1.0, "x": "y"})[:-2]
    path.write_text(line + '", "z": [' + "[]," * (60 << 20) + "[]]}\n")


def sparse_log(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 36)


def nested_scores(path: Path) -> None:
    path.write_text('{"format": "minigan scores", "scores": [' + "[]," * (20 << 20) + "[]]}")


BOMBS = {
    "a PNG of 353 MB in 0.3": ("image PNG RGBA", big_png),
    "an npz of 4 GiB in 4 MB": ("npz of images", zeros_in_npz("images", (1 << 16, 256, 256, 1))),
    "statistics of 2 GiB in 2 MB": ("npz of statistics", zeros_in_npz("mu", (1 << 28,), "<f8")),
    "weights of 1 GiB in 1 MB": ("import, npz", zeros_in_npz("l1/W", (1 << 28,), "<f4")),
    "a description of 1 GiB": ("npz of images", long_header),
    "60,000 arrays": ("npz of images", many_arrays),
    "an IDX file of 1 GB in 1 MB": ("mnist, gzipped", idx_of_zeros),
    "2^30 images in a sparse file": ("packed", sparse_packed),
    "a line of a log of 180 MB": ("log.jsonl", long_line),
    "a sparse log of 64 GiB": ("log.jsonl", sparse_log),
    "scores of 60 MB, all lists": ("scores.json", nested_scores),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in KiB")
@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded_by_what_the_file_holds(name, tmp_path):
    reader, make = BOMBS[name]
    path = damage.READERS[reader].make(tmp_path)
    make(path)
    paths = [str(ROOT), *(str(ROOT / "tests" / inner) for inner in ("", "data"))]
    code = CHILD.format(paths=paths, path=str(path), reader=reader)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                           preexec_fn=lambda: limited(3 << 30), check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    peak, seconds, _ = found.stdout.split()
    assert int(peak) < MOST, f"{int(peak) >> 20} MiB"
    assert float(seconds) < 60


def limited(most: int) -> None:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def test_the_limit_is_that_of_this_process(monkeypatch):
    code = "from minigan.formats.untrusted import memory; print(memory())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True,
                           preexec_fn=lambda: limited(2 << 30))
    assert int(found.stdout) <= 2 << 30
    assert untrusted.memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_limit_is_that_of_the_container(tmp_path, monkeypatch):
    files = {"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "max\n",
             "/sys/fs/cgroup/a/memory.max": "1048576\n"}

    def text(self: Path, **_: object) -> str:
        if str(self) not in files:
            raise FileNotFoundError(str(self))
        return files[str(self)]
    monkeypatch.setattr(Path, "read_text", text)
    assert untrusted.memory() == 1 << 20
    with pytest.raises(FailedWork, match="it would take 1.0 GiB, more than half of the memory"):
        untrusted.afford(1 << 30, "it")
    files |= {"/proc/self/cgroup": "3:cpu:/\n4:memory:/x\n", "/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "2097152"}
    assert untrusted.memory() == 2 << 20
