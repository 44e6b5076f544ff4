// Sums of two arrays each, for many pairs at once: the gradients of parameters that are used twice.
//
// Twin in engine/loops/sums.py: add_all.
// Layout: x, y, sum flat, of one size. float32.
// Table: pair p has the blocks first[p] .. first[p + 1] - 1, which take its elements in turn. Block (256).
// Determinism: each number is written by one thread; nothing is added up over threads.

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
