"""Commands that are killed, or whose disk loses its power, at random moments; and what the next call must come to.

Each command works in a folder `root`, which `before` fills; `first` is killed, `again` goes on, and `results` are what
must then be as if nothing had happened. A kill is SIGKILL. A power cut is real: the folder is a file system of its own
on a loop device, of which only what it has written by then is seen again. ext4 and XFS are shut down by the ioctl that
they have for that; for others the process is stopped and what the device holds is copied. Of a command that MPI starts
one process is killed, at a random step; all must end then.
"""

import fcntl
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny

ROOT = Path(__file__).resolve().parents[1]
CALL = """
import sys
sys.path[:0] = [sys.argv[1]]
from scored import few_drawings
from minigan.cli import main
with few_drawings(sys.argv[2]):
    sys.argv[1:] = sys.argv[3:]
    main.main()
"""
SHUTDOWN, WITHOUT_LOG = 0x8004587D, 2  # XFS_IOC_GOINGDOWN, which is EXT4_IOC_SHUTDOWN, too; not even the journal
SYSTEMS = ("ext4", "xfs", "btrfs")
SIZE = 512 << 20  # bytes of a file system; XFS wants 300 MiB
LOCK = "*.lock"  # empty; that it is removed is not synced: a power cut may leave it to the next call
STEPS, LONGEST = 40, 60  # iterations of a training by several processes; seconds in which all must have ended
SMALL = ["--size", "16", "--width", "0.03", "--dim-z", "4", "--batch-size", "2"]

Words = list[str]


class Impossible(Exception):
    """Why no power can be cut here."""


@dataclass(frozen=True)
class Command:
    """What is killed, what goes on with it, and what must come of it: name -> content."""

    first: Callable[[Path], Words]
    results: Callable[[Path], dict[str, Any]]
    again: Callable[[Path], Words] | None = None  # None: the same once more
    before: Callable[[Path], list[Words]] = lambda root: []  # commands that fill the folder
    processes: int = 1  # that MPI starts


def files(*patterns: str) -> Callable[[Path], dict[str, Any]]:
    return lambda root: {str(path.relative_to(root)): path.read_bytes()
                         for pattern in patterns for path in sorted(root.glob(pattern))}


def of_runs(*names: str, also: tuple[str, ...] = ()) -> Callable[[Path], dict[str, Any]]:
    """All that runs leave, but for their seconds."""
    def found(root: Path) -> dict[str, Any]:
        there = [name for name in names if any((root / name).glob("checkpoint-*.h5"))]
        return files(*also)(root) | {f"{name}/{inner}": content for name in there
                                     for inner, content in run_contents(root / name).items()}
    return found


def run_contents(run: Path) -> dict[str, Any]:
    try:
        done = json.loads((run / "experiment.json").read_text())["done"]
        return tiny.contents(run) | {"done": done, "names": tiny.names(run)}
    except (OSError, ValueError):
        return {}


def drawn(root: Path) -> Words:
    return ["train", "shapes", *SMALL, "--iterations", "4", "--checkpoint-every", "2", "-q", "--out", str(root / "run")]


def pictures(root: Path, **chosen: Any) -> Words:
    return tiny.words(root / "in", root / "run", **chosen)


def classify(root: Path, *more: str) -> Words:
    return ["classifier", "train", "shapes", "--size", "16", "--epochs", "2", "--batch-size", "50", "-q", *more]


def sweep(root: Path) -> Words:
    return ["sweep", "folder", "--data-root", str(root / "in"), *SMALL, "--iterations", "4", "--methods", "sn,wn",
            "--settings", "C", "--out", str(root / "grid"), "-q"]


