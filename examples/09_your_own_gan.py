# %% [markdown]
# # 9. A GAN of your own
#
# To minigan a network is a function of its parameters and its input; layers and models are a convenience on top. So an
# idea of your own needs two functions, two dicts of arrays, and a loop of a dozen lines. Then the same two functions go
# to `minigan.train`, which has the loop, and checkpoints, logs and a look into the discriminator besides.

# %%
import numpy as np
from chapter import BLUE, GREEN, ORANGE, plt, save

import minigan
from minigan import Tensor, grad, no_grad
from minigan.engine import ops
from minigan.nn.optimizers import Adam

# %% [markdown]
# ## Data of which all is known
#
# Chapter 4's ring, as images: 16 x 16 and grey, each with one Gaussian dot whose centre lies on a circle. There is one
# thing to learn, an angle; and the centre of an image's light tells whether a fake has it right.

# %%
SIZE, RADIUS = 16, 4.0
axis = np.arange(SIZE) - (SIZE - 1) / 2


def dots(rng, n):
    """n images (n, 16, 16, 1), float32 in [-1, 1]: black, with one white dot."""
    angle = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    dx, dy = axis - RADIUS * np.cos(angle), axis[:, None] - RADIUS * np.sin(angle)
    return (2 * np.exp(-(dx**2 + dy**2) / (2 * 1.5**2))[..., None] - 1).astype(np.float32)


def centres(images):
    """The centre of each image's light, x and y (n, 2), in pixels from the middle; what is nearly black is no light."""
    light = np.maximum(images[..., 0] / 2 + 0.5 - 0.2, 0)
    moments = np.stack([(light * axis).sum((1, 2)), (light * axis[:, None]).sum((1, 2))], 1)
    return moments / (light.sum((1, 2)) + 1e-6)[:, None]


def near(images):
    """The share of images whose centre is less than a pixel away from the circle."""
    return np.mean(abs(np.linalg.norm(centres(images), axis=1) - RADIUS) < 1)


def twelfths(images):
    """How many images have their centre in each of twelve sectors."""
    x, y = centres(images).T
    return np.bincount((np.arctan2(y, x) / (2 * np.pi) * 12 % 12).astype(int), minlength=12)


def say(name, fakes):
    print(f"{name:20}: {near(fakes):.0%} near the circle, {min(twelfths(fakes))} of 300 in the emptiest twelfth")


real = dots(np.random.default_rng(0), 2000)
assert near(real) == 1 and min(twelfths(real)) > 100

# %% [markdown]
# ## The GAN, in 30 lines
#
# `p` holds the parameters, by names of your choice: Tensors are trained, arrays are remembered. The arrays here are the
# u of each layer, from which `minigan.spectral_norm` goes on with its power iteration (chapter 3), and into which it
# writes the next. It gives W / sigma, and what is done with that is up to the function.

# %%
DIM_Z, WIDE, N, STEPS = 4, 128, 64, 1000


def generator(p, z):
    h = ops.relu(z @ p["W1"] + p["b1"])
    h = ops.relu(h @ p["W2"] + p["b2"])
    return ops.tanh(h @ p["W3"] + p["b3"]).reshape(-1, SIZE, SIZE, 1)


def discriminator(p, x):
    h = ops.leaky_relu(x.reshape(len(x), -1) @ minigan.spectral_norm(p["W1"], p["u1"]) + p["b1"])
    h = ops.leaky_relu(h @ minigan.spectral_norm(p["W2"], p["u2"]) + p["b2"])
    return (h @ minigan.spectral_norm(p["W3"], p["u3"]) + p["b3"]).reshape(-1)


def parameters(rng, *lengths, normalized=False):
    """W (in, out) by He's initialization, b and, if it is normalized, u of each layer."""
    p = {}
    for i, (fan_in, fan_out) in enumerate(zip(lengths, lengths[1:], strict=False), 1):
        W = np.sqrt(2 / fan_in) * rng.standard_normal((fan_in, fan_out))
        p[f"W{i}"] = Tensor(W.astype(np.float32), requires_grad=True)
        p[f"b{i}"] = Tensor(np.zeros(fan_out, np.float32), requires_grad=True)
        if normalized:
            p[f"u{i}"] = rng.standard_normal(fan_in, dtype=np.float32)
    return p


def train(gen, dis, steps, rng):
    """Hinge loss (chapter 4), D and G in turn; gives what G makes of 300 latents every 250 steps."""
    seen, eyes = {}, Tensor(rng.standard_normal((300, DIM_Z), dtype=np.float32))
    gen_params, dis_params = ({name: a for name, a in p.items() if isinstance(a, Tensor)} for p in (gen, dis))
    opt_gen, opt_dis = (Adam(params, beta1=0.0, beta2=0.9) for params in (gen_params, dis_params))
    for step in range(1, steps + 1):
        x, z = Tensor(real[rng.integers(len(real), size=N)]), Tensor(rng.standard_normal((N, DIM_Z), dtype=np.float32))
        fake = generator(gen, z).detach()
        loss = ops.mean(ops.relu(1 - discriminator(dis, x)) + ops.relu(1 + discriminator(dis, fake)))
        opt_dis.step(grad(loss, list(dis_params.values())), 1e-3)
        loss = -ops.mean(discriminator(dis, generator(gen, z)))
        opt_gen.step(grad(loss, list(gen_params.values())), 1e-3)
        if step % 250 == 0:
            with no_grad():
                seen[step] = generator(gen, eyes).data
    return seen


