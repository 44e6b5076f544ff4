"""What memory does an update need whose batch is computed in parts (--accumulate), and how long does it take?

    python bench/accumulate.py [--model cnn] [--batch 64] [--width 1] [--size 32] [--parts 1,2,4,8] [--repeats 5]

Each number of parts in a process of its own: "peak" is its resident memory at most, and beside it what it was before
the first update, networks and optimizers and all. A step is an update of the discriminator and one of the generator;
medians, after one to warm up; "processor" is the time of all cores together. --json prints the numbers alone.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import usage

from minigan.networks.models import MODELS

ROOT = Path(__file__).resolve().parents[1]


def resident():
    """MiB, the most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(args, parts):
    from minigan.experiment import presets
    from minigan.training import gan

    e = presets.experiment("cifar10", model=args.model, batch_size=args.batch, gen_batch_size=args.batch,
                           width=args.width, iterations=10**6, accumulate=parts)
    images = np.random.default_rng(0).integers(0, 256, (2 * args.batch, args.size, args.size, 3), np.uint8)
    training = gan.Training(e, images)
    first, took, worked = resident(), [], []
    for _ in range(args.repeats + 1):
        began, idle = time.perf_counter(), time.process_time()
        training.update_discriminator(1e-4)
        training.update_generator(1e-4)
        took.append(time.perf_counter() - began)
        worked.append(time.process_time() - idle)
    return {"parts": parts, "step": statistics.median(took[1:]), "processor": statistics.median(worked[1:]),
            "first": first, "peak": resident()}


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=usage.name("model", MODELS), default="cnn")
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--width", type=usage.above_0, default=1.0)
    parser.add_argument("--size", type=usage.count, default=32)
    parser.add_argument("--parts", type=usage.several(usage.count), default="1,2,4,8")
    parser.add_argument("--repeats", type=usage.count, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.part:
        print(json.dumps(measured(args, args.part)))
        return
    rows = []
    for parts in args.parts:
        words = ["--model", args.model, "--batch", args.batch, "--width", args.width, "--size", args.size, "--repeats",
                 args.repeats, "--part", parts]
        done = subprocess.run([sys.executable, __file__, *map(str, words)], check=True, stdout=subprocess.PIPE,
                              env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True)
        rows.append(json.loads(done.stdout))
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{args.model}, {args.size} x {args.size} pixels, batch {args.batch}, width {args.width:g}\n\n"
          "| --accumulate | step | processor | peak | before the first |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['parts']} | {row['step']:.2f} s | {row['processor']:.2f} s | {row['peak']:.0f} MiB "
              f"| {row['first']:.0f} MiB |")


if __name__ == "__main__":
    usage.run(main)
