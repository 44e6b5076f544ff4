"""What the scripts of bench/ do not take is one line that says why, before any work, and never a traceback."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import gpu

FOLDER = Path(gpu.__file__).parent
WHOLE, ABOVE = "expected a whole number of at least 1, got '{}'", "expected a number above 0, got '{}'"


def last_line(script, words, monkeypatch, capsys):
    """Of what the script says of these words, in this process; its exit code is 2."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *words])
    # by its place: `parallel` is a folder of tests as well
    spec = importlib.util.spec_from_file_location(f"bench_{script}", FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("script, option, given, said", [
    *((script, "--repeats", "0", WHOLE) for script in (
        "accumulate", "bytes", "conv_layers", "diagnostics", "host_cost", "inception", "overhead", "parallel",
        "sn_overhead", "train_step")),
    *((script, "--batch", "-1", WHOLE) for script in (
        "accumulate", "conv_layers", "diagnostics", "graph_memory", "host_cost", "inception", "overhead", "parallel",
        "reading", "sn_overhead", "train_step")),
    *((script, "--width", "0", ABOVE) for script in (
        "accumulate", "conv_layers", "diagnostics", "graph_memory", "host_cost", "overhead", "parallel", "reading")),
    ("second_process", "--seconds", "0", ABOVE),
    *((script, "--threads", "two", WHOLE) for script in (
        "diagnostics", "inception", "overhead", "sn_overhead", "train_step")),
    ("fid", "--rounds", "0", WHOLE), ("fid", "--features", "0", WHOLE), ("overhead", "--n-dis", "0", WHOLE),
    ("reading", "--seconds", "nan", ABOVE), ("parallel", "--latency", "-1", ABOVE)])
def test_a_number_that_cannot_be(script, option, given, said, monkeypatch, capsys):
    line = last_line(script, [f"{option}={given}"], monkeypatch, capsys)
    assert f"argument {option}: {said.format(given)}" in line


@pytest.mark.parametrize("script, words, said", [
    ("bytes", ["vgg"], "unknown case 'vgg'; choose from: cnn, cnn-gp, fashion-mnist, resnet, resnet-gp, shapes"),
    ("train_step", ["cnn", "vgg"], "unknown case 'vgg'; choose from: cnn, cnn-gp, fashion-mnist, resnet,"),
    ("second_process", ["vgg"], "unknown case 'vgg'; choose from: cnn-0.1-32, cnn-0.1-8,"),
    ("conv_layers", ["vgg"], "unknown model 'vgg'; choose from: cnn, resnet"),
    ("host_cost", ["vgg"], "unknown model 'vgg'; choose from: cnn, resnet"),
    ("accumulate", ["--model", "vgg"], "unknown model 'vgg'; choose from: cnn, cnn-bssn, cnn-code,"),
    ("parallel", ["--model", "vgg"], "unknown model 'vgg'; choose from: cnn, cnn-bssn, cnn-code,"),
    ("diagnostics", ["--models", "cnn,vgg"], "unknown model 'vgg'; choose from: cnn, cnn-bssn, cnn-code,"),
    ("diagnostics", ["--norms", "sn,spn"], "unknown norm 'spn'; choose from: bn,"),
    ("overhead", ["--methods", "sn,spn"], "unknown method 'spn'; choose from: bn,"),
    ("overhead", ["--sizes", "32,"], "expected a whole number of at least 1, got ''"),
    ("accumulate", ["--parts", "1,x"], "expected a whole number of at least 1, got 'x'"),
    ("reading", ["--folder", "nowhere at all"], "no folder 'nowhere at all'"),
    ("reading", ["--gib", "0.001"], "0.001 GiB are 87 images, expected 1280 at least")])
def test_a_name_or_folder_that_is_none(script, words, said, monkeypatch, capsys):
    assert said in last_line(script, words, monkeypatch, capsys)


@pytest.mark.parametrize("words, said", [
    (["diagnostics.py", "--models", "resnet", "--size", "33"], "a multiple of 8, got 33"),  # minigan's own refusal
    (["accumulate.py", "--parts", "3", "--batch", "2"], "--accumulate 3 does not divide"),  # of the process it starts
    (["train_step.py", "cnn", "--batch", "70000"], "--batch-size: expected 1 to 65,536")])
def test_what_minigan_refuses_is_one_line(words, said):
    script, *words = words
    if script == "train_step.py":
        pytest.importorskip("torch")
    done = subprocess.run([sys.executable, FOLDER / script, *words], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(FOLDER.parent)})
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
