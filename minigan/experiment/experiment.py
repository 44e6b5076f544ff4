"""An experiment is data: every choice of a training run, with the papers' values as defaults.

The command line makes its options from the fields of `Experiment`, and the sections of its help from theirs; a run
folder and every checkpoint hold one as JSON.
A preset is a dict of the fields that differ from the defaults.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minigan.errors import FailedWork, WrongUse, brief, listed, printable


def _section(heading: str) -> Callable[..., Any]:
    """Makes the fields of one section of the command line's help; first: among the ten options that matter most."""
    def option(default: Any, text: str, first: bool = False) -> Any:
        return field(default=default, metadata={"help": text, "section": heading, "first": first})
    return option


_data, _papers, _networks, _norms, _loss, _updates, _optimizer, _records, _scores = map(_section, (
    "Data", "Papers", "Networks", "Normalization", "Loss", "Updates", "Optimizer", "Running", "Scores"))


@dataclass(frozen=True)
class Experiment:
    """All that decides a training run. Defaults: Miyato et al. 2018, Table 3, setting C of Table 1, hinge loss."""

    # the data
    dataset: str = _data("shapes", "data set")
    data_root: str | None = _data(None, "folder in which the data lies [the cache folder, or a download]",
                                  first=True)
    size: int | None = _data(None, "side of the images in pixels; the data set's own, or 32 for a folder", first=True)
    split: str | None = _data(None, "part of the data set: train, test, unlabeled (stl10), extra (svhn) [train; "
                              "stl10 unlabeled]")
    fit: str = _data("crop", "how images of a folder become square: crop, stretch")
    crop: int | None = _data(None, "side of the square in the middle of celeba's images that is used [128]")
    resize: str | None = _data(None, "how another size is reached: lanczos, bilinear, plain (bilinear, not "
                               "antialiased) [lanczos; imagenet bilinear; celeba, stl10 plain]")
    skip_bad: bool = _data(False, "leave out images of a folder that cannot be read or are too small")
    follow_links: bool = _data(False, "take images of a folder that symbolic links out of it lead to")
    large_images: bool = _data(False, "take images of a folder with more than 89 million pixels, too: up to 2^30")
    data_seed: int = _data(0, "seed of the drawings of shapes; --seed is that of the training")
    scaling: str = _data("255", "pixels to [-1, 1]: 255 (x / 127.5 - 1), 128 (x / 128 - 1)")
    dequantize: bool = _data(False, "add uniform noise of one grey level to real images")
    # where the choices come from
    profile: str | None = _papers(None, "all that one source says of a training, beneath what is given here")
    setting: str | None = _papers(None, "a row of a paper's table of learning rates, betas and n_dis")
    # the networks
    model: str = _networks("cnn", "generator and discriminator", first=True)
    width: float = _networks(1.0, "factor on every number of channels", first=True)
    width_dis: float = _networks(1.0, "further factor on the discriminator's")
    slope: float | None = _networks(None, "slope of a CNN discriminator's leaky ReLU, if not the model's; 0: ReLU")
    last_width: float | None = _networks(None, "factor on the channels before and after a CNN discriminator's last "
                                         "convolution")
    upsample: str | None = _networks(None, "how a ResNet's generator doubles the size: nearest, bilinear [nearest]")
    pool: str | None = _networks(None, "how a ResNet's discriminator pools all pixels at its end, if not as the model: "
                                 "sum, mean")
    dense_bias: bool | None = _networks(None, "a bias in a ResNet's discriminator's dense layer [as the model]")
    init: str = _networks("model", "how weights are drawn at first: model (its source's way), or normal, truncated, "
                          "glorot, lecun, he, orthogonal, with a number (deviation or factor) or without: normal-0.02")
    init_dis: str | None = _networks(None, "how the discriminator's are, if not by --init")
    dim_z: int = _networks(128, "length of the latent vector, N(0, I)")
    norm: str = _norms("sn", "normalization of the discriminator's weights", first=True)
    gen_norm: str = _norms("none", "normalization of the generator's weights")
    power_iterations: int = _norms(1, "power iterations of sn in each training forward")
    scale: float = _norms(1.0, "factor on the normalized weights of ssn, bssn and sn-conv")
    scale_spread: float = _norms(0.0, "deviation of the logarithm of a random factor on each layer's --scale; their "
                                 "product is 1")
    u_schedule: str = _norms("forward", "when sn's u moves: forward (in each training forward), update (once after "
                             "each update)")
    u_gradient: bool = _norms(False, "let the gradient go through the power iteration; else u and v are constants")
    gamma_start: str = _norms("weights", "gamma of sn-gamma and wn-gain at first: weights (such that W stays as it is "
                              "drawn), one")
    clip: float = _norms(0.01, "bound of clip on every element")
    clip_which: str = _norms("conv", "what clip clips: conv (convolutions' weights), weights (all), all (biases too)")
    orthonormal: float = _norms(1e-4, "weight of the penalty of orthonormal")
    features: str = _norms("model", "normalization of the discriminator's features: model (as --norm or the model has "
                                    "it), none, bn, ln")
    features_gain: bool = _norms(False, "learn the multiplier of bn and ln in the discriminator")
    condition: str = _networks("none", "how labels are used: none, projection, concat, ac (auxiliary classifier)")
    generator: str | None = _networks(None, "name of its author's own generator, in place of the model's; in Python")
    discriminator: str | None = _networks(None, "name of its author's own discriminator; in Python")
    # the training
    loss: str = _loss("hinge", "adversarial loss", first=True)
    gp: float = _loss(0.0, "weight of the gradient penalty at interpolates; 0: none")
    gp_target: float = _loss(1.0, "norm of the gradient that the penalty draws to")
    ac_dis: float = _loss(1.0, "weight of the auxiliary classifier's loss for the discriminator")
    ac_gen: float = _loss(0.1, "weight of the auxiliary classifier's loss for the generator")
    latent: str = _networks("normal", "distribution of z: normal (N(0, I)), uniform (-1 to 1)")
    order: str = _updates("dis-first", "which network an iteration updates first: dis-first, gen-first")
    reuse_z: bool = _updates(False, "let the generator's update use the latents of the discriminator's last one")
    sync_bn: bool = _updates(False, "with several processes (mpiexec), let batch normalization take the moments of the "
                             "whole batch, not of each process's rows")
    sampling: str = _updates("epochs", "real images of a batch: epochs (each once in a random order), replacement")
    optimizer: str = _optimizer("adam", "optimizer")
    lr: float = _optimizer(2e-4, "learning rate of both networks", first=True)
    lr_dis: float | None = _optimizer(None, "learning rate of the discriminator, if not --lr")
    beta1: float = _optimizer(0.5, "decay of Adam's first moment")
    beta2: float = _optimizer(0.999, "decay of Adam's second moment, and of RMSProp's")
    adam_eps: float = _optimizer(1e-8, "eps of Adam, outside the bias correction")
    schedule: str = _optimizer("constant", "learning rate over the run")
    decay_from: float = _optimizer(0.0, "share of the run after which a linear schedule begins to fall")
    bn_eps: float = _networks(2e-5, "eps of batch normalization")
    bn_decay: float = _networks(0.9, "decay of batch normalization's running moments")
    ema: float = _updates(0.0, "decay of a running average of the generator, which then draws the samples; 0: none")
    n_dis: int = _updates(1, "updates of the discriminator for each of the generator")
    batch_size: int = _updates(64, "real images in a batch, and fake ones", first=True)
    gen_batch_size: int | None = _updates(None, "fakes in the generator's update, if not --batch-size")
    accumulate: int = _updates(1, "parts in which a batch is computed, one after the other, to need less memory: the "
                               "same update, but that batch normalization takes the moments of each part")
    iterations: int = _updates(100_000, "updates of the generator", first=True)
    seed: int = _updates(0, "seed of everything random")
    # the machine and the records: may change when a run is resumed
    device: str = _records("cpu", "where to compute: cpu, cuda", first=True)
    graph: bool = _records(True, "on a GPU, record an update once as a CUDA graph and launch it whole; same results")
    precision: str | None = _records(None, "what a GPU rounds the factors of products to in updates, bf16 activations, "
                                     "too; weights and sums are float32 [tf32 if the card has it, as in PyTorch]")
    threads: int | None = _records(None, "worker threads; results do not depend on it [default: all cores]")
    log_every: int | None = _records(None, "iterations between lines of log.jsonl [default: a 200th of the run]")
    sample_every: int | None = _records(None, "iterations between images of samples [default: a 20th of the run]")
    checkpoint_every: int | None = _records(None, "iterations between checkpoints [default: a 10th, at most 1000]")
    diagnose: int | None = _records(None, "iterations between looks into the discriminator: diagnostics.jsonl, alarms "
                                    "[default: none; 0: none]")
    score_every: int | None = _scores(None, "iterations between scores of images: log.jsonl, and best-*.h5 by FID "
                                      "[default: none; 0: none]")
    score: str | None = _scores(None, "protocol of these scores, as for minigan score --protocol [classifier where "
                                "Inception has seen nothing like the data; else sn-gan]")
    score_count: int = _scores(1000, "images, real and fake, that they are made from at most")
    score_weights: str | None = _scores(None, "file of Inception's weights, or of a classifier [in the cache folder]")


