"""Training: the algorithm's parts against what they must do, and a run's bytes whatever comes between."""

import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import contents, names, pictures, run_until, start, tiny, words

from minigan.cli import main
from minigan.engine import thread_pool
from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import FailedWork, WrongUse
from minigan.experiment import experiment
from minigan.networks import discriminator
from minigan.training import checkpoints, restore, run_folder
from minigan.training.batches import Batches, Draws, Inputs
from minigan.training.gan import Training
from minigan.training.sampling import draw, interpolate, latents


@pytest.fixture(autouse=True)
def threads():
    """The worker threads are this process's: put back what a run chose."""
    yield
    thread_pool.set_threads(None)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, (24, 16, 16, 3), np.uint8)


def parameters(network) -> dict[str, bytes]:
    return {name: p.data.tobytes() for name, p in network.parameters().items()}


# ---- the algorithm -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("count", "size"), [(10, 4), (7, 7), (5, 1), (9, 5), (3, 2)])
def test_every_picture_comes_once_an_epoch_and_epochs_differ(count, size, rng):
    batches = Batches(count, size, rng)
    drawn = [batches.next() for _ in range(6 * count)]
    assert all(len(batch) == size for batch in drawn)
    epochs = np.concatenate(drawn).reshape(-1, count)
    assert (np.sort(epochs) == np.arange(count)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_of_more_than_all_pictures_is_refused(rng):
    Batches(5, 5, rng)
    with pytest.raises(WrongUse, match="--batch-size: expected at most the number of pictures, 5, got 6"):
        Batches(5, 6, rng)


def real_images(training, index):
    """The real images of these numbers as a step sees them."""
    draws = training.draws
    return training.real(Inputs(np.zeros(()), None, **draws.real(index), noise=draws.noise(len(index))))


def test_latents_are_independent_standard_normal(images):
    training = Training(tiny(dim_z=6), images)
    z, _ = training.draws.fakes(20_000)
    assert z.shape == (20_000, 6) and z.dtype == np.float32
    # five standard errors of a mean, a covariance and a fourth moment (variance 96) of 20,000 draws
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(20_000)
    assert np.abs(z.T @ z / 20_000 - np.eye(6)).max() < 5 * np.sqrt(2 / 20_000)
    assert np.abs((z.astype(float) ** 4).mean(0) - 3).max() < 5 * np.sqrt(96 / 20_000)
    again, _ = training.draws.fakes(20_000)
    assert abs((z * again).mean()) < 5 / np.sqrt(120_000)


@pytest.mark.parametrize("n_dis", [1, 3])
def test_an_iteration_is_n_dis_updates_and_then_the_generators(n_dis, images, monkeypatch):
    done = []
    for network in ("discriminator", "generator"):
        update = getattr(Training, f"update_{network}")
        monkeypatch.setattr(Training, f"update_{network}",
                            lambda self, rate, n=network, f=update: done.append((n[0], rate)) or f(self, rate))
    training = Training(tiny(n_dis=n_dis, lr=0.5, lr_dis=0.25, iterations=4, schedule="linear"), images)
    for _ in range(4):
        training.iterate()
    # the linear schedule goes from the whole rate down to zero, which iteration 5 of 4 would have
    expected = [share for share in (1, 0.75, 0.5, 0.25) for _ in range(n_dis + 1)]
    assert done == [step for i in range(0, len(expected), n_dis + 1)
                    for step in [("d", 0.25 * expected[i])] * n_dis + [("g", 0.5 * expected[i])]]
    assert training.opt_dis.steps == 4 * n_dis and training.opt_gen.steps == 4


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_an_update_changes_one_networks_parameters_and_leaves_the_others_bytes(model, images):
    training = Training(tiny(model=model), images)
    gen, dis = parameters(training.gen), parameters(training.dis)
    training.update_discriminator(0.1)
    assert parameters(training.gen) == gen
    changed = parameters(training.dis)
    # every weight; of the biases, the last one's gradient is 1 - 1 while the hinge is open on both sides
    assert all(changed[name] != dis[name] for name in dis if name.endswith("W"))
    training.update_generator(0.1)
    assert parameters(training.dis) == changed
    assert all(parameters(training.gen)[name] != gen[name] for name in gen if name.endswith("W"))


def test_the_generators_batch_may_have_its_own_size(images, monkeypatch):
    seen = []
    fakes = Draws.fakes
    monkeypatch.setattr(Draws, "fakes", lambda self, count: seen.append(count) or fakes(self, count))
    Training(tiny(gen_batch_size=7, n_dis=2), images).iterate()
    Training(tiny(gen_batch_size=None), images).iterate()
    assert seen == [4, 4, 7, 4, 4]


@pytest.mark.parametrize("loss", ["hinge", "ns"])
def test_the_discriminator_learns_to_tell_and_the_generator_to_pass(loss, images):
    images[:] = 255  # real pictures are white
    training = Training(tiny(loss=loss, optimizer="adam", lr=2e-3, batch_size=8), images)

    def outputs() -> tuple[float, float]:
        with no_grad():
            real = training.dis(real_images(training, np.arange(8)), train=False).data
            return real.mean(), training.dis(training.gen(Tensor(training.preview[:8]), train=False), False).data.mean()

    for _ in range(30):
        training.update_discriminator(2e-3)
    real, fake = outputs()
    assert real > 0.05 and fake < -0.05
    for _ in range(30):
        training.update_generator(2e-3)
    assert outputs()[1] > fake + 0.05


def test_pixels_become_minus_one_to_one_and_noise_fills_one_grey_level(images):
    images[0], images[1] = 0, 255
    assert real_images(Training(tiny(), images), np.array([0, 1])).data[:, 0, 0, 0].tolist() == [-1, 1]
    x = real_images(Training(tiny(scaling="128"), images), np.array([0, 1]))
    assert x.data[:, 0, 0, 0].tolist() == [-1, 255 / 128 - 1]
    x = real_images(Training(tiny(scaling="128", dequantize=True), images), np.arange(24)).data
    noise = (x.astype(float) + 1) * 128 - images
    assert noise.min() >= 0 and noise.max() <= 1 and x.max() <= 1
    assert abs(noise.mean() - 0.5) < 5 / np.sqrt(12 * noise.size) and noise.std() == pytest.approx(12**-0.5, rel=0.02)


def test_sampling_changes_nothing_and_knows_no_neighbours(images):
    training = Training(tiny(), images)
    training.iterate()
    before = {name: a.tobytes() for network in (training.gen, training.dis) for name, a in network.arrays().items()}
    sampled = training.sample(training.preview)
    assert sampled.shape == (64, 16, 16, 3) and sampled.dtype == np.uint8
    one_by_one = draw(training.gen, training.preview[:5], batch=1)
    assert np.abs(one_by_one.astype(int) - sampled[:5]).max() <= 1  # BLAS sums a single row in another order
    training.spectral_norms()
    after = {name: a.tobytes() for network in (training.gen, training.dis) for name, a in network.arrays().items()}
    assert before == after


def test_spectral_norms_are_those_of_the_weights_in_use(images):
    training = Training(tiny(power_iterations=200), images)
    training.iterate()
    for _, sigma in training.spectral_norms().items():
        assert sigma == pytest.approx(1, abs=1e-3)
    none = Training(tiny(norm="none"), images)
    W = none.dis.layers["conv3"].params["W"].data
    assert none.spectral_norms()["conv3"] == pytest.approx(np.linalg.svd(W.reshape(len(W), -1))[1][0])


def test_interpolation_walks_great_circles_in_equal_steps(rng):
    z = interpolate(rng, tiny(dim_z=50), 3, 7).astype(float).reshape(3, 7, 50)
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    steps = np.arccos(np.clip((unit[:, 1:] * unit[:, :-1]).sum(-1), -1, 1))
    for row in range(3):
        # spherical interpolation of ends of two lengths has equal angles only between ends of one length
        assert steps[row] == pytest.approx(np.full(6, steps[row].mean()), rel=0.25)
        assert np.linalg.matrix_rank(z[row], tol=1e-4) == 2  # a plane through the origin
        lengths = np.linalg.norm(z[row], axis=-1)
        assert lengths.min() > 0.95 * min(lengths[0], lengths[-1])  # a chord's middle would lose 30 %
    assert len({tuple(np.round(z[row, end], 3)) for row in range(3) for end in (0, -1)}) == 6


def test_interpolation_between_opposite_or_equal_latents_is_finite():
    class Opposite:
        sign = -1

        def standard_normal(self, shape, dtype):
            self.sign = -self.sign
            return np.full(shape, self.sign, dtype)

    assert np.isfinite(interpolate(Opposite(), tiny(dim_z=1), 1, 5)).all()


def test_uniform_latents_stay_in_their_cube_on_the_way(rng):
    e = tiny(dim_z=50, latent="uniform")
    z = latents(rng, e, 4000)
    assert z.dtype == np.float32 and -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1 and abs(z.mean()) < 0.01
    path = interpolate(rng, e, 3, 5).reshape(3, 5, 50)
    np.testing.assert_allclose(np.diff(path, 2, axis=1), 0, atol=1e-6)  # straight
    assert np.abs(path).max() <= 1


def steps_of(monkeypatch, **chosen):
    """The updates of two iterations, in order, and the latents of each."""
    training, seen = Training(tiny(n_dis=2, **chosen), pictures_array()), []
    updates = {name: getattr(training, f"update_{name}") for name in ("discriminator", "generator")}
    for name in updates:
        def update(rate, name=name):
            seen.append(name)
            return updates[name](rate)
        monkeypatch.setattr(training, f"update_{name}", update)
    used, forward = [], training.gen.__class__.forward

    def watched(self, z, how):
        used.append(z.data)
        return forward(self, z, how)
    monkeypatch.setattr(training.gen.__class__, "forward", watched)
    training.iterate()
    training.iterate()
    return seen, used


def pictures_array():
    return np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)


