"""The published weights of Inception in whatever file they come: what it is, its tensors, whether it is the known one.

The room formats reads the files (torch_weights, tensorflow_graph, keras_weights, safetensors), each to names and views
of the file's bytes. Here the names become those of PyTorch's files, the layouts PyTorch's, too: a convolution (out, in,
kh, kw), the last layer (out, in). Nothing is executed, and no memory is taken for what was not asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.data.dataset import Request, download
from minigan.data.locations import cache_folder, first_file
from minigan.errors import FailedWork, WrongUse, brief, listed
from minigan.formats import hdf5_state, safetensors, torch_weights
from minigan.formats.archives import read_whole, tar_members
from minigan.formats.arrays_in_files import float32
from minigan.formats.download import Published
from minigan.formats.foreign import keras_weights, tensorflow_graph
from minigan.formats.progress import to_stderr
from minigan.formats.untrusted import TORCHSCRIPT, ZIP, what_file
from minigan.metrics import inception, protocols

MAX_FILE = 1 << 29  # bytes; the largest published one has 104 million
ORIGINAL, KERAS, TORCHVISION = "inception-2015-12-05", "inception-keras", "inception-torchvision"
MINIGAN = "minigan's HDF5"

# ---- the published files -------------------------------------------------------------------------------------------

PYTORCH_FID = "pt_inception-2015-12-05-6726825d.pth"
PB = "classify_image_graph_def.pb"
_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
# Kind and file, by name; the first is the one that `find` downloads. Where no md5 is known there is a sha256, and the
# other way round; neither is known of the archive, but the graph in it is checked.
KNOWN: dict[str, tuple[str, Published]] = {
    PYTORCH_FID: (ORIGINAL, Published(
        f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{PYTORCH_FID}", "", 95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2")),
    PB: (ORIGINAL, Published("http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz",
                             "e6bb154e85f5d4331c22abcddb5dcf31", 95_673_916)),
    "inception_v3_weights_tf_dim_ordering_tf_kernels.h5": (KERAS, Published(
        f"{_KERAS_URL}inception_v3_weights_tf_dim_ordering_tf_kernels.h5", "9a0d58056eeedaa3f26cb7ebd46da564",
        96_112_376)),
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5": (KERAS, Published(
        f"{_KERAS_URL}inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63",
        87_910_968)),
}
# Names under which each kind may lie in the cache folder, the likeliest first.
FILES = {
    ORIGINAL: (PYTORCH_FID, "weights-inception-2015-12-05-6726825d.pth", "inception-2015-12-05.tgz", PB,
               "inception-2015-12-05.h5", "inception-2015-12-05.safetensors"),
    KERAS: tuple(name for name, (kind, _) in KNOWN.items() if kind == KERAS),
    TORCHVISION: ("inception_v3_google-0cc3c7bd.pth", "inception_v3_google-1a9a5a14.pth"),
}
GRAPHS = {PB, "inceptionv1_for_inception_score.pb"}  # in archives


@dataclass(frozen=True)
class Weights:
    """The tensors of one file, and where they come from."""

    kind: str  # a key of inception_table.KINDS
    tensors: dict[str, np.ndarray]  # float32, names and shapes of inception_table.tensors(kind), in that order; a file
    # without the last layer (Keras' _notop) has no fc.weight and fc.bias
    sha256: str  # of the file, in hexadecimal
    known: str  # the published file that it is, or was converted from; "" if it is none
    digest: str  # of the tensors: the same weights have one digest in whatever format, see digest_of
    format: str  # in words

    @property
    def comparable(self) -> bool:
        """Whether scores made with these weights can be compared with published ones."""
        return self.kind == ORIGINAL and bool(self.known)

    @property
    def classifies(self) -> bool:
        """Whether the last layer is there, which IS needs."""
        return "fc.weight" in self.tensors


def kept(kind: str = ORIGINAL) -> Path | None:
    """The file of Inception's weights of this kind in the cache folder, if there is one."""
    return first_file("inception", None, *FILES[kind])


