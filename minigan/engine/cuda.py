"""Which arrays the CUDA kernels in kernels/*.cu take, and how these are found, compiled and launched.

kernels/README.md is their contract. This file knows no kernel: engine/loops/ has the functions that use them. A source
is compiled by CuPy at its first launch on a device (about 0.05 s with NVRTC, then kept in CuPy's cache on disk).
Kernels run on the current device and stream. Nothing here waits for the GPU or copies anything to it: sizes and
pointers travel as a kernel's own arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from minigan.engine.devices import BF16, FLOAT32, INT64, Array, array_module

OPTIONS = ("--std=c++17",)  # CuPy adds -ftz=true, -default-device and -arch
LIMITS = ((1 << 31) - 1, 65535, 65535)  # of a grid: CUDA C++ Programming Guide, compute capabilities
THREADS = 256  # of a block; the kernels that add up columns have 256 as well, in two directions
SHARED = 48 << 10  # bytes of shared memory that a block may have without asking

Defines = tuple[tuple[str, int], ...]  # names that a source is compiled with, and their numbers

_modules: dict[tuple[Any, int, str, Defines], Any] = {}  # (array module, device, file, defines) -> RawModule
_functions: dict[tuple[Any, int, str, Defines, str], Any] = {}
_tickets: dict[tuple[Any, int, int], Array] = {}  # (array module, device, stream)
_outgrown: list[Array] = []  # tickets that were too few; a CUDA graph may use them still

_NUMBERS = frozenset({np.int32, np.int64, np.float32})
_C_TYPES = {"int": np.int32, "long long": np.int64, "float": np.float32, "unsigned short": np.uint16}


# ---- which arrays ----------------------------------------------------------------------------------------------------

def kernels_take(*arrays: Array | None, activations: Sequence[Array | None] = ()) -> bool:
    """Whether the kernels take these arrays: CuPy's, float32, C-contiguous; None is passed over.

    activations: those that may be bfloat16 as well, all or none of them.
    The one decision of its kind: every loop with a kernel asks this first, and goes on with array operations if not.
    """
    if array_module(*arrays, *activations) is np:
        return False
    for a in arrays:
        if a is not None and not (a.dtype == FLOAT32 and a.flags.c_contiguous):
            return False
    there = [a for a in activations if a is not None]
    dtype = BF16 if there and there[0].dtype == BF16 else FLOAT32
    for a in there:
        if not (a.dtype == dtype and a.flags.c_contiguous):
            return False
    return True


def half(x: Array) -> Defines:
    """What a source is compiled with for activations like x: HALF if they are bfloat16."""
    return (("HALF", 1),) if x.dtype == BF16 else ()


def compact(x: Array) -> Array:
    """x itself; of CuPy's a copy if it is a view that the kernels would not take."""
    return x if isinstance(x, np.ndarray) else array_module(x).ascontiguousarray(x)


def check(launcher: str, shapes: dict[str, tuple[int, ...] | None], activations: dict[str, Array | None] | None = None,
          labels: Array | None = None, **arrays: Array | None) -> Any:
    """The array module of a launcher's arguments, after checking what the kernels rely on.

    Each array that is not None must be a CuPy one, float32, C-contiguous, and of the shape in `shapes` if one is there;
    `activations` may instead be bfloat16, all of them, and `labels` are int64.
    Raises TypeError or ValueError that names the launcher, what it expected and what was given.
    """
    xp = array_module(*arrays.values(), *(activations or {}).values())
    for name, a in arrays.items():
        if a is not None and not _fits(xp, a, shapes.get(name)):
            raise _refusal(launcher, xp, name, a, shapes.get(name))
    if labels is not None and not _fits(xp, labels, shapes.get("labels"), INT64):
        raise _refusal(launcher, xp, "labels", labels, shapes.get("labels"), INT64)
    if activations:
        there = [a for a in activations.values() if a is not None]
        dtype = BF16 if there and all(getattr(a, "dtype", None) == BF16 for a in there) else FLOAT32
        for name, a in activations.items():
            if a is not None and not _fits(xp, a, shapes.get(name), dtype):
                raise _refusal(launcher, xp, name, a, shapes.get(name), dtype)
    return xp


