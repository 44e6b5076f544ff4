"""Files of data sets in their exact published formats, and what the tests of all of them share."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_pickles import py2_batch

from minigan.data.dataset import Dataset
from minigan.data.datasets import DATASETS, load
from minigan.errors import FailedWork, WrongUse

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


def read(name: str, root: Path | None, said: list[str] | None = None, **options: object) -> Dataset:
    say = (lambda line: None) if said is None else said.append
    data = load(name, root=root, say=say, progress=lambda *_: None, **options)
    assert data.images.dtype == np.uint8 and data.images.flags.c_contiguous
    facts = DATASETS[name]
    assert data.images.shape[1:] == (options.get("size") or facts.size,) * 2 + (facts.channels,)
    assert facts.splits[options.get("split") or facts.split] in (None, data.labelled)
    assert data.labels.dtype == np.int64 and data.labels.shape == (len(data.images),)
    assert "\n" not in data.source
    return data


def refused(name: str, root: Path | None, kind: type[Exception] | tuple[type[Exception], ...] = FailedWork,
            **options: object) -> str:
    """The one line with which the request is refused; it names the root unless there is none."""
    with pytest.raises(kind) as caught:
        read(name, root, **options)
    line = str(caught.value)
    assert "\n" not in line and (root is None or kind is WrongUse or str(root) in line)
    return line


def batches(n: int = 4) -> dict[str, tuple[np.ndarray, list[int]]]:
    """For each batch, images (n, 32, 32, 3) and labels."""
    rng = np.random.default_rng(11)
    return {
        name: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n).tolist())
        for name in BATCHES
    }


def planes(images: np.ndarray) -> np.ndarray:
    """(n, 3072): each image's red plane, then its green one, then its blue one, row by row."""
    return np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in images])


def python_files(content: dict | None = None) -> dict[str, bytes]:
    content = content or batches()
    return {name: py2_batch(planes(images), labels) for name, (images, labels) in content.items()}


def binary_files(content: dict | None = None) -> dict[str, bytes]:
    content = content or batches()
    return {
        f"{name}.bin": np.column_stack([np.array(labels, np.uint8), planes(images)]).tobytes()
        for name, (images, labels) in content.items()
    }


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def archive(path: Path, files: dict[str, bytes], folder: str, form: int = tarfile.GNU_FORMAT) -> Path:
    """As published: a gzipped tar with the folder, its readme, and the batches in no special order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", format=form) as tar:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        for name, data in {"readme.html": b"x" * 700, **dict(reversed(files.items()))}.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            if form == tarfile.PAX_FORMAT:
                entry.pax_headers = {"comment": "passed over"}
            tar.addfile(entry, io.BytesIO(data))
    return path


def tar_header(name: str, size: int, kind: bytes = b"0", link: str = "") -> bytes:
    """512 bytes as POSIX 1003.1 lays them out, with the checksum, whatever the fields say."""
    head = bytearray(512)
    head[:100] = name.encode().ljust(100, b"\0")
    head[100:108] = b"0000644\0"
    head[124:136] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[156:157] = kind
    head[157:257] = link.encode().ljust(100, b"\0")
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def write_tar(path: Path, *blocks: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(blocks) + bytes(1024)))
    return path


def idx(array: np.ndarray) -> bytes:
    """uint8 in the IDX format: zero, zero, 8, axes; each length big-endian; the data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
