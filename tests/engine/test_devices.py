"""Devices, threads and work arrays; work that is spread over threads against NumPy in one piece."""

import ctypes
import sys
import threading
import time
import types

import gpu_here
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minigan.engine import devices, thread_pool
from minigan.engine.products import elementwise, matmul
from minigan.engine.thread_pool import blocks, parallel, scratch
from minigan.errors import WrongUse


@pytest.fixture
def threads():
    """thread_pool.set_threads, undone afterwards."""
    before = thread_pool.thread_count()
    yield thread_pool.set_threads
    thread_pool.set_threads(before)


# ---- devices -----------------------------------------------------------------------------------------------

class FakeArray:
    """Stands for cupy.ndarray."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def get(self):
        return self.values


def fake_cupy(count, nvrtc=None, cublas=None):
    """A module that says what CuPy says on a machine with `count` GPUs, or raises what CuPy raises.

    nvrtc, cublas: what is raised when one of CUDA's libraries is first asked for.
    """
    cupy = types.ModuleType("cupy")

    class CUDARuntimeError(RuntimeError):
        pass

    def getDeviceCount():
        if isinstance(count, str):
            raise CUDARuntimeError(count)
        return count

    def get_version():
        if nvrtc is not None:
            raise nvrtc
        return 12, 9

    class Cuda(types.ModuleType):
        def __getattr__(self, name):  # CuPy, too, looks for cuBLAS when it is first asked for
            if name == "cublas" and cublas is not None:
                raise cublas
            if name == "cublas":
                return types.SimpleNamespace()
            raise AttributeError(name)
    cupy.ndarray = FakeArray
    cupy.cuda = Cuda("cupy.cuda")
    cupy.cuda.runtime = types.SimpleNamespace(getDeviceCount=getDeviceCount, CUDARuntimeError=CUDARuntimeError)
    cupy.cuda.nvrtc = types.SimpleNamespace(getVersion=get_version)
    return cupy


def test_the_cpu_is_numpy():
    assert devices.device_module("cpu") is np


@pytest.mark.parametrize("cupy, device, message", [
    (None, "cuda",
     "--device cuda needs CuPy, which is not installed; pip install 'minigan[cuda]' (CUDA 12) or 'minigan[cuda13]', "
     "or use --device cpu"),
    (fake_cupy("cudaErrorNoDevice: no CUDA-capable device is detected\nmore"), "cuda",
     "--device cuda: CuPy is installed but finds no usable GPU (cudaErrorNoDevice: no CUDA-capable device is "
     "detected); install NVIDIA's driver, or use --device cpu"),
    (fake_cupy(0), "cuda", "--device cuda: CuPy is installed but this machine has no GPU; use --device cpu"),
    (fake_cupy(1), "tpu", "unknown device 'tpu'; choose from: cpu, cuda"),
], ids=["no-cupy", "no-driver", "no-gpu", "unknown"])
def test_a_device_that_is_not_there_is_refused_in_one_line(cupy, device, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # None: importing it fails
    with pytest.raises(WrongUse) as caught:
        devices.device_module(device)
    assert str(caught.value) == message


class DynamicLibNotFoundError(RuntimeError):
    """As cuda.pathfinder's, which CuPy lets through when NVRTC is missing."""


NEEDED = ("pip install 'minigan[cuda]' (CUDA 12) or 'minigan[cuda13]' brings CUDA's libraries, or use --device cpu")