COMMANDS = {
    "pack": Command(lambda root: ["pack", "folder", str(root / "out.h5"), "--data-root", str(root / "in"), "--size",
                                  "16"], files("out.h5")),
    "train": Command(pictures, of_runs("run"), lambda root: ["train", "--resume", str(root / "run")]),
    "train --overwrite": Command(lambda root: [*pictures(root, seed=1), "--overwrite"], of_runs("run"),
                                 before=lambda root: [pictures(root)]),
    "sweep": Command(sweep, of_runs("grid/sn-C-0", "grid/wn-C-0",
                                    also=("grid/sweep.json", "grid/summary.md", "grid/samples.png"))),
    "score": Command(lambda root: ["score", str(root / "run"), "--protocol", "classifier", "--count", "200", "-q"],
                     files("run/scores.json", "run/nearest.png"),
                     before=lambda root: [drawn(root), classify(root)]),
    "classifier": Command(lambda root: classify(root, "--out", str(root / "c.h5")), files("c.h5")),
    "report": Command(lambda root: ["report", str(root / "run")], files("run/report.html"),
                      before=lambda root: [drawn(root)]),
    "sample": Command(lambda root: ["sample", str(root / "run"), "-n", "200", "--out", str(root / "drawn")],
                      files("drawn/*.png"), before=lambda root: [drawn(root)]),
}
TOGETHER = {f"train, {count} processes": Command(
    lambda root: [*pictures(root, iterations=STEPS, log_every=1, checkpoint_every=7, gen_batch_size=4), "-q"],
    of_runs("run"), lambda root: ["train", "--resume", str(root / "run"), "-q"], processes=count) for count in (2, 4)}


def started(words: Words, root: Path, processes: int = 1) -> subprocess.Popen[str]:
    launch = [] if processes == 1 else [_mpiexec(), "-n", str(processes)]
    return subprocess.Popen([*launch, sys.executable, "-c", CALL, str(ROOT / "tests"), str(root / "cache"), *words],
                            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=processes > 1)


def _mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")  # PyPI's mpich puts it there
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise Impossible("mpiexec is missing: pip install mpich")
    return found


def run(words: Words, root: Path, processes: int = 1) -> tuple[int, str]:
    process = started(words, root, processes)
    said = _ended(process, None if processes == 1 else 3 * LONGEST)
    return process.returncode, said


