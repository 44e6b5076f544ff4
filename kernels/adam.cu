// One step of Adam for all parameters at once.
//
// Twin in engine/loops/adam.py: adam_all. Equations: Kingma and Ba 2015, section 2:
//     m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2,  w <- w - rate m / (sqrt(v) + eps)
// rate[0] is the learning rate times sqrt(1 - beta2^t) / (1 - beta1^t): on the device, since it changes with every step.
// Layout: w, g, m, v flat, of one size. float32. In place.
// Table: parameter p has the blocks first[p] .. first[p + 1] - 1, which take its elements in turn. Block (256).
// Determinism: each number is written by one thread; nothing is added up over threads.

struct Parameters {
    int count;
    int first[65];
    long long size[64];
    float* w[64];
    const float* g[64];
    float* m[64];
    float* v[64];
};

extern "C" __global__ void adam(Parameters params, const double* rate, float beta1, float rest1, float beta2, float rest2,
                                float eps) {  // rest1 = 1 - beta1, rest2 = 1 - beta2, rounded once
    int block = blockIdx.x;
    int p = 0;
    while (block >= params.first[p + 1]) p++;
    long long step = (long long)(params.first[p + 1] - params.first[p]) * blockDim.x;
    float lr = (float)rate[0];
    float* w = params.w[p];
    const float* g = params.g[p];
    float* m = params.m[p];
    float* v = params.v[p];
    for (long long i = (long long)(block - params.first[p]) * blockDim.x + threadIdx.x; i < params.size[p]; i += step) {
        float mean = beta1 * m[i] + rest1 * g[i];
        float square = beta2 * v[i] + rest2 * g[i] * g[i];
        m[i] = mean;
        v[i] = square;
        w[i] -= lr * mean / (sqrtf(square) + eps);
    }
}
