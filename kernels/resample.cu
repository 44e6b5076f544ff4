// Twice the size by repeating pixels, half the size by averaging 2 x 2 of them.
//
// Twins in engine/loops/resample.py: upsample2x, pool2x. Each is the adjoint of the other but for a factor: the adjoint
//     of upsampling is the sum of 2 x 2 pixels (factor 1), that of the mean is upsampling with factor 0.25.
// Layout: (N, H, W, C). float32. Block (256), one thread a number of y.
// Determinism: each number is written by one thread, its four terms in a fixed order.

// y (N, 2 H, 2 W, C) = factor * x (N, H, W, C); count: numbers of y.
extern "C" __global__ void upsample2x(const float* x, float* y, float factor, int H, int W, int C, long long count) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int c = (int)(at % C);
    long long pixel = at / C;
    int j = (int)(pixel % (2 * W));
    long long row = pixel / (2 * W);  // over all images: 2 H is even, so row / 2 is the row of x
    y[at] = factor * x[(row / 2 * W + j / 2) * C + c];
}

// y (N, H / 2, W / 2, C) = factor * the sum of 2 x 2 pixels of x (N, H, W, C); an odd last row or column is left out.
extern "C" __global__ void pool2x(const float* x, float* y, float factor, int H, int W, int C, long long count) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int c = (int)(at % C);
    long long pixel = at / C;
    int j = (int)(pixel % (W / 2));
    int i = (int)(pixel / (W / 2) % (H / 2));
    long long n = pixel / (W / 2) / (H / 2);
    const float* corner = x + ((n * H + 2 * i) * W + 2 * j) * C + c;
    long long below = (long long)W * C;
    y[at] = factor * (corner[0] + corner[C] + corner[below] + corner[below + C]);
}
