"""Runs small enough to be done by the dozen: two dozen images, networks of a few channels, a few iterations."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan.cli import main
from minigan.experiment.experiment import Experiment
from minigan.experiment.presets import experiment
from minigan.training import gan, run_folder

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {"size": 16, "width": 0.05, "dim_z": 8, "n_dis": 1, "batch_size": 4, "gen_batch_size": 5, "iterations": 10,
           "sample_every": 4, "checkpoint_every": 3, "log_every": 2}


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the tests run as a shell's background job: their runs do not
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pictures(folder: Path, count: int = 24, size: int = 16) -> Path:
    """A folder of images, each of one grey level and some noise."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = 10 * i + rng.integers(0, 10, (size, size, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


def tiny(**chosen) -> Experiment:
    """An experiment on 16 x 16 pixels; no data are read for it."""
    return experiment("folder", **OPTIONS | chosen)


def words(data: Path, out: Path, **chosen) -> list[str]:
    """The command line that trains a tiny run."""
    options = {"data_root": data, "out": out} | OPTIONS | chosen
    return ["train", "folder", *(word for name, value in options.items()
                                 for word in (f"--{name.replace('_', '-')}", str(value)))]


def start(*arguments, **how) -> subprocess.Popen:
    """The command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "minigan", *map(str, arguments)], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return one.getsockname()[1]


def ended(process: subprocess.Popen, seconds: float = 150) -> str:
    """What a process printed that leads a session of its own. To go on for longer, such as for ever, is a failure."""
    try:
        return process.communicate(timeout=seconds)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def run_until(arguments: list[str], iteration: int, monkeypatch: pytest.MonkeyPatch,
              signum: int = signal.SIGINT) -> int:
    """Run the command line in this process and send it a signal within that iteration; returns the exit code."""
    update = gan.Training.update_generator

    def interrupted(self, rate):
        if self.iteration == iteration - 1:
            os.kill(os.getpid(), signum)
        return update(self, rate)

    with monkeypatch.context() as patch:
        patch.setattr(gan.Training, "update_generator", interrupted)
        return main.run(arguments)


def contents(run: Path) -> dict[str, bytes]:
    """Every image of a run and its newest checkpoint, and its log but for the seconds."""
    kept = [*run.rglob("*.png"), run / "progress.gif"]
    files = {str(path.relative_to(run)): path.read_bytes() for path in kept}
    last = max(run.glob("checkpoint-*.h5"))
    lines = [{name: value for name, value in line.items() if name != "seconds"} for line in run_folder.read_log(run)]
    return files | {last.name: last.read_bytes(), "log": json.dumps(lines).encode()}


def names(folder: Path) -> list[str]:
    """All that is in and below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
