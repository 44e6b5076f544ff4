"""inception_weights.load: the same weights from every format, and one line for everything else; minigan weights."""

import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import weight_samples as samples
from weight_samples import toy_table, toy_weights

from minigan.cli.main import run
from minigan.errors import FailedWork, WrongUse
from minigan.formats import hdf5_state
from minigan.formats.download import Published
from minigan.metrics import inception, inception_weights
from minigan.metrics.inception_weights import (
    KERAS,
    ORIGINAL,
    TORCHVISION,
    describe,
    digest_of,
    load,
    save,
    tensorflow_names,
)


@pytest.fixture
def toy(monkeypatch):
    """Three convolutions in place of Inception's 94."""
    monkeypatch.setattr(inception, "tensors", toy_table)


def tgz(data: bytes, name: str = "classify_image_graph_def.pb") -> bytes:
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w:gz") as file:
        for other, content in (("LICENSE", b"text"), (name, data)):
            info = tarfile.TarInfo(other)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return image.getvalue()


def every_format(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    graph = samples.graph(samples.tensorflow_layout(arrays))
    counted = {f"{name[:-7]}.num_batches_tracked": np.array(7) for name in arrays if name.endswith(".bn.bias")}
    return {"PyTorch, zip": samples.torch_file(arrays | counted), "PyTorch, legacy": samples.torch_file(arrays, True),
            "TensorFlow graph": graph, "safetensors": samples.safetensors(arrays),
            "PyTorch, zip, float64": samples.torch_file({name: a.astype(np.float64) for name, a in arrays.items()}),
            "TensorFlow graph, packed": tgz(graph)}


def failure(path: Path) -> str:
    with pytest.raises(FailedWork) as caught:
        load(path)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and len(line) < 400 + 3 * len(str(path))
    return line


def assert_same(given: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(given) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(given[name], array)
        assert given[name].dtype == np.float32 and given[name].flags.c_contiguous


def test_the_same_weights_in_any_format_have_one_digest(tmp_path, toy):
    arrays = toy_weights()
    for form, data in every_format(arrays).items():
        path = tmp_path / "any name"
        path.write_bytes(data)
        found = load(path)
        assert found.format == form.removesuffix(", float64").removesuffix(", packed")
        assert found.kind == ORIGINAL and found.known == "" and not found.comparable
        assert found.sha256 == hashlib.sha256(data).hexdigest()
        assert found.digest == digest_of(arrays)
        assert_same(found.tensors, arrays)
    arrays["fc.bias"][3] += 1e-6
    assert digest_of(arrays) != found.digest


def test_the_digest_is_what_its_docstring_says():
    arrays = {"a": np.float32([[1, 2]]), "b": np.float32([3])}
    expected = hashlib.sha256(b"a 1x2\n" + bytes.fromhex("0000803f00000040") + b"b 1\n" + bytes.fromhex("00004040"))
    assert digest_of(arrays) == expected.hexdigest()


@pytest.mark.parametrize("kind", [ORIGINAL, KERAS, TORCHVISION])
@pytest.mark.parametrize("suffix", [".h5", ".safetensors"])
def test_what_was_converted_reads_back_the_same(tmp_path, toy, kind, suffix):
    arrays = toy_weights(kind)
    path = tmp_path / "first"
    path.write_bytes(samples.keras(arrays) if kind == KERAS else samples.torch_file(arrays))
    first = load(path)
    save(first, tmp_path / f"second{suffix}")
    second = load(tmp_path / f"second{suffix}")
    assert (second.kind, second.digest, second.known) == (kind, first.digest, "")
    assert_same(second.tensors, arrays)


def test_a_published_file_is_known_and_stays_so_when_converted(tmp_path, toy, monkeypatch):
    data = samples.torch_file(toy_weights())
    sha256 = hashlib.sha256(data).hexdigest()
    known = {"weights.pth": (ORIGINAL, Published("http://x/weights.pth", "", len(data), sha256=sha256))}
    monkeypatch.setattr(inception_weights, "KNOWN", known)
    (tmp_path / "a.pth").write_bytes(data)
    assert load(tmp_path / "a.pth").known == "weights.pth" and load(tmp_path / "a.pth").comparable
    for name in ("b.h5", "b.safetensors"):
        save(load(tmp_path / "a.pth"), tmp_path / name)
        assert load(tmp_path / name).known == "weights.pth"
    # Other tensors under the same note are not known.
    noted = {"kind": ORIGINAL, "known": "weights.pth", "digest": load(tmp_path / "a.pth").digest}
    (tmp_path / "c").write_bytes(samples.safetensors(toy_weights(seed=1), noted))
    assert load(tmp_path / "c").known == ""
    # A graph is known by its md5, also in its archive.
    graph = samples.graph(samples.tensorflow_layout(toy_weights()))
    md5 = hashlib.md5(graph).hexdigest()
    known["graph.pb"] = (ORIGINAL, Published("http://x/graph.pb", md5, len(graph)))
    (tmp_path / "d").write_bytes(tgz(graph))
    assert load(tmp_path / "d").known == "graph.pb"
    known["graph.pb"] = (ORIGINAL, Published("http://x/graph.pb", md5, len(graph) + 1))
    assert load(tmp_path / "d").known == ""


@pytest.mark.parametrize("variant", [{}, {"suffix": ""}, {"root": "model_weights/"}, {"first": 1}, {"first": 94}])
def test_keras_layers_are_told_by_the_numbers_in_their_names(tmp_path, toy, variant):
    arrays = toy_weights(KERAS)
    (tmp_path / "k.h5").write_bytes(samples.keras(arrays, **variant))
    found = load(tmp_path / "k.h5")
    assert (found.kind, found.format) == (KERAS, "Keras, HDF5")
    assert_same(found.tensors, arrays)


def test_keras_files_without_the_last_layer_are_read_and_converted(tmp_path, toy):
    arrays = {name: array for name, array in toy_weights(KERAS).items() if not name.startswith("fc.")}
    (tmp_path / "k_notop.h5").write_bytes(samples.keras(arrays))
    found = load(tmp_path / "k_notop.h5")
    assert (found.kind, found.classifies) == (KERAS, False)
    assert_same(found.tensors, arrays)
    assert "keras (FID, KID); no IS" in "\n".join(describe(found))
    for name in ("b.h5", "b.safetensors"):
        save(found, tmp_path / name)
        again = load(tmp_path / name)
        assert (again.kind, again.digest, again.classifies) == (KERAS, found.digest, False)


def test_which_protocols_a_file_serves_is_said(tmp_path, toy):
    for kind, named in ((ORIGINAL, "sn-gan, bssn, chainer-gan-lib"), (KERAS, "keras"), (TORCHVISION, "torchvision")):
        arrays = toy_weights(kind)
        (tmp_path / "w").write_bytes(samples.keras(arrays) if kind == KERAS else samples.torch_file(arrays))
        (line,) = [line for line in describe(load(tmp_path / "w")) if line.startswith("protocols")]
        assert line.split(maxsplit=1)[1].startswith(named)


def test_torchvisions_extra_branch_is_left_out(tmp_path, toy):
    arrays = toy_weights(TORCHVISION)
    more = {"AuxLogits.conv0.conv.weight": np.zeros((2, 2, 1, 1), np.float32)}
    (tmp_path / "t.pth").write_bytes(samples.torch_file(arrays | more))
    found = load(tmp_path / "t.pth")
    assert found.kind == TORCHVISION
    assert_same(found.tensors, arrays)


def test_wrong_and_missing_tensors_are_named_with_what_was_expected(tmp_path, toy):
    path = tmp_path / "w"
    arrays = toy_weights()

    def line(change: dict[str, np.ndarray | None]) -> str:
        changed = {name: array for name, array in (arrays | change).items() if array is not None}
        path.write_bytes(samples.torch_file(changed))
        return failure(path)

    bias = "Mixed_5b.branch5x5_1.bn.bias"
    said = line({bias: None, "fc.bias": None})
    assert f"no '{bias}' (2,)" in said and "2 of the 17 tensors" in said
    assert f"'{bias}' has the shape (3,), expected (2,)" in line({bias: np.ones(3, np.float32)})
    assert "does not have: 'stem.weight'" in line({"stem.weight": np.ones(3, np.float32)})
    assert "int64" in line({bias: np.ones(2, np.int64)})
    for bad in (np.nan, np.inf, 1e300):
        assert "not finite" in line({bias: np.array([1, bad])})
    assert "variance" in line({"Mixed_5b.branch5x5_1.bn.running_var": np.float32([1, -1])})

    theirs = samples.tensorflow_layout(arrays)
    theirs["mixed/tower/conv/conv2d_params"] = theirs["mixed/tower/conv/conv2d_params"][:, :, :1]
    path.write_bytes(samples.graph(theirs))
    assert "'mixed/tower/conv/conv2d_params' has the shape (1, 1, 1, 2), expected (1, 1, 4, 2)" in failure(path)
    path.write_bytes(samples.keras({name: array for name, array in toy_weights(KERAS).items()}, first=0))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"moving_mean", b"moving_maen"))
    assert "no 'batch_normalization/moving_mean' (4,)" in failure(path) or "does not have" in failure(path)


