// Batch normalization: moments of each channel, normalization with leaky ReLU, and the gradient.
//
// Twins in engine/loops/batch_norm.py: batch_statistics, normalize, normalize_gradient.
// Layout: x (rows, C), whatever stood before the channels. x, y, gy, gx and before are bfloat16 if HALF is defined, else
//     float32, and so is all else. All is computed in float32 and rounded once.
// Determinism: sums are added up in an order that depends on the shapes alone; no float atomics.
//
// The kernels that add up over rows have blocks (bx, by), bx * by = 256, by a power of two: bx columns; grid
// (ceil(C / bx), groups of rows_per_block rows). Each block leaves its part; the last block of a strip of columns
// puts the parts together, in order. tickets: one int a strip, 0 before and after.

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

// Of some numbers: how many, their mean, and the sum of (number - mean)^2.
struct Moments {
    float count;
    float mean;
    float squares;
};

// The moments of two sets of numbers together (Chan et al. 1979). Nothing cancels, however large the mean is.
__device__ Moments merge(const Moments& a, const Moments& b) {
    if (b.count == 0.0f) return a;
    float count = a.count + b.count;
    float share = b.count / count;
    float distance = b.mean - a.mean;
    Moments both = {count, a.mean + distance * share, a.squares + b.squares + distance * distance * a.count * share};
    return both;
}

// The threads' moments merged over threadIdx.y, in the threads with threadIdx.y == 0.
__device__ Moments merge_over_y(Moments value, Moments* shared) {
    int at = threadIdx.y * blockDim.x + threadIdx.x;
    shared[at] = value;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half) shared[at] = merge(shared[at], shared[at + half * blockDim.x]);
    }
    return shared[at];
}

// The threads' pairs added up over threadIdx.y, in the threads with threadIdx.y == 0.
__device__ float2 sum_over_y(float2 value, float2* shared) {
    int at = threadIdx.y * blockDim.x + threadIdx.x;
    shared[at] = value;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half) {
            shared[at].x += shared[at + half * blockDim.x].x;
            shared[at].y += shared[at + half * blockDim.x].y;
        }
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

// Leaky ReLU; nan stays nan.
__device__ float leaky(float z, float slope) {
    return z < 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z;
}

// The gradient before the activation, of gy behind it; slope 1: there is none, and y is not read.
__device__ float before_leaky(float gy, const number* y, long long i, float slope) {
    return slope == 1.0f || as_float(y[i]) > 0.0f ? gy : gy * slope;
}

// The moments of each channel, by Welford's running mean in each thread, then merged; and what normalization by them
// multiplies with and adds: inverse = 1 / sqrt(variance + eps), scale = gamma * inverse, shift = beta - mean * scale.
// Without `has_gamma` and `has_beta` gamma counts as 1 and beta as 0. If `moves`, the running moments move in place, to
// decay * running + rest * new, the new variance times unbias. All (C,); parts (groups, C, 3).
extern "C" __global__ void batch_statistics(const number* x, const float* gamma, const float* beta,
                                            float* running_mean, float* running_variance, float* mean,
                                            float* inverse, float* scale, float* shift, Moments* parts, int* tickets,
                                            float eps, int has_gamma, int has_beta, int moves, float decay,
                                            float rest, float unbias, int C, long long rows,
                                            long long rows_per_block) {
    __shared__ Moments shared[256];
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    long long first = blockIdx.y * rows_per_block;
    long long end = first + rows_per_block < rows ? first + rows_per_block : rows;
    Moments m = {0.0f, 0.0f, 0.0f};
    if (c < C)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) {
            float value = as_float(x[row * C + c]);
            float distance = value - m.mean;
            m.count += 1.0f;
            m.mean += distance / m.count;
            m.squares += distance * (value - m.mean);
        }
    m = merge_over_y(m, shared);
    if (threadIdx.y == 0 && c < C) parts[(long long)blockIdx.y * C + c] = m;

    if (is_last_block(tickets + blockIdx.x, gridDim.y)) {  // the same in all threads of the block
        Moments all = {0.0f, 0.0f, 0.0f};
        if (c < C)
            for (int part = threadIdx.y; part < (int)gridDim.y; part += blockDim.y)
                all = merge(all, parts[(long long)part * C + c]);
        all = merge_over_y(all, shared);
        if (threadIdx.y == 0 && c < C) {
            float variance = all.squares / all.count;
            mean[c] = all.mean;
            inverse[c] = 1.0f / sqrtf(variance + eps);
            scale[c] = has_gamma ? gamma[c] * inverse[c] : inverse[c];
            shift[c] = has_beta ? beta[c] - all.mean * scale[c] : -all.mean * scale[c];
            if (moves) {
                running_mean[c] = decay * running_mean[c] + rest * all.mean;
                running_variance[c] = decay * running_variance[c] + rest * (variance * unbias);
            }
        }
    }
}