# Fields that only Python can set, for they name code -> the field of that network's norm, "none" beside it.
NETWORKS = {"generator": "gen_norm", "discriminator": "norm"}

CONDITIONS = ("none", "projection", "concat", "ac")
FEATURES = ("model", "none", "bn", "ln")
LATENTS, ORDERS, SAMPLINGS = ("normal", "uniform"), ("dis-first", "gen-first"), ("epochs", "replacement")


# An annotation's word -> the types that JSON may hold for it.
KINDS = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "None": (type(None),)}

# May differ from the saved experiment when a run is resumed: they change nothing that is learned.
CHANGEABLE = ("data_root", "follow_links", "large_images", "device", "graph", "precision", "threads", "log_every",
              "sample_every", "checkpoint_every", "diagnose", "score_every", "score", "score_count", "score_weights")

PATHS = ("data_root", "score_weights")  # files and folders


def from_anywhere(values: dict[str, Any]) -> dict[str, Any]:
    """The same fields; paths among them such that a run can go on in another working folder, ~ as the user's home."""
    return values | {name: os.path.abspath(os.path.expanduser(values[name])) for name in PATHS if values.get(name)}


def check(e: Experiment) -> None:
    """WrongUse, with the option's name, for a number outside its range.

    The upper ends are far beyond all that trains; they keep a slip of the finger, or a file that somebody else made,
    from asking for all memory or all time.
    """
    for name, low, high in (
            ("size", 16, 1024), ("crop", 16, 1024), ("width", 1e-3, 16), ("width_dis", 1e-3, 16),
            ("slope", 0, 1), ("last_width", 1e-3, 16), ("dim_z", 1, 1 << 16),
            ("power_iterations", 1, 1000),
            ("n_dis", 1, 1000), ("batch_size", 1, 1 << 16), ("gen_batch_size", 1, 1 << 16),
            ("accumulate", 1, 1 << 16), ("iterations", 1, 10**9),
            ("scale", 1e-6, 1e6), ("scale_spread", 0, 10), ("clip", 1e-12, 1e6), ("orthonormal", 0, 1e9),
            ("adam_eps", 0, 1), ("bn_eps", 1e-12, 1), ("gp", 0, 1e9), ("gp_target", 0, 1e9),
            ("ac_dis", 0, 1e9), ("ac_gen", 0, 1e9),
            ("lr", 1e-12, 1e6), ("lr_dis", 1e-12, 1e6), ("seed", 0, 2**63 - 1), ("data_seed", 0, 2**63 - 1),
            ("threads", 1, 1024),
            ("log_every", 1, 10**9), ("sample_every", 1, 10**9), ("checkpoint_every", 1, 10**9),
            ("diagnose", 0, 10**9), ("score_every", 0, 10**9), ("score_count", 2, 10**6)):
        _range(e, name, low, high, f"{low:,.10g} to {high:,.10g}")
    for name in ("beta1", "beta2", "ema", "decay_from", "bn_decay"):
        _range(e, name, 0, 1 - 1e-12, "0 or more and less than 1")
    _check_parts(e)
    if e.reuse_z and e.order == "gen-first":
        raise WrongUse("--reuse-z takes the latents of the discriminator's last update; with --order gen-first there "
                       "is none yet; leave one of them out")
    if e.reuse_z and e.gen_batch_size not in (None, e.batch_size):
        raise WrongUse(f"--reuse-z needs equal batches, got --batch-size {e.batch_size} and --gen-batch-size "
                       f"{e.gen_batch_size}; leave --gen-batch-size out")


