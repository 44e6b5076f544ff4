"""A kernel file, compiled; its launches, with the argument checks that a GPU does not make; its faults in words."""

from __future__ import annotations

import ctypes
import functools
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from emulator import build
from emulator.device_memory import runtime
from emulator.modes import ORDERS, Counts, Line, Mode, Profile, record

MAX_THREADS, MAX_SHARED, MAX_STRUCT = 1024, 48 * 1024, 4096
MOST_SHARED = 227 * 1024  # that a block may have if it asks for it, on Hopper
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_BLOCK = (1024, 1024, 64)

CHECKS = "thread,bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero"
COMMON = ["-g", "-fno-strict-aliasing", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-ffp-contract=off",
          "-fno-gnu-unique",  # two files may have kernels or functions of one name
          "-fno-optimize-sibling-calls",  # a barrier is known by the address that it returns to
          "-fno-toplevel-reorder",  # the gaps between __shared__ arrays stay where they are
          "-Wno-unknown-pragmas", "-Werror=frame-larger-than=32768"]  # half a fiber's stack
# -Og: no load or store is moved or invented, so what the checker sees is what the source says.
CHECKED = [*COMMON, "-Og", f"-fsanitize={CHECKS}", "--param=tsan-instrument-func-entry-exit=0"]
PLAIN = [*COMMON, "-O2", "-fwrapv"]

KINDS = ["race in shared memory", "race in global memory", "race between blocks", "out of bounds", "use after free",
         "uninitialized memory", "barrier not reached by all", "divergent barrier", "warp mask", "exited lane",
         "misaligned", "integer overflow", "shift out of range", "division", "endless loop", "trap",
         "no memory for threads"]
DIVERGENT = KINDS.index("divergent barrier")
ACCESSES = ["reads", "writes", "updates atomically"]
MOST_FINDINGS = 32
PARAMETER_KINDS = ["pointer", "int", "int", "float", "struct", "int"]
SIGNED, UNSIGNED, FLOAT, STRUCT, BOOL = 1, 2, 3, 4, 5


# ---- what is found -------------------------------------------------------------------------------------------------

@dataclass
class Finding:
    """One mistake of a kernel: what, where, by which thread, and with whom."""

    kind: str
    kernel: str
    file: str
    line: int | None
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    message: str
    other_line: int | None = None
    other_block: tuple[int, int, int] | None = None
    other_thread: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return self.message


class KernelFault(Exception):
    """A launch in which the checker found something: one line per finding, `findings` for those who ask further."""

    def __init__(self, findings: Sequence[Finding]):
        super().__init__("\n".join(map(str, findings)))
        self.findings = list(findings)

    @property
    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.findings}


class _Finding(ctypes.Structure):
    """emu::Finding in runtime.h."""

    _fields_ = [*((name, ctypes.c_int) for name in ("kind", "access", "size", "other_access")),
                *((name, ctypes.c_uint64) for name in ("pc", "address", "other_pc")),
                *((name, ctypes.c_uint32) for name in ("block", "thread", "other_block", "other_thread")),
                *((name, ctypes.c_uint64) for name in ("region_begin", "region_size")),
                *((name, ctypes.c_int) for name in ("region_kind", "line")),
                ("text", ctypes.c_char * 160)]


class _ProfileLine(ctypes.Structure):
    """emu::Line in profile.cpp."""

    _fields_ = [("pc", ctypes.c_uint64), ("access", ctypes.c_int), ("shared", ctypes.c_int),
                *((name, ctypes.c_uint64) for name in ("requests", "units", "fewest"))]


# ---- what a file holds ---------------------------------------------------------------------------------------------

@dataclass
class _Source:
    """What the text says of a kernel, where C++ cannot be asked."""

    parameters: list[str]  # as written: "const float* x"
    bounds: str  # the argument of __launch_bounds__, or "0"


KERNEL = re.compile(r"__global__\s+(?P<before>(?:void|__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)|\s)+)"
                    r"(?P<name>[A-Za-z_]\w*)\s*\((?P<parameters>[^()]*)\)\s*\{")
