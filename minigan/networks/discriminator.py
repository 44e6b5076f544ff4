"""What all networks share: the width factor, layers that see an image's class, and a discriminator's end.

A network is called as network(x, train), a conditional one as network(x, train, labels). labels: (N,) integers from 0,
best on the network's device already. `classes` of a constructor is the number of classes, 0 for a generator without
labels; `condition` says how a discriminator uses them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.engine.devices import Array, array_module, to_host
from minigan.engine.scaled import Scaled
from minigan.engine.shape_ops import rows_of
from minigan.errors import WrongUse, choose
from minigan.networks.norms import Normalization
from minigan.nn.feature_norms import FEATURES, BatchNorm, ConditionalNormalize, scaled_by_label
from minigan.nn.initializers import Draw, Initializer, by_name
from minigan.nn.layers import Layer, Linear, Pass
from minigan.nn.lipschitz import InUse
from minigan.nn.normalized_together import normalize_together
from minigan.nn.weight_norms import NoNorm

CONDITIONS = {
    "": "no labels",
    "projection": "adds the inner product of the features and an embedding of the label (Miyato and Koyama 2018)",
    "concat": "joins an embedding of the label to the feature maps (Miyato et al. 2018, Table 6 (c))",
    "ac": "classifies besides: auxiliary classifier (Odena et al. 2017)",
}


def scaled(channels: int, width: float) -> int:
    """A number of channels times the width factor, at least 1."""
    return max(1, round(channels * width))


def drawing(own: str, init: str, slope: float = 0.0) -> Draw:
    """How a network's weights are drawn: as --init has it, and if that is "model", in its source's own way.

    slope: of its leaky ReLU; 0: ReLU.
    """
    return by_name(own if init == "model" else init, slope)


def check_size(model: str, size: int, multiple: int) -> None:
    """WrongUse unless an image's side is a multiple of `multiple`."""
    if size % multiple or size < multiple:
        raise WrongUse(f"model '{model}' needs images whose size is a multiple of {multiple}, got {size}; "
                       f"use --size {max(size + -size % multiple, multiple)}, or --model cnn")


# ---- layers --------------------------------------------------------------------------------------------------------

class ConditionalBatchNorm(BatchNorm):
    """Batch normalization with a gain and a shift for every class, then leaky ReLU (Dumoulin et al. 2017).

    gamma, beta: (classes, channels), 1 and 0 at the beginning. The moments are the whole batch's, the running ones
    are shared by all classes, as in the authors' code; that of Gulrajani et al. 2017 has no running ones.
    """

    def __init__(self, classes: int, channels: int, slope: float = 1.0, eps: float = 2e-5, decay: float = 0.9):
        super().__init__(channels, slope, eps, decay)
        for p in self.params.values():
            p.data = np.tile(p.data, (classes, 1))

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        xp, n = array_module(x.data), x.shape[-1]
        if self.params["gamma"].shape[1] != n:  # else one channel would be broadcast to any number
            raise ValueError(f"ConditionalBatchNorm: expected {self.params['gamma'].shape[1]} channels in the last "
                             f"axis, got x {x.shape}")
        labels = check_labels("ConditionalBatchNorm", how.labels, len(x))
        gamma, beta = self.params["gamma"], self.params["beta"]
        if how.train and self.group.size == 1 and xp is not np:
            rows = xp.asarray(rows_of("ConditionalBatchNorm", labels, len(gamma)), np.int64)
            running = self.state["mean"], self.state["variance"]
            return ConditionalNormalize(rows, self.eps, self.slope, running, self.decay)(x, gamma, beta)
        if how.train and self.group.size > 1:
            hat = self.over_processes(x)
        elif how.train:
            kind = self.params["gamma"].dtype
            hat = self.normalized(x, Tensor(xp.ones(n, kind)), Tensor(xp.zeros(n, kind)))
        else:
            inverse = 1 / xp.sqrt(self.state["variance"] + x.dtype.type(self.eps))
            hat = x * Tensor(inverse) - Tensor(self.state["mean"] * inverse)
        return scaled_by_label(hat, gamma, beta, labels, self.slope)


class Embedding(Linear):
    """A vector for each class: labels (N,) -> (N, n_out). W (classes, n_out) is normalized as the matrix it is."""

    def __init__(self, rng: np.random.Generator, classes: int, n_out: int, init: Initializer,
                 norm: NoNorm | None = None):
        super().__init__(rng, n_out, classes, init, False, norm)  # a dense layer's adjoint, on one-hot vectors

    def forward(self, labels: Array, how: Pass) -> Tensor:
        W = self.weight((len(labels), self.params["W"].shape[1]), how)
        if isinstance(W, Scaled):  # only the rows that are taken need to be multiplied
            return W.then(lambda W: ops.embedding(W, labels)).done()
        return ops.embedding(W, labels)


