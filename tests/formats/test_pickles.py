"""pickles.load against Python's own reader on good pickles, and its refusals of bad ones."""

import io
import pickle
import struct
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
from cifar_pickles import py2_batch, py2_string

from minigan.errors import FailedWork
from minigan.formats.pickles import MAX_MARKS, MAX_STACK, Buildable, load, load_from, numpy_globals


@pytest.fixture
def planes() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (300, 3072), np.uint8)


def read(data: bytes) -> object:
    return load(data, numpy_globals(len(data)), "some.file")


def refused(data: bytes) -> str:
    """The one line with which `data` is refused."""
    with pytest.raises(FailedWork) as caught:
        read(data)
    line = str(caught.value)
    assert "\n" not in line and "some.file" in line and len(line) < 300
    return line


def test_a_python_2_batch_reads_as_pythons_own_reader_reads_it(planes):
    data = py2_batch(planes, [i % 10 for i in range(300)])
    ours, theirs = read(data), pickle.loads(data, encoding="bytes")
    array = ours.pop(b"data").array
    np.testing.assert_array_equal(array, theirs.pop(b"data"))
    assert array.dtype == np.uint8 and ours == theirs


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_batch_written_again_by_python_3_reads_the_same(protocol, planes):
    batch = {b"data": planes, "labels": list(range(300)), "text": "é\n", "n": -(2**70), "f": 0.1, "no": None}
    batch |= {"flags": [True, False], "pair": (1, (2,), ()), "again": planes}
    ours = read(pickle.dumps(batch, protocol))
    for key in (b"data", "again"):
        np.testing.assert_array_equal(ours.pop(key).array, batch.pop(key))
    assert ours == batch


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "<f8", ">f2", "?"])
@pytest.mark.parametrize("order", ["C", "F", "K"])
@pytest.mark.parametrize("protocol", [4, 5])
def test_arrays_keep_type_byte_order_and_layout(dtype, order, protocol):
    array = np.asarray(np.arange(30).reshape(2, 3, 5), dtype, order=order)
    array = array.transpose(1, 2, 0) if order == "K" else array
    ours = read(pickle.dumps(array, protocol)).array
    np.testing.assert_array_equal(ours, array)
    assert ours.dtype == array.dtype


@pytest.mark.parametrize("arguments", [
    (bytes(6), "u1", (7,), "C"), (bytes(6), "u1", (2, 3), "A"), (bytes(6), "u1", (2, 3), "K"),
    (bytes(6), "u1", (2, 3), "K", (0, 0)), (bytes(6), "u1", (2, 3), "K", (1, -1)), (bytes(6), "u1", (2, 3), "K", (0,)),
    (bytes(6), "u1", (2, -3), "C"), (bytes(6), "u1", [2, 3], "C"), ([0] * 6, "u1", (6,), "C"),
    (bytes(6), "O", (6,), "C"), (bytes(6),)])
def test_an_array_in_one_buffer_that_does_not_fit_is_refused(arguments):
    class Forged:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            kind = [np.dtype(a) if a in ("u1", "O") and isinstance(a, str) else a for a in arguments]
            return np.zeros(1).__reduce_ex__(5)[0], tuple(kind)

    assert "_frombuffer" in refused(pickle.dumps(Forged(), 5)) or "plain number" in refused(pickle.dumps(Forged(), 5))


