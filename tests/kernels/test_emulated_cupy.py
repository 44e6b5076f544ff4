"""The emulated CuPy: held against the real wheel, strict, counting, running kernels, good enough for the engine.

The engine's tests at the end run on a real card as well, with `pytest -m gpu`.
"""

import contextlib
import copy
import inspect
import itertools
import json
import os
import pickle
import subprocess
import sys
import types

import emulated_cupy
import emulator
import numpy as np
import pytest
from emulated_cupy.arrays import BF16, DTYPES, UFUNCS, ufunc

from minigan.engine import conv_ops, cublas, devices, im2col, ops, pool_ops
from minigan.engine.autograd import Tensor, grad
from minigan.engine.cuda import kernels_take
from minigan.engine.loops.power_iteration import power_iteration, power_iterations
from minigan.engine.loops.resample import pool2x
from minigan.engine.loops.sample_norms import sample_norms
from minigan.engine.loops.spectral_norm import spectral_gradient
from minigan.engine.scaled import Scaled
from minigan.nn.feature_norms import BatchNorm, BatchNormalize, ConditionalNormalize
from minigan.nn.initializers import glorot_uniform, normal
from minigan.nn.layers import Conv2d, Linear, Pass
from minigan.nn.losses import SampleNorms, mean_of
from minigan.nn.normalized_together import Part, SpectralNormalizeAll, normalize_together
from minigan.nn.optimizers import OPTIMIZERS
from minigan.nn.spectral_norms import BidirectionalNorm, SpectralNorm, SpectralNormalize
from minigan.nn.weight_norms import Gain, largest_singular_value


@pytest.fixture
def cupy():
    """`import cupy` gives the emulated one; a test of anything on "cuda" starts like this."""
    with emulated_cupy.installed() as module:
        yield module


# ---- a subset of the real one --------------------------------------------------------------------------------------

DESCRIBE = r'''
import ast, inspect, itertools, json, re, sys, warnings
import numpy
import cupy
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # NCCL may be missing
    import cupy.cuda.nccl

def from_doc(doc):  # Cython's first line: "sum(self, axis=None, int n=-1, **kwargs) -> ndarray"
    found = re.match(r"[\w.]+\((.*)\)( -> .*)?$", (doc or "").split("\n")[0])
    if found is None:
        return None
    parameters, keyword_only = [], False
    for part in filter(None, (part.strip() for part in found[1].split(","))):
        name, _, default = part.partition("=")
        name = name.split()[-1]
        if name == "*":
            keyword_only = True
            continue
        kind = "VAR_KEYWORD" if name[:2] == "**" else "VAR_POSITIONAL" if name[0] == "*" else \
            "KEYWORD_ONLY" if keyword_only else "POSITIONAL_OR_KEYWORD"
        keyword_only = keyword_only or kind == "VAR_POSITIONAL"
        parameters.append([name.lstrip("*"), kind, repr(ast.literal_eval(default)) if default else None])
    return parameters

def parameters(thing):
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return from_doc(thing.__doc__)
    return [[p.name, p.kind.name, None if p.default is p.empty else repr(p.default)]
            for p in signature.parameters.values()]

def describe(name):
    thing = cupy
    for part in name.split("."):
        try:
            if not hasattr(thing, part):
                return {"library": "nccl"} if thing is cupy.cuda.nccl and not thing.available else None
        except ImportError:  # of a library of CUDA that is not here
            return {"library": part}
        thing = getattr(thing, part)
    return {"parameters": parameters(thing) if callable(thing) else None, "doc": getattr(thing, "__doc__", "") or "",
            "nin": getattr(thing, "nin", None)}

WEAK = {"Python's bool": bool, "Python's int": int, "Python's float": float}

def kind(t):
    return next(i for i, types in enumerate([(bool, numpy.bool_), (int, numpy.integer), (float, numpy.inexact)])
                if issubclass(t, types))

def result(name, operands):  # cupy._core._kernel._Ops.guess_routine, which itself wants arrays
    weak = [WEAK.get(o, False) for o in operands]
    dtypes = tuple(numpy.dtype(w or o) for w, o in zip(weak, operands))
    if all(weak) or not hasattr(cupy, name):
        return None
    if max(kind(w) if w else -1 for w in weak) > max(-1 if w else kind(d.type) for w, d in zip(weak, dtypes)):
        weak = [False] * len(weak)
    op = getattr(cupy, name)._ops._guess_routine_from_in_types(dtypes, tuple(weak))
    return None if op is None or op.error_func is not None else op.out_types[0].name

asked = json.load(sys.stdin)
json.dump({"names": {name: describe(name) for name in asked["names"]},
           "dtypes": [result(name, operands) for name, operands in asked["dtypes"]],
           "version": cupy.__version__}, sys.stdout)
'''

CLASSES = ("ndarray", "RawModule", "RawKernel", "cuda.Device", "cuda.Stream", "cuda.Event", "cuda.MemoryPool",
           "cuda.MemoryPointer", "cuda.nccl.NcclCommunicator")
INSIDE = {"__module__", "__doc__", "__init__", "__slots__", "__getattr__", "__dict__", "__weakref__", "__annotations__",
          "__firstlineno__", "__static_attributes__"}
OPERANDS = [*sorted(dtype.name for dtype in DTYPES), "Python's bool", "Python's int", "Python's float"]
CASES = [(name, operands) for name, function in sorted(UFUNCS.items())
         for operands in itertools.product(OPERANDS, repeat=function._function.nin)]


def surface() -> dict:
    """All that the fake has, by dotted name."""
    found = {}

    def walk(module, prefix):
        for name, thing in vars(module).items():
            if name.startswith("__") and name != "__version__":
                continue
            found[prefix + name] = thing
            if isinstance(thing, types.ModuleType):
                walk(thing, f"{prefix}{name}.")
    walk(emulated_cupy.cupy, "")
    for name in CLASSES:
        found |= {f"{name}.{member}": thing for member, thing in vars(found[name]).items()
                  if member not in INSIDE and (member.startswith("__") or not member.startswith("_"))}
    for name in UFUNCS:
        found |= {f"{name}.__call__": ufunc.__call__, f"{name}.outer": ufunc.outer, f"{name}.at": ufunc.at}
    return found


