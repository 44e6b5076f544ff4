// Batch normalization with a gain and a shift for every class, with leaky ReLU; and the gradient. The moments, which are
// the whole batch's, are those of batch_norm.cu.
//
// Twins in engine/loops/conditional_norm.py: normalize_by_label, conditional_gradient.
// Layout: x (N, pixels, C), whatever stood between; labels (N,) long long; gamma, beta (classes, C). x, y, gy, gx and
//     before are bfloat16 if HALF is defined, else float32, and so is all else but labels. All is computed in float32 and
//     rounded once.
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

// Leaky ReLU; nan stays nan.
__device__ float leaky(float z, float slope) {
    return z < 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z;
}

// The gradient before the activation, of gy behind it; slope 1: there is none, and y is not read.
__device__ float before_leaky(float gy, const number* y, long long i, float slope) {
    return slope == 1.0f || as_float(y[i]) > 0.0f ? gy : gy * slope;
}

// The row of a table that a label means: none lies outside, one from its end counts on, as in CuPy's own look-ups.
__device__ long long row_of(long long label, int classes) {
    if (label >= 0 && label < classes) return label;
    label %= classes;
    return label < 0 ? label + classes : label;
}

// y = leaky(gamma * hat + beta), gamma and beta those of the sample's class, hat = (x - mean) * inverse. mean, inverse
// (C,); size: numbers of a sample. Block (256), EACH numbers a thread.
extern "C" __global__ void normalize_by_label(const number* x, const float* mean, const float* inverse,
                                              const float* gamma, const float* beta, const long long* labels, number* y,
                                              float slope, int classes, int C, long long size, long long count) {
    each(x, y, count, [&](float value, long long i) {
        int c = (int)(i % C);
        long long at = row_of(labels[i / size], classes) * C + c;
        return leaky((value - mean[c]) * inverse[c] * gamma[at] + beta[at], slope);
    });
}

// sums (N, C, 2): of each sample and channel the sum of gz, and that of gz * hat, gz being the gradient before the
// activation. Block (bx, by), bx * by = 256, by a power of two; grid (N, ceil(C / bx)).
extern "C" __global__ void label_sums(const number* gy, const number* x, const number* y, const float* mean,
                                      const float* inverse, float2* sums, float slope, int C, long long pixels) {
    __shared__ float2 shared[256];
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    float2 sum = {0.0f, 0.0f};
    if (c < C)
        for (long long pixel = threadIdx.y; pixel < pixels; pixel += blockDim.y) {
            long long i = (blockIdx.x * pixels + pixel) * C + c;
            float gz = before_leaky(as_float(gy[i]), y, i, slope);
            sum.x += gz;
            sum.y += gz * (as_float(x[i]) - mean[c]);
        }
    sum = sum_over_y(sum, shared);
    if (threadIdx.y == 0 && c < C) {
        sum.y *= inverse[c];
        sums[(long long)blockIdx.x * C + c] = sum;
    }
}

// gbeta, ggamma (classes, C): the sums (N, C, 2) of each class' samples, 0 for a class that has none; and means (C, 2):
// the sums of all samples, each times its class' gamma, times share. A thread for each number of a class, and C more;
// block (256).
extern "C" __global__ void class_sums(const float2* sums, const float* gamma, const long long* labels, float* ggamma,
                                      float* gbeta, float2* means, float share, int classes, int C, int N) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    long long row = i / C;
    int c = (int)(i % C);
    float2 sum = {0.0f, 0.0f};
    if (row < classes) {
        for (int n = 0; n < N; n++)
            if (row_of(labels[n], classes) == row) {
                sum.x += sums[(long long)n * C + c].x;
                sum.y += sums[(long long)n * C + c].y;
            }
        gbeta[i] = sum.x;
        ggamma[i] = sum.y;
    } else if (row == classes) {
        for (int n = 0; n < N; n++) {
            float factor = gamma[row_of(labels[n], classes) * C + c];
            sum.x += factor * sums[(long long)n * C + c].x;
            sum.y += factor * sums[(long long)n * C + c].y;
        }
        means[c].x = sum.x * share;
        means[c].y = sum.y * share;
    }
}

// gx = inverse * (gamma * gz - the mean of gamma * gz - hat * the mean of gamma * gz * hat), with `means` as class_sums
// has made them; plus `before` if it is there. Block (256), EACH numbers a thread.
extern "C" __global__ void conditional_gradient(const number* gy, const number* x, const number* y, const float* gamma,
                                                const float* mean, const float* inverse, const long long* labels,
                                                const float2* means, const number* before, number* gx, int has_before,
                                                float slope, int classes, int C, long long size, long long count) {
    each(gy, gx, count, [&](float g, long long i) {
        int c = (int)(i % C);
        float gz = before_leaky(g, y, i, slope);
        float hat = (as_float(x[i]) - mean[c]) * inverse[c];
        g = inverse[c] * (gamma[row_of(labels[i / size], classes) * C + c] * gz - (means[c].x + hat * means[c].y));
        return has_before ? as_float(before[i]) + g : g;
    });
}
