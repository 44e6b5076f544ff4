// Convolutions on tensor cores as products of matrices whose factors are gathered on the way: no columns in memory.
//
// Definitions in engine/loops/conv.py: conv, conv_transposed, conv_weights. Needs compute capability 8.0.
// Layout: x (N, H, W, C), weights (O, kh, kw, C), y (N, oh, ow, O); y[n, i, j, o] is the sum over dy, dx, c of
// x[n, i * stride + dy - top, j * stride + dx - left, c] * weights[o, dy, dx, c], x being zero outside.
// Factors in float32 are rounded to TF32 or bfloat16 on their way to the tensor cores. With bfloat16 both factors and out
// may be bfloat16, too (HALF_A, HALF_B, HALF_OUT). Sums, scale and bias are float32, and are rounded once for out.
// Each kernel is a product of matrices A (rows, depth) and B (columns, depth), out = A B^T:
//   conv             A pixels of y x (tap, c): windows of x         B weights (o, (tap, c))
//   conv_transposed  A pixels of x x (tap, o): gy                   B weights (c, (tap, o))
//   conv_weights     A channels of y x pixels of y: gy              B (tap, c) x pixels of y: windows of x
// A block of 128 threads makes ROWS x COLUMNS results, each of its four warps a quarter. It copies 32 of the depth at a
// time into one of three stages of shared memory, while it multiplies what came two steps before: asynchronously, but for
// single numbers of bfloat16.
// Grid: (tiles of rows, tiles of columns, parts of the depth; conv_transposed: phases x parts). Where the depth is cut
// into parts, each block leaves its part of the results; the last of GROUP neighbours adds theirs, in order, the last of
// GROUP such groups those, and so on: parts (s.parts, s.count), tickets one int a block, 0 before and after.
// Determinism: fixed order; ROWS, COLUMNS and the number of parts decide it. No float atomics.

#ifndef ROWS  // 32, 64 or 128; engine/loops/conv.py says which
#define ROWS 64
#endif
#ifndef COLUMNS  // 32, 64 or 128
#define COLUMNS 64
#endif
#ifndef BITS  // of a rounded factor, behind the point: 10, TF32's, or 7, bfloat16's
#define BITS 10
#endif
#ifndef HALF_A  // with BITS 7: 1 if A's numbers are bfloat16 in memory, 0 if float32
#define HALF_A 0
#endif
#ifndef HALF_B
#define HALF_B 0
#endif
#ifndef HALF_OUT
#define HALF_OUT 0
#endif
#define DEEP (BITS == 10 ? 8 : 16)  // of the depth, what tensor cores multiply at a time
#define DEPTH 32  // of a step
#define STAGES 3
#define GROUP 16  // parts that one block adds
#define RUN_A (HALF_A ? 8 : 4)  // A's numbers in 16 bytes
#define RUN_B (HALF_B ? 8 : 4)
#define SPAN_A (4 * RUN_A)  // of its rows, those that 128 threads copy 16 bytes each of
#define SPAN_B (4 * RUN_B)
#define TILE_A (ROWS * DEPTH * 4 / RUN_A)  // words of 4 bytes
#define STAGE (TILE_A + COLUMNS * DEPTH * 4 / RUN_B)  // A's tile, then B's
// of the products of a step, those that are unrolled: more would not fit into the registers of every architecture
#define UNROLLED (BITS == 10 || HALF_B ? 2 : 1)
#define HEIGHT (ROWS / 32)  // a warp's quarter, in products of 16 rows
#define WIDTH (COLUMNS / 16)  // and 8 columns

template <int HALF> struct Number { typedef float type; };
template <> struct Number<1> { typedef unsigned short type; };  // bfloat16: the upper half of a float32
typedef Number<HALF_A>::type InA;
typedef Number<HALF_B>::type InB;
typedef Number<HALF_OUT>::type Out;

struct Shape {
    int N;
    int H;
    int W;
    int C;
    int O;
    int kh;
    int kw;
    int stride;
    int top;
    int left;
    int oh;
    int ow;
    int wide_a;  // whether A's numbers can be copied four at a time; of bfloat16, how many can be: 8, 4, 2 or 1
    int wide_b;
    int parts;  // of the depth
    long long count;  // results of a part
    int factors[4];  // for `divided`
    int shifts[4];
};
#define BY_CHANNELS 0  // of A: C, in conv_transposed O
#define BY_KW 1
#define BY_OW 2
#define BY_OH 3