@pytest.fixture(scope="module")
def real():
    """What the installed CuPy says of every name and dtype in question; it is imported in a process of its own."""
    asked = {"names": sorted(surface()), "dtypes": CASES}
    done = subprocess.run([sys.executable, "-c", DESCRIBE], input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        missing = "No module named 'cupy'" in done.stderr
        message = "CuPy is not installed (pip install cupy-cuda12x; no GPU is needed)" if missing else done.stderr
        if missing and not os.environ.get("CI"):
            pytest.skip(f"the emulated CuPy is NOT held against the real one: {message}")
        pytest.fail(message)
    return json.loads(done.stdout)


def fault(fake, theirs: dict) -> str:
    """What a callable of the fake accepts that CuPy's does not; empty if nothing."""
    mine = [p for p in inspect.signature(fake).parameters.values() if p.name != "self"]
    parameters = theirs["parameters"]
    if parameters is None:
        return "" if not mine else "CuPy's has no signature that can be read"
    parameters = [p for p in parameters if p[0] != "self"]
    positional = [p[0] for p in parameters if p[1].startswith("POSITIONAL")]
    open_ended = any(p[1] == "VAR_KEYWORD" for p in parameters)
    defaults = {name: default for name, _, default in parameters}
    place = 0
    for p in mine:
        if p.kind is p.VAR_POSITIONAL:
            if not any(kind == "VAR_POSITIONAL" for _, kind, _ in parameters):
                return f"CuPy's takes no *{p.name}"
            continue
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            if positional[place:place + 1] != [p.name]:
                return f"CuPy's argument {place} is {positional[place:place + 1]}, here '{p.name}'"
            place += 1
        elif p.name not in defaults and not (open_ended and p.name in theirs["doc"]):
            return f"CuPy's has no keyword '{p.name}'"
        if p.default is not p.empty and p.name in defaults and defaults[p.name] != repr(p.default):
            return f"'{p.name}' is {p.default!r} if it is not given, CuPy's {defaults[p.name]}"
    return ""


def test_every_name_and_argument_is_cupys(real):
    faults = {}
    for name, thing in surface().items():
        theirs = real["names"][name]
        if theirs is None:
            faults[name] = "CuPy has no such name"
        elif theirs.get("library") in ("cublas", "nccl"):  # 600 and 350 MB that only a GPU needs
            continue
        elif isinstance(thing, ufunc):
            if theirs["nin"] != thing._function.nin:
                faults[name] = f"CuPy's takes {theirs['nin']} arguments"
        elif isinstance(thing, types.FunctionType) and (not name.endswith("__") or name.endswith("__call__")):
            faults[name] = fault(thing, theirs)
        elif isinstance(thing, type) and "__init__" in vars(thing) and name not in (
                "ndarray", "cuda.Stream", "cuda.nccl.NcclError"):
            faults[name] = fault(thing.__init__, theirs)  # the first two refuse to be made
    assert {name: what for name, what in faults.items() if what} == {}
    assert len(surface()) > 200


def test_the_comparison_with_cupy_finds_faults():
    def sum(a, axis=None, *, where=None):  # noqa: A001
        """No such keyword."""

    theirs = {"doc": "",
              "parameters": [["a", "POSITIONAL_OR_KEYWORD", None], ["axis", "POSITIONAL_OR_KEYWORD", "None"]]}
    assert "where" in fault(sum, theirs)
    assert "argument 0" in fault(lambda b: 0, theirs)
    assert "argument 1" in fault(lambda a, dtype: 0, theirs)
    assert "0" in fault(lambda a, axis=0: 0, theirs)
    assert "*args" in fault(lambda *args: 0, theirs)
    assert fault(lambda a, *, axis=None: 0, theirs) == ""


def test_dtypes_are_promoted_as_in_cupy(real, cupy):
    """Every ufunc with every pair of dtypes and Python's numbers: the same dtype, or refused here alone."""
    values = {name: cupy.ones(2, name) for name in OPERANDS if "Python" not in name}
    values |= {"Python's bool": True, "Python's int": 1, "Python's float": 1.0}
    accepted = 0
    for (name, operands), expected in zip(CASES, real["dtypes"], strict=True):
        try:
            found = getattr(cupy, name)(*(values[o] for o in operands)).dtype.name
        except TypeError:
            continue
        assert found == expected, f"{name}{operands}: {found}, CuPy {expected}"
        accepted += 1
    assert accepted > len(CASES) / 2


# ---- strict --------------------------------------------------------------------------------------------------------

def test_names_that_are_not_listed_send_the_author_to_cupy(cupy):
    for thing in (cupy, cupy.cuda, cupy.linalg, cupy.ones(2)):
        with pytest.raises(AttributeError, match="see whether CuPy"):
            thing.block()
    with pytest.raises(ImportError):
        import cupyx  # noqa: F401
    with pytest.raises(ImportError):
        import cupy.random  # noqa: F401
    assert not hasattr(cupy.ndarray, "__imatmul__") and not hasattr(cupy.ones(2), "writeable")


@pytest.mark.parametrize("mix", [
    np.asarray, np.array, np.sum, np.sqrt, np.ones_like, np.isfinite, np.ascontiguousarray, np.ndim, np.copy, np.argmax,
    np.float32, pickle.dumps, memoryview, range,
    lambda x: np.array([x, x]), lambda x: np.stack([x, x]), lambda x: np.add(x, 1), lambda x: np.matmul(x, x),
    lambda x: np.maximum.outer(x, x), lambda x: np.add.at(x, 0, 1), lambda x: np.copyto(np.ones(3), x),
    lambda x: np.lib.stride_tricks.as_strided(x, (1,), (4,)), lambda x: np.multiply(np.ones(3), x),
], ids=range(23))
def test_numpy_does_not_take_an_array(mix, cupy):
    with pytest.raises(TypeError):
        mix(cupy.ones(3, np.float32))


H = np.ones(3, np.float32)


@pytest.mark.parametrize("mix", [
    lambda x, xp: x + H, lambda x, xp: H + x, lambda x, xp: x @ H, lambda x, xp: H @ x, lambda x, xp: x == H,
    lambda x, xp: x + np.ones(()), lambda x, xp: x < None, lambda x, xp: x + [1, 2, 3], lambda x, xp: x * 1j,
    lambda x, xp: x * np.float16(1), lambda x, xp: x.__iadd__(H), lambda x, xp: H.__iadd__(x),
    lambda x, xp: xp.add(H, H), lambda x, xp: xp.add(1, 2), lambda x, xp: xp.add(x, x, out=H),
    lambda x, xp: xp.sum(H), lambda x, xp: xp.dot(H, H), lambda x, xp: xp.concatenate([x, H]),
    lambda x, xp: xp.where(x > 0, x, H), lambda x, xp: xp.zeros_like(H), lambda x, xp: xp.copyto(x, H),
    lambda x, xp: x[np.arange(2)], lambda x, xp: x[[0, 1]], lambda x, xp: x[True], lambda x, xp: x[H > 0],
    lambda x, xp: x.__setitem__(0, H[0:1]), lambda x, xp: x.take(np.arange(2)), lambda x, xp: xp.ascontiguousarray(H),
    lambda x, xp: x.astype(np.complex64), lambda x, xp: xp.asarray(["a"]), lambda x, xp: xp.asarray([x, x]),
    lambda x, xp: xp.exp(x, where=x > 0), lambda x, xp: xp.add(x, 1, dtype=np.float64), lambda x, xp: xp.exp(x, x, x),
    lambda x, xp: xp.exp(x.astype(np.uint8)), lambda x, xp: xp.ndarray((3,)), lambda x, xp: x.fill(x),
    lambda x, xp: hash(x), lambda x, xp: xp.zeros(3, np.float16), lambda x, xp: xp.full(3, H),
], ids=range(40))
def test_what_cupy_refuses_or_does_in_silence_is_a_type_error(mix, cupy):
    with pytest.raises(TypeError):
        mix(cupy.ones(3, np.float32), cupy)


@pytest.mark.parametrize("wrong", [
    lambda x, xp: x[xp.asarray([0, 3])], lambda x, xp: x[3], lambda x, xp: x.take(xp.asarray([-4])),  # CuPy wraps
    lambda x, xp: x.__setitem__(xp.asarray([1, 1]), 2.0),  # CuPy leaves open which one wins
    lambda x, xp: x[x], lambda x, xp: xp.ones((3, 3))[x > 0, x > 0],
    lambda x, xp: xp.broadcast_to(x, (2, 3)).__iadd__(1),  # CuPy lets threads race
    lambda x, xp: xp.lib.stride_tricks.as_strided(x, (4,), (4,)),  # CuPy reads beyond the array
    lambda x, xp: xp.lib.stride_tricks.as_strided(x, (2, 2), (4, 4)).__iadd__(1),
    lambda x, xp: xp.add(x, 1, out=xp.empty((2, 3), np.float32)), lambda x, xp: x.sum(axis=()),
    lambda x, xp: xp.dot(x, x, out=xp.empty(())), lambda x, xp: xp.dot(xp.ones((3, 3)), x, out=xp.empty(6)[::2]),
    lambda x, xp: x + xp.ones(2), lambda x, xp: x.reshape(2, 2), lambda x, xp: xp.where(x > 0),
    lambda x, xp: xp.multiply.at(x, 0, 2.0), lambda x, xp: xp.pad(x, 1, mode="edge"), lambda x, xp: bool(x),
], ids=range(19))
def test_what_would_go_wrong_unseen_on_a_gpu_is_an_error(wrong, cupy):
    with pytest.raises((IndexError, ValueError, NotImplementedError)):
        wrong(cupy.ones(3, np.float32), cupy)


def test_numbers_are_taken_and_weak_as_in_cupy(cupy):
    x = cupy.asarray(H)
    for number in (2, 2.0, True, np.float32(2), np.int8(2)):
        assert (x * number).dtype == (number * x).dtype == np.float32
        assert type(number * x) is cupy.ndarray
    assert (x * np.float64(2)).dtype == (np.float64(2) * x).dtype == np.float64  # NumPy's scalars are not weak
    assert (x.sum() * 2.0).dtype == np.float32  # nor are arrays of no axes strong beside Python's numbers
    assert (np.float32(2) ** x).tolist() == [2, 2, 2] and (np.float32(2) > x).tolist() == [True] * 3
    assert (1 - x).tolist() == [0, 0, 0] and (2 / (x + x)).tolist() == [1, 1, 1]


def test_an_operand_that_asks_for_the_operation_gets_it(cupy):
    x = cupy.ones(3, np.float32)
    assert isinstance(x * Tensor(x), Tensor) and isinstance(x @ Tensor(x), Tensor)


# ---- as in NumPy, and where not ------------------------------------------------------------------------------------

def test_views_share_memory_and_copies_do_not(cupy):
    x = cupy.arange(24, dtype=np.float32).reshape(2, 3, 4)
    views = [x[0], x[..., ::2], x[1, 2, 3], x.T, x.transpose(1, 0, 2), x.reshape(6, 4), x.ravel(), x.view(np.int32),
             x.swapaxes(0, 1), x[None], x.squeeze(), cupy.moveaxis(x, 0, -1), cupy.flip(x, 1), cupy.expand_dims(x, 0),
             cupy.broadcast_to(x, (5, 2, 3, 4)), cupy.lib.stride_tricks.as_strided(x, (23, 2), (4, 4)),
             cupy.asarray(x), cupy.ascontiguousarray(x), x.astype(np.float32, copy=False), next(iter(x))]
    copies = [x.copy(), x.flatten(), x.T.reshape(-1), x.astype(np.float32), cupy.array(x), x[cupy.asarray([0, 1])],
              x[x > 0], copy.copy(x), copy.deepcopy(x), cupy.ascontiguousarray(x.T), cupy.stack([x])]
    assert [i for i, v in enumerate(views) if not cupy.shares_memory(x, v)] == []
    assert [i for i, v in enumerate(copies) if cupy.shares_memory(x, v)] == []
    before = x.get()
    x[1, 2, 3:] = 7
    assert views[2].item() == 7 and before[1, 2, 3] == 23


def test_results_have_cupys_layout(cupy):
    """Element-wise results are C-contiguous whatever the operands are; only copies keep the order of axes."""
    x = cupy.ones((2, 3, 4), np.float32).transpose(2, 0, 1)
    host = np.ones((2, 3)).T
    for y in (x + x, cupy.exp(x), -x, x > 0, x.copy(), x.sum(0, keepdims=True), x[cupy.arange(4)],
              cupy.array(host, order="C"), cupy.concatenate([x, x])):
        assert y.flags.c_contiguous
    for y in (x.astype(np.float64), cupy.zeros_like(x), cupy.empty_like(x)):
        assert [s * 4 // y.itemsize for s in y.strides] == list(x.strides)
    assert cupy.asarray(host).flags.f_contiguous  # a transposed NumPy array stays transposed


def test_reductions_and_full_indices_give_arrays(cupy):
    x = cupy.arange(6, dtype=np.float32).reshape(2, 3)
    for y, expected in ((x.sum(), 15), (x.max(), 5), (x[1, 2], 5), (x.mean(), 2.5), (cupy.sqrt(x[0, 1]), 1),
                        (x[0] @ x[0], 5), (x.sum() / x.max(), 3), (x.argmax(), 5), (x.all(), False)):
        assert type(y) is cupy.ndarray and y.shape == () and y.item() == expected
    assert (x.astype(np.uint8).sum().dtype, (x > 0).sum().dtype, x.mean().dtype) == (np.uint64, np.int64, np.float32)


def random_pair(cupy, rng):
    host = rng.standard_normal((4, 5)).astype(np.float32)
    return host, cupy.asarray(host)


@pytest.mark.parametrize("function", [
    lambda x, xp: xp.sum(x, axis=0), lambda x, xp: xp.prod(x, 1), lambda x, xp: xp.mean(x, keepdims=True),
    lambda x, xp: xp.var(x, 0), lambda x, xp: xp.max(x, 1), lambda x, xp: xp.min(x), lambda x, xp: xp.any(x > 1, 0),
    lambda x, xp: xp.all(x > -9), lambda x, xp: xp.argmax(x, 1), lambda x, xp: xp.argmin(x), lambda x, xp: x.T @ x,
    lambda x, xp: xp.dot(x, x.T), lambda x, xp: xp.tensordot(x, x, ([0], [0])), lambda x, xp: xp.where(x > 0, x, 0),
    lambda x, xp: xp.einsum("ij,kj->ik", x, x), lambda x, xp: xp.clip(x, -1, 1),
    lambda x, xp: xp.take(x, x[0].argmax(), 1),
    lambda x, xp: xp.pad(x, ((1, 0), (0, 2)), constant_values=-np.inf), lambda x, xp: xp.stack([x, x], axis=1),
    lambda x, xp: xp.concatenate([x, x], axis=1), lambda x, xp: xp.repeat(x, 2, axis=0), lambda x, xp: abs(x) ** 1.5,
    lambda x, xp: xp.linalg.norm(x), lambda x, xp: xp.linalg.eigvalsh(x @ x.T), lambda x, xp: xp.eye(3, k=1),
    lambda x, xp: xp.full((2,), 3.0), lambda x, xp: xp.full_like(x, 3), lambda x, xp: xp.ones_like(x, dtype=np.int32),
    lambda x, xp: xp.multiply.outer(x[0], x[1]), lambda x, xp: x[x > 0], lambda x, xp: x[:, x[0] > 0],
    lambda x, xp: x[xp.asarray([3, 0, 3]), 1:3], lambda x, xp: x[::-1, ..., None], lambda x, xp: xp.log1p(abs(x)),
    lambda x, xp: ~(x > 0) | (x > 1) & (x < 2), lambda x, xp: xp.arange(2, 9, 3) % 2 // 1, lambda x, xp: x.min(0) - x,
], ids=range(37))
def test_the_values_are_numpys(function, cupy, rng):
    host, x = random_pair(cupy, rng)
    found, expected = function(x, cupy), np.asarray(function(host, np))
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found.get(), expected)


def test_writing_in_place(cupy, rng):
    host, x = random_pair(cupy, rng)
    for xp, a in ((np, host), (cupy, x)):
        same = a
        a[1:3] += a[:2] * 2
        a[:, 0] = 5
        a[xp.asarray([3, 0]), 1] = xp.asarray([1.0, 2.0])
        a[a > 1] = 1
        xp.add.at(a, xp.asarray([0, 0, 2]), xp.ones((3, 5), np.float32))
        xp.add.at(a, (slice(None), 1), 1.0)
        xp.maximum(a, np.float32(0), out=a)
        xp.copyto(a, 9.0, where=a > 3)
        a.sum(0, out=a[0])
        xp.dot(a[:, :4], xp.ones((4, 5), np.float32), out=a)
        a /= np.float32(3)
        a -= 1
        assert a is same
    np.testing.assert_array_equal(x.get(), host)
    with pytest.raises(TypeError):
        x.astype(np.int32).__iadd__(1.5)
    with pytest.raises(TypeError, match="atomic"):
        cupy.add.at(cupy.zeros(3, np.int64), 0, 1)  # as in CuPy


# ---- counts --------------------------------------------------------------------------------------------------------

def test_operations_and_copies_are_counted(cupy):
    with emulated_cupy.counted() as c:
        x = cupy.asarray(np.ones((3, 4), np.float32))
        y = x.T.reshape(3, 4) + x * 2
        y[0] += x[0]
        x[1:][:, ::2].T.ravel()
        cupy.zeros((0, 3)) + 1
        cupy.empty(7)
        x[cupy.arange(2), 1:]
    assert c.operations == {"reshape": 1, "multiply": 1, "add": 2, "ravel": 1, "arange": 1, "getitem": 1}
    assert (c.to_device, c.to_host, c.launches, c.kernels) == (1, 0, 7, {})
    with emulated_cupy.counted() as outer:
        with emulated_cupy.counted() as inner:
            float(y[0, 0])
        y[y > 0] = 1
    assert (inner.to_host, outer.to_host, c.to_host) == (1, 2, 0)
    assert emulated_cupy.counts.to_host >= 2


@pytest.mark.parametrize("look", [
    float, int, bool, repr, str, "{}".format, lambda x: x.get(), lambda x: x.item(), lambda x: x.tolist(),
    lambda x: sys.modules["cupy"].asnumpy(x), devices.to_host, lambda x: x[None][x[None] > 0],
], ids=range(12))
def test_each_look_at_a_value_is_one_copy_to_the_host(look, cupy):
    x = cupy.ones((), np.float32)
    with emulated_cupy.counted() as c:
        look(x)
    assert (c.to_host, c.to_device) == (1, 0)


@pytest.mark.parametrize("send", [
    lambda xp: xp.asarray(H), lambda xp: xp.array(H), lambda xp: xp.asarray([1, 2]),
    lambda xp: xp.asarray(1.5, np.float32), lambda xp: xp.empty(3, np.float32).set(H),
], ids=range(5))
def test_each_value_from_the_host_is_one_copy_to_the_device(send, cupy):
    with emulated_cupy.counted() as c:
        send(cupy)
    assert (c.to_host, c.to_device, c.launches) == (0, 1, 0)


# ---- memory --------------------------------------------------------------------------------------------------------

def test_uninitialized_memory_is_poisoned(cupy):
    assert np.isnan(cupy.empty((3, 4), np.float32).get()).all() and np.isnan(cupy.empty(5).get()).all()
    assert np.isnan((cupy.empty(3) + 1).get()).all() and not cupy.zeros(5).get().any()


def test_memory_is_aligned_limited_and_given_back(cupy):
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.ones(1000, np.float32)
    assert x.data.ptr % 512 == 0 and x[1:].data.ptr == x.data.ptr + 4
    assert pool.used_bytes() == before + 4096
    pool.set_limit(size=before + 8192)
    try:
        y = cupy.empty(1024, np.float32)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 512 bytes"):
            x.sum()
        part = y[:1]
        del x, y
        assert pool.used_bytes() == before + 4096  # a view keeps the whole
        del part
        assert pool.used_bytes() == before and cupy.ones(1024, np.float32).sum().item() == 1024
    finally:
        pool.set_limit(size=0)
    pool.free_all_blocks()
    free, total = cupy.cuda.runtime.memGetInfo()
    assert pool.total_bytes() == pool.used_bytes() == total - free


def test_the_device_answers(cupy):
    assert cupy.cuda.runtime.getDeviceCount() == 1 and cupy.cuda.Device().id == cupy.cuda.get_device_id() == 0
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError) and "+emulated" in cupy.__version__
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.Device(1)
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    end.record()
    cupy.cuda.Stream.null.synchronize()
    assert cupy.cuda.get_elapsed_time(start, end) >= 0
    assert cupy.cuda.Device().compute_capability == "{major}{minor}".format(**cupy.cuda.runtime.getDeviceProperties(0))


