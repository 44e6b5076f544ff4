"""Networks of one's own in the training loop: the same runs as minigan's networks give, saved, resumed, refused."""

import json

import numpy as np
import pytest
from scored import few_drawings
from tiny import contents

import minigan
from minigan import Tensor, spectral_norm
from minigan.cli import main
from minigan.engine import conv_ops, ops
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.presets import experiment
from minigan.experiment.streams import stream
from minigan.formats import safetensors
from minigan.metrics import classifier
from minigan.networks.own import name_of
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, Layer, Linear
from minigan.nn.spectral_norms import SpectralNorm
from minigan.parallel import mpi
from minigan.training import checkpoints
from minigan.training.assembly import make_discriminator, make_generator

IMAGES = np.random.default_rng(5).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
HOW = {"dim_z": 8, "batch_size": 4, "iterations": 6, "checkpoint_every": 2, "sample_every": 3, "log_every": 1,
       "quiet": True}


def generator(p, z):
    return ops.tanh(ops.relu(z @ p["W1"] + p["b1"]) @ p["W2"]).reshape(-1, 16, 16, 3)


def discriminator(p, x):
    h = ops.leaky_relu(conv_ops.conv2d(x, spectral_norm(p["W1"], p["u1"]), p["b1"], 2, 1), 0.1)
    return conv_ops.linear(h.reshape(len(x), -1), spectral_norm(p["W2"], p["u2"]), p["b2"]).reshape(-1)


class LayersD(Layer):
    """The same of layers."""

    def __init__(self, rng):
        super().__init__()
        self.layers = {"conv": Conv2d(rng, 3, 4, 4, 2, 1, slope=0.1, norm=SpectralNorm()),
                       "dense": Linear(rng, 256, 1, normal(), norm=SpectralNorm())}

    def forward(self, x, how):
        h = self.layers["conv"].forward(x, how)
        return self.layers["dense"].forward(h.reshape(len(x), -1), how).reshape(-1)


def gen_params(wide=16):
    rng = np.random.default_rng(1)
    return {name: Tensor(0.1 * rng.standard_normal(shape, np.float32), requires_grad=True)
            for name, shape in (("W1", (8, wide)), ("b1", (wide,)), ("W2", (wide, 768)))}


def dis_params():
    """Those of LayersD, with equal values and separate arrays."""
    found = LayersD(np.random.default_rng(2)).arrays()
    names = {"conv/W": "W1", "conv/b": "b1", "conv/u": "u1", "dense/W": "W2", "dense/b": "b2", "dense/u": "u2"}
    return {names[name]: a if name.endswith("u") else Tensor(a, requires_grad=True) for name, a in found.items()}


def functions():
    return {"generator": (generator, gen_params()), "discriminator": (discriminator, dis_params())}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return minigan.train(IMAGES, out=tmp_path_factory.mktemp("own") / "run", ema=0.9, gp=1.0, diagnose=3,
                         **functions(), **HOW)


def test_copies_of_a_models_networks_train_to_the_same_weights_as_the_model(tmp_path):
    how = {"width": 0.05, "gp": 1.0, "ema": 0.9}
    plain = minigan.train(IMAGES, out=tmp_path / "plain", **how, **HOW)
    e = experiment("packed", **how, **{name: value for name, value in HOW.items() if name != "quiet"})
    rng = stream(e.seed, "networks")
    gen, dis = make_generator(e, rng, 16, 3, 0), make_discriminator(e, rng, 16, 3, 0)
    how.pop("width")
    own = minigan.train(IMAGES, out=tmp_path / "own", generator=gen, discriminator=dis, **how, **HOW)
    first, second = (checkpoints.newest(run.folder)[1] for run in (plain, own))
    for part in ("gen", "dis", "average", "opt_dis"):
        assert {name: a.tobytes() for name, a in first[part].items()} == {
            name: a.tobytes() for name, a in second[part].items()}
    assert [line["sigma"] for line in plain.log] == [line["sigma"] for line in own.log] != [{}]


