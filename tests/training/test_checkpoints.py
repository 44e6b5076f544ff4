"""Checkpoints: everything comes back, and whatever happens to a file or a process is survived or said."""

import errno
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from minigan.errors import FailedWork, WrongUse
from minigan.formats import hdf5_state
from minigan.training import checkpoints

ROOT = Path(__file__).resolve().parents[2]
DTYPES = ["?", "i1", "u1", "<i2", ">u2", "<i4", ">i8", "<u8", "<f2", "<f4", ">f4", "<f8", "<c8", ">c16"]


def small_state(rng) -> dict:
    return {
        "iteration": 1000,
        "gen": {"l1": {"W": rng.normal(size=(5, 7)).astype(np.float32), "b": rng.normal(size=5)}},
        "rng": np.random.PCG64(3).state,  # two 128-bit integers
        "note": "sn",
    }


def assert_same(given, expected, where="state"):
    """Equality that sees types, dtypes, byte order and bits; == calls 1, 1.0 and True equal, nan unequal."""
    assert type(given) is type(expected), where
    if isinstance(expected, dict):
        assert set(given) == set(expected), where
        for key in expected:
            assert_same(given[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, np.ndarray):
        assert (given.dtype.str, given.shape) == (expected.dtype.str, expected.shape), where
        assert given.tobytes() == expected.tobytes(), where
    elif isinstance(expected, float):
        assert given.hex() == expected.hex(), where
    else:
        assert given == expected, where


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message and message
    return message


# ---------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (2, 3, 5)])
def test_arrays_of_every_dtype_and_shape_come_back_with_their_bytes(tmp_path, rng, dtype, shape):
    dtype = np.dtype(dtype)
    raw = rng.integers(0, 2 if dtype.kind == "b" else 256, size=(*shape, dtype.itemsize), dtype=np.uint8)
    array = np.frombuffer(raw.tobytes(), dtype).reshape(shape)  # random bytes: nan payloads, denormals, -0
    hdf5_state.save(tmp_path / "c.h5", {"a": array})
    assert_same(hdf5_state.load(tmp_path / "c.h5"), {"a": array})


def test_scalars_come_back_exactly_and_with_their_type(tmp_path):
    ints = (0, -1, 2**63 - 1, 2**63, -(2**63), 2**64, -(2**128) + 1, 7**9000)  # the last: 7,600 digits
    floats = (0.0, -0.0, 0.1, 1e-320, 1.7e308, float("inf"), -float("inf"), float("nan"))
    state = {
        "ints": {hex(i): i for i in ints},
        "floats": {str(x): x for x in floats},
        "others": {"true": True, "false": False, "none": None, "empty": "", "text": 'é "\n\0 /', "dict": {}},
    }
    hdf5_state.save(tmp_path / "c.h5", state)
    assert_same(hdf5_state.load(tmp_path / "c.h5"), state)


def test_a_generator_goes_on_where_it_was(tmp_path):
    rng = np.random.default_rng(5)
    rng.normal(size=11)
    hdf5_state.save(tmp_path / "c.h5", {"rng": rng.bit_generator.state})
    again = np.random.default_rng(0)
    again.bit_generator.state = hdf5_state.load(tmp_path / "c.h5")["rng"]
    assert np.array_equal(again.normal(size=9), rng.normal(size=9))


def test_any_text_is_a_key_and_similar_keys_stay_apart(tmp_path, rng):
    keys = ["", ".", "..", "/", "a/b", "a.b", "state", "sha256", "00000 a", "ü\0\n", "\ud800", "x" * 5000]
    state = {key: rng.normal(size=2) for key in keys} | {"a": {"b": rng.normal(size=2)}}
    hdf5_state.save(tmp_path / "c.h5", state)
    assert_same(hdf5_state.load(tmp_path / "c.h5"), state)


def test_strided_and_transposed_arrays_come_back_with_their_values(tmp_path, rng):
    x = rng.normal(size=(6, 4))
    hdf5_state.save(tmp_path / "c.h5", {"t": x.T, "s": x[::2, 1:3]})
    back = hdf5_state.load(tmp_path / "c.h5")
    assert np.array_equal(back["t"], x.T) and np.array_equal(back["s"], x[::2, 1:3])


def test_equal_states_give_equal_files(tmp_path, rng):
    state = small_state(rng)
    hdf5_state.save(tmp_path / "a.h5", state)
    time.sleep(1.1)  # HDF5 stores times in whole seconds, unless told not to
    hdf5_state.save(tmp_path / "b.h5", dict(reversed(state.items())))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_any_hdf5_tool_sees_the_arrays_under_their_names(tmp_path, rng):
    state = small_state(rng)
    hdf5_state.save(tmp_path / "c.h5", state)
    with h5py.File(tmp_path / "c.h5") as file:
        assert sorted(file) == ["00000 gen.l1.W", "00001 gen.l1.b", "sha256", "state"]
        assert np.array_equal(file["00000 gen.l1.W"], state["gen"]["l1"]["W"])


def test_leaves_that_cannot_be_held_are_named(tmp_path):
    for leaf, kind in [
        ([1, 2], "list"),
        (np.float64(1), "float64"),
        (np.array(["a"]), "array of <U1"),
        (np.array([None]), "array of object"),
        (np.zeros(2, np.longdouble), "array of "),
    ]:
        with pytest.raises(TypeError, match=f"checkpoint: opt.m is of type {kind}.*expected dict"):
            hdf5_state.save(tmp_path / "c.h5", {"opt": {"m": leaf}})
    with pytest.raises(TypeError, match="opt has a key that is not a str"):
        hdf5_state.save(tmp_path / "c.h5", {"opt": {1: 2}})
    with pytest.raises(TypeError, match="the state is of type int"):
        hdf5_state.save(tmp_path / "c.h5", 2**70)
    loop: dict = {}
    loop["self"] = loop
    with pytest.raises(ValueError, match="nested deeper than 64"):
        hdf5_state.save(tmp_path / "c.h5", loop)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- broken files


def test_a_file_cut_at_any_length_is_refused(tmp_path, rng):
    path = tmp_path / "c.h5"
    hdf5_state.save(path, small_state(rng))
    whole = path.read_bytes()
    for length in sorted({0, 1, 7, 8, 9, 47, 48, len(whole) - 1, *rng.integers(0, len(whole), 150).tolist()}):
        path.write_bytes(whole[:length])
        with pytest.raises(FailedWork) as error:
            hdf5_state.load(path)
        assert str(path) in one_line(error)
    assert f"truncated: {length:,} of {len(whole):,} bytes" in str(error.value)


def test_a_changed_byte_is_found_or_changes_nothing(tmp_path, rng):
    """Some bytes of an HDF5 file are padding; all others are under HDF5's checksums or under ours."""
    path, state = tmp_path / "c.h5", small_state(rng)
    hdf5_state.save(path, state)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        payload = [file[name].id.get_offset() for name in file]
    assert len(payload) == 4
    for place in payload + rng.integers(0, len(whole), 300).tolist():
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            back = hdf5_state.load(path)
        except FailedWork as error:
            assert "\n" not in str(error)
        else:
            assert_same(back, state)
            assert place not in payload


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "text.h5").write_bytes(b"hello " * 1000)
    (tmp_path / "folder.h5").mkdir()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["weights"] = np.arange(3)
    for name, reason in [
        ("missing.h5", "no such file"),
        ("folder.h5", "it is a folder"),
        ("text.h5", "not an HDF5 file"),
        ("foreign.h5", "no dataset 'state': not a minigan checkpoint"),
    ]:
        with pytest.raises(FailedWork) as error:
            hdf5_state.load(tmp_path / name)
        assert name in one_line(error) and reason in one_line(error)


