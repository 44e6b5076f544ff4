"""safetensors_files against the safetensors package where it is installed, and on files made by hand."""

import json
import struct

import numpy as np
import pytest
import weight_samples as samples

from minigan.errors import FailedWork
from minigan.formats import safetensors
from minigan.formats.arrays_in_files import float32


def made(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape=(2,), offsets=(0, 8), dtype: object = "F32", **more: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def refused(data: bytes) -> str:
    return samples.refusal(safetensors.read, data, "some.safetensors", 2_000_000 + 40 * len(data))


def test_what_is_written_comes_back_with_its_bytes(tmp_path, rng):
    arrays = {"b": rng.random((3, 1, 2), np.float32), "a": rng.random((5, 7), np.float32).T, "s": np.float32(3),
              "none": np.zeros((0, 4), np.float32)}
    safetensors.write(tmp_path / "w.safetensors", arrays, {"kind": "é"})
    data = (tmp_path / "w.safetensors").read_bytes()
    found, noted = safetensors.read(data, "f")
    assert list(found) == list(arrays) and noted == {"kind": "é"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_the_safetensors_package_agrees(tmp_path, rng):
    theirs = pytest.importorskip("safetensors.numpy")
    arrays = {"b": rng.random((3, 1, 2), np.float32), "a": rng.random((5, 7), np.float32), "s": np.float32(3),
              "none": np.zeros((0, 4), np.float32)}
    safetensors.write(tmp_path / "w.safetensors", arrays, {"kind": "k"})
    for name, array in theirs.load_file(tmp_path / "w.safetensors").items():
        np.testing.assert_array_equal(array, arrays[name])
    more = {"h": rng.random(3).astype(np.float16), "d": rng.random((2, 2)), "i": np.arange(4), "t": np.ones(2, bool)}
    found, noted = safetensors.read(theirs.save({**more, "a": arrays["a"]}, {"note": "x"}), "f")
    assert noted == {"note": "x"}
    for name, array in {**more, "a": arrays["a"]}.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_bfloat16_is_the_upper_half_of_a_float32():
    found, _ = safetensors.read(made({"a": entry((2,), (0, 4), "BF16")}, struct.pack("<HH", 0x3FC0, 0xC000)), "f")
    np.testing.assert_array_equal(float32(found["a"]), np.float32([1.5, -2]))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "0 bytes"),
        (made({}, length=2**63), "header has"),
        (made({}, length=100_000_000), "header has"),
        (made(b"[]"), "no dict"),
        (made(b"{ "), "Expecting"),
        (made(b"{\xff}"), "decode"),
        (made(b'{"a":' + b"[" * 100_000), "too deep"),
        (made(b'{"a":' + b'{"a":' * 100_000), "too deep"),
        (made(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}'), "digits"),
        (made({"a": entry()}), "the bytes 0 to 8 of 0"),
        (made({"a": entry()}, bytes(9)), "1 bytes follow"),
        (made({"a": entry(), "b": entry()}, bytes(8)), "overlap"),
        (made({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "overlap"),
        (made({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "hole"),
        (made({"a": entry(offsets=(4, 12))}, bytes(12)), "hole"),
        (made({"a": entry((25_000_000_000,), (0, 100_000_000_000))}, bytes(8)), "100000000000 of 8"),
        (made({"a": entry((25_000_000_000,))}, bytes(8)), "the shape [25000000000]"),
        (made({"a": entry((2**61, 8))}, bytes(8)), "the shape"),
        (made({"a": entry((-2,))}, bytes(8)), "not described"),
        (made({"a": entry((True, 2))}, bytes(8)), "not described"),
        (made({"a": entry((2.0,))}, bytes(8)), "not described"),
        (made({"a": entry((1,) * 40, (0, 4))}, bytes(4)), "not described"),
        (made({"a": entry("ab")}, bytes(8)), "not described"),
        (made({"a": entry(offsets=(8, 0))}, bytes(8)), "not described"),
        (made({"a": entry(offsets=(0, 4, 8))}, bytes(8)), "not described"),
        (made({"a": entry(dtype="F8_E4M3")}, bytes(8)), "a type other than"),
        (made({"a": entry(dtype=[])}, bytes(8)), "a type other than"),
        (made({"a": entry(more=1)}, bytes(8)), "not described"),
        (made({"a": 7}), "not described"),
        (made({"__metadata__": {"a": 1}}), "__metadata__"),
        (made({"__metadata__": "x"}), "__metadata__"),
        (made(b'{"a":1,"a":1}'), "twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused_in_one_line(data, named):
    assert named in refused(data)


def test_every_truncation_is_refused():
    data = samples.safetensors(samples.toy_weights(), {"note": "x"})
    for n in [*range(0, len(data), 7), *range(len(data) - 20, len(data))]:
        with pytest.raises(FailedWork):
            safetensors.read(data[:n], "f")
