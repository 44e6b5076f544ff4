"""How much does spectral normalization add to the discriminator's step?

    python bench/sn_overhead.py [--model cnn|resnet] [--batch 64] [--repeats 15] [--power-iterations 1]
                                [--threads N] [--json]

Two trainings that differ in nothing but --norm (sn and none) take discriminator steps in turn, in one process; the
overhead is the median of the pairs' ratios, less 1.
"""

import argparse
import json
import statistics
import time

import numpy as np
import usage

from minigan.engine import thread_pool
from minigan.engine.machine import machine as this_machine
from minigan.experiment import presets
from minigan.training import gan


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["cnn", "resnet"], default="cnn")
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--repeats", type=usage.count, default=15)
    parser.add_argument("--power-iterations", type=usage.count, default=1)
    parser.add_argument("--threads", type=usage.count)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    threads = thread_pool.set_threads(args.threads)
    experiments = [presets.experiment("cifar10", model=args.model, batch_size=args.batch, norm=norm,
                                      power_iterations=args.power_iterations) for norm in ("sn", "none")]
    images = np.random.default_rng(0).integers(0, 256, (2 * args.batch, 32, 32, 3), np.uint8)
    trainings = [gan.Training(e, images) for e in experiments]

    def seconds(training):
        begin = time.perf_counter()
        training.update_discriminator(2e-4)
        return time.perf_counter() - begin

    for training in trainings:
        seconds(training)  # warm-up
    pairs = [[seconds(training) for training in trainings] for _ in range(args.repeats)]
    sn, none = (statistics.median(times) for times in zip(*pairs, strict=True))
    overhead = statistics.median(a / b for a, b in pairs) - 1
    result = {"processor": this_machine()["processor"], "threads": threads, "model": args.model, "batch": args.batch,
              "power_iterations": args.power_iterations, "sn_s": sn, "none_s": none, "overhead": overhead}
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['processor']}, {threads} threads, {args.model}, batch {args.batch}")
    print(f"discriminator step: none {none:.3f} s, sn {sn:.3f} s ({args.power_iterations} power iteration(s)); "
          f"sn adds {overhead:.1%}")


if __name__ == "__main__":
    usage.run(main)
