"""The emulator itself: what it computes, what it must catch (emulator/seeded_bugs.cu), where it must be silent."""

import gc
import re
import subprocess
import sys
from pathlib import Path

import emulator
import numpy as np
import pytest
from emulator import build
from emulator import module as emulator_module
from kernel_cases import rounded_to_bf16, rounded_to_tf32

HERE = Path(__file__).resolve().parents[1]
SEEDED = (HERE / "emulator" / "seeded_bugs.cu").read_text(encoding="utf-8")
NAMES = re.findall(r"__global__ void (\w+)", SEEDED)
RANDOM = [("random", seed) for seed in range(20)]
ORDERS = [("ascending", 0), ("descending", 0), *RANDOM[:3]]


def on_device(array, dtype=np.float32) -> emulator.Buffer:
    """A buffer with these numbers."""
    array = np.asarray(array, dtype)
    buffer = emulator.memory.allocate(array.nbytes)
    emulator.memory.copy_from_host(buffer.address, array)
    return buffer


def empty(count: int) -> emulator.Buffer:
    return emulator.memory.allocate(4 * count)


def numbers(buffer: emulator.Buffer, dtype=np.float32) -> np.ndarray:
    return buffer.array(dtype).copy()


# ---- PTX: asynchronous copies, tensor cores -------------------------------------------------------------------------

PTX = r"""
__device__ __forceinline__ void copy(float* to, const float* from, int bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "n"(4), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy4(float* to, const float* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(16) : "memory");
}

// out = x reversed within a block, in rounds of two stages; `wait`, `barrier`: as they should be, if 1
extern "C" __global__ void reversed(const float* x, float* out, int rounds, int wait, int barrier) {
    extern __shared__ float stages[];
    int t = threadIdx.x, n = blockDim.x;
    copy(stages + t, x + t, t == 3 ? 0 : 4);
    asm volatile("cp.async.commit_group;" ::: "memory");
    for (int r = 0; r < rounds; r++) {
        if (r + 1 < rounds) copy(stages + (r + 1) % 2 * n + t, x + (r + 1) * n + t, 4);
        asm volatile("cp.async.commit_group;" ::: "memory");
        if (wait) asm volatile("cp.async.wait_group %0;" :: "n"(1) : "memory");
        if (barrier != 2) __syncthreads();
        out[r * n + t] = stages[r % 2 * n + n - 1 - t];
        if (barrier != 3) __syncthreads();
    }
}

extern "C" __global__ void shifted(const float* x, float* out, int from, int to) {
    extern __shared__ __align__(16) float place[];
    copy4(place + to + 4 * threadIdx.x, x + from + 4 * threadIdx.x);
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group %0;" :: "n"(0) : "memory");
    for (int e = 0; e < 4; e++) out[4 * threadIdx.x + e] = place[to + 4 * threadIdx.x + e];
}

// out (32, 4): what every lane gets of x, 32 lines of 8 numbers in four matrices, which were copied 8 bytes at a time
extern "C" __global__ void matrices(const unsigned short* x, unsigned* out, int turned, int off) {
    extern __shared__ __align__(16) unsigned short lines[];
    for (int i = threadIdx.x * 4; i < 256; i += 128)
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     :: "r"((unsigned)__cvta_generic_to_shared(lines + i)), "l"(x + i), "n"(8), "r"(8) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group %0;" :: "n"(0) : "memory");
    if (off >= 0) __syncthreads();
    unsigned to[4], from = (unsigned)__cvta_generic_to_shared(lines + threadIdx.x * 8 + off % 64);
    if (turned)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
    for (int m = 0; m < 4; m++) out[threadIdx.x * 4 + m] = to[m];
}

// out (16, 8) += A (16, 8) B (8, 8), as they lie, of numbers rounded to TF32
extern "C" __global__ void multiplied(const float* A, const float* B, float* out) {
    unsigned a[4], b[2];
    float d[4];
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int e = 0; e < 4; e++)
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(a[e]) : "f"(A[(g + e % 2 * 8) * 8 + t + e / 2 * 4]));
    for (int e = 0; e < 2; e++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(b[e]) : "f"(B[(t + e * 4) * 8 + g]));
    for (int e = 0; e < 4; e++) d[e] = out[(g + e / 2 * 8) * 8 + 2 * t + e % 2];
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    for (int e = 0; e < 4; e++) out[(g + e / 2 * 8) * 8 + 2 * t + e % 2] = d[e];
}

// out (16, 8) += A (16, 16) B (16, 8), as they lie, of numbers rounded to bfloat16
extern "C" __global__ void multiplied16(const float* A, const float* B, float* out) {
    unsigned a[4], b[2];
    float d[4];
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int e = 0; e < 4; e++) {
        const float* from = A + (g + e % 2 * 8) * 16 + 2 * t + e / 2 * 8;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(a[e]) : "f"(from[1]), "f"(from[0]));
    }
    for (int e = 0; e < 2; e++) {
        const float* from = B + (2 * t + e * 8) * 8 + g;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(b[e]) : "f"(from[8]), "f"(from[0]));
    }
    for (int e = 0; e < 4; e++) d[e] = out[(g + e / 2 * 8) * 8 + 2 * t + e % 2];
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    for (int e = 0; e < 4; e++) out[(g + e / 2 * 8) * 8 + 2 * t + e % 2] = d[e];
}
"""


@pytest.fixture(scope="module")
def ptx():
    return emulator.Module(PTX, "ptx.cu")


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_copies_come_when_they_are_waited_for(ptx, checked, order):
    x, out = np.arange(1, 161, dtype=np.float32), empty(160)
    with emulator.order(*order), emulator.checking(checked):
        ptx.launch("reversed", 1, 32, [on_device(x), out, np.int32(5), np.int32(1), np.int32(1)], 256)
    x[3] = 0  # of which nothing was to be copied
    np.testing.assert_array_equal(numbers(out).reshape(5, 32), x.reshape(5, 32)[:, ::-1])


