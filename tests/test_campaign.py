"""The campaigns run, count, and say what they found: on two readers and one kill."""

import subprocess
import sys
from pathlib import Path

import campaign
import damage
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_a_small_campaign_ends_with_tables_of_counts():
    words = ["--mutations", "20", "--kills", "1", "--readers", "mnist", "packed"]
    done = subprocess.run([sys.executable, "-m", "tests.campaign", *words], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for row in ("| all | 40 |", "| pack | 1 | 1 | 1 | 0 |", "| train | 1 | 1 | 1 | 0 |"):
        assert row in done.stdout


def test_a_fault_is_counted_and_said_with_its_number(monkeypatch, capsys):
    def broken(path: Path) -> None:
        raise ZeroDivisionError("a fault")
    monkeypatch.setitem(damage.READERS, "mnist", damage.Reader(damage.READERS["mnist"].make, broken))
    found = campaign.mutate("mnist", 3, 0)
    assert found["faults"] == 3 and found["read"] == 0
    assert "mnist, seed 0, file 2:" in capsys.readouterr().err


def test_damaged_files_are_the_same_for_the_same_seed_and_differ_else():
    data = bytes(range(256)) * 4
    one, two, other = (list(damage.damaged_files(data, seed, 20)) for seed in (1, 1, 2))
    assert one == two != other and sum(bad != data for bad in one) >= 18


def test_a_message_that_is_no_line_is_a_fault():
    def long(path: Path) -> None:
        raise damage.FailedWork("two\nlines")
    with pytest.raises(AssertionError, match="no short line"):
        damage.outcome(long, Path("x"))
