"""cupy.RawModule and cupy.RawKernel: CUDA source run by the emulator, each argument checked against its parameter.

CuPy passes arguments on as they are: a Python float becomes a double even where the kernel has a float, a view its
first address whatever its strides, a zero grid a one. Each of these is an error here.
"""

from __future__ import annotations

import re
from typing import Any

import emulator
import numpy as np
from emulated_cupy import streams
from emulated_cupy.arrays import ndarray
from emulated_cupy.counts import count_kernel

_SAME = {  # C type -> dtypes of an array that a pointer to it may be given; the first is that of a number
    "bool": "bool", "char": "int8 uint8", "signed char": "int8", "unsigned char": "uint8 bool", "short": "int16",
    "unsigned short": "uint16 bfloat16", "int": "int32", "unsigned": "uint32", "long": "int64",
    "unsigned long": "uint64", "long long": "int64", "unsigned long long": "uint64", "float": "float32",
    "bfloat16": "bfloat16", "double": "float64",
    "int8_t": "int8", "uint8_t": "uint8", "int16_t": "int16", "uint16_t": "uint16", "int32_t": "int32",
    "uint32_t": "uint32", "int64_t": "int64", "uint64_t": "uint64", "size_t": "uint64"}
_WORDS = {"const", "volatile", "struct", "restrict", "__restrict", "__restrict__"}
_MAX_BLOCK, _MAX_GRID, _MAX_SHARED = (1024, 1024, 64), (2**31 - 1, 65535, 65535), 48 << 10


class RawModule:
    """CUDA source with any number of kernels."""

    def __init__(self, code: str, *, options: tuple[str, ...] = ()):
        if not isinstance(code, str) or not isinstance(options, tuple) or not all(type(o) is str for o in options):
            raise TypeError("RawModule: expected code as text and options as a tuple of texts")
        self.code, self.options, self._module = code, options, None

    def compile(self) -> None:
        if self._module is None:  # CuPy, too, compiles when the first kernel is asked for
            self._module = emulator.Module(self.code, options=self.options)

    def get_function(self, name: str) -> RawKernel:
        self.compile()
        kernel = object.__new__(RawKernel)
        kernel.name, kernel._module = name, self._module
        number = "bfloat16" if "-DHALF=1" in self.options else "float"  # what kernels/*.cu call an activation's type
        kernel._parameters = [(re.sub(r"\bnumber\b", number, text), size, kind)
                              for text, size, kind in kernel._module.signature(name)]  # fails if there is none
        return kernel


class RawKernel:
    """One kernel: kernel(grid, block, args).

    max_dynamic_shared_size_bytes: how much dynamic shared memory a launch may ask for; on a GPU up to 227 KB, if set.
    """

    max_dynamic_shared_size_bytes = _MAX_SHARED

    def __init__(self, code: str, name: str, options: tuple[str, ...] = ()):
        kernel = RawModule(code, options=options).get_function(name)
        self.name, self._module, self._parameters = name, kernel._module, kernel._parameters

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0) -> None:
        grid, block = _size(self.name, "grid", grid, _MAX_GRID), _size(self.name, "block", block, _MAX_BLOCK)
        if np.prod(block) > 1024:
            raise ValueError(f"{self.name}: block {block} has more than 1024 threads")
        most = self.max_dynamic_shared_size_bytes
        if not 0 <= shared_mem <= most:
            raise ValueError(f"{self.name}: {shared_mem} bytes of shared memory, expected 0 to {most}")
        parameters = self._parameters
        if not isinstance(args, tuple | list) or len(args) != len(parameters):
            raise TypeError(f"{self.name}: expected {len(parameters)} arguments in a tuple, got "
                            f"{len(args) if isinstance(args, tuple | list) else type(args)}")
        passed = [_passed(f"{self.name}: argument {i} ({text})", argument, text, size, kind)
                  for i, (argument, (text, size, kind)) in enumerate(zip(args, parameters, strict=True))]
        capture = streams.capture_of(self.name)
        if capture is None:
            count_kernel(self.name)
            self._module.launch(self.name, grid, block, passed, int(shared_mem), most)
            return
        # what is passed by value is copied now, a table's pointers too
        noted = [streams.Place(x._a) if type(x) is ndarray else x.copy() if isinstance(x, np.ndarray) else y
                 for x, y in zip(args, passed, strict=True)]
        tables = [x for x in noted if isinstance(x, np.ndarray)]
        pointers = [p for x in tables for field in x.dtype.fields if x.dtype[field].base == np.uint64
                    for p in x[field].ravel().tolist() if p]
        capture.notes.append(streams.Note(self.name, lambda *given: self._module.launch(
            self.name, grid, block, [x.ctypes.data if isinstance(x, np.ndarray) and not x.dtype.fields else x
                                     for x in given], int(shared_mem), most), noted, pointers))


def _size(name: str, what: str, given: Any, most: tuple[int, ...]) -> tuple[int, int, int]:
    if not isinstance(given, tuple) or not 1 <= len(given) <= 3 or not all(
            isinstance(n, int | np.integer) and 1 <= n <= limit for n, limit in zip(given, most, strict=False)):
        raise ValueError(f"{name}: {what} {given}, expected a tuple of one to three integers from 1 to {most}")
    return tuple(int(n) for n in (*given, 1, 1)[:3])


def _passed(what: str, argument: Any, text: str, size: int, kind: str) -> Any:
    """The argument as the emulator takes it; TypeError or ValueError if the parameter is something else."""
    base, stars = _plain(text)
    if kind == "pointer":
        if type(argument) in (np.uint64, np.int64):  # an address of one's own, or a null pointer
            return int(argument)
        if type(argument) is not ndarray:
            raise TypeError(f"{what}: expected a cupy.ndarray, got {type(argument)}")
        allowed = _SAME.get(base.rstrip("1234"), "").split() if stars == 1 else ["uint64", "int64"]
        if base != "void" and allowed and argument.dtype.name not in allowed:
            raise TypeError(f"{what}: expected an array of {' or '.join(allowed)}, got {argument.dtype}")
        if not argument.flags.c_contiguous:
            raise ValueError(f"{what}: the array is not C-contiguous (strides {argument.strides}), and a kernel sees "
                             "no strides")
        return argument.data.ptr
    if kind == "struct":
        if not isinstance(argument, np.ndarray) or argument.size != 1 or argument.dtype.fields is None:
            raise TypeError(f"{what}: expected a structured NumPy array of one element, got {type(argument)}")
        if argument.dtype.itemsize != size:
            raise TypeError(f"{what}: the struct has {size} bytes, the array's dtype {argument.dtype.itemsize}")
        return argument
    dtype = np.dtype(_SAME[base].split()[0])
    if type(argument) is int and dtype == np.int64 or type(argument) is float and dtype == np.float64:
        argument = dtype.type(argument)  # as CuPy passes them
    if type(argument) is not dtype.type:
        raise TypeError(f"{what}: expected numpy.{dtype}, got {type(argument)}")
    return argument


def _plain(text: str) -> tuple[str, int]:
    """The C type without qualifiers and stars, and the number of stars: "const float *" is ("float", 1)."""
    words = [word for word in text.replace("*", " * ").split() if word not in _WORDS]
    plain = [word for word in words if word != "*"]
    if len(plain) > 1 and plain[-1] == "int":
        plain.pop()  # unsigned int, long int
    if len(plain) > 1 and plain[0] == "signed" and plain[1] != "char":
        plain.pop(0)
    return " ".join(plain), words.count("*")
