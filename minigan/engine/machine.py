"""On what a computation ran: versions, hardware, revision."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from minigan import __version__
from minigan.engine import devices, thread_pool


def machine(device: str = "cpu") -> dict[str, Any]:
    """Versions and hardware, for the record; with those of the GPU if the device is one."""
    return {"minigan": __version__, "python": platform.python_version(), "numpy": np.__version__,
            "h5py": version("h5py"), "pillow": version("pillow"),
            "blas": blas(), "platform": platform.platform(), "processor": _processor(), "cores": thread_pool.cores(),
            **(devices.cuda_facts() if device == "cuda" else {})}


def blas() -> list[str]:
    """The BLAS libraries in this process with their versions and kernels, as "openblas 0.3.31 (Haswell)", NumPy's among
    them; none where threadpoolctl knows none, as Apple's Accelerate.

    A kernel adds in an order of its own. So the same seed gives the same bytes under one kernel; OPENBLAS_CORETYPE
    chooses that of OpenBLAS.
    """
    return [f"{lib.get('internal_api')} {lib.get('version')} ({lib.get('architecture', '?')})"
            for lib in threadpool_info() if lib.get("user_api") == "blas"]


def provenance(device: str = "cpu") -> dict[str, Any]:
    """On what something is made, as a run's experiment.json keeps it: the machine, and minigan's revision."""
    return {"machine": machine(device), "git": git_revision()}


def _processor() -> str:
    try:
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def git_revision() -> str | None:
    """The revision of minigan's own checkout, with "+" if it was changed; None if it is not a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True,
                                  timeout=5, check=True).stdout.strip()
        changed = subprocess.run(["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True,
                                 text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changed else "")
