"""A run of weights that another tool trained: recognized by the names and shapes in the files, and written as any run.

What such files do not hold is missing: the optimizers' state and the images. So the run can be sampled, scored,
diagnosed, shown and exported, and not be trained on.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minigan.data.datasets import DATASETS
from minigan.engine.machine import provenance
from minigan.errors import FailedWork, WrongUse, choose, listed
from minigan.exchange import mimicry, sngan_projection
from minigan.exchange.foreign import Shape, Stored, Tool, arrays_for
from minigan.experiment.experiment import Experiment, check, saved
from minigan.experiment.presets import compose
from minigan.experiment.streams import stream
from minigan.formats import torch_weights
from minigan.formats.archives import read_whole
from minigan.formats.foreign import npz_weights
from minigan.formats.untrusted import ZIP, Bounded, open_file, what_file
from minigan.networks.discriminator import scaled
from minigan.networks.resnet import CIFAR, DIM_EMBED, IMAGENET, POOLS, SIXTY_FOUR, STL, ResNet
from minigan.nn.layers import Layer
from minigan.training import checkpoints, run_folder
from minigan.training.assembly import check_networks, make_discriminator, make_generator
from minigan.training.gan import SAMPLES
from minigan.training.recording import sample_grids
from minigan.training.sampling import draw, latents

TABLES = {table.name: table for table in (CIFAR, STL, SIXTY_FOUR, IMAGENET)}
MOST = 1 << 31  # bytes of a .pth file
LARGEST = 1 << 28  # numbers in an array; the largest of the tools has 9,437,184
CHANNELS = 3  # of images; neither tool has others


@dataclass(frozen=True)
class Imported:
    """A run that was made of others' weights, and remarks on what the files did not say."""

    folder: Path
    experiment: Experiment
    tool: str
    iteration: int
    classes: int
    discriminator: bool  # whether there is one
    remarks: list[str]


def import_weights(files: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, data: str | None = None,
                   pool: str | None = None, iteration: int | None = None, overwrite: bool = False) -> Imported:
    """Write a run folder `out` of sngan_projection's .npz or mimicry's .pth; minigan.load(out) opens it.

    files: that of the generator, that of the discriminator or none, in any order; or a trainer's snapshot of both.
    data: the data set that they were trained on, a name of minigan train; None: not known, stored as "folder".
    pool: "sum" or "mean", how a discriminator without spectral normalization ends; None: "mean", as in WGAN-GP.
    iteration: that of the weights; None: as the snapshot or the file's name has it, such as netG_100000_steps.pth.
    WrongUse for files that do not go together and a folder that is not free; FailedWork, with what was found and what
    was expected, for files that cannot be read or hold another network. Nothing is written then.
    """
    paths, out = [Path(file) for file in files], Path(out)
    choose("data set", data or "folder", DATASETS)
    if pool is not None:
        choose("pool", pool, POOLS)
    if iteration is not None and not 1 <= iteration <= 10**9:
        raise WrongUse(f"iteration: expected 1 to 10^9, got {iteration}")
    run_folder.check_new(out, overwrite)
    gen_file, dis_file, counted = _sorted_out(paths)
    remarks = []
    chosen, classes, size = _of_generator(gen_file)
    if dis_file is None:
        chosen |= {"condition": "projection"} if classes else {}
        remarks.append("no discriminator: the run can be sampled and scored; it cannot be diagnosed")
    else:
        chosen |= _of_discriminator(dis_file, chosen, classes, pool)
        if chosen["norm"] == "none":
            remarks.append(f"the discriminator has no spectral normalization: taken as WGAN-GP's, pooling by the "
                           f"{chosen['pool']} (--pool {'sum' if chosen['pool'] == 'mean' else 'mean'} for the other)")
    at = iteration or counted or _in_name(gen_file.path)
    if at is None:
        at = 1
        remarks.append("the iteration of these weights is not known: counted as 1 (--iteration)")
    tool = gen_file.tool
    e, _ = compose(data or "folder", **{**tool.choices, **chosen, "size": size, "iterations": at})
    try:
        check(e)
        check_networks(e)
    except WrongUse as error:
        raise FailedWork(f"{gen_file.path}: a network that is out of range here: {error}") from None
    gen = make_generator(e, Bounded(_largest(gen_file)), size, CHANNELS, classes)
    gen.load(arrays_for(gen_file, gen, 2, _generator_ends(gen_file)))
    dis: Layer | None = None
    if dis_file is not None:
        dis = make_discriminator(e, Bounded(_largest(dis_file)), size, CHANNELS, classes)
        dis.load(arrays_for(dis_file, dis, 1, _discriminator_ends(dis_file)))
    z = latents(stream(e.seed, "networks"), e, SAMPLES)
    samples = draw(gen, z, classes=classes)
    state: dict[str, Any] = {
        "iteration": at, "experiment": saved(e), "imported": tool.name, "pictures": "", "gen": gen.arrays(),
        "dis": {} if dis is None else dis.arrays(), "average": {}, "preview": z, "size": size, "channels": CHANNELS,
        "classes": classes}
    made_of = {"tool": tool.name, "files": {path.name: _digest(path) for path in paths}}
    with run_folder.locked(out):
        run_folder.create(out, e, provenance() | {"imported": made_of}, overwrite)
        run_folder.prepare(out)
        checkpoints.save_in(out, at, state)
        sample_grids.save_samples(out, at, samples)
        run_folder.write_done(out, True)
    return Imported(out, e, tool.name, at, classes, dis is not None, remarks)


