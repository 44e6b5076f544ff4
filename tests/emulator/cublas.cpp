// libcublas, as far as minigan calls it: what is to be multiplied is handed on to whoever has told emu_cublas.
#include <cstddef>

using Multiply = int (*)(void* stream, void* workspace, size_t bytes, int ta, int tb, int m, int n, int k, float alpha,
                         const void* A, int lda, const void* B, int ldb, float beta, void* C, int ldc, int kind,
                         int C_kind, int compute);
struct Handle {
    void* stream = nullptr;
    void* workspace = nullptr;
    size_t bytes = 0;
};
static Multiply multiply = nullptr;
enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };

extern "C" {

void emu_cublas(Multiply theirs) { multiply = theirs; }

int cublasCreate_v2(Handle** handle) {
    *handle = new Handle();
    return SUCCESS;
}

int cublasSetStream_v2(Handle* handle, void* stream) {  // takes the work space away, as cuBLAS does
    if (!handle) return NOT_INITIALIZED;
    *handle = Handle{stream, nullptr, 0};
    return SUCCESS;
}

int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t bytes) {
    if (!handle || (reinterpret_cast<size_t>(workspace) & 255)) return INVALID_VALUE;
    handle->workspace = workspace;
    handle->bytes = bytes;
    return SUCCESS;
}

int cublasGemmEx(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int A_type,
                 int lda, const void* B, int B_type, int ldb, const void* beta, void* C, int C_type, int ldc,
                 int compute, int algorithm) {
    if (!handle || !multiply) return NOT_INITIALIZED;
    const int FLOAT32 = 0, BFLOAT16 = 14;
    if (A_type != B_type || (C_type != FLOAT32 && C_type != A_type) || algorithm != -1) return NOT_SUPPORTED;
    if (A_type != FLOAT32 && A_type != BFLOAT16) return NOT_SUPPORTED;
    if (compute != 68 && (compute != 77 || A_type != FLOAT32)) return NOT_SUPPORTED;
    if (ta < 0 || ta > 1 || tb < 0 || tb > 1 || m < 0 || n < 0 || k < 0) return INVALID_VALUE;
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || lda < 1 || ldb < 1 || ldc < 1) return INVALID_VALUE;
    return multiply(handle->stream, handle->workspace, handle->bytes, ta, tb, m, n, k, *static_cast<const float*>(alpha),
                    A, lda, B, ldb, *static_cast<const float*>(beta), C, ldc, A_type, C_type,
                    compute);
}

}
