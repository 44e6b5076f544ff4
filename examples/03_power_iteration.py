# %% [markdown]
# # 3. Power iteration, W / sigma and its gradient
#
# sigma(W), the largest singular value, is how far W can stretch a vector. Spectral normalization uses W / sigma instead
# of W (Miyato et al. 2018, Eq. (8)), so that no layer stretches at all. Two questions: how to know sigma in every
# training step for the price of two products, and what the gradient of W / sigma is. The second looks harmless, and
# is where spectral normalization happens.

# %%
import numpy as np
from chapter import BLUE, GREEN, GREY, ORANGE, RED, plt, save

from minigan import Tensor, grad
from minigan.engine import ops
from minigan.engine.loops.power_iteration import power_iteration
from minigan.engine.loops.spectral_norm import spectral_gradient

rng = np.random.default_rng(0)


def with_spectrum(singular_values, rows, columns):
    """A matrix with these singular values and random singular vectors."""
    n = len(singular_values)
    left, right = (np.linalg.qr(rng.standard_normal((size, n)))[0] for size in (rows, columns))
    return left * singular_values @ right.T


# %% [markdown]
# ## Power iteration
#
# Multiply any vector by W^T W again and again. In every round its part along the i-th right singular vector grows by
# sigma_i^2, so the largest wins: beside the first, the second shrinks by r^2 a round, r = sigma_2 / sigma_1. In two
# halves, with the lengths taken out (Eq. (18) and (19)): v = W^T u / |W^T u|, u = W v / |W v|; then sigma is u^T W v.
#
# Started with equal parts of all, v is off by an angle with tangent r^(2k - 1) after k rounds, and sigma only by
# (1 - r^2) / 2 times the square of its sine: at a maximum small errors of the direction hardly show. (Grey lines.)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
rounds = np.arange(1, 31)
for r, colour in ((0.5, BLUE), (0.9, ORANGE), (0.99, RED)):
    W = with_spectrum(np.array([1, r, *np.linspace(0.4, 0.1, 14)]), 16, 40)
    U, _, V = np.linalg.svd(W)
    u, angles, errors = U.sum(1), [], []
    for _ in rounds:
        u, v, sigma = power_iteration(W, u)
        angles.append(np.linalg.norm(v - v @ V[0] * V[0]) / abs(v @ V[0]))
        errors.append(max(1 - sigma, 1e-17))
    tangent = r ** (2.0 * rounds - 1)
    for axis, found, formula in ((left, angles, tangent),
                                 (right, errors, (1 - r**2) / 2 * tangent**2 / (1 + tangent**2))):
        axis.semilogy(rounds, found, ".", color=colour, label=f"r = {r}")
        axis.semilogy(rounds, formula, color=GREY, lw=1, zorder=0)
        late = (rounds > 8) & (formula > 1e-9)  # the others have died out; eps, 1e-12, does not show
        np.testing.assert_allclose(np.array(found)[late], formula[late], rtol=0.05)
for axis, title in ((left, "angle between v and the true one (tangent)"), (right, "relative error of sigma")):
    axis.set(title=title, xlabel="iterations", ylim=(1e-10, 3))
left.legend(loc="lower right")
save("03_convergence")

# %% [markdown]
# In training one round a step is enough (Algorithm 1): W moves little in a step, and u is kept from the last one. Here
# every element of W takes a random step of 3 % of its size, a hundred times.

# %%
W, u, off = rng.standard_normal((64, 128)), rng.standard_normal(64), []
for _ in range(100):
    W += 0.03 * rng.standard_normal(W.shape)
    u, v, sigma = power_iteration(W, u)
    off.append(1 - sigma / np.linalg.norm(W, 2))
print(f"one iteration a step: sigma is too small by {off[0]:.0%} at first, {max(off[50:]):.3%} at most after 50 steps")
assert min(off) >= 0 and max(off[50:]) < 0.01 < 0.1 < off[0]

# %% [markdown]
# ## The gradient
#
# sigma is made of W, so the gradient of the loss V goes through it, too: d sigma / dW = u v^T (Eq. (11)). With
# G = dV / dW_bar, which is the paper's E[delta h^T], the quotient rule gives Eq. (12):
#
#     dV/dW = (G - lambda u v^T) / sigma,    lambda = <G, W_bar>
#
# The bracket is a projection: along u v^T it takes out of G what is not orthogonal to W. Done twice it does nothing
# more. And orthogonal it must be: W and 2 W have the same W_bar, so along W the loss does not change.

# %%
W, h, y = rng.standard_normal((4, 6)), rng.standard_normal((10, 6)), rng.standard_normal((10, 4))


def loss(W_bar):
    return ops.mean((Tensor(h) @ ops.transpose(W_bar) - Tensor(y)) ** 2)


U, sigmas, V = np.linalg.svd(W)
u, v, sigma = U[:, 0], V[0], sigmas[0]
W_bar = Tensor(W / sigma, requires_grad=True)
G = grad(loss(W_bar), W_bar).data


