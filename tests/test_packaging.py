"""What users install: the wheel holds what it should, and works in an environment of its own."""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import minigan

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ["minigan", "kernels", "setup.cfg", "pyproject.toml", "LICENSE", "README.md", "MANIFEST.in"]

pytest.importorskip("setuptools", reason="setuptools builds the wheel; it is in the extra [test]")


def run(*command, **how) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, **how
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(source: Path, out: Path) -> Path:
    """Build with the setuptools that is here: nothing is fetched."""
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", out, source)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what is packaged, so that building leaves nothing in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy(path, source / name)
    shutil.copytree(ROOT / "tests", source / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    hook = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", hook, out, cwd=source)
    (archive,) = out.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable"])
def scripts(request, tmp_path_factory) -> Path:
    """The programs' folder of a fresh environment that has minigan, and by a .pth file all else that is installed here.

    Not the minigan that is installed here: Python would find it before an editable one.
    """
    home = tmp_path_factory.mktemp(request.param)
    venv.create(home)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    dependencies = home / "dependencies"
    dependencies.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(place).iterdir():
            if not path.name.startswith(("minigan", "__editable__")):
                (dependencies / path.name).symlink_to(path)
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    what = ["--editable", request.getfixturevalue("source")] if request.param == "editable" else [
        request.getfixturevalue(request.param)]
    run(sys.executable, "-m", "pip", "--python", python, "install", "--ignore-installed", "--no-deps", "--no-index",
        "--no-build-isolation", *what)
    return scripts


def test_every_folder_of_the_package_is_listed(source):
    """An editable install finds a folder that setup.cfg forgets, a wheel does not have it."""
    settings = configparser.ConfigParser()
    settings.read(source / "setup.cfg", encoding="utf-8")
    listed = settings["options"]["packages"].split()
    folders = [path.parent.relative_to(source) for path in (source / "minigan").rglob("__init__.py")]
    assert sorted(listed) == sorted([".".join(folder.parts) for folder in folders] + ["minigan.kernels"])


def test_the_wheel_holds_the_package_the_kernels_and_nothing_else(source, wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = {name.split("/", 1)[1] for name in archive.namelist() if ".dist-info/" in name}
    python = {path.relative_to(source).as_posix() for path in (source / "minigan").rglob("*.py")}
    kernels = {f"minigan/kernels/{path.name}" for path in (source / "kernels").iterdir() if path.is_file()}
    assert "minigan/kernels/README.md" in kernels
    assert held == python | kernels | {"minigan/py.typed"}
    assert {"entry_points.txt", "METADATA"} <= metadata
    assert {"LICENSE", "licenses/LICENSE"} & metadata  # where it lies depends on setuptools


def test_ci_takes_the_oldest_python_and_dependencies_that_setup_cfg_admits(tmp_path):
    """The versions that .ci/run takes out of setup.cfg: one of each dependency, its lower bound."""
    meta = configparser.ConfigParser()
    meta.read(ROOT / "setup.cfg")
    bounds = meta["options"]["install_requires"].split()
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = script[script.index("    awk '/^install_requires/"):].split(" |\n")[0]
    assert run("bash", "-c", command, cwd=ROOT).split() == [bound.replace(">=", "==") for bound in bounds]
    oldest = meta["options"]["python_requires"].removeprefix(">=")
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert f'python: "{oldest}"' in ci.split('oldest: "1"')[0] and ci.count('oldest: "1"') == 1


def test_the_wheel_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert f"\nVersion: {minigan.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    needed = {line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    always = {requirement.split(">")[0].strip() for requirement in needed if "extra ==" not in requirement}
    assert always == {"numpy", "pillow", "h5py", "click", "threadpoolctl", "platformdirs"}


def test_the_source_archive_gives_the_same_wheel(sdist, wheel, tmp_path):
    again = build_wheel(sdist, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as a, zipfile.ZipFile(again) as b:
        assert sorted(a.namelist()) == sorted(b.namelist())


def test_the_installed_package_is_complete_far_from_the_checkout(scripts, source, tmp_path):
    program = """
import importlib, pkgutil, sys
import minigan
from minigan.engine import cuda
print(minigan.__file__)
for module in pkgutil.walk_packages(minigan.__path__, "minigan."):
    importlib.import_module(module.name)
    print(module.name)
for name in sys.argv[1:]:
    cuda.source(name)
"""
    kernels = [path.name for path in (source / "kernels").glob("*.cu")]
    assert kernels
    path, *found = run(scripts / "python", "-c", program, *kernels, cwd=tmp_path).splitlines()
    assert any(Path(path).is_relative_to(place) for place in (scripts.parent, source))
    files = [path.relative_to(source) for path in (source / "minigan").rglob("*.py")]
    modules = {".".join((path.parent if path.name == "__init__.py" else path.with_suffix("")).parts) for path in files}
    assert {"minigan", *found} == modules


def test_the_installed_command_runs_far_from_the_checkout(scripts, tmp_path):
    assert minigan.__version__ in run(scripts / "minigan", "--version", cwd=tmp_path)
    assert minigan.__version__ in run(scripts / "python", "-m", "minigan", "--version", cwd=tmp_path)
    assert "numpy" in run(scripts / "minigan", "info", cwd=tmp_path).lower()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'h5py', 'PIL', 'torch', 'cupy', 'click'}"
    program = f"import sys, minigan; print(sorted({heavy} & set(sys.modules)))"
    assert run(sys.executable, "-c", program, cwd=ROOT).strip() == "[]"
