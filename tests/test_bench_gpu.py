"""bench/gpu.py from end to end on the emulated CuPy, so that whoever has a card gets numbers at the first try."""

import json

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


def test_a_wrong_result_is_not_timed(cupy, monkeypatch):
    monkeypatch.setattr(gpu.fused, "spectral_gradients", lambda Gs, *rest: Gs)
    with pytest.raises(AssertionError):
        gpu.main(["sn", *SMALL])


def test_without_a_card_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(gpu.backend, "cuda_module", lambda: (_ for _ in ()).throw(gpu.backend.WrongUse("no card")))
    with pytest.raises(SystemExit, match="no card"):
        gpu.main(["sn"])
    with pytest.raises(SystemExit):
        gpu.main(["nothing"])
    assert "unknown part 'nothing'" in capsys.readouterr().err
