"""Optimizers and learning-rate schedules, on dicts of parameters.

An optimizer is made for parameters (name -> Tensor) and takes steps: step(gradients, rate), a gradient per parameter
in order. A step has two halves: `begin` counts it, on the host, and `apply` changes the parameters, on their device and
by arrays alone. What is remembered is in `state` (name -> array), written in place, and `steps`; a checkpoint holds
both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array, array_module, to_host
from minigan.engine.loops.adam import adam_all
from minigan.errors import FailedWork


class Optimizer:
    """The common part: what is remembered per parameter, and how it is saved."""

    remembers: tuple[str, ...] = ()

    def __init__(self, params: dict[str, Tensor]):
        self.params = params
        self.steps = 0
        self.state = {f"{name}/{kind}": array_module(p.data).zeros_like(p.data)
                      for name, p in params.items() for kind in self.remembers}

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Change every parameter in place by its gradient, with learning rate `rate`: `begin`, then `apply`."""
        self._check(gradients)
        xp = array_module(*(p.data for p in self.params.values()))
        self.apply(gradients, xp.asarray(self.begin(rate)))

    def begin(self, rate: float) -> np.ndarray:
        """Count a step, on the host; returns what `apply` is to be given: () float64, the learning rate with all that
        depends on the number of steps."""
        self.steps += 1
        return np.array(self.effective(rate))

    def effective(self, rate: float) -> float:
        """The learning rate with what depends on the number of steps."""
        return rate

    def apply(self, gradients: Sequence[Tensor], rate: Array) -> None:
        """Change every parameter in place by its gradient. rate: () float64 on the parameters' device, of `begin`."""
        self._check(gradients)
        memory = [[self.state[f"{name}/{kind}"] for name in self.params] for kind in self.remembers]
        self.update([p.data for p in self.params.values()], [g.data for g in gradients], *memory, rate=rate)

    def update(self, ws: list[Array], gs: list[Array], *memory: list[Array], rate: Array) -> None:
        """Every parameter's step, in place; memory: their arrays, a list for each of `remembers`."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def _check(self, gradients: Sequence[Tensor]) -> None:
        if len(gradients) != len(self.params):
            raise ValueError(f"{type(self).__name__}: expected {len(self.params)} gradients, one for each parameter, "
                             f"got {len(gradients)}")

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is remembered, on the host."""
        return {name: to_host(a) for name, a in self.state.items()} | {"steps": np.array(self.steps, np.int64)}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays()` of an equal optimizer gave. FailedWork if it differs; nothing changes then."""
        mine = {name: (a.shape, a.dtype) for name, a in self.arrays().items()}
        if mine != {name: (np.shape(a), np.asarray(a).dtype) for name, a in arrays.items()} or arrays["steps"] < 0:
            raise FailedWork(f"the saved state is not that of {type(self).__name__} for these parameters")
        self.steps = int(arrays["steps"])
        self.state = {name: array_module(a).array(arrays[name], order="C") for name, a in self.state.items()}


class SGD(Optimizer):
    """w -= rate * g. The other arguments are taken and not used, so that every optimizer is made alike."""

    def __init__(self, params: dict[str, Tensor], beta1: float = 0.0, beta2: float = 0.0, eps: float = 0.0):
        super().__init__(params)

    def update(self, ws: list[Array], gs: list[Array], *memory: list[Array], rate: Array) -> None:
        for w, g in zip(ws, gs, strict=True):
            w -= rate.astype(w.dtype) * g


class Adam(Optimizer):
    """Kingma and Ba 2015, in the form of section 2's last paragraph, as Chainer and TensorFlow: see loops.adam."""

    remembers = ("m", "v")

    def __init__(self, params: dict[str, Tensor], beta1: float = 0.5, beta2: float = 0.999, eps: float = 1e-8):
        super().__init__(params)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def effective(self, rate: float) -> float:
        """With Adam's correction of the moments' bias."""
        t = self.steps
        return rate * (float(np.sqrt(1 - self.beta2 ** t)) / (1 - self.beta1 ** t))

    def update(self, ws: list[Array], gs: list[Array], *memory: list[Array], rate: Array) -> None:
        m, v = memory
        adam_all(ws, gs, m, v, rate, self.beta1, self.beta2, self.eps)


class RMSProp(Optimizer):
    """v <- beta2 v + (1 - beta2) g^2; w -= rate * g / (sqrt(v) + eps) (Tieleman and Hinton 2012). beta1 is not used."""

    remembers = ("v",)

    def __init__(self, params: dict[str, Tensor], beta1: float = 0.0, beta2: float = 0.99, eps: float = 1e-8):
        super().__init__(params)
        self.beta2, self.eps = beta2, eps

    def update(self, ws: list[Array], gs: list[Array], *memory: list[Array], rate: Array) -> None:
        for w, g, v in zip(ws, gs, *memory, strict=True):
            kind = w.dtype.type
            v *= kind(self.beta2)
            v += kind(1 - self.beta2) * g * g
            w -= rate.astype(w.dtype) * g / (array_module(w).sqrt(v) + kind(self.eps))


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "rmsprop": RMSProp, "sgd": SGD}

# (share of the run that is over, share at which the decay begins), both 0 to 1 -> factor on the learning rate
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda done, begin: 1.0,
    "linear": lambda done, begin: min(1.0, (1.0 - done) / (1.0 - begin)),  # to 0 at the end
}
