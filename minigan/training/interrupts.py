"""Signals that ask long work to stop: it ends in good order instead of dying of them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Interrupted(Exception):
    """Work was asked to stop by a signal; it has saved itself."""

    def __init__(self, line: str, signum: int):
        super().__init__(line)
        self.signum = signum


@contextlib.contextmanager
def ignored_signals() -> Iterator[None]:
    """Inside, nothing comes of SIGINT, SIGTERM and SIGHUP."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextlib.contextmanager
def stop_signals(after: str) -> Iterator[list[int]]:
    """Inside, collects SIGINT, SIGTERM and SIGHUP in the list that it gives; a second SIGINT or SIGTERM acts as usual.

    after: what is still done before the work stops, for a line on the terminal.

    A terminal that closes sends SIGHUP twice, as the system's and as the shell's: it is ignored once there is a
    reason to stop, so that it cannot cut off the saving.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may say what signals do
        return
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none

    def note(signum: int, frame: Any) -> None:
        asked.append(signum)
        restore()
        if hangup in before:
            signal.signal(hangup, signal.SIG_IGN)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no terminal any more, or no error stream
            # no print() here: it may have been in one when the signal came
            os.write(sys.stderr.fileno(), f"\nstopping after {after}; once more stops at once\n".encode())

    def restore() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM, hangup)
              if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN}  # nohup, a shell's background
    try:
        yield asked
    finally:
        restore()
