"""Every kernel against its NumPy twin in float64, and every seeded bug found. Emulated on the CPU (tests/emulator).

What the emulator checks beside the numbers (races, missed barriers, wrong addresses, numbers never written) is in
tests/emulator/README.md; what no emulator can show is in kernels/README.md.
"""

import dataclasses
import itertools
import re
from collections import Counter
from pathlib import Path

import emulated_cupy
import emulator
import numpy as np
import pytest
from kernel_cases import CASES, leaves, mapped, matrices
from kernel_runs import ORDERS, changed, functions, run

from minigan.engine import cuda
from minigan.engine.devices import BF16, FLOAT32
from minigan.engine.loops import spectral_norm
from minigan.engine.loops.activation import launch_leaky
from minigan.engine.loops.power_iteration import launch_power_iterations
from minigan.engine.loops.sums import launch_add

FOLDER = Path(__file__).resolve().parents[2] / "kernels"
NAMES = [case.name for case in CASES]


@pytest.fixture
def cupy():
    with emulated_cupy.installed() as cupy:
        yield cupy


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_kernel_computes_what_its_twin_computes(case, cupy, rng):
    for arguments in case.inputs(rng):
        run(cupy, case, arguments)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_arrays_may_lie_anywhere(case, cupy, rng):
    """A view of another array begins at a multiple of 4 bytes, not of 16: what reads four numbers at once must see."""
    for arguments in case.inputs(rng):
        run(cupy, case, arguments, offset=1)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_any_order_of_threads_and_blocks_gives_the_same_bytes(case, cupy, rng):
    """The checker raises no false alarm, and no sum depends on who comes first."""
    inputs = sorted(case.inputs(rng), key=lambda a: sum(x.size for x in leaves(a) if isinstance(x, np.ndarray)))[-3:]
    for arguments in inputs:
        seen = set()
        for which, seed in ORDERS:
            with emulator.order(which, seed):
                seen.add(b"".join(a.tobytes() for a in leaves(run(cupy, case, arguments)) if a is not None))
        assert len(seen) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_kernel_computes_what_its_twin_computes_on_a_gpu(case, real_cupy, rng):
    if case.launcher.__module__.endswith(".conv") and int(real_cupy.cuda.Device().compute_capability) < 80:
        pytest.skip("tensor cores with TF32 are from compute capability 8.0 on")
    for arguments in case.inputs(rng):
        first, second = (leaves(run(real_cupy, case, arguments)) for _ in range(2))
        assert all(a is b is None or a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("n_iter", [1, 3])
def test_the_new_u_is_kept_in_place_if_asked_for(n_iter, cupy, rng):
    for Ws, us in matrices(rng):
        Ws, before, kept = ([cupy.array(a) for a in arrays] for arrays in (Ws, us, us))
        plain = launch_power_iterations(Ws, before, n_iter)
        found = launch_power_iterations(Ws, kept, n_iter, keep=True)
        for u, new, same, old, given in zip(kept, found[0], plain[0], before, us, strict=True):
            assert u.get().tobytes() == new.get().tobytes() == same.get().tobytes()
            assert old.get().tobytes() == given.tobytes()


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
            ([W[::-1].copy()], [W], [(u, v)], [(v[:256], v.repeat(256)[:W.size // 256])], np.array([3], np.float32)))


def test_a_layer_has_at_most_as_many_parts_as_a_block_has_threads(cupy, rng, monkeypatch):
    """Of 256 threads: in a 257th block numbers are not zero from 65,537 on."""
    monkeypatch.setattr(spectral_norm, "WORK", 16)
    raw, back, W = (rng.standard_normal(shape).astype(np.float32) / 260 for shape in ((9, 7500), (1, 70000), (70000,)))
    for name, arguments in (("operator_norms", ([raw], [back], 1e-12, 1.0)),
                            ("operator_norms", ([back], [raw], 1e-12, 1.0)),
                            ("operator_gradients", ([W], [-2 * W], [W[::-1].copy()], *np.ones((2, 1), np.float32)))):
        run(cupy, CASES[NAMES.index(name)], arguments)


def test_parts_of_a_convolution_are_added_in_groups_of_groups(cupy, rng):
    """Of 18 parts, four at a time: 5, then 2, then 1; of 17, the last of the 5 is a part alone. On a GPU three rounds
    are for more than 256."""
    text = cuda.source("conv.cu")
    assert text.count("#define GROUP 16") == 1
    with changed("conv", text.replace("#define GROUP 16", "#define GROUP 4")):
        for case in CASES:
            if case.launcher.__module__.endswith(".conv"):
                for which, seed in ORDERS[:4]:
                    with emulator.order(which, seed):
                        for *given, way, precision in [a for a in case.inputs(rng) if a[-2].parts > 16]:
                            for parts in (17, 18):
                                run(cupy, case, (*given, dataclasses.replace(way, parts=parts), precision))


@pytest.mark.parametrize("dtype", [FLOAT32, BF16])
def test_a_result_may_take_the_place_of_an_argument(dtype, cupy, rng):
    x, y = (rng.standard_normal((3, 401)).astype(dtype) for _ in range(2))
    for function in (lambda x, y, out: launch_leaky(x, 0.1, out), lambda x, y, out: launch_add(x, y, out),
                     lambda x, y, out: launch_add(y, x, out)):
        given, other = cupy.array(x), cupy.array(y)
        apart = function(given, other, None)
        assert function(given, other, given) is given
        assert given.get().tobytes() == apart.get().tobytes() != x.tobytes()


# ---- seeded bugs ---------------------------------------------------------------------------------------------------

TICKET = "__threadfence();  // release: what this block wrote is visible before its ticket is"
ACQUIRE = "__threadfence();  // acquire: nothing below is read before the ticket was drawn"
ONE_ROUND = ("for (int part = threadIdx.y; part < (int)gridDim.y; part += blockDim.y)",
             "if (int part = threadIdx.y; part < (int)gridDim.y)")
RESET = "if (last) *ticket = 0;  // for the next launch"

# (launcher whose case must fail, file, function, text that stands there once, what takes its place)
BUGS = [
    # power_iteration.cu
    ("power_iteration", "power_iteration", "power_iteration",
     "__syncthreads();  // all of u is there\n        length",
     "length"),
    ("power_iteration", "power_iteration", "power_iteration", "__syncthreads();  // the next iteration reads u",
     ""),
    ("power_iteration", "power_iteration", "block_sum", "__syncthreads();  // the parts of all warps are there",
     ""),
    ("power_iteration", "power_iteration", "block_sum",
     "__syncthreads();  // all threads have read; parts may be written again",
     ""),
    ("power_iteration", "power_iteration", "power_iteration", "length = sqrtf(squares) + eps;",
     "length = sqrtf(squares);"),
    ("power_iteration", "power_iteration", "power_iteration", "if (threadIdx.x == 0) u[r] = sum;", "u[r] = sum;"),
    ("power_iterations", "power_iteration", "sn_wtu", "sums[threadIdx.y][threadIdx.x] = sum;\n    __syncthreads();",
     "sums[threadIdx.y][threadIdx.x] = sum;"),
    ("power_iterations", "power_iteration", "sn_wtu", "for (int r = threadIdx.y; r < rows; r += 8)",
     "for (int r = threadIdx.y; r <= rows; r += 8)"),
    ("power_iterations", "power_iteration", "sn_wtu", "if (threadIdx.y == 0 && c < cols) {", "if (threadIdx.y == 0) {"),
    ("power_iterations", "power_iteration", "is_last_block", TICKET, ""),
    ("power_iterations", "power_iteration", "is_last_block", ACQUIRE, ""),
    ("power_iterations", "power_iteration", "is_last_block", RESET, ""),
    ("power_iterations", "power_iteration", "is_last_block", "atomicAdd(ticket, 1)", "(*ticket)++"),
    ("power_iterations", "power_iteration", "block_sum",
     "__syncthreads();  // all threads have read; parts may be written again", ""),
    ("power_iterations", "power_iteration", "sn_wv", "cols % 4 == 0 && ", ""),
    ("power_iterations", "power_iteration", "sn_wv", "(unsigned long long)W % 16 == 0 && ", ""),
    ("power_iterations", "power_iteration", "sn_wv", "sqrtf(block_sum(squares)) + eps)", "sqrtf(block_sum(squares)))"),
    ("power_iterations", "power_iteration", "sn_wv", "sigmas[layers.offset + l]", "sigmas[l]"),
    ("power_iterations", "power_iteration", "inverse_of", "sigma == 0.0f ? 0.0f : ", ""),
    ("power_iterations", "power_iteration", "sn_wv", "tickets + l, rows", "tickets, rows"),
    ("power_iterations", "power_iteration", "block_sum", "step > 0; step /= 2", "step > 1; step /= 2"),
    *(("through_iterations", "power_iteration", "sn_through", old, new) for old, new in [
        ("u_old[r] * u[r]", "u_old[r] * u_old[r]"), ("sigmas[layers.offset + l]", "sigmas[l]"),
        ("w[c] - sigma * v[c]", "w[c] - v[c]"), ("inverse_of(sigma * block_sum(dot))", "1.0f / block_sum(dot)"),
        ("copy[r] = u_old[r];\n        if (kept) kept[r] = u[r];",
         "if (kept) kept[r] = u[r];\n        copy[r] = u_old[r];"),
        ("if (kept) kept[r] = u[r];", "if (kept) kept[r] = u_old[r];"), ("if (kept)", "")]),
    # operator_norm.cu
    ("operator_norms", "operator_norm", "operator_norms", "sqrtf(raws) + eps", "sqrtf(raws)"),
    ("operator_norms", "operator_norm", "operator_norms", "sqrtf(square) + a * eps", "sqrtf(square) + eps"),
    ("operator_norms", "operator_norm", "operator_norms", "scale * a * length", "a * length"),
    ("operator_norms", "operator_norm", "operator_norms", "square == 0.0f ? 0.0f : scale", "scale"),
    ("operator_norms", "operator_norm", "operator_norms", "square == 0.0f ? 0.0f : 1.0f / length", "1.0f / length"),
    ("operator_norms", "operator_norm", "operator_norms", "squares[layers.offset + l]", "squares[l]"),
    ("operator_norms", "operator_norm", "operator_norms", "tickets + l, blocks", "tickets, blocks"),
    ("operator_norms", "operator_norm", "operator_norms", "mine ? parts[first + threadIdx.x].y : 0.0f",
     "parts[first + threadIdx.x].y"),
    ("operator_norms", "operator_norm", "share_of_square", "i += (long long)blocks * blockDim.x", "i += blockDim.x"),
    ("operator_norms", "operator_norm", "block_sum",
     "__syncthreads();  // all threads have read; parts may be written again", ""),
    ("operator_norms", "operator_norm", "is_last_block", TICKET, ""),
    ("operator_norms", "operator_norm", "is_last_block", ACQUIRE, ""),
    ("operator_norms", "operator_norm", "is_last_block", RESET, ""),
    ("operator_gradients", "operator_norm", "operator_dots", "sum += G[i] * W[i];", "sum += G[i] * G[i];"),
    ("operator_gradients", "operator_norm", "operator_dots", "if (threadIdx.x == 0) parts[block] = sum;",
     "parts[0] = sum;"),
    ("operator_gradients", "operator_norm", "operator_correct", "square == 0.0f ? 0.0f : ", ""),
    ("operator_gradients", "operator_norm", "operator_correct", "slant * S[i]", "inner * S[i]"),
    ("operator_gradients", "operator_norm", "operator_correct", "inverses[layers.offset + l]", "inverses[l]"),
    # spectral_norm.cu
    ("spectral_gradients", "spectral_norm", "sn_correct", "float slant = dot * inverse;", "float slant = dot;"),
    ("spectral_gradients", "spectral_norm", "sn_correct", "int row = i / cols;\n        int col = i % cols;",
     "int row = i % cols;\n        int col = i / cols;"),
    ("spectral_gradients", "spectral_norm", "sn_dots", "if (threadIdx.x == 0) parts[block] = sum;",
     "parts[block] = sum;"),
    ("spectral_gradients", "spectral_norm", "sn_dots", "sum += G[i] * W[i];", "sum += G[i] * G[i];"),
    ("spectral_gradients", "spectral_norm", "sn_correct", "layers.first[l] + threadIdx.x; part", "threadIdx.x; part"),
    ("scale_weights", "spectral_norm", "sn_scale", "inverses[layers.offset + l];", "inverses[l];"),
    ("scale_weights", "spectral_norm", "sn_scale", "block >= layers.first[l + 1]", "block > layers.first[l + 1]"),
    ("scale_weights", "spectral_norm", "sn_scale", "W[i] * inverse", "W[i] / inverse"),
    ("scale_weights", "spectral_norm", "sn_scale", "i < layers.size[l]", "i < layers.size[l] - 1"),
    ("spectral_gradients", "spectral_norm", "sn_dots", "block >= layers.first[l + 1]", "block > layers.first[l + 1]"),
    ("spectral_gradients", "spectral_norm", "sn_correct", "sigmas[layers.offset + l]", "sigmas[l]"),
    *(("spectral_gradients", "spectral_norm", "sn_correct", old, new) for old, new in [
        ("row = i % inner;\n            col = i / inner;", ""), ("S *= 0.5f;", ""), ("if (inner) {", "{"),
        ("u_old[row] * w[col]", "u[row] * w[col]"), ("u_in_old[row] * w_in[col]", "u_in[row] * w_in[col]"),
        ("if (u_old) S += u_old[row]", "S += u_old[row]"), ("dgammas[layers.offset + l]", "dgammas[l]"),
        ("if (layers.dgammas && block == layers.first[l] &&", "if (layers.dgammas &&"),
        ("slant * layers.scale[l]", "slant"), ("inverse = layers.inverses[layers.offset + l]",
                                               "inverse = layers.inverses[l]")]),
    *(("factors", "spectral_norm", "sn_factors", old, new) for old, new in [
        ("if (l >= layers.count) return;", ""), ("0.5f * (sigma", "(sigma"), ("of_matrices[layers.offset + l]",
                                                                             "of_matrices[l]"),
        ("of_matrices[layers.second[l]]", "of_matrices[layers.offset + layers.second[l]]"),
        ("factor * inverse_of(sigma)", "factor / sigma")]),
    *(("transposes", "spectral_norm", "sn_transpose", old, new) for old, new in [
        ("__syncthreads();", ""), ("(cols + 31) / 32", "cols / 32 + 1"), ("c0 + threadIdx.x < cols)", "true)"),
        ("r0 + threadIdx.x < rows)", "true)"), ("tile[threadIdx.x][y]", "tile[y][threadIdx.x]")]),
    # rounding.cu
    ("to_bf16", "rounding", "bf16", "(bits >> 16) % 2", "1"),
    ("to_bf16", "rounding", "bf16", "(bits >> 16) % 2", "0"),
    ("to_bf16", "rounding", "bf16", "    if (x != x) return 0x7fffu;  // not a number, whatever its bits are\n", ""),
    ("to_bf16", "rounding", "to_bf16", "i < size / 2", "i <= size / 2"),
    ("to_bf16", "rounding", "to_bf16", "bf16(x[2 * i + 1]) << 16 | bf16(x[2 * i])", "bf16(x[2 * i + 1]) << 16"),
    ("to_bf16", "rounding", "to_bf16", "size % 2 == 1 && ", ""),
    ("to_bf16", "rounding", "to_bf16", "block == arrays.first[p] && ", ""),
    ("to_bf16", "rounding", "to_bf16", "block >= arrays.first[p + 1]", "block > arrays.first[p + 1]"),
    ("to_float32", "rounding", "to_float32", "(unsigned)read[1] << 16", "(unsigned)read[0] << 16"),
    ("to_float32", "rounding", "to_float32", "if (second < size) y", "if (second <= size) y"),
    ("to_float32", "rounding", "to_float32", "blockIdx.x * 2", "blockIdx.x"),
    # windows.cu
    ("im2col", "windows", "copy_ones", "if (window >= w.count) return;", "if (window > w.count) return;"),
    ("im2col", "windows", "pixel_of", "y >= w.H", "y > w.H"),
    ("im2col", "windows", "pixel_of", "window / w.ow % w.oh", "window / w.ow"),
    ("im2col", "windows", "pixel_of", "w.ow / w.oh", "w.ow"),
    ("im2col", "windows", "copy_fours", "if (window >= w.count) return;", "if (window > w.count) return;"),
    ("im2col", "windows", "copy_ones", "k % w.C]", "k]"),
    ("im2col_bf16", "windows", "copy_ones", "(Number)0", "(Number)1"),
    *((launcher, "windows", kernel, "copy_ones(w, x, columns)", f"copy_ones(w, x, columns{more})")
      for launcher, kernel in (("im2col", "im2col"), ("im2col_bf16", "im2col_of_bf16")) for more in (" + 1", " - w.C")),
    ("im2col", "windows", "copy_fours", "x[pixel * C + k % C]", "x[pixel * w.C + k % C]"),
    ("im2col", "windows", "im2col4", "return value;", "return float4{value.x, value.y, value.w, value.z};"),
    ("im2col", "windows", "im2col4", "return value;", "return float4{value.x, value.x, value.z, value.z};"),
    ("im2col_bf16", "windows", "im2col4_bf16", "bf16(value.y) << 16 | bf16(value.x)",
     "bf16(value.x) << 16 | bf16(value.y)"),
    ("im2col_bf16", "windows", "im2col4_bf16", "bf16(value.z)}", "bf16(value.w)}"),
    ("im2col_bf16", "windows", "bf16", "(bits >> 16) % 2", "1"),
    ("im2col", "windows", "copy_fours", "int C = w.C / 4;", "int C = w.C;"),
    ("col2im", "windows", "col2im", "return number;", "return 2.0f * number;"),
    ("col2im", "windows", "col2im", "has_scale, has_bias, slope, as", "has_bias, has_scale, slope, as"),
    ("col2im_bf16", "windows", "col2im_bf16", "<< 16", "<< 15"),
    ("col2im_bf16", "windows", "col2im_bf16", "has_scale, has_bias, slope, as", "has_bias, has_scale, slope, as"),
    ("col2im_bf16", "windows", "col2im_bf16_to_bf16", "bf16(result)", "(__float_as_uint(result) >> 16)"),
    ("col2im_bf16", "windows", "col2im_bf16_to_bf16", "<< 16", "<< 15"),
    ("col2im", "windows", "collect", "i * w.stride <= py", "i * w.stride < py"),
    ("col2im", "windows", "collect", "py < w.kh ? 0 : ", ""),
    ("col2im", "windows", "collect", "if (at >= w.count) return;", ""),
    ("col2im", "windows", "collect", "slope == 0.0f ? 0.0f : sum * slope", "sum * slope"),
    ("col2im", "windows", "collect", "if (has_scale) sum *= scale[0];\n    if (has_bias) sum += bias[c];",
     "if (has_bias) sum += bias[c];\n    if (has_scale) sum *= scale[0];"),
    # conv.cu
    ("conv", "conv", "product", "        wait_for_step();\n", ""),
    ("conv", "conv", "product",
     "__syncthreads();  // everyone's copies have come, and everyone has read the step before", ""),
    ("conv", "conv", "product", "next % STAGES * STAGE", "step % STAGES * STAGE"),
    ("conv", "conv", "wait_for_step", '"n"(STAGES - 2)', '"n"(STAGES - 1)'),
    ("conv", "conv", "tf32", 'asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));',
     "rounded = __float_as_uint(x);"),
    ("conv", "conv", "bf16", '"f"(second), "f"(first)', '"f"(first), "f"(first)'),
    ("conv", "conv", "factors", "half * 8 + 2 * t", "half * 8 + t"),
    ("conv_transposed", "conv", "factors", "number + 1)", "number)"),
    ("conv_weights", "conv", "factors", "by_rows ? number : number + line", "number"),
    ("conv", "conv", "factors", "by_rows ? row + line : row", "row"),
    ("conv_transposed", "conv", "factors", "(deep_first ? e / 2 : e % 2) * 8, number", "e / 2 * 8, number"),
    ("conv", "conv", "copy", "else *to = there ? *from : 0;", ""),
    ("conv_weights", "conv", "copy", "*to = there ? *from : 0;", "*to = *from;"),
    ("conv", "conv", "copy", "copy_few<8>", "copy_few<4>"),
    ("conv", "conv", "copy_few", "there ? BYTES : 0", "BYTES"),
    ("conv_transposed", "conv", "place", "by_rows ? DEPTH : size", "DEPTH"),
    ("conv", "conv", "stored", "return (Out)bf16(z, 0.0f);", "return (Out)(__float_as_uint(z) >> 16);"),
    ("conv", "conv", "finish", "if (s.parts == 1) return write_fours(acc, out, end, place);", ""),
    ("conv", "conv", "write_fours", "t % 2 ? mine[0] : mine[1], 1", "t % 2 ? mine[1] : mine[0], 1"),
    ("conv", "conv", "write_fours", "min(column + 8 * (j + b) + 2 * t + 1, end.columns - 1)",
     "column + 8 * (j + b) + 2 * t + 1"),
    ("conv_transposed", "conv", "write_fours", "at % 4 == 0 && ", "at >= 0 && "),
    ("conv", "conv", "conv", "s.O - o0}", "s.O + o0}"),
    ("conv_transposed", "conv", "write_fours", " && place(r, c + 3) >= 0", ""),
    ("conv", "conv", "conv", "e < RUN_A", "e < 4"),
    ("conv_transposed", "conv", "conv_transposed", "e < RUN_B", "e < 4"),
    ("conv_weights", "conv", "conv_weights", "threadIdx.x % 4 * RUN_A", "threadIdx.x % 4 * 4"),
    ("conv_weights", "conv", "product", "k += DEEP", "k += 8"),
    ("conv", "conv", "copy16", "there ? 16 : 0", "16"),
    ("conv", "conv", "conv", "min(p0 + a_row + SPAN_A * r, pixels - 1)", "p0 + a_row + SPAN_A * r"),
    ("conv", "conv", "conv", "bool there = k < depth && o < s.O;", "bool there = k < depth;"),
    ("conv", "conv", "conv", "bias + o0,", "bias,"),
    ("conv", "conv", "finish", "m < members; m++", "m < members - 1; m++"),
    ("conv", "conv", "finish", "(members > 1 ? level : 0)", "0"),
    ("conv", "conv", "finish", "+ blockIdx.x * s.parts;", ";"),
    ("conv", "conv", "finish", "ended(sum, end, j)", "sum"),
    ("conv", "conv", "is_last_block", TICKET, ""),
    ("conv", "conv", "is_last_block", ACQUIRE, ""),
    ("conv", "conv", "is_last_block", RESET, ""),
    ("conv", "conv", "is_last_block", "__syncthreads();  // all threads have written", ""),
    ("conv_transposed", "conv", "finish", "(blockIdx.z - part) * gridDim.y + ", ""),
    ("conv_weights", "conv", "finish", "left = (left + GROUP - 1) / GROUP;", "left = left / GROUP;"),
    ("conv_transposed", "conv", "conv_transposed", "(s.kh - py + s.stride - 1) / s.stride", "s.kh / s.stride"),
    ("conv_transposed", "conv", "conv_transposed", "(unsigned)(i0[r] - di) < (unsigned)s.oh", "i0[r] - di < s.oh"),
    ("conv_transposed", "conv", "conv_transposed", "q / max(height, 1)", "q / height"),
    ("conv_weights", "conv", "conv_weights", "bool there = p < pixels && o0 + o < s.O;", "bool there = p < pixels;"),
    ("conv_weights", "conv", "conv_weights", "e == 0 ? taps[r] : tap_of(s, k0 + column)", "taps[r]"),
    # activation.cu
    ("bias_leaky", "activation", "bias_leaky", "bias[i % C]", "bias[i / C]"),
    ("bias_leaky", "activation", "leaky", "slope == 0.0f ? 0.0f : z * slope", "z * slope"),
    ("bias_leaky", "activation", "bias_leaky", "z *= scale[0];\n        if (has_bias)",
     "z *= scale[0];\n        else if (has_bias)"),
    ("bias_leaky", "activation", "each", "if (place(e) < count) to", "to"),
    ("leaky", "activation", "each", "if (place(e) < count) to", "to"),
    ("leaky", "activation", "each", "value(read[e], place(e))", "value(read[0], place(e))"),
    ("leaky", "activation", "place", "EACH + e", "EACH"),
    ("leaky_gradient", "activation", "place", "* EACH", ""),
    ("bias_leaky", "activation", "as_number", "(bits >> 16) % 2", "1"),
    ("bias_leaky", "activation", "as_number",
     "if (x != x) return 0x7fff;  // not a number, whatever its bits are\n", ""),
    ("sum_rows", "activation", "as_float", "<< 16", "<< 15"),
    ("bias_leaky", "activation", "leaky", "z < 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z",
     "z > 0.0f ? z : (slope == 0.0f ? 0.0f : z * slope)"),
    ("bias_leaky_gradient", "activation", "leaky_gradient", "as_float(y[i]) > 0.0f",
     "as_float(y[i]) >= 0.0f"),
    ("leaky_gradient", "activation", "leaky_gradient", "(before[i]) + g", "(before[i]) - g"),
    ("leaky_gradient", "activation", "leaky_gradient", "has_before ? as_float(before[i]) + g : g",
     "as_float(before[i]) + g"),
    ("bias_leaky_gradient", "activation", "bias_leaky_gradient", "as_float(y[i]) > 0.0f",
     "as_float(gy[i]) > 0.0f"),
    ("bias_leaky_gradient", "activation", "bias_leaky_gradient", "            gz[i] = g;\n", ""),
    ("bias_leaky_gradient", "activation", "bias_leaky_gradient",
     "number g = as_number(as_float(gy[i]) * (as_float(y[i]) > 0.0f ? 1.0f : slope));\n            gz[i] = g;\n"
     "            sum += as_float(g);",
     "float g = as_float(gy[i]) * (as_float(y[i]) > 0.0f ? 1.0f : slope);\n            gz[i] = as_number(g);\n"
     "            sum += g;"),  # the sum of what is not rounded yet
    ("tanh_gradient", "activation", "tanh_gradient", "1.0f - y[i] * y[i]", "1.0f - y[i]"),
    ("tanh_gradient", "activation", "tanh_gradient", "if (i >= count) return;", ""),
    ("sum_rows", "activation", "sum_over_y", "        __syncthreads();\n        if ((int)threadIdx.y < half)",
     "        if ((int)threadIdx.y < half)"),
    ("sum_rows", "activation", "sum_over_y", "(int)threadIdx.y < half", "(int)threadIdx.y <= half"),
    ("sum_rows", "activation", "is_last_block", TICKET, ""),
    ("sum_rows", "activation", "is_last_block", ACQUIRE, ""),
    ("sum_rows", "activation", "is_last_block", RESET, ""),
    ("sum_rows", "activation", "is_last_block", "__syncthreads();  // all threads have written", ""),
    ("sum_rows", "activation", "add_up", "is_last_block(tickets + blockIdx.x, gridDim.y)",
     "is_last_block(tickets, gridDim.y)"),
    ("sum_rows", "activation", "sum_rows", "first + rows_per_block < rows ? first + rows_per_block : rows",
     "first + rows_per_block"),
    ("bias_leaky_gradient", "activation", "leaky_gradient", "1.0f : slope", "slope : 1.0f"),
    ("sum_rows", "activation", "sum_rows", "first + threadIdx.y", "first"),
    ("sum_rows", "activation", "sum_rows", "x[row * C + c]", "x[row + c * rows]"),
    ("sum_rows", "activation", "add_up", *ONE_ROUND),
    # batch_norm.cu
    ("batch_statistics", "batch_norm", "batch_statistics", *ONE_ROUND),
    ("normalize_gradient", "batch_norm", "normalize_sums", *ONE_ROUND),
    ("normalize", "batch_norm", "leaky", "slope == 0.0f ? 0.0f : z * slope", "z * slope"),
    ("batch_statistics", "batch_norm", "batch_statistics", "distance / m.count;", "distance / rows;"),
    ("batch_statistics", "batch_norm", "batch_statistics", "squares / all.count", "squares / (all.count - 1.0f)"),
    ("normalize_gradient", "batch_norm", "normalize_sums", "as_float(x[i]) - mean[c]", "as_float(x[i])"),
    ("normalize_gradient", "batch_norm", "normalize_sums", "gbeta[c] = all.x;", "gbeta[c] = sum.x;"),
    ("normalize_gradient", "batch_norm", "normalize_gradient", "as_float(x[i]) - mean[c]", "as_float(x[i])"),
    ("normalize_gradient", "batch_norm", "each", "if (place(e) < count) to", "to"),
    ("normalize", "batch_norm", "each", "value(read[e], place(e))", "value(read[0], place(e))"),
    ("normalize", "batch_norm", "as_number", "(bits >> 16) % 2", "1"),
    ("batch_statistics", "batch_norm", "as_float", "<< 16", "<< 15"),
    ("normalize_gradient", "batch_norm", "normalize_gradient", "gamma[c] * inverse[c] * (gz", "inverse[c] * (gz"),
    ("batch_statistics", "batch_norm", "batch_statistics", "distance * (value - m.mean)", "distance * distance"),
    ("batch_statistics", "batch_norm", "merge", "if (b.count == 0.0f) return a;", ""),
    ("batch_statistics", "batch_norm", "merge", "distance * distance * a.count * share", "distance * distance * share"),
    ("batch_statistics", "batch_norm", "is_last_block", RESET, ""),
    ("batch_statistics", "batch_norm", "merge_over_y",
     "        __syncthreads();\n        if ((int)threadIdx.y < half) shared[at] = merge",
     "        if ((int)threadIdx.y < half) shared[at] = merge"),
    ("batch_statistics", "batch_norm", "batch_statistics", "(variance * unbias)", "variance"),
    ("batch_statistics", "batch_norm", "batch_statistics", "running_mean[c] = decay", "running_mean[c] = rest"),
    ("batch_statistics", "batch_norm", "batch_statistics", "gamma[c] * inverse[c] :", "gamma[c] :"),
    ("batch_statistics", "batch_norm", "batch_statistics", "variance + eps", "variance"),
    ("batch_statistics", "batch_norm", "batch_statistics", "if (moves) {", "{"),
    ("normalize", "batch_norm", "normalize", "(int)(i % C)", "(int)(i / C)"),
    ("normalize", "batch_norm", "normalize", "+ shift[c]", "- shift[c]"),
    ("normalize_gradient", "batch_norm", "normalize_sums", "all.y * inverse[c]", "all.y"),
    ("normalize_gradient", "batch_norm", "normalize_gradient", "(gbeta[c] + hat * ggamma[c]) * share",
     "gbeta[c] + hat * ggamma[c] * share"),
    ("normalize_gradient", "batch_norm", "normalize_gradient", "as_float(before[i]) + g", "as_float(before[c]) + g"),
    ("normalize_gradient", "batch_norm", "before_leaky", "as_float(y[i]) > 0.0f",
     "as_float(y[i]) >= 0.0f"),
    ("normalize_gradient", "batch_norm", "sum_over_y",
     "            shared[at].y += shared[at + half * blockDim.x].y;\n", ""),
    ("normalize_gradient", "batch_norm", "is_last_block", ACQUIRE, ""),
    ("batch_statistics", "batch_norm", "batch_statistics", "has_gamma ? gamma[c] * inverse[c] : inverse[c]",
     "gamma[c] * inverse[c]"),
    ("batch_statistics", "batch_norm", "batch_statistics", ": -all.mean * scale[c]", ": -all.mean"),
    # conditional_norm.cu
    ("normalize_by_label", "conditional_norm", "row_of", "label < 0 ? label + classes : label", "label"),
    ("normalize_by_label", "conditional_norm", "row_of", "label >= 0 && ", ""),
    ("normalize_by_label", "conditional_norm", "row_of", "label < classes) return", "label <= classes) return"),
    ("normalize_by_label", "conditional_norm", "normalize_by_label", "labels[i / size]", "labels[i % size]"),
    ("normalize_by_label", "conditional_norm", "normalize_by_label", "beta[at]", "beta[c]"),
    ("normalize_by_label", "conditional_norm", "normalize_by_label", "(value - mean[c])", "value"),
    ("normalize_by_label", "conditional_norm", "leaky", "slope == 0.0f ? 0.0f : z * slope", "z * slope"),
    ("normalize_by_label", "conditional_norm", "each", "if (place(e) < count) to", "to"),
    ("normalize_by_label", "conditional_norm", "as_number", "(bits >> 16) % 2", "1"),
    ("conditional_gradient", "conditional_norm", "label_sums", "pixel += blockDim.y", "pixel += 2 * blockDim.y"),
    ("conditional_gradient", "conditional_norm", "label_sums", "blockIdx.y * blockDim.x", "blockIdx.x * blockDim.x"),
    ("conditional_gradient", "conditional_norm", "label_sums", "pixel < pixels", "pixel <= pixels"),
    ("conditional_gradient", "conditional_norm", "label_sums", "        sum.y *= inverse[c];\n", ""),
    ("conditional_gradient", "conditional_norm", "sum_over_y", "        __syncthreads();\n", ""),
    ("conditional_gradient", "conditional_norm", "sum_over_y", "half > 0", "half > 1"),
    ("conditional_gradient", "conditional_norm", "class_sums", "row == classes", "row <= classes + 1"),
    ("conditional_gradient", "conditional_norm", "class_sums",
     "            if (row_of(labels[n], classes) == row) {", "            {"),
    ("conditional_gradient", "conditional_norm", "class_sums", "if (row_of(labels[n], classes) == row)",
     "if (labels[n] == row)"),
    ("conditional_gradient", "conditional_norm", "class_sums", "gamma[row_of(labels[n], classes) * C + c]", "gamma[c]"),
    ("conditional_gradient", "conditional_norm", "class_sums", "means[c].y = sum.y * share", "means[c].y = sum.y"),
    ("conditional_gradient", "conditional_norm", "conditional_gradient", "classes) * C + c] * gz - (",
     "classes) * C + c] * (gz - "),
    ("conditional_gradient", "conditional_norm", "conditional_gradient", "hat * means[c].y", "means[c].y"),
    ("conditional_gradient", "conditional_norm", "conditional_gradient", "as_float(before[i]) + g",
     "as_float(before[c]) + g"),
    ("conditional_gradient", "conditional_norm", "before_leaky", "as_float(y[i]) > 0.0f", "as_float(y[i]) >= 0.0f"),
    # adam.cu
    ("adam_all", "adam", "adam", "sqrtf(square) + eps", "sqrtf(square + eps)"),
    ("adam_all", "adam", "adam", "rest2 * g[i] * g[i]", "rest1 * g[i] * g[i]"),
    ("adam_all", "adam", "adam", "        m[i] = mean;\n", ""),
    ("adam_all", "adam", "adam", "i < params.size[p]", "i <= params.size[p]"),
    ("adam_all", "adam", "adam", "block >= params.first[p + 1]", "block > params.first[p + 1]"),
    # sums.cu
    ("add_all", "sums", "add", "x[i] + y[i]", "x[i] - y[i]"),
    ("add_all", "sums", "add", "i < pairs.size[p]", "i <= pairs.size[p]"),
    ("add_all", "sums", "add", "block >= pairs.first[p + 1]", "block > pairs.first[p + 1]"),
    ("add_all", "sums", "add", "i += step", "i += 2 * step"),
    ("add_rows", "sums", "add_rows", "if (i >= (long long)rows * C) return;", ""),
    ("add_rows", "sums", "add_rows", "row_of(labels[n], rows) == row", "labels[n] == row"),
    ("add_rows", "sums", "add_rows", "x[(long long)n * C + c]", "x[(long long)c * N + n]"),
    ("add_rows", "sums", "row_of", "label < 0 ? label + rows : label", "label"),
    ("add", "sums", "add_two", "as_float(x[i]) + as_float(y[i])", "as_float(x[i]) - as_float(y[i])"),
    ("add", "sums", "add_two", "if (i < count) sum", "sum"),
    ("add", "sums", "add_two", "blockIdx.x * EACH", "blockIdx.x"),
    ("add", "sums", "as_number", "(bits >> 16) % 2", "1"),
    # sample_norms.cu
    ("sample_norms", "sample_norms", "block_sum", "    __syncthreads();\n    float sum", "    float sum"),
    ("sample_norms", "sample_norms", "sample_norms", "i < size; i += blockDim.x", "i <= size; i += blockDim.x"),
    ("sample_norms", "sample_norms", "sample_norms", "norms[blockIdx.x] = sqrtf(squares)",
     "norms[blockIdx.x] = squares"),
    ("sample_norms_gradient", "sample_norms", "sample_norms_gradient", "norms[n] == 0.0f ? 0.0f : ", ""),
    ("sample_norms_gradient", "sample_norms", "sample_norms_gradient", "i / size", "i % size"),
    # losses.cu
    ("mean_of", "losses", "mean_of", "half > 0", "half > 1"),
    ("mean_of", "losses", "mean_of", "        __syncthreads();\n", ""),
    ("mean_of", "losses", "mean_of", "sums[0] * share", "sums[0]"),
    ("mean_of", "losses", "value_of", "if (function == RELU) return z < 0.0f ? 0.0f : z;",
     "if (function == RELU) return z > 0.0f ? z : 0.0f;"),
    ("mean_of", "losses", "value_of", "expf(-fabsf(z))", "expf(z)"),
    ("mean_of_gradient", "losses", "slope_of", "z > 0.0f ? 1.0f", "z >= 0.0f ? 1.0f"),
    ("mean_of_gradient", "losses", "slope_of", "expf(z < 0.0f ? z : 0.0f)", "expf(z)"),
    ("mean_of_gradient", "losses", "mean_of_gradient", "sign * x[i] + shift) * sign", "sign * x[i] + shift)"),
    ("mean_of_gradient", "losses", "mean_of_gradient", "if (i >= count) return;", ""),
    # spread.cu
    ("spread2x2", "spread", "spread2x2", "i >= kh || ", ""),
    ("spread2x2", "spread", "spread2x2", "j < 0 || ", ""),
    ("spread2x2", "spread", "spread2x2", "kw - 1 - j", "j"),
    ("spread2x2", "spread", "spread2x2", "turned ? O : C", "C"),
    ("spread2x2", "spread", "spread2x2", "if (at >= count) return;", ""),
    ("gather2x2", "spread", "gather2x2", "kh - 1 - i + dy", "i + dy"),
    ("gather2x2", "spread", "gather2x2", "(long long)c * (kh + 1)", "(long long)c * kh"),
    ("gather2x2", "spread", "gather2x2", "sum * factor", "sum"),
    ("gather2x2", "spread", "gather2x2", "if (at >= count) return;", "if (at > count) return;"),
    # resample.cu
    ("upsample2x", "resample", "upsample2x", "row / 2 * W", "row * W"),
    ("upsample2x", "resample", "upsample2x", "int j = (int)(pixel % (2 * W));", "int j = (int)(pixel % W);"),
    ("pool2x", "resample", "pool2x", "corner[below + C]", "corner[below]"),
    ("pool2x", "resample", "pool2x", "pixel / (W / 2) % (H / 2)", "pixel / (W / 2) % H"),
    ("pool2x", "resample", "pool2x", "(n * H + 2 * i) * W", "(n * (H / 2 * 2) + 2 * i) * W"),
    ("pool2x", "resample", "each", "if (place(e) < count) to", "to"),
    ("upsample2x", "resample", "each", "found[e] = value(place(e))", "found[0] = value(place(e))"),
    ("upsample2x", "resample", "as_number", "(bits >> 16) % 2", "1"),
]


def test_every_kernel_has_two_bugs_of_its_own():
    """Beside those in functions that several kernels call."""
    count = Counter((file, function) for _, file, function, _, _ in BUGS)
    kernels = [(path.stem, name) for path in FOLDER.glob("*.cu")
               for name in re.findall(r"__global__ void (\w+)", path.read_text(encoding="utf-8"))]
    assert [kernel for kernel in kernels if count[kernel] < 2] == []


@pytest.mark.parametrize("launcher, file, function, old, new", BUGS)
def test_a_seeded_bug_is_found(launcher, file, function, old, new, cupy, rng):
    text, body = cuda.source(f"{file}.cu"), functions(file)[function]
    assert text.count(body) == body.count(old) == 1, f"{function} in kernels/{file}.cu has not {old!r} once"
    text = text.replace(body, body.replace(old, new))
    with changed(file, text), pytest.raises((AssertionError, emulator.KernelFault)):
        for offset, (which, seed) in itertools.product((0, 1), ORDERS[:4]):
            for case in CASES:
                if case.name == launcher:
                    with emulator.order(which, seed):
                        for arguments in case.inputs(rng):
                            run(cupy, case, arguments, offset)
