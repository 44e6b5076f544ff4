"""The weights of a run for other tools: safetensors, a PyTorch state_dict with its module, ONNX."""

from __future__ import annotations

import json
import os
from pathlib import Path

from minigan import __version__
from minigan.errors import WrongUse, choose
from minigan.exchange import onnx_file, plan, state_dict, torch_module
from minigan.experiment.experiment import learned
from minigan.formats import safetensors
from minigan.formats.untrusted import doubting
from minigan.formats.whole import check_writable, write_whole
from minigan.networks.own import NONE, Own, name_of
from minigan.nn.layers import Layer
from minigan.training import restore, run_folder

FORMATS = {"safetensors": (".safetensors",), "torch": (".pth", ".py"), "onnx": (".onnx",)}  # format -> its files
NETWORKS = ("generator", "discriminator")
LAYOUT = ("images NCHW; conv.weight (out, in, kh, kw), transposed conv.weight (in, out, kh, kw), linear.weight "
          "(out, in), embedding.weight (classes, n); scale and shift (channels) or (classes, channels): batch "
          "normalization with its running moments carried out, or the multiplier and shift of layer normalization; "
          "weights as used: normalized, such as W / sigma. Maps are flattened in the order (H, W, C).")


def export(run: str | os.PathLike[str], to: str = "safetensors", network: str = "both",
           out: str | os.PathLike[str] | None = None, overwrite: bool = False, own: Own = NONE) -> list[Path]:
    """Write the networks of a run's newest checkpoint, as they are evaluated; returns the files, in order.

    to: "safetensors"; "torch": a .pth for torch.load(..., weights_only=True), and beside it the code of its module;
        "onnx".
    network: "generator" (with --ema its running average), "discriminator", or "both"; of an imported generator that has
        no discriminator "both" is the generator.
    out: a folder, RUN/export if None.  own: the run's networks that are its author's.
    Images are float32 (N, C, H, W) in [-1, 1], z is (N, dim_z), labels are (N,) int64. Weights are those in use: the
    discriminator's are divided by sigma already, batch normalization is a scale and a shift.
    WrongUse for an unknown name, a folder that is no run, a network whose steps only its author knows, and a file that
    is there unless `overwrite`; FailedWork for a broken checkpoint, a missing package onnx, and a file that cannot be
    written.
    """
    choose("format", to, FORMATS)
    choose("network", network, (*NETWORKS, "both"))
    run = Path(run)
    folder = run / "export" if out is None else Path(out)
    if out is None:
        run_folder.refuse_link(folder)
    names = NETWORKS if network == "both" else (network,)
    for name, given in vars(own).items():
        if name in names and given is not None and type(given) not in plan.NETWORKS:
            raise WrongUse(f"{run}: its {name} '{name_of(given)}' is its author's own code, whose steps are not known; "
                           f"load the run in Python: run.{name}.network.arrays() are its weights")
    saved = restore.newest(run, own=own)
    if saved.imported and not saved.state["dis"] and network == "both":
        names = ("generator",)
    files = [folder / f"{name}{suffix}" for name in names for suffix in FORMATS[to]]
    for file in files:
        if file.exists() and not overwrite:
            raise WrongUse(f"{file} is there already; add --overwrite, or choose another folder with --out")
    if folder.exists() and not folder.is_dir():
        raise WrongUse(f"--out {folder}: expected a folder, found a file")
    if to == "onnx":
        onnx_file.library()
    plans = {name: _plan(name, saved) for name in names}  # all of them before the first is written
    for file in files:
        check_writable(file)
    for name, found in plans.items():
        _write(found, folder / name, to, name, saved)
    return files


def is_export(path: Path) -> bool:
    """Whether it is a folder that `export` wrote, or a file in one, and no run."""
    files = {f"{name}{suffix}" for name in NETWORKS for suffixes in FORMATS.values() for suffix in suffixes}
    if path.is_dir():
        return not run_folder.is_run(path) and any((path / file).is_file() for file in files)
    return path.name in files and path.is_file()


def _plan(name: str, saved: restore.Saved) -> plan.Plan:
    """The steps of the generator, or of the discriminator."""
    net: Layer
    x_shape: tuple[int, ...]
    if name == "generator":
        net, x_shape = saved.gen, (saved.e.dim_z,)
    else:
        size = saved.state["size"]
        net, x_shape = saved.discriminator(), (size, size, saved.state["channels"])
    with doubting(str(saved.path)):
        return plan.of(net, x_shape, saved.classes)


def _write(found: plan.Plan, path: Path, to: str, name: str, saved: restore.Saved) -> None:
    """path: without a suffix."""
    metadata = {"minigan": __version__, "network": name, "iteration": str(saved.iteration), "model": saved.e.model,
                "experiment": json.dumps(learned(saved.e)), "layout": LAYOUT, "classes": str(found.classes)}
    first, *others = (path.with_suffix(suffix) for suffix in FORMATS[to])
    if to == "safetensors":
        safetensors.write(first, found.weights, metadata)
    elif to == "onnx":
        onnx_file.write(first, found, metadata)
    else:
        state_dict.write(first, found.weights)
        title = f"The {name} of a run of minigan {__version__}: model {saved.e.model}, iteration {saved.iteration}."
        write_whole(others[0], torch_module.code(found, name.capitalize(), title, first.name).encode())
