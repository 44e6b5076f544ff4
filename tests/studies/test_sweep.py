"""The grid of runs and its summary."""

import dataclasses
import json

import numpy as np
import pytest
from tiny import OPTIONS, pictures

from minigan.cli import main
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import to_dict
from minigan.formats.image_files import read_png
from minigan.studies import grid, sweep, tables
from minigan.training import loop, run_folder, run_record

COMMON = OPTIONS | {"iterations": 4, "sample_every": 2, "gen_batch_size": None}


@pytest.fixture
def common(tmp_path):
    return {name: value for name, value in COMMON.items() if name != "n_dis"} | {
        "data_root": str(pictures(tmp_path / "data"))}


def rows(text: str) -> list[list[str]]:
    """The first three cells of each line of a table in Markdown."""
    return [[cell.strip() for cell in line.split("|")[1:4]] for line in text.splitlines() if line.startswith("|")]


def test_a_grid_has_every_method_with_every_setting_and_seed(common):
    cells = grid.grid("folder", ["none", "sn", "wgan-gp"], ["A", "C"], 2, **common)
    assert len({cell.name for cell in cells}) == 12
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6
    gp = next(cell for cell in cells if cell.name == "wgan-gp-A-1").experiment
    assert (gp.norm, gp.loss, gp.gp, gp.lr, gp.n_dis, gp.seed) == ("none", "wasserstein", 10, 1e-4, 5, 1)


@pytest.mark.parametrize("methods, settings, more, said", [
    ("sn,spn", "A", {}, "unknown method 'spn'; choose from"), ("sn", "G", {}, "unknown setting 'G'"),
    ("sn,sn", "A", {}, "'sn' is named twice"), ("sn", "A", {"norm": "wn"}, "--norm itself"),
    ("sn,wgan-gp", "A", {"loss": "ns"}, "--loss itself"), ("sn", "A", {"seed": 3}, "--seed itself"),
])
def test_a_grid_that_contradicts_itself_is_refused(methods, settings, more, said, common):
    with pytest.raises(WrongUse, match=said):
        grid.grid("folder", methods.split(","), settings.split(","), 1, **common | more)


def test_a_grid_has_at_least_one_seed(common):
    with pytest.raises(WrongUse, match="--seeds: expected at least 1, got 0"):
        grid.grid("folder", ["sn"], ["C"], 0, **common)


def iteration(folder):
    """Of the newest checkpoint; 0 where no run was begun."""
    run = run_record.find(folder)
    return run.checkpoint if run else 0


