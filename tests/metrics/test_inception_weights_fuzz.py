"""Damaged files of weights, thousands of them: a right answer or one line, never another exception, never slow."""

import io
import resource
import tarfile
import time
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
import weight_samples as samples

from minigan.errors import FailedWork
from minigan.metrics import inception, inception_weights

SEED = 20
SLOW = 2.0  # seconds for one file of a few kB, on a machine that is busy; usual are some milliseconds
MORE = 200 << 10  # KiB that reading all of them may add to the process


def good_files(folder) -> dict[str, tuple[bytes, int]]:
    """Format -> a small sound file, and how many damaged ones are tried."""
    arrays = samples.toy_weights()
    graph = samples.graph(samples.tensorflow_layout(arrays))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as file:
        info = tarfile.TarInfo("classify_image_graph_def.pb")
        info.size = len(graph)
        file.addfile(info, io.BytesIO(graph))
    digest = inception_weights.digest_of(arrays)
    weights = inception_weights.Weights(inception_weights.ORIGINAL, arrays, "", "", digest, "")
    inception_weights.save(weights, folder / "own.h5")
    return {
        "torch-zip": (samples.torch_file(arrays), 1000),
        "torch-legacy": (samples.torch_file(arrays, True), 1000),
        "graph": (graph, 1200),
        "archive": (tar.getvalue(), 500),
        "safetensors": (samples.safetensors(arrays, {}), 1500),
        "keras": (samples.keras(samples.toy_weights(inception_weights.KERAS)), 300),
        "minigan": ((folder / "own.h5").read_bytes(), 200),
    }


def damaged(data: bytes, random: Random, count: int) -> Iterator[bytes]:
    """Flipped bits, extreme bytes and numbers, pieces cut out, moved, repeated, or off the end; up to four of these."""
    for _ in range(count):
        bad = bytearray(data)
        for _ in range(random.randint(1, 4)):
            at, other, n = random.randrange(len(bad)), random.randrange(len(bad)), random.randint(1, 40)
            how = random.randrange(7)
            if how == 0:
                bad[at] ^= 1 << random.randrange(8)
            elif how == 1:
                bad[at] = random.choice([0, 1, 127, 128, 254, 255])
            elif how == 2:
                bad[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x80"])
            elif how == 3:
                bad[at : at + n] = bad[other : other + n]
            elif how == 4:
                bad[at:at] = bad[other : other + n]
            elif how == 5:
                del bad[at : at + n]
            elif random.random() < 0.3:
                del bad[at + 1 :]
            bad = bad or bytearray(1)
        yield bytes(bad)


@pytest.mark.parametrize("form", ["torch-zip", "torch-legacy", "graph", "archive", "safetensors", "keras", "minigan"])
def test_damage_leads_to_a_right_answer_or_one_line(form, tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "tensors", samples.toy_table)
    data, count = good_files(tmp_path)[form]
    path = tmp_path / "damaged"
    path.write_bytes(data)
    kind = inception_weights.load(path).kind
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"read": 0, "refused": 0}
    in_memory = form not in ("archive", "minigan")  # these are read again from the disk, in parts
    for bad in damaged(data, Random(SEED), count):
        if in_memory:  # a busy disk takes longer than all the rest
            monkeypatch.setattr(inception_weights, "read_whole", lambda *_, bad=bad: bad)
        else:
            path.write_bytes(bad)
        start = time.perf_counter()
        try:
            found = inception_weights.load(path)
            assert {name: array.shape for name, array in found.tensors.items()} == samples.toy_table(found.kind)
            assert all(np.isfinite(array).all() for array in found.tensors.values()) and found.kind == kind
            outcomes["read"] += 1
        except FailedWork as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))
            outcomes["refused"] += 1
        assert time.perf_counter() - start < SLOW
    assert outcomes["refused"] > count / 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE
