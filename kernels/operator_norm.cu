// Power iteration with a convolution itself, all that is no convolution of it, for all layers at once: what sn-conv
// divides by, and the gradient of the divided weights.
//
// Twins in engine/loops/operator_norm.py: operator_norms, operator_gradients.
// Equations: A is the layer's convolution, v an image; Miyato et al. 2018's power iteration and Eq. (12) for A.
//     raw = A v,  back = A^T raw, both as the convolutions gave them;  a = |raw| + eps,  b = |back|
//     v <- back * factor,  factor = 1 / (b + a eps);  sigma = b^2 / (a (b + a eps));  inverse = scale / sigma
//     dW = (G - <G, W> / b^2 * S) * inverse,  S the weight gradient of A at the input back and the output gradient raw:
//     <W, S> = <A back, raw> = b^2, so that S / b^2 is the derivative of sigma divided by sigma.
// Layout: raw, back, v, W, G, S of any shape, which nothing here depends on. float32: b^2 is sigma^4, so sigma may be
//     1e-9 to 1e9; below it counts as 0.
// Tables: which layer a block works on, and where its arrays lie, is in a struct that is passed by value.
//     Layer l has the blocks first[l] .. first[l + 1] - 1 of a launch.
// Determinism: every sum is added up in an order that depends on the shapes alone; no float atomics.
//
// An iteration is operator_norms and, where v is wanted, sn_scale (spectral_norm.cu); the gradient is operator_dots
// (<G, W>) and operator_correct.

struct Operators {
    int count;
    int offset;  // the place of the first layer in what is an array of one number for each
    int first[33];
    long long raw_size[32];
    long long back_size[32];
    const float* raw[32];
    const float* back[32];
};

struct Slopes {
    int count;
    int offset;
    int first[33];
    long long size[32];
    const float* G[32];
    const float* W[32];
    const float* S[32];
    float* dW[32];
};

// The sum of `value` over a block of whole warps, at most 32, the same in every thread.
__device__ float block_sum(float value) {
    __shared__ float parts[32];
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

// True in every thread of the block that comes here last of `blocks`; it sees all that the others' thread 0 wrote
// before.
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

// A block's share of |x|^2, the same in every thread: the blocks of a layer take its elements in turn.
__device__ float share_of_square(const float* x, long long size, int block, int blocks) {
    float sum = 0.0f;
    for (long long i = (long long)block * blockDim.x + threadIdx.x; i < size; i += (long long)blocks * blockDim.x)
        sum += x[i] * x[i];
    return block_sum(sum);
}

// squares = b^2, inverses and factors of each layer. Block (256); the last block of a layer adds the parts of all, of
// which there are at most 256, one a thread. parts: one a block. tickets: one int a layer, 0 before and after.
extern "C" __global__ void operator_norms(Operators layers, float2* parts, float* squares, float* inverses,
                                          float* factors, int* tickets, float eps, float scale) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    int first = layers.first[l];
    int blocks = layers.first[l + 1] - first;
    float raw = share_of_square(layers.raw[l], layers.raw_size[l], block - first, blocks);
    float back = share_of_square(layers.back[l], layers.back_size[l], block - first, blocks);
    if (threadIdx.x == 0) parts[block] = make_float2(raw, back);

    if (is_last_block(tickets + l, blocks)) {  // the same in all threads: the barriers inside are met by all
        bool mine = (int)threadIdx.x < blocks;
        float raws = block_sum(mine ? parts[first + threadIdx.x].x : 0.0f);
        float square = block_sum(mine ? parts[first + threadIdx.x].y : 0.0f);
        if (threadIdx.x == 0) {
            float a = sqrtf(raws) + eps;
            float length = sqrtf(square) + a * eps;
            squares[layers.offset + l] = square;
            inverses[layers.offset + l] = square == 0.0f ? 0.0f : scale * a * length / square;
            factors[layers.offset + l] = square == 0.0f ? 0.0f : 1.0f / length;
        }
    }
}

// parts[block] = the block's share of <G, W>. Block (256); the blocks of a layer take its elements in turn.
extern "C" __global__ void operator_dots(Slopes layers, float* parts) {
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

// dW = (G - <G, W> / b^2 * S) * inverse. Block (256), the grid of operator_dots: every block adds its layer's parts, of
// which there are at most 256, one a thread.
extern "C" __global__ void operator_correct(Slopes layers, const float* parts, const float* squares,
                                            const float* inverses) {
    int block = blockIdx.x;
    int l = 0;
    while (block >= layers.first[l + 1]) l++;
    int first = layers.first[l];
    int blocks = layers.first[l + 1] - first;
    float inner = block_sum((int)threadIdx.x < blocks ? parts[first + threadIdx.x] : 0.0f);
    float square = squares[layers.offset + l];
    float slant = square == 0.0f ? 0.0f : inner / square;
    float inverse = inverses[layers.offset + l];
    const float* G = layers.G[l];
    const float* S = layers.S[l];
    float* dW = layers.dW[l];
    long long step = (long long)blocks * blockDim.x;
    for (long long i = (long long)(block - first) * blockDim.x + threadIdx.x; i < layers.size[l]; i += step)
        dW[i] = (G[i] - slant * S[i]) * inverse;
}
