"""Reverse-mode differentiation of any order, in one sitting.

A `Tensor` is an array and, if it depends on something differentiable, the operation (`Op`) that made it. An
operation remembers the operations that made its inputs, and of the inputs themselves only those it `saves`:
so an array lives exactly as long as some derivative can still ask for it.

`grad(y, xs)` walks from y back to xs. Every operation's `backward` is written in operations again; with
`create_graph=True` those are recorded like any others, and the gradient can be differentiated in turn. An
operation may also have a `fused_backward` on plain arrays, taken when no graph of the gradient is wanted.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, overload

import numpy as np

from minigan.engine.cuda import compact
from minigan.engine.devices import BF16, Array, array_module
from minigan.engine.loops.rounding import to_bf16, to_float32
from minigan.engine.loops.sums import add, add_all
from minigan.engine.products import elementwise

_count = itertools.count()
_age = operator.attrgetter("order")
_recording = ContextVar("recording", default=True)  # each thread's own: one may be in backward, another in forward


class Tensor:
    """An array of floats that may take part in a differentiable computation.

    data: NumPy or CuPy array, float32 or float64; all else, Python's numbers and lists too, becomes float32. On a GPU
        that rounds to it, what lies between layers is bfloat16 (--precision bf16).
    requires_grad: this is a variable: gradients with respect to it and all made from it can be asked for.

    >>> from minigan import Tensor
    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> y = (x @ x + 1).sum()  # operators and methods as NumPy has them
    >>> y.data.item(), y.shape, y.dtype
    (58.0, (), dtype('float32'))
    """

    __slots__ = ("data", "node")
    __array_priority__ = 100  # NumPy's own operators step back: array * Tensor comes to Tensor.__rmul__
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False, node: Op | None = None):
        if isinstance(data, Tensor):
            raise TypeError("Tensor: the data is a Tensor already; use it, or its detach()")
        if not hasattr(data, "dtype"):
            data = np.asarray(data, np.float32)
        elif isinstance(data, np.generic):  # NumPy's reductions and 0-d arithmetic give scalars
            data = np.asarray(data)
        if data.dtype.char not in "fd" and data.dtype != BF16:
            data = data.astype(np.float32)
        self.data: Array = data
        self.node = Variable() if requires_grad else node

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    def detach(self) -> Tensor:
        """The same array, cut off from what made it."""
        return Tensor(self.data)

    def item(self) -> float:
        """The value of a tensor of one element."""
        return float(self.data.item())

    # Operators and the shortest methods are the functions of ops.py, given to the class at that file's end.
    __add__: ClassVar[Callable[..., Tensor]]
    __radd__: ClassVar[Callable[..., Tensor]]
    __sub__: ClassVar[Callable[..., Tensor]]
    __rsub__: ClassVar[Callable[..., Tensor]]
    __mul__: ClassVar[Callable[..., Tensor]]
    __rmul__: ClassVar[Callable[..., Tensor]]
    __truediv__: ClassVar[Callable[..., Tensor]]
    __rtruediv__: ClassVar[Callable[..., Tensor]]
    __neg__: ClassVar[Callable[..., Tensor]]
    __pow__: ClassVar[Callable[..., Tensor]]
    __matmul__: ClassVar[Callable[..., Tensor]]
    __rmatmul__: ClassVar[Callable[..., Tensor]]
    __getitem__: ClassVar[Callable[..., Tensor]]
    sum: ClassVar[Callable[..., Tensor]]
    mean: ClassVar[Callable[..., Tensor]]
    max: ClassVar[Callable[..., Tensor]]
    reshape: ClassVar[Callable[..., Tensor]]
    transpose: ClassVar[Callable[..., Tensor]]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        made_by = "" if self.node is None else f", {type(self.node).__name__}"
        return f"Tensor({self.data!r}{made_by})"


class Op:
    """One recorded operation; a subclass gives `forward` and `backward`.

    forward(*arrays) -> array: the values. May keep what it needs in attributes. A list of arrays makes several
        results; `gy` is then a list as well, with None for results that nothing depends on.
    backward(gy) -> a tuple with a Tensor or None per input: the inputs' gradients, written in operations.
    fused_backward(gy) -> the same on plain arrays, faster; optional.
    takes_bf16: forward takes bfloat16 as it is, and backward gives a gradient of its dtype. All other operations are
        given float32 instead: only those whose work is to read and write memory gain by it.
    adds: fused_backward takes a second argument, what the first input's gradient is so far, and adds that to its part.
        `grad` gives it on a GPU, where a sum of its own is a launch and a way through memory.
    needs: per input, whether its gradient is wanted (forward: ever; backward: now); the others may be None.
    saves: the inputs that `backward` reads, as `self.saved[i]`; nothing else keeps them alive.
    """

    saves: tuple[int, ...] = ()
    needs: tuple[bool, ...] = ()
    parents: tuple[Op | None, ...] = ()
    fused_backward: Any = None
    adds = takes_bf16 = False

    def forward(self, *arrays: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, gy: Any) -> tuple[Tensor | None, ...]:
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def __call__(self, *inputs: Tensor) -> Any:
        for x in inputs:
            if not isinstance(x, Tensor):
                raise TypeError(f"{type(self).__name__}: expected a Tensor, got {type(x).__name__}; use Tensor(x)")
            if x.data.dtype == BF16 and not self.takes_bf16:
                return self(*map(in_float32, inputs))
        parents = tuple([x.node for x in inputs])
        record = _recording.get() and any(parents)
        self.needs = tuple([record and node is not None for node in parents])
        try:
            data = self.forward(*[x.data for x in inputs])
        except (ValueError, IndexError) as error:  # NumPy's own words do not say which operation it was
            given = ", ".join(f"{x.shape} {x.dtype}" for x in inputs)
            raise ValueError(f"{type(self).__name__}: {error} (given {given})") from error
        if not record:
            return [Tensor(d) for d in data] if isinstance(data, list) else Tensor(data)
        self.order = next(_count)  # a result is always younger than its inputs
        self.parents = parents
        self.saved = {i: inputs[i] for i in self.saves}
        if isinstance(data, list):
            return [Tensor(d, node=Result(self, i, len(data))) for i, d in enumerate(data)]
        return Tensor(data, node=self)

    def output(self, data: Array) -> Tensor:
        """The result as a Tensor again, for a backward that reads it (keeping that Tensor makes a cycle)."""
        return Tensor(data, node=self)


class Variable(Op):
    """The beginning of a graph: a tensor made with requires_grad=True."""

    def __init__(self) -> None:
        self.order = next(_count)


class Result(Op):
    """One of an operation's several results."""

    def __init__(self, op: Op, index: int, count: int):
        self.order = next(_count)
        self.parents, self.index, self.count = (op,), index, count


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Inside, nothing is recorded: results are constants and inputs are freed at once. Other threads go on recording.

    >>> from minigan import Tensor, grad, no_grad
    >>> x = Tensor(3.0, requires_grad=True)
    >>> with no_grad():
    ...     factor = x * x  # the number 9
    >>> grad(factor * x, x).data.item()
    9.0
    """
    with recording(False):
        yield


@overload
def grad(y: Tensor, xs: Tensor, create_graph: bool = ..., gy: Tensor | None = ...) -> Tensor: ...
@overload
def grad(y: Tensor, xs: Sequence[Tensor], create_graph: bool = ..., gy: Tensor | None = ...) -> list[Tensor]: ...
def grad(y: Tensor, xs: Tensor | Sequence[Tensor], create_graph: bool = False,
         gy: Tensor | None = None) -> Tensor | list[Tensor]:
    """Gradient of y with respect to each tensor of xs.

    y: Tensor of one element, or of any shape if `gy` (y's shape) gives weights: then it is of sum(gy * y).
    xs: one Tensor or a sequence; each of them a variable or something that was computed on the way to y.
    create_graph: record the gradient's own computation, so that it can be differentiated again.
    Returns a Tensor per x (one alone for a single x) of its shape and dtype; zeros if y does not depend on x.

    Visits only what lies between y and xs. Nothing is stored on the tensors. The gradients' arrays are for
    reading: they may share memory with each other and with gy, and be read-only views.

    Threads may differentiate side by side, and share variables; what was computed from them, one thread at a time.

    >>> from minigan import Tensor, grad
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> slope = grad((x * x * x).sum(), x, create_graph=True)
    >>> slope.data, grad(slope.sum(), x).data  # 3 x^2, 6 x
    (array([ 3., 12., 27.], dtype=float32), array([ 6., 12., 18.], dtype=float32))
    """
    single = isinstance(xs, Tensor)
    targets: list[Tensor] = [xs] if isinstance(xs, Tensor) else list(xs)
    for i, x in enumerate(targets):
        if x.node is None:
            raise ValueError(f"grad: xs[{i}] (shape {x.shape}, {x.dtype}) is a constant; "
                             "make it with requires_grad=True, or ask outside no_grad()")
    if gy is None:
        if y.size != 1:
            raise ValueError(f"grad: y has shape {y.shape}; expected one element, or weights gy of y's shape")
        gy = Tensor(array_module(y.data).ones_like(y.data))
    elif gy.shape != y.shape or gy.dtype != y.dtype:
        raise ValueError(f"grad: gy is {gy.shape} {gy.dtype}, y is {y.shape} {y.dtype}; expected the same")

    wanted = {x.node for x in targets}
    path = _path(y.node, wanted)
    on_path = set(path)
    found: dict[Op | None, Tensor] = {}
    pending: dict[Op | None, Any] = {y.node: gy}  # Tensors; lists of them for operations with several results
    summed: set[Op] = set()  # whose pending gradient is a sum made here, so that it may be added to in place
    more: dict[Op, list[Array]] = {}  # variables on a GPU: what their gradients still lack, added for all at once
    with recording(create_graph):
        for node in path:
            g = pending.pop(node, None)
            if g is None:  # behind a result that y does not depend on
                continue
            if node in wanted:
                found[node] = g
            node.needs = tuple([parent in on_path for parent in node.parents])
            if not any(node.needs):
                continue
            if isinstance(node, Result):
                pending.setdefault(node.parents[0], [None] * node.count)[node.index] = g
                continue
            before = pending.pop(node.parents[0], None) if node.adds and not create_graph and node.needs[0] \
                and not isinstance(g.data, np.ndarray) else None
            for parent, part in zip(node.parents, _backward(node, g, create_graph, before), strict=True):
                if parent not in on_path or part is None:
                    continue
                if parent not in pending:
                    pending[parent] = part
                elif isinstance(parent, Variable) and not create_graph and not isinstance(part.data, np.ndarray) \
                        and part.dtype != BF16:
                    more.setdefault(parent, []).append(part.data)
                elif parent in summed and not create_graph:
                    if part.dtype == BF16:
                        add(pending[parent].data, part.data, out=pending[parent].data)
                    else:
                        pending[parent].data += part.data
                else:
                    pending[parent] = Add()(pending[parent], part)
                    summed.add(parent)
    while more:
        sums = add_all([found[node].data for node in more], [parts[0] for parts in more.values()])
        found |= {node: Tensor(total) for node, total in zip(more, sums, strict=True)}
        more = {node: parts[1:] for node, parts in more.items() if parts[1:]}
    gradients = [found[x.node] if x.node in found else Tensor(array_module(x.data).zeros_like(x.data))
                 for x in targets]
    return gradients[0] if single else gradients


def _backward(node: Op, gy: Any, create_graph: bool, before: Tensor | None) -> Sequence[Tensor | None]:
    if create_graph or node.fused_backward is None:
        return node.backward(gy)
    if before is not None:
        return [None if g is None else Tensor(g) for g in node.fused_backward(gy.data, before.data)]
    data = [None if g is None else g.data for g in gy] if isinstance(gy, list) else gy.data
    return [None if g is None else Tensor(g) for g in node.fused_backward(data)]


def _path(root: Op | None, wanted: set[Op | None]) -> list[Op]:
    """The operations between root and any of `wanted`, both ends included, youngest first."""
    oldest = min((node.order for node in wanted if node is not None), default=0)
    seen: set[Op] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen and node.order >= oldest:
            seen.add(node)
            stack.extend(node.parents)
    reaching: set[Op | None] = set()
    path = []
    for node in sorted(seen, key=_age):
        if node in wanted or not reaching.isdisjoint(node.parents):
            reaching.add(node)
            path.append(node)
    return path[::-1]


def is_recording() -> bool:
    """Whether operations of this thread are recorded."""
    return _recording.get()


@contextlib.contextmanager
def recording(on: bool) -> Iterator[None]:
    """Inside, operations of this thread are recorded, or are not."""
    before = _recording.get()
    _recording.set(on)
    try:
        yield
    finally:
        _recording.set(before)


class Add(Op):
    """x0 + x1 of one shape and dtype."""

    takes_bf16 = True

    def forward(self, x0: Array, x1: Array) -> Array:
        return add(x0, x1) if x0.dtype == BF16 else elementwise(array_module(x0, x1).add, x0, x1)

    def backward(self, gy: Tensor) -> tuple[Tensor, Tensor]:
        return gy, gy


class InFloat32(Op):
    """bfloat16 as float32, exactly."""

    takes_bf16 = True

    def forward(self, x: Array) -> Array:
        return to_float32(x)

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (InBF16()(gy),)


class InBF16(Op):
    """float32 rounded to bfloat16; the derivative is that of x itself."""

    def forward(self, x: Array) -> Array:
        return to_bf16(compact(x))[0]

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (in_float32(gy),)


def in_float32(x: Tensor) -> Tensor:
    """x, if it is bfloat16 in float32."""
    return InFloat32()(x) if x.data.dtype == BF16 else x


class Same(Op):
    """x itself, as the beginning of a graph of its own: grad() with respect to it does not look behind it."""

    takes_bf16 = True

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, gy: Tensor) -> tuple[Tensor]:
        return (gy,)


class FusedOp(Op):
    """An operation done in one go whose derivatives are those of `composed`, the same written in operations.

    A subclass gives `forward`, `fused_backward` and `composed`; a graph of it is made only if wanted.
    """

    composed: Callable[..., Tensor]

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.saves = tuple(range(len(inputs)))
        return super().__call__(*inputs)

    def backward(self, gy: Tensor) -> tuple[Tensor | None, ...]:
        with recording(True):
            inputs = [Same()(self.saved[i]) for i in self.saves]
            y = self.composed(*inputs)
        wanted = [x for x, need in zip(inputs, self.needs, strict=True) if need]
        gy = gy if y.dtype == gy.dtype else in_float32(gy)  # of operations that were given float32
        gradients = iter(grad(y, wanted, create_graph=_recording.get(), gy=gy))
        return tuple(next(gradients) if need else None for need in self.needs)
