"""The table of protocols: what the sources say of counts, which real images are taken, and its own example."""

import textwrap

import numpy as np
import pytest

from minigan.errors import WrongUse
from minigan.metrics import protocols, scores
from minigan.metrics.protocols import NAMES, PROTOCOLS


def test_counts_are_those_of_the_sources():
    """As facts from the papers and programs, not from the table."""
    p = PROTOCOLS["sn-gan"]  # App. B.1: "5000 examples ... repeated 10 times", "over 10000 and 5000 samples"
    assert (p.is_count // p.splits, p.splits, p.real, p.fake) == (5000, 10, 10000, 5000)
    assert (p.logits, p.shuffle) == ("unbiased", None)
    p = PROTOCOLS["bssn"]  # App. H.2: "50000 fakes ... 10 sets", "5000 real images and 10000 fake"
    assert (p.is_count, p.splits, p.real, p.fake, p.biased) == (50000, 10, 5000, 10000, True)
    p = PROTOCOLS["report"]  # 4.1: "1024 fakes and 5 splits"
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
    with pytest.raises(WrongUse, match="takes 5,000 real images, the data have 4,999"):
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


class Means:
    """An extractor: the mean of each channel, and those as logits."""

    name, digest, resize, dimension = "means", "ab12", "none", 3

    def features(self, images):
        return images.mean((1, 2)).astype(np.float32)

    def logits(self, features, biased=False):
        return features


def test_the_example_of_the_docstring_runs(rng, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path))
    real, fake = rng.integers(0, 256, (2, 700, 4, 4, 3), np.uint8)
    _, lines = protocols.__doc__.split("\n\n", 1)
    example = textwrap.dedent(lines[:lines.index("\n\nreal and fake")])
    exec(example, {"real": real, "fake": fake, "extractor": Means()})
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == list(PROTOCOLS["classifier"].scores)
    assert "classifier at 500 pictures: 500 real (shapes train), 500 fake, means ab12" in said
