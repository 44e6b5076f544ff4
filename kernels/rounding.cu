// Two arrays of float32 as bfloat16: the factors of a product that cuBLAS is to do in it; and an array back in float32.
//
// Twins in engine/loops/rounding.py: to_bf16, to_float32.
// Layout: x, y flat, their results likewise; to_bf16 writes two numbers as an unsigned: the first in its lower half.
// Determinism: each result is written by one thread.

// The nearest number with 7 bits behind the point, of two the even one: the upper half of float32.
__device__ unsigned bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return 0x7fffu;  // not a number, whatever its bits are
    return (bits + 0x7fffu + (bits >> 16) % 2) >> 16;
}

// Block (256), a thread for every two numbers of x, then for every two of y.
extern "C" __global__ void to_bf16(const float* x, unsigned short* x_rounded, long long x_size, const float* y,
                                   unsigned short* y_rounded, long long y_size) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    long long x_pairs = (x_size + 1) / 2;
    const float* from = i < x_pairs ? x : y;
    unsigned short* to = i < x_pairs ? x_rounded : y_rounded;
    long long size = i < x_pairs ? x_size : y_size;
    long long first = (i < x_pairs ? i : i - x_pairs) * 2;
    if (first >= size) return;
    if (first + 1 < size) ((unsigned*)to)[first / 2] = bf16(from[first + 1]) << 16 | bf16(from[first]);
    else to[first] = (unsigned short)bf16(from[first]);
}

// y = x, exactly. Block (256), two numbers a thread, those of a warp side by side.
extern "C" __global__ void to_float32(const unsigned short* x, float* y, long long size) {
    unsigned short read[2];  // both before one is written
    long long first = (long long)blockIdx.x * 2 * blockDim.x + threadIdx.x;
    long long second = first + blockDim.x;
    if (first < size) read[0] = x[first];
    if (second < size) read[1] = x[second];
    if (first < size) y[first] = __uint_as_float((unsigned)read[0] << 16);
    if (second < size) y[second] = __uint_as_float((unsigned)read[1] << 16);
}
