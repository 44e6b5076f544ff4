"""Comments, docstrings and pages name files and what is in them: it is there."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in ("docs", "bench", "kernels", "examples", "tests")
                                      for path in (ROOT / folder).rglob("*.md"))])
PYTHON = sorted(path for folder in ("minigan", "tests", "bench", "examples", "docs")
                for path in (ROOT / folder).rglob("*.py"))
CUDA = sorted((ROOT / "kernels").glob("*.cu"))

FILE = re.compile(r"(?<![\w/.-])((?:\.\./)?[\w/-]+\.(?:py|cu))\b")
MEMBER = re.compile(r"(?<![\w/.-])(\w+)\.([A-Za-z_]\w*)")
# Of other projects, and of examples.
OTHERS = {"cupy/__init__.py", "cupy/_environment.py", "examples/NN_name.py", "gan_cifar_resnet.py", "pickletools.py",
          "cuda.pathfinder", "images.mean", "losses.append", "saxpy.cu", "snresnet.py", "snresnet_128.py",
          "utils/util_convert_inception_weights.py"}
VARIABLES = {"data", "score"}  # modules whose names are those of variables in examples


def names_in(path: Path) -> set[str]:
    """All names that a source file gives to anything."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))} | {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


MODULES: dict[str, set[str]] = {}  # by their names without folders, of which some are there twice
for _path in (ROOT / "minigan").rglob("*.py"):
    MODULES.setdefault(_path.stem, set()).update(names_in(_path))


def prose(path: Path, text: str) -> list[str]:
    """What people read in a file: comments and docstrings, of a page all but blocks of code and the text of links."""
    if path.suffix == ".md":
        return [re.sub(r"```.*?```|\[[^]]*\](?=\()", "", text, flags=re.S)]
    if path.suffix == ".cu":
        return re.findall(r"//.*", text)
    comments = [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)
                if token.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return comments + [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text))
                       if isinstance(node, documented)]


def missing(path: Path, text: str) -> list[str]:
    """The files, and the module.names, that the file's prose names and that are not there."""
    found, places = [], (path.parent, *(ROOT / folder for folder in ("", "minigan", "tests", "kernels")))
    for passage in prose(path, text):
        found += [name for name in FILE.findall(passage)
                  if name not in OTHERS and not any((place / name).is_file() for place in places)]
        found += [f"{module}.{name}" for module, name in MEMBER.findall(passage)
                  if module in MODULES.keys() - VARIABLES and name not in MODULES[module]
                  and f"{module}.{name}" not in OTHERS
                  and name not in ("py", "cu", "json", "jsonl", "gif", "png", "svg", "html", "h5", "npz", "md")]
    return found


@pytest.mark.parametrize("path", [*PAGES, *PYTHON, *CUDA], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_named_is_there(path):
    assert missing(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", [
    "# see gone.py", "# see nn/im2col.py", "# see resize.py", '"""As formats/gone.py does it."""', "# losses.GONE",
    'def f():\n    """A name of losses.GONE."""', "class A:\n    # autograd.Gone\n    x = 1"])
def test_what_is_gone_is_found(text):
    assert len(missing(ROOT / "minigan" / "engine" / "ops.py", text)) == 1


@pytest.mark.parametrize("text", [
    "# see im2col.py, nn/losses.py, losses.LOSSES and log.jsonl", 'x = "gone.py"', "# of snresnet.py", "# e.g. data.x"])
def test_other_words_are_not(text):
    assert missing(ROOT / "minigan" / "engine" / "ops.py", text) == []
