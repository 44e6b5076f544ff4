"""What a training's products round to: chosen, recorded, and kept when it goes on. Emulated."""

import json

import emulated_cupy
import emulator
import numpy as np
import pytest
import tiny

from minigan.cli import main
from minigan.engine import cublas, devices
from minigan.engine.autograd import Tensor
from minigan.experiment.presets import experiment
from minigan.networks.own import own
from minigan.training.assembly import with_own
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
                                 ("float32", ["--precision", "float32"], "float32"),
                                 ("bf16", ["--precision", "bf16"], "bf16")):
        assert main.run(words(tmp_path, name, *more)) == 0
        assert recorded(tmp_path / name) == expected
    runs = {name: tiny.contents(tmp_path / name) for name in ("usual", "tf32", "float32", "bf16")}
    assert runs["usual"] == runs["tf32"]
    logs = {name: (tmp_path / name / "log.jsonl").read_text() for name in runs}
    losses = {name: [json.loads(line)["loss_dis"] for line in log.splitlines()] for name, log in logs.items()}
    for name, unit in (("tf32", 2**-8), ("bf16", 2**-5)):
        assert losses[name] != losses["float32"]
        np.testing.assert_allclose(losses[name][0], losses["float32"][0], rtol=unit)
    assert losses["bf16"] != losses["tf32"]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_run_goes_on_as_it_began(precision, cupy, tmp_path, monkeypatch):
    assert main.run(words(tmp_path, "whole", "--precision", precision)) == 0
    assert tiny.run_until(words(tmp_path, "resumed", "--precision", precision), 6, monkeypatch) == 130
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


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_cpu_refuses_to_round_before_anything_is_made(precision, tmp_path, capsys):
    said = f"minigan: --precision {precision} needs --device cuda: a CPU multiplies float32 as it is; leave it out"
    assert main.run(words(tmp_path, "run", "--precision", precision, device="cpu")) == 2
    assert capsys.readouterr().err.strip() == said
    assert not (tmp_path / "run").exists()
    assert main.run(["explain", "shapes", "--precision", precision]) == 2
    assert capsys.readouterr() == ("", said + "\n")


def test_a_card_without_bf16_refuses_it(cupy, tmp_path, monkeypatch, capsys):
    assert tiny.run_until(words(tmp_path, "begun", "--precision", "bf16"), 6, monkeypatch) == 130
    monkeypatch.setattr(type(cupy.cuda.Device()), "compute_capability", "75")
    says = ("minigan: --precision bf16 needs a GPU of compute capability 8.0 or newer, and this one has 7.5; "
            "--precision float32 runs on it")
    capsys.readouterr()
    for given in (words(tmp_path, "run", "--precision", "bf16"), ["train", "--resume", str(tmp_path / "begun")]):
        assert main.run(given) == 2
        assert capsys.readouterr().err.strip() == says
    assert not (tmp_path / "run").exists()
    assert main.run(["train", "--resume", str(tmp_path / "begun"), "--precision", "float32", "--quiet"]) == 0
    assert recorded(tmp_path / "begun") == "float32"


def test_without_ml_dtypes_bf16_alone_is_refused(cupy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "BF16", np.dtype("V2"))
    assert main.run(words(tmp_path, "run", "--precision", "bf16")) == 2
    assert capsys.readouterr().err.strip() == ("minigan: --precision bf16 needs ml_dtypes, which is not installed; pip "
                                               "install ml_dtypes, or --precision tf32")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_without_cublas_nothing_can_be_rounded(precision, cupy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cublas, "_library", lambda: None)
    monkeypatch.setattr(cublas, "_handles", {})
    assert main.run(words(tmp_path, "run", "--precision", precision)) == 2
    assert capsys.readouterr().err.startswith(f"minigan: --precision {precision} needs cuBLAS, which is not found; ")
    assert not (tmp_path / "run").exists() and cublas.usual_precision(cupy) == "float32"


@pytest.mark.parametrize("chosen", [{"norm": "ln"}, {"norm": "bn"}, {"norm": "sn-conv"}, {"norm": "wn-gain"},
                                    {"norm": "orthonormal"}, {"condition": "projection"}, {"condition": "concat"},
                                    {"condition": "ac"}, {"model": "resnet", "upsample": "bilinear"},
                                    {"model": "dcgan-32"}, {"gen_norm": "bssn", "gp": 10.0}], ids=str)
def test_all_networks_take_activations_in_bf16(chosen, cupy, monkeypatch):
    """That their operations fit together; nothing is computed."""
    monkeypatch.setattr(emulator.Module, "launch", lambda *given, **how: None)
    monkeypatch.setattr(cublas.Handle, "multiply", lambda self, a, b, out: None)
    chosen = ({"model": "resnet"} if "condition" in chosen else {}) | chosen
    e = experiment("cifar10", device="cuda", graph=False, precision="bf16", batch_size=2, width=0.1, **chosen)
    training = Training(e, np.zeros((4, 32, 32, 3), np.uint8), np.arange(4), classes=4 * ("condition" in chosen))
    with emulated_cupy.counted() as counts:
        for loss in training.iterate():
            assert loss.dtype == np.float32
    assert counts.kernels["to_float32"] and "im2col4_bf16" not in counts.kernels  # that of windows of float32 images


def test_a_network_of_ones_own_may_write_to_its_weights_in_a_forward(cupy, rng):
    def dis(p, x):
        p["W"].data *= np.float32(0.5)
        return (x.reshape(len(x), -1) @ p["W"]).reshape(-1)

    given = own(None, (dis, {"W": Tensor(rng.standard_normal((768, 1), np.float32), requires_grad=True)}))
    images = rng.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    losses = [Training(with_own(tiny.tiny(device="cuda", loss="wasserstein", precision=precision), given), images,
                       own=given).update_discriminator(1e-4).item() for precision in ("float32", "bf16")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2**-5)


def test_only_updates_round(cupy, monkeypatch):
    """Samples, and all that is measured beside the updates, are float32's."""
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    trained = [Training(tiny.tiny(device="cuda", precision=precision), images)
               for precision in ("float32", "tf32", "bf16")]
    for training in trained:
        training.dis.load(trained[0].dis.arrays())
    samples = [training.sample(training.preview) for training in trained]
    for sample, training in zip(samples, trained, strict=True):
        assert (samples[0] == sample).all()
        assert trained[0].spectral_norms() == training.spectral_norms()
