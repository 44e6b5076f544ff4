"""What may import what, and other promises that the source text itself can show."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "minigan"
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MAX_LINES = 450
MAX_FILES = 15

# A file imports only from its own folder (its inner folders included) or from lower lines. A new folder gets a place.
ROOMS = """
    __init__ __main__
    cli
    library
    views
    studies
    exchange
    training
    networks metrics
    nn data
    engine experiment formats parallel
    errors
"""
FLOOR = {room: floor for floor, line in enumerate(ROOMS.strip().splitlines()[::-1]) for room in line.split()}

# Besides: room -> what it imports of the package, or does not.
ONLY = {"engine": {"errors"}}
NEVER = {"nn": {"experiment"}, "networks": {"experiment"}}
# What shows runs reads them through these files, and asks their networks; a trainer is not among them.
VIEWS_OF_TRAINING = {"training/run_folder", "training/run_record", "training/restore", "training/sampling"}

# What writes files, and the calls that are allowed elsewhere, each with its reason.
WRITERS = {"formats/whole", "formats/locks"}
ALLOWED = {
    "os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_CLOEXEC', 0) | "
    "getattr(os, 'O_BINARY', 0))",  # untrusted.open_file, which only reads
    "open(os.devnull, 'w')", "os.open(os.devnull, os.O_RDWR)",  # streams that are missing or broken
    "os.open(os.devnull, os.O_WRONLY)",
    "file.truncate(0)",  # of one that whole.open_lasting has opened
    "os.open(folder, os.O_RDONLY)",  # a folder, to be locked
    "h5py.File(part, 'w', libver=('earliest', 'v108'), locking=False)",  # a file that whole.beside has made
    "h5py.File(self.part, 'r+', locking=False)",  # a file that whole.open_lasting has opened
    "tempfile.mkdtemp(prefix='minigan-')",
    "shutil.copytree(self.folder, where, dirs_exist_ok=True)",  # into a new folder
}

# What opens files of somebody else's, and the calls that are allowed elsewhere, each with its reason.
READERS = {"formats/untrusted"}
OPENED = {
    "Path('/proc/cpuinfo').read_text()", "path.read_text(encoding='utf-8')",  # the system's; minigan's own kernels
    "zipfile.ZipFile(file)", "zipfile.is_zipfile(file)", "Image.open(stream, formats=formats)",  # opened already
    "Image.open(file, formats=('PNG',))",
    "zipfile.ZipFile(self.file)", "np.fromfile(file, dtype, n)",
    "h5py.File(path, 'r', locking=False)", "h5py.is_hdf5(path)",  # after check_file, or is_file
}
IN_MEMORY = ("BytesIO(", "io.BytesIO(", "h5py.h5f.create(")

WITHOUT = """
import importlib, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in {"minigan", "numpy", "threadpoolctl", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {top!r}")

sys.meta_path.insert(0, Nothing())
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name)

import numpy as np
from minigan.experiment.experiment import Experiment
from minigan.training.gan import Training

