# %% [markdown]
# # 1. An autograd in one sitting, and the derivative of a derivative
#
# Training needs one thing of calculus: the chain rule. A loss is made in small steps, each step knows its own
# derivative, and the chain rule multiplies them, from the loss back to the weights. We build a machine for that, which
# takes forty lines, and see that one decision in it gives derivatives of every order. minigan's engine
# (minigan/engine/autograd.py) is the same machine for arrays.

# %%
import itertools

import numpy as np
from chapter import BLUE, GREEN, GREY, ORANGE, RED, plt, save

from minigan import Tensor, grad
from minigan.engine import ops

# %% [markdown]
# ## The tape
#
# A `Number` is a value that remembers what it was made of: for every input a rule, which turns the gradient with
# respect to the result into the gradient with respect to that input. For y = a b the rules are gy b and gy a.
#
# The one decision: **the rules calculate with Numbers, too**. So a gradient remembers how it was made, like anything
# else, and can be asked for its own gradient. With rules on plain floats all would be over after the first derivative.

# %%
births = itertools.count()


class Number:
    def __init__(self, value, made_of=()):
        self.value, self.made_of, self.birth = value, made_of, next(births)

    def __add__(self, other):
        other = number(other)
        return Number(self.value + other.value, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other):
        other = number(other)
        return Number(self.value * other.value, [(self, lambda g: g * other), (other, lambda g: g * self)])

    __radd__, __rmul__ = __add__, __mul__


def number(x):
    return x if isinstance(x, Number) else Number(x)


def tanh(x):
    y = Number(np.tanh(x.value))
    y.made_of = [(x, lambda g: g * (1 + -1 * y * y))]  # tanh' = 1 - tanh^2, of a y that is there already
    return y


def gradient(y, x):
    found, waiting = {y: number(np.ones_like(y.value))}, {y}
    while waiting:
        node = max(waiting, key=lambda node: node.birth)  # the youngest: nobody is left who could add to its gradient
        waiting.remove(node)
        for source, rule in node.made_of:
            part = rule(found[node])
            found[source] = found[source] + part if source in found else part  # used twice: the gradients add up
            waiting.add(source)
    return found.get(x, number(np.zeros_like(x.value)))


# %% [markdown]
# ## Three derivatives
#
# f(x) = x tanh(x), then its gradient, then the gradient of the gradient. A value may as well be a NumPy array of many
# points: everything above works element by element. Beside it minigan's `grad`, with `create_graph=True`: "remember
# how this gradient was made". (Without it minigan saves itself the trouble, as training mostly can.)

# %%
points = np.linspace(-3, 3, 121)
x, X = Number(points), Tensor(points, requires_grad=True)
tower, TOWER = [x * tanh(x)], [X * ops.tanh(X)]
for _ in range(3):
    tower.append(gradient(tower[-1], x))
    TOWER.append(grad(ops.sum(TOWER[-1]), X, create_graph=True))


def history(y):
    """How many numbers y was made of."""
    seen, todo = set(), [y]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += [source for source, _ in node.made_of]
    return len(seen)


names, colours = ["f", "f '", "f ''", "f '''"], [BLUE, RED, GREEN, ORANGE]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=[3, 1])
for name, colour, ours, theirs in zip(names, colours, tower, TOWER, strict=True):
    left.plot(points, ours.value, color=colour, label=name)
    left.plot(points[::8], theirs.data[::8], ".", color=colour)
left.set(xlabel="x", title="x tanh(x) and its derivatives\nlines: forty lines of tape, dots: minigan")
left.legend(loc="upper center", ncols=4)
left.set_ylim(-2.6, 4.2)
right.set_ylim(0, 58)
bars = right.bar(names, [history(y) for y in tower], color=colours)
right.bar_label(bars)
right.set(title="numbers on the tape", yticks=[])
right.spines["left"].set_visible(False)
save("01_derivatives")

t = np.tanh(points)  # and by hand
by_hand = [points * t, t + points * (1 - t**2), 2 * (1 - t**2) * (1 - points * t)]
for order in range(4):
    np.testing.assert_allclose(tower[order].value, TOWER[order].data, atol=1e-12)
for order in range(3):
    np.testing.assert_allclose(tower[order].value, by_hand[order], atol=1e-12)

