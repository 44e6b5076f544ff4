"""What does a normalization cost? Seconds per 100 updates of the generator, as in Figure 10 of Miyato et al. 2018.

    python bench/overhead.py [--sizes 32,48] [--methods none,wn,sn,bssn,sn-conv,wgan-gp] [--width 1] [--batch 64]
                             [--n-dis 5] [--repeats 5] [--threads N] [--json]

Trainings of the standard CNN that differ in the method alone take iterations (n_dis updates of the discriminator, one
of the generator) in turn, in one process. Ratios are medians over the rounds: to none, and to WN. The paper's figure
(on a GPU) shows SN at 1.1 to 1.2 of WN on CIFAR-10 and about as fast as none on STL-10, and WGAN-GP far above all.
"step" is the ratio of the discriminator's update alone.
"""

import argparse
import json
import statistics
import time

import numpy as np
import usage

from minigan.engine import thread_pool
from minigan.engine.machine import machine as this_machine
from minigan.experiment import methods, presets
from minigan.networks.norms import NORMS
from minigan.training import gan

METHODS = ("none", "wn", "sn", "bssn", "sn-conv", "wgan-gp")


def make(method, size, args):
    e = presets.experiment("cifar10", batch_size=args.batch, width=args.width, n_dis=args.n_dis, beta1=0.5, beta2=0.9,
                           **methods.options_of(method))
    images = np.random.default_rng(0).integers(0, 256, (2 * args.batch, size, size, 3), np.uint8)
    return gan.Training(e, images)


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def compare(size, methods, args):
    """One dict per method."""
    trainings = {method: make(method, size, args) for method in methods}
    whole, step = ({method: [] for method in methods} for _ in range(2))
    for i in range(args.repeats + 1):  # the first round is a warm-up
        for method, training in trainings.items():
            times = seconds(training.iterate), seconds(lambda t=training: t.update_discriminator(1e-4))
            if i:
                whole[method].append(times[0])
                step[method].append(times[1])

    def ratio(times, base):
        return statistics.median(a / b for a, b in zip(times, base, strict=True))
    base = methods[0]
    return [{"method": method, "seconds_per_100": 100 * statistics.median(whole[method]), "base": base,
             "ratio": ratio(whole[method], whole[base]), "step_ratio": ratio(step[method], step[base]),
             "to_wn": ratio(whole[method], whole["wn"]) if "wn" in methods else None} for method in methods]


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=usage.several(usage.count), default="32,48")
    parser.add_argument("--methods", type=usage.several(usage.name("method", (*NORMS, *methods.METHODS))),
                        default=",".join(METHODS))
    parser.add_argument("--width", type=usage.above_0, default=1.0)
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--n-dis", type=usage.count, default=5)
    parser.add_argument("--repeats", type=usage.count, default=5)
    parser.add_argument("--threads", type=usage.count)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    threads = thread_pool.set_threads(args.threads)
    results = {size: compare(size, args.methods, args) for size in args.sizes}
    machine = {"processor": this_machine()["processor"], "threads": threads}
    if args.json:
        print(json.dumps({"machine": machine, "batch": args.batch, "width": args.width, "results": results}, indent=2))
        return
    print(f"{machine['processor']}, {threads} threads, standard CNN, batch {args.batch}, width {args.width:g}, "
          f"n_dis {args.n_dis}")
    for size, rows in results.items():
        print(f"\n{size} x {size} pixels: seconds per 100 updates of the generator")
        print(f"{'method':12}{'seconds':>10}{'to ' + rows[0]['base']:>10}{'to wn':>8}{'step':>8}")
        for row in rows:
            to_wn = f"{row['to_wn']:8.2f}" if row["to_wn"] else "       -"
            print(f"{row['method']:12}{row['seconds_per_100']:10.1f}{row['ratio']:10.2f}{to_wn}{row['step_ratio']:8.2f}")


if __name__ == "__main__":
    usage.run(main)