@pytest.mark.parametrize("wait, barrier, kind", [
    (0, 1, "uninitialized memory"), (1, 2, "race in shared memory"), (1, 3, "race in shared memory")])
@pytest.mark.parametrize("order", ORDERS)
def test_a_copy_that_is_not_waited_for_is_found(ptx, wait, barrier, kind, order):
    """Neither waited for, nor a barrier before others read it, nor one before it is written over."""
    with emulator.order(*order), pytest.raises(emulator.KernelFault) as caught:
        ptx.launch("reversed", 1, 64, [on_device(np.ones(320)), empty(320), np.int32(5), np.int32(wait),
                                       np.int32(barrier)], 512)
    assert kind in caught.value.kinds


@pytest.mark.parametrize("start, to, count, kind", [
    (1, 0, 16, "misaligned"), (0, 1, 16, "misaligned"), (4, 0, 16, "out of bounds"), (0, 4, 16, "out of bounds")])
def test_a_copy_checks_both_addresses(ptx, start, to, count, kind):
    ptx.launch("shifted", 1, 4, [on_device(np.ones(16)), empty(16), np.int32(0), np.int32(0)], 64)
    with pytest.raises(emulator.KernelFault) as caught:
        ptx.launch("shifted", 1, 4, [on_device(np.ones(count)), empty(16), np.int32(start), np.int32(to)], 64)
    assert caught.value.kinds == {kind}


@pytest.mark.parametrize("kernel, deep, rounded, between", [
    ("multiplied", 8, rounded_to_tf32, 1 + 2 ** -11), ("multiplied16", 16, rounded_to_bf16, 1 + 2 ** -8)])
def test_tensor_cores_multiply_what_is_rounded(kernel, deep, rounded, between, ptx):
    rng = np.random.default_rng(0)
    A, B, C = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, deep), (deep, 8), (16, 8)))
    A[0, 0] = between  # in the middle of two numbers that can be held
    out = on_device(C)
    ptx.launch(kernel, 1, 32, [on_device(A), on_device(B), out])
    exact = C + rounded(A.astype(np.float64)) @ rounded(B.astype(np.float64))
    np.testing.assert_allclose(numbers(out).reshape(16, 8), exact, rtol=0, atol=2e-6)
    with pytest.raises(emulator.KernelFault, match="the warp has not 32 lanes"):
        ptx.launch(kernel, 1, 16, [on_device(A), on_device(B), out])


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("order", ORDERS)
def test_lanes_get_their_share_of_four_matrices(turned, order, ptx):
    """The table of fragments in the PTX manual: lane i has row i / 4, columns i % 4 * 2 and the next."""
    x, out = np.arange(256).reshape(4, 8, 8), empty(128)
    with emulator.order(*order):
        ptx.launch("matrices", 1, 32, [on_device(x, np.uint16), out, np.int32(turned), np.int32(0)], 512)
    pairs = (x.transpose(0, 2, 1) if turned else x).reshape(4, 32, 2)
    np.testing.assert_array_equal(numbers(out, np.uint32).reshape(32, 4).T, pairs[..., 0] | pairs[..., 1] << 16)


@pytest.mark.parametrize("threads, off, kind", [
    (32, -64, "race in shared memory"), (32, 4, "misaligned"), (32, 8, "out of bounds"), (16, 0, "warp mask")])
def test_a_line_of_a_matrix_is_checked(threads, off, kind, ptx):
    """That others' copies are waited for, its address, and that the warp is whole."""
    with pytest.raises(emulator.KernelFault) as caught:
        ptx.launch("matrices", 1, threads, [on_device(np.zeros(256), np.uint16), empty(128), np.int32(0),
                                            np.int32(off)], 512)
    assert kind in caught.value.kinds


def test_unknown_ptx_is_refused():
    with pytest.raises(emulator.CompileError, match="PTX 'bar.red' is not known"):
        emulator.Module('extern "C" __global__ void k(int* x) { asm volatile("bar.red" :: "r"(1)); x[0] = 1; }')


def test_more_shared_memory_has_to_be_asked_for(ptx):
    arguments = [on_device(np.ones(16)), empty(16), np.int32(0), np.int32(0)]
    with pytest.raises(ValueError, match="expected at most 49152 together"):
        ptx.launch("shifted", 1, 4, arguments, 50000)
    ptx.launch("shifted", 1, 4, arguments, 98304, 98304)
    with pytest.raises(ValueError, match="expected at most 232448 together"):
        ptx.launch("shifted", 1, 4, arguments, 250000, 250000)


# ---- right kernels -------------------------------------------------------------------------------------------------

