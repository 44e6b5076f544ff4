// The length of each sample's gradient, and the gradient of that: what a gradient penalty is made of.
//
// Twins in engine/loops/sample_norms.py: sample_norms, sample_norms_gradient.
// Layout: g (N, size), whatever stood behind the samples. float32.
// Determinism: sums are added up in an order that depends on the size alone; no atomics.

// The sum of `value` over a block of whole warps, the same in every thread.
__device__ float block_sum(float value) {
    __shared__ float parts[32];
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_down_sync(0xffffffffu, value, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < (int)blockDim.x / 32; warp++)
        sum += parts[warp];
    return sum;  // called once a kernel: parts is not written again
}

// norms[n] = |g[n]|. One block (256) a sample.
extern "C" __global__ void sample_norms(const float* g, float* norms, long long size) {
    const float* mine = g + blockIdx.x * size;
    float squares = 0.0f;
    for (long long i = threadIdx.x; i < size; i += blockDim.x)
        squares += mine[i] * mine[i];
    squares = block_sum(squares);
    if (threadIdx.x == 0) norms[blockIdx.x] = sqrtf(squares);
}

// gg = gn[n] * g / norms[n], 0 where the norm is 0. Block (256), one thread a number.
extern "C" __global__ void sample_norms_gradient(const float* gn, const float* g, const float* norms, float* gg,
                                                 long long size, long long count) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    long long n = i / size;
    gg[i] = norms[n] == 0.0f ? 0.0f : gn[n] * g[i] / norms[n];
}
