"""--tensorboard, read back by TensorBoard's own reader: what the log holds, each step once, whatever came between."""

import importlib.util
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import contents, pictures, run_until, words

import minigan
from minigan.cli import main
from minigan.errors import WrongUse
from minigan.training import run_folder
from minigan.training.run_record import flat

if importlib.util.find_spec("tensorboard") is None:
    if "CI" in os.environ:
        raise RuntimeError("CI has no tensorboard: pip install '.[test]'")
    pytest.skip("tensorboard is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main.run([*words(data, out, diagnose=5), "-q", "--tensorboard"]) == 0
    return out


def events(run: Path) -> dict[str, list[tuple[int, object]]]:
    """Tag -> (step, value) of all scalars and images, in the file's order, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    read = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}, purge_orphaned_data=False).Reload()
    tags = read.Tags()
    return {tag: [(one.step, one.value) for one in read.Scalars(tag)] for tag in tags["scalars"]} | {
        tag: [(one.step, one.encoded_image_string) for one in read.Images(tag)] for tag in tags["images"]}


def test_the_numbers_are_the_logs_and_the_images_those_of_the_folder(whole):
    found, lines = events(whole), run_folder.read_log(whole)
    assert found["loss_dis"] == [(line["iteration"], float(np.float32(line["loss_dis"]))) for line in lines]
    assert found["samples"] == [(i, (whole / "samples" / f"samples-{i:07d}.png").read_bytes()) for i in (0, 4, 8, 10)]
    of_logs = {name for line in lines for name, value in flat(line).items() if type(value) in (int, float)}
    assert {"sigma/conv1", "thumbnails", "lr_gen"} <= of_logs
    assert {tag for tag in found if not tag.startswith("diagnosis/")} == of_logs - {"iteration", "seconds"} | {
        "samples"}
    diagnoses = run_folder.read_log(whole, "diagnostics.jsonl")
    assert found["diagnosis/layers/conv1/sigma"] == [
        (line["iteration"], float(np.float32(line["layers"]["conv1"]["sigma"]))) for line in diagnoses]


def test_no_other_byte_of_the_run_changes(data, whole, tmp_path):
    assert main.run([*words(data, tmp_path / "run", diagnose=5), "-q"]) == 0
    assert not (tmp_path / "run" / run_folder.EVENTS).exists()
    assert contents(tmp_path / "run") == contents(whole)


@pytest.mark.parametrize("splits", [(1,), (5,), (2, 4, 9)])
def test_a_resumed_run_has_the_events_of_an_uninterrupted_one(splits, data, whole, tmp_path, monkeypatch):
    out, before = tmp_path / "run", b""
    arguments = [*words(data, out, diagnose=5), "-q", "--tensorboard"]
    for split in splits:
        assert run_until(arguments, split, monkeypatch) == 130
        arguments = ["train", "--resume", str(out), "-q"]  # the file that is there goes on
        now = (out / run_folder.EVENTS).read_bytes()
        assert now.startswith(before)  # so that a TensorBoard that shows it goes on
        before = now
    assert main.run(arguments) == 0
    assert (out / run_folder.EVENTS).read_bytes().startswith(before) and events(out) == events(whole)


def test_a_run_that_was_killed_repeats_no_step(data, whole, tmp_path, monkeypatch):
    """Its log and its images are ahead of its checkpoint, and an event may be half written."""
    out = tmp_path / "run"
    assert run_until([*words(data, out, diagnose=5), "-q", "--tensorboard"], 9, monkeypatch) == 130
    for checkpoint in (run_folder.checkpoints_in(out)[0][1],):
        checkpoint.unlink()
    with (out / run_folder.EVENTS).open("ab") as file:
        file.write(b"half")
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert events(out) == events(whole)


def test_a_run_without_any_checkpoint_begins_again(data, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert run_until([*words(data, out, diagnose=5), "-q", "--tensorboard"], 2, monkeypatch) == 130
    for _, checkpoint in run_folder.checkpoints_in(out):
        checkpoint.unlink()
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert events(out) == events(whole)


def test_a_run_gets_a_file_later_even_a_finished_one(data, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert run_until([*words(data, out, diagnose=5), "-q"], 5, monkeypatch) == 130
    assert main.run(["train", "--resume", str(out), "-q", "--tensorboard"]) == 0
    assert events(out) == events(whole)
    (out / run_folder.EVENTS).unlink()
    assert main.run(["train", "--resume", str(out), "-q", "--tensorboard"]) == 0
    assert events(out) == events(whole)


@pytest.mark.parametrize("damage", [b"", b"x", struct.pack("<QI", 1 << 60, 0) + bytes(99), bytes(1000)])
def test_a_damaged_file_is_written_anew(damage, data, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert run_until([*words(data, out, diagnose=5), "-q"], 5, monkeypatch) == 130
    (out / run_folder.EVENTS).write_bytes(damage)
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert events(out) == events(whole)


def test_a_run_that_is_replaced_loses_its_events(data, tmp_path):
    out = tmp_path / "run"
    arguments = [*words(data, out, iterations=2), "-q"]
    assert main.run([*arguments, "--tensorboard"]) == 0 and main.run([*arguments, "--overwrite"]) == 0
    assert not (out / run_folder.EVENTS).exists()


def test_from_python(data, tmp_path):
    run = minigan.train(data, size=16, width=0.05, batch_size=4, iterations=2, quiet=True, tensorboard=True)
    assert [step for step, _ in events(run.folder)["loss_gen"]] == [1, 2]
    run.resume(iterations=3, quiet=True)
    assert [step for step, _ in events(run.folder)["loss_gen"]] == [1, 2, 3]


@pytest.mark.parametrize("given, said", [({"tensorboard": "logs"}, "tensorboard: expected True or False, got 'logs'"),
                                         ({"tensorbord": True}, "has no tensorbord; did you mean tensorboard?")])
def test_from_python_a_place_or_a_wrong_name_is_refused(given, said, whole):
    for call in (lambda: minigan.train("shapes", **given), lambda: minigan.load(whole).resume(**given)):
        with pytest.raises(WrongUse, match=re.escape(said)):
            call()


def test_without_the_package_one_line_says_how_to_get_it(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
        assert main.run([*words(data, out), "-q", "--tensorboard"]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "pip install 'minigan[tensorboard]'" in error and not out.exists()
    assert run_until([*words(data, out), "-q", "--tensorboard"], 5, monkeypatch) == 130
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
        capsys.readouterr()
        assert main.run(["train", "--resume", str(out), "-q"]) == 0
        assert "does not go on: --tensorboard needs the package" in capsys.readouterr().err
    assert max(events(out)["loss_dis"])[0] < 10
    assert main.run(["train", "--resume", str(out), "-q"]) == 0 and max(events(out)["loss_dis"])[0] == 10
