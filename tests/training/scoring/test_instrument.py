"""Which protocol and which network: what is missing is said with the way to get it."""

import dataclasses

import emulated_cupy
import emulator
import golden_inception
import numpy as np
import pytest
from scored import SMALL, said

from minigan.cli import main
from minigan.errors import WrongUse
from minigan.formats import image_files, safetensors
from minigan.metrics import features, inception_table, protocols, stored_scores
from minigan.metrics.inception_weights import KERAS, ORIGINAL, TORCHVISION
from minigan.metrics.stored_scores import comparable
from minigan.training.scoring import likeness
from minigan.training.scoring.given import Given
from minigan.training.scoring.instrument import protocol_for
from minigan.training.scoring.options import Asked
from minigan.training.scoring.score import score


@pytest.fixture
def narrow(monkeypatch, tmp_path):
    """Writes weights of a kind to a file, all kinds having 1/32 of their channels and images of 107 x 107 pixels."""
    for kind, settings in inception_table.KINDS.items():
        monkeypatch.setitem(inception_table.KINDS, kind, golden_inception.slim(settings, settings.classes // 100))
    monkeypatch.setattr(features.InceptionFeatures, "dimension", 64)

    def write(kind, last=True):
        tensors = golden_inception.seeded(inception_table.tensors(kind))
        path = tmp_path / f"{kind}{'' if last else '_notop'}.safetensors"
        safetensors.write(path, {name: np.asarray(array, np.float32) for name, array in tensors.items()
                                 if last or not name.startswith("fc.")}, {"kind": kind})
        return path
    return write


@pytest.fixture
def no_work(monkeypatch):
    """Fails if features of images are computed."""
    def refuse(*_):
        raise AssertionError("features were computed before the refusal")
    monkeypatch.setattr(features.InceptionFeatures, "features", refuse)


def names_of(path):
    return {one.score.name: one.score for one in stored_scores.read(path)}


def test_what_is_missing_is_said_with_the_way_to_get_it(run, images, tmp_path, capsys, monkeypatch):
    image_files.save_npz(tmp_path / "a.npz", images)
    assert "minigan score" in said(["score", tmp_path / "a.npz"], capsys, 2)[1]
    assert "--count 120 shrinks it" in said(["score", tmp_path / "a.npz", "--data", "shapes", "-q"], capsys, 2)[1]
    assert "unknown protocol" in said(["score", run, "--protocol", "x"], capsys, 2)[1]
    assert "expected a run's folder" in said(["score", tmp_path / "nothing"], capsys, 2)[1]
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "empty"))
    assert "minigan classifier train shapes --size 16" in said(["score", run, "--count", 60], capsys, 2)[1]


def test_inceptions_weights_are_told_from_a_classifiers(run, tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04")
    error = said(["score", run, "--weights", tmp_path / "w.pth", "--count", 60], capsys, 1)[1]
    assert "--protocol sn-gan" in error and error.count("\n") == 1


@pytest.mark.parametrize(("kind", "protocol"), [(KERAS, "keras"), (TORCHVISION, "torchvision")])
def test_other_inceptions_have_protocols_of_their_own(kind, protocol, narrow, run, tmp_path, capsys):
    out = tmp_path / "a.json"
    said(["score", run, "--protocol", protocol, "--weights", narrow(kind), "--count", 20, "--out", out, "-q"], capsys)
    found = names_of(out)
    assert {"IS", "FID", "KID"} <= found.keys() and found["FID"].network == kind
    other = dataclasses.replace(found["FID"], protocol="sn-gan at 20 pictures")
    assert "protocols" in comparable(found["FID"], other)


def test_the_protocol_is_that_of_the_weights_where_none_is_named(narrow, images, tmp_path, capsys):
    image_files.save_npz(tmp_path / "a.npz", images[:20])
    (tmp_path / "data").mkdir()
    image_files.save_singles(tmp_path / "data" / "b", images[20:40])
    words = ["score", tmp_path / "a.npz", "--data", "folder", "--data-root", tmp_path / "data", "--count", 20, "-q"]
    out, error = said([*words, "--weights", narrow(TORCHVISION)], capsys)
    assert "torchvision at 20 pictures" in out and "comparable with its own only" in error


def test_a_gpu_computes_blocks_ahead_and_comes_to_the_same_scores(narrow, rng, tmp_path, capsys, monkeypatch):
    """Emulated."""
    weights, found = narrow(TORCHVISION), {}
    for name in "ab":
        image_files.save_npz(tmp_path / f"{name}.npz", rng.integers(0, 256, (20, 16, 16, 3), np.uint8))
    with emulated_cupy.installed(), emulator.checking(False):
        for device in ("cpu", "cuda"):
            monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / device))  # each computes them
            with emulated_cupy.counted() as counts:
                said(["score", tmp_path / "a.npz", tmp_path / "b.npz", "--count", 20, "-q", "--weights", weights,
                      "--device", device, "--out", tmp_path / f"{device}.json"], capsys)
            assert counts.to_host_later == (2 if device == "cuda" else 0)  # a block of each
            found[device] = {name: one.value for name, one in names_of(tmp_path / f"{device}.json").items()}
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3) and found["cpu"]["FID"] > 0


