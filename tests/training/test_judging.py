"""What a discriminator says of images: by hand, in evaluation mode, whatever the batch and the condition."""

import numpy as np
import pytest
from tiny import tiny

from minigan.engine.autograd import Tensor
from minigan.training.assembly import make_discriminator
from minigan.training.judging import judge


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 16, 16, 3), np.uint8)


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
