"""Damaged files of every kind that is read: a right answer or one line, never another exception, never slow."""

import time
import zlib

import damage
import pytest
import weight_samples as samples

from minigan.metrics import inception

COUNT = 500
MOST_S = 5.0  # seconds for all of them: slower readers see fewer
SLOW = 5.0  # seconds for one, on a machine that is busy


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    monkeypatch.setattr(inception, "tensors", samples.toy_table)
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", damage.READERS)
def test_damage_leads_to_an_answer_or_one_line(name, tmp_path):
    reader = damage.READERS[name]
    (tmp_path / "f").mkdir()
    path = reader.make(tmp_path / "f")
    data, began, outcomes = path.read_bytes(), time.perf_counter(), set()
    for number, bad in enumerate(damage.damaged_files(data, zlib.crc32(name.encode()), COUNT)):
        path.write_bytes(bad)
        start = time.perf_counter()
        try:
            outcomes.add(damage.outcome(reader.read, path))
        except Exception as error:
            raise AssertionError(f"damaged file {number} of {name}: {type(error).__name__}") from error
        assert time.perf_counter() - start < SLOW, number
        if time.perf_counter() - began > MOST_S:
            break
    assert outcomes >= ({"read"} if name in damage.FORGIVING else {"refused"})
