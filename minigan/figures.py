"""The papers' figures by name: a table of what each needs and shows, and the drawing, by matplotlib.

The numbers come from figure_plots.py. matplotlib is imported when a picture is drawn, and the same numbers give the
same bytes under one version of it. A method has one colour and one marker everywhere (Okabe and Ito's palette, and
others that colour-blind readers tell apart), layers go from dark to light, and legends stand outside the axes.
"""

from __future__ import annotations

import difflib
import functools
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse
from minigan.figure_data import Missing, diagnosed, find_runs, gradient_norm, of_layer
from minigan.figure_layers import (
    best_of_each_method,
    conv_bound,
    course,
    gradient_layers,
    layer_courses,
    layer_panels,
    ratio_points,
    singular_values,
    variance_products,
)
from minigan.figure_plots import (
    Ask,
    Panel,
    Plot,
    Series,
    losses,
    possible_singular_values,
    score_against,
    score_bars,
    score_curves,
    seconds,
)
from minigan.files import write_whole

SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class Figure:
    """make: from paths and an Ask to a Plot.  command: makes runs that it can be drawn from."""

    title: str
    make: Callable[[list[Path], Ask], Plot]
    needs: str
    command: str


_SCORES = "scores in the runs' logs, or their thumbnail distance"
_DIAGNOSED = "runs with --diagnose"
_SWEEP = "minigan sweep cifar10 --profile paper --methods clip,wgan-gp,bn,ln,wn,orthonormal,sn --settings A,B,C,D,E,F"
_BSSN = "minigan sweep cifar10 --profile bssn --methods {} --settings bssn-2 --diagnose 1000"
_MNIST = "minigan sweep mnist --model mnist-bssn --methods none,sn-conv --settings bssn-2 --diagnose 100"


def _each(values: str, command: str) -> str:
    """A shell's loop over an option's values."""
    return f"for v in {values}; do {command}; done"


_part = functools.partial
_variances = _part(layer_courses, key="variance", y="parameter variance of the weights in use")
_ratios = _part(layer_panels, read="conv_ratio", convolutions=True, y="norm of the convolution / of the matrix",
                bounds={"upper bound": conv_bound("conv_upper"), "lower bound": conv_bound("conv_lower")})
_all_gradients = _part(course, read=gradient_norm, y="norm of the gradient of all weights", log="y")
_gradients = _part(layer_courses, key="gradient_bar", y="norm of the gradient")

