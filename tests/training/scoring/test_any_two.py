"""minigan score A B: any two inputs, each recognized by what it is; the same images give the same scores."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scored import said

from minigan.data import datasets
from minigan.errors import FailedWork, WrongUse
from minigan.formats import image_files
from minigan.metrics import classifier, frechet, protocols, stored_scores
from minigan.metrics.features import FunctionFeatures
from minigan.training import restore, sampling
from minigan.training.scoring.given import Given, as_options, recognized
from minigan.training.scoring.options import Asked
from minigan.training.scoring.score import score


@pytest.fixture
def by(cache):
    """The options with which images of nobody's are scored."""
    return ["--protocol", "classifier", "--count", 60, "--weights", cache / "classifiers" / "shapes-16.h5", "-q"]


@pytest.fixture
def c(cache):
    return classifier.load(cache / "classifiers" / "shapes-16.h5")


def stored(folder: Path, images: np.ndarray) -> dict[str, Path]:
    """The same images as a folder, a zip archive and an .npz."""
    (folder / "images").mkdir(parents=True)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / "images" / f"{i:03}.png")
            archive.write(folder / "images" / f"{i:03}.png", f"{i:03}.png")
    image_files.save_npz(folder / "a.npz", images)
    return {"folder": folder / "images", "zip": folder / "a.zip", "npz": folder / "a.npz"}


def values(path: Path) -> dict[str, float]:
    return {one.score.name: one.score.value for one in stored_scores.read(path)}


def plain(text: str) -> list[str]:
    """The lines without the names of the real images."""
    return [line for line in text.splitlines() if line.startswith(("IS", "FID", "KID", "precision", "coverage"))]


def test_two_inputs_are_those_that_the_options_name(run, images, by, tmp_path, capsys):
    fake, real = stored(tmp_path / "fake", images), stored(tmp_path / "real", images[::-1][:100])
    expected = said(["score", fake["folder"], "--data", "folder", "--data-root", real["folder"], *by], capsys)[0]
    for a in fake.values():
        for b in real.values():
            assert said(["score", a, b, *by], capsys)[0] == expected, (a, b)
    out = ["--out", tmp_path / "a.json"]
    assert said(["score", run, "shapes", *by, *out], capsys)[0] == said(
        ["score", run, "--data", "shapes", *by, *out], capsys)[0]
    frechet.write(tmp_path / "s.npz", frechet.statistics(np.random.default_rng(0).normal(size=(300, c_dimension(by)))))
    assert said(["score", fake["npz"], tmp_path / "s.npz", *by], capsys)[0] == said(
        ["score", fake["npz"], "--stats", tmp_path / "s.npz", *by], capsys)[0]


def c_dimension(by) -> int:
    return classifier.load(by[5]).dimension


def test_a_data_set_and_a_split_of_it_are_compared(by, c, tmp_path, capsys):
    out = tmp_path / "a.json"
    error = said(["score", "shapes:test", "shapes", *by[:-1], "--size", 16, "--out", out], capsys)[1]
    assert "fakes: shapes:test (a data set, test); real: shapes (a data set, train)" in error
    p = protocols.PROTOCOLS["classifier"].smaller(60)
    real = datasets.load("shapes", size=16).images
    fake = datasets.load("shapes", size=16, split="test").images
    fid = frechet.distance(c.features(real[p.rows(len(real))]), c.features(fake[:60]))
    assert values(out)["FID"] == pytest.approx(fid, rel=1e-6) and fid > 0


def test_two_runs_are_compared(run, by, c, tmp_path, capsys):
    out = tmp_path / "a.json"
    said(["score", run, run, *by, "--out", out], capsys)
    assert values(out)["FID"] < 1e-6 and values(out)["precision"] == 1  # the same images
    saved = restore.newest(run)
    real = sampling.draw(saved.gen, sampling.latents(np.random.default_rng(3), saved.e, 60))
    rng = np.random.default_rng(1)
    fake = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    image_files.save_npz(tmp_path / "x.npz", fake)
    said(["score", tmp_path / "x.npz", run, *by, "--seed", 3, "--out", tmp_path / "b.json"], capsys)
    assert values(tmp_path / "b.json")["FID"] == pytest.approx(
        frechet.distance(c.features(real), c.features(fake)), rel=1e-6)
    assert stored_scores.read(tmp_path / "b.json")[0].score.n_fake == 60
    data = {one.score.data for one in stored_scores.read(tmp_path / "b.json") if one.score.name == "FID"}
    assert f"run {run} at iteration 6" in data.pop()


