"""Steps as CUDA graphs: when they are recorded, what is copied, and what becomes of one that cannot be. Emulated."""

import emulated_cupy
import numpy as np
import pytest
from emulated_cupy.streams import CUDARuntimeError, copies_under_way

from minigan.engine import graphs


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as module:
        yield module


def given(i):
    return {"x": np.full((2, 3), i, np.float32), "index": np.array([i % 3, 0]), "rate": np.array(0.5 * i)}


def a_step(state, streams, xp):
    """Adds to the state, in place; returns something made of inputs and state."""
    def step(inputs):
        streams.append(xp.cuda.get_current_stream().ptr)
        state[...] += inputs["x"][:, inputs["index"]].sum() * inputs["rate"].astype(np.float32)
        return state * 2 + inputs["x"][0]
    return step


def test_a_step_runs_as_it_is_then_on_the_other_stream_and_then_as_a_graph(cupy):
    expected, state = cupy.zeros(3, np.float32), cupy.zeros(3, np.float32)
    of_graphs, plain, kept = graphs.Graphs(cupy), [], []
    seen = []
    for i in range(8):
        wanted = a_step(expected, plain, cupy)({name: cupy.asarray(a) for name, a in given(i).items()})
        kept.append((of_graphs.run("a", a_step(state, seen, cupy), given(i)), wanted))
        assert len(seen) == min(i + 1, graphs.WARM_UPS + 1)  # the last of them is the recording
    assert seen == [0, of_graphs.stream.ptr, of_graphs.stream.ptr] and of_graphs.remarks == []
    assert all(found.tolist() == wanted.tolist() for found, wanted in kept)  # each a new array
    assert state.tolist() == expected.tolist()


def test_a_launch_costs_one_copy_and_waits_for_nothing_but_the_copy_before_the_last(cupy):
    of_graphs, state = graphs.Graphs(cupy), cupy.zeros(3, np.float32)
    for i in range(4):
        of_graphs.run("a", a_step(state, [], cupy), given(i))
    with emulated_cupy.counted() as counts:
        for i in range(5):  # were a block of pinned memory filled too early, the emulation would say so
            of_graphs.run("a", a_step(state, [], cupy), given(i))
    assert (counts.to_device, counts.to_host, counts.graphs) == (5, 0, 5)
    assert copies_under_way() == 2
    cupy.cuda.Device().synchronize()
    assert copies_under_way() == 0


def test_a_recorded_step_refuses_other_inputs(cupy):
    of_graphs = graphs.Graphs(cupy)
    for _ in range(3):
        of_graphs.run("a", lambda inputs: inputs["x"] * 2, {"x": np.ones((2, 3), np.float32)})
    for other in ({"x": np.ones((3, 2), np.float32)}, {"x": np.ones((2, 3))}, {"y": np.ones((2, 3), np.float32)}, {}):
        with pytest.raises(ValueError, match=r"a recorded step takes x \(2, 3\) float32, got "):
            of_graphs.run("a", lambda inputs: inputs["x"] * 2, other)


@pytest.mark.parametrize("forbidden, reason", [
    (lambda xp: float(xp.ones(1)[0]), "cudaErrorStreamCaptureUnsupported"),
    (lambda xp: xp.asarray([1.0]), "cudaErrorStreamCaptureUnsupported"),
    (lambda xp: xp.ones((2, 2)) @ xp.ones((2, 2)), "calling cuBLAS API"),
    (lambda xp: xp.empty((1 << 40,)), "Out of memory allocating"),
], ids=["read", "copy", "cublas", "memory"])
def test_a_step_that_cannot_be_recorded_runs_as_it_is_and_leaves_a_remark(forbidden, reason, cupy):
    of_graphs, state, other = graphs.Graphs(cupy), cupy.zeros(3, np.float32), cupy.zeros(3, np.float32)

    def step(inputs):
        state[...] += inputs["x"][0]
        if cupy.cuda.get_current_stream().is_capturing():
            forbidden(cupy)
        return state.copy()
    totals = [of_graphs.run("the step", step, given(i)).tolist() for i in range(6)]
    assert totals == [[total] * 3 for total in (0, 1, 3, 6, 10, 15)]  # each step once
    assert len(of_graphs.remarks) == 1 and "\n" not in of_graphs.remarks[0]
    assert of_graphs.remarks[0].startswith(
        f"the step cannot be recorded as a CUDA graph and runs without ({reason}")
    for i in range(4):  # the stream is free again
        of_graphs.run("generator", a_step(other, [], cupy), given(i))
    assert of_graphs.recorded["generator"] is not None and of_graphs.recorded["the step"] is None


def test_after_forget_it_is_recorded_anew_where_the_state_is_then(cupy):
    of_graphs, states = graphs.Graphs(cupy), []
    for _ in range(2):
        states.append(cupy.zeros(3, np.float32))
        of_graphs.forget()
        for i in range(5):
            of_graphs.run("a", a_step(states[-1], [], cupy), given(i))
    assert states[0].tolist() == states[1].tolist()


def test_state_that_is_put_elsewhere_is_found_in_the_emulation(cupy):
    """A step must change it in place: a graph would go on with the memory of before."""
    of_graphs, held = graphs.Graphs(cupy), {"state": cupy.zeros(3, np.float32)}

    def step(inputs):
        held["state"] = held["state"] + inputs["x"][0]
        return held["state"]
    with pytest.raises(CUDARuntimeError, match="freed since it was recorded"):
        for i in range(5):
            of_graphs.run("a", step, given(i))
