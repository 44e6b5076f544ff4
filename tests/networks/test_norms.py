"""Every name of --norm on a small discriminator: training, a gradient penalty, saving, CuPy; and what it means."""

import emulated_cupy
import emulator
import numpy as np
import pytest
from layer_kinds import LAYERS, an_input
from twins import to_float64

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad
from minigan.networks.norms import NORMS, Normalization, NormOptions, penalties
from minigan.nn.feature_norms import FEATURES, BatchNorm, LayerNorm
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, Layer, Linear, Pass
from minigan.nn.losses import gradient_penalty
from minigan.nn.normalized_together import normalize_together
from minigan.nn.spectral_norms import BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.weight_norms import NoNorm

# every name, and what else decides how the weights are made
EVERY = {name: {"norm": name} for name in NORMS} | {
    "ssn-2": {"norm": "ssn", "scale": 2.0}, "bssn-2": {"norm": "bssn", "scale": 2.0},
    "sn-conv-2": {"norm": "sn-conv", "scale": 1.75},
    "sn-update": {"norm": "sn", "u_schedule": "update"}, "bsn-update": {"norm": "bsn", "u_schedule": "update"},
    "sn-conv-update": {"norm": "sn-conv", "u_schedule": "update"},
    "sn-through": {"norm": "sn", "u_gradient": True, "power_iterations": 2},
    "bssn-through": {"norm": "bssn", "u_gradient": True, "scale": 1.2},
    "sn-conv-through": {"norm": "sn-conv", "u_gradient": True},
    "sn-gamma-one": {"norm": "sn-gamma", "gamma_start": "one"},
    "wn-gain-one": {"norm": "wn-gain", "gamma_start": "one"},
    "clip-all": {"norm": "clip", "clip_which": "all", "clip": 0.02},
    "orthonormal-10": {"norm": "orthonormal", "orthonormal": 10.0},
    "ln-gain": {"norm": "ln", "features_gain": True}, "bn-gain": {"norm": "bn", "features_gain": True},
}
ROWS = ("wn", "wn-gain", "frobenius")
every_norm = pytest.mark.parametrize("chosen", EVERY.values(), ids=EVERY)


class Discriminator(Layer):
    """3x3 and, with stride 2, 4x4 convolution, dense: for images of 6 x 6 x 2; features normalized where asked."""

    def __init__(self, rng, norm):
        super().__init__()
        for i, (n_in, n_out, kernel, stride) in enumerate(((2, 5, 3, 1), (5, 7, 4, 2))):
            slope = 1.0 if norm.features else 0.1
            self.layers[f"conv{i}"] = Conv2d(rng, n_in, n_out, kernel, stride, 1, normal(0.3), slope, norm.weight())
            if norm.features:
                self.layers[f"features{i}"] = FEATURES[norm.features](n_out, slope=0.1, gain=norm.gain)
        self.layers["dense"] = Linear(rng, 3 * 3 * 7, 1, normal(0.3), norm=norm.weight())

    def forward(self, x, how):
        how = Pass(how.train, weights=normalize_together((layer for _, layer in self.walk()), how.train))
        *body, dense = self.layers.values()
        for layer in body:
            x = layer.forward(x, how)
        return ops.reshape(dense.forward(ops.reshape(x, (len(x), -1)), how), (-1,))


def norm_of(norm, **options):
    return NORMS[norm](NormOptions(**options))


def made(chosen, seed=0):
    return Discriminator(np.random.default_rng(seed), norm_of(**chosen))


def pictures(rng, count=4):
    return rng.standard_normal((count, 6, 6, 2)).astype(np.float32)


