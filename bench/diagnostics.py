"""What does a look into the discriminator (--diagnose N) cost? Seconds of one, in iterations, and its share of a run.

    python bench/diagnostics.py [--models cnn,resnet] [--norms sn,sn-conv] [--width 1] [--batch 64] [--size 32]
                                [--repeats 5] [--threads N] [--json]

Iterations of a training and diagnoses of it take turns in one process; the ratio is the median over the rounds. Its
share of the time of a run with --diagnose N is ratio / (N + ratio). The iterations have one update of the
discriminator each, as the standard CNN's have; with five they are longer, and the share smaller.
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
from minigan.networks.models import MODELS
from minigan.networks.norms import NORMS
from minigan.training import gan
from minigan.training.diagnosis import diagnostics

EVERY = (10, 100, 1000)


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def compare(model, norm, args):
    """One dict: seconds of an iteration and of a diagnosis, their ratio, its share of a run for each N."""
    e = presets.experiment("cifar10", model=model, norm=norm, batch_size=args.batch, width=args.width, n_dis=1)
    images = np.random.default_rng(0).integers(0, 256, (2 * args.batch, args.size, args.size, 3), np.uint8)
    training = gan.Training(e, images)
    rounds = [(seconds(training.iterate), seconds(lambda: diagnostics.diagnose(training)))
              for _ in range(args.repeats + 1)][1:]  # the first is a warm-up
    ratio = statistics.median(b / a for a, b in rounds)
    return {"model": model, "norm": norm, "iteration": statistics.median(a for a, _ in rounds),
            "diagnosis": statistics.median(b for _, b in rounds), "ratio": ratio,
            "share": {n: ratio / (n + ratio) for n in EVERY}}


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=usage.several(usage.name("model", MODELS)), default="cnn,resnet")
    parser.add_argument("--norms", type=usage.several(usage.name("norm", NORMS)), default="sn,sn-conv")
    parser.add_argument("--width", type=usage.above_0, default=1.0)
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--size", type=usage.count, default=32)
    parser.add_argument("--repeats", type=usage.count, default=5)
    parser.add_argument("--threads", type=usage.count)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    threads = thread_pool.set_threads(args.threads)
    rows = [compare(model, norm, args) for model in args.models for norm in args.norms]
    machine = {"processor": this_machine()["processor"], "threads": threads}
    if args.json:
        print(json.dumps({"machine": machine, "batch": args.batch, "width": args.width, "size": args.size,
                          "results": rows}, indent=2))
        return
    print(f"{machine['processor']}, {threads} threads, {args.size} x {args.size} pixels, batch {args.batch}, "
          f"width {args.width:g}, n_dis 1")
    print(f"{'model':10}{'norm':10}{'iteration s':>12}{'diagnosis s':>12}{'ratio':>7}  share of a run with --diagnose "
          + ", ".join(map(str, EVERY)))
    for row in rows:
        print(f"{row['model']:10}{row['norm']:10}{row['iteration']:12.3f}{row['diagnosis']:12.3f}{row['ratio']:7.2f}  "
              + ", ".join(f"{share:.1%}" for share in row["share"].values()))


if __name__ == "__main__":
    usage.run(main)
