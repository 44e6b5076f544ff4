"""torch_weights.read against PyTorch's own files, and its refusals of broken and hostile ones."""

import argparse
import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import weight_samples as samples
from weight_samples import legacy, state_dict, tensor, zipped

from minigan.errors import FailedWork
from minigan.formats import torch_weights
from minigan.formats.arrays_in_files import float32

DATA = {"0": np.arange(24, dtype=np.float32).tobytes()}


def refused(data: bytes) -> str:
    return samples.refusal(torch_weights.read, data, "some.pth", 2_000_000 + 4 * len(data))


def both(*args: object, **options: object) -> list[bytes]:
    """A file of one tensor `a`, in both formats."""
    return [zipped(state_dict({"a": tensor(*args, **options)}), DATA),
            legacy(state_dict({"a": tensor(*args, legacy=True, **options)}), DATA)]


@pytest.mark.parametrize("new", [True, False])
def test_what_pytorch_saves_is_read_with_its_values_and_shapes(new, rng):
    torch = pytest.importorskip("torch")
    base = torch.from_numpy(rng.standard_normal((2, 3, 5), np.float32))
    saved = {
        "whole": base, "a view": base[:, 1:, 2], "turned": base.permute(2, 0, 1), "the same storage": base.view(-1)[7:],
        "spread": base[0, 0].expand(4, 5), "parameter": torch.nn.Parameter(base * 2), "half": base.half(),
        "bfloat16": base.bfloat16(), "double": base.double(), "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3),
        "integers": torch.arange(5), "channels last": base[None].contiguous(memory_format=torch.channels_last),
    }
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    saved.update(module.state_dict())
    for given in (saved, module.state_dict()):  # a dict, and an OrderedDict with _metadata
        file = io.BytesIO()
        torch.save(given, file, _use_new_zipfile_serialization=new)
        found = torch_weights.read(file.getvalue(), "some.pth")
        assert list(found) == list(given)
        for name, expected in given.items():
            if name in ("integers", "1.num_batches_tracked"):
                np.testing.assert_array_equal(found[name], expected.numpy())
                continue
            np.testing.assert_array_equal(float32(found[name]), expected.detach().float().numpy())


def test_pytorch_reads_the_files_that_these_tests_are_made_of(rng):
    torch = pytest.importorskip("torch")
    arrays = samples.toy_weights()
    for old in (False, True):
        theirs = torch.load(io.BytesIO(samples.torch_file(arrays, old)), weights_only=True)
        for name, array in arrays.items():
            np.testing.assert_array_equal(theirs[name].numpy(), array)


def test_tensors_of_a_gpu_are_read_like_others():
    for data in both("0", 24, (2, 3), (12, 4), 1, device="cuda:0"):
        np.testing.assert_array_equal(torch_weights.read(data, "f")["a"], [[1, 5, 9], [13, 17, 21]])


def test_views_take_no_memory_of_their_own(rng):
    data = samples.torch_file({"a": rng.standard_normal((1000, 1000), np.float32)})
    tracemalloc.start()
    found = torch_weights.read(data, "f")
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["a"].nbytes == 4_000_000 and size < 100_000 and peak < 1_000_000


@pytest.mark.parametrize("tensor_", [
    ((25,), (1,), 0), ((24,), (1,), 1), ((2, 3), (12, 6), 0), ((1,), (1,), 24), ((2,), (2**61,), 0),
    ((2,), (2**70,), 0), ((2**40, 2**40), (0, 0), 0), ((2**62,), (0,), 0), ((1,) * 40, (0,) * 40, 0), ((2, 3), (1,), 0),
])  # fmt: skip
def test_what_reaches_beyond_its_storage_is_refused(tensor_):
    shape, stride, offset = tensor_
    for data in both("0", 24, shape, stride, offset):
        assert "'a' cannot be read" in refused(data)


