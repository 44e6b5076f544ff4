# %% [markdown]
# # 6. Why it works
#
# Chapters 4 and 5 saw that spectral normalization holds a discriminator. Lin et al. 2021 ask why, and why just so: with
# a matrix that is not even the convolution's. Their answer has two halves: W / sigma cannot explode, which is easy; and
# it does not vanish, since its elements are about as large as those of a good initialization. All of it can be measured
# on random weights, without training anything.

# %%
import numpy as np
from chapter import BLUE, GREEN, GREY, ORANGE, PINK, RED, plt, save

from minigan import Tensor, grad
from minigan.engine import ops
from minigan.experiment import presets
from minigan.nn.initializers import lecun_normal
from minigan.nn.layers import Conv2d
from minigan.nn.singular_values import conv_bounds, operator_norm
from minigan.nn.spectral_norms import BidirectionalNorm
from minigan.training import gan
from minigan.training.diagnosis import diagnostics

rng = np.random.default_rng(0)


def sigma(W):
    return np.linalg.norm(W.reshape(len(W), -1), 2)


# %% [markdown]
# ## Exploding and vanishing
#
# D is a stack of matrices w_1, ..., w_L with leaky ReLUs between them, which stretch nothing. So the chain rule says of
# the gradient of layer t, with |.| for sigma where it is around a matrix (their Proposition 1):
#
#     |dD/dw_t| <= |x| * product of all |w_i| but |w_t|
#
# So a factor c on every matrix is a factor c^(L-1) on the gradients; and W / sigma knows no such factor.

# %%
def gradients(weights, x, slope=0.1):
    """|dD/dw_t| for each layer, and |dD/dx|; slope 1: a linear stack."""
    leaves = [Tensor(W, requires_grad=True) for W in (x, *weights)]
    h = leaves[0] @ ops.transpose(leaves[1])
    for W in leaves[2:]:
        h = ops.leaky_relu(h, slope) @ ops.transpose(W)
    at_x, *found = (np.linalg.norm(g.data) for g in grad(ops.sum(h), leaves))
    return np.array(found), at_x


N, L = 128, 8
drawn = [lecun_normal()(rng, (N, N)) for _ in range(L - 1)] + [lecun_normal()(rng, (1, N))]
x = rng.standard_normal((1, N))
scales, seen, bounds = np.geomspace(0.25, 4, 9), {"as drawn": [], "W / sigma": []}, {"as drawn": [], "W / sigma": []}
for c in scales:
    for name, weights in (("as drawn", [c * W for W in drawn]), ("W / sigma", [c * W / sigma(c * W) for W in drawn])):
        norms = np.array([sigma(W) for W in weights])
        bound, found = np.linalg.norm(x) * norms.prod() / norms, gradients(weights, x)[0]
        assert (found <= bound).all()
        seen[name].append(np.linalg.norm(found))
        bounds[name].append(np.linalg.norm(bound))
np.testing.assert_allclose(seen["as drawn"], seen["as drawn"][4] * scales ** (L - 1))
np.testing.assert_allclose(seen["W / sigma"], seen["W / sigma"][0])

# %% [markdown]
# The bound is not the gradient, though. A square Gaussian matrix with LeCun's variance, 1 / fan_in, keeps the length of
# a typical vector, but its sigma is 2: it stretches the one direction that nothing typical lies in. So, for L layers:
#
# | on a typical input | factor of a layer | its bound |
# | --- | --- | --- |
# | LeCun, linear | 1 | 2 |
# | LeCun, leaky ReLU with slope a | sqrt((1 + a^2) / 2) = 0.71 for a = 0.1 | 2 |
# | W / sigma, leaky ReLU | half of that | 1 |
#
# SN alone makes random deep stacks vanish, a little. Training turns the layers towards each other, and gets it back;
# a constant in front, sqrt(2) or what a search finds, does so at once: the first S of BSSN (their section 5.2).

