"""Scores that are kept: which may be compared, and how they come back from JSON."""

import dataclasses
import json

import pytest

from minigan.errors import FailedWork, WrongUse
from minigan.metrics.stored_scores import Score, Stored, comparable, from_dict, lines, table


@pytest.fixture
def score():
    return Score("FID", 12.5, None, "small", "inception-2015-12-05", "ab12", "tf", "truncate", 50, 40, 0, 3, "real",
                 ("few images",))


def test_scores_compare_with_their_like_only(score):
    assert comparable(score, dataclasses.replace(score, value=7.0, spread=1.0, seed=9, cautions=())) == ""
    for field, value, said in (
            ("name", "KID", "scores: 'FID' and 'KID'"), ("protocol", "small at 9 pictures", "protocols"),
            ("network", "inception-chainer", "networks"), ("weights", "cd", "weights"), ("resize", "x", "resizing"),
            ("pixels", "round", "pixels"), ("n_real", 10_000, "real images: 50 and 10,000"), ("splits", 5, "splits"),
            ("n_fake", 9, "fakes"), ("data", "other", "real images")):
        assert said in comparable(score, dataclasses.replace(score, **{field: value})), field


def test_a_score_comes_back_from_json(score):
    assert from_dict(json.loads(json.dumps(score.to_dict())), "s.json") == score


def test_a_score_that_was_stored_before_sizes_were_is_read_and_compared(score):
    older = {name: value for name, value in score.to_dict().items() if not name.startswith("size_")}
    assert from_dict(older, "s.json") == score
    assert comparable(score, dataclasses.replace(score, size_real=64, size_fake=64)) == ""


@pytest.mark.parametrize("change", [
    {"value": "7"}, {"value": None}, {"value": float("nan")}, {"n_real": -1}, {"n_real": 1.5}, {"n_fake": True},
    {"spread": []}, {"protocol": 3}, {"cautions": "text"}, {"cautions": [3]}, {"extra": 1}, {"name": None}])
def test_what_is_no_score_is_refused(score, change):
    with pytest.raises(FailedWork, match=r"s\.json"):
        from_dict(score.to_dict() | change, "s.json")
    for other in ([], None, {}, {"name": "FID"}):
        with pytest.raises(FailedWork, match="not a score"):
            from_dict(other, "s.json")


def test_a_run_without_scores_has_its_row_and_is_named(score):
    said = table([("sn", [Stored(score, 100)]), ("a new one", []), ("wgan", [Stored(score, 90)])])
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in said[2:5]] == [
        ["sn", "100", "12.5"], ["a new one", "-", "-"], ["wgan", "90", "12.5"]]
    assert said[-1] == "no scores yet, make some with minigan score: a new one"
    assert len({len(line) for line in said[:5]}) == 1  # aligned
    with pytest.raises(WrongUse, match="no scores yet; make some"):
        table([("a new one", [])])


def test_what_scores_of_one_call_depend_on_is_said_once(score):
    kid = dataclasses.replace(score, name="KID", spread=0.25)
    other = dataclasses.replace(score, name="recall", n_real=7)
    said = lines([score, other, kid])
    assert [line.split() for line in said if not line.startswith(" ")] == [
        ["FID", "12.5"], ["KID", "12.5", "\u00b1", "0.25"], ["recall", "12.5"]]
    assert [i for i, line in enumerate(said) if line.startswith("  small: ")] == [2, 4]
    assert "50 real (real), 40 fake" in said[2] and said[2].endswith("seed 3") and "7 real" in said[4]
    assert lines([]) == []
