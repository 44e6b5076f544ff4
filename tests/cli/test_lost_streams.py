"""Output that cannot be written any more, because the terminal has gone, the disk is full or the stream is closed:
progress is dropped and the work goes on; results that nobody gets are a failure."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import ROOT, contents, start, words

from minigan.cli import main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are POSIX")
MINIGAN, ENVIRONMENT = [sys.executable, "-m", "minigan"], {**os.environ, "PYTHONPATH": str(ROOT)}
WITH_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


@pytest.mark.parametrize("lost", ["2>&-", "<&- >&- 2>&-", pytest.param("2>/dev/full", marks=WITH_FULL), "2>&1 | true"])
def test_a_run_goes_on_without_its_error_stream(lost, data, tmp_path):
    assert main.run([*words(data, tmp_path / "whole"), "-q"]) == 0
    command = [*MINIGAN, *words(data, tmp_path / "run")]
    done = subprocess.run(["bash", "-c", f'set -o pipefail; "$@" {lost}', "bash", *command], env=ENVIRONMENT,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_run_goes_on_when_its_terminal_closes(data, tmp_path):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*MINIGAN, *words(data, tmp_path / "run", iterations=300)], env=ENVIRONMENT,
                               stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    while b"/300" not in os.read(ours, 4096):
        pass
    os.close(ours)  # from now on it gets EIO
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "run" / "checkpoint-0000300.h5").exists()


def test_nothing_is_written_into_a_file_that_got_the_closed_streams_number(data, tmp_path):
    """The line of a signal goes to the error stream, not to whatever has number 2."""
    out = tmp_path / "run"
    process = start(*words(data, out, iterations=100_000, sample_every=50_000, checkpoint_every=50_000, log_every=1),
                    preexec_fn=lambda: os.close(2))
    while not (out / "log.jsonl").exists() or (out / "log.jsonl").stat().st_size < 2000:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(timeout=60) == 143
    lines = (out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == list(range(1, len(lines) + 1))
    assert list(out.glob("checkpoint-0*[1-9]*.h5"))


@WITH_FULL
def test_a_failure_keeps_its_exit_code_where_it_cannot_be_said():
    for arguments, code in ((["train", "cifar"], 2), (["info"], 1)):
        with open("/dev/full", "w") as full:
            done = subprocess.run([*MINIGAN, *arguments], env=ENVIRONMENT, stdout=full, stderr=full)
        assert done.returncode == code
