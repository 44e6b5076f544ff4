"""minigan log, used wrongly."""

import pytest


@pytest.mark.parametrize("arguments, code, line", [
    (("--csv", "log.jsonl"), 2, "--csv log.jsonl: expected a name that ends with .csv"),
    (("--csv",), 2, "requires an argument"), (("--last", "0"), 2, "--last"),
    (("--csv", "data/x.csv"), 1, "data/x.csv cannot be written")])
def test_wrong_use_is_one_line(arguments, code, line, run, refused, elsewhere):
    (elsewhere / "data").write_text("a file")
    before = sorted(elsewhere.rglob("*"))
    assert line in refused(["log", str(run), *arguments], code)
    assert sorted(elsewhere.rglob("*")) == before


def test_a_run_that_has_logged_nothing_says_so(tmp_path, run, refused):
    (tmp_path / "experiment.json").write_bytes((run / "experiment.json").read_bytes())
    assert "has logged nothing yet" in refused(["log", str(tmp_path), "--csv", "-"], 1)
    assert "is not a run" in refused(["log", str(tmp_path / "none")], 2)
