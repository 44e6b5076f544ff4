"""Loading and launching: where sources are found, how structs are laid out, what is refused. On the emulated CuPy."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import emulated_cupy
import numpy as np
import pytest

from minigan.engine import cuda
from minigan.engine.loops.activation import launch_bias_leaky, launch_bias_leaky_gradient, launch_sum_rows
from minigan.engine.loops.adam import launch_adam_all
from minigan.engine.loops.batch_norm import launch_batch_statistics, launch_normalize
from minigan.engine.loops.power_iteration import launch_power_iterations, launch_through_iterations
from minigan.engine.loops.resample import launch_pool2x, launch_upsample2x
from minigan.engine.loops.spectral_norm import (
    launch_factors,
    launch_scale_weights,
    launch_spectral_gradients,
    launch_transposes,
)
from minigan.engine.loops.sums import launch_add_all
from minigan.engine.loops.windows import launch_col2im, launch_im2col

FILES = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "kernels").glob("*.cu"))
TABLES = [(file, struct) for file in FILES for struct in re.findall(r"^struct (\w+) \{", cuda.source(file), re.M)]


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy:
        yield cupy


@pytest.fixture
def compiler():
    """g++, which says where it puts each field; where CI is set, it must be there."""
    found = shutil.which("g++")
    if found is None and not os.environ.get("CI"):
        pytest.skip("the structs are NOT held against a compiler: there is no g++")
    assert found, "CI is set and g++ is missing: install it, or unset CI to skip this"
    return found


def test_without_a_compiler_ci_fails(monkeypatch, request):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="g[+][+] is missing"):
        request.getfixturevalue("compiler")


@pytest.mark.parametrize("file, struct", TABLES)
def test_a_struct_lies_in_memory_as_the_compiler_lays_it_out(file, struct, compiler, tmp_path):
    fields = cuda.layout(file, struct).fields
    definition = re.search(rf"^struct {struct} \{{.*?^\}};", cuda.source(file), re.M | re.S)[0]
    places = ", ".join(f"__builtin_offsetof({struct}, {name})" for name in fields)
    program = f'{definition}\nextern "C" {{ unsigned long size = sizeof({struct}), places[] = {{{places}}}; }}\n'
    (tmp_path / "struct.cpp").write_text(program)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "struct.so", tmp_path / "struct.cpp"], check=True)
    compiled = ctypes.CDLL(str(tmp_path / "struct.so"))
    assert ctypes.c_ulong.in_dll(compiled, "size").value == cuda.layout(file, struct).itemsize
    assert list((ctypes.c_ulong * len(fields)).in_dll(compiled, "places")) == [place for _, place in fields.values()]


@pytest.mark.parametrize("file, struct", TABLES)
def test_a_table_leaves_room_for_the_other_arguments(file, struct):
    # CUDA C++ Programming Guide: 4 KB of arguments in all before CUDA 12.1 and Volta
    assert cuda.layout(file, struct).itemsize <= 4096 - 128


def test_a_table_takes_short_lists_and_numbers():
    table = cuda.table("spectral_norm.cu", "Scales", count=2, offset=7, size=[1 << 40, 5])
    assert (table["count"][0], table["offset"][0], table["size"][0, :3].tolist()) == (2, 7, [1 << 40, 5, 0])


def test_a_table_refuses_more_than_it_holds():
    with pytest.raises(ValueError):
        cuda.table("spectral_norm.cu", "Scales", size=[1] * 33)


def test_a_struct_that_cannot_be_read_is_named(monkeypatch):
    monkeypatch.setattr(cuda, "source", lambda file: "struct Odd {\n    double x;\n};\n")
    with pytest.raises(ValueError, match="struct Odd: expected a field like.*double x"):
        cuda.layout("odd.cu", "Odd")
    with pytest.raises(ValueError, match="odd.cu has no struct Even"):
        cuda.layout("odd.cu", "Even")


def test_a_source_inside_the_package_comes_first(monkeypatch, tmp_path):
    for folder, text in (("kernels", "beside"), ("minigan/kernels", "inside")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.cu").write_text(text)
    (tmp_path / "kernels" / "b.cu").write_text("beside")
    monkeypatch.setattr(cuda, "__file__", str(tmp_path / "minigan" / "engine" / "cuda.py"))
    assert cuda.source("a.cu") == "inside"
    assert cuda.source("b.cu") == "beside"
    with pytest.raises(FileNotFoundError, match="c.cu is neither"):
        cuda.source("c.cu")


def test_a_file_is_compiled_once(cupy, monkeypatch):
    monkeypatch.setattr(cuda, "_modules", {})
    monkeypatch.setattr(cuda, "_functions", {})
    x = cupy.ones((2, 2, 2, 1), cupy.float32)
    launch_upsample2x(launch_pool2x(launch_upsample2x(x)))
    assert len(cuda._modules) == 1 and len(cuda._functions) == 2


def test_a_launch_refuses_what_cuda_would_take_for_something_else(cupy):
    x = cupy.ones((4,), cupy.float32)
    for wrong in (1.0, 3, np.ones(4, np.float32), np.float64(1), None):
        with pytest.raises(TypeError, match="sample_norms: expected"):
            cuda.launch("sample_norms.cu", "sample_norms", (1,), (256,), (x, x, wrong))
    with pytest.raises(TypeError, match="CuPy arrays among the arguments, got int64"):
        cuda.launch("sample_norms.cu", "sample_norms", (1,), (256,), (np.int64(1),))
    with pytest.raises(ValueError, match="grid of at most"):
        cuda.launch("sample_norms.cu", "sample_norms", (1, 65536), (256,), (x, x, np.int64(4)))


def test_an_empty_grid_launches_nothing(cupy):
    with emulated_cupy.counted() as c:
        launch_upsample2x(cupy.empty((0, 2, 2, 1), cupy.float32))
    assert c.launches == 0


def test_launchers_name_what_they_refuse(cupy):
    x, host = cupy.ones((2, 4, 4, 3), cupy.float32), np.ones((2, 4, 4, 3), np.float32)
    row, short = cupy.ones((3,), cupy.float32), cupy.ones((2,), cupy.float32)
    matrix, rate = cupy.ones((4, 3), cupy.float32), cupy.array(1, np.float64)
    for wrong, error, message in [
        (lambda: launch_sum_rows(host), TypeError, "sum_rows: expected x to be a CuPy array, got ndarray"),
        (lambda: launch_sum_rows(x.astype(cupy.float64)), TypeError, "sum_rows: expected x in float32, got float64"),
        (lambda: launch_sum_rows(x[:, ::2]), ValueError, "sum_rows: expected x to be C-contiguous"),
        (lambda: launch_normalize(x, row, short), ValueError, r"normalize: expected shift of shape \(3,\), got"),
        (lambda: launch_bias_leaky(x, short), ValueError, r"bias_leaky: expected bias of shape \(3,\)"),
        (lambda: launch_bias_leaky(x, scale=row), ValueError, "bias_leaky: expected scale to be one number"),
        (lambda: launch_bias_leaky(x, slope=2), ValueError, "bias_leaky: expected a slope of 0 to 1, got 2"),
        (lambda: launch_bias_leaky(x, np.ones(3, np.float32)), TypeError, "expected bias to be a CuPy array"),
        (lambda: launch_bias_leaky_gradient(x, row, 0.1, True), ValueError, "bias_leaky_gradient: expected y of shape"),
        (lambda: launch_batch_statistics(x[:0], row, row, 1e-5), ValueError, "at least one row"),
        (lambda: launch_im2col(x, (3, 3), 0, (1, 1), (4, 4)), ValueError, "stride >= 1"),
        (lambda: launch_col2im(matrix, x.shape, (3, 3), 1, (1, 1), (4, 4)), ValueError,
         r"col2im: expected columns of shape \(32, 27\), got \(4, 3\)"),
        (lambda: launch_power_iterations([matrix, matrix], [cupy.ones((4,), cupy.float32), row]), ValueError,
         r"power_iterations: expected us\[1\] of shape \(4,\), got \(3,\)"),
        (lambda: launch_power_iterations([matrix], []), ValueError, "a vector for each"),
        (lambda: launch_power_iterations([row], [row]), ValueError, "expected matrices"),
        (lambda: launch_through_iterations([matrix], [], [], [], row), ValueError, "both us and a v for each"),
        (lambda: launch_through_iterations([matrix], [row], [row], [row], row), ValueError, r"u_olds\[0\] of shape"),
        (lambda: launch_scale_weights([matrix], row), ValueError, r"inverses of shape \(1,\)"),
        (lambda: launch_transposes([matrix, row]), ValueError, r"transposes: expected matrices, got \[\(4, 3\), \(3,"),
        (lambda: launch_factors(row, [0, 1], [1, 1], [None] * 2), ValueError, "expected for each layer the place"),
        (lambda: launch_factors(row, [0, 3], [1, 1], [None] * 2), ValueError, "expected for each layer the place"),
        (lambda: launch_factors(row, [0, 2], [1, 1], [None, row]), ValueError, r"gammas\[0\] of shape \(1,\)"),
        (lambda: launch_spectral_gradients([matrix], [matrix], [(short, row)], [None], row), ValueError,
         r"expected us\[0\] of shape \(4,\), got \(2,\)"),
        (lambda: launch_spectral_gradients([matrix], [matrix], [(cupy.ones((4,), cupy.float32), row)], [(short, row)],
                                           short[:1]), ValueError, r"v_ins\[0\] of shape \(6,\), got \(3,\)"),
        (lambda: launch_spectral_gradients([matrix], [matrix], [], [(row, row)], row), ValueError, "0 pairs, us of"),
        (lambda: launch_spectral_gradients([matrix], [matrix], [(row, row)], [None], short[:1],
                                           through=[(row, row)], in_through=[(row, row)]), ValueError,
         "in_through for the layers that have in_pairs"),
        (lambda: launch_adam_all([row], [short], [row], [row], rate, 0, 0, 1), ValueError, r"gs\[0\] of shape"),
        (lambda: launch_adam_all([row], [row], [row], [row], rate.astype(cupy.float32), 0, 0, 1), ValueError,
         "one float64 number"),
        (lambda: launch_adam_all([row], [], [row], [row], rate, 0, 0, 1), ValueError, "a gradient, m and v"),
        (lambda: launch_add_all([row], []), ValueError, "as many xs as ys, got 1 and 0"),
        (lambda: launch_add_all([row], [short]), ValueError, r"add_all: expected ys\[0\] of shape \(3,\)"),
    ]:
        with pytest.raises(error, match=message):
            wrong()


def test_all_layers_take_two_launches_an_iteration_and_copy_nothing(cupy):
    Ws, gs, ms, vs = ([cupy.ones((3, 4), cupy.float32) for _ in range(8)] for _ in range(4))
    us = [cupy.ones((3,), cupy.float32) for _ in Ws]
    cuda.tickets(cupy, 8)
    rate = cupy.array(0.1, np.float64)
    with emulated_cupy.counted() as c:
        us, rights, sigmas, inverses = launch_power_iterations(Ws, us, 3)
        W_bars = launch_scale_weights(Ws, inverses)
        launch_spectral_gradients(W_bars, Ws, list(zip(us, rights, strict=True)), [None] * 8, sigmas)
        launch_adam_all(Ws, gs, ms, vs, rate, 0.5, 0.9, 1e-8)
    assert c.kernels == {"sn_wtu": 3, "sn_wv": 3, "sn_scale": 1, "sn_dots": 1, "sn_correct": 1, "adam": 1}
    assert (c.launches, c.to_device, c.to_host) == (10, 0, 0)


def test_each_stream_has_tickets_of_its_own(cupy, monkeypatch):
    """Two kernels that run at once would count each other's blocks."""
    mine = cuda.tickets(cupy, 8)
    assert cuda.tickets(cupy, 8) is mine
    with monkeypatch.context() as patch:
        patch.setattr(cupy.cuda.Stream.null, "ptr", 1)
        other = cuda.tickets(cupy, 8)
        assert other is not mine and not other.get().any()
    assert cuda.tickets(cupy, 8) is mine


def test_short_functions_that_stand_in_several_files_are_one_text():
    """No #include: so there are copies (kernels/README.md, the contract)."""
    texts = {}
    for path in Path(__file__).parents[2].glob("kernels/*.cu"):
        for found in re.finditer(r"^__device__ [\w ]+ (\w+)\(.*?^\}\n", path.read_text(), re.M | re.S):
            texts.setdefault(found[1], []).append(found[0])
    for name in ("as_float", "as_number", "leaky", "before_leaky", "inverse_of"):
        assert len(texts[name]) > 1 and len(set(texts[name])) == 1, name