# ---------------------------------------------------------------------------- hostile files


def forge(path, tree, **arrays):
    """A file whose text and checksum are right, whatever its datasets are: h5py.Datasets' makers by name."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    with h5py.File(path, "w") as file:
        file["state"] = np.frombuffer(text, np.uint8)
        digest = hashlib.sha256(text)
        for name, make in arrays.items():
            digest.update(make(file, f"00000 {name}") or b"")
        file["sha256"] = np.frombuffer(digest.digest(), np.uint8)


def whole(state) -> dict:
    return {"format": "minigan checkpoint", "version": 1, "state": state}


def plain(file, name, **how):
    file.create_dataset(name, data=np.arange(4.0), **how)
    return np.arange(4.0).tobytes()


def test_a_forged_file_is_read_if_it_is_right(tmp_path):
    """The forger works: only what the next tests change is what is refused."""
    forge(tmp_path / "f.h5", whole({"a": ["array", "<f8", [4]], "i": ["int", "0x10"]}), a=plain)
    assert_same(hdf5_state.load(tmp_path / "f.h5"), {"a": np.arange(4.0), "i": 16})


def external_link(file, name):
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["a"] = np.arange(4.0)
    file[name] = h5py.ExternalLink("other.h5", "/a")
    return np.arange(4.0).tobytes()


def soft_link(file, name):
    file["target"] = np.arange(4.0)
    file[name] = h5py.SoftLink("/target")
    return np.arange(4.0).tobytes()


def external_storage(file, name):
    raw = Path(file.filename).with_name("secret.bin")
    raw.write_bytes(np.arange(4.0).tobytes())
    file.create_dataset(name, shape=(4,), dtype="<f8", external=[(str(raw), 0, 32)])
    return np.arange(4.0).tobytes()


def virtual(file, name):
    source = h5py.VirtualSource("other.h5", "a", shape=(4,), dtype="<f8")
    layout = h5py.VirtualLayout(shape=(4,), dtype="<f8")
    layout[:] = source
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    "make, reason",
    [
        (external_link, "link to elsewhere"),
        (soft_link, "link to elsewhere"),
        (lambda file, name: file.create_group(name) and None, "not a dataset of numbers"),
        (lambda file, name: file.__setitem__(name, np.dtype("<f8")), "not a dataset of numbers"),
        (lambda file, name: file.__setitem__(name, h5py.Empty("<f8")), "not a dataset of numbers"),
        (lambda file, name: file.__setitem__(name, "text"), "not a dataset of numbers"),
        (lambda file, name: file.__setitem__(name, np.zeros(4, "S8")), "not a dataset of numbers"),
        (lambda file, name: file.__setitem__(name, np.zeros(4, "f8,f8")), "not a dataset of numbers"),
        (lambda file, name: file.__setitem__(name, np.zeros(4, "<f4")), r"is <f4 \[4\], expected '<f8' \[4\]"),
        (lambda file, name: file.__setitem__(name, np.zeros(5)), r"is <f8 \[5\], expected '<f8' \[4\]"),
        (lambda file, name: plain(file, name, chunks=(2,)), "not stored as one plain"),
        (lambda file, name: plain(file, name, chunks=(2,), compression="gzip"), "not stored as one plain"),
        (external_storage, "not stored as one plain"),
        (virtual, "not stored as one plain"),
        (lambda file, name: None, "no dataset '00000 a'"),
        (lambda file, name: plain(file, name) and b"other", "checksum does not match"),
    ],
)
def test_datasets_that_are_not_plain_are_refused(tmp_path, make, reason):
    forge(tmp_path / "f.h5", whole({"a": ["array", "<f8", [4]]}), a=make)
    with pytest.raises(FailedWork, match=reason) as error:
        hdf5_state.load(tmp_path / "f.h5")
    one_line(error)


@pytest.mark.parametrize("shape", [[2**40], [2**33, 2**33]])  # the second has 2**66 elements: 0 in 64 bits
def test_a_declared_size_beyond_the_file_takes_no_memory(tmp_path, shape):
    def huge(file, name):
        space, kind = h5py.h5s.create_simple(tuple(shape)), h5py.h5t.IEEE_F64LE
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        h5py.h5d.create(file.id, name.encode(), kind, space, layout)  # late allocation: nothing on disk

    try:
        forge(tmp_path / "f.h5", whole({"a": ["array", "<f8", shape]}), a=huge)
    except (ValueError, OSError) as error:
        pytest.skip(f"this HDF5 does not write such a file: {error}")
    with pytest.raises(FailedWork, match="claims more bytes than the file has"):
        hdf5_state.load(tmp_path / "f.h5")


@pytest.mark.parametrize(
    "tree, reason",
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff", "damaged"),
        (b"[" * 200_000, "damaged"),
        (b"9" * 10_000, "damaged|not a minigan checkpoint"),
        ([], "not a minigan checkpoint"),
        ({"format": "other", "version": 1, "state": {}}, "not a minigan checkpoint"),
        (whole({}) | {"version": 2}, "format version 2; this minigan reads version 1"),
        (whole(3), "its state is not a dict"),
        (whole({"a": ["call", "os.system", "true"]}), "a value of unknown kind"),
        (whole({"a": []}), "a value of unknown kind"),
        (whole({"a": ["int", "x"]}), "damaged"),
        (whole({"a": ["array", ["<f8"], {"a": 1}]}), "no dataset"),
        (whole(functools.reduce(lambda tree, _: {"a": tree}, range(70), {})), "nested deeper than 64"),
    ],
)
def test_text_that_is_not_a_state_is_refused(tmp_path, tree, reason):
    forge(tmp_path / "f.h5", tree)
    with pytest.raises(FailedWork, match=reason) as error:
        hdf5_state.load(tmp_path / "f.h5")
    one_line(error)


# ---------------------------------------------------------------------------- a folder of them


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_two_are_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    with pytest.raises(FailedWork, match="No such file"):  # a folder that was removed is not made anew
        checkpoints.save_in(folder, 100, {})
    folder.mkdir()
    for iteration in (100, 200, 300):
        path = checkpoints.save_in(folder, iteration, {"iteration": iteration})
    assert path == folder / "checkpoint-0000300.h5"
    assert names(folder) == ["checkpoint-0000200.h5", "checkpoint-0000300.h5"]
    checkpoints.save_in(folder, 10_000_000, {}, keep=1)  # one digit more than the name has room for
    assert names(folder) == ["checkpoint-10000000.h5"]
    assert checkpoints.newest(folder)[0] == folder / "checkpoint-10000000.h5"
    with pytest.raises(WrongUse, match="keep 0"):
        checkpoints.save_in(folder, 400, {}, keep=0)


def test_the_checkpoint_just_written_is_never_the_one_removed(tmp_path):
    """After a resume from an older checkpoint, a newer one may lie there; with keep=1 it must not win."""
    (tmp_path / "checkpoint-0001000.h5").write_bytes(b"broken")
    checkpoints.save_in(tmp_path, 900, {"iteration": 900})
    path = checkpoints.save_in(tmp_path, 950, {"iteration": 950}, keep=1)
    assert names(tmp_path) == ["checkpoint-0000950.h5", "checkpoint-0001000.h5"]
    assert checkpoints.newest(tmp_path)[0] == path


def test_an_unreadable_newest_falls_back_to_the_older_and_says_so(tmp_path, rng):
    state = small_state(rng)
    checkpoints.save_in(tmp_path, 900, state)
    broken = checkpoints.save_in(tmp_path, 1000, state)
    size = broken.stat().st_size
    os.truncate(broken, 1500)
    path, back, lines = checkpoints.newest(tmp_path)
    assert path.name == "checkpoint-0000900.h5"
    assert_same(back, state)
    reason = f"truncated: 1,500 of {size:,} bytes"
    assert lines == [f"checkpoint-0001000.h5 cannot be read ({reason}); using checkpoint-0000900.h5"]
    path.write_bytes(b"")
    with pytest.raises(FailedWork, match="no checkpoint can be read: .*-0001000.h5 .*; .*-0000900.h5 cannot"):
        checkpoints.newest(tmp_path)


def test_a_folder_without_checkpoints_is_wrong_use(tmp_path):
    (tmp_path / "samples-0000100.png").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(WrongUse, match="no checkpoint here"):
            checkpoints.newest(folder)


# ---------------------------------------------------------------------------- full disks and kills


def test_a_full_disk_leaves_the_older_checkpoint_and_no_rubbish(tmp_path, monkeypatch):
    checkpoints.save_in(tmp_path, 100, {"iteration": 100})

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FailedWork, match="checkpoint-0000200.h5 cannot be written .No space left") as error:
        checkpoints.save_in(tmp_path, 200, {"iteration": 200}, keep=1)
    assert "older checkpoints are untouched" in one_line(error)
    assert names(tmp_path) == ["checkpoint-0000100.h5"]
    assert checkpoints.newest(tmp_path)[1] == {"iteration": 100}


def test_a_folder_that_is_none_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FailedWork, match="cannot be written .Not a directory"):
        checkpoints.save_in(tmp_path / "file" / "run", 1, {})
    with pytest.raises(FailedWork, match="cannot be written"):
        hdf5_state.save(tmp_path / "file" / "c.h5", {})


def run_python(program, *arguments, **how):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=environment, **how)


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_real_write_limit_leaves_the_older_checkpoint(tmp_path):
    program = """
