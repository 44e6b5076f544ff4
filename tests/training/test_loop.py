"""Training: the algorithm's parts against what they must do, and a run's bytes whatever comes between."""

import json
import os
import platform
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import contents, names, pictures, run_until, start, tiny, words

from minigan.cli import main
from minigan.engine import machine, thread_pool
from minigan.engine.autograd import Tensor
from minigan.training import checkpoints, loop, restore, run_folder
from minigan.training.gan import Training
from minigan.training.sampling import draw, latents


def parameters(network) -> dict[str, bytes]:
    return {name: p.data.tobytes() for name, p in network.parameters().items()}


# ---- the same bytes, whatever comes between ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """What runs that were never interrupted left, by model."""
    found = {}

    def of(model: str) -> dict[str, bytes]:
        if model not in found:
            out = tmp_path_factory.mktemp("whole") / model
            assert main.run([*words(data, out, model=model), "-q"]) == 0
            found[model] = contents(out)
        return found[model]

    return of


@pytest.mark.parametrize("model", ["cnn", "resnet"])
@pytest.mark.parametrize("splits", [(1,), (3,), (2, 4, 5, 9)])
def test_an_interrupted_run_goes_on_to_the_same_bytes(model, splits, data, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    arguments = [*words(data, out, model=model), "-q"]
    for split in splits:
        assert run_until(arguments, split, monkeypatch) == 130
        assert f"stopped at iteration {split} of 10, saved" in capsys.readouterr().err
        assert checkpoints.newest(out)[1]["iteration"] == split  # nothing is done again
        arguments = ["train", "--resume", str(out), "-q"]
    assert main.run(arguments) == 0
    assert contents(out) == whole(model)
    logged = [line["iteration"] for line in run_folder.read_log(out)]
    assert logged == [2, 4, 6, 8, 10]


def test_other_experiments_have_other_bytes(data, whole, tmp_path):
    """Else the comparisons would prove nothing."""
    assert main.run([*words(data, tmp_path / "run", seed=1), "-q"]) == 0
    other, first = contents(tmp_path / "run"), whole("cnn")
    assert other.keys() == first.keys() and all(other[name] != first[name] for name in first)


def test_a_run_that_lost_its_newest_checkpoint_goes_on_from_the_older_to_the_same_bytes(data, whole, tmp_path, capsys):
    out = tmp_path / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    newest = out / "checkpoint-0000010.h5"
    newest.write_bytes(newest.read_bytes()[:5000])
    capsys.readouterr()
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    error = capsys.readouterr().err
    assert "checkpoint-0000010.h5 cannot be read (truncated" in error and "using checkpoint-0000009.h5" in error
    assert contents(out) == whole("cnn")


def test_a_run_killed_before_its_first_checkpoint_begins_again(data, whole, tmp_path, capsys):
    out = tmp_path / "run"
    run_folder.create(out, tiny(data_root=str(data)), {})
    (out / "samples").mkdir()
    for part in (".samples.png.0123456789abcdef.part", "samples/.samples-0000000.png.fedcba9876543210.part"):
        (out / part).write_bytes(b"half")
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert "no checkpoint yet: beginning again" in capsys.readouterr().err
    assert contents(out) == whole("cnn") and not [name for name in names(out) if name.endswith(".part")]


def test_a_run_killed_after_its_last_checkpoint_gets_its_film(data, whole, tmp_path, capsys):
    out = tmp_path / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    (out / "film.png").unlink()
    (out / "progress.gif").write_bytes(b"an older one")
    assert main.run(["train", "--resume", str(out)]) == 0
    assert "is finished: 10 of 10 iterations" in capsys.readouterr().err
    assert main.run(["train", "--resume", str(out), "--iterations", "9"]) == 0
    assert capsys.readouterr().err == f"{out} has 10 iterations already, --iterations asks for 9; give more to go on\n"
    assert contents(out) == whole("cnn")


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_signals_at_random_moments_leave_a_run_that_can_go_on_to_the_same_bytes(data, whole, tmp_path):
    out, chosen = tmp_path / "run", {"iterations": 40, "checkpoint_every": 5, "sample_every": 10}
    assert main.run([*words(data, tmp_path / "whole", **chosen), "-q"]) == 0
    chance = random.Random(23)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    for signum in [signal.SIGKILL, *chance.choices(list(expected), k=4)]:
        resumed = (out / "experiment.json").exists()
        process = start("train", "--resume", out) if resumed else start(*words(data, out, **chosen))
        # moments in the loop; and for what Python does not turn into an exception, in imports and in reading the data
        if signum == signal.SIGINT or chance.random() < 0.7:
            process.stderr.readline()
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signum)
        _, error = process.communicate(timeout=60)
        assert process.returncode in (expected[signum], -signum, 0) and "Traceback" not in error, error
        if process.returncode in (130, 143) and "stopped at" in error:
            assert error.endswith(f"saved; go on with: minigan train --resume {out}\n")
    arguments = ["train", "--resume", str(out)] if (out / "experiment.json").exists() else words(data, out, **chosen)
    assert main.run([*arguments, "-q"]) == 0
    assert contents(out) == contents(tmp_path / "whole")
    assert [line["iteration"] for line in run_folder.read_log(out)] == list(range(2, 41, 2))
    assert not [name for name in names(out) if name.endswith(".part")]


