"""How fast is a training step, beside PyTorch's on the same CPU?

    python bench/train_step.py [--model cnn|resnet] [--batch 64] [--repeats 7] [--threads N] [--json]

The discriminator's and the generator's step of both networks at 32 x 32 (hinge loss, spectral normalization, Adam; the
generator's forward under the discriminator's step included). minigan and PyTorch run in a process each, step by step in
turn, the other one idle. PyTorch uses the faster of its two memory layouts, its own spectral_norm, and no gradients of
the discriminator's weights in the generator's step. Each step is timed --repeats times after a warm-up; the ratio is
the median of the pairs' ratios. "share" is the step's multiplications (those of the network as the paper writes it,
whatever shortcuts the code takes) per second, over those of a plain sgemm in the same run. Memory is each process's
peak (its resident set), PyTorch's and NumPy's own code included.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time

SIZE, LR, BETAS = 32, 2e-4, (0.0, 0.9)


# ---- the two workers -----------------------------------------------------------------------------------------------

def minigan_steps(model, batch, threads):
    """(name -> function that takes one step, facts)."""
    import numpy as np

    from minigan.engine import products, thread_pool
    from minigan.experiment import presets
    from minigan.training import gan
    thread_pool.set_threads(threads)
    e = presets.experiment("cifar10", model=model, batch_size=batch, gen_batch_size=batch, n_dis=1, lr=LR,
                           beta1=BETAS[0], beta2=BETAS[1])
    images = np.random.default_rng(0).integers(0, 256, (2 * batch, SIZE, SIZE, 3), np.uint8)
    training = gan.Training(e, images)
    a = np.random.default_rng(0).random((2048, 2048), np.float32)

    def sgemm():
        products.matmul(a, a)
    steps = {"discriminator": lambda: training.update_discriminator(LR),
             "generator": lambda: training.update_generator(LR), "sgemm": sgemm}
    return steps, {"library": f"minigan, NumPy {np.__version__}"}


def torch_steps(model, batch, threads, width=1.0):
    import torch
    from torch.nn import functional as F
    from torch_networks import NETWORKS
    torch.set_num_threads(threads)

    def build(layout):
        torch.manual_seed(0)
        gen, dis = (network(SIZE, width=width).to(memory_format=layout) for network in NETWORKS[model])
        opt_gen, opt_dis = (torch.optim.Adam(network.parameters(), LR, BETAS) for network in (gen, dis))
        images = torch.randint(0, 256, (2 * batch, 3, SIZE, SIZE), dtype=torch.uint8)

        def discriminator():
            x = (images[torch.randperm(len(images))[:batch]].float() / 127.5 - 1).to(memory_format=layout)
            with torch.no_grad():
                fake = gen(torch.randn(batch, 128))
            loss = F.relu(1 - dis(x)).mean() + F.relu(1 + dis(fake)).mean()
            opt_dis.zero_grad()
            loss.backward()
            opt_dis.step()

        def generator():
            for p in dis.parameters():
                p.requires_grad_(False)
            loss = -dis(gen(torch.randn(batch, 128))).mean()
            opt_gen.zero_grad()
            loss.backward()
            opt_gen.step()
            for p in dis.parameters():
                p.requires_grad_(True)
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
    return steps, {"library": f"PyTorch {torch.__version__}, {fastest}", "products": products(gen, dis, batch)}


def products(gen, dis, batch):
    """Multiplications of one step: forward, weight and input gradients of all convolutions and dense layers."""
    import torch
    counts = {}

    def count(network, x):
        found, hooks = [], []
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
                transposed = isinstance(module, torch.nn.ConvTranspose2d)
                hooks.append(module.register_forward_hook(
                    lambda m, i, o, t=transposed: found.append(
                        m.weight.numel() * (i[0] if t else o).shape[2:].numel() * batch)))
        with torch.no_grad():
            network(x)
        for hook in hooks:
            hook.remove()
        return found

    counts["gen"], counts["dis"] = count(gen, torch.randn(batch, 128)), count(dis, torch.randn(batch, 3, SIZE, SIZE))
    g, d = sum(counts["gen"]), sum(counts["dis"])
    return {"discriminator": g + 2 * (3 * d - counts["dis"][0]), "generator": 3 * g - counts["gen"][0] + 2 * d}


def work(library, model, batch, threads):
    """Answer each line on stdin: time one step, or say the peak memory."""
    steps, facts = (minigan_steps if library == "minigan" else torch_steps)(model, batch, threads)
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name = line.strip()
        if name == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
            continue
        begin = time.perf_counter()
        steps[name]()
        print(time.perf_counter() - begin, flush=True)


class Worker:
    """One of the two processes."""

    def __init__(self, library, model, batch, threads):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", library, "--model", model, "--batch", str(batch), "--threads",
             str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = json.loads(self.process.stdout.readline())

    def ask(self, name):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- the comparison ------------------------------------------------------------------------------------------------

def compare(model, batch, repeats, threads):
    """One dict per step, and the facts."""
    theirs = Worker("torch", model, batch, threads)
    ours = Worker("minigan", model, batch, threads)
    ours.ask("sgemm")
    sgemm = 2048 ** 3 / statistics.median(ours.ask("sgemm") for _ in range(9))
    rows = []
    for step in ("discriminator", "generator"):
        ours.ask(step), theirs.ask(step)
        pairs = [(ours.ask(step), theirs.ask(step)) for _ in range(repeats)]
        mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
        rows.append({"model": model, "step": step, "minigan_s": mine, "torch_s": other,
                     "ratio": statistics.median(b / a for a, b in pairs),
                     "minigan_share": theirs.facts["products"][step] / mine / sgemm,
                     "torch_share": theirs.facts["products"][step] / other / sgemm})
    facts = {"minigan": ours.facts["library"], "torch": theirs.facts["library"], "sgemm_gflops": 2 * sgemm / 1e9,
             "minigan_mib": ours.ask("memory"), "torch_mib": theirs.ask("memory")}
    ours.close(), theirs.close()
    return rows, facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["cnn", "resnet"], help="one network only")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    from minigan.engine import thread_pool
    from minigan.engine.machine import machine as this_machine
    threads = args.threads or thread_pool.cores()
    if args.worker:
        work(args.worker, args.model, args.batch, threads)
        return
    machine = {"processor": this_machine()["processor"], "threads": threads, "python": platform.python_version()}
    results = {model: compare(model, args.batch, args.repeats, threads)
               for model in ([args.model] if args.model else ["cnn", "resnet"])}
    if args.json:
        print(json.dumps({"machine": machine, "batch": args.batch, "results": {
            model: {"steps": rows, **facts} for model, (rows, facts) in results.items()}}, indent=2))
        return
    print(f"{machine['processor']}, {threads} threads, Python {machine['python']}, batch {args.batch}")
    for model, (rows, facts) in results.items():
        print(f"\n{model}: {facts['minigan']} beside {facts['torch']}; sgemm {facts['sgemm_gflops']:.0f} GFLOP/s")
        print(f"{'step':15}{'minigan':>10}{'PyTorch':>10}{'speed ratio':>13}{'share':>9}{'PyTorch':>9}")
        for row in rows:
            print(f"{row['step']:15}{row['minigan_s']:9.3f}s{row['torch_s']:9.3f}s{row['ratio']:13.2f}"
                  f"{row['minigan_share']:9.0%}{row['torch_share']:9.0%}")
        print(f"peak memory    {facts['minigan_mib']:7.0f}MiB{facts['torch_mib']:7.0f}MiB")


if __name__ == "__main__":
    main()
