# %% [markdown]
# # 5. SN-GAN, reading the diagnostics
#
# Now the real thing: the standard CNN of Miyato et al. 2018 (Table 3), at an eighth of its width, on drawings of shapes
# and on Fashion-MNIST, for as long as it takes to read this page. The images will be poor. What we are after is what
# goes on inside: minigan can look into a discriminator while it trains, and here we learn what the numbers say.
# (Fashion-MNIST is 30 MB and is fetched if it is not there.)

# %%
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from chapter import BLUE, GREEN, GREY, ORANGE, RED, plt, save

from minigan.data import datasets
from minigan.experiment import presets
from minigan.formats import image_files
from minigan.training import gan, loop, run_folder
from minigan.training.diagnosis import diagnostics
from minigan.views import diagnosis_table

temporary = tempfile.TemporaryDirectory()  # gone when the script ends
folder, LAST = Path(temporary.name), 250
RUNS = {"shapes, SN": ("shapes", "sn", BLUE), "Fashion, SN": ("fashion-mnist", "sn", GREEN),
        "Fashion, none": ("fashion-mnist", "none", RED)}
seen = {}
for name, (dataset, norm, _) in RUNS.items():
    own = {"batch_size": 8, "lr": 7e-4, "lr_dis": 3.5e-4} if dataset == "shapes" else {"batch_size": 16}
    e = presets.experiment(dataset, norm=norm, width=0.125, **own, iterations=LAST, diagnose=25,
                           log_every=25, sample_every=25, checkpoint_every=LAST)
    loop.fit(e, folder / name, quiet=True)
    seen[name] = run_folder.read_log(folder / name, "diagnostics.jsonl")  # a line for each look

# %% [markdown]
# The same as on the command line, and any run can be looked at afterwards, too:
#
#     minigan train fashion-mnist --norm sn --width 0.125 --batch-size 16 --iterations 250 --diagnose 25 --out runs/f
#     minigan diagnose runs/f

# %%
figure, axes = plt.subplots(3, 4, figsize=(6.5, 5.1))
for row, name in zip(axes, RUNS, strict=True):
    for axis, step in zip(row, (25, 75, 150, 250), strict=True):
        grid = image_files.read_png(folder / name / "samples" / f"samples-{step:07d}.png")
        side = len(grid) * 3 // 8  # three by three of eight by eight
        axis.imshow(grid[:side, :side], interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if name == "shapes, SN":
            axis.set_title(f"{step} iterations")
    row[0].set_ylabel(name, fontsize=12)
save("05_samples")

# %% [markdown]
# ## One look
#
# A row for each layer of the discriminator. From the left:
#
# - **sigma est., of**: what the power iteration takes for sigma, and the exact one. u^T W v can only be too small, and
#   one round a step keeps it within a few percent.
# - **sigma(W), sigma(W_bar)**: before and after the division. The second should be 1, and is as far above 1 as the
#   estimate was below sigma. This is all that spectral normalization promises.
# - **conv, its bounds**: the largest singular value of the *convolution*, which is what bounds D. It is not 1, but
#   between sigma(W_bar) and that times the root of the number of windows that a pixel is in (chapter 6).
# - **|dL/dW|, |dL/dW_bar|, removed**: the gradient of D's loss with respect to what is stored and what is used, and how
#   much chapter 3's projection took away, in lengths of the gradient. It is more than 1 where u v^T and the rest point
#   opposite ways.
# - **lambda**, of Eq. (12): below 0, larger weights would lower D's loss, and SN forbids just that.
# - **variance, at most**: of W_bar's elements, and Theorem 2's bound of it (chapter 6).
# - **negative, dead**: activations on the flat side of the leaky ReLU; channels that are there for all images.

# %%
last = seen["Fashion, SN"][-1]
print("\n".join(diagnosis_table.table(last)))


def column(look, name):
    return np.array([row[name] for row in look["layers"].values()])


for look in seen["shapes, SN"] + seen["Fashion, SN"]:
    estimate, sigma, bar = (column(look, name) for name in ("sigma_estimate", "sigma", "sigma_bar"))
    np.testing.assert_allclose(bar, sigma / estimate, rtol=1e-3)
    assert 0.999 < bar.min() and bar.max() < 1.25 and np.median(bar) < 1.03
    assert (column(look, "variance") <= [bounds[1] * 1.25**2 for bounds in column(look, "variance_bounds")]).all()
for look in sum(seen.values(), []):
    lower, conv, upper = (column(look, name) for name in ("conv_lower", "sigma_conv", "conv_upper"))
    assert (lower <= conv * 1.001).all() and (conv <= upper * 1.001).all()

figure, axes = plt.subplots(1, 2, figsize=(9, 3.7), sharey=True)
x = np.arange(1, 9)
for axis, name in zip(axes, ("Fashion, SN", "Fashion, none"), strict=True):
    look = seen[name][-1]
    lower, conv, upper = (column(look, which) for which in ("conv_lower", "sigma_conv", "conv_upper"))
    axis.vlines(x, lower, upper, color=GREY, lw=6, alpha=0.3, label="bounds of the convolution's")
    axis.semilogy(x, conv, "o", color=ORANGE, label="the convolution's norm")
    axis.semilogy(x, column(look, "sigma_bar"), "s", color=GREEN, ms=8, mfc="none", label="sigma(W_bar), in use")
    axis.semilogy(x, column(look, "sigma"), "_", color="black", ms=12, label="sigma(W), stored")
    axis.set(title=f"{name}, after {LAST} iterations", xlabel="layer", xticks=x)
axes[0].set_yticks([0.1, 0.3, 1, 3], labels=["0.1", "0.3", "1", "3"])
axes[0].minorticks_off()
axes[0].legend(fontsize=9, loc="lower right")
save("05_layers")

# %% [markdown]
# ## All looks
#
# The product of the convolutions' norms (dotted) bounds how much D can differ between two images, per distance
# between them. The steepest slope met, on real, made and mixed images, is far below: no image is the worst case of
# every layer at once. But the bound is not idle. With SN it stays within a factor of ten. Without, the same learning
# rate raises it by orders of magnitude: a little in each of eight layers. (Both are asserted and printed below.)
#
# (At 0 iterations u is a random vector: sigma is underestimated, sigma(W_bar) above 1, and gone by the next look.)
#
# **Inactive terms** are images beyond the hinge's margin, which teach D nothing more. In the middle of the run most
# are: D has won, for the moment, and look at the stripes that it gets from the generator. Then the shares fall, and
# the images get shapes of garments. With SN D's slope is small but there, so a generator can come back from that.
# (One without SN may, too: 250 iterations of one seed prove nothing about images, which another processor's rounding
# changes as another seed would; the norms, they do.)

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.7))
bound, product = {}, {}  # from before the first iteration on
for name, (dataset, _, colour) in RUNS.items():
    start = gan.Training(run_folder.read_experiment(folder / name), datasets.load(dataset).images[:64])
    looks = [diagnostics.diagnose(start), *seen[name]]
    steps = [look["iteration"] for look in looks]
    bound[name] = np.array([look["lipschitz_bound"] for look in looks])
    slope = np.array([max(look["slope"].values()) for look in looks])
    product[name] = np.array([column(look, "sigma_bar").prod() for look in looks])
    left.semilogy(steps, bound[name], ":", color=colour)
    left.semilogy(steps, slope, "o-", ms=4, color=colour, label=name)
    if dataset == "fashion-mnist":
        middle.plot(steps, [column(look, "sigma_bar")[:7] for look in looks], color=colour)
    assert (slope < bound[name]).all() and np.median(slope / bound[name]) < 0.2
