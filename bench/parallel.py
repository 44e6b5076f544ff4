"""What do several processes gain (mpiexec), and what do their messages cost?

    python bench/parallel.py [--model cnn] [--batch 64] [--width 0.5] [--repeats 7] [--sync-bn] [--json]

Trainings of the same batches, each in its turn: one process with two threads, one with one thread, two processes with
one thread each. A step is an update of the discriminator and one of the generator; medians, after one to warm up.
"messages" is the share of a step in which a process waits for the others or sends to them; "peak" is the resident
memory of the larger process. Latency and bandwidth are those of an Allgather of two processes on this machine, of 8
bytes and of 8 MiB.

The rest is computed, not measured: how efficient 8, 64 and 512 processes with a batch of that size each would be, by
these two numbers and the bytes of an update. In slices (what minigan does: Alltoall, the sum of P slices in a fixed
order, Allgather) it takes 2 (P - 1) rounds of 1/P of all bytes, and the sum of as many bytes as the update has; as one
Allgather, for comparison, P - 1 rounds of all of them and the sum of P arrays.
Between machines both numbers are others: give them with --latency SECONDS, --bandwidth BYTES_PER_SECOND.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import usage

from minigan.networks.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
SCALE = (8, 64, 512)


def measured(args):
    """One process's part: a dict of what process 0 saw, None on the others."""
    import dataclasses

    from minigan.engine import thread_pool
    from minigan.experiment import presets
    from minigan.parallel import mpi
    from minigan.training import gan

    class Timed(mpi.Group):
        """A group that adds up the time and the bytes of its messages."""

        spent, sent, messages = 0.0, 0, 0

        def mean(self, arrays):
            began = time.perf_counter()
            found = super().mean(arrays)
            Timed.spent += time.perf_counter() - began
            Timed.sent += sum(a.nbytes for a in arrays)
            Timed.messages += 1
            return found

    group = mpi.group()
    timed = Timed(**{field.name: getattr(group, field.name) for field in dataclasses.fields(group)})
    thread_pool.set_threads(args.threads)
    e = presets.experiment("cifar10", model=args.model, batch_size=args.batch, gen_batch_size=args.batch,
                           width=args.width, iterations=10**6, sync_bn=args.sync_bn)
    images = np.random.default_rng(0).integers(0, 256, (4 * args.batch, 32, 32, 3), np.uint8)
    training = gan.Training(e, images, group=timed)
    took, waited = [], []
    for i in range(args.repeats + 1):
        Timed.spent, Timed.sent, Timed.messages = 0.0, 0, 0
        began = time.perf_counter()
        training.update_discriminator(1e-4)
        training.update_generator(1e-4)
        if i:
            took.append(time.perf_counter() - began)
            waited.append(Timed.spent / took[-1])
    found = {"step": statistics.median(took), "messages": statistics.median(waited), "bytes": Timed.sent,
             "count": Timed.messages, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if group.size > 1:
        small, large = (allgather(group, size) for size in (8, 8 << 20))
        found |= {"latency": small, "bandwidth": (8 << 20) / max(large - small, 1e-9), "sum": summing()}
        found["peak"] = max(group.comm.allgather(found["peak"]))
    return found if group.rank == 0 else None


def allgather(group, size):
    """Seconds of one, of so many bytes from each process."""
    mine, each = np.zeros(size // 8), np.empty((group.size, size // 8))
    times = []
    for _ in range(30):
        group.comm.Barrier()
        began = time.perf_counter()
        group.comm.Allgather(mine, each)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def summing(size=8 << 20):
    """Bytes a second that are added to a sum."""
    a, b = np.zeros(size // 4, np.float32), np.ones(size // 4, np.float32)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        a += b
        times.append(time.perf_counter() - began)
    return size / statistics.median(times)


def computed(step, size, count, latency, bandwidth, add):
    """Efficiency of P processes: step seconds of computing, and messages of `size` bytes in all, `count` of them.

    {P: (in slices, as one Allgather)}.
    """
    def both(p):
        slices = 2 * (p - 1) * (count * latency + size / p / bandwidth) + size / add
        gather = (p - 1) * (count * latency + size / bandwidth) + p * size / add
        return step / (step + slices), step / (step + gather)
    return {p: both(p) for p in SCALE}


def child(args, processes, threads):
    """What `measured` gives, of so many processes."""
    beside = Path(sys.executable).with_name("mpiexec")  # PyPI's mpich puts it there
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit("mpiexec is missing: pip install '.[test]'")
    words = [sys.executable, __file__, "--part", "--threads", threads, "--model", args.model, "--batch", args.batch,
             "--width", args.width, "--repeats", args.repeats, *(["--sync-bn"] if args.sync_bn else [])]
    launch = [] if processes == 1 else [mpiexec, "-n", processes]
    done = subprocess.run([*map(str, launch + words)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=usage.name("model", MODELS), default="cnn")
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--width", type=usage.above_0, default=0.5)
    parser.add_argument("--repeats", type=usage.count, default=7)
    parser.add_argument("--threads", type=usage.count, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--sync-bn", action="store_true")
    parser.add_argument("--latency", type=usage.above_0, help="seconds of a message between machines")
    parser.add_argument("--bandwidth", type=usage.above_0, help="bytes a second between machines")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.part:
        found = measured(args)
        if found is not None:
            print(json.dumps(found))
        return
    rows = {"1 process, 2 threads": child(args, 1, 2), "1 process, 1 thread": child(args, 1, 1),
            "2 processes, 1 thread each": child(args, 2, 1)}
    two, alone = rows["2 processes, 1 thread each"], rows["1 process, 1 thread"]
    latency, bandwidth = args.latency or two["latency"], args.bandwidth or two["bandwidth"]
    model = computed(alone["step"], two["bytes"], two["count"], latency, bandwidth, two["sum"])
    if args.json:
        print(json.dumps({"measured": rows, "latency": latency, "bandwidth": bandwidth, "computed": model}, indent=2))
        return
    print(f"{args.model}, 32 x 32 pixels, batch {args.batch}, width {args.width:g}{', --sync-bn' * args.sync_bn}\n\n"
          "| measured | step | messages | peak |\n| --- | --- | --- | --- |")
    for name, row in rows.items():
        print(f"| {name} | {row['step']:.3f} s | {row['messages']:.1%} | {row['peak']:.0f} MiB |")
    print(f"\na step sends {two['bytes'] / 2**20:.2f} MiB in {two['count']} messages; latency {latency * 1e6:.0f} us, "
          f"bandwidth {bandwidth / 2**30:.2f} GiB/s, sums {two['sum'] / 2**30:.2f} GiB/s\n\n"
          "| computed efficiency | in slices (minigan) | one Allgather |\n| --- | --- | --- |")
    for p, (slices, gather) in model.items():
        print(f"| {p} processes, batch {args.batch} each | {slices:.1%} | {gather:.1%} |")


if __name__ == "__main__":
    usage.run(main)
