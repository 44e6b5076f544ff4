"""Reads a pickle as data: a small stack machine that can build nothing but what its caller lists.

A pickle is a program for a stack machine, and Python's own reader runs whatever function the file names.
This one knows the opcodes that the published data files use (protocols 2 to 5; opcodes as documented in
Python's pickletools.py) and looks every global up in a dict that the caller gives: name -> a function of
ours that builds plain data. Everything else is refused with one line that names the opcode or the global.
Nothing is imported, no attribute is set, and no memory is taken before its size was checked.

Python 2's `str` comes back as bytes: the file does not say which of them are text.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np

from minigan.errors import FailedWork, brief

MAX_STEPS = 1_000_000  # opcodes; a CIFAR-10 batch takes 60 thousand. Bounds time, and memory to about 200 MB
MAX_STACK = 100_000  # values waiting on the stack; Python's picklers put at most 1000 items between marks
MAX_MARKS = 100  # marks open at once; a CIFAR-10 batch has 3
NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the pickle asked for and the caller allows; `make` is our function for it."""

    name: str
    make: Callable[..., Any]


class Buildable:
    """A value that the opcode BUILD may complete; `build` checks the state and raises ValueError."""

    def build(self, state: Any) -> None:
        raise ValueError(f"{type(self).__name__} takes no state")


def load(
    data: bytes, allowed: Mapping[str, Callable[..., Any]], file: str, max_steps: int = MAX_STEPS
) -> Any:
    """The value that the pickle `data` describes.

    allowed: "module.name" -> function called with the pickled arguments, e.g. `numpy_globals(len(data))`; it
    checks them itself and raises ValueError (TypeError and OverflowError count as that too).
    file: what the error line calls the data.
    Raises FailedWork, one line, for anything broken, unknown, or larger than the limits above.
    """
    value, end = load_from(data, 0, allowed, file, max_steps)
    if end != len(data):
        raise FailedWork(f"{file}: cannot be read as a pickle of plain data: {len(data) - end} bytes follow its end")
    return value


