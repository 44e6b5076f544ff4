"""What may import what, and other promises that the source text itself can show."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "minigan"
FILES = sorted(PACKAGE.glob("*.py"))
MAX_LINES = 450

# A file imports only from lines above its own. A new file gets a place here.
LEVELS = """
    __init__
    errors charts
    profiles papers_table
    backend presets progress files pickles shapes archives stored
    cuda explain alarms frechet neighbours ms_ssim
    launchers thumbnails scores
    launchers_all protocols torch_files graphdef safetensors_files keras_files
    stored_scores coverage winograd fused download pictures resample inception_input inception_table
    datafiles
    autograd im2col runs image_folder cifar idx stl10 svhn packed
    shaping inception
    ops datasets
    pack
    conv losses optim checkpoint
    weights
    spectral initializers
    norms
    layers
    networks
    cnn mnist resnet
    models
    saved sampling network_table weight_files
    classifier
    gan features
    diagnostics scoring
    curves
    train
    sweep
    reproduce figure_data
    deviations
    report figure_plots
    watch figure_layers
    figures
    view_commands score_commands classifier_commands
    cli
    __main__
"""
LEVEL = {name: level for level, line in enumerate(LEVELS.split("\n")) for name in line.split()}


def imports(tree: ast.AST) -> list[str]:
    """Dotted names of all that is imported, wherever it stands; relative imports as minigan's own."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, ["minigan" if node.level else "", node.module]))
            # from minigan import ops: the module is minigan.ops
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "minigan" else [module]
    return found


def faults(name: str, source: str) -> list[str]:
    """What the file minigan/<name>.py does that the layout forbids."""
    if name == "__init__":  # the face of the package: it names what users import
        return []
    if name not in LEVEL:
        return [f"minigan/{name}.py has no level: add it to LEVELS in tests/test_layout.py"]
    tree = ast.parse(source)
    found = []
    for module in imports(tree):
        top, *rest = module.split(".")
        if top == "minigan" and rest and rest[0] != "__version__":
            if LEVEL.get(rest[0], len(LEVEL)) >= LEVEL[name]:
                found.append(f"minigan/{name}.py imports {module}, which is not on a lower level")
        if top == "torch" or (top == "cupy" and name != "backend"):
            found.append(f"minigan/{name}.py imports {top}; only backend.py imports cupy, and nobody torch")
        if top in ("pickle", "_pickle", "cPickle", "dill", "joblib", "shelve", "marshal"):
            found.append(f"minigan/{name}.py imports {top}; minigan/formats/pickles.py reads such files safely")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("eval", "exec", "__import__", "importlib.import_module", "import_module"):
            found.append(f"minigan/{name}.py, line {node.lineno}: {called}() hides what is run")
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                found.append(f"minigan/{name}.py, line {node.lineno}: allow_pickle runs code from a file")
    lines = source.count("\n")
    if lines > MAX_LINES:
        found.append(f"minigan/{name}.py has {lines} lines, more than {MAX_LINES}: more than one idea")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_keeps_to_the_layout(file):
    assert faults(file.stem, file.read_text(encoding="utf-8")) == []


def test_the_package_is_flat():
    assert FILES
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert folders == []


@pytest.mark.parametrize(
    "name, source",
    [
        ("ops", "from minigan import train"),
        ("ops", "from minigan.datasets import load"),
        ("ops", "import minigan.conv"),
        ("ops", "from . import conv"),
        ("ops", "from .ops import add"),
        ("ops", "def f():\n    from minigan.layers import Linear"),
        ("ops", "from minigan.unlisted import x"),
        ("ops", "if TYPE_CHECKING:\n    from minigan.layers import Layer"),
        ("ops", "if DEBUG:\n    from minigan import layers"),
        ("unlisted", ""),
        ("ops", "import cupy.cuda"),
        ("backend", "from torch import nn"),
        ("pickles", "import pickle"),
        ("pickles", "from pickle import loads"),
        ("datasets", "numpy.load(path, allow_pickle=True)"),
        ("datasets", "importlib.import_module('cupy')"),
        ("datasets", "eval(text)"),
        ("ops", "x = 1\n" * (MAX_LINES + 1)),
    ],
)
def test_a_fault_is_found(name, source):
    assert len(faults(name, source)) == 1


@pytest.mark.parametrize(
    "name, source",
    [
        ("ops", "from minigan import backend\nfrom minigan.autograd import Op\nfrom . import errors"),
        ("cli", "from minigan import __version__, train"),
        ("backend", "def f():\n    import cupy"),
        ("pickles", "import pickletools"),
        ("ops", "x = 1\n" * MAX_LINES),
    ],
)
def test_what_is_allowed_passes(name, source):
    assert faults(name, source) == []