def test_a_function_with_spectral_norm_is_trained_as_the_layers_that_have_it(tmp_path):
    runs = [minigan.train(IMAGES, out=tmp_path / name_of(dis), generator=(generator, gen_params()),
                          discriminator=dis, **HOW)
            for dis in (functions()["discriminator"], LayersD(np.random.default_rng(2)))]
    assert [line["loss_dis"] for line in runs[0].log] == [line["loss_dis"] for line in runs[1].log]
    function, layers = (run.discriminator.network.arrays() for run in runs)
    for mine, theirs in (("W1", "conv/W"), ("u1", "conv/u"), ("W2", "dense/W"), ("u2", "dense/u")):
        assert function[mine].tobytes() == layers[theirs].tobytes()
    assert runs[0].log[-1]["sigma"] == {} and runs[0].log[-1]["sigma_deviation"] is None
    assert runs[1].log[-1]["sigma"].keys() == {"conv", "dense"}


def test_a_run_with_ones_own_networks_resumes_to_the_bytes_of_an_uninterrupted_one(run, tmp_path):
    where = tmp_path / "run"
    half = minigan.train(IMAGES, out=where, ema=0.9, gp=1.0, diagnose=3, **functions(),
                         callback=lambda line: line["iteration"] == 3, **HOW)
    assert half.iteration == 3
    other = functions()
    for network in other.values():
        for p in network[1].values():
            if isinstance(p, Tensor):
                p.data[...] = 7  # what they are does not matter
    whole = minigan.train(where, quiet=True, **other)
    assert whole.iteration == 6
    assert contents(whole.folder) == contents(run.folder)


def test_what_was_given_stays_as_it_was(run):
    given = functions()
    minigan.train(IMAGES, **given, **HOW)
    for network, same in zip(given.values(), functions().values(), strict=True):
        for name, p in network[1].items():
            np.testing.assert_array_equal(getattr(p, "data", p), getattr(same[1][name], "data", same[1][name]))


def test_a_loaded_run_samples_judges_and_is_scored_as_the_one_that_trained_it(run):
    loaded = minigan.load(run.folder, **functions())
    np.testing.assert_array_equal(loaded.sample(5), run.sample(5))
    np.testing.assert_array_equal(loaded.discriminator(IMAGES), run.discriminator(IMAGES))
    assert loaded.generator.network.params.keys() == {"W1", "b1", "W2"}
    z = loaded.generator.latents(3)
    trained = loaded.generator.network.params
    np.testing.assert_array_equal(generator(trained, Tensor(z)).data, loaded.generator(z))


def test_a_run_is_scored_with_its_networks_given(run, tmp_path):
    with few_drawings(tmp_path):
        classifier.save(tmp_path / "c.h5", classifier.train("shapes", size=16, epochs=1, batch_size=50))
    how = {"count": 20, "weights": tmp_path / "c.h5", "quiet": True}
    found = minigan.load(run.folder, **functions()).score("classifier", **how)
    assert np.isfinite(found["FID"]) and 0 <= found["accuracy of D"] <= 1
    with pytest.raises(WrongUse, match="are its author's own code"):
        minigan.load(run.folder).score("classifier", **how)


def test_one_network_may_be_the_models(tmp_path):
    run = minigan.train(IMAGES, out=tmp_path / "run", discriminator=functions()["discriminator"], width=0.05, **HOW)
    assert run.experiment.discriminator == "discriminator" and run.experiment.generator is None
    assert minigan.load(run.folder).sample(2).shape == (2, 16, 16, 3)
    with pytest.raises(WrongUse, match=r"its discriminator 'discriminator' is its author's own code"):
        minigan.load(run.folder).discriminator  # noqa: B018
    assert "cnn" in repr(run) and "discriminator 'discriminator'" in repr(run)


def test_processes_do_not_change_a_training_without_batch_normalization(tmp_path, capsys):
    """As if two processes had begun it: what the run says when one goes on."""
    begun = minigan.train(IMAGES, out=tmp_path / "run", **functions(), **HOW)
    record = begun.folder / "experiment.json"
    found = json.loads(record.read_text())
    record.write_text(json.dumps(found | {"machine": found["machine"] | {"processes": 2}}))
    capsys.readouterr()
    minigan.load(begun.folder, **functions()).resume(iterations=7)
    assert "was trained by 2 processes and goes on with 1: the same training, to rounding" in capsys.readouterr().err
    assert mpi.Group(size=2).together(4, False, False) == (
        "2 processes train together, each on 2 of the 4 images of a batch")