for kind, colour in (("real", ORANGE), ("fake", GREY)):
    shares = [look["inactive"][kind] for look in seen["Fashion, SN"]]
    right.plot(steps[1:], shares, "o-", ms=4, color=colour, label=kind)
left.set(title="D's slope\n(dotted: its bound)", xlabel="iterations")
left.legend(fontsize=9, loc="lower right")
middle.set(title="Fashion: sigma(W_bar) of\nconvolutions 1 to 7", xlabel="iterations", ylim=(0, None))
right.set(title="Fashion, SN: inactive\nhinge terms", xlabel="iterations", ylim=(-0.03, 1.03))
right.legend()
save("05_over_time")

for name in RUNS:
    ratios = (column(seen[name][-1], "sigma_conv") / column(seen[name][-1], "sigma_bar"))[:7]
    print(f"{name}: bound {bound[name][0]:.2g} to {bound[name][-1]:.2g}; the convolutions' norms are "
          f"{np.prod(ratios) ** (1 / 7):.2f} times sigma(W_bar), in the geometric mean")
assert all(bound[name].max() < 10 * bound[name].min() for name in ("shapes, SN", "Fashion, SN"))
assert product["Fashion, none"].max() > 100 * product["Fashion, none"][0]

# %% [markdown]
# ## Alarms
#
# A look says in a sentence what is wrong and what may help, if something is; above nothing was. Two ways to hear one:
# without normalization, before the first update, eight layers drawn with deviation 0.02 let nothing through; and with a
# learning rate a hundred times too high W moves so far in one step that the u of last time is no good beginning.

# %%
images = datasets.load("shapes").images[:64]
e = presets.experiment("shapes", norm="sn", width=0.125, batch_size=8, lr=0.05, lr_dis=0.05)
hasty = gan.Training(e, images)
hasty.iterate()
small = gan.Training(dataclasses.replace(e, norm="none"), images)
for expected, training in (("vanishing-gradients", small), ("power-iteration", hasty)):
    found = diagnostics.diagnose(training)["alarms"]
    print(*(alarm["text"] for alarm in found), sep="\n")
    assert expected in {alarm["name"] for alarm in found}

# %% [markdown]
# Learned: a look into a discriminator answers in this order: is sigma(W_bar) 1, that is, does the normalization do what
# it says; what do the convolutions add to that; how steep is D beside its bound; do images still teach it anything.
# Next: why bounding sigma, and just this sigma, helps.
