"""A diagnosis as text, from numbers that the test chooses."""

import pytest

from minigan.views.diagnosis_table import table

ROW = {"shape": [8, 3, 3, 2], "sigma_estimate": None, "sigma_meant": None, "sigma": 1.23456, "sigma_bar": 2.5,
       "sigma_conv": 4.0, "conv_lower": 3.0, "conv_upper": 5.0, "gradient": 6.0, "gradient_bar": 7.0, "removed": 0.125,
       "lambda": -8.0, "variance": 9.0, "variance_bounds": None, "saturation": None}
FOUND = {"iteration": 1200, "seconds": 0.5, "lipschitz_bound": None, "slope": {"real": 11.0, "fake": 12.0},
         "outputs": {"real": [13.0, 14.0], "fake": [15.0, 16.0]}, "accuracy": 0.75, "inactive": None, "diversity": None,
         "alarms": [], "layers": {"conv1": ROW, "block/conv2": ROW | {
             "variance_bounds": [17.0, 18.0], "saturation": {"negative": 0.25, "dead": 0.5}}}}


def test_every_layer_has_a_row_and_what_is_null_a_dash():
    head, first, second, *rest = table(FOUND)
    assert len(head) == len(first) == len(second)
    assert first.split() == ["conv1", *"8 3 3 2 - - 1.23 2.5 4 3 to 5 6 7 0.125 -8 9 - - -".split()]
    assert second.split()[0] == "block/conv2" and second.split()[-3:] == ["18", "25%", "50%"]
    assert "iteration 1,200, 0.5 s" in rest and "Lipschitz bound -" in "\n".join(rest)
    assert not any("hinge" in line for line in rest)


@pytest.mark.parametrize("texts", [[], ["the first.", "the second."]])
def test_alarms_come_last(texts):
    lines = table(FOUND | {"alarms": [{"name": "x", "text": text} for text in texts],
                           "inactive": {"real": 0.5, "fake": 0.0}})
    assert lines[-len(texts):] == texts if texts else lines[-1] == "no alarms"
    assert "inactive hinge terms real 50%, fake 0%" in lines


def test_a_critics_right_answers_are_not_counted():
    assert "right in 75% of one batch" in "\n".join(table(FOUND))
    assert "right in" not in "\n".join(table(FOUND | {"accuracy": None}))