# %% [markdown]
# That is all. A thousand steps take a few seconds of one core.

# %%
def networks():
    rng = np.random.default_rng(0)
    return (parameters(rng, DIM_Z, WIDE, WIDE, SIZE * SIZE),
            parameters(rng, SIZE * SIZE, WIDE, WIDE, 1, normalized=True))


gen, dis = networks()
seen = train(gen, dis, STEPS, np.random.default_rng(1))
for step, fakes in seen.items():
    say(f"30 lines, {step:4} steps", fakes)
assert near(seen[STEPS]) > 0.9 and min(twelfths(seen[STEPS])) > 3  # an even share would be 25

# %% [markdown]
# Did the two lines with `spectral_norm` do what they say? Chapter 4 looked at D's slope: at most 1, if every layer's
# sigma is 1 and leaky ReLU's slope at most 1. The slope is a gradient by the input, one line; sigma is NumPy's SVD.

# %%
def slope(p, images):
    """|dD/dx| at each image (n,)."""
    x = Tensor(images, requires_grad=True)
    gx = grad(ops.sum(discriminator(p, x)), x).data
    return np.linalg.norm(gx.reshape(len(gx), -1), axis=1)


sigmas = []
for i in (1, 2, 3):
    W_bar = minigan.spectral_norm(dis[f"W{i}"], dis[f"u{i}"], train=False).data
    sigmas.append(np.linalg.norm(W_bar, 2))
    print(f"layer {i}: sigma(W) {np.linalg.norm(dis[f'W{i}'].data, 2):.2f}, of what D uses {sigmas[-1]:.3f}")
np.testing.assert_allclose(sigmas, 1, atol=0.1)  # not 1: one power iteration a step, as in chapter 4
assert max(slope(dis, real[:300]).max(), slope(dis, seen[STEPS]).max()) < np.prod(sigmas)

# %% [markdown]
# ## The same two functions in minigan's training loop
#
# A network is given as the pair of the function and its parameters. `minigan.train` trains copies of them, with every
# option that is no part of a network: the loss, the penalty, the optimizer, the average, `diagnose` as in chapter 5.

# %%
gen, dis = networks()
run = minigan.train(real, range=(-1, 1), generator=(generator, gen), discriminator=(discriminator, dis), dim_z=DIM_Z,
                    lr=1e-3, beta1=0.0, beta2=0.9, batch_size=N, iterations=STEPS, diagnose=250, quiet=True)
fakes = run.generator(run.generator.latents(300, seed=1))  # float32 in [-1, 1]; run.sample(300) gives them as uint8
say("minigan.train", fakes)
assert near(fakes) > 0.9 and min(twelfths(fakes)) > 3
assert all(look["slope"]["real"] < 1.1 for look in run.record.diagnoses) and len(run.record.diagnoses) == 4

# %% [markdown]
# What a run can do, this one can: `run.report()`, `run.score()`, `run.log`, `run.keep("runs/dots")`. What was learned
# lies in its folder; the functions do not, since a folder holds no code. So who loads it gives them once more, with
# weights of any values, and it goes on as if it had never stopped.

# %%
again = minigan.load(run.folder, generator=(generator, networks()[0]), discriminator=(discriminator, networks()[1]))
np.testing.assert_array_equal(again.sample(10), run.sample(10))
assert again.resume(iterations=STEPS + 10, quiet=True).iteration == STEPS + 10
learned = again.discriminator.network.params  # W1, b1, W2, ... as they were trained
assert learned.keys() == {"W1", "b1", "W2", "b2", "W3", "b3"}
assert not np.array_equal(learned["W1"].data, dis["W1"].data)  # copies were trained

# %%
figure, axes = plt.subplots(2, 3, figsize=(9, 5.5))
columns = {"real": (real, GREEN), "the 30 lines": (seen[STEPS], BLUE), "minigan.train": (fakes, ORANGE)}
for (upper, lower), (name, (images, colour)) in zip(axes.T, columns.items(), strict=True):
    tiles = images[:24, ..., 0].reshape(4, 6, SIZE, SIZE)
    upper.imshow(np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1).transpose(0, 2, 1, 3).reshape(
        4 * (SIZE + 1), -1)[:-1, :-1], cmap="gray", vmin=-1, vmax=1)
    upper.set(title=name, xticks=[], yticks=[])
    lower.plot(*centres(images[:300]).T, ".", color=colour, ms=4)
    lower.add_patch(plt.Circle((0, 0), RADIUS, fill=False, lw=1))
    lower.set(xlim=(-6, 6), ylim=(6, -6), aspect="equal", xlabel="centre of the light (pixels)",
              xticks=(-4, 0, 4), yticks=(-4, 0, 4))
save("09_dots")

# %% [markdown]
# Learned: a network is a function and a dict; `spectral_norm` is a function of W and u; a GAN is two hinge losses in
# turn. And whatever function you write, `minigan.train` trains it as it trains its own.
