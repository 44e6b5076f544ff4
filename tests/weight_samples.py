"""Small files of weights in every format, written byte by byte here, so that the tests need no other library.

Where the library is there, tests compare: PyTorch, tensorboard's protobuf classes, Keras and safetensors read or write
the same files.
"""

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping

import h5py
import numpy as np
import pytest

from minigan.errors import FailedWork

STORAGE = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}


def toy_table(kind: str = "inception-2015-12-05") -> dict[str, tuple[int, ...]]:
    """inception_table.tensors for a network of three convolutions: what the tests put in its place."""
    convs = {"Conv2d_1a_3x3": (4, 3, 3, 3), "Mixed_5b.branch5x5_1": (2, 4, 1, 1), "Mixed_5b.branch5x5_2": (3, 2, 1, 5)}
    found: dict[str, tuple[int, ...]] = {}
    for module, shape in convs.items():
        found[f"{module}.conv.weight"] = shape
        for name in ("weight", "bias", "running_mean", "running_var"):
            if name != "weight" or kind != "inception-keras":
                found[f"{module}.bn.{name}"] = shape[:1]
    classes = 8 if kind == "inception-2015-12-05" else 6
    return found | {"fc.weight": (classes, 3), "fc.bias": (classes,)}


def toy_weights(kind: str = "inception-2015-12-05", seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape, np.float32) + 0.1 for name, shape in toy_table(kind).items()}


def refusal(read: Callable[[bytes, str], object], data: bytes, file: str, most: int) -> str:
    """The one line with which `read` refuses the bytes; it names the file, and takes less than `most` bytes of memory.
    """
    tracemalloc.start()
    with pytest.raises(FailedWork) as caught:
        read(data, file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    line = str(caught.value)
    assert "\n" not in line and file in line and len(line) < 300 and peak < most
    return line


# ---- PyTorch ----


def text(words: str) -> bytes:
    data = words.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(n: int) -> bytes:
    if 0 <= n < 256:
        return b"K" + bytes([n])
    if -(2**31) <= n < 2**31:
        return b"J" + struct.pack("<i", n)
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values) -> bytes:
    return b"(" + b"".join(number(n) for n in values) + b"t"


def tensor(key: str, count: int, shape, stride=None, offset: int = 0, storage: str = "FloatStorage",
           device: str = "cpu", legacy: bool = False) -> bytes:
    """A tensor as a state dict's pickle has it: REDUCE of _rebuild_tensor_v2 with a persistent id for its storage."""
    if stride is None:
        stride = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    pointer = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text(device) + number(count)
    pointer += (b"N" if legacy else b"") + b"tQ"
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + pointer + number(offset) + numbers(shape) + numbers(stride)
            + hooks + b"tR")


def state_dict(tensors: Mapping[str, bytes]) -> bytes:
    """The pickle of an OrderedDict; tensors: name -> its opcodes."""
    items = b"".join(text(name) + value for name, value in tensors.items())
    metadata = b"}" + text("_metadata") + b"ccollections\nOrderedDict\n)Rsb"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u" + metadata + b"."


def zipped(pickled: bytes, storages: Mapping[str, bytes], root: str = "archive", **others: bytes) -> bytes:
    """A zip archive as PyTorch writes it; others: more files in the folder."""
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w") as file:
        file.writestr(f"{root}/data.pkl", pickled)
        for name, data in {**{f"data/{key}": data for key, data in storages.items()}, **others}.items():
            file.writestr(f"{root}/{name}", data)
        file.writestr(f"{root}/version", b"3\n")
    return image.getvalue()


