"""The emulated CuPy's captures and graphs: what is recorded is what runs later, and what CUDA refuses is refused."""

import ctypes
import gc

import emulated_cupy
import numpy as np
import pytest
from emulated_cupy.streams import CUDARuntimeError, check_same

from minigan.engine import cublas, cuda
from minigan.engine.loops.activation import bias_leaky
from minigan.engine.loops.adam import adam_all


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as module:
        yield module


class Recording:
    """with Recording(cupy) as r: what is done inside is r.graph; what it allocates comes from r.pool."""

    def __init__(self, cupy, pool=None):
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.pool = pool or cupy.cuda.MemoryPool()
        self.allocator = cupy.cuda.using_allocator(self.pool.malloc)

    def __enter__(self):
        self.stream.__enter__()
        self.allocator.__enter__()
        self.stream.begin_capture()
        return self

    def __exit__(self, kind, error, trace):
        try:
            self.graph = self.stream.end_capture()
        except CUDARuntimeError:
            if kind is None:
                raise
        finally:
            self.allocator.__exit__(None, None, None)
            self.stream.__exit__()


def test_a_capture_runs_nothing_and_a_launch_runs_it_at_the_same_addresses(cupy):
    x, index = cupy.arange(6, dtype=np.float32), cupy.asarray([2, 0])
    with Recording(cupy) as r, emulated_cupy.counted() as counts:
        x += 1
        y = cupy.zeros(3, np.float32)
        y[1:] = x[index] * 2
        total = (x.reshape(2, 3).sum(1) - y.max()).astype(np.float64)
    assert counts.launches == 0 and x.tolist() == [0, 1, 2, 3, 4, 5]
    r.graph.launch()
    assert (x.tolist(), y.tolist(), total.tolist()) == ([1, 2, 3, 4, 5, 6], [0, 6, 2], [0, 9])
    x[...] = 10
    index[...] = cupy.asarray([1, 5])
    r.graph.launch(cupy.cuda.Stream())  # on any stream
    assert (x.tolist(), y.tolist(), total.tolist()) == ([11] * 6, [0, 22, 22], [11, 11])


def test_kernels_are_recorded_with_what_is_passed_by_value(cupy, rng):
    """Numbers, and tables of pointers: as they were, though the host uses their memory again."""
    ws, gs, ms, vs = ([rng.standard_normal(5 + i).astype(np.float32) for i in range(2)] for _ in range(4))
    vs = [np.abs(v) for v in vs]
    given = [[cupy.asarray(a) for a in arrays] for arrays in (ws, gs, ms, vs)]
    rate = cupy.zeros((), np.float64)
    adam_all(*given, rate, 0.5, 0.9, 1e-8)  # v and m move, w does not
    expected, found = ([[a.copy() for a in arrays] for arrays in given] for _ in range(2))
    with Recording(cupy) as r:
        adam_all(*found, rate, 0.5, 0.9, 1e-8)
    rate[...] = 0.25
    adam_all(*expected, rate, 0.5, 0.9, 1e-8)
    assert found[0][0].tolist() == ws[0].tolist()
    r.graph.launch()
    assert [a.tolist() for arrays in found for a in arrays] == [a.tolist() for arrays in expected for a in arrays]


def test_products_are_recorded_by_cublas_itself(cupy, rng):
    a, b = (cupy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in ((3, 4), (4, 5)))
    cublas.product(a, b)  # makes the handle
    with Recording(cupy) as r:
        y = cublas.product(a, b)
    a[...] = cupy.asarray(rng.standard_normal((3, 4)).astype(np.float32))
    r.graph.launch()
    assert y.tolist() == cublas.product(a, b).tolist()
    assert cupy.cuda.get_current_stream().ptr == 0


REFUSED = {
    "a copy from the host": lambda xp, x: xp.asarray(np.ones(3)),
    "a number from the host": lambda xp, x: xp.asarray(1.0),
    "set": lambda xp, x: x.set(np.ones(3, np.float32)),
    "get": lambda xp, x: x.get(),
    "float": lambda xp, x: float(x[0]),
    "bool": lambda xp, x: bool(x[0] > 0),
    "print": lambda xp, x: str(x),
    "a mask": lambda xp, x: x[x > 0],
    "nine arrays joined": lambda xp, x: xp.concatenate([x] * 9),
    "nine arrays stacked": lambda xp, x: xp.stack([x] * 9),
    "to wait for the device": lambda xp, x: xp.cuda.Device().synchronize(),
    "to wait for CUDA": lambda xp, x: xp.cuda.runtime.deviceSynchronize(),
    "to wait for the stream": lambda xp, x: xp.cuda.get_current_stream().synchronize(),
    "to wait for an event": lambda xp, x: xp.cuda.Event().synchronize(),
    "an event": lambda xp, x: xp.cuda.Event().record(),
    "a pinned copy": lambda xp, x: pinned_copy(xp, x),
}