def to_dict(e: Experiment) -> dict[str, Any]:
    """Field -> value, of plain types: ready for JSON."""
    return dataclasses.asdict(e)


def learned(e: Experiment) -> dict[str, Any]:
    """The fields that decide what is learned: the same on every machine.

    Networks of the author's are named where there are some.
    """
    return {name: value for name, value in to_dict(e).items()
            if name not in CHANGEABLE and not (name in NETWORKS and value is None)}


def saved(e: Experiment) -> dict[str, Any]:
    """The same as a checkpoint holds them: as before there was `accumulate`, where that is 1."""
    return {name: value for name, value in learned(e).items() if (name, value) != ("accumulate", 1)}


def recorded(e: Experiment) -> dict[str, Any]:
    """The other fields that are not as by default, as a checkpoint holds them: where the data lie, what is kept when.

    Not the device and the number of threads: these belong to the machine.
    """
    return {name: value for name in CHANGEABLE if name not in ("device", "threads")
            and (value := getattr(e, name)) != getattr(Experiment, name)}


def from_dict(values: Any, where: str) -> Experiment:
    """The experiment that `to_dict` or `learned` gave. FailedWork, naming `where` it was read from, for any other."""
    fields = {f.name: f for f in dataclasses.fields(Experiment)}
    unknown = sorted(values.keys() - fields.keys()) if isinstance(values, dict) else [type(values).__name__]
    if unknown:
        raise FailedWork(f"{where} does not hold an experiment of this version: unknown "
                         f"{listed([printable(str(name)[:80]) for name in unknown])}")
    for name, value in values.items():
        kinds = {kind for kind_name in str(fields[name].type).split(" | ") for kind in KINDS[kind_name]}
        if type(value) not in kinds:  # not isinstance: True is no count
            raise FailedWork(f"{where}: {name} is {brief(value)}; expected {fields[name].type}")
        if isinstance(value, str) and "\0" in value:  # no path has it, and the system's calls raise
            raise FailedWork(f"{where}: {name} holds a null character")
    made = Experiment(**with_data_seed(values))
    try:
        check(made)
    except WrongUse as error:
        raise FailedWork(f"{where}: {error}") from None
    return made