def test_the_number_of_threads_changes_no_byte(data, tmp_path):
    found = []
    for threads in (1, 2, 3):
        out = tmp_path / str(threads)
        chosen = {"threads": threads, "width": 0.5, "batch_size": 16, "iterations": 2}
        assert main.run([*words(data, out, **chosen), "-q"]) == 0
        assert threads == 1 or thread_pool._pool._threads  # the work was large enough to be shared
        found.append(contents(out))
    assert found[0] == found[1] == found[2]


def test_a_resumed_run_may_change_machine_and_records_but_not_what_is_learned(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert run_until([*words(data, out), "-q"], 4, monkeypatch) == 130
    moved = shutil.move(data, tmp_path / "moved")
    try:
        assert main.run(["train", "--resume", str(out), "-q"]) == 1
        capsys.readouterr()
        for option, value, had in (("--lr", "0.1", "0.0002"), ("--norm", "none", "sn"), ("--seed", "1", "0"),
                                   ("--batch-size", "5", "4"), ("--no-skip-bad", None, None)):
            code = main.run(["train", "--resume", str(out), option, *([value] if value else []), "-q"])
            line = capsys.readouterr().err
            if value:
                assert code == 2 and f"was trained with {option} {had}, not {value}" in line
        assert main.run(["train", "cifar10", "--resume", str(out)]) == 2
        assert main.run(["train", "--resume", str(out), "--threads", "1", "--data-root", str(moved), "--lr", "0.0002",
                        "--log-every", "1", "--iterations", "12", "-q"]) == 0
    finally:
        shutil.move(moved, data)
    assert [line["iteration"] for line in run_folder.read_log(out)] == [2, 4, *range(5, 13)]
    assert run_folder.read_experiment(out).iterations == 12


def test_a_run_goes_on_from_another_working_folder(data, tmp_path, monkeypatch, capsys):
    """Whoever made it, the command line or a program: its paths are stored as they are called from anywhere."""
    monkeypatch.chdir(data.parent)
    monkeypatch.setattr(loop, "check_for_later", lambda e: "")  # there are no such weights
    options = {"data_root": data.name, "score_weights": "weights.pth"}
    assert run_until([*words(data, tmp_path / "line", **options), "-q"], 3, monkeypatch) == 130
    loop.fit(tiny(**options | {"iterations": 3}), tmp_path / "program", quiet=True)
    for run in ("line", "program"):
        experiment = run_folder.read_experiment(tmp_path / run)
        assert (experiment.data_root, experiment.score_weights) == (str(data), str(data.parent / "weights.pth"))
    monkeypatch.chdir(tmp_path)
    assert main.run(["train", "--resume", "line", "-q", "--score-weights", "other.pth"]) == 0
    assert run_folder.read_experiment(tmp_path / "line").score_weights == str(tmp_path / "other.pth")
    assert main.run(["train", "--resume", "program", "-q", "--iterations", "4"]) == 0


def test_a_run_does_not_go_on_with_other_pictures(data, tmp_path, monkeypatch, capsys):
    out, other = tmp_path / "run", pictures(tmp_path / "other")
    assert run_until([*words(data, out), "-q"], 4, monkeypatch) == 130
    before = contents(out)
    (other / "00.png").write_bytes((other / "01.png").read_bytes())
    assert main.run(["train", "--resume", str(out), "--data-root", str(other)]) == 1
    line = capsys.readouterr().err
    assert "was trained on other images (24) than the data set has now (24); see --data-root" in line
    assert contents(out) == before


# ---- when it goes wrong --------------------------------------------------------------------------------------------

def test_a_second_signal_stops_at_once(data, tmp_path, monkeypatch, capsys):
    update = Training.update_generator

    def twice(self, rate):
        if self.iteration == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, rate)

    monkeypatch.setattr(Training, "update_generator", twice)
    assert main.run([*words(data, tmp_path / "run"), "-q"]) == 130
    assert capsys.readouterr().err.strip() == "minigan: interrupted"
    assert checkpoints.newest(tmp_path / "run")[1]["iteration"] == 3


