"""What a diagnosis says: SVD, finite differences, closed forms; and that looking changes nothing."""

import copy
import dataclasses
import json

import emulated_cupy
import numpy as np
import pytest
from convolutions import operator
from tiny import contents, pictures, run_until, tiny, words
from twins import to_float64

from minigan.cli import main
from minigan.engine.autograd import Tensor, no_grad
from minigan.engine.loops.power_iteration import power_iteration
from minigan.networks.cnn import CNNDiscriminator
from minigan.networks.models import MODELS
from minigan.networks.norms import NORMS
from minigan.nn import feature_norms
from minigan.nn.layers import Pass
from minigan.nn.losses import LOSSES
from minigan.nn.weight_norms import to_matrix
from minigan.training import run_folder
from minigan.training.diagnosis import diagnostics
from minigan.training.diagnosis.diagnostics import diagnose
from minigan.training.gan import Training


def trained(iterations=2, size=16, channels=3, classes=3, **chosen):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (24, size, size, channels)).astype(np.uint8)
    images //= rng.integers(1, 4, (24, 1, 1, 1), dtype=np.uint8)
    training = Training(tiny(**chosen), images, np.arange(24) % classes)
    for _ in range(iterations):
        training.iterate()
    return training


def everything(training):
    """All that goes on being used: arrays, moments, the states of the random numbers."""
    return json.dumps(training.state(), default=lambda a: a.tobytes().hex() if isinstance(a, np.ndarray) else str(a))


WITHOUT_U = ("none", "wn", "wn-gain", "frobenius", "clip", "orthonormal", "bn", "ln")
SIZES = {"resnet-stl": 16, "resnet-64": 32, "resnet-imagenet": 32, "resnet-bssn": 32, "mnist-bssn": 20}
CASES = [
    *({"norm": name} for name in NORMS),
    *({"model": name, "norm": ("sn", "none")[i % 2]} for i, name in enumerate(MODELS)),
    *({"loss": name} for name in LOSSES),
    *({"condition": name, "model": model} for name in ("projection", "ac") for model in ("cnn", "resnet")),
    {"condition": "concat", "model": "resnet"},
    {"gp": 10.0, "norm": "none", "loss": "wasserstein"}, {"gp": 10.0, "norm": "ln", "model": "resnet"},
    {"norm": "sn", "u_schedule": "update", "u_gradient": True, "gp": 1.0}, {"norm": "ssn", "scale": 1.75},
    {"dequantize": True, "latent": "uniform", "ema": 0.9, "gen_norm": "sn"},
]


@pytest.mark.parametrize("chosen", CASES, ids=lambda chosen: " ".join(map(str, chosen.values())))
def test_every_training_can_be_diagnosed_and_is_not_changed(chosen):
    training = trained(size=SIZES.get(chosen.get("model"), 16), **{"width": 0.03} | chosen)
    before = everything(training)
    found = diagnose(training)
    assert everything(training) == before
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    has_u = chosen.get("norm", "sn") not in WITHOUT_U
    weights = {path: layer for path, layer in training.dis.walk() if "W" in layer.params}
    assert list(found["layers"]) == list(weights)
    for path, row in found["layers"].items():
        W = to_matrix(weights[path].params["W"].data)
        np.testing.assert_allclose(row["sigma"], np.linalg.norm(W, 2), rtol=2e-5)
        values = row["singular_values"]
        assert len(values) == min(W.shape) and values == sorted(values, reverse=True) and values[0] == row["sigma_bar"]
        assert (row["sigma_estimate"] is not None) == has_u
        assert row["conv_lower"] * (1 - 1e-3) <= row["sigma_conv"] <= row["conv_upper"] * (1 + 1e-5)
        assert row["gradient"] >= 0 and row["variance"] >= 0
    unbounded = feature_norms.BatchNorm | feature_norms.LayerNorm
    assert (found["lipschitz_bound"] is None) == any(isinstance(layer, unbounded) for _, layer in training.dis.walk())
    if found["lipschitz_bound"] is not None:
        assert 0 < max(found["slope"].values()) <= found["lipschitz_bound"]
    assert (found["inactive"] is None) == (training.e.loss != "hinge")


