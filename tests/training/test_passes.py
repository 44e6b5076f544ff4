"""The discriminator's forwards at once: the same bytes as one after the other, for any number of threads."""

import dataclasses
import functools
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from test_draw_and_step import CHOICES, contents, remembered, training
from tiny import contents as contents_of_run
from tiny import pictures, run_until, words

from minigan.cli import main
from minigan.engine import ops, thread_pool
from minigan.engine.autograd import Tensor, grad
from minigan.networks import cnn, elsewhere, models, passes
from minigan.nn import side_by_side
from minigan.parallel import second_process as second_process_module

every_choice = pytest.mark.parametrize(
    "chosen", [*CHOICES.values(), {"norm": "none", "loss": "wasserstein", "gp": 10.0}], ids=[*CHOICES, "wgan-gp"])


@every_choice
def test_forwards_at_once_and_one_after_the_other_give_the_same_bytes(chosen):
    """In whatever order gradients are added: those of three forwards meet in every bias."""
    together, apart = training(chosen, batch_size=8), training(chosen, batch_size=8)
    apart.at_once = False
    for _ in range(2):
        losses = [t.iterate() for t in (together, apart)]
        assert losses[0][0].data.tobytes() == losses[1][0].data.tobytes()
    assert contents(together) == contents(apart)


@every_choice
def test_forwards_at_once_have_the_same_bytes_for_any_number_of_threads(chosen):
    before, found = thread_pool.thread_count(), set()
    try:
        for count in (1, 2, 3, 8):
            thread_pool.set_threads(count)
            t = training(chosen, batch_size=8)
            t.iterate()
            t.iterate()
            found.add(str(contents(t)))
    finally:
        thread_pool.set_threads(before)
    assert len(found) == 1


def second_process(t, monkeypatch):
    """The training's second process, waited for, and asked in every update."""
    monkeypatch.setattr(elsewhere, "LEAST", 0)
    monkeypatch.setattr(elsewhere.Race, "second", lambda self: True)
    assert t.elsewhere.is_there(t.dis, wait=True)
    return t.elsewhere


@pytest.fixture
def two_threads():
    before = thread_pool.thread_count()
    yield thread_pool.set_threads(2)
    thread_pool.set_threads(before)


linux = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no second process elsewhere")


@linux
@every_choice
def test_a_second_process_gives_the_same_bytes(chosen, two_threads, monkeypatch):
    """The first of three updates compares them, the others use them."""
    alone, helped = training(chosen, batch_size=8), training(chosen, batch_size=8)
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    used = []
    forward = side_by_side.SideBySide.forward
    monkeypatch.setattr(side_by_side.SideBySide, "forward", lambda self, *arrays: used.append(
        [not given.trial for given in self.elsewhere.values()]) or forward(self, *arrays))
    for _ in range(3):
        losses = [t.iterate() for t in (alone, helped)]
        assert losses[0][0].data.tobytes() == losses[1][0].data.tobytes()
        assert contents(alone) == contents(helped)
    assert not other.over and not helped.remarks()
    if chosen.get("norm") == "bn":  # one after the other
        assert not used
    elif chosen.get("norm") == "sn-conv":  # from the second update on
        assert [relied for relied in used if relied] == [[False]] + [[True]] * 4
    else:
        share = 2 if chosen.get("gp") else 1
        assert [relied for relied in used if relied] == [[False] * share] + [[True] * share] * 5


@linux
@pytest.mark.parametrize("last", ["forward", "backward", "between"])
def test_a_second_process_that_is_killed_changes_no_byte(last, two_threads, monkeypatch):
    alone, helped = training({"gp": 1.0}), training({"gp": 1.0})
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    alone.iterate(), helped.iterate()
    if last == "between":
        other.process.process.kill()
        other.process.process.wait()
    ask = other.ask

    def killing(**words):
        sent = ask(**words)
        if words["do"] == last:
            other.process.process.kill()
        return sent
    other.ask = killing
    for _ in range(2):
        alone.iterate(), helped.iterate()
    assert contents(alone) == contents(helped)
    remark, = helped.remarks()
    assert "has ended" in remark and other.over and not helped.remarks()


@linux
@pytest.mark.parametrize("last", ["forward", "backward", "between"])
def test_a_second_process_that_is_stopped_changes_no_byte_and_is_ended(last, two_threads, monkeypatch):
    alone, helped = training({"gp": 1.0}), training({"gp": 1.0})
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    alone.iterate(), helped.iterate()
    monkeypatch.setattr(second_process_module, "PATIENCE", 0.3)
    monkeypatch.setattr(second_process_module, "TIMES", 0)
    child = other.process.process
    if last == "between":
        child.send_signal(signal.SIGSTOP)
    ask = other.ask

    def stopping(**words):
        sent = ask(**words)
        if words["do"] == last:
            child.send_signal(signal.SIGSTOP)
        return sent
    other.ask = stopping
    for _ in range(2):
        alone.iterate(), helped.iterate()
    assert contents(alone) == contents(helped)
    remark, = helped.remarks()
    assert "has not answered for 0 seconds and is ended" in remark and other.over and not helped.remarks()
    assert child.returncode == -signal.SIGKILL and not Path(f"/proc/{child.pid}").exists()