images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
training = Training(Experiment(width=0.02, batch_size=2), images)
training.iterate()
print(training.sample(training.preview).shape)
"""


def room_of(name: str) -> str:
    return name.split("/")[0]


def imports(tree: ast.AST, name: str = "__init__") -> list[str]:
    """Dotted names of all that the file minigan/<name>.py imports, wherever it stands; relative ones in full."""
    found, folders = [], ["minigan", *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = folders[:len(folders) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*above, node.module]))
            # from minigan.engine import ops: the module is minigan.engine.ops
            inner = module.replace("minigan", "", 1).strip(".").replace(".", "/")
            package = module == "minigan" or module.startswith("minigan.") and inner not in FILES
            found += [f"{module}.{alias.name}" for alias in node.names] if package else [module]
    return found


def own(name: str, source: str) -> list[str]:
    """The files of the package that minigan/<name>.py imports, as FILES names them."""
    found = []
    for module in imports(ast.parse(source), name):
        if module.split(".")[0] == "minigan":
            found.append("/".join(module.split(".")[1:]) or "__init__")
    return [target for target in dict.fromkeys(found) if target != "__version__"]


def faults(name: str, source: str) -> list[str]:
    """What the file minigan/<name>.py does that the layout forbids."""
    room, found = room_of(name), []
    if room not in FLOOR:
        return [f"minigan/{name}.py: the folder {room} has no place: add it to ROOMS in tests/test_layout.py"]
    for target in own(name, source) if room != "__init__" else []:  # the face of the package names what users import
        there = room_of(target)
        if there != room and FLOOR.get(there, len(FLOOR)) >= FLOOR[room]:
            found.append(f"minigan/{name}.py imports {target}, and {there} is not below {room}")
        elif there != room and (there not in ONLY.get(room, {there}) or there in NEVER.get(room, ())):
            found.append(f"minigan/{name}.py imports {target}: {room} does not know {there}")
        elif room == "views" and there == "training" and target not in VIEWS_OF_TRAINING:
            found.append(f"minigan/{name}.py imports {target}: a view reads runs through {VIEWS_OF_TRAINING}")
    tree = ast.parse(source)
    for module in imports(tree, name):
        top = module.split(".")[0]
        if top == "torch" or (top == "cupy" and name != "engine/devices"):
            found.append(f"minigan/{name}.py imports {top}; only engine/devices.py imports cupy, and nobody torch")
        if top in ("pickle", "_pickle", "cPickle", "dill", "joblib", "shelve", "marshal"):
            found.append(f"minigan/{name}.py imports {top}; formats/pickles.py reads such files safely")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if name not in WRITERS and (written := writes(node)):
            found.append(f"minigan/{name}.py, line {node.lineno}: {written} writes; formats/whole.py does that safely")
        if name not in READERS | WRITERS and (opened := opens(node)):
            found.append(f"minigan/{name}.py, line {node.lineno}: {opened} may hang; untrusted.open_file does not")
        if called in ("eval", "exec", "__import__", "importlib.import_module", "import_module"):
            found.append(f"minigan/{name}.py, line {node.lineno}: {called}() hides what is run")
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                found.append(f"minigan/{name}.py, line {node.lineno}: allow_pickle runs code from a file")
    lines = source.count("\n")
    if lines > MAX_LINES:
        found.append(f"minigan/{name}.py has {lines} lines, more than {MAX_LINES}: more than one idea")
    return found


def writes(node: ast.Call) -> str:
    """The call as it stands there, if it changes the disk without formats/whole.py; "" if it does not."""
    called, text = ast.unparse(node.func), ast.unparse(node)
    last = called.rpartition(".")[2]
    if text in ALLOWED or called == "formatter.write_text":  # click's, to a screen
        return ""
    if last in ("write_text", "write_bytes", "touch", "mkdir", "makedirs", "rename", "replace", "renames", "mkstemp",
                "NamedTemporaryFile", "copyfile", "copy2", "copytree", "move", "symlink_to", "link", "symlink",
                "tofile", "savetxt", "truncate") and not (last == "replace" and called != "os.replace"):
        return text
    if called == "os.getpid":  # containers on one disk have the same
        return text
    if called == "os.open" or last in ("open", "File") and any(
            isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set("wax+") & set(mode.value)
            and len(mode.value) <= 3 for mode in [*node.args, *(keyword.value for keyword in node.keywords)]):
        return text
    file = node.args[0] if node.args else None
    if last in ("save", "savez", "savez_compressed") and called.split(".")[0] in ("np", "numpy", "Image") and not (
            isinstance(file, ast.Name) and file.id in ("data", "file")):  # in memory
        return text
    return ""


def opens(node: ast.Call) -> str:
    """The call as it stands there, if it opens a file for reading without formats/untrusted.py; "" if it does not."""
    called, text = ast.unparse(node.func), ast.unparse(node)
    last = called.rpartition(".")[2]
    mode = ast.unparse(node.args[1]) if len(node.args) > 1 else ""
    if writes(node) or mode == "'w'" or text in OPENED | ALLOWED or text[len(called) + 1:].startswith(IN_MEMORY):
        return ""
    if last in ("read_text", "read_bytes", "is_zipfile", "is_hdf5", "fromfile", "loadtxt", "genfromtxt", "memmap") or \
            called in ("open", "path.open", "h5py.File", "zipfile.ZipFile", "tarfile.open", "gzip.open", "Image.open"):
        return text
    return ""


def cycles(arrows: dict[str, list[str]]) -> list[list[str]]:
    """The ways round in a graph, name -> names: each as the names in order, the first again at the end."""
    found, done = [], set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name):], name])
        elif name not in done:
            for target in arrows.get(name, []):
                visit(target, [*way, name])
            done.add(name)
    for name in arrows:
        visit(name, [])
    return found


def reached(name: str, arrows: dict[str, list[str]]) -> set[str]:
    """All files that importing this one brings with it, itself included."""
    found, stack = set(), [name]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += arrows.get(name, [])
    return found


@pytest.fixture(scope="module")
def arrows() -> dict[str, list[str]]:
    """Every file of the package -> the files it imports."""
    return {name: [target for target in own(name, path.read_text(encoding="utf-8")) if target in FILES]
            for name, path in FILES.items()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_keeps_to_the_layout(name):
    assert faults(name, FILES[name].read_text(encoding="utf-8")) == []


def test_no_file_imports_itself_by_way_of_others(arrows):
    assert cycles(arrows) == []


def test_every_folder_says_what_belongs_there_and_is_no_corridor():
    folders = [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name not in ("__pycache__", "kernels")]
    rooms = {path.name for path in folders if path.parent == PACKAGE}
    assert rooms | {"__init__", "__main__", "errors"} == FLOOR.keys()
    for folder in [PACKAGE, *folders]:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert 1 <= len(files) <= MAX_FILES, f"{folder.name} holds {len(files)} files"
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder.name


def test_showing_a_page_brings_no_trainer_and_little_else(arrows):
    page = reached("views/report", arrows)
    assert not {name for name in page if room_of(name) in ("engine", "nn", "networks")}
    assert not page & {"training/gan", "training/loop"} and len(page) <= 25, sorted(page)


def test_scoring_a_run_brings_no_trainer(arrows):
    assert not reached("training/scoring/score", arrows) & {"training/gan", "training/loop"}


def test_drawing_a_figure_brings_no_trainer(arrows):
    assert not reached("views/figures/catalogue", arrows) & {"training/gan", "training/loop", "nn/optimizers"}


def test_the_engine_up_to_the_algorithm_needs_numpy_and_threadpoolctl_alone():
    """Imported, and trained with, in a process of its own that finds no other library but Python's own."""
    names = [f"minigan.{name}".removesuffix("/__init__").replace("/", ".") for name in FILES
             if room_of(name) in ("__init__", "errors", "engine", "nn", "networks") or name == "training/gan"]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *names], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)})
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [*names, "(64, 16, 16, 3)"]