def test_the_same_training_gives_the_same_diagnosis_and_another_iteration_another():
    first, again = (diagnose(trained()) for _ in range(2))
    third = diagnose(trained(3))
    for found in (first, again, third):
        del found["seconds"], found["iteration"]
    assert first == again and first["outputs"] != third["outputs"]


# ---- norms ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("norm", ["sn", "ssn", "sn-gamma", "bsn", "sn-conv"])
def test_the_estimate_is_the_power_iterations_own_and_meant_is_its_limit(norm):
    training = trained(4, norm=norm, width=0.1)
    layer = training.dis.layers["conv3"]
    W, state = layer.params["W"].data, layer.state
    W += np.random.default_rng(5).standard_normal(W.shape).astype(np.float32) * W.std() / 2
    row = diagnose(training)["layers"]["conv3"]
    with no_grad():
        W_bar = layer.norm.weight(layer, (1, 8, 8, W.shape[-1]), False).data
    gamma = layer.params["gamma"].data.item() if norm == "sn-gamma" else 1
    np.testing.assert_allclose(row["sigma_estimate"], gamma * np.linalg.norm(W) / np.linalg.norm(W_bar), rtol=1e-5)
    np.testing.assert_allclose(row["sigma_bar"], np.linalg.norm(to_matrix(W_bar), 2), rtol=1e-5)
    if norm != "sn-conv":
        sigmas = [power_iteration(np.ascontiguousarray(to_matrix(W, axis)), state[name])[2]
                  for name, axis in (("u", 0), ("u_in", 3)) if name in state]
        np.testing.assert_allclose(row["sigma_estimate"], np.mean(sigmas), rtol=1e-5)
        exact = [np.linalg.norm(to_matrix(W, axis), 2) for axis in ((0, 3) if norm == "bsn" else (0,))]
        np.testing.assert_allclose(row["sigma_meant"], np.mean(exact), rtol=1e-5)
    else:
        exact = np.linalg.norm(operator(layer, W.astype(np.float64), (8, 8)), 2)
        np.testing.assert_allclose(row["sigma_meant"], exact, rtol=2e-3)
    assert abs(row["sigma_estimate"] / row["sigma_meant"] - 1) > 1e-5  # not converged: the two are told apart


# ---- gradients -----------------------------------------------------------------------------------------------------

@pytest.fixture
def seen(monkeypatch):
    """The images (x, labels) that the discriminator judged in a diagnosis, and the gradients of each layer."""
    judged, gradients = [], []
    judge, layer = Training.judge, diagnostics._layer
    monkeypatch.setattr(Training, "judge", lambda self, x, *more: judged.append(x.data) or judge(self, x, *more))
    monkeypatch.setattr(diagnostics, "_layer", lambda w, *more: gradients.append((w, *more)) or layer(w, *more))
    return judged, gradients


@pytest.mark.parametrize("model", ["cnn", "resnet", "mnist-bssn"])
def test_slopes_are_central_differences_at_real_fake_and_interpolated_pictures(model, seen):
    training = trained(channels=1, model=model, batch_size=3, width=0.04, norm="ssn", scale=2.0, iterations=3)
    seen[0].clear()
    found = diagnose(training)["slope"]
    real, fake, between = seen[0]
    # each image lies on the straight line between its real and its fake one
    t = np.sum((between - fake) * (real - fake), (1, 2, 3)) / np.sum((real - fake) ** 2, (1, 2, 3))
    np.testing.assert_allclose(between, fake + t[:, None, None, None] * (real - fake), atol=1e-6)
    assert len(set(t)) == 3 and 0 <= t.min() and t.max() <= 1
    dis = to_float64(copy.deepcopy(training.dis))
    step = 1e-6 * np.eye(256).reshape(256, 16, 16, 1)
    for name, x in (("real", real), ("fake", fake), ("between", between)):
        def value(x):
            with no_grad():
                return dis(Tensor(x), False).data
        slopes = [np.linalg.norm((value(one + step) - value(one - step)) / 2e-6) for one in x.astype(np.float64)]
        np.testing.assert_allclose(found[name], max(slopes), rtol=1e-3)