@pytest.mark.parametrize("tensor_", [((-1,), (1,), 0), ((2,), (-1,), 5), ((2,), (1,), -1)])
def test_negative_sizes_strides_and_offsets_are_refused(tensor_):
    shape, stride, offset = tensor_
    for data in both("0", 24, shape, stride, offset):
        assert "_rebuild_tensor_v2" in refused(data)


def test_a_tensor_that_promises_much_is_a_view_of_little():
    for data in both("0", 24, (10**9,), (0,)):
        tracemalloc.start()
        assert torch_weights.read(data, "f")["a"].shape == (10**9,)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_storages_of_other_sizes_are_refused():
    for count in (23, 25, 10**12):
        for data in both("0", count, (2,)):
            assert refused(data)
    two = {"a": tensor("0", 24, (2,), legacy=True), "b": tensor("0", 12, (2,), storage="DoubleStorage", legacy=True)}
    assert "two types" in refused(legacy(state_dict(two), DATA))
    assert "list of its storages" in refused(legacy(state_dict({"a": tensor("1", 24, (2,), legacy=True)}), DATA))
    assert "data/'1'" in refused(zipped(state_dict({"a": tensor("1", 24, (2,))}), DATA))


@pytest.mark.parametrize("new", [True, False])
def test_nothing_is_ever_executed(tmp_path, new):
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    evils = [pickle.dumps(Evil(), 2), pickle.dumps({"a": Evil()}, 2), b"\x80\x02cbuiltins\neval\nX\x01\0\0\0a\x85R.",
             b"\x80\x02ctorch\nload\n.", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.",
             b"\x80\x02ctorch\nFloatStorage\n)R.", b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.",
             b"\x80\x02}X\x01\0\0\0aK\x07s.", b"\x80\x02K\x07."]
    for evil in evils:
        refused(zipped(evil, {}) if new else legacy(evil, {}))
    assert not mark.exists()


def test_build_cannot_change_what_was_checked():
    # BUILD with ({"size": ...}) on a tensor is how attributes get changed after the constructor has checked them.
    build = b"}" + samples.text("size") + samples.numbers([1000]) + b"sb"
    assert "takes no state" in refused(zipped(state_dict({"a": tensor("0", 24, (2,)) + build}), DATA))
    ordered = b"\x80\x02ccollections\nOrderedDict\n)R}" + samples.text("update") + b"Nsb."
    assert "_metadata" in refused(zipped(ordered, {}))


def test_a_huge_memo_index_takes_no_memory():
    pickled = state_dict({"a": tensor("0", 24, (2,)) + b"r\xff\xff\xff\x7f"})
    assert torch_weights.read(zipped(pickled, DATA), "f")["a"].shape == (2,)
    assert "never stored" in refused(zipped(state_dict({"a": b"j\xff\xff\xff\x7f"}), DATA))


def test_deep_and_doubled_tuples_are_refused_at_once():
    nested = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200))  # each holds the one before twice
    for use in (b"ctorch\nSize\n" + nested + b"\x85R", nested + b"Q", nested):
        refused(zipped(state_dict({"a": use}), DATA))


def test_torchscript_says_what_to_save_instead():
    line = refused(zipped(state_dict({"a": tensor("0", 24, (2,))}), DATA, **{"constants.pkl": b"\x80\x02)."}))
    assert "TorchScript" in line and "torch.save(model.state_dict(), FILE)" in line


