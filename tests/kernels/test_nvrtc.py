"""NVIDIA's compiler takes every kernel without a warning, in registers alone: compiled, not run."""

import os

import nvrtc
import pytest

FILES = sorted(nvrtc.KERNELS.glob("*.cu"))

if nvrtc.library() is None and not os.environ.get("CI"):
    pytest.skip(f"KERNELS NOT COMPILED: no NVRTC; pip install {nvrtc.WHEELS[0]}", allow_module_level=True)


def test_the_compiler_is_here():
    assert nvrtc.library() is not None, f"CI is set and NVRTC is missing: pip install {nvrtc.WHEELS[0]}"
    assert len(nvrtc.architectures()) >= 6
    assert FILES


@pytest.mark.parametrize("file, more", [(file, more) for file in FILES for more in nvrtc.variants(file.name)],
                         ids=lambda part: part.stem if hasattr(part, "stem") else "".join(part))
def test_a_kernel_compiles_into_registers_for_every_architecture(file, more):
    source = file.read_text(encoding="utf-8")
    for arch in filter(lambda arch: nvrtc.takes(file.name, arch), nvrtc.architectures()):
        used, faults = nvrtc.examine(source, arch, file.name, more)
        assert faults == []
        assert used


SPILLING = """
extern "C" __global__ void __launch_bounds__(1024, 2) spilling(float* x) {
    float a[96];
    for (int i = 0; i < 96; i++) a[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 96; i++) a[i] = a[i] * a[(i + 37) % 96] + a[(i + 5) % 96];
    for (int i = 0; i < 96; i++) x[i * 1024 + threadIdx.x] = a[i];
}"""

STACK = """
extern "C" __global__ void stack(float* x, int n) {
    float a[32];
    for (int i = 0; i < 32; i++) a[i] = x[i];
    for (int i = 0; i < n; i++) a[(i * i) % 32] += x[i];
    x[0] = a[n % 32];
}"""

GREEDY = """
extern "C" __global__ void greedy(float* x) {
    float a[96];
    for (int i = 0; i < 96; i++) a[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
    for (int i = 0; i < 96; i++) x[i * 1024 + threadIdx.x] = a[95 - i];
}"""


@pytest.mark.parametrize("source, fault", [
    pytest.param(SPILLING, "bytes of spills", id="spills"),
    pytest.param(STACK, "bytes of stack", id="stack"),
    pytest.param(GREEDY, "registers", id="registers"),
    pytest.param('extern "C" __global__ void f(float* x) { int unused; x[0] = 1; }', "never referenced", id="warning"),
    pytest.param('extern "C" __global__ void f(float* x) { x[0] = LIMIT; }', '"LIMIT" is undefined', id="undefined"),
    pytest.param('#include <cmath>\n', 'could not open source file "cmath"', id="include"),
    pytest.param('extern "C" __global__ void f(float* x) { __shared__ float s[12289]; s[threadIdx.x] = 1; '
               '__syncthreads(); x[0] = s[7]; }', "49156 bytes smem", id="shared"),
    pytest.param('// __global__ void f( is only a comment', "says nothing of the kernel f", id="no kernel"),
])
def test_a_fault_is_found(source, fault):
    _, faults = nvrtc.examine(source, 90, "wrong.cu")
    assert any(fault in line for line in faults), faults


def test_the_log_of_a_clean_kernel_is_read_rightly():
    used, faults = nvrtc.examine('extern "C" __global__ void f(float* x) { __shared__ float s[64]; s[threadIdx.x] = 1; '
                                 "__syncthreads(); x[threadIdx.x] = s[63 - threadIdx.x]; }", 90)
    assert faults == []
    assert used["f"].shared == 256 and 0 < used["f"].registers < 32


def test_the_table_is_printed(capsys):
    assert nvrtc.main([str(FILES[0]), "90"]) == 0
    shown = capsys.readouterr().out
    assert "sm_90" in shown and FILES[0].name in shown and "no spill" in shown


def test_the_table_names_a_fault(capsys, tmp_path):
    (tmp_path / "spilling.cu").write_text(SPILLING)
    assert nvrtc.main([str(tmp_path / "spilling.cu"), "90"]) == 1
    assert "bytes of spills" in capsys.readouterr().out
