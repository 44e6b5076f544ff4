"""Run folders: what they say of a run, that nothing else is ever touched, and forged ones."""

import json
import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import contents, names, pictures, run_until, tiny, words

import minigan
from minigan.cli import main
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import from_dict, learned
from minigan.formats import hdf5_state
from minigan.formats.image_grids import grid
from minigan.training import checkpoints, restore, run_folder
from minigan.training.sampling import draw


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """A run that was trained to its end; tests that change it take a copy."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    return out


@pytest.fixture
def run(finished, tmp_path) -> Path:
    for name in names(finished):
        target = tmp_path / "run" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if (finished / name).is_dir() else target.write_bytes((finished / name).read_bytes())
    return tmp_path / "run"


def refused(kind: type[Exception], function, *arguments) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    line = str(caught.value)
    assert line and "\n" not in line and len(line) < 600
    return line


# ---- what a run leaves ---------------------------------------------------------------------------------------------

def test_a_run_leaves_its_record_log_pictures_film_and_the_newest_two_checkpoints(finished):
    samples = [f"samples/samples-{i:07d}.png" for i in (0, 4, 8, 10)]  # every 4, and at the end
    assert names(finished) == sorted([
        "checkpoint-0000009.h5", "checkpoint-0000010.h5", "experiment.json", "film.png", "log.jsonl", "progress.gif",
        "samples", "samples.png", *samples])
    assert (finished / "samples.png").read_bytes() == (finished / samples[-1]).read_bytes()
    with Image.open(finished / "progress.gif") as gif, Image.open(finished / samples[0]) as grid:
        assert gif.n_frames == 4 and gif.size == grid.size == (8 * 18 + 2, 8 * 18 + 2)
    with Image.open(finished / "film.png") as film:
        assert film.width > 4 * 146 and film.height > 146
        pixels, first = np.asarray(film), np.asarray(Image.open(finished / samples[0]))
        assert (pixels[6:6 + 146, 6:6 + 146] == first).all()


def test_the_pictures_show_the_same_latents_at_each_iteration(finished):
    """The last grid is what the last checkpoint's generator makes of the latents that the checkpoint holds."""
    gen = restore.newest(finished).gen
    preview = checkpoints.newest(finished)[1]["preview"]
    earlier = hdf5_state.load(finished / "checkpoint-0000009.h5")["preview"]
    assert np.array_equal(preview, earlier) and preview.shape == (64, 8)
    assert np.array_equal(np.asarray(Image.open(finished / "samples.png")), grid(draw(gen, preview)))


def test_the_record_says_what_ran_where(finished):
    record = json.loads((finished / "experiment.json").read_text())
    e = from_dict(record["experiment"], "here")
    assert (e.seed, e.width, e.iterations, e.size) == (0, 0.05, 10, 16)
    machine = record["machine"]
    assert machine["minigan"] == minigan.__version__ and machine["numpy"] == np.__version__
    assert machine["cores"] >= 1 and machine["processor"] and machine["platform"] and machine["python"]
    root = Path(minigan.__file__).parents[1]
    git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    expected = git.stdout.strip() if git.returncode == 0 and (root / ".git").exists() else None
    assert (record["git"] or "").removesuffix("+") == (expected or "")


def test_the_record_is_there_before_the_first_iteration(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("minigan.training.gan.Training.iterate",
                        lambda self: seen.extend(names(tmp_path / "run")) or 1 / 0)
    assert main.run([*words(data, tmp_path / "run"), "-q"]) == 1
    assert "experiment.json" in seen and "checkpoint-0000000.h5" in seen


def test_each_line_of_the_log_is_json_with_losses_rates_and_norms(finished):
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4, 6, 8, 10]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    for line in lines:
        assert np.isfinite([line["loss_dis"], line["loss_gen"]]).all() and line["lr_dis"] == line["lr_gen"] == 2e-4
        assert list(line["sigma"]) == [f"conv{i}" for i in range(1, 8)] + ["dense"]
        assert line["sigma_deviation"] == max(abs(sigma - 1) for sigma in line["sigma"].values())


