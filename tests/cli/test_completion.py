"""What a shell offers after TAB: by click's own interface, and in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from tiny import ROOT

from minigan.cli import commands, main
from minigan.data.datasets import DATASETS
from minigan.experiment.profiles import ALL_PROFILES, SETTINGS
from minigan.metrics.protocols import PROTOCOLS
from minigan.networks.models import MODELS
from minigan.networks.norms import NORMS


def offered(*words: str) -> set[str]:
    """What is offered for the last of these words, which may be begun only."""
    made = ShellComplete(main.commands, {}, "minigan", "_MINIGAN_COMPLETE")
    return {item.value for item in made.get_completions(list(words[:-1]), words[-1])}


def types(*words: str) -> set[str]:
    made = ShellComplete(main.commands, {}, "minigan", "_MINIGAN_COMPLETE")
    return {item.type for item in made.get_completions(list(words[:-1]), words[-1])}


def test_commands_and_options_are_offered():
    assert offered("") >= {name for group in commands.GROUPS.values() for name in group}
    assert offered("re") == {"report", "reproduce"}
    assert offered("train", "--be") == {"--beta1", "--beta2"} and offered("sweep", "d", "--be") >= {"--beta1"}


@pytest.mark.parametrize("words, names", [
    (("train", ""), DATASETS), (("explain", ""), DATASETS), (("train", "x", "--norm", ""), NORMS),
    (("train", "x", "--model", ""), MODELS), (("train", "x", "--profile", ""), ALL_PROFILES),
    (("train", "x", "--preset", ""), ALL_PROFILES),
    (("sweep", "x", "--setting", ""), SETTINGS), (("sweep", "x", "--settings", ""), SETTINGS),
    (("score", "x", "--protocol", ""), PROTOCOLS), (("networks", ""), MODELS),
    (("train", "x", "--device", ""), ("cpu", "cuda")), (("completion", ""), ("bash", "zsh", "fish"))])
def test_names_are_offered_from_the_tables(words, names):
    assert offered(*words) - {""} == {*names}


def test_of_several_names_the_last_is_completed():
    assert offered("sweep", "x", "--methods", "sn,wga") == {"sn,wgan-gp"}
    assert "C,C" not in offered("sweep", "x", "--settings", "C,")


def test_a_table_that_grew_is_asked_anew(monkeypatch):
    monkeypatch.setitem(NORMS, "own", NORMS["none"])
    assert offered("train", "x", "--norm", "ow") == {"own"}


def test_runs_are_offered_wherever_they_lie(elsewhere):
    for run in ("runs/one", "runs/sweep/sn-C-0", "own"):
        (elsewhere / run).mkdir(parents=True)
        (elsewhere / run / "experiment.json").write_text("{}")
    (elsewhere / "other").mkdir()
    assert offered("report", "") == {"runs/one", "own"}
    assert offered("report", "runs/") == {"runs/one", "runs/sweep/sn-C-0"}
    assert offered("report", f"{elsewhere}/runs/o") == {f"{elsewhere}/runs/one"}
    assert types("report", "oth") == {"dir"}  # the shell's own paths
    assert offered("train", "--resume", "ow") == {"own"} and "file" in types("score", "")
    assert "own" in offered("score", "ow") and "own" in offered("score", "own", "o")
    assert "mnist" in offered("score", "own", "mn")
    assert "file" in types("train", "sh") and types("train", "--data-root", "") == {"file"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")
def test_bash_completes_after_the_line_of_the_help(tmp_path):
    """The line that minigan completion names is evaluated; then bash's own function is asked as for a TAB."""
    (tmp_path / "bin").mkdir()
    for folder in ("my photos", "runs/short", "stars"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs" / "short" / "experiment.json").write_text("{}")
    (tmp_path / "st.zip").touch()
    program = tmp_path / "bin" / "minigan"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m minigan "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(minigan completion bash)" || exit 1
compopt() { :; }  # bash has it while a TAB is answered only
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _minigan_completion minigan
        (IFS="|"; echo "${COMPREPLY[*]}"); }
complete -p minigan
ask minigan rep
ask minigan train cifar10 --norm ortho
ask minigan networks dcgan-
ask minigan train st
ask minigan train my
ask minigan score r
ask minigan report nothing
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert "_minigan_completion minigan" in first and rest[:3] == ["report|reproduce", "orthonormal", "dcgan-32"]
    assert [{*line.split("|")} for line in rest[3:]] == [
        {"stl10", "stars", "st.zip"}, {"my photos"}, {"runs/short", "runs"}, {""}]


@pytest.mark.parametrize("shell, line", [("zsh", "compdef _minigan_completion minigan"),
                                         ("fish", "complete --no-files --command minigan")])
def test_the_other_shells_get_a_script_too(shell, line, capsys):
    assert main.run(["completion", shell]) == 0
    assert line in capsys.readouterr().out
    assert Path.cwd().name == "work"