# ---- kernels -------------------------------------------------------------------------------------------------------

SOURCE = r'''
extern "C" __global__ void saxpy(float a, const float* __restrict__ x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] += a * x[i];
}
struct Line { float slope; int n; double shift; };
extern "C" __global__ void line(struct Line line, const double* x, double* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < line.n) y[i] = line.slope * x[i] + line.shift;
}
extern "C" __global__ void wide(long long n, double a, const float* const* table, float* y) {
    int i = threadIdx.x;
    if (i < n) y[i] = a * table[i][0];
}
'''
LINE = np.dtype([("slope", np.float32), ("n", np.int32), ("shift", np.float64)], align=True)


@pytest.fixture
def module(cupy):
    return cupy.RawModule(code=SOURCE, options=("--std=c++17",))


def test_a_kernel_computes_on_the_arrays(module, cupy):
    x, y = cupy.arange(100, dtype=np.float32), cupy.ones(100, np.float32)
    saxpy = module.get_function("saxpy")
    with emulated_cupy.counted() as c:
        saxpy((4,), (32,), (np.float32(2), x, y, np.int32(100)))
        saxpy((1, 1, 1), (50, 1), (np.float32(1), x[50:], y[:50], np.int32(50)), shared_mem=64)
    assert c.kernels == {"saxpy": 2} and c.launches == 2 and c.to_device == c.to_host == 0
    expected = 1 + 2 * np.arange(100)
    expected[:50] += np.arange(50, 100)
    assert y.get().tolist() == expected.tolist()


