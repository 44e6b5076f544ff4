"""What the papers trained: rows that can be searched for, and their numbers, each with its place in the paper."""

from pathlib import Path

import numpy as np
import pytest

from minigan.engine.autograd import Tensor
from minigan.experiment import papers
from minigan.experiment.profiles import DEFAULTS
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.nn.losses import gradient_penalty
from minigan.nn.weight_norms import Orthonormal
from minigan.studies import deviations, reproduce

ROOT = Path(__file__).resolve().parents[2]


def test_every_targets_name_stands_in_the_text_once():
    text = Path(papers.__file__).read_text(encoding="utf-8")
    assert [name for name in papers.TARGETS if text.count(f'"{name}": Target(') != 1] == []


def test_the_pages_say_how_many_there_are():
    count = len(papers.TARGETS)
    assert f"# one of {count}\n" in (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert f"any of {count} rows" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def run_of(name, method=None, setting=None):
    """The experiment of a target, in a grid that of this method and setting."""
    found = [cell.experiment for cell in reproduce.cells(name)
             if method in (None, cell.method) and setting in (None, cell.experiment.setting)]
    assert len(found) == 1
    return found[0]


def said_of(name):
    return "\n".join(papers.TARGETS[name].remarks)


# ---- Miyato et al. 2018 --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("row", ["table2/cifar10", "table2/stl10", "table7/cifar10"])
def test_wgan_gps_one_result_has_one_setting(row):
    """6.68 in Tables 2 and 7. A is Gulrajani et al.'s (Table 1: 1e-4, 0.5, 0.9, 5); WGAN-GP fails in D, E, F (4.1)."""
    name = f"sn-gan/{row}/cnn/wgan-gp"
    e = run_of(name)
    assert (e.setting, e.lr, e.beta1, e.beta2, e.n_dis, e.gp) == ("A", 1e-4, 0.5, 0.9, 5, 10)
    assert "the setting is not said" in said_of(name)


@pytest.mark.parametrize("name", ["orthonormal", "orthonormal-2x"])
def test_orthonormals_setting_on_stl10_is_given(name):
    """The caption of Figure 4: "the setting C, which was optimal for orthonormal regularization"."""
    assert run_of(f"sn-gan/table2/stl10/cnn/{name}").setting == "C"
    assert "does not say which" not in said_of(f"sn-gan/table2/stl10/cnn/{name}")


def test_orthonormals_strength_has_one_origin():
    """Miyato et al. 2018 give none beside Eq. (14)."""
    for text in (DEFAULTS["orthonormal"][1], Orthonormal.__doc__):
        assert "Brock et al. 2018" in text and "1e-3" in text


# ---- Lin et al. 2021 -----------------------------------------------------------------------------------------------

def test_the_mnist_penalty_is_the_papers_in_the_units_of_its_images(rng):
    """J.1: lambda 10, target 1 (section 2), for images in [0, 1] (H.1). Beside Table 5's D on such images."""
    e = run_of("bssn/figure2/mnist", "wgan-gp")
    discriminator = MODELS["mnist-bssn"].discriminator(rng, 28, 1, Normalization(), 0.1, init="he")
    real, fake = (rng.uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32) for _ in range(2))
    share = rng.uniform(size=(4, 1, 1, 1)).astype(np.float32)

    def on_0_to_1(x):
        return discriminator(x * 2 - 1, True)

    def as_it_is(x):
        return discriminator(x, True)
    theirs = 10 * gradient_penalty(on_0_to_1, *(Tensor((x + 1) / 2) for x in (real, fake)), share, 1.0).data
    ours = e.gp * gradient_penalty(as_it_is, Tensor(real), Tensor(fake), share, e.gp_target).data
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert (e.gp, e.gp_target) == (40, 0.5)
    assert "are the paper's 10 and 1" in said_of("bssn/figure2/mnist")


@pytest.mark.parametrize("name", ["bssn/figure2/mnist", "bssn/figure3/mnist"])
def test_figures_of_mnist_say_which_images_their_discriminators_see(name):
    """H.1: those of MNIST are normalized to [0, 1]; minigan has all images in [-1, 1], with sn-conv, too."""
    assert "the paper's discriminator sees images in [0, 1], here in [-1, 1]" in said_of(name)


