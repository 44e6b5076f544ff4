"""What a diagnosis (diagnostics.py) or a run's log warns of: what happens, with the numbers, and the likely cause, in
one sentence.

The log's alarms are there in every run: they look at what is measured anyway, the losses and the thumbnails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minigan.experiment.experiment import Experiment
from minigan.formats.untrusted import is_number

# Thresholds lie far outside what sound runs show, sn and others, on shapes and Fashion-MNIST at reduced size.
FLAT = 1e-5  # slope: across an image's whole range of some 50 the output moves by a 2000th
STEEP = 1e3  # slope, and norm of the gradient of a layer's weights in use
LOST = 1e-8  # norm of a layer's gradient: what Adam adds to its denominator
OFF = 0.25  # share by which a power iteration misses; sound runs with small batches reach 0.15 for moments
INACTIVE = 0.95  # share of hinge terms
SURE = 5.0  # output at which a sigmoid is within 1 % of its end
ALIKE = 0.1  # diversity
GROWN = 1e6  # loss; on Fashion-MNIST WGAN-GP at a rate of 1e-3 reached 1.6e5 and came back
# For how long a log must show a saturated D: on Fashion-MNIST at an eighth of the width, in batches of 16, hinge losses
# were below 0.1 for up to 12 iterations on end in sound runs, 62 with n_dis 5, and 129 in one that made one image.
LONG, LINES = 100, 5  # iterations, lines
LOOKED_BACK = LONG + 1  # lines, that is
BEGUN = 100  # iterations; a generator that has just begun makes nearly one image: on Fashion-MNIST until some 40


def alarms(found: dict[str, Any], e: Experiment) -> list[dict[str, str]]:
    """The alarms of a diagnosis, each {"name", "text"}; an empty list where nothing is wrong."""
    checks = {"exploding-gradients": _exploding, "vanishing-gradients": _vanishing, "power-iteration": _power_iteration,
              "saturated-discriminator": _saturated, "collapsed-modes": _collapsed}
    return [{"name": name, "text": text} for name, check in checks.items() if (text := check(found, e))]


def alarms_of_log(lines: Sequence[dict[str, Any]], e: Experiment) -> list[dict[str, str]]:
    """The alarms at the last of a log's lines, as `alarms` gives them; `lines`: the newest LOOKED_BACK of those with
    losses."""
    found = {"exploding-loss": _exploding_loss(lines, e), "saturated-discriminator": _saturated_for_long(lines, e),
             "collapsed-modes": _collapsed({"diversity": None} | lines[-1], e)}
    return [{"name": name, "text": text} for name, text in found.items() if text]


def has_losses(line: dict[str, Any]) -> bool:
    """Whether a line, of whoever's log, has what alarms need."""
    return is_number(line.get("loss_dis")) and is_number(line.get("loss_gen"))


def _exploding_loss(lines: Sequence[dict[str, Any]], e: Experiment) -> str:
    losses = {"D": lines[-1]["loss_dis"], "G": lines[-1]["loss_gen"]}
    who, largest = max(losses.items(), key=lambda item: abs(item[1]))
    if abs(largest) <= GROWN:
        return ""
    return (f"exploding loss: {who}'s is {largest:.3g}, D's output has grown without bound; try "
            f"{_cure(e, '--norm sn')} or a lower --lr")


def _saturated_for_long(lines: Sequence[dict[str, Any]], e: Experiment) -> str:
    margin = {"hinge": 2 * (1 - INACTIVE), "ns": 2 * math.log1p(math.exp(-SURE))}.get(
        "ns" if e.loss == "minimax" else e.loss)  # the loss where D is as sure as `_saturated` has it
    begin = lines[-1]["iteration"] - LONG
    before = [at for at, line in enumerate(lines) if line["iteration"] <= begin]
    if margin is None or not before or len(lines) < LINES:
        return ""
    newest = lines[min(before[-1], len(lines) - LINES):]
    largest = max(line["loss_dis"] for line in newest)
    if largest >= margin:
        return ""
    return (f"saturated discriminator: its loss has been at most {largest:.2g} since iteration "
            f"{newest[0]['iteration']:,}, so it learns almost nothing more; it is too strong for the generator, try a "
            f"lower --lr-dis, a smaller --n-dis or {_cure(e, '--norm sn')}")


