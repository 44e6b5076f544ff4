"""Which real images fakes are compared with: the run's own wherever they lie, and others only if asked for."""

import shutil
import urllib.request

import pytest
from PIL import Image
from scored import said
from tiny import pictures, words

from minigan.cli import main
from minigan.data import places
from minigan.formats import hdf5_state
from minigan.metrics import classifier, stored_scores

COUNT = ["--protocol", "classifier", "--count", "20", "-q"]


@pytest.fixture
def by(cache):
    """The options with which images of a folder are scored."""
    return [*COUNT, "--weights", cache / "classifiers" / "shapes-16.h5"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """What would be downloaded; nothing lies in the system's folder."""
    tried = []

    def urlopen(request, *_, **__):
        tried.append(request)
        raise OSError("no network in tests")
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(places, "SYSTEM_FOLDER", tmp_path / "system")
    return tried


@pytest.fixture
def of_folder(tmp_path):
    """A folder of images and a run that was trained on it."""
    data = pictures(tmp_path / "data")
    assert main.run([*words(data, tmp_path / "run"), "-q"]) == 0
    return data, tmp_path / "run"


def fid(path):
    return next(one.score for one in stored_scores.read(path) if one.score.name == "FID")


def test_a_run_on_a_folder_is_scored_on_that_folder(of_folder, by, tmp_path, capsys, monkeypatch):
    data, run = of_folder
    monkeypatch.chdir(tmp_path / "data")  # from wherever it is called
    out, _ = said(["score", run, *by], capsys)
    assert "accuracy of D" in out
    said(["score", run, *by, "--data", "folder", "--data-root", data, "--out", tmp_path / "b.json"], capsys)
    assert fid(run / "scores.json") == fid(tmp_path / "b.json")


def test_a_run_on_a_packed_file_is_scored_on_that_file(of_folder, by, tmp_path, capsys):
    data, _ = of_folder
    said(["pack", "folder", tmp_path / "p.h5", "--data-root", data, "--size", 16, "-q"], capsys)
    packed = [word if word != "folder" else "packed" for word in words(tmp_path / "p.h5", tmp_path / "packed")]
    assert main.run([*packed, "-q"]) == 0
    assert "accuracy of D" in said(["score", tmp_path / "packed", *by], capsys)[0]


def test_other_images_in_the_runs_place_are_refused_unless_asked_for(of_folder, by, tmp_path, capsys):
    data, run = of_folder
    with Image.open(data / "00.png") as image:
        image.rotate(90).save(data / "00.png")
    error = said(["score", run, *by], capsys, 1)[1]
    assert error.count("\n") == 1 and "was trained on other images" in error and "--data folder" in error
    assert not (run / "scores.json").exists()
    out, error = said(["score", run, *by, "--data", "folder"], capsys)
    assert "FID" in out and "accuracy of D" not in out and "not the images that it was trained on" in error


def test_a_place_that_is_gone_is_said_and_another_one_named(of_folder, by, tmp_path, capsys):
    data, run = of_folder
    shutil.move(data, tmp_path / "moved")
    error = said(["score", run, *by], capsys, 1)[1]
    assert error.count("\n") == 1 and "no such file or folder" in error and "--data-root FOLDER" in error
    assert "accuracy of D" in said(["score", run, *by, "--data-root", tmp_path / "moved"], capsys)[0]
    out, error = said(["score", run, "--protocol", "ms-ssim", "--count", 20], capsys)  # which needs none
    assert "MS-SSIM" in out and "discriminator is not asked" in error


def test_nothing_is_downloaded_unasked(of_folder, by, offline, capsys):
    _, run = of_folder
    text = (run / "experiment.json").read_text()
    checkpoint = max(run.glob("checkpoint-*.h5"))
    state = hdf5_state.load(checkpoint)
    hdf5_state.save(checkpoint, state | {"experiment": state["experiment"] | {"dataset": "cifar10"}})
    for old in run.glob("checkpoint-*.h5"):
        if old != checkpoint:
            old.unlink()
    (run / "experiment.json").write_text(text.replace('"folder"', '"cifar10"').replace(
        f'"data_root": "{run.parent / "data"}"', '"data_root": null'))
    error = said(["score", run, *by], capsys, 1)[1]
    assert error.count("\n") == 1 and "nothing is downloaded unasked" in error and "--data cifar10" in error
    assert not offline
    said(["score", run, *by, "--data", "cifar10"], capsys, 1)
    assert offline


def test_a_runs_own_scores_tell_protocol_and_weights(tmp_path, cache, capsys):
    data = pictures(tmp_path / "data")
    weights = cache / "classifiers" / "shapes-16.h5"
    run = tmp_path / "run"
    assert main.run([*words(data, run, score_every=10, score_count=10, score="classifier", score_weights=weights),
                     "-q"]) == 0
    said(["score", run, "--count", 20, "-q"], capsys)
    assert fid(run / "scores.json").weights == classifier.load(weights).digest