CLEAN = r"""
struct Table { float* rows[3]; int lengths[3]; int count; };
__constant__ float weights[2] = {0.25f, 0.75f};

extern "C" __global__ void where(int* out) {
    const unsigned int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = 1000 * block + thread;
}

extern "C" __global__ void shuffles(const float* x, float* out, unsigned int* votes) {
    const int t = threadIdx.x, n = blockDim.x;
    out[t] = __shfl_sync(0xffffffffu, x[t], 3);
    out[n + t] = __shfl_up_sync(0xffffffffu, x[t], 2);
    out[2 * n + t] = __shfl_down_sync(0xffffffffu, x[t], 2, 16);
    out[3 * n + t] = __shfl_xor_sync(0xffffffffu, x[t], 5);
    votes[t] = __ballot_sync(0xffffffffu, x[t] > 0.5f);
    votes[n + t] = __any_sync(0xffffffffu, t == 40) + 2 * __all_sync(0xffffffffu, t < 32);
    votes[2 * n + t] = __syncthreads_count(x[t] > 0.5f);
    const double pair = __shfl_xor_sync(t % 32 < 16 ? 0x0000ffffu : 0xffff0000u, 1e300 * t, 1);
    votes[3 * n + t] = (unsigned int)(pair / 1e300 + 0.5);
}

extern "C" __global__ void atomics(int* i, unsigned int* u, unsigned long long* l, float* f, const int* x) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(&i[0], x[t]); atomicMin(&i[1], x[t]); atomicMax(&i[2], x[t]); atomicSub(&i[3], x[t]);
    atomicOr(&i[4], 1 << t % 31); atomicXor(&i[5], x[t]); atomicAnd(&i[6], ~(1 << t % 31));
    atomicInc(&u[0], 6u); atomicDec(&u[1], 6u); atomicAdd(&u[2], (unsigned int)x[t]);
    if (t == 3) { i[7] = atomicExch(&i[8], 77); i[9] = atomicCAS(&i[10], 5, 6); i[11] = atomicCAS(&i[12], 4, 6); }
    atomicAdd(l, 1ull << 33);
    atomicAdd(f, 0.5f);
}

extern "C" __global__ void arithmetic(float* out, const float* x, float tiny) {
    out[0] = rsqrtf(x[0]); out[1] = __expf(x[0]); out[2] = fmaf(x[0], x[1], x[2]); out[3] = max(x[0], x[3]);
    out[4] = min(x[3], x[1]); out[5] = tiny * 0.5f; out[6] = tanhf(x[0]); out[7] = __int_as_float(0x3f800000);
    out[8] = (float)__popc(255u); out[9] = (float)__clz(1); out[10] = weights[0] + weights[threadIdx.x + 1];
    out[11] = exp(x[0]); out[12] = (float)__umulhi(0x80000000u, 6u); out[13] = (float)max(2, 3);
}

// y = a x + y; the sum of x in dynamic shared memory; its end by value
extern "C" __global__ void __launch_bounds__(256) saxpy(const float* __restrict__ x, float* __restrict__ y, float a,
                                                        long long n) {
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
        y[i] += a * x[i];
}

extern "C" __global__ void saxpy4(const float4* x, float4* y, float a, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float4 p = x[i];
    float4 q = y[i];
    q.x += a * p.x; q.y += a * p.y; q.z += a * p.z; q.w += a * p.w;
    y[i] = q;
}

__device__ __forceinline__ float warp_sum(float x) {
    #pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) x += __shfl_down_sync(0xffffffffu, x, offset);
    return x;
}

__device__ float block_sum(float x) {
    __shared__ float parts[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    x = warp_sum(x);
    __syncthreads();  // whoever still reads the parts of the sum before
    if (lane == 0) parts[warp] = x;
    __syncthreads();
    x = lane < (int)blockDim.x / 32 ? parts[lane] : 0.0f;
    return warp_sum(x);  // in the first warp's lane 0, and in every other's
}

extern "C" __global__ void warp_reduce(const float* x, float* out, int n) {
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
    sum = block_sum(sum);
    const float twice = block_sum(threadIdx.x == 0 ? 2.0f * sum : 0.0f);
    if (threadIdx.x == 0) out[blockIdx.x] = twice - sum;
}

extern "C" __global__ void block_reduce(const float* x, float* out, int n) {
    extern __shared__ __align__(16) float parts[];
    const int t = threadIdx.x;
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + t; i < n; i += gridDim.x * blockDim.x) sum += x[i];
    parts[t] = sum;
    __syncthreads();
    for (int s = blockDim.x / 2; s >= 32; s /= 2) {
        if (t < s) parts[t] += parts[t + s];
        __syncthreads();
    }
    for (int s = 16; s > 0; s /= 2) {
        if (t < s) parts[t] += parts[t + s];
        __syncwarp();
    }
    if (t == 0) out[blockIdx.x] = parts[0];
}

extern "C" __global__ void transpose(const float* x, float* y, int rows, int columns) {
    __shared__ float tile[16][17];
    int c = blockIdx.x * 16 + threadIdx.x, r = blockIdx.y * 16 + threadIdx.y;
    if (r < rows && c < columns) tile[threadIdx.y][threadIdx.x] = x[(long long)r * columns + c];
    __syncthreads();
    c = blockIdx.y * 16 + threadIdx.x; r = blockIdx.x * 16 + threadIdx.y;
    if (r < columns && c < rows) y[(long long)r * rows + c] = tile[threadIdx.x][threadIdx.y];
}

// Every block writes a sum; the one that draws the last ticket adds them up in their order and puts the ticket back.
extern "C" __global__ void ticket_finish(const float* x, float* parts, float* out, unsigned int* ticket, int n) {
    __shared__ bool last;
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last) {
        sum = 0.0f;
        for (int i = threadIdx.x; i < (int)gridDim.x; i += blockDim.x) sum += parts[i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) {
            *out = sum;
            *ticket = 0;
        }
    }
}

// The same with all threads writing, and two levels: groups of blocks, then the groups' last blocks.
extern "C" __global__ void two_tickets(float* x, float* out, unsigned int* tickets) {
    __shared__ int finishes;
    const int t = threadIdx.x, group = blockIdx.x / 3, groups = gridDim.x / 3;
    x[blockIdx.x * blockDim.x + t] += 1.0f;
    __threadfence();
    __syncthreads();
    if (t == 0) {
        finishes = 0;
        if (atomicAdd(&tickets[1 + group], 1u) == 2u) {
            __threadfence();
            if (atomicAdd(&tickets[0], 1u) == groups - 1) finishes = 1;
        }
        __threadfence();
    }
    __syncthreads();
    if (finishes) {
        float sum = 0.0f;
        for (int i = 0; i < (int)gridDim.x; i++) sum += x[i * blockDim.x + t];
        out[t] = sum;
    }
}

// The other places where the two fences may stand, on either side of a barrier: out = x + the next block's.
extern "C" __global__ void fences_beside_barriers(const float* x, float* parts, float* out, unsigned int* ticket) {
    __shared__ bool last;
    const int t = threadIdx.x, n = blockDim.x;
    parts[blockIdx.x * n + t] = x[blockIdx.x * n + t];
    __syncthreads();
    if (t == 0) {
        __threadfence();
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last) {
        __threadfence();
        for (int i = t; i < (int)gridDim.x * n; i += n) out[i] = parts[i] + parts[(i + n) % (gridDim.x * n)];
    }
}

// The same by single warps, in halves that wait for each other without waiting for the whole.
extern "C" __global__ void warps_with_a_ticket(const float* x, float* parts, float* out, unsigned int* ticket) {
    __shared__ float swapped[32];
    const int t = threadIdx.x;
    const unsigned int half = t < 16 ? 0x0000ffffu : 0xffff0000u;
    swapped[t ^ 1] = x[blockIdx.x * 32 + t];
    __syncwarp(half);
    parts[blockIdx.x * 32 + (t ^ 1)] = swapped[t];
    __syncwarp();
    unsigned int drawn = 0;
    if (t == 0) {
        __threadfence();
        drawn = atomicAdd(ticket, 1u);
        __threadfence();
    }
    __syncwarp();
    if (__shfl_sync(0xffffffffu, drawn, 0) == gridDim.x - 1)
        for (int i = t; i < (int)gridDim.x * 32; i += 32) out[i] = parts[i] + parts[(i + 32) % (gridDim.x * 32)];
}

// Not right: warp 0 has looked at the flag, perhaps before warp 1 raised it.
extern "C" __global__ void looks_too_early(float* x, float* out, unsigned int* flag) {
    const int t = threadIdx.x;
    if (t == 32) x[0] = 1.0f;
    if (t == 0 || t == 32) {
        __threadfence();
        atomicAdd(flag, 1u);
        __threadfence();
    }
    __syncwarp();
    if (t == 0) out[0] = x[0];  // the read
}

extern "C" __global__ void scale_rows(const Table table, float a) {
    for (int k = 0; k < table.count; k++)
        for (int i = threadIdx.x; i < table.lengths[k]; i += blockDim.x) table.rows[k][i] *= a;
}

extern "C" __global__ void scale_through_pointers(float* const* rows, const int* lengths, float a) {
    for (int i = threadIdx.x; i < lengths[blockIdx.x]; i += blockDim.x)
        rows[blockIdx.x][i] *= a;  // the line
}

extern "C" __global__ void who_comes_first(unsigned int* next, unsigned int* blocks, unsigned int* threads) {
    blocks[atomicAdd(next, 1u)] = blockIdx.x;
    threads[atomicAdd(next + 1, 1u)] = threadIdx.x;
}

extern "C" __global__ void bytes(const unsigned char* x, unsigned char* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[n - 1 - i] + 1;
}

extern "C" __global__ void kinds(unsigned int seed, bool flag, char letter, const Table* tables, double x) {}
"""
TABLE = np.dtype([("rows", np.uint64, 3), ("lengths", np.int32, 3), ("count", np.int32)], align=True)