def batch_norm(channels: int, classes: int, slope: float = 0.0) -> BatchNorm:
    """Batch normalization and an activation, ReLU unless told otherwise; conditional if there are classes."""
    return ConditionalBatchNorm(classes, channels, slope) if classes else BatchNorm(channels, slope)


def feature_norm(norm: Normalization, channels: int, slope: float) -> Layer:
    """The normalization of a discriminator's features, then leaky ReLU."""
    return FEATURES[norm.features](channels, slope, gain=norm.gain)


def check_labels(who: str, labels: Array | None, count: int) -> Array:
    """The labels; ValueError unless there is one for each of `count` images."""
    if labels is None:
        raise ValueError(f"{who}: labels are needed: call the network as network(x, train, labels)")
    if labels.shape != (count,):
        raise ValueError(f"{who}: expected one label for each of {count} images, got labels {labels.shape}")
    return labels


# ---- a discriminator's end -----------------------------------------------------------------------------------------

class Discriminator(Layer):
    """A body that makes features, and an end that makes one number of them for each image.

    A subclass calls `end` last in its constructor and gives `features`. Results: (N,); for condition "ac"
    `classified` gives the classifier's logits (N, classes), too, and a call leaves the classifier alone. The embedding
    and the classifier are normalized like the other layers.

    own_factor, where a subclass says it, is that of its features times end_factor.

    "projection" and "ac" take what the dense layer takes, for every model. In papers: for ResNets after the pooling
    (Miyato and Koyama 2018; Gulrajani et al. 2017's AC-GAN). Of a plain CNN, whose features are the flattened maps of
    the last convolution, no paper here has them; that is ours.
    """

    conditions: tuple[str, ...] = ("projection", "ac")  # what a subclass can do

    def __init__(self, classes: int = 0, condition: str = ""):
        super().__init__()
        choose("condition", condition, CONDITIONS)
        if condition and condition not in self.conditions:
            raise WrongUse(f"condition '{condition}' is not for this model: use one of {', '.join(self.conditions)}, "
                           "or a resnet")
        if condition and classes < 1:
            raise WrongUse(f"condition '{condition}' needs labels, and these data have none; leave it out, or use data "
                           "with classes")
        self.classes, self.condition = classes, condition

    def end(self, rng: np.random.Generator, n: int, init: Initializer, norm: Normalization, bias: bool = True) -> None:
        """The layers after n features: dense, and what the condition adds."""
        self.layers["dense"] = Linear(rng, n, 1, init, bias, norm.weight())
        if self.condition == "projection":
            self.layers["embed"] = Embedding(rng, self.classes, n, init, norm.weight())
        if self.condition == "ac":
            self.layers["classify"] = Linear(rng, n, self.classes, init, norm=norm.weight())

    def end_factor(self, used: InUse) -> float | None:
        """The Lipschitz factor of what `end` made, from the features to the number, both images having the same label.

        With "projection" the dense layer's row and the class's add up to one, and the longest of these counts. What an
        auxiliary classifier says is no part of the number.
        """
        if self.condition != "projection":
            return self.layers["dense"].lipschitz(used)
        dense, embed = (to_host(used.weights[self.layers[name]]).astype(np.float64) for name in ("dense", "embed"))
        return float(np.linalg.norm(dense + embed, axis=1).max())

    def features(self, x: Tensor, how: Pass) -> Tensor:
        """Images (N, H, W, C) -> (N, n)."""
        raise NotImplementedError(f"{type(self).__name__}.features")

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        return self.judged(x, how, False)[0]

    def classified(self, x: Tensor, train: bool = True) -> tuple[Tensor, Tensor]:
        """The numbers (N,), and the auxiliary classifier's logits (N, classes): for condition "ac"."""
        y, logits = self.judged(x, Pass(train), True)
        assert logits is not None, "a discriminator with a classifier"
        return y, logits

    def judged(self, x: Tensor, how: Pass, classify: bool) -> tuple[Tensor, Tensor | None]:
        """The numbers, and the classifier's logits or None; with the weights that `how` brings, if it brings any."""
        if self.condition in ("projection", "concat"):
            check_labels("discriminator", how.labels, len(x))  # before the features, which take their time
        classify = classify and self.condition == "ac"
        layers = (layer for path, layer in self.walk() if classify or path != "classify")
        if not how.weights:
            how = dataclasses.replace(how, weights=normalize_together(layers, how.train))
        h = self.features(x, how)
        y = ops.reshape(self.layers["dense"].forward(h, how), (-1,))
        if self.condition == "projection":
            labels = check_labels("discriminator", how.labels, len(x))
            y = y + ops.sum(self.layers["embed"].forward(labels, how) * h, 1)
        return y, self.layers["classify"].forward(h, how) if classify else None
