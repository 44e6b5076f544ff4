// Power iteration of one matrix in one block: the simplest of the kernels, to be read first.
// What training uses is spectral_norm.cu, which does the same for all layers and with all of the GPU.
//
// Twin: fused.power_iteration. Equations: Miyato et al. 2018, Eqs. (18) and (19):
//     v <- W^T u / (|W^T u| + eps),  u <- W v / (|W v| + eps),  n_iter times;  sigma = u^T W v
// Layout: W (rows, cols), u (rows,), v (cols,), sigma (1,). float32.
// Grid (1), block (256), any number of whole warps up to 32.
// Determinism: every sum is added up in an order that depends on the shapes alone; no atomics.

// The sum of `value` over the threads of the block, the same in every thread.
__device__ float block_sum(float value) {
    __shared__ float parts[32];
    // within a warp: lane i adds the value of lane i + 16, then of lane i + 8, ...; lane 0 ends with the sum
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_down_sync(0xffffffffu, value, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();  // the parts of all warps are there
    float sum = 0.0f;
    for (int warp = 0; warp < (int)blockDim.x / 32; warp++)
        sum += parts[warp];
    __syncthreads();  // all threads have read; parts may be written again
    return sum;
}

extern "C" __global__ void power_iteration(const float* W, const float* u_old, float* u, float* v, float* sigma,
                                           int rows, int cols, int n_iter, float eps) {
    for (int r = threadIdx.x; r < rows; r += blockDim.x)
        u[r] = u_old[r];
    __syncthreads();  // all of u is there
    for (int i = 0; i < n_iter; i++) {
        // v = W^T u: one thread a column, so that neighbouring threads read neighbouring numbers
        float squares = 0.0f;
        for (int c = threadIdx.x; c < cols; c += blockDim.x) {
            float sum = 0.0f;
            for (int r = 0; r < rows; r++)
                sum += W[(long long)r * cols + c] * u[r];
            v[c] = sum;
            squares += sum * sum;
        }
        float length = sqrtf(block_sum(squares)) + eps;
        for (int c = threadIdx.x; c < cols; c += blockDim.x)
            v[c] /= length;

        // u = W v: all threads a row, for the same reason. Each reads those numbers of v that it wrote itself, and all
        // have read u before they met in block_sum: no barrier is needed here.
        squares = 0.0f;
        for (int r = 0; r < rows; r++) {
            float sum = 0.0f;
            for (int c = threadIdx.x; c < cols; c += blockDim.x)
                sum += W[(long long)r * cols + c] * v[c];
            sum = block_sum(sum);
            if (threadIdx.x == 0) u[r] = sum;
            squares += sum * sum;
        }
        __syncthreads();  // all of u is there
        length = sqrtf(squares) + eps;
        for (int r = threadIdx.x; r < rows; r += blockDim.x)
            u[r] /= length;
        __syncthreads();  // the next iteration reads u
        if (threadIdx.x == 0) *sigma = squares / length;  // u^T (W v), u = W v / length
    }
}
