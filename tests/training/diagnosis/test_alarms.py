"""Alarms on runs that were made to go wrong, each in its own way, and none on one that goes well."""

import json

import numpy as np
import pytest
from tiny import pictures, tiny, words

from minigan.cli import main
from minigan.training import run_folder
from minigan.training.diagnosis import alarms
from minigan.training.diagnosis.diagnostics import diagnose
from minigan.training.gan import Training


def trained(iterations=4, **chosen):
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    training = Training(tiny(**{"width": 0.1} | chosen), images)
    for _ in range(iterations):
        training.iterate()
    # a generator that has learned: images that differ
    training.generate = lambda z, labels: type(z)(np.tanh(np.stack([np.resize(row, (16, 16, 3)) for row in z.data])))
    training.iteration = 1000
    return training


def named(training):
    found = diagnose(training)["alarms"]
    assert all(len(alarm["text"].splitlines()) == 1 for alarm in found)
    return {alarm["name"]: alarm["text"] for alarm in found}


@pytest.mark.parametrize("chosen", [
    {}, {"model": "resnet"}, {"norm": "none", "init": "glorot"}, {"norm": "sn-conv"},
    {"norm": "bssn", "scale": 1.4}, {"norm": "bn"}, {"norm": "wn", "loss": "ns"},
    {"norm": "none", "init": "glorot", "loss": "wasserstein", "gp": 10.0}])
def test_a_run_that_goes_well_has_no_alarm(chosen):
    assert named(trained(**chosen)) == {}


