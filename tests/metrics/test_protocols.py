"""Protocols and the scores that carry them: what is refused, what is warned of, what may be compared."""

import dataclasses
import json

import numpy as np
import pytest

from minigan.errors import FailedWork, WrongUse
from minigan.metrics import frechet, neighbours, scores
from minigan.metrics.frechet import statistics
from minigan.metrics.measures import measure
from minigan.metrics.ms_ssim import diversity
from minigan.metrics.protocols import NAMES, PROTOCOLS, Protocol
from minigan.metrics.stored_scores import comparable, from_dict

ORIGINAL = {"network": "inception-2015-12-05", "weights": "ab12", "resize": "tf", "pixels": "truncate", "data": "real",
            "seed": 3}
SMALL = Protocol("small", "this test", ("IS", "FID", "KID", "precision", "recall", "density", "coverage"), is_count=60,
                 splits=3, real=50, fake=40, kid_subsets=4, kid_size=20)


@pytest.fixture
def sets(rng):
    """Features of 50 real and 60 generated pictures, and a layer from them to logits."""
    W = rng.standard_normal((6, 9))
    return rng.standard_normal((50, 6)), rng.standard_normal((60, 6)) + 0.3, lambda x: x @ W


# ---- the table ------------------------------------------------------------------------------------------------------