def test_a_struct_is_passed_by_value(module, cupy):
    x, y = cupy.arange(5, dtype=np.float64), cupy.empty(5)
    module.get_function("line")((1,), (8,), (np.array([(2, 4, 0.5)], LINE), x, y))
    assert y[:4].get().tolist() == [0.5, 2.5, 4.5, 6.5] and np.isnan(y[4].item())


def test_python_numbers_and_addresses_are_passed_as_cupy_passes_them(module, cupy):
    rows = [cupy.full(1, i, np.float32) for i in range(3)]
    table, y = cupy.asarray([row.data.ptr for row in rows], np.uint64), cupy.empty(3, np.float32)
    wide = module.get_function("wide")
    wide((1,), (4,), (3, 2.0, table, y))
    wide((1,), (4,), (np.int64(3), np.float64(2), np.uint64(table.data.ptr), y))
    assert y.get().tolist() == [0, 2, 4]


GOOD = {"a": np.float32(1), "x": "x", "y": "y", "n": np.int32(4)}


@pytest.mark.parametrize("change, error", [
    ({"a": 1.0}, TypeError), ({"a": np.float64(1)}, TypeError), ({"a": 1}, TypeError), ({"a": "x"}, TypeError),
    ({"n": 4}, TypeError), ({"n": np.int64(4)}, TypeError), ({"n": np.uint32(4)}, TypeError), ({"n": True}, TypeError),
    ({"x": np.ones(4, np.float32)}, TypeError), ({"x": None}, TypeError), ({"x": 0}, TypeError),
    ({"x": np.float32(0)}, TypeError), ({"x": "double"}, TypeError), ({"x": "int"}, TypeError),
    ({"y": "view"}, ValueError), ({"y": "broadcast"}, ValueError), ({"n": None}, TypeError),
], ids=str)
def test_an_argument_that_does_not_fit_its_parameter_is_refused(change, error, module, cupy):
    arrays = {"x": cupy.ones(4, np.float32), "y": cupy.ones(4, np.float32), "double": cupy.ones(4),
              "int": cupy.ones(4, np.int32), "view": cupy.ones(8, np.float32)[::2],
              "broadcast": cupy.broadcast_to(cupy.ones(1, np.float32), (4,))}
    args = tuple(arrays[v] if isinstance(v, str) else v for v in (GOOD | change).values())
    with emulated_cupy.counted() as c, pytest.raises(error, match=r"saxpy: argument \d \("):
        module.get_function("saxpy")((1,), (4,), args)
    assert c.launches == 0