def test_an_iteration_updates_the_networks_in_the_order_that_is_asked_for(monkeypatch):
    d, g = "discriminator", "generator"
    assert steps_of(monkeypatch)[0] == [d, d, g, d, d, g]
    assert steps_of(monkeypatch, order="gen-first")[0] == [g, d, d, g, d, d]


def test_latents_are_fresh_unless_they_are_to_be_used_again(monkeypatch):
    _, used = steps_of(monkeypatch, gen_batch_size=4)
    assert len({z.tobytes() for z in used}) == 6
    _, used = steps_of(monkeypatch, gen_batch_size=4, reuse_z=True)
    assert [np.array_equal(used[i], used[i - 1]) for i in range(1, 6)] == [False, True, False, False, True]
    with pytest.raises(WrongUse, match="leave one of them out"):
        tiny(reuse_z=True, order="gen-first", gen_batch_size=4)
    with pytest.raises(WrongUse, match="needs equal batches"):
        tiny(reuse_z=True)


def test_sampling_with_replacement_forgets_what_was_drawn():
    batches = Batches(10, 10, np.random.default_rng(0), "replacement")
    drawn = [batches.next() for _ in range(200)]
    assert any(len(set(batch.tolist())) < 10 for batch in drawn)
    assert np.bincount(np.concatenate(drawn), minlength=10).min() > 120  # of 200 on average


def test_a_linear_schedule_may_begin_late():
    e = tiny(schedule="linear", decay_from=0.5, iterations=10, lr=1.0)
    training, rates = Training(e, pictures_array()), []
    for training.iteration in range(10):
        rates.append(training.rates()[1])
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_batch_normalization_has_the_constants_that_were_chosen():
    training = Training(tiny(bn_eps=1e-3, bn_decay=0.5, ema=0.9), pictures_array())
    for network in (training.gen, training.average):
        assert {(layer.eps, layer.decay) for _, layer in network.walk() if "mean" in layer.state} == {(1e-3, 0.5)}


# ---- the same bytes, whatever comes between ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """What runs that were never interrupted left, by model."""
    found = {}

    def of(model: str) -> dict[str, bytes]:
        if model not in found:
            out = tmp_path_factory.mktemp("whole") / model
            assert main.run([*words(data, out, model=model), "-q"]) == 0
            found[model] = contents(out)
        return found[model]

    return of


@pytest.mark.parametrize("model", ["cnn", "resnet"])
@pytest.mark.parametrize("splits", [(1,), (3,), (2, 4, 5, 9)])
def test_an_interrupted_run_goes_on_to_the_same_bytes(model, splits, data, whole, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    arguments = [*words(data, out, model=model), "-q"]
    for split in splits:
        assert run_until(arguments, split, monkeypatch) == 130
        assert f"stopped at iteration {split} of 10, saved" in capsys.readouterr().err
        assert checkpoints.newest(out)[1]["iteration"] == split  # nothing is done again
        arguments = ["train", "--resume", str(out), "-q"]
    assert main.run(arguments) == 0
    assert contents(out) == whole(model)
    logged = [line["iteration"] for line in run_folder.read_log(out)]
    assert logged == [2, 4, 6, 8, 10]


def test_other_experiments_have_other_bytes(data, whole, tmp_path):
    """Else the comparisons would prove nothing."""
    assert main.run([*words(data, tmp_path / "run", seed=1), "-q"]) == 0
    other, first = contents(tmp_path / "run"), whole("cnn")
    assert other.keys() == first.keys() and all(other[name] != first[name] for name in first)


def test_a_run_that_lost_its_newest_checkpoint_goes_on_from_the_older_to_the_same_bytes(data, whole, tmp_path, capsys):
    out = tmp_path / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    newest = out / "checkpoint-0000010.h5"
    newest.write_bytes(newest.read_bytes()[:5000])
    capsys.readouterr()
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    error = capsys.readouterr().err
    assert "checkpoint-0000010.h5 cannot be read (truncated" in error and "using checkpoint-0000009.h5" in error
    assert contents(out) == whole("cnn")


def test_a_run_killed_before_its_first_checkpoint_begins_again(data, whole, tmp_path, capsys):
    out = tmp_path / "run"
    run_folder.create(out, tiny(data_root=str(data)), {})
    (out / "samples").mkdir()
    for part in (".samples.png.123.part", "samples/.samples-0000000.png.123.part"):
        (out / part).write_bytes(b"half")
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert "no checkpoint yet: beginning again" in capsys.readouterr().err
    assert contents(out) == whole("cnn") and not [name for name in names(out) if name.endswith(".part")]


def test_a_run_killed_after_its_last_checkpoint_gets_its_film(data, whole, tmp_path, capsys):
    out = tmp_path / "run"
    assert main.run([*words(data, out), "-q"]) == 0
    (out / "film.png").unlink()
    (out / "progress.gif").write_bytes(b"an older one")
    assert main.run(["train", "--resume", str(out)]) == 0
    assert "is finished: 10 of 10 iterations" in capsys.readouterr().err
    assert contents(out) == whole("cnn")


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_signals_at_random_moments_leave_a_run_that_can_go_on_to_the_same_bytes(data, whole, tmp_path):
    out, chosen = tmp_path / "run", {"iterations": 40, "checkpoint_every": 5, "sample_every": 10}
    assert main.run([*words(data, tmp_path / "whole", **chosen), "-q"]) == 0
    chance = random.Random(23)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    for signum in [signal.SIGKILL, *chance.choices(list(expected), k=4)]:
        resumed = (out / "experiment.json").exists()
        process = start("train", "--resume", out) if resumed else start(*words(data, out, **chosen))
        # moments in the loop; and for what Python does not turn into an exception, in imports and in reading the data
        if signum == signal.SIGINT or chance.random() < 0.7:
            process.stderr.readline()
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signum)
        _, error = process.communicate(timeout=60)
        assert process.returncode in (expected[signum], -signum, 0) and "Traceback" not in error, error
        if process.returncode in (130, 143) and "stopped at" in error:
            assert error.endswith(f"saved; go on with: minigan train --resume {out}\n")
    arguments = ["train", "--resume", str(out)] if (out / "experiment.json").exists() else words(data, out, **chosen)
    assert main.run([*arguments, "-q"]) == 0
    assert contents(out) == contents(tmp_path / "whole")
    assert [line["iteration"] for line in run_folder.read_log(out)] == list(range(2, 41, 2))
    assert not [name for name in names(out) if name.endswith(".part")]