@pytest.mark.parametrize(
    "name, source",
    [
        ("engine/ops", "from minigan.training import loop"),
        ("engine/ops", "from minigan.data.datasets import load"),
        ("engine/ops", "import minigan.nn.layers"),
        ("engine/ops", "from minigan.formats import whole"),
        ("engine/ops", "from minigan import cli"),
        ("engine/ops", "def f():\n    from minigan.nn.layers import Linear"),
        ("engine/ops", "from minigan.unlisted import x"),
        ("engine/ops", "from ..nn import layers"),
        ("engine/ops", "if TYPE_CHECKING:\n    from minigan.nn.layers import Layer"),
        ("engine/ops", "if DEBUG:\n    from minigan.nn import layers"),
        ("nn/layers", "from minigan.experiment.experiment import Experiment"),
        ("networks/cnn", "from minigan.experiment import presets"),
        ("networks/cnn", "from minigan.metrics import scores"),
        ("metrics/scores", "from minigan.networks import cnn"),
        ("errors", "from minigan.engine import ops"),
        ("views/report", "from minigan.training import loop"),
        ("views/figures/data", "from minigan.training.gan import Training"),
        ("unlisted/file", ""),
        ("engine/ops", "import cupy.cuda"),
        ("engine/devices", "from torch import nn"),
        ("formats/pickles", "import pickle"),
        ("formats/pickles", "from pickle import loads"),
        ("data/datasets", "numpy.load(path, allow_pickle=True)"),
        ("data/datasets", "importlib.import_module('cupy')"),
        ("data/datasets", "eval(text)"),
        ("training/recording/records", "open(path, 'ab')"),
        ("training/recording/records", "path.open(mode='w')"),
        ("training/recording/records", "path.write_text('a')"),
        ("training/recording/records", "os.replace(a, b)"),
        ("training/recording/records", "os.getpid()"),
        ("training/recording/records", "os.open(path, flags)"),
        ("data/pack", "h5py.File(path, 'w')"),
        ("metrics/frechet", "np.savez(path, mu=mean)"),
        ("metrics/frechet", "tempfile.NamedTemporaryFile()"),
        ("engine/ops", "x = 1\n" * (MAX_LINES + 1)),
    ],
)
def test_a_fault_is_found(name, source):
    assert len(faults(name, source)) == 1


@pytest.mark.parametrize(
    "name, source",
    [
        ("engine/ops", "from minigan.engine import devices\nfrom minigan.engine.autograd import Op"),
        ("engine/ops", "from minigan import errors\nfrom . import devices"),
        ("views/figures/data", "from .. import svg_charts\nfrom ...training import run_folder"),
        ("cli/main", "from minigan import __version__\nfrom minigan.training import loop"),
        ("views/figures/data", "from minigan.training import run_folder\nfrom minigan.views import svg_charts"),
        ("engine/devices", "def f():\n    import cupy"),
        ("formats/pickles", "import pickletools"),
        ("formats/whole", "os.replace(part, path)"),
        ("metrics/frechet", "np.savez(data, mu=mean)\nopen_file(path)\n"
                                "h5py.File(BytesIO(data), 'r')\ntext.replace('a', 'b')"),
        ("engine/ops", "x = 1\n" * MAX_LINES),
    ],
)
def test_what_is_allowed_passes(name, source):
    assert faults(name, source) == []


@pytest.mark.parametrize("arrows, count", [
    ({"a": ["b"], "b": ["c"], "c": []}, 0), ({"a": ["a"]}, 1), ({"a": ["b"], "b": ["a"]}, 1),
    ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, 0), ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, 1)])
def test_a_way_round_is_found(arrows, count):
    assert len(cycles(arrows)) == count