def test_statistics_may_stand_on_either_side_and_on_both(images, by, c, tmp_path, capsys):
    a, b = images[:60], np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    known = {}
    for name, these in (("a", a), ("b", b)):
        image_files.save_npz(tmp_path / f"{name}.npz", these)
        known[name] = frechet.statistics(c.features(these))
        frechet.write(tmp_path / f"{name}-statistics.npz", known[name])
    expected = frechet.distance(c.features(b), c.features(a))
    found = {}
    for name, left, right, more in (("images", "a", "b", by), ("real", "a", "b-statistics", by),
                                    ("fake", "a-statistics", "b", by),
                                    ("both", "a-statistics", "b-statistics", ["-q"])):
        said(["score", tmp_path / f"{left}.npz", tmp_path / f"{right}.npz", *more, "--out", tmp_path / f"{name}.json"],
             capsys)
        scores = {one.score.name: one.score for one in stored_scores.read(tmp_path / f"{name}.json")}
        found[name] = scores["FID"]
        assert scores["FID"].value == pytest.approx(expected, rel=1e-5), name
        assert ("KID" in scores) == (name == "images")
    assert (found["both"].n_real, found["both"].n_fake, found["both"].protocol) == (60, 60, "statistics")
    assert "of which network" in found["both"].cautions[-1]
    assert stored_scores.comparable(found["both"], found["images"])


def test_what_statistics_cannot_give_is_refused_before_the_work(images, by, c, tmp_path, capsys, monkeypatch):
    frechet.write(tmp_path / "s.npz", frechet.statistics(c.features(images)))
    frechet.write(tmp_path / "other.npz", frechet.statistics(np.random.default_rng(0).normal(size=(30, 7))))
    image_files.save_npz(tmp_path / "a.npz", images)
    monkeypatch.setattr(classifier.Classifier, "features", lambda *_: 1 / 0)
    for arguments, word in (
            ((tmp_path / "s.npz", tmp_path / "s.npz", "--protocol", "neighbours"), "has no FID"),
            ((tmp_path / "s.npz", tmp_path / "a.npz", "--protocol", "neighbours"), "has no FID"),
            ((tmp_path / "a.npz", tmp_path / "s.npz", "--protocol", "neighbours", "--count", 20), "has no FID"),
            ((tmp_path / "s.npz", tmp_path / "s.npz", "--count", 20), "--count"),
            ((tmp_path / "s.npz", tmp_path / "other.npz"), "from one layer of one network"),
            ((tmp_path / "other.npz", tmp_path / "a.npz", *by), "the statistics are of 7 features"),
            ((tmp_path / "s.npz",), "with what shall it be compared"),
            ((tmp_path / "s.npz", tmp_path / "a.npz", *by[:4]), "there is no classifier of"),
            ((tmp_path / "s.npz", tmp_path / "a.npz", "--best"), "--best")):
        error = said(["score", *arguments], capsys, 2)[1]
        assert word in error.splitlines()[-1] and len(error.splitlines()) <= 3, (arguments, error)


