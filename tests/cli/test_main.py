"""The command line as people meet it: what it says of itself, its exit codes, errors that nobody foresaw."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tiny import ROOT

import minigan
from minigan.cli import commands, main
from minigan.training import loop


def test_it_is_a_module_and_a_command_with_a_version():
    for how in (["-m", "minigan"], ["-c", "from minigan.__main__ import main; main()"]):
        done = subprocess.run([sys.executable, *how, "--version"], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert (done.stdout, done.stderr, done.returncode) == (f"minigan {minigan.__version__}\n", "", 0)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_while_it_loads_is_no_traceback(tmp_path):
    """NumPy takes a fifth of a second, in which users who mistyped press Ctrl-C; here it presses it itself."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\n"
                                                    "time.sleep(9)")
    for how in (["-m", "minigan"], ["-c", "from minigan.__main__ import main; main()"]):
        done = subprocess.run([sys.executable, *how, "info"], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        assert (done.stdout, done.stderr, done.returncode) == ("", "", -signal.SIGINT)


def test_ctrl_c_before_it_can_say_what_ctrl_c_does_is_no_traceback(tmp_path):
    """While Python loads its module signal, which takes milliseconds, and more on a busy machine."""
    (tmp_path / "signal.py").write_text("raise KeyboardInterrupt")
    for how in (["-m", "minigan"], ["-c", "from minigan.__main__ import main; main()"]):
        done = subprocess.run([sys.executable, *how, "info"], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 130)


@pytest.mark.parametrize("command", [[], ["train"], ["sample"]])
def test_the_commands_that_help_shows_are_taken(command, capsys):
    main.run([*command, "--help"])
    lines = re.findall(r"^ +minigan (train|sample|info)(.*?)(?:  .*)?$", capsys.readouterr().out, re.MULTILINE)
    assert len(lines) >= 3
    for name, rest in lines:
        context = commands.load(name).make_context(name, shlex.split(rest))  # raises if a word is not known
        assert name == "info" or context.params["dataset" if name == "train" else "run"] or context.params["resumed"]


def test_without_words_it_shows_its_help(capsys):
    assert main.run([]) == 2
    out, error = capsys.readouterr()
    assert out.startswith("Usage: minigan") and "minigan train cifar10 --norm sn" in out and error == ""


def test_an_unknown_command_is_refused(refused):
    assert "unknown command 'paint'; choose from: classifier, compare, " in refused(["paint"], 2)


@pytest.mark.parametrize(("error", "code", "line"), [
    (MemoryError("4 GiB"), 1, "not enough memory (4 GiB); ask for less"),
    (PermissionError(13, "Permission denied", "/x/y"), 1, "/x/y: Permission denied"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (ZeroDivisionError("a\nb"), 1, "a fault of minigan itself: ZeroDivisionError: a b (test_main.py, line "),
    (click.FileError("f", "hint"), 1, "Could not open file 'f': hint"),
])
def test_every_exception_becomes_one_line_and_an_exit_code(error, code, line, monkeypatch, capsys):
    def fit(*_, **__):
        raise error

    monkeypatch.setattr(loop, "fit", fit)
    assert main.run(["train", "shapes"]) == code
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"minigan: {line}") and "\n" not in said
    if "fault" in line:
        assert main.run(["train", "shapes", "--verbose"]) == 1
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="pipes and /dev/full are POSIX")
def test_output_that_nobody_reads_is_no_fault():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in ("info", "train --help"):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, "-m", "minigan", *command.split()], env=environment, stdout=writer,
                              stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert done.stderr == "" and done.returncode == 1
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            done = subprocess.run([sys.executable, "-m", "minigan", "info"], env=environment, stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        assert done.stderr == "minigan: input or output: No space left on device\n" and done.returncode == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not text")
def test_a_name_that_is_no_text_is_printed_all_the_same(run):
    name = os.fsdecode(b"\xff.png")
    done = subprocess.run([sys.executable, "-m", "minigan", "sample", run, "-n", "1", "--out", name],
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(r"\udcff.png" + "\n")
    assert Path(name).exists()
