"""Scores that are kept: which may be compared, and how they come back from JSON."""

import dataclasses
import json

import pytest

from minigan.errors import FailedWork
from minigan.metrics.stored_scores import Score, comparable, from_dict


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
