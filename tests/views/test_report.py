"""The report: what it says of a run is what the run's files say, and a browser shows it whole."""

import html.parser
import http.client
import json
import os
import shlex
import shutil
import socket
import struct
import threading
import time
import xml.etree.ElementTree as ET

import click
import numpy as np
import pytest
from tiny import pictures, tiny, words

from minigan.cli import commands, main
from minigan.cli.train import train_command
from minigan.errors import FailedWork, WrongUse
from minigan.experiment.experiment import learned
from minigan.experiment.presets import compose, experiment
from minigan.metrics import stored_scores
from minigan.metrics.stored_scores import Score, Stored
from minigan.studies import deviations
from minigan.training import run_folder, run_record
from minigan.training.diagnosis.diagnostics import diagnose
from minigan.training.gan import Training
from minigan.training.recording import sample_grids
from minigan.views import card, readings, report, svg_charts, watch

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
    """The tags of a page; balanced, or it fails."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def make_run(folder, lines=60, diagnoses=True, **chosen):
    """A run's folder as minigan train leaves it, with a diagnosis every 20 iterations."""
    e = experiment("shapes", iterations=lines, **chosen)
    run_folder.create(folder, e, {"machine": {"processor": "a processor", "cores": 2}})
    run_folder.write_done(folder, True)
    run_folder.prepare(folder)
    log = run_folder.Log(folder, 0)
    for i in range(1, lines + 1):
        log.add(iteration=i, seconds=i / 2, loss_dis=2 - i / lines, loss_gen=float(np.sin(i)), sigma_deviation=1 / i,
                sigma={"conv1": 1.0, "dense": 1 + 1 / i}, thumbnails=5 / i)
    rng = np.random.default_rng(0)
    for i in (0, lines):
        sample_grids.save_samples(folder, i, rng.integers(0, 256, (16, 8, 8, 3), np.uint8))
    sample_grids.save_progress(folder, lines)
    if diagnoses:
        layer = {"gradient": 0.1, "sigma_conv": 2.0, "variance": 1e-3, "singular_values": [2.0, 1.0, 0.5]}
        (folder / "diagnostics.jsonl").write_text("".join(json.dumps(
            {"iteration": i, "seconds": 0.1, "layers": {"conv1": layer, "dense": layer}, "lipschitz_bound": 4.0,
             "slope": {"real": 0.5, "fake": 0.4, "between": 0.3}, "inactive": {"real": 0.1, "fake": 0.9},
             "accuracy": 0.8, "diversity": 0.7,
             "alarms": [{"name": "saturated discriminator", "text": "90 % <inactive>"}]}) + "\n" for i in (20, 40, 60)))
    return folder


def chosen_by(command):
    """The options that a command line of minigan train gives."""
    words = shlex.split(command)
    assert words[:2] == ["minigan", "train"]
    context = train_command.make_context("train", words[2:])
    return {name: value for name, value in context.params.items()
            if value is not None and name not in ("out", "overwrite", "resumed", "tensorboard", "quiet", "verbose")}


@pytest.mark.parametrize("dataset, chosen", [
    ("shapes", {}), ("shapes", {"lr": 1e-3}), ("shapes", {"lr": 7e-4}), ("shapes", {"lr_dis": 1e-3}),
    ("shapes", {"lr": 1e-3, "lr_dis": 3.5e-4}),
    ("cifar10", {"norm": "wn", "lr": 3e-4}), ("cifar10", {"profile": "bssn", "setting": "D"}),
    ("cifar10", {"model": "resnet", "dequantize": False, "gen_batch_size": 64, "seed": 5}),
    ("cifar10", {"profile": "sngan-projection", "model": "resnet", "norm": "ssn", "scale": 1.2}),
    ("fashion-mnist", {"u_gradient": True, "width": 0.3, "norm": "sn"}),
    ("celeba", {"data_root": "a folder", "crop": 178}), ("cifar10", {"accumulate": 4})])
def test_the_command_of_a_report_makes_the_same_experiment(dataset, chosen):
    e = experiment(dataset, **chosen)
    again, _ = compose(**chosen_by(deviations.command(e)))
    assert learned(again) == learned(e)