def test_a_signal_that_the_shell_has_ignored_stays_ignored(data, whole, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run_until([*words(data, tmp_path / "run"), "-q"], 4, monkeypatch) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert contents(tmp_path / "run") == whole("cnn")


def test_a_signal_in_the_last_iteration_is_no_interruption(data, whole, tmp_path, monkeypatch):
    assert run_until([*words(data, tmp_path / "run"), "-q"], 10, monkeypatch) == 0
    assert contents(tmp_path / "run") == whole("cnn")


def test_a_run_that_breaks_down_says_where_and_what_is_still_good(data, tmp_path, capsys, recwarn):
    out = tmp_path / "run"
    assert main.run([*words(data, out, norm="none", lr=1e6, loss="hinge"), "-q"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and not len(recwarn)  # no warning of an overflow before it
    assert re.match(r"minigan: (the loss|a weight) is not finite at iteration \d", line)
    assert all(f"conv{i} " in line for i in range(1, 8)) and "dense " in line and "--norm sn" in line
    assert (out / "failed.txt").read_text() == line.removeprefix("minigan: ")
    named = Path(re.search(r"last good checkpoint is (\S+);", line)[1])
    assert named == checkpoints.newest(out)[0]
    assert main.run(["sample", str(out), "-n", "4", "--out", str(tmp_path / "grid.png")]) == 0


@pytest.mark.parametrize("broken", ["loss", "generator", "discriminator", "moments"])
def test_nothing_spoilt_is_saved(broken, data, tmp_path, monkeypatch, capsys):
    iterate = Training.iterate

    def spoil(self):
        losses = iterate(self)
        if self.iteration == 6:  # a checkpoint is due
            if broken == "loss":
                losses = losses[0], Tensor(np.float32(-np.inf))
            elif broken == "moments":
                self.gen.layers["bn1"].state["mean"][0] = np.nan
            else:
                network = self.gen if broken == "generator" else self.dis
                network.layers["dense"].params["W"].data[0, 0] = np.nan
        return losses

    monkeypatch.setattr(Training, "iterate", spoil)
    out = tmp_path / "run"
    assert main.run([*words(data, out), "-q"]) == 1
    line = capsys.readouterr().err
    what = "the loss" if broken == "loss" else "a weight"
    assert line.startswith(f"minigan: {what} is not finite at iteration 6 (") and line.count("\n") == 1
    assert f"the last good checkpoint is {out / 'checkpoint-0000003.h5'};" in line
    assert ("dense not finite" in line) == (broken == "discriminator")
    assert checkpoints.newest(out)[1]["iteration"] == 3 and "samples-0000006.png" not in names(out)
    assert "failed.txt" in names(out)
    monkeypatch.undo()
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert "failed.txt" not in names(out)


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [200_000, 20_000, 1_000])  # too small for a checkpoint; an image; the log
def test_a_full_disk_is_said_and_spoils_nothing(limit, data, whole, tmp_path, monkeypatch):
    import resource

    out = tmp_path / "run"
    assert run_until([*words(data, out), "-q"], 4, monkeypatch) == 130
    before = contents(out)
    process = start("train", "--resume", out, "-q",
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "cannot be written (File too large)" in error
    assert error.count("\n") == 2 and error.startswith("going on from")
    after = contents(out)
    assert all(after[name] == data for name, data in before.items() if name not in ("log", "samples.png"))
    assert not [name for name in names(out) if name.endswith(".part")]
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert contents(out) == whole("cnn")




def test_a_conditional_run_goes_on_to_the_same_bytes_and_is_sampled_by_class(tmp_path, monkeypatch, capsys):
    words = ["train", "shapes", "--size", "16", "--width", "0.05", "--dim-z", "8", "--batch-size", "4", "--iterations",
             "4", "--checkpoint-every", "2", "--condition", "projection", "--norm", "sn", "--ema", "0.9", "-q"]
    assert main.run([*words, "--out", str(tmp_path / "whole")]) == 0
    assert run_until([*words, "--out", str(tmp_path / "cut")], 2, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "cut"), "-q"]) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    out = tmp_path / "hearts.npz"
    assert main.run(["sample", str(tmp_path / "whole"), "-n", "5", "--label", "0", "--out", str(out)]) == 0
    assert np.load(out)["images"].shape == (5, 16, 16, 3)
    capsys.readouterr()
    assert main.run(["sample", str(tmp_path / "whole"), "--label", "10"]) == 2
    assert "--label: expected 0 to 9, got 10" in capsys.readouterr().err




def test_a_normalized_generator_goes_on_and_is_sampled(tmp_path, monkeypatch):
    data = pictures(tmp_path / "data")
    chosen = {"gen_norm": "bsn", "u_schedule": "update", "ema": 0.9}
    assert main.run([*words(data, tmp_path / "whole", **chosen), "-q"]) == 0
    assert run_until([*words(data, tmp_path / "cut", **chosen), "-q"], 5, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "cut"), "-q"]) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    saved = restore.newest(tmp_path / "whole")
    assert draw(saved.gen, latents(np.random.default_rng(0), saved.e, 2)).shape == (2, 16, 16, 3)


