"""A run that lost its experiment.json, or lines of its log, goes on, and says what was lost."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny import contents, pictures, words

from minigan.cli import main
from minigan.formats import hdf5_state
from minigan.training import checkpoints, restore, run_folder

DAMAGES = {"missing": lambda path: path.unlink(), "empty": lambda path: path.write_bytes(b""),
           "cut": lambda path: path.write_bytes(path.read_bytes()[:300]),
           "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size))}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    return out


@pytest.fixture
def stopped(data, tmp_path, finished) -> Path:
    """The run as it was at iteration 9, before its last iteration."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "checkpoint-0000010.h5").unlink()
    return out


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_experiment_that_is_lost_is_rebuilt_from_a_checkpoint(damage, stopped, finished, capsys):
    before = run_folder.read_experiment(stopped)
    DAMAGES[damage](stopped / "experiment.json")
    for command in ("report", "sample", "score"):
        assert main.run([command, str(stopped)]) == 1
        assert capsys.readouterr().err == (
            f"minigan: {stopped / 'experiment.json'} is missing, empty or cut off; to rebuild it from a checkpoint, "
            f"and go on: minigan train --resume {stopped}\n")
    assert main.run(["train", "--resume", str(stopped), "-q"]) == 0
    assert "experiment.json was missing, empty or cut off: it is rebuilt from checkpoint-0000009.h5;" \
        in capsys.readouterr().err
    assert run_folder.read_experiment(stopped) == before  # data_root, log_every and so on among them
    assert contents(stopped) == contents(finished)
    assert json.loads((stopped / "experiment.json").read_text())["machine"]["rebuilt"] == "checkpoint-0000009.h5"
    assert main.run(["report", str(stopped)]) == main.run(["sample", str(stopped)]) == 0
    capsys.readouterr()
    assert main.run(["train", "--resume", str(stopped)]) == 0
    assert "rebuilt" not in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_minigan_gives_what_it_has(stopped, data, finished, capsys):
    for _, path in run_folder.checkpoints_in(stopped):
        state = hdf5_state.read(path)
        del state["recorded"]
        hdf5_state.save(path, state)
    (stopped / "experiment.json").write_bytes(b"")
    assert main.run(["train", "--resume", str(stopped), "-q"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 2 and "what that does not say, such as --data-root of an earlier minigan's run" in error
    assert "--data-root" in error.splitlines()[1]
    assert main.run(["train", "--resume", str(stopped), "-q", "--data-root", str(data), "--log-every", "2",
                     "--sample-every", "4", "--checkpoint-every", "3"]) == 0
    assert contents(stopped) == contents(finished)


def test_where_nothing_can_be_rebuilt_one_line_says_so(stopped, capsys):
    for _, path in run_folder.checkpoints_in(stopped):
        path.write_bytes(path.read_bytes()[:5000])
    (stopped / "experiment.json").write_bytes(b"")
    assert main.run(["train", "--resume", str(stopped)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is missing, empty or cut off, and cannot be rebuilt: " in error
    assert "no checkpoint can be read" in error and (stopped / "experiment.json").read_bytes() == b""
    for _, path in run_folder.checkpoints_in(stopped):
        path.unlink()
    assert main.run(["train", "--resume", str(stopped)]) == 1
    assert "experiment.json cannot be read" in capsys.readouterr().err


def test_the_checkpoints_of_others_make_no_run(tmp_path, capsys):
    with h5py.File(tmp_path / "checkpoint-0000001.h5", "w") as file:
        file["weights"] = np.ones(3)
    assert main.run(["train", "--resume", str(tmp_path)]) == 1
    assert "cannot be rebuilt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000001.h5"]


def test_an_experiment_that_is_there_is_left_alone(stopped, monkeypatch):
    text = (stopped / "experiment.json").read_bytes()
    said: list[str] = []
    restore.mend(stopped, said.append)
    assert (stopped / "experiment.json").read_bytes() == text and said == []


@pytest.mark.parametrize("kept", [0, 1, 3, 4])
def test_a_log_that_ends_before_the_checkpoint_says_what_is_missing(kept, stopped, finished, capsys):
    """It had lines at 2, 4, 6 and 8, and the run goes on after 9."""
    log = stopped / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:kept]) + ('{"iteration": 8, "sec' if kept < 4 else ""))
    assert main.run(["train", "--resume", str(stopped), "-q"]) == 0
    error, found = capsys.readouterr().err, run_folder.read_log(stopped)
    whole = [{name: value for name, value in line.items() if name != "seconds"}
             for line in run_folder.read_log(finished)]
    lost = f"the lines of iterations {2 * kept + 1} to 8 are lost" if kept < 4 else ""
    assert (f"log.jsonl: {lost}, which is said there; the run goes on" in error) == bool(lost)
    given = [{name: value for name, value in line.items() if name != "seconds"} for line in found]
    assert given == [*whole[:kept], *([{"iteration": 9, "lost": lost}] if lost else []), *whole[4:]]
    assert main.run(["report", str(stopped)]) == main.run(["figure", "sn-gan/9", str(stopped)]) == 0
    (stopped / "checkpoint-0000010.h5").unlink()
    capsys.readouterr()
    assert main.run(["train", "--resume", str(stopped), "-q"]) == 0
    assert "are lost" not in capsys.readouterr().err  # it is said once
    assert len(run_folder.read_log(stopped)) == len(found)


def test_other_numbers_of_iterations_between_lines_lose_nothing(stopped, capsys):
    """Neither those that are asked for now, nor those of a resumption that came to no checkpoint."""
    assert main.run(["train", "--resume", str(stopped), "-q", "--log-every", "1"]) == 0
    (stopped / "checkpoint-0000010.h5").unlink()
    for every in ("1", "3", "7"):
        assert main.run(["train", "--resume", str(stopped), "-q", "--log-every", every]) == 0
        (stopped / "checkpoint-0000010.h5").unlink()
    assert "are lost" not in capsys.readouterr().err


def test_where_all_is_as_by_default_a_checkpoint_has_the_bytes_it_had(tmp_path):
    """What is not learned is in it only where it was chosen."""
    words = ["train", "shapes", "--size", "16", "--width", "0.03", "--dim-z", "4", "--batch-size", "2", "--iterations",
             "1", "-q", "--threads", "1"]
    assert main.run([*words, "--out", str(tmp_path / "a")]) == 0
    assert "recorded" not in checkpoints.newest(tmp_path / "a")[1]
    assert main.run([*words, "--log-every", "3", "--out", str(tmp_path / "b")]) == 0
    assert checkpoints.newest(tmp_path / "b")[1]["recorded"] == {"log_every": 3}