DYNAMIC = re.compile(r"extern\s+__shared__\s+(?P<align>__align__\s*\(\s*\d+\s*\)\s*)?(?P<type>[A-Za-z_][\w\s:]*?)\s*"
                     r"\b(?P<name>[A-Za-z_]\w*)\s*\[\s*\]\s*;")

ASM = re.compile(r"\basm(?:\s+volatile)?\s*\((?P<inside>(?:\"[^\"]*\"|[^\";])*)\)\s*;")
PTX = {  # what the runtime knows of it, by the text -> the shim's function, which gets its operands in their order
    "cp.async.cg.shared.global [%0], [%1], 16, %2;": "emu_copy4",
    "cp.async.ca.shared.global [%0], [%1], %2, %3;": "emu_copy",
    "cp.async.commit_group;": "emu_commit",
    "cp.async.wait_group %0;": "emu_wait",
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];": "emu_matrices",
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];": "emu_matrices_turned",
    "cvt.rna.tf32.f32 %0, %1;": "emu_round",
    "cvt.rn.bf16x2.f32 %0, %1, %2;": "emu_round2",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};":
        "emu_mma8",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};":
        "emu_mma16",
}


def _without_comments(text: str) -> str:
    """The same text, line for line, its comments blank."""
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"",
                  lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0]), text, flags=re.S)


def _kernels(text: str) -> dict[str, _Source]:
    found = {}
    for match in KERNEL.finditer(text):
        bounds = re.search(r"__launch_bounds__\s*\((.*)\)", match["before"], re.S)
        parameters = [" ".join(part.split()) for part in match["parameters"].split(",")]
        found[match["name"]] = _Source([p for p in parameters if p not in ("", "void")],
                                       _first_argument(bounds[1]) if bounds else "0")
    return found


def _first_argument(text: str) -> str:
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            return text[:i]
    return text


def _type_and_name(parameter: str) -> tuple[str, str]:
    """("const float *", "x") of "const float* __restrict__ x"."""
    words = re.sub(r"\b(__restrict__|__restrict|__grid_constant__)\b", " ", parameter).replace("*", " * ").split()
    return " ".join(words[:-1]), words[-1]


def _flags(options: Sequence[str]) -> list[str]:
    """g++'s words for CuPy's options; what only a GPU's code could heed is dropped."""
    flags = []
    for option in options:
        if option.startswith(("--std=", "-std=")):
            flags.append("-std=" + option.split("=", 1)[1])
        elif option.startswith(("-D", "-I")):
            flags.append(option)
        elif not option.startswith(("-ftz=", "--ftz=", "--fmad=", "-fmad=", "--use_fast_math", "-use_fast_math",
                                    "-lineinfo", "--generate-line-info", "-default-device")):
            raise ValueError(f"emulator: option '{option}' is not known; add it to _flags in tests/emulator/module.py")
    return flags if any(flag.startswith("-std=") for flag in flags) else ["-std=c++17", *flags]


class _Parameter(ctypes.Structure):
    _fields_ = [("size", ctypes.c_int), ("kind", ctypes.c_int)]


class _Kernel(ctypes.Structure):
    """emu::Kernel in shim.h."""

    _fields_ = [("call", ctypes.c_uint64), ("largest_block", ctypes.c_int), ("count", ctypes.c_int),
                ("parameters", ctypes.POINTER(_Parameter))]


# ---- a compiled file -----------------------------------------------------------------------------------------------

