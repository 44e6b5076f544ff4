"""The engine: which operations grad visits, what it keeps alive, what it never writes into."""

import gc
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from checks import check_grads

from minigan.engine import conv_ops, ops, products
from minigan.engine.autograd import FusedOp, Op, Tensor, grad, no_grad


def variable(*numbers: float) -> Tensor:
    return Tensor(np.array(numbers, np.float64), requires_grad=True)


class Counted(Op):
    """x, under a name that is noted when its backward runs."""

    def __init__(self, name: str, visits: list[str]):
        self.name, self.visits = name, visits

    def forward(self, x):
        return x.copy()

    def backward(self, gy):
        self.visits.append(self.name)
        return (gy,)


# ---- what grad returns -------------------------------------------------------------------------------------

def test_gradient_of_a_product_and_its_shape_and_dtype(rng):
    a, b = rng.standard_normal((2, 3)).astype(np.float32), rng.standard_normal((2, 3)).astype(np.float32)
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    gx, gy = grad(ops.sum(x * y), [x, y])
    np.testing.assert_array_equal(gx.data, b)
    np.testing.assert_array_equal(gy.data, a)
    assert gx.dtype == gy.dtype == np.float32


def test_one_x_gives_one_tensor_and_a_sequence_gives_a_list():
    x = variable(1, 2)
    y = ops.sum(x * x)
    assert isinstance(grad(y, x), Tensor)
    for xs in ([x], (x,), {"x": x}.values()):
        found = grad(y, xs)
        assert isinstance(found, list) and len(found) == 1
    assert grad(y, []) == []


def test_weights_gy_weight_the_elements_of_y(rng):
    x, weights = variable(1, 2, 3), rng.standard_normal(3)
    np.testing.assert_allclose(grad(x * x, x, gy=Tensor(weights)).data, 2 * weights * x.data, rtol=1e-15)


def test_one_element_of_any_shape_needs_no_weights():
    x = Tensor(np.full((1, 1), 3.0), requires_grad=True)
    np.testing.assert_array_equal(grad(x * x, x).data, [[6.0]])


def test_an_x_on_the_way_to_y(rng):
    x = variable(*rng.standard_normal(3))
    h = ops.tanh(x)
    y = ops.sum(h * h * h)
    gx, gh = grad(y, [x, h])
    np.testing.assert_allclose(gh.data, 3 * h.data ** 2, rtol=1e-14)
    np.testing.assert_allclose(gx.data, gh.data * (1 - h.data ** 2), rtol=1e-14)
    np.testing.assert_array_equal(grad(y, h).data, gh.data)


def test_the_same_x_twice_gets_the_whole_gradient_twice():
    x = variable(3)
    assert [g.item() for g in grad(x * x, [x, x])] == [6, 6]


def test_y_among_the_xs_gets_gy():
    x = variable(2)
    y = x * x
    assert [g.item() for g in grad(y, [y, x])] == [1, 4]
    assert grad(x, x).item() == 1


def test_independent_xs_get_zeros():
    x, other = variable(1, 2), Tensor(np.ones((3, 2), np.float32), requires_grad=True)
    gx, zeros = grad(ops.sum(x * x), [x, other])
    assert zeros.shape == (3, 2) and zeros.dtype == np.float32 and not zeros.data.any()
    np.testing.assert_array_equal(gx.data, [2, 4])
    assert not grad(ops.sum(Tensor(np.ones(2))), x).data.any()  # y is a constant
    later = variable(1, 2)  # younger than y
    assert not grad(ops.sum(x * x), later).data.any()
    result = ops.sum(x * x)
    assert grad(result, x * 2).data.tolist() == [0, 0]  # made from x, not on the way to y