def with_data_seed(values: dict[str, Any]) -> dict[str, Any]:
    """The same fields; where none is data_seed, `shapes` were drawn from the training's seed, as up to 0.1."""
    drawn = "data_seed" not in values and values.get("dataset", Experiment.dataset) == "shapes"
    return values | ({"data_seed": values.get("seed", Experiment.seed)} if drawn else {})


def own_names(e: Experiment) -> dict[str, str]:
    """"generator", "discriminator" -> the name of that network, of those that are the author's own code."""
    return {who: name for who in NETWORKS if (name := getattr(e, who)) is not None}


def option_name(field_name: str) -> str:
    """The command line's name of a field: batch_size -> --batch-size."""
    return "--" + field_name.replace("_", "-")


def _check_parts(e: Experiment) -> None:
    """WrongUse unless --accumulate divides every batch."""
    batches = [(name, count) for name in ("batch_size", "gen_batch_size") if (count := getattr(e, name)) is not None]
    common = math.gcd(*(count for _, count in batches))
    for name, count in batches:
        if count % e.accumulate:
            fits = [n for n in range(2, common + 1) if common % n == 0]
            near = [str(n) for n in sorted(sorted(fits, key=lambda n: abs(n - e.accumulate))[:2])]
            raise WrongUse(f"--accumulate {e.accumulate} does not divide {option_name(name)} {count}, and the parts of "
                           "a batch are of one size; " + (f"choose {' or '.join(near)}" if near else "leave it out"))


def _range(e: Experiment, name: str, low: float, high: float, expected: str) -> None:
    value = getattr(e, name)
    if value is not None and not low <= value <= high:  # nan is refused too
        raise WrongUse(f"{option_name(name)}: expected {expected}, got {value}")
