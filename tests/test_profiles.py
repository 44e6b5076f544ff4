"""Profiles and settings: what the sources say, who overrides whom, and that explain says it."""

import dataclasses

import pytest

from minigan import cli, explain, presets, saved
from minigan.presets import Experiment, compose
from minigan.profiles import DEFAULTS, PROFILES, SETTINGS

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


@pytest.mark.parametrize("rows", [DEFAULTS, *SETTINGS.values(), *(r for p in PROFILES.values() for r in p.values())],
                         ids=["default", *SETTINGS, *(f"{p}-{m}" for p in PROFILES for m in PROFILES[p])])
def test_every_row_is_a_field_with_a_value_of_its_type_and_a_source(rows):
    for name, (value, source) in rows.items():
        kinds = {kind for word in str(FIELDS[name].type).split(" | ") for kind in presets.KINDS[word]}
        assert type(value) in kinds and source


def test_the_defaults_have_the_defaults_values():
    assert {name: value for name, (value, _) in DEFAULTS.items()} == {name: FIELDS[name].default for name in DEFAULTS}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_makes_an_experiment_of_known_names(profile):
    e = presets.experiment("cifar10", profile=profile)
    saved.check_names(e)
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
    assert cli.run(["explain", "cifar10", "--setting", "D", "--lr", "0.25"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("--")}
    assert lines["--lr"].split()[1:] == ["0.25", "given"]
    assert "setting D: Miyato et al. 2018, Table 1, setting D" in lines["--n-dis"]
    assert "but chainer-gan-lib has uniform" in text and "but bssn has 400000" in text
    assert set(lines) == {presets.option_name(name) for name in FIELDS if name not in explain.NOT_TRAINING}


@pytest.mark.parametrize("words, said", [
    ("--profile bsn", "unknown profile 'bsn'; choose from: bssn, chainer-gan-lib"),
    ("--setting G", "unknown setting 'G'; choose from: A, B, C, D, E, F, bssn-1"),
    ("--loss hing", "unknown loss 'hing'; choose from: hinge"),
    ("--lr -1", "--lr: expected"),
])
def test_a_wrong_name_is_said_in_one_line(words, said, capsys):
    for command in ("explain", "train"):
        assert cli.run([command, "cifar10", *words.split()]) == 2
        err = capsys.readouterr().err
        assert said in err and len(err.strip().splitlines()) == 1
