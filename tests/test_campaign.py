"""The campaigns run, count, and say what they found: on two readers and two kills."""

import os
import subprocess
import sys
from pathlib import Path

import campaign
import damage
import kills
import pytest

from minigan.formats import whole

ROOT = Path(__file__).resolve().parents[1]


def test_a_small_campaign_ends_with_tables_of_counts():
    words = ["--mutations", "20", "--kills", "1", "--cuts", "0", "--together", "0", "--readers", "mnist",
             "packed", "--commands", "pack", "report"]
    done = subprocess.run([sys.executable, "-m", "tests.campaign", *words], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for row in ("| all | 40 |", "| pack | 1 | 1 | 1 | 0 |", "| report | 1 | 1 | 1 | 0 |"):
        assert row in done.stdout


def test_a_process_of_four_is_killed_and_all_go_on_to_the_same_bytes():
    pytest.importorskip("mpi4py")
    try:
        found = kills.killed_together("train, 4 processes", 1, 0)
    except kills.Impossible as error:
        pytest.skip(str(error))
    assert float(found.pop("slowest end").removesuffix(" s")) < 30
    assert found == {"command": "train, 4 processes", "kills": 1, "went on": 1, "same result": 1, "faults": 0}


def test_a_fault_is_counted_and_said_with_its_number(monkeypatch, capsys):
    def broken(path: Path) -> None:
        raise ZeroDivisionError("a fault")
    monkeypatch.setitem(damage.READERS, "mnist", damage.Reader(damage.READERS["mnist"].make, broken))
    found = campaign.mutate("mnist", 3, 0)
    assert found["faults"] == 3 and found["read"] == 0
    assert "mnist, seed 0, file 2:" in capsys.readouterr().err


@pytest.mark.parametrize("system", kills.SYSTEMS)
def test_a_power_cut_drops_what_was_not_synced_and_no_more(system, tmp_path):
    try:
        disk = kills.Disk(tmp_path, system).__enter__()
    except kills.Impossible as error:
        pytest.skip(str(error))
    try:
        for name in ("synced", "lost"):
            with open(disk.mounted / name, "wb") as file:
                file.write(b"content")
                if name == "synced":
                    file.flush()
                    os.fsync(file.fileno())
                    whole.sync_folder(disk.mounted)
        (disk.mounted / "synced").replace(disk.mounted / "renamed")
        disk.cut(subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, text=True))
        found = {path.name: path.read_bytes() for path in disk.mounted.iterdir() if path.is_file()}
        assert found == {"synced": b"content"}
    finally:
        disk.__exit__()


def test_work_that_was_done_and_is_lost_is_a_fault(tmp_path):
    command = kills.COMMANDS["pack"]
    assert kills.outcome(command, tmp_path, {"out.h5": b"x"}, True) == (False, False, "what it had done is lost")
    (tmp_path / "out.h5").write_bytes(b"x")
    assert kills.outcome(command, tmp_path, {"out.h5": b"x"}, True) == (True, True, "")
    (tmp_path / ".out.h5.0123456789abcdef.part").write_bytes(b"x")
    assert kills.outcome(command, tmp_path, {"out.h5": b"x"}, True)[2] == ".out.h5.0123456789abcdef.part left"


def test_damaged_files_are_the_same_for_the_same_seed_and_differ_else():
    data = bytes(range(256)) * 4
    one, two, other = (list(damage.damaged_files(data, seed, 20)) for seed in (1, 1, 2))
    assert one == two != other and sum(bad != data for bad in one) >= 18


def test_a_message_that_is_no_line_is_a_fault():
    def long(path: Path) -> None:
        raise damage.FailedWork("two\nlines")
    with pytest.raises(AssertionError, match="no short line"):
        damage.outcome(long, Path("x"))
