"""The Inceptions as tables: their blocks, branches and steps, and the names and shapes of their weights.

The network is NETWORK, and all else follows from it: what inception.py runs (`blocks`), and the 472 tensors of its
weight files (`tensors`). It is that of Szegedy et al. 2016 (arXiv 1512.00567): each convolution has no bias and is
followed by batch normalization and ReLU.

The published graph of 2015 is odd in two places, and scores depend on both: its average pooling divides by the cells
that lie inside the image, and the last block pools by the maximum where its twin averages (pytorch-fid's
inception.py: "likely an error in this specific Inception implementation"). Other Inceptions (KINDS) do otherwise, and
give other scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from minigan.errors import choose


def _a(pool: int) -> dict[str, str]:
    return {"branch1x1": "64 1x1", "branch5x5": "48 1x1, 64 5x5", "branch3x3dbl": "64 1x1, 96 3x3, 96 3x3",
            "branch_pool": f"avg, {pool} 1x1"}


def _c(k: int) -> dict[str, str]:
    return {"branch1x1": "192 1x1", "branch7x7": f"{k} 1x1, {k} 1x7, 192 7x1",
            "branch7x7dbl": f"{k} 1x1, {k} 7x1, {k} 1x7, {k} 7x1, 192 1x7", "branch_pool": "avg, 192 1x1"}


def _e(pool: str) -> dict[str, str]:
    return {"branch1x1": "320 1x1", "branch3x3": "384 1x1, 384 1x3 + 384 3x1",
            "branch3x3dbl": "448 1x1, 384 3x3, 384 1x3 + 384 3x1", "branch_pool": f"{pool}, 192 1x1"}


# Block -> its branches, whose results lie side by side in this order; branch -> its steps: output channels and kernel.
# Stride 1 keeps the size by padding with zeros, unless "valid" is said; stride 2 (/2) never pads. a + b: both of the
# same input, side by side. The three letters are the names of the papers' and everybody's code for like blocks.
NETWORK: dict[str, dict[str, str]] = {
    "Conv2d_1a_3x3": {"": "32 3x3/2"},
    "Conv2d_2a_3x3": {"": "32 3x3 valid"},
    "Conv2d_2b_3x3": {"": "64 3x3"},
    "MaxPool_1": {"": "max/2"},
    "Conv2d_3b_1x1": {"": "80 1x1"},
    "Conv2d_4a_3x3": {"": "192 3x3 valid"},
    "MaxPool_2": {"": "max/2"},
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": {"branch3x3": "384 3x3/2", "branch3x3dbl": "64 1x1, 96 3x3, 96 3x3/2", "branch_pool": "max/2"},
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": {"branch3x3": "192 1x1, 320 3x3/2", "branch7x7x3": "192 1x1, 192 1x7, 192 7x1, 192 3x3/2",
                 "branch_pool": "max/2"},
    "Mixed_7b": _e("avg"),
    "Mixed_7c": _e("max"),
}
TAPS = {"64": "MaxPool_1", "192": "MaxPool_2", "768": "Mixed_6e", "2048": "Mixed_7c"}  # feature -> block it is mean of


@dataclass(frozen=True)
class Kind:
    """A trained Inception as somebody runs it."""

    text: str
    network: Mapping[str, Mapping[str, str]]
    classes: int
    resize: str  # of inception_resize.RESIZES
    scale: str  # of inception_resize.SCALES
    gamma: bool = True  # whether the batch normalizations have factors of their own
    padding_counts: bool = False  # whether average pooling divides by 9 at the image's edge, too
    size: int = 299


_AVERAGED = {**NETWORK, "Mixed_7c": _e("avg")}
_ORIGINAL = Kind("the graph of 2015-12-05, whose scores papers print", NETWORK, 1008, "tf", "128")
KINDS: dict[str, Kind] = {
    "inception-2015-12-05": _ORIGINAL,
    "inception-chainer": replace(_ORIGINAL, text="the same weights as the SN-GAN authors' Chainer code runs them",
                                 resize="align-corners", padding_counts=True),
    "inception-keras": Kind("Keras' InceptionV3; trained anew: scores are not comparable to papers'",
                            _AVERAGED, 1000, "half-pixel", "127.5", gamma=False),
    "inception-torchvision": Kind("torchvision's inception_v3; trained anew: scores are not comparable to papers'",
                                  _AVERAGED, 1000, "half-pixel", "127.5", padding_counts=True),
}


@dataclass(frozen=True)
class Step:
    """A convolution (with its module's name) or a pooling ("avg", "max") of one branch."""

    name: str
    inputs: int
    out: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    pad: tuple[int, int] = (0, 0)

    @property
    def pools(self) -> bool:
        return self.name in ("avg", "max")

    def size(self, given: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the result for those of the input."""
        height, width = ((given[i] + 2 * self.pad[i] - self.kernel[i]) // self.stride + 1 for i in (0, 1))
        return height, width


Branch = list[list[Step]]  # one step after the other; two stand side by side in a + b


def blocks(kind: str) -> dict[str, list[Branch]]:
    """The kind's table, read: block -> branches, names as in PyTorch's weight files."""
    choose("Inception", kind, KINDS)
    channels, found = 3, {}
    for block, branches in KINDS[kind].network.items():
        found[block] = [_branch(block, name, steps.split(", "), channels) for name, steps in branches.items()]
        channels = channels_of(found[block])
    return found


def channels_of(branches: list[Branch]) -> int:
    """Of a block's result."""
    return sum(step.out for branch in branches for step in branch[-1])


def size_after(branch: Branch, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) after a branch, for those before it."""
    for steps in branch:
        size = steps[0].size(size)
    return size


def _branch(block: str, name: str, steps: Sequence[str], channels: int) -> Branch:
    made: Branch = []
    count = sum(text[0].isdigit() for text in steps)  # one convolution has the branch's name, several are numbered
    number = 0
    for text in steps:
        sides = text.split(" + ")
        number += text[0].isdigit()
        own = f"_{number}" if count > 1 else ""
        full = [f"{block}.{name}{own}{letter if len(sides) > 1 else ''}" if name else block for letter in "ab"]
        made.append([_step(side, full[i], channels) for i, side in enumerate(sides)])
        channels = sum(step.out for step in made[-1])
    return made


def _step(text: str, name: str, channels: int) -> Step:
    """One step of the table: "96 3x3", "384 3x3/2", "32 3x3 valid", "avg", "max", "max/2"."""
    words = text.removesuffix("/2").split()
    stride = 2 if text.endswith("/2") else 1
    if words[0] in ("avg", "max"):
        return Step(words[0], channels, channels, stride=stride, pad=(0, 0) if stride == 2 else (1, 1))
    height, width = map(int, words[1].split("x"))
    pad = (0, 0) if stride == 2 or "valid" in words else (height // 2, width // 2)
    return Step(name, channels, int(words[0]), (height, width), stride, pad)


def tensors(kind: str = "inception-2015-12-05") -> dict[str, tuple[int, ...]]:
    """The names and shapes of the kind's weights, in the order of PyTorch's files, weights (out, in, kh, kw)."""
    found: dict[str, tuple[int, ...]] = {}
    channels, network = 0, blocks(kind)
    numbers = ("weight", "bias", "running_mean", "running_var")[0 if KINDS[kind].gamma else 1:]
    for branches in network.values():
        channels = channels_of(branches)
        for step in (step for branch in branches for steps in branch for step in steps if not step.pools):
            found[f"{step.name}.conv.weight"] = (step.out, step.inputs, *step.kernel)
            found |= {f"{step.name}.bn.{name}": (step.out,) for name in numbers}
    return found | {"fc.weight": (KINDS[kind].classes, channels), "fc.bias": (KINDS[kind].classes,)}