def test_a_resumed_runs_seconds_go_on(data, tmp_path, monkeypatch):
    assert run_until([*words(data, tmp_path / "run"), "-q"], 4, monkeypatch) == 130
    lines = run_folder.read_log(tmp_path / "run")
    lines[-1]["seconds"] = 1000.0
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main.run(["train", "--resume", str(tmp_path / "run"), "-q"]) == 0
    assert all(line["seconds"] > 1000 for line in run_folder.read_log(tmp_path / "run")[2:])


def test_a_log_with_a_half_line_or_a_foreign_one_is_read_without_it(tmp_path):
    good = '{"iteration": 1, "seconds": 0.5}\n'
    foreign = ["", "[1]", '{"iteration": "2", "seconds": 1}', '{"iteration": 3}', '{"iteration": true, "seconds": 1}',
               '{"iteration": 4, "seconds": NaN}', '{"iteration": 5, "seconds": -1}', "[" * 100_000, "\ufffd",
               '{"iteration": 9, "sec']
    (tmp_path / "log.jsonl").write_bytes((good + "\n".join(foreign)).encode() + b"\xff\xfe")
    assert run_folder.read_log(tmp_path) == [{"iteration": 1, "seconds": 0.5}]
    assert run_folder.read_log(tmp_path / "nowhere") == []


# ---- nothing is lost -----------------------------------------------------------------------------------------------

def test_a_run_is_not_replaced_unless_asked(data, run, capsys):
    before = contents(run)
    assert main.run(words(data, run, seed=1)) == 2
    line = capsys.readouterr().err
    assert f"minigan train --resume {run}" in line and "--overwrite" in line and line.count("\n") == 1
    assert contents(run) == before


def test_overwriting_replaces_the_run_and_keeps_other_files(data, run, tmp_path):
    other = {"notes.txt": b"mine", "samples/best.png": b"mine", "checkpoint.h5": b"mine", "film.mp4": b"mine"}
    for name, content in other.items():
        (run / name).write_bytes(content)
    assert main.run([*words(data, run, iterations=4, sample_every=2), "--overwrite", "-q"]) == 0
    assert main.run([*words(data, tmp_path / "fresh", iterations=4, sample_every=2), "-q"]) == 0
    assert {name: (run / name).read_bytes() for name in other} == other
    assert names(run) == sorted([*names(tmp_path / "fresh"), *other])
    fresh = contents(tmp_path / "fresh")
    assert {name: data for name, data in contents(run).items() if name not in other} == fresh


@pytest.mark.parametrize("record", [None, "{}", "[]", "broken", '{"experiment": {}, "machine": {"torch": 1}}'])
def test_a_folder_of_other_files_is_never_overwritten(record, data, tmp_path, capsys):
    out = tmp_path / "theirs"
    out.mkdir()
    (out / "log.jsonl").write_text("theirs")
    if record:
        (out / "experiment.json").write_text(record)
    before = {name: (out / name).read_bytes() for name in names(out)}
    assert main.run([*words(data, out), "--overwrite"]) == 2
    assert f"{out} exists already and holds other files, which stay untouched" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in names(out)} == before


def test_an_empty_folder_may_become_a_run(data, tmp_path):
    (tmp_path / "empty").mkdir()
    assert main.run([*words(data, tmp_path / "empty", iterations=1), "-q"]) == 0


def test_places_that_cannot_hold_a_run_are_found_before_the_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("minigan.data.datasets.load", lambda *_, **__: pytest.fail("the data were read"))
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "file" / "a" / "b"):
        assert "file is a file; choose another --out" in refused(WrongUse, run_folder.check_new, out)
        assert main.run(words(tmp_path, out)) == 2
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert f"{tmp_path} is not writable" in refused(FailedWork, run_folder.check_new, tmp_path / "a" / "b")


