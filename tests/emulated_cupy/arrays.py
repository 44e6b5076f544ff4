"""cupy.ndarray and its ufuncs, computed by NumPy in the emulator's memory.

An array shows nothing of NumPy: whoever hands it to NumPy, or a NumPy array to it, gets the TypeError that CuPy gives,
or one where CuPy would copy in silence. What CuPy does differently from NumPy is done here as CuPy does it: results
are C-contiguous, reductions and full indices give arrays of no axes, `out` never broadcasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import emulator
import ml_dtypes
import numpy as np
from emulated_cupy import device, streams
from emulated_cupy.counts import count_operation
from emulated_cupy.device import Memory, MemoryPointer, count_to_host
from emulated_cupy.streams import byte_bounds

DTYPES = {np.dtype(name) for name in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
                                      "float32", "float64")}
BF16 = np.dtype(ml_dtypes.bfloat16)
_SCALARS = {bool, int, float} | {dtype.type for dtype in DTYPES}
_ATOMIC = {np.dtype(name) for name in ("int32", "uint32", "uint64", "float32", "float64")}


def dtype_of(dtype: Any) -> np.dtype:
    """NumPy's dtype, one that the fake knows."""
    dtype = np.dtype(dtype)
    if dtype not in DTYPES and dtype != BF16:  # complex, float16, text
        raise TypeError(f"the emulated CuPy has no {dtype}; it has {', '.join(sorted(map(str, DTYPES)))}")
    return dtype


def allocate(shape: Any, dtype: Any) -> ndarray:
    """An uninitialized array in C order."""
    dtype = dtype_of(dtype)
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(map(int, shape))
    memory = device.allocate(math.prod(shape) * dtype.itemsize)
    return wrap(np.ndarray(shape, dtype, memory.bytes), memory)


def allocate_like(a: np.ndarray, dtype: Any) -> ndarray:
    """The same with a's order of axes in memory, which is what order='K' means."""
    axes = sorted(range(a.ndim), key=lambda i: -abs(a.strides[i]))
    if axes == list(range(a.ndim)):
        return allocate(a.shape, dtype)
    x = allocate([a.shape[i] for i in axes], dtype)
    return wrap(x._a.transpose(np.argsort(axes)), x._memory)


def wrap(a: np.ndarray, memory: Memory) -> ndarray:
    x = object.__new__(ndarray)
    x._a, x._memory = a, memory
    return x


def put(x: ndarray, values: Any) -> ndarray:
    """x[...] = values of the host, known to the emulator as written."""
    np.copyto(x._a, values, casting="unsafe")
    written(x._a)
    return x


def written(a: np.ndarray) -> None:
    """Known to the emulator as written; a view with gaps counts as written from end to end."""
    if a.flags.c_contiguous:
        emulator.memory.written(a.ctypes.data, a.nbytes)
    elif a.size:
        low, high = byte_bounds(a)
        emulator.memory.written(low, high - low)


def change(name: str, function: Callable[..., Any], target: ndarray, *operands: Any) -> ndarray:
    """Let the device do function(target, *operands), which writes to target: now, or when a graph is launched.

    Device arrays reach the function as NumPy's. bfloat16 is left to the kernels: CuPy compiles its own for it only
    where ml_dtypes and a header of CUDA's are.
    """
    for x in (target, *operands):
        if type(x) is ndarray and x.dtype == BF16 and target.size:
            raise TypeError(f"{name}: bfloat16 is for kernels; the emulated CuPy computes nothing with it")
    def run(target: np.ndarray, *operands: Any) -> None:
        with np.errstate(all="ignore"):
            function(target, *operands)
        written(target)
    capture = streams.capture_of(name)
    if capture is None:
        if target.size:
            count_operation(name)
        run(target._a, *(x._a if type(x) is ndarray else x for x in operands))
    elif target.size:
        capture.notes.append(streams.Note(name, run, [
            streams.Place(x._a) if type(x) is ndarray else x for x in (target, *operands)]))
    return target


def store(name: str, function: Callable[..., Any], *operands: Any, out: ndarray | None = None,
          casting: Any = "same_kind") -> ndarray:
    """function(*operands), as the result of an operation: a new array, or `out`."""
    with np.errstate(all="ignore"):  # during a capture for its shape alone
        result = function(*(x._a if type(x) is ndarray else x for x in operands))
    if out is None:
        out = allocate(result.shape, result.dtype)
    elif behind(out, "out").shape != result.shape:
        raise ValueError(f"{name}: out has shape {out._a.shape}, the result {result.shape}")
    if not np.can_cast(result.dtype, out.dtype, casting):
        raise TypeError(f"{name}: cannot cast {result.dtype} to out, {out.dtype}, by the rule '{casting}'")
    if streams.capture_of(name) is None:
        return change(name, lambda to: np.copyto(to, result, casting=casting), out)
    return change(name, lambda to, *xs: np.copyto(to, function(*xs), casting=casting), out, *operands)