def test_a_tensor_that_promises_much_takes_no_memory(tmp_path, toy):
    arrays = {name: samples.tensor("0", 1, (10**11,), (0,)) for name in toy_table()}
    (tmp_path / "w.pth").write_bytes(samples.zipped(samples.state_dict(arrays), {"0": bytes(4)}))
    tracemalloc.start()
    assert "expected (4, 3, 3, 3)" in failure(tmp_path / "w.pth")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_other_files_are_refused_in_one_line(tmp_path, toy, monkeypatch):
    path = tmp_path / "w"
    bomb = gzip.compress(b"x" * 3_000_000)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"))
    for data, named in [
        (b"", "an empty file"), (b"<html>404</html>", "an HTML page"), (bytes(100), "no file of weights"),
        (b"\x80\x02}.", "no file of weights"), (b"\nhello", "TensorFlow graph"), (b"\x1f\x8bxyz", "broken"),
        (bomb, "not a tar archive"), (tgz(b"x", "weights.pb"), "an archive without"),
        (tar.getvalue(), "PyTorch before 0.4"), (tgz(samples.graph({})), "no 'conv/conv2d_params'"),
        (samples.safetensors({}), "no 'Conv2d_1a_3x3.conv.weight'"), (samples.zipped(b"\x80\x02}.", {}), "no 'Conv2d"),
        (samples.keras({name: array for name, array in toy_weights().items()})[:900], "HDF5"),
    ]:  # fmt: skip
        path.write_bytes(data)
        assert named in failure(path), named
    hdf5_state.save(tmp_path / "run.h5", {"gen": {"W": np.ones(3)}})
    assert "checkpoint of a training run" in failure(tmp_path / "run.h5")
    assert "cannot be read" in failure(tmp_path / "missing")
    for other in (tmp_path, Path("/dev/zero")):
        if other.exists():
            with pytest.raises(WrongUse, match="is a folder, exp|is a device, exp"):
                load(other)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WrongUse, match="is a named pipe, expected a file of weights"):
        load(tmp_path / "pipe")
    path.write_bytes(samples.zipped(b"\x80\x02}.", {}, **{"constants.pkl": b"\x80\x02)."}))
    assert "is TorchScript" in failure(path) and "take the file of weights alone, pt_inception-2015" in failure(path)
    monkeypatch.setattr(inception_weights, "MAX_FILE", 100)
    path.write_bytes(bytes(101))
    assert "at most 100" in failure(path)


