"""Packed data sets: files that are none, images read when they are asked for, batches read ahead."""

import hashlib
import json
import threading
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from minigan.cli import main
from minigan.data import datasets, pack, packed
from minigan.errors import FailedWork, WrongUse
from minigan.experiment import presets
from minigan.parallel.mpi import Group
from minigan.training import gan
from minigan.training.batches import Batches, Draws

ROOT = Path(__file__).resolve().parents[2]


def quiet(*_: object) -> None:
    pass


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


def test_packed_images_are_indexed_like_an_array(images, original):
    array = original.images
    for index in (np.array([3, 19, 0, 3]), slice(2, 9, 3), np.array([-1, 5]), np.array([], int), 7):
        np.testing.assert_array_equal(images[index], array[index])
    for index in (np.array([20]), np.array([-21]), np.array([[1]])):
        with pytest.raises(IndexError):
            images[index]


def batches(seed: int = 5, size: int = 6) -> Batches:
    return Batches(20, size, np.random.default_rng(seed))


@pytest.mark.parametrize("ahead", [1, 4])
def test_batches_read_ahead_are_the_ones_asked_for(ahead, images, original):
    array, mine = original.images, batches()
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


def test_other_pictures_in_between_do_not_disturb_it(images, original):
    array, mine = original.images, batches()
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


@pytest.mark.parametrize("rank, parts", [(0, 1), (1, 1), (1, 2)])
def test_each_process_reads_its_own_rows_ahead(rank, parts, images, original, monkeypatch):
    reads, read = [], images.read
    monkeypatch.setattr(images, "read", lambda index: reads.append((threading.current_thread().name, len(index)))
                        or read(index))
    e = presets.experiment("folder", size=16, batch_size=8, gen_batch_size=8, accumulate=parts)
    draws, whole = (Draws(e, images.shape, None, 0, images, group) for group in (Group(rank, 2), Group()))
    images.prefetch(draws.ahead())
    for _ in range(12):
        x, index = draws.discriminator(np.zeros(())), whole.batches.next().reshape(parts, 2, -1)[:, rank].ravel()
        np.testing.assert_array_equal(x.index, index)
        np.testing.assert_array_equal(x.stored, original.images[index])
    assert set(reads) == {("minigan-read", 4)}


def test_a_file_that_shrinks_while_it_is_read_is_said(images, file):
    mine = batches(size=20)
    with open(file, "r+b") as opened:
        opened.truncate(15_000)
    images.prefetch(mine)
    with pytest.raises(FailedWork, match="ends within image"):
        images[mine.next()]


@pytest.mark.parametrize("resumed", [True, False])
def test_training_from_the_file_gives_the_same_bytes_as_from_memory(resumed, file, original):
    e = presets.experiment("folder", size=16, width=0.05, batch_size=6, iterations=8, seed=3, model="cnn")

    def state(images: object) -> str:
        training = gan.Training(e, images)
        for i in range(8):
            if isinstance(training.images, packed.Images) and i == 0:
                training.images.prefetch(training.draws.batches)
            if resumed and i == 4:
                before, training = training.state(), gan.Training(e, images)
                training.load(before)
                if isinstance(training.images, packed.Images):
                    training.images.prefetch(training.draws.batches)
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

    assert state(datasets.load("packed", root=file).images) == state(original.images)


def test_the_command_trains_from_the_file_and_resumes(file, tmp_path, capsys):
    words = ["train", "packed", "--data-root", str(file), "--width", "0.05", "--batch-size", "6", "--seed", "3", "-q"]
    assert main.run([*words, "--iterations", "4", "--out", str(tmp_path / "once")]) == 0
    assert main.run([*words, "--iterations", "2", "--out", str(tmp_path / "twice")]) == 0
    moved = file.rename(tmp_path / "moved.h5")
    resume = ["train", "--resume", str(tmp_path / "twice"), "--data-root", str(moved)]
    assert main.run([*resume, "--iterations", "4", "-q"]) == 0
    assert (tmp_path / "once" / "samples.png").read_bytes() == (tmp_path / "twice" / "samples.png").read_bytes()
    assert [thread.name for thread in threading.enumerate() if thread.name == "minigan-read"] == []


# ---- checksums of single images ----

def flipped(file: Path, image: int) -> None:
    """One bit of an image is another one, without HDF5."""
    layout = packed.Layout(file)
    place = int(layout.chunks["images"][image // layout.per["images"]]) + image % layout.per["images"] * 768 + 100
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)


def test_a_damaged_image_ends_what_reads_it_and_no_other_is_touched(file, tmp_path, capsys):
    original = datasets.load("packed", root=file).images[:]
    flipped(file, 7)
    images = datasets.load("packed", root=file).images
    others = [i for i in range(20) if i != 7]
    np.testing.assert_array_equal(images[np.array(others)], original[others])
    with pytest.raises(FailedWork, match=r"image 7 does not match its checksum; the file is damaged, pack it again"):
        images[np.array([3, 7])]
    assert main.run(["train", "packed", "--data-root", str(file), "--out", str(tmp_path / "run"), "--width", "0.05",
                     "--iterations", "30", "--batch-size", "8", "--n-dis", "1", "--dim-z", "4", "-q"]) == 1
    assert "image 7 does not match its checksum" in capsys.readouterr().err


def test_a_file_of_an_earlier_version_has_no_such_checksums_and_is_read(file):
    original = datasets.load("packed", root=file).images[:]
    with h5py.File(file, "r+") as opened:
        del opened["crc32"]
    np.testing.assert_array_equal(datasets.load("packed", root=file).images[:], original)
    assert "checksums right" in pack.check(file, quiet)


def test_checksums_that_are_damaged_themselves_are_found(file):
    with h5py.File(file, "r+") as opened:
        opened["crc32"][3] ^= 1
    with pytest.raises(FailedWork, match="checksums of single images are damaged"):
        pack.check(file, quiet)
