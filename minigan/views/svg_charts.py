"""Line charts as SVG text, to be put into a page: no scripts, and the page's own colours and type.

A chart is as wide as its column; its lines are told apart by colour and by dashes, so that a print in grey serves, too.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping, Sequence

from minigan.errors import printable

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 460, 250  # units of the drawing; a page scales it
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 12, 40
# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow, which is too light for a line.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MOST_POINTS = 400  # of a line; more than a screen shows


def chart(title: str, lines: Mapping[str, Points], y: str, x: str = "iteration", log: bool = False,
          reading: str = "") -> str:
    """A figure with a caption, the lines by name over one pair of axes, and a legend; "" without a point to draw.

    log: a logarithmic y axis, on which zero and less are left out. Infinite and nan points are left out, too, and those
    beyond 1e300, whose distance could not be computed.
    reading: a sentence below the chart.
    """
    kept = {name: [(a, b) for a, b in points if abs(a) < 1e300 and abs(b) < 1e300 and (b > 1e-300 or not log)]
            for name, points in lines.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    flat = [point for points in kept.values() for point in points]
    x_ticks = ticks(min(a for a, _ in flat), max(a for a, _ in flat))
    lows, highs = min(b for _, b in flat), max(b for _, b in flat)
    log = log and highs > 5 * lows  # less shows best on a plain axis
    y_ticks = decades(lows, highs) if log else ticks(lows, highs)
    x_range = min(x_ticks[0], min(a for a, _ in flat)), max(x_ticks[-1], max(a for a, _ in flat))
    y_range = min(y_ticks[0], lows), max(y_ticks[-1], highs)

    def place(a: float, b: float) -> tuple[float, float]:
        return (LEFT + _share(a, *x_range) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - _share(b, *y_range, log=log) * (HEIGHT - TOP - BOTTOM))

    drawn = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{_text(title)}</title>']
    for tick, said in zip(y_ticks, labels(y_ticks), strict=True):
        _, height = place(x_range[0], tick)
        drawn += [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>',
                  f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{said}</text>']
    for tick, said in zip(x_ticks, labels(x_ticks), strict=True):
        left, _ = place(tick, y_range[0])
        drawn.append(f'<text x="{left:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{said}</text>')
    drawn += [f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{_text(x)}'
              "</text>",
              f'<text x="{-(TOP + HEIGHT - BOTTOM) / 2:.0f}" y="13" transform="rotate(-90)" text-anchor="middle">'
              f'{_text(y)}</text>']
    legend = []
    for i, name in enumerate(lines):  # a line that has no points keeps its colour, so that others keep theirs
        if name not in kept:
            continue
        points = kept[name]
        style = f'stroke="{COLOURS[i % len(COLOURS)]}" stroke-dasharray="{DASHES[i // len(COLOURS) % len(DASHES)]}"'
        at = [place(a, b) for a, b in thinned(points)]
        if len(at) == 1:
            drawn.append(f'<circle cx="{at[0][0]:.1f}" cy="{at[0][1]:.1f}" r="3" fill="{COLOURS[i % len(COLOURS)]}"/>')
        else:
            drawn.append(f'<polyline {style} points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}"/>')
        legend.append('<span><svg viewBox="0 0 24 8" class="key" aria-hidden="true"><line x1="0" x2="24" y1="4" y2="4" '
                      f"{style}/></svg>{_text(name)}</span>")
    drawn.append("</svg>")
    names = f'<p class="legend">{" ".join(legend)}</p>' if len(kept) > 1 else ""
    text = f'<p class="reading">{_text(reading)}</p>' if reading else ""
    return f'<figure class="chart"><figcaption>{_text(title)}</figcaption>{"".join(drawn)}{names}{text}</figure>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that span [low, high] in about so many steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (step * factor) - about))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def decades(low: float, high: float, most: int = 6) -> list[float]:
    """Powers of ten that span [low, high], at most so many and equally far apart; if they are few, 2 and 5 between."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    if last - first <= 2:
        between = [digit * 10.0 ** power for power in range(first, last + 1) for digit in (1, 2, 5)]
        below = max((tick for tick in between if tick <= low), default=between[0])
        above = min((tick for tick in between if tick >= high and tick > below), default=between[-1])
        return [tick for tick in between if below <= tick <= above]
    apart = -(-(last - first) // (most - 1))
    return [10.0 ** power for power in range(first, last + apart, apart)]


def labels(values: list[float]) -> list[str]:
    """The ticks' numbers, rising, such as 0.5, 2000, 1e-06: with as many digits as their distance needs."""
    apart = min((after - before for before, after in itertools.pairwise(values)), default=math.inf)
    for more in range(12):
        found = [_label(value, more) for value in values]
        if all(abs(float(text) - value) < apart / 100 for text, value in zip(found, values, strict=True)):
            break
    return found


def _label(value: float, more: int) -> str:
    whole = value == int(value) and abs(value) < 1e6
    return f"{value:.0f}" if whole else f"{value:.{(3 if abs(value) < 1 else 5) + more}g}"


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most MOST_POINTS of them: of each stretch its lowest and its highest, so that no peak is lost."""
    if len(points) <= MOST_POINTS:
        return list(points)
    kept: list[tuple[float, float]] = []
    stretches = MOST_POINTS // 2
    for i in range(stretches):
        part = points[i * len(points) // stretches:(i + 1) * len(points) // stretches]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept


def _share(value: float, low: float, high: float, log: bool = False) -> float:
    """Where between low and high the value lies, from 0 to 1."""
    if log:
        value, low, high = math.log10(value), math.log10(low), math.log10(high)
    return (value - low) / (high - low) if high > low else 0.5


def _text(text: str) -> str:
    return html.escape(printable(text))
