"""The list of commands: whole, in groups, quick to show, and the same as what the commands say of themselves."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tiny import ROOT

import minigan.cli
from minigan.cli import commands, main

NAMES = [name for group in commands.GROUPS.values() for name in group]


def test_every_command_that_a_file_defines_stands_in_one_group():
    defined = []
    for path in Path(minigan.cli.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                defined += [decorator.args[0].value for decorator in node.decorator_list
                            if isinstance(decorator, ast.Call)
                            and ast.unparse(decorator.func) in ("click.command", "click.group") and decorator.args]
    assert sorted(defined) == sorted(NAMES) and len({*NAMES}) == len(NAMES)


@pytest.mark.parametrize("name, sentence", [row for group in commands.GROUPS.values() for row in group.items()])
def test_a_command_says_of_itself_what_the_list_says(name, sentence):
    command = commands.load(name)
    assert isinstance(command, click.Command) and command.name == name
    assert command.help.split("\n\n")[0] == sentence
    assert sentence.endswith(".") and sentence.count(". ") == 0


def test_the_help_has_each_command_below_its_group_with_its_whole_sentence(capsys):
    assert main.run(["--help"]) == 0
    group, found = "", []
    for line in capsys.readouterr().out.splitlines():
        if line.rstrip(":") in commands.GROUPS:
            group = line.rstrip(":")
        elif group and (match := re.fullmatch(r"  ([a-z]+) +(\S.*)", line)):
            found.append((group, match[1], match[2]))
    assert found == [(group, name, text) for group, rows in commands.GROUPS.items() for name, text in rows.items()]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["paint"]])
def test_to_list_the_commands_loads_no_library_of_numbers(words):
    code = ("import sys; from minigan.cli import main; main.run(sys.argv[1:]); "
            "print(sorted({'numpy', 'PIL', 'h5py', 'threadpoolctl'} & {*sys.modules}))")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.endswith("[]\n") and "Traceback" not in done.stderr