@pytest.mark.parametrize("missing, message", [
    ({"nvrtc": DynamicLibNotFoundError('Failure finding "libnvrtc.so.12": No such file')},
     'CuPy is installed but misses NVRTC (Failure finding "libnvrtc.so.12": No such file); '),
    ({"nvrtc": OSError("libnvrtc.so.12: cannot open shared object file\nmore")},
     "CuPy is installed but misses NVRTC (libnvrtc.so.12: cannot open shared object file); "),
    ({"cublas": ImportError('Failure finding "libcublasLt.so.12"')},
     'CuPy is installed but misses cuBLAS (Failure finding "libcublasLt.so.12"); '),
    ({"cublas": RuntimeError()}, "CuPy is installed but misses cuBLAS (RuntimeError); "),
], ids=["nvrtc", "nvrtc-file", "cublas", "wordless"])
def test_a_library_of_cuda_that_is_not_there_is_named_before_it_is_needed(missing, message, monkeypatch):
    """Plain `pip install cupy-cuda12x` brings neither NVRTC nor cuBLAS, and imports all the same."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1, **missing))
    for look in (devices.cuda_module, devices.cuda_facts, lambda: devices.device_module("cuda")):
        with pytest.raises(WrongUse) as caught:
            look()
        assert str(caught.value) == f"--device cuda: {message}{NEEDED}"
    assert gpu_here.no_gpu() == f"{message}{NEEDED}".removesuffix(", or use --device cpu")  # pytest goes on


# cupy/__init__.py and cupy/_environment.py of 14.2.0
CUPYS_IMPORT_ERROR = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX or cupy-rocm-X-X), make sure that the package matches with the version of CUDA or ROCm installed.

On Linux, you may need to set LD_LIBRARY_PATH environment variable depending on how you installed CUDA/ROCm.
On Windows, try setting CUDA_PATH environment variable.

Check the Installation Guide for details:
  https://docs.cupy.dev/en/latest/install.html

Original error:
  ImportError: libcudart.so.12: cannot open shared object file: No such file or directory
================================================================
"""  # noqa: E501


@pytest.mark.parametrize("words, reason", [
    (CUPYS_IMPORT_ERROR, "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory"),
    ("\n====\n\nno such symbol\n====", "no such symbol"), ("====", "ImportError"), ("", "ImportError")],
    ids=["cupys", "ruler", "ruler-alone", "wordless"])
