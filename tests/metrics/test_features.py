"""Extraction of features: what a classifier or Inception says of images, cached, resumed, doubted."""

import contextlib
import gc
import pickle
import weakref
from dataclasses import replace

import emulated_cupy
import golden_inception
import numpy as np
import pytest

from minigan.formats import hdf5_state
from minigan.metrics import classifier, features, frechet, inception
from minigan.metrics.inception_weights import Weights


class Sums:
    """An extractor whose features can be told in the head: sums of pixels, by row of the image."""

    name, digest, resize, dimension = "sums", "d" * 64, "", 4

    def __init__(self):
        self.seen: list[int] = []

    def features(self, images):
        self.seen.append(len(images))
        return images.sum((2, 3)).astype(np.float32)

    def logits(self, features, biased=False):
        return features[:, :2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "BLOCK", 3)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, (8, 4, 5, 3), dtype=np.uint8)


def truth(images) -> np.ndarray:
    return images.reshape(len(images), 4, -1).astype(np.float32).sum(2)


def test_features_are_those_of_the_pictures_and_computed_once(images):
    extractor = Sums()
    first = features.extract(extractor, features.of_images(images), quiet=True)
    assert np.array_equal(first, truth(images)) and first.dtype == np.float32
    assert extractor.seen == [3, 3, 2]  # bounded: a block at a time
    assert np.array_equal(features.extract(extractor, features.of_images(images), quiet=True), first)
    assert extractor.seen == [3, 3, 2]


def test_chosen_rows_are_their_own_pictures(images):
    rows = np.array([1, 4, 6, 7])
    found = features.extract(Sums(), features.of_images(images, rows), quiet=True)
    assert np.array_equal(found, truth(images)[rows])
    assert np.array_equal(features.extract(Sums(), features.of_images(images, np.arange(8)), quiet=True), truth(images))


def test_other_pictures_or_other_weights_have_another_place_in_the_cache(images):
    other = Sums()
    other.digest = "e" * 64
    one_pixel = images.copy()
    one_pixel[7, 3, 4, 2] ^= 1
    pictures, changed = features.of_images(images), features.of_images(one_pixel)
    places = {features.folder(Sums(), pictures), features.folder(other, pictures), features.folder(Sums(), changed),
              features.folder(Sums(), features.of_images(images, np.array([1, 2])))}
    assert len(places) == 4


def test_a_killed_extraction_goes_on_where_it_was(images):
    class Killed(Sums):
        def features(self, images):
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().features(images)

    with pytest.raises(KeyboardInterrupt):
        features.extract(Killed(), features.of_images(images), quiet=True)
    extractor = Sums()
    assert np.array_equal(features.extract(extractor, features.of_images(images), quiet=True), truth(images))
    assert extractor.seen == [2]


def test_a_broken_file_of_the_cache_is_made_anew(images, capsys):
    pictures, extractor = features.of_images(images), Sums()
    features.extract(extractor, pictures, quiet=True)
    first, second, third = sorted(features.folder(extractor, pictures).glob("*.h5"))
    first.write_bytes(first.read_bytes()[:100])  # cut off
    hdf5_state.save(second, hdf5_state.load(second) | {"start": 0})  # another block's, whole
    state = hdf5_state.load(third)
    hdf5_state.save(third, state | {"features": state["features"] * np.float32(np.nan)})
    extractor.seen.clear()
    assert np.array_equal(features.extract(extractor, pictures, quiet=True), truth(images))
    assert extractor.seen == [3, 3, 2] and capsys.readouterr().err.count("made anew") == 3


def test_statistics_are_those_of_the_features_and_kept(images):
    extractor = Sums()
    known = features.statistics(extractor, features.of_images(images), quiet=True)
    assert np.allclose(known.mean, truth(images).mean(0)) and known.count == 8
    assert np.allclose(known.covariance, np.cov(truth(images), rowvar=False))
    extractor.seen.clear()
    again = features.statistics(extractor, features.of_images(images), quiet=True)
    assert np.array_equal(again.covariance, known.covariance) and extractor.seen == []
    assert frechet.distance(known, truth(images)) < 1e-6 * known.covariance.trace()


def test_without_keep_nothing_is_written(images, tmp_path):
    features.extract(Sums(), features.of_images(images), quiet=True, keep=False)
    assert not (tmp_path / "cache").exists()


def test_a_progress_line_says_what_is_left_and_quiet_says_nothing(images, capsys):
    features.extract(Sums(), features.of_images(images))
    assert "features of 8 real images, sums" in capsys.readouterr().err
    features.extract(Sums(), features.of_images(images))  # cached
    features.extract(Sums(), features.of_images(images[:5]), quiet=True)
    assert capsys.readouterr().err == ""