# %%
depths, N_WIDE = np.arange(2, 17, 2), 256
KINDS = {"LeCun, linear": (1, False, BLUE), "LeCun": (0.1, False, ORANGE), "W / sigma": (0.1, True, GREEN)}
slopes = {name: [] for name in KINDS}
for depth in depths:
    stack = [lecun_normal()(rng, (N_WIDE, N_WIDE)) for _ in range(depth)]
    for name, (slope, normalized, _) in KINDS.items():
        weights = [W / sigma(W) if normalized else W for W in stack]
        slopes[name].append(gradients(weights, rng.standard_normal((1, N_WIDE)), slope)[1] / np.sqrt(N_WIDE))

# %% [markdown]
# And why the same norm for every layer? Factors c_1, ..., c_L with product 1 change nothing of D (Proposition 2), but
# layer t's gradient is divided by c_t. The more unequal, the larger is the whole gradient (Theorem 1).

# %%
equal = [W / sigma(W) for W in drawn]
spreads = np.repeat([0, 0.25, 0.5, 0.75, 1.0], 12)
total = []
for spread in spreads:
    c = spread * rng.standard_normal(L)
    c = np.exp(c - c.mean())
    total.append(np.linalg.norm(gradients([f * W for f, W in zip(c, equal, strict=True)], x)[0]))
total = np.array(total) / total[0]

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.7))
for name, colour in (("as drawn", RED), ("W / sigma", GREEN)):
    left.loglog(scales, seen[name], "o-", color=colour, label=name)
    left.loglog(scales, bounds[name], ":", color=colour)
left.set(title="|gradient| of 8 layers\n(dotted: its bound)", xlabel="factor on every W")
left.set_xticks([0.25, 1, 4], labels=["1/4", "1", "4"], minor=False)
left.minorticks_off()
left.legend()
for name, (slope, normalized, colour) in KINDS.items():
    foretold = np.sqrt((1 + slope**2) / 2) ** (depths - 1) / 2.0 ** (depths * normalized)
    middle.semilogy(depths, slopes[name], "o", color=colour, label=name)
    middle.semilogy(depths, foretold, color=colour, lw=1)
    np.testing.assert_allclose(np.log(slopes[name] / foretold) / depths, 0, atol=0.15)
middle.set(title="slope at random weights\n(lines: foretold)", xlabel="layers")
middle.legend(loc="lower left")
right.plot(spreads, total, ".", color=BLUE)
right.axhline(1, color=GREY, lw=1)
right.set(title="|gradient| of the same D,\nnorms unequal", xlabel="spread of the layers' log norms")
save("06_gradients")

assert total[spreads == 0.5].mean() < total[spreads == 1].mean() and total.min() > 0.8 and total.max() > 2

# %% [markdown]
# ## The variance of W / sigma
#
# The squares of all elements add up to the squares of all singular values, of which there are min(m, n), each at most
# sigma^2. Hence Theorem 2: the variance of the elements of W / sigma is at most min / (m n) = 1 / max(m, n), and where
# the longer side is the fan-in, as in most convolutions, that is LeCun's. For Gaussian ones it is not much less: sigma
# is sqrt(m) + sqrt(n), so it is 1 / (sqrt(m) + sqrt(n))^2, at worst a quarter. (The theorem's own lower bound has a
# logarithm in it that none of these needs.) With heavy tails one element makes up sigma, and the rest vanish.
#
# Theorem 3, for BSN: sigma is the mean of that of (out, kh kw in), whose rows are what a neuron receives, and of
# (in, kh kw out), what it sends. So fan-in and fan-out are treated alike, and the bound is Xavier's 2 / (in + out).

# %%
DRAWS = {"normal": (rng.standard_normal, BLUE), "uniform": (lambda s: rng.uniform(-1, 1, s), GREEN),
         "heavy tails": (lambda s: rng.standard_t(2, s), RED)}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9))
shares = np.geomspace(1 / 64, 1, 7)
for name, (draw, colour) in DRAWS.items():
    found = [np.var(A / sigma(A)) * 512 for A in (draw((round(512 * share), 512)) for share in shares)]
    left.plot(shares, found, "o", color=colour, label=name)
    assert max(found) <= 1
    if name != "heavy tails":
        np.testing.assert_allclose(found, (1 + np.sqrt(shares)) ** -2.0, rtol=0.1)
