"""A power cut at any moment of any command that keeps something costs what was being made, and nothing that was kept.

Every prefix of a command's record of changes (power_cuts.py) is asked; some are laid out on the disk and gone on with.
"""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from power_cuts import Record, State
from scored import few_drawings
from tiny import contents, pictures, words

from minigan.cli import main
from minigan.data import pack
from minigan.formats import hdf5_state, locks
from minigan.metrics import stored_scores
from minigan.training import run_folder

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the record asks Linux for files' names")
SHAPES = ["shapes", "--size", "16", "--width", "0.03", "--dim-z", "4", "--batch-size", "2", "--iterations", "2", "-q"]
CLASSIFIER = ["classifier", "train", "shapes", "--size", "16", "--epochs", "2", "--batch-size", "150", "-q"]


@pytest.fixture(autouse=True)
def few(tmp_path):
    """Shapes has only 300 drawings; the cache is on the disk whose power is cut."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "disk").mkdir()
    with few_drawings(tmp_path / "disk" / "cache"):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


def recorded(root: Path, *commands: list[str]) -> list[State]:
    """What power cuts may leave of `root` during these commands."""
    with pytest.MonkeyPatch.context() as patch:
        record = Record(root)
        record.start(patch)
        for command in commands:
            assert main.run(command) == 0
    states = list(record.states())
    assert len(states) > 10 and states[-1].files == {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return states


def checkpoint_of(data: bytes, folder: Path) -> dict:
    path = folder / "state.h5"
    path.write_bytes(data)
    return hdf5_state.read(path)


def log_of(data: bytes) -> list[dict]:
    lines = [json.loads(line) for line in data.decode().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def is_whole(name: str, data: bytes, scratch: Path) -> bool:
    """Whether a file is one that minigan wrote, from its beginning to its end."""
    if name.endswith((".png", ".gif")):
        image = Image.open(io.BytesIO(data))
        image.load()
        return True
    if name.endswith((".jsonl", ".json")):
        assert data.endswith(b"\n") or not data and name.endswith("l") or name.endswith(".part.json")
        return all(isinstance(json.loads(line), dict) for line in (data.splitlines() if name.endswith("l") else [data]))
    if name.endswith((".h5", ".training")):
        return isinstance(checkpoint_of(data, scratch), dict)
    assert name.endswith(".md") and data.endswith(b"\n"), name
    return True


def check_files(states: list[State], scratch: Path) -> None:
    """No file that has its final name is empty or cut off, in any state; each content is looked at once."""
    known = set()
    for state in states:
        for name, content in state.files.items():
            if not re.search(r"\.part$|\.lock$", name) and (name, hash(content)) not in known:
                assert is_whole(name, content, scratch), f"{name}, {len(content)} bytes, after event {state.event}"
                known.add((name, hash(content)))


def check_run(states: list[State], run: Path, scratch: Path) -> int:
    """That a run has, beside its newest checkpoint, all that this counts on; returns the number of states with one."""
    log, last_of_all = log_of((run / "log.jsonl").read_bytes()), max(n for n, _ in run_folder.checkpoints_in(run))
    drawn, run = [path.name for path in (run / "samples").iterdir()], str(run).partition("/disk/")[2]
    newest, found = -1, 0
    held: dict[int, int] = {}
    for state in states:
        saved = {int(match[1]): content for name, content in state.files.items()
                 if (match := re.fullmatch(run + r"/checkpoint-([0-9]+)\.h5", name))}
        for content in saved.values():
            if hash(content) not in held:
                held[hash(content)] = checkpoint_of(content, scratch)["iteration"]
        last = max(saved, default=-1)
        if state.names == "synced":  # what was kept once is never lost
            assert last >= newest, f"checkpoint {newest} is lost after event {state.event}"
            newest = last
        if last < 0:
            continue
        found += 1
        assert held[hash(saved[last])] == last
        files = {name.removeprefix(f"{run}/"): content for name, content in state.files.items()
                 if name.startswith(f"{run}/")}
        assert "experiment" in json.loads(files["experiment.json"])
        assert [line for line in log_of(files["log.jsonl"]) if line["iteration"] <= last] \
            == [line for line in log if line["iteration"] <= last], f"the log, after event {state.event}"
        missing = [name for name in drawn if int(re.findall(r"[0-9]+", name)[0]) <= last
                   and f"samples/{name}" not in files]
        assert not missing, f"{missing} after event {state.event}"
    assert newest == last_of_all
    return found


def some(states: list[State], count: int) -> list[State]:
    return [states[i] for i in sorted({int(i) for i in np.linspace(0, len(states) - 1, count)})]


# ---- training ------------------------------------------------------------------------------------------------------

def test_a_training_loses_no_more_than_the_iterations_since_its_last_checkpoint(data, tmp_path):
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    command = [*words(data, root / "new" / "run", diagnose=3), "-q"]
    states = recorded(root, command)
    check_files(states, scratch)
    assert check_run(states, root / "new" / "run", scratch) > 30
    whole = contents(root / "new" / "run")
    shutil.rmtree(root)
    begun = [state for state in states if "new/run/experiment.json" in state.files]
    for state in some(begun, 6):
        state.put(root)
        assert main.run(["train", "--resume", str(root / "new" / "run"), "-q"]) == 0
        assert contents(root / "new" / "run") == whole, f"after event {state.event}, {state.names}"
        shutil.rmtree(root)


def test_a_run_that_goes_on_or_is_replaced_loses_nothing_that_was_kept(data, tmp_path):
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    run = root / "run"
    assert main.run([*words(data, run, iterations=6), "-q"]) == 0
    states = recorded(root, ["train", "--resume", str(run), "--iterations", "9", "-q"])
    check_files(states, scratch)
    assert check_run(states, root / "run", scratch) == len(states)
    first = json.loads(states[0].files["run/experiment.json"])
    states = recorded(root, [*words(data, run, iterations=4, seed=1), "--overwrite", "-q"])
    check_files(states, scratch)
    for state in states:  # no checkpoint stands beside another run's experiment
        asked = json.loads(state.files["run/experiment.json"])["experiment"]["seed"]
        for name, content in state.files.items():
            if re.fullmatch(r"run/checkpoint-.*\.h5", name):
                assert checkpoint_of(content, scratch)["experiment"]["seed"] == asked, f"after event {state.event}"
    assert first["experiment"]["seed"] == 0 and asked == 1


def test_a_sweep_loses_no_row_and_no_run(tmp_path, capsys):
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    words = ["sweep", *SHAPES, "--settings", "C", "--out", str(root / "grid")]
    states = recorded(root, [*words, "--methods", "sn"], [*words, "--methods", "sn,wn"])
    check_files(states, scratch)
    assert check_run(states, root / "grid/sn-C-0", scratch) and check_run(states, root / "grid/wn-C-0", scratch)
    rows = 0
    for state in states:
        found = json.loads(state.files.get("grid/sweep.json", b"{}"))
        assert all(name.split("/")[1] in found for name in state.files if name.count("/") == 2)  # each run has a row
        if state.names == "synced":
            assert len(found) >= rows
            rows = len(found)
    assert rows == 2


def test_single_images_that_were_drawn_are_whole_and_all_there_at_the_end(data, tmp_path, capsys):
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    assert main.run([*words(data, root / "run", iterations=2), "-q"]) == 0
    (root / "drawn").mkdir()
    (root / "drawn" / ".00003.png.0123456789abcdef.part").write_bytes(b"half")
    states = recorded(root, ["sample", str(root / "run"), "-n", "40", "--out", str(root / "drawn")])
    check_files(states, scratch)
    drawn = sorted(name for name in states[-1].files if name.startswith("drawn/"))
    assert states[-1].names == "all" and drawn == [f"drawn/{number:05d}.png" for number in range(40)]
    assert sorted(name for name in states[-2].files if name.startswith("drawn/")) == drawn


# ---- the other commands --------------------------------------------------------------------------------------------

def test_a_score_that_was_stored_stays_stored(tmp_path, capsys):
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    assert main.run(CLASSIFIER) == 0
    run = root / "run"
    assert main.run(["train", *SHAPES, "--out", str(run)]) == 0
    score = ["score", str(run), "--protocol", "classifier", "--count", "20", "-q"]
    states = recorded(root, *([*score, "--seed", str(seed)] for seed in range(3)))
    check_files(states, scratch)
    most = 0
    for state in states:
        path = scratch / "scores.json"
        path.unlink(missing_ok=True)
        if "run/scores.json" in state.files:
            path.write_bytes(state.files["run/scores.json"])
        seeds = len({one.score.seed for one in stored_scores.read(path)})
        if state.names == "synced":
            assert seeds >= most, f"after event {state.event}"
            most = seeds
    assert most == 3


def test_a_classifier_loses_no_more_than_an_epoch(tmp_path, capsys):
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    command = [*CLASSIFIER, "--out", str(root / "c.h5")]
    states = recorded(root, command)
    check_files(states, scratch)
    whole, done = (root / "c.h5").read_bytes(), 0
    for state in states:
        kept = 4 if "c.h5" in state.files else checkpoint_of(state.files["c.h5.training"], scratch)["done"] \
            if "c.h5.training" in state.files else 0
        if state.names == "synced":
            assert kept >= done, f"after event {state.event}"
            done = kept
    assert done == 4
    between = next(state for state in states if "c.h5" not in state.files and done_in(state, scratch) == 4)
    for state in [between, *some(states, 3)]:
        shutil.rmtree(root)
        state.put(root)
        assert main.run(command) == 0
        assert (root / "c.h5").read_bytes() == whole and [path.name for path in root.iterdir()] == ["c.h5"]


def done_in(state: State, scratch: Path) -> int:
    return checkpoint_of(state.files["c.h5.training"], scratch)["done"] if "c.h5.training" in state.files else 0


@pytest.mark.parametrize("left_out", [False, True])
def test_a_packing_goes_on_from_any_power_cut_to_the_same_file(left_out, tmp_path, monkeypatch, capsys):
    root, images = tmp_path / "disk", pictures(tmp_path / "images")
    if left_out:
        (images / "05.png").write_bytes(b"broken")
    monkeypatch.setattr(pack, "SYNC_EVERY", 0.0)
    monkeypatch.setattr(pack, "CHUNK", 16 * 16 * 3 * 5)
    monkeypatch.setattr("minigan.data.image_folder.BLOCK", 16 * 16 * 3 * 7, raising=False)
    command = ["pack", "folder", str(root / "out.h5"), "--data-root", str(images), "--size", "16", "--skip-bad"]
    states = recorded(root, command)
    whole = (root / "out.h5").read_bytes()
    for state in states:
        assert state.files.get("out.h5", whole) == whole, f"after event {state.event}"
        shutil.rmtree(root)
        state.put(root)
        assert main.run([*command, "--overwrite"]) == 0
        assert (root / "out.h5").read_bytes() == whole, f"after event {state.event}, {state.names}"
    monkeypatch.setattr(locks, "_said", set())


# ---- the record itself ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("left_out", ["file", "folder"])
def test_without_the_syncs_the_same_record_shows_the_loss(left_out, data, tmp_path, monkeypatch):
    """Else the tests above would prove nothing."""
    from minigan.formats import whole

    function: Callable[..., None] = lambda *_: None  # noqa: E731
    monkeypatch.setattr(whole, "sync_open" if left_out == "file" else "sync_folder", function)
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    states = recorded_anyway(root, [*words(data, root / "run"), "-q"])
    with pytest.raises((AssertionError, hdf5_state.Unreadable, OSError, ValueError)):
        check_files(states, scratch)
        assert check_run(states, root / "run", scratch) > 30


def recorded_anyway(root: Path, command: list[str]) -> list[State]:
    with pytest.MonkeyPatch.context() as patch:
        record = Record(root)
        record.start(patch)
        assert main.run(command) == 0
    return list(record.states())


def test_a_log_without_its_sync_is_noticed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.Log, "sync", lambda self: None)
    root, scratch = tmp_path / "disk", tmp_path / "scratch"
    states = recorded_anyway(root, [*words(data, root / "run"), "-q"])
    with pytest.raises(AssertionError, match="the log, after event"):
        check_run(states, root / "run", scratch)
