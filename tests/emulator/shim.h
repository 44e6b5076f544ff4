// CUDA C as g++ reads it: force-included before a .cu file, so that the file compiles unchanged.
//
// Everything that needs the other threads of a block (barriers, shuffles, atomics) is a call into the runtime;
// the rest is ordinary C++. No header is included: NVRTC offers none either, and the build stays short.
#pragma once

#define EMU_INLINE static inline __attribute__((always_inline, unused))

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

// A __shared__ array is a static one: blocks run one after the other. In front of each lies a gap that no access may
// touch. (Statics keep the source's order under -fno-toplevel-reorder.)
#define EMU_JOIN_(a, b) a##b
#define EMU_JOIN(a, b) EMU_JOIN_(a, b)
#define EMU_SHARED static __attribute__((section("emu_shared"), aligned(64), used))
#define __shared__ EMU_SHARED char EMU_JOIN(emu_gap_, __COUNTER__)[256]; EMU_SHARED

// ---- vector types -------------------------------------------------------------------------------------------------

#define EMU_VECTORS(T, name, align2, align4)                                                                         \
    struct alignas(align2) name##2 { T x, y; };                                                                      \
    struct name##3 { T x, y, z; };                                                                                   \
    struct alignas(align4) name##4 { T x, y, z, w; };                                                                \
    EMU_INLINE name##2 make_##name##2(T x, T y) { return {x, y}; }                                                   \
    EMU_INLINE name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                                           \
    EMU_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTORS(signed char, char, 2, 4)
EMU_VECTORS(unsigned char, uchar, 2, 4)
EMU_VECTORS(short, short, 4, 8)
EMU_VECTORS(unsigned short, ushort, 4, 8)
EMU_VECTORS(int, int, 8, 16)
EMU_VECTORS(unsigned int, uint, 8, 16)
EMU_VECTORS(float, float, 8, 16)
EMU_VECTORS(long long, longlong, 16, 16)
EMU_VECTORS(unsigned long long, ulonglong, 16, 16)
EMU_VECTORS(double, double, 16, 16)

struct dim3 { unsigned int x = 1, y = 1, z = 1; };

// ---- where a thread is --------------------------------------------------------------------------------------------

extern "C" {
// "const": the answer never changes within a thread.
__attribute__((const)) uint3 emu_thread_index();
__attribute__((const)) uint3 emu_block_index();
__attribute__((const)) uint3 emu_block_size();
__attribute__((const)) uint3 emu_grid_size();
__attribute__((const)) void* emu_dynamic_shared();
}
#define threadIdx (emu_thread_index())
#define blockIdx (emu_block_index())
#define blockDim (emu_block_size())
#define gridDim (emu_grid_size())
static const int warpSize __attribute__((unused)) = 32;

// ---- barriers, warps, fences --------------------------------------------------------------------------------------

extern "C" {
void __syncthreads();
int __syncthreads_count(int predicate);
int __syncthreads_and(int predicate);
int __syncthreads_or(int predicate);
void emu_syncwarp(unsigned int mask);
unsigned int __ballot_sync(unsigned int mask, int predicate);
int __any_sync(unsigned int mask, int predicate);
int __all_sync(unsigned int mask, int predicate);
// how: 0 idx, 1 up, 2 down, 3 xor
unsigned long long emu_shuffle(unsigned int mask, unsigned long long bits, int operand, int width, int how);
void __threadfence();
void __threadfence_block();
void __threadfence_system();
void __trap();
}
EMU_INLINE void __syncwarp(unsigned int mask = 0xffffffffu) { emu_syncwarp(mask); }

// ---- PTX: module.py puts these calls in the place of inline assembly -------------------------------------------------