def test_a_name_longer_than_the_system_takes_is_one_line(data, tmp_path, capsys):
    assert main.run(words(data, tmp_path / ("x" * 300))) == 1
    line = capsys.readouterr().err
    assert "(File name too long)" in line and line.count("\n") == 1 and names(tmp_path) == []


def test_a_record_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    line = refused(FailedWork, run_folder.create, tmp_path / "run", tiny(), {})
    assert "experiment.json cannot be written (No space" in line
    assert names(tmp_path / "run") == []
    monkeypatch.undo()
    monkeypatch.setattr(Path, "mkdir", full)
    assert "cannot be made (No space" in refused(FailedWork, run_folder.create, tmp_path / "other", tiny(), {})


# ---- forged ones ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("record", "named"), [
    ("", "cannot be read"), ("{", "cannot be read"), ("[" * 100_000, "cannot be read"), ("[]", "holds a list"),
    ("{}", "unknown NoneType"), ('{"experiment": 3}', "unknown int"), ('{"experiment": {"width": 1e6}}', "--width"),
    ('{"experiment": {"norm": "spn"}}', "unknown norm 'spn'; choose from"), (b"\xff\xfe\x00", "cannot be read"),
    ('{"experiment": {"batch_size": true}}', "batch_size"), ('{"experiment": {"size": 1e400}}', "size"),
    (b" " * (2 << 20), "expected at most 1048576"),
])
def test_a_record_that_is_none_is_one_line(record, named, run, capsys):
    (run / "experiment.json").write_bytes(record if isinstance(record, bytes) else record.encode())
    if named == "cannot be read":  # else it is rebuilt from a checkpoint, see test_mending.py
        for _, path in run_folder.checkpoints_in(run):
            path.unlink()
    before = names(run)
    assert main.run(["train", "--resume", str(run)]) == 1
    line = capsys.readouterr().err
    assert str(run / "experiment.json") in line and named in line and line.count("\n") == 1
    assert names(run) == before


def test_a_record_that_does_not_agree_with_its_checkpoints_is_refused(run, capsys):
    path = run / "experiment.json"
    record = json.loads(path.read_text())
    record["experiment"] |= {"width": 8.0, "iterations": 20}
    path.write_text(json.dumps(record))
    assert main.run(["train", "--resume", str(run)]) == 1
    assert "was trained with --width 0.05, but experiment.json says 8.0" in capsys.readouterr().err


def forge(run: Path, **changes) -> None:
    """Change the newest checkpoint's state; a dotted name goes into dicts, None removes."""
    path, state, _ = checkpoints.newest(run)
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = state
        for key in outer:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    hdf5_state.save(path, state)


E = learned(tiny())
FORGERIES = {
    "width in the checkpoint": {"experiment": E | {"width": 16.0}},
    "width out of range": {"experiment": E | {"width": 1e6}},
    "a dim_z of gigabytes": {"experiment": E | {"dim_z": 1 << 16, "width": 16.0}},
    "an unknown norm": {"experiment": E | {"norm": "spn"}},
    "an unknown field": {"experiment": E | {"code": "import os"}},
    "no experiment": {"experiment": None},
    "an experiment of another type": {"experiment": 3},
    "a size of gigabytes": {"size": 1 << 20},
    "a negative size": {"size": -16},
    "a size that is text": {"size": "16"},
    "channels of gigabytes": {"channels": 1 << 30},
    "no channels": {"channels": 0},
    "no networks": {"gen": {}},
    "a network that is a number": {"gen": 5},
    "a weight that is a number": {"gen__dense/W": 5},
    "a weight of another shape": {"gen__dense/W": np.zeros((3, 3), np.float32)},
    "a weight of another type": {"gen__conv/b": np.zeros(3, np.int64)},
    "an iteration that is text": {"iteration": "7"},
    "a negative iteration": {"iteration": -1},
    "no iteration": {"iteration": None},
}
FORGED_FOR_TRAINING = {
    "an order of other images": {"batches__order": np.arange(3)},
    "an order out of range": {"batches__order": np.arange(24) + 10**6},
    "an order with an image twice": {"batches__order": np.zeros(24, np.int64)},
    "an order that is a number": {"batches__order": 4},
    "a place out of range": {"batches__place": 25},
    "a place that is text": {"batches__place": "1"},
    "latents of gigabytes": {"preview": np.zeros((64, 9), np.float32)},
    "a random state of another kind": {"rngs__z": {"bit_generator": "MT19937"}},
    "a random state that is text": {"rngs__z": "x"},
    "no random state": {"rngs__order": None},
    "another discriminator": {"dis": {}},
    "an optimizer that remembers nothing": {"opt_gen": {}},
    "an optimizer that is a list of shapes": {"opt_dis__steps": "x"},
    "other images": {"pictures": "0" * 64},
}