def test_the_gradient_of_a_dense_layer_is_equation_12_in_closed_form(seen):
    """With no hinge term active or inactive by halves: delta is -1/N for real images and 1/N for fake ones."""
    training = trained(1, width=0.1)
    W = training.dis.layers["dense"].params["W"].data
    W[:] = np.random.default_rng(1).standard_normal(W.shape)
    training.dis.layers["dense"].params["b"].data[:] = 0
    seen[0].clear()
    found = diagnose(training)
    assert found["inactive"] == {"real": 0, "fake": 0}  # every term counts
    with no_grad():
        h_real, h_fake = (training.dis.features(Tensor(x), Pass(False)).data for x in seen[0][:2])
    row, w, sigma = found["layers"]["dense"], W[0].astype(np.float64), np.linalg.norm(W)
    g = h_fake.mean(0) - h_real.mean(0)  # E[delta h^T]
    lam = g @ w / sigma  # E[delta^T W_bar h]
    np.testing.assert_allclose(row["gradient_bar"], np.linalg.norm(g), rtol=1e-4)
    np.testing.assert_allclose(row["lambda"], lam, rtol=1e-4)
    np.testing.assert_allclose(row["gradient"], np.linalg.norm(g - lam * w / sigma) / sigma, rtol=1e-4)
    np.testing.assert_allclose(row["removed"], abs(lam) / np.linalg.norm(g), rtol=1e-4)
    np.testing.assert_allclose(row["gradient_output"], np.linalg.norm(h_real.mean(0)), rtol=1e-4)
    real, fake = (h @ w / sigma for h in (h_real, h_fake))
    np.testing.assert_allclose(found["outputs"]["real"], [real.mean(), real.std()], rtol=1e-3)
    np.testing.assert_allclose(found["outputs"]["fake"], [fake.mean(), fake.std()], rtol=1e-3)
    np.testing.assert_allclose(found["accuracy"], ((real > 0).mean() + (fake <= 0).mean()) / 2)