// y = leaky(x * scale + shift). Block (256), EACH numbers a thread. scale, shift (C,).
extern "C" __global__ void normalize(const number* x, const float* scale, const float* shift, number* y, float slope,
                                     int C, long long count) {
    each(x, y, count, [&](float value, long long i) {
        int c = (int)(i % C);
        return leaky(value * scale[c] + shift[c], slope);
    });
}

// gbeta (C,) = the sum of gz over the rows, ggamma (C,) that of gz * (x - mean) * inverse, gz being the gradient
// before the activation. parts (groups, C, 2).
extern "C" __global__ void normalize_sums(const number* gy, const number* x, const number* y, const float* mean,
                                          const float* inverse, float* ggamma, float* gbeta, float2* parts,
                                          int* tickets, float slope, int C, long long rows,
                                          long long rows_per_block) {
    __shared__ float2 shared[256];
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    long long first = blockIdx.y * rows_per_block;
    long long end = first + rows_per_block < rows ? first + rows_per_block : rows;
    float2 sum = {0.0f, 0.0f};
    if (c < C)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) {
            long long i = row * C + c;
            float gz = before_leaky(as_float(gy[i]), y, i, slope);
            sum.x += gz;
            sum.y += gz * (as_float(x[i]) - mean[c]);
        }
    sum = sum_over_y(sum, shared);
    if (threadIdx.y == 0 && c < C) parts[(long long)blockIdx.y * C + c] = sum;

    if (is_last_block(tickets + blockIdx.x, gridDim.y)) {  // the same in all threads of the block
        float2 all = {0.0f, 0.0f};
        if (c < C)
            for (int part = threadIdx.y; part < (int)gridDim.y; part += blockDim.y) {
                all.x += parts[(long long)part * C + c].x;
                all.y += parts[(long long)part * C + c].y;
            }
        all = sum_over_y(all, shared);
        if (threadIdx.y == 0 && c < C) {
            gbeta[c] = all.x;
            ggamma[c] = all.y * inverse[c];
        }
    }
}

// gx = gamma * inverse * (gz - gbeta / rows - hat * ggamma / rows), hat = (x - mean) * inverse; plus `before` if it is
// there. Block (256), EACH numbers a thread.
extern "C" __global__ void normalize_gradient(const number* gy, const number* x, const number* y, const float* gamma,
                                              const float* mean, const float* inverse, const float* ggamma,
                                              const float* gbeta, const number* before, number* gx, int has_before,
                                              float slope, float share, int C, long long count) {
    each(gy, gx, count, [&](float g, long long i) {
        int c = (int)(i % C);
        float gz = before_leaky(g, y, i, slope);
        float hat = (as_float(x[i]) - mean[c]) * inverse[c];
        g = gamma[c] * inverse[c] * (gz - (gbeta[c] + hat * ggamma[c]) * share);  // share: 1 / rows
        return has_before ? as_float(before[i]) + g : g;
    });
}