left.plot(shares, (1 + np.sqrt(shares)) ** -2.0, color=GREY, lw=1, zorder=0)
left.axhline(1, color="black", lw=1, ls=":")
left.text(1, 1.02, "Theorem 2", ha="right")
left.set(title="variance of W / sigma, times max(m, n)", xlabel="min(m, n) / max(m, n)", xscale="log", ylim=(0, 1.1))
left.set_xticks([1 / 64, 1 / 16, 1 / 4, 1], labels=["1/64", "1/16", "1/4", "1"])
left.minorticks_off()
left.legend(loc="upper right", bbox_to_anchor=(1, 0.9))

c_in, outs = 64, np.array([8, 16, 32, 64, 128, 256, 512])
variances = {"SN": [], "BSN": []}
for c_out in outs:
    layer = Conv2d(rng, c_in, c_out, 3, pad=1, norm=BidirectionalNorm(n_iter=200))
    W = layer.params["W"].data
    both = sigma(W), sigma(W.transpose(3, 1, 2, 0))
    np.testing.assert_allclose(layer.norm.weight(layer, (), False).data, W / np.mean(both), rtol=5e-3)
    variances["SN"].append(np.var(W / both[0]))
    variances["BSN"].append(np.var(W / np.mean(both)))
fan_in, fan_out = 9 * c_in, 9 * outs
xavier = 2 / (fan_in + fan_out)
right.loglog(outs, xavier, "-.", color=PINK, label="2 / (in + out), Xavier: BSN's bound")
right.loglog(outs, 1 / np.maximum(fan_in, outs), "--", color=GREEN, label="1 / fan-in, LeCun: SN's bound")
right.loglog(outs, variances["SN"], "o", color=GREEN, label="W / sigma, SN")
right.loglog(outs, variances["BSN"], "s", color=PINK, label="W / sigma, BSN")
right.set(title="variance, 3x3 kernel, 64 channels to...", xlabel="channels out", ylim=(1e-4, 2e-2))
right.set_xticks(outs, labels=outs)
right.minorticks_off()
right.legend(fontsize=9, loc="upper right")
save("06_variance")

assert (variances["SN"] <= 1 / np.maximum(fan_in, outs)).all() and (variances["BSN"] <= xavier).all()
assert variances["SN"][0] / variances["SN"][-1] < 4 < variances["BSN"][0] / variances["BSN"][-1]

# %% [markdown]
# ## The matrix and the convolution
#
# sigma(W) of the matrix (out, kh kw in) is not the convolution's norm. What is? Far from the border a convolution
# treats each wave alone: at frequency f it is the small matrix K(f) = sum over taps of W_tap e^(-i f tap), and its norm
# is the largest sigma of all K(f). Two lines then give the bounds of Tsuzuku et al. 2018, for stride 1:
#
# - the mean over f of K(f) K(f)* is the sum of W_tap W_tap^T, which is W W^T of the matrix. So sigma(W)^2 is the norm
#   of a mean, and the largest of what is averaged cannot have less: **sigma(W) <= sigma_conv**. (With K* K instead it
#   is the matrix (in, kh kw out): BSN's other sigma is also a lower bound.)
# - K(f) is W times a column of kh kw unit matrices with factors of length 1: **sigma_conv <= sqrt(kh kw) sigma(W)**.

# %%
def waves(W, size=32):
    """sigma of K(f) for all frequencies (size, size)."""
    return np.linalg.svd(np.fft.fft2(W, (size, size), (1, 2)).transpose(1, 2, 0, 3), compute_uv=False)[..., 0]


rough = rng.standard_normal((16, 3, 3, 16))
smooth = rough.mean((1, 2), keepdims=True) + 0.3 * rough  # neighbouring taps alike: it reacts to areas
figure, axes = plt.subplots(1, 3, figsize=(9, 3.5), width_ratios=[1, 1, 1.5])
for axis, name, W in zip(axes, ("random", "smooth"), (rough, smooth), strict=False):
    W = W / sigma(W)
    layer = Conv2d(rng, 16, 16, 3, pad=1)
    conv = operator_norm(layer, Tensor(W), (1, 32, 32, 16))
    lower, upper = conv_bounds(layer, W, (1, 32, 32, 16))
    found = waves(W)
    image = axis.imshow(np.fft.fftshift(found), cmap="viridis", vmin=0, vmax=3, extent=(-1, 1, -1, 1))
    axis.set(title=f"{name} W: norm {conv:.2f}", xticks=[], yticks=[],
             xlabel="sigma of K(f), slow waves\nin the middle")
    assert lower - 1e-6 <= conv <= upper + 1e-6 and abs(upper - 3) < 1e-6
    np.testing.assert_allclose(found.max(), conv, rtol=0.02)  # zeros around the image take a little away
