"""What goes on inside a discriminator, measured on one batch: the analyses of both papers, cheap enough to leave on.

`diagnose(training)` gives one dict of plain values, a line of a run's diagnostics.jsonl (null: it has no value there):

    iteration      of the training
    seconds        that this diagnosis took
    layers         path -> one dict for each layer of the discriminator that has a W:
      shape              of W, (out, kh, kw, in) or (out, in)
      sigma_estimate     what the norm's own power iteration takes for the norm of W; null if it has none
      sigma_meant        the exact value of that: sigma for sn, the mean of both for bsn, the convolution's for sn-conv
      sigma, sigma_bar   largest singular value of W, and of W_bar, the weights in use, as matrices (out, the rest)
      sigma_conv         largest singular value of the convolution with W_bar, its stride and its padding
      conv_lower, conv_upper   bounds of sigma_conv by matrix norms (Tsuzuku et al. 2018, Corollary 1)
      singular_values    of W_bar, descending
      gradient, gradient_bar   |dL/dW| and |dL/dW_bar|, L the loss that the discriminator minimizes
      gradient_output    |d mean D(real) / dW_bar|: of the output itself, which no loss can switch off
      removed            |a dL/dW_bar - dL/dW| / |a dL/dW_bar|, W_bar = a W: what normalizing takes away. For sn it is
                         |lambda| / |dL/dW_bar|, and may be more than 1: u v^T is not orthogonal to what remains
      lambda             <dL/dW_bar, W_bar>: Miyato et al. 2018, Eq. (12)
      variance           of the elements of W_bar
      variance_bounds    [lower, upper] of Lin et al. 2021, Theorem 2 (sn) or 3 (bsn); null for other norms
      saturation         {"negative": share of activations on the leaky or zero side, "dead": share of channels that
                         are positive nowhere}, of the activation right after the layer; null if there is none
    lipschitz_bound   product of sigma_conv, sums over the branches of a ResNet, times what lies between the layers:
                      |D(x) - D(y)| / |x - y| is nowhere more. null with bn or ln, which no product bounds
    slope             {"real", "fake", "between"}: largest |gradient of D| at a picture; with bn the batch's sum's
    gradient_ratio    list of {"layers": [i, j], "gradients": gradient_output i / j, "norms": sigma_conv j / i} for
                      neighbours i, j: equal in the set of Lin et al. 2021, Eq. (2)
    inactive          {"real", "fake"}: share of hinge terms that are 0; null for other losses
    outputs           {"real": [mean, standard deviation], "fake": ...} of D
    accuracy          share of right answers: above 0 for real, below for fake (1/2 for lsgan)
    diversity         mean distance between two made pictures' thumbnails, in that of two real ones
    alarms            list of {"name", "text"} (alarms.py)

All on copies of the networks, with random numbers of their own, so that the training goes on as if nobody had looked.
The weights are those of the next training forward, the same for all pictures.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np

from minigan.data.pixels import to_uint8
from minigan.engine import ops, thread_pool
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.engine.devices import Array, array_module, to_host
from minigan.engine.fused import sample_norms
from minigan.engine.scaled import Scaled
from minigan.metrics.thumbnails import thumbnails
from minigan.networks.bssn_mnist import MNISTDiscriminator
from minigan.networks.resnet import ResNetDiscriminator
from minigan.nn.feature_norms import BatchNorm, LayerNorm
from minigan.nn.layers import Conv2d, Layer
from minigan.nn.spectral_norms import BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.weight_norms import Gain, NoNorm, to_matrix
from minigan.training import alarms
from minigan.training.gan import Training

STREAM = 7  # of random numbers, after those of gan.py
DIGITS = 6  # of each number in the file
PAIRS = 64  # pictures whose distances are taken: 2016 pairs
# Of a singular vector: |A^T u - sigma v| / sigma. In 48 random convolutions sigma itself was within 3e-4 then, after 10
# to 35 steps; with 1e-2 it took 20 and was once off by 2 %, another singular value's vector.
TOLERANCE = 1e-3
STEPS = 100  # of Lanczos at most
# The theorems do not give their constant. Gaussian matrices come to sigma = sqrt(m) + sqrt(n), 1 / (4 max(m, n)) for
# square ones; with log(2) / 4 the lower bound is below that for any size.
THEOREMS_L = math.log(2) / 4


def diagnose(training: Training) -> dict[str, Any]:
    """Measure a training's discriminator where it stands; the training is not changed. See above for the result."""
    began = time.perf_counter()
    t, rng = _shadow(training)
    e, count = t.e, t.e.batch_size
    layers = _watch(t.dis)
    index = np.sort(rng.choice(len(t.images), count, replace=False))
    y_real, y_fake = t.labels_of(index), t.random_labels(count)
    x_real = Tensor(t.real(index).data, requires_grad=True)
    with no_grad():
        x_fake = t.generate(t.z(count), y_fake).data
    x_fake = Tensor(x_fake, requires_grad=True)
    loss, real, fake = t.discriminator_loss(x_real, y_real, x_fake, y_fake)
    for watched in layers.values():
        watched.open = False
    weights = {path: watched for path, watched in layers.items() if watched.held.W_bar is not None}
    Ws, W_bars = ([which(w) for w in weights.values()] for which in (lambda w: w.layer.params["W"],
                                                                     lambda w: w.held.W_bar))
    g = [to_host(x.data) for x in grad(loss, Ws + W_bars)]
    slopes = grad(ops.sum(real), [x_real, *W_bars])
    share = t.xp.asarray(rng.random((count, 1, 1, 1), dtype=np.float32))
    x_hat = Tensor(share * x_real.data + (1 - share) * x_fake.data, requires_grad=True)
    between = grad(ops.sum(t.judge(x_hat, y_real)[0]), x_hat)
    slope = {"real": slopes[0], "fake": grad(ops.sum(fake), x_fake), "between": between}

    def measure(i: int) -> dict[str, Any]:
        path, w = list(weights.items())[i]
        return _layer(w, g[i], g[len(Ws) + i], to_host(slopes[1 + i].data) / count, _saturation(path, layers))
    each = thread_pool.parallel if t.xp is np else map  # a GPU is asked from one thread
    rows = dict(zip(weights, each(measure, range(len(Ws))), strict=True))
    middle = 0.5 if e.loss == "lsgan" else 0.0
    real, fake = to_host(real.data), to_host(fake.data)
    norms = {path: row["sigma_conv"] for path, row in rows.items()}
    found = {
        "iteration": t.iteration, "seconds": 0.0, "layers": rows,
        "lipschitz_bound": lipschitz_bound(t.dis, norms, x_real.shape),
        "slope": {name: float(to_host(sample_norms(x.data)).max()) for name, x in slope.items()},
        "gradient_ratio": gradient_ratios(rows),
        "inactive": {"real": np.mean(real >= 1), "fake": np.mean(fake <= -1)} if e.loss == "hinge" else None,
        "outputs": {"real": [real.mean(), real.std()], "fake": [fake.mean(), fake.std()]},
        "accuracy": (np.mean(real > middle) + np.mean(fake < middle)) / 2,
        "diversity": diversity(*(to_uint8(to_host(x.data[:PAIRS])) for x in (x_real, x_fake)))}
    found["seconds"] = time.perf_counter() - began
    found = _plain(found)
    return found | {"alarms": alarms.alarms(found, e)}


