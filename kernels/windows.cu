// Windows of images as rows of a matrix, and back: what makes a convolution one product of matrices.
//
// Twins in engine/loops/windows.py: im2col, im2col_bf16, col2im, col2im_bf16. im2col and col2im are each other's adjoints.
// Layout: x (N, H, W, C); columns (count, kh * kw * C): row (n, i, j), column (dy, dx, c), which is pixel
//     (i * stride + dy - top, j * stride + dx - left) of image n, and zero where that lies outside. float32 or
//     bfloat16, both of them or the columns alone.
// Determinism: each result is written by one thread, its sum in a fixed order: a gather both ways, no atomics.

struct Windows {
    long long count;  // windows of im2col; numbers of x in col2im
    int H;
    int W;
    int C;
    int kh;
    int kw;
    int stride;
    int top;  // may be negative: the first window then begins inside x
    int left;
    int oh;  // windows in a column and in a row of windows
    int ow;
};

// The pixel (counted over all of x) that column k of a window shows, or -1 if it lies outside. k counts in units of C.
__device__ long long pixel_of(Windows w, long long window, int tap) {
    int j = (int)(window % w.ow);
    int i = (int)(window / w.ow % w.oh);
    long long n = window / w.ow / w.oh;
    int y = i * w.stride + tap / w.kw - w.top;
    int x = j * w.stride + tap % w.kw - w.left;
    if (y < 0 || y >= w.H || x < 0 || x >= w.W) return -1;
    return (n * w.H + y) * w.W + x;
}

// Block (32, 8): a warp copies one window. ceil(count / 8) blocks.
template <class Number>
__device__ void copy_ones(Windows w, const Number* x, Number* columns) {
    long long window = (long long)blockIdx.x * 8 + threadIdx.y;
    if (window >= w.count) return;
    int length = w.kh * w.kw * w.C;
    for (int k = threadIdx.x; k < length; k += 32) {
        long long pixel = pixel_of(w, window, k / w.C);
        columns[window * length + k] = pixel < 0 ? (Number)0 : x[pixel * w.C + k % w.C];
    }
}

extern "C" __global__ void im2col(Windows w, const float* x, float* columns) {
    copy_ones(w, x, columns);
}

// Both bfloat16; an even number of channels goes as half as many float32 instead.
extern "C" __global__ void im2col_of_bf16(Windows w, const unsigned short* x, unsigned short* columns) {
    copy_ones(w, x, columns);
}

// The same four channels at a time, every four written as `as` makes them: C divisible by 4.
template <class Four, class As>
__device__ void copy_fours(Windows w, const float4* x, Four* columns, As as) {
    long long window = (long long)blockIdx.x * 8 + threadIdx.y;
    if (window >= w.count) return;
    int C = w.C / 4;
    int length = w.kh * w.kw * C;
    for (int k = threadIdx.x; k < length; k += 32) {
        long long pixel = pixel_of(w, window, k / C);
        float4 value = {0.0f, 0.0f, 0.0f, 0.0f};
        if (pixel >= 0) value = x[pixel * C + k % C];
        columns[window * length + k] = as(value);
    }
}

// x and columns aligned to 16 bytes.
extern "C" __global__ void im2col4(Windows w, const float4* x, float4* columns) {
    auto as = [](float4 value) { return value; };
    copy_fours(w, x, columns, as);
}

// The nearest number with 7 bits behind the point, of two the even one: the upper half of float32.
__device__ unsigned bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return 0x7fffu;  // not a number, whatever its bits are
    return (bits + 0x7fffu + (bits >> 16) % 2) >> 16;
}

// x aligned to 16 bytes, columns to 8.
extern "C" __global__ void im2col4_bf16(Windows w, const float4* x, uint2* columns) {
    auto as = [](float4 value) {
        return uint2{bf16(value.y) << 16 | bf16(value.x), bf16(value.w) << 16 | bf16(value.z)};
    };
    copy_fours(w, x, columns, as);
}

// leaky(scale * sum + bias), the sum being that of all numbers of `columns`, read by `as`, which were taken from this pixel
// and channel; put(number of x, result) writes it. Block (256), one thread a number of x. scale (1,), bias (C,); slope 1:
// no activation.
template <class Number, class As, class Put>
__device__ void collect(Windows w, const Number* columns, const float* scale, const float* bias, int has_scale,
                        int has_bias, float slope, As as, Put put) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= w.count) return;
    int c = (int)(at % w.C);
    long long pixel = at / w.C;
    int px = (int)(pixel % w.W) + w.left;  // tap dx of window j lies here if j * stride + dx = px
    int py = (int)(pixel / w.W % w.H) + w.top;
    long long n = pixel / w.W / w.H;
    int i0 = py < w.kh ? 0 : (py - w.kh) / w.stride + 1;
    int j0 = px < w.kw ? 0 : (px - w.kw) / w.stride + 1;

    float sum = 0.0f;
    for (int i = i0; i < w.oh && i * w.stride <= py; i++)
        for (int j = j0; j < w.ow && j * w.stride <= px; j++) {
            long long window = (n * w.oh + i) * w.ow + j;
            int tap = (py - i * w.stride) * w.kw + px - j * w.stride;
            sum += as(columns[(window * w.kh * w.kw + tap) * w.C + c]);
        }
    if (has_scale) sum *= scale[0];
    if (has_bias) sum += bias[c];
    put(at, sum < 0.0f ? (slope == 0.0f ? 0.0f : sum * slope) : sum);
}

extern "C" __global__ void col2im(Windows w, const float* columns, float* x, const float* scale, const float* bias,
                                  int has_scale, int has_bias, float slope) {
    auto as = [](float number) { return number; };
    auto put = [x](long long at, float result) { x[at] = result; };
    collect(w, columns, scale, bias, has_scale, has_bias, slope, as, put);
}

extern "C" __global__ void col2im_bf16(Windows w, const unsigned short* columns, float* x, const float* scale,
                                       const float* bias, int has_scale, int has_bias, float slope) {
    auto as = [](unsigned short bits) { return __uint_as_float((unsigned)bits << 16); };
    auto put = [x](long long at, float result) { x[at] = result; };
    collect(w, columns, scale, bias, has_scale, has_bias, slope, as, put);
}

// x in bfloat16, too.
extern "C" __global__ void col2im_bf16_to_bf16(Windows w, const unsigned short* columns, unsigned short* x,
                                               const float* scale, const float* bias, int has_scale, int has_bias,
                                               float slope) {
    auto as = [](unsigned short bits) { return __uint_as_float((unsigned)bits << 16); };
    auto put = [x](long long at, float result) { x[at] = (unsigned short)bf16(result); };
    collect(w, columns, scale, bias, has_scale, has_bias, slope, as, put);
}
