"""Processes that MPI started train what one would: to rounding with --sync-bn, to the byte among themselves."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pytest
import tiny
from mpi_program import CASES, PARTS

from minigan.cli import main
from minigan.engine.machine import provenance
from minigan.errors import WrongUse
from minigan.formats.locks import Busy
from minigan.parallel import mpi
from minigan.training import run_folder, run_record

pytest.importorskip("mpi4py")
BESIDE = Path(sys.executable).with_name("mpiexec")  # PyPI's mpich puts it there
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec: pip install mpich")
LONG = {"iterations": 200, "checkpoint_every": 10, "log_every": 2, "sample_every": 100, "gen_batch_size": 4}


def start(count, *words):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tiny.ROOT, tiny.ROOT / "tests")))}
    launcher = [MPIEXEC, "-n", str(count)] if count else []
    return subprocess.Popen([*launcher, sys.executable, *map(str, words)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.pictures(tmp_path_factory.mktemp("mpi") / "data")


def words(data, out, **chosen):
    return ["-m", "minigan", *tiny.words(data, out, **LONG | chosen), "--quiet"]


@pytest.fixture(scope="module")
def whole(data):
    """What two processes make of a run that nobody disturbs."""
    process = start(2, *words(data, data.parent / "whole"))
    said = tiny.ended(process)
    assert process.returncode == 0 and said.count("done in") == 1, said
    assert said.count("2 processes train together, each on 2 of the 4 images of a batch; ") == 1, said
    return tiny.contents(data.parent / "whole")


@pytest.mark.parametrize("count, cases", [(2, [*CASES, *PARTS]), (4, ["cnn", "projection", "parts"])])
def test_losses_are_those_of_one_process(count, cases):
    said = tiny.ended(start(count, tiny.ROOT / "tests" / "mpi_program.py", *cases), 400)  # 100 s beside other work
    found = re.findall(r"(\S+): losses apart by (\S+), weights by (\S+), .* alike", said)
    assert [name for name, _, _ in found] == cases, said
    assert all(float(losses) < 1e-9 and float(weights) < 1e-7 for _, losses, weights in found), said
    derivatives = re.findall(r"derivatives apart by (\S+)", said)  # to second order, of each process's rows
    assert len(derivatives) == count and all(float(off) < 1e-12 for off in derivatives), said


def test_processes_without_sync_bn_train_as_one_with_as_many_parts():
    """Each normalizes its rows as one process does the part of the same rows."""
    said = tiny.ended(start(2, tiny.ROOT / "tests" / "mpi_program.py", "as-parts"))
    (losses, weights), = re.findall(r"as-parts: losses apart by (\S+), weights by (\S+),", said)
    assert float(losses) < 1e-12 and float(weights) < 1e-12, said


@pytest.mark.parametrize("count", [2, 3])
def test_a_mean_has_the_bytes_of_a_sum_in_the_processes_order_and_takes_twice_its_memory(count):
    said = tiny.ended(start(count, tiny.ROOT / "tests" / "mpi_mean.py"))
    found = re.findall(r"(.+) float\d\d: the same bytes, memory (\S+) times", said)
    assert len(found) == 8, said
    assert all(float(times) < 2.2 for name, times in found if name in ("odd", "large")), said


def test_without_sync_bn_each_normalizes_its_own_rows():
    said = tiny.ended(start(2, tiny.ROOT / "tests" / "mpi_program.py", "local"))
    off, = re.findall(r"local: losses apart by (\S+),", said)
    assert 1e-6 < float(off) < 1


def test_two_runs_have_the_same_bytes_and_keep_how_many_they_were(data, whole, tmp_path):
    process = start(2, *words(data, tmp_path / "again"))
    said = tiny.ended(process)
    assert process.returncode == 0 and tiny.contents(tmp_path / "again") == whole, said
    assert run_record.read(tmp_path / "again").machine["processes"] == 2


def test_sigterm_saves_and_a_resumed_run_has_the_bytes_of_an_undisturbed_one(data, whole, tmp_path):
    out = tmp_path / "stopped"
    process = start(2, *words(data, out))
    wait_for(process, out, 8)
    os.killpg(process.pid, signal.SIGTERM)
    said = tiny.ended(process)
    assert said.count("saved; go on with") == 1, said
    process = start(2, "-m", "minigan", "train", "--resume", out, "--quiet")
    said = tiny.ended(process)
    assert process.returncode == 0 and tiny.contents(out) == whole, said
    assert "is finished: 200 of 200" in tiny.ended(start(2, "-m", "minigan", "train", "--resume", out, "--quiet"))


@pytest.mark.parametrize("victim, seed", [(0, 1), (1, 2)])
def test_a_process_that_is_killed_ends_all_and_nothing_is_lost(victim, seed, data, whole, tmp_path):
    out = tmp_path / "killed"
    process = start(2, *words(data, out))
    wait_for(process, out, int(np.random.default_rng(seed).integers(8, 60)))
    os.kill(of_rank(out, victim), signal.SIGKILL)
    tiny.ended(process, 60)
    assert process.returncode != 0
    process = start(2, "-m", "minigan", "train", "--resume", out, "--quiet")
    said = tiny.ended(process)
    assert process.returncode == 0 and tiny.contents(out) == whole, said


def test_processes_read_packed_images_ahead_and_train_to_the_same_bytes(data, tmp_path):
    file = tmp_path / "images.h5"
    assert main.run(["pack", "folder", str(file), "--data-root", str(data), "--size", "16", "--quiet"]) == 0
    program, found = tmp_path / "program.py", {}
    program.write_text("import sys\nfrom minigan.cli import main\nfrom minigan.data.packed import Images\n"
                       "from minigan.parallel import mpi\nprefetch, stop = Images.prefetch, Images.stop\n"
                       "def told(images, rows):\n    prefetch(images, rows)\n"
                       "    print('process', mpi.group().rank, 'reads ahead', flush=True)\n"
                       "Images.prefetch = told if sys.argv.pop(1) == 'ahead' else lambda images, rows: None\n"
                       "main.main()\n")
    for how in ("ahead", "not"):
        given = tiny.words(file, tmp_path / how, **LONG | {"iterations": 12})[2:]
        process = start(2, program, how, "train", "packed", *given, "--accumulate", "2", "--quiet")
        said = tiny.ended(process)
        assert process.returncode == 0, said
        assert sorted(re.findall(r"process (\d) reads ahead", said)) == (["0", "1"] if how == "ahead" else []), said
        found[how] = tiny.contents(tmp_path / how)
    assert found["ahead"] == found["not"]


@pytest.mark.parametrize("more, says", [([], "batch normalization takes its moments from each process's rows"),
                                        (["--sync-bn"], "the same training, to rounding")])
def test_another_number_of_processes_goes_on_and_says_what_that_changes(more, says, data, tmp_path):
    process = start(2, *words(data, tmp_path / "run", iterations=4, schedule="constant"), *more)
    assert process.wait(100) == 0
    found = subprocess.run([sys.executable, "-m", "minigan", "train", "--resume", str(tmp_path / "run"), "--iterations",
                            "8", "--quiet"], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    assert f"was trained by 2 processes and goes on with 1: {says}" in found.stderr


@pytest.mark.parametrize("chosen, says", [
    ({"batch_size": 5}, "--batch-size 5: 2 processes share a batch out evenly; choose a multiple of 2, such as 6"),
    ({"norm": "spn"}, "unknown norm 'spn'"), ({"data_root": "nowhere"}, "nowhere")])
def test_what_cannot_be_trained_ends_all_with_one_line(chosen, says, data, tmp_path):
    process = start(2, *words(data, tmp_path / "run", **chosen))
    said = tiny.ended(process, 60)
    assert process.returncode != 0 and said.count("minigan: ") == 1 and says in said, said


def test_a_process_that_fails_is_named(data, tmp_path):
    """Its images are not where process 0 has them."""
    program = tmp_path / "program.py"
    program.write_text("import sys\nfrom minigan.cli import main\nfrom minigan.data import datasets\n"
                       "from minigan.errors import FailedWork\nfrom minigan.parallel import mpi\n"
                       "def fails(*given, **how):\n    raise FailedWork('no such disk')\n"
                       "if mpi.group().rank == 1:\n    datasets.of_experiment = fails\nmain.main()\n")
    process = start(2, program, *words(data, tmp_path / "run")[2:])
    said = tiny.ended(process, 60)
    assert process.returncode == 1 and "minigan: process 1 of 2: no such disk" in said, said


def test_a_program_whose_training_fails_ends_all(tmp_path):
    """minigan.train in a program of its user's own: nobody but Python catches what process 0 raises."""
    program = tmp_path / "program.py"
    program.write_text("import numpy as np\nimport minigan\nfrom minigan.parallel import mpi\n"
                       "images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)\n"
                       "from minigan.training.gan import Training\niterate = Training.iterate\n"
                       "def fails(training):\n    if mpi.group().rank == 0 and training.iteration == 2:\n"
                       "        raise ValueError('a fault in process 0')\n    return iterate(training)\n"
                       "Training.iterate = fails\n"
                       f"minigan.train(images, out={str(tmp_path / 'run')!r}, width=0.05, batch_size=4)\n")
    process = start(2, program)
    said = tiny.ended(process, 60)
    assert process.returncode == 1 and "ValueError: a fault in process 0" in said, said


