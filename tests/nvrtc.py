"""Compile the CUDA kernels with NVIDIA's own compiler, and see what each needs: no GPU, no driver, no CuPy.

    python -m tests.nvrtc                 every kernel for every architecture
    python -m tests.nvrtc kernels/adam.cu 90

NVRTC comes in the wheel nvidia-cuda-nvrtc-cu12 (or nvidia-cuda-nvrtc for CUDA 13). The flags are those that CuPy
passes, and `--ptxas-options=-v`, which puts registers, shared memory, spills and stack into the log.
"""

import ctypes
import importlib.metadata
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
ARCHITECTURES = (70, 75, 80, 86, 89, 90, 100, 120)  # Volta, Turing, Ampere (2), Ada, Hopper, Blackwell (2)
WHEELS = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")  # of CUDA 12, of CUDA 13
FLAGS = ("--std=c++17", "-ftz=true", "-default-device", "--ptxas-options=-v")  # the first three are CuPy's
REGISTERS = 64  # more would leave room for fewer than 1024 threads on a processor with 64 K registers
TENSOR_CORES = "conv.cu"  # its blocks have 128 threads, which may have all registers that there are
MOST_REGISTERS, SINCE = 255, 80
TILES = ((128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128))  # that engine/loops/conv.py asks for
BITS = (10, 7)  # of a factor, behind the point: TF32, bfloat16
HALF = ("activation.cu", "batch_norm.cu", "conditional_norm.cu", "resample.cu", "sums.cu")  # activations in bfloat16
# Arrays in bfloat16: the first choice with every tile, the others with the largest, which needs most registers.
HALVES = (("HALF_A", "HALF_B", "HALF_OUT"), ("HALF_A", "HALF_OUT"), ("HALF_OUT",), ("HALF_A",), ("HALF_B",))
SHARED = 48 << 10  # bytes that a block may have without asking


class CompileError(Exception):
    """The source does not compile; the text is the compiler's log."""


def takes(name: str, arch: int) -> bool:
    """Whether the package compiles this file for this architecture."""
    return name != TENSOR_CORES or arch >= SINCE


def variants(name: str) -> list[tuple[str, ...]]:
    """The options with which the package compiles this file."""
    if name != TENSOR_CORES:
        return [(), ("-DHALF=1",)] if name in HALF else [()]
    sizes = [(f"-DROWS={rows}", f"-DCOLUMNS={columns}") for rows, columns in TILES]
    halves = [(size, HALVES[0]) for size in sizes] + [(sizes[0], defined) for defined in HALVES[1:]]
    return [(*size, f"-DBITS={bits}") for bits in BITS for size in sizes] + [
        (*size, "-DBITS=7", *(f"-D{define}=1" for define in defined)) for size, defined in halves]


@dataclass(frozen=True)
class Usage:
    """What one kernel needs on one architecture: registers of a thread, the rest in bytes."""

    registers: int
    shared: int
    spills: int
    stack: int


@cache
def library() -> ctypes.CDLL | None:
    """NVRTC from its wheel, or None."""
    for wheel in WHEELS:
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        names = (r"libnvrtc\.so\.\d+", r"nvrtc64_\d+_0\.dll")
        for file in files:
            if any(re.fullmatch(name, file.name) for name in names):
                return ctypes.CDLL(str(file.locate()))
    return None


def architectures() -> list[int]:
    """Those of ARCHITECTURES that this NVRTC knows: CUDA 13's has dropped the oldest."""
    nvrtc, count = library(), ctypes.c_int()
    assert nvrtc is not None, "no NVRTC"
    _do(nvrtc, "nvrtcGetNumSupportedArchs", ctypes.byref(count))
    known = (ctypes.c_int * count.value)()
    _do(nvrtc, "nvrtcGetSupportedArchs", known)
    return [arch for arch in ARCHITECTURES if arch in known]