def table(found: dict[str, Any]) -> list[str]:
    """A diagnosis for people: a row for each layer, what holds for all of them, the alarms."""
    def cells(path: str, row: dict[str, Any]) -> list[str]:
        bounds, saturation = row["variance_bounds"], row["saturation"]
        bound = "-" if bounds is None else _number(bounds[1])
        return [path, " ".join(map(str, row["shape"])), _number(row["sigma_estimate"]), _number(row["sigma_meant"]),
                _number(row["sigma"]), _number(row["sigma_bar"]), _number(row["sigma_conv"]),
                f"{_number(row['conv_lower'])} to {_number(row['conv_upper'])}", _number(row["gradient"]),
                _number(row["gradient_bar"]), _number(row["removed"]), _number(row["lambda"]), _number(row["variance"]),
                bound, *(f"{saturation[name]:.0%}" if saturation else "-" for name in ("negative", "dead"))]
    head = ["layer", "shape", "sigma est.", "of", "sigma(W)", "sigma(W_bar)", "conv", "its bounds", "|dL/dW|",
            "|dL/dW_bar|", "removed", "lambda", "variance", "at most", "negative", "dead"]
    rows = [head] + [cells(path, row) for path, row in found["layers"].items()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in
                       enumerate(zip(row, widths, strict=True))) for row in rows]
    outputs, inactive = found["outputs"], found["inactive"]

    def named(values: dict[str, Any]) -> str:
        return ", ".join(f"{name} {_number(value)}" for name, value in values.items())
    lines += ["", f"iteration {found['iteration']:,}, {found['seconds']:.2g} s",
              f"largest slope of D   {named(found['slope'])}; Lipschitz bound {_number(found['lipschitz_bound'])}",
              "output of D          " + ", ".join(f"{name} {_number(mean)} (sd {_number(sd)})"
                                                  for name, (mean, sd) in outputs.items())
              + f"; right answers {found['accuracy']:.0%}"]
    if inactive is not None:
        lines.append("inactive hinge terms " + ", ".join(f"{name} {share:.0%}" for name, share in inactive.items()))
    lines.append(f"diversity of pictures {_number(found['diversity'])} of the real ones'")
    return lines + ["", *(alarm["text"] for alarm in found["alarms"])] if found["alarms"] else [*lines, "no alarms"]