def test_a_number_is_bfloat16_in_a_kernel_compiled_for_it_and_float32_in_others(cupy):
    source = """
    #ifdef HALF
    typedef unsigned short number;
    #else
    typedef float number;
    #endif
    extern "C" __global__ void set(number* x, const float* y) { x[0] = y[0]; }"""
    y = cupy.ones(1, np.float32)
    for options, good in (((), np.float32), (("-DHALF=1",), BF16)):
        kernel = cupy.RawModule(code=source, options=options).get_function("set")
        kernel((1,), (1,), (cupy.empty(1, good), y))
        for other in {np.dtype(t) for t in (np.float32, BF16, np.uint16)} - {np.dtype(good)}:
            with pytest.raises(TypeError, match="set: argument 0"):
                kernel((1,), (1,), (cupy.empty(1, other), y))


@pytest.mark.parametrize("grid, block, options", [
    ((0,), (4,), {}), ((1,), (0,), {}), ((1,), (2048,), {}), ((1, 70000), (1,), {}), ([1], (4,), {}),
    ((1.0,), (4,), {}), ((1,), (64, 32), {}), ((1,), (1, 1, 128), {}), ((), (4,), {}), ((1, 1, 1, 1), (4,), {}),
    (1, (4,), {}), ((1,), (4,), {"shared_mem": 50000}), ((1,), (4,), {"shared_mem": -1}),
], ids=str)
def test_a_size_that_no_gpu_takes_is_refused(grid, block, options, module, cupy):
    x = cupy.ones(4, np.float32)
    with pytest.raises(ValueError):
        module.get_function("saxpy")(grid, block, (np.float32(1), x, x, np.int32(4)), **options)


def test_a_struct_that_does_not_fit_is_refused(module, cupy):
    x = cupy.ones(4)
    line = module.get_function("line")
    for struct in (np.zeros(2, LINE), np.zeros(1, [("slope", np.float32)]), np.zeros(1), np.float32(1), x):
        with emulated_cupy.counted() as c, pytest.raises(TypeError, match="struct"):
            line((1,), (4,), (struct, x, x))
        assert c.launches == 0
    with pytest.raises(TypeError, match="expected 3 arguments"):
        line((1,), (4,), (x, x))
    with pytest.raises(TypeError, match="uint64 or int64"):
        module.get_function("wide")((1,), (4,), (3, 2.0, x, x.astype(np.float32)))