// ---- what only PTX can say -----------------------------------------------------------------------------------------

// Begins to copy to shared memory; zeros if not `there`. Both addresses are multiples of the bytes.
__device__ __forceinline__ void copy16(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
}

template <int BYTES>  // 4 or 8
__device__ __forceinline__ void copy_few(void* to, const void* from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "n"(BYTES), "r"(there ? BYTES : 0)
                 : "memory");
}

// This thread's copies since the last call are one step's.
__device__ __forceinline__ void end_of_step() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits for this thread's copies of all steps but the last STAGES - 2.
__device__ __forceinline__ void wait_for_step() {
    asm volatile("cp.async.wait_group %0;" :: "n"(STAGES - 2) : "memory");
}

// The nearest number with 10 bits behind the point; of two the larger in size.
__device__ __forceinline__ unsigned tf32(float x) {
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
}

// Both as bfloat16 (7 bits behind the point), the nearest, of two the even one; `first` is the lower half.
__device__ __forceinline__ unsigned bf16(float first, float second) {
    unsigned rounded;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(rounded) : "f"(second), "f"(first));
    return rounded;
}

// Four matrices of 8 lines of 8 numbers: lane l points at line l % 8 of matrix l / 8. Lane 4 g + t gets of each the
// numbers 2 t and 2 t + 1 of line g, or `turned` number g of the lines 2 t and 2 t + 1.
__device__ __forceinline__ void matrices(unsigned (&to)[4], const void* line, bool turned) {
    unsigned from = (unsigned)__cvta_generic_to_shared(line);
    if (turned)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}

// d += a b of a warp: 16 x 8 results, DEEP deep. Lane 4 g + t has of d rows g and g + 8, columns 2 t and 2 t + 1. Of a
// it has rows g and g + 8, of b column g; of the depth t and t + 4 in TF32, in bfloat16 (2 t, 2 t + 1) and those + 8.
__device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if BITS == 10
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// ---- tiles ---------------------------------------------------------------------------------------------------------

// How many neighbours a copy brings.
__device__ __forceinline__ int run(bool half, int wide) {
    return half ? wide : wide ? 4 : 1;
}

template <class T>
__device__ __forceinline__ void copy(int wide, T* to, const T* from, bool there) {
    if constexpr (sizeof(T) == 4) {
        if (wide) copy16(to, from, there);
        else copy_few<4>(to, from, there);
    } else {
        if (wide == 8) copy16(to, from, there);
        else if (wide == 4) copy_few<8>(to, from, there);
        else if (wide == 2) copy_few<4>(to, from, there);
        else *to = there ? *from : 0;  // no shorter copy is asynchronous
    }
}

// Where number k of row i lies in a tile (size, DEPTH). 16 bytes of neighbours stay together: of a row if by_rows, as
// they are copied, else of a column. The rest is permuted so that neither copying nor reading meets a bank twice.
template <class T>
__device__ __forceinline__ int place(bool by_rows, int size, int i, int k) {
#if BITS == 10
    if (by_rows) return i * DEPTH + ((k / 4) ^ (i % 8)) * 4 + k % 4;
    return k * size + (i ^ (k % 2 * 16 + k % 4 / 2 * 8));
#else
    const int run = 16 / sizeof(T), length = by_rows ? DEPTH : size, line = by_rows ? i : k, at = by_rows ? k : i;
    int mixed = line / 2 % 4 * (8 / run) ^ (length * sizeof(T) > 64 ? line % 2 * 4 : 0);
    return line * length + (at / run ^ mixed) * run + at % run;
#endif
}

