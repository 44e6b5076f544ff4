"""Adversarial losses: closed forms, gradients, signs, extremes; real and fake always differ."""

import math

import numpy as np
import pytest
from checks import check_grads

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad
from minigan.engine.loops import losses
from minigan.nn.losses import LOSSES, SampleNorms, gradient_penalty, mean_of


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# name -> (discriminator(real, fake), generator(fake)) as NumPy, and their derivatives times the number of images
FORMULAS = {
    "ns": (lambda real, fake: -np.mean(np.log(sigmoid(real))) - np.mean(np.log(1 - sigmoid(fake))),
           lambda fake: -np.mean(np.log(sigmoid(fake)))),
    "hinge": (lambda real, fake: -np.mean(np.minimum(0, real - 1)) - np.mean(np.minimum(0, -fake - 1)),
              lambda fake: -np.mean(fake)),
    "wasserstein": (lambda real, fake: np.mean(fake) - np.mean(real), lambda fake: -np.mean(fake)),
    "minimax": (lambda real, fake: -np.mean(np.log(sigmoid(real))) - np.mean(np.log(1 - sigmoid(fake))),
                lambda fake: np.mean(np.log(1 - sigmoid(fake)))),
    "lsgan": (lambda real, fake: np.mean((real - 1) ** 2) / 2 + np.mean(fake ** 2) / 2,
              lambda fake: np.mean((fake - 1) ** 2) / 2),
}
SLOPES = {
    "ns": (lambda real: sigmoid(real) - 1, lambda fake: sigmoid(fake), lambda fake: sigmoid(fake) - 1),
    "hinge": (lambda real: -1.0 * (real < 1), lambda fake: 1.0 * (fake > -1), lambda fake: 0 * fake - 1),
    "wasserstein": (lambda real: 0 * real - 1, lambda fake: 0 * fake + 1, lambda fake: 0 * fake - 1),
    "minimax": (lambda real: sigmoid(real) - 1, lambda fake: sigmoid(fake), lambda fake: -sigmoid(fake)),
    "lsgan": (lambda real: real - 1, lambda fake: fake, lambda fake: fake - 1),
}
AT_ZERO = {"ns": (2 * math.log(2), math.log(2)), "hinge": (2, 0), "wasserstein": (0, 0),
           "minimax": (2 * math.log(2), -math.log(2)), "lsgan": (0.5, 0.5)}

every_loss = pytest.mark.parametrize("name", LOSSES)


def outputs(rng, dtype=np.float64):
    """The discriminator's outputs for 5 real and 7 fakes, both signs, on both sides of the hinge."""
    real, fake = 2 * rng.standard_normal(5) + 0.5, 2 * rng.standard_normal(7) - 0.5
    return [Tensor(a.astype(dtype), requires_grad=True) for a in (real, fake)]


def test_every_loss_has_its_formulas_here():
    assert LOSSES.keys() == FORMULAS.keys() == SLOPES.keys() == AT_ZERO.keys()


def test_an_unknown_function_is_named_with_those_that_there_are():
    x, line = np.ones(3), "unknown function 'log'; choose from: linear, relu, softplus, square"
    for call in (lambda: losses.mean_of(x, "log"), lambda: losses.mean_of_gradient(x.sum(), x, "log"),
                 lambda: mean_of("log", Tensor(x))):
        with pytest.raises(ValueError, match=line):
            call()


@every_loss
def test_values_are_the_papers_formulas(name, rng):
    real, fake = outputs(rng)
    dis, gen = FORMULAS[name]
    np.testing.assert_allclose(LOSSES[name].discriminator(real, fake).item(), dis(real.data, fake.data), rtol=1e-12)
    np.testing.assert_allclose(LOSSES[name].generator(fake).item(), gen(fake.data), rtol=1e-12)


@every_loss
def test_values_where_the_discriminator_cannot_tell(name):
    zeros = Tensor(np.zeros(4))
    np.testing.assert_allclose(LOSSES[name].discriminator(zeros, zeros).item(), AT_ZERO[name][0], rtol=1e-15)
    np.testing.assert_allclose(LOSSES[name].generator(zeros).item(), AT_ZERO[name][1], rtol=1e-15)


@every_loss
def test_gradients_are_the_formulas_derivatives(name, rng):
    real, fake = outputs(rng)
    g_real, g_fake = grad(LOSSES[name].discriminator(real, fake), [real, fake])
    slopes = SLOPES[name]
    np.testing.assert_allclose(g_real.data, slopes[0](real.data) / 5, rtol=1e-12)
    np.testing.assert_allclose(g_fake.data, slopes[1](fake.data) / 7, rtol=1e-12)
    np.testing.assert_allclose(grad(LOSSES[name].generator(fake), fake).data, slopes[2](fake.data) / 7, rtol=1e-12)


@every_loss
def test_the_discriminator_wants_real_up_and_fake_down_and_the_generator_fake_up(name):
    loss, here, up = LOSSES[name], Tensor([0.2, -0.3]), Tensor([0.4, -0.1])
    other = Tensor([-0.5, 0.1, 0.6])
    assert loss.discriminator(up, other).item() < loss.discriminator(here, other).item()
    assert loss.discriminator(other, up).item() > loss.discriminator(other, here).item()
    assert loss.generator(up).item() < loss.generator(here).item()


