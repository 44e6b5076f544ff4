"""Paths between latents; what a discriminator says: by hand, in evaluation mode, whatever the batch and condition."""

import numpy as np
import pytest
from tiny import tiny

from minigan.engine.autograd import Tensor
from minigan.training.assembly import make_discriminator
from minigan.training.sampling import interpolate, judge, latents


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 16, 16, 3), np.uint8)


def test_interpolation_walks_great_circles_in_equal_steps(rng):
    z = interpolate(rng, tiny(dim_z=50), 3, 7).astype(float).reshape(3, 7, 50)
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    steps = np.arccos(np.clip((unit[:, 1:] * unit[:, :-1]).sum(-1), -1, 1))
    for row in range(3):
        # spherical interpolation of ends of two lengths has equal angles only between ends of one length
        assert steps[row] == pytest.approx(np.full(6, steps[row].mean()), rel=0.25)
        assert np.linalg.matrix_rank(z[row], tol=1e-4) == 2  # a plane through the origin
        lengths = np.linalg.norm(z[row], axis=-1)
        assert lengths.min() > 0.95 * min(lengths[0], lengths[-1])  # a chord's middle would lose 30 %
    assert len({tuple(np.round(z[row, end], 3)) for row in range(3) for end in (0, -1)}) == 6


def test_interpolation_between_opposite_or_equal_latents_is_finite():
    class Opposite:
        sign = -1

        def standard_normal(self, shape, dtype):
            self.sign = -self.sign
            return np.full(shape, self.sign, dtype)

    assert np.isfinite(interpolate(Opposite(), tiny(dim_z=1), 1, 5)).all()


def test_uniform_latents_stay_in_their_cube_on_the_way(rng):
    e = tiny(dim_z=50, latent="uniform")
    z = latents(rng, e, 4000)
    assert z.dtype == np.float32 and -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1 and abs(z.mean()) < 0.01
    path = interpolate(rng, e, 3, 5).reshape(3, 5, 50)
    np.testing.assert_allclose(np.diff(path, 2, axis=1), 0, atol=1e-6)  # straight
    assert np.abs(path).max() <= 1


@pytest.mark.parametrize("scaling, divisor", [("255", 127.5), ("128", 128)])
def test_it_sees_pixels_as_it_was_trained_to(rng, images, scaling, divisor):
    dis = make_discriminator(tiny(norm="sn"), rng, 16, 3, 0)
    by_hand = dis(Tensor((images / divisor - 1).astype(np.float32)), False).data
    found = judge(dis, images, scaling)
    assert found.dtype == np.float32 and found.shape == (7,)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-6)  # float32 sums in another order


def test_asking_changes_neither_u_nor_moments(rng, images):
    dis = make_discriminator(tiny(norm="sn-bn"), rng, 16, 3, 0)
    before = {name: a.copy() for name, a in dis.arrays().items()}
    judge(dis, images, "255")
    for name, a in dis.arrays().items():
        np.testing.assert_array_equal(a, before[name], err_msg=name)


def test_the_size_of_a_batch_does_not_matter(rng, images):
    dis = make_discriminator(tiny(features="bn"), rng, 16, 3, 0)  # in training mode it would
    whole = judge(dis, images, "255")
    np.testing.assert_allclose(judge(dis, images, "255", batch=3), whole, rtol=1e-4, atol=1e-6)


def test_labels_count_for_a_conditional_one_only_and_a_classifier_is_not_asked(rng, images):
    labels = np.arange(7) % 3
    for condition, differ in (("none", False), ("ac", False), ("projection", True)):
        dis = make_discriminator(tiny(model="resnet", condition=condition), rng, 16, 3, 0 if condition == "none" else 3)
        one, other = (judge(dis, images, "255", labels=given) for given in (labels, (labels + 1) % 3))
        assert one.shape == (7,) and (one != other).all() == differ == (one != other).any()
