"""A run of six iterations on a few drawings, scored on the way; made once."""

import numpy as np
import pytest
from scored import SMALL, few_drawings

from minigan.cli import main
from minigan.metrics import classifier
from minigan.training import restore, sampling


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def run(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with few_drawings(cache):
        assert main.run(["train", "shapes", *SMALL, "--iterations", "6", "--out", str(out), "-q", "--score-every", "2",
                         "--score-count", "100", "--checkpoint-every", "4"]) == 0
    return out


@pytest.fixture(scope="session")
def images(run):
    """Its images, as minigan sample draws them."""
    saved = restore.newest(run)
    images = sampling.draw(saved.gen, sampling.latents(np.random.default_rng(0), saved.e, 120))
    assert len(np.unique(images, axis=0)) == len(images), "tests compare parts of them"
    return images
