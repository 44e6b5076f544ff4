"""bench/gpu.py from end to end on the emulated CuPy, so that whoever has a card gets numbers at the first try."""

import argparse
import dataclasses
import json
from collections import Counter
from pathlib import Path

import emulated_cupy
import emulator
import numpy as np
import pytest

from bench import gpu
from minigan.engine.loops import conv
from minigan.metrics import inception

SMALL = ["--width", "0.05", "--batch", "4", "--repeats", "1"]


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        yield cupy


def test_every_part_runs_emulated(cupy, narrow, capsys, monkeypatch):
    checked = []
    monkeypatch.setattr(gpu, "KIND", narrow)
    monkeypatch.setattr(gpu, "IMAGES", 5)
    monkeypatch.setattr(inception, "GROUP", 2)
    monkeypatch.setattr(gpu, "torch_candidates", lambda args, precision: {})
    monkeypatch.setattr(gpu, "check_training", lambda args, tolerance, **chosen: checked.append((tolerance, chosen)))
    for name, small in {"TOGETHER": 1, "LAUNCHES": 1, "SIDE": 64, "COPIED": 1 << 16}.items():
        monkeypatch.setattr(gpu, name, small)
    gpu.main([*SMALL, "--json"])
    assert [tolerance for tolerance, _ in checked] == [gpu.TOLERANCE] * 3 + 2 * [gpu.TOLERANCE, 0.5, 0.5]
    assert {"norm": "sn"} in [chosen for _, chosen in checked]
    results = json.loads(capsys.readouterr().out)
    assert "emulated" in results["machine"]["card"]  # its times say nothing, and it says so
    assert [row["name"] for row in results["sn"]] == ["kernels", "CuPy", "CuPy, tuned"]
    assert [row["name"] for row in results["figure10"]] == ["none", "SN", "WGAN-GP"]
    assert [row["name"] for row in results["job"]] == ["SN, float32", "SN, tf32", "SN, bf16"]
    assert all(row["hours"] * row["iterations_per_second"] * 3600 == pytest.approx(100_000) for row in results["job"])
    copy, product, *kernels = results["kernels"]
    assert copy["name"] == "copy of 0 MiB" and product["name"] == "product of 64 x 64, tf32"
    assert {"im2col", "cuBLAS", "adam_all", "power_iterations"} < {row["name"] for row in kernels}
    assert all(row["ratio"] == pytest.approx(row["limit_ms"] / row["ms"]) for row in kernels)
    assert [row["name"] for row in results["updates"]] == [
        f"{who}, {kind}, minigan{graph}" for kind in ("float32", "tf32", "bf16")
        for who in ("discriminator", "generator") for graph in (", graph", "")]
    assert [row["name"] for row in results["inception"]] == ["minigan, float32", "minigan, tf32", "minigan, bf16"]
    exact, rounded, more = (row["difference"] for row in results["inception"])
    assert 0 < exact < 1e-5 < rounded < gpu.FEATURES["tf32"] and 2 * rounded < more < gpu.FEATURES["bf16"]
    gpu.main(["sn", *SMALL])
    assert "CuPy, tuned" in capsys.readouterr().out


@pytest.mark.parametrize("implicit", ["0", "1"])
def test_launches_are_counted_as_the_two_updates_are_by_hand(implicit, cupy, monkeypatch):
    """Multiplications of all products, as columns and by conv.cu; bytes of Adam's arrays and of one product's."""
    monkeypatch.setenv(conv.SWITCH, implicit)
    run = gpu.training("cuda", argparse.Namespace(model="cnn", batch=4, width=0.05), n_dis=1, graph=False,
                       precision="tf32")
    found = gpu.launched(cupy, run)
    assert ("im2col" in {name for name, *_ in found}) == (implicit == "0")

    def products(network, pixels):
        """Of a forward on 4 images, layer by layer: each weight once for each pixel of the smaller of two images."""
        weights = [W.size for name, W in network.parameters().items() if name.endswith("/W")]
        return [4 * side * side * W for side, W in zip(pixels, weights, strict=True)]
    dis, gen = products(run.dis, (32, 16, 16, 8, 8, 4, 4, 1)), products(run.gen, (1, 4, 8, 16, 32))
    # D: 2 forwards, with gradients of weights and of inputs but the images'; G's forward. G: 1 of each of both, but no
    # gradient of D's weights, nor of the latents
    expected = 2 * 3 * sum(dis) - 2 * dis[0] + sum(gen) + 2 * sum(dis) + 3 * sum(gen) - gen[0]
    assert sum(count * done for (_, _, done, _), (count, _) in found.items()) == expected
    assert sorted(moved for name, moved, *_ in found if name == "adam_all") == [
        4 * (7 * sum(p.size for p in network.parameters().values()) + 2) for network in (run.dis, run.gen)]
    first = 4 * 32 * 32 * 27 + 27 * 3 + 4 * 32 * 32 * 3  # columns, weights and result of D's first convolution
    assert (("cuBLAS", 4 * first, 4 * 32 * 32 * 27 * 3) in {key[:3] for key in found}) == (implicit == "0")


