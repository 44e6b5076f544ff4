"""A network in evaluation as a list of steps with its weights as used: what every exporter writes down in its own way.

Images are (N, C, H, W) here, as other tools have them. Convolution weights are (out, in, kh, kw), those of transposed
convolutions (in, out, kh, kw), dense ones (out, in). Normalizations of weights are carried out (W / sigma), batch
normalization is a scale and a shift made of the running moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import WrongUse
from minigan.networks.bssn_mnist import SLOPE, MNISTDiscriminator, MNISTGenerator
from minigan.networks.cnn import CNNDiscriminator, CNNGenerator
from minigan.networks.discriminator import ConditionalBatchNorm, Discriminator, Embedding
from minigan.networks.resnet import Block, FirstDownBlock, ResNetDiscriminator, ResNetGenerator, UpBlock
from minigan.networks.watched import Held
from minigan.nn.feature_norms import BatchNorm, LayerNorm
from minigan.nn.layers import Conv2d, ConvTranspose2d, Layer, Linear, Sequential


@dataclass(frozen=True)
class Step:
    """output = kind(inputs), with the weights `module`.weight and so on.

    numbers: what the kind is told, such as a convolution's stride; see Plan's methods.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    module: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Plan:
    """Steps in order, weights by name, and the names of what goes in and out.

    x_shape: of one input, z or an image (C, H, W).  classes: labels' number, 0 if the network takes none.
    """

    x_shape: tuple[int, ...]
    classes: int
    steps: list[Step] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def add(self, kind: str, *inputs: str, module: str = "", **numbers: Any) -> str:
        """A further step; returns the name of its result."""
        output = f"h{len(self.steps) + 1}"
        self.steps.append(Step(kind, inputs, output, module, numbers))
        return output

    def keep(self, module: str, **arrays: np.ndarray | None) -> str:
        self.weights |= {f"{module}.{name}": np.ascontiguousarray(a, np.float32)
                         for name, a in arrays.items() if a is not None}
        return module


def of(network: Layer, x_shape: tuple[int, ...], classes: int = 0) -> Plan:
    """The steps of a generator (x_shape: (dim_z,)) or a discriminator (x_shape: (H, W, C)) on the host.

    The network is used up: its layers keep the weights of one forward from now on. WrongUse for a class of networks
    that is not minigan's own: nothing is known of its call.
    """
    for _, layer in network.walk():
        layer.norm = Held(layer.norm)
    with no_grad():
        x = Tensor(np.zeros((1, *x_shape), np.float32))
        if isinstance(network, Discriminator) and network.condition == "ac":
            network.classified(x, False)
        else:
            network(x, False, np.zeros(1, np.int64) if classes else None)
    uses = classes
    if isinstance(network, Discriminator) and network.condition not in ("projection", "concat"):
        uses = 0
    if not isinstance(network, Discriminator) and not any(
            isinstance(layer, ConditionalBatchNorm) for _, layer in network.walk()):
        uses = 0
    plan = Plan(x_shape if len(x_shape) == 1 else (x_shape[2], *x_shape[:2]), uses)
    paths = {layer: path.replace("/", "_") for path, layer in network.walk()}
    if type(network) not in NETWORKS:
        raise WrongUse(f"networks of the class {type(network).__name__} cannot be exported; its steps are not known")
    NETWORKS[type(network)](plan, network, paths)
    return plan


def _layer(plan: Plan, layer: Any, x: str, paths: dict[Layer, str]) -> str:
    """The steps of one layer, and of those below it."""
    if isinstance(layer, Sequential):
        for inner in layer.layers.values():
            x = _layer(plan, inner, x, paths)
        return x
    if isinstance(layer, UpBlock | FirstDownBlock | Block):
        y = plan.add("leaky", x, slope=0.0) if isinstance(layer, Block) and layer.activate else x
        y = _layer(plan, layer.layers["residual"], y, paths)
        return plan.add("add", y, _layer(plan, layer.layers["shortcut"], x, paths) if "shortcut" in layer.layers else x)
    module, b = paths[layer], _data(layer, "b")
    if isinstance(layer, Embedding):
        return plan.add("embedding", x, module=plan.keep(module, weight=_in_use(layer)))
    if isinstance(layer, Linear):
        return plan.add("linear", x, module=plan.keep(module, weight=_in_use(layer), bias=b))
    if isinstance(layer, Conv2d | ConvTranspose2d):
        plan.keep(module, weight=_in_use(layer).transpose(0, 3, 1, 2), bias=b)
        if isinstance(layer, ConvTranspose2d):
            return plan.add("deconv", x, module=module, stride=layer.stride, pad=layer.pad, more=layer.output_pad)
        x = plan.add(layer.resample, x) if layer.resample in ("up", "bilinear") else x
        x = plan.add("conv", x, module=module, stride=layer.stride, pad=layer.pad)
        x = plan.add("leaky", x, slope=layer.slope) if layer.slope != 1 else x
        return plan.add("down", x) if layer.resample == "down" else x
    if isinstance(layer, BatchNorm):
        beta = layer.params["beta"].data
        scale = layer.params["gamma"].data if "gamma" in layer.params else np.ones_like(beta)
        scale = scale / np.sqrt(layer.state["variance"] + layer.eps)
        plan.keep(module, scale=scale, shift=beta - layer.state["mean"] * scale)
        labels = ("labels",) if isinstance(layer, ConditionalBatchNorm) else ()
        x = plan.add("affine", x, *labels, module=module)
    elif isinstance(layer, LayerNorm):
        beta = layer.params["beta"].data
        plan.keep(module, scale=layer.params["gamma"].data if "gamma" in layer.params else np.ones_like(beta),
                  shift=beta)
        x = plan.add("affine", plan.add("standardize", x, eps=layer.eps), module=module)
    else:
        raise WrongUse(f"layers of the class {type(layer).__name__} cannot be exported; their steps are not known")
    return plan.add("leaky", x, slope=layer.slope) if layer.slope != 1 else x