def behind(x: Any, what: str = "argument") -> np.ndarray:
    """The NumPy array behind a device array; TypeError for anything else."""
    if type(x) is not ndarray:
        raise TypeError(f"Unsupported type {type(x)}: this {what} must be a cupy.ndarray")
    return x._a


def operand(x: Any) -> Any:
    """The same; numbers, Python's and NumPy's, are let through."""
    if type(x) is ndarray:
        return x._a
    if type(x) in _SCALARS:
        return x
    raise TypeError(f"Unsupported type {type(x)}")


class ufunc:
    """An element-by-element function: NumPy's, on device arrays and numbers."""

    def __init__(self, function: np.ufunc, name: str = ""):
        self._function, self.__name__ = function, name or function.__name__

    def __call__(self, *args: Any, out: ndarray | None = None) -> ndarray:
        values = [operand(x) for x in args]
        if len(values) != self._function.nin or not any(type(x) is ndarray for x in args):
            raise TypeError(f"{self.__name__}: expected {self._function.nin} arguments, one of them an array")
        return store(self.__name__, self._function, *args, out=out)

    def outer(self, A: ndarray, B: ndarray) -> ndarray:
        """The function of every pair."""
        behind(A), behind(B)
        return store(f"{self.__name__}.outer", self._function.outer, A, B)

    def at(self, a: ndarray, indices: Any, b: Any) -> None:
        """a[indices] = function(a[indices], b), in place, an element once for each time it is indexed."""
        if self.__name__ not in ("add", "maximum", "minimum"):
            raise NotImplementedError(f"`{self.__name__}.at` is not supported yet")
        if behind(a).dtype not in _ATOMIC:
            raise TypeError(f"{self.__name__}.at: the device has no atomic operation for {a.dtype}")
        operand(b)
        where, arrays = index(indices)
        change(f"{self.__name__}.at", lambda a, b, *parts: self._function.at(a, where(parts), np.asarray(b, a.dtype)),
               a, b, *arrays)


def index(given: Any) -> tuple[Callable[[Sequence[Any]], tuple[Any, ...]], list[ndarray]]:
    """An index for NumPy as a function of the arrays in it, and these arrays: if there are any, the result is no view.
    """
    parts = given if type(given) is tuple else (given,)
    arrays = [part for part in parts if type(part) is ndarray]
    for part in parts:
        if type(part) is ndarray:
            if part.dtype.kind not in "biu" or (part.dtype.kind == "b" and part.ndim == 0):
                raise IndexError(f"arrays used as indices must be of integer or boolean type, not {part.dtype}")
        elif part is None or part is Ellipsis or (isinstance(part, int | np.integer) and not isinstance(part, bool)):
            pass
        elif not isinstance(part, slice) or not all(i is None or isinstance(i, int | np.integer)
                                                    for i in (part.start, part.stop, part.step)):
            raise TypeError(f"index of {type(part)}: CuPy would copy it to the device in silence; use cupy.asarray")
    masks = sum(part.dtype.kind == "b" for part in arrays)
    if masks > 1:
        raise IndexError("CuPy does not support more than one boolean array in an index")
    if masks:
        count_to_host()  # CuPy must know how many are true before it can go on

    def where(given: Sequence[Any]) -> tuple[Any, ...]:
        found = iter(given)
        return tuple(next(found) if type(part) is ndarray else part for part in parts)
    return where, arrays


class Flags:
    __slots__ = ("c_contiguous", "f_contiguous", "forc", "fnc")

    def __init__(self, flags: Any):
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.forc, self.fnc = flags.forc, flags.fnc


