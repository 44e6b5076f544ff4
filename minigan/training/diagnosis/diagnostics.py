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
    lipschitz_bound   |D(x) - D(y)| / |x - y| is nowhere more: the product of sigma_conv, sums over the branches of a
                      ResNet, times what lies between the layers (Layer.lipschitz). null with bn or ln, which no
                      product bounds, and for a network with an operation of its own
    slope             {"real", "fake", "between"}: largest |gradient of D| at an image; with bn the batch's sum's
    gradient_ratio    list of {"layers": [i, j], "gradients": gradient_output i / j, "norms": sigma_conv j / i} for
                      neighbours i, j: equal in the set of Lin et al. 2021, Eq. (2)
    inactive          {"real", "fake"}: share of hinge terms that are 0; null for other losses
    outputs           {"real": [mean, standard deviation], "fake": ...} of D
    accuracy          share of right answers: above 0 for real, else fake (1/2 for lsgan); null for wasserstein, whose
                      outputs have no place where real begins
    diversity         mean distance between two fakes' thumbnails, in that of two real ones
    alarms            list of {"name", "text"} (alarms.py)

All on copies of the networks, with random numbers of their own, so that the training goes on as if nobody had looked.
The weights are those of the next training forward, the same for all images. With --accumulate the batch is as large as
a part, so that no more memory is needed than in training.
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
from minigan.engine.devices import to_host
from minigan.engine.loops.sample_norms import sample_norms
from minigan.experiment.streams import stream
from minigan.metrics.scores import discriminator_accuracy
from minigan.metrics.thumbnails import diversity
from minigan.networks.watched import Watched, watch
from minigan.nn.feature_norms import synchronize
from minigan.nn.lipschitz import InUse
from minigan.nn.losses import LOSSES
from minigan.nn.singular_values import conv_bounds, operator_norm, singular_values
from minigan.nn.spectral_norms import BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.variance_bounds import variance_bounds
from minigan.nn.weight_norms import Gain, to_matrix
from minigan.parallel.mpi import ALONE
from minigan.training.batches import Draws, Inputs
from minigan.training.diagnosis import alarms
from minigan.training.gan import Training
from minigan.training.sampling import latents

DIGITS = 6  # of each number in the file
PAIRS = 64  # images whose distances are taken: 2016 pairs


def diagnose(training: Training) -> dict[str, Any]:
    """Measure a training's discriminator where it stands; the training is not changed. See above for the result."""
    began = time.perf_counter()
    t, rng = _shadow(training)
    e, count = t.e, t.e.batch_size // t.e.accumulate
    layers = watch(t.dis)
    index = np.sort(rng.choice(len(t.images), count, replace=False))
    x = _inputs(t.draws, index).on(t.xp)
    x_real = Tensor(t.real(x).data, requires_grad=True)
    with no_grad():
        x_fake = t.gen(Tensor(x.z), True, x.fake_labels)
    x_fake = Tensor(x_fake.data, requires_grad=True)
    loss, real, fake = t.discriminator_loss(x_real, x.real_labels, x_fake, x.fake_labels, x.share)
    for watched in layers.values():
        watched.open = False
    weights = {path: W_bar for path, watched in layers.items() if (W_bar := watched.held.W_bar) is not None}
    Ws, W_bars = [layers[path].layer.params["W"] for path in weights], [*weights.values()]
    g = [to_host(x.data) for x in grad(loss, Ws + W_bars)]
    slopes = grad(ops.sum(real), [x_real, *W_bars])
    share = t.xp.asarray(t.draws.shares(count))
    x_hat = Tensor(share * x_real.data + (1 - share) * x_fake.data, requires_grad=True)
    between = grad(ops.sum(t.judge(x_hat, x.real_labels)[0]), x_hat)
    slope = {"real": slopes[0], "fake": grad(ops.sum(fake), x_fake), "between": between}

    def measure(i: int) -> dict[str, Any]:
        path = list(weights)[i]
        return _layer(layers[path], g[i], g[len(Ws) + i], to_host(slopes[1 + i].data) / count,
                      _saturation(path, layers))
    each = thread_pool.parallel if t.xp is np else map  # a GPU is asked from one thread
    rows = dict(zip(weights, each(measure, range(len(Ws))), strict=True))
    middle = LOSSES[e.loss].middle
    of_real, of_fake = to_host(real.data), to_host(fake.data)
    layer_of = dict(training.dis.walk())  # in t.dis the watched ones stand in their place
    used = InUse(x_real.shape, {layer_of[path]: W_bar.data for path, W_bar in weights.items()},
                 {layer_of[path]: row["sigma_conv"] for path, row in rows.items()})
    found = {
        "iteration": t.iteration, "seconds": 0.0, "layers": rows,
        "lipschitz_bound": training.dis.lipschitz(used),
        "slope": {name: float(to_host(sample_norms(x.data)).max()) for name, x in slope.items()},
        "gradient_ratio": gradient_ratios(rows),
        "inactive": {"real": np.mean(of_real >= 1), "fake": np.mean(of_fake <= -1)} if e.loss == "hinge" else None,
        "outputs": {"real": [of_real.mean(), of_real.std()], "fake": [of_fake.mean(), of_fake.std()]},
        "accuracy": None if middle is None else discriminator_accuracy(of_real, of_fake, middle),
        "diversity": diversity(*(to_uint8(to_host(x.data[:PAIRS])) for x in (x_real, x_fake)))}
    found["seconds"] = time.perf_counter() - began
    found = _plain(found)
    return found | {"alarms": alarms.alarms(found, e)}


