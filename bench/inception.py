"""How many images per second does the Inception take, beside torch-fidelity's on the same CPU?

    python bench/inception.py [--batch 32] [--size 32] [--repeats 5] [--threads N] [--json]

wants torch and torch-fidelity (pip install --no-deps torch-fidelity). Both get the same random weights and images
uint8 (batch, size, size, 3), and answer with the 2048 features, resizing included. They run in a process each, batch by
batch in turn, the other one idle; the ratio is the median of the pairs' ratios. "CPU" is the processor time of all
threads per image, which a busy machine disturbs less. Memory is each process's peak (its resident set) after the
weights are loaded, PyTorch's and NumPy's own code included.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import usage

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))


# ---- the two workers -----------------------------------------------------------------------------------------------

def minigan_features(weights, threads):
    """(function from images to their features, facts)."""
    import numpy as np

    from minigan.engine import thread_pool
    from minigan.metrics import inception
    thread_pool.set_threads(threads)
    net = inception.Inception(weights)
    return lambda images: net.features(images)["2048"], f"minigan, NumPy {np.__version__}"


def fidelity_features(weights, threads):
    import golden_inception
    import torch
    torch.set_num_threads(threads)
    golden_inception.bare("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as theirs
    theirs.load_state_dict_from_url = lambda *a, **k: {name: torch.from_numpy(w) for name, w in weights.items()}
    net = theirs.FeatureExtractorInceptionV3("bench", ["2048"])

    def features(images):
        with torch.no_grad():
            return net(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()
    return features, f"torch-fidelity, PyTorch {torch.__version__}"


def work(library, batch, size, threads):
    """Answer each line on stdin: time one batch, or say the peak memory or the features' sum."""
    import golden_inception
    import numpy as np

    from minigan.metrics import inception_table
    weights = golden_inception.seeded(inception_table.tensors())
    features, facts = (minigan_features if library == "minigan" else fidelity_features)(weights, threads)
    del weights
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    forget_peak()
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(json.dumps(peak()), flush=True)
            continue
        begin, cpu = time.perf_counter(), time.process_time()
        found = features(images)
        spent = time.perf_counter() - begin, time.process_time() - cpu
        print(json.dumps([*spent, float(found.sum(dtype=np.float64))]), flush=True)


def forget_peak():
    """On Linux: the peak so far is that of drawing and loading the weights (proc(5), clear_refs)."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak():
    """Largest resident set in MiB."""
    if Path("/proc/self/status").exists():
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """One of the two processes."""

    def __init__(self, library, args, threads):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", library, "--batch", str(args.batch), "--size", str(args.size),
             "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = json.loads(usage.first_line(self.process))

    def ask(self, what="batch"):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- the comparison ------------------------------------------------------------------------------------------------

def compare(args, threads):
    theirs, ours = Worker("torch-fidelity", args, threads), Worker("minigan", args, threads)
    sums = ours.ask()[2], theirs.ask()[2]  # this is the warm-up, too
    pairs = [(ours.ask(), theirs.ask()) for _ in range(args.repeats)]
    result = {"sums": sums, "speed": statistics.median(b[0] / a[0] for a, b in pairs),
              "cpu": statistics.median(b[1] / a[1] for a, b in pairs)}
    for name, worker, times in (("minigan", ours, [a for a, _ in pairs]), ("torch", theirs, [b for _, b in pairs])):
        result[name] = {"library": worker.facts, "per_second": args.batch / statistics.median(t[0] for t in times),
                        "cpu_ms": 1e3 * statistics.median(t[1] for t in times) / args.batch,
                        "mib": worker.ask("memory")}
        worker.close()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=usage.count, default=32)
    parser.add_argument("--size", type=usage.count, default=32, help="of the images, before they are resized to 299")
    parser.add_argument("--repeats", type=usage.count, default=5)
    parser.add_argument("--threads", type=usage.count)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    from minigan.engine import thread_pool
    from minigan.engine.machine import machine as this_machine
    threads = args.threads or thread_pool.cores()
    if args.worker:
        work(args.worker, args.batch, args.size, threads)
        return
    usage.wants("torch", "torch_fidelity")
    result = compare(args, threads)
    result["machine"] = {"processor": this_machine()["processor"], "threads": threads,
                         "python": platform.python_version()}
    if args.json:
        print(json.dumps({"batch": args.batch, **result}, indent=2))
        return
    machine = result["machine"]
    print(f"{machine['processor']}, {threads} threads, Python {machine['python']}, batch {args.batch}")
    print(f"{'':34}{'images/s':>11}{'CPU ms/image':>16}{'peak MiB':>10}")
    for name in ("minigan", "torch"):
        row = result[name]
        print(f"{row['library']:34}{row['per_second']:11.2f}{row['cpu_ms']:16.0f}{row['mib']:10.0f}")
    a, b = result["sums"]
    print(f"speed ratio {result['speed']:.2f}, by CPU time {result['cpu']:.2f}; "
          f"sums of features differ by {a / b - 1:.1e}")


if __name__ == "__main__":
    usage.run(main)