# %% [markdown]
# ## What GANs want second derivatives for: the gradient penalty
#
# WGAN-GP (Gulrajani et al. 2017, Eq. (3)) wants a critic D whose slope is 1, and says so in its loss:
# P = mean of (|dD/dx| - 1)^2. To lower P by changing D's weights one needs the derivative of a derivative.
#
# For a small critic, D(x) = sum of a * tanh(W x + b), it can still be done by hand, once. With t = tanh(W x + b):
# the slope is s = W^T (a (1 - t^2)); P's gradient with respect to s is q = 2 (|s| - 1) s / |s| / N; and from there a is
# met once, b once (in t, whose derivative is 1 - t^2), W twice: as W^T, and in t.

# %%
def critic(x, W, a, b):
    return ops.tanh(x @ ops.transpose(W) + b) @ a


def penalty(x, *weights):
    x = Tensor(x, requires_grad=True)
    slope = grad(ops.sum(critic(x, *weights)), x, create_graph=True)
    return ops.mean((ops.sqrt(ops.sum(slope * slope, 1)) - 1) ** 2)


rng = np.random.default_rng(0)
x, W, a, b = (rng.standard_normal(shape) for shape in ((16, 2), (8, 2), 8, 8))
t = np.tanh(x @ W.T + b)
s = (a * (1 - t**2)) @ W
length = np.linalg.norm(s, axis=1, keepdims=True)
q = 2 * (length - 1) * s / length / len(x)
through_t = a * (q @ W.T) * -2 * t * (1 - t**2)
by_hand = (a * (1 - t**2)).T @ q + through_t.T @ x, ((1 - t**2) * (q @ W.T)).sum(0), through_t.sum(0)

weights = [Tensor(p, requires_grad=True) for p in (W, a, b)]
for mine, expected in zip(grad(penalty(x, *weights), weights), by_hand, strict=True):
    np.testing.assert_allclose(mine.data, expected, atol=1e-12)
print("the gradient penalty's gradient is the one found by hand")

# %% [markdown]
# ## What the penalty does
#
# Real numbers lie around 2, fakes around -2. The critic is to tell them apart: raise D on the real, lower it on the
# made (Arjovsky et al. 2017, Eq. (2)). Nothing stops it from doing so more and more steeply, and what it says is then
# only how long it was trained. With the penalty, on points between real and made, it settles: at the slope s that makes
# -4 s + 10 (s - 1)^2 least (the groups are 4 apart), which is 1.2. The difference of D is then the distance, times 1.2:
# something to learn from. (On a line there is a second, false resting place at s = -0.8: from -1 to 1 the slope would
# pass 0, which the penalty forbids. So this critic starts uphill.)

# %%
line = np.linspace(-4, 4, 201)[:, None]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
rise, colours = {}, {50: GREY, 200: BLUE, 800: RED}
for axis, factor in zip(axes, (0, 10), strict=True):
    rng = np.random.default_rng(1)
    W = rng.standard_normal((32, 1))
    start = W, 0.1 * W[:, 0], rng.uniform(-4, 4, 32)  # a = 0.1 W: uphill
    weights = [Tensor(p, requires_grad=True) for p in start]
    for step in range(1, 801):
        real, made = (mean + 0.3 * rng.standard_normal((32, 1)) for mean in (2, -2))
        share = rng.random((32, 1))
        loss = ops.mean(critic(Tensor(made), *weights)) - ops.mean(critic(Tensor(real), *weights))
        loss = loss + factor * penalty(share * real + (1 - share) * made, *weights)
        for p, g in zip(weights, grad(loss, weights), strict=True):
            p.data -= 0.01 * g.data
        if step in colours:
            axis.plot(line, critic(Tensor(line), *weights).data, color=colours[step], label=f"{step} steps")
    low, high = critic(Tensor(np.array([[-2.0], [2.0]])), *weights).data
    rise[factor] = (high - low) / 4
    axis.set(xlabel="x", ylabel="D(x)",
             title=f"{'with' if factor else 'without'} the penalty: mean slope {rise[factor]:.1f}")
    for mean, name in ((-2, "made"), (2, "real")):
        axis.axvspan(mean - 0.6, mean + 0.6, color=GREY, alpha=0.15, lw=0)
        axis.text(mean, 0.02, name, transform=axis.get_xaxis_transform(), ha="center", color=GREY)
    axis.margins(y=0.1)
    axis.legend(loc="upper left")
save("01_penalty")

assert abs(rise[10] - 1.2) < 0.1 and rise[0] > 50, rise

# %% [markdown]
# Learned: reverse-mode differentiation is a list of rules, walked backwards; if the rules are made of the same
# operations, every order is included; and a penalty on a slope is trained like anything else.
# Next: what these rules are for a convolution.