def test_what_the_profile_says_is_no_deviation():
    assert deviations.deviations(experiment("cifar10", profile="paper")) == []
    assert [row[:3] for row in deviations.deviations(experiment("cifar10", profile="paper", lr=1e-3))] \
        == [("lr", 1e-3, 2e-4)]


def test_the_papers_row_is_found_by_what_was_trained():
    rows = deviations.rows_of_papers(experiment("cifar10", profile="paper", norm="sn", loss="hinge"))
    assert ("sn-gan/table2/cifar10/cnn/sn-hinge", "7.58±.12 / 25.5") in [row[:2] for row in rows]
    assert deviations.rows_of_papers(experiment("shapes")) == []
    small = deviations.rows_of_papers(
        experiment("cifar10", profile="paper", norm="sn", loss="hinge", width=0.5, n_dis=5))
    assert ["--width", "--n-dis"] in [row[3] for row in small]


@pytest.mark.parametrize("score, is_, fid", [
    ("7.42±.08 / 29.3", (7.42, 0.08), (29.3, None)), ("12.84±.33 / 75.06±2.38", (12.84, 0.33), (75.06, 2.38)),
    ("- / 9.43±.09", None, (9.43, 0.09)), ("29.7 / -", (29.7, None), None), ("collapsed", None, None)])
def test_a_rows_score_is_read_with_its_spread(score, is_, fid):
    assert (deviations.reported(score, "IS"), deviations.reported(score, "FID")) == (is_, fid)


def test_a_score_stands_beside_the_papers_row_of_its_protocol(tmp_path):
    """7.12 (.07) and 31.43 (.90): Lin et al. 2021, Table 1, CIFAR-10, SN."""
    run = tmp_path / "run"
    run_folder.create(run, experiment("cifar10", profile="bssn", norm="sn", width=0.5), {})
    run_folder.write_done(run, True)
    for protocol, iteration, caution in (("bssn", 5, "few"), ("bssn at 500 pictures", 6, "")):
        scores = [Score(name, value, None, protocol, "inception", "0123456789abcdef", "tf", "float", 5000, 10_000, 0, 7,
                        "cifar10 train", (caution,) if caution else ())
                  for name, value in (("IS", 6.91), ("FID", 40.43))]
        stored_scores.append(run / "scores.json", [Stored(one, iteration) for one in scores])
    text = Page(report.page(report.read([run]))).text
    assert text.count("IS -0.21, 3.0 spreads; FID +9.00, 10.0 spreads") == 1
    assert "--width" in text and "run, FID: few" in text and "0123456789ab" in text


