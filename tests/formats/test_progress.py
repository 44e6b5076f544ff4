"""Progress lines, read off a screen that obeys carriage returns, under a clock that the test moves."""

import errno
import io
import os
import re

import pytest

from minigan.formats import progress
from minigan.formats.progress import ProgressLine, at_a_glance, duration


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self, columns=80) -> list[str]:
        """What is seen: \\r goes to the line's start, letters overwrite, a line that would wrap fails."""
        rows = []
        for written in self.getvalue().split("\n"):
            row = [" "] * columns
            for piece in written.split("\r"):
                assert len(piece) < columns, f"would wrap: {piece!r}"
                row[: len(piece)] = piece
            rows.append("".join(row).rstrip())
        return rows


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def columns(monkeypatch):
    """Sets the terminal's width; StringIO has no file number, so the environment's width counts."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda n: monkeypatch.setenv("COLUMNS", str(n))


def run(p: ProgressLine, clock: Clock, iterations, seconds: float, **numbers):
    for i in iterations:
        clock.now += seconds
        p.update(i, **numbers)


def test_a_line_says_where_how_fast_how_long_and_the_losses(clock, columns):
    columns(120)
    terminal = Terminal()
    p = ProgressLine(100_000, start=1100, stream=terminal, clock=clock)
    run(p, clock, range(1101, 1201), 1 / 3.4, dis=1.2341, gen=0.5666, **{"sigma-1": 0.012})
    # 98,800 iterations at 3.4 a second are 29,059 s = 8 h 04 min 19 s
    assert terminal.screen(120) == [
        "  1,200/100,000   3.4 it/s   left 8 h 04 min   dis 1.234  gen 0.567  sigma-1 0.012"
    ]


@pytest.mark.parametrize("seconds, shown", [
    (0.9, " 1/10   dis 1.000\n"), (2.0, " 1/10   2.0 s/it   left 18 s   dis 1.000\n")])
def test_one_short_iteration_says_nothing_of_the_time_to_come(seconds, shown, clock):
    file = io.StringIO()
    run(ProgressLine(10, stream=file, clock=clock), clock, [1], seconds, dis=1.0)
    assert file.getvalue() == shown


def test_a_terminal_is_redrawn_at_most_five_times_a_second_and_always_at_the_end(clock, columns):
    terminal = Terminal()
    p = ProgressLine(1000, stream=terminal, clock=clock)
    run(p, clock, range(1, 1001), 0.01)  # ten seconds
    assert 40 <= terminal.getvalue().count("\r") <= 52
    assert terminal.screen()[0].startswith("1,000/1,000")
    assert "left" not in terminal.screen()[0]


def test_a_shorter_line_leaves_nothing_of_the_longer_one(clock, columns):
    terminal = Terminal()
    p = ProgressLine(10, stream=terminal, clock=clock)
    run(p, clock, [1], 1.0, dis=1.0, gen=-123.456)
    run(p, clock, [10], 1.0, dis=1.0)
    assert terminal.screen() == ["10/10   5.0 it/s   dis 1.000"]


@pytest.mark.parametrize(("n", "line"), [
    (100, "  1,200/100,000   3.4 it/s   left 8 h 04 min   dis 1.234  gen -0.567  |sigma-1| 0.012"),
    (80, "  1,200/100,000   left 8 h 04 min   dis 1.234  gen -0.567  |sigma-1| 0.012"),
    (60, "  1,200/100,000   left 8 h 04 min   dis 1.234  gen -0.567"),
    (50, "  1,200/100,000   dis 1.234  gen -0.567"),
    (40, "  1,200/100,000   dis 1.234  gen -0.567"),
    (36, "1,200   dis 1.234  gen -0.567"),
    (20, "1,200   dis 1.234"),
    (4, "1,2"),
])
def test_a_narrow_terminal_gets_the_most_important_numbers_whole(clock, columns, n, line):
    columns(n)
    terminal = Terminal()
    p = ProgressLine(100_000, start=1100, stream=terminal, clock=clock)
    run(p, clock, range(1101, 1201), 1 / 3.4, dis=1.2341, gen=-0.5666, **{"|sigma-1|": 0.012})
    assert terminal.screen(n)[0] == line
    columns(max(2, n - 10))  # made narrower
    start = len(terminal.getvalue())
    run(p, clock, [1201], 1.0)
    assert len(terminal.getvalue()[start:].strip("\r")) < max(2, n - 10)


def test_a_file_gets_plain_lines_now_and_then_and_the_first_and_the_last(clock):
    file = io.StringIO()
    p = ProgressLine(101, stream=file, every_s=10.0, clock=clock)
    run(p, clock, range(1, 102), 0.5)  # 50.5 s
    p.close()
    assert "\r" not in file.getvalue()
    iterations = [int(line.split("/")[0]) for line in file.getvalue().splitlines()]
    assert iterations == [1, 21, 41, 61, 81, 101]


def test_an_interrupted_run_still_shows_its_newest_numbers_once(clock, columns):
    for stream in (io.StringIO(), Terminal()):
        p = ProgressLine(1000, stream=stream, clock=clock)
        run(p, clock, range(1, 8), 0.01, dis=0.5)
        p.close()
        p.close()
        assert stream.getvalue().endswith("dis 0.500\n")
        assert re.findall(r"(\d+)/1,000", stream.getvalue()) == ["1", "7"]


def test_a_remark_stands_above_the_live_line(clock, columns):
    terminal = Terminal()
    p = ProgressLine(10, stream=terminal, clock=clock)
    p.say("resumed from checkpoint-0000000.h5")
    run(p, clock, [1, 2], 1.0, dis=1.0)
    p.say("FID 23.4")
    run(p, clock, [3], 1.0, dis=2.0)
    p.close()
    assert terminal.screen() == [
        "resumed from checkpoint-0000000.h5",
        "FID 23.4",
        " 3/10   1.0 it/s   left 7 s   dis 2.000",
        "",
    ]


def test_quiet_leaves_only_remarks(clock, columns):
    for stream in (io.StringIO(), Terminal()):
        p = ProgressLine(10, quiet=True, stream=stream, clock=clock)
        run(p, clock, [1], 1.0)
        p.say("one file was skipped")
        run(p, clock, [10], 1.0)
        p.close()
        assert stream.getvalue() == "one file was skipped\n"


def test_nothing_happens_before_the_first_update(clock):
    stream = Terminal()
    ProgressLine(10, stream=stream, clock=clock).close()
    assert stream.getvalue() == ""


def shown_rate(file) -> str:
    return re.findall(r"[\d,.]+ (?:it/s|s/it)", file.getvalue())[-1]


def test_the_rate_is_that_of_the_last_half_minute(clock):
    file = io.StringIO()
    p = ProgressLine(10**6, stream=file, every_s=0, clock=clock)
    run(p, clock, range(1, 1001), 0.1)
    assert shown_rate(file) == "10.0 it/s"
    run(p, clock, range(1001, 1020), 2.0)  # 38 s: the window holds nothing of the faster time
    assert shown_rate(file) == "2.0 s/it"
    assert len(p.moments) < 200


def test_a_rate_is_known_even_if_an_iteration_takes_longer_than_the_window(clock):
    file = io.StringIO()
    p = ProgressLine(100, start=50, stream=file, every_s=0, clock=clock)
    run(p, clock, [51, 52], 90.0)
    assert shown_rate(file) == "90.0 s/it"
    assert "left 1 h 12 min" in file.getvalue().splitlines()[-1]  # 48 iterations of 90 s


def test_an_update_at_the_very_start_shows_no_rate(clock):
    file = io.StringIO()
    ProgressLine(100, stream=file, clock=clock).update(0, dis=1.0)
    assert file.getvalue() == "  0/100   dis 1.000\n"


def test_a_real_terminal_is_asked_for_its_own_width(clock, monkeypatch):
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    monkeypatch.delenv("COLUMNS", raising=False)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 33, 0, 0))
    with open(follower, "w") as stream:
        assert progress._width(stream) == 33
        p = ProgressLine(100, stream=stream, clock=clock)
        run(p, clock, [1], 1.0, **{f"loss{k}": 1.0 for k in range(9)})
        assert os.read(leader, 1000).decode() == "\r1   loss0 1.000  loss1 1.000"
    os.close(leader)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (303, "5 min 03 s"),
        (3599.6, "1 h 00 min"),
        (29059, "8 h 04 min"),
        (86400 + 7 * 3600 + 59 * 60, "1 d 07 h"),
        (86400 * 400, "400 d 00 h"),
    ],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0.000"),
        (-0.0123, "-0.012"),
        (3.21e-5, "3.2e-05"),
        (1.23e6, "1.2e+06"),
        (12000, "12,000"),
        (float("nan"), "nan"),
        (-float("inf"), "-inf"),
    ],
)
def test_numbers_are_short(value, text):
    assert at_a_glance(value) == text


def test_the_bar_is_for_terminals_only(capsys, monkeypatch):
    progress.progress_bar(1, 2, "reading")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.progress_bar(1, 2, "reading")
    progress.progress_bar(2, 2, "reading")
    half, whole = capsys.readouterr().err.split("\r")
    assert half == "reading [" + "#" * 15 + "." * 15 + "]  50 %"
    assert whole == "reading [" + "#" * 30 + "] 100 %\n"


@pytest.mark.parametrize(("n", "bar"), [(80, "reading images [" + "#" * 15 + "." * 15 + "]  50 %"),
                                        (40, "reading images [#######........]  50 %"),
                                        (20, "r [####....]  50 %")])
def test_the_bar_fits_the_terminal(n, bar, columns, monkeypatch):
    columns(n)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    progress.progress_bar(1, 2, "reading images")
    assert terminal.screen(n)[0] == bar


class Lost(io.StringIO):
    """A terminal that was closed, or a file on a full disk."""

    def __init__(self, error: Exception, live: bool):
        super().__init__()
        self.error, self.live = error, live

    def isatty(self) -> bool:
        return self.live

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("stream", [Lost(OSError(errno.EIO, "I/O error"), True), Lost(OSError(errno.ENOSPC, ""), False),
                                    Lost(BrokenPipeError(), False), Lost(ValueError("closed"), True), None])
def test_what_cannot_be_written_is_dropped(stream, clock, columns, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    p = ProgressLine(10, clock=clock)
    run(p, clock, [1, 2], 1.0, dis=1.0)
    p.say("a remark")
    run(p, clock, [10], 1.0)
    p.close()
    progress.progress_bar(1, 2, "reading")
    progress.to_stderr("a remark")


def test_a_stream_closed_by_the_program_is_no_terminal(clock):
    stream = Terminal()
    stream.close()
    ProgressLine(10, stream=stream, clock=clock).update(1)
