"""What users install: the wheel holds what it should, and works in an environment of its own."""

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
def scripts(wheel, tmp_path_factory) -> Path:
    """The programs' folder of a fresh environment that has the wheel, and by a .pth file our dependencies."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(here)))
    return scripts


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


def test_the_wheel_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert f"\nVersion: {minigan.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    needed = {line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    always = {requirement.split(">")[0].strip() for requirement in needed if "extra ==" not in requirement}
    assert always == {"numpy", "pillow", "h5py", "click", "threadpoolctl", "platformdirs"}


def test_the_source_archive_gives_the_same_wheel(source, wheel, tmp_path):
    hook = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", hook, tmp_path, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    again = build_wheel(archive, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as a, zipfile.ZipFile(again) as b:
        assert sorted(a.namelist()) == sorted(b.namelist())


def test_the_installed_package_is_complete_far_from_the_checkout(scripts, tmp_path):
    program = (
        "import importlib.resources, minigan;"
        "print(minigan.__file__);"
        "print((importlib.resources.files('minigan') / 'kernels' / 'README.md').read_text()[:14])"
    )
    path, title = run(scripts / "python", "-c", program, cwd=tmp_path).splitlines()
    assert Path(path).is_relative_to(scripts.parent)
    assert title == "# CUDA kernels"


def test_the_installed_command_runs_far_from_the_checkout(scripts, tmp_path):
    assert minigan.__version__ in run(scripts / "minigan", "--version", cwd=tmp_path)
    assert minigan.__version__ in run(scripts / "python", "-m", "minigan", "--version", cwd=tmp_path)
    assert "numpy" in run(scripts / "minigan", "info", cwd=tmp_path).lower()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'h5py', 'PIL', 'torch', 'cupy', 'click'}"
    program = f"import sys, minigan; print(sorted({heavy} & set(sys.modules)))"
    assert run(sys.executable, "-c", program, cwd=ROOT).strip() == "[]"