def test_the_gradient_of_a_convolution_loses_lambda_u_v(seen):
    training = trained(3, width=0.1)
    found = diagnose(training)
    for watched, gW, gW_bar, *_ in seen[1]:
        matrix = to_matrix(watched.layer.params["W"].data).astype(np.float64)
        u, v, sigma = power_iteration(matrix, watched.layer.state["u"].astype(np.float64))
        lam = np.sum(gW_bar * watched.held.W_bar.data)
        expected = (to_matrix(gW_bar) - lam * np.outer(u, v)) / sigma
        np.testing.assert_allclose(to_matrix(gW), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
        row = next(row for row in found["layers"].values() if row["gradient"] == float(f"{np.linalg.norm(gW):.6g}"))
        np.testing.assert_allclose(row["lambda"], lam, rtol=1e-4)
        np.testing.assert_allclose(row["removed"], abs(lam) / np.linalg.norm(gW_bar), rtol=1e-3)


@pytest.mark.parametrize("chosen", [{"norm": "none"}, {"norm": "clip"}, {"norm": "orthonormal"}])
def test_without_normalization_nothing_is_removed(chosen):
    for row in diagnose(trained(**chosen))["layers"].values():
        assert row["removed"] == 0 and row["gradient"] == row["gradient_bar"] > 0


def test_weight_normalization_takes_the_share_along_each_row(seen):
    training = trained(norm="wn")
    found = diagnose(training)
    paths = {layer.params["W"].data.tobytes(): path for path, layer in training.dis.walk() if "W" in layer.params}
    assert len(seen[1]) == len(found["layers"])
    for watched, _, gW_bar, *_ in seen[1]:  # in the order in which the threads came to them
        row = found["layers"][paths[watched.layer.params["W"].data.tobytes()]]
        matrix, g = to_matrix(watched.layer.params["W"].data).astype(np.float64), to_matrix(gW_bar)
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        along = np.sum(g * matrix / lengths, 1, keepdims=True) / lengths
        expected = np.linalg.norm(along) / np.linalg.norm(g / lengths)
        np.testing.assert_allclose(row["removed"], expected, rtol=1e-3)


def test_neighbours_ratios_are_those_of_their_rows():
    found = diagnose(trained(model="resnet"))
    chain = [pair["layers"] for pair in found["gradient_ratio"]]
    assert [b for _, b in chain[:-1]] == [a for a, _ in chain[1:]] and chain[-1][1] == "dense"
    assert not any("shortcut" in path for pair in chain for path in pair)
    for pair in found["gradient_ratio"]:
        a, b = (found["layers"][path] for path in pair["layers"])
        np.testing.assert_allclose(pair["gradients"], a["gradient_output"] / b["gradient_output"], rtol=1e-4)
        np.testing.assert_allclose(pair["norms"], b["sigma_conv"] / a["sigma_conv"], rtol=1e-4)


# ---- bounds --------------------------------------------------------------------------------------------------------

def test_a_projections_bound_holds_for_the_steepest_class():
    training = trained(condition="projection")
    dis, found = training.dis, diagnose(training)
    dense, embed = (dis.layers[name].norm.weight(dis.layers[name], (), False).data for name in ("dense", "embed"))
    below = np.prod([row["sigma_conv"] for path, row in found["layers"].items() if path.startswith("conv")])
    np.testing.assert_allclose(found["lipschitz_bound"], below * np.linalg.norm(dense + embed, axis=1).max(), rtol=1e-4)


class Louder(CNNDiscriminator):
    """A network with an operation of its own, of which it says no Lipschitz factor."""

    def features(self, x, how):
        return super().features(x, how) * 10


def test_a_network_with_an_operation_of_its_own_gets_no_bound(monkeypatch):
    assert diagnose(trained())["lipschitz_bound"] > 0
    monkeypatch.setitem(MODELS, "cnn", dataclasses.replace(MODELS["cnn"], discriminator=Louder))
    found = diagnose(trained())
    assert found["lipschitz_bound"] is None and all(row["sigma_conv"] > 0 for row in found["layers"].values())


# ---- activations and images --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("norm", "name", "bias"), [("sn", "conv2", "conv2/b"), ("bn", "conv2", "norm2/beta")])
def test_saturation_counts_what_lies_on_the_negative_side(norm, name, bias):
    training = trained(norm=norm, width=0.1)
    b = training.dis.parameters()[bias].data
    b[:] = np.where(np.arange(len(b)) == 0, 100, -100)
    share = 1 - 1 / len(b)
    np.testing.assert_allclose(list(diagnose(training)["layers"][name]["saturation"].values()), [share, share],
                               rtol=1e-5)
    assert diagnose(training)["layers"]["dense"]["saturation"] is None


def test_inactive_terms_and_right_answers_are_counted():
    training = trained(norm="none")
    dense = training.dis.layers["dense"]
    dense.params["W"].data[:] = 0
    for b, inactive, accuracy in ((2.0, [1, 0], 0.5), (-2.0, [0, 1], 0.5), (0.5, [0, 0], 0.5), (0.0, [0, 0], 0.5)):
        dense.params["b"].data[:] = b
        found = diagnose(training)
        assert list(found["inactive"].values()) == inactive and found["accuracy"] == accuracy
        assert found["outputs"] == {"real": [b, 0], "fake": [b, 0]}
    assert set(found["slope"].values()) == {0.0}


@pytest.mark.parametrize(("loss", "middle"), [("hinge", 0.0), ("lsgan", 0.5), ("wasserstein", None)])
def test_right_answers_are_counted_as_score_does(loss, middle, monkeypatch):
    monkeypatch.setattr(diagnostics, "discriminator_accuracy", lambda real, fake, middle: middle)
    assert diagnose(trained(norm="none", loss=loss))["accuracy"] == middle == LOSSES[loss].middle


# ---- runs ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("diagnostics") / "pictures")


def lines(run):
    return [{name: value for name, value in line.items() if name != "seconds"}
            for line in run_folder.read_log(run, "diagnostics.jsonl")]


@pytest.mark.parametrize("chosen", [{}, {"norm": "bn", "model": "resnet", "dequantize": None}], ids=["cnn", "resnet"])
def test_a_run_has_the_same_bytes_with_diagnoses_and_without(chosen, data, tmp_path):
    for out, every in ((tmp_path / "with", 1), (tmp_path / "without", 0)):
        command = words(data, out, iterations=3, sample_every=100, diagnose=every,
                        **{k: v for k, v in chosen.items() if v})
        assert main.run([*command, *(f"--{name}" for name, v in chosen.items() if v is None), "-q"]) == 0
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
    assert [line["iteration"] for line in lines(tmp_path / "with")] == [1, 2, 3]
    assert not (tmp_path / "without" / "diagnostics.jsonl").exists()


def test_a_resumed_run_has_the_diagnoses_of_an_uninterrupted_one(data, tmp_path, monkeypatch):
    how = {"iterations": 5, "diagnose": 2, "sample_every": 100}
    assert main.run([*words(data, tmp_path / "whole", **how), "-q"]) == 0
    assert run_until([*words(data, tmp_path / "run", **how), "-q"], 3, monkeypatch) == 130
    path = tmp_path / "run" / "diagnostics.jsonl"
    with path.open("a") as file:  # what a kill leaves: a line after the checkpoint, and half of one
        file.write(json.dumps({"iteration": 4, "seconds": 0.1, "layers": {}}) + '\n{"iteration": 5, "sec')
    assert main.run(["train", "--resume", str(tmp_path / "run"), "-q"]) == 0
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    assert [line["iteration"] for line in lines(tmp_path / "whole")] == [2, 4, 5]
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_diagnoses_may_be_chosen_when_a_run_is_resumed(data, tmp_path, monkeypatch):
    assert run_until([*words(data, tmp_path / "run", iterations=4), "-q"], 2, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "run"), "--diagnose", "1", "-q"]) == 0
    assert [line["iteration"] for line in lines(tmp_path / "run")] == [3, 4]


