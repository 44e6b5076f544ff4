"""Functions side by side: values and gradients of every order are those of the functions alone."""

import threading

import numpy as np
import pytest

from minigan.engine import ops, thread_pool
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.nn.side_by_side import side_by_side


@pytest.fixture
def threads():
    before = thread_pool.thread_count()
    yield thread_pool.set_threads
    thread_pool.set_threads(before)


def variables(rng, *shapes):
    return [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


def cubes(x, y, b):
    """Two functions of x and y that also use b, and what they are of."""
    return [lambda x, y: x * x * x * y + b, lambda y: y * y * b * b], [[x, y], [y]]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_values_and_gradients_are_those_of_the_polynomials(count, threads, rng):
    threads(count)
    x, y, b = variables(rng, (4,), (4,), (4,))
    first, second = side_by_side(*cubes(x, y, b), [b])
    X, Y, B = x.data, y.data, b.data
    np.testing.assert_allclose(first.data, X**3 * Y + B, rtol=1e-12)
    np.testing.assert_allclose(second.data, Y**2 * B**2, rtol=1e-12)
    total = ops.sum(first) + 2 * ops.sum(second)
    for _ in range(2):  # what was kept for the first time is gone, and is made again
        gx, gy, gb = grad(total, [x, y, b])
        np.testing.assert_allclose(gx.data, 3 * X**2 * Y, rtol=1e-12)
        np.testing.assert_allclose(gy.data, X**3 + 4 * Y * B**2, rtol=1e-12)
        np.testing.assert_allclose(gb.data, 1 + 4 * Y**2 * B, rtol=1e-12)


def test_second_and_third_derivatives_are_those_of_the_polynomials(rng):
    x, y, b = variables(rng, (4,), (4,), (4,))
    first, second = side_by_side(*cubes(x, y, b), [b])
    gx, gy = grad(ops.sum(first) + ops.sum(second), [x, y], create_graph=True)
    X, Y, B = x.data, y.data, b.data
    gxx, gxy = grad(ops.sum(gx), [x, y], create_graph=True)
    np.testing.assert_allclose(gxx.data, 6 * X * Y, rtol=1e-12)
    np.testing.assert_allclose(gxy.data, 3 * X**2, rtol=1e-12)
    np.testing.assert_allclose(grad(ops.sum(gy), b).data, 4 * Y * B, rtol=1e-12)
    np.testing.assert_allclose(grad(ops.sum(gxx), x).data, 6 * Y, rtol=1e-12)


def test_what_an_input_was_made_of_gets_its_gradient_once(rng):
    """The input of the second is made of that of the first: neither function's graph reaches behind its inputs."""
    x, b = variables(rng, (3,), (3,))
    for create in (False, True):
        first, second = side_by_side([lambda x: x * b, lambda s: s * s], [[x], [x * x]], [b])
        gx, gb = grad(ops.sum(first) + ops.sum(second), [x, b], create_graph=create)
        np.testing.assert_allclose(gx.data, b.data + 4 * x.data**3, rtol=1e-12)
        np.testing.assert_allclose(gb.data, x.data, rtol=1e-12)


def test_a_result_that_is_not_used_costs_no_gradient(rng):
    x, y, b = variables(rng, (4,), (4,), (4,))
    first, _ = side_by_side(*cubes(x, y, b), [b])
    gx, gy = grad(ops.sum(first), [x, y])
    np.testing.assert_allclose(gy.data, x.data**3, rtol=1e-12)
    constant, other = side_by_side([lambda x: x * 2.0, lambda x: x * x], [[Tensor(x.data)], [x]])
    np.testing.assert_allclose(grad(ops.sum(constant) + ops.sum(other), x).data, 2 * x.data, rtol=1e-12)


def test_nothing_is_recorded_where_nothing_is_asked_for(rng):
    x, y, b = variables(rng, (4,), (4,), (4,))
    with no_grad():
        assert not any(z.requires_grad for z in side_by_side(*cubes(x, y, b), [b]))
    assert not any(z.requires_grad for z in side_by_side(*cubes(Tensor(x.data), Tensor(y.data), Tensor(b.data))))


def test_functions_are_at_work_at_the_same_time(threads):
    """Each waits for the other: one after the other, they would wait for ever."""
    threads(2)
    meeting = threading.Barrier(2, timeout=20)

    def function(x):
        meeting.wait()
        return x * 2.0
    x = Tensor(np.ones(3), requires_grad=True)
    first, second = side_by_side([function, function], [[x], [x]])
    assert first.data.tolist() == second.data.tolist() == [2, 2, 2]


def test_a_function_splits_its_work_over_its_share_of_the_threads(threads):
    threads(5)
    seen = []

    def function(x):
        seen.append(thread_pool.parallel(lambda i: held.wait(), range(2)))
        return x * 2.0
    held = threading.Barrier(4, timeout=20)  # two functions, two threads each
    side_by_side([function, function], [[Tensor(np.ones(3))], [Tensor(np.ones(3))]])
    assert len(seen) == 2


def test_a_failure_in_one_of_them_is_told(threads):
    threads(2)

    def fails(x):
        raise ArithmeticError("in the second")
    with pytest.raises(ArithmeticError, match="in the second"):
        side_by_side([lambda x: x, fails], [[Tensor(np.ones(3))], [Tensor(np.ones(3))]])
    assert thread_pool.parallel(lambda i: i, range(4)) == [0, 1, 2, 3]