# ---- the copy that is looked at ------------------------------------------------------------------------------------

class Held(NoNorm):
    """The weights that a normalization gives for the first forward, the same for every further one."""

    def __init__(self, norm: NoNorm):
        self.norm, self.W_bar, self.x_shape = norm, None, ()

    def weight(self, layer: Layer, x_shape: tuple[int, ...], train: bool) -> Tensor:
        if self.W_bar is None:
            W_bar = self.norm.weight(layer, x_shape, False)  # as in training; what it remembers is not moved
            self.W_bar, self.x_shape = W_bar.done() if isinstance(W_bar, Scaled) else W_bar, x_shape
        return self.W_bar

    def penalty(self, layer: Layer) -> Tensor | None:
        return self.norm.penalty(layer)


class Watched(Layer):
    """Stands for a layer in its network: holds its weights, and counts its activations while `open`."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer, self.labelled, self.open = layer, layer.labelled, True
        self.held = layer.norm = Held(layer.norm)
        self.slope = getattr(layer, "slope", 1.0)
        self.negative: list[float] = []  # of each forward
        self.alive: Array | None = None  # channels that were positive somewhere

    def __call__(self, x: Any, *more: Any) -> Tensor:
        y = self.layer(x, *more)
        if self.open and self.slope != 1:
            positive = (y.data > 0).reshape(-1, y.shape[-1])
            self.negative.append(1 - float(positive.mean()))
            alive = to_host(positive.any(0))
            self.alive = alive if self.alive is None else self.alive | alive
        return y

    def walk(self, prefix: str = "") -> Any:
        yield prefix, self.layer


def _shadow(training: Training) -> tuple[Training, np.random.Generator]:
    """The same training with copies of its networks, and random numbers of its own."""
    shadow = copy.copy(training)
    rng = np.random.default_rng([training.e.seed, STREAM, training.iteration])
    shadow.rngs = dict.fromkeys(training.rngs, rng)
    shadow.gen, shadow.dis = copy.deepcopy(training.gen), copy.deepcopy(training.dis)
    return shadow, rng


def _watch(network: Layer) -> dict[str, Watched]:
    """Put a Watched in the place of every layer that has none below it; path -> it, in the order of the network."""
    found = {}
    for path, parent in list(network.walk()):
        for name, layer in parent.layers.items():
            if not layer.layers:
                found[f"{path}/{name}".lstrip("/")] = parent.layers[name] = Watched(layer)
    order = [path for path, _ in network.walk()]
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


def _saturation(path: str, layers: dict[str, Watched]) -> dict[str, float] | None:
    """That of the layer's own activation, or of a normalization of its features right after it."""
    watched = layers[path]
    if watched.slope == 1:
        paths = list(layers)
        after = (paths + [path])[paths.index(path) + 1]
        watched = layers[after]
        if after.rpartition("/")[0] != path.rpartition("/")[0] or "W" in watched.layer.params or watched.slope == 1:
            return None
    return {"negative": float(np.mean(watched.negative)), "dead": 1 - float(watched.alive.mean())}


