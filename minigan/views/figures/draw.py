"""Draws a plot's panels with matplotlib, imported only then; the same numbers give the same bytes under one version.

A method has one colour and one marker everywhere (Okabe and Ito's palette, and others that colour-blind readers tell
apart), layers go from dark to light, and legends stand outside the axes.
"""

from __future__ import annotations

import functools
import io
import math
import textwrap
from typing import Any

from minigan.errors import WrongUse, printable
from minigan.views.figures.plots import (
    Panel,
    Plot,
    Series,
)

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

LETTER, LINE = 0.06, 0.14  # inches: the mean width of a letter of 8 points, the height of a line


def draw(plot: Plot, title: str, suffix: str) -> bytes:
    """The image as a PNG or an SVG: the same bytes for the same plot, without dates."""
    matplotlib, Figure_ = import_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's: the same bytes for everybody
        matplotlib.rcParams.update(LOOK)
        count = len(plot.panels)
        columns = 1 if plot.kind == "bars" else 3 if count == 6 else min(count, COLUMNS)
        rows = -(-count // columns)
        bars = max(sum(len(s.y) for s in panel.series) for panel in plot.panels)
        width = max(4.8, 0.24 * bars + 1.2) if plot.kind == "bars" else max(4.8, 2.15 * columns)
        one, of_many = {"bars": (2.5, 2.5), "points": (4.2, 2.3), "lines": (2.7, 1.85)}[plot.kind]
        height = rows * (one if count == 1 else of_many)
        names = {series.name: _wrapped(series.name, width - 0.6) for panel in plot.panels for series in panel.series
                 if series.name}
        legend = _columns(list(names.values()), width)
        if plot.kind != "bars":
            height += 0.15 + 0.18 * -(-len(names) // legend) + LINE * sum(text.count("\n") for text in names.values())
        titles = [_wrapped(panel.title, width / columns - 0.3) if count > 1 else "" for panel in plot.panels]
        height += rows * LINE * max(text.count("\n") for text in titles)
        fig = Figure_(figsize=(width, height), layout="constrained")
        axes = fig.subplots(rows, columns, squeeze=False, sharey="y" in plot.share).ravel()
        handles: dict[str, Any] = {}
        for ax, panel, text in zip(axes, plot.panels, titles, strict=False):
            (_bars if plot.kind == "bars" else _lines)(ax, plot, panel, handles)
            ax.set_title(text)
        for ax in axes[count:]:
            ax.set_visible(False)
        fig.supxlabel(plot.x, fontsize=8)
        y = printable(plot.y)
        if len(y) > 15 * height:  # letters of 8 points
            y = y.replace(", ", ",\n") if ", " in y else textwrap.fill(y, len(y) // 2 + 4)
        fig.supylabel(y, fontsize=8)
        if handles and plot.kind != "bars":
            fig.legend(handles.values(), [names[name] for name in handles], loc="outside upper center",
                       handlelength=2.6, ncols=legend)
        data = io.BytesIO()
        said = {"Title": title, "Description": "; ".join(plot.notes)}
        blank = {"Software": None} if suffix == ".png" else {"Date": None, "Creator": None}
        written = {name: printable(text) for name, text in said.items() if text} | blank
        fig.savefig(data, format=suffix[1:], metadata=written)
        return data.getvalue()


def _wrapped(text: str, width: float) -> str:
    """On as many lines of `width` inches as it takes; a word that is longer is cut."""
    return textwrap.fill(printable(text), max(8, int(width / LETTER)))


def _columns(names: list[str], width: float) -> int:
    """Of a legend above an image `width` inches wide: as few rows as fit, of equal length."""
    for rows in range(1, len(names)):
        columns = -(-len(names) // rows)
        widths = [max((len(line) for name in names[i * rows:(i + 1) * rows] for line in name.split("\n")), default=0)
                  for i in range(columns)]
        if sum(LETTER * letters + 0.6 for letters in widths) <= width:
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
                below, above = _spread(plot, series)
                low = [y - s for y, s in zip(series.y, below, strict=True)]
                high = [y + s for y, s in zip(series.y, above, strict=True)]
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
    ticker = import_matplotlib()[0].ticker
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
        ax.bar(places, heights, 0.7, color=colour, edgecolor="black", linewidth=0.4,
               yerr=_spread(plot, series) if any(series.spread or ()) else None,
               error_kw={"elinewidth": 0.8, "capsize": 1.5})
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


def _spread(plot: Plot, series: Series) -> tuple[list[float], list[float]]:
    """How far a series' band or error bars reach below it and above it; not below 0 where y cannot be."""
    assert series.spread is not None, "a series with a band or bars"
    spread = [float(s) for s in series.spread]
    return [s if plot.signed else min(s, max(float(y), 0.0)) for s, y in zip(spread, series.y, strict=True)], spread


def _style(series: Series) -> tuple[str, str]:
    """Colour and marker of a series: its method's, its layer's from dark to light, a bound's grey."""
    if series.bound:
        return "#666666", ""
    if series.place is not None:
        r, g, b, _ = import_matplotlib()[0].colormaps["viridis"](0.85 * series.place)
        return f"#{round(255 * r):02x}{round(255 * g):02x}{round(255 * b):02x}", ""
    return STYLES.get(series.method.split("+")[-1], ("#444444", "."))


@functools.cache
def import_matplotlib() -> tuple[Any, Any]:
    """matplotlib and its class of figures, which needs no window system."""
    try:
        import matplotlib
        import matplotlib.ticker
        from matplotlib.figure import Figure as Drawn
    except ImportError as error:
        raise WrongUse(f'drawing needs matplotlib ({error}): pip install "minigan[plot]"') from None
    return matplotlib, Drawn
