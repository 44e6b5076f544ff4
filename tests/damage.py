"""Every reader of files that somebody else may have made, with a small sound file of its kind; and ways to damage it.

tests/formats/test_damaged_files.py and tests/campaign.py read what is listed here.
"""

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import figure_runs
import numpy as np
import published_files as published
import weight_samples as samples
from PIL import Image

from minigan.cli import main
from minigan.data import datasets, drawings, pack, stl10
from minigan.data.dataset import Dataset
from minigan.errors import FailedWork, WrongUse
from minigan.exchange import weights_in
from minigan.experiment.experiment import to_dict
from minigan.experiment.presets import experiment
from minigan.formats import hdf5_state, image_files
from minigan.metrics import classifier, frechet, inception_weights, stored_scores
from minigan.networks import layer_table  # noqa: F401 (so that no reader pays for its import)
from minigan.studies import grid, sweep
from minigan.training import loop, restore, run_folder
from minigan.views import report
from minigan.views.figures import plots

QUIET: dict[str, Any] = {"say": lambda line: None, "progress": lambda *_: None}


@dataclass(frozen=True)
class Reader:
    """How a sound file is made in a folder, and how one is read."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


def damaged(data: bytes, random: Random) -> bytes:
    """Flipped bits, extreme bytes and numbers, pieces cut out, moved, repeated, or off the end; up to four of these."""
    bad = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, other, n = random.randrange(len(bad)), random.randrange(len(bad)), random.randint(1, 40)
        how = random.randrange(9)
        if how == 0:
            bad[at] ^= 1 << random.randrange(8)
        elif how == 1:
            bad[at] = random.choice([0, 1, 9, 10, 27, 34, 92, 127, 128, 254, 255])
        elif how == 2:
            bad[at:at + 4] = random.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x80"])
        elif how == 3:
            bad[at:at + n] = bad[other:other + n]
        elif how == 4:
            bad[at:at] = bad[other:other + n]
        elif how == 5:
            del bad[at:at + n]
        elif how == 6:  # a number in a text becomes another one
            digits = [i for i in range(at, min(at + 400, len(bad))) if 48 <= bad[i] < 58]
            if digits:
                bad[digits[0]:digits[0] + 1] = random.choice(NUMBERS)
        elif how == 7:  # and a text another one
            quotes = [i for i in range(at, min(at + 400, len(bad))) if bad[i] == 34]
            if quotes:
                bad[quotes[0] + 1:quotes[0] + 1] = random.choice(TEXTS)
        elif random.random() < 0.3:
            del bad[at + 1:]
        bad = bad or bytearray(1)
    return bytes(bad)


NUMBERS = [b"1e400", b"-1e400", b"1e308", b"-1", b"NaN", b"9" * 400, b"9" * 5000, b"1e-320", b"true", b"null", b"[]",
           b"[" * 2000, b'"x"', b"{}", b"9007199254740993", b"0.5"]
TEXTS = [b"\\ud800", b"\\u001b[31m", b"\\u0000", b"\\n", b"a" * 3000, b"\x1b]0;x\x07", b"\xff\xfe", b"../", b"\\u202e"]


def outcome(read: Callable[[Path], Any], path: Path) -> str:
    """"read", or "refused" in one printable line. Any other exception passes: that is the fault which is looked for."""
    try:
        read(path)
    except (FailedWork, WrongUse) as error:
        assert "\n" not in str(error) and len(str(error)) < 4000, f"no short line: {str(error)[:500]!r}"
        return "refused"
    return "read"


def damaged_files(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged ones, each found again by its number: the seed of one does not depend on those before."""
    for number in range(count):
        yield damaged(data, Random(f"{seed} {number}"))


# ---- sound files -----------------------------------------------------------------------------------------------------

def file_of(name: str, data: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data())
        return path
    return make


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def image(kind: str, mode: str = "RGB", **how: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels(16, 16, 3)).convert(mode).save(data, kind, **how)
    return data.getvalue()


def npz(packed: bool = True, **arrays: np.ndarray) -> bytes:
    data = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(data, **arrays)
    return data.getvalue()


def zip_of_images() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for i in range(4):
            file.writestr(f"{i % 2}/{i}.png", image("PNG"))
    return data.getvalue()