@pytest.mark.parametrize("command", ["train --resume", "sample", "score", "diagnose"])
def test_the_command_line_says_in_one_line_how_to_go_on_in_python(run, command, capsys):
    assert main.run([*command.split(), str(run.folder)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "its generator 'generator' and discriminator 'discriminator' are its author's own code" in line
    assert f"minigan.load('{run.folder}', generator=..., discriminator=...)" in line


def test_records_can_be_read_without_the_networks(run, tmp_path, capsys):
    without = minigan.load(run.folder)
    page = without.report(tmp_path / "page.html").read_text()
    assert len(without.log) == 6 and "generator=generator, discriminator=discriminator" in page
    assert "generator &#x27;generator&#x27;, discriminator &#x27;discriminator&#x27;, hinge loss" in page
    assert main.run(["report", str(run.folder), "--out", str(tmp_path / "again.html")]) == 0
    for ask in (without.sample, without.resume, lambda: without.discriminator):
        with pytest.raises(WrongUse, match="are its author's own code, which a run's folder does not hold"):
            ask()


def test_a_network_of_minigans_is_exported_and_a_function_is_refused_before_anything_is_written(tmp_path):
    gen = make_generator(experiment("packed", width=0.05, dim_z=8), np.random.default_rng(0), 16, 3, 0)
    run = minigan.train(IMAGES, out=tmp_path / "run", generator=gen, discriminator=functions()["discriminator"], **HOW)
    for network in ("both", "discriminator"):
        with pytest.raises(WrongUse, match="its discriminator 'discriminator' is its author's own code") as caught:
            run.export(network=network)
        assert "run.discriminator.network.arrays() are its weights" in str(caught.value)
    assert not (run.folder / "export").exists()
    file, = run.export(network="generator")
    weights, _ = safetensors.read(file.read_bytes(), "it")
    assert np.array_equal(weights["dense.weight"], run.generator.network.arrays()["dense/W"])


def test_a_diagnosis_says_what_can_be_said_of_a_function(run):
    first = run.record.diagnoses[0]
    assert first["layers"] == {} and first["lipschitz_bound"] is None
    assert first["slope"]["real"] > 0 and first["outputs"]["fake"]


def test_networks_of_other_shapes_are_refused_by_name(run):
    with pytest.raises(FailedWork, match=r"'W1' is \(8, 16\) float32 in the file, \(8, 32\) float32 here"):
        minigan.load(run.folder, **functions() | {"generator": (generator, gen_params(32))}).sample()
    more = gen_params() | {"b2": Tensor(np.zeros(3, np.float32), requires_grad=True)}
    with pytest.raises(FailedWork, match="'b2' is missing from the file"):
        minigan.load(run.folder, **functions() | {"generator": (generator, more)}).sample()


@pytest.mark.parametrize("chosen, said", [
    ({"norm": "wn"}, "norm is a choice for minigan's networks, and the discriminator is your own; leave it out"),
    ({"gen_norm": "sn"}, "gen_norm is a choice for minigan's networks, and the generator is your own"),
    ({"width": 0.5}, "width is a choice for minigan's networks, and the generator and discriminator are your own"),
    ({"condition": "projection", "labels": np.arange(24) % 2}, "condition projection is for minigan's own networks"),
    ({"size": 32}, "generator: of z (2, 8) 'generator' makes (2, 16, 16, 3); expected a Tensor (2, 32, 32, 3)")])
def test_options_that_would_do_nothing_are_refused(chosen, said, tmp_path):
    with pytest.raises(WrongUse) as caught:
        minigan.train(IMAGES, out=tmp_path / "run", **functions(), **HOW | chosen)
    assert said in str(caught.value) and not (tmp_path / "run").exists()


def test_networks_for_a_run_of_minigans_own_are_refused(tmp_path):
    run = minigan.train(IMAGES, out=tmp_path / "run", width=0.05, **HOW)
    with pytest.raises(WrongUse, match="run has minigan's own generator; leave generator= out"):
        minigan.load(run.folder, **functions())


def test_a_fault_in_the_readers_function_comes_out_as_it_is():
    def broken(p, z):
        return z @ p["W1"] @ p["W1"]
    with pytest.raises(ValueError, match="matmul: the inner lengths differ") as caught:
        minigan.train(IMAGES, generator=(broken, gen_params()), **HOW)
    assert not isinstance(caught.value, WrongUse)
    assert caught.traceback[-1].path != caught.traceback[0].path and any(
        entry.name == "broken" for entry in caught.traceback)
