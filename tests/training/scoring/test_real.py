"""Which real images fakes are compared with: the run's own wherever they lie, and others only if asked for."""

import shutil
import urllib.request

import numpy as np
import pytest
from PIL import Image
from scored import said
from tiny import pictures, words

from minigan.cli import main
from minigan.data import datasets, locations
from minigan.data.dataset import Dataset
from minigan.formats import hdf5_state, image_files
from minigan.metrics import classifier, stored_scores
from minigan.metrics.protocols import PROTOCOLS
from minigan.metrics.stored_scores import how
from minigan.training.scoring.options import Asked
from minigan.training.scoring.real_images import Real, open_real
from minigan.training.scoring.subject import Subject

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
    monkeypatch.setattr(locations, "SYSTEM_FOLDER", tmp_path / "system")
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


def scored(subject, data, more, tmp_path, capsys):
    """FID and remarks of a subject beside a folder."""
    out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    remarks = said(["score", subject, "--data", "folder", "--data-root", data, "--out", out, *more], capsys)[1]
    return fid(out), remarks


def test_two_equal_folders_have_fid_0_whatever_their_size(by, tmp_path, capsys):
    for side in (24, 48):  # a folder's default is 32
        data = pictures(tmp_path / f"data-{side}", count=20, size=side)
        found, remarks = scored(data, data, by, tmp_path, capsys)
        assert found.value < 1e-6 and (found.size_real, found.size_fake) == (side, side)
        assert f"{side} x {side} pixels" in remarks and "is the size, too" not in remarks


def test_two_files_of_other_programs_are_compared_with_each_other(by, tmp_path, capsys):
    files = sorted(pictures(tmp_path / "a", count=20).iterdir())
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in files])
    np.savez(tmp_path / "adm.npz", images)
    np.savez(tmp_path / "biggan.npz", x=images.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "tanh.npz", samples=np.asfortranarray(images / np.float32(127.5) - 1))
    for real in ("biggan.npz", "tanh.npz", "a"):
        found, remarks = scored(tmp_path / "adm.npz", tmp_path / real, by, tmp_path, capsys)
        assert found.value < 1e-6 and "taken as its array 'arr_0'" in remarks
        assert real == "a" or f"{real}: taken as" in remarks


def test_a_data_sets_images_are_brought_to_the_fakes_size(by, tmp_path, capsys):
    real, fake = pictures(tmp_path / "real", count=20, size=48), pictures(tmp_path / "fake", count=20, size=24)
    for image in fake.iterdir():
        with Image.open(real / image.name) as large:
            large.resize((24, 24), Image.Resampling.LANCZOS).save(image)
    found, _ = scored(fake, real, by, tmp_path, capsys)
    assert found.value < 1e-6 and (found.size_real, found.size_fake) == (24, 24)
    both, _ = scored(real, real, [*by, "--size", 24], tmp_path, capsys)
    assert (both.value, both.data) == (found.value, found.data)


def test_sizes_that_differ_are_said(by, tmp_path, capsys):
    real, fake = pictures(tmp_path / "real", count=20, size=48), tmp_path / "fake.npz"
    image_files.save_npz(fake, np.stack([np.asarray(Image.open(path)) for path in
                                         sorted(pictures(tmp_path / "fake", count=20, size=24).iterdir())]))
    found, remarks = scored(fake, real, [*by, "--size", 32], tmp_path, capsys)
    assert (found.size_real, found.size_fake) == (32, 24)
    assert "the real images are 32 x 32, the fakes 24 x 24" in remarks
    assert "20 real of 32 x 32" in how(found) and "20 fake of 24 x 24" in how(found)


def test_images_that_are_enlarged_are_said():
    data = Dataset(np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2, np.int64), ("a",), "here")
    assert "32 x 32, enlarged to 64 x 64" in Real(data, "cifar10 train", side=32).cautions(64)[0]
    assert Real(data, "stl10 unlabeled", side=96).cautions(64) == []


def test_images_of_a_folder_that_are_too_small_may_be_left_out(by, tmp_path, capsys):
    real, fake = pictures(tmp_path / "real", count=20, size=48), pictures(tmp_path / "fake", count=20, size=24)
    Image.new("RGB", (20, 20)).save(real / "zz.png")
    words = ["score", fake, "--data", "folder", "--data-root", real, *by]
    error = said(words, capsys, 1)[1]
    assert "use --size 20 or --skip-bad" in error and error.count("\n") == 1
    assert "FID" in said([*words, "--skip-bad"], capsys)[0]
    assert "FID" in said([*words, "--size", "20"], capsys)[0]


def test_a_runs_own_images_are_not_read_otherwise(of_folder, by, capsys):
    for option in (["--size", 20], ["--fit", "stretch"], ["--skip-bad"], ["--split", "train"]):
        assert option[0] in said(["score", of_folder[1], *by, *option], capsys, 2)[1]


@pytest.mark.parametrize(("protocol", "split", "expected"), [
    ("ttur", None, "unlabeled"), ("intra-fid", None, "train"), ("ttur", "test", "test")])
def test_stl10_is_the_unlabeled_images_where_labels_do_not_count(protocol, split, expected, monkeypatch):
    asked = Asked(data="stl10", split=split, quiet=True)
    read = {}

    def load(name, **how):
        read.update(how)
        return Dataset(np.zeros((2, 48, 48, 3), np.uint8), np.zeros(2, np.int64), ("a",), "here")
    monkeypatch.setattr(datasets, "load", load)
    real = open_real(Subject(lambda *_: None, 2, "given", 48), asked, PROTOCOLS[protocol])
    assert (read["split"], real.name, read["size"]) == (expected, f"stl10 {expected}", 48)