# ---- files -----------------------------------------------------------------------------------------------------------

def _sorted_out(paths: list[Path]) -> tuple[Stored, Stored | None, int | None]:
    """The generator's arrays, the discriminator's if there are any, and the iteration that a snapshot says."""
    gens: list[Stored] = []
    dises: list[Stored] = []
    counted = None
    if not 1 <= len(paths) <= 2:
        raise WrongUse(f"expected the generator's file, or that and the discriminator's, got {len(paths)} files")
    for path in paths:
        tool, shapes, read = _open(path)
        large = [name for name, shape in shapes.items() if math.prod(shape) > LARGEST]
        if large:
            raise FailedWork(f"{path}: {large[0]} is {shapes[large[0]]}, larger than any array of such networks")
        joint = tool.joint
        before = len(gens) + len(dises)
        for marker, found in (("l1", gens), ("block1", dises)):
            for prefix in _prefixes(tool, shapes, marker):
                inner = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
                found.append(Stored(tool, path, inner, partial(_behind, read, prefix)))
        if len(gens) + len(dises) == before:
            raise FailedWork(f"{path}: neither a generator (with l1{joint}...) nor a discriminator (with "
                             f"block1{joint}c1{joint}...) of {tool.name}; it holds {listed(sorted(shapes)[:50], 3)}")
        if shapes.get("updater/iteration") == ():
            counted = int(read(["updater/iteration"])["updater/iteration"])
    given = listed([str(path) for path in paths])
    if len(gens) != 1 or len(dises) > 1:
        raise WrongUse(f"{given}: expected one generator, and one discriminator or none, found {len(gens)} and "
                       f"{len(dises)}")
    if dises and dises[0].tool is not gens[0].tool:
        raise WrongUse(f"{given}: the generator is {gens[0].tool.name}'s, the discriminator {dises[0].tool.name}'s; "
                       "they do not go together")
    return gens[0], dises[0] if dises else None, counted if counted is None or 1 <= counted <= 10**9 else None


def _open(path: Path) -> tuple[Tool, dict[str, Shape], Callable[[list[str]], dict[str, np.ndarray]]]:
    """Whose file it is, by what it is: the shapes of its arrays, and how they are read."""
    try:
        with open_file(path) as file:
            head = file.read(512)
    except OSError as error:
        raise FailedWork(f"{path}: cannot be read: {error.strerror or error}") from None
    if head.startswith(ZIP) and not _holds(path, ".npy") or head.startswith(torch_weights.LEGACY):
        tensors = torch_weights.read(read_whole(path, MOST, archive=True), str(path))
        return mimicry.TOOL, {name: a.shape for name, a in tensors.items()}, \
            lambda names: {name: tensors[name] for name in names}
    if head.startswith(ZIP):
        return sngan_projection.TOOL, {name: shape for name, (shape, _) in npz_weights.headers(path).items()}, \
            partial(npz_weights.read, path)
    raise FailedWork(f"{path}: {f'is {what}' if (what := what_file(path)) else 'neither an .npz nor a .pth file'}; "
                     "expected a snapshot of sngan_projection (.npz) or a checkpoint of mimicry (.pth)")


def _holds(path: Path, suffix: str) -> bool:
    """Whether the first file of a zip archive ends so, by its own header."""
    with open_file(path) as file:
        head = file.read(30)
        return file.read(int.from_bytes(head[26:28], "little")).endswith(suffix.encode())


def _prefixes(tool: Tool, shapes: dict[str, Shape], marker: str) -> list[str]:
    """What stands before the names of each network in a file that has this outermost layer: "", or a trainer's."""
    first = re.escape(marker + tool.joint)
    pattern = re.compile(rf"((?:updater/model:[^/]+/)?){first}.+")
    return sorted({match[1] for name in shapes if (match := pattern.fullmatch(name))})


def _behind(read: Callable[[list[str]], dict[str, np.ndarray]], prefix: str,
            names: list[str]) -> dict[str, np.ndarray]:
    """The arrays of these names behind a prefix, by the names."""
    return {name.removeprefix(prefix): a for name, a in read([prefix + name for name in names]).items()}


