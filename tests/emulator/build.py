"""g++ and what it has built: the runtime once, each kernel file once per text, kept in a per-user cache folder."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import platformdirs
import pytest

HERE = Path(__file__).resolve().parent
RUNTIME = [HERE / name for name in ("scheduler.cpp", "checker.cpp", "clock.cpp", "profile.cpp")]
HEADERS = [HERE / name for name in ("runtime.h", "fibers.h")]
SHIM = HERE / "shim.h"
KEPT_SECONDS = 30 * 24 * 3600  # builds that nobody asked for in a month are removed


class CompileError(RuntimeError):
    """g++ refused a kernel file; its message follows."""


@functools.cache
def compiler() -> tuple[str, str]:
    """g++'s path and version. Without g++ the running test is skipped, with a warning; in CI it fails."""
    path = shutil.which("g++")
    if path is None:
        if os.environ.get("CI"):
            raise RuntimeError("CI is set and g++ is missing: without it no kernel is tested")
        reason = "g++ is missing: NO CUDA KERNEL IS TESTED; install g++"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason, allow_module_level=True)
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return path, f"{version} {platform.machine()}"


@functools.cache
def cache() -> Path:
    """A folder that only this user can write to: what lies in it is loaded and run."""
    folder = Path(platformdirs.user_cache_dir("minigan")) / "emulator"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # no home, or a read-only one: built anew in every process
        folder = Path(tempfile.mkdtemp(prefix="minigan-emulator-"))
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to somebody else: remove it, or set XDG_CACHE_HOME")
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.stat().st_mtime < time.time() - KEPT_SECONDS:
            path.unlink(missing_ok=True)
    return folder


@functools.cache
def runtime() -> Path:
    """The shared library of the scheduler and the checker."""
    flags = ["-std=c++17", "-O2", "-g1", "-fPIC", "-shared", "-fno-exceptions"]
    key = _hash(*(path.read_text(encoding="utf-8") for path in RUNTIME + HEADERS), *flags)

    def build(target: Path) -> None:
        _run([*flags, f"-Wl,-soname,{key}.so", *map(str, RUNTIME), "-o", str(target)])
    return _cached(key, build)


def kernels(text: str, flags: tuple[str, ...]) -> Path:
    """The shared library of a kernel file, compiled behind the shim and tied to the runtime."""
    key = _hash(text, SHIM.read_text(encoding="utf-8"), runtime().name, *flags)

    def build(target: Path) -> None:
        source, code = target.with_suffix(".cpp"), target.with_suffix(".o")
        try:
            source.write_text(text, encoding="utf-8")
            _run([*flags, "-fPIC", "-include", str(SHIM), "-c", str(source), "-o", str(code)])
            # not with -fsanitize: that would add g++'s own libraries, and the runtime is there in their place
            _run(["-shared", "-Wl,-Bsymbolic", str(code), str(runtime()), "-o", str(target)])
        finally:
            source.unlink(missing_ok=True)
            code.unlink(missing_ok=True)
    return _cached(key, build)


def cublas() -> Path:
    """The shared library that stands for cuBLAS."""
    source, flags = HERE / "cublas.cpp", ["-std=c++17", "-O1", "-fPIC", "-shared"]
    return _cached(_hash(source.read_text(encoding="utf-8"), *flags),
                   lambda target: _run([*flags, str(source), "-o", str(target)]))


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join([compiler()[1], *texts]).encode()).hexdigest()[:32]


def _cached(key: str, build) -> Path:
    target = cache() / f"{key}.so"
    if target.exists():
        target.touch()
    else:
        partial = cache() / f"{key}.{os.getpid()}.part"
        try:
            build(partial)
            partial.replace(target)  # whole or not at all, whoever else builds the same
        finally:
            partial.unlink(missing_ok=True)
    return target


def _run(arguments: list[str]) -> None:
    english = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run([compiler()[0], *arguments], capture_output=True, text=True, env=english)
    if done.returncode:
        raise CompileError(done.stderr)