def load_from(
    data: bytes, start: int, allowed: Mapping[str, Callable[..., Any]], file: str, max_steps: int = MAX_STEPS,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """The value that the pickle at data[start:] describes, and where it ends: for files with several in a row.

    persistent: our function for what the pickle only points to (opcode BINPERSID), given the pointer, which it
    checks like the functions in `allowed`; None: such pickles are refused.
    """
    machine = _Machine(data, start, allowed, file, persistent)
    for _ in range(max_steps):
        machine.opcode = "an opcode"
        code = machine.take(1)
        machine.opcode = NAMES.get(code[0], f"0x{code[0]:02x}")
        if machine.opcode == "STOP":
            if len(machine.stack) != 1 or machine.marks:
                machine.refuse(f"it stops with {len(machine.stack)} values on the stack, expected one")
            return machine.stack[0], machine.pos
        if machine.opcode not in OPCODES or (machine.opcode == "BINPERSID" and persistent is None):
            machine.refuse(f"opcode {machine.opcode} is not among those that data needs")
        OPCODES[machine.opcode](machine)
    machine.refuse(f"it takes more than {max_steps} steps")


class _Machine:
    """The state of one run: the bytes and how far they are read, the stack, its marks, the memo."""

    def __init__(self, data: bytes, start: int, allowed: Mapping[str, Callable[..., Any]], file: str,
                 persistent: Callable[[Any], Any] | None):
        self.data, self.allowed, self.file, self.persistent = data, allowed, file, persistent
        self.pos = start
        self.stack: list[Any] = []
        self.marks: list[int] = []  # stack heights
        self.memo: dict[int, Any] = {}  # a dict: an index of 2**31 takes one entry, not a list of that length
        self.opcode = ""

    def refuse(self, why: str) -> NoReturn:
        raise FailedWork(f"{self.file}: cannot be read as a pickle of plain data: {why} (byte {self.pos})")

    def take(self, n: int) -> bytes:
        left = len(self.data) - self.pos
        if n > left:
            self.refuse(f"{self.opcode} needs {n} bytes, {left} are left; the file is broken or cut off")
        self.pos += n
        return self.data[self.pos - n : self.pos]

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def text(self, n: int) -> str:
        try:
            return self.take(n).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.refuse(f"{self.opcode} holds a text that is not UTF-8")

    def line(self) -> str:
        """The text up to the next newline; names are short, so no newline within 200 bytes is a refusal."""
        end = self.data.find(b"\n", self.pos, self.pos + 200)
        if end < 0:
            self.refuse(f"{self.opcode} holds no name of at most 200 bytes")
        text = self.text(end - self.pos)
        self.pos += 1
        return text

    def push(self, value: Any) -> None:
        if len(self.stack) >= MAX_STACK:
            self.refuse(f"{self.opcode} would put more than {MAX_STACK} values on the stack")
        self.stack.append(value)

    def pop(self, n: int) -> tuple[Any, ...]:
        """The n uppermost values, lowest first; those below the last mark are out of reach."""
        height = len(self.stack) - n
        if height < (self.marks[-1] if self.marks else 0):
            self.refuse(f"{self.opcode} finds too few values on the stack")
        values = tuple(self.stack[height:])
        del self.stack[height:]
        return values

    def pop_to_mark(self) -> tuple[Any, ...]:
        if not self.marks:
            self.refuse(f"{self.opcode} finds no mark on the stack")
        values = self.pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return values

    def top(self, kind: type) -> Any:
        """The uppermost value, which must be a `kind`; it stays on the stack."""
        (value,) = self.pop(1)
        self.stack.append(value)
        if not isinstance(value, kind):
            self.refuse(f"{self.opcode} is applied to a {type(value).__name__}")
        return value

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except (ValueError, TypeError, OverflowError) as error:
            self.refuse(f"{name}: {error}")


def _proto(m: _Machine) -> None:
    protocol = m.number(1)
    if protocol not in (2, 3, 4, 5):
        m.refuse(f"its protocol is {protocol}, expected 2 to 5")


def _frame(m: _Machine) -> None:
    n, left = m.number(8), len(m.data) - m.pos
    if n > left:
        m.refuse(f"FRAME announces {n} bytes, {left} are left; the file is broken or cut off")


def _mark(m: _Machine) -> None:
    if len(m.marks) >= MAX_MARKS:
        m.refuse(f"MARK nests deeper than {MAX_MARKS}")
    m.marks.append(len(m.stack))


def _push_global(m: _Machine, module: Any, name: Any) -> None:
    if not (isinstance(module, str) and isinstance(name, str)):
        m.refuse(f"{m.opcode} asks for {brief(name)} of {brief(module)}, expected names")
    full = f"{module}.{name}"
    if full not in m.allowed:
        m.refuse(f"it asks for {brief(full)}, which plain data does not need")
    m.push(Global(full, m.allowed[full]))


def _reduce(m: _Machine) -> None:
    function, args = m.pop(2)
    if not isinstance(function, Global) or not isinstance(args, tuple):
        m.refuse(f"{m.opcode} calls a {type(function).__name__} with a {type(args).__name__}")
    m.push(m.call(function.name, function.make, *args))


def _build(m: _Machine) -> None:
    (state,) = m.pop(1)
    target = m.top(Buildable)
    m.call(type(target).__name__, target.build, state)


def _persistent(m: _Machine) -> None:
    (pointer,) = m.pop(1)
    assert m.persistent is not None, "load_from refuses the opcode"
    m.push(m.call("a persistent id", m.persistent, pointer))


def _put(m: _Machine, index: int) -> None:
    m.memo[index] = m.top(object)


def _get(m: _Machine, index: int) -> None:
    if index not in m.memo:
        m.refuse(f"{m.opcode} asks for memo entry {index}, which was never stored")
    m.push(m.memo[index])


def _append(m: _Machine, items: tuple[Any, ...]) -> None:
    m.top(list).extend(items)


def _set_items(m: _Machine, items: tuple[Any, ...]) -> None:
    target = m.top(dict)
    if len(items) % 2:
        m.refuse(f"{m.opcode} finds a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only these: the hash of a tuple of tuples of ... takes time exponential in the length of the file.
        if not isinstance(key, (str, bytes, int)):
            m.refuse(f"{m.opcode} uses a {type(key).__name__} as a key, expected text or a number")
        target[key] = value


# By the names in pickletools.py, which also explains each.
OPCODES: dict[str, Callable[[_Machine], None]] = {
    "PROTO": _proto,
    "FRAME": _frame,
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "BININT": lambda m: m.push(struct.unpack("<i", m.take(4))[0]),
    "BININT1": lambda m: m.push(m.number(1)),
    "BININT2": lambda m: m.push(m.number(2)),
    "LONG1": lambda m: m.push(int.from_bytes(m.take(m.number(1)), "little", signed=True)),
    "BINFLOAT": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # BINSTRING's length is signed; read unsigned, a negative one is more than any file holds.
    "SHORT_BINSTRING": lambda m: m.push(m.take(m.number(1))),
    "BINSTRING": lambda m: m.push(m.take(m.number(4))),
    "SHORT_BINBYTES": lambda m: m.push(m.take(m.number(1))),
    "BINBYTES": lambda m: m.push(m.take(m.number(4))),
    "BINBYTES8": lambda m: m.push(m.take(m.number(8))),
    "BYTEARRAY8": lambda m: m.push(m.take(m.number(8))),  # protocol 5; whether it could be changed is of no use here
    "SHORT_BINUNICODE": lambda m: m.push(m.text(m.number(1))),
    "BINUNICODE": lambda m: m.push(m.text(m.number(4))),
    "BINUNICODE8": lambda m: m.push(m.text(m.number(8))),
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE1": lambda m: m.push(m.pop(1)),
    "TUPLE2": lambda m: m.push(m.pop(2)),
    "TUPLE3": lambda m: m.push(m.pop(3)),
    "MARK": _mark,
    "TUPLE": lambda m: m.push(m.pop_to_mark()),
    "EMPTY_LIST": lambda m: m.push([]),
    "APPEND": lambda m: _append(m, m.pop(1)),
    "APPENDS": lambda m: _append(m, m.pop_to_mark()),
    "EMPTY_DICT": lambda m: m.push({}),
    "SETITEM": lambda m: _set_items(m, m.pop(2)),
    "SETITEMS": lambda m: _set_items(m, m.pop_to_mark()),
    "BINPUT": lambda m: _put(m, m.number(1)),
    "LONG_BINPUT": lambda m: _put(m, m.number(4)),
    "MEMOIZE": lambda m: _put(m, len(m.memo)),
    "BINGET": lambda m: _get(m, m.number(1)),
    "LONG_BINGET": lambda m: _get(m, m.number(4)),
    "GLOBAL": lambda m: _push_global(m, m.line(), m.line()),
    "STACK_GLOBAL": lambda m: _push_global(m, *m.pop(2)),
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,  # a class instead of a function: to us, both are functions of ours
    "BUILD": _build,
    "BINPERSID": _persistent,
}


class PickledDtype(Buildable):
    """numpy.dtype(name, align, copy): one of the plain numeric types; BUILD gives the byte order."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False):
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        if text not in ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"):
            raise ValueError(f"type {brief(text)} is not a plain number")
        self.dtype = np.dtype(text)

    def build(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, size, alignment, flags); the middle three make a
        # structured type. See numpy's arraydescr_setstate.
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("a structured type, expected plain numbers")
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError("a byte order other than < > | =")
        self.dtype = np.dtype(order + self.dtype.str[1:])


class PickledArray(Buildable):
    """An array on its way: made empty by _reconstruct, complete in `array` after BUILD (read-only)."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
            raise ValueError("the state of an array is not (1, shape, dtype, order, bytes)")
        _, shape, kind, fortran, data = state
        if not isinstance(shape, tuple) or len(shape) > 32:
            raise ValueError("the shape of an array is not a tuple of at most 32 lengths")
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("the shape of an array holds something other than lengths")
        if not isinstance(kind, PickledDtype) or not isinstance(data, bytes):
            raise ValueError("an array of something other than plain numbers in bytes")
        need = prod(shape) * kind.dtype.itemsize
        if need != len(data):
            raise ValueError(f"shape {brief(shape)} and type {kind.dtype} do not fit {len(data)} bytes")
        self.array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")


def numpy_globals(limit: int) -> dict[str, Callable[..., Any]]:
    """The globals that a pickled array asks for, as functions that only check and reshape.

    The result of `load` then holds a PickledArray wherever an array was.
    limit: bytes that _codecs.encode may make in all (protocol 2 written by Python 3 stores bytes as text,
    which can be asked for again and again); the length of the file is enough.
    """
    left = limit

    def encode(text: Any, encoding: Any) -> bytes:
        nonlocal left
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("expected a text and 'latin1'")
        left -= len(text)
        if left < 0:
            raise ValueError("more bytes than the file holds")
        return text.encode("latin-1")

    def reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
        if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
            raise ValueError("expected numpy.ndarray as the first argument")
        return PickledArray()

    def from_buffer(data: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> PickledArray:
        made = PickledArray()
        if order == "K":  # C's order of other axes
            rank = len(shape) if isinstance(shape, tuple) else 0
            if not isinstance(axes, tuple) or not all(type(n) is int for n in axes) or sorted(axes) != [*range(rank)]:
                raise ValueError("an array in the order of axes that it does not have")
        elif order not in ("C", "F"):
            raise ValueError("an order other than C, F and K")
        made.build((1, shape, kind, order == "F", data))
        if order == "K":
            made.array = made.array.transpose(axes)  # type: ignore[union-attr]
        return made

    def ndarray(*args: Any) -> NoReturn:
        raise ValueError("is named by arrays, never called")

    return {
        "numpy.core.multiarray._reconstruct": reconstruct,  # numpy 1
        "numpy._core.multiarray._reconstruct": reconstruct,  # numpy 2
        "numpy.core.numeric._frombuffer": from_buffer,  # protocol 5, numpy 1
        "numpy._core.numeric._frombuffer": from_buffer,  # numpy 2
        "numpy.ndarray": ndarray,
        "numpy.dtype": PickledDtype,
        "_codecs.encode": encode,
    }
