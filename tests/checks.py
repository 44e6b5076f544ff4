"""Derivatives against central differences, order after order; arrays that nobody may write to."""

from collections.abc import Callable, Sequence

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad

STEP = 1e-5  # near the cube root of float64's eps, where a central difference's truncation and rounding balance
RTOL = 1e-6  # there both are about 1e-10 of the function's scale; leaves room for large third derivatives


def check_grads(function: Callable, *arrays: np.ndarray, order: int = 2) -> None:
    """grad() of function(*tensors) at these arrays is its derivative, and so on up to derivatives of `order`.

    The function's results (one Tensor or several) are weighted with random numbers, so that every element
    counts, and each input is moved in a random direction; only if that fails, element by element, to say where.
    For the next order the gradient is the function, and its weights are inputs like the others.
    Each gradient is asked for with a graph, without (the fused way, where there is one), and for one input
    alone: the same every time. Inputs are read-only, so that whoever writes into one fails.
    """
    rng = np.random.default_rng(0)
    _check(lambda *xs: _several(function(*xs)), [np.array(a, np.float64) for a in arrays], order, "", rng)


def _check(function: Callable, arrays: list[np.ndarray], order: int, of: str, rng: np.random.Generator) -> None:
    weights = [rng.standard_normal(y.shape) for y in function(*_variables(arrays))]

    def weighted(*inputs: Tensor) -> Tensor:
        total = Tensor(np.zeros(()))
        for y, w in zip(function(*inputs[:len(arrays)]), inputs[len(arrays):], strict=True):
            total = total + ops.sum(y * w)
        return total

    def gradient(*inputs: Tensor) -> list[Tensor]:
        return grad(weighted(*inputs), inputs[:len(arrays)], create_graph=True)

    inputs = _variables(arrays + weights)
    found = gradient(*inputs)
    fused = grad(weighted(*inputs), inputs[:len(arrays)])
    for i, x in enumerate(arrays):
        what = f"gradient {of}with respect to input {i} {x.shape}"
        assert (found[i].shape, found[i].dtype) == (x.shape, x.dtype), f"{what} is {found[i].shape} {found[i].dtype}"
        direction = rng.standard_normal(x.shape)
        slope, expected = np.sum(found[i].data * direction), _slope(weighted, inputs, i, direction)
        if not abs(slope - expected) <= RTOL * max(1, np.linalg.norm(found[i].data) * np.linalg.norm(direction)):
            _compare(f"{what}: grad", found[i].data, "central difference", _slopes(weighted, inputs, i), RTOL)
            raise AssertionError(f"{what}: grad {slope:.9g}, central difference {expected:.9g} in one direction, "
                                 "equal element by element: a kink or a large third derivative?")
        # the same numbers, maybe added up in another order
        _compare(f"{what}: fused", fused[i].data, "with a graph", found[i].data, 1e-12)
        alone = grad(weighted(*inputs), inputs[i])
        _compare(f"{what}: asked for alone", alone.data, "among others", found[i].data, 1e-12)
    if order > 1:
        _check(gradient, arrays + weights, order - 1, f"of the gradient {of}", rng)


def _slope(function: Callable, inputs: list[Tensor], i: int, direction: np.ndarray) -> float:
    """The central difference of a scalar function for input i moved in a direction."""
    ends = (function(*inputs[:i], Tensor(inputs[i].data + step * direction, requires_grad=True), *inputs[i + 1:])
            for step in (STEP, -STEP))
    return (next(ends).item() - next(ends).item()) / (2 * STEP)


def _slopes(function: Callable, inputs: list[Tensor], i: int) -> np.ndarray:
    """The same for every element of input i."""
    units = np.eye(inputs[i].size).reshape(-1, *inputs[i].shape)
    return np.reshape([_slope(function, inputs, i, unit) for unit in units], inputs[i].shape)


def _compare(name: str, found: np.ndarray, other: str, expected: np.ndarray, rtol: float) -> None:
    """All elements equal, to rtol of the largest (or of 1, if that is less); names the worst one."""
    if not found.size:
        return
    error = np.abs(found - expected)
    wrong = ~(error <= rtol * max(1.0, np.abs(expected).max()))  # not: a nan is wrong, too
    if wrong.any():
        worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
        worst = tuple(int(n) for n in worst)
        raise AssertionError(f"{name} {found[worst]:.9g}, {other} {expected[worst]:.9g} at {worst}; "
                             f"{wrong.sum()} of {wrong.size} elements differ")


def read_only(*arrays: np.ndarray) -> None:
    """Whoever writes to one of them from now on fails."""
    for a in arrays:
        a.flags.writeable = False


def _several(y: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [y] if isinstance(y, Tensor) else y


def _variables(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """Variables on read-only arrays."""
    read_only(*arrays)
    return [Tensor(a, requires_grad=True) for a in arrays]
