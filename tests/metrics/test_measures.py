"""Measuring by a protocol: what is taken, what is refused, what is warned of."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from minigan.errors import WrongUse
from minigan.metrics import frechet, neighbours, scores
from minigan.metrics.frechet import statistics
from minigan.metrics.measures import Origin, measure
from minigan.metrics.measures import ScoreInputs as Inputs
from minigan.metrics.ms_ssim import diversity
from minigan.metrics.protocols import PROTOCOLS, Protocol
from minigan.metrics.stored_scores import comparable

ORIGINAL = Origin(network="inception-2015-12-05", weights="ab12", resize="tf", pixels="truncate", data="real", seed=3)
SMALL = Protocol("small", "this test", ("IS", "FID", "KID", "precision", "recall", "density", "coverage"), is_count=60,
                 splits=3, real=50, fake=40, kid_subsets=4, kid_size=20)


@pytest.fixture
def sets(rng):
    """Features of 50 real and 60 fakes, and a layer from them to logits."""
    W = rng.standard_normal((6, 9))
    return rng.standard_normal((50, 6)), rng.standard_normal((60, 6)) + 0.3, lambda x: x @ W


def test_scores_are_those_of_the_functions_on_the_protocols_pictures(sets):
    real, fake, logits = sets
    found = {s.name: s for s in measure(SMALL, Inputs(real, fake, logits), ORIGINAL)}
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
    with_more, without = (measure(SMALL, Inputs(real, x, logits), ORIGINAL) for x in (more, fake))
    assert with_more == without


def test_logits_may_be_an_array_and_scores_chosen(sets):
    real, fake, logits = sets
    by_name = measure(SMALL, Inputs(fake=fake, logits=logits(fake)), ORIGINAL, ["IS"])
    assert by_name == measure(SMALL, Inputs(real, fake, logits), ORIGINAL)[:1]
    assert [s.name for s in measure(SMALL, Inputs(real, fake), ORIGINAL, ["recall", "FID"])] == ["FID", "recall"]


def test_a_small_classifier_will_do(rng):
    real, fake = rng.standard_normal((2, 70, 5))
    origin = Origin(network="classifier", weights="cd", resize="28", pixels="round", data="digits")
    found = measure(PROTOCOLS["classifier"].smaller(60), Inputs(real[:60], fake, lambda x: x), origin)
    assert [s.name for s in found] == list(PROTOCOLS["classifier"].scores)
    assert all(s.network == "classifier" and s.n_fake == 60 for s in found)


def test_intra_fid_and_ms_ssim_are_the_functions(rng):
    real, fake, images = rng.standard_normal((40, 3)), rng.standard_normal((24, 3)), rng.integers(
        0, 256, (20, 16, 16, 3), np.uint8)
    a, b = np.arange(40) % 2, np.arange(24) % 2
    p = dataclasses.replace(PROTOCOLS["intra-fid"], fake=12)
    (score,) = measure(p, Inputs(real, fake, real_labels=a, fake_labels=b), ORIGINAL)
    each = list(scores.intra_fid(real, a, fake, b).values())
    assert (score.value, score.spread) == pytest.approx((np.mean(each), np.std(each)))
    (score,) = measure(PROTOCOLS["ms-ssim"].smaller(20), Inputs(images=images), ORIGINAL)
    assert (score.value, score.spread) == diversity(images, 20, 1) and score.network == score.weights == ""
    with pytest.raises(WrongUse, match="takes 12 fake images of each class, got 11 of class 1"):
        measure(p, Inputs(real, fake[:23], real_labels=a, fake_labels=b[:23]), ORIGINAL)


def test_statistics_will_do_for_fid_only(sets):
    real, fake, _ = sets
    (score,) = measure(SMALL, Inputs(statistics(real), fake), ORIGINAL, ["FID"])
    assert score.value == pytest.approx(frechet.distance(real, fake[:40]), rel=1e-9) and score.n_real == 50
    unknown = dataclasses.replace(statistics(real), count=0)
    (score,) = measure(SMALL, Inputs(unknown, fake), ORIGINAL, ["FID"])
    assert score.n_real == 0 and any("do not say" in line for line in score.cautions)
    with pytest.raises(WrongUse, match="FID only"):
        measure(SMALL, Inputs(statistics(real), fake), ORIGINAL, ["KID"])
    with pytest.raises(WrongUse, match="statistics are of 49"):
        measure(SMALL, Inputs(statistics(real[1:]), fake), ORIGINAL, ["FID"])


@pytest.mark.parametrize("given, said", [
    ({"real": 49}, "takes 50 real images, got 49"), ({"fake": 39}, "takes 40 fakes for FID, got 39"),
    ({"network": "inception-chainer"}, "has the network"), ({"resize": "align-corners"}, "has the resize"),
    ({"names": ["MS-SSIM"]}, "unknown score of protocol small 'MS-SSIM'"), ({"names": ["IS"]}, "IS needs logits"),
])
def test_what_the_protocol_does_not_ask_for_is_refused(sets, given, said):
    real, fake, _ = sets
    origin = dataclasses.replace(ORIGINAL, **{k: v for k, v in given.items() if k in ("network", "resize")})
    with pytest.raises(WrongUse, match=said):
        measure(SMALL, Inputs(real[:given.get("real")], fake[:given.get("fake")]), origin, given.get("names", ["FID"]))


# ---- cautions -------------------------------------------------------------------------------------------------------

def cautions(protocol, sets, pixels="truncate", **labels):
    found = measure(protocol, Inputs(*sets, **labels), dataclasses.replace(ORIGINAL, pixels=pixels))
    return {s.name: " ".join(s.cautions) for s in found}


def test_few_pictures_are_warned_of(sets):
    said = cautions(SMALL, sets)
    assert "IS of 60 images" in said["IS"] and "splits of 20 images" in said["IS"]
    assert "50 real images, fewer than 2,048" in said["FID"] and "40 fake" in said["FID"]
    assert "subsets of 20 images" in said["KID"]
    few = dataclasses.replace(SMALL, fake=6, kid_size=6, scores=("FID", "KID"))
    assert "6 fake images for 6 features: their covariance has rank 5" in cautions(few, sets)["FID"]
    real = sets[0]
    all_there = dataclasses.replace(SMALL, real=0, fake=50, kid_size=50, scores=("KID",))
    assert "holds all images" in cautions(all_there, (real, *sets[1:]))["KID"]


def test_enough_pictures_are_not_warned_of(rng):
    enough = Protocol("enough", "", ("IS", "FID", "KID", "precision"), is_count=5000, splits=5,
                      kid_subsets=2)
    real, fake = rng.standard_normal((2, 5000, 3))
    assert set(cautions(enough, (real, fake, lambda x: x)).values()) == {""}


def test_missing_classes_and_other_rounding_are_warned_of(sets):
    labels = np.arange(50) % 10
    said = cautions(SMALL, sets, pixels="round", real_labels=labels, fake_labels=np.arange(60) % 8)
    assert "no fake of class 8, 9" in said["FID"]
    assert "pixels 'truncate', these are 'round'" in said["IS"]


def test_unequal_numbers_are_warned_of_where_they_matter(sets):
    assert "50 real and 40 fake" in cautions(SMALL, sets)["coverage"]


# ---- how they came about --------------------------------------------------------------------------------------------

def test_inception_scores_compare_whatever_the_real_pictures(sets):
    _, fake, logits = sets
    one, other = (measure(SMALL, Inputs(fake=fake, logits=logits), dataclasses.replace(ORIGINAL, data=data), ["IS"])[0]
                  for data in ("cifar10", "cifar10 test"))
    assert comparable(one, other) == ""


def test_a_score_tells_which_extractor_made_the_features(sets):
    extractor = SimpleNamespace(name="inception-2015-12-05", digest="ef", resize="tf")
    origin = Origin.of(extractor, seed=4, data="digits", pixels="truncate")
    (score,) = measure(SMALL, Inputs(*sets), origin, ["FID"])
    assert (score.network, score.weights, score.resize, score.pixels, score.data, score.seed) == (
        "inception-2015-12-05", "ef", "tf", "truncate", "digits", 4)
    assert Origin.of(None, seed=4) == Origin(4)