def project(G):
    return G - (G * W / sigma).sum() * np.outer(u, v)


right = project(G) / sigma
measured = np.empty_like(W)  # finite differences, through an exact sigma
for place in np.ndindex(*W.shape):
    values = []
    for step in (1e-6, -1e-6):
        W_moved = W.copy()
        W_moved[place] += step
        values.append(loss(Tensor(W_moved / np.linalg.norm(W_moved, 2))).item())
    measured[place] = (values[0] - values[1]) / 2e-6
X = Tensor(W, requires_grad=True)
by_tape = grad(loss(X / (Tensor(u) @ X @ Tensor(v))), X).data  # u and v constant: by Eq. (11) that is all there is
for other in (measured, by_tape, spectral_gradient(G, W, u, v, sigma), project(project(G)) / sigma):
    np.testing.assert_allclose(other, right, atol=1e-7)
assert abs((right * W).sum()) < 1e-12
print("Eq. (12) is what finite differences measure; it is orthogonal to W")

# %% [markdown]
# ## What breaks with the wrong one
#
# Treat sigma as a number, and the gradient is G / sigma. It still looks like descent. Let us ask of W_bar what every
# discriminator asks: more than it may have. The loss is |W_bar - T|^2 / 2, and T has singular values up to 2. The best
# matrix with sigma <= 1 cuts T's singular values off at 1 and keeps the others.
#
# What will the wrong gradient do? The first singular value w_1 of W is pushed by T_1 - 1 for ever, since w_1 / sigma
# stays 1 however large w_1 gets: sigma^2 grows by 2 (T_1 - 1) times the learning rate in every step. Any other ratio
# w_i / sigma rests where T_i - w_i / sigma = (T_1 - 1) w_i / sigma, that is, at T_i / T_1. So it ends at T / sigma(T):
# all is scaled down to make room for the first direction. This is the concentration in one direction of which the
# paper says, after Eq. (12), that lambda prevents it.

# %%
wanted = np.array([2, 1.5, 0.8, 0.6, 0.4, 0.2])
T, start = with_spectrum(wanted, 6, 12), 0.3 * rng.standard_normal((6, 12))
rates = 0.1 * 0.997 ** np.arange(2000)
seen = {}
for name in ("right", "wrong"):
    W, u, seen[name] = start.copy(), np.ones(6), []
    for rate in rates:
        u, v, sigma = power_iteration(W, u, n_iter=5)
        W_bar = W / sigma
        G = W_bar - T
        seen[name].append((sigma, (G**2).sum() / 2, np.linalg.svd(W_bar)[1]))
        W -= rate * (spectral_gradient(G, W, u, v, sigma) if name == "right" else G / sigma)

ends = {"right": np.minimum(wanted, 1), "wrong": wanted / 2}  # as foretold
figure, axes = plt.subplots(1, 3, figsize=(9, 3.7), width_ratios=[1, 1, 1.2])
for name, colour in (("right", GREEN), ("wrong", RED)):
    sigmas, losses, spectra = zip(*seen[name], strict=True)
    axes[0].semilogx(np.arange(1, 2001), losses, color=colour, label=f"{name} gradient")
    axes[0].axhline(((wanted - ends[name]) ** 2).sum() / 2, color=colour, lw=1, ls=":")
    axes[1].semilogx(np.arange(1, 2001), sigmas, color=colour)
    axes[2].plot(range(1, 7), spectra[-1], "o-", color=colour)
    axes[2].plot(range(1, 7), ends[name], "k+", ms=14)
    np.testing.assert_allclose(spectra[-1], ends[name], atol=0.03)
axes[1].semilogx(np.arange(1, 2001), np.sqrt(2 * np.cumsum(rates)), ":", color=RED, lw=1)
axes[2].plot(range(1, 7), wanted, "s", ms=12, mfc="none", color=GREY)
axes[2].text(1.4, 2, "wanted", color=GREY, va="center")
axes[2].text(5.9, 0.95, "+ foretold", ha="right")
axes[2].set_ylim(0, 2.2)
axes[0].set(title="loss (dotted: foretold)", xlabel="steps")
axes[0].legend()
axes[1].set(title="sigma(W)", xlabel="steps")
axes[2].set(title="sigma$_i$ of W / sigma", xlabel="i", xticks=range(1, 7))
save("03_wrong_gradient")

assert seen["right"][-1][0] < 2 < 6 < seen["wrong"][-1][0]
np.testing.assert_allclose(seen["wrong"][-1][0] ** 2, 2 * rates.sum(), rtol=0.1)

# %% [markdown]
# Learned: power iteration finds sigma at the cost of two products, and its error is of second order; W / sigma has a
# gradient that is orthogonal to W; and without that projection W grows without bound along one direction (every step
# then moves W_bar less and less), while all others are starved.
# Next: what the bound on sigma does to a GAN.
