"""Functions that do not need each other's results, each forward and back on threads of its own.

To split every operation over the threads costs a meeting for each: waking the others, waiting for the last, and bytes
that one core wrote and another reads. Whole functions side by side meet twice: after their results and after their
gradients, which are added in their order. Each is computed as it would be alone, so the results have the same bytes for
any number of threads; where there are more threads than functions, each function splits its operations over its share.

Short operations still wait for each other: one thread at a time may hold Python's lock. So some of the functions may be
done by another process (`DoneElsewhere`), again with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from minigan.engine.autograd import Op, Same, Tensor, grad, is_recording, recording
from minigan.engine.devices import Array
from minigan.engine.thread_pool import at_most, parallel, thread_count

Function = Callable[..., Tensor]


class DoneElsewhere(Protocol):
    """A function that another process does, and has begun with its forward."""

    @property
    def trial(self) -> bool:
        """Whether its results are compared with this process's own, and not used yet."""

    @property
    def threads(self) -> int:
        """How many this process may use meanwhile."""

    def result(self) -> Array | None:
        """Wait for the result. None: there will be none, and this process must do it."""

    def ask(self, gy: Array, needs: Sequence[bool]) -> bool:
        """Let it compute the gradients of those inputs and variables, in their order, that are needed; whether it does.

        gy: the result's gradient.
        """

    def gradients(self) -> list[Array | None] | None:
        """Wait for them: an array where one is needed and the input or variable was used. None: as of `result`."""

    def compared(self, same: bool) -> None:
        """What the comparison says: whether it may be relied on."""


def side_by_side(functions: Sequence[Function], inputs: Sequence[Sequence[Tensor]], variables: Sequence[Tensor] = (),
                 apart: bool = True, elsewhere: Mapping[int, DoneElsewhere] | None = None) -> list[Tensor]:
    """[function(*its inputs) for each], computed at once, with derivatives of every order.

    functions: each gives one Tensor, draws no random numbers and changes nothing that another reads. Each may be called
        again, for derivatives of higher order. A long one should come first: whoever is free takes the next.
    inputs: of each function, in its order.  variables: what functions use beside their inputs and has a gradient: made
    with requires_grad=True, nothing that was computed.
    apart: False: one after the other after all, with the same bytes; small ones would mostly wait for Python's lock.
    elsewhere: number of a function -> who does it in this process's place, with the same inputs and variables.
    """
    op = SideBySide(functions, [len(given) for given in inputs], apart, elsewhere)
    return op(*(x for given in inputs for x in given), *variables)


