# %% [markdown]
# # 7. From NumPy to CUDA
#
# Chapter 3's power iteration is four lines of NumPy. On a GPU it is one of the smallest kernels that is not trivial
# (the first in kernels/power_iteration.cu, forty lines), and has all that is hard about kernels: threads that share
# work, sums over threads, and the moments when everybody must wait. We write it in Python first, where threads are
# generators; then take away one wait, and look for the mistake by eye, by result and by machine. No GPU is needed for
# any of it.

# %%
import importlib.util
import shutil
import sys
from pathlib import Path

import chapter
import numpy as np
from chapter import BLUE, GREEN, GREY, ORANGE, PINK, RED, plt, save

from minigan.engine import cuda
from minigan.engine.loops.power_iteration import power_iteration as in_numpy

# %% [markdown]
# ## A kernel in Python
#
# A kernel is a function that every thread runs, each with a number t of its own, on arrays that all of them see. Here
# it is a generator, and `yield` is CUDA's `__syncthreads()`: "I wait here until all others have come as far".
# Thread t takes the columns t, t + T, t + 2 T, ... of W, in both products: for W^T u it has them to itself; for W v
# each row is a sum over all threads.

# %%
def block_sum(t, value, shared):
    """The sum of every thread's value, for every thread."""
    shared[t] = value
    yield  # all values are there
    total = sum(shared[i] for i in range(len(shared.data)))
    yield  # all have read; shared may be written again
    return total


def power_iteration(t, T, W, u, v, shared, barrier=True):
    rows, cols = W.shape
    squares = 0.0
    for c in range(t, cols, T):  # v = W^T u
        v[c] = sum(W[r, c] * u[r] for r in range(rows))
        squares += v[c] ** 2
    length = np.sqrt((yield from block_sum(t, squares, shared)))
    for c in range(t, cols, T):
        v[c] = v[c] / length
    squares = 0.0
    for r in range(rows):  # u = W v
        total = yield from block_sum(t, sum(W[r, c] * v[c] for c in range(t, cols, T)), shared)
        if t == 0:
            u[r] = total
        squares += total**2
    if barrier:
        yield  # all of u is there
    for r in range(t, rows, T):
        u[r] = u[r] / np.sqrt(squares)


# %% [markdown]
# And a machine to run it. Between two barriers the threads of a GPU run in any order; so let us choose the order. An
# array that all threads see keeps a log: in which interval between barriers did which thread read or write which place?
# Two accesses in **one interval**, to one place, by two threads, one of them a write: that is a race. Nothing says who
# comes first, whatever came out today.

# %%
class Logged:
    def __init__(self, data):
        self.data, self.log, self.now = data, [], (0, 0)  # now: interval, thread

    def __getitem__(self, place):
        self.log.append((*self.now, place, "reads"))
        return self.data[place]

    def __setitem__(self, place, value):
        self.log.append((*self.now, place, "writes"))
        self.data[place] = value

    def races(self):
        together = {}
        for interval, thread, place, access in self.log:
            together.setdefault((interval, place), set()).add((thread, access))
        return [key for key, who in together.items()
                if len({thread for thread, _ in who}) > 1 and "writes" in {access for _, access in who}]


def run(W, u, T=8, backwards=False, **how):
    """Returns u, v, shared after one power iteration by T threads, in one order or the other."""
    arrays = Logged(u.copy()), Logged(np.full(W.shape[1], np.nan)), Logged(np.full(T, np.nan))
    threads, interval = {t: power_iteration(t, T, W, *arrays, **how) for t in range(T)}, 0
    while threads:
        for t in sorted(threads, reverse=backwards):
            for array in arrays:
                array.now = interval, t
            try:
                next(threads[t])  # as far as the next barrier
            except StopIteration:
                del threads[t]
        interval += 1
    return arrays


rng = np.random.default_rng(0)
W, u = rng.standard_normal((6, 20)), rng.standard_normal(6)
expected, _, _ = in_numpy(W, u)
good, bad, lucky = run(W, u, backwards=True), run(W, u, backwards=True, barrier=False), run(W, u, barrier=False)
np.testing.assert_allclose(good[0].data, expected)
np.testing.assert_allclose(lucky[0].data, expected)  # the barrier is missing, and nothing is wrong, in this order
assert not np.allclose(bad[0].data, expected)  # in this order it is
assert not any(array.races() for array in good) and bad[0].races() and lucky[0].races() == bad[0].races()
print("without the barrier: right in one order of threads, wrong in the other, a race in both")

colours = [BLUE, ORANGE, GREEN, PINK, "#56b4e9", GREY, "black", "#a6761d"]
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
for axis, arrays, title in ((axes[0], good, "with the barrier"), (axes[1], bad, "without it")):
    for interval, thread, place, access in arrays[0].log:
        if access == "writes":  # the threads go from 7 to 0: that is time, within an interval
            axis.plot(interval + (3.5 - thread) / 10, place, "s", ms=9, color=colours[thread])
    for interval, place in arrays[0].races():
        axis.add_patch(plt.Rectangle((interval - 0.45, place - 0.35), 0.9, 0.7, fill=False, ec=RED, lw=2.5))
    for barrier in range(11, 14 if arrays is bad else 15):
        axis.axvline(barrier + 0.5, color=GREY, lw=1)
    axis.set(title=f"{title}: {len(arrays[0].races()) or 'no'} race", xlabel="interval between two barriers",
             xlim=(10.5, 15.5), xticks=range(11, 16))
axes[0].set(ylabel="element of u")
figure.legend(handles=[plt.Line2D([], [], marker="s", ls="", color=colours[t], label=f"{t}") for t in range(6)],
              title="written by\nthread", loc="outside right center")
