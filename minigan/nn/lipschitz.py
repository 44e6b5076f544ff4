"""How far a layer can stretch a difference: |layer(x) - layer(y)| <= factor * |x - y| for all x and y.

Layers and networks say their own factor (Layer.own_factor), made of the operator norms of the weights in use. None
means that no factor is known, and then none is known of anything that contains the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from minigan.engine.devices import Array


@dataclass(frozen=True)
class InUse:
    """What one forward of a network used.

    x_shape: of the images that went in, (N, H, W, C).
    weights: layer -> W_bar, the weights that it used.
    norms: layer -> the operator norm of these, on what went into that layer (singular_values.operator_norm).
    """

    x_shape: tuple[int, ...]
    weights: dict[Any, Array]
    norms: dict[Any, float]


def product(*factors: float | None) -> float | None:
    """The factor of layers one after the other."""
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None


def total(*factors: float | None) -> float | None:
    """The factor of branches that are added."""
    known = [factor for factor in factors if factor is not None]
    return sum(known) if len(known) == len(factors) else None