# ---- another BLAS --------------------------------------------------------------------------------------------------

def record(out: Path) -> dict:
    return json.loads((out / "experiment.json").read_text())["machine"]


def test_a_run_keeps_its_blas_and_says_when_it_goes_on_under_another(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert main.run([*words(data, out, iterations=2), "-q"]) == 0
    made = record(out)
    assert made["blas"] == machine.blas()
    for iterations, blas, said in ((3, made["blas"], ""), (4, ["other 1.0 (Z80)"], "goes on with other 1.0 (Z80): "),
                                   (5, ["other 1.0 (Z80)"], ""), (6, made["blas"], "was trained with other 1.0 (Z80)")):
        monkeypatch.setattr(machine, "blas", lambda blas=blas: blas)
        capsys.readouterr()
        assert main.run(["train", "--resume", str(out), "--iterations", str(iterations), "-q"]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "in its own way" in line]
        assert len(lines) == bool(said) and said in "".join(lines)
        assert record(out)["blas"] == blas
    assert record(out)["blas_before"] == [made["blas"], ["other 1.0 (Z80)"]]


@pytest.mark.parametrize("blas", [None, [], "MKL", [3]])
def test_a_run_that_does_not_say_its_blas_goes_on(blas, data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main.run([*words(data, out, iterations=2), "-q"]) == 0
    whole = json.loads((out / "experiment.json").read_text())
    whole["machine"]["blas"] = blas
    (out / "experiment.json").write_text(json.dumps(whole))
    assert main.run(["train", "--resume", str(out), "--iterations", "3", "-q"]) == 0
    assert ("in its own way" in capsys.readouterr().err) == (blas == [3])


def test_one_kernel_of_openblas_gives_one_runs_bytes(data, tmp_path, monkeypatch):
    """Under a kernel that every x86 processor has; that of this machine is another, and so are the last digits."""
    if not any("openblas" in name for name in machine.blas()) or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs OpenBLAS on x86")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    for name in ("one", "again"):
        process = start(*words(data, tmp_path / name, iterations=4), "-q")
        assert process.communicate()[1].startswith("done") and process.returncode == 0
    if not all(name.endswith("(Nehalem)") for name in record(tmp_path / "one")["blas"]):
        pytest.skip("this OpenBLAS has one kernel only")
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    process = start("train", "--resume", tmp_path / "one", "--iterations", "5", "-q")
    assert ("(Nehalem) and goes on with" in process.communicate()[1]) == (machine.blas() != record(tmp_path / "again")
                                                                          ["blas"])
