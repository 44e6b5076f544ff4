"""Weights of others as they lie in files: which names a tool gives to what a ResNet holds, and how it orders the axes.

A tool is a table of names, `Tool`; sngan_projection.py and mimicry.py have theirs. Both are ResNets of the same blocks,
called alike: `block2` to `block4` with `c1`, `c2`, `c_sc` and, in a generator, `b1`, `b2`; `l1` before them, and after
them layers that have the next number, such as `b5` and `c5` (`l6`, `c7`, ...).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigan.errors import FailedWork, listed
from minigan.formats.arrays_in_files import float32
from minigan.nn.layers import Layer

Shape = tuple[int, ...]
IN_BLOCK = {"conv1": "c1", "conv2": "c2", "shortcut": "c_sc", "bn1": "b1", "bn2": "b2"}  # our layer -> theirs


@dataclass(frozen=True)
class Tool:
    """How a tool calls what a layer holds: our name -> theirs.

    joint: between a layer's names.  weights: of a convolution, dense layer or embedding; several where the tool has had
    several, told apart by the name of W.  batch_norm, conditional: of batch normalization without and with classes;
    {half: (name, 0 or 1)} where the first or second half of an array's columns is meant.
    beside: last words of names that no output depends on.
    choices: what the tool does that its files do not say, as fields of Experiment.
    """

    name: str
    joint: str
    weights: tuple[Mapping[str, str], ...]
    batch_norm: Mapping[str, str]
    conditional: Mapping[str, str | tuple[str, int]]
    beside: tuple[str, ...]
    choices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """The arrays of one network in a file, by the tool's names without what stands before all of them.

    shapes: name -> shape.  read: names -> arrays.
    """

    tool: Tool
    path: Path
    shapes: Mapping[str, Shape]
    read: Callable[[list[str]], dict[str, np.ndarray]]

    def shape(self, name: str, axes: int) -> Shape:
        """The shape of an array that every network of this kind has. FailedWork if it is not there."""
        shape = self.shapes.get(name)
        if shape is None or len(shape) != axes or 0 in shape:
            raise FailedWork(f"{self.path}: {name} " + ("is missing" if shape is None else
                             f"is {shape}, expected {axes} axes of at least 1"))
        return shape

    def name(self, layer: str, what: str) -> str:
        """The name of what a convolution or a dense layer holds: "W", "b", "u", "gamma"."""
        found = (f"{layer}{self.tool.joint}{way[what]}" for way in self.ways(layer) if what in way)
        return next(found, f"{layer}{self.tool.joint}{what}")

    def ways(self, layer: str) -> list[Mapping[str, str]]:
        """Those of tool.weights that are used for a layer, first of all; the first one if none is."""
        used = [way for way in self.tool.weights if f"{layer}{self.tool.joint}{way['W']}" in self.shapes]
        return used[:1] or list(self.tool.weights[:1])

    def channels(self, block: str) -> tuple[int, int]:
        """Channels that come into a block, and that leave it."""
        joint = self.tool.joint
        into, out = (self.shape(self.name(f"{block}{joint}{conv}", "W"), 4) for conv in ("c1", "c2"))
        return into[1], out[0]

    def blocks(self, first: int) -> list[str]:
        """block1 (or block2, `first`) and those that follow it."""
        tops = self.tops()
        found: list[str] = []
        while f"block{first + len(found)}" in tops:
            found.append(f"block{first + len(found)}")
        return found

    def tops(self) -> set[str]:
        """The outermost names."""
        return {name.split(self.tool.joint)[0] for name in self.shapes}

    def only(self, pattern: str, what: str) -> str:
        """The one outermost name of this pattern."""
        found = sorted(name for name in self.tops() if re.fullmatch(pattern, name))
        if len(found) != 1:
            raise FailedWork(f"{self.path}: expected {what}, found {listed(found) or 'none'}")
        return found[0]


def arrays_for(stored: Stored, network: Layer, first: int, ends: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What `network.load` takes, of a file's arrays: each name asked for, of the shape that the network has.

    first: the number of the file's first block.  ends: our layers outside the blocks -> theirs.
    FailedWork names what is missing, has another shape, or is there without a use.
    """
    wanted: dict[str, tuple[str, int | None]] = {}  # ours -> (theirs, which half of its columns)
    for name in network.arrays():
        path, _, what = name.rpartition("/")
        wanted[name] = _theirs(stored, network, path, what, first, ends)
    missing = sorted({name for name, _ in wanted.values()} - stored.shapes.keys())
    if missing:
        raise FailedWork(f"{stored.path}: {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing, for a "
                         f"network as the others of its arrays make it")
    spare = sorted(name for name in stored.shapes.keys() - {name for name, _ in wanted.values()}
                   if name.rpartition(stored.tool.joint)[2] not in stored.tool.beside)
    if spare:
        raise FailedWork(f"{stored.path}: {listed(spare)} {'has' if len(spare) == 1 else 'have'} no place in a network "
                         f"of {stored.tool.name} that is known here: SNGAN, its ResNets with labels, or WGAN-GP")
    ours = network.arrays()
    bottom = getattr(network, "bottom", None)
    for name, (theirs, half) in wanted.items():
        expected, shape = _their_shapes(ours[name].shape, half), stored.shapes[theirs]
        if shape not in expected:
            raise FailedWork(f"{stored.path}: {theirs} is {shape}, expected {expected[0]}")
    read = stored.read(sorted({name for name, _ in wanted.values()}))
    found = {}
    for name, (theirs, half) in wanted.items():
        try:
            a = float32(read[theirs])
        except ValueError as error:
            raise FailedWork(f"{stored.path}: {theirs} {error}") from None
        if not np.isfinite(a).all() or name.endswith("variance") and a.min() < 0:
            raise FailedWork(f"{stored.path}: {theirs} holds numbers that are not finite, or variances below 0")
        if half is not None:
            a = np.split(a, 2, axis=1)[half]
        elif bottom is not None and name in ("dense/W", "dense/b"):
            height, width, channels = bottom  # its rows go channel by channel there, pixel by pixel here
            a = np.moveaxis(a.reshape(channels, height, width, -1), 0, 2)
        elif a.ndim == 4 and ours[name].ndim == 4:
            a = a.transpose(0, 2, 3, 1)
        found[name] = np.ascontiguousarray(a).reshape(ours[name].shape)
    return found


