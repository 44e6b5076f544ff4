"""Runs the Inception v3 of 2015, whose features and class probabilities IS, FID and KID are made from, and its kin.

inception_table.py has the networks; here is their run on NumPy's or CuPy's arrays, forward only. What is fixed in use
is worked out once: batch normalization is folded into the convolutions' weights, the 1 x 1 convolutions that begin a
block's branches become one product of matrices, and Winograd's weights are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigan.engine import winograd
from minigan.engine.devices import Array, array_module, device_module, to_host
from minigan.engine.graphs import Graphs
from minigan.engine.im2col import correlate
from minigan.engine.loops.activation import Epilogue, bias_leaky
from minigan.engine.products import matmul
from minigan.engine.thread_pool import blocks, parallel
from minigan.errors import WrongUse, choose, listed
from minigan.formats.progress import to_stderr
from minigan.metrics import inception_resize, inception_table
from minigan.metrics.inception_table import KINDS as KINDS
from minigan.metrics.inception_table import TAPS, Branch, Step, channels_of, size_after
from minigan.metrics.inception_table import tensors as tensors

EPS = 0.001  # of every batch normalization
GROUP = 50  # images that a GPU computes at once, which divides features.STEP; their largest layer takes 0.3 GB


@dataclass(frozen=True)
class Folded:
    """A convolution and its batch normalization as one: W (O, kh, kw, C), b (O,).

    taps: winograd.transformed(W), where that is the faster way.
    """

    W: Array
    b: Array
    taps: Array | None = None


@dataclass(frozen=True)
class Head:
    """All 1 x 1 convolutions that begin a block's branches, as one product: W (O, 1, 1, C), b (O,).

    Average pooling and a 1 x 1 convolution may change places: the mean over pixels of a sum over channels. So the
    branches that average begin with the convolution, too, and pool its few channels; they are the last ones, and wait
    for their b and ReLU until then.
    """

    W: Array
    b: Array
    parts: dict[int, slice]  # a branch's place in the block -> its channels of the product
    ready: int  # channels of the branches that do not average

    def finish(self, tile: Array) -> None:
        bias_leaky(tile[:, :self.ready], self.b[:self.ready], 0.0)


class Inception:
    """Images to features; tensors: name -> array, as `tensors(kind)` lists them (others are ignored).

    resize: another way than the kind's own, one of inception_resize.RESIZES. dtype: float32 or float64.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], kind: str = "inception-2015-12-05",
                 resize: str | None = None, xp: Any = np, dtype: Any = np.float32):
        self.blocks = inception_table.blocks(kind)
        self.kind, self.settings, self.xp, self.dtype = kind, KINDS[kind], xp, np.dtype(dtype)
        self.resize = resize or self.settings.resize
        choose("resize", self.resize, inception_resize.RESIZES)
        _check(tensors, kind)
        self.layers: dict[str, Folded] = {}  # by the convolution's name; those in a head are not here
        self.heads: dict[str, Head] = {}  # by the block's name
        size = (self.settings.size, self.settings.size)
        for block, branches in self.blocks.items():
            starts = _starts(branches)
            if starts:
                self.heads[block] = _head(tensors, branches, starts, xp, self.dtype)
            for number, branch in enumerate(branches):
                inner = size
                for steps in branch:
                    inner = steps[0].size(inner)
                    self.layers |= {step.name: _folded(tensors, step, inner, xp, self.dtype) for step in steps
                                    if not step.pools and step is not starts.get(number)}
            size = inner
        self.graphs: Graphs | None = None  # of a GPU; made when images come
        self.last = None  # the last layer's W and b, if the weights have it
        if "fc.weight" in tensors:
            self.last = tuple(xp.asarray(tensors[name], dtype) for name in ("fc.weight", "fc.bias"))

    def __getstate__(self) -> dict[str, Any]:
        """For another process, by pickle: W and b of each product, on the host; it makes the rest, on its own card."""
        wins = [name for name, layer in self.layers.items() if layer.taps is not None]
        layers = {name: replace(layer, taps=None) for name, layer in self.layers.items()}
        return self.__dict__ | {"xp": "cpu" if self.xp is np else "cuda", "graphs": None, "wins": wins} | self._put(
            to_host, layers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        wins, xp = state.pop("wins"), device_module(state["xp"])
        self.__dict__.update(state, xp=xp)
        self.__dict__.update(self._put(xp.asarray, self.layers))
        self.layers |= {name: replace(self.layers[name], taps=winograd.transformed(self.layers[name].W))
                        for name in wins}

    def _put(self, put: Callable[[Array], Array], layers: Mapping[str, Folded]) -> dict[str, Any]:
        """layers, heads and last, with their arrays elsewhere."""
        return {"layers": {name: replace(layer, W=put(layer.W), b=put(layer.b)) for name, layer in layers.items()},
                "heads": {name: replace(head, W=put(head.W), b=put(head.b)) for name, head in self.heads.items()},
                "last": self.last and tuple(map(put, self.last))}

    def features(self, images: Array, taps: Sequence[str] = ("2048",)) -> dict[str, Array]:
        """images uint8 (N, H, W, C), C = 1 or 3 -> for each of taps (N, channels), the mean over the image.

        An image's features do not depend on the others, nor on their number: on a CPU each is computed alone, in one
        thread, to the same bits; on a GPU in groups of GROUP, the last one filled up, so that each product of matrices
        has the same shape. There a group is one CUDA graph, and nobody waits for it here: the host can go on.
        """
        for tap in taps:
            choose("feature", tap, TAPS)
        if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
            raise WrongUse("Inception.features: expected images uint8 (N, H, W, C) with C = 1 or 3, "
                           f"got {images.dtype} {images.shape}")
        out = {tap: self.xp.empty((len(images), self._channels(tap)), self.dtype) for tap in taps}
        if self.xp is np:
            def one(part: slice) -> None:
                for tap, found in self._forward(self._prepared(images[part]), taps).items():
                    out[tap][part] = found
            parallel(one, blocks(len(images), 1))
            return out
        for part in blocks(len(images), GROUP):
            found, at = self._group(to_host(images[part]), taps), 0
            for tap in taps:
                out[tap][part] = found[:part.stop - part.start, at:at + self._channels(tap)]
                at += self._channels(tap)
        return out

    def _group(self, images: np.ndarray, taps: Sequence[str]) -> Array:
        """At most GROUP images -> (GROUP, channels of all taps), on the device."""
        given = np.zeros((GROUP, *images.shape[1:]), np.uint8)
        given[:len(images)] = images
        if self.resize in inception_resize.ON_THE_HOST:
            given = self._prepared(given)

        def step(inputs: dict[str, Array]) -> Array:
            x = inputs["images"]
            found = self._forward(self._prepared(x) if x.dtype == np.uint8 else x, taps)
            return self.xp.concatenate([found[tap] for tap in taps], 1)
        if self.dtype != np.float32:  # products in float64 are CuPy's, which no graph can hold
            return step({"images": self.xp.asarray(given)})
        if self.graphs is None:
            self.graphs = Graphs(self.xp)
        made = self.graphs.run(f"{self.kind} on images of {given.shape[1:]} to {', '.join(taps)}", step,
                               {"images": given})
        while self.graphs.remarks:
            to_stderr(self.graphs.remarks.pop(0))
        return made

    def _prepared(self, images: Array) -> Array:
        return inception_resize.prepared(images, self.settings.size, self.resize, self.settings.scale, self.dtype)

    def _channels(self, tap: str) -> int:
        return channels_of(self.blocks[TAPS[tap]])

    def logits(self, features: Array, bias: bool = False) -> Array:
        """features["2048"] (N, 2048) -> (N, classes). IS is made from the logits without bias.

        WrongUse if the weights were without the last layer.
        """
        if self.last is None:
            raise WrongUse(f"Inception: these weights of {self.kind} have no last layer, so there are no logits")
        W, b = self.last
        y = matmul(features, W.T)
        return y + b if bias else y

    def _forward(self, x: Array, taps: Sequence[str]) -> dict[str, Array]:
        """x (N, size, size, 3) in the network's range -> for each of taps (N, channels)."""
        found: dict[str, Array] = {}
        for name in self.blocks:
            x = self._block(name, x)
            # float64: of flat images thousands of like numbers are added, and float32 rounds each time to the same side
            found |= {tap: x.mean((1, 2), dtype=np.float64).astype(self.dtype) for tap in taps if TAPS[tap] == name}
            if len(found) == len(taps):
                break
        return found

    def _block(self, name: str, x: Array) -> Array:
        """The block of that name: all branches, each written to its channels of one result."""
        branches, head, at = self.blocks[name], self.heads.get(name), 0
        if head is not None:
            begun = self.xp.empty((*x.shape[:3], len(head.W)), x.dtype)
            correlate(x, head.W, 1, 0, 0, begun, head.finish)
        size = size_after(branches[0], x.shape[1:3])
        out = self.xp.empty((len(x), *size, channels_of(branches)), x.dtype)
        for number, branch in enumerate(branches):
            channels = sum(step.out for step in branch[-1])
            made, at = out[..., at:at + channels], at + channels
            if head is None or number not in head.parts:
                self._branch(branch, x, made)
            elif branch[0][0].pools:
                mean_pool(begun[..., head.parts[number]], self.settings.padding_counts, made)
                bias_leaky(made, head.b[head.parts[number]], 0.0)
            else:
                self._branch(branch[1:], begun[..., head.parts[number]], made)
        return out

    def _branch(self, branch: Branch, x: Array, out: Array) -> None:
        """The steps of a branch, one after the other, the last one written to out."""
        if not branch:
            out[...] = x
        for steps in branch:
            last = steps is branch[-1]
            made = out if last else self.xp.empty((len(x), *steps[0].size(x.shape[1:3]), steps[0].out), x.dtype)
            at = 0
            for step in steps:
                self._step(step, x, made[..., at:at + step.out])
                at += step.out
            x = made

    def _step(self, step: Step, x: Array, out: Array) -> None:
        if step.name == "max":
            max_pool(x, step.stride, out)
        elif step.name == "avg":
            mean_pool(x, self.settings.padding_counts, out)
        else:
            layer = self.layers[step.name]
            correlate(x, layer.W, step.stride, *step.pad, out, Epilogue(layer.b, 0.0), layer.taps)


def _check(given: Mapping[str, np.ndarray], kind: str) -> None:
    """WrongUse unless all of the kind's tensors are there in their shapes; the last layer's may be left out."""
    expected = tensors(kind)
    if not any(name.startswith("fc.") for name in given):
        expected = {name: shape for name, shape in expected.items() if not name.startswith("fc.")}
    missing = [name for name in expected if name not in given]
    if missing:
        raise WrongUse(f"Inception: the weights of {kind} are {len(expected)} tensors, missing: {listed(missing)}")
    for name, shape in expected.items():
        if given[name].shape != shape:
            raise WrongUse(f"Inception: '{name}' of {kind} is {shape}, got {given[name].shape}")


def _folded(tensors: Mapping[str, np.ndarray], step: Step, size: tuple[int, int], xp: Any, dtype: Any) -> Folded:
    """The step's convolution and normalization, for a result of `size` pixels."""
    W, b = _fold(tensors, step)
    W = np.ascontiguousarray(W, dtype)
    wins = xp is np and step.stride == 1 and winograd.pays(1, size, step.kernel, step.inputs, step.out, dtype)
    return Folded(xp.asarray(W), xp.asarray(b.astype(dtype)), winograd.transformed(W) if wins else None)


def _fold(tensors: Mapping[str, np.ndarray], step: Step) -> tuple[np.ndarray, np.ndarray]:
    """gamma (W x - mean) / sqrt(var + eps) + beta as W' x + b': W' (O, kh, kw, C), b' (O,), float64."""
    W = np.asarray(tensors[f"{step.name}.conv.weight"], np.float64)
    beta, mean, var = (np.asarray(tensors[f"{step.name}.bn.{n}"], np.float64)
                       for n in ("bias", "running_mean", "running_var"))
    factor = np.asarray(tensors.get(f"{step.name}.bn.weight", 1.0), np.float64) / np.sqrt(var + EPS)
    return (W * factor[:, None, None, None]).transpose(0, 2, 3, 1), beta - mean * factor


def _starts(branches: list[Branch]) -> dict[int, Step]:
    """A branch's place -> the 1 x 1 convolution that it can begin with; those that average come last."""
    found = {i: branch[0][0] for i, branch in enumerate(branches) if branch[0][0].kernel == (1, 1)}
    return found | {i: branch[1][0] for i, branch in enumerate(branches)
                    if branch[0][0].name == "avg" and branch[1][0].kernel == (1, 1)}


def _head(tensors: Mapping[str, np.ndarray], branches: list[Branch], starts: dict[int, Step], xp: Any,
          dtype: Any) -> Head:
    """The convolutions in `starts` side by side."""
    folded = [_fold(tensors, step) for step in starts.values()]
    ends = np.cumsum([len(b) for _, b in folded]).tolist()
    W, b = (np.ascontiguousarray(np.concatenate(arrays), dtype) for arrays in zip(*folded, strict=True))
    parts = {number: slice(end - step.out, end) for (number, step), end in zip(starts.items(), ends, strict=True)}
    ready = sum(step.out for number, step in starts.items() if not branches[number][0][0].pools)
    return Head(xp.asarray(W), xp.asarray(b), parts, ready)


# ---- pooling of 3 x 3 ----------------------------------------------------------------------------------------------

def max_pool(x: Array, stride: int, out: Array) -> None:
    """The largest of 3 x 3 pixels: stride 2 inside x, or stride 1 at every pixel, outside ones left out."""
    xp = array_module(x)
    if stride == 2:
        rows = xp.maximum(x[:, :-2:2], x[:, 1:-1:2])
        xp.maximum(rows, x[:, 2::2], out=rows)
        xp.maximum(rows[:, :, :-2:2], rows[:, :, 1:-1:2], out=out)
        xp.maximum(out, rows[:, :, 2::2], out=out)
    else:
        _neighbours(x, xp.maximum, out)


def mean_pool(x: Array, padding_counts: bool, out: Array) -> None:
    """The mean of 3 x 3 pixels around each one; at the edge of those inside, or as if zeros lay outside."""
    xp = array_module(x)
    _neighbours(x, xp.add, out)
    rows, columns = (xp.full((n,), 3.0) for n in x.shape[1:3])
    if not padding_counts:
        for counts in (rows, columns):
            counts[0] -= 1
            counts[-1] -= 1
    out *= (1 / (rows[:, None] * columns))[..., None].astype(x.dtype)


def _neighbours(x: Array, function: Any, out: Array) -> None:
    """function(each pixel, its eight neighbours), for a function that adds up; rows first, then columns."""
    rows = x.copy()
    function(rows[:, 1:], x[:, :-1], out=rows[:, 1:])
    function(rows[:, :-1], x[:, 1:], out=rows[:, :-1])
    out[...] = rows
    function(out[:, :, 1:], rows[:, :, :-1], out=out[:, :, 1:])
    function(out[:, :, :-1], rows[:, :, 1:], out=out[:, :, :-1])
