"""Operations: values against NumPy's own, derivatives against central differences, dtypes, errors, extremes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from checks import check_grads

from minigan.engine import ops, shape_ops
from minigan.engine.autograd import Tensor, grad

pytestmark = pytest.mark.filterwarnings("error")  # no operation warns of anything by itself


# ---- every operation: values, second order, dtypes ---------------------------------------------------------

def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.5, 2, shape)


def off_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Both signs, away from a kink at 0 and from a pole there."""
    return rng.uniform(0.5, 2, shape) * rng.choice((-1, 1), shape)


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers no two of which are close: away from the kinks of max."""
    return rng.permutation(math.prod(shape)).reshape(shape) / 4


@dataclass(frozen=True)
class Case:
    """One call of an operation: ours on Tensors, NumPy's on arrays, for inputs of these shapes."""

    name: str
    ours: Callable
    numpys: Callable
    shapes: tuple[tuple[int, ...], ...] = ((2, 3),)
    draw: Callable = field(default=normal)

    def arrays(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [self.draw(rng, shape) for shape in self.shapes]


def np_log_softmax(x):
    return np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True))


FUNCTIONS = [
    Case("negative", ops.negative, np.negative),
    Case("exp", ops.exp, np.exp),
    Case("log", ops.log, np.log, draw=positive),
    Case("sqrt", ops.sqrt, np.sqrt, draw=positive),
    Case("tanh", ops.tanh, np.tanh),
    Case("sigmoid", ops.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    Case("softplus", ops.softplus, lambda x: np.log(1 + np.exp(x))),
    Case("relu", ops.relu, lambda x: np.where(x > 0, x, 0), draw=off_zero),
    Case("leaky_relu", ops.leaky_relu, lambda x: np.where(x > 0, x, 0.1 * x), draw=off_zero),
    Case("leaky_relu-0.7", lambda x: ops.leaky_relu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * x),
         draw=off_zero),
    Case("leaky_relu-1", lambda x: ops.leaky_relu(x, 1), lambda x: x),
    Case("log_softmax", ops.log_softmax, np_log_softmax, ((2, 1, 4),)),
    Case("log_softmax-vector", ops.log_softmax, np_log_softmax, ((5,),)),
    *(Case(f"power-{p}", lambda x, p=p: x ** p, lambda x, p=p: x ** float(p)) for p in (0, 1, 2, 3, 2.0)),
    *(Case(f"power-{p}", lambda x, p=p: x ** p, lambda x, p=p: x ** p, draw=positive)
      for p in (-1.0, -2.5, 0.5, np.float64(1.5))),
    *(Case(f"{case.name}-scalar", case.ours, case.numpys, ((),), case.draw) for case in (
        Case("sigmoid", ops.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
        Case("softplus", ops.softplus, lambda x: np.log(1 + np.exp(x))),
        Case("relu", ops.relu, lambda x: np.maximum(x, 0), draw=off_zero),
        Case("power", lambda x: x ** 1.5, lambda x: x ** 1.5, draw=positive))),
]

BROADCASTS = [((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), ()),
              ((), ()), ((1,), (2, 3)), ((2, 1, 3), (4, 1)), ((1, 1), ()), ((0, 3), (3,)), ((0,), (1,))]
ARITHMETIC = [
    Case(f"{name}-{a}-{b}".replace(" ", ""), ours, numpys, (a, b), off_zero)
    for name, ours, numpys in [("add", ops.add, np.add), ("subtract", ops.subtract, np.subtract),
                               ("multiply", ops.multiply, np.multiply), ("divide", ops.divide, np.divide)]
    for a, b in BROADCASTS
]

AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (1,), (), (0, 1, 2)]
REDUCTIONS = [
    Case(f"{name}-{axis}-{keepdims}".replace(" ", ""),
         lambda x, f=ours, axis=axis, keepdims=keepdims: f(x, axis, keepdims),
         lambda x, f=numpys, axis=axis, keepdims=keepdims: f(x, axis=axis, keepdims=keepdims), ((2, 3, 4),), draw)
    for name, ours, numpys, draw in [("sum", ops.sum, np.sum, normal), ("mean", ops.mean, np.mean, normal),
                                     ("max", ops.max, np.max, apart)]
    for axis in AXES for keepdims in (False, True)
] + [
    Case("sum-scalar", ops.sum, np.sum, ((),)),
    Case("mean-scalar", ops.mean, np.mean, ((),)),
    Case("max-scalar", ops.max, np.max, ((),)),
    Case("sum-empty", lambda x: ops.sum(x, 0), lambda x: np.sum(x, 0), ((0, 3),)),
    Case("sum-empty-along-other", lambda x: ops.sum(x, 1), lambda x: np.sum(x, 1), ((0, 3),)),
    Case("max-empty-along-other", lambda x: ops.max(x, 1), lambda x: np.max(x, 1), ((0, 3),)),
]

