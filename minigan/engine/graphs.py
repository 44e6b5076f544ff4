"""Steps on a GPU as CUDA graphs: recorded once, then launched as a whole.

To enqueue the few hundred kernels of a step takes Python longer than the GPU needs to run them. A graph holds all of
them, and is one launch. It is recorded by doing the step once on a stream that only takes notes (capture), and each
launch repeats what was noted: the same kernels, at the same addresses, with the same numbers. So:

- A step is a function of its inputs and of state that it changes in place; nothing is read back in it.
- The inputs lie in device memory that stays, and are put there before each launch: one copy from pinned memory, for
  which nobody waits. So the host draws the next inputs while the GPU works.
- What the step allocates on its way comes from a pool that nobody else uses, and that lives as long as the graphs.
- Products of matrices go to cuBLAS directly: CuPy's own refuse to be recorded (engine/cublas.py).

The kernels are those of a step that is not recorded, with the same arguments: the results have the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from minigan.engine.devices import Array

WARM_UPS = 2  # times that a step runs as it is first: kernels are compiled, and what is made once is made
ALIGNMENT = 512  # of CuPy's own arrays: kernels and cuBLAS choose their ways by it

Step = Callable[[dict[str, Array]], Array]


class Graphs:
    """Steps by name, each recorded when it is warm.

    They are launched one after the other, so that they share one pool: the memory of one is free for the next.
    remarks: why a step could not be recorded, a line each, for whoever takes them out.
    """

    def __init__(self, xp: Any):
        self.xp, self.remarks = xp, list[str]()
        self.forget()

    def forget(self) -> None:
        """Record anew: the state lies elsewhere now."""
        self.xp.cuda.Device().synchronize()  # a copy from pinned memory may be under way, which is about to be freed
        self.stream, self.pool = self.xp.cuda.Stream(non_blocking=True), self.xp.cuda.MemoryPool()
        self.runs: dict[str, int] = {}
        self.recorded: dict[str, Recorded | None] = {}  # None: it runs as it is

    def run(self, name: str, step: Step, inputs: dict[str, np.ndarray]) -> Array:
        """step(inputs on the device): as it is at first, and as a graph from then on. A new array.

        inputs: of the same shapes and dtypes each time.
        """
        self.runs[name] = self.runs.get(name, 0) + 1
        if self.runs[name] < WARM_UPS:
            return self._as_it_is(step, inputs)
        if self.runs[name] == WARM_UPS:
            return self._on_the_other_stream(step, inputs)
        if name not in self.recorded:
            self.recorded[name] = self._record(name, step, inputs)
        graph = self.recorded[name]
        return self._as_it_is(step, inputs) if graph is None else graph.launch(inputs)

    def _as_it_is(self, step: Step, inputs: dict[str, np.ndarray]) -> Array:
        return step({name: self.xp.asarray(a) for name, a in inputs.items()})

    def _on_the_other_stream(self, step: Step, inputs: dict[str, np.ndarray]) -> Array:
        """As it is, on the stream that will take notes: what is made once for each stream is made."""
        self.xp.cuda.Device().synchronize()
        with self.stream:
            result = self._as_it_is(step, inputs)
            self.stream.synchronize()
        return result

    def _record(self, name: str, step: Step, inputs: dict[str, np.ndarray]) -> Recorded | None:
        """The step as a graph; None, and a remark, if it cannot be."""
        self.xp.get_default_memory_pool().free_all_blocks()  # what the step needed so far, it needs no more
        try:
            given = Inputs(self.xp, inputs)
            given.put(inputs)  # not read, but looked at: an index of rubbish is out of range
            self.xp.cuda.Device().synchronize()
            with self.stream, self.xp.cuda.using_allocator(self.pool.malloc):
                self.stream.begin_capture()
                try:
                    result = step(given.arrays)
                except BaseException:
                    with contextlib.suppress(Exception):  # the first error is the one to be told
                        self.stream.end_capture()
                    raise
                return Recorded(self.stream.end_capture(), given, result)
        except Exception as error:  # whatever it is, the step as it is does not need it
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.remarks.append(f"{name} cannot be recorded as a CUDA graph and runs without ({reason})")
            return None


class Recorded:
    """A step's graph, its inputs, and where it leaves its result."""

    def __init__(self, graph: Any, inputs: Inputs, result: Array):
        self.graph, self.inputs, self.result = graph, inputs, result

    def launch(self, inputs: dict[str, np.ndarray]) -> Array:
        """Enqueue the whole step on the current stream; its result, a new array."""
        self.inputs.put(inputs)
        self.graph.launch()
        return self.result.copy()  # the next launch writes over it


class Inputs:
    """Arrays on the device that stay where they are, and get new values from the host in one copy.

    Two blocks of pinned memory take turns: one is filled while the copy from the other may still be under way. So the
    host is at most two updates ahead.
    """

    def __init__(self, xp: Any, inputs: dict[str, np.ndarray]):
        sizes = [-(-a.nbytes // ALIGNMENT) * ALIGNMENT for a in inputs.values()]
        self.starts = dict(zip(inputs, accumulate(sizes, initial=0), strict=False))
        self.memory = xp.empty((sum(sizes),), np.uint8)
        self.arrays = self._views(self.memory, inputs)
        blocks = [xp.cuda.alloc_pinned_memory(sum(sizes)) for _ in range(2)]
        self.blocks = [(block.ptr, self._views(np.frombuffer(block, np.uint8, sum(sizes)), inputs),
                        xp.cuda.Event(block=True, disable_timing=True)) for block in blocks]

    def put(self, inputs: dict[str, np.ndarray]) -> None:
        """Enqueue the copy. ValueError if they are not like those before."""
        if {name: (a.shape, a.dtype) for name, a in inputs.items()} != {
                name: (a.shape, a.dtype) for name, a in self.arrays.items()}:
            raise ValueError(f"a recorded step takes {self._described(self.arrays)}, got {self._described(inputs)}")
        pointer, arrays, copied = self.blocks[0]
        self.blocks.reverse()
        copied.synchronize()
        for name, a in inputs.items():
            arrays[name][...] = a
        self.memory.data.copy_from_host_async(pointer, self.memory.nbytes)
        copied.record()

    def _views(self, memory: Array, inputs: dict[str, np.ndarray]) -> dict[str, Array]:
        return {name: memory[self.starts[name]:self.starts[name] + a.nbytes].view(a.dtype).reshape(a.shape)
                for name, a in inputs.items()}

    @staticmethod
    def _described(arrays: dict[str, Any]) -> str:
        return ", ".join(f"{name} {a.shape} {a.dtype}" for name, a in arrays.items())