@pytest.mark.parametrize("name", FORGERIES | FORGED_FOR_TRAINING)
def test_a_forged_checkpoint_is_one_line_and_takes_no_memory(name, run, tmp_path, capsys):
    resource = pytest.importorskip("resource")
    record = json.loads((run / "experiment.json").read_text())
    record["experiment"]["iterations"] = 20
    (run / "experiment.json").write_text(json.dumps(record))
    forge(run, **(FORGERIES | FORGED_FOR_TRAINING)[name])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = names(run)
    commands = [["train", "--resume", str(run)]]
    if name in FORGERIES:
        commands.append(["sample", str(run), "--out", str(tmp_path / "grid.png")])
    for command in commands:
        assert main.run(command) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and "checkpoint-0000010.h5" in line and "fault of minigan" not in line, line
    assert names(run) == before and not (tmp_path / "grid.png").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # KB; the smallest would take gigabytes


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_a_width_beside_small_arrays_is_found_by_every_model(model, data, tmp_path, capsys):
    assert main.run([*words(data, tmp_path / "run", model=model, iterations=1), "-q"]) == 0
    forge(tmp_path / "run", experiment=learned(tiny(model=model, width=16.0)))
    capsys.readouterr()
    assert main.run(["sample", str(tmp_path / "run")]) == 1
    assert "describes larger networks than the file holds" in capsys.readouterr().err


def test_a_run_whose_checkpoints_are_all_broken_is_failed_work(run, tmp_path, capsys):
    for path in run.glob("checkpoint-*.h5"):
        path.write_bytes(path.read_bytes()[:1000])
    before = names(run)
    for command in (["train", "--resume", str(run)], ["sample", str(run), "--out", str(tmp_path / "grid.png")]):
        assert main.run(command) == 1
        line = capsys.readouterr().err
        assert "no checkpoint can be read" in line and line.count("\n") == 1
        assert "checkpoint-0000009.h5" in line and "checkpoint-0000010.h5" in line
    assert names(run) == before


def test_a_folder_that_is_no_run_is_wrong_use(tmp_path, capsys):
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        for command in (["train", "--resume", str(place)], ["sample", str(place)]):
            assert main.run(command) == 2
            assert f"{place} is not a run: it has no experiment.json" in capsys.readouterr().err


def test_training_outside_the_main_thread_does_without_signals(data, tmp_path):
    codes = []
    arguments = [*words(data, tmp_path / "run", iterations=1), "-q"]
    thread = threading.Thread(target=lambda: codes.append(main.run(arguments)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_one_process_at_a_time_trains_into_a_folder(tmp_path):
    with run_folder.locked(tmp_path / "run"):
        with pytest.raises(WrongUse, match="is being trained by another process"), run_folder.locked(tmp_path / "run"):
            pass
    with run_folder.locked(tmp_path / "run"):  # free again
        pass
