"""Experiments: the papers' numbers, ranges, and what may come back from a file that anybody wrote."""

import dataclasses
import json
import math

import pytest

from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import CHANGEABLE, Experiment, check, from_dict, learned, option_name, saved, to_dict
from minigan.experiment.explain import explain
from minigan.experiment.presets import compose, experiment

COUNTS = ("iterations", "batch_size", "gen_batch_size", "n_dis", "dim_z", "power_iterations", "threads", "log_every",
          "sample_every", "checkpoint_every")


def test_the_default_is_setting_c_of_the_papers_table_1():
    e = experiment("cifar10")
    assert (e.lr, e.beta1, e.beta2, e.n_dis) == (2e-4, 0.5, 0.999, 1)
    # dim_z is Table 3's; batch and 100 K updates are the authors' code's, the paper is silent
    assert (e.dim_z, e.batch_size, e.gen_batch_size, e.iterations) == (128, 64, None, 100_000)
    assert (e.model, e.norm, e.power_iterations, e.schedule, e.dequantize) == ("cnn", "sn", 1, "constant", False)


def test_the_resnet_has_the_settings_of_appendix_b2_and_the_authors_code():
    e = experiment("cifar10", model="resnet")
    assert (e.lr, e.beta1, e.beta2, e.n_dis) == (2e-4, 0.0, 0.9, 5)
    assert (e.gen_batch_size, e.iterations, e.schedule, e.dequantize) == (128, 50_000, "linear", True)


def test_a_choice_beats_the_presets():
    e = experiment("shapes", model="resnet", lr=1e-3, n_dis=2, width=0.5)
    assert (e.lr, e.n_dis, e.width) == (1e-3, 2, 0.5)
    assert e.iterations == experiment("shapes").iterations < 10_000  # small data sets stay quick with any model


def test_a_rate_for_both_networks_is_that_of_both():
    """The preset of shapes has one for the discriminator, which --lr alone did not change."""
    preset, origins = compose("shapes")
    assert preset.lr_dis == preset.lr / 4 and origins["lr_dis"][0] == "preset of shapes"
    given, origins = compose("shapes", lr=1e-3)
    assert (given.lr, given.lr_dis, origins["lr_dis"][0]) == (1e-3, None, "given")
    assert compose("shapes", lr=1e-3, lr_dis=1e-4)[0].lr_dis == 1e-4
    assert compose("shapes", lr_dis=1e-4)[0].lr == preset.lr
    assert compose("shapes", setting="D")[0].lr_dis is None  # rows of tables say both
    assert compose("shapes", model="mnist-bssn", size=28)[0].lr_dis is None


@pytest.mark.parametrize("chosen, said", [
    ({"norm": "none", "power_iterations": 3}, "--power-iterations 3 does nothing here: it is for norms with a power"),
    ({"norm": "wn", "u_schedule": "update"}, "--u-schedule update does nothing here"),
    ({"norm": "clip", "u_gradient": True}, "--u-gradient True does nothing here"),
    ({"norm": "sn", "gamma_start": "one"}, "--gamma-start one does nothing here: it is for --norm sn-gamma"),
    ({"norm": "sn", "features_gain": True}, "--features-gain True does nothing here: it is for --norm bn"),
    ({"gp_target": 0.5}, "--gp-target 0.5 does nothing here: it is for --gp; leave it out"),
    ({"ac_dis": 2.0}, "it is for --condition ac"), ({"decay_from": 0.5}, "it is for --schedule linear"),
    ({"optimizer": "sgd", "beta1": 0.9}, "it is for --optimizer adam"),
])
def test_a_choice_that_does_nothing_is_said(chosen, said):
    with pytest.raises(WrongUse) as error:
        experiment("cifar10", **chosen)
    assert said in str(error.value)
    assert compose("cifar10", **chosen)[0]  # in a grid it may be for another run


def test_a_choice_that_does_something_is_not_refused():
    experiment("cifar10", norm="none", gen_norm="sn", power_iterations=2)
    experiment("cifar10", norm="wn-gain", gamma_start="one")
    experiment("cifar10", profile="bssn", norm="none")  # the profile's u schedule is nobody's mistake
    experiment("cifar10", gp=1.0, gp_target=0.0)
    experiment("cifar10", features="ln", features_gain=True, gp_target=1.0)  # a default may be said


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 10**12, 10**4000])
def test_counts_out_of_range_are_refused_by_the_options_name(name, value):
    with pytest.raises(WrongUse, match=f"^--{name.replace('_', '-')}: expected 1 to .*, got {value}$"):
        experiment("cifar10", **{name: value})


