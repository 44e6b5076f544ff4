"""Coverage of drawings: kinds by their hues, shares of kinds."""

import numpy as np
import pytest

from minigan.data import drawings
from minigan.metrics import drawings_coverage


def test_hues_tell_the_kinds_of_real_drawings():
    images, labels = drawings.draw(300, 32, 8, "test")
    assert (drawings_coverage.kinds_by_hue(images) == labels).mean() > 0.99


def test_coverage_counts_kinds_and_evenness_knows_their_shares():
    kinds = np.array([0] * 50 + [1] * 49 + [2] + [-1] * 0)
    assert drawings_coverage.covered(kinds) == pytest.approx(0.3)
    assert drawings_coverage.covered(kinds[:-1]) == pytest.approx(0.2)
    assert drawings_coverage.evenness(np.arange(10)) == pytest.approx(1)
    assert drawings_coverage.evenness(np.zeros(9, int)) == pytest.approx(0.1)
    assert drawings_coverage.evenness(np.array([0, 1] * 4)) == pytest.approx(0.2)
    assert drawings_coverage.covered(np.full(5, -1)) == 0 == drawings_coverage.evenness(np.full(5, -1))


def test_a_grey_picture_has_no_hue():
    assert np.isnan(drawings_coverage.hues(np.full((2, 8, 8, 3), 120, np.uint8))).all()
