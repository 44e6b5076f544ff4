# %% [markdown]
# # 2. A convolution is a matrix product
#
# A convolution slides a small window over an image. It is linear, so it is a matrix, and all that one asks of it is
# asked of a matrix: its transpose (backward), its product with others (speed), its largest singular value (chapter 3).
# There are two matrices to know, a practical one and an honest one.

# %%
import numpy as np
from chapter import plt, save

from minigan import Tensor, grad
from minigan.engine import conv_ops

rng = np.random.default_rng(0)

# %% [markdown]
# ## The practical one: im2col
#
# Copy every window of the image into a row. A 3 x 3 window of C channels is a row of 9 C numbers, the weights of one
# output channel are 9 C numbers as well, and the convolution is rows times weights: one product of matrices, which is
# what every computer does best (Chellapilla et al. 2006). minigan's arrays are (N, H, W, C) and its weights
# (out, kh, kw, in), so that rows are made by long copies and `W.reshape(out, -1)` is the second matrix as it lies.

# %%
def im2col(x, k, stride=1):
    """Windows of the image x (H, W, C) as rows: (oh * ow, k * k * C)."""
    H, W, C = x.shape
    return np.stack([x[i:i + k, j:j + k].reshape(-1)
                     for i in range(0, H - k + 1, stride) for j in range(0, W - k + 1, stride)])


x, W = rng.standard_normal((8, 7, 3)), rng.standard_normal((5, 3, 3, 3))
product = im2col(x, 3) @ W.reshape(5, -1).T
np.testing.assert_allclose(product.reshape(6, 5, 5), conv_ops.conv2d(Tensor(x[None]), Tensor(W)).data[0], atol=1e-12)
print("im2col(x) @ W.T is the convolution")

numbered = np.arange(36).reshape(6, 6, 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 5.2), width_ratios=[1, 1])
for axis, matrix in ((left, numbered[..., 0]), (right, im2col(numbered, 3))):
    axis.imshow(matrix, cmap="viridis", vmin=0, vmax=35)
    for (i, j), n in np.ndenumerate(matrix):
        axis.text(j, i, n, ha="center", va="center", color="white" if n < 22 else "black",
                  fontsize=11 if axis is left else 8)
left.add_patch(plt.Rectangle((0.5, 1.5), 3, 3, fill=False, ec="white", lw=3))
right.add_patch(plt.Rectangle((-0.45, 8.5), 8.9, 1, fill=False, ec="white", lw=3))
left.set(title="an image, its pixels numbered, and a window", xticks=[], yticks=[])
right.set(title="im2col: each window is a row", xlabel="place in the window", ylabel="window", aspect="auto",
          yticks=range(0, 16, 3))
save("02_patches")

# %% [markdown]
# ## Its adjoint
#
# im2col is linear, too. Its adjoint A^T is defined by <A x, y> = <x, A^T y> for all x and y, and that definition is the
# best test there is: it needs no second implementation. im2col copies pixel p to several places; so A^T adds what
# stands in these places back to p ("col2im"). And since backward of a linear step is always its adjoint, this is how
# gradients come back from columns to pixels.

# %%
def col2im(rows, shape, k, stride=1):
    """Every row added back to where im2col took it from."""
    x, windows = np.zeros(shape), iter(rows.reshape(len(rows), k, k, shape[2]))
    for i in range(0, shape[0] - k + 1, stride):
        for j in range(0, shape[1] - k + 1, stride):
            x[i:i + k, j:j + k] += next(windows)
    return x


columns = rng.standard_normal(im2col(x, 3).shape)
np.testing.assert_allclose((im2col(x, 3) * columns).sum(), (x * col2im(columns, x.shape, 3)).sum())

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3))
for axis, (k, stride, size) in zip(axes, ((3, 1, 10), (3, 2, 9), (4, 2, 10)), strict=True):
    blank = np.ones((size, size, 1))
    used = col2im(im2col(blank, k, stride), blank.shape, k, stride)[..., 0].astype(int)
    axis.imshow(used, cmap="Blues", vmin=0, vmax=12)
    for (i, j), n in np.ndenumerate(used):
        axis.text(j, i, n, ha="center", va="center", color="white" if n > 6 else "black", fontsize=9)
    axis.set(title=f"kernel {k}, stride {stride}", xticks=[], yticks=[])
figure.suptitle("How many windows see each pixel: col2im(im2col(ones))")
save("02_adjoint")