def test_an_array_that_is_gone_is_not_there_for_a_kernel(module, cupy):
    y, row = cupy.empty(1, np.float32), cupy.ones(1, np.float32)
    table = cupy.asarray([row.data.ptr], np.uint64)
    del row
    with pytest.raises(emulator.KernelFault):
        module.get_function("wide")((1,), (1,), (1, 2.0, table, y))


def test_a_kernel_that_reads_what_nobody_wrote_is_found(module, cupy):
    x, y = cupy.empty(4, np.float32), cupy.zeros(4, np.float32)
    with pytest.raises(emulator.KernelFault):
        module.get_function("saxpy")((1,), (4,), (np.float32(1), x, y, np.int32(4)))


def test_a_kernel_that_leaves_its_array_is_found(module, cupy):
    x, y = cupy.ones(4, np.float32), cupy.zeros(8, np.float32)
    with pytest.raises(emulator.KernelFault):
        module.get_function("saxpy")((1,), (8,), (np.float32(1), x, y, np.int32(8)))


def test_nothing_is_said_when_python_ends_before_the_arrays_do():
    """An array that goes when the names of its module are gone already."""
    program = ("import emulated_cupy, sys; emulated_cupy.device.late = emulated_cupy.cupy.ones(3); "
               "sys.late = emulated_cupy.device.Memory.__del__")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert (done.returncode, done.stderr) == (0, "")


# ---- the engine on it, and on a real card --------------------------------------------------------------------------

@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def device(request):
    """CuPy: the emulated one, and with `-m gpu` the real one."""
    return request.getfixturevalue("cupy" if request.param == "emulated" else "real_cupy")


@contextlib.contextmanager
def copies(device, to_device=None, to_host=None):
    """What is done inside copies so often between the two memories. A real card does not count."""
    if "emulated" not in device.__version__:
        yield
        return
    with emulated_cupy.counted() as c:
        yield
    assert to_device in (None, c.to_device) and to_host in (None, c.to_host)


def test_the_engine_finds_it(cupy):
    assert devices.device_module("cuda") is cupy
    assert devices.array_module(np.ones(2), cupy.ones(2)) is cupy is cupy.get_array_module(cupy.ones(2))
    assert devices.to_host(cupy.ones(2)).tolist() == [1, 1]


def test_afterwards_everything_is_as_before(monkeypatch):
    def modules():
        return {name: module for name, module in sys.modules.items() if name.startswith("cupy")}
    for name in ("cupy", "cupy.random", "cupyx"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    before = modules()
    with pytest.raises(KeyError), emulated_cupy.installed():
        import cupy
        import cupy.cuda.runtime
        from cupy.lib.stride_tricks import as_strided
        assert cupy is emulated_cupy.cupy and callable(as_strided)
        raise KeyError
    assert modules() == before


def functions():
    def f(name, *shapes):
        return lambda function: table.append(pytest.param(function, shapes, id=name))
    table = []
    f("arithmetic", (3, 4), (4,))(lambda x, y: x * y + x / (y * y + 2) - 3 * x ** 2 + (1 - y))
    f("functions", (3, 4))(lambda x: ops.tanh(x) + ops.sigmoid(x) * ops.softplus(x) + ops.exp(x) + ops.sqrt(x * x + 1))
    f("leaky", (3, 4))(lambda x: ops.leaky_relu(x) * ops.relu(x) * x)
    f("log-softmax", (3, 5))(lambda x: ops.log_softmax(x))
    f("reductions", (3, 4))(lambda x: ops.mean(x, 0) * ops.sum(x, (0, 1)) + ops.max(x, 1)[0])
    f("products", (3, 4), (4, 2), (5, 1, 2, 3))(lambda x, y, z: (x @ y)[0] @ (z @ x @ y)[:, 0])
    f("moving", (2, 3, 4))(
        lambda x: ops.concatenate([x[:, ::2].transpose(2, 0, 1), x.reshape(4, 2, 3)], 2)[1:, None] ** 2)
    f("pooling", (2, 5, 6, 3))(lambda x: pool(x))
    f("pooling-2x2", (2, 4, 6, 3))(
        lambda x: pool_ops.upsample2d(pool_ops.mean_pool2d(x) ** 2) * x + ops.sum(pool_ops.sum_pool2d(x) ** 2))
    x, b = (2, 5, 4, 3), (4,)
    f("conv-1x1", x, (4, 1, 1, 3), b)(lambda x, W, b: conv_ops.conv2d(x, W, b, slope=0.1))
    f("conv-3x3", x, (4, 3, 3, 3), b)(lambda x, W, b: conv_ops.conv2d(x, W, b, 1, 1, 0.1))
    f("conv-4x4-stride-2", x, (4, 4, 4, 3), b)(lambda x, W, b: conv_ops.conv2d(x, W, b, 2, 1, 0.0))
    f("conv-2x1-stride-3", x, (4, 2, 1, 3), b)(lambda x, W, b: conv_ops.conv2d(x, W, b, 3, (1, 0), 0.2))
    f("conv-transpose", (2, 3, 2, 4), (4, 4, 4, 3), (3,))(lambda x, W, b: conv_ops.conv_transpose2d(x, W, b, 2, 1, 0.1))
    f("conv-transpose-stride-3", (2, 3, 2, 4), (4, 2, 2, 3))(
        lambda x, W: conv_ops.conv_transpose2d(x, W, None, 3, output_pad=1))
    f("upsample-conv", x, (4, 3, 3, 3), b)(lambda x, W, b: conv_ops.upsample_conv2d(x, W, b, 0.1))
    f("conv-mean-pool", (2, 4, 6, 3), (4, 3, 3, 3), b)(lambda x, W, b: conv_ops.conv_mean_pool2d(x, W, b))
    f("linear", (3, 5), (4, 5), b)(lambda x, W, b: conv_ops.linear(x, W, b))
    f("batch-normalize", (3, 2, 2, 4), b, b)(
        lambda x, g, b: BatchNormalize(1e-2, 0.1)(x, g, b))
    f("conditional-normalize", (3, 2, 2, 4), (5, 4), (5, 4))(by_label)
    f("added-to-a-gradient", (3, 2, 4), b, b)(added)
    f("losses", (3, 5), (3, 5))(lambda x, y: mean_of("relu", x, -1, 0.3) + mean_of("softplus", y, -1) * 2
                                + mean_of("square", x, 1, -0.5) + mean_of("linear", x, -1) * mean_of("softplus", x))
    f("spectral-normalize", (4, 6))(lambda W: SpectralNormalize(*power_iteration(W.data, W.data[:, 0], 2))(W))
    f("scaled", x, (4, 3, 3, 3), b, (2, 40), (4, 3, 3, 4))(scaled)
    f("sample-norms", (3, 2, 5))(lambda x: SampleNorms()(x))
    return table


def scaled(x, W0, b, W1, W2):
    """Layers of all kinds with weights W / sigma that are never multiplied: normalize_together's way."""
    Ws = (W0, W1, W2)
    matrices = [W.data.reshape(len(W), -1) for W in Ws]
    us, vs, sigmas, inverses = power_iterations(matrices, [m[:, 0].copy() for m in matrices], 2)
    together = SpectralNormalizeAll([Part(pair) for pair in zip(us, vs, strict=True)], sigmas)(*Ws)
    W0, W1, W2 = (Scaled(W, inverses[i:i + 1]) for i, W in enumerate(together))
    y = conv_ops.conv_mean_pool2d(conv_ops.upsample_conv2d(conv_ops.conv2d(x, W0, b, 1, 1, 0.1), W2), W2)
    return conv_ops.linear(ops.reshape(y, (len(y), -1))[:, :40], W1)


def added(x, gamma, beta):
    """What a leaky ReLU and a batch normalization add to a gradient that is there already: of a variable, and not."""
    h = x * x
    y = BatchNormalize(1e-2, 0.1)(h, gamma, beta) + ops.leaky_relu(h) * 3 + BatchNormalize(1e-2)(x, gamma, beta) * h
    return y + ops.leaky_relu(x, 0.2) * x + ops.broadcast_to(ops.mean(h, 0), h.shape)


def by_label(x, gamma, beta):
    """A batch normalization with a gain for each class, of what is used once more."""
    h = x * x
    return ConditionalNormalize(devices.array_module(x.data).array([3, 0, 3]), 1e-2, 0.1)(h, gamma, beta) + h * 3


def pool(x):
    return ops.sum(pool_ops.max_pool2d(x, 3, 2, 1)) * pool_ops.sum_pool2d(pool_ops.upsample2d(x), 3, 2, 1) \
        + conv_ops.Spread()(ops.transpose(x, (0, 1, 2, 3)))[:, :5, :6] ** 2


def derivatives(function, arrays):
    """function's value, gradient, the gradient of the gradient's square, and the fused gradient, on the host."""
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    y = function(*xs)
    first = grad(ops.sum(y * y), xs, create_graph=True)
    second = grad(sum((ops.sum(g * g) for g in first[1:]), ops.sum(first[0] * first[0])), xs)
    fused = grad(ops.sum(y * y), xs)
    return [devices.to_host(t.data) for t in (y, *first, *second, *fused)]


@pytest.mark.parametrize("function, shapes", functions())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_and_their_derivatives_are_numpys(function, shapes, dtype, device, rng):
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    expected = derivatives(function, arrays)
    with copies(device, to_host=len(expected)):  # what derivatives() fetches at its end, nothing on the way
        found = derivatives(function, [device.asarray(a) for a in arrays])
    compare(found, expected)


def compare(found, expected):
    """Equal but for rounding, of the largest number of each: some sums of up to a hundred terms, one after another."""
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=scale * (1e-5 if b.dtype == np.float32 else 1e-13))


