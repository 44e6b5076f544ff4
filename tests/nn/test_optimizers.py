"""Optimizers and schedules: their recursions written out, PyTorch where the forms agree, resuming, what is refused."""

import math

import numpy as np
import pytest

from minigan.engine.autograd import Tensor
from minigan.errors import FailedWork
from minigan.nn.optimizers import OPTIMIZERS, SCHEDULES, SGD, Adam, RMSProp

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def parameters(rng, dtype=np.float64):
    return {name: Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)
            for name, shape in {"dense/W": (3, 4), "dense/b": (3,), "conv/W": (2, 3, 3, 2), "scale": ()}.items()}


def gradients(rng, params):
    return [Tensor((rng.standard_normal(p.shape) + 0.2).astype(p.dtype)) for p in params.values()]


def take_steps(optimizer, rng, count, rate=0.01):
    for _ in range(count):
        optimizer.step(gradients(rng, optimizer.params), rate)


def contents(optimizer):
    arrays = {name: p.data for name, p in optimizer.params.items()} | optimizer.arrays()
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


# ---- the recursions, number by number ------------------------------------------------------------------------------

def by_sgd(w, gs, rate):
    for g in gs:
        w -= rate * g
    return w


def by_adam(w, gs, rate, beta1=0.5, beta2=0.999, eps=1e-8):
    """Kingma and Ba 2015, section 2: alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t), eps beside sqrt(v)."""
    m = v = 0.0
    for t, g in enumerate(gs, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g ** 2
        w -= rate * math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t) * m / (math.sqrt(v) + eps)
    return w


def by_rmsprop(w, gs, rate, beta2=0.99, eps=1e-8):
    v = 0.0
    for g in gs:
        v = beta2 * v + (1 - beta2) * g ** 2
        w -= rate * g / (math.sqrt(v) + eps)
    return w


@pytest.mark.parametrize("make, by_hand, betas", [
    (SGD, by_sgd, {}),
    (Adam, by_adam, {}), (Adam, by_adam, {"beta1": 0.0, "beta2": 0.9}), (Adam, by_adam, {"beta1": 0.9, "eps": 0.1}),
    (RMSProp, by_rmsprop, {}), (RMSProp, by_rmsprop, {"beta2": 0.5, "eps": 0.1}),
])
def test_steps_are_the_recursion_written_out(make, by_hand, betas, rng):
    params = parameters(rng)
    before = {name: p.data.copy() for name, p in params.items()}
    optimizer, history = make(params, **betas), []
    for _ in range(4):
        history.append(gradients(rng, params))
        optimizer.step(history[-1], 0.01)
    assert optimizer.steps == 4
    for i, (name, p) in enumerate(params.items()):
        for index in np.ndindex(p.shape):
            expected = by_hand(float(before[name][index]), [float(g[i].data[index]) for g in history], 0.01, **betas)
            assert p.data[index] == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_the_registry_makes_every_optimizer_alike(rng):
    """As the training does: name(parameters, beta1, beta2)."""
    params = parameters(rng)
    for name, kind in {"sgd": SGD, "adam": Adam, "rmsprop": RMSProp}.items():
        made = OPTIMIZERS[name](params, 0.25, 0.75)
        assert type(made) is kind and made.steps == 0
        assert getattr(made, "beta2", 0.75) == 0.75 and getattr(made, "beta1", 0.25) == 0.25
    assert OPTIMIZERS.keys() == {"sgd", "adam", "rmsprop"}


# ---- PyTorch -------------------------------------------------------------------------------------------------------