# ---- one layer -----------------------------------------------------------------------------------------------------

def _layer(w: Watched, gW: np.ndarray, gW_bar: np.ndarray, g_output: np.ndarray,
           saturation: dict[str, float] | None) -> dict[str, Any]:
    """A row of "layers". gW, gW_bar: the loss's gradients; g_output: that of the mean output at real pictures."""
    layer, norm, W_bar = w.layer, w.held.norm, w.held.W_bar.detach()
    factor = 1.0
    if isinstance(norm, Gain):
        if not norm.rows:
            factor = float((layer.params["gamma"] if norm.gamma is None else norm.gamma).data.item())
        norm = norm.norm
    has_u = isinstance(norm, SpectralNorm)
    factor *= norm.scale if has_u else 1
    matrix, used, g, g_bar = (to_matrix(to_host(a), layer.out_axis).astype(np.float64)
                              for a in (layer.params["W"].data, W_bar.data, gW, gW_bar))
    rows = ratio(np.linalg.norm(used, axis=1), np.linalg.norm(matrix, axis=1))  # W_bar = rows * W, but for signs
    whole = bool(np.ptp(rows) <= 1e-5 * rows.max())  # one number for all: a rounding in float32 is far below that
    values = singular_values(used)
    sigma = float(values[0]) / rows.max() if whole and rows.max() else float(singular_values(matrix)[0])
    lower, upper = conv_bounds(layer, to_host(W_bar.data), w.held.x_shape)
    conv = float(values[0]) if W_bar.ndim == 2 else operator_norm(layer, W_bar, layer.operand_shape(w.held.x_shape))
    estimate = meant = None
    if has_u and rows.max():
        estimate = abs(factor) / rows.max()
        meant = conv / rows.max() if isinstance(norm, OperatorNorm) else sigma
        if isinstance(norm, BidirectionalNorm) and W_bar.ndim > 2:
            other = to_matrix(to_host(layer.params["W"].data), W_bar.ndim - 1 - layer.out_axis)
            meant = (sigma + float(singular_values(other)[0])) / 2
    scaled = rows[:, None] * g_bar
    return {"shape": list(W_bar.shape), "sigma_estimate": estimate, "sigma_meant": meant, "sigma": sigma,
            "sigma_bar": float(values[0]), "sigma_conv": conv, "conv_lower": lower, "conv_upper": upper,
            "singular_values": values.tolist(), "gradient": np.linalg.norm(g), "gradient_bar": np.linalg.norm(g_bar),
            "gradient_output": np.linalg.norm(g_output.astype(np.float64)),
            "removed": float(ratio(np.linalg.norm(scaled - g), np.linalg.norm(scaled))),
            "lambda": np.sum(g_bar * used), "variance": used.var(),
            "variance_bounds": variance_bounds(norm, W_bar.shape, factor), "saturation": saturation}


def ratio(a: Any, b: Any) -> Any:
    """a / b, 0 where b is 0; nan where both have no end."""
    with np.errstate(invalid="ignore"):
        return np.divide(a, b, out=np.zeros(np.shape(b)), where=np.asarray(b) != 0)


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """All singular values, descending, by the eigenvalues of the smaller Gram matrix in float64; nan if W is broken."""
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all():
        return np.full(min(matrix.shape), math.nan)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))


