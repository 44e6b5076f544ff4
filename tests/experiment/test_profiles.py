"""Profiles and settings: what the sources say, who overrides whom, and that explain says it."""

import dataclasses

import pytest

from minigan.cli import main
from minigan.data import datasets
from minigan.experiment import experiment, explain, presets
from minigan.experiment.experiment import Experiment
from minigan.experiment.presets import compose
from minigan.experiment.profiles import DEFAULTS, OWN, PROFILES, SETTINGS
from minigan.networks.models import MODELS
from minigan.training import validate

FIELDS = {f.name: f for f in dataclasses.fields(Experiment)}


def test_the_settings_are_the_papers_tables():
    """Miyato et al. 2018, Table 1; Lin et al. 2021, Table 7: alpha_g, alpha_d, beta1, beta2, n_dis."""
    table = {"A": (1e-4, 1e-4, 0.5, 0.9, 5), "B": (1e-4, 1e-4, 0.5, 0.999, 1), "C": (2e-4, 2e-4, 0.5, 0.999, 1),
             "D": (1e-3, 1e-3, 0.5, 0.9, 5), "E": (1e-3, 1e-3, 0.5, 0.999, 5), "F": (1e-3, 1e-3, 0.9, 0.999, 5),
             "bssn-1": (1e-4, 1e-4, 0.5, 0.9, 5), "bssn-2": (1e-4, 1e-4, 0.5, 0.999, 1),
             "bssn-3": (2e-4, 2e-4, 0.5, 0.999, 1), "bssn-4": (1e-4, 2e-4, 0.5, 0.999, 1),
             "bssn-5": (2e-4, 1e-4, 0.5, 0.999, 1)}
    assert SETTINGS.keys() == table.keys()
    for name, row in table.items():
        e = presets.experiment("cifar10", setting=name)
        assert (e.lr, e.lr_dis or e.lr, e.beta1, e.beta2, e.n_dis) == row


@pytest.mark.parametrize(
    "rows", [DEFAULTS, *OWN.values(), *SETTINGS.values(), *(r for p in PROFILES.values() for r in p.values())],
    ids=["default", *OWN, *SETTINGS, *(f"{p}-{m}" for p in PROFILES for m in PROFILES[p])])
def test_every_row_is_a_field_with_a_value_of_its_type_and_a_source(rows):
    for name, (value, source) in rows.items():
        kinds = {kind for word in str(FIELDS[name].type).split(" | ") for kind in experiment.KINDS[word]}
        assert type(value) in kinds and source


def test_the_defaults_have_the_defaults_values():
    assert {name: value for name, (value, _) in DEFAULTS.items()} == {name: FIELDS[name].default for name in DEFAULTS}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_makes_an_experiment_of_known_names(profile):
    e = presets.experiment("cifar10", profile=profile)
    validate.check_names(e)
    for name, (value, _) in PROFILES[profile][""].items():
        assert getattr(e, name) == PROFILES[profile].get(e.model, {}).get(name, (value,))[0]


def test_what_is_given_overrides_the_setting_and_that_the_profile():
    e, origins = compose("cifar10", profile="bssn", setting="D", beta1=0.25)
    assert (e.iterations, origins["iterations"][0]) == (400_000, "profile bssn")
    assert (e.lr, e.lr_dis, origins["lr"][0]) == (1e-3, None, "setting D")
    assert (e.beta1, origins["beta1"][0]) == (0.25, "given")
    assert origins["width"] == ("default", "")


def test_paper_and_code_are_told_apart():
    paper, code = (presets.experiment("cifar10", profile=p, model="resnet") for p in ("paper", "sngan-projection"))
    assert (paper.iterations, paper.schedule, paper.dequantize) == (100_000, "constant", False)
    assert (code.iterations, code.schedule, code.dequantize, code.gen_batch_size) == (50_000, "linear", True, 128)
    assert paper.n_dis == code.n_dis == 5


