"""From an experiment to its networks: what it says of norms, and what does not go together."""

import dataclasses
import functools
import re

import numpy as np
import pytest
from tiny import tiny

from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse
from minigan.experiment import experiment
from minigan.experiment.experiment import Experiment, check
from minigan.networks import discriminator
from minigan.networks.norms import NormOptions
from minigan.training.assembly import (
    NORM_CHOICES,
    check_networks,
    make_discriminator,
    make_generator,
    norm_options,
    normalization,
)
from minigan.training.gan import Training


def test_an_experiment_without_choices_gives_the_options_own_defaults():
    assert norm_options(Experiment()) == NormOptions()


def test_every_option_of_norms_is_the_experiments_field_of_that_name():
    other = {"power_iterations": 4, "scale": 1.3, "u_schedule": "update", "u_gradient": True, "gamma_start": "one",
             "clip": 0.1, "clip_which": "all", "orthonormal": 2.0, "features_gain": True}
    assert dataclasses.asdict(norm_options(Experiment(**other))) == other


@pytest.mark.parametrize("name", ["ssn", "sn-conv", "bssn"])
def test_spread_scales_differ_and_keep_their_geometric_mean(name):
    def scales(seed):
        e = Experiment(norm=name, scale=1.75, scale_spread=0.5, width=0.05, seed=seed)
        dis = make_discriminator(e, np.random.default_rng(0), 32, 3, 0)
        layers = [layer for _, layer in dis.walk() if "W" in layer.params]
        for _ in range(300 if name == "ssn" else 0):
            for layer in layers:
                layer.norm.weight(layer, (), True)
        used = [np.linalg.norm(layer.norm.weight(layer, (), False).data.reshape(len(layer.params["W"].data), -1), 2)
                for layer in layers]
        return np.array(used if name == "ssn" else [layer.norm.scale for layer in layers])  # ssn: by its SVD
    found = scales(3)
    assert len(found) == 8 and np.exp(np.log(found).mean()) == pytest.approx(1.75, rel=1e-4)
    assert 0.2 < np.log(found).std() < 1
    np.testing.assert_array_equal(found, scales(3))  # a resumed run's are the same
    assert not np.allclose(found, scales(4), rtol=0.01)


@pytest.mark.parametrize("norm, features", [("sn", "bn"), ("wn", "ln"), ("none", "bn"), ("bn", "ln"), ("bn", "model"),
                                            ("sn-bn", "model")])
def test_the_multiplier_of_features_is_learned_if_asked_for_beside_every_norm(norm, features):
    for gain in (False, True):
        e = Experiment(norm=norm, features=features, features_gain=gain, width=0.05)
        names = make_discriminator(e, np.random.default_rng(0), 32, 3, 0).parameters().keys()
        assert {name for name in names if name.startswith("norm")} == {
            f"norm{i}/{what}" for i in range(2, 8) for what in ("beta", *["gamma"] * gain)}


def test_only_the_network_with_the_scaled_norm_is_spread():
    e = Experiment(norm="sn", gen_norm="ssn", scale_spread=0.5, width=0.05)
    dis = make_discriminator(e, np.random.default_rng(0), 32, 3, 0)
    gen = make_generator(e, np.random.default_rng(0), 32, 3, 0)
    assert {layer.norm.scale for _, layer in dis.walk() if "W" in layer.params} == {1}
    scales = [layer.norm.scale for _, layer in gen.walk() if "W" in layer.params]
    assert len({*scales}) == len(scales) == 5 and np.prod(scales) == pytest.approx(1)


