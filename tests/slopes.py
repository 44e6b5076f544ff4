"""How steep a network is: what it says of itself, and what pairs of inputs and gradients find."""

import copy

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.networks.watched import watch
from minigan.nn.lipschitz import InUse
from minigan.nn.singular_values import operator_norm


def call(network, x, labels=None):
    """The network's own numbers for images x."""
    return network(x, False, labels)


def in_use(network, x, labels=None):
    """What a forward on x uses. The network is float64, so that its norms are exact, and has layers below it."""
    layer_of, watched = dict(network.walk()), watch(twin := copy.deepcopy(network))
    with no_grad():
        call(twin, Tensor(x), labels)
    found = {path: w for path, w in watched.items() if w.held.W_bar is not None}
    norms = {path: operator_norm(w.layer, w.held.W_bar, w.layer.operand_shape(w.held.x_shape), 1e-9)
             for path, w in found.items()}
    return InUse(x.shape, {layer_of[path]: w.held.W_bar.data for path, w in found.items()},
                 {layer_of[path]: norm for path, norm in norms.items()})


def largest_gradient(network, x, labels=None):
    """The largest |gradient of D| at one of the images x."""
    x = Tensor(x, requires_grad=True)
    return np.sqrt(np.sum(grad(ops.sum(call(network, x, labels)), x).data ** 2, (1, 2, 3))).max()


def largest_quotient(network, x, y, labels=None):
    """The largest |f(x) - f(y)| / |x - y| of a pair, each with one label."""
    with no_grad():
        a, b = (call(network, Tensor(z), labels).data.reshape(len(z), -1) for z in (x, y))
    return (np.linalg.norm(a - b, axis=1) / np.linalg.norm((x - y).reshape(len(x), -1), axis=1)).max()