def both(ours, make_theirs, rng, steps=5, rate=0.01):
    """The largest relative difference of the parameters after the same steps by PyTorch's optimizer."""
    torch = pytest.importorskip("torch")
    twins = [torch.tensor(p.data, requires_grad=True) for p in ours.params.values()]
    theirs = make_theirs(torch.optim, twins, rate)
    for _ in range(steps):
        gs = gradients(rng, ours.params)
        ours.step(gs, rate)
        for twin, g in zip(twins, gs, strict=True):
            twin.grad = torch.tensor(g.data)
        theirs.step()
    return max(np.abs(p.data / twin.detach().numpy() - 1).max()
               for p, twin in zip(ours.params.values(), twins, strict=True))


def test_sgd_and_rmsprop_are_pytorchs(rng):
    assert both(SGD(parameters(rng)), lambda optim, ps, rate: optim.SGD(ps, rate), rng) < 1e-12
    assert both(RMSProp(parameters(rng), beta2=0.9, eps=1e-3),
                lambda optim, ps, rate: optim.RMSprop(ps, rate, alpha=0.9, eps=1e-3), rng) < 1e-12


@pytest.mark.parametrize("betas", [(0.5, 0.999), (0.0, 0.9), (0.9, 0.999)])
def test_adam_is_pytorchs_without_eps(betas, rng):
    """The two forms differ only in what eps is added to."""
    assert both(Adam(parameters(rng), *betas, eps=0.0),
                lambda optim, ps, rate: optim.Adam(ps, rate, betas, eps=0.0), rng) < 1e-12


def test_adams_eps_is_pytorchs_divided_by_the_second_bias_correction(rng):
    """In the first step: sqrt(v) + eps against sqrt(v / (1 - beta2)) + eps'."""
    ours, eps, beta2 = Adam(parameters(rng), 0.5, 0.9, eps=0.1), 0.1, 0.9
    assert both(ours, lambda optim, ps, rate: optim.Adam(ps, rate, (0.5, beta2), eps=eps / math.sqrt(1 - beta2)), rng,
                steps=1) < 1e-12
    assert both(Adam(parameters(rng), 0.5, 0.9, eps=0.1),
                lambda optim, ps, rate: optim.Adam(ps, rate, (0.5, beta2), eps=eps), rng, steps=1) > 1e-5


# ---- what a step does and leaves alone -----------------------------------------------------------------------------

@every_optimizer
def test_a_quadratic_converges_to_its_minimum(name, rng):
    """1/2 (w - a)^T H (w - a), condition number 10; the rate falls, since Adam's and RMSProp's steps do not."""
    H = np.diag([1.0, 3.0, 10.0])
    a, params = rng.standard_normal(3), {"w": Tensor(rng.standard_normal(3) + 5, requires_grad=True)}
    optimizer, count = OPTIMIZERS[name](params, 0.5, 0.9), 2000
    for i in range(count):
        w = params["w"].data
        optimizer.step([Tensor(H @ (w - a))], 0.1 * (1 - i / count))
    np.testing.assert_allclose(params["w"].data, a, atol=1e-3)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_are_changed_in_place_and_keep_their_dtype(name, dtype, rng):
    params = parameters(rng, dtype)
    optimizer = OPTIMIZERS[name](params)
    tensors, arrays = list(params.values()), [p.data for p in params.values()]
    before = [a.copy() for a in arrays]
    gs = gradients(rng, params)
    for g in gs:
        g.data.flags.writeable = False
    optimizer.step(gs, 0.01)
    optimizer.step(gs, np.float64(0.01))
    for p, tensor, array, old in zip(params.values(), tensors, arrays, before, strict=True):
        assert p is tensor and p.data is array and array.dtype == dtype
        assert np.all(array != old)
    assert {a.dtype for a in optimizer.state.values()} <= {np.dtype(dtype)}


@every_optimizer
def test_a_rate_of_zero_moves_nothing_and_a_gradient_of_zero_neither(name, rng):
    params = parameters(rng)
    before = [p.data.copy() for p in params.values()]
    optimizer = OPTIMIZERS[name](params)
    with np.errstate(all="raise"):
        optimizer.step([Tensor(np.zeros(p.shape)) for p in params.values()], 0.1)
        optimizer.step(gradients(rng, params), 0.0)
    for p, old in zip(params.values(), before, strict=True):
        np.testing.assert_array_equal(p.data, old)


