"""Networks as tables: every layer with the shape of its result, its kernel, its parameters and multiplications."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import WrongUse, choose
from minigan.formats.plain_text import columns
from minigan.networks.discriminator import CONDITIONS, Embedding
from minigan.networks.models import MODELS, Model
from minigan.networks.norms import Normalization
from minigan.nn.layers import Conv2d, ConvTranspose2d, Layer, Linear, Pass

MOST = 200_000_000  # parameters of one network that is only to be looked at: 0.8 GB
MOST_PIXELS = 1 << 20  # size x size x width: the maps have to be made once, of 64 channels and more


@dataclass(frozen=True)
class Row:
    """One layer, for one image.

    shape: of its result, without the batch.  multiplications: of convolutions and dense layers, as they are defined:
    Winograd's way, and doubling and averaging that are folded into the weights, need fewer.
    """

    layer: str
    shape: tuple[int, ...]
    kernel: str
    parameters: int
    multiplications: int


class Probe(Layer):
    """Stands for a layer in its network and notes what comes by."""

    def __init__(self, path: str, layer: Layer, rows: list[Row]):
        super().__init__()
        self.path, self.layer, self.rows = path, layer, rows
        self.params, self.state, self.norm = layer.params, layer.state, layer.norm

    def forward(self, x: Any, how: Pass) -> Tensor:
        y = self.layer.forward(x, how)
        self.rows.append(Row(self.path, y.shape[1:], _kernel(self.layer), sum(p.size for p in self.params.values()),
                             _multiplications(self.layer, x.shape, y.shape)))
        return y


def rows(network: Layer, x: np.ndarray, labels: np.ndarray | None = None) -> list[Row]:
    """A row for each layer of a network, in the order of their use on x, a batch of one. The network is used up."""
    found: list[Row] = []
    for path, parent in list(network.walk()):
        for name, layer in parent.layers.items():
            if not layer.layers:
                parent.layers[name] = Probe(f"{path}/{name}".lstrip("/"), layer, found)
    with no_grad():
        network(Tensor(x), False, labels)
    return found


def pair(name: str, size: int | None = None, width: float = 1.0, classes: int = 0,
         condition: str = "") -> dict[str, list[Row]]:
    """The rows of a model's generator and discriminator, by those two names; size: the source's if None."""
    model = _check(name, size, width, classes, condition)
    size = size or model.size
    labels = np.zeros(1, np.int64) if classes else None
    gen = model.generator(Zeros(), size, model.channels, model.dim_z, width, classes)
    dis = model.discriminator(Zeros(), size, model.channels, Normalization(features=model.features, gain=True), width,
                              classes, condition)
    return {"generator": rows(gen, np.zeros((1, model.dim_z), np.float32), labels),
            "discriminator": rows(dis, np.zeros((1, size, size, model.channels), np.float32), labels)}


def lines(name: str, size: int | None = None, width: float = 1.0, classes: int = 0,
          condition: str = "") -> Iterator[str]:
    """A model's two tables as text."""
    tables = pair(name, size, width, classes, condition)
    model = MODELS[name]
    size = size or model.size
    what = [f"{size} x {size} x {model.channels}", f"z of {model.dim_z}", f"width {width:g}"]
    what += [f"{classes} classes, {condition or 'no condition'}"] if classes else []
    yield f"{name}: {model.source}; {', '.join(what)}"
    theirs = (size, width, classes) == (model.size, 1, 0)
    for (part, found), count in zip(tables.items(), model.counts, strict=True):
        texts = [(part, "output", "kernel", "parameters", "multiplications")]
        texts += [(r.layer, " x ".join(map(str, r.shape)), r.kernel, f"{r.parameters:,}", f"{r.multiplications:,}")
                  for r in found]
        parameters = sum(r.parameters for r in found)
        texts += [("total", "", "", f"{parameters:,}", f"{sum(r.multiplications for r in found):,}")]
        yield ""
        head, *middle, total = columns(texts, right=(3, 4))
        yield from (head, "-" * len(head), *middle, "-" * len(head), total)
        where = "" if theirs else f" (at {model.size} pixels, width 1, without classes)"
        yield f"the source, counted by hand: {count:,} parameters{where}"


def overview() -> Iterator[str]:
    """Every model in a line, at its source's size."""
    texts: list[tuple[str, ...]] = [("model", "size", "z", "generator", "discriminator", "conditions", "source")]
    for name, model in MODELS.items():
        texts.append((name, str(model.size), str(model.dim_z), *(f"{count:,}" for count in model.counts),
                      ", ".join(model.conditions), model.source))
    yield from columns(texts, right=(1, 2, 3, 4))


class Zeros(np.random.Generator):
    """Draws zeros: a network that is only looked at needs no random weights. WrongUse beyond MOST numbers."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))
        self.count = 0

    def standard_normal(self, size: Any = None, *args: Any, **options: Any) -> Any:
        return self._zeros(size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return self._zeros(size)

    def _zeros(self, size: Any) -> np.ndarray:
        self.count += int(np.prod(size, dtype=np.float64))
        if self.count > MOST:
            raise WrongUse(f"a network of more than {MOST:,} parameters is not drawn up; use a smaller --width, "
                           "--classes or --size")
        return np.zeros(size, np.float32)


def _check(name: str, size: int | None, width: float, classes: int, condition: str) -> Model:
    choose("model", name, MODELS)
    choose("condition", condition, CONDITIONS)
    model = MODELS[name]
    for option, value, low, high in (("--size", size, 16, 1024), ("--width", width, 1e-3, 16),
                                     ("--classes", classes, 0, 100_000)):
        if value is not None and not low <= value <= high:  # nan is refused too
            raise WrongUse(f"{option}: expected {low:,.10g} to {high:,.10g}, got {value}")
    if (size or model.size) ** 2 * max(width, 1) > MOST_PIXELS:
        raise WrongUse(f"a network for {size} x {size} pixels of width {width:g} is not drawn up; use a smaller --size "
                       "or --width")
    return model


def _kernel(layer: Layer) -> str:
    if isinstance(layer, Conv2d | ConvTranspose2d):
        k = layer.params["W"].shape[1]
        stride = {1: "", 2: ", stride 2"}[layer.stride] + (", transposed" if isinstance(layer, ConvTranspose2d) else "")
        resample = getattr(layer, "resample", "")
        return f"{k} x {k}{stride}{', ' + resample if resample else ''}"
    return ""


def _multiplications(layer: Layer, x: tuple[int, ...], y: tuple[int, ...]) -> int:
    """x, y: shapes of what comes in and out, with the batch of one."""
    if isinstance(layer, Embedding) or "W" not in layer.params:
        return 0
    W = layer.params["W"].size
    if isinstance(layer, Linear):
        return W
    if isinstance(layer, ConvTranspose2d):
        return W * x[1] * x[2]
    # A 3x3 convolution meets the larger maps, doubled before it or averaged after it; a 1x1 is done on the smaller.
    large = layer.params["W"].shape[1] > 1
    return W * (max if large else min)(x[1] * x[2], y[1] * y[2]) if getattr(layer, "resample", "") \
        else W * y[1] * y[2]