def find(say: Callable[[str], None] = to_stderr) -> Path:
    """The file of the weights of 2015-12-05 in the cache folder; if there is none, it is downloaded to it.

    Raises FailedWork, one line that says which file to put where.
    """
    there = kept()
    if there is not None:
        return there
    return download(KNOWN[PYTORCH_FID][1], cache_folder() / "inception" / PYTORCH_FID, Request(say=say))


def load(path: str | Path) -> Weights:
    """Read a file of Inception's weights, of any of the formats above, whatever its name.

    Raises FailedWork, one line: not such a file, broken, the names or shapes of another network, numbers that are not
    finite.
    """
    path = Path(path)
    what = what_file(path)
    if path.exists() and not path.is_file():  # a device may never end
        raise WrongUse(f"{path}: is {what}, expected a file of weights")
    if what == TORCHSCRIPT:
        raise FailedWork(f"{path}: is {what}; take the file of weights alone, {PYTORCH_FID} (minigan weights says "
                         "where it is)")
    data = read_whole(path, MAX_FILE, archive=True)
    sha256, known = hashlib.sha256(data).hexdigest(), _known(data)
    if data.startswith(b"\x1f\x8b") or data[257:262] == b"ustar":
        data = _graph_in(path)
        known = known or _known(data)
    kind, tensors, form, noted = _read(data, path)
    digest = digest_of(tensors)
    # What minigan converted says what it was, for the tensors of this digest. That is no proof against lies.
    if noted.get("digest") == digest and noted.get("known") in KNOWN:
        known = known or noted["known"]
    return Weights(kind, tensors, sha256, known, digest, form)


def save(weights: Weights, path: str | Path) -> None:
    """Write weights as .h5 (minigan's own, see formats/hdf5_state.py) or .safetensors; `load` gives the same back."""
    path = Path(path)
    check_name(path)
    noted = {"kind": weights.kind, "known": weights.known, "digest": weights.digest}
    if path.suffix == ".h5":
        hdf5_state.save(path, {"inception": {**noted, "tensors": weights.tensors}})
    else:
        safetensors.write(path, weights.tensors, noted)


def check_name(path: Path) -> None:
    """WrongUse unless `save` can write to a file of this name."""
    if path.suffix not in (".h5", ".safetensors"):
        raise WrongUse(f"{path}: expected a name that ends with .h5 or .safetensors")


def describe(weights: Weights) -> list[str]:
    """What `minigan weights FILE` prints."""
    known = weights.known or "no, at least not one whose digest minigan knows"
    values = sum(array.size for array in weights.tensors.values())
    rows = [("format", weights.format), ("network", f"{weights.kind}: {inception.KINDS[weights.kind].text}"),
            ("tensors", f"{len(weights.tensors)} with {values:,} values"), ("sha256", weights.sha256),
            ("published", known), ("digest", f"{weights.digest} (of the tensors, the same in every format)"),
            ("scores", f"{'' if weights.comparable else 'not '}comparable with published ones"),
            ("protocols", _protocols(weights))]
    return [f"{name:12} {text}" for name, text in rows]


def _protocols(weights: Weights) -> str:
    """Which protocols the weights serve, in words."""
    names = protocols.serving(weights.kind)
    if weights.classifies:
        return ", ".join(names)
    served = [f"{name} ({', '.join(score for score in protocols.PROTOCOLS[name].scores if score != 'IS')})"
              for name in names]
    return f"{', '.join(served)}; no IS: the file is without the last layer"


def overview() -> list[str]:
    """What `minigan weights` prints: what is in the cache folder, and what to put where."""
    there = kept()
    folder = cache_folder() / "inception"
    if there is not None:
        return [f"found {there}; minigan weights {there} says what it is"]
    published = KNOWN[PYTORCH_FID][1]
    return [f"no weights of Inception in {folder}; they are downloaded when a score needs them, or by hand:",
            f"  put {published.url}",
            f"  ({published.size:,} bytes, sha256 {published.sha256})", f"  there, or instead {KNOWN[PB][1].url},",
            "  from which the same network is read; minigan weights FILE says whether a file is the right one"]


