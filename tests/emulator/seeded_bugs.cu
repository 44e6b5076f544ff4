// One mistake per kernel. BUG(x) is the mistake and FIX(x) what belongs there: compiled with -DMENDED, every kernel is
// right and must pass in silence. The line that a report must name ends in "//! " and the kind that it must give.
//
// Launched with 2 blocks of 64 threads. a: 256 numbers; b: 256, not initialized; ticket: 1, zero; n: 64.
#ifdef MENDED
#define BUG(...)
#define FIX(...) __VA_ARGS__
#else
#define BUG(...) __VA_ARGS__
#define FIX(...)
#endif

// ---- races --------------------------------------------------------------------------------------------------------

extern "C" __global__ void missing_barrier(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    const int t = threadIdx.x;
    s[t] = a[t];
    FIX(__syncthreads();)
    b[blockIdx.x * n + t] = s[n - 1 - t];  //! race in shared memory
}

extern "C" __global__ void overwritten_too_early(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    const int t = threadIdx.x;
    float sum = 0.0f;
    for (int i = 0; i < 3; i++) {
        s[t] = a[t] + i;  //! race in shared memory
        __syncthreads();
        sum += s[n - 1 - t];
        FIX(__syncthreads();)
    }
    b[blockIdx.x * n + t] = sum;
}

extern "C" __global__ void read_by_all_then_overwritten(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s;
    if (threadIdx.x == 0) s = a[0];
    __syncthreads();
    b[blockIdx.x * n + threadIdx.x] = s;
    FIX(__syncthreads();)
    if (threadIdx.x == 0) s = 1.0f;  //! race in shared memory
}

extern "C" __global__ void missing_syncwarp(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    const int t = threadIdx.x;
    s[t] = a[t];
    FIX(__syncwarp();)
    b[blockIdx.x * n + t] = s[t ^ 1];  //! race in shared memory
}

extern "C" __global__ void shuffle_orders_no_memory(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    const int t = threadIdx.x;
    s[t] = a[t];
    const float other = __shfl_xor_sync(0xffffffffu, a[t], 1);
    FIX(__syncwarp();)
    b[blockIdx.x * n + t] = other - s[t ^ 1];  //! race in shared memory
}

extern "C" __global__ void syncwarp_across_warps(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    const int t = threadIdx.x;
    s[t] = a[t];
    BUG(__syncwarp();)
    FIX(__syncthreads();)
    b[blockIdx.x * n + t] = s[t ^ 32];  //! race in shared memory
}

extern "C" __global__ void shared_sum_without_atomic(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s;
    if (threadIdx.x == 0) s = 0.0f;
    __syncthreads();
    BUG(s += a[threadIdx.x];)  //! race in shared memory
    FIX(atomicAdd(&s, a[threadIdx.x]);)
}

extern "C" __global__ void global_exchange(float* a, float* b, unsigned int* ticket, int n) {
    const int i = blockIdx.x * n;
    b[i + threadIdx.x] = a[i + threadIdx.x];
    FIX(__syncthreads();)
    a[i + threadIdx.x] = b[i + n - 1 - threadIdx.x];  //! race in global memory
}

extern "C" __global__ void blocks_write_the_same(float* a, float* b, unsigned int* ticket, int n) {
    const int i = FIX(blockIdx.x * n +) threadIdx.x;
    b[i] = a[i];  //! race between blocks
}

extern "C" __global__ void blocks_read_what_others_write(float* a, float* b, unsigned int* ticket, int n) {
    const int i = blockIdx.x * n + threadIdx.x;
    a[i] = a[(i BUG(+ n)) % (2 * n)];  //! race between blocks
}

extern "C" __global__ void overwrites_what_others_read(float* a, float* b, unsigned int* ticket, int n) {
    const float first = a[0];
    __syncthreads();
    if (blockIdx.x == 1 && threadIdx.x == 0) FIX(b) BUG(a)[0] = first + 1.0f;  //! race between blocks
}

extern "C" __global__ void atomic_and_plain(float* a, float* b, unsigned int* ticket, int n) {
    atomicAdd(ticket, 1u);
    if (threadIdx.x == 5) BUG(*ticket = 0) FIX(atomicExch(ticket, 0u));  //! race in global memory
}

// ---- a ticket: the block that draws the last one sums what all have written ----------------------------------------

extern "C" __global__ void missing_release(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        b[blockIdx.x] = a[blockIdx.x];
        FIX(__threadfence();)
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last && threadIdx.x < gridDim.x) a[255 - threadIdx.x] = b[threadIdx.x];  //! race between blocks
}

