# %% [markdown]
# # 8. Measuring a GAN
#
# Is it good? Two numbers answer in every paper: the Inception score (Salimans et al. 2016) and the Frechet inception
# distance (Heusel et al. 2017). We write both by hand, check them where the answer is known, and then fool them, on
# purpose, as one otherwise does by accident.

# %%
import numpy as np
from chapter import BLUE, GREEN, GREY, ORANGE, PINK, RED, plt, save

from minigan.data import datasets
from minigan.data.resize import resized
from minigan.metrics import classifier, frechet, neighbours, scores


def inception_score(p):
    """exp of the mean KL(p(y|x) || p(y)); p (N, classes): a classifier's probabilities for each image."""
    p = np.maximum(p, 1e-300)  # 0 log 0 is 0
    return np.exp((p * np.log(p / p.mean(0))).sum(1).mean())


def softmax(logits):
    p = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def fid(real, fake):
    """Frechet distance of two normal distributions with the features' means and covariances; (N, d), (M, d)."""
    C1, C2 = np.cov(real.T), np.cov(fake.T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(C1 @ C2).real, 0))  # of (C1 C2)^(1/2); rounding may leave a -1e-18
    return ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(C1) + np.trace(C2) - 2 * roots.sum()


# %% [markdown]
# ## Where the answer is known
#
# IS wants each image to be surely something, and all together to be everything. Sure of K classes, in equal parts: K.
# Unsure, or always the same: 1. If every image gives its class 1 - q and each other one q / 9, the score is
# exp(log 10 - H) with H the entropy of that row.
#
# FID of two normal distributions: a shift by m costs |m|^2; standard deviations s and t on the same axes cost (s - t)^2
# each. It knows nothing but means and covariances: any two sets that share these are equal to it.

# %%
rng = np.random.default_rng(0)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
doubts = np.linspace(0, 0.9, 10)
for k, colour in ((10, BLUE), (3, ORANGE)):
    found = []
    for q in doubts:
        p = np.full((10, 10), q / 9) + np.eye(10) * (1 - q - q / 9)
        found.append(inception_score(p[np.arange(60) % k]))
    left.plot(doubts, found, "o", color=colour, label=f"{k} of 10 classes")
q = np.linspace(1e-9, 0.9, 100)
left.plot(q, 10 * np.exp((1 - q) * np.log(1 - q) + q * np.log(q / 9)), color=BLUE, lw=1)
left.set(title="Inception score", xlabel="doubt q", ylim=(0, 10.5))
left.legend()
z, steps = rng.standard_normal((2000, 4)), np.linspace(0, 2, 9)
z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T  # mean 0, covariance exactly the unit matrix
for name, move, expected, colour in (("shifted by x", lambda x: z + [x, 0, 0, 0], lambda x: x**2, RED),
                                     ("all axes times x", lambda x: z * x, lambda x: 4 * (x - 1) ** 2, GREEN)):
    found = [fid(z, move(x)) for x in steps]
    right.plot(steps, found, "o", color=colour, label=name)
    right.plot(np.linspace(0, 2, 100), expected(np.linspace(0, 2, 100)), color=colour, lw=1)
    np.testing.assert_allclose(found, expected(steps), atol=1e-6)
right.set(title="Frechet distance in 4 dimensions", xlabel="x")
right.legend()
save("08_by_hand")

np.testing.assert_allclose(inception_score(np.eye(10)), 10)
np.testing.assert_allclose(inception_score(np.full((5, 10), 0.1)), 1)
np.testing.assert_allclose(inception_score(np.eye(10)[[0] * 50 + [1] * 25 + [2] * 25]), 2**1.5)  # entropy 1.5 bits
x, y = rng.standard_normal((300, 20)) @ rng.standard_normal((20, 20)), rng.random((200, 20))
np.testing.assert_allclose(fid(x, y), frechet.distance(x, y))
logits = rng.standard_normal((100, 10))
np.testing.assert_allclose(inception_score(softmax(logits)), scores.inception_score(logits, splits=1)[0])

# %% [markdown]
# ## An eye for shapes
#
# Inception has never seen our drawings, so we train a small classifier on 16 x 16 of them, in seconds. Its last layer
# but one has 128 features, which FID takes; its probabilities serve IS. Real images are the training set's; the best
# generator there can be is the test set.

# %%
eye = classifier.train("shapes", size=16, epochs=1)
train, test = (datasets.load("shapes", size=16, split=split) for split in ("train", "test"))
real, held_out = eye.features(train.images[:4000]), eye.features(test.images[:4000])
labels = test.labels[:4000]
print(classifier.describe(eye))

# %% [markdown]
# ## Seven generators
#
# Some good, some ill, by design:
#
# - **test set**: as good as can be. **copied**: 2000 of the training images themselves.
# - **noisy**: every kind is there, none is clean. **6 of 10**: clean, and four kinds are missing.
# - **one each**: the one test image of each class that the eye is surest of, two hundred times.
# - **made smaller**: the test set drawn at 48 x 48, brought to 16 x 16 with Lanczos's filter; and by **plain** bilinear
#   interpolation, which reads a few pixels and skips the others. The same images, and to look at, nearly so.
#
# Precision is the share of fakes that lie near real ones, recall the share of real ones that lie near
# fakes, in the space of features (Kynkaanniemi et al. 2019).

