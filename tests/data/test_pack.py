"""Packed data sets: written once, gone on with after a kill, read ahead; and files that are none."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minigan.cli import main
from minigan.data import datasets, pack, packed
from minigan.data.dataset import Source, digest_of
from minigan.errors import FailedWork, WrongUse
from minigan.experiment import presets
from minigan.training import gan
from minigan.training.batches import Batches

ROOT = Path(__file__).resolve().parents[2]


def quiet(*_: object) -> None:
    pass


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with 20 pictures of 16 x 16 in two classes."""
    rng = np.random.default_rng(21)
    for i in range(20):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    """Chunks of 3 pictures and 4 labels, blocks of 7 pictures: all three end at different places."""
    monkeypatch.setattr(pack, "CHUNK", 3 * 16 * 16 * 3)
    monkeypatch.setattr(pack, "LABELS", 4)
    monkeypatch.setattr("minigan.data.image_folder.BLOCK", 7)
    monkeypatch.setattr(pack, "SYNC_EVERY", 0.0)


@pytest.fixture
def file(pictures, small_chunks, tmp_path) -> Path:
    pack.pack("folder", tmp_path / "out.h5", root=pictures, size=16, progress=quiet)
    return tmp_path / "out.h5"


def whole(pictures: Path, **options: object) -> datasets.Dataset:
    return datasets.load("folder", root=pictures, size=16, progress=quiet, say=quiet, **options)


# ---- packing ----


def test_a_packed_set_is_the_set(file, pictures):
    data, original = datasets.load("packed", root=file), whole(pictures)
    np.testing.assert_array_equal(np.asarray(data.images), original.images)
    np.testing.assert_array_equal(data.labels, original.labels)
    assert data.classes == original.classes == ("a", "b") and data.labelled
    assert data.images.shape == (20, 16, 16, 3) and data.images.dtype == np.uint8
    assert digest_of(data.images) == digest_of(original.images)
    assert "20 pictures, checksums right" in pack.check(file, quiet)
    assert datasets.find("packed", file) == str(file)
    assert sorted(path.name for path in file.parent.iterdir()) == ["out.h5", "pictures"]


def test_any_hdf5_tool_reads_it(file, pictures):
    original = whole(pictures)
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened["images"][()], original.images)
        np.testing.assert_array_equal(opened["labels"][()], original.labels)
        assert opened["images"].chunks == (3, 16, 16, 3)
        state = json.loads(opened["state"][()].tobytes())
    assert state["made"]["dataset"] == "folder" and state["made"]["root"] == str(pictures)