def tar_of(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    return data.getvalue()


def of_idx(packed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = {"train-images-idx3-ubyte": published.idx(pixels(6, 28, 28)),
                "train-labels-idx1-ubyte": published.idx(pixels(6) % 10)}
        files = {name + ".gz" * packed: gzip.compress(d) if packed else d for name, d in data.items()}
        return published.put(folder, files) / next(iter(files))
    return make


def folder_of_images(folder: Path) -> Path:
    for i in range(3):
        (folder / f"{i}.png").write_bytes(image("PNG"))
    (folder / "dataset.json").write_text(json.dumps({"labels": [[f"{i}.png", i] for i in range(3)]}))
    return folder / "dataset.json"


def packed(folder: Path) -> Path:
    for i in range(4):
        (folder / "in" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        (folder / "in" / str(i % 2) / f"{i}.png").write_bytes(image("PNG"))
    pack.pack("folder", folder / "packed.h5", root=folder / "in", size=16, **QUIET)
    return folder / "packed.h5"


def trained(name: str) -> Callable[[Path], Path]:
    """A file of a small run that was trained, copied from the first one of this process."""
    def make(folder: Path) -> Path:
        path = folder / "run" / name
        if not _RUN:
            e = experiment("folder", size=16, width=0.05, dim_z=4, n_dis=1, batch_size=2, gen_batch_size=2,
                           iterations=4, log_every=1, sample_every=2, checkpoint_every=2, diagnose=2, data_root="in")
            images = Dataset(pixels(8, 16, 16, 3), np.zeros(8, np.int64), ("all",), "made")
            with _patched(datasets, "of_experiment", lambda *_, **__: images):
                loop.fit(e, folder / "run", quiet=True)
            _RUN.update({file.relative_to(folder / "run"): file.read_bytes() for file in (folder / "run").rglob("*")
                         if file.is_file()})
        for inner, data in _RUN.items():
            (folder / "run" / inner).parent.mkdir(parents=True, exist_ok=True)
            (folder / "run" / inner).write_bytes(data)
        score = stored_scores.Score("FID 2048", 12.5, None, "ttur", "inception", "ab", "", "", 10, 10, 0, 0, "x")
        stored_scores.append(folder / "run" / "scores.json", [stored_scores.Stored(score, 4, False)])
        (folder / "run" / "failed.txt").write_text("the loss is not finite at iteration 4\n")
        return path if "*" not in name else next((folder / "run").glob(name))
    return make


_RUN: dict[Path, bytes] = {}


class _patched:
    def __init__(self, of: Any, name: str, value: Any):
        self.of, self.name, self.value = of, name, value

    def __enter__(self) -> None:
        self.before = getattr(self.of, self.name)
        setattr(self.of, self.name, self.value)

    def __exit__(self, *_: object) -> None:
        setattr(self.of, self.name, self.before)


def written_classifier(folder: Path) -> Path:
    if not _CLASSIFIER:
        def few(name: str, split: str, **_: Any) -> Dataset:
            return Dataset(*drawings.draw(60, 16, 3, split), drawings.CLASSES, "drawn")
        with _patched(datasets, "load", few), _patched(os, "environ", {**os.environ, "MINIGAN_CACHE": str(folder)}):
            made = classifier.train("shapes", size=16, epochs=1, batch_size=20, quiet=True)
            classifier.save(folder / "c.h5", made)
        _CLASSIFIER.append((folder / "c.h5").read_bytes())
    (folder / "c.h5").write_bytes(_CLASSIFIER[0])
    return folder / "c.h5"


_CLASSIFIER: list[bytes] = []


def weights(path: Path) -> None:
    """What is read must be right: of the shapes that the network has, and finite."""
    found = inception_weights.load(path)
    expected = samples.toy_table(found.kind)
    if found.kind == inception_weights.KERAS and not found.classifies:  # as Keras offers them, too
        expected = {name: shape for name, shape in expected.items() if not name.startswith("fc.")}
    assert {name: array.shape for name, array in found.tensors.items()} == expected
    assert all(np.isfinite(array).all() for array in found.tensors.values())


def own_weights(folder: Path) -> Path:
    arrays = samples.toy_weights()
    weights = inception_weights.Weights(inception_weights.ORIGINAL, arrays, "", "", inception_weights.digest_of(arrays),
                                        "")
    inception_weights.save(weights, folder / "own.h5")
    return folder / "own.h5"


def chainer(folder: Path) -> Path:
    """A generator as Chainer writes it, of shapes alone: networks of one's own numbers of channels are refused late."""
    arrays = {"l1/W": (8 * 16, 4), "l1/b": (128,), "b5/gamma": (8,), "b5/beta": (8,), "b5/avg_mean": (8,),
              "b5/avg_var": (8,), "c5/W": (3, 8, 3, 3), "c5/b": (3,)}
    for i in (2, 3, 4):
        for name, shape in {"c1/W": (8, 8, 3, 3), "c1/b": (8,), "c2/W": (8, 8, 3, 3), "c2/b": (8,), "c_sc/W":
                            (8, 8, 1, 1), "c_sc/b": (8,)}.items():
            arrays[f"block{i}/{name}"] = shape
        for b in ("b1", "b2"):
            arrays |= {f"block{i}/{b}/{what}": (8,) for what in ("gamma", "beta", "avg_mean", "avg_var")}
    path = folder / "ResNetGenerator_100.npz"
    rng = np.random.default_rng(0)
    np.savez(path, **{name: rng.random(shape, np.float32) for name, shape in arrays.items()})
    return path


def loads(name: str, **options: Any) -> Callable[[Path], Any]:
    """Read all of a data set that lies in the file's folder, or in the file."""
    return lambda path: datasets.load(name, root=path if options.get("whole") else path.parent, **{
        key: value for key, value in options.items() if key != "whole"}, **QUIET)


def page(path: Path) -> bytes:
    """The report of the run in which the file lies; also what the terminal would show of it."""
    run = path.parent if path.parent.name != "samples" else path.parent.parent
    return report.page(report.read([run])).encode()


def swept(path: Path) -> None:
    sweep.claim(cells(), path.parent)


def cells() -> list[grid.Cell]:
    e = experiment("shapes", size=16, iterations=10)
    return [grid.Cell("sn", "a", seed, e) for seed in (0, 1)]


def written_sweep(folder: Path) -> Path:
    figure_runs.make(folder / cells()[0].name)
    (folder / "sweep.json").write_text(json.dumps({cell.name: to_dict(cell.experiment) for cell in cells()}, indent=1))
    return folder / "sweep.json"


def unfinished(folder: Path) -> Path:
    """What a killed packing leaves."""
    packed(folder)
    (folder / "packed.h5").rename(folder / "packed.h5.part")
    record = {"made": {"dataset": "folder", "from": "x"}, "done": 2, "count": 2}
    (folder / "packed.h5.part.json").write_text(json.dumps(record))
    return folder / "packed.h5.part.json"


def go_on(path: Path) -> None:
    pack.pack("folder", path.with_name("packed.h5"), root=path.parent / "in", size=16, **QUIET)


def bench(folder: Path) -> Path:
    path = folder / "overhead.json"
    path.write_text(json.dumps({"machine": {"processor": "one", "threads": 2}, "batch": 64, "results": {"32": [
        {"method": "sn", "seconds_per_100": 3.5}]}}))
    return path


def command(*words: str) -> Callable[[Path], Any]:
    """The command line, quietly; its errors are raised as those of a function."""
    def read(path: Path) -> None:
        main.commands.main([word.replace("FILE", str(path)) for word in words], standalone_mode=False)
    return read


PHOTO = {"size": 16}
READERS: dict[str, Reader] = {
    **{f"image {kind} {mode}": Reader(file_of(f"0.{kind.lower()}", lambda kind=kind, mode=mode: image(kind, mode)),
                                      loads("folder", **PHOTO))
       for kind, mode in (("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "P"), ("BMP", "RGB"),
                          ("TIFF", "RGB"), ("WEBP", "RGB"), ("PPM", "RGB"), ("ICO", "RGBA"), ("TGA", "RGB"))},
    "zip of images": Reader(file_of("a.zip", zip_of_images), loads("folder", whole=True, **PHOTO)),
    "dataset.json": Reader(folder_of_images, loads("folder", **PHOTO)),
    "npz of images": Reader(file_of("a.npz", lambda: npz(images=pixels(3, 16, 16, 3), labels=np.arange(3))),
                            loads("folder", whole=True)),
    "npz of images, stored": Reader(file_of("a.npz", lambda: npz(False, arr_0=pixels(3, 16, 16, 3))),
                                    loads("folder", whole=True)),
    "npz of statistics": Reader(file_of("a.npz", lambda: npz(mu=np.zeros(8), sigma=np.eye(8))), frechet.read),
    "packed": Reader(packed, lambda path: datasets.load("packed", root=path, **QUIET).images[:]),
    "packed, checked": Reader(packed, lambda path: pack.check(path, lambda *_: None)),
    "record of a packing": Reader(unfinished, go_on),
    "cifar10 archive": Reader(file_of("cifar-10-python.tar.gz", lambda: tar_of(
        "cifar-10-batches-py/test_batch", published.python_files()["test_batch"])), loads("cifar10", split="test")),
    "cifar10 batch": Reader(file_of("test_batch", lambda: published.python_files()["test_batch"]),
                            loads("cifar10", split="test")),
    "mnist": Reader(of_idx(False), loads("mnist")),
    "mnist, gzipped": Reader(of_idx(True), loads("mnist")),
    "stl10 archive": Reader(file_of("stl10_binary.tar.gz", lambda: tar_of(
        "stl10_binary/unlabeled_X.bin", pixels(2 * stl10.IMAGE).tobytes())), loads("stl10")),
    "weights, torch": Reader(file_of("w", lambda: samples.torch_file(samples.toy_weights())), weights),
    "weights, torch legacy": Reader(file_of("w", lambda: samples.torch_file(samples.toy_weights(), True)),
                                    weights),
    "weights, graph": Reader(file_of("w", lambda: samples.graph(samples.tensorflow_layout(samples.toy_weights()))),
                             weights),
    "weights, archive": Reader(file_of("w", lambda: tar_of("classify_image_graph_def.pb", samples.graph(
        samples.tensorflow_layout(samples.toy_weights())))), weights),
    "weights, safetensors": Reader(file_of("w", lambda: samples.safetensors(samples.toy_weights(), {})),
                                   weights),
    "weights, keras": Reader(file_of("w", lambda: samples.keras(samples.toy_weights(inception_weights.KERAS))),
                             weights),
    "weights, minigan": Reader(own_weights, weights),
    "import, npz": Reader(chainer, lambda path: weights_in.import_weights([path], path.parent / "out", overwrite=True)),
    "import, pth": Reader(file_of("netG_1_steps.pth", lambda: samples.torch_file(samples.toy_weights())),
                          lambda path: weights_in.import_weights([path], path.parent / "out")),
    "checkpoint": Reader(trained("checkpoint-0000004.h5"), hdf5_state.load),
    "checkpoint of a run": Reader(trained("checkpoint-0000004.h5"), lambda path: restore.newest(path.parent)),
    "classifier": Reader(written_classifier, classifier.load),
    "experiment.json": Reader(trained("experiment.json"), page),
    "log.jsonl": Reader(trained("log.jsonl"), page),
    "log.jsonl, kept": Reader(trained("log.jsonl"), lambda path: run_folder.Log(path.parent, 3)),
    "diagnostics.jsonl": Reader(trained("diagnostics.jsonl"), page),
    "scores.json": Reader(trained("scores.json"), page),
    "scores.json, compared": Reader(trained("scores.json"), lambda path: stored_scores.table([(
        "run", stored_scores.read(path))])),
    "failed.txt": Reader(trained("failed.txt"), page),
    "samples.png": Reader(trained("samples.png"), page),
    "samples.png, decoded": Reader(trained("samples.png"), image_files.read_png),
    "sweep.json": Reader(written_sweep, swept),
    "bench's numbers": Reader(bench, plots._seconds_of_bench),
}
# Whose files are passed over where they are broken.
FORGIVING = {"checkpoint of a run", "record of a packing", "log.jsonl", "log.jsonl, kept",
             "diagnostics.jsonl", "failed.txt", "samples.png"}