@linux
def test_where_memory_cannot_be_shared_updates_are_as_before(two_threads, monkeypatch):
    alone, helped = training({"gp": 1.0}), training({"gp": 1.0})
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(12, "Cannot allocate memory")))
    for _ in range(2):
        alone.iterate(), helped.iterate()
    assert contents(alone) == contents(helped) and other.over
    assert "no memory to share" in helped.remarks()[0]


@linux
def test_a_second_process_that_computes_otherwise_is_not_relied_on(two_threads, monkeypatch):
    """As where somebody has put another model of the same name into MODELS."""
    table = dataclasses.replace(cnn.TABLE_3, slope=0.3)
    steeper = functools.partial(cnn.CNNDiscriminator, table=table)
    monkeypatch.setitem(models.MODELS, "cnn", dataclasses.replace(models.MODELS["cnn"], discriminator=steeper))
    alone, helped = training({}), training({})
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    for _ in range(2):
        alone.iterate(), helped.iterate()
    assert contents(alone) == contents(helped) and other.over
    assert "other bytes" in helped.remarks()[0]
    wider = functools.partial(cnn.CNNDiscriminator, table=dataclasses.replace(cnn.TABLE_3, dis=(64,) * 7))
    monkeypatch.setitem(models.MODELS, "cnn", dataclasses.replace(models.MODELS["cnn"], discriminator=wider))
    t = training({}, width=0.1)
    assert not t.elsewhere.is_there(t.dis, wait=True)


@linux
def test_who_was_interrupted_does_not_take_an_old_answer(two_threads, monkeypatch):
    alone, helped = training({}), training({})
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    alone.iterate(), helped.iterate()
    x = helped.draws.discriminator(helped.opt_dis.begin(1e-3))
    with monkeypatch.context() as patched:
        patched.setattr(elsewhere.Away, "result", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            helped.step_discriminator(x)
    alone.load(helped.state())
    for _ in range(2):
        alone.iterate(), helped.iterate()
    assert contents(alone) == contents(helped) and other.over


@linux
def test_a_graph_that_the_second_process_has_forgotten_is_made_again(two_threads, monkeypatch):
    t = training({})
    other = second_process(t, monkeypatch)
    t.iterate()
    rng, W = np.random.default_rng(1), t.dis.layers["conv2"].params["W"]
    one, two = (Tensor(rng.standard_normal((4, 16, 16, 3)).astype(np.float32)) for _ in range(2))
    real, _, fake, _ = passes.judged(t.dis, (one, None), (two, None), None, other)
    passes.judged(t.dis, (two, None), (one, None), None, other)
    u = {name: a.copy() for name, a in t.dis.arrays().items()}
    found = grad(ops.sum(real * 2.0 - fake), W).data
    asked = [grad(ops.sum(real * 2.0 - fake), W).data for _ in range(2)]  # and once more
    assert all(found.tobytes() == again.tobytes() for again in asked) and np.abs(found).max() > 0
    assert all((u[name] == a).all() for name, a in t.dis.arrays().items()) and not other.over


@linux
def test_runs_with_a_second_process_go_on_to_the_same_bytes_and_leave_none(two_threads, monkeypatch, tmp_path, capsys):
    data, is_there, asked = pictures(tmp_path / "data"), elsewhere.Elsewhere.is_there, []
    run = [*words(data, tmp_path / "alone"), "-q"]
    assert main.run([*run, "--threads", "1"]) == 0
    monkeypatch.setattr(elsewhere, "LEAST", 0)
    monkeypatch.setattr(elsewhere.Race, "second", lambda self: True)
    monkeypatch.setattr(elsewhere.Elsewhere, "is_there",
                        lambda self, dis: asked.append(self) or is_there(self, dis, True))
    run = [*words(data, tmp_path / "helped"), "-q", "--threads", "2"]
    assert run_until(run, 4, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "helped"), "-q", "--threads", "2"]) == 0
    assert contents_of_run(tmp_path / "helped") == contents_of_run(tmp_path / "alone")
    assert len(asked) == 10 and not any(other.trial for other in asked)
    assert all(not Path(f"/proc/{other.process.process.pid}").exists() for other in asked)
    assert "second process" not in capsys.readouterr().err


@linux
@pytest.mark.parametrize("missing", ["memfd_create", "executable"])
def test_where_no_process_can_be_started_updates_are_as_before(missing, two_threads, monkeypatch, tmp_path):
    monkeypatch.setattr(elsewhere, "LEAST", 0)
    if missing == "memfd_create":
        monkeypatch.delattr(os, missing)
    else:
        monkeypatch.setattr(sys, missing, str(tmp_path / "none"))
    alone, helped = training({}), training({})
    alone.elsewhere = None
    for _ in range(2):
        alone.iterate(), helped.iterate()
    assert contents(alone) == contents(helped) and helped.elsewhere.over and not helped.remarks()


