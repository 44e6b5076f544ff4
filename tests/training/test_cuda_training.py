"""Whole training steps on an emulated CuPy, kernels and all: the losses are NumPy's, and the launches are counted.

Emulated: the kernels run on the CPU from their own source (tests/emulator), the rest in tests/emulated_cupy, which says
what that cannot show. `pytest -m gpu` runs the same comparison on a real card.
"""

import dataclasses
import json

import emulated_cupy
import emulator
import numpy as np
import pytest
import tiny
from emulated_cupy.counts import count_operation

from minigan.cli import main
from minigan.engine import conv_ops, cublas, cuda, devices, im2col, ops
from minigan.engine.autograd import Tensor
from minigan.engine.loops import conv
from minigan.engine.machine import machine as this_machine
from minigan.experiment.presets import experiment
from minigan.networks.own import NONE, own
from minigan.nn.spectral_norms import spectral_norm
from minigan.training import loop, opening
from minigan.training.assembly import with_own
from minigan.training.gan import Training

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


def training(device, own=NONE, **chosen):
    pictures = np.random.default_rng(3).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    return Training(with_own(tiny.tiny(device=device, iterations=1000, **chosen), own), pictures, own=own)


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


def functions():
    """Networks of one's own, with a spectral normalization whose u is remembered."""
    rng = np.random.default_rng(0)

    def variable(*shape):
        return Tensor(0.1 * rng.standard_normal(shape, np.float32), requires_grad=True)

    def generator(p, z):
        return ops.tanh(ops.relu(z @ p["W1"] + p["b"]) @ p["W2"]).reshape(-1, 16, 16, 3)

    def discriminator(p, x):
        h = ops.leaky_relu(conv_ops.conv2d(x, spectral_norm(p["W1"], p["u1"]), None, 2, 1))
        return (h.reshape(len(x), -1) @ spectral_norm(p["W2"], p["u2"])).reshape(-1)

    e = tiny.tiny()
    return own((generator, {"W1": variable(e.dim_z, 16), "b": variable(16), "W2": variable(16, 768)}),
               (discriminator, {"W1": variable(4, 4, 4, 3), "u1": rng.standard_normal(4, np.float32),
                                "W2": variable(256, 1), "u2": rng.standard_normal(256, np.float32)}))


def test_functions_of_ones_own_train_on_a_device_as_on_the_host_emulated(cupy):
    given = functions()
    with emulator.checking(False):
        compare({"own": given, "gp": 1.0}, 1e-4)
    assert all(type(a) is np.ndarray for a in given.discriminator.state.values())  # what was given stays where it was


@pytest.mark.gpu
def test_functions_of_ones_own_train_on_a_gpu_as_on_the_host(real_cupy):
    compare({"own": functions(), "gp": 1.0}, 1e-3)


@pytest.mark.parametrize("order", ["ascending", "random"])
@pytest.mark.parametrize("chosen", [RUNS["cnn-sn-penalty"][0], RUNS["resnet-hinge"][0]], ids=["cnn", "resnet"])
def test_an_iteration_under_the_checker_emulated(chosen, order, cupy):
    """Every load and store of every kernel in a whole step: no race, no access out of bounds, nothing uninitialized."""
    with emulator.checking(True), emulator.order(order, seed=5):
        found, _ = losses("cuda", 1, **chosen)
    np.testing.assert_allclose(found, losses("cpu", 1, **chosen)[0], rtol=1e-4)


@pytest.mark.parametrize("gp", [0.0, 10.0], ids=["no-penalty", "penalty"])
@pytest.mark.parametrize("update", ["discriminator", "generator"])
@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_an_update_reads_nothing_back(model, update, gp, cupy):
    with emulator.checking(False):
        run = training("cuda", model=model, gp=gp)
        run.iterate()
        with emulated_cupy.counted() as counts:
            getattr(run, f"update_{update}")(1e-4)
    assert counts.to_host == 0  # each would wait for all that was launched before
    assert counts.to_device <= 5  # the inputs: rate, indices of the batch, noise, latents, the penalty's shares