// Four times 8 rows x half of DEEP, from row i and number k on, as tensor cores take them: the second is the next 8
// rows, or if `deep_first` the other half of DEEP; the third the reverse. Of float32 i is that of this lane.
template <class T>
__device__ __forceinline__ void factors(unsigned (&to)[4], const T* tile, bool by_rows, int size, int i, int k, int t,
                                        bool deep_first) {
    if constexpr (sizeof(T) == 2) {
        int line = threadIdx.x % 8, e = threadIdx.x % 32 / 8;
        int row = i + (deep_first ? e / 2 : e % 2) * 8, number = k + (deep_first ? e % 2 : e / 2) * 8;
        matrices(to, tile + place<T>(by_rows, size, by_rows ? row + line : row, by_rows ? number : number + line),
                 !by_rows);
    } else {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int row = i + (deep_first ? e / 2 : e % 2) * 8, half = deep_first ? e % 2 : e / 2;
#if BITS == 10
            to[e] = tf32(tile[place<T>(by_rows, size, row, k + half * (DEEP / 2) + t)]);
#else
            int number = k + half * 8 + 2 * t;
            const float* first = tile + place<T>(by_rows, size, row, number);
            float2 both = by_rows ? *(const float2*)first
                                  : make_float2(*first, tile[place<T>(by_rows, size, row, number + 1)]);
            to[e] = bf16(both.x, both.y);
#endif
        }
    }
}

// n / d for 0 <= n < 2^31: factor = ceil(2^(31 + shift) / d), shift = ceil(log2 d).
__device__ __forceinline__ int divided(const Shape& s, int n, int by) {
    return (int)(__umulhi(2u * (unsigned)n, (unsigned)s.factors[by]) >> s.shifts[by]);
}