import resource, sys
import numpy as np
from minigan.training import checkpoints
from minigan.errors import FailedWork
checkpoints.save_in(sys.argv[1], 1, {"x": np.ones(1000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    checkpoints.save_in(sys.argv[1], 2, {"x": np.ones(1_000_000)})
except FailedWork as error:
    print(error)
"""
    process = run_python(program, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "", err
    assert "File too large" in out and out.count("\n") == 1
    assert names(tmp_path) == ["checkpoint-0000001.h5"]
    assert np.array_equal(checkpoints.newest(tmp_path)[1]["x"], np.ones(1000))


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_kill_at_any_moment_leaves_a_good_newest_checkpoint(tmp_path, rng):
    program = """
import itertools, sys
import numpy as np
from minigan.training import checkpoints
for i in itertools.count(int(sys.argv[2])):
    checkpoints.save_in(sys.argv[1], i, {"iteration": i, "x": np.full(500_000, float(i))})
    print(i, flush=True)
"""
    last = 0
    for _ in range(6):
        with run_python(program, tmp_path, last + 1, stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # at least one is written
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            reported = [last + 1, *map(int, process.stdout.read().split())]
        path, state, lines = checkpoints.newest(tmp_path)
        assert lines == []  # not only some good one: every file under its final name is whole
        assert state["iteration"] in (reported[-1], reported[-1] + 1)  # the rename may precede the report
        assert np.array_equal(state["x"], np.full(500_000, float(state["iteration"])))
        assert len(list(tmp_path.glob("checkpoint-*.h5"))) <= 3  # killed before the removal
        last = state["iteration"]
    checkpoints.save_in(tmp_path, last + 1, {})
    assert len(names(tmp_path)) == 2  # the killed saves' temporary files are gone too