def test_exploding_gradients_are_named_where_they_are():
    training = trained(norm="none")
    for layer in training.dis.layers.values():
        layer.params["W"].data *= 30
    text = named(training)["exploding-gradients"]
    assert "try --norm sn" in text and "e+" in text


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_huge_learning_rate_without_normalization_explodes():
    assert "exploding-gradients" in named(trained(6, norm="none", lr=0.5, loss="wasserstein"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_no_longer_finite_are_an_explosion():
    training = trained(norm="none")
    training.dis.layers["conv5"].params["W"].data[:] = np.inf
    found = diagnose(training)
    json.dumps(found, allow_nan=False)
    assert "is not a finite number" in found["alarms"][0]["text"]


@pytest.mark.parametrize("factor", [0.0, 1e-3])
def test_small_weights_are_named_as_the_cause_of_vanishing_gradients(factor):
    training = trained(norm="none")
    for layer in training.dis.layers.values():
        layer.params["W"].data *= np.float32(factor)
    text = named(training)["vanishing-gradients"]
    assert "the layers' norms have a product of only" in text and "--norm sn" in text


def test_dead_channels_are_named_as_the_cause_of_vanishing_gradients():
    training = trained(model="resnet", width=0.05)
    for path, layer in training.dis.walk():
        if "b" in layer.params and "conv1" in path:
            layer.params["b"].data[:] = -1e3
        if "shortcut" in path and "W" in layer.params:
            layer.params["W"].data[:] = 0
    assert "nine in ten of blocks/block1/residual/conv1's channels are dead" in named(training)["vanishing-gradients"]


def test_a_frozen_u_is_an_under_converged_power_iteration():
    training = trained()
    layer = training.dis.layers["conv3"]
    W = layer.params["W"].data
    others = np.linalg.svd(W.reshape(len(W), -1))[0][:, -1]
    layer.state["u"][:] = others  # the smallest singular value's, as if W had moved and u had stayed
    found = diagnose(training)
    row, text = found["layers"]["conv3"], named(training)["power-iteration"]
    assert f"conv3 is divided by {row['sigma_estimate']:.3g} where its norm is {row['sigma_meant']:.3g}" in text


@pytest.mark.parametrize(("loss", "said"), [("hinge", "100% of real and 100% of fakes are beyond the hinge"),
                                            ("ns", "where the sigmoid is flat")])
def test_a_discriminator_that_is_sure_is_saturated(loss, said, monkeypatch):
    training = trained(loss=loss)
    judge, calls = Training.judge, []

    def sure(self, x, *more):
        calls.append(1)
        y, classified = judge(self, x, *more)
        return y * 0.1 + (9.0 if len(calls) == 1 else -9.0), classified
    monkeypatch.setattr(Training, "judge", sure)
    found = diagnose(training)["alarms"]
    assert [alarm["name"] for alarm in found] == ["saturated-discriminator"] and said in found[0]["text"]
    assert "slope at fakes is" in found[0]["text"]


def test_a_constant_generator_has_collapsed(monkeypatch):
    training = trained()
    monkeypatch.setattr(type(training.gen), "forward",
                        lambda self, z, how: type(z)(np.full((len(z), 16, 16, 3), 0.3, np.float32)))
    assert "two fakes differ 0 times" in named(training)["collapsed-modes"]


def test_what_is_advised_is_not_what_the_run_does_already():
    found = diagnose(trained(norm="sn"))
    found["slope"] = {name: 1e6 for name in found["slope"]}
    (alarm,) = alarms.alarms(found, tiny(norm="sn"))
    assert alarm["name"] == "exploding-gradients" and "--norm sn " not in alarm["text"]


# ---- in the log, of every run --------------------------------------------------------------------------------------

def log(*losses, every=10, **more):
    return [{"iteration": every * i, "loss_dis": loss, "loss_gen": 0.5, **more} for i, loss in enumerate(losses, 1)]


def of_log(lines, **chosen):
    return {alarm["name"]: alarm["text"] for alarm in alarms.alarms_of_log(lines, tiny(**chosen))}


@pytest.mark.parametrize(("lines", "chosen"), [
    (log(1.9, 0.3, 0.9), {}), (log(*[0.05] * 10), {}), (log(*[0.05] * 4, every=500), {}), (log(*[-50.0] * 20), {
        "loss": "wasserstein", "norm": "none"}), (log(*[0.05] * 10, 0.2, *[0.05] * 9), {}),
    (log(*[0.05] * 20), {"loss": "ns"}), (log(-2e5), {"loss": "wasserstein", "norm": "none"}),
    (log(*[0.5] * 9, diversity=0.01), {}), (log(*[0.5] * 20, diversity=0.8), {}),
    (log(*[0.5] * 20, diversity=None), {})])
def test_the_log_of_a_run_that_goes_well_has_no_alarm(lines, chosen):
    assert of_log(lines, **chosen) == {}


def test_the_log_shows_what_went_wrong():
    text = of_log(log(1.0, -3e33), loss="wasserstein", norm="none")["exploding-loss"]
    assert text.startswith("exploding loss: D's is -3e+33, ") and "try --norm sn or a lower --lr" in text
    assert "G's is 1e+07" in of_log([{"iteration": 1, "loss_dis": 1, "loss_gen": 1e7}])["exploding-loss"]
    for lines, chosen, begin in ((log(1.0, *[0.05] * 11), {}, 20), (log(*[0.01] * 11), {"loss": "minimax"}, 10),
                                 (log(2.0, *[0.0] * 5, every=500), {}, 1000)):
        assert f"since iteration {begin:,}, so" in of_log(lines, **chosen)["saturated-discriminator"]
    assert "differ 0.01 times" in of_log(log(*[0.5] * 10, diversity=0.01))["collapsed-modes"]


def test_equal_images_have_no_diversity():
    training, rng = trained(1), np.random.default_rng(1)
    for p in training.gen.parameters().values():
        p.data[:] = 0
    assert training.thumbnail_measures()["diversity"] == 0
    training.sample = lambda z: rng.integers(0, 256, (len(z), 16, 16, 3)).astype(np.uint8)  # as the data are
    np.testing.assert_allclose(training.thumbnail_measures()["diversity"], 1, rtol=0.05)


def test_a_broken_run_does_not_end_as_if_it_were_well(tmp_path, capsys, monkeypatch):
    """Without --diagnose; each alarm is said once, also after the run was stopped, and stands in each line it is of."""
    for name, value in (("ALIKE", 1e9), ("BEGUN", 0), ("GROWN", 1e-9)):
        monkeypatch.setattr(alarms, name, value)
    out = tmp_path / "run"
    assert main.run([*words(pictures(tmp_path / "data"), out), "-q"]) == 0
    first, second, done = capsys.readouterr().err.splitlines()
    assert first.startswith("iteration 2: exploding loss: ") and second.startswith("iteration 4: collapsed modes: ")
    assert done.startswith("done in ") and ", but with exploding loss and collapsed modes: look at" in done
    assert [[alarm["name"] for alarm in line["alarms"]] for line in run_folder.read_log(out)] == [
        ["exploding-loss"] + ["collapsed-modes"] * (line in (4, 8, 10)) for line in range(2, 11, 2)]
    assert main.run(["report", str(out)]) == 0 and "exploding-loss" in (out / "report.html").read_text(encoding="utf-8")


# ---- in a run ------------------------------------------------------------------------------------------------------

def test_an_alarm_is_said_once_and_written_each_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(alarms, "ALIKE", 1e9)
    monkeypatch.setattr(alarms, "BEGUN", 0)
    out = tmp_path / "run"
    assert main.run([*words(pictures(tmp_path / "data"), out, iterations=3, diagnose=1), "-q"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "collapsed modes:" in line]
    said = [line for line in said if not line.startswith("done in ")]
    assert len(said) == 1 and said[0].startswith("iteration 1: collapsed modes: two fakes differ")
    lines = run_folder.read_log(out, "diagnostics.jsonl")
    assert [line["alarms"][0]["name"] for line in lines] == ["collapsed-modes"] * 3


def test_a_run_with_a_huge_rate_says_what_happens(tmp_path, capsys):
    command = words(pictures(tmp_path / "data"), tmp_path / "run", iterations=8, diagnose=2, norm="none", lr=1.0,
                    loss="wasserstein")
    assert main.run([*command, "-q"]) in (0, 1)
    said = capsys.readouterr().err
    assert said.count("exploding gradients: ") == 1 and "Traceback" not in said
