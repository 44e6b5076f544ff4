"""What are the kernels worth on a GPU? Ratios within one run, timed with CUDA events.

    python bench/gpu.py [sn] [figure10] [pytorch] [tf32] [steps] [--model cnn|resnet] [--batch 64] [--width 1]
                        [--repeats 20] [--json]

sn        spectral normalization of all layers of the discriminator, forward and backward: the kernels of
          power_iteration.cu and spectral_norm.cu, the same as one would write it with CuPy, and that with every launch
          saved that CuPy allows (the kernels alone also do without writing W / sigma)
figure10  100 generator updates with 5 of the discriminator each: no normalization, SN, WGAN-GP (Miyato et al. 2018,
          Figure 10)
pytorch   a training step beside PyTorch's, eager, on the same card (if torch with CUDA is installed)
          with TF32 for both or for neither, as CUPY_TF32 says (0 if it is not set)
tf32      a training step with CUPY_TF32=1 beside 0, each in a process of its own
steps     a training step alone, with CUPY_TF32 as it is set: what tf32 runs twice

The first four by default. Before anything is timed, its results are compared with NumPy's in float64 or with a run on
the CPU. Candidates take turns; a ratio is the median of the rounds' ratios. The numbers hold for the card that is named
at the top, and for no other.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import numpy as np

from minigan.engine import devices, thread_pool
from minigan.engine.loops import power_iteration, spectral_norm
from minigan.errors import WrongUse
from minigan.experiment import presets
from minigan.networks import models, norms
from minigan.training import gan

SIZE, RATE = 32, 2e-4
TF32_TOLERANCE = 0.1  # of a loss after three iterations: TF32 has 10 bits behind the point


def in_turn(cupy, candidates, repeats):
    """name -> milliseconds of each round; the candidates take turns after two rounds that are not counted."""
    times = {name: [] for name in candidates}
    for i in range(repeats + 2):
        for name, function in candidates.items():
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            function()
            end.record()
            end.synchronize()
            if i >= 2:
                times[name].append(cupy.cuda.get_elapsed_time(begin, end))
    return times


def rows(times, base):
    """One dict per candidate: median milliseconds, and the ratio to `base`."""
    return [{"name": name, "ms": statistics.median(ms),
             "ratio": statistics.median(a / b for a, b in zip(ms, times[base], strict=True))}
            for name, ms in times.items()]


# ---- sn ------------------------------------------------------------------------------------------------------------

def plain(cupy, W, u, G, eps=1e-12):
    """One layer as one would write it: (u, sigma, W / sigma, gradient of W)."""
    v = W.T @ u
    v = v / (cupy.sqrt((v * v).sum()) + eps)
    t = W @ v
    u = t / (cupy.sqrt((t * t).sum()) + eps)
    sigma = (u * t).sum()
    W_bar = W / sigma
    return u, sigma, W_bar, (G - (G * W_bar).sum() * cupy.multiply.outer(u, v)) / sigma


def tuned(cupy, W, u, G):
    """The same with what CuPy offers against launches: products for sums, in place, sigma as the length of W v."""
    v = cupy.dot(u, W)
    v /= cupy.sqrt(cupy.dot(v, v))
    t = cupy.dot(W, v)
    sigma = cupy.sqrt(cupy.dot(t, t))
    t /= sigma
    W_bar = W / sigma
    dW = cupy.multiply.outer(t, v)
    dW *= -cupy.dot(G.reshape(-1), W_bar.reshape(-1))
    dW += G
    dW /= sigma
    return t, sigma, W_bar, dW


def bench_sn(cupy, args):
    rng = np.random.default_rng(0)
    dis = models.MODELS[args.model].discriminator(rng, SIZE, 3, norms.Normalization(norms.SpectralNorm), args.width)
    host = [layer.params["W"].data for _, layer in dis.walk() if "W" in layer.params]
    host = [W.reshape(len(W), -1) for W in host]
    Ws = [cupy.asarray(W) for W in host]
    us = [cupy.asarray(rng.standard_normal(len(W)).astype(np.float32)) for W in host]
    Gs = [cupy.asarray(rng.standard_normal(W.shape).astype(np.float32)) for W in host]

    def kernels():
        new, vs, sigmas, _ = power_iteration.power_iterations(Ws, us)
        return new, sigmas, spectral_norm.spectral_gradients(Gs, Ws, new, vs, sigmas)

    candidates = {"kernels": kernels,
                  "CuPy": lambda: [plain(cupy, *layer) for layer in zip(Ws, us, Gs, strict=True)],
                  "CuPy, tuned": lambda: [tuned(cupy, *layer) for layer in zip(Ws, us, Gs, strict=True)]}
    new, sigmas, dWs = kernels()
    others = [candidates[name]() for name in ("CuPy", "CuPy, tuned")]
    for i, W in enumerate(host):
        W, u, G = (devices.to_host(a).astype(np.float64) for a in (Ws[i], us[i], Gs[i]))
        u, v, sigma = power_iteration.power_iteration(W, u)
        dW = spectral_norm.spectral_gradient(G, W, u, v, sigma)
        for found_sigma, found_dW in [(sigmas[i], dWs[i]), *((other[i][1], other[i][3]) for other in others)]:
            np.testing.assert_allclose(devices.to_host(found_sigma), sigma, rtol=1e-4)
            np.testing.assert_allclose(devices.to_host(found_dW), dW, rtol=0, atol=1e-4 * np.abs(dW).max())
    return rows(in_turn(cupy, candidates, args.repeats), "CuPy")


# ---- figure10, pytorch, tf32 ---------------------------------------------------------------------------------------

def training(device, args, **chosen):
    e = presets.experiment("cifar10", **{
        "model": args.model, "batch_size": args.batch, "gen_batch_size": args.batch, "width": args.width,
        "device": device, "beta1": 0.0, "beta2": 0.9} | chosen)
    return gan.Training(e, np.random.default_rng(0).integers(0, 256, (2 * args.batch, SIZE, SIZE, 3), np.uint8))


def check_training(args, tolerance, **chosen):
    """Three iterations on the GPU have the losses of the CPU."""
    small = argparse.Namespace(**vars(args) | {"batch": min(args.batch, 8), "width": min(args.width, 0.25)})
    found, expected = ([[loss.item() for loss in run.iterate()] for _ in range(3)]
                       for run in (training(device, small, n_dis=1, **chosen) for device in ("cuda", "cpu")))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def bench_figure10(cupy, args):
    settings = {"none": {"norm": "none"}, "SN": {"norm": "sn"},
                "WGAN-GP": {"norm": "none", "loss": "wasserstein", "gp": 10.0}}
    for chosen in settings.values():
        check_training(args, 1e-3, **chosen)
    runs = {name: training("cuda", args, n_dis=5, **chosen) for name, chosen in settings.items()}
    found = rows(in_turn(cupy, {name: run.iterate for name, run in runs.items()}, args.repeats), "none")
    return [row | {"seconds_per_100_updates": row["ms"] / 10} for row in found]


def steps(run):
    return {"discriminator": lambda: run.update_discriminator(RATE), "generator": lambda: run.update_generator(RATE)}


def bench_pytorch(cupy, args):
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed: pip install torch"
    if not torch.cuda.is_available():
        return "PyTorch finds no GPU: install its CUDA build"
    from train_step import torch_steps
    tf32 = os.environ.get("CUPY_TF32", "0") == "1"  # as CuPy reads it; PyTorch's own convolutions would use it unasked
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    check_training(args, TF32_TOLERANCE if tf32 else 1e-3)
    theirs, facts = torch_steps(args.model, args.batch, thread_pool.cores(), "cuda", args.width)
    found, setting = [], f"TF32 {'on' if tf32 else 'off'}"
    for step, ours in steps(training("cuda", args, n_dis=1)).items():
        def both(name=step):
            theirs[name]()
            torch.cuda.synchronize()
        mine, other = f"minigan, {setting}, {step}", f"{facts['library']}, {setting}, {step}"
        found += rows(in_turn(cupy, {mine: ours, other: both}, args.repeats), mine)
    return found


def bench_steps(cupy, args):
    check_training(args, TF32_TOLERANCE if os.environ.get("CUPY_TF32", "0") == "1" else 1e-3)
    times = in_turn(cupy, steps(training("cuda", args, n_dis=1)), args.repeats)
    return [{"name": name, "ms": statistics.median(ms), "ratio": 1.0} for name, ms in times.items()]


def bench_tf32(cupy, args):
    """CuPy reads CUPY_TF32 once: so two processes, which cannot take turns."""
    found = {}
    for tf32 in ("0", "1"):
        words = [sys.executable, __file__, "steps", "--json", "--model", args.model, "--batch", str(args.batch),
                 "--width", str(args.width), "--repeats", str(args.repeats)]
        done = subprocess.run(words, env={**os.environ, "CUPY_TF32": tf32}, capture_output=True, text=True)
        if done.returncode:  # above all a result that is not NumPy's: there is nothing to time then
            sys.exit(f"bench/gpu.py: with CUPY_TF32={tf32} it failed:\n{done.stderr.strip()}")
        found[tf32] = json.loads(done.stdout)["steps"]
    return [{"name": f"{row['name']}, TF32 {'on' if tf32 == '1' else 'off'}", "ms": row["ms"],
             "ratio": row["ms"] / found["0"][i]["ms"]} for tf32 in found for i, row in enumerate(found[tf32])]


PARTS = {"sn": bench_sn, "figure10": bench_figure10, "pytorch": bench_pytorch, "tf32": bench_tf32, "steps": bench_steps}
DEFAULT = ("sn", "figure10", "pytorch", "tf32")


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [{', '.join(DEFAULT)}]")
    parser.add_argument("--model", choices=["cnn", "resnet"], default="cnn")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"unknown part '{unknown[0]}'; choose from: {', '.join(PARTS)}")
    try:
        cupy, facts = devices.cuda_module(), devices.cuda_facts()
    except WrongUse as error:
        sys.exit(f"bench/gpu.py: {error}".removesuffix(", or use --device cpu"))
    if "emulated" in cupy.__version__:
        facts["card"] = "NO GPU: emulated; the times say nothing"
    results = {part: PARTS[part](cupy, args) for part in args.parts or DEFAULT}
    if args.json:
        print(json.dumps({"machine": facts} | results, indent=2))
        return
    print("\n".join(f"{name:8} {value}" for name, value in facts.items()))
    print(f"{args.model}, {SIZE} x {SIZE} pixels, batch {args.batch}, width {args.width:g}")
    for part, found in results.items():
        print(f"\n{part}")
        if isinstance(found, str):
            print(f"  left out: {found}")
            continue
        for row in found:
            more = "".join(f"   {name.replace('_', ' ')} {value:.2f}" for name, value in row.items()
                           if name not in ("name", "ms", "ratio"))
            print(f"  {row['name']:32}{row['ms']:10.3f} ms{row['ratio']:8.2f}{more}")


if __name__ == "__main__":
    main()
