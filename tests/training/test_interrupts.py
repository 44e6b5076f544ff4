"""Signals that ask a run to stop: it saves itself, whatever comes after the first."""

import os
import signal

import pytest
from tiny import pictures, run_until, words

from minigan.training import checkpoints
from minigan.training.gan import Training
from minigan.training.interrupts import stop_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGHUP is POSIX")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture
def hangup_acts_as_usual():
    """SIGHUP as in a terminal: the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("signals", "code"), [
    ((signal.SIGHUP,), 129),
    ((signal.SIGHUP, signal.SIGHUP), 129),  # of the system and of the shell, when a terminal closes
    ((signal.SIGTERM, signal.SIGHUP), 143),  # of systemd, when a session ends
])
def test_a_closed_terminal_saves_the_run(signals, code, data, tmp_path, monkeypatch, capsys, hangup_acts_as_usual):
    state = Training.state

    def hung_up(self):
        if self.iteration == 5:
            for signum in signals[1:]:  # while it saves
                os.kill(os.getpid(), signum)
        return state(self)

    monkeypatch.setattr(Training, "state", hung_up)
    arguments = [*words(data, tmp_path / "run", checkpoint_every=100), "-q"]
    assert run_until(arguments, 5, monkeypatch, signals[0]) == code
    assert "stopped at iteration 5 of 10, saved; go on with: " in capsys.readouterr().err
    assert checkpoints.newest(tmp_path / "run")[1]["iteration"] == 5
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_nohup_is_obeyed(hangup_acts_as_usual):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_signals("this") as asked:
        os.kill(os.getpid(), signal.SIGHUP)
        assert asked == [] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