def test_nothing_is_ever_executed(tmp_path):
    mark = tmp_path / "executed"
    for module in ("os", "posix", "nt"):
        call = py2_string(f"touch {mark}".encode()) + b"\x85R."
        evil = b"\x80\x02c" + module.encode() + b"\nsystem\n" + call
        assert f"{module}.system" in refused(evil)
    assert "builtins.eval" in refused(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.")

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return (eval, (f"open({str(mark)!r}, 'w')",))

    for protocol in (2, 3, 4, 5):
        assert "eval" in refused(pickle.dumps(Evil(), protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x80\x02ios\nsystem\n.", "INST"),
        (b"\x80\x02(cnumpy\ndtype\no.", "OBJ"),
        (b"\x80\x02)\x81.", "NEWOBJ"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"I1\n.", "INT"),
        (b"\x80\x02\xff.", "0xff"),
        (b"\x80\x06N.", "protocol is 6"),
        (b"PK\x03\x04", "PERSID"),
        (b"", "are left"),
    ],
)
def test_other_opcodes_are_refused_by_name(data, named):
    assert named in refused(data)


def test_every_truncation_is_refused(planes):
    data = py2_batch(planes[:2], [1, 2])
    for n in range(len(data)):
        if n < 200 or n > len(data) - 200:
            refused(data[:n])
    assert "follow its end" in refused(data + b".")


def test_damaged_bytes_lead_to_nothing_but_a_value_or_one_line(planes):
    """Any other exception would be a traceback on the command line."""
    rng = np.random.default_rng(23)
    good = [py2_batch(planes[:1], [1, 2]), pickle.dumps({"data": planes[:1], "labels": [1, 2]}, 4)]
    outcomes = {"value": 0, "line": 0}
    for i in range(3000):
        data = bytearray(good[i % 2])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, 200)) * (1 if rng.random() < 0.7 else -1)
            data[at] = rng.integers(0, 256)
        try:
            read(bytes(data))
            outcomes["value"] += 1
        except FailedWork as error:
            assert "\n" not in str(error)
            outcomes["line"] += 1
    assert min(outcomes.values()) > 300


@pytest.mark.parametrize("opcode", [b"T", b"B", b"X", b"\x8d", b"\x8e", b"\x95"])
def test_a_length_beyond_the_file_takes_no_memory(opcode):
    length = b"\xff\xff\xff\x7f" + (b"\0\0\0\0" if opcode[0] > 0x80 else b"")
    assert "are left" in refused(b"\x80\x04" + opcode + length + b"abc.")


def test_a_huge_memo_index_is_one_entry():
    assert read(b"\x80\x02K\x07r\xff\xff\xff\xffj\xff\xff\xff\xff\x86.") == (7, 7)
    assert "memo entry 5" in refused(b"\x80\x02h\x05.")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x80\x02" + b"(" * (MAX_MARKS + 1), "deeper"),
        (b"\x80\x02" + b"]" * (MAX_STACK + 1), "on the stack"),
    ],
)
def test_depth_and_height_are_bounded(data, named):
    assert named in refused(data)


def test_the_number_of_steps_is_bounded():
    data = b"\x80\x02]" + b"q\x00" * 95 + b"."  # 98 opcodes
    assert load(data, {}, "some.file", max_steps=98) == []
    with pytest.raises(FailedWork, match="more than 97 steps"):
        load(data, {}, "some.file", max_steps=97)


def test_keys_whose_hash_takes_for_ever_are_refused_at_once():
    # Each tuple holds the one before twice: 2**200 visits for a hash.
    nested = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200))
    start = time.perf_counter()
    assert "as a key" in refused(b"\x80\x02}" + nested + b"K\x01s.")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x80\x02.", "stops with 0"),
        (b"\x80\x02NN.", "stops with 2"),
        (b"\x80\x02(N.", "stops with"),
        (b"\x80\x02R.", "too few"),
        (b"\x80\x02N(R.", "too few"),
        (b"\x80\x02cnumpy\ndtype\n(N\x85R.", "too few"),  # REDUCE may not reach below the mark
        (b"\x80\x02t.", "no mark"),
        (b"\x80\x02NNR.", "calls a NoneType"),
        (b"\x80\x02cnumpy\ndtype\nNR.", "with a NoneType"),
        (b"\x80\x02NNb.", "applied to a NoneType"),
        (b"\x80\x02cnumpy\ndtype\nNb.", "applied to a Global"),
        (b"\x80\x02]K\x01K\x01s.", "applied to a list"),
        (b"\x80\x02}K\x01a.", "applied to a dict"),
        (b"\x80\x02}(K\x01u.", "key without a value"),
        (b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8"),
        (b"\x80\x02c" + b"a" * 300 + b"\n\n.", "name"),
        (b"\x80\x04NN\x93.", "None of None"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "never called"),
    ],
)
def test_nonsense_is_refused_in_one_line(data, named):
    assert named in refused(data)