class _Library:
    """One build of a file, loaded: its kernels' entries, where its code and its __shared__ arrays lie."""

    def __init__(self, path: Path, kernels: dict[str, _Source]):
        runtime()  # first: the library needs its symbols
        self.path = path
        library = ctypes.PyDLL(str(path))
        self.kernels = {name: _Kernel.in_dll(library, f"emu_kernel_{name}") for name in kernels}
        symbols = self._symbols()
        self.base = ctypes.addressof(ctypes.c_char.in_dll(library, "emu_anchor")) - symbols["emu_anchor"][0]
        begin, end = (ctypes.c_uint64 * 2).in_dll(library, "emu_shared_range")
        self.arrays = []  # (address, bytes, name of the function or None, name)
        for name, (offset, size, letter) in symbols.items():
            if size and begin <= self.base + offset < end:
                if "emu_gap_" not in name:
                    self.arrays.append((self.base + offset, size, *_static_name(name)))
            elif size and letter in "bBdDrR" and "emu" not in name:
                runtime().emu_variable(self.base + offset, size)
        self.shared = {name: self._shared_of(name, kernels) for name in kernels}

    def _symbols(self) -> dict[str, tuple[int, int, str]]:
        listed = subprocess.run(["nm", "-S", "--defined-only", str(self.path)], capture_output=True, text=True,
                                check=True).stdout
        found = {}
        for line in listed.splitlines():
            words = line.split()
            if len(words) in (3, 4):
                found[words[-1]] = (int(words[0], 16), int(words[1], 16) if len(words) == 4 else 0, words[-2])
        return found

    def _shared_of(self, kernel: str, kernels: dict[str, _Source]) -> tuple[int, Any, Any]:
        """Its own __shared__ arrays, and those of functions that are no kernels: it may call them."""
        own = sorted(a for a in self.arrays if a[2] == kernel or a[2] not in kernels)
        count = len(own)
        return (count, (ctypes.c_uint64 * count)(*(a[0] for a in own)), (ctypes.c_uint64 * count)(*(a[1] for a in own)))

    def line(self, pc: int) -> int | None:
        """The kernel file's line that a return address belongs to; None if addr2line is missing or does not know."""
        return _line(str(self.path), pc - self.base - 1) if pc else None


def _static_name(symbol: str) -> tuple[str | None, str]:
    """Function and name of a function's static: _ZZ6kernelE4tile, _ZZL6helperPfE4tile_0."""
    match = re.match(r"_ZZL?(\d+)", symbol)
    if not match:
        return None, symbol
    rest = symbol[match.end():]
    function, rest = rest[:int(match[1])], rest[int(match[1]):]
    inner = re.search(r"E(\d+)([A-Za-z_]\w*)$", rest)
    return function, inner[2][:int(inner[1])] if inner else rest


@functools.cache
def _line(path: str, offset: int) -> int | None:
    tool = shutil.which("addr2line")
    if tool is None:
        return None
    # -i: the functions it was inlined into, too, from the inside; the first outside the shim is meant
    said = subprocess.run([tool, "-i", "-e", path, hex(offset)], capture_output=True, text=True).stdout
    for place in said.splitlines():
        name, _, line = place.split(" ")[0].rpartition(":")
        if line.isdigit() and Path(name).name != build.SHIM.name:
            return int(line)
    return None