def test_sn_conv_is_scaled_in_figures_4_and_5():
    """Section 4: "SN_Conv with s = 1.75 has similar inception score (Fig. 4) to SN_w, as well as similar gradients"."""
    runs = [cell.experiment for cell in reproduce.cells("bssn/figure4")]
    assert [(e.norm, e.scale) for e in runs] == [("sn", 1), ("sn-conv", 1), ("sn-conv", 1.75)]
    assert {(e.lr, e.lr_dis, e.n_dis, e.iterations) for e in runs} == {(1e-4, 1e-4, 1, 400_000)}  # L.1
    assert reproduce.find("bssn/figure5") == reproduce.find("bssn/figure4")


@pytest.mark.parametrize("name, methods", [
    ("bssn/table6/stl10/cnn/sn", ("sn",)), ("bssn/table6/stl10/cnn/bsn", ("bsn",)), ("bssn/figure41", ("sn", "bsn"))])
def test_stl10_with_five_updates_of_the_discriminator_is_half_as_long(name, methods):
    """Q.1: "under n_dis = 1 settings are run for 800k iterations [...] all other experiments are run for 400k"."""
    for method in methods:
        for setting in papers.FIVE:
            e = run_of(name, method, setting)
            assert e.iterations == (400_000 if e.n_dis == 5 else 800_000)
    assert {cell.experiment.iterations for cell in reproduce.cells(name, iterations=7)} == {7}


@pytest.mark.parametrize("part", ["table1", "scales"])
@pytest.mark.parametrize("norm", ["ssn", "bssn"])
def test_stl10_with_scales_says_that_the_sources_differ(part, norm):
    """Q.1 by the letter: 400k. BSN's code, in the sweep of scales: 800000."""
    name = f"bssn/{part}/stl10/cnn/{norm}"
    assert {cell.experiment.iterations for cell in reproduce.cells(name)} == {800_000}
    assert "800,000 iterations" in said_of(name) and "400,000" in said_of(name)


def test_a_run_of_a_setting_of_a_grid_does_nothing_otherwise_than_the_grid():
    e = run_of("bssn/table6/stl10/cnn/bsn", setting="bssn-1")
    assert ("bssn/table6/stl10/cnn/bsn", []) in [(name, other) for name, _, _, other in deviations.rows_of_papers(e)]


# ---- the reports ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, epochs, images, said", [
    ("cifar10/sn-dcgan", 250, 50_000, True),  # Figure 6
    ("cifar10/w-sn-dcgan", 200, 50_000, True),  # Figure 10
    ("cifar10/dcgan", 250, 50_000, False), ("cifar10/w-dcgan", 250, 50_000, False),
    ("cifar10/w-wc-dcgan", 250, 50_000, False), ("cifar10/w-sn-dcgan-beta1-0.5", 200, 50_000, False),
    ("reptiles/sn-dcgan", 250, 20_000, False),  # 3.3: "approximately 20K color images"
    ("reptiles/w-sn-dcgan", 200, 20_000, False)])
def test_the_first_reports_epochs(name, epochs, images, said):
    e = run_of(f"report1/{name}")
    assert e.iterations == epochs * images // e.batch_size
    assert ("epochs" in said_of(f"report1/{name}")) != said  # where they are assumed, it is said


def test_the_first_reports_eight_experiments():
    """Section 4: "8 distinct experiments". 4.6: W-SN-DCGAN first with the same hyper-parameters, so beta1 0.5 (3.2)."""
    assert sum(name.startswith("report1/") for name in papers.TARGETS) == 8
    e = run_of("report1/cifar10/w-sn-dcgan-beta1-0.5")
    assert (e.beta1, e.lr, e.norm, e.loss) == (0.5, 2e-3, "sn", "wasserstein")
    assert "taken for the eighth" in said_of("report1/cifar10/w-sn-dcgan-beta1-0.5")
