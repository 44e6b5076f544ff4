// The mean of a function of the discriminator's outputs, which losses are made of, and its gradient.
//
// Twins in engine/loops/losses.py: mean_of, mean_of_gradient.
// Layout: x (count,), one output for each image. float32.
// Determinism: the sum is one block's, in an order that depends on the count alone; no atomics.

#define LINEAR 0
#define RELU 1
#define SOFTPLUS 2
#define SQUARE 3

__device__ float value_of(int function, float z) {
    if (function == RELU) return z < 0.0f ? 0.0f : z;  // nan stays nan
    if (function == SOFTPLUS) return (z < 0.0f ? 0.0f : z) + log1pf(expf(-fabsf(z)));
    if (function == SQUARE) return z * z;
    return z;
}

__device__ float slope_of(int function, float z) {
    if (function == RELU) return z > 0.0f ? 1.0f : 0.0f;
    if (function == SOFTPLUS) return expf(z < 0.0f ? z : 0.0f) / (1.0f + expf(-fabsf(z)));
    if (function == SQUARE) return 2.0f * z;
    return 1.0f;
}

// mean (1,) = the sum of function(sign * x + shift) * share; share: 1 / count. One block (256).
extern "C" __global__ void mean_of(const float* x, float* mean, int function, float sign, float shift, float share,
                                   long long count) {
    __shared__ float sums[256];
    float sum = 0.0f;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) sum += value_of(function, sign * x[i] + shift);
    sums[threadIdx.x] = sum;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *mean = sums[0] * share;
}

// gx = gy * share * the function's slope * sign. gy (1,). Block (256), one thread a number.
extern "C" __global__ void mean_of_gradient(const float* gy, const float* x, float* gx, int function, float sign,
                                            float shift, float share, long long count) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    gx[i] = gy[0] * share * slope_of(function, sign * x[i] + shift) * sign;
}