def test_layers_are_shown_with_what_bounds_them(tmp_path):
    """A real diagnosis: its numbers are on the page."""
    training = Training(tiny(norm="sn"), np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8))
    training.iterate()
    found = diagnose(training)
    run = make_run(tmp_path / "run", 1, diagnoses=False)
    (run / "diagnostics.jsonl").write_text(json.dumps(found) + "\n")
    text = Page(report.page(report.read([run]))).text
    for row in found["layers"].values():
        assert f"{row['sigma_estimate']:.3g} / {row['sigma_meant']:.3g}" in text and f"{row['lambda']:.3g}" in text
        assert f"{row['sigma_conv']:.3g} ({row['conv_lower']:.3g} to {row['conv_upper']:.3g})" in text
    for pair in found["gradient_ratio"]:
        assert f"{pair['gradients']:.3g} / {pair['norms']:.3g}" in text
    assert found["alarms"] or "None in the log and 1 diagnosis." in text


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two runs, to be read only."""
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / "a"), make_run(folder / "b", norm="wn")]


def test_a_page_is_whole_and_fetches_nothing(both):
    text = report.page(report.read(both))
    page = Page(text)
    assert text == report.page(report.read(both))
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in page.found}
    addresses = [at[key] for _, at in page.found for key in ("src", "href") if key in at]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert "http:" not in text and "https:" not in text
    for said in ("a", "b", "Losses: discriminator", "Largest slopes of D, and their bound: at real images",
                 "saturated discriminator", "90 % <inactive>", "minigan train shapes --norm wn", "30 s",
                 "a processor, 2 cores"):
        assert said in page.text
    assert sum(tag == "img" for tag, _ in page.found) == 4  # newest samples and film, of each


def test_what_is_shown_says_how_to_read_it_and_what_is_not_shown_does_not(tmp_path):
    """Once each, however many runs there are."""
    runs = [make_run(tmp_path / name) for name in "ab"]
    text = Page(report.page(report.read(runs))).text
    logs = {name: text for name, text in readings.OF_LOGS.items() if name != "diversity"}
    for sentence in {*logs.values(), *readings.OF_DIAGNOSES.values(), *readings.OF_LAYERS.values(),
                     readings.OF_LOGS["diversity"]}:
        assert text.count(sentence) == 1, sentence
    assert "How to read these scores" not in text
    score = Score("gap of D", 0.5, 0.1, "discriminator", "", "", "", "", 100, 0, 0, 0, "shapes train")
    stored_scores.append(runs[1] / "scores.json", [Stored(score, 60)])
    text = Page(report.page(report.read(runs))).text
    assert "How to read these scores" in text and text.count(readings.OF_SCORES["gap of D"]) == 1
    assert readings.OF_SCORES["FID"] not in text
    plain = Page(report.page(report.read([make_run(tmp_path / "plain", diagnoses=False)]))).text
    assert not any(sentence in plain for sentence in readings.OF_DIAGNOSES.values())


def test_a_new_run_and_a_damaged_one_make_a_page(tmp_path):
    fresh = tmp_path / "fresh"
    run_folder.create(fresh, experiment("shapes"), {})
    odd = make_run(tmp_path / "odd", lines=3, diagnoses=False)
    (odd / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with (odd / "log.jsonl").open("a") as file:
        file.write('{"iteration": 4, "seconds": 2, "loss_dis": NaN, "loss_gen": "x", "sigma": [1], "scores": 3}\n'
                   '{"iteration": 5, "seconds": 2, "scores": {"FID \\ud800": 3}, "alarms": [{"name": "\\ud800"}]}\n'
                   '{"ite')
    (odd / "diagnostics.jsonl").write_text(
        '{"iteration": 4, "seconds": 1, "layers": [], "alarms": {"a": 1}, "slope": 2, "gradient_ratio": 5}\n'
        '{"iteration": 5, "seconds": 1, "layers": {"a": 3}, "gradient_ratio": [1, {"layers": 2}, {"layers": []}]}\n')
    page = Page(report.page(report.read([fresh, odd])).encode().decode())
    assert "FID \\ud800" in page.text and card.card(run_record.read(odd)).encode()
    assert "no images yet" in page.text and "Losses: discriminator" in page.text
    assert sum(tag == "img" for tag, _ in page.found) == 1  # the film


def test_a_diverged_run_is_shown_as_failed_with_what_was_not_finite(tmp_path, capsys):
    data, out = pictures(tmp_path / "data"), tmp_path / "run"
    assert main.run([*words(data, out, norm="none", lr=1e6), "-q"]) == 1
    why = capsys.readouterr().err.removeprefix("minigan: ").strip()
    text = Page(report.page(report.read([out]))).text
    assert "not finite at iteration" in why and "of 10 iterations, failed" in text and why in text
    assert "not finished" not in text
    assert main.run([*words(data, out, norm="none"), "-q", "--overwrite"]) == 0  # begun again, with a smaller rate
    text = Page(report.page(report.read([out]))).text
    assert "10 of 10 iterations, finished" in text and "failed" not in text


def test_names_are_text_not_markup(tmp_path):
    folder = make_run(tmp_path / "<img src=x onerror=alert(1)>", lines=2)
    page = Page(report.page(report.read([folder])))
    assert all("onerror" not in at for _, at in page.found)
    assert "<img src=x onerror=alert(1)>" in page.text


def test_runs_of_one_name_are_told_apart_and_one_run_is_not_shown_twice(tmp_path):
    one, two = make_run(tmp_path / "x" / "run", 2), make_run(tmp_path / "y" / "run", 2)
    assert [run.name for run in report.read([one, two])] == ["run", "y/run"]
    with pytest.raises(WrongUse, match="named twice"):
        report.read([one, tmp_path / "y" / ".." / "x" / "run"])
    with pytest.raises(WrongUse, match="is not a run"):
        report.read([tmp_path])


def test_the_command_writes_the_page_into_the_run(tmp_path, capsys):
    folder = make_run(tmp_path / "run", 2)
    assert main.run(["report", str(folder)]) == 0
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(folder / "report.html") in capsys.readouterr().out
    assert main.run(["report", str(folder), str(folder)]) == 2
    assert "--out" in capsys.readouterr().err
    assert main.run(["report", str(folder), "--out", str(tmp_path / "x.txt")]) == 2
    assert "expected an .html file" in capsys.readouterr().err


# ---- charts --------------------------------------------------------------------------------------------------------

def drawing(text):
    """The chart's SVG as a tree."""
    return ET.fromstring(text[text.index("<svg"):text.index("</svg>") + 6])