SHAPES = [
    Case("reshape", lambda x: ops.reshape(x, (3, 2)), lambda x: x.reshape(3, 2)),
    Case("reshape-unknown", lambda x: ops.reshape(x, [3, -1]), lambda x: x.reshape(3, -1)),
    Case("reshape-to-scalar", lambda x: ops.reshape(x, ()), lambda x: x.reshape(()), ((1, 1),)),
    Case("reshape-method", lambda x: x.reshape(3, -1), lambda x: x.reshape(3, -1)),
    Case("reshape-method-tuple", lambda x: x.reshape((6,)), lambda x: x.reshape(6)),
    Case("transpose", ops.transpose, np.transpose, ((2, 3, 4),)),
    *(Case(f"transpose-{axes}".replace(" ", ""), lambda x, axes=axes: ops.transpose(x, axes),
           lambda x, axes=axes: np.transpose(x, axes), ((2, 3, 4),))
      for axes in [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, -1, 1), (-1, 0, -2)]),
    Case("transpose-scalar", ops.transpose, np.transpose, ((),)),
    Case("transpose-method", lambda x: x.transpose(1, 0), np.transpose),
    Case("transpose-method-tuple", lambda x: x.transpose((1, 0)), np.transpose),
    Case("transpose-method-reversed", lambda x: x.transpose(), np.transpose),
    Case("swap_last", ops.swap_last, lambda x: np.swapaxes(x, -1, -2), ((2, 3, 4),)),
    *(Case(f"broadcast_to-{a}-{b}".replace(" ", ""), lambda x, b=b: ops.broadcast_to(x, b),
           lambda x, b=b: np.broadcast_to(x, b), (a,))
      for a, b in [((3,), (2, 3)), ((2, 1), (2, 3)), ((), (2, 2)), ((1, 3, 1), (2, 4, 3, 2)), ((1,), (0,))]),
    Case("sum_to-lead", lambda x: ops.sum_to(x, (3,)), lambda x: x.sum(0)),
    Case("sum_to-kept", lambda x: ops.sum_to(x, (2, 1)), lambda x: x.sum(1, keepdims=True)),
    Case("sum_to-scalar", lambda x: ops.sum_to(x, ()), np.sum),
    Case("sum_to-same", lambda x: ops.sum_to(x, (2, 3)), lambda x: x),
    *(Case(f"concatenate-{axis}", lambda *xs, axis=axis: ops.concatenate(xs, axis),
           lambda *xs, axis=axis: np.concatenate(xs, axis), shapes)
      for axis, shapes in [(0, ((2, 3), (1, 3), (2, 3))), (1, ((2, 3), (2, 1))), (-1, ((2, 3), (2, 0), (2, 2))),
                           (-2, ((1, 2), (3, 2))), (0, ((4,),))]),
    Case("concatenate-twice-the-same", lambda x: ops.concatenate([x, x], 1), lambda x: np.concatenate([x, x], 1)),
]

PRODUCTS = [
    Case(f"matmul-{a}-{b}".replace(" ", ""), ops.matmul, np.matmul, (a, b))
    for a, b in [((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)),
                 ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3,)),
                 ((3,), (5, 3, 2)), ((1, 3), (3, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((4, 2, 0), (0, 3)),
                 ((1, 2, 3), (5, 3, 4))]
]

