"""Does reading a packed file hold up training, and does memory stay flat?

    python bench/reading.py [--gib 1] [--size 64] [--batch 64] [--width 0.25] [--seconds 20] [--folder DIR]

Packs noise into a file of that many GiB and takes it out of the system's cache of files before each part. Then, each in
a process of its own:
- training: the discriminator's steps of the CNN, from the file (read ahead by one thread) and from 4096 of its images
  in memory, in turn. "waiting" is the time in which a step from the file waited for its images, as a share of these
  steps; the ratio of the steps' times is the median of the pairs'.
- epoch: all images once, in random batches, read ahead, and nothing else. Memory is the process's peak (its resident
  set) less that after the first ten batches.
- speed: random batches read when asked for, from the disk and again from the cache, beside what training takes.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import usage

BLOCK = 256
BATCHES = 20  # of an epoch, at least: memory is compared with that after ten


def make(path, gib, size):
    """A packed file of noise: one block of it, rolled, so that making it takes no longer than writing it."""
    from minigan.data import pack
    from minigan.data.dataset import Source
    noise = np.random.default_rng(0).integers(0, 256, (BLOCK, size, size, 3), np.uint8)
    count = int(gib * 2**30 / noise[0].nbytes) // BLOCK * BLOCK

    def blocks(start):
        for at in range(start, count, BLOCK):
            yield at + BLOCK, np.roll(noise, at // BLOCK, axis=0), np.arange(at, at + BLOCK)

    source = Source((count, size, size, 3), np.full(count, -1), (), "noise", "", blocks)
    return pack.write(source, {"dataset": "noise"}, path)


def forget(path):
    """Take the file out of the cache: only pages that are on the disk leave it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB on Linux


def training(path, batch, width, seconds):
    from minigan.data import packed
    from minigan.experiment import presets
    from minigan.training import gan
    images = packed.Images(path)
    e = presets.experiment("packed", batch_size=batch, width=width, size=images.shape[1], iterations=10**6)
    runs = [gan.Training(e, images), gan.Training(e, images[:4096])]
    for run in runs:
        run.update_discriminator(1e-4)  # buffers are made
    images.prefetch(runs[0].draws.batches)
    images.waited, took = 0.0, ([], [])
    while sum(took[0] + took[1]) < seconds:
        for i in (0, 1) if len(took[0]) % 2 else (1, 0):
            began = time.perf_counter()
            runs[i].update_discriminator(1e-4)
            took[i].append(time.perf_counter() - began)
    images.close()
    return {"step": statistics.median(took[0]), "waiting": images.waited / sum(took[0]), "steps": len(took[0]),
            "ratio": statistics.median(a / b for a, b in zip(*took, strict=True))}


def epoch(path, batch, *_):
    from minigan.data import packed
    from minigan.training import batches
    images = packed.Images(path)
    batches = batches.Batches(len(images), batch, np.random.default_rng(1))
    images.prefetch(batches)
    for i in range(len(images) // batch):
        images[batches.next()]
        if i == 10:
            before = peak()
    images.close()
    return {"growth": peak() - before, "peak": peak()}


def speed(path, batch, *_):
    from minigan.data import packed
    images = packed.Images(path)
    order = np.random.default_rng(1).permutation(len(images))[: 200 * batch]
    found = []
    for _ in range(2):  # the second time they come from the cache
        began = time.perf_counter()
        for at in range(0, len(order), batch):
            images.read(order[at:at + batch])
        found.append((time.perf_counter() - began) / len(order) * batch)
    images.close()
    return {"disk": found[0], "cache": found[1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gib", type=usage.above_0, default=1)
    parser.add_argument("--size", type=usage.count, default=64)
    parser.add_argument("--batch", type=usage.count, default=64)
    parser.add_argument("--width", type=usage.above_0, default=0.25)
    parser.add_argument("--seconds", type=usage.above_0, default=20)
    parser.add_argument("--folder", default=None, help="where the file is made [the system's folder for such]")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        how, path = {"training": training, "epoch": epoch, "speed": speed}[asked.worker[0]], Path(asked.worker[1])
        print(json.dumps(how(path, asked.batch, asked.width, asked.seconds)))
        return
    if asked.folder is not None and not Path(asked.folder).is_dir():
        parser.error(f"argument --folder: no folder '{asked.folder}'")
    images, least = int(asked.gib * 2**30 / (3 * asked.size**2)), max(BLOCK, BATCHES * asked.batch)
    if images < least:
        parser.error(f"argument --gib: {asked.gib:g} GiB are {images} images, expected {least} at least")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}, "
          f"NumPy {np.__version__}")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "noise.h5"
        began = time.perf_counter()
        print(make(path, asked.gib, asked.size), f"packed in {time.perf_counter() - began:.0f} s")
        size, found = path.stat().st_size / 2**20, {}
        for how in ("training", "epoch", "speed"):
            forget(path)
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", how, str(path)]
            found[how] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    step, file = found["training"]["step"], found["speed"]
    print(f"training  {step * 1e3:.1f} ms a step, {found['training']['steps']} steps, waiting for images "
          f"{found['training']['waiting']:.2%}; a step takes {found['training']['ratio']:.3f} of one from memory")
    print(f"epoch     memory + {found['epoch']['growth']:.1f} MiB for a file of {size:.0f} MiB "
          f"({found['epoch']['growth'] / size:.2%}), peak {found['epoch']['peak']:.0f} MiB")
    print(f"speed     a batch in {file['disk'] * 1e3:.2f} ms from the disk (a step takes {step / file['disk']:.0f} "
          f"times that), {file['cache'] * 1e3:.2f} ms from the cache ({step / file['cache']:.0f})")


if __name__ == "__main__":
    usage.run(main)
