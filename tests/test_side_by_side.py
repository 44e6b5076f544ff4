"""Processes that read, change and write one file at once lose nothing of each other's; without locks, work goes on."""

import errno
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny import pictures

from minigan.cli import main
from minigan.errors import WrongUse
from minigan.formats import download, locks
from minigan.metrics import stored_scores

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such locks")
GATE = """
import sys, time
from pathlib import Path
def wait():
    print(flush=True)
    while not Path("gate").exists():
        time.sleep(0.001)
"""
SCORES = GATE + """
from minigan.metrics import stored_scores
wait()
for n in range(5):
    one = stored_scores.Score("FID", 1.0, None, "p", "n", "w", "r", "x", 10, 10, 0, 5 * int(sys.argv[1]) + n, "d")
    stored_scores.append(Path("scores.json"), [stored_scores.Stored(one)])
"""
ROWS = GATE + """
from minigan.studies import grid, sweep
n = int(sys.argv[1])
cells = [cell for cell in grid.grid("shapes", ["sn"], ["C"], 12) if cell.seed == n]
wait()
sweep.claim(cells, Path("grid"))
sweep.conclude(cells, Path("grid"))
"""
COMMAND = GATE + """
from minigan.cli import main
wait()
sys.exit(main.run(sys.argv[1:]))
"""
DOWNLOAD = GATE + """
from minigan.formats import download
wait()
download.fetch(download.Published(sys.argv[1], sys.argv[2], int(sys.argv[3])), Path("cache/file.bin"), lambda *_: None)
"""


def at_once(program: str, arguments: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Exit code and errors of processes that begin their work at the same moment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", program, *words], cwd=folder, env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for words in arguments]
    for process in processes:
        process.stdout.readline()
    (folder / "gate").touch()
    found = [process.communicate(timeout=120)[1] for process in processes]
    (folder / "gate").unlink()
    return [(process.returncode, error) for process, error in zip(processes, found, strict=True)]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_sixteen_scores_of_one_run_are_all_kept(tmp_path):
    assert at_once(SCORES, [[str(n)] for n in range(16)], tmp_path) == [(0, "")] * 16
    assert sorted(one.score.seed for one in stored_scores.read(tmp_path / "scores.json")) == list(range(80))
    assert left(tmp_path) == []


def test_twelve_processes_of_one_sweep_keep_all_rows(tmp_path):
    assert at_once(ROWS, [[str(n)] for n in range(12)], tmp_path) == [(0, "")] * 12
    assert sorted(json.loads((tmp_path / "grid" / "sweep.json").read_text())) == sorted(f"sn-C-{n}" for n in range(12))
    assert left(tmp_path / "grid") == []


def test_three_packs_of_one_file_make_it_once(tmp_path):
    images = pictures(tmp_path / "images", count=60)
    words = ["pack", "folder", "out.h5", "--data-root", str(images), "--size", "16"]
    found = at_once(COMMAND, [words] * 3, tmp_path)
    codes = sorted(code for code, _ in found)
    assert codes[0] == 0 and set(codes[1:]) <= {2}, found
    for code, error in found:
        assert code == 0 or "is being written by another process" in error or "exists already" in error, error
    assert main.run(["pack", "--check", str(tmp_path / "out.h5")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.h5"]


def test_a_classifier_is_trained_by_one_process(tmp_path, capsys):
    words = ["classifier", "train", "shapes", "--size", "16", "--out", str(tmp_path / "c.h5")]
    with locks.alone(tmp_path / "c.h5", "busy"):
        assert main.run(words) == 2
    assert capsys.readouterr().err == (f"minigan: {tmp_path / 'c.h5'} is being trained by another process; wait until "
                                       "it is done, or choose another --out\n")
    assert list(tmp_path.iterdir()) == []


def test_downloads_of_one_file_fetch_it_once(tmp_path):
    data, asked = os.urandom(3_000_000), []

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            asked.append(self.headers.get("Range"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for at in range(0, len(data), 100_000):
                self.wfile.write(data[at:at + 100_000])
                time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/file.bin"
        words = [url, hashlib.md5(data).hexdigest(), str(len(data))]
        found = at_once(DOWNLOAD, [words] * 4, tmp_path)
    finally:
        server.shutdown()
        server.server_close()
    assert [code for code, _ in found] == [0] * 4, found
    assert (tmp_path / "cache" / "file.bin").read_bytes() == data and asked == [None]
    assert sum("is downloading" in error and "waiting for it" in error for _, error in found) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["file.bin"]


def test_a_download_that_another_process_does_not_go_on_with_is_not_waited_for(tmp_path, monkeypatch, capsys):
    with locks.alone(tmp_path / "a", "busy"), pytest.raises(RuntimeError, match="has got nothing for 1 seconds; end"):
        download.fetch(download.Published("http://127.0.0.1:9/a", "", 3), tmp_path / "a", timeout=0.1)
    assert f"another process is downloading {tmp_path / 'a'}: waiting for it" in capsys.readouterr().err


# ---- the lock itself -----------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from minigan.formats import locks
with locks.alone(Path(sys.argv[1]), "busy", 30.0):
    print(flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_whoever_is_killed_gives_the_lock_back(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HOLD, "a", "60"], cwd=tmp_path, env=environment,
                          stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(locks.Busy, match="busy"), locks.alone(tmp_path / "a", "busy"):
            pass
        process.kill()
        process.wait()
        with locks.alone(tmp_path / "a", "busy"):
            assert left(tmp_path) == [".a.lock"]
    assert left(tmp_path) == []


def test_threads_exclude_each_other_too(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with locks.alone(tmp_path / "a", "busy", 60.0):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 100 and left(tmp_path) == []


def test_a_lock_that_somebody_prepared_as_a_link_is_refused(tmp_path):
    (tmp_path / ".a.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(RuntimeError, match="a cannot be written"), locks.alone(tmp_path / "a", "busy"):
        pass
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_that_is_said_once_and_all_goes_on(number, tmp_path, monkeypatch, capsys):
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "_said", set())
    monkeypatch.setattr(locks.fcntl, "flock", none)
    run = tmp_path / "run"
    shapes = ["shapes", "--size", "16", "--width", "0.03", "--dim-z", "4", "--batch-size", "2", "--iterations", "2",
              "-q"]
    assert main.run(["train", *shapes, "--out", str(run)]) == main.run(["train", "--resume", str(run), "-q"]) == 0
    one = stored_scores.Score("FID", 1.0, None, "p", "n", "w", "r", "x", 10, 10, 0, 0, "d")
    stored_scores.append(run / "scores.json", [stored_scores.Stored(one)])
    images = pictures(tmp_path / "images")
    assert main.run(["pack", "folder", str(tmp_path / "out.h5"), "--data-root", str(images), "--size", "16"]) == 0
    assert main.run(["sweep", *shapes, "--methods", "sn", "--settings", "C", "--out", str(tmp_path / "grid")]) == 0
    error = capsys.readouterr().err
    assert error.count("cannot be locked, its file system has no locks: let no two processes write there") == 1
    assert len(stored_scores.read(run / "scores.json")) == 1
    assert main.run(["pack", "--check", str(tmp_path / "out.h5")]) == 0


def test_a_file_that_is_never_given_free_ends_the_wait(tmp_path):
    with locks.alone(tmp_path / "a", "busy"):
        begun = time.monotonic()
        with pytest.raises(WrongUse, match="it is busy"), locks.alone(tmp_path / "a", "it is busy", 0.3):
            pass
        assert 0.3 <= time.monotonic() - begun < 5
