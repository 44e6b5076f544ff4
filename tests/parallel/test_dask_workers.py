"""Runs and features by the workers of a Dask cluster are those of one process, to the byte, whoever dies on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import tiny
from scored import few_drawings, said

from minigan.cli import main
from minigan.errors import FailedWork, WrongUse
from minigan.metrics import features
from minigan.parallel import dask_workers
from minigan.studies import grid, sweep, sweep_on_workers
from minigan.training import run_folder, run_record
from minigan.training.interrupts import Interrupted
from minigan.training.scoring.features_on_workers import on_workers

pytest.importorskip("distributed")

LONG = tiny.OPTIONS | {"iterations": 200, "checkpoint_every": 10, "log_every": 4, "sample_every": 100,
                       "gen_batch_size": None}


@pytest.fixture(scope="module")
def workers():
    with dask_workers.connected("local:2") as workers:
        yield workers


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.pictures(tmp_path_factory.mktemp("one") / "data")


def cells(data):
    options = {name: value for name, value in LONG.items() if name != "n_dis"} | {"data_root": str(data)}
    return grid.grid("folder", ["none", "sn"], ["C"], 1, **options)


@pytest.fixture(scope="module")
def expected(data):
    """What one process makes of the grid."""
    sweep.sweep(cells(data), data.parent / "out", quiet=True, say=lambda line: None)
    return {name: tiny.contents(data.parent / "out" / name) for name in ("none-C-0", "sn-C-0")}


def when(true, act, seconds=60.0):
    """A thread that acts as soon as it is true."""
    def wait():
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if true():
                act()
                return
            time.sleep(0.02)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def finished(folder):
    run = run_record.find(folder)
    return run is not None and run.finished


def begun(folder):
    return len(run_folder.read_log(folder)) > 3


def test_a_grid_has_the_bytes_of_one_processs_though_a_worker_is_killed(workers, data, tmp_path, expected):
    lines, killed, out = [], [], tmp_path / "out"

    def kill():
        killed.append(min(address for address, tasks in workers.client.processing().items() if tasks))
        os.kill(workers.ask_each(os.getpid)[killed[0]], signal.SIGKILL)
    thread = when(lambda: begun(out / "none-C-0") and begun(out / "sn-C-0"), kill)
    sweep_on_workers.sweep_on(workers, cells(data), out, True, lines.append)
    thread.join()
    assert killed
    assert {name: tiny.contents(out / name) for name in expected} == expected
    assert any("going on from" in line for line in lines)  # the run whose worker died
    assert "| sn" in (out / "summary.md").read_text() and (out / "samples.png").exists()
    sweep_on_workers.sweep_on(workers, cells(data), out, True, lines.append)
    assert lines[-1].startswith("0 runs on ")


def test_ctrl_c_saves_all_runs_and_the_same_command_goes_on(workers, data, tmp_path, expected):
    out = tmp_path / "out"
    thread = when(lambda: begun(out / "none-C-0") and begun(out / "sn-C-0"), partial(os.kill, os.getpid(),
                                                                                     signal.SIGINT))
    with pytest.raises(Interrupted, match="stopped, and all runs are saved; the same command goes on"):
        sweep_on_workers.sweep_on(workers, cells(data), out, True, lambda line: None)
    thread.join()
    assert any(len(run_folder.read_log(out / name)) < 50 for name in expected)  # one may have been done already
    sweep_on_workers.sweep_on(workers, cells(data), out, True, lambda line: None)
    assert {name: tiny.contents(out / name) for name in expected} == expected


def test_ctrl_c_in_a_terminal_which_goes_to_the_workers_too_saves_all_runs(data, tmp_path):
    out = tmp_path / "out"
    options = [word for name, value in LONG.items() if value is not None and name != "n_dis"
               for word in (f"--{name.replace('_', '-')}", str(2000 if name == "iterations" else value))]
    process = subprocess.Popen([sys.executable, "-m", "minigan", "sweep", "folder", "--data-root", data, "--methods",
                                "none,sn", "--settings", "C", "--dask", "local:2", "--out", out, *options], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                               env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    when(lambda: begun(out / "none-C-0") and begun(out / "sn-C-0"), partial(os.killpg, process.pid, signal.SIGINT))
    said = tiny.ended(process, 60)
    assert process.returncode == 130 and said.endswith("all runs are saved; the same command goes on\n"), said
    assert "Traceback" not in said


def test_a_worker_that_is_started_anew_ignores_ctrl_c_too():
    with dask_workers.connected("local:1") as workers:
        (address, process), = workers.ask_each(os.getpid).items()
        os.kill(process, signal.SIGKILL)
        until = time.monotonic() + 60
        while time.monotonic() < until and workers.client.scheduler_info()["workers"].keys() in ({address}, set()):
            time.sleep(0.1)
        assert workers.ask_each(os.getpid) != {address: process}
        assert [*workers.ask_each(signal.getsignal, signal.SIGINT).values()] == [signal.SIG_IGN]


def test_a_run_that_cannot_be_carried_out_ends_the_grid_with_its_reason(workers, tmp_path):
    made = cells(tmp_path / "data")
    with pytest.raises(FailedWork, match="-C-0: .*data"):
        sweep_on_workers.sweep_on(workers, made, tmp_path / "out", True, lambda line: None)


def test_a_folder_that_a_worker_does_not_see_is_refused(workers, data, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "ask_each", lambda function, *given: {"tcp://1": function(*given), "tcp://2": ""})
    with pytest.raises(WrongUse, match="the worker tcp://2 does not see .*sweep.json: the runs need a folder"):
        sweep_on_workers.sweep_on(workers, cells(data), tmp_path / "out", True, lambda line: None)


class Means:
    """An extractor whose features are written down here: the mean of each colour."""

    name, digest, resize, dimension, classifies = "means", "", "", 3, False

    def features(self, images):
        return images.astype(np.float32).mean((1, 2))


def test_features_come_back_in_their_order(workers):
    images = np.random.default_rng(0).integers(0, 256, (1130, 4, 4, 3)).astype(np.uint8)
    found = features.extract(on_workers(Means(), workers), features.of_images(images), quiet=True)
    np.testing.assert_array_equal(found, images.astype(np.float32).mean((1, 2)))


def test_a_score_by_workers_prints_what_one_process_prints(tmp_path, capsys):
    fakes = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "fakes.npz", fakes)
    words = ["score", tmp_path / "fakes.npz", "shapes", "--count", "300", "--quiet"]
    with few_drawings(tmp_path / "cache"):
        said(["classifier", "train", "shapes", "--size", "16", "--epochs", "1", "--quiet"], capsys)
        alone = said(words, capsys)
        for path in (tmp_path / "cache" / "features").rglob("*.h5"):
            path.unlink()
        assert said([*words, "--dask", "local:2"], capsys) == alone
    assert "FID" in alone.out


@pytest.mark.parametrize("where, says", [
    ("4", "expected the address of a Dask scheduler, such as tcp://host:8786, or local:4"),
    ("http://x", "expected the address"), ("local:0", "expected local:N with 1 to 1,024"), ("local:", "expected"),
    ("local:two", "expected local:N")])
def test_what_is_no_address_is_refused(where, says):
    with pytest.raises(WrongUse, match=says), dask_workers.connected(where):
        pass


def test_a_scheduler_that_does_not_answer_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(dask_workers, "ANSWERS_S", 0.5)
    data = tiny.pictures(tmp_path / "data")
    assert main.run(["sweep", "folder", "--data-root", str(data), "--out", str(tmp_path / "out"), "--dask",
                     "tcp://127.0.0.1:1"]) == 1
    line = capsys.readouterr().err.strip()
    assert len(line.splitlines()) == 1 and "no Dask scheduler answers there" in line
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_dies_is_said_in_one_line_and_the_same_command_goes_on(data, tmp_path, expected):
    """Its workers' runs save themselves."""
    port = tiny.free_port()
    address, out = f"tcp://127.0.0.1:{port}", tmp_path / "out"
    how = {"env": os.environ | {"PYTHONPATH": str(tiny.ROOT)}, "stdout": subprocess.DEVNULL,
           "stderr": subprocess.DEVNULL}

    def dask(*words):
        return subprocess.Popen([sys.executable, "-m", "dask", *words, "--no-dashboard"], **how)
    scheduler, worker = dask("scheduler", "--port", str(port)), dask("worker", address, "--nthreads", "1")
    try:
        when(lambda: begun(out / "none-C-0"), scheduler.kill)
        with pytest.raises(FailedWork, match="the connection to the scheduler is lost; what was finished is kept"), \
                dask_workers.connected(address) as workers:
            sweep_on_workers.sweep_on(workers, cells(data), out, True, lambda line: None)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    until = time.monotonic() + 60  # the worker's own process may still be saving
    while time.monotonic() < until and not all(finished(out / name) for name in expected):
        sweep.sweep(cells(data), out, quiet=True, say=lambda line: None)
    assert {name: tiny.contents(out / name) for name in expected} == expected


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(WrongUse, match=r"pip install 'minigan\[dask\]'"), dask_workers.connected("local:2"):
        pass


def test_workers_with_another_minigan_are_refused(workers, monkeypatch):
    monkeypatch.setattr(dask_workers, "__version__", "9")
    with pytest.raises(WrongUse, match="has minigan .*, and this is 9; install the same everywhere"):
        dask_workers._check_versions(workers)