@pytest.fixture(scope="module")
def clean() -> emulator.Module:
    return emulator.Module(CLEAN, "clean.cu")


@pytest.fixture(params=[True, False], ids=["checked", "plain"])
def either(request, clean):
    """The right kernels, in each of the two builds."""
    with emulator.checking(request.param):
        yield clean


def test_indices_cover_three_dimensions(either):
    out = empty(2 * 3 * 2 * 4 * 3 * 2)
    either.launch("where", (2, 3, 2), (4, 3, 2), [out])
    expected = 1000 * np.arange(12)[:, None] + np.arange(24)
    np.testing.assert_array_equal(numbers(out, np.int32).reshape(12, 24), expected)


@pytest.mark.parametrize("order", ORDERS[:3])
def test_shuffles_and_votes_are_cudas(either, rng, order):
    x = rng.random(64, np.float32)
    out, votes = empty(4 * 64), empty(4 * 64)
    with emulator.order(*order):
        either.launch("shuffles", 1, 64, [on_device(x), out, votes])
    lane = np.arange(64) % 32
    first = np.arange(64) - lane
    sources = [first + 3, first + np.where(lane < 2, lane, lane - 2), first + np.where(lane % 16 >= 14, lane, lane + 2),
               first + (lane ^ 5)]
    np.testing.assert_array_equal(numbers(out).reshape(4, 64), [x[source] for source in sources])
    ballots = [sum(int(x[w + i] > 0.5) << i for i in range(32)) for w in (0, 32)]
    expected = [np.repeat(ballots, 32), np.repeat([2, 1], 32), np.full(64, (x > 0.5).sum()), np.arange(64) ^ 1]
    np.testing.assert_array_equal(numbers(votes, np.uint32).reshape(4, 64), expected)


def test_atomics_are_cudas(either, rng):
    x = rng.integers(-1000, 1000, 96).astype(np.int32)
    i = on_device([0, 0, 0, 0, 0, 0, -1, 0, 55, 0, 5, 0, 5], np.int32)
    u, l, f = on_device([0, 3, 0], np.uint32), on_device([1], np.uint64), on_device([0])
    either.launch("atomics", 3, 32, [i, u, l, f, on_device(x, np.int32)])
    np.testing.assert_array_equal(numbers(i, np.int32), [
        x.sum(), min(x.min(), 0), max(x.max(), 0), -x.sum(), 2**31 - 1, np.bitwise_xor.reduce(x), -2**31,
        55, 77, 5, 6, 5, 5])
    down = 3
    for _ in range(96):
        down = 6 if down == 0 or down > 6 else down - 1
    assert numbers(u, np.uint32).tolist() == [96 % 7, down, x.sum() % 2**32]
    assert numbers(l, np.uint64)[0] == 1 + 96 * 2**33
    assert numbers(f)[0] == 48


