"""A run's own discriminator: its accuracy and its gap by hand, and when it is not asked."""

import numpy as np
import pytest
from scored import SMALL, said

from minigan.cli import main
from minigan.data import datasets
from minigan.engine.autograd import Tensor
from minigan.metrics import stored_scores
from minigan.training import run_record
from minigan.training.opening import opened
from minigan.training.scoring import discriminator


def scores_of(path):
    return {one.score.name: one.score for one in stored_scores.read(path)}


def test_accuracy_and_gap_are_those_of_the_trained_discriminators_outputs(run, images, tmp_path, capsys):
    said(["score", run, "--count", 60, "--out", tmp_path / "a.json", "-q"], capsys)
    training, _ = opened(run_record.read(run), quiet=True)
    train, test = (datasets.load("shapes", size=16, split=split).images for split in ("train", "test"))
    real, held_out, fake = (training.dis(Tensor(x / np.float32(127.5) - 1), False).data
                            for x in (train, test, images[:60]))
    accuracy, gap = (scores_of(tmp_path / "a.json")[f"{name} of D"] for name in ("accuracy", "gap"))
    assert accuracy.value == pytest.approx(((real > 0).mean() + (fake <= 0).mean()) / 2)
    assert (accuracy.n_real, accuracy.n_fake, accuracy.data) == (300, 60, "shapes train")
    assert gap.value == pytest.approx(real.mean() - held_out.mean(), rel=1e-3, abs=1e-6)
    assert gap.spread == pytest.approx(np.sqrt(real.var(ddof=1) / 300 + held_out.var(ddof=1) / 300), rel=1e-3)


def test_score_and_diagnose_say_real_above_the_same_place(tmp_path, capsys, monkeypatch):
    """A discriminator that says 0.75 of each real image and 0.25 of each fake is right by LSGAN's targets, 1 and 0."""
    assert main.run(["train", "shapes", *SMALL, "--loss", "lsgan", "--norm", "none", "--iterations", "1", "--out",
                     str(tmp_path / "r"), "-q"]) == 0
    says = iter((0.75, 0.25, 0.75))  # of real, fake and test images
    monkeypatch.setattr(discriminator, "judge", lambda dis, x, *_, **__: np.full(len(x), next(says), np.float32))
    said(["score", tmp_path / "r", "--count", 60, "-q"], capsys)
    accuracy = scores_of(tmp_path / "r" / "scores.json")["accuracy of D"]
    assert (accuracy.value, accuracy.protocol) == (1.0, "discriminator, real above 0.5")


def test_a_critic_has_a_gap_and_no_accuracy(tmp_path, capsys):
    assert main.run(["train", "shapes", *SMALL, "--loss", "wasserstein", "--iterations", "1", "--out",
                     str(tmp_path / "r"), "-q"]) == 0
    said(["score", tmp_path / "r", "--count", 20, "-q"], capsys)
    found = scores_of(tmp_path / "r" / "scores.json")
    assert "gap of D" in found and "accuracy of D" not in found


def test_it_is_not_asked_on_other_data_than_it_was_trained_on(run, tmp_path, capsys, monkeypatch):
    load = datasets.load

    def other(name, **how):
        data = load(name, **how)
        data.images[0] ^= 1
        return data
    monkeypatch.setattr(datasets, "load", other)
    out, error = said(["score", run, "--count", 60, "--data", "shapes", "--out", tmp_path / "a.json", "-q"], capsys)
    assert "of D" not in out and "FID" in out
    assert "its discriminator is not asked: these are not the images that it was trained on" in error


def test_without_test_images_there_is_no_gap_and_no_refusal(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "find", lambda name, root=None, split=None: None if split == "test" else "here")
    out, error = said(["score", run, "--count", 60, "--out", tmp_path / "a.json", "-q"], capsys)
    assert "accuracy of D" in out and "gap of D" not in out
    assert "no gap of D: no test images of shapes are at hand" in error
