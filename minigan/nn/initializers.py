"""How weights are drawn at the beginning: functions of a generator of random numbers and a shape; names for --init.

Biases, and the shifts of normalizations, start at 0; their multipliers at 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from minigan.errors import WrongUse

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(std: float = 0.02) -> Initializer:
    """N(0, std^2); 0.02 in Radford et al. 2016 and in the authors' standard CNN."""
    return lambda rng, shape: rng.standard_normal(shape) * std


def truncated_normal(std: float = 0.02) -> Initializer:
    """N(0, std^2), what lies beyond 2 std drawn again, as TensorFlow has it: the spread is 0.88 std then."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(shape)
        while (far := np.abs(x) > 2).any():
            x[far] = rng.standard_normal(int(far.sum()))
        return x * std
    return draw


def glorot_uniform(scale: float = 1.0) -> Initializer:
    """U[-s, s] with s = scale * sqrt(6 / (fan_in + fan_out)), both fans times the kernel's size (Chainer's way)."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        field = int(np.prod(shape[1:-1]))
        s = scale * np.sqrt(6 / (field * (shape[0] + shape[-1])))
        return rng.uniform(-s, s, shape)
    return draw


def lecun_normal(scale: float = 1.0) -> Initializer:
    """N(0, scale^2 / fan_in) (LeCun et al. 1998); fan_in: all axes but the first."""
    return lambda rng, shape: rng.standard_normal(shape) * scale * np.sqrt(1 / np.prod(shape[1:]))


def he_normal(scale: float = 1.0, slope: float = 0.0) -> Initializer:
    """N(0, 2 scale^2 / ((1 + slope^2) fan_in)) (He et al. 2015, Eq. (10) and (15)).

    slope: of the leaky ReLU that the layer's inputs come through; 0: ReLU.
    """
    return lecun_normal(scale * np.sqrt(2 / (1 + slope ** 2)))


def orthogonal(scale: float = 1.0) -> Initializer:
    """Rows (or columns, if there are more rows) of the matrix (out, everything else) orthonormal, times scale."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return scale * draw_orthonormal(rng, shape[0], int(np.prod(shape[1:]))).reshape(shape)
    return draw


# ---- whole networks ------------------------------------------------------------------------------------------------

# What a layer is for -> how its weights are drawn. The parts of a network: "dense" (embeddings too), "conv", "deconv"
# (transposed convolutions) and "residual" (the 3x3 convolutions within a residual block).
Draw = Callable[[str], Initializer]

# name of --init -> its number if none is given, and what that number and the slope of the network's leaky ReLU make of
# it; only He's depends on the slope
FAMILIES: dict[str, tuple[float, Callable[[float, float], Draw]]] = {
    # Radford et al. 2016; chainer-gan-lib
    "normal": (0.02, lambda x, slope: lambda part: normal(x)),
    # BSN's code: truncated in convolutions only
    "truncated": (0.02, lambda x, slope: lambda part: (
        truncated_normal if part in ("conv", "residual") else normal)(x)),
    # sngan_projection and Gulrajani et al.'s code: times sqrt(2) within a block, 1 for the rest
    "glorot": (1.0, lambda x, slope: lambda part: glorot_uniform(x * (np.sqrt(2) if part == "residual" else 1))),
    "lecun": (1.0, lambda x, slope: lambda part: lecun_normal(x)),
    "he": (1.0, lambda x, slope: lambda part: he_normal(x, slope)),
    "orthogonal": (1.0, lambda x, slope: lambda part: orthogonal(x)),
}


def by_name(name: str, slope: float = 0.0) -> Draw:
    """How a network of this --init is drawn: "normal-0.02" is a family and its number, "glorot" the family's own.

    slope: of the leaky ReLU between the network's layers; 0: ReLU.
    WrongUse for any other name. "model" is none: what a network's source says is a name in its row of numbers.
    """
    found = re.fullmatch(r"([a-z]+)(?:-(\d+(?:\.\d+)?))?", name)
    if not found or found[1] not in FAMILIES or found[2] and not 1e-6 <= float(found[2]) <= 1e3:
        raise WrongUse(f"unknown initializer '{name}'; choose from: model, {', '.join(sorted(FAMILIES))}, with a "
                       "number of 1e-6 to 1000 or without, as in normal-0.02")
    usual, family = FAMILIES[found[1]]
    return family(float(found[2] or usual), slope)


def draw_orthonormal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A random matrix with orthonormal rows, or columns if there are more rows."""
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))  # makes the distribution uniform
    return q if rows >= columns else q.T