// acc = A B^T over all steps. load(A, B, step) begins to copy a step's tiles.
template <class Load>
__device__ __forceinline__ void product(float (&acc)[HEIGHT][WIDTH][4], int steps, bool a_by_rows, bool b_by_rows,
                                        Load load) {
    extern __shared__ __align__(16) float shared[];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    int row = warp % 2 * (ROWS / 2) + (HALF_A ? 0 : g), column = warp / 2 * (COLUMNS / 2) + (HALF_B ? 0 : g);
#pragma unroll
    for (int i = 0; i < HEIGHT; i++)
#pragma unroll
        for (int j = 0; j < WIDTH; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) acc[i][j][e] = 0.0f;

    for (int step = 0; step < STAGES - 1; step++) {
        float* A = shared + step * STAGE;
        if (step < steps) load((InA*)A, (InB*)(A + TILE_A), step);
        end_of_step();
    }
    for (int step = 0; step < steps; step++) {
        wait_for_step();
        __syncthreads();  // everyone's copies have come, and everyone has read the step before
        int next = step + STAGES - 1;
        float* other = shared + next % STAGES * STAGE;
        if (next < steps) load((InA*)other, (InB*)(other + TILE_A), next);
        end_of_step();

        const float* A = shared + step % STAGES * STAGE;
        const float* B = A + TILE_A;
#pragma unroll UNROLLED
        for (int k = 0; k < DEPTH; k += DEEP) {
            unsigned a[HEIGHT][4], b[WIDTH / 2][4];
#pragma unroll
            for (int i = 0; i < HEIGHT; i++)
                factors(a[i], (const InA*)A, a_by_rows, ROWS, row + 16 * i, k, t, false);
#pragma unroll
            for (int j = 0; j < WIDTH / 2; j++)
                factors(b[j], (const InB*)B, b_by_rows, COLUMNS, column + 16 * j, k, t, true);
#pragma unroll
            for (int i = 0; i < HEIGHT; i++)
#pragma unroll
                for (int j = 0; j < WIDTH; j++)
                    multiply(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
}

// Calls put(row, column, value) for every result that this thread has of the block's tile.
template <class Put>
__device__ __forceinline__ void results(const float (&acc)[HEIGHT][WIDTH][4], Put put) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int row = warp % 2 * (ROWS / 2) + lane / 4, column = warp / 2 * (COLUMNS / 2) + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < HEIGHT; i++)
#pragma unroll
        for (int j = 0; j < WIDTH; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) put(row + 16 * i + e / 2 * 8, column + 8 * j + e % 2, acc[i][j][e]);
}

// What is done to a result when it is complete.
struct End {
    const float* scale;
    const float* bias;  // that of the block's first column
    int has_scale;
    int has_bias;
    float slope;
    int columns;  // from the block's first on
};

// leaky(z * scale + bias of this column of the block).
__device__ __forceinline__ float ended(float z, const End& end, int column) {
    if (end.has_scale) z *= end.scale[0];
    if (end.has_bias) z += end.bias[column];
    return z < 0.0f ? (end.slope == 0.0f ? 0.0f : z * end.slope) : z;
}

// As it is kept in memory.
__device__ __forceinline__ Out stored(float z) {
#if HALF_OUT
    return (Out)bf16(z, 0.0f);
#else
    return z;
#endif
}

// True in every thread of the block that comes here last of `blocks`; it sees all that the others wrote before.
__device__ __forceinline__ bool is_last_block(int* ticket, int blocks) {
    extern __shared__ __align__(16) float shared[];  // the tiles are done with
    __syncthreads();  // all threads have written
    if (threadIdx.x == 0) {
        __threadfence();  // release: what this block wrote is visible before its ticket is
        bool last = atomicAdd(ticket, 1) == blocks - 1;
        __threadfence();  // acquire: nothing below is read before the ticket was drawn
        if (last) *ticket = 0;  // for the next launch
        shared[0] = last ? 1.0f : 0.0f;
    }
    __syncthreads();
    return shared[0] == 1.0f;
}

#if HALF_OUT
// Writes results that are complete. Of 16 of a row each of four lanes has four, which lie apart; it gives two to its
// neighbour for two of its, and has four side by side: 32 bytes of a row are written together.
template <class Place>
__device__ __forceinline__ void write_fours(const float (&acc)[HEIGHT][WIDTH][4], Out* out, const End& end,
                                            Place place) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, t = lane % 4;
    int row = warp % 2 * (ROWS / 2) + lane / 4, column = warp / 2 * (COLUMNS / 2);
#pragma unroll
    for (int i = 0; i < HEIGHT; i++)
#pragma unroll
        for (int j = 0; j < WIDTH; j += 2)
#pragma unroll
            for (int e = 0; e < 4; e += 2) {
                unsigned mine[2];
#pragma unroll
                for (int b = 0; b < 2; b++) {
                    int first = min(column + 8 * (j + b) + 2 * t, end.columns - 1);
                    int second = min(column + 8 * (j + b) + 2 * t + 1, end.columns - 1);
                    mine[b] = bf16(ended(acc[i][j + b][e], end, first), ended(acc[i][j + b][e + 1], end, second));
                }
                unsigned theirs = __shfl_xor_sync(0xffffffffu, t % 2 ? mine[0] : mine[1], 1);
                uint2 four = t % 2 ? make_uint2(theirs, mine[1]) : make_uint2(mine[0], theirs);
                int r = row + 16 * i + 4 * e, c = column + 8 * j + t % 2 * 8 + t / 2 * 4;
                long long at = place(r, c);
                if (at % 4 == 0 && place(r, c + 3) >= 0 && (unsigned long long)out % 8 == 0) {
                    *(uint2*)(out + at) = four;
                    continue;
                }
#pragma unroll 1
                for (int m = 0; m < 4; m++) {
                    at = place(r, c + m);
                    if (at >= 0) out[at] = (Out)((m < 2 ? four.x : four.y) >> m % 2 * 16);
                }
            }
}
#endif

// Writes the block's results, of one part, to out; or to parts, and the last block adds these. place(row, column): where
// in out, -1 outside.
template <class Place>
__device__ __forceinline__ void finish(const float (&acc)[HEIGHT][WIDTH][4], const Shape& s, int part, Out* out,
                                       float* parts, int* tickets, const End& end, Place place) {
#if HALF_OUT
    if (s.parts == 1) return write_fours(acc, out, end, place);
    float* to = parts + part * s.count;
#else
    float* to = s.parts == 1 ? out : parts + part * s.count;
#endif
    results(acc, [&](int i, int j, float value) {
        long long at = place(i, j);
        if (at >= 0) to[at] = s.parts == 1 ? ended(value, end, j) : value;
    });
    // the counters of this tile and phase: one for each part; a group has that of its first part, plus its level, but
    // one of a single member that of before, or it could have none
    tickets += ((blockIdx.z - part) * gridDim.y + blockIdx.y * s.parts) * gridDim.x + blockIdx.x * s.parts;
    int left = s.parts, step = 1;
    for (int level = 0; left > 1; level++) {
        int first = part / GROUP * GROUP, members = min(GROUP, left - first);
        int* mine = tickets + first * step + (members > 1 ? level : 0);
        if (!is_last_block(mine, members)) return;  // the same in all threads
        left = (left + GROUP - 1) / GROUP;
#pragma unroll 1
        for (int e = threadIdx.x; e < ROWS * COLUMNS; e += 128) {
            int j = e % COLUMNS;
            long long at = place(e / COLUMNS, j);
            if (at < 0) continue;
            float* theirs = parts + first * step * s.count + at;
            float sum = theirs[0];
            for (int m = 1; m < members; m++) sum += theirs[m * step * s.count];
            if (left == 1) out[at] = stored(ended(sum, end, j));
            else theirs[0] = sum;
        }
        part /= GROUP;
        step *= GROUP;
    }
}

