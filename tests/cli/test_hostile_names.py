"""Names and numbers that others chose: nothing that a terminal would obey is printed, and nothing ends in a fault."""

import json
import os
import shutil
import sys

import damage
import numpy as np
import pytest
from PIL import Image

from minigan.cli import main

ESC = "\x1b]0;owned\x07\x1b[2J"


def said(words: list[str], capfd) -> str:
    """What both streams get from the command line; it ends as it should, in whatever way."""
    capfd.readouterr()
    code = main.run(words)
    out, err = capfd.readouterr()
    assert code in (0, 1, 2) and "fault of minigan" not in err, err
    text = out + err
    bad = [c for c in text if not c.isprintable() and c != "\n"]
    assert not bad, f"{words}: {bad[:5]} in {text[:500]!r}"
    return text


@pytest.fixture
def streams(monkeypatch):
    """The streams as the program itself has them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@pytest.fixture
def run(tmp_path):
    """A run whose folder's name is no UTF-8 and holds control characters, and whose files are as bad."""
    damage.trained("log.jsonl")(tmp_path)
    name = os.fsdecode(b"r\xff\xfe" + ESC.encode())
    folder = tmp_path / name
    shutil.move(tmp_path / "run", folder)
    lines = (folder / "log.jsonl").read_text().splitlines()
    last = json.loads(lines[-1]) | {"seconds": 7.0}
    odd = {"scores": {f"FID {ESC}": 1.7e308, "FID \ud800": -1.7e308, "IS": 10**300}, "thumbnails": 1.7e308,
           "loss_dis": 10**400, "loss_gen": -1.7e308, "sigma": {ESC: 1.7e308, "\ud800": 2.0},
           "alarms": [{"name": ESC, "text": f"{ESC}\ud800\n\r"}]}
    with (folder / "log.jsonl").open("a") as file:
        for i in range(3):
            file.write(json.dumps(last | odd | {"iteration": 4 + i}) + "\n")
        file.write('{"iteration": 1e400, "seconds": 1}\n{"iteration": ' + "9" * 400 + ', "seconds": 1}\n')
    diagnosis = json.loads((folder / "diagnostics.jsonl").read_text().splitlines()[-1])
    diagnosis["layers"] |= {ESC: {"sigma": 1.7e308}, "\ud800": {"sigma": 10**400, "spectrum": [1e308, -1e308]}}
    (folder / "diagnostics.jsonl").write_text(json.dumps(diagnosis) + "\n")
    scores = json.loads((folder / "scores.json").read_text())
    one = scores["scores"][0] | {"protocol": ESC, "data": f"{ESC}\ud800", "network": "\ud800", "cautions": [ESC]}
    scores["scores"] += [one | {"value": 1.7e308, "seed": 1}, one | {"value": -1.7e308, "seed": 2},
                         one | {"value": 10**300, "seed": 3, "spread": 1.7e308, "n_real": 10**300}]
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "failed.txt").write_text(f"{ESC}\n\r\x00")
    return folder


@pytest.mark.filterwarnings("error::RuntimeWarning")  # it would be lines of Python's on the terminal
@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
@pytest.mark.parametrize("words", [
    ["report", "RUN"], ["report", "RUN", "--out", "both.html"], ["log", "RUN"], ["log", "RUN", "--csv", "-"],
    ["log", "RUN", "--csv", "log.csv"], ["sample", "RUN", "--out", "s.png"], ["sample", "RUN", "--best"],
    ["train", "--resume", "RUN"], ["diagnose", "RUN"], ["score", "RUN", "--list"], ["score", "RUN"],
    ["score", "--table", "RUN"], ["table", "RUN"], ["figure", "classic", "RUN", "--out", "figures"],
    ["figure", "sn-gan/1", "RUN"],
    ["export", "RUN", "--to", "safetensors"], ["train", "folder", "--data-root", "RUN", "--iterations", "1"],
    ["pack", "folder", "p.h5", "--data-root", "RUN", "--size", "16"], ["weights", "RUN/log.jsonl"],
    ["import", "RUN/log.jsonl", "--out", "new"], ["classifier", "show", "RUN/samples.png"], [ESC], ["train", ESC]])
def test_no_command_prints_what_a_terminal_would_obey(words, run, tmp_path, capfd, monkeypatch, streams):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    said([word.replace("RUN", str(run)) for word in words], capfd)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_classes_and_files_of_a_folder_are_printed_as_text(tmp_path, capfd, monkeypatch, streams):
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        folder = tmp_path / "in" / f"{ESC}{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(folder / f"{ESC}{i}.png")
    (tmp_path / "in" / os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    assert "not an image" in said(["pack", "folder", "p.h5", "--data-root", "in", "--size", "16"], capfd)
    said(["pack", "folder", "p.h5", "--data-root", "in", "--size", "16", "--skip-bad"], capfd)
    said(["pack", "--check", "p.h5"], capfd)
    short = ["--iterations", "2", "--width", "0.05", "--batch-size", "2", "--n-dis", "1", "--dim-z", "4", "--verbose"]
    said(["train", "packed", "--data-root", "p.h5", "--out", f"out{ESC}", "--condition", "projection", *short], capfd)
    said(["report", f"out{ESC}"], capfd)
    said(["train", "folder", "--data-root", "in", "--out", f"out{ESC}", "--size", "16", *short], capfd)


@pytest.mark.skipif(sys.platform != "linux", reason="links need rights elsewhere")
def test_a_checkpoint_of_another_name_alone_is_no_fault(tmp_path, capfd, monkeypatch, streams):
    damage.trained("log.jsonl")(tmp_path)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "run").glob("checkpoint-*.h5"):
        path.rename(path.with_name("checkpoint-best.h5"))
    for words in (["sample", "run", "--out", "s.png"], ["train", "--resume", "run"], ["report", "run"],
                  ["diagnose", "run"], ["score", "run"], ["export", "run", "--to", "safetensors"]):
        said(words, capfd)
