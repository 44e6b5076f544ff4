"""A network of ours and PyTorch's twin of it (bench/torch_networks.py): the same numbers in both layouts."""

import math
import re
from typing import Any

import numpy as np

from minigan.layers import Layer


def to_float64(network: Any) -> Any:
    """The network with all its arrays in float64, in place."""
    for _, layer in network.walk():
        for p in layer.params.values():
            p.data = p.data.astype(np.float64)
        layer.state = {name: a.astype(np.float64) for name, a in layer.state.items()}
    return network


def torchs_layout(network: Layer, name: str, a: np.ndarray) -> np.ndarray:
    """The array `name` of a network, or its gradient, in PyTorch's order of axes: (n, h, w, c) -> (n, c, h, w).

    Hidden pictures are flattened in that order, too: the rows of a generator's dense layer (`bottom` is (h, w, c)),
    and the columns of the CNN discriminator's.
    """
    if a.ndim == 4:
        return np.ascontiguousarray(a.transpose(0, 3, 1, 2))
    if hasattr(network, "bottom") and (name in ("dense/W", "dense/b") or name.startswith("bn0/")):
        return a[_order(network.bottom)]
    if name == "dense/W" and "conv7" in network.layers:
        channels = len(network.layers["conv7"].params["W"].data)
        side = math.isqrt(a.shape[1] // channels)
        return a[:, _order((side, side, channels))]
    return a


def give_to_torch(torch: Any, ours: Layer, theirs: Any) -> list[Any]:
    """Copy every parameter and every state into PyTorch's network; its parameters, in the order of ours."""
    found = []
    modules = dict(theirs.named_modules())
    for path, layer in ours.walk():
        name = re.sub(r"^(deconv|bn|conv)([1-9])$", lambda m: f"{m[1]}/{int(m[2]) - 1}", path)
        name = "first" if name == "bn0" else name
        name = re.sub(r"block(\d)", lambda m: str(int(m[1]) - 1), name).replace("/residual", "").replace("/", ".")
        module = modules.get(name)
        weight = "weight_orig" if hasattr(module, "weight_orig") else "weight"
        attributes = {"W": weight, "b": "bias", "gamma": "weight", "beta": "bias", "u": "weight_u",
                      "mean": "running_mean", "variance": "running_var"}
        for key, a in [*((key, p.data) for key, p in layer.params.items()), *layer.state.items()]:
            target = getattr(module, attributes[key])
            with torch.no_grad():
                target.copy_(torch.tensor(torchs_layout(ours, f"{path}/{key}", a)))
            if key in layer.params:
                found.append(target)
    return found


def _order(bottom: tuple[int, int, int]) -> np.ndarray:
    """For each number of a flattened (c, h, w) picture, its place in the flattened (h, w, c) one."""
    return np.arange(math.prod(bottom)).reshape(bottom).transpose(2, 0, 1).ravel()
