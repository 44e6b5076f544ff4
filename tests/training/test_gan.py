"""The GAN algorithm: which network is updated when, on what, and by which loss."""

import numpy as np
import pytest
from tiny import tiny

from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import WrongUse
from minigan.training.batches import Draws, Inputs
from minigan.training.gan import Training
from minigan.training.sampling import draw, latents


def parameters(network) -> dict[str, bytes]:
    return {name: p.data.tobytes() for name, p in network.parameters().items()}


def real_images(training, index):
    """The real images of these numbers as a step sees them."""
    draws = training.draws
    return training.real(Inputs(np.zeros(()), None, **draws.real(index), noise=draws.noise(len(index))))


@pytest.mark.parametrize("n_dis", [1, 3])
def test_an_iteration_is_n_dis_updates_and_then_the_generators(n_dis, images, monkeypatch):
    done = []
    for network in ("discriminator", "generator"):
        update = getattr(Training, f"update_{network}")
        monkeypatch.setattr(Training, f"update_{network}",
                            lambda self, rate, n=network, f=update: done.append((n[0], rate)) or f(self, rate))
    training = Training(tiny(n_dis=n_dis, lr=0.5, lr_dis=0.25, iterations=4, schedule="linear"), images)
    for _ in range(4):
        training.iterate()
    # the linear schedule goes from the whole rate down to zero, which iteration 5 of 4 would have
    expected = [share for share in (1, 0.75, 0.5, 0.25) for _ in range(n_dis + 1)]
    assert done == [step for i in range(0, len(expected), n_dis + 1)
                    for step in [("d", 0.25 * expected[i])] * n_dis + [("g", 0.5 * expected[i])]]
    assert training.opt_dis.steps == 4 * n_dis and training.opt_gen.steps == 4


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_an_update_changes_one_networks_parameters_and_leaves_the_others_bytes(model, images):
    training = Training(tiny(model=model), images)
    gen, dis = parameters(training.gen), parameters(training.dis)
    training.update_discriminator(0.1)
    assert parameters(training.gen) == gen
    changed = parameters(training.dis)
    # every weight; of the biases, the last one's gradient is 1 - 1 while the hinge is open on both sides
    assert all(changed[name] != dis[name] for name in dis if name.endswith("W"))
    training.update_generator(0.1)
    assert parameters(training.dis) == changed
    assert all(parameters(training.gen)[name] != gen[name] for name in gen if name.endswith("W"))


def test_the_generators_batch_may_have_its_own_size(images, monkeypatch):
    seen = []
    fakes = Draws.fakes
    monkeypatch.setattr(Draws, "fakes", lambda self, count: seen.append(count) or fakes(self, count))
    Training(tiny(gen_batch_size=7, n_dis=2), images).iterate()
    Training(tiny(gen_batch_size=None), images).iterate()
    assert seen == [4, 4, 7, 4, 4]


@pytest.mark.parametrize("loss", ["hinge", "ns"])
def test_the_discriminator_learns_to_tell_and_the_generator_to_pass(loss, images):
    images[:] = 255  # real images are white
    training = Training(tiny(loss=loss, optimizer="adam", lr=2e-3, batch_size=8), images)

    def outputs() -> tuple[float, float]:
        with no_grad():
            real = training.dis(real_images(training, np.arange(8)), train=False).data
            return real.mean(), training.dis(training.gen(Tensor(training.preview[:8]), train=False), False).data.mean()

    for _ in range(30):
        training.update_discriminator(2e-3)
    real, fake = outputs()
    assert real > 0.05 and fake < -0.05
    for _ in range(30):
        training.update_generator(2e-3)
    assert outputs()[1] > fake + 0.05


def test_pixels_become_minus_one_to_one_and_noise_fills_one_grey_level(images):
    images[0], images[1] = 0, 255
    assert real_images(Training(tiny(), images), np.array([0, 1])).data[:, 0, 0, 0].tolist() == [-1, 1]
    x = real_images(Training(tiny(scaling="128"), images), np.array([0, 1]))
    assert x.data[:, 0, 0, 0].tolist() == [-1, 255 / 128 - 1]
    x = real_images(Training(tiny(scaling="128", dequantize=True), images), np.arange(24)).data
    noise = (x.astype(float) + 1) * 128 - images
    assert noise.min() >= 0 and noise.max() <= 1 and x.max() <= 1
    assert abs(noise.mean() - 0.5) < 5 / np.sqrt(12 * noise.size) and noise.std() == pytest.approx(12**-0.5, rel=0.02)


