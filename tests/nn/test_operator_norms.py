"""sn-conv of all layers at once, on a GPU, beside each layer by itself."""

import emulated_cupy
import numpy as np
import pytest
from twins import to_float64

from minigan.engine import cublas, devices, ops
from minigan.engine.autograd import Tensor, grad
from minigan.engine.loops import conv
from minigan.nn.initializers import glorot_uniform
from minigan.nn.layers import Conv2d, ConvTranspose2d, Linear, Pass
from minigan.nn.normalized_together import normalize_together
from minigan.nn.spectral_norms import OperatorNorm


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as module:
        yield module


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def device(request):
    return request.getfixturevalue("cupy" if request.param == "emulated" else "real_cupy")


def operator_layers(xp, dtype, size=1.0, **options):
    """(layer, its input) of all kinds with OperatorNorm, the same for every xp and dtype, and v begun.

    size: about that of the weights."""
    rng = np.random.default_rng(11)

    def norm():
        return OperatorNorm(**options)
    made = [(Conv2d(rng, 2, 5, 3, pad=1, norm=norm(), resample="down"), (2, 6, 4, 2)),
            (Conv2d(rng, 3, 4, 4, 2, 1, slope=0.1, norm=norm()), (3, 5, 6, 3)),
            (ConvTranspose2d(rng, 3, 2, 4, 2, 1, norm=norm()), (2, 3, 4, 3)), (Linear(rng, 7, 3, glorot_uniform(),
                                                                                      norm=norm()), (4, 7))]
    found = []
    for layer, shape in made:
        layer = to_float64(layer)
        layer.params["W"].data = size * rng.standard_normal(layer.params["W"].shape)
        x = rng.standard_normal(shape)
        layer.norm.weight(layer, shape, True)
        for kept in (layer.params, layer.state):
            for name, a in kept.items():
                kept[name] = Tensor(a.data.astype(dtype), True) if kept is layer.params else a.astype(dtype)
        found.append((layer.to(xp), Tensor(xp.asarray(x.astype(dtype)), True)))
    return found


@pytest.mark.parametrize("options", [{}, {"n_iter": 3, "scale": 1.75}, {"n_iter": 3, "size": 1e-5}],
                         ids=["once", "thrice-and-scaled", "thrice-of-small-weights"])
def test_convolutions_normalized_together_are_each_by_itself(options, device):
    """To second order, in float32, beside NumPy's float64 of each by itself; and the next v."""
    def derivatives(xp, dtype, together):
        made = operator_layers(xp, dtype, **options)
        layers = [layer for layer, _ in made]
        how = Pass(weights=normalize_together(layers, True) if together else {})
        assert bool(how.weights) == together and all(layer in how.weights for layer in layers if together)
        targets = [t for layer, x in made for t in (layer.params["W"], x)]
        y = sum((ops.sum(layer.forward(x, how) ** 2) for layer, x in made[1:]), ops.sum(made[0][0].forward(
            made[0][1], how) ** 2))
        first = grad(y, targets, create_graph=True)
        second = grad(sum((ops.sum(g * g) for g in first[1:]), ops.sum(first[0] ** 2)), targets)
        vs = [layer.state["v"] for layer in layers]
        return [devices.to_host(a) for a in (y.data, *vs, *(g.data for g in (*first, *second, *grad(y, targets))))]
    exact = derivatives(np, np.float64, False)
    for together in (False, True):
        for a, b in zip(derivatives(device, np.float32, together), exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * np.abs(b).max())
    assert not normalize_together([layer for layer, _ in operator_layers(np, np.float32)], True)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_zero_weights_are_normalized_to_zero_with_gradient_zero(together, device, rng):
    """To second order, beside a layer that is not zero."""
    layers = [Conv2d(rng, 2, 2, 3, pad=1, norm=OperatorNorm()), Linear(rng, 2, 1, glorot_uniform(),
                                                                       norm=OperatorNorm())]
    Ws = [layer.params["W"] for layer in layers]
    for layer, shape in zip(layers, ((2, 3, 3, 2), (2, 2)), strict=True):
        layer.to(device)
        layer.norm.weight(layer, shape, True)  # v comes with the first input
    Ws[0].data[...] = 0
    x = Tensor(device.asarray(rng.standard_normal((2, 3, 3, 2)).astype(np.float32)), True)
    how = Pass(weights=normalize_together(layers, True) if together else {})
    y = ops.sum(layers[1].forward(ops.sum(layers[0].forward(x, how) + x, (1, 2)), how) ** 2)
    first = grad(y, [*Ws, x], create_graph=True)
    second = grad(ops.sum(first[1] ** 2) + ops.sum(first[2] ** 2) + ops.sum(first[0]), [*Ws, x])
    for g in (first, second, grad(y, [*Ws, x])):
        zero, *others = (devices.to_host(a.data) for a in g)
        assert not zero.any() and all(np.isfinite(a).all() and a.any() for a in others)
    assert not layers[0].state["v"].any() and not layers[0].norm.weight(layers[0], (), False).data.any()