def pinned_copy(xp, x):
    memory = xp.cuda.alloc_pinned_memory(12)
    x.data.copy_from_host_async(memory.ptr, 12)


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_cuda_refuses_during_a_capture_is_an_error_and_the_end_of_it(refused, cupy):
    x, stream = cupy.ones(3, np.float32), cupy.cuda.Stream(non_blocking=True)
    refused(cupy, x)  # it is right without
    with stream:
        stream.begin_capture()
        assert stream.is_capturing()
        with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureUnsupported.* is not permitted"):
            refused(cupy, x)
        with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            stream.end_capture()
        assert not stream.is_capturing()
    refused(cupy, x)


@pytest.mark.parametrize("multiply", [
    lambda xp, x: x @ x, lambda xp, x: xp.dot(x, x), lambda xp, x: xp.matmul(x, x), lambda xp, x: xp.tensordot(x, x),
    lambda xp, x: xp.einsum("ij,jk", x, x), lambda xp, x: xp.linalg.eigvalsh(x)], ids=range(6))
def test_cupy_gives_no_library_of_cudas_to_a_capture(multiply, cupy):
    x = cupy.ones((3, 3), np.float32)
    with pytest.raises(NotImplementedError, match="API during stream capture is currently unsupported"), \
            Recording(cupy):
        multiply(cupy, x)


def test_a_product_of_two_vectors_is_a_sum_and_is_recorded(cupy):
    x = cupy.arange(4, dtype=np.float32)
    with Recording(cupy) as r:
        y, z = x @ x, cupy.dot(x, x)
    r.graph.launch()
    assert y.item() == z.item() == 14


def test_work_on_another_stream_is_missing_from_a_graph(cupy):
    x, kernel = cupy.ones(3, np.float32), cupy.ones(3, np.float32)
    for work in (lambda: x + 1, lambda: bias_leaky(kernel, slope=0.1), lambda: x.fill(2)):
        with pytest.raises(CUDARuntimeError, match="another stream"), Recording(cupy), cupy.cuda.Stream.null:
            work()


def test_one_stream_is_captured_at_a_time_and_never_the_null_stream(cupy):
    with pytest.raises(CUDARuntimeError, match="non_blocking"):
        cupy.cuda.Stream.null.begin_capture()
    with pytest.raises(CUDARuntimeError, match="non_blocking"):
        cupy.cuda.Stream().begin_capture()
    with pytest.raises(CUDARuntimeError, match="captured already"), Recording(cupy):
        cupy.cuda.Stream(non_blocking=True).begin_capture()
    with pytest.raises(CUDARuntimeError, match="Unmatched"):
        cupy.cuda.Stream(non_blocking=True).end_capture()
    with Recording(cupy) as r:
        pass
    with pytest.raises(CUDARuntimeError, match="to launch a graph"), Recording(cupy):
        r.graph.launch()
    with pytest.raises(NotImplementedError):
        cupy.cuda.Graph()


def test_memory_that_was_freed_is_found_when_a_graph_is_launched(cupy):
    """Temporaries of the default pool; an array that somebody held; a table's array; the graph's own pool."""
    def tables(x):
        adam_all([x], [x], [x], [x], cupy.zeros((), np.float64), 0.5, 0.9, 1e-8)
    x = cupy.ones(3, np.float32)
    with Recording(cupy) as r:
        y = x * 2 + 1  # a temporary, and its block of the pool
    r.graph.launch()
    assert y.tolist() == [3, 3, 3]
    with Recording(cupy, cupy.get_default_memory_pool()) as of_default:
        y = x * 2 + 1
    with pytest.raises(CUDARuntimeError, match="add: a graph uses 12 bytes|multiply: a graph uses 12 bytes"):
        of_default.graph.launch()
    for use in (lambda x: x.__iadd__(1), lambda x: bias_leaky(x, slope=0.1), tables):
        x = cupy.ones(3, np.float32)
        with Recording(cupy) as r:
            use(x)
        r.graph.launch()
        del x
        with pytest.raises(CUDARuntimeError, match="freed since it was recorded"):
            r.graph.launch()
    x = cupy.ones(3, np.float32)
    with Recording(cupy) as r:
        x += x * 2
    r.graph.launch()
    r.pool = r.allocator = None
    gc.collect()
    with pytest.raises(CUDARuntimeError, match="freed since it was recorded"):
        r.graph.launch()


