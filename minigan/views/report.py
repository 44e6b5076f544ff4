"""A page that shows runs: what was chosen, images, losses, scores, diagnostics, time, and the command to repeat each.

One HTML file that needs nothing else: images and charts are inside, there is no script. A run may still be going on:
its files are only read, whole lines of its logs and whole images.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from minigan.errors import WrongUse, printable
from minigan.experiment.experiment import option_name
from minigan.experiment.explain import shown
from minigan.experiment.methods import networks_of
from minigan.formats.plain_text import short, whole_characters
from minigan.formats.progress import duration
from minigan.formats.untrusted import is_number, read_at_most
from minigan.metrics import stored_scores
from minigan.studies.deviations import command, deviations, reported, rows_of_papers
from minigan.training import run_record
from minigan.training.run_record import THUMBNAILS, Log, Run, course, courses
from minigan.views.readings import OF_DIAGNOSES, OF_LAYERS, OF_LOGS, of_score
from minigan.views.svg_charts import Points, chart

MOST_RUNS = 12  # on one page
MOST_BYTES = 16 << 20  # of one image
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # no browser fetches or runs anything
STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #5c6670; --line: #d5dade; --paper: #fff; --card: #f6f8fa;
  --warn: #b3400c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa4ae; --line: #3a424b; --paper: #14181c;
  --card: #1c2126; --warn: #ff9d5c; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1120px; padding: 1.2rem; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1rem 0 .4rem; } p { margin: .3rem 0; } .soft { color: var(--soft); }
.warn { color: var(--warn); }
.runs { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.card, .chart { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem; margin: 0;
  min-width: 0; break-inside: avoid; }
.pictures { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: flex-start; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .85rem; }
img { max-width: 100%; height: auto; image-rendering: pixelated; border-radius: 4px; display: block; }
figure { margin: .6rem 0; } figcaption { font-weight: 600; font-size: .95rem; }
.chart svg:not(.key) { width: 100%; height: auto; } .chart svg text { font-size: 12px; fill: var(--soft); }
.chart .grid { stroke: var(--line); stroke-width: 1; } polyline, .key line { fill: none; stroke-width: 1.8; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .82rem; } .key { width: 24px; height: 8px;
  margin-right: .3rem; vertical-align: middle; }
.reading { color: var(--soft); font-size: .82rem; line-height: 1.4; margin: .4rem 0 0; }
details { margin: .6rem 0; } summary { cursor: pointer; } dl { margin: .4rem 0; display: grid; gap: .15rem 1rem;
  grid-template-columns: max-content 1fr; font-size: .9rem; } dt { font-weight: 600; } dd { margin: 0; }
.film { overflow-x: auto; } .film img { max-width: none; width: max(100%, 900px); }
.card > h3 { margin-top: 0; } td:first-child, td.n { white-space: nowrap; } a { color: inherit; }
td:last-child { min-width: 6rem; }
@media (max-width: 500px) { body { padding: .6rem; } .card, .chart { padding: .5rem; }
  .chart svg text { font-size: 15px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { .film img { width: 100%; } .wide { overflow: visible; } table { font-size: 7.5pt; }
  td.n, td:first-child { white-space: normal; } th, td { padding-right: .4rem; }
  body { max-width: none; padding: 0; font-size: 11pt; } }
"""