// ---- kernels -------------------------------------------------------------------------------------------------------

// out (N, oh, ow, O) = leaky(conv of x and weights * scale + bias).
extern "C" __global__ void conv(Shape s, const InA* x, const InB* weights, Out* out, float* parts, int* tickets,
                                const float* scale, const float* bias, int has_scale, int has_bias, float slope) {
    int pixels = s.N * s.oh * s.ow, depth = s.kh * s.kw * s.C;
    int p0 = blockIdx.x * ROWS, o0 = blockIdx.y * COLUMNS, part = blockIdx.z;
    int all = (depth + DEPTH - 1) / DEPTH, first = all * part / s.parts, end = all * (part + 1) / s.parts;

    // this thread copies RUN_A numbers from a_k on of every SPAN_A-th row; of B likewise
    int a_row = threadIdx.x / (DEPTH / RUN_A), a_k = threadIdx.x % (DEPTH / RUN_A) * RUN_A;
    int b_row = threadIdx.x / (DEPTH / RUN_B), b_k = threadIdx.x % (DEPTH / RUN_B) * RUN_B;
    // where each row's window begins; behind the last, the last's
    int at[ROWS / SPAN_A], y0[ROWS / SPAN_A], x0[ROWS / SPAN_A];
#pragma unroll
    for (int r = 0; r < ROWS / SPAN_A; r++) {
        int p = min(p0 + a_row + SPAN_A * r, pixels - 1), q = divided(s, p, BY_OW), n = divided(s, q, BY_OH);
        y0[r] = (q - n * s.oh) * s.stride - s.top;
        x0[r] = (p - q * s.ow) * s.stride - s.left;
        at[r] = ((n * s.H + y0[r]) * s.W + x0[r]) * s.C;
    }
    auto load = [&](InA* A, InB* B, int step) {
        for (int e = 0; e < RUN_A; e += run(HALF_A, s.wide_a)) {
            int k = (first + step) * DEPTH + a_k + e, tap = divided(s, k, BY_CHANNELS), dy = divided(s, tap, BY_KW);
            int dx = tap - dy * s.kw, shift = (dy * s.W + dx) * s.C + k - tap * s.C;
#pragma unroll
            for (int r = 0; r < ROWS / SPAN_A; r++) {
                bool there = k < depth && (unsigned)(y0[r] + dy) < (unsigned)s.H &&
                             (unsigned)(x0[r] + dx) < (unsigned)s.W;
                copy(s.wide_a, A + place<InA>(true, ROWS, a_row + SPAN_A * r, a_k + e),
                     there ? x + at[r] + shift : x, there);
            }
        }
        for (int e = 0; e < RUN_B; e += run(HALF_B, s.wide_b)) {
            int k = (first + step) * DEPTH + b_k + e;
#pragma unroll
            for (int r = 0; r < COLUMNS / SPAN_B; r++) {
                int o = o0 + b_row + SPAN_B * r;
                bool there = k < depth && o < s.O;
                copy(s.wide_b, B + place<InB>(true, COLUMNS, b_row + SPAN_B * r, b_k + e),
                     there ? weights + o * depth + k : weights, there);
            }
        }
    };
    float acc[HEIGHT][WIDTH][4];
    product(acc, end - first, true, true, load);
    End ending = {scale, bias + o0, has_scale, has_bias, slope, s.O - o0};
    finish(acc, s, part, out, parts, tickets, ending, [&](int i, int j) {
        int p = p0 + i, o = o0 + j;
        return p < pixels && o < s.O ? (long long)p * s.O + o : -1;
    });
}

