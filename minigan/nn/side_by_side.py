"""Functions that do not need each other's results, each forward and back on threads of its own.

To split every operation over the threads costs a meeting for each: waking the others, waiting for the last, and bytes
that one core wrote and another reads. Whole functions side by side meet twice: after their results and after their
gradients, which are added in their order. Each is computed as it would be alone, so the results have the same bytes for
any number of threads; where there are more threads than functions, each function splits its operations over its share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from minigan.engine.autograd import Op, Same, Tensor, grad, is_recording, recording
from minigan.engine.devices import Array
from minigan.engine.thread_pool import parallel

Function = Callable[..., Tensor]


def side_by_side(functions: Sequence[Function], inputs: Sequence[Sequence[Tensor]],
                 variables: Sequence[Tensor] = (), apart: bool = True) -> list[Tensor]:
    """[function(*its inputs) for each], computed at once, with derivatives of every order.

    functions: each gives one Tensor, draws no random numbers and changes nothing that another reads. Each may be called
        again, for derivatives of higher order. A long one should come first: whoever is free takes the next.
    inputs: of each function, in its order.  variables: what functions use beside their inputs and has a gradient: made
    with requires_grad=True, nothing that was computed.
    apart: False: one after the other after all, with the same bytes; small ones would mostly wait for Python's lock.
    """
    op = SideBySide(functions, [len(given) for given in inputs], apart)
    return op(*(x for given in inputs for x in given), *variables)


class SideBySide(Op):
    """Inputs: those of all functions one after the other, then the variables; a result for each function."""

    def __init__(self, functions: Sequence[Function], counts: Sequence[int], apart: bool = True):
        self.least = 2 if apart else len(functions) + 1
        ends = list(accumulate(counts))
        self.functions = list(functions)
        self.own = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self.shared = ends[-1]  # where the variables begin

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        self.saves = tuple(range(len(inputs)))
        self.variables = list(inputs[self.shared:])
        return super().__call__(*inputs)

    def forward(self, *arrays: Array) -> list[Array]:
        self.runs: list[tuple[list[Tensor], Tensor]] | None = self._run(arrays)
        results = [y.data for _, y in self.runs]
        if not any(self.needs):
            self.runs = None
        return results

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
        runs, self.runs = self.runs, None
        if runs is None:  # somebody asks once more
            runs = self._run([self.saved[i].data for i in self.saves])
        todo = {i: run for i, run in enumerate(runs) if gys[i] is not None and run[1].requires_grad}
        del runs

        def gradients(i: int) -> list[tuple[int, Array]]:
            mine, y = todo.pop(i)  # its graph is freed when its gradients are there
            wanted = self._wanted(i, mine)
            found = grad(y, [x for _, x in wanted], gy=Tensor(gys[i]))
            return [(place, g.data) for (place, _), g in zip(wanted, found, strict=True)]
        totals: list[Array | None] = [None] * len(self.needs)
        for found in parallel(gradients, list(todo), large=True, least=self.least):
            for place, g in found:
                total = totals[place]
                totals[place] = g if total is None else total + g
        return tuple(totals)

    def _run(self, arrays: Sequence[Array]) -> list[tuple[list[Tensor], Tensor]]:
        """(inputs, result) of each function, with a graph between them if one is needed."""
        record = any(self.needs)

        def run(i: int) -> tuple[list[Tensor], Tensor]:
            own = self.own[i]
            mine = [Tensor(a, requires_grad=need) for a, need in zip(arrays[own], self.needs[own], strict=True)]
            with recording(record):
                return mine, self.functions[i](*mine)
        return parallel(run, range(len(self.functions)), large=True, least=self.least)

    def _wanted(self, i: int, mine: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
        """(place among all inputs, tensor) of those whose gradient function i is asked for; mine: its inputs."""
        places = [*range(self.own[i].start, self.own[i].stop), *range(self.shared, len(self.needs))]
        return [(k, x) for k, x in zip(places, [*mine, *self.variables], strict=True) if self.needs[k]]