def operator_norm(layer: Layer, W: Tensor, shape: tuple[int, ...], tolerance: float = TOLERANCE) -> float:
    """The largest singular value of layer.operator with weights W, on an argument of this shape.

    By Golub and Kahan's bidiagonalization (1965): power iteration with the operator and its adjoint that keeps what all
    its steps saw, and needs a tenth of them. It stops when |A^T u - sigma v| <= tolerance * sigma for its best u and v.
    The beginning is the same for the same shape: no random numbers, nothing remembered.
    """
    xp = array_module(W.data)
    v = xp.asarray(np.random.default_rng(0).standard_normal(shape).astype(W.dtype))
    v /= _length(v)
    u, diagonal, above = None, [], []
    for _ in range(STEPS):
        Av = layer.operator(W, Tensor(v)).data
        u = Av if u is None else Av - u * u.dtype.type(above[-1])
        diagonal.append(_length(u))
        if not diagonal[-1] > 0:  # zero weights, or all of the space was seen
            break
        u = u / u.dtype.type(diagonal[-1])
        v = layer.adjoint(W, Tensor(u), shape).data - v * v.dtype.type(diagonal[-1])
        above.append(_length(v))
        if len(above) % 5 == 0 or not above[-1] > 0:
            left, sigmas, _ = np.linalg.svd(np.diag(diagonal) + np.diag(above[:-1], 1))
            if abs(left[-1, 0]) * above[-1] <= tolerance * sigmas[0]:
                return float(sigmas[0])
        v /= v.dtype.type(above[-1])
    size = len(diagonal)
    B = np.diag(diagonal) + np.diag(above[:size - 1], 1)
    return float(np.linalg.norm(B, 2)) if np.isfinite(B).all() else math.nan


