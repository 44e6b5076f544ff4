// W / sigma and its gradient, of all layers at once. What finds sigma is power_iteration.cu.
//
// Twins in engine/loops/spectral_norm.py: spectral_gradients, scale_weights.
// Equation: Miyato et al. 2018, Eq. (12). W_bar = W / sigma, sigma = u^T W v.
// Layout: W (rows, cols), rows = out, cols = everything else; u (rows,), v (cols,). float32.
// Tables: which layer a block works on, and where its arrays lie, is in a struct that is passed by value.
//     Layer l has the blocks first[l] .. first[l + 1] - 1 of a launch.
// Determinism: every sum is added up in an order that depends on the shapes alone; no float atomics.
//
// The gradient is two launches: sn_dots (<G, W>) and sn_correct (the rank-1 term). sn_scale is W / sigma.

struct Gradients {
    int count;
    int offset;
    int first[33];
    int cols[32];
    long long size[32];
    const float* G[32];
    const float* W[32];
    const float* u[32];
    const float* v[32];
    float* dW[32];
};

struct Scales {
    int count;
    int offset;
    int first[33];
    long long size[32];
    const float* W[32];
    float* W_bar[32];
};

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

// 1 / sigma; a zero W has sigma 0 and gives 0, so that W_bar and its gradient are zero, not nan.
__device__ float inverse_of(float sigma) {
    return sigma == 0.0f ? 0.0f : 1.0f / sigma;
}

// parts[block] = the block's share of <G, W>. Block (256); the blocks of a layer take its elements in turn.
extern "C" __global__ void sn_dots(Gradients layers, float* parts) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    long long step = (long long)(layers.first[l + 1] - layers.first[l]) * blockDim.x;
    const float* G = layers.G[l];
    const float* W = layers.W[l];

    float sum = 0.0f;
    for (long long i = (long long)(block - layers.first[l]) * blockDim.x + threadIdx.x; i < layers.size[l]; i += step)
        sum += G[i] * W[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[block] = sum;
}

// dW = (G - <G, W> / sigma * u v^T) / sigma. Block (256), the grid of sn_dots; every block adds its layer's parts.
extern "C" __global__ void sn_correct(Gradients layers, const float* parts, const float* sigmas) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    long long step = (long long)(layers.first[l + 1] - layers.first[l]) * blockDim.x;
    int cols = layers.cols[l];
    const float* G = layers.G[l];
    const float* u = layers.u[l];
    const float* v = layers.v[l];
    float* dW = layers.dW[l];

    float inner = 0.0f;
    for (int part = layers.first[l] + threadIdx.x; part < layers.first[l + 1]; part += blockDim.x)
        inner += parts[part];
    inner = block_sum(inner);
    float inverse = inverse_of(sigmas[layers.offset + l]);
    float slant = inner * inverse;
    for (long long i = (long long)(block - layers.first[l]) * blockDim.x + threadIdx.x; i < layers.size[l]; i += step)
        dW[i] = (G[i] - slant * u[i / cols] * v[i % cols]) * inverse;
}

// W_bar = W * inverses[layer]. Block (256); the blocks of a layer take its elements in turn.
extern "C" __global__ void sn_scale(Scales layers, const float* inverses) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    long long step = (long long)(layers.first[l + 1] - layers.first[l]) * blockDim.x;
    const float* W = layers.W[l];
    float* W_bar = layers.W_bar[l];
    float inverse = inverses[layers.offset + l];
    for (long long i = (long long)(block - layers.first[l]) * blockDim.x + threadIdx.x; i < layers.size[l]; i += step)
        W_bar[i] = W[i] * inverse;
}