def test_a_second_call_gives_the_same_and_leaves_the_first_alone(rng):
    x = Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    h = ops.tanh(x) @ x.transpose()
    y = ops.sum(h * h + h)
    first = grad(y, [x, h])
    kept = [g.data.copy() for g in first]
    second = grad(y, [x, h])
    with_graph = grad(y, [x, h], create_graph=True)
    for a, b, c, d in zip(first, kept, second, with_graph, strict=True):
        np.testing.assert_array_equal(a.data, b)
        np.testing.assert_array_equal(c.data, b)
        np.testing.assert_allclose(d.data, b, rtol=1e-13)


def test_without_create_graph_gradients_are_constants():
    x = variable(2)
    assert not grad(x * x * x, x).requires_grad
    assert grad(x * x * x, x, create_graph=True).requires_grad


def test_derivatives_of_a_power_down_to_the_last():
    """d^n/dx^n x^5 at 2: 80, 160, 240, 240, 120, 0."""
    x = variable(2)
    y, found = x ** 5, []
    for _ in range(6):
        y = grad(y, x, create_graph=True)
        found.append(y.item())
    np.testing.assert_allclose(found, [80, 160, 240, 240, 120, 0], rtol=1e-14)


def test_third_and_fourth_order_against_central_differences(rng):
    check_grads(lambda x, y: ops.tanh(x * y) / (x * x + 1), rng.standard_normal(2), rng.standard_normal(2), order=4)


def test_gradient_of_a_gradient_penalty(rng):
    """The pattern of WGAN-GP, with a closed form: D(x) = w.x, so the penalty is (|w| - 1)^2 whatever x is."""
    w, x = Tensor(rng.standard_normal(4), requires_grad=True), Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    gx = grad(ops.sum(x @ w), x, create_graph=True)
    penalty = ops.mean((ops.sqrt(ops.sum(gx * gx, 1)) - 1) ** 2)
    norm = np.linalg.norm(w.data)
    np.testing.assert_allclose(grad(penalty, w).data, 2 * (norm - 1) * w.data / norm, rtol=1e-13)
    assert not grad(penalty, x).data.any()


@pytest.mark.parametrize("call, parts", [
    (lambda x: grad(ops.sum(x), Tensor(np.ones(2))), ["xs[0]", "(2,)", "float64", "constant", "requires_grad=True"]),
    (lambda x: grad(ops.sum(x), [x, Tensor(np.ones((1, 2), np.float32))]), ["xs[1]", "(1, 2)", "float32"]),
    (lambda x: grad(x, x), ["y has shape (3,)", "expected one element, or weights gy"]),
    (lambda x: grad(x, x, gy=Tensor(np.ones(2))), ["gy is (2,) float64", "y is (3,) float64"]),
    (lambda x: grad(x, x, gy=Tensor(np.ones(3, np.float32))), ["gy is (3,) float32", "y is (3,) float64"]),
], ids=["constant-x", "second-x", "many-elements", "gy-shape", "gy-dtype"])
def test_errors_say_which_tensor_and_what_was_expected(call, parts):
    with pytest.raises(ValueError) as caught:
        call(variable(1, 2, 3))
    assert str(caught.value).startswith("grad: ")
    for part in parts:
        assert part in str(caught.value)


# ---- recording ---------------------------------------------------------------------------------------------

def test_nothing_is_recorded_in_no_grad_nor_from_constants():
    x = variable(1, 2)
    with no_grad():
        assert not (x * 2).requires_grad
        assert Tensor(x.data, requires_grad=True).requires_grad  # a variable is a variable everywhere
    assert (x * 2).requires_grad
    assert not (Tensor(x.data) * 2).requires_grad


def test_no_grad_nests_and_ends_with_an_exception():
    x = variable(1)
    with no_grad():
        with no_grad():
            pass
        assert not (x + 1).requires_grad
    with pytest.raises(ZeroDivisionError):
        with no_grad():
            1 / 0  # noqa: B018
    assert (x + 1).requires_grad


