// Bias and leaky ReLU, their gradient, the sum over rows that a bias' gradient is, and the gradient of tanh.
//
// Twins in engine/loops/activation.py: leaky, bias_leaky, leaky_gradient, bias_leaky_gradient, sum_rows, tanh_gradient.
// Layout: (rows, C), whatever stood before the channels. Sums, bias and scale are float32, and so is tanh's gradient;
//     the other arrays are bfloat16 if HALF is defined, else float32. All is computed in float32 and rounded once.
// Determinism: sums are added up in an order that depends on the shapes alone; no float atomics.

#ifdef HALF  // activations are bfloat16, the upper half of float32
typedef unsigned short number;
#define EACH 2  // numbers of a thread where nothing is added up, so that as many bytes are under way as with float32
#else
typedef float number;
#define EACH 1
#endif

__device__ float as_float(number x) {
#ifdef HALF
    return __uint_as_float((unsigned)x << 16);
#else
    return x;
#endif
}

// The nearest number, of two the even one.
__device__ number as_number(float x) {
#ifdef HALF
    unsigned bits = __float_as_uint(x);
    if (x != x) return 0x7fff;  // not a number, whatever its bits are
    return (number)((bits + 0x7fffu + (bits >> 16) % 2) >> 16);
#else
    return x;
#endif
}

// Where the e-th number of a thread is: those of a warp lie side by side.
__device__ long long place(int e) {
    return ((long long)blockIdx.x * EACH + e) * blockDim.x + threadIdx.x;
}

// to[i] = value(x[i], i) for this thread's numbers, all of which are read before one is written: to may be x.
template <typename Value>
__device__ void each(const number* x, number* to, long long count, Value value) {
    float read[EACH];
    if (place(0) >= count) return;
    for (int e = 0; e < EACH; e++)
        if (place(e) < count) read[e] = as_float(x[place(e)]);
    for (int e = 0; e < EACH; e++)
        if (place(e) < count) to[place(e)] = as_number(value(read[e], place(e)));
}

// Leaky ReLU; nan stays nan.
__device__ float leaky(float z, float slope) {
    return z < 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z;
}

// The sum of `value` over threadIdx.y, in the threads with threadIdx.y == 0. blockDim.y is a power of two.
__device__ float sum_over_y(float value, float* shared) {
    int at = threadIdx.y * blockDim.x + threadIdx.x;
    shared[at] = value;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half) shared[at] += shared[at + half * blockDim.x];
    }
    return shared[at];
}

// True in every thread of the block that comes here last of `blocks`; it sees all that the others wrote before.
__device__ bool is_last_block(int* ticket, int blocks) {
    __shared__ int last;
    __syncthreads();  // all threads have written
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        __threadfence();  // release: what this block wrote is visible before its ticket is
        last = atomicAdd(ticket, 1) == blocks - 1;
        __threadfence();  // acquire: nothing below is read before the ticket was drawn
        if (last) *ticket = 0;  // for the next launch
    }
    __syncthreads();
    return last;
}

// total[c] = the sum of all threads' `sum` for column c. Called by whole blocks.
// The blocks of one strip of columns leave their parts (gridDim.y, C); the last of them adds these, in order.
__device__ void add_up(float sum, float* parts, float* total, int* tickets, int C) {
    __shared__ float shared[256];
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    sum = sum_over_y(sum, shared);
    if (threadIdx.y == 0 && c < C) parts[(long long)blockIdx.y * C + c] = sum;
    if (is_last_block(tickets + blockIdx.x, gridDim.y)) {  // the same in all threads of the block
        sum = 0.0f;
        if (c < C)
            for (int part = threadIdx.y; part < (int)gridDim.y; part += blockDim.y)
                sum += parts[(long long)part * C + c];
        sum = sum_over_y(sum, shared);
        if (threadIdx.y == 0 && c < C) total[c] = sum;
    }
}

// y = leaky(x * scale + bias), where y may be x. Block (256), EACH numbers a thread. scale (1,), bias (C,).
extern "C" __global__ void bias_leaky(const number* x, number* y, const float* scale, const float* bias,
                                      int has_scale, int has_bias, float slope, int C, long long count) {
    each(x, y, count, [&](float z, long long i) {
        if (has_scale) z *= scale[0];
        if (has_bias) z += bias[i % C];
        return leaky(z, slope);
    });
}

// gz = gy * (1 where y > 0, else slope), plus `before` if it is there. Block (256), EACH numbers a thread.
extern "C" __global__ void leaky_gradient(const number* gy, const number* y, const number* before, number* gz,
                                          int has_before, float slope, long long count) {
    each(gy, gz, count, [&](float g, long long i) {
        g *= as_float(y[i]) > 0.0f ? 1.0f : slope;
        return has_before ? as_float(before[i]) + g : g;
    });
}

// gx = gy * (1 - y^2), y = tanh(x). Block (256), one thread a number.
extern "C" __global__ void tanh_gradient(const float* gy, const float* y, float* gx, long long count) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    gx[i] = gy[i] * (1.0f - y[i] * y[i]);
}

// gz as in leaky_gradient, and gb (C,) = the sum of gz, as it is written, over the rows, in one pass.
// Block (bx, by), bx * by = 256, by a power of two: bx columns; grid (ceil(C / bx), groups of rows_per_block rows).
// parts (groups, C); tickets: one int a strip of columns, 0 before and after.
extern "C" __global__ void bias_leaky_gradient(const number* gy, const number* y, number* gz, float* gb,
                                               float* parts, int* tickets, float slope, int C, long long rows,
                                               long long rows_per_block) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    long long first = blockIdx.y * rows_per_block;
    long long end = first + rows_per_block < rows ? first + rows_per_block : rows;
    float sum = 0.0f;
    if (c < C)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) {
            long long i = row * C + c;
            number g = as_number(as_float(gy[i]) * (as_float(y[i]) > 0.0f ? 1.0f : slope));
            gz[i] = g;
            sum += as_float(g);
        }
    add_up(sum, parts, gb, tickets, C);
}

// total (C,) = the sum of x over the rows. Grid, block, parts and tickets as above.
extern "C" __global__ void sum_rows(const number* x, float* total, float* parts, int* tickets, int C, long long rows,
                                    long long rows_per_block) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    long long first = blockIdx.y * rows_per_block;
    long long end = first + rows_per_block < rows ? first + rows_per_block : rows;
    float sum = 0.0f;
    if (c < C)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y)
            sum += as_float(x[row * C + c]);
    add_up(sum, parts, total, tickets, C);
}