def test_an_input_is_recognized_by_what_it_is(run, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of = stored(tmp_path / 'of', images[:4])
    frechet.write(tmp_path / "s.npz", frechet.Statistics(np.zeros(3), np.eye(3)))
    np.savez(tmp_path / "both.npz", arr_0=images[:4], mu=np.zeros(3), sigma=np.eye(3))
    (tmp_path / "shapes").symlink_to(run)
    (tmp_path / "mnist").mkdir()
    found = {word: recognized(str(word)) for word in (*of.values(), "s.npz", "both.npz", "shapes", "shapes:test",
                                                      "mnist", "./mnist", run)}
    assert [one.kind for one in found.values()] == [
        "a folder of images", "a file of images", "a file of images", "statistics of features", "a file of images",
        "a run", "a data set, test", "a data set, train", "a folder of images", "a run"]
    assert "its images are taken" in found["both.npz"].remark and "shapes:SPLIT" in found["shapes"].remark
    assert "./mnist would be that" in found["mnist"].remark


def test_a_split_may_follow_the_name_or_be_an_option(tmp_path):
    for word, option in (("cifar10:test", None), ("cifar10", "test")):
        asked = as_options(recognized(word), Asked(split=option, data_root=tmp_path))
        assert (asked.data, asked.split, asked.data_root) == ("cifar10", "test", tmp_path)


@pytest.mark.parametrize("arguments, word", [
    (["a.npz", "nothing"], "nothing: no such file or folder; expected a run's folder"),
    (["a.npz", "notes.txt"], "notes.txt: is a file; expected"),
    (["a.npz", "shapes", "--data", "mnist"], "leave --data out"),
    (["a.npz", "a.npz", "--stats", "s.npz"], "leave --stats out"),
    (["a.npz", "a.npz", "--data-root", "x"], "--data-root is for data sets"),
    (["a.npz", "shapes:test", "--split", "train"], "--split train"),
    (["one.npz", "a.npz", "--count", "2"], "there is 1 fake"),
    (["a.npz", "one.npz", "--protocol", "torch-fidelity", "--count", "2"], "1 real image"),
    (["a.npz"], "minigan score a.npz REAL"),
])
def test_two_inputs_that_cannot_be_meant_are_one_line(arguments, word, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image_files.save_npz(tmp_path / "a.npz", images[:8])
    image_files.save_npz(tmp_path / "one.npz", images[:1])
    (tmp_path / "notes.txt").write_text("nothing")
    error = said(["score", *arguments, "-q"], capsys, 2)[1]
    assert word in error and error.count("\n") == 1


def test_images_of_another_size_are_brought_to_the_fakes_and_that_is_said(images, by, tmp_path, capsys):
    image_files.save_npz(tmp_path / "a.npz", images)
    image_files.save_npz(tmp_path / "large.npz", images.repeat(2, 1).repeat(2, 2))
    error = said(["score", tmp_path / "a.npz", tmp_path / "large.npz", *by], capsys)[1]
    assert "real images: 120 of 16 x 16" in error
    error = said(["score", tmp_path / "large.npz", tmp_path / "a.npz", *by], capsys)[1]
    assert "the real images are 16 x 16, enlarged to 32 x 32" in error


# ---- features of a function of one's own ---------------------------------------------------------------------------

def mean_colours(images: np.ndarray) -> np.ndarray:
    return images.mean((1, 2))


def test_a_function_makes_the_features_of_arrays(images, rng):
    other = rng.integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
    given = Given("a", array=images), Given("b", array=other)
    found = {one.name: one for one in score(given[0], Asked(quiet=True, count=50), given[1], mean_colours).scores}
    p = protocols.OF_FUNCTION.smaller(50)
    assert found["FID"].value == pytest.approx(
        frechet.distance(mean_colours(other[p.rows(50)]), mean_colours(images[:50])), rel=1e-5)
    assert found["FID"].network == "function mean_colours" and "IS" not in found and "KID" in found
    same = {one.name: one.value for one in score(given[0], Asked(quiet=True, count=50), Given(
        "a", array=images[:50]), mean_colours).scores}
    assert same["FID"] < 1e-9 and same["precision"] == same["coverage"] == 1


def test_features_of_a_function_are_not_kept(images):
    factor = [1.0]
    given = Given("a", array=images), Given("b", array=images[:60] // 2)

    def fid() -> float:
        return score(given[0], Asked(quiet=True, count=60), given[1], lambda x: factor[0] * x.mean((1, 2))
                     ).scores[0].value
    first = fid()
    factor[0] = 2.0
    assert fid() == pytest.approx(4 * first, rel=1e-5)


@pytest.mark.parametrize("function, word", [
    (lambda x: x.mean(), "expected numbers (2, d), a row of features for each"), (lambda x: x, "gave uint8 (2, 16, 16"),
    (lambda x: x[:1, 0, 0], "gave uint8 (1, 3)"), (lambda x: None, "gave object ()"),
    (lambda x: np.full((len(x), 2), "a"), "gave <U1 (2, 2)")])
def test_a_function_that_makes_no_features_is_refused(function, word, images):
    with pytest.raises(WrongUse) as caught:
        FunctionFeatures(function, images[:2])
    assert word in str(caught.value)
    with pytest.raises(FailedWork, match="not finite"):
        FunctionFeatures(lambda x: np.full((len(x), 2), np.nan), images[:2])
    with pytest.raises(WrongUse, match="expected numbers \\(3, 2\\)"):
        FunctionFeatures(lambda x: np.zeros((len(x), len(x))), images[:2]).features(images[:3])
