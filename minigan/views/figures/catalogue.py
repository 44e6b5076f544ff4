"""The papers' figures by name: a table of what each needs and shows. plots.py and layers.py have the numbers, draw.py
draws them.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from minigan.errors import FailedWork, WrongUse, listed
from minigan.formats.whole import make_folder, write_whole
from minigan.views.figures.data import Missing, diagnosed, find_runs, gradient_norm, of_layer
from minigan.views.figures.draw import draw, import_matplotlib
from minigan.views.figures.layers import (
    best_of_each_method,
    critic,
    diagnosis_curves,
    gradient_layers,
    layer_courses,
    layer_panels,
    over_sigma,
    ratio_points,
    singular_values,
    variance_products,
)
from minigan.views.figures.plots import (
    Ask,
    Plot,
    losses,
    possible_singular_values,
    score_against,
    score_bars,
    score_curves,
    seconds,
)

SUFFIXES = (".png", ".svg")


class Make(Protocol):
    """Makes a plot of the runs at these paths."""

    def __call__(self, paths: list[Path], *, ask: Ask) -> Plot: ...


@dataclass(frozen=True)
class Figure:
    """make: from paths and an Ask to a Plot.  command: makes runs that it can be drawn from.

    moment: whether it shows one iteration, which --at chooses.  --measure is for those that need scores, and for the
    one that chooses each method's best setting by them.
    """

    title: str
    make: Make
    needs: str
    command: str
    moment: bool = False

    @property
    def measured(self) -> bool:
        """Whether --measure means something to it."""
        return self.needs == _SCORES or self.make is singular_values


_SCORES = "scores in log.jsonl or scores.json, or else the log's thumbnail distance"
_DIAGNOSED = "runs with --diagnose"

_part = functools.partial
_is, _fid = (_part(score_curves, kind=kind) for kind in ("is", "fid"))
_is_error = _part(score_curves, kind="is", error=True)
_scales = _part(score_against, kind="is", option="scale", x="scale", error=True)
_variances = _part(layer_courses, key="variance", y="parameter variance")
_ratios = _part(layer_panels, read=over_sigma("sigma_conv"), convolutions=True,
                y="norm of the convolution / of the matrix",
                bounds={"upper bound": over_sigma("conv_upper"), "lower bound": over_sigma("conv_lower")})
_gradients = _part(layer_courses, key="gradient_bar", y="norm of the gradient")
_all_gradients = _part(diagnosis_curves, read=gradient_norm, y="norm of the gradient of all weights", log="y")


def _runs_of(name: str, diagnose: bool = False) -> str:
    return f"minigan reproduce {name}" + (" --diagnose 1000" if diagnose else "")


FIGURES: dict[str, Figure] = {
    "sn-gan/1": Figure("Inception scores by method and setting", _part(score_bars, kind="is"), _SCORES,
                       _runs_of("sn-gan/figure1/cifar10")),
    "sn-gan/2": Figure("FIDs by method and setting", _part(score_bars, kind="fid"), _SCORES,
                       _runs_of("sn-gan/figure1/cifar10")),
    "sn-gan/3": Figure("Squared singular values of the discriminator's weights", singular_values, "checkpoints",
                       _runs_of("sn-gan/figure3/cifar10")),
    "sn-gan/4": Figure("Score over the size of the last feature maps", _part(
        score_against, kind="is", option="last_width", x="relative size of the feature maps"), _SCORES,
        _runs_of("sn-gan/figure4/stl10")),
    "sn-gan/9": Figure("Spectral norms of the convolutions during training", _part(
        layer_courses, key="sigma", y="spectral norm", log="", convolutions=True), "logs",
        _runs_of("sn-gan/figure9/cifar10")),
    "sn-gan/10": Figure("Time for 100 updates of the generator", seconds, "a file of bench/overhead.py --json, or logs",
                        "python bench/overhead.py --methods wn,sn,wgan-gp,none --json > overhead.json"),
    "sn-gan/11": Figure("Score over n_dis", _part(score_against, kind="is", option="n_dis", x="n_dis"), _SCORES,
                        _runs_of("sn-gan/figure11/cifar10")),
    "sn-gan/14": Figure("Singular values that SN and WN permit", possible_singular_values, "no runs",
                        "minigan figure sn-gan/14 --out figure.png"),
    "sn-gan/15a": Figure("Critic's loss on training and held-out images", critic, "checkpoints, and their data",
                         _runs_of("sn-gan/figure15/cifar10")),
    "sn-gan/15b": Figure("Inception score of reparametrizations during training", _is, _SCORES,
                         _runs_of("sn-gan/figure15/cifar10")),
    "bssn/2": Figure("Gradient norms of the discriminator's layers", _gradients, _DIAGNOSED,
                     _runs_of("bssn/figure2/mnist", True)),
    "bssn/3": Figure("Ratios of gradient norms and of spectral norms, MNIST in the paper", ratio_points, _DIAGNOSED,
                     _runs_of("bssn/figure3/mnist", True)),
    "bssn/4": Figure("Inception score of variants of SN", _is_error, _SCORES, _runs_of("bssn/figure4/cifar10", True)),
    "bssn/5": Figure("Gradient norms of variants of SN", _all_gradients, _DIAGNOSED,
                     _runs_of("bssn/figure4/cifar10", True)),
    "bssn/6": Figure("Inception score of scaled SN", _scales, _SCORES, _runs_of("bssn/figure6/cifar10", True)),
    "bssn/7": Figure("Parameter variances and their bound, by layer", _part(
        layer_panels, read=lambda layer: of_layer(layer, "variance"), log="y", y="parameter variance",
        bounds={"bound of Theorem 2, with BSN 3": lambda layer: of_layer(layer, "variance_bounds", 1)}), _DIAGNOSED,
        _runs_of("bssn/figure7/cifar10", True)),
    "bssn/8": Figure("Best Inception score of SSN and of LeCun's first weights, scaled", _part(
        _scales, best=True, log="x"), _SCORES, _runs_of("bssn/figure8/cifar10")),
    "bssn/9": Figure("Inception score of SN and BSN during training", _is_error, _SCORES,
                     "minigan sweep cifar10 --profile bssn --methods sn,bsn --settings bssn-2 --seeds 5"),
    "bssn/10": Figure("Inception score where gradients are stable, explode, vanish", _is_error, _SCORES,
                      _runs_of("bssn/figure10/cifar10", True)),
    "bssn/11": Figure("Gradient norms that are stable, explode, vanish", _all_gradients, _DIAGNOSED,
                      _runs_of("bssn/figure10/cifar10", True)),
    "bssn/12": Figure("Gradient norms by layer at one moment (--at), MNIST in the paper", gradient_layers, _DIAGNOSED,
                      _runs_of("bssn/figure2/mnist", True), moment=True),
    "bssn/13": Figure("Gradient norms by layer at one moment (--at), CIFAR-10 in the paper", gradient_layers,
                      _DIAGNOSED, _runs_of("bssn/figure13/cifar10", True), moment=True),
    "bssn/14": Figure("Ratios of gradient norms and of spectral norms, CIFAR-10 in the paper", ratio_points, _DIAGNOSED,
                      _runs_of("bssn/figure14/cifar10", True)),
    "bssn/15": Figure("Ratios of gradient norms and of spectral norms, STL-10 in the paper", ratio_points, _DIAGNOSED,
                      _runs_of("bssn/figure15/stl10", True)),
    "bssn/16": Figure("Parameter variances without SN", _variances, _DIAGNOSED,
                      _runs_of("bssn/figure16/cifar10", True)),
    "bssn/17": Figure("Parameter variances with SN", _variances, _DIAGNOSED, _runs_of("bssn/figure16/cifar10", True)),
    "bssn/18": Figure("Gradient norm with and without SN", _all_gradients, _DIAGNOSED,
                      _runs_of("bssn/figure16/cifar10", True)),
    "bssn/19": Figure("Inception score with and without SN", _is_error, _SCORES,
                      _runs_of("bssn/figure16/cifar10", True)),
    "bssn/20": Figure("Norm of the convolution over that of its matrix, with SN", _ratios, _DIAGNOSED,
                      _runs_of("bssn/figure7/cifar10", True)),
    "bssn/21": Figure("Norm of the convolution over that of its matrix, with SN conv", _ratios, _DIAGNOSED,
                      _runs_of("bssn/figure4/cifar10", True)),
    "bssn/22": Figure("Parameter variance of scaled SN", variance_products, _DIAGNOSED,
                      _runs_of("bssn/figure6/cifar10", True)),
    "report/losses": Figure("Losses", losses, "logs", "minigan train cifar10"),
    "report/is": Figure("Inception score during training", _is, _SCORES, "minigan train cifar10"),
    "report/fid": Figure("FID during training", _fid, _SCORES, "minigan train cifar10"),
    "report/accuracy": Figure("Accuracy of the discriminator", _part(
        diagnosis_curves, read=diagnosed("accuracy"), y="share of right answers", log=""), _DIAGNOSED,
        "minigan train cifar10 --diagnose 1000"),
}
FIGURES["report/scores"] = FIGURES["report/is"]

CLASSIC = {"bars": "sn-gan/2", "singular-values": "sn-gan/3", "spectral-norms": "sn-gan/9", "gradients": "bssn/2",
           "losses": "report/losses"}

# ---- commands ------------------------------------------------------------------------------------------------------

def figure(name: str, paths: list[Path], out: Path, ask: Ask | None = None) -> list[str]:
    """Draw a figure into a file; returns what to say of it. WrongUse with one line if the runs lack what it needs."""
    if name not in FIGURES:
        near = difflib.get_close_matches(name, FIGURES, 1, 0.5)
        raise WrongUse(f"unknown figure '{name}'; {f'did you mean {near[0]}? ' if near else ''}minigan figure --list "
                       "shows all")
    if out.suffix.lower() not in SUFFIXES:
        raise WrongUse(f"--out {out}: expected a .png or an .svg")
    chosen = FIGURES[name]
    _refuse_what_it_ignores(name, chosen, ask or Ask())
    if not paths and chosen.needs != "no runs":
        raise WrongUse(f"{name} needs runs ({chosen.needs}); made by: {chosen.command}")
    import_matplotlib()  # before the work
    try:
        plot = chosen.make(paths, ask=ask or Ask())
    except Missing as error:
        raise WrongUse(f"{name}: {error}; it needs {chosen.needs}; made by: {chosen.command}") from None
    write_whole(out, draw(plot, f"{name}: {plot.y}", out.suffix.lower()))
    return [f"{name}: {out} ({plot.y})", *plot.notes]  # the y axis: not every figure has the measure of its title


def classic(paths: list[Path], out: Path, ask: Ask | None = None) -> list[str]:
    """The five figures of CLASSIC into a folder; where layers or losses are shown, each method's best setting."""
    if not paths:
        raise WrongUse("classic needs runs; made by: minigan sweep fashion-mnist --diagnose 100")
    if out.suffix.lower() in SUFFIXES:
        raise WrongUse(f"--out {out}: classic draws {len(CLASSIC)} images; expected a folder")
    ask = ask or Ask()
    if ask.at is not None:
        raise WrongUse(f"--at {ask.at}: no figure of classic shows one moment; leave it out")
    import_matplotlib()
    found, _ = find_runs(paths)
    groups = best_of_each_method(found, ask.measure)
    best = [run.folder for mine in groups.values() for run in mine]
    try:
        make_folder(out)
    except OSError as error:
        raise FailedWork(f"{out} cannot be made ({error.strerror or error})") from None
    drawn = len(CLASSIC)
    others = [str(run.folder) for run in found if run.folder not in best]
    said = [f"bars aside, without {listed(others, 3)}: of each method its best setting alone"] if others else []
    for name, of in CLASSIC.items():
        try:
            said += figure(of, paths if name == "bars" else best, out / f"{name}.png",
                           ask if FIGURES[of].measured else None)
        except WrongUse as error:
            said.append(f"left out: {error}")
            drawn -= 1
    if not drawn:
        raise WrongUse(f"classic: none of its figures can be drawn from these runs; {said[-1]}")
    return said


def _refuse_what_it_ignores(name: str, chosen: Figure, ask: Ask) -> None:
    """WrongUse for an option that would change nothing."""
    for option, value, takes in (("--at", ask.at, "moment"), ("--measure", ask.measure or None, "measured")):
        if value is not None and not getattr(chosen, takes):
            others = [other for other in sorted(FIGURES, key=_place) if getattr(FIGURES[other], takes)]
            raise WrongUse(f"{option} {value} does nothing in {name}; leave it out, it is for {listed(others)}")


def listing() -> list[str]:
    """Three lines for each figure."""
    lines = []
    for name in sorted(FIGURES, key=_place):
        one = FIGURES[name]
        lines += [f"{name:14} {one.title}", f"{'':14} needs: {one.needs}", f"{'':14} made by: {one.command}"]
    return lines


def _place(name: str) -> tuple[str, int, str]:
    """Papers by name, figures by number."""
    paper, figure_ = name.split("/")
    digits = "".join(filter(str.isdigit, figure_))
    return paper, int(digits or 0), figure_