def read(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders. WrongUse for none, too many, the same twice, or a folder that is no run."""
    if not 1 <= len(folders) <= MOST_RUNS:
        raise WrongUse(f"report: expected 1 to {MOST_RUNS} runs, got {len(folders)}")
    found: list[Run] = []
    for folder in folders:
        run = run_record.read(folder)
        if any(other.folder.resolve() == folder.resolve() for other in found):
            raise WrongUse(f"report: {folder} is named twice; name each run once")
        if any(other.name == run.name for other in found):
            run = dataclasses.replace(run, name=f"{folder.resolve().parent.name}/{run.name}")
        found.append(run)
    return found


def page(found: Sequence[Run], refresh: int = 0) -> str:
    """The page as HTML text; the same for the same files. refresh: seconds after which a browser asks again."""
    title = f"minigan: {', '.join(run.name for run in found)}"
    parts = (_cards, _pictures, _alarms, _losses, _scores, _diagnostics, _choices, _time)
    body = [f"<h1>{_text(title)}</h1>", *(part(found) for part in parts)]
    meta = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return whole_characters(f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{meta}'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="icon" href="data:,">'
            f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body>\n"
            + "\n".join(part for part in body if part) + "\n</body></html>\n")


# ---- the parts of the page -----------------------------------------------------------------------------------------

def _cards(found: Sequence[Run]) -> str:
    cards = []
    for run in found:
        e = run.experiment
        what = _text(f"{e.dataset}, {networks_of(e, f' at width {e.width:g}')}, {e.loss} loss" + (
            f", gradient penalty {e.gp:g}" if e.gp else ""))
        time = f"; {duration(run.log[-1]['seconds'])}" if run.log else ""
        failure = f'<p class="warn">{_text(run.failure)}</p>' if run.failed else ""
        count = len(deviations(e))
        what += f"; <a href='#choices'>{count or 'no'} choice{'' if count == 1 else 's'}</a> of its own"
        cards.append(f'<section class="card"><h3>{_text(run.name)}</h3><p>{what}</p><p class="soft">'
                     f"{run.iteration:,} of {e.iterations:,} iterations, {run.state}{time}</p>{failure}</section>")
    return f'<div class="runs">{"".join(cards)}</div>'


def _pictures(found: Sequence[Run]) -> str:
    parts = []
    for run in found:
        inside = ""
        for name, what in (("samples.png", "newest samples"), ("film.png", "samples over time"),
                           ("nearest.png", "samples beside their nearest training images")):
            uri = address_of(run.folder / name)
            if uri:
                wide = ' class="film"' if name == "film.png" else ""
                inside += (f'<figure{wide}><img src="{uri}" alt="{what} of {_text(run.name)}">'
                           f'<figcaption class="soft">{what}</figcaption></figure>')
        if inside:
            inside = f'<div class="pictures">{inside}</div>'
        inside = inside or '<p class="soft">no images yet</p>'
        parts.append(f'<section class="card"><h3>{_text(run.name)}</h3>{inside}</section>')
    return f'<h2>Images</h2><div class="runs">{"".join(parts)}</div>'


def _losses(found: Sequence[Run]) -> str:
    logs = {run.name: run.log for run in found}
    charts = [_over_time("Losses", "loss", logs, [OF_LOGS["loss_dis"], OF_LOGS["loss_gen"]],
                         discriminator=("loss_dis",), generator=("loss_gen",)),
              _over_time("Largest |spectral norm - 1| of a layer", "|sigma - 1|", logs, [OF_LOGS["sigma_deviation"]],
                         True, _=("sigma_deviation",)),
              _over_time("Distance of thumbnails (no score)", "Frechet distance, 8 x 8", logs, [OF_LOGS[THUMBNAILS]],
                         True, _=(THUMBNAILS,)),
              _over_time("Diversity of the samples", "of the real images' = 1", logs, [OF_LOGS["diversity"]],
                         _=("diversity",))]
    names = sorted({name for log in logs.values() for name in courses(log)} - {THUMBNAILS})
    charts += [_over_time(name, name.split()[0], logs, [of_score(name)], _=("scores", name)) for name in names]
    charts += [chart(f"Spectral norms of the weights in use: {name}", _by_layer(log, "sigma"), "sigma", log=True,
                     reading=OF_LOGS["sigma"] if i == 0 else "") for i, (name, log) in enumerate(logs.items())]
    return _charts("Losses, norms, learning curves", charts)


def _diagnostics(found: Sequence[Run]) -> str:
    logs = {run.name: run.diagnoses for run in found}
    slopes = {where: ("slope", key) for key, where in (("real", "at real images"), ("fake", "at fakes"),
                                                       ("between", "between them"))}
    charts = [_over_time("Largest slopes of D, and their bound", "|gradient|", logs, [OF_DIAGNOSES["slope"]], True,
                         **slopes, bound=("lipschitz_bound",)),
              _over_time("Inactive hinge terms", "share", logs, [OF_DIAGNOSES["inactive"]], real=("inactive", "real"),
                         fake=("inactive", "fake")),
              _over_time("Discriminator's accuracy", "share", logs, [OF_DIAGNOSES["accuracy"]], _=("accuracy",)),
              _over_time("Diversity of the images", "of the real ones' = 1",
                         {run.name: run.diagnoses for run in found if not course(run.log, "diversity")},
                         [OF_LOGS["diversity"]], _=("diversity",))]
    for i, (name, log) in enumerate(logs.items()):
        charts += [chart(f"{title}: {name}", _by_layer(log, "layers", key), y, log=True,
                         reading=OF_DIAGNOSES[key] if i == 0 else "") for key, title, y in (
            ("gradient", "Norm of each layer's gradient", "|dL/dW|"), ("sigma_conv", "True norm of each layer", "norm"),
            ("variance", "Variance of each layer's weights", "variance"))]
        last = _dict(log[-1].get("layers")) if log else {}
        spectra = {layer: _spectrum(_dict(values).get("singular_values")) for layer, values in last.items()}
        charts.append(chart(f"Singular values at the end: {name}", spectra, "s / largest", "index / their number",
                            reading=OF_DIAGNOSES["singular_values"] if i == 0 else ""))
    return _charts("Diagnostics", charts) + "".join(
        _layers(name, log[-1]) for name, log in logs.items() if log) + (
        _folded("How to read these columns", OF_LAYERS) if any(logs.values()) else "")


def _layers(name: str, line: dict[str, Any]) -> str:
    """The numbers of a diagnosis's layers: what is estimated or measured beside what is exact or bounds it."""
    ratios = line["gradient_ratio"] if isinstance(line.get("gradient_ratio"), list) else []
    pairs = {str(pair["layers"][0]): pair for pair in map(_dict, ratios)
             if isinstance(pair.get("layers"), list) and pair["layers"]}
    rows = []
    for path, row in _dict(line.get("layers")).items():
        row, pair = _dict(row), pairs.get(path, {})
        bounds = row["variance_bounds"] if isinstance(row.get("variance_bounds"), list) else []
        low, high = [*bounds, None, None][:2]
        dead = _dict(row.get("saturation"))
        rows.append((path, _joined(" / ", *map(row.get, ("sigma_estimate", "sigma_meant"))),
                     _joined("", row.get("sigma_conv")) + _between(row.get("conv_lower"), row.get("conv_upper")),
                     _joined(" / ", *map(row.get, ("gradient", "gradient_bar"))), _joined("", row.get("removed")),
                     _joined("", row.get("lambda")), _joined("", row.get("variance")) + _between(low, high),
                     _joined(" / ", *map(pair.get, ("gradients", "norms"))),
                     _joined(" / ", *map(dead.get, ("negative", "dead")))))
    return _table("", f"{name}, iteration {line['iteration']:,}:",
                  ("layer", *(f"#{head}" for head in OF_LAYERS)), rows)


def _joined(between: str, *values: Any) -> str:
    """Numbers of a few digits; one dash if there are none."""
    kept = list(map(short, values))
    return "-" if set(kept) == {"-"} else between.join(kept)


def _between(low: Any, high: Any) -> str:
    return f" ({short(low)} to {short(high)})" if is_number(low) and is_number(high) else ""


def _alarms(found: Sequence[Run]) -> str:
    rows = []
    for run in found:
        seen: dict[str, list[tuple[int, str]]] = {}
        for line in sorted([*run.log, *run.diagnoses], key=lambda line: line["iteration"]):
            for alarm in line["alarms"] if isinstance(line.get("alarms"), list) else []:
                seen.setdefault(str(_dict(alarm).get("name")), []).append(
                    (line["iteration"], str(_dict(alarm).get("text"))))
        rows += [(run.name, name, f"{said[0][0]:,}", len(said), said[0][1]) for name, said in seen.items()]
    if not rows:
        count = sum(len(run.diagnoses) for run in found)
        by = f" and {count} diagnos{'i' if count == 1 else 'e'}s" if count else ""
        return f"<h2>Alarms</h2><p>None in the log{'s' * (len(found) > 1)}{by}.</p>" if any(
            run.log for run in found) else ""
    return _table("Alarms", "", ("run", "alarm", "#first at", "#times", "what it said first"), rows)


def _scores(found: Sequence[Run]) -> str:
    heads, rows, notes = stored_scores.compared([(run.name, run.scores) for run in found])
    cautions = dict.fromkeys(f"{run.name}, {one.score.name}: {text}" for run in found for one in run.scores
                             for text in one.score.cautions)
    theirs = []
    for run in found:
        for name, text, protocol, other in rows_of_papers(run.experiment):
            beside = [f"{one.score.name} {_beside(one.score.value, there)}" for one in run.scores
                      if protocol == one.score.protocol and (there := reported(text, one.score.name))]
            theirs.append((run.name, name, text, protocol or "not said", "; ".join(beside) or "-",
                           ", ".join(other) or "nothing"))
    curves = [(run.name, line) for run in found for line in run_record.last_and_best(run.log)]
    rows_there = _table("", "Reported of the same data, networks and normalization; here: how far the run is from it, "
                        "where it was measured by the same protocol.",
                        ("run", "row", "IS / FID", "protocol", "here", "the run differs in"), theirs)
    parts = (_table("", "Only what was measured in one way stands in one column.",
                    [heads[0], *(f"#{head}" for head in heads[1:])], rows)
             + "".join(f'<p class="soft">{_text(note)}</p>' for note in notes)
             + _folded("How to read these scores", {one.score.name: of_score(one.score.name)
                                                    for run in found for one in run.scores})
             + "".join(f'<p class="warn">{_text(text)}</p>' for text in cautions)
             + _table("", "While it trained (--score-every):", ("run", "score"), curves) + rows_there)
    return f"<h2>Scores</h2>{parts}" if parts else ""


def _beside(value: float, there: tuple[float, float | None]) -> str:
    """How far a score is from the reported one, and in how many of its spreads."""
    mean, spread = there
    return f"{value - mean:+.2f}" + ("" if spread is None else f", {abs(value - mean) / spread:.1f} spreads")


def _choices(found: Sequence[Run]) -> str:
    parts = []
    for run in found:
        e = run.experiment
        base = f"profile {e.profile}" if e.profile else f"what minigan trains {e.dataset} with"
        base += f", setting {e.setting}" if e.setting else ""
        rows = [(option_name(name), shown(value), shown(before), source) for name, value, before, source
                in deviations(e)]
        repeat = (f"<p>Imported from {_text(run.imported)}; the files do not say all of how it was trained.</p>"
                  if run.imported else f"<p>To repeat it:</p><pre>{_text(command(e))}</pre>")
        table = _table("", f"What differs from {base}:", ("option", "here", "there", "source of that"), rows)
        parts.append(f"<h3>{_text(run.name)}</h3>{table or f'<p>Nothing differs from {_text(base)}.</p>'}{repeat}")
    return '<h2 id="choices">Choices</h2>' + "".join(parts)


def _time(found: Sequence[Run]) -> str:
    rows = []
    for run in found:
        seconds, iteration = (run.log[-1]["seconds"], run.log[-1]["iteration"]) if run.log else (0, 0)
        machine = "{processor}, {cores} cores; minigan {minigan}, NumPy {numpy}, Python {python}".format_map(
            {key: run.machine.get(key, "?") for key in ("processor", "cores", "minigan", "numpy", "python")})
        looking = sum(line["seconds"] for line in run.diagnoses)
        rows.append((run.name, duration(seconds), f"{100 * seconds / iteration:.1f} s" if iteration > 0 else "-",
                     f"{looking:.1f} s" if run.diagnoses else "-", machine))
    return _table("Time", "", ("run", "#in all", "#100 iterations", "#diagnoses", "machine"), rows)


# ---- tables, charts, values ----------------------------------------------------------------------------------------

def _table(title: str, remark: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; "" without rows. A head with # before it: numbers, to the right."""
    if not rows:
        return ""
    kinds = [' class="n"' if head.startswith("#") else "" for head in heads]
    lines = ["".join(f"<th{kind}>{_text(head.lstrip('#'))}</th>" for kind, head in zip(kinds, heads, strict=True))]
    lines += ["".join(f"<td{kind}>{_text(value)}</td>" for kind, value in zip(kinds, row, strict=True)) for row in rows]
    return ((f"<h2>{_text(title)}</h2>" if title else "") + (f'<p class="soft">{_text(remark)}</p>' if remark else "")
            + '<div class="wide"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>")


def _folded(title: str, readings: Mapping[str, str]) -> str:
    """Sentences by the names of what they are of, folded: who knows them shall see the numbers. "" without one."""
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in readings.items() if text)
    return f"<details><summary>{title}</summary><dl>{items}</dl></details>" if items else ""


def _charts(title: str, charts: Sequence[str]) -> str:
    inside = "".join(charts)
    return f'<h2>{title}</h2><div class="charts">{inside}</div>' if inside else ""


def _over_time(title: str, y: str, logs: Mapping[str, Log], readings: Sequence[str], log: bool = False,
               **lines: tuple[str, ...]) -> str:
    """Of one run, a chart with these lines: name=(keys, one inside the other); of several, for each a line by run.

    readings: one for all lines, below the first chart, or one for each.
    """
    if len(logs) == 1:
        (only,) = logs.values()
        return chart(title, {name: _points(only, *keys) for name, keys in lines.items()}, y, log=log,
                     reading=" ".join(readings))
    return "".join(chart(title if len(lines) == 1 else f"{title}: {name}",
                         {run: _points(of_run, *keys) for run, of_run in logs.items()}, y, log=log, reading=reading)
                   for (name, keys), reading in zip(lines.items(), [*readings, *[""] * len(lines)], strict=False))


def _points(lines: Log, *keys: str) -> Points:
    """(iteration, value) of each line that has a number there."""
    return list(course(lines, *keys).items())


def _by_layer(lines: Log, outer: str, *inner: str) -> dict[str, Points]:
    """For each of at most 24 layers that the last line has under `outer`: its points."""
    layers = list(_dict(lines[-1].get(outer)))[:24] if lines else []
    return {layer: _points(lines, outer, layer, *inner) for layer in layers}


def _spectrum(values: Any) -> Points:
    """Singular values over the largest, against their place from 0 to 1."""
    kept = [value for value in values if is_number(value)] if isinstance(values, list) else []
    if not kept or max(kept) <= 0:
        return []
    return [(i / max(1, len(kept) - 1), value / max(kept)) for i, value in enumerate(sorted(kept, reverse=True))]


def address_of(path: Path) -> str:
    """A PNG file as a data address; "" if there is none, or what is there is no image of sane size."""
    try:
        data = read_at_most(path, MOST_BYTES)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return html.escape(printable(str(value)))
