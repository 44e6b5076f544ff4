"""What the papers trained, by name."""

import re

import pytest
from tiny import pictures

from minigan.cli import main
from minigan.errors import WrongUse
from minigan.experiment import experiment
from minigan.metrics.protocols import PROTOCOLS
from minigan.studies import reproduce
from minigan.training import validate


@pytest.mark.parametrize("name", reproduce.TARGETS)
def test_every_target_is_made_of_known_names(name):
    cells, target = reproduce.cells(name), reproduce.TARGETS[name]
    for cell in cells:
        validate.check_names(cell.experiment)
        if cell.experiment.condition != "none":
            assert target.dataset in ("cifar10", "cifar100", "imagenet")  # with labels
    assert len(cells) == len(target.methods or (1,)) * len(target.settings or (1,))
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({learned_of(cell) for cell in cells}) == len(cells)  # no two runs of a grid are the same
    assert target.protocol in ("", *PROTOCOLS)
    assert target.score or target.figures or target.methods or name.startswith("report1")


def learned_of(cell):
    return tuple(experiment.learned(cell.experiment).values())


def test_a_target_is_the_papers_experiment():
    e = reproduce.cells("sn-gan/table2/cifar10/cnn/sn-hinge")[0].experiment
    assert (e.dataset, e.model, e.norm, e.loss, e.lr, e.beta1, e.n_dis, e.iterations) == (
        "cifar10", "cnn", "sn", "hinge", 2e-4, 0.5, 1, 100_000)
    e = reproduce.cells("sn-gan/table2/cifar10/resnet/sn-hinge")[0].experiment
    assert (e.model, e.iterations, e.schedule, e.gen_batch_size, e.n_dis) == ("resnet", 50_000, "linear", 128, 5)
    e = reproduce.cells("sn-gan/table2/stl10/resnet/sn-hinge")[0].experiment
    assert (e.model, e.size, e.beta1, e.beta2, e.n_dis, e.iterations) == ("resnet-stl", 48, 0.0, 0.9, 5, 100_000)
    e = reproduce.cells("bssn/table1/stl10/cnn/bssn")[0].experiment
    assert (e.norm, e.iterations, e.sampling, e.reuse_z, e.lr, e.split) == (
        "bssn", 800_000, "replacement", True, 1e-4, "unlabeled")
    e = reproduce.cells("bssn/table1/imagenet/resnet/bsn")[0].experiment
    assert (e.model, e.iterations, e.batch_size, e.gen_batch_size, e.n_dis, e.init) == (
        "resnet-bssn", 500_000, 16, 32, 5, "glorot")
    assert len(reproduce.cells("sn-gan/figure1/cifar10", seeds=2)) == 7 * 6 * 2


def test_labels_gammas_and_scales_are_the_papers():
    e = reproduce.cells("sn-gan/table8/cifar10/resnet-ac/sn-1.5x")[0].experiment
    assert (e.model, e.condition, e.norm, e.loss, e.gp, e.width_dis, e.ac_gen) == (
        "resnet-wgan-gp", "ac", "sn-gamma", "wasserstein", 10, 1.5, 0.1)
    e = reproduce.cells("cgan/imagenet/resnet/projection")[0].experiment
    assert (e.model, e.condition, e.iterations, e.batch_size, e.schedule, e.decay_from) == (
        "resnet-imagenet", "projection", 450_000, 64, "linear", 400 / 450)
    scales = [cell.experiment.scale for cell in reproduce.cells("bssn/scales/cifar10/cnn/ssn")]
    assert (len(scales), scales[0], scales[-1]) == (27, 0.7, 10.0)
    assert [cell.experiment.scale for cell in reproduce.cells("bssn/scales/imagenet/resnet/bssn")] == [1, 1.2, 1.4, 1.6]
    assert {cell.experiment.n_dis for cell in reproduce.cells("sn-gan/figure11/cifar10")} == {1, 5, 10, 20}
    assert {cell.experiment.lr for cell in reproduce.cells("sn-gan/figure11/cifar10")} == {1e-3}  # setting D
    for name, said in {"figure3/mnist": ("wasserstein", 1.0, 0.0, 1e-3), "figure14/cifar10": ("hinge", 1.75, 0.0, 1e-4),
                       "figure15/stl10": ("hinge", 1.75, 0.0, 1e-4)}.items():  # appendix K
        e = reproduce.cells(f"bssn/{name}")[0].experiment
        assert (e.loss, e.scale, e.gp, e.lr) == said and e.norm == "sn-conv" and e.scale_spread > 0
    e = reproduce.cells("bssn/figure10/cifar10")[2].experiment
    assert (e.lr, e.lr_dis, e.gp, e.slope, e.loss, e.n_dis) == (1e-3, 1e-3, 50, 0, "wasserstein", 1)


