"""bench/gpu.py from end to end on the emulated CuPy, so that whoever has a card gets numbers at the first try."""

import json
from pathlib import Path

import emulated_cupy
import emulator
import pytest

from bench import gpu

SMALL = ["--width", "0.05", "--batch", "4", "--repeats", "1"]


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        yield cupy


def test_every_part_that_needs_no_other_library_runs_emulated(cupy, capsys):
    gpu.main(["sn", "figure10", *SMALL, "--json"])
    results = json.loads(capsys.readouterr().out)
    assert "emulated" in results["machine"]["card"]  # its times say nothing, and it says so
    assert [row["name"] for row in results["sn"]] == ["kernels", "CuPy", "CuPy, tuned"]
    assert [row["name"] for row in results["figure10"]] == ["none", "SN", "WGAN-GP"]
    gpu.main(["steps", *SMALL])
    assert "generator" in capsys.readouterr().out


@pytest.mark.parametrize("setting, on", [("0", False), ("1", True), (None, False)], ids=["off", "on", "not-set"])
def test_pytorch_gets_the_same_network_and_the_same_tf32(setting, on, cupy, monkeypatch, capsys):
    """PyTorch's side is stood in for: there is no card. Its networks' width is its own test."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    import train_step
    seen = []

    def torch_steps(model, batch, threads, device, width):
        seen.append((model, batch, device, width, torch.backends.cuda.matmul.allow_tf32,
                     torch.backends.cudnn.allow_tf32))
        return {"discriminator": lambda: None, "generator": lambda: None}, {"library": "PyTorch 9"}
    monkeypatch.setattr(train_step, "torch_steps", torch_steps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not on
    monkeypatch.delenv("CUPY_TF32", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUPY_TF32", setting)
    gpu.main(["pytorch", *SMALL, "--json"])
    assert seen == [("cnn", 4, "cuda", 0.05, on, on)]
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["pytorch"]]
    tf32 = f"TF32 {'on' if on else 'off'}"
    assert names == [f"{library}, {tf32}, {step}" for step in ("discriminator", "generator")
                     for library in ("minigan", "PyTorch 9")]


def test_pytorchs_networks_have_the_width_that_is_asked_for(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(Path(gpu.__file__).parent)
    from train_step import torch_steps
    wide, narrow = (torch_steps("cnn", 2, 1, width=width)[1]["products"]["generator"] for width in (0.1, 0.05))
    assert 3 < wide / narrow < 5  # half the channels before and after every layer


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_check_that_fails_in_a_process_of_tf32_is_a_failure(as_json, cupy, monkeypatch):
    class Done:
        returncode, stdout, stderr = 1, "", "Traceback\nAssertionError: Not equal to tolerance"
    monkeypatch.setattr(gpu.subprocess, "run", lambda *words, **how: Done)
    with pytest.raises(SystemExit) as caught:
        gpu.main(["tf32", *SMALL, *as_json])
    assert "CUPY_TF32=0" in caught.value.code and "Not equal to tolerance" in caught.value.code  # a text: exit code 1


def test_a_wrong_result_is_not_timed(cupy, monkeypatch):
    monkeypatch.setattr(gpu.spectral_norm, "spectral_gradients", lambda Gs, *rest: Gs)
    with pytest.raises(AssertionError):
        gpu.main(["sn", *SMALL])


def test_without_a_card_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(gpu.devices, "cuda_module", lambda: (_ for _ in ()).throw(gpu.WrongUse("no card")))
    with pytest.raises(SystemExit, match="no card"):
        gpu.main(["sn"])
    with pytest.raises(SystemExit):
        gpu.main(["nothing"])
    assert "unknown part 'nothing'" in capsys.readouterr().err
