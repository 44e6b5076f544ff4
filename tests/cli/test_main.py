"""The command line as people meet it: what it prints and where, its exit codes, and that wrong input costs nothing."""

import dataclasses
import gzip
import os
import re
import shlex
import signal
import subprocess
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image
from published_files import archive, batches, binary_files, idx, put, python_files
from tiny import ROOT, contents, names, pictures, run_until, start, words

import minigan
from minigan.cli import main
from minigan.data import places
from minigan.experiment.experiment import Experiment, option_name
from minigan.experiment.presets import DATASET_PRESETS
from minigan.training import loop, validate


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty working folder, an empty cache folder, no system folder and no network."""
    def unreachable(*_, **__):
        raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "SYSTEM_FOLDER", tmp_path / "system")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A trained run, which tests leave as it is."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    return out


def refused(arguments: list, code: int, capsys) -> str:
    """The one line, on stderr, with which the command line refuses; nothing is made in the working folder."""
    before = names(Path.cwd())
    assert main.run([str(word) for word in arguments]) == code
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("minigan: ") and error.count("\n") == 1 and "fault of minigan" not in error
    assert names(Path.cwd()) == before
    return error


# ---- what it says of itself ----------------------------------------------------------------------------------------

def test_it_is_a_module_and_a_command_with_a_version():
    for how in (["-m", "minigan"], ["-c", "from minigan.cli.main import main; main()"]):
        done = subprocess.run([sys.executable, *how, "--version"], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert (done.stdout, done.stderr, done.returncode) == (f"minigan {minigan.__version__}\n", "", 0)


def test_help_shows_every_field_of_an_experiment_with_its_default_and_choices(capsys):
    assert main.run(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for f in dataclasses.fields(Experiment)[1:]:
        assert f"{option_name(f.name)} " in text
        if f.default not in (None, False):
            assert f"[{f.default:g}]" in text if isinstance(f.default, float) else f"[{f.default}]" in text
    for choices in validate.CHOICES.values():  # a line may end after a hyphen
        assert all(choice in text.replace("- ", "-") for choice in choices)
    for name, preset in DATASET_PRESETS.items():
        assert f"{name} --width {preset['width']:g} --batch-size {preset['batch_size']}" in text.replace(":", "")


@pytest.mark.parametrize("command", [[], ["train"], ["sample"]])
def test_the_commands_that_help_shows_are_taken(command, capsys):
    main.run([*command, "--help"])
    lines = re.findall(r"^ +minigan (train|sample|info)(.*?)(?:  .*)?$", capsys.readouterr().out, re.MULTILINE)
    assert len(lines) >= 3
    for name, rest in lines:
        context = main.commands.commands[name].make_context(name, shlex.split(rest))  # raises if a word is not known
        assert name == "info" or context.params["dataset" if name == "train" else "run"] or context.params["resumed"]


def test_without_words_it_shows_its_help(capsys):
    assert main.run([]) == 2
    out, error = capsys.readouterr()
    assert out.startswith("Usage: minigan") and "minigan train cifar10 --norm sn" in out and error == ""


def test_info_names_versions_threads_devices_and_data(data, tmp_path, capsys):
    put(tmp_path / "cache" / "cifar10", {})
    archive(tmp_path / "cache" / "cifar10" / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py")
    put(tmp_path / "cache" / "inception", {"inception-2015-12-05.tgz": b""})
    put(tmp_path / "cache" / "classifiers", {"shapes-32.h5": b""})
    assert main.run(["info"]) == 0
    rows = dict(re.split("  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["minigan"].startswith(minigan.__version__) and rows["numpy"] == np.__version__
    assert rows["data cifar10"].endswith("cifar-10-python.tar.gz") and rows["data mnist"] == "not found"
    assert rows["device cpu"] == "yes" and rows["device cuda"].startswith(("yes", "no")) and "threads" in rows
    assert rows["cache folder"] == str(tmp_path / "cache") and rows["classifiers"] == "shapes-32"
    assert rows["inception's weights"].endswith("inception-2015-12-05.tgz")


# ---- training ------------------------------------------------------------------------------------------------------

def test_cifar10_from_either_published_archive_gives_the_same_run(tmp_path, monkeypatch, capsys):
    content = batches(13)  # 65 pictures to train: one more than a batch
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
    assert found[0] == found[1]
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
    assert bar.startswith("reading pictures [####") and bar.endswith("100 %")
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


# ---- sampling ------------------------------------------------------------------------------------------------------

def test_a_grid_an_array_and_single_pictures_show_the_same(run, capsys):
    for out in ("grid.PNG", "images.npz", "a folder ü"):
        assert main.run(["sample", str(run), "-n", "6", "--out", out]) == 0
        assert capsys.readouterr().out == f"6 pictures of 16 x 16 pixels: {out}\n"
    with np.load("images.npz", allow_pickle=False) as file:
        images = file["images"]
    assert images.shape == (6, 16, 16, 3) and images.dtype == np.uint8
    assert names(Path("a folder ü")) == [f"0000{i}.png" for i in range(6)]
    for i in range(6):
        assert np.array_equal(np.asarray(Image.open(f"a folder ü/0000{i}.png")), images[i])
    grid = np.asarray(Image.open("grid.PNG"))
    assert grid.shape == (2 * 18 + 2, 3 * 18 + 2, 3) and np.array_equal(grid[20:36, 38:54], images[5])


def test_samples_depend_on_the_seed_alone(run):
    for out, more in (("a.png", []), ("b.png", ["--seed", "0"]), ("c.png", ["--seed", "1"])):
        assert main.run(["sample", str(run), "-n", "4", "--out", out, *more]) == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_pixels_are_enlarged_and_rows_interpolate(run):
    assert main.run(["sample", str(run), "-n", "4", "--scale", "3", "--out", "large.png"]) == 0
    assert main.run(["sample", str(run), "-n", "4", "--out", "small.png"]) == 0
    large, small = (np.asarray(Image.open(name)) for name in ("large.png", "small.png"))
    assert large.shape == (2 * 50 + 2, 2 * 50 + 2, 3)
    assert np.array_equal(large[2:50:3, 2:50:3], small[2:18, 2:18])
    assert main.run(["sample", str(run), "-n", "2", "--interpolate", "5", "--out", "paths.npz"]) == 0
    with np.load("paths.npz") as file:
        paths = file["images"].reshape(2, 5, 16 * 16 * 3).astype(float)
    ends = np.abs(paths[:, 0] - paths[:, -1]).mean()
    assert 0 < np.abs(np.diff(paths, axis=1)).mean() < ends  # neighbours are nearer to each other than the ends
    assert main.run(["sample", str(run), "-n", "2", "--interpolate", "5", "--out", "paths.png"]) == 0
    assert Image.open("paths.png").size == (5 * 18 + 2, 2 * 18 + 2)  # a path a row


def test_an_unreadable_newest_checkpoint_is_said_and_the_older_one_used(data, tmp_path, capsys):
    assert main.run([*words(data, tmp_path / "run", iterations=3, checkpoint_every=2, lr=0.1), "-q"]) == 0
    assert main.run(["sample", str(tmp_path / "run"), "--out", "before.png"]) == 0
    newest = tmp_path / "run" / "checkpoint-0000003.h5"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    assert main.run(["sample", str(tmp_path / "run"), "--out", "after.png"]) == 0
    error = capsys.readouterr().err
    assert "checkpoint-0000003.h5 cannot be read" in error and "using checkpoint-0000002.h5" in error
    assert error.count("\n") == 1 and Path("before.png").read_bytes() != Path("after.png").read_bytes()


def test_a_failed_write_leaves_the_picture_that_was_there(run, monkeypatch, capsys):
    assert main.run(["sample", str(run), "-n", "4", "--out", "grid.png"]) == 0
    before = Path("grid.png").read_bytes()
    capsys.readouterr()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for out in ("grid.png", "images.npz"):
        assert f"{out} cannot be written (No space left" in refused(
            ["sample", run, "-n", "9", "--out", out], 1, capsys)
    assert Path("grid.png").read_bytes() == before and names(Path()) == ["grid.png"]


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
    ("train cifar10 --iterations 0", "--iterations: expected 1 to 1e+09, got 0"),
    ("train cifar10 --iterations -5", "--iterations: expected"),
    (f"train cifar10 --iterations {10**30}", "--iterations: expected"),
    ("train cifar10 --iterations 1.5", "'1.5' is not a valid integer"),
    ("train cifar10 --batch-size 0", "--batch-size: expected"),
    ("train cifar10 --lr nan", "--lr: expected 1e-12 to 1e+06, got nan"),
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
    ("paint", "No such command"),
    ("sample", "Missing argument"),
    ("sample nowhere", "nowhere is not a run"),
    ("sample nowhere -n 0", "--count: expected at least 1, got 0"),
    ("sample nowhere -n 100001", "expected at most 100,000"),
    ("sample nowhere -n 10 --interpolate 10001", "expected at most 100,000"),
    ("sample nowhere -n 400 --scale 16", "as much as 102,400 pictures"),
    ("sample nowhere --scale 0", "--scale: expected at least 1, got 0"),
    ("sample nowhere --seed -1", "--seed: expected at least 0, got -1"),
    ("sample nowhere --interpolate 1", "--interpolate: expected at least 2, got 1"),
    ("sample nowhere --out grid.jpeg", "expected a .png, an .npz or a folder"),
])
def test_wrong_use_is_one_line_with_what_was_expected(arguments, named, capsys):
    assert named in refused(shlex.split(arguments), 2, capsys)


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
    ("folder", lambda root: put(root, {"notes.txt": b""}), 1, "no pictures in it"),
    ("folder", lambda root: root, 1, "no such file or folder"),
    ("folder", lambda root: put(root.parent, {root.name: b""}) / root.name, 2, "expected a folder"),
    ("folder", folder_with("bad.png", b"<html>"), 1, "bad.png (is not a picture of a known format)"),
    ("folder", small_picture, 1, "small.png (is 12 x 12, smaller than 16 x 16)"),
])
def test_data_that_cannot_be_had_are_one_line_and_no_run(dataset, build, code, named, tmp_path, capsys):
    root = build(tmp_path / "root")
    arguments = ["train", dataset, "--data-root", root, "--width", "0.05"]
    line = refused(arguments + (["--size", "16"] if dataset == "folder" else []), code, capsys)
    assert named in line and (code == 2 or str(root) in line)


def test_no_network_is_one_line_that_says_what_to_do_by_hand(tmp_path, capsys):
    assert main.run(["train", "cifar10"]) == 1
    said, line = capsys.readouterr().err.splitlines()
    assert said.startswith("downloading https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (170 MB) to ")
    assert "Network is unreachable" in line
    assert f"put that file at {tmp_path / 'cache' / 'cifar10' / 'cifar-10-python.tar.gz'}" in line
    assert names(Path()) == []


def test_a_batch_of_more_than_all_pictures_is_refused(data, capsys):
    line = refused(words(data, Path("run"), batch_size=25), 2, capsys)
    assert "--batch-size: expected at most the number of pictures, 24, got 25" in line


def test_a_size_that_does_not_fit_the_model_says_which_would(data, capsys):
    arguments = words(data, Path("run"), model="resnet", size=20)
    pictures(Path("large"), 8, 32)
    line = refused(["train", "folder", "--data-root", "large", *arguments[4:]], 2, capsys)
    assert "needs pictures whose size is a multiple of 8, got 20; use --size 24, or --model cnn" in line


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
def test_cuda_where_there_is_none_says_what_is_missing(cupy, named, data, run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # None: as if it were not installed
    assert named in refused([*words(data, Path("run")), "--device", "cuda"], 2, capsys)
    assert named in refused(["train", "--resume", run, "--device", "cuda", "--iterations", "20"], 2, capsys)
    assert main.run(["info"]) == 0
    assert re.search("^device cuda +no: ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(("out", "code", "named"), [
    ("file/grid.png", 1, "file/grid.png cannot be written"), ("file/folder", 1, "file/folder cannot be made"),
    ("missing/grid.png", 1, "No such file or directory"), ("folder.png", 1, "folder.png cannot be written"),
])
def test_places_that_cannot_hold_samples_are_named(out, code, named, run, capsys):
    Path("file").write_text("")
    Path("folder.png").mkdir()
    assert named in refused(["sample", run, "-n", "4", "--out", out], code, capsys)


# ---- what nobody foresaw -------------------------------------------------------------------------------------------

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
