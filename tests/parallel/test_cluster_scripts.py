"""The scripts of examples/clusters do what they say, with a stand-in for Slurm's srun: two processes here."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from minigan.training import run_folder, run_record

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "clusters"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.slurm"))
SRUN = """#!/usr/bin/env bash
"$@" & first=$!
"$@" & second=$!
trap 'kill "$first" "$second"' TERM
wait
wait
"""


@pytest.fixture
def place(tmp_path):
    """A folder with programs as on a cluster, the environment with them, and data."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("minigan", f'#!/usr/bin/env bash\nexec "{sys.executable}" -m minigan "$@"\n'),
                       ("dask", f'#!/usr/bin/env bash\nexec "{sys.executable}" -m dask "$@"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PORT": str(tiny.free_port()),
                                "PYTHONPATH": str(tiny.ROOT)}
    tiny.pictures(tmp_path / "data")
    return tmp_path, environment


def start(place, script, *words):
    folder, environment = place
    return subprocess.Popen(["bash", str(FOLDER / script), *map(str, words)], cwd=folder, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def test_a_sweep_by_dask_stops_when_its_time_is_over_and_goes_on(place):
    pytest.importorskip("distributed")
    options = {name: value for name, value in tiny.OPTIONS.items() if name not in ("n_dis", "gen_batch_size")} | {
        "iterations": 300, "checkpoint_every": 50}
    words = ["folder", "--data-root", place[0] / "data", "--methods", "none,sn", "--settings", "C", "--out",
             place[0] / "out", *(word for name, value in options.items()
                                 for word in (f"--{name.replace('_', '-')}", value))]
    process = start(place, "sweep_dask.slurm", *words)
    log = place[0] / "out" / "sn-C-0"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None and len(run_folder.read_log(log)) < 5:
        time.sleep(0.05)
    process.terminate()
    said = tiny.ended(process)
    assert process.returncode == 143 and "all runs are saved; the same command goes on" in said, said
    process = start(place, "sweep_dask.slurm", *words)
    said = tiny.ended(process)
    assert process.returncode == 0, said
    assert all(run_record.read(place[0] / "out" / name).finished for name in ("none-C-0", "sn-C-0"))
    assert "| sn " in said


def test_a_training_by_mpi_is_begun_and_gone_on_with_by_the_same_job(place, monkeypatch):
    """srun as the launcher of two processes."""
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        pytest.skip("no mpiexec: pip install mpich")
    (place[0] / "bin" / "srun").write_text(f'#!/usr/bin/env bash\nexec "{mpiexec}" -n 2 "$@"\n')
    words = tiny.words(place[0] / "data", place[0] / "run", gen_batch_size=4)[1:]
    for line in ("done in", "is finished: 10 of 10"):
        process = start(place, "train_mpi.slurm", *words)
        said = tiny.ended(process)
        assert process.returncode == 0 and line in said, said


@pytest.mark.parametrize("said", [["--out", "run"], ["--out=run"]])
def test_the_runs_folder_is_found_however_it_is_said(said, place):
    (place[0] / "bin" / "srun").write_text('#!/usr/bin/env bash\necho "$@"\n')
    words = ["cifar10", *said, "--norm", "sn"]
    assert tiny.ended(start(place, "train_mpi.slurm", *words)) == f"minigan train {' '.join(words)}\n"
    (place[0] / "run").mkdir()
    (place[0] / "run" / "experiment.json").touch()
    assert tiny.ended(start(place, "train_mpi.slurm", *words)) == "minigan train --resume run\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_shell_linter_finds_nothing_in_them(script):
    linter = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    if not Path(linter).exists():
        pytest.skip("shellcheck is in the extra [lint]")
    subprocess.run([linter, str(FOLDER / script)], check=True)
