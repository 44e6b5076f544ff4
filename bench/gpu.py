"""What are the kernels worth on a GPU? Ratios within one run, timed with CUDA events.

    python bench/gpu.py [sn] [figure10] [job] [kernels] [updates] [inception]
                        [--model cnn|resnet] [--batch 64] [--width 1] [--repeats 20] [--json]

sn        spectral normalization of all layers of the discriminator, forward and backward: the kernels of
          power_iteration.cu and spectral_norm.cu, the same as one would write it with CuPy, and that with every launch
          saved that CuPy allows (the kernels alone also do without writing W / sigma)
figure10  100 generator updates with 5 of the discriminator each: no normalization, SN, WGAN-GP (Miyato et al. 2018,
          Figure 10)
job       the paper's job, iterations of SN as a training does them without what it writes: how many a second by each
          --precision, and the hours of all of them
kernels   every kernel that an update of each network launches, and cuBLAS's products, in the usual precision: the
          milliseconds of all its launches in both updates, and the share of the limit (1: at the limit). The limit of a
          launch is the longer of two: a copy that reads and writes as many bytes as its arrays have, each once, and its
          multiplications at the rate of a large product; both are measured in the same run. Launches are timed as
          conv_layers.py times them, so that small arrays lie in the L2 cache, those of the copy, too
updates   an update of the discriminator and of the generator, as a CUDA graph and without (--no-graph), beside PyTorch
          on the same card, eager and as a CUDA graph (if torch with CUDA is installed): each --precision, PyTorch with
          the same (bf16: its autocast)
inception the 2048 features of 500 images of 32 x 32, resizing included, from the host's memory and back to it, by each
          --precision, beside torch-fidelity's network on the same card (if it is installed, pip install --no-deps
          torch-fidelity); both with the same random weights

Before anything is timed, its results are compared: with NumPy's in float64, an update's loss and gradients with those
of a CPU from the same state, and graphs with the same updates without, to the byte. Candidates take turns; a ratio is
the median of the rounds' ratios. The numbers hold for the card that is named at the top, and for no other.
"""

import argparse
import importlib
import importlib.util
import json
import math
import pkgutil
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from minigan.engine import cublas, devices, loops
from minigan.engine.loops import power_iteration, spectral_norm
from minigan.errors import WrongUse
from minigan.experiment import presets
from minigan.metrics import inception, inception_table
from minigan.networks import models, norms
from minigan.training import gan

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
SIZE, RATE = 32, 2e-4
# Of a loss, and of all gradients' length; TF32 keeps 10 bits, bfloat16 7, and both turn ReLUs.
TOLERANCE = 1e-3
TOLERANCES = {"float32": TOLERANCE, "tf32": 0.5, "bf16": 0.5}
KIND, IMAGES, COMPARED = "inception-2015-12-05", 500, 4  # of Inception: its network, images, those compared in float64
FEATURES = {"float32": 1e-4, "tf32": 3e-2, "bf16": 0.2}  # how far features may be from float64's, of the largest
TOGETHER = 5  # updates, as in a training: the host draws for one while the GPU works on the one before
COPIED, SIDE = 256 << 20, 4096  # bytes of the large array that is copied; of the matrices of the large product
LAUNCHES = 20  # of a kernel, in a graph that is timed
WARM_UPS = 3  # rounds that are not counted: an update is recorded as a graph in its third


def in_turn(cupy, candidates, repeats, together=1):
    """name -> milliseconds of each round, a round being so many runs `together`; the candidates take turns."""
    times = {name: [] for name in candidates}
    for i in range(WARM_UPS + repeats):
        for name, function in candidates.items():
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            for _ in range(together):
                function()
            end.record()
            end.synchronize()
            if i >= WARM_UPS:
                times[name].append(cupy.cuda.get_elapsed_time(begin, end) / together)
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
        pairs = list(zip(new, vs, strict=True))
        return new, sigmas, spectral_norm.spectral_gradients(Gs, Ws, pairs, [None] * len(Ws), sigmas)[0]

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


# ---- figure10 ------------------------------------------------------------------------------------------------------

def training(device, args, **chosen):
    e = presets.experiment("cifar10", **{
        "model": args.model, "batch_size": args.batch, "gen_batch_size": args.batch, "width": args.width,
        "device": device, "beta1": 0.0, "beta2": 0.9} | chosen)
    return gan.Training(e, np.random.default_rng(0).integers(0, 256, (2 * args.batch, SIZE, SIZE, 3), np.uint8))