def test_the_number_of_threads_changes_no_byte(data, tmp_path):
    found = []
    for threads in (1, 2, 3):
        out = tmp_path / str(threads)
        chosen = {"threads": threads, "width": 0.5, "batch_size": 16, "iterations": 2}
        assert main.run([*words(data, out, **chosen), "-q"]) == 0
        assert threads == 1 or thread_pool._pool._threads  # the work was large enough to be shared
        found.append(contents(out))
    assert found[0] == found[1] == found[2]


def test_a_resumed_run_may_change_machine_and_records_but_not_what_is_learned(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert run_until([*words(data, out), "-q"], 4, monkeypatch) == 130
    moved = shutil.move(data, tmp_path / "moved")
    try:
        assert main.run(["train", "--resume", str(out), "-q"]) == 1
        capsys.readouterr()
        for option, value, had in (("--lr", "0.1", "0.0002"), ("--norm", "none", "sn"), ("--seed", "1", "0"),
                                   ("--batch-size", "5", "4"), ("--no-skip-bad", None, None)):
            code = main.run(["train", "--resume", str(out), option, *([value] if value else []), "-q"])
            line = capsys.readouterr().err
            if value:
                assert code == 2 and f"was trained with {option} {had}, not {value}" in line
        assert main.run(["train", "cifar10", "--resume", str(out)]) == 2
        assert main.run(["train", "--resume", str(out), "--threads", "1", "--data-root", str(moved), "--lr", "0.0002",
                        "--log-every", "1", "--iterations", "12", "-q"]) == 0
    finally:
        shutil.move(moved, data)
    assert [line["iteration"] for line in run_folder.read_log(out)] == [2, 4, *range(5, 13)]
    assert run_folder.read_experiment(out).iterations == 12


def test_a_run_does_not_go_on_with_other_pictures(data, tmp_path, monkeypatch, capsys):
    out, other = tmp_path / "run", pictures(tmp_path / "other")
    assert run_until([*words(data, out), "-q"], 4, monkeypatch) == 130
    before = contents(out)
    (other / "00.png").write_bytes((other / "01.png").read_bytes())
    assert main.run(["train", "--resume", str(out), "--data-root", str(other)]) == 1
    line = capsys.readouterr().err
    assert "was trained on other pictures (24) than the data set has now (24); see --data-root" in line
    assert contents(out) == before


# ---- when it goes wrong --------------------------------------------------------------------------------------------

def test_a_second_signal_stops_at_once(data, tmp_path, monkeypatch, capsys):
    update = Training.update_generator

    def twice(self, rate):
        if self.iteration == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, rate)

    monkeypatch.setattr(Training, "update_generator", twice)
    assert main.run([*words(data, tmp_path / "run"), "-q"]) == 130
    assert capsys.readouterr().err.strip() == "minigan: interrupted"
    assert checkpoints.newest(tmp_path / "run")[1]["iteration"] == 3