def test_a_stopped_sweep_goes_on_and_repeats_nothing(common, tmp_path, monkeypatch, capsys):
    cells = grid.grid("folder", ["none", "sn"], ["C"], 2, **common)
    fit, begun = loop.fit, []

    def stops(experiment, folder, **how):
        begun.append(folder.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        fit(experiment, folder, **how)
    monkeypatch.setattr(loop, "fit", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(cells, tmp_path / "out", quiet=True, say=lambda line: None)
    sweep.sweep(cells, tmp_path / "out", quiet=True, say=lambda line: None)
    assert begun == ["none-C-0", "sn-C-0", "none-C-1", "none-C-1", "sn-C-1"]
    assert all(iteration(tmp_path / "out" / cell.name) == 4 for cell in cells)
    sweep.sweep(cells, tmp_path / "out", quiet=True, say=lambda line: None)
    assert len(begun) == 5  # finished runs are left alone
    table = (tmp_path / "out" / "summary.md").read_text()
    assert rows(table)[2:] == [["none", "C", "2 of 2"], ["sn", "C", "2 of 2"]]
    shown = read_png(tmp_path / "out" / "samples.png")
    one = read_png(tmp_path / "out" / "sn-C-0" / "samples.png")
    half = shown[len(shown) // 2:]  # the second method's row
    assert len(shown) >= 2 * len(one) and np.array_equal(half[6:6 + len(one), 6:6 + one.shape[1]], one)


def test_a_run_that_another_process_trains_is_passed_over(common, tmp_path):
    cells, said = grid.grid("folder", ["none", "sn"], ["C"], 1, **common), []
    with run_folder.locked(tmp_path / "out" / "none-C-0"):
        sweep.sweep(cells, tmp_path / "out", quiet=True, say=said.append)
    assert "none-C-0: another process is at it" in said
    assert [iteration(tmp_path / "out" / cell.name) for cell in cells] == [0, 4]


def test_a_run_that_explodes_is_noted_and_the_next_begins(common, tmp_path):
    cells = grid.grid("folder", ["none", "sn"], ["C"], 1, **common | {"optimizer": "sgd"})
    cells[0] = grid.Cell("none", "C", 0, dataclasses.replace(cells[0].experiment, lr=1e6))
    sweep.sweep(cells, tmp_path / "out", quiet=True, say=lambda line: None)
    table = (tmp_path / "out" / "summary.md").read_text()
    assert "1 not finite" in table and rows(table)[3] == ["sn", "C", "1 of 1"]
    said = []
    sweep.sweep(cells, tmp_path / "out", quiet=True, say=said.append)  # it would come to the same again
    assert len(said) == 1 and "none-C-0: failed before" in said[0]


def test_a_run_that_another_process_finished_while_this_one_read_the_data_is_left(common, tmp_path, monkeypatch):
    cells, said, fit = grid.grid("folder", ["none", "sn"], ["C"], 1, **common), [], loop.fit

    def quicker(experiment, folder, **how):
        monkeypatch.setattr(loop, "fit", fit)
        fit(experiment, folder, **how)  # the other process's
        fit(experiment, folder, **how)
    monkeypatch.setattr(loop, "fit", quicker)
    sweep.sweep(cells, tmp_path / "out", quiet=True, say=said.append)
    assert "none-C-0: another process is at it" in said
    assert all(iteration(tmp_path / "out" / cell.name) == 4 for cell in cells)


def test_a_grid_whose_seeds_drew_shapes_of_their_own_takes_no_runs_on_those_of_one(tmp_path):
    """As 0.1 wrote it: without data_seed."""
    cells = grid.grid("shapes", ["sn"], ["C"], 2)
    old = {name: value for name, value in to_dict(cells[1].experiment).items() if name != "data_seed"}
    (tmp_path / cells[1].name).mkdir()
    (tmp_path / cells[1].name / "experiment.json").write_text(json.dumps({"experiment": old}))
    (tmp_path / "sweep.json").write_text(json.dumps({cells[1].name: old}))
    with pytest.raises(WrongUse, match="holds another sweep: sn-C-1 has data_seed 1 there, not 0"):
        sweep.sweep(cells, tmp_path, quiet=True, say=lambda line: None)


def test_a_folder_keeps_to_one_grid(common, tmp_path):
    sweep.sweep(grid.grid("folder", ["sn"], ["C"], 1, **common), tmp_path / "out", quiet=True, say=lambda line: None)
    more = grid.grid("folder", ["sn", "none"], ["C"], 1, **common)
    sweep.sweep(more, tmp_path / "out", quiet=True, say=lambda line: None)  # more cells are welcome
    assert len(json.loads((tmp_path / "out" / "sweep.json").read_text())) == 2
    with pytest.raises(WrongUse, match="holds another sweep: sn-C-0 has iterations 4 there, not 6"):
        sweep.sweep(grid.grid("folder", ["sn"], ["C"], 1, **common | {"iterations": 6}), tmp_path / "out")


def test_a_grid_of_an_earlier_minigan_goes_on_without_the_options_it_had_not(common, tmp_path):
    cells = grid.grid("folder", ["sn"], ["C"], 1, **common)
    sweep.sweep(cells, tmp_path / "out", quiet=True, say=lambda line: None)
    path = tmp_path / "out" / "sweep.json"
    old = {cell: {key: value for key, value in row.items() if key not in ("accumulate", "sync_bn")}
           for cell, row in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(old))
    sweep.claim(cells, tmp_path / "out")
    path.write_text(json.dumps(old))
    with pytest.raises(WrongUse, match="holds another sweep: sn-C-0 has accumulate 1 there, not 2"):
        sweep.claim(grid.grid("folder", ["sn"], ["C"], 1, **common | {"accumulate": 2}), tmp_path / "out")


def test_a_sweep_that_failed_before_its_first_run_may_begin_with_other_options(common, tmp_path):
    cells = grid.grid("folder", ["sn"], ["C"], 1, **common | {"data_root": str(tmp_path / "gone")})
    with pytest.raises(FailedWork, match="no such file or folder"):
        sweep.sweep(cells, tmp_path / "s", quiet=True)
    sweep.sweep(grid.grid("folder", ["sn"], ["C"], 1, **common | {"iterations": 6}), tmp_path / "s", quiet=True)
    assert iteration(tmp_path / "s" / "sn-C-0") == 6


def test_a_sweep_goes_on_with_other_threads_and_data_that_were_moved(common, tmp_path):
    with pytest.raises(FailedWork, match="no such file or folder"):  # a slip, put right by the next command
        sweep.sweep(grid.grid("folder", ["sn"], ["C"], 1, **common | {"data_root": str(tmp_path / "data")[:-1]}),
                    tmp_path / "out", quiet=True)
    some = {**common, "threads": 1}
    sweep.sweep(grid.grid("folder", ["sn"], ["C"], 1, **some), tmp_path / "out", quiet=True, say=lambda line: None)
    for path in (tmp_path / "out" / "sn-C-0").glob("checkpoint-0000004.h5"):
        path.unlink()
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = {**common, "threads": 2, "data_root": str(tmp_path / "moved")}
    sweep.sweep(grid.grid("folder", ["sn"], ["C"], 1, **moved), tmp_path / "out", quiet=True, say=lambda line: None)
    e = run_folder.read_experiment(tmp_path / "out" / "sn-C-0")
    assert (e.threads, e.data_root, iteration(tmp_path / "out" / "sn-C-0")) == (2, str(tmp_path / "moved"), 4)


def test_an_option_of_one_norm_leaves_the_others_of_a_grid_as_they_are(common):
    cells = grid.grid("folder", ["sn", "ssn", "clip"], ["C"], 1, **common, scale=1.4)
    assert [cell.experiment.scale for cell in cells] == [1, 1.4, 1]
    with pytest.raises(WrongUse, match="--scale 1.4 does nothing with --norm sn"):
        grid.grid("folder", ["sn", "clip"], ["C"], 1, **common, scale=1.4)


def test_the_command_lists_and_sweeps(common, tmp_path, capsys):
    words = ["sweep", "folder", "--methods", "sn", "--settings", "C, D", "--out", str(tmp_path / "out"), "-q"]
    words += [word for name, value in common.items() if value is not None
              for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main.run([*words, "--list"]) == 0
    assert capsys.readouterr().out.split() == ["sn-C-0", "sn-D-0"] and not (tmp_path / "out").exists()
    assert main.run(words) == 0
    assert ["sn", "D", "1 of 1"] in rows(capsys.readouterr().out)


def test_mean_deviation_and_error_over_the_seeds(tmp_path, common):
    cells = grid.grid("folder", ["sn"], ["C"], 3, **common)
    for cell, values in zip(cells, ([9.0, 1.0], [2.0, 2.5], [3.0, 6.0]), strict=True):
        folder = tmp_path / cell.name
        run_folder.create(folder, cell.experiment, {})
        run_folder.write_done(folder, True)
        (folder / "checkpoint-0000004.h5").touch()
        (folder / "log.jsonl").write_text("".join(
            json.dumps({"iteration": i, "seconds": 1.0, "thumbnails": v}) + "\n" for i, v in enumerate(values)))
    row = next(line for line in tables.summary(cells, tmp_path) if line.startswith("| sn"))
    sd = np.std([1, 2.5, 6], ddof=1)
    assert f"| 3.167 | {sd:.3f} | {sd / 3 ** 0.5:.3f} | 2.000 | 1.000 | 0.577 |" in " ".join(row.split())


def test_a_sweeps_summary_has_last_and_best_of_the_score(tmp_path):
    cells = grid.grid("shapes", ["sn"], ["C"], 1, size=16, iterations=3)
    folder = tmp_path / cells[0].name
    run_folder.create(folder, cells[0].experiment, {})
    run_folder.write_done(folder, True)
    (folder / "checkpoint-0000003.h5").touch()
    (folder / "log.jsonl").write_text("".join(json.dumps(
        {"iteration": i, "seconds": i, "thumbnails": 9.0, "scores": {"IS x": 1.0, "FID x": value}}) + "\n"
        for i, value in ((1, 30.0), (2, 20.0), (3, 25.0))))
    lines = tables.summary(cells, tmp_path)
    assert "| 25.000 | - | - | 20.000 | - | - |" in " ".join(lines[2].split()) and "FID x" in lines[-1]
