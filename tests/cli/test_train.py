"""minigan train: what it prints and where, how it stops and goes on, and that wrong input costs nothing."""

import dataclasses
import gzip
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import archive, batches, binary_files, idx, put, python_files
from tiny import ROOT, contents, names, pictures, run_until, start, words

from minigan.cli import main
from minigan.experiment.experiment import NETWORKS, Experiment, option_name
from minigan.experiment.presets import DATASET_PRESETS
from minigan.training import validate


def test_help_shows_every_field_of_an_experiment_with_its_default_and_choices(capsys):
    assert main.run(["train", "--help-all"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for f in [f for f in dataclasses.fields(Experiment)[1:] if f.name not in NETWORKS]:
        assert f"{option_name(f.name)} " in text or f.default is True
        if f.default not in (None, False, True):
            assert f"[{f.default:g}]" in text if isinstance(f.default, float) else f"[{f.default}]" in text
    for choices in validate.CHOICES.values():
        assert all(choice in text for choice in choices)
    for name, preset in DATASET_PRESETS.items():
        assert f"{name} --width {preset['width']:g} --batch-size {preset['batch_size']}" in text.replace(":", "")


def test_cifar10_from_either_published_archive_gives_the_same_run(tmp_path, monkeypatch, capsys):
    content = batches(13)  # 65 images to train: one more than a batch
    found = []
    for kind, files, short in (("python", python_files(content), "py"), ("binary", binary_files(content), "bin")):
        root = archive(tmp_path / kind / f"cifar-10-{kind}.tar.gz", files, f"cifar-10-batches-{short}").parent
        monkeypatch.chdir(root)
        command = f"train cifar10 --norm sn --data-root {shlex.quote(str(root))} --width 0.1 --iterations 3"
        assert main.run(shlex.split(command)) == 0
        error = capsys.readouterr().err
        assert "is not the published one; the format is right, so used" in error and "3/3" in error
        assert "done in" in error and "runs/cifar10-cnn-sn/samples.png" in error
        found.append(contents(Path("runs/cifar10-cnn-sn")))
    learned = [{name: a for name, a in files.items() if name[-3:] != ".h5"} for files in found]
    assert learned[0] == learned[1]  # a checkpoint holds --data-root, too
    assert sorted(found[0]) == sorted(["checkpoint-0000003.h5", "film.png", "log", "progress.gif", "samples.png",
                                       *(f"samples/samples-000000{i}.png" for i in range(4))])
    with Image.open("runs/cifar10-cnn-sn/samples.png") as grid:
        assert grid.size == (8 * 34 + 2, 8 * 34 + 2)


def test_to_a_pipe_go_plain_lines_and_with_q_only_the_last(data, tmp_path, capsys):
    assert main.run(words(data, tmp_path / "loud")) == 0
    out, error = capsys.readouterr()
    lines = error.splitlines()
    assert out == "" and "\r" not in error and "\x1b" not in error
    assert re.fullmatch(r" 1/10   .*dis \S+  gen \S+  \|sigma-1\| \S+", lines[0]) and lines[-2].startswith("10/10   ")
    last = f"done in \\d+ s: look at {re.escape(str(tmp_path))}/loud/samples.png and .*/film.png"
    assert re.fullmatch(last, lines[-1])
    assert main.run([*words(data, tmp_path / "quiet"), "--quiet"]) == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert contents(tmp_path / "loud") == contents(tmp_path / "quiet")


def test_verbose_says_every_choice(data, tmp_path, capsys):
    assert main.run([*words(data, tmp_path / "run", iterations=1), "-v", "-q"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().err.splitlines())
    assert rows["norm"] == "sn" and rows["width"] == "0.05" and rows["data"].startswith("(24, 16, 16, 3), ")
    assert all(f.name in rows for f in dataclasses.fields(Experiment)) and "parameters" in rows["generator"]


def in_a_terminal(arguments: list[str]) -> list[str]:
    """The lines that the command line leaves on a terminal, each with its carriage returns."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "minigan", *arguments], stdin=theirs, stdout=theirs,
                               stderr=theirs, env={**os.environ, "PYTHONPATH": str(ROOT)})
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 4096):
            seen += block
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    *lines, rest = seen.decode().split("\r\n")  # a terminal turns \n into \r\n
    assert rest == ""
    return lines


def test_in_a_terminal_one_line_is_rewritten(data, tmp_path):
    bar, live, done = in_a_terminal(words(data, tmp_path / "run", iterations=40))
    assert bar.startswith("reading images [####") and bar.endswith("100 %")
    shown = [line.rstrip() for line in live.split("\r") if line.strip()]
    assert shown[0].startswith(" 1/40") and shown[-1].startswith("40/40") and done.startswith("done in")


def test_in_a_terminal_too_q_shows_no_progress(data, tmp_path):
    (done,) = in_a_terminal([*words(data, tmp_path / "run", iterations=1), "-q"])
    assert done.startswith("done in")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_the_command_that_goes_on(signum, code, data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "a run, ü; rm 'x'"
    assert run_until([*words(data, out), "-q"], 5, monkeypatch, signum) == code
    line = capsys.readouterr().err
    assert line.startswith("minigan: stopped at iteration 5 of 10, saved; go on with: ") and line.count("\n") == 1
    program, *arguments = shlex.split(line.split("go on with: ")[1])
    assert program == "minigan" and main.run([*arguments, "-q"]) == 0
    assert (out / "checkpoint-0000010.h5").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_from_outside_does_the_same(signum, code, data, tmp_path):
    process = start(*words(data, tmp_path / "run", iterations=100_000, sample_every=50_000, checkpoint_every=50_000))
    process.stderr.readline()
    process.send_signal(signum)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in error
    assert error.endswith(f"saved; go on with: minigan train --resume {tmp_path / 'run'}\n")


# ---- wrong input ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("arguments", "named"), [
    ("train", "choose from: celeba, cifar10, cifar100, fashion-mnist, folder, imagenet, mnist, "),
    ("train cifar", "unknown data set 'cifar'; choose from: celeba, cifar10, cifar100, fashion-mnist, folder, "),
    ("train cifar10 --norm spn", "unknown norm 'spn'; choose from: "),
    ("train cifar10 --model dgan", "unknown model 'dgan'; choose from: cnn, cnn-bssn, cnn-code, dcgan, dcgan-32"),
    ("train cifar10 --loss x", "unknown loss 'x'; choose from: hinge, lsgan, minimax, ns, wasserstein"),
    ("train cifar10 --optimizer x", "unknown optimizer 'x'; choose from: adam, rmsprop, sgd"),
    ("train cifar10 --schedule x", "unknown schedule 'x'; choose from: constant, linear"),
    ("train cifar10 --fit x", "unknown fit 'x'; choose from: crop, stretch"),
    ("train cifar10 --scaling x", "unknown scaling 'x'; choose from: 128, 255"),
    ("train cifar10 --device tpu", "unknown device 'tpu'; choose from: cpu, cuda"),
    ("train cifar10 --iterations 0", "--iterations: expected 1 to 1,000,000,000, got 0"),
    ("train cifar10 --iterations -5", "--iterations: expected"),
    (f"train cifar10 --iterations {10**30}", "--iterations: expected"),
    ("train cifar10 --iterations 1.5", "'1.5' is not a valid integer"),
    ("train cifar10 --batch-size 0", "--batch-size: expected"),
    ("train cifar10 --lr nan", "--lr: expected 1e-12 to 1,000,000, got nan"),
    ("train cifar10 --lr -1", "--lr: expected"),
    ("train cifar10 --lr inf", "--lr: expected"),
    ("train cifar10 --lr one", "'one' is not a valid float"),
    ("train cifar10 --width 1e9", "--width: expected 0.001 to 16, got"),
    ("train cifar10 --beta1 1", "--beta1: expected 0 or more and less than 1, got 1.0"),
    ("train cifar10 --seed -1", "--seed: expected"),
    ("train cifar10 --size 8", "--size: expected 16 to 1,024, got 8"),
    ("train cifar10 --threads 0", "--threads: expected"),
    ("train cifar10 --colour red", "--colour"),
    ("train cifar10 mnist", "unexpected extra argument"),
    ("train cifar10 --lr", "--lr"),
    ("train folder", "give it with --data-root"),
    ("train --resume nowhere", "nowhere is not a run"),
    ("train --resume nowhere --out x", "leave --out and --overwrite away"),
])
def test_wrong_use_is_one_line_with_what_was_expected(arguments, named, refused):
    assert named in refused(shlex.split(arguments), 2)


def folder_with(name: str, content: bytes):
    def build(root: Path) -> Path:
        pictures(root, 8)
        (root / name).write_bytes(content)
        return root
    return build


def small_picture(root: Path) -> Path:
    pictures(root, 8)
    Image.new("RGB", (12, 12)).save(root / "small.png")
    return root


def cut(root: Path) -> Path:
    path = archive(root / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py")
    path.write_bytes(path.read_bytes()[:20_000])
    return root


def digits(root: Path, images: np.ndarray) -> Path:
    return put(root, {"train-images-idx3-ubyte.gz": gzip.compress(idx(images)),
                      "train-labels-idx1-ubyte": idx(np.zeros(len(images), np.uint8))})


@pytest.mark.parametrize(("dataset", "build", "code", "named"), [
    ("cifar10", lambda root: root, 1, "no such file or folder"),
    ("cifar10", lambda root: put(root, {}), 1, "no CIFAR-10 there"),
    ("cifar10", cut, 1, "broken or cut off"),
    ("cifar10", lambda root: put(root, {f"data_batch_{i}.bin": bytes(3072) for i in range(1, 6)}), 1, "3073"),
    ("mnist", lambda root: put(root, {}), 1, "no mnist there"),
    ("mnist", lambda root: digits(root, np.zeros((9, 28, 27), np.uint8)), 1, "expected 28 x 28"),
    ("folder", lambda root: put(root, {"notes.txt": b""}), 1, "no images in it"),
    ("folder", lambda root: root, 1, "no such file or folder"),
    ("folder", lambda root: put(root.parent, {root.name: b""}) / root.name, 2, "expected a folder"),
    ("folder", folder_with("bad.png", b"<html>"), 1, "bad.png (is an HTML page"),
    ("folder", small_picture, 1, "small.png (is 12 x 12, smaller than 16 x 16)"),
])
def test_data_that_cannot_be_had_are_one_line_and_no_run(dataset, build, code, named, tmp_path, refused):
    root = build(tmp_path / "root")
    arguments = ["train", dataset, "--data-root", root, "--width", "0.05"]
    line = refused(arguments + (["--size", "16"] if dataset == "folder" else []), code)
    assert named in line and (code == 2 or str(root) in line)


def test_no_network_is_one_line_that_says_what_to_do_by_hand(tmp_path, capsys):
    assert main.run(["train", "cifar10"]) == 1
    said, line = capsys.readouterr().err.splitlines()
    assert said.startswith("downloading https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (170 MB) to ")
    assert "Network is unreachable" in line
    assert f"put that file at {tmp_path / 'cache' / 'cifar10' / 'cifar-10-python.tar.gz'}" in line
    assert names(Path()) == []


@pytest.mark.parametrize("size", ["64", "1"])
def test_one_image_is_refused_before_training_with_advice_that_works(size, tmp_path, refused):
    (tmp_path / "root").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "root" / "a.png")
    command = ["train", "folder", "--data-root", tmp_path / "root", "--size", "16", "--width", "0.05",
               "--iterations", "2"]
    line = refused([*command, "--batch-size", size], 2)
    assert "needs at least 2" in line and "put a copy of it beside it, and use --batch-size 2" in line
    (tmp_path / "root" / "b.png").write_bytes((tmp_path / "root" / "a.png").read_bytes())
    assert main.run([*map(str, command), "--batch-size", "2", "--out", str(tmp_path / "run")]) == 0


def test_a_batch_of_more_than_all_pictures_is_refused(data, refused):
    line = refused(words(data, Path("run"), batch_size=25), 2)
    assert "--batch-size: expected at most the number of images, 24, got 25" in line


def test_a_size_that_does_not_fit_the_model_says_which_would(data, refused):
    arguments = words(data, Path("run"), model="resnet", size=20)
    pictures(Path("large"), 8, 32)
    line = refused(["train", "folder", "--data-root", "large", *arguments[4:]], 2)
    assert "needs images whose size is a multiple of 8, got 20; use --size 24, or --model cnn" in line


def fake_cupy(count) -> types.ModuleType:
    """CuPy where there is no GPU: as its documentation says, getDeviceCount raises CUDARuntimeError or says 0."""
    class CUDARuntimeError(RuntimeError):
        pass

    def get_device_count():
        if count is None:
            raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected\nsecond line")
        return count

    cupy = types.ModuleType("cupy")
    cupy.ndarray = type("ndarray", (), {})
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
        getDeviceCount=get_device_count, CUDARuntimeError=CUDARuntimeError))
    return cupy


@pytest.mark.parametrize(("cupy", "named"), [
    (None, "needs CuPy, which is not installed; pip install 'minigan[cuda]' (CUDA 12) or 'minigan[cuda13]', or use "
           "--device cpu"),
    (fake_cupy(None), "finds no usable GPU (cudaErrorNoDevice: no CUDA-capable device is detected)"),
    (fake_cupy(0), "this machine has no GPU; use --device cpu"),
])
def test_cuda_where_there_is_none_says_what_is_missing(cupy, named, data, run, monkeypatch, refused, capsys):
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # None: as if it were not installed
    assert named in refused([*words(data, Path("run")), "--device", "cuda"], 2)
    assert named in refused(["train", "--resume", run, "--device", "cuda", "--iterations", "20"], 2)
    assert main.run(["info"]) == 0
    assert re.search("^device cuda +no: ", capsys.readouterr().out, re.MULTILINE)
