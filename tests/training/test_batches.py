"""Which images a batch holds, and the streams of random numbers."""

import numpy as np
import pytest
from tiny import tiny

from minigan.errors import WrongUse
from minigan.training.batches import Batches
from minigan.training.gan import Training


@pytest.mark.parametrize(("count", "size"), [(10, 4), (7, 7), (5, 1), (9, 5), (3, 2)])
def test_every_picture_comes_once_an_epoch_and_epochs_differ(count, size, rng):
    batches = Batches(count, size, rng)
    drawn = [batches.next() for _ in range(6 * count)]
    assert all(len(batch) == size for batch in drawn)
    epochs = np.concatenate(drawn).reshape(-1, count)
    assert (np.sort(epochs) == np.arange(count)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_of_more_than_all_pictures_is_refused(rng):
    Batches(5, 5, rng)
    with pytest.raises(WrongUse, match="--batch-size: expected at most the number of images, 5, got 6"):
        Batches(5, 6, rng)


def test_latents_are_independent_standard_normal(images):
    training = Training(tiny(dim_z=6), images)
    z, _ = training.draws.fakes(20_000)
    assert z.shape == (20_000, 6) and z.dtype == np.float32
    # five standard errors of a mean, a covariance and a fourth moment (variance 96) of 20,000 draws
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(20_000)
    assert np.abs(z.T @ z / 20_000 - np.eye(6)).max() < 5 * np.sqrt(2 / 20_000)
    assert np.abs((z.astype(float) ** 4).mean(0) - 3).max() < 5 * np.sqrt(96 / 20_000)
    again, _ = training.draws.fakes(20_000)
    assert abs((z * again).mean()) < 5 / np.sqrt(120_000)


def test_sampling_with_replacement_forgets_what_was_drawn():
    batches = Batches(10, 10, np.random.default_rng(0), "replacement")
    drawn = [batches.next() for _ in range(200)]
    assert any(len(set(batch.tolist())) < 10 for batch in drawn)
    assert np.bincount(np.concatenate(drawn), minlength=10).min() > 120  # of 200 on average