INDICES = {
    "number": 1, "last": -1, "numpy-number": np.int64(2), "slice": slice(1, 3), "step": slice(None, None, 2),
    "backwards": slice(None, None, -1), "empty-slice": slice(2, 2), "ellipsis": (..., 1),
    "new-axis": (slice(None), None, 2), "tuple": (1, slice(0, 2)), "one-element": (3, 1),
    "list": [0, 2], "list-repeated": [1, 3, 1, 1], "array": np.array([[0, 3], [3, 3]]), "zero-d": np.array(2),
    "negative-repeated": [-1, 3, 0], "boolean": np.array([True, False, True, True]),
    "boolean-all": np.arange(12).reshape(4, 3) % 2 == 0, "boolean-none": np.zeros((4, 3), bool),
    "pairs": ([0, 1, 0], [2, 2, 2]), "array-and-slice": (slice(1, None), [2, 0, 2]), "empty-list": np.zeros(0, int),
}
LABELS = {"vector": [0, 2, 2, 4, 2], "matrix": np.array([[1, 1], [0, 3]]), "one": 3, "unsigned": np.uint8([4, 4]),
          "none": np.zeros(0, np.int64)}
LOOKUPS = [
    *(Case(f"index-{name}", lambda x, i=i: x[i], lambda x, i=i: x[i], ((4, 3),)) for name, i in INDICES.items()),
    *(Case(f"embedding-{name}", lambda W, i=i: ops.embedding(W, i), lambda W, i=i: W[np.asarray(i)], ((5, 2),))
      for name, i in LABELS.items()),
]

CASES = FUNCTIONS + ARITHMETIC + REDUCTIONS + SHAPES + PRODUCTS + LOOKUPS
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_values_are_numpys(case, rng):
    arrays = case.arrays(rng)
    y, expected = case.ours(*map(Tensor, arrays)), case.numpys(*arrays)
    assert (y.shape, y.dtype) == (np.shape(expected), np.float64)
    np.testing.assert_allclose(y.data, expected, rtol=1e-13, atol=1e-14)  # a few roundings


@every_case
def test_derivatives_are_central_differences_to_second_order(case, rng):
    check_grads(case.ours, *case.arrays(rng))


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays_in_values_and_derivatives(case, dtype, rng):
    xs = [Tensor(a.astype(dtype), requires_grad=True) for a in case.arrays(rng)]
    y = case.ours(*xs)
    first = grad(ops.sum(y), xs, create_graph=True)
    total = first[0].sum()
    for g in first[1:]:
        total = total + ops.sum(g)
    tensors = [y, *first, total]
    if total.requires_grad:
        tensors += grad(total, xs)
    assert {t.dtype for t in tensors} == {np.dtype(dtype)}
    assert all(isinstance(t.data, np.ndarray) for t in tensors)


# ---- what may stand beside a tensor ------------------------------------------------------------------------

OPERATORS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("other", [
    3, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(3), np.array(2.5), np.array(2.5, np.float32),
    np.array(3), [1.5, 2.5], np.array([1, 2]), np.array([True, True]), np.array([[1], [2]], np.uint8)],
    ids=lambda other: f"{type(other).__name__}-{getattr(other, 'dtype', '')}-{np.shape(other)}")
def test_numbers_and_integers_take_the_tensors_dtype(other, sign, dtype):
    x = Tensor(np.array([[1, 2], [3, 4]], dtype), requires_grad=True)
    operator = OPERATORS[sign]
    for y, expected in [(operator(x, other), operator(x.data, np.asarray(other, dtype))),
                        (operator(other, x), operator(np.asarray(other, dtype), x.data))]:
        assert isinstance(y, Tensor) and y.dtype == dtype
        np.testing.assert_array_equal(y.data, expected)
        assert grad(ops.sum(y), x).dtype == dtype


@pytest.mark.parametrize("sign", [*OPERATORS, "@"])
def test_an_array_may_stand_on_either_side_of_an_operator(sign, rng):
    operator = OPERATORS.get(sign, lambda a, b: a @ b)
    a, b = off_zero(rng, (3, 3)), off_zero(rng, (3, 3))
    for y in (operator(Tensor(a), b), operator(a, Tensor(b)), operator(Tensor(a), Tensor(b))):
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.data, operator(a, b))
    check_grads(lambda x: operator(x, b), a)
    check_grads(lambda x: operator(a, x), b)


@pytest.mark.parametrize("data", [np.arange(3), np.array([True, False]), np.uint8([255]), np.float16([0.5]), 2, 0.5,
                                  [0.1, 0.2], [[1], [2]]], ids=repr)
