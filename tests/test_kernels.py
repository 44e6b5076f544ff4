"""Every kernel against its NumPy twin in float64, and every seeded bug found. Emulated on the CPU (tests/emulator).

What the emulator checks beside the numbers (races, missed barriers, wrong addresses, numbers never written) is in
tests/emulator/README.md; what no emulator can show is in kernels/README.md.
"""

import contextlib
import re
from pathlib import Path

import emulated_cupy
import emulator
import numpy as np
import pytest
from kernel_cases import CASES

from minigan import cuda, launchers

FOLDER = Path(__file__).resolve().parents[1] / "kernels"
ORDERS = [("ascending", 0), ("descending", 0), *(("random", seed) for seed in range(20))]
NAMES = [case.name for case in CASES]


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy:
        yield cupy


def mapped(function, tree):
    """The tree of tuples and lists with function(array) for each array."""
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, part) for part in tree)
    return function(tree) if isinstance(tree, np.ndarray) or hasattr(tree, "get") else tree


def leaves(tree):
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple | list) else [tree]


def compare(case, found, expected):
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if b is None or a is None:
            assert a is b
            continue
        assert (a.dtype, a.shape) == (np.float32, np.shape(b)), f"result {i}: {a.dtype} {a.shape}, {np.shape(b)}"
        finite = np.isfinite(b)
        atol = case.rtol * max(np.abs(b[finite]).max(initial=0), 1e-30)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, equal_nan=True, err_msg=f"{case.name}, result {i}")


def run(cupy, case, arguments):
    """Launch with these float32 arguments and compare with the twin in float64; the results, on the host."""
    given = mapped(cupy.array, arguments)
    result = mapped(lambda a: a.get(), case.launcher(*given))
    exact = mapped(lambda a: a.astype(np.float64), arguments)
    expected = case.twin(*exact)
    compare(case, result, expected)
    for i, (before, after, twins) in enumerate(zip(arguments, given, exact, strict=True)):
        after = mapped(lambda a: a.get(), after)
        if i not in case.in_place:
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(leaves(before), leaves(after), strict=True)
                       if isinstance(a, np.ndarray)), f"{case.name} has changed its argument {i}"
        elif expected is None:
            compare(case, after, twins)
    return result, [mapped(lambda a: a.get(), given[i]) for i in case.in_place]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_kernel_computes_what_its_twin_computes(case, cupy, rng):
    for arguments in case.inputs(rng):
        run(cupy, case, arguments)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_any_order_of_threads_and_blocks_gives_the_same_bytes(case, cupy, rng):
    """The checker raises no false alarm, and no sum depends on who comes first."""
    inputs = list(case.inputs(rng))
    if not inputs:
        return
    inputs = sorted(inputs, key=lambda a: sum(x.size for x in leaves(a) if isinstance(x, np.ndarray)))[-3:]
    for arguments in inputs:
        seen = set()
        for which, seed in ORDERS:
            with emulator.order(which, seed):
                seen.add(b"".join(a.tobytes() for a in leaves(run(cupy, case, arguments)) if a is not None))
        assert len(seen) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_kernel_computes_what_its_twin_computes_on_a_gpu(case, real_cupy, rng):
    for arguments in case.inputs(rng):
        first, second = (leaves(run(real_cupy, case, arguments)) for _ in range(2))
        assert all(a is b is None or a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_every_kernel_is_run(cupy, rng):
    with emulated_cupy.counted() as c:
        for case in CASES:
            for arguments in case.inputs(rng):
                case.launcher(*mapped(cupy.array, arguments))
    sources = [path.read_text(encoding="utf-8") for path in FOLDER.glob("*.cu")]
    assert set(c.kernels) == {name for source in sources for name in re.findall(r"__global__ void (\w+)", source)}


def test_many_blocks_share_one_matrix(cupy, rng):
    """The CIFAR discriminator's largest layer but one, 256 x 2304: 72 strips, 256 rows, 144 parts of <G, W>."""
    for name in ("power_iterations", "spectral_gradients"):
        case = CASES[NAMES.index(name)]
        W, u, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((256, 2304), (256,), (2304,)))
        run(cupy, case, ([W], [u], 1, 1e-12) if name == "power_iterations" else
            ([W[::-1].copy()], [W], [u], [v], np.array([3], np.float32)))


# ---- seeded bugs ---------------------------------------------------------------------------------------------------

TICKET = "__threadfence();  // release: what this block wrote is visible before its ticket is"
ACQUIRE = "__threadfence();  // acquire: nothing below is read before the ticket was drawn"
RESET = "if (last) *ticket = 0;  // for the next launch"