def test_a_signal_that_the_shell_has_ignored_stays_ignored(data, whole, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run_until([*words(data, tmp_path / "run"), "-q"], 4, monkeypatch) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert contents(tmp_path / "run") == whole("cnn")


def test_a_signal_in_the_last_iteration_is_no_interruption(data, whole, tmp_path, monkeypatch):
    assert run_until([*words(data, tmp_path / "run"), "-q"], 10, monkeypatch) == 0
    assert contents(tmp_path / "run") == whole("cnn")


def test_a_run_that_breaks_down_says_where_and_what_is_still_good(data, tmp_path, capsys, recwarn):
    out = tmp_path / "run"
    assert main.run([*words(data, out, norm="none", lr=1e6, loss="hinge"), "-q"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and not len(recwarn)  # no warning of an overflow before it
    assert re.match(r"minigan: (the loss|a weight) is not finite at iteration \d", line)
    assert all(f"conv{i} " in line for i in range(1, 8)) and "dense " in line and "--norm sn" in line
    assert (out / "failed.txt").read_text() == line.removeprefix("minigan: ")
    named = Path(re.search(r"last good checkpoint is (\S+);", line)[1])
    assert named == checkpoints.newest(out)[0]
    assert main.run(["sample", str(out), "-n", "4", "--out", str(tmp_path / "grid.png")]) == 0


@pytest.mark.parametrize("broken", ["loss", "generator", "discriminator", "moments"])
def test_nothing_spoilt_is_saved(broken, data, tmp_path, monkeypatch, capsys):
    iterate = Training.iterate

    def spoil(self):
        losses = iterate(self)
        if self.iteration == 6:  # a checkpoint is due
            if broken == "loss":
                losses = losses[0], Tensor(np.float32(-np.inf))
            elif broken == "moments":
                self.gen.layers["bn1"].state["mean"][0] = np.nan
            else:
                network = self.gen if broken == "generator" else self.dis
                network.layers["dense"].params["W"].data[0, 0] = np.nan
        return losses

    monkeypatch.setattr(Training, "iterate", spoil)
    out = tmp_path / "run"
    assert main.run([*words(data, out), "-q"]) == 1
    line = capsys.readouterr().err
    what = "the loss" if broken == "loss" else "a weight"
    assert line.startswith(f"minigan: {what} is not finite at iteration 6 (") and line.count("\n") == 1
    assert f"the last good checkpoint is {out / 'checkpoint-0000003.h5'};" in line
    assert ("dense not finite" in line) == (broken == "discriminator")
    assert checkpoints.newest(out)[1]["iteration"] == 3 and "samples-0000006.png" not in names(out)
    assert "failed.txt" in names(out)
    monkeypatch.undo()
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert "failed.txt" not in names(out)


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [200_000, 20_000, 1_000])  # too small for a checkpoint; a picture; the log
def test_a_full_disk_is_said_and_spoils_nothing(limit, data, whole, tmp_path, monkeypatch):
    import resource

    out = tmp_path / "run"
    assert run_until([*words(data, out), "-q"], 4, monkeypatch) == 130
    before = contents(out)
    process = start("train", "--resume", out, "-q",
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "cannot be written (File too large)" in error
    assert error.count("\n") == 2 and error.startswith("going on from")
    after = contents(out)
    assert all(after[name] == data for name, data in before.items() if name not in ("log", "samples.png"))
    assert not [name for name in names(out) if name.endswith(".part")]
    assert main.run(["train", "--resume", str(out), "-q"]) == 0
    assert contents(out) == whole("cnn")


# ---- labels --------------------------------------------------------------------------------------------------------

def labelled(**chosen):
    images = pictures_array()
    return Training(tiny(**chosen), images, np.arange(len(images)) % 3)


@pytest.mark.parametrize("model, condition", [
    ("cnn", "projection"), ("cnn", "ac"), ("resnet", "projection"), ("resnet", "concat"), ("resnet", "ac")])
def test_a_conditional_pair_trains_and_its_pictures_depend_on_the_class(model, condition):
    training = labelled(model=model, condition=condition, gp=1.0, lr=0.05)
    assert training.classes == 3
    for _ in range(3):
        losses = training.iterate()
    assert all(np.isfinite(loss.item()) for loss in losses)
    z = np.repeat(latents(np.random.default_rng(0), training.e, 1), 3, 0)
    drawn = [draw(training.gen, z, classes=3, labels=np.full(3, k)).astype(int) for k in range(3)]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(drawn, drawn[1:], strict=False))
    np.testing.assert_array_equal(draw(training.gen, z, classes=3)[1], drawn[1][1])  # the classes in turn


def test_real_pictures_come_with_their_own_labels(monkeypatch):
    training, seen = labelled(condition="projection"), []
    judge = training.judge

    def watched(x, labels, *more):
        seen.append((x.data, labels))
        return judge(x, labels, *more)
    monkeypatch.setattr(training, "judge", watched)
    training.update_discriminator(1e-4)
    x, labels = seen[0]
    pixels = np.round((x + 1) * 127.5).astype(np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        index = next(i for i, image in enumerate(pictures_array()) if np.array_equal(image, picture))
        assert label == index % 3


def test_the_classifiers_losses_have_their_weights():
    """With weight 0 an update is that of no classifier; with another, the classifier or the loss moves."""
    before = labelled(condition="ac").dis.layers["classify"].params["W"].data
    for weight in (0.0, 1.0):
        training = labelled(condition="ac", ac_dis=weight)
        training.update_discriminator(1e-2)
        moved = np.abs(training.dis.layers["classify"].params["W"].data - before).max()
        assert (moved > 0) is np.bool_(weight > 0)
    losses = [labelled(condition="ac", ac_gen=weight).update_generator(1e-2).item() for weight in (0.0, 1.0, 2.0)]
    assert losses[1] - losses[0] > 0.5  # -log(1/3) is 1.1
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-5)


def test_the_average_follows_the_generator_and_draws_the_samples():
    """Against the recursion written out; its decay begins at (1 + i) / (10 + i)."""
    training = Training(tiny(ema=0.5), pictures_array())
    expected = {name: a.copy() for name, a in training.gen.arrays().items()}
    for i in range(8):
        training.iterate()
        decay = min(0.5, (1 + i) / (10 + i))
        expected = {name: decay * expected[name] + (1 - decay) * a for name, a in training.gen.arrays().items()}
    for name, a in training.average.arrays().items():
        np.testing.assert_allclose(a, expected[name], rtol=0, atol=1e-5 * max(1, np.abs(a).max()))
    np.testing.assert_array_equal(training.sample(training.preview), draw(training.average, training.preview))
    assert np.abs(training.average.arrays()["dense/W"] - training.gen.arrays()["dense/W"]).max() > 0


def test_labels_are_needed_and_absent():
    for labels in (None, np.full(24, -1), np.zeros(24, int)):
        with pytest.raises(WrongUse, match="--condition projection needs labels, and these pictures have none"):
            Training(tiny(condition="projection"), pictures_array(), labels)
    with pytest.raises(WrongUse, match="condition 'concat' is not for this model: use one of projection, ac"):
        labelled(condition="concat")


def test_a_conditional_run_goes_on_to_the_same_bytes_and_is_sampled_by_class(tmp_path, monkeypatch, capsys):
    words = ["train", "shapes", "--size", "16", "--width", "0.05", "--dim-z", "8", "--batch-size", "4", "--iterations",
             "4", "--checkpoint-every", "2", "--condition", "projection", "--norm", "sn", "--ema", "0.9", "-q"]
    assert main.run([*words, "--out", str(tmp_path / "whole")]) == 0
    assert run_until([*words, "--out", str(tmp_path / "cut")], 2, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "cut"), "-q"]) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    out = tmp_path / "hearts.npz"
    assert main.run(["sample", str(tmp_path / "whole"), "-n", "5", "--label", "0", "--out", str(out)]) == 0
    assert np.load(out)["images"].shape == (5, 16, 16, 3)
    capsys.readouterr()
    assert main.run(["sample", str(tmp_path / "whole"), "--label", "10"]) == 2
    assert "--label: expected 0 to 9, got 10" in capsys.readouterr().err