def test_all_but_float_arrays_becomes_float32(data):
    x = Tensor(data)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.data, np.asarray(data).astype(np.float32))


def test_arrays_of_floats_are_taken_as_they_are():
    for dtype in (np.float32, np.float64):
        a = np.zeros(2, dtype)
        assert Tensor(a).data is a


def test_a_tensors_data_is_an_array_even_for_one_number():
    for x in (Tensor(np.float32(2)), ops.sum(Tensor(np.ones(3))), Tensor(np.ones(3))[1], Tensor(2.0) * 3):
        assert isinstance(x.data, np.ndarray) and x.shape == () and x.size == 1


def test_methods_and_operators_are_the_functions(rng):
    x, y = Tensor(off_zero(rng, (2, 3))), Tensor(off_zero(rng, (2, 3)))
    pairs = [(x.sum(0), ops.sum(x, 0)), (x.mean(1, True), ops.mean(x, 1, True)), (x.max(-1), ops.max(x, -1)),
             (-x, ops.negative(x)), (x - y, ops.subtract(x, y)), (1 - y, ops.subtract(1, y)),
             (x / y, ops.divide(x, y)), (1 / y, ops.divide(1, y)), (x[1], ops.take(x, 1)),
             (x @ y.transpose(), ops.matmul(x, ops.transpose(y)))]
    for method, function in pairs:
        np.testing.assert_array_equal(method.data, function.data)
    assert len(x) == 2 and (x.ndim, x.size) == (2, 6)


# ---- adjoints ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape, to", [((3,), (4, 3)), ((2, 1, 3), (2, 5, 3)), ((), (2, 2)), ((1, 1), (7, 3, 2))])
def test_sum_to_is_the_adjoint_of_broadcast_to(shape, to, rng):
    x, y = normal(rng, shape), normal(rng, to)
    left = np.sum(ops.broadcast_to(Tensor(x), to).data * y)
    assert left == pytest.approx(np.sum(x * ops.sum_to(Tensor(y), shape).data), rel=1e-12)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_put_is_the_adjoint_of_take(index, rng):
    x = normal(rng, (4, 3))
    y = normal(rng, x[index].shape)
    put = shape_ops.Put(index, x.shape)(Tensor(y)).data
    assert np.sum(x[index] * y) == pytest.approx(np.sum(x * put), rel=1e-12, abs=1e-14)


# ---- extremes ----------------------------------------------------------------------------------------------