def test_arithmetic_is_cudas(either):
    out = empty(14)
    either.launch("arithmetic", 1, 1, [out, on_device([2, 3, 5, np.nan]), np.float32(1.5e-38)])
    expected = [2**-0.5, np.exp(2), 11, 2, 3, 0, np.tanh(2), 1, 8, 31, 1, np.exp(2), 3, 3]  # 0: flushed to zero
    np.testing.assert_allclose(numbers(out), expected, rtol=1e-6)


def test_denormals_are_the_hosts_again_after_a_launch(clean):
    clean.launch("where", 1, 1, [empty(1)])
    assert np.float32(1.5e-38) * np.float32(0.5) > 0


# What a right kernel is launched with, and what must come out: name -> (grid, block, arguments, shared, check).
def saxpy(rng):
    x, y = rng.random((2, 1001), np.float32)
    out = on_device(y)
    return 2, 256, [on_device(x), out, np.float32(3), np.int64(1001)], 0, lambda: (numbers(out), y + 3 * x)


def saxpy4(rng):
    x, y = rng.random((2, 400), np.float32)
    out = on_device(y)
    return 2, 64, [on_device(x), out, np.float32(3), np.int32(100)], 0, lambda: (numbers(out), y + 3 * x)


def warp_reduce(rng):
    x, out = rng.random(1000, np.float32), empty(3)
    return 3, 128, [on_device(x), out, np.int32(1000)], 0, lambda: (numbers(out).sum(), x.sum())


def block_reduce(rng):
    x, out = rng.random(1000, np.float32), empty(3)
    return 3, 128, [on_device(x), out, np.int32(1000)], 512, lambda: (numbers(out).sum(), x.sum())


def transpose(rng):
    x, out = rng.random((37, 50), np.float32), empty(37 * 50)
    return (4, 3), (16, 16), [on_device(x), out, np.int32(37), np.int32(50)], 0, lambda: (numbers(out), x.T.ravel())


def ticket_finish(rng):
    x, out, ticket = rng.random(1000, np.float32), empty(1), on_device([0], np.uint32)
    return (5, 64, [on_device(x), empty(5), out, ticket, np.int32(1000)], 0,
            lambda: ([numbers(out)[0], numbers(ticket, np.uint32)[0]], [x.sum(), 0]))


def two_tickets(rng):
    x, out = rng.random((9, 32), np.float32), empty(32)
    return 9, 32, [on_device(x), out, on_device(np.zeros(4), np.uint32)], 0, lambda: (numbers(out), (x + 1).sum(0))


def fences_beside_barriers(rng):
    x, out = rng.random((5, 32), np.float32), empty(160)
    return (5, 32, [on_device(x), empty(160), out, on_device([0], np.uint32)], 0,
            lambda: (numbers(out), (x + np.roll(x, -1, 0)).ravel()))


def bytes_(rng):
    x = rng.integers(0, 255, 101).astype(np.uint8)
    out = emulator.memory.allocate(101)
    return 2, 64, [on_device(x, np.uint8), out, np.int32(101)], 0, lambda: (numbers(out, np.uint8), x[::-1] + 1)


def scale_rows(rng):
    rows = [rng.random(n, np.float32) for n in (40, 7, 33)]
    buffers = [on_device(row) for row in rows]
    table = np.zeros(1, TABLE)
    table["rows"], table["lengths"], table["count"] = [b.address for b in buffers], [40, 7, 33], 3
    return (1, 32, [table, np.float32(2)], 0,
            lambda: (np.concatenate([numbers(b) for b in buffers]), 2 * np.concatenate(rows)))


RIGHT = {"saxpy": saxpy, "saxpy4": saxpy4, "warp_reduce": warp_reduce, "block_reduce": block_reduce, "bytes": bytes_,
         "transpose": transpose, "ticket_finish": ticket_finish, "two_tickets": two_tickets, "scale_rows": scale_rows,
         "fences_beside_barriers": fences_beside_barriers, "warps_with_a_ticket": fences_beside_barriers}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_kernel_is_right_and_silent_in_every_order(either, rng, name):
    for order in ORDERS[:2] + RANDOM:
        grid, block, arguments, shared, check = RIGHT[name](rng)
        with emulator.order(*order):
            either.launch(name, grid, block, arguments, shared)
        np.testing.assert_allclose(*check(), rtol=1e-5, err_msg=str(order))


def test_an_acquire_covers_only_what_was_released_before_it(clean):
    line = CLEAN.split("\n").index("    if (t == 0) out[0] = x[0];  // the read") + 1
    with pytest.raises(emulator.KernelFault, match=f"^clean.cu:{line}: race in global memory"):
        clean.launch("looks_too_early", 1, 64, [on_device([0]), empty(1), on_device([0], np.uint32)])


ENDLESS = """
extern "C" __global__ void spins(int* x, int n) {
    volatile int zero = 0;
    while (zero < n) {
        asm volatile("");
    }
}

extern "C" __global__ void spins_with_a_barrier(int* x, int n) {
    for (int i = 0; i < n; i *= 2)
        __syncthreads();
}
"""


@pytest.mark.parametrize("kernel, line", [("spins", (4, 5)), ("spins_with_a_barrier", (11,))])
@pytest.mark.parametrize("checked", [True, False])
def test_a_launch_that_never_ends_is_stopped_after_its_time(kernel, line, checked):
    module = emulator.Module(ENDLESS, "endless.cu")
    with emulator.checking(checked), emulator.step_limit(1 << 60), emulator.time_limit(0.2):
        with pytest.raises(emulator.KernelFault, match="endless loop: .*longer than 0.2 s") as caught:
            module.launch(kernel, 2, 64, [empty(1), np.int32(1)])
        module.launch(kernel, 2, 64, [empty(1), np.int32(0)])  # and the next one runs
    assert caught.value.findings[0].line in line