def test_explain_says_who_chose_what_and_who_does_otherwise(capsys):
    assert main.run(["explain", "cifar10", "--setting", "D", "--lr", "0.25"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("--")}
    assert lines["--lr"].split()[1:] == ["0.25", "given"]
    assert "setting D: Miyato et al. 2018, Table 1, setting D" in lines["--n-dis"]
    assert "but chainer-gan-lib has uniform" in text and "but bssn has 400000" in text
    assert set(lines) == {experiment.option_name(name) for name in FIELDS if name not in explain.NOT_TRAINING}


@pytest.mark.parametrize("words, said", [
    ("--profile bsn", "unknown profile 'bsn'; choose from: bssn, chainer-gan-lib"),
    ("--setting G", "unknown setting 'G'; choose from: A, B, C, D, E, F, bssn-1"),
    ("--loss hing", "unknown loss 'hing'; choose from: hinge"),
    ("--lr -1", "--lr: expected"),
    ("--init truncated-x", "unknown initializer 'truncated-x'; choose from: model, glorot"),
    ("--init-dis model-2", "unknown initializer 'model-2'; choose from: model, glorot"),
])
def test_a_wrong_name_is_said_in_one_line(words, said, capsys):
    for command in ("explain", "train"):
        assert main.run([command, "cifar10", *words.split()]) == 2
        err = capsys.readouterr().err
        assert said in err and len(err.strip().splitlines()) == 1


def test_a_profile_says_what_its_source_does_with_a_data_set_and_a_model():
    """facts: BSSN's appendix and code, sngan_projection's configurations for ImageNet."""
    for profile, dataset, expected in (
            ("bssn", "stl10", {"split": "unlabeled", "size": 48, "resize": "plain", "iterations": 800_000,
                               "model": "cnn-bssn", "init": "truncated-0.02"}),
            ("bssn", "celeba", {"crop": 128, "size": 64, "resize": "plain", "iterations": 400_000}),
            ("bssn", "imagenet", {"model": "resnet-bssn", "init": "glorot", "batch_size": 16, "gen_batch_size": 32,
                                  "beta1": 0.0, "n_dis": 5, "iterations": 500_000, "reuse_z": False}),
            ("bssn", "mnist", {"model": "mnist-bssn", "latent": "uniform", "dim_z": 100, "norm": "sn-conv"}),
            ("sngan-projection", "imagenet", {"resize": "bilinear", "size": 128, "model": "resnet-imagenet",
                                              "iterations": 450_000, "batch_size": 64, "gen_batch_size": 128}),
            ("sngan-projection", "cifar10", {"init": "glorot", "iterations": 50_000, "resize": None}),
            ("chainer-gan-lib", "cifar10", {"init": "normal-0.02"}),
            ("wgan-gp", "cifar10", {"init": "glorot"})):
        e = presets.experiment(dataset, profile=profile)
        assert {name: getattr(e, name) for name in expected} == expected, (profile, dataset)
        validate.check_names(e)
    assert presets.experiment("stl10", profile="bssn", model="resnet-stl", split="train").split == "train"


def test_minigans_own_rows_are_of_models_and_data_sets_that_there_are():
    assert MODELS.keys() <= OWN.keys() <= MODELS.keys() | datasets.DATASETS.keys()
    assert not MODELS.keys() & datasets.DATASETS.keys()  # a profile's rows are by either
    for name, facts in datasets.DATASETS.items():
        for option, (value, _) in OWN.get(name, {}).items():
            assert value == getattr(facts, option), (name, option)
    for profile in PROFILES.values():
        assert profile.keys() <= MODELS.keys() | datasets.DATASETS.keys() | {""}


def test_explain_shows_how_each_source_cuts_resizes_and_draws(capsys):
    assert main.run(["explain", "imagenet", "--profile", "bssn"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--resize plain profile bssn: BSN's code" in text and "but sngan-projection has bilinear" in text
    assert "--init glorot profile bssn" in text and "--model resnet-bssn profile bssn" in text
    assert main.run(["explain", "stl10", "--init", "lecun-0.2"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--split unlabeled default" in text and "--init lecun-0.2 given" in text
    assert "but bssn has truncated-0.02 (BSN's code: in convolutions" in text


def test_explain_says_what_a_source_does_that_has_no_option():
    text = "\n".join(explain.explain("cifar10", profile="wgan-gp"))
    assert "BN takes the batch's own moments when images are drawn" in text
    assert "without an option" not in "\n".join(explain.explain("cifar10"))
