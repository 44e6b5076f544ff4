"""Commands that show what runs did: report, watch."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from minigan import report, watch
from minigan.errors import WrongUse
from minigan.files import write_whole


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="the page, an .html file [RUN/report.html]")
def report_command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Show RUNS on one HTML page, side by side: choices, pictures, losses, scores, diagnostics, time.

    \b
    minigan report runs/shapes-cnn-sn
    minigan report runs/sn runs/wgan-gp --out both.html

    The file needs nothing else and no network; a run may still be going on.
    """
    if out is None and len(runs) > 1:
        raise WrongUse(f"report: {len(runs)} runs need a file for their page; give it with --out")
    out = out or runs[0] / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise WrongUse(f"--out {out}: expected an .html file")
    page = report.page(report.read(runs)).encode()
    write_whole(out, page)
    click.echo(f"{len(page) / 1e6:.1f} MB: {out}")


@click.command("watch")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="of this machine; 0: any free one [0]")
def watch_command(runs: tuple[Path, ...], port: int) -> None:
    """Serve the report of RUNS to a browser on this machine, made anew every ten seconds while they go on.

    \b
    minigan watch runs/shapes-cnn-sn
    """
    with watch.server(runs, port) as server:
        click.echo(f"http://127.0.0.1:{server.server_address[1]}/ shows {shlex.join(map(str, runs))}; Ctrl-C ends this")
        server.serve_forever()
