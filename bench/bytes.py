"""Where does a training step's time go, and what is the least that it could take?

    python bench/bytes.py [CASE ...] [--repeats 5]

Cases are those of train_step.py. For each kind of operation, on one thread: milliseconds in a step, multiplications as
they are done (Winograd's, where that way is taken), MB of arrays that it reads and writes, MB of columns and of
Winograd's transforms that it writes and reads again on the way. All is counted from shapes. "limit" is the longest of
three: multiplications over a plain sgemm's rate, arrays over the rate at which a large array is copied, arrays and
columns over that of a small one in the cache; all three rates are measured in the same run. What is not within one of
these operations (Python, the loss, small operations) is "the rest". Then the step's own time on one thread and on all
of this process's; a second process (networks/elsewhere.py) does no share of it.
"""

import argparse
import math
import statistics
import time
from collections import defaultdict

import numpy as np
import usage
from train_step import CASES, minigan_steps

from minigan.engine import conv_ops, ops, products, thread_pool, winograd
from minigan.networks import elsewhere
from minigan.nn import feature_norms, optimizers, spectral_norms

F = 4  # bytes of a number


def convolution(shape, kernel, stride, C, O, gradient=False):
    """(multiplications, numbers of columns or transforms written) of one with `shape` (N, oh, ow) of results."""
    N, oh, ow = shape
    pixels, K = N * oh * ow, math.prod(kernel) * C
    if stride == 1 and winograd.pays(N, (oh, ow), kernel, C, O, np.dtype(np.float32)):
        t, m, r = winograd.T ** 2, winograd.M ** 2, winograd.R ** 2
        tiles = N * -(-oh // winograd.M) * -(-ow // winograd.M)
        done = t * tiles * C * O + t * (t * tiles * C + m * tiles * O + r * C * O)
        return done, t * tiles * (2 * C + O) + m * tiles * O + t * C * O
    return pixels * K * O, pixels * (K if stride > 1 or min(C, O) > 4 else math.prod(kernel) * min(C, O))


def of_correlate(x, W, stride, top, left, out, *rest):
    O, kh, kw, C = W.shape
    done, columns = convolution(out.shape[:3], (kh, kw), stride, C, O)
    return done, x.size + W.size + out.size, columns


def of_transposed(gy, W, stride, pad, out, *rest):
    """stride * stride correlations of gy, each with a share of the taps."""
    O, kh, kw, C = W.shape
    N, H, Wi = out.shape[:3]
    if stride == 1:
        done, columns = convolution((N, H, Wi), (kh, kw), 1, O, C)
    else:
        done, columns = gy.size * W.size // O, N * H * Wi * -(-kh // stride) * -(-kw // stride) * O
    return done, gy.size + W.size + out.size, columns


def of_weights(x, gy, kernel, stride, pad):
    C, O = x.shape[3], gy.shape[3]
    done, columns = convolution(gy.shape[:3], kernel, stride, C, O)
    return done, x.size + gy.size + math.prod(kernel) * C * O, columns


def of_matmul(a, b):
    m, n = a.shape[-2], b.shape[-1]
    return a.size * n, a.size + b.size + a.size // a.shape[-1] // m * m * n, 0


COUNTED = {  # (where it is called from, name) -> arguments -> (multiplications, numbers read and written, columns)
    (conv_ops, "correlate"): of_correlate,
    (conv_ops, "correlate_transposed"): of_transposed,
    (conv_ops, "correlate_weights"): of_weights,
    (products, "matmul"): of_matmul,
    (conv_ops, "bias_leaky_gradient"): lambda gy, y, *rest: (0, gy.size * (1 if y is None else 3), 0),
    (ops, "leaky_gradient"): lambda gy, y, slope, before=None: (0, gy.size * (3 if before is None else 4), 0),
    (feature_norms, "batch_statistics"): lambda x, *rest: (0, 2 * x.size, 0),
    (feature_norms, "normalize"): lambda x, *rest: (0, 2 * x.size, 0),
    (feature_norms, "normalize_gradient"): lambda gy, x, *rest: (0, 7 * x.size, 0),
    (optimizers, "adam_all"): lambda ws, *rest: (0, 7 * sum(w.size for w in ws), 0),
    (spectral_norms, "power_iteration"): lambda W, *rest: (0, 2 * W.size, 0),
    (spectral_norms, "spectral_gradient"): lambda gy, W, *rest: (0, 7 * W.size, 0),
}


class Watch:
    """Stands in for these functions, and adds up their time and what they move."""

    def __init__(self):
        self.rows = defaultdict(lambda: np.zeros(5))  # calls, seconds, multiplications, numbers, columns
        self.on, self.inner = False, 0.0
        for (module, name), count in COUNTED.items():
            setattr(module, name, self.stand_in(name, getattr(module, name), count))

    def stand_in(self, name, function, count):
        def watched(*args, **more):
            if not self.on:
                return function(*args, **more)
            outer, self.inner, begin = self.inner, 0.0, time.perf_counter()
            result = function(*args, **more)
            took = time.perf_counter() - begin
            self.rows[name] += 1, took - self.inner, *count(*args)
            self.inner = outer + took
            return result
        return watched


def seconds(function, repeats):
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])  # the first is a warm-up