@every_optimizer
def test_too_few_or_too_many_gradients_are_refused(name, rng):
    optimizer = OPTIMIZERS[name](parameters(rng))
    gs = gradients(rng, optimizer.params)
    before = contents(optimizer)
    for wrong in (gs[:-1], [*gs, gs[0]]):
        with pytest.raises(ValueError, match=f"expected 4 gradients, one for each parameter, got {len(wrong)}"):
            optimizer.step(wrong, 0.1)
    assert contents(optimizer) == before


# ---- resuming ------------------------------------------------------------------------------------------------------

@every_optimizer
def test_a_resumed_optimizer_continues_with_the_same_bytes(name):
    whole = OPTIMIZERS[name](parameters(np.random.default_rng(1), np.float32))
    parts = OPTIMIZERS[name](parameters(np.random.default_rng(1), np.float32))
    take_steps(whole, np.random.default_rng(2), 5)
    draws = np.random.default_rng(2)
    take_steps(parts, draws, 3)
    saved = {key: a.copy() for key, a in parts.arrays().items()}
    resumed = OPTIMIZERS[name]({key: Tensor(p.data.copy(), requires_grad=True) for key, p in parts.params.items()})
    resumed.load(saved)
    take_steps(resumed, draws, 2)
    assert contents(resumed) == contents(whole)
    assert resumed.steps == 5
    for key, a in saved.items():  # load has copied
        assert a.tobytes() != contents(resumed)[key][2]


REFUSED = {
    "missing": lambda a: a.pop("conv/W/m"),
    "steps-missing": lambda a: a.pop("steps"),
    "unknown": lambda a: a.update(other=np.ones(1)),
    "shape": lambda a: a.update({"dense/b/v": np.ones(4, np.float32)}),
    "broadcast": lambda a: a.update({"dense/b/v": np.ones((), np.float32)}),
    "dtype": lambda a: a.update({"dense/b/v": np.ones(3)}),
    "text": lambda a: a.update({"dense/b/v": "text"}),
    "steps-negative": lambda a: a.update(steps=np.array(-1)),
    "steps-many": lambda a: a.update(steps=np.array([1, 2])),
    "steps-float": lambda a: a.update(steps=np.array(1.5)),
    "steps-text": lambda a: a.update(steps="3"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_foreign_state_is_refused_and_changes_nothing(what, rng):
    optimizer, other = Adam(parameters(rng, np.float32)), Adam(parameters(rng, np.float32))
    take_steps(optimizer, rng, 2)
    take_steps(other, rng, 3)
    arrays, before = dict(other.arrays()), contents(optimizer)
    REFUSED[what](arrays)
    with pytest.raises(FailedWork, match="the saved state is not that of Adam for these parameters"):
        optimizer.load(arrays)
    assert contents(optimizer) == before


def test_one_optimizers_state_is_refused_by_another(rng):
    params = parameters(rng)
    for kind, other in ((SGD, Adam), (Adam, RMSProp), (RMSProp, SGD)):
        with pytest.raises(FailedWork, match=f"not that of {kind.__name__}"):
            kind(params).load(other(params).arrays())


# ---- schedules -----------------------------------------------------------------------------------------------------

def test_schedules_begin_and_end_where_they_say():
    ends = {"constant": (1, 1, 1), "linear": (1, 0.5, 0)}
    assert {name: tuple(f(done, 0.0) for done in (0, 0.5, 1)) for name, f in SCHEDULES.items()} == ends


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_never_rise_or_leave_0_to_1(name):
    factors = [SCHEDULES[name](i / 100, 0.3) for i in range(101)]
    assert factors == sorted(factors, reverse=True)
    assert 0 <= factors[-1] <= factors[0] == 1
