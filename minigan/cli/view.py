"""Commands that show what runs did: diagnose, figure, log, report, watch."""

from __future__ import annotations

import json
import os
import shlex
from functools import partial
from pathlib import Path

import click

from minigan.cli.choices import Names, RunFolder
from minigan.cli.help import Command, echo
from minigan.data.datasets import DATASETS
from minigan.errors import FailedWork, WrongUse, counted
from minigan.formats.progress import to_stderr
from minigan.formats.whole import write_whole
from minigan.training import opening, run_folder, run_record
from minigan.training.diagnosis import diagnostics
from minigan.views import diagnosis_table, log_table, report, watch
from minigan.views.figures import catalogue
from minigan.views.figures.plots import Ask


@click.command("report", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=RunFolder())
@click.option("--out", type=click.Path(path_type=Path), help="the page, an .html file [RUN/report.html]")
def report_command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Show runs on one HTML page: choices, images, losses, scores.

    \b
    minigan report runs/shapes-cnn-sn
    minigan report runs/sn runs/wgan-gp --out both.html

    Several runs stand side by side. The file needs nothing else and no network; a run may still be going on.
    """
    if out is None and len(runs) > 1:
        raise WrongUse(f"report: {len(runs)} runs need a file for their page; give it with --out")
    out = out or runs[0] / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise WrongUse(f"--out {out}: expected an .html file")
    page = report.page(report.read(runs)).encode()
    write_whole(out, page)
    echo(f"{len(page) / 1e6:.1f} MB: {out}")


@click.command("watch", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=RunFolder())
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="of this machine; 0: any free one [0]")
def watch_command(runs: tuple[Path, ...], port: int) -> None:
    """Serve the report of runs to a browser while they go on.

    \b
    minigan watch runs/shapes-cnn-sn

    The page is for browsers on this machine, and is made anew every ten seconds.
    """
    with watch.server(runs, port) as server:
        echo(f"http://127.0.0.1:{server.server_address[1]}/ shows {shlex.join(map(str, runs))}; Ctrl-C ends this")
        server.serve_forever()


@click.command("log", cls=Command)
@click.argument("run", type=RunFolder())
@click.option("--last", default=20, type=click.IntRange(1, 10_000), help="how many of the newest lines [20]")
@click.option("--csv", metavar="FILE", type=click.Path(allow_dash=True), help="write all lines and all numbers into a "
              ".csv file instead, or with - to the standard output")
def log_command(run: Path, last: int, csv: str | None) -> None:
    """Print what a run has logged: losses, norms, scores.

    \b
    minigan log runs/shapes-cnn-sn
    minigan log runs/shapes-cnn-sn --csv log.csv
    minigan log runs/shapes-cnn-sn --csv - | head

    A run may still be going on. In the CSV nested names are joined by /, as in sigma/conv1, and what a line has not is
    empty. The same rows in Python: pandas.DataFrame(minigan.load(RUN).rows).
    """
    log = run_record.read(run).log
    if csv is not None and csv != "-" and Path(csv).suffix.lower() != ".csv":
        raise WrongUse(f"--csv {csv}: expected a name that ends with .csv, or - for the standard output")
    if not log:
        raise FailedWork(f"{run} was imported, and has no log: nobody trained it here" if run_folder.imported_from(run)
                         else f"{run} has logged nothing yet; minigan train writes the first line after --log-every "
                         "iterations")
    if csv == "-":
        echo(log_table.csv_text(log), nl=False)
    elif csv is not None:
        write_whole(Path(csv), log_table.csv_text(log).encode())
        echo(f"{counted(len(log), 'line')}: {csv}")
    else:
        echo("\n".join([*log_table.table(log, last), "", *log_table.legend(log)]))


@click.command("figure", cls=Command)
@click.argument("name", required=False, metavar="[NAME]",
                type=Names("figure", lambda: ["classic", *catalogue.FIGURES], free=True))
@click.argument("runs", nargs=-1, type=RunFolder())
@click.option("--out", type=click.Path(path_type=Path), help="a .png or an .svg; for classic a folder [of one "
              "run, or folder of runs: in it, such as RUN/sn-gan-9.png]")
@click.option("--measure", default="", help="the score of images to draw, as the logs name it, or thumbnails")
@click.option("--at", type=int, metavar="ITERATION", help="of figures that show one moment [the last]")
@click.option("--list", "only_list", is_flag=True, help="all figures, what each needs, and how to make it")
def figure_command(name: str | None, runs: tuple[Path, ...], out: Path | None, measure: str, at: int | None,
                   only_list: bool) -> None:
    """Draw a figure of the papers from your own runs.

    RUNS are runs, or folders of runs such as a sweep's.

    \b
    minigan figure --list
    minigan figure sn-gan/9 runs/cifar10-cnn-sn --out norms.png
    minigan figure sn-gan/2 runs/sweep-fashion-mnist --out bars.svg
    minigan figure classic runs/sweep-fashion-mnist --out figures

    "classic" draws a set of five into a folder: bars over settings, singular values, spectral norms, gradients, losses.
    Needs matplotlib: pip install "minigan[plot]".
    """
    if only_list or name is None:
        echo("\n".join(catalogue.listing()))
        return
    ask = Ask(measure, at)
    if out is None:
        out = _place_of(name, runs)
    made = catalogue.classic if name == "classic" else partial(catalogue.figure, name)
    lines = made(list(runs), out, ask)
    echo("\n".join(lines))


def _place_of(name: str, runs: tuple[Path, ...]) -> Path:
    """Where a figure is drawn that was told no place: in the folder of what it shows."""
    file = "classic" if name == "classic" else name.replace("/", "-") + ".png"
    if len(runs) == 1:
        return runs[0] / file
    if runs or name in catalogue.FIGURES and catalogue.FIGURES[name].needs == "no runs":
        raise WrongUse(f"figure: say with --out where to draw {name}, such as --out {file}")
    return Path(file)  # it will be refused: without runs there is nothing to draw


@click.command("diagnose", cls=Command)
@click.argument("run", type=RunFolder())
@click.option("--data-root", type=click.Path(), help="folder in which the data lies, if not where the run had it")
@click.option("--data", type=Names("data set", lambda: DATASETS), help="data set to look with, of an imported run")
@click.option("--json", "as_json", is_flag=True, help="one JSON object, as a line of diagnostics.jsonl")
def diagnose_command(run: Path, data_root: str | None, data: str | None, as_json: bool) -> None:
    """Look into a discriminator: norms, gradients, slopes, alarms.

    \b
    minigan diagnose runs/shapes-cnn-sn

    It is that of the run's newest checkpoint; each layer has a row. minigan train --diagnose N writes the same while it
    trains, every N iterations.
    """
    where = os.path.abspath(os.path.expanduser(data_root)) if data_root else None
    training, remarks = opening.opened(run_record.read(run), where, quiet=True, data=data)
    for line in remarks:
        to_stderr(line)
    found = diagnostics.diagnose(training)
    echo(json.dumps(found) if as_json else "\n".join(diagnosis_table.table(found)))
