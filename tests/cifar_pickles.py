"""CIFAR-10's batches as Python 2 wrote them."""

import struct

import numpy as np


def py2_string(data: bytes) -> bytes:
    """How Python 2's cPickle writes a str at protocol 2: SHORT_BINSTRING or BINSTRING."""
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


def py2_batch(planes: np.ndarray, labels: list[int], shape: tuple[int, ...] | None = None) -> bytes:
    """A CIFAR-10 batch as Python 2's cPickle writes it, opcode by opcode.

    By hand: the bytes equal those of cPickle 2.7.18 for a dict of this order and classes of numpy's names.
    """
    memo = 0

    def put() -> bytes:
        nonlocal memo
        memo += 1
        return b"q" + bytes([memo]) if memo < 256 else b"r" + struct.pack("<I", memo)

    def number(n: int) -> bytes:
        if n < 256:
            return b"K" + bytes([n])
        return b"M" + struct.pack("<H", n) if n < 65536 else b"J" + struct.pack("<i", n)

    def items(entries: list[bytes]) -> bytes:
        runs = [entries[i : i + 1000] for i in range(0, len(entries), 1000)]  # cPickle's BATCHSIZE
        return b"".join(b"(" + b"".join(run) + b"e" if len(run) > 1 else run[0] + b"a" for run in runs)

    def dtype() -> bytes:
        made = b"cnumpy\ndtype\n" + put() + b"U\x02u1" + put() + b"K\x00K\x01\x87" + put() + b"R" + put()
        return made + b"(K\x03U\x01|NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00t" + put() + b"b"

    out = b"\x80\x02}" + put() + b"("
    out += py2_string(b"data") + put()
    out += b"cnumpy.core.multiarray\n_reconstruct\n" + put() + b"cnumpy\nndarray\n" + put()
    out += b"K\x00\x85" + put() + py2_string(b"b") + b"\x87" + b"R" + put()
    rows, columns = shape or planes.shape
    out += b"(K\x01" + number(rows) + number(columns) + b"\x86" + put() + dtype()
    out += b"\x89" + py2_string(planes.tobytes()) + put() + b"tb"
    out += py2_string(b"labels") + put() + b"]" + put() + items([number(label) for label in labels])
    out += py2_string(b"batch_label") + put() + py2_string(b"training batch 1 of 5") + put()
    out += py2_string(b"filenames") + put() + b"]" + put()
    out += items([py2_string(b"image_%d.png" % i) + put() for i in range(len(labels))])
    return out + b"u."