@pytest.mark.parametrize("dataset", ["shapes", "folder"])
def test_the_command_packs_checks_and_trains(dataset, pictures, tmp_path, capsys, monkeypatch):
    drawn = datasets.drawings.draw
    monkeypatch.setattr(datasets.drawings, "draw", lambda n, *more: drawn(n // 1000, *more))
    root = ["--data-root", str(pictures)] if dataset == "folder" else []
    out = tmp_path / "new" / "out.h5"
    assert main.run(["pack", dataset, str(out), "--size", "16", *root]) == 0
    assert "20 pictures of 16 x 16 pixels" in capsys.readouterr().out
    assert main.run(["pack", "--check", str(out)]) == 0
    assert main.run(["pack", dataset, str(out), "--size", "16", *root]) == 2
    assert "exists already; choose another file, or --overwrite" in capsys.readouterr().err
    assert main.run(["pack", dataset, str(out), "--size", "16", "--overwrite", *root]) == 0
    assert main.run(["pack"]) == 2 and "which data set" in capsys.readouterr().err
    assert main.run(["pack", "packed", str(out) + "2"]) == 2


def test_pictures_that_cannot_be_used_are_left_out_only_on_request(pictures, small_chunks, tmp_path):
    (pictures / "a" / "02.png").write_bytes(b"broken")
    (pictures / "b" / "15.png").write_bytes(b"broken")
    out = tmp_path / "out.h5"
    with pytest.raises(FailedWork, match=r"2 of 20 pictures cannot be used: a/02.png .* or use --skip-bad"):
        pack.pack("folder", out, root=pictures, size=16, progress=quiet)
    assert not out.exists()
    with pytest.raises(WrongUse, match=r"was begun with other choices \(skip_bad\); remove it"):
        pack.pack("folder", out, root=pictures, size=16, skip_bad=True, progress=quiet)
    for path in tmp_path.glob("out.h5.part*"):
        path.unlink()
    said: list[str] = []
    line = pack.pack("folder", out, root=pictures, size=16, skip_bad=True, progress=quiet, say=said.append)
    assert "18 pictures" in line and "2 left out" in line and "a/02.png" in said[0]
    data, original = datasets.load("packed", root=out), whole(pictures, skip_bad=True)
    np.testing.assert_array_equal(data.images[:], original.images)
    np.testing.assert_array_equal(data.labels, original.labels)
    assert "18 pictures" in pack.check(out, quiet)


# ---- interrupted ----


class Killed(BaseException):
    pass


def killed_after(monkeypatch: pytest.MonkeyPatch, n: int, restart: list[int]) -> None:
    """Sources end like a killed process after n blocks; `restart` collects from where they were asked to begin."""
    opened = datasets.open_source

    def dying(*args: object, **options: object) -> Source:
        source = opened(*args, **options)

        def blocks(start: int):
            restart.append(start)
            for i, block in enumerate(source.blocks(start)):
                if i == n:
                    raise Killed
                yield block

        return Source(source.shape, source.labels, source.classes, source.where, source.identity, blocks)

    monkeypatch.setattr(datasets, "open_source", dying)


@pytest.mark.parametrize("skip_bad", [True, False])
def test_a_packing_that_was_killed_goes_on_to_the_same_file(skip_bad, pictures, small_chunks, tmp_path, monkeypatch):
    if skip_bad:
        (pictures / "a" / "02.png").write_bytes(b"broken")
        (pictures / "b" / "15.png").write_bytes(b"broken")
    options = {"root": pictures, "size": 16, "skip_bad": skip_bad, "progress": quiet, "say": quiet}
    pack.pack("folder", tmp_path / "once.h5", **options)
    restart: list[int] = []
    with monkeypatch.context() as patch:
        killed_after(patch, 1, restart)
        for _ in range(3):
            with pytest.raises(Killed):
                pack.pack("folder", tmp_path / "often.h5", **options)
            assert not (tmp_path / "often.h5").exists()
            part = tmp_path / "often.h5.part"
            with pytest.raises(FailedWork, match="is not finished; call minigan pack again"):
                datasets.load("packed", root=part)
            with pytest.raises(FailedWork, match="is not finished"):
                pack.check(part)
            if len(restart) == 2:
                break
    said: list[str] = []
    pack.pack("folder", tmp_path / "often.h5", **options | {"say": said.append})
    assert restart == [0, 7] and "14 of 20 pictures are there" in said[0]
    assert (tmp_path / "often.h5").read_bytes() == (tmp_path / "once.h5").read_bytes()
    assert list(tmp_path.glob("*.part*")) == []


def test_a_kill_before_the_last_rename_loses_nothing(pictures, small_chunks, tmp_path, monkeypatch):
    (pictures / "a" / "02.png").write_bytes(b"broken")  # so that the file is cut at the end
    options = {"root": pictures, "size": 16, "skip_bad": True, "progress": quiet, "say": quiet}
    pack.pack("folder", tmp_path / "once.h5", **options)
    for place in ("os.replace", "minigan.data.pack.os.fsync"):
        real_replace, real_sync = os.replace, os.fsync

        def dying(*args: object, real=real_replace if place == "os.replace" else real_sync) -> object:
            by = sys._getframe(1)
            if by.f_code.co_name in ("write", "finish"):
                raise Killed
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(place, dying)
            with pytest.raises(Killed):
                pack.pack("folder", tmp_path / "again.h5", **options)
        assert not (tmp_path / "again.h5").exists()
        pack.pack("folder", tmp_path / "again.h5", **options)
        assert pack.check(tmp_path / "again.h5", quiet)
        np.testing.assert_array_equal(datasets.load("packed", root=tmp_path / "again.h5").images[:],
                                      datasets.load("packed", root=tmp_path / "once.h5").images[:])
        (tmp_path / "again.h5").unlink()


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_process_killed_at_any_moment_leaves_what_can_be_gone_on_with(tmp_path):
    program = ("import sys, time; from minigan.data import pack, drawings; draw = drawings.draw;"
               "drawings.draw = lambda n, *m: draw(n // 20, *m); pack.SYNC_EVERY = 0; put = pack._Writer._put;"
               "pack._Writer._put = lambda *a: (put(*a), time.sleep(0.02), print(flush=True));"
               f"print(pack.pack('shapes', __import__('pathlib').Path({str(tmp_path / 'out.h5')!r})))")
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for lines in (1, 3):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "out.h5").exists() and (tmp_path / "out.h5.part").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "going on with" in done.stderr
    images, labels = datasets.drawings.draw(1000, 32, 0, "train")
    data = datasets.load("packed", root=tmp_path / "out.h5")
    np.testing.assert_array_equal(data.images[:], images)
    np.testing.assert_array_equal(data.labels, labels)


def test_another_request_does_not_go_on_with_it(pictures, small_chunks, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, 1, [])
        with pytest.raises(Killed):
            pack.pack("folder", tmp_path / "out.h5", root=pictures, size=16, progress=quiet)
    with pytest.raises(WrongUse, match=r"was begun with other choices \(size\); remove it, or choose another file"):
        pack.pack("folder", tmp_path / "out.h5", root=pictures, size=12, progress=quiet)
    (pictures / "a" / "new.png").write_bytes((pictures / "a" / "00.png").read_bytes())
    with pytest.raises(WrongUse, match=r"was begun with other choices \(files\)"):
        pack.pack("folder", tmp_path / "out.h5", root=pictures, size=16, progress=quiet)


def test_two_processes_do_not_write_the_same_file(pictures, small_chunks, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    with open(tmp_path / "out.h5.part", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WrongUse, match="is being written by another process"):
            pack.pack("folder", tmp_path / "out.h5", root=pictures, size=16, progress=quiet)


# ---- files that are none ----


def spoil(file: Path, how: str) -> None:
    if how == "not an HDF5 file":
        file.write_bytes(b"text" * 1000)
    elif how == "cut off":
        file.write_bytes(file.read_bytes()[:-2000])
    elif how == "labels do not match":
        with h5py.File(file, "r+") as opened:
            opened["labels"][3] = 1 - opened["labels"][3]
    else:
        with h5py.File(file, "r+") as opened:
            images = opened["images"][()]
            labels = opened["labels"][()]
            if how == "no dataset 'labels'":
                del opened["labels"]
            elif how == "no dataset 'images'":
                del opened["images"]
                opened["images"] = h5py.ExternalLink("/etc/passwd", "x")
            elif how == "by a filter":
                del opened["images"]
                opened.create_dataset("images", data=images, chunks=(3, 16, 16, 3), compression="gzip")
            elif how == "not stored in chunks of whole rows":
                del opened["images"]
                opened["images"] = images
            elif how == "claims":
                del opened["images"]
                opened.create_dataset("images", (1 << 40, 16, 16, 3), "u1", chunks=(3, 16, 16, 3))
            elif how == "is not complete":
                del opened["images"]
                opened.create_dataset("images", (20, 16, 16, 3), "u1", chunks=(3, 16, 16, 3))
            elif how == "expected |u1":
                del opened["images"]
                opened.create_dataset("images", data=images.astype("i2"), chunks=(3, 16, 16, 3))
            elif how == "expected (N, S, S":
                del opened["images"]
                opened.create_dataset("images", data=images[:, :15], chunks=(3, 15, 16, 3))
            elif how == "but labels of shape":
                del opened["labels"]
                opened.create_dataset("labels", data=labels[:19], chunks=(4,))
            else:
                state = json.loads(opened["state"][()].tobytes())
                state |= {"not a file that minigan pack wrote": {"format": "other"}, "reads version 1": {"version": 2},
                          "no list of names": {"classes": [1, 2]}, "no numbers of its 1 classes": {"classes": ["a"]},
                          }[how]
                del opened["state"]
                opened["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)


@pytest.mark.parametrize("how", [
    "not an HDF5 file", "cut off", "labels do not match", "no dataset 'labels'", "no dataset 'images'", "by a filter",
    "not stored in chunks of whole rows", "claims", "is not complete", "expected |u1", "expected (N, S, S",
    "but labels of shape", "not a file that minigan pack wrote", "reads version 1", "no list of names",
    "no numbers of its 1 classes"])
def test_a_file_that_is_none_is_refused_in_one_line(how, file):
    spoil(file, how)
    tracemalloc.start()
    with pytest.raises(FailedWork) as caught:
        datasets.load("packed", root=file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    line = str(caught.value)
    assert how in line and str(file) in line and "\n" not in line and peak < 5_000_000


def test_damaged_pictures_are_found_by_a_check(file):
    with h5py.File(file) as opened:
        place = opened["images"].id.get_chunk_info(0).byte_offset
    data = bytearray(file.read_bytes())
    data[place + 5] ^= 1
    file.write_bytes(data)
    datasets.load("packed", root=file)  # to read all of a large file would take minutes
    with pytest.raises(FailedWork, match="its images do not match their checksum"):
        pack.check(file, quiet)


def test_requests_that_cannot_be_meant_are_refused(file):
    with pytest.raises(WrongUse, match="needs to know which file; give it with --data-root"):
        datasets.load("packed")
    with pytest.raises(WrongUse, match="16 x 16 pixels, not 32; leave --size out, or pack them again"):
        datasets.load("packed", root=file, size=32)
    with pytest.raises(FailedWork, match="is a folder, expected a file"):
        datasets.load("packed", root=file.parent)


# ---- reading ahead ----


@pytest.fixture
def images(file) -> packed.Images:
    images = packed.Images(file)
    yield images
    images.close()


def test_packed_images_are_indexed_like_an_array(images, pictures):
    array = whole(pictures).images
    for index in (np.array([3, 19, 0, 3]), slice(2, 9, 3), np.array([-1, 5]), np.array([], int), 7):
        np.testing.assert_array_equal(images[index], array[index])
    for index in (np.array([20]), np.array([-21]), np.array([[1]])):
        with pytest.raises(IndexError):
            images[index]


def batches(seed: int = 5, size: int = 6) -> Batches:
    return Batches(20, size, np.random.default_rng(seed))


@pytest.mark.parametrize("ahead", [1, 4])
def test_batches_read_ahead_are_the_ones_asked_for(ahead, images, pictures):
    array, mine = whole(pictures).images, batches()
    images.prefetch(mine, ahead)
    for _ in range(30):  # nine epochs
        index = mine.next()
        np.testing.assert_array_equal(images[index], array[index])
    assert images._ahead.queue.maxsize == ahead


def test_reading_ahead_changes_nothing_that_is_saved(images):
    mine, alone = batches(), batches()
    images.prefetch(mine)
    for _ in range(10):
        np.testing.assert_array_equal(mine.next(), alone.next())
    np.testing.assert_array_equal(mine.order, alone.order)
    assert mine.place == alone.place and mine.rng.bit_generator.state == alone.rng.bit_generator.state


def test_other_pictures_in_between_do_not_disturb_it(images, pictures):
    array, mine = whole(pictures).images, batches()
    images.prefetch(mine)
    for i in range(8):
        np.testing.assert_array_equal(images[np.arange(i)], array[:i])
        index = mine.next()
        np.testing.assert_array_equal(images[index], array[index])
    assert images._ahead.thread.is_alive()


def test_no_more_batches_wait_than_were_allowed(images, monkeypatch):
    reads, read = [], images.read
    monkeypatch.setattr(images, "read", lambda index: reads.append(len(index)) or read(index))
    images.prefetch(batches(), 3)
    deadline = time.monotonic() + 10
    while len(reads) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(reads) == 4  # three in the queue, one in the thread's hand


def test_the_thread_ends_when_it_is_stopped(images):
    before = threading.active_count()
    images.prefetch(batches())
    images.prefetch(batches(6))
    assert threading.active_count() == before + 1
    images.stop()
    assert threading.active_count() == before


def test_a_file_that_shrinks_while_it_is_read_is_said(images, file):
    mine = batches(size=20)
    with open(file, "r+b") as opened:
        opened.truncate(15_000)
    images.prefetch(mine)
    with pytest.raises(FailedWork, match="ends within picture"):
        images[mine.next()]


@pytest.mark.parametrize("resumed", [True, False])
def test_training_from_the_file_gives_the_same_bytes_as_from_memory(resumed, file, pictures):
    e = presets.experiment("folder", size=16, width=0.05, batch_size=6, iterations=8, seed=3, model="cnn")

    def state(images: object) -> str:
        training = gan.Training(e, images)
        for i in range(8):
            if isinstance(training.images, packed.Images) and i == 0:
                training.images.prefetch(training.batches)
            if resumed and i == 4:
                before, training = training.state(), gan.Training(e, images)
                training.load(before)
                if isinstance(training.images, packed.Images):
                    training.images.prefetch(training.batches)
            training.iterate()
        if isinstance(training.images, packed.Images):
            assert training.images._ahead.head is None  # all of it was read ahead
            training.images.stop()
        digest = hashlib.sha256()

        def add(value: object) -> None:
            if isinstance(value, dict):
                for key in sorted(value):
                    digest.update(key.encode())
                    add(value[key])
            else:
                digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())

        add(training.state())
        return digest.hexdigest()

    assert state(datasets.load("packed", root=file).images) == state(whole(pictures).images)


def test_the_command_trains_from_the_file_and_resumes(file, tmp_path, capsys):
    words = ["train", "packed", "--data-root", str(file), "--width", "0.05", "--batch-size", "6", "--seed", "3", "-q"]
    assert main.run([*words, "--iterations", "4", "--out", str(tmp_path / "once")]) == 0
    assert main.run([*words, "--iterations", "2", "--out", str(tmp_path / "twice")]) == 0
    moved = file.rename(tmp_path / "moved.h5")
    resume = ["train", "--resume", str(tmp_path / "twice"), "--data-root", str(moved)]
    assert main.run([*resume, "--iterations", "4", "-q"]) == 0
    assert (tmp_path / "once" / "samples.png").read_bytes() == (tmp_path / "twice" / "samples.png").read_bytes()
    assert [thread.name for thread in threading.enumerate() if thread.name == "minigan-read"] == []