def steps(dis, optimizer, count, xp=np, seed=1, gp=0.0):
    """Hinge loss, the norm's own penalty, maybe a gradient penalty; the losses."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        real, fake = (Tensor(xp.asarray(pictures(rng))) for _ in range(2))
        loss = ops.mean(ops.relu(1 - dis(real))) + ops.mean(ops.relu(1 + dis(fake)))
        own = penalties(layer for _, layer in dis.walk())
        loss = loss if own is None else loss + own
        if gp:
            share = xp.asarray(rng.random((len(real), 1, 1, 1), dtype=np.float32))
            loss = loss + gp * gradient_penalty(dis, real, fake, share)
        optimizer.step(grad(loss, list(dis.parameters().values())), 0.01)
        dis.after_update()
        found.append(loss.item())
    return found


class Sgd:
    """Adam would blow up what is rounding alone, as the gradient of a bias in front of batch normalization."""

    def __init__(self, dis):
        self.dis = dis

    def step(self, gs, rate):
        for p, g in zip(self.dis.parameters().values(), gs, strict=True):
            p.data -= np.float32(rate) * g.data


# ---- every norm ----------------------------------------------------------------------------------------------------

@every_norm
@pytest.mark.parametrize("kind", LAYERS)
def test_zero_weights_give_finite_numbers_to_second_order(chosen, kind, rng):
    """And zeros, but for the biases: no nan from a norm of 0, with the gradient through the power iteration, too.

    Of wn and frobenius the first order alone is asked for: there a zero W has a large gradient
    (nn/test_weight_norms.py).
    """
    layer = LAYERS[kind](rng, norm_of(**chosen).weight())
    W, x = layer.params["W"], Tensor(an_input(rng, layer).data, requires_grad=True)
    W.data[...] = 0
    for _ in range(2):  # what is remembered has been 0, too
        y = layer(x) * layer(x)
        assert not (layer(x) - layer.params["b"]).data.any()
        gW, gx = grad(ops.sum(y), [W, x], create_graph=True)
        second = [] if chosen["norm"] in ROWS else grad(ops.sum(gW * gW) + ops.sum(gx * gx), [W, x])
        assert all(np.isfinite(g.data).all() for g in (gW, gx, *second))
        layer.after_update()


@every_norm
def test_the_base_class_contract_is_kept(chosen, rng):
    made_norm = norm_of(**chosen)
    assert isinstance(made_norm, Normalization) and isinstance(made_norm.weight(), NoNorm)
    for kind, make in LAYERS.items():
        layer = make(rng, made_norm.weight())
        W = layer.params["W"]
        x_shape = (2, 6, 6, W.shape[0 if layer.out_axis else 3]) if W.ndim == 4 else (2, W.shape[1])
        W_bar = layer.norm.weight(layer, x_shape, train=True)
        assert (W_bar.shape, W_bar.dtype) == (W.shape, np.float32), kind
        assert np.isfinite(W_bar.data).all(), kind
        layer.after_update()
        assert all(p.data.dtype == np.float32 for p in layer.params.values()), kind
        assert all(a.dtype == np.float32 for a in layer.state.values()), kind


@every_norm
def test_training_goes_on_from_saved_arrays_byte_for_byte(chosen):
    whole, resumed = made(chosen), made(chosen)
    steps(whole, Sgd(whole), 2)
    resumed.load(whole.arrays())
    assert steps(whole, Sgd(whole), 2, seed=7) == steps(resumed, Sgd(resumed), 2, seed=7)
    expected, found = whole.arrays(), resumed.arrays()
    assert expected.keys() == found.keys()
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


@every_norm
def test_in_evaluation_nothing_moves(chosen, rng):
    dis = made(chosen)
    steps(dis, Sgd(dis), 2)
    before, x = dis.arrays(), Tensor(pictures(rng))
    y = dis(x, train=False).data
    np.testing.assert_array_equal(dis(x, train=False).data, y)
    for name, a in dis.arrays().items():
        assert a.tobytes() == before[name].tobytes(), name


@every_norm
def test_the_gradient_of_a_gradient_penalty_is_a_central_difference(chosen, rng):
    """With respect to every parameter at once, where a converged power iteration makes u and v's own change vanish."""
    iterations = 1 if chosen.get("u_gradient") else 400
    dis = to_float64(made(chosen | {"power_iterations": iterations}))
    x = rng.standard_normal((3, 6, 6, 2))
    if chosen["norm"].startswith("sn-conv"):  # v comes with the first input
        dis(Tensor(x))
        dis(Tensor(x))
        dis.after_update()  # moves it where a forward does not
    names = list(dis.parameters())
    start = {name: p.data.copy() for name, p in dis.parameters().items()}
    way = {name: rng.standard_normal(a.shape) for name, a in start.items()}

    def penalty(step):
        for name, p in dis.parameters().items():
            p.data = start[name] + step * way[name]
        variable = Tensor(x, requires_grad=True)
        y = dis(variable, train=False)
        g = grad(ops.sum(y), variable, create_graph=True)
        own = penalties(layer for _, layer in dis.walk())
        loss = ops.mean((ops.sqrt(ops.sum(g * g, (1, 2, 3))) - 1) ** 2) + ops.mean(y)
        return loss if own is None else loss + own
    gradients = grad(penalty(0), list(dis.parameters().values()))
    slope = (penalty(1e-6).item() - penalty(-1e-6).item()) / 2e-6
    found = sum(np.sum(g.data * way[name]) for g, name in zip(gradients, names, strict=True))
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(found, slope, rtol=1e-5)