@pytest.mark.parametrize("train, schedule", [(False, "forward"), (True, "update"), (False, "update")])
def test_convolutions_normalized_together_keep_v_as_each_by_itself_does(train, schedule, device):
    layers = [layer for layer, _ in operator_layers(device, np.float32, schedule=schedule)]
    before = [layer.state["v"].get() for layer in layers]
    given = normalize_together(layers, train)
    for layer, v in zip(layers, before, strict=True):
        assert layer.state["v"].get().tobytes() == v.tobytes()
        np.testing.assert_allclose(given[layer].done().data.get(), layer.norm.weight(layer, (), train).data.get(),
                                   rtol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_an_input_of_another_size_is_not_given_the_norm_of_the_one_before(train, device):
    """Twice in the same pass: what was normalized together is never for it, though v has its size by then."""
    (layer, x), *_ = operator_layers(device, np.float32)
    (alone, _), *_ = operator_layers(device, np.float32)
    larger = Tensor(device.ones((1, 8, 10, 2), np.float32))
    how = Pass(train, weights=normalize_together([layer], train))
    for _ in range(2):
        assert layer.forward(larger, how).data.get().tobytes() == alone(larger, train).data.get().tobytes()
        assert layer.state["v"].shape == ((1, 8, 10, 2) if train else (1, 6, 4, 2))
    assert (layer.forward(x, how).data.get() != alone(x, train).data.get()).any() or not train


def test_what_is_no_convolution_is_a_few_launches_for_all_layers(cupy):
    seen = []
    for count in (1, 4):
        made = operator_layers(cupy, np.float32)[-count:]
        with emulated_cupy.counted() as c:
            weights = normalize_together([layer for layer, _ in made], True)
            grad(sum((ops.sum(w.W) for w in weights.values()), Tensor(cupy.ones((), np.float32))),
                 [layer.params["W"] for layer, _ in made])
        seen.append({name: n for name, n in c.kernels.items() if name.startswith(("operator", "sn_scale"))})
        assert not set(c.operations) & {"multiply", "true_divide", "sqrt", "less"}
    assert seen[0] == seen[1] == dict.fromkeys(
        ("operator_norms", "operator_dots", "operator_correct", "sn_scale"), 1)


@pytest.mark.parametrize("switch", ["0", "1"])
def test_where_products_are_rounded_to_bfloat16_the_iteration_stays_in_float32(switch, cupy, monkeypatch):
    """The factors of a convolution have an error of 2^-9 each."""
    monkeypatch.setenv(conv.SWITCH, switch)
    made, exact = operator_layers(cupy, np.float32), operator_layers(np, np.float64)
    with cublas.precision(cupy, "bf16"), emulated_cupy.counted() as c:
        given = normalize_together([layer for layer, _ in made], True)
        alone = [layer.norm.weight(layer, (), False).data for layer, _ in made]
    assert c.kernels["operator_norms"] == 1 and {a.dtype for a in alone} == {np.dtype(np.float32)}
    for (layer, _), (twin, _), W in zip(made, exact, alone, strict=True):
        expected = twin.norm.weight(twin, (), True).data
        np.testing.assert_allclose(given[layer].done().data.get(), expected, rtol=1e-2)
        np.testing.assert_allclose(layer.state["v"].get(), twin.state["v"], atol=1e-2)
        np.testing.assert_allclose(W.get(), twin.norm.weight(twin, (), False).data, rtol=1e-2)