def conv_bounds(layer: Layer, W: np.ndarray, x_shape: tuple[int, ...]) -> tuple[float, float]:
    """(lower, upper) bounds of a convolution's operator norm by norms of W as matrix (Tsuzuku et al. 2018, Cor. 1).

    Upper: |W| times the root of how many windows a pixel can be in. Lower: |W|, or, where the picture is so small that
    no window lies inside it, the norm of that part of W that the fullest window uses.
    """
    if W.ndim == 2:
        sigma = float(singular_values(W)[0])
        return sigma, sigma
    taps, windows = [], 1
    for length, kernel in zip(layer.operand_shape(x_shape)[1:3], W.shape[1:3], strict=True):
        starts = np.arange((length + 2 * layer.pad - kernel) // layer.stride + 1) * layer.stride - layer.pad
        first, last = np.maximum(-starts, 0), np.minimum(length - starts, kernel)
        best = int(np.argmax(last - first))
        taps.append(slice(first[best], last[best]))
        pixels = np.arange(length)[:, None]
        windows *= int(((starts <= pixels) & (pixels < starts + kernel)).sum(1).max())
    sigma = float(singular_values(to_matrix(W))[0])
    part = W[:, taps[0], taps[1]]
    lower = sigma if part.shape == W.shape else float(singular_values(to_matrix(part))[0])
    return lower, math.sqrt(windows) * sigma


def variance_bounds(norm: NoNorm, shape: tuple[int, ...], factor: float = 1.0) -> list[float] | None:
    """[lower, upper] of Lin et al. 2021 for the variance of factor * W / sigma, W of this shape; None for other norms.

    Theorem 2 for sn and dense layers, Theorem 3 for convolutions under bsn, if its condition on the shape holds. Of
    the lower ones the theorems give the form, and not the constant: THEOREMS_L. A matrix of one row has none: 0.
    """
    if not isinstance(norm, SpectralNorm) or isinstance(norm, OperatorNorm) and len(shape) > 2:
        return None
    if isinstance(norm, BidirectionalNorm) and len(shape) > 2:
        c_out, field, c_in = shape[0], math.prod(shape[1:-1]), shape[-1]
        if field < max(c_out / c_in, c_in / c_out):
            return None
        logs = field * (c_in * math.log(c_out) + c_out * math.log(c_in))
        lower = THEOREMS_L / logs if min(c_in, c_out) >= 2 else 0.0
        return [factor ** 2 * lower, factor ** 2 * 2 / (field * (c_in + c_out))]
    small, large = sorted((shape[0], math.prod(shape[1:])))
    lower = THEOREMS_L / (large * math.log(small)) if small >= 2 else 0.0
    return [factor ** 2 * lower, factor ** 2 / large]


# ---- all layers ----------------------------------------------------------------------------------------------------

def lipschitz_bound(dis: Layer, norms: dict[str, float], x_shape: tuple[int, ...]) -> float | None:
    """A bound of |D(x) - D(y)| / |x - y|: the product of the layers' operator norms; None with bn or ln.

    norms: path -> operator norm. A leaky ReLU has slope 1 at most. The branches of a residual block add up; the mean of
    2 x 2 pixels has norm 1/2, the sum over n pixels sqrt(n). With "projection" the last layer is the dense layer plus
    the class's row; what "concat" joins does not depend on the picture; the auxiliary classifier is no part of D.
    """
    if any(isinstance(layer, BatchNorm | LayerNorm) for _, layer in dis.walk()):
        return None

    def bound(path: str, layer: Layer) -> float:
        inner = {name: f"{path}/{name}".lstrip("/") for name in layer.layers}
        if "residual" in inner:
            shortcut = bound(inner["shortcut"], layer.layers["shortcut"]) if "shortcut" in inner else 1.0
            return bound(inner["residual"], layer.layers["residual"]) + shortcut
        if inner:
            return math.prod(bound(inner[name], below) for name, below in layer.layers.items()
                             if name not in ("embed", "classify"))
        layer = layer.layer if isinstance(layer, Watched) else layer
        return norms[path] * (0.5 if isinstance(layer, Conv2d) and layer.resample == "down" else 1.0)
    found = bound("", dis)
    if isinstance(dis, ResNetDiscriminator):
        pixels = (x_shape[1] >> dis.table.halvings) * (x_shape[2] >> dis.table.halvings)
        found *= math.sqrt(pixels) if dis.table.pool == "sum" else 1 / math.sqrt(pixels)
    if isinstance(dis, MNISTDiscriminator):
        found *= 0.5  # it takes (x + 1) / 2
    if getattr(dis, "condition", "") == "projection":
        dense, embed = (to_host(dis.layers[name].held.W_bar.data).astype(np.float64) for name in ("dense", "embed"))
        found *= ratio(np.linalg.norm(dense + embed, axis=1).max(), norms["dense"])
    return float(found)


def gradient_ratios(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """For neighbouring layers the ratio of the output's gradients beside the inverse ratio of operator norms.

    Lin et al. 2021, Eq. (2). Shortcuts, embeddings and classifiers are no links of the chain. Ratios with 0 are null.
    """
    chain = [path for path in rows if path.rpartition("/")[2] not in ("shortcut", "embed", "classify")]

    def quotient(a: float, b: float) -> float | None:
        return a / b if b else None
    return [{"layers": [i, j], "gradients": quotient(rows[i]["gradient_output"], rows[j]["gradient_output"]),
             "norms": quotient(rows[j]["sigma_conv"], rows[i]["sigma_conv"])}
            for i, j in zip(chain, chain[1:], strict=False)]


def diversity(real: np.ndarray, fake: np.ndarray) -> float | None:
    """The mean distance of two of the fake pictures in that of two of the real ones, by thumbnails; about 1 is good.

    real, fake: uint8 (N, H, W, C). None if there are no two, or all real ones are equal.
    """
    def mean_distance(images: np.ndarray) -> float:
        x = thumbnails(images)
        i, j = np.triu_indices(len(x), 1)
        return float(np.linalg.norm(x[i] - x[j], axis=1).mean()) if len(i) else 0.0
    between_real = mean_distance(real)
    return mean_distance(fake) / between_real if between_real else None


# ---- inside --------------------------------------------------------------------------------------------------------

def _length(x: Array) -> float:
    return float(array_module(x).sqrt((x * x).sum()))


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.3g}"


def _plain(x: Any) -> Any:
    """For JSON: Python's numbers of a few digits, None for what is not finite."""
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if isinstance(x, list):
        return [_plain(value) for value in x]
    if isinstance(x, float | np.floating):
        return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
    return x
