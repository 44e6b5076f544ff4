"""Scores on the way (--score-every): what they log and keep, and that they change nothing."""

import numpy as np
from scored import SMALL, said
from tiny import contents, run_until

from minigan.cli import main
from minigan.formats import hdf5_state
from minigan.metrics import stored_scores
from minigan.training import restore, run_folder, run_record, sampling


def test_the_log_has_a_curve_and_the_best_checkpoint_is_kept(run):
    scored = {line["iteration"]: line["scores"] for line in run_folder.read_log(run) if "scores" in line}
    assert sorted(scored) == [2, 4, 6]
    name = next(name for name in scored[2] if name.startswith("FID classifier at 100 pictures"))
    best = min(scored, key=lambda i: scored[i][name])
    assert [path.name for path in run.glob("best-*.h5")] == [f"best-{best:07d}.h5"]
    assert hdf5_state.load(run / f"best-{best:07d}.h5")["iteration"] == best
    assert run_record.best_of(run_folder.read_log(run)) == (best, name, scored[best][name])


def test_scores_change_nothing_that_is_learned(run, tmp_path):
    assert main.run(["train", "shapes", *SMALL, "--iterations", "6", "--checkpoint-every", "4", "--out",
                     str(tmp_path / "b"), "-q"]) == 0
    for path in (run, tmp_path / "b"):
        assert (path / "checkpoint-0000006.h5").is_file()
    assert (run / "checkpoint-0000006.h5").read_bytes() == (tmp_path / "b" / "checkpoint-0000006.h5").read_bytes()


def test_a_resumed_run_has_the_uninterrupted_ones_curve_and_best(run, tmp_path, monkeypatch):
    out = tmp_path / "again"
    words = ["train", "shapes", *SMALL, "--iterations", "6", "--out", str(out), "-q", "--score-every", "2",
             "--score-count", "100", "--checkpoint-every", "4"]
    assert run_until(words, 3, monkeypatch) == 130
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    kept = contents(out)
    for name, data in contents(run).items():
        if name != "log":  # the stop itself leaves no line, but images and checkpoints are the same
            assert kept[name] == data, name
    curves = [{line["iteration"]: line["scores"] for line in run_folder.read_log(path) if "scores" in line}
              for path in (run, out)]
    assert curves[0] == curves[1]
    assert {p.name: p.read_bytes() for p in run.glob("best-*")} == {p.name: p.read_bytes() for p in out.glob("best-*")}


def test_the_best_generator_can_be_drawn_from_and_scored(run, tmp_path, capsys):
    best = run_record.best_of(run_folder.read_log(run))[0]
    said(["sample", run, "--best", "-n", 3, "--out", tmp_path / "a.npz"], capsys)
    saved = restore.newest(run, best=True)
    z = sampling.latents(np.random.default_rng(0), saved.e, 3)
    with np.load(tmp_path / "a.npz") as found:
        assert np.array_equal(found["images"], sampling.draw(saved.gen, z))
    said(["score", run, "--best", "--count", 60, "--out", tmp_path / "s.json", "-q"], capsys)
    assert {(one.iteration, one.best) for one in stored_scores.read(tmp_path / "s.json")} == {(best, True)}
    assert "(best)" in said(["compare", tmp_path / "s.json"], capsys)[0]


def test_a_run_without_scores_has_no_best(tmp_path, capsys):
    assert main.run(["train", "shapes", *SMALL, "--iterations", "1", "--out", str(tmp_path / "b"), "-q"]) == 0
    assert "without --score-every" in said(["sample", tmp_path / "b", "--best"], capsys, 2)[1]


def test_weights_without_scores_are_looked_at_and_kept_for_minigan_score(cache, tmp_path, capsys):
    """And it is said how they would be used while the run trains."""
    (tmp_path / "none.h5").write_bytes(b"no weights")
    words = ["train", "shapes", *SMALL, "--iterations", "1", "--out", tmp_path / "r", "-q", "--score-weights"]
    for path, says in ((tmp_path / "none.h5", "none.h5"), (tmp_path / "absent.h5", "absent.h5")):
        error = said([*words, path], capsys, 1)[1]
        assert error.count("\n") == 1 and says in error and not (tmp_path / "r").exists()
    error = said([*words, cache / "classifiers" / "shapes-16.h5"], capsys)[1]
    assert error.splitlines()[0].endswith(
        "--score-weights: for minigan score afterwards; to measure scores while it trains, add --score-every N")
    assert "scores" not in run_folder.read_log(tmp_path / "r")[-1]
    error = said(["train", "--resume", tmp_path / "r", "-q", "--score-weights", tmp_path / "absent.h5"], capsys, 1)[1]
    assert error.count("\n") == 1 and "absent.h5" in error


def test_a_missing_classifier_is_said_before_the_run_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "empty"))
    error = said(["train", "shapes", *SMALL, "--score-every", "2", "--out", tmp_path / "r"], capsys, 2)[1]
    assert "minigan classifier train shapes --size 16" in error
    assert not (tmp_path / "r").exists()
