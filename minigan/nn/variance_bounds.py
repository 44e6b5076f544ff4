"""How large normalized weights can be: the bounds of Lin et al. 2021 for the variance of their elements."""

from __future__ import annotations

import math

from minigan.nn.spectral_norms import BidirectionalNorm, OperatorNorm, SpectralNorm
from minigan.nn.weight_norms import NoNorm

# The theorems do not give their constant. Gaussian matrices come to sigma = sqrt(m) + sqrt(n), 1 / (4 max(m, n)) for
# square ones; with log(2) / 4 the lower bound is below that for any size.
THEOREMS_L = math.log(2) / 4


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