def test_pytorch_gets_the_same_network_and_the_same_precision(cupy, monkeypatch, capsys):
    """PyTorch's side is stood in for: there is no card."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    import torch_gpu
    seen = []

    def steps(model, batch, width, **how):
        seen.append((model, batch, width, how, torch.backends.cuda.matmul.allow_tf32,
                     torch.backends.cudnn.allow_tf32))
        return {"discriminator": lambda: None, "generator": lambda: None}
    monkeypatch.setattr(torch_gpu, "steps", steps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "check_training", lambda args, tolerance, precision: None)
    monkeypatch.setattr(gpu, "TOGETHER", 1)
    gpu.main(["updates", *SMALL, "--json"])
    assert seen == [("cnn", 4, 0.05, {"graph": graph, "bf16": precision == "bf16"}, *2 * [precision != "float32"])
                    for precision in ("float32", "tf32", "bf16") for graph in (False, True)]
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["updates"]]
    assert names[:4] == [f"discriminator, float32, {name}" for name in (
        "minigan, graph", "minigan", f"PyTorch {torch.__version__}", f"PyTorch {torch.__version__}, graph")]


def test_pytorchs_networks_have_the_width_that_is_asked_for(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    from train_step import torch_steps
    wide, narrow = (torch_steps("cnn", 2, 1, width=width)[1]["products"]["generator"] for width in (0.1, 0.05))
    assert 3 < wide / narrow < 5  # half the channels before and after every layer


def test_an_update_is_checked_before_it_is_timed(cupy):
    args = argparse.Namespace(model="cnn", batch=4, width=0.05)
    gpu.check_training(args, gpu.TOLERANCE)
    gpu.check_training(args, gpu.TOLERANCE, norm="none", loss="wasserstein", gp=10.0)


def test_a_wrong_result_is_not_timed(cupy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(gpu.spectral_norm, "spectral_gradients", lambda Gs, *rest: Gs)
        with pytest.raises(AssertionError):
            gpu.main(["sn", *SMALL])
    begin = gpu.gan.Training.step_generator

    def wrong(self, x):  # gradients of other latents
        return begin(self, x if self.e.device == "cpu" else dataclasses.replace(x, z=x.z * 1.01))
    monkeypatch.setattr(gpu.gan.Training, "step_generator", wrong)
    with pytest.raises(AssertionError):
        gpu.main(["updates", *SMALL])


def test_without_a_card_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(gpu.devices, "cuda_module", lambda: (_ for _ in ()).throw(gpu.WrongUse("no card")))
    with pytest.raises(SystemExit, match="no card"):
        gpu.main(["sn"])
    with pytest.raises(SystemExit):
        gpu.main(["nothing"])
    assert "unknown part 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize("precision", conv.BITS)
def test_ways_of_convolutions_are_timed_emulated(precision, cupy, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    import conv_layers
    monkeypatch.setenv(conv.SWITCH, "0")  # which the program changes
    monkeypatch.setattr(conv_layers.gpu, "LAUNCHES", 1)
    monkeypatch.setattr(conv_layers, "ways", lambda *sizes: [conv.Way(64, 64), conv.Way(64, 64, 2)])
    small = ["cnn", "--width", "0.02", "--batch", "1", "--repeats", "1", "--precision", precision]
    conv_layers.main([*small, "--json"])
    results = json.loads(capsys.readouterr().out)
    assert "emulated" in results["machine"]["card"]
    calls = sum((Counter({row["kernel"]: row["calls"]}) for row in results["cnn"]), Counter())
    # D: 7 convolutions of real, fake and again for G; G: 3 transposed ones and one, with the gradients of all in turn
    assert calls["conv"] == 3 * 7 + 2 * 1 + 3 and calls["conv_weights"] == 2 * 7 + 4
    assert all(row["best_us"] <= row["usual_us"] and row["columns_us"] > 0 for row in results["cnn"])
    launch = conv_layers.LAUNCHERS["conv"]
    monkeypatch.setitem(conv_layers.LAUNCHERS, "conv", lambda *given, way=None, **how: (
        launch(*given, way=way, **how) if way is None else cupy.array(
            launch(*given, way=way, **how).get().astype(np.float32) * np.float32(1.05))))
    with pytest.raises(SystemExit, match="is off by"):
        conv_layers.main(small)
