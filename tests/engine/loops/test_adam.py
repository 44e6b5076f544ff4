"""A step of Adam: its definition number by number; the same bytes on any threads."""

import math

import numpy as np
import pytest
from checks import read_only

from minigan.engine.loops.adam import adam


def test_adam_is_its_definition_number_by_number(rng):
    w, m, g = rng.standard_normal((3, 40))
    v = rng.uniform(0, 1, 40)
    rate, beta1, beta2, eps = 0.01, 0.3, 0.9, 1e-3
    expected = []
    for wi, gi, mi, vi in zip(w, g, m, v, strict=True):
        mi = beta1 * mi + (1 - beta1) * gi
        vi = beta2 * vi + (1 - beta2) * gi * gi
        expected.append((wi - rate * mi / (math.sqrt(vi) + eps), mi, vi))
    read_only(g)
    adam(w, g, m, v, np.array(rate), beta1, beta2, eps)
    np.testing.assert_allclose(np.transpose([w, m, v]), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adams_first_step_has_the_length_of_the_learning_rate(dtype):
    """From m = v = 0: w -= lr * g / (|g| + eps / sqrt(1 - beta2)): the sign of g, however large g is."""
    g = np.array([1e-3, -2, 3e4], dtype)
    w, m, v = np.ones(3, dtype), np.zeros(3, dtype), np.zeros(3, dtype)
    lr, beta1, beta2 = 0.25, 0.5, 0.999
    adam(w, g, m, v, np.array(lr * math.sqrt(1 - beta2) / (1 - beta1)), beta1, beta2, eps=1e-8)
    np.testing.assert_allclose(w, 1 - lr * np.sign(g), rtol=1e-3 if dtype == np.float32 else 3e-4)
    np.testing.assert_allclose(w, 1 - lr * g / (abs(g) + 1e-8 / math.sqrt(1 - beta2)), rtol=1e-5)
    assert w.dtype == m.dtype == v.dtype == dtype


def test_adam_has_the_same_bytes_on_any_threads(rng, each_thread_count):
    w, g, m = rng.standard_normal((3, 5, 41, 1001)).astype(np.float32)  # 205,205 numbers: four blocks, the last short

    def results():
        mine = [w.copy(), m.copy(), m * m]
        adam(mine[0], g, *mine[1:], np.array(0.01), 0.5, 0.999, 1e-8)
        assert not np.any(mine[0] == w)
        return [a.tobytes() for a in mine]
    one, two, three = each_thread_count(results)
    assert one == two == three


def test_adam_takes_a_gradient_with_any_strides(rng):
    w, g = rng.standard_normal((2, 3, 5))
    states = [[w.copy(), np.zeros_like(w), np.zeros_like(w)] for _ in range(2)]
    for (w, m, v), given in zip(states, (g, g.T.copy().T), strict=True):
        adam(w, given, m, v, np.array(0.1), 0.5, 0.9, 1e-8)
    np.testing.assert_array_equal(states[0], states[1])


@pytest.mark.parametrize("which", [0, 2, 3])
def test_adam_refuses_to_step_on_a_copy(which, rng):
    arrays = [rng.uniform(0, 1, (3, 5)) for _ in range(4)]
    arrays[which] = np.asfortranarray(arrays[which])
    with pytest.raises(ValueError, match="adam: expected C-contiguous w, m and v"):
        adam(*arrays, np.array(0.1), 0.5, 0.9, 1e-8)