class ndarray:
    """An array on the device. Made by cupy.empty and the like, never by its class."""

    __slots__ = ("_a", "_memory")
    __array_priority__ = 100
    # CuPy hands np.add(x, 1) and np.sum(x) to its own functions; the fake refuses both, and with this None NumPy's
    # scalars step back: np.float32(2) * x comes to x.__rmul__, as it comes to cupy.multiply there.
    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, *args: Any, **options: Any):
        raise TypeError("cupy.ndarray(...): use cupy.empty")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the emulated cupy.ndarray has no '{name}': see whether CuPy's has it, then add it to "
                             "tests/emulated_cupy")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a "
                        "NumPy array explicitly.")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} of a cupy.ndarray: use cupy.{func.__name__}")

    def __reduce__(self) -> Any:
        raise TypeError("the emulated CuPy pickles no arrays: use .get()")

    # ---- what it is

    shape = property(lambda self: self._a.shape)
    strides = property(lambda self: self._a.strides)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    flags = property(lambda self: Flags(self._a.flags))
    T = property(lambda self: wrap(self._a.T, self._memory))
    data = property(lambda self: MemoryPointer(self._memory, self._a.ctypes.data - self._memory.buffer.address))
    device = property(lambda self: device.Device())

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Iterator[ndarray]:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._a)))

    # ---- to the host: each of these waits for the device

    def get(self) -> np.ndarray:
        count_to_host()
        return self._a.copy(order="C")

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, format_spec: str) -> str:
        return format(self.get(), format_spec)

    # ---- indexing

    def __getitem__(self, slices: Any) -> ndarray:
        where, arrays = index(slices)
        if arrays:
            return store("getitem", lambda a, *parts: a[where(parts)], self, *arrays)
        return self._view(where(()))

    def _view(self, where: tuple[Any, ...]) -> ndarray:
        return wrap(self._a[where if Ellipsis in where else (*where, Ellipsis)], self._memory)

    def __setitem__(self, slices: Any, value: Any) -> None:
        where, arrays = index(slices)
        given = operand(value)
        if arrays:
            if any(part.dtype.kind != "b" for part in arrays):
                flat = np.arange(self._a.size).reshape(self._a.shape)[where([part._a for part in arrays])]
                if np.unique(flat).size < flat.size:
                    raise ValueError("an element is indexed twice: CuPy does not say which value it gets; use add.at")

            def put_there(a: np.ndarray, value: Any, *parts: np.ndarray) -> None:
                a[where(parts)] = value
            change("setitem", put_there, self, value, *arrays)
            return
        target = self._view(where(()))
        if isinstance(given, np.ndarray) and _same(target._a, given):
            return  # x[i] += y has already been done in the view x[i]
        np.broadcast_to(given, target.shape)  # an error if it does not fit
        change("setitem", lambda a, value: np.copyto(a, value, casting="unsafe"), target, value)

    # ---- copies and other views of the same elements

    def astype(self, dtype: Any, *, copy: bool = True) -> ndarray:
        if not copy and dtype_of(dtype) == self._a.dtype:
            return self
        return self._copy("astype", allocate_like(self._a, dtype))

    def copy(self) -> ndarray:
        return self._copy("copy", allocate(self._a.shape, self._a.dtype))

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def _copy(self, name: str, to: ndarray) -> ndarray:
        return change(name, lambda to, a: np.copyto(to, a, casting="unsafe"), to, self)

    def fill(self, value: Any) -> None:
        if type(value) is ndarray:
            raise TypeError("fill: expected a number")
        self[...] = value

    def set(self, arr: np.ndarray) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (arr.dtype, arr.shape) != (self._a.dtype, self._a.shape):
            raise TypeError(f"{arr.dtype} array {arr.shape} cannot be set to {self.dtype} array {self.shape}")
        if not (self._a.flags.c_contiguous or self._a.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        device.count_to_device()
        put(self, arr)

    def view(self, dtype: Any = None) -> ndarray:
        return wrap(self._a.view() if dtype is None else self._a.view(dtype_of(dtype)), self._memory)

    def reshape(self, *shape: Any) -> ndarray:
        return self._moved("reshape", self._a.reshape(*shape))

    def ravel(self) -> ndarray:
        return self._moved("ravel", self._a.reshape(-1))

    def flatten(self) -> ndarray:
        return self.copy().ravel()

    def transpose(self, *axes: Any) -> ndarray:
        return wrap(self._a.transpose(*axes), self._memory)

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return wrap(self._a.swapaxes(axis1, axis2), self._memory)

    def squeeze(self, axis: Any = None) -> ndarray:
        return wrap(self._a.squeeze(axis), self._memory)

    def _moved(self, name: str, a: np.ndarray) -> ndarray:
        """A view of this array, or if NumPy had to copy, a new one."""
        if np.may_share_memory(a, self._a):
            return wrap(a, self._memory)
        return store(name, lambda x: x.reshape(a.shape), self)

    # ---- reductions

    def _reduce(self, name: str, axis: Any, keepdims: bool, out: ndarray | None = None, **options: Any) -> ndarray:
        if axis == ():
            raise ValueError(f"{name}: no axis to reduce")
        if options.get("dtype", 0) is None:
            del options["dtype"]
        return store(name, lambda a: getattr(np, name)(a, axis=axis, keepdims=bool(keepdims), **options), self, out=out)

    def sum(self, axis: Any = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return self._reduce("sum", axis, keepdims, out, dtype=dtype)

    def prod(self, axis: Any = None, dtype: Any = None, out: ndarray | None = None, keepdims: Any = None) -> ndarray:
        return self._reduce("prod", axis, keepdims, out, dtype=dtype)

    def mean(self, axis: Any = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return self._reduce("mean", axis, keepdims, out, dtype=dtype)

    def var(self, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> ndarray:
        return self._reduce("var", axis, keepdims, ddof=ddof)

    def max(self, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return self._reduce("max", axis, keepdims, out)

    def min(self, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return self._reduce("min", axis, keepdims, out)

    def any(self, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return self._reduce("any", axis, keepdims, out)

    def all(self, axis: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        return self._reduce("all", axis, keepdims, out)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
        return self._reduce("argmax", axis, keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> ndarray:
        return self._reduce("argmin", axis, keepdims)

    def clip(self, min: Any = None, max: Any = None, out: ndarray | None = None) -> ndarray:
        for x in (min, max):
            operand(0 if x is None else x)
        return store("clip", np.clip, self, min, max, out=out)

    def take(self, indices: ndarray, axis: int | None = None) -> ndarray:
        if behind(indices, "index").dtype.kind not in "iu":
            raise TypeError(f"take: expected integers, got {indices.dtype}")
        return store("take", lambda a, i: np.take(a, i, axis), self, indices)  # CuPy wraps what is out of range

    # ---- operators; CuPy has no __imatmul__

    def __matmul__(self, other: Any) -> ndarray:
        return NotImplemented if _steps_back(other) else matmul(self, other)

    def __rmatmul__(self, other: Any) -> ndarray:
        return NotImplemented if _steps_back(other) else matmul(other, self)

    def dot(self, b: ndarray, out: ndarray | None = None) -> ndarray:
        _refuse_product(self, b)
        dtype = np.result_type(self._a, behind(b))
        if out is not None and (not behind(out, "out").flags.c_contiguous or out.dtype != dtype):
            raise ValueError(f"dot: out must be C-contiguous {dtype}")
        return store("dot", np.dot, self, b, out=out)


def matmul(*args: ndarray, out: ndarray | None = None) -> ndarray:
    """The product of matrices in the last two axes; cupy.matmul takes no more than two arrays and out."""
    a, b = args
    behind(a), behind(b)
    _refuse_product(a, b)
    return store("matmul", np.matmul, a, b, out=out)


def _refuse_product(a: ndarray, b: ndarray) -> None:
    """A product of two vectors is a sum in CuPy; all others are cuBLAS's."""
    if a.ndim > 1 or b.ndim > 1:
        streams.refuse_library("cuBLAS")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.shape, a.strides, a.dtype, a.ctypes.data) == (b.shape, b.strides, b.dtype, b.ctypes.data)


def _steps_back(other: Any) -> bool:
    """Whether the other operand asks for the operation, as minigan's Tensor does."""
    return type(other) is not ndarray and getattr(other, "__array_ufunc__", 0) is None


# name in CuPy -> NumPy's ufunc
UFUNCS = {name: ufunc(getattr(np, name), name) for name in """
    add subtract multiply divide true_divide floor_divide remainder power negative absolute abs sign square reciprocal
    exp expm1 log log1p log2 sqrt cos sin tanh floor ceil rint maximum minimum isfinite isnan isinf
    equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not
    bitwise_and bitwise_or bitwise_xor right_shift invert
    """.split()}


def _operators() -> None:
    """ndarray's operators, out of UFUNCS."""
    def method(name: str, function: ufunc) -> None:
        def forward(self: ndarray, other: Any) -> Any:
            return NotImplemented if _steps_back(other) else function(self, other)

        def backward(self: ndarray, other: Any) -> Any:
            return NotImplemented if _steps_back(other) else function(other, self)

        def in_place(self: ndarray, other: Any) -> Any:
            return NotImplemented if _steps_back(other) else function(self, other, out=self)
        setattr(ndarray, f"__{name}__", forward)
        if name not in ("eq", "ne", "lt", "le", "gt", "ge"):
            setattr(ndarray, f"__r{name}__", backward)
            setattr(ndarray, f"__i{name}__", in_place)

    for name, function in (
            ("add", "add"), ("sub", "subtract"), ("mul", "multiply"), ("truediv", "true_divide"),
            ("floordiv", "floor_divide"), ("mod", "remainder"), ("pow", "power"), ("and", "bitwise_and"),
            ("or", "bitwise_or"), ("xor", "bitwise_xor"), ("rshift", "right_shift"), ("eq", "equal"),
            ("ne", "not_equal"), ("lt", "less"), ("le", "less_equal"), ("gt", "greater"), ("ge", "greater_equal")):
        method(name, UFUNCS[function])
    for name, function in (("neg", "negative"), ("abs", "absolute"), ("invert", "invert")):
        setattr(ndarray, f"__{name}__", lambda self, function=UFUNCS[function]: function(self))


_operators()