# What the updates of discriminator and generator may launch at most, kernels and array operations (emulated: an
# operation is counted as one launch), at the papers' size: 32 x 32 pixels, all channels, the presets' batches of 64,
# the ResNet's generator 128. Larger layers are cut into more tiles.
BOUNDS = {("cnn", 0.0, "columns", "tf32"): (158, 100), ("cnn", 10.0, "columns", "tf32"): (267, 100),
          ("resnet", 0.0, "columns", "tf32"): (276, 254), ("resnet", 10.0, "columns", "tf32"): (439, 254),
          ("cnn", 0.0, "none", "tf32"): (99, 66), ("cnn", 10.0, "none", "tf32"): (173, 66),
          ("resnet", 0.0, "none", "tf32"): (194, 155), ("resnet", 10.0, "none", "tf32"): (317, 155),
          ("cnn", 0.0, "columns", "bf16"): (170, 109), ("cnn", 10.0, "columns", "bf16"): (298, 109),
          ("resnet", 0.0, "columns", "bf16"): (303, 251), ("resnet", 10.0, "columns", "bf16"): (499, 251),
          ("cnn", 0.0, "none", "bf16"): (106, 72), ("cnn", 10.0, "none", "bf16"): (182, 72),
          ("resnet", 0.0, "none", "bf16"): (212, 167), ("resnet", 10.0, "none", "bf16"): (347, 167)}
SHARE = 4  # of a batch and of a tile that is counted here: the tiles are as many, or one more where they do not divide