figure.colorbar(image, ax=axes[:2], location="bottom", shrink=0.7, aspect=30)
layer = Conv2d(rng, 2, 3, 3, pad=1)  # as one large matrix, column by column
W = Tensor(rng.standard_normal((3, 3, 3, 2)))
columns = layer.operator(W, Tensor(np.eye(72).reshape(72, 6, 6, 2))).data.reshape(72, -1)
np.testing.assert_allclose(operator_norm(layer, W, (1, 6, 6, 2)), np.linalg.norm(columns, 2), rtol=1e-3)

# %% [markdown]
# ## What it does to a discriminator
#
# SN_conv divides by the true norm, SN_w by the smaller sigma(W): 1.2 to 2 times less in each layer, and gradients see
# the product of seven. The stricter one bounds D by 1, and leaves it nothing to say. Here is Table 3's discriminator
# before any training (a quarter of its width, drawn with 0.02 as in the authors' code). Without biases D is
# proportional to each layer's weights, so of two sets of norms we know what they do to layer t's gradient: it differs
# by the product of the other layers' ratios, exactly. A scale, the geometric mean of the ratios, makes up for it.

# %%
pictures = rng.integers(0, 256, (32, 32, 32, 3), np.uint8)
drawn = gan.Training(presets.experiment("cifar10", width=0.25), np.zeros((64, 32, 32, 3), np.uint8)).dis.parameters()


def look(norm, **chosen):
    """Layer -> what a diagnosis says of it, for the same W under every norm."""
    e = presets.experiment("cifar10", norm=norm, width=0.25, batch_size=8, **chosen)
    training = gan.Training(e, pictures)
    for name, p in training.dis.parameters().items():
        p.data[...] = drawn[name].data
    return diagnostics.diagnose(training)["layers"]


def column(rows, name):
    return np.array([row[name] for row in rows.values()])


sn, strict = look("sn", power_iterations=50), look("sn-conv", power_iterations=50)
ratios = column(sn, "sigma_conv") / column(strict, "sigma_conv")
scale = round(ratios[:-1].prod() ** (1 / 7), 2)
METHODS = {"sn": (sn, GREEN), "bsn": (look("bsn", power_iterations=50), PINK), "sn-conv": (strict, ORANGE),
           f"{scale} sn-conv": (look("sn-conv", power_iterations=50, scale=scale), GREY),
           "none": (look("none"), RED)}
for name, (rows, colour) in METHODS.items():
    found = column(rows, "gradient_output")
    axes[2].semilogy(range(1, 9), found, "o-", ms=4, color=colour, label=name)
axes[2].set(title="|gradient of D's mean output|", xlabel="layer", xticks=range(1, 9))
axes[2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=9)
save("06_convolution")

found = column(sn, "gradient_output") / column(strict, "gradient_output")
print(f"sn's gradients are {found.min():.0f} to {found.max():.0f} times sn-conv's; ratios of norms {ratios.round(2)}")
np.testing.assert_allclose(found, ratios.prod() / ratios, rtol=0.05)
assert all(column(strict, "sigma_conv") < 1.05) and min(found) > 5

# %% [markdown]
# Lin et al. found by search that SN_conv trains like SN_w with a scale of 1.75. Random weights ask for less, as seen;
# at the end of chapter 5's runs, when kernels have become smoother, the same mean (printed there) is nearer to it.
#
# Learned: sigma bounds what a layer can do, at any size of its weights; the variance of W / sigma, at most
# 1 / max(m, n), is that of an initialization that works, by luck of a matrix that is not the convolution's; the
# convolution's own norm lies between sigma(W) and 3 sigma(W), and who divides by it must put a scale in front.
# Next: what a kernel for all this looks like.