def compile_source(source: str, arch: int, name: str = "source.cu", more: tuple[str, ...] = ()) -> str:
    """Compile for sm_<arch> and return the log; CompileError with the log if that fails."""
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc is not None, "no NVRTC"
    _do(nvrtc, "nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
    try:
        options = [*FLAGS, *more, f"-arch=sm_{arch}"]
        failed = nvrtc.nvrtcCompileProgram(
            program, len(options), (ctypes.c_char_p * len(options))(*(option.encode() for option in options)))
        size = ctypes.c_size_t()
        _do(nvrtc, "nvrtcGetProgramLogSize", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        _do(nvrtc, "nvrtcGetProgramLog", program, text)
        log = text.value.decode(errors="replace")
        if failed:
            raise CompileError(f"{name} does not compile for sm_{arch}:\n{log}")
        return log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def usages(log: str) -> dict[str, Usage]:
    """What ptxas says of each kernel in a log."""
    found = {}
    pattern = (r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
               r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)")
    for name, stack, stores, loads, registers, rest in re.findall(pattern, log, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", rest)
        found[name] = Usage(int(registers), int(shared[1]) if shared else 0, int(stores) + int(loads), int(stack))
    return found


def examine(source: str, arch: int, name: str = "source.cu",
            more: tuple[str, ...] = ()) -> tuple[dict[str, Usage], list[str]]:
    """What each kernel of a source needs, and what the contract forbids; the log where it does not compile."""
    try:
        log = compile_source(source, arch, name, more)
    except CompileError as error:
        return {}, [str(error)]
    registers = MOST_REGISTERS if name == TENSOR_CORES else REGISTERS
    faults = [line for line in log.splitlines() if "warning" in line.lower() and "are deprecated" not in line]
    used = usages(log)
    missing = set(re.findall(r"__global__ void (\w+)", source)) - set(used)
    faults += [f"{name}: the log says nothing of the kernel {kernel}" for kernel in sorted(missing)]
    for kernel, use in used.items():
        wrong = [f"{number} {what}" for number, most, what in (
            (use.registers, registers, "registers"), (use.shared, SHARED, "bytes of shared memory"),
            (use.spills, 0, "bytes of spills"), (use.stack, 0, "bytes of stack")) if number > most]
        if wrong:
            faults.append(f"{name}: {' '.join((kernel, *more))} on sm_{arch}: {', '.join(wrong)}")
    return used, faults


def main(arguments: list[str]) -> int:
    """Print registers and shared memory of every kernel on every architecture; 1 if there is a fault."""
    if library() is None:
        print(f"no NVRTC: pip install {WHEELS[0]}", file=sys.stderr)
        return 2
    files = [Path(a) for a in arguments if not a.isdigit()] or sorted(KERNELS.glob("*.cu"))
    archs = [int(a) for a in arguments if a.isdigit()] or architectures()
    found = []
    print("registers of a thread (+ bytes of shared memory of a block)")
    print(f"{'':32}" + "".join(f"{f'sm_{arch}':>10}" for arch in archs))
    for file, more in ((path, more) for path in files for more in variants(path.name)):
        examined = [examine(file.read_text(encoding="utf-8"), arch, file.name, more) if takes(file.name, arch) else
                    ({}, []) for arch in archs]
        found += [fault for _, faults in examined for fault in faults]
        print(" ".join((file.name, *more)))
        for kernel in sorted({kernel for used, _ in examined for kernel in used}):
            uses = [used.get(kernel) for used, _ in examined]
            cells = ("-" if use is None else f"{use.registers}+{use.shared}" if use.shared else str(use.registers)
                     for use in uses)
            print(f"  {kernel:30}" + "".join(f"{cell:>10}" for cell in cells))
    print("\n".join(["", *found]) if found else "no warning, no spill, no stack frame")
    return 1 if found else 0


def _do(nvrtc: ctypes.CDLL, function: str, *arguments: object) -> None:
    error = getattr(nvrtc, function)(*arguments)
    if error:
        raise OSError(f"{function}: NVRTC's error {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