def test_sampling_changes_nothing_and_knows_no_neighbours(images):
    training = Training(tiny(), images)
    training.iterate()
    before = {name: a.tobytes() for network in (training.gen, training.dis) for name, a in network.arrays().items()}
    sampled = training.sample(training.preview)
    assert sampled.shape == (64, 16, 16, 3) and sampled.dtype == np.uint8
    one_by_one = draw(training.gen, training.preview[:5], batch=1)
    assert np.abs(one_by_one.astype(int) - sampled[:5]).max() <= 1  # BLAS sums a single row in another order
    training.spectral_norms()
    after = {name: a.tobytes() for network in (training.gen, training.dis) for name, a in network.arrays().items()}
    assert before == after


def test_spectral_norms_are_those_of_the_weights_in_use(images):
    training = Training(tiny(power_iterations=200), images)
    training.iterate()
    for _, sigma in training.spectral_norms().items():
        assert sigma == pytest.approx(1, abs=1e-3)
    none = Training(tiny(norm="none"), images)
    W = none.dis.layers["conv3"].params["W"].data
    assert none.spectral_norms()["conv3"] == pytest.approx(np.linalg.svd(W.reshape(len(W), -1))[1][0])


def steps_of(monkeypatch, **chosen):
    """The updates of two iterations, in order, and the latents of each."""
    training, seen = Training(tiny(n_dis=2, **chosen), pictures_array()), []
    updates = {name: getattr(training, f"update_{name}") for name in ("discriminator", "generator")}
    for name in updates:
        def update(rate, name=name):
            seen.append(name)
            return updates[name](rate)
        monkeypatch.setattr(training, f"update_{name}", update)
    used, forward = [], training.gen.__class__.forward

    def watched(self, z, how):
        used.append(z.data)
        return forward(self, z, how)
    monkeypatch.setattr(training.gen.__class__, "forward", watched)
    training.iterate()
    training.iterate()
    return seen, used


def pictures_array():
    return np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)


def test_an_iteration_updates_the_networks_in_the_order_that_is_asked_for(monkeypatch):
    d, g = "discriminator", "generator"
    assert steps_of(monkeypatch)[0] == [d, d, g, d, d, g]
    assert steps_of(monkeypatch, order="gen-first")[0] == [g, d, d, g, d, d]


def test_latents_are_fresh_unless_they_are_to_be_used_again(monkeypatch):
    _, used = steps_of(monkeypatch, gen_batch_size=4)
    assert len({z.tobytes() for z in used}) == 6
    _, used = steps_of(monkeypatch, gen_batch_size=4, reuse_z=True)
    assert [np.array_equal(used[i], used[i - 1]) for i in range(1, 6)] == [False, True, False, False, True]
    with pytest.raises(WrongUse, match="leave one of them out"):
        tiny(reuse_z=True, order="gen-first", gen_batch_size=4)
    with pytest.raises(WrongUse, match="needs equal batches"):
        tiny(reuse_z=True)


def test_a_linear_schedule_may_begin_late():
    e = tiny(schedule="linear", decay_from=0.5, iterations=10, lr=1.0)
    training, rates = Training(e, pictures_array()), []
    for training.iteration in range(10):
        rates.append(training.rates()[1])
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_batch_normalization_has_the_constants_that_were_chosen():
    training = Training(tiny(bn_eps=1e-3, bn_decay=0.5, ema=0.9), pictures_array())
    for network in (training.gen, training.average):
        assert {(layer.eps, layer.decay) for _, layer in network.walk() if "mean" in layer.state} == {(1e-3, 0.5)}


def labelled(**chosen):
    images = pictures_array()
    return Training(tiny(**chosen), images, np.arange(len(images)) % 3)


@pytest.mark.parametrize("model, condition", [
    ("cnn", "projection"), ("cnn", "ac"), ("resnet", "projection"), ("resnet", "concat"), ("resnet", "ac")])