def _ended(process: subprocess.Popen[str], seconds: float | None) -> str:
    """What it said. TimeoutExpired if it goes on for longer; then it is killed, and all that it started."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


def prepared(command: Command, root: Path, kept: Path) -> tuple[float, dict[str, Any]]:
    """Fill `root` and keep that in `kept`; the seconds and the results of the command, if nobody disturbs it."""
    tiny.pictures(root / "in")
    for words in command.before(root):
        _undisturbed(words, root, 1)
    shutil.copytree(root, kept, ignore=shutil.ignore_patterns("lost+found"))
    began = time.monotonic()
    _undisturbed(command.first(root), root, command.processes)
    took, wanted = time.monotonic() - began, command.results(root)
    if not wanted:
        raise SystemExit(f"{command.first(root)} leaves no results")
    return took, wanted


def _undisturbed(words: Words, root: Path, processes: int) -> None:
    code, said = run(words, root, processes)
    if code:
        raise SystemExit(f"{words} fails undisturbed: {said}")


def filled(root: Path, kept: Path) -> None:
    """`root` as the command finds it."""
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, root, dirs_exist_ok=True)


def outcome(command: Command, root: Path, wanted: dict[str, Any], ended: bool) -> tuple[bool, bool, str]:
    """Whether the next call goes on, whether all is then as wanted, and what is wrong, "" for nothing.

    ended: the command said that it had done its work, so that all must be there already.
    """
    if command.results(root) == wanted:
        return True, True, _left(root, LOCK) if ended else ""
    if ended:
        return False, False, "what it had done is lost"
    code, said = run((command.again or command.first)(root), root, command.processes)
    if code and ("is not a run" in said or "no checkpoint here" in said):  # it had not begun
        code, said = run(command.first(root), root, command.processes)
    same = command.results(root) == wanted
    wrong = [f"code {code}: {said}"] * bool(code) + ["another result"] * (not same) + [_left(root)]
    if "rebuilt" in said or "are lost" in said:
        wrong.append(said)
    return not code, same, "; ".join(filter(None, wrong))


def _left(root: Path, but: str = "") -> str:
    """What of commands that are gone is left; but: files of this pattern do not count."""
    found = [str(path.relative_to(root)) for pattern in ("*.part", "*.part.json", LOCK, "*.training") if pattern != but
             for path in root.rglob(pattern)]
    return f"{', '.join(found)} left" if found else ""


Kill = Callable[[Command, Path, float, dict[str, Any]], tuple[tuple[bool, bool, str], str]]


def killed(name: str, count: int, seed: int) -> dict[str, Any]:
    """Kill a command at `count` random moments of its time; how many of the next calls come to the same results."""
    rng = random.Random(f"{name} {seed}")

    def kill(command: Command, root: Path, took: float, wanted: dict[str, Any]) -> tuple[tuple[bool, bool, str], str]:
        with started(command.first(root), root) as process:
            time.sleep(rng.uniform(0, took))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        return outcome(command, root, wanted, process.returncode == 0), ""
    return _counted(name, COMMANDS[name], count, seed, kill)


def killed_together(name: str, count: int, seed: int) -> dict[str, Any]:
    """Kill one process of several that train together, at `count` random steps; how long the last lives on."""
    rng, lasted = random.Random(f"{name} {seed}"), [0.0]

    def kill(command: Command, root: Path, took: float, wanted: dict[str, Any]) -> tuple[tuple[bool, bool, str], str]:
        step, victim, pause = rng.randrange(STEPS), rng.randrange(command.processes), rng.uniform(0, took / STEPS)
        process = started(command.first(root), root, command.processes)
        try:
            began = _killed_at(process, root, step, victim, pause)
            _ended(process, LONGEST)
            while members(root):
                if time.monotonic() > began + LONGEST:
                    raise subprocess.TimeoutExpired(name, LONGEST)
            lasted.append(time.monotonic() - began)
            what = outcome(command, root, wanted, process.returncode == 0)
        except subprocess.TimeoutExpired as error:
            what = False, False, f"it hangs for {error.timeout:.0f} s"
        return what, f" (process {victim}, step {step})"
    return _counted(name, TOGETHER[name], count, seed, kill) | {"slowest end": f"{max(lasted):.1f} s"}


def _counted(name: str, command: Command, count: int, seed: int, kill: Kill) -> dict[str, Any]:
    """What became of a command that was killed so many times, each time from the same files.

    kill(command, root, seconds and results of the command undisturbed) -> (its outcome, words on where it was killed).
    """
    found = {"command": name, "kills": count, "went on": 0, "same result": 0, "faults": 0}
    with tempfile.TemporaryDirectory(prefix="minigan-campaign-") as folder:
        root, kept = Path(folder, "root"), Path(folder, "kept")
        root.mkdir()
        took, wanted = prepared(command, root, kept)
        for number in range(count):
            filled(root, kept)
            what, where = kill(command, root, took, wanted)
            _count(found, what, f"{name}, seed {seed}, kill {number}{where}")
    return found


def _killed_at(process: subprocess.Popen[str], root: Path, step: int, victim: int, pause: float) -> float:
    """Kill the process of this rank so many seconds after the step, if it lives then; the time when that was done."""
    log = root / "run" / "log.jsonl"
    until = time.monotonic() + 3 * LONGEST
    while process.poll() is None and not (
            victim in members(root) and (step == 0 or log.exists() and log.read_bytes().count(b"\n") >= step)):
        if time.monotonic() > until:
            raise subprocess.TimeoutExpired("the training", 3 * LONGEST)
        time.sleep(0.005)
    time.sleep(pause)
    if (number := members(root).get(victim)) is not None:
        os.kill(number, signal.SIGKILL)
    return time.monotonic()


def members(root: Path) -> dict[int, int]:
    """Rank -> number of the process, of those that MPI started for a command on this folder and that live."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = ((path / name).read_bytes() for name in ("environ", "cmdline"))
            zombie = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        rank = re.search(rb"(?:^|\0)PMI_RANK=(\d+)\0", environment)
        if rank and not zombie and str(root).encode() in command:
            found[int(rank[1])] = int(path.name)
    return found