def test_weights_that_the_protocol_does_not_take_are_refused_before_the_work(narrow, no_work, run, capsys):
    for kind, protocol, named in ((KERAS, "sn-gan", "keras"), (TORCHVISION, "ttur", "torchvision"),
                                  (ORIGINAL, "keras", "sn-gan|bssn|chainer-gan-lib")):
        error = said(["score", run, "--protocol", protocol, "--weights", narrow(kind), "--count", 20], capsys, 2)[1]
        assert error.count("\n") == 1 and f"--protocol {named}" in error
    assert "--weights FILE" in said(["score", run, "--protocol", "keras", "--count", 20], capsys, 2)[1]


def test_without_the_last_layer_fid_and_kid_are_measured(narrow, run, tmp_path, capsys):
    out = tmp_path / "a.json"
    error = said(["score", run, "--protocol", "keras", "--weights", narrow(KERAS, last=False), "--count", 20, "--out",
                  out, "-q"], capsys)[1]
    assert {"FID", "KID"} <= names_of(out).keys() and "IS" not in names_of(out)
    assert "no IS: the weights are without the last layer" in error


def test_a_curve_with_weights_that_its_protocol_does_not_take_is_refused_before_the_run(narrow, no_work, tmp_path,
                                                                                        capsys):
    error = said(["train", "shapes", *SMALL, "--score-every", 2, "--score", "sn-gan", "--score-count", 20,
                  "--score-weights", narrow(KERAS), "--out", tmp_path / "r"], capsys, 2)[1]
    assert "--protocol keras" in error and not (tmp_path / "r").exists()


def test_numbers_of_images_that_the_protocol_does_not_take_are_refused_before_the_work(narrow, no_work, images,
                                                                                       tmp_path, capsys, monkeypatch):
    image_files.save_npz(tmp_path / "a.npz", images)
    words = ["score", tmp_path / "a.npz", "--data", "shapes", "--weights", narrow(ORIGINAL), "--protocol"]
    error = said([*words, "torch-fidelity"], capsys, 2)[1]
    assert error.count("\n") == 1 and "subsets of 1,000 images for KID, got 300 real and 120 fakes" in error
    assert "--count 120" in error
    assert "needs at least 6" in said([*words, "neighbours", "--count", 5], capsys, 2)[1]
    known = tmp_path / "s.npz"
    np.savez(known, mu=np.zeros(7), sigma=np.eye(7))
    error = said([*words, "ttur", "--count", 20, "--stats", known], capsys, 2)[1]
    assert "the statistics are of 7 features, the network has 64" in error


