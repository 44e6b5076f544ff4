"""minigan export: what it writes where, and what it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import names, words

from minigan.cli import main
from minigan.engine.autograd import Tensor, no_grad
from minigan.exchange import plan
from minigan.formats import safetensors
from minigan.networks.cnn import CNNDiscriminator
from minigan.training import restore


def test_each_format_has_its_files(run, capsys):
    pytest.importorskip("onnx")
    for to in ("safetensors", "torch", "onnx"):
        assert main.run(["export", str(run), "--to", to, "--out", "new"]) == 0
    assert names(Path("new")) == sorted(
        f"{network}{suffix}" for network in ("generator", "discriminator")
        for suffix in (".safetensors", ".pth", ".py", ".onnx"))
    assert capsys.readouterr().out.splitlines()[:2] == ["new/generator.safetensors", "new/discriminator.safetensors"]


def test_safetensors_say_what_they_hold(run, elsewhere):
    assert main.run(["export", str(run), "--network", "discriminator", "--out", "new"]) == 0
    tensors, metadata = safetensors.read((elsewhere / "new" / "discriminator.safetensors").read_bytes(), "it")
    assert json.loads(metadata["experiment"])["size"] == 16 and "W / sigma" in metadata["layout"]
    dis = restore.newest(run).discriminator()
    layer = dis.layers["dense"]
    with no_grad():
        W = layer.norm.weight(layer, (1, 1), False).data
    assert np.array_equal(tensors["dense.weight"], W)


def test_the_average_is_what_is_exported_of_a_run_that_has_one(data, elsewhere):
    torch = pytest.importorskip("torch")
    out = elsewhere / "averaged"
    assert main.run([*words(data, out, ema=0.9), "-q"]) == 0
    assert main.run(["export", str(out), "--to", "torch", "--network", "generator"]) == 0
    code = (out / "export" / "generator.py").read_text()
    space: dict = {}
    exec(compile(code, "generator.py", "exec"), space)
    module = space["Generator"]()
    module.load_state_dict(torch.load(out / "export" / "generator.pth", weights_only=True))
    z = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    with torch.no_grad(), no_grad():
        images = module(torch.from_numpy(z)).numpy().transpose(0, 2, 3, 1)
        assert np.abs(images - restore.newest(out).gen(Tensor(z), False).data).max() < 1e-5


def test_what_is_there_stays_unless_asked_otherwise(run, elsewhere, refused, capsys):
    asked = ["export", str(run), "--out", "new", "--network", "generator"]
    assert main.run(asked) == 0
    capsys.readouterr()
    (elsewhere / "new" / "generator.safetensors").write_bytes(b"mine")
    assert "--overwrite" in refused(asked, 2)
    assert (elsewhere / "new" / "generator.safetensors").read_bytes() == b"mine"
    assert main.run([*asked, "--overwrite"]) == 0
    assert len((elsewhere / "new" / "generator.safetensors").read_bytes()) > 1000


def test_refusals_are_one_line(run, elsewhere, refused, monkeypatch):
    refused(["export", "nothing"], 2)
    (elsewhere / "file").write_text("")
    assert "expected a folder" in refused(["export", run, "--out", "file"], 2)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'minigan[onnx]'" in refused(["export", run, "--to", "onnx", "--out", "new"], 1)


def test_no_file_is_written_if_one_network_cannot_be(run, elsewhere, monkeypatch, capsys):
    monkeypatch.delitem(plan.NETWORKS, CNNDiscriminator)
    assert main.run(["export", str(run), "--out", "new"]) == 1
    assert "CNNDiscriminator cannot be exported" in capsys.readouterr().err
    assert not (elsewhere / "new").exists()
