"""Which way of kernels/conv.cu is the best for each convolution of a network? Beside columns and cuBLAS, on one card.

    python bench/conv_layers.py [cnn] [resnet] [--precision tf32|bf16] [--batch 64] [--width 1] [--repeats 5] [--json]

The convolutions are those that an update of the discriminator and one of the generator call (SN, hinge loss).
Each is run in every way (size of tile, number of parts), compared with columns, and timed: 20 runs as a CUDA graph, so
that the host is not timed; the median of the repeats. What they read is in the L2 cache then, as it is
not in an update, for all candidates alike. In bf16 activations and their gradients are bfloat16, weights float32;
columns are made of float32. `usual` is the way that engine/loops/conv.py takes by itself. At the end
stand lines for its table CHOSEN, for those where another way is at least 3 % faster.
"""

import argparse
import functools
import json
import os
import sys
from collections import Counter

import gpu
import numpy as np
import usage

from minigan.engine import cublas, im2col
from minigan.engine.devices import BF16, FLOAT32
from minigan.engine.loops import conv

FASTER = 0.97
# Relative to the largest number: both sides round factors alike, but in bf16 one rounds results, the other the columns
# of an input gradient.
DIFFERENCES = {"tf32": 1e-3, "bf16": 1e-2}
LAUNCHERS = {name: getattr(conv, f"launch_{name}") for name in ("conv", "conv_transposed", "conv_weights")}


def layers(args, model):
    """{(kernel, shape and shape of its factors, three more arguments): (calls, sizes of the product)} of both updates.
    """
    calls, sizes, asked, chosen = Counter(), {}, [], conv.chosen
    before = {kernel: getattr(conv, f"launch_{kernel}") for kernel in LAUNCHERS}

    def noted(kernel):
        def launch(a, b, *rest, **named):
            key = (kernel, a.shape, b.shape, rest[:3])
            found = LAUNCHERS[kernel](a, b, *rest, **named)
            calls[key] += 1
            sizes[key] = asked[-1][1:]
            return found
        return launch
    try:
        conv.chosen = lambda *given: asked.append(given) or chosen(*given)
        for kernel in LAUNCHERS:
            setattr(conv, f"launch_{kernel}", noted(kernel))
        run = gpu.training("cuda", argparse.Namespace(**vars(args) | {"model": model}), n_dis=1, graph=False,
                           precision=args.precision)
        run.update_discriminator(gpu.RATE)
        run.update_generator(gpu.RATE)
    finally:
        conv.chosen = chosen
        for kernel, launch in before.items():
            setattr(conv, f"launch_{kernel}", launch)
    return {key: (calls[key], sizes[key]) for key in calls}


def ways(rows, columns, depth, phases=1):
    """All that are worth a try."""
    steps = -(-depth // conv.DEPTH)
    for way in (conv.Way(*tile, parts) for tile in conv.TILES for parts in (1, 2, 4, 8, 16, 32, 64)):
        too_large = way.rows >= 2 * max(rows, 32) or way.columns >= 2 * max(columns, 32)
        blocks = way.tiles(rows, columns) * phases * way.parts
        if not too_large and (way.parts == 1 or way.parts * 2 <= steps and blocks <= 4 * conv.BLOCKS):
            yield way


def by_columns(kernel, a, b, out, given):
    os.environ[conv.SWITCH] = "0"
    if kernel == "conv":
        im2col.correlate(a, b, given[0], *given[1], out)
    elif kernel == "conv_transposed":
        im2col.correlate_transposed(a, b, *given[:2], out)
    else:
        out[...] = im2col.correlate_weights(a, b, *given)
    os.environ[conv.SWITCH] = "1"


def measured(cupy, stream, args, key, calls, sizes):
    """A dict: what the layer is, microseconds in each way."""
    kernel, a_shape, b_shape, given = key
    rng = np.random.default_rng(0)
    host = [rng.standard_normal(shape).astype(np.float32) for shape in (a_shape, b_shape)]
    a, b = map(cupy.array, host)
    launch = functools.partial(LAUNCHERS[kernel], precision=args.precision)
    usual = conv.chosen(kernel, *sizes)
    out = launch(a, b, *given)
    by_columns(kernel, a, b, out, given)
    dtypes = [BF16, BF16 if kernel == "conv_weights" else FLOAT32] if args.precision == "bf16" else [FLOAT32, FLOAT32]
    x, y = (cupy.array(array.astype(dtype)) for array, dtype in zip(host, dtypes, strict=True))
    expected = out.get()
    times = {}
    for way in {usual: None} | dict.fromkeys(ways(*sizes)):
        found = launch(x, y, *given, way=way).get().astype(np.float32)
        if not abs(found - expected).max() <= DIFFERENCES[args.precision] * abs(expected).max():
            sys.exit(f"bench/conv_layers.py: {key} in {way} is off by {abs(found - expected).max():.1e} "
                     f"of {abs(expected).max():.1e}")
        times[way] = gpu.microseconds(cupy, stream, lambda way=way: launch(x, y, *given, way=way), args.repeats)
    columns = gpu.microseconds(cupy, stream, lambda: by_columns(kernel, a, b, out, given), args.repeats)
    best = min(times, key=times.get)
    flop = 2 * sizes[0] * sizes[1] * sizes[2] * (sizes[3] if len(sizes) > 3 else 1)
    return {"kernel": kernel, "factors": [a_shape, b_shape], "given": given, "calls": calls, "sizes": sizes[:3],
            "columns_us": columns, "usual": vars(usual), "usual_us": times[usual], "best": vars(best),
            "best_us": times[best], "best_tflops": flop / times[best] / 1e6}


def described(row):
    """A line for people."""
    way = "{rows}x{columns} /{parts}".format
    return (f"{row['kernel']:16}{row['factors'][0]!s:20}{row['factors'][1]!s:20}{row['given']!s:24}{row['calls']:2}x  "
            f"columns {row['columns_us']:6.1f}  usual {row['usual_us']:6.1f} ({way(**row['usual'])})  "
            f"best {row['best_us']:6.1f} ({way(**row['best'])}) us, {row['best_tflops']:.0f} TFLOP/s")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="bench/conv_layers.py", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=usage.name("model", ("cnn", "resnet")), metavar="MODEL",
                        help="cnn, resnet (default: both)")
    parser.add_argument("--precision", choices=["tf32", "bf16"], default="tf32")
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--width", type=usage.above_0, default=1.0)
    parser.add_argument("--repeats", type=usage.count, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    os.environ[conv.SWITCH] = "1"
    (cupy, facts), results = gpu.machine("bench/conv_layers.py"), {}
    stream = cupy.cuda.Stream(non_blocking=True)
    for model in args.models or ["cnn", "resnet"]:
        with cublas.precision(cupy, args.precision):
            results[model] = [measured(cupy, stream, args, key, *found) for key, found in layers(args, model).items()]
    if args.json:
        print(json.dumps({"machine": facts, **results}, indent=1))
        return
    print(facts["card"])
    better = {}
    for model, found in results.items():
        print("\n".join(map(described, found)))
        print(f"{model}: " + ", ".join(f"{name} {sum(row['calls'] * row[f'{name}_us'] for row in found):.0f} us"
                                       for name in ("columns", "usual", "best")) + " in both updates")
        better |= {(row["kernel"], *row["sizes"]): conv.Way(**row["best"]) for row in found
                   if row["best_us"] < FASTER * row["usual_us"]}
    print("".join(f"    {key}: Way({way.rows}, {way.columns}, {way.parts}),\n" for key, way in better.items()), end="")


if __name__ == "__main__":
    usage.run(main)
