"""--accumulate: a batch in parts makes the update of the whole, in float64 to rounding, where no moments are taken."""

import dataclasses
import tracemalloc

import mpi_program
import numpy as np
import pytest
import tiny

from minigan.cli import main
from minigan.engine import ops
from minigan.engine.autograd import Tensor
from minigan.errors import WrongUse
from minigan.experiment.explain import explain
from minigan.experiment.presets import experiment
from minigan.networks.norms import NORMS
from minigan.networks.own import own
from minigan.nn import losses
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.losses import LOSSES, Loss
from minigan.nn.spectral_norms import spectral_norm
from minigan.parallel import mpi
from minigan.training.gan import Training

CASES = {
    **{f"loss {name}": {"loss": name} for name in LOSSES},
    **{f"norm {name}": {"norm": name} for name in NORMS},
    "penalty": {"loss": "wasserstein", "gp": 10.0, "norm": "none", "dequantize": True, "n_dis": 2},
    "penalty with sn": {"gp": 2.0, "gp_target": 0.5, "power_iterations": 2},
    "ema": {"ema": 0.9, "n_dis": 2, "gen_batch_size": 12, "schedule": "linear"},
    "through": {"u_gradient": True, "gen_norm": "sn", "optimizer": "rmsprop"},
    "update": {"u_schedule": "update", "gen_norm": "bsn", "optimizer": "sgd", "sampling": "replacement"},
    "projection": {"model": "resnet", "condition": "projection", "loss": "lsgan"},
    "ac": {"model": "resnet", "condition": "ac", "norm": "ssn", "order": "gen-first", "gen_batch_size": 4},
    "concat": {"model": "resnet", "condition": "concat", "gp": 1.0, "reuse_z": True},
}


def remembered(t):
    networks = {"gen": t.gen, "dis": t.dis, "average": t.average}
    return {f"{who}/{name}": a for who, network in networks.items() if network is not None
            for name, a in network.arrays().items()} | {f"opt/{name}": a for name, a in t.opt_dis.arrays().items()}


@pytest.fixture
def no_moments(monkeypatch):
    """Batch normalization as in evaluation: by constants, each image by itself."""
    for kind in (BatchNorm, *BatchNorm.__subclasses__()):
        forward = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self, x, how, f=forward: f(
            self, x, dataclasses.replace(how, train=False)))


@pytest.mark.parametrize("case", CASES)
def test_parts_make_the_update_of_the_whole_batch(case, no_moments):
    whole, *others = (mpi_program.training(mpi.ALONE, accumulate=n, **CASES[case]) for n in (1, 2, 4))
    expected = [[loss.item() for loss in whole.iterate()] for _ in range(5)]
    kept = remembered(whole)
    assert np.isfinite(expected).all()
    for t in others:
        found = [[loss.item() for loss in t.iterate()] for _ in range(5)]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        for name, a in remembered(t).items():
            assert a.dtype == kept[name].dtype
            np.testing.assert_allclose(a, kept[name], rtol=1e-7, atol=1e-9 * max(1, np.abs(a).max()), err_msg=name)


def test_networks_of_ones_own_may_be_computed_in_parts():
    rng = np.random.default_rng(1)
    gen = {"W": Tensor(rng.standard_normal((8, 768)).astype(np.float32), requires_grad=True)}
    dis = {"W": Tensor(rng.standard_normal((768, 1)).astype(np.float32), requires_grad=True),
           "u": rng.standard_normal(768).astype(np.float32)}

    def images(p, z):
        return ops.tanh(z @ p["W"]).reshape(-1, 16, 16, 3)

    def numbers(p, x):
        return (x.reshape(len(x), -1) @ spectral_norm(p["W"], p["u"])).reshape(-1)
    found = []
    for n in (1, 4):
        t = Training(tiny.tiny(batch_size=8, gen_batch_size=8, accumulate=n), pictures(), own=own((images, gen),
                                                                                                 (numbers, dis)))
        found.append(([[loss.item() for loss in t.iterate()] for _ in range(4)], t.dis.arrays()["u"]))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # float32


@pytest.mark.parametrize("norm", ["sn", "bssn", "sn-conv"])
def test_u_moves_as_by_one_batch_to_the_byte(norm):
    """The first update's power iterations see the same weights, whatever the gradient."""
    us = []
    for n in (1, 2, 4):
        t = training(accumulate=n, norm=norm, gp=1.0, gen_norm="sn")
        t.update_discriminator(1e-3)
        us.append({name: a.tobytes() for network in (t.gen, t.dis) for name, a in network.arrays().items()
                   if name.split("/")[-1] in ("u", "u_in", "v")})
    assert us[0] and us[0] == us[1] == us[2]