def test_counts_are_those_of_the_sources():
    """As facts from the papers and programs, not from the table."""
    p = PROTOCOLS["sn-gan"]  # App. B.1: "5000 examples ... repeated 10 times", "over 10000 and 5000 samples"
    assert (p.is_count // p.splits, p.splits, p.real, p.fake) == (5000, 10, 10000, 5000)
    assert (p.logits, p.shuffle) == ("unbiased", None)
    p = PROTOCOLS["bssn"]  # App. H.2: "50000 generated images ... 10 sets", "5000 real images and 10000 generated"
    assert (p.is_count, p.splits, p.real, p.fake, p.biased) == (50000, 10, 5000, 10000, True)
    p = PROTOCOLS["report"]  # 4.1: "1024 generated images and 5 splits"
    assert (p.is_count, p.splits, p.scores) == (1024, 5, ("IS",))
    p = PROTOCOLS["torch-fidelity"]
    assert (p.is_count, p.real, p.fake, p.shuffle) == (0, 0, 0, 2020)
    assert (p.kid_subsets, p.kid_size, p.seed) == (100, 1000, 2020)
    p = PROTOCOLS["chainer-gan-lib"]
    assert (p.network, p.resize, p.logits) == ("inception-chainer", "align-corners", "chainer")
    assert (p.is_count // p.splits, p.real, p.fake) == (5000, 0, 10000)
    p = PROTOCOLS["mimicry"]
    assert (p.is_count, p.real, p.fake, p.kid_subsets, p.kid_size, p.repetitions) == (50000, 50000, 50000, 10, 5000, 3)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_named_sourced_and_has_known_scores(name):
    p = PROTOCOLS[name]
    assert p.name == name and p.source and p.scores and set(p.scores) <= set(NAMES) and p.logits in scores.LOGITS
    assert p.fakes >= max(p.fake, p.is_count if "IS" in p.scores else 0) or p.fakes == 0


def test_as_many_pictures_are_asked_for_as_the_scores_take():
    assert PROTOCOLS["sn-gan"].fakes == 50_000  # IS
    assert PROTOCOLS["ttur"].fakes == 50_000 and PROTOCOLS["report"].fakes == 1_024
    assert PROTOCOLS["ms-ssim"].fakes == 320 and PROTOCOLS["torch-fidelity"].fakes == 0


def test_real_pictures_are_drawn_once_and_for_all():
    rows = PROTOCOLS["bssn"].rows(50_000)
    expected = np.sort(np.random.RandomState(2020).choice(50_000, 5_000, replace=False))  # as torch-fidelity's
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(PROTOCOLS["ttur"].rows(7), np.arange(7))
    with pytest.raises(WrongUse, match="takes 5,000 real pictures, the data have 4,999"):
        PROTOCOLS["bssn"].rows(4_999)


def test_real_pictures_of_each_class_are_as_many(rng):
    labels = rng.integers(0, 3, 100)
    few = PROTOCOLS["intra-fid"].smaller(12)
    rows = few.rows(100, labels)
    assert np.unique(labels[rows], return_counts=True)[1].tolist() == [12, 12, 12] and (np.diff(rows) > 0).all()
    assert few.name == "intra-fid at 12 pictures of each class"
    assert len(PROTOCOLS["intra-fid"].rows(100)) == 100
    with pytest.raises(WrongUse, match="needs labels"):
        few.rows(100)


def test_a_smaller_protocol_says_so_and_asks_for_no_more():
    for p in PROTOCOLS.values():
        less = p.smaller(500)
        each = " of each class" if p.per_class else ""
        assert p.name == "ms-ssim" or less.name == f"{p.name} at 500 pictures{each}"
        assert less.fakes <= 500 and less.real <= 500 and less.kid_size <= 500
        assert less.smaller(500) == less and less.smaller(100).name == f"{p.name} at 100 pictures{each}"
    assert PROTOCOLS["sn-gan"].smaller(50_000) is PROTOCOLS["sn-gan"]
    assert PROTOCOLS["sn-gan"].smaller(7_000).fake == 5_000
    with pytest.raises(WrongUse):
        PROTOCOLS["sn-gan"].smaller(1)


# ---- measuring ------------------------------------------------------------------------------------------------------

def test_scores_are_those_of_the_functions_on_the_protocols_pictures(sets):
    real, fake, logits = sets
    found = {s.name: s for s in measure(SMALL, real, fake, logits=logits, **ORIGINAL)}
    assert list(found) == list(SMALL.scores)
    assert (found["IS"].value, found["IS"].spread) == pytest.approx(scores.inception_score(logits(fake), 3), rel=1e-12)
    assert found["FID"].value == frechet.distance(real, fake[:40]) and found["FID"].spread is None
    assert (found["KID"].value, found["KID"].spread) == scores.kid(real, fake[:40], 4, 20)
    assert (found["precision"].value, found["recall"].value) == neighbours.precision_recall(real, fake[:40])
    assert (found["density"].value, found["coverage"].value) == neighbours.density_coverage(real, fake[:40])
    assert [(s.n_real, s.n_fake, s.splits) for s in found.values()][:2] == [(0, 60, 3), (50, 40, 0)]
    assert found["FID"].data == "real" and found["IS"].data == ""  # of no matter for it


def test_more_pictures_than_asked_for_change_nothing(sets, rng):
    real, fake, logits = sets
    more = np.concatenate([fake, rng.standard_normal((30, 6)) * 9])
    with_more, without = (measure(SMALL, real, x, logits=logits, **ORIGINAL) for x in (more, fake))
    assert with_more == without


def test_logits_may_be_an_array_and_scores_chosen(sets):
    real, fake, logits = sets
    by_name = measure(SMALL, None, fake, logits=logits(fake), names=["IS"], **ORIGINAL)
    assert by_name == measure(SMALL, real, fake, logits=logits, **ORIGINAL)[:1]
    assert [s.name for s in measure(SMALL, real, fake, names=["recall", "FID"], **ORIGINAL)] == ["FID", "recall"]


def test_a_small_classifier_will_do(rng):
    real, fake = rng.standard_normal((2, 70, 5))
    found = measure(PROTOCOLS["classifier"].smaller(60), real[:60], fake, logits=lambda x: x, network="classifier",
                    weights="cd", resize="28", pixels="round", data="digits", seed=0)
    assert [s.name for s in found] == list(PROTOCOLS["classifier"].scores)
    assert all(s.network == "classifier" and s.n_fake == 60 for s in found)


def test_intra_fid_and_ms_ssim_are_the_functions(rng):
    real, fake, images = rng.standard_normal((40, 3)), rng.standard_normal((24, 3)), rng.integers(
        0, 256, (20, 16, 16, 3), np.uint8)
    a, b = np.arange(40) % 2, np.arange(24) % 2
    p = dataclasses.replace(PROTOCOLS["intra-fid"], fake=12)
    (score,) = measure(p, real, fake, real_labels=a, fake_labels=b, **ORIGINAL)
    each = list(scores.intra_fid(real, a, fake, b).values())
    assert (score.value, score.spread) == pytest.approx((np.mean(each), np.std(each)))
    (score,) = measure(PROTOCOLS["ms-ssim"].smaller(20), None, None, images=images, **ORIGINAL)
    assert (score.value, score.spread) == diversity(images, 20, 1) and score.network == score.weights == ""
    with pytest.raises(WrongUse, match="takes 12 generated pictures of each class, got 11 of class 1"):
        measure(p, real, fake[:23], real_labels=a, fake_labels=b[:23], **ORIGINAL)


def test_statistics_will_do_for_fid_only(sets):
    real, fake, _ = sets
    (score,) = measure(SMALL, statistics(real), fake, names=["FID"], **ORIGINAL)
    assert score.value == pytest.approx(frechet.distance(real, fake[:40]), rel=1e-9) and score.n_real == 50
    unknown = dataclasses.replace(statistics(real), count=0)
    (score,) = measure(SMALL, unknown, fake, names=["FID"], **ORIGINAL)
    assert score.n_real == 0 and any("do not say" in line for line in score.cautions)
    with pytest.raises(WrongUse, match="FID only"):
        measure(SMALL, statistics(real), fake, names=["KID"], **ORIGINAL)
    with pytest.raises(WrongUse, match="statistics are of 49"):
        measure(SMALL, statistics(real[1:]), fake, names=["FID"], **ORIGINAL)


@pytest.mark.parametrize("given, said", [
    ({"real": 49}, "takes 50 real pictures, got 49"), ({"fake": 39}, "takes 40 generated pictures for FID, got 39"),
    ({"network": "inception-chainer"}, "has the network"), ({"resize": "align-corners"}, "has the resize"),
    ({"names": ["MS-SSIM"]}, "unknown score of protocol small 'MS-SSIM'"), ({"names": ["IS"]}, "IS needs logits"),
])
def test_what_the_protocol_does_not_ask_for_is_refused(sets, given, said):
    real, fake, _ = sets
    options = {"names": ["FID"], **ORIGINAL, **{k: v for k, v in given.items() if k not in ("real", "fake")}}
    with pytest.raises(WrongUse, match=said):
        measure(SMALL, real[:given.get("real")], fake[:given.get("fake")], **options)


# ---- cautions -------------------------------------------------------------------------------------------------------

def cautions(protocol, sets, **options):
    real, fake, logits = sets
    found = measure(protocol, real, fake, logits=logits, **ORIGINAL | options)
    return {s.name: " ".join(s.cautions) for s in found}


def test_few_pictures_are_warned_of(sets):
    said = cautions(SMALL, sets)
    assert "IS of 60 pictures" in said["IS"] and "splits of 20 pictures" in said["IS"]
    assert "50 real pictures, fewer than 2,048" in said["FID"] and "40 generated" in said["FID"]
    assert "subsets of 20 pictures" in said["KID"]
    few = dataclasses.replace(SMALL, fake=6, kid_size=6, scores=("FID", "KID"))
    assert "6 generated pictures for 6 features: their covariance has rank 5" in cautions(few, sets)["FID"]
    real = sets[0]
    all_there = dataclasses.replace(SMALL, real=0, fake=50, kid_size=50, scores=("KID",))
    assert "holds all pictures" in cautions(all_there, (real, *sets[1:]))["KID"]


def test_enough_pictures_are_not_warned_of(rng):
    enough = Protocol("enough", "", ("IS", "FID", "KID", "precision"), is_count=5000, splits=5,
                      kid_subsets=2)
    real, fake = rng.standard_normal((2, 5000, 3))
    assert set(cautions(enough, (real, fake, lambda x: x)).values()) == {""}


def test_missing_classes_and_other_rounding_are_warned_of(sets):
    labels = np.arange(50) % 10
    said = cautions(SMALL, sets, pixels="round", real_labels=labels, fake_labels=np.arange(60) % 8)
    assert "no generated picture of class 8, 9" in said["FID"]
    assert "pixels 'truncate', these are 'round'" in said["IS"]


def test_unequal_numbers_are_warned_of_where_they_matter(sets):
    assert "50 real and 40 generated" in cautions(SMALL, sets)["coverage"]


# ---- comparing and keeping ------------------------------------------------------------------------------------------

@pytest.fixture
def score(sets):
    return measure(SMALL, *sets[:2], names=["FID"], **ORIGINAL)[0]


def test_scores_compare_with_their_like_only(score):
    assert comparable(score, dataclasses.replace(score, value=7.0, spread=1.0, seed=9, cautions=())) == ""
    for field, value, said in (
            ("name", "KID", "scores: 'FID' and 'KID'"), ("protocol", "small at 9 pictures", "protocols"),
            ("network", "inception-chainer", "networks"), ("weights", "cd", "weights"), ("resize", "x", "resizing"),
            ("pixels", "round", "pixels"), ("n_real", 10_000, "real pictures: 50 and 10,000"), ("splits", 5, "splits"),
            ("n_fake", 9, "generated"), ("data", "other", "real pictures")):
        assert said in comparable(score, dataclasses.replace(score, **{field: value})), field


def test_inception_scores_compare_whatever_the_real_pictures(sets):
    real, fake, logits = sets
    one, other = (measure(SMALL, None, fake, logits=logits, names=["IS"], **ORIGINAL | {"data": data})[0]
                  for data in ("cifar10", "cifar10 test"))
    assert comparable(one, other) == ""


def test_a_score_comes_back_from_json(score):
    assert from_dict(json.loads(json.dumps(score.to_dict())), "s.json") == score


@pytest.mark.parametrize("change", [
    {"value": "7"}, {"value": None}, {"value": float("nan")}, {"n_real": -1}, {"n_real": 1.5}, {"n_fake": True},
    {"spread": []}, {"protocol": 3}, {"cautions": "text"}, {"cautions": [3]}, {"extra": 1}, {"name": None}])
def test_what_is_no_score_is_refused(score, change):
    with pytest.raises(FailedWork, match=r"s\.json"):
        from_dict(score.to_dict() | change, "s.json")
    for other in ([], None, {}, {"name": "FID"}):
        with pytest.raises(FailedWork, match="not a score"):
            from_dict(other, "s.json")