struct emu_lane { float* d[4]; unsigned int a[4], b[2]; int deep; };  // emu::Lane in runtime.h
struct emu_lines { uint4 line; unsigned int* to[4]; int turned; };    // emu::Lines
extern "C" {
void emu_copy(unsigned int to, const void* from, int size, int given);
void emu_commit();
void emu_wait(int newest);
unsigned int emu_tf32(float x);
unsigned int emu_bf16(float x);
void emu_multiply(emu_lane* lane);
const void* emu_in_shared(unsigned int low);
void emu_exchange(emu_lines* lines);
}
// An address of shared memory has 32 bits on a GPU, and the kernel casts it to as many; the runtime knows the rest.
EMU_INLINE unsigned long long __cvta_generic_to_shared(const void* p) { return (unsigned long long)p; }
EMU_INLINE void emu_copy4(unsigned int to, const void* from, int given) { emu_copy(to, from, 16, given); }
EMU_INLINE void emu_round(unsigned int& rounded, float x) { rounded = emu_tf32(x); }
EMU_INLINE void emu_round2(unsigned int& both, float upper, float lower) {
    both = emu_bf16(upper) << 16 | emu_bf16(lower);
}
#define EMU_MATRICES(name, turned)                                                                                   \
    EMU_INLINE void name(unsigned int& a, unsigned int& b, unsigned int& c, unsigned int& d, unsigned int from) {    \
        emu_lines lines = {*(const uint4*)emu_in_shared(from), {&a, &b, &c, &d}, turned};                            \
        emu_exchange(&lines);                                                                                        \
    }
EMU_MATRICES(emu_matrices, 0)
EMU_MATRICES(emu_matrices_turned, 1)
#define EMU_MMA(name, deep)                                                                                          \
    EMU_INLINE void name(float& d0, float& d1, float& d2, float& d3, unsigned int a0, unsigned int a1,               \
                         unsigned int a2, unsigned int a3, unsigned int b0, unsigned int b1) {                       \
        emu_lane lane = {{&d0, &d1, &d2, &d3}, {a0, a1, a2, a3}, {b0, b1}, deep};                                    \
        emu_multiply(&lane);                                                                                         \
    }
EMU_MMA(emu_mma8, 8)
EMU_MMA(emu_mma16, 16)

