"""What the papers trained, by name."""

import pytest
from tiny import pictures

from minigan import cli, reproduce, saved


@pytest.mark.parametrize("name", reproduce.TARGETS)
def test_every_target_is_made_of_known_names(name):
    cells = reproduce.cells(name)
    for cell in cells:
        saved.check_names(cell.experiment)
    target = reproduce.TARGETS[name]
    assert len(cells) == max(1, len(target.methods) * len(target.settings))
    assert bool(target.score) or target.methods


def test_a_target_is_the_papers_experiment():
    e = reproduce.cells("sn-gan/table2/cifar10/cnn/sn-hinge")[0].experiment
    assert (e.dataset, e.model, e.norm, e.loss, e.lr, e.beta1, e.n_dis, e.iterations) == (
        "cifar10", "cnn", "sn", "hinge", 2e-4, 0.5, 1, 100_000)
    e = reproduce.cells("sn-gan/table2/cifar10/resnet/sn-hinge")[0].experiment
    assert (e.model, e.iterations, e.schedule, e.gen_batch_size, e.n_dis) == ("resnet", 50_000, "linear", 128, 5)
    e = reproduce.cells("bssn/table1/stl10/cnn/bssn")[0].experiment
    assert (e.norm, e.iterations, e.sampling, e.reuse_z, e.lr) == ("bssn", 800_000, "replacement", True, 1e-4)
    assert len(reproduce.cells("sn-gan/figure1/cifar10", seeds=2)) == 7 * 6 * 2


def test_the_list_has_every_target_with_its_scores(capsys):
    assert cli.run(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["sn-gan/table2/cifar10/cnn/sn-hinge", "7.58", "/", "25.5"] for line in lines)
    assert {line.split()[0] for line in lines if "/" in line.split(" ")[0]} == set(reproduce.TARGETS)


def test_what_was_shrunk_is_said_and_a_stopped_one_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(reproduce.TARGETS, "tiny/table1", reproduce.Target("folder", {"profile": "paper"}, "1 / 2"))
    words = ["reproduce", "tiny/table1", "--out", str(tmp_path / "out"), "-q", "--iterations", "3", "--width", "0.05",
             "--batch-size", "4", "--size", "16", "--data-root", str(pictures(tmp_path / "data"))]
    assert cli.run(words) == 0
    text = capsys.readouterr().out
    assert "SHRUNK: iterations is 3, not 100000" in text and "reported, IS / FID: 1 / 2" in text
    assert "| sn | paper | 1 of 1 |" in text
    assert cli.run(words) == 0


def test_a_wrong_name_is_said_in_one_line(capsys):
    assert cli.run(["reproduce", "sn-gan/table2/cifar10/cnn/snhinge"]) == 2
    assert "did you mean sn-gan/table2/cifar10/cnn/sn-hinge?" in capsys.readouterr().err
    assert cli.run(["reproduce", "sn-gan/table2/cifar10/cnn/sn", "--seeds", "0"]) == 2
    assert "--seeds: expected at least 1, got 0" in capsys.readouterr().err


def test_data_that_are_not_there_stop_it_in_one_line(tmp_path, capsys):
    words = ["reproduce", "sn-gan/table2/cifar10/cnn/sn", "--data-root", str(tmp_path / "nowhere"), "--out",
             str(tmp_path / "out")]
    assert cli.run(words) == 1
    assert capsys.readouterr().err.count("\n") == 1
