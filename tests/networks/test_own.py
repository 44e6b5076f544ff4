"""Networks of one's own: what may be given as one, a function as a layer, and the first look at what it makes."""

import copy

import numpy as np
import pytest

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse
from minigan.networks.own import Function, Own, as_layer, own, try_discriminator, try_generator
from minigan.nn.initializers import normal
from minigan.nn.layers import Linear
from minigan.nn.spectral_norms import spectral_norm


def f32(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def variable(*shape):
    return Tensor(f32(*shape), requires_grad=True)


def dis(p, x):
    return (ops.reshape(x, (len(x), -1)) @ spectral_norm(p["W"], p["u"])).reshape(-1)


def params(n=768):
    return {"W": variable(n, 1), "u": f32(n)}


def test_a_functions_tensors_are_trained_and_its_arrays_are_remembered():
    p = params()
    network = as_layer("discriminator", (dis, p))
    assert isinstance(network, Function) and network.parameters() == {"W": p["W"]}
    assert network.arrays().keys() == {"W", "u"} and not network.weighted  # a name like W means nothing


def test_arrays_are_written_to_in_training_alone():
    network, x = Function(dis, params()), Tensor(f32(2, 16, 16, 3))
    u = network.state["u"].copy()
    y = network(x, False)
    np.testing.assert_array_equal(network(x, False).data, y.data)
    assert network.state["u"].tobytes() == u.tobytes()
    np.testing.assert_array_equal(network(x, True).data, y.data)  # from the same u
    assert network.state["u"].tobytes() != u.tobytes()


def test_a_copy_shares_nothing_and_takes_over_what_another_saved():
    network = Function(dis, params())
    other = copy.deepcopy(network)
    other(Tensor(f32(2, 16, 16, 3)))
    other.params["W"].data += 1
    assert not np.any(network.params["W"].data == other.params["W"].data)
    assert network.state["u"].tobytes() != other.state["u"].tobytes()
    network.load(other.arrays())
    assert all(np.array_equal(a, other.arrays()[name]) for name, a in network.arrays().items())


def test_a_layer_is_taken_as_it_is_and_nothing_as_nothing():
    layer = Linear(np.random.default_rng(0), 3, 2, normal())
    assert as_layer("generator", layer) is layer
    assert own() == Own() and own().names() == {}
    assert own(layer, (dis, params())).names() == {"generator": "Linear", "discriminator": "dis"}


class Empty(Linear):
    def __init__(self):
        super().__init__(np.random.default_rng(0), 1, 1, normal(), bias=False)
        self.params.clear()


@pytest.mark.parametrize("given, said", [
    (dis, "got a function alone; its parameters are needed, too: (dis, p)"),
    (Linear, "got the class Linear; make one of it: Linear(...)"),
    ("cnn", "expected a Layer, or a pair (function, parameters), got str"),
    ((dis, [variable(3)]), "got tuple"),
    ((params(), dis), "got tuple"),
    ((dis, {"W": 3.0}), "'W' is a float; expected a Tensor made with requires_grad=True, which is trained"),
    ((dis, {3: variable(2)}), "a parameter is named 3"),
    ((dis, {"a/b": variable(2)}), "a parameter is named 'a/b'"),
    ((dis, {"W": Tensor(f32(3))}), "'W' is no variable; make it Tensor(array, requires_grad=True)"),
    ((dis, {"W": variable(3) * 2}), "'W' is no variable"),
    ((dis, {"W": Tensor(np.zeros(3), requires_grad=True)}), "'W' is float64; expected float32"),
    ((dis, {"W": variable(3), "u": np.zeros(3)}), "'u' is float64; expected float32"),
    ((dis, {"u": f32(3)}), "nothing in it is to be trained"),
    (Empty(), "nothing in it is to be trained")])
def test_what_can_be_no_network_is_refused_in_one_line(given, said):
    with pytest.raises(WrongUse, match="^discriminator: ") as caught:
        own(discriminator=given)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def flat(p, z):
    return z @ p["W"]


def test_a_network_that_makes_other_shapes_is_refused_with_what_it_made():
    gen = Function(flat, {"W": variable(8, 768)})
    with pytest.raises(WrongUse) as caught:
        try_generator(gen, 8, 16, 3)
    assert str(caught.value) == ("generator: of z (2, 8) 'flat' makes (2, 768); expected a Tensor (2, 16, 16, 3), "
                                 "images in [-1, 1]")
    column = Function(lambda p, x: dis(p, x).reshape(-1, 1), params())
    with pytest.raises(WrongUse, match=r"makes \(2, 1\); .* one number for each image; y.reshape\(-1\) makes it flat"):
        try_discriminator(column, 16, 3)
    with pytest.raises(WrongUse, match="makes ndarray"):
        try_discriminator(Function(lambda p, x: dis(p, x).data, params()), 16, 3)
    good = Function(dis, params())
    u = good.state["u"].copy()
    try_discriminator(good, 16, 3)
    assert good.state["u"].tobytes() == u.tobytes()
