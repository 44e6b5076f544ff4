// Power iteration: of one matrix in one block, the simplest of the kernels, to be read first; and what training uses,
// below it: the same for all layers at once and with all of the GPU.
//
// Twins in engine/loops/power_iteration.py: power_iteration, power_iterations, through_iterations.
// Equations: Miyato et al. 2018, Eqs. (18) and (19):
//     v <- W^T u / (|W^T u| + eps),  u <- W v / (|W v| + eps),  n_iter times;  sigma = u^T W v
// Layout: W (rows, cols), rows = out, cols = everything else; u (rows,), v (cols,). float32.
// Determinism: every sum is added up in an order that depends on the shapes alone; no float atomics.

// The sum of `value` over a block of whole warps, at most 32, the same in every thread.
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

// sigma (1,). Grid (1), block (256): any number of whole warps up to 32.
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

// ---- all layers at once --------------------------------------------------------------------------------------------
//
// One iteration is two launches, because all of W^T u must stand before W v can begin:
//     sn_wtu   t = W^T u, not normalized yet, stored in v
//     sn_wv    W t, stored in u_new; the last block of each layer then makes v, u, sigma and 1/sigma of it
// Which layer a block works on, and where its arrays lie, is in a struct that is passed by value.

struct Layers {
    int count;
    int offset;  // the place of the first layer in sigmas and inverses
    int first_strip[33];  // blocks of sn_wtu
    int first_row[33];  // blocks of sn_wv
    int rows[32];
    int cols[32];
    const float* W[32];
    const float* u[32];
    float* v[32];
    float* u_new[32];
    float* kept[32];  // where u_new is written, too; null: nowhere
};

struct Through {
    int count;
    int offset;  // the place of the first layer in sigmas
    int rows[32];
    int cols[32];
    const float* u_old[32];
    const float* u[32];
    const float* v[32];
    float* w[32];
    float* copy[32];  // of u_old
    float* kept[32];  // where u is written, too, and u_old may lie; null: nowhere
};

// True in every thread of the block that comes here last of `blocks`; it sees all that the others' thread 0 wrote
// before. (What the other threads read before lies in front of block_sum's barriers.)
__device__ bool is_last_block(int* ticket, int blocks) {
    __shared__ int last;
    if (threadIdx.x == 0) {
        __threadfence();  // release: what this block wrote is visible before its ticket is
        last = atomicAdd(ticket, 1) == blocks - 1;
        __threadfence();  // acquire: nothing below is read before the ticket was drawn
        if (last) *ticket = 0;  // for the next launch
    }
    __syncthreads();
    return last;
}

// 1 / sigma; a zero W has sigma 0 and gives 0, so that W_bar and its gradient are zero, not nan.
__device__ float inverse_of(float sigma) {
    return sigma == 0.0f ? 0.0f : 1.0f / sigma;
}

// v = W^T u of each layer, not normalized. Block (32, 8): 32 columns, rows shared out to 8; ceil(cols / 32) blocks a
// layer.
extern "C" __global__ void sn_wtu(Layers layers) {
    __shared__ float sums[8][32];
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first_strip[l + 1]) l++;
    int rows = layers.rows[l];
    int cols = layers.cols[l];
    const float* W = layers.W[l];
    const float* u = layers.u[l];
    int c = (block - layers.first_strip[l]) * 32 + threadIdx.x;

    float sum = 0.0f;
    if (c < cols)
        for (int r = threadIdx.y; r < rows; r += 8)
            sum += W[(long long)r * cols + c] * u[r];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < cols) {
        for (int y = 1; y < 8; y++)
            sum += sums[y][threadIdx.x];
        layers.v[l][c] = sum;
    }
}

// u_new = W v, one row a block; the last block of a layer normalizes. Block (128): any number of whole warps.
// tickets: one int a layer, 0 before and after.
extern "C" __global__ void sn_wv(Layers layers, float* sigmas, float* inverses, int* tickets, float eps) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first_row[l + 1]) l++;
    int rows = layers.rows[l];
    int cols = layers.cols[l];
    int row = block - layers.first_row[l];
    const float* W = layers.W[l] + (long long)row * cols;
    float* v = layers.v[l];
    float* u = layers.u_new[l];

    float sum = 0.0f;
    if (cols % 4 == 0 && (unsigned long long)W % 16 == 0 && (unsigned long long)v % 16 == 0) {
        const float4* W4 = (const float4*)W;
        const float4* v4 = (const float4*)v;
        for (int c = threadIdx.x; c < cols / 4; c += blockDim.x) {
            float4 a = W4[c];
            float4 b = v4[c];
            sum += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
        }
    } else {
        for (int c = threadIdx.x; c < cols; c += blockDim.x)
            sum += W[c] * v[c];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) u[row] = sum;

    if (is_last_block(tickets + l, rows)) {  // the same in all threads: the barriers inside are met by all
        float squares = 0.0f;
        for (int c = threadIdx.x; c < cols; c += blockDim.x)
            squares += v[c] * v[c];
        float v_scale = 1.0f / (sqrtf(block_sum(squares)) + eps);

        squares = 0.0f;  // of W v with the normalized v
        for (int r = threadIdx.x; r < rows; r += blockDim.x) {
            float Wv = u[r] * v_scale;
            squares += Wv * Wv;
        }
        squares = block_sum(squares);
        float u_scale = 1.0f / (sqrtf(squares) + eps);

        for (int c = threadIdx.x; c < cols; c += blockDim.x)
            v[c] *= v_scale;
        float* kept = layers.kept[l];
        for (int r = threadIdx.x; r < rows; r += blockDim.x) {
            u[r] = u[r] * v_scale * u_scale;
            if (kept) kept[r] = u[r];
        }
        if (threadIdx.x == 0) {
            float sigma = squares * u_scale;  // u^T W v, u = W v * u_scale
            sigmas[layers.offset + l] = sigma;
            inverses[layers.offset + l] = inverse_of(sigma);
        }
    }
}

// The gradient of sigma with respect to t = W^T u_old, through v = t / |t|: w = (W^T u - sigma v) / |t|. w is W^T u
// before. |t| = v . t = u_old . W v = sigma u_old . u. A block (256) a layer: any number of whole warps up to 32.
extern "C" __global__ void sn_through(Through layers, const float* sigmas) {
    int l = blockIdx.x;
    const float* u_old = layers.u_old[l];
    const float* u = layers.u[l];
    const float* v = layers.v[l];
    float* w = layers.w[l];
    float* copy = layers.copy[l];
    float* kept = layers.kept[l];
    float sigma = sigmas[layers.offset + l];

    float dot = 0.0f;
    for (int r = threadIdx.x; r < layers.rows[l]; r += blockDim.x) {
        dot += u_old[r] * u[r];
        copy[r] = u_old[r];
        if (kept) kept[r] = u[r];
    }
    float inverse = inverse_of(sigma * block_sum(dot));
    for (int c = threadIdx.x; c < layers.cols[l]; c += blockDim.x)
        w[c] = (w[c] - sigma * v[c]) * inverse;
}