@pytest.mark.parametrize("low, high", [(0, 1), (-3.7, 12.2), (1e-9, 2e-9), (5, 5), (0, 0), (-1e6, 1e5), (0.999, 1.001)])
def test_ticks_are_few_and_span_the_values(low, high):
    found = svg_charts.ticks(low, high)
    assert 2 <= len(found) <= 12
    assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 * max(1, abs(high))
    assert np.allclose(np.diff(found), found[1] - found[0])


@pytest.mark.parametrize("low, high", [
    (1.00000012, 1.0001), (0, 1), (-25.68, -25.67991), (2000, 2000.004), (1e-9, 2e-9)])
def test_ticks_are_told_apart_by_their_labels(low, high):
    found = svg_charts.ticks(low, high)
    for value, text in zip(found, svg_charts.labels(found), strict=True):
        assert abs(float(text) - value) < 0.01 * (found[1] - found[0])


@pytest.mark.parametrize("low, high", [(1e-8, 1e8), (0.5, 0.6), (1, 1), (1e-3, 999)])
def test_decades_are_few_and_span_the_values(low, high):
    found = svg_charts.decades(low, high)
    assert 2 <= len(found) <= 7
    assert found[0] <= low and found[-1] >= high


@pytest.mark.parametrize("log", [False, True])
def test_points_lie_where_their_values_say(log):
    points = [(0.0, 1.0), (5.0, 10.0), (10.0, 100.0)]
    tree = drawing(svg_charts.chart("t", {"a": points}, "y", log=log))
    at = [tuple(map(float, pair.split(","))) for pair in tree.find("polyline").get("points").split()]
    bottom = svg_charts.HEIGHT - svg_charts.BOTTOM
    assert all(svg_charts.LEFT <= x <= svg_charts.WIDTH and 0 <= y <= bottom for x, y in at)
    assert at[0][0] < at[1][0] < at[2][0] and at[0][1] > at[1][1] > at[2][1]
    middle = (at[0][1] + at[2][1]) / 2
    assert abs(at[1][1] - middle) < 0.2 if log else at[1][1] > middle + 10


def test_a_chart_without_a_number_is_not_drawn():
    assert svg_charts.chart("t", {"a": [], "b": [(1, float("nan"))]}, "y") == ""
    assert svg_charts.chart("t", {"a": [(1, 0.0)]}, "y", log=True) == ""


def test_thinning_keeps_the_peaks_and_the_order():
    points = [(float(i), 0.0) for i in range(10_000)]
    points[7777] = (7777.0, 9.0)
    kept = svg_charts.thinned(points)
    assert len(kept) <= svg_charts.MOST_POINTS and (7777.0, 9.0) in kept
    assert kept == sorted(kept)


# ---- watching ------------------------------------------------------------------------------------------------------

@pytest.fixture
def watched(tmp_path):
    folder = make_run(tmp_path / "run", 3)
    (folder / "checkpoint-0000002.h5").touch()  # the newest: it goes on
    with watch.server([folder]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, server.server_address
        server.shutdown()
        thread.join()


def ask(address, path="/", host=None):
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_watched_run_is_shown_as_it_is_now(watched):
    folder, address = watched
    assert address[0] == "127.0.0.1"
    status, first = ask(address)
    assert status == 200 and 'http-equiv="refresh"' in first and "3 of 3 iterations" in first
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"iteration": 4, "seconds": 99.0}\n')
    del before[folder / "log.jsonl"]
    assert "4 of 3 iterations" in ask(address)[1]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())  # nothing is written
    (folder / "experiment.json").unlink()
    status, text = ask(address)
    assert status == 503 and "experiment.json is missing, empty or cut off" in text


