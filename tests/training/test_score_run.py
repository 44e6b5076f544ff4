"""minigan score and compare, and scores on the way (--score-every): what they say, store, refuse and never change."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from tiny import contents, run_until

from minigan.cli import main
from minigan.data import datasets, drawings
from minigan.data.dataset import Dataset
from minigan.data.pixels import truncated
from minigan.errors import FailedWork
from minigan.formats import hdf5_state, image_files
from minigan.metrics import classifier, drawings_coverage, frechet, ms_ssim, protocols, stored_scores
from minigan.studies import grid, tables
from minigan.training import restore, run_folder, run_record, sampling

SMALL = ["--size", "16", "--width", "0.05", "--batch-size", "4", "--n-dis", "1", "--dim-z", "8", "--ema", "0"]


@pytest.fixture(autouse=True, scope="module")
def few(tmp_path_factory):
    """shapes, but 300 drawings; and a cache folder with a classifier of them that was hardly trained."""
    load = datasets.load

    def loaded(name, size=None, split="train", **more):
        if name != "shapes":
            return load(name, size=size, **more)
        images, labels = drawings.draw(300, size or 16, 3, split or "train")
        return Dataset(images, labels, drawings.CLASSES, "drawn for a test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", loaded)
        patch.setenv("MINIGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        classifier.save(classifier.place("shapes", 16), classifier.train("shapes", size=16, epochs=1, batch_size=50))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six iterations, scored on the way."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main.run(["train", "shapes", *SMALL, "--iterations", "6", "--out", str(out), "-q", "--score-every", "2",
                    "--score-count", "100", "--checkpoint-every", "4"]) == 0
    return out


@pytest.fixture(scope="module")
def images(run):
    """Its pictures, as minigan sample draws them."""
    saved = restore.newest(run)
    return sampling.draw(saved.gen, sampling.latents(np.random.default_rng(0), saved.e, 120))


def said(arguments, capsys, code=0) -> tuple[str, str]:
    capsys.readouterr()
    assert main.run([str(word) for word in arguments]) == code, capsys.readouterr().err
    return capsys.readouterr()


# ---- score ----

def test_scores_are_those_of_the_features_of_the_pictures_that_sample_draws(run, images, tmp_path, capsys):
    out, error = said(["score", run, "--count", 120, "--out", tmp_path / "a.json", "-q"], capsys)
    c = classifier.find("shapes", 16)
    p = protocols.PROTOCOLS["classifier"].smaller(120)
    data = datasets.load("shapes", size=16)
    real = c.features(data.images[p.rows(300)])
    stored = {one.score.name: one.score for one in stored_scores.read(tmp_path / "a.json")}
    assert stored["FID"].value == pytest.approx(frechet.distance(real, c.features(images)), rel=1e-6)
    fid = stored["FID"]
    assert (fid.protocol, fid.n_real, fid.n_fake, fid.seed) == ("classifier at 120 pictures", 120, 120, 0)
    assert fid.weights == c.digest and fid.network == "classifier shapes"
    line = next(line for line in out.splitlines() if line.startswith("FID "))
    for word in ("classifier at 120 pictures", "120 real (shapes", "120 generated", "seed 0", c.digest[:12], "resize"):
        assert word in line
    assert "IS: IS of 120 pictures: it rises" not in out and "IS of 120 pictures: it rises" in error  # a warning
    assert "Inception knows no shapes" in error
    assert {"precision", "recall", "density", "coverage", "accuracy of D", "gap of D", "classes covered",
            "colours covered", "MS-SSIM"} <= stored.keys()


def test_other_seeds_give_other_pictures_and_the_same_seed_the_same_scores(run, tmp_path, capsys):
    first, again, other = (said(["score", run, "--count", 60, "--seed", seed, "--out", tmp_path / f"{i}.json", "-q"],
                                capsys)[0] for i, seed in enumerate((5, 5, 6)))
    assert first == again != other


def test_a_folder_and_an_npz_of_the_same_pictures_have_the_same_scores(run, images, tmp_path, capsys):
    assert main.run(["sample", str(run), "-n", "120", "--out", str(tmp_path / "a.npz")]) == 0
    (tmp_path / "b").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "b" / f"{i:03}.png")
    of_npz, of_folder, of_run = (said(["score", subject, "--count", 120, *more, "-q"], capsys)[0].splitlines()
                                 for subject, more in ((tmp_path / "a.npz", ["--data", "shapes"]),
                                                       (tmp_path / "b", ["--data", "shapes"]),
                                                       (run, ["--out", tmp_path / "c.json"])))
    assert of_npz == of_folder == [line for line in of_run if " of D " not in line]  # a discriminator has the run only


def test_what_is_missing_is_said_with_the_way_to_get_it(run, images, tmp_path, capsys, monkeypatch):
    image_files.save_npz(tmp_path / "a.npz", images)
    assert "--data" in said(["score", tmp_path / "a.npz"], capsys, 2)[1]
    assert "--count 120 shrinks it" in said(["score", tmp_path / "a.npz", "--data", "shapes", "-q"], capsys, 2)[1]
    assert "unknown protocol" in said(["score", run, "--protocol", "x"], capsys, 2)[1]
    assert "expected a run's folder" in said(["score", tmp_path / "nothing"], capsys, 2)[1]
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "empty"))
    assert "minigan classifier train shapes --size 16" in said(["score", run], capsys, 2)[1]


def test_statistics_of_others_may_stand_for_the_real_pictures(run, images, tmp_path, capsys):
    c = classifier.find("shapes", 16)
    known = frechet.statistics(c.features(datasets.load("shapes", size=16).images))
    frechet.write(tmp_path / "s.npz", known)
    out, _ = said(["score", run, "--count", 120, "--stats", tmp_path / "s.npz", "--out", tmp_path / "a.json", "-q"],
                  capsys)
    stored = {one.score.name: one.score for one in stored_scores.read(tmp_path / "a.json")}
    assert stored["FID"].value == pytest.approx(frechet.distance(known, c.features(images)), rel=1e-6)
    assert "KID" not in stored and "statistics s.npz" in stored["FID"].data


def test_statistics_that_are_written_give_the_same_fid_when_read(run, tmp_path, capsys):
    words = ["score", run, "--count", 140, "-q", "--out"]
    said([*words, tmp_path / "a.json", "--write-stats", tmp_path / "s.npz"], capsys)
    said([*words, tmp_path / "b.json", "--stats", tmp_path / "s.npz"], capsys)
    a, b = ({one.score.name: one.score for one in stored_scores.read(tmp_path / f"{name}.json")} for name in "ab")
    assert a["FID"].value == pytest.approx(b["FID"].value, rel=1e-6)
    data = datasets.load("shapes", size=16).images
    chosen = data[protocols.PROTOCOLS["classifier"].smaller(140).rows(300)].copy()
    with np.load(tmp_path / "s.npz") as found:
        assert found["count"] == 140
        assert np.allclose(found["sigma"], np.cov(classifier.find("shapes", 16).features(chosen), rowvar=False),
                           rtol=1e-4, atol=1e-6)
    assert "--write-stats" in said(["score", run, "--protocol", "ms-ssim", "--write-stats", tmp_path / "s.npz"],
                                   capsys, 2)[1]


def test_several_seeds_in_one_call_are_those_of_several_calls_and_their_mean(run, tmp_path, capsys):
    out = said(["score", run, "--count", 60, "--seed", 5, "--repeat", 2, "--out", tmp_path / "a.json", "-q"],
               capsys)[0].splitlines()
    each = [said(["score", run, "--count", 60, "--seed", seed, "--out", tmp_path / "b.json", "-q"],
                 capsys)[0].splitlines() for seed in (5, 6)]
    assert out[:-len(each[0])] == each[0] + each[1]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    values = [one.score.value for one in stored_scores.read(tmp_path / "a.json") if one.score.name == "FID"]
    line = next(line for line in out[-len(each[0]):] if line.startswith("FID "))
    assert f"{stored_scores.rounded(np.mean(values))} \u00b1 {stored_scores.rounded(np.std(values, ddof=1))}" in line
    assert line.endswith("seeds 5 to 6")
    assert "--repeat" in said(["score", tmp_path / "x.npz", "--repeat", 2], capsys, 2)[1]


def test_inceptions_weights_are_told_from_a_classifiers(run, tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04")
    error = said(["score", run, "--weights", tmp_path / "w.pth"], capsys, 1)[1]
    assert "--protocol sn-gan" in error and error.count("\n") == 1


def test_copies_of_real_pictures_are_shown_as_such(tmp_path, capsys):
    real = datasets.load("shapes", size=16).images
    image_files.save_npz(tmp_path / "a.npz", np.repeat(real[:20], 2, axis=0))
    out, error = said(["score", tmp_path / "a.npz", "--data", "shapes", "--count", 40, "--out", tmp_path / "a.json",
                       "-q"], capsys)
    assert "20 of 40 generated pictures equal an earlier one" in error
    grid = np.asarray(Image.open(tmp_path / "nearest.png"))
    cell = [grid[2:18, 2 + i * 18:18 + i * 18] for i in range(3)]
    assert np.array_equal(cell[0], real[0]) and (cell[1] == 255).all()
    # Its nearest among the 40 real ones that the protocol draws need not be itself; they are real ones, though.
    assert (real == cell[2]).all((1, 2, 3)).any()


def test_the_fid_of_each_class_may_be_of_fewer_pictures_than_are_shown(tmp_path, capsys):
    run = tmp_path / "r"
    assert main.run(["train", "shapes", *SMALL, "--condition", "projection", "--iterations", "1", "--out", str(run),
                    "-q"]) == 0
    file = tmp_path / "a.json"
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:  # intra-fid with the classifier in Inception's place
        p = protocols.PROTOCOLS["intra-fid"]
        patch.setitem(protocols.PROTOCOLS, "intra-fid", dataclasses.replace(p, network="", resize=""))
        said(["score", run, "--protocol", "intra-fid", "--count", 3, "--out", file, "-q"], capsys)
    stored = {one.score.name: one.score for one in stored_scores.read(file)}
    saved = restore.newest(run)
    labels = np.arange(30) % 10
    z = sampling.latents(np.random.default_rng(0), saved.e, 30)
    fake = sampling.draw(saved.gen, z, classes=10, labels=labels, to_uint8=truncated)
    c, data = classifier.find("shapes", 16), datasets.load("shapes", size=16)
    rows = p.smaller(3).rows(300, data.labels)
    assert (np.bincount(data.labels[rows]) == 3).all()
    of_classes = [frechet.distance(c.features(data.images[rows])[data.labels[rows] == k], c.features(fake)[labels == k])
                  for k in range(10)]
    assert stored["intra-FID"].value == pytest.approx(np.mean(of_classes), rel=1e-4)
    assert (stored["intra-FID"].n_real, stored["intra-FID"].n_fake) == (30, 30)
    of_pairs = ms_ssim.within_classes(sampling.draw(saved.gen, z, classes=10, labels=labels), labels)
    assert stored["intra-MS-SSIM"].value == pytest.approx(np.mean(list(of_pairs.values())))
    assert stored["intra-MS-SSIM"].spread == pytest.approx(np.std(list(of_pairs.values())))


# ---- stored scores, compare ----

def test_scores_are_added_and_a_repeated_one_replaced(run, tmp_path, capsys):
    path = tmp_path / "s.json"
    for seed in (1, 2, 2):
        said(["score", run, "--count", 60, "--seed", seed, "--out", path, "-q"], capsys)
    stored = [one for one in stored_scores.read(path) if one.score.name == "FID"]
    assert [one.score.seed for one in stored] == [1, 2] and {one.iteration for one in stored} == {6}
    table = said(["compare", path], capsys)[0]
    mean, sd = np.mean([one.score.value for one in stored]), np.std([one.score.value for one in stored], ddof=1)
    assert f"{stored_scores.rounded(mean)} \u00b1 {stored_scores.rounded(sd)} (2 seeds)" in table


def test_compare_keeps_apart_what_cannot_be_compared_and_says_why(run, tmp_path, capsys):
    for count in (60, 80):
        said(["score", run, "--count", count, "--out", tmp_path / "s.json", "-q"], capsys)
    lines = said(["compare", tmp_path / "s.json"], capsys)[0].splitlines()
    assert lines[0].count("FID [") == 2
    assert any(line.startswith("apart, different protocols: 'classifier at 60") and "FID [" in line for line in lines)


def test_two_runs_stand_in_one_column(run, tmp_path, capsys):
    said(["score", run, "--count", 60, "--out", tmp_path / "a.json", "-q"], capsys)
    (tmp_path / "b.json").write_bytes((tmp_path / "a.json").read_bytes())
    lines = said(["compare", tmp_path / "a.json", tmp_path / "b.json"], capsys)[0].splitlines()
    assert lines[0].count("FID [") == 1 and lines[2].startswith("| a ") and lines[3].startswith("| b ")
    assert lines[2].split("|")[2:] == lines[3].split("|")[2:]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "minigan scores", "scores": [1]}',
                                  '{"format": "minigan scores", "scores": [{"iteration": 1, "best": false}]}',
                                  "[" * 9999])
def test_a_file_that_holds_no_scores_is_refused_and_kept(run, tmp_path, text, capsys):
    (tmp_path / "s.json").write_text(text)
    said(["score", run, "--count", 60, "--out", tmp_path / "s.json", "-q"], capsys, 1)
    assert (tmp_path / "s.json").read_text() == text
    with pytest.raises(FailedWork):
        stored_scores.read(tmp_path / "s.json")


# ---- while training ----

def test_the_log_has_a_curve_and_the_best_checkpoint_is_kept(run):
    scored = {line["iteration"]: line["scores"] for line in run_folder.read_log(run) if "scores" in line}
    assert sorted(scored) == [2, 4, 6]
    name = next(name for name in scored[2] if name.startswith("FID classifier at 100 pictures"))
    best = min(scored, key=lambda i: scored[i][name])
    assert [path.name for path in run.glob("best-*.h5")] == [f"best-{best:07d}.h5"]
    assert hdf5_state.load(run / f"best-{best:07d}.h5")["iteration"] == best
    assert run_record.best_of(run_folder.read_log(run)) == (best, name, scored[best][name])


def test_scores_change_nothing_that_is_learned(run, tmp_path):
    assert main.run(["train", "shapes", *SMALL, "--iterations", "6", "--out", str(tmp_path / "b"), "-q"]) == 0
    for path in (run, tmp_path / "b"):
        assert (path / "checkpoint-0000006.h5").is_file()
    assert (run / "checkpoint-0000006.h5").read_bytes() == (tmp_path / "b" / "checkpoint-0000006.h5").read_bytes()


def test_a_resumed_run_has_the_uninterrupted_ones_curve_and_best(run, tmp_path, monkeypatch):
    out = tmp_path / "again"
    words = ["train", "shapes", *SMALL, "--iterations", "6", "--out", str(out), "-q", "--score-every", "2",
             "--score-count", "100", "--checkpoint-every", "4"]
    assert run_until(words, 3, monkeypatch) == 130
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    kept = contents(out)
    for name, data in contents(run).items():
        if name != "log":  # the stop itself leaves no line, but pictures and checkpoints are the same
            assert kept[name] == data, name
    curves = [{line["iteration"]: line["scores"] for line in run_folder.read_log(path) if "scores" in line}
              for path in (run, out)]
    assert curves[0] == curves[1]
    assert {p.name: p.read_bytes() for p in run.glob("best-*")} == {p.name: p.read_bytes() for p in out.glob("best-*")}


def test_the_best_generator_can_be_drawn_from_and_scored(run, tmp_path, capsys):
    best = run_record.best_of(run_folder.read_log(run))[0]
    said(["sample", run, "--best", "-n", 3, "--out", tmp_path / "a.npz"], capsys)
    saved = restore.newest(run, best=True)
    z = sampling.latents(np.random.default_rng(0), saved.e, 3)
    with np.load(tmp_path / "a.npz") as found:
        assert np.array_equal(found["images"], sampling.draw(saved.gen, z))
    said(["score", run, "--best", "--count", 60, "--out", tmp_path / "s.json", "-q"], capsys)
    assert {(one.iteration, one.best) for one in stored_scores.read(tmp_path / "s.json")} == {(best, True)}
    assert "(best)" in said(["compare", tmp_path / "s.json"], capsys)[0]


def test_a_run_without_scores_has_no_best(tmp_path, capsys):
    assert main.run(["train", "shapes", *SMALL, "--iterations", "1", "--out", str(tmp_path / "b"), "-q"]) == 0
    assert "without --score-every" in said(["sample", tmp_path / "b", "--best"], capsys, 2)[1]


def test_a_missing_classifier_is_said_before_the_run_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "empty"))
    error = said(["train", "shapes", *SMALL, "--score-every", "2", "--out", tmp_path / "r"], capsys, 2)[1]
    assert "minigan classifier train shapes --size 16" in error
    assert not (tmp_path / "r").exists()


def test_a_sweeps_summary_has_last_and_best_of_the_score(tmp_path):
    cells = grid.grid("shapes", ["sn"], ["C"], 1, size=16, iterations=3)
    folder = tmp_path / cells[0].name
    run_folder.create(folder, cells[0].experiment, {})
    (folder / "checkpoint-0000003.h5").touch()
    (folder / "log.jsonl").write_text("".join(json.dumps(
        {"iteration": i, "seconds": i, "thumbnails": 9.0, "scores": {"IS x": 1.0, "FID x": value}}) + "\n"
        for i, value in ((1, 30.0), (2, 20.0), (3, 25.0))))
    lines = tables.summary(cells, tmp_path)
    assert "| 25.000 | - | - | 20.000 | - | - |" in lines[2] and "FID x" in lines[-1]


# ---- coverage of drawings ----

def test_hues_tell_the_kinds_of_real_drawings():
    images, labels = drawings.draw(300, 32, 8, "test")
    assert (drawings_coverage.kinds_by_hue(images) == labels).mean() > 0.99


def test_coverage_counts_kinds_and_evenness_knows_their_shares():
    kinds = np.array([0] * 50 + [1] * 49 + [2] + [-1] * 0)
    assert drawings_coverage.covered(kinds) == pytest.approx(0.3)
    assert drawings_coverage.covered(kinds[:-1]) == pytest.approx(0.2)
    assert drawings_coverage.evenness(np.arange(10)) == pytest.approx(1)
    assert drawings_coverage.evenness(np.zeros(9, int)) == pytest.approx(0.1)
    assert drawings_coverage.evenness(np.array([0, 1] * 4)) == pytest.approx(0.2)
    assert drawings_coverage.covered(np.full(5, -1)) == 0 == drawings_coverage.evenness(np.full(5, -1))


def test_a_grey_picture_has_no_hue():
    assert np.isnan(drawings_coverage.hues(np.full((2, 8, 8, 3), 120, np.uint8))).all()
