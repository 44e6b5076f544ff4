"""Runs unchanged CUDA kernels on the CPU and reports what a GPU would not forgive. See README.md beside this file.

    module = emulator.Module(source, "saxpy.cu")
    x = emulator.memory.allocate(4000)
    emulator.memory.copy_from_host(x.address, array)
    module.launch("saxpy", (4,), (256,), [x, np.float32(2), np.int64(1000)])
"""

import sys

# There is one emulator, be it imported as `emulator` (pytest puts tests/ on the path) or as `tests.emulator`.
sys.modules.setdefault("emulator", sys.modules[__name__])
sys.modules[__name__] = sys.modules["emulator"]

# ruff: noqa: E402, I001
from emulator.build import CompileError, compiler
from emulator.device_memory import Buffer, Memory
from emulator.modes import Counters, Counts, checking, count, counters, order, profile, step_limit, time_limit
from emulator.module import Finding, KernelFault, Module

memory = sys.modules["emulator"].__dict__.setdefault("memory", Memory())

__all__ = ["Buffer", "CompileError", "Counters", "Counts", "Finding", "KernelFault", "Memory", "Module", "checking",
           "compiler", "count", "counters", "memory", "order", "profile", "step_limit", "time_limit"]