def test_only_this_machine_by_its_own_name_gets_the_page(watched):
    _, address = watched
    assert ask(address, host=f"localhost:{address[1]}")[0] == 200
    assert ask(address, host=f"evil.example:{address[1]}")[0] == 403
    assert ask(address, path="/experiment.json")[0] == 404
    assert ask(address, path="/../../etc/passwd")[0] == 404


def test_a_port_in_use_is_said(watched):
    folder, address = watched
    with pytest.raises(FailedWork, match="--port"):
        watch.server([folder], address[1])


# ---- in a browser --------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; not skipped in CI."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here")
    if not os.environ.get("CI"):
        pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("width, scheme", [(360, "light"), (1280, "dark")])
def test_a_browser_shows_all_of_it_at_any_width(browser, both, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    path.write_text(report.page(report.read(both)), encoding="utf-8")
    tab, complaints = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme), []
    for event in ("console", "pageerror", "requestfailed"):
        tab.on(event, lambda what: complaints.append(what))
    tab.goto(path.as_uri())
    assert complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    small = "[...document.querySelectorAll('.chart > svg')].filter(s => s.getBoundingClientRect().width < 200).length"
    assert tab.evaluate(small) == 0
    ink, paper = (tab.evaluate(f"getComputedStyle(document.body).{what}") for what in ("color", "backgroundColor"))
    assert ink != paper
    if width == 1280:
        assert tab.pdf().count(b"/Type /Page\n") >= 2
    tab.close()


def test_click_knows_both_commands():
    assert isinstance(commands.load("report"), click.Command)
    assert isinstance(commands.load("watch"), click.Command)


def test_a_run_keeps_its_colour_in_charts_where_others_have_no_numbers(tmp_path):
    """As its losses' in the first chart: the second of two runs is the only one with scores."""
    one, two = make_run(tmp_path / "one", diagnoses=False), make_run(tmp_path / "two", diagnoses=False, seed=1)
    log = [json.loads(line) for line in (two / "log.jsonl").read_text().splitlines()]
    (two / "log.jsonl").write_text("".join(json.dumps(line | {"scores": {"FID x": 9.0}}) + "\n" for line in log))
    page = report.page(report.read([one, two]))
    charts = page.split('<figure class="chart">')

    def colours(title):
        (chart,) = (part for part in charts if part.startswith(f"<figcaption>{title}<"))
        return [part[:7] for part in chart.partition("</svg>")[0].split('<polyline stroke="')[1:]]
    first, second = colours("Losses: discriminator")
    assert colours("FID x") == [second] != [first]


def test_clients_that_leave_or_say_nothing_cost_nothing(watched, capfd, monkeypatch):
    _, address = watched
    for _ in range(5):  # they leave at once, with a request or without, and without waiting for the answer
        for text in (b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % address[1], b"GET"):
            with socket.create_connection(address) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no goodbye
                client.sendall(text)
    assert ask(address)[0] == 200
    out, err = capfd.readouterr()
    assert out == err == ""


def test_at_most_some_dozen_connections_wait_and_none_for_long(watched, monkeypatch):
    _, address = watched
    monkeypatch.setattr(watch, "LONGEST", 1.0)
    before = threading.active_count()
    silent = [socket.create_connection(address, timeout=20) for _ in range(3 * watch.MOST)]
    try:
        began = time.monotonic()
        while threading.active_count() - before < watch.MOST - 2 and time.monotonic() - began < 5:
            time.sleep(0.05)
        assert threading.active_count() - before <= watch.MOST
        for client in silent:
            client.sendall(b"G") if client is silent[0] else None
            assert client.recv(10) == b""  # closed by the server, in time
        assert time.monotonic() - began < 15
    finally:
        for client in silent:
            client.close()
    assert ask(address)[0] == 200
