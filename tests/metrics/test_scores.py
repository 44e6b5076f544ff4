"""IS, KID, intra-FID and the discriminator's numbers against closed forms and other packages (golden_scores.py)."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import golden_scores
import numpy as np
import pytest

from minigan.engine import thread_pool
from minigan.errors import FailedWork, WrongUse
from minigan.metrics import scores
from minigan.metrics.frechet import distance
from minigan.metrics.scores import discriminator_accuracy, held_out_gap, inception_score, intra_fid, kid

GOLDEN = json.loads(golden_scores.FILE.read_text())


def softmax(x):
    p = np.exp(x - x.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def score_of(p):
    """The definition, of probabilities that may not add up to 1."""
    return np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())


# ---- the Inception score --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shuffle", [None, 2020])
def test_inception_score_is_torch_fidelitys(shuffle):
    assert inception_score(golden_scores.logits(), 10, shuffle=shuffle) == pytest.approx(
        GOLDEN["IS"][str(bool(shuffle))], rel=1e-12)


@pytest.mark.parametrize("K", [2, 10, 1008])
def test_no_opinion_has_1_and_certainty_in_all_classes_has_as_many(K):
    assert inception_score(np.zeros((3 * K, K)), 1) == pytest.approx((1, 0), rel=1e-12)
    certain = np.where(np.eye(K) > 0, 0, -np.inf)
    assert inception_score(np.repeat(certain, 3, 0), 1) == pytest.approx((K, 0), rel=1e-12)
    assert inception_score(np.repeat(1e5 * np.eye(K), 3, 0), 1) == pytest.approx((K, 0), rel=1e-12)


def test_splits_are_neighbours_and_cover_all(rng):
    x = rng.standard_normal((47, 6))
    parts = [score_of(softmax(x[i * 47 // 5:(i + 1) * 47 // 5])) for i in range(5)]
    assert inception_score(x, 5) == pytest.approx((np.mean(parts), np.std(parts)), rel=1e-12)
    assert inception_score(x + rng.standard_normal((47, 1)) * 100, 5) == pytest.approx(inception_score(x, 5), rel=1e-10)


def test_probabilities_are_as_good_as_logits(rng):
    x = rng.standard_normal((40, 6))
    assert inception_score(np.log(softmax(x))) == pytest.approx(inception_score(x), rel=1e-12)


def test_variants_take_the_columns_of_their_programs(rng):
    x = 2 * rng.standard_normal((60, 1008))
    p = softmax(x)
    for name in ("unbiased", "biased"):  # they differ in what they are given
        assert inception_score(x, 1, name)[0] == pytest.approx(score_of(p), rel=1e-12)
    assert inception_score(x, 1, "chainer")[0] == pytest.approx(score_of(p[:, 1:1001]), rel=1e-12)
    assert inception_score(x, 1, "bsn")[0] == pytest.approx(score_of(softmax(x[:, :1000])), rel=1e-12)
    assert [name for name, way in scores.LOGITS.items() if not way.biased] == ["unbiased"]


def test_unfit_logits_are_refused(rng):
    x = rng.standard_normal((20, 6))
    for call in (lambda: inception_score(x, 21), lambda: inception_score(x, 0), lambda: inception_score(x[0], 1),
                 lambda: inception_score(x, 1, "tf")):
        with pytest.raises(WrongUse):
            call()
    x[3, 3] = np.nan
    with pytest.raises(FailedWork, match="not finite"):
        inception_score(x, 1)


# ---- KID ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", golden_scores.cases())
def test_kid_is_torch_fidelitys_with_its_subsets(name):
    real, fake = golden_scores.cases()[name]
    assert kid(real, fake, 20, 25) == pytest.approx(GOLDEN["KID"][name], rel=1e-11, abs=1e-14)


def test_kid_of_two_and_two_pictures_is_the_sum_written_out():
    real, fake = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 1.0], [1.0, 1.0]])

    def k(a, b):
        return (sum(x * y for x, y in zip(a, b, strict=True)) / 2 + 1) ** 3

    expected = k(*real) + k(*fake) - 2 * sum(k(a, b) for a in real for b in fake) / 4
    assert kid(real, fake, 1, 2)[0] == pytest.approx(expected, rel=1e-12)


def test_kid_is_unbiased(rng):
    # standard normal and shifted by m in d dimensions. With s = <x, y> / d: E (s + 1)^3 = 1 + 3 E s + 3 E s^2 + E s^3
    d, m, n = 3, 0.8, 6

    def mean_kernel(a, b):  # of x ~ N(a 1, I), y ~ N(b 1, I): coordinates' products have these moments
        one, two, three = a * b, (a * a + 1) * (b * b + 1), (a ** 3 + 3 * a) * (b ** 3 + 3 * b)
        s1 = one
        s2 = (two + (d - 1) * one ** 2) / d
        s3 = (three + 3 * (d - 1) * two * one + (d - 1) * (d - 2) * one ** 3) / d ** 2
        return 1 + 3 * s1 + 3 * s2 + s3

    expected = mean_kernel(0, 0) + mean_kernel(m, m) - 2 * mean_kernel(0, m)
    draws = np.array([scores._mmd(*(rng.standard_normal((2, n, d)) + [[[0]], [[m]]])) for _ in range(4000)])
    assert abs(draws.mean() - expected) < 4 * draws.std() / np.sqrt(len(draws))


def test_threads_change_no_byte(rng):
    real, fake = rng.standard_normal((2, 300, 20))
    before = thread_pool.thread_count()
    try:
        found = []
        for count in (1, 2):
            thread_pool.set_threads(count)
            found.append(kid(real, fake, 9, 100))
    finally:
        thread_pool.set_threads(before)
    assert found[0] == found[1]


def test_unfit_features_are_refused(rng):
    x = rng.standard_normal((20, 4))
    for call in (lambda: kid(x, x, 5, 21), lambda: kid(x, x, 5, 1), lambda: kid(x, x[:, :3], 5, 5),
                 lambda: kid(x[0], x, 5, 5)):
        with pytest.raises(WrongUse, match="KID"):
            call()


# ---- intra-FID ------------------------------------------------------------------------------------------------------

def test_intra_fid_is_the_distance_of_each_class(rng):
    real, fake = rng.standard_normal((60, 3)), rng.standard_normal((80, 3)) + 1
    a, b = rng.permutation(np.repeat([0, 2, 5], 20)), rng.permutation(np.repeat([0, 2, 5, 7], 20))
    found = intra_fid(real, a, fake, b)
    assert found == {c: distance(real[a == c], fake[b == c]) for c in (0, 2, 5)}


def test_a_generator_that_mixes_up_classes_has_a_good_fid_and_a_bad_intra_fid(rng):
    labels = np.repeat([0, 1], 200)
    real = rng.standard_normal((400, 2)) + 5 * labels[:, None]
    fake = rng.standard_normal((400, 2)) + 5 * (1 - labels[:, None])
    assert distance(real, fake) < 0.2
    assert min(intra_fid(real, labels, fake, labels).values()) == pytest.approx(50, rel=0.1)


def test_a_missing_class_is_named(rng):
    x = rng.standard_normal((20, 2))
    with pytest.raises(WrongUse, match="class 4"):
        intra_fid(x, np.repeat([1, 4], 10), x, np.repeat([1, 2], 10))


# ---- the discriminator ----------------------------------------------------------------------------------------------

def test_accuracy_is_the_mean_of_both_kinds():
    assert discriminator_accuracy(np.array([1.0, 2.0, -1.0, 3.0]), np.array([[-1.0], [2.0]])) == (3 / 4 + 1 / 2) / 2
    assert discriminator_accuracy(np.ones(9), -np.ones(4)) == 1
    for same in (-3.0, 0.0, 3.0):  # it cannot tell
        assert discriminator_accuracy(np.full(7, same), np.full(70, same)) == 0.5


def test_the_gap_is_the_difference_of_the_critics_losses(rng):
    train, held_out, fake = rng.standard_normal(50) + 3, rng.standard_normal((20, 1)), rng.standard_normal(30)
    gap, error = held_out_gap(train, held_out)
    assert gap == pytest.approx((fake.mean() - held_out.mean()) - (fake.mean() - train.mean()), rel=1e-12)
    assert error == pytest.approx(np.sqrt(train.var(ddof=1) / 50 + held_out.var(ddof=1) / 20), rel=1e-12)
    with pytest.raises(WrongUse):
        held_out_gap(train, held_out[:1])


# ---- the golden file ------------------------------------------------------------------------------------------------

def test_the_packages_still_give_the_golden_values():
    """Where they are installed."""
    for package in ("torch", "torch_fidelity", "pytorch_fid", "pytorch_msssim", "prdc", "scipy", "tqdm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    script = Path(golden_scores.__file__)
    run = subprocess.run([sys.executable, str(script), "--print"], capture_output=True, text=True, check=True)
    now = json.loads(run.stdout[run.stdout.index("{\n"):])

    def flat(x):
        parts = x.values() if isinstance(x, dict) else x
        return [x] if isinstance(x, float) else [number for part in parts for number in flat(part)]

    assert flat(now) == pytest.approx(flat(GOLDEN), rel=1e-6, abs=1e-9)