def test_the_progress_line_moves_within_a_block_and_features_stay(images, monkeypatch):
    monkeypatch.setattr(features, "STEP", 2)
    heard = []
    monkeypatch.setattr(features.ProgressLine, "update", lambda self, done, **_: heard.append(done))
    found = features.extract(Sums(), features.of_images(images), quiet=True)
    assert heard == [2, 3, 5, 6, 8]  # blocks of 3
    assert np.array_equal(found, Sums().features(images))


def test_a_gpu_is_given_the_next_block_before_the_one_before_it_is_waited_for(images, narrow, monkeypatch):
    """Emulated. The features are those of a CPU."""
    weights = Weights(narrow, golden_inception.seeded(inception.tensors(narrow)), "", "", "d" * 64, "")
    expected = features.InceptionFeatures(weights).network.features(images)["2048"]
    monkeypatch.setattr(inception, "GROUP", 2)
    monkeypatch.setattr(features.InceptionFeatures, "dimension", expected.shape[1])
    with emulated_cupy.installed():
        of_gpu = features.InceptionFeatures(weights, device="cuda")
        events = []

        def begin(block):
            events.append("begin")
            wait = of_gpu.begin(block)
            return lambda: (events.append("wait"), wait())[1]
        shared = features.SharedOut(of_gpu, begin, 1)
        with emulated_cupy.counted() as counts:
            found = features.extract(shared, features.of_images(images), quiet=True)
    assert events == ["begin", "begin", "wait", "begin", "wait", "wait"]
    assert (counts.to_host, counts.to_host_later, counts.graphs) == (0, 3, 3)  # 5 groups, of which 2 ran as they are
    assert abs(found - expected).max() < 1e-5 * abs(expected).max()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_another_process_makes_its_own_extractor_of_the_same_features(device, images, narrow, monkeypatch, rng):
    """Emulated. What is sent names no array module, and holds no CUDA graph, though this one has made some."""
    weights = Weights(narrow, golden_inception.seeded(inception.tensors(narrow)), "", "", "d" * 64, "")
    made = classifier.Classifier(*classifier.make_network(rng, 16, 3, 4), "shapes", 16, 3, tuple("abcd"), 0.5, {}, "")
    monkeypatch.setattr(inception, "GROUP", 2)
    on_gpu = emulated_cupy.installed() if device == "cuda" else contextlib.nullcontext(np)
    with on_gpu as xp:
        of_classes = replace(made, body=made.body.to(xp), head=made.head.to(xp), xp=xp)
        for extractor in (features.InceptionFeatures(weights, device=device), of_classes):
            expected = extractor.features(images)
            there = pickle.loads(pickle.dumps(extractor))
            assert getattr(there, "network", there).xp is xp and there.features(images).tobytes() == expected.tobytes()
            assert there.logits(expected).tobytes() == extractor.logits(expected).tobytes()
        ahead = pickle.loads(pickle.dumps(features.SharedOut(of_classes, features.InceptionFeatures(
            weights, device=device).begin, 1)))  # as instrument.open_extractor makes it for a GPU
        assert ahead.extractor.xp is ahead.begin.__self__.network.xp is xp


def test_another_process_takes_winograds_way_where_this_one_does(images, narrow, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(inception.winograd, "pays", lambda n, size, kernel, *rest: kernel == (3, 3))
        made = inception.Inception(golden_inception.seeded(inception.tensors(narrow)), narrow)
    there = pickle.loads(pickle.dumps(made))
    taken = [{name for name, layer in one.layers.items() if layer.taps is not None} for one in (made, there)]
    assert taken[0] == taken[1] != set()
    assert made.features(images)["2048"].tobytes() == there.features(images)["2048"].tobytes()


def test_weights_are_not_kept_beside_what_inception_makes_of_them(narrow):
    """But the last layer's, which is used as it is."""
    tensors = golden_inception.seeded(inception.tensors(narrow))
    known = {name: weakref.ref(w) for name, w in tensors.items()}
    extractor = features.InceptionFeatures(Weights(narrow, tensors, "", "", "d" * 64, ""))
    del tensors
    gc.collect()
    assert {name for name, w in known.items() if w() is not None} <= {"fc.weight", "fc.bias"}
    assert extractor.dimension == 2048


def test_a_pictures_features_do_not_depend_on_the_others(rng):
    body, head = classifier.make_network(rng, 16, 3, 4)
    c = classifier.Classifier(body, head, "shapes", 16, 3, ("a", "b", "c", "d"), 0.5, {}, "0" * 64)
    images = rng.integers(0, 256, (classifier.BATCH + 7, 16, 16, 3), dtype=np.uint8)
    whole = c.features(images)
    assert np.array_equal(c.features(images[:8]), whole[:8])  # so a longer extraction may go on from a shorter one
    changed = images ^ (np.arange(len(images)) >= 20).astype(np.uint8)[:, None, None, None]
    assert np.array_equal(c.features(changed)[:20], whole[:20])
    order = rng.permutation(len(images))
    assert np.allclose(c.features(images[order]), whole[order], rtol=1e-5, atol=1e-5)  # float32 sums of 1,000 terms
