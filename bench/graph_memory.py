"""How much memory do the CUDA graphs of both updates need? Computed: no GPU is there, and nothing is multiplied.

    python bench/graph_memory.py [--model resnet-imagenet] [--size 128] [--batch 64] [--width 1]
                                 [--condition projection] [--precision tf32] [--json]

The updates of the discriminator and of the generator are recorded on the emulated CuPy (tests/emulated_cupy), whose
capture takes the arrays of every launch and runs none; so the program takes as much of the host's memory. MiB of

training   parameters, Adam's moments, averages and images
peak       what a graph's arrays have in use at once, at most
pool       what the graphs' memory pool holds in the end, by CuPy's rule (14.2): the smallest free piece that is large
           enough, cut to size; neighbours that are free become one piece

The generator's graph takes what the discriminator's has left free. The first updates run without a graph and need as
much as one in CuPy's own pool, which is emptied before a graph is recorded; CUDA itself takes some hundred MiB more.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import emulated_cupy  # noqa: E402
import emulator  # noqa: E402
from emulated_cupy import device  # noqa: E402

from bench import usage  # noqa: E402
from minigan.engine import cublas, graphs  # noqa: E402
from minigan.experiment import presets  # noqa: E402
from minigan.experiment.experiment import CONDITIONS  # noqa: E402
from minigan.networks.models import MODELS  # noqa: E402
from minigan.training import gan  # noqa: E402

CLASSES = 1000  # of images, if the networks know any


class Pool:
    """How much CuPy's pool would hold; pieces are [number of the allocation, where it begins, its size]."""

    def __init__(self):
        self.total = self.used = self.peak = self.allocations = 0
        self.free = []

    def take(self, size):
        self.used += size
        self.peak = max(self.peak, self.used)
        piece = min((piece for piece in self.free if piece[2] >= size), key=lambda piece: piece[2], default=None)
        if piece is None:
            self.total, self.allocations = self.total + size, self.allocations + 1
            return [self.allocations, 0, size]
        self.free.remove(piece)
        allocation, start, had = piece
        if had > size:
            self.free.append([allocation, start + size, had - size])
        return [allocation, start, size]

    def give(self, piece):
        allocation, start, size = piece
        self.used -= size
        for other in [other for other in self.free if other[0] == allocation]:
            if start in (other[1] + other[2], other[1] - size):
                self.free.remove(other)
                start, size = min(start, other[1]), size + other[2]
        self.free.append([allocation, start, size])


class WatchedPool(device.MemoryPool):
    """The emulated one, and beside it what CuPy's would do."""

    def __init__(self):
        super().__init__()
        self.as_cupys, self.pieces = Pool(), {}

    def _take(self, nbytes, size):
        buffer = super()._take(nbytes, size)
        self.pieces[id(buffer)] = self.as_cupys.take(size)
        return buffer

    def _give(self, buffer, size):
        self.as_cupys.give(self.pieces.pop(id(buffer)))
        super()._give(buffer, size)


def recorded(args):
    """Rows: what is held before, and after each of the two graphs."""
    e = presets.experiment("imagenet", model=args.model, size=args.size, batch_size=args.batch, width=args.width,
                           gen_batch_size=args.batch, condition=args.condition, precision=args.precision, device="cuda")
    images = np.zeros((2 * args.batch, args.size, args.size, 3), np.uint8)
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        before = graphs.WARM_UPS, graphs.Recorded.launch, cupy.cuda.MemoryPool
        try:
            others = device.pool.used_bytes()
            graphs.WARM_UPS, graphs.Recorded.launch = 0, lambda graph, inputs: graph.result  # recorded, and never run
            cupy.cuda.MemoryPool = WatchedPool
            training = gan.Training(e, images, np.arange(len(images)), classes=CLASSES * (e.condition != "none"))
            found = [{"name": "training", "MiB": (device.pool.used_bytes() - others) / 2**20}]
            pool = training.graphs.pool.as_cupys
            for who in ("discriminator", "generator"):
                pool.peak = pool.used
                getattr(training, f"update_{who}")(e.lr)
                found.append({"name": f"{who}, peak", "MiB": pool.peak / 2**20})
        finally:
            graphs.WARM_UPS, graphs.Recorded.launch, cupy.cuda.MemoryPool = before
        if training.graphs.remarks:
            sys.exit("bench/graph_memory.py: " + "; ".join(training.graphs.remarks))
    return [*found, {"name": "pool of both graphs", "MiB": pool.total / 2**20}]


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MODELS), default="resnet-imagenet")
    parser.add_argument("--size", type=usage.count, default=128)
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--width", type=usage.above_0, default=1.0)
    parser.add_argument("--condition", choices=CONDITIONS, default="none")
    parser.add_argument("--precision", choices=[*cublas.PRECISIONS], default="tf32")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    found = recorded(args)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{args.model}, {args.size} x {args.size} pixels, batch {args.batch}, {args.precision}: computed, no GPU")
    for row in found:
        print(f"  {row['name']:22}{row['MiB']:10,.0f} MiB")


if __name__ == "__main__":
    usage.run(main)