# (launcher whose case must fail, file, text, what takes its place)
BUGS = [
    # spectral_norm.cu
    ("power_iterations", "spectral_norm", "sums[threadIdx.y][threadIdx.x] = sum;\n    __syncthreads();",
     "sums[threadIdx.y][threadIdx.x] = sum;"),
    ("power_iterations", "spectral_norm", "for (int r = threadIdx.y; r < rows; r += 8)",
     "for (int r = threadIdx.y; r <= rows; r += 8)"),
    ("power_iterations", "spectral_norm", "if (threadIdx.y == 0 && c < cols) {", "if (threadIdx.y == 0) {"),
    ("power_iterations", "spectral_norm", TICKET, ""),
    ("power_iterations", "spectral_norm", ACQUIRE, ""),
    ("power_iterations", "spectral_norm", RESET, ""),
    ("power_iterations", "spectral_norm", "atomicAdd(ticket, 1)", "(*ticket)++"),
    ("power_iterations", "spectral_norm", "__syncthreads();  // parts may now be written again", ""),
    ("power_iterations", "spectral_norm", "cols % 4 == 0 && ", ""),
    ("power_iterations", "spectral_norm", "sqrtf(block_sum(squares)) + eps)", "sqrtf(block_sum(squares)))"),
    ("power_iterations", "spectral_norm", "sigmas[layers.offset + l]", "sigmas[l]"),
    ("power_iterations", "spectral_norm", "sigma == 0.0f ? 0.0f : ", ""),
    ("power_iterations", "spectral_norm", "tickets + l, rows", "tickets, rows"),
    ("power_iterations", "spectral_norm", "step > 0; step /= 2", "step > 1; step /= 2"),
    ("spectral_gradients", "spectral_norm", "float slant = inner * inverse;", "float slant = inner;"),
    ("spectral_gradients", "spectral_norm", "u[i / cols] * v[i % cols]", "u[i % cols] * v[i / cols]"),
    ("spectral_gradients", "spectral_norm", "if (threadIdx.x == 0) parts[block] = sum;", "parts[block] = sum;"),
    ("spectral_gradients", "spectral_norm", "sum += G[i] * W[i];", "sum += G[i] * G[i];"),
    ("spectral_gradients", "spectral_norm", "layers.first[l] + threadIdx.x; part", "threadIdx.x; part"),
    ("scale_weights", "spectral_norm", "inverses[layers.offset + l];", "inverses[l];"),
    ("scale_weights", "spectral_norm", "block >= layers.first[l + 1]", "block > layers.first[l + 1]"),
    # power_iteration.cu
    ("power_iteration_one", "power_iteration", "__syncthreads();  // all of u is there", ""),
    ("power_iteration_one", "power_iteration", "__syncthreads();  // the next iteration reads u", ""),
    ("power_iteration_one", "power_iteration", "__syncthreads();  // the parts of all warps are there", ""),
    ("power_iteration_one", "power_iteration", "__syncthreads();  // all threads have read; parts may be written again",
     ""),
    ("power_iteration_one", "power_iteration", "length = sqrtf(squares) + eps;", "length = sqrtf(squares);"),
    ("power_iteration_one", "power_iteration", "if (threadIdx.x == 0) u[r] = sum;", "u[r] = sum;"),
    # windows.cu
    ("im2col", "windows", "if (window >= w.count) return;", "if (window > w.count) return;"),
    ("im2col", "windows", "y >= w.H", "y > w.H"),
    ("im2col", "windows", "window / w.ow % w.rows", "window / w.ow % w.oh"),
    ("im2col", "windows", "w.first_image + ", ""),
    ("im2col", "windows", "k % w.C]", "k]"),
    ("im2col", "windows", "x[pixel * C + k % C]", "x[pixel * w.C + k % C]"),
    ("im2col", "windows", "int C = w.C / 4;", "int C = w.C;"),
    ("col2im", "windows", "i * w.stride <= py", "i * w.stride < py"),
    ("col2im", "windows", "py < w.kh ? 0 : ", ""),
    ("col2im", "windows", "if (at >= w.count) return;", ""),
    ("col2im", "windows", "if (has_scale) sum *= scale[0];\n    if (has_bias) sum += bias[c];",
     "if (has_bias) sum += bias[c];\n    if (has_scale) sum *= scale[0];"),
    # activation.cu
    ("bias_leaky", "activation", "bias[i % C]", "bias[i / C]"),
    ("bias_leaky", "activation", "slope == 0.0f ? 0.0f : z * slope", "z * slope"),
    ("bias_leaky", "activation", "if (i >= count) return;\n    float z", "if (i > count) return;\n    float z"),
    ("bias_leaky", "activation", "z < 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z",
     "z > 0.0f ? z : (slope == 0.0f ? 0.0f : z * slope)"),
    ("bias_leaky_gradient", "activation", "gz[i] = gy[i] * (y[i] > 0.0f", "gz[i] = gy[i] * (y[i] >= 0.0f"),
    ("bias_leaky_gradient", "activation", "float g = gy[i] * (y[i] > 0.0f", "float g = gy[i] * (gy[i] > 0.0f"),
    ("bias_leaky_gradient", "activation", "            gz[i] = g;\n", ""),
    ("sum_rows", "activation", "        __syncthreads();\n        if ((int)threadIdx.y < half)",
     "        if ((int)threadIdx.y < half)"),
    ("sum_rows", "activation", "(int)threadIdx.y < half", "(int)threadIdx.y <= half"),
    ("sum_rows", "activation", TICKET, ""),
    ("sum_rows", "activation", ACQUIRE, ""),
    ("sum_rows", "activation", RESET, ""),
    ("sum_rows", "activation", "__syncthreads();  // all threads have written", ""),
    ("sum_rows", "activation", "is_last_block(tickets + blockIdx.x, gridDim.y)", "is_last_block(tickets, gridDim.y)"),
    ("sum_rows", "activation", "first + rows_per_block < rows ? first + rows_per_block : rows",
     "first + rows_per_block"),
    # batch_norm.cu
    ("batch_moments", "batch_norm", "distance * (value - m.mean)", "distance * distance"),
    ("batch_moments", "batch_norm", "if (b.count == 0.0f) return a;", ""),
    ("batch_moments", "batch_norm", "distance * distance * a.count * share", "distance * distance * share"),
    ("batch_moments", "batch_norm", RESET, ""),
    ("batch_moments", "batch_norm", "        __syncthreads();\n        if ((int)threadIdx.y < half) shared[at] = merge",
     "        if ((int)threadIdx.y < half) shared[at] = merge"),
    ("moved_moments", "batch_norm", "(variance[c] * unbias)", "variance[c]"),
    ("moved_moments", "batch_norm", "to_mean[c] = decay", "to_mean[c] = rest"),
    ("batch_factors", "batch_norm", "gamma[c] * inverse[c];", "gamma[c];"),
    ("batch_factors", "batch_norm", "variance[c] + eps", "variance[c]"),
    ("normalize", "batch_norm", "int c = (int)(i % C);\n    y[i]", "int c = (int)(i / C);\n    y[i]"),
    ("normalize", "batch_norm", "if (i >= count) return;\n    int c = (int)(i % C);\n    y[i]",
     "int c = (int)(i % C);\n    y[i]"),
    ("normalize_gradient", "batch_norm", "all.y * inverse[c]", "all.y"),
    ("normalize_gradient", "batch_norm", "(gbeta[c] + hat * ggamma[c]) * share", "gbeta[c] + hat * ggamma[c] * share"),
    ("normalize_gradient", "batch_norm", "slope == 1.0f || y[i] > 0.0f", "slope == 1.0f || y[i] >= 0.0f"),
    ("normalize_gradient", "batch_norm", "            shared[at].y += shared[at + half * blockDim.x].y;\n", ""),
    ("normalize_gradient", "batch_norm", ACQUIRE, ""),
    # adam.cu
    ("adam_all", "adam", "sqrtf(square) + eps", "sqrtf(square + eps)"),
    ("adam_all", "adam", "rest2 * g[i] * g[i]", "rest1 * g[i] * g[i]"),
    ("adam_all", "adam", "        m[i] = mean;\n", ""),
    ("adam_all", "adam", "i < params.size[p]", "i <= params.size[p]"),
    ("adam_all", "adam", "block >= params.first[p + 1]", "block > params.first[p + 1]"),
    # penalty.cu
    ("sample_norms", "penalty", "    __syncthreads();\n    float sum", "    float sum"),
    ("sample_norms", "penalty", "i < size; i += blockDim.x", "i <= size; i += blockDim.x"),
    ("sample_norms", "penalty", "norms[blockIdx.x] = sqrtf(squares)", "norms[blockIdx.x] = squares"),
    ("sample_norms_gradient", "penalty", "norms[n] == 0.0f ? 0.0f : ", ""),
    ("sample_norms_gradient", "penalty", "i / size", "i % size"),
    # resample.cu
    ("upsample2x", "resample", "row / 2 * W", "row * W"),
    ("upsample2x", "resample", "int j = (int)(pixel % (2 * W));", "int j = (int)(pixel % W);"),
    ("pool2x", "resample", "corner[below + C]", "corner[below]"),
    ("pool2x", "resample", "pixel / (W / 2) % (H / 2)", "pixel / (W / 2) % H"),
    ("pool2x", "resample", "(n * H + 2 * i) * W", "(n * (H / 2 * 2) + 2 * i) * W"),
]


@contextlib.contextmanager
def changed(monkeypatch, file, old, new):
    """kernels/<file>.cu with `new` in the place of each `old`."""
    text = cuda.source(f"{file}.cu")
    assert old in text, f"kernels/{file}.cu has no longer the text {old!r}"
    source = cuda.source
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "source", lambda name: text.replace(old, new) if name == f"{file}.cu" else source(name))
        for cache in (cuda._modules, cuda._functions, launchers._tickets):
            cache.clear()
        try:
            yield
        finally:
            for cache in (cuda._modules, cuda._functions, launchers._tickets):
                cache.clear()


@pytest.mark.parametrize("launcher, file, old, new", BUGS)
def test_a_seeded_bug_is_found(launcher, file, old, new, cupy, rng, monkeypatch):
    with changed(monkeypatch, file, old, new), pytest.raises((AssertionError, emulator.KernelFault)):
        for which, seed in ORDERS[:4]:
            for case in CASES:
                if case.name == launcher:
                    with emulator.order(which, seed):
                        for arguments in case.inputs(rng):
                            run(cupy, case, arguments)