extern "C" __global__ void missing_acquire(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        b[blockIdx.x] = a[blockIdx.x];
        __threadfence();
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        FIX(__threadfence();)
    }
    __syncthreads();
    if (last && threadIdx.x < gridDim.x) a[255 - threadIdx.x] = b[threadIdx.x];  //! race between blocks
}

extern "C" __global__ void ticket_drawn_before_all_have_written(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ bool last;
    b[blockIdx.x * n + threadIdx.x] = a[threadIdx.x];
    __threadfence();
    FIX(__syncthreads();)
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    const int i = threadIdx.x + n * (blockIdx.x == 0);
    if (last) a[192 + threadIdx.x] = b[i];  //! race between blocks
}

extern "C" __global__ void plain_ticket(float* a, float* b, unsigned int* ticket, int n) {
    if (threadIdx.x == 0) {
        __threadfence();
        BUG(*ticket += 1;)  //! race between blocks
        FIX(atomicAdd(ticket, 1u);)
        __threadfence();
    }
}

// ---- addresses ----------------------------------------------------------------------------------------------------

extern "C" __global__ void read_behind(float* a, float* b, unsigned int* ticket, int n) {
    const float last = a[threadIdx.x * 4 + FIX(3) BUG(4)];  //! out of bounds
    b[blockIdx.x * n + threadIdx.x] = last;
}

extern "C" __global__ void write_behind(float* a, float* b, unsigned int* ticket, int n) {
    if (blockIdx.x == 1) b[threadIdx.x * 4 + FIX(3) BUG(4)] = 1.0f;  //! out of bounds
}

extern "C" __global__ void write_before(float* a, float* b, unsigned int* ticket, int n) {
    const int i = blockIdx.x * n + threadIdx.x;
    b[i BUG(- 1)] = 1.0f;  //! out of bounds
}

extern "C" __global__ void a_row_too_far(float* a, float* b, unsigned int* ticket, int n) {
    b[(blockIdx.x BUG(+ 3)) * n + threadIdx.x] = 1.0f;  //! out of bounds
}

extern "C" __global__ void atomic_behind(float* a, float* b, unsigned int* ticket, int n) {
    atomicAdd(&ticket[threadIdx.x BUG(/ 63) FIX(/ 64)], 1u);  //! out of bounds
}

extern "C" __global__ void vector_over_the_end(float* a, float* b, unsigned int* ticket, int n) {
    const float4* rows = (const float4*)a;
    const float4 row = rows[n BUG(+ 0) FIX(- 1)];  //! out of bounds
    b[blockIdx.x * n + threadIdx.x] = row.x + row.w;
}

extern "C" __global__ void null_pointer(float* a, float* b, unsigned int* ticket, int n) {
    float* nothing = FIX(a) BUG(nullptr);
    b[blockIdx.x * n + threadIdx.x] = nothing[threadIdx.x];  //! out of bounds
}

extern "C" __global__ void shared_behind(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    __shared__ float other[64];
    float* p = s;
    other[threadIdx.x] = 0.0f;
    p[threadIdx.x BUG(+ 1)] = a[threadIdx.x];  //! out of bounds
}

extern "C" __global__ void shared_next_row(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[2][33];
    const int t = threadIdx.x;
    s[FIX(t / 32) BUG(0)][FIX(t % 32) BUG(t)] = a[t];  //! out of bounds
}

extern "C" __global__ void dynamic_shared_behind(float* a, float* b, unsigned int* ticket, int n) {
    extern __shared__ float s[];
    s[threadIdx.x BUG(+ 1)] = a[threadIdx.x];  //! out of bounds
}

