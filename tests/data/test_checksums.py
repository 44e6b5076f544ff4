"""What is gzipped is read to its end, where its checksum stands: a flipped bit of an archive is always found."""

import struct
import zlib
from random import Random

import damage
import numpy as np
import published_files as published
import pytest
import test_svhn as svhn

from minigan.errors import FailedWork

FLIPS = 60


@pytest.mark.parametrize("name", ["stl10 archive", "cifar10 archive", "mnist, gzipped"])
def test_every_flipped_bit_of_packed_data_is_found(name, tmp_path):
    """But for those of gzip's header (its time, its file name) and what stands in no file of the archive."""
    reader, random = damage.READERS[name], Random(4)
    path = reader.make(tmp_path)
    data = path.read_bytes()
    for _ in range(FLIPS):
        bad = bytearray(data)
        bad[random.randrange(40, len(data) - 4)] ^= 1 << random.randrange(8)  # the last four: the length
        path.write_bytes(bad)
        with pytest.raises(FailedWork):
            reader.read(path)
    path.write_bytes(data[:-8])
    with pytest.raises(FailedWork, match="cut off"):
        reader.read(path)


def test_the_checksum_of_a_packed_element_counts(tmp_path):
    rng = np.random.default_rng(7)
    X, y = rng.integers(0, 256, (32, 32, 3, 5), np.uint8), np.array([[1], [10], [9], [2], [10]], np.uint8)
    packed = bytearray(zlib.compress(svhn.matrix("X", X)))
    packed[-1] ^= 1
    element = struct.pack("<2I", 15, len(packed)) + bytes(packed)
    file = svhn.mat() + element + svhn.mat(svhn.matrix("y", y))[128:]
    line = published.refused("svhn", published.put(tmp_path / "root", {"train_32x32.mat": file}))
    assert "broken or cut off" in line
