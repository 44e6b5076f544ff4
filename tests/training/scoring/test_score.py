"""minigan score and compare from end to end: what they say, store and refuse."""

import numpy as np
import pytest
from scored import said

from minigan.data import datasets
from minigan.errors import FailedWork
from minigan.metrics import classifier, frechet, protocols, stored_scores
from minigan.views import readings


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
    lines = out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FID "))
    line = next(line for line in lines[at:] if line.startswith("  "))  # once, for all that were measured so
    assert lines.count(line) == 1
    for word in ("classifier at 120 pictures", "120 real (shapes", "120 fake", "seed 0", c.digest[:12], "resize"):
        assert word in line
    assert "IS: IS of 120 images: it rises" not in out and "IS of 120 images: it rises" in error  # a warning
    assert "Inception knows no shapes" in error
    assert {"precision", "recall", "density", "coverage", "accuracy of D", "gap of D", "classes covered",
            "colours covered", "MS-SSIM"} <= stored.keys()


def test_below_the_scores_stands_how_to_read_them(run, tmp_path, capsys):
    command = ["score", run, "--protocol", "ms-ssim", "--count", 60, "--out", tmp_path / "a.json"]
    quiet, out = said([*command, "-q"], capsys)[0], said(command, capsys)[0]
    assert out.startswith(quiet)
    names = dict.fromkeys(one.score.name for one in stored_scores.read(tmp_path / "a.json"))
    assert out[len(quiet):].splitlines() == ["", *readings.lines(names)] and len(names) > 1


def test_several_seeds_in_one_call_are_those_of_several_calls_and_their_mean(run, tmp_path, capsys):
    out = said(["score", run, "--count", 60, "--seed", 5, "--repeat", 2, "--out", tmp_path / "a.json", "-q"],
               capsys)[0].splitlines()
    each = [said(["score", run, "--count", 60, "--seed", seed, "--out", tmp_path / "b.json", "-q"],
                 capsys)[0].splitlines() for seed in (5, 6)]
    assert out[:-len(each[0])] == each[0] + each[1]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    values = [one.score.value for one in stored_scores.read(tmp_path / "a.json") if one.score.name == "FID"]
    at = next(i for i in range(len(out) - len(each[0]), len(out)) if out[i].startswith("FID "))
    assert f"{stored_scores.rounded(np.mean(values))} \u00b1 {stored_scores.rounded(np.std(values, ddof=1))}" in out[at]
    assert next(line for line in out[at:] if line.startswith("  ")).endswith("seeds 5 to 6")
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 16, 16, 3), np.uint8))
    assert "--repeat" in said(["score", tmp_path / "x.npz", "--repeat", 2], capsys, 2)[1]


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


def test_a_file_that_cannot_be_written_is_found_before_the_work(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minigan.cli.score.score", lambda *given: 1 / 0)
    (tmp_path / "file").write_bytes(b"")
    for option, name in (("--out", "x.json"), ("--write-stats", "x.npz")):
        assert "cannot be written" in said(["score", run, option, tmp_path / "file" / name], capsys, 1)[1]