def _theirs(stored: Stored, network: Layer, path: str, what: str, first: int,
            ends: Mapping[str, str]) -> tuple[str, int | None]:
    """The tool's name of what one of our layers holds, and which half of its columns."""
    joint = stored.tool.joint
    if path in ends:
        layer = ends[path]
    else:
        match = re.fullmatch(r"blocks/block(\d+)/(?:residual/)?(\w+)", path)
        assert match is not None, f"{path}: a layer of no ResNet"
        layer = f"block{int(match[1]) - 1 + first}{joint}{IN_BLOCK[match[2]]}"
    if what in ("beta", "mean", "variance") or what == "gamma" and path.rpartition("/")[2].startswith("bn"):
        named = (stored.tool.conditional if is_conditional(network, path) else stored.tool.batch_norm)[what]
        return (f"{layer}{joint}{named}", None) if isinstance(named, str) else (f"{layer}{joint}{named[0]}", named[1])
    return stored.name(layer, what), None


def is_conditional(network: Layer, path: str) -> bool:
    """Whether the batch normalization at this path has a row for each class."""
    layer = network
    for name in path.split("/"):
        layer = layer.layers[name]
    return layer.params["gamma"].ndim == 2


def _their_shapes(ours: Shape, half: int | None) -> list[Shape]:
    """The shapes that the array of one of ours may have: the usual one first."""
    if half is not None:
        return [(ours[0], 2 * ours[1])]
    if len(ours) == 4:
        return [(ours[0], ours[3], ours[1], ours[2])]
    if len(ours) == 1:
        return [ours, (1, *ours)] + [(1,) * axes for axes in (2, 4) if math.prod(ours) == 1]
    return [ours]