save("07_race")

# %% [markdown]
# ## Who reads what
#
# Why this way of sharing? Memory is fetched in sectors of 32 bytes, eight floats. In both products neighbouring threads
# read neighbouring numbers at a time, and a sector serves eight of them. "A thread a row", the first thing one would
# write for W v, fetches a sector for every single number (and must hope that a cache keeps it for the next seven).

# %%
t = np.arange(8)
figure, axes = plt.subplots(1, 3, figsize=(9, 2.9))
for axis, title, rows, columns, tail, head in (
        (axes[0], "W$^T$u: a column a thread", 0 * t, t, (3.5, 0.8), (3.5, 6.5)),
        (axes[1], "W v: all threads a row", 0 * t, t, (8, 0), (20, 0)),
        (axes[2], "W v: a row a thread", t, 0 * t, (8, 3.5), (20, 3.5))):
    fetched = np.zeros((8, 24))
    fetched[rows, :8] = 0.3
    axis.imshow(fetched, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    for i in t:
        axis.text(columns[i], rows[i], i, ha="center", va="center", color=colours[i], weight="bold", fontsize=10)
    axis.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": GREY, "lw": 2})
    sectors = len(set(rows))
    axis.set(title=title, xlabel=f"sectors for 8 threads at a time: {sectors}", xticks=[], yticks=[])
save("07_sharing")

# %% [markdown]
# ## The real one
#
# Now kernels/power_iteration.cu itself. minigan's tests bring an emulator (tests/emulator): g++ compiles the file
# unchanged, every thread is a fiber that changes at barriers, and a checker sees each load and store. It is `run` and
# `Logged` above, for C. (It needs g++ and pytest; without them this chapter ends here.)

# %%
if shutil.which("g++") is None or importlib.util.find_spec("pytest") is None:
    print("skipped: to run the CUDA source, install g++ and pytest")
    sys.exit()
sys.path.insert(0, str(Path(chapter.__file__).resolve().parents[1] / "tests"))
import emulator  # noqa: E402

source = cuda.source("power_iteration.cu")
W, u = rng.standard_normal((24, 40)).astype(np.float32), rng.standard_normal(24).astype(np.float32)
expected, _, expected_sigma = in_numpy(W, u, n_iter=2)


def launch(text, kernel, *arrays_and_numbers, threads=64):
    """Run a kernel in one block; its arguments as arrays on the host afterwards."""
    buffers = {i: emulator.memory.allocate(a.nbytes) for i, a in enumerate(arrays_and_numbers) if a.ndim}
    for i, buffer in buffers.items():
        emulator.memory.copy_from_host(buffer.address, arrays_and_numbers[i])
    arguments = [buffers.get(i, a) for i, a in enumerate(arrays_and_numbers)]
    emulator.Module(text, "power_iteration.cu").launch(kernel, (1,), (threads,), arguments)
    return [buffers[i].array(np.float32, a.shape).copy() for i, a in enumerate(arrays_and_numbers) if a.ndim]


def iterate(text):
    blank = [np.full(n, np.nan, np.float32) for n in (24, 40, 1)]
    numbers = np.int32(24), np.int32(40), np.int32(2), np.float32(1e-12)
    return launch(text, "power_iteration", W, u, *blank, *numbers)[2:]


for seed in range(20):
    with emulator.order("random", seed):
        new_u, new_v, sigma = iterate(source)
    np.testing.assert_allclose(new_u, expected, atol=1e-6)
print(f"the kernel, in 20 orders of 64 threads: sigma = {sigma[0]:.5f}, NumPy's {expected_sigma:.5f}, no complaint")

# %% [markdown]
# Take away the barrier after the rows. By result alone, one would have to be lucky to notice: sigma is right in one
# order, and merely a little off in the other. The checker does not depend on luck.

# %%
wait = "__syncthreads();  // all of u is there\n        length"
assert source.count(wait) == 1
broken = source.replace(wait, "\n        length")
for order in ("ascending", "descending"):
    with emulator.order(order), emulator.checking(False):
        print(f"without the barrier, {order}: sigma = {iterate(broken)[2][0]:.5f}")
    with emulator.order(order):
        try:
            iterate(broken)
        except emulator.KernelFault as fault:
            print("  the checker:", str(fault).splitlines()[0])
            assert "race in global memory" in fault.kinds
        else:
            raise AssertionError("the race was not found")

# %% [markdown]
# The emulator also counts sectors, so the second image can be checked, with a kernel that takes a row a thread.

# %%
row_a_thread = """extern "C" __global__ void row_a_thread(const float* W, float* u, int cols) {
    float sum = 0.0f;
    for (int c = 0; c < cols; c++) sum += W[threadIdx.x * cols + c];
    u[threadIdx.x] = sum;
}"""
with emulator.profile() as profile:
    iterate(source)
    launch(row_a_thread, "row_a_thread", rng.standard_normal((64, 40)).astype(np.float32), np.zeros(64, np.float32),
           np.int32(40))
reads = [line for line in profile.lines if line.access == "reads" and not line.shared]
waste = {kernel: max(line.units / line.fewest for line in reads if line.kernel == kernel)
         for kernel in ("power_iteration", "row_a_thread")}
print("sectors fetched, of those needed:", {kernel: f"{times:.1f} times" for kernel, times in waste.items()})
assert waste["power_iteration"] < 1.5 and waste["row_a_thread"] == 8

# %% [markdown]
# Learned: a kernel is a loop whose turns are shared out; sums over threads need barriers, and a missing one may show in
# no result; so races are looked for by rule, not by luck. And threads share the work along memory, not along the
# equation. The other kernels in power_iteration.cu do the same for all layers at once, with all of the GPU.
