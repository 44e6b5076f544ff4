// Normalized weights W * inverse and their gradient, of all layers at once. What finds sigma is power_iteration.cu.
//
// Twins in engine/loops/spectral_norm.py: transposes, factors, spectral_gradients, scale_weights.
// Equations: Miyato et al. 2018, Eq. (12); for two matrices of a convolution Lin et al. 2021, section 5.1.
//     W_bar = W * inverse,  inverse = gamma * scale / sigma,  sigma = <W, S>,
//     S = u v^T, or the mean of this and of the same for W's other matrix, written where W has these numbers.
//     Where the gradient goes through the power iteration, each of the two has u_old w^T besides (sn_through).
// Layout: W (rows, cols), rows = out, cols = everything else; u (rows,), v (cols,). Its other matrix is (inner, size /
//     inner), inner = in: W has its number (c, r) at r * inner + c; u_in (inner,), v_in (size / inner,). float32.
// Tables: which layer a block works on, and where its arrays lie, is in a struct that is passed by value.
//     Layer l has the blocks first[l] .. first[l + 1] - 1 of a launch.
// Determinism: every sum is added up in an order that depends on the shapes alone; no float atomics.
//
// The gradient is two launches: sn_dots (<G, W>) and sn_correct (the rest). sn_scale is W * inverse. What only some
// normalizations need has kernels of its own: sn_transpose makes other matrices, sn_factors the inverses.

struct Transposes {
    int count;
    int first[33];
    int rows[32];
    int cols[32];
    const float* W[32];
    float* W_t[32];
};

struct Factors {
    int count;
    int offset;
    int second[32];  // the place of the second matrix's sigma; 0: the layer has one matrix
    float scale[32];
    const float* gamma[32];  // one number; null: 1
};

struct Gradients {
    int count;
    int offset;
    int first[33];
    int cols[32];
    int inner[32];  // 0: the layer has one matrix
    float scale[32];
    long long size[32];
    const float* G[32];
    const float* W[32];
    const float* u[32];
    const float* v[32];
    const float* u_in[32];
    const float* v_in[32];
    const float* u_old[32];  // null: the gradient does not go through the iteration
    const float* w[32];
    const float* u_in_old[32];
    const float* w_in[32];
    float* dW[32];
    const float* inverses;  // of all layers; null: 1 / sigma
    float* dgammas;  // of all layers; null: nobody asks
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

// dW = (G - <G, W> / sigma * S) * inverse, dgamma = <G, W> * scale / sigma. Block (256), the grid of sn_dots; every
// block adds its layer's parts.
extern "C" __global__ void sn_correct(Gradients layers, const float* parts, const float* sigmas) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    long long step = (long long)(layers.first[l + 1] - layers.first[l]) * blockDim.x;
    int cols = layers.cols[l];
    int inner = layers.inner[l];
    const float* G = layers.G[l];
    const float* u = layers.u[l];
    const float* v = layers.v[l];
    const float* u_in = layers.u_in[l];
    const float* v_in = layers.v_in[l];
    const float* u_old = layers.u_old[l];
    const float* w = layers.w[l];
    const float* u_in_old = layers.u_in_old[l];
    const float* w_in = layers.w_in[l];
    float* dW = layers.dW[l];

    float dot = 0.0f;
    for (int part = layers.first[l] + threadIdx.x; part < layers.first[l + 1]; part += blockDim.x)
        dot += parts[part];
    dot = block_sum(dot);
    float inverse = inverse_of(sigmas[layers.offset + l]);
    float slant = dot * inverse;
    if (layers.dgammas && block == layers.first[l] && threadIdx.x == 0)
        layers.dgammas[layers.offset + l] = slant * layers.scale[l];
    if (layers.inverses) inverse = layers.inverses[layers.offset + l];
    for (long long i = (long long)(block - layers.first[l]) * blockDim.x + threadIdx.x; i < layers.size[l]; i += step) {
        int row = i / cols;
        int col = i % cols;
        float S = u[row] * v[col];
        if (u_old) S += u_old[row] * w[col];
        if (inner) {
            row = i % inner;
            col = i / inner;
            S += u_in[row] * v_in[col];
            if (u_old) S += u_in_old[row] * w_in[col];
            S *= 0.5f;
        }
        dW[i] = (G[i] - slant * S) * inverse;
    }
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

// W_t = W^T of each layer. Block (32, 8): a tile of 32 x 32 through shared memory, so that neighbouring threads both
// read and write neighbouring numbers.
extern "C" __global__ void sn_transpose(Transposes layers) {
    __shared__ float tile[32][33];  // a column more: threads that read a column meet 32 banks
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    int rows = layers.rows[l];
    int cols = layers.cols[l];
    int wide = (cols + 31) / 32;
    int r0 = (block - layers.first[l]) / wide * 32;
    int c0 = (block - layers.first[l]) % wide * 32;
    for (int y = threadIdx.y; y < 32; y += 8)
        if (r0 + y < rows && c0 + threadIdx.x < cols)
            tile[y][threadIdx.x] = layers.W[l][(long long)(r0 + y) * cols + c0 + threadIdx.x];
    __syncthreads();
    for (int y = threadIdx.y; y < 32; y += 8)
        if (c0 + y < cols && r0 + threadIdx.x < rows)
            layers.W_t[l][(long long)(c0 + y) * rows + r0 + threadIdx.x] = tile[threadIdx.x][y];
}

// sigmas = the mean of the layer's one or two of_matrices, inverses = gamma * scale / sigma. One block (32): a thread a
// layer.
extern "C" __global__ void sn_factors(Factors layers, const float* of_matrices, float* sigmas, float* inverses) {
    int l = threadIdx.x;
    if (l >= layers.count) return;
    float sigma = of_matrices[layers.offset + l];
    if (layers.second[l]) sigma = 0.5f * (sigma + of_matrices[layers.second[l]]);
    float factor = layers.scale[l];
    if (layers.gamma[l]) factor *= layers.gamma[l][0];
    sigmas[layers.offset + l] = sigma;
    inverses[layers.offset + l] = factor * inverse_of(sigma);
}