class SideBySide(Op):
    """Inputs: those of all functions one after the other, then the variables; a result for each function."""

    def __init__(self, functions: Sequence[Function], counts: Sequence[int], apart: bool = True,
                 elsewhere: Mapping[int, DoneElsewhere] | None = None):
        self.least = 2 if apart else len(functions) + 1
        ends = list(accumulate(counts))
        self.functions, self.elsewhere = list(functions), dict(elsewhere or {})
        self.own = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self.shared = ends[-1]  # where the variables begin

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        self.saves = tuple(range(len(inputs)))
        self.variables = list(inputs[self.shared:])
        return super().__call__(*inputs)

    def forward(self, *arrays: Array) -> list[Array]:
        here = [i for i in range(len(self.functions)) if i not in self.elsewhere]
        self.runs = self._run(arrays, here)
        results = {i: y.data for i, (_, y) in self.runs.items()}
        for i, other in self.elsewhere.items():
            found = other.result()
            if found is None or other.trial:
                self.runs |= self._run(arrays, [i])
                results[i] = self.runs[i][1].data
                if found is not None and not _same(found, results[i]):
                    other.compared(False)
            else:
                results[i] = found
        if not any(self.needs):
            self.runs = {}
        return [results[i] for i in range(len(self.functions))]

    def backward(self, gys: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        """By the functions once more, one after the other: their graphs have derivatives of every order."""
        create = is_recording()
        totals: list[Tensor | None] = [None] * len(self.needs)
        for i, gy in enumerate(gys):
            if gy is None:
                continue
            with recording(True):
                mine = [Same()(self.saved[k]) for k in range(self.own[i].start, self.own[i].stop)]
                y = self.functions[i](*mine)
            wanted = self._wanted(i, mine)
            for (place, _), g in zip(wanted, grad(y, [x for _, x in wanted], create, gy), strict=True):
                total = totals[place]
                totals[place] = g if total is None else total + g
        return tuple(totals)

    def fused_backward(self, gys: list[Array | None]) -> tuple[Array | None, ...]:
        runs, self.runs = self.runs, {}
        given = {i: gy for i, gy in enumerate(gys) if gy is not None}
        asked = {i: other for i, other in self.elsewhere.items()
                 if i in given and other.ask(given[i], [self.needs[k] for k in self._places(i)])}
        trial = any(other.trial for other in asked.values())
        missing = [i for i in given if i not in runs and i not in asked]
        if missing:  # somebody asks once more
            runs |= self._run([self.saved[i].data for i in self.saves], missing)
        todo = {i: run for i, run in runs.items() if i in given and run[1].requires_grad}
        del runs

        def gradients(i: int) -> list[Array | None]:
            mine, y = todo.pop(i)  # its graph is freed when its gradients are there
            wanted = self._wanted(i, mine)
            found = grad(y, [x for _, x in wanted], gy=Tensor(given[i]))
            by_place = {place: g.data for (place, _), g in zip(wanted, found, strict=True)}
            return [by_place.get(place) for place in self._places(i)]
        here = list(todo)
        with at_most(min((other.threads for other in asked.values()), default=thread_count())):
            found = dict(zip(here, parallel(gradients, here, large=True, least=self.least), strict=True))
        for i, other in asked.items():
            theirs = other.gradients()
            if theirs is None and i not in found:
                todo |= self._run([self.saved[k].data for k in self.saves], [i])
                found[i] = gradients(i)
            elif theirs is not None and trial:
                other.compared(all(map(_same, theirs, found[i])))
            elif theirs is not None:
                found[i] = theirs
        totals: list[Array | None] = [None] * len(self.needs)
        for i in sorted(found):
            for place, g in zip(self._places(i), found[i], strict=True):
                if not self.needs[place]:
                    continue
                g = np.zeros_like(self.saved[place].data) if g is None else g  # it does not depend on that
                total = totals[place]
                totals[place] = g if total is None else total + g
        return tuple(totals)

    def _run(self, arrays: Sequence[Array], which: Sequence[int]) -> dict[int, tuple[list[Tensor], Tensor]]:
        """(inputs, result) of some functions, with a graph between them if one is needed."""
        record = any(self.needs)

        def run(i: int) -> tuple[list[Tensor], Tensor]:
            own = self.own[i]
            mine = [Tensor(a, requires_grad=need) for a, need in zip(arrays[own], self.needs[own], strict=True)]
            with recording(record):
                return mine, self.functions[i](*mine)
        with at_most(min((other.threads for other in self.elsewhere.values()), default=thread_count())):
            return dict(zip(which, parallel(run, which, large=True, least=self.least), strict=True))

    def _places(self, i: int) -> list[int]:
        """Of the inputs of function i, and of the variables, among all inputs."""
        return [*range(self.own[i].start, self.own[i].stop), *range(self.shared, len(self.needs))]

    def _wanted(self, i: int, mine: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
        """(place among all inputs, tensor) of those whose gradient function i is asked for; mine: its inputs."""
        return [(k, x) for k, x in zip(self._places(i), [*mine, *self.variables], strict=True) if self.needs[k]]


def _same(a: Array | None, b: Array | None) -> bool:
    """Whether two results have the same bytes; None: not asked for, or zeros."""
    if a is None or b is None:
        return a is b or not np.any(a if b is None else b)
    return bool(a.shape == b.shape and a.tobytes() == b.tobytes())
