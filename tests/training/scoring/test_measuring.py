"""Measuring a subject by a protocol: statistics of real images in both directions, scores of each class."""

import dataclasses

import numpy as np
import pytest
from scored import SMALL, said

from minigan.cli import main
from minigan.data import datasets
from minigan.metrics import classifier, frechet, ms_ssim, protocols, stored_scores
from minigan.training import restore, sampling


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
    fake = sampling.draw(saved.gen, z, classes=10, labels=labels, rounding="truncate")
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