@every_norm
def test_steps_on_the_emulated_cupy_are_numpys(chosen):
    expected_dis = made(chosen)
    gp = 0.0 if "bn" in chosen["norm"] else 1.0  # in the last step
    expected = steps(expected_dis, Sgd(expected_dis), 2) + steps(expected_dis, Sgd(expected_dis), 1, gp=gp)
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        dis = made(chosen).to(cupy)
        found = steps(dis, Sgd(dis), 2, cupy) + steps(dis, Sgd(dis), 1, cupy, gp=gp)
        for name, a in dis.arrays().items():
            np.testing.assert_allclose(a, expected_dis.arrays()[name], rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# ---- what the names mean -------------------------------------------------------------------------------------------

def test_the_options_decide_how_u_moves_and_what_is_scaled():
    options = NormOptions(power_iterations=4, scale=1.3, u_schedule="update", u_gradient=True)
    norm = NORMS["bssn"](options)
    made_norm = norm.weight()
    assert (made_norm.n_iter, made_norm.scale, made_norm.schedule, made_norm.through) == (4, 1.3, "update", True)
    assert norm.weight() is not made_norm
    assert norm_of("sn").weight().n_iter == 1
    for name, kind in {"none": NoNorm, "sn": SpectralNorm, "ssn": SpectralNorm, "bsn": BidirectionalNorm,
                       "bssn": BidirectionalNorm, "sn-conv": OperatorNorm, "sn-bn": SpectralNorm}.items():
        assert type(NORMS[name](options).weight()) is kind, name


def test_features_are_normalized_without_a_multiplier_unless_asked_for():
    """Miyato et al. 2018, section 4.1; batch and layer normalization, and with sn the third report's discriminator."""
    for name, kind in {"bn": BatchNorm, "ln": LayerNorm, "sn-bn": BatchNorm}.items():
        for gain in (False, True):
            dis = made({"norm": name, "features_gain": gain})
            layer = dis.layers["features0"]
            assert type(layer) is kind and layer.params.keys() == ({"gamma", "beta"} if gain else {"beta"})
            assert ("u" in dis.layers["conv0"].state) == (name == "sn-bn")


def test_each_discriminator_has_a_shared_gamma_of_its_own():
    one, other = (made({"norm": "sn-gamma-shared"}) for _ in range(2))
    assert [name for name in one.parameters() if "gamma" in name] == ["conv0/gamma"]
    assert one.parameters()["conv0/gamma"] is not other.parameters()["conv0/gamma"]