def test_an_exception_in_a_backward_leaves_recording_as_it_was():
    class Broken(Counted):
        def backward(self, gy):
            raise ArithmeticError("broken")

    x = variable(1)
    for create_graph in (False, True):
        with pytest.raises(ArithmeticError):
            grad(Broken("", [])(x), x, create_graph=create_graph)
        assert (x + 1).requires_grad


def test_a_graph_of_the_gradient_can_be_wanted_inside_no_grad():
    x = variable(3)
    y = x * x * x
    with no_grad():
        g = grad(y, x, create_graph=True)
        assert not (x + 1).requires_grad
    assert grad(g, x).item() == 18


def in_another_thread(function):
    """function()'s result, from a thread that has come and gone."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(10)
    return found[0]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_forward_in_one_thread_during_a_backward_in_another_is_recorded(create_graph):
    inner = []

    class Meeting(Counted):
        def backward(self, gy):
            inner.append(in_another_thread(lambda: grad(w * w, w).item()))
            return (gy * 1,)

    x, w = variable(3), variable(5)
    g = grad(Meeting("", [])(x) * x, x, create_graph=create_graph)
    assert (g.item(), inner, g.requires_grad) == (6, [10], create_graph)


def test_no_grad_is_for_its_own_thread():
    x = variable(3)
    with no_grad():
        assert in_another_thread(lambda: grad(x * x, x).item()) == 6
        assert not (x * x).requires_grad

    def constant():
        with no_grad():
            begun.set()
            assert done.wait(10)
            return (x * x).requires_grad
    begun, done, found = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(constant()))
    thread.start()
    assert begun.wait(10)
    recorded = (x * x).requires_grad
    done.set()
    thread.join(10)
    assert recorded and found == [False]


def test_detach_shares_the_array_and_stops_the_gradient():
    x = variable(3)
    h = x * x
    d = h.detach()
    assert d.data is h.data and not d.requires_grad
    assert grad(d * x, x).item() == 9  # not 27


def test_repr_names_the_operation():
    x = variable(1)
    assert repr(x * x).endswith(", Multiply)") and repr(x).endswith(", Variable)")
    assert repr(x.detach()) == "Tensor(array([1.]))"


# ---- the path ----------------------------------------------------------------------------------------------

def test_only_what_lies_between_y_and_the_xs_is_visited():
    visits: list[str] = []
    x, w = variable(1, 2), variable(3, 4)
    h = Counted("x2", visits)(Counted("x1", visits)(x))
    side = Counted("side", visits)(x)
    z = Counted("w1", visits)(w) * h
    y = ops.sum(Counted("top", visits)(z))
    assert side.requires_grad
    for xs, expected in [(x, ["top", "x2", "x1"]), (w, ["top", "w1"]), (h, ["top"]), (z, ["top"]), (y, []),
                         ([x, w], ["top", "w1", "x2", "x1"]), ([h, w], ["top", "w1"]), (side, [])]:
        visits.clear()
        grad(y, xs)
        assert visits == expected


def test_what_is_older_than_every_x_is_not_even_looked_at():
    h = Counted("", [])(variable(1, 2))
    h.node.parents = None  # whoever walks on from here fails
    w = variable(3, 4)
    np.testing.assert_array_equal(grad(ops.sum(h * w), w).data, [1, 2])


def test_what_is_visited_once_is_visited_once_however_many_ways_lead_there():
    visits: list[str] = []
    x = variable(1)
    y = Counted("shared", visits)(x)
    for _ in range(20):
        y = y + y * 0.5
    assert grad(y, x).item() == pytest.approx(1.5 ** 20)
    assert visits == ["shared"]


@pytest.fixture
def calls(monkeypatch):
    """The names of the convolution loops and matrix products that run, in order."""
    names: list[str] = []

    def watch(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: (names.append(name), real(*args))[1])
    for name in ("correlate", "correlate_transposed", "correlate_weights"):
        watch(conv_ops, name)
    watch(products, "matmul")
    return names


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_networks_input_gradient_costs_no_weight_gradient_and_vice_versa(calls, create_graph, rng):
    def parameter(*shape):
        return Tensor(rng.standard_normal(shape), requires_grad=True)
    x, W1, W2, W3 = parameter(2, 6, 6, 2), parameter(3, 3, 3, 2), parameter(3, 3, 3, 4), parameter(4, 1)
    h = conv_ops.conv_transpose2d(conv_ops.conv2d(x, W1, None, 1, 1, 0.1), W2, None, 1, 1, 0.1)
    y = ops.sum(ops.sum(h, (1, 2)) @ W3)
    assert calls == ["correlate", "correlate_transposed", "matmul"]
    for xs, expected in [
            (x, ["matmul", "correlate", "correlate_transposed"]),
            (W1, ["matmul", "correlate", "correlate_weights"]),
            (W2, ["matmul", "correlate_weights"]),
            (W3, ["matmul"]),
            ([W1, W2, W3], ["matmul", "matmul", "correlate_weights", "correlate", "correlate_weights"])]:
        calls.clear()
        grad(y, xs, create_graph=create_graph)
        assert sorted(calls) == sorted(expected)


def test_nothing_of_a_constant_is_computed(calls, rng):
    """The discriminator's step: fake images are constants, and the generator behind them is not visited."""
    W, x = Tensor(rng.standard_normal((3, 3, 3, 2)), requires_grad=True), Tensor(rng.standard_normal((2, 6, 6, 2)))
    y = ops.sum(conv_ops.conv2d(x, W))
    calls.clear()
    grad(y, W)
    assert calls == ["correlate_weights"]