def test_a_program_that_catches_the_error_of_a_training_ends_all(tmp_path):
    """The others wait for what process 0 reads; they would wait for ever."""
    program = tmp_path / "program.py"
    program.write_text("import contextlib\nimport minigan\nwith contextlib.suppress(minigan.WrongUse):\n"
                       "    minigan.train('shapes', out='run', loss='nothing')\n")
    process = start(2, program)
    said = tiny.ended(process, 30)
    assert process.returncode == 1 and "WrongUse: unknown loss 'nothing'" in said, said


def test_a_program_that_mpi_did_not_start_is_alone(monkeypatch):
    for name in (*mpi.SIZES, "SLURM_MPI_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mpi, "_apart", ContextVar("apart", default=False))  # a sweep of another test sets it
    mpi.started_with.cache_clear()
    assert mpi.group() is mpi.ALONE
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    mpi.started_with.cache_clear()
    with pytest.raises(WrongUse, match=r"pip install 'minigan\[mpi\]'"):
        mpi.group()
    mpi.started_with.cache_clear()


@pytest.mark.parametrize("dask", [False, True])
def test_runs_of_a_grid_are_trained_by_one_process_each_though_mpi_started_several(dask, data, tmp_path, monkeypatch):
    """Two sweeps that share the runs; and workers that srun told they are two, as its PMI does."""
    words = ["-m", "minigan", "sweep", "folder", "--data-root", data, "--methods", "none,sn", "--settings", "C",
             "--out", tmp_path / "out", *"--size 16 --width 0.05 --batch-size 4 --iterations 4 --quiet".split()]
    if dask:
        pytest.importorskip("distributed")
        monkeypatch.setenv("PMI_SIZE", "2")
    process = start(0, *words, "--dask", "local:2") if dask else start(2, *words)
    said = tiny.ended(process)
    assert process.returncode == 0 and "train together" not in said, said
    runs = [run_record.read(tmp_path / "out" / name) for name in ("none-C-0", "sn-C-0")]
    assert all(run.finished for run in runs)
    assert not any("processes" in run.machine for run in runs)


def test_what_one_process_does_is_done_once_though_mpi_started_several(data, tmp_path):
    """By process 0, which says so; the others do not wait for it, and mpi4py is not asked."""
    assert main.run(words(data, tmp_path / "run", iterations=1)[2:]) == 0
    said = "minigan: MPI started 3 processes for what one does: process 0 does it, the others have ended\n"
    for given, code in ((["info"], 0), (["sample", tmp_path / "run", "-n", "4", "--out", tmp_path / "a.npz"], 0),
                        (["score", tmp_path / "nowhere"], 2)):
        alone, by_three = (start(count, "-m", "minigan", *given) for count in (0, 3))
        assert sorted((said + tiny.ended(alone)).splitlines()) == sorted(tiny.ended(by_three).splitlines())
        assert alone.returncode == by_three.returncode == code


def test_of_one_is_the_first_of_those_that_mpi_started(monkeypatch):
    for name in (*mpi.SIZES, *mpi.RANKS, "SLURM_MPI_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mpi, "_apart", ContextVar("apart", default=False))
    for given, expected in (({}, (0, 1)), ({"PMI_SIZE": "2", "PMI_RANK": "0", "SLURM_PROCID": "3"}, (0, 2)),
                            ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, (3, 4)),
                            ({"SLURM_MPI_TYPE": "pmi2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, (1, 2)),
                            ({"SLURM_MPI_TYPE": "none", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, (0, 1))):
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            assert mpi.of_one() == expected


def test_a_launcher_of_another_mpi_is_refused_before_each_process_trains_alone(data, tmp_path):
    """As Open MPI's mpiexec starts a process whose mpi4py is MPICH's."""
    done = subprocess.run([sys.executable, *words(data, tmp_path / "run")], text=True, capture_output=True,
                          env=os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMPI_COMM_WORLD_SIZE": "2"})
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    assert "2 processes were started by another MPI than mpi4py's, " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["RANK", "PMIX_RANK", "PALS_RANKID", "SLURM_PROCID", None])
def test_processes_that_know_nothing_of_each_other_do_not_train_into_one_folder(name, tmp_path, monkeypatch):
    """A launcher that sets nothing by which MPI is known: the first has the folder, the others are told the cause."""
    for known in (*mpi.SIZES, *(known for known in os.environ if known.endswith(("RANK", "PROCID")))):
        monkeypatch.delenv(known, raising=False)
    if name:
        monkeypatch.setenv(name, "1")
    cause = f"--out (${name} says that a launcher started this process with others" if name else "choose another --out"
    with run_folder.locked(tmp_path / "run"):
        with pytest.raises(Busy) as busy, run_folder.locked(tmp_path / "run"):
            pass
    run_folder.create(tmp_path / "run", tiny.tiny(), provenance("cpu"))
    with pytest.raises(WrongUse) as there:
        run_folder.check_new(tmp_path / "run")
    for refused in (busy, there):
        assert cause in str(refused.value) and (name or str(refused.value).endswith("another --out"))


def wait_for(process, out, lines):
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None and len(run_folder.read_log(out)) < lines:
        time.sleep(0.02)


def of_rank(out, rank):
    """The number of the process with this rank that trains there."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = ((path / name).read_bytes() for name in ("environ", "cmdline"))
        except OSError:
            continue
        if str(out).encode() in command and f"PMI_RANK={rank}".encode() in environment.split(b"\0"):
            return int(path.name)
    raise AssertionError(f"no process of rank {rank}")