@pytest.mark.parametrize("chosen, line", [
    ({"norm": "spn"}, "unknown norm 'spn'; choose from: "),
    ({"norm": "sn", "scale": 1.4}, "--scale 1.4 does nothing with --norm sn, it is for ssn, bssn, sn-conv; "
                                   "use --norm ssn"),
    ({"norm": "bsn", "scale": 1.4}, "use --norm bssn"),
    ({"norm": "wn", "scale": 1.4}, "leave it out"),
    ({"norm": "sn", "clip": 0.1}, "--clip 0.1 does nothing with --norm sn, it is for clip; leave it out"),
    ({"norm": "sn", "clip_which": "all"}, "--clip-which all does nothing with --norm sn"),
    ({"norm": "none", "orthonormal": 1.0}, "--orthonormal 1.0 does nothing with --norm none"),
    ({"norm": "sn", "u_schedule": "never"}, "unknown --u-schedule 'never'; choose from: forward, update"),
    ({"norm": "clip", "clip_which": "some"}, "unknown --clip-which 'some'; choose from: all, conv, weights"),
    ({"norm": "sn-gamma", "gamma_start": "two"}, "unknown --gamma-start 'two'; choose from: one, weights"),
    ({"norm": "bn", "gp": 10.0}, "--gp 10 does not go with --norm bn"),
    ({"norm": "sn-bn", "gp": 10.0}, "use --norm ln"),
])
def test_what_does_not_go_together_gets_one_line(chosen, line):
    with pytest.raises(WrongUse) as caught:
        normalization(Experiment(**chosen))
    assert line in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("chosen, line", [
    ({"scale": 0.0}, "--scale: expected"), ({"clip": -1.0}, "--clip: expected"),
    ({"orthonormal": -1.0}, "--orthonormal: expected"), ({"scale": float("nan")}, "--scale: expected")])
def test_numbers_outside_their_range_are_refused(chosen, line):
    with pytest.raises(WrongUse, match=line):
        check(Experiment(**chosen))


def test_every_choice_is_a_name_with_a_default_among_its_choices():
    for option, choices in NORM_CHOICES.items():
        assert getattr(Experiment, option) in choices


def test_the_conditions_of_the_command_line_are_the_networks():
    assert experiment.CONDITIONS == ("none", *filter(None, discriminator.CONDITIONS))


def test_a_normalization_that_is_the_discriminators_alone_is_refused():
    with pytest.raises(WrongUse, match="unknown --gen-norm 'bn'; choose from: bsn"):
        Training(tiny(gen_norm="bn"), np.zeros((24, 16, 16, 3), np.uint8))


def test_a_resnets_upsampling_pooling_and_bias_are_the_experiments_where_it_says_so(rng):
    """The same weights drawn: bilinear images are smoother, a mean of 64 pixels is a 64th of their sum."""
    e = Experiment(model="resnet", width=0.05, dim_z=8)
    other = dataclasses.replace(e, upsample="bilinear", pool="mean", dense_bias=True)
    seeded = functools.partial(np.random.default_rng, 1)
    images, said = [], []
    for one in (e, other):
        gen, dis = make_generator(one, seeded(), 32, 3, 0), make_discriminator(one, seeded(), 32, 3, 0)
        images.append(gen(Tensor(np.random.default_rng(2).standard_normal((4, 8)).astype(np.float32))).data)
        said.append(dis(Tensor(images[0])).data)
        assert ("dense/b" in dis.parameters()) == (one is other)
    rough, smooth = (np.abs(np.diff(x, axis=1)).mean() / x.std() for x in images)
    assert smooth < 0.95 * rough
    np.testing.assert_allclose(said[1] * 64, said[0], rtol=1e-5)


@pytest.mark.parametrize("chosen, said", [
    ({"upsample": "bilinear"}, "--upsample is not for model 'cnn'; leave it out, or use one of resnet, "),
    ({"pool": "mean"}, "--pool is not for model 'cnn'"), ({"dense_bias": False}, "--dense-bias is not for model 'cnn'"),
    ({"model": "resnet", "slope": 0.2}, "--slope is not for model 'resnet'"),
    ({"model": "resnet", "upsample": "cubic"}, "unknown upsample 'cubic'; choose from: bilinear, nearest"),
    ({"model": "resnet", "pool": "max"}, "unknown pool 'max'; choose from: mean, sum")])
def test_what_is_not_for_the_model_or_unknown_is_refused(chosen, said):
    with pytest.raises(WrongUse, match=re.escape(said)):
        check_networks(Experiment(**chosen))