def test_the_reports_runs():
    """Adam at 0.002, z of 100; 70 epochs at 1e-4 and 4e-4; 64 pixels, batches of 128, SN with BN."""
    e = reproduce.cells("report1/cifar10/w-sn-dcgan")[0].experiment
    assert (e.lr, e.beta1, e.loss, e.norm, e.dim_z, e.size, e.iterations) == (
        2e-3, 0.0, "wasserstein", "sn", 100, 64, 200 * 50_000 // 64)
    e = reproduce.cells("report2/cifar10/sn")[0].experiment
    assert (e.lr, e.lr_dis, e.beta1, e.beta2, e.model, e.features, e.loss) == (
        1e-4, 4e-4, 0.5, 0.999, "dcgan-32", "none", "ns")
    e = reproduce.cells("report3/table1/cifar10/lr-1e-5")[0].experiment
    assert (e.lr, e.batch_size, e.size, e.norm, e.model) == (1e-5, 128, 64, "sn-bn", "dcgan")


def test_the_list_has_every_target_with_its_score_and_protocol(capsys):
    assert main.run(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["sn-gan/table2/cifar10/cnn/sn-hinge", "7.58±.12", "/", "25.5", "sn-gan"]
               for line in lines)
    assert {line.split()[0] for line in lines if "/" in line.split(" ")[0]} == set(reproduce.TARGETS)
    assert any(line.startswith("bssn: Lin et al. 2021") for line in lines)


@pytest.mark.parametrize("name, full", [
    ("sn-gan/figure10b", None), ("bssn/figure18", "bssn/figure16/cifar10"), ("bssn/fig3", "bssn/figure3/mnist"),
    ("sn-gan/figure2/stl10", "sn-gan/figure1/stl10"), ("bssn/figure33", "bssn/figure9/cifar10"),
    ("sn-gan/figure13b", "sn-gan/figure13b/imagenet"), ("wgan-gp/cifar10", None), ("bssn/table6/celeba", None)])
def test_a_name_may_be_a_beginning_or_a_figure(name, full):
    if full:
        assert reproduce.find(name) == full
    else:
        with pytest.raises(WrongUse, match="unknown target|more than one target; choose one of"):
            reproduce.find(name)


def test_what_changes_no_byte_is_no_change_of_the_experiment():
    """What a checkpoint does not hold: how often to look, to save and to score, where, in how many threads."""
    name = "sn-gan/table2/cifar10/cnn/sn-hinge"
    others = {"diagnose": 1000, "score_every": 500, "log_every": 7, "checkpoint_every": 9, "data_root": "x",
              "threads": 1}
    said = reproduce.describe(name, reproduce.cells(name, **others), **others)
    assert not [line for line in said if line.startswith(("CHANGED", "SHRUNK"))]
    lr = reproduce.describe(name, reproduce.cells(name, lr=1e-3, **others), lr=1e-3, **others)
    assert [line for line in lr if line.startswith("CHANGED")] == [
        "CHANGED: lr is 0.001, not 0.0002: what comes out is not the paper's experiment"]


def test_what_a_grid_varies_cannot_be_given(capsys):
    assert main.run(["reproduce", "bssn/figure4", "--norm", "wn"]) == 2
    assert "bssn/figure4/cifar10 chooses --norm itself; leave it out" in capsys.readouterr().err
    assert main.run(["reproduce", "sn-gan/figure1/cifar10", "--setting", "A"]) == 2
    assert "chooses --setting itself" in capsys.readouterr().err


def test_what_was_shrunk_is_said_and_a_stopped_one_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(reproduce.TARGETS, "tiny/table1", reproduce.Target("folder", {"profile": "paper"}, "1 / 2"))
    words = ["reproduce", "tiny/table1", "--out", str(tmp_path / "out"), "-q", "--iterations", "3", "--width", "0.05",
             "--batch-size", "4", "--size", "16", "--data-root", str(pictures(tmp_path / "data"))]
    assert main.run(words) == 0
    text = capsys.readouterr().out
    assert "SHRUNK: iterations is 3, not 100000" in text and "reported, IS / FID: 1 / 2" in text
    assert re.search(r"\| sn +\| paper +\| 1 of 1 \|", text)
    assert main.run(words) == 0


def test_what_was_changed_is_said_of_every_run_of_a_grid():
    """The first setting trains 400,000 iterations, the others twice as many."""
    name = "bssn/table6/stl10/cnn/sn"
    for seeds, iterations, said in ((1, 400_000, [800_000]), (2, 7, [400_000, 800_000])):
        chosen = {"iterations": iterations}
        lines = reproduce.describe(name, reproduce.cells(name, seeds, **chosen), **chosen)
        assert [line for line in lines if line.startswith("SHRUNK")] == [
            f"SHRUNK: iterations is {iterations}, not {n}: what comes out is not the paper's experiment" for n in said]


def test_a_wrong_name_is_said_in_one_line(capsys):
    assert main.run(["reproduce", "sn-gan/table2/cifar10/cnn/snhinge"]) == 2
    assert "did you mean sn-gan/table2/cifar10/cnn/sn-hinge?" in capsys.readouterr().err
    assert main.run(["reproduce", "sn-gan/table2/cifar10/cnn/sn", "--seeds", "0"]) == 2
    assert "--seeds: expected at least 1, got 0" in capsys.readouterr().err


def test_data_that_are_not_there_stop_it_in_one_line(tmp_path, capsys):
    words = ["reproduce", "sn-gan/table2/cifar10/cnn/sn", "--data-root", str(tmp_path / "nowhere"), "--out",
             str(tmp_path / "out")]
    assert main.run(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_rate_that_is_given_holds_for_both_networks():
    """Report 002 trains with 1e-4 and 4e-4."""
    name = next(name for name, target in reproduce.TARGETS.items() if target.options.get("lr_dis") == 4e-4)
    assert {(cell.experiment.lr, cell.experiment.lr_dis) for cell in reproduce.cells(name)} == {(1e-4, 4e-4)}
    assert {(cell.experiment.lr, cell.experiment.lr_dis) for cell in reproduce.cells(name, lr=1e-3)} == {(1e-3, None)}