#define EMU_SHUFFLE(name, how, Operand)                                                                              \
    template <class T> EMU_INLINE T name(unsigned int mask, T value, Operand operand, int width = 32) {              \
        static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");                             \
        union { T value; unsigned long long bits; } box;                                                             \
        box.bits = 0;                                                                                                \
        box.value = value;                                                                                           \
        box.bits = emu_shuffle(mask, box.bits, (int)operand, width, how);                                            \
        return box.value;                                                                                            \
    }
EMU_SHUFFLE(__shfl_sync, 0, int)
EMU_SHUFFLE(__shfl_up_sync, 1, unsigned int)
EMU_SHUFFLE(__shfl_down_sync, 2, unsigned int)
EMU_SHUFFLE(__shfl_xor_sync, 3, int)

// ---- atomics ------------------------------------------------------------------------------------------------------

#define EMU_ATOMIC(T, suffix, name)                                                                                  \
    extern "C" T emu_##name##_##suffix(T* address, T value);                                                         \
    EMU_INLINE T name(T* address, T value) { return emu_##name##_##suffix(address, value); }
#define EMU_ATOMICS(T, suffix)                                                                                       \
    EMU_ATOMIC(T, suffix, atomicAdd)                                                                                 \
    EMU_ATOMIC(T, suffix, atomicExch)
#define EMU_INTEGER_ATOMICS(T, suffix)                                                                               \
    EMU_ATOMICS(T, suffix)                                                                                           \
    EMU_ATOMIC(T, suffix, atomicMin)                                                                                 \
    EMU_ATOMIC(T, suffix, atomicMax)                                                                                 \
    EMU_ATOMIC(T, suffix, atomicAnd)                                                                                 \
    EMU_ATOMIC(T, suffix, atomicOr)                                                                                  \
    EMU_ATOMIC(T, suffix, atomicXor)                                                                                 \
    extern "C" T emu_atomicCAS_##suffix(T* address, T compare, T value);                                             \
    EMU_INLINE T atomicCAS(T* address, T compare, T value) { return emu_atomicCAS_##suffix(address, compare, value); }
EMU_INTEGER_ATOMICS(int, i)
EMU_INTEGER_ATOMICS(unsigned int, u)
EMU_INTEGER_ATOMICS(unsigned long long, ull)
EMU_ATOMICS(float, f)
EMU_ATOMIC(double, d, atomicAdd)
EMU_ATOMIC(int, i, atomicSub)
EMU_ATOMIC(unsigned int, u, atomicSub)
EMU_ATOMIC(unsigned int, u, atomicInc)
EMU_ATOMIC(unsigned int, u, atomicDec)

// ---- loads with a cache hint: the hint is dropped -----------------------------------------------------------------

template <class T> EMU_INLINE T __ldg(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldcg(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldcs(const T* p) { return *p; }
template <class T> EMU_INLINE void __stcg(T* p, T value) { *p = value; }
template <class T> EMU_INLINE void __stcs(T* p, T value) { *p = value; }

// ---- arithmetic ---------------------------------------------------------------------------------------------------

#define EMU_MATH1(name)                                                                                              \
    extern "C" float name##f(float);                                                                                 \
    extern "C" double name(double);                                                                                  \
    EMU_INLINE float name(float x) { return __builtin_##name##f(x); }
EMU_MATH1(acos) EMU_MATH1(asin) EMU_MATH1(atan) EMU_MATH1(cbrt) EMU_MATH1(ceil) EMU_MATH1(cos) EMU_MATH1(cosh)
EMU_MATH1(erf) EMU_MATH1(exp) EMU_MATH1(exp2) EMU_MATH1(expm1) EMU_MATH1(fabs) EMU_MATH1(floor) EMU_MATH1(log)
EMU_MATH1(log10) EMU_MATH1(log1p) EMU_MATH1(log2) EMU_MATH1(rint) EMU_MATH1(round) EMU_MATH1(sin) EMU_MATH1(sinh)
EMU_MATH1(sqrt) EMU_MATH1(tan) EMU_MATH1(tanh) EMU_MATH1(trunc)
#define EMU_MATH2(name)                                                                                              \
    extern "C" float name##f(float, float);                                                                          \
    extern "C" double name(double, double);                                                                          \
    EMU_INLINE float name(float x, float y) { return __builtin_##name##f(x, y); }
EMU_MATH2(atan2) EMU_MATH2(copysign) EMU_MATH2(fdim) EMU_MATH2(fmax) EMU_MATH2(fmin) EMU_MATH2(fmod) EMU_MATH2(pow)
extern "C" float fmaf(float, float, float);
extern "C" double fma(double, double, double);
EMU_INLINE float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
EMU_INLINE float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
EMU_INLINE double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
EMU_INLINE float rsqrt(float x) { return rsqrtf(x); }
EMU_INLINE int abs(int x) { return __builtin_abs(x); }
EMU_INLINE long long llabs(long long x) { return __builtin_llabs(x); }
EMU_INLINE long long abs(long long x) { return __builtin_llabs(x); }
EMU_INLINE float abs(float x) { return __builtin_fabsf(x); }
EMU_INLINE double abs(double x) { return __builtin_fabs(x); }
EMU_INLINE bool isnan(float x) { return __builtin_isnan(x); }
EMU_INLINE bool isnan(double x) { return __builtin_isnan(x); }
EMU_INLINE bool isinf(float x) { return __builtin_isinf(x); }
EMU_INLINE bool isinf(double x) { return __builtin_isinf(x); }
EMU_INLINE bool isfinite(float x) { return __builtin_isfinite(x); }
EMU_INLINE bool isfinite(double x) { return __builtin_isfinite(x); }
EMU_INLINE bool signbit(float x) { return __builtin_signbit(x); }

// The fast versions differ from the exact ones by ulps on a GPU; here they are the exact ones.
EMU_INLINE float __expf(float x) { return __builtin_expf(x); }
EMU_INLINE float __exp10f(float x) { return __builtin_powf(10.0f, x); }
EMU_INLINE float __logf(float x) { return __builtin_logf(x); }
EMU_INLINE float __log2f(float x) { return __builtin_log2f(x); }
EMU_INLINE float __powf(float x, float y) { return __builtin_powf(x, y); }
EMU_INLINE float __sinf(float x) { return __builtin_sinf(x); }
EMU_INLINE float __cosf(float x) { return __builtin_cosf(x); }
EMU_INLINE float __tanf(float x) { return __builtin_tanf(x); }
EMU_INLINE float __fdividef(float x, float y) { return x / y; }
EMU_INLINE float __frsqrt_rn(float x) { return rsqrtf(x); }
EMU_INLINE float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
EMU_INLINE float __frcp_rn(float x) { return 1.0f / x; }
EMU_INLINE float __fadd_rn(float x, float y) { return x + y; }
EMU_INLINE float __fsub_rn(float x, float y) { return x - y; }
EMU_INLINE float __fmul_rn(float x, float y) { return x * y; }
EMU_INLINE float __fdiv_rn(float x, float y) { return x / y; }
EMU_INLINE float __fmaf_rn(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
EMU_INLINE float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

#define EMU_CAST(name, To, From)                                                                                     \
    EMU_INLINE To name(From x) { union { From from; To to; } box; box.from = x; return box.to; }
EMU_CAST(__float_as_int, int, float)
EMU_CAST(__int_as_float, float, int)
EMU_CAST(__float_as_uint, unsigned int, float)
EMU_CAST(__uint_as_float, float, unsigned int)
EMU_CAST(__double_as_longlong, long long, double)
EMU_CAST(__longlong_as_double, double, long long)
EMU_INLINE int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
EMU_INLINE int __float2int_rz(float x) { return (int)x; }
EMU_INLINE int __float2int_rd(float x) { return (int)__builtin_floorf(x); }
EMU_INLINE int __float2int_ru(float x) { return (int)__builtin_ceilf(x); }
EMU_INLINE float __int2float_rn(int x) { return (float)x; }
EMU_INLINE float __uint2float_rn(unsigned int x) { return (float)x; }

EMU_INLINE int __popc(unsigned int x) { return __builtin_popcount(x); }
EMU_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
EMU_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned int)x) : 32; }
EMU_INLINE int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
EMU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
EMU_INLINE unsigned int __umulhi(unsigned int x, unsigned int y) {
    return (unsigned int)((unsigned long long)x * y >> 32);
}
EMU_INLINE int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
EMU_INLINE unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}

#define EMU_MINMAX(T)                                                                                                \
    EMU_INLINE T min(T x, T y) { return y < x ? y : x; }                                                             \
    EMU_INLINE T max(T x, T y) { return x < y ? y : x; }
EMU_MINMAX(int) EMU_MINMAX(unsigned int) EMU_MINMAX(long) EMU_MINMAX(unsigned long)
EMU_MINMAX(long long) EMU_MINMAX(unsigned long long)
// As on a GPU, a NaN loses against a number.
EMU_INLINE float min(float x, float y) { return __builtin_fminf(x, y); }
EMU_INLINE float max(float x, float y) { return __builtin_fmaxf(x, y); }
EMU_INLINE double min(double x, double y) { return __builtin_fmin(x, y); }
EMU_INLINE double max(double x, double y) { return __builtin_fmax(x, y); }

// ---- what the runtime must know of a kernel -----------------------------------------------------------------------
//
// module.py appends EMU_KERNEL(name, largest block) for every kernel of the file.

namespace emu {
namespace {  // each file its own, though another has a kernel of the same name

struct Parameter { int size, kind; };  // kind: 0 pointer, 1 signed int, 2 unsigned int, 3 float, 4 struct, 5 bool

struct Kernel {
    void (*call)(void** arguments);
    int largest_block;  // 0: not bounded
    int count;
    const Parameter* parameters;
};

template <class T> struct Kind { static constexpr int value = T(-1) < T(0) ? 1 : 2; };
template <class T> struct Kind<T*> { static constexpr int value = 0; };
template <> struct Kind<float> { static constexpr int value = 3; };
template <> struct Kind<double> { static constexpr int value = 3; };
template <> struct Kind<bool> { static constexpr int value = 5; };
template <class T> struct StructKind { static constexpr int value = 4; };
template <bool is_struct, class T> struct KindOf : Kind<T> {};
template <class T> struct KindOf<true, T> : StructKind<T> {};

template <class T> struct Plain { using type = T; };
template <class T> struct Plain<const T> { using type = T; };

template <int... i> struct Places {};
template <int n, int... i> struct Counted : Counted<n - 1, n - 1, i...> {};
template <int... i> struct Counted<0, i...> { using type = Places<i...>; };

template <auto function> struct Entry;
template <class... A, void (*function)(A...)> struct Entry<function> {
    static constexpr int count = sizeof...(A);
    static constexpr Parameter parameters[count + 1] = {
        {(int)sizeof(A), KindOf<__is_class(typename Plain<A>::type), typename Plain<A>::type>::value}..., {0, 0}};
    template <int... i>
    __attribute__((no_sanitize("thread", "undefined"))) static void call_with(void** arguments, Places<i...>) {
        function(*(typename Plain<A>::type*)arguments[i]...);
    }
    __attribute__((no_sanitize("thread", "undefined"))) static void call(void** arguments) {
        call_with(arguments, typename Counted<count>::type());
    }
};
template <class... A, void (*function)(A...)> constexpr Parameter Entry<function>::parameters[];

}  // namespace
}  // namespace emu

#define EMU_KERNEL(name, largest_block)                                                                              \
    extern "C" __attribute__((used)) const emu::Kernel emu_kernel_##name = {                                         \
        emu::Entry<name>::call, largest_block, emu::Entry<name>::count, emu::Entry<name>::parameters};