def test_one_image_is_refused_before_the_work(narrow, no_work, images, tmp_path, capsys):
    image_files.save_npz(tmp_path / "a.npz", images[:1])
    words = ["score", tmp_path / "a.npz", "--weights", narrow(ORIGINAL), "--protocol", "ttur", "--count", 2, "--data"]
    error = said([*words, "shapes"], capsys, 2)[1]
    assert error.count("\n") == 1 and "at least 2" in error and "--count" not in error
    image_files.save_singles(tmp_path / "one", images[:1])
    image_files.save_npz(tmp_path / "a.npz", images[:2])
    error = said([*words, "folder", "--data-root", tmp_path / "one"], capsys, 2)[1]
    assert error.count("\n") == 1 and "at least 2" in error and "--count" not in error


def test_class_by_class_needs_labels_and_the_same_classes(narrow, no_work, images, tmp_path, capsys):
    assert main.run(["train", "shapes", *SMALL, "--condition", "projection", "--iterations", "1", "--out",
                     str(tmp_path / "r"), "-q"]) == 0
    image_files.save_singles(tmp_path / "one", images[:20])
    error = said(["score", tmp_path / "r", "--protocol", "intra-fid", "--count", 2, "--weights", narrow(ORIGINAL),
                  "--data", "folder", "--data-root", tmp_path / "one"], capsys, 2)[1]
    assert error.count("\n") == 1 and "the fakes are of 10 classes, folder train has images of 1" in error


def test_every_protocol_that_uses_inception_has_weights_of_some_kind():
    assert {p.weights for p in protocols.PROTOCOLS.values()} == {"", ORIGINAL, KERAS, TORCHVISION}


# ---- single scores ---------------------------------------------------------------------------------------------------

def test_single_scores_are_measured_by_the_protocol_that_has_them():
    for only, dataset, name in ((["FID"], "cifar10", "torch-fidelity"), (["IS"], None, "torch-fidelity"),
                                (["precision", "recall"], None, "neighbours"), (["KID"], "shapes", "classifier")):
        protocol, remarks = protocol_for(None, None, dataset, only=only)
        assert protocol.name.split()[0] == name and protocol.scores == tuple(only)
        assert f"protocol {name} (" in remarks[0]
    with pytest.raises(WrongUse, match="protocol ttur has no IS; those that have it: bssn"):
        protocol_for("ttur", None, None, only=["IS"])


def test_a_single_score_is_the_same_number_and_nothing_else_is_said(narrow, run, images, tmp_path, monkeypatch):
    other = images[::-1] // 2
    weights = narrow(ORIGINAL)
    given = Given("a", array=images[:20]), Given("b", array=other[:20])
    asked = Asked(weights=weights, quiet=True)
    whole = {one.name: one for one in score(given[0], dataclasses.replace(asked, protocol="torch-fidelity", count=20),
                                            given[1]).scores}
    for name in ("IS", "FID", "KID"):
        found = score(given[0], dataclasses.replace(asked, count=20), given[1], only=[name])
        assert [one.name for one in found.scores] == [name] and found.nearest is None
        assert found.scores[0].value == pytest.approx(whole[name].value, rel=1e-9)
        assert dataclasses.replace(found.scores[0], value=0, spread=0) == dataclasses.replace(
            whole[name], value=0, spread=0)
    monkeypatch.setattr(likeness, "looked_at", None)
    found = score(Given(str(run), run=run), Asked(count=60, quiet=True), only=["IS"])
    assert [one.name for one in found.scores] == ["IS"] and found.scores[0].network.startswith("classifier")


def test_a_runs_own_protocol_serves_the_scores_that_it_has(narrow, tmp_path):
    weights = narrow(ORIGINAL)
    assert main.run(["train", "shapes", *SMALL, "--iterations", "1", "--out", str(tmp_path / "run"), "-q",
                     "--score", "ttur", "--score-weights", str(weights)]) == 0
    a = Given("run", run=tmp_path / "run")
    for only, protocol in (("FID", "ttur at 20 pictures"), ("KID", "classifier at 20 pictures")):
        assert [one.protocol for one in score(a, Asked(count=20, quiet=True), only=[only]).scores] == [protocol]