def test_object_and_structured_arrays_are_refused():
    assert "'O8'" in refused(pickle.dumps(np.array([{}, None]), 2))
    assert "'V" in refused(pickle.dumps(np.zeros(3, [("a", "u1"), ("b", "f4")]), 4))
    assert "'U" in refused(pickle.dumps(np.array(["text"]), 4))
    # and a plain type that BUILD would turn into one: (3, '|', None, ('a',), {'a': ...}, 1, 1, 0)
    u1 = b"\x80\x02cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    assert read(u1 + b"(K\x03U\x01|NNNK\x01K\x01K\x00tb.").dtype == np.uint8
    assert "structured" in refused(u1 + b"(K\x03U\x01|NU\x01a\x85}K\x01K\x01K\x00tb.")
    assert "byte order" in refused(u1 + b"(K\x03U\x01xNNNK\x01K\x01K\x00tb.")


@pytest.mark.parametrize("shape", [(301, 3072), (70000, 70000), (0, 3072), (300, 3071)])
def test_an_array_must_have_as_many_bytes_as_its_shape_says(shape, planes):
    assert "do not fit" in refused(py2_batch(planes, [1], shape=shape))


def test_a_text_encoded_again_and_again_is_refused():
    # Protocol 2 written by Python 3 makes bytes by _codecs.encode(text, 'latin1'); from the memo, that is
    # 5 bytes of file for any number of bytes of memory.
    text = b"X" + struct.pack("<I", 10_000) + b"a" * 10_000 + b"q\x00"
    data = b"\x80\x02c_codecs\nencode\nq\x01" + text + b"X\x06\0\0\0latin1q\x02\x86R"
    assert "more bytes than the file holds" in refused(data + b"h\x01h\x00h\x02\x86R" * 10 + b".")


def test_only_the_callers_names_are_known():
    with pytest.raises(FailedWork, match=r"numpy\.dtype"):
        load(b"\x80\x02cnumpy\ndtype\n.", {}, "some.file")
    assert load(b"\x80\x02ca.b\nc\nK\x05\x85R.", {"a.b.c": lambda n: n + 1}, "some.file") == 6


def test_pickles_in_a_row_are_read_one_by_one():
    data = b"\x80\x02K\x07." + b"\x80\x02N." + b"rest"
    assert load_from(data, 0, {}, "some.file") == (7, 5)
    assert load_from(data, 5, {}, "some.file") == (None, 9)


def test_persistent_ids_are_looked_up_as_pythons_own_reader_does():
    class Writer(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("tag", value.real) if isinstance(value, complex) else None

    class Reader(pickle.Unpickler):
        def persistent_load(self, pointer: tuple) -> str:
            return f"{pointer[0]} {pointer[1]}"

    file = io.BytesIO()
    Writer(file, 2).dump({"a": 1j, "b": [2 + 1j, 2 + 1j]})
    data = file.getvalue()
    file.seek(0)
    expected = Reader(file).load()
    assert load_from(data, 0, {}, "some.file", persistent=lambda p: f"{p[0]} {p[1]}") == (expected, len(data))
    with pytest.raises(FailedWork, match="a persistent id: "):
        load_from(data, 0, {}, "some.file", persistent=lambda p: [].index(p))


def test_a_dict_of_ours_takes_items_and_a_state():
    class Ordered(dict, Buildable):
        def build(self, state: object) -> None:
            self.state = state

    given = OrderedDict(a=1, b=2)
    given.note = "n"
    ours = load(pickle.dumps(given, 2), {"collections.OrderedDict": Ordered}, "some.file")
    assert ours == given and ours.state == {"note": "n"}


@pytest.mark.parametrize("used", [b"%sN\x93.", b"N%s\x93.", b"cnumpy\ndtype\n%s\x85R.",
                                  b"cnumpy\ndtype\n(%s\x89\x89tR.",
                                  b"cnumpy._core.numeric\n_frombuffer\n(C\x01aN%sU\x01CtR.", b"}%sK\x01s.", b"%sQ."])
def test_a_message_never_formats_what_a_file_nests(used):
    """Each tuple holds the one before twice: to write it out would take 2^200 characters."""
    nested = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200))
    start = time.perf_counter()
    refused(b"\x80\x02" + used.replace(b"%s", nested))
    assert time.perf_counter() - start < 1