def rates(sgemm, repeats):
    """Multiplications, bytes of large arrays and bytes of small ones per second."""
    large, small = (np.ones(n, np.float32) for n in (64 << 20, 128 << 10))
    to_large, to_small = np.empty_like(large), np.empty_like(small)
    return (2048 ** 3 / seconds(sgemm, repeats),
            2 * large.nbytes / seconds(lambda: np.copyto(to_large, large), repeats),
            2 * small.nbytes / seconds(lambda: np.copyto(to_small, small), 100 * repeats))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", type=usage.name("case", CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=usage.count, default=5)
    args = parser.parse_args()
    elsewhere.MOST = 0
    watch = Watch()
    for case in args.case or ["cnn"]:
        steps, _ = minigan_steps(case, 0, 1)
        sgemm, large, small = rates(steps["sgemm"], args.repeats)
        print(f"{case}, one thread: sgemm {2 * sgemm / 1e9:.0f} GFLOP/s; copies of 256 MiB {large / 1e9:.0f} GB/s, "
              f"of half a MiB {small / 1e9:.0f} GB/s (read and written)")
        for step in ("discriminator", "generator"):
            alone = seconds(steps[step], args.repeats)
            watch.rows.clear()
            watch.on, begin = True, time.perf_counter()
            for _ in range(args.repeats):
                steps[step]()
            watched, watch.on = (time.perf_counter() - begin) / args.repeats, False
            print(f"\n{step:22}{'calls':>6}{'ms':>9}{'limit':>9}{'10^6 products':>15}{'arrays MB':>11}"
                  f"{'columns MB':>12}")
            ideal = spent = 0.0
            for name, row in sorted(watch.rows.items(), key=lambda item: -item[1][1]):
                calls, took, done, numbers, columns = row / args.repeats
                limit = max(done / sgemm, numbers * F / large, (numbers + 2 * columns) * F / small)
                ideal, spent = ideal + limit, spent + took
                print(f"{name:22}{calls:6.0f}{took * 1e3:9.1f}{limit * 1e3:9.1f}{done / 1e6:15.0f}"
                      f"{numbers * F / 1e6:11.1f}{columns * F / 1e6:12.1f}")
            print(f"{'the rest':22}{'':6}{(watched - spent) * 1e3:9.1f}\n{'together':22}{'':6}{watched * 1e3:9.1f}"
                  f"{ideal * 1e3:9.1f}")
            threads = thread_pool.set_threads()
            both = seconds(steps[step], args.repeats)
            thread_pool.set_threads(1)
            print(f"not watched: {alone * 1e3:.1f} ms on one thread, {both * 1e3:.1f} on {threads}")
        print(flush=True)


if __name__ == "__main__":
    usage.run(main)
