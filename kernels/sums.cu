// Sums of two arrays: of many pairs at once, the gradients of parameters that are used twice; of one pair, activations.
// And of rows that go to one row of a table: the gradient of a look-up.
//
// Twins in engine/loops/sums.py: add_all, add, add_rows.
// Layout: x, y, sum flat, of one size. float32; the pair of activations bfloat16 if HALF is defined, added in float32
//     and rounded once.
// Table: pair p has the blocks first[p] .. first[p + 1] - 1, which take its elements in turn. Block (256).
// Determinism: each number is written by one thread; nothing is added up over threads.

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

struct Pairs {
    int count;
    int first[65];
    long long size[64];
    const float* x[64];
    const float* y[64];
    float* sum[64];
};

extern "C" __global__ void add(Pairs pairs) {
    int block = blockIdx.x;
    int p = 0;
    while (block >= pairs.first[p + 1]) p++;
    long long step = (long long)(pairs.first[p + 1] - pairs.first[p]) * blockDim.x;
    const float* x = pairs.x[p];
    const float* y = pairs.y[p];
    float* sum = pairs.sum[p];
    for (long long i = (long long)(block - pairs.first[p]) * blockDim.x + threadIdx.x; i < pairs.size[p]; i += step)
        sum[i] = x[i] + y[i];
}

// sum = x + y, where sum may be x or y. Block (256), EACH numbers a thread, those of a warp side by side.
extern "C" __global__ void add_two(const number* x, const number* y, number* sum, long long count) {
    float read[EACH];  // all of them before one is written
    long long first = (long long)blockIdx.x * EACH * blockDim.x + threadIdx.x;
    for (int e = 0; e < EACH; e++) {
        long long i = first + e * blockDim.x;
        if (i < count) read[e] = as_float(x[i]) + as_float(y[i]);
    }
    for (int e = 0; e < EACH; e++) {
        long long i = first + e * blockDim.x;
        if (i < count) sum[i] = as_number(read[e]);
    }
}

// The row of a table that a label means: none lies outside, one from its end counts on, as in CuPy's own look-ups.
__device__ long long row_of(long long label, int rows) {
    if (label >= 0 && label < rows) return label;
    label %= rows;
    return label < 0 ? label + rows : label;
}

// sum (rows, C): the rows of x (N, C) that have its number, added up in their order; 0 where there is none. labels (N,):
// numbers of rows. A thread for each number of sum; block (256).
extern "C" __global__ void add_rows(const float* x, const long long* labels, float* sum, int rows, int C, int N) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (long long)rows * C) return;
    int c = (int)(i % C);
    long long row = i / C;
    float total = 0.0f;
    for (int n = 0; n < N; n++)
        if (row_of(labels[n], rows) == row) total += x[(long long)n * C + c];
    sum[i] = total;
}
