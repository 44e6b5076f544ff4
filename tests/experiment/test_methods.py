"""Methods: a name and what it chooses belong together, both ways."""

import pytest

from minigan.experiment.methods import METHODS, method_of, options_of
from minigan.experiment.presets import compose


@pytest.mark.parametrize("method", ["none", "sn", "bssn", "wgan-gp", "gan-gp"])
def test_an_experiment_has_the_method_that_it_was_made_by(method):
    e, _ = compose("cifar10", **options_of(method))
    assert method_of(e) == method


def test_a_penalty_beside_a_norm_is_named_with_it():
    e, _ = compose("cifar10", **METHODS["wgan-gp"] | {"norm": "sn"})
    assert method_of(e) == "wgan-gp+sn"
