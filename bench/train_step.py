"""How fast is a training step, beside PyTorch's on the same CPU?

    python bench/train_step.py [CASE ...] [--batch N] [--repeats 7] [--threads N] [--json]

The discriminator's and the generator's step (the generator's forward under the discriminator's step included). Cases:
both networks at 32 x 32 (hinge loss, spectral normalization, Adam, batches of 64: cnn, resnet; these two if none is
named), both with WGAN-GP's loss and no normalization (cnn-gp, resnet-gp), and the presets shapes and fashion-mnist with
their own sizes. minigan and PyTorch run in a process each, in turn, the other one idle: a step, or as many as take a
fifth of a second. PyTorch uses the faster of its two memory layouts, its own spectral_norm, and no gradients of the
discriminator's weights in the generator's step. --repeats turns of each are timed after a warm-up of two seconds; the
ratio is the median of the pairs' ratios, beside the least and the largest. "share" is the step's multiplications (those
of the network as the paper writes it, whatever shortcuts the code takes) per second, over those of a plain sgemm in the
same run. Memory is each process's peak (its resident set), PyTorch's and NumPy's own code included; that of minigan's
second process, where it has one, is added, so what both see counts twice.
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

TURN = 0.2  # seconds; of short steps several, since what the other process did last is felt in the first of them
WARM_UP = 2  # seconds; minigan tries in its first updates whether a second process pays
LR, BETAS = 2e-4, (0.0, 0.9)
PLAIN = {"batch_size": 64, "gen_batch_size": 64, "n_dis": 1, "lr": LR, "beta1": BETAS[0], "beta2": BETAS[1]}
GP = PLAIN | {"norm": "none", "loss": "wasserstein", "gp": 10.0}
CASES = {  # name -> (preset, what is changed of it, (size, channels) of its images)
    "cnn": ("cifar10", PLAIN, (32, 3)),
    "resnet": ("cifar10", PLAIN | {"model": "resnet"}, (32, 3)),
    "cnn-gp": ("cifar10", GP, (32, 3)),
    "resnet-gp": ("cifar10", GP | {"model": "resnet"}, (32, 3)),
    "shapes": ("shapes", {}, (32, 3)),
    "fashion-mnist": ("fashion-mnist", {}, (28, 1)),
}


# ---- the two workers -----------------------------------------------------------------------------------------------

def experiment(case, batch):
    from minigan.experiment import presets
    preset, changed, _ = CASES[case]
    return presets.experiment(preset, **changed | ({"batch_size": batch, "gen_batch_size": batch} if batch else {}))


def minigan_steps(case, batch, threads):
    """(name -> function that takes one step, facts)."""
    import numpy as np

    from minigan.engine import products, thread_pool
    from minigan.training import gan
    thread_pool.set_threads(threads)
    e, (size, channels) = experiment(case, batch), CASES[case][2]
    images = np.random.default_rng(0).integers(0, 256, (2 * e.batch_size, size, size, channels), np.uint8)
    training = gan.Training(e, images)
    a = np.random.default_rng(0).random((2048, 2048), np.float32)

    def sgemm():
        products.matmul(a, a)
    steps = {"discriminator": lambda: training.update_discriminator(LR),
             "generator": lambda: training.update_generator(LR), "sgemm": sgemm}
    return steps, {"library": f"minigan, NumPy {np.__version__}"}


def torch_steps(case, batch, threads, width=None):
    import torch
    from torch.nn import functional as F
    from torch.nn.utils import spectral_norm
    from torch_networks import NETWORKS
    e, (size, channels) = experiment(case, batch), CASES[case][2]
    n_dis, n_gen, width = e.batch_size, e.gen_batch_size or e.batch_size, width or e.width
    torch.set_num_threads(threads)

    def build(layout):
        torch.manual_seed(0)
        make_gen, make_dis = NETWORKS[e.model]
        gen, average = (make_gen(size, channels, width=width).to(memory_format=layout) for _ in range(2))
        dis = make_dis(size, channels, width=width, norm=spectral_norm if e.norm == "sn" else lambda module: module)
        dis = dis.to(memory_format=layout)
        opt_gen, opt_dis = (torch.optim.Adam(network.parameters(), LR, BETAS) for network in (gen, dis))
        images = torch.randint(0, 256, (2 * n_dis, channels, size, size), dtype=torch.uint8)

        def discriminator():
            x = (images[torch.randperm(len(images))[:n_dis]].float() / 127.5 - 1).to(memory_format=layout)
            with torch.no_grad():
                fake = gen(torch.randn(n_dis, e.dim_z))
            loss = dis(fake).mean() - dis(x).mean() if e.loss == "wasserstein" else (
                F.relu(1 - dis(x)).mean() + F.relu(1 + dis(fake)).mean())
            if e.gp:
                share = torch.rand(n_dis, 1, 1, 1)
                x_hat = (share * x + (1 - share) * fake).requires_grad_(True)
                gradient, = torch.autograd.grad(dis(x_hat).sum(), x_hat, create_graph=True)
                loss = loss + e.gp * ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
            opt_dis.zero_grad()
            loss.backward()
            opt_dis.step()

        def generator():
            for p in dis.parameters():
                p.requires_grad_(False)
            loss = -dis(gen(torch.randn(n_gen, e.dim_z))).mean()
            opt_gen.zero_grad()
            loss.backward()
            opt_gen.step()
            for p in dis.parameters():
                p.requires_grad_(True)
            if e.ema:
                with torch.no_grad():
                    torch._foreach_lerp_(list(average.parameters()), list(gen.parameters()), 1 - e.ema)
        return {"discriminator": discriminator, "generator": generator}, gen, dis

    layouts = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}
    times = {}
    for name, layout in layouts.items():
        steps, _, _ = build(layout)
        for _ in (0, 1):  # the first is a warm-up
            begin = time.perf_counter()
            for step in steps.values():
                step()
            times[name] = time.perf_counter() - begin
    fastest = min(times, key=times.get)
    steps, gen, dis = build(layouts[fastest])
    facts = {"library": f"PyTorch {torch.__version__}, {fastest}"}
    return steps, facts | {"products": products(gen, dis, (n_dis, n_gen), size, channels, bool(e.gp))}


def products(gen, dis, batches, size, channels, gp):
    """Multiplications of one step: forward, weight and input gradients of all convolutions and dense layers.

    A gradient penalty adds a forward, its input gradient, and the gradients of both by inputs and weights.
    """
    import torch

    def count(network, x):
        found, hooks = [], []
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
                transposed = isinstance(module, torch.nn.ConvTranspose2d)
                hooks.append(module.register_forward_hook(
                    lambda m, i, o, t=transposed: found.append(
                        m.weight.numel() * (i[0] if t else o).shape[2:].numel())))
        with torch.no_grad():
            network(x)
        for hook in hooks:
            hook.remove()
        return found

    of_gen, of_dis = count(gen, torch.randn(2, gen.dense.in_features)), count(dis, torch.randn(2, channels, size, size))
    g, d, (n_dis, n_gen) = sum(of_gen), sum(of_dis), batches
    penalty = 6 * d - 2 * of_dis[0] if gp else 0
    return {"discriminator": n_dis * (g + 2 * (3 * d - of_dis[0]) + penalty),
            "generator": n_gen * (3 * g - of_gen[0] + 2 * d)}


def peak_of_children():
    """MiB, the sum of the peaks of all processes that this one has started and that still run."""
    found = 0
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            found += int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    return found


def work(library, case, batch, threads):
    """Answer each line on stdin: the mean time of a step in a turn of it, or the peak memory."""
    steps, facts = (minigan_steps if library == "minigan" else torch_steps)(case, batch, threads)
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name = line.strip()
        if name == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + peak_of_children(), flush=True)
            continue
        begin, count = time.perf_counter(), 0
        while not count or time.perf_counter() - begin < TURN:
            steps[name]()
            count += 1
        print((time.perf_counter() - begin) / count, flush=True)


class Worker:
    """One of the two processes."""

    def __init__(self, library, case, batch, threads):
        self.process = subprocess.Popen(
            [sys.executable, __file__, case, "--worker", library, "--batch", str(batch), "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = json.loads(usage.first_line(self.process))

    def ask(self, name):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- the comparison ------------------------------------------------------------------------------------------------

def compare(case, batch, repeats, threads):
    """One dict per step, and the facts."""
    theirs = Worker("torch", case, batch, threads)
    ours = Worker("minigan", case, batch, threads)
    ours.ask("sgemm")
    sgemm = 2048 ** 3 / statistics.median(ours.ask("sgemm") for _ in range(9))
    rows = []
    for step in ("discriminator", "generator"):
        for worker in (ours, theirs):
            until = time.perf_counter() + WARM_UP
            while worker.ask(step) and time.perf_counter() < until:
                pass
        pairs = [(ours.ask(step), theirs.ask(step)) for _ in range(repeats)]
        mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratios = sorted(b / a for a, b in pairs)
        rows.append({"case": case, "step": step, "minigan_s": mine, "torch_s": other,
                     "ratio": statistics.median(ratios), "ratios": ratios,
                     "minigan_share": theirs.facts["products"][step] / mine / sgemm,
                     "torch_share": theirs.facts["products"][step] / other / sgemm})
    facts = {"minigan": ours.facts["library"], "torch": theirs.facts["library"], "sgemm_gflops": 2 * sgemm / 1e9,
             "minigan_mib": ours.ask("memory"), "torch_mib": theirs.ask("memory")}
    ours.close(), theirs.close()
    return rows, facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", type=usage.name("case", CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--batch", type=usage.count, default=0, help="of another size than the case's")
    parser.add_argument("--repeats", type=usage.count, default=7)
    parser.add_argument("--threads", type=usage.count)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    from minigan.engine import thread_pool
    from minigan.engine.machine import machine as this_machine
    threads = args.threads or thread_pool.cores()
    if args.worker:
        work(args.worker, args.case[0], args.batch, threads)
        return
    usage.wants("torch")
    machine = {"processor": this_machine()["processor"], "threads": threads, "python": platform.python_version()}
    results = {case: compare(case, args.batch, args.repeats, threads) for case in args.case or ["cnn", "resnet"]}
    if args.json:
        print(json.dumps({"machine": machine, "results": {
            case: {"steps": rows, **facts} for case, (rows, facts) in results.items()}}, indent=2))
        return
    print(f"{machine['processor']}, {threads} threads, Python {machine['python']}")
    for case, (rows, facts) in results.items():
        print(f"\n{case}: {facts['minigan']} beside {facts['torch']}; sgemm {facts['sgemm_gflops']:.0f} GFLOP/s")
        print(f"{'step':15}{'minigan':>10}{'PyTorch':>10}{'speed ratio':>13}{'least':>8}{'most':>8}{'share':>9}"
              f"{'PyTorch':>9}")
        for row in rows:
            print(f"{row['step']:15}{row['minigan_s']:9.3f}s{row['torch_s']:9.3f}s{row['ratio']:13.2f}"
                  f"{row['ratios'][0]:8.2f}{row['ratios'][-1]:8.2f}{row['minigan_share']:9.0%}{row['torch_share']:9.0%}")
        print(f"peak memory    {facts['minigan_mib']:7.0f}MiB{facts['torch_mib']:7.0f}MiB")


if __name__ == "__main__":
    usage.run(main)
