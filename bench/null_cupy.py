"""A CuPy that computes nothing: arrays have shapes and no numbers, kernels and operations are counted and not run.

For bench/host_cost.py: what an update takes with it is what our own Python takes, beside the least that any array
needs. It knows what an update of the CNN and of the ResNet asks for, and no more.
"""

import contextlib
import ctypes
import ctypes.util
import itertools
import math
import sys
import types
from collections import Counter
from types import SimpleNamespace

import numpy as np

launches = Counter()  # name of a kernel or operation -> how often
_memory = np.empty(1 << 20, np.uint8)  # of all arrays, as large as the largest; never touched, so that it takes none
_places = itertools.count(4096, 4096)  # where they lie
_flags = {(c, f): SimpleNamespace(c_contiguous=c, f_contiguous=f, forc=c or f, fnc=f and not c)
          for c in (False, True) for f in (False, True)}
_BOOL = np.dtype(bool)


class ndarray:
    __slots__ = ("shape", "dtype", "size", "ndim", "nbytes", "flags", "data", "view_")
    __array_priority__, __array_ufunc__ = 100, None

    def __init__(self, view, data=None):
        self.shape, self.dtype, self.size, self.ndim, self.nbytes = (
            view.shape, view.dtype, view.size, view.ndim, view.nbytes)
        flags = view.flags
        self.flags, self.view_ = _flags[flags.c_contiguous, flags.f_contiguous], view
        self.data = data or SimpleNamespace(ptr=next(_places))

    T = property(lambda self: ndarray(self.view_.T, self.data))
    strides = property(lambda self: self.view_.strides)
    itemsize = property(lambda self: self.dtype.itemsize)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        if type(key) is ndarray:
            return made("getitem", key.shape + self.shape[1:], self.dtype)
        key = key if type(key) is tuple else (key,)
        return ndarray(self.view_[key if Ellipsis in key else (*key, Ellipsis)], self.data)

    def __setitem__(self, key, value):
        launches["setitem"] += 1

    def reshape(self, *shape):
        view = self.view_.reshape(*shape)
        if not self.flags.c_contiguous and not np.may_share_memory(view, self.view_):
            return made("copy", view.shape, self.dtype)
        return ndarray(view, self.data)

    def transpose(self, *axes):
        return ndarray(self.view_.transpose(*axes), self.data)

    def view(self, dtype):
        return ndarray(self.view_.view(dtype), self.data)

    def astype(self, dtype):
        return made("astype", self.shape, dtype)

    def copy(self):
        return made("copy", self.shape, self.dtype)

    def sum(self, axis=None, keepdims=False):
        axes = range(self.ndim) if axis is None else [i % self.ndim for i in np.atleast_1d(axis)]
        return made("sum", tuple(1 if i in axes else n for i, n in enumerate(self.shape) if keepdims or i not in axes),
                    self.dtype)


def empty(shape, dtype=np.float64):
    global _memory
    try:
        return ndarray(np.ndarray(shape, dtype, _memory))
    except TypeError:  # too small
        _memory = np.empty(2 * math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize, np.uint8)
        return ndarray(np.ndarray(shape, dtype, _memory))


def made(name, shape, dtype):
    launches[name] += 1
    return empty(shape, dtype)


def elementwise(name, dtype=None):
    def function(*args, out=None):
        arrays = [a for a in args if type(a) is ndarray]
        if out is not None:
            launches[name] += 1
            return out
        shapes = [a.shape for a in arrays]
        shape = shapes[0] if all(s == shapes[0] for s in shapes) else np.broadcast_shapes(*shapes)
        return made(name, shape, dtype or arrays[0].dtype)
    return function


def _operators():
    for name, function in (("add", "add"), ("sub", "subtract"), ("mul", "multiply"), ("truediv", "divide"),
                           ("pow", "power")):
        call = elementwise(function)
        setattr(ndarray, f"__{name}__", call)
        setattr(ndarray, f"__r{name}__", call)
        setattr(ndarray, f"__i{name}__", lambda self, other, call=call: call(self, other, out=self))
    for name in ("gt", "lt", "ge", "le", "eq", "ne", "and", "or", "invert"):
        setattr(ndarray, f"__{name}__", elementwise(name, _BOOL))
    for name in ("neg", "abs"):
        setattr(ndarray, f"__{name}__", elementwise(name))


_operators()
ndarray.__hash__ = None


class RawKernel:
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, name):
        self.name = name

    def __call__(self, grid, block, args, *, shared_mem=0):
        launches[self.name] += 1


class RawModule:
    def __init__(self, code, options=()):
        pass

    def get_function(self, name):
        return RawKernel(name)


class Device:
    """The only one."""

    id, compute_capability = 0, "90"

    def __init__(self, device=None):
        pass

    def synchronize(self):
        pass


class _Library:
    """cuBLAS: a function of C that returns 0 whatever it is given, so that a call costs what ctypes takes."""

    def __init__(self):
        nothing = ctypes.util.find_library("m")
        self.multiply = ctypes.CDLL(nothing).fegetround
        pointer, number = ctypes.c_void_p, ctypes.c_int
        operand = [pointer, number, number]
        self.multiply.argtypes = [pointer, number, number, number, number, number, ctypes.POINTER(ctypes.c_float),
                                  *operand, *operand, ctypes.POINTER(ctypes.c_float), *operand, number, number]

    def cublasGemmEx(self, *args):
        launches["gemm"] += 1
        return self.multiply(*args)

    def __getattr__(self, name):
        return lambda *args: 0


def zeros(shape, dtype=np.float64):
    return made("zeros", shape, dtype)


def ascontiguousarray(x):
    return x if x.flags.c_contiguous else made("ascontiguousarray", x.shape, x.dtype)


def asarray(x, dtype=None):
    return x if type(x) is ndarray else empty(np.shape(x), dtype or np.asarray(x).dtype)


def module():
    """It, as a module."""
    cupy, stream = types.ModuleType("cupy"), SimpleNamespace(ptr=0)
    functions = {name: elementwise(name) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum",
                                                      "exp", "log1p", "tanh", "sqrt")}
    cupy.__dict__.update(
        functions, ndarray=ndarray, RawModule=RawModule, empty=empty, zeros=zeros, asarray=asarray, array=asarray,
        empty_like=lambda x: empty(x.shape, x.dtype), zeros_like=lambda x: zeros(x.shape, x.dtype),
        ones_like=lambda x: made("ones", x.shape, x.dtype), ascontiguousarray=ascontiguousarray,
        broadcast_to=lambda x, shape: ndarray(np.broadcast_to(x.view_, shape)),
        cuda=SimpleNamespace(Device=Device, get_current_stream=lambda: stream, nvrtc=SimpleNamespace(
            getVersion=lambda: (12, 9)), cublas=None, runtime=SimpleNamespace(
            getDeviceCount=lambda: 1, CUDARuntimeError=RuntimeError)))
    return cupy


@contextlib.contextmanager
def installed(cublas):
    """`import cupy` gives it, and engine/cublas.py its library, until the end."""
    before, library = sys.modules.get("cupy"), cublas._library
    sys.modules["cupy"], cublas._library = module(), _Library
    try:
        yield sys.modules["cupy"]
    finally:
        cublas._library = library
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