def test_the_orthonormal_penalty_is_part_of_the_loss():
    def second(weight):
        training = Training(tiny(norm="orthonormal", orthonormal=weight), pictures_array())
        training.update_discriminator(0.1)  # the weights are orthonormal at first, and the penalty 0
        return training.update_discriminator(0.1).item()
    assert second(1.0) > second(0.0) + 0.01


def test_a_model_has_its_features_normalized_unless_told_otherwise():
    images = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3)).astype(np.uint8)
    for chosen, expected in (({"norm": "sn"}, True), ({"norm": "none", "gp": 1.0}, False),
                             ({"norm": "sn", "features": "none"}, False), ({"features": "ln"}, True)):
        training = Training(tiny(model="dcgan", size=64, **chosen), images)
        assert any("beta" in layer.params for _, layer in training.dis.walk()) is expected


def test_the_conditions_of_the_command_line_are_the_networks():
    assert experiment.CONDITIONS == ("none", *filter(None, discriminator.CONDITIONS))


def test_a_forged_number_of_classes_takes_no_memory(tmp_path):
    training = labelled(condition="projection")
    state = training.state() | {"classes": 1 << 20}
    run_folder.write_experiment(tmp_path, training.e, {})
    checkpoints.save_in(tmp_path, 0, state)
    with pytest.raises(FailedWork, match="1048576 classes, but no conditional batch normalization"):
        restore.newest(tmp_path)