def cut(system: str, count: int, seed: int, names: tuple[str, ...] = tuple(COMMANDS)) -> dict[str, Any]:
    """Cut the power of commands at `count` random moments each, on a file system of this kind. Impossible, with why."""
    found = {"file system": system, "cuts": count * len(names), "went on": 0, "same result": 0, "faults": 0}
    for name in names:
        command, rng = COMMANDS[name], random.Random(f"{name} {system} {seed}")
        with tempfile.TemporaryDirectory(prefix="minigan-campaign-") as folder, Disk(Path(folder), system) as disk:
            root, kept = disk.mounted / "root", Path(folder, "kept")
            root.mkdir()
            took, wanted = prepared(command, root, kept)
            for number in range(count):
                filled(root, kept)
                os.sync()
                with started(command.first(root), root) as process:
                    time.sleep(rng.uniform(0.1, 1.1) * took)
                    ended = process.poll() == 0
                    disk.cut(process)
                _count(found, outcome(command, root, wanted, ended), f"{name} on {system}, seed {seed}, cut {number}")
    return found


def _count(found: dict[str, Any], what: tuple[bool, bool, str], where: str) -> None:
    went, same, wrong = what
    found["went on"] += went
    found["same result"] += same
    if wrong:
        found["faults"] += 1
        print(f"{where}: {wrong}", file=sys.stderr)


class Disk:
    """A file system of its own on a loop device, mounted at folder/mounted."""

    def __init__(self, folder: Path, system: str):
        self.folder, self.system = folder, system
        self.image, self.mounted = folder / "image", folder / "mounted"

    def __enter__(self) -> "Disk":
        if os.name != "posix" or os.geteuid():
            raise Impossible("only root may mount a file system")
        missing = [tool for tool in (f"mkfs.{self.system}", "mount", "umount") if shutil.which(tool) is None]
        if missing:
            raise Impossible(f"{missing[0]} is missing")
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        self.mounted.mkdir()
        _told([f"mkfs.{self.system}", "-q", str(self.image)])
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.mounted)], check=False)

    def cut(self, process: subprocess.Popen[str]) -> None:
        """Drop all that the file system has not written, and mount it again; the process ends."""
        number = os.open(self.mounted, os.O_RDONLY)
        copied = False
        try:
            fcntl.ioctl(number, SHUTDOWN, struct.pack("I", WITHOUT_LOG))
        except OSError:  # this one has no such thing
            with _stopped(process):
                subprocess.run(["cp", "--sparse=always", str(self.image), str(self.folder / "copy")], check=True)
            copied = True
        finally:
            os.close(number)
        process.kill()
        process.communicate()
        _told(["umount", str(self.mounted)])
        if copied:
            (self.folder / "copy").replace(self.image)
        self._mount()

    def _mount(self) -> None:
        # no commit by the clock while a stopped process's disk is copied
        how = "loop,commit=300" if self.system != "xfs" else "loop"
        _told(["mount", "-t", self.system, "-o", how, str(self.image), str(self.mounted)])


@contextmanager
def _stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    """Inside, the process does nothing: no call that it made of the system is going on, either."""
    process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{process.pid}/task")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in tasks.glob("*/stat")]
        if not {*states} - {"T", "Z", "X"}:
            break
        time.sleep(0.001)
    yield


def _told(words: Words) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Impossible(f"{words[0]}: {' '.join(done.stdout.split())}")