FIGURES: dict[str, Figure] = {
    "sn-gan/1": Figure("Inception scores, by method and setting", _part(score_bars, kind="is"), _SCORES, _SWEEP),
    "sn-gan/2": Figure("FIDs, by method and setting", _part(score_bars, kind="fid"), _SCORES, _SWEEP),
    "sn-gan/3": Figure("Squared singular values of the discriminator's weights", singular_values, "checkpoints",
                       "minigan sweep cifar10 --profile paper --methods clip,wn,sn --settings A,B,C,D,E,F"),
    "sn-gan/4": Figure("Score over the size of the feature maps", _part(
        score_against, kind="is", option="width", x="relative size of the feature maps (--width)"), _SCORES,
        _each("0.5 1 2 4", "minigan sweep stl10 --profile paper --methods sn,orthonormal --settings C --width $v --out "
                           "runs/width-$v")),
    "sn-gan/9": Figure("Spectral norms of the convolutions during training", _part(
        layer_courses, key="sigma", y="spectral norm of the weights in use", log="", convolutions=True), "logs",
        "minigan train cifar10 --profile paper --setting C"),
    "sn-gan/10": Figure("Time for 100 updates of the generator", seconds, "a file of bench/overhead.py --json, or logs",
                        "python bench/overhead.py --methods wn,sn,wgan-gp,none --json > overhead.json"),
    "sn-gan/11": Figure("Score over n_dis", _part(
        score_against, kind="is", option="n_dis", x="n_dis"), _SCORES,
        _each("1 5 10 20", "minigan sweep cifar10 --profile paper --methods wn,sn --settings D --n-dis $v --out "
                           "runs/n-dis-$v")),
    "sn-gan/14": Figure("Singular values that SN and WN permit", possible_singular_values, "no runs",
                        "minigan figure sn-gan/14 --out figure.png"),
    "sn-gan/15b": Figure("Inception score of WGAN-GP, reparametrized", _part(score_curves, kind="is"), _SCORES,
                         _each("none wn-gain sn-gamma", "minigan train cifar10 --loss wasserstein --gp 10 --norm $v "
                                                        "--out runs/wgan-gp-$v")),
    "bssn/2": Figure("Gradient norms of the discriminator's layers, MNIST", _gradients, _DIAGNOSED, _MNIST),
    "bssn/3": Figure("Ratios of gradient norms and of spectral norms, MNIST", ratio_points, _DIAGNOSED, _MNIST),
    "bssn/4": Figure("Inception score of variants of SN", _part(score_curves, kind="is", error=True), _SCORES,
                     _BSSN.format("sn,sn-conv")),
    "bssn/5": Figure("Gradient norms of variants of SN", _all_gradients, _DIAGNOSED, _BSSN.format("sn,sn-conv")),
    "bssn/6": Figure("Inception score of scaled SN", _part(score_against, kind="is", option="scale", x="scale",
                                                           error=True), _SCORES,
                     _each("0.5 1 1.75 3", _BSSN.format("ssn,sn-conv") + " --scale $v --out runs/scale-$v")),
    "bssn/7": Figure("Parameter variances and their bound, by layer", _part(
        layer_panels, read="variance", log="y", y="parameter variance",
        bounds={"bound of Eq. (3)": lambda layer: of_layer(layer, "variance_bounds", 1)}), _DIAGNOSED,
        _BSSN.format("sn")),
    "bssn/8": Figure("Best Inception score of SSN and of LeCun's weights, scaled", _part(
        score_against, kind="is", option="scale", x="scale", error=True, best=True, log="x"), _SCORES,
        _each("0.2 0.5 1.2 2", "minigan train cifar10 --profile bssn --norm ssn --scale $v --out runs/ssn-$v; minigan "
              "train cifar10 --profile bssn --norm none --init-dis lecun-$v --out runs/lecun-$v")),
    "bssn/9": Figure("Inception score of SN, its gamma variants and BSN", _part(score_curves, kind="is", error=True),
                     _SCORES, _BSSN.format("sn,sn-gamma-shared,sn-gamma,bsn") + " --seeds 5"),
    "bssn/10": Figure("Inception score of stable, exploding and vanishing gradients", _part(
        score_curves, kind="is", error=True), _SCORES, "minigan train cifar10 --profile bssn --norm none --loss "
        "wasserstein --gp 10 --lr-dis 2e-4 --diagnose 1000 --out runs/stable; also --lr 1e-3 --lr-dis 1e-3; --gp 50"),
    "bssn/22": Figure("Parameter variance of scaled SN", variance_products, _DIAGNOSED,
                      _each("0.5 1 1.75 3", _BSSN.format("ssn,sn-conv") + " --scale $v --out runs/scale-$v")),
    "report/losses": Figure("Losses", losses, "logs", "minigan train cifar10"),
    "report/scores": Figure("Scores during training", _part(score_curves, kind="is"), _SCORES, "minigan train cifar10"),
    "report/accuracy": Figure("Accuracy of the discriminator", _part(
        course, read=diagnosed("accuracy"), y="share of right answers", log=""), _DIAGNOSED,
        "minigan train cifar10 --diagnose 1000"),
    "report/fid": Figure("FID during training", _part(score_curves, kind="fid"), _SCORES, "minigan train cifar10"),
}
FIGURES |= {
    "bssn/11": Figure("Gradient norms of stable, exploding and vanishing runs", _all_gradients, _DIAGNOSED,
                      FIGURES["bssn/10"].command),
    "bssn/12": Figure("Gradient norms by layer at one moment (--at), MNIST", gradient_layers, _DIAGNOSED, _MNIST),
    "bssn/13": Figure("Gradient norms by layer at one moment (--at), CIFAR-10", gradient_layers, _DIAGNOSED,
                      _BSSN.format("none,sn-conv")),
    "bssn/14": Figure("Ratios of gradient norms and of spectral norms, CIFAR-10", ratio_points, _DIAGNOSED,
                      _BSSN.format("none,sn-conv")),
    "bssn/15": Figure("Ratios of gradient norms and of spectral norms, STL-10", ratio_points, _DIAGNOSED,
                      _BSSN.format("none,sn-conv").replace("cifar10", "stl10")),
    "bssn/16": Figure("Parameter variances without SN", _variances, _DIAGNOSED, _BSSN.format("none")),
    "bssn/17": Figure("Parameter variances with SN", _variances, _DIAGNOSED, _BSSN.format("sn")),
    "bssn/18": Figure("Gradient norm with and without SN", _all_gradients, _DIAGNOSED, _BSSN.format("none,sn")),
    "bssn/19": Figure("Inception score with and without SN", _part(score_curves, kind="is", error=True), _SCORES,
                      _BSSN.format("none,sn")),
    "bssn/20": Figure("Norm of the convolution over that of its matrix, with SN", _ratios, _DIAGNOSED,
                      _BSSN.format("sn")),
    "bssn/21": Figure("Norm of the convolution over that of its matrix, with SN conv", _ratios, _DIAGNOSED,
                      _BSSN.format("sn-conv")),
}

