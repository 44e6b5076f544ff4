"""A network of ours and PyTorch's twin of it (bench/torch_networks.py): the same numbers in both layouts."""

import math
import re
from typing import Any

import numpy as np

from minigan.nn.layers import Layer


def to_float64(network: Any) -> Any:
    """The network with all its arrays in float64, in place."""
    for _, layer in network.walk():
        for p in layer.params.values():
            p.data = p.data.astype(np.float64)
        layer.state = {name: a.astype(np.float64) for name, a in layer.state.items()}
    return network


def torchs_layout(network: Layer, name: str, a: np.ndarray) -> np.ndarray:
    """The array `name` of a network, or its gradient, in PyTorch's order of axes: (n, h, w, c) -> (n, c, h, w).

    Hidden images are flattened in that order, too: the rows of a generator's dense layer (`bottom` is (h, w, c)),
    and the columns of a plain CNN discriminator's. A DCGAN's dense layers are convolutions there.
    """
    convolutions = [layer for key, layer in network.layers.items() if "conv" in key]
    dcgan = "b" not in network.layers["dense"].params and any(c.params["W"].shape[1] == 4 for c in convolutions)
    if a.ndim == 4:
        return np.ascontiguousarray(a.transpose(0, 3, 1, 2))
    if hasattr(network, "bottom") and name.split("/")[0] in ("dense", "bn0") and len(a) == math.prod(network.bottom):
        h, w, c = network.bottom
        a = a[_order(network.bottom)]
        return np.ascontiguousarray(a.T.reshape(-1, c, h, w)) if dcgan and name == "dense/W" else a
    if name == "dense/W" and "conv1" in network.layers:
        channels = len(convolutions[-1].params["W"].data)
        side = math.isqrt(a.shape[1] // channels)
        a = a[:, _order((side, side, channels))]
        return a.reshape(1, channels, side, side) if dcgan else a
    return a


def give_to_torch(torch: Any, ours: Layer, theirs: Any) -> list[Any]:
    """Copy every parameter and every state into PyTorch's network; its parameters, in the order of ours."""
    found = []
    modules = dict(theirs.named_modules())
    for path, layer in ours.walk():
        name = re.sub(r"^(deconv|bn|conv)([1-9])$", lambda m: f"{m[1]}/{int(m[2]) - 1}", path)
        name = "first" if name == "bn0" else name
        name = re.sub(r"^norm([2-9])$", lambda m: f"norm/{int(m[1]) - 2}", name)  # none after the first convolution
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
    """For each number of a flattened (c, h, w) image, its place in the flattened (h, w, c) one."""
    return np.arange(math.prod(bottom)).reshape(bottom).transpose(2, 0, 1).ravel()