X = (4, 6, 5, 3)
TILED = {  # a layer, and the bytes of all its windows in float32: 3240 to an image, or 1536
    "conv": (lambda x, W: conv_ops.conv2d(x, W, None, 1, 1), [X, (2, 3, 3, 3)], 12960),
    "conv-transpose": (lambda x, W: conv_ops.conv_transpose2d(x, W, None, 2, 1), [(4, 3, 4, 2), (2, 4, 4, 2)], 6144),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pictures", [0.25, 1, 1.5], ids=["part", "one", "one-and-a-half"])
@pytest.mark.parametrize("layer", TILED)
def test_a_layer_in_tiles_is_numpys_and_needs_no_more_than_a_tile(layer, pictures, dtype, cupy, rng, monkeypatch):
    """Tiles of a part of an image, of one, and of some: forward, both gradients, and their gradients."""
    function, shapes, whole = TILED[layer]
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    size = np.dtype(dtype).itemsize // 4
    tile = int(whole * size * pictures / len(arrays[0]))
    monkeypatch.setattr(im2col, "CUDA_TILE_BYTES", tile)
    cublas.product(cupy.ones((1, 1), np.float32), cupy.ones((1, 1), np.float32))  # its work space is made once
    with emulated_cupy.counted() as c:
        found = derivatives(function, [cupy.asarray(a) for a in arrays])
    compare(found, derivatives(function, arrays))
    most = max(a.nbytes for a in [*arrays, *found])  # what must be there anyway
    assert most < whole * size
    assert c.largest <= max(2 * tile, most)  # a weight gradient's tiles are twice as large


def test_layers_normalizations_and_optimizers_are_numpys(device, rng):
    """A few steps of a small network with everything in it that needs no convolution."""
    def run(xp, make):
        seeds = np.random.default_rng(5)
        # no bias: before batch normalization its gradient is nothing but rounding, which Adam makes large
        dense = Linear(seeds, 6, 5, glorot_uniform(), bias=False, norm=SpectralNorm(2)).to(xp)
        norm = BatchNorm(5, slope=0.1).to(xp)
        params = {f"dense/{n}": p for n, p in dense.params.items()} | {f"bn/{n}": p for n, p in norm.params.items()}
        optimizer, found = make(params), []
        x = Tensor(xp.asarray(seeds.standard_normal((8, 6)).astype(np.float32)))
        for _ in range(4):
            loss = ops.mean(ops.softplus(norm(dense(x))) ** 2)
            optimizer.step(grad(loss, list(params.values())), 0.05)
            found.append(loss.detach())
        arrays = dense.arrays() | norm.arrays()
        dense.load(dense.arrays())
        norm.load(norm.arrays())
        optimizer.load(optimizer.arrays())
        after = norm(dense(x, False), False)
        return [loss.item() for loss in found], arrays, devices.to_host(after.data), \
            largest_singular_value(dense.params["W"].data)

    for make in OPTIMIZERS.values():
        found, expected = run(device, make), run(np, make)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
        for name, a in expected[1].items():
            np.testing.assert_allclose(found[1][name], a, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[2], expected[2], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[3], expected[3], rtol=1e-6)


def test_the_power_iteration_stays_on_the_device(device, rng):
    W, u, gy = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 7), 5, (5, 7)))
    with copies(device, to_device=4, to_host=0):
        found = power_iteration(device.asarray(W), device.asarray(u))
        gradient = spectral_gradient(device.asarray(gy), device.asarray(W), *found)
    assert [a.shape for a in found] == [(5,), (7,), ()]
    expected = power_iteration(W, u)
    for a, b in zip((*found, gradient), (*expected, spectral_gradient(gy, W, *expected)), strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-4, atol=1e-5)


