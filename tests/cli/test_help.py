"""What help shows: short sections, every option somewhere, 80 columns, colours only where they belong; habits."""

import dataclasses
import os
import re
import subprocess
import sys

import click
import pytest
from tiny import ROOT

from minigan.cli import commands, help, main
from minigan.cli.commands import GROUPS
from minigan.experiment import habits
from minigan.experiment.experiment import NETWORKS, Experiment, option_name

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
ENVIRONMENT |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
FIELDS = [f for f in dataclasses.fields(Experiment)[1:] if f.name not in NETWORKS]
ALL = [name for group in GROUPS.values() for name in group]
SHOWN = [*([name, "--help"] for name in ALL), ["--help"], ["train", "--help-all"], ["classifier", "train", "--help"],
         ["classifier", "show", "--help"]]


def of(words: list[str], capsys) -> str:
    assert main.run(words) == 0
    out, error = capsys.readouterr()
    assert error == ""
    return out


def sections(text: str) -> dict[str, list[str]]:
    """Heading -> the first columns below it."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            heading = line[:-1]
        elif heading and (row := re.match(r"  (\S.*?)(  |$)", line)):
            found.setdefault(heading, []).append(row[1])
    return found


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_help_fits_80_columns_and_no_name_is_broken(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for line in of(words, capsys).splitlines():
        assert len(line) <= 80 and not re.search(r"[a-z]-$", line), line


def test_every_command_answers_as_the_others_do():
    group = commands.load("classifier")
    for command in [*map(commands.load, ALL), *group.commands.values()]:
        assert isinstance(command, help.Command | help.Group), command.name


def test_train_shows_ten_options_first_and_names_every_other(capsys):
    text = of(["train", "--help"], capsys)
    assert len(sections(text)["Options that matter most"]) == 10
    for f in FIELDS:
        assert re.search(rf"{option_name(f.name)}\b", text), f.name


def test_all_of_trains_options_are_explained_once_in_sections_of_at_most_15(capsys):
    found = sections(of(["train", "--help-all"], capsys))
    assert all(len(rows) <= 15 for rows in found.values())
    names = [re.sub(r"^-., ", "", row).split()[0].rstrip(",") for rows in found.values() for row in rows
             if row.startswith("-")]
    assert len(names) == len({*names})
    assert {option_name(f.name) for f in FIELDS} <= {*names}
    headings = {f.metadata["section"] for f in FIELDS}
    assert headings < found.keys()


def test_score_shows_the_options_that_matter_first_in_short_sections(capsys):
    found = sections(of(["score", "--help"], capsys))
    assert next(iter(found)) == "Options" and len(found["Options"]) == 10
    assert found["Options"][0].startswith("--protocol") and all(len(rows) <= 15 for rows in found.values())


@pytest.mark.parametrize("name", ["explain", "sweep", "reproduce"])
def test_what_also_takes_trains_options_points_to_them(name, capsys):
    text = of([name, "--help"], capsys)
    assert "see minigan train --help" in text and "--beta1" not in text and text.count("\n") < 40
    assert "--beta1" in {word for param in commands.load(name).params for word in param.opts}


def in_a_terminal(words: list[str], **environment: str) -> str:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "minigan", *words], stdin=theirs, stdout=theirs, stderr=theirs,
                               env=ENVIRONMENT | {"COLUMNS": "80"} | environment)  # it has no size of its own
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 4096):
            seen += block
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(ours)
    process.wait(timeout=60)
    return seen.decode()


@pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX")
def test_colours_are_for_terminals_that_want_them():
    for words in (["--help"], ["paint"], ["train", "--help"]):
        coloured = in_a_terminal(words)
        assert "\x1b[" in coloured
        plain = click.unstyle(coloured)
        assert in_a_terminal(words, NO_COLOR="1") == in_a_terminal(words, TERM="dumb") == plain
        piped = subprocess.run([sys.executable, "-m", "minigan", *words], capture_output=True, text=True,
                               env=ENVIRONMENT | {"COLUMNS": "80"})
        assert piped.stdout + piped.stderr == plain.replace("\r\n", "\n")


@pytest.mark.parametrize("arguments, line", [
    ("train cifar10 --gpu 0", "--gpu: here it is --device; --device cuda"),
    ("train cifar10 --epochs 9", "--epochs: here it is --iterations; a run is counted in updates of the generator"),
    ("train cifar10 --num-workers 4", "--num-workers: here it is --threads"),
    ("train cifar10 --num_workers=4", "--num_workers: here it is --threads"),
    ("train cifar10 --batch 9", "--batch: here it is --batch-size"), ("train cifar10 --lr-d 1", "here it is --lr-dis"),
    ("train cifar10 --batch_size 9", "--batch_size is written --batch-size here"),
    ("train cifar10 --LR 9", "--LR is written --lr here"),
    ("train --dataset cifar10", "--dataset: the word DATASET takes its place; it is the first word"),
    ("sweep cifar10 --n-critic 5", "--n-critic: here it is --n-dis"),
    ("train cifar10 --amp", "--amp: here it is --precision; float32, tf32 or bf16"),
    ("score x --input2 y", "--input2: the word B takes its place; B are the real images"),
    ("score --input1 y", "--input1: the word A takes its place"),
    ("explain x --help-all", "--help-all: not here; minigan train --help-all explains every option of a training"),
    ("sweep x --tensorboard", "--tensorboard: not here; minigan train has it"),
    ("score x --num-workers 4", "--num-workers: not here; it works on all cores"),
    ("sweep x --resume", "--resume: not here; the same command goes on"),
    ("sample runs/x --num-samples 9", "--num-samples: here it is --count"),
    ("classifier train mnist --gpu", "--gpu: here it is --device"),
])
def test_habits_of_other_programs_are_answered(arguments, line, refused):
    said = refused(arguments.split(), 2)
    assert line in said and "--help)" in said


def test_what_a_command_lacks_is_not_recommended(refused):
    assert "here it is" not in refused(["compare", "x", "--gpu", "0"], 2)


def test_every_habit_leads_to_an_option_that_there_is_and_no_two_ways(capsys):
    known = {word for name in ALL for param in commands.load(name).params
             for word in (*param.opts, param.human_readable_name)}
    assert habits.HABITS.keys() <= known
    others = [other for names, _ in habits.HABITS.values() for other in names] + [*habits.NONE]
    assert {"--tensorboard", "--help-all", "--resume", "--threads", "--batch-size"} <= known & {*habits.NOT_HERE}
    assert len(others) == len({*others}) and {*others} & {
        word for param in commands.load("train").params for word in param.opts} == set()
    text = " ".join(of(["train", "--help-all"], capsys).split())
    assert "--threads INTEGER worker threads; results do not depend on it" in text
    for other in ("--num-workers", "--gpu", "--epochs", "--batch", "--lr-d"):
        assert re.search(rf"\(elsewhere [^)]*{other}\b", text), other