def test_the_reason_why_cupy_cannot_be_imported_is_given(words, reason, tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text(f"raise ImportError({words!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(WrongUse) as caught:
        devices.cuda_module()
    assert str(caught.value) == f"--device cuda: CuPy is installed but cannot be imported ({reason}); {NEEDED}"


@pytest.mark.parametrize("error, expected", [
    (MemoryError("Out of memory allocating 512 bytes"), True),
    (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), True),  # CUBLASError
    (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),  # CUDADriverError
    (RuntimeError("cudaErrorMemoryAllocation: out of memory"), True),  # CUDARuntimeError
    (RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"), False),
    (ValueError("cudaErrorMemoryAllocation"), False), (KeyboardInterrupt(), False)], ids=str)
def test_too_little_memory_is_known_by_any_librarys_words(error, expected):
    assert devices.out_of_memory(error) is expected


def test_cuda_is_cupy_where_there_is_a_gpu(monkeypatch):
    cupy = fake_cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert devices.device_module("cuda") is cupy


def test_the_array_module_is_that_of_the_first_cupy_array(monkeypatch):
    cupy = fake_cupy(1)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    host, device = np.zeros(2), FakeArray([1, 2])
    assert devices.array_module(host, host) is np
    assert devices.array_module(host, device) is cupy
    assert devices.array_module() is np
    monkeypatch.delitem(sys.modules, "cupy")
    assert devices.array_module(host) is np


def test_to_host_gives_arrays():
    a = np.arange(3)
    assert devices.to_host(a) is a
    assert devices.to_host(FakeArray([1, 2])).tolist() == [1, 2]
    number = devices.to_host(np.float32(2))  # what NumPy's reductions give
    assert isinstance(number, np.ndarray) and number.dtype == np.float32 and number == 2


# ---- threads -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count", [0, -3])
def test_less_than_one_thread_is_refused(count):
    before = thread_pool.thread_count()
    with pytest.raises(WrongUse, match=f"^--threads: expected at least 1, got {count}$"):
        thread_pool.set_threads(count)
    assert thread_pool.thread_count() == before


def test_threads_are_as_many_as_asked_for_or_as_there_are_cores(threads):
    assert threads(3) == thread_pool.thread_count() == 3
    assert threads() == thread_pool.thread_count() == thread_pool.cores() >= 1


def test_blas_gets_one_thread(threads):
    threads(2)
    counts = [library["num_threads"] for library in threadpool_info()
              if library["user_api"] == "blas" and "numpy" in library["filepath"]]
    assert set(counts) <= {1}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parallel_keeps_the_order_of_the_items(count, threads):
    threads(count)
    first_may_go = threading.Event()

    def work(i):
        if i == 0 and count > 1:
            assert first_may_go.wait(10)  # the first one finishes after the last
        if i == 9:
            first_may_go.set()
        return i * i
    assert parallel(work, (i for i in range(10))) == [i * i for i in range(10)]
    assert parallel(work, []) == []
    assert parallel(lambda i: -i, [5]) == [-5]


def test_parallel_runs_in_all_threads_at_once(threads):
    threads(3)
    together = threading.Barrier(3, timeout=10)  # opens only when three wait at the same time
    names = parallel(lambda i: (together.wait(), threading.current_thread().name)[1], range(3))
    assert len(set(names)) == 3 and threading.current_thread().name in names


@pytest.mark.parametrize("count", [1, 3])
def test_an_exception_of_a_worker_reaches_the_caller(count, threads):
    threads(count)

    def work(i):
        if i in (2, 5):
            raise LookupError(f"item {i}")
        return i
    with pytest.raises(LookupError, match="item 2"):
        parallel(work, range(8))
    assert parallel(lambda i: i, range(8)) == list(range(8))  # and the threads are still there


def test_parallel_inside_a_worker_does_not_wait_for_other_workers(threads):
    """With as many outer items as threads, inner ones that queued up behind them would wait for ever."""
    threads(2)
    assert parallel(lambda i: sum(parallel(lambda j: i * j, range(5))), range(4)) == [0, 10, 20, 30]


def at_once(functions):
    """The results of all functions, each called in a thread of its own, and begun together."""
    together, found = threading.Barrier(len(functions), timeout=10), [None] * len(functions)

    def run(i):
        together.wait()
        found[i] = functions[i]()
    running = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(20)
    return found


def test_threads_that_share_out_work_at_once_get_their_own_results(threads):
    threads(3)

    def sums(start):
        def work(i):
            mine = scratch("test at once", (100,), np.int64)
            mine[...] = start + i
            inner = parallel(lambda j: j, range(3))  # another thread's work may come here
            return int(mine.sum()) + sum(inner)
        return [parallel(work, range(20)) for _ in range(20)]
    for start, found in enumerate(at_once([lambda s=s: sums(s) for s in range(4)])):
        assert found == [[100 * (start + i) + 3 for i in range(20)]] * 20


def test_threads_that_ask_first_at_once_get_one_pool(threads, monkeypatch):
    made = []

    class Slow(thread_pool.ThreadPoolExecutor):
        def __init__(self, *arguments):
            made.append(self)
            time.sleep(0.1)  # meanwhile the other threads ask
            super().__init__(*arguments)
    monkeypatch.setattr(thread_pool, "cores", lambda: 3)
    monkeypatch.setattr(thread_pool, "ThreadPoolExecutor", Slow)
    monkeypatch.setattr(thread_pool, "_threads", 0)
    monkeypatch.setattr(thread_pool, "_pool", None)
    squares = [i * i for i in range(10)]
    assert at_once([lambda: parallel(lambda i: i * i, range(10))] * 4) == [squares] * 4
    assert len(made) == 1


def test_the_threads_may_be_chosen_anew_while_another_thread_uses_them(threads):
    threads(3)
    stop = threading.Event()

    def choose():
        for count in [2, 3, 4, 1] * 10:
            threads(count)
        stop.set()

    def use():
        found = []
        while not stop.is_set():
            found.append(parallel(lambda i: i * i, range(10)))
        return found
    squares = [i * i for i in range(10)]
    assert all(found == squares for used in at_once([choose, use, use])[1:] for found in used)
    assert stop.is_set()


def test_workers_of_a_pool_that_is_no_longer_used_end(threads):
    threads(3)
    parallel(lambda i: time.sleep(0.01), range(6))
    workers = list(thread_pool._pool._threads)
    assert workers
    threads(2)
    for worker in workers:
        worker.join(10)
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("count, size, expected", [
    (10, 4, [(0, 4), (4, 8), (8, 10)]), (8, 4, [(0, 4), (4, 8)]), (3, 10, [(0, 3)]), (0, 4, []),
    (2, 0, [(0, 1), (1, 2)])])
def test_blocks_cover_everything_once(count, size, expected):
    assert [(b.start, b.stop) for b in blocks(count, size)] == expected


def test_another_c_library_costs_speed_only(monkeypatch):
    def refuse(name):
        raise OSError("no such library")
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    thread_pool._keep_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    thread_pool._keep_freed_memory()


# ---- work arrays -------------------------------------------------------------------------------------------

def test_a_work_array_is_reused_under_its_name_and_grows():
    first = scratch("test a", (3, 4), np.float64)
    again = scratch("test a", (2, 2), np.float32)
    other = scratch("test b", (3, 4), np.float64)
    assert (first.shape, first.dtype, again.shape, again.dtype) == ((3, 4), np.float64, (2, 2), np.float32)
    assert np.shares_memory(first, again) and not np.shares_memory(first, other)
    larger = scratch("test a", (100,), np.float64)
    larger[...] = 1  # all of it is there
    assert larger.sum() == 100 and not np.shares_memory(first, larger)
    assert np.shares_memory(larger, scratch("test a", (5,), np.float64))
    assert scratch("test c", (0, 3), np.float32).shape == (0, 3)


def test_every_thread_has_its_own_work_arrays(threads):
    threads(3)
    together = threading.Barrier(3, timeout=10)

    def work(i):
        mine = scratch("test", (1000,), np.int64)
        mine[...] = i
        together.wait()  # now all three have written
        return mine.copy()
    for i, found in enumerate(parallel(work, range(3))):
        assert (found == i).all()


# ---- spread-out array work ---------------------------------------------------------------------------------

def layouts(a: np.ndarray) -> dict[str, np.ndarray]:
    """The same values, laid out in memory in several ways."""
    strided = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[..., ::2]
    strided[...] = a
    return {"C": a, "Fortran": np.asfortranarray(a), "strided": strided, "flipped": a[::-1].copy()[::-1]}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (255, 257), (256, 256), (65537, 1), (3, 211, 331)], ids=str)
