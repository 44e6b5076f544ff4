"""minigan.fid and its like: other programs' numbers, the command's, and the same from every kind of input."""

import json
import zipfile
from pathlib import Path

import golden_scores
import numpy as np
import pytest
from PIL import Image
from scored import SMALL, few_drawings, said

import minigan
from minigan.cli import main
from minigan.data import datasets
from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import FailedWork, WrongUse
from minigan.formats import image_files
from minigan.metrics import classifier, features, frechet, stored_scores

linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed")

GOLDEN = json.loads(golden_scores.FILE.read_text())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder with a classifier."""
    folder = tmp_path_factory.mktemp("cache")
    with few_drawings(folder):
        classifier.save(classifier.place("shapes", 16), classifier.train("shapes", size=16, epochs=1, batch_size=50))
    return folder


@pytest.fixture(autouse=True)
def few(cache):
    with few_drawings(cache):
        yield


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with few_drawings(cache):
        assert main.run(["train", "shapes", *SMALL, "--iterations", "3", "--out", str(out), "-q"]) == 0
    return out


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)


def colours(images: np.ndarray) -> np.ndarray:
    """Features, (n, 6): mean and spread of each colour."""
    return np.concatenate([images.mean((1, 2)), images.std((1, 2))], 1)


def numbered(rows: np.ndarray) -> np.ndarray:
    """An image for each row, grey, that says which it is."""
    n = np.arange(len(rows))
    return np.stack([n // 256, n % 256], 1).astype(np.uint8)[:, None, :].repeat(2, 1).repeat(4, 2).repeat(4, 1)


def looked_up(real: np.ndarray, fake: np.ndarray):
    """Images (real, fake) and a function that gives these features of them."""
    both = numbered(np.concatenate([real, fake]))
    table = np.concatenate([real, fake])
    return both[:len(real)], both[len(real):], lambda images: table[
        256 * images[:, 0, 0, 0].astype(int) + images[:, 0, -1, 0]]


# ---- other programs' numbers ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", GOLDEN["FID"])
def test_fid_is_torch_fidelitys_and_scipys(name):
    one, two = golden_scores.cases()[name]
    real, fake, function = looked_up(one, two)
    found = minigan.fid(fake, real, weights=function, quiet=True)
    # features become float32
    assert found == pytest.approx(GOLDEN["FID"][name][0], rel=1e-4, abs=1e-6) and isinstance(found, float)
    if name == "full rank":
        (m, c), (n, d) = ((x.mean(0), np.cov(x.T)) for x in (one, two))
        root = linalg.sqrtm(c @ d).real
        expected = ((m - n) ** 2).sum() + np.trace(c + d - 2 * root)
        assert minigan.fid((n, d), (m, c), quiet=True) == pytest.approx(expected, rel=1e-9)
        assert minigan.fid((n, d), real, weights=function, quiet=True) == pytest.approx(expected, rel=1e-4)


def test_inception_score_is_torch_fidelitys():
    logits = golden_scores.logits()
    images, _, function = looked_up(logits, logits)
    found = minigan.inception_score(images, weights=function, quiet=True)
    assert (found.mean, found.std) == pytest.approx(GOLDEN["IS"]["True"], rel=1e-5)


@pytest.mark.parametrize("name", GOLDEN["precision, recall"])
def test_precision_and_recall_are_torch_fidelitys(name):
    one, two = golden_scores.cases()[name]
    real, fake, function = looked_up(one, two)
    found = minigan.precision_recall(fake, real, weights=function, quiet=True)
    assert (found.precision, found.recall) == pytest.approx(GOLDEN["precision, recall"][name], rel=1e-6)


def test_kid_is_that_of_its_subsets_written_out(rng):
    real, fake = rng.normal(size=(20, 5)), rng.normal(1, 1, (20, 5))
    found = minigan.kid(*looked_up(real, fake)[1::-1], count=20, weights=looked_up(real, fake)[2], quiet=True)

    def mmd(x: np.ndarray, y: np.ndarray) -> float:
        def kernel(a, b):
            return (a @ b.T / 5 + 1) ** 3
        n = len(x)
        return sum((kernel(a, a).sum() - np.trace(kernel(a, a))) / (n * (n - 1)) for a in (x, y)) - 2 * kernel(
            x, y).mean()
    draws = np.random.RandomState(2020)
    pairs = [[x[draws.choice(20, 10, replace=False)] for x in (fake, real)] for _ in range(100)]
    each = [mmd(*pair) for pair in pairs]
    assert (found.mean, found.std) == pytest.approx((np.mean(each), np.std(each)), rel=1e-4)


# ---- the command's numbers ------------------------------------------------------------------------------------------

def test_numbers_are_those_of_the_command(images, cache, run, tmp_path, capsys, rng):
    weights = cache / "classifiers" / "shapes-16.h5"
    how = {"protocol": "classifier", "count": 60, "weights": str(weights), "quiet": True}
    image_files.save_npz(tmp_path / "a.npz", images)
    for a, b in (("a.npz", "shapes:test"), (run, "shapes"), (run, "a.npz")):
        a, b = (str(tmp_path / x) if str(x).endswith(".npz") else str(x) for x in (a, b))
        out = tmp_path / "a.json"
        out.unlink(missing_ok=True)
        said(["score", a, b, "--protocol", "classifier", "--count", 60, "--weights", weights, "-q", "--out", out],
             capsys)
        expected = {one.score.name: one.score for one in stored_scores.read(out)}
        assert minigan.score(a, b, **how) == expected
        near = {name: pytest.approx(one.value, rel=1e-9) for name, one in expected.items()}
        assert minigan.fid(a, b, **how) == near["FID"]
        assert minigan.inception_score(a, **how) == (near["IS"], pytest.approx(expected["IS"].spread))
        assert minigan.kid(a, b, **how) == (near["KID"], pytest.approx(expected["KID"].spread))
        assert minigan.precision_recall(a, b, **how) == (near["precision"], near["recall"])
    assert capsys.readouterr() == ("", "")


def test_a_run_is_compared_with_its_own_images_and_keeps_its_scores(run, capsys):
    store, own = run / "scores.json", minigan.load(run)
    store.unlink(missing_ok=True)
    said(["score", run, "--count", 60, "-q"], capsys)
    expected = {one.score.name: one.score for one in stored_scores.read(store)}
    before = store.read_bytes()
    assert "accuracy of D" in expected
    assert minigan.fid(own, count=60, quiet=True) == pytest.approx(expected["FID"].value, rel=1e-9)
    assert minigan.inception_score(run, count=60, quiet=True).mean == pytest.approx(expected["IS"].value, rel=1e-9)
    by_function = minigan.score(own, weights=colours, count=60, quiet=True)
    assert own.score(weights=colours, count=60, quiet=True) == {name: one.value for name, one in by_function.items()}
    assert store.read_bytes() == before  # of single scores, and of a function's, nothing is kept
    store.unlink()
    assert minigan.score(own, count=60, quiet=True) == expected
    assert store.read_bytes() == before


# ---- every kind of input --------------------------------------------------------------------------------------------

STATISTICS = {"file of statistics", "pair", "Statistics"}
KINDS = ["array", "floats", "list", "folder", "text", "zip", "npz", "packed", "Run", "run", "sample", "data set",
         "file of statistics", "pair", "Statistics"]


@pytest.fixture
def kinds(images, run, tmp_path):
    """Name -> (an input, its images)."""
    (tmp_path / "images").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "images" / f"{i:03}.png")
            archive.write(tmp_path / "images" / f"{i:03}.png", f"{i:03}.png")
    image_files.save_npz(tmp_path / "a.npz", images)
    assert main.run(["pack", "folder", str(tmp_path / "a.h5"), "--data-root", str(tmp_path / "images"), "--size", "16",
                     "-q"]) == 0
    known = frechet.statistics(colours(images).astype(np.float32))
    frechet.write(tmp_path / "s.npz", known)
    other = minigan.load(run)
    drawn = np.asarray(other.sample(60))
    return dict(zip(KINDS, (
        (images, images), (images / 127.5 - 1, images), (list(images), images), (tmp_path / "images", images),
        (str(tmp_path / "images"), images), (tmp_path / "a.zip", images), (str(tmp_path / "a.npz"), images),
        (tmp_path / "a.h5", images), (other, drawn), (str(run), drawn), (other.sample(60), drawn),
        ("shapes:test", datasets.load("shapes", size=16, split="test").images), (tmp_path / "s.npz", images),
        ((known.mean, known.covariance), images), (known, images)), strict=True))


@pytest.mark.parametrize("two", KINDS)
def test_any_two_inputs_are_compared(two, kinds):
    assert list(kinds) == KINDS
    b, real = kinds[two]
    real = real[np.sort(np.random.RandomState(2020).choice(len(real), 60, replace=False))]  # of 60 all
    for one, (a, fake) in kinds.items():
        given = {"range": (-1, 1)} if "floats" in (one, two) else {}
        size = {"size": 16} if "data set" in (one, two) else {}
        found = minigan.fid(a, b, weights=colours, count=60, quiet=True, **given, **size) if (
            {one, two} - STATISTICS) else minigan.fid(a, b, quiet=True)
        assert found == pytest.approx(frechet.distance(colours(real), colours(fake[:60])), rel=1e-4, abs=1e-5), one


def test_statistics_are_of_any_number_of_images(images):
    few = frechet.statistics(colours(images[:40]))
    expected = frechet.distance(few, colours(images[:50]))
    assert minigan.fid(images, few, count=50, weights=colours, quiet=True) == pytest.approx(expected, rel=1e-5)
    rows = np.sort(np.random.RandomState(2020).choice(60, 50, replace=False))
    expected = frechet.distance(few, colours(images[rows]))
    assert minigan.fid(few, images, count=50, weights=colours, quiet=True) == pytest.approx(expected, rel=1e-5)


def test_an_array_is_bytes_or_has_a_range_each_for_itself(images):
    floats = images / 127.5 - 1
    assert minigan.fid(floats, images, range=(-1, 1), weights=colours, quiet=True) == pytest.approx(0, abs=1e-6)
    assert minigan.fid(images.astype(np.int64), floats, range=(-1, 1), weights=colours, quiet=True) == pytest.approx(
        0, abs=1e-6)
    black = (images > 127).astype(np.uint8)  # 0 and 1
    assert minigan.fid(black, 255 * black, range=(0, 1), weights=colours, quiet=True) == pytest.approx(0, abs=1e-6)


def test_networks_of_ones_own_make_a_side(images):
    weights = {"W": Tensor(np.random.default_rng(0).normal(size=(8, 768)).astype(np.float32), requires_grad=True)}

    def generator(p, z):
        return ops.tanh(z @ p["W"]).reshape(-1, 16, 16, 3)
    with_own = minigan.train(images, generator=(generator, weights), width=0.05, dim_z=8, batch_size=4, iterations=1,
                             quiet=True)
    found = minigan.fid(with_own, images, count=60, weights=colours, quiet=True)
    assert found == pytest.approx(frechet.distance(colours(images), colours(np.asarray(with_own.sample(60)))), rel=1e-4)


# ---- what is said ---------------------------------------------------------------------------------------------------

def test_remarks_are_said_in_pythons_words_and_not_when_quiet(images, cache, capsys):
    minigan.fid("shapes:test", images, weights=cache / "classifiers" / "shapes-16.h5", count=60)
    said = capsys.readouterr()
    assert "protocol classifier (Inception knows no shapes); protocol= chooses another\n" in said.err
    assert "fakes: the first 60 of " in said.err and "in the order of their classes" in said.err
    minigan.fid(images, images, weights=colours)
    assert "fakes: the first" not in capsys.readouterr().err
    assert "FID: 60 fake images" in said.err and said.out == "" and "--" not in said.err
    minigan.fid("shapes:test", images, weights=cache / "classifiers" / "shapes-16.h5", count=60, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_scores_show_themselves_with_what_they_depend_on(images):
    found = minigan.score(images, images[::-1], weights=colours, count=60, quiet=True)
    assert repr(found["precision"]).startswith("<precision 1: function at 60 pictures: 60 real (array ")
    assert list(found) == ["FID", "KID", "precision", "recall", "density", "coverage", "MS-SSIM"]


@pytest.mark.parametrize(("call", "says"), [
    (lambda x: minigan.fid(x), "fid: with which real images shall these be compared? Write minigan.fid(fakes, real)"),
    (lambda x: minigan.score(x), "Write minigan.score(fakes, real)"),
    (lambda x: minigan.fid(x, "nothing"), "nothing: no such file or folder; expected a run's folder"),
    (lambda x: minigan.fid(x, Path("shapes")), "shapes: no such file or folder"),
    (lambda x: minigan.fid(x, x / 255), "real: float64 numbers from 0 to 1; say which numbers are black and white"),
    (lambda x: minigan.fid(x.transpose(0, 3, 1, 2), x), "(N, C, H, W); write fakes.transpose(0, 2, 3, 1)"),
    (lambda x: minigan.fid(None, x), "fakes: got None; expected an array of images"),
    (lambda x: minigan.fid(x, {"a": x}), "real: got {'a': array([[[["),
    (lambda x: minigan.fid(x, colours), "real: got <function colours"),
    (lambda x: minigan.fid(x[:1], x, weights=colours), "there is 1 fake"),
    (lambda x: minigan.fid(x, x, range=(1, 0)), "range: expected black below white"),
    (lambda x: minigan.fid("shapes", "shapes:test", range=(0, 1)), "range: says what the numbers of an array mean"),
    (lambda x: minigan.fid(x, (np.zeros(3), np.eye(4))), "real: no statistics of features (shapes (3,) and (4, 4))"),
    (lambda x: minigan.fid(x, (np.zeros(2), -np.eye(2))), "sigma is no covariance"),
    (lambda x: minigan.fid(x, (np.zeros(3), np.eye(3)), weights=colours), "statistics are of 3 features, the network"),
    (lambda x: minigan.kid(x, (np.zeros(3), np.eye(3))), "more than FID needs; for KID give the images"),
    (lambda x: minigan.precision_recall((np.zeros(3), np.eye(3)), x), "for precision and recall give the images"),
    (lambda x: minigan.kid(x, x, weights=colours), "draws subsets of 1,000 images for KID, got 60 real and 60 fakes"),
    (lambda x: minigan.precision_recall(x, x), "takes 10,000 fakes, there are 60; count=60 shrinks it"),
    (lambda x: minigan.fid(x, x, protocol="fid"), "unknown protocol 'fid'; choose from"),
    (lambda x: minigan.kid(x, x, protocol="sn-gan"), "protocol sn-gan has no KID; those that have it: classifier"),
    (lambda x: minigan.fid(x, x, protocol="sn-gan", weights=colours), "with a function of your own leave it out"),
    (lambda x: minigan.fid(x, x, weights=3), "weights: expected a file, or a function of images, got 3"),
    (lambda x: minigan.fid(x, x, weights=lambda images: images), "gave uint8 (2, 16, 16, 3) for images"),
    (lambda x: minigan.fid(x, x, cuont=3), "fid has no cuont; did you mean count"),
    (lambda x: minigan.fid(x, x, data="shapes"), "fid has no data"),
    (lambda x: minigan.fid(x, x, count=1), "count: expected 2 to 1,000,000, got 1"),
    (lambda x: minigan.fid(x, x, count=2.5), "count: expected a whole number or None, got 2.5"),
    (lambda x: minigan.fid(x, x, device="gpu"), "unknown device 'gpu'; choose from: cpu, cuda"),
    (lambda x: minigan.fid(x, x, fit="whole"), "unknown fit 'whole'; choose from"),
    (lambda x: minigan.fid(x, x, best=True), "best is for runs"),
    (lambda x: minigan.kid(x, x, weights=colours, count=60, write_stats="a.npz"), "write_stats is for a protocol with"),
    (lambda x: minigan.fid(x, x, split="test"), "split test: real is an array of 60 images; leave it out"),
    (lambda x: minigan.fid(x, x[:, :10], weights=colours), "real images (array) are 16 x 10 pixels; expected squares"),
])
def test_wrong_use_is_one_sentence(images, call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifier.Classifier, "features", lambda *_: 1 / 0)
    monkeypatch.setattr(features.InceptionFeatures, "features", lambda *_: 1 / 0)
    with pytest.raises(WrongUse) as caught:
        call(images)
    line = str(caught.value)
    assert says in line and "\n" not in line and " --" not in line


def test_a_function_is_called_with_few_images_at_a_time(images):
    lengths = []

    def noted(images):
        lengths.append(len(images))
        return colours(images)
    minigan.fid(np.repeat(images, 5, 0), images, weights=noted, quiet=True)
    assert max(lengths) == 50 and sum(length for length in lengths if length > 2) == 6 * len(images)


def test_what_a_function_raises_comes_out_as_it_is(images):
    def broken(images):
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        minigan.fid(images, images, weights=broken)
    with pytest.raises(FailedWork, match="not finite"):
        minigan.fid(images, images, weights=lambda images: np.full((len(images), 2), np.nan))
