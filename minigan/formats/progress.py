"""What long work says on the error stream: a line of progress, a bar, remarks; in a notebook the line is a bar.

The line says how far a run is, how fast it goes, how long it will take, and what its losses are:

    1,200/100,000   3.4 it/s   left 8 h 04 min   dis 1.234  gen 0.567  sigma-1 0.012
"""

import contextlib
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from minigan.errors import printable
from minigan.formats import notebook

Progress = Callable[[int, int, str], None]  # (done, total, what), called now and then and at the end: progress_bar
LIVE_S = 0.2  # at most five redraws a second: more cannot be read and costs time on slow terminals
WINDOW_S = 30.0  # the rate is that of the last half minute, so that it follows a change and does not jitter
FIRST_S = 1.0  # one iteration alone says the rate if it took so long: the first one of a fast training takes memory


class ProgressLine:
    """Says on `stream` where a run of `total` iterations is; the training loop calls `update` after each.

    In a terminal, one line is rewritten in place, and in a notebook a bar; elsewhere (a file, a pipe) a plain line is
    written at the first update, at the last, and every `every_s` seconds. `quiet` leaves these lines out, never
    remarks.

    start: the iteration a resumed run begins at.  stream: None for sys.stderr.  clock: in seconds.  remark: what is
    done with a remark, None: it is a line on the stream.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        quiet: bool = False,
        stream: TextIO | None = None,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        remark: Callable[[str], None] | None = None,
    ):
        self.total, self.quiet, self.every_s, self.clock = total, quiet, every_s, clock
        self.bar = notebook.Bar() if stream is None and notebook.here() else None
        self.stream = sys.stderr if stream is None else stream  # None: there is none
        self.live = self.bar is not None or _is_terminal(self.stream)
        self.remark = remark
        self.moments = deque([(clock(), start)])  # (time, iteration) over the window, for the rate
        self.latest: tuple[int, dict[str, float]] | None = None  # the newest update, shown or not
        self.shown_at: float | None = None
        self.pending = False  # the newest update has not been shown
        self.drawn = 0  # characters of the live line on the screen

    def update(self, iteration: int, **numbers: float) -> None:
        """`iteration` iterations are done; `numbers` (losses and the like) are shown in the order given, and where the
        terminal is too narrow, the first two rather than the time left, and that rather than the others."""
        now = self.clock()
        self._remember(now, iteration)
        self.latest, self.pending = (iteration, numbers), True
        wait = LIVE_S if self.live else self.every_s
        if self.shown_at is None or now - self.shown_at >= wait or iteration >= self.total:
            self._show(now)

    def say(self, line: str) -> None:
        """A remark on a line of its own; the live line moves down."""
        self._erase()
        if self.remark is None:
            self._write(f"{_escaped(line)}\n")
        else:
            self.remark(line)
        if self.live and self.latest is not None and not self.quiet:
            self._show(self.clock())

    def close(self) -> None:
        """Show the newest numbers if they were not shown, and leave the cursor on a new line."""
        if self.pending:
            self._show(self.clock())
        if self.drawn:
            self._write("\n")
            self.drawn = 0

    def _remember(self, now: float, iteration: int) -> None:
        """Keep moments that are LIVE_S apart and span the window, however many updates come."""
        if len(self.moments) == 1 or now - self.moments[-2][0] >= LIVE_S:
            self.moments.append((now, iteration))
        else:
            self.moments[-1] = (now, iteration)
        while len(self.moments) > 2 and now - self.moments[1][0] >= WINDOW_S:
            self.moments.popleft()

    def _show(self, now: float) -> None:
        self.shown_at, self.pending = now, False
        if self.quiet or self.latest is None:
            return
        if self.bar is not None:
            self.bar.show(self.latest[0] / self.total, self._line(*self.latest))
        elif self.live:
            room = _width(self.stream) - 1  # a full last column would wrap
            line = self._line(*self.latest, room)
            self._write("\r" + line.ljust(min(self.drawn, room)))
            self.drawn = len(line)
        else:
            self._write(f"{self._line(*self.latest)}\n")

    def _write(self, text: str) -> None:
        write_if_possible(text, self.stream)

    def _erase(self) -> None:
        if self.drawn:
            self._write(f"\r{' ' * self.drawn}\r")
            self.drawn = 0

    def _line(self, iteration: int, numbers: dict[str, float], room: int | None = None) -> str:
        """Of all that there is to say, the most important that fits into so many characters, each number whole."""
        (t0, i0), (t1, i1) = self.moments[0], self.moments[-1]
        total = f"{self.total:,}"
        shown = [f"  {name} {at_a_glance(value)}" for name, value in numbers.items()]
        rate = left = ""
        if t1 > t0 and (i1 > i0 + 1 or i1 > i0 and t1 - t0 >= FIRST_S):
            seconds = (t1 - t0) / (i1 - i0)
            rate = f"   {1 / seconds:,.1f} it/s" if seconds <= 1 else f"   {seconds:,.1f} s/it"
            left = f"   left {duration(seconds * (self.total - iteration))}" if iteration < self.total else ""
        shown[:1] = [f" {text}" for text in shown[:1]]
        where = f"{iteration:,}".rjust(len(total)) + f"/{total}"
        if room is not None and len("".join([where, *shown[:2]])) > room:
            where = f"{iteration:,}"
        parts = [where, rate, left, *shown]  # as they are shown
        chosen: list[int] = []
        for i in (0, 3, 4, 2, *range(5, len(parts)), 1):  # the most important first
            if i < len(parts) and (room is None or sum(len(parts[j]) for j in [*chosen, i]) <= room):
                chosen.append(i)
        return "".join(parts[i] for i in sorted(chosen)) if 0 in chosen else where[:room]


ENOUGH = 3  # iterations for a Forecast to go by, and
SECONDS = 10.0  # the time they took together, at least
LONG = 300.0  # seconds from which on it is worth a line


class Forecast:
    """How long a training will take, said once, from its own first iterations.

    Asked after each iteration, it answers once with a line, or with nothing if the training is short.

    The first iteration does not count: memory is taken then, and on a GPU kernels are compiled.
    """

    def __init__(self, iterations: int, fresh: bool, clock: Callable[[], float] = time.monotonic):
        """iterations: of the whole run.  fresh: whether it begins now, and could still begin with fewer."""
        self.iterations, self.fresh, self.clock = iterations, fresh, clock
        self.first: tuple[int, float] | None = None  # the iteration after which the clock was read, and the time
        self.said = False

    def after(self, iteration: int) -> str | None:
        """The line to say after so many iterations; None: nothing, not yet or not any more."""
        if self.said:
            return None
        now = self.clock()
        if self.first is None:
            self.first = iteration, now
            return None
        done, took = iteration - self.first[0], now - self.first[1]
        if done < ENOUGH or took < SECONDS:
            return None
        self.said = True
        left = (self.iterations - iteration) * took / done
        if left < LONG:
            return None
        line = f"at this pace the {self.iterations - iteration:,} iterations to come take {duration(left)}"
        return f"{line}; --iterations {self.iterations // 2} would take half as long" if self.fresh else line


def duration(seconds: float) -> str:
    """A time span for people, in its two largest units: 42 s, 5 min 03 s, 8 h 04 min, 2 d 07 h."""
    s = max(0, round(seconds))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600:02d} h"


def at_a_glance(value: float) -> str:
    """A loss or a norm at a glance: 1.234, -0.012, 3.2e-05, 1.2e+06, 12,000 for integers, nan."""
    if isinstance(value, int):
        return f"{value:,}"
    value = float(value)
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def _width(stream: TextIO) -> int:
    """Columns of the terminal that the stream is; 80 where it does not say."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = shutil.get_terminal_size().columns
    return columns or 80