def check_training(args, tolerance, **chosen):
    """An update on the GPU has the loss and the gradients of the same update on a CPU; and so have graphs, to the byte.

    Each begins from the CPU's state: Adam's first steps are little more than the gradients' signs, which rounding turns
    where a gradient is almost 0, so that two trainings part.
    """
    small = argparse.Namespace(**vars(args) | {"batch": min(args.batch, 8), "width": min(args.width, 0.25)})
    ours, expected = (training(device, small, n_dis=1, graph=False, **chosen) for device in ("cuda", "cpu"))
    for who in ("discriminator", "generator") * 3:
        losses = [getattr(run, f"update_{who}")(RATE).item() for run in (ours, expected)]
        np.testing.assert_allclose(*losses, rtol=tolerance, atol=tolerance)
        found, gradients = (np.concatenate([a.ravel() for name, a in getattr(run, f"opt_{who[:3]}").arrays().items()
                                            if name.endswith("/m")]) for run in (ours, expected))  # beta1 is 0
        assert np.linalg.norm(found - gradients) <= tolerance * np.linalg.norm(gradients), f"gradients, {who}"
        ours.load(expected.state())
    graphs, without = (training("cuda", small, n_dis=1, graph=graph, **chosen) for graph in (True, False))
    losses = [[[loss.item() for loss in run.iterate()] for _ in range(5)] for run in (graphs, without)]
    assert losses[0] == losses[1], f"with graphs {losses[0]}, without {losses[1]}"


def bench_figure10(cupy, args):
    settings = {"none": {"norm": "none"}, "SN": {"norm": "sn"},
                "WGAN-GP": {"norm": "none", "loss": "wasserstein", "gp": 10.0}}
    for chosen in settings.values():
        check_training(args, TOLERANCE, **chosen)
    runs = {name: training("cuda", args, n_dis=5, **chosen) for name, chosen in settings.items()}
    found = rows(in_turn(cupy, {name: run.iterate for name, run in runs.items()}, args.repeats), "none")
    return [row | {"seconds_per_100_updates": row["ms"] / 10} for row in found]


# ---- job -----------------------------------------------------------------------------------------------------------

def bench_job(cupy, args):
    e = presets.experiment("cifar10", model=args.model, norm="sn")
    runs = {}
    for precision in cublas.PRECISIONS:
        check_training(args, TOLERANCES[precision], precision=precision)
        runs[f"SN, {precision}"] = training("cuda", args, n_dis=e.n_dis, precision=precision)
    times = in_turn(cupy, {name: run.iterate for name, run in runs.items()}, args.repeats, TOGETHER)
    return [row | {"iterations_per_second": 1e3 / row["ms"], "iterations": e.iterations,
                   "hours": e.iterations * row["ms"] / 3.6e6} for row in rows(times, "SN, float32")]


# ---- kernels -------------------------------------------------------------------------------------------------------

# What a launch multiplies, by its arguments; the others multiply nothing that counts.
MULTIPLIED = {
    "conv": lambda x, W, stride, pad, size, *rest: len(x) * math.prod(size) * W.size,
    "conv_transposed": lambda gy, W, *rest: gy.size * W.size // len(W),
    "conv_weights": lambda x, gy, kernel, *rest: gy.size * math.prod(kernel) * x.shape[3],
    "cuBLAS": lambda a, b, *rest: a.size * b.shape[1]}
# The arrays that a launch writes where it has read them.
CHANGED = {"adam_all": lambda ws, gs, ms, vs, *rest: [*ws, *ms, *vs], "bias_leaky": lambda y, *rest: [y]}


def launched(cupy, run):
    """{(name, bytes, multiplications, shapes): [how many launches, the first of them, to be done again]} of an update
    of both networks."""
    found, inside = {}, False

    def noted(name, function):
        def launch(*args, **named):
            nonlocal inside
            outer, inside = inside, True
            result = function(*args, **named)
            inside = outer
            if not outer:  # what a launcher launches on its way is its own
                given = arrays_in(cupy, [*args, *named.values()])
                key = (name, bytes_moved(cupy, name, args, given, result),
                       MULTIPLIED[name](*args) if name in MULTIPLIED else 0, str([a.shape for a in given.values()]))
                found.setdefault(key, [0, partial(function, *args, **named)])[0] += 1
            return result
        return launch
    files = pkgutil.iter_modules(loops.__path__)
    modules = [importlib.import_module(f"{loops.__name__}.{file.name}") for file in files]
    places = [(module, name, name.removeprefix("launch_")) for module in modules for name in vars(module)
              if name.startswith("launch_")]
    before = [(*place, getattr(*place[:2])) for place in [(cublas, "product", "cuBLAS"), *places]]
    try:
        for module, name, shown, function in before:
            setattr(module, name, noted(shown, function))
        run.update_discriminator(RATE)
        run.update_generator(RATE)
    finally:
        for module, name, _, function in before:
            setattr(module, name, function)
    return found