def digest_of(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the tensors in their order: "NAME SHAPE", a newline, the numbers as float32, little-endian."""
    digest = hashlib.sha256()
    for name, array in tensors.items():
        digest.update(f"{name} {'x'.join(map(str, array.shape))}\n".encode())
        digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def _known(data: bytes) -> str:
    """The published file that these bytes are, by all digests that are known of it."""
    for name, (_, published) in KNOWN.items():
        if len(data) == published.size:
            digests = {"md5": published.md5, "sha256": published.sha256}
            if all(hashlib.new(kind, data, usedforsecurity=False).hexdigest() == digest
                   for kind, digest in digests.items() if digest):
                return name
    return ""


def _graph_in(path: Path) -> bytes:
    found = [data for _, data in tar_members(path, GRAPHS, MAX_FILE, 2 * MAX_FILE)]  # to the archive's end
    if found:
        return found[0]
    raise FailedWork(f"{path}: an archive without {' or '.join(sorted(GRAPHS))}; if PyTorch before 0.4 wrote it, load "
                     "it with a newer one and save it again")


def _read(data: bytes, path: Path) -> tuple[str, dict[str, np.ndarray], str, dict[str, str]]:
    """Kind, tensors, format in words, and what is noted in files that minigan wrote."""
    if data.startswith((ZIP, torch_weights.LEGACY)):
        found = torch_weights.read(data, str(path))
        form = "PyTorch, zip" if data.startswith(ZIP) else "PyTorch, legacy"
        return *_from_torch(found, path, ""), form, {}
    if data.startswith(keras_weights.SIGNATURE):
        if not keras_weights.is_checkpoint(data):
            return KERAS, _from_keras(keras_weights.read(data, str(path)), path), "Keras, HDF5", {}
        saved = hdf5_state.load(path).get("inception")
        if not isinstance(saved, dict) or not isinstance(saved.get("tensors"), dict):
            raise FailedWork(f"{path}: a checkpoint of a training run, expected weights of Inception")
        noted = {key: text for key, text in saved.items() if isinstance(text, str)}
        arrays = {name: array for name, array in saved["tensors"].items() if isinstance(array, np.ndarray)}
        return *_from_torch(arrays, path, noted.get("kind", "")), MINIGAN, noted
    if safetensors.looks_like(data):
        found, noted = safetensors.read(data, str(path))
        return *_from_torch(found, path, noted.get("kind", "")), "safetensors", noted
    if data[:1] in (b"\n", b"\x12", b'"'):  # tags of a graph's fields: nodes, functions, versions
        return ORIGINAL, _from_graph(tensorflow_graph.read(data, str(path)), path), "TensorFlow graph", {}
    raise FailedWork(f"{path}: no file of weights; expected one of PyTorch (.pth), TensorFlow (.pb, or its .tgz), "
                     f"Keras (.h5), safetensors, or {MINIGAN}")


# ---- names and layouts ---------------------------------------------------------------------------------------------

def _from_torch(found: Mapping[str, np.ndarray], path: Path, kind: str) -> tuple[str, dict[str, np.ndarray]]:
    """Kind and tensors of a file that has PyTorch's names; kind: what the file says, or ""."""
    found = {name: array for name, array in found.items()
             if not name.endswith(".num_batches_tracked") and not name.startswith("AuxLogits.")}
    if kind not in (ORIGINAL, KERAS, TORCHVISION):
        last = found.get("fc.weight")
        kind = ORIGINAL
        if last is not None and last.shape == inception.tensors(TORCHVISION)["fc.weight"]:
            kind = TORCHVISION
    expected = _expected(kind, kind == KERAS and not any(name.startswith("fc.") for name in found))
    tensors = _chosen(expected, {name: (name, "") for name in expected}, found, kind, path)
    strange = [brief(name) for name in found if name not in expected]
    if strange:
        raise FailedWork(f"{path}: holds tensors that {kind} does not have: {listed(strange, 3)}")
    return kind, tensors


def _from_graph(found: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Tensors of TensorFlow's graph; other constants are passed over."""
    expected = inception.tensors(ORIGINAL)
    return _chosen(expected, tensorflow_names(expected), found, ORIGINAL, path)


def tensorflow_names(expected: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """PyTorch's names -> the graph's, and how its axes become PyTorch's.

    Blocks are conv, conv_1, ... and mixed, mixed_1, ... In a block, a branch of one convolution is "conv", longer ones
    and the one that pools are tower, tower_1, ..., their convolutions conv, conv_1, ...; where a branch ends in two
    side by side, a and b, these are mixed/conv and mixed/conv_1.
    """
    places: dict[str, str] = {}
    blocks = {"Conv2d": 0, "Mixed": 0}  # how many of each there were
    block = branch = ""
    towers = 0
    for module in _modules(expected):
        stem, _, rest = module.partition(".")
        if stem != block:
            block, branch, towers = stem, "", 0
            family = stem.partition("_")[0]
            top = _counted("conv" if family == "Conv2d" else "mixed", blocks[family])
            blocks[family] += 1
        name, number, letter = _branch(rest)
        if not rest:
            places[module] = top
        elif not number and name != "branch_pool":
            places[module] = f"{top}/conv"
        else:
            towers += name != branch
            tower = f"{top}/{_counted('tower', towers - 1)}"
            places[module] = (f"{tower}/mixed/{_counted('conv', 'ab'.index(letter))}" if letter else
                              f"{tower}/{_counted('conv', max(number - 1, 0))}")
        branch = name
    endings = {"conv.weight": ("conv2d_params", "hwio->oihw"), "bn.weight": ("batchnorm/gamma", ""),
               "bn.bias": ("batchnorm/beta", ""), "bn.running_mean": ("batchnorm/moving_mean", ""),
               "bn.running_var": ("batchnorm/moving_variance", "")}
    named = {f"{module}.{ending}": (f"{place}/{theirs}", axes) for module, place in places.items()
             for ending, (theirs, axes) in endings.items()}
    named |= {"fc.weight": ("softmax/weights", "io->oi"), "fc.bias": ("softmax/biases", "")}
    return {name: named[name] for name in expected}


def _from_keras(found: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Tensors of Keras' InceptionV3. The k-th convolution that was made is the k-th of PyTorch's order.

    Layers are counted by the numbers in their names, as in conv2d, conv2d_1, ... In .weights.h5 these count by depth
    instead: how many layers there are from one to the end of its block, the most first. Files named _notop have no
    last layer.
    """
    by_depth = any(name.endswith("/0") for name in found)
    top = "dense" if by_depth else "predictions"
    expected = _expected(KERAS, not any(name.startswith(f"{top}/") for name in found))
    modules = _modules(expected)
    if by_depth:
        modules = _by_depth(modules)
    endings = [("conv2d", {"conv.weight": ("kernel", "hwio->oihw")}),
               ("batch_normalization", {"bn.bias": ("beta", ""), "bn.running_mean": ("moving_mean", ""),
                                        "bn.running_var": ("moving_variance", "")})]
    named: dict[str, tuple[str, str]] = {}
    for layer, variables in endings:
        layers = _layers(found, layer)
        if len(layers) != len(modules):
            raise FailedWork(f"{path}: has {len(layers)} layers {layer}, expected {len(modules)} as Keras' InceptionV3")
        for module, own in zip(modules, layers, strict=True):
            named |= {f"{module}.{ending}": (f"{own}/{number if by_depth else variable}", axes)
                      for number, (ending, (variable, axes)) in enumerate(variables.items())}
    named |= {"fc.weight": (f"{top}/{0 if by_depth else 'kernel'}", "io->oi"),
              "fc.bias": (f"{top}/{1 if by_depth else 'bias'}", "")}
    used = {theirs for theirs, _ in named.values()}
    strange = [brief(name) for name in found if name not in used and name.startswith(("conv2d", "batch_norm"))]
    if strange:  # such as gamma, which Keras' InceptionV3 has not
        raise FailedWork(f"{path}: holds variables that Keras' InceptionV3 does not have: {listed(strange, 3)}")
    return _chosen(expected, named, found, KERAS, path)


def _expected(kind: str, without_last: bool) -> dict[str, tuple[int, ...]]:
    """The kind's tensors; those of the last layer may be left out."""
    return {name: shape for name, shape in inception.tensors(kind).items()
            if not (without_last and name.startswith("fc."))}


def _layers(found: Mapping[str, np.ndarray], kind: str) -> list[str]:
    """The layers conv2d, conv2d_1, ... in the order of their numbers."""
    names = {re.fullmatch(rf"{kind}(?:_([0-9]{{1,9}}))?", name.partition("/")[0]) for name in found}
    matches = {match[0]: int(match[1] or 0) for match in names if match}
    return sorted(matches, key=lambda name: (matches[name], name))


def _by_depth(modules: list[str]) -> list[str]:
    """The modules of each block in the order of their distance from its end, the farthest first."""
    split = [(module.partition(".")[0], *_branch(module.partition(".")[2])) for module in modules]
    longest: dict[tuple[str, str], int] = {}  # how many convolutions one branch has in a row
    last: dict[str, int] = {}  # number of each block
    for block, name, number, _ in split:
        longest[block, name] = max(longest.get((block, name), 0), number)
        last.setdefault(block, len(last))
    lettered = {(block, name) for block, name, _, letter in split if letter}  # one more, which puts a and b together

    def order(i: int) -> tuple[int, int, int]:
        block, name, number, _ = split[i]
        return last[block], -(longest[block, name] - number + ((block, name) in lettered)), i

    return [modules[i] for i in sorted(range(len(modules)), key=order)]


def _modules(expected: Mapping[str, object]) -> list[str]:
    return [name.removesuffix(".conv.weight") for name in expected if name.endswith(".conv.weight")]


def _branch(rest: str) -> tuple[str, int, str]:
    """ "branch3x3_2a" -> "branch3x3", 2, "a"; the number is 0 where there is none."""
    found = re.fullmatch(r"(.*?)(?:_([0-9])([ab]?))?", rest)
    assert found is not None, "all of it is optional"
    name, number, letter = found.groups()
    return name, int(number or 0), letter or ""


def _counted(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _chosen(expected: Mapping[str, tuple[int, ...]], named: Mapping[str, tuple[str, str]],
            found: Mapping[str, np.ndarray], kind: str, path: Path) -> dict[str, np.ndarray]:
    """The expected tensors as float32, from the views in the file; shapes are compared before memory is taken."""
    views = {}
    for name, shape in expected.items():
        theirs, axes = named[name]
        if theirs not in found:
            missing = sum(named[other][0] not in found for other in expected)
            if missing == len(expected) and found:
                others = listed([brief(other) for other in found], 3)
                raise FailedWork(f"{path}: the weights of another network ({others}); expected those of {kind}, which "
                                 f"begin with '{theirs}'")
            raise FailedWork(f"{path}: has no '{theirs}' {brief(_untold(shape, axes))}, and {missing} of the "
                             f"{len(expected)} tensors of {kind} are missing")
        given = found[theirs]
        if given.shape != _untold(shape, axes):
            raise FailedWork(f"{path}: '{theirs}' has the shape {brief(given.shape)}, expected "
                             f"{brief(_untold(shape, axes))} as in {kind}")
        theirs, _, ours = axes.partition("->")
        views[name] = given.transpose([theirs.index(axis) for axis in ours]) if axes else given
    tensors = {}
    for name, given in views.items():
        try:
            array = float32(given)
        except ValueError as error:
            raise FailedWork(f"{path}: '{named[name][0]}' {error}") from None
        if not np.isfinite(array).all() or (name.endswith("running_var") and array.min(initial=0) < 0):
            raise FailedWork(f"{path}: '{named[name][0]}' holds numbers that cannot be: not finite, or a variance "
                             "below 0; the file is damaged")
        tensors[name] = array
    return tensors


def _untold(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """PyTorch's shape in the file's layout."""
    theirs, _, ours = axes.partition("->")
    return tuple(shape[ours.index(axis)] for axis in theirs) if axes else shape
