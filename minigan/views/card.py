"""A run at a glance, as HTML for a notebook's output: what it is, how far it came, its samples and its losses."""

from __future__ import annotations

import html

from minigan.errors import printable
from minigan.experiment.methods import networks_of
from minigan.formats.plain_text import short, whole_characters
from minigan.formats.progress import duration
from minigan.studies.deviations import deviations
from minigan.training.run_record import Run, course
from minigan.views.report import address_of
from minigan.views.svg_charts import chart

MOST_SCORES = 8
# For this card alone, and in the colours of the notebook's theme.
STYLE = """
.minigan-run { max-width: 900px; line-height: 1.4; } .minigan-run p { margin: .2em 0; }
.minigan-run .soft { opacity: .7; } .minigan-run .warn { color: #c2410c; }
.minigan-run .parts { display: flex; flex-wrap: wrap; gap: 1.2em; align-items: flex-start; }
.minigan-run img { width: 300px; max-width: 100%; height: auto; image-rendering: pixelated; margin: .4em 0; }
.minigan-run figure { width: 400px; max-width: 100%; margin: .4em 0; } .minigan-run figcaption { font-weight: 600; }
.minigan-run svg:not(.key) { width: 100%; height: auto; }
.minigan-run svg text { font-size: 12px; fill: currentColor; opacity: .8; }
.minigan-run .grid { stroke: currentColor; opacity: .2; }
.minigan-run polyline, .minigan-run .key line { fill: none; stroke-width: 1.8; }
.minigan-run .legend { display: flex; gap: 1em; font-size: .85em; }
.minigan-run .key { width: 24px; height: 8px; margin-right: .3em; vertical-align: middle; }
"""


def card(run: Run) -> str:
    """The run as one <div> that needs no script and no file; its own choices, as `minigan report` has them, by name."""
    e, lines = run.experiment, []
    time = f" in {duration(run.log[-1]['seconds'])}" if run.log else ""
    lines.append(f"<b>{_text(run.name)}</b>: {run.iteration:,} of {e.iterations:,} iterations{time}, {run.state}")
    own = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value, _, _ in deviations(e) if name not in ("data_root", "iterations"))
    lines.append(f'<span class="soft">{_text(f"{e.dataset}, {networks_of(e)}, {e.loss} loss")}'
                 f"{_text(f'; chosen: {own}') if own else ''}</span>")
    if run.failure:
        lines.append(f'<span class="warn">{_text(run.failure)}</span>')
    alarms = run.log[-1].get("alarms") if run.log else None
    for alarm in alarms if isinstance(alarms, list) else []:
        lines.append(f'<span class="warn">{_text(alarm.get("text") if isinstance(alarm, dict) else alarm)}</span>')
    newest = {one.score.name: f"{one.score.name} {short(one.score.value)} ({one.score.protocol})" for one in run.scores}
    if newest:
        lines.append(_text(", ".join(list(newest.values())[:MOST_SCORES])))
    losses = {who: list(course(run.log, key).items()) for who, key in (("discriminator", "loss_dis"),
                                                                      ("generator", "loss_gen"))}
    samples = address_of(run.folder / "samples.png")
    drawn = f'<img src="{samples}" alt="newest samples">' if samples else ""
    head = "".join(f"<p>{line}</p>" for line in lines)
    return whole_characters(
        f'<div class="minigan-run"><style>{STYLE}</style>{head}'
        f'<div class="parts">{drawn}{chart("Losses", losses, "loss")}</div></div>')


def _text(value: object) -> str:
    return html.escape(printable(str(value)))