# ---- size --------------------------------------------------------------------------------------------------

def test_a_chain_of_10000_operations_needs_no_deep_stack():
    """Made, differentiated twice and destroyed in seconds: nothing recurses, nothing is quadratic."""
    began = time.process_time()
    x = variable(1.0)
    y = x
    for i in range(7000):
        y = y * x if i % 2 else y * 1.0 + 0.0
    g = grad(y, x, create_graph=True)  # y = x^3501
    assert g.item() == 3501
    assert grad(g, x).item() == pytest.approx(3501 * 3500, rel=1e-12)
    del y, g
    assert time.process_time() - began < 60  # a few seconds; a quadratic way would take many minutes


def test_a_diamond_of_depth_1000_is_linear_work():
    """2^1000 ways lead from y to x, 1000 operations lie between."""
    began = time.process_time()
    x = variable(1.0)
    y = x
    for _ in range(1000):
        y = y + y
    assert grad(y, x).item() == 2.0 ** 1000
    g = grad(y * x, x, create_graph=True)
    assert grad(g, x).item() == 2.0 ** 1001
    del y, g
    assert time.process_time() - began < 10


# ---- memory ------------------------------------------------------------------------------------------------

@pytest.fixture
def no_gc():
    """Garbage is not collected: what a cycle holds stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_of_a_chain_of_sums_only_the_last_array_lives(no_gc):
    y, arrays = variable(1, 2), []
    for _ in range(10):
        y = y + 1
        arrays.append(weakref.ref(y.data))
    assert [a() is not None for a in arrays] == [False] * 9 + [True]


W2 = Tensor(np.ones((2, 2)), requires_grad=True)
K = Tensor(np.ones((2, 1, 1, 2)), requires_grad=True)
KEEPS = {
    "add": (lambda h: h + 1, False),
    "subtract-variable": (lambda h: h - W2, False),
    "negative": (lambda h: -h, False),
    "multiply-constant": (lambda h: h * 2, False),
    "multiply-variable": (lambda h: h * W2, True),
    "divide-by-constant": (lambda h: h / 2, False),
    "divide-by-variable": (lambda h: h / W2, True),
    "constant-divided": (lambda h: 2 / h, True),
    "power": (lambda h: h ** 2, True),
    "exp": (ops.exp, False),
    "log": (ops.log, True),
    "sqrt": (ops.sqrt, False),
    "tanh": (ops.tanh, False),
    "sigmoid": (ops.sigmoid, False),
    "softplus": (ops.softplus, True),
    "relu": (ops.relu, False),
    "log_softmax": (ops.log_softmax, False),
    "sum": (ops.sum, False),
    "mean": (ops.mean, False),
    "max": (ops.max, False),
    "concatenate": (lambda h: ops.concatenate([h, W2]), False),
    "matmul-constant": (lambda h: h @ np.ones((2, 2)), False),
    "matmul-variable": (lambda h: h @ W2, True),
    "index-list": (lambda h: h[[0, 0]], False),
    "conv-constant": (lambda h: conv_ops.conv2d(h.reshape(1, 1, 2, 2), K.detach()), False),
    "conv-variable": (lambda h: conv_ops.conv2d(h.reshape(1, 1, 2, 2), K), True),
    "conv-transpose-constant": (lambda h: conv_ops.conv_transpose2d(h.reshape(1, 1, 2, 2), K.detach(), None, 2), False),
    "conv-transpose-variable": (lambda h: conv_ops.conv_transpose2d(h.reshape(1, 1, 2, 2), K, None, 2), True),
}


@pytest.mark.parametrize("function, kept", KEEPS.values(), ids=KEEPS)
def test_an_input_lives_only_while_a_derivative_reads_it(function, kept, no_gc):
    x = Tensor(np.full((2, 2), 0.5), requires_grad=True)
    h = x + 1
    array = weakref.ref(h.data)
    y = function(h)
    assert y.requires_grad
    del h
    assert (array() is not None) == kept
    with no_grad():
        h = x + 1
        array = weakref.ref(h.data)
        y = function(h)
    del h
    assert array() is None and not y.requires_grad


@pytest.mark.parametrize("order", [1, 2, 3])
def test_no_cycle_keeps_arrays(order, no_gc):
    """The result's own array, which exp, tanh, ... save, is held by no cycle; nor is any gradient's."""
    class Cube(FusedOp):
        def forward(self, x):
            return x ** 3.0

        def composed(self, x):
            return x * x * x

        def fused_backward(self, gy):
            return (3 * gy * self.saved[0].data ** 2,)

    x = variable(0.5, 0.7)
    arrays = []
    y = x
    for function in (ops.exp, ops.tanh, ops.sigmoid, ops.sqrt, ops.log_softmax, ops.leaky_relu, lambda y: Cube()(y)):
        y = y + function(y)
        arrays.append(weakref.ref(y.data))
    y = ops.sum(y)
    for i in range(order):
        y = ops.sum(grad(y, x, create_graph=i < order - 1))
        arrays.append(weakref.ref(y.data))
    assert arrays[-1]() is not None
    del y
    assert all(a() is None for a in arrays)


def traced(work):
    """(result, bytes kept, bytes at the peak) of work(), as tracemalloc sees NumPy's arrays."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, now - before, peak - before