// out (N, H, W, C) = leaky(the input gradient of conv at output gradient gy * scale + bias).
// Pixel y of x meets tap dy of window i if y = i * stride + dy - top: its taps are those with dy % stride = phase, for
// phase = (y + top) % stride, and tap phase + stride * m meets window (y + top) / stride - m, rounded down. So pixels of one
// phase (of both axes) are a convolution of gy with every stride-th tap.
extern "C" __global__ void conv_transposed(Shape s, const InA* gy, const InB* weights, Out* out, float* parts,
                                           int* tickets, const float* scale, const float* bias, int has_scale,
                                           int has_bias, float slope) {
    int part = blockIdx.z % s.parts, phase = blockIdx.z / s.parts, py = phase / s.stride, px = phase % s.stride;
    int y_first = ((py - s.top) % s.stride + s.stride) % s.stride, i_first = (y_first + s.top) / s.stride;
    int x_first = ((px - s.left) % s.stride + s.stride) % s.stride, j_first = (x_first + s.left) / s.stride;
    int height = (s.H - y_first + s.stride - 1) / s.stride, width = (s.W - x_first + s.stride - 1) / s.stride;
    int taps_y = (s.kh - py + s.stride - 1) / s.stride, taps_x = (s.kw - px + s.stride - 1) / s.stride;
    int pixels = s.N * height * width, depth = taps_y * taps_x * s.O;
    int p0 = blockIdx.x * ROWS, c0 = blockIdx.y * COLUMNS;
    int all = (depth + DEPTH - 1) / DEPTH, first = all * part / s.parts, end = all * (part + 1) / s.parts;

    // of A this thread copies RUN_A numbers from a_k on of every SPAN_A-th row, of B RUN_B columns of number k1
    int a_row = threadIdx.x / (DEPTH / RUN_A), a_k = threadIdx.x % (DEPTH / RUN_A) * RUN_A;
    int k1 = threadIdx.x / 4, b_c = threadIdx.x % 4 * RUN_B;
    int at[ROWS / SPAN_A], i0[ROWS / SPAN_A], j0[ROWS / SPAN_A];  // the window that a pixel's first tap meets
#pragma unroll
    for (int r = 0; r < ROWS / SPAN_A; r++) {
        int p = max(min(p0 + a_row + SPAN_A * r, pixels - 1), 0), q = p / max(width, 1), n = q / max(height, 1);
        i0[r] = q - n * height + i_first;
        j0[r] = p - q * width + j_first;
        at[r] = ((n * s.oh + i0[r]) * s.ow + j0[r]) * s.O;
    }
    auto load = [&](InA* A, InB* B, int step) {
        for (int e = 0; e < RUN_A; e += run(HALF_A, s.wide_a)) {
            int k = (first + step) * DEPTH + a_k + e, tap = divided(s, k, BY_CHANNELS), di = tap / taps_x;
            int dj = tap - di * taps_x, shift = k - tap * s.O - (di * s.ow + dj) * s.O;
#pragma unroll
            for (int r = 0; r < ROWS / SPAN_A; r++) {
                bool there = k < depth && (unsigned)(i0[r] - di) < (unsigned)s.oh &&
                             (unsigned)(j0[r] - dj) < (unsigned)s.ow;
                copy(s.wide_a, A + place<InA>(true, ROWS, a_row + SPAN_A * r, a_k + e),
                     there ? gy + at[r] + shift : gy, there);
            }
        }
        int k = (first + step) * DEPTH + k1, tap = divided(s, k, BY_CHANNELS), di = tap / taps_x, o = k - tap * s.O;
        int tap_here = (o * s.kh + py + s.stride * di) * s.kw + px + s.stride * (tap - di * taps_x);
        for (int e = 0; e < RUN_B; e += run(HALF_B, s.wide_b))
#pragma unroll
            for (int r = 0; r < COLUMNS / SPAN_B; r++) {
                int column = b_c + SPAN_B * r + e;
                bool there = k < depth && c0 + column < s.C;
                copy(s.wide_b, B + place<InB>(false, COLUMNS, column, k1),
                     there ? weights + tap_here * s.C + c0 + column : weights, there);
            }
    };
    float acc[HEIGHT][WIDTH][4];
    product(acc, end - first, true, false, load);
    End ending = {scale, bias + c0, has_scale, has_bias, slope, s.C - c0};
    finish(acc, s, part, out, parts, tickets, ending, [&](int i, int j) {
        int p = p0 + i, c = c0 + j;
        if (p >= pixels || c >= s.C) return -1ll;
        int q = p / width, n = q / height, y = y_first + s.stride * (q - n * height);
        int x = x_first + s.stride * (p - q * width);
        return ((long long)(n * s.H + y) * s.W + x) * s.C + c;
    });
}

