"""When a run is done: when its record says so, written last. And what is said of a run whose folder goes away."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny import contents, names, pictures, words

from minigan.cli import main
from minigan.studies import grid, sweep
from minigan.training import checkpoints, gan, run_folder, run_record
from minigan.training.recording import sample_grids
from minigan.views.figures import data as figure_data

posix = pytest.mark.skipif(os.name != "posix", reason="links and open folders are POSIX's")


class Killed(BaseException):
    """As if the process ended here."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    return contents(out)


def record_of(run: Path) -> dict:
    return json.loads((run / "experiment.json").read_text())


# ---- done ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("last", ["save_progress", "progress_gif"])
def test_a_run_killed_before_its_last_picture_is_not_done_and_made_good(last, data, whole, tmp_path, monkeypatch,
                                                                        capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sample_grids, last, killed)
        main.run([*words(data, out), "-q"])
    assert (out / "checkpoint-0000010.h5").exists() and record_of(out)["done"] is False
    assert not run_record.read(out).finished and run_record.read(out).state == "not finished"
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert record_of(out)["done"] is True and run_record.read(out).finished and contents(out) == whole


def test_a_run_killed_before_it_removes_a_checkpoint_has_two_in_the_end(data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert main.run([*words(data, out, iterations=7), "-q"]) == 0
    with monkeypatch.context() as patch, pytest.raises(Killed):
        real = checkpoints.remove_older
        patch.setattr(checkpoints, "remove_older", lambda folder, at, keep=2: killed() if at == 9 else real(folder, at))
        main.run(["train", "--resume", str(out), "--iterations", "9", "-q"])
    assert [number for number, _ in run_folder.checkpoints_in(out)] == [9, 7, 6]
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert [number for number, _ in run_folder.checkpoints_in(out)] == [9, 7]


def test_a_sweep_makes_good_what_a_kill_left_out_and_trains_nothing_anew(tmp_path, monkeypatch):
    cells = grid.grid("shapes", ["sn"], ["C"], 1, size=16, width=0.03, dim_z=4, batch_size=2, iterations=2)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sample_grids, "save_progress", killed)
        sweep.sweep(cells, tmp_path, quiet=True)
    run = tmp_path / cells[0].name
    with pytest.raises(figure_data.WrongUse, match="no run is finished"):
        figure_data.find_runs([tmp_path])
    monkeypatch.setattr(gan.Training, "iterate", killed)
    sweep.sweep(cells, tmp_path, quiet=True)
    assert (run / "film.png").exists() and (run / "progress.gif").exists() and record_of(run)["done"] is True
    assert [one.folder for one in figure_data.find_runs([tmp_path])[0]] == [run]