def entry(data: bytes, name: str) -> int:
    """Where the entry of a file begins in a zip archive's directory."""
    return data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def test_tricks_with_zip_archives_are_refused():
    pickled = state_dict({"a": tensor("0", 24, (2,))})
    good = zipped(pickled, DATA)
    assert torch_weights.read(good, "f")["a"].shape == (2,)
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", bytes(10_000_000))  # 10 kB
    assert "compressed" in refused(image.getvalue())
    at = entry(good, "archive/data/0")
    assert "CRC" in refused(patched(good, at + 16, b"1234"))
    for size in (95, 97, 0x7FFFFFFF):
        assert refused(patched(good, at + 20, struct.pack("<II", size, size)))
    assert "compressed" in refused(patched(good, at + 24, struct.pack("<I", 1000)))
    assert refused(patched(good, at + 42, struct.pack("<I", 0)))  # the place of another file
    assert refused(patched(good, at + 8, b"\x01\x00"))  # encrypted
    start = good.index(b"PK\x03\x04", 1)
    inside = zipped(pickled, DATA, note=good[start : start + 30 + len("archive/data/0") + 96])  # a file in a file
    assert torch_weights.read(inside, "f")["a"].shape == (2,)
    place = struct.pack("<I", inside.index(b"PK\x03\x04", inside.index(b"archive/note")))
    assert "overlaps" in refused(patched(inside, entry(inside, "archive/data/0") + 42, place))
    assert "data.pkl" in refused(zipped(pickled, DATA).replace(b"data.pkl", b"data.pkx"))
    twice = zipped(pickled, {**DATA, "1": bytes(96)}).replace(b"archive/data/1", b"archive/data/0")
    assert "twice" in refused(twice)
    for root, others in (("../archive", {}), ("a/b", {}), ("archive", {"../../etc/passwd": b"x"}), ("/etc", {})):
        assert "expected one folder" in refused(zipped(pickled, DATA, root, **others)), root
    assert "more than" in refused(zipped(pickled, DATA, note=b"PK\x01\x02" * 20_000))
    assert "big-endian" in refused(zipped(pickled, DATA, byteorder=b"big"))
    assert "follow the end" in refused(zipped(pickled + b"x", DATA))


@pytest.mark.parametrize("old", [False, True])
def test_every_truncation_is_refused(old):
    data = samples.torch_file(samples.toy_weights(), old)
    for n in [*range(0, len(data), 23), *range(len(data) - 100, len(data))]:
        with pytest.raises(FailedWork) as caught:
            torch_weights.read(data[:n], "some.pth")
        assert "\n" not in str(caught.value)
    if old:
        assert "follow the last storage" in refused(data + b"x")


# ---- weights as people have them ----

def saved(given: object, new: bool = True, **options: object) -> bytes:
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(given, file, _use_new_zipfile_serialization=new, **options)
    return file.getvalue()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_state_dict_is_found_in_a_checkpoint_and_under_wrappers_names(new, protocol):
    torch = pytest.importorskip("torch")
    weights = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}
    layer = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    adam.step()
    beside = {"epoch": 3, "args": argparse.Namespace(lr=1e-3, betas=(0.0, 0.9)), "optimizer": adam.state_dict(),
              "best": np.float64(12.5), "history": [1.0, 2.0]}
    wrapped = [weights, {"module." + name: w for name, w in weights.items()}, {"state_dict": weights, **beside},
               {**beside, "net": {"module._orig_mod." + name: w for name, w in weights.items()}},
               {"state_dict": {"model." + name: w for name, w in weights.items()}}]
    for given in wrapped:
        if not new and protocol != 2:
            continue  # the old format is written with protocol 2 alone
        found = torch_weights.read(saved(given, new, pickle_protocol=protocol), "some.pth")
        assert list(found) == list(weights)
        for name, w in weights.items():
            np.testing.assert_array_equal(found[name], w.numpy())


@pytest.mark.parametrize("new", [True, False])
def test_whole_models_and_several_state_dicts_are_called_what_they_are(new):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    assert "a whole model, pickled" in refused(saved(layer, new)) and "state_dict()" in refused(saved(layer, new))
    both_nets = {"gen": layer.state_dict(), "dis": layer.state_dict()}
    assert "several state dicts: 'gen', 'dis'" in refused(saved(both_nets, new))
    assert "'epoch' is a int, expected a state dict" in refused(saved({"epoch": 3}, new))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_is_called_torchscript():
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), file)
    assert "TorchScript" in refused(file.getvalue())