def arrays_in(cupy, thing):
    """All of CuPy's arrays in it, by their place in memory."""
    if isinstance(thing, cupy.ndarray):
        return {thing.data.ptr: thing}
    if not isinstance(thing, list | tuple):
        return {}
    return {place: a for part in thing for place, a in arrays_in(cupy, part).items()}


def bytes_moved(cupy, name, args, given, result):
    """Bytes that a launch must read and write: of each array once, of those that it changes in place twice."""
    changed = arrays_in(cupy, CHANGED[name](*args) if name in CHANGED else [])
    return sum(a.nbytes * (1 + (place in changed)) for place, a in (given | arrays_in(cupy, result)).items())


def microseconds(cupy, stream, function, repeats):
    """Of one run, as part of a graph of many."""
    pool = cupy.cuda.MemoryPool()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        function()
        stream.synchronize()
        stream.begin_capture()
        for _ in range(LAUNCHES):
            function()
        graph = stream.end_capture()
        times = in_turn(cupy, {"": graph.launch}, repeats)[""]
        stream.synchronize()
    return 1e3 * statistics.median(times) / LAUNCHES


def bench_kernels(cupy, args):
    """First what the card does at its best, then a row for each kernel, those of the most time first."""
    precision = cublas.usual_precision(cupy)
    stream = cupy.cuda.Stream(non_blocking=True)
    run = training("cuda", args, n_dis=1, graph=False, precision=precision)

    def timed(function):
        return microseconds(cupy, stream, function, args.repeats)

    def copied(count):
        """Microseconds in which so many bytes are read and written, half of them each."""
        a = cupy.zeros((max(1, count // 8),), np.float32)
        b = cupy.empty_like(a)
        return timed(lambda: cupy.copyto(b, a))
    with cublas.precision(cupy, precision):
        large, a = copied(2 * COPIED), cupy.ones((SIDE, SIDE), np.float32)
        product = timed(lambda: cublas.product(a, a))
        found = [{"name": f"copy of {COPIED >> 20} MiB", "ms": large / 1e3, "ratio": 1.0,
                  "GB_per_second": 2 * COPIED / large / 1e3},
                 {"name": f"product of {SIDE} x {SIDE}, {precision}", "ms": product / 1e3, "ratio": 1.0,
                  "TFLOP_per_second": 2 * SIDE ** 3 / product / 1e6}]
        totals, calls = {}, launched(cupy, run)
        while calls:  # the arrays of each are freed when it was timed
            (name, moved, done, _), (count, call) = calls.popitem()
            took, limit = timed(call), max(copied(moved), product * done / SIDE ** 3)
            total = totals.get(name, (0, 0.0, 0.0))
            totals[name] = total[0] + count, total[1] + count * took, total[2] + count * limit
    return found + [{"name": name, "ms": took / 1e3, "ratio": limit / took, "launches": count, "limit_ms": limit / 1e3}
                    for name, (count, took, limit) in sorted(totals.items(), key=lambda item: -item[1][1])]


# ---- updates -------------------------------------------------------------------------------------------------------

def bench_updates(cupy, args):
    return [row for precision in cublas.PRECISIONS for row in updates(cupy, args, precision)]


def updates(cupy, args, precision):
    """Rows of both networks' updates, in one precision."""
    check_training(args, TOLERANCES[precision], precision=precision)
    with_graphs, without = (training("cuda", args, n_dis=1, graph=graph, precision=precision)
                            for graph in (True, False))
    candidates = {"minigan, graph": steps(with_graphs), "minigan": steps(without)} | torch_candidates(args, precision)
    found = []
    for who in ("discriminator", "generator"):
        what = f"{who}, {precision}, "
        times = in_turn(cupy, {what + name: taken[who] for name, taken in candidates.items()}, args.repeats, TOGETHER)
        found += rows(times, what + "minigan, graph")
    for row in found:
        if row["name"].endswith("minigan, graph"):
            row["pool_MiB"] = with_graphs.graphs.pool.total_bytes() / 2**20  # that both graphs share
    if with_graphs.graphs.remarks:
        sys.exit("bench/gpu.py: " + "; ".join(with_graphs.graphs.remarks))
    return found


def steps(run):
    return {"discriminator": lambda: run.update_discriminator(RATE), "generator": lambda: run.update_generator(RATE)}


def torch_candidates(args, precision):
    """Name -> updates of PyTorch, which enqueues them on the null stream too; none where it is missing or finds no GPU.
    """
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    import torch_gpu
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    return {f"PyTorch {torch.__version__}{name}": torch_gpu.steps(args.model, args.batch, args.width, graph=graph,
                                                                  bf16=precision == "bf16")
            for name, graph in (("", False), (", graph", True))}


# ---- Inception -----------------------------------------------------------------------------------------------------

def bench_inception(cupy, args):
    """A row for each precision and library; ms of all images."""
    import golden_inception
    weights = golden_inception.seeded(inception_table.tensors(KIND))
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
    expected = inception.Inception(weights, KIND, dtype=np.float64).features(images[:COMPARED])["2048"]
    candidates, differences = {}, {}
    for precision in cublas.PRECISIONS:
        for library, function in {"minigan": ours, "torch-fidelity": fidelity}.items():
            features = function(cupy, weights, precision)
            if features is None:
                continue
            found = features(images)[:COMPARED]
            difference = abs(found - expected).max() / abs(expected).max()
            if not difference <= FEATURES[precision]:
                sys.exit(f"bench/gpu.py: {library}'s features in {precision} are {difference:.1e} from float64's")
            name = f"{library}, {precision}"
            candidates[name], differences[name] = lambda features=features: features(images), difference
    times = in_turn(cupy, candidates, args.repeats)
    return [row | {"images_per_second": 1e3 * IMAGES / row["ms"], "difference": float(differences[row["name"]])}
            for row in rows(times, "minigan, float32")]


def ours(cupy, weights, precision):
    net = inception.Inception(weights, KIND, xp=cupy)

    def features(images):
        with cublas.precision(cupy, precision):
            return net.features(images)["2048"].get()
    return features


def fidelity(cupy, weights, precision):
    """torch-fidelity's network, which has no bf16; None if it or a PyTorch that sees a GPU is missing."""
    if precision == "bf16" or not all(importlib.util.find_spec(name) for name in ("torch", "torch_fidelity")):
        return None
    import torch
    if not torch.cuda.is_available():
        return None
    import golden_inception
    golden_inception.bare("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as theirs
    theirs.load_state_dict_from_url = lambda *a, **k: {name: torch.from_numpy(w) for name, w in weights.items()}
    net = theirs.FeatureExtractorInceptionV3("bench", ["2048"]).cuda().eval()

    def features(images):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
        with torch.no_grad():
            given = torch.from_numpy(images).permute(0, 3, 1, 2)
            return torch.cat([net(part.cuda())[0] for part in given.split(inception.GROUP)]).cpu().numpy()
    return features


PARTS = {"sn": bench_sn, "figure10": bench_figure10, "job": bench_job, "kernels": bench_kernels,
         "updates": bench_updates, "inception": bench_inception}


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [all]")
    parser.add_argument("--model", choices=["cnn", "resnet"], default="cnn")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"unknown part '{unknown[0]}'; choose from: {', '.join(PARTS)}")
    if min(args.batch, args.repeats) < 1:
        parser.error("--batch and --repeats: expected at least 1")
    cupy, facts = machine("bench/gpu.py")
    results, begin = {"machine": facts}, time.monotonic()
    if not args.json:
        print("\n".join(f"{name:8} {value}" for name, value in facts.items()))
        print(f"{args.model}, {SIZE} x {SIZE} pixels, batch {args.batch}, width {args.width:g}", flush=True)
    for part in args.parts or PARTS:
        results[part] = PARTS[part](cupy, args)
        if not args.json:
            show(part, results[part])
    results["seconds"] = time.monotonic() - begin
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print(f"\nall of it took {results['seconds']:.0f} s")


def machine(program):
    """CuPy, and what the card and its software are; without a card the program ends."""
    try:
        cupy, facts = devices.cuda_module(), devices.cuda_facts()
    except WrongUse as error:
        sys.exit(f"{program}: {error}".removesuffix(", or use --device cpu"))
    if "emulated" in cupy.__version__:
        facts["card"] = "NO GPU: emulated; the times say nothing"
    return cupy, facts


def show(part, found):
    """Print a part's rows, as soon as they are there."""
    print(f"\n{part}")
    for row in found:
        more = "".join(f"   {name.replace('_', ' ')} {value:{',' if isinstance(value, int) else '.4g'}}"
                       for name, value in row.items() if name not in ("name", "ms", "ratio"))
        print(f"  {row['name']:52}{row['ms']:10.3f} ms{row['ratio']:8.2f}{more}", flush=True)


if __name__ == "__main__":
    main()
