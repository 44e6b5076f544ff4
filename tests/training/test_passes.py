"""The discriminator's forwards at once: the same bytes as one after the other, for any number of threads."""

import numpy as np
import pytest
from test_draw_and_step import CHOICES, contents, remembered, training

from minigan.engine import thread_pool
from minigan.networks import passes

every_choice = pytest.mark.parametrize(
    "chosen", [*CHOICES.values(), {"norm": "none", "loss": "wasserstein", "gp": 10.0}], ids=[*CHOICES, "wgan-gp"])


@every_choice
def test_forwards_at_once_and_one_after_the_other_give_the_same_bytes(chosen):
    """In whatever order gradients are added: those of three forwards meet in every bias."""
    together, apart = training(chosen, batch_size=8), training(chosen, batch_size=8)
    apart.at_once = False
    for _ in range(2):
        losses = [t.iterate() for t in (together, apart)]
        assert losses[0][0].data.tobytes() == losses[1][0].data.tobytes()
    assert contents(together) == contents(apart)


@every_choice
def test_forwards_at_once_have_the_same_bytes_for_any_number_of_threads(chosen):
    before, found = thread_pool.thread_count(), set()
    try:
        for count in (1, 2, 3, 8):
            thread_pool.set_threads(count)
            t = training(chosen, batch_size=8)
            t.iterate()
            t.iterate()
            found.add(str(contents(t)))
    finally:
        thread_pool.set_threads(before)
    assert len(found) == 1


halved = pytest.mark.parametrize("chosen", [CHOICES[name] for name in ("sn", "bssn", "ac", "projection")])


@halved
def test_fakes_judged_in_halves_update_the_generator_as_those_judged_whole(chosen, monkeypatch):
    """u moves once, and each image keeps its label: 5 images are a half of 2 and one of 3."""
    found = []
    for bound in (0, 1 << 60):
        monkeypatch.setattr(passes, "HALVES", bound)
        t = training(chosen, batch_size=5, beta1=0.0)
        loss = t.update_generator(1e-3).item()
        found.append((loss, remembered(t)))
    (loss, halves), (expected, whole) = found
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert all((halves[name] == a).all() for name, a in whole.items() if name.startswith("dis"))
    gradients = [np.concatenate([a.ravel() for name, a in arrays.items()
                                 if name.startswith("opt_gen") and name.endswith("/m")])  # beta1 is 0
                 for arrays in (halves, whole)]
    assert np.linalg.norm(gradients[0] - gradients[1]) < 1e-5 * np.linalg.norm(gradients[1])


@halved
def test_fakes_judged_in_halves_have_the_same_bytes_for_any_number_of_threads(chosen, monkeypatch):
    monkeypatch.setattr(passes, "HALVES", 0)
    test_forwards_at_once_have_the_same_bytes_for_any_number_of_threads(chosen)


def test_forwards_are_at_once_where_they_leave_each_other_alone():
    assert passes.can_share(training({}).dis) and passes.can_share(training({"model": "resnet", "norm": "ln"}).dis)
    assert not passes.can_share(training({"norm": "bn"}).dis)  # running moments
    waiting = training({"norm": "sn-conv"})
    assert not passes.can_share(waiting.dis)  # v comes with the first image
    waiting.iterate()
    assert passes.can_share(waiting.dis)


def test_each_image_keeps_its_label(monkeypatch):
    t, seen = training({"condition": "projection", "gp": 1.0}, batch_size=5), []
    forward = type(t.dis).forward

    def watched(self, x, how):
        seen.append((x.data, how.labels))
        return forward(self, x, how)
    monkeypatch.setattr(type(t.dis), "forward", watched)
    judged = type(t.dis).judged
    monkeypatch.setattr(type(t.dis), "judged", lambda self, x, how, classify: seen.append((x.data, how.labels)) or
                        judged(self, x, how, classify))
    x = t.draws.discriminator(t.opt_dis.begin(1e-3))
    real = t.real(x).data
    t.step_discriminator(x)
    labels = [given for images, given in seen if np.array_equal(images, real)]
    assert labels and all(np.array_equal(given, x.real_labels) for given in labels)
    others = {given.tobytes() for images, given in seen if not np.array_equal(images, real)}
    assert others == {x.fake_labels.tobytes(), x.real_labels.tobytes()}  # fakes, and between them and real images