# ---- seeded bugs ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def seeded() -> emulator.Module:
    return emulator.Module(SEEDED, "seeded_bugs.cu")


@pytest.fixture(scope="module")
def mended() -> emulator.Module:
    return emulator.Module(SEEDED, "seeded_bugs.cu", ("--std=c++17", "-DMENDED"))


def launch_seeded(module: emulator.Module, name: str, order: tuple[str, int]) -> None:
    arguments = [on_device(np.arange(1, 257)), empty(256), on_device([0], np.uint32), np.int32(64)]
    with emulator.order(*order), emulator.step_limit(5000):
        module.launch(name, 2, 64, arguments, shared_mem=256)


def expected(name: str) -> tuple[str, int]:
    """The kind and the line that the source text marks within this kernel."""
    lines = SEEDED.split("\n")
    begin = next(i for i, line in enumerate(lines) if f"void {name}(" in line)
    number = next(i for i in range(begin, len(lines)) if "//! " in lines[i])
    return lines[number].split("//! ")[1], number + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_seeded_bug_is_caught_with_kind_and_line_in_every_order(seeded, name):
    kind, line = expected(name)
    for order in ORDERS:
        with pytest.raises(emulator.KernelFault) as caught:
            launch_seeded(seeded, name, order)
        found = [(finding.kind, finding.line, finding.other_line) for finding in caught.value.findings]
        assert any(kind == k and line in lines for k, *lines in found), f"{order}: {caught.value}"
        assert all(finding.kernel == name for finding in caught.value.findings)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_kernel_without_the_bug_passes_in_silence(mended, name):
    for order in ORDERS[:2] + RANDOM:
        launch_seeded(mended, name, order)


def test_every_kind_of_finding_has_its_seeded_bug():
    kinds = {expected(name)[0] for name in NAMES} | {"use after free"}  # which takes a host: see below
    assert kinds == set(emulator_module.KINDS) - {"no memory for threads"}


def test_a_report_names_kernel_line_thread_and_the_other_party(seeded):
    with pytest.raises(emulator.KernelFault) as caught:
        launch_seeded(seeded, "blocks_write_the_same", ("ascending", 0))
    _, line = expected("blocks_write_the_same")
    assert str(caught.value) == (
        f"seeded_bugs.cu:{line}: race between blocks: kernel blocks_write_the_same, block (1, 0, 0), thread (0, 0, 0) "
        f"writes 4 bytes at byte 0 of 'b' (1024 bytes); block (0, 0, 0), thread (0, 0, 0) writes it at line {line}, "
        "and nothing orders the two")
    (finding,) = caught.value.findings
    assert (finding.block, finding.thread, finding.other_block) == ((1, 0, 0), (0, 0, 0), (0, 0, 0))


def test_without_addr2line_a_report_still_names_kernel_and_thread(seeded, monkeypatch):
    monkeypatch.setattr(emulator_module.shutil, "which", lambda tool: None)
    emulator_module._line.cache_clear()
    with pytest.raises(emulator.KernelFault, match=r"seeded_bugs.cu:\?: out of bounds: kernel write_before, block \(0"):
        launch_seeded(seeded, "write_before", ("ascending", 0))
    emulator_module._line.cache_clear()


def test_memory_is_as_before_a_forbidden_write(seeded):
    a, b = on_device(np.arange(256)), on_device(np.zeros(256))
    with pytest.raises(emulator.KernelFault):
        seeded.launch("a_row_too_far", 2, 64, [a, b, on_device([0], np.uint32), np.int32(64)])
    np.testing.assert_array_equal(numbers(a), np.arange(256))


# ---- memory --------------------------------------------------------------------------------------------------------

def test_memory_begins_aligned_and_poisoned():
    buffers = [emulator.memory.allocate(n) for n in (1, 4, 1000, 0, 8)]
    assert all(b.address % 512 == 0 for b in buffers)
    assert len({b.address for b in buffers}) == len(buffers)
    assert np.isnan(buffers[2].array(np.float32)).all()
    assert not emulator.memory.is_initialized(buffers[2].address, 4)
    emulator.memory.written(buffers[2].address + 4, 8)
    assert emulator.memory.is_initialized(buffers[2].address + 4, 8)
    assert not emulator.memory.is_initialized(buffers[2].address, 8)
    with pytest.raises(ValueError, match="not within a live buffer"):
        emulator.memory.written(buffers[2].address, 1001)


def test_a_freed_buffer_is_a_use_after_free(clean):
    x, y = on_device(np.ones(64)), on_device(np.ones(64))
    x.free()
    with pytest.raises(emulator.KernelFault, match="use after free.*reads 4 bytes at byte 0 of 'x'"):
        clean.launch("saxpy", 1, 64, [x, y, np.float32(1), np.int64(64)])
    with pytest.raises(ValueError, match="is freed already"):
        x.free()
    with pytest.raises(ValueError, match="is freed"):
        x.array(np.float32)


def test_a_buffer_freed_behind_a_table_is_a_use_after_free(clean):
    rows = [on_device(np.ones(40)) for _ in range(3)]
    table = on_device([row.address for row in rows], np.uint64)
    arguments = [table, on_device([40, 40, 40], np.int32), np.float32(2)]
    clean.launch("scale_through_pointers", 3, 32, arguments)
    rows[1] = on_device(np.zeros(40))  # the old one goes, the table still points to it
    gc.collect()
    others = [on_device(np.zeros(40)) for _ in range(20)]  # would take its place, if places were used again
    with pytest.raises(emulator.KernelFault) as caught:
        clean.launch("scale_through_pointers", 3, 32, arguments)
    line = CLEAN.split("\n").index("        rows[blockIdx.x][i] *= a;  // the line") + 1
    (finding,) = caught.value.findings
    assert (finding.kind, finding.line, finding.block) == ("use after free", line, (1, 0, 0))
    assert not any(numbers(other).any() for other in others)