def test_running_moments_move_once_by_the_mean_of_the_parts_moments():
    t = training(accumulate=2, bn_decay=0.75)
    dense, bn = t.gen.layers["dense"], next(layer for _, layer in t.gen.walk() if isinstance(layer, BatchNorm))
    seen, forward = [], bn.forward
    bn.forward = lambda x, how: seen.append(x.data.astype(np.float64)) or forward(x, how)
    t.update_generator(1e-3)
    assert dense.params and len(seen) == 2 and len(seen[0]) == 4
    rows = [x.reshape(-1, x.shape[-1]) for x in seen]
    np.testing.assert_allclose(bn.state["mean"], 0.25 * np.mean([x.mean(0) for x in rows], 0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(bn.state["variance"], 0.75 + 0.25 * np.mean([x.var(0, ddof=1) for x in rows], 0),
                               rtol=1e-5)


def test_the_same_parts_have_the_same_bytes_for_any_number_of_threads(each_thread_count):
    one, two, three = each_thread_count(lambda: state(run(2)))
    assert one == two == three == state(run(2)) != state(run(1))


def test_the_memory_of_an_update_is_that_of_a_part():
    peaks = []
    for n in (1, 4):
        t = training(accumulate=n, batch_size=64, gen_batch_size=64)
        t.iterate()
        tracemalloc.start()
        t.iterate()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 0.4 * peaks[0]  # and not a quarter: weights and their gradients are as they were


def test_a_loss_that_compares_with_a_mean_is_refused_and_one_of_pairs_is_not(monkeypatch, no_moments):
    def against_means(real, fake):
        return ops.mean(ops.softplus(ops.mean(fake) - real)) + ops.mean(ops.softplus(fake - ops.mean(real)))

    def of_pairs(real, fake):
        return ops.mean(ops.softplus(fake - real))
    monkeypatch.setitem(LOSSES, "means", Loss(against_means, lambda fake: -ops.mean(fake)))
    monkeypatch.setitem(LOSSES, "squares", Loss(of_pairs, lambda fake: ops.mean(fake) ** 2))
    monkeypatch.setitem(LOSSES, "pairs", Loss(of_pairs, lambda fake: -ops.mean(fake)))
    for name in ("means", "squares"):
        with pytest.raises(WrongUse, match=f"--loss {name} looks at all outputs of a batch together, and --accumulate"):
            training(accumulate=2, loss=name)
        with pytest.raises(WrongUse, match="2 processes have a share each"):
            Training(tiny.tiny(batch_size=8, gen_batch_size=8, loss=name), pictures(), group=mpi.Group(0, 2))
        training(loss=name).iterate()
    whole, parts = (mpi_program.training(mpi.ALONE, loss="pairs", accumulate=n) for n in (1, 4))
    np.testing.assert_allclose(*([[loss.item() for loss in t.iterate()] for _ in range(4)] for t in (whole, parts)),
                               rtol=1e-9)
    assert all(losses.is_mean(loss) for name, loss in LOSSES.items() if name not in ("means", "squares"))


@pytest.mark.parametrize("chosen, says", [
    ({"accumulate": 3}, r"--accumulate 3 does not divide --batch-size 8, and the parts .* one size; choose 2 or 4"),
    ({"accumulate": 4, "gen_batch_size": 6}, "--accumulate 4 does not divide --gen-batch-size 6, .*; choose 2"),
    ({"accumulate": 2, "gen_batch_size": 7}, "--accumulate 2 does not divide --gen-batch-size 7, .*; leave it out"),
    ({"accumulate": 0}, "--accumulate: expected 1 to 65,536, got 0")])
def test_parts_of_different_sizes_are_refused(chosen, says):
    with pytest.raises(WrongUse, match=says):
        experiment("cifar10", **{"batch_size": 8} | chosen)


def test_processes_must_share_each_part_out():
    Training(tiny.tiny(batch_size=8, gen_batch_size=8, accumulate=2), pictures(), group=mpi.Group(0, 2))
    with pytest.raises(WrongUse, match="--batch-size 8: 4 processes share each of --accumulate 4 parts of a batch out "
                                       "evenly; choose a multiple of 16, such as 16, or fewer parts"):
        Training(tiny.tiny(batch_size=8, gen_batch_size=8, accumulate=4), pictures(), group=mpi.Group(0, 4))


def test_explain_says_what_parts_change():
    said = " ".join(" ".join(explain("cifar10", accumulate=4)).split())
    assert "--accumulate 4 given batch normalization takes the moments of 16 images, not of 64; all else" in said
    assert "--accumulate 1 default" in " ".join(" ".join(explain("cifar10")).split())


def test_a_run_goes_on_in_other_parts_and_says_what_that_changes(tmp_path, capsys, monkeypatch):
    words = tiny.words(tiny.pictures(tmp_path / "data"), tmp_path / "run", gen_batch_size=4)
    whole = tiny.words(tmp_path / "data", tmp_path / "whole", gen_batch_size=4, accumulate=2)
    assert main.run([*whole, "--quiet"]) == 0
    assert tiny.run_until([*words, "--accumulate", "2", "--quiet"], 5, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert "--accumulate" not in capsys.readouterr().err
    assert tiny.contents(tmp_path / "run") == tiny.contents(tmp_path / "whole")
    assert tiny.run_until([*words, "--overwrite", "--quiet"], 5, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "run"), "--accumulate", "4", "--quiet"]) == 0
    assert ("run was trained with --accumulate 1 and goes on with 4: batch normalization takes its moments from other "
            "parts, so what follows is another training") in capsys.readouterr().err
    assert main.run(["train", "--resume", str(tmp_path / "run"), "--accumulate", "3", "--quiet"]) == 2
    assert "--accumulate 3 does not divide --batch-size 4" in capsys.readouterr().err


# ---- inside --------------------------------------------------------------------------------------------------------

def pictures():
    return np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)


def training(**chosen):
    return Training(tiny.tiny(**{"batch_size": 8, "gen_batch_size": 8} | chosen), pictures())


def run(parts):
    t = training(accumulate=parts)
    for _ in range(3):
        t.iterate()
    return t


def state(t):
    return {name: a.tobytes() for network in (t.gen, t.dis) for name, a in network.arrays().items()}