def test_the_graphs_names_are_those_that_converters_list():
    """A block of each form, written down from torch-fidelity's table (utils/util_convert_inception_weights.py)."""
    names = tensorflow_names(inception.tensors())
    assert len(names) == len({theirs for theirs, _ in names.values()}) == 472
    for ours, theirs in {
        "Conv2d_1a_3x3": "conv", "Conv2d_4a_3x3": "conv_4", "Mixed_5b.branch1x1": "mixed/conv",
        "Mixed_5c.branch5x5_1": "mixed_1/tower/conv", "Mixed_5c.branch5x5_2": "mixed_1/tower/conv_1",
        "Mixed_5d.branch3x3dbl_3": "mixed_2/tower_1/conv_2", "Mixed_5d.branch_pool": "mixed_2/tower_2/conv",
        "Mixed_6a.branch3x3": "mixed_3/conv", "Mixed_6a.branch3x3dbl_3": "mixed_3/tower/conv_2",
        "Mixed_6b.branch7x7_3": "mixed_4/tower/conv_2", "Mixed_6e.branch7x7dbl_5": "mixed_7/tower_1/conv_4",
        "Mixed_6e.branch_pool": "mixed_7/tower_2/conv", "Mixed_7a.branch3x3_1": "mixed_8/tower/conv",
        "Mixed_7a.branch7x7x3_4": "mixed_8/tower_1/conv_3", "Mixed_7b.branch3x3_2a": "mixed_9/tower/mixed/conv",
        "Mixed_7b.branch3x3dbl_2": "mixed_9/tower_1/conv_1", "Mixed_7c.branch3x3_2b": "mixed_10/tower/mixed/conv_1",
        "Mixed_7c.branch3x3dbl_3b": "mixed_10/tower_1/mixed/conv_1", "Mixed_7c.branch_pool": "mixed_10/tower_2/conv",
    }.items():  # fmt: skip
        assert names[f"{ours}.conv.weight"][0] == f"{theirs}/conv2d_params"
        assert names[f"{ours}.bn.running_var"][0] == f"{theirs}/batchnorm/moving_variance"