def _in_name(path: Path) -> int | None:
    """The iteration in a file's name, as in ResNetGenerator_850000.npz and netG_100000_steps.pth."""
    found = re.findall(r"_(\d{1,9})(?=_steps|\.)", path.name)
    return int(found[-1]) or None if found else None


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _largest(stored: Stored) -> int:
    """How many numbers the largest array of a network has."""
    return max(math.prod(shape) for shape in stored.shapes.values())


# ---- which network it is -------------------------------------------------------------------------------------------

def _generator_ends(stored: Stored) -> dict[str, str]:
    return {"dense": "l1", "bn": stored.only(r"b\d+", "one last batch normalization, such as b5"),
            "conv": stored.only(r"c\d+|l(?!1$)\d+", "one last convolution, such as c5 or l7")}


def _discriminator_ends(stored: Stored) -> dict[str, str]:
    return {"dense": stored.only(r"l\d+", "one dense layer at the end, such as l5"), "embed": "l_y"}


def _of_generator(stored: Stored) -> tuple[dict[str, Any], int, int]:
    """What a generator's shapes say: fields of an experiment, how many classes it knows, the images' size."""
    joint = stored.tool.joint
    rows, dim_z = stored.shape(stored.name("l1", "W"), 2)
    blocks = stored.blocks(2)
    if not blocks:
        raise FailedWork(f"{stored.path}: block2 is missing")
    sizes = [stored.channels(block) for block in blocks]
    channels = [sizes[0][0], *(out for _, out in sizes)]
    side = math.isqrt(rows // channels[0])
    if side < 1 or side * side * channels[0] != rows:
        raise FailedWork(f"{stored.path}: {stored.name('l1', 'W')} has {rows} rows; expected a square number of them "
                         f"for each of {channels[0]} channels")
    table = _table(stored, channels, lambda table: (table.bottom, *table.up))
    by_class = stored.tool.conditional["gamma"]
    gamma = f"block2{joint}b1{joint}{by_class if isinstance(by_class, str) else by_class[0]}"
    classes = stored.shape(gamma, 2)[0] if gamma in stored.shapes else 0
    return {"model": table.name, "width": channels[0] / table.bottom, "dim_z": dim_z}, classes, side << len(blocks)


def _of_discriminator(stored: Stored, gen: dict[str, Any], classes: int, pool: str | None) -> dict[str, Any]:
    """What a discriminator's shapes say, beside a generator's: further fields of the experiment."""
    joint, table = stored.tool.joint, TABLES[gen["model"]]
    blocks = stored.blocks(1)
    sizes = [stored.channels(block) for block in blocks]
    channels = [out for _, out in sizes]
    width = channels[0] / table.dis[0]
    expected = [scaled(c, width) for c in table.dis]
    if channels != expected:
        raise FailedWork(f"{stored.path}: its blocks make {channels} channels; the generator is that of {table.name}, "
                         f"whose discriminator's would make {expected}")
    found: dict[str, Any] = {"width_dis": width / gen["width"], "norm": "none", "condition": "none"}
    if stored.name(f"block1{joint}c1", "u") in stored.shapes:
        gamma = f"block1{joint}c1{joint}gamma" in stored.shapes
        found["norm"] = "sn-gamma" if gamma else "sn"
    elif stored.tool is mimicry.TOOL:
        found |= mimicry.WITHOUT_NORM
    if pool is not None:
        found["pool"] = pool
    end = _discriminator_ends(stored)["dense"]
    bias = stored.name(end, "b") in stored.shapes
    if bias != table.bias:
        found["dense_bias"] = bias
    embed = stored.name("l_y", "W")
    known = stored.shape(embed, 2) if embed in stored.shapes else (0, 0)
    if known[0] != classes:
        raise FailedWork(f"{stored.path}: {embed} is for {known[0]} classes, the generator knows {classes}; they do "
                         "not go together; the generator can be imported alone")
    if classes:
        joins = known[1] == scaled(DIM_EMBED, width) and sizes[table.join][0] == channels[table.join - 1] + known[1]
        found["condition"] = "concat" if joins else "projection"
    return found


def _table(stored: Stored, channels: list[int], of: Callable[[ResNet], tuple[int, ...]]) -> ResNet:
    """The networks whose channels these are, times a width."""
    for table in TABLES.values():
        own = of(table)
        if len(own) == len(channels) and [scaled(c, channels[0] / own[0]) for c in own] == channels:
            return table
    known = "; ".join(f"{', '.join(map(str, of(table)))} ({table.name})" for table in TABLES.values())
    raise FailedWork(f"{stored.path}: a generator with {', '.join(map(str, channels))} channels; expected one of "
                     f"these, or a multiple of it: {known}")
