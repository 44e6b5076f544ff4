"""What does Python need to enqueue an update on a GPU, without a graph? On a device that computes nothing.

    python bench/host_cost.py [cnn] [resnet] [--precision float32|tf32|bf16] [--repeats 40] [--batch 64] [--width 1]
                              [--profile] [--json]

An update of the discriminator and one of the generator (SN, hinge loss, 32 x 32 pixels), with bench/null_cupy.py in the
place of CuPy: arrays without numbers, kernels and operations that are counted and not run. So the time is our own
Python's: what is drawn, the graph of operations, checks, tables of arguments, and little for each array. What CuPy,
cuBLAS and the driver need for a launch comes to it on a card; `bench/gpu.py updates` measures both.
--profile: where it goes, by cProfile (which makes everything slower). MINIGAN_IMPLICIT_CONV=1 and --precision tf32
or bf16: with convolutions without columns. The median over the repeats; candidates take turns.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import time
from functools import partial

import null_cupy
import numpy as np
import usage

from minigan.engine import cublas
from minigan.experiment import presets
from minigan.training import gan

MODELS, UPDATES, RATE, WARM_UPS = ("cnn", "resnet"), ("discriminator", "generator"), 2e-4, 3


def candidates(models, args):
    """(model, update) -> function."""
    found = {}
    for model in models:
        e = presets.experiment("cifar10", model=model, device="cuda", graph=False, precision=args.precision,
                               batch_size=args.batch, width=args.width)
        images = np.zeros((2 * args.batch, 32, 32, 3), np.uint8)
        training = gan.Training(e, images)
        for update in UPDATES:
            found[model, update] = partial(getattr(training, f"update_{update}"), RATE)
    return found


def measure(models, args):
    """One dict for each: median milliseconds, launches, and these by name."""
    functions = candidates(models, args)
    times, launches = {key: [] for key in functions}, {}
    for i in range(WARM_UPS + args.repeats):
        for key, function in functions.items():
            null_cupy.launches.clear()
            begin = time.perf_counter()
            function()
            if i >= WARM_UPS:
                times[key].append(1000 * (time.perf_counter() - begin))
            launches[key] = dict(null_cupy.launches.most_common())
    return [{"model": model, "update": update, "ms": statistics.median(times[model, update]),
             "launches": sum(by_name.values()), "by_name": by_name} for (model, update), by_name in launches.items()]


def profile(models, args):
    for (model, update), function in candidates(models, args).items():
        for _ in range(WARM_UPS):
            function()
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(args.repeats):
            function()
        profiler.disable()
        print(f"{model}, {update}, {args.repeats} updates:")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=usage.name("model", MODELS), metavar="MODEL",
                        help="cnn, resnet; both by default")
    parser.add_argument("--precision", choices=[*cublas.PRECISIONS], default="float32")
    parser.add_argument("--repeats", type=usage.count, default=40)
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--width", type=usage.above_0, default=1.0)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    models = args.models or [*MODELS]
    with null_cupy.installed(cublas):
        if args.profile:
            return profile(models, args)
        found = measure(models, args)
    if args.json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['model']:7} {row['update']:14} {row['ms']:7.2f} ms {row['launches']:4} launches, "
              f"{1000 * row['ms'] / row['launches']:.0f} us each: "
              + ", ".join(f"{name} {n}" for name, n in row["by_name"].items()))


if __name__ == "__main__":
    usage.run(main)
