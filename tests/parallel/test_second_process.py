"""A second process: memory that both see, answers in order, and an end in time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minigan.parallel import second_process
from minigan.parallel.second_process import Gone, SecondProcess, SharedMemory, Silent, places

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux alone has such memory")

SERVE = """
import os, time
from minigan.parallel.second_process import answer_all

def answer(memory, do, place=None, seconds=0):
    time.sleep(seconds)
    if do == "double":
        memory.array(place)[...] *= 2
        print("this goes nowhere")
        return memory.array(place).tolist()
    return os.getpid() if do == "pid" else 1 / 0

def serve(file):
    answer_all(file, answer)
"""

PARENT = """
import os, sys, time
from minigan.parallel.second_process import SecondProcess
other = SecondProcess("doubling")
other.tell(do="pid")
print(other.answer(), flush=True)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    (tmp_path / "doubling.py").write_text(SERVE)
    monkeypatch.syspath_prepend(tmp_path)
    started = []

    def start():
        started.append(SecondProcess("doubling"))
        return started[-1]
    yield start
    for other in started:
        other.close()


def script(tmp_path, text):
    """A process that starts a second one and goes on with `text`; and the second one's number."""
    (tmp_path / "doubling.py").write_text(SERVE)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2])])
    parent = subprocess.Popen([sys.executable, "-c", PARENT + text], stdout=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONPATH": path}, start_new_session=True)
    return parent, int(parent.stdout.readline())


def ends(pid, seconds=20):
    """Whether a process is gone, or is no more than its parent's memory of it, in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_both_see_the_same_memory_and_answers_come_in_order(start):
    other, (first, second) = start(), places(0, [((3,), np.dtype("f4")), ((2, 2), np.dtype("f8"))])[0]
    a = other.memory.array(first)
    a[...] = 1, 2, 3
    b = other.memory.array(second)
    b[...] = 4
    other.tell(do="double", place=first)
    other.tell(do="double", place=second)
    other.tell(do="double", place=first)
    assert [other.answer() for _ in range(3)] == [[2, 4, 6], [[8, 8], [8, 8]], [4, 8, 12]]
    assert a.tolist() == [4, 8, 12] and b.tolist() == [[8, 8], [8, 8]]


def test_arrays_stay_valid_when_the_memory_grows():
    file = os.memfd_create("test")
    here, there = SharedMemory(file), SharedMemory(file)
    small = here.array((64, (2,), "<f4"))
    small[...] = 5, 6
    there.array((1 << 20, (4,), "<f4"))[...] = 7
    assert here.array((1 << 20, (4,), "<f4")).tolist() == [7] * 4
    small += 1
    assert there.array((64, (2,), "<f4")).tolist() == [6, 7]
    assert here.array((0, (0, 3), "<f4")).shape == (0, 3)
    os.close(file)


def test_places_do_not_overlap_and_begin_at_lines_of_the_cache():
    found, end = places(128, [((5,), np.dtype("f4")), ((0,), np.dtype("f4")), ((17, 3), np.dtype("f8"))])
    assert [start for start, _, _ in found] == [128, 192, 192] and end == 192 + 448


def test_an_error_there_and_a_killed_process_are_told(start):
    other = start()
    other.tell(do="fail")
    with pytest.raises(Gone):
        other.answer()
    killed = start()
    killed.process.kill()
    killed.process.wait()
    with pytest.raises(Gone):
        killed.tell(do="pid")
        killed.answer()


def test_one_that_is_stopped_is_not_waited_for_without_end_and_leaves_no_zombie(start, monkeypatch):
    monkeypatch.setattr(second_process, "PATIENCE", 0.3)
    monkeypatch.setattr(second_process, "TIMES", 0)
    other, began = SecondProcess("doubling"), time.monotonic()
    other.process.send_signal(signal.SIGSTOP)
    other.tell(do="pid")
    with pytest.raises(Silent):
        other.answer()
    assert time.monotonic() - began < 10
    other.close()
    assert not Path(f"/proc/{other.process.pid}").exists()


def test_one_that_is_slow_is_waited_for_the_longer_the_slower_it_was(start, monkeypatch):
    other = start()
    other.tell(do="pid", seconds=0.1)
    other.answer()
    monkeypatch.setattr(second_process, "PATIENCE", 0.01)
    other.tell(do="pid", seconds=1)
    assert other.answer() == other.process.pid and other.longest > 0.9


def test_who_was_stopped_itself_does_not_take_the_other_one_for_silent(tmp_path):
    """As where all processes of a job are stopped, and go on later."""
    parent, pid = script(tmp_path, """
from minigan.parallel import second_process
second_process.PATIENCE, second_process.TIMES = 2.0, 0
other.tell(do="pid", seconds=0.7)
print("asked", flush=True)
print(other.answer(), flush=True)
""")
    assert parent.stdout.readline() == "asked\n"
    for signum, seconds in ((signal.SIGSTOP, 2.5), (signal.SIGCONT, 0)):
        os.kill(parent.pid, signum)
        os.kill(pid, signum)
        time.sleep(seconds)
    assert parent.stdout.readline() == f"{pid}\n"
    parent.wait(20)
    parent.stdout.close()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_ask_a_training_to_stop_do_not_end_it(start, signum):
    other = start()
    other.tell(do="pid")
    pid = other.answer()
    os.kill(pid, signum)
    other.tell(do="pid")
    assert other.answer() == pid and os.getpgid(pid) != os.getpgid(0)  # nor does the terminal's reach it


def test_what_others_print_is_no_answer(tmp_path, monkeypatch, start):
    (tmp_path / "doubling.py").write_text("print('hello from sitecustomize')\n" + SERVE)
    other = start()
    other.tell(do="pid")
    with pytest.raises(Gone):
        other.answer()


def test_memory_that_cannot_grow_is_told():
    fcntl = pytest.importorskip("fcntl")
    file = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    with pytest.raises(Gone, match="not permitted"):
        SharedMemory(file).array((0, (4,), "<f4"))
    os.close(file)


def test_an_answer_is_seen_above_1023_open_files(start):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"no more than {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        other = start()
        other.tell(do="pid")
        until = time.monotonic() + 20
        while not other.has_answered() and time.monotonic() < until:
            time.sleep(0.01)
        assert other.has_answered() and other.answer() > 0
    finally:
        for file in opened:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_frozen_program_is_not_started_again(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(Gone):
        SecondProcess("doubling")


def test_it_ends_with_what_started_it(start):
    other = SecondProcess("doubling")
    other.tell(do="pid")
    pid = other.answer()
    del other
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("end", ["kill", "interrupt", "return", "raise", "_exit"])
def test_none_is_left_however_the_first_process_ends(tmp_path, end):
    after = {"return": "", "raise": "raise SystemExit(3)", "_exit": "os._exit(0)"}.get(end, "time.sleep(60)")
    parent, pid = script(tmp_path, after)
    if end in ("kill", "interrupt"):
        parent.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
    parent.wait(20)
    parent.stdout.close()
    assert ends(pid)


def test_a_process_that_the_first_one_forks_leaves_it_alone(tmp_path):
    """The fork ends as Python ends; and while another fork lives, the first one's end is still seen."""
    parent, pid = script(tmp_path, """
if os.fork() == 0:
    sys.exit()
os.wait()
other.tell(do="pid")
print(other.answer(), flush=True)
if os.fork() == 0:
    os.close(1)
    time.sleep(5)
    os._exit(0)
os._exit(0)
""")
    assert int(parent.stdout.readline()) == pid
    parent.wait(20)
    parent.stdout.close()
    assert ends(pid, 3)


def test_a_fork_does_not_write_what_the_parent_and_its_other_process_share(tmp_path):
    """It is told that there is nobody."""
    parent, _ = script(tmp_path, """
from minigan.parallel.second_process import Gone
place = 0, (2,), "<f4"
other.memory.array(place)[...] = 1
if os.fork() == 0:
    try:
        other.memory.array(place)[...] = 2
    except Gone:
        os._exit(7)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]), other.memory.array(place).tolist(), flush=True)
""")
    assert parent.stdout.readline() == "7 [1.0, 1.0]\n"
    parent.wait(20)
    parent.stdout.close()
