// Arrays of float32 as bfloat16, such as the weights of a network before its products are; and an array back in float32.
//
// Twins in engine/loops/rounding.py: to_bf16, to_float32.
// Layout: all flat; to_bf16 writes two numbers as an unsigned: the first in its lower half.
// Determinism: each result is written by one thread.

// The nearest number with 7 bits behind the point, of two the even one: the upper half of float32.
__device__ unsigned bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return 0x7fffu;  // not a number, whatever its bits are
    return (bits + 0x7fffu + (bits >> 16) % 2) >> 16;
}

struct Arrays {
    int count;
    int first[65];
    long long size[64];
    const float* x[64];
    unsigned short* rounded[64];
};

// Array p has the blocks first[p] .. first[p + 1] - 1, which take its pairs of numbers in turn. Block (256).
extern "C" __global__ void to_bf16(Arrays arrays) {
    int block = blockIdx.x;
    int p = 0;
    while (block >= arrays.first[p + 1]) p++;
    long long step = (long long)(arrays.first[p + 1] - arrays.first[p]) * blockDim.x;
    long long size = arrays.size[p];
    const float* x = arrays.x[p];
    unsigned short* rounded = arrays.rounded[p];
    for (long long i = (long long)(block - arrays.first[p]) * blockDim.x + threadIdx.x; i < size / 2; i += step)
        ((unsigned*)rounded)[i] = bf16(x[2 * i + 1]) << 16 | bf16(x[2 * i]);
    if (size % 2 == 1 && block == arrays.first[p] && threadIdx.x == 0)
        rounded[size - 1] = (unsigned short)bf16(x[size - 1]);
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
