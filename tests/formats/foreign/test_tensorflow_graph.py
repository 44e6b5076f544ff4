"""tensorflow_graph.read against protobuf's own classes where they are installed, and on graphs encoded by hand."""

import struct
import tracemalloc

import numpy as np
import pytest
from weight_samples import constant, field, graph, refusal, shape_proto, tensor_proto, varint

from minigan.errors import FailedWork
from minigan.formats.arrays_in_files import float32
from minigan.formats.foreign import tensorflow_graph


def refused(data: bytes) -> str:
    return refusal(tensorflow_graph.read, data, "some.pb", 2_000_000 + 2 * len(data))


def listed(code: int, shape, number: int, values: list[bytes], packed: bool) -> bytes:
    """A TensorProto with its numbers one by one (wire type 5 or 1), or packed."""
    head = field(1, code) + field(2, shape_proto(shape))
    if packed:
        return head + field(number, b"".join(values))
    wire = {4: 5, 8: 1}[len(values[0])]
    return head + b"".join(varint(number << 3 | wire) + value for value in values)


def read_one(tensor: bytes) -> np.ndarray:
    return tensorflow_graph.read(constant("a", tensor), "some.pb")["a"]


def test_constants_are_read_and_all_else_is_passed_over(rng):
    arrays = {"conv/conv2d_params": rng.standard_normal((3, 3, 3, 4), np.float32), "b": rng.random((5,)),
              "scalar": np.array(2.5, np.float32), "none": np.zeros((0, 3), np.float32)}
    others = {"shape": np.arange(4, dtype=np.int32)}
    variable = constant("v", tensor_proto(np.ones(3, np.float32)), op="VariableV2")
    found = tensorflow_graph.read(graph({**arrays, **others}) + variable, "some.pb")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("code", "number", "format"), [(1, 5, "<f"), (2, 6, "<d")])
def test_numbers_in_lists_are_read_and_the_last_one_repeats(packed, code, number, format):
    values = [struct.pack(format, x) for x in (1.5, -2.0, 3.25)]
    np.testing.assert_array_equal(read_one(listed(code, (3,), number, values, packed)), [1.5, -2, 3.25])
    np.testing.assert_array_equal(read_one(listed(code, (2, 3), number, values, packed)),
                                  [[1.5, -2, 3.25], [3.25, 3.25, 3.25]])
    np.testing.assert_array_equal(read_one(listed(code, (2, 2), number, values[:1], packed)), np.full((2, 2), 1.5))
    assert read_one(listed(code, (), number, values[:1], packed)) == 1.5
    assert "bytes for the shape" in refused(constant("a", listed(code, (2,), number, values, packed)))


def test_protobufs_own_classes_agree(rng):
    graph_pb2 = pytest.importorskip("tensorboard.compat.proto.graph_pb2")
    made = graph_pb2.GraphDef()
    arrays = {f"layer_{i}/weights": rng.standard_normal(shape, np.float32)
              for i, shape in enumerate([(3, 3, 2, 4), (7,), (), (2, 0)])}
    for name, array in arrays.items():
        node = made.node.add(name=name, op="Const")
        node.attr["dtype"].type = 1
        tensor = node.attr["value"].tensor
        tensor.dtype = 1
        for n in array.shape:
            tensor.tensor_shape.dim.add(size=n)
        if array.size == 7:
            tensor.float_val.extend(array.tolist())
        else:
            tensor.tensor_content = array.tobytes()
    made.node.add(name="half", op="Const").attr["value"].tensor.CopyFrom(
        type(tensor)(dtype=19, tensor_content=np.float16(1.5).tobytes()))
    made.versions.producer = 21
    found = tensorflow_graph.read(made.SerializeToString(), "some.pb")
    assert found.keys() == {*arrays, "half"} and found["half"] == 1.5
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    # and they read what these tests encode by hand
    theirs = graph_pb2.GraphDef.FromString(graph(arrays))
    assert [node.name for node in theirs.node] == ["relu", *arrays]
    assert theirs.node[1].attr["value"].tensor.tensor_content == arrays["layer_0/weights"].tobytes()


def test_bfloat16_is_the_upper_half_of_a_float32():
    found = read_one(field(1, 14) + field(2, shape_proto((2,))) + field(4, struct.pack("<HH", 0x3FC0, 0xC000)))
    np.testing.assert_array_equal(float32(found), np.float32([1.5, -2]))


def test_one_number_for_many_is_a_view_that_takes_no_memory():
    tracemalloc.start()
    assert read_one(listed(1, (10**9,), 5, [bytes(4)], True)).shape == (10**9,)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "left"),  # a node of 2**63 bytes
        (b"\x0a" + b"\xff" * 11, "ten bytes"),
        (b"\x0a\x80", "cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (b"\x08\x05", "a message is expected"),  # node = 5
        (field(1, field(1, 7)), "a message is expected"),  # name = 7
        (constant("a", listed(1, (10**6, 10), 5, [bytes(4)] * 2, True)), "2 numbers for the shape"),
        (constant("a", listed(1, (2**50,), 5, [bytes(4)], True)), "too large"),
        (constant("a", field(1, 1) + field(2, field(2, field(1, 2**64 - 1)))), "too large"),  # -1: not known
        (constant("a", field(1, 1) + field(2, field(3, 1))), "unknown"),
        (constant("a", field(1, 1) + field(2, shape_proto((1,) * 40))), "too large"),
        (constant("a", field(1, 1) + field(2, shape_proto((3,)))), "0 bytes for the shape"),
        (constant("a", field(1, 1) + field(2, shape_proto((3,))) + field(4, bytes(11))), "11 bytes"),
        (constant("a", field(1, 1) + field(2, shape_proto((3,))) + field(4, bytes(16))), "16 bytes"),
        (constant("a", field(1, 1) + field(2, shape_proto((3,))) + field(4, 7)), "a message is expected"),
        (constant("a", field(1, 1) + varint(5 << 3) + b"\x07"), "broken list"),
        (constant("a", tensor_proto(np.ones(2, np.float32))) * 2, "twice"),
        (field(1, field(1, b"a") + field(2, b"Const")), "without a value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused_in_one_line(data, named):
    assert named in refused(data)


def test_what_repeats_is_bounded_in_all():
    one = listed(1, (100_000,), 5, [bytes(4), bytes(4)], True)  # 400 kB from 8 bytes
    assert "numbers for the shape" in refused(b"".join(constant(f"c{i}", one) for i in range(100)))


def test_every_truncation_is_refused_or_ends_between_two_nodes(rng):
    arrays = {"a": rng.random((3, 2), np.float32), "b": rng.random((2,), np.float32)}
    data = graph(arrays)
    whole = 0
    for n in range(len(data)):
        try:
            found = tensorflow_graph.read(data[:n], "some.pb")
            assert all((array == arrays[name]).all() for name, array in found.items())
            whole += 1
        except FailedWork as error:
            assert "\n" not in str(error)
    assert whole == 4  # after nothing, relu, a, b