def test_a_conditional_pair_trains_and_its_pictures_depend_on_the_class(model, condition):
    training = labelled(model=model, condition=condition, gp=1.0, lr=0.05)
    assert training.classes == 3
    for _ in range(3):
        losses = training.iterate()
    assert all(np.isfinite(loss.item()) for loss in losses)
    z = np.repeat(latents(np.random.default_rng(0), training.e, 1), 3, 0)
    drawn = [draw(training.gen, z, classes=3, labels=np.full(3, k)).astype(int) for k in range(3)]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(drawn, drawn[1:], strict=False))
    np.testing.assert_array_equal(draw(training.gen, z, classes=3)[1], drawn[1][1])  # the classes in turn


def test_real_pictures_come_with_their_own_labels(monkeypatch):
    training, seen = labelled(condition="projection"), []
    training.at_once = False  # then each forward is a call of judge
    judge = training.judge

    def watched(x, labels, *more):
        seen.append((x.data, labels))
        return judge(x, labels, *more)
    monkeypatch.setattr(training, "judge", watched)
    training.update_discriminator(1e-4)
    x, labels = seen[0]
    pixels = np.round((x + 1) * 127.5).astype(np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        index = next(i for i, image in enumerate(pictures_array()) if np.array_equal(image, picture))
        assert label == index % 3


def test_the_classifiers_losses_have_their_weights():
    """With weight 0 an update is that of no classifier; with another, the classifier or the loss moves."""
    before = labelled(condition="ac").dis.layers["classify"].params["W"].data
    for weight in (0.0, 1.0):
        training = labelled(condition="ac", ac_dis=weight)
        training.update_discriminator(1e-2)
        moved = np.abs(training.dis.layers["classify"].params["W"].data - before).max()
        assert (moved > 0) is np.bool_(weight > 0)
    losses = [labelled(condition="ac", ac_gen=weight).update_generator(1e-2).item() for weight in (0.0, 1.0, 2.0)]
    assert losses[1] - losses[0] > 0.5  # -log(1/3) is 1.1
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-5)


def test_the_average_follows_the_generator_and_draws_the_samples():
    """Against the recursion written out; its decay begins at (1 + i) / (10 + i)."""
    training = Training(tiny(ema=0.5), pictures_array())
    expected = {name: a.copy() for name, a in training.gen.arrays().items()}
    for i in range(8):
        training.iterate()
        decay = min(0.5, (1 + i) / (10 + i))
        expected = {name: decay * expected[name] + (1 - decay) * a for name, a in training.gen.arrays().items()}
    for name, a in training.average.arrays().items():
        np.testing.assert_allclose(a, expected[name], rtol=0, atol=1e-5 * max(1, np.abs(a).max()))
    np.testing.assert_array_equal(training.sample(training.preview), draw(training.average, training.preview))
    assert np.abs(training.average.arrays()["dense/W"] - training.gen.arrays()["dense/W"]).max() > 0


def test_labels_are_needed_and_absent():
    for labels in (None, np.full(24, -1), np.zeros(24, int)):
        with pytest.raises(WrongUse, match="--condition projection needs labels, and these images have none"):
            Training(tiny(condition="projection"), pictures_array(), labels)
    with pytest.raises(WrongUse, match="condition 'concat' is not for this model: use one of projection, ac"):
        labelled(condition="concat")


def test_the_orthonormal_penalty_is_part_of_the_loss():
    def second(weight):
        training = Training(tiny(norm="orthonormal", orthonormal=weight), pictures_array())
        training.update_discriminator(0.1)  # the weights are orthonormal at first, and the penalty 0
        return training.update_discriminator(0.1).item()
    assert second(1.0) > second(0.0) + 0.01


def test_a_model_has_its_features_normalized_unless_told_otherwise():
    images = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3)).astype(np.uint8)
    for chosen, expected in (({"norm": "sn"}, True), ({"norm": "none", "gp": 1.0}, False),
                             ({"norm": "sn", "features": "none"}, False), ({"features": "ln"}, True)):
        training = Training(tiny(model="dcgan", size=64, **chosen), images)
        assert any("beta" in layer.params for _, layer in training.dis.walk()) is expected


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_a_generators_weights_have_spectral_norm_one(model):
    training = Training(tiny(model=model, gen_norm="sn", power_iterations=300), pictures_array())
    training.iterate()
    layers = [layer for _, layer in training.gen.walk() if "W" in layer.params]
    assert len(layers) > 3
    for layer in layers:
        W = layer.norm.weight(layer, (), False).data
        out = np.moveaxis(W, layer.out_axis, 0)
        assert np.linalg.svd(out.reshape(len(out), -1))[1][0] == pytest.approx(1, abs=1e-3)