class Module:
    """A kernel file's text, compiled when first launched, once for each of the two builds."""

    def __init__(self, source_text: str, name: str = "kernel.cu", options: Sequence[str] = ("--std=c++17",)):
        build.compiler()
        self.name = name
        self._bare = _without_comments(source_text)
        self._text, self._options = source_text, _flags(options)
        self._kernels = _kernels(self._bare)
        if not self._kernels:
            raise ValueError(f"{name} has no kernel: no __global__ void NAME(...) {{ in its text")
        _refuse_includes(name, self._bare)
        for kernel in self._kernels:
            if not re.search(rf'extern\s+"C"\s+__global__[^{{}};]*\b{kernel}\s*\(', self._bare):
                raise ValueError(f'{name}: kernel {kernel} is not extern "C": a GPU would not find it by its name')
        self._libraries: dict[bool, _Library] = {}
        self._library(Mode.checked)  # a text that does not compile is refused here

    @property
    def kernels(self) -> list[str]:
        return list(self._kernels)

    def signature(self, kernel: str) -> list[tuple[str, int, str]]:
        """(C type, bytes, kind) for each parameter; kind is "pointer", "int", "float" or "struct"."""
        described = self._known(kernel, self._library(Mode.checked))
        return [(_type_and_name(text)[0], described.parameters[i].size, PARAMETER_KINDS[described.parameters[i].kind])
                for i, text in enumerate(self._kernels[kernel].parameters)]

    def shared_bytes(self, kernel: str) -> int:
        """Its static shared memory."""
        library = self._library(Mode.checked)
        self._known(kernel, library)
        return sum(library.shared[kernel][2])

    def launch(self, kernel: str, grid: Any, block: Any, args: Sequence[Any], shared_mem: int = 0,
               most_shared: int = MAX_SHARED) -> None:
        """Run a grid to its end. KernelFault says what went wrong, TypeError and ValueError what was asked wrongly.

        Grid and block: up to 3 numbers. args: an address, or what has `.address`, for a pointer; NumPy scalars of the
        parameter's own dtype for numbers; a structured array of one element for a struct passed by value.
        most_shared: bytes of shared memory that the kernel has asked for, if it needs more than 48 KB.
        """
        library = self._library(Mode.checked)
        described = self._known(kernel, library)
        grid, block = _triple(grid, f"{kernel}: grid"), _triple(block, f"{kernel}: block")
        count, begins, sizes = library.shared[kernel]
        _check_limits(kernel, grid, block, described.largest_block, sum(sizes), shared_mem,
                      min(most_shared, MOST_SHARED))
        packed = self._packed(kernel, described, args)
        pointers = (ctypes.c_void_p * (len(packed) + 1))(*(ctypes.addressof(part) for part in packed))

        totals = (ctypes.c_uint64 * 8)()
        run = runtime()
        run.emu_set_step_limit(Mode.step_limit)
        run.emu_set_time_limit(Mode.time_limit)
        run.emu_use_shared(count, begins, sizes, shared_mem, library.base)
        Mode.seed += Mode.order == "random"  # no two launches in the same order
        run.emu_set_profiling(Mode.profile is not None)
        run.emu_launch(described.call, pointers, (ctypes.c_uint32 * 3)(*grid), (ctypes.c_uint32 * 3)(*block),
                       shared_mem, ORDERS[Mode.order], Mode.seed, Mode.checked, totals)
        record(kernel, Counts(1, math.prod(grid), math.prod(grid) * math.prod(block), *totals))
        if Mode.profile is not None:
            self._record_profile(kernel, library, Mode.profile)
        self._raise_findings(kernel, library, grid, block, packed)

    # ---- builds

    def _library(self, checked: bool) -> _Library:
        if checked not in self._libraries:
            flags = (*(CHECKED if checked else PLAIN), *self._options)
            self._libraries[checked] = _load(self._compiled_text(), flags)
        return self._libraries[checked]

    def _compiled_text(self) -> str:
        # The text itself, but for two constructs that C++ does not know: an array of a size that comes with the launch,
        # and PTX.
        places = [(m.start(), m.end(), f"{m['type']}* {m['name']} = ({m['type']}*)emu_dynamic_shared();")
                  for m in DYNAMIC.finditer(self._bare)]
        places += [(m.start(), m.end(), _without_ptx(self.name, m["inside"])) for m in ASM.finditer(self._bare)]
        text = self._text
        for begin, end, instead in sorted(places, reverse=True):
            lines = "\n" * self._text.count("\n", begin, end)
            text = f"{text[:begin]}{instead}{lines}{text[end:]}"
        entries = "\n".join(f"EMU_KERNEL({name}, {k.bounds.strip()})" for name, k in self._kernels.items())
        return f'#line 1 "{self.name}"\n{text}\n#line 1 "emulator"\n{FOOTER}{entries}\n'

    def _known(self, kernel: str, library: _Library) -> _Kernel:
        if kernel not in self._kernels:
            raise ValueError(f"{self.name} has no kernel '{kernel}'; it has: {', '.join(self._kernels)}")
        return library.kernels[kernel]

    # ---- arguments

    def _packed(self, kernel: str, described: _Kernel, args: Sequence[Any]) -> list[Any]:
        texts = self._kernels[kernel].parameters
        if len(args) != len(texts):
            raise TypeError(f"{kernel}: {len(args)} arguments given, expected {len(texts)} ({', '.join(texts)})")
        return [_pack(f"{kernel}: parameter '{text}'", part.kind, part.size, given)
                for text, part, given in zip(texts, described.parameters[:len(texts)], args, strict=True)]

    def _record_profile(self, kernel: str, library: _Library, profile: Profile) -> None:
        raw = (_ProfileLine * 4096)()
        for line in raw[:runtime().emu_profile(raw, len(raw))]:
            profile.add(Line(kernel, self.name, library.line(line.pc), ACCESSES[line.access], bool(line.shared),
                             line.requests, line.units, line.fewest))

    # ---- findings

    def _raise_findings(self, kernel: str, library: _Library, grid: tuple, block: tuple, packed: list[Any]) -> None:
        raw = (_Finding * MOST_FINDINGS)()
        count = runtime().emu_findings(raw, MOST_FINDINGS)
        found = []
        for finding in raw[:count]:
            line = finding.line or library.line(finding.pc)
            other_line = library.line(finding.other_pc)
            if finding.kind == DIVERGENT and line is not None and line == other_line:
                continue  # one barrier of the source, of which g++ made two
            found.append(self._finding(finding, kernel, library, line, other_line, grid, block, packed))
        if found:
            raise KernelFault(found)

    def _finding(self, raw: _Finding, kernel: str, library: _Library, line: int | None, other_line: int | None,
                 grid: tuple, block: tuple, packed: list[Any]) -> Finding:
        kind = KINDS[raw.kind]
        place = _at(raw.block, grid), _at(raw.thread, block)
        words = [f"{self.name}:{line or '?'}: {kind}: kernel {kernel}, block {place[0]}, thread {place[1]}"]
        if raw.size:
            words.append(f" {ACCESSES[raw.access]} {raw.size} bytes {self._where(raw, kernel, library, packed)}")
        if raw.text:
            words.append(f": {raw.text.decode()}")
        other = None
        if raw.other_pc or kind == "barrier not reached by all":
            other = _at(raw.other_block, grid), _at(raw.other_thread, block)
            verb = ACCESSES[raw.other_access] + " it" if raw.size else "waits" if raw.other_pc else "has returned"
            at = f" at line {other_line or '?'}" if raw.other_pc else ""
            words.append(f"; block {other[0]}, thread {other[1]} {verb}{at}")
            if raw.size:
                words.append(", and nothing orders the two")
        return Finding(kind, kernel, self.name, line, *place, "".join(words), other_line, *(other or (None, None)))

    def _where(self, raw: _Finding, kernel: str, library: _Library, packed: list[Any]) -> str:
        """"at byte 64 of 'out' (64 bytes)": the array by its parameter's name, if a parameter points into it."""
        if not raw.region_begin:
            return f"at {raw.address:#x}, which lies in no array"
        name = "an array"
        for address, _, _, shared in library.arrays:
            if address == raw.region_begin:
                name = f"'{shared}'"
        for text, value in zip(self._kernels[kernel].parameters, packed, strict=True):
            points_to = value.value if isinstance(value, ctypes.c_uint64) else None
            if points_to is not None and "*" in text and 0 <= points_to - raw.region_begin <= raw.region_size:
                name = f"'{_type_and_name(text)[1]}'"
                break
        return f"at byte {raw.address - raw.region_begin} of {name} ({raw.region_size} bytes)"


