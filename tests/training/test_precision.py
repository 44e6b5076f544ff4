"""What a training's products round to: chosen, recorded, and kept when it goes on. Emulated."""

import json

import emulated_cupy
import emulator
import numpy as np
import pytest
import tiny

from minigan.cli import main
from minigan.training.gan import Training


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        yield cupy


def words(tmp_path, name, *more, **chosen):
    data = tmp_path / "data"
    if not data.exists():
        tiny.pictures(data)
    return [*tiny.words(data, tmp_path / name, **({"device": "cuda"} | chosen)), "--quiet", *more]


def recorded(run):
    return json.loads((run / "experiment.json").read_text())["experiment"]["precision"]


def test_a_gpu_rounds_to_tf32_unless_it_is_told_otherwise_and_the_run_says_so(cupy, tmp_path):
    for name, more, expected in (("usual", [], "tf32"), ("tf32", ["--precision", "tf32"], "tf32"),
                                 ("float32", ["--precision", "float32"], "float32")):
        assert main.run(words(tmp_path, name, *more)) == 0
        assert recorded(tmp_path / name) == expected
    runs = {name: tiny.contents(tmp_path / name) for name in ("usual", "tf32", "float32")}
    assert runs["usual"] == runs["tf32"]
    logs = {name: (tmp_path / name / "log.jsonl").read_text() for name in runs}
    losses = {name: [json.loads(line)["loss_dis"] for line in log.splitlines()] for name, log in logs.items()}
    assert losses["tf32"] != losses["float32"]
    np.testing.assert_allclose(losses["tf32"][0], losses["float32"][0], rtol=2**-8)


def test_a_run_goes_on_as_it_began(cupy, tmp_path, monkeypatch):
    assert main.run(words(tmp_path, "whole", "--precision", "tf32")) == 0
    assert tiny.run_until(words(tmp_path, "resumed", "--precision", "tf32"), 6, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "resumed"), "--quiet"]) == 0
    assert tiny.contents(tmp_path / "resumed") == tiny.contents(tmp_path / "whole")


def test_a_run_of_an_earlier_minigan_goes_on_in_float32(cupy, tmp_path, monkeypatch):
    assert tiny.run_until(words(tmp_path, "run", "--precision", "float32"), 6, monkeypatch) == 130
    path = tmp_path / "run" / "experiment.json"
    record = json.loads(path.read_text())
    del record["experiment"]["precision"]
    path.write_text(json.dumps(record))
    assert main.run(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert recorded(tmp_path / "run") == "float32"


def test_on_a_cpu_it_goes_on_in_float32_and_says_so(cupy, tmp_path, monkeypatch, capsys):
    assert tiny.run_until(words(tmp_path, "run"), 6, monkeypatch) == 130
    capsys.readouterr()
    assert main.run(["train", "--resume", str(tmp_path / "run"), "--quiet", "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert said.count("its products were rounded to tf32 on a GPU; a CPU multiplies float32 as it is") == 1
    assert recorded(tmp_path / "run") is None


def test_a_cpu_refuses_to_round_before_anything_is_made(tmp_path, capsys):
    assert main.run(words(tmp_path, "run", "--precision", "tf32", device="cpu")) == 2
    assert capsys.readouterr().err.strip() == (
        "minigan: --precision tf32 needs --device cuda: a CPU multiplies float32 as it is; leave it out")
    assert not (tmp_path / "run").exists()


def test_only_updates_round(cupy, monkeypatch):
    """Samples, and all that is measured beside the updates, are float32's."""
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    trained = [Training(tiny.tiny(device="cuda", precision=precision), images) for precision in ("float32", "tf32")]
    for training in trained:
        training.dis.load(trained[0].dis.arrays())
    samples = [training.sample(training.preview) for training in trained]
    assert (samples[0] == samples[1]).all()
    assert trained[0].spectral_norms() == trained[1].spectral_norms()