def test_elementwise_is_the_plain_function(shape, dtype, threads, rng):
    threads(2)
    a, b = rng.standard_normal((2, *shape)).astype(dtype)
    for name, x in layouts(a).items():
        for other, y in layouts(b).items():
            found = elementwise(np.multiply, x, y)
            np.testing.assert_array_equal(found, a * b, err_msg=f"{name}, {other}")
            assert found.dtype == dtype and not np.shares_memory(found, x)
        for scalar in (dtype(2.5), np.array(2.5, dtype), 2.5):
            np.testing.assert_array_equal(elementwise(np.add, x, scalar), a + dtype(2.5))
        np.testing.assert_array_equal(elementwise(np.tanh, x), np.tanh(x))
    row = np.broadcast_to(b[:1], shape)
    np.testing.assert_array_equal(elementwise(np.multiply, a, row), a * row)
    np.testing.assert_array_equal(elementwise(np.multiply, row, a), a * row)
    np.testing.assert_array_equal(elementwise(np.multiply, a, b[:1]), a * b[:1])  # NumPy broadcasts; no block would


def test_elementwise_of_a_number_and_of_nothing():
    assert elementwise(np.add, np.array(2.0), np.array(3.0)) == 5
    assert elementwise(np.exp, np.zeros((0, 3))).shape == (0, 3)


def test_elementwise_takes_three_arrays(threads, rng):
    threads(2)
    a, b, c = rng.standard_normal((3, 300, 301))
    np.testing.assert_array_equal(elementwise(np.clip, a, -abs(b), abs(c)), np.clip(a, -abs(b), abs(c)))


@pytest.mark.parametrize("a, b", [((500, 400), (400, 301)), ((3, 2900), (2900, 2000)), ((9000, 64), (64, 64)),
                                  ((20, 30), (30, 10)), ((4, 20, 30), (4, 30, 10)),
                                  ((0, 5), (5, 2))], ids=str)
def test_a_split_product_is_numpys(a, b, threads, rng):
    a, b = rng.standard_normal(a).astype(np.float32), rng.standard_normal(b).astype(np.float32)
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    results = []
    for count in (1, 2, 3):
        threads(count)
        found = matmul(a, b)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1))
        results.append(found.tobytes())
    assert len(set(results)) == 1


def test_a_split_product_of_transposed_matrices(threads, rng):
    threads(2)
    a, b = rng.standard_normal((300, 512)), rng.standard_normal((300, 512))
    np.testing.assert_allclose(matmul(a.T, b), np.matmul(a.T, b), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(matmul(a, b.T), np.matmul(a, b.T), rtol=1e-12, atol=1e-11)
