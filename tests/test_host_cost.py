"""bench/host_cost.py and the CuPy that computes nothing: as many launches as the emulated CuPy counts."""

import argparse
import importlib
import json
from pathlib import Path

import emulated_cupy
import emulator
import numpy as np
import pytest

from minigan.engine import cublas, cuda
from minigan.engine.loops import conv
from minigan.experiment.presets import experiment
from minigan.training.gan import Training


@pytest.fixture
def host_cost(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "bench")
    return importlib.import_module("host_cost")


def emulated(model, precision, batch, monkeypatch):
    """Launches of a second update of discriminator and generator, by name."""
    monkeypatch.setattr(emulator.Module, "launch", lambda *given, **how: None)
    found = []
    with emulated_cupy.installed() as cupy:
        cuda.tickets(cupy, 1)
        e = experiment("cifar10", model=model, device="cuda", graph=False, precision=precision, batch_size=batch,
                       width=0.1)
        run = Training(e, np.zeros((2 * batch, 32, 32, 3), np.uint8))
        for update in (run.update_discriminator, run.update_generator):
            with emulated_cupy.counted() as counts:
                update(1e-4)
            found.append(dict(counts.kernels))
    return found


@pytest.mark.parametrize("switch, precision", [("0", "float32"), ("1", "tf32"), ("0", "bf16"), ("1", "bf16")])
@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_every_kernel_is_counted_as_often_as_in_the_emulated_cupy(model, switch, precision, host_cost, monkeypatch):
    monkeypatch.setenv(conv.SWITCH, switch)
    monkeypatch.setattr(cublas.Handle, "multiply", lambda self, a, b, out: None)
    expected = emulated(model, precision, 2, monkeypatch)
    with host_cost.null_cupy.installed(cublas):
        rows = host_cost.measure([model], argparse.Namespace(precision=precision, batch=2, width=0.1, repeats=1))
    names = {name for kernels in expected for name in kernels}
    assert [{name: n for name, n in row["by_name"].items() if name in names and name != "add"} for row in rows] == [
        {name: n for name, n in kernels.items() if name != "add"} for kernels in expected]
    assert all(row["ms"] > 0 for row in rows)


def test_the_null_cupy_takes_no_more_address_space_than_the_largest_arrays_need(host_cost, monkeypatch):
    """It took 4 GiB, which `ulimit -v` may refuse. Arrays from before it grew stay as they are."""
    null = host_cost.null_cupy
    monkeypatch.setattr(null, "_memory", np.empty(1 << 20, np.uint8))
    small, large = null.empty((3, 5), np.float32), null.empty((3, 1 << 20), np.float32)
    assert 12 << 20 == large.nbytes <= null._memory.nbytes <= 2 * large.nbytes
    assert large.T.shape == (1 << 20, 3) and small.reshape(5, 3).shape == (5, 3) and null.empty(7).shape == (7,)
    with pytest.raises(TypeError):
        null.empty((2,), "no dtype")


@pytest.mark.parametrize("words, said", [(["vgg"], "unknown model 'vgg'; choose from: cnn, resnet"),
                                         (["--precision", "fp8"], "invalid choice: 'fp8'")])
def test_what_it_does_not_know_is_one_line(words, said, host_cost, capsys):
    with pytest.raises(SystemExit):
        host_cost.main(words)
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_it_prints_one_row_for_each_update(host_cost, capsys):
    host_cost.main(["cnn", "--repeats", "1", "--batch", "2", "--width", "0.1", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["update"]) for row in rows] == [("cnn", "discriminator"), ("cnn", "generator")]
    assert all(row["launches"] == sum(row["by_name"].values()) > 90 for row in rows)