def _without_ptx(name: str, inside: str) -> str:
    """The runtime's call for what stands between the brackets of asm volatile(...)."""
    parts = [part.strip() for part in _split(inside, ":")]
    code = " ".join("".join(re.findall(r'"([^"]*)"', parts[0])).split())
    if not code:
        return f"asm volatile({inside});"
    if code not in PTX:
        raise build.CompileError(f"{name}: PTX '{code}' is not known; add it to PTX in tests/emulator/module.py")
    operands = [re.fullmatch(r'"[=+]?\w"\s*\((.*)\)', operand.strip(), re.S)
                for part in parts[1:3] if part for operand in _split(part, ",")]
    if not all(operands):
        raise build.CompileError(f"{name}: expected operands like \"r\"(x) of PTX '{code}', got {parts[1:3]}")
    return f"{PTX[code]}({', '.join(' '.join(operand[1].split()) for operand in operands)});"


def _split(text: str, at: str) -> list[str]:
    """The parts of C++ text between the letters `at` that stand in no brackets and no string."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "([{") - (letter in ")]}")
        if letter == at and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


FOOTER = """\
extern "C" {
extern __attribute__((weak, visibility("hidden"))) char __start_emu_shared[], __stop_emu_shared[];
__attribute__((used)) char* emu_shared_range[2] = {__start_emu_shared, __stop_emu_shared};
__attribute__((used)) char emu_anchor = 0;
}
"""


@functools.cache
def _load(text: str, flags: tuple[str, ...]) -> _Library:
    return _Library(build.kernels(text, flags), _kernels(_without_comments(text)))


def _refuse_includes(name: str, bare: str) -> None:
    found = re.search(r"^\s*#\s*include.*", bare, re.M)
    if found:
        raise ValueError(f"{name}: '{found[0].strip()}': kernels include nothing (a first use on a GPU compiles them)")


def _triple(given: Any, what: str) -> tuple[int, int, int]:
    sizes = tuple(given) if isinstance(given, tuple | list) else (given,)
    if not 1 <= len(sizes) <= 3 or not all(isinstance(n, int | np.integer) for n in sizes):
        raise TypeError(f"{what}: expected 1 to 3 whole numbers, got {given!r}")
    return (*map(int, sizes), *(1,) * (3 - len(sizes)))  # type: ignore[return-value]


def _check_limits(kernel: str, grid: tuple, block: tuple, largest_block: int, static: int, dynamic: int,
                  most: int) -> None:
    """What a GPU refuses, or silently mends (CuPy launches one block for a grid of none)."""
    for what, sizes, limits in (("grid", grid, MAX_GRID), ("block", block, MAX_BLOCK)):
        for axis, size, limit in zip("xyz", sizes, limits, strict=True):
            if not 1 <= size <= limit:
                raise ValueError(f"{kernel}: {what} {sizes}: {axis} is {size}, expected 1 to {limit}")
    threads = math.prod(block)
    if threads > MAX_THREADS:
        raise ValueError(f"{kernel}: block {block} has {threads} threads, expected at most {MAX_THREADS}")
    if largest_block and threads > largest_block:
        raise ValueError(f"{kernel}: block {block} has {threads} threads, __launch_bounds__ allows {largest_block}")
    if dynamic < 0 or static + dynamic > most:
        raise ValueError(f"{kernel}: {static} bytes of static and {dynamic} of dynamic shared memory, "
                         f"expected at most {most} together")


def _pack(what: str, kind: int, size: int, given: Any) -> Any:
    """A C value that holds an argument's bytes. What a GPU would take for something else is a TypeError."""
    if kind == 0:
        address = getattr(given, "address", given)
        if address is None or isinstance(address, bool) or not isinstance(address, int | np.integer):
            raise TypeError(f"{what}: {_described(given)} given, expected an address or an array")
        return ctypes.c_uint64(int(address))
    if kind == STRUCT:
        if not isinstance(given, np.ndarray | np.void) or given.size != 1 or given.dtype.itemsize != size:
            raise TypeError(f"{what}: {_described(given)} given, expected one structured element of {size} bytes")
        if size > MAX_STRUCT:
            raise TypeError(f"{what}: {size} bytes, expected at most {MAX_STRUCT}")
    else:
        letter = {SIGNED: "i", UNSIGNED: "u", FLOAT: "f", BOOL: "b"}[kind]
        expected = np.dtype(bool) if kind == BOOL else np.dtype(f"{letter}{size}")
        if type(given) in (int, float):  # as CuPy passes them on
            given = np.int64(given) if type(given) is int else np.float64(given)
        if not isinstance(given, np.generic | np.ndarray) or given.size != 1 or given.dtype != expected:
            raise TypeError(f"{what}: {_described(given)} given, expected np.{expected.name}")
    return (ctypes.c_char * size).from_buffer_copy(given.tobytes())


def _described(given: Any) -> str:
    if isinstance(given, np.generic | np.ndarray):
        return f"{type(given).__name__} of {given.dtype}, {given.nbytes} bytes"
    return type(given).__name__


def _at(index: int, sizes: tuple) -> tuple[int, int, int]:
    return index % sizes[0], index // sizes[0] % sizes[1], index // (sizes[0] * sizes[1])
