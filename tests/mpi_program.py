"""Run by mpiexec (tests/parallel/test_mpi.py): trainings by all processes together and by each alone, in float64.

    mpiexec -n 2 python tests/mpi_program.py
"""

import sys

import numpy as np
import tiny

from minigan.engine import ops, thread_pool
from minigan.engine.autograd import Tensor, grad
from minigan.nn.optimizers import OPTIMIZERS
from minigan.nn.over_processes import normalized
from minigan.parallel import mpi
from minigan.training.gan import Training

CASES = {
    "cnn": {}, "ns": {"loss": "ns", "ema": 0.9}, "n_dis": {"n_dis": 2, "gen_batch_size": 12, "schedule": "linear"},
    "penalty": {"loss": "wasserstein", "gp": 10.0, "norm": "none", "dequantize": True},
    "bn": {"norm": "bn", "features_gain": True},
    "projection": {"model": "resnet", "condition": "projection", "loss": "lsgan"},
    "ac": {"model": "resnet", "condition": "ac", "norm": "ssn", "order": "gen-first"},
    "concat": {"model": "resnet", "condition": "concat", "gp": 1.0, "reuse_z": True},
}
PARTS = {"parts": {"accumulate": 2, "n_dis": 2, "ema": 0.9},
         "parts-penalty": {"accumulate": 2, "gp": 1.0, "condition": "projection", "model": "resnet"},
         "parts-bn": {"accumulate": 4, "norm": "bn"}}
ALL = CASES | PARTS | {"local": {"sync_bn": False}, "as-parts": {"sync_bn": False, "n_dis": 2}}
ALONE = {"as-parts": {"accumulate": 2}}  # what one process does otherwise


def training(group, **chosen):
    """A training whose every number is float64."""
    e = tiny.tiny(**{"size": 16, "width": 0.03, "batch_size": 8, "gen_batch_size": 8, "iterations": 1000,
                     "sync_bn": True, "lr": 1e-4} | chosen)
    rng = np.random.default_rng(0)
    t = Training(e, rng.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8), np.arange(24) % 3, group=group)
    for network in filter(None, (t.gen, t.dis, t.average)):
        for _, layer in network.walk():
            for p in layer.params.values():
                p.data = p.data.astype(np.float64)
            for name, a in layer.state.items():
                layer.state[name] = a.astype(np.float64)
    t.opt_gen, t.opt_dis = (OPTIMIZERS[e.optimizer](network.parameters(), e.beta1, e.beta2, e.adam_eps)
                            for network in (t.gen, t.dis))
    real, fakes = t.real, t.draws.fakes
    t.real = lambda x: Tensor(real(x).data.astype(np.float64))
    t.draws.fakes = lambda count: (fakes(count)[0].astype(np.float64), None) if t.draws.labels is None else tuple(
        a.astype(np.float64) if a.dtype == np.float32 else a for a in fakes(count))
    return t


def second_order(group):
    """How far gradients of a gradient through batch normalization over processes are from one process's."""
    rng = np.random.default_rng(1)
    x, weights, direction = (rng.standard_normal((8, 3, 3, 5)) for _ in range(3))

    def gradients(group, rows):
        variable = Tensor(x[rows], requires_grad=True)
        y, _, _ = normalized(variable, 1e-2, group)
        first = grad(ops.sum(ops.tanh(y) * y * Tensor(weights[rows])), variable, create_graph=True)
        return first.data, grad(ops.sum(first * first * Tensor(direction[rows])), variable).data
    mine = group.rows(len(x))
    found, expected = gradients(group, mine), gradients(mpi.ALONE, slice(None))
    return [np.abs(a - b[mine]).max() / np.abs(b).max() for a, b in zip(found, expected, strict=True)]


def main():
    group = mpi.group()
    assert group.size > 1, "start it with mpiexec"
    thread_pool.set_threads(1)
    for one in group.comm.gather(second_order(group)) or []:
        print(f"derivatives apart by {max(one):.1e}", flush=True)
    for name in sys.argv[1:] or CASES:
        together, alone = training(group, **ALL[name]), training(mpi.ALONE, **ALL[name] | ALONE.get(name, {}))
        found, expected = (np.array([[loss.item() for loss in t.iterate()] for _ in range(50 if name in CASES else 15)])
                           for t in (together, alone))
        assert np.isfinite(expected).all() and found.dtype == np.float64
        off = np.abs(found - expected).max() / np.abs(expected).max()
        weights = max(np.abs(a - b).max() for a, b in zip(
            together.dis.arrays().values(), alone.dis.arrays().values(), strict=True))
        each = group.comm.allgather([a.tobytes() for a in together.gen.arrays().values()])
        if group.rank == 0:
            print(f"{name}: losses apart by {off:.1e}, weights by {weights:.1e}, "
                  f"processes {'alike' if all(one == each[0] for one in each) else 'DIFFERENT'}", flush=True)


if __name__ == "__main__":
    main()