struct Tap {
    int dy;
    int dx;
    int shift;  // from a window's first number to this one
};

__device__ __forceinline__ Tap tap_of(const Shape& s, int k) {
    int tap = divided(s, k, BY_CHANNELS), dy = divided(s, tap, BY_KW), dx = tap - dy * s.kw;
    return {dy, dx, (dy * s.W + dx) * s.C + k - tap * s.C};
}

// out (O, kh, kw, C) = the weight gradient of conv at input x and output gradient gy. No bias: columns are numbers of
// a window.
extern "C" __global__ void conv_weights(Shape s, const InA* gy, const InB* x, Out* out, float* parts,
                                        int* tickets, const float* scale, const float* bias, int has_scale,
                                        int has_bias, float slope) {
    int pixels = s.N * s.oh * s.ow, numbers = s.kh * s.kw * s.C;
    int o0 = blockIdx.x * ROWS, k0 = blockIdx.y * COLUMNS, part = blockIdx.z;
    int all = (pixels + DEPTH - 1) / DEPTH, first = all * part / s.parts, end = all * (part + 1) / s.parts;

    // this thread copies of one pixel RUN_A neighbours from a_o on, and every SPAN_A-th; of B likewise
    int p1 = threadIdx.x / 4, a_o = threadIdx.x % 4 * RUN_A, b_k = threadIdx.x % 4 * RUN_B;
    Tap taps[COLUMNS / SPAN_B];
#pragma unroll
    for (int r = 0; r < COLUMNS / SPAN_B; r++) taps[r] = tap_of(s, k0 + b_k + SPAN_B * r);
    auto load = [&](InA* A, InB* B, int step) {
        int p = (first + step) * DEPTH + p1, q = divided(s, p, BY_OW), n = divided(s, q, BY_OH);
        int y0 = (q - n * s.oh) * s.stride - s.top, x0 = (p - q * s.ow) * s.stride - s.left;
        int window = ((n * s.H + y0) * s.W + x0) * s.C;
        for (int e = 0; e < RUN_A; e += run(HALF_A, s.wide_a))
#pragma unroll
            for (int r = 0; r < ROWS / SPAN_A; r++) {
                int o = a_o + SPAN_A * r + e;
                bool there = p < pixels && o0 + o < s.O;
                copy(s.wide_a, A + place<InA>(false, ROWS, o, p1), there ? gy + p * s.O + o0 + o : gy, there);
            }
        for (int e = 0; e < RUN_B; e += run(HALF_B, s.wide_b))
#pragma unroll
            for (int r = 0; r < COLUMNS / SPAN_B; r++) {
                int column = b_k + SPAN_B * r + e;
                Tap tap = e == 0 ? taps[r] : tap_of(s, k0 + column);
                bool there = p < pixels && k0 + column < numbers && (unsigned)(y0 + tap.dy) < (unsigned)s.H &&
                             (unsigned)(x0 + tap.dx) < (unsigned)s.W;
                copy(s.wide_b, B + place<InB>(false, COLUMNS, column, p1), there ? x + window + tap.shift : x, there);
            }
    };
    float acc[HEIGHT][WIDTH][4];
    product(acc, end - first, false, false, load);
    End ending = {scale, bias, has_scale, has_bias, slope, numbers - k0};
    finish(acc, s, part, out, parts, tickets, ending, [&](int i, int j) {
        int o = o0 + i, k = k0 + j;
        return o < s.O && k < numbers ? (long long)o * numbers + k : -1;
    });
}