# %% [markdown]
# Kernel 3 with stride 2 sees its pixels unequally often; read backwards, as a generator's upsampling or a
# discriminator's gradient, this is a checkerboard (Odena et al. 2016). Kernel 4 with stride 2 is even inside: where the
# networks of Miyato et al. 2018 stride, they use 4 (Table 3).
#
# ## The honest one: the matrix of the map
#
# What takes the whole image to the whole result is a matrix M, (results) x (pixels). Column p is the answer to a
# image whose pixel p is 1 and nothing else. M is nearly empty, and its rows repeat the same nine weights.
#
# Backward multiplies by M^T. Turned around, pixel p's row of M^T holds the nine results that have seen p, with the
# weights met in reverse: so M^T is a convolution as well, with the kernel flipped and the result's border padded.

# %%
def matrix_of(shape, W, **how):
    """The matrix of x -> conv2d(x, W, **how) for images x of this shape (H, W, C)."""
    units = np.eye(np.prod(shape)).reshape(-1, *shape)
    return conv_ops.conv2d(Tensor(units), Tensor(W), **how).data.reshape(len(units), -1).T


kernel = rng.standard_normal((1, 3, 3, 1))
flipped = kernel[:, ::-1, ::-1].transpose(3, 1, 2, 0).copy()  # and, of several channels, in and out exchanged
M, M_back = matrix_of((8, 8, 1), kernel), matrix_of((6, 6, 1), flipped, pad=2)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), width_ratios=[64, 36])
for axis, matrix in ((left, M), (right, M_back)):
    axis.imshow(matrix, vmin=-1.5, vmax=1.5)
left.set(title="M: a 3 x 3 convolution of 8 x 8 pixels", xlabel="pixel", ylabel="result")
right.set(title="M$^T$: that of the flipped", xlabel="result", ylabel="pixel")
save("02_matrix")
np.testing.assert_allclose(M_back, M.T, atol=1e-12)

# %% [markdown]
# The weights' gradient is the third of the trio: y = columns W^T gives gW = gy^T columns, a convolution of x with
# gy. minigan has these three as operations, each one's backward being the other two (minigan/engine/conv_ops.py).

# %%
X, V = Tensor(x[None], requires_grad=True), Tensor(W, requires_grad=True)
gy = rng.standard_normal((1, 6, 5, 5))
gx, gW = grad(conv_ops.conv2d(X, V), [X, V], gy=Tensor(gy))
np.testing.assert_allclose(gx.data[0], col2im(gy.reshape(30, 5) @ W.reshape(5, -1), x.shape, 3), atol=1e-12)
np.testing.assert_allclose(gW.data.reshape(5, -1), gy.reshape(30, 5).T @ im2col(x, 3), atol=1e-12)
print("backward: gx = col2im(gy W), gW = gy^T im2col(x)")

# %% [markdown]
# ## Two matrices, two norms
#
# Spectral normalization divides by the largest singular value of the practical matrix, W.reshape(out, -1)
# (Miyato et al. 2018, section 4), but how far a layer can stretch an image is that of the honest one, M. They differ
# by what im2col does: col2im(im2col(x)) multiplies each pixel by the numbers of the second image, so im2col stretches
# by the root of the largest of them, and |M| <= sqrt(largest count) |W|: 3 for a 3 x 3 kernel. How near a kernel comes
# to it is up to the kernel: one that takes means, to all of it; a random one, to less.

# %%
for name, kernel, stride, most in (("3 x 3, mean", np.full((1, 3, 3, 1), 1 / 9), 1, 9), ("3 x 3, random", W, 1, 9),
                                   ("4 x 4, stride 2, mean", np.full((1, 4, 4, 1), 1 / 16), 2, 4)):
    M = matrix_of((16, 16, kernel.shape[3]), kernel, stride=stride)
    stretch = np.linalg.norm(M, 2) / np.linalg.norm(kernel.reshape(len(kernel), -1), 2)
    print(f"{name}: |M| = {stretch:.2f} |W|, at most {most**0.5:.0f}")
    assert stretch <= most**0.5 + 1e-12 and (stretch > 0.9 * most**0.5) == ("mean" in name)

# %% [markdown]
# Learned: a convolution is a product with a matrix of windows; backward is the transpose, which is a convolution, too;
# and the matrix that is normalized in practice bounds the honest one up to a factor that im2col alone decides.
# Next: how to find the largest singular value without a decomposition.
