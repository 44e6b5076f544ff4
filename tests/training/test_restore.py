"""Networks from a checkpoint alone: they are the trained ones, and what the file claims is doubted."""


import numpy as np
import pytest
from tiny import tiny

from minigan.errors import FailedWork
from minigan.formats import hdf5_state
from minigan.networks.norms import NORMS
from minigan.training import checkpoints, restore, run_folder
from minigan.training.gan import Training
from minigan.training.sampling import draw, judge, latents

CHOSEN = [*({"norm": name} for name in NORMS),
          {"norm": "ssn", "scale_spread": 0.5, "scale": 2.0}, {"features": "bn", "bn_eps": 0.1, "scaling": "128"},
          {"model": "dcgan-32", "size": 32}, {"model": "mnist-bssn"}, {"norm": "sn", "gen_norm": "sn", "ema": 0.9},
          {"model": "resnet", "norm": "sn", "condition": "projection"}, {"model": "resnet", "condition": "concat"},
          {"model": "resnet-wgan-gp", "condition": "ac", "norm": "ln"}]


@pytest.fixture
def trained(tmp_path, rng):
    """A run's folder with its checkpoint after one iteration, and its Training."""
    def build(**chosen):
        e = tiny(**chosen)
        training = Training(e, rng.integers(0, 256, (6, e.size, e.size, 3), np.uint8), np.arange(6) % 3)
        training.iterate()
        run_folder.write_experiment(tmp_path, e, {})
        checkpoints.save_in(tmp_path, 1, training.state())
        return tmp_path, training
    return build


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_both_networks_are_the_trained_ones(trained, rng, chosen):
    folder, training = trained(**chosen)
    saved = restore.newest(folder)
    assert (saved.iteration, saved.classes, saved.e.norm) == (1, training.classes, training.e.norm)
    z = latents(rng, saved.e, 3)
    drawing = training.gen if training.average is None else training.average
    images = draw(saved.gen, z, classes=saved.classes)
    np.testing.assert_array_equal(images, draw(drawing, z, classes=training.classes))
    how = {"scaling": saved.e.scaling, "labels": np.arange(3)}
    np.testing.assert_array_equal(judge(saved.discriminator(), images, **how), judge(training.dis, images, **how))


@pytest.mark.parametrize("chosen, forged, said", [
    ({}, {"dis": {}}, "does not hold a run"), ({}, {"dis": 3}, "does not hold a run"),
    ({}, {"width_dis": 16.0}, "larger networks than the file holds"),
    ({"model": "resnet", "condition": "projection"}, {"condition": "none"}, "'embed/W' is in the file only"),
    ({}, {"features": "bn"}, "'norm2/beta' is missing from the file"),
    ({}, {"features": "gn"}, "unknown features 'gn'"), ({}, {"scaling": "1"}, "unknown scaling '1'"),
    ({}, {"dataset": "x"}, "unknown data set 'x'")])
def test_a_discriminator_that_the_file_does_not_hold_is_refused(trained, chosen, forged, said):
    folder, training = trained(**chosen)
    state = training.state()
    if "dis" not in forged:
        forged = {"experiment": state["experiment"] | forged}
    hdf5_state.save(folder / "checkpoint-0000001.h5", state | forged)
    with pytest.raises(FailedWork, match=said) as error:
        restore.newest(folder).discriminator()
    assert str(error.value).startswith(str(folder / "checkpoint-0000001.h5"))


def test_a_forged_number_of_classes_takes_no_memory(tmp_path):
    training = Training(tiny(condition="projection"), np.zeros((24, 16, 16, 3), np.uint8), np.arange(24) % 3)
    state = training.state() | {"classes": 1 << 20}
    run_folder.write_experiment(tmp_path, training.e, {})
    checkpoints.save_in(tmp_path, 0, state)
    with pytest.raises(FailedWork, match="1048576 classes, but no conditional batch normalization"):
        restore.newest(tmp_path)


def test_a_run_that_lacks_the_multipliers_it_asked_for_stays_without_and_says_so(trained):
    """As minigan wrote it when --features-gain did nothing beside --features."""
    folder, training = trained(norm="sn", features="bn")
    state = training.state()
    asked = state["experiment"] | {"features_gain": True}
    checkpoints.save_in(folder, 2, state | {"experiment": asked, "iteration": 2})
    saved = restore.newest(folder)
    assert saved.iteration == 2 and not saved.e.features_gain
    assert any("has no multipliers of features" in line for line in saved.remarks)
    assert saved.discriminator().parameters().keys() == training.dis.parameters().keys()
