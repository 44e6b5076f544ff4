"""An update's two halves: what is drawn on the host, and a step that is a function of that and of state in place."""

import dataclasses

import emulated_cupy
import emulator
import numpy as np
import pytest
from tiny import tiny

from minigan.training.batches import Inputs
from minigan.training.gan import Training

# choices under which something more than the parameters is remembered, or drawn
CHOICES = {
    "sn": {"ema": 0.9},
    "sn-update": {"u_schedule": "update", "gen_norm": "sn"},
    "sn-through": {"u_gradient": True},
    "bssn": {"norm": "bssn", "gp": 5.0},
    "sn-conv": {"norm": "sn-conv", "optimizer": "rmsprop"},
    "bn": {"norm": "bn", "optimizer": "sgd", "dequantize": True},
    "ac": {"condition": "ac", "model": "resnet"},
    "projection": {"condition": "projection", "model": "resnet", "gp": 1.0},
}
every_choice = pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES)


def training(chosen, **more):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    return Training(tiny(**({"n_dis": 2} | chosen | more)), images, np.arange(24) % 3)


def remembered(t):
    """Name -> array of all that updates change, as it lies on the device."""
    found = {}
    for who in ("gen", "dis", "average"):
        network = getattr(t, who)
        for path, layer in network.walk() if network is not None else ():
            found |= {f"{who}/{path}/{name}": p.data for name, p in layer.params.items()}
            found |= {f"{who}/{path}/{name}": a for name, a in layer.state.items()}
    for who in ("opt_gen", "opt_dis"):
        found |= {f"{who}/{name}": a for name, a in getattr(t, who).state.items()}
    return found


def contents(t):
    return {name: a.tobytes() for name, a in remembered(t).items()}


@every_choice
def test_what_updates_remember_is_written_in_place(chosen):
    t = training(chosen)
    t.iterate()  # sn-conv's v comes with the first input
    before, values = remembered(t), contents(t)
    t.iterate()
    after = remembered(t)
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
    changed = {name for name, data in contents(t).items() if data != values[name]}
    assert {name.split("/")[-1] for name in changed} >= {
        "u" if "sn" in t.e.norm and t.e.norm != "sn-conv" else "v" if t.e.norm == "sn-conv" else "mean", "W"}


@every_choice
def test_a_step_is_a_function_of_its_inputs_and_its_state(chosen):
    t = training(chosen)
    t.iterate()
    inputs = {"discriminator": t.draws.discriminator(t.opt_dis.begin(1e-3)),
              "generator": t.draws.generator(t.opt_gen.begin(1e-3), np.array(0.1))}
    other = training(chosen)
    other.load(t.state())
    other.draws = None  # nothing is drawn inside
    for name, x in inputs.items():
        first, second = (getattr(run, f"step_{name}")(x) for run in (t, other))
        assert first.data.tobytes() == second.data.tobytes() and contents(t) == contents(other)


@every_choice
def test_an_update_is_a_draw_and_a_step(chosen):
    whole, halves = training(chosen), training(chosen)
    loss = whole.update_discriminator(2e-3)
    x = halves.draws.discriminator(halves.opt_dis.begin(2e-3))
    assert halves.step_discriminator(x).data.tobytes() == loss.data.tobytes() and contents(whole) == contents(halves)


@every_choice
def test_a_step_copies_nothing_from_the_host(chosen):
    """Emulated. What the inputs bring is all that comes from the host, after a first update that makes buffers."""
    with emulated_cupy.installed() as cupy, emulator.checking(False):
        t = training(chosen, device="cuda")
        t.iterate()
        for name, x in (("discriminator", t.draws.discriminator(t.opt_dis.begin(1e-3))),
                        ("generator", t.draws.generator(t.opt_gen.begin(1e-3), np.array(0.1)))):
            x = x.on(cupy)
            with emulated_cupy.counted() as c:
                getattr(t, f"step_{name}")(x)
            assert (c.to_device, c.to_host) == (0, 0), name


def test_inputs_hold_what_the_experiment_needs_and_nothing_else():
    plain = training({"norm": "none"}).draws.discriminator(np.zeros(()))
    given = {field.name for field in dataclasses.fields(Inputs) if getattr(plain, field.name) is not None}
    assert given == {"rate", "z", "index"}
    full = training({"norm": "none", "gp": 1.0, "dequantize": True, "condition": "projection", "model": "resnet"})
    x = full.draws.discriminator(np.zeros(()))
    N = full.e.batch_size
    assert x.noise.shape == (N, 16, 16, 3) and x.share.shape == (N, 1, 1, 1) and x.z.shape == (N, full.e.dim_z)
    assert x.fake_labels.shape == x.real_labels.shape == x.index.shape == (N,)
