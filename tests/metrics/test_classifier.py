"""The small classifier: it learns, keeps its promises about seeds, and its file is data that is doubted."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from minigan.cli import main
from minigan.data import datasets, drawings
from minigan.data.dataset import Dataset
from minigan.errors import FailedWork, WrongUse
from minigan.formats import hdf5_state
from minigan.metrics import classifier


def drawn(n: int, split: str) -> Dataset:
    images, labels = drawings.draw(n, 16, 3, split)
    return Dataset(images, labels, drawings.CLASSES, "drawn for a test")


@pytest.fixture(autouse=True)
def few(monkeypatch, tmp_path):
    """shapes, but 400 small ones to train and 100 to test; an empty cache folder."""
    load = datasets.load

    def loaded(name, **options):
        if name != "shapes":
            return load(name, **options)
        return drawn(*{"train": (400, "train"), "test": (100, "test")}[options.get("split") or "train"])
    monkeypatch.setattr(datasets, "load", loaded)
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trained() -> classifier.Classifier:
    """One that was trained on 16 x 16 drawings for two short epochs."""
    def loaded(name, split, **_):
        return drawn(1600 if split == "train" else 300, split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", loaded)
        return classifier.train("shapes", size=16, epochs=2, batch_size=50)


def test_it_learns_to_tell_drawings_it_has_not_seen(trained):
    images, labels = drawings.draw(200, 16, 99, "test")
    said = trained.logits(trained.features(images)).argmax(1)
    assert (said == labels).mean() > 0.9  # chance is 0.1
    assert trained.accuracy > 0.9
    shuffled = np.random.default_rng(0).permutation(labels)
    assert (said == shuffled).mean() < 0.3


def test_its_accuracy_is_the_share_of_right_answers(trained):
    data = drawn(70, "test")
    said = trained.logits(trained.features(data.images)).argmax(1)
    assert classifier.accuracy_of(trained.body, trained.head, data.images, data.labels) == (said == data.labels).mean()


def test_features_are_those_before_the_last_layer(trained):
    images, _ = drawings.draw(5, 16, 1, "test")
    found = trained.features(images)
    assert found.shape == (5, 128) and found.dtype == np.float32 and found.min() >= 0 and found.max() > 0
    W, b = (trained.head.parameters()[f"logits/{name}"].data for name in "Wb")
    assert np.allclose(trained.logits(found), found @ W.T + b, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path):
    for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 2)):
        assert main.run(["classifier", "train", "shapes", "--size", "16", "--epochs", "1", "--batch-size", "100", "-q",
                        "--seed", str(seed), "--threads", str(threads), "--out", str(tmp_path / f"{name}.h5")]) == 0
    a, b, c = ((tmp_path / f"{name}.h5").read_bytes() for name in "abc")
    assert a == b != c
    assert len({classifier.load(tmp_path / f"{name}.h5").digest for name in "abc"}) == 2


def test_the_first_features_of_a_process_have_the_bytes_of_later_ones(tmp_path):
    words = ("import numpy as np; from minigan.metrics import classifier; rng = np.random.default_rng(0);"
             "body, head = classifier.make_network(rng, 32, 3, 4);"
             "c = classifier.Classifier(body, head, 'shapes', 32, 3, ('a', 'b', 'c', 'd'), 0.5, {}, '');"
             "images = rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8);"
             "assert c.features(images).tobytes() == c.features(images).tobytes()")
    subprocess.run([sys.executable, "-c", words], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"})


def test_a_file_gives_back_the_classifier(trained, tmp_path):
    classifier.save(tmp_path / "c.h5", trained)
    again = classifier.load(tmp_path / "c.h5")
    images, _ = drawings.draw(60, 16, 1, "test")
    assert np.array_equal(again.features(images), trained.features(images))
    assert (again.digest, again.classes, again.accuracy) == (trained.digest, trained.classes, trained.accuracy)


def test_the_digest_tells_weights_apart(trained, tmp_path):
    classifier.save(tmp_path / "c.h5", trained)
    state = hdf5_state.load(tmp_path / "c.h5")
    state["head"]["logits/b"][0] += np.float32(1e-3)
    hdf5_state.save(tmp_path / "d.h5", state)
    assert classifier.load(tmp_path / "d.h5").digest != trained.digest


@pytest.mark.parametrize("change", [
    {"format": "another"}, {"size": 1 << 30}, {"size": 64}, {"channels": 2}, {"classes": '["one"]'}, {"classes": "{"},
    {"classes": '["a\\u001b[2J", "b"]'}, {"dataset": "../x"}, {"accuracy": 2.0}, {"body": {}}, {"head": 3},
], ids=str)
def test_a_forged_file_is_refused_in_one_line(trained, tmp_path, change):
    classifier.save(tmp_path / "c.h5", trained)
    hdf5_state.save(tmp_path / "c.h5", hdf5_state.load(tmp_path / "c.h5") | change)
    with pytest.raises(FailedWork, match="c.h5"):
        classifier.load(tmp_path / "c.h5")


def test_grey_pictures_and_other_sizes_are_brought_to_its_own(trained):
    grey = np.arange(2 * 20 * 20, dtype=np.int64).reshape(2, 20, 20, 1).astype(np.uint8)
    assert trained.prepared(grey).shape == (2, 16, 16, 3)
    assert np.array_equal(trained.prepared(grey)[..., 0], trained.prepared(grey)[..., 2])


def test_colours_are_not_shown_to_a_classifier_of_grey_pictures():
    body, head = classifier.make_network(np.random.default_rng(0), 28, 1, 10)
    mnist = classifier.Classifier(body, head, "mnist", 28, 1, tuple("0123456789"), 0.5, {}, "0")
    with pytest.raises(WrongUse, match="grey images, these have colours"):
        mnist.features(np.zeros((1, 28, 28, 3), np.uint8))


@pytest.mark.parametrize("dataset", ["folder", "packed", "celeba", "imagenet", "kmnist"])
def test_without_labels_a_test_split_and_memory_there_is_nothing_to_train(dataset, capsys):
    assert main.run(["classifier", "train", dataset]) == 2
    assert capsys.readouterr().err.endswith("it needs labels and a test split; choose from: cifar10, cifar100, "
                                            "fashion-mnist, mnist, shapes, stl10, svhn\n")


def test_a_missing_classifier_names_the_command_that_trains_it():
    with pytest.raises(WrongUse, match=r"minigan classifier train fashion-mnist$"):
        classifier.find("fashion-mnist", 28)
    with pytest.raises(WrongUse, match=r"minigan classifier train shapes --size 64$"):
        classifier.find("shapes", 64)
    with pytest.raises(WrongUse, match="--weights"):
        classifier.find("folder", 32)


def test_the_command_says_the_accuracy_as_it_goes_and_where_the_file_is(capsys):
    assert main.run(["classifier", "train", "shapes", "--size", "16", "--epochs", "2", "--batch-size", "100"]) == 0
    out, error = capsys.readouterr()
    assert "after 4 of 8 batches: " in error and "after 8 of 8 batches: " in error and "% of the test images" in error
    path = classifier.place("shapes", 16)
    assert path.is_file() and str(path) in out and classifier.load(path).digest[:12] in out
    assert main.run(["classifier", "show"]) == 0
    assert capsys.readouterr().out == out


# ---- stopped, and gone on with -------------------------------------------------------------------------------------

WORDS = ["classifier", "train", "shapes", "--size", "16", "--epochs", "2", "--batch-size", "100", "-q"]  # 8 batches


@pytest.mark.parametrize(("batches", "signum", "code"), [((3,), signal.SIGINT, 130), ((4, 6), signal.SIGTERM, 143)])
def test_a_stopped_training_goes_on_to_the_same_bytes(batches, signum, code, tmp_path, monkeypatch, capsys):
    assert main.run([*WORDS, "--out", str(tmp_path / "whole.h5")]) == 0
    step = classifier.Adam.step
    for batch in batches:
        def stopped(self, gradients, rate, batch=batch):
            step(self, gradients, rate)
            if self.steps == batch:
                os.kill(os.getpid(), signum)

        with monkeypatch.context() as patch:
            patch.setattr(classifier.Adam, "step", stopped)
            assert main.run([*WORDS, "--out", str(tmp_path / "c.h5")]) == code
        assert capsys.readouterr().err.endswith("minigan: stopped, saved; the same command goes on\n")
    assert main.run([*WORDS, "--out", str(tmp_path / "c.h5")]) == 0
    error = capsys.readouterr().err
    assert f"going on from {tmp_path / 'c.h5.training'}: {batches[-1]} batches done" in error
    assert (tmp_path / "c.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.h5", "whole.h5"]


def test_a_killed_training_goes_on_from_its_last_epoch_and_one_of_other_options_begins_anew(tmp_path, capsys):
    kept, options = tmp_path / "c.training", {"size": 16, "epochs": 2, "batch_size": 100}
    whole = classifier.train("shapes", **options)

    def killed(done, total, numbers):
        if done > 4 or "accuracy" in numbers and done == 8:
            raise MemoryError
    with pytest.raises(MemoryError):
        classifier.train("shapes", **options, kept=kept, progress=killed)
    assert classifier.train("shapes", **options, kept=kept).digest == whole.digest
    assert "4 batches done" in capsys.readouterr().err
    assert classifier.train("shapes", **options, kept=kept).digest == whole.digest  # killed before it was saved
    kept.unlink()
    assert classifier.train("shapes", **options, kept=kept, stop=lambda: True) is None
    classifier.train("shapes", **options | {"seed": 1}, kept=kept)
    assert "beginning anew" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(classifier, "train", None)
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "file"))
    assert main.run(WORDS) == 1
    said = capsys.readouterr().err
    assert "shapes-16.h5 cannot be written (Not a directory); choose another place with --out, or another cache" in said
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    assert main.run([*WORDS, "--out", str(tmp_path / "file" / "c.h5")]) == 1


@pytest.mark.parametrize("size", [0, 7, 1025])
def test_a_size_that_could_not_be_read_back_is_refused(size, capsys):
    assert main.run(["classifier", "train", "shapes", "--size", str(size)]) == 2
    assert capsys.readouterr().err == f"minigan: --size: expected 8 to 1,024, got {size}\n"


def test_what_is_done_already_is_no_speed(tmp_path, monkeypatch, capsys):
    """A training that goes on does not count the batches before as if they were done in no time."""
    kept = tmp_path / "c.h5.training"
    asked = iter([False] * 4)
    assert classifier.train("shapes", size=16, epochs=2, batch_size=100, kept=kept,
                            stop=lambda: next(asked, True)) is None
    assert main.run([*WORDS[:-1], "--out", str(tmp_path / "c.h5")]) == 0
    first = next(line for line in capsys.readouterr().err.splitlines() if "/8" in line)
    assert "it/s" not in first
