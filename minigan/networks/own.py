"""Networks of one's own in place of a model's: made of layers, or plain functions with a dict of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine.autograd import Tensor, Variable, no_grad
from minigan.engine.devices import Array
from minigan.errors import WrongUse
from minigan.nn.layers import Layer, Pass

Params = Mapping[str, Tensor | Array]  # name -> a Tensor that is trained, or an array that is remembered


class Function(Layer):
    """A network that is a function of its parameters and its input: function(p, x) -> Tensor.

    params: name -> Tensor made with requires_grad=True, which is trained, or array, which is remembered from forward to
    forward and saved, such as u of spectral_norm(p["W"], p["u"]). The function gets all of them as p, by these names.
    It may write into the arrays (p["u"][...] = new); in evaluation it gets copies of them, so that nothing is kept.
    """

    def __init__(self, function: Callable[[dict[str, Any], Tensor], Tensor], params: Params):
        super().__init__()
        self.function = function
        for name, value in params.items():
            (self.params if isinstance(value, Tensor) else self.state)[name] = value

    @property
    def weighted(self) -> bool:
        return False  # what a "W" is here only the function knows

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        state = self.state if how.train else {name: a.copy() for name, a in self.state.items()}
        return self.function({**self.params, **state}, x)


Network = Layer | tuple[Callable[[dict[str, Any], Tensor], Tensor], Params]  # what may be given as one


@dataclass(frozen=True)
class Own:
    """The networks of a run that are its author's; None: the model's."""

    generator: Layer | None = None
    discriminator: Layer | None = None

    def names(self) -> dict[str, str]:
        """"generator", "discriminator" -> the name of that network, of those that are the author's."""
        return {who: name_of(network) for who, network in vars(self).items() if network is not None}


NONE = Own()


def own(generator: Network | None = None, discriminator: Network | None = None) -> Own:
    """What was given as networks of one's own; see `as_layer`. WrongUse for what cannot be one."""
    return Own(as_layer("generator", generator), as_layer("discriminator", discriminator))


def as_layer(who: str, given: Any) -> Layer | None:
    """A Layer as it is, a pair (function, params) as a Function, None as None. WrongUse, naming `who`, otherwise."""
    if given is None:
        return None
    expected = f"{who}: expected a Layer, or a pair (function, parameters)"
    if isinstance(given, type):
        raise WrongUse(f"{expected}, got the class {given.__name__}; make one of it: {given.__name__}(...)")
    if isinstance(given, Layer):
        network = given
    elif isinstance(given, tuple | list) and len(given) == 2 and callable(given[0]) and isinstance(given[1], Mapping):
        _check_named(who, given[1])
        network = Function(*given)
    elif callable(given):
        raise WrongUse(f"{expected}, got a function alone; its parameters are needed, too: ({name_of(given)}, p), p a "
                       "dict of Tensors and arrays")
    else:
        raise WrongUse(f"{expected}, got {type(given).__name__}")
    _check_parameters(who, network)
    return network


def try_generator(gen: Layer, dim_z: int, size: int, channels: int) -> None:
    """WrongUse unless it makes images (N, size, size, channels) of latents (N, dim_z): two are tried, in evaluation."""
    with no_grad():
        y = gen(Tensor(np.zeros((2, dim_z), np.float32)), False)
    _check_result("generator", name_of(gen), y, f"z (2, {dim_z})", (2, size, size, channels), "images in [-1, 1]")


def try_discriminator(dis: Layer, size: int, channels: int) -> None:
    """WrongUse unless it makes one number of each image, (N,): two are tried, in evaluation."""
    with no_grad():
        y = dis(Tensor(np.zeros((2, size, size, channels), np.float32)), False)
    _check_result("discriminator", name_of(dis), y, f"images (2, {size}, {size}, {channels})", (2,),
                  "one number for each image")


def name_of(network: Any) -> str:
    """A function's name, a layer's class."""
    if isinstance(network, Function):
        network = network.function
    return str(getattr(network, "__name__", type(network).__name__))


def _check_named(who: str, params: Mapping[Any, Any]) -> None:
    """WrongUse unless all parameters of a function have names, and are a Tensor or an array."""
    for name, value in params.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise WrongUse(f"{who}: a parameter is named {name!r}; expected a text without '/'")
        if not isinstance(value, Tensor) and not hasattr(value, "dtype"):
            raise WrongUse(f"{who}: its parameter '{name}' is a {type(value).__name__}; expected a Tensor made with "
                           "requires_grad=True, which is trained, or an array, which is remembered")


def _check_parameters(who: str, network: Layer) -> None:
    """WrongUse unless there is something to train, and all is float32 as images and latents are."""
    for name, p in network.parameters().items():
        if not isinstance(p.node, Variable):
            raise WrongUse(f"{who}: its parameter '{name}' is no variable; make it Tensor(array, requires_grad=True), "
                           "or an array if it is not to be trained")
    for name, a in network.arrays().items():
        if a.dtype != np.float32:
            raise WrongUse(f"{who}: its parameter '{name}' is {a.dtype}; expected float32, as images and latents are: "
                           "array.astype(np.float32)")
    if not network.parameters():
        raise WrongUse(f"{who}: nothing in it is to be trained; its parameters are Tensors made with "
                       "requires_grad=True, in a dict or in the params of its layers")


def _check_result(who: str, name: str, y: Any, given: str, shape: tuple[int, ...], meaning: str) -> None:
    if not isinstance(y, Tensor) or y.shape != shape:
        made = str(y.shape) if isinstance(y, Tensor) else type(y).__name__
        flat = "; y.reshape(-1) makes it flat" if shape == (2,) and made == "(2, 1)" else ""
        raise WrongUse(f"{who}: of {given} '{name}' makes {made}; expected a Tensor {shape}, {meaning}{flat}")