def _exploding(found: dict[str, Any], e: Experiment) -> str:
    slopes, gradients = found["slope"], {path: row["gradient_bar"] for path, row in found["layers"].items()}
    lost = [name for name, value in (slopes | gradients).items() if value is None]
    if lost:
        return (f"exploding gradients: that of {lost[0]} is not a finite number; the weights have grown too far, go "
                "back to a checkpoint and lower --lr")
    place, largest = max((slopes | gradients).items(), key=lambda item: item[1])
    if largest <= STEEP:
        return ""
    what = f"D's slope at {place} images" if place in slopes else f"the gradient of {place}'s weights"
    bound = found["lipschitz_bound"]
    held = "nothing bounds the layers" if bound is None else f"the layers' norms allow {bound:.3g}"
    return f"exploding gradients: {what} is {largest:.3g} and {held}; try {_cure(e, '--norm sn')} or a lower --lr"


def _vanishing(found: dict[str, Any], e: Experiment) -> str:
    slopes = [value for value in found["slope"].values() if value is not None]
    if len(slopes) == 3 and max(slopes) < FLAT:
        return (f"vanishing gradients: D's slope is nowhere above {max(slopes):.2g}, so images hardly change its "
                f"output and the generator learns nothing; {_small(found, e)}")
    if _all_inactive(found):  # no gradient by its loss: another alarm
        return ""
    gradients = {path: row["gradient"] for path, row in found["layers"].items() if row["gradient"] is not None}
    place, smallest = min(gradients.items(), key=lambda item: item[1], default=("", math.inf))
    if smallest < LOST:
        return f"vanishing gradients: the gradient of {place}'s weights is {smallest:.2g}; {_small(found, e)}"
    return ""


def _small(found: dict[str, Any], e: Experiment) -> str:
    """Why gradients vanish."""
    dead = [path for path, row in found["layers"].items() if row["saturation"] and row["saturation"]["dead"] > 0.9]
    if dead:
        return f"nine in ten of {dead[0]}'s channels are dead (lower --lr, or start again)"
    bound = found["lipschitz_bound"]
    if bound is not None and bound < 1e-2:
        advice = "try a larger --scale" if e.norm in ("sn-conv", "ssn", "bssn") else "try " + _cure(e, "--norm sn")
        return f"the layers' norms have a product of only {bound:.2g} ({advice})"
    return f"the layers pass on little of what they get (try {_cure(e, '--norm sn')})"


def _power_iteration(found: dict[str, Any], e: Experiment) -> str:
    off = {path: row["sigma_estimate"] / row["sigma_meant"] for path, row in found["layers"].items()
           if row["sigma_estimate"] is not None and row["sigma_meant"]}
    place, share = max(off.items(), key=lambda item: abs(item[1] - 1), default=("", 1.0))
    if abs(share - 1) <= OFF:
        return ""
    row = found["layers"][place]
    return (f"under-converged power iteration: {place} is divided by {row['sigma_estimate']:.3g} where its norm is "
            f"{row['sigma_meant']:.3g}; u cannot follow weights that move so fast or has not had the time, try "
            "--power-iterations 5 or a lower --lr")


def _all_inactive(found: dict[str, Any]) -> bool:
    return found["inactive"] is not None and min(found["inactive"].values()) >= INACTIVE


def _saturated(found: dict[str, Any], e: Experiment) -> str:
    slope = found["slope"]["fake"]
    (real, _), (fake, _) = found["outputs"]["real"], found["outputs"]["fake"]
    if _all_inactive(found):
        shares = found["inactive"]
        what = (f"{shares['real']:.0%} of real and {shares['fake']:.0%} of fakes are beyond the hinge's margin")
    elif e.loss in ("ns", "minimax") and None not in (real, fake) and real > SURE and fake < -SURE:
        what = f"its mean output is {real:.3g} for real and {fake:.3g} for fakes, where the sigmoid is flat"
    else:
        return ""
    steep = "" if slope is None else f" and its slope at fakes is {slope:.2g}"
    return (f"saturated discriminator: {what}{steep}, so it learns almost nothing more; it is too strong for the "
            f"generator, try a lower --lr-dis, a smaller --n-dis or {_cure(e, '--norm sn')}")


def _collapsed(found: dict[str, Any], e: Experiment) -> str:
    diversity = found["diversity"]
    if diversity is None or diversity >= ALIKE or found["iteration"] < BEGUN:
        return ""
    return (f"collapsed modes: two fakes differ {diversity:.2g} times as much as two real ones; D drives all "
            f"latents to the same image, try a lower --lr, other betas or {_cure(e, '--norm sn')}")


def _cure(e: Experiment, otherwise: str) -> str:
    """Advice that is not what the run does already."""
    return otherwise if not e.norm.startswith("sn") else "--norm bssn"