def progress_bar(done: int, total: int, what: str) -> None:
    """Draws a bar on the terminal's error stream; says nothing where that is no terminal."""
    if _is_terminal(sys.stderr) and total > 0:
        room = _width(sys.stderr) - len(" []  100 %") - 1
        what = what[:max(0, room - 8)]
        length = min(30, room - len(what))
        filled = length * done // total
        bar = "#" * filled + "." * (length - filled)
        end = "\n" if done >= total else "\r"  # a line printed next, such as an error, starts at the margin
        write_if_possible(f"{what} [{bar}] {100 * done // total:3d} %{end}", sys.stderr)


def to_stderr(line: str) -> None:
    """Write a remark, a line of its own; control characters, which a terminal would obey, become escapes."""
    write_if_possible(f"{_escaped(line)}\n", sys.stderr)


def to_stdout(line: str) -> None:
    """Write how far work on many things is, for the reader of its results; a line of its own."""
    write_if_possible(f"{_escaped(line)}\n", sys.stdout)


def _escaped(text: str) -> str:
    """Lines that a terminal may have."""
    return "\n".join(map(printable, text.split("\n")))


def write_if_possible(text: str, stream: TextIO | None) -> None:
    """Write, or drop what cannot be written: a terminal that was closed or a full disk is no reason to end the work."""
    if stream is None:  # as Python has it where the stream was closed when it started
        return
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed since
        stream.write(text)
        stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