def test_a_struct_by_value_with_a_freed_pointer_is_a_use_after_free(clean):
    row = on_device(np.ones(8))
    table = np.zeros(1, TABLE)
    table["rows"], table["lengths"], table["count"] = row.address, 8, 1
    clean.launch("scale_rows", 1, 32, [table, np.float32(2)])
    row.free()
    with pytest.raises(emulator.KernelFault, match="use after free"):
        clean.launch("scale_rows", 1, 32, [table, np.float32(2)])


def test_a_view_keeps_its_buffer_alive():
    memory = emulator.Memory()
    view = memory.allocate(16).array(np.float32, (2, 2))
    assert view.shape == (2, 2) and memory.live_bytes == 16
    del view
    gc.collect()
    assert memory.live_bytes == 0 and memory.peak_bytes == 16


def test_copies_go_both_ways(rng):
    x = rng.random((3, 5))
    buffer = on_device(x, np.float64)
    np.testing.assert_array_equal(emulator.memory.copy_to_host(buffer.address, np.float64, (3, 5)), x)


def test_what_a_plain_launch_may_have_written_counts_as_written(clean):
    x, y = on_device(np.ones(64)), empty(64)
    with emulator.checking(False):
        clean.launch("where", 1, 64, [y])
    y.array(np.float32)[:] = 1
    clean.launch("saxpy", 1, 64, [x, y, np.float32(1), np.int64(64)])


# ---- launches ------------------------------------------------------------------------------------------------------

def test_a_signature_is_read_off_the_source(clean):
    assert clean.signature("saxpy") == [("const float *", 8, "pointer"), ("float *", 8, "pointer"),
                                        ("float", 4, "float"), ("long long", 8, "int")]
    assert clean.signature("scale_rows") == [("const Table", 40, "struct"), ("float", 4, "float")]
    assert clean.signature("kinds") == [("unsigned int", 4, "int"), ("bool", 1, "int"), ("char", 1, "int"),
                                        ("const Table *", 8, "pointer"), ("double", 8, "float")]


@pytest.mark.parametrize("arguments, message", [
    ([1, 2, np.float32(1)], r"saxpy: 3 arguments given, expected 4 \(const float"),
    ([1, 2, np.float64(1), np.int64(1)], "saxpy: parameter 'float a': float64 of float64, 8 bytes given, expected "
                                         "np.float32"),
    ([1, 2, np.float32(1), np.int32(1)], "saxpy: parameter 'long long n': int32 of .* expected np.int64"),
    ([1, 2, 1.0, np.int64(1)], "expected np.float32"),
    ([1, 2, np.float32(1), np.uint64(1)], "expected np.int64"),
    ([1, 2, np.float32(1), np.zeros(2, np.int64)], "ndarray of int64, 16 bytes given, expected np.int64"),
    ([np.zeros(3), 2, np.float32(1), np.int64(1)], "'const float. __restrict__ x': ndarray .* expected an address"),
    ([1.0, 2, np.float32(1), np.int64(1)], "float given, expected an address"),
])
def test_a_wrong_argument_is_refused_by_name(clean, arguments, message):
    with pytest.raises(TypeError, match=message):
        clean.launch("saxpy", 1, 32, arguments)


def test_a_struct_of_another_size_is_refused(clean):
    with pytest.raises(TypeError, match="'const Table table': .* expected one structured element of 40 bytes"):
        clean.launch("scale_rows", 1, 32, [np.zeros(1, [("rows", np.uint64, 3)]), np.float32(1)])


@pytest.mark.parametrize("grid, block, shared, message", [
    (1, 257, 0, r"block \(257, 1, 1\) has 257 threads, __launch_bounds__ allows 256"),
    (1, 1025, 0, "x is 1025, expected 1 to 1024"),
    (1, (32, 32, 2), 0, "has 2048 threads, expected at most 1024"),
    (0, 32, 0, r"grid \(0, 1, 1\): x is 0, expected 1 to"),
    ((1, 65536), 32, 0, "y is 65536, expected 1 to 65535"),
    (1, 32, 49153, "49153 of dynamic shared memory, expected at most 49152"),
])
def test_a_launch_beyond_the_limits_is_refused(clean, grid, block, shared, message):
    with pytest.raises(ValueError, match=message):
        clean.launch("saxpy", grid, block, [1, 2, np.float32(1), np.int64(0)], shared)


def test_static_and_dynamic_shared_memory_are_one_limit(clean):
    assert clean.shared_bytes("transpose") == 16 * 17 * 4 + 32 * 4  # its own, and block_sum's, which it might call
    with pytest.raises(ValueError, match="1216 bytes of static and 48000 of dynamic shared memory"):
        clean.launch("transpose", 1, (16, 16), [1, 2, np.int32(0), np.int32(0)], 48000)


def test_an_unknown_kernel_is_refused(clean):
    with pytest.raises(ValueError, match="clean.cu has no kernel 'saxpi'; it has: where, shuffles"):
        clean.launch("saxpi", 1, 1, [])


def came(module: emulator.Module, *order) -> tuple[list[int], list[int]]:
    """In which order 6 blocks came, and the 40 threads of the first."""
    blocks, threads = empty(6 * 40), empty(6 * 40)
    with emulator.order(*order):
        module.launch("who_comes_first", 6, 40, [on_device([0, 0], np.uint32), blocks, threads])
    return numbers(blocks, np.uint32)[::40].tolist(), numbers(threads, np.uint32)[:40].tolist()