def _in_use(layer: Layer) -> np.ndarray:
    """The layer's weights in the forward that `of` made."""
    assert isinstance(layer.norm, Held) and layer.norm.W_bar is not None, "a layer that was not used"
    return np.asarray(layer.norm.W_bar.data)


def _data(layer: Layer, name: str) -> np.ndarray | None:
    return layer.params[name].data if name in layer.params else None


# ---- networks ------------------------------------------------------------------------------------------------------

def _cnn_generator(plan: Plan, net: CNNGenerator, paths: dict[Layer, str]) -> None:
    dense, *body = net.layers.values()
    x = _layer(plan, dense, "x", paths)
    if net.table.first == "units":
        x = _layer(plan, body.pop(0), x, paths)
    x = plan.add("maps", x, shape=net.bottom)
    for layer in body:
        x = _layer(plan, layer, x, paths)
    plan.outputs = [plan.add("tanh", x)]


def _mnist_generator(plan: Plan, net: MNISTGenerator, paths: dict[Layer, str]) -> None:
    layers = net.layers
    x = plan.add("leaky", _layer(plan, layers["dense"], "x", paths), slope=SLOPE)
    x = plan.add("maps", _layer(plan, layers["bn0"], x, paths), shape=net.bottom)
    x = plan.add("leaky", _layer(plan, layers["deconv1"], x, paths), slope=SLOPE)
    x = _layer(plan, layers["deconv2"], _layer(plan, layers["bn1"], x, paths), paths)
    plan.outputs = [plan.add("tanh", plan.add("times", x, factor=0.5, plus=0.0))]


def _resnet_generator(plan: Plan, net: ResNetGenerator, paths: dict[Layer, str]) -> None:
    x = plan.add("maps", _layer(plan, net.layers["dense"], "x", paths), shape=net.bottom)
    for name in ("blocks", "bn", "conv"):
        x = _layer(plan, net.layers[name], x, paths)
    plan.outputs = [plan.add("tanh", x)]


def _plain_discriminator(plan: Plan, net: Any, paths: dict[Layer, str]) -> None:
    x = plan.add("times", "x", factor=0.5, plus=0.5) if isinstance(net, MNISTDiscriminator) else "x"
    for name in net.body:
        x = _layer(plan, net.layers[name], x, paths)
    _end(plan, net, plan.add("flatten", x), paths)


def _resnet_discriminator(plan: Plan, net: ResNetDiscriminator, paths: dict[Layer, str]) -> None:
    x = "x"
    for i, block in enumerate(net.layers["blocks"].layers.values()):
        if net.condition == "concat" and i == net.table.join:
            x = plan.add("join", x, _layer(plan, net.layers["embed"], "labels", paths))
        x = _layer(plan, block, x, paths)
    _end(plan, net, plan.add(net.table.pool, plan.add("leaky", x, slope=0.0)), paths)


def _end(plan: Plan, net: Discriminator, h: str, paths: dict[Layer, str]) -> None:
    y = plan.add("squeeze", _layer(plan, net.layers["dense"], h, paths))
    if net.condition == "projection":
        y = plan.add("add", y, plan.add("dot", h, _layer(plan, net.layers["embed"], "labels", paths)))
    plan.outputs = [y]
    if net.condition == "ac":
        plan.outputs.append(_layer(plan, net.layers["classify"], h, paths))


NETWORKS: dict[type[Layer], Callable[[Plan, Any, dict[Layer, str]], None]] = {
    CNNGenerator: _cnn_generator, MNISTGenerator: _mnist_generator, ResNetGenerator: _resnet_generator,
    CNNDiscriminator: _plain_discriminator, MNISTDiscriminator: _plain_discriminator,
    ResNetDiscriminator: _resnet_discriminator}
