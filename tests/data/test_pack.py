"""Packing a data set: written once, gone on with after a kill, checked."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from published_files import read

from minigan.cli import main
from minigan.data import datasets, drawings, image_folder, pack
from minigan.data.dataset import Source, digest_of
from minigan.errors import FailedWork, WrongUse
from minigan.formats import locks, whole

ROOT = Path(__file__).resolve().parents[2]


def quiet(*_: object) -> None:
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


# ---- packing ----


def test_a_packed_set_is_the_set(file, original):
    data = datasets.load("packed", root=file)
    np.testing.assert_array_equal(np.asarray(data.images), original.images)
    np.testing.assert_array_equal(data.labels, original.labels)
    assert data.classes == original.classes == ("a", "b") and data.labelled
    assert data.images.shape == (20, 16, 16, 3) and data.images.dtype == np.uint8
    assert digest_of(data.images) == digest_of(original.images)
    assert "20 images, checksums right" in pack.check(file, quiet)
    assert datasets.find("packed", file) == str(file)
    assert sorted(path.name for path in file.parent.iterdir()) == ["out.h5", "pictures"]


def test_any_hdf5_tool_reads_it(file, pictures, original):
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened["images"][()], original.images)
        np.testing.assert_array_equal(opened["labels"][()], original.labels)
        assert opened["images"].chunks == (3, 16, 16, 3)
        state = json.loads(opened["state"][()].tobytes())
    assert state["made"]["dataset"] == "folder" and state["made"]["root"] == str(pictures)


@pytest.mark.parametrize("dataset", ["shapes", "folder"])
def test_the_command_packs_checks_and_trains(dataset, pictures, tmp_path, capsys, monkeypatch):
    drawn = drawings.draw
    monkeypatch.setattr(drawings, "draw", lambda n, *more: drawn(n // 1000, *more))
    root = ["--data-root", str(pictures)] if dataset == "folder" else []
    out = tmp_path / "new" / "out.h5"
    assert main.run(["pack", dataset, str(out), "--size", "16", *root]) == 0
    assert "20 images of 16 x 16 pixels" in capsys.readouterr().out
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
    with pytest.raises(FailedWork, match=r"2 of 20 images cannot be used: a/02.png .* or use --skip-bad"):
        pack.pack("folder", out, root=pictures, size=16, progress=quiet)
    assert not out.exists()
    said: list[str] = []
    line = pack.pack("folder", out, root=pictures, size=16, skip_bad=True, progress=quiet, say=said.append)
    assert "18 images" in line and "2 left out" in line and "a/02.png" in said[0]
    data, original = datasets.load("packed", root=out), read("folder", pictures, size=16, skip_bad=True)
    np.testing.assert_array_equal(data.images[:], original.images)
    np.testing.assert_array_equal(data.labels, original.labels)
    assert "18 images" in pack.check(out, quiet)


@pytest.mark.parametrize("remedy", ["repaired", "removed"])
def test_what_is_advised_for_pictures_that_cannot_be_used_works(remedy, pictures, small_chunks, tmp_path):
    """The first picture of the second block, so that there is one to go on from."""
    files = sorted(path.relative_to(pictures) for path in pictures.rglob("*.png"))
    bad, out = pictures / files[image_folder.BLOCK], tmp_path / "out.h5"
    whole = bad.read_bytes()
    bad.write_bytes(b"broken")
    with pytest.raises(FailedWork, match="1 of 20 images cannot be used: .* repair or remove them, or use --skip-bad"):
        pack.pack("folder", out, root=pictures, size=16, progress=quiet)
    if remedy == "repaired":
        bad.write_bytes(whole)
    else:
        bad.unlink()
    said: list[str] = []
    line = pack.pack("folder", out, root=pictures, size=16, progress=quiet, say=said.append)
    assert ("20 images" if remedy == "repaired" else "19 images") in line
    assert ([text for text in said if "going on with" in text] != []) == (remedy == "repaired")
    np.testing.assert_array_equal(datasets.load("packed", root=out).images[:], read("folder", pictures, size=16).images)
    assert {path.name for path in tmp_path.iterdir()} <= {"out.h5", "pictures"}


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
    assert restart == [0, 7] and "14 of 20 images are there" in said[0]
    assert (tmp_path / "often.h5").read_bytes() == (tmp_path / "once.h5").read_bytes()
    assert list(tmp_path.glob("*.part*")) == []


def test_a_kill_before_the_last_rename_loses_nothing(pictures, small_chunks, tmp_path, monkeypatch):
    (pictures / "a" / "02.png").write_bytes(b"broken")  # so that the file is cut at the end
    options = {"root": pictures, "size": 16, "skip_bad": True, "progress": quiet, "say": quiet}
    pack.pack("folder", tmp_path / "once.h5", **options)
    for place in (pack.finish, whole.sync_file, pack.remove):
        calls: list[object] = []

        def dying(*args: object, real=place, calls=calls, last=2 if place is pack.remove else 1) -> object:
            calls.append(args)
            if len(calls) == last:
                raise Killed
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(whole if place is whole.sync_file else pack, place.__name__, dying)
            with pytest.raises(Killed):
                pack.pack("folder", tmp_path / "again.h5", **options)
        assert (tmp_path / "again.h5").exists() == (last := place is pack.remove)  # then it is its record that was left
        pack.pack("folder", tmp_path / "again.h5", **options, overwrite=last)
        assert names(tmp_path) == ["again.h5", "once.h5"]
        assert pack.check(tmp_path / "again.h5", quiet)
        np.testing.assert_array_equal(datasets.load("packed", root=tmp_path / "again.h5").images[:],
                                      datasets.load("packed", root=tmp_path / "once.h5").images[:])
        (tmp_path / "again.h5").unlink()


def test_the_record_that_a_kill_left_beside_a_finished_file_goes_with_the_next_call(pictures, tmp_path):
    options = {"root": pictures, "size": 16, "progress": quiet, "say": quiet}
    out, record = tmp_path / "out.h5", tmp_path / "out.h5.part.json"
    pack.pack("folder", out, **options)
    left = json.dumps({"made": {"dataset": "shapes"}, "done": 2, "count": 2})
    record.write_text(left)
    with pytest.raises(WrongUse, match="exists already"):
        pack.pack("folder", out, **options)
    assert names(tmp_path) == ["out.h5"]
    record.write_text("{}")  # somebody else's
    with pytest.raises(WrongUse, match="exists already"):
        pack.pack("folder", out, **options)
    assert record.exists()
    record.write_text(left)
    out.unlink()
    pack.pack("folder", out, **options)  # that was begun with other choices, and is gone
    assert names(tmp_path) == ["out.h5"]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_process_killed_at_any_moment_leaves_what_can_be_gone_on_with(tmp_path):
    program = ("import sys, time; from minigan.data import drawings, pack, drawings; draw = drawings.draw;"
               "drawings.draw = lambda n, *m: draw(n // 20, *m); pack.SYNC_EVERY = 0; put = pack._Writer._put;"
               "pack._Writer._put = lambda *a: (put(*a), time.sleep(0.02), print(flush=True));"
               f"print(pack.pack('shapes', __import__('pathlib').Path({str(tmp_path / 'out.h5')!r})))")
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for lines in (1, 4):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "out.h5").exists() and (tmp_path / "out.h5.part").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "going on with" in done.stderr
    images, labels = drawings.draw(1000, 32, 0, "train")
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
    pytest.importorskip("fcntl")
    with locks.alone(tmp_path / "out.h5", "busy"):
        with pytest.raises(WrongUse, match="is being written by another process"):
            pack.pack("folder", tmp_path / "out.h5", root=pictures, size=16, progress=quiet)


def test_damaged_pictures_are_found_by_a_check(file):
    with h5py.File(file) as opened:
        place = opened["images"].id.get_chunk_info(0).byte_offset
    data = bytearray(file.read_bytes())
    data[place + 5] ^= 1
    file.write_bytes(data)
    datasets.load("packed", root=file)  # to read all of a large file would take minutes
    with pytest.raises(FailedWork, match="its images do not match their checksum"):
        pack.check(file, quiet)