def test_the_command_says_of_a_finished_run_what_its_last_line_says(data, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main.run([*words(data, run, iterations=3, diagnose=3), "-q"]) == 0
    capsys.readouterr()
    before = contents(tmp_path / "run")
    assert main.run(["diagnose", run, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    del found["seconds"]
    assert [found] == lines(tmp_path / "run")
    assert main.run(["diagnose", run, "--data-root", str(data)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:2] == ["layer", "shape"] and [line.split()[0] for line in out[1:9]] == list(found["layers"])
    assert any(line.startswith("largest slope of D") for line in out) and out[-1]
    assert contents(tmp_path / "run") == before
    assert main.run(["diagnose", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


# ---- on a GPU ------------------------------------------------------------------------------------------------------

def test_an_emulated_gpu_says_what_the_cpu_says():
    cpu = diagnose(trained(1, width=0.03))
    with emulated_cupy.installed():
        gpu = diagnose(trained(1, width=0.03, device="cuda"))
    for path, row in cpu["layers"].items():
        for name in ("sigma", "sigma_conv", "gradient", "gradient_bar", "lambda", "removed"):
            np.testing.assert_allclose(gpu["layers"][path][name], row[name], rtol=1e-3, err_msg=f"{path} {name}")
        assert gpu["layers"][path]["saturation"] == pytest.approx(row["saturation"], abs=2e-3)
    assert gpu["slope"] == pytest.approx(cpu["slope"], rel=1e-3)
    for name in ("lipschitz_bound", "diversity"):
        np.testing.assert_allclose(gpu[name], cpu[name], rtol=1e-3)