def test_a_run_that_goes_on_is_not_done_until_its_end(data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert main.run([*words(data, out, iterations=4), "-q"]) == 0
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(gan.Training, "iterate", killed)
        main.run(["train", "--resume", str(out), "--iterations", "6", "-q"])
    assert record_of(out)["done"] is False and not run_record.read(out).finished
    (out / "checkpoint-0000004.h5").write_bytes(b"broken")  # goes on from an older one
    assert main.run(["train", "--resume", str(out), "-q"]) == 0 and run_record.read(out).finished


def test_runs_of_minigan_0_1_are_done_by_their_checkpoints(data, tmp_path):
    out = tmp_path / "run"
    assert main.run([*words(data, out, iterations=2), "-q"]) == 0
    record = record_of(out)
    del record["done"]
    (out / "experiment.json").write_text(json.dumps(record))
    assert run_record.read(out).done is None and run_record.read(out).finished
    (out / "checkpoint-0000002.h5").unlink()
    assert not run_record.read(out).finished


# ---- gone ----------------------------------------------------------------------------------------------------------

def at_iteration(monkeypatch: pytest.MonkeyPatch, iteration: int, what) -> None:
    update = gan.Training.update_generator

    def then(self, rate):
        if self.iteration == iteration - 1:
            what()
        return update(self, rate)
    monkeypatch.setattr(gan.Training, "update_generator", then)


@posix
@pytest.mark.parametrize("iteration", [3, 4, 7, 10])  # nothing, a line, images, a checkpoint: whatever is due
def test_a_folder_that_is_removed_ends_its_training_in_one_true_line(iteration, data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    at_iteration(monkeypatch, iteration, lambda: shutil.rmtree(out))
    assert main.run([*words(data, out), "-q"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "untouched" not in said and "checkpoint" not in said
    assert f"{out} was removed or moved during the training, which ends at iteration {iteration}" in said
    assert not out.exists()


@posix
def test_a_run_that_is_moved_writes_nothing_into_what_takes_its_place(data, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"

    def move() -> None:
        out.rename(tmp_path / "moved")
        (out / "samples").mkdir(parents=True)
        (out / "log.jsonl").write_text("another's")
    with monkeypatch.context() as patch:
        at_iteration(patch, 8, move)
        assert main.run([*words(data, out), "-q"]) == 1
    assert "was removed or moved during the training" in capsys.readouterr().err
    assert names(out) == ["log.jsonl", "samples"] and (out / "log.jsonl").read_text() == "another's"
    assert main.run(["train", "--resume", str(tmp_path / "moved"), "-q"]) == 0
    assert contents(tmp_path / "moved") == whole


@posix
def test_a_folder_that_is_removed_before_the_last_picture_is_said_so(data, tmp_path, monkeypatch, capsys):
    out, real = tmp_path / "run", sample_grids.save_progress

    def removed(folder: Path, last: int) -> None:
        shutil.rmtree(out)
        real(folder, last)
        run_folder.write_done(out, True)
    monkeypatch.setattr(sample_grids, "save_progress", removed)
    assert main.run([*words(data, out, iterations=2), "-q"]) == 1
    assert "was removed or moved during the training" in capsys.readouterr().err and not out.exists()


# ---- what is not minigan's -----------------------------------------------------------------------------------------

def test_overwriting_removes_what_minigan_wrote_alone(data, tmp_path):
    out = tmp_path / "run"
    assert main.run([*words(data, out, iterations=4), "-q"]) == 0
    mine = ["checkpoint-backup.h5", "checkpoint-1.h5", "best-2.h5", "samples/checkpoint-0000004.h5",
            "samples-0000004.png", "samples/samples-4.png", "images.h5", "samples/best-0000001.h5", "report.html.bak"]
    for name in mine:
        (out / name).write_bytes(b"mine")
    assert main.run([*words(data, out, iterations=2), "--overwrite", "-q"]) == 0
    assert {name: (out / name).read_bytes() for name in mine} == dict.fromkeys(mine, b"mine")
    assert [number for number, _ in run_folder.checkpoints_in(out)] == [2, 0]


@posix
def test_a_folder_in_a_run_that_is_a_link_is_not_followed(data, tmp_path, capsys):
    out, outside = tmp_path / "run", tmp_path / "outside"
    assert main.run([*words(data, out, iterations=2), "-q"]) == 0
    shutil.move(out / "samples", outside)
    (out / "samples").symlink_to(outside)
    before = {name: (outside / name).read_bytes() for name in names(outside)}
    for command in (["train", "--resume", str(out), "--iterations", "4"],
                    [*words(data, out, iterations=4), "--overwrite"]):
        assert main.run([*command, "-q"]) == 1
        assert capsys.readouterr().err.endswith(f"{out / 'samples'} is a link, which is not followed; remove it\n")
    (out / "export").symlink_to(outside)
    assert main.run(["export", str(out), "--to", "safetensors"]) == 1
    assert capsys.readouterr().err.endswith(f"{out / 'export'} is a link, which is not followed; remove it\n")
    assert {name: (outside / name).read_bytes() for name in names(outside)} == before