@linux
def test_one_thread_starts_no_process(two_threads, monkeypatch):
    monkeypatch.setattr(elsewhere, "LEAST", 0)
    thread_pool.set_threads(1)
    t = training({})
    t.iterate()
    assert t.elsewhere.process is None
    thread_pool.set_threads(2)
    t.iterate()
    assert t.elsewhere.process is not None


def test_the_faster_of_two_ways_is_taken_until_the_other_one_is():
    race, taken = elsewhere.Race(), []
    for n in range(4 * race.KEPT):
        taken.append(race.second())
        first = 1.0 if n < 2 * race.KEPT else 2.0
        race.took(taken[-1], 1.5 if taken[-1] else first)
    assert sum(taken[:2 * race.KEPT]) < 4 * race.TRIES and taken[1]
    assert sum(taken[-race.KEPT // 2:]) > 0.9 * (race.KEPT // 2)


halved = pytest.mark.parametrize("chosen", [CHOICES[name] for name in ("sn", "bssn", "ac", "projection")])


@halved
def test_fakes_judged_in_halves_update_the_generator_as_those_judged_whole(chosen, monkeypatch):
    """u moves once, and each image keeps its label: 5 images are a half of 2 and one of 3."""
    found = []
    for bound in (0, 1 << 60):
        monkeypatch.setattr(passes, "HALVES", bound)
        t = training(chosen, batch_size=5, beta1=0.0)
        loss = t.update_generator(1e-3).item()
        found.append((loss, remembered(t)))
    (loss, halves), (expected, whole) = found
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert all((halves[name] == a).all() for name, a in whole.items() if name.startswith("dis"))
    gradients = [np.concatenate([a.ravel() for name, a in arrays.items()
                                 if name.startswith("opt_gen") and name.endswith("/m")])  # beta1 is 0
                 for arrays in (halves, whole)]
    assert np.linalg.norm(gradients[0] - gradients[1]) < 1e-5 * np.linalg.norm(gradients[1])


@halved
def test_fakes_judged_in_halves_have_the_same_bytes_for_any_number_of_threads(chosen, monkeypatch):
    monkeypatch.setattr(passes, "HALVES", 0)
    monkeypatch.setattr(passes, "HALVES_APART", 0)
    test_forwards_at_once_have_the_same_bytes_for_any_number_of_threads(chosen)


@linux
@halved
@pytest.mark.parametrize("parts", [1, 2])
def test_a_second_process_judges_a_half_with_the_same_bytes(chosen, parts, two_threads, monkeypatch):
    monkeypatch.setattr(passes, "HALVES", 0)
    alone, helped = (training(chosen, batch_size=8, gen_batch_size=10, accumulate=parts) for _ in range(2))
    alone.elsewhere, other = None, second_process(helped, monkeypatch)
    told, tell = [], type(other.process).tell
    monkeypatch.setattr(type(other.process), "tell",
                        lambda self, **words: told.append((words, other.trial)) or tell(self, **words))
    helped.update_generator(1e-3), alone.update_generator(1e-3)
    for _ in range(2):
        alone.iterate(), helped.iterate()
        assert contents(alone) == contents(helped)
    assert not other.over and not helped.remarks()
    halves = [(words, trial) for words, trial in told if words["do"] == "forward" and not any(
        need for _, need in words["arrays"][1:2])]  # weights are constants
    assert len(halves) == 3 * parts and [trial for _, trial in halves] == [True] + [False] * (3 * parts - 1)
    assert {words["arrays"][0][0][1][0] for words, _ in halves} == {10 // parts // 2}


def test_forwards_are_at_once_where_they_leave_each_other_alone():
    assert passes.can_share(training({}).dis) and passes.can_share(training({"model": "resnet", "norm": "ln"}).dis)
    assert not passes.can_share(training({"norm": "bn"}).dis)  # running moments
    waiting = training({"norm": "sn-conv"})
    assert not passes.can_share(waiting.dis)  # v comes with the first image
    waiting.iterate()
    assert passes.can_share(waiting.dis)


def test_each_image_keeps_its_label(monkeypatch):
    t, seen = training({"condition": "projection", "gp": 1.0}, batch_size=5), []
    forward = type(t.dis).forward

    def watched(self, x, how):
        seen.append((x.data, how.labels))
        return forward(self, x, how)
    monkeypatch.setattr(type(t.dis), "forward", watched)
    judged = type(t.dis).judged
    monkeypatch.setattr(type(t.dis), "judged", lambda self, x, how, classify: seen.append((x.data, how.labels)) or
                        judged(self, x, how, classify))
    x = t.draws.discriminator(t.opt_dis.begin(1e-3))
    real = t.real(x).data
    t.step_discriminator(x)
    labels = [given for images, given in seen if np.array_equal(images, real)]
    assert labels and all(np.array_equal(given, x.real_labels) for given in labels)
    others = {given.tobytes() for images, given in seen if not np.array_equal(images, real)}
    assert others == {x.fake_labels.tobytes(), x.real_labels.tobytes()}  # fakes, and between them and real images