def test_the_saturating_loss_is_flat_where_the_discriminator_is_sure_and_the_other_is_not():
    """Goodfellow et al. 2014, section 3: the reason for the non-saturating loss."""
    fake = Tensor(np.array([-20.0]), requires_grad=True)
    assert abs(grad(LOSSES["minimax"].generator(fake), fake).data[0]) < 1e-8
    assert grad(LOSSES["ns"].generator(fake), fake).data[0] == pytest.approx(-1, abs=1e-8)


def test_the_hinge_is_content_beyond_the_margin():
    real, fake = (Tensor(np.array(a), requires_grad=True) for a in ([1.5, 3.0], [-1.5, -2.0, -9.0]))
    loss = LOSSES["hinge"].discriminator(real, fake)
    assert loss.item() == 0
    assert not any(g.data.any() for g in grad(loss, [real, fake]))


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_certain_discriminators_cause_no_overflow(name, dtype, size):
    real, fake = (Tensor(np.array(a, dtype), requires_grad=True) for a in ([size, 1.0, 0.5], [-size, -1.0]))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        dis, gen = LOSSES[name].discriminator(real, fake), LOSSES[name].generator(fake)
        gradients = [*grad(dis, [real, fake]), grad(gen, fake)]
    assert all(np.isfinite(t.data).all() for t in (dis, gen, *gradients))
    if name == "lsgan":  # wants 1 and 0, and is as wrong beyond them
        assert dis.item() > size ** 2 / 10
        return
    if name == "wasserstein":  # linear both ways
        assert dis.item() == pytest.approx(-size * (1 / 3 + 1 / 2) - 1, rel=1e-6)
        return
    # right: all but nothing left to lose; wrong: linear in how wrong, so that there is a gradient back
    assert dis.item() < 2 if size > 0 else dis.item() > 1e4 * (1 / 3 + 1 / 2) - 1


@every_loss
def test_float32_stays_float32(name, rng):
    real, fake = outputs(rng, np.float32)
    dis, gen = LOSSES[name].discriminator(real, fake), LOSSES[name].generator(fake)
    tensors = [dis, gen, *grad(dis, [real, fake]), grad(gen, fake)]
    assert {t.dtype for t in tensors} == {np.dtype(np.float32)}
    assert dis.shape == gen.shape == ()


@every_loss
def test_losses_can_be_differentiated_twice(name, rng):
    real, fake = outputs(rng)
    g_real, g_fake = grad(LOSSES[name].discriminator(real, fake), [real, fake], create_graph=True)
    second = grad(ops.sum(g_real) + ops.sum(g_fake), [real, fake]) if g_real.requires_grad else []
    if name in ("ns", "minimax"):  # softplus'' = sigmoid (1 - sigmoid)
        for g, x in zip(second, (real.data, fake.data), strict=True):
            np.testing.assert_allclose(g.data, sigmoid(x) * sigmoid(-x) / len(x), rtol=1e-10)
    elif name == "lsgan":
        for g, x in zip(second, (real, fake), strict=True):
            np.testing.assert_allclose(g.data, np.full(x.shape, 1 / x.size), rtol=1e-12)
    else:
        assert all(not g.data.any() for g in second)


# ---- the gradient penalty ------------------------------------------------------------------------------------------

def test_the_norm_of_each_sample_and_its_derivatives(rng):
    x = rng.standard_normal((3, 4, 5))
    np.testing.assert_allclose(SampleNorms()(Tensor(x)).data, [np.linalg.norm(sample) for sample in x], rtol=1e-14)
    check_grads(lambda x: SampleNorms()(x), x)


def test_a_sample_of_zeros_has_no_gradient_of_its_norm(rng):
    x = Tensor(np.concatenate([np.zeros((1, 4)), rng.standard_normal((1, 4))]), requires_grad=True)
    for graph in (False, True):
        g = grad(ops.sum(SampleNorms()(x)), x, create_graph=graph).data
        assert not g[0].any() and np.linalg.norm(g[1]) == pytest.approx(1)


def test_the_penalty_of_a_linear_discriminator_is_that_of_its_weights(rng):
    """D(x) = <a, x> has the gradient a everywhere: (|a| - target)^2, whose derivative is 2 (|a| - target) a / |a|."""
    x_real, x_fake = (Tensor(rng.standard_normal((3, 2, 2, 1))) for _ in range(2))
    share, a = rng.random((3, 1, 1, 1)), Tensor(rng.standard_normal((2, 2, 1)), requires_grad=True)
    norm = np.linalg.norm(a.data)
    for target in (1.0, 0.0, 3.5):
        penalty = gradient_penalty(lambda x: ops.sum(x * a, (1, 2, 3)), x_real, x_fake, share, target)
        assert penalty.item() == pytest.approx((norm - target) ** 2, rel=1e-12)
        np.testing.assert_allclose(grad(penalty, a).data, 2 * (norm - target) * a.data / norm, rtol=1e-12)


def test_the_penalty_is_taken_between_real_and_fake(rng):
    """D(x) = |x|^2 / 2 has the gradient x: so the penalty shows where it was asked for."""
    x_real, x_fake = rng.standard_normal((2, 4, 3, 3, 2))
    share = rng.random((4, 1, 1, 1))
    penalty = gradient_penalty(lambda x: ops.sum(x * x, (1, 2, 3)) * 0.5, Tensor(x_real), Tensor(x_fake), share)
    x_hat = share * x_real + (1 - share) * x_fake
    norms = np.sqrt((x_hat ** 2).sum((1, 2, 3)))
    assert penalty.item() == pytest.approx(np.mean((norms - 1) ** 2), rel=1e-12)