def test_keras_3_counts_by_depth():
    """conv2d_k in the order of model.layers, as Keras 3.15's InceptionV3 has them (the first blocks and the last)."""
    modules = [name.removesuffix(".conv.weight") for name in inception.tensors(KERAS) if ".conv." in name]
    order = [modules.index(module) for module in inception_weights._by_depth(modules)]
    assert order[:19] == [0, 1, 2, 3, 4, 8, 6, 9, 5, 7, 10, 11, 15, 13, 16, 12, 14, 17, 18]
    assert order[26:40] == [27, 28, 26, 29, 34, 35, 31, 36, 32, 37, 30, 33, 38, 39]
    assert order[70:85] == [72, 73, 70, 74, 71, 75, 80, 77, 81, 78, 79, 82, 83, 76, 84]
    assert sorted(order) == list(range(94))


def test_a_file_in_the_cache_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path))
    (tmp_path / "inception").mkdir()
    path = tmp_path / "inception" / "inception-2015-12-05.tgz"
    path.write_bytes(b"")
    assert inception_weights.find() == path
    (tmp_path / "inception" / inception_weights.PYTORCH_FID).write_bytes(b"")
    assert inception_weights.find().name == inception_weights.PYTORCH_FID  # the likeliest first


def test_without_a_network_it_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path))
    url = "http://127.0.0.1:9/w.pth"  # nobody listens there
    monkeypatch.setitem(inception_weights.KNOWN, inception_weights.PYTORCH_FID,
                        (ORIGINAL, Published(url, "", 100, "0" * 64)))
    said = []
    with pytest.raises(FailedWork) as caught:
        inception_weights.find(said.append)
    there = tmp_path / "inception" / inception_weights.PYTORCH_FID
    assert url in str(caught.value) and f"at {there}" in str(caught.value)
    assert len(said) == 1 and url in said[0]


# ---- the command ----


def test_the_command_says_what_a_file_is_and_converts_it(tmp_path, toy, capsys):
    path, out = tmp_path / "w.pth", tmp_path / "w.safetensors"
    path.write_bytes(samples.torch_file(toy_weights()))
    assert run(["weights", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for word in ("PyTorch, zip", ORIGINAL, "17 with", hashlib.sha256(path.read_bytes()).hexdigest(),
                 "not comparable with published ones", digest_of(toy_weights()), str(out)):
        assert word in said
    assert load(out).digest == digest_of(toy_weights())
    assert run(["weights", str(path), "--out", str(out)]) == 2 and "--overwrite" in capsys.readouterr().err
    assert run(["weights", str(path), "--out", str(out), "--overwrite"]) == 0


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    (tmp_path / "w").write_bytes(b"text")
    file = str(tmp_path / "w")
    for words, code in [([file], 1), ([file, "--out", "w.txt"], 2), (["--out", "w.h5"], 2)]:
        assert run(["weights", *words]) == code
        assert capsys.readouterr().err.count("\n") == 1


def test_without_a_file_the_command_says_what_is_there_and_what_to_get(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path))
    assert run(["weights"]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "inception") in said and "pytorch-fid" in said and "6726825d0af5f729" in said
    (tmp_path / inception_weights.PYTORCH_FID).write_bytes(b"")
    assert run(["weights"]) == 0
    assert str(tmp_path / inception_weights.PYTORCH_FID) in capsys.readouterr().out
