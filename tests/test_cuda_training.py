"""Whole training steps on an emulated CuPy, kernels and all: the losses are NumPy's, and the launches are counted.

Emulated: the kernels run on the CPU from their own source (tests/emulator), the rest in tests/emulated_cupy, which says
what that cannot show. `pytest -m gpu` runs the same comparison on a real card.
"""

import emulated_cupy
import emulator
import numpy as np
import pytest
import tiny

from minigan import cli
from minigan.gan import Training

RUNS = {  # what is trained, and how far its losses may come from NumPy's in 20 iterations: float32's rounding grows
    "cnn-hinge": ({"model": "cnn", "loss": "hinge"}, 1e-5),
    "cnn-ns": ({"model": "cnn", "loss": "ns"}, 1e-5),
    "cnn-penalty": ({"model": "cnn", "loss": "wasserstein", "gp": 10.0, "norm": "none"}, 1e-4),
    "cnn-sn-penalty": ({"model": "cnn", "loss": "hinge", "gp": 10.0, "n_dis": 2}, 1e-4),
    "resnet-hinge": ({"model": "resnet", "loss": "hinge"}, 1e-3),
    "resnet-ns": ({"model": "resnet", "loss": "ns", "power_iterations": 2}, 1e-3),
    "resnet-penalty": ({"model": "resnet", "loss": "ns", "gp": 1.0, "norm": "none"}, 1e-3),
}


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy:
        yield cupy


def training(device, **chosen):
    pictures = np.random.default_rng(3).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    return Training(tiny.tiny(device=device, iterations=1000, **chosen), pictures)


def losses(device, iterations, **chosen):
    run = training(device, **chosen)
    return np.array([[loss.item() for loss in run.iterate()] for _ in range(iterations)]), run


def compare(chosen, tolerance):
    """20 iterations with NumPy and with whatever CuPy is."""
    expected, numpys = losses("cpu", 20, **chosen)
    found, ours = losses("cuda", 20, **chosen)
    assert np.isfinite(expected).all() and np.ptp(expected, axis=0).min() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    # The generator has come the same way. Not each weight: the gradient of a bias in front of BN is rounding alone.
    pictures = [run.sample(run.preview[:8]).astype(int) for run in (numpys, ours)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2, "grey levels"


@pytest.mark.parametrize("chosen, tolerance", RUNS.values(), ids=RUNS)
def test_the_same_seed_gives_the_same_losses_emulated(chosen, tolerance, cupy):
    with emulator.checking(False):
        compare(chosen, tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("chosen, tolerance", RUNS.values(), ids=RUNS)
def test_the_same_seed_gives_the_same_losses_on_a_gpu(chosen, tolerance, real_cupy):
    compare(chosen, 10 * tolerance)  # cuBLAS and CUDA's tanh and exp round in their own way


@pytest.mark.parametrize("order", ["ascending", "random"])
@pytest.mark.parametrize("chosen", [RUNS["cnn-sn-penalty"][0], RUNS["resnet-hinge"][0]], ids=["cnn", "resnet"])
def test_an_iteration_under_the_checker_emulated(chosen, order, cupy):
    """Every load and store of every kernel in a whole step: no race, no access out of bounds, nothing uninitialized."""
    with emulator.checking(True), emulator.order(order, seed=5):
        found, _ = losses("cuda", 1, **chosen)
    np.testing.assert_allclose(found, losses("cpu", 1, **chosen)[0], rtol=1e-4)


# What one update may launch at most, kernels and array operations (emulated: an operation is counted as one launch).
BOUNDS = {("cnn", "discriminator"): 200, ("cnn", "generator"): 120, ("resnet", "discriminator"): 345,
          ("resnet", "generator"): 255}


@pytest.mark.parametrize("model, update", BOUNDS, ids="-".join)
def test_an_update_reads_nothing_back_and_launches_are_bounded(model, update, cupy):
    with emulator.checking(False):
        run = training("cuda", model=model)
        run.iterate()
        with emulated_cupy.counted() as counts:
            getattr(run, f"update_{update}")(1e-4)
    print(f"{model}, {update}'s update, emulated: {counts.launches} launches, "
          f"{dict(counts.kernels)}, {dict(counts.operations)}")
    assert counts.to_host == 0  # each would wait for all that was launched before
    assert counts.to_device <= 3  # indices of the batch, noise, latents
    assert counts.launches <= BOUNDS[model, update]


def test_launches_for_spectral_normalization_do_not_grow_with_the_layers(cupy):
    """CNN: 8 layers, ResNet: 11. Real and fake forward and one backward through each: two launches every time."""
    with emulator.checking(False):
        for model in ("cnn", "resnet"):
            run = training("cuda", model=model)
            with emulated_cupy.counted() as counts:
                run.update_discriminator(1e-4)
            assert {name: n for name, n in counts.kernels.items() if name.startswith("sn_")} == {
                "sn_wtu": 2, "sn_wv": 2, "sn_dots": 2, "sn_correct": 2}
            assert counts.kernels["adam"] == 1


def test_nor_do_they_with_a_gradient_penalty(cupy):
    """The penalty's graph of the gradient uses W / sigma itself: made for all layers in one launch."""
    with emulator.checking(False):
        for model in ("cnn", "resnet"):
            run = training("cuda", model=model, gp=10.0)
            with emulated_cupy.counted() as counts:
                run.update_discriminator(1e-4)
            assert {name: n for name, n in counts.kernels.items() if name.startswith("sn_")} == {
                "sn_wtu": 3, "sn_wv": 3, "sn_scale": 1, "sn_dots": 3, "sn_correct": 3}


def test_too_little_gpu_memory_is_said_in_one_line(cupy, tmp_path, monkeypatch, capsys):
    """The message names the batch size and what to lower, and the run can be looked at."""
    pool = cupy.get_default_memory_pool()
    iterate = Training.iterate

    def starved(self):
        if self.iteration == 2:
            pool.set_limit(size=pool.used_bytes() + 1000)
        return iterate(self)
    monkeypatch.setattr(Training, "iterate", starved)
    words = tiny.words(tiny.pictures(tmp_path / "data"), tmp_path / "run", device="cuda", checkpoint_every=2)
    try:
        with emulator.checking(False):
            code = cli.run([*words, "--quiet"])
    finally:
        pool.set_limit(size=0)
    err = capsys.readouterr().err
    assert code == 1 and len(err.strip().splitlines()) == 1
    for part in ("out of GPU memory after iteration 2", "batches of 5", "--batch-size", "checkpoint-0000002.h5"):
        assert part in err