def check_lists(launcher: str, lists: dict[str, Sequence[Array]], shapes: dict[str, list[Any]]) -> Any:
    """`check` of every array of every list; the array module (None for empty lists)."""
    xp = None
    for name, arrays in lists.items():
        for i, (a, shape) in enumerate(zip(arrays, shapes.get(name) or [None] * len(arrays), strict=True)):
            xp = array_module(a) if xp is None or xp is np else xp
            if not _fits(xp, a, shape):
                raise _refusal(launcher, xp, f"{name}s[{i}]", a, shape)
    return xp


def _fits(xp: Any, a: Any, shape: Sequence[int] | None, dtype: np.dtype = FLOAT32) -> bool:
    return (xp is not np and isinstance(a, xp.ndarray) and a.dtype == dtype and a.flags.c_contiguous
            and (shape is None or a.shape == tuple(shape)))


def _refusal(launcher: str, xp: Any, name: str, a: Any, shape: Sequence[int] | None,
             dtype: np.dtype = FLOAT32) -> Exception:
    """What is wrong with an array that does not fit."""
    if xp is np or not isinstance(a, xp.ndarray):
        return TypeError(f"{launcher}: expected {name} to be a CuPy array, got {type(a).__name__}")
    if a.dtype != dtype:
        return TypeError(f"{launcher}: expected {name} in {dtype}, got {a.dtype}")
    if not a.flags.c_contiguous:
        return ValueError(f"{launcher}: expected {name} to be C-contiguous, got a view of shape {a.shape}; copy it")
    return ValueError(f"{launcher}: expected {name} of shape {tuple(shape or ())}, got {a.shape}")


# ---- sizes of a launch -----------------------------------------------------------------------------------------------

