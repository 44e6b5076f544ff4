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
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse
from minigan.formats.whole import write_whole
from minigan.views.figures.data import Missing, diagnosed, find_runs, gradient_norm, of_layer
from minigan.views.figures.layers import (
    best_of_each_method,
    course,
    critic,
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

SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class Figure:
    """make: from paths and an Ask to a Plot.  command: makes runs that it can be drawn from."""

    title: str
    make: Callable[[list[Path], Ask], Plot]
    needs: str
    command: str


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
_all_gradients = _part(course, read=gradient_norm, y="norm of the gradient of all weights", log="y")


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
    "sn-gan/15a": Figure("Critic's loss on training and held-out pictures", critic, "checkpoints, and their data",
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
                      _runs_of("bssn/figure2/mnist", True)),
    "bssn/13": Figure("Gradient norms by layer at one moment (--at), CIFAR-10 in the paper", gradient_layers,
                      _DIAGNOSED, _runs_of("bssn/figure13/cifar10", True)),
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
        course, read=diagnosed("accuracy"), y="share of right answers", log=""), _DIAGNOSED,
        "minigan train cifar10 --diagnose 1000"),
}
FIGURES["report/scores"] = FIGURES["report/is"]

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
        names = list(dict.fromkeys(series.name for panel in plot.panels for series in panel.series if series.name))
        columns = 1 if plot.kind == "bars" else 3 if count == 6 else min(count, COLUMNS)
        rows = -(-count // columns)
        bars = max(sum(len(s.y) for s in panel.series) for panel in plot.panels)
        width = max(4.8, 0.24 * bars + 1.2) if plot.kind == "bars" else max(4.8, 2.15 * columns)
        one, of_many = {"bars": (2.5, 2.5), "points": (4.2, 2.3), "lines": (2.7, 1.85)}[plot.kind]
        height = rows * (one if count == 1 else of_many)
        legend = _columns(names, width)
        if plot.kind != "bars":
            height += 0.15 + 0.18 * -(-len(names) // legend)
        fig = Figure_(figsize=(width, height), layout="constrained")
        axes = fig.subplots(rows, columns, squeeze=False, sharey="y" in plot.share).ravel()
        handles: dict[str, Any] = {}
        for ax, panel in zip(axes, plot.panels, strict=False):
            (_bars if plot.kind == "bars" else _lines)(ax, plot, panel, handles)
            ax.set_title(panel.title if count > 1 else "")
        for ax in axes[count:]:
            ax.set_visible(False)
        fig.supxlabel(plot.x, fontsize=8)
        y = plot.y
        if len(y) > 15 * height:  # letters of 8 points
            y = y.replace(", ", ",\n") if ", " in y else textwrap.fill(y, len(y) // 2 + 4)
        fig.supylabel(y, fontsize=8)
        if handles and plot.kind != "bars":
            fig.legend(handles.values(), handles.keys(), loc="outside upper center", handlelength=2.6, ncols=legend)
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
    ax.set_xlim(-0.6, max(ticks[-1], 3) + 0.6)  # one bar alone is no wider than others
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
    write_whole(out, draw(plot, f"{name}: {plot.y}", out.suffix.lower()))
    return [f"{name}: {out} ({plot.y})", *plot.notes]  # the y axis: not every figure has the measure of its title


def classic(paths: list[Path], out: Path, ask: Ask | None = None) -> list[str]:
    """The five figures of CLASSIC into a folder; where layers or losses are shown, each method's best setting."""
    if not paths:
        raise WrongUse("classic needs runs; made by: minigan sweep fashion-mnist --diagnose 100")
    if out.suffix.lower() in SUFFIXES:
        raise WrongUse(f"--out {out}: classic draws {len(CLASSIC)} pictures; expected a folder")
    _matplotlib()
    found, _ = find_runs(paths)
    groups = best_of_each_method(found, (ask or Ask()).measure)
    best = [run.folder for mine in groups.values() for run in mine]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FailedWork(f"{out} cannot be made ({error.strerror or error})") from None
    drawn = len(CLASSIC)
    said = [f"but for bars: {', '.join(groups)}"]
    for name, of in CLASSIC.items():
        try:
            said += figure(of, paths if name == "bars" else best, out / f"{name}.png", ask)
        except WrongUse as error:
            said.append(f"left out: {error}")
            drawn -= 1
    if not drawn:
        raise WrongUse(f"classic: none of its figures can be drawn from these runs; {said[-1]}")
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