# %%
surest = [int(np.where(labels == k, softmax(eye.logits(held_out))[:, k], 0).argmax()) for k in range(10)]
noise = 60 * rng.standard_normal((2000, 16, 16, 3))
large = datasets.load("shapes", size=48, split="test").images[:2000]
MADE = {
    "test set": test.images[:2000], "copied": train.images[:2000],
    "noisy": np.clip(test.images[:2000] + noise, 0, 255).astype(np.uint8),
    "6 of 10": test.images[:4000][labels < 6][:2000],
    "one each": test.images[np.tile(surest, 200)],
    "made smaller": resized(large, 16, "lanczos"), "plain": resized(large, 16, "plain")}
features, table = {name: eye.features(images) for name, images in MADE.items()}, {}
figure, axes = plt.subplots(len(MADE), 1, figsize=(9, 3.9), layout="none")
figure.subplots_adjust(0.13, 0.01, 0.64, 0.93, hspace=0.1)
for axis, (name, images) in zip(axes, MADE.items(), strict=True):
    found = features[name]
    table[name] = (inception_score(softmax(eye.logits(found))), fid(real, found),
                   *neighbours.precision_recall(real, found))
    axis.imshow(np.hstack(images[:12]), interpolation="nearest")
    axis.axis("off")
    axis.text(-3, 8, name, ha="right", va="center")
    axis.text(197, 8, "{:6.2f}{:9.2f}{:9.2f}{:9.2f}".format(*table[name]), family="monospace", va="center")
axes[0].text(197, -5, "    IS      FID   precis.  recall", family="monospace")
save("08_generators")

score, distance, precision, recall = ({name: row[i] for name, row in table.items()} for i in range(4))


def copies(name):
    return len(neighbours.duplicates(np.concatenate([train.images[:4000], MADE[name]])))


assert score["one each"] > score["test set"] and recall["one each"] < 0.01
assert 0.5 < distance["noisy"] / distance["one each"] < 2 and precision["noisy"] < 0.3
assert precision["6 of 10"] > 0.85 > 0.7 > recall["6 of 10"] and distance["6 of 10"] > 2 * distance["noisy"]
assert distance["copied"] < distance["test set"] and copies("copied") >= 2000 > 5 > copies("test set")
assert distance["plain"] > 1.1 * distance["made smaller"]

# %% [markdown]
# What the table says:
#
# - **One perfect image a class beats the test set in IS.** IS never looks within a class, nor at a real
#   image.
# - **FID calls "noisy" and "one each" about as good**, with opposite illnesses, and "6 of 10", all of it clean, by far
#   the worst. One number cannot say what is wrong; precision and recall can.
# - **Copying is the best of all**, by every number. Only a search for duplicates finds it.
# - **How an image was made smaller changes FID**, here by a quarter.
#
# ## How many, and in which order
#
# FID is biased: covariances of few images are off, and that counts as distance. It falls with the number of images,
# about as 1 / N. (With fewer images than features the covariance is not even regular.) IS has its own: in a small
# split p(y) follows the few images, and the score is lower. The custom is ten splits; if images come sorted by
# class, as from a loop over the classes of a conditional generator, each split holds one class, and the score is 1.

# %%
numbers, splits = np.array([150, 250, 500, 1000, 2000, 4000]), [1, 2, 5, 10, 20, 50, 100]
slightly = eye.features(np.clip(test.images[:2000] + noise / 3, 0, 255).astype(np.uint8))
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.5))
for name, found, colour in (("test set", held_out, BLUE), ("slightly noisy", slightly, RED)):
    falls = {n: fid(real, found[:n]) for n in numbers if n <= len(found)}
    left.loglog(falls.keys(), falls.values(), "o-", color=colour, label=name)
    if name == "test set":
        assert (np.diff(list(falls.values())) < 0).all()
        clean = falls
left.set(title="FID", xlabel="pictures")
left.set_xticks(numbers[[0, 2, 4]], labels=numbers[[0, 2, 4]])
left.set_yticks([0.1, 0.3, 1, 3], labels=["0.1", "0.3", "1", "3"])
left.minorticks_off()
left.legend()
assert clean[500] > falls[2000] > clean[2000]  # 500 perfect images look worse than 2000 noisy ones

logits = eye.logits(held_out)
means = {}
by_class = np.argsort(labels, kind="stable")
for name, order, colour in (("mixed", np.arange(4000), BLUE), ("sorted by class", by_class, RED)):
    means[name] = [np.mean([inception_score(softmax(part)) for part in np.split(logits[order], n)]) for n in splits]
    middle.semilogx(splits, means[name], "o-", color=colour, label=name)
np.testing.assert_allclose(means["mixed"][3], scores.inception_score(logits, splits=10)[0])
assert means["sorted by class"][3] < 1.5 < 9 < means["mixed"][3] < means["mixed"][0]
middle.set(title="mean IS of 4000 test images", xlabel="splits", ylim=(0, 10.5))
middle.set_xticks([1, 10, 100], labels=[1, 10, 100])
middle.legend(loc="center left", bbox_to_anchor=(0.2, 0.55))
for name, colour in zip(MADE, (BLUE, GREEN, RED, ORANGE, PINK, GREY, "black"), strict=True):
    right.plot(recall[name], precision[name], "o", alpha=0.8, color=colour, label=f"{name}: {distance[name]:.1f}")
right.set(title="quality and diversity", xlabel="recall", ylabel="precision", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
right.legend(title="FID", fontsize=8, loc="center left", bbox_to_anchor=(0, 0.3))
save("08_how_many")

# %% [markdown]
# Learned: a score is a protocol. It is the network that looks, how images were made smaller, how many they were, in
# which order and how many splits. Compare only what agrees in all of them; that is why minigan writes the protocol
# beside every score. And no score replaces a look at the images, and at their nearest neighbours.
