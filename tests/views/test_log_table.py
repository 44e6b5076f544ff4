"""minigan log, and its CSV, read by Python's csv and by pandas: the numbers of log.jsonl, and nothing that acts."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from tiny import pictures, words

import minigan
from minigan.cli import main
from minigan.training import run_folder
from minigan.training.run_record import flat
from minigan.views import log_table, readings

LINE = {"iteration": 1, "seconds": 0.5, "loss_dis": 1.25, "loss_gen": -0.1}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("run")
    assert main.run([*words(pictures(place / "data"), place / "run"), "-q"]) == 0
    return place / "run"


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), strict=True))


def test_the_csv_has_every_number_of_every_line(run, capsys, tmp_path):
    capsys.readouterr()
    assert main.run(["log", str(run), "--csv", "-"]) == 0
    text = capsys.readouterr().out
    lines = run_folder.read_log(run)
    assert [{name: json.loads(value) for name, value in row.items() if value} for row in read(text)] \
        == [flat(line) for line in lines]
    assert "sigma/conv1" in text.splitlines()[0] and read(text)[0]["thumbnails"] == ""
    assert main.run(["log", str(run), "--csv", str(tmp_path / "new" / "log.csv")]) == 0
    assert (tmp_path / "new" / "log.csv").read_text() == text


def test_pandas_takes_the_log_its_rows_and_the_csv(run):
    if "CI" not in os.environ:
        pytest.importorskip("pandas")
    import pandas
    opened = minigan.load(run)
    nested, table = pandas.DataFrame(opened.log), pandas.DataFrame(opened.rows)
    of_csv = pandas.read_csv(io.StringIO(log_table.csv_text(opened.log)))
    pandas.testing.assert_frame_equal(table, of_csv)
    assert list(nested["loss_dis"]) == list(table["loss_dis"]) == [line["loss_dis"] for line in opened.log]
    assert list(table["sigma/conv1"]) == [line["sigma"]["conv1"] for line in opened.log]
    assert table["thumbnails"].isna().sum() == sum("thumbnails" not in line for line in opened.log) > 0


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_text_becomes_a_formula(text):
    """Names and texts of a log may be somebody else's; numbers may be negative."""
    made = log_table.csv_text([LINE | {text: 1, "note": text, "sigma": {text: 2}}])
    assert all(not cell.startswith(log_table.FORMULA) or cell == "-0.1"
               for row in csv.reader(io.StringIO(made, newline="")) for cell in row)
    assert "'" + text.replace("\r", "\n") in {cell for row in csv.reader(io.StringIO(made, newline="")) for cell in row}


def test_separators_and_quotes_stay_inside_their_cell():
    odd = 'a "b", c\nd;'
    assert list(csv.reader(io.StringIO(log_table.csv_text([LINE | {odd: odd}]), newline="")))[1][-1] == odd


def test_alarms_are_their_sentences_and_what_is_no_number_is_no_number():
    line = LINE | {"alarms": [{"name": "a", "text": "all alike"}, {"name": "b", "text": "too steep"}], "none": None,
                   "nan": float("nan"), "list": [1, {"text": 2}], "yes": True, "empty": {}}
    assert log_table.rows([line]) == [LINE | {"alarms": "all alike; too steep", "list": '[1, {"text": 2}]',
                                              "yes": "true"}]


def test_half_a_character_is_no_trouble():
    assert log_table.csv_text([{"\ud800k": "\ud800x"}]).encode() == b"?k\n?x\n"


def test_a_deeply_nested_line_is_no_trouble():
    deep: dict = {}
    for _ in range(20_000):
        deep = {"a": deep}
    assert log_table.rows([LINE | deep]) == [LINE] and len(flat({"x": {"y": {"z": 1}}, "b": 2})) == 2


def test_the_table_shows_the_newest_lines_and_how_to_read_them(run, capsys):
    capsys.readouterr()
    assert main.run(["log", str(run), "--last", "2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["iteration", "seconds", "loss_dis", "loss_gen", "sigma_deviation", "thumbnails",
                            "diversity"]
    assert [line.split()[0] for line in lines[:2]] == ["8", "10"] and lines[2] == ""
    assert lines[3:] == [f"{name}: {readings.OF_LOGS[name]}" for name in head.split()[2:]]


def test_scores_and_alarms_are_in_the_table():
    log = [LINE | {"scores": {"FID sn-gan, 0123abcd": 3.0}, "alarms": [{"name": "a", "text": "all alike"}]}]
    assert log_table.table(log, 9)[0].endswith("FID sn-gan, 0123abcd")
    assert log_table.legend(log)[0] == "alarms: all alike"
    assert log_table.legend(log)[-1] == f"FID: {readings.OF_SCORES['FID']}"