CLASSIC = {"bars": "sn-gan/2", "singular-values": "sn-gan/3", "spectral-norms": "sn-gan/9", "gradients": "bssn/2",
           "losses": "report/losses"}

# ---- looks ---------------------------------------------------------------------------------------------------------

# method, or part of one -> colour, marker
STYLES = {"none": ("#444444", "x"), "sn": ("#d55e00", "o"), "wn": ("#0072b2", "s"), "wgan-gp": ("#009e73", "^"),
          "gan-gp": ("#44aa99", "v"), "clip": ("#cc79a7", "D"), "bn": ("#e69f00", "P"), "ln": ("#56b4e9", "X"),
          "orthonormal": ("#882255", "*"), "frobenius": ("#999933", "h"), "wn-gain": ("#88ccee", "s"),
          "sn-conv": ("#332288", "<"), "ssn": ("#ee7733", ">"), "bsn": ("#117733", "p"), "bssn": ("#aa4499", "d"),
          "sn-gamma": ("#997700", "8"), "sn-gamma-shared": ("#777777", "H"),
          "bsn-gamma": ("#66aa55", "1"), "bsn-gamma-shared": ("#aa7744", "2"), "sn-bn": ("#994455", "+"),
          "discriminator": ("#332288", ""), "generator": ("#d1495b", "")}
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
LOOK = {"font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "#dddddd", "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.2,
        "lines.markersize": 4, "legend.frameon": False, "svg.hashsalt": "minigan", "savefig.dpi": 200,
        "axes.formatter.useoffset": False, "font.family": "DejaVu Sans"}
COLUMNS = 4