def test_orders_are_ascending_descending_and_random_by_seed(either):
    blocks, threads = list(range(6)), list(range(40))
    assert came(either, "ascending") == (blocks, threads)
    assert came(either, "descending") == (blocks[::-1], threads[::-1])
    drawn = [came(either, "random", seed) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert all((sorted(b), sorted(t)) == (blocks, threads) for b, t in drawn)
    with pytest.raises(ValueError, match="unknown order 'upwards'; choose from: ascending, descending, random"):
        came(either, "upwards")


def test_two_launches_in_one_random_order_differ(clean):
    with emulator.order("random", 1):
        first, second = ([], [])
        for seen in (first, second):
            blocks, threads = empty(240), empty(240)
            clean.launch("who_comes_first", 6, 40, [on_device([0, 0], np.uint32), blocks, threads])
            seen.extend(numbers(threads, np.uint32))
    assert first != second


def test_counters_count_launches_and_bytes(clean):
    x, y = on_device(np.ones(100)), on_device(np.ones(100))
    before = emulator.counters.launches.get("saxpy", 0)
    with emulator.count() as counted:
        for _ in range(3):
            clean.launch("saxpy", 2, 32, [x, y, np.float32(1), np.int64(100)])
        clean.launch("warp_reduce", 2, 64, [x, y, np.int32(100)])
    assert counted.launches == {"saxpy": 3, "warp_reduce": 1}
    counts = counted.kernels["saxpy"]
    assert (counts.blocks, counts.threads, counts.global_read, counts.global_written) == (6, 192, 2400, 1200)
    assert (counted.kernels["warp_reduce"].barriers, counted.total.launches) == (2 * 4, 4)
    clean.launch("saxpy", 2, 32, [x, y, np.float32(1), np.int64(100)])
    assert counted.launches["saxpy"] == 3 and emulator.counters.launches["saxpy"] == before + 4


# ---- files ---------------------------------------------------------------------------------------------------------

def test_a_line_is_that_of_the_file_behind_comments_and_dynamic_arrays():
    module = emulator.Module("""/* two
lines */ extern "C" __global__ void k(int* out) {  // extern __shared__ int no[];
    extern
    __shared__
    int s[];
    s[threadIdx.x + 1] = 0;
}
""", "lines.cu")
    with pytest.raises(emulator.KernelFault, match="^lines.cu:6: out of bounds"):
        module.launch("k", 1, 1, [0], shared_mem=4)


@pytest.mark.parametrize("text, error, message", [
    ("int x;", ValueError, "k.cu has no kernel"),
    ('#include <math.h>\nextern "C" __global__ void k() {}', ValueError, "kernels include nothing"),
    ("__global__ void k() {}", ValueError, "k.cu: kernel k is not extern \"C\""),
    ('extern "C" __global__ void k() { int x = y; }', emulator.CompileError, "k.cu:1:.* 'y' was not declared"),
    ('extern "C" __global__ void k(float* x) { volatile char r[40000]; r[0] = 1; }', emulator.CompileError, "frame"),
])
def test_a_file_that_is_no_kernel_file_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        emulator.Module(text, "k.cu")


def test_an_unknown_option_is_refused():
    with pytest.raises(ValueError, match="option '--magic' is not known"):
        emulator.Module(CLEAN, "clean.cu", ("--magic",))


def test_a_missing_compiler_fails_in_ci_and_skips_loudly_elsewhere(monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda tool: None)
    build.compiler.cache_clear()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(RuntimeError, match="CI is set and g\\+\\+ is missing"):
        emulator.Module(CLEAN)
    monkeypatch.delenv("CI")
    with pytest.warns(UserWarning, match="NO CUDA KERNEL IS TESTED"), pytest.raises(pytest.skip.Exception):
        emulator.Module(CLEAN)
    monkeypatch.undo()
    build.compiler.cache_clear()


def test_there_is_one_emulator_under_both_names():
    code = ("import sys; sys.path[:0] = sys.argv[1:]; import {}; import {}; "
            "assert sys.modules['emulator'] is sys.modules['tests.emulator'] is sys.modules['tests'].emulator")
    for names in (("emulator", "tests.emulator"), ("tests.emulator", "emulator")):
        subprocess.run([sys.executable, "-c", code.format(*names), str(HERE), str(HERE.parent)], check=True)


# ---- profile -------------------------------------------------------------------------------------------------------

def test_a_profile_shows_scattered_global_and_colliding_shared_accesses():
    module = emulator.Module("""extern "C" __global__ void k(const float* x, const float4* x4, float* out) {
    __shared__ float s[32 * 33];
    const int t = threadIdx.x;
    float sum = x[t];
    sum += x[32 * t];
    sum += x[t + 1];
    sum += x[7];
    const float4 v = x4[t];
    s[32 * t] = sum + v.x;
    s[33 * t + 1] = sum;
    __syncthreads();
    out[t] = sum;
}
""", "profile.cu")
    x, out = on_device(np.ones(1056)), empty(32)
    with emulator.profile() as profile:
        for _ in range(2):
            module.launch("k", 1, 32, [x, x, out])
    found = {line.line: (line.access, line.requests, line.units, line.fewest) for line in profile.lines}
    assert found == {4: ("reads", 2, 8, 8), 5: ("reads", 2, 64, 8), 6: ("reads", 2, 10, 8), 7: ("reads", 2, 2, 2),
                     8: ("reads", 2, 32, 32), 9: ("writes", 2, 64, 2), 10: ("writes", 2, 2, 2), 12: ("writes", 2, 8, 8)}
    assert "profile.cu:5: k reads 32.00 sectors of global memory a request, 4.00 at best (2 requests)" in str(profile)


def test_files_may_have_kernels_of_the_same_name():
    arguments = {"int x, int* y": [np.int32(1), 0], "float* x, float y": [0, np.float32(1)]}
    for parameters, given in arguments.items():
        module = emulator.Module(f'extern "C" __global__ void same({parameters}) {{}}', "same.cu")
        module.launch("same", 1, 1, given)