def one_each(count: int, like: Array | None = None) -> tuple[int]:
    """A grid with a thread for each of `count` numbers; for every two, if they are bfloat16 as `like` is."""
    return (-(-count // (2 * THREADS if like is not None and like.dtype == BF16 else THREADS)),)


@cache
def column_grid(rows: int, C: int) -> tuple[tuple[int, int], tuple[int, int], np.int64]:
    """(grid, block, rows of a block) of the kernels that add up columns; from the shape alone, so sums stay equal."""
    width = min(32, 1 << (C - 1).bit_length())  # a warp reads 32 neighbouring channels; few channels: several rows
    height = THREADS // width
    strips = -(-C // width)
    groups = max(1, min(512 // strips, rows // (8 * height)))  # some blocks for each of 100 and more processors
    per_block = -(-rows // groups)
    return (strips, -(-rows // per_block)), (width, height), np.int64(per_block)


def tickets(xp: Any, count: int) -> Array:
    """At least `count` zero ints on the current device: the counters by which a kernel finds its last block.

    A kernel leaves them zero, so they are made once; for each stream, since two kernels at once must not share them.
    """
    key = (xp, xp.cuda.Device().id, xp.cuda.get_current_stream().ptr)
    found = _tickets.get(key)
    if found is None or found.size < count:
        if found is not None:
            _outgrown.append(found)
        found = _tickets[key] = xp.zeros((max(1024, count),), np.int32)
    return found


# ---- tables of sizes and pointers ------------------------------------------------------------------------------------

def table(file: str, struct: str, **values: Any) -> np.ndarray:
    """A struct of kernels/<file> with these fields, to be passed by value: a NumPy array of one structured element.

    An array field takes a sequence no longer than itself; the rest is zero. Pointers are given as integers.
    """
    filled = np.zeros(1, layout(file, struct))
    for name, value in values.items():
        if filled[name].ndim == 1:
            filled[name] = value
        else:
            filled[name][0, :len(value)] = value
    return filled


@cache
def layout(file: str, struct: str) -> np.dtype:
    """The dtype of a struct, read from its definition in kernels/<file>: one description, in C.

    One field a line: int, long long, float, unsigned short, or a pointer, with at most one length:
    `const float* W[32];`.
    Raises ValueError if there is no such struct or a line is anything else.
    """
    found = re.search(rf"^struct {struct} \{{\n(.*?)^\}};", source(file), re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"kernels/{file} has no struct {struct}")
    fields: list[Any] = []
    for line in re.sub(r"//.*", "", found[1]).strip().splitlines():
        field = re.fullmatch(rf"\s*(?:const )?({'|'.join(_C_TYPES)})(\*?) (\w+)(?:\[(\d+)\])?;\s*", line)
        if not field:
            raise ValueError(f"kernels/{file}: struct {struct}: expected a field like `int rows[32];`, got `{line}`")
        kind, pointer, name, length = field.groups()
        fields.append((name, np.uint64 if pointer else _C_TYPES[kind], *([(int(length),)] if length else [])))
    return np.dtype(fields, align=True)


def groups(file: str, struct: str, field: str, count: int) -> list[slice]:
    """0 .. count, cut into as many arrays as the table has room for in its `field`."""
    room = layout(file, struct)[field].shape[0]
    return [slice(i, min(i + room, count)) for i in range(0, count, room)]


def starts(blocks: Sequence[int]) -> list[int]:
    """[2, 3] -> [0, 2, 5]: the first block of each array, and the end."""
    return list(accumulate(blocks, initial=0))


def pointers(arrays: Sequence[Array]) -> list[int]:
    return [a.data.ptr for a in arrays]


# ---- launching -------------------------------------------------------------------------------------------------------

def launch(file: str, kernel: str, grid: Sequence[int], block: Sequence[int], args: Sequence[Any],
           shared_mem: int = 0, xp: Any = None, defines: Defines = ()) -> None:
    """Run one kernel of kernels/<file>.

    args: CuPy arrays, structs made by `table`, and np.int32, np.int64 or np.float32 scalars: a Python number would be
    passed as 64 bits, whatever the kernel takes. shared_mem: bytes of dynamic shared memory; more than SHARED are asked
    for. xp: CuPy; needed only if no array is among the args. defines: what -D is to say to the compiler.
    An empty grid launches nothing. Raises TypeError or ValueError, naming the kernel, for what CUDA would refuse late
    or not at all.
    """
    xp = array_module(*args) if xp is None else xp
    if xp is np:
        raise TypeError(f"{kernel}: expected CuPy arrays among the arguments, got {_names(args)}")
    for a in args:
        if type(a) not in _NUMBERS and not isinstance(a, xp.ndarray) and not (
                isinstance(a, np.ndarray) and a.size == 1 and a.dtype.names is not None):
            raise TypeError(f"{kernel}: expected CuPy arrays, structs, np.int32, np.int64 and np.float32, "
                            f"got {_names(args)}")
    if 0 in grid:
        return
    for size, limit in zip(grid, LIMITS, strict=False):
        if size > limit:
            raise ValueError(f"{kernel}: expected a grid of at most {LIMITS} blocks, got {tuple(grid)}")
    device = xp.cuda.Device().id
    key = (xp, device, file, defines, kernel)
    function = _functions.get(key)
    if function is None:
        function = _functions[key] = _module(xp, device, file, defines).get_function(kernel)
        if shared_mem > SHARED:
            function.max_dynamic_shared_size_bytes = shared_mem
    function(tuple(grid), tuple(block), tuple(args), shared_mem=shared_mem)


@cache
def source(file: str) -> str:
    """The text of kernels/<file>: inside the package (a wheel), else beside it (a checkout)."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "kernels" / file, package.parent / "kernels" / file]
    for path in places:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"the CUDA source {file} is neither {places[0]} nor {places[1]}: is minigan installed "
                            "completely?")


def _module(xp: Any, device: int, file: str, defines: Defines) -> Any:
    key = (xp, device, file, defines)
    if key not in _modules:
        _modules[key] = xp.RawModule(code=source(file), options=(*OPTIONS, *(f"-D{name}={n}" for name, n in defines)))
    return _modules[key]


def _names(args: Sequence[Any]) -> str:
    return ", ".join(type(a).__name__ for a in args) or "none"