FAR = np.array([-1e4, -1e3, -100, -1, 0, 1, 100, 1e3, 1e4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function, values, slopes", [
    (ops.softplus, lambda x: np.logaddexp(0, x), lambda x: np.exp(-np.logaddexp(0, -x))),
    (ops.sigmoid, lambda x: np.exp(-np.logaddexp(0, -x)), lambda x: np.exp(-np.logaddexp(0, -x) - np.logaddexp(0, x))),
    (ops.tanh, np.tanh, lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2),
    (ops.relu, lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0)),
    (ops.leaky_relu, lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
], ids=["softplus", "sigmoid", "tanh", "relu", "leaky_relu"])
def test_no_overflow_far_from_zero(function, values, slopes, dtype):
    x = Tensor(FAR.astype(dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = function(x)
        g = grad(ops.sum(y), x, create_graph=True)
        second = grad(ops.sum(g), x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y.data, values(FAR), rtol=4 * eps, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(g.data, slopes(FAR), rtol=4 * eps, atol=eps)
    assert np.isfinite(second.data).all()


def test_small_probabilities_keep_their_digits():
    """A discriminator that is sure still gives its generator a direction: softplus'(-60) is e^-60, not 0."""
    x = Tensor(np.array([-20, -40, -60], np.float32), requires_grad=True)
    np.testing.assert_allclose(ops.sigmoid(x).data, np.exp([-20.0, -40, -60]), rtol=1e-6)
    np.testing.assert_allclose(grad(ops.sum(ops.softplus(x)), x).data, np.exp([-20.0, -40, -60]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_of_extremes(dtype):
    x = Tensor(np.array([[1e4, 0, -1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, 0]], dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = ops.log_softmax(x)
        g = grad(y, x, gy=Tensor(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], dtype)))
    third = np.log(3)
    np.testing.assert_allclose(y.data, [[0, -1e4, -2e4], [-third] * 3, [-1e4, -1e4, 0]], rtol=1e-6)
    np.testing.assert_allclose(g.data, [[0, 0, 0], [2 / 3, -1 / 3, -1 / 3], [0, 0, 0]], rtol=1e-6)


def test_relu_at_zero_takes_the_negative_side():
    x = Tensor(np.array([0.0, -0.0, 1.0]), requires_grad=True)
    np.testing.assert_array_equal(grad(ops.sum(ops.relu(x)), x).data, [0, 0, 1])
    np.testing.assert_array_equal(grad(ops.sum(ops.leaky_relu(x, 0.2)), x).data, [0.2, 0.2, 1])


@pytest.mark.parametrize("exponent, derivatives", [(0, (0, 0)), (1, (1, 0)), (2, (0, 2)), (3, (0, 0))])
def test_whole_powers_have_their_derivatives_at_zero(exponent, derivatives):
    """0 * 0^-1 would be nan: the branches of the constant and of the identity are there for this."""
    x = Tensor(np.zeros(1), requires_grad=True)
    first = grad(x ** exponent, x, create_graph=True)
    second = grad(first, x) if first.requires_grad else Tensor(np.zeros(1))
    assert (first.item(), second.item()) == derivatives


def test_nan_is_not_hidden():
    x = Tensor(np.array([1.0, np.nan]))
    for y in (ops.relu(x), ops.leaky_relu(x), ops.softplus(x), ops.max(x), ops.sum(x), ops.log_softmax(x)):
        assert np.isnan(y.data).any()


@pytest.mark.parametrize("axis, share", [
    (None, [[0.25, 0, 0.25], [0, 0.25, 0.25]]), (0, [[1, 0, 0.5], [0, 1, 0.5]]), (1, [[0.5, 0, 0.5], [0, 0.5, 0.5]])])
def test_equal_largest_elements_share_the_gradient(axis, share):
    x = Tensor(np.array([[3.0, 1, 3], [2, 3, 3]]), requires_grad=True)
    g = grad(ops.sum(ops.max(x, axis)), x)
    np.testing.assert_array_equal(g.data, share)


def test_the_mean_of_nothing_is_zero():
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    np.testing.assert_array_equal(ops.mean(x, 0).data, [0, 0, 0])
    assert ops.mean(x).item() == 0 and ops.mean(x, 1).shape == (0,)
    assert grad(ops.mean(x), x).shape == (0, 3)


def test_large_arrays_are_worked_on_in_blocks(rng):
    """Above the size at which elementwise work is spread over threads, with a rest: still NumPy's values."""
    a, b = normal(rng, (3, 300, 111)), normal(rng, (3, 300, 111))
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = ops.leaky_relu(ops.tanh(x) * y + x)
    t = np.tanh(a) * b + a
    np.testing.assert_array_equal(z.data, np.where(t > 0, t, 0.1 * t))
    slope = np.where(t > 0, 1, 0.1)
    gx, gy = grad(ops.sum(z), [x, y])
    np.testing.assert_allclose(gx.data, slope * (b * (1 - np.tanh(a) ** 2) + 1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gy.data, slope * np.tanh(a), rtol=1e-12)


# ---- errors ------------------------------------------------------------------------------------------------

def tensor(*shape: int, dtype=np.float32) -> Tensor:
    return Tensor(np.ones(shape, dtype))


ERRORS = {
    "add-shapes": (lambda: tensor(2, 3) + tensor(2), ValueError, "add: the shapes do not broadcast", "(2, 3) float32",
                   "(2,) float32"),
    "subtract-dtypes": (lambda: tensor(2) - tensor(2, dtype=np.float64), TypeError, "subtract: the dtypes differ",
                        "(2,) float32", "(2,) float64", "convert"),
    "multiply-array": (lambda: tensor(2) * np.ones(2), TypeError, "multiply: the dtypes differ", "float64"),
    "divide-shapes": (lambda: np.ones((2, 2), np.float32) / tensor(3), ValueError, "divide:", "(2, 2)", "(3,)"),
    "power-tensor": (lambda: tensor(2) ** tensor(2), TypeError, "power: expected a number", "got Tensor", "exp("),
    "matmul-inner": (lambda: tensor(2, 3) @ tensor(2, 3), ValueError, "matmul: the inner lengths differ",
                     "(2, 3) float32 @ (2, 3) float32"),
    "matmul-vector": (lambda: tensor(2, 3) @ tensor(2), ValueError, "matmul:", "(2, 3)", "(2,)"),
    "matmul-number": (lambda: tensor() @ tensor(2), ValueError, "matmul:", "() float32"),
    "matmul-lead": (lambda: tensor(2, 3, 4) @ tensor(5, 4, 3), ValueError, "matmul: leading axes do not broadcast",
                    "(2, 3, 4)", "(5, 4, 3)"),
    "matmul-dtypes": (lambda: tensor(2, 2) @ tensor(2, 2, dtype=np.float64), TypeError, "matmul: the dtypes differ"),
    "slope-above": (lambda: ops.leaky_relu(tensor(2), 1.5), ValueError, "leaky_relu: expected a slope of 0 to 1",
                    "1.5"),
    "slope-below": (lambda: ops.leaky_relu(tensor(2), -0.1), ValueError, "leaky_relu:", "-0.1"),
    "slope-nan": (lambda: ops.leaky_relu(tensor(2), math.nan), ValueError, "leaky_relu:", "nan"),
    "concatenate-shapes": (lambda: ops.concatenate([tensor(2, 3), tensor(2, 4)]), ValueError, "concatenate: expected",
                           "axis 0", "(2, 3) float32, (2, 4) float32"),
    "concatenate-dtypes": (lambda: ops.concatenate([tensor(2), tensor(2, dtype=np.float64)]), ValueError,
                           "concatenate:", "float32", "float64"),
    "concatenate-axis": (lambda: ops.concatenate([tensor(2), tensor(2)], 1), ValueError, "concatenate:", "axis 1",
                         "(2,)"),
    "concatenate-numbers": (lambda: ops.concatenate([tensor()]), ValueError, "concatenate:", "() float32"),
    "concatenate-nothing": (lambda: ops.concatenate([]), ValueError, "concatenate:", "got nothing"),
    "transpose-twice": (lambda: ops.transpose(tensor(2, 3), (0, 0)), ValueError, "transpose:", "(2, 3) float32",
                        "(0, 0)"),
    "transpose-few": (lambda: tensor(2, 3).transpose(0), ValueError, "transpose:", "(2, 3) float32", "(0,)"),
    "transpose-far": (lambda: tensor(2, 3).transpose(0, -3), ValueError, "transpose:", "(0, -3)"),
    "sum_to": (lambda: ops.sum_to(tensor(4, 6), (3, 8)), ValueError, "sum_to:", "(3, 8)", "(4, 6) float32"),
    "sum_to-longer": (lambda: ops.sum_to(tensor(3), (2, 3)), ValueError, "sum_to:", "(2, 3)", "(3,) float32"),
    "sum_to-same-first": (lambda: ops.sum_to(tensor(3), (3, 2)), ValueError, "sum_to:", "(3, 2)", "(3,) float32"),
    "reshape": (lambda: tensor(2, 3).reshape(4), ValueError, "size 6", "(4,)"),
    "broadcast_to": (lambda: ops.broadcast_to(tensor(2), (3,)), ValueError, "broadcast", "(2,)", "(3,)"),
    "max-empty": (lambda: ops.max(tensor(0, 3), 0), ValueError, "maximum", "zero-size"),
    "sum-axis": (lambda: ops.sum(tensor(2, 3), 2), ValueError, "axis 2", "dimension 2"),
    "embedding-float": (lambda: ops.embedding(tensor(3, 2), np.ones(2)), TypeError, "embedding: expected integer",
                        "float64"),
    "embedding-high": (lambda: ops.embedding(tensor(3, 2), [1, 3]), ValueError, "embedding: labels go from 1 to 3",
                       "3 rows"),
    "embedding-negative": (lambda: ops.embedding(tensor(3, 2), [-1]), ValueError, "embedding:", "from -1 to -1"),
    "tensor-of-tensor": (lambda: Tensor(tensor(2)), TypeError, "is a Tensor already", "detach()"),
}


@pytest.mark.parametrize("call, kind, parts", [(c, k, p) for c, k, *p in ERRORS.values()], ids=ERRORS)
def test_errors_name_the_operation_the_shapes_and_the_dtypes(call, kind, parts):
    with pytest.raises(kind) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