def test_tickets_that_were_too_few_stay_for_the_graphs_that_use_them(cupy):
    with Recording(cupy) as outside:
        pass
    with outside.stream:
        few = cuda.tickets(cupy, 1)
    with Recording(cupy) as r:
        few += 1
    del few
    with outside.stream:
        assert cuda.tickets(cupy, 5000).size == 5000
    r.graph.launch()


def test_a_pool_gives_what_it_got_back_to_the_next(cupy):
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        first = cupy.ones(3, np.float32)
        place = first.data.ptr
        del first
        second = cupy.ones(100, np.float32)
    assert second.data.ptr == place and pool.total_bytes() == pool.used_bytes() == 512
    assert cupy.ones(3, np.float32).data.ptr != place  # outside, the default pool again


def test_a_number_of_the_hosts_that_changes_is_found(cupy):
    def step(x, number):
        with Recording(cupy) as r:
            x *= number
            bias_leaky(x, slope=number)
        return r.graph
    x = cupy.ones((2, 3), np.float32)
    first = step(x, 0.5)
    check_same(first, step(x, 0.5))
    with pytest.raises(AssertionError, match=r"launch 0 differs.*0\.5.*0\.25"):
        check_same(first, step(x, 0.25))
    with Recording(cupy) as more:
        x *= 0.5
    with pytest.raises(AssertionError, match="2 launches, the other 1"):
        check_same(first, more.graph)


def test_pinned_memory_is_left_alone_until_its_copy_is_done(cupy):
    x = cupy.zeros(3, np.float32)
    memory, event = cupy.cuda.alloc_pinned_memory(12), cupy.cuda.Event(block=True, disable_timing=True)
    host = np.frombuffer(memory, np.float32, 3)
    for value in (1, 2):
        event.synchronize()
        host[...] = value
        x.data.copy_from_host_async(ctypes.c_void_p(memory.ptr), 12)
        event.record()
        event.synchronize()
        assert x.tolist() == [value] * 3
    x.data.copy_from_host_async(memory.ptr, 12)
    event.record()
    host[...] = 3
    with pytest.raises(CUDARuntimeError, match="written to while its copy was under way"):
        event.synchronize()
    plain = np.ones(3, np.float32)
    with pytest.raises(CUDARuntimeError, match="needs pinned memory"):
        x.data.copy_from_host_async(plain.ctypes.data, 12)
    with pytest.raises(CUDARuntimeError, match="has no time"):
        cupy.cuda.get_elapsed_time(event, cupy.cuda.Event())


def test_what_is_copied_to_the_host_later_is_there_after_waiting_and_is_what_lay_there_then(cupy):
    x = cupy.arange(3, dtype=np.float32)
    memory, event = cupy.cuda.alloc_pinned_memory(12), cupy.cuda.Event(block=True, disable_timing=True)
    x.data.copy_to_host_async(memory.ptr, 12)
    event.record()
    x += 1
    assert np.frombuffer(memory, np.float32, 3).tolist() != [0, 1, 2]
    event.synchronize()
    assert np.frombuffer(memory, np.float32, 3).tolist() == [0, 1, 2]
    with pytest.raises(CUDARuntimeError, match="needs pinned memory"):
        x.data.copy_to_host_async(np.ones(3, np.float32).ctypes.data, 12)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(CUDARuntimeError, match="a copy to the host is not permitted"):
            x.data.copy_to_host_async(memory.ptr, 12)


def test_cublas_wants_its_stream_and_a_work_space_of_its_own(cupy, capfd):
    x = cupy.ones((3, 3), np.float32)
    cublas.product(x, x)
    handle = cublas._current(cupy)
    for forget in ("cublasSetWorkspace_v2", "cublasSetStream_v2"):
        library = handle.library
        try:
            handle.library = Without(library, forget)
            with pytest.raises(RuntimeError, match="cublasGemmEx: CUBLAS_STATUS_14"), Recording(cupy):
                cublas.product(x, x)
        finally:
            handle.library, handle.stream = library, None
    said = capfd.readouterr().out
    assert "no work space of its own" in said and "on another stream" in said


class Without:
    """A library one of whose functions does nothing."""

    def __init__(self, library, name):
        self.library, self.name = library, name

    def __getattr__(self, name):
        return (lambda *given: 0) if name == self.name else getattr(self.library, name)