# ---- normalization of the generator --------------------------------------------------------------------------------

@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_a_generators_weights_have_spectral_norm_one(model):
    training = Training(tiny(model=model, gen_norm="sn", power_iterations=300), pictures_array())
    training.iterate()
    layers = [layer for _, layer in training.gen.walk() if "W" in layer.params]
    assert len(layers) > 3
    for layer in layers:
        W = layer.norm.weight(layer, (), False).data
        out = np.moveaxis(W, layer.out_axis, 0)
        assert np.linalg.svd(out.reshape(len(out), -1))[1][0] == pytest.approx(1, abs=1e-3)


def test_a_normalized_generator_goes_on_and_is_sampled(tmp_path, monkeypatch):
    data = pictures(tmp_path / "data")
    chosen = {"gen_norm": "bsn", "u_schedule": "update", "ema": 0.9}
    assert main.run([*words(data, tmp_path / "whole", **chosen), "-q"]) == 0
    assert run_until([*words(data, tmp_path / "cut", **chosen), "-q"], 5, monkeypatch) == 130
    assert main.run(["train", "--resume", str(tmp_path / "cut"), "-q"]) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    saved = restore.newest(tmp_path / "whole")
    assert draw(saved.gen, latents(np.random.default_rng(0), saved.e, 2)).shape == (2, 16, 16, 3)


def test_a_normalization_that_is_the_discriminators_alone_is_refused():
    with pytest.raises(WrongUse, match="unknown --gen-norm 'bn'; choose from: bsn"):
        Training(tiny(gen_norm="bn"), pictures_array())
