"""Trainings whose updates are CUDA graphs: to the byte what they are without, for every model, loss and normalization.

Emulated here, and with `pytest -m gpu` on a card.
"""

import itertools

import emulated_cupy
import emulator
import numpy as np
import pytest
import tiny
from emulated_cupy.streams import check_same

from minigan.cli import main
from minigan.engine import graphs
from minigan.engine.loops import conv
from minigan.networks.models import MODELS
from minigan.networks.norms import NORMS
from minigan.nn.losses import LOSSES
from minigan.training.gan import Training

UPDATES = ("the discriminator's update", "the generator's update")
SIZES = {"mnist-bssn": 28, "dcgan": 64, "dcgan-32": 32, "resnet-64": 32, "resnet-imagenet": 32,
         "resnet-bssn": 32}
NETWORKS = {f"{model}-{loss}": {"model": model, "loss": loss, "size": SIZES.get(model, 16), "width": 0.02}
            for model, loss in zip(MODELS, itertools.cycle(LOSSES))}  # every model, every loss
CHOICES = {
    **{norm: {"norm": norm} for norm in NORMS},
    "penalty": {"norm": "none", "loss": "wasserstein", "gp": 10.0, "n_dis": 2},
    "sn-penalty": {"gp": 10.0, "dequantize": True},
    "ssn-resnet": {"model": "resnet", "norm": "ssn", "scale": 2.0, "scale_spread": 0.3},
    "through": {"u_gradient": True, "ema": 0.9, "schedule": "linear", "iterations": 20},
    "update": {"u_schedule": "update", "gen_norm": "sn", "optimizer": "rmsprop"},
    "gen-first": {"order": "gen-first", "optimizer": "sgd", "sampling": "replacement"},
    "reuse-z": {"reuse_z": True, "gen_batch_size": 4},
    "concat": {"model": "resnet", "condition": "concat"},
    "projection": {"model": "resnet", "condition": "projection", "gp": 1.0, "norm": "sn"},
    "ac": {"model": "resnet", "condition": "ac", "gen_batch_size": 7},
    "parts": {"accumulate": 2, "gen_batch_size": 6, "gp": 10.0, "dequantize": True, "gen_norm": "sn"},
    "parts-resnet": {"accumulate": 2, "gen_batch_size": 4, "model": "resnet", "condition": "projection", "norm": "bn"},
    "tf32": {"precision": "tf32", "gp": 10.0},
    "tf32-resnet": {"precision": "tf32", "model": "resnet"},
    "bf16": {"precision": "bf16", "gp": 10.0},
    "bf16-resnet": {"precision": "bf16", "model": "resnet"},
}
every_choice = pytest.mark.parametrize("chosen, iterations", [
    *(pytest.param(chosen, 20, id=name) for name, chosen in NETWORKS.items()),
    *(pytest.param(chosen, 6, id=name) for name, chosen in CHOICES.items())])


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        yield cupy


def training(chosen, **more):
    e = tiny.tiny(**{"device": "cuda", "iterations": 1000} | chosen | more)
    channels = MODELS[e.model].channels
    images = np.random.default_rng(0).integers(0, 256, (24, e.size, e.size, channels)).astype(np.uint8)
    return Training(e, images, np.arange(24) % 3)


def compare(chosen, iterations):
    """Losses and all that is remembered, with and without graphs; the training with them."""
    with_graphs, without = training(chosen), training(chosen, graph=False)
    for _ in range(iterations):
        found, expected = ([loss.item() for loss in run.iterate()] for run in (with_graphs, without))
        assert found == expected
    states = [run.state() for run in (with_graphs, without)]
    for name in ("gen", "dis", "average", "opt_gen", "opt_dis"):
        found, expected = ({key: a.tobytes() for key, a in state[name].items()} for state in states)
        assert found == expected, name
    assert with_graphs.graphs.remarks == [] and without.graphs is None
    assert set(with_graphs.graphs.recorded) == set(UPDATES)
    return with_graphs


@every_choice
def test_a_training_by_graphs_is_the_same_to_the_byte_emulated(chosen, iterations, cupy):
    run = compare(chosen, iterations)
    # Recorded once more, in the middle of a training: no number of the host's has changed.
    first = dict(run.graphs.recorded)
    run.graphs.forget()
    for _ in range(graphs.WARM_UPS + 1):
        run.iterate()
    for name, recorded in run.graphs.recorded.items():
        check_same(first[name].graph, recorded.graph)


@pytest.mark.gpu
@every_choice
def test_a_training_by_graphs_is_the_same_to_the_byte_on_a_gpu(chosen, iterations, real_cupy):
    compare(chosen, iterations)


@pytest.mark.parametrize("precision", conv.BITS)
def test_convolutions_without_columns_are_recorded_too_emulated(precision, cupy, monkeypatch):
    monkeypatch.setenv(conv.SWITCH, "1")
    with emulated_cupy.counted() as counts:
        compare({"precision": precision, "gp": 10.0, "batch_size": 3}, graphs.WARM_UPS + 2)
    assert set(counts.kernels) >= {"conv", "conv_transposed", "conv_weights"}


