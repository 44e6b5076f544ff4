"""The record of a run: what its files say, by one rule each."""

import json

import pytest
from tiny import tiny

from minigan.errors import FailedWork, WrongUse
from minigan.training import run_folder, run_record


def make(folder, saved=(), logged=(), failure=None, iterations=10):
    """A run's folder with empty checkpoints of these iterations, and a line of the log for each of those."""
    run_folder.create(folder, tiny(iterations=iterations), {"machine": {"cores": 2}})
    run_folder.write_done(folder, True)
    for iteration in saved:
        (folder / f"checkpoint-{iteration:07d}.h5").touch()
    (folder / "log.jsonl").write_text("".join(json.dumps({"iteration": i, "seconds": 1.0}) + "\n" for i in logged))
    if failure is not None:
        run_folder.write_failure(folder, failure)
    return folder


@pytest.mark.parametrize("saved, logged, failure, state, iteration", [
    ((), (), None, "not finished", 0),
    ((0, 4), (2, 4, 6), None, "not finished", 6),  # it goes on, or was killed
    ((8,), (9, 10), None, "not finished", 10),  # killed between the last line and the last checkpoint
    ((8, 10), (10,), None, "finished", 10),
    ((10,), (), None, "finished", 10),
    ((), (5, 10), None, "finished", 10),  # its checkpoints were removed
    ((), (5,), None, "not finished", 5),
    ((4,), (6,), "a weight is not finite", "failed", 6),
    ((10,), (10,), "", "failed", 10)])
def test_a_run_is_finished_when_all_iterations_are_saved_and_failed_when_it_says_so(
        tmp_path, saved, logged, failure, state, iteration):
    run = run_record.read(make(tmp_path / "run", saved, logged, failure))
    assert (run.state, run.iteration, run.failure) == (state, iteration, failure)
    assert (run.finished, run.failed, run.ended) == (state == "finished", state == "failed", state != "not finished")


def test_a_run_whose_record_does_not_say_that_it_is_done_is_not_finished(tmp_path):
    folder = make(tmp_path / "run", (10,), (10,))
    run_folder.write_done(folder, False)
    assert not run_record.read(folder).finished and not run_record.read(folder).ended


def test_what_a_folder_tells_is_read_once(tmp_path):
    folder = make(tmp_path / "run", (4,), (2, 4))
    run = run_record.read(folder)
    assert (run.name, run.experiment, run.machine, run.method) == ("run", tiny(iterations=10), {"cores": 2}, "sn")
    assert len(run.log) == 2 and run.diagnoses == run.scores == []
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"iteration": 6, "seconds": 2}\n')
    assert len(run.log) == 2 and len(run_record.read(folder).log) == 3


def test_files_of_other_names_are_no_checkpoints_and_other_lines_no_diagnoses(tmp_path):
    folder = make(tmp_path / "run", (4,))
    for name in ("checkpoint-last.h5", "checkpoint-0000009.h5.part", "best-0000008.h5"):
        (folder / name).touch()
    (folder / "diagnostics.jsonl").write_text("".join(
        json.dumps({"iteration": i, "seconds": 1, "layers": layers}) + "\n" for i, layers in ((1, []), (2, {"a": 3}))))
    run = run_record.read(folder)
    assert run.checkpoint == 4 and [line["iteration"] for line in run.diagnoses] == [2]


def test_a_folder_without_a_run_and_a_damaged_one_are_told_apart(tmp_path):
    assert run_record.find(tmp_path) is None and run_record.find(tmp_path / "nothing") is None
    with pytest.raises(WrongUse, match="is not a run"):
        run_record.read(tmp_path)
    (make(tmp_path / "run") / "experiment.json").write_text("[]")
    with pytest.raises(FailedWork, match="holds a list"):
        run_record.find(tmp_path / "run")


# ---- courses -------------------------------------------------------------------------------------------------------

LOG = [{"iteration": 1, "thumbnails": 5, "sigma": {"conv1": 1.5}, "scores": {"IS p": 2.0}},
       {"iteration": 2, "thumbnails": None, "sigma": [1], "scores": {"IS p": 3.0, "FID p": float("nan")}},
       {"iteration": 3, "sigma": {"conv1": True}, "scores": 4},
       {"iteration": 4, "thumbnails": 4.0, "sigma": {"conv1": [7.0, 8.0]}, "scores": {"IS p": 3.0, "KID p": "x"}},
       {"iteration": 5, "scores": {"IS p": 1.0}}]


def test_a_course_has_the_finite_numbers_and_passes_over_the_rest():
    assert run_record.course(LOG, "thumbnails") == {1: 5.0, 4: 4.0}
    assert run_record.course(LOG, "sigma", "conv1") == {1: 1.5}
    assert run_record.course(LOG, "sigma", "conv1", 1) == {4: 8.0}
    assert run_record.course(LOG, "nothing") == run_record.course([], "thumbnails") == {}
    assert run_record.courses(LOG) == {"thumbnails": {1: 5.0, 4: 4.0}, "IS p": {1: 2.0, 2: 3.0, 4: 3.0, 5: 1.0}}


def test_the_best_of_scores_where_more_is_better_is_the_largest():
    log = [{"iteration": i, "scores": {"IS p": value}} for i, value in ((1, 2.0), (2, 3.0), (3, 3.0), (4, 1.0))]
    assert run_record.best_of(log) == (2, "IS p", 3.0)
    assert run_record.best_of([{"iteration": 1}]) is None and run_record.best_of(LOG) == (2, "IS p", 3.0)
