"""Files are written whole, under names that nobody can guess, through no link; what is not ours stays."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigan.cli import main
from minigan.errors import FailedWork
from minigan.formats import locks, whole
from minigan.training import run_folder

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="links, locks and signals as POSIX has them")

WRITER = """
import sys, time
from pathlib import Path
from minigan.formats import whole
with whole.beside(Path(sys.argv[1])) as (number, part):
    whole.write_all(number, b"new")
    print(part, flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def writing(path: Path):
    """A process that has begun to write `path`: it, and its temporary file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=environment, stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["a", "x" * 255, "\u00fc" * 127, "a[b]*?c", ".hidden", "a\nb"])
@posix
def test_any_name_is_written_whole_and_leaves_nothing_else(tmp_path, name):
    path = tmp_path / "new" / "folder" / name
    whole.check_writable(path)
    for data in (b"", b"some", memoryview(b"other" * 100_000)):
        whole.write_whole(path, data)
        assert path.read_bytes() == data and names(path.parent) == [name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@posix
def test_every_temporary_file_has_a_new_name_and_is_made_exclusively(tmp_path, monkeypatch):
    seen = []
    real = os.open

    def watched(path, flags, *mode, **more):
        if str(path).endswith(".part"):
            seen.append(Path(path).name)
            assert flags & os.O_CREAT and flags & os.O_EXCL and flags & os.O_NOFOLLOW and Path(path).parent == tmp_path
        return real(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", watched)
    for _ in range(50):
        whole.write_whole(tmp_path / "a.png", b"1")
    assert len(set(seen)) == 50 and all(whole.PART.fullmatch(name)[1] == "a.png" for name in seen)
    assert not any(str(os.getpid()) in name.split(".")[-2] and len(name.split(".")[-2]) < 16 for name in seen)


@posix
def test_a_name_that_is_taken_is_not_written_through(tmp_path, monkeypatch):
    """Even who guessed the name, and put a link there, gets an error rather than the file behind it."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr(whole.secrets, "token_hex", lambda n: "0" * 16)
    (tmp_path / f".a.{'0' * 16}.part").symlink_to(victim)
    with pytest.raises(FailedWork, match="a cannot be written .File exists"):
        whole.write_whole(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious" and names(tmp_path) == [f".a.{'0' * 16}.part", "victim"]


@posix
@pytest.mark.parametrize("target", ["victim", "nowhere", "folder"])
def test_a_link_at_the_final_name_is_replaced_and_what_it_leads_to_stays(tmp_path, target):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "out" / "a.png"
    path.parent.mkdir()
    path.symlink_to(tmp_path / target)
    whole.write_whole(path, b"new")
    assert path.read_bytes() == b"new" and not path.is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"precious" and names(tmp_path) == ["folder", "out", "victim"]
    assert names(tmp_path / "folder") == []


@posix
def test_a_folder_prepared_with_links_makes_no_command_write_outside_it(tmp_path):
    """All names that a run has, and those that temporary files had before, as links to a file of the user's."""
    out, victim = tmp_path / "run", tmp_path / "victim"
    words = ["train", "shapes", "--size", "16", "--width", "0.05", "--dim-z", "8", "--batch-size", "4", "-q"]
    assert main.run([*words, "--iterations", "2", "--sample-every", "1", "--diagnose", "1", "--out", str(out)]) == 0
    victim.write_bytes(b"precious")
    links = ["log.jsonl", "diagnostics.jsonl", "samples.png", "film.png", "progress.gif", "scores.json", "nearest.png",
             "report.html", "drawn.png", "failed.txt", "checkpoint-0000003.h5", "samples/samples-0000003.png"]
    for name in [*links, *(f".{name}.{os.getpid()}.part" for name in links if "/" not in name)]:
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(victim)
    (out / "scores.json").unlink()  # it is read first
    assert main.run(["train", "--resume", str(out), "--iterations", "3", "-q"]) == 0
    assert main.run(["report", str(out)]) == main.run(["sample", str(out)]) == 0
    assert victim.read_bytes() == b"precious"
    left = [name for name in links if (out / name).is_symlink()]
    assert left == ["nearest.png"]  # which nobody wrote


@posix
def test_a_folder_that_moves_to_another_disk_is_there_before_it_goes_here(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "deep" / "new"
    (old / "inner").mkdir(parents=True)
    (old / "a").write_bytes(b"a")
    (old / "inner" / "b").write_bytes(b"b")
    (tmp_path / "outside").write_bytes(b"precious")
    (old / "link").symlink_to(tmp_path / "outside")
    synced, real, remove = set(), os.fsync, whole.shutil.rmtree

    def fsync(number: int) -> None:
        synced.add(os.fstat(number).st_ino)
        real(number)

    def removed(folder: Path, ignore_errors: bool) -> None:
        kept = [new.parent, new, new / "inner", new / "a", new / "inner" / "b"]
        assert {path.stat().st_ino for path in kept} <= synced
        remove(folder, ignore_errors)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", _failing(errno.EXDEV))
    monkeypatch.setattr(whole.shutil, "rmtree", removed)
    whole.move_folder(old, new)
    assert names(new) == ["a", "inner", "link"] and (new / "link").is_symlink() and not old.exists()
    monkeypatch.undo()
    whole.move_folder(new, old)
    assert (old / "inner" / "b").read_bytes() == b"b" and not new.exists()


@posix
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_that_grows_is_no_link_and_no_device(tmp_path, kind):
    victim, path = tmp_path / "victim", tmp_path / "log.jsonl"
    victim.write_bytes(b"precious")
    path.symlink_to(victim) if kind == "link" else os.mkfifo(path)
    with pytest.raises(FailedWork, match="is a link, which is not followed" if kind == "link" else "no regular file"):
        whole.append(path, b"new")
    with pytest.raises(OSError):
        whole.open_lasting(path, os.O_CREAT | os.O_TRUNC)
    assert victim.read_bytes() == b"precious"
    with pytest.raises(FailedWork, match="No such file"):  # a log that was removed is not begun anew
        whole.append(tmp_path / "none", b"new")


@posix
def test_only_what_the_dead_left_is_removed(tmp_path):
    path = tmp_path / "a.png"
    with writing(path) as (dead, of_dead):
        dead.send_signal(signal.SIGKILL)
        dead.wait()
    others = [".a.png.123.part", ".a.png.part", "a.png.part", ".b.png.0123456789abcdef.part",
              ".a.png.0123456789abcdeg.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"of another")
    with writing(path) as (_, of_living):
        assert of_dead.exists() and of_living.exists()
        whole.check_writable(path)
        assert names(tmp_path) == sorted([*others, of_living.name])
        whole.remove_dead(tmp_path, "*")
        assert names(tmp_path) == sorted([*others[:3], others[4], of_living.name])


@posix
def test_writing_a_file_removes_what_the_dead_had_begun_to_write_for_it(tmp_path):
    path = tmp_path / "a.png"
    with writing(path) as (dead, of_dead):
        dead.send_signal(signal.SIGKILL)
        dead.wait()
    with writing(path) as (_, of_living):
        whole.write_whole(path, b"new")
        assert names(tmp_path) == sorted(["a.png", of_living.name]) and not of_dead.exists()


@posix
def test_a_file_of_minigan_0_1_goes_when_it_was_not_changed_for_a_day(tmp_path):
    old, fresh = tmp_path / ".a.png.4711.part", tmp_path / ".a.png.4712.part"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    whole.write_whole(tmp_path / "a.png", b"new")
    assert names(tmp_path) == sorted(["a.png", fresh.name])


@posix
def test_a_training_leaves_a_report_that_is_being_written_alone(tmp_path):
    out = tmp_path / "run"
    words = ["train", "shapes", "--size", "16", "--width", "0.05", "--dim-z", "8", "--batch-size", "4", "-q"]
    out.mkdir()
    with writing(out / "report.html") as (_, of_report), writing(out / "samples.png") as (_, of_other):
        with contextlib.suppress(FileExistsError):
            (out / "samples").mkdir()
        run_folder.prepare(out)
        assert of_report.exists() and of_other.exists()
    with writing(tmp_path / "x") as (process, part):
        assert main.run([*words, "--iterations", "1", "--out", str(tmp_path / "run2")]) == 0
        assert part.exists() and process.poll() is None


@posix
def test_where_there_are_no_locks_nothing_is_taken_for_dead(tmp_path, monkeypatch):
    part = tmp_path / ".a.0123456789abcdef.part"
    part.write_bytes(b"half")
    monkeypatch.setattr(locks.fcntl, "flock", _failing(errno.ENOLCK))
    whole.write_whole(tmp_path / "a", b"new")
    whole.remove_dead(tmp_path, "a")
    assert part.exists() and (tmp_path / "a").read_bytes() == b"new"
    monkeypatch.undo()
    whole.remove_dead(tmp_path, "a")
    assert names(tmp_path) == ["a"]


def _failing(number: int):
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))
    return failing


@posix
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_synced_is_said_once(tmp_path, monkeypatch, capsys, number):
    real = os.fsync

    def no_folders(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        real(fd)

    monkeypatch.setattr(locks, "_said", set())
    monkeypatch.setattr(os, "fsync", no_folders)
    for name in ("a", "b"):
        whole.write_whole(tmp_path / name, b"new")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{tmp_path} cannot be synced" in said
    assert names(tmp_path) == ["a", "b"]


@posix
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_is_a_failure_and_the_old_file_stays(tmp_path, monkeypatch, number):
    whole.write_whole(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", _failing(number))
    with pytest.raises(FailedWork, match=f"a cannot be written .{os.strerror(number)}"):
        whole.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


@posix
def test_writers_of_one_file_at_once_leave_one_of_their_files_and_nothing_else(tmp_path):
    program = ("import sys; from pathlib import Path; from minigan.formats import whole\n"
               "for i in range(40): whole.write_whole(Path(sys.argv[1]), sys.argv[2].encode() * 50_000)\n"
               "for i in range(40): whole.check_writable(Path(sys.argv[1]))")
    path, environment = tmp_path / "a", {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), letter], env=environment)
                 for letter in "abcd"]
    until = time.monotonic() + 60
    while any(process.poll() is None for process in processes) and time.monotonic() < until:
        whole.remove_dead(tmp_path, "a")  # all are alive
    assert [process.wait() for process in processes] == [0] * 4
    assert path.read_bytes() in [letter * 50_000 for letter in (b"a", b"b", b"c", b"d")] and names(tmp_path) == ["a"]