@pytest.mark.gpu
@pytest.mark.parametrize("chosen", [{"gp": 10.0}, {"model": "resnet"}, {"gp": 10.0, "precision": "bf16"}])
def test_convolutions_without_columns_are_recorded_too_on_a_gpu(chosen, real_cupy, monkeypatch):
    monkeypatch.setenv(conv.SWITCH, "1")
    compare({"precision": "tf32", "width": 0.25} | chosen, 20)


def test_an_update_is_one_launch_and_one_copy(cupy):
    run = training({"gp": 10.0, "dequantize": True, "condition": "projection", "ema": 0.9})
    for _ in range(graphs.WARM_UPS + 1):
        run.iterate()
    for update in (run.update_discriminator, run.update_generator):
        with emulated_cupy.counted() as counts:
            update(1e-4)
        assert (counts.graphs, counts.to_device, counts.to_host) == (1, 1, 0)
        assert not counts.kernels and dict(counts.operations) == {"copy": 1}  # of the loss, for whoever keeps it


def test_the_losses_of_an_update_stay_as_they_are(cupy):
    run, same = training({"n_dis": 1}), training({"n_dis": 1})
    kept = [run.iterate() for _ in range(6)]
    assert [[loss.item() for loss in losses] for losses in kept] == [
        [loss.item() for loss in same.iterate()] for _ in range(6)]


def test_the_parts_of_an_update_share_its_memory(cupy):
    held = []
    for parts in (1, 2):
        run = training({"accumulate": parts, "batch_size": 8, "gen_batch_size": 8})
        for _ in range(graphs.WARM_UPS + 1):
            run.iterate()
        held.append(run.graphs.pool.total_bytes())
    assert held[1] < 0.8 * held[0]


def test_updates_share_their_memory(cupy):
    """What the recording of one has given back, the next one takes."""
    held = {}
    for name in ("update_discriminator", "update_generator", "iterate"):
        run = training({})
        for _ in range(graphs.WARM_UPS + 1):
            getattr(run, name)(*([] if name == "iterate" else [1e-4]))
        held[name] = run.graphs.pool.total_bytes()
    assert 0 < held["iterate"] < held["update_discriminator"] + held["update_generator"]


def test_a_state_that_was_loaded_is_recorded_anew(cupy):
    run, other = training({}), training({}, graph=False)
    for _ in range(5):
        run.iterate()
    state = run.state()
    for _ in range(3):
        run.iterate()
    for each in (run, other):
        each.load(state)
    assert [[loss.item() for loss in run.iterate()] for _ in range(6)] == [
        [loss.item() for loss in other.iterate()] for _ in range(6)]


# ---- whole runs ----------------------------------------------------------------------------------------------------

def words(tmp_path, name, **chosen):
    data = tmp_path / "data"
    if not data.exists():
        tiny.pictures(data)
    return [*tiny.words(data, tmp_path / name, device="cuda", n_dis=2, **chosen), "--quiet"]


def test_a_run_that_was_resumed_and_one_without_graphs_leave_the_same_files(cupy, tmp_path, monkeypatch):
    assert main.run(words(tmp_path, "whole")) == 0
    assert main.run([*words(tmp_path, "without"), "--no-graph"]) == 0
    assert tiny.run_until(words(tmp_path, "resumed"), 6, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "resumed"), "--quiet"]) == 0
    whole = tiny.contents(tmp_path / "whole")
    assert tiny.contents(tmp_path / "without") == whole and tiny.contents(tmp_path / "resumed") == whole


def test_what_cannot_be_recorded_runs_as_it_is_and_is_said_in_one_line(cupy, tmp_path, monkeypatch, capsys):
    step = Training.step_generator

    def reads_back(self, x):
        float(x.z.sum())
        return step(self, x)
    assert main.run(words(tmp_path, "whole")) == 0
    monkeypatch.setattr(Training, "step_generator", reads_back)
    capsys.readouterr()
    assert main.run(words(tmp_path, "refused")) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert len(said) == 1 and said[0].startswith(
        "the generator's update cannot be recorded as a CUDA graph and runs without (cudaErrorStreamCapture")
    assert tiny.contents(tmp_path / "refused") == tiny.contents(tmp_path / "whole")


def test_without_cublas_itself_no_graph_is_recorded(cupy, monkeypatch):
    """CuPy multiplies then, and refuses to while a graph is recorded."""
    monkeypatch.setattr("minigan.engine.cublas._library", lambda: None)
    monkeypatch.setattr("minigan.engine.cublas._handles", {})
    run, other = training({}), training({}, graph=False)
    for _ in range(5):
        assert [loss.item() for loss in run.iterate()] == [loss.item() for loss in other.iterate()]
    assert run.graphs.recorded == dict.fromkeys(UPDATES)
    assert all("calling cuBLAS API during stream capture is currently unsupported" in line
               for line in run.graphs.remarks)