@pytest.mark.parametrize("name", ["lr", "lr_dis", "width", "beta1", "beta2"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, -math.inf, 1e30])
def test_rates_out_of_range_are_refused_by_the_options_name(name, value):
    with pytest.raises(WrongUse, match=f"^{option_name(name)}: expected "):
        experiment("cifar10", **{name: value})


def test_the_ends_of_the_ranges_are_told_apart():
    for good in ({"beta1": 0.0}, {"size": 16}, {"seed": 0}, {"seed": 2**63 - 1}, {"batch_size": 1}, {"lr": 1e6}):
        experiment("cifar10", **good)
    for bad in ({"beta1": 1.0}, {"size": 15}, {"size": 1025}, {"seed": -1}, {"seed": 2**63}, {"lr": 0.0}):
        with pytest.raises(WrongUse):
            experiment("cifar10", **bad)


def test_an_experiment_comes_back_from_json_equal():
    e = experiment("folder", data_root="a b/ü", lr=1 / 3, seed=2**62, gen_batch_size=7, skip_bad=True)
    assert from_dict(json.loads(json.dumps(to_dict(e))), "here") == e


def test_what_is_learned_is_all_but_the_machine_and_the_records():
    assert learned(experiment("shapes", threads=3, data_root="x")) == learned(experiment("shapes", device="cuda"))
    assert learned(experiment("shapes", seed=1)) != learned(experiment("shapes"))
    named = {"generator": "G", "discriminator": "D"}  # in the file only where they are the author's
    fields = {f.name for f in dataclasses.fields(Experiment)}
    assert learned(Experiment()).keys() | set(CHANGEABLE) | named.keys() == fields
    e = experiment("cifar10", lr=0.5)
    assert from_dict(learned(e), "here") == e
    assert saved(e).keys() | {"accumulate"} == learned(e).keys()  # as a checkpoint has it: none where it is 1
    parts = experiment("cifar10", accumulate=2)
    assert learned(parts) != learned(experiment("cifar10")) and saved(parts) == learned(parts)
    e = dataclasses.replace(e, **named)
    assert from_dict(learned(e), "here") == e != Experiment()


def test_shapes_of_a_file_without_a_data_seed_are_those_of_its_seed():
    """What 0.1 drew: a run of its own goes on, and is scored, on its images."""
    for dataset, drawn in (("shapes", 3), ("cifar10", 0)):
        e = experiment(dataset, seed=3)
        old = {name: value for name, value in to_dict(e).items() if name != "data_seed"}
        assert from_dict(old, "here") == dataclasses.replace(e, data_seed=drawn)


@pytest.mark.parametrize(("values", "named"), [
    ([], "list"), (None, "NoneType"), ("x", "str"), ({"colour": 1}, "colour"),
    ({"lr": "1"}, "lr"), ({"lr": None}, "lr"), ({"lr": [1]}, "lr"), ({"lr": True}, "lr"),
    ({"iterations": 1.0}, "iterations"), ({"iterations": True}, "iterations"), ({"seed": {}}, "seed"),
    ({"skip_bad": 1}, "skip_bad"), ({"dataset": None}, "dataset"), ({"dataset": 3}, "dataset"),
    ({"size": "32"}, "size"), ({"data_root": "a\0b"}, "data_root"),
    ({"width": 1e6}, "--width"), ({"width": math.nan}, "--width"), ({"lr": 10**400}, "--lr"), ({"n_dis": 0}, "--n-dis"),
])
def test_a_file_that_holds_no_experiment_is_refused_by_file_and_field(values, named):
    with pytest.raises(FailedWork, match="^run/experiment.json") as caught:
        from_dict(values, "run/experiment.json")
    line = str(caught.value)
    assert named in line and "\n" not in line


def test_integers_are_rates_too():
    assert from_dict({"lr": 1, "lr_dis": 2}, "here").lr_dis == 2


def test_every_field_has_a_line_of_help_and_a_kind_that_the_command_line_knows():
    for f in dataclasses.fields(Experiment):
        assert f.metadata["help"] and "\n" not in f.metadata["help"]
        assert str(f.type).split(" | ")[0] in ("int", "float", "str", "bool")
    check(Experiment())


def test_small_is_for_photographs_on_two_cores():
    small, origins = compose("cifar10", profile="small")
    assert (small.model, small.width, small.norm, small.scale) == ("cnn", 0.25, "ssn", 1.4)
    assert (small.batch_size, small.iterations, small.ema) == (32, 10_000, 0.998)
    assert (small.lr, small.lr_dis, small.beta1, small.beta2) == (4e-4, 2e-4, 0.0, 0.9)
    assert origins["width"][0] == "profile small"
    assert not [line for line in explain("cifar10", model="resnet") if "small has" in line]  # it is nobody's source