@pytest.mark.parametrize("model, gp, columns, precision", BOUNDS, ids=lambda value: str(value))
def test_launches_are_bounded_at_the_papers_size(model, gp, columns, precision, cupy, monkeypatch):
    """What is launched depends on the shapes alone, so nothing large is computed here: the values are not looked at."""
    monkeypatch.setenv(conv.SWITCH, str(int(columns == "none")))
    monkeypatch.setattr(emulator.Module, "launch", lambda *given, **how: None)
    monkeypatch.setattr(cublas.Handle, "multiply", uncomputed)
    monkeypatch.setattr(im2col, "CUDA_TILE_BYTES", im2col.CUDA_TILE_BYTES // SHARE)
    e = experiment("cifar10", model=model, gp=gp, device="cuda", precision=precision)
    e = dataclasses.replace(e, batch_size=e.batch_size // SHARE,
                            gen_batch_size=(e.gen_batch_size or e.batch_size) // SHARE)
    run = Training(e, np.random.default_rng(3).integers(0, 256, (e.batch_size, 32, 32, 3)).astype(np.uint8))
    cuda.tickets(cupy, 1)  # made once, whichever update is the first
    found = []
    for update in (run.update_discriminator, run.update_generator):
        with emulated_cupy.counted() as counts:
            update(1e-4)
        found.append(counts.launches)
        print(f"{model}, gp {gp:g}, columns: {columns}, {precision}, emulated: {counts.launches} launches, "
              f"{dict(counts.kernels)}, {dict(counts.operations)}")
    assert [n for n, bound in zip(found, BOUNDS[model, gp, columns, precision], strict=True) if n > bound] == []
    assert min(found) > 50  # they are counted


def uncomputed(self, a, b, out):
    """A product of matrices: one launch, and more for operands that have to be copied or rounded first."""
    factors = [cublas._as_it_lies(x)[0] for x in (a, b)]
    if self.precision == "bf16":
        self.in_bf16(*factors)
    count_operation("gemm")


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


@pytest.mark.parametrize("norm, more", [("ssn", 0), ("bsn", 1), ("bssn", 1), ("sn-gamma", 0), ("sn-gamma-shared", 0),
                                        ("bsn-gamma", 1), ("bsn-through", 1)])
def test_nor_do_they_with_two_matrices_scales_or_gammas(norm, more, cupy):
    """A launch more a forward where W is transposed, one where sigma is not all that weights are divided by, and two
    for the gradient through the power iteration."""
    through, norm = norm.endswith("-through"), norm.removesuffix("-through")
    with emulator.checking(False):
        for model in ("cnn", "resnet"):
            run = training("cuda", model=model, norm=norm, u_gradient=through,
                           **({"scale": 1.5} if norm in ("ssn", "bssn") else {}))
            with emulated_cupy.counted() as counts:
                run.update_discriminator(1e-4)
            kernels = {"sn_wtu": 2, "sn_wv": 2, "sn_factors": 2, "sn_dots": 2, "sn_correct": 2}
            if through:
                kernels |= {"sn_wtu": 4, "sn_through": 2}
            assert {name: n for name, n in counts.kernels.items() if name.startswith("sn_")} == \
                (kernels | {"sn_transpose": 2} if more else kernels)
            plain = training("cuda", model=model)
            with emulated_cupy.counted() as of_sn:
                plain.update_discriminator(1e-4)
            added = sum(counts.operations.values()) - sum(of_sn.operations.values())
            assert added == (2 if norm == "sn-gamma-shared" else 0)  # the sum of its gradients over the layers


def test_nor_do_they_with_a_gradient_penalty(cupy):
    """The penalty's graph of the gradient uses W / sigma itself: made for all layers in one launch."""
    with emulator.checking(False):
        for model in ("cnn", "resnet"):
            run = training("cuda", model=model, gp=10.0)
            with emulated_cupy.counted() as counts:
                run.update_discriminator(1e-4)
            assert {name: n for name, n in counts.kernels.items() if name.startswith("sn_")} == {
                "sn_wtu": 3, "sn_wv": 3, "sn_scale": 1, "sn_dots": 3, "sn_correct": 3}


@pytest.mark.parametrize("gp", [0.0, 10.0])
def test_sn_conv_launches_its_convolutions_and_little_more_than_sn(gp, cupy, monkeypatch):
    """Of 7 convolutions, for real, fake and penalty: A v, A^T A v and, backwards, a weight gradient. Of the dense layer
    they are products of matrices. No array operation more."""
    monkeypatch.setenv(conv.SWITCH, "1")
    monkeypatch.setattr(emulator.Module, "launch", lambda *given, **how: None)
    monkeypatch.setattr(cublas.Handle, "multiply", uncomputed)
    found = []
    for norm in ("sn", "sn-conv"):
        run = training("cuda", norm=norm, gp=gp, precision="tf32")
        run.update_discriminator(1e-4)  # v comes with the first images
        with emulated_cupy.counted() as counts:
            run.update_discriminator(1e-4)
        found.append(({name: n for name, n in counts.kernels.items() if not name.startswith("sn_")},
                      {name: n for name, n in counts.operations.items() if name != "gemm"}))
    (sn, of_sn), (operator, of_operator) = found
    passes = 3 if gp else 2
    assert of_operator == of_sn
    assert {name: n - sn.get(name, 0) for name, n in operator.items() if n != sn.get(name)} == {
        name: 7 * passes for name in ("conv", "conv_transposed", "conv_weights")} | {
        f"operator_{name}": passes for name in ("norms", "dots", "correct")}


def test_a_run_records_its_card(cupy, tmp_path):
    with emulator.checking(False):
        assert main.run([*tiny.words(tiny.pictures(tmp_path / "data"), tmp_path / "run", device="cuda", iterations=1),
                        "--quiet"]) == 0
    machine = json.loads((tmp_path / "run" / "experiment.json").read_text())["machine"]
    assert machine == this_machine() | devices.cuda_facts() | {"card": machine["card"]}  # less memory is free by now
    assert machine["card"].startswith("Emulated GPU") and {"driver", "cupy", "nvrtc", "cublas"} <= set(machine)


@pytest.mark.parametrize("where", ["Training", "Training.sample", "Training.spectral_norms", "Training.iterate"])
@pytest.mark.parametrize("error", [MemoryError("Out of memory allocating 512 bytes"),
                                   RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
                                   RuntimeError("cudaErrorMemoryAllocation: out of memory")],
                         ids=["cupy", "cublas", "cuda"])
def test_too_little_memory_at_any_time_in_any_words_is_failed_work(where, error, tmp_path, monkeypatch, capsys):
    """Beginning with the upload of the images."""
    def starved(*given, **how):
        raise error
    monkeypatch.setattr(opening, where, starved) if where == "Training" else monkeypatch.setattr(
        Training, where.partition(".")[2], starved)
    code = main.run([*tiny.words(tiny.pictures(tmp_path / "data"), tmp_path / "run"), "--quiet"])
    err = capsys.readouterr().err
    assert code == 1 and len(err.strip().splitlines()) == 1
    done = int(where == "Training.spectral_norms")  # the first look at them is after an iteration
    assert f"out of main memory after iteration {done}" in err and str(error) in err
    assert ("checkpoint-0000000.h5" in err) == (where in ("Training.spectral_norms", "Training.iterate"))


def test_another_error_is_not_taken_for_too_little_memory(tmp_path, monkeypatch):
    def broken(self):
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
    monkeypatch.setattr(Training, "iterate", broken)
    run = tiny.tiny(data_root=str(tiny.pictures(tmp_path / "data")))
    with pytest.raises(RuntimeError, match="IllegalAddress"):
        loop.fit(run, tmp_path / "run", quiet=True)


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
            code = main.run([*words, "--quiet"])
    finally:
        pool.set_limit(size=0)
    err = capsys.readouterr().err
    assert code == 1 and len(err.strip().splitlines()) == 1
    for part in ("out of GPU memory after iteration 2", "batches of 5", "--batch-size", "checkpoint-0000002.h5"):
        assert part in err
