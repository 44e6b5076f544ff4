// Twice the size by repeating pixels, half the size by averaging 2 x 2 of them.
//
// Twins in engine/loops/resample.py: upsample2x, pool2x. Each is the adjoint of the other but for a factor: the adjoint
//     of upsampling is the sum of 2 x 2 pixels (factor 1), that of the mean is upsampling with factor 0.25.
// Layout: (N, H, W, C). float32, or bfloat16 if HALF is defined, computed in float32 and rounded once. Block (256), EACH
//     numbers of y a thread.
// Determinism: each number is written by one thread, its four terms in a fixed order.

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

// Where the e-th number of a thread is: those of a warp lie side by side.
__device__ long long place(int e) {
    return ((long long)blockIdx.x * EACH + e) * blockDim.x + threadIdx.x;
}

// to[i] = value(i) of this thread's numbers.
template <typename Value>
__device__ void each(number* to, long long count, Value value) {
    float found[EACH];  // all of them before one is written
    if (place(0) >= count) return;
    for (int e = 0; e < EACH; e++)
        if (place(e) < count) found[e] = value(place(e));
    for (int e = 0; e < EACH; e++)
        if (place(e) < count) to[place(e)] = as_number(found[e]);
}

// y (N, 2 H, 2 W, C) = factor * x (N, H, W, C); count: numbers of y.
extern "C" __global__ void upsample2x(const number* x, number* y, float factor, int H, int W, int C,
                                      long long count) {
    each(y, count, [&](long long at) {
        int c = (int)(at % C);
        long long pixel = at / C;
        int j = (int)(pixel % (2 * W));
        long long row = pixel / (2 * W);  // over all images: 2 H is even, so row / 2 is the row of x
        return factor * as_float(x[(row / 2 * W + j / 2) * C + c]);
    });
}

// y (N, H / 2, W / 2, C) = factor * the sum of 2 x 2 pixels of x (N, H, W, C); an odd last row or column is left out.
extern "C" __global__ void pool2x(const number* x, number* y, float factor, int H, int W, int C, long long count) {
    each(y, count, [&](long long at) {
        int c = (int)(at % C);
        long long pixel = at / C;
        int j = (int)(pixel % (W / 2));
        int i = (int)(pixel / (W / 2) % (H / 2));
        long long n = pixel / (W / 2) / (H / 2);
        const number* corner = x + ((n * H + 2 * i) * W + 2 * j) * C + c;
        long long below = (long long)W * C;
        return factor * (as_float(corner[0]) + as_float(corner[C]) + as_float(corner[below])
                         + as_float(corner[below + C]));
    });
}