extern "C" __global__ void registers_behind(float* a, float* b, unsigned int* ticket, int n) {
    float r[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    b[blockIdx.x * n + threadIdx.x] = r[(n / 16) FIX(- 1)];  //! out of bounds
}

extern "C" __global__ void misaligned_vector(float* a, float* b, unsigned int* ticket, int n) {
    const float4 row = *(const float4*)(a + 4 * threadIdx.x BUG(+ 1));  //! misaligned
    b[blockIdx.x * n + threadIdx.x] = row.x;
}

// ---- values -------------------------------------------------------------------------------------------------------

extern "C" __global__ void unset_shared(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    if (threadIdx.x < BUG(63) FIX(64)) s[threadIdx.x] = a[threadIdx.x];
    __syncthreads();
    b[blockIdx.x * n + threadIdx.x] = s[threadIdx.x];  //! uninitialized memory
}

extern "C" __global__ void shared_of_the_block_before(float* a, float* b, unsigned int* ticket, int n) {
    __shared__ float s[64];
    FIX(s[threadIdx.x] = 0.0f;)
    BUG(if (blockIdx.x == 0) s[threadIdx.x] = 0.0f;)
    b[blockIdx.x * n + threadIdx.x] = s[threadIdx.x];  //! uninitialized memory
}

extern "C" __global__ void unset_global(float* a, float* b, unsigned int* ticket, int n) {
    const int i = blockIdx.x * n + threadIdx.x;
    b[i] = a[i] BUG(+ b[i]);  //! uninitialized memory
}

extern "C" __global__ void product_overflows(float* a, float* b, unsigned int* ticket, int n) {
    const long long i = FIX((long long)) n * 100000000;  //! integer overflow
    if (i < n) b[threadIdx.x] = 0.0f;
}

extern "C" __global__ void sum_overflows(float* a, float* b, unsigned int* ticket, int n) {
    const long long i = 2147483600 FIX(+ 0ll) + n;  //! integer overflow
    if (i < n) b[threadIdx.x] = 0.0f;
}

extern "C" __global__ void shift_too_far(float* a, float* b, unsigned int* ticket, int n) {
    const int bit = 1 << (n FIX(- 40));  //! shift out of range
    if (bit < 0) b[threadIdx.x] = 0.0f;
}

extern "C" __global__ void divided_by_zero(float* a, float* b, unsigned int* ticket, int n) {
    const int share = 256 / (n - 64 FIX(+ 1));  //! division
    if (share < 0) b[threadIdx.x] = 0.0f;
}

// ---- barriers and warps -------------------------------------------------------------------------------------------

extern "C" __global__ void two_barriers_for_one(float* a, float* b, unsigned int* ticket, int n) {
    if (threadIdx.x < 32) {
        BUG(__syncthreads();)
    } else {
        BUG(__syncthreads();)  //! divergent barrier
    }
    FIX(__syncthreads();)
}

extern "C" __global__ void barrier_for_some(float* a, float* b, unsigned int* ticket, int n) {
    BUG(if (threadIdx.x < 63)) __syncthreads();  //! barrier not reached by all
}

extern "C" __global__ void return_before_barrier(float* a, float* b, unsigned int* ticket, int n) {
    BUG(if (threadIdx.x == 40) return;)
    __syncthreads();  //! barrier not reached by all
    b[blockIdx.x * n + threadIdx.x] = a[threadIdx.x];
}

extern "C" __global__ void barrier_against_shuffle(float* a, float* b, unsigned int* ticket, int n) {
    BUG(if (threadIdx.x == 7)) __syncthreads();  //! barrier not reached by all
    a[blockIdx.x * n + threadIdx.x] += __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

extern "C" __global__ void mask_without_the_caller(float* a, float* b, unsigned int* ticket, int n) {
    const float x = __shfl_xor_sync(FIX(0xffffffffu) BUG(0x0000ffffu), a[threadIdx.x], 1);  //! warp mask
    b[blockIdx.x * n + threadIdx.x] = x;
}

extern "C" __global__ void two_masks(float* a, float* b, unsigned int* ticket, int n) {
    const unsigned int mask = threadIdx.x % 32 < 16 ? FIX(0x0000ffffu) BUG(0xffffffffu) : 0xffff0000u;
    b[blockIdx.x * n + threadIdx.x] = __shfl_xor_sync(mask, a[threadIdx.x], 1);  //! warp mask
    __syncwarp();
}

extern "C" __global__ void reads_outside_the_mask(float* a, float* b, unsigned int* ticket, int n) {
    const unsigned int mask = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
    b[blockIdx.x * n + threadIdx.x] = __shfl_xor_sync(mask, a[threadIdx.x], FIX(8) BUG(16));  //! warp mask
}

extern "C" __global__ void vote_for_some(float* a, float* b, unsigned int* ticket, int n) {
    int any = 0;
    BUG(if (threadIdx.x % 32 < 20)) any = __any_sync(0xffffffffu, a[threadIdx.x] > 0.0f);  //! exited lane
    if (any > 1) b[0] = 0.0f;
}

extern "C" __global__ void lane_has_returned(float* a, float* b, unsigned int* ticket, int n) {
    BUG(if (threadIdx.x == 40) return;)
    b[blockIdx.x * n + threadIdx.x] = __shfl_down_sync(0xffffffffu, a[threadIdx.x], 1);  //! exited lane
}

extern "C" __global__ void waits_for_another_block(float* a, float* b, unsigned int* ticket, int n) {
    BUG(while (atomicAdd(ticket, 0u) == 0u)) {  //! endless loop
    }
}

extern "C" __global__ void waits_for_a_store(float* a, float* b, unsigned int* ticket, int n) {
    volatile unsigned int* flag = ticket;
    BUG(while (*flag == 0u)) {  //! endless loop
    }
}

extern "C" __global__ void traps(float* a, float* b, unsigned int* ticket, int n) {
    BUG(if (n == 64) __trap();)  //! trap
}