TOGETHER = {  # the normalizations that normalize_together takes, and how they are told apart from the simplest
    "sn": lambda shared: SpectralNorm(),
    "ssn": lambda shared: SpectralNorm(scale=1.7),
    "bsn": lambda shared: BidirectionalNorm(),
    "bssn": lambda shared: BidirectionalNorm(2, scale=0.6),
    "sn-gamma": lambda shared: Gain(SpectralNorm()),
    "bsn-gamma-shared": lambda shared: Gain(BidirectionalNorm(scale=1.3), shared=shared),
    "sn-through": lambda shared: SpectralNorm(through=True),
    "bssn-through-update": lambda shared: BidirectionalNorm(scale=1.3, schedule="update", through=True),
    "bsn-gamma-through": lambda shared: Gain(BidirectionalNorm(through=True)),
}


def normalized_layers(norm, dtype, xp):
    """A convolution of zero weights, another, one of 1 x 1, a dense layer; gammas are not 1."""
    rng, shared = np.random.default_rng(3), []
    layers = [*(Conv2d(rng, n_in, n_out, k, pad=k // 2, init=normal(0.3), norm=TOGETHER[norm](shared))
                for n_in, n_out, k in ((3, 3, 3), (3, 5, 3), (5, 4, 1))),
              Linear(rng, 4, 2, glorot_uniform(), norm=TOGETHER[norm](shared))]
    for layer in layers:
        for name, p in layer.params.items():
            p.data = (p.data * 1.25 if name == "gamma" else p.data).astype(dtype)
        layer.state.update({name: a.astype(dtype) for name, a in layer.state.items()})
        layer.to(xp)
    layers[0].params["W"].data[...] = 0
    return layers


def derivatives_of_layers(layers, x, together):
    """Value, gradient, the gradient of a gradient penalty, and the fused gradient, with respect to every parameter."""
    params = list(dict.fromkeys(p for layer in layers for p in layer.params.values()))
    how = Pass(weights=normalize_together(layers, True) if together else {})
    assert len(how.weights) == (4 if together and kernels_take(x.data) else 0)
    h = x + layers[0].forward(x, how)
    for layer in layers[1:3]:
        h = layer.forward(h, how)
    y = ops.sum(ops.tanh(layers[3].forward(ops.sum(h, (1, 2)), how)) ** 2)
    first = grad(y, [x, *params], create_graph=True)
    second = grad(sum((ops.sum(g * g) for g in first[1:]), ops.sum(first[0] * first[0])), params)
    return [devices.to_host(t.data) for t in (y, *first, *second, *grad(y, params))], \
        [devices.to_host(a) for layer in layers for a in layer.state.values()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("norm", TOGETHER)
def test_normalized_layers_are_numpys_one_by_one_in_float64(norm, together, dtype, device, rng):
    x = rng.standard_normal((3, 4, 4, 3))
    expected, states = derivatives_of_layers(normalized_layers(norm, np.float64, np), Tensor(x, True), False)
    layers = normalized_layers(norm, dtype, device)
    found, moved = derivatives_of_layers(layers, Tensor(device.asarray(x.astype(dtype)), True), together)
    # float32: a gamma's second derivative is what is left of sums that are a thousand times as large
    rtol = 1e-3 if dtype == np.float32 else 1e-10
    for a, b in zip([*found, *moved], [*expected, *states], strict=True):
        assert (a.dtype, a.shape) == (dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(np.abs(b).max(), 1e-3))
        assert b.any() or not a.any()  # zero weights: zeros
    assert not devices.to_host(spectral_weight(layers[0])).any()
    assert not expected[2].any()  # the gradient of the layer of zeros


@pytest.mark.parametrize("norm", TOGETHER)
def test_all_layers_at_once_in_float64_are_each_by_itself(norm, monkeypatch, rng):
    """The same functions in NumPy, where the package leaves each layer to itself: without float32's rounding."""
    x = rng.standard_normal((3, 4, 4, 3))
    expected, states = derivatives_of_layers(normalized_layers(norm, np.float64, np), Tensor(x, True), False)
    for module in ("minigan.nn.normalized_together.kernels_take", f"{__name__}.kernels_take"):
        monkeypatch.setattr(module, lambda *arrays: True)
    found, moved = derivatives_of_layers(normalized_layers(norm, np.float64, np), Tensor(x, True), True)
    for a, b in zip([*found, *moved], [*expected, *states], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * max(np.abs(b).max(), 1e-3))


def test_the_gradient_through_several_iterations_is_left_to_each_layer(cupy, rng):
    for n_iter in (1, 2):
        layer = Linear(rng, 3, 2, glorot_uniform(), norm=SpectralNorm(n_iter, through=True)).to(cupy)
        assert len(normalize_together([layer], True)) == 2 - n_iter


def test_u_moves_on_before_the_gradient_through_its_iteration_is_asked_for(device, rng):
    """As when the real images' forward is followed by the fake ones'."""
    x, both = rng.standard_normal((3, 4)).astype(np.float32), []
    for xp in (np, device):
        layer = Linear(np.random.default_rng(1), 4, 3, glorot_uniform(), norm=BidirectionalNorm(through=True)).to(xp)
        ys = [layer.forward(Tensor(xp.asarray(x)), Pass(weights=normalize_together([layer], True))) for _ in range(3)]
        both.append([devices.to_host(grad(ops.sum(y ** 3), layer.params["W"]).data) for y in ys])
    compare(*both)
    assert not np.allclose(both[0][0], both[0][1], rtol=1e-3)


def spectral_weight(layer):
    return layer.norm.weight(layer, (), False).data


def test_the_edges_of_a_loop_are_the_same_on_both(device):
    for xp in (np, device):
        for dtype in (np.float32, np.float64):
            assert sample_norms(xp.ones((0, 3, 2), dtype)).shape == (0,)
            assert devices.to_host(sample_norms(xp.ones((3, 0), dtype))).tolist() == [0, 0, 0]
            for size in ((1, 1), (1, 4), (4, 1)):
                with pytest.raises(ValueError, match="pool2x: expected images of at least 2 x 2 pixels"):
                    pool2x(xp.ones((2, *size, 3), dtype))
            assert pool2x(xp.ones((0, 2, 3, 5), dtype)).shape == (0, 1, 1, 5)


def test_embedding_looks_up_rows(device, rng):
    W = rng.standard_normal((4, 3)).astype(np.float32)
    labels = np.array([2, 0, 2, 3])
    for xp in (np, device):
        x = Tensor(xp.asarray(W), requires_grad=True)
        y = ops.embedding(x, labels)
        with emulated_cupy.counted() as c:
            (g,) = grad(y, [x], gy=y * 2)
        assert c.kernels == ({} if xp is np else {"add_rows": 1}) and set(c.operations) <= {"multiply"}
        assert devices.to_host(y.data).tolist() == W[labels].tolist()
        np.testing.assert_allclose(devices.to_host(g.data), 2 * W * np.array([[1], [0], [2], [1]]), rtol=1e-6)
    with pytest.raises(ValueError, match="0 to 4"):
        ops.embedding(x, np.array([0, 4]))
