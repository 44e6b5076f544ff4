// Weights of a 3 x 3 convolution joined with upsampling or a mean: each added up at four places of a 4 x 4 kernel.
//
// Twins in engine/loops/spread.py: spread2x2, gather2x2. Each is the adjoint of the other.
// Layout: W (O, kh, kw, C); wide (O, kh + 1, kw + 1, C), or if `turned` (C, kh + 1, kw + 1, O), of the kernel turned
//     round, as a transposed convolution takes it. float32. Block (256), one thread a number of the result.
// Determinism: each number is written by one thread, its four terms in a fixed order.

// wide[., y, x, .] = factor * the sum of W[., y - dy, x - dx, .] over dy, dx = 0, 1. count: numbers of wide.
extern "C" __global__ void spread2x2(const float* W, float* wide, float factor, int turned, int O, int kh, int kw,
                                     int C, long long count) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int inner = turned ? O : C;
    int b = (int)(at % inner);
    long long pixel = at / inner;
    int x = (int)(pixel % (kw + 1));
    int y = (int)(pixel / (kw + 1) % (kh + 1));
    long long a = pixel / (kw + 1) / (kh + 1);
    float sum = 0.0f;
    for (int dy = 0; dy < 2; dy++)
        for (int dx = 0; dx < 2; dx++) {
            int i = y - dy;
            int j = x - dx;
            if (i < 0 || i >= kh || j < 0 || j >= kw) continue;
            sum += turned ? W[(((long long)b * kh + kh - 1 - i) * kw + kw - 1 - j) * C + a]
                          : W[((a * kh + i) * kw + j) * C + b];
        }
    wide[at] = sum * factor;
}

// W[., i, j, .] = factor * the sum of wide[., i + dy, j + dx, .] over dy, dx = 0, 1. count: numbers of W.
extern "C" __global__ void gather2x2(const float* wide, float* W, float factor, int turned, int O, int kh, int kw,
                                     int C, long long count) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int c = (int)(at % C);
    long long pixel = at / C;
    int j = (int)(pixel % kw);
    int i = (int)(pixel / kw % kh);
    long long o = pixel / kw / kh;
    float sum = 0.0f;
    for (int dy = 0; dy < 2; dy++)
        for (int dx = 0; dx < 2; dx++)
            sum += turned ? wide[(((long long)c * (kh + 1) + kh - 1 - i + dy) * (kw + 1) + kw - 1 - j + dx) * O + o]
                          : wide[((o * (kh + 1) + i + dy) * (kw + 1) + j + dx) * C + c];
    W[at] = sum * factor;
}
