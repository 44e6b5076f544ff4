"""minigan.train: what it takes, what it says, what it leaves; beside the command line, which is the truth here."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny import OPTIONS, ROOT, contents, pictures, words

import minigan
from minigan.cli import main
from minigan.errors import FailedWork, WrongUse
from minigan.training import gan, run_folder

FEW = {name: value for name, value in OPTIONS.items() if name != "size"} | {"quiet": True}


@pytest.fixture
def images(rng) -> np.ndarray:
    return (10 * np.arange(24)[:, None, None, None] + rng.integers(0, 10, (24, 16, 16, 3))).astype(np.uint8)


def weights(run) -> dict[str, np.ndarray]:
    """All arrays of a run's newest checkpoint."""
    found = {}
    path = max(Path(run).glob("checkpoint-*.h5"))
    with h5py.File(path) as file:
        file.visititems(lambda name, a: found.update({name: a[()]}) if isinstance(a, h5py.Dataset) else None)
    return found


def assert_same_run(ours, theirs) -> None:
    """The same log, images and arrays; checkpoints also say where the data lie, and so have other bytes."""
    a, b = ({name: data for name, data in contents(run).items() if not name.endswith(".h5")} for run in (ours, theirs))
    assert a == b
    ours, theirs = weights(ours), weights(theirs)
    assert ours.keys() == theirs.keys()
    for name in theirs.keys() - {"state", "sha256"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_an_array_gives_the_bytes_of_the_command_on_the_same_images(images, tmp_path):
    """On the .npz as a folder, whose checkpoint names another data set, and packed."""
    run = minigan.train(images, out=tmp_path / "a", **FEW)
    np.savez(tmp_path / "images.npz", images=images)
    common = [word for name, value in FEW.items() if name != "quiet"
              for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main.run(["train", "folder", "--data-root", str(tmp_path / "images.npz"), "--size", "16", *common,
                     "--out", str(tmp_path / "b"), "-q"]) == 0
    assert_same_run(run.folder, tmp_path / "b")
    assert main.run(["train", "packed", "--data-root", str(run.folder / "images.h5"), *common,
                     "--out", str(tmp_path / "c"), "-q"]) == 0
    assert_same_run(run.folder, tmp_path / "c")


def test_files_give_the_bytes_of_the_command(tmp_path):
    data = pictures(tmp_path / "images")
    assert main.run([*words(data, tmp_path / "a"), "-q"]) == 0
    run = minigan.train(str(data), out=str(tmp_path / "b"), size=16, **FEW)
    assert contents(tmp_path / "a") == contents(run.folder)
    archive = Path(shutil.make_archive(tmp_path / "images", "zip", data))
    of_archive = minigan.train(archive, size=16, **FEW)
    assert_same_run(of_archive.folder, run.folder)


def test_a_whole_number_for_a_fraction_is_what_the_command_makes_of_it(images, tmp_path):
    run = minigan.train(images, **FEW | {"gp": 1, "iterations": np.int64(2), "lr": np.float32(0.5)})
    held = json.loads((run.folder / "experiment.json").read_text())["experiment"]
    assert held["gp"] == 1 and type(held["gp"]) is float and held["iterations"] == 2 and held["lr"] == 0.5


def test_a_stopped_run_on_an_array_goes_on_to_the_same_bytes_wherever_it_was_moved(images, tmp_path):
    whole = minigan.train(images, out=tmp_path / "whole", **FEW)
    run = minigan.train(images, out=tmp_path / "a", callback=lambda line: line["iteration"] == 4, **FEW)
    assert run.iteration == 4 and not run.finished and "4 of 10 iterations, not finished" in repr(run)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert minigan.train(tmp_path / "b", quiet=True).finished
    assert contents(tmp_path / "b") == contents(whole.folder)


def test_labels_are_those_that_a_condition_is_trained_with(images, tmp_path):
    labels = np.arange(24) % 3
    run = minigan.train(images, labels=labels, condition="projection", out=tmp_path / "run", **FEW)
    assert run.generator.classes == 3
    run.resume(iterations=12, quiet=True)
    assert run.iteration == 12
    few = run.sample(6, labels=2)
    assert (few == run.sample(6, labels=[2] * 6)).all() and (few != run.sample(6)).any()
    assert (run.sample(6) == run.sample(6, labels=[0, 1, 2, 0, 1, 2])).all()
    assert main.run(["sample", str(run.folder), "-n", "6", "--label", "2", "--out", str(tmp_path / "few.npz")]) == 0
    np.testing.assert_array_equal(few, np.load(tmp_path / "few.npz")["images"])
    real = run.discriminator(images, labels)
    assert real.shape == (24,) and (real != run.discriminator(images, 0)).any()
    for wrong in (3, -1, [0, 1], 0.5):
        with pytest.raises(WrongUse, match="labels: "):
            run.sample(6, labels=wrong)
    with pytest.raises(WrongUse, match="needs a class for each image, 0 to 2"):
        run.discriminator(images)


def test_without_out_the_run_is_gone_with_its_object_unless_kept(images, tmp_path):
    run, other = minigan.train(images, **FEW), minigan.train(images, **FEW)
    first, second = run.folder, other.folder
    other.keep(tmp_path / "kept")
    assert not second.exists()
    del run, other
    assert not first.exists()
    assert minigan.load(tmp_path / "kept").resume(iterations=11, quiet=True).iteration == 11


def test_what_fails_leaves_no_temporary_folder(images, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for wrong in ({"norm": "spn"}, {"batch_size": 25}, {"lr": 1e-300}, {"model": "resnet-imagenet"}):
        with pytest.raises(WrongUse):
            minigan.train(images, **FEW | wrong)
    with pytest.raises(FailedWork, match="not finite"):
        minigan.train(images, **FEW | {"lr": 1e6, "norm": "none", "loss": "wasserstein", "iterations": 300})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("options", "says"), [
    ({"iteration": 5}, "train has no iteration; did you mean iterations"),
    ({"xyz": 5}, "train has no xyz; minigan train --help-all lists all"),
    ({"dataset": "shapes"}, "train has no dataset"),
    ({"iterations": "5"}, "iterations: expected a whole number, got '5'"),
    ({"iterations": 5.0}, "iterations: expected a whole number, got 5.0"),
    ({"iterations": True}, "iterations: expected a whole number, got True"),
    ({"iterations": None}, "iterations: expected a whole number, got None"),
    ({"lr_dis": "x"}, "lr_dis: expected a number or None, got 'x'"),
    ({"dequantize": 1}, "dequantize: expected True or False, got 1"),
    ({"iterations": 0}, "iterations: expected 1 to 1,000,000,000, got 0"),
    ({"batch_size": 25}, "batch_size: expected at most the number of images, 24, got 25"),
    ({"norm": "spn"}, "unknown norm 'spn'; choose from: "),
    ({"beta2": 0.5, "optimizer": "sgd"}, "beta2 0.5 does nothing here: it is for optimizer adam and rmsprop"),
    ({"condition": "projection"}, "condition projection needs labels, and these images have none"),
    ({"data_root": "x"}, "data_root: the images are given as an array"),
    ({"callback": 3}, "callback: expected a function of a dict, got 3"),
    ({"skip_bad": True}, "skip_bad does nothing here"),
])
def test_wrong_options_are_one_sentence_in_pythons_words(images, options, says):
    with pytest.raises(WrongUse) as caught:
        minigan.train(images, **FEW | options)
    line = str(caught.value)
    assert says in line and "\n" not in line and "--" not in line.replace("minigan train --help-all", "")


def test_what_is_no_path_and_no_name_lists_the_near_ones(tmp_path):
    with pytest.raises(WrongUse, match="^did you mean shapes. unknown data set 'shape'; choose from: celeba, cifar10"):
        minigan.train("shape")
    with pytest.raises(WrongUse, match="no such file or folder, and no data set; the data sets are: celeba, cifar10"):
        minigan.train(tmp_path / "xyzzy")
    with pytest.raises(WrongUse, match="shapes: no such file or folder"):
        minigan.train(Path("shapes"))
    with pytest.raises(WrongUse, match="split: svhn:extra says already"):
        minigan.train("svhn:extra", split="train")
    with pytest.raises(WrongUse, match="preset: is another name of profile"):
        minigan.train("shapes", preset="small", profile="small")
    with pytest.raises(WrongUse, match="labels: goes with an array"):
        minigan.train("shapes", labels=[1])
    with pytest.raises(WrongUse, match="data_root: .* says already"):
        minigan.train(tmp_path, data_root="x")
    with pytest.raises(FailedWork, match="no images in it"):
        minigan.train(tmp_path)


def test_a_preset_is_a_profile_as_on_the_command_line(images):
    run = minigan.train(images, preset="small", **FEW)
    assert run.experiment.profile == "small" and run.experiment.norm == "ssn"


def test_a_run_that_is_there_is_not_trained_over(images, tmp_path):
    run = minigan.train(images, out=tmp_path / "run", **FEW)
    with pytest.raises(WrongUse) as caught:
        minigan.train(images, out=tmp_path / "run", **FEW)
    line = str(caught.value)
    assert f"minigan.load('{tmp_path / 'run'}').resume()" in line and "overwrite=True" in line and "--" not in line
    with pytest.raises(WrongUse, match="is a run, and goes on in its own folder"):
        minigan.train(run.folder, out=tmp_path / "other")
    other = minigan.train(images[:20], out=tmp_path / "run", overwrite=True, **FEW)
    assert minigan.load(other.folder).resume(iterations=11, quiet=True).iteration == 11
    pictures(tmp_path / "images")
    minigan.train(tmp_path / "images", out=tmp_path / "run", overwrite=True, size=16, **FEW)
    assert not (tmp_path / "run" / "images.h5").exists()  # nothing of it is used any more


def test_a_callback_gets_each_line_of_the_log(images):
    lines = []
    run = minigan.train(images, callback=lines.append, **FEW)
    assert lines == run.log and [line["iteration"] for line in lines] == [2, 4, 6, 8, 10]
    run.resume(iterations=14, callback=lines.append, quiet=True)
    assert lines == run.log and lines[-1]["iteration"] == 14


def test_only_true_itself_stops_a_run(images):
    run = minigan.train(images, callback=lambda line: 17, **FEW)  # as a file's write() returns
    assert run.finished


@pytest.mark.parametrize("error", [KeyError("x"), WrongUse("--norm is mine")])
def test_what_a_callback_raises_comes_out_of_a_saved_run(images, tmp_path, error):
    def broken(line):
        if line["iteration"] == 4:
            raise error

    with pytest.raises(type(error)) as caught:
        minigan.train(images, out=tmp_path / "run", callback=broken, **FEW)
    assert caught.value is error and str(caught.value) == str(error)
    run = minigan.load(tmp_path / "run")
    assert run.record.checkpoint == 4 and run.log[-1]["iteration"] == 4
    whole = minigan.train(images, **FEW)
    assert contents(run.resume(quiet=True).folder) == contents(whole.folder)


def interrupt(monkeypatch, iteration, signum=signal.SIGINT):
    update = gan.Training.update_generator

    def interrupted(self, rate):
        if self.iteration == iteration - 1:
            os.kill(os.getpid(), signum)
        return update(self, rate)
    monkeypatch.setattr(gan.Training, "update_generator", interrupted)


def test_ctrl_c_at_a_prompt_gives_the_run_which_goes_on(images, monkeypatch, capsys):
    whole = minigan.train(images, **FEW)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        run = minigan.train(images, **FEW | {"quiet": False})
    assert run.record.checkpoint == 5
    assert "saved; resume() of the Run that is returned goes on" in capsys.readouterr().err
    assert contents(run.resume(quiet=True).folder) == contents(whole.folder)


def test_ctrl_c_in_a_script_ends_it_and_sigterm_too(images, tmp_path, monkeypatch):
    for signum, ends in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
        out = tmp_path / ends.__name__
        with monkeypatch.context() as patch:
            interrupt(patch, 5, signum)
            with pytest.raises(ends) as caught:
                minigan.train(images, out=out, **FEW)
        assert minigan.load(out).record.checkpoint == 5
        assert f"minigan.load('{out}').resume()" in str(caught.value) if ends is KeyboardInterrupt \
            else caught.value.code == 128 + signum
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    interrupt(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt, match="in a temporary folder, which is removed; out= keeps a run"):
        minigan.train(images, **FEW)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_quiet_says_nothing_and_otherwise_what_the_command_says(images, capsys):
    minigan.train(images, labels=np.arange(24), **FEW)
    assert capsys.readouterr() == ("", "")
    minigan.train(images, labels=np.arange(24), **FEW | {"quiet": False})
    out, err = capsys.readouterr()
    assert out == "" and "10/10" in err and "done in" in err and "condition='projection'" in err


def test_images_that_are_gone_are_named(images, tmp_path):
    run = minigan.train(images, out=tmp_path / "run", **FEW)
    (run.folder / run_folder.IMAGES).unlink()
    with pytest.raises(FailedWork, match=r"images\.h5: no such file"):
        run.resume(iterations=12)
    assert run.sample(3).shape == (3, 16, 16, 3)


def test_importing_minigan_loads_no_numpy():
    code = "import sys, minigan; print('numpy' in sys.modules, hasattr(minigan, 'train'), 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