def legacy(pickled: bytes, storages: Mapping[str, bytes], sizes: Mapping[str, int] | None = None) -> bytes:
    """PyTorch's older format; sizes: how many numbers each storage has [4 bytes each]."""
    data = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03."
    data += b"\x80\x02}(" + text("protocol_version") + b"M\xe9\x03" + text("little_endian") + b"\x88"
    data += text("type_sizes") + b"}" + text("int") + b"K\x04su." + pickled
    data += b"\x80\x02](" + b"".join(text(key) for key in storages) + b"e."
    for key, stored in storages.items():
        data += struct.pack("<q", (sizes or {}).get(key, len(stored) // 4)) + stored
    return data


def torch_file(arrays: Mapping[str, np.ndarray], old: bool = False) -> bytes:
    tensors = {name: tensor(str(i), array.size, array.shape, storage=STORAGE[array.dtype.str], legacy=old)
               for i, (name, array) in enumerate(arrays.items())}
    storages = {str(i): array.tobytes() for i, array in enumerate(arrays.values())}
    sizes = {str(i): array.size for i, array in enumerate(arrays.values())}
    return legacy(state_dict(tensors), storages, sizes) if old else zipped(state_dict(tensors), storages)


# ---- TensorFlow ----


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_proto(shape) -> bytes:
    return b"".join(field(2, field(1, n)) for n in shape)


def constant(name: str, tensor: bytes, op: str = "Const") -> bytes:
    """A node of a graph; tensor: a TensorProto."""
    kind = field(5, field(1, b"dtype") + field(2, field(6, 1)))
    value = field(5, field(1, b"value") + field(2, field(8, tensor)))
    return field(1, field(1, name.encode()) + field(2, op.encode()) + kind + value)


def tensor_proto(array: np.ndarray) -> bytes:
    return field(1, {"<f4": 1, "<f8": 2, "<i4": 3}[array.dtype.str]) + field(2, shape_proto(array.shape)) + field(
        4, array.tobytes())


def graph(arrays: Mapping[str, np.ndarray]) -> bytes:
    relu = field(1, field(1, b"relu") + field(2, b"Relu") + field(3, b"conv"))
    return relu + b"".join(constant(name, tensor_proto(array)) for name, array in arrays.items()) + field(
        4, field(1, 21))


def tensorflow_layout(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The toy weights under the graph's names, which are written out here."""
    places = {"Conv2d_1a_3x3": "conv", "Mixed_5b.branch5x5_1": "mixed/tower/conv",
              "Mixed_5b.branch5x5_2": "mixed/tower/conv_1"}
    theirs = {"softmax/weights": arrays["fc.weight"].T.copy(), "softmax/biases": arrays["fc.bias"]}
    for module, place in places.items():
        theirs[f"{place}/conv2d_params"] = arrays[f"{module}.conv.weight"].transpose(2, 3, 1, 0).copy()
        for name, other in {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
                            "running_var": "moving_variance"}.items():
            theirs[f"{place}/batchnorm/{other}"] = arrays[f"{module}.bn.{name}"]
    return theirs


# ---- safetensors, Keras ----


def safetensors(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, array in arrays.items():
        header[name] = {"dtype": {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<i8": "I64"}[array.dtype.str],
                        "shape": list(array.shape), "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + body


def keras(arrays: Mapping[str, np.ndarray], root: str = "", suffix: str = ":0", first: int = 0) -> bytes:
    """The toy weights as Keras 2 has them; first: the number that layers are counted from."""
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["layer_names"] = [b"conv2d", b"predictions"]
        for path, array in keras_layout(arrays, suffix, first).items():
            file[f"{root}{path}"] = array
        file.create_group(f"{root}activation")
    return image.getvalue()


def keras_layout(arrays: Mapping[str, np.ndarray], suffix: str, first: int) -> dict[str, np.ndarray]:
    found = {}
    for k, module in enumerate(["Conv2d_1a_3x3", "Mixed_5b.branch5x5_1", "Mixed_5b.branch5x5_2"], first):
        own = f"_{k}" if k else ""
        conv, bn = f"conv2d{own}", f"batch_normalization{own}"
        found[f"{conv}/{conv}/kernel{suffix}"] = arrays[f"{module}.conv.weight"].transpose(2, 3, 1, 0)
        for name, other in {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}.items():
            found[f"{bn}/{bn}/{other}{suffix}"] = arrays[f"{module}.bn.{name}"]
    if "fc.weight" not in arrays:
        return found
    return found | {f"predictions/predictions/kernel{suffix}": arrays["fc.weight"].T,
                    f"predictions/predictions/bias{suffix}": arrays["fc.bias"]}