def test_gradients_are_freed_on_the_way():
    """Of 30 gradients of 0.4 MB each, a few live at a time, and after grad only the one that was asked for."""
    x = Tensor(np.full(50_000, 0.1), requires_grad=True)
    y = x
    for _ in range(30):
        y = ops.tanh(y + x)
    y = ops.sum(y)
    grad(y, x)  # threads, caches
    g, kept, peak = traced(lambda: grad(y, x))
    assert kept < 1.2 * g.data.nbytes
    assert peak < 8 * g.data.nbytes


# ---- nothing is written into that somebody else holds -------------------------------------------------------

def test_in_place_sums_reach_nobody_elses_array():
    """Gradients that pass through unchanged (gy itself, views of it) are added up elsewhere."""
    x = variable(1, 2)
    gy = np.ones(2)
    gy.flags.writeable = False
    for y, expected in [(x + x + x, 3), (x + x + x + x + x, 5), ((x + x) + (x + x), 4), (x + (x + (x + x)), 4)]:
        np.testing.assert_array_equal(grad(y, x, gy=Tensor(gy)).data, [expected] * 2)
        np.testing.assert_array_equal(gy, [1, 1])


def test_gradients_of_both_summands_are_right_though_they_share_an_array():
    a, b = variable(1, 2), variable(3, 4)
    s = a + b
    y = ops.sum(s * 1.0 + a + b + a)
    ga, gb, gs = grad(y, [a, b, s])
    assert (ga.data.tolist(), gb.data.tolist(), gs.data.tolist()) == ([3, 3], [2, 2], [1, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(12))
def test_random_linear_graphs_on_read_only_arrays(seed, dtype):
    """Sums, views, broadcasts and look-ups mixed at random, all arrays locked: the gradient with respect to each
    of 20 tensors is the transposed Jacobian (from unit vectors, exact since the numbers are small integers).
    """
    rng = np.random.default_rng(seed)
    steps = 6 * [lambda a, b: a + b] + [
        lambda a, b: a + a, lambda a, b: a - b, lambda a, b: a + a[::-1],
        lambda a, b: a.reshape(3, 2).transpose().reshape(2, 3), lambda a, b: ops.broadcast_to(b[0], (2, 3)),
        lambda a, b: ops.sum_to(a, (2, 1)) + b, lambda a, b: a[[1, 1]] + b, lambda a, b: a * 2.0 + b,
        lambda a, b: ops.concatenate([a[1:], b[:1]]), lambda a, b: ops.broadcast_to(a.sum(0, True), (2, 3)),
    ]
    plan = [(steps[rng.integers(len(steps))], rng.integers(0, i + 2, 2)) for i in range(18)]

    def run(first: np.ndarray, second: np.ndarray, extra: np.ndarray | None = None, at: int = -1) -> list[Tensor]:
        """All tensors; extra is added to the one numbered `at`."""
        tensors = [Tensor(first, requires_grad=True), Tensor(second, requires_grad=True)]
        for step, (i, j) in plan:
            tensors.append(step(tensors[i], tensors[j]))
            if len(tensors) - 1 == at:
                tensors[-1] = tensors[-1] + extra
            tensors[-1].data.flags.writeable = False
        tensors.append(tensors[-1] + tensors[-2] + tensors[-1])
        return tensors

    zeros = np.zeros((2, 3), dtype)
    gy = rng.integers(-3, 4, (2, 3)).astype(dtype)
    gy.flags.writeable = False
    tensors = run(zeros, zeros)
    plain = grad(tensors[-1], tensors, gy=Tensor(gy))
    graph = grad(tensors[-1], tensors, create_graph=True, gy=Tensor(gy))
    for number in range(len(tensors) - 1):
        expected = np.empty((2, 3))
        for index in np.ndindex(2, 3):
            unit = zeros.copy()
            unit[index] = 1
            moved = run(unit if number == 0 else zeros, unit if number == 1 else zeros, unit, number)
            expected[index] = np.sum(gy * moved[-1].data)
        np.testing.assert_array_equal(plain[number].data, expected)
        np.testing.assert_array_equal(graph[number].data, expected)


def test_two_branches_with_fused_backwards_share_no_buffer(rng):
    """A convolution's input gradient arrives as a plain array; sums into it must not reach other gradients."""
    x = Tensor(rng.standard_normal((2, 5, 5, 2)), requires_grad=True)
    W = Tensor(rng.standard_normal((2, 3, 3, 2)), requires_grad=True)
    h = conv_ops.conv2d(x, W, None, 1, 1, 0.1)
    y = ops.sum(ops.tanh(conv_ops.conv2d(h, W, None, 1, 1) + h + conv_ops.conv2d(h, W, None, 1, 1, 0.1) + x))
    for a, b in zip(grad(y, [x, W, h]), grad(y, [x, W, h], create_graph=True), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


# ---- fused operations --------------------------------------------------------------------------------------

class Blend(FusedOp):
    """a b^2 + c, with a backward on arrays."""

    def forward(self, a, b, c):
        return a * b * b + c

    def composed(self, a, b, c):
        return a * b * b + c

    def fused_backward(self, gy):
        a, b, _ = (self.saved[i].data for i in range(3))
        return tuple(g if need else None for g, need in zip((gy * b * b, 2 * gy * a * b, gy), self.needs, strict=True))


@pytest.mark.parametrize("function", [
    lambda x, y: Blend()(x, y, x),
    lambda x, y: Blend()(x, x, x),  # one input thrice
    lambda x, y: Blend()(x, x * y, y),  # one input made from another
    lambda x, y: Blend()(Blend()(x, y, y), x, x),
    lambda x, y: Blend()(x, Tensor(np.full(3, 2.0)), y),  # a constant among them
], ids=["plain", "thrice", "dependent", "nested", "constant"])
def test_a_fused_operation_has_the_derivatives_of_its_composition(function, rng):
    check_grads(function, rng.standard_normal(3), rng.standard_normal(3), order=3)


def test_the_fused_way_is_taken_exactly_when_no_graph_is_wanted():
    taken = []

    class Watched(Blend):
        def composed(self, a, b, c):
            taken.append("composed")
            return super().composed(a, b, c)

        def fused_backward(self, gy):
            taken.append("fused")
            return super().fused_backward(gy)

    x = variable(2)
    y = Watched()(x, x, x)
    grad(y, x)
    g = grad(y, x, create_graph=True)
    assert taken == ["fused", "composed"]
    assert g.item() == 3 * 4 + 1 and grad(g, x).item() == 12


def test_without_a_fused_backward_the_composition_is_differentiated():
    class Square(FusedOp):
        def forward(self, x):
            return x * x

        composed = forward

    x = variable(3)
    assert grad(Square()(x), x).item() == 6 and not grad(Square()(x), x).requires_grad
    assert grad(grad(Square()(x), x, create_graph=True), x).item() == 2


def test_a_half_written_operation_says_what_is_missing():
    class Half(Op):
        pass

    with pytest.raises(NotImplementedError, match="Half.forward"):
        Half()(variable(1))
    Half.forward = lambda self, x: x
    with pytest.raises(NotImplementedError, match="Half.backward"):
        grad(Half()(x := variable(1)), x)


# ---- several results -----------------------------------------------------------------------------------------------

class SinAndCos(Op):
    """x -> sin(x), cos(x)."""

    saves = (0,)

    def forward(self, x):
        return [np.sin(x), np.cos(x)]

    def backward(self, gys):
        sin, cos = SinAndCos()(self.saved[0])
        parts = [gy * slope for gy, slope in zip(gys, (cos, -sin), strict=True) if gy is not None]
        return (parts[0] + parts[1] if len(parts) == 2 else parts[0],)


def test_an_operation_may_have_several_results(rng):
    x = rng.standard_normal((3, 2))
    check_grads(lambda x: SinAndCos()(x), x, order=3)
    check_grads(lambda x: SinAndCos()(x)[0] * SinAndCos()(x * 2.0)[1], x, order=3)


def test_a_result_that_nothing_depends_on_gives_no_gradient(rng):
    x = Tensor(rng.standard_normal(4), requires_grad=True)
    sin, cos = SinAndCos()(x)
    for graph in (False, True):
        np.testing.assert_allclose(grad(ops.sum(cos), x, create_graph=graph).data, -np.sin(x.data))
    g_sin, g_cos = grad(ops.sum(cos * cos), [sin, cos])
    assert not g_sin.data.any()
    np.testing.assert_allclose(g_cos.data, 2 * cos.data)
    with no_grad():
        assert not any(y.requires_grad for y in SinAndCos()(x))
