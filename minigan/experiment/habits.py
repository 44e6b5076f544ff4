"""Options of other programs that people type from habit, and what takes their place here."""

from __future__ import annotations

from collections.abc import Collection

# option here -> (what others call it, what to know; "" where the name is all). The first one or two stand in the help.
HABITS: dict[str, tuple[tuple[str, ...], str]] = {
    "--threads": (("--num-workers", "--workers", "--n-workers", "--n-cpu", "--num-threads"),
                  "images are read ahead without workers, and results are the same for any number of threads"),
    "--device": (("--gpu", "--cuda", "--gpus", "--gpu-id", "--gpu-ids", "--no-cuda"),
                 "--device cuda computes on the GPU"),
    "--precision": (("--amp", "--fp16", "--bf16", "--tf32", "--mixed-precision", "--use-amp", "--allow-tf32"),
                    "float32, tf32 or bf16, of a GPU's products in updates; in bf16 of activations, too"),
    "--iterations": (("--epochs", "--steps", "--n-epochs", "--num-epochs", "--max-iter", "--niter", "--num-steps",
                      "--max-steps", "--total-steps", "--n-iter", "--kimg", "--max-iteration"),
                     "a run is counted in updates of the generator; an epoch has images / batch size / n_dis of them"),
    "--accumulate": (("--gradient-accumulation-steps", "--accumulate-grad-batches", "--grad-accum", "--accum-iter",
                      "--num-accumulations", "--accumulation-steps", "--grad-accumulation", "--n-accum"),
                     "it divides a batch: --batch-size stays that of the whole update"),
    "--batch-size": (("--batch", "--batchsize", "--bs", "--batch-size-per-gpu", "--batch-gpu"), ""),
    "--lr-dis": (("--lr-d", "--d-lr", "--lrd", "--dlr", "--dis-lr", "--lr-discriminator"), ""),
    "--lr": (("--learning-rate", "--lr-g", "--g-lr", "--lrg", "--glr", "--gen-lr", "--lr-generator"),
             "it is both networks' rate; --lr-dis changes the discriminator's"),
    "--data-root": (("--data-dir", "--data-path", "--dataroot", "--dataset-root", "--dataset-path", "--datadir"), ""),
    "--size": (("--image-size", "--img-size", "--imsize", "--resolution", "--imagesize", "--load-size"), ""),
    "--dim-z": (("--z-dim", "--nz", "--latent-dim", "--zdim", "--latent-size"), ""),
    "--width": (("--ngf", "--ndf", "--ch", "--base-channels", "--fmaps"),
                "it is a factor on all of a network's channels: 0.5 halves them"),
    "--n-dis": (("--n-critic", "--d-steps", "--critic-iters", "--num-d-steps", "--n-disc"), ""),
    "--gp": (("--lambda-gp", "--gp-weight", "--gp-lambda", "--gradient-penalty"), ""),
    "--norm": (("--spectral-norm", "--normalization", "--sn", "--spectral"), "--norm sn is spectral normalization"),
    "--loss": (("--gan-mode", "--loss-type", "--gan-type", "--gan-loss", "--adv-loss"), ""),
    "--model": (("--arch", "--architecture", "--network", "--net", "--backbone"), "minigan networks lists them"),
    "--condition": (("--conditional", "--cond", "--class-cond"), "--condition projection is Miyato and Koyama's"),
    "--beta1": (("--b1", "--adam-beta1"), ""),
    "--beta2": (("--b2", "--adam-beta2"), ""),
    "--ema": (("--ema-decay", "--use-ema"), ""),
    "--seed": (("--random-seed", "--manual-seed", "--manualseed"), ""),
    "--log-every": (("--log-interval", "--log-freq", "--print-freq", "--log-steps"), "in iterations"),
    "--sample-every": (("--sample-interval", "--sample-freq", "--vis-steps"), "in iterations"),
    "--checkpoint-every": (("--save-every", "--save-interval", "--save-freq", "--save-steps", "--snap"),
                           "in iterations"),
    "--score-every": (("--eval-every", "--eval-interval", "--eval-freq", "--fid-every", "--metrics"), "in iterations"),
    "--out": (("--output", "--outdir", "--output-dir", "--save-dir", "--logdir", "--log-dir", "--checkpoint-dir",
               "--results-dir", "--out-dir"), ""),
    "--resume": (("--checkpoint", "--ckpt", "--load", "--resume-from", "--continue", "--start-epoch"),
                 "--resume RUN, the run's folder"),
    "--tensorboard": (("--wandb", "--use-wandb", "--use-tensorboard", "--visdom"), "files only; no account is needed"),
    "--count": (("--num-samples", "--n-samples", "--num-images", "--num-fid-samples", "--samples"), ""),
    "DATASET": (("--dataset", "--data", "--dataset-name"),
                "it is the first word, without an option: minigan train cifar10"),
    "A": (("--input1", "--fake", "--fakes", "--gen", "--generated"), "A are the fakes: minigan score A B"),
    "[B]": (("--input2", "--real", "--ref", "--reference"), "B are the real images: minigan score A B"),
}

MPI = "mpiexec -n 4 starts a training on 4 processes, each with a GPU of its own"

# What others have and minigan has not, with the reason.
NONE = {"--workers-per-gpu": "images are read ahead without workers", "--pin-memory": "images are read ahead anyway",
        "--multi-gpu": MPI, "--distributed": MPI}

# Of other commands here, and what commands without it do instead.
NOT_HERE = {"--tensorboard": "minigan train has it; minigan train --resume RUN --tensorboard gives a run its file",
            "--help-all": "minigan train --help-all explains every option of a training, --help those of this command",
            "--resume": "the same command goes on with what was stopped; minigan train --resume RUN goes on with a run",
            "--num-workers": "it works on all cores, and no result depends on them",
            "--threads": "it works on all cores, and no result depends on them",
            "--batch-size": "no result of this command depends on one"}


def answer(typed: str, known: Collection[str]) -> str:
    """What to say of an option that a command does not know; "" if nothing helps.

    known: the command's own options, and the names of its arguments.
    """
    name = typed.lower().replace("_", "-")
    return renamed(typed, known) or (f"{typed}: not here; {NOT_HERE[name]}" if name in NOT_HERE else "")


def renamed(typed: str, known: Collection[str]) -> str:
    """The same, but for what a command has and another has not: the library asks, too, of its arguments."""
    name = typed.lower().replace("_", "-")
    if name != typed and name in known:
        return f"{typed} is written {name} here"
    for here, (others, remark) in HABITS.items():
        if name in others and here in known:
            place = f"here it is {here}" if here.startswith("-") else f"the word {here.strip('[]')} takes its place"
            return f"{typed}: {place}" + (f"; {remark}" if remark else "")
    return f"{typed}: there is none here, {NONE[name]}" if name in NONE else ""


def elsewhere(option: str) -> str:
    """For the help of an option: what other programs call it; "" if nothing is known of that."""
    others = HABITS.get(option, ((), ""))[0][:2]
    return f"elsewhere {', '.join(others)}" if others else ""