def _shadow(training: Training) -> tuple[Training, np.random.Generator]:
    """The same training with copies of its networks, and random numbers of its own."""
    shadow = copy.copy(training)
    rng = stream(training.e.seed, "diagnosis", training.iteration)
    shadow.draws = copy.copy(training.draws)
    shadow.draws.rngs = dict.fromkeys(training.draws.rngs, rng)
    shadow.at_once = False  # its layers are watched one by one
    shadow.gen, shadow.dis = copy.deepcopy(training.gen), copy.deepcopy(training.dis)
    for network in (shadow.gen, shadow.dis):  # process 0 looks, the others wait
        synchronize(network, ALONE)
    return shadow, rng


def _inputs(draws: Draws, index: np.ndarray) -> Inputs:
    """Those of an update with these real images. The order in which they are drawn decides their values."""
    labels, noise = draws.random_labels(len(index)), draws.noise(len(index))
    z = latents(draws.rngs["z"], draws.e, len(index))
    share = draws.shares(len(index)) if draws.e.gp else None
    return Inputs(np.zeros(()), z, labels, **draws.real(index), noise=noise, share=share)


# ---- one layer -----------------------------------------------------------------------------------------------------

def _layer(w: Watched, gW: np.ndarray, gW_bar: np.ndarray, g_output: np.ndarray,
           saturation: dict[str, float] | None) -> dict[str, Any]:
    """A row of "layers". gW, gW_bar: the loss's gradients; g_output: that of the mean output at real images."""
    assert w.held.W_bar is not None, "a layer that was used"
    layer, norm, W_bar = w.layer, w.held.norm, w.held.W_bar.detach()
    factor = 1.0
    if isinstance(norm, Gain):
        if not norm.rows:
            factor = float((layer.params["gamma"] if norm.gamma is None else norm.gamma).data.item())
        norm = norm.norm
    factor *= norm.scale if isinstance(norm, SpectralNorm) else 1
    matrix, used, g, g_bar = (to_matrix(to_host(a), layer.out_axis).astype(np.float64)
                              for a in (layer.params["W"].data, W_bar.data, gW, gW_bar))
    rows = _ratio(np.linalg.norm(used, axis=1), np.linalg.norm(matrix, axis=1))  # W_bar = rows * W, but for signs
    whole = bool(np.ptp(rows) <= 1e-5 * rows.max())  # one number for all: a rounding in float32 is far below that
    values = singular_values(used)
    sigma = float(values[0]) / rows.max() if whole and rows.max() else float(singular_values(matrix)[0])
    lower, upper = conv_bounds(layer, to_host(W_bar.data), w.held.x_shape)
    conv = float(values[0]) if W_bar.ndim == 2 else operator_norm(layer, W_bar, layer.operand_shape(w.held.x_shape))
    estimate = meant = None
    if isinstance(norm, SpectralNorm) and rows.max():
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
            "removed": float(_ratio(np.linalg.norm(scaled - g), np.linalg.norm(scaled))),
            "lambda": np.sum(g_bar * used), "variance": used.var(),
            "variance_bounds": variance_bounds(norm, W_bar.shape, factor), "saturation": saturation}


def _saturation(path: str, layers: dict[str, Watched]) -> dict[str, float] | None:
    """That of the layer's own activation, or of a normalization of its features right after it."""
    watched = layers[path]
    if watched.slope == 1:
        paths = list(layers)
        after = (paths + [path])[paths.index(path) + 1]
        watched = layers[after]
        if after.rpartition("/")[0] != path.rpartition("/")[0] or watched.layer.weighted or watched.slope == 1:
            return None
    assert watched.alive is not None, "a layer that was not used"
    return {"negative": float(np.mean(watched.negative)), "dead": 1 - float(watched.alive.mean())}


def _ratio(a: Any, b: Any) -> Any:
    """a / b, 0 where b is 0; nan where both have no end."""
    with np.errstate(invalid="ignore"):
        return np.divide(a, b, out=np.zeros(np.shape(b)), where=np.asarray(b) != 0)


# ---- all layers ----------------------------------------------------------------------------------------------------

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


# ---- inside --------------------------------------------------------------------------------------------------------

def _plain(x: Any) -> Any:
    """For JSON: Python's numbers of a few digits, None for what is not finite."""
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if isinstance(x, list):
        return [_plain(value) for value in x]
    if isinstance(x, float | np.floating):
        return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
    return x