def draw(plot: Plot, title: str, suffix: str) -> bytes:
    """The picture as a PNG or an SVG: the same bytes for the same plot, without dates."""
    matplotlib, Figure_ = _matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's: the same bytes for everybody
        matplotlib.rcParams.update(LOOK)
        count = len(plot.panels)
        columns = min(count, COLUMNS) if count != 6 else 3
        rows = -(-count // columns)
        width, height = (4.8, 3.0) if count == 1 else (max(4.8, 2.15 * columns), 1.85 * rows + 0.3)
        if plot.kind == "points":
            height = 2.15 * rows + 0.6 if count > 1 else 4.4
        if plot.kind == "bars":
            bars = max(sum(len(s.y) for s in panel.series) for panel in plot.panels)
            columns, rows = 1, count
            width, height = max(4.8, 0.24 * bars + 1.2), 2.5 * count
        fig = Figure_(figsize=(width, height), layout="constrained")
        axes = fig.subplots(rows, columns, squeeze=False, sharey="y" in plot.share).ravel()
        handles: dict[str, Any] = {}
        for ax, panel in zip(axes, plot.panels, strict=False):
            (_bars if plot.kind == "bars" else _lines)(ax, plot, panel, handles)
            ax.set_title(panel.title if count > 1 else "")
        for ax in axes[count:]:
            ax.set_visible(False)
        fig.supxlabel(plot.x, fontsize=8)
        room = int(15 * height)  # letters of 8 points
        fig.supylabel(plot.y if len(plot.y) <= room else plot.y.replace(", ", ",\n"), fontsize=8)
        if handles and plot.kind != "bars":
            fig.legend(handles.values(), handles.keys(), loc="outside upper center", handlelength=2.6,
                       ncols=_columns(list(handles), width))
        data = io.BytesIO()
        said = {"Title": title, "Description": "; ".join(plot.notes)}
        blank = {"Software": None} if suffix == ".png" else {"Date": None, "Creator": None}
        fig.savefig(data, format=suffix[1:], metadata={name: text for name, text in said.items() if text} | blank)
        return data.getvalue()


def _columns(names: list[str], width: float) -> int:
    """Of a legend above a picture `width` inches wide: as few rows as fit, of equal length."""
    for rows in range(1, len(names)):
        columns = -(-len(names) // rows)
        widths = [max(map(len, names[i * rows:(i + 1) * rows]), default=0) for i in range(columns)]
        if sum(0.06 * letters + 0.6 for letters in widths) <= width:
            return columns
    return 1


def _lines(ax: Any, plot: Plot, panel: Panel, handles: dict[str, Any]) -> None:
    """Lines with bands, or points with the diagonal."""
    if "x" in plot.log:
        ax.set_xscale("log")
    if "y" in plot.log:
        ax.set_yscale("log")
    used: dict[str, int] = {}
    seen: list[float] = []  # what the axes must hold, if not all
    for i, series in enumerate(panel.series):
        colour, marker = _style(series)
        again = used[colour] = used.get(colour, -1) + 1
        dash = DASHES[(i if series.place is not None else again) % len(DASHES)]
        if series.bound or series.method == "generator":
            dash = ("--", ":")[again % 2]
        if plot.family:
            dash, marker = "-" if i < len(panel.series) // 2 else "--", ""
        if plot.kind == "points":
            handle = ax.scatter(series.x, series.y, s=14, color=colour, marker="osD^vP*X<>"[i % 10], linewidths=0.5)
        else:
            every = max(1, len(series.x) // 8)
            handle, = ax.plot(series.x, series.y, color=colour, linestyle=dash, marker=marker,
                              markevery=(i * every // max(1, len(panel.series)) if every > 1 else 0, every),
                              linewidth=1 if series.bound else None)
            if series.raw is not None:
                ax.plot(series.x, series.raw, color=colour, alpha=0.35, linewidth=0.6)
                seen += [*series.y, *sorted(series.raw)[len(series.raw) // 50:-len(series.raw) // 50]]
            if series.spread is not None and any(s > 0 for s in series.spread):
                low = [y - s for y, s in zip(series.y, series.spread, strict=True)]
                high = [y + s for y, s in zip(series.y, series.spread, strict=True)]
                ax.fill_between(series.x, low, high, color=colour, alpha=0.18, linewidth=0)
        if series.name:
            handles.setdefault(series.name, handle)
    if seen:
        margin = 0.08 * (max(seen) - min(seen)) or 1
        ax.set_ylim(min(seen) - margin, max(seen) + margin)
    if plot.kind == "points":
        both = [value for p in plot.panels for one in p.series for value in (*one.x, *one.y)]
        low, high = min(both) / 1.3, max(both) * 1.3
        ax.plot([low, high], [low, high], color="#777777", linewidth=0.8, zorder=0)
        ax.set(xlim=(low, high), ylim=(low, high))
        ax.set_box_aspect(1)
    ticker = _matplotlib()[0].ticker
    if plot.x == "iteration":
        ax.set_xlim(left=0)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 10_000 else f"{x:g}")
    if plot.x == "iteration" or plot.x.startswith("index"):
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    for axis, letter in ((ax.xaxis, "x"), (ax.yaxis, "y")):
        if letter in plot.log:
            low, high = axis.get_view_interval()
            axis.set_major_formatter(lambda value, _: f"{value:g}" if 1e-3 <= value < 1e4 else
                                     f"$10^{{{round(math.log10(value))}}}$")
            axis.set_minor_formatter(ticker.NullFormatter())
            if high < 30 * low:
                axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    if plot.option:
        values = sorted({x for one in panel.series for x in one.x})
        ax.set_xticks(values, [f"{x:g}" for x in values], minor=False)
        ax.xaxis.set_minor_locator(ticker.NullLocator())


def _bars(ax: Any, plot: Plot, panel: Panel, handles: dict[str, Any]) -> None:
    """Groups of bars, each in its method's colour, with the setting's letter below each and the method below that."""
    at, ticks, letters = 0.0, [], []
    for series in panel.series:
        colour, _ = _style(series)
        places = [at + 0.8 * i for i in range(len(series.y))]
        heights = [0 if math.isnan(y) else y for y in series.y]
        spread = list(series.spread) if series.spread is not None else [0.0] * len(heights)
        ax.bar(places, heights, 0.7, color=colour, edgecolor="black", linewidth=0.4,
               yerr=spread if any(spread) else None, error_kw={"elinewidth": 0.8, "capsize": 1.5})
        for place, y in zip(places, series.y, strict=True):
            if math.isnan(y):
                ax.annotate("×", (place, 0), (0, 3), textcoords="offset points", ha="center", color=colour, fontsize=9)
        ax.annotate(series.name, (sum(places) / len(places), 0), (0, -22 if any(series.x) else -8),
                    xycoords=("data", "axes fraction"), textcoords="offset points", ha="center", va="top",
                    annotation_clip=False)
        ticks += places
        letters += [str(x) for x in series.x]
        at = places[-1] + 1.6
    ax.margins(x=0.02)
    ax.set_xticks(ticks, letters)
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="x", visible=False)


def _style(series: Series) -> tuple[str, str]:
    """Colour and marker of a series: its method's, its layer's from dark to light, a bound's grey."""
    if series.bound:
        return "#666666", ""
    if series.place is not None:
        r, g, b, _ = _matplotlib()[0].colormaps["viridis"](0.85 * series.place)
        return f"#{round(255 * r):02x}{round(255 * g):02x}{round(255 * b):02x}", ""
    return STYLES.get(series.method.split("+")[-1], ("#444444", "."))


@functools.cache
def _matplotlib() -> tuple[Any, Any]:
    """matplotlib and its class of figures, which needs no window system."""
    try:
        import matplotlib
        import matplotlib.ticker
        from matplotlib.figure import Figure as Drawn
    except ImportError as error:
        raise WrongUse(f'drawing needs matplotlib ({error}): pip install "minigan[plot]"') from None
    return matplotlib, Drawn


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
    if not paths and chosen.needs != "no runs":
        raise WrongUse(f"{name} needs runs ({chosen.needs}); made by: {chosen.command}")
    _matplotlib()  # before the work
    try:
        plot = chosen.make(paths, ask=ask or Ask())
    except Missing as error:
        raise WrongUse(f"{name}: {error}; it needs {chosen.needs}; made by: {chosen.command}") from None
    write_whole(out, draw(plot, chosen.title, out.suffix.lower()))
    return [f"{chosen.title}: {out}", *plot.notes]


def classic(paths: list[Path], out: Path, ask: Ask | None = None) -> list[str]:
    """The five figures of CLASSIC into a folder; where layers or losses are shown, each method's best setting."""
    _matplotlib()
    found, _ = find_runs(paths)
    best = [run.folder for mine in best_of_each_method(found, (ask or Ask()).measure).values() for run in mine]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FailedWork(f"{out} cannot be made ({error.strerror or error})") from None
    said = []
    for name, of in CLASSIC.items():
        try:
            said += figure(of, paths if name == "bars" else best, out / f"{name}.png", ask)
        except WrongUse as error:
            said.append(f"left out: {error}")
    return said


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
